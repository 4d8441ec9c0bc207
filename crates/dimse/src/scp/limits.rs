//! Counts connections and associations, in total and per address.
//!
//! A connection is pending until it has asked for an association and while it lingers after the
//! end; only an accepted association holds one of the places that an operator configures. So silent
//! sockets cannot keep scanners out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::gauge;

use crate::association::{Rejection, RejectionReason};

/// Pending connections at one time.
const MAX_PENDING: usize = 1024;

/// Pending connections at one time from one address.
const MAX_PENDING_PER_PEER: usize = 256;

#[derive(Debug)]
pub(super) struct Limits {
    max_active: usize,
    max_active_per_peer: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pending: usize,
    active: usize,
    peers: HashMap<IpAddr, PeerCounts>,
}

#[derive(Debug, Default)]
struct PeerCounts {
    pending: usize,
    active: usize,
}

impl Counts {
    fn publish(&self) {
        gauge!("qianli_dimse_associations_active").set(self.active as f64);
    }
}

/// A connection that holds no association; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Pending(Place);

/// An accepted association; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Active(Place);

#[derive(Debug)]
struct Place {
    limits: Arc<Limits>,
    peer: IpAddr,
    active: bool,
}

impl Limits {
    pub fn new(max_active: usize, max_active_per_peer: usize) -> Self {
        Self { max_active, max_active_per_peer, counts: Mutex::default() }
    }

    /// Admits a connection, or not when too many others are pending.
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Option<Pending> {
        self.change(|counts| {
            let of_peer = counts.peers.entry(peer).or_default();
            if counts.pending >= MAX_PENDING || of_peer.pending >= MAX_PENDING_PER_PEER {
                return None;
            }
            counts.pending += 1;
            of_peer.pending += 1;
            Some(Pending(Place { limits: Arc::clone(self), peer, active: false }))
        })
    }

    /// Associations at this moment.
    pub fn active(&self) -> usize {
        self.change(|counts| counts.active)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        // Counters stay right even if a thread died while it held the lock.
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pending {
    /// Turns the connection into an association, or says which limit forbids it.
    pub fn activate(mut self) -> Result<Active, (Self, Rejection)> {
        let limits = Arc::clone(&self.0.limits);
        let peer = self.0.peer;
        let refusal = limits.change(|counts| {
            let of_peer = counts.peers.entry(peer).or_default();
            if counts.active >= limits.max_active {
                return Some(format!(
                    "all {} associations are in use; raise the limit if this is expected load, the \
                     sender may try again",
                    limits.max_active
                ));
            }
            if of_peer.active >= limits.max_active_per_peer {
                return Some(format!(
                    "{peer} has all {} associations in use that one address may have; lower the \
                     sender's number of parallel associations or raise the limit",
                    limits.max_active_per_peer
                ));
            }
            counts.pending -= 1;
            counts.active += 1;
            of_peer.pending -= 1;
            of_peer.active += 1;
            counts.publish();
            None
        });
        match refusal {
            Some(detail) => {
                Err((self, Rejection::new(RejectionReason::LocalLimitExceeded, detail)))
            }
            None => {
                self.0.active = true;
                Ok(Active(self.0))
            }
        }
    }
}

impl Active {
    /// Gives the place of an association back while the connection waits for the peer to close;
    /// `None` when too many do, and the connection should be closed at once.
    pub fn linger(self) -> Option<Pending> {
        self.0.limits.connect(self.0.peer)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.change(|counts| {
            let Some(of_peer) = counts.peers.get_mut(&self.peer) else { return };
            if self.active {
                counts.active -= 1;
                of_peer.active -= 1;
            } else {
                counts.pending -= 1;
                of_peer.pending -= 1;
            }
            if of_peer.active == 0 && of_peer.pending == 0 {
                counts.peers.remove(&self.peer);
            }
            counts.publish();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Arc::new(Limits::new(3, 2));
        let open = |last| limits.connect(address(last)).unwrap().activate();
        let first = open(1).unwrap();
        let second = open(1).unwrap();
        assert!(open(1).is_err(), "third from one address");
        let third = open(2).unwrap();
        assert!(open(3).is_err(), "fourth in total");
        drop(third);
        assert!(open(3).is_ok());
        let lingering = first.linger();
        assert_eq!(limits.active(), 1);
        drop((second, lingering));
        assert!(limits.change(|counts| {
            counts.peers.is_empty() && counts.active == 0 && counts.pending == 0
        }));
    }

    #[test]
    fn silent_connections_are_limited_per_address() {
        let limits = Arc::new(Limits::new(1, 1));
        let held: Vec<_> =
            (0..MAX_PENDING_PER_PEER).map(|_| limits.connect(address(1)).unwrap()).collect();
        assert!(limits.connect(address(1)).is_none());
        assert!(limits.connect(address(2)).is_some_and(|pending| pending.activate().is_ok()));
        drop(held);
        assert!(limits.connect(address(1)).is_some());
    }
}
