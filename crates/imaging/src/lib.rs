//! Decoding and rendering of pixels: bytes of one stored frame in, native pixels or a small picture
//! out.
//!
//! CPU only and synchronous; callers run it on a bounded pool. It owns codecs, modality and VOI
//! transformations, colour and scaling. It does not own where frames lie ([`qianli_model::frames`])
//! nor any file or socket. Everything here meets hostile input: dimensions and lengths are checked
//! before anything is allocated, and a decoder of a third party that panics costs one error.

mod attributes;
mod bits;
mod colour;
mod decode;
mod encode;
mod gray;
mod huffman;
mod jpeg;
mod jpeg_extended;
mod jpeg_lossless;
mod lut;
mod native;
mod rle;
#[cfg(test)]
mod testdata;
mod transcode;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use qianli_model::TransferSyntax;

use attributes::{Image, Photometric};
pub use transcode::{LossyMethod, Transcoded, can_encode, transcode};

/// Most bytes that one decoded frame may have. A 16-bit RGB slide of 9,000 x 9,000 pixels fits.
pub const MAX_FRAME_BYTES: usize = 512 << 20;

/// What a picture is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `image/jpeg`, the default of PS3.18 section 8.7.4.
    Jpeg,
    /// `image/png`.
    Png,
}

/// How a window maps values to brightness (VOI LUT Function, PS3.3 section C.11.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VoiFunction {
    /// `LINEAR`: the classic with its half-value offsets.
    #[default]
    Linear,
    /// `LINEAR_EXACT`.
    LinearExact,
    /// `SIGMOID`.
    Sigmoid,
}

/// A window in the units of the modality transformation (for CT: Hounsfield units).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Window Center (0028,1050).
    pub center: f64,
    /// Window Width (0028,1051).
    pub width: f64,
    /// VOI LUT Function (0028,1056).
    pub function: VoiFunction,
}

/// What the caller of [`render`] wants.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Encoding of the picture.
    pub format: Format,
    /// JPEG quality, 1 to 100; other values are clamped. PNG ignores it.
    pub quality: u8,
    /// Greatest width and height in pixels. The picture is scaled down to fit, keeping its aspect
    /// ratio; it is never scaled up.
    pub viewport: Option<(u32, u32)>,
    /// Window to use in place of the one in the data set. Colour images ignore it.
    pub window: Option<Window>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { format: Format::Jpeg, quality: 90, viewport: None, window: None }
    }
}

/// An encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// One frame as native pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Little-endian pixels as PixelData of Explicit VR Little Endian would hold them, laid out as
    /// the data set's Bits Allocated and Planar Configuration say. Bit-packed frames start on a
    /// byte.
    pub pixels: Vec<u8>,
    /// Photometric Interpretation of `pixels`. It differs from the data set's where decoding
    /// changed it: a JPEG stream of YBR_FULL_422 comes out as YBR_FULL, without subsampling.
    pub photometric: &'static str,
}

/// Why a frame cannot be decoded or rendered. Texts never hold values of the patient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImagingError {
    /// Legal DICOM that this crate does not know.
    #[error("not supported: {0}")]
    Unsupported(Cow<'static, str>),
    /// The frame or its attributes contradict each other or their encoding.
    #[error("malformed image: {0}")]
    Malformed(Cow<'static, str>),
    /// Decoded, the frame would exceed [`MAX_FRAME_BYTES`].
    #[error("the frame is too large")]
    TooLarge,
}

pub(crate) fn unsupported<T>(what: impl Into<Cow<'static, str>>) -> Result<T, ImagingError> {
    Err(ImagingError::Unsupported(what.into()))
}

pub(crate) fn malformed<T>(what: impl Into<Cow<'static, str>>) -> Result<T, ImagingError> {
    Err(ImagingError::Malformed(what.into()))
}

/// Renders one frame to a picture that a browser shows (PS3.18 section 8.7.4).
///
/// `json` is the instance's DICOM JSON object; the mark
/// [`BASE_URL_MARK`](qianli_model::header::BASE_URL_MARK) may occur in it. `frame` is one frame as
/// stored, `bit_offset` the bits to skip in its first byte (bit-packed frames only). `frame_number`
/// counts from 1 and selects the item of the per-frame functional groups.
///
/// Grayscale goes through the modality transformation and the first window (of the caller, of the
/// frame, of the image); without any window the values of the frame are stretched from least to
/// greatest.
///
/// # Errors
///
/// [`ImagingError::Unsupported`] for codecs, palettes and colour models that are not implemented,
/// [`ImagingError::Malformed`] when bytes and attributes disagree, [`ImagingError::TooLarge`].
pub fn render(
    json: &[u8],
    syntax: TransferSyntax,
    frame: &[u8],
    bit_offset: u8,
    frame_number: u32,
    options: &RenderOptions,
) -> Result<Rendered, ImagingError> {
    guarded(|| {
        let data_set = attributes::DataSet::parse(json)?;
        let image = Image::read(&data_set)?;
        let decoded = decode::decode(&image, syntax, frame, bit_offset)?;
        let picture = match decoded.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => {
                let voi = gray::Transformation::read(&data_set, &image, frame_number, options)?;
                gray::render(&image, &decoded.pixels, &voi)?
            }
            photometric => colour::render(&data_set, &image, photometric, &decoded.pixels)?,
        };
        encode::encode(picture, options)
    })
}

/// Decodes one frame to native little-endian pixels, as PixelData of Explicit VR Little Endian
/// would hold them; see [`Decoded`] for the layout and [`render`] for the arguments.
///
/// # Errors
///
/// As [`render`].
pub fn decode(
    json: &[u8],
    syntax: TransferSyntax,
    frame: &[u8],
    bit_offset: u8,
) -> Result<Vec<u8>, ImagingError> {
    decode_described(json, syntax, frame, bit_offset).map(|decoded| decoded.pixels)
}

/// Decodes like [`decode`] and says what the pixels are.
///
/// # Errors
///
/// As [`render`].
pub fn decode_described(
    json: &[u8],
    syntax: TransferSyntax,
    frame: &[u8],
    bit_offset: u8,
) -> Result<Decoded, ImagingError> {
    guarded(|| {
        let data_set = attributes::DataSet::parse(json)?;
        let image = Image::read(&data_set)?;
        let frame = decode::decode(&image, syntax, frame, bit_offset)?;
        Ok(Decoded { pixels: frame.pixels.into_owned(), photometric: frame.photometric.as_str() })
    })
}

/// Whether frames of this syntax can be decoded here. Single frames may still turn out to use an
/// option of their codec that is not known.
pub fn can_decode(syntax: TransferSyntax) -> bool {
    decode::Codec::of(syntax).is_some()
}

/// Runs a decoder; a panic inside becomes an error, since one frame must not end a process.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImagingError>) -> Result<T, ImagingError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| malformed("the decoder gave up on the frame"))
}
