//! What settings are written as: times and sizes with their unit, words, and senders.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use qianli_archive::Sender;
use qianli_model::charset::TextEncoding;
use serde::Deserialize;

/// A duration with its unit: `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("{error}; write 30s or 5m"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Quoted::new("a time with its unit in quotes, such as \"30s\""))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes with its unit: `64MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let size = bytesize::ByteSize::from_str(text);
        size.map(|size| Self(size.as_u64())).map_err(|error| format!("{error}; write 64MiB or 2GB"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Quoted::new("a size with its unit in quotes, such as \"64MiB\""))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that leaves a whole number, so that it can be written back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")];
        let fits = |shift: u32| self.0 > 0 && self.0.trailing_zeros() >= shift;
        let (shift, unit) = units.into_iter().find(|(shift, _)| fits(*shift)).unwrap_or((0, "B"));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// Where to listen: an IP address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse().map(Self);
        address.map_err(|_| format!("{text:?} is no IP address with a port; write 127.0.0.1:8080"))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Quoted::new("an address in quotes, such as \"127.0.0.1:8080\""))
    }
}

/// Reads a value that a file holds as text, and says what it should look like when it is none.
struct Quoted<T> {
    expected: &'static str,
    value: std::marker::PhantomData<T>,
}

impl<T> Quoted<T> {
    fn new(expected: &'static str) -> Self {
        Self { expected, value: std::marker::PhantomData }
    }
}

impl<T: FromStr<Err = String>> serde::de::Visitor<'_> for Quoted<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// What happens to other content under a known SOP Instance UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// The newest answers, the older is kept for an operator.
    KeepBoth,
    /// The first stays; the sender gets a refusal.
    Refuse,
}

/// Which SOP classes are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SopClasses {
    /// Everything but known non-storage classes: private and retired ones too.
    All,
    /// Only storage classes of the standard.
    Standard,
}

/// What happens to DICOM peers that the register of peers does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPeers {
    /// They may store, if `calling_aets` is empty or names them.
    Accept,
    /// Their associations are rejected.
    Refuse,
}

/// What becomes of user identities that DICOM peers show (PS3.7 D.3.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DimseIdentity {
    /// They are not looked at.
    Ignore,
    /// Who shows one must be known, and may do what the account may; a name alone counts as none.
    Check,
    /// The same, and whoever shows none is rejected.
    Require,
}

/// A sender whose text is not what it declares, and what it is: `CT1=gbk`, `192.0.2.7=euc-kr`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceCharset {
    /// Who.
    pub sender: Sender,
    /// What its text is.
    pub encoding: TextEncoding,
}

impl FromStr for SourceCharset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (sender, encoding) = text
            .split_once('=')
            .ok_or("write SENDER=ENCODING, such as CT1=gbk, 192.0.2.7=gbk or *=gbk")?;
        Ok(Self {
            sender: sender.parse().map_err(|error| format!("{sender:?}: {error}"))?,
            encoding: encoding.trim().parse().map_err(|error| format!("{encoding:?}: {error}"))?,
        })
    }
}

impl TryFrom<String> for SourceCharset {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
