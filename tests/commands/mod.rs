//! The command line beside `serve` and `import`: what it checks, what it says, how it exits.

mod audit;

use crate::on_both_setups;
use crate::support::clients::{Served, source};
use crate::support::node::Node;
use crate::support::sample::files;
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

on_both_setups! {
    /// `migrate` may run as often as one likes; `doctor` is content with a node that works.
    migrate_and_doctor = maintenance;
    /// Everything that happened is in the audit trail, and nothing of it can be altered unnoticed.
    audit_trail = audit::trail;
    /// All nodes of an archive index the same attributes; only `migrate` changes them.
    one_list_of_attributes = attributes;
}

/// Runs the binary alone, without anything from the environment of the tests.
fn qianli(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("QIANLI_") {
            command.env_remove(variable);
        }
    }
    command.current_dir(folder.path()).args(arguments).output().expect("run the binary")
}

fn words(output: &Output) -> String {
    let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.push_str(&String::from_utf8_lossy(&output.stderr));
    words
}

/// What cannot work is refused before a port is bound, and the message names it.
#[test]
fn impossible_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write a settings file");
        path.to_string_lossy().into_owned()
    };
    let unknown = file("unknown.toml", "max_pduu = \"64KiB\"\n");
    let unit = file("unit.toml", "idle_timeout = 300\n");
    let missing = folder.path().join("none.toml").to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 14] = [
        (&["--config", &unknown], "max_pduu"),
        (&["--config", &unit], "idle_timeout"),
        (&["--config", &missing], "none.toml"),
        (&["--http", "0.0.0.0:0"], "0.0.0.0"),
        (&["--dimse", "0.0.0.0:0", "--no-auth"], "0.0.0.0"),
        (&["--aet", "SEVENTEEN-LETTERS"], "AE title"),
        (&["--viewer", "/no/such/viewer"], "/no/such/viewer"),
        (&["--database", "mysql://somewhere"], "database"),
        (&["--store", "ftp://somewhere"], "ftp"),
        (&["--store", "s3://"], "bucket"),
        (&["--max-object", "0"], "max_object"),
        (&["--idle-timeout", "0s"], "idle_timeout"),
        (&["--max-associations", "-1"], "-1"),
        (&["--max-connections-per-address", "0"], "max_connections_per_address"),
    ];
    for (arguments, expected) in cases {
        let start = Instant::now();
        // Free ports, except where the case is about the address.
        let mut all = vec!["serve"];
        for flag in ["--http", "--dimse"] {
            if !arguments.contains(&flag) {
                all.extend([flag, "127.0.0.1:0"]);
            }
        }
        all.extend(arguments);
        let output = qianli(&all);
        let words = words(&output);
        assert!(!output.status.success(), "{arguments:?}: {words}");
        assert!(words.contains(expected), "{arguments:?} should name {expected}: {words}");
        assert!(!words.contains("panicked"), "{arguments:?}: {words}");
        assert!(start.elapsed() < Duration::from_secs(20), "{arguments:?}: {:?}", start.elapsed());
    }
    let help = words(&qianli(&["--help"]));
    for command in
        ["serve", "import", "send", "echo", "find", "move", "get", "commit", "migrate", "doctor"]
    {
        assert!(help.contains(command), "{help}");
    }
}

/// A command shows and takes the settings that it uses; the others are refused by name, and the
/// environment and the file may hold them all the same.
#[test]
fn commands_take_the_settings_that_concern_them() {
    for (command, shown, hidden) in [
        ("serve", &["--http", "--max-pdu", "--store"][..], &[][..]),
        ("import", &["--store", "--max-object"], &["--http", "--max-pdu", "--cors-origins"]),
        ("sweep", &["--store", "--database"], &["--http", "--aet", "--max-associations"]),
        ("doctor", &["--store", "--http"], &["--max-associations", "--duplicates"]),
        ("echo", &["--aet"], &["--http", "--store", "--duplicates"]),
        ("find", &["--aet", "--data "], &["--http", "--store"]),
        ("send", &["--aet", "--max-pdu", "--data "], &["--http", "--store"]),
        ("rebuild", &["--store"], &["--http", "--max-associations", "--aet"]),
        ("delete", &["--store", "--delete-grace"], &["--http", "--aet"]),
        ("migrate", &["--database"], &["--http", "--aet", "--duplicates"]),
    ] {
        for page in [qianli(&[command, "--help"]), qianli(&["help", command])] {
            let help = words(&page);
            for flag in shown {
                assert!(help.contains(flag), "{command} needs {flag}: {help}");
            }
            for flag in hidden {
                assert!(!help.contains(flag), "{command} has no use for {flag}: {help}");
            }
        }
    }
    let refused = qianli(&["sweep", "--http", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    assert!(words(&refused).contains("--http does not concern"), "{}", words(&refused));
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
    command.arg("migrate").current_dir(folder.path()).env("QIANLI_HTTP", "127.0.0.1:0");
    let output = command.env("QIANLI_MAX_OBJEKT", "1GiB").output().expect("run the binary");
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("did you mean QIANLI_MAX_OBJECT?"), "{}", words(&output));
}

/// The tables of the conformance statement are those that the program prints, each once.
#[test]
fn the_conformance_statement_says_what_the_code_does() {
    let output = qianli(&["conformance"]);
    assert!(output.status.success(), "{}", words(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = fs::read_to_string(source("docs/CONFORMANCE.md")).expect("the document");
    let advice = "run: qianli conformance --update docs/CONFORMANCE.md";
    let mut tables = 0;
    for table in printed.split("<!-- table: ").skip(1) {
        let (name, _) = table.split_once(" -->").expect("a name");
        let (table, _) = table.split_once("<!-- end of table").expect("an end");
        assert!(table.lines().count() > 3, "{name} is empty");
        let whole = format!("<!-- table: {table}<!-- end of table: {name} -->");
        assert_eq!(
            document.matches(&whole).count(),
            1,
            "the table {name} is out of date; {advice}"
        );
        tables += 1;
    }
    assert_eq!(document.matches("<!-- table: ").count(), tables, "a table that nobody prints");
    assert!(tables >= 9, "{printed}");
}

fn maintenance(setup: &Setup) {
    let mut node = Node::start(setup);
    node.web().stow_instance(&synth::ct(&Place::new(), 1, 8));
    node.signal_stop();
    assert_eq!(node.wait(Duration::from_secs(30)).code(), Some(0));
    for _ in 0..2 {
        let output = node.run("migrate", &[]);
        assert!(output.status.success(), "{}", words(&output));
    }
    let free = ["--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"];
    let output = node.run("doctor", &free);
    assert!(output.status.success(), "{}", words(&output));

    let broken = [&free[..], &["--database", "postgres://nobody@127.0.0.1:1/none"]].concat();
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_qianli"));
    let output = doctor.arg("doctor").arg("--data").arg(node.data()).args(broken).output();
    let output = output.expect("run the binary");
    assert!(!output.status.success(), "{}", words(&output));
    assert!(words(&output).to_lowercase().contains("database"), "{}", words(&output));
}

fn attributes(setup: &Setup) {
    let mut node = Node::plan(setup).args(["--indexed-attributes", "ProtocolName"]).start();
    node.web().stow_instance(&synth::ct(&Place::new(), 1, 8));
    node.signal_stop();
    assert_eq!(node.wait(Duration::from_secs(30)).code(), Some(0));
    let free = ["--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"];
    let other = [&free[..], &["--indexed-attributes", "SliceThickness"]].concat();
    for command in ["serve", "doctor"] {
        let output = node.run(command, &other);
        assert_eq!(output.status.code(), Some(1), "{command}: {}", words(&output));
        for word in ["indexed_attributes", "00181030", "00180050", "migrate"] {
            assert!(words(&output).contains(word), "{command}: {word}: {}", words(&output));
        }
    }
    // A command without the list does not take it away.
    let output = node.run("sweep", &[]);
    assert!(output.status.success(), "{}", words(&output));
    node.restart();
    node.signal_stop();
    assert_eq!(node.wait(Duration::from_secs(30)).code(), Some(0));
    let output = node.run("migrate", &["--indexed-attributes", "SliceThickness"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("00180050"), "{}", words(&output));
    let output = node.run("doctor", &other);
    assert!(output.status.success(), "{}", words(&output));
}

/// An object without a row is named, removed when asked for, and nothing else is touched.
#[test]
fn sweep_removes_orphans_only() {
    let node = Node::start(&Setup::Embedded);
    let instance = synth::ct(&Place::new(), 1, 8);
    node.web().stow_instance(&instance);
    let objects = || {
        let all = files(&node.data());
        all.into_iter().filter(|path| path.extension().is_some_and(|e| e == "dcm"))
    };
    let object = objects().next().expect("the object");
    let name = object.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let orphan = object.with_file_name(format!("9.{name}"));
    fs::copy(&object, &orphan).expect("make an orphan");

    let output = node.run("sweep", &["--grace", "1h", "--remove"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(orphan.exists(), "what is young may be a store under way");
    let output = node.run("sweep", &["--grace", "0s"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(orphan.exists(), "without --remove it only says");
    let output = node.run("sweep", &["--grace", "0s", "--remove", "--offline"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(!orphan.exists(), "the orphan is removed: {}", words(&output));
    assert_eq!(objects().count(), 1);
    assert!(node.web().file(&instance).ends_with(&instance.data_set));
}

/// `find` asks a peer in UTF-8 and prints what it answers; a peer that is not there is an error.
#[test]
fn find_asks_a_peer() {
    let Some(peer) = Served::python("find_scp.py") else { return };
    let node = Node::start(&Setup::Embedded);
    let destination = format!("FINDSCP@127.0.0.1:{}", peer.port);
    let ask = |key: &str| {
        let output = node.run("find", &[&destination, "--level", "study", "-k", key]);
        assert!(output.status.success(), "{}", words(&output));
        words(&output)
    };
    let found = ask("PatientName=王*");
    assert!(found.contains("小东") && found.contains("F-1"), "{found}");
    assert!(!ask("PatientID=F-2").contains("F-1"));
    let start = Instant::now();
    for command in ["find", "echo"] {
        let output = node.run(command, &["NOBODY@127.0.0.1:1"]);
        assert!(!output.status.success(), "{command} to a closed port is an error");
    }
    let rejected = node.run("find", &[&format!("WRONG@127.0.0.1:{}", peer.port)]);
    assert!(!rejected.status.success(), "{}", words(&rejected));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
