//! Other people's DICOMweb clients make their everyday calls, each as its documentation shows it,
//! and need no workaround.

use crate::on_both_setups;
use crate::support::clients::{self, source};
use crate::support::node::Node;
use crate::support::setup::Setup;

on_both_setups! {
    /// dicomweb-client for Python: search, retrieve, bulk data, frames, rendered, store, delete.
    python_dicomweb_client = python_client;
    /// dicomtrolley: studies found at each depth and downloaded in each of its ways.
    dicomtrolley = trolley;
    /// dicomweb-client from npm, the library under OHIF, in a browser.
    npm_dicomweb_client = npm_client;
}

/// A node that holds the sample studies.
pub(super) fn with_samples(setup: &Setup) -> Node {
    let node = Node::plan(setup).arg("--allow-delete").start();
    let output = node.run("import", &[&source("sample-dicom").to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    node
}

fn python_client(setup: &Setup) {
    let node = with_samples(setup);
    if let Some(ran) = clients::python(&node, "web_client.py", &[]) {
        println!("{}", ran.ok());
    }
}

fn trolley(setup: &Setup) {
    let node = with_samples(setup);
    if let Some(ran) = clients::python(&node, "trolley.py", &[]) {
        println!("{}", ran.ok());
    }
}

fn npm_client(setup: &Setup) {
    let node = with_samples(setup);
    if let Some(ran) = clients::browser(&node, "dicomweb_client.js", &[]) {
        println!("{}", ran.ok());
    }
}
