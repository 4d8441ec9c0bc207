//! What people see: our pages and the viewer, in headless Chromium.

use crate::support::clients::{self, source};
use crate::support::corpus::Corpus;
use crate::support::node::{Node, Plan};
use crate::support::setup::Setup;
use crate::support::web::value;
use crate::support::{artifacts, external, skip};
use std::path::PathBuf;

/// The start page, the study list and the devices, in both languages, on a desk and on a phone.
#[test]
fn pages_open_without_errors() {
    let node = Node::start(&Setup::Embedded);
    import_samples(&node);
    let row = ["add", "CT1", "10.0.0.5:104", "--charset", "gb18030", "--without", "ACME 1.0,-"];
    assert!(node.operator("peer", &row).status.success());
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

/// What OHIF is to show: name of the screenshot, what is looked for (`ohif_modalities.js`), and the
/// files of the corpus, one of whose study is opened.
const KINDS: [(&str, &str, &[&str]); 11] = [
    ("ct", "image", &["synthetic/ct-jls_0"]),
    ("mr", "image", &["dcm4che/dicom-MR"]),
    ("us-cine", "cine", &["dicomparser/IM00001.implicit_little_endian.dcm"]),
    ("us-palette", "cine", &["dcm4che/US-PAL-8-10x-echo"]),
    ("dx", "image", &["pylibjpeg-data/966_fixed.dcm"]),
    ("dx-small", "image", &["highdicom/dx_image.dcm"]),
    ("mg", "image", &["synthetic/breast_tomo.dcm"]),
    ("seg", "segments", &["dcmqi/ct-3slice-", "dcmqi/partial_overlaps.dcm"]),
    ("sr", "report", &["dcmjs-dimse/sr.dcm"]),
    ("sr-marks", "marks", &["dwv/annotation-squares.dcm", "dwv/tid1500-0-sr-ruler.dcm"]),
    ("pdf", "document", &["synthetic/encapsulated_pdf.dcm"]),
];

/// OHIF opens a study of each kind and shows what is in it.
#[test]
fn ohif_shows_each_kind_of_study() {
    let (Some(viewer), Some(corpus)) = (viewer(), Corpus::open()) else { return };
    let node = Node::plan(&Setup::Embedded).arg("--viewer").arg(viewer.to_string_lossy()).start();
    let manifest = corpus.folder.join("manifest.tsv").to_string_lossy().into_owned();
    let mut arguments = vec![manifest];
    for (name, kind, prefixes) in KINDS {
        let mut study = None;
        for prefix in prefixes {
            let found: Vec<_> =
                corpus.entries.iter().filter(|entry| entry.file.starts_with(prefix)).collect();
            assert!(!found.is_empty(), "{prefix} is not in the corpus");
            for entry in found {
                let answer = node.web().stow([entry.bytes().as_slice()]);
                assert_eq!(answer.status, 200, "{}: {}", entry.file, answer.text());
                let url = value(&answer.json(), "00081190");
                study = url.rsplit_once("/studies/").map(|(_, uid)| uid.to_owned());
            }
        }
        arguments.push(format!("{name}={kind}={}", study.expect("a study")));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(ran) = clients::browser(&node, "ohif_modalities.js", &arguments) {
        println!("{}", ran.ok());
        for (name, ..) in KINDS {
            let picture = format!("ohif-{name}.png");
            assert!(artifacts().join(&picture).is_file(), "{picture} was not written");
        }
    }
}

/// Imports the samples into a node's archive.
pub fn import_samples(node: &Node) {
    let folder = source("sample-dicom");
    let output = node.run("import", &[&folder.to_string_lossy()]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "import the samples: {words}");
}

/// The folder of the viewer's files: the variable, or where `make` puts it.
pub fn viewer() -> Option<PathBuf> {
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
