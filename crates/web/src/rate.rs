//! How often somebody may ask: a bucket of turns per key, which refills steadily.
//!
//! Memory is bounded and there is no background work. A key that has its turns back is the same as a
//! key that was never seen, so it can be forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_model::address;

use crate::WebState;
use crate::error::HttpError;

/// Keys that are remembered at one time. Further keys share one bucket until others are forgotten,
/// so that nobody escapes by using many.
const MOST_KEYS: usize = 65_536;

/// How often a full table is searched for keys to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Seconds of requests that an address may save up.
const BURST_SECONDS: u32 = 5;

/// Gives each key its turns.
#[derive(Debug)]
pub struct RateLimiter<K> {
    /// Time in which one turn comes back.
    every: Duration,
    /// Time in which an empty bucket fills.
    full: Duration,
    most: usize,
    state: Mutex<Buckets<K>>,
}

/// A bucket is kept as the moment when it will be full again: then there is nothing to refill.
#[derive(Debug)]
struct Buckets<K> {
    full_at: HashMap<K, Instant>,
    /// The bucket of all keys that found no room.
    others: Option<Instant>,
    swept: Option<Instant>,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// `burst` turns at once; an empty bucket is full again after `period`. `None` when either is
    /// nothing.
    pub fn new(burst: u32, period: Duration) -> Option<Self> {
        let every = period.checked_div(burst)?;
        let state = Buckets { full_at: HashMap::new(), others: None, swept: None };
        let state = Mutex::new(state);
        (!every.is_zero()).then_some(Self { every, full: period, most: MOST_KEYS, state })
    }

    /// Takes a turn of `key`.
    ///
    /// # Errors
    ///
    /// There is none left; how long until there is one.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.turn(key, now, true)
    }

    /// Whether `key` has a turn; takes none.
    ///
    /// # Errors
    ///
    /// As [`Self::take`].
    pub fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.turn(key, now, false)
    }

    /// Gives back a turn that was taken.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = buckets.full_at.get_mut(key) {
            *full = full.checked_sub(self.every).unwrap_or(*full);
        }
    }

    /// Fills the bucket of `key`.
    pub fn forgive(&self, key: &K) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).full_at.remove(key);
    }

    fn turn(&self, key: K, now: Instant, take: bool) -> Result<(), Duration> {
        let mut buckets = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { full_at, others, swept } = &mut *buckets;
        if full_at.len() >= self.most && !full_at.contains_key(&key) {
            let due = swept.is_none_or(|last| now.duration_since(last) >= SWEEP_EVERY);
            if due {
                *swept = Some(now);
                full_at.retain(|_, full| *full > now);
            }
        }
        let known = full_at.len() < self.most || full_at.contains_key(&key);
        let bucket = match known {
            true => full_at.entry(key).or_insert(now),
            false => others.get_or_insert(now),
        };
        // What was full for a while holds no more than what is full now.
        let taken = (*bucket).max(now) + self.every;
        let over = taken.duration_since(now).saturating_sub(self.full);
        if !over.is_zero() {
            return Err(over);
        }
        if take {
            *bucket = taken;
        }
        Ok(())
    }
}

/// 429 with the time after which to try again, in whole seconds.
pub(crate) fn too_many(wait: Duration, message: &'static str) -> Response {
    let mut response = HttpError::new(StatusCode::TOO_MANY_REQUESTS, message).into_response();
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// How many requests addresses may send; see [`crate::WebConfig::requests_per_second`].
#[derive(Debug)]
pub(crate) struct PerAddress {
    remote: Option<RateLimiter<IpAddr>>,
    loopback: Option<RateLimiter<IpAddr>>,
}

impl PerAddress {
    /// Requests per second; 0 for no limit.
    pub(crate) fn new(per_second: address::PerAddress) -> Self {
        let limiter = |number: usize| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let period = Duration::from_secs(u64::from(BURST_SECONDS));
            RateLimiter::new(number.saturating_mul(BURST_SECONDS), period)
        };
        Self { remote: limiter(per_second.remote), loopback: limiter(per_second.loopback) }
    }
}

/// Takes a turn of the address that a request comes from.
///
/// # Errors
///
/// It sends too many; how long until it may go on.
pub(crate) fn limit(state: &WebState, peer: Option<IpAddr>) -> Result<(), Duration> {
    let limits = state.per_address();
    let Some(peer) = peer else { return Ok(()) };
    let limiter = if address::is_loopback(peer) { &limits.loopback } else { &limits.remote };
    match limiter {
        Some(limiter) => limiter.take(address::caller(peer), Instant::now()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_run_out_and_come_back() {
        let limiter = RateLimiter::new(3, Duration::from_secs(30)).unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", start), Ok(()));
        }
        assert_eq!(limiter.take("a", start), Err(Duration::from_secs(10)));
        assert_eq!(limiter.take("a", at(4)), Err(Duration::from_secs(6)), "asking costs nothing");
        assert_eq!(limiter.take("b", start), Ok(()), "others are not concerned");
        limiter.give_back(&"a");
        assert_eq!(limiter.take("a", start), Ok(()));
        assert!(limiter.take("a", start).is_err());
        assert_eq!(limiter.take("a", at(10)), Ok(()));
        assert!(limiter.take("a", at(10)).is_err());
        // A long rest gives no more than a full bucket.
        let results: Vec<_> = (0..4).map(|_| limiter.take("a", at(1000)).is_ok()).collect();
        assert_eq!(results, [true, true, true, false]);
        assert!(limiter.check("a", at(1000)).is_err());
        for _ in 0..9 {
            assert_eq!(limiter.check("a", at(1010)), Ok(()), "looking takes no turn");
        }
        limiter.forgive(&"a");
        assert_eq!((0..4).filter(|_| limiter.take("a", at(1010)).is_ok()).count(), 3);
    }

    #[test]
    fn many_keys_take_no_more_memory_and_give_no_more_turns() {
        let mut limiter = RateLimiter::new(2, Duration::from_secs(10)).unwrap();
        limiter.most = 10;
        let start = Instant::now();
        let taken = (0..1000).filter(|key| limiter.take(*key, start).is_ok()).count();
        assert_eq!(taken, 10 + 2, "ten keys and the bucket of all others");
        assert_eq!(limiter.state.lock().unwrap().full_at.len(), 10);
        let later = start + Duration::from_secs(10);
        assert_eq!(limiter.take(5000, later), Ok(()), "keys with all their turns are forgotten");
        assert_eq!(limiter.state.lock().unwrap().full_at.len(), 1);
    }

    #[test]
    fn nothing_is_no_limit() {
        assert!(RateLimiter::<u8>::new(0, Duration::from_secs(1)).is_none());
        assert!(RateLimiter::<u8>::new(1, Duration::ZERO).is_none());
    }
}
