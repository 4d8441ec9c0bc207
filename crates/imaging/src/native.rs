//! Uncompressed pixel data: lengths, byte order, packed bits.

use std::borrow::Cow;

use crate::attributes::{Image, Photometric, SampleKind};
use crate::{ImagingError, bits, malformed, unsupported};

/// Bytes that a frame of native pixel data has (PS3.5 section 8.1.1; for YBR_FULL_422 PS3.3
/// section C.7.6.3.1.2: two luminances share one pair of chrominances).
pub(crate) fn frame_bytes(image: &Image) -> usize {
    if matches!(image.photometric, Photometric::YbrFull422 | Photometric::YbrPartial422) {
        return image.rows * image.columns.div_ceil(2) * 4 * image.sample_bytes();
    }
    image.decoded_bytes()
}

/// Brings a native frame to little endian, starting on a byte.
pub(crate) fn decode<'a>(
    image: &Image,
    big_endian: bool,
    frame: &'a [u8],
    bit_offset: u8,
) -> Result<Cow<'a, [u8]>, ImagingError> {
    if image.bits_allocated == 1 {
        let swapped = if big_endian && image.words {
            if bit_offset != 0 || !frame.len().is_multiple_of(2) {
                return unsupported("big endian packed bits that do not start on a word");
            }
            Cow::Owned(swap(frame, 2))
        } else {
            Cow::Borrowed(frame)
        };
        return match bits::align(&swapped, bit_offset, image.pixels()) {
            Some(aligned) => Ok(Cow::Owned(aligned)),
            None => malformed("the frame is shorter than its dimensions say"),
        };
    }
    let length = frame_bytes(image);
    let width = match (big_endian, image.kind, image.bits_allocated) {
        (false, ..) => 1,
        (true, SampleKind::Integer, 8) => 1 + usize::from(image.words),
        (true, _, bits) => bits / 8,
    };
    // A frame of an odd number of 8-bit samples ends in the middle of a word, of which the padding
    // is then part; behind it there is nothing to lose when it is missing.
    let padded = length.next_multiple_of(width);
    let Some(bytes) = frame.get(..padded.min(frame.len())).filter(|bytes| bytes.len() >= length)
    else {
        return malformed("the frame is shorter than its dimensions say");
    };
    if width == 1 {
        return Ok(Cow::Borrowed(bytes));
    }
    if bytes.len() < padded {
        return unsupported("big endian 8-bit frames that end inside a word");
    }
    let mut swapped = swap(bytes, width);
    swapped.truncate(length);
    Ok(Cow::Owned(swapped))
}

/// Gives every pixel of native YBR_FULL_422 (Y1 Y2 Cb Cr) its own chrominances: YBR_FULL, pixel by
/// pixel.
pub(crate) fn upsample(image: &Image, pixels: &[u8]) -> Result<Vec<u8>, ImagingError> {
    if image.bits_allocated != 8 || image.planar {
        return unsupported("YBR_FULL_422 that is not 8 bits, pixel by pixel");
    }
    let mut out = Vec::with_capacity(image.decoded_bytes());
    for row in pixels.chunks_exact(image.columns.div_ceil(2) * 4).take(image.rows) {
        let start = out.len();
        for [y1, y2, cb, cr] in row.as_chunks::<4>().0 {
            out.extend([*y1, *cb, *cr, *y2, *cb, *cr]);
        }
        out.truncate(start + image.columns * 3);
    }
    Ok(out)
}

/// Reverses every group of `width` bytes.
fn swap(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    match width {
        2 => out.as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse()),
        4 => out.as_chunks_mut::<4>().0.iter_mut().for_each(|word| word.reverse()),
        _ => out.chunks_exact_mut(width.max(1)).for_each(<[u8]>::reverse),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::DataSet;
    use crate::testdata::json;

    fn image(words: &str) -> Image {
        Image::read(&DataSet::parse(json(words).as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn big_endian_is_swapped_by_the_width_of_samples() {
        let deep = image("bits=16 rows=1");
        assert_eq!(*decode(&deep, true, &[1, 2, 3, 4], 0).unwrap(), [2, 1, 4, 3]);
        let bytes = image("rows=1");
        assert_eq!(*decode(&bytes, true, &[1, 2], 0).unwrap(), [1, 2]);
        let words = image("rows=1 7FE00010=raw:{\"vr\":\"OW\"}");
        assert_eq!(*decode(&words, true, &[1, 2], 0).unwrap(), [2, 1]);
        let odd = image("rows=1 columns=3 7FE00010=raw:{\"vr\":\"OW\"}");
        assert_eq!(*decode(&odd, true, &[1, 2, 9, 3], 0).unwrap(), [2, 1, 3]);
    }

    #[test]
    fn short_frames_are_refused_and_padding_is_cut() {
        let image = image("rows=1 columns=3");
        assert!(decode(&image, false, &[1, 2], 0).is_err());
        assert_eq!(*decode(&image, false, &[1, 2, 3, 0], 0).unwrap(), [1, 2, 3]);
    }
}
