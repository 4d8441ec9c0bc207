//! The one way out: locations and headers from the catalog, bytes from the blob store. Nothing here
//! parses an object.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use qianli_catalog::types::{Detail, Location, Metadata, Target};
use qianli_model::frames::ByteRange;
use qianli_model::header::BulkValue;
use qianli_model::syntax::Encoding;
use qianli_model::{Permission, Scope};

use crate::blobs::BlobError;
use crate::inflated::Inflating;
use crate::key::guard;
use crate::{Archive, ArchiveError, in_time, permit};

/// Bytes of an object, in bounded steps.
pub type ByteStream = BoxStream<'static, Result<Bytes, ArchiveError>>;

/// Bytes that are read at once when short ranges are streamed.
const READ_AT_ONCE: u64 = 1 << 20;

impl Archive {
    /// Finds where the instances of a study, series or instance lie, in the order of series and
    /// instance numbers. Empty when there is nothing.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn locate(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Vec<Location>, ArchiveError> {
        permit(scope, Permission::Read)?;
        let found = in_time(self.0.catalog.locate(scope, target)).await?;
        guard(scope, found.iter().map(|one| one.blob_key.as_str()))?;
        Ok(found)
    }

    /// Returns the DICOM JSON of every instance of a target, in the order of [`Archive::locate`].
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Vec<Metadata>, ArchiveError> {
        permit(scope, Permission::Read)?;
        in_time(self.0.catalog.metadata(scope, target)).await
    }

    /// Streams a whole stored object, file meta information included: `blob_size` bytes.
    ///
    /// # Errors
    ///
    /// The object cannot be opened. The stream itself may fail later.
    pub async fn open(
        &self,
        _scope: &Scope,
        location: &Location,
    ) -> Result<ByteStream, ArchiveError> {
        self.stored(location, 0..location.blob_size).await
    }

    /// Reads frames, 1-based, as they are encoded in the object; fragments are joined. Whoever reads
    /// several times of one object keeps `at`, so that a deflated one is inflated once.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Damaged`] for a frame that the table does not have, and failures of the store.
    pub async fn frames(
        &self,
        _scope: &Scope,
        detail: &Detail,
        numbers: &[u32],
        at: &Inflating,
    ) -> Result<Vec<Bytes>, ArchiveError> {
        let mut ranges: Vec<ByteRange> = Vec::with_capacity(numbers.len());
        let mut counts = Vec::with_capacity(numbers.len());
        for number in numbers {
            let frame = frame_ranges(detail, *number)?;
            counts.push(frame.len());
            ranges.extend(frame);
        }
        let mut parts = self.read_ranges(&detail.location, ranges, at).await?.into_iter();
        Ok(counts.into_iter().map(|count| join(parts.by_ref().take(count))).collect())
    }

    /// Streams one frame, 1-based, as it is encoded in the object; its fragments follow each other.
    /// Holds little of it, whatever its size and however slowly it is taken.
    ///
    /// # Errors
    ///
    /// As [`Archive::frames`]. The stream itself may fail later.
    pub async fn frame_stream(
        &self,
        _scope: &Scope,
        detail: &Detail,
        number: u32,
        at: &Inflating,
    ) -> Result<ByteStream, ArchiveError> {
        let ranges = frame_ranges(detail, number)?;
        let mut batches = batches(ranges).into_iter();
        let Some(first) = batches.next() else { return Ok(stream::empty().boxed()) };
        // The first is opened here, so that what is not there is an error and no broken answer.
        let first = self.stream_batch(&detail.location, first, at).await?;
        let (archive, location, at) = (self.clone(), detail.location.clone(), at.clone());
        let rest = stream::iter(batches).then(move |batch| {
            let (archive, location, at) = (archive.clone(), location.clone(), at.clone());
            async move { archive.stream_batch(&location, batch, &at).await }
        });
        Ok(first.chain(rest.try_flatten()).boxed())
    }

    async fn stream_batch(
        &self,
        location: &Location,
        batch: Vec<ByteRange>,
        at: &Inflating,
    ) -> Result<ByteStream, ArchiveError> {
        match batch.as_slice() {
            [range] if location.transfer_syntax.is_deflated() => {
                self.inflated(location, *range, at).await
            }
            [range] if range.length > READ_AT_ONCE => {
                let range = in_blob(location, *range)?;
                self.stored(location, range).await
            }
            _ => {
                let parts = self.read_ranges(location, batch, at).await?;
                Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
            }
        }
    }

    /// Streams a bulk value as it is encoded in the object.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn bulk(
        &self,
        _scope: &Scope,
        detail: &Detail,
        value: &BulkValue,
    ) -> Result<ByteStream, ArchiveError> {
        if detail.location.transfer_syntax.is_deflated() {
            return self.inflated(&detail.location, value.range, &Inflating::default()).await;
        }
        let range = in_blob(&detail.location, value.range)?;
        self.stored(&detail.location, range).await
    }

    /// Streams a range of a stored object.
    pub(crate) async fn stored(
        &self,
        location: &Location,
        range: Range<u64>,
    ) -> Result<ByteStream, ArchiveError> {
        let key = &location.blob_key;
        self.0.blobs.stream(key, range).await.map_err(|error| error.of_object(key))
    }

    /// How a frame, 1-based, is read by whatever thread then works on it; `None` when its bytes are
    /// not simply in a file.
    pub(crate) fn local_frame(
        &self,
        detail: &Detail,
        number: u32,
    ) -> Result<Option<impl FnOnce() -> Result<Bytes, BlobError> + use<>>, ArchiveError> {
        let Location { transfer_syntax, blob_key, .. } = &detail.location;
        if transfer_syntax.is_deflated() || transfer_syntax.encoding() == Encoding::ExplicitBig {
            return Ok(None);
        }
        let ranges = frame_ranges(detail, number)?.into_iter();
        let ranges: Result<_, _> = ranges.map(|range| in_blob(&detail.location, range)).collect();
        let read = self.0.blobs.local_ranges(blob_key, ranges?);
        Ok(read.map(|read| move || Ok(join(read()?.into_iter()))))
    }

    async fn read_ranges(
        &self,
        location: &Location,
        ranges: Vec<ByteRange>,
        at: &Inflating,
    ) -> Result<Vec<Bytes>, ArchiveError> {
        if !location.transfer_syntax.is_deflated() {
            let ranges: Result<Vec<_>, _> =
                ranges.into_iter().map(|range| in_blob(location, range)).collect();
            let key = &location.blob_key;
            return self.0.blobs.ranges(key, ranges?).await.map_err(|error| error.of_object(key));
        }
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            parts.push(self.inflate(location, range, at).await?);
        }
        Ok(parts)
    }
}

/// Where a frame, 1-based, lies in the data set.
fn frame_ranges(detail: &Detail, number: u32) -> Result<Vec<ByteRange>, ArchiveError> {
    let ranges = detail.frames.frame(number);
    ranges.ok_or_else(|| ArchiveError::Damaged(format!("there is no frame {number}")))
}

/// Moves a range of the data set to the blob's coordinates.
fn in_blob(location: &Location, range: ByteRange) -> Result<Range<u64>, ArchiveError> {
    let start = location.data_set_offset.checked_add(range.offset);
    let end = start.and_then(|start| start.checked_add(range.length));
    match (start, end) {
        (Some(start), Some(end)) if end <= location.blob_size => Ok(start..end),
        _ => Err(ArchiveError::Damaged("a range lies beyond the object's end".into())),
    }
}

/// Ranges as they are read: several short ones at once, long ones alone.
fn batches(ranges: Vec<ByteRange>) -> Vec<Vec<ByteRange>> {
    let mut batches: Vec<Vec<ByteRange>> = Vec::new();
    let mut bytes = 0u64;
    for range in ranges {
        bytes = bytes.saturating_add(range.length);
        match batches.last_mut() {
            Some(batch) if bytes <= READ_AT_ONCE => batch.push(range),
            _ => {
                batches.push(vec![range]);
                bytes = range.length;
            }
        }
    }
    batches
}

/// Joins fragments; a single one is not copied.
fn join(mut parts: impl Iterator<Item = Bytes>) -> Bytes {
    let Some(first) = parts.next() else { return Bytes::new() };
    let Some(second) = parts.next() else { return first };
    let parts: Vec<Bytes> = [first, second].into_iter().chain(parts).collect();
    let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.into_iter().for_each(|part| joined.extend_from_slice(&part));
    joined.freeze()
}
