//! Counts connections and associations, in total and per address.
//!
//! A connection is pending until it has asked for an association and while it lingers after the
//! end; only an accepted association holds one of the places that an operator configures. So silent
//! sockets cannot keep scanners out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::gauge;
use qianli_model::{PerAddress, address};

use crate::association::{Rejection, RejectionReason};

/// Pending connections at one time.
const MAX_PENDING: usize = 1024;

/// Pending connections at one time from one address.
const MAX_PENDING_PER_PEER: usize = 256;

#[derive(Debug)]
pub(super) struct Limits {
    max_active: usize,
    per_address: PerAddress,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pending: usize,
    active: usize,
    /// All places were taken and the log says so; until half of them are free.
    told: bool,
    peers: HashMap<IpAddr, PeerCounts>,
}

#[derive(Debug, Default)]
struct PeerCounts {
    pending: usize,
    active: usize,
    /// Somebody was turned away and the log says so; until half of the places are free, so that a
    /// burst of attempts is one line.
    told: bool,
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

/// Why a connection gets no association.
#[derive(Debug)]
pub(super) struct Full {
    /// The connection, which is to be told.
    pub pending: Pending,
    /// What it is told.
    pub rejection: Rejection,
    /// Whether it is the first of a burst, which is worth a line in the log.
    pub first: bool,
}

#[derive(Debug)]
struct Place {
    limits: Arc<Limits>,
    peer: IpAddr,
    active: bool,
}

impl Limits {
    pub fn new(max_active: usize, per_address: PerAddress) -> Self {
        Self { max_active, per_address, counts: Mutex::default() }
    }

    /// Admits a connection, or not when too many others are pending; then says whether that is the
    /// first of a burst.
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Result<Pending, bool> {
        let peer = address::caller(peer);
        self.change(|counts| {
            let of_peer = counts.peers.entry(peer).or_default();
            if counts.pending >= MAX_PENDING || of_peer.pending >= MAX_PENDING_PER_PEER {
                let first = !std::mem::replace(&mut of_peer.told, true);
                if of_peer.active == 0 && of_peer.pending == 0 {
                    counts.peers.remove(&peer);
                }
                return Err(first);
            }
            counts.pending += 1;
            of_peer.pending += 1;
            Ok(Pending(Place { limits: Arc::clone(self), peer, active: false }))
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
    pub fn activate(mut self) -> Result<Active, Full> {
        let limits = Arc::clone(&self.0.limits);
        let peer = self.0.peer;
        let most = limits.per_address.of(peer);
        let refusal = limits.change(|counts| {
            let of_peer = counts.peers.entry(peer).or_default();
            if counts.active >= limits.max_active {
                let first = !std::mem::replace(&mut counts.told, true);
                let detail = format!(
                    "all {} associations are in use; raise max_associations if this is expected \
                     load, the sender may try again",
                    limits.max_active
                );
                return Some((detail, first));
            }
            if of_peer.active >= most {
                let first = !std::mem::replace(&mut of_peer.told, true);
                let detail = format!(
                    "{peer} has all {most} associations in use that one address may have; lower the \
                     sender's number of parallel associations, or raise \
                     max_associations_per_address if many senders share the address"
                );
                return Some((detail, first));
            }
            counts.pending -= 1;
            counts.active += 1;
            of_peer.pending -= 1;
            of_peer.active += 1;
            counts.publish();
            None
        });
        match refusal {
            Some((detail, first)) => {
                let rejection = Rejection::new(RejectionReason::LocalLimitExceeded, detail);
                Err(Full { pending: self, rejection, first })
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
        self.0.limits.connect(self.0.peer).ok()
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
            let most = self.limits.per_address.of(self.peer);
            if of_peer.active <= most / 2 && of_peer.pending <= MAX_PENDING_PER_PEER / 2 {
                of_peer.told = false;
            }
            if of_peer.active == 0 && of_peer.pending == 0 {
                counts.peers.remove(&self.peer);
            }
            if counts.active <= self.limits.max_active / 2 {
                counts.told = false;
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
        let limits = Arc::new(Limits::new(3, PerAddress { remote: 2, loopback: 3 }));
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
        let limits = Arc::new(Limits::new(1, PerAddress { remote: 1, loopback: 1 }));
        let held: Vec<_> =
            (0..MAX_PENDING_PER_PEER).map(|_| limits.connect(address(1)).unwrap()).collect();
        assert!(limits.connect(address(1)).is_err_and(|first| first));
        assert!(limits.connect(address(1)).is_err_and(|first| !first), "one line for a burst");
        assert!(limits.connect(address(2)).is_ok_and(|pending| pending.activate().is_ok()));
        drop(held);
        assert!(limits.connect(address(1)).is_ok());
    }

    #[test]
    fn a_burst_beyond_the_limit_is_told_once() {
        let limits = Arc::new(Limits::new(9, PerAddress { remote: 2, loopback: 9 }));
        let open = |last| limits.connect(address(last)).unwrap().activate();
        let first_of_burst = || open(1).err().map(|full| full.first);
        for _ in 0..2 {
            let (one, two) = (open(1).unwrap(), open(1).unwrap());
            assert_eq!(first_of_burst(), Some(true));
            drop(two);
            let two = open(1).unwrap();
            assert_eq!(first_of_burst(), Some(true), "half was free in between");
            assert_eq!(first_of_burst(), Some(false));
            assert!(open(2).is_ok(), "others are not concerned");
            drop((one, two));
        }
        let loopback: Vec<_> = (0..9)
            .map(|_| limits.connect([127, 0, 0, 1].into()).unwrap().activate().unwrap())
            .collect();
        assert_eq!(loopback.len(), 9, "a proxy or tunnel of this machine is not one sender");
    }
}
