//! Decoded frames as encoders want them: one whole number per sample, pixel by pixel.

use crate::attributes::{Image, SampleKind};
use crate::decode::Frame;
use crate::{ImagingError, bits, malformed, unsupported};

/// Samples pixel by pixel, as unsigned numbers of `precision` bits: signed ones in two's complement.
pub(crate) struct Raster {
    pub samples: Vec<u16>,
    /// Bits Stored.
    pub precision: u8,
}

impl Raster {
    /// Reads a frame of full colour resolution with up to 16 bits per sample.
    pub fn read(image: &Image, frame: &Frame<'_>) -> Result<Self, ImagingError> {
        if image.kind != SampleKind::Integer {
            return unsupported("compression of floating point pixels");
        }
        let pixels = &*frame.pixels;
        let mut samples: Vec<u16> = match image.bits_allocated {
            1 => bits::unpack(pixels, image.pixels()).into_iter().map(u16::from).collect(),
            8 => pixels.iter().copied().map(u16::from).collect(),
            16 => {
                let words = pixels.as_chunks::<2>().0.iter();
                words.map(|word| u16::from_le_bytes(*word)).collect()
            }
            bits => return unsupported(format!("this codec for {bits} bits allocated")),
        };
        if samples.len() != image.pixels() * image.samples {
            return malformed("the frame is shorter than its dimensions say");
        }
        if image.planar {
            samples = interleave(&samples, image.samples);
        }
        let allocated = image.bits_allocated as u32;
        let mask = |bits: u32| (u32::MAX >> (32 - bits)) as u16;
        let stored = image.bits_stored as u32;
        let sign = 1u16 << (stored - 1);
        let high = mask(allocated) & !mask(stored);
        // The sign may be extended or not, even from sample to sample: neither carries anything.
        let clean = samples.iter().all(|sample| match sample & high {
            0 => true,
            bits => image.signed && sample & sign != 0 && bits == high,
        });
        if !clean || image.shift != 0 {
            // Overlays in old images. A codestream holds Bits Stored and nothing else (PS3.5 section
            // 8.1.1): without those bits something is lost, with them readers see other values.
            return unsupported("compression of samples that hold more than their stored bits");
        }
        samples.iter_mut().for_each(|sample| *sample &= mask(stored));
        Ok(Self { samples, precision: stored as u8 })
    }
}

/// Planes to pixels.
fn interleave(planes: &[u16], count: usize) -> Vec<u16> {
    let plane = planes.len() / count;
    let mut out = vec![0; planes.len()];
    for (index, samples) in planes.chunks_exact(plane.max(1)).enumerate() {
        let targets = out.iter_mut().skip(index).step_by(count);
        targets.zip(samples).for_each(|(to, from)| *to = *from);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::attributes::{DataSet, Photometric};
    use crate::testdata::json;

    fn raster(words: &str, samples: &[u16]) -> Result<Raster, ImagingError> {
        let image = Image::read(&DataSet::parse(json(words).as_bytes())?)?;
        let pixels = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let photometric = Photometric::Monochrome2;
        Raster::read(&image, &Frame { pixels: Cow::Owned(pixels), photometric })
    }

    #[test]
    fn signs_count_whether_they_are_extended_or_not() {
        let words = "rows=1 columns=4 bits=16 stored=12 high=11 signed=1";
        let read = raster(words, &[0x0FFF, 0xFFFF, 0x0001, 0x07FF]).unwrap();
        assert_eq!(read.precision, 12);
        assert_eq!(read.samples, [0x0FFF, 0x0FFF, 0x0001, 0x07FF]);
    }

    #[test]
    fn samples_that_hold_more_than_their_stored_bits_are_not_compressed() {
        let signed = "rows=1 columns=2 bits=16 stored=12 high=11 signed=1";
        let unsigned = "rows=1 columns=2 bits=16 stored=12 high=11";
        let shifted = "rows=1 columns=2 bits=16 stored=12 high=15";
        for (words, samples) in [
            (signed, [0x8FFF, 1]),
            (signed, [0xF7FF, 1]),
            (unsigned, [0xFFFF, 1]),
            (shifted, [0xFFF0, 0x10]),
        ] {
            let answer = raster(words, &samples);
            assert!(matches!(answer, Err(ImagingError::Unsupported(_))), "{words}");
        }
    }
}
