//! What the register knows of a device that its objects do not say: text without a character set,
//! patient IDs without an issuer, private elements that nobody wants to see. The objects stay as they
//! were sent, and an index that was lost and made again says the same.

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, Peer, VERIFICATION};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::{clients, eventually};
use serde_json::Value;
use std::time::Duration;

on_both_setups! {
    /// Found by the Chinese name, kept apart by the issuer, without private elements; also after a rebuild.
    objects_are_read_as_the_register_says = read_as_known;
}

const LIMIT: Duration = Duration::from_secs(30);

/// `Wang^XiaoDong=` and the same in Chinese characters, in GB18030.
const NAME: &[u8] = b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB ";

fn run(node: &Node, command: &str, arguments: &[&str]) -> String {
    let output = node.operator(command, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A CT image whose text states no character set, with elements of two private creators and of none.
fn unlabelled(place: &Place) -> Instance {
    let uid = format!("{}.1", place.series);
    let elements = synth::elements(place, CT, &uid)
        .without(0x0008_0005)
        .text(0x0009_1001, "LO", "of nobody")
        .bytes(0x0010_0010, "PN", NAME.to_vec())
        .text(0x0011_0010, "LO", "ACME 1.0")
        .text(0x0011_1001, "LO", "of ACME")
        .text(0x0013_0010, "LO", "OTHER")
        .text(0x0013_1001, "LO", "of OTHER");
    Instance::new(place, CT, &uid, &synth::image(elements, 16, 128, synth::noise(1, 16 * 256)))
}

fn store(node: &Node, calling: &str, instance: &Instance) {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, calling, &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let response = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
    assert_eq!(response.status, 0, "{}", response.comment);
    peer.release().expect("release");
}

fn metadata(node: &Node, instance: &Instance) -> Value {
    let mut told = node.web().json(&format!("{}/metadata", instance.path())).remove(0);
    // It holds the address of the node.
    told["7FE00010"] = Value::Null;
    told
}

fn read_as_known(setup: &Setup) {
    let mut node = Node::plan(setup).args(["--unknown-peers", "refuse"]).start();
    let private = ["--without", "-, ACME 1.0"];
    let row = ["add", "CTCN", "--from", "127.0.0.1", "--charset", "gb18030", "--issuer", "COUNTY"];
    let row = run(&node, "peer", &[&row[..], &private, &["--may", "store,read"]].concat());
    run(&node, "peer", &["add", "CT2", "--from", "127.0.0.1", "--issuer", "CENTRE"]);
    eventually("the register is known", LIMIT, || {
        Peer::associate(node.dimse(), AE, "CT2", &[(VERIFICATION, &[IMPLICIT][..])]).ok()
    });
    let first = unlabelled(&Place::new());
    let by_dcmtk = unlabelled(&Place::new());
    let second = synth::ct(&Place::new(), 1, 16);
    store(&node, "CTCN", &first);
    store(&node, "CT2", &second);
    if clients::has_dcmtk() {
        let file = node.scratch().join("unlabelled.dcm");
        std::fs::write(&file, by_dcmtk.part10()).expect("write");
        let file = file.to_string_lossy().into_owned();
        clients::dcmtk(&node, "storescu", &["-aet", "CTCN"], &[&file]).ok();
    } else {
        store(&node, "CTCN", &by_dcmtk);
    }
    answers(&node, &[&first, &by_dcmtk], &second);
    // Over DIMSE too, and two patients with one ID.
    let find = ["--aet", "CTCN", "--level", "patient", "-k", "PatientID=SYN-1"];
    let destination = node.destination();
    let found = node
        .run("find", &[&[destination.as_str()], &find[..], &["-k", "IssuerOfPatientID"]].concat());
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains("COUNTY") && found.contains("CENTRE"), "{found}");
    if clients::has_dcmtk() {
        let keys =
            ["-k", "0008,0005=ISO_IR 192", "-k", "PatientName=*=王*", "-k", "StudyInstanceUID"];
        let options = ["-S", "-aet", "CTCN", "-k", "QueryRetrieveLevel=STUDY"];
        let found = clients::dcmtk(&node, "findscu", &[&options[..], &keys].concat(), &[]).ok();
        assert!(
            found.contains(&first.place.study) && found.contains(&by_dcmtk.place.study),
            "{found}"
        );
    }

    let told = run(&node, "doctor", &["ae", "CTCN", "--json", "--address", "127.0.0.1"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["rows"][0]["coercions"]["charset"], "gb18030", "{told}");
    let page = node.web().get(&format!("/peers/row/{}", row.trim())).send().text();
    assert!(page.contains("gb18030") && page.contains("-, ACME 1.0"), "{page}");

    // What the register says now is about objects that come now.
    run(
        &node,
        "peer",
        &["change", row.trim(), "--charset", "any", "--issuer", "", "--without", ""],
    );
    let fresh = format!("sqlite:{}", node.scratch().join("fresh.db").display());
    let rebuilt = node.run("rebuild", &["--database", &fresh]);
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let before = [metadata(&node, &first), metadata(&node, &second)];
    node.move_to_database(fresh);
    answers(&node, &[&first, &by_dcmtk], &second);
    assert_eq!([metadata(&node, &first), metadata(&node, &second)], before);
}

/// The two of the first device, and that of the second.
fn answers(node: &Node, firsts: &[&Instance], second: &Instance) {
    let web = node.web();
    let found = |query: &str| {
        let studies = web.json(&format!("/studies?{query}"));
        let uid = |study: &Value| study["0020000D"]["Value"][0].as_str().unwrap_or("").to_owned();
        let mut uids: Vec<_> = studies.iter().map(uid).collect();
        uids.sort();
        uids
    };
    let mut expected: Vec<_> = firsts.iter().map(|one| one.place.study.clone()).collect();
    expected.sort();
    assert_eq!(found("PatientName=王^小东"), expected);
    assert_eq!(found("PatientID=SYN-1&IssuerOfPatientID=COUNTY"), expected);
    let centre = found("PatientID=SYN-1&IssuerOfPatientID=CENTRE");
    assert_eq!(centre, std::slice::from_ref(&second.place.study));
    for one in firsts {
        let told = metadata(node, one);
        assert_eq!(told["00100010"]["Value"][0]["Ideographic"], "王^小东");
        assert_eq!(told["00100021"]["Value"][0], "COUNTY");
        for (tag, there) in [("00091001", false), ("00111001", false), ("00131001", true)] {
            assert_eq!(told.get(tag).is_some(), there, "{tag}: {told}");
        }
    }
    assert_eq!(metadata(node, second)["00100021"]["Value"][0], "CENTRE");
    assert!(web.file(firsts[0]).ends_with(&firsts[0].data_set), "byte for byte as it was sent");
}
