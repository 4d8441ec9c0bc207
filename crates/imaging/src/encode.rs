//! Encoding a picture as JPEG or PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::rendering::{Format, Rendered};
use crate::{ImagingError, malformed};

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
    let (Ok(width), Ok(height)) = (u16::try_from(picture.width), u16::try_from(picture.height))
    else {
        return Err(ImagingError::TooLarge);
    };
    let samples = picture.samples.as_slice();
    let mut bytes = Vec::with_capacity(samples.len() / 4 + 1024);
    let (done, content_type) = match format {
        Format::Jpeg => {
            let colour = match picture.channels {
                1 => jpeg_encoder::ColorType::Luma,
                _ => jpeg_encoder::ColorType::Rgb,
            };
            let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality.clamp(1, 100));
            let labelled = profile.is_none_or(|icc| encoder.add_icc_profile(icc).is_ok());
            (labelled && encoder.encode(samples, width, height, colour).is_ok(), "image/jpeg")
        }
        Format::Png => {
            let colour = match picture.channels {
                1 => ExtendedColorType::L8,
                _ => ExtendedColorType::Rgb8,
            };
            let mut encoder = PngEncoder::new_with_quality(
                &mut bytes,
                CompressionType::Fast,
                FilterType::Adaptive,
            );
            let labelled = profile.is_none_or(|icc| encoder.set_icc_profile(icc.to_vec()).is_ok());
            let (width, height) = (u32::from(width), u32::from(height));
            let written = encoder.write_image(samples, width, height, colour).is_ok();
            (labelled && written, "image/png")
        }
    };
    if !done {
        return malformed("the picture cannot be encoded");
    }
    Ok(Rendered { bytes, content_type, width: width.into(), height: height.into() })
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
