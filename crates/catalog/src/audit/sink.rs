//! Where reads become rows: entries about the same caller, study and kind of access within a second
//! are one row with a count, and all rows of that second are one transaction. What a crash can lose
//! is that second of reads; writes have their rows in their own transactions.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::entry::AuditEntry;
use super::write::Append;
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::{CatalogError, Cause};

/// How long entries are gathered.
const WINDOW: Duration = Duration::from_secs(1);

/// Rows after which it is written at once.
const ROWS: usize = 1000;

/// Entries that may wait. Beyond it the requests wait that they are about: nothing is dropped.
const QUEUE: usize = 4096;

/// Instances of a row that are told apart; its count stops there.
const TOLD_APART: usize = 10_000;

/// How long to wait before a transaction that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is tried when the catalog is being closed.
const LAST_TRIES: u32 = 4;

/// The entrance to the task.
pub(crate) struct Sink {
    queue: Mutex<Option<mpsc::Sender<AuditEntry>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Sink {
    pub(crate) fn start(db: Db, timeout: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(db, waiting, timeout));
        Self { queue: Some(queue).into(), task: Some(task).into() }
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), CatalogError> {
        let queue = lock(&self.queue).clone().ok_or(CatalogError::Closed)?;
        queue.send(entry).await.map_err(|_| CatalogError::Closed)
    }

    /// Writes what is waiting and ends the task.
    pub(crate) async fn close(&self) {
        drop(lock(&self.queue).take());
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // A task that panicked has nothing left to finish.
            let _ = task.await;
        }
    }
}

impl Catalog {
    /// Notes a read, or something refused, for the audit trail. It is written within about a second,
    /// with others like it. While the trail cannot be written and the queue is full, this waits.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Closed`] after [`Self::close`].
    pub async fn note_audit(&self, entry: AuditEntry) -> Result<(), CatalogError> {
        self.sink().note(entry).await
    }

    /// Adds entries to the audit trail and returns when they are durable.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn write_audit(&self, entries: Vec<AuditEntry>) -> Result<(), CatalogError> {
        write(self.db(), entries).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(db: Db, mut waiting: mpsc::Receiver<AuditEntry>, timeout: Duration) {
    let mut arrived = Vec::new();
    while waiting.recv_many(&mut arrived, ROWS).await > 0 {
        let mut gathered = Gathered::default();
        gathered.extend(arrived.drain(..));
        let until = tokio::time::Instant::now() + WINDOW;
        while gathered.rows.len() < ROWS {
            match tokio::time::timeout_at(until, waiting.recv_many(&mut arrived, ROWS)).await {
                Ok(1..) => gathered.extend(arrived.drain(..)),
                // The second is over, or the catalog is closing.
                Ok(0) | Err(_) => break,
            }
        }
        let mut tries = 0;
        loop {
            let work = write(&db, gathered.rows.clone());
            let done = tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
                Err(CatalogError::Unavailable(Cause::new("writing the audit trail took too long")))
            });
            let Err(error) = done else { break };
            tries += 1;
            let rows = gathered.rows.len();
            if waiting.is_closed() && tries >= LAST_TRIES {
                tracing::error!(%error, rows, "the last rows of the audit trail were lost");
                return;
            }
            tracing::error!(%error, rows, "the audit trail cannot be written; reads will wait");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn write(db: &Db, entries: Vec<AuditEntry>) -> Result<(), CatalogError> {
    let begin = begin(db);
    on_db!(db, pools => {
        let mut transaction = pools.write.begin_with(begin).await?;
        transaction.append_audit(entries).await?;
        transaction.commit().await?;
    });
    Ok(())
}

/// What makes two entries one.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    tenant: i64,
    texts: [String; 7],
}

impl Likeness {
    fn of(entry: &AuditEntry) -> Self {
        let texts = [
            &entry.principal_kind,
            &entry.principal,
            &entry.peer,
            &entry.action,
            &entry.outcome,
            &entry.study,
            &entry.details,
        ];
        Self { tenant: entry.tenant, texts: texts.map(String::clone) }
    }
}

/// Rows in the making.
#[derive(Default)]
struct Gathered {
    rows: Vec<AuditEntry>,
    places: HashMap<Likeness, (usize, HashSet<String>)>,
}

impl Gathered {
    fn extend(&mut self, entries: impl Iterator<Item = AuditEntry>) {
        for entry in entries {
            self.add(entry);
        }
    }

    fn add(&mut self, mut entry: AuditEntry) {
        let next = self.rows.len();
        let (place, instances) =
            self.places.entry(Likeness::of(&entry)).or_insert_with(|| (next, HashSet::new()));
        if !entry.instance.is_empty() && instances.len() < TOLD_APART {
            instances.insert(entry.instance.clone());
        }
        let told_apart = i64::try_from(instances.len()).unwrap_or(i64::MAX);
        let Some(row) = self.rows.get_mut(*place) else {
            entry.instances = entry.instances.max(told_apart);
            return self.rows.push(entry);
        };
        row.requests = row.requests.saturating_add(entry.requests);
        row.instances = row.instances.max(entry.instances).max(told_apart);
        // One UID stands for all, or none does.
        if row.series != entry.series {
            row.series.clear();
        }
        if row.instance != entry.instance {
            row.instance.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use qianli_model::audit::{Action, Outcome};
    use qianli_model::scope::Principal;
    use qianli_model::{Permissions, Scope, TenantId};

    use super::*;

    fn entry(by: &str, study: &str, series: &str, instance: &str) -> AuditEntry {
        let scope = Scope::new(TenantId::DEFAULT, Principal::Peer(by.into()), Permissions::ALL)
            .at("192.0.2.1");
        let mut entry = AuditEntry::new(&scope, Action::ReadPixels, Outcome::Success, 5);
        entry.study = study.into();
        entry.series = series.into();
        entry.instance = instance.into();
        entry
    }

    #[test]
    fn scrolling_is_one_row_and_two_readers_are_two() {
        let mut gathered = Gathered::default();
        for image in 0..600 {
            gathered.add(entry("A", "1.2", "1.3", &format!("1.4.{image}")));
            gathered.add(entry("A", "1.2", "1.3", &format!("1.4.{image}")));
        }
        gathered.add(entry("B", "1.2", "1.3", "1.4.1"));
        gathered.add(entry("A", "9.9", "1.3", "1.4.1"));
        let [scrolled, other, elsewhere] = gathered.rows.as_slice() else {
            panic!("{} rows", gathered.rows.len())
        };
        assert_eq!((scrolled.requests, scrolled.instances), (1200, 600));
        assert_eq!((scrolled.series.as_str(), scrolled.instance.as_str()), ("1.3", ""));
        assert_eq!((other.requests, other.instances, other.instance.as_str()), (1, 1, "1.4.1"));
        assert_eq!(elsewhere.study, "9.9");
    }

    #[test]
    fn several_series_are_named_by_none() {
        let mut gathered = Gathered::default();
        gathered.add(entry("A", "1.2", "1.3", ""));
        gathered.add(entry("A", "1.2", "1.5", ""));
        assert_eq!(gathered.rows.len(), 1);
        assert_eq!(gathered.rows[0].series, "");
    }
}
