//! Turns a [`NewInstance`] into the values of its rows. Runs in the caller's task, not in the
//! writer's: folding, serialising and compressing are most of the work of recording.

use qianli_model::Scope;
use qianli_model::header::{PatientFields, SeriesFields, StudyFields};
use qianli_model::query::Level;

use crate::error::CatalogError;
use crate::index::{Index, Value};
use crate::keys::{bounded, digest, name_keys, text_key, time_key};
use crate::pack::pack;
use crate::types::{DuplicatePolicy, NewInstance};

/// Text columns of `studies`, patient's first. Order is that of [`Prepared::study_text`].
pub(crate) const STUDY_TEXT: [&str; 19] = [
    "patient_id",
    "issuer",
    "patient_id_key",
    "issuer_key",
    "name_alphabetic_key",
    "name_ideographic_key",
    "name_phonetic_key",
    "birth_date",
    "sex_key",
    "study_date",
    "study_time",
    "accession_key",
    "study_id_key",
    "description_key",
    "referring_alphabetic_key",
    "referring_ideographic_key",
    "referring_phonetic_key",
    "name_sounds",
    "referring_sounds",
];

/// Text columns of `series`. Order is that of [`Prepared::series_text`].
pub(crate) const SERIES_TEXT: [&str; 9] = [
    "modality_key",
    "description_key",
    "body_part_key",
    "station_name_key",
    "institution_key",
    "series_date",
    "series_time",
    "pps_start_date",
    "pps_start_time",
];

/// Text columns of an instance that go into its row as they are. Order is that of
/// [`Prepared::instance_text`].
pub(crate) const INSTANCE_TEXT: [&str; 10] = [
    "sop_uid",
    "sop_class_uid",
    "content_hash",
    "transfer_syntax",
    "blob_key",
    "instance_json",
    "route",
    "peer",
    "calling_ae",
    "called_ae",
];

/// An instance as rows.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub tenant: i64,
    /// Kind and name of who stores it.
    pub principal: (&'static str, String),
    pub study_uid: String,
    pub series_uid: String,
    pub study_text: [String; 19],
    pub study_json: String,
    pub patient_name: String,
    pub patient_birth_date: String,
    pub patient_sex: String,
    pub modality: String,
    pub series_text: [String; 9],
    pub series_number: Option<i64>,
    pub series_json: String,
    pub instance_text: [String; 10],
    pub instance_number: Option<i64>,
    pub blob_digest: i64,
    pub blob_size: i64,
    pub data_set_offset: i64,
    pub header: Vec<u8>,
    pub layout: Vec<u8>,
    pub received_ms: i64,
    pub policy: DuplicatePolicy,
    /// Values of indexed attributes that belong to the instance itself.
    pub indexed: Vec<Value>,
}

impl Prepared {
    pub(crate) fn new(
        scope: &Scope,
        new: NewInstance,
        index: &Index,
    ) -> Result<Self, CatalogError> {
        let NewInstance { header, provenance, .. } = new;
        let layout = serde_json::to_vec(&(&header.frames, &header.bulk))
            .map_err(|_| CatalogError::TooLarge("the frame table"))?;
        let blob_digest = digest(&new.blob_key);
        Ok(Self {
            tenant: scope.tenant().0,
            principal: (scope.principal().kind(), bounded(scope.principal().name())),
            study_uid: header.study_uid.to_string(),
            series_uid: header.series_uid.to_string(),
            study_text: study_text(&header.patient, &header.study),
            study_json: without_nul(header.study_json),
            patient_name: bounded(&header.patient.name),
            patient_birth_date: bounded(&header.patient.birth_date),
            patient_sex: bounded(&header.patient.sex),
            modality: bounded(&header.series.modality).replace('\\', "/"),
            series_text: series_text(&header.series),
            series_number: header.series.number,
            series_json: without_nul(header.series_json),
            instance_text: [
                header.sop_instance_uid.to_string(),
                header.sop_class_uid.to_string(),
                without_nul(new.content_hash),
                header.transfer_syntax.uid().to_owned(),
                without_nul(new.blob_key),
                without_nul(header.instance_json),
                provenance.route.as_str().to_owned(),
                bounded(&provenance.peer),
                bounded(provenance.calling_ae.as_deref().unwrap_or_default()),
                bounded(provenance.called_ae.as_deref().unwrap_or_default()),
            ],
            instance_number: header.instance.number,
            blob_digest,
            blob_size: signed(new.blob_size, "the blob")?,
            data_set_offset: signed(new.data_set_offset, "the file meta information")?,
            indexed: index.values(Level::Instance, &header.json),
            header: pack(&header.json)?,
            layout: pack(&layout)?,
            received_ms: new.received_ms,
            policy: new.policy,
        })
    }

    pub(crate) fn sop_uid(&self) -> &str {
        &self.instance_text[0]
    }

    pub(crate) fn sop_class(&self) -> &str {
        &self.instance_text[1]
    }

    pub(crate) fn content_hash(&self) -> &str {
        &self.instance_text[2]
    }

    /// Route, address, calling and called AE title.
    pub(crate) fn sender(&self) -> &[String] {
        &self.instance_text[6..]
    }
}

fn study_text(patient: &PatientFields, study: &StudyFields) -> [String; 19] {
    let [alphabetic, ideographic, phonetic] = name_keys(&patient.name);
    let referring = name_keys(&study.referring_physician);
    let [referring_alphabetic, referring_ideographic, referring_phonetic] = referring;
    [
        bounded(&patient.id),
        bounded(&patient.issuer),
        text_key(&patient.id),
        text_key(&patient.issuer),
        alphabetic,
        ideographic,
        phonetic,
        bounded(&patient.birth_date),
        text_key(&patient.sex),
        bounded(&study.date),
        time_key(&study.time),
        text_key(&study.accession_number),
        text_key(&study.id),
        text_key(&study.description),
        referring_alphabetic,
        referring_ideographic,
        referring_phonetic,
        // The plan fills these in for studies that are new or whose names were.
        String::new(),
        String::new(),
    ]
}

fn series_text(series: &SeriesFields) -> [String; 9] {
    [
        text_key(&series.modality),
        text_key(&series.description),
        text_key(&series.body_part),
        text_key(&series.station_name),
        text_key(&series.institution),
        bounded(&series.date),
        time_key(&series.time),
        bounded(&series.pps_start_date),
        time_key(&series.pps_start_time),
    ]
}

fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

fn signed(number: u64, what: &'static str) -> Result<i64, CatalogError> {
    i64::try_from(number).map_err(|_| CatalogError::TooLarge(what))
}
