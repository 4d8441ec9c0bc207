//! Places for HL7 connections: a number in all, and fewer for one address. When they are taken, whoever was silent the
//! longest makes room, so that connections that nobody uses keep no sender out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qianli_model::PerAddress;
use qianli_model::address::caller;
use tokio_util::sync::CancellationToken;

/// Connections at once.
pub(super) const CONNECTIONS: usize = 64;

/// Of these from one address. Interface engines have one for each kind of message.
const PER_ADDRESS: PerAddress = PerAddress { remote: 16, loopback: CONNECTIONS };

/// How long a message may be on its way, or an answer, before its connection makes room for others.
const GRACE: Duration = Duration::from_secs(5);

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for its next message.
    Waiting,
    /// A message is on its way, or its answer.
    Moving,
    /// What a message asks is being done.
    Working,
}

/// All places of a listener.
#[derive(Default)]
pub(super) struct Places(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    held: BTreeMap<u64, Held>,
}

struct Held {
    from: IpAddr,
    doing: Doing,
    since: Instant,
    leave: CancellationToken,
}

/// A place, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    key: u64,
    /// Cancelled when it has to make room.
    pub(super) leave: CancellationToken,
}

impl Places {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from an address; `None` when all are taken by those who work.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr, now: Instant) -> Option<Place> {
        let from = caller(from);
        let mut state = self.state();
        let most = PER_ADDRESS.of(from);
        if state.held.values().filter(|one| one.from == from).count() >= most {
            state.make_room(Some(from), now)?;
        }
        if state.held.len() >= CONNECTIONS {
            state.make_room(None, now)?;
        }
        let key = state.next;
        state.next = key.wrapping_add(1);
        let leave = CancellationToken::new();
        let held = Held { from, doing: Doing::Moving, since: now, leave: leave.clone() };
        state.held.insert(key, held);
        Some(Place { places: Arc::clone(self), key, leave })
    }
}

impl State {
    /// Ends the connection, of an address or of all, that waits longest; else one that is slow.
    fn make_room(&mut self, of: Option<IpAddr>, now: Instant) -> Option<()> {
        let slow = |one: &Held| {
            one.doing == Doing::Moving && now.saturating_duration_since(one.since) >= GRACE
        };
        let may = |one: &Held| one.doing == Doing::Waiting || slow(one);
        let theirs = |one: &Held| of.is_none_or(|address| address == one.from);
        let longest = self
            .held
            .iter()
            .filter(|(_, one)| theirs(one) && may(one))
            .min_by_key(|(_, one)| (one.doing != Doing::Waiting, one.since))
            .map(|(key, _)| *key)?;
        let held = self.held.remove(&longest)?;
        tracing::info!(peer = %held.from, "an HL7 connection that was silent makes room for another");
        held.leave.cancel();
        Some(())
    }
}

impl Place {
    /// Says what its connection does from now on.
    pub(super) fn does(&self, doing: Doing, now: Instant) {
        if let Some(held) = self.places.state().held.get_mut(&self.key)
            && held.doing != doing
        {
            held.doing = doing;
            held.since = now;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn whoever_is_silent_longest_makes_room() {
        let places = Arc::new(Places::default());
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let held: Vec<Place> = (0..16).map(|ms| places.take(address(1), at(ms)).unwrap()).collect();
        assert_eq!(held.len(), PER_ADDRESS.remote);
        assert!(places.take(address(1), at(20)).is_none(), "all of them begin");
        let other = places.take(address(2), at(20)).expect("another address has its own");
        held[3].does(Doing::Waiting, at(21));
        held[2].does(Doing::Waiting, at(22));
        let new = places.take(address(1), at(23)).expect("the one that waits longest makes room");
        assert!(held[3].leave.is_cancelled() && !held[2].leave.is_cancelled());
        // Who is slow makes room after a while, who works never.
        for one in &held {
            one.does(Doing::Working, at(24));
        }
        assert!(places.take(address(1), at(25)).is_none());
        let third = places.take(address(1), at(23) + GRACE).expect("a slow one makes room");
        assert!(new.leave.is_cancelled() && !other.leave.is_cancelled());
        third.does(Doing::Working, at(30) + GRACE);
        assert!(places.take(address(1), at(99) + 2 * GRACE).is_none());
        drop(third);
        assert!(places.take(address(1), at(99) + 2 * GRACE).is_some());
    }

    #[test]
    fn all_addresses_together_have_a_number_too() {
        let places = Arc::new(Places::default());
        let now = Instant::now();
        let held: Vec<Place> =
            (0..CONNECTIONS as u8).map(|from| places.take(address(from), now).unwrap()).collect();
        for one in &held {
            one.does(Doing::Working, now);
        }
        assert!(places.take(address(200), now).is_none());
        held[7].does(Doing::Waiting, now);
        assert!(places.take(address(200), now).is_some());
        assert!(held[7].leave.is_cancelled());
    }
}
