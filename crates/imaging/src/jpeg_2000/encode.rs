//! Encodes JPEG 2000 (ISO/IEC 15444-1): one tile, one layer, one precinct per resolution.
//!
//! Lossless with the reversible wavelet and colour transformation.

use super::block::{self, Band};
use super::packet::{self, BandBlocks};
use crate::attributes::Image;
use crate::{ImagingError, unsupported};

/// Greatest number of wavelet levels.
const LEVELS: u32 = 5;

/// Width and height of code blocks.
const BLOCK: usize = 64;

/// Bits by which coefficients may exceed what their subband allows (E.1).
const GUARD_BITS: u32 = 2;

/// Beyond this a resolution would have more than one precinct.
const MAX_SIDE: usize = 1 << 15;

/// Samples of an image as the encoder takes them.
pub(crate) struct Source<'a> {
    /// Pixel by pixel; signed samples in two's complement of `precision` bits.
    pub samples: &'a [u16],
    pub precision: u8,
    pub signed: bool,
    /// Whether to transform three components as colours.
    pub colours: bool,
}

/// Encodes without loss.
pub(crate) fn lossless(image: &Image, source: &Source<'_>) -> Result<Vec<u8>, ImagingError> {
    let (width, height) = (image.columns, image.rows);
    if width.max(height) > MAX_SIDE {
        return unsupported("JPEG 2000 of more than 32,768 rows or columns");
    }
    let levels = LEVELS.min(width.min(height).ilog2());
    let mut planes = planes(image, source);
    if let (true, [red, green, blue]) = (source.colours, planes.as_mut_slice()) {
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            // G.2.1.
            let (r, g, b) = (*red, *green, *blue);
            (*red, *green, *blue) = ((r + 2 * g + b) >> 2, b - g, r - g);
        }
    }
    let mut out = headers(image, source, levels);
    let tile = out.len();
    out.extend([0xFF, 0x90, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0x93]);
    let mut resolutions: Vec<Vec<Vec<BandBlocks>>> = Vec::new();
    for mut plane in planes {
        transform(&mut plane, width, height, levels);
        resolutions.push(component(&plane, width, height, levels, u32::from(source.precision))?);
    }
    // Progression by resolution, then component: with one layer this is LRCP (B.12.1.1).
    for resolution in 0..=levels as usize {
        for bands in resolutions.iter().filter_map(|component| component.get(resolution)) {
            packet::write(bands, &mut out);
        }
    }
    let length = (out.len() - tile) as u32;
    if let Some(field) = out.get_mut(tile + 6..tile + 10) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    out.extend([0xFF, 0xD9]);
    Ok(out)
}

/// One plane per component, unsigned samples shifted around zero (G.1).
fn planes(image: &Image, source: &Source<'_>) -> Vec<Vec<i32>> {
    let half = 1i32 << (source.precision - 1);
    let value = |sample: u16| {
        let sample = i32::from(sample);
        match source.signed {
            true => (sample ^ half) - half,
            false => sample - half,
        }
    };
    let plane = |component: usize| {
        source.samples.iter().skip(component).step_by(image.samples).map(|s| value(*s)).collect()
    };
    (0..image.samples).map(plane).collect()
}

/// The main header (annex A).
fn headers(image: &Image, source: &Source<'_>, levels: u32) -> Vec<u8> {
    // Sides have at most 16 bits, components are one or three.
    let (width, height) = (image.columns as u32, image.rows as u32);
    let count = image.samples as u16;
    let mut out = vec![0xFF, 0x4F, 0xFF, 0x51];
    out.extend((38 + 3 * count).to_be_bytes());
    out.extend([0, 0]);
    for word in [width, height, 0, 0, width, height, 0, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(count.to_be_bytes());
    let depth = (source.precision - 1) | (u8::from(source.signed) << 7);
    (0..count).for_each(|_| out.extend([depth, 1, 1]));
    // COD: default precincts, LRCP, one layer; 64 x 64 blocks, the reversible wavelet.
    out.extend([0xFF, 0x52, 0, 12, 0, 0, 0, 1, u8::from(source.colours)]);
    out.extend([levels as u8, 4, 4, 0, 1]);
    // QCD: no quantization, an exponent per subband.
    out.extend([0xFF, 0x5C, 0, (4 + 3 * levels) as u8, (GUARD_BITS << 5) as u8]);
    let exponent = |band: Band| (exponent(band, u32::from(source.precision)) << 3) as u8;
    out.push(exponent(Band::LowLow));
    for _ in 0..levels {
        out.extend([Band::HighLow, Band::LowHigh, Band::HighHigh].map(exponent));
    }
    out
}

/// Bits of a subband's coefficients, without guard bits (equation E-5, table E.1).
fn exponent(band: Band, precision: u32) -> u32 {
    precision
        + match band {
            Band::LowLow => 0,
            Band::HighLow | Band::LowHigh => 1,
            Band::HighHigh => 2,
        }
}

/// Codes the subbands of a transformed plane, by resolution from the coarsest.
fn component(
    plane: &[i32],
    width: usize,
    height: usize,
    levels: u32,
    precision: u32,
) -> Result<Vec<Vec<BandBlocks>>, ImagingError> {
    let side = |side: usize, level: u32| side.div_ceil(1 << level);
    let mut out = Vec::new();
    for resolution in 0..=levels {
        let level = levels - resolution;
        let (right, bottom) = (side(width, level), side(height, level));
        let (middle, centre) = (side(width, level + 1), side(height, level + 1));
        // Where transformed coefficients lie: what is low to the left and at the top.
        let bands = if resolution == 0 {
            vec![(Band::LowLow, 0..right, 0..bottom)]
        } else {
            vec![
                (Band::HighLow, middle..right, 0..centre),
                (Band::LowHigh, 0..middle, centre..bottom),
                (Band::HighHigh, middle..right, centre..bottom),
            ]
        };
        let mut coded = Vec::new();
        for (band, columns, rows) in bands {
            let planes = GUARD_BITS + exponent(band, precision) - 1;
            let mut blocks = Vec::new();
            for top in rows.clone().step_by(BLOCK) {
                for left in columns.clone().step_by(BLOCK) {
                    let right = (left + BLOCK).min(columns.end);
                    let lines = top..(top + BLOCK).min(rows.end);
                    let coefficients: Vec<i32> = lines
                        .flat_map(|y| &plane[y * width + left..y * width + right])
                        .copied()
                        .collect();
                    let block = block::encode(&coefficients, right - left, band);
                    if block.planes > planes {
                        return unsupported("JPEG 2000 of samples with this much contrast");
                    }
                    blocks.push(block);
                }
            }
            let across = if rows.is_empty() { 0 } else { columns.len().div_ceil(BLOCK) };
            coded.push(BandBlocks { across, blocks, planes });
        }
        out.push(coded);
    }
    Ok(out)
}

/// Transforms a plane in place, level by level (F.4.2): first down, then across.
fn transform(plane: &mut [i32], stride: usize, height: usize, levels: u32) {
    let (mut width, mut rows) = (stride, height);
    for _ in 0..levels {
        down(plane, stride, width, rows);
        let mut line = vec![0; width];
        for row in plane.chunks_exact_mut(stride).take(rows) {
            if let Some(row) = row.get_mut(..width) {
                across(row, &mut line);
            }
        }
        (width, rows) = (width.div_ceil(2), rows.div_ceil(2));
    }
}

/// The reversible filter on a row (F.4.8.1); low coefficients end up in front.
fn across(row: &mut [i32], line: &mut [i32]) {
    let length = row.len();
    if length < 2 {
        return;
    }
    let low = length.div_ceil(2);
    let (lows, highs) = line.split_at_mut(low);
    for (index, high) in highs.iter_mut().enumerate() {
        let left = row[2 * index];
        let right = row.get(2 * index + 2).copied().unwrap_or(left);
        *high = row[2 * index + 1] - ((left + right) >> 1);
    }
    for (index, target) in lows.iter_mut().enumerate() {
        let left = highs[index.saturating_sub(1)];
        let right = highs.get(index).copied().unwrap_or(left);
        *target = row[2 * index] + ((left + right + 2) >> 2);
    }
    row.copy_from_slice(line);
}

/// The same filter on all columns at once, line by line.
fn down(plane: &mut [i32], stride: usize, width: usize, rows: usize) {
    if rows < 2 {
        return;
    }
    let low = rows.div_ceil(2);
    let mut out = vec![0; width * rows];
    let (lows, highs) = out.split_at_mut(width * low);
    let line = |y: usize| &plane[y * stride..y * stride + width];
    for (index, target) in highs.chunks_exact_mut(width).enumerate() {
        let above = line(2 * index);
        let below = if 2 * index + 2 < rows { line(2 * index + 2) } else { above };
        let here = line(2 * index + 1);
        for (x, target) in target.iter_mut().enumerate() {
            *target = here[x] - ((above[x] + below[x]) >> 1);
        }
    }
    let high = |index: usize| &highs[index * width..(index + 1) * width];
    for (index, target) in lows.chunks_exact_mut(width).enumerate() {
        let above = high(index.saturating_sub(1));
        let below = if index < rows / 2 { high(index) } else { above };
        let here = line(2 * index);
        for (x, target) in target.iter_mut().enumerate() {
            *target = here[x] + ((above[x] + below[x] + 2) >> 2);
        }
    }
    for (row, line) in plane.chunks_exact_mut(stride).zip(out.chunks_exact(width)) {
        if let Some(row) = row.get_mut(..width) {
            row.copy_from_slice(line);
        }
    }
}
