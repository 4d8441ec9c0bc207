//! Encoding a picture as JPEG or PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::jpeg_baseline::{self, Chrominances, Samples};
use crate::rendering::{Format, Rendered};
use crate::{ImagingError, malformed};

/// From this JPEG quality on, every pixel keeps its own chrominances.
const FULL_COLOUR: u8 = 90;

/// An 8-bit picture, gray (one channel) or RGB (three), row by row, pixel by pixel.
#[derive(Debug)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub samples: Vec<u8>,
}

/// Encodes, with an ICC profile when there is one.
pub(crate) fn encode(
    picture: &Picture,
    format: Format,
    quality: u8,
    profile: Option<&[u8]>,
) -> Result<Rendered, ImagingError> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let samples = picture.samples.as_slice();
    let (bytes, content_type) = match format {
        Format::Jpeg => {
            let (samples, chrominances) = match picture.channels {
                1 => (Samples::Gray(samples), Chrominances::EachPixel),
                _ if quality < FULL_COLOUR => (Samples::Rgb(samples), Chrominances::Square),
                _ => (Samples::Rgb(samples), Chrominances::EachPixel),
            };
            let sides = (picture.width, picture.height);
            (jpeg_baseline::encode(samples, sides, quality, chrominances, profile)?, "image/jpeg")
        }
        Format::Png => {
            let colour = match picture.channels {
                1 => ExtendedColorType::L8,
                _ => ExtendedColorType::Rgb8,
            };
            let mut bytes = Vec::with_capacity(samples.len() / 4 + 1024);
            let mut encoder = PngEncoder::new_with_quality(
                &mut bytes,
                CompressionType::Fast,
                FilterType::Adaptive,
            );
            let labelled = profile.is_none_or(|icc| encoder.set_icc_profile(icc.to_vec()).is_ok());
            let written = encoder.write_image(samples, width, height, colour).is_ok();
            if !(labelled && written) {
                return malformed("the picture cannot be encoded");
            }
            (bytes, "image/png")
        }
    };
    Ok(Rendered { bytes, content_type, width, height })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icc;

    fn gray(format: Format, profile: Option<&[u8]>) -> Vec<u8> {
        let samples: Vec<u8> = (0..=255).collect();
        let source = Picture { width: 16, height: 16, channels: 1, samples };
        encode(&source, format, 90, profile).unwrap().bytes
    }

    #[test]
    fn png_is_exact() {
        let bytes = gray(Format::Png, None);
        let back = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png);
        assert_eq!(back.unwrap().into_luma8().into_raw(), (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn profiles_are_carried_where_asked_for() {
        let profile = icc::gray();
        let has = |bytes: &[u8], mark: &[u8]| bytes.windows(mark.len()).any(|part| part == mark);
        assert!(has(&gray(Format::Jpeg, Some(&profile)), b"ICC_PROFILE"));
        assert!(has(&gray(Format::Png, Some(&profile)), b"iCCP"));
        assert!(!has(&gray(Format::Jpeg, None), b"ICC_PROFILE"));
        assert!(!has(&gray(Format::Png, None), b"iCCP"));
    }
}
