//! What is written down about peers: gathered, brought together where it is the same, bounded, and
//! written off the way of images.

use std::collections::HashMap;
use std::time::Duration;

use qianli_catalog::Catalog;
use qianli_catalog::peers::{Noted, SeenPeer};
use qianli_model::TenantId;
use qianli_model::incident::{Cause, Incident, Kind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::WAITING;
use crate::app::now_ms;

/// How long notes are gathered before they are written together.
const GATHER: Duration = Duration::from_secs(1);

/// How long at least between two writings of the same incident, when it keeps nobody out (ms): a
/// device that opens an association for every image costs no row for each.
const AGAIN: i64 = 30_000;

/// Refusals of associations that one writing keeps apart; the others are only counted.
const KEPT_APART: usize = 64;

/// Other incidents that are kept apart; the others are lost.
const OTHERS_APART: usize = 512;

/// How often the use of a row is noted (ms).
const NOTED: i64 = 60_000;

/// A note about a peer.
#[derive(Debug)]
pub(super) enum Note {
    /// Something went wrong, or it was admitted; when (ms).
    Incident(TenantId, Box<Incident>, i64),
    /// A row of the register was used.
    Seen(SeenPeer),
}

type Key = (TenantId, Cause, [String; 5]);

/// An incident, how often it came since it was written, and when that was (ms).
struct Tally {
    noted: Noted,
    written_ms: i64,
}

/// What waits to be written.
#[derive(Default)]
struct Book {
    incidents: HashMap<Key, Tally>,
    strangers: usize,
    uncounted: i64,
    seen: HashMap<i64, SeenPeer>,
    /// When the use of each row was last noted (ms).
    noted: HashMap<i64, i64>,
}

impl Book {
    fn add(&mut self, note: Note) {
        match note {
            Note::Incident(tenant, incident, at_ms) => self.incident(tenant, *incident, at_ms),
            Note::Seen(one) => {
                let before = self.noted.get(&one.rule).copied().unwrap_or_default();
                if one.at_ms.saturating_sub(before) >= NOTED {
                    self.noted.insert(one.rule, one.at_ms);
                    self.seen.insert(one.rule, one);
                }
            }
        }
    }

    /// Brings equal incidents together, within limits: whoever calls chooses the titles.
    fn incident(&mut self, tenant: TenantId, incident: Incident, at_ms: i64) {
        let cause = incident.cause;
        let (_, calling, called, address, certificate, subject) = incident.key();
        let parts = [calling, called, address, certificate, subject].map(str::to_owned);
        let key = (tenant, cause, parts);
        if let Some(tally) = self.incidents.get_mut(&key) {
            if tally.noted.times == 0 {
                tally.noted.first_ms = at_ms;
            }
            tally.noted.times += 1;
            tally.noted.last_ms = tally.noted.last_ms.max(at_ms);
            tally.noted.incident = incident;
            return;
        }
        let is_stranger = cause.kind() == Kind::Association;
        if is_stranger && self.strangers >= KEPT_APART {
            self.uncounted += i64::from(cause.is_audited());
            return;
        }
        if !is_stranger && self.incidents.len() - self.strangers >= OTHERS_APART {
            metrics::counter!("qianli_dimse_peer_notes_dropped_total").increment(1);
            return;
        }
        self.strangers += usize::from(is_stranger);
        let noted = Noted { tenant, incident, times: 1, first_ms: at_ms, last_ms: at_ms };
        self.incidents.insert(key, Tally { noted, written_ms: i64::MIN });
    }

    /// What is to be written now; `all`: without waiting any longer.
    fn due(&mut self, now: i64, all: bool) -> (Vec<Noted>, i64, Vec<SeenPeer>) {
        let mut due = Vec::new();
        let mut strangers = 0;
        self.incidents.retain(|_, tally| {
            let is_stranger = tally.noted.incident.cause.kind() == Kind::Association;
            let waited = now.saturating_sub(tally.written_ms) >= AGAIN;
            if tally.noted.times > 0 && (all || is_stranger || waited) {
                due.push(tally.noted.clone());
                tally.noted.times = 0;
                tally.written_ms = now;
                strangers += usize::from(is_stranger);
                // Whoever is kept out is written at once every time: the audit trail waits for nothing.
                return !is_stranger;
            }
            tally.noted.times > 0 || !waited
        });
        self.strangers -= strangers;
        let seen = self.seen.drain().map(|(_, one)| one).collect();
        (due, std::mem::take(&mut self.uncounted), seen)
    }
}

/// Writes notes until told to stop, and then what waits.
pub(super) async fn write_notes(
    catalog: &Catalog,
    mut notes: mpsc::Receiver<Note>,
    stop: &CancellationToken,
) {
    let mut arrived = Vec::new();
    let mut book = Book::default();
    loop {
        let stopping = tokio::select! {
            _ = notes.recv_many(&mut arrived, WAITING) => false,
            () = tokio::time::sleep(Duration::from_millis(AGAIN.unsigned_abs())) => false,
            () = stop.cancelled() => true,
        };
        if !stopping {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = stop.cancelled() => {}
            }
        }
        while let Ok(note) = notes.try_recv() {
            arrived.push(note);
        }
        arrived.drain(..).for_each(|note| book.add(note));
        let (incidents, uncounted, seen) = book.due(now_ms(), stopping);
        if !(incidents.is_empty() && uncounted == 0 && seen.is_empty())
            && let Err(error) = catalog.note_peers(&incidents, uncounted, &seen).await
        {
            tracing::error!(%error, "who called and was refused is not in the audit trail");
        }
        if stopping {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(cause: Cause, calling: &str, at_ms: i64) -> Note {
        let incident =
            Incident { calling: calling.into(), ..Incident::new(cause, [10, 0, 0, 1].into()) };
        Note::Incident(TenantId::DEFAULT, Box::new(incident), at_ms)
    }

    fn written(book: &mut Book, now: i64, all: bool) -> Vec<(Cause, i64)> {
        book.due(now, all).0.iter().map(|one| (one.incident.cause, one.times)).collect()
    }

    #[test]
    fn what_repeats_is_one_row_and_written_seldom() {
        let mut book = Book::default();
        for at in 0..10 {
            book.add(note(Cause::AbstractSyntax, "CT1", 1000 + at));
        }
        assert_eq!(written(&mut book, 2000, false), [(Cause::AbstractSyntax, 10)]);
        book.add(note(Cause::AbstractSyntax, "CT1", 3000));
        assert_eq!(written(&mut book, 4000, false), []);
        assert_eq!(written(&mut book, 2000 + AGAIN, false), [(Cause::AbstractSyntax, 1)]);
        book.add(note(Cause::AbstractSyntax, "CT1", 60_000));
        assert_eq!(written(&mut book, 60_001, true), [(Cause::AbstractSyntax, 1)], "at the end");
        assert_eq!(written(&mut book, 60_002 + AGAIN, false), []);
        assert!(book.incidents.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn who_is_kept_out_is_written_every_time_and_within_limits() {
        let mut book = Book::default();
        for second in 0..3 {
            book.add(note(Cause::Unknown, "CT1", second));
            assert_eq!(written(&mut book, second, false), [(Cause::Unknown, 1)]);
        }
        for at in 0..1000 {
            book.add(note(Cause::Unknown, &format!("X{at}"), 9000));
            book.add(note(Cause::ProtocolError, &format!("X{at}"), 9000));
        }
        let (due, uncounted, _) = book.due(9001, false);
        assert_eq!((due.len(), uncounted), (KEPT_APART + OTHERS_APART, 1000 - KEPT_APART as i64));
        assert_eq!(book.strangers, 0);
    }
}
