//! What can go wrong, seen from a caller of the archive.

use std::time::Duration;

use qianli_catalog::CatalogError;
use qianli_model::{Permission, Refusal};

use crate::blobs::BlobError;

/// A read, or the archive itself, failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The scope does not permit it. Whoever lets callers in asks before; this is the second wall.
    #[error("{0} is not permitted")]
    Forbidden(Permission),
    /// The catalog failed.
    #[error("catalog: {0}")]
    Catalog(#[from] CatalogError),
    /// The catalog did not answer in time.
    #[error("catalog: no answer within {} s", .0.as_secs())]
    CatalogSilent(Duration),
    /// The blob store failed.
    #[error("blob store: {0}")]
    Blob(#[from] BlobError),
    /// The spool folder failed.
    #[error("spool folder {path}: {cause}")]
    Spool {
        /// The folder.
        path: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// A stored object and its row disagree; an operator must look.
    #[error("stored object is damaged: {0}")]
    Damaged(String),
    /// A row names an object that is not in the store, or not all of it; an operator must look.
    #[error("stored object is lost: {0}")]
    Lost(String),
}

/// Why an instance was not kept, with what was learnt of it before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct IngestError {
    /// The reason; its code goes to the sender.
    pub refusal: Refusal,
    /// SOP Class UID, when known.
    pub sop_class: Option<String>,
    /// SOP Instance UID, when known.
    pub sop_instance: Option<String>,
    /// Study Instance UID, when known.
    pub study: Option<String>,
}

impl From<Refusal> for IngestError {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, sop_class: None, sop_instance: None, study: None }
    }
}
