//! The one door: who is behind an HTTP request, and whether they may do what it asks.
//!
//! `identify` looks at each request once and leaves a `Caller` with it, or none. Every route
//! carries a `Needs`, which `guard` holds the caller against; handlers take the caller from the
//! request, so that one without a guard in front cannot be reached by nobody.

pub(crate) mod factor;
mod guard;
mod guesses;
mod identify;
pub mod login;
pub mod oidc;
pub mod proof;
pub mod secret;

use std::time::Duration;

pub(crate) use guard::{Needs, guard, guard_page, require};
pub(crate) use guesses::Guesses;
pub(crate) use identify::{
    Door, Found, LinkPath, Standing, TenantPath, below_tenant, cookie, cookie_of, identify,
};

/// The cookie of a browser that has opened a share link; it is sent below the path of that link only.
pub(crate) const VISIT: &str = "qianli-visit";

/// How people and programs log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logins {
    /// A session ends after this time at the latest.
    pub lifetime: Duration,
    /// A session that is not used for this time ends.
    pub idle: Duration,
    /// Whether browsers reach this node by HTTPS only, so that cookies are never sent otherwise.
    pub https: bool,
}

/// Milliseconds since 1970-01-01T00:00Z.
pub(crate) fn now_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(elapsed.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
