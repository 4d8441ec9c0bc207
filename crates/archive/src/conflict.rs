//! Who the patients of a flagged study are: grouped from the headers of its instances, so that a
//! person can decide which of them do not belong there.

use std::collections::BTreeMap;

use qianli_catalog::types::{PatientConflict, Target};
use qianli_model::header::BASE_URL_MARK;
use qianli_model::{Scope, StudyUid};
use serde_json::Value;

use crate::{Archive, ArchiveError, in_time};

/// SOP Instance UIDs that are named of each patient.
const EXAMPLES: usize = 20;

/// A patient as instances of one study name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientGroup {
    /// (0010,0020) Patient ID.
    pub id: String,
    /// (0010,0021) Issuer of Patient ID.
    pub issuer: String,
    /// (0010,0010) Patient's Name, of the first instance.
    pub name: String,
    /// How many instances name it.
    pub instances: usize,
    /// Some of them, by SOP Instance UID.
    pub examples: Vec<String>,
}

impl Archive {
    /// Studies in which images of more than one patient arrived, the latest first.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn patient_conflicts(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<PatientConflict>, ArchiveError> {
        in_time(self.0.catalog.patient_conflicts(scope, limit)).await
    }

    /// The patients that the instances of a flagged study name; `None` when it is not flagged.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn patients_of_conflict(
        &self,
        scope: &Scope,
        study: &StudyUid,
    ) -> Result<Option<Vec<PatientGroup>>, ArchiveError> {
        if in_time(self.0.catalog.patient_conflict(scope, study)).await?.is_none() {
            return Ok(None);
        }
        self.patients(scope, study).await.map(Some)
    }

    async fn patients(
        &self,
        scope: &Scope,
        study: &StudyUid,
    ) -> Result<Vec<PatientGroup>, ArchiveError> {
        let target = Target { study: study.clone(), series: None, instance: None };
        let headers = in_time(self.0.catalog.metadata(scope, &target)).await?;
        let grouped = tokio::task::spawn_blocking(move || {
            let mut groups: BTreeMap<_, PatientGroup> = BTreeMap::new();
            for mut header in headers {
                // The mark for the URL of bulk values is no JSON.
                for byte in header.json.iter_mut().filter(|byte| **byte == BASE_URL_MARK) {
                    *byte = b' ';
                }
                let json: Value = serde_json::from_slice(&header.json).unwrap_or_default();
                let (key, group) = patient(&json);
                let group = groups.entry(key).or_insert(group);
                group.instances += 1;
                if group.examples.len() < EXAMPLES {
                    group.examples.push(header.instance.to_string());
                }
            }
            groups.into_values().collect()
        });
        grouped.await.map_err(|error| ArchiveError::Damaged(error.to_string()))
    }

    /// Says that a study is as it should be: a person looked at it. False when something arrived
    /// meanwhile, or when it is not flagged.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn settle_patient_conflict(
        &self,
        scope: &Scope,
        study: &StudyUid,
    ) -> Result<bool, ArchiveError> {
        let catalog = &self.0.catalog;
        let Some(conflict) = in_time(catalog.patient_conflict(scope, study)).await? else {
            return Ok(false);
        };
        in_time(catalog.settle_patient_conflict(scope, study, conflict.updated_ms)).await
    }

    /// After a part of a study was deleted: takes its flag when only its own patient is left.
    pub(crate) async fn review_conflict(
        &self,
        scope: &Scope,
        study: &StudyUid,
    ) -> Result<(), ArchiveError> {
        let catalog = &self.0.catalog;
        let Some(conflict) = in_time(catalog.patient_conflict(scope, study)).await? else {
            return Ok(());
        };
        let own: Value = serde_json::from_str(&conflict.study_json).unwrap_or_default();
        let (own, _) = patient(&own);
        let left = self.patients(scope, study).await?;
        if let [one] = left.as_slice()
            && key(&one.id, &one.issuer, &one.name) == own
        {
            in_time(catalog.settle_patient_conflict(scope, study, conflict.updated_ms)).await?;
        }
        Ok(())
    }
}

/// What tells patients apart: ID and issuer, or the name where there is no ID.
type Key = (String, String, String);

fn key(id: &str, issuer: &str, name: &str) -> Key {
    if id.is_empty() {
        (String::new(), String::new(), name.to_owned())
    } else {
        (id.to_owned(), issuer.to_owned(), String::new())
    }
}

fn patient(json: &Value) -> (Key, PatientGroup) {
    let first = |tag: &str| json.get(tag).and_then(|a| a.get("Value")).and_then(|v| v.get(0));
    let text = |tag: &str| first(tag).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name: Vec<&str> = ["Alphabetic", "Ideographic", "Phonetic"]
        .iter()
        .map(|group| {
            first("00100010").and_then(|n| n.get(group)).and_then(Value::as_str).unwrap_or_default()
        })
        .collect();
    let name = name.join("=").trim_end_matches('=').to_owned();
    let (id, issuer) = (text("00100020"), text("00100021"));
    let group = PatientGroup { id, issuer, name, instances: 0, examples: Vec::new() };
    (key(&group.id, &group.issuer, &group.name), group)
}
