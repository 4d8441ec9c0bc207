//! Ranges of a deflated data set (PS3.5 section A.5). Its stream has no way in but from the start, so
//! whoever reads one range after another keeps the place where the last one ended.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_catalog::types::Location;
use qianli_model::dataset::{InflateSource, Source};
use qianli_model::frames::ByteRange;
use tokio::sync::Mutex;

use crate::blobs::BlobError;
use crate::retrieve::ByteStream;
use crate::source::BlobSource;
use crate::{Archive, ArchiveError};

/// Bytes per step of an inflated stream.
const STEP: u64 = 256 << 10;

/// Bytes that are skipped at a time: others take their turns in between.
const SKIP: u64 = 64 << 20;

/// The place in a deflated object up to which it was inflated. All clones are one; a range in front
/// of it starts over. Of other objects it says nothing and costs nothing.
#[derive(Clone, Default)]
pub struct Inflating(Arc<Mutex<Option<Place>>>);

struct Place {
    key: String,
    source: Box<dyn Source + Send>,
}

impl Archive {
    /// Streams a range of an inflated data set, in bounded memory. The first step is made before this
    /// returns, so that what cannot be read is no broken stream.
    pub(crate) async fn inflated(
        &self,
        location: &Location,
        range: ByteRange,
        at: &Inflating,
    ) -> Result<ByteStream, ArchiveError> {
        let first = ByteRange { length: range.length.min(STEP), ..range };
        let bytes = self.inflate(location, first, at).await?;
        let rest = ByteRange {
            offset: range.offset.saturating_add(first.length),
            length: range.length - first.length,
        };
        let (archive, location, at) = (self.clone(), location.clone(), at.clone());
        let rest = stream::try_unfold(rest, move |left| {
            let (archive, location, at) = (archive.clone(), location.clone(), at.clone());
            async move {
                if left.length == 0 {
                    return Ok(None);
                }
                let step = ByteRange { length: left.length.min(STEP), ..left };
                let bytes = archive.inflate(&location, step, &at).await?;
                let offset = left.offset.saturating_add(step.length);
                Ok(Some((bytes, ByteRange { offset, length: left.length - step.length })))
            }
        });
        Ok(stream::once(async { Ok(bytes) }).chain(rest).boxed())
    }

    /// Inflates one range, which comes whole.
    pub(crate) async fn inflate(
        &self,
        location: &Location,
        range: ByteRange,
        at: &Inflating,
    ) -> Result<Bytes, ArchiveError> {
        let key = &location.blob_key;
        let damaged = |what: &dyn std::fmt::Display| {
            ArchiveError::Damaged(format!("{key}: inflating failed: {what}"))
        };
        // The store may only be away for a while.
        let failed = |error: io::Error| match error.downcast::<BlobError>() {
            Ok(error) => error.of_object(key),
            Err(error) => damaged(&error),
        };
        let mut place = at.0.lock().await;
        let mut known = place.take().filter(|place| {
            place.key == location.blob_key && place.source.position() <= range.offset
        });
        loop {
            let now = known.take().map_or_else(|| Start::New(self.compressed(location)), Start::At);
            let (named, limit) = (key.clone(), self.0.config.limits.max_inflated);
            let work = move || step(now.place(named, limit), range);
            let done = self.workers().step(work).await.map_err(|error| damaged(&error))?;
            match done.map_err(failed)? {
                (now, Some(bytes)) => {
                    *place = Some(now);
                    return Ok(bytes);
                }
                (now, None) => known = Some(now),
            }
        }
    }

    fn compressed(&self, location: &Location) -> BlobSource {
        let (key, size) = (location.blob_key.clone(), location.blob_size);
        BlobSource::new(self.blobs().clone(), key, location.data_set_offset, size)
    }
}

/// Where a step begins.
enum Start {
    New(BlobSource),
    At(Place),
}

impl Start {
    /// The place; for blocking threads, since inflating begins when it is made.
    fn place(self, key: String, limit: u64) -> Place {
        match self {
            Self::New(source) => {
                Place { key, source: Box::new(InflateSource::over(source, limit)) }
            }
            Self::At(place) => place,
        }
    }
}

/// Goes on towards a range, and reads it when it is reached.
fn step(mut place: Place, range: ByteRange) -> io::Result<(Place, Option<Bytes>)> {
    let ahead = range.offset.saturating_sub(place.source.position());
    place.source.skip(ahead.min(SKIP))?;
    if ahead > SKIP {
        return Ok((place, None));
    }
    // Ingest has inflated this far: there is as much.
    let length = usize::try_from(range.length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(length).is_err() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    bytes.resize(length, 0);
    place.source.read_exact(&mut bytes)?;
    Ok((place, Some(bytes.into())))
}
