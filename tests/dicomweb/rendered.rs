//! Rendering of the corpus by the running node: beside another renderer, and as pages, cines,
//! documents and videos (PS3.18 section 10.4.1.1.4).

use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::heavy;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::web::value;

/// Frame 1 of every file looks as DCMTK shows it; `contact-sheet.html` is there to be looked at.
#[test]
fn the_corpus_looks_as_it_does_elsewhere() {
    let Some(corpus) = Corpus::open() else { return };
    if !clients::has_dcmtk() {
        return;
    }
    let _turn = heavy();
    let node = Node::start(&Setup::Embedded);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "contact_sheet.py", &[&folder]) {
        println!("{}", ran.ok());
    }
}

/// Every kind of object without plain pixels has something sensible to show, and a thumbnail.
#[test]
fn objects_without_pixels_are_shown() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    let web = node.web();
    // (file, media type, texts of the page or first bytes)
    let cases: &[(&str, &str, &[&str])] = &[
        ("highdicom/sr_document.dcm", "text/html", &["<section", "</section>"]),
        ("dcmjs-dimse/sr.dcm", "text/html", &["<section"]),
        ("pydicom/test-SR.dcm", "text/html", &["<section"]),
        ("dwv/tid1500-0-sr-ruler.dcm", "text/html", &["mm"]),
        ("synthetic/key_object.dcm", "text/html", &["/rendered\""]),
        ("synthetic/gsps.dcm", "text/html", &["<h1>Presentation state"]),
        ("pydicom/rtplan.dcm", "text/html", &["<table", "PHOTON"]),
        ("pydicom/rtstruct.dcm", "text/html", &["<table"]),
        ("pydicom/waveform_ecg.dcm", "text/html", &["<svg", "Lead I (Einthoven)", "10 mm/mV"]),
        ("synthetic/ecg_ambulatory.dcm", "text/html", &["<polyline"]),
        ("synthetic/encapsulated_pdf.dcm", "application/pdf", &["%PDF"]),
        ("synthetic/video_mpeg4_hp41.dcm", "video/", &[""]),
        ("highdicom/seg_image_ct_true_fractional.dcm", "image/jpeg", &[""]),
        ("pydicom-data/parametric_map_float.dcm", "image/jpeg", &[""]),
    ];
    for (file, media, texts) in cases {
        let entry = corpus.entries.iter().find(|entry| entry.file == *file);
        let entry = entry.unwrap_or_else(|| panic!("{file} is not in the corpus"));
        let answer = web.stow([entry.bytes().as_slice()]);
        assert!(matches!(answer.status, 200 | 202), "{file}: {}", answer.text());
        let reference = answer.json()["00081199"]["Value"][0].clone();
        let url = value(&reference, "00081190");
        let path = url.strip_prefix(node.http()).expect("a URL of this node").to_owned();

        let shown = web.get(&format!("{path}/rendered")).send();
        assert_eq!(shown.status, 200, "{file}: {}", shown.text());
        let content_type = shown.header("Content-Type");
        assert!(content_type.starts_with(media), "{file}: {content_type}");
        let text = shown.text();
        for expected in *texts {
            assert!(text.contains(expected), "{file}: no {expected}");
        }
        if *media == "text/html" {
            assert!(!text.contains("<script"), "{file}");
            let chinese = web.get(&format!("{path}/rendered")).header("Accept-Language", "zh-CN");
            assert!(chinese.send_ok().text().contains("lang=\"zh-CN\""), "{file}");
            let refused = web.get(&format!("{path}/rendered")).accept("image/jpeg").send();
            assert_eq!(refused.status, 406, "{file}");
            assert!(refused.text().contains("text/html"), "{file}: {}", refused.text());
        }
        let thumbnail = web.get(&format!("{path}/thumbnail")).send();
        assert_eq!(thumbnail.status, 200, "{file}: {}", thumbnail.text());
        assert!(thumbnail.body.starts_with(&[0xFF, 0xD8]), "{file}");
    }
}
