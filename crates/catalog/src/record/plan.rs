//! Decides what a batch changes: pure, shared by both databases.
//!
//! A database loads what is there ([`Plan::add_study`] and its siblings), [`Plan::decide`] plays the
//! batch through in order as if each instance came alone, and the database writes the difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qianli_model::query::Level;

use super::merge::{fill_json, fill_text};
use super::prepare::Prepared;
use crate::backfill::name_sounds;
use crate::index::{Index, Value};
use crate::types::{DuplicatePolicy, Recorded};

/// A study, as it is or as it shall be.
#[derive(Debug)]
pub(crate) struct Study {
    /// `None` until it is inserted.
    pub id: Option<i64>,
    pub tenant: i64,
    pub uid: String,
    pub text: [String; 19],
    pub json: String,
    pub modalities: BTreeSet<String>,
    pub sop_classes: BTreeSet<String>,
    pub series_count: i64,
    pub instance_count: i64,
    pub size: i64,
    pub patient_conflict: bool,
    pub created_ms: i64,
    pub updated_ms: i64,
    /// The row in `patients`; `None` when one must be found or made.
    pub patient_row: Option<i64>,
    /// The row that the study was linked to before its Patient ID or issuer was filled.
    pub left_patient: Option<i64>,
    /// The instance of the batch that describes the patient to be found or made.
    pub patient_from: usize,
    /// Not in the database yet.
    pub is_new: bool,
    /// Counters changed.
    pub touched: bool,
    /// Attributes were filled.
    pub filled: bool,
}

impl Study {
    /// Key of the patient: ID and issuer, or the study itself where there is no ID.
    pub(crate) fn patient_key(&self) -> PatientKey {
        let [id, issuer, ..] = &self.text;
        let study = if id.is_empty() { self.uid.clone() } else { String::new() };
        (self.tenant, id.clone(), issuer.clone(), study)
    }

    /// Whether an instance names another patient than the study does. Names decide only where one
    /// of the two has no ID: spelling differs between a hospital's machines, IDs do not.
    fn conflicts(&self, item: &Prepared) -> bool {
        let [id, issuer, _, _, alphabetic, ideographic, ..] = &self.text;
        let [other_id, other_issuer, _, _, other_alphabetic, other_ideographic, ..] =
            &item.study_text;
        let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
        if id.is_empty() || other_id.is_empty() {
            return differ(alphabetic, other_alphabetic) || differ(ideographic, other_ideographic);
        }
        id != other_id || differ(issuer, other_issuer)
    }
}

/// Tenant, Patient ID, issuer, and the Study UID where the ID is empty.
pub(crate) type PatientKey = (i64, String, String, String);

/// A series, as it is or as it shall be.
#[derive(Debug)]
pub(crate) struct Series {
    pub id: Option<i64>,
    /// Index in [`Plan::studies`].
    pub study: usize,
    pub uid: String,
    pub text: [String; 9],
    pub number: Option<i64>,
    pub json: String,
    pub instance_count: i64,
    pub size: i64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub is_new: bool,
    pub touched: bool,
    pub filled: bool,
}

/// One content kept under an instance's UIDs.
#[derive(Debug)]
pub(crate) struct Version {
    pub hash: String,
    pub is_current: bool,
    pub size: i64,
    pub row: VersionRow,
}

/// Where a version is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VersionRow {
    /// In the database, by id.
    Stored(i64),
    /// In [`Plan::inserts`], by index.
    Pending(usize),
}

/// An instance row to be inserted.
#[derive(Debug)]
pub(crate) struct Insert {
    /// Index in the batch.
    pub item: usize,
    /// Index in [`Plan::series`].
    pub series: usize,
    pub is_current: bool,
}

/// What the batch adds to a tenant's totals.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delta {
    pub patients: i64,
    pub studies: i64,
    pub series: i64,
    pub instances: i64,
    pub bytes: i64,
}

/// The state that a batch concerns, and what the batch makes of it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub studies: Vec<Study>,
    pub series: Vec<Series>,
    pub inserts: Vec<Insert>,
    /// Ids of instances that were superseded.
    pub retired: Vec<i64>,
    /// Kind and index in the batch.
    pub events: Vec<(&'static str, usize)>,
    pub totals: BTreeMap<i64, Delta>,
    /// One per instance of the batch.
    pub outcomes: Vec<Recorded>,
    /// Values for the index of attributes: index in [`Plan::studies`] and value.
    pub study_values: Vec<(usize, Value)>,
    /// Index in [`Plan::series`] and value.
    pub series_values: Vec<(usize, Value)>,
    study_index: HashMap<(i64, String), usize>,
    series_index: HashMap<(usize, String), usize>,
    versions: HashMap<(usize, String), Vec<Version>>,
}

impl Plan {
    pub(crate) fn add_study(&mut self, study: Study) -> usize {
        let index = self.studies.len();
        self.study_index.insert((study.tenant, study.uid.clone()), index);
        self.studies.push(study);
        index
    }

    pub(crate) fn add_series(&mut self, series: Series) -> usize {
        let index = self.series.len();
        self.series_index.insert((series.study, series.uid.clone()), index);
        self.series.push(series);
        index
    }

    pub(crate) fn add_version(&mut self, series: usize, sop_uid: String, version: Version) {
        self.versions.entry((series, sop_uid)).or_default().push(version);
    }

    /// The study of an instance, if it was loaded.
    pub(crate) fn study_of(&self, item: &Prepared) -> Option<usize> {
        self.study_index.get(&(item.tenant, item.study_uid.clone())).copied()
    }

    /// The series of an instance, if it was loaded.
    pub(crate) fn series_of(&self, item: &Prepared) -> Option<usize> {
        let study = self.study_of(item)?;
        self.series_index.get(&(study, item.series_uid.clone())).copied()
    }

    /// Plays the batch through.
    pub(crate) fn decide(&mut self, batch: &[Prepared], index: &Index) {
        for (position, item) in batch.iter().enumerate() {
            let outcome = self.decide_one(position, item);
            self.outcomes.push(outcome);
        }
        self.derive(index);
    }

    /// Computes what follows from the attributes of studies and series that are new or were filled:
    /// once for each, not for each of their instances.
    fn derive(&mut self, index: &Index) {
        for (position, study) in self.studies.iter_mut().enumerate() {
            if !(study.is_new || study.filled) {
                continue;
            }
            let [.., name, referring] = &mut study.text;
            [*name, *referring] = name_sounds(&study.json);
            let values = index.values(Level::Study, study.json.as_bytes());
            self.study_values.extend(values.into_iter().map(|value| (position, value)));
        }
        for (position, series) in self.series.iter().enumerate() {
            if series.is_new || series.filled {
                let values = index.values(Level::Series, series.json.as_bytes());
                self.series_values.extend(values.into_iter().map(|value| (position, value)));
            }
        }
    }

    fn decide_one(&mut self, index: usize, item: &Prepared) -> Recorded {
        let known = self
            .series_of(item)
            .and_then(|series| self.versions.get(&(series, item.sop_uid().to_owned())));
        if let Some(versions) = known {
            if versions.iter().any(|version| version.hash == item.content_hash()) {
                return Recorded::AlreadyHere;
            }
            if item.policy == DuplicatePolicy::Refuse && !versions.is_empty() {
                return Recorded::RefusedDuplicate;
            }
        }
        let (study, patient_conflict) = self.enter_study(index, item);
        let series = self.enter_series(study, item);
        let replaced = self.enter_version(index, series, item);
        self.count(study, series, item, replaced);
        let kind = if replaced.is_some() { "instance.superseded" } else { "instance.stored" };
        self.events.push((kind, index));
        match replaced {
            Some(_) => Recorded::Superseded { patient_conflict },
            None => Recorded::Stored { patient_conflict },
        }
    }

    /// Finds or makes the study, and says whether the instance names another patient.
    fn enter_study(&mut self, index: usize, item: &Prepared) -> (usize, bool) {
        let Some(position) = self.study_of(item) else {
            self.totals.entry(item.tenant).or_default().studies += 1;
            return (self.add_study(new_study(index, item)), false);
        };
        let study = &mut self.studies[position];
        if study.conflicts(item) {
            study.patient_conflict = true;
            return (position, true);
        }
        let patient = study.patient_key();
        let text = fill_text(&mut study.text, &item.study_text);
        let json = fill_json(&mut study.json, &item.study_json);
        study.filled |= text || json;
        if study.patient_key() != patient {
            study.left_patient = study.left_patient.or(study.patient_row);
            study.patient_row = None;
            study.patient_from = index;
        }
        (position, false)
    }

    fn enter_series(&mut self, study: usize, item: &Prepared) -> usize {
        if let Some(position) = self.series_of(item) {
            let series = &mut self.series[position];
            let text = fill_text(&mut series.text, &item.series_text);
            let json = fill_json(&mut series.json, &item.series_json);
            let number = series.number.is_none() && item.series_number.is_some();
            if number {
                series.number = item.series_number;
            }
            series.filled |= text || json || number;
            return position;
        }
        self.totals.entry(item.tenant).or_default().series += 1;
        self.studies[study].series_count += 1;
        self.add_series(Series {
            id: None,
            study,
            uid: item.series_uid.clone(),
            text: item.series_text.clone(),
            number: item.series_number,
            json: item.series_json.clone(),
            instance_count: 0,
            size: 0,
            created_ms: item.received_ms,
            updated_ms: item.received_ms,
            is_new: true,
            touched: false,
            filled: false,
        })
    }

    /// Makes the instance the current version; returns the size of the one it replaces.
    fn enter_version(&mut self, index: usize, series: usize, item: &Prepared) -> Option<i64> {
        let pending = self.inserts.len();
        self.inserts.push(Insert { item: index, series, is_current: true });
        let versions = self.versions.entry((series, item.sop_uid().to_owned())).or_default();
        let mut replaced = None;
        for version in versions.iter_mut().filter(|version| version.is_current) {
            version.is_current = false;
            replaced = Some(version.size);
            match version.row {
                VersionRow::Stored(id) => self.retired.push(id),
                VersionRow::Pending(position) => self.inserts[position].is_current = false,
            }
        }
        versions.push(Version {
            hash: item.content_hash().to_owned(),
            is_current: true,
            size: item.blob_size,
            row: VersionRow::Pending(pending),
        });
        replaced
    }

    fn count(&mut self, study: usize, series: usize, item: &Prepared, replaced: Option<i64>) {
        let instances = i64::from(replaced.is_none());
        let bytes = item.blob_size - replaced.unwrap_or(0);
        let totals = self.totals.entry(item.tenant).or_default();
        totals.instances += instances;
        totals.bytes += bytes;
        let study = &mut self.studies[study];
        study.instance_count += instances;
        study.size += bytes;
        study.updated_ms = study.updated_ms.max(item.received_ms);
        study.touched = true;
        if !item.modality.is_empty() && !study.modalities.contains(&item.modality) {
            study.modalities.insert(item.modality.clone());
        }
        if !study.sop_classes.contains(item.sop_class()) {
            study.sop_classes.insert(item.sop_class().to_owned());
        }
        let series = &mut self.series[series];
        series.instance_count += instances;
        series.size += bytes;
        series.updated_ms = series.updated_ms.max(item.received_ms);
        series.touched = true;
    }
}

fn new_study(index: usize, item: &Prepared) -> Study {
    Study {
        id: None,
        tenant: item.tenant,
        uid: item.study_uid.clone(),
        text: item.study_text.clone(),
        json: item.study_json.clone(),
        modalities: BTreeSet::new(),
        sop_classes: BTreeSet::new(),
        series_count: 0,
        instance_count: 0,
        size: 0,
        patient_conflict: false,
        created_ms: item.received_ms,
        updated_ms: item.received_ms,
        patient_row: None,
        left_patient: None,
        patient_from: index,
        is_new: true,
        touched: false,
        filled: false,
    }
}

/// Distinct values as one column: DICOM values cannot contain a backslash.
pub(crate) fn join_list(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join("\\")
}

/// The reverse of [`join_list`].
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = String> {
    text.split('\\').filter(|value| !value.is_empty()).map(str::to_owned)
}
