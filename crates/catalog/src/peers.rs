//! The register of DICOM peers, the called AE titles of tenants, and what went wrong with them lately.
//!
//! Who is admitted is decided in `qianli_model::peer`, over [`crate::Catalog::peer_register`]; here are the
//! rows. Each change raises the register's version, by which nodes notice it.

mod change;
mod rows;
mod seen;

use qianli_model::incident::{Incident, Tongue};
use qianli_model::peer::{CertificateRule, Coercions, Network, PeerRule, TitlePattern};
use qianli_model::{AeTitle, Permissions, TenantId};
use serde_json::{Value, json};

pub use seen::IncidentsOf;

/// A row of the register, as its tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRow {
    /// What it says.
    pub rule: PeerRule,
    /// Name of whoever made it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
    /// Last association (ms since 1970), as far as it was noted; 0 for never.
    pub seen_ms: i64,
    /// From which address.
    pub seen_from: String,
}

/// What a new row is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPeer {
    /// What people call it.
    pub label: String,
    /// Who says that it calls.
    pub calling: TitlePattern,
    /// Whom it calls; `None` for any title.
    pub called: Option<AeTitle>,
    /// From where; `None` for anywhere.
    pub network: Option<Network>,
    /// The certificate that it shows; `None` for any or none.
    pub certificate: Option<CertificateRule>,
    /// What it may do.
    pub permissions: Permissions,
    /// How its objects are read.
    pub coercions: Coercions,
    /// Now (ms since 1970).
    pub at_ms: i64,
}

/// What became of a new row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAdded {
    /// It was made, under this key.
    Made(i64),
    /// The tenant has one that means the same peers, under this key.
    Taken(i64),
    /// It names no called AE title of its tenant. Only an operator of the server, or the default
    /// tenant, may speak for the others.
    NotYourTitle,
}

/// What is changed of a row; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerChange {
    /// What people call it.
    pub label: Option<String>,
    /// Whom it calls; `Some(None)` for any title.
    pub called: Option<Option<AeTitle>>,
    /// From where; `Some(None)` for anywhere.
    pub network: Option<Option<Network>>,
    /// The certificate that it shows; `Some(None)` for any or none.
    pub certificate: Option<Option<CertificateRule>>,
    /// What it may do.
    pub permissions: Option<Permissions>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
    /// How its objects are read.
    pub coercions: Option<Coercions>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChanged {
    /// The row as it is now, whether or not anything was different.
    Now(Box<PeerRule>),
    /// The tenant has no row of that key.
    Missing,
    /// Another row of the tenant means the same peers.
    Taken(i64),
    /// As [`PeerAdded::NotYourTitle`].
    NotYourTitle,
}

/// Incidents of a tenant that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Of the association, or of the AE title that was called.
    pub tenant: TenantId,
    /// The latest of them.
    pub incident: Incident,
    /// How often.
    pub times: i64,
    /// The first (ms since 1970).
    pub first_ms: i64,
    /// The last (ms since 1970).
    pub last_ms: i64,
}

impl Noted {
    /// As programs read it, with times as `time` writes them (ms since 1970). The same on the command
    /// line and over HTTP.
    pub fn to_json(&self, time: impl Fn(i64) -> String) -> Value {
        let incident = &self.incident;
        let proposed: Vec<&str> =
            incident.proposed.split(' ').filter(|text| !text.is_empty()).collect();
        json!({
            "kind": incident.cause.kind().name(), "cause": incident.cause.name(),
            "calling": incident.calling, "called": incident.called, "address": incident.address,
            "certificate": incident.certificate, "implementation_class_uid": incident.class_uid,
            "implementation_version": incident.version, "subject": incident.subject,
            "proposed": proposed, "detail": incident.detail,
            "status": (incident.status != 0).then(|| format!("{:04X}", incident.status)),
            "what": incident.cause.what(Tongue::English),
            "advice": incident.cause.advice(Tongue::English),
            "times": self.times, "first": time(self.first_ms), "last": time(self.last_ms),
        })
    }
}

/// A row that an association was admitted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPeer {
    /// Key of the row.
    pub rule: i64,
    /// From where it came.
    pub address: String,
    /// When (ms since 1970).
    pub at_ms: i64,
}
