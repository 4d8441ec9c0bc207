//! Joins catalog and blobs: one ingest, one find, one retrieve, whatever the protocol.
//!
//! No protocol is known here: DIMSE, DICOMweb and the command line call the same functions of
//! [`Archive`] with a [`Scope`] and, for ingest, a [`qianli_model::Provenance`].

mod admit;
mod blobs;
mod commitment;
mod conflict;
mod convert;
mod deletion;
mod description;
mod details;
mod error;
mod frames;
mod held;
mod inflated;
mod ingest;
mod key;
mod local;
mod parsing;
mod repair;
mod retrieve;
mod sender;
mod source;
mod spool;
mod sweep;
#[cfg(test)]
mod tests;
mod tombstone;
mod workers;
pub mod zip;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qianli_catalog::types::{DuplicatePolicy, Found, Totals};
use qianli_catalog::{Catalog, CatalogError};
use qianli_model::charset::TextEncoding;
use qianli_model::dataset::Limits;
use qianli_model::{Permission, Query, Scope, SeriesUid, TenantId};

pub use admit::SopClassPolicy;
pub use blobs::{BlobError, Blobs, BlobsConfig};
pub use commitment::Safety;
pub use conflict::PatientGroup;
pub use convert::{DataSet, Deidentified, Opened, Outgoing, Pseudonymous, can_convert};
pub use deletion::{Purged, RestoreError, Restored};
pub use error::{ArchiveError, IngestError};
pub use frames::{ConvertError, FrameReader, MadeFrame};
pub use held::{Held, HeldReader};
pub use inflated::Inflating;
pub use ingest::{Format, Stored};
pub use repair::{Checked, Rebuilt};
pub use retrieve::ByteStream;
pub use sender::Sender;
pub use spool::SpoolWriter;
pub use sweep::{SweepMode, Swept};
pub use workers::{Busy, Memory, Turn, Workers};

/// How long a read of the catalog may take.
const CATALOG_PATIENCE: Duration = Duration::from_secs(20);

/// What an archive needs to know beside its catalog and blob store.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Folder for objects too large to stay in memory while they arrive.
    pub spool_dir: PathBuf,
    /// An object up to this size stays in memory while it arrives (bytes).
    pub spool_in_memory: u64,
    /// All arriving objects together hold at most this much memory (bytes); beyond it they go to
    /// the spool folder.
    pub spool_memory_budget: u64,
    /// All frames that are decoded, encoded or rendered hold at most this much memory together
    /// (bytes), until their answers are written. What takes more is refused.
    pub pixel_memory: u64,
    /// Largest object that is accepted (bytes).
    pub max_object: u64,
    /// What happens to other content under a known SOP Instance UID.
    pub duplicates: DuplicatePolicy,
    /// Which SOP classes are let in.
    pub sop_classes: SopClassPolicy,
    /// How long the objects of a deletion stay, so that it can be undone.
    pub delete_grace: Duration,
    /// What scanning one object may cost.
    pub limits: Limits,
    /// Senders whose text is not what it is labelled, and what it is. The first that fits counts.
    pub mislabelled: Vec<(Sender, TextEncoding)>,
}

impl ArchiveConfig {
    /// The defaults, spooling into `spool_dir`.
    pub fn new(spool_dir: PathBuf) -> Self {
        Self {
            spool_dir,
            spool_in_memory: 8 << 20,
            spool_memory_budget: 64 << 20,
            pixel_memory: 1 << 30,
            max_object: 64 << 30,
            duplicates: DuplicatePolicy::default(),
            sop_classes: SopClassPolicy::default(),
            delete_grace: Duration::from_secs(24 * 3600),
            limits: Limits::default(),
            mislabelled: Vec::new(),
        }
    }
}

struct Inner {
    catalog: Catalog,
    blobs: Blobs,
    config: ArchiveConfig,
    spool: spool::Spooler,
    details: details::DetailCache,
    workers: Workers,
    parsing: parsing::Parsing,
    /// What conversion needs of recently asked headers.
    descriptions: description::DescriptionCache,
    /// Series of which something arrived a second time. For these the catalog is asked before the
    /// blob is written; asking for every instance would cost each a round trip.
    resent: quick_cache::sync::Cache<(TenantId, SeriesUid), ()>,
}

/// The archive. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

impl Archive {
    /// Joins a catalog and a blob store, and creates the spool folder.
    ///
    /// # Errors
    ///
    /// The spool folder cannot be created.
    pub fn new(
        catalog: Catalog,
        blobs: Blobs,
        config: ArchiveConfig,
    ) -> Result<Self, ArchiveError> {
        let spool = spool::Spooler::new(&config)?;
        let details = details::DetailCache::new(4096);
        let resent = quick_cache::sync::Cache::new(1024);
        let workers = Workers::new(config.pixel_memory);
        let descriptions = description::cache();
        Ok(Self(Arc::new(Inner {
            catalog,
            blobs,
            config,
            spool,
            details,
            workers,
            parsing: parsing::Parsing::new(),
            descriptions,
            resent,
        })))
    }

    /// The catalog below; for health checks and jobs.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// The blob store below; for health checks.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Where pixels are computed, whoever asks for them.
    pub fn workers(&self) -> &Workers {
        &self.0.workers
    }

    /// Which SOP classes are let in; DIMSE negotiation asks before an object is sent.
    pub fn accepts_sop_class(&self, uid: &str) -> bool {
        self.0.config.sop_classes.accepts(uid)
    }

    /// Answers a query.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn find(&self, scope: &Scope, query: &Query) -> Result<Vec<Found>, ArchiveError> {
        permit(scope, Permission::Read)?;
        in_time(self.0.catalog.find(scope, query)).await
    }

    /// Whether the answer to a query may miss older studies for now; see
    /// [`Catalog::may_miss`].
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn may_miss(&self, query: &Query) -> Result<bool, ArchiveError> {
        in_time(self.0.catalog.may_miss(query)).await
    }

    /// Counts what a query without its page would return.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn count(&self, scope: &Scope, query: &Query) -> Result<i64, ArchiveError> {
        permit(scope, Permission::Read)?;
        in_time(self.0.catalog.count(scope, query)).await
    }

    /// Counters of the scope's tenant.
    ///
    /// # Errors
    ///
    /// The catalog failed, or the scope does not see the whole tenant.
    pub async fn totals(&self, scope: &Scope) -> Result<Totals, ArchiveError> {
        permit(scope, Permission::Read)?;
        if scope.viewer().is_some() {
            return Err(ArchiveError::Forbidden(Permission::Read));
        }
        in_time(self.0.catalog.totals(scope)).await
    }

    /// Checks that objects and rows can be written: catalog first, then the blob store.
    ///
    /// # Errors
    ///
    /// What is not ready, in words for an operator.
    pub async fn ready(&self) -> Result<(), String> {
        let within = Duration::from_secs(5);
        match tokio::time::timeout(within, self.0.catalog.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("catalog: {error}")),
            Err(_) => return Err("catalog: no answer within 5 s".into()),
        }
        match tokio::time::timeout(within, self.0.blobs.check()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("blob store: {error}")),
            Err(_) => Err("blob store: no answer within 5 s".into()),
        }
    }
}

/// Holds a scope against what a call needs.
fn permit(scope: &Scope, permission: Permission) -> Result<(), ArchiveError> {
    if scope.allows(permission) { Ok(()) } else { Err(ArchiveError::Forbidden(permission)) }
}

/// Waits for a read of the catalog, but not for ever: a database whose line went dead without a word
/// must not hold requests.
async fn in_time<T>(
    work: impl Future<Output = Result<T, CatalogError>>,
) -> Result<T, ArchiveError> {
    match tokio::time::timeout(CATALOG_PATIENCE, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ArchiveError::CatalogSilent(CATALOG_PATIENCE)),
    }
}
