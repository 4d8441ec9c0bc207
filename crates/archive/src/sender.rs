//! Which sender a rule is about.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use qianli_model::AeTitle;
use qianli_model::ae::AeTitleError;

/// A sender as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// Everyone, written `*`.
    Any,
    /// By calling AE title, or for a file by the Source Application Entity Title (0002,0016) in it.
    Ae(AeTitle),
    /// By network address.
    Address(IpAddr),
}

impl FromStr for Sender {
    type Err = AeTitleError;
    fn from_str(text: &str) -> Result<Self, AeTitleError> {
        match text.trim() {
            "*" => Ok(Self::Any),
            text => match text.parse() {
                Ok(address) => Ok(Self::Address(address)),
                Err(_) => Ok(Self::Ae(text.parse()?)),
            },
        }
    }
}

impl Sender {
    /// Whether this names who has the AE title `ae` or sends from `peer`, an address with or
    /// without a port.
    pub(crate) fn is(&self, ae: Option<&str>, peer: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Ae(title) => ae.is_some_and(|ae| ae.trim() == title.as_str()),
            Self::Address(address) => {
                let peer =
                    peer.parse::<SocketAddr>().map(|peer| peer.ip()).or_else(|_| peer.parse());
                peer.is_ok_and(|peer| peer.to_canonical() == address.to_canonical())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, ae: Option<&str>, peer: &str, expected: bool) {
        let sender: Sender = rule.parse().unwrap();
        assert_eq!(sender.is(ae, peer), expected, "{rule} for {ae:?} at {peer}");
    }

    #[test]
    fn senders_are_known_by_title_or_address() {
        check("CT 1", Some("CT 1 "), "", true);
        check("CT1", Some("CT2"), "192.0.2.7:104", false);
        check("192.0.2.7", Some("CT1"), "192.0.2.7:104", true);
        check("192.0.2.7", None, "::ffff:192.0.2.7", true);
        check("192.0.2.7", None, "192.0.2.70:104", false);
        check("2001:db8::1", None, "[2001:db8::1]:104", true);
        check("192.0.2.7", None, "", false);
        check("*", None, "", true);
        assert!("SEVENTEEN-LETTERS".parse::<Sender>().is_err());
    }
}
