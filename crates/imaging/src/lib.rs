//! Decoding and rendering of pixels: bytes of one stored frame in, native pixels or a small picture
//! out.
//!
//! CPU only and synchronous; callers run it on a bounded pool. It owns codecs, modality and VOI
//! transformations, colour and scaling. It does not own where frames lie ([`qianli_model::frames`])
//! nor any file or socket. Everything here meets hostile input: dimensions and lengths are checked
//! before anything is allocated, and a decoder of a third party that panics costs one error.

mod attributes;
mod bits;
mod cine;
mod colour;
#[cfg(test)]
mod corpus;
mod decode;
mod element;
mod encode;
pub mod foreign;
mod gray;
mod huffman;
mod icc;
mod jpeg;
mod jpeg_2000;
mod jpeg_baseline;
mod jpeg_extended;
mod jpeg_lossless;
mod jpeg_ls;
mod jpeg_xl;
mod lut;
#[cfg(test)]
mod mutations;
mod native;
mod overlay;
mod placeholder;
mod raster;
mod rendering;
mod rle;
mod scale;
#[cfg(test)]
mod testdata;
mod transcode;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use qianli_model::TransferSyntax;

use attributes::Image;
pub use cine::Cine;
pub use element::base64;
pub use placeholder::placeholder;
pub use rendering::{
    Format, Profile, Region, RenderOptions, Rendered, Rendering, Viewport, VoiFunction, Window,
    WindowChoice,
};
pub use transcode::{LossyMethod, Transcoded, can_encode, transcode};

/// Most bytes that one decoded frame may have. A 16-bit RGB slide of 9,000 x 9,000 pixels fits.
pub const MAX_FRAME_BYTES: usize = 512 << 20;

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
    /// The caller asked for something that this image does not have.
    #[error("{0}")]
    Request(Cow<'static, str>),
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

/// Decodes one frame to native little-endian pixels, as PixelData of Explicit VR Little Endian
/// would hold them; see [`Decoded`] for the layout. `json`, `syntax`, `frame` and `bit_offset` are
/// those of [`Rendering`].
///
/// # Errors
///
/// As [`Rendering::render`].
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
/// As [`Rendering::render`].
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

/// About how many bytes per sample a codec needs beside the frame and its pixels; for budgets of
/// memory.
pub fn working_bytes(syntax: TransferSyntax) -> u64 {
    match syntax.uid() {
        uid if !syntax.is_encapsulated() || uid == "1.2.840.10008.1.2.5" => 0,
        "1.2.840.10008.1.2.1.98" | "1.2.840.10008.1.2.8.1" => 0,
        // Coefficients or samples of 16 bits.
        "1.2.840.10008.1.2.4.50"
        | "1.2.840.10008.1.2.4.51"
        | "1.2.840.10008.1.2.4.53"
        | "1.2.840.10008.1.2.4.55"
        | "1.2.840.10008.1.2.4.57"
        | "1.2.840.10008.1.2.4.70"
        | "1.2.840.10008.1.2.4.80"
        | "1.2.840.10008.1.2.4.81" => 2,
        // Wavelets of 32 bits, in two places at once.
        _ => 8,
    }
}

/// Runs a decoder; a panic inside becomes an error, since one frame must not end a process.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImagingError>) -> Result<T, ImagingError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| malformed("the decoder gave up on the frame"))
}
