//! DIMSE over TLS (PS3.15 B.12): DCMTK, pynetdicom and our own commands, with and without
//! certificates of the peers.

use crate::support::clients::{self, source};
use crate::support::eventually;
use crate::support::node::{AE, Node};
use crate::support::setup::Setup;
use crate::support::tls::Authority;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn peers_store_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let ca = text(&authority.file(folder.path()));
    let own = authority.issue("pacs", &folder.path().join("node"));
    let node = Node::plan(&Setup::Embedded)
        .args(["--dimse-tls", "127.0.0.1:0"])
        .args(["--dimse-tls-cert", &text(&own.cert), "--dimse-tls-key", &text(&own.key)])
        .start();
    let port = node.dimse_tls().port();
    let peer = format!("{AE}@127.0.0.1:{port}");
    let samples = text(&source("sample-dicom/sc-result"));

    let ran = node.run("echo", &[&peer, "--tls", "--tls-ca", &ca]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let ran = node.run("send", &[&peer, &samples, "--tls", "--tls-ca", &ca]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(node.web().json("/studies").len(), 1);

    // The listener without TLS is another one, and this one speaks nothing else.
    assert!(node.run("echo", &[&node.destination()]).status.success());
    assert!(!node.run("echo", &[&peer]).status.success(), "plain DIMSE on the TLS port");
    let stranger = Authority::new("Hospital CA");
    let strange = text(&stranger.file(&{
        let other = folder.path().join("other");
        std::fs::create_dir(&other).expect("a folder");
        other
    }));
    let ran = node.run("echo", &[&peer, "--tls", "--tls-ca", &strange]);
    assert!(!ran.status.success(), "a certificate of an unknown authority was taken");
    assert!(node.run("echo", &[&peer, "--tls", "--tls-insecure"]).status.success());

    // A registered destination is called as it was registered, whatever else its address is.
    let address = format!("127.0.0.1:{port}");
    let try_with = |arguments: &[&str], ca: &str| {
        let arguments = [arguments, &["--tls-ca", ca]].concat();
        assert!(node.operator("peer", &arguments).status.success());
        node.operator("peer", &["echo", AE])
    };
    let new = ["add", AE, &address, "--tls", "--tls-name", "localhost"];
    assert!(try_with(&new, &ca).status.success());
    let stranger = try_with(&["change", AE], &strange);
    let said = String::from_utf8_lossy(&stranger.stderr);
    assert!(!stranger.status.success() && said.contains("TLS"), "{said}");

    if clients::has_dcmtk() {
        clients::dcmtk_at(port, "echoscu", &["+tla", "+cf", &ca], &[]).ok();
        let samples = text(&source("sample-dicom/mr-brain"));
        clients::dcmtk_at(port, "storescu", &["+tla", "+cf", &ca, "+sd"], &[&samples]).ok();
        assert_eq!(node.web().json("/studies").len(), 2);
    }
    if let Some(ran) = clients::python(&node, "tls.py", &[&port.to_string(), &ca]) {
        println!("{}", ran.ok());
    }
}

#[test]
fn peers_have_to_show_a_certificate_where_that_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let ca = text(&authority.file(folder.path()));
    let own = authority.issue("pacs", &folder.path().join("node"));
    let scanner = authority.issue("CT1", &folder.path().join("scanner"));
    let (scanner_cert, scanner_key) = (text(&scanner.cert), text(&scanner.key));
    let strange = Authority::new("Hospital CA").issue("CT1", &folder.path().join("strange"));
    let (strange_cert, strange_key) = (text(&strange.cert), text(&strange.key));
    let node = Node::plan(&Setup::Embedded)
        .args(["--dimse-tls", "127.0.0.1:0", "--dimse-tls-client-ca", &ca])
        .args(["--tls-cert", &text(&own.cert), "--tls-key", &text(&own.key)])
        .start();
    let port = node.dimse_tls().port();
    let peer = format!("{AE}@127.0.0.1:{port}");
    let echo = |cert: &str, key: &str| {
        let tls = ["--tls", "--tls-ca", &ca, "--tls-cert", cert, "--tls-key", key];
        let arguments: Vec<&str> = [peer.as_str()].into_iter().chain(tls).collect();
        node.run("echo", &arguments).status.success()
    };

    assert!(echo(&scanner_cert, &scanner_key));
    eventually("the log names the peer's certificate", Duration::from_secs(10), || {
        node.log()
            .lines()
            .any(|line| line.contains("accepted") && line.contains("CN=CT1"))
            .then_some(())
    });
    assert!(!echo(&strange_cert, &strange_key), "a certificate of another authority was taken");
    let without = node.run("echo", &[&peer, "--tls", "--tls-ca", &ca]);
    assert!(!without.status.success(), "a peer without a certificate was taken");
    eventually("the log says why", Duration::from_secs(10), || {
        node.log().contains("could not be talked to over TLS").then_some(())
    });

    if clients::has_dcmtk() {
        let own = ["+tls", &scanner_key, &scanner_cert, "-pw", "+cf", &ca];
        clients::dcmtk_at(port, "echoscu", &own, &[]).ok();
        let samples = text(&source("sample-dicom/sc-result"));
        let own = ["+tls", &scanner_key, &scanner_cert, "-pw", "+cf", &ca, "+sd"];
        clients::dcmtk_at(port, "storescu", &own, &[&samples]).ok();
        let refused = clients::dcmtk_at(port, "echoscu", &["+tla", "+cf", &ca], &[]);
        assert_ne!(refused.code, Some(0), "{}", refused.text);
    }
    let arguments = [&port.to_string(), &ca, &scanner_cert, &scanner_key];
    let arguments: Vec<&str> = arguments.iter().map(|text| text.as_str()).collect();
    if let Some(ran) = clients::python(&node, "tls.py", &arguments) {
        println!("{}", ran.ok());
    }
}

/// A device that is registered with its certificate is no other that says its AE title, not even one
/// with a certificate of the same authority.
#[test]
fn a_registered_certificate_is_the_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Hospital CA");
    let ca = text(&authority.file(folder.path()));
    let own = authority.issue("pacs", &folder.path().join("node"));
    let [scanner, other] = ["CT1", "CT2"].map(|name| {
        let identity = authority.issue(name, &folder.path().join(name));
        (text(&identity.cert), text(&identity.key))
    });
    let node = Node::plan(&Setup::Embedded)
        .args(["--dimse-tls", "127.0.0.1:0", "--dimse-tls-client-ca", &ca])
        .args(["--tls-cert", &text(&own.cert), "--tls-key", &text(&own.key)])
        .start();
    let peer = format!("{AE}@{}", node.dimse_tls());
    let echo = |(cert, key): &(String, String)| {
        let own = ["--tls", "--tls-ca", &ca, "--tls-cert", cert, "--tls-key", key, "--aet", "CT"];
        node.run("echo", &[[peer.as_str()].as_slice(), &own].concat()).status.success()
    };
    assert!(echo(&scanner) && echo(&other), "nobody is registered yet");
    let der = CertificateDer::from_pem_file(&scanner.0).expect("a certificate");
    let digest: Vec<String> = Sha256::digest(&der).iter().map(|b| format!("{b:02X}")).collect();
    for certificate in [digest.join(":"), "CN=CT1".to_owned()] {
        let added = node.operator("peer", &["add", "CT", "--certificate", &certificate]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        eventually("the register counts", Duration::from_secs(30), || {
            (!echo(&other)).then_some(())
        });
        assert!(echo(&scanner), "{certificate}");
        let plain = node.run("echo", &[&node.destination(), "--aet", "CT"]);
        assert!(!plain.status.success(), "without a certificate");
        let number = String::from_utf8_lossy(&added.stdout).trim().to_owned();
        assert!(node.operator("peer", &["remove", &number]).status.success());
        eventually("it is forgotten", Duration::from_secs(30), || echo(&other).then_some(()));
    }
}

/// Any certificate is taken only on this machine.
#[test]
fn insecure_calls_stay_on_this_machine() {
    let node = Node::start(&Setup::Embedded);
    // A listener that is reached by another address of this machine.
    let Some(own) = other_address() else {
        return crate::support::skip("calls beyond loopback", "this machine has no other address");
    };
    let listener = std::net::TcpListener::bind((own, 0)).expect("a port");
    let peer = format!("PACS@{}", listener.local_addr().expect("an address"));
    let ran = node.run("echo", &[&peer, "--tls", "--tls-insecure"]);
    assert!(!ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("loopback only"), "{said}");
}

/// An address of this machine that is not loopback. Connecting a UDP socket sends nothing.
fn other_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}
