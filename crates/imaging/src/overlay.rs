//! Overlay planes (PS3.3 sections C.9.2 and C.9.3): one-bit drawings in groups 6000 to 60FE, in data
//! of their own or, as retired objects have them, in unused bits of the pixels.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::attributes::{Image, SampleKind};
use crate::element::{BulkValues, Element};
use crate::encode::Picture;

/// Brightness of overlays.
const INK: u8 = 255;

/// The overlay planes of an instance, in order of their groups.
#[derive(Debug, Default)]
pub(crate) struct Overlays(BTreeMap<u16, Plane>);

/// Attributes of one plane, as they stand in the data set.
#[derive(Debug, Default)]
struct Plane {
    rows: Option<u16>,
    columns: Option<u16>,
    /// Row and column of the image, from 1, under the plane's first pixel.
    origin: Vec<f64>,
    frames: Option<u16>,
    /// Frame of the image, from 1, on which the plane's first frame lies.
    first_frame: Option<u16>,
    bits_allocated: Option<u16>,
    bit_position: Option<u16>,
    data: Element,
}

impl Overlays {
    /// Reads the overlay groups of a DICOM JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        // Few instances have any; the others pay for a scan, not for a second parse.
        let rows_of_overlay = |key: &[u8]| {
            key.starts_with(b"\"60") && key.get(5..).is_some_and(|rest| rest == b"0010\"")
        };
        if !json.windows(10).any(rows_of_overlay) {
            return Ok(Self::default());
        }
        serde_json::from_slice(json)
    }

    /// The elements that hold data of planes.
    pub fn data(&self) -> impl Iterator<Item = &Element> {
        self.0.values().map(|plane| &plane.data)
    }

    /// Draws every plane on the picture of a frame counted from 1. `pixels` are the frame's native
    /// samples.
    pub fn draw(
        &self,
        picture: &mut Picture,
        image: &Image,
        pixels: &[u8],
        frame_number: u32,
        bulk: &BulkValues,
    ) {
        for plane in self.0.values() {
            if plane.data.is_present() {
                plane.draw_data(picture, frame_number, bulk);
            } else if plane.bits_allocated.is_some_and(|bits| bits > 1) {
                plane.draw_embedded(picture, image, pixels);
            }
        }
    }
}

impl Plane {
    fn set(&mut self, element: &str, value: Element) {
        match element {
            "0010" => self.rows = value.short(),
            "0011" => self.columns = value.short(),
            "0015" => self.frames = value.short(),
            "0050" => self.origin = value.numbers().take(2).collect(),
            "0051" => self.first_frame = value.short(),
            "0100" => self.bits_allocated = value.short(),
            "0102" => self.bit_position = value.short(),
            "3000" => self.data = value,
            _ => {}
        }
    }

    /// Column and row of the picture, from 0, under the plane's first pixel.
    fn corner(&self) -> (i64, i64) {
        let at = |index: usize| self.origin.get(index).map_or(0, |value| *value as i64 - 1);
        (at(1), at(0))
    }

    fn draw_data(&self, picture: &mut Picture, frame_number: u32, bulk: &BulkValues) {
        let (Some(rows), Some(columns)) = (self.rows, self.columns) else { return };
        let Some(bytes) = self.data.bytes(bulk) else { return };
        let (rows, columns) = (usize::from(rows), usize::from(columns));
        // A plane without a number of frames lies on all of them.
        let index = match self.frames {
            None => 0,
            Some(count) => {
                let first = u32::from(self.first_frame.unwrap_or(1));
                match frame_number.checked_sub(first) {
                    Some(index) if index < u32::from(count) => index as usize,
                    _ => return,
                }
            }
        };
        let start = index * rows * columns;
        let (left, top) = self.corner();
        for row in 0..rows {
            for column in 0..columns {
                let bit = start + row * columns + column;
                let Some(byte) = bytes.get(bit / 8) else { return };
                if byte >> (bit % 8) & 1 == 1 {
                    ink(picture, left + column as i64, top + row as i64);
                }
            }
        }
    }

    fn draw_embedded(&self, picture: &mut Picture, image: &Image, pixels: &[u8]) {
        let Some(position) = self.bit_position.map(usize::from) else { return };
        let stored = image.shift..image.shift + image.bits_stored;
        let outside = position < image.bits_allocated && !stored.contains(&position);
        let whole = matches!(image.bits_allocated, 8 | 16 | 32);
        if !outside || !whole || image.samples != 1 || image.kind != SampleKind::Integer {
            return;
        }
        let (byte, bit) = (position / 8, position % 8);
        for (index, sample) in pixels.chunks_exact(image.sample_bytes()).enumerate() {
            if sample.get(byte).is_some_and(|byte| byte >> bit & 1 == 1) {
                let (row, column) = (index / image.columns, index % image.columns);
                ink(picture, column as i64, row as i64);
            }
        }
    }
}

/// Draws one pixel, if it lies on the picture.
fn ink(picture: &mut Picture, x: i64, y: i64) {
    let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
    if x >= picture.width || y >= picture.height {
        return;
    }
    let at = (y * picture.width + x) * picture.channels;
    if let Some(pixel) = picture.samples.get_mut(at..at + picture.channels) {
        pixel.fill(INK);
    }
}

impl<'de> Deserialize<'de> for Overlays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Overlays;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a DICOM JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Overlays, A::Error> {
                let mut planes = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let group = key.get(..4).and_then(|group| u16::from_str_radix(group, 16).ok());
                    let group = group.filter(|group| (0x6000..=0x60FE).contains(group));
                    match (group.filter(|group| group % 2 == 0), key.get(4..)) {
                        (Some(group), Some(element)) => {
                            let plane: &mut Plane = planes.entry(group).or_default();
                            plane.set(element, map.next_value()?);
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Overlays(planes))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::DataSet;
    use crate::testdata::json;

    fn drawn(words: &str, pixels: &[u8], number: u32) -> Vec<u8> {
        let data_set = DataSet::parse(json(words).as_bytes()).unwrap();
        let image = Image::read(&data_set).unwrap();
        let (width, height) = (image.columns, image.rows);
        let mut picture = Picture { width, height, channels: 1, samples: vec![9; width * height] };
        let bulk = BulkValues::default();
        data_set.overlays.draw(&mut picture, &image, pixels, number, &bulk);
        picture.samples
    }

    /// Bits 1 0 0 1, first in the least significant bit.
    const DIAGONAL: &str = "60003000=raw:{\"vr\":\"OW\",\"InlineBinary\":\"CQA=\"}";

    #[test]
    fn planes_are_drawn_white_at_their_origin() {
        let size = "60000010=2 60000011=2 60000100=1";
        let here = format!("{size} {DIAGONAL}");
        assert_eq!(drawn(&here, &[0; 4], 1), [255, 9, 9, 255]);
        let moved = format!("{size} 60000050=0,2 {DIAGONAL}");
        assert_eq!(drawn(&moved, &[0; 4], 1), [9, 9, 9, 9], "row 0 lies above, column 3 beside");
        let down = format!("{size} 60000050=2,1 {DIAGONAL}");
        assert_eq!(drawn(&down, &[0; 4], 1), [9, 9, 255, 9]);
    }

    #[test]
    fn each_frame_has_its_own_plane() {
        // Two frames of one row and two columns: 1 0 | 0 1.
        let words = format!("60200010=1 60200011=2 60200015=2 60200051=3 {DIAGONAL}")
            .replace("60003000", "60203000");
        assert_eq!(drawn(&words, &[0; 4], 3), [255, 9, 9, 9]);
        assert_eq!(drawn(&words, &[0; 4], 4), [9, 255, 9, 9]);
        assert_eq!(drawn(&words, &[0; 4], 2), [9; 4]);
        assert_eq!(drawn(&words, &[0; 4], 5), [9; 4]);
    }

    #[test]
    fn planes_in_unused_bits_are_drawn_and_stored_bits_are_not() {
        let words = "bits=16 stored=12 high=11 60000010=2 60000011=2 60000100=16 60000102=15";
        let pixels = [0xFF, 0x0F, 0, 0x80, 0, 0x40, 0, 0xC0];
        assert_eq!(drawn(words, &pixels, 1), [9, 255, 9, 255]);
        let stored = words.replace("60000102=15", "60000102=11");
        assert_eq!(drawn(&stored, &pixels, 1), [9; 4]);
    }

    #[test]
    fn odd_groups_and_missing_data_draw_nothing() {
        assert_eq!(drawn("60000010=2 60000011=2", &[0; 4], 1), [9; 4]);
        assert_eq!(drawn("60010010=2 60010011=2", &[0; 4], 1), [9; 4]);
        let huge = format!("60000010=65535 60000011=65535 {DIAGONAL}");
        assert_eq!(drawn(&huge, &[0; 4], 1), [255, 9, 9, 9], "data ends, drawing ends");
    }
}
