//! Guesses at passwords, and how they are slowed down (OWASP ASVS 2.2.1): by address, by account and
//! address, and by account.
//!
//! All of it is in the memory of this node, and treats logins that nobody has like those that somebody
//! has: what is slowed down says nothing about who has an account. A stranger who guesses at an
//! account slows down other strangers, and not the addresses from which its owner has logged in.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use qianli_model::address;

use crate::rate::RateLimiter;

/// Failed logins from one address at once, and the time after which as many are possible again. This
/// is against guesses at many accounts.
const ADDRESS: (u32, Duration) = (30, Duration::from_secs(15 * 60));

/// The same from one address at one account: five, then one every five minutes.
const PAIR: (u32, Duration) = (5, Duration::from_secs(25 * 60));

/// The same at one account from all addresses that its owner does not use. No more than 80 in an hour.
const ACCOUNT: (u32, Duration) = (40, Duration::from_secs(60 * 60));

/// Logins at a provider that one address may begin at once, each of which leaves a row for a while, and
/// the time after which as many are possible again: a hospital behind one address begins many in the
/// morning.
const BEGUN: (u32, Duration) = (600, Duration::from_secs(10 * 60));

/// Patients of other tenants whom one person may ask for in an emergency at once, and the time after
/// which as many are possible again.
const EMERGENCY: (u32, Duration) = (10, Duration::from_secs(60 * 60));

/// How often one patient may be asked for by all of them: rarely enough to find no birth date, and
/// often enough that one person's guesses keep no doctor away.
const SOUGHT: (u32, Duration) = (60, Duration::from_secs(60 * 60));

/// Accounts with addresses from which their owners logged in.
const HOMES: usize = 65_536;

/// A login, as it is remembered: nobody finds in memory what was typed into the wrong field.
type Login = u64;

/// Failed logins.
pub(crate) struct Guesses {
    addresses: Option<RateLimiter<IpAddr>>,
    begun: Option<RateLimiter<IpAddr>>,
    pairs: Option<RateLimiter<(Login, Option<IpAddr>)>>,
    accounts: Option<RateLimiter<Login>>,
    emergencies: Option<RateLimiter<i64>>,
    sought: Option<RateLimiter<u64>>,
    homes: quick_cache::sync::Cache<(Login, Option<IpAddr>), ()>,
    hashes: RandomState,
}

/// A try to log in. It counts as failed unless it is said to have succeeded.
pub(crate) struct Attempt {
    pair: (Login, Option<IpAddr>),
    /// It counts at the account, too.
    counted: bool,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        Self {
            addresses: RateLimiter::new(ADDRESS.0, ADDRESS.1),
            begun: RateLimiter::new(BEGUN.0, BEGUN.1),
            pairs: RateLimiter::new(PAIR.0, PAIR.1),
            accounts: RateLimiter::new(ACCOUNT.0, ACCOUNT.1),
            emergencies: RateLimiter::new(EMERGENCY.0, EMERGENCY.1),
            sought: RateLimiter::new(SOUGHT.0, SOUGHT.1),
            homes: quick_cache::sync::Cache::new(HOMES),
            hashes: RandomState::new(),
        }
    }

    /// Whether `peer` may try; if not, how long until it may. Loopback, where a proxy may stand, is
    /// not counted.
    pub(crate) fn check(&self, peer: &str) -> Result<(), Duration> {
        counted(self.addresses.as_ref(), peer, RateLimiter::check)
    }

    /// Notes that `peer` failed.
    pub(crate) fn failed(&self, peer: &str) {
        // The answer to this one is given; the next is asked for by `check`.
        let _ = counted(self.addresses.as_ref(), peer, RateLimiter::take);
    }

    /// Takes a turn of a person to ask for a patient of another tenant, right or wrong, before anybody
    /// looks; or says how long until there is one.
    pub(crate) fn emergency(&self, person: i64, patient: (&str, &str)) -> Result<(), Duration> {
        let now = Instant::now();
        self.emergencies.as_ref().map_or(Ok(()), |limiter| limiter.take(person, now))?;
        let patient = self.hashes.hash_one(patient);
        self.sought.as_ref().map_or(Ok(()), |limiter| limiter.take(patient, now))
    }

    /// Takes a turn of `peer` to begin a login at a provider, or says how long until it has one.
    pub(crate) fn begin(&self, peer: &str) -> Result<(), Duration> {
        counted(self.begun.as_ref(), peer, RateLimiter::take)
    }

    /// Begins a try to log in, which is counted before anything is compared, so that many at once are
    /// no more than one after the other.
    ///
    /// # Errors
    ///
    /// There were too many; how long until the next.
    pub(crate) fn attempt(&self, login: &str, peer: &str) -> Result<Attempt, Duration> {
        self.attempt_at(login, peer, Instant::now())
    }

    fn attempt_at(&self, login: &str, peer: &str, now: Instant) -> Result<Attempt, Duration> {
        let peer = peer.parse::<IpAddr>().ok();
        let login = self.hashes.hash_one(login.to_lowercase());
        let pair = (login, peer.map(address::caller));
        if let Some(pairs) = &self.pairs {
            pairs.take(pair, now)?;
        }
        let home = peer.is_none_or(address::is_loopback) || self.homes.get(&pair).is_some();
        let accounts = self.accounts.as_ref().filter(|_| !home);
        if let Some(accounts) = accounts {
            accounts.take(login, now)?;
        }
        Ok(Attempt { pair, counted: accounts.is_some() })
    }

    /// The try succeeded: those before it are forgiven to this address, and it is no stranger any more.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        if let Some(pairs) = &self.pairs {
            pairs.forgive(&attempt.pair);
        }
        if let Some(accounts) = &self.accounts
            && attempt.counted
        {
            accounts.give_back(&attempt.pair.0);
        }
        self.homes.insert(attempt.pair, ());
    }

    /// Whether strangers can try no more passwords at this account for a while.
    pub(crate) fn slowed(&self, login: &str) -> bool {
        let login = self.hashes.hash_one(login.to_lowercase());
        self.accounts.as_ref().is_some_and(|all| all.check(login, Instant::now()).is_err())
    }
}

/// Asks a limiter of addresses about `peer`, unless it is loopback.
fn counted(
    limiter: Option<&RateLimiter<IpAddr>>,
    peer: &str,
    ask: impl FnOnce(&RateLimiter<IpAddr>, IpAddr, Instant) -> Result<(), Duration>,
) -> Result<(), Duration> {
    match (limiter, peer.parse::<IpAddr>()) {
        (Some(limiter), Ok(peer)) if !address::is_loopback(peer) => {
            ask(limiter, address::caller(peer), Instant::now())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "192.0.2.1";

    #[test]
    fn five_guesses_then_one_every_five_minutes_whoever_it_is() {
        let guesses = Guesses::new();
        let start = Instant::now();
        for login in ["admin", "nobody-has-this"] {
            let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
            let right = |minutes: u64| {
                let now = at(minutes);
                (0..20).filter(|_| guesses.attempt_at(login, OWNER, now).is_ok()).count()
            };
            assert_eq!((right(0), right(1), right(5), right(20)), (5, 0, 1, 3), "{login}");
            assert!(guesses.attempt_at(login, "192.0.2.2", start).is_ok(), "another address");
        }
    }

    #[test]
    fn strangers_slow_down_strangers_and_not_the_owner() {
        let guesses = Guesses::new();
        let start = Instant::now();
        let own = guesses.attempt_at("Admin", OWNER, start).expect("a first try");
        guesses.succeeded(&own);
        let strangers = (0..200).map(|number| format!("198.51.100.{number}"));
        let let_in =
            strangers.filter(|one| guesses.attempt_at("admin", one, start).is_ok()).count();
        assert_eq!(let_in, 40, "from all addresses together");
        assert!(guesses.slowed("ADMIN"));
        assert!(guesses.attempt_at("admin", OWNER, start).is_ok(), "the owner comes in");
        assert!(guesses.attempt_at("other", "198.51.100.9", start).is_ok(), "another account");
        let hour = start + Duration::from_secs(3600);
        let later = (0..200).map(|number| format!("203.0.113.{number}"));
        let let_in = later.filter(|one| guesses.attempt_at("admin", one, hour).is_ok()).count();
        assert!(let_in <= 40, "{let_in}");
    }

    #[test]
    fn a_right_password_forgives() {
        let guesses = Guesses::new();
        for _ in 0..50 {
            let attempt = guesses.attempt("li", OWNER).expect("never too many");
            guesses.succeeded(&attempt);
        }
        assert!(!guesses.slowed("li"));
    }
}
