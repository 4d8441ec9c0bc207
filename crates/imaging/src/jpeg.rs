//! JPEG streams (ITU-T T.81) as DICOM frames: headers, colour, and the choice of decoder.
//!
//! Lossless streams are decoded by [`crate::jpeg_lossless`], 12-bit ones by
//! [`crate::jpeg_extended`], 8-bit DCT streams by libjpeg-turbo-rs, whose input is checked here
//! first: it allocates what a header claims.

use std::borrow::Cow;

use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder};

use crate::attributes::{Image, Photometric};
use crate::decode::Frame;
use crate::{ImagingError, colour, jpeg_extended, jpeg_lossless, malformed, unsupported};

/// Progressive streams may repeat scans over the same few bytes; more than this serves nobody.
pub(crate) const MAX_SCANS: usize = 128;

/// A component of the frame header (B.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Component {
    pub id: u8,
    pub horizontal: u8,
    pub vertical: u8,
}

/// The frame header (B.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Second byte of the SOF marker.
    pub marker: u8,
    pub precision: u8,
    pub rows: usize,
    pub columns: usize,
    pub components: Vec<Component>,
}

impl FrameHeader {
    /// Reads the parameters of a SOFn segment.
    pub fn parse(marker: u8, parameters: &[u8]) -> Result<Self, ImagingError> {
        let [precision, y1, y0, x1, x0, count, components @ ..] = parameters else {
            return malformed("the JPEG frame header is truncated");
        };
        let triples = components.as_chunks::<3>().0;
        let Some(triples) = triples.get(..usize::from(*count)) else {
            return malformed("the JPEG frame header is truncated");
        };
        let component = |triple: &[u8; 3]| {
            let [id, sampling, _] = *triple;
            Component { id, horizontal: sampling >> 4, vertical: sampling & 15 }
        };
        Ok(Self {
            marker,
            precision: *precision,
            rows: usize::from(u16::from_be_bytes([*y1, *y0])),
            columns: usize::from(u16::from_be_bytes([*x1, *x0])),
            components: triples.iter().map(component).collect(),
        })
    }
}

/// Marker segments one after another; entropy-coded data is skipped by its reader.
pub(crate) struct Segments<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Segments<'a> {
    /// Starts behind SOI.
    pub fn new(data: &'a [u8]) -> Result<Self, ImagingError> {
        match data {
            [0xFF, 0xD8, ..] => Ok(Self { data, position: 2 }),
            _ => malformed("the frame is not a JPEG stream"),
        }
    }

    /// The next marker's second byte and its parameters; EOI and the end of data give `None`.
    pub fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, ImagingError> {
        let rest = self.rest();
        let fill = rest.iter().take_while(|byte| **byte == 0xFF).count();
        let (marker, rest) = match rest.get(fill..).and_then(<[u8]>::split_first) {
            Some((marker, rest)) if fill > 0 => (*marker, rest),
            // DICOM frames may end with a padding byte, or without EOI.
            _ => return Ok(None),
        };
        if marker == 0xD9 {
            return Ok(None);
        }
        let (length, body) = match rest {
            [high, low, body @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), body),
            _ => return malformed("a JPEG segment is truncated"),
        };
        let parameters = length.checked_sub(2).and_then(|length| body.get(..length));
        let Some(parameters) = parameters else {
            return malformed("a JPEG segment is truncated");
        };
        self.position += fill + 1 + length;
        Ok(Some((marker, parameters)))
    }

    /// What follows the last segment.
    pub fn rest(&self) -> &'a [u8] {
        self.data.get(self.position..).unwrap_or_default()
    }

    /// Moves on by what an entropy-coded segment took.
    pub fn skip(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes);
    }
}

/// What a stream says about itself before its first scan.
struct Stream {
    frame: FrameHeader,
    /// Colour transform of the Adobe APP14 segment.
    adobe: Option<u8>,
    jfif: bool,
}

impl Stream {
    fn inspect(data: &[u8]) -> Result<Self, ImagingError> {
        let mut segments = Segments::new(data)?;
        let (mut frame, mut adobe, mut jfif) = (None, None, false);
        while let Some((marker, parameters)) = segments.next()? {
            match marker {
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                    frame = Some(FrameHeader::parse(marker, parameters)?);
                }
                0xE0 => jfif |= parameters.starts_with(b"JFIF\0"),
                0xEE if parameters.starts_with(b"Adobe") => adobe = parameters.get(11).copied(),
                0xDA => break,
                _ => {}
            }
        }
        match frame {
            Some(frame) => Ok(Self { frame, adobe, jfif }),
            None => malformed("the JPEG stream has no frame header"),
        }
    }

    /// Whether three components are luminance and chrominances. The stream's own words win over the
    /// data set, since that is what other decoders follow and senders test with.
    fn is_ybr(&self, photometric: Photometric) -> bool {
        let ids: Vec<u8> = self.frame.components.iter().map(|component| component.id).collect();
        match self.adobe {
            Some(transform) => transform != 0,
            None if ids == *b"RGB" => false,
            None if photometric == Photometric::Rgb => self.jfif,
            None => true,
        }
    }
}

/// Decodes one frame.
pub(crate) fn decode(image: &Image, data: &[u8]) -> Result<Frame<'static>, ImagingError> {
    let stream = Stream::inspect(data)?;
    let frame = &stream.frame;
    if (frame.rows, frame.columns) != (image.rows, image.columns) {
        return malformed("the JPEG dimensions differ from rows and columns");
    }
    if frame.components.len() != image.samples {
        return malformed("the JPEG components differ from samples per pixel");
    }
    if usize::from(frame.precision) > image.bits_allocated || image.bits_allocated < 8 {
        return malformed("the JPEG precision exceeds the bits allocated");
    }
    let mut samples = match (frame.marker, frame.precision) {
        (0xC3, 2..=16) => Samples::Words(jpeg_lossless::decode(data)?),
        (0xC1 | 0xC2, 12) => Samples::Words(within_stored(image, jpeg_extended::decode(data)?)),
        (0xC0..=0xC2, 8) => Samples::Bytes(decode_dct(image, frame, data)?),
        (0xC0..=0xC2, precision) => {
            return unsupported(format!("JPEG with {precision} bits per sample"));
        }
        _ => return unsupported("hierarchical or arithmetic JPEG"),
    };
    let photometric = if image.samples != 3 {
        image.photometric
    } else if !stream.is_ybr(image.photometric) {
        Photometric::Rgb
    } else {
        match (&mut samples, image.photometric) {
            (Samples::Bytes(bytes), Photometric::Rgb) => {
                colour::ybr_to_rgb(bytes);
                Photometric::Rgb
            }
            // Lossless streams of RGB images are not transformed whatever JFIF would imply.
            (Samples::Words(_), Photometric::Rgb) => Photometric::Rgb,
            _ => Photometric::YbrFull,
        }
    };
    Ok(Frame { pixels: Cow::Owned(samples.lay_out(image, frame.precision)), photometric })
}

/// Samples pixel by pixel.
pub(crate) enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Samples {
    /// Brings samples to the width and order that the data set describes.
    pub fn lay_out(self, image: &Image, precision: u8) -> Vec<u8> {
        let width = image.sample_bytes();
        let pixel_order = match self {
            Self::Bytes(bytes) if width == 1 => bytes,
            Self::Bytes(bytes) => widen(bytes.into_iter().map(u32::from), width),
            Self::Words(words) => {
                let words = words.into_iter().map(u32::from);
                widen(words.map(|word| sign_extend(image, precision, word)), width)
            }
        };
        plane_order(image, pixel_order)
    }
}

/// Narrow signed samples leave the high bits to us; native pixel data repeats the sign there.
pub(crate) fn sign_extend(image: &Image, precision: u8, sample: u32) -> u32 {
    let sign = 1u32 << (image.bits_stored - 1);
    let extends = image.signed && usize::from(precision) < image.bits_allocated;
    if extends && sample & sign != 0 { sample | !(sign | (sign - 1)) } else { sample }
}

/// Brings samples pixel by pixel to the planar configuration of the data set.
pub(crate) fn plane_order(image: &Image, pixel_order: Vec<u8>) -> Vec<u8> {
    if !image.planar {
        return pixel_order;
    }
    let width = image.sample_bytes();
    let mut planes = Vec::with_capacity(pixel_order.len());
    for sample in 0..image.samples {
        for pixel in pixel_order.chunks_exact(width * image.samples) {
            planes.extend(pixel.iter().skip(sample * width).take(width));
        }
    }
    planes
}

/// Writes samples of `width` bytes, little endian.
pub(crate) fn widen(samples: impl ExactSizeIterator<Item = u32>, width: usize) -> Vec<u8> {
    let mut out = vec![0; samples.len() * width];
    match width {
        1 => out.iter_mut().zip(samples).for_each(|(byte, sample)| *byte = sample as u8),
        2 => {
            let words = out.as_chunks_mut::<2>().0.iter_mut();
            words.zip(samples).for_each(|(word, sample)| *word = (sample as u16).to_le_bytes());
        }
        _ => {
            let words = out.as_chunks_mut::<4>().0.iter_mut();
            words.zip(samples).for_each(|(word, sample)| *word = sample.to_le_bytes());
        }
    }
    out
}

/// Decodes an 8-bit DCT stream to samples pixel by pixel, colours untouched.
fn decode_dct(image: &Image, frame: &FrameHeader, data: &[u8]) -> Result<Vec<u8>, ImagingError> {
    // A block of 64 samples takes at least two bits in a sequential stream, so a header cannot
    // claim more than the data can fill. Progressive streams can skip blocks in runs.
    if frame.marker != 0xC2 && image.pixels() > data.len().saturating_mul(256) {
        return malformed("the JPEG stream is too short for its dimensions");
    }
    let expected = image.pixels() * image.samples;
    let limits = DecodeLimits {
        max_width: image.columns,
        max_height: image.rows,
        max_pixels: image.pixels() as u64,
        max_scans: MAX_SCANS,
        max_memory: None,
    };
    let failed = |_| ImagingError::Malformed("the JPEG stream cannot be decoded".into());
    let mut decoder = Decoder::new_with_limits(data, limits).map_err(failed)?;
    let header = decoder.header();
    if header.components.len() != image.samples
        || usize::from(header.width) != image.columns
        || usize::from(header.height) != image.rows
    {
        return malformed("the JPEG stream has contradicting headers");
    }
    // Components come out as they are, whatever they mean.
    if decoder.jpeg_color_space() == ColorSpace::YCbCr {
        decoder.set_output_colorspace(ColorSpace::YCbCr);
    }
    let pixels = decoder.decode_image().map_err(failed)?.data;
    if pixels.len() == expected { Ok(pixels) } else { malformed("the JPEG stream ends early") }
}

/// Keeps what a lossy stream overshoots within Bits Stored: viewers cut off the bits above, which
/// would turn white into black.
fn within_stored(image: &Image, mut samples: Vec<u16>) -> Vec<u16> {
    if !image.signed && image.bits_stored < 16 {
        let most = (1u16 << image.bits_stored) - 1;
        samples.iter_mut().for_each(|sample| *sample = (*sample).min(most));
    }
    samples
}

#[cfg(test)]
mod tests {
    use qianli_model::TransferSyntax;

    use super::*;
    use crate::jpeg_baseline::{self, Chrominances, Samples};
    use crate::testdata::json;

    fn baseline() -> TransferSyntax {
        TransferSyntax::from_uid("1.2.840.10008.1.2.4.50").unwrap()
    }

    fn encode(samples: Samples<'_>) -> Vec<u8> {
        let each = Chrominances::EachPixel;
        jpeg_baseline::encode(samples, (16, 16), 100, each, None).unwrap()
    }

    #[test]
    fn gray_and_colour_streams_decode_as_the_data_set_says() {
        let gray = encode(Samples::Gray(&[100; 256]));
        let words = "rows=16 columns=16";
        let pixels = crate::decode(json(words).as_bytes(), baseline(), &gray, 0).unwrap();
        assert!(pixels.len() == 256 && pixels.iter().all(|p| p.abs_diff(100) <= 1));

        let red = encode(Samples::Rgb(&[200, 30, 40].repeat(256)));
        let ybr = format!("{words} samples=3 photometric=YBR_FULL_422");
        let decoded = crate::decode_described(json(&ybr).as_bytes(), baseline(), &red, 0).unwrap();
        assert_eq!(decoded.photometric, "YBR_FULL");
        // The stream's JFIF header says YCbCr although the data set claims RGB.
        let rgb = format!("{words} samples=3 photometric=RGB planar=1");
        let decoded = crate::decode_described(json(&rgb).as_bytes(), baseline(), &red, 0).unwrap();
        assert_eq!(decoded.photometric, "RGB");
        assert!(decoded.pixels[..256].iter().all(|p| p.abs_diff(200) <= 3));
        assert!(decoded.pixels[512..].iter().all(|p| p.abs_diff(40) <= 3));
    }

    #[test]
    fn streams_that_contradict_the_data_set_are_refused() {
        let gray = encode(Samples::Gray(&[100; 256]));
        for words in ["rows=15 columns=16", "rows=16 columns=16 samples=3 photometric=RGB"] {
            let answer = crate::decode(json(words).as_bytes(), baseline(), &gray, 0);
            assert!(matches!(answer, Err(ImagingError::Malformed(_))), "{words}");
        }
        // A header that claims 60,000 x 8,000 pixels over a few bytes of data.
        let mut huge = gray.clone();
        let sof = huge.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        huge[sof + 5..sof + 9].copy_from_slice(&[0xEA, 0x60, 0x1F, 0x40]);
        let answer =
            crate::decode(json("rows=60000 columns=8000").as_bytes(), baseline(), &huge, 0);
        assert!(matches!(answer, Err(ImagingError::Malformed(_))));
    }

    #[test]
    fn every_truncation_and_flipped_byte_is_survived() {
        let stream = encode(Samples::Rgb(&[7, 200, 90].repeat(256)));
        let json = json("rows=16 columns=16 samples=3 photometric=YBR_FULL");
        for end in 0..stream.len() {
            let _ = crate::decode(json.as_bytes(), baseline(), &stream[..end], 0);
        }
        for index in 0..stream.len() {
            let mut flipped = stream.clone();
            flipped[index] ^= 0xFF;
            let _ = crate::decode(json.as_bytes(), baseline(), &flipped, 0);
        }
    }
}
