//! The audit trail from outside: what a node did is listed, exported and proved, and what is done to
//! the database behind its back is named.

use super::words;
use crate::support::clients::has_sqlite;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use quick_xml::events::Event;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows of `audit list --json` about a study.
fn listed(node: &Node, arguments: &[&str]) -> Vec<Value> {
    let output = node.run("audit", &[&["list", "--json", "--limit", "1000"], arguments].concat());
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// How many requests there were of each action and outcome.
fn requests(rows: &[Value]) -> BTreeMap<(String, String), i64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        *sums.entry((word("action"), word("outcome"))).or_default() +=
            row["requests"].as_i64().unwrap_or_default();
    }
    sums
}

pub(super) fn trail(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    let web = node.web();
    for number in 1..=3 {
        web.stow_instance(&synth::ct(&place, number, 8));
    }
    let study = format!("/studies/{}", place.study);
    assert_eq!(web.json(&format!("/studies?StudyInstanceUID={}", place.study)).len(), 1);
    assert_eq!(web.json(&format!("{study}/metadata")).len(), 3);
    for number in 1..=3 {
        let path = synth::ct(&place, number, 8).path();
        web.dicom(&format!("{path}/frames/1")).accept("*/*").send_ok();
    }
    let nothing = Place::new().study;
    assert_eq!(web.dicom(&format!("/studies/{nothing}/metadata")).send().status, 404);
    let output = node.run("delete", &[&place.study, "--yes"]);
    assert!(output.status.success(), "{}", words(&output));

    let of_study = ["--study", &place.study];
    let rows = eventually("reads are in the trail", Duration::from_secs(20), || {
        let rows = listed(&node, &of_study);
        (requests(&rows).len() >= 5).then_some(rows)
    });
    let expected =
        [("store", 3), ("search", 1), ("read metadata", 1), ("read pixels", 3), ("delete", 1)];
    for (action, count) in expected {
        let key = (action.to_owned(), "success".to_owned());
        assert_eq!(requests(&rows).get(&key), Some(&count), "{action}: {rows:#?}");
    }
    let missed = listed(&node, &["--study", &nothing, "--outcome", "not found"]);
    assert_eq!(missed.len(), 1, "{missed:#?}");
    let pixels = listed(&node, &["--action", "read pixels", "--since", "1h"]);
    assert!(pixels.iter().all(|row| row["peer"] == "127.0.0.1"), "{pixels:#?}");
    assert!(listed(&node, &["--until", "1h", "--study", &place.study]).is_empty());

    let verify = |arguments: &[&str]| {
        let output = node.run("audit", &[&["verify"], arguments].concat());
        (output.status.code(), words(&output))
    };
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "{said}");
    let heads = node.scratch().join("heads.txt");
    std::fs::write(&heads, &said).expect("keep the heads");

    let before = listed(&node, &[]).len();
    let xml = node.scratch().join("trail.xml");
    let (xml, heads) = (xml.to_string_lossy().into_owned(), heads.to_string_lossy().into_owned());
    let output = node.run("audit", &["export", "--format", "dicom", "-o", &xml]);
    assert!(output.status.success(), "{}", words(&output));
    let text = std::fs::read_to_string(&xml).expect("the export");
    assert!(messages(&text) >= before, "{} of {before}", messages(&text));
    assert!(text.contains(&format!("ParticipantObjectID=\"{}\"", place.study)), "{text}");
    for file in [&heads, &xml] {
        let (code, said) = verify(&["--against", file]);
        assert_eq!(code, Some(0), "{file}: {said}");
    }

    if matches!(setup, Setup::Embedded) && !has_sqlite() {
        return;
    }
    let row = rows.iter().find(|row| row["action"] == "read metadata").expect("a row");
    let (chain, number) = (&row["chain"], &row["number"]);
    let of_row = format!("WHERE chain = {chain} AND number = {number}");
    node.sql(&format!("UPDATE audit SET principal = 'nobody' {of_row}"));
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "{said}");
    let expected = format!("chain {chain}: BAD: row {number} was altered");
    assert!(said.contains(&expected), "{expected}: {said}");
    node.sql(&format!("UPDATE audit SET principal = '' {of_row}"));
    assert_eq!(verify(&[]).0, Some(0));
    node.sql(&format!("DELETE FROM audit {of_row}"));
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "{said}");
    let named = [
        format!("chain {chain}: BAD: row {number} was removed"),
        format!("chain {chain}: BAD: the tail was cut: rows {number} to {number}"),
    ];
    assert!(named.iter().any(|text| said.contains(text)), "{named:?}: {said}");
}

/// Reads a document to its end with an XML parser; counts its messages.
fn messages(text: &str) -> usize {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut count = 0;
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {text}")) {
            Event::Start(start) => {
                for attribute in start.attributes() {
                    attribute.expect("an attribute");
                }
                count += usize::from(start.name().as_ref() == b"AuditMessage");
            }
            Event::Eof => return count,
            _ => {}
        }
    }
}
