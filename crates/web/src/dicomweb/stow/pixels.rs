//! Pixel data from bulk parts: as it is, in fragments, or unpacked.

use std::ops::Range;

use qianli_archive::Held;
use qianli_imaging::foreign;
use qianli_model::write::{Bulk, Part};
use qianli_model::{Refusal, TransferSyntax};

use super::composite::{BulkPart, Gathered};
use super::media::{self, Codec, HEAD, Media, Picture};
use crate::WebState;
use crate::pixels::PixelError;

/// Longest PNG file that is unpacked (bytes).
const MAX_PNG: u64 = 256 << 20;

/// The pixel data of an instance.
pub(super) struct Pixels {
    pub(super) bulk: Bulk,
    pub(super) syntax: TransferSyntax,
    /// What the image says of itself, if it does.
    pub(super) picture: Option<Picture>,
    /// Parts, each a frame; `None` where one part holds them all.
    pub(super) frames: Option<usize>,
    /// Bytes of all parts.
    pub(super) length: u64,
    /// Values that are not just a part; their names follow those of the parts.
    pub(super) made: Vec<(Held, Range<u64>)>,
    /// All frames are one stream.
    pub(super) film: bool,
}

/// Reads what the parts at `indices` are; the same media type for all.
pub(super) async fn gather(
    state: &WebState,
    all: &Gathered,
    indices: &[usize],
) -> Result<Pixels, Refusal> {
    let refuse = |reason: &str| Refusal::CannotUnderstand(format!("pixel data: {reason}"));
    let parts: Vec<&BulkPart> = indices.iter().filter_map(|index| all.parts.get(*index)).collect();
    let first = *parts.first().ok_or_else(|| refuse("no part"))?;
    if parts.iter().any(|part| part.media != first.media || part.syntax != first.syntax) {
        return Err(refuse("its parts are of different kinds"));
    }
    let named = match first.syntax.as_deref().filter(|syntax| *syntax != "*") {
        Some(uid) => {
            let known = TransferSyntax::from_uid(uid);
            Some(known.ok_or_else(|| Refusal::TransferSyntaxNotSupported(short(uid)))?)
        }
        None => None,
    };
    let whole = |index: usize| {
        let length = all.parts.get(index).map_or(0, |part| part.range.end - part.range.start);
        Part { name: index, length }
    };
    let length = indices.iter().map(|index| whole(*index).length).sum();
    let pixels = |bulk, syntax| Pixels {
        bulk,
        syntax,
        picture: None,
        frames: Some(indices.len()),
        length,
        made: Vec::new(),
        film: false,
    };
    let frames = || Bulk::Frames(indices.iter().map(|index| whole(*index)).collect());
    let one = || match indices {
        [index] => Ok(whole(*index)),
        _ => Err(refuse("several parts have the same Content-Location")),
    };
    match first.media {
        Media::Octets => match named {
            Some(syntax) if syntax.is_encapsulated() => Ok(pixels(frames(), syntax)),
            Some(syntax)
                if syntax != TransferSyntax::EXPLICIT_LITTLE
                    && syntax != TransferSyntax::IMPLICIT_LITTLE =>
            {
                Err(Refusal::TransferSyntaxNotSupported(syntax.uid().to_owned()))
            }
            _ => {
                let bulk = Bulk::Plain(one()?);
                Ok(Pixels { frames: None, ..pixels(bulk, TransferSyntax::EXPLICIT_LITTLE) })
            }
        },
        Media::Film(default) => {
            let syntax = named.or(TransferSyntax::from_uid(default));
            let syntax = syntax.ok_or_else(|| refuse("an unknown transfer syntax"))?;
            let bulk = Bulk::Stream(one()?);
            Ok(Pixels { frames: None, film: true, ..pixels(bulk, syntax) })
        }
        Media::Frame(codec) => {
            let (bulk, picture, made) = compressed(all, indices, codec).await?;
            let own = picture.as_ref().map(|picture| picture.syntax);
            let own = own.or(match codec {
                Codec::Rle => Some("1.2.840.10008.1.2.5"),
                Codec::JpegXl => Some("1.2.840.10008.1.2.4.112"),
                _ => None,
            });
            let syntax = named.or(own.and_then(TransferSyntax::from_uid));
            let syntax = syntax.ok_or_else(|| refuse("an unknown transfer syntax"))?;
            if !media::fits(codec, syntax) {
                return Err(refuse("its media type and its transfer syntax contradict each other"));
            }
            Ok(Pixels { picture, made, ..pixels(bulk, syntax) })
        }
        Media::Png => {
            let (picture, held) = unpacked(state, all, &parts).await?;
            let length = held.length();
            let bulk = Bulk::Plain(Part { name: all.parts.len(), length });
            let made = vec![(held, 0..length)];
            let native = pixels(bulk, TransferSyntax::EXPLICIT_LITTLE);
            Ok(Pixels { picture: Some(picture), made, ..native })
        }
        Media::Document(..) => Err(refuse("a document is no image")),
    }
}

/// A text of the client, cut to what can be shown.
fn short(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

type Fragments = (Bulk, Option<Picture>, Vec<(Held, Range<u64>)>);

/// Compressed frames; all must be alike.
async fn compressed(all: &Gathered, indices: &[usize], codec: Codec) -> Result<Fragments, Refusal> {
    let refuse = |reason: &str| Refusal::CannotUnderstand(format!("pixel data: {reason}"));
    let (mut frames, mut made) = (Vec::with_capacity(indices.len()), Vec::new());
    let mut common: Option<Picture> = None;
    for index in indices {
        let Some(part) = all.parts.get(*index) else { continue };
        let range = part.range.clone();
        let head = all.values.read(range.start..range.end.min(range.start + HEAD)).await?;
        let picture = media::picture(codec, &head).map_err(refuse)?;
        let start = picture.as_ref().map_or(0, |picture| picture.start);
        let length = (range.end - range.start).saturating_sub(start);
        if start == 0 {
            frames.push(Part { name: *index, length });
        } else {
            let name = all.parts.len() + made.len();
            made.push((all.values.clone(), range.start + start..range.end));
            frames.push(Part { name, length });
        }
        let picture = picture.map(|picture| Picture { start: 0, ..picture });
        if common.is_some() && picture != common {
            return Err(refuse("its frames differ in size or kind"));
        }
        common = picture;
    }
    Ok((Bulk::Frames(frames), common, made))
}

/// PNG files as native pixels, one after the other in a spool.
async fn unpacked(
    state: &WebState,
    all: &Gathered,
    parts: &[&BulkPart],
) -> Result<(Picture, Held), Refusal> {
    let refuse = |reason: String| Refusal::CannotUnderstand(format!("pixel data: {reason}"));
    let mut spool = state.archive().spool();
    let mut common: Option<Picture> = None;
    for part in parts {
        if part.range.end - part.range.start > MAX_PNG {
            return Err(refuse(format!("a PNG file is longer than {MAX_PNG} bytes")));
        }
        let file = all.values.read(part.range.clone()).await?;
        let raster = state
            .pixels()
            .run_within(foreign::png_memory(&file), move || foreign::png(&file))
            .await;
        let raster = raster.map_err(|error| match error {
            PixelError::Busy(_) => Refusal::OutOfResources("too many images at once".into()),
            PixelError::Imaging(cause) => refuse(cause.to_string()),
        })?;
        let picture = Picture {
            rows: raster.rows,
            columns: raster.columns,
            samples: raster.samples,
            bits: raster.bits,
            signed: false,
            photometric: if raster.samples == 1 { "MONOCHROME2" } else { "RGB" },
            syntax: TransferSyntax::EXPLICIT_LITTLE.uid(),
            start: 0,
        };
        if common.as_ref().is_some_and(|common| *common != picture) {
            return Err(refuse("its frames differ in size or kind".into()));
        }
        common = Some(picture);
        spool.write(raster.pixels.into()).await?;
    }
    let picture = common.ok_or_else(|| refuse("no part".into()))?;
    Ok((picture, spool.keep().await?))
}
