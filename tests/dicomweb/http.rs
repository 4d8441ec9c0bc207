//! HTTP around the services: health, and the exact requests of OHIF.

use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use crate::support::web::{Web, value};

on_both_setups! {
    /// The requests that OHIF 3.13 makes to open a study, in its order and with its headers.
    ohif_gets_what_it_asks_for = ohif;
}

/// Health, metrics, pages, and paths that are not there.
#[test]
fn health_and_unknown_paths() {
    let node = Node::start(&Setup::Embedded);
    let web = node.web();
    for path in ["/healthz", "/readyz", "/metrics", "/", "/studies"] {
        assert_eq!(web.get(path).send().status, 200, "{path}");
    }
    let metrics = web.get("/metrics").send_ok().text();
    assert!(metrics.contains("qianli_"), "{metrics}");
    // Through a proxy on this machine everybody comes from it.
    for (name, value) in
        [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("Via", "1.1 proxy")]
    {
        assert_eq!(web.get("/metrics").header(name, value).send().status, 403, "{name}");
    }
    assert_eq!(web.dicom("/no/such/service").send().status, 404);
}

fn ohif(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let place = Place::new();
    let instances: Vec<_> = (1..=3).map(|number| synth::ct(&place, number, 32)).collect();
    for instance in &instances {
        web.stow_instance(instance);
    }
    let Place { study, series } = &place;
    let fields = "includefield=00081030%2C00080060%2C00080090%2C00100030";
    let page = format!("limit=101&offset=0&fuzzymatching=true&{fields}");
    let json = |path: &str| {
        let accept = "application/dicom+json";
        web.dicom(path).accept(accept).send_ok().json_array()
    };
    let listed = json(&format!("/studies?{page}"));
    assert_eq!(listed.len(), 1);
    assert_eq!(value(&listed[0], "00081030"), "Synthetic study");
    let searched = json(&format!(
        "/studies?PatientName=*Synth*&00100020=*SYN*&AccessionNumber=*ACC*\
         &StudyDescription=*study*&StudyDate=20260101-20260131&ModalitiesInStudy=CT%5CMR&{page}"
    ));
    assert_eq!(searched.len(), 1, "OHIF's filters");
    assert_eq!(json(&format!("/studies?{page}&StudyInstanceUID={study}")).len(), 1);
    let listed = json(&format!(
        "/studies/{study}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011"
    ));
    assert_eq!(value(&listed[0], "0020000E"), *series);
    assert_eq!(json(&format!("/studies?00100020=SYN-1&{page}")).len(), 1, "priors");
    let metadata = json(&format!("/studies/{study}/series/{series}/metadata"));
    assert_eq!(metadata.len(), 3);
    for row in &metadata {
        // What Cornerstone needs to place and show an image.
        for tag in ["00080016", "00080018", "00280010", "00280011", "00280100", "00280103"] {
            assert!(row.get(tag).is_some(), "{tag} is missing");
        }
    }
    frames(&web, &instances);
}

fn frames(web: &Web, instances: &[synth::Instance]) {
    let accept = "multipart/related; type=application/octet-stream; transfer-syntax=*";
    for instance in instances {
        let answer = web.dicom(&format!("{}/frames/1", instance.path())).accept(accept).send_ok();
        let parts = answer.parts();
        assert!(parts[0].content_type.contains("transfer-syntax="), "{}", parts[0].content_type);
        assert!(instance.data_set.ends_with(&parts[0].body));
        // Thumbnails: the query parameter wins over the header.
        let path = format!("{}/rendered?accept=image/jpeg", instance.path());
        let thumbnail = web.dicom(&path).accept(accept).send();
        assert_eq!(thumbnail.status, 200, "{}", thumbnail.text());
        assert!(thumbnail.body.starts_with(&[0xFF, 0xD8]));
    }
}
