//! Associations with destinations: never more than a destination takes, kept for a moment when they
//! are not used, given to whoever has priority.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use qianli_dimse::scu::Priority;
use qianli_model::destination::Destination;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{CallError, Caller, Open};
use super::plan::{Proposal, contexts};
use super::rate::Rate;

/// How long an association is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(3);

/// The associations of this process with all destinations.
#[derive(Default)]
pub(super) struct Pool {
    lines: Mutex<Vec<Arc<Line>>>,
}

/// The associations with one destination.
pub(super) struct Line {
    pub(super) to: Destination,
    caller: Caller,
    pub(super) rate: Rate,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Associations that are open, unused ones included.
    open: u32,
    idle: Vec<Idle>,
    /// Who waits for one, by priority.
    waiting: [u32; 3],
}

struct Idle {
    association: Open,
    proposed: Arc<[Proposal]>,
    since: Instant,
    slot: Slot,
}

/// The right to have one association open.
struct Slot(Arc<Line>);

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open = state.open.saturating_sub(1);
        drop(state);
        gauge!("qianli_outbound_associations").decrement(1.0);
        self.0.changed.notify_waiters();
    }
}

/// An association in use.
pub(super) struct Lease {
    pub(super) association: Open,
    proposed: Arc<[Proposal]>,
    slot: Slot,
    /// It was used before: the peer may have closed it since.
    pub(super) is_used: bool,
}

/// What others want of whoever holds associations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Nothing.
    None,
    /// Others of the same priority wait: whoever has several should give one.
    Equal,
    /// Others of a higher priority wait.
    Higher,
}

fn rank(priority: Priority) -> usize {
    match priority {
        Priority::Low => 0,
        Priority::Medium => 1,
        Priority::High => 2,
    }
}

impl Pool {
    /// The line to a destination, called as `caller`.
    pub(super) fn line(&self, to: &Destination, caller: &Caller) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody holds and where nothing is open is forgotten.
        lines.retain(|line| Arc::strong_count(line) > 1 || line.state().open > 0);
        let known = lines.iter().find(|line| line.to == *to && line.caller.aet == caller.aet);
        if let Some(line) = known {
            return Arc::clone(line);
        }
        let line = Arc::new(Line {
            to: to.clone(),
            caller: caller.clone(),
            rate: Rate::new(to.bandwidth),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        lines.push(Arc::clone(&line));
        line
    }
}

impl Pool {
    /// Releases what nobody uses.
    pub(super) async fn close(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for line in lines {
            line.release_unused(Duration::ZERO).await;
        }
    }
}

/// Somebody who waits, until it is dropped.
struct Waiting<'a>(&'a Line, usize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.state().waiting.get_mut(self.1) {
            *count = count.saturating_sub(1);
        }
        self.0.changed.notify_waiters();
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An association with these contexts: an unused one, or a new one as soon as there may be one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        proposed: &Arc<[Proposal]>,
        priority: Priority,
    ) -> Result<Lease, CallError> {
        let slot = match self.take(proposed, priority).await {
            Taken::Idle(idle) => {
                let Idle { association, proposed, slot, .. } = *idle;
                return Ok(Lease { association, proposed, slot, is_used: true });
            }
            Taken::Slot(slot) => slot,
        };
        let association = self.caller.call(&self.to, &contexts(proposed)).await?;
        Ok(Lease { association, proposed: Arc::clone(proposed), slot, is_used: false })
    }

    async fn take(self: &Arc<Self>, proposed: &Arc<[Proposal]>, priority: Priority) -> Taken {
        let rank = rank(priority);
        let mut waits: Option<Waiting<'_>> = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(taken) = self.try_take(proposed, rank) {
                return taken;
            }
            if waits.is_none() {
                if let Some(count) = self.state().waiting.get_mut(rank) {
                    *count += 1;
                }
                waits = Some(Waiting(self, rank));
            }
            changed.await;
        }
    }

    fn try_take(self: &Arc<Self>, proposed: &Arc<[Proposal]>, rank: usize) -> Option<Taken> {
        let mut state = self.state();
        if state.waiting.iter().skip(rank + 1).any(|count| *count > 0) {
            return None;
        }
        let fits = |idle: &Idle| proposed.iter().all(|one| idle.proposed.contains(one));
        if let Some(at) = state.idle.iter().rposition(fits) {
            return Some(Taken::Idle(Box::new(state.idle.swap_remove(at))));
        }
        if state.open < self.to.associations.max(1) {
            state.open += 1;
            drop(state);
            gauge!("qianli_outbound_associations").increment(1.0);
            return Some(Taken::Slot(Slot(Arc::clone(self))));
        }
        // One that is unused but does not fit makes room.
        let Idle { association, slot, .. } = state.idle.pop()?;
        drop(state);
        tokio::spawn(association.release());
        Some(Taken::Slot(slot))
    }

    /// What others want who have no association.
    pub(super) fn pressure(&self, priority: Priority) -> Pressure {
        let rank = rank(priority);
        let waiting = self.state().waiting;
        if waiting.iter().skip(rank + 1).any(|count| *count > 0) {
            return Pressure::Higher;
        }
        match waiting.get(rank) {
            Some(1..) => Pressure::Equal,
            _ => Pressure::None,
        }
    }

    /// Takes back an association that is not needed any more. It is released unless somebody uses
    /// it within a few seconds.
    pub(super) fn give_back(self: &Arc<Self>, lease: Lease) {
        let Lease { association, proposed, slot, .. } = lease;
        if !association.is_ready() {
            tokio::spawn(async move {
                association.abort().await;
                drop(slot);
            });
            return;
        }
        self.state().idle.push(Idle { association, proposed, since: Instant::now(), slot });
        self.changed.notify_waiters();
        let line = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            line.release_unused(KEPT).await;
        });
    }

    async fn release_unused(&self, since: Duration) {
        let old: Vec<Idle> = {
            let mut state = self.state();
            state.idle.extract_if(.., |idle| idle.since.elapsed() >= since).collect()
        };
        for Idle { association, slot, .. } in old {
            if let Err(error) = association.release().await {
                tracing::debug!(to = %self.to.title, %error, "an unused association was over");
            }
            drop(slot);
        }
    }
}

enum Taken {
    Idle(Box<Idle>),
    Slot(Slot),
}
