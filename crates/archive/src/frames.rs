//! Single frames in another transfer syntax than the stored one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_catalog::types::Detail;
use qianli_imaging::{ImagingError, Transcoded};
use qianli_model::syntax::Encoding;
use qianli_model::{Scope, TransferSyntax, tag};

use crate::description::Description;
use crate::inflated::Inflating;
use crate::retrieve::ByteStream;
use crate::{Archive, ArchiveError, Busy, Memory, Turn};

/// How long the first frame of an answer waits for its turn.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(20);

/// How long later ones wait: breaking an answer off costs the client all of it.
pub(crate) const LATER_PATIENCE: Duration = Duration::from_secs(300);

const RLE: &str = "1.2.840.10008.1.2.5";

/// Why an object or a frame cannot be had in the syntax that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Catalog or blob store failed, or the object is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The pixels cannot be converted. The text names no values of the patient.
    #[error("{0}")]
    Imaging(#[from] ImagingError),
    /// There is no room for it: now, or ever.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// A frame that was made, and the memory that is set aside for it.
#[derive(Debug)]
pub struct MadeFrame {
    /// The frame.
    pub frame: Transcoded,
    pub(crate) memory: Memory,
}

impl MadeFrame {
    /// Its bytes, with which the memory is set aside until the last of them is gone.
    pub fn into_bytes(self) -> Bytes {
        let mut bytes = self.frame.bytes;
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        self.memory.hold(bytes)
    }
}

/// Reads frames of one instance and brings them to other syntaxes.
#[derive(Clone)]
pub struct FrameReader {
    archive: Archive,
    scope: Scope,
    detail: Arc<Detail>,
    /// What conversion needs of the header, and the same as JSON for the codecs.
    described: Arc<(Description, Vec<u8>)>,
    inflating: Inflating,
}

impl FrameReader {
    /// A reader of an instance's frames.
    pub fn new(archive: &Archive, scope: &Scope, detail: Arc<Detail>) -> Self {
        let known = &archive.0.descriptions;
        let hash = &detail.location.content_hash;
        let described = known.get(hash).unwrap_or_else(|| {
            let description = Description::read(&detail.json);
            let json = description.to_json();
            let described = Arc::new((description, json));
            known.insert(hash.clone(), Arc::clone(&described));
            described
        });
        let (archive, scope) = (archive.clone(), scope.clone());
        Self { archive, scope, detail, described, inflating: Inflating::default() }
    }

    /// Streams a frame, 1-based, as it is encoded in the object; see [`Archive::frame_stream`].
    ///
    /// # Errors
    ///
    /// As [`Archive::frame_stream`].
    pub async fn stored(&self, number: u32) -> Result<ByteStream, ArchiveError> {
        self.archive.frame_stream(&self.scope, &self.detail, number, &self.inflating).await
    }

    /// How many frames may be asked for ahead of the one that is taken: of a deflated data set none,
    /// since they must be asked for in their order.
    pub fn ahead(&self, wanted: usize) -> usize {
        if self.detail.location.transfer_syntax.is_deflated() { 1 } else { wanted }
    }

    /// The instance.
    pub fn detail(&self) -> &Arc<Detail> {
        &self.detail
    }

    pub(crate) fn description(&self) -> &Description {
        &self.described.0
    }

    /// Reads a frame, 1-based, and transcodes it on the bounded pool. `later` is for frames after
    /// the first of an answer, which wait longer for their turn.
    ///
    /// # Errors
    ///
    /// [`ConvertError::Imaging`] when the frame cannot be decoded or the syntax has no place for it.
    pub async fn transcoded(
        &self,
        number: u32,
        to: TransferSyntax,
        later: bool,
    ) -> Result<MadeFrame, ConvertError> {
        let from = self.detail.location.transfer_syntax;
        let bits = self.described.0.number(tag::BITS_ALLOCATED);
        if to.uid() == RLE && from != to && !matches!(bits, Some(8 | 16)) {
            // PS3.5 section 8.2.2 has samples of one or two bytes only; readers insist on it.
            return Err(ImagingError::Unsupported("RLE of samples of other sizes".into()).into());
        }
        let patience = if later { LATER_PATIENCE } else { FIRST_PATIENCE };
        let workers = self.archive.workers();
        // Before anything is read: many who wait must not each hold a frame.
        let mut memory = workers.reserve(patience, self.cost(number, to)).await?;
        let bit_offset = self.detail.frames.bit_offset(number);
        let described = Arc::clone(&self.described);
        let work = move |frame: &[u8]| {
            qianli_imaging::transcode(&described.1, from, to, frame, bit_offset)
        };
        let (scope, detail, at) = (&self.scope, &self.detail, &self.inflating);
        let turn = Turn { patience, memory: &memory };
        let frame = self.archive.with_frame(scope, detail, number, at, turn, work).await??;
        memory.shrink(frame.bytes.capacity() as u64);
        Ok(MadeFrame { frame, memory })
    }

    /// About how many bytes of memory a frame takes on its way to another syntax: what is stored,
    /// what the codecs need, the pixels, and what comes out.
    fn cost(&self, number: u32, to: TransferSyntax) -> u64 {
        let from = self.detail.location.transfer_syntax;
        let ranges = self.detail.frames.frame(number).unwrap_or_default();
        let stored: u64 = ranges.iter().map(|range| range.length).sum();
        if from == to && to.is_encapsulated() {
            return stored.saturating_mul(2);
        }
        let description = &self.described.0;
        let decoded = description.frame_bits() / 8;
        let samples = decoded / (description.number(tag::BITS_ALLOCATED).unwrap_or(8) / 8).max(1);
        let codecs = qianli_imaging::working_bytes(from).max(qianli_imaging::working_bytes(to));
        let encoded = if to.is_encapsulated() { decoded } else { 0 };
        [stored, decoded, encoded, samples.saturating_mul(codecs)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl Archive {
    /// Reads one frame, 1-based, as [`Archive::frame_with_padding`] does, and works on it when it is
    /// its turn on the bounded pool.
    ///
    /// A file is read by the thread that then works on it: every change of thread costs a request
    /// tens of microseconds.
    ///
    /// # Errors
    ///
    /// As [`Archive::frames`], and [`ConvertError::Busy`].
    pub async fn with_frame<T, F>(
        &self,
        scope: &Scope,
        detail: &Detail,
        number: u32,
        at: &Inflating,
        turn: Turn<'_>,
        work: F,
    ) -> Result<T, ConvertError>
    where
        T: Send + 'static,
        F: FnOnce(&[u8]) -> T + Send + 'static,
    {
        let workers = self.workers();
        if let Some(read) = self.local_frame(detail, number)? {
            let work = move || read().map(|frame| work(&frame));
            let done = workers.run_with(turn.patience, turn.memory, work).await?;
            return Ok(done.map_err(|error| error.of_object(&detail.location.blob_key))?);
        }
        let frame = self.frame_with_padding(scope, detail, number, at).await?;
        Ok(workers.run_with(turn.patience, turn.memory, move || work(&frame)).await?)
    }

    /// Reads one frame as it is encoded, with the padding that decoding it may need.
    ///
    /// Of big-endian words, the last sample of an odd number of 8-bit samples lies in the padding
    /// (PS3.5 section 8.1.1): the only frame then comes with one byte more than it has.
    ///
    /// # Errors
    ///
    /// As [`Archive::frames`].
    pub async fn frame_with_padding(
        &self,
        scope: &Scope,
        detail: &Detail,
        number: u32,
        at: &Inflating,
    ) -> Result<Bytes, ArchiveError> {
        let big_endian = detail.location.transfer_syntax.encoding() == Encoding::ExplicitBig;
        if big_endian && detail.frames.count() == 1 && number == 1 {
            let path = tag::PIXEL_DATA.to_string();
            let value = detail.bulk.iter().find(|value| value.path == path);
            let ranges = detail.frames.frame(1).unwrap_or_default();
            let frame: u64 = ranges.iter().map(|range| range.length).sum();
            if let Some(value) = value
                && frame % 2 == 1
                && value.range.length == frame.saturating_add(1)
            {
                let content = self.bulk(scope, detail, value).await?;
                let steps: Vec<Bytes> = content.try_collect().await?;
                return Ok(steps.concat().into());
            }
        }
        let found = self.frames(scope, detail, &[number], at).await?.into_iter().next();
        found.ok_or_else(|| ArchiveError::Damaged(format!("there is no frame {number}")))
    }
}
