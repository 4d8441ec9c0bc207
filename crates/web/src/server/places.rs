//! How many connections each address holds, so that one client cannot take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use qianli_model::{PerAddress, address};

/// Connections of one address beyond its limit that are told so. The next are closed without a word.
const TOLD_AT_ONCE: usize = 16;

/// The connections of all addresses.
#[derive(Debug)]
pub(super) struct Places {
    limit: PerAddress,
    held: Mutex<HashMap<IpAddr, Held>>,
}

/// What one address holds.
#[derive(Debug, Default)]
struct Held {
    connections: usize,
    /// Somebody was turned away and the log says so; until half of the places are free.
    told: bool,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is served; `None` where nobody counts.
    Serve(Option<Place>),
    /// It is told that there are too many of its address.
    Refuse(Place),
    /// It is closed.
    Close,
}

/// A counted connection; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    caller: IpAddr,
}

impl Places {
    pub(super) fn new(limit: PerAddress) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// Decides about a connection from `peer`, and says in the log when a burst begins that is
    /// turned away.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Admission {
        let caller = address::caller(peer);
        let most = self.limit.of(caller);
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(caller).or_default();
        let over = held.connections >= most;
        if over && !std::mem::replace(&mut held.told, true) {
            tracing::warn!(
                %peer, most,
                "turning HTTP connections away: this address holds all that one may have; if it is a \
                 proxy or many clients share it, raise max_connections_per_address"
            );
        }
        if held.connections >= most.saturating_add(TOLD_AT_ONCE) {
            return Admission::Close;
        }
        held.connections += 1;
        let place = Place { places: Arc::clone(self), caller };
        if over { Admission::Refuse(place) } else { Admission::Serve(Some(place)) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = all.get_mut(&self.caller) else { return };
        held.connections -= 1;
        if held.connections <= self.places.limit.of(self.caller) / 2 {
            held.told = false;
        }
        if held.connections == 0 {
            all.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_address_and_given_back() {
        let places = Places::new(PerAddress { remote: 1, loopback: 100 });
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let first = places.admit(address(1));
        assert!(matches!(first, Admission::Serve(_)));
        let told: Vec<_> = (0..TOLD_AT_ONCE).map(|_| places.admit(address(1))).collect();
        assert!(told.iter().all(|one| matches!(one, Admission::Refuse(_))));
        assert!(matches!(places.admit(address(1)), Admission::Close));
        assert!(
            matches!(places.admit(address(2)), Admission::Serve(_)),
            "others are not concerned"
        );
        let local: Vec<_> = (0..100).map(|_| places.admit([127, 0, 0, 1].into())).collect();
        assert!(local.iter().all(|one| matches!(one, Admission::Serve(_))));
        drop((first, told));
        assert!(matches!(places.admit(address(1)), Admission::Serve(_)));
        drop(local);
        assert!(places.held.lock().unwrap().is_empty());
    }
}
