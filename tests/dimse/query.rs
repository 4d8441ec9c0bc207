//! C-FIND: names in every character set, levels and models, and what other people's clients ask.

use crate::on_both_setups;
use crate::support::clients;
use crate::support::data_set::DataSet;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};

on_both_setups! {
    /// Every name of the corpus beyond ASCII, in its own character set and in UTF-8, by pynetdicom.
    names_are_found_in_every_character_set = names;
    /// Levels and models, by pynetdicom.
    every_level_and_model_is_answered = levels;
    /// Keys that are none, sequences, private keys, and the character set of the answer, by pynetdicom.
    gotcha_43_keys_and_what_comes_back = keys;
    /// findscu with wildcards, ranges and a cancel after some answers.
    dcmtk_queries = dcmtk;
}

fn names(setup: &Setup) {
    let Some(corpus) = crate::support::corpus::Corpus::open() else { return };
    let node = Node::start(setup);
    let folder = corpus.folder.to_string_lossy();
    if let Some(ran) = clients::python(&node, "query.py", &["names", &folder]) {
        println!("{}", ran.ok());
    }
}

/// Stores an image of a patient.
fn store(peer: &mut Peer, place: &Place, patient: &str, change: impl FnOnce(DataSet) -> DataSet) {
    let uid = synth::new_uid();
    let elements = synth::elements(place, CT, &uid).text(0x0010_0020, "LO", patient);
    let elements = change(elements);
    let image = synth::image(elements, 16, 16, synth::noise(1, 512));
    let instance = Instance::new(place, CT, &uid, &image);
    let context = peer.context(CT, EXPLICIT).expect("a context");
    let answer = peer.store(context, CT, &uid, &instance.data_set).expect("an answer");
    assert_eq!(answer.status, 0);
}

/// P1 with a CT study of two images and an MR study of one, P2 with one of a Chinese name.
pub(crate) fn two_patients(node: &Node) {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "TEST", &offers).expect("associate");
    let (ct, mr, other) = (Place::new(), Place::new(), Place::new());
    let plain = |elements: DataSet| elements.text(0x0010_0010, "PN", "Smith^John");
    store(&mut peer, &ct, "P1", plain);
    store(&mut peer, &ct, "P1", plain);
    let step = DataSet::default()
        .text(0x0040_0007, "LO", "Head")
        .text(0x0040_0009, "SH", "STEP1")
        .text(0x0040_1001, "SH", "RP1");
    store(&mut peer, &mr, "P1", |elements| {
        plain(elements).text(0x0008_0060, "CS", "MR").sequence(0x0040_0275, &[step])
    });
    store(&mut peer, &other, "P2", |elements| {
        elements.text(0x0008_0005, "CS", "GB18030").bytes(
            0x0010_0010,
            "PN",
            b"\xcd\xf5^\xce\xe5 ".into(),
        )
    });
    peer.release().expect("release");
}

fn levels(setup: &Setup) {
    let node = Node::start(setup);
    two_patients(&node);
    if let Some(ran) = clients::python(&node, "query.py", &["levels"]) {
        println!("{}", ran.ok());
    }
}

fn keys(setup: &Setup) {
    let node = Node::start(setup);
    two_patients(&node);
    if let Some(ran) = clients::python(&node, "query.py", &["keys"]) {
        println!("{}", ran.ok());
    }
}

fn dcmtk(setup: &Setup) {
    if !clients::has_dcmtk() {
        return;
    }
    let node = Node::start(setup);
    two_patients(&node);
    let find = |options: &[&str]| {
        let options = [&["-v", "-S"][..], options].concat();
        clients::dcmtk(&node, "findscu", &options, &[]).ok()
    };
    let matches = |text: &str| text.matches("Find Response:").count();
    let study = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"];
    let all = find(&study);
    assert_eq!(matches(&all), 3, "{all}");
    let smith = find(&[&study[..], &["-k", "PatientName=sm*"]].concat());
    assert_eq!(matches(&smith), 2, "{smith}");
    let none = find(&[&study[..], &["-k", "StudyDate=19000101-19000102"]].concat());
    assert_eq!(matches(&none), 0, "{none}");
    // Cancelled after one: findscu says what came instead of more.
    let cancelled = find(&[&study[..], &["--cancel", "1"]].concat());
    assert!(matches(&cancelled) <= 3, "{cancelled}");
    let patient =
        ["-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID", "-k", "PatientName"];
    let patients = clients::dcmtk(&node, "findscu", &[&["-v"][..], &patient].concat(), &[]).ok();
    assert_eq!(matches(&patients), 2, "{patients}");
    let echo = clients::dcmtk(&node, "echoscu", &[], &[]);
    echo.ok();
}
