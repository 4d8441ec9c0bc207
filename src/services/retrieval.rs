//! What the identifier of a C-MOVE or C-GET means (PS3.4 section C.4.2.1.4): which objects are to be
//! sent. Unique keys of a level may be lists. Keys of higher levels may be left out where the others
//! already say which objects are meant, as relational retrieval would allow.

use std::collections::{BTreeMap, HashSet};

use qianli_archive::{Archive, ArchiveError};
use qianli_catalog::types::Target;
use qianli_dimse::Status;
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::grant::Viewer;
use qianli_model::query::{Indexed, Level, Query, Rule};
use qianli_model::syntax::Encoding;
use qianli_model::{Scope, SeriesUid, SopInstanceUid, StudyUid, TransferSyntax, json};
use serde_json::Value;

use super::models::Root;
use crate::outbound::{Selection, locate};

/// PS3.4 table C.4-2: the identifier does not match the SOP class.
pub(crate) const IDENTIFIER_MISMATCH: Status = Status::new(0xA900);
/// PS3.4 table C.4-2: the number of matches cannot be calculated.
pub(crate) const NO_MATCHES_CALCULATED: Status = Status::new(0xA701);
/// PS3.4 table C.4-2: the sub-operations cannot be performed.
pub(crate) const NOT_PERFORMED: Status = Status::new(0xA702);
/// PS3.4 table C.4-2: the move destination is unknown.
pub(crate) const DESTINATION_UNKNOWN: Status = Status::new(0xA801);
/// PS3.4 table C.4-2: complete, with failures or warnings.
pub(crate) const WITH_FAILURES: Status = Status::new(0xB000);

/// What a status of C-MOVE or C-GET is called there (PS3.4 table C.4-2); some codes mean other things
/// in other services.
pub(crate) fn words(status: Status) -> String {
    let meaning = match status {
        NO_MATCHES_CALCULATED => "unable to calculate number of matches",
        NOT_PERFORMED => "unable to perform sub-operations",
        IDENTIFIER_MISMATCH => "identifier does not match SOP class",
        WITH_FAILURES => "complete, with failures or warnings",
        other => other.meaning(),
    };
    format!("{:04X}H ({meaning})", status.code())
}

/// Values of one list that are read; a longer one is refused.
const MOST_VALUES: usize = 10_000;

/// Studies that are asked for at once.
const PAGE: u32 = 500;

/// Why nothing is retrieved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetrievalError {
    /// The identifier does not say what is wanted.
    #[error("{0}")]
    Identifier(&'static str),
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What is wanted, as the identifier says it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    level: String,
    patient: Option<String>,
    studies: Vec<StudyUid>,
    series: Vec<SeriesUid>,
    instances: Vec<SopInstanceUid>,
}

fn mismatch<T>(words: &'static str) -> Result<T, RetrievalError> {
    Err(RetrievalError::Identifier(words))
}

impl Wanted {
    fn read(identifier: &[u8], syntax: TransferSyntax) -> Result<Self, RetrievalError> {
        const UNREADABLE: RetrievalError = RetrievalError::Identifier("unreadable Identifier");
        let mut source = SliceSource::new(identifier);
        let document = json::document(&mut source, syntax, &Limits::default());
        let document = document.map_err(|_| UNREADABLE)?;
        let object: Value = serde_json::from_slice(&document.json).map_err(|_| UNREADABLE)?;
        let level = texts(&object, "00080052").pop().unwrap_or_default().to_owned();
        let patient = texts(&object, "00100020");
        if patient.len() > 1 {
            return mismatch("several Patient IDs");
        }
        Ok(Self {
            level,
            patient: patient.first().map(|id| (*id).to_owned()),
            studies: uids(&object, "0020000D", |text| StudyUid::parse(text).ok())?,
            series: uids(&object, "0020000E", |text| SeriesUid::parse(text).ok())?,
            instances: uids(&object, "00080018", |text| SopInstanceUid::parse(text).ok())?,
        })
    }
}

/// The values of an attribute that are not empty.
fn texts<'v>(object: &'v Value, tag: &str) -> Vec<&'v str> {
    let values = object.get(tag).and_then(|element| element.get("Value"));
    let values = values.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).collect()
}

fn uids<T>(
    object: &Value,
    tag: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, RetrievalError> {
    let texts = texts(object, tag);
    if texts.len() > MOST_VALUES {
        return mismatch("a list of too many UIDs");
    }
    // One that is named twice is wanted once: each costs a look-up.
    let mut seen = HashSet::new();
    let texts = texts.into_iter().filter(|text| seen.insert(*text));
    let parsed: Option<Vec<T>> = texts.map(parse).collect();
    parsed.ok_or(RetrievalError::Identifier("a unique key that is no UID"))
}

/// Shared, but not to be taken away: "Refused: Not Authorized" (PS3.7 annex C).
pub(crate) const ONLY_TO_LOOK_AT: (Status, &str) =
    (Status::new(0x0124), "it is shared to be looked at, not to be taken away");

/// Whether objects of which none may be taken away may be looked at.
pub(crate) async fn may_look(archive: &Archive, scope: &Scope, what: &[Selection]) -> bool {
    let Some(viewer) = scope.viewer() else { return false };
    let viewer = Viewer { to_download: false, ..*viewer };
    let scope = scope.clone().through(viewer);
    matches!(locate(archive, &scope, what).await, Ok(found) if !found.is_empty())
}

/// Which objects an identifier means, as far as the scope sees them.
pub(crate) async fn select(
    archive: &Archive,
    scope: &Scope,
    root: Root,
    identifier: &[u8],
    syntax: TransferSyntax,
) -> Result<Vec<Selection>, RetrievalError> {
    let wanted = Wanted::read(identifier, syntax)?;
    let patient_root = root != Root::Study;
    let whole_studies = root == Root::PatientStudyOnly;
    match wanted.level.as_str() {
        "PATIENT" if patient_root => {
            let Some(patient) = &wanted.patient else { return mismatch("no Patient ID") };
            let studies = studies_of(archive, scope, patient, &[]).await?;
            Ok(studies.into_iter().map(study).collect())
        }
        "STUDY" => {
            if wanted.studies.is_empty() {
                return mismatch("no Study Instance UID");
            }
            match &wanted.patient {
                Some(patient) if patient_root => {
                    let studies = studies_of(archive, scope, patient, &wanted.studies).await?;
                    Ok(studies.into_iter().map(study).collect())
                }
                _ => Ok(wanted.studies.into_iter().map(study).collect()),
            }
        }
        "SERIES" if !whole_studies => {
            if wanted.series.is_empty() {
                return mismatch("no Series Instance UID");
            }
            match wanted.studies.as_slice() {
                [one] => Ok(wanted.series.into_iter().map(|uid| series(one, uid)).collect()),
                [] => {
                    let uids = wanted.series.iter().map(ToString::to_string).collect();
                    let pairs =
                        find(archive, scope, Level::Series, Indexed::SeriesInstanceUid, uids);
                    Ok(pairs.await?.into_iter().map(|(one, uid)| series(&one, uid)).collect())
                }
                _ => mismatch("several Study Instance UIDs above the level"),
            }
        }
        "IMAGE" if !whole_studies => instances(archive, scope, wanted).await,
        "" => mismatch("no Query/Retrieve Level"),
        _ => mismatch("a level that the SOP class does not have"),
    }
}

async fn instances(
    archive: &Archive,
    scope: &Scope,
    wanted: Wanted,
) -> Result<Vec<Selection>, RetrievalError> {
    if wanted.instances.is_empty() {
        return mismatch("no SOP Instance UID");
    }
    if wanted.studies.len() > 1 || wanted.series.len() > 1 {
        return mismatch("several UIDs above the level");
    }
    let only: HashSet<SopInstanceUid> = wanted.instances.iter().cloned().collect();
    let series = wanted.series.into_iter().next();
    let targets: Vec<Target> = match wanted.studies.into_iter().next() {
        Some(study) => vec![Target { study, series, instance: None }],
        None => {
            let uids = wanted.instances.iter().map(ToString::to_string).collect();
            let found =
                find(archive, scope, Level::Instance, Indexed::SopInstanceUid, uids).await?;
            found
                .into_iter()
                .filter(|(_, found)| series.as_ref().is_none_or(|wanted| wanted == found))
                .map(|(study, series)| Target { study, series: Some(series), instance: None })
                .collect()
        }
    };
    let select = |target| Selection { target, only: Some(only.clone()) };
    Ok(targets.into_iter().map(select).collect())
}

fn study(study: StudyUid) -> Selection {
    Selection::of(Target { study, series: None, instance: None })
}

fn series(study: &StudyUid, series: SeriesUid) -> Selection {
    Selection::of(Target { study: study.clone(), series: Some(series), instance: None })
}

/// Studies and series of whatever has one of these UIDs, each once.
async fn find(
    archive: &Archive,
    scope: &Scope,
    level: Level,
    attribute: Indexed,
    uids: Vec<String>,
) -> Result<Vec<(StudyUid, SeriesUid)>, RetrievalError> {
    let mut found = BTreeMap::new();
    let mut query = Query::all(level, PAGE).with(attribute, Rule::AnyOf(uids));
    loop {
        let rows = archive.find(scope, &query).await?;
        let last = rows.len() < PAGE as usize;
        for row in rows {
            let study = StudyUid::parse(&row.study.uid);
            let series = row.series.and_then(|series| SeriesUid::parse(&series.uid).ok());
            if let (Ok(study), Some(series)) = (study, series) {
                found.insert((study.to_string(), series.to_string()), (study, series));
            }
        }
        if last {
            return Ok(found.into_values().collect());
        }
        query.offset = query.offset.saturating_add(PAGE);
    }
}

/// The studies of a patient; of these, if there are any. An ID is compared exactly: a wildcard in it
/// is a character, and nobody gets the images of another patient for the sake of a capital letter.
async fn studies_of(
    archive: &Archive,
    scope: &Scope,
    patient: &str,
    of: &[StudyUid],
) -> Result<Vec<StudyUid>, RetrievalError> {
    let mut query = Query::all(Level::Study, PAGE);
    if of.is_empty() {
        if patient.contains(['*', '?']) {
            return mismatch("a Patient ID with wildcards");
        }
        query = query.equals(Indexed::PatientId, patient);
    } else {
        let uids = of.iter().map(ToString::to_string).collect();
        query = query.with(Indexed::StudyInstanceUid, Rule::AnyOf(uids));
    }
    let mut studies = Vec::new();
    loop {
        let rows = archive.find(scope, &query).await?;
        let last = rows.len() < PAGE as usize;
        for row in rows {
            let object: Value = serde_json::from_str(&row.study.json).unwrap_or_default();
            let is_theirs = texts(&object, "00100020").first() == Some(&patient);
            if let (true, Ok(uid)) = (is_theirs, StudyUid::parse(&row.study.uid)) {
                studies.push(uid);
            }
        }
        if last {
            return Ok(studies);
        }
        query.offset = query.offset.saturating_add(PAGE);
    }
}

/// A data set with Failed SOP Instance UID List (0008,0058), as long as its VR lets it be.
pub(crate) fn failed_list(uids: &[&str], encoding: Encoding) -> Vec<u8> {
    // Explicit VR has two bytes for the length of UI; longer than that nobody can be told.
    const LONGEST: usize = 65_534;
    let mut value = String::new();
    for uid in uids {
        if value.len() + uid.len() + 1 > LONGEST {
            break;
        }
        if !value.is_empty() {
            value.push('\\');
        }
        value.push_str(uid);
    }
    if value.len() % 2 == 1 {
        value.push('\0');
    }
    let length = u16::try_from(value.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(value.len() + 8);
    match encoding {
        Encoding::ImplicitLittle => {
            bytes.extend([0x08, 0, 0x58, 0]);
            bytes.extend(u32::from(length).to_le_bytes());
        }
        Encoding::ExplicitLittle => {
            bytes.extend([0x08, 0, 0x58, 0, b'U', b'I']);
            bytes.extend(length.to_le_bytes());
        }
        Encoding::ExplicitBig => {
            bytes.extend([0, 0x08, 0, 0x58, b'U', b'I']);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(value.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An identifier in Implicit VR Little Endian.
    fn identifier(elements: &[(u16, u16, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (group, element, value) in elements {
            let mut value = value.as_bytes().to_vec();
            if value.len() % 2 == 1 {
                value.push(b' ');
            }
            bytes.extend(group.to_le_bytes());
            bytes.extend(element.to_le_bytes());
            bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend(value);
        }
        bytes
    }

    fn read(elements: &[(u16, u16, &str)]) -> Result<Wanted, RetrievalError> {
        Wanted::read(&identifier(elements), TransferSyntax::IMPLICIT_LITTLE)
    }

    #[test]
    fn unique_keys_may_be_lists() {
        let wanted = read(&[
            (0x0008, 0x0052, "SERIES"),
            (0x0010, 0x0020, "ID 1"),
            (0x0020, 0x000D, "1.2.3"),
            (0x0020, 0x000E, "1.2.3.1\\1.2.3.2"),
        ]);
        let wanted = wanted.unwrap();
        assert_eq!((wanted.level.as_str(), wanted.patient.as_deref()), ("SERIES", Some("ID 1")));
        assert_eq!((wanted.studies.len(), wanted.series.len()), (1, 2));
        assert!(read(&[(0x0020, 0x000D, "1.2.*")]).is_err(), "no wildcards in a retrieval");
        assert!(read(&[(0x0010, 0x0020, "A\\B")]).is_err());
    }

    #[test]
    fn what_failed_is_listed_in_the_encoding_of_the_context() {
        let implicit = failed_list(&["1.2.3", "1.2.4"], Encoding::ImplicitLittle);
        assert_eq!(implicit, [&[8, 0, 0x58, 0, 12, 0, 0, 0][..], b"1.2.3\\1.2.4\0"].concat());
        for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle] {
            let bytes = failed_list(&["1.2.3", "1.2.4"], encoding);
            let syntax = match encoding {
                Encoding::ImplicitLittle => TransferSyntax::IMPLICIT_LITTLE,
                _ => TransferSyntax::EXPLICIT_LITTLE,
            };
            let mut source = SliceSource::new(&bytes);
            let document = json::document(&mut source, syntax, &Limits::default()).unwrap();
            let object: Value = serde_json::from_slice(&document.json).unwrap();
            assert_eq!(texts(&object, "00080058"), ["1.2.3", "1.2.4"]);
        }
        let uids: Vec<String> = (0..5000).map(|n| format!("1.2.840.99.{n:020}")).collect();
        let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
        assert!(failed_list(&uids, Encoding::ExplicitLittle).len() < 65_536 + 8);
    }
}
