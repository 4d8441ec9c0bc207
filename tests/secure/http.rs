//! HTTPS, certificates that change, headers of proxies, limits per address.

use crate::support::clients::source;
use crate::support::eventually;
use crate::support::node::{Node, Plan};
use crate::support::setup::Setup;
use crate::support::tls::{Authority, Identity};
use crate::support::web::{client, value};
use reqwest::blocking::Client;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

fn with_tls(identity: &Identity) -> Plan {
    let plan = Node::plan(&Setup::Embedded);
    plan.arg("--tls-cert")
        .arg(identity.cert.to_string_lossy())
        .arg("--tls-key")
        .arg(identity.key.to_string_lossy())
}

fn address(node: &Node) -> SocketAddr {
    node.http().rsplit_once("//").expect("a URL").1.parse().expect("an address")
}

#[test]
fn https_is_spoken_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let node = with_tls(&authority.issue("pacs", folder.path())).start();
    assert!(node.http().starts_with("https://"), "{}", node.http());
    let (_, protocol) = authority.look(address(&node)).expect("a handshake");
    assert_eq!(protocol, b"h2");

    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).expect("a certificate");
    let trusting =
        Client::builder().no_proxy().tls_certs_only([root]).build().expect("a client that checks");
    let sample = source("sample-dicom/sc-result").to_string_lossy().into_owned();
    assert!(node.run("import", &[&sample]).status.success());
    let url = format!("{}/dicom-web/studies", node.http());
    let answer = trusting.get(&url).send().expect("an answer over TLS");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let hsts = answer.headers().get("strict-transport-security").expect("HSTS");
    assert!(hsts.to_str().is_ok_and(|text| text.starts_with("max-age=")));
    let studies: Vec<serde_json::Value> = answer.json().expect("JSON");
    let retrieve = value(&studies[0], "00081190");
    assert!(retrieve.starts_with(node.http()), "{retrieve}");

    let plain = node.http().replace("https://", "http://");
    let told = client().get(&plain).send().expect("an answer");
    assert_eq!(told.status(), 400);
    assert!(told.text().is_ok_and(|text| text.contains("https://")));
    let sent = client().get(&plain).header("accept", "text/html").send().expect("an answer");
    assert_eq!(sent.status(), 308);
    assert_eq!(sent.headers()["location"], format!("{}/", node.http()));

    let stranger = Authority::new("Hospital CA");
    assert!(stranger.look(address(&node)).is_none(), "another authority does not vouch for it");
}

#[test]
fn renewed_certificates_are_taken_over_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let identity = authority.issue("first", folder.path());
    let node = with_tls(&identity).start();
    let first = authority.look(address(&node)).expect("a handshake").0;

    let key = fs::read(&identity.key).expect("the key");
    fs::write(&identity.cert, "broken").expect("write");
    eventually("the log says what is wrong", Duration::from_secs(30), || {
        node.log().contains("cannot be used").then_some(())
    });
    assert!(node.log().contains("cert.pem"), "{}", node.log());
    assert_eq!(authority.look(address(&node)).expect("a handshake").0, first);
    assert_eq!(fs::read(&identity.key).expect("the key"), key);

    authority.issue("second", folder.path());
    let second = eventually("the new certificate is shown", Duration::from_secs(30), || {
        authority.look(address(&node)).map(|(shown, _)| shown).filter(|shown| *shown != first)
    });
    assert_ne!(first, second);
    assert!(node.log().contains("CN=second"), "{}", node.log());
}

#[test]
fn certificates_that_cannot_work_end_the_start_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let one = authority.issue("one", &folder.path().join("one"));
    let other = authority.issue("other", &folder.path().join("other"));
    let node = Node::start(&Setup::Embedded);
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    for (arguments, words) in [
        (vec!["--tls-cert", &text(&one.cert), "--tls-key", &text(&other.key)], "does not belong"),
        (vec!["--tls-cert", "/no/such.pem", "--tls-key", &text(&one.key)], "/no/such.pem"),
        (vec!["--tls-cert", &text(&one.cert)], "tls_key is missing"),
        (vec!["--dimse-tls", "127.0.0.1:0"], "needs a certificate"),
    ] {
        let mut all = vec!["--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"];
        all.extend(arguments.iter().copied());
        let output = node.run("serve", &all);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// What a client says about itself counts only through a proxy that is trusted.
#[test]
fn headers_of_proxies_count_only_from_them() {
    let spoofed = [
        ("forwarded", "for=203.0.113.9;proto=https;host=pacs.example"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "pacs.example"),
    ];
    let sample = source("sample-dicom/sc-result").to_string_lossy().into_owned();
    let ask = |node: &Node| {
        let request = client().get(format!("{}/dicom-web/studies", node.http()));
        spoofed.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };

    // Two requests per second and address, so ten at once; loopback too, since the number is set.
    let limit = ["--max-requests-per-second-per-address", "2"];
    let node = Node::plan(&Setup::Embedded).args(limit).start();
    assert!(node.run("import", &[&sample]).status.success());
    let mut refused = 0;
    let mut first = None;
    for number in 0..40 {
        let other = format!("203.0.113.{number}");
        let answer = ask(&node).header("x-real-ip", other).send().expect("an answer");
        if answer.status() == 429 {
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
        } else {
            assert!(!answer.headers().contains_key("strict-transport-security"));
            first.get_or_insert_with(|| answer.json::<serde_json::Value>().expect("JSON"));
        }
    }
    assert!(refused > 20, "spoofed addresses escaped the limit: {refused} of 40 refused");
    let retrieve = value(&first.expect("an answer")[0], "00081190");
    assert!(retrieve.starts_with(node.http()), "a spoofed host is believed: {retrieve}");

    let trusting =
        Node::plan(&Setup::Embedded).args(limit).args(["--trusted-proxies", "127.0.0.1"]).start();
    assert!(trusting.run("import", &[&sample]).status.success());
    let answer = ask(&trusting).send().expect("an answer");
    assert!(answer.headers().contains_key("strict-transport-security"));
    let studies: serde_json::Value = answer.json().expect("JSON");
    let retrieve = value(&studies[0], "00081190");
    assert!(retrieve.starts_with("https://pacs.example/dicom-web/"), "{retrieve}");
    for number in 0..40 {
        let address = format!("203.0.113.{}", 100 + number);
        let request = client().get(format!("{}/dicom-web/studies", trusting.http()));
        let answer = request.header("x-forwarded-for", address).send().expect("an answer");
        assert_eq!(answer.status(), 200, "every client behind the proxy has turns of its own");
    }
}
