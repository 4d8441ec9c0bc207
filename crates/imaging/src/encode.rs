//! Scaling to a viewport and encoding as JPEG or PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops;
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Luma, Rgb};

use crate::{Format, ImagingError, RenderOptions, Rendered, malformed};

/// An 8-bit picture, gray (one channel) or RGB (three), row by row, pixel by pixel.
#[derive(Debug)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub samples: Vec<u8>,
}

/// Scales and encodes.
pub(crate) fn encode(picture: Picture, options: &RenderOptions) -> Result<Rendered, ImagingError> {
    let picture = match options.viewport.and_then(|viewport| fit(&picture, viewport)) {
        Some((width, height)) => scale(picture, width, height)?,
        None => picture,
    };
    let (Ok(width), Ok(height)) = (u16::try_from(picture.width), u16::try_from(picture.height))
    else {
        return Err(ImagingError::TooLarge);
    };
    let samples = picture.samples.as_slice();
    let mut bytes = Vec::with_capacity(samples.len() / 4 + 1024);
    let (done, content_type) = match options.format {
        Format::Jpeg => {
            let colour = match picture.channels {
                1 => jpeg_encoder::ColorType::Luma,
                _ => jpeg_encoder::ColorType::Rgb,
            };
            let encoder = jpeg_encoder::Encoder::new(&mut bytes, options.quality.clamp(1, 100));
            (encoder.encode(samples, width, height, colour).is_ok(), "image/jpeg")
        }
        Format::Png => {
            let colour = match picture.channels {
                1 => ExtendedColorType::L8,
                _ => ExtendedColorType::Rgb8,
            };
            let encoder = PngEncoder::new_with_quality(
                &mut bytes,
                CompressionType::Fast,
                FilterType::Adaptive,
            );
            let (width, height) = (u32::from(width), u32::from(height));
            (encoder.write_image(samples, width, height, colour).is_ok(), "image/png")
        }
    };
    if !done {
        return malformed("the picture cannot be encoded");
    }
    Ok(Rendered { bytes, content_type, width: width.into(), height: height.into() })
}

/// Greatest size inside the viewport with the picture's aspect ratio; `None` when it fits already.
fn fit(picture: &Picture, (width, height): (u32, u32)) -> Option<(usize, usize)> {
    let across = f64::from(width.max(1)) / picture.width as f64;
    let down = f64::from(height.max(1)) / picture.height as f64;
    let factor = across.min(down);
    if factor >= 1.0 {
        return None;
    }
    let side = |length: usize| ((length as f64 * factor).round() as usize).max(1);
    Some((side(picture.width), side(picture.height)))
}

/// Scales down: first by averaging whole blocks, which is fast, then smoothly to the exact size.
fn scale(picture: Picture, width: usize, height: usize) -> Result<Picture, ImagingError> {
    let block = (picture.width / width).min(picture.height / height) / 2;
    let picture = if block >= 2 { shrink(&picture, block) } else { picture };
    let (from, to) = ((picture.width as u32, picture.height as u32), (width as u32, height as u32));
    let filter = imageops::FilterType::CatmullRom;
    let channels = picture.channels;
    let scaled = if channels == 1 {
        ImageBuffer::<Luma<u8>, _>::from_raw(from.0, from.1, picture.samples)
            .map(|source| imageops::resize(&source, to.0, to.1, filter).into_raw())
    } else {
        ImageBuffer::<Rgb<u8>, _>::from_raw(from.0, from.1, picture.samples)
            .map(|source| imageops::resize(&source, to.0, to.1, filter).into_raw())
    };
    match scaled {
        Some(samples) => Ok(Picture { width, height, channels, samples }),
        None => malformed("the frame is shorter than its dimensions say"),
    }
}

/// Averages blocks of `block` x `block` pixels; blocks at the right and lower edge may be smaller.
fn shrink(picture: &Picture, block: usize) -> Picture {
    let channels = picture.channels;
    let width = picture.width.div_ceil(block);
    let height = picture.height.div_ceil(block);
    let mut samples = Vec::with_capacity(width * height * channels);
    let mut sums = vec![0u32; width * channels];
    for band in picture.samples.chunks(picture.width * channels * block) {
        sums.fill(0);
        for row in band.chunks(picture.width * channels) {
            let blocks = row.chunks(block * channels).zip(sums.chunks_exact_mut(channels));
            for (pixels, sum) in blocks {
                for pixel in pixels.chunks_exact(channels) {
                    sum.iter_mut().zip(pixel).for_each(|(sum, s)| *sum += u32::from(*s));
                }
            }
        }
        let rows = band.len() / (picture.width * channels);
        let columns = (0..width).map(|index| block.min(picture.width - index * block));
        for (sum, columns) in sums.chunks_exact(channels).zip(columns) {
            let area = (rows * columns).max(1) as u32;
            samples.extend(sum.iter().map(|sum| ((sum + area / 2) / area) as u8));
        }
    }
    Picture { width, height, channels, samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, channels: usize) -> Picture {
        Picture { width, height, channels, samples: vec![77; width * height * channels] }
    }

    #[test]
    fn the_aspect_ratio_is_kept_and_nothing_is_enlarged() {
        for (size, viewport, expected) in [
            ((512, 512), (128, 128), (128, 128)),
            ((512, 256), (128, 128), (128, 64)),
            ((100, 1000), (128, 128), (13, 128)),
            ((64, 64), (128, 128), (64, 64)),
            ((4000, 3), (100, 100), (100, 1)),
        ] {
            for channels in [1, 3] {
                let options =
                    RenderOptions { viewport: Some(viewport), ..RenderOptions::default() };
                let out = encode(picture(size.0, size.1, channels), &options).unwrap();
                assert_eq!((out.width, out.height), expected, "{size:?}");
                assert_eq!(out.bytes[..2], [0xFF, 0xD8]);
            }
        }
    }

    #[test]
    fn png_is_exact() {
        let samples: Vec<u8> = (0..=255).collect();
        let source = Picture { width: 16, height: 16, channels: 1, samples: samples.clone() };
        let options = RenderOptions { format: Format::Png, ..RenderOptions::default() };
        let out = encode(source, &options).unwrap();
        assert_eq!(out.content_type, "image/png");
        let back = image::load_from_memory_with_format(&out.bytes, image::ImageFormat::Png);
        assert_eq!(back.unwrap().into_luma8().into_raw(), samples);
    }

    #[test]
    fn blocks_are_averaged_with_their_own_area() {
        let source = Picture { width: 3, height: 3, channels: 1, samples: (0..9).collect() };
        let small = shrink(&source, 2);
        assert_eq!((small.width, small.height), (2, 2));
        assert_eq!(small.samples, [2, 4, 7, 8]);
    }
}
