//! Synthetic instances: small images whose bytes follow from their number, and objects of any size
//! that are generated while they are sent.

use super::data_set::{self, DataSet};
use super::peer::EXPLICIT;
use super::unique;
use std::io::{self, Read};

/// CT Image Storage.
pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Multi-frame Grayscale Byte Secondary Capture Image Storage.
pub const MULTI_FRAME_BYTE: &str = "1.2.840.10008.5.1.4.1.1.7.2";
/// Multi-frame Grayscale Word Secondary Capture Image Storage.
pub const MULTI_FRAME_WORD: &str = "1.2.840.10008.5.1.4.1.1.7.3";

/// Pixel Data.
pub const PIXEL_DATA: u32 = 0x7FE0_0010;

/// Side of a frame of [`BigObject`], in pixels of two bytes.
const SIDE: u32 = 512;
/// Bytes of a frame of [`BigObject`].
pub const FRAME: usize = (SIDE * SIDE * 2) as usize;

/// Returns a UID that no other call returns.
pub fn new_uid() -> String {
    format!("2.25.{}", (u128::from(unique()) << 20) | 1)
}

/// Where an instance belongs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
}

impl Place {
    /// A series in a study of its own.
    pub fn new() -> Self {
        Self { study: new_uid(), series: new_uid() }
    }
}

/// An encoded instance and what identifies it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Study and series.
    pub place: Place,
    /// SOP Class UID.
    pub class: String,
    /// SOP Instance UID.
    pub uid: String,
    /// The data set, Explicit VR Little Endian.
    pub data_set: Vec<u8>,
}

impl Instance {
    /// Encodes elements that hold the identifying attributes already.
    pub fn new(place: &Place, class: &str, uid: &str, elements: &DataSet) -> Self {
        Self {
            place: place.clone(),
            class: class.to_owned(),
            uid: uid.to_owned(),
            data_set: elements.encode(),
        }
    }

    /// The instance as a file.
    pub fn part10(&self) -> Vec<u8> {
        data_set::part10(&self.class, &self.uid, EXPLICIT, &self.data_set)
    }

    /// Its path under the DICOMweb root.
    pub fn path(&self) -> String {
        let Place { study, series } = &self.place;
        format!("/studies/{study}/series/{series}/instances/{}", self.uid)
    }
}

/// The elements every synthetic image has; a test adds or replaces what it is about.
pub fn elements(place: &Place, class: &str, uid: &str) -> DataSet {
    DataSet::default()
        .text(0x0008_0005, "CS", "ISO_IR 192")
        .text(0x0008_0008, "CS", r"ORIGINAL\PRIMARY\AXIAL")
        .text(0x0008_0016, "UI", class)
        .text(0x0008_0018, "UI", uid)
        .text(0x0008_0020, "DA", "20260105")
        .text(0x0008_0030, "TM", "091500")
        .text(0x0008_0050, "SH", "ACC-1")
        .text(0x0008_0060, "CS", "CT")
        .text(0x0008_0090, "PN", "Refer^Ring")
        .text(0x0008_1030, "LO", "Synthetic study")
        .text(0x0010_0010, "PN", "Test^Synthetic")
        .text(0x0010_0020, "LO", "SYN-1")
        .text(0x0010_0030, "DA", "19700101")
        .text(0x0010_0040, "CS", "O")
        .text(0x0020_000D, "UI", &place.study)
        .text(0x0020_000E, "UI", &place.series)
        .text(0x0020_0010, "SH", "1")
        .text(0x0020_0011, "IS", "1")
        .text(0x0020_0013, "IS", "1")
}

/// Adds a 16 bit greyscale image of the given size.
pub fn image(elements: DataSet, rows: u16, columns: u16, pixels: Vec<u8>) -> DataSet {
    elements
        .us(0x0028_0002, 1)
        .text(0x0028_0004, "CS", "MONOCHROME2")
        .us(0x0028_0010, rows)
        .us(0x0028_0011, columns)
        .us(0x0028_0100, 16)
        .us(0x0028_0101, 16)
        .us(0x0028_0102, 15)
        .us(0x0028_0103, 0)
        .bytes(PIXEL_DATA, "OW", pixels)
}

/// RLE Lossless.
pub const RLE: &str = "1.2.840.10008.1.2.5";
/// JPEG 2000 Image Compression (Lossless Only).
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";

/// Encapsulated pixel data as a test wants it, sound or not (PS3.5 annex A.4).
#[derive(Debug, Clone, Default)]
pub struct Encapsulated<'a> {
    /// Transfer Syntax UID.
    pub syntax: &'a str,
    /// Number of Frames.
    pub frames: u32,
    /// The basic offset table's entries; none makes it empty.
    pub table: Vec<u32>,
    /// The fragments.
    pub fragments: Vec<Vec<u8>>,
    /// Entries of the extended offset table and its lengths, when there is one.
    pub extended: Option<(Vec<u64>, Vec<u64>)>,
}

impl Encapsulated<'_> {
    /// Where each fragment starts, as offset tables count.
    pub fn starts(&self) -> Vec<u32> {
        let mut at = 0;
        let step = |fragment: &Vec<u8>| {
            let start = at;
            at += 8 + fragment.len() as u32;
            start
        };
        self.fragments.iter().map(step).collect()
    }

    /// A file with these pixels of 16 x 16 x 8 bits, in a study of its own.
    pub fn file(&self) -> (Instance, Vec<u8>) {
        let place = Place::new();
        let uid = new_uid();
        let mut elements = elements(&place, MULTI_FRAME_BYTE, &uid)
            .text(0x0028_0008, "IS", &self.frames.to_string())
            .us(0x0028_0002, 1)
            .text(0x0028_0004, "CS", "MONOCHROME2")
            .us(0x0028_0010, 16)
            .us(0x0028_0011, 16)
            .us(0x0028_0100, 8)
            .us(0x0028_0101, 8)
            .us(0x0028_0102, 7)
            .us(0x0028_0103, 0);
        if let Some((offsets, lengths)) = &self.extended {
            let bytes = |all: &[u64]| all.iter().flat_map(|one| one.to_le_bytes()).collect();
            elements = elements.bytes(0x7FE0_0001, "OV", bytes(offsets)).bytes(
                0x7FE0_0002,
                "OV",
                bytes(lengths),
            );
        }
        let mut instance = Instance::new(&place, MULTI_FRAME_BYTE, &uid, &elements);
        let out = &mut instance.data_set;
        data_set::header(out, PIXEL_DATA, b"OB", u32::MAX);
        let table = self.table.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<_>>();
        for item in std::iter::once(&table).chain(&self.fragments) {
            out.extend([0xFE, 0xFF, 0x00, 0xE0]);
            out.extend((item.len() as u32).to_le_bytes());
            out.extend(item);
        }
        out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let file = data_set::part10(MULTI_FRAME_BYTE, &uid, self.syntax, &instance.data_set);
        (instance, file)
    }
}

/// A frame of 16 x 16 bytes and its RLE encoding (PS3.5 annex G): one segment of literal runs.
pub fn rle_frame(seed: u64) -> (Vec<u8>, Vec<u8>) {
    let pixels = noise(seed, 256);
    let mut encoded = vec![0; 64];
    encoded[0] = 1;
    encoded[4] = 64;
    for run in pixels.chunks(128) {
        encoded.push(127);
        encoded.extend(run);
    }
    (pixels, encoded)
}

/// A CT image of `rows` x 128 pixels whose pixels and numbers follow from `number`.
pub fn ct(place: &Place, number: u32, rows: u16) -> Instance {
    let uid = format!("{}.{number}", place.series);
    let pixels = noise(u64::from(number), usize::from(rows) * 256);
    let elements = elements(place, CT, &uid).text(0x0020_0013, "IS", &number.to_string());
    Instance::new(place, CT, &uid, &image(elements, rows, 128, pixels))
}

/// Bytes that look random and repeat for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// A multi-frame object of 512 x 512 x 16 bit frames, generated while it is read.
#[derive(Clone)]
pub struct BigObject {
    /// What identifies it; its data set is the part before the pixels.
    pub head: Instance,
    frames: u32,
    position: u64,
    pattern: std::sync::Arc<Vec<u8>>,
}

impl BigObject {
    /// An object of `frames` frames, 512 KiB each.
    pub fn new(frames: u32) -> Self {
        let place = Place::new();
        let uid = new_uid();
        let elements = elements(&place, MULTI_FRAME_WORD, &uid)
            .text(0x0008_0064, "CS", "WSD")
            .text(0x0028_0008, "IS", &frames.to_string());
        let elements = image(elements, SIDE as u16, SIDE as u16, Vec::new()).without(PIXEL_DATA);
        let mut head = Instance::new(&place, MULTI_FRAME_WORD, &uid, &elements);
        data_set::header(&mut head.data_set, PIXEL_DATA, b"OW", frames * FRAME as u32);
        let pattern = std::sync::Arc::new(noise(1, FRAME * 2));
        Self { head, frames, position: 0, pattern }
    }

    /// Length of the data set in bytes.
    pub fn length(&self) -> u64 {
        self.head.data_set.len() as u64 + u64::from(self.frames) * FRAME as u64
    }

    /// The bytes of a frame, counted from 1.
    pub fn frame(&self, number: u32) -> &[u8] {
        // Frames are windows into one pattern at different places, so each differs from the others.
        let start = (number as usize * 514) % FRAME;
        &self.pattern[start..start + FRAME]
    }
}

impl Read for BigObject {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = self.head.data_set.len() as u64;
        let source = if self.position < head {
            &self.head.data_set[self.position as usize..]
        } else {
            let pixel = self.position - head;
            let number = (pixel / FRAME as u64) as u32;
            if number >= self.frames {
                return Ok(0);
            }
            &self.frame(number + 1)[(pixel % FRAME as u64) as usize..]
        };
        let count = source.len().min(buffer.len());
        buffer[..count].copy_from_slice(&source[..count]);
        self.position += count as u64;
        Ok(count)
    }
}
