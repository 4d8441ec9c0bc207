//! Who may call, whose images they bring, and what each service asks of a peer: every service of the
//! node for every permission, in its own tenant and in another.

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, NoAssociation, Peer, VERIFICATION, outcome};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::{clients, eventually};
use qianli::services::needs;
use qianli_dimse::Service;
use qianli_model::Permission;
use std::time::Duration;

on_both_setups! {
    /// Every DIMSE service, every permission of a peer, its own tenant and another.
    services_ask_for_what_they_need = matrix;
    /// Registered, from elsewhere, switched off, unknown: with what each gets to hear.
    peers_are_admitted_by_the_register = register;
    /// What a row says is changed, and what is there already is not changed by adding it again.
    rows_are_changed_in_place = changes;
}

const LIMIT: Duration = Duration::from_secs(30);

const STUDY_FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
const STUDY_MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
const STUDY_GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
const COMMITMENT: &str = "1.2.840.10008.1.20.1";
const WORKLIST: &str = "1.2.840.10008.5.1.4.31";
const PERFORMED_STEP: &str = "1.2.840.10008.3.1.2.3.3";

/// PS3.7 annex C: Refused: Not Authorized.
pub(super) const NOT_AUTHORISED: u16 = 0x0124;

#[track_caller]
pub(super) fn run(node: &Node, command: &str, arguments: &[&str]) -> String {
    let output = node.operator(command, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(super) fn call(node: &Node, called: &str, calling: &str) -> Result<Peer, NoAssociation> {
    let offers: [(&str, &[&str]); 8] = [
        (VERIFICATION, &[IMPLICIT]),
        (CT, &[EXPLICIT]),
        (STUDY_FIND, &[IMPLICIT]),
        (STUDY_GET, &[IMPLICIT]),
        (STUDY_MOVE, &[IMPLICIT]),
        (COMMITMENT, &[IMPLICIT]),
        (WORKLIST, &[IMPLICIT]),
        (PERFORMED_STEP, &[IMPLICIT]),
    ];
    Peer::associate(node.dimse(), called, calling, &offers)
}

fn store(peer: &mut Peer, instance: &Instance) -> u16 {
    let context = peer.context(CT, EXPLICIT).expect("a context");
    let answer = peer.store(context, CT, &instance.uid, &instance.data_set).expect("an answer");
    answer.status
}

fn image(place: &Place) -> Instance {
    synth::ct(place, 1, 16)
}

/// Asks for one service, and gives the status. A new service does not compile until it is asked for.
pub(super) fn ask(peer: &mut Peer, service: Service, place: &Place) -> u16 {
    match service {
        Service::Verification => {
            let context = peer.context(VERIFICATION, IMPLICIT).expect("a context");
            peer.echo(context).expect("an answer").status
        }
        Service::Storage => store(peer, &image(place)),
        Service::Query => other(peer, STUDY_FIND, 0x0020),
        Service::Get => other(peer, STUDY_GET, 0x0010),
        Service::Move => other(peer, STUDY_MOVE, 0x0021),
        Service::Commitment => other(peer, COMMITMENT, 0x0130),
        Service::Worklist => other(peer, WORKLIST, 0x0020),
        Service::PerformedStep => other(peer, PERFORMED_STEP, 0x0140),
    }
}

/// Sends a request with an empty data set, and gives the status of the last response.
fn other(peer: &mut Peer, class: &str, command: u16) -> u16 {
    let context = peer.context(class, IMPLICIT).expect("a context");
    peer.request(context, class, command).expect("an answer").status
}

#[track_caller]
pub(super) fn expect_rejected(result: Result<Peer, NoAssociation>, reason: u8) {
    match result {
        Err(NoAssociation::Rejected { result: 1, source: 1, reason: given }) => {
            assert_eq!(given, reason);
        }
        other => panic!("not rejected for reason {reason}: {}", outcome(&other)),
    }
}

/// The studies of a tenant.
fn studies(node: &Node, tenant: &str) -> usize {
    let path = format!("/tenants/{tenant}/dicom-web/studies");
    let answer = node.web().get(&path).accept("application/dicom+json").send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json_array().len()
}

fn matrix(setup: &Setup) {
    let node = Node::plan(setup).args(["--unknown-peers", "refuse"]).start();
    for (tenant, title) in [("county", "COUNTY"), ("centre", "CENTRE")] {
        run(&node, "tenant", &["add", tenant]);
        run(&node, "tenant", &["ae", tenant, title]);
    }
    for permission in Permission::ALL {
        let (calling, may) = (permission.name().to_uppercase(), permission.name());
        let row = [calling.as_str(), "--called", "COUNTY", "--may", may, "--tenant", "county"];
        run(&node, "peer", &[["add"].as_slice(), &row].concat());
    }
    eventually("the register is known", LIMIT, || call(&node, "COUNTY", "ADMINISTER").ok());
    let mut stored = 0;
    for permission in Permission::ALL {
        let calling = permission.name().to_uppercase();
        for service in Service::ALL {
            let mut peer = call(&node, "COUNTY", &calling).unwrap_or_else(|error| {
                panic!("{calling} is registered: {error}");
            });
            let allowed = needs(service).is_none_or(|needed| needed == permission);
            let status = ask(&mut peer, service, &Place::new());
            let refused = status == NOT_AUTHORISED;
            assert_eq!(
                !refused, allowed,
                "{service:?} for a peer that may {permission}: {status:04X}"
            );
            if service == Service::Storage && allowed {
                assert_eq!(status, 0);
            }
            stored += usize::from(service == Service::Storage && allowed);
            peer.release().expect("release");
            // Nothing of it holds for another tenant, nor for the node's own title.
            expect_rejected(call(&node, "CENTRE", &calling), 3);
            expect_rejected(call(&node, AE, &calling), 3);
        }
    }
    assert_eq!((studies(&node, "county"), stored), (1, 1));
    assert_eq!((studies(&node, "centre"), studies(&node, "default")), (0, 0));
    eventually("what was refused is audited", LIMIT, || {
        let listed = run(&node, "audit", &["list", "--action", "access denied", "--json"]);
        let row = |part: &str| listed.lines().any(|line| line.contains(part));
        (row("\"what\":\"storage\"") && row("\"reason\":\"registered elsewhere\"")).then_some(())
    });
}

fn register(setup: &Setup) {
    let node = Node::start(setup);
    run(&node, "tenant", &["add", "county"]);
    // A first start takes what a scanner sends.
    let mut peer = call(&node, AE, "CT1").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(store(&mut peer, &image(&Place::new())), 0);
    expect_rejected(call(&node, "COUNTY", "CT1"), 7);

    // Its address was mistyped: nobody else may say that it is CT1 either.
    let wrong = run(&node, "peer", &["add", "CT1", "--from", "192.0.2.0/24"]);
    eventually("the register counts", LIMIT, || call(&node, AE, "CT1").err());
    expect_rejected(call(&node, AE, "CT1"), 3);
    assert_eq!(store(&mut peer, &image(&Place::new())), NOT_AUTHORISED, "a running association");
    drop(peer);
    eventually("the refusal is remembered", LIMIT, || {
        let refused = run(&node, "peer", &["refused"]);
        let line = refused.lines().find(|line| line.contains("CT1"))?;
        (line.contains("registered elsewhere") && line.contains("127.0.0.1")).then_some(())
    });
    assert!(node.log().contains("not from 127.0.0.1"), "the log says what is wrong");
    assert!(call(&node, AE, "CT2").is_ok(), "others are as before");

    run(&node, "peer", &["remove", wrong.trim()]);
    // The scanner cannot be told another title: the operator sends it to its hospital.
    let row = run(&node, "peer", &["add", "CT1", "--from", "127.0.0.0/8", "--tenant", "county"]);
    let mut peer = eventually("it is let in again", LIMIT, || call(&node, AE, "CT1").ok());
    assert_eq!(store(&mut peer, &image(&Place::new())), 0);
    assert_eq!((studies(&node, "county"), studies(&node, "default")), (1, 1));

    // Whoever calls a title of a tenant works there.
    run(&node, "tenant", &["ae", "county", "COUNTY"]);
    let mut other = eventually("the title counts", LIMIT, || call(&node, "COUNTY", "MR9").ok());
    assert_eq!(store(&mut other, &image(&Place::new())), 0);
    assert_eq!((studies(&node, "county"), studies(&node, "default")), (2, 1));
    let taken = node.operator("tenant", &["ae", "default", "COUNTY"]);
    assert!(!taken.status.success(), "a title has one tenant");

    run(&node, "peer", &["disable", row.trim(), "--tenant", "county"]);
    eventually("it is switched off", LIMIT, || call(&node, AE, "CT1").err());
    assert_eq!(store(&mut peer, &image(&Place::new())), NOT_AUTHORISED);
    assert!(run(&node, "peer", &["list", "--tenant", "county"]).contains(" off "));
    run(&node, "peer", &["enable", row.trim(), "--tenant", "county"]);
    eventually("it is switched on", LIMIT, || call(&node, AE, "CT1").ok());
    if clients::has_dcmtk() {
        let options = ["-aet", "CT7", "-aec", "COUNTY"];
        clients::dcmtk(&node, "echoscu", &options, &[]).ok();
        let wrong = clients::dcmtk(&node, "echoscu", &["-aet", "CT7", "-aec", "CONTY"], &[]);
        assert!(wrong.text.contains("Called AE Title Not Recognized"), "{}", wrong.text);
    }
}

fn changes(setup: &Setup) {
    let node = Node::plan(setup).args(["--unknown-peers", "refuse"]).start();
    let row = run(&node, "peer", &["add", "CT1", "--from", "127.0.0.1"]);
    let mut peer = eventually("it is let in", LIMIT, || call(&node, AE, "CT1").ok());
    assert_eq!(ask(&mut peer, Service::Query, &Place::new()), NOT_AUTHORISED);
    let again =
        node.operator("peer", &["add", "CT1", "--from", "127.0.0.1", "--may", "store,read"]);
    let words = String::from_utf8_lossy(&again.stderr).into_owned();
    let command = format!("qianli peer change {} --may read,store", row.trim());
    assert!(!again.status.success() && words.contains(&command), "{words}");
    run(&node, "peer", &["change", row.trim(), "--may", "store,read"]);
    eventually("it may query in the same association", LIMIT, || {
        (ask(&mut peer, Service::Query, &Place::new()) != NOT_AUTHORISED).then_some(())
    });
    run(&node, "peer", &["change", "CT1", "--from", "192.0.2.0/24"]);
    eventually("it is registered elsewhere", LIMIT, || call(&node, AE, "CT1").err());
    let strangers = node.operator("peer", &["add", "*"]);
    assert!(strangers.status.success());
    assert!(String::from_utf8_lossy(&strangers.stderr).contains("draws strangers"));
    let trail = run(&node, "audit", &["list", "--action", "change peer", "--json"]);
    assert!(trail.contains("\"permissions\":\"read,store\""), "{trail}");

    run(&node, "peer", &["add", "PACS", "127.0.0.1:104", "--associations", "3"]);
    let moved = node.operator("peer", &["add", "PACS", "127.0.0.2:105"]);
    let words = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert!(!moved.status.success(), "{words}");
    assert!(words.contains("qianli peer change PACS 127.0.0.2:105"), "{words}");
    assert!(run(&node, "peer", &["list"]).contains("127.0.0.1:104"));
    run(&node, "peer", &["change", "PACS", "127.0.0.2:105", "--bandwidth", "2MB"]);
    let listed = run(&node, "peer", &["list"]);
    for part in ["127.0.0.2:105", "3 associations", "2000000 bytes/s"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
}
