//! JPEG-LS (ITU-T T.87 | ISO/IEC 14495-1): the transfer syntaxes .80 and .81, both ways.
//!
//! This file owns the marker segments; [`model`] codes the samples of a scan, [`bits`] the bits.
//! Every interleave mode, near-lossless coding and preset parameters are there; restart intervals,
//! mapping tables and subsampled components, none of which DICOM senders use, are refused.

mod bits;
mod model;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bits::{BitReader, BitWriter};
use model::{Model, Parameters};

use crate::attributes::{Image, Photometric};
use crate::decode::Frame;
use crate::jpeg::{FrameHeader, Samples, Segments};
use crate::{ImagingError, MAX_FRAME_BYTES, malformed, unsupported};

/// How components share a scan (section C.2.3, ILV).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interleave {
    None,
    Line,
    Sample,
}

/// A scan header (section C.2.3).
struct Scan {
    /// Positions of the components in the frame header.
    components: Vec<usize>,
    near: i32,
    interleave: Interleave,
}

impl Scan {
    fn parse(parameters: &[u8], frame: &FrameHeader) -> Result<Self, ImagingError> {
        let Some((count, rest)) = parameters.split_first() else {
            return malformed("a JPEG-LS scan header is truncated");
        };
        let count = usize::from(*count);
        let (Some(selectors), Some([near, interleave, transform])) =
            (rest.get(..count * 2), rest.get(count * 2..))
        else {
            return malformed("a JPEG-LS scan header is truncated");
        };
        let mut components: Vec<usize> = Vec::new();
        for [id, table] in selectors.as_chunks::<2>().0 {
            let position = frame.components.iter().position(|component| component.id == *id);
            match position {
                Some(position) if !components.contains(&position) => components.push(position),
                _ => return malformed("a JPEG-LS scan names an unknown component"),
            }
            if *table != 0 {
                return unsupported("JPEG-LS mapping tables");
            }
        }
        if *transform != 0 {
            return unsupported("JPEG-LS point transforms");
        }
        let interleave = match (interleave, components.len()) {
            (_, 0) => return malformed("a JPEG-LS scan has no component"),
            // Alone, a component is coded the same in every mode.
            (0..=2, 1) => Interleave::None,
            (1, _) => Interleave::Line,
            (2, _) => Interleave::Sample,
            _ => return malformed("a JPEG-LS scan has no known interleave mode"),
        };
        Ok(Self { components, near: i32::from(*near), interleave })
    }
}

/// Preset coding parameters (LSE segment of type 1, section C.2.4.1.1); zeros mean the default.
#[derive(Default, Clone, Copy)]
struct Presets {
    maximum: i32,
    thresholds: [i32; 3],
    reset: i32,
}

impl Presets {
    fn parse(parameters: &[u8]) -> Result<Option<Self>, ImagingError> {
        match parameters {
            [1, values @ ..] => {
                let words = values.as_chunks::<2>().0;
                let mut values = words.iter().map(|word| i32::from(u16::from_be_bytes(*word)));
                let mut next = || values.next();
                let (Some(maximum), Some(t1), Some(t2), Some(t3), Some(reset)) =
                    (next(), next(), next(), next(), next())
                else {
                    return malformed("JPEG-LS preset parameters are truncated");
                };
                Ok(Some(Self { maximum, thresholds: [t1, t2, t3], reset }))
            }
            // A mapping table matters only to a scan that names it, which is refused there.
            [2 | 3, ..] => Ok(None),
            _ => unsupported("this JPEG-LS extension"),
        }
    }
}

/// Decodes one frame.
pub(crate) fn decode(image: &Image, data: &[u8]) -> Result<Frame<'static>, ImagingError> {
    let (frame, samples) = decode_stream(image, data)?;
    let samples = Samples::Words(samples);
    let photometric = match image.photometric {
        // Components have their own size here, so no chrominance is shared.
        Photometric::YbrFull422 => Photometric::YbrFull,
        other => other,
    };
    Ok(Frame { pixels: Cow::Owned(samples.lay_out(image, frame.precision)), photometric })
}

/// Decodes a stream to samples pixel by pixel.
fn decode_stream(image: &Image, data: &[u8]) -> Result<(FrameHeader, Vec<u16>), ImagingError> {
    let mut segments = Segments::new(data)?;
    let mut presets = Presets::default();
    let mut header: Option<FrameHeader> = None;
    let mut samples: Vec<u16> = Vec::new();
    let mut seen: Vec<usize> = Vec::new();
    while let Some((marker, parameters)) = segments.next()? {
        match marker {
            0xF7 if header.is_none() => {
                let frame = FrameHeader::parse(marker, parameters)?;
                check(image, &frame, data.len())?;
                samples = vec![0; image.pixels() * image.samples];
                header = Some(frame);
            }
            0xF8 => {
                if let Some(found) = Presets::parse(parameters)? {
                    presets = found;
                }
            }
            0xDD if parameters.iter().any(|byte| *byte != 0) => {
                return unsupported("JPEG-LS restart intervals");
            }
            // The colour transformations of one implementation, announced in APP8.
            0xE8 if parameters.starts_with(b"mrfx") && parameters.get(4) != Some(&0) => {
                return unsupported("colour transformations inside JPEG-LS");
            }
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return malformed("the frame is JPEG but not JPEG-LS");
            }
            0xDA => {
                let Some(frame) = &header else {
                    return malformed("a JPEG-LS scan precedes its frame header");
                };
                let scan = Scan::parse(parameters, frame)?;
                if scan.components.iter().any(|component| seen.contains(component)) {
                    return malformed("a JPEG-LS component comes twice");
                }
                seen.extend(&scan.components);
                let parameters = parameters_of(frame.precision, scan.near, presets)?;
                let mut reader = BitReader::new(segments.rest());
                decode_scan(image, &scan, parameters, &mut reader, &mut samples)?;
                segments.skip(reader.end());
            }
            _ => {}
        }
    }
    match header {
        Some(frame) if seen.len() == frame.components.len() => Ok((frame, samples)),
        _ => malformed("the JPEG-LS stream ends before all components are there"),
    }
}

/// Compares the frame header with the data set, before anything is allocated.
fn check(image: &Image, frame: &FrameHeader, length: usize) -> Result<(), ImagingError> {
    if (frame.rows, frame.columns) != (image.rows, image.columns) {
        return malformed("the JPEG-LS dimensions differ from rows and columns");
    }
    if frame.components.len() != image.samples {
        return malformed("the JPEG-LS components differ from samples per pixel");
    }
    if frame.components.iter().any(|c| (c.horizontal, c.vertical) != (1, 1))
        && frame.components.len() > 1
    {
        return unsupported("JPEG-LS with subsampled components");
    }
    let precision = usize::from(frame.precision);
    if !(2..=16).contains(&precision) || precision > image.bits_allocated {
        return malformed("the JPEG-LS precision exceeds the bits allocated");
    }
    if image.pixels() * image.samples > MAX_FRAME_BYTES / 2 {
        return Err(ImagingError::TooLarge);
    }
    // Every line takes at least one bit.
    if image.rows > length.saturating_mul(8) {
        return malformed("the JPEG-LS stream is too short for its dimensions");
    }
    Ok(())
}

fn parameters_of(precision: u8, near: i32, presets: Presets) -> Result<Parameters, ImagingError> {
    let parameters = Parameters::new(
        u32::from(precision),
        near,
        presets.maximum,
        presets.thresholds,
        presets.reset,
    );
    match parameters {
        Some(parameters) => Ok(parameters),
        None => malformed("the JPEG-LS coding parameters are out of range"),
    }
}

/// Two lines of every component of a scan, each with a sample more at both ends, as the model wants
/// them.
struct Lines {
    above: Vec<Vec<i32>>,
    here: Vec<Vec<i32>>,
}

impl Lines {
    fn new(components: usize, columns: usize) -> Self {
        let lines = vec![vec![0; columns + 2]; components];
        Self { above: lines.clone(), here: lines }
    }

    /// Makes the current lines those above, and prepares the ends (section A.2.1).
    fn advance(&mut self, columns: usize) {
        std::mem::swap(&mut self.above, &mut self.here);
        for (above, here) in self.above.iter_mut().zip(&mut self.here) {
            above[columns + 1] = above[columns];
            here[0] = above[1];
        }
    }
}

fn decode_scan(
    image: &Image,
    scan: &Scan,
    parameters: Parameters,
    reader: &mut BitReader<'_>,
    samples: &mut [u16],
) -> Result<(), ImagingError> {
    let columns = image.columns;
    let mut model = Model::new(parameters, scan.components.len());
    let mut lines = Lines::new(scan.components.len(), columns);
    for row in samples.chunks_exact_mut(columns * image.samples) {
        lines.advance(columns);
        let decoded = match scan.interleave {
            Interleave::Sample => model.pixels(reader, &lines.above, &mut lines.here),
            Interleave::None | Interleave::Line => {
                let pairs = lines.above.iter().zip(&mut lines.here).enumerate();
                let mut each =
                    pairs.map(|(index, (above, here))| model.line(reader, above, here, index));
                each.all(|line| line.is_some()).then_some(())
            }
        };
        if decoded.is_none() || reader.exhausted() {
            return malformed("the JPEG-LS stream is damaged or ends early");
        }
        for (component, line) in scan.components.iter().zip(&lines.here) {
            let targets = row.iter_mut().skip(*component).step_by(image.samples);
            targets.zip(line.iter().skip(1)).for_each(|(to, from)| *to = *from as u16);
        }
    }
    Ok(())
}

/// Encodes samples pixel by pixel as one scan: a component alone, or several line by line. `near`
/// is the greatest error of a sample, 0 for lossless.
pub(crate) fn encode(
    image: &Image,
    samples: &[u16],
    precision: u8,
    near: u8,
) -> Result<Vec<u8>, ImagingError> {
    let precision = precision.max(2);
    let parameters = parameters_of(precision, i32::from(near), Presets::default())?;
    // `Image` has rows and columns of 16 bits and one or three samples.
    let (rows, columns) = (image.rows as u16, image.columns as u16);
    let count = image.samples as u8;
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xF7, 0, 8 + 3 * count, precision];
    out.extend(rows.to_be_bytes());
    out.extend(columns.to_be_bytes());
    out.push(count);
    (1..=count).for_each(|id| out.extend([id, 0x11, 0]));
    out.extend([0xFF, 0xDA, 0, 6 + 2 * count, count]);
    (1..=count).for_each(|id| out.extend([id, 0]));
    out.extend([near, u8::from(count > 1), 0]);

    let columns = image.columns;
    let mut writer = BitWriter::new(out);
    let mut model = Model::new(parameters, image.samples);
    let mut lines = Lines::new(image.samples, columns);
    for row in samples.chunks_exact(columns * image.samples) {
        lines.advance(columns);
        for (index, (above, here)) in lines.above.iter().zip(&mut lines.here).enumerate() {
            let source = row.iter().skip(index).step_by(image.samples);
            here.iter_mut().skip(1).zip(source).for_each(|(to, from)| *to = i32::from(*from));
            if model.line(&mut writer, above, here, index).is_none() {
                return malformed("samples exceed their bits");
            }
        }
    }
    let mut out = writer.finish();
    out.extend([0xFF, 0xD9]);
    Ok(out)
}
