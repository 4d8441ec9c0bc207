//! Lines 46 to 48: character sets.

use crate::on_both_setups;
use crate::support::data_set::DataSet;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::value;

on_both_setups! {
    /// GBK labelled as Latin-1 or not at all is read as what its sender is known to send.
    gotcha_47_charset_by_source = by_source;
}

/// "张^小东" in GBK.
const ZHANG: &[u8] = b"\xD5\xC5^\xD0\xA1\xB6\xAB";

/// An instance of a study of its own with this label and name.
fn named(charset: Option<&str>, name: &[u8]) -> Instance {
    let place = Place::new();
    let uid = format!("{}.1", place.series);
    let elements = synth::elements(&place, CT, &uid).without(0x0008_0005);
    let elements = match charset {
        Some(charset) => elements.text(0x0008_0005, "CS", charset),
        None => elements,
    };
    let elements: DataSet = elements.bytes(0x0010_0010, "PN", name.to_vec());
    Instance::new(&place, CT, &uid, &synth::image(elements, 4, 4, vec![0; 32]))
}

fn send(node: &Node, calling: &str, instance: &Instance) {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, calling, &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let response = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
    assert_eq!(response.status, 0, "{}", response.comment);
    peer.release().expect("release");
}

fn alphabetic(node: &Node, instance: &Instance) -> String {
    let path = format!("/studies?StudyInstanceUID={}", instance.place.study);
    let rows = node.web().json(&path);
    rows[0]["00100010"]["Value"][0]["Alphabetic"].as_str().unwrap_or_default().to_owned()
}

fn by_source(setup: &Setup) {
    let node = Node::plan(setup)
        .args(["--source-charsets", "OLDCT=gbk,SEOUL=euc-kr", "--unlabelled-charset", "gb18030"])
        .start();
    let mislabelled = named(Some("ISO_IR 100"), ZHANG);
    send(&node, "OLDCT", &mislabelled);
    assert_eq!(alphabetic(&node, &mislabelled), "张^小东");

    // Found by it, and told in the metadata as what it is.
    let found = node.web().json("/studies?PatientName=%E5%BC%A0*");
    assert_eq!(found.len(), 1);
    assert_eq!(value(&found[0], "0020000D"), mislabelled.place.study);
    let metadata = node.web().json(&format!("{}/metadata", mislabelled.path()));
    assert_eq!(value(&metadata[0], "00080005"), "ISO_IR 192");
    assert_eq!(metadata[0]["00100010"]["Value"][0]["Alphabetic"], "张^小东");
    // The object is kept as it was sent.
    assert!(node.web().file(&mislabelled).ends_with(&mislabelled.data_set));

    // The same source declares properly sometimes; that is believed.
    for (label, name) in [("ISO_IR 192", "王^芳".as_bytes()), ("GB18030", b"\xCD\xF5^\xB7\xBC")] {
        let honest = named(Some(label), name);
        send(&node, "OLDCT", &honest);
        assert_eq!(alphabetic(&node, &honest), "王^芳", "{label}");
    }
    // Another source with the same label means Latin-1; without a label the node's guess counts.
    let latin = named(Some("ISO_IR 100"), b"M\xFCller^J\xF6rg");
    send(&node, "OTHER", &latin);
    assert_eq!(alphabetic(&node, &latin), "Müller^Jörg");
    let unlabelled = named(None, ZHANG);
    send(&node, "OTHER", &unlabelled);
    assert_eq!(alphabetic(&node, &unlabelled), "张^小东");
    let korean = named(None, b"\xB1\xE8^\xC8\xF1\xC1\xDF");
    send(&node, "SEOUL", &korean);
    assert_eq!(alphabetic(&node, &korean), "김^희중");

    // By address, over STOW-RS and for everyone.
    let node = Node::plan(setup).args(["--source-charsets", "127.0.0.1=gbk"]).start();
    let mislabelled = named(Some("ISO_IR 100"), ZHANG);
    node.web().stow_instance(&mislabelled);
    assert_eq!(alphabetic(&node, &mislabelled), "张^小东");
}
