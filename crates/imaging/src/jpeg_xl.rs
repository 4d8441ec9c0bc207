//! JPEG XL (ISO/IEC 18181-1) as DICOM frames: the transfer syntaxes .110 to .112.
//!
//! Decoding is done by jxl-oxide, with a limit on what it may allocate; the frame's dimensions are
//! compared with the data set before anything is rendered.

use std::borrow::Cow;

use jxl_oxide::image::BitDepth;
use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool};

use crate::attributes::{Image, Photometric};
use crate::decode::Frame;
use crate::jpeg::{plane_order, sign_extend, widen};
use crate::{ImagingError, MAX_FRAME_BYTES, malformed, unsupported};

/// Bytes that the decoder may hold besides some planes of the image.
const ALLOWANCE: usize = 64 << 20;

/// Decodes one frame.
pub(crate) fn decode(image: &Image, data: &[u8]) -> Result<Frame<'static>, ImagingError> {
    // The decoder holds planes of four bytes per sample, several at a time.
    let samples = image.pixels() * image.samples;
    if samples > MAX_FRAME_BYTES / 4 {
        return Err(ImagingError::TooLarge);
    }
    let failed = |_| ImagingError::Malformed("the JPEG XL stream cannot be decoded".into());
    let limit = samples * 4 * 4 + ALLOWANCE;
    let decoder = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(limit))
        .read(data)
        .map_err(failed)?;
    let (width, height) = (decoder.width() as usize, decoder.height() as usize);
    if (height, width) != (image.rows, image.columns) {
        return malformed("the JPEG XL dimensions differ from rows and columns");
    }
    if decoder.pixel_format().channels() != image.samples {
        return malformed("the JPEG XL channels differ from samples per pixel");
    }
    let metadata = &decoder.image_header().metadata;
    let BitDepth::IntegerSample { bits_per_sample: precision @ 1..=16 } = metadata.bit_depth else {
        return unsupported("JPEG XL with more than 16 bits per sample");
    };
    if metadata.orientation != 1 {
        return unsupported("JPEG XL that asks to be turned");
    }
    if precision as usize > image.bits_allocated || image.bits_allocated < 8 {
        return malformed("the JPEG XL precision exceeds the bits allocated");
    }
    let rendered = decoder.render_frame(0).map_err(failed)?;
    let buffer = rendered.image_all_channels();
    let fits = (buffer.height(), buffer.width()) == (height, width);
    if !fits || buffer.channels() != image.samples || buffer.buf().len() != samples {
        return malformed("the JPEG XL frame is not the whole image");
    }
    let most = ((1u32 << precision) - 1) as f32;
    let values = buffer.buf().iter().map(|sample| {
        let value = (sample * most).round().clamp(0.0, most) as u32;
        sign_extend(image, precision as u8, value)
    });
    let pixels = plane_order(image, widen(values, image.sample_bytes()));
    // JPEG XL undoes whatever it did to colours.
    let photometric = if image.samples == 3 { Photometric::Rgb } else { image.photometric };
    Ok(Frame { pixels: Cow::Owned(pixels), photometric })
}

#[cfg(test)]
mod tests {
    use qianli_model::TransferSyntax;

    use crate::testdata::{Random, bytes, json};

    /// 5 x 7 samples of 16 bits, `9000 x + 300 y`, written by libjxl without loss, in a container.
    const GRAY: &str = "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20000000096a786c6c0a00 \
        0001086a786c63ff0a2040fc00458b08020100c8034b189b9c71840338800338204ac039050100204480 \
        081001224084ffff3ff8ffffa23ec61873aeb5f7dee79c730e014544444444646666def77e55555515fc \
        ffffc1ffff17f531c69873adbdf73ee79c73082822222222223333f3bef7abaaaaaae0ffff0ffeffbfa8 \
        8f31c69c6bedbdf739e79c43401111111111999999f7bd5f55555505ffff7ff0ffff457d8c31e65c6bef \
        bdcf39e71c028a88888888c8ccccbceffdaaaaaaaae10bcaf88232bea08c2f28e30bcaf882329e589e58 \
        9e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e589e58 \
        9e589e589e589e589e5800";

    /// 5 x 7 pixels `(30 x, 40 y, 10 x + 10 y)`, written by libjxl without loss.
    const COLOUR: &str = "ff0a20401009080201001c054b189b9c71840338800338204ac039050100204480081001224084fff7ef \
        f9efa131e79c6bed7b4f922409015555555555d5ffffff73efebeeeeee86fff7eff9efa131e79c6bed73 \
        6f922409015555555555d5ffffff73efebeeeeee86fff7eff9efa131e79c6bed736f9224090155555555 \
        55d5ffffff73efebeeeeee86fff7eff9efa131e79c6bed736f922409015555555555d5ffffff73efebee \
        eeeebe408c002c5f7eee07eddc0fdab9cffd6439f7b99f2ce73ef7b99f2ce73ef793e5dce73ef793e5dc \
        e77eb29cfbdc0fdab91fb4732f5fceeedd077acc0ef4781fe8017aae1ce890cfb3031de8817c6c0ff4a0 \
        3d2f0e74f007f2f139d003f9381ee8813ccf8371ee03b187a1a1ddcbf71c68e68c879c39e3c167ce73c6 \
        e5bbcfb87ccf19cfb8fc8c675c7ec6332e3ae3a2330e0d6116428c31841863ac628c31c63ac61843a863 \
        0cc10c";

    fn decode(words: &str, stream: &[u8]) -> Result<crate::Decoded, crate::ImagingError> {
        let syntax = TransferSyntax::from_uid("1.2.840.10008.1.2.4.110").unwrap();
        crate::decode_described(json(words).as_bytes(), syntax, stream, 0)
    }

    #[test]
    fn streams_of_libjxl_come_out_exactly() {
        let places = || (0..5u16).flat_map(|y| (0..7u16).map(move |x| (x, y)));
        let gray = decode("rows=5 columns=7 bits=16", &bytes(GRAY)).unwrap();
        let expected: Vec<u8> =
            places().flat_map(|(x, y)| (x * 9000 + y * 300).to_le_bytes()).collect();
        assert_eq!(gray.pixels, expected);
        let words = "rows=5 columns=7 samples=3 photometric=RGB planar=0";
        let colour = decode(words, &bytes(COLOUR)).unwrap();
        let expected = places().flat_map(|(x, y)| [x * 30, y * 40, x * 10 + y * 10]);
        assert_eq!(colour.pixels, expected.map(|sample| sample as u8).collect::<Vec<_>>());
        assert_eq!(colour.photometric, "RGB");
    }

    #[test]
    fn contradictions_and_damage_are_refused_or_survived() {
        for words in ["rows=5 columns=8 bits=16", "rows=5 columns=7", "rows=7 columns=5 bits=16"] {
            assert!(decode(words, &bytes(GRAY)).is_err(), "{words}");
        }
        let mut random = Random::new(3);
        for _ in 0..400 {
            let mut stream = bytes(COLOUR);
            let at = random.next() as usize % stream.len();
            stream[at] = random.next() as u8;
            stream.truncate(stream.len() - (random.next() % 3) as usize);
            let words = "rows=5 columns=7 samples=3 photometric=RGB planar=0";
            if let Ok(decoded) = decode(words, &stream) {
                assert_eq!(decoded.pixels.len(), 105);
            }
        }
    }
}
