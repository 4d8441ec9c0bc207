//! Associations: negotiation, rejection, limits, aborts, release, and the drain on SIGTERM.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, NoAssociation, Offer, Peer, VERIFICATION};
use crate::support::peer::{associate_request, outcome};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Place};
use crate::support::{eventually, sample};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

on_both_setups! {
    /// On SIGTERM a store under way finishes with Success, new peers are turned away, and the
    /// process ends with exit code 0 and its data intact.
    sigterm_drains = drain;
}

/// DCMTK's echoscu, our own `echo`, and both with a wrong AE title.
#[test]
fn echo_and_wrong_titles() {
    let node = Node::start(&Setup::Embedded);
    if clients::has_dcmtk() {
        clients::dcmtk(&node, "echoscu", &["-aet", "SOMEBODY"], &[]).ok();
        let wrong = clients::dcmtk(&node, "echoscu", &["-aec", "NOBODY"], &[]);
        assert_ne!(wrong.code, Some(0));
        assert!(wrong.text.contains("Called AE Title Not Recognized"), "{}", wrong.text);
    }
    let output = node.run("echo", &[&node.destination()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let nobody = format!("NOBODY@{}", node.dimse());
    assert!(!node.run("echo", &[&nobody]).status.success(), "echo to a wrong title fails");

    match Peer::associate(node.dimse(), "NOBODY", "TEST", &[(VERIFICATION, &[IMPLICIT])]) {
        // PS3.8 table 9-21: permanent, by the service user, called AE title not recognised.
        Err(NoAssociation::Rejected { result: 1, source: 1, reason: 7 }) => {}
        other => panic!("not rejected for its called AE title: {}", outcome(&other)),
    }
}

/// What is accepted, what is not, and in which transfer syntax.
#[test]
fn contexts_are_negotiated_one_by_one() {
    let node = Node::start(&Setup::Embedded);
    let big_endian = "1.2.840.10008.1.2.2";
    let jpeg = "1.2.840.10008.1.2.4.50";
    let offers: [Offer<'_>; 7] = [
        (VERIFICATION, &[IMPLICIT]),
        (CT, &[IMPLICIT, EXPLICIT]),
        (CT, &[EXPLICIT, IMPLICIT]),
        (CT, &[jpeg]),
        (CT, &[big_endian]),
        ("1.2.826.0.1.3680043.10.1459.99.1", &[EXPLICIT]),
        (CT, &["1.2.3.4.5.6.7.8.9"]),
    ];
    let peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let got: Vec<_> =
        peer.contexts.iter().map(|c| (c.id, c.result, c.transfer_syntax.as_str())).collect();
    assert_eq!(got[..3], [(1, 0, IMPLICIT), (3, 0, IMPLICIT), (5, 0, EXPLICIT)]);
    assert_eq!(got[3..6], [(7, 0, jpeg), (9, 0, big_endian), (11, 0, EXPLICIT)]);
    // PS3.8 table 9-18: transfer syntaxes not supported.
    assert_eq!((got[6].0, got[6].1), (13, 4));
    assert!(peer.max_pdu >= 16384, "the node takes PDUs of {} bytes", peer.max_pdu);
    assert!(!peer.implementation.is_empty(), "the implementation class UID is sent");
    peer.release().expect("release");

    // As many contexts as an association can have, each with many syntaxes.
    let syntaxes = [EXPLICIT, IMPLICIT, jpeg, big_endian, "1.2.840.10008.1.2.5"];
    let many: Vec<Offer<'_>> = (0..128).map(|_| (CT, &syntaxes[..])).collect();
    let peer = Peer::associate(node.dimse(), AE, "TEST", &many).expect("associate");
    assert_eq!(peer.contexts.iter().filter(|c| c.result == 0).count(), 128);
    peer.release().expect("release");
}

/// The limit of associations turns the next peer away for the moment, and the place is free again
/// once a peer leaves, however it leaves.
#[test]
fn associations_are_limited_and_places_are_given_back() {
    let node = Node::plan(&Setup::Embedded).arg("--max-associations").arg("3").start();
    let associate = || Peer::associate(node.dimse(), AE, "TEST", &[(VERIFICATION, &[IMPLICIT])]);
    for round in 0..3 {
        let mut open: Vec<_> = (0..3).map(|_| associate().expect("within the limit")).collect();
        match associate() {
            // PS3.8 table 9-21: transient, by the presentation service, local limit exceeded.
            Err(NoAssociation::Rejected { result: 2, source: 3, reason: 2 }) => {}
            other => panic!("not rejected for the limit: {}", outcome(&other)),
        }
        for peer in &mut open {
            assert_eq!(peer.echo(1).expect("echo").status, 0);
        }
        for peer in open {
            match round {
                0 => peer.release().expect("release"),
                1 => peer.abort(),
                _ => drop(peer),
            }
        }
        eventually("the places are given back", Duration::from_secs(10), || {
            (sample::metric(&node, "qianli_dimse_associations_active") == 0.0).then_some(())
        });
    }
}

/// One address gets as many associations as it may have, and one line in the log says so.
#[test]
fn an_address_does_not_take_all_associations() {
    let node = Node::plan(&Setup::Embedded).args(["--max-associations-per-address", "2"]).start();
    let associate = || Peer::associate(node.dimse(), AE, "TEST", &[(VERIFICATION, &[IMPLICIT])]);
    let open: Vec<_> = (0..2).map(|_| associate().expect("within the limit")).collect();
    for _ in 0..5 {
        match associate() {
            Err(NoAssociation::Rejected { result: 2, source: 3, reason: 2 }) => {}
            other => panic!("not rejected for the limit: {}", outcome(&other)),
        }
    }
    let log = node.log();
    let told = log.lines().filter(|line| line.contains("max_associations_per_address"));
    let told: Vec<_> = told.collect();
    assert!(told.len() == 1 && told[0].contains("127.0.0.1"), "{told:?}");
    drop(open);
    eventually("the places are given back", Duration::from_secs(10), || associate().ok());
}

/// A request that dribbles in byte by byte is served; one that never comes is closed by ARTIM, and
/// an association that falls silent is aborted.
#[test]
fn slow_and_silent_peers() {
    let node = Node::plan(&Setup::Embedded)
        .args(["--artim-timeout", "2s", "--idle-timeout", "3s"])
        .start();
    let mut slow = TcpStream::connect(node.dimse()).expect("connect");
    slow.set_nodelay(true).expect("no delay");
    for byte in associate_request(AE, "SLOW", &[(VERIFICATION, &[IMPLICIT])]) {
        slow.write_all(&[byte]).expect("write");
    }
    let mut kind = [0];
    slow.read_exact(&mut kind).expect("an answer");
    assert_eq!(kind[0], 2, "A-ASSOCIATE-AC");

    for (first, what) in [(&b""[..], "nothing"), (b"\x01\x00\x00\x00\x10\x00abc", "half a request")]
    {
        let mut silent = TcpStream::connect(node.dimse()).expect("connect");
        silent.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
        silent.write_all(first).expect("write");
        let start = Instant::now();
        let mut rest = Vec::new();
        let end = silent.read_to_end(&mut rest);
        assert!(end.is_ok() || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(15), "{what} sent: closed only after {waited:?}");
    }

    let offers = [(VERIFICATION, &[IMPLICIT][..])];
    let mut idle = Peer::associate(node.dimse(), AE, "IDLE", &offers).expect("associate");
    let (kind, _) = idle.read_pdu().expect("an abort");
    assert_eq!(kind, 7, "A-ABORT after the idle timeout");
}

fn drain(setup: &Setup) {
    let mut node = Node::start(setup);
    let place = Place::new();
    // 12 MB: beyond what stays in memory, so that the spool file is part of it.
    let instance = synth::ct(&place, 1, 48_000);
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "DRAIN", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let fragment = peer.fragment();
    let fragments: Vec<_> = instance.data_set.chunks(fragment).collect();
    peer.begin_store(context, CT, &instance.uid).expect("begin");
    for part in &fragments[..fragments.len() / 2] {
        peer.send(context, false, false, part).expect("send");
    }
    node.signal_stop();
    eventually("new peers are turned away", Duration::from_secs(10), || {
        Peer::associate(node.dimse(), AE, "LATE", &offers).err()
    });
    for (index, part) in fragments.iter().enumerate().skip(fragments.len() / 2) {
        peer.send(context, false, index + 1 == fragments.len(), part).expect("send");
    }
    let response = peer.response().expect("the store under way is answered");
    assert_eq!(response.status, 0, "{}", response.comment);
    // The node may abort the idle association or wait for its release; both end it.
    let _ = peer.release();
    let status = node.wait(Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{status}");
    node.restart();
    assert!(node.web().file(&instance).ends_with(&instance.data_set));
}
