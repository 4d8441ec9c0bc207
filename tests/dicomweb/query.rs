//! QIDO-RS (PS3.18 section 10.6): matching, return keys, paging, errors.

use crate::on_both_setups;
use crate::support::data_set::DataSet;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{ROOT, Web, value};
use serde_json::Value;
use std::collections::BTreeSet;

on_both_setups! {
    /// Every kind of matching of PS3.4 C.2.2.2 finds what it should and nothing else.
    matching_finds_what_it_should = matching;
    /// Required return keys, include fields, levels, RetrieveURL, counters.
    rows_carry_what_clients_need = rows;
    /// Pages neither repeat nor skip, also while instances arrive.
    pages_are_stable = pages;
}

/// Behind a proxy, URLs are those that the settings name.
#[test]
fn urls_behind_a_proxy() {
    let public = "https://pacs.example.org/imaging";
    let node = Node::plan(&Setup::Embedded).args(["--public-url", public]).start();
    let instance = synth::ct(&Place::new(), 1, 4);
    node.web().stow_instance(&instance);
    let rows = node.web().json("/studies");
    let study = &instance.place.study;
    assert_eq!(value(&rows[0], "00081190"), format!("{public}{ROOT}/studies/{study}"));
}

/// A study of one instance, known by a letter.
struct Known {
    letter: char,
    instance: Instance,
}

/// Letters A to F; each differs from the others in what the table below asks for.
fn studies() -> Vec<Known> {
    let study = |letter: char, change: &dyn Fn(DataSet) -> DataSet| {
        let place = Place::new();
        let uid = synth::new_uid();
        let base = synth::elements(&place, CT, &uid)
            .text(0x0010_0020, "LO", &format!("ID-{letter}"))
            .text(0x0008_0050, "SH", &format!("ACC-{letter}"));
        let elements = synth::image(change(base), 2, 2, vec![7; 8]);
        Known { letter, instance: Instance::new(&place, CT, &uid, &elements) }
    };
    vec![
        study('A', &|d| {
            d.text(0x0010_0010, "PN", "Zhang^XiaoDong=张^小东")
                .text(0x0008_0020, "DA", "20240101")
                .text(0x0008_0030, "TM", "000000")
        }),
        study('B', &|d| {
            d.text(0x0010_0010, "PN", "Müller^Jürgen").text(0x0008_0020, "DA", "20240101").text(
                0x0008_0030,
                "TM",
                "235959.999999",
            )
        }),
        study('C', &|d| {
            d.text(0x0010_0010, "PN", "Yamada^Tarou=山田^太郎=やまだ^たろう")
                .text(0x0008_0020, "DA", "20240229")
                .text(0x0008_0060, "CS", "MR")
        }),
        study('D', &|d| {
            d.text(0x0010_0010, "PN", "Smith^John").text(0x0008_1030, "LO", "100% of_A*\\two").text(
                0x0008_0020,
                "DA",
                "20241231",
            )
        }),
        study('E', &|d| {
            d.text(0x0010_0010, "PN", "SMITHSON^JOHANNA").text(0x0008_0020, "DA", "20250101").text(
                0x0008_0090,
                "PN",
                "House^Gregory",
            )
        }),
        study('F', &|d| {
            d.text(0x0010_0010, "PN", "")
                .text(0x0008_0020, "DA", "")
                .text(0x0008_0030, "TM", "")
                .text(0x0008_0050, "SH", "")
        }),
    ]
}

fn matching(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let known = studies();
    for one in &known {
        web.stow_instance(&one.instance);
    }
    let letters = |query: &str| -> String {
        let rows = web.json(&format!("/studies?{query}"));
        let found: BTreeSet<_> = rows
            .iter()
            .map(|row| {
                let uid = value(row, "0020000D");
                let one = known.iter().find(|one| one.instance.place.study == uid);
                one.expect("a known study").letter
            })
            .collect();
        found.into_iter().collect()
    };
    let uid = |index: usize| known[index].instance.place.study.clone();
    let pair_comma = format!("StudyInstanceUID={},{}", uid(0), uid(3));
    let pair_backslash = format!("0020000D={}%5C{}", uid(0), uid(3));
    let pair_repeated = format!("StudyInstanceUID={}&PatientID=ID-A", uid(0));
    let cases: &[(&str, &str)] = &[
        ("", "ABCDEF"),
        // Single values, by keyword and by tag.
        ("PatientID=ID-A", "A"),
        ("00100020=ID-B", "B"),
        ("AccessionNumber=ACC-C", "C"),
        ("PatientID=ID", ""),
        ("PatientID=ID-A&AccessionNumber=ACC-B", ""),
        // Lists of UIDs.
        (&pair_comma, "AD"),
        (&pair_backslash, "AD"),
        (&pair_repeated, "A"),
        // Wildcards; everything else is literal.
        ("PatientID=ID-*", "ABCDEF"),
        ("PatientID=ID-%3F", "ABCDEF"),
        ("PatientID=*-C", "C"),
        ("PatientID=%25", ""),
        ("PatientID=ID_A", ""),
        ("StudyDescription=100%25*", "D"),
        ("StudyDescription=*of_A*", "D"),
        ("StudyDescription=*of%2BA*", ""),
        // Universal matching.
        ("PatientID=*", "ABCDEF"),
        ("PatientName=", "ABCDEF"),
        // Names: case, accents and width do not count, any component group does.
        ("PatientName=Smith%5EJohn", "D"),
        ("PatientName=smith*", "DE"),
        ("PatientName=SMITH%5E*", "D"),
        ("PatientName=muller*", "B"),
        ("PatientName=M%C3%BCller%5EJ%C3%BCrgen", "B"),
        ("PatientName=%E5%BC%A0%5E%E5%B0%8F%E4%B8%9C", "A"),
        ("PatientName=*%E5%BC%A0*", "A"),
        ("PatientName=%E5%B1%B1%E7%94%B0*", "C"),
        ("PatientName=%E3%82%84%E3%81%BE%E3%81%A0%5E%E3%81%9F%E3%82%8D%E3%81%86", "C"),
        ("PatientName=Zhang%5EXiaoDong%3D%E5%BC%A0%5E%E5%B0%8F%E4%B8%9C", "A"),
        ("ReferringPhysicianName=House*", "E"),
        // Dates and times.
        ("StudyDate=20240101", "AB"),
        ("StudyDate=20240101-20240229", "ABC"),
        ("StudyDate=20241231-", "DE"),
        ("StudyDate=-20240101", "AB"),
        ("StudyDate=20240101&StudyTime=235959-", "B"),
        ("StudyDate=20240101-20240229&StudyTime=120000-091500", "BC"),
        // Modalities: several values mean any of them.
        ("ModalitiesInStudy=MR", "C"),
        ("ModalitiesInStudy=MR%5CCT", "ABCDEF"),
        ("ModalitiesInStudy=US", ""),
        // Without a column of its own.
        ("WindowCenter=40", ""),
        ("Rows=2", "ABCDEF"),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|(query, expected)| {
            let found = letters(query);
            (found != *expected).then(|| format!("{query}: {found:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for query in [
        "StudyDate=yesterday",
        "StudyDate=20241301",
        "StudyDate=20240101-2024",
        "StudyInstanceUID=not-a-uid",
        "limit=-1",
        "limit=many",
        "offset=x",
        "fuzzymatching=perhaps",
    ] {
        let answer = web.dicom(&format!("/studies?{query}")).send();
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(!answer.text().trim().is_empty(), "{query}: a reason is stated");
    }
    // What cannot be matched is ignored, and said so (PS3.18 section 8.3.4.5).
    for query in ["NoSuchKeyword=1", "InstanceAvailability=ONLINE"] {
        let answer = web.dicom(&format!("/studies?{query}")).send();
        let warned = answer.status == 200 && answer.header("Warning").starts_with("299");
        assert!(warned || answer.status == 400, "{query}: {}", answer.status);
    }
    // Fuzzy matching finds at least what exact matching finds.
    assert!(letters("PatientName=Smith*&fuzzymatching=true").contains("DE"));
    assert_eq!(letters("PatientName=Smith*&fuzzymatching=false"), "DE");
}

fn rows(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let other_series = Place { study: place.study.clone(), series: synth::new_uid() };
    let request =
        DataSet::default().text(0x0040_0009, "SH", "SPS-7").text(0x0040_1001, "SH", "RP-7");
    for (place, number) in [(&place, 1), (&place, 2), (&other_series, 3)] {
        let uid = format!("{}.{number}", place.series);
        let elements = synth::elements(place, CT, &uid)
            .text(0x0020_0013, "IS", &number.to_string())
            .text(0x0008_103E, "LO", "平扫 Axial")
            .text(0x0040_0244, "DA", "20260105")
            .text(0x0040_0245, "TM", "0915")
            .sequence(0x0040_0275, std::slice::from_ref(&request));
        let elements = synth::image(elements, 2, 2, vec![1; 8]);
        web.stow_instance(&Instance::new(place, CT, &uid, &elements));
    }
    let Place { study, series } = &place;

    // PS3.18 table 10.6.3-3: required at study level, with RetrieveURL and availability.
    let row = one(&web, &format!("/studies?StudyInstanceUID={study}"));
    expect_tags(
        &row,
        "00080020 00080030 00080050 00080056 00080061 00080090 00081190 00100010 00100020 \
         00100030 00100040 0020000D 00200010 00201206 00201208",
    );
    assert_eq!(row["00201206"]["Value"][0], 2, "a number, not a text");
    assert_eq!(row["00201208"]["Value"][0], 3);
    assert_eq!(row["00201208"]["vr"], "IS");
    assert_eq!(value(&row, "00080056"), "ONLINE");
    assert_eq!(row["00100010"]["Value"][0]["Alphabetic"], "Test^Synthetic");
    usable(&node, &row, &format!("/studies/{study}"));

    // Table 10.6.3-4.
    let row = one(&web, &format!("/studies/{study}/series?SeriesInstanceUID={series}"));
    expect_tags(
        &row,
        "00080060 0008103E 00081190 0020000E 00200011 00201209 00400244 00400245 00400275",
    );
    assert_eq!(row["00201209"]["Value"][0], 2);
    assert_eq!(value(&row, "0008103E"), "平扫 Axial");
    let item = &row["00400275"]["Value"][0];
    assert_eq!((value(item, "00400009"), value(item, "00401001")), ("SPS-7".into(), "RP-7".into()));
    usable(&node, &row, &format!("/studies/{study}/series/{series}"));

    // Table 10.6.3-5.
    let path = format!("/studies/{study}/series/{series}/instances");
    let row = one(&web, &format!("{path}?InstanceNumber=2"));
    expect_tags(&row, "00080016 00080018 00080056 00081190 00200013 00280010 00280011 00280100");
    usable(&node, &row, &format!("{path}/{series}.2"));
    // Instance level across the study and across everything.
    assert_eq!(web.json(&format!("/studies/{study}/instances")).len(), 3);
    assert_eq!(web.json(&format!("/instances?SeriesInstanceUID={series}")).len(), 2);
    assert_eq!(web.json(&format!("/series?StudyInstanceUID={study}")).len(), 2);
    let row = one(&web, &format!("/instances?SOPInstanceUID={series}.2"));
    expect_tags(&row, "0020000D 0020000E 00100020");

    // includefield: repeated, comma-joined, by keyword, by tag, all; matched and included at once.
    let path = format!("/studies/{study}/series");
    for query in [
        "includefield=00080021,Manufacturer&includefield=0008103E",
        "includefield=all",
        "SeriesDescription=*Axial&includefield=SeriesDescription",
    ] {
        for row in web.json(&format!("{path}?{query}")) {
            expect_tags(&row, "0008103E");
        }
    }
    let rows = web.json(&format!("/studies/{study}/instances?includefield=00281053,Rows,00280103"));
    for row in rows {
        expect_tags(&row, "00280010 00280103");
    }
    assert!(web.json("/studies?PatientID=nobody").is_empty(), "no match is an empty array");
    let none = web.dicom("/studies?PatientID=nobody").send();
    assert_eq!((none.status, none.text().trim()), (200, "[]"));
    assert!(none.header("Content-Type").starts_with("application/dicom+json"));

    // What any client can send is not believed: neither a forged proxy header nor a Host with
    // anything but a host gets into an answer.
    let answer = web
        .dicom(&format!("/studies?StudyInstanceUID={study}"))
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "host=evil.example")
        .send_ok();
    assert!(!answer.text().contains("evil.example"), "{}", answer.text());
    for host in ["evil.example\"><script>", "a b", "x/../y"] {
        let answer = web.dicom("/studies").header("Host", host).send();
        let echoed = answer.text().contains("script") || answer.text().contains("x/../y");
        assert!(!echoed, "the Host header is echoed: {}", answer.text());
    }
}

fn pages(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let store = |numbers: std::ops::Range<u32>| {
        let files: Vec<_> = numbers.map(|n| synth::ct(&place, n, 2).part10()).collect();
        assert_eq!(web.stow(files.iter().map(Vec::as_slice)).status, 200);
    };
    store(0..100);
    let path = format!("/studies/{}/instances", place.study);
    let mut seen = Vec::new();
    for page in 0..8 {
        let rows = web.json(&format!("{path}?limit=17&offset={}", page * 17));
        assert!(rows.len() <= 17);
        seen.extend(rows.iter().map(|row| value(row, "00080018")));
        // What arrives meanwhile must not push what was already there to another page.
        store(100 + page * 3..103 + page * 3);
    }
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "an instance came twice");
    for number in 0..100 {
        let uid = format!("{}.{number}", place.series);
        assert!(unique.contains(&uid), "instance {number} was skipped");
    }
    assert!(web.json(&format!("{path}?limit=0")).is_empty());
    assert!(web.json(&format!("{path}?offset=100000")).is_empty());
}

#[track_caller]
fn one(web: &Web, path: &str) -> Value {
    let mut rows = web.json(path);
    assert_eq!(rows.len(), 1, "{path}");
    rows.remove(0)
}

#[track_caller]
fn expect_tags(row: &Value, tags: &str) {
    let missing: Vec<_> = tags.split_whitespace().filter(|tag| row.get(tag).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {row}");
}

/// RetrieveURL is absolute, points at this node and gives the object.
#[track_caller]
fn usable(node: &Node, row: &Value, path: &str) {
    let url = value(row, "00081190");
    assert_eq!(url, format!("{}{ROOT}{path}", node.http()));
    let answer =
        node.web().dicom(path).accept("multipart/related; type=\"application/dicom\"").send();
    assert_eq!(answer.status, 200, "{path}");
    assert!(!answer.parts().is_empty());
}
