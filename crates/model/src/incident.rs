//! What went wrong between us and a DICOM peer, why, and what mends it: for the people who stand before
//! the device. Never anything of a patient: who called, what it asked for, what became of it.
//!
//! How incidents are kept is in the catalog; who notes them, in the acceptor and in the binary.

mod table;

use std::fmt;

/// Longest text of a peer that is kept (characters).
const LONGEST: usize = 64;

/// Longest list of what a peer proposed that is kept (bytes).
const LONGEST_LIST: usize = 1024;

/// What was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: an association was admitted.
    Admitted,
    /// A connection or an association.
    Association,
    /// A presentation context of an association that was admitted.
    Context,
    /// A request inside an association.
    Operation,
    /// Nothing was refused, but the association did not end by a release.
    Ending,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Admitted, Self::Association, Self::Context, Self::Operation, Self::Ending];

    /// The word for programs, and in the catalog.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Association => "association",
            Self::Context => "context",
            Self::Operation => "operation",
            Self::Ending => "ending",
        }
    }
}

/// Why. Each has what happened and what mends it, in plain words of two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// It was let in.
    Admitted,
    /// It calls an AE title that nobody has.
    CalledTitle,
    /// It is not registered.
    Unknown,
    /// It is registered, but not from there or not with that certificate.
    Elsewhere,
    /// It is registered and switched off.
    SwitchedOff,
    /// Two tenants registered it alike.
    TwoTenants,
    /// One of the titles is none.
    InvalidTitle,
    /// Another application context than DICOM's.
    ApplicationContext,
    /// Another version of the upper layer protocol.
    ProtocolVersion,
    /// Its PDUs are too small to work with.
    SmallPdu,
    /// The user identity that it showed is not accepted.
    Identity,
    /// It has to show a user identity, and showed none.
    NoIdentity,
    /// Too many associations at one time.
    TooManyAssociations,
    /// Too many connections that ask for nothing.
    TooManyConnections,
    /// The node is overloaded.
    Busy,
    /// What it asked with is no A-ASSOCIATE-RQ.
    MalformedRequest,
    /// It asked for nothing in time.
    NoRequest,
    /// The TLS handshake failed.
    Handshake,
    /// Refused without a reason of this list.
    Refused,
    /// The node does not take this abstract syntax.
    AbstractSyntax,
    /// The node knows none of the transfer syntaxes that were proposed.
    TransferSyntax,
    /// It may not do that.
    NotAuthorised,
    /// No space, or the store does not answer.
    OutOfResources,
    /// The object is not of the SOP class that was announced, or the class is not taken.
    WrongClass,
    /// The data set cannot be read or used.
    CannotUnderstand,
    /// The operation is not offered.
    NotOffered,
    /// The request lacks something, or contradicts itself.
    BadArgument,
    /// C-MOVE to somebody who is not registered as a destination.
    UnknownDestination,
    /// It failed for another reason.
    Failed,
    /// The peer aborted.
    AbortedByPeer,
    /// The peer broke the protocol.
    ProtocolError,
    /// Nothing came for too long.
    IdleTimeout,
    /// The connection ended without a release.
    ConnectionLost,
}

/// A language in which incidents are explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// English.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Cause {
    /// The word for programs, and in the catalog.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What was refused.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// What happened.
    pub fn what(self, tongue: Tongue) -> &'static str {
        let row = self.row();
        match tongue {
            Tongue::English => row.what[0],
            Tongue::Chinese => row.what[1],
        }
    }

    /// What mends it.
    pub fn advice(self, tongue: Tongue) -> &'static str {
        let row = self.row();
        match tongue {
            Tongue::English => row.advice[0],
            Tongue::Chinese => row.advice[1],
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        table::ROWS.iter().find(|row| row.name == name).map(|row| row.cause)
    }

    /// Whether somebody was kept out, which belongs into the audit trail: other causes are troubles
    /// of the network and of machines.
    pub fn is_audited(self) -> bool {
        matches!(
            self,
            Self::CalledTitle
                | Self::Unknown
                | Self::Elsewhere
                | Self::SwitchedOff
                | Self::TwoTenants
                | Self::Identity
                | Self::NoIdentity
        )
    }

    /// Whether registering the peer from its address mends it.
    pub fn is_mended_by_registering(self) -> bool {
        matches!(self, Self::Unknown | Self::Elsewhere)
    }

    /// The cause behind the status of a request that failed (PS3.7 annex C, PS3.4 annexes B and C).
    pub fn of_status(status: u16) -> Self {
        match status {
            0x0124 => Self::NotAuthorised,
            0x0211 | 0x0123 => Self::NotOffered,
            0xA801 => Self::UnknownDestination,
            0xA700..=0xA7FF => Self::OutOfResources,
            0x0122 | 0x0118 | 0xA900..=0xA9FF => Self::WrongClass,
            0xC000..=0xCFFF => Self::CannotUnderstand,
            0x0105 | 0x0106 | 0x0111..=0x0115 | 0x0117 | 0x0119..=0x0121 | 0x0212 => {
                Self::BadArgument
            }
            _ => Self::Failed,
        }
    }

    fn row(self) -> &'static table::Row {
        // A test proves that every cause has a row at its place.
        table::ROWS.get(self as usize).unwrap_or(&table::ROWS[0])
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that went wrong, or an association that was admitted. Incidents that are equal in what
/// [`Self::key`] holds are one, with a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Why.
    pub cause: Cause,
    /// Who said that it called; empty when it did not come to that.
    pub calling: String,
    /// Whom.
    pub called: String,
    /// From where, without the port.
    pub address: String,
    /// SHA-256 of the certificate that it showed; empty for none.
    pub certificate: String,
    /// Its Implementation Class UID.
    pub class_uid: String,
    /// Its Implementation Version Name.
    pub version: String,
    /// What was refused: an abstract syntax, or the operation and its SOP class.
    pub subject: String,
    /// What it proposed: UIDs of syntaxes, separated by spaces.
    pub proposed: String,
    /// Status of a response; 0 for none.
    pub status: u16,
    /// What our log says. No patient, no path, no secret.
    pub detail: String,
}

impl Incident {
    /// An incident of which no more is known than the address.
    pub fn new(cause: Cause, address: std::net::IpAddr) -> Self {
        Self {
            cause,
            calling: String::new(),
            called: String::new(),
            address: address.to_canonical().to_string(),
            certificate: String::new(),
            class_uid: String::new(),
            version: String::new(),
            subject: String::new(),
            proposed: String::new(),
            status: 0,
            detail: String::new(),
        }
    }

    /// With what was refused.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.subject = printable(subject);
        self
    }

    /// With what our log says.
    #[must_use]
    pub fn saying(mut self, detail: &str) -> Self {
        self.detail = detail.chars().filter(|c| !c.is_control()).take(4 * LONGEST).collect();
        self
    }

    /// With what the peer proposed.
    #[must_use]
    pub fn proposing<'a>(mut self, all: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list = String::new();
        for one in all {
            let one = printable(one).replace(' ', "");
            if list.len() + one.len() > LONGEST_LIST {
                list.push_str(" …");
                break;
            }
            if !list.is_empty() {
                list.push(' ');
            }
            list.push_str(&one);
        }
        self.proposed = list;
        self
    }

    /// What was refused, with the names of its UIDs.
    pub fn subject_named(&self) -> String {
        names(&self.subject, " ")
    }

    /// What was proposed or agreed on, each with its names: an encoding, or a SOP class in an encoding.
    pub fn proposed_named(&self) -> Vec<String> {
        let each = self.proposed.split(' ').filter(|text| !text.is_empty());
        each.map(|text| names(&text.replace('=', " "), " · ")).collect()
    }

    /// The status of the response as people write it; empty for none.
    pub fn status_shown(&self) -> String {
        match self.status {
            0 => String::new(),
            status => format!("{status:04X}H"),
        }
    }

    /// What the peer said of its software; empty for nothing.
    pub fn software(&self) -> String {
        format!("{} {}", self.version, self.class_uid).trim().to_owned()
    }

    /// What makes two incidents the same.
    pub fn key(&self) -> (Cause, &str, &str, &str, &str, &str) {
        let Self { cause, calling, called, address, certificate, subject, .. } = self;
        (*cause, calling, called, address, certificate, subject)
    }
}

/// What is left of a peer's text when it is kept: one short line without padding.
pub fn printable(text: &str) -> String {
    let text = text.trim_matches(['\0', ' ']);
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// Words that may be UIDs, with their names.
fn names(text: &str, between: &str) -> String {
    let words = text.split(' ').filter(|word| !word.is_empty());
    words.map(named).collect::<Vec<_>>().join(between)
}

/// A UID with the name that the standard gives it, or as it is.
pub fn named(uid: &str) -> String {
    let syntax = crate::TransferSyntax::from_uid(uid).map(crate::TransferSyntax::name);
    let class = || crate::SopClassUid::parse(uid).ok().and_then(|class| class.name());
    match syntax.or_else(class).or_else(|| table::service_name(uid)) {
        Some(name) => format!("{name} ({uid})"),
        None => uid.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_row_in_both_languages() {
        for (at, row) in table::ROWS.iter().enumerate() {
            assert_eq!(row.cause as usize, at, "{} stands at the wrong place", row.name);
            assert_eq!(Cause::parse(row.name), Some(row.cause));
            assert_eq!(row.cause.kind(), row.kind);
            for text in row.what.iter().chain(&row.advice) {
                assert!(!text.is_empty(), "{}", row.name);
            }
            for text in [row.what[1], row.advice[1]] {
                assert!(text.chars().any(|c| ('一'..='龥').contains(&c)), "{text}");
            }
        }
        assert_eq!(table::ROWS.len(), Cause::ConnectionLost as usize + 1);
        assert_eq!(Cause::parse("nothing"), None);
    }

    #[test]
    fn what_peers_say_is_cut_and_made_printable() {
        let incident = Incident::new(Cause::AbstractSyntax, [10, 0, 0, 1].into())
            .about("1.2.3\0\x1b[31m")
            .proposing(std::iter::repeat_n("1.2.840.10008.1.2\n", 1000));
        assert_eq!(incident.subject, "1.2.3\0[31m".replace('\0', ""));
        assert!(incident.proposed.len() <= LONGEST_LIST + 8 && incident.proposed.ends_with('…'));
        assert!(!incident.proposed.contains('\n'));
        assert_eq!(printable(&"x".repeat(1000)).len(), LONGEST);
    }

    #[test]
    fn syntaxes_and_classes_are_named() {
        assert!(named("1.2.840.10008.1.2.1").starts_with("Explicit VR Little Endian ("));
        assert!(named("1.2.840.10008.5.1.4.1.1.2").starts_with("CT Image Storage ("));
        assert!(named("1.2.840.10008.5.1.4.31").starts_with("Modality Worklist"));
        assert_eq!(named("1.2.3"), "1.2.3");
    }

    #[test]
    fn statuses_have_causes() {
        for (status, cause) in [
            (0x0124, Cause::NotAuthorised),
            (0xA700, Cause::OutOfResources),
            (0xA801, Cause::UnknownDestination),
            (0xA900, Cause::WrongClass),
            (0xC000, Cause::CannotUnderstand),
            (0x0211, Cause::NotOffered),
            (0x0115, Cause::BadArgument),
            (0x0110, Cause::Failed),
        ] {
            assert_eq!(Cause::of_status(status), cause, "{status:04X}");
        }
    }
}
