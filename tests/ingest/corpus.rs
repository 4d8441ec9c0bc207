//! Every file of the corpus by DIMSE and by STOW-RS, and back element for element and byte for byte.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::data_set::split_part10;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::web::value;

on_both_setups! {
    /// DCMTK sends every valid file in its own transfer syntax and gets Success; dicomweb-client
    /// finds each by UID and by name and gets back what was sent.
    sent_by_dcmtk_read_by_dicomweb_client = dimse_to_dicomweb;
    /// The data set of a file that came by STOW-RS is kept byte for byte.
    stored_files_keep_every_byte = stow_keeps_bytes;
}

fn dimse_to_dicomweb(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    if !clients::has_dcmtk() {
        return;
    }
    let node = Node::start(setup);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "corpus.py", &[&folder, setup.name()]) {
        println!("{}", ran.ok());
    }
}

fn stow_keeps_bytes(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(setup);
    let web = node.web();
    let (mut stored, mut wrong) = (0, Vec::new());
    for entry in corpus.of(&["valid"]) {
        let file = entry.bytes();
        let Some((_, sent)) = split_part10(&file) else { continue };
        let answer = web.stow([file.as_slice()]);
        // 202: other content under a known UID is kept with a warning.
        if !matches!(answer.status, 200 | 202) {
            wrong.push(format!("{}: {} {}", entry.file, answer.status, answer.text()));
            continue;
        }
        stored += 1;
        let reference = answer.json()["00081199"]["Value"][0].clone();
        let url = value(&reference, "00081190");
        let path = url.strip_prefix(node.http()).unwrap_or(&url);
        let back = web.get(path).accept("application/dicom; transfer-syntax=*").send();
        let same = split_part10(&back.body)
            .is_some_and(|(syntax, received)| syntax == entry.transfer_syntax && received == sent);
        if !same {
            wrong.push(format!("{}: other bytes came back from {url}", entry.file));
        }
    }
    println!("{stored} files stored, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stored > 400, "only {stored} files of the corpus were stored");
}
