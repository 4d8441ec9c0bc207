//! [`Catalog`], the one handle: what can be asked of the index. The work is done in the modules
//! that the methods name.

use std::collections::HashSet;
use std::sync::Arc;

use qianli_model::query::{Kind, Path};
use qianli_model::{Query, Scope, SeriesUid, SopInstanceUid, StudyUid};

use crate::audit::Sink;
use crate::config::CatalogConfig;
use crate::db::Db;
use crate::error::CatalogError;
use crate::index::Index;
use crate::record::{Announced, Prepared, Recorder};
use crate::repair::Copied;
use crate::types::{
    Backfill, Detail, Event, Found, Job, Location, Metadata, NewInstance, Recorded, Target, Totals,
};
use crate::{backfill, feed, jobs, migrate, query, repair, retrieve};

/// The index of one installation. Cheap to clone; all clones share connections and the writer.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    recorder: Recorder,
    sink: Sink,
    index: Arc<Index>,
    /// Queries that compare rows one by one take turns: they must not starve the others.
    scans: tokio::sync::Semaphore,
    /// Told when the register of peers was changed through this handle.
    peers_changed: tokio::sync::Notify,
}

/// Queries that compare rows one by one at the same time.
const SCANS: usize = 2;

impl Catalog {
    /// Opens the database; creates the file and its folder for SQLite. Does not change the schema.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Config`] for a URL or limits that cannot work, [`CatalogError::Connect`] when
    /// the database does not answer.
    pub async fn connect(config: CatalogConfig) -> Result<Self, CatalogError> {
        let db = Db::open(&config).await?;
        let index = Arc::new(Index::new(&config.indexed_attributes));
        let recorder = Recorder::start(db.clone(), &config, Arc::clone(&index));
        let sink = Sink::start(db.clone(), config.timeout);
        let scans = tokio::sync::Semaphore::new(SCANS);
        let peers_changed = tokio::sync::Notify::new();
        let inner = Inner { db, recorder, sink, index, scans, peers_changed };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Brings the schema up to date and returns how many migrations were applied. Several nodes may
    /// do it at once: Postgres serialises them with an advisory lock.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Migrate`] when a migration fails, or when the database was made by a newer
    /// release.
    pub async fn migrate(&self) -> Result<u32, CatalogError> {
        migrate::run(&self.inner.db).await
    }

    /// Registers the attributes that this configuration indexes, forgets those that it does not
    /// name any more, and says whether older rows wait for [`Self::backfill`]. Call it after
    /// [`Self::migrate`], before anything is recorded.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn prepare_search(&self) -> Result<bool, CatalogError> {
        backfill::prepare(&self.inner.db, &self.inner.index).await
    }

    /// Computes what a few hundred older rows lack of search words and indexed attributes. Returns
    /// how far that came, or `None` when nothing is left. Until then queries compare rows.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn backfill(&self) -> Result<Option<Backfill>, CatalogError> {
        backfill::step(&self.inner.db, &self.inner.index).await
    }

    /// How far every back-fill is, the finished ones too.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn backfills(&self) -> Result<Vec<Backfill>, CatalogError> {
        backfill::all(&self.inner.db).await
    }

    /// How far a back-fill is, in percent of its rows.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn backfill_percent(&self, backfill: &Backfill) -> Result<i64, CatalogError> {
        let last = backfill::last(&self.inner.db, &backfill.name).await?.max(1);
        Ok(backfill.position.saturating_mul(100).saturating_div(last).min(99))
    }

    /// Whether older studies may be missing from the answer to a query: names are asked for by their
    /// sound, and the search words of older studies are still being made. Attributes whose index is
    /// incomplete are compared row by row instead, and miss nothing. Costs a look at the database
    /// only as long as that is so.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn may_miss(&self, query: &Query) -> Result<bool, CatalogError> {
        let by_sound = query.fuzzy
            && query.conditions.iter().any(|one| one.attribute.kind() == Kind::PersonName);
        Ok(by_sound && !self.inner.index.has_all_names(&self.inner.db).await?)
    }

    /// The attributes that the archive indexes beyond the usual, when they are others than those of
    /// this configuration. `None` when they are the same, or when nothing is stored yet and this
    /// configuration decides. Call it after [`Self::migrate`].
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn other_attributes(&self) -> Result<Option<Vec<Path>>, CatalogError> {
        let (chosen, is_stored) = backfill::chosen(&self.inner.db).await?;
        if !is_stored || chosen == self.inner.index.chosen() {
            return Ok(None);
        }
        Ok(Some(chosen.iter().filter_map(|digits| Path::parse(digits)).collect()))
    }

    /// Told when the register of peers was changed through this handle; changes by other processes
    /// are seen in its version alone, see [`Self::peer_register`].
    pub fn peers_changed(&self) -> &tokio::sync::Notify {
        &self.inner.peers_changed
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        self.inner.db.ping().await
    }

    #[cfg(test)]
    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Where reads are noted for the audit trail.
    pub(crate) fn sink(&self) -> &Sink {
        &self.inner.sink
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
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
    pub async fn record(&self, scope: &Scope, new: NewInstance) -> Result<Recorded, CatalogError> {
        self.record_announced(scope, new, None).await
    }

    /// Says that an instance will be recorded in a moment, while its blob is being written. Pass
    /// the result to [`Catalog::record_announced`], or drop it when nothing comes of it.
    pub fn announce(&self) -> Announced {
        self.inner.recorder.announce()
    }

    /// As [`Catalog::record`], for an instance that was announced.
    ///
    /// # Errors
    ///
    /// As [`Catalog::record`].
    pub async fn record_announced(
        &self,
        scope: &Scope,
        new: NewInstance,
        announced: Option<Announced>,
    ) -> Result<Recorded, CatalogError> {
        // A large header is milliseconds of compressing: not on a thread that serves sockets.
        let prepared = if new.header.json.len() > LARGE_HEADER {
            let scope = scope.clone();
            let index = Arc::clone(&self.inner.index);
            tokio::task::spawn_blocking(move || Prepared::new(&scope, new, &index))
                .await
                .map_err(|_| CatalogError::Closed)??
        } else {
            Prepared::new(scope, new, &self.inner.index)?
        };
        self.inner.recorder.record(prepared, announced).await
    }

    /// Where the content lies that answers for an instance now, or `None` when it is not here.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn known(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Option<Location>, CatalogError> {
        let target = one(study, series, instance);
        Ok(retrieve::locate(&self.inner.db, scope, &target).await?.into_iter().next())
    }

    /// The rows of every tenant with a number beyond `after`, older contents included, `limit` at a
    /// time: for checks of the store. Numbers ascend from 0, or descend from [`i64::MAX`] with
    /// `newest_first`.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn rows_after(
        &self,
        after: i64,
        limit: u32,
        newest_first: bool,
    ) -> Result<Vec<(i64, Location)>, CatalogError> {
        repair::page(&self.inner.db, after, limit, newest_first).await
    }

    /// Points the row of an object that was lost at a copy with the same data set. `false` when no
    /// row needs it any more.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn relocate(&self, lost: &Location, copy: &Copied) -> Result<bool, CatalogError> {
        repair::relocate(&self.inner.db, lost, copy).await
    }

    /// Answers a query in a stable order: studies by date and time, newest first; series and
    /// instances by number, those without one last.
    ///
    /// Attributes that have neither column nor index are compared row by row with what is stored of
    /// what everything else leaves.
    ///
    /// # Errors
    ///
    /// [`CatalogError::TooBroad`] when that leaves too many rows; see [`CatalogError`].
    pub async fn find(&self, scope: &Scope, query: &Query) -> Result<Vec<Found>, CatalogError> {
        let Inner { db, index, scans, .. } = &*self.inner;
        query::find(db, scope, query, index, scans).await
    }

    /// Counts what a query matches, without regard to its limit and offset.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn count(&self, scope: &Scope, query: &Query) -> Result<i64, CatalogError> {
        let Inner { db, index, scans, .. } = &*self.inner;
        query::count(db, scope, query, index, scans).await
    }

    /// Where the current instances of a target lie, by series number, series UID, instance number,
    /// SOP Instance UID. Empty when the target is not here.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn locate(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Vec<Location>, CatalogError> {
        retrieve::locate(&self.inner.db, scope, target).await
    }

    /// The DICOM JSON of the current instances of a target, in the order of [`Self::locate`].
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Vec<Metadata>, CatalogError> {
        retrieve::metadata(&self.inner.db, scope, target).await
    }

    /// Location, frames, bulk values and DICOM JSON of one current instance.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn detail(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Option<Detail>, CatalogError> {
        retrieve::detail(&self.inner.db, scope, &one(study, series, instance)).await
    }

    /// What [`Self::detail`] gives, for the instances of a series around one (some hundreds, that
    /// one among them), in no order; those with long headers are left out.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn neighbours(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Vec<Detail>, CatalogError> {
        retrieve::neighbours(&self.inner.db, scope, &one(study, series, instance)).await
    }

    /// Every content that was kept under an instance's UIDs, newest first; for operators.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn instance_versions(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Vec<Location>, CatalogError> {
        retrieve::versions(&self.inner.db, scope, &one(study, series, instance)).await
    }

    /// The tenant's counters; a few rows are read, whatever their values.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn totals(&self, scope: &Scope) -> Result<Totals, CatalogError> {
        feed::totals(&self.inner.db, scope).await
    }

    /// Events after a position, oldest first. A reader that continues from the last sequence it got
    /// misses nothing: events appear only once no lower sequence can.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn events_after(
        &self,
        scope: &Scope,
        sequence: i64,
        limit: u32,
    ) -> Result<Vec<Event>, CatalogError> {
        feed::events_after(&self.inner.db, scope, sequence, limit).await
    }

    /// Adds an event that is not caused by recording an instance, for example `study.settled`.
    /// Series and instance may be empty.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn publish(
        &self,
        scope: &Scope,
        kind: &str,
        study: &str,
        series: &str,
        instance: &str,
        at_ms: i64,
    ) -> Result<(), CatalogError> {
        feed::publish(&self.inner.db, scope, kind, [study, series, instance], at_ms).await
    }

    /// Asks for slow work. The same kind and key again moves the time of the job that is there (a
    /// dead one is revived) and replaces its payload.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn enqueue(
        &self,
        scope: &Scope,
        kind: &str,
        dedupe_key: &str,
        payload: &str,
        run_at_ms: i64,
    ) -> Result<(), CatalogError> {
        jobs::enqueue(&self.inner.db, scope, kind, dedupe_key, payload, run_at_ms).await
    }

    /// Takes the job that is due longest, of any tenant, and leases it to `worker`; a lease that ran
    /// out (its worker died) counts as due. Only for the node's own workers.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn claim_job(
        &self,
        worker: &str,
        lease_ms: i64,
        now_ms: i64,
    ) -> Result<Option<Job>, CatalogError> {
        jobs::claim(&self.inner.db, worker, lease_ms, now_ms).await
    }

    /// Removes a job that was done, unless it was asked for again meanwhile: then it becomes ready.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn finish_job(&self, job: &Job) -> Result<(), CatalogError> {
        jobs::finish(&self.inner.db, job).await
    }

    /// How many jobs of a kind wait whose key begins with `prefix`.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn jobs_waiting(
        &self,
        scope: &Scope,
        kind: &str,
        prefix: &str,
    ) -> Result<i64, CatalogError> {
        jobs::count(&self.inner.db, scope, kind, prefix).await
    }

    /// Removes a job that is not needed any more, by its kind and key. One that is being worked on is
    /// removed too; who works on it finds nothing to finish.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn drop_job(
        &self,
        scope: &Scope,
        kind: &str,
        dedupe_key: &str,
    ) -> Result<(), CatalogError> {
        jobs::drop(&self.inner.db, scope, kind, dedupe_key).await
    }

    /// Forgets jobs of a kind, of every tenant, that failed for good before a time (ms since 1970), and says how many.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn forget_dead_jobs(&self, kind: &str, before_ms: i64) -> Result<u64, CatalogError> {
        jobs::forget_dead(&self.inner.db, kind, before_ms).await
    }

    /// Gives a failed job back for `retry_at_ms`, or marks it dead once it was tried
    /// `max_attempts` times. Returns whether it is dead now.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn fail_job(
        &self,
        job: &Job,
        retry_at_ms: i64,
        max_attempts: i64,
    ) -> Result<bool, CatalogError> {
        jobs::fail(&self.inner.db, job, retry_at_ms, max_attempts).await
    }

    /// Which of these blob keys some row of any tenant points at, older contents and deletions that
    /// can be undone included. Only for the sweep of orphan blobs.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn referenced_blobs(&self, keys: &[String]) -> Result<HashSet<String>, CatalogError> {
        retrieve::referenced_blobs(&self.inner.db, keys, true).await
    }

    /// Which of these blob keys some instance of any tenant has. Only for the removal of deleted
    /// objects: one that was restored must stay.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn blobs_in_use(&self, keys: &[String]) -> Result<HashSet<String>, CatalogError> {
        retrieve::referenced_blobs(&self.inner.db, keys, false).await
    }

    /// Stops the writers after what is waiting, and closes the connections.
    pub async fn close(&self) {
        self.inner.recorder.close().await;
        self.inner.sink.close().await;
        self.inner.db.close().await;
    }
}

/// Headers above this many bytes are compressed on a blocking thread.
const LARGE_HEADER: usize = 256 * 1024;

fn one(study: &StudyUid, series: &SeriesUid, instance: &SopInstanceUid) -> Target {
    Target { study: study.clone(), series: Some(series.clone()), instance: Some(instance.clone()) }
}
