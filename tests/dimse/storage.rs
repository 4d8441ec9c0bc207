//! C-STORE: statuses, duplicates, odd fragments, aborts, private SOP classes, other people's clients.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::value;
use crate::support::{eventually, sample};
use std::time::Duration;

on_both_setups! {
    /// Fragments of every size, many messages on one association, two associations into one study.
    fragments_may_be_cut_anywhere = fragments;
    /// An abort or a lost connection in the middle of an object leaves nothing.
    an_abort_leaves_nothing = abort;
    /// The same instance again is Success without a copy; with other content the newest answers.
    duplicates_follow_the_policy = duplicates;
    /// pynetdicom stores private SOP classes and many contexts; DCMTK stores a folder.
    other_peoples_senders = senders;
}

fn connect(node: &Node) -> (Peer, u8) {
    let offers = [(CT, &[EXPLICIT][..])];
    let peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    (peer, context)
}

fn fragments(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    let (mut one, context) = connect(&node);
    let (mut other, _) = connect(&node);
    for (number, size) in [1, 2, 3, 7, 64, 4096, 16_372, 1 << 16].into_iter().enumerate() {
        let instance = synth::ct(&place, number as u32, 16);
        one.begin_store(context, CT, &instance.uid).expect("begin");
        let parts: Vec<_> = instance.data_set.chunks(size).collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            if last && number % 2 == 0 {
                // The last fragment may be empty.
                one.send(context, false, false, part).expect("send");
                one.send(context, false, true, &[]).expect("send");
            } else {
                one.send(context, false, last, part).expect("send");
            }
        }
        assert_eq!(one.response().expect("a response").status, 0, "fragments of {size}");
        let beside = synth::ct(&place, 100 + number as u32, 16);
        let response = other.store(context, CT, &beside.uid, &beside.data_set).expect("store");
        assert_eq!(response.status, 0);
        for instance in [instance, beside] {
            assert!(
                node.web().file(&instance).ends_with(&instance.data_set),
                "fragments of {size}"
            );
        }
    }
    one.release().expect("release");
    other.release().expect("release");
    let study = &node.web().json(&format!("/studies?StudyInstanceUID={}", place.study))[0];
    assert_eq!(value(study, "00201208"), "16", "instances of the study");
    assert_eq!(value(study, "00201206"), "1", "series of the study");
}

fn abort(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    // One that stays in memory, one that goes to a spool file.
    for (number, rows) in [(1, 64), (2, 48_000)] {
        let instance = synth::ct(&place, number, rows);
        for hang_up in [true, false] {
            let (mut peer, context) = connect(&node);
            peer.begin_store(context, CT, &instance.uid).expect("begin");
            let half = &instance.data_set[..instance.data_set.len() / 2];
            for part in half.chunks(peer.fragment()) {
                peer.send(context, false, false, part).expect("send");
            }
            if hang_up { drop(peer) } else { peer.abort() }
        }
    }
    eventually("the associations end", Duration::from_secs(10), || {
        (sample::metric(&node, "qianli_dimse_associations_active") == 0.0).then_some(())
    });
    assert!(node.web().json(&format!("/studies?StudyInstanceUID={}", place.study)).is_empty());
    let leftovers = sample::leftovers(&node);
    assert!(leftovers.is_empty(), "left behind: {leftovers:?}");
}

fn duplicates(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let first = synth::ct(&place, 1, 16);
    let other = {
        let elements = synth::elements(&place, CT, &first.uid)
            .text(0x0010_0010, "PN", "Second^Version")
            .text(0x0008_1030, "LO", "Second version");
        let image = synth::image(elements, 16, 128, synth::noise(99, 16 * 256));
        Instance::new(&place, CT, &first.uid, &image)
    };
    let (mut peer, context) = connect(&node);
    let mut send = |instance: &Instance| {
        let response = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
        assert_eq!(response.status, 0, "{}", response.comment);
    };
    let count = || {
        let rows = web.json(&format!("/studies/{}/instances", place.study));
        let study = &web.json(&format!("/studies?StudyInstanceUID={}", place.study))[0];
        (rows.len(), value(study, "00201208"))
    };
    send(&first);
    send(&first);
    assert_eq!(count(), (1, "1".to_owned()));
    assert!(web.file(&first).ends_with(&first.data_set));
    send(&other);
    assert_eq!(count(), (1, "1".to_owned()), "one instance, whatever its versions");
    assert!(web.file(&other).ends_with(&other.data_set), "the newest answers");
    let metadata = &web.json(&format!("{}/metadata", other.path()))[0];
    assert_eq!(value(metadata, "00081030"), "Second version");
    let frame = web.dicom(&format!("{}/frames/1", other.path())).send_ok();
    assert_eq!(frame.parts()[0].body, synth::noise(99, 16 * 256), "frames are of the newest too");
    // The first again: it becomes the newest, or the node knows that it has it; it must be whole.
    send(&first);
    let back = web.file(&first);
    assert!(back.ends_with(&first.data_set) || back.ends_with(&other.data_set));
    assert_eq!(count().0, 1);
}

fn senders(setup: &Setup) {
    let node = Node::start(setup);
    if let Some(ran) = clients::python(&node, "storage.py", &[]) {
        println!("{}", ran.ok());
    }
    let folder = node.scratch().join("outgoing");
    std::fs::create_dir_all(&folder).expect("create a folder");
    let place = Place::new();
    for number in 0..20 {
        let instance = synth::ct(&place, number, 16);
        std::fs::write(folder.join(format!("{number}.dcm")), instance.part10()).expect("write");
    }
    let path = folder.to_string_lossy().into_owned();
    if clients::has_dcmtk() {
        clients::dcmtk(&node, "storescu", &["-v", "-R", "-xe", "+sd"], &[&path]).ok();
        let rows = node.web().json(&format!("/studies/{}/instances", place.study));
        assert_eq!(rows.len(), 20);
    }
    let second = Node::start(&Setup::Embedded);
    let output = node.run("send", &[&second.destination(), &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(second.web().json(&format!("/studies/{}/instances", place.study)).len(), 20);
}
