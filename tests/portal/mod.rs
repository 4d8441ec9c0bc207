//! What people see: our pages and the viewer, in headless Chromium.

use crate::support::clients::{self, source};
use crate::support::node::{Node, Plan};
use crate::support::setup::Setup;
use crate::support::{artifacts, external, skip};
use std::path::PathBuf;

/// The start page and the study list, in both languages, on a desk and on a phone.
#[test]
fn pages_open_without_errors() {
    let node = Node::start(&Setup::Embedded);
    import_samples(&node);
    if let Some(ran) = clients::browser(&node, "portal.js", &[]) {
        println!("{}", ran.ok());
    }
}

/// OHIF lists the studies, opens the CT and shows its pixels.
#[test]
fn ohif_opens_the_ct_study() {
    let Some(viewer) = viewer() else { return };
    let plan: Plan = Node::plan(&Setup::Embedded);
    let node = plan.arg("--viewer").arg(viewer.to_string_lossy()).start();
    import_samples(&node);
    if let Some(ran) = clients::browser(&node, "ohif.js", &[]) {
        println!("{}", ran.ok());
        for picture in ["ohif-list.png", "ohif-ct.png"] {
            assert!(artifacts().join(picture).is_file(), "{picture} was not written");
        }
    }
}

fn import_samples(node: &Node) {
    let folder = source("sample-dicom");
    let output = node.run("import", &[&folder.to_string_lossy()]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "import the samples: {words}");
    assert!(!node.web().json("/studies").is_empty(), "the samples hold studies");
}

/// The folder of the viewer's files: the variable, or where `make` puts it.
fn viewer() -> Option<PathBuf> {
    let beside = source("viewer");
    if beside.join("index.html").is_file() {
        return Some(beside);
    }
    let folder = PathBuf::from(external("QIANLI_TEST_VIEWER", "the viewer")?);
    if !folder.join("index.html").is_file() {
        skip("the viewer", "QIANLI_TEST_VIEWER holds no index.html");
        return None;
    }
    Some(folder)
}
