//! Lines 14 to 27: searching (PS3.18 section 10.6).

use crate::on_both_setups;
use crate::support::data_set::{DataSet, part10};
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{Web, value};
use serde_json::Value;
use std::collections::BTreeSet;

on_both_setups! {
    /// Attributes by keyword, by digits, by a path into sequences, private ones.
    gotcha_14_attributes_by_any_name = any_name;
    /// `includefield` repeated, joined, `all`; matched and included at once; whole sequences.
    gotcha_15_includefield_in_every_form = include_fields;
    /// Sounds and other scripts where asked; a warning names what was not matched.
    gotcha_16_fuzzy_matching_and_warnings = fuzzy;
    /// ModalitiesInStudy is matched and returned, several values mean any.
    gotcha_17_modalities_in_study = modalities;
    /// Counters are numbers; availability and a working RetrieveURL, behind a proxy too.
    gotcha_18_counters_and_urls = counters;
    /// UID lists by comma, by backslash, by repetition.
    gotcha_19_uid_lists = uid_lists;
    /// Every required key, XML included.
    gotcha_20_required_keys = required_keys;
    /// Date and time ranges are one range of instants.
    gotcha_21_ranges_of_instants = instants;
    /// Only `*` and `?` are wild.
    gotcha_22_other_characters_are_literal = literal;
    /// Pages stay where they are while instances arrive; totals on request.
    gotcha_23_pages_are_stable = pages;
    /// Names by any group, case and accent folded, never blank.
    gotcha_24_person_names = names;
    /// A Series UID in two studies.
    gotcha_25_series_uid_in_two_studies = shared_series;
    /// Each instance says its transfer syntax.
    gotcha_26_available_transfer_syntax = syntaxes;
    /// What a viewer's search box sends.
    gotcha_27_substrings = substrings;
}

/// Stores an instance of a study of its own and returns it.
fn store(web: &Web, change: impl FnOnce(DataSet) -> DataSet) -> Instance {
    store_at(web, &Place::new(), change)
}

fn store_at(web: &Web, place: &Place, change: impl FnOnce(DataSet) -> DataSet) -> Instance {
    let uid = synth::new_uid();
    let elements = change(synth::elements(place, CT, &uid));
    let elements = synth::image(elements, 2, 2, vec![7; 8]);
    let instance = Instance::new(place, CT, &uid, &elements);
    web.stow_instance(&instance);
    instance
}

/// The studies that a query finds, each by its place in a list.
fn found(web: &Web, known: &[Instance], query: &str) -> Vec<usize> {
    let rows = web.json(&format!("/studies?{query}"));
    let mut places: Vec<usize> = rows
        .iter()
        .map(|row| {
            let uid = value(row, "0020000D");
            known.iter().position(|one| one.place.study == uid).expect("a known study")
        })
        .collect();
    places.sort_unstable();
    places
}

/// Checks many queries and tells all that are wrong.
#[track_caller]
fn check(web: &Web, known: &[Instance], cases: &[(&str, &[usize])]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(query, expected)| {
            let found = found(web, known, query);
            (found != *expected).then(|| format!("{query}: {found:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[track_caller]
fn one(web: &Web, path: &str) -> Value {
    let mut rows = web.json(path);
    assert_eq!(rows.len(), 1, "{path}: {rows:?}");
    rows.remove(0)
}

#[track_caller]
fn has(row: &Value, tags: &str) {
    let missing: Vec<_> = tags.split_whitespace().filter(|tag| row.get(tag).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {row}");
}

/// A study with requests, evidence and private elements; `mark` is in all of them.
fn rich(mark: &str) -> impl FnOnce(DataSet) -> DataSet {
    move |elements| {
        let request = DataSet::default().text(0x0040_0009, "SH", &format!("SPS-{mark}")).text(
            0x0040_1001,
            "SH",
            &format!("RP-{mark}"),
        );
        let referenced = DataSet::default().text(0x0008_0050, "SH", &format!("REF-{mark}"));
        elements
            .text(0x0008_0070, "LO", &format!("Maker {mark}"))
            .text(0x0009_0011, "LO", "ACME 1")
            .text(0x0009_1102, "LO", &format!("private {mark}"))
            .text(0x0018_1030, "LO", &format!("Protocol {mark}"))
            .text(0x0018_0050, "DS", "1.50")
            .sequence(0x0040_0275, std::slice::from_ref(&request))
            .sequence(0x0040_A370, std::slice::from_ref(&referenced))
    }
}

fn any_name(setup: &Setup) {
    let node = Node::plan(setup).args(["--indexed-attributes", "0018,1030;SliceThickness"]).start();
    let web = node.web();
    let known = [store(&web, rich("A")), store(&web, rich("B")), store(&web, |elements| elements)];
    check(
        &web,
        &known,
        &[
            ("Manufacturer=Maker%20A", &[0]),
            ("00080070=maker%20b", &[1]),
            ("Manufacturer=Maker*", &[0, 1]),
            ("0040A370.00080050=REF-A", &[0]),
            ("ReferencedRequestSequence.AccessionNumber=ref-%3F", &[0, 1]),
            ("RequestAttributesSequence.ScheduledProcedureStepID=SPS-B", &[1]),
            ("00400275.00401001=RP-A", &[0]),
            // Private, by the block it has here and by its creator, whatever its block.
            ("00091102=private%20A", &[0]),
            ("00091002=private%20A&00090010=ACME%201", &[0]),
            ("00091002=private%20A&00090010=ACME%202", &[]),
            ("00091002=private%20A", &[]),
            // Indexed by this node's settings.
            ("ProtocolName=protocol%20b", &[1]),
            ("SliceThickness=1.5", &[0, 1]),
            ("SliceThickness=%22%22", &[2]),
            ("Rows=2&Manufacturer=Maker*", &[0, 1]),
            ("Rows=3", &[]),
            // Several conditions at once, with and without columns.
            ("PatientID=SYN-1&Manufacturer=*A&0040A370.00080050=REF-A", &[0]),
            ("Manufacturer=*A&0040A370.00080050=REF-B", &[]),
        ],
    );
    let series = web.json("/series?RequestAttributesSequence.ScheduledProcedureStepID=SPS-A");
    assert_eq!(series.len(), 1);
    assert_eq!(value(&series[0], "0020000D"), known[0].place.study);
    assert_eq!(web.json("/instances?00091102=private%20B").len(), 1);
    for query in ["Rows=many", "ReferencedRequestSequence=x", "SliceThickness=thick"] {
        assert_eq!(web.dicom(&format!("/studies?{query}")).send().status, 400, "{query}");
    }
}

fn include_fields(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let instance = store(&web, |elements| rich("A")(elements).text(0x0008_1030, "LO", "Chest"));
    let study = &instance.place.study;
    for query in [
        "includefield=00081030,00080070,00400275",
        "includefield=00081030&includefield=Manufacturer&includefield=RequestAttributesSequence",
        "includefield=StudyDescription,Manufacturer,00400275.00400009",
        "includefield=all",
    ] {
        let row = one(&web, &format!("/series?{query}"));
        has(&row, "00081030 00080070 00400275");
        assert_eq!(value(&row["00400275"]["Value"][0], "00400009"), "SPS-A", "{query}");
    }
    // Matched and included at once still matches.
    let both = "StudyDescription=Nobody&includefield=StudyDescription";
    assert!(web.json(&format!("/studies?{both}")).is_empty());
    assert_eq!(value(&one(&web, "/studies?StudyDescription=Chest"), "00081030"), "Chest");
    // Instances: anything that the data set has, private and nested too.
    let path = format!("/studies/{study}/instances");
    let row = one(&web, &format!("{path}?includefield=SliceThickness,00091102,0040A370"));
    assert_eq!(row["00180050"]["Value"][0], 1.5);
    assert_eq!(value(&row, "00091102"), "private A");
    assert_eq!(value(&row, "00090011"), "ACME 1", "a private element comes with its creator");
    assert_eq!(value(&row["0040A370"]["Value"][0], "00080050"), "REF-A");
    assert!(row.get("00280100").is_some() && row.get("00181030").is_none());
    let all = one(&web, &format!("{path}?includefield=all"));
    has(&all, "00080008 00080070 00091102 00180050 00280004 00400275 0040A370 00100010");
    let uri = all["7FE00010"]["BulkDataURI"].as_str().expect("pixels by reference");
    assert!(uri.starts_with(node.http()), "{uri}");
    let unknown = web.dicom("/studies?includefield=NoSuchThing").send();
    assert_eq!(unknown.status, 200);
    assert!(unknown.header("Warning").starts_with("299"));
}

fn fuzzy(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let named =
        |name: &'static str| move |elements: DataSet| elements.text(0x0010_0010, "PN", name);
    let known = [
        store(&web, named("张^小东")),
        store(&web, named("Zhang^XiaoDong=張^小東")),
        store(&web, named("Smith^John")),
        store(&web, named("==ヤマダ^タロウ")),
        store(&web, named("김^희중")),
    ];
    let fuzzy = |name: &str| format!("PatientName={name}&fuzzymatching=true");
    for (name, expected) in [
        ("zhang%20xiaodong", &[0, 1][..]),
        ("zhangxiaodong", &[0, 1]),
        ("zxd", &[0, 1]),
        ("%E5%BC%A0%E5%B0%8F%E4%B8%9C", &[0, 1]),
        ("smyth%5Ejon", &[2]),
        ("%E3%82%84%E3%81%BE%E3%81%A0", &[3]),
        ("yamada%5Etaro", &[3]),
        ("kim", &[4]),
        ("lisi", &[]),
    ] {
        assert_eq!(found(&web, &known, &fuzzy(name)), expected, "{name}");
    }
    check(&web, &known, &[("PatientName=zxd", &[]), ("PatientName=smyth%5Ejon", &[])]);
    let answer = web.dicom(&format!("/studies?{}", fuzzy("zxd"))).send_ok();
    assert_eq!(answer.header("Warning"), "", "it was done: nothing to warn of");
    // What was not matched is named.
    for (query, name) in [
        ("InstanceAvailability=OFFLINE", "InstanceAvailability"),
        ("NoSuchKeyword=1", "NoSuchKeyword"),
    ] {
        let answer = web.dicom(&format!("/studies?{query}")).send();
        let warning = answer.header("Warning");
        assert!(answer.status == 200 && warning.starts_with("299 "), "{query}: {warning}");
        assert!(warning.contains(name), "{warning}");
    }
}

fn modalities(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let of = |modality: &'static str| {
        move |elements: DataSet| elements.text(0x0008_0060, "CS", modality)
    };
    let both = store(&web, of("CT"));
    let place = Place { study: both.place.study.clone(), series: synth::new_uid() };
    store_at(&web, &place, of("SR"));
    let known = [both, store(&web, of("MR")), store(&web, of("US"))];
    check(
        &web,
        &known,
        &[
            ("ModalitiesInStudy=CT", &[0]),
            ("ModalitiesInStudy=SR", &[0]),
            ("ModalitiesInStudy=MR,SR", &[0, 1]),
            ("ModalitiesInStudy=MR%5CUS", &[1, 2]),
            ("00080061=MR&00080061=CT", &[0, 1]),
            ("ModalitiesInStudy=XA", &[]),
        ],
    );
    let row = one(&web, &format!("/studies?StudyInstanceUID={}", known[0].place.study));
    assert_eq!(row["00080061"]["Value"], serde_json::json!(["CT", "SR"]));
}

fn counters(setup: &Setup) {
    let public = "https://pacs.example.org/imaging";
    for arguments in [&[][..], &["--public-url", public]] {
        let node = Node::plan(setup).args(arguments.iter().copied()).start();
        let web = node.web();
        let place = Place::new();
        for number in 1..=3 {
            web.stow_instance(&synth::ct(&place, number, 2));
        }
        let base = if arguments.is_empty() { node.http() } else { public };
        let study = one(&web, "/studies");
        for (tag, count) in [("00201206", 1), ("00201208", 3)] {
            assert_eq!(study[tag]["Value"][0], count, "a number: {}", study[tag]);
        }
        let series = one(&web, "/series");
        assert_eq!(series["00201209"]["Value"][0], 3);
        let instance = &web.json("/instances?InstanceNumber=2")[0];
        for row in [&study, &series, instance] {
            assert_eq!(value(row, "00080056"), "ONLINE");
            let url = value(row, "00081190");
            assert!(url.starts_with(&format!("{base}/dicom-web/studies/")), "{url}");
            assert!(!url.contains("null"), "{url}");
            let path = url.split("/dicom-web").nth(1).expect("a path");
            assert_eq!(web.dicom(path).send().status, 200, "{path}");
        }
    }
}

fn uid_lists(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let known: Vec<_> = (0..3).map(|_| store(&web, |elements| elements)).collect();
    let [a, b, _] = [0, 1, 2].map(|index: usize| known[index].place.study.clone());
    for query in [
        format!("StudyInstanceUID={a},{b}"),
        format!("StudyInstanceUID={a}%5C{b}"),
        format!("0020000D={a}&0020000D={b}"),
        format!("StudyInstanceUID={a},{b},1.2.3"),
    ] {
        assert_eq!(found(&web, &known, &query), [0, 1], "{query}");
    }
    let uids = format!("{},{}", known[1].uid, known[2].uid);
    assert_eq!(found(&web, &known, &format!("SOPInstanceUID={uids}")), [1, 2]);
}

fn required_keys(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let full = store(&web, rich("A"));
    // Attributes that no data set has are there all the same, empty.
    let bare = store(&web, |elements| {
        [0x0008_0030, 0x0008_0050, 0x0008_0090, 0x0020_0010, 0x0020_0013]
            .into_iter()
            .fold(elements, DataSet::without)
    });
    for Instance { place: Place { study, series }, .. } in [&full, &bare] {
        let row = one(&web, &format!("/studies?StudyInstanceUID={study}"));
        has(
            &row,
            "00080020 00080030 00080050 00080056 00080061 00080090 00081190 00100010 00100020 \
             00100030 00100040 0020000D 00200010 00201206 00201208",
        );
        let row = one(&web, &format!("/studies/{study}/series"));
        has(
            &row,
            "00080060 0008103E 00081190 0020000E 00200011 00201209 00400244 00400245 00400275",
        );
        let row = one(&web, &format!("/studies/{study}/series/{series}/instances"));
        has(
            &row,
            "00080016 00080018 00080056 00081190 00083002 00200013 00280010 00280011 00280100",
        );
    }
    // The same as XML, one part for each row.
    let media = "multipart/related; type=\"application/dicom+xml\"";
    let answer = web.dicom("/studies").accept(media).send_ok();
    assert!(answer.header("Content-Type").starts_with("multipart/related"));
    let parts = answer.parts();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let text = String::from_utf8(part.body).expect("UTF-8");
        for keyword in ["StudyTime", "StudyID", "InstanceAvailability", "RetrieveURL"] {
            assert!(text.contains(&format!("keyword=\"{keyword}\"")), "{keyword}: {text}");
        }
        assert!(text.contains("<FamilyName>Test</FamilyName>"), "{text}");
    }
    let refused = web.dicom("/studies").accept("image/png").send();
    assert_eq!(refused.status, 406);
    assert!(refused.text().contains("application/dicom+xml"), "{}", refused.text());
}

fn instants(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let at = |date: &'static str, time: &'static str| {
        move |elements: DataSet| {
            elements.text(0x0008_0020, "DA", date).text(0x0008_0030, "TM", time)
        }
    };
    let known = [
        store(&web, at("20240101", "230000")),
        store(&web, at("20240102", "010000")),
        store(&web, at("20240102", "120000")),
        store(&web, at("20240103", "230000")),
    ];
    check(
        &web,
        &known,
        &[
            // From ten in the evening to two in the morning, across midnight.
            ("StudyDate=20240101-20240102&StudyTime=2200-0200", &[0, 1]),
            ("StudyDate=20240101-20240103&StudyTime=2200-2200", &[0, 1, 2]),
            ("StudyDate=20240102-&StudyTime=0200-", &[2, 3]),
            ("StudyDate=-20240102&StudyTime=-0159", &[0, 1]),
            ("StudyDate=20240102-", &[1, 2, 3]),
            ("StudyDate=-20240101", &[0]),
            ("StudyDate=20240102&StudyTime=1200", &[2]),
            ("StudyTime=2200-0200", &[0, 1, 3]),
        ],
    );
}

fn literal(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let of = |text: &'static str| {
        move |elements: DataSet| {
            elements.text(0x0008_1030, "LO", text).text(0x0008_0070, "LO", text)
        }
    };
    let known = [store(&web, of("50% a_b")), store(&web, of("50 axb")), store(&web, of("500 a-b"))];
    // With a column and without one.
    for name in ["StudyDescription", "Manufacturer"] {
        for (value, expected) in [
            ("50%25*", &[0][..]),
            ("*%25*", &[0]),
            ("*a_b", &[0]),
            ("*a%3Fb", &[0, 1, 2]),
            ("50*", &[0, 1, 2]),
            ("%25", &[]),
            ("_", &[]),
            ("50%25 a_b", &[0]),
        ] {
            let query = format!("{name}={value}");
            assert_eq!(found(&web, &known, &query), expected, "{query}");
        }
    }
}

fn pages(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    for number in 0..40 {
        web.stow_instance(&synth::ct(&place, number, 2));
    }
    let path = format!("/studies/{}/instances", place.study);
    let mut seen = Vec::new();
    for page in 0..8 {
        let rows = web.json(&format!("{path}?limit=5&offset={}", page * 5));
        seen.extend(rows.iter().map(|row| value(row, "00080018")));
        web.stow_instance(&synth::ct(&place, 100 + page, 2));
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (40, 40));
    let total = |query: &str| {
        let answer = web.dicom(&format!("{path}?{query}")).send_ok();
        (answer.json_array().len(), answer.header("X-Total-Count").to_owned())
    };
    assert_eq!(total("limit=5&count=true"), (5, "48".into()));
    assert_eq!(total("limit=5&offset=46&count=true"), (2, "48".into()));
    assert_eq!(total("offset=1000&count=true"), (0, "48".into()));
    assert_eq!(total("limit=5"), (5, String::new()));
}

fn names(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let named =
        |name: &'static str| move |elements: DataSet| elements.text(0x0010_0010, "PN", name);
    let known = [
        store(&web, named("Müller^Jürgen")),
        store(&web, named("Yamada^Tarou=山田^太郎=やまだ^たろう")),
        store(&web, named("=王^小东")),
    ];
    check(
        &web,
        &known,
        &[
            ("PatientName=muller*", &[0]),
            ("PatientName=M%C3%9CLLER%5EJ%C3%9CRGEN", &[0]),
            ("PatientName=%E5%B1%B1%E7%94%B0*", &[1]),
            ("PatientName=yamada*", &[1]),
            ("PatientName=*%E3%81%9F%E3%82%8D*", &[1]),
            ("PatientName=%E7%8E%8B%5E%E5%B0%8F%E4%B8%9C", &[2]),
            ("PatientName=*%E5%B0%8F*", &[2]),
        ],
    );
    let row = one(&web, &format!("/studies?StudyInstanceUID={}", known[2].place.study));
    assert_eq!(row["00100010"]["Value"][0]["Ideographic"], "王^小东");
}

fn shared_series(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let first = Place::new();
    let second = Place { study: synth::new_uid(), series: first.series.clone() };
    let a = store_at(&web, &first, |elements| elements.text(0x0008_103E, "LO", "First"));
    let b = store_at(&web, &second, |elements| elements.text(0x0008_103E, "LO", "Second"));
    for (instance, description) in [(&a, "First"), (&b, "Second")] {
        let Place { study, series } = &instance.place;
        let row = one(&web, &format!("/studies/{study}/series"));
        assert_eq!(value(&row, "0008103E"), description);
        assert_eq!(row["00201209"]["Value"][0], 1);
        let row = one(&web, &format!("/studies/{study}/series/{series}/instances"));
        assert_eq!(value(&row, "00080018"), instance.uid);
    }
    let both = web.json(&format!("/series?SeriesInstanceUID={}", first.series));
    assert_eq!(both.len(), 2);
}

fn syntaxes(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    for number in 1..=20 {
        web.stow_instance(&synth::ct(&place, number, 2));
    }
    // What the fragment holds does not matter here, only what it is stored as.
    let fragments: Vec<u8> = [
        &[0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0][..],
        &[0xFE, 0xFF, 0x00, 0xE0, 4, 0, 0, 0, 0xFF, 0xD8, 0xFF, 0xD9],
        &[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0],
    ]
    .concat();
    let uid = synth::new_uid();
    let mut data_set = synth::image(synth::elements(&place, CT, &uid), 2, 2, Vec::new())
        .without(synth::PIXEL_DATA)
        .encode();
    data_set.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    data_set.extend(fragments);
    let jpeg = "1.2.840.10008.1.2.4.70";
    assert_eq!(web.stow([part10(CT, &uid, jpeg, &data_set).as_slice()]).status, 200);
    let rows = web.json(&format!("/studies/{}/instances", place.study));
    assert_eq!(rows.len(), 21);
    for row in rows {
        let expected = if value(&row, "00080018") == uid { jpeg } else { "1.2.840.10008.1.2.1" };
        assert_eq!(value(&row, "00083002"), expected);
    }
}

fn substrings(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let of = |mark: &'static str| {
        move |elements: DataSet| {
            elements
                .text(0x0010_0010, "PN", &format!("Family{mark}^Given"))
                .text(0x0010_0020, "LO", &format!("ID-{mark}-1"))
                .text(0x0008_0050, "SH", &format!("ACC-{mark}-1"))
                .text(0x0008_1030, "LO", &format!("CT {mark} native"))
        }
    };
    let known = [store(&web, of("alpha")), store(&web, of("beta")), store(&web, of("alphabeta"))];
    for name in ["PatientName", "PatientID", "AccessionNumber", "StudyDescription", "00100020"] {
        for (mark, expected) in
            [("alpha", &[0, 2][..]), ("BETA", &[1, 2]), ("alphab", &[2]), ("gamma", &[])]
        {
            for flag in ["", "&fuzzymatching=true&limit=101&offset=0"] {
                let query = format!("{name}=*{mark}*{flag}");
                assert_eq!(found(&web, &known, &query), expected, "{query}");
            }
        }
    }
}
