//! Syslog frames of the audit trail (RFC 5424) and where they go: UDP (RFC 5426), TLS (RFC 5425) or a
//! file. PS3.15 A.6 and A.7 want the message in one of the first two.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use qianli_catalog::AuditRow;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::client::TlsStream;

use super::message::{is_success, message};
use super::time;
use crate::tls::client::ClientTls;

/// Where audit messages are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Host and port of a server that takes datagrams.
    Udp(String, u16),
    /// Host and port of a server that speaks TLS. Its certificate must be valid for the host and come
    /// from an authority that this machine trusts.
    Tls(String, u16),
    /// A file, to which lines are appended.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write udp://logs.example:514, tls://logs.example:6514 or file:///var/log/x";
        let wrong = || format!("{text:?} is no destination for the audit trail; {example}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let place = |default: u16| {
            let (host, port) = match rest.rsplit_once(':') {
                // The colons of an address in brackets are no port.
                Some((host, port)) if !port.contains(']') => {
                    (host, port.parse().map_err(|_| wrong())?)
                }
                _ => (rest, default),
            };
            let legal = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
            (!host.is_empty() && host.chars().all(legal) && port != 0)
                .then(|| (host.to_owned(), port))
                .ok_or_else(wrong)
        };
        match scheme {
            "udp" => place(514).map(|(host, port)| Self::Udp(host, port)),
            "tls" => place(6514).map(|(host, port)| Self::Tls(host, port)),
            "file" if rest.starts_with('/') && rest.len() > 1 => Ok(Self::File(rest.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) => write!(f, "udp://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "tls://{host}:{port}"),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// One row as a syslog message. Chain, number and hash are structured data, which `qianli audit verify
/// --against` reads from the server's log.
pub fn frame(row: &AuditRow, host: &str, source: &str) -> String {
    // Facility 10, security; severity 5 notice, or 4 warning.
    let priority = 10 * 8 + if is_success(row) { 5 } else { 4 };
    format!(
        "<{priority}>1 {} {host} qianli {} DICOM+RFC3881 \
         [audit@32473 chain=\"{}\" number=\"{}\" hash=\"{}\"] \u{feff}{}",
        time(row.entry.at_ms),
        std::process::id(),
        row.chain,
        row.number,
        row.hash,
        message(row, source)
    )
}

/// With the length in front, as a stream needs it (RFC 5425 section 4.3).
fn counted(frame: &str) -> String {
    format!("{} {frame}", frame.len())
}

/// Name of this machine as syslog shows it; `-` when it does not say.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let legal = |c: char| c.is_ascii_graphic();
    let name: String = name.trim().chars().filter(|c| legal(*c)).take(255).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// An open way to a destination.
pub enum Link {
    /// A socket that is connected to the server's address.
    Udp(UdpSocket),
    /// A connection.
    Tls(Box<TlsStream<TcpStream>>),
    /// A file at its end.
    File(tokio::fs::File),
}

impl Link {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// The destination cannot be reached.
    pub async fn open(destination: &Destination) -> anyhow::Result<Self> {
        match destination {
            Destination::Udp(host, port) => {
                let address = first_address(host, *port).await?;
                let here = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(here).await.context("open a socket")?;
                socket.connect(address).await.with_context(|| format!("call {destination}"))?;
                Ok(Self::Udp(socket))
            }
            Destination::Tls(host, port) => {
                let address = first_address(host, *port).await?;
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("call {destination}"))?;
                let stream = ClientTls::default().wrap(stream, address, host, None).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
            Destination::File(path) => {
                let mut options = tokio::fs::OpenOptions::new();
                options.append(true).create(true).mode(0o600);
                let file = options.open(path).await;
                Ok(Self::File(file.with_context(|| format!("write {}", path.display()))?))
            }
        }
    }

    /// Sends messages. A file has them on disk then; a connection and a socket have been handed them,
    /// which is all that these protocols can tell.
    ///
    /// # Errors
    ///
    /// Not all of them could be sent.
    pub async fn send(&mut self, frames: &[String]) -> anyhow::Result<()> {
        match self {
            Self::Udp(socket) => {
                for frame in frames {
                    socket.send(frame.as_bytes()).await.context("send a datagram")?;
                }
            }
            Self::Tls(stream) => {
                for frame in frames {
                    let counted = counted(frame);
                    stream.write_all(counted.as_bytes()).await.context("send over TLS")?;
                }
                stream.flush().await.context("send over TLS")?;
            }
            Self::File(file) => {
                let mut lines = frames.join("\n");
                lines.push('\n');
                file.write_all(lines.as_bytes()).await.context("append to the file")?;
                file.flush().await.context("append to the file")?;
                file.sync_data().await.context("sync the file")?;
            }
        }
        Ok(())
    }
}

async fn first_address(host: &str, port: u16) -> anyhow::Result<std::net::SocketAddr> {
    let found = tokio::net::lookup_host(format!("{host}:{port}")).await;
    let mut found = found.with_context(|| format!("find the address of {host}"))?;
    found.next().with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_urls() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected));
        };
        check("udp://logs.example", Destination::Udp("logs.example".into(), 514));
        check("udp://192.0.2.1:5514", Destination::Udp("192.0.2.1".into(), 5514));
        check("tls://[::1]", Destination::Tls("[::1]".into(), 6514));
        check("tls://[::1]:1", Destination::Tls("[::1]".into(), 1));
        check("file:///var/log/a.log", Destination::File("/var/log/a.log".into()));
        for text in
            ["", "logs.example", "tcp://h:1", "udp://", "udp://h:x", "udp://h:0", "file://x"]
        {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_stream_says_how_many_bytes_follow() {
        assert_eq!(counted("<85>1 é"), "8 <85>1 é");
    }
}
