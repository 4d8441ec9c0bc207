//! The one bounded pool on which pixels are decoded, encoded and rendered, for every face of the
//! node: as many at once as there are cores, within a budget of memory.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;

/// Memory that all pieces of work together may take (MiB). One piece that needs more waits until it
/// is alone.
const BUDGET_MIB: u32 = 1024;

/// Steps of answers at once. They wait for blobs more than they compute.
const STEPS: usize = 16;

/// The pool did not take the work: others were before it for too long, or it is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is busy with other images; try again")]
pub struct Busy;

/// Runs CPU-bound work off the threads that serve sockets. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Workers {
    turns: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    steps: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Semaphore::new(BUDGET_MIB as usize)),
            steps: Arc::new(Semaphore::new(STEPS)),
        }
    }

    /// Runs `work` when it is its turn, waiting for at most `patience`. `bytes` is about how much
    /// memory it takes.
    ///
    /// # Errors
    ///
    /// [`Busy`] when its turn did not come, or when the work panicked.
    pub async fn run<T, F>(&self, patience: Duration, bytes: u64, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).clamp(1, BUDGET_MIB);
        let wait = async {
            // Memory first: work that waits for it must not hold a core.
            let memory = Arc::clone(&self.memory).acquire_many_owned(mib).await;
            (memory, Arc::clone(&self.turns).acquire_owned().await)
        };
        let permits = tokio::time::timeout(patience, wait).await;
        let Ok((Ok(memory), Ok(turn))) = permits else { return Err(Busy) };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((memory, turn));
            result
        });
        done.await.map_err(|_| Busy)
    }

    /// Runs a step of an answer that is made while it is sent. It may wait for blobs, so it counts
    /// apart from work that only computes, and waits for its turn as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the work panicked.
    pub async fn step<T, F>(&self, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turn = Arc::clone(&self.steps).acquire_owned().await.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_beyond_the_budget_waits_and_gives_up() {
        let workers = Workers::new();
        let (started, is_started) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let patience = Duration::from_secs(20);
        let first = {
            let workers = workers.clone();
            tokio::spawn(async move {
                let work = move || {
                    let _ = started.send(());
                    released.recv().is_ok()
                };
                workers.run(patience, u64::MAX, work).await
            })
        };
        is_started.await.expect("the first work to start");
        assert_eq!(workers.run(Duration::from_millis(1), 1, || 1).await, Err(Busy));
        release.send(()).expect("the first work to wait");
        assert_eq!(first.await.expect("no panic"), Ok(true));
        assert_eq!(workers.run(patience, 1, || 1).await, Ok(1));
    }
}
