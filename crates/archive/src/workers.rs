//! The one bounded pool on which pixels are decoded, encoded and rendered, for every face of the
//! node: as many at once as there are cores, within a budget of memory.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of the memory budget (bytes).
const UNIT: u64 = 1 << 20;

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
pub struct Memory(pub(crate) OwnedSemaphorePermit);

impl Memory {
    /// Gives back what is beyond `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let kept = units(bytes);
        let held = self.0.num_permits() as u64;
        if kept < held {
            drop(self.0.split((held - kept) as usize));
        }
    }

    /// Binds what is set aside to `bytes`, as much as they take: until the last reference to them is
    /// gone, which for an answer is when it was written or its client went away.
    pub fn hold(mut self, bytes: Vec<u8>) -> Bytes {
        self.shrink(bytes.capacity() as u64);
        Bytes::from_owner(Held { bytes, _memory: self })
    }
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
    memory: Arc<Semaphore>,
    /// All of `memory`.
    budget: u64,
    steps: Arc<Semaphore>,
}

impl Workers {
    /// As many pieces of work at once as there are cores, with `memory` bytes for all together.
    pub(crate) fn new(memory: u64) -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        // Permits are taken by 32-bit numbers.
        let budget = (memory / UNIT).clamp(1, u64::from(u32::MAX >> 4));
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Semaphore::new(budget as usize)),
            budget,
            steps: Arc::new(Semaphore::new(STEPS)),
        }
    }

    /// Sets `bytes` aside, before anything of the kind is read, when it is this caller's turn,
    /// waiting for at most `patience`. Who came first is first, however much it needs.
    ///
    /// # Errors
    ///
    /// See [`Busy`].
    pub async fn reserve(&self, patience: Duration, bytes: u64) -> Result<Memory, Busy> {
        let needs = units(bytes);
        let budget = self.budget;
        let count = u32::try_from(needs).ok().filter(|_| needs <= budget);
        let count = count.ok_or(Busy::TooLarge { needs, budget })?;
        let permit = Arc::clone(&self.memory).acquire_many_owned(count);
        match tokio::time::timeout(patience, permit).await {
            Ok(Ok(permit)) => Ok(Memory(permit)),
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
        let turn = tokio::time::timeout(patience, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Busy::Others) };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((memory, turn));
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
        let rest = workers.reserve(PATIENCE, 5 << 20).await.expect("what was given back");
        assert_eq!(workers.reserve(NONE, 1).await.err(), Some(Busy::Others));
        drop((slice, rest));
        assert!(workers.reserve(NONE, 8 << 20).await.is_ok());
    }
}
