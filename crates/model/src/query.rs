//! One query for every face: QIDO-RS and C-FIND parse into it, the catalog compiles it to SQL
//! (PS3.4 C.2.2.2, PS3.18 section 10.6).

use crate::tag::{self, Tag};

/// The level whose entities a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One row per study.
    Study,
    /// One row per series.
    Series,
    /// One row per instance.
    Instance,
}

/// An attribute that the catalog can match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Indexed {
    /// (0010,0020).
    PatientId,
    /// (0010,0021).
    IssuerOfPatientId,
    /// (0010,0010), matched on the folded form of any component group.
    PatientName,
    /// (0010,0030).
    PatientBirthDate,
    /// (0010,0040).
    PatientSex,
    /// (0020,000D).
    StudyInstanceUid,
    /// (0008,0020), combined with time where both are ranges.
    StudyDate,
    /// (0008,0030).
    StudyTime,
    /// (0008,0050).
    AccessionNumber,
    /// (0020,0010).
    StudyId,
    /// (0008,1030).
    StudyDescription,
    /// (0008,0090), matched like a patient name.
    ReferringPhysicianName,
    /// (0008,0061): some series of the study has the modality.
    ModalitiesInStudy,
    /// (0020,000E).
    SeriesInstanceUid,
    /// (0008,0060).
    Modality,
    /// (0020,0011).
    SeriesNumber,
    /// (0008,103E).
    SeriesDescription,
    /// (0018,0015).
    BodyPartExamined,
    /// (0008,1010).
    StationName,
    /// (0008,0080).
    InstitutionName,
    /// (0008,0021).
    SeriesDate,
    /// (0008,0031).
    SeriesTime,
    /// (0040,0244).
    PerformedProcedureStepStartDate,
    /// (0040,0245).
    PerformedProcedureStepStartTime,
    /// (0008,0018).
    SopInstanceUid,
    /// (0008,0016).
    SopClassUid,
    /// (0020,0013).
    InstanceNumber,
}

/// What kind of text an attribute holds; decides how a match value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Case-sensitive text with wildcards (LO, SH, CS, AE, …); matched without regard to case,
    /// since equipment disagrees about it.
    Text,
    /// Person name: folded, wildcards, any component group.
    PersonName,
    /// Date, single or range.
    Date,
    /// Time, single or range.
    Time,
    /// UID, or list of UIDs.
    Uid,
    /// Whole number.
    Number,
    /// Number with decimals.
    Decimal,
    /// Date and time in one, single or range; a zone is not compared.
    DateTime,
}

/// Every indexed attribute with its tag, level and kind.
pub static INDEXED: &[(Indexed, Tag, Level, Kind)] = &[
    (Indexed::PatientId, tag::PATIENT_ID, Level::Study, Kind::Text),
    (Indexed::IssuerOfPatientId, tag::ISSUER_OF_PATIENT_ID, Level::Study, Kind::Text),
    (Indexed::PatientName, tag::PATIENT_NAME, Level::Study, Kind::PersonName),
    (Indexed::PatientBirthDate, tag::PATIENT_BIRTH_DATE, Level::Study, Kind::Date),
    (Indexed::PatientSex, tag::PATIENT_SEX, Level::Study, Kind::Text),
    (Indexed::StudyInstanceUid, tag::STUDY_INSTANCE_UID, Level::Study, Kind::Uid),
    (Indexed::StudyDate, tag::STUDY_DATE, Level::Study, Kind::Date),
    (Indexed::StudyTime, tag::STUDY_TIME, Level::Study, Kind::Time),
    (Indexed::AccessionNumber, tag::ACCESSION_NUMBER, Level::Study, Kind::Text),
    (Indexed::StudyId, tag::STUDY_ID, Level::Study, Kind::Text),
    (Indexed::StudyDescription, tag::STUDY_DESCRIPTION, Level::Study, Kind::Text),
    (
        Indexed::ReferringPhysicianName,
        tag::REFERRING_PHYSICIAN_NAME,
        Level::Study,
        Kind::PersonName,
    ),
    (Indexed::ModalitiesInStudy, tag::MODALITIES_IN_STUDY, Level::Study, Kind::Text),
    (Indexed::SeriesInstanceUid, tag::SERIES_INSTANCE_UID, Level::Series, Kind::Uid),
    (Indexed::Modality, tag::MODALITY, Level::Series, Kind::Text),
    (Indexed::SeriesNumber, tag::SERIES_NUMBER, Level::Series, Kind::Number),
    (Indexed::SeriesDescription, tag::SERIES_DESCRIPTION, Level::Series, Kind::Text),
    (Indexed::BodyPartExamined, tag::BODY_PART_EXAMINED, Level::Series, Kind::Text),
    (Indexed::StationName, tag::STATION_NAME, Level::Series, Kind::Text),
    (Indexed::InstitutionName, tag::INSTITUTION_NAME, Level::Series, Kind::Text),
    (Indexed::SeriesDate, tag::SERIES_DATE, Level::Series, Kind::Date),
    (Indexed::SeriesTime, tag::SERIES_TIME, Level::Series, Kind::Time),
    (
        Indexed::PerformedProcedureStepStartDate,
        tag::PERFORMED_PROCEDURE_STEP_START_DATE,
        Level::Series,
        Kind::Date,
    ),
    (
        Indexed::PerformedProcedureStepStartTime,
        tag::PERFORMED_PROCEDURE_STEP_START_TIME,
        Level::Series,
        Kind::Time,
    ),
    (Indexed::SopInstanceUid, tag::SOP_INSTANCE_UID, Level::Instance, Kind::Uid),
    (Indexed::SopClassUid, tag::SOP_CLASS_UID, Level::Instance, Kind::Uid),
    (Indexed::InstanceNumber, tag::INSTANCE_NUMBER, Level::Instance, Kind::Number),
];

impl Indexed {
    /// Finds the indexed attribute of a tag.
    pub fn from_tag(tag: Tag) -> Option<Self> {
        INDEXED.iter().find(|row| row.1 == tag).map(|row| row.0)
    }

    /// The level that the attribute belongs to (patient attributes belong to the study).
    pub fn level(self) -> Level {
        self.row().2
    }

    /// What its values are.
    pub fn kind(self) -> Kind {
        self.row().3
    }

    /// Its tag.
    pub fn tag(self) -> Tag {
        self.row().1
    }

    fn row(self) -> &'static (Self, Tag, Level, Kind) {
        INDEXED.iter().find(|row| row.0 == self).expect("every variant is listed in INDEXED")
    }
}

/// A parsed matching rule (PS3.4 C.2.2.2). Universal matching is the absence of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Any of these values, each of which may hold the wildcards `*` and `?` unless the attribute
    /// is a UID, date, time or number. Never empty.
    AnyOf(Vec<String>),
    /// From and to, both inclusive, either open: dates `YYYYMMDD`, times `HHMMSS.FFFFFF` padded by
    /// the parser to full length (`from` with zeros, `to` with the last instant it covers).
    Range(Option<String>, Option<String>),
    /// The attribute is empty or absent (PS3.18 `""`).
    Empty,
}

/// One attribute and its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is matched.
    pub attribute: Indexed,
    /// How.
    pub rule: Rule,
}

/// A query: conditions are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What is returned.
    pub level: Level,
    /// What must match.
    pub conditions: Vec<Condition>,
    /// What must match of attributes without a column: those that the installation indexes are
    /// looked up, the rest is compared with what is stored of the rows that everything else leaves.
    pub paths: Vec<PathCondition>,
    /// Instance rows come with their whole stored header.
    pub with_headers: bool,
    /// Phonetic and pinyin matching of names is asked for.
    pub fuzzy: bool,
    /// StudyDate and StudyTime ranges (when both present) are one range of instants
    /// (PS3.4 C.2.2.2.5, the default of DICOMweb).
    pub combined_datetime: bool,
    /// At most this many rows.
    pub limit: u32,
    /// Skip this many rows of the stable order.
    pub offset: u32,
}

impl Query {
    /// Everything at `level`, first `limit` rows.
    pub fn all(level: Level, limit: u32) -> Self {
        Self {
            level,
            conditions: Vec::new(),
            paths: Vec::new(),
            with_headers: false,
            fuzzy: false,
            combined_datetime: true,
            limit,
            offset: 0,
        }
    }

    /// Adds a condition.
    #[must_use]
    pub fn with(mut self, attribute: Indexed, rule: Rule) -> Self {
        self.conditions.push(Condition { attribute, rule });
        self
    }

    /// Adds "this attribute equals this value".
    #[must_use]
    pub fn equals(self, attribute: Indexed, value: impl Into<String>) -> Self {
        self.with(attribute, Rule::AnyOf(vec![value.into()]))
    }
}

/// Why a match value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value for {keyword} is not a {expected}")]
pub struct MatchValueError {
    /// Keyword of the attribute.
    pub keyword: &'static str,
    /// What it should be, in English.
    pub expected: &'static str,
}

/// Parses the text of a match value for an attribute: list separators (`\` and, for UIDs and
/// modalities, `,`), ranges, wildcards, the universal forms (`""` is Empty, `*` and the empty text
/// are universal and give `None`).
///
/// # Errors
///
/// [`MatchValueError`] when a date, time, number or UID is malformed.
pub fn parse_rule(attribute: Indexed, text: &str) -> Result<Option<Rule>, MatchValueError> {
    let keyword = attribute.tag().keyword();
    // Codes hold no commas, so clients list them so.
    let by_comma = matches!(attribute, Indexed::Modality | Indexed::ModalitiesInStudy);
    rule::parse(attribute.kind(), keyword, by_comma, text)
}

/// As [`parse_rule`], for an attribute without a column.
///
/// # Errors
///
/// [`MatchValueError`] when the value is malformed, or is one for an attribute that holds a sequence
/// or binary values: of those only presence can be asked (`""`).
pub fn parse_path_rule(path: &Path, text: &str) -> Result<Option<Rule>, MatchValueError> {
    match path.kind() {
        Some(kind) => rule::parse(kind, path.keyword(), false, text),
        None => match rule::parse(Kind::Text, path.keyword(), false, text)? {
            Some(Rule::AnyOf(_) | Rule::Range(..)) => Err(MatchValueError {
                keyword: path.keyword().unwrap_or("the attribute"),
                expected: "value that can be compared with a sequence or binary value",
            }),
            rule => Ok(rule),
        },
    }
}

/// A time as `HHMMSS.FFFFFF`, missing parts as zeros, colons of the old form removed; `None` for
/// what is no time.
pub fn time_key(time: &str) -> Option<String> {
    let digits: String = time.trim().chars().filter(|c| *c != ':').collect();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let numeric = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let fits = numeric && matches!(whole.len(), 2 | 4 | 6) && fraction.len() <= 6;
    fits.then(|| format!("{whole:0<6}.{fraction:0<6}"))
}

mod path;
mod rule;
pub mod stored;

pub use path::{Path, PathCondition, Step};
