//! Destinations as programs keep them, what is said of one that does not answer, and what commands say
//! of a peer that lacks what they ask for.

use crate::on_both_setups;
use crate::support::clients::Served;
use crate::support::node::{AE, Node};
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use serde_json::{Value, json};
use std::net::TcpListener;

on_both_setups! {
    /// Added, asked, changed and removed by programs; asked with what came of it.
    destinations_are_kept_and_asked = kept;
}

const ALL: &str = "/api/peers/destinations";

fn ask(node: &Node, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = node.web().request(method, path).header("Content-Type", "application/json");
    let answer = request.body(body.to_string()).send();
    let text = answer.text();
    (answer.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn kept(setup: &Setup) {
    let node = Node::start(setup);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let us = node.dimse().to_string();
    for (title, address) in [(AE, us.as_str()), ("WRONG", &us), ("OFF", &closed.to_string())] {
        let new = json!({"title": title, "address": address});
        assert_eq!(ask(&node, "POST", ALL, &new).0, 201, "{title}");
    }
    let echo = |title: &str| {
        let (status, told) = ask(&node, "POST", &format!("{ALL}/{title}/echo"), &json!({}));
        assert_eq!(status, 200, "{told}");
        told
    };
    assert_eq!(echo(AE)["answers"], true);
    let wrong = echo("WRONG");
    assert_eq!((&wrong["answers"], &wrong["cause"]), (&false.into(), &"called title".into()));
    let off = echo("OFF");
    assert_eq!((&off["answers"], &off["cause"]), (&false.into(), &"nothing listens".into()));
    assert!(off["advice"].as_str().is_some_and(|text| text.contains("Start the DICOM service")));
    if let Some(device) = Served::python("echo_scp.py") {
        let new = json!({"title": "ECHO", "address": format!("127.0.0.1:{}", device.port)});
        assert_eq!(ask(&node, "POST", ALL, &new).0, 201);
        assert_eq!(echo("ECHO")["answers"], true, "{}", echo("ECHO"));
    }
    let (status, changed) =
        ask(&node, "PATCH", &format!("{ALL}/OFF"), &json!({"address": us, "associations": 5}));
    assert_eq!((status, &changed["associations"]), (200, &5.into()));
    assert_eq!(echo("OFF")["cause"], "called title", "the new address counts at once");
    let listed = node.operator("peer", &["list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("OFF") && listed.contains("5 associations"), "{listed}");
    assert_eq!(ask(&node, "DELETE", &format!("{ALL}/OFF"), &json!({})).0, 204);
    let trail = node.operator("audit", &["list", "--action", "change peer", "--json"]);
    let trail = String::from_utf8_lossy(&trail.stdout).into_owned();
    for did in ["add destination", "change destination", "remove destination"] {
        assert!(trail.contains(did), "{did}: {trail}");
    }
}

#[test]
fn a_peer_that_lacks_a_service_is_told_with_what_mends_it() {
    let Some(device) = Served::python("echo_scp.py") else { return };
    let node = Node::start(&Setup::Embedded);
    let peer = format!("ECHO@127.0.0.1:{}", device.port);
    let file = node.scratch().join("one.dcm");
    std::fs::write(&file, synth::ct(&Place::new(), 1, 16).part10()).expect("write");
    let file = file.to_string_lossy().into_owned();
    let check = |command: &str, arguments: &[&str], service: &str| {
        let ran = node.run(command, &[&[peer.as_str()], arguments].concat());
        let words = [ran.stdout, ran.stderr].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        assert!(!ran.status.success(), "{command}: {words}");
        for part in [service, "Switch the service on at the device"] {
            assert!(words.contains(part), "{command} lacks {part:?}: {words}");
        }
    };
    check("find", &[], "Study Root Query/Retrieve Information Model - FIND");
    check("move", &["--to", "X", "--study", "1.2"], "Information Model - MOVE");
    let into = node.scratch().to_string_lossy().into_owned();
    check("get", &["--study", "1.2", "--into", &into], "Information Model - GET");
    check("commit", &[&file], "Storage Commitment Push Model");
    check("send", &[&file], "CT Image Storage");
}
