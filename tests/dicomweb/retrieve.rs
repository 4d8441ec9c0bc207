//! WADO-RS (PS3.18 section 10.4): objects, metadata, bulk data, and the forms of Accept that
//! clients send.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::data_set::DataSet;
use crate::support::data_set::split_part10;
use crate::support::node::Node;
use crate::support::peer::EXPLICIT;
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{ROOT, Web};
use serde_json::Value;

on_both_setups! {
    /// Studies, series and instances come whole, in each form a client asks for.
    objects_come_whole = objects;
    /// Metadata holds every element; what is too large for it is behind a URI that works.
    metadata_and_bulk_data = metadata;
}

/// What pydicom makes of the corpus as DICOM JSON is what the node says.
#[test]
fn metadata_equals_that_of_pydicom() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "metadata.py", &[&folder]) {
        println!("{}", ran.ok());
    }
}

fn objects(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let instances: Vec<_> = (1..=5).map(|number| synth::ct(&place, number, 32)).collect();
    for instance in &instances {
        web.stow_instance(instance);
    }
    let Place { study, series } = &place;
    let multipart = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    for path in [format!("/studies/{study}"), format!("/studies/{study}/series/{series}")] {
        for (path, accept) in [
            (path.clone(), multipart),
            (path.clone(), "multipart/related; type=application/dicom; transfer-syntax=*"),
            (path.clone(), "*/*"),
            (format!("{path}/"), multipart),
        ] {
            let parts = web.dicom(&path).accept(accept).send_ok().parts();
            assert_eq!(parts.len(), 5, "{path} {accept}");
            for part in &parts {
                assert!(
                    part.content_type.starts_with("application/dicom"),
                    "{}",
                    part.content_type
                );
                let (syntax, data_set) = split_part10(&part.body).expect("a Part 10 file");
                assert_eq!(syntax, EXPLICIT);
                assert!(instances.iter().any(|instance| instance.data_set == data_set));
            }
        }
    }
    let first = &instances[0];
    for accept in [
        "application/dicom",
        "application/dicom; transfer-syntax=*",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        "application/dicom;transfer-syntax=\"*\"",
    ] {
        let answer = web.dicom(&first.path()).accept(accept).send_ok();
        assert!(answer.header("Content-Type").starts_with("application/dicom"), "{accept}");
        assert!(answer.body.ends_with(&first.data_set), "{accept}");
    }
    let parts = web.dicom(&first.path()).accept(multipart).send_ok().parts();
    assert_eq!(parts.len(), 1);
    // Boundaries are chosen anew for every answer.
    let boundary = || {
        let answer = web.dicom(&first.path()).accept(multipart).send_ok();
        answer.header("Content-Type").to_owned()
    };
    assert_ne!(boundary(), boundary());

    let unknown = synth::new_uid();
    for path in [
        format!("/studies/{unknown}"),
        format!("/studies/{unknown}/metadata"),
        format!("/studies/{study}/series/{unknown}"),
        format!("/studies/{study}/series/{series}/instances/{unknown}"),
        // The right instance under a wrong study.
        format!("/studies/{unknown}/series/{series}/instances/{}", first.uid),
    ] {
        assert_eq!(web.dicom(&path).send().status, 404, "{path}");
    }
    let unacceptable = web.dicom(&first.path()).accept("application/x-unheard-of").send();
    assert_eq!(unacceptable.status, 406);
}

fn metadata(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let uid = synth::new_uid();
    let curve = synth::noise(5, 100_000);
    let document = synth::noise(6, 70_001);
    let inner = DataSet::default().text(0x0008_0100, "SH", "T-1").bytes(
        0x0042_0011,
        "OB",
        document.clone(),
    );
    let elements = synth::elements(&place, CT, &uid)
        .text(0x0008_0008, "CS", r"ORIGINAL\\AXIAL")
        .text(0x0010_0010, "PN", "Wang^XiaoDong=王^小東")
        .text(0x0020_0032, "DS", r"-1.5\2\3e1")
        .text(0x0018_1310, "IS", "")
        .sequence(0x0008_1140, &[])
        .sequence(0x0040_A730, &[inner, DataSet::default()])
        .text(0x0099_0010, "LO", "QIANLI TEST")
        .bytes(0x0099_1001, "UN", vec![1, 2, 3, 4])
        .bytes(0x0099_1002, "OW", curve.clone());
    let pixels = synth::noise(7, 64 * 256);
    let elements = synth::image(elements, 64, 128, pixels.clone());
    let instance = Instance::new(&place, CT, &uid, &elements);
    web.stow_instance(&instance);

    let Place { study, series } = &place;
    for path in [
        format!("/studies/{study}/metadata"),
        format!("/studies/{study}/series/{series}/metadata"),
        format!("{}/metadata", instance.path()),
        format!("{}/metadata/", instance.path()),
    ] {
        for accept in [
            "application/dicom+json",
            "application/json",
            "*/*",
            // Seen from OHIF and dicomweb-client.
            "application/dicom+json, multipart/related; type=\"application/octet-stream\"; \
             transfer-syntax=*; transfer-syntax=*",
        ] {
            let answer = web.dicom(&path).accept(accept).send_ok();
            let content_type = answer.header("Content-Type");
            assert!(content_type.contains("json"), "{path} {accept}: {content_type}");
            let rows = answer.json_array();
            assert_eq!(rows.len(), 1);
            check_elements(&rows[0]);
            let uris = bulk_uris(&rows[0]);
            assert!(uris.len() >= 2, "large values are behind URIs: {uris:?}");
            let values = [&pixels, &curve, &padded(&document)];
            for (tag, uri) in uris {
                let bytes = fetch(&web, node.http(), &instance, &uri);
                assert!(values.contains(&&bytes), "{tag}: {} bytes from {uri}", bytes.len());
            }
        }
    }
}

fn check_elements(row: &Value) {
    for (tag, expected) in [
        ("00080008", r#"{"vr":"CS","Value":["ORIGINAL",null,"AXIAL"]}"#),
        ("00080060", r#"{"vr":"CS","Value":["CT"]}"#),
        (
            "00100010",
            r#"{"vr":"PN","Value":[{"Alphabetic":"Wang^XiaoDong","Ideographic":"王^小東"}]}"#,
        ),
        ("00200013", r#"{"vr":"IS","Value":[1]}"#),
        ("00280010", r#"{"vr":"US","Value":[64]}"#),
        ("00181310", r#"{"vr":"IS"}"#),
        ("00991001", r#"{"vr":"UN","InlineBinary":"AQIDBA=="}"#),
    ] {
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(row[tag], expected, "{tag}");
    }
    let numbers: Vec<_> =
        row["00200032"]["Value"].as_array().into_iter().flatten().map(Value::as_f64).collect();
    assert_eq!(numbers, [Some(-1.5), Some(2.0), Some(30.0)]);
    assert_eq!(row["00081140"]["vr"], "SQ");
    let items = row["0040A730"]["Value"].as_array().expect("items");
    assert_eq!(items.len(), 2, "an empty item is an item");
    assert_eq!(items[0]["00080100"]["Value"][0], "T-1");
    assert_eq!(row["7FE00010"]["vr"], "OW");
}

/// Every BulkDataURI of a data set, sequences included.
fn bulk_uris(data_set: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (tag, element) in data_set.as_object().into_iter().flatten() {
        if let Some(uri) = element["BulkDataURI"].as_str() {
            found.push((tag.clone(), uri.to_owned()));
        }
        for item in element["Value"].as_array().into_iter().flatten() {
            found.extend(bulk_uris(item));
        }
    }
    found
}

/// Fetches a BulkDataURI: absolute, from the root, or relative to the metadata's URL.
fn fetch(web: &Web, http: &str, instance: &Instance, uri: &str) -> Vec<u8> {
    let path = if let Some(path) = uri.strip_prefix(http) {
        path.to_owned()
    } else if uri.starts_with('/') {
        uri.to_owned()
    } else {
        format!("{ROOT}{}/{uri}", instance.path())
    };
    let answer = web.get(&path).accept("application/octet-stream").send();
    assert_eq!(answer.status, 200, "{uri}: {}", answer.text());
    let single = answer.body.clone();
    let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let parts = web.get(&path).accept(accept).send_ok().parts();
    assert_eq!(parts.len(), 1, "{uri}");
    assert!(parts[0].body == single, "{uri}: the same bytes in both forms");
    single
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}
