//! Lines 41, 42 and 45: what servers get wrong about associations, and five hundred of them at once.

use crate::support::eventually;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, NoAssociation, Offer, Peer, VERIFICATION, outcome};
use crate::support::sample;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Place};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// Nobody's.
const UNKNOWN: &str = "1.2.840.10008.5.1.1.9";

/// One SOP class in several contexts, each with its own encoding; an association without any accepted
/// context is answered at once and can be released.
#[test]
fn gotcha_41_contexts_of_one_class_and_none_at_all() {
    let node = Node::start(&Setup::Embedded);
    let offers: [Offer<'_>; 3] = [(CT, &[EXPLICIT]), (CT, &[IMPLICIT]), (UNKNOWN, &[IMPLICIT])];
    let mut peer = Peer::associate(node.dimse(), AE, "CT1", &offers).expect("associate");
    let place = Place::new();
    let context = peer.context(CT, EXPLICIT).expect("explicit");
    assert!(peer.context(CT, IMPLICIT).is_some_and(|other| other != context));
    for number in 0..2 {
        let image = synth::ct(&place, number, 16);
        let answer = peer.store(context, CT, &image.uid, &image.data_set).expect("an answer");
        assert_eq!(answer.status, 0, "{}", answer.comment);
    }
    peer.release().expect("release");

    let begin = Instant::now();
    let none: [Offer<'_>; 2] = [(UNKNOWN, &[IMPLICIT]), (CT, &["1.2.3.4.5"])];
    let peer = Peer::associate(node.dimse(), AE, "CT1", &none).expect("an answer");
    assert!(peer.contexts.iter().all(|context| context.result != 0));
    peer.release().expect("release");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// A P-DATA that stops in its middle ends in an abort; lengths hold in both directions; titles are
/// trimmed, and invalid ones rejected for what they are.
#[test]
fn gotcha_42_data_that_stops_and_limits_both_ways() {
    let node =
        Node::plan(&Setup::Embedded).args(["--idle-timeout", "2s", "--max-pdu", "16KiB"]).start();
    let offers: [Offer<'_>; 2] = [(VERIFICATION, &[IMPLICIT]), (CT, &[EXPLICIT])];
    let associate =
        |called: &str, calling: &str| Peer::associate(node.dimse(), called, calling, &offers);
    let mut stopped = associate(AE, "CT1").expect("associate");
    let context = stopped.context(CT, EXPLICIT).expect("a context");
    stopped.begin_store(context, CT, &synth::new_uid()).expect("send");
    // Of 200 bytes four come.
    stopped.send_raw(&[4, 0, 0, 0, 0, 206, 0, 0, 0, 202, context, 0, 8, 0, 5, 0]).expect("send");
    assert_eq!(stopped.read_pdu().expect("an abort").0, 7);

    let mut large = associate(AE, "CT1").expect("associate");
    assert_eq!(large.max_pdu, 16384);
    large.send_raw(&[4, 0, 0, 1, 0, 0]).expect("send");
    // A-ABORT of the provider: invalid PDU parameter value.
    assert_eq!(large.read_pdu().expect("an abort"), (7, vec![0, 0, 2, 6]));

    let mut padded = associate(&format!(" {AE}"), " CT1").expect("titles are trimmed");
    assert_eq!(padded.echo(1).expect("echo").status, 0);
    for (called, calling, reason) in
        [("", "CT1", 7), (AE, "", 3), (AE, "A\\B", 3), ("OTHER", "CT1", 7)]
    {
        match associate(called, calling) {
            Err(NoAssociation::Rejected { result: 1, source: 1, reason: given })
                if given == reason => {}
            other => panic!("{called:?} {calling:?}: {}", outcome(&other)),
        }
    }
}

/// Associations that die in every way leave no place taken, no file and no open socket.
#[test]
fn gotcha_45_associations_that_die_leave_nothing() {
    let node = Node::plan(&Setup::Embedded).args(["--max-associations", "4"]).start();
    let offers = [(CT, &[EXPLICIT][..])];
    let associate = || {
        eventually("a place is free", LIMIT, || {
            Peer::associate(node.dimse(), AE, "CT1", &offers).ok()
        })
    };
    associate().release().expect("release");
    let before = sample::open_files(&node);
    for round in 0..60 {
        let mut peer = associate();
        let context = peer.context(CT, EXPLICIT).expect("a context");
        if round % 2 == 0 {
            peer.begin_store(context, CT, &synth::new_uid()).expect("send");
            // Beyond what is kept in memory, so that there is a file.
            for _ in 0..(if round % 20 == 0 { 160 } else { 1 }) {
                peer.send(context, false, false, &vec![0; 60_000]).expect("send");
            }
        }
        match round % 3 {
            0 => peer.abort(),
            1 => drop(peer),
            _ => peer.send_raw(&[9, 9, 9, 9, 9, 9]).expect("send"),
        }
    }
    eventually("everything is given back", LIMIT, || {
        let active = sample::metric(&node, "qianli_dimse_associations_active");
        let open = sample::open_files(&node);
        (active == 0.0 && open <= before + 4 && sample::leftovers(&node).is_empty()).then_some(())
    });
}

/// Five hundred associations that do nothing cost little memory; one more is told that it may come again,
/// those that are there go on, and whoever comes later finds the places again.
#[test]
fn five_hundred_idle_associations() {
    let node = Node::plan(&Setup::Embedded).args(["--max-associations", "500"]).start();
    let offers: [Offer<'_>; 2] = [(VERIFICATION, &[IMPLICIT]), (CT, &[EXPLICIT])];
    let associate = || Peer::associate(node.dimse(), AE, "IDLE", &offers);
    associate().expect("associate").release().expect("release");
    let before = sample::resident(&node);
    let mut idle: Vec<Peer> = (0..500).map(|_| associate().expect("within the limit")).collect();
    match associate() {
        Err(NoAssociation::Rejected { result: 2, source: 3, reason: 2 }) => {}
        other => panic!("not rejected for the limit: {}", outcome(&other)),
    }
    let grown = sample::resident(&node).saturating_sub(before);
    println!("500 idle associations: {} KiB each", grown / 500 / 1024);
    assert!(grown < 64 << 20, "500 idle associations cost {} MiB", grown >> 20);
    for peer in &mut idle {
        assert_eq!(peer.echo(1).expect("echo").status, 0);
    }
    let image = synth::ct(&Place::new(), 1, 16);
    let last = idle.last_mut().expect("associations");
    assert_eq!(last.store(3, CT, &image.uid, &image.data_set).expect("an answer").status, 0);
    idle.truncate(400);
    let mut next = eventually("a place is free", LIMIT, || associate().ok());
    assert_eq!(next.echo(1).expect("echo").status, 0);
}
