//! Colour: RGB, YBR and palettes to 8-bit RGB, pixel by pixel (PS3.3 section C.7.6.3.1).

use crate::attributes::{DataSet, Image, Photometric};
use crate::element::{BulkValues, Element};
use crate::encode::Picture;
use crate::lut::Lut;
use crate::{ImagingError, malformed, unsupported};

/// Renders a decoded frame of colours. `photometric` is what the pixels are now.
pub(crate) fn render(
    data_set: &DataSet,
    image: &Image,
    photometric: Photometric,
    pixels: &[u8],
    bulk: &BulkValues,
) -> Result<Picture, ImagingError> {
    let samples = match photometric {
        Photometric::Palette => through_palette(data_set, image, pixels, bulk)?,
        Photometric::YbrFull422 => {
            let mut rgb = upsample(image, pixels)?;
            ybr_to_rgb(&mut rgb);
            rgb
        }
        Photometric::YbrPartial422 => {
            let mut rgb = upsample(image, pixels)?;
            widen_range(&mut rgb);
            ybr_to_rgb(&mut rgb);
            rgb
        }
        Photometric::YbrFull => {
            let mut rgb = triples(image, pixels);
            ybr_to_rgb(&mut rgb);
            rgb
        }
        _ => triples(image, pixels),
    };
    if samples.len() != image.pixels() * 3 {
        return malformed("the frame is shorter than its dimensions say");
    }
    Ok(Picture { width: image.columns, height: image.rows, channels: 3, samples })
}

/// Narrows samples to bytes and orders them pixel by pixel.
fn triples(image: &Image, pixels: &[u8]) -> Vec<u8> {
    let drop = (image.shift + image.bits_stored).saturating_sub(8);
    let bytes: Vec<u8> = match image.bits_allocated {
        8 => pixels.to_vec(),
        16 => {
            let words = pixels.as_chunks::<2>().0.iter();
            words.map(|word| (u16::from_le_bytes(*word) >> drop.min(15)) as u8).collect()
        }
        _ => {
            let words = pixels.as_chunks::<4>().0.iter();
            words.map(|word| (u32::from_le_bytes(*word) >> drop.min(31)) as u8).collect()
        }
    };
    if !image.planar {
        return bytes;
    }
    let (first, rest) = bytes.split_at(image.pixels().min(bytes.len()));
    let (second, third) = rest.split_at(image.pixels().min(rest.len()));
    first.iter().zip(second).zip(third).flat_map(|((a, b), c)| [*a, *b, *c]).collect()
}

/// Spreads the chrominances of native YBR_FULL_422 (Y1 Y2 Cb Cr) over both pixels of a pair.
fn upsample(image: &Image, pixels: &[u8]) -> Result<Vec<u8>, ImagingError> {
    if image.bits_allocated != 8 || image.planar {
        return unsupported("YBR_FULL_422 that is not 8 bits, pixel by pixel");
    }
    let mut out = Vec::with_capacity(image.pixels() * 3);
    for row in pixels.chunks_exact(image.columns.div_ceil(2) * 4).take(image.rows) {
        let start = out.len();
        for [y1, y2, cb, cr] in row.as_chunks::<4>().0 {
            out.extend([*y1, *cb, *cr, *y2, *cb, *cr]);
        }
        out.truncate(start + image.columns * 3);
    }
    Ok(out)
}

/// Converts YBR_FULL to RGB in place (PS3.3 section C.7.6.3.1.2, ITU-R BT.601, full range).
pub(crate) fn ybr_to_rgb(pixels: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [y, cb, cr] = pixel.map(i32::from);
        let (y, cb, cr) = ((y << 16) + HALF, cb - 128, cr - 128);
        // Coefficients 1.402, 0.344136, 0.714136 and 1.772 in units of 1/65536.
        let rgb = [y + 91_881 * cr, y - 22_553 * cb - 46_802 * cr, y + 116_130 * cb];
        *pixel = rgb.map(|value| (value >> 16).clamp(0, 255) as u8);
    }
}

/// Brings studio range (luminance 16 to 235, chrominances 16 to 240) to full range.
fn widen_range(pixels: &mut [u8]) {
    let widen = |value: u8, low: i32, range: i32, zero: i32| {
        let scaled = ((i32::from(value) - low) * 255 * 2 / range + 1).div_euclid(2) + zero;
        scaled.clamp(0, 255) as u8
    };
    for [y, cb, cr] in pixels.as_chunks_mut::<3>().0 {
        *y = widen(*y, 16, 219, 0);
        *cb = widen(*cb, 128, 224, 128);
        *cr = widen(*cr, 128, 224, 128);
    }
}

/// Looks palette colours up. Indexes are unsigned or signed as the pixels are.
fn through_palette(
    data_set: &DataSet,
    image: &Image,
    pixels: &[u8],
    bulk: &BulkValues,
) -> Result<Vec<u8>, ImagingError> {
    let read = |descriptor, data: &Element, segments: &Element| {
        let table = if data.is_present() || !segments.is_present() {
            Lut::read(descriptor, data, image.signed, bulk)?
        } else {
            Lut::read_segmented(descriptor, segments, image.signed, bulk)?
        };
        match table {
            Some(table) => Ok(table),
            None => malformed("a palette is missing"),
        }
    };
    let DataSet { red_data, green_data, blue_data, .. } = data_set;
    let mut red = read(&data_set.red_descriptor, red_data, &data_set.red_segments)?;
    let mut green = read(&data_set.green_descriptor, green_data, &data_set.green_segments)?;
    let mut blue = read(&data_set.blue_descriptor, blue_data, &data_set.blue_segments)?;
    // One of the three may happen to hold small values only: all have the range of the widest.
    let max = red.max.max(green.max).max(blue.max);
    [&mut red, &mut green, &mut blue].into_iter().for_each(|table| table.max = max);
    if !matches!(image.bits_allocated, 8 | 16) {
        return unsupported("palette indexes of this width");
    }
    let size = 1usize << image.bits_stored;
    let colours: Vec<[u8; 3]> = (0..size as i64)
        .map(
            |index| {
                if image.signed && index >= size as i64 / 2 { index - size as i64 } else { index }
            },
        )
        .map(|index| [red.byte(index), green.byte(index), blue.byte(index)])
        .collect();
    let look_up =
        |raw: usize| colours.get((raw >> image.shift) & (size - 1)).copied().unwrap_or_default();
    Ok(match image.bits_allocated {
        8 => pixels.iter().flat_map(|byte| look_up(usize::from(*byte))).collect(),
        _ => {
            let words = pixels.as_chunks::<2>().0.iter();
            words.flat_map(|word| look_up(usize::from(u16::from_le_bytes(*word)))).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::json;

    fn rgb(words: &str, frame: &[u8]) -> Result<Vec<u8>, ImagingError> {
        let data_set = DataSet::parse(json(words).as_bytes())?;
        let image = Image::read(&data_set)?;
        let bulk = BulkValues::default();
        render(&data_set, &image, image.photometric, frame, &bulk).map(|picture| picture.samples)
    }

    const PAIR: &str = "samples=3 rows=1";

    #[test]
    fn planes_and_pixels_give_the_same_colours() {
        let pixels = rgb(&format!("{PAIR} photometric=RGB"), &[1, 2, 3, 4, 5, 6]);
        let planes = rgb(&format!("{PAIR} photometric=RGB planar=1"), &[1, 4, 2, 5, 3, 6]);
        assert_eq!(pixels.unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(planes.unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn deep_colours_keep_their_high_bits() {
        let words = format!("{PAIR} columns=1 photometric=RGB bits=16 stored=12 high=11");
        assert_eq!(rgb(&words, &[0xFF, 0x0F, 0x00, 0x08, 0x0F, 0x00]).unwrap(), [255, 128, 0]);
    }

    #[test]
    fn ybr_becomes_rgb() {
        let words = format!("{PAIR} photometric=YBR_FULL");
        // White, and the red whose luminance and chrominances BT.601 gives.
        assert_eq!(rgb(&words, &[255, 128, 128, 76, 85, 255]).unwrap(), [255, 255, 255, 254, 0, 0]);
    }

    #[test]
    fn shared_chrominances_are_spread_and_odd_columns_end_in_half_a_pair() {
        let words = "samples=3 rows=1 columns=3 photometric=YBR_FULL_422";
        let frame = [10, 20, 128, 128, 30, 99, 128, 128];
        assert_eq!(rgb(words, &frame).unwrap(), [10, 10, 10, 20, 20, 20, 30, 30, 30]);
    }

    #[test]
    fn studio_range_is_widened() {
        let words = "samples=3 rows=1 photometric=YBR_PARTIAL_422";
        assert_eq!(rgb(words, &[16, 235, 128, 128]).unwrap(), [0, 0, 0, 255, 255, 255]);
        // Red in studio range: Y 81, Cb 90, Cr 240.
        assert_eq!(rgb(words, &[81, 81, 90, 240]).unwrap()[..3], [254, 0, 0]);
    }

    #[test]
    fn segmented_palettes_of_bytes_and_a_dark_channel() {
        let descriptor = "raw:{\"vr\":\"US\",\"Value\":[4,0,16]}";
        let table = |units: &[u16]| {
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            format!("raw:{{\"vr\":\"OW\",\"InlineBinary\":\"{}\"}}", base64_of(&bytes))
        };
        let words = format!(
            "photometric=PALETTE 00281101={descriptor} 00281102={descriptor} 00281103={descriptor} \
             00281221={} 00281222={} 00281223={}",
            table(&[0, 1, 0, 1, 3, 0xFFFF]),
            table(&[0, 4, 0, 0x4000, 0x8000, 0xC000]),
            table(&[0, 4, 0, 0, 0, 0xFF]),
        );
        let colours = rgb(&words, &[0, 1, 2, 3]).unwrap();
        assert_eq!(colours, [0, 0, 0, 85, 64, 0, 170, 128, 0, 255, 192, 0]);
    }

    fn base64_of(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte))
                << (8 * (3 - group.len()));
            for digit in 0..=group.len() {
                text.push(DIGITS[(word >> (18 - 6 * digit)) as usize & 63] as char);
            }
        }
        text
    }

    #[test]
    fn palettes_with_few_entries_and_a_first_value() {
        let table = |data: &str| format!("raw:{{\"vr\":\"OW\",\"InlineBinary\":\"{data}\"}}");
        let descriptor = "raw:{\"vr\":\"US\",\"Value\":[2,10,16]}";
        let words = format!(
            "photometric=PALETTE 00281101={descriptor} 00281102={descriptor} 00281103={descriptor} \
             00281201={} 00281202={} 00281203={}",
            table("AAD//w=="), // 0, 65535
            table("AIAAQA=="), // 32768, 16384
            table("AAAAAQ=="), // 0, 256
        );
        let colours = rgb(&words, &[0, 10, 11, 200]).unwrap();
        assert_eq!(colours, [0, 128, 0, 0, 128, 0, 255, 64, 1, 255, 64, 1]);
        let missing = rgb("photometric=PALETTE", &[0; 4]);
        assert!(matches!(missing, Err(ImagingError::Malformed(_))));
    }
}
