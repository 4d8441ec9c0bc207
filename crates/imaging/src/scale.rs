//! Cutting out, turning and scaling a picture to its viewport (PS3.18 section 8.3.5.1.3).

use image::imageops;
use image::{ImageBuffer, Luma, Rgb};

use crate::encode::Picture;
use crate::rendering::{Region, Viewport};
use crate::{ImagingError, malformed};

/// Most pixels that a picture may have that was scaled up. Rendering a whole-slide level at its own
/// size is not limited by this.
const MOST_ENLARGED: f64 = 16e6;

/// Longest side of a JPEG.
const LONGEST_SIDE: f64 = 65_500.0;

/// Brings a picture of pixels that are `aspect` times as high as wide into its viewport.
pub(crate) fn place(
    picture: Picture,
    aspect: f64,
    viewport: Option<&Viewport>,
) -> Result<Picture, ImagingError> {
    let mut picture = picture;
    if let Some(viewport) = viewport {
        if let Some(region) = &viewport.region {
            picture = crop(&picture, region)?;
        }
        turn(&mut picture, viewport.mirror, viewport.flip);
    }
    let (width, height) = target(&picture, aspect, viewport);
    if (width, height) == (picture.width, picture.height) {
        return Ok(picture);
    }
    resize(picture, width, height)
}

/// Size of the picture in its viewport, pixels made square by enlarging their shorter side.
fn target(picture: &Picture, aspect: f64, viewport: Option<&Viewport>) -> (usize, usize) {
    let (mut width, mut height) = (picture.width as f64, picture.height as f64);
    // Less is not seen, and would blur every pixel.
    if (aspect - 1.0).abs() > 0.01 {
        if aspect > 1.0 { height *= aspect } else { width /= aspect }
    }
    let mut factor: f64 = 1.0;
    if let Some(viewport) = viewport {
        factor = f64::min(
            f64::from(viewport.width.max(1)) / width,
            f64::from(viewport.height.max(1)) / height,
        );
        if !viewport.enlarge {
            factor = factor.min(1.0);
        }
    }
    let enlarged = width * height * factor * factor;
    let most = MOST_ENLARGED.max((picture.width * picture.height) as f64);
    if enlarged > most {
        factor *= (most / enlarged).sqrt();
    }
    factor = factor.min(LONGEST_SIDE / width.max(height));
    let side = |length: f64| ((length * factor).round() as usize).max(1);
    (side(width), side(height))
}

/// Cuts a region out.
fn crop(picture: &Picture, region: &Region) -> Result<Picture, ImagingError> {
    let (width, height) = (picture.width as f64, picture.height as f64);
    let far_x = region.width.map_or(width, |width| region.x + width);
    let far_y = region.height.map_or(height, |height| region.y + height);
    let inside = region.x >= 0.0 && region.y >= 0.0 && region.x < width && region.y < height;
    if !inside || far_x > width || far_y > height || far_x <= region.x || far_y <= region.y {
        return Err(ImagingError::Request(
            format!("the region lies outside the image of {width} x {height} pixels").into(),
        ));
    }
    // Every pixel that the region touches.
    let (left, top) = (region.x.floor() as usize, region.y.floor() as usize);
    let (right, bottom) = (far_x.ceil() as usize, far_y.ceil() as usize);
    let channels = picture.channels;
    let mut samples = Vec::with_capacity((right - left) * (bottom - top) * channels);
    for row in picture.samples.chunks_exact(picture.width * channels).take(bottom).skip(top) {
        samples.extend_from_slice(row.get(left * channels..right * channels).unwrap_or_default());
    }
    Ok(Picture { width: right - left, height: bottom - top, channels, samples })
}

/// Exchanges left and right, top and bottom.
fn turn(picture: &mut Picture, mirror: bool, flip: bool) {
    let channels = picture.channels;
    let row = picture.width * channels;
    if mirror && flip {
        picture.samples.reverse();
    } else if mirror {
        picture.samples.chunks_exact_mut(row).for_each(<[u8]>::reverse);
    } else if flip {
        let (mut upper, mut lower) = (0, picture.height.saturating_sub(1));
        while upper < lower {
            let (head, tail) = picture.samples.split_at_mut(lower * row);
            if let (Some(a), Some(b)) =
                (head.get_mut(upper * row..(upper + 1) * row), tail.get_mut(..row))
            {
                a.swap_with_slice(b);
            }
            upper += 1;
            lower -= 1;
        }
    }
    // Reversing rows has reversed the channels of every pixel with them.
    if mirror && channels > 1 {
        picture.samples.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
    }
}

/// Scales: down first by averaging whole blocks, which is fast, then smoothly to the exact size.
fn resize(picture: Picture, width: usize, height: usize) -> Result<Picture, ImagingError> {
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

    fn size(picture: Picture, aspect: f64, viewport: Option<Viewport>) -> (usize, usize) {
        let placed = place(picture, aspect, viewport.as_ref()).unwrap();
        assert_eq!(placed.samples.len(), placed.width * placed.height * placed.channels);
        (placed.width, placed.height)
    }

    #[test]
    fn the_aspect_ratio_is_kept_and_nothing_is_enlarged_unasked() {
        for (from, within, expected) in [
            ((512, 512), (128, 128), (128, 128)),
            ((512, 256), (128, 128), (128, 64)),
            ((100, 1000), (128, 128), (13, 128)),
            ((64, 64), (128, 128), (64, 64)),
            ((4000, 3), (100, 100), (100, 1)),
        ] {
            for channels in [1, 3] {
                let source = picture(from.0, from.1, channels);
                let viewport = Viewport::within(within.0, within.1);
                assert_eq!(size(source, 1.0, Some(viewport)), expected, "{from:?}");
            }
        }
        let larger = Viewport { enlarge: true, ..Viewport::within(300, 200) };
        assert_eq!(size(picture(64, 64, 1), 1.0, Some(larger)), (200, 200));
    }

    #[test]
    fn pixels_become_square() {
        assert_eq!(size(picture(10, 10, 1), 2.0, None), (10, 20));
        assert_eq!(size(picture(10, 10, 1), 0.5, None), (20, 10));
        assert_eq!(size(picture(10, 10, 1), 1.001, None), (10, 10));
        assert_eq!(size(picture(10, 10, 1), 2.0, Some(Viewport::within(8, 8))), (4, 8));
    }

    #[test]
    fn regions_are_cut_out_and_turned() {
        let source = || Picture { width: 3, height: 2, channels: 1, samples: (1..=6).collect() };
        let shown = |region: Option<Region>, mirror, flip| {
            let viewport = Viewport { region, mirror, flip, ..Viewport::within(9, 9) };
            place(source(), 1.0, Some(&viewport)).map(|picture| picture.samples)
        };
        assert_eq!(shown(None, true, false).unwrap(), [3, 2, 1, 6, 5, 4]);
        assert_eq!(shown(None, false, true).unwrap(), [4, 5, 6, 1, 2, 3]);
        assert_eq!(shown(None, true, true).unwrap(), [6, 5, 4, 3, 2, 1]);
        let region = Region { x: 1.0, y: 0.0, width: Some(2.0), height: None };
        assert_eq!(shown(Some(region), false, false).unwrap(), [2, 3, 5, 6]);
        assert_eq!(shown(Some(region), true, false).unwrap(), [3, 2, 6, 5]);
        for outside in [
            Region { x: 3.0, ..region },
            Region { x: -1.0, ..region },
            Region { width: Some(3.0), ..region },
            Region { height: Some(0.0), ..region },
        ] {
            let refused = shown(Some(outside), false, false);
            assert!(matches!(refused, Err(ImagingError::Request(_))), "{outside:?}");
        }
    }

    #[test]
    fn channels_stay_in_order_when_turned() {
        let source = Picture { width: 2, height: 1, channels: 3, samples: vec![1, 2, 3, 4, 5, 6] };
        let viewport = Viewport { mirror: true, ..Viewport::within(9, 9) };
        let turned = place(source, 1.0, Some(&viewport)).unwrap();
        assert_eq!(turned.samples, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn blocks_are_averaged_with_their_own_area() {
        let source = Picture { width: 3, height: 3, channels: 1, samples: (0..9).collect() };
        let small = shrink(&source, 2);
        assert_eq!((small.width, small.height), (2, 2));
        assert_eq!(small.samples, [2, 4, 7, 8]);
    }
}
