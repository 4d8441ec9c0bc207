//! Where reads become rows: entries about the same caller, study and kind of access within a second
//! are one row with a count, and all rows of that second are one transaction. What a crash can lose
//! is that second of reads; writes have their rows in their own transactions.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::entry::{AuditEntry, NOBODY};
use super::write::Append;
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::{CatalogError, Cause};

/// How long entries are gathered.
const WINDOW: Duration = Duration::from_secs(1);

/// Rows after which it is written at once.
const ROWS: usize = 1000;

/// Rows that may wait while others are being written. Beyond it the requests wait that they are
/// about: nothing is dropped.
const MOST_ROWS: usize = 4096;

/// Entries that may wait after the trail could not be written.
const MOST_ENTRIES: u64 = 4096;

/// Instances of a row that are told apart; its count stops there.
const TOLD_APART: usize = 10_000;

/// Instances of all waiting rows that are told apart.
const TOLD_APART_OF_ALL: usize = 100_000;

/// Entries of nobody in a second whose addresses are told apart.
const MOST_STRANGERS: usize = 1000;

/// How long to wait before a transaction that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is tried when the catalog is being closed.
const LAST_TRIES: u32 = 4;

/// The entrance to the task.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What requests and the task share. Requests add to what is gathered themselves: a message for each
/// would wake the task thousands of times a second.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the task: the first entry, the last one that has room, or the end.
    work: Notify,
    /// Wakes requests that wait for room.
    room: Notify,
}

#[derive(Default)]
struct State {
    gathered: Gathered,
    /// Entries since the task last took them.
    entries: u64,
    /// The last try to write failed.
    failing: bool,
    closed: bool,
}

impl State {
    fn is_full(&self) -> bool {
        self.gathered.rows.len() >= MOST_ROWS || (self.failing && self.entries >= MOST_ENTRIES)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Sink {
    pub(crate) fn start(db: Db, timeout: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(run(db, Arc::clone(&shared), timeout));
        Self { shared, task: Some(task).into() }
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), CatalogError> {
        loop {
            // Before the look, so that room made in between is not missed.
            let room = self.shared.room.notified();
            {
                let mut state = self.shared.lock();
                if state.closed {
                    return Err(CatalogError::Closed);
                }
                if !state.is_full() {
                    let before = state.gathered.rows.len();
                    state.entries += 1;
                    state.gathered.add(entry);
                    let after = state.gathered.rows.len();
                    drop(state);
                    if before != after && (before == 0 || after == ROWS) {
                        self.shared.work.notify_one();
                    }
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Writes what is waiting and ends the task.
    pub(crate) async fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        self.shared.room.notify_waiters();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // A task that panicked has nothing left to finish.
            let _ = task.await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Nobody closed it; what is waiting is written all the same, while the runtime lives.
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
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
        if super::audit_is_off() {
            return Ok(());
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(db: Db, shared: Arc<Shared>, timeout: Duration) {
    loop {
        shared.work.notified().await;
        let until = tokio::time::Instant::now() + WINDOW;
        loop {
            let ready = {
                let state = shared.lock();
                state.closed || state.gathered.rows.len() >= ROWS
            };
            let more = tokio::time::timeout_at(until, shared.work.notified());
            if ready || more.await.is_err() {
                break;
            }
        }
        let rows = {
            let mut state = shared.lock();
            state.entries = 0;
            std::mem::take(&mut state.gathered).rows
        };
        shared.room.notify_waiters();
        if !rows.is_empty() && !insist(&db, &shared, &rows, timeout).await {
            return;
        }
        let state = shared.lock();
        if state.closed && state.gathered.rows.is_empty() {
            return;
        }
        // What came while others were written finds the task awake.
        if !state.gathered.rows.is_empty() {
            shared.work.notify_one();
        }
    }
}

/// Writes until it is written. False when the catalog is being closed and it cannot be.
async fn insist(db: &Db, shared: &Shared, rows: &[AuditEntry], timeout: Duration) -> bool {
    let mut tries = 0;
    loop {
        let work = write(db, rows.to_vec());
        let done = tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            Err(CatalogError::Unavailable(Cause::new("writing the audit trail took too long")))
        });
        let closed = {
            let mut state = shared.lock();
            state.failing = done.is_err();
            state.closed
        };
        let Err(error) = done else { return true };
        tries += 1;
        let rows = rows.len();
        if closed && tries >= LAST_TRIES {
            tracing::error!(%error, rows, "the last rows of the audit trail were lost");
            return false;
        }
        tracing::error!(%error, rows, "the audit trail cannot be written; reads will wait");
        tokio::time::sleep(PAUSE).await;
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
fn likeness(entry: &AuditEntry) -> (i64, [&str; 7]) {
    let texts = [
        &entry.study,
        &entry.action,
        &entry.principal,
        &entry.peer,
        &entry.details,
        &entry.outcome,
        &entry.principal_kind,
    ];
    (entry.tenant, texts.map(String::as_str))
}

/// Rows in the making.
#[derive(Default)]
struct Gathered {
    rows: Vec<AuditEntry>,
    /// The instances of each row, as far as they are told apart.
    instances: Vec<HashSet<String>>,
    told_apart: usize,
    /// Entries of nobody.
    strangers: usize,
    /// Places of rows by the hash of their likeness, or, where another has that hash, by a number
    /// after it. No copies of the texts are kept.
    places: HashMap<u64, usize>,
    hashes: RandomState,
}

impl Gathered {
    /// Place of the row that the entry belongs to; behind all rows for a new one.
    fn place(&mut self, entry: &AuditEntry) -> usize {
        let wanted = likeness(entry);
        let mut key = self.hashes.hash_one(wanted);
        loop {
            let place = *self.places.entry(key).or_insert(self.rows.len());
            match self.rows.get(place) {
                Some(row) if likeness(row) != wanted => key = key.wrapping_add(1),
                _ => return place,
            }
        }
    }

    fn add(&mut self, mut entry: AuditEntry) {
        if entry.principal_kind == NOBODY {
            // Strangers of many addresses must not fill the trail.
            if self.strangers >= MOST_STRANGERS {
                entry.peer.clear();
            }
            self.strangers += 1;
        }
        let place = self.place(&entry);
        if self.instances.len() <= place {
            self.instances.push(HashSet::new());
        }
        let mut told_apart = 0;
        if let Some(instances) = self.instances.get_mut(place) {
            let room = instances.len() < TOLD_APART && self.told_apart < TOLD_APART_OF_ALL;
            if room && !entry.instance.is_empty() && !instances.contains(&entry.instance) {
                instances.insert(entry.instance.clone());
                self.told_apart += 1;
            }
            told_apart = i64::try_from(instances.len()).unwrap_or(i64::MAX);
        }
        let Some(row) = self.rows.get_mut(place) else {
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
    fn what_waits_is_bounded() {
        let mut state = State::default();
        for study in 0..MOST_ROWS {
            assert!(!state.is_full());
            state.gathered.add(entry("A", &format!("1.{study}"), "", "1.4.1"));
        }
        assert!(state.is_full(), "rows");
        let mut state = State { failing: true, ..State::default() };
        state.entries = MOST_ENTRIES;
        assert!(state.is_full(), "entries, while nothing can be written");
        state.failing = false;
        assert!(!state.is_full());
    }

    #[test]
    fn strangers_do_not_fill_the_trail() {
        let mut gathered = Gathered::default();
        for address in 0..3 * MOST_STRANGERS {
            let peer = format!("2001:db8::{address:x}");
            gathered.add(AuditEntry::of_nobody(&peer, Action::LoginFailed, 5));
        }
        assert_eq!(gathered.rows.len(), MOST_STRANGERS + 1);
        let requests: i64 = gathered.rows.iter().map(|row| row.requests).sum();
        assert_eq!(requests, 3 * i64::try_from(MOST_STRANGERS).unwrap(), "each is counted");
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
