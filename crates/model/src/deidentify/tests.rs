//! Data sets before and after, byte by byte and as JSON.

use std::sync::Arc;

use super::*;
use crate::charset::Knowledge;
use crate::dataset::{Limits, PixelPlan, Rewriter, SliceSource, Step};
use crate::json;
use crate::syntax::{Encoding, TransferSyntax};
use crate::testdata::Builder;
use serde_json::Value;

fn how(options: &str) -> Deidentification {
    let project = Project::new("TRIAL", b"a secret of some length").expect("a project");
    let options = options.parse().expect("options");
    Deidentification { project: Arc::new(project), options }
}

fn run_in(built: &Builder, encoding: Encoding, how: &Deidentification) -> Vec<u8> {
    let limits = Limits::default();
    let identity = Identity::read(SliceSource::new(&built.bytes), encoding, &limits, &how.options)
        .expect("a data set");
    let source = SliceSource::new(&built.bytes);
    let changes = how.changes(&identity, false);
    let editor = how.editor(Arc::new(identity), Knowledge::default());
    let target = TransferSyntax::EXPLICIT_LITTLE;
    let mut rewriter = Rewriter::new(source, encoding, target, PixelPlan::Copy, changes, &limits)
        .edited_by(editor);
    let mut out = Vec::new();
    while rewriter.step(&mut out).expect("a data set that can be rewritten") != Step::End {}
    out
}

fn run(built: &Builder, options: &str) -> Value {
    let out = run_in(built, Encoding::ExplicitLittle, &how(options));
    let document = json::document(
        &mut SliceSource::new(&out),
        TransferSyntax::EXPLICIT_LITTLE,
        &Limits::default(),
    )
    .expect("a valid data set");
    serde_json::from_slice(&document.json).expect("JSON")
}

fn first(data_set: &Value, tag: &str) -> String {
    match &data_set[tag]["Value"][0] {
        Value::String(text) => text.clone(),
        Value::Object(name) => name["Alphabetic"].as_str().unwrap_or_default().to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn has(bytes: &[u8], pattern: &str) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern.as_bytes())
}

fn patient() -> Builder {
    Builder::explicit()
        .text(0x0008_0005, "CS", "ISO_IR 100")
        .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2\0")
        .text(0x0008_0018, "UI", "1.2.3.4\0")
        .text(0x0008_0020, "DA", "20040119")
        .text(0x0008_0021, "DA", "20040119")
        .text(0x0008_0050, "SH", "ACC47110")
        .text(0x0008_0060, "CS", "CT")
        .text(0x0008_0070, "LO", "Acme of Wangler ")
        .text(0x0008_0080, "LO", "Mercy Hospital")
        .text(0x0008_0090, "PN", "Quincey^Morris")
        .text(0x0008_103E, "LO", "thorax of Wangler\\b")
        .text(0x0009_0010, "LO", "ACME 1.0")
        .text(0x0009_1001, "LO", "Wangler ")
        .text(0x0010_0010, "PN", "Wangler^Wilma ")
        .text(0x0010_0020, "LO", "PID12345")
        .text(0x0010_0030, "DA", "19610203")
        .text(0x0010_0040, "CS", "F ")
        .text(0x0010_1010, "AS", "042Y")
        .text(0x0018_1000, "LO", "SER-9 ")
        .text(0x0018_1020, "LO", "v1 PID12345 ")
        .text(0x0020_000D, "UI", "1.2.3\0")
        .text(0x0020_000E, "UI", "1.2.3.1\0")
        .text(0x0020_0010, "SH", "STUDY7")
        .text(0x0020_0052, "UI", "1.2.840.10008.1.4.1.1\0")
}

#[test]
fn nothing_that_identifies_is_left() {
    for encoding in [Encoding::ExplicitLittle, Encoding::ImplicitLittle, Encoding::ExplicitBig] {
        let built = Builder::new(encoding)
            .text(0x0008_0020, "DA", "20040119")
            .text(0x0008_0070, "LO", "of Wangler")
            .text(0x0010_0010, "PN", "Wangler^Wilma ")
            .text(0x0010_0020, "LO", "PID12345")
            .text(0x0020_4000, "LT", "Wangler ");
        let out = run_in(&built, encoding, &how(""));
        assert!(!has(&out, "Wangler") && !has(&out, "PID12345"), "{encoding:?}");
    }
    let out = run_in(&patient(), Encoding::ExplicitLittle, &how(""));
    for gone in [
        "Wangler", "Wilma", "PID12345", "2004", "1961", "ACC47110", "Mercy", "Quincey", "ACME 1.0",
        "1.2.3.4", "SER-9", "STUDY7", "042Y",
    ] {
        assert!(!has(&out, gone), "{gone}");
    }
}

#[test]
fn the_plain_profile_acts_by_the_table() {
    let out = run(&patient(), "");
    let id = first(&out, "00100020");
    assert!(id.starts_with("TRIAL-") && id.len() == 18, "{id}");
    assert_eq!(first(&out, "00100010"), id, "Z: the patient's pseudonym");
    assert_eq!(out["00080020"], serde_json::json!({"vr": "DA"}), "Z: empty");
    assert_eq!(first(&out, "00080021"), "19000101", "X/D: a dummy");
    assert_eq!(out.get("0008103E"), None, "X: removed");
    assert_eq!(out.get("00101010"), None, "X: removed");
    assert_eq!(first(&out, "00080050").len(), 12, "a pseudonym that fits SH");
    assert_eq!(first(&out, "00080060"), "CT", "not listed: kept");
    assert_eq!(first(&out, "00080070"), "Acme of ***", "kept text is searched");
    assert_eq!(first(&out, "00181020"), "v1 ***");
    assert_eq!(first(&out, "0020000D"), how("").project.uid("1.2.3"), "U");
    assert_eq!(first(&out, "00080016"), "1.2.840.10008.5.1.4.1.1.2");
    assert_eq!(first(&out, "00200052"), "1.2.840.10008.1.4.1.1", "a well-known frame of reference");
    assert_eq!(first(&out, "00120062"), "YES");
    assert_eq!(first(&out, "00280303"), "REMOVED");
    assert_eq!(first(&out["00120064"]["Value"][0], "00080100"), "113100");
    assert!(out.get("00090010").is_none() && out.get("00091001").is_none(), "private");
}

#[test]
fn options_keep_what_they_name() {
    let out =
        run(&patient(), "full-dates,patient-characteristics,device,institution,uids,descriptors");
    assert_eq!(first(&out, "00080020"), "20040119");
    assert_eq!(first(&out, "00100040"), "F");
    assert_eq!(first(&out, "00101010"), "042Y");
    assert_eq!(first(&out, "00181000"), "SER-9");
    assert_eq!(first(&out, "00080080"), "Mercy Hospital");
    assert_eq!(first(&out, "0020000D"), "1.2.3");
    assert_eq!(first(&out, "0008103E"), "thorax of ***", "cleaned");
    assert_eq!(out["00100030"], serde_json::json!({"vr": "DA"}), "a birth date has no option");
    assert_eq!(first(&out, "00280303"), "UNMODIFIED");
    let codes = out["00120064"]["Value"].as_array().expect("items");
    let codes: Vec<_> = codes.iter().map(|item| first(item, "00080100")).collect();
    assert_eq!(codes, ["113100", "113105", "113106", "113108", "113109", "113110", "113112"]);
}

#[test]
fn modified_dates_keep_their_distances() {
    let built = patient().text(0x0040_A13A, "DT", "20040120103000");
    let out = run(&built, "modified-dates");
    let study = first(&out, "00080020");
    assert!(study.as_str() < "20040119" && study.len() == 8, "{study}");
    assert_eq!(first(&out, "00080021"), study);
    let later = first(&out, "0040A13A");
    assert!(later.ends_with("103000") && later.get(..8) > Some(&study), "{later}");
    assert_eq!(first(&out, "00280303"), "MODIFIED");
}

#[test]
fn items_are_edited_like_data_sets() {
    let reference = Builder::explicit()
        .text(0x0008_1150, "UI", "1.2.840.10008.5.1.4.1.1.2\0")
        .text(0x0008_1155, "UI", "1.2.3.9\0");
    let code = Builder::explicit()
        .text(0x0008_0100, "SH", "121008")
        .text(0x0008_0102, "SH", "DCM ")
        .text(0x0008_0104, "LO", "Person Observer Name");
    let text = Builder::explicit()
        .text(0x0040_A040, "CS", "TEXT")
        .sequence(0x0040_A043, &[code.bytes], true)
        .text(0x0040_A123, "PN", "Quincey^Morris")
        .text(0x0040_A160, "UT", "seen by somebody");
    let built = patient().sequence(0x0008_1140, std::slice::from_ref(&reference.bytes), true);
    // Tags are in order in a real data set; sequences after group 0020 here.
    let built = built
        .sequence(0x0040_0555, std::slice::from_ref(&reference.bytes), true)
        .sequence(0x0040_0275, &[reference.bytes], true)
        .sequence(0x0040_A730, &[text.bytes], true);
    let out = run(&built, "");
    let image = &out["00081140"]["Value"][0];
    assert_eq!(first(image, "00081150"), "1.2.840.10008.5.1.4.1.1.2");
    assert_eq!(first(image, "00081155"), how("").project.uid("1.2.3.9"), "X/Z/U*");
    assert_eq!(out["00400555"], serde_json::json!({"vr": "SQ"}), "X/Z: no items");
    assert_eq!(out.get("00400275"), None, "X");
    let content = &out["0040A730"]["Value"][0];
    assert_eq!(first(content, "0040A160"), "ANONYMIZED", "text of a report");
    assert_eq!(first(&content["0040A043"]["Value"][0], "00080104"), "Person Observer Name");
    assert!(first(content, "0040A123").starts_with("ANON-"), "a person");
    let cleaned = run(&built, "structured-content");
    assert_eq!(first(&cleaned["0040A730"]["Value"][0], "0040A160"), "seen by somebody");
}

#[test]
fn private_attributes_stay_only_if_known_to_be_safe() {
    let built = patient()
        .text(0x0019_0010, "LO", "SIEMENS MR HEADER ")
        .text(0x0019_100C, "IS", "1000")
        .text(0x0019_1008, "CS", "IMAGE NUM 4 ");
    let out = run(&built, "safe-private");
    assert_eq!(first(&out, "00190010"), "SIEMENS MR HEADER");
    assert_eq!(first(&out, "0019100C"), "1000");
    assert!(out.get("00191008").is_none() && out.get("00090010").is_none());
    assert_eq!(run(&built, "").get("0019100C"), None);
}

#[test]
fn overlays_go_as_a_whole_and_unknown_attributes_too() {
    let built = patient()
        .element(0x6000_0010, "US", &[4, 0])
        .element(0x6000_3000, "OW", &[1, 2])
        .text(0x0018_FFF2, "LO", "who knows ");
    let out = run(&built, "");
    assert!(out.get("60000010").is_none() && out.get("60003000").is_none());
    assert!(out.get("0018FFF2").is_none());
    let kept = run(&built, "graphics");
    assert!(kept.get("60000010").is_some() && kept.get("60003000").is_some());
}

#[test]
fn json_follows_the_same_rules() {
    let reference = Builder::explicit().text(0x0008_1155, "UI", "1.2.3.9\0");
    let built = patient().sequence(0x0008_1140, &[reference.bytes], true).element(
        0x7FE0_0010,
        "OW",
        &[7; 64],
    );
    for options in ["", "modified-dates,descriptors", "full-dates,uids,institution,device"] {
        let how = how(options);
        let syntax = TransferSyntax::EXPLICIT_LITTLE;
        let limits = Limits::default();
        let stored = json::document(&mut SliceSource::new(&built.bytes), syntax, &limits).unwrap();
        let (edited, subject) = how.json(&stored.json).expect("JSON");
        assert!(subject.pixels && subject.modality == "CT", "{subject:?}");
        assert!(edited.contains(&crate::header::BASE_URL_MARK), "URLs keep their mark");
        let plain = |json: &[u8]| -> Value {
            let text: Vec<u8> = json.iter().copied().filter(|byte| *byte != 1).collect();
            serde_json::from_slice(&text).expect("JSON")
        };
        let rewritten = run_in(&built, Encoding::ExplicitLittle, &how);
        let again = json::document(&mut SliceSource::new(&rewritten), syntax, &limits).unwrap();
        assert_eq!(plain(&edited), plain(&again.json), "{options}");
    }
}

#[test]
fn patients_keep_their_pseudonym_within_a_project() {
    let how = how("");
    let limits = Limits::default();
    let read = |built: &Builder| {
        let source = SliceSource::new(&built.bytes);
        Identity::read(source, Encoding::ExplicitLittle, &limits, &how.options).unwrap()
    };
    let id = |built: &Builder| how.project.patient_id(&read(built));
    let named = |name: &str, id: &str| {
        Builder::explicit().text(0x0010_0010, "PN", name).text(0x0010_0020, "LO", id)
    };
    assert_eq!(id(&named("A^B ", "P1")), id(&named("B^A ", "P1")), "the ID decides");
    assert_ne!(id(&named("A^B ", "P1")), id(&named("A^B ", "P2")));
    assert_eq!(id(&named("A^B ", "")), id(&named("a^b ", "")), "else the name");
    let table = PatientTable::from([("P1".to_owned(), "SUBJECT-1".to_owned())]);
    let project = Project::new("X", &[1; 16]).unwrap().with_patients(table).unwrap();
    assert_eq!(project.patient_id(&read(&named("A^B ", "P1"))), "SUBJECT-1");
    assert!(!read(&Builder::explicit().text(0x0008_0060, "CS", "CT")).names_patient());
}
