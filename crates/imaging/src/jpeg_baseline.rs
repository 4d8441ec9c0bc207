//! Baseline JPEG (ISO/IEC 10918-1, process 1) as it is written here, for pictures and for transcoding.

use libjpeg_turbo_rs::{Encoder, JpegError, PixelFormat, Subsampling, compress_raw};

use crate::{ImagingError, unsupported};

/// 8-bit samples, row by row, pixel by pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Samples<'a> {
    Gray(&'a [u8]),
    Rgb(&'a [u8]),
    /// Luminance and two chrominances over the full range.
    YbrFull(&'a [u8]),
}

/// Which pixels have chrominances of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chrominances {
    EachPixel,
    /// Two beside each other: 4:2:2, which DICOM calls YBR_FULL_422.
    Pair,
    /// Two by two: 4:2:0.
    Square,
}

impl Chrominances {
    fn subsampling(self) -> Subsampling {
        match self {
            Self::EachPixel => Subsampling::S444,
            Self::Pair => Subsampling::S422,
            Self::Square => Subsampling::S420,
        }
    }
}

/// Encodes a picture with a quality of 1 to 100; other values are clamped.
///
/// # Errors
///
/// [`ImagingError::Unsupported`] for what JPEG has no place for: sides of zero or above 65,535 pixels.
pub(crate) fn encode(
    samples: Samples<'_>,
    (width, height): (usize, usize),
    quality: u8,
    chrominances: Chrominances,
    profile: Option<&[u8]>,
) -> Result<Vec<u8>, ImagingError> {
    let quality = quality.clamp(1, 100);
    if [width, height].iter().any(|side| !(1..=65_535).contains(side)) {
        return unsupported("a JPEG with such sides");
    }
    let interleaved = |samples, format| {
        let encoder = Encoder::new(samples, width, height, format).quality(quality);
        let encoder = encoder.subsampling(chrominances.subsampling());
        match profile {
            Some(profile) => encoder.icc_profile(profile).encode(),
            None => encoder.encode(),
        }
    };
    let encoded = match samples {
        // The library is three times as fast with planes as with pixels here.
        Samples::Gray(samples) if profile.is_none() => {
            compress_raw(&[samples], &[width], &[height], width, height, quality, Subsampling::S444)
        }
        Samples::Gray(samples) => interleaved(samples, PixelFormat::Grayscale),
        Samples::Rgb(samples) => interleaved(samples, PixelFormat::Rgb),
        Samples::YbrFull(samples) => planes(samples, (width, height), quality),
    };
    encoded.or_else(|_| unsupported("a JPEG of this picture"))
}

/// YBR_FULL pixels as 4:2:2.
fn planes(
    samples: &[u8],
    (width, height): (usize, usize),
    quality: u8,
) -> Result<Vec<u8>, JpegError> {
    let pixels = samples.as_chunks::<3>().0;
    let luminance: Vec<u8> = pixels.iter().map(|[y, _, _]| *y).collect();
    let half = width.div_ceil(2);
    let shared = |channel: fn(&[u8; 3]) -> u16| -> Vec<u8> {
        let pairs = pixels.chunks_exact(width).flat_map(|row| row.chunks(2));
        let mean = |pair: &[[u8; 3]]| {
            let count = pair.len() as u16;
            ((pair.iter().map(channel).sum::<u16>() + count / 2) / count) as u8
        };
        pairs.map(mean).collect()
    };
    let (blue, red) = (shared(|pixel| u16::from(pixel[1])), shared(|pixel| u16::from(pixel[2])));
    let (widths, heights) = ([width, half, half], [height; 3]);
    let planes = [luminance.as_slice(), &blue, &red];
    compress_raw(&planes, &widths, &heights, width, height, quality, Subsampling::S422)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes with another library.
    fn decode(stream: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut decoder = jpeg_decoder::Decoder::new(stream);
        let pixels = decoder.decode().unwrap();
        let info = decoder.info().unwrap();
        (info.width.into(), info.height.into(), pixels)
    }

    /// A soft slope, so that nothing is lost but what quantization takes.
    fn slope(width: usize, height: usize, channel: usize) -> impl Iterator<Item = u8> {
        (0..width * height).map(move |index| {
            let (x, y) = (index % width, index / width);
            (40 + 60 * channel + 30 * x / width + 20 * y / height) as u8
        })
    }

    #[test]
    fn every_side_is_encoded_to_its_last_pixel() {
        for (width, height) in [(1, 1), (8, 8), (7, 9), (17, 3), (64, 1), (1, 64), (33, 40)] {
            let gray: Vec<u8> = slope(width, height, 1).collect();
            let profile = crate::icc::gray();
            for profile in [None, Some(profile.as_slice())] {
                let each = Chrominances::EachPixel;
                let stream = encode(Samples::Gray(&gray), (width, height), 95, each, profile);
                let (columns, rows, pixels) = decode(&stream.unwrap());
                assert_eq!((columns, rows), (width, height));
                assert!(pixels.iter().zip(&gray).all(|(a, b)| a.abs_diff(*b) <= 4));
            }
            let channels = [0, 1, 2].map(|c| slope(width, height, c).collect::<Vec<u8>>());
            let colours: Vec<u8> =
                (0..width * height).flat_map(|i| channels.each_ref().map(|c| c[i])).collect();
            for chrominances in [Chrominances::EachPixel, Chrominances::Pair, Chrominances::Square]
            {
                let stream =
                    encode(Samples::Rgb(&colours), (width, height), 95, chrominances, None);
                let (columns, rows, pixels) = decode(&stream.unwrap());
                assert_eq!((columns, rows), (width, height));
                assert!(pixels.iter().zip(&colours).all(|(a, b)| a.abs_diff(*b) <= 12));
            }
        }
    }

    #[test]
    fn chrominances_of_two_pixels_are_their_mean() {
        // Blue from 90 and 110, red from 10 and 30 in turn; the last column is alone.
        let mut row = [[100, 90, 10], [100, 110, 30]].repeat(16).concat();
        row.extend([100, 90, 10]);
        let colours = row.repeat(16);
        let sides = (33, 16);
        let stream = encode(Samples::YbrFull(&colours), sides, 100, Chrominances::Pair, None);
        let mut decoder = jpeg_decoder::Decoder::new(stream.as_deref().unwrap());
        decoder.set_color_transform(jpeg_decoder::ColorTransform::RGB);
        let pixels = decoder.decode().unwrap();
        let pixels = pixels.as_chunks::<3>().0;
        assert!(pixels[..24].iter().all(|[_, b, r]| b.abs_diff(100) < 3 && r.abs_diff(20) < 3));
        assert!(pixels[32][1].abs_diff(90) < 4 && pixels[32][2].abs_diff(10) < 4);
    }

    #[test]
    fn sides_that_jpeg_cannot_say_are_refused() {
        for sides in [(0, 4), (4, 0), (65_536, 1)] {
            let answer = encode(Samples::Gray(&[0; 16]), sides, 90, Chrominances::EachPixel, None);
            assert!(matches!(answer, Err(ImagingError::Unsupported(_))), "{sides:?}");
        }
    }
}
