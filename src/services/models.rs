//! What the query/retrieve models have in common (PS3.4 annex C): SOP classes, identifiers, refusals.

use qianli_archive::ArchiveError;
use qianli_dimse::Status;
use qianli_dimse::exchange::{OperationRequest, Reply};
use qianli_dimse::services::Service;
use qianli_model::identifier::{self, Identifier, QUERY_RETRIEVE_LEVEL, QueryLevel};
use qianli_model::query::{Indexed, Level, Rule};
use qianli_model::{Query, Tag};

/// A model (PS3.4 sections C.6.1 to C.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// Patient root.
    Patient,
    /// Study root.
    Study,
    /// Patient/study only, retired: a part of the first.
    PatientStudyOnly,
}

/// SOP classes of the models.
static CLASSES: &[(&str, Root, Service)] = &[
    ("1.2.840.10008.5.1.4.1.2.1.1", Root::Patient, Service::Query),
    ("1.2.840.10008.5.1.4.1.2.1.2", Root::Patient, Service::Move),
    ("1.2.840.10008.5.1.4.1.2.1.3", Root::Patient, Service::Get),
    ("1.2.840.10008.5.1.4.1.2.2.1", Root::Study, Service::Query),
    ("1.2.840.10008.5.1.4.1.2.2.2", Root::Study, Service::Move),
    ("1.2.840.10008.5.1.4.1.2.2.3", Root::Study, Service::Get),
    ("1.2.840.10008.5.1.4.1.2.3.1", Root::PatientStudyOnly, Service::Query),
    ("1.2.840.10008.5.1.4.1.2.3.2", Root::PatientStudyOnly, Service::Move),
    ("1.2.840.10008.5.1.4.1.2.3.3", Root::PatientStudyOnly, Service::Get),
];

/// The service of a SOP class of the models.
pub(super) fn service(uid: &str) -> Option<Service> {
    CLASSES.iter().find(|row| row.0 == uid).map(|row| row.2)
}

/// The model of a SOP class.
pub(super) fn root(uid: &str) -> Root {
    CLASSES.iter().find(|row| row.0 == uid).map_or(Root::Study, |row| row.1)
}

/// Reads the identifier of a request and its level, or says what is wrong with it.
pub(super) fn read(request: &OperationRequest) -> Result<(Root, Identifier, QueryLevel), Reply> {
    let root = root(&request.context.abstract_syntax);
    let data = request.data.as_deref().unwrap_or_default();
    let identifier = identifier::read(data, request.context.transfer_syntax)
        .map_err(|error| Reply::with_comment(Status::CANNOT_UNDERSTAND, error.to_string()))?;
    let level = identifier.level().ok_or_else(|| {
        let comment = "Query/Retrieve Level is not PATIENT, STUDY, SERIES or IMAGE";
        mismatch(comment, QUERY_RETRIEVE_LEVEL)
    })?;
    Ok((root, identifier, level))
}

/// A900: the identifier does not match the SOP class.
pub(super) fn mismatch(comment: &str, offending: Tag) -> Reply {
    let reply = Reply::with_comment(Status::DATA_SET_MISMATCH, comment);
    Reply { offending: vec![offending], ..reply }
}

/// How a failure of ours is told to a peer.
pub(super) fn failed(error: &ArchiveError) -> Reply {
    match error {
        ArchiveError::Forbidden(_) => Reply::new(Status::NOT_AUTHORISED),
        ArchiveError::CatalogSilent(_) => {
            Reply::with_comment(Status::OUT_OF_RESOURCES, "the index does not answer in time")
        }
        _ => Reply::with_comment(Status::PROCESSING_FAILURE, "the index or the store failed"),
    }
}

/// The studies of a patient.
pub(super) fn of_patient(id: &str, issuer: Option<&str>, limit: u32) -> Query {
    let equal = |text: &str| match text.is_empty() {
        true => Rule::Empty,
        false => Rule::AnyOf(vec![text.to_owned()]),
    };
    let query = Query::all(Level::Study, limit).with(Indexed::PatientId, equal(id));
    match issuer {
        Some(issuer) => query.with(Indexed::IssuerOfPatientId, equal(issuer)),
        None => query,
    }
}
