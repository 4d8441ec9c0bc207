//! [`Catalog`], the one handle: what can be asked of the index. The work is done in the modules
//! that the methods name.

use std::collections::HashSet;
use std::sync::Arc;

use qianli_model::{Query, Scope, SeriesUid, SopInstanceUid, StudyUid};

use crate::config::CatalogConfig;
use crate::db::Db;
use crate::error::CatalogError;
use crate::types::{
    Detail, Event, Found, Job, Location, Metadata, NewInstance, Recorded, Target, Totals,
};

/// The index of one installation. Cheap to clone; all clones share connections and the writer.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
}

impl Catalog {
    /// Opens the database; creates the file and its folder for SQLite. Does not change the schema.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Config`] for a URL or limits that cannot work, [`CatalogError::Connect`] when
    /// the database does not answer.
    pub async fn connect(config: CatalogConfig) -> Result<Self, CatalogError> {
        let db = Db::open(&config).await?;
        Ok(Self { inner: Arc::new(Inner { db }) })
    }

    /// Brings the schema up to date and returns how many migrations were applied. Several nodes may
    /// do it at once: Postgres serialises them with an advisory lock.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Migrate`] when a migration fails, or when the database was made by a newer
    /// release.
    pub async fn migrate(&self) -> Result<u32, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        Err(CatalogError::Closed)
    }

    /// `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        self.inner.db.kind()
    }

    /// Records an instance whose blob is durable. Returns after the commit that holds it; under
    /// load that commit is shared with others. See [`Recorded`] for what may have happened.
    ///
    /// Content that was superseded earlier and arrives once more is [`Recorded::AlreadyHere`]: a
    /// redelivery must not bring back what was replaced.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`] when the database cannot commit now (the instance may or may
    /// not be there; recording it again is safe), [`CatalogError::Database`] when it refuses this
    /// very instance.
    pub async fn record(
        &self,
        _scope: &Scope,
        _new: NewInstance,
    ) -> Result<Recorded, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// The content hash that answers for an instance now, or `None` when it is not here.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn known(
        &self,
        _scope: &Scope,
        _study: &StudyUid,
        _series: &SeriesUid,
        _instance: &SopInstanceUid,
    ) -> Result<Option<String>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Answers a query in a stable order: studies by date and time, newest first; series and
    /// instances by number, those without one last.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn find(&self, _scope: &Scope, _query: &Query) -> Result<Vec<Found>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Counts what a query matches, without regard to its limit and offset.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn count(&self, _scope: &Scope, _query: &Query) -> Result<i64, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Where the current instances of a target lie, by series number, series UID, instance number,
    /// SOP Instance UID. Empty when the target is not here.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn locate(
        &self,
        _scope: &Scope,
        _target: &Target,
    ) -> Result<Vec<Location>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// The DICOM JSON of the current instances of a target, in the order of [`Self::locate`].
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn metadata(
        &self,
        _scope: &Scope,
        _target: &Target,
    ) -> Result<Vec<Metadata>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Location, frames, bulk values and DICOM JSON of one current instance.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn detail(
        &self,
        _scope: &Scope,
        _study: &StudyUid,
        _series: &SeriesUid,
        _instance: &SopInstanceUid,
    ) -> Result<Option<Detail>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Every content that was kept under an instance's UIDs, newest first; for operators.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn instance_versions(
        &self,
        _scope: &Scope,
        _study: &StudyUid,
        _series: &SeriesUid,
        _instance: &SopInstanceUid,
    ) -> Result<Vec<Location>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// The tenant's counters; a few rows are read, whatever their values.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn totals(&self, _scope: &Scope) -> Result<Totals, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Events after a position, oldest first. A reader that continues from the last sequence it got
    /// misses nothing: events appear only once no lower sequence can.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn events_after(
        &self,
        _scope: &Scope,
        _sequence: i64,
        _limit: u32,
    ) -> Result<Vec<Event>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Asks for slow work. The same kind and key again moves the time of the job that is there (a
    /// dead one is revived) and replaces its payload.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn enqueue(
        &self,
        _scope: &Scope,
        _kind: &str,
        _dedupe_key: &str,
        _payload: &str,
        _run_at_ms: i64,
    ) -> Result<(), CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Takes the job that is due longest, of any tenant, and leases it to `worker`; a lease that ran
    /// out (its worker died) counts as due. Only for the node's own workers.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn claim_job(
        &self,
        _worker: &str,
        _lease_ms: i64,
        _now_ms: i64,
    ) -> Result<Option<Job>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Removes a job that was done, unless it was asked for again meanwhile: then it becomes ready.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn finish_job(&self, _job: &Job) -> Result<(), CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Gives a failed job back for `retry_at_ms`, or marks it dead once it was tried
    /// `max_attempts` times. Returns whether it is dead now.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn fail_job(
        &self,
        _job: &Job,
        _retry_at_ms: i64,
        _max_attempts: i64,
    ) -> Result<bool, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Which of these blob keys some row of any tenant points at, older contents included. Only for
    /// the sweep of orphan blobs.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn referenced_blobs(
        &self,
        _keys: &[String],
    ) -> Result<HashSet<String>, CatalogError> {
        Err(CatalogError::Closed)
    }

    /// Stops the writer after what is waiting, and closes the connections.
    pub async fn close(&self) {}
}
