//! A limit on bytes per second that several associations share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hands out time: whoever takes bytes waits until those before it are through.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes per second; 0 for no limit.
    limit: u64,
    next: Mutex<Option<Instant>>,
}

impl Rate {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, next: Mutex::new(None) }
    }

    /// Whether there is a limit at all.
    pub(super) fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// Waits until `bytes` more may be sent.
    pub(super) async fn take(&self, bytes: usize) {
        let start = self.reserve(Instant::now(), bytes);
        if let Some(start) = start {
            sleep_until(start).await;
        }
    }

    fn reserve(&self, now: Instant, bytes: usize) -> Option<Instant> {
        let nanos = (bytes as u128).saturating_mul(1_000_000_000).checked_div(self.limit.into())?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = next.map_or(now, |next| next.max(now));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *next = start.checked_add(time);
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_whoever_asks() {
        let rate = Rate::new(1000);
        let now = Instant::now();
        assert_eq!(rate.reserve(now, 500), Some(now));
        assert_eq!(rate.reserve(now, 250), Some(now + Duration::from_millis(500)));
        assert_eq!(rate.reserve(now, 1), Some(now + Duration::from_millis(750)));
        let later = now + Duration::from_secs(9);
        assert_eq!(rate.reserve(later, 1), Some(later), "what was not used is not saved up");
        assert!(!Rate::new(0).is_limited());
        assert_eq!(Rate::new(0).reserve(now, 1 << 30), None);
    }
}
