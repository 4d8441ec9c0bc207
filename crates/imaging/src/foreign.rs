//! Pictures of the world outside DICOM, as native pixels: what STOW-RS clients may send instead of
//! pixel data (PS3.18 section 10.5.2).

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::{ImagingError, MAX_FRAME_BYTES, malformed};

/// A picture as pixels of Explicit VR Little Endian, colour by pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
    /// 1 (MONOCHROME2) or 3 (RGB).
    pub samples: u16,
    /// 8 or 16.
    pub bits: u16,
    /// Rows from the top, without padding.
    pub pixels: Vec<u8>,
}

/// About how many bytes decoding a PNG file takes, as its header says; 0 when it is none.
pub fn png_memory(file: &[u8]) -> u64 {
    let side = |at: usize| {
        let bytes = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_be_bytes))
    };
    // Four samples of two bytes; what is beyond the limit fails before it is allocated.
    side(16).saturating_mul(side(20)).saturating_mul(8).min(MAX_FRAME_BYTES as u64)
}

/// Decodes a PNG file. Transparency is dropped, palettes become colours.
///
/// # Errors
///
/// It is damaged, or larger than [`MAX_FRAME_BYTES`].
pub fn png(bytes: &[u8]) -> Result<Raster, ImagingError> {
    let decode = || {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
        let mut limits = Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(65_535), Some(65_535));
        limits.max_alloc = Some(MAX_FRAME_BYTES as u64);
        reader.limits(limits);
        reader.decode()
    };
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(picture)) => raster(picture),
        Ok(Err(image::ImageError::Limits(_))) => Err(ImagingError::TooLarge),
        Ok(Err(_)) | Err(_) => malformed("the PNG file is damaged"),
    }
}

fn raster(picture: DynamicImage) -> Result<Raster, ImagingError> {
    let side = |length: u32| u16::try_from(length).map_err(|_| ImagingError::TooLarge);
    let (rows, columns) = (side(picture.height())?, side(picture.width())?);
    let wide = |words: Vec<u16>| words.into_iter().flat_map(u16::to_le_bytes).collect();
    let (samples, bits, pixels) = match picture {
        DynamicImage::ImageLuma8(picture) => (1, 8, picture.into_raw()),
        DynamicImage::ImageLumaA8(_) => (1, 8, picture.into_luma8().into_raw()),
        DynamicImage::ImageLuma16(picture) => (1, 16, wide(picture.into_raw())),
        DynamicImage::ImageLumaA16(_) => (1, 16, wide(picture.into_luma16().into_raw())),
        DynamicImage::ImageRgb16(picture) => (3, 16, wide(picture.into_raw())),
        DynamicImage::ImageRgba16(_) => (3, 16, wide(picture.into_rgb16().into_raw())),
        DynamicImage::ImageRgb8(picture) => (3, 8, picture.into_raw()),
        other => (3, 8, other.into_rgb8().into_raw()),
    };
    Ok(Raster { rows, columns, samples, bits, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(picture: DynamicImage) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn pixels_come_out_as_they_went_in() {
        let gray = image::ImageBuffer::from_raw(2, 1, vec![1u16, 0x1234]).unwrap();
        let raster = png(&encoded(DynamicImage::ImageLuma16(gray))).unwrap();
        let expected =
            Raster { rows: 1, columns: 2, samples: 1, bits: 16, pixels: vec![1, 0, 0x34, 0x12] };
        assert_eq!(raster, expected);
        assert_eq!(
            png_memory(&encoded(DynamicImage::ImageLuma16(
                image::ImageBuffer::from_raw(2, 1, vec![1u16, 2]).unwrap()
            ))),
            16
        );
        let clear = image::ImageBuffer::from_raw(1, 1, vec![9u8, 8, 7, 0]).unwrap();
        let raster = png(&encoded(DynamicImage::ImageRgba8(clear))).unwrap();
        assert_eq!((raster.samples, raster.bits, raster.pixels), (3, 8, vec![9, 8, 7]));
    }

    #[test]
    fn hostile_files_are_errors() {
        let gray = image::ImageBuffer::from_raw(2, 1, vec![1u8, 2]).unwrap();
        let mut file = encoded(DynamicImage::ImageLuma8(gray));
        assert!(png(&file[..file.len() / 2]).is_err());
        assert!(png(b"").is_err());
        // 65,535 x 65,535 pixels of RGB, with a right checksum or not: nothing is allocated.
        file[16..24].copy_from_slice(&[0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF]);
        assert!(png(&file).is_err());
    }
}
