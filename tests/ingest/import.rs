//! `qianli import`: folders, zip files and DICOMDIR media, with a summary and an exit code.

use crate::on_both_setups;
use crate::support::corpus::Corpus;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, Place};
use std::fs;
use std::path::Path;
use std::process::Command;

on_both_setups! {
    /// A folder with what folders hold, the same folder again, and a zip of it.
    folders_and_zips_are_imported = folder_and_zip;
    /// A disc image: the files that DICOMDIR names, without the DICOMDIR itself.
    media_are_imported = media;
}

fn folder_and_zip(setup: &Setup) {
    let node = Node::start(setup);
    let folder = node.scratch().join("incoming");
    let place = Place::new();
    let instances: Vec<_> = (1..=12).map(|number| synth::ct(&place, number, 64)).collect();
    for (index, instance) in instances.iter().enumerate() {
        let sub = folder.join(format!("深 {}", index % 3));
        fs::create_dir_all(&sub).expect("create a folder");
        fs::write(sub.join(format!("image{index}")), instance.part10()).expect("write a file");
    }
    fs::write(folder.join("README.txt"), "not DICOM").expect("write a file");
    let path = folder.to_string_lossy().into_owned();

    let first = run_import(&node, &path);
    assert!(first.contains("12"), "the summary counts what was stored: {first}");
    expect_all(&node, &instances);
    let second = run_import(&node, &path);
    assert!(second.contains("12"), "the summary counts what was here already: {second}");
    expect_all(&node, &instances);

    let other = Place::new();
    let zipped: Vec<_> = (1..=5).map(|number| synth::ct(&other, number, 64)).collect();
    let inside = node.scratch().join("inside");
    fs::create_dir_all(&inside).expect("create a folder");
    for instance in &zipped {
        fs::write(inside.join(format!("{}.dcm", instance.uid)), instance.part10()).expect("write");
    }
    let archive = node.scratch().join("study.zip");
    zip(&inside, &archive);
    run_import(&node, &archive.to_string_lossy());
    expect_all(&node, &zipped);

    // Broken files are named and make the exit code say so, while the good ones are kept.
    let mixed = node.scratch().join("mixed");
    fs::create_dir_all(&mixed).expect("create a folder");
    let good = synth::ct(&Place::new(), 1, 64);
    let mut broken = synth::ct(&Place::new(), 1, 64).part10();
    broken.truncate(broken.len() - 100);
    fs::write(mixed.join("good.dcm"), good.part10()).expect("write a file");
    fs::write(mixed.join("broken.dcm"), broken).expect("write a file");
    let output = node.run("import", &[&mixed.to_string_lossy()]);
    let words = words(&output);
    assert!(!output.status.success(), "a refused file must show in the exit code: {words}");
    assert!(words.contains("broken.dcm"), "the refused file is named: {words}");
    expect_all(&node, &[good]);

    let output = node.run("import", &["/no/such/folder"]);
    assert!(!output.status.success(), "a missing folder is an error");
}

fn media(setup: &Setup) {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(setup);
    let disc = node.scratch().join("disc");
    let files = copy_tree(&corpus.folder.join("dicomdir-a"), &disc);
    fs::copy(corpus.folder.join("pydicom/DICOMDIR-nooffset"), disc.join("DICOMDIR")).expect("copy");
    let summary = run_import(&node, &disc.to_string_lossy());
    let instances = node.web().json("/instances?limit=1000");
    assert_eq!(instances.len(), files, "{summary}");
}

#[track_caller]
fn run_import(node: &Node, path: &str) -> String {
    let output = node.run("import", &[path]);
    let words = words(&output);
    assert!(output.status.success(), "{words}");
    words
}

fn words(output: &std::process::Output) -> String {
    let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.push_str(&String::from_utf8_lossy(&output.stderr));
    words
}

#[track_caller]
fn expect_all(node: &Node, instances: &[Instance]) {
    let Place { study, series } = &instances[0].place;
    let rows = node.web().json(&format!("/studies/{study}/series/{series}/instances?limit=1000"));
    assert_eq!(rows.len(), instances.len());
    for instance in instances {
        assert!(node.web().file(instance).ends_with(&instance.data_set), "{}", instance.uid);
    }
}

/// Python is there for the client libraries anyway, and writes zip files everywhere.
fn zip(folder: &Path, archive: &Path) {
    let python = std::env::var("QIANLI_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let status = Command::new(python)
        .args(["-m", "zipfile", "-c"])
        .arg(archive)
        .arg(folder)
        .status()
        .expect("run Python");
    assert!(status.success(), "write a zip file");
}

fn copy_tree(from: &Path, to: &Path) -> usize {
    fs::create_dir_all(to).expect("create a folder");
    let mut count = 0;
    for entry in fs::read_dir(from).expect("read a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            count += copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
            count += 1;
        }
    }
    count
}
