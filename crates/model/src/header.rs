//! What is read from an instance once, at ingest, and kept in the catalog: nothing later parses the
//! object again (DESIGN section 3, invariant 2).

use crate::dataset::{DataSetError, Limits, Source};
use crate::frames::{ByteRange, FrameTable};
use crate::refusal::Refusal;
use crate::syntax::TransferSyntax;
use crate::tag::Tag;
use crate::uid::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid};

/// The byte that stands in the stored DICOM JSON wherever the URL of the instance must be put in
/// front of a relative BulkDataURI. JSON text cannot contain it raw, so replacing it is exact.
pub const BASE_URL_MARK: u8 = 0x01;

/// Values longer than this become BulkDataURI in DICOM JSON (bytes). Pixel data always does.
pub const BULK_THRESHOLD: u64 = 4096;

/// Patient attributes as UTF-8 text, padding trimmed; empty where absent. Indexed by the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatientFields {
    /// (0010,0020) Patient ID.
    pub id: String,
    /// (0010,0021) Issuer of Patient ID.
    pub issuer: String,
    /// (0010,0010) Patient's Name, all component groups, `Alphabetic=Ideographic=Phonetic`.
    pub name: String,
    /// (0010,0030) Patient's Birth Date, `YYYYMMDD` when well formed, else as sent.
    pub birth_date: String,
    /// (0010,0040) Patient's Sex.
    pub sex: String,
}

/// Study attributes; see [`PatientFields`] for conventions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StudyFields {
    /// (0008,0020) Study Date.
    pub date: String,
    /// (0008,0030) Study Time, `HHMMSS[.F]`.
    pub time: String,
    /// (0008,0050) Accession Number.
    pub accession_number: String,
    /// (0020,0010) Study ID.
    pub id: String,
    /// (0008,1030) Study Description.
    pub description: String,
    /// (0008,0090) Referring Physician's Name.
    pub referring_physician: String,
}

/// Series attributes; see [`PatientFields`] for conventions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesFields {
    /// (0008,0060) Modality.
    pub modality: String,
    /// (0020,0011) Series Number, or `None` when absent or not a number.
    pub number: Option<i64>,
    /// (0008,103E) Series Description.
    pub description: String,
    /// (0018,0015) Body Part Examined.
    pub body_part: String,
    /// (0008,1010) Station Name.
    pub station_name: String,
    /// (0008,0080) Institution Name.
    pub institution: String,
    /// (0008,0021) Series Date.
    pub date: String,
    /// (0008,0031) Series Time.
    pub time: String,
    /// (0040,0244) Performed Procedure Step Start Date.
    pub pps_start_date: String,
    /// (0040,0245) Performed Procedure Step Start Time.
    pub pps_start_time: String,
}

/// Instance attributes; see [`PatientFields`] for conventions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFields {
    /// (0020,0013) Instance Number, or `None` when absent or not a number.
    pub number: Option<i64>,
    /// (0028,0010) Rows.
    pub rows: Option<u16>,
    /// (0028,0011) Columns.
    pub columns: Option<u16>,
    /// (0028,0008) Number of Frames as claimed; `None` when absent.
    pub frames: Option<i64>,
}

/// Where a value that DICOM JSON refers to by BulkDataURI lies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BulkValue {
    /// Tag path as written in the URI: `GGGGEEEE`, or `GGGGEEEE/0/GGGGEEEE` inside sequences
    /// (item numbers count from 0).
    pub path: String,
    /// VR, two letters.
    pub vr: String,
    /// Where the value lies. For encapsulated pixel data: from the first item header to before the
    /// sequence delimiter.
    pub range: ByteRange,
}

/// Something odd that did not stop the instance from being kept; becomes a STOW-RS warning and an
/// operator's hint. Never holds a value of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The attribute concerned, if one.
    pub tag: Option<Tag>,
    /// What is odd, in English, without patient data.
    pub message: String,
}

/// Everything that the archive keeps of an instance beside its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceHeader {
    /// (0020,000D).
    pub study_uid: StudyUid,
    /// (0020,000E).
    pub series_uid: SeriesUid,
    /// (0008,0018).
    pub sop_instance_uid: SopInstanceUid,
    /// (0008,0016).
    pub sop_class_uid: SopClassUid,
    /// How the stored data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// Patient attributes.
    pub patient: PatientFields,
    /// Study attributes.
    pub study: StudyFields,
    /// Series attributes.
    pub series: SeriesFields,
    /// Instance attributes.
    pub instance: InstanceFields,
    /// The whole data set as a DICOM JSON object (PS3.18 annex F), UTF-8, bulk values as
    /// `{"vr":…,"BulkDataURI":"\x01/bulkdata/PATH"}` with [`BASE_URL_MARK`] for the instance's URL.
    pub json: Vec<u8>,
    /// DICOM JSON object of the patient and study attributes of the data set (no bulk values).
    pub study_json: String,
    /// DICOM JSON object of the series attributes (no bulk values).
    pub series_json: String,
    /// DICOM JSON object of the instance attributes that QIDO-RS returns (no bulk values).
    pub instance_json: String,
    /// Every value behind a BulkDataURI.
    pub bulk: Vec<BulkValue>,
    /// Every frame.
    pub frames: FrameTable,
    /// Oddities.
    pub warnings: Vec<Warning>,
}

/// Why a header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The data set cannot be walked to its end.
    #[error(transparent)]
    DataSet(#[from] DataSetError),
    /// It can be walked, but is not an instance that may be kept.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl InstanceHeader {
    /// Reads a data set from its first byte (after the file meta information) to its end.
    ///
    /// `source` is positioned at the data set's first byte; offsets in the header count from there,
    /// wherever that is in the source. For the deflated syntaxes the source gives the deflated
    /// bytes, and offsets are those of the inflated data set. One pass, no recursion, memory bounded by `limits`; pixel data and other bulk values are
    /// skipped, not read.
    ///
    /// # Errors
    ///
    /// [`HeaderError::DataSet`] when lengths, nesting or encoding are impossible (the bytes are
    /// truncated or hostile), [`HeaderError::Refused`] when a mandatory UID is missing or malformed.
    pub fn read(
        source: &mut dyn Source,
        syntax: TransferSyntax,
        limits: &Limits,
    ) -> Result<Self, HeaderError> {
        crate::json::read_header(source, syntax, limits)
    }
}
