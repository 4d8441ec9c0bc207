//! What goes into the catalog and what comes out, as plain values.

use qianli_model::frames::FrameTable;
use qianli_model::header::BulkValue;
use qianli_model::{
    InstanceHeader, Provenance, SeriesUid, SopInstanceUid, StudyUid, TenantId, TransferSyntax,
};

/// What happens when a SOP instance arrives again with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DuplicatePolicy {
    /// The newest answers queries, the older stays retrievable by an operator.
    #[default]
    KeepBoth,
    /// The first stays; the sender is told.
    Refuse,
}

/// An instance whose blob is durable and whose row is to be written.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// What was read from it.
    pub header: InstanceHeader,
    /// Key of the blob.
    pub blob_key: String,
    /// BLAKE3 of transfer syntax and data set, 64 hex digits.
    pub content_hash: String,
    /// Size of the blob in bytes, file meta information included.
    pub blob_size: u64,
    /// Offset of the data set in the blob; frame and bulk ranges count from here.
    pub data_set_offset: u64,
    /// Who brought it.
    pub provenance: Provenance,
    /// Milliseconds since 1970-01-01T00:00Z, when it was received.
    pub received_ms: i64,
    /// What to do about other content under the same UID.
    pub policy: DuplicatePolicy,
}

/// What recording did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// New: it answers queries now.
    Stored {
        /// The study was here with another patient; stored and flagged for a person.
        patient_conflict: bool,
    },
    /// The same content was here; nothing changed.
    AlreadyHere,
    /// Other content was here; the new one answers now, the old one is kept.
    Superseded {
        /// As in [`Recorded::Stored`].
        patient_conflict: bool,
    },
    /// Other content was here and the policy is to refuse; nothing changed.
    RefusedDuplicate,
}

/// Study part of a query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyRow {
    /// Study Instance UID.
    pub uid: String,
    /// DICOM JSON object of patient and study attributes.
    pub json: String,
    /// Distinct modalities, sorted.
    pub modalities: Vec<String>,
    /// Distinct SOP classes, sorted.
    pub sop_classes: Vec<String>,
    /// Series with at least one instance.
    pub series_count: i64,
    /// Current instances.
    pub instance_count: i64,
    /// Bytes of current instances.
    pub size: i64,
    /// When the last instance was recorded, ms.
    pub updated_ms: i64,
    /// Instances of another patient arrived under this Study UID.
    pub patient_conflict: bool,
}

/// Series part of a query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    /// Series Instance UID.
    pub uid: String,
    /// DICOM JSON object of series attributes.
    pub json: String,
    /// Current instances.
    pub instance_count: i64,
}

/// Instance part of a query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// SOP Instance UID.
    pub uid: String,
    /// DICOM JSON object of instance attributes.
    pub json: String,
    /// Transfer syntax UID as stored.
    pub transfer_syntax: String,
    /// Bytes of the blob.
    pub size: i64,
    /// The whole DICOM JSON object with [`qianli_model::header::BASE_URL_MARK`] in its bulk URIs,
    /// where the query asked for it.
    pub header: Option<Vec<u8>>,
}

/// How far the computing of something for older rows is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// `names` (their search words) or the digits of an indexed attribute.
    pub name: String,
    /// Every row up to this id is done.
    pub position: i64,
    /// Every row is done.
    pub done: bool,
}

/// One row of a query's answer: as many parts as its level has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Always there.
    pub study: StudyRow,
    /// At series and instance level.
    pub series: Option<SeriesRow>,
    /// At instance level.
    pub instance: Option<InstanceRow>,
}

/// What a retrieval addresses: a study, a series of it, or an instance of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The study.
    pub study: StudyUid,
    /// One series of it.
    pub series: Option<SeriesUid>,
    /// One instance of that series.
    pub instance: Option<SopInstanceUid>,
}

/// Where an instance lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Study Instance UID.
    pub study: StudyUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// SOP Instance UID.
    pub instance: SopInstanceUid,
    /// SOP Class UID.
    pub sop_class: String,
    /// How the blob's data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// Key of the blob.
    pub blob_key: String,
    /// BLAKE3, 64 hex digits; the strong ETag of everything derived from the blob.
    pub content_hash: String,
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Offset of the data set in the blob.
    pub data_set_offset: u64,
}

/// DICOM JSON of one instance with [`qianli_model::header::BASE_URL_MARK`] in its bulk URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Series Instance UID.
    pub series: SeriesUid,
    /// SOP Instance UID.
    pub instance: SopInstanceUid,
    /// BLAKE3 of the instance.
    pub content_hash: String,
    /// Uncompressed DICOM JSON object.
    pub json: Vec<u8>,
}

/// Location, frames and bulk values of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// Where it lies.
    pub location: Location,
    /// Its frames.
    pub frames: FrameTable,
    /// Its bulk values.
    pub bulk: Vec<BulkValue>,
    /// Uncompressed DICOM JSON object, marks included.
    pub json: Vec<u8>,
}

/// Counters of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Patients.
    pub patients: i64,
    /// Studies.
    pub studies: i64,
    /// Series.
    pub series: i64,
    /// Current instances.
    pub instances: i64,
    /// Bytes of current instances.
    pub bytes: i64,
}

/// One entry of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Position; a reader that has seen N asks for what is after N and misses nothing.
    pub sequence: i64,
    /// `instance.stored`, `instance.superseded`, `study.settled`, …
    pub kind: String,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID, or empty.
    pub series: String,
    /// SOP Instance UID, or empty.
    pub instance: String,
    /// When, ms since 1970.
    pub at_ms: i64,
}

/// A unit of slow work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Key.
    pub id: i64,
    /// Which handler runs it.
    pub kind: String,
    /// JSON for the handler.
    pub payload: String,
    /// How often it was tried before this time.
    pub attempts: i64,
    /// The tenant it works for; a worker builds its scope from this.
    pub tenant: TenantId,
    /// What makes the job unique within tenant and kind.
    pub dedupe_key: String,
    /// Grows with every enqueueing; [`crate::Catalog::finish_job`] keeps a job that was asked for
    /// again while it ran.
    pub revision: i64,
}

/// Who deletes, and when the objects shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeletion {
    /// Who, in words for the audit.
    pub by: String,
    /// Network address of the caller, or empty.
    pub peer: String,
    /// Now, ms since 1970.
    pub at_ms: i64,
    /// When the objects are removed, ms since 1970; until then the deletion can be undone.
    pub purge_at_ms: i64,
}

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionState {
    /// The rows are gone, the objects are here.
    Kept,
    /// Rows are being made again.
    Restoring,
    /// It was undone.
    Restored,
    /// Objects are being removed.
    Purging,
    /// The objects are gone.
    Purged,
}

impl DeletionState {
    /// The word for it in the index and for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Restoring => "restoring",
            Self::Restored => "restored",
            Self::Purging => "purging",
            Self::Purged => "purged",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Kept, Self::Restoring, Self::Restored, Self::Purging, Self::Purged]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A deletion: who removed what, without patient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its number.
    pub id: i64,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID, or empty when the whole study was deleted.
    pub series: String,
    /// SOP Instance UID, or empty when more than one instance was deleted.
    pub instance: String,
    /// Who.
    pub by: String,
    /// From which address, or empty.
    pub peer: String,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// When the objects are removed, ms since 1970.
    pub purge_at_ms: i64,
    /// Instances.
    pub instances: i64,
    /// Contents, older ones under the same UIDs included.
    pub contents: i64,
    /// Bytes of the current instances.
    pub bytes: i64,
    /// How far it is.
    pub state: DeletionState,
}

/// A content of a deletion: what is needed to bring it back or to remove its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedInstance {
    /// Study Instance UID.
    pub study: StudyUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// SOP Instance UID.
    pub instance: SopInstanceUid,
    /// BLAKE3 of transfer syntax and data set.
    pub content_hash: String,
    /// Whether it was the one that answered.
    pub is_current: bool,
    /// Key of the blob.
    pub blob_key: String,
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Who had brought it.
    pub provenance: Provenance,
    /// When it was received, ms since 1970.
    pub received_ms: i64,
}

/// A study in which images of more than one patient arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientConflict {
    /// Study Instance UID.
    pub study: String,
    /// Current instances.
    pub instances: i64,
    /// When the last instance was recorded or deleted, ms.
    pub updated_ms: i64,
    /// DICOM JSON object of patient and study attributes, as the index has them.
    pub study_json: String,
}
