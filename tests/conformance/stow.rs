//! Lines 28 to 34: storing.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::data_set::part10;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{Answer, content_type, part_head, tail, value};
use serde_json::{Value, json};

on_both_setups! {
    /// 200 for all, 202 for some or with warnings, 409 for none, 400, 415; failures only on failure.
    gotcha_28_statuses = statuses;
    /// Every failure has its reason, a missing Study Instance UID too.
    gotcha_29_reasons = reasons;
    /// The same instance again.
    gotcha_30_the_same_again = repetition;
    /// Bad optional attributes are stored with a warning.
    gotcha_31_bad_optional_attributes = oddities;
    /// What real senders write: implicit VR, padding, odd and undefined lengths.
    gotcha_32_careless_encodings = careless;
    /// The preamble is ours, and two may store into one study at once.
    gotcha_33_preamble_and_two_senders = preamble;
    /// Another patient's images in a study are stored, flagged and listed for a person.
    gotcha_34_patient_conflict = conflict;
    /// What the Python client stores, and what pydicom reads of what we wrote from JSON.
    metadata_with_bulk_values = python;
    /// Deleted, found no more, restored, deleted for good.
    deletion_and_its_undoing = deletion;
}

/// Implicit VR Little Endian.
const IMPLICIT: &str = "1.2.840.10008.1.2";

fn items<'a>(answer: &'a Value, sequence: &str) -> &'a [Value] {
    answer[sequence]["Value"].as_array().map_or(&[], Vec::as_slice)
}

fn reason(answer: &Answer) -> u64 {
    let body = answer.json();
    let sequences =
        ["00081198", "0008119A"].map(|sequence| items(&body, sequence).first().cloned());
    let failed = sequences.into_iter().flatten().next().expect("a failure");
    failed["00081197"]["Value"][0].as_u64().expect("a reason")
}

fn statuses(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let good = synth::ct(&Place::new(), 1, 4).part10();
    let all = web.stow([good.as_slice()]);
    assert_eq!(all.status, 200);
    assert!(all.json().get("00081198").is_none() && all.json().get("0008119A").is_none());
    let some = web.stow([good.as_slice(), b"nothing".as_slice()]);
    assert_eq!((some.status, items(&some.json(), "00081199").len()), (202, 1));
    assert_eq!(web.stow([b"nothing".as_slice()]).status, 409);
    assert_eq!(web.post("/studies", &content_type(), b"no boundary".to_vec()).send().status, 400);
    assert_eq!(web.post("/studies", "text/plain", good.clone()).send().status, 415);
    let none = web.stow([good.as_slice()]);
    assert_eq!(none.status, 200, "the same again is no warning");
}

fn reasons(setup: &Setup) {
    let node = Node::plan(setup).args(["--max-object", "100KiB"]).start();
    let web = node.web();
    let uid = synth::new_uid();
    let without = |tag: u32| {
        let elements = synth::elements(&Place::new(), CT, &uid).without(tag);
        part10(CT, &uid, EXPLICIT, &synth::image(elements, 2, 2, vec![0; 8]).encode())
    };
    let class = |class: &str| {
        let elements = synth::elements(&Place::new(), class, &uid);
        part10(class, &uid, EXPLICIT, &elements.encode())
    };
    let mut cut = synth::ct(&Place::new(), 1, 4).part10();
    cut.truncate(cut.len() - 77);
    let cases: [(&str, Vec<u8>, u64); 5] = [
        ("no Study Instance UID", without(0x0020_000D), 0xA900),
        ("no SOP Instance UID", without(0x0008_0018), 0xA900),
        ("verification is no storage", class("1.2.840.10008.1.1"), 0x0122),
        ("an unknown transfer syntax", part10(CT, &uid, "1.2.3.4", &[0; 100]), 0xC122),
        ("cut short", cut, 0xC000),
    ];
    for (what, file, expected) in cases {
        let answer = web.stow([file.as_slice()]);
        assert_eq!(answer.status, 409, "{what}: {}", answer.text());
        assert_eq!(reason(&answer), expected, "{what}");
    }
    // What is too large is so for good: a sender that is told "out of resources" tries for ever.
    let large = synth::ct(&Place::new(), 1, 1000);
    let answer = web.stow([large.part10().as_slice()]);
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("102400"), "the limit is named: {}", answer.text());
    let small = synth::ct(&Place::new(), 1, 4).part10();
    let answer = web.stow([small.as_slice(), large.part10().as_slice()]);
    assert_eq!((answer.status, reason(&answer)), (202, 0xC001), "{}", answer.text());
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("accepted");
    let refused = peer.store(context, CT, &large.uid, &large.data_set).expect("an answer");
    assert_eq!(refused.status, 0xC001, "{}", refused.comment);
    assert!(refused.comment.contains("102400"), "the limit is named: {}", refused.comment);

    let (place, other) = (Place::new(), Place::new());
    let file = synth::ct(&place, 1, 4).part10();
    let body = [part_head("application/dicom"), file, tail()].concat();
    let answer = web.post(&format!("/studies/{}", other.study), &content_type(), body).send();
    assert_eq!((answer.status, reason(&answer)), (409, 0xA900), "another study than the URL's");
}

fn repetition(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let first = synth::ct(&place, 1, 4);
    for _ in 0..2 {
        let answer = web.stow([first.part10().as_slice()]);
        assert_eq!((answer.status, answer.header("warning")), (200, ""));
    }
    let elements = synth::elements(&place, CT, &first.uid).text(0x0008_103E, "LO", "corrected");
    let corrected = synth::image(elements, 2, 2, vec![7; 8]);
    let corrected = Instance::new(&place, CT, &first.uid, &corrected);
    let answer = web.stow([corrected.part10().as_slice()]);
    assert_eq!(answer.status, 202);
    assert!(answer.header("warning").contains("replaced other content"));
    assert_eq!(items(&answer.json(), "00081199")[0]["00081196"]["Value"][0], 0xB007);
    assert_eq!(web.json("/instances").len(), 1);

    let refusing = Node::plan(setup).args(["--duplicates", "refuse"]).start();
    let web = refusing.web();
    assert_eq!(web.stow([first.part10().as_slice()]).status, 200);
    let answer = web.stow([corrected.part10().as_slice()]);
    assert_eq!((answer.status, reason(&answer)), (409, 0x0111));
    assert_eq!(web.stow([first.part10().as_slice()]).status, 200);
}

fn oddities(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let uid = synth::new_uid();
    let elements = synth::elements(&place, CT, &uid).text(0x0018_0050, "DS", "thick");
    let odd = Instance::new(&place, CT, &uid, &synth::image(elements, 2, 2, vec![0; 8]));
    let answer = web.stow([odd.part10().as_slice()]);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    let stored = &items(&body, "00081199")[0];
    assert_eq!(stored["00081196"]["Value"][0], 0xB007);
    assert!(body.get("00081198").is_none());
    assert_eq!(web.file(&odd)[132..].windows(5).filter(|w| w == b"thick").count(), 1);
}

/// Implicit VR by hand.
fn implicit(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    out.extend(((tag >> 16) as u16).to_le_bytes());
    out.extend((tag as u16).to_le_bytes());
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
}

fn careless(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let uid = format!("{}.1", place.series);
    let mut set = Vec::new();
    implicit(&mut set, 0x0008_0000, &[0, 0, 0, 0]);
    implicit(&mut set, 0x0008_0016, format!("{CT}\0").as_bytes());
    implicit(&mut set, 0x0008_0018, format!("{uid} ").as_bytes());
    implicit(&mut set, 0x0008_0060, b"CT");
    // A sequence of undefined length with an item of undefined length, an item without anything.
    set.extend(b"\x08\x00\x40\x11\xff\xff\xff\xff");
    set.extend(b"\xfe\xff\x00\xe0\xff\xff\xff\xff");
    implicit(&mut set, 0x0008_1155, b"1.2.3\0");
    set.extend(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
    // An odd length.
    implicit(&mut set, 0x0010_0020, b"ODD");
    implicit(&mut set, 0x0020_000D, place.study.as_bytes());
    implicit(&mut set, 0x0020_000E, format!("{}\0\0", place.series).as_bytes());
    let answer = web.stow([part10(CT, &uid, IMPLICIT, &set).as_slice()]);
    assert!([200, 202].contains(&answer.status), "{}", answer.text());
    let found = web.json(&format!("/studies/{}/instances", place.study));
    assert_eq!(value(&found[0], "00080018"), uid);
    let path = format!("/studies/{}/series/{}/instances/{uid}", place.study, place.series);
    let header = &web.json(&format!("{path}/metadata"))[0];
    assert_eq!(value(header, "00100020"), "ODD");
    assert_eq!(items(header, "00081140").len(), 2, "an empty item is an item");
}

fn preamble(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let instance = synth::ct(&place, 1, 4);
    let mut file = instance.part10();
    file[..8].copy_from_slice(b"MZ\x90\0\x03\0\0\0");
    assert_eq!(web.stow([file.as_slice()]).status, 200);
    let kept = web.file(&instance);
    assert!(kept[..128].iter().all(|byte| *byte == 0), "a program in front of an image");

    let senders: Vec<_> = (0..2)
        .map(|sender| {
            let (web, place) = (node.web(), place.clone());
            std::thread::spawn(move || {
                for number in 0..20 {
                    web.stow_instance(&synth::ct(&place, 10 + 2 * number + sender, 4));
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("both store"));
    let study = &web.json(&format!("/studies?StudyInstanceUID={}", place.study))[0];
    assert_eq!(value(study, "00201208"), "41");
}

/// An image of a patient.
fn of_patient(place: &Place, number: u32, id: &str) -> Instance {
    let uid = format!("{}.{number}", place.series);
    let elements = synth::elements(place, CT, &uid).text(0x0010_0020, "LO", id);
    Instance::new(place, CT, &uid, &synth::image(elements, 2, 2, vec![0; 8]))
}

fn conflict(setup: &Setup) {
    let node = Node::plan(setup).args(["--allow-delete", "true"]).start();
    let web = node.web();
    let place = Place::new();
    web.stow_instance(&of_patient(&place, 1, "P1"));
    assert!(web.json("/conflicts").is_empty());
    let strange = of_patient(&place, 2, "P2");
    let answer = web.stow([strange.part10().as_slice()]);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(items(&answer.json(), "00081199")[0]["00081196"]["Value"][0], 0xB007);
    web.stow_instance(&of_patient(&place, 3, "P1"));
    assert_eq!(web.json(&format!("/studies/{}/instances", place.study)).len(), 3);

    let listed = web.json("/conflicts");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["study"], place.study);
    let path = format!("/conflicts/{}", place.study);
    let patients = web.dicom(&path).send_ok().json();
    let groups = patients["patients"].as_array().expect("groups");
    let ids: Vec<_> = groups.iter().map(|g| (&g["id"], &g["instances"])).collect();
    assert_eq!(ids, [(&json!("P1"), &json!(2)), (&json!("P2"), &json!(1))]);
    assert_eq!(groups[1]["examples"][0], strange.uid);
    let doctor = node.run("doctor", &[]);
    let words = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(words.contains(&place.study), "{words}");

    let removed = delete(&node, &strange.path());
    assert_eq!(removed, 204);
    assert!(web.json("/conflicts").is_empty(), "without the stranger there is no conflict");
}

fn delete(node: &Node, path: &str) -> u16 {
    let url = format!("{}/dicom-web{path}", node.http());
    crate::support::web::client().delete(url).send().expect("an answer").status().as_u16()
}

fn python(setup: &Setup) {
    let node = Node::start(setup);
    if let Some(ran) = clients::python(&node, "stow_parts.py", &[]) {
        println!("{}", ran.ok());
    }
}

fn deletion(setup: &Setup) {
    let node = Node::plan(setup).args(["--allow-delete", "true", "--delete-grace", "1h"]).start();
    let web = node.web();
    let place = Place::new();
    let all: Vec<_> = (1..=3).map(|number| synth::ct(&place, number, 4)).collect();
    let files: Vec<_> = all.iter().map(Instance::part10).collect();
    assert_eq!(web.stow(files.iter().map(Vec::as_slice)).status, 200);
    let study = format!("/studies/{}", place.study);
    assert_eq!(delete(&node, &study), 204);
    assert_eq!(delete(&node, &study), 404);
    assert_eq!(web.dicom(&all[0].path()).send().status, 404);
    assert!(web.json("/studies").is_empty());
    let id = web.dicom("/deletions").send_ok().json()[0]["id"].to_string();
    let restored = node.run("restore", &[&id]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(web.json("/instances").len(), 3);
    assert!(web.file(&all[1]).ends_with(&all[1].data_set), "byte for byte");

    let hasty = Node::plan(setup).args(["--allow-delete", "true", "--delete-grace", "0s"]).start();
    let web = hasty.web();
    web.stow_instance(&all[0]);
    assert_eq!(delete(&hasty, &study), 204);
    let gone = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        web.dicom("/deletions").send_ok().json()[0]["state"] == "purged"
    });
    assert!(gone, "the job removes the objects");
    web.stow_instance(&all[0]);
}
