//! Headers that browsers are told with every answer, and bodies that nobody asked for; for every
//! route there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use futures_util::stream;
use std::net::SocketAddr;

use super::data::Instance;
use super::node::{Answer, Node};
use crate::dicomweb::routes;
use crate::forwarded::OverTls;
use crate::portal;
use crate::{Logins, PerAddress, TrustedProxies, WebConfig};

/// Paths that no table holds.
const OTHERS: &[&str] =
    &["/studies/nonsense", "/healthz", "/readyz", "/nothing/here", "/dicom-web/nothing"];

/// Every page there is, from their table, and other paths.
fn pages() -> Vec<String> {
    let own = portal::PAGES.iter().map(|page| filled(page.path));
    own.chain(OTHERS.iter().map(|path| (*path).to_owned())).collect()
}

/// A path with its variables filled in.
fn filled(path: &str) -> String {
    let path = path
        .replace("{study}", "1.2.826.1")
        .replace("{series}", "1.2.826.1.1")
        .replace("{instance}", "1.2.826.1.1.1")
        .replace("{frames}", "1");
    let segments = path.split('/').map(|part| if part.starts_with('{') { "1.2.3" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

/// Every route of DICOMweb with its method, its variables filled in.
fn routes() -> impl Iterator<Item = (Method, String)> {
    routes::all().map(|route| {
        let method = Method::from_bytes(route.verb.name().as_bytes()).expect("a method");
        (method, format!("/dicom-web{}", filled(route.path)))
    })
}

fn check(answer: &Answer, what: &str) {
    let policy = answer.header("content-security-policy");
    let rule = |name: &str| {
        policy.split(';').map(str::trim).find(|rule| rule.starts_with(name)).unwrap_or_default()
    };
    let framed = rule("frame-ancestors");
    assert!(
        framed == "frame-ancestors 'self'" || framed == "frame-ancestors 'none'",
        "{what}: {policy}"
    );
    let pdf = answer.header("content-type") == "application/pdf";
    assert!(pdf || !rule("default-src").is_empty(), "{what}: {policy}");
    let scripts = rule("script-src");
    assert!(!scripts.contains("unsafe-inline") && !scripts.contains("http"), "{what}: {policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "SAMEORIGIN"),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name}");
    }
    assert!(answer.header("permissions-policy").contains("camera=()"), "{what}");
}

#[tokio::test]
async fn every_answer_says_what_it_may_do() {
    let node = Node::start().await;
    node.store(&[Instance::new(1, 1, 1)]).await;
    let pages = pages()
        .into_iter()
        .flat_map(|path| [Method::GET, Method::POST].map(|method| (method, path.clone())));
    for (method, path) in routes().chain(pages) {
        let answer = node.request(method.clone(), &path, &[], Vec::new()).await;
        check(&answer, &format!("{method} {path}"));
        let wrong = node.request(Method::PATCH, &path, &[], Vec::new()).await;
        check(&wrong, &format!("PATCH {path}"));
    }
    let request = Request::get("/studies").header(header::HOST, "evil.example");
    check(&node.send(request.body(Body::empty()).expect("a request")).await, "another host");
}

#[tokio::test]
async fn pages_hold_no_scripts_and_styles_of_their_own() {
    let node = Node::start().await;
    node.store(&[Instance::new(1, 1, 1)]).await;
    for path in pages() {
        let answer = node.get(&path).await;
        if !answer.header("content-type").starts_with("text/html") {
            continue;
        }
        let policy = answer.header("content-security-policy");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let text = answer.text();
        for wrong in ["<style", " style=", " onclick=", " onload=", "javascript:", "<script>"] {
            assert!(!text.contains(wrong), "{path} holds {wrong}");
        }
    }
}

/// What stands in a stranger's object never runs as one of our pages.
#[tokio::test]
async fn what_came_in_objects_is_kept_in_a_sandbox() {
    let node = Node::start().await;
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = super::data::Pixels::None;
    node.store(&[instance.clone()]).await;
    let page = node.get_as(&format!("{}/rendered", instance.path()), "text/html").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let policy = page.header("content-security-policy");
    assert!(policy.contains("sandbox") && !policy.contains("allow-scripts"), "{policy}");
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
}

#[tokio::test]
async fn transport_security_is_asked_for_over_tls_alone() {
    let proxies = TrustedProxies::parse(&["192.0.2.1".to_owned()]).expect("a list");
    let node =
        Node::start_with(WebConfig { trusted_proxies: proxies, ..WebConfig::default() }).await;
    let ask = async |peer: [u8; 4], tls: bool, forwarded: &str| {
        let request = Request::get("/dicom-web/studies").header(header::HOST, "localhost");
        let mut request = request.header("forwarded", forwarded).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
        if tls {
            request.extensions_mut().insert(OverTls);
        }
        node.send(request).await.header("strict-transport-security").to_owned()
    };
    let asked = "max-age=31536000";
    assert_eq!(ask([192, 0, 2, 9], false, "proto=https").await, "", "anybody can say so");
    assert_eq!(ask([192, 0, 2, 9], true, "proto=http").await, asked);
    assert_eq!(ask([192, 0, 2, 1], false, "for=192.0.2.7;proto=https").await, asked);
    assert_eq!(ask([192, 0, 2, 1], false, "for=192.0.2.7;proto=http").await, "");
}

#[tokio::test]
async fn addresses_have_their_turns_whatever_they_say_of_themselves() {
    let proxies = TrustedProxies::parse(&["192.0.2.1".to_owned()]).expect("a list");
    let config = WebConfig {
        trusted_proxies: proxies,
        requests_per_second: PerAddress { remote: 1, loopback: 0 },
        ..WebConfig::default()
    };
    let node = Node::start_with(config).await;
    let ask = async |peer: [u8; 4], client: usize| {
        let client = format!("203.0.113.{client}");
        let request = Request::get("/healthz").header("x-forwarded-for", client);
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
        node.send(request).await
    };
    let mut refused = 0;
    for client in 0..50 {
        let answer = ask([192, 0, 2, 9], client).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1));
            refused += 1;
        }
    }
    assert!(refused > 30, "{refused} of 50 refused");
    for client in 0..50 {
        assert_eq!(ask([192, 0, 2, 1], client).await.status, 200, "clients of a trusted proxy");
        assert_eq!(ask([127, 0, 0, 1], client).await.status, 200, "loopback");
    }
}

/// Guesses at one account are stopped by its lock, those at many accounts by the address.
#[tokio::test]
async fn an_address_that_guesses_is_turned_away() {
    let logins = Logins {
        lifetime: Duration::from_secs(3600),
        idle: Duration::from_secs(3600),
        https: false,
    };
    let node = Node::start_with(WebConfig { logins: Some(logins), ..WebConfig::default() }).await;
    let guess = async |peer: [u8; 4], login: usize| {
        let request = Request::post("/login")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = Body::from(format!("login=somebody{login}&password=not+the+right+one&next="));
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
        node.send(request).await
    };
    for login in 0..30 {
        assert_eq!(guess([192, 0, 2, 1], login).await.status, 401, "{login}");
    }
    let refused = guess([192, 0, 2, 1], 30).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 1));
    assert_eq!(guess([192, 0, 2, 2], 31).await.status, 401, "others are not concerned");
}

/// However much is sent, a route reads no more than what it can use: STOW-RS as much as it is
/// allowed, workitems and forms a little, all others nothing to speak of.
#[tokio::test]
async fn no_route_reads_a_body_without_end() {
    const MOST: u64 = 8 << 20;
    let config = WebConfig { max_body: 4 << 20, allow_delete: true, ..WebConfig::default() };
    let node = Node::start_with(config).await;
    let pages = pages().into_iter().map(|path| (Method::POST, path));
    for (method, path) in routes().chain(pages) {
        for kind in [
            "application/dicom+json",
            "application/dicom",
            "application/zip",
            "application/x-www-form-urlencoded",
            "multipart/related; type=\"application/dicom\"; boundary=x",
        ] {
            let read = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&read);
            let endless = stream::repeat_with(move || {
                counter.fetch_add(65_536, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536]))
            });
            // Sixty-four MiB stand for endless: the test has to end where the server does not.
            let body = Body::from_stream(futures_util::StreamExt::take(endless, 1024));
            let request = Request::builder().method(method.clone()).uri(&path);
            let request = request.header(header::HOST, "localhost").header("content-type", kind);
            let answer = node.send(request.body(body).expect("a request")).await;
            let read = read.load(Ordering::Relaxed);
            assert!(read <= MOST, "{method} {path} ({kind}): read {read} bytes, {}", answer.status);
        }
    }
}
