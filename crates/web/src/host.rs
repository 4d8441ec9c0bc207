//! Which names this server answers to.
//!
//! Without logins, whoever reaches the listener reads the archive. The listener is on loopback, but a
//! browser of this machine reaches it for any web page whose own host name was pointed at 127.0.0.1
//! (DNS rebinding): to the browser that page and this server are one site. Such a request still
//! carries the page's host name, and is turned away by it. With logins the page gets nothing, since
//! the browser keeps the session for the name under which it was opened; names are free then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};

use crate::WebState;
use crate::error::HttpError;
use crate::forwarded::{OverTls, Reached};

/// Paths for monitors, which call by whatever name they have and get no data.
const OPEN: &[&str] = &["/healthz", "/readyz"];

/// Turns requests away that were sent to another name than ours.
///
/// # Errors
///
/// 400 for what is no host, 421 for another's.
pub(crate) fn check(state: &WebState, request: &Request) -> Result<(), HttpError> {
    let public = state.config().public_url.as_deref().and_then(host_of_url);
    let (version, uri) = (request.version(), request.uri());
    let reached = request.extensions().get::<Reached>().copied().unwrap_or_default();
    // A page whose name was pointed here gets no further than the handshake: our certificate is not
    // in its name. A trusted proxy answers for what it lets through.
    // With logins such a page gets nothing: it has no cookie of ours.
    let vouched = reached.proxied
        || request.extensions().get::<OverTls>().is_some()
        || state.config().logins.is_some();
    if OPEN.contains(&uri.path()) {
        return Ok(());
    }
    judge(version, uri, request.headers(), public, vouched)
}

/// Every host that the request names must be ours: the one of its target (HTTP/2, proxies) and the
/// one of its Host header. Where somebody else vouches for the name it only has to be one.
fn judge(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    public: Option<&str>,
    vouched: bool,
) -> Result<(), HttpError> {
    let malformed = || HttpError::bad_request("the Host of this request is not a host");
    let mut named = headers.get_all(header::HOST).iter();
    let header = match (named.next(), named.next()) {
        (Some(value), None) => Some(value.to_str().map_err(|_| malformed())?),
        (None, _) => None,
        (Some(_), Some(_)) => {
            return Err(HttpError::bad_request("this request has several Host headers"));
        }
    };
    let target = uri.authority().map(|authority| authority.as_str());
    // No browser leaves the host out; clients of HTTP/1.0 may.
    if header.is_none() && target.is_none() && version > Version::HTTP_10 {
        return Err(HttpError::bad_request("this request does not say its Host"));
    }
    for authority in [header, target].into_iter().flatten() {
        let host = host_of(authority).ok_or_else(malformed)?;
        if !vouched && !is_ours(host, public) {
            return Err(HttpError::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this server does not answer to that host name; if clients reach it by that name, \
                 set public_url to the URL that they use",
            ));
        }
    }
    Ok(())
}

fn is_ours(host: &str, public: Option<&str>) -> bool {
    if public.is_some_and(|public| public.eq_ignore_ascii_case(host)) {
        return true;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        });
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return IpAddr::V4(address).is_loopback();
    }
    // Browsers resolve these names to loopback themselves (RFC 6761 section 6.3).
    let name = host.strip_suffix('.').unwrap_or(host);
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// The host of `host[:port]`, brackets included; `None` when the text is nothing of the kind.
fn host_of(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at_checked(end)?;
    let port = if port.is_empty() { "" } else { port.strip_prefix(':')? };
    let is_port = port.is_empty() || port.parse::<u16>().is_ok();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !host.is_empty() && host.len() <= 255 && host.bytes().all(legal)
        }
    };
    (is_port && is_host).then_some(host)
}

/// The host of `public_url`.
fn host_of_url(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    host_of(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: Option<&str>, uri: &str, version: Version, public: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().expect("a header"));
        }
        let uri = uri.parse().expect("a target");
        let public = public.and_then(host_of_url);
        judge(version, &uri, &headers, public, false).map_or_else(|e| e.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_loopback_and_the_public_name_are_ours() {
        let public = Some("https://PACS.example.org:8443/imaging");
        for (host, public, expected) in [
            ("localhost", None, 200),
            ("LocalHost.:8080", None, 200),
            ("pacs.localhost:8080", None, 200),
            ("127.0.0.1:8080", None, 200),
            ("127.9.9.9", None, 200),
            ("[::1]:8080", None, 200),
            ("[::ffff:127.0.0.1]", None, 200),
            ("pacs.example.org", public, 200),
            ("Pacs.Example.Org:443", public, 200),
            ("localhost:8080", public, 200),
            ("evil.example", public, 421),
            ("pacs.example.org", None, 421),
            ("pacs.example.org.evil.example", public, 421),
            ("localhost.evil.example", None, 421),
            ("notlocalhost", None, 421),
            ("127.0.0.1.evil.example", None, 421),
            ("0.0.0.0:8080", None, 421),
            ("192.168.1.5", None, 421),
            ("[::2]", None, 421),
            ("[::1", None, 400),
            ("[::1]x", None, 400),
            ("[localhost]", None, 400),
            ("::1", None, 400),
            ("localhost:http", None, 400),
            ("user@localhost", None, 400),
            ("localhost/x", None, 400),
            ("a b", None, 400),
            ("", None, 400),
            (":80", None, 400),
        ] {
            assert_eq!(status(Some(host), "/", Version::HTTP_11, public), expected, "{host:?}");
        }
    }

    #[test]
    fn targets_count_as_well_and_one_host_is_needed() {
        let check = |host, uri, version| status(host, uri, version, None);
        assert_eq!(check(None, "http://localhost:80/", Version::HTTP_2), 200);
        assert_eq!(check(None, "http://evil.example/", Version::HTTP_2), 421);
        assert_eq!(check(Some("localhost"), "http://evil.example/", Version::HTTP_11), 421);
        assert_eq!(check(Some("evil.example"), "http://localhost/", Version::HTTP_11), 421);
        assert_eq!(check(None, "/", Version::HTTP_10), 200);
        assert_eq!(check(None, "/", Version::HTTP_11), 400);
        let mut twice = HeaderMap::new();
        for host in ["localhost", "evil.example"] {
            twice.append(header::HOST, host.parse().expect("a header"));
        }
        let judged = judge(Version::HTTP_11, &Uri::from_static("/"), &twice, None, true);
        assert_eq!(judged.map_err(|e| e.status().as_u16()), Err(400));
    }
}
