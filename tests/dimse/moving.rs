//! C-MOVE: to another node, to DCMTK and to pynetdicom, whole and broken; and `qianli send`, `move`,
//! `get`, `commit` and `peer` as an operator uses them.

use crate::on_both_setups;
use crate::support::clients::Served;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, IMPLICIT, Peer, VERIFICATION};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::{clients, eventually};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

on_both_setups! {
    /// Studies, series and instances go to a registered node, byte for byte; nowhere else.
    objects_are_moved_where_they_are_wanted = moved;
    /// DCMTK asks and receives; what cannot take the stored syntax gets another.
    dcmtk_moves_and_receives = dcmtk;
    /// pynetdicom sees originators, retries, failures, final counts, progress every two seconds and a cancelled move.
    gotcha_44_progress_failures_and_cancel = told;
}

const LIMIT: Duration = Duration::from_secs(30);

fn words(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(error))
}

#[track_caller]
fn run(node: &Node, command: &str, arguments: &[&str]) -> String {
    let output = node.operator(command, arguments);
    assert!(output.status.success(), "{command} {arguments:?}: {}", words(&output));
    words(&output)
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port()
}

/// Registers who may ask for objects, and waits until the node knows.
fn register_mover(node: &Node) {
    run(node, "peer", &["add", "MOVER", "--may", "read,store"]);
    eventually("the register counts", LIMIT, || {
        let offers = [(VERIFICATION, &[IMPLICIT][..])];
        Peer::associate(node.dimse(), AE, "MOVER", &offers).ok()?;
        // A peer without a row may not read; one that may is refused for another reason.
        let place = Place::new();
        let tried = move_as(node, "MOVER", "NOWHERE", &["--study", &place.study]);
        words(&tried).contains("A801").then_some(())
    });
}

fn move_as(node: &Node, calling: &str, to: &str, wanted: &[&str]) -> Output {
    let destination = node.destination();
    let arguments = [&[destination.as_str(), "--aet", calling, "--to", to], wanted].concat();
    node.run("move", &arguments)
}

fn store(node: &Node, instances: &[Instance]) {
    let mut peer =
        Peer::associate(node.dimse(), AE, "CT1", &[(CT, &[EXPLICIT])]).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("a context");
    for instance in instances {
        let answer = peer.store(context, CT, &instance.uid, &instance.data_set).expect("store");
        assert_eq!(answer.status, 0);
    }
    peer.release().expect("release");
}

fn series(study: &str, count: u32) -> Vec<Instance> {
    let place = Place { study: study.to_owned(), series: synth::new_uid() };
    (0..count).map(|number| synth::ct(&place, number, 16)).collect()
}

fn count(node: &Node, study: &str) -> usize {
    node.web().json(&format!("/studies/{study}/instances")).len()
}

fn moved(setup: &Setup) {
    let node = Node::start(setup);
    let second = Node::start(&Setup::Embedded);
    let study = Place::new().study;
    let (one, other) = (series(&study, 30), series(&study, 5));
    store(&node, &one);
    store(&node, &other);

    // Whoever may not read moves nothing; what is not registered gets nothing.
    run(&node, "peer", &["add", "CT1", "--may", "store"]);
    eventually("who may only store moves nothing", LIMIT, || {
        let refused = move_as(&node, "CT1", AE, &["--study", &study]);
        (!refused.status.success() && words(&refused).contains("0124")).then_some(())
    });
    register_mover(&node);
    let refused = move_as(&node, "MOVER", "NOWHERE", &["--study", &study]);
    assert!(!refused.status.success() && words(&refused).contains("A801"), "{}", words(&refused));
    assert!(node.log().contains("qianli peer add NOWHERE HOST:PORT"), "the log says what to do");

    let address = second.dimse().to_string();
    run(&node, "peer", &["add", AE, &address, "--associations", "3"]);
    assert!(run(&node, "peer", &["echo", AE]).contains("answers"));
    let listed = run(&node, "peer", &["list"]);
    assert!(listed.contains(&address) && listed.contains("127.0.0.1"), "{listed}");

    let (series, uids) = (&other[0].place.series, [other[1].uid.as_str(), &other[3].uid].join(","));
    let wanted = ["--study", &study, "--series", series, "--instance", &uids];
    let done = move_as(&node, "MOVER", AE, &wanted);
    assert!(done.status.success(), "{}", words(&done));
    assert_eq!(count(&second, &study), 2);
    let done = move_as(&node, "MOVER", AE, &["--study", &study, "--series", series]);
    assert!(done.status.success(), "{}", words(&done));
    assert_eq!(count(&second, &study), 5);
    let done = move_as(&node, "MOVER", AE, &["--study", &study]);
    assert!(done.status.success() && words(&done).contains("35"), "{}", words(&done));
    assert_eq!(count(&second, &study), 35);
    for instance in [&one[0], &one[29], &other[4]] {
        assert!(second.web().file(instance).ends_with(&instance.data_set), "byte for byte");
    }
    // Nothing found is nothing moved, and no error (PS3.4 section C.4.2.3.1).
    let nothing = move_as(&node, "MOVER", AE, &["--study", &Place::new().study]);
    assert!(nothing.status.success(), "{}", words(&nothing));
    let trail = run(&node, "audit", &["list", "--action", "export", "--json"]);
    assert!(trail.contains(&study) && trail.contains("\"by\":\"move\""), "{trail}");

    // A destination that is gone fails as a whole, and says so.
    drop(second);
    let failed = move_as(&node, "MOVER", AE, &["--study", &study, "--series", series]);
    let said = words(&failed);
    assert!(!failed.status.success() && said.contains("A702"), "{said}");
    assert!(said.contains(&other[0].uid), "the list of what failed: {said}");
    run(&node, "peer", &["remove", AE]);
    assert!(!run(&node, "peer", &["list"]).contains(&address));
}

/// A tool of DCMTK that serves until this value is dropped.
struct Tool(Child);

impl Tool {
    fn start(program: &str, arguments: &[&str], port: u16) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env("TCP_NODELAY", "1").stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let tool = Self(child.expect("start the tool"));
        eventually("it listens", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        tool
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn received(folder: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("the folder");
    files.flatten().map(|entry| std::fs::read(entry.path()).expect("read")).collect()
}

fn folder(node: &Node, name: &str) -> String {
    let folder = node.scratch().join(name);
    std::fs::create_dir_all(&folder).expect("create a folder");
    folder.to_string_lossy().into_owned()
}

fn dcmtk(setup: &Setup) {
    if !clients::has_dcmtk() {
        return;
    }
    let node = Node::start(setup);
    let study = Place::new().study;
    store(&node, &series(&study, 12));
    register_mover(&node);

    // storescp takes Implicit VR alone: the node has to rewrite.
    let (port, into) = (free_port(), folder(&node, "implicit"));
    let _scp = Tool::start("storescp", &["+xi", "-od", &into, &port.to_string()], port);
    run(&node, "peer", &["add", "STORESCP", &format!("127.0.0.1:{port}")]);
    let key = format!("StudyInstanceUID={study}");
    let keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", &key];
    let options = [&["-v", "-S", "-aet", "MOVER", "-aem", "STORESCP"][..], &keys].concat();
    clients::dcmtk(&node, "movescu", &options, &[]).ok();
    let files = eventually("all files are there", LIMIT, || {
        Some(received(Path::new(&into))).filter(|files| files.len() == 12)
    });
    for file in &files {
        let implicit = b"1.2.840.10008.1.2\0";
        assert!(file[..512].windows(implicit.len()).any(|window| window == implicit));
    }

    // movescu takes its own sub-operations, on one association.
    let (port, into) = (free_port(), folder(&node, "own"));
    let own = port.to_string();
    run(&node, "peer", &["add", "MOVESCU", &format!("127.0.0.1:{port}"), "--associations", "1"]);
    let options = ["-v", "-S", "-aet", "MOVER", "-aem", "MOVESCU", "+P", &own, "-od", &into];
    let options = [&options[..], &keys].concat();
    clients::dcmtk(&node, "movescu", &options, &[]).ok();
    assert_eq!(received(Path::new(&into)).len(), 12);

    // The patient root asks with the patient's ID too; a wrong one finds nothing.
    let wrong = ["-P", "-aet", "MOVER", "-aem", "STORESCP", "-k", "PatientID=NOBODY"];
    clients::dcmtk(&node, "movescu", &[&wrong[..], &keys].concat(), &[]).ok();
}

fn told(setup: &Setup) {
    let node = Node::start(setup);
    let study = Place::new().study;
    let instances = series(&study, 8);
    store(&node, &instances);
    register_mover(&node);
    let port = free_port();
    run(&node, "peer", &["add", "WORKSTATION", &format!("127.0.0.1:{port}")]);
    let (port, bad) = (port.to_string(), instances[3].uid.as_str());
    if let Some(ran) = clients::python(&node, "moving.py", &[&port, &study, bad]) {
        println!("{}", ran.ok());
    }
}

/// `send` with a journal sends what was not acknowledged; `peer add NAME host:port` makes NAME an
/// argument of every command.
#[test]
fn send_goes_on_where_it_stopped() {
    let node = Node::start(&Setup::Embedded);
    let study = Place::new().study;
    let outgoing = folder(&node, "outgoing");
    for (number, instance) in series(&study, 10).iter().enumerate() {
        let path = Path::new(&outgoing).join(format!("{number}.dcm"));
        std::fs::write(path, instance.part10()).expect("write");
    }
    let journal = node.scratch().join("journal");
    let remembered = journal.to_string_lossy().into_owned();
    let address = node.dimse().to_string();
    run(&node, "peer", &["add", AE, &address, "--may", "store,read"]);
    let data = node.data().to_string_lossy().into_owned();
    let arguments =
        [AE, &outgoing, "--data", &data, "--journal", &remembered, "--associations", "3"];
    let sent = node.run("send", &arguments);
    assert!(sent.status.success(), "{}", words(&sent));
    assert_eq!(count(&node, &study), 10);
    let text = std::fs::read_to_string(&journal).expect("the journal");
    assert_eq!(text.lines().count(), 10);
    // A run that was killed while it wrote the seventh line.
    let cut: String = text.split_inclusive('\n').take(6).collect::<String>() + "1.2.3";
    std::fs::write(&journal, cut).expect("write");
    let again = words(&node.run("send", &arguments));
    let line = |name: &str, number: &str| {
        again.lines().any(|line| line.starts_with(name) && line.ends_with(number))
    };
    assert!(line("sent", "4") && line("before", "6"), "{again}");
    let nobody = node.run("send", &["NOBODY", &outgoing, "--data", &data]);
    assert!(words(&nobody).contains("qianli peer add NOBODY"), "{}", words(&nobody));
}

/// `get`, `move` and `commit` against other people's archives.
#[test]
fn other_peoples_archives_are_asked() {
    let node = Node::start(&Setup::Embedded);
    let study = Place::new().study;
    let instances = series(&study, 6);
    let outgoing = folder(&node, "files");
    for (number, instance) in instances.iter().enumerate() {
        let path = Path::new(&outgoing).join(format!("{number}.dcm"));
        std::fs::write(path, instance.part10()).expect("write");
    }
    let listen = free_port().to_string();
    let Some(served) = Served::python_with("archive_scp.py", &[&outgoing, &listen]) else { return };
    let archive = format!("ARCHIVE@127.0.0.1:{}", served.port);
    assert!(node.run("echo", &[&archive]).status.success());
    let into = folder(&node, "fetched");
    let got = node.run("get", &[&archive, "--into", &into, "--study", &study]);
    assert!(got.status.success(), "{}", words(&got));
    let files = received(Path::new(&into));
    assert_eq!(files.len(), 6);
    for instance in &instances {
        // pydicom encodes anew what it sends; the pixels come last.
        let pixels = &instance.data_set[instance.data_set.len() - 512..];
        assert!(files.iter().any(|file| file.ends_with(pixels)), "the pixels");
    }
    let committed = node.run("commit", &[&archive, &outgoing]);
    let said = words(&committed);
    // The script has everything but one, and says so.
    assert!(!committed.status.success() && said.contains("it is not there"), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("committed") && line.ends_with('5')),
        "{said}"
    );
    // Now the script can call back, and does.
    let listen = format!("127.0.0.1:{listen}");
    let later = node.run("commit", &[&archive, &outgoing, "--listen", &listen]);
    assert!(words(&later).contains("it is not there"), "{}", words(&later));
    let relational = node.run("find", &[&archive, "--relational", "-k", "PatientID=X"]);
    assert!(relational.status.success(), "{}", words(&relational));
}
