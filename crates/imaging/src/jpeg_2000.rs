//! JPEG 2000 (ISO/IEC 15444-1) as DICOM frames: headers, colour, and the decoders.
//!
//! Decoding is done by hayro-jpeg2000, and for code blocks of high throughput (ISO/IEC 15444-15) by
//! [`high_throughput`]. Neither crate has unsafe code; their input is checked here first: they
//! allocate what a header claims. Encoding is ours: [`encode`].

mod block;
pub(crate) mod encode;
mod high_throughput;
mod mq;
mod packet;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use hayro_jpeg2000::{DecodeSettings, DecoderContext};

use crate::attributes::{Image, Photometric};
use crate::decode::Frame;
use crate::jpeg::{plane_order, sign_extend, widen};
use crate::{ImagingError, MAX_FRAME_BYTES, bits, malformed, unsupported};

/// Greatest precision that floating point coefficients of 24 bits carry without loss, with what
/// wavelet and colour transformation add.
const MAX_PRECISION: u8 = 16;

/// Most precincts of a tile component and most tiles. Each costs the decoder some memory, whatever
/// lies in it; encoders make one per 32,768 x 32,768 or 128 x 128 samples.
const MAX_PRECINCTS: usize = 1 << 16;
const MAX_TILES: usize = 1 << 14;

/// One component of the SIZ segment (annex A.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Component {
    pub precision: u8,
    pub signed: bool,
    subsampling: (u8, u8),
}

/// What the main header says of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub rows: usize,
    pub columns: usize,
    tiles: usize,
    tile: (usize, usize),
    pub components: Vec<Component>,
    /// Whether the first three components went through a colour transformation.
    pub transformed: bool,
    /// Whether the wavelet is the reversible one.
    pub reversible: bool,
    /// Whether code blocks are coded as ISO/IEC 15444-15 says, whatever the transfer syntax.
    pub high_throughput: bool,
    /// Base 2 logarithms of width and height of the smallest precinct.
    precinct: (u32, u32),
}

/// The codestream of a frame: the frame itself, or what lies in a JP2 file, which DICOM does not
/// allow and some senders write.
pub(crate) fn codestream(data: &[u8]) -> Result<&[u8], ImagingError> {
    const START: &[u8] = &[0xFF, 0x4F, 0xFF, 0x51];
    if data.starts_with(START) {
        return Ok(data);
    }
    let mut rest = data;
    // Boxes (annex I.4): length, type, and a longer length where that is 1.
    while let Some(([l3, l2, l1, l0, kind @ ..], body)) = rest.split_first_chunk::<8>() {
        let (header, length) = match u32::from_be_bytes([*l3, *l2, *l1, *l0]) {
            0 => (8, rest.len()),
            1 => match body.split_first_chunk::<8>() {
                Some((length, _)) => {
                    (16, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX))
                }
                None => break,
            },
            length => (8, length as usize),
        };
        if kind == b"jp2c" {
            let end = length.min(rest.len());
            return match rest.get(header..end) {
                Some(stream) if stream.starts_with(START) => Ok(stream),
                _ => break,
            };
        }
        match rest.get(length.max(header)..) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    malformed("the frame is not a JPEG 2000 codestream")
}

impl Header {
    /// Reads the main header up to the first tile.
    pub fn parse(stream: &[u8]) -> Result<Self, ImagingError> {
        let mut header: Option<Self> = None;
        let mut rest = stream.get(2..).unwrap_or_default();
        while let Some(([0xFF, marker, high, low], _)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(parameters) = rest.get(4..length + 2) else { break };
            match (marker, &mut header) {
                (0x51, None) => header = Some(Self::size(parameters)?),
                (0x52, Some(header)) => header.coding_style(parameters, true)?,
                (0x53, Some(header)) => {
                    // COC: the component's number is one byte here, and then the same fields.
                    let at = if header.components.len() < 257 { 1 } else { 2 };
                    header.coding_style(parameters.get(at..).unwrap_or_default(), false)?;
                }
                (0x90, Some(_)) => break,
                _ => {}
            }
            rest = rest.get(length + 2..).unwrap_or_default();
        }
        match header {
            Some(header) => Ok(header),
            None => malformed("the JPEG 2000 stream has no size segment"),
        }
    }

    fn size(parameters: &[u8]) -> Result<Self, ImagingError> {
        let Some((fixed, components)) = parameters.split_first_chunk::<36>() else {
            return malformed("the JPEG 2000 size segment is truncated");
        };
        let words: Vec<usize> = fixed
            .get(2..34)
            .unwrap_or_default()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u32::from_be_bytes(*word) as usize)
            .collect();
        let [right, bottom, left, top, tile_width, tile_height, tile_left, tile_top] = words[..]
        else {
            return malformed("the JPEG 2000 size segment is truncated");
        };
        let (Some(columns), Some(rows)) = (right.checked_sub(left), bottom.checked_sub(top)) else {
            return malformed("the JPEG 2000 image has no area");
        };
        if tile_width == 0 || tile_height == 0 || tile_left > left || tile_top > top {
            return malformed("the JPEG 2000 tiles are malformed");
        }
        let across = (right - tile_left).div_ceil(tile_width);
        let down = (bottom - tile_top).div_ceil(tile_height);
        let component = |triple: &[u8; 3]| Component {
            precision: (triple[0] & 0x7F) + 1,
            signed: triple[0] & 0x80 != 0,
            subsampling: (triple[1], triple[2]),
        };
        Ok(Self {
            rows,
            columns,
            tiles: across.saturating_mul(down),
            tile: (tile_width, tile_height),
            components: components.as_chunks::<3>().0.iter().map(component).collect(),
            transformed: false,
            reversible: false,
            high_throughput: false,
            precinct: (15, 15),
        })
    }

    /// Reads COD (annex A.6.1), or COC behind its component.
    fn coding_style(&mut self, parameters: &[u8], whole: bool) -> Result<(), ImagingError> {
        let (style, rest) = match (whole, parameters) {
            (true, [style, _, _, _, transformation, rest @ ..]) => {
                self.transformed = *transformation == 1;
                (*style, rest)
            }
            (false, [style, rest @ ..]) => (*style, rest),
            _ => return malformed("the JPEG 2000 coding style is truncated"),
        };
        let [levels, _, _, block_style, wavelet, sizes @ ..] = rest else {
            return malformed("the JPEG 2000 coding style is truncated");
        };
        if *levels > 32 {
            return malformed("the JPEG 2000 coding style is out of range");
        }
        if whole {
            self.reversible = *wavelet == 1;
        }
        self.high_throughput |= block_style & 0x40 != 0;
        if style & 1 != 0 {
            for size in sizes.iter().take(usize::from(*levels) + 1) {
                let (width, height) = (u32::from(size & 15), u32::from(size >> 4));
                self.precinct = (self.precinct.0.min(width), self.precinct.1.min(height));
            }
        }
        Ok(())
    }

    /// Compares the header with the data set, before anything is allocated.
    pub fn check(&self, image: &Image) -> Result<(), ImagingError> {
        if (self.rows, self.columns) != (image.rows, image.columns) {
            return malformed("the JPEG 2000 dimensions differ from rows and columns");
        }
        if self.components.len() != image.samples {
            return malformed("the JPEG 2000 components differ from samples per pixel");
        }
        if self.components.iter().any(|component| component.subsampling != (1, 1)) {
            return unsupported("JPEG 2000 with subsampled components");
        }
        let precision = self.precision();
        if self.components.iter().any(|component| component.precision != precision)
            || usize::from(precision) > image.bits_allocated
        {
            return malformed("the JPEG 2000 precision does not fit the bits allocated");
        }
        // A decoder holds four bytes per sample.
        if image.pixels() * image.samples > MAX_FRAME_BYTES / 4 {
            return Err(ImagingError::TooLarge);
        }
        let (width, height) = (self.tile.0.min(self.columns), self.tile.1.min(self.rows));
        let precincts = (width.div_ceil(1 << self.precinct.0))
            .saturating_mul(height.div_ceil(1 << self.precinct.1));
        if self.tiles > MAX_TILES || precincts.saturating_mul(self.tiles) > MAX_PRECINCTS {
            return unsupported("JPEG 2000 cut into this many pieces");
        }
        Ok(())
    }

    /// Bits per sample, of the first component.
    pub fn precision(&self) -> u8 {
        self.components.first().map_or(0, |component| component.precision)
    }

    /// What the decoded pixels are. Decoding undoes the colour transformation of the stream.
    pub fn photometric(&self, image: &Image) -> Photometric {
        match image.photometric {
            Photometric::YbrRct | Photometric::YbrIct => Photometric::Rgb,
            // Components have their own size here, so no chrominance is shared.
            Photometric::YbrFull422 => Photometric::YbrFull,
            other => other,
        }
    }
}

/// Decodes one frame.
pub(crate) fn decode(image: &Image, data: &[u8]) -> Result<Frame<'static>, ImagingError> {
    let stream = codestream(data)?;
    let header = Header::parse(stream)?;
    header.check(image)?;
    if header.precision() > MAX_PRECISION {
        return unsupported("JPEG 2000 with more than 16 bits per sample");
    }
    let samples = match header.high_throughput {
        true => high_throughput::decode(stream)?,
        false => decode_classic(stream, image, header.precision())?,
    };
    if samples.len() != image.pixels() * image.samples {
        return malformed("the JPEG 2000 stream ends early");
    }
    // The decoders add half the range to signed samples too.
    let shift = |component: &Component| match component.signed {
        true => 1i32 << (component.precision - 1),
        false => 0,
    };
    let shifts: Vec<i32> = header.components.iter().map(shift).collect();
    let value = |(index, sample): (usize, &u16)| match shifts.get(index % image.samples) {
        Some(0) | None => sign_extend(image, header.precision(), u32::from(*sample)),
        Some(shift) => (i32::from(*sample) - shift) as u32,
    };
    let values = samples.iter().enumerate().map(value);
    let pixels = if image.bits_allocated == 1 {
        bits::pack(values.map(|value| value != 0))
    } else {
        plane_order(image, widen(values, image.sample_bytes()))
    };
    Ok(Frame { pixels: Cow::Owned(pixels), photometric: header.photometric(image) })
}

/// Decodes to samples pixel by pixel.
fn decode_classic(stream: &[u8], image: &Image, precision: u8) -> Result<Vec<u16>, ImagingError> {
    let settings =
        DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let failed = |_| ImagingError::Malformed("the JPEG 2000 stream cannot be decoded".into());
    let parsed = hayro_jpeg2000::Image::new(stream, &settings).map_err(failed)?;
    let mut context = DecoderContext::default();
    let decoded = parsed.decode(&mut context).map_err(failed)?;
    let planes: Vec<&[f32]> =
        decoded.components().iter().map(|component| component.samples()).collect();
    if planes.len() != image.samples || planes.iter().any(|plane| plane.len() != image.pixels()) {
        return malformed("the JPEG 2000 stream ends early");
    }
    let most = ((1u32 << precision) - 1) as u16;
    let value = |index: usize| {
        let (pixel, component) = (index / image.samples, index % image.samples);
        let sample = planes.get(component).and_then(|plane| plane.get(pixel)).copied();
        // The cast holds what lies outside at the ends of the range.
        (sample.unwrap_or(0.0).round() as u16).min(most)
    };
    Ok((0..image.pixels() * image.samples).map(value).collect())
}
