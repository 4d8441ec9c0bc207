//! How a request reached us: from which address, over which scheme, under which name.
//!
//! A proxy says in headers what it knows of its client (`Forwarded`, RFC 7239, or the older
//! `X-Forwarded-*`). Any client can send them too, so they count only from proxies that an operator
//! trusts. Whatever they say, no handler gets to see them: the address of the request
//! ([`ConnectInfo`]), its Host and [`Reached`] are right when this has run.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::WebState;
use crate::caller::is_host;
use crate::error::HttpError;

const X_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Proxies behind one another that are looked at; more are no real chain.
const MOST_PROXIES: usize = 16;

/// Whether a request says that a proxy sent it on, whichever proxy that is.
pub(crate) fn is_proxied(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        *name == header::FORWARDED
            || *name == header::VIA
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str() == "x-real-ip"
    })
}

/// The addresses of proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads a list of addresses and networks (`192.0.2.7`, `10.1.0.0/16`, `fd00::/8`).
    ///
    /// # Errors
    ///
    /// The first entry that is neither.
    pub fn parse(list: &[String]) -> Result<Self, String> {
        let network = |text: &String| {
            let text = text.trim();
            let network = text.parse::<IpNet>().ok();
            network
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
                .map(|network| network.trunc())
                .ok_or_else(|| text.to_owned())
        };
        list.iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the proxy at `address` is believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Marks a request that came over TLS to this server itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

/// How the client reached this server, or the trusted proxy in front of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Over TLS.
    pub(crate) https: bool,
    /// Through a trusted proxy, which vouches for the Host.
    pub(crate) proxied: bool,
}

/// What the proxies in front say.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    client: IpAddr,
    https: Option<bool>,
    host: Option<String>,
}

/// One proxy's words about its client.
#[derive(Debug, Default)]
struct Hop<'a> {
    client: Option<IpAddr>,
    proto: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
}

/// Settles address, scheme and host of a request, before anything looks at them.
///
/// # Errors
///
/// 400 when a trusted proxy cannot be understood.
pub(crate) fn resolve(state: &WebState, request: &mut Request) -> Result<Reached, HttpError> {
    let trusted = &state.config().trusted_proxies;
    let direct = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let mut reached =
        Reached { https: request.extensions().get::<OverTls>().is_some(), proxied: false };
    if let Some(direct) = direct
        && trusted.contains(direct.ip())
    {
        reached.proxied = true;
        let said = listen(request.headers(), direct.ip(), trusted)?;
        if said.client != direct.ip() {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(said.client, 0)));
        }
        reached.https = said.https.unwrap_or(reached.https);
        if let Some(host) = said.host.and_then(|host| HeaderValue::try_from(host).ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
    }
    for name in [header::FORWARDED, X_FOR, X_PROTO, X_HOST] {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(reached);
    Ok(reached)
}

/// Listens to what the proxy at `direct` says, and to those behind it that are trusted as well.
fn listen(
    headers: &HeaderMap,
    direct: IpAddr,
    trusted: &TrustedProxies,
) -> Result<Said, HttpError> {
    let malformed = || HttpError::bad_request("the proxy's Forwarded header cannot be read");
    let standard = joined(headers, &header::FORWARDED).ok_or_else(malformed)?;
    let older = joined(headers, &X_FOR).ok_or_else(malformed)?;
    let by_standard = match standard.is_empty() {
        true => None,
        false => Some(follow(&hops(&standard).ok_or_else(malformed)?, direct, trusted)),
    };
    let by_older = match older.is_empty() {
        true => None,
        false => {
            let hops: Vec<Hop> = older
                .split(',')
                .map(|client| Hop { client: node(client.trim()), ..Hop::default() })
                .collect();
            Some(follow(&hops, direct, trusted))
        }
    };
    if let (Some((standard, _)), Some((older, _))) = (&by_standard, &by_older)
        && standard.client != older.client
    {
        // A proxy that writes one of them passes on the other as its client sent it. Which is
        // which cannot be seen from here.
        return Err(HttpError::bad_request(
            "Forwarded and X-Forwarded-For contradict each other: the proxy has to remove the one \
             that it does not write",
        ));
    }
    if let Some((said, _)) = by_standard {
        return Ok(said);
    }
    let (mut said, proxies) =
        by_older.unwrap_or((Said { client: direct, https: None, host: None }, 1));
    // Proxies write one value over the other or add theirs at the end; the one of the outermost
    // trusted proxy stands as far from the end as its client's address.
    let of_outermost = |name: &HeaderName| {
        let values = joined(headers, name).filter(|values| !values.is_empty())?;
        let values: Vec<&str> = values.split(',').map(str::trim).collect();
        values.get(values.len().saturating_sub(proxies)).map(|value| (*value).to_owned())
    };
    said.https = of_outermost(&X_PROTO).as_deref().map(is_https);
    said.host = of_outermost(&X_HOST).filter(|host| is_host(host));
    Ok(said)
}

/// Walks from the nearest proxy outwards as long as proxies are trusted. Also says how many proxies
/// were listened to.
fn follow(hops: &[Hop], direct: IpAddr, trusted: &TrustedProxies) -> (Said, usize) {
    let mut said = Said { client: direct, https: None, host: None };
    let mut proxies = 0;
    for hop in hops.iter().rev().take(MOST_PROXIES) {
        proxies += 1;
        said.https = hop.proto.as_deref().map(is_https).or(said.https);
        let host = hop.host.as_deref().filter(|host| is_host(host)).map(str::to_owned);
        said.host = host.or(said.host);
        // An address that is kept secret or cannot be read: nobody further out can be checked.
        let Some(client) = hop.client else { break };
        said.client = client;
        if !trusted.contains(client) {
            break;
        }
    }
    (said, proxies.max(1))
}

fn is_https(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
}

/// All values of a header as one list; `None` when one is not text.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Result<Vec<_>, _> =
        headers.get_all(name).iter().map(|value| value.to_str()).collect();
    Some(values.ok()?.join(","))
}

/// The elements of a `Forwarded` header (RFC 7239 section 4).
fn hops(text: &str) -> Option<Vec<Hop<'_>>> {
    let mut hops = Vec::new();
    let mut hop = Hop::default();
    let mut rest = text.trim_start();
    loop {
        let end = rest.find(['=', ';', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        let name = name.trim();
        if let Some(after) = after.strip_prefix('=') {
            let (value, after) = value(after)?;
            match name.to_ascii_lowercase().as_str() {
                "for" => hop.client = node(&value),
                "proto" => hop.proto = Some(value),
                "host" => hop.host = Some(value),
                _ => {}
            }
            rest = after.trim_start();
        } else if name.is_empty() {
            rest = after;
        } else {
            return None;
        }
        let mut following = rest.chars();
        match following.next() {
            Some(';') => {}
            Some(',') => hops.push(std::mem::take(&mut hop)),
            Some(_) => return None,
            None => {
                hops.push(hop);
                return Some(hops);
            }
        }
        rest = following.as_str().trim_start();
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return Some((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some((Cow::Owned(value), letters.as_str())),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
}

/// The address of a node (RFC 7239 section 6), whatever its port; `None` for `unknown` and the like.
fn node(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        // An IPv6 address without brackets has more than one colon; `X-Forwarded-For` allows it.
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&str, &str)]) -> Result<(String, Option<bool>, Option<String>), u16> {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".into(), "::1".into()]).expect("a list");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).expect("a name"), value.parse().expect("text"));
        }
        listen(&map, IpAddr::from([10, 0, 0, 1]), &trusted)
            .map(|said| (said.client.to_string(), said.https, said.host))
            .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn networks_and_addresses_are_read() {
        let list = |text: &str| TrustedProxies::parse(&[text.to_owned()]);
        for (text, inside, outside) in [
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("127.0.0.0/8", "127.0.0.9", "::1"),
        ] {
            let proxies = list(text).expect(text);
            assert!(proxies.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!proxies.contains(outside.parse().unwrap()), "{text} {outside}");
        }
        for bad in ["", "proxy.example", "10.0.0.0/33", "10.0.0.0/-1", "*"] {
            assert!(list(bad).is_err(), "{bad}");
        }
        assert!(!TrustedProxies::default().contains([127, 0, 0, 1].into()));
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        for (name, value, client) in [
            ("forwarded", "for=192.0.2.60", "192.0.2.60"),
            ("forwarded", "For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("forwarded", "for=203.0.113.1, for=192.0.2.60", "192.0.2.60"),
            ("forwarded", "for=203.0.113.1, for=192.0.2.60;by=x , for=10.9.9.9", "192.0.2.60"),
            ("forwarded", "for=203.0.113.1, for=unknown", "10.0.0.1"),
            ("forwarded", "for=203.0.113.1, for=\"_x\", for=10.2.2.2", "10.2.2.2"),
            ("forwarded", "proto=https", "10.0.0.1"),
            ("x-forwarded-for", "192.0.2.60", "192.0.2.60"),
            ("x-forwarded-for", "203.0.113.1, 192.0.2.60, 10.3.3.3", "192.0.2.60"),
            ("x-forwarded-for", "192.0.2.60:8080", "192.0.2.60"),
            ("x-forwarded-for", "2001:db8::1", "2001:db8::1"),
            ("x-forwarded-for", "10.3.3.3, 10.4.4.4", "10.3.3.3"),
            ("x-forwarded-for", "203.0.113.1, nonsense", "10.0.0.1"),
        ] {
            let (found, ..) = said(&[(name, value)]).expect(value);
            assert_eq!(found, client, "{name}: {value}");
        }
        let (found, ..) =
            said(&[("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "192.0.2.1")]).unwrap();
        assert_eq!(found, "192.0.2.1", "several headers are one list");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_outermost_trusted_proxy() {
        let forwarded = "for=203.0.113.9;proto=http;host=evil.example, \
            for=192.0.2.1;host=\"pacs.example:8443\";proto=https, for=10.5.5.5;proto=http;host=in";
        let (_, https, host) = said(&[("forwarded", forwarded)]).unwrap();
        assert_eq!((https, host.as_deref()), (Some(true), Some("pacs.example:8443")));
        let (_, https, host) = said(&[
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.5.5.5"),
            ("x-forwarded-proto", "http, https, http"),
            ("x-forwarded-host", "evil.example, pacs.example, in"),
        ])
        .unwrap();
        assert_eq!((https, host.as_deref()), (Some(true), Some("pacs.example")));
        let (_, https, host) = said(&[
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a/b"),
        ])
        .unwrap();
        assert_eq!((https, host), (Some(true), None), "no host, no harm");
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for headers in [
            &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.2")][..],
            &[("forwarded", "for=\"192.0.2.1")],
            &[("forwarded", "for=192.0.2.1 for=192.0.2.2")],
            &[("forwarded", "192.0.2.1")],
        ] {
            assert_eq!(said(headers), Err(400), "{headers:?}");
        }
        let both = [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(said(&both).unwrap().0, "192.0.2.1");
    }
}
