//! Logins by the accounts of a hospital (OpenID Connect), and tokens that its identity provider
//! gives to programs. Settings and what is remembered of issuers are here; the parts are below.
//!
//! Not here: the pages (`portal::oidc`) and the rows (`qianli_catalog::access`). Signatures are
//! checked by ring behind `jsonwebtoken`; nothing of it is ours.

mod claims;
mod flow;
mod issuer;
mod machine;
mod refresh;
mod seal;
mod token;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use qianli_model::{Permissions, Role};

pub(crate) use flow::{Callback, Failure, begin, clear_cookie, cookie_name, finish};
use issuer::Issuer;
pub use issuer::is_safe_url;
pub(crate) use machine::machine;
pub(crate) use refresh::{end_at_provider, still_welcome};

/// A text that is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Gives something in a tenant to whoever has a value in a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<T> {
    /// Name of the claim; a path such as `realm_access.roles` leads into objects.
    pub claim: String,
    /// The value, or one of several; `*` for any.
    pub value: String,
    /// Short name of the tenant.
    pub tenant: String,
    /// What is given there.
    pub gives: T,
}

/// An identity provider at which people log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Short name in URLs.
    pub name: String,
    /// What the button of the login page says.
    pub label: String,
    /// The issuer, exactly as its discovery document and its tokens write it.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// Our secret there; without one we are a public client, which PKCE alone protects.
    pub client_secret: Option<Hidden>,
    /// What is asked for, `openid` among it.
    pub scopes: Vec<String>,
    /// After this time the provider is asked whether a session may go on, when it gave a refresh
    /// token.
    pub recheck: Duration,
    /// Who is what in which tenant.
    pub rules: Vec<Rule<Vec<Role>>>,
}

/// An identity provider whose tokens programs may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// The issuer, exactly as its discovery document and its tokens write it.
    pub issuer: String,
    /// What has to stand in the audience of a token: this archive.
    pub audience: String,
    /// What programs may do in which tenant. Never to administer.
    pub rules: Vec<Rule<Permissions>>,
}

/// What is remembered of the issuers in the settings.
pub(crate) struct Issuers(Vec<Arc<Issuer>>);

impl Issuers {
    pub(crate) fn new(people: &[Provider], machines: &[Machines]) -> Self {
        let people = people.iter().map(|provider| provider.issuer.as_str());
        let mut urls: Vec<&str> =
            people.chain(machines.iter().map(|one| one.issuer.as_str())).collect();
        urls.sort_unstable();
        urls.dedup();
        Self(urls.into_iter().map(|url| Arc::new(Issuer::new(url))).collect())
    }

    fn of(&self, url: &str) -> Option<&Arc<Issuer>> {
        self.0.iter().find(|issuer| issuer.url() == url)
    }
}

/// Why something at a provider did not work. For our log: whoever waits at the browser gets the
/// page for its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It does not answer, or says that it cannot now.
    #[error("the identity provider is not available: {0}")]
    Unavailable(String),
    /// Its answer is not what OpenID Connect describes.
    #[error("the identity provider's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// It says no, by an error code of OAuth 2.0.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// A token of it is not to be believed.
    #[error("the token is not valid: {0}")]
    Token(String),
}

impl Trouble {
    /// Whether the same may work later without anybody changing anything.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Nonsense(_))
    }
}
