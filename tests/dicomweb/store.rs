//! STOW-RS (PS3.18 section 10.5): statuses, reasons, forms of the request.

use crate::on_both_setups;
use crate::support::data_set::part10;
use crate::support::node::Node;
use crate::support::peer::EXPLICIT;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{ROOT, content_type, part_head, tail, value};
use serde_json::Value;

on_both_setups! {
    /// 200 for all, 202 for some, 409 for none, each with the sequences and reasons of the standard.
    answers_say_what_became_of_each_instance = statuses;
    /// Quotes, parameters, trailing slashes, study in the path, wrong types.
    requests_are_taken_in_every_legal_form = forms;
}

fn statuses(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let good: Vec<_> = (1..=3).map(|number| synth::ct(&place, number, 16)).collect();
    let files: Vec<_> = good.iter().map(Instance::part10).collect();

    let answer = web.stow(files.iter().map(Vec::as_slice));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(items(&body, "00081199").len(), 3);
    assert!(body.get("00081198").is_none(), "FailedSOPSequence only on failure");
    assert_eq!(value(&body, "00081190"), format!("{}{ROOT}/studies/{}", node.http(), place.study));
    for (item, instance) in items(&body, "00081199").iter().zip(&good) {
        assert_eq!(value(item, "00081155"), instance.uid);
        assert_eq!(value(item, "00081150"), CT);
        let url = value(item, "00081190");
        let path = url.strip_prefix(node.http()).expect("a URL of this node");
        assert!(web.get(path).accept("application/dicom").send_ok().body.len() > 100);
    }

    // What cannot be kept, and the reason that is given for it (PS3.18 annex I).
    let uid = synth::new_uid();
    let without = |tag: u32| {
        let elements = synth::elements(&Place::new(), CT, &uid).without(tag);
        part10(CT, &uid, EXPLICIT, &synth::image(elements, 2, 2, vec![0; 8]).encode())
    };
    let mut cut = files[0].clone();
    cut.truncate(cut.len() - 77);
    let bad: [(&str, Vec<u8>, &[u32]); 5] = [
        ("no StudyInstanceUID", without(0x0020_000D), &[0xA900, 0xC000, 0x0120]),
        ("no SeriesInstanceUID", without(0x0020_000E), &[0xA900, 0xC000, 0x0120]),
        ("no SOPClassUID", without(0x0008_0016), &[0xA900, 0xC000, 0x0120]),
        ("cut short", cut, &[0xC000]),
        ("not DICOM", b"<html>nothing of the kind</html>".to_vec(), &[0xC000]),
    ];
    let before = web.json("/instances").len();
    for (what, file, reasons) in &bad {
        let answer = web.stow([file.as_slice()]);
        assert_eq!(answer.status, 409, "{what}: {}", answer.text());
        let body = answer.json();
        // OtherFailuresSequence holds what has no SOP Instance UID to be named by.
        let failed = [items(&body, "00081198"), items(&body, "0008119A")].concat();
        assert_eq!(failed.len(), 1, "{what}: {body}");
        let reason: u32 = value(&failed[0], "00081197").parse().expect("a Failure Reason");
        assert!(reasons.contains(&reason), "{what}: 0x{reason:04X}");
    }
    assert_eq!(web.json("/instances").len(), before, "something of the refused was kept");

    let another = synth::ct(&Place::new(), 1, 16);
    let mixed = [another.part10(), bad[0].1.clone()];
    let answer = web.stow(mixed.iter().map(Vec::as_slice));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!((items(&body, "00081199").len(), items(&body, "00081198").len()), (1, 1));
    assert!(web.file(&another).ends_with(&another.data_set));

    // The same instance again is success, and still one instance.
    assert_eq!(web.stow([files[0].as_slice()]).status, 200);
    assert_eq!(web.json(&format!("/studies/{}/instances", place.study)).len(), 3);
}

fn forms(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let boundary = content_type().rsplit_once('=').expect("a boundary").1.to_owned();
    let body = |part_type: &str, instance: &Instance| {
        [part_head(part_type), instance.part10(), tail()].concat()
    };
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        synth::ct(&Place::new(), number, 8)
    };
    for (kind, part) in [
        (
            format!("multipart/related; type=\"application/dicom\"; boundary=\"{boundary}\""),
            "application/dicom",
        ),
        (
            format!("multipart/related; type=application/dicom; boundary={boundary}"),
            "application/dicom",
        ),
        (
            format!("multipart/related;boundary={boundary};type=application/dicom"),
            "application/dicom",
        ),
        (
            format!("Multipart/Related; Type=\"application/dicom\"; Boundary={boundary}"),
            "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        ),
    ] {
        for path in ["/studies", "/studies/"] {
            let instance = fresh();
            let answer = web.post(path, &kind, body(part, &instance)).send();
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            assert!(web.file(&instance).ends_with(&instance.data_set));
        }
    }
    // The study in the path: its own instances are stored, others are refused.
    let own = fresh();
    let path = format!("/studies/{}", own.place.study);
    let answer = web.post(&path, &content_type(), body("application/dicom", &own)).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stranger = fresh();
    let answer = web.post(&path, &content_type(), body("application/dicom", &stranger)).send();
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(web.dicom(&stranger.path()).send().status, 404);

    // The preamble may be the start of a program or an image (CVE-2019-11687): it is not kept.
    let polyglot = fresh();
    let mut file = polyglot.part10();
    file[..4].copy_from_slice(b"MZ\x90\0");
    assert_eq!(web.stow([file.as_slice()]).status, 200);
    assert!(web.file(&polyglot)[..128].iter().all(|byte| *byte == 0));

    let instance = fresh();
    let xml = web.post("/studies", &content_type(), body("application/dicom", &instance));
    let answer = xml.accept("application/dicom+json, */*;q=0.1").send();
    assert_eq!(answer.status, 200);
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
        assert_eq!(web.post("/studies", kind, "{}").send().status, 415, "{kind}");
    }
}

fn items(body: &Value, tag: &str) -> Vec<Value> {
    body[tag]["Value"].as_array().cloned().unwrap_or_default()
}
