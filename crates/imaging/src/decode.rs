//! Chooses the codec of a transfer syntax and checks what comes out of it.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::DeflateDecoder;
use qianli_model::TransferSyntax;
use qianli_model::syntax::Encoding;

use crate::attributes::{Image, Photometric, SampleKind};
use crate::{
    ImagingError, bits, jpeg, jpeg_2000, jpeg_ls, jpeg_xl, malformed, native, rle, unsupported,
};

/// A frame as native little-endian pixels.
pub(crate) struct Frame<'a> {
    pub pixels: Cow<'a, [u8]>,
    /// What the pixels are, after whatever the codec did to colours.
    pub photometric: Photometric,
}

/// How frames of a syntax are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Native {
        big_endian: bool,
    },
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
    JpegXl,
    /// Deflated Image Frame Compression (PS3.5 section A.4.13): each frame is one deflate stream.
    DeflatedFrame,
}

impl Codec {
    /// The codec of a syntax, if it is one that is known here.
    pub fn of(syntax: TransferSyntax) -> Option<Self> {
        match syntax.uid() {
            "1.2.840.10008.1.2"
            | "1.2.840.10008.1.2.1"
            | "1.2.840.10008.1.2.1.98"
            | "1.2.840.10008.1.2.1.99"
            | "1.2.840.10008.1.2.2" => {
                Some(Self::Native { big_endian: syntax.encoding() == Encoding::ExplicitBig })
            }
            "1.2.840.10008.1.2.5" => Some(Self::Rle),
            "1.2.840.10008.1.2.4.50"
            | "1.2.840.10008.1.2.4.51"
            | "1.2.840.10008.1.2.4.53"
            | "1.2.840.10008.1.2.4.55"
            | "1.2.840.10008.1.2.4.57"
            | "1.2.840.10008.1.2.4.70" => Some(Self::Jpeg),
            "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => Some(Self::JpegLs),
            "1.2.840.10008.1.2.4.90"
            | "1.2.840.10008.1.2.4.91"
            | "1.2.840.10008.1.2.4.201"
            | "1.2.840.10008.1.2.4.202"
            | "1.2.840.10008.1.2.4.203" => Some(Self::Jpeg2000),
            "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
                Some(Self::JpegXl)
            }
            "1.2.840.10008.1.2.8.1" => Some(Self::DeflatedFrame),
            _ => None,
        }
    }
}

/// Decodes one frame.
pub(crate) fn decode<'a>(
    image: &Image,
    syntax: TransferSyntax,
    frame: &'a [u8],
    bit_offset: u8,
) -> Result<Frame<'a>, ImagingError> {
    let Some(codec) = Codec::of(syntax) else {
        return unsupported(syntax.name());
    };
    let unchanged = |pixels| Frame { pixels, photometric: image.photometric };
    match codec {
        Codec::Native { big_endian } => {
            native::decode(image, big_endian, frame, bit_offset).map(unchanged)
        }
        Codec::DeflatedFrame => inflate(image, frame).map(unchanged),
        _ if image.kind != SampleKind::Integer => malformed("compressed floating point pixels"),
        Codec::Rle => {
            let pixels = Cow::Owned(rle::decode(image, frame)?);
            // A plane per sample leaves no room for shared chrominances.
            let photometric = match image.photometric {
                Photometric::YbrFull422 => Photometric::YbrFull,
                other => other,
            };
            Ok(Frame { pixels, photometric })
        }
        Codec::Jpeg => jpeg::decode(image, frame),
        Codec::JpegLs => jpeg_ls::decode(image, frame),
        Codec::Jpeg2000 => jpeg_2000::decode(image, frame),
        Codec::JpegXl => jpeg_xl::decode(image, frame),
    }
}

/// Inflates a frame; the output is bounded by what the dimensions allow.
fn inflate(image: &Image, frame: &[u8]) -> Result<Cow<'static, [u8]>, ImagingError> {
    let length = native::frame_bytes(image);
    let mut pixels = Vec::new();
    let limit = length as u64;
    if DeflateDecoder::new(frame).take(limit).read_to_end(&mut pixels).is_err()
        || pixels.len() < length
    {
        return malformed("the deflated frame ends early");
    }
    if image.bits_allocated == 1 {
        pixels = bits::align(&pixels, 0, image.pixels()).unwrap_or(pixels);
    }
    Ok(Cow::Owned(pixels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{can_decode, testdata::json};

    fn syntax(uid: &str) -> TransferSyntax {
        TransferSyntax::from_uid(uid).unwrap()
    }

    #[test]
    fn what_is_promised_is_what_is_known() {
        assert!(can_decode(TransferSyntax::EXPLICIT_LITTLE));
        assert!(can_decode(syntax("1.2.840.10008.1.2.5")));
        for uid in ["1.2.840.10008.1.2.4.58", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94"] {
            assert!(!can_decode(syntax(uid)), "{uid}");
            let answer = crate::decode(json("").as_bytes(), syntax(uid), &[0; 4], 0);
            assert!(matches!(answer, Err(ImagingError::Unsupported(_))), "{uid}");
        }
    }

    #[test]
    fn deflated_frames_inflate_no_further_than_their_dimensions() {
        use std::io::Write;
        let deflate = |bytes: &[u8]| {
            let mut out = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let uid = syntax("1.2.840.10008.1.2.8.1");
        let decode = |bytes: &[u8]| crate::decode(json("").as_bytes(), uid, bytes, 0);
        assert_eq!(decode(&deflate(&[1, 2, 3, 4])).unwrap(), [1, 2, 3, 4]);
        assert_eq!(decode(&deflate(&vec![9; 1 << 20])).unwrap(), [9, 9, 9, 9]);
        assert!(decode(&deflate(&[1, 2])).is_err());
        assert!(decode(b"\xff\xff").is_err());
    }
}
