//! Re-encodes single frames: the pixels of one transfer syntax in another.
//!
//! It owns the choice of encoder and says what the data set must say of the result. Rewriting data
//! sets, offset tables and SOP Instance UIDs is the caller's. What a data set says of rows, columns,
//! samples, Bits Allocated, Bits Stored, High Bit and Pixel Representation stays true: no encoder
//! here changes it.

use std::borrow::Cow;
use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use qianli_model::TransferSyntax;

use crate::attributes::{DataSet, Image, Photometric, SampleKind};
use crate::decode::{self, Frame};
use crate::jpeg_baseline::{self, Chrominances, Samples};
use crate::raster::Raster;
use crate::{ImagingError, guarded, jpeg_2000, jpeg_lossless, jpeg_ls, native, rle, unsupported};

/// How a frame lost information: the defined terms of Lossy Image Compression Method (0028,2114),
/// PS3.3 section C.7.6.1.1.5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossyMethod {
    /// JPEG lossy compression.
    Iso10918,
    /// JPEG-LS near-lossless compression.
    Iso14495,
    /// JPEG 2000 irreversible compression.
    Iso15444,
}

impl LossyMethod {
    /// The defined term.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iso10918 => "ISO_10918_1",
            Self::Iso14495 => "ISO_14495_1",
            Self::Iso15444 => "ISO_15444_1",
        }
    }
}

/// A frame in another transfer syntax, and what the data set must say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcoded {
    /// For a native syntax the pixels of this frame, without padding; bit-packed frames start on a
    /// byte. For an encapsulated one a fragment's value, of even length.
    pub bytes: Vec<u8>,
    /// Photometric Interpretation (0028,0004).
    pub photometric: &'static str,
    /// Planar Configuration (0028,0006); `None` when there is one sample per pixel, where the
    /// attribute must be absent.
    pub planar_configuration: Option<u16>,
    /// Set when this encoding lost information: the data set then needs (0028,2110), (0028,2112),
    /// (0028,2114) and a new SOP Instance UID. What an earlier encoding lost is for the data set to
    /// keep saying.
    pub lossy: Option<LossyMethod>,
    /// Bytes of the frame without compression: divided by the length of `bytes` it gives the Lossy
    /// Image Compression Ratio (0028,2112).
    pub native_bytes: usize,
}

/// Frames that encoders produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoder {
    /// Explicit or implicit VR little endian; deflating the data set is the caller's.
    Native,
    /// Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 section A.4.11).
    Encapsulated,
    Rle,
    /// Deflated Image Frame Compression (PS3.5 section A.4.13).
    DeflatedFrame,
    JpegBaseline,
    JpegLossless,
    Jpeg2000,
    JpegLs {
        /// Greatest error of a sample.
        near: u8,
    },
}

/// Quality of baseline JPEG, of 100.
const JPEG_QUALITY: u8 = 90;

/// Greatest error of a sample in near-lossless JPEG-LS.
const NEAR: u8 = 2;

impl Encoder {
    fn of(syntax: TransferSyntax) -> Option<Self> {
        match syntax.uid() {
            "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" | "1.2.840.10008.1.2.1.99" => {
                Some(Self::Native)
            }
            "1.2.840.10008.1.2.1.98" => Some(Self::Encapsulated),
            "1.2.840.10008.1.2.5" => Some(Self::Rle),
            "1.2.840.10008.1.2.8.1" => Some(Self::DeflatedFrame),
            "1.2.840.10008.1.2.4.50" => Some(Self::JpegBaseline),
            "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => Some(Self::JpegLossless),
            "1.2.840.10008.1.2.4.80" => Some(Self::JpegLs { near: 0 }),
            "1.2.840.10008.1.2.4.81" => Some(Self::JpegLs { near: NEAR }),
            "1.2.840.10008.1.2.4.90" => Some(Self::Jpeg2000),
            _ => None,
        }
    }
}

/// Whether frames can be encoded in this syntax. Single images may still be of a kind that the
/// syntax has no place for, such as 12 bits in baseline JPEG: [`transcode`] then says
/// [`ImagingError::Unsupported`].
pub fn can_encode(syntax: TransferSyntax) -> bool {
    Encoder::of(syntax).is_some()
}

/// Brings one frame from one transfer syntax to another; see [`decode_described`](crate::decode_described) for `json`,
/// `frame` and `bit_offset`.
///
/// A syntax for which [`TransferSyntax::is_lossy`] is false gets exactly the pixels that decoding
/// the frame gives. From a syntax to itself nothing is decoded.
///
/// # Errors
///
/// [`ImagingError::Unsupported`] when one of the syntaxes is not known or has no place for this
/// image, [`ImagingError::Malformed`] when bytes and attributes disagree,
/// [`ImagingError::TooLarge`].
pub fn transcode(
    json: &[u8],
    from: TransferSyntax,
    to: TransferSyntax,
    frame: &[u8],
    bit_offset: u8,
) -> Result<Transcoded, ImagingError> {
    guarded(|| {
        let data_set = DataSet::parse(json)?;
        let image = Image::read(&data_set)?;
        if from == to && to.is_encapsulated() {
            return Ok(described(&image, image.photometric, image.planar, padded(frame.to_vec())));
        }
        let Some(encoder) = Encoder::of(to) else {
            return unsupported(format!("encoding {}", to.name()));
        };
        let frame = decode::decode(&image, from, frame, bit_offset)?;
        encode(&image, encoder, frame)
    })
}

fn encode(image: &Image, encoder: Encoder, frame: Frame<'_>) -> Result<Transcoded, ImagingError> {
    let photometric = frame.photometric;
    let unchanged = |bytes| Ok(described(image, photometric, image.planar, bytes));
    match encoder {
        Encoder::Native => return unchanged(frame.pixels.into_owned()),
        Encoder::Encapsulated => return unchanged(padded(frame.pixels.into_owned())),
        Encoder::DeflatedFrame => return unchanged(padded(deflate(&frame.pixels)?)),
        _ if image.kind != SampleKind::Integer => {
            return unsupported("compression of floating point pixels");
        }
        _ => {}
    }
    let frame = full_resolution(image, frame)?;
    let photometric = frame.photometric;
    // Codecs but RLE take colours pixel by pixel.
    let done = |bytes| described(image, photometric, false, padded(bytes));
    match encoder {
        Encoder::Rle => {
            Ok(described(image, photometric, image.planar, rle::encode(image, &frame.pixels)?))
        }
        Encoder::JpegLossless => {
            let raster = deep_raster(image, &frame)?;
            let bytes = jpeg_lossless::encode::encode(image, &raster.samples, raster.precision);
            Ok(done(bytes))
        }
        Encoder::JpegLs { near } => {
            let raster = deep_raster(image, &frame)?;
            let near = if may_lose(image, photometric, &raster, near) { near } else { 0 };
            let bytes = jpeg_ls::encode(image, &raster.samples, raster.precision, near)?;
            Ok(Transcoded { lossy: (near > 0).then_some(LossyMethod::Iso14495), ..done(bytes) })
        }
        Encoder::Jpeg2000 => {
            let raster = Raster::read(image, &frame)?;
            let colours = photometric == Photometric::Rgb;
            let source = jpeg_2000::encode::Source {
                samples: &raster.samples,
                precision: raster.precision,
                signed: image.signed && image.bits_allocated > 1,
                colours,
            };
            let bytes = padded(jpeg_2000::encode::lossless(image, &source)?);
            let photometric = if colours { Photometric::YbrRct } else { photometric };
            Ok(described(image, photometric, false, bytes))
        }
        Encoder::JpegBaseline => {
            let (bytes, photometric) = baseline(image, &frame)?;
            let described = described(image, photometric, false, padded(bytes));
            Ok(Transcoded { lossy: Some(LossyMethod::Iso10918), ..described })
        }
        Encoder::Native | Encoder::Encapsulated | Encoder::DeflatedFrame => {
            unsupported("this encoding")
        }
    }
}

/// Samples for codecs that have no place for single bits.
fn deep_raster(image: &Image, frame: &Frame<'_>) -> Result<Raster, ImagingError> {
    if image.bits_allocated < 8 {
        return unsupported("this codec for packed bits");
    }
    Raster::read(image, frame)
}

/// Whether small errors of samples stay small: not in palette indexes, and not where two's complement turns from its greatest value to its least.
fn may_lose(image: &Image, photometric: Photometric, raster: &Raster, near: u8) -> bool {
    let turn = 1i32 << (raster.precision - 1);
    let near = i32::from(near);
    let turns = |sample: &u16| (turn - near..turn + near).contains(&i32::from(*sample));
    photometric != Photometric::Palette && !(image.signed && raster.samples.iter().any(turns))
}

/// Baseline JPEG, with subsampled chrominances for colours.
fn baseline(image: &Image, frame: &Frame<'_>) -> Result<(Vec<u8>, Photometric), ImagingError> {
    if (image.bits_allocated, image.bits_stored, image.signed) != (8, 8, false) {
        return unsupported("baseline JPEG for other than 8 unsigned bits");
    }
    let raster = Raster::read(image, frame)?;
    let samples: Vec<u8> = raster.samples.iter().map(|sample| *sample as u8).collect();
    let (samples, photometric) = match frame.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 => {
            (Samples::Gray(&samples), frame.photometric)
        }
        Photometric::Rgb => (Samples::Rgb(&samples), Photometric::YbrFull422),
        Photometric::YbrFull => (Samples::YbrFull(&samples), Photometric::YbrFull422),
        _ => return unsupported("lossy compression of palette colours"),
    };
    let sides = (image.columns, image.rows);
    let two = Chrominances::Pair;
    let stream = jpeg_baseline::encode(samples, sides, JPEG_QUALITY, two, None)?;
    Ok((stream, photometric))
}

fn described(image: &Image, photometric: Photometric, planar: bool, bytes: Vec<u8>) -> Transcoded {
    Transcoded {
        bytes,
        photometric: photometric.as_str(),
        planar_configuration: (image.samples > 1).then_some(u16::from(planar)),
        lossy: None,
        native_bytes: image.decoded_bytes(),
    }
}

/// Fragments have an even length (PS3.5 section A.4).
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

fn deflate(pixels: &[u8]) -> Result<Vec<u8>, ImagingError> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::default());
    let written = out.write_all(pixels).and_then(|()| out.finish());
    // Writing to memory does not fail; should it ever, the frame is not encoded.
    written.map_err(|_| ImagingError::Unsupported("deflating this frame".into()))
}

/// Gives every pixel its own chrominances, since no codec here takes them shared.
fn full_resolution<'a>(image: &Image, frame: Frame<'a>) -> Result<Frame<'a>, ImagingError> {
    match frame.photometric {
        Photometric::YbrFull422 => {}
        Photometric::YbrPartial422 | Photometric::YbrPartial420 => {
            return unsupported("compression of colours in studio range");
        }
        _ => return Ok(frame),
    }
    let pixels = Cow::Owned(native::upsample(image, &frame.pixels)?);
    Ok(Frame { pixels, photometric: Photometric::YbrFull })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::json;

    fn syntax(uid: &str) -> TransferSyntax {
        TransferSyntax::from_uid(uid).unwrap()
    }

    fn from_native(words: &str, to: &str, frame: &[u8], bit_offset: u8) -> Transcoded {
        let native = TransferSyntax::EXPLICIT_LITTLE;
        transcode(json(words).as_bytes(), native, syntax(to), frame, bit_offset).unwrap()
    }

    #[test]
    fn what_is_promised_is_what_is_known() {
        for known in TransferSyntax::all() {
            let answer = transcode(
                json("").as_bytes(),
                TransferSyntax::EXPLICIT_LITTLE,
                known,
                &[1, 2, 3, 4],
                0,
            );
            let unknown = matches!(answer, Err(ImagingError::Unsupported(_)));
            assert_eq!(unknown, !can_encode(known), "{known}: {answer:?}");
        }
    }

    /// The table of codecs in docs/CONFORMANCE.md, from what the code answers.
    #[test]
    fn the_table_of_codecs_is_the_documented_one() {
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let known = TransferSyntax::all().filter(|s| crate::can_decode(*s) || can_encode(*s));
        let rows = known.map(|syntax| {
            let decoded = word(crate::can_decode(syntax));
            let encoded = word(can_encode(syntax));
            format!("| {syntax} | {} | {decoded} | {encoded} |\n", syntax.name())
        });
        let table: String = rows.collect();
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFORMANCE.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&table), "docs/CONFORMANCE.md should have:\n{table}");
    }

    #[test]
    fn packed_bits_of_a_later_frame_start_on_a_byte() {
        let words = "rows=3 columns=3 bits=1";
        let native = from_native(words, "1.2.840.10008.1.2", &[0b0110_1011, 0b1111_1010], 3);
        assert_eq!(native.bytes, [0b0100_1101, 1]);
        assert_eq!((native.planar_configuration, native.native_bytes), (None, 2));
        let rle = from_native(words, "1.2.840.10008.1.2.5", &[0b0110_1011, 0b1111_1010], 3);
        let rle_syntax = syntax("1.2.840.10008.1.2.5");
        let back = crate::decode(json(words).as_bytes(), rle_syntax, &rle.bytes, 0).unwrap();
        assert_eq!(back, native.bytes);
    }

    #[test]
    fn shared_chrominances_are_spread_for_codecs_and_kept_for_native() {
        let words = "samples=3 rows=1 columns=3 photometric=YBR_FULL_422 planar=0";
        let frame = [10, 20, 1, 2, 30, 99, 3, 4];
        let native = from_native(words, "1.2.840.10008.1.2", &frame, 0);
        assert_eq!((&native.bytes[..], native.photometric), (&frame[..], "YBR_FULL_422"));
        let rle = from_native(words, "1.2.840.10008.1.2.5", &frame, 0);
        assert_eq!((rle.photometric, rle.planar_configuration), ("YBR_FULL", Some(0)));
        let uid = syntax("1.2.840.10008.1.2.5");
        let back = crate::decode(json(words).as_bytes(), uid, &rle.bytes, 0).unwrap();
        assert_eq!(back, [10, 1, 2, 20, 1, 2, 30, 3, 4]);
    }

    #[test]
    fn fragments_have_an_even_length() {
        for to in TransferSyntax::all().filter(|to| to.is_encapsulated() && can_encode(*to)) {
            let answer = from_native("rows=1 columns=3", to.uid(), &[1, 2, 3], 0);
            assert!(answer.bytes.len().is_multiple_of(2), "{to}");
        }
    }

    #[test]
    fn a_frame_in_its_own_syntax_is_not_decoded() {
        let uid = syntax("1.2.840.10008.1.2.4.50");
        let words = "samples=3 photometric=YBR_FULL_422 planar=0";
        let same = transcode(json(words).as_bytes(), uid, uid, b"opaque", 0).unwrap();
        assert_eq!((&same.bytes[..], same.photometric), (&b"opaque"[..], "YBR_FULL_422"));
        assert_eq!(same.lossy, None);
    }
}
