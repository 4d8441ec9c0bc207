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
