//! Whole objects in another transfer syntax than the stored one, as they are sent.
//!
//! The data set is rewritten in steps and the pixels frame by frame, each when the receiver has
//! taken what came before: a slow receiver holds a little memory and no thread.

mod deidentify;
mod describe;
mod pixels;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_catalog::types::{Detail, Location};
use qianli_imaging::ImagingError;
use qianli_model::dataset::vr::VR;
use qianli_model::dataset::{
    Change, Changes, DataSetError, InflateSource, Limits, PixelPlan, RewriteError, Rewriter,
    Source, Step,
};
use qianli_model::frames::FrameTable;
use qianli_model::syntax::Encoding;
use qianli_model::{Permission, Scope, SopInstanceUid, TransferSyntax, file_meta, tag};

use crate::blobs::BlobError;
use crate::frames::{ConvertError, FrameReader, MadeFrame};
use crate::key::guard;
use crate::retrieve::ByteStream;
use crate::source::BlobSource;
use crate::{Archive, ArchiveError, Memory, permit};
use describe::{derived_uid, describe};
use pixels::{Packed, Pixels};

pub use deidentify::{Deidentified, Outgoing, Pseudonymous};

/// An object on its way out.
pub struct Opened {
    /// File meta information and data set.
    pub content: ByteStream,
    /// Its length, where it is known before it is made.
    pub length: Option<u64>,
    /// Its transfer syntax.
    pub syntax: TransferSyntax,
}

/// The data set of an object on its way out, without preamble and file meta information.
pub struct DataSet {
    /// The data set, in the syntax that was asked for.
    pub content: ByteStream,
    /// Its length, where it is known before it is made.
    pub length: Option<u64>,
    /// Which instance it is: another than the stored one where something was lost.
    pub instance: SopInstanceUid,
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
        let detail = self.detail_of(scope, location).await?;
        if detail.location.transfer_syntax == syntax {
            let content = self.open(scope, &detail.location).await?;
            return Ok(Opened { content, length: Some(detail.location.blob_size), syntax });
        }
        let (conversion, _) = self.convert(scope, detail, syntax).await?;
        Ok(Opened { content: conversion.stream(), length: None, syntax })
    }

    /// Streams the data set alone, as it travels in a C-STORE; else as [`Archive::open_as`].
    ///
    /// # Errors
    ///
    /// As [`Archive::open_as`].
    pub async fn open_data_set(
        &self,
        scope: &Scope,
        location: &Location,
        syntax: TransferSyntax,
    ) -> Result<DataSet, ConvertError> {
        permit(scope, Permission::Read)?;
        guard(scope, [location.blob_key.as_str()])?;
        if location.transfer_syntax == syntax {
            return Ok(self.stored_data_set(location).await?);
        }
        let detail = self.detail_of(scope, location).await?;
        if detail.location.transfer_syntax == syntax {
            return Ok(self.stored_data_set(&detail.location).await?);
        }
        let (mut conversion, instance) = self.convert(scope, detail, syntax).await?;
        // The file meta information stays here.
        conversion.ready.pop_front();
        Ok(DataSet { content: conversion.stream(), length: None, instance })
    }

    async fn stored_data_set(&self, location: &Location) -> Result<DataSet, ArchiveError> {
        let content = self.stored(location, location.data_set_offset..location.blob_size).await?;
        let length = location.blob_size.checked_sub(location.data_set_offset);
        Ok(DataSet { content, length, instance: location.instance.clone() })
    }

    async fn convert(
        &self,
        scope: &Scope,
        detail: Arc<Detail>,
        syntax: TransferSyntax,
    ) -> Result<(Conversion, SopInstanceUid), ConvertError> {
        let frames = FrameReader::new(self, scope, detail);
        let (mut conversion, instance) = Conversion::prepare(self, frames, syntax).await?;
        // Most of what cannot be rewritten shows at the start.
        conversion.rewrite().await.map_err(|error| match error {
            ArchiveError::Damaged(what) => ImagingError::Malformed(what.into()).into(),
            other => ConvertError::from(other),
        })?;
        Ok((conversion, instance))
    }

    /// The details of an object that was located, or of what took its place since.
    async fn detail_of(
        &self,
        scope: &Scope,
        location: &Location,
    ) -> Result<Arc<Detail>, ArchiveError> {
        let Location { study, series, instance, .. } = location;
        let detail = self.detail(scope, study, series, instance).await?;
        // Superseded or deleted since it was located; either way not what was asked for.
        if let Some(detail) = detail.filter(|found| found.location.blob_key == location.blob_key) {
            return Ok(detail);
        }
        self.0.details.forget(scope, study, series, instance);
        let found = self.detail(scope, study, series, instance).await?;
        found.ok_or_else(|| ArchiveError::Damaged("an instance is gone".into()))
    }
}

/// An object that is being rewritten.
struct Conversion {
    archive: Archive,
    /// The blob's.
    key: String,
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

impl Conversion {
    async fn prepare(
        archive: &Archive,
        reader: FrameReader,
        to: TransferSyntax,
    ) -> Result<(Self, SopInstanceUid), ConvertError> {
        let detail = Arc::clone(reader.detail());
        let from = detail.location.transfer_syntax;
        if !can_convert(from, to) {
            let what = format!("{} as {}", from.name(), to.name());
            return Err(ImagingError::Unsupported(what.into()).into());
        }
        let mut changes = Changes::new();
        let mut pixels = None;
        let has_pixels = detail.frames != FrameTable::None;
        let mut instance = detail.location.instance.clone();
        if is_native(from) && is_native(to) {
            // Rewriting the data set is all.
        } else if has_pixels && detail.frames.count() > 0 {
            let first = reader.transcoded(1, to, false).await?;
            changes = describe(&detail, reader.description(), &first.frame, to);
            if first.frame.lossy.is_some() {
                let derived = derived_uid(&detail, to);
                changes.insert(tag::SOP_INSTANCE_UID, Change::text(VR::UI, &derived));
                instance = SopInstanceUid::parse(&derived)
                    .map_err(|_| ArchiveError::Damaged("a UID cannot be derived".into()))?;
            }
            pixels = Some(Pixels::new(reader, first, to, None)?);
        } else if has_pixels || !is_native(to) {
            let what = "pixel data without a readable frame";
            return Err(ImagingError::Unsupported(what.into()).into());
        }
        let plan = if pixels.is_some() { PixelPlan::Replace } else { PixelPlan::Copy };
        let limits = archive.0.config.limits.clone();
        let source = source(archive, &detail.location, &limits).await?;
        let rewriter = Rewriter::new(source, from.encoding(), to, plan, changes, &limits);
        let head = file_meta::write(&detail.location.sop_class, instance.as_str(), to, None);
        let conversion = Self {
            archive: archive.clone(),
            key: detail.location.blob_key.clone(),
            to,
            rewriter: Some(Box::new(rewriter)),
            ready: VecDeque::from([Bytes::from(head)]),
            pixels,
            phase: Phase::DataSet,
        };
        Ok((conversion, instance))
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
        let key = self.key.clone();
        let work = move |rewriter: &mut Rewriter<_>, out: &mut Vec<u8>| {
            let step = rewriter.step(out).map_err(|error| failed(error, &key))?;
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
        match self.with_rewriter(None, work).await? {
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
            Some(Ok(MadeFrame { frame, memory })) => Some((frame.bytes, memory)),
            Some(Err(ConvertError::Archive(error))) => return Err(error),
            Some(Err(error)) => return Err(damaged(&error)),
            None => None,
        };
        let Some((frame, memory)) = frame else {
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
            return self.with_rewriter(None, work).await;
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
            return self.with_rewriter(Some(memory), work).await;
        }
        // Plain native pixels need nothing of the rewriter.
        if !frame.is_empty() {
            self.ready.push_back(memory.hold(frame));
        }
        Ok(())
    }

    /// Lends the rewriter to a blocking thread. What it writes takes the place of what `memory` was
    /// set aside for.
    async fn with_rewriter<T, F>(
        &mut self,
        memory: Option<Memory>,
        work: F,
    ) -> Result<T, ArchiveError>
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
            self.ready.push_back(match memory {
                Some(memory) => memory.hold(out),
                None => out.into(),
            });
        }
        result
    }
}

fn damaged(error: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged(format!("it cannot be converted: {error}"))
}

/// What the store has to do with it is said as such.
fn failed(error: RewriteError, key: &str) -> ArchiveError {
    match error {
        RewriteError::DataSet(DataSetError::Io(error)) => match error.downcast::<BlobError>() {
            Ok(error) => error.of_object(key),
            Err(error) => damaged(&error),
        },
        other => damaged(&other),
    }
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
