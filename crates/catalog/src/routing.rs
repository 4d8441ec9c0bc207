//! Routing: rules, DICOMweb destinations, and deliveries: one study on its way to one destination.
//!
//! What rules mean is decided in `qianli_model::routing`; here are the rows. A delivery is a job of its own kind:
//! it is made in one transaction with nothing of it lost by a crash, since what makes it (`study.settled`) is done
//! only afterwards, and making it twice is making it once.

mod commitments;
mod deliveries;
mod forget;
mod goals;
mod rules;

use qianli_model::TenantId;
use qianli_model::routing::{Goal, Rule, When, Which, Window};

use crate::types::Location;

pub use commitments::{Asking, Report};
pub use forget::Forgotten;

/// A row of the rules, as its tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// What it says.
    pub rule: Rule,
    /// Name of whoever made it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
}

/// What a new rule is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// What people call it.
    pub label: String,
    /// Which objects; words as people write them.
    pub which: Which,
    /// Where to.
    pub to: Goal,
    /// At which time of the day; `None` for any.
    pub window: Option<Window>,
    /// As they come, or when the study is complete.
    pub when: When,
    /// The destination, a DICOM peer, has to say that it keeps what it took.
    pub commits: bool,
    /// Now (ms since 1970).
    pub at_ms: i64,
}

/// How a DICOMweb service knows who calls.
#[derive(Clone, PartialEq, Eq)]
pub enum WebAuth {
    /// It does not ask.
    Nothing,
    /// A bearer token (RFC 6750).
    Bearer(String),
    /// Login and password (RFC 7617).
    Basic(String, String),
}

impl WebAuth {
    /// The word for the kind: empty, `bearer` or `basic`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Bearer(_) => "bearer",
            Self::Basic(..) => "basic",
        }
    }
}

/// The secret is not shown.
impl std::fmt::Debug for WebAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

/// How a DICOMweb destination is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// Address of the service, to which `/studies` is added.
    pub url: String,
    /// How it knows who calls.
    pub auth: WebAuth,
    /// Registered by the operator at the server, and may therefore be in its own networks.
    pub trusted: bool,
}

/// A DICOMweb destination, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebGoal {
    /// By which rules name it.
    pub name: String,
    /// Address of the service, to which `/studies` is added.
    pub url: String,
    /// Kind of credentials: empty, `bearer` or `basic`.
    pub auth: String,
    /// The login of `basic`.
    pub login: String,
    /// See [`WebAddress::trusted`].
    pub trusted: bool,
    /// Name of whoever made it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
}

/// A study on its way to a destination, leased to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Key.
    pub id: i64,
    /// Whose study it is.
    pub tenant: TenantId,
    /// Where to.
    pub to: Goal,
    /// Which study.
    pub study: String,
    /// It was complete.
    pub settled: bool,
    /// How often it failed since it last got on.
    pub attempts: i64,
    /// Grows when it is asked for again.
    pub revision: i64,
}

/// What is left to do of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// Objects that are to be sent now.
    pub now: Vec<Location>,
    /// When a window opens for others (ms since 1970).
    pub later_ms: Option<i64>,
    /// Objects that the destination refused.
    pub refused: usize,
    /// Why it refused one of them.
    pub words: String,
    /// Objects that it took and is to be asked about: whether it keeps them.
    pub ask: Vec<Location>,
    /// How often it was asked about objects of the delivery.
    pub asked: i64,
    /// When it is asked again about others (ms since 1970), unless it answers.
    pub asked_until_ms: Option<i64>,
    /// Objects that it keeps, as it said.
    pub committed: usize,
}

/// What a destination said about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// SOP Instance UID.
    pub instance: String,
    /// BLAKE3 of what was sent.
    pub content_hash: String,
    /// Why it did not take it; `None` if it did.
    pub refused: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All that is to be sent was taken.
    Delivered,
    /// And the destination said that it keeps what it was asked about.
    Committed,
    /// All was taken, and the destination has time to say that it keeps it until then (ms since 1970).
    Committing(i64),
    /// More is to be done at a time (ms since 1970).
    Again(i64),
    /// It is tried again at a time (ms since 1970), for this reason.
    Retry(i64, String),
    /// A person must look at it.
    Failed(String),
}

/// A delivery as its tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Key.
    pub id: i64,
    /// Where to.
    pub to: Goal,
    /// Which study.
    pub study: String,
    /// `waiting`, `sending`, `delivered`, `failed`, `committing` (all was taken; the destination has not said yet that
    /// it keeps it) or `committed`.
    pub state: String,
    /// How often it failed since it last got on.
    pub attempts: i64,
    /// When it is tried next (ms since 1970), while it waits.
    pub due_ms: i64,
    /// Objects that were taken.
    pub sent: i64,
    /// Of these, objects that the destination keeps, as it said.
    pub committed: i64,
    /// Objects that were refused.
    pub refused: i64,
    /// What went wrong last, in the peer's words.
    pub words: String,
    /// When it was made (ms since 1970).
    pub created_ms: i64,
    /// When it last changed (ms since 1970).
    pub updated_ms: i64,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveriesOf {
    /// Of this study; empty for all.
    pub study: String,
    /// In this state; empty for all.
    pub state: String,
}
