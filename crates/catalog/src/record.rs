//! Group commit: one task per [`crate::Catalog`] gathers the instances that are waiting, records
//! them in one transaction and answers every waiter (DESIGN section 4). Under load the batches grow
//! by themselves; a lone instance waits for nobody.

mod merge;
mod plan;
mod postgres;
mod prepare;
mod rows;
mod sqlite;
mod trail;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audit::OwnChain;
use crate::config::CatalogConfig;
use crate::db::Db;
use crate::error::{CatalogError, Cause};
use crate::index::Index;
use crate::types::Recorded;

pub(crate) use plan::{join_list, split_list};
#[cfg(test)]
pub(crate) use postgres::LOAD;
pub(crate) use prepare::Prepared;

/// How long the writer waits for instances that were announced. A fraction of what writing their
/// blobs takes; without announcements it does not wait.
const GATHER: Duration = Duration::from_millis(2);

/// How often a batch is tried that lost a race or a deadlock against another node.
const ATTEMPTS: u32 = 6;

/// A settling study's job is moved only when it moves by at least this part of the quiet time:
/// rewriting it for every batch would cost more than it says.
const SETTLE_STEPS: i64 = 12;

/// An instance on its way, and who waits for it.
type Waiting = (Prepared, oneshot::Sender<Result<Recorded, CatalogError>>);

/// The entrance to the writer task.
pub(crate) struct Recorder {
    queue: std::sync::Mutex<Option<mpsc::Sender<Waiting>>>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
    announced: Arc<AtomicUsize>,
}

/// An instance that will be recorded in a moment: its blob is being written. The writer waits a
/// little for it, so that senders who work side by side share commits. Dropping it takes it back.
pub struct Announced(Arc<AtomicUsize>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What both databases need to know beside the batch.
struct Settings {
    /// The row of `tenant_totals` that this writer counts in.
    shard: i64,
    settle_ms: i64,
    index: Arc<Index>,
    /// The chain of the audit trail that this writer adds to.
    chain: OwnChain,
}

/// Why a batch was not recorded.
enum RecordError {
    /// Another node made the same study at the same moment, or added to the same chain of the audit
    /// trail; starting over finds it.
    Race,
    /// The database said no.
    Failed(CatalogError),
}

impl From<sqlx::Error> for RecordError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Recorder {
    /// Starts the writer task.
    pub(crate) fn start(db: Db, config: &CatalogConfig, index: Arc<Index>) -> Self {
        let (queue, waiting) = mpsc::channel(config.record_queue);
        let shards = if matches!(db, Db::Postgres(_)) { 16 } else { 1 };
        let settings = Settings {
            shard: (RandomState::new().hash_one(0) % shards).cast_signed(),
            settle_ms: i64::try_from(config.settle_after.as_millis()).unwrap_or(i64::MAX / 2),
            index,
            chain: OwnChain::new(),
        };
        let (batch, timeout) = (config.record_batch, config.timeout);
        let announced = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(run(db, settings, waiting, batch, timeout, Arc::clone(&announced)));
        Self { queue: Some(queue).into(), task: Some(task).into(), announced }
    }

    /// Says that an instance is on its way.
    pub(crate) fn announce(&self) -> Announced {
        self.announced.fetch_add(1, Ordering::Relaxed);
        Announced(Arc::clone(&self.announced))
    }

    /// Hands an instance to the writer and waits for the commit that holds it.
    pub(crate) async fn record(
        &self,
        prepared: Prepared,
        announced: Option<Announced>,
    ) -> Result<Recorded, CatalogError> {
        let queue = lock(&self.queue).clone().ok_or(CatalogError::Closed)?;
        let (reply, answer) = oneshot::channel();
        queue.send((prepared, reply)).await.map_err(|_| CatalogError::Closed)?;
        drop((queue, announced));
        answer.await.map_err(|_| CatalogError::Closed)?
    }

    /// Lets the writer finish what is waiting and ends it.
    pub(crate) async fn close(&self) {
        drop(lock(&self.queue).take());
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // A task that panicked has nothing left to finish.
            let _ = task.await;
        }
    }
}

/// Locks; a poisoned lock holds a plain option, which is as good as before.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn run(
    db: Db,
    settings: Settings,
    mut waiting: mpsc::Receiver<Waiting>,
    size: usize,
    timeout: Duration,
    announced: Arc<AtomicUsize>,
) {
    let mut gathered = Vec::with_capacity(size);
    while waiting.recv_many(&mut gathered, size).await > 0 {
        let until = tokio::time::Instant::now() + GATHER;
        while gathered.len() < size && announced.load(Ordering::Relaxed) > 0 {
            let room = size - gathered.len();
            match tokio::time::timeout_at(until, waiting.recv_many(&mut gathered, room)).await {
                Ok(1..) => {}
                // Nobody came in time, or the catalog is closing.
                Ok(0) | Err(_) => break,
            }
        }
        let (batch, replies): (Vec<_>, Vec<_>) = gathered.drain(..).unzip();
        metrics::histogram!("qianli_catalog_batch_size").record(batch.len() as f64);
        let answers = record(&db, &settings, &batch, timeout).await;
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A waiter may have gone away; its instance is recorded all the same.
            let _ = reply.send(answer);
        }
    }
}

/// Records a batch; one answer per instance. When the database refuses the batch, each instance is
/// tried alone, so that the one it objects to does not take the others with it.
async fn record(
    db: &Db,
    settings: &Settings,
    batch: &[Prepared],
    timeout: Duration,
) -> Vec<Result<Recorded, CatalogError>> {
    match record_together(db, settings, batch, timeout).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(error) if error.is_transient() || batch.len() == 1 => {
            tracing::warn!(%error, instances = batch.len(), "instances were not recorded");
            batch.iter().map(|_| Err(error.clone())).collect()
        }
        Err(_) => {
            let mut answers = Vec::with_capacity(batch.len());
            for item in batch.chunks(1) {
                let outcome = record_together(db, settings, item, timeout).await;
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "an instance was not recorded");
                }
                let outcome = outcome.and_then(|outcomes| {
                    outcomes.into_iter().next().ok_or(CatalogError::Corrupt("a batch's outcome"))
                });
                answers.push(outcome);
            }
            answers
        }
    }
}

async fn record_together(
    db: &Db,
    settings: &Settings,
    batch: &[Prepared],
    timeout: Duration,
) -> Result<Vec<Recorded>, CatalogError> {
    let begun = Instant::now();
    let mut attempt = 1;
    loop {
        let work = async {
            match db {
                Db::Postgres(pools) => postgres::record(&pools.write, settings, batch).await,
                Db::Sqlite(pools) => {
                    let outcomes = sqlite::record(&pools.write, settings, batch).await?;
                    // After the commit: it may have gone into a file that nobody will open again.
                    db.check_file().map_err(RecordError::Failed)?;
                    Ok(outcomes)
                }
            }
        };
        let outcome = tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let cause = Cause::new("the transaction took longer than the configured time");
            Err(RecordError::Failed(CatalogError::Unavailable(cause)))
        });
        match outcome {
            Ok(outcomes) => {
                metrics::histogram!("qianli_catalog_commit_seconds")
                    .record(begun.elapsed().as_secs_f64());
                return Ok(outcomes);
            }
            Err(error) if attempt < ATTEMPTS && error.is_worth_repeating(attempt) => {
                // Nodes that collided once would collide again in step.
                let jitter = RandomState::new().hash_one(attempt) % 10;
                tokio::time::sleep(Duration::from_millis(jitter)).await;
                attempt += 1;
            }
            Err(RecordError::Failed(error)) => return Err(error),
            Err(RecordError::Race) => {
                return Err(CatalogError::Unavailable(Cause::new(
                    "other nodes kept changing the same rows, or heads of the audit trail are missing",
                )));
            }
        }
    }
}

impl RecordError {
    /// Races, deadlocks and serialisation failures end by repetition. A connection that broke is
    /// worth a try on each other one that may be as dead, and one on a new one: a batch that had
    /// been committed after all is found by its content.
    fn is_worth_repeating(&self, attempt: u32) -> bool {
        match self {
            Self::Race => true,
            Self::Failed(CatalogError::Unavailable(cause)) => match cause.code() {
                Some("40P01" | "40001") => true,
                Some(code) => code.starts_with("57P") && attempt < 3,
                None => attempt < 3 && cause.is_broken_connection(),
            },
            Self::Failed(_) => false,
        }
    }
}

/// UPDATE of all text columns (`$2` on) and two more, by id (`$1`).
fn update_text(table: &str, texts: &[&str], others: &[&str]) -> String {
    let columns: Vec<String> = texts
        .iter()
        .chain(others)
        .enumerate()
        .map(|(index, column)| format!("{column} = ${}", index + 2))
        .collect();
    format!("UPDATE {table} SET {} WHERE id = $1", columns.join(", "))
}

/// A study leaves its patient; tells how many stay.
pub(crate) const LEAVE_PATIENT: &str =
    "UPDATE patients SET study_count = study_count - 1 WHERE id = $1 RETURNING study_count";

/// After the last study left.
pub(crate) const DELETE_PATIENT: &str = "DELETE FROM patients WHERE id = $1";

/// What the handler of `study.settled` gets. A UID is digits and dots, so nothing needs escaping.
fn settled_payload(study_uid: &str) -> String {
    format!("{{\"study\":\"{study_uid}\"}}")
}

/// Records instances as one batch, past the queue.
#[cfg(test)]
pub(crate) async fn at_once(
    db: &Db,
    scope: &qianli_model::Scope,
    batch: Vec<crate::NewInstance>,
) -> Vec<Result<Recorded, CatalogError>> {
    at_once_in(db, scope, batch, OwnChain::new()).await
}

/// The same, adding to a certain chain of the audit trail.
#[cfg(test)]
pub(crate) async fn at_once_in(
    db: &Db,
    scope: &qianli_model::Scope,
    batch: Vec<crate::NewInstance>,
    chain: OwnChain,
) -> Vec<Result<Recorded, CatalogError>> {
    let index = Arc::new(Index::new(&[]));
    let prepared: Vec<Prepared> =
        batch.into_iter().map(|new| Prepared::new(scope, new, &index).unwrap()).collect();
    let settings = Settings { shard: 3, settle_ms: 60_000, index, chain };
    record(db, &settings, &prepared, Duration::from_secs(20)).await
}
