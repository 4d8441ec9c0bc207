//! Chains and their heads. A writer that must be fast has a chain for itself and remembers its head;
//! everybody else shares a few, whose head is locked at the end of the transaction.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::entry::{AuditEntry, AuditRow};

/// Chains that exist, from 1. The migration makes their heads.
pub(crate) const CHAINS: i64 = 32;

/// Chains that are shared, from 1. The others belong to recorders.
const SHARED: i64 = 8;

/// What stands before the first row of a chain.
pub(crate) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The last row of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub chain: i64,
    pub number: i64,
    pub hash: String,
}

/// Gives entries their places behind a head.
pub(crate) fn seal(head: &Head, entries: Vec<AuditEntry>) -> Vec<AuditRow> {
    let mut previous_hash = head.hash.clone();
    let mut rows = Vec::with_capacity(entries.len());
    for (number, entry) in (head.number + 1..).zip(entries) {
        let hash = AuditRow::hash_of(head.chain, number, &entry, &previous_hash);
        let before = std::mem::replace(&mut previous_hash, hash.clone());
        rows.push(AuditRow { chain: head.chain, number, entry, previous_hash: before, hash });
    }
    rows
}

impl Head {
    /// The head after rows that follow it.
    pub(crate) fn after(&self, rows: &[AuditRow]) -> Self {
        rows.last().map_or_else(
            || self.clone(),
            |last| Self { chain: self.chain, number: last.number, hash: last.hash.clone() },
        )
    }
}

/// The shared chain of this process, then those to fall back on when its head is missing.
pub(crate) fn shared() -> impl Iterator<Item = i64> {
    static FIRST: OnceLock<i64> = OnceLock::new();
    let first = *FIRST.get_or_init(|| random(SHARED));
    (0..SHARED).map(move |step| (first + step) % SHARED + 1)
}

/// The chain of a recorder. Nothing reserves it: another node that chose the same one is noticed when
/// the head is not where it was left, and then this one moves to another chain.
#[derive(Debug)]
pub(crate) struct OwnChain(Mutex<(i64, Option<Head>)>);

impl OwnChain {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((Self::pick(), None)))
    }

    /// Begins with a certain chain.
    #[cfg(test)]
    pub(crate) fn at(chain: i64) -> Self {
        Self(Mutex::new((chain, None)))
    }

    /// The head as this writer left it, which is then unknown until [`Self::put`]; or the chain whose
    /// head must be read.
    pub(crate) fn take(&self) -> Result<Head, i64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.take().ok_or(state.0)
    }

    /// What was committed.
    pub(crate) fn put(&self, head: Head) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (head.chain, Some(head));
    }

    /// Somebody else writes to it, or its head is gone: takes another.
    pub(crate) fn leave(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (Self::pick(), None);
    }

    fn pick() -> i64 {
        SHARED + 1 + random(CHAINS - SHARED)
    }
}

/// A number from 0 up to `below`.
fn random(below: i64) -> i64 {
    (RandomState::new().hash_one(below) % below.unsigned_abs()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_chain_that_does_not_exist() {
        for _ in 0..1000 {
            let chain = OwnChain::new().take().unwrap_err();
            assert!((SHARED + 1..=CHAINS).contains(&chain), "{chain}");
        }
        let mut all: Vec<i64> = shared().collect();
        all.sort_unstable();
        assert_eq!(all, (1..=SHARED).collect::<Vec<_>>());
    }

    #[test]
    fn a_head_is_taken_once() {
        let own = OwnChain::new();
        let head = Head { chain: 9, number: 4, hash: "x".into() };
        own.put(head.clone());
        assert_eq!(own.take(), Ok(head));
        assert_eq!(own.take(), Err(9));
    }
}
