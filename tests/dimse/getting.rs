//! C-GET and storage commitment, with other people's clients.

use std::net::TcpListener;

use crate::on_both_setups;
use crate::support::clients;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};

on_both_setups! {
    /// Every level and model, roles, syntaxes, failures and their counts, by pynetdicom.
    objects_come_on_the_association_that_asks = get;
    /// DCMTK's getscu gets the bytes that were stored.
    dcmtk_gets_what_was_stored = getscu;
    /// Reports on the same association and on another, refusals, by pynetdicom.
    what_is_stored_is_committed = commitment;
}

fn stored(node: &Node, count: u32) -> (Place, Vec<Instance>) {
    let place = Place::new();
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let instances: Vec<Instance> = (1..=count).map(|n| synth::ct(&place, n, 64)).collect();
    for one in &instances {
        let answer = peer.store(context, CT, &one.uid, &one.data_set).expect("store");
        assert_eq!(answer.status, 0);
    }
    peer.release().expect("release");
    (place, instances)
}

fn uids(instances: &[Instance]) -> String {
    instances.iter().map(|one| one.uid.as_str()).collect::<Vec<_>>().join(",")
}

fn get(setup: &Setup) {
    let Some(corpus) = crate::support::corpus::Corpus::open() else { return };
    let lossless = "1.2.840.10008.1.2.4.70";
    let all = corpus.of(&["valid"]);
    let compressed = all.iter().find(|entry| entry.transfer_syntax == lossless);
    let compressed = compressed.expect("the corpus has lossless JPEG");
    let node = Node::start(setup);
    let (place, instances) = stored(&node, 5);
    let path = compressed.path.to_string_lossy();
    node.operator("import", &[&path]);
    let row = &node.web().json(&format!("/studies?StudyInstanceUID={}", place.study))[0];
    let patient = crate::support::web::value(row, "00100020");
    let uids = uids(&instances);
    let arguments = [
        place.study.as_str(),
        place.series.as_str(),
        uids.as_str(),
        patient.as_str(),
        compressed.class.as_str(),
        compressed.instance.as_str(),
        lossless,
    ];
    if let Some(ran) = clients::python(&node, "getting.py", &arguments) {
        println!("{}", ran.ok());
    }
}

fn getscu(setup: &Setup) {
    if !clients::has_dcmtk() {
        return;
    }
    let node = Node::start(setup);
    let (place, instances) = stored(&node, 12);
    let folder = node.scratch().join("got");
    std::fs::create_dir_all(&folder).expect("create a folder");
    let (into, key) = (folder.to_string_lossy(), format!("StudyInstanceUID={}", place.study));
    let options = ["-v", "-S", "-od", &into, "-k", "QueryRetrieveLevel=STUDY", "-k", &key, "+B"];
    let words = clients::dcmtk(&node, "getscu", &options, &[]).ok();
    for one in &instances {
        let file = std::fs::read(folder.join(&one.uid));
        let bytes = file.unwrap_or_else(|error| panic!("{}: {error}: {words}", one.uid));
        assert!(bytes.ends_with(&one.data_set), "{} is not what was stored", one.uid);
    }
}

fn commitment(setup: &Setup) {
    let node = Node::start(setup);
    let (_, instances) = stored(&node, 30);
    let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("a port").port();
    let address = format!("127.0.0.1:{port}");
    let added = node.operator("peer", &["add", "COMMITSCU", &address]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let arguments = [port.to_string(), uids(&instances)];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(ran) = clients::python(&node, "commitment.py", &arguments) {
        println!("{}", ran.ok());
    }
}
