//! Storage that fails: the sender hears so, nothing is half there, and the node recovers by itself.

use crate::support::eventually;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer, Response};
use crate::support::proxy::Proxy;
use crate::support::setup::{Cloud, Setup};
use crate::support::synth::{self, CT, Instance, Place};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Statuses that ask the sender to try again later.
const TRY_AGAIN: [u16; 2] = [0x0110, 0xA700];

/// No sender waits longer than this for an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the objects is gone; a file stands in its place.
#[test]
fn blob_folder_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, aside) = (folder.path().join("store"), folder.path().join("aside"));
    let url = format!("file://{}", store.display());
    let mut node = Node::plan(&Setup::Embedded).store(url).start();
    accepts(&node);
    fs::rename(&store, &aside).expect("move the store away");
    fs::write(&store, "not a folder").expect("put a file in its place");
    refuses(&mut node);
    fs::remove_file(&store).expect("remove the file");
    fs::rename(&aside, &store).expect("move the store back");
    recovers(&node);
}

/// Where the log goes is full for ever: the node works on.
#[test]
fn log_full() {
    let node = Node::plan(&Setup::Embedded).args(["--log", "debug"]).log_to("/dev/full").start();
    accepts(&node);
    assert_eq!(node.web().get("/readyz").send().status, 200);
    accepts(&node);
}

/// The disk of the objects is full. Needs the right to mount a small memory disk.
#[test]
fn disk_full() {
    let disk = tempfile::tempdir().expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(disk.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        // Not part of QIANLI_REQUIRE_ALL: an ordinary user cannot mount.
        println!("skipped: disk full: mounting a memory disk is not allowed here");
        return;
    }
    let _unmount = Unmount(disk.path());
    let mut node = Node::plan(&Setup::Embedded)
        .store(format!("file://{}", disk.path().join("store").display()))
        .start();
    accepts(&node);
    let filler = disk.path().join("filler");
    fill(&filler);
    let refused = refuses(&mut node);
    assert_eq!(refused.status, 0xA700, "a full disk is \"out of resources\": {}", refused.comment);
    fs::remove_file(&filler).expect("free the disk");
    recovers(&node);
}

/// The database stops, then hangs, and comes back.
#[test]
fn database_unavailable() {
    let Some(Setup::Cloud(cloud)) = Setup::cloud() else { return };
    let database = cloud.postgres.create();
    let proxy = Proxy::start(&cloud.postgres.address());
    let mut node = Node::plan(&Setup::Embedded)
        .database(database.url_through(&proxy.address.to_string()))
        .start();
    through_faults(&mut node, &proxy);
}

/// The object store stops, then hangs, and comes back.
#[test]
fn object_store_unavailable() {
    let Some(Setup::Cloud(Cloud { s3, .. })) = Setup::cloud() else { return };
    let proxy = Proxy::start(&s3.address());
    let mut plan = Node::plan(&Setup::Embedded).store(s3.fresh_store());
    for (name, value) in s3.environment_through(&format!("http://{}", proxy.address)) {
        plan = plan.env(&name, value);
    }
    let mut node = plan.start();
    through_faults(&mut node, &proxy);
}

fn through_faults(node: &mut Node, proxy: &Proxy) {
    accepts(node);
    proxy.cut();
    refuses(node);
    proxy.open();
    recovers(node);
    proxy.freeze();
    refuses(node);
    proxy.open();
    recovers(node);
}

/// Stores a new instance by C-STORE.
fn store(node: &Node, instance: &Instance) -> Response {
    let offers = [(CT, &[EXPLICIT][..])];
    let mut peer = Peer::associate(node.dimse(), AE, "FAULTS", &offers).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    let start = Instant::now();
    let response = peer.store(context, CT, &instance.uid, &instance.data_set);
    println!("C-STORE answered after {:?}: {response:?}", start.elapsed());
    response.expect("an answer, not a broken association")
}

#[track_caller]
fn accepts(node: &Node) {
    let response = store(node, &synth::ct(&Place::new(), 1, 64));
    assert_eq!(response.status, 0, "{}", response.comment);
}

/// A store fails with a status that asks to try again, over DIMSE and STOW-RS, in good time, and
/// the node lives on and says that it is not ready.
#[track_caller]
fn refuses(node: &mut Node) -> Response {
    let start = Instant::now();
    let instance = synth::ct(&Place::new(), 1, 256);
    let response = store(node, &instance);
    assert!(TRY_AGAIN.contains(&response.status), "0x{:04X}", response.status);
    assert!(!response.comment.is_empty(), "a reason is stated");
    let answer = node.web().stow([instance.part10().as_slice()]);
    println!("STOW-RS answered {}: {}", answer.status, answer.text());
    assert!(matches!(answer.status, 409 | 500 | 503 | 507), "{}", answer.status);
    assert!(start.elapsed() < PATIENCE * 2, "{:?}", start.elapsed());
    let asked = Instant::now();
    let answer = node.web().dicom("/studies").send();
    println!("QIDO-RS answered {} after {:?}", answer.status, asked.elapsed());
    assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    assert!(node.is_alive(), "the node lives");
    assert_eq!(node.web().get("/healthz").send().status, 200, "the process is healthy");
    response
}

/// Once storage is back, stores succeed without a restart and what was refused is not there.
#[track_caller]
fn recovers(node: &Node) {
    let instance = synth::ct(&Place::new(), 1, 64);
    eventually("a store succeeds again", PATIENCE, || {
        (store(node, &instance).status == 0).then_some(())
    });
    // The first reads may still meet connections that the outage broke.
    eventually("what was stored is read", PATIENCE, || {
        let answer = node.web().dicom(&instance.path()).accept("application/dicom").send();
        assert!(answer.status == 503 || answer.status == 200, "{}", answer.status);
        (answer.status == 200).then(|| assert!(answer.body.ends_with(&instance.data_set)))
    });
    eventually("readyz says 200 again", PATIENCE, || {
        (node.web().get("/readyz").send().status == 200).then_some(())
    });
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("create the filler");
    while file.write_all(&[0; 4096]).is_ok() {}
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
