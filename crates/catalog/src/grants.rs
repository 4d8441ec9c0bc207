//! Grants: what a tenant lets other tenants, persons and holders of links see of its studies.
//!
//! A grant is a row and nothing else: each statement that reads for a scope with a
//! [`Viewer`](qianli_model::grant::Viewer) holds the rows of that moment against the studies
//! (`reach`), so that a revoked or ended grant shows nothing from the next statement on.

mod links;
pub(crate) mod reach;
mod read;
pub(crate) mod write;

use qianli_model::TenantId;
use qianli_model::grant::{Priors, Subject};

use crate::access::Tenant;

pub use read::Which;

/// For whom a grant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Everybody in a tenant who may read studies.
    Tenant(TenantId),
    /// One person, by key.
    Person(i64),
    /// Whoever holds a share link, by its key.
    Link(i64),
}

/// How a grant came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The tenant shared what is its own.
    Share,
    /// Somebody passed on what was shared with them.
    Reshare,
    /// It belongs to a share link.
    Link,
    /// Somebody broke the glass.
    Emergency,
}

impl Origin {
    const ALL: [Self; 4] = [Self::Share, Self::Reshare, Self::Link, Self::Emergency];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Reshare => "reshare",
            Self::Link => "link",
            Self::Emergency => "emergency",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// What a new grant is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// What is shared.
    pub subject: Subject,
    /// Which earlier studies follow.
    pub priors: Priors,
    /// With whom.
    pub to: Recipient,
    /// Whether files may be taken away, not only looked at.
    pub download: bool,
    /// Whether a tenant may pass it on.
    pub reshare: bool,
    /// Key of the project under whose pseudonyms it is shared; `None` for as it is.
    pub project: Option<i64>,
    /// What for, in the words of whoever shares.
    pub purpose: String,
    /// Login of whoever shares.
    pub created_by: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it ends (ms since 1970); 0 for never.
    pub expires_ms: i64,
}

/// A grant, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Key in the catalog.
    pub id: i64,
    /// What is shared.
    pub subject: Subject,
    /// Which earlier studies follow.
    pub priors: Priors,
    /// With whom.
    pub to: Recipient,
    /// The recipient in words: name of the tenant, login of the person, words of the link.
    pub to_name: String,
    /// Whether files may be taken away.
    pub download: bool,
    /// Whether it may be passed on.
    pub reshare: bool,
    /// The project under whose pseudonyms it is shared; empty for as it is.
    pub project: String,
    /// What for.
    pub purpose: String,
    /// How it came to be.
    pub origin: Origin,
    /// Login of whoever shared.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
    /// When it ends (ms since 1970); 0 for never.
    pub expires_ms: i64,
    /// When it was revoked (ms since 1970); 0 while it is not.
    pub revoked_ms: i64,
    /// When somebody of the owner looked at it (ms since 1970); 0 while nobody did. Asked for when the
    /// glass was broken.
    pub reviewed_ms: i64,
    /// Who that was.
    pub reviewed_by: String,
}

impl Grant {
    /// Whether it shows anything now.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_ms == 0 && (self.expires_ms == 0 || self.expires_ms > now_ms)
    }
}

/// A tenant that shares something with a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharer {
    /// Whose studies they are.
    pub tenant: Tenant,
    /// Whether one of the grants is by rule.
    pub by_rule: bool,
    /// Whether one of the grants may be passed on.
    pub reshare: bool,
}

/// A project of de-identification, which gives the same pseudonyms each time.
#[derive(Clone, PartialEq, Eq)]
pub struct Project {
    /// Key in the catalog.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What its pseudonyms are computed with.
    pub secret: String,
}

/// What a new share link is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLink {
    /// Digest of the link's secret.
    pub secret: String,
    /// Hash of its code with its parameters; empty when none is asked for.
    pub code: String,
    /// Whom it is for, in the words of whoever makes it.
    pub name: String,
    /// What it opens.
    pub subject: Subject,
    /// Which earlier studies follow.
    pub priors: Priors,
    /// Whether files may be taken away.
    pub download: bool,
    /// Key of the project under whose pseudonyms it is shared; `None` for as it is.
    pub project: Option<i64>,
    /// How often it can be opened; `None` for any number.
    pub views: Option<u32>,
    /// What for.
    pub purpose: String,
    /// Login of whoever makes it.
    pub created_by: String,
    /// Now (ms since 1970).
    pub at_ms: i64,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
}

/// A share link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    /// Key in the catalog.
    pub id: i64,
    /// Whose studies it opens.
    pub tenant: Tenant,
    /// Hash of its code; empty when none is asked for.
    pub code: String,
    /// Whom it is for.
    pub name: String,
    /// Whether files may be taken away.
    pub download: bool,
    /// How often it can still be opened; `None` for any number.
    pub views_left: Option<u32>,
    /// How often it was opened.
    pub views: i64,
    /// No further code is tried before this moment (ms since 1970).
    pub locked_until_ms: i64,
    /// Login of whoever made it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
    /// When it ends (ms since 1970).
    pub expires_ms: i64,
    /// When it was revoked (ms since 1970); 0 while it is not.
    pub revoked_ms: i64,
    /// When it was last opened (ms since 1970); 0 for never.
    pub used_ms: i64,
}

impl ShareLink {
    /// Whether it opens anything now.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_ms == 0 && self.expires_ms > now_ms
    }
}
