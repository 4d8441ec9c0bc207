//! Where a DICOM peer is reached, and how it wants to be called: what moving, routing and forwarding
//! need to know of it. Who may call us is another matter, see [`crate::peer`].

mod trouble;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::{AeTitle, TransferSyntax};

pub use trouble::Trouble;

/// Most associations that may be open to one destination at a time.
pub const MOST_ASSOCIATIONS: u32 = 32;

/// A peer as it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its AE title; the destination's name too.
    pub title: AeTitle,
    /// Host name or address, and port.
    pub address: String,
    /// How it is called over TLS; `None` for plain TCP.
    pub tls: Option<DestinationTls>,
    /// Transfer syntaxes that it is to get, the best first; empty for as stored where it takes that.
    pub syntaxes: Vec<TransferSyntax>,
    /// It gets nothing in other syntaxes than those.
    pub only_these: bool,
    /// Associations that may be open to it at a time, 1 to [`MOST_ASSOCIATIONS`].
    pub associations: u32,
    /// Bytes of data sets that are sent to it per second; 0 for no limit.
    pub bandwidth: u64,
    /// Who we say that we are beyond our AE title.
    pub identity: Option<Identity>,
}

/// How a destination is called over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DestinationTls {
    /// The name in its certificate; the host of its address when it is empty.
    pub server_name: String,
    /// File with the authorities from which its certificate must come, PEM, on the machine that
    /// calls; empty for those that the machine trusts.
    pub authorities: String,
}

/// A user identity to show to a peer (PS3.7 table D.3-14). Secrets are not printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// A name alone.
    Username(String),
    /// A name and a passcode.
    Password(String, String),
    /// A JSON Web Token.
    Jwt(String),
}

impl Identity {
    /// What kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Username(_) => "username",
            Self::Password(..) => "password",
            Self::Jwt(_) => "jwt",
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Username(name) => write!(f, "Username({name:?})"),
            Self::Password(name, _) => write!(f, "Password({name:?}, ***)"),
            Self::Jwt(_) => f.write_str("Jwt(***)"),
        }
    }
}

impl Destination {
    /// A destination over plain TCP, without wishes, that takes two associations.
    pub fn new(title: AeTitle, address: impl Into<String>) -> Self {
        Self {
            title,
            address: address.into(),
            tls: None,
            syntaxes: Vec::new(),
            only_these: false,
            associations: 2,
            bandwidth: 0,
            identity: None,
        }
    }

    /// The host of its address, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
    }
}

/// Whether a text is a host (name, IPv4, or IPv6 in brackets) and a port.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named = !host.is_empty() && host.len() <= 253 && host.chars().all(legal);
    let literal = || {
        let inside = host.get(1..host.len().saturating_sub(1)).unwrap_or_default();
        inside.parse::<std::net::Ipv6Addr>().is_ok()
    };
    port.parse::<u16>().is_ok_and(|port| port > 0) && (named || (bracketed && literal()))
}

/// Whether an address is the machine's own, of its network segment, or one at which clouds tell machines
/// their secrets; however it is written.
pub fn is_own_ip(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local()
                || v4.octets() == [100, 100, 100, 200]
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, ..] = v6.segments();
            // ::a.b.c.d, and 64:ff9b::/96, which translates to IPv4.
            let has_v4 = matches!([a, b, c, d, e, f], [0 | 0x64, 0 | 0xff9b, 0, 0, 0, 0]);
            let inside = u32::try_from(v6.to_bits() & u128::from(u32::MAX)).unwrap_or_default();
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || [a, b] == [0xfd00, 0x0ec2]
                || (has_v4 && is_own_ip(Ipv4Addr::from_bits(inside).into()))
        }
    }
}

/// Whether a legal address is one of the machine itself, or of those that networks keep for
/// themselves: what listens there is the operator's to offer. Names are judged as they are written.
pub fn is_own_address(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => is_own_ip(address),
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            // Some resolvers read numbers as addresses, in forms that are not read here.
            name == "localhost"
                || name.ends_with(".localhost")
                || name.rsplit('.').next().is_some_and(|last| {
                    last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit())
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["10.0.0.5:104", "pacs.example.org:11112", "[::1]:104", "pacs_1:4242"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "host", ":104", "host:", "host:0", "host:65536", "::1:104", "[x]:1", "a b:1"]
        {
            assert!(!is_address(bad), "{bad}");
        }
        let title = AeTitle::parse("PACS").unwrap();
        assert_eq!(Destination::new(title.clone(), "[::1]:104").host(), "::1");
        assert_eq!(Destination::new(title, "h:104").host(), "h");
    }

    #[test]
    fn addresses_of_the_machine_itself_are_known() {
        for own in [
            "127.0.0.1:104",
            "127.9.9.9:104",
            "[::1]:104",
            "[::ffff:127.0.0.1]:104",
            "0.0.0.0:104",
            "169.254.169.254:80",
            "LocalHost:104",
            "x.localhost.:104",
            "127.1:104",
            "2130706433:104",
            "0x7f.1:104",
        ] {
            assert!(is_own_address(own), "{own}");
        }
        for other in ["10.0.0.5:104", "pacs.example.org:104", "[2001:db8::1]:104", "ct1:104"] {
            assert!(!is_own_address(other), "{other}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!("{:?}", Identity::Password("ward".into(), "hidden".into()));
        assert!(shown.contains("ward") && !shown.contains("hidden"), "{shown}");
        assert!(!format!("{:?}", Identity::Jwt("hidden".into())).contains("hidden"));
    }
}
