//! Whole objects in another transfer syntax than the stored one, as they are sent.
//!
//! The data set is rewritten in steps and the pixels frame by frame, each when the receiver has
//! taken what came before: a slow receiver holds a little memory and no thread.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use qianli_catalog::types::{Detail, Location};
use qianli_imaging::{ImagingError, LossyMethod, Transcoded};
use qianli_model::dataset::vr::VR;
use qianli_model::dataset::{
    Change, Changes, InflateSource, Limits, PixelPlan, Rewriter, Source, Step,
};
use qianli_model::frames::FrameTable;
use qianli_model::syntax::Encoding;
use qianli_model::tag::tag;
use qianli_model::{Scope, TransferSyntax, file_meta, tag};

use crate::description::Description;
use crate::frames::{ConvertError, FrameReader};
use crate::retrieve::ByteStream;
use crate::source::BlobSource;
use crate::{Archive, ArchiveError};

/// Frames that are read and transcoded ahead of the receiver.
const AHEAD: usize = 2;

/// Objects whose data set is deflated offer no way to single frames but from its start, so only
/// few of their frames are compressed.
const DEFLATED_FRAMES: u32 = 16;

const ICON_IMAGE_SEQUENCE: qianli_model::Tag = tag(0x0088, 0x0200);
const LOSSY_IMAGE_COMPRESSION: qianli_model::Tag = tag(0x0028, 0x2110);
const LOSSY_RATIO: qianli_model::Tag = tag(0x0028, 0x2112);
const LOSSY_METHOD: qianli_model::Tag = tag(0x0028, 0x2114);

/// An object on its way out.
pub struct Opened {
    /// File meta information and data set.
    pub content: ByteStream,
    /// Its length, where it is known before it is made.
    pub length: Option<u64>,
    /// Its transfer syntax.
    pub syntax: TransferSyntax,
}

/// Whether an object may be had in `to`, as far as the two syntaxes tell. A single object can still
/// turn out to be of a kind that `to` has no place for.
pub fn can_convert(from: TransferSyntax, to: TransferSyntax) -> bool {
    if from == to {
        return true;
    }
    let readable = is_native(from) || qianli_imaging::can_decode(from);
    // Big endian is retired; nobody is sent it who did not send it.
    let writable = match to.encoding() {
        Encoding::ExplicitBig => false,
        _ if is_native(to) => true,
        _ => qianli_imaging::can_encode(to),
    };
    readable && writable
}

/// Whether pixel data lies in the data set as it is, the whole of which may be deflated. (The JPIP
/// syntaxes have it elsewhere.)
fn is_native(syntax: TransferSyntax) -> bool {
    matches!(
        syntax.uid(),
        "1.2.840.10008.1.2"
            | "1.2.840.10008.1.2.1"
            | "1.2.840.10008.1.2.1.99"
            | "1.2.840.10008.1.2.2"
    )
}

impl Archive {
    /// Streams an object as a Part 10 file in a transfer syntax: the stored bytes when it is
    /// stored in it, else rewritten and transcoded on the way.
    ///
    /// The first frame is transcoded before this returns, so that an object that cannot be had is
    /// an error here and not a broken stream. A lossy result says so in its data set and has a SOP
    /// Instance UID of its own (PS3.3 section C.7.6.1.1.5), always the same one.
    ///
    /// # Errors
    ///
    /// See [`ConvertError`]. The stream itself may fail later.
    pub async fn open_as(
        &self,
        scope: &Scope,
        location: &Location,
        syntax: TransferSyntax,
    ) -> Result<Opened, ConvertError> {
        if location.transfer_syntax == syntax {
            let content = self.open(scope, location).await?;
            return Ok(Opened { content, length: Some(location.blob_size), syntax });
        }
        let Location { study, series, instance, .. } = location;
        let detail = self.detail(scope, study, series, instance).await?;
        // Superseded or deleted since it was located; either way not what was asked for.
        let detail = detail.filter(|found| found.location.blob_key == location.blob_key);
        let detail = match detail {
            Some(detail) => detail,
            None => {
                self.0.details.forget(scope, study, series, instance);
                let found = self.detail(scope, study, series, instance).await?;
                found.ok_or_else(|| ArchiveError::Damaged("an instance is gone".into()))?
            }
        };
        if detail.location.transfer_syntax == syntax {
            let content = self.open(scope, &detail.location).await?;
            return Ok(Opened { content, length: Some(detail.location.blob_size), syntax });
        }
        let frames = FrameReader::new(self, scope, Arc::clone(&detail));
        let mut conversion = Conversion::prepare(self, frames, syntax).await?;
        // Most of what cannot be rewritten shows at the start.
        conversion.rewrite().await.map_err(|error| match error {
            ArchiveError::Damaged(what) => ImagingError::Malformed(what.into()).into(),
            other => ConvertError::from(other),
        })?;
        Ok(Opened { content: conversion.stream(), length: None, syntax })
    }
}

/// An object that is being rewritten.
struct Conversion {
    archive: Archive,
    to: TransferSyntax,
    rewriter: Option<Box<Rewriter<Box<dyn Source + Send>>>>,
    /// What was made and not taken yet.
    ready: VecDeque<Bytes>,
    pixels: Option<Pixels>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    DataSet,
    Pixels,
    Ended,
}

/// Frames that are to be put into the place of the stored ones.
struct Pixels {
    frames: BoxStream<'static, Result<Transcoded, ConvertError>>,
    vr: VR,
    /// Bytes of all frames together and their padding, for native pixel data.
    length: u32,
    padded: bool,
    packed: Option<Packed>,
}

impl Conversion {
    async fn prepare(
        archive: &Archive,
        reader: FrameReader,
        to: TransferSyntax,
    ) -> Result<Self, ConvertError> {
        let detail = Arc::clone(reader.detail());
        let from = detail.location.transfer_syntax;
        if !can_convert(from, to) {
            let what = format!("{} as {}", from.name(), to.name());
            return Err(ImagingError::Unsupported(what.into()).into());
        }
        let mut changes = Changes::new();
        let mut pixels = None;
        let has_pixels = detail.frames != FrameTable::None;
        let mut instance = detail.location.instance.to_string();
        if is_native(from) && is_native(to) {
            // Rewriting the data set is all.
        } else if has_pixels && detail.frames.count() > 0 {
            if from.is_deflated() && detail.frames.count() > DEFLATED_FRAMES {
                let what = "compressing the frames of a deflated data set";
                return Err(ImagingError::Unsupported(what.into()).into());
            }
            let first = reader.transcoded(1, to, false).await?;
            changes = describe(&detail, reader.description(), &first);
            if first.lossy.is_some() {
                instance = derived_uid(&detail, to);
                changes.insert(tag::SOP_INSTANCE_UID, Change::text(VR::UI, &instance));
            }
            pixels = Some(Pixels::new(reader, first, to)?);
        } else if has_pixels || !is_native(to) {
            let what = "pixel data without a readable frame";
            return Err(ImagingError::Unsupported(what.into()).into());
        }
        let plan = if pixels.is_some() { PixelPlan::Replace } else { PixelPlan::Copy };
        let limits = archive.0.config.limits.clone();
        let source = source(archive, &detail.location, &limits).await?;
        let rewriter = Rewriter::new(source, from.encoding(), to, plan, changes, &limits);
        let head = file_meta::write(&detail.location.sop_class, &instance, to, None);
        Ok(Self {
            archive: archive.clone(),
            to,
            rewriter: Some(Box::new(rewriter)),
            ready: VecDeque::from([Bytes::from(head)]),
            pixels,
            phase: Phase::DataSet,
        })
    }

    fn stream(self) -> ByteStream {
        let steps = stream::try_unfold(self, |mut conversion| async move {
            loop {
                if let Some(ready) = conversion.ready.pop_front() {
                    return Ok(Some((ready, conversion)));
                }
                match conversion.phase {
                    Phase::DataSet => conversion.rewrite().await?,
                    Phase::Pixels => conversion.next_frame().await?,
                    Phase::Ended => return Ok(None),
                }
            }
        });
        steps.boxed()
    }

    async fn rewrite(&mut self) -> Result<(), ArchiveError> {
        let begin = self.pixels.as_ref().map(|pixels| (pixels.vr, pixels.length));
        let encapsulated = self.to.is_encapsulated();
        let work = move |rewriter: &mut Rewriter<_>, out: &mut Vec<u8>| {
            let step = rewriter.step(out).map_err(|error| damaged(&error))?;
            match begin {
                Some(_) if step == Step::Pixels && encapsulated => {
                    rewriter.encapsulated_pixels(out);
                }
                Some((vr, length)) if step == Step::Pixels => {
                    rewriter.native_pixels(vr, length, out);
                }
                _ => {}
            }
            Ok(step)
        };
        match self.with_rewriter(work).await? {
            Step::More => {}
            Step::Pixels => self.phase = Phase::Pixels,
            Step::End => self.phase = Phase::Ended,
        }
        Ok(())
    }

    async fn next_frame(&mut self) -> Result<(), ArchiveError> {
        let to = self.to;
        let Some(pixels) = &mut self.pixels else {
            return Err(ArchiveError::Damaged("pixel data where there was none".into()));
        };
        let frame = match pixels.frames.next().await {
            Some(Ok(frame)) => Some(frame.bytes),
            Some(Err(ConvertError::Archive(error))) => return Err(error),
            Some(Err(error)) => return Err(damaged(&error)),
            None => None,
        };
        let Some(frame) = frame else {
            let mut tail = pixels.packed.take().map(Packed::finish).unwrap_or_default();
            if pixels.padded {
                tail.push(0);
            }
            self.phase = Phase::DataSet;
            let work = move |rewriter: &mut Rewriter<_>, out: &mut Vec<u8>| {
                if to.is_encapsulated() {
                    rewriter.end_pixels(out);
                } else {
                    rewriter.write(&tail, out);
                }
                Ok(())
            };
            return self.with_rewriter(work).await;
        };
        let frame = match &mut pixels.packed {
            Some(packed) => packed.add(&frame),
            None => frame,
        };
        if to.is_encapsulated() || to.is_deflated() {
            let work = move |rewriter: &mut Rewriter<_>, out: &mut Vec<u8>| {
                if to.is_encapsulated() {
                    rewriter.fragment(&frame, out);
                } else {
                    rewriter.write(&frame, out);
                }
                Ok(())
            };
            return self.with_rewriter(work).await;
        }
        // Plain native pixels need nothing of the rewriter.
        if !frame.is_empty() {
            self.ready.push_back(frame.into());
        }
        Ok(())
    }

    /// Lends the rewriter to a blocking thread.
    async fn with_rewriter<T, F>(&mut self, work: F) -> Result<T, ArchiveError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Rewriter<Box<dyn Source + Send>>, &mut Vec<u8>) -> Result<T, ArchiveError>
            + Send
            + 'static,
    {
        let Some(mut rewriter) = self.rewriter.take() else {
            return Err(ArchiveError::Damaged("a rewriter was lost".into()));
        };
        let done = self.archive.workers().step(move || {
            let mut out = Vec::new();
            let result = work(&mut rewriter, &mut out);
            (rewriter, out, result)
        });
        let (rewriter, out, result) = done.await.map_err(|error| damaged(&error))?;
        self.rewriter = Some(rewriter);
        if !out.is_empty() {
            self.ready.push_back(out.into());
        }
        result
    }
}

fn damaged(error: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged(format!("it cannot be converted: {error}"))
}

impl Pixels {
    fn new(
        reader: FrameReader,
        first: Transcoded,
        to: TransferSyntax,
    ) -> Result<Self, ConvertError> {
        let count = reader.detail().frames.count();
        let bits = reader.description().frame_bits();
        let bits_allocated = reader.description().number(tag::BITS_ALLOCATED).unwrap_or(8);
        let size = first.bytes.len();
        let packed = (bits_allocated == 1 && !bits.is_multiple_of(8) && count > 1)
            .then(|| Packed::new(bits));
        let total = match &packed {
            Some(_) => bits.saturating_mul(u64::from(count)).div_ceil(8),
            None => (size as u64).saturating_mul(u64::from(count)),
        };
        let native = !to.is_encapsulated();
        // The length of a native value has 32 bits, and all ones stand for "undefined".
        let length = match u32::try_from(total.next_multiple_of(2)) {
            Ok(length) if length < u32::MAX - 1 => length,
            _ if native => return Err(ImagingError::TooLarge.into()),
            _ => 0,
        };
        let padded = native && !total.is_multiple_of(2);
        let rest = stream::iter(2..=count)
            .map(move |number| {
                let reader = reader.clone();
                async move {
                    let frame = reader.transcoded(number, to, true).await?;
                    if native && frame.bytes.len() != size {
                        let what = "frames of different sizes";
                        return Err(ImagingError::Malformed(what.into()).into());
                    }
                    Ok(frame)
                }
            })
            .buffered(AHEAD);
        let frames = stream::iter([Ok(first)]).chain(rest).boxed();
        let vr = if bits_allocated > 8 { VR::OW } else { VR::OB };
        Ok(Self { frames, vr, length, packed: packed.filter(|_| native), padded })
    }
}

/// Joins bit-packed frames, which come with each frame on a byte of its own and go into one value
/// without gaps (PS3.5 section 8.1.1).
struct Packed {
    bits: u64,
    held: u8,
    /// Bits in `held`, 0 to 7.
    count: u32,
}

impl Packed {
    fn new(bits: u64) -> Self {
        Self { bits, held: 0, count: 0 }
    }

    fn add(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() + 1);
        let mut left = self.bits;
        for byte in frame {
            let valid = left.min(8) as u32;
            left -= u64::from(valid);
            let kept = u16::from(*byte) & ((1u16 << valid) - 1);
            let joined = u16::from(self.held) | (kept << self.count);
            self.count += valid;
            let [low, high] = joined.to_le_bytes();
            if self.count >= 8 {
                out.push(low);
                self.held = high;
                self.count -= 8;
            } else {
                self.held = low;
            }
        }
        out
    }

    fn finish(self) -> Vec<u8> {
        if self.count > 0 { vec![self.held] } else { Vec::new() }
    }
}

/// What the data set must say of its new pixels.
fn describe(detail: &Detail, description: &Description, first: &Transcoded) -> Changes {
    let mut changes = Changes::new();
    changes.insert(tag::PHOTOMETRIC_INTERPRETATION, Change::text(VR::CS, first.photometric));
    let planar = match first.planar_configuration {
        Some(planar) => Change::Set(VR::US, planar.to_le_bytes().to_vec()),
        None => Change::Remove,
    };
    changes.insert(tag::PLANAR_CONFIGURATION, planar);
    let count = detail.frames.count();
    let claimed = description.number(tag::NUMBER_OF_FRAMES).unwrap_or(1);
    if claimed != u64::from(count) {
        changes.insert(tag::NUMBER_OF_FRAMES, Change::text(VR::IS, &count.to_string()));
    }
    for table in [tag::EXTENDED_OFFSET_TABLE, tag::EXTENDED_OFFSET_TABLE_LENGTHS] {
        changes.insert(table, Change::Remove);
    }
    let stored = detail.location.transfer_syntax;
    if stored.is_encapsulated() && description.has(ICON_IMAGE_SEQUENCE) {
        // Its pixels are compressed as the image's are; it may be left out (PS3.3 table C.7-12).
        changes.insert(ICON_IMAGE_SEQUENCE, Change::Remove);
    }
    let always_lossy = matches!(stored.uid(), "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51");
    if always_lossy && description.texts(LOSSY_IMAGE_COMPRESSION).is_empty() {
        changes.insert(LOSSY_IMAGE_COMPRESSION, Change::text(VR::CS, "01"));
    }
    if let Some(method) = first.lossy {
        describe_loss(&mut changes, description, first, method);
    }
    changes
}

/// PS3.3 section C.7.6.1.1.5: a lossy image says that it is one, how much was lost and how, after
/// what was lost before; and it is derived.
fn describe_loss(
    changes: &mut Changes,
    description: &Description,
    first: &Transcoded,
    method: LossyMethod,
) {
    let append = |tag, value: String| {
        let mut values = description.texts(tag);
        values.retain(|value| !value.is_empty());
        values.push(value);
        values.join("\\")
    };
    let ratio = first.native_bytes as f64 / (first.bytes.len().max(1) as f64);
    let ratios = append(LOSSY_RATIO, format!("{ratio:.2}"));
    let methods = append(LOSSY_METHOD, method.as_str().to_owned());
    let mut image_type = description.texts(tag::IMAGE_TYPE);
    match image_type.first_mut() {
        Some(first) => *first = "DERIVED".to_owned(),
        None => image_type.extend(["DERIVED".to_owned(), "PRIMARY".to_owned()]),
    }
    changes.insert(tag::IMAGE_TYPE, Change::text(VR::CS, &image_type.join("\\")));
    changes.insert(LOSSY_IMAGE_COMPRESSION, Change::text(VR::CS, "01"));
    changes.insert(LOSSY_RATIO, Change::text(VR::DS, &ratios));
    changes.insert(LOSSY_METHOD, Change::text(VR::CS, &methods));
}

/// The SOP Instance UID of a lossy copy: a UUID made from what it is a copy of (PS3.5 annex B.2),
/// so that asking twice gives one instance and not two.
fn derived_uid(detail: &Detail, to: TransferSyntax) -> String {
    let name = format!("{} {to}", detail.location.content_hash);
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(hash.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    let mut number = u128::from_be_bytes(bytes);
    // Version 8 and the variant of RFC 9562.
    number = (number & !(0xF << 76)) | (0x8 << 76);
    number = (number & !(0x3 << 62)) | (0x2 << 62);
    format!("2.25.{number}")
}

/// The data set of a stored object, inflated.
async fn source(
    archive: &Archive,
    location: &Location,
    limits: &Limits,
) -> Result<Box<dyn Source + Send>, ConvertError> {
    let blobs = archive.blobs().clone();
    let key = location.blob_key.clone();
    let source = BlobSource::new(blobs, key, location.data_set_offset, location.blob_size);
    if !location.transfer_syntax.is_deflated() {
        return Ok(Box::new(source));
    }
    let max_inflated = limits.max_inflated;
    // Inflating begins when the source is made.
    let inflated = archive.workers().step(move || InflateSource::over(source, max_inflated));
    Ok(Box::new(inflated.await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_frames_are_joined_without_gaps() {
        let mut packed = Packed::new(3);
        let mut joined = Vec::new();
        for frame in [[0b1111_1101], [0b0000_0011], [0b0000_0110]] {
            joined.extend(packed.add(&frame));
        }
        joined.extend(packed.finish());
        assert_eq!(joined, [0b1001_1101, 0b0000_0001]);
        let mut whole = Packed::new(12);
        let mut joined = whole.add(&[0xAB, 0xFC]);
        joined.extend(whole.add(&[0xDE, 0x0F]));
        assert_eq!((joined, whole.finish()), (vec![0xAB, 0xEC, 0xFD], Vec::new()));
    }

    #[test]
    fn what_can_be_had_follows_from_the_syntaxes() {
        let syntax = |uid| TransferSyntax::from_uid(uid).expect("a syntax");
        let explicit = TransferSyntax::EXPLICIT_LITTLE;
        let rle = syntax("1.2.840.10008.1.2.5");
        let mpeg = syntax("1.2.840.10008.1.2.4.102");
        let big = syntax("1.2.840.10008.1.2.2");
        for (from, to, expected) in [
            (explicit, rle, true),
            (rle, explicit, true),
            (rle, TransferSyntax::IMPLICIT_LITTLE, true),
            (mpeg, mpeg, true),
            (mpeg, explicit, false),
            (explicit, mpeg, false),
            (big, explicit, true),
            (explicit, big, false),
            (big, big, true),
            (syntax("1.2.840.10008.1.2.4.94"), explicit, false),
        ] {
            assert_eq!(can_convert(from, to), expected, "{from} {to}");
        }
    }
}
