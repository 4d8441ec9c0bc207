//! DICOM peers: which tenant an association belongs to and what its peer may do there (DESIGN
//! section 8). A pure decision over a register that somebody else keeps.
//!
//! A called AE title belongs to one tenant: the one that claimed it, else the default one. Rows of
//! another tenant count for it only when an operator of the server made them without a called title.

mod coercion;
mod concern;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{AeTitle, Permission, Permissions, TenantId};

pub use coercion::{Coercions, Creator};
pub use concern::Concern;

/// Longest label and longest subject of a certificate (characters).
const LONGEST: usize = 256;

/// Who a certificate says that a peer is, once an authority that we trust vouched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The distinguished name of its owner, such as `CN=CT1, O=Hospital`.
    pub subject: String,
    /// SHA-256 of its DER, 64 lower-case hex digits.
    pub sha256: String,
}

/// Calling AE titles: one, or several by `*` (any characters) and `?` (any one).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TitlePattern(AeTitle);

impl TitlePattern {
    /// The pattern that takes every title.
    pub const ANY: &'static str = "*";

    /// Reads a title or a pattern of titles. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        AeTitle::parse(text).ok().map(Self)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it means one title only.
    pub fn is_exact(&self) -> bool {
        !self.as_str().contains(['*', '?'])
    }

    /// Whether a title is meant. Titles differ by case (PS3.5 table 6.2-1).
    pub fn matches(&self, title: &AeTitle) -> bool {
        matches(self.as_str().as_bytes(), title.as_str().as_bytes())
    }

    /// Characters that stand for themselves.
    fn literal(&self) -> usize {
        self.as_str().bytes().filter(|b| !matches!(b, b'*' | b'?')).count()
    }
}

impl fmt::Display for TitlePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Matches `*` and `?`; both are at most sixteen bytes.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, text)
                || text.split_first().is_some_and(|(_, text)| matches(pattern, text))
        }
        (Some((b'?', pattern)), Some((_, text))) => matches(pattern, text),
        (Some((one, pattern)), Some((other, text))) => one == other && matches(pattern, text),
        _ => false,
    }
}

/// Which certificate a row of the register asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateRule {
    /// This one, by the SHA-256 of its DER.
    Sha256(String),
    /// Any of this subject.
    Subject(String),
}

impl CertificateRule {
    /// Reads a fingerprint (64 hex digits, colons allowed) or else a subject. `None` when it is
    /// empty, too long or holds control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Some(Self::Sha256(digits.to_ascii_lowercase()));
        }
        let plain = !text.is_empty()
            && text.chars().count() <= LONGEST
            && !text.chars().any(char::is_control);
        plain.then(|| Self::Subject(text.to_owned()))
    }

    /// The fingerprint or the subject, as [`Self::parse`] reads it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::Subject(text) => text,
        }
    }

    fn matches(&self, shown: &Certificate) -> bool {
        match self {
            Self::Sha256(wanted) => *wanted == shown.sha256,
            Self::Subject(wanted) => *wanted == shown.subject,
        }
    }
}

/// Addresses of peers: one, or a network (`192.0.2.7`, `10.1.0.0/16`, `fd00::/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is in it, in either notation of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// How narrow it is: more for fewer addresses.
    fn narrowness(&self) -> u8 {
        128 - (self.0.max_prefix_len() - self.0.prefix_len())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse::<IpNet>().ok();
        network
            .or_else(|| text.parse::<IpAddr>().ok().map(|one| IpNet::from(one.to_canonical())))
            .map(|network| Self(network.trunc()))
            .ok_or_else(|| {
                format!("{text:?} is neither an address nor a network such as 10.1.0.0/16")
            })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

/// A row of the register: peers, and what they may do in which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRule {
    /// Its key in the catalog.
    pub id: i64,
    /// The tenant that its peers work in.
    pub tenant: TenantId,
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
    /// Whether it was switched off: whom it means is refused.
    pub disabled: bool,
    /// How its objects are read.
    pub coercions: Coercions,
}

impl PeerRule {
    fn matches(&self, who: &Calling<'_>) -> bool {
        self.calling.matches(who.calling)
            && self.network.is_none_or(|network| network.contains(who.address))
            && self.certificate.as_ref().is_none_or(|rule| {
                who.certificate.is_some_and(|certificate| rule.matches(certificate))
            })
    }

    /// Whether it counts for a called title of this owner.
    fn counts(&self, called: &AeTitle, owner: Option<TenantId>) -> bool {
        match owner {
            Some(owner) if self.tenant != owner => false,
            // A title that was given up is not another tenant's to name.
            None if self.tenant != TenantId::DEFAULT && self.called.is_some() => false,
            _ => self.called.as_ref().is_none_or(|wanted| wanted == called),
        }
    }

    /// Rows that say more win: by certificate, address, called title, pattern.
    fn weight(&self) -> (u8, u8, bool, usize) {
        let certificate = match self.certificate {
            Some(CertificateRule::Sha256(_)) => 2,
            Some(CertificateRule::Subject(_)) => 1,
            None => 0,
        };
        let network = self.network.map_or(0, |network| network.narrowness().saturating_add(1));
        let called = self.called.is_some();
        (certificate, network, called, self.calling.literal())
    }
}

/// What an association says and shows about its peer.
#[derive(Debug, Clone, Copy)]
pub struct Calling<'a> {
    /// Calling AE title.
    pub calling: &'a AeTitle,
    /// Called AE title.
    pub called: &'a AeTitle,
    /// Network address.
    pub address: IpAddr,
    /// Certificate that was accepted.
    pub certificate: Option<&'a Certificate>,
}

/// What the register says of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'r> {
    /// This row means it.
    Rule(&'r PeerRule),
    /// Rows of two tenants mean it and neither says more: nobody can tell whose images these are.
    Ambiguous(&'r PeerRule, &'r PeerRule),
    /// Its calling AE title is registered, but not from there or not with that certificate.
    Elsewhere(&'r PeerRule),
    /// Nothing.
    Unknown,
}

/// What was decided about an association when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The tenant that it works in.
    pub tenant: TenantId,
    /// What its peer may do there.
    pub permissions: Permissions,
    /// The tenant of its peer, where that is another: it reads what was granted to that one.
    pub through: Option<TenantId>,
    /// The row of the register that said so; `None` for a peer without one.
    pub rule: Option<i64>,
    /// Version of the register at that time.
    pub version: i64,
}

impl Admission {
    /// The tenant whose device it is: what goes wrong is told there.
    pub fn home(&self) -> TenantId {
        self.through.unwrap_or(self.tenant)
    }
}

/// The register at one time: rows, and the called AE titles that tenants claimed.
#[derive(Debug, Clone, Default)]
pub struct Register {
    version: i64,
    exact: HashMap<AeTitle, Vec<PeerRule>>,
    patterns: Vec<PeerRule>,
    titles: HashMap<AeTitle, TenantId>,
    /// Of rows that have any.
    coercions: HashMap<i64, Arc<Coercions>>,
}

impl Register {
    /// A register of these rows and titles. The version changes whenever they do.
    pub fn new(version: i64, rules: Vec<PeerRule>, titles: Vec<(AeTitle, TenantId)>) -> Self {
        let mut register =
            Self { version, titles: titles.into_iter().collect(), ..Self::default() };
        for rule in rules {
            if !rule.coercions.is_none() {
                register.coercions.insert(rule.id, Arc::new(rule.coercions.clone()));
            }
            match rule.calling.is_exact() {
                true => register.exact.entry(rule.calling.0.clone()).or_default().push(rule),
                false => register.patterns.push(rule),
            }
        }
        register
    }

    /// Which state of the register this is.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The tenant that claimed a called AE title.
    pub fn owner(&self, called: &AeTitle) -> Option<TenantId> {
        self.titles.get(called).copied()
    }

    /// How the objects of a row's peers are read, when not as they are.
    pub fn coercions(&self, rule: i64) -> Option<Arc<Coercions>> {
        self.coercions.get(&rule).cloned()
    }

    /// What is known of a peer.
    pub fn find(&self, who: &Calling<'_>) -> Known<'_> {
        let owner = self.owner(who.called);
        let counts = |rule: &&PeerRule| rule.counts(who.called, owner);
        let exact = self.exact.get(who.calling).map(Vec::as_slice).unwrap_or_default();
        let own = exact.iter().find(counts);
        // Whoever registers a device with its address means that nobody else is it: a title with
        // rows of its own is judged by them alone.
        let rules = if own.is_some() { exact } else { &self.patterns };
        let mut best: Option<&PeerRule> = None;
        let mut rival = None;
        for rule in rules.iter().filter(counts).filter(|rule| rule.matches(who)) {
            match best {
                Some(found) if found.weight() > rule.weight() => {}
                Some(found) if found.weight() == rule.weight() => {
                    if found.tenant != rule.tenant {
                        // What one tenant has switched off is nothing between it and another.
                        match (found.disabled, rule.disabled) {
                            (true, false) => best = Some(rule),
                            (false, true) => {}
                            _ => rival = Some(rule),
                        }
                    } else if rule.disabled {
                        // Of two rows that say the same, the one that refuses counts.
                        best = Some(rule);
                    }
                }
                _ => (best, rival) = (Some(rule), None),
            }
        }
        match (best, rival) {
            (Some(one), Some(other)) => Known::Ambiguous(one, other),
            (Some(rule), None) => Known::Rule(rule),
            (None, _) => own.map_or(Known::Unknown, Known::Elsewhere),
        }
    }

    /// A row of a tenant that does not answer to the called title, which names a calling title exactly.
    pub fn of_others(&self, who: &Calling<'_>) -> Option<&PeerRule> {
        let home = self.owner(who.called).unwrap_or(TenantId::DEFAULT);
        self.exact.get(who.calling)?.iter().find(|rule| rule.tenant != home && !rule.disabled)
    }

    /// The row of another tenant that lets a peer look at what the owner of the called title granted to
    /// that tenant. It names the device exactly: a pattern is about one's own title. `None` as well
    /// where rows of two tenants say it alike, since nobody could tell whose grants count.
    pub fn abroad(&self, who: &Calling<'_>) -> Option<&PeerRule> {
        let owner = self.owner(who.called)?;
        let names = |rule: &&PeerRule| rule.called.as_ref().is_none_or(|one| one == who.called);
        let mut best: Option<&PeerRule> = None;
        let mut rival = false;
        let rules = self.exact.get(who.calling).map(Vec::as_slice).unwrap_or_default();
        let foreign = rules.iter().filter(|rule| rule.tenant != owner).filter(names);
        for rule in foreign.filter(|rule| rule.matches(who)) {
            match best {
                Some(found) if found.weight() > rule.weight() => {}
                Some(found) if found.weight() == rule.weight() => {
                    rival |= found.tenant != rule.tenant;
                    if rule.disabled {
                        best = Some(rule);
                    }
                }
                _ => (best, rival) = (Some(rule), false),
            }
        }
        best.filter(|rule| !rival && !rule.disabled && rule.permissions.allow(Permission::Read))
    }
}

#[cfg(test)]
mod tests;
