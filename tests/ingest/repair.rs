//! What something outside took away, an object or the index, and how it comes back.

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::sample::files;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

on_both_setups! {
    /// When the index is lost, `rebuild` makes it again from the objects, which stay as they are.
    a_lost_index_is_made_again = rebuild;
}

fn objects(node: &Node) -> Vec<PathBuf> {
    let mut all = files(&node.data());
    all.retain(|path| path.extension().is_some_and(|extension| extension == "dcm"));
    all
}

fn words(output: &Output) -> String {
    let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.push_str(&String::from_utf8_lossy(&output.stderr));
    words
}

fn c_store(node: &Node, instance: &Instance) {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let response = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
    assert_eq!(response.status, 0, "{}", response.comment);
    peer.release().expect("release");
}

/// Success is said only for what is there: an object that was removed or cut short under us is
/// written again when it is sent again, and `doctor` tells of it before.
#[test]
fn sending_again_heals_a_lost_object() {
    let node = Node::start(&Setup::Embedded);
    let instance = synth::ct(&Place::new(), 1, 16);
    c_store(&node, &instance);
    for (round, by_stow) in [false, true, false, true].into_iter().enumerate() {
        let object = objects(&node).pop().expect("the object");
        if round < 2 {
            fs::remove_file(&object).expect("lose the object");
        } else {
            fs::write(&object, b"cut").expect("cut the object");
        }
        let doctor = node.run("doctor", &[]);
        assert!(!doctor.status.success(), "{}", words(&doctor));
        assert!(words(&doctor).contains(&instance.uid), "{}", words(&doctor));
        if by_stow {
            node.web().stow_instance(&instance)
        } else {
            c_store(&node, &instance)
        }
        assert!(node.web().file(&instance).ends_with(&instance.data_set), "round {round}");
        let _ = fs::remove_file(&object);
        let doctor = node.run("doctor", &["--objects"]);
        assert!(!words(&doctor).contains(&instance.uid), "{}", words(&doctor));
        assert_eq!(objects(&node).len(), 1, "one object, round {round}");
    }
    let study = &node.web().json(&format!("/studies?StudyInstanceUID={}", instance.place.study))[0];
    assert_eq!(value(study, "00201208"), "1");
}

/// Beside a running node, a sweep must not take what is on its way in.
#[test]
fn a_sweep_without_grace_asks_whether_nodes_run() {
    let node = Node::start(&Setup::Embedded);
    node.web().stow_instance(&synth::ct(&Place::new(), 1, 16));
    let sweep = node.run("sweep", &["--remove", "--grace", "1s"]);
    assert!(!sweep.status.success() && words(&sweep).contains("--offline"), "{}", words(&sweep));
    assert_eq!(objects(&node).len(), 1);
}

fn rebuild(setup: &Setup) {
    let mut node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let instances: Vec<_> = (1..6).map(|number| synth::ct(&place, number, 16)).collect();
    for instance in &instances {
        web.stow_instance(instance);
    }
    // The first got another content since; that one answers.
    let elements =
        synth::elements(&place, CT, &instances[0].uid).text(0x0010_0010, "PN", "Second^Version");
    let image = synth::image(elements, 16, 128, synth::noise(99, 16 * 256));
    let newer = Instance::new(&place, CT, &instances[0].uid, &image);
    std::thread::sleep(std::time::Duration::from_millis(1100)); // S3 tells seconds.
    c_store(&node, &newer);
    let study = format!("/studies?StudyInstanceUID={}", place.study);
    let before = web.json(&study)[0].clone();
    // Another hospital's: the store knows whose it is.
    assert!(add_tenant(&node).status.success());
    web.of_tenant("county").stow_instance(&synth::ct(&place, 1, 16));
    let count = objects(&node).len();

    // A fresh index beside the same store.
    let fresh = format!("sqlite:{}", node.scratch().join("fresh.db").display());
    let rebuilt = node.run("rebuild", &["--database", &fresh]);
    assert!(rebuilt.status.success(), "{}", words(&rebuilt));
    assert!(words(&rebuilt).contains("have one now         7"), "{}", words(&rebuilt));
    let again = node.run("rebuild", &["--database", &fresh]);
    assert!(words(&again).contains("have one now         0"), "{}", words(&again));
    assert_eq!(objects(&node).len(), count, "objects stay as they are");

    node.move_to_database(fresh);
    let mut after = node.web().json(&study)[0].clone();
    after["00081190"] = before["00081190"].clone();
    assert_eq!(after, before);
    assert!(node.web().file(&newer).ends_with(&newer.data_set), "the newer content answers");
    assert!(node.web().file(&instances[1]).ends_with(&instances[1].data_set));
    assert!(words(&rebuilt).contains("restored-2"), "{}", words(&rebuilt));
    assert_eq!(node.web().of_tenant("restored-2").json("/instances").len(), 1);
    assert_eq!(node.web().json("/instances").len(), 5);
    // The key of the next tenant is a new one.
    assert!(add_tenant(&node).status.success());
    assert_eq!(node.web().of_tenant("county").json("/studies").len(), 0);
}

fn add_tenant(node: &Node) -> Output {
    node.operator("tenant", &["add", "county"])
}
