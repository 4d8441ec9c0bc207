//! The one bounded pool on which pixels are decoded, encoded and rendered, for every face of the
//! node: as many at once as there are cores, within a budget of memory.
//!
//! What takes much memory takes long. Small work does not wait behind it: a part of the memory is for
//! small work alone, and so is one core, where there are several.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of the memory budget (bytes).
const UNIT: u64 = 1 << 20;

/// The part of the budget that is for small work alone.
const RESERVE: u64 = 4;

/// The part of the budget up to which work is small, and from which on it is large.
const SMALL: u64 = 16;
const LARGE: u64 = 8;

/// Steps of answers at once. They wait for blobs more than they compute.
const STEPS: usize = 16;

/// Why the pool did not take the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Others were before it for too long, or the pool is shutting down.
    #[error("the server is busy with other images; try again")]
    Others,
    /// It takes more memory than is set aside for all work together, so waiting does not help.
    #[error(
        "converting this image takes about {needs} MiB of memory, and {budget} MiB are set aside here"
    )]
    TooLarge {
        /// What it takes (MiB).
        needs: u64,
        /// What there is (MiB).
        budget: u64,
    },
}

/// Memory that was set aside in a budget; dropping it makes room for others.
#[derive(Debug)]
pub struct Memory {
    permit: OwnedSemaphorePermit,
    /// What was taken from the reserve, since the rest did not suffice.
    beyond: Option<OwnedSemaphorePermit>,
    /// The work that it is for is large.
    large: bool,
}

impl Memory {
    /// Memory of another budget.
    pub(crate) fn of(permit: OwnedSemaphorePermit) -> Self {
        Self { permit, beyond: None, large: false }
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let kept = units(bytes);
        let beyond = self.beyond.as_ref().map_or(0, |permit| permit.num_permits() as u64);
        let mut excess = (beyond + self.permit.num_permits() as u64).saturating_sub(kept);
        if let Some(permit) = &mut self.beyond {
            let given = excess.min(beyond);
            drop(permit.split(given as usize));
            excess -= given;
        }
        if excess > 0 {
            drop(self.permit.split(excess as usize));
        }
    }

    /// Binds what is set aside to `bytes`, as much as they take: until the last reference to them is
    /// gone, which for an answer is when it was written or its client went away.
    pub fn hold(mut self, bytes: Vec<u8>) -> Bytes {
        self.shrink(bytes.capacity() as u64);
        Bytes::from_owner(Held { bytes, _memory: self })
    }
}

/// What work waits with for its turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'m> {
    /// How long it waits at most.
    pub patience: Duration,
    /// What was set aside for it.
    pub memory: &'m Memory,
}

struct Held {
    bytes: Vec<u8>,
    _memory: Memory,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT).max(1)
}

/// Runs CPU-bound work off the threads that serve sockets. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Workers {
    turns: Arc<Semaphore>,
    /// Turns of large work, which needs one of `turns` too.
    large_turns: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// Memory for small work, and the last resort of what needs more than `memory` has.
    reserve: Arc<Semaphore>,
    /// All of `memory` and `reserve`.
    budget: u64,
    steps: Arc<Semaphore>,
}

impl Workers {
    /// As many pieces of work at once as there are cores, with `memory` bytes for all together.
    pub(crate) fn new(memory: u64) -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        // Permits are taken by 32-bit numbers.
        let budget = (memory / UNIT).clamp(1, u64::from(u32::MAX >> 4));
        let reserve = budget / RESERVE;
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            large_turns: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            memory: Arc::new(Semaphore::new((budget - reserve) as usize)),
            reserve: Arc::new(Semaphore::new(reserve as usize)),
            budget,
            steps: Arc::new(Semaphore::new(STEPS)),
        }
    }

    /// Sets `bytes` aside, before anything of the kind is read, when it is this caller's turn,
    /// waiting for at most `patience`. Who came first is first, however much it needs, except that
    /// what needs little may take it from the reserve.
    ///
    /// # Errors
    ///
    /// See [`Busy`].
    pub async fn reserve(&self, patience: Duration, bytes: u64) -> Result<Memory, Busy> {
        let needs = units(bytes);
        let budget = self.budget;
        if needs > budget {
            return Err(Busy::TooLarge { needs, budget });
        }
        let take = |from: &Arc<Semaphore>, count: u64| {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            Arc::clone(from).acquire_many_owned(count)
        };
        let common = budget - budget / RESERVE;
        let large = needs > budget / LARGE;
        let taken = async {
            if needs <= (budget / SMALL).max(1) && common < budget {
                let permit = tokio::select! {
                    biased;
                    permit = take(&self.reserve, needs) => permit,
                    permit = take(&self.memory, needs) => permit,
                }?;
                return Ok(Memory { permit, beyond: None, large });
            }
            let permit = take(&self.memory, needs.min(common)).await?;
            let beyond = match needs.saturating_sub(common) {
                0 => None,
                beyond => Some(take(&self.reserve, beyond).await?),
            };
            Ok::<_, tokio::sync::AcquireError>(Memory { permit, beyond, large })
        };
        match tokio::time::timeout(patience, taken).await {
            Ok(Ok(memory)) => Ok(memory),
            _ => Err(Busy::Others),
        }
    }

    /// Runs `work` when it is its turn, waiting for at most `patience`. `bytes` is about how much
    /// memory it takes beside what was reserved for it.
    ///
    /// # Errors
    ///
    /// See [`Busy`]; also when the work panicked.
    pub async fn run<T, F>(&self, patience: Duration, bytes: u64, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // Memory first: work that waits for it must not hold a core.
        let memory = if bytes > 0 { Some(self.reserve(patience, bytes).await?) } else { None };
        let large = memory.as_ref().is_some_and(|memory| memory.large);
        let work = move || {
            let result = work();
            drop(memory);
            result
        };
        self.in_turn(patience, large, work).await
    }

    /// Runs `work`, for which `memory` was set aside, when it is its turn, waiting for at most
    /// `patience`.
    ///
    /// # Errors
    ///
    /// [`Busy::Others`], also when the work panicked.
    pub async fn run_with<T, F>(
        &self,
        patience: Duration,
        memory: &Memory,
        work: F,
    ) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.in_turn(patience, memory.large, work).await
    }

    async fn in_turn<T, F>(&self, patience: Duration, large: bool, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turns = async {
            let large = match large {
                true => Some(Arc::clone(&self.large_turns).acquire_owned().await?),
                false => None,
            };
            let turn = Arc::clone(&self.turns).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>((large, turn))
        };
        let Ok(Ok(turns)) = tokio::time::timeout(patience, turns).await else {
            return Err(Busy::Others);
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turns);
            result
        });
        done.await.map_err(|_| Busy::Others)
    }

    /// Runs a step of an answer that is made while it is sent. It may wait for blobs, so it counts
    /// apart from work that only computes, and waits for its turn as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Busy::Others`] when the work panicked.
    pub async fn step<T, F>(&self, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turn = Arc::clone(&self.steps).acquire_owned().await.map_err(|_| Busy::Others)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Busy::Others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NONE: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn work_beyond_the_budget_waits_gives_up_or_is_refused() {
        let workers = Workers::new(8 << 20);
        let (started, is_started) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let first = {
            let workers = workers.clone();
            tokio::spawn(async move {
                let work = move || {
                    let _ = started.send(());
                    released.recv().is_ok()
                };
                workers.run(PATIENCE, 8 << 20, work).await
            })
        };
        is_started.await.expect("the first work to start");
        assert_eq!(workers.run(NONE, 1, || 1).await, Err(Busy::Others));
        release.send(()).expect("the first work to wait");
        assert_eq!(first.await.expect("no panic"), Ok(true));
        assert_eq!(workers.run(PATIENCE, 1, || 1).await, Ok(1));
        let refused = Busy::TooLarge { needs: 9, budget: 8 };
        assert_eq!(workers.run(PATIENCE, (8 << 20) + 1, || 1).await, Err(refused));
    }

    #[tokio::test]
    async fn memory_stays_set_aside_while_the_bytes_are_held() {
        let workers = Workers::new(8 << 20);
        let memory = workers.reserve(PATIENCE, 8 << 20).await.expect("all of it");
        assert_eq!(workers.reserve(NONE, 1).await.err(), Some(Busy::Others));
        let bytes = memory.hold(vec![7; 3 << 20]);
        let slice = bytes.slice(5..6);
        drop(bytes);
        let rest = workers.reserve(PATIENCE, 3 << 20).await.expect("what was given back");
        let few = (workers.reserve(PATIENCE, 1).await, workers.reserve(PATIENCE, 1).await);
        assert!(few.0.is_ok() && few.1.is_ok(), "of the reserve");
        assert_eq!(workers.reserve(NONE, 1).await.err(), Some(Busy::Others));
        drop((slice, rest, few));
        assert!(workers.reserve(NONE, 8 << 20).await.is_ok());
    }

    #[tokio::test]
    async fn small_work_does_not_wait_behind_large() {
        let workers = Workers::new(64 << 20);
        let held = workers.reserve(PATIENCE, 40 << 20).await.expect("room");
        let waiting = {
            let workers = workers.clone();
            tokio::spawn(async move { workers.reserve(PATIENCE, 48 << 20).await })
        };
        tokio::task::yield_now().await;
        for _ in 0..3 {
            let small = workers.reserve(NONE, 4 << 20).await.expect("a place in the reserve");
            assert_eq!(workers.run_with(PATIENCE, &small, || 1).await, Ok(1));
        }
        assert_eq!(workers.reserve(NONE, 5 << 20).await.err(), Some(Busy::Others), "not small");
        drop(held);
        assert!(waiting.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn large_work_leaves_a_core_to_small() {
        let workers = Workers::new(64 << 20);
        let cores = workers.turns.available_permits();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let large: Vec<_> = (0..3)
            .map(|_| {
                let (workers, released) = (workers.clone(), Arc::clone(&released));
                tokio::spawn(async move {
                    let memory = workers.reserve(PATIENCE, 9 << 20).await?;
                    let work = move || released.lock().map(|one| one.recv().is_ok()).is_ok();
                    workers.run_with(PATIENCE, &memory, work).await
                })
            })
            .collect();
        if cores > 1 {
            let small = workers.reserve(PATIENCE, 1).await.expect("room");
            assert_eq!(workers.run_with(PATIENCE, &small, || 1).await, Ok(1));
        }
        for _ in 0..3 {
            release.send(()).expect("somebody to wait");
        }
        for one in large {
            assert_eq!(one.await.expect("no panic"), Ok(true));
        }
    }
}
