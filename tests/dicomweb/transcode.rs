//! Other transfer syntaxes than the stored one, and zip archives, read by pydicom and by other tools.

use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use std::io::{Cursor, Read};

/// Frame 1 of every image of the corpus in Explicit VR Little Endian, alone and in its object, has the
/// pixels of the manifest, and so has the object in every lossless syntax that the node offers.
#[test]
fn every_image_of_the_corpus_keeps_its_pixels() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "transcoded.py", &[&folder, "embedded"]) {
        println!("{}", ran.ok());
    }
}

/// A study as one archive holds the files that were stored.
#[test]
fn a_study_downloads_as_one_archive() {
    let node = Node::start(&Setup::Embedded);
    let web = node.web();
    let place = Place::new();
    let instances: Vec<_> = (1..=40).map(|number| synth::ct(&place, number, 64)).collect();
    for instance in &instances {
        web.stow_instance(instance);
    }
    let path = format!("/studies/{}?accept=application/zip%3Btransfer-syntax%3D*", place.study);
    let answer = web.dicom(&path).accept("text/html,*/*;q=0.8").send_ok();
    assert!(answer.header("Content-Disposition").starts_with("attachment; filename="));
    let mut archive = zip::ZipArchive::new(Cursor::new(answer.body)).expect("a zip archive");
    assert_eq!(archive.len(), instances.len());
    for (index, instance) in instances.iter().enumerate() {
        let mut entry = archive.by_index(index).expect("an entry");
        let mut file = Vec::new();
        entry.read_to_end(&mut file).expect("its content");
        assert_eq!(file, web.file(instance), "entry {index}");
    }
}
