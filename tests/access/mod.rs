//! Who is let in, tried on the running binary: the first start, the command line, and a person at a
//! browser.

mod separation;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::on_both_setups;
use crate::portal::{import_samples, viewer};
use crate::support::node::{Node, Plan};
use crate::support::setup::Setup;
use crate::support::{artifacts, clients, eventually};

on_both_setups! {
    /// Accounts, tenants and tokens by the command line, beside a running node.
    an_operator_lets_in_and_shuts_out = operator;
}

fn with_logins(setup: &Setup) -> Plan {
    Node::plan(setup).arg("--no-auth=false")
}

/// Runs a command and its arguments, which must succeed, and returns what it answers.
#[track_caller]
pub fn command(node: &Node, name: &str, verb: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
    let plain = node.command(name);
    command.args(plain.get_args()).current_dir(node.scratch());
    for (variable, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let output = command.arg(verb).args(arguments).output().expect("run the binary");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {verb}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn after<'t>(text: &'t str, label: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
    line.unwrap_or_else(|| panic!("no {label:?} in {text}")).trim()
}

fn operator(setup: &Setup) {
    let node = with_logins(setup).start();
    let token = command(&node, "token", "add", &["station", "--may", "read,store"]);
    let token = token.trim();
    let status = |token: &str, path: &str| {
        let request = node.web().dicom(path).header("Authorization", &format!("Bearer {token}"));
        request.send().status
    };
    assert_eq!(node.web().dicom("/studies").send().status, 401);
    assert_eq!(status(token, "/studies"), 200);
    assert_eq!(status(token, "/deletions"), 403);
    let listed = command(&node, "token", "list", &[]);
    let line = listed.lines().find(|line| line.contains("station")).expect("the token");
    assert!(!listed.contains(token), "a secret is shown once");
    let number = line.split_whitespace().next().expect("a number");
    command(&node, "token", "revoke", &[number]);
    eventually("the token ends", Duration::from_secs(20), || {
        (status(token, "/studies") == 401).then_some(())
    });

    let said = command(&node, "tenant", "add", &["county-1", "--title", "县医院"]);
    assert!(said.contains("/tenants/county-1/dicom-web"), "{said}");
    assert!(said.contains("qianli user add"), "the next step: {said}");
    let theirs = command(&node, "token", "add", &["t", "--may", "read", "--tenant", "county-1"]);
    let bearer = format!("Bearer {}", theirs.trim());
    let own = node.web().get("/tenants/county-1/dicom-web/studies");
    assert_eq!(own.header("Authorization", &bearer).send().status, 200);
    let other = node.web().get("/tenants/default/dicom-web/studies");
    assert_eq!(other.header("Authorization", &bearer).send().status, 404);

    let made = command(&node, "user", "add", &["wang", "--role", "reader", "--name", "王小东"]);
    let first = after(&made, "password").to_owned();
    let again = command(&node, "user", "password", &["wang"]);
    assert_ne!(after(&again, "password"), first);
    assert!(command(&node, "user", "list", &[]).contains("王小东"));
    let without = node.run("user", &["totp-reset", "wang"]);
    assert!(!without.status.success(), "there is none to take away");
    command(&node, "tenant", "second-factor", &["county-1", "true"]);
    assert!(command(&node, "user", "disable", &["wang"]).contains("wang is switched off"));
    assert!(command(&node, "user", "enable", &["wang"]).contains("wang is switched on"));
    let said = command(&node, "user", "roles", &["wang", "--role", "reader,auditor"]);
    assert!(said.contains("wang is now reader, auditor in the tenant default"), "{said}");
    for arguments in [&["user", "roles", "admin"][..], &["user", "disable", "admin"]] {
        let refused = node.run(arguments[0], &arguments[1..]);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains("last administrator"), "{words}");
    }
    let said = command(&node, "user", "roles", &["admin", "--force"]);
    assert!(said.contains("no member"), "{said}");
    assert!(node.run("restore", &[]).status.success());
    eventually("the trail says who was where", Duration::from_secs(10), || {
        let listed = command(&node, "audit", "list", &[]);
        let line = listed.lines().find(|line| line.contains("token t"));
        let search = line.is_some_and(|line| line.contains(" county-1 "));
        (search && listed.contains(r#""roles":["reader","auditor"]"#)).then_some(())
    });
}

/// What a demonstration left open ends when the archive is used in earnest.
#[test]
fn a_demonstration_ends_with_the_first_real_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("QIANLI_") {
                command.env_remove(variable);
            }
        }
        command.args(arguments).args(["--data", "data"]).current_dir(folder.path());
        command
    };
    let serve = |more: &[&str]| {
        let words = folder.path().join("words");
        let arguments = [&["serve", "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"][..], more];
        let child = program(&arguments.concat())
            .stdout(File::create(&words).expect("a file"))
            .stderr(File::create(folder.path().join("log")).expect("a log"))
            .spawn()
            .expect("start the node");
        let last = if more.is_empty() { "dimse:" } else { "curl" };
        let said = eventually("the node is ready", Duration::from_secs(60), || {
            let text = std::fs::read_to_string(&words).expect("what it says");
            (text.contains(last) && text.ends_with('\n')).then_some(text)
        });
        (child, said)
    };
    let status = |said: &str, token: &str| {
        let web = crate::support::web::Web::new(after(said, "http:"));
        let bearer = format!("Bearer {token}");
        web.get("/dicom-web/studies").header("Authorization", &bearer).send().status
    };
    let (mut child, said) = serve(&["--demo"]);
    assert!(said.contains("No sample images are loaded"), "there is no folder of samples: {said}");
    let token = said.split("-u :").nth(1).and_then(|rest| rest.split(' ').next());
    let token = token.expect("a token").to_owned();
    assert_eq!(status(&said, &token), 200);
    child.kill().expect("stop the node");
    child.wait().expect("its end");
    for login in ["admin", "doctor", "tech"] {
        let done = program(&["user", "password", login]).output().expect("run the binary");
        assert!(done.status.success(), "{login}");
    }
    let (mut child, said) = serve(&[]);
    assert_eq!(status(&said, &token), 401);
    child.kill().expect("stop the node");
    child.wait().expect("its end");
}

/// The first start of an archive says how to get in, and later ones do not.
#[test]
fn a_new_archive_begins_with_one_administrator() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("QIANLI_") {
                command.env_remove(variable);
            }
        }
        let (words, log) = (folder.path().join("words"), folder.path().join("log"));
        let mut child = command
            .args(["serve", "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0", "--data", "data"])
            .current_dir(folder.path())
            .stdout(File::create(&words).expect("a file"))
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("start the node");
        let read = |path: &Path| std::fs::read_to_string(path).expect("what it says");
        eventually("the node is ready", Duration::from_secs(60), || {
            read(&log).contains("ready").then_some(())
        });
        child.kill().expect("stop the node");
        child.wait().expect("its end");
        (read(&words), read(&log))
    };
    let (first, log) = said();
    assert_eq!(after(&first, "login"), "admin");
    let password = after(&first, "password").to_owned();
    assert!(password.len() >= 16 && !log.contains(&password), "a password is in no log");
    let (second, _) = said();
    assert!(second.contains("dimse:") && !second.contains("password"), "{second}");
}

/// A person comes with the password of an administrator, chooses another, reads a study in OHIF, and
/// leaves; nothing opens before or after.
#[test]
fn a_person_logs_in_reads_and_leaves() {
    let Some(viewer) = viewer() else { return };
    let node = with_logins(&Setup::Embedded).arg("--viewer").arg(viewer.to_string_lossy()).start();
    import_samples(&node);
    let doctor = command(&node, "user", "add", &["doctor", "--role", "reader"]);
    let admin = command(&node, "user", "add", &["chief", "--role", "administrator"]);
    let passwords = [after(&doctor, "password"), after(&admin, "password")];
    if let Some(ran) = clients::browser(&node, "access.js", &passwords) {
        println!("{}", ran.ok());
        for picture in ["access-login-zh-CN.png", "access-people-zh-CN.png", "access-ohif.png"] {
            assert!(artifacts().join(picture).is_file(), "{picture} was not written");
        }
    }
}

/// Every page of the router is within reach of everyone: axe-core finds nothing serious on it, in both
/// languages, on a desk and on a phone, by day and by night, and no page scrolls sideways on a phone.
#[test]
fn every_page_is_accessible() {
    let node = with_logins(&Setup::Embedded).start();
    import_samples(&node);
    command(&node, "tenant", "add", &["centre", "--title", "会诊中心"]);
    let made = command(&node, "user", "add", &["chief", "--role", "administrator"]);
    let table = clients::source("crates/web/src/portal.rs").to_string_lossy().into_owned();
    let arguments = [after(&made, "password"), table.as_str()];
    if let Some(ran) = clients::browser(&node, "axe.js", &arguments) {
        println!("{}", ran.ok());
    }
}

/// Sharing with a hospital, with a phone and in an emergency, by the pages; and revoking it.
#[test]
fn a_study_is_shared_and_taken_back() {
    let Some(viewer) = viewer() else { return };
    let node = with_logins(&Setup::Embedded).arg("--viewer").arg(viewer.to_string_lossy()).start();
    import_samples(&node);
    command(&node, "tenant", "add", &["centre", "--title", "会诊中心"]);
    let add = |login: &str, role: &str, tenant: &str| {
        let said = command(&node, "user", "add", &[login, "--role", role, "--tenant", tenant]);
        after(&said, "password").to_owned()
    };
    let passwords = [
        add("sharer", "physician", "default"),
        add("colleague", "physician", "centre"),
        add("chief", "administrator", "default"),
    ];
    let passwords = [passwords[0].as_str(), passwords[1].as_str(), passwords[2].as_str()];
    if let Some(ran) = clients::browser(&node, "sharing.js", &passwords) {
        println!("{}", ran.ok());
        for picture in ["sharing-phone-image.png", "sharing-ohif.png", "sharing-grants-zh-CN.png"] {
            assert!(artifacts().join(picture).is_file(), "{picture} was not written");
        }
    }
}

/// An auditor reads the trail, takes it away, has it proven, and sees when somebody altered it.
#[test]
fn an_auditor_reads_and_proves_the_trail() {
    let node = with_logins(&Setup::Embedded).start();
    let made = command(&node, "user", "add", &["eye", "--role", "auditor"]);
    let password = after(&made, "password");
    let Some(ran) = clients::browser(&node, "audit.js", &[password, "whole"]) else { return };
    println!("{}", ran.ok());
    for picture in ["audit-en.png", "audit-zh-CN.png", "audit-phone.png"] {
        assert!(artifacts().join(picture).is_file(), "{picture} was not written");
    }
    node.sql("UPDATE audit SET peer = '192.0.2.66' WHERE action = 'login'");
    if let Some(ran) = clients::browser(&node, "audit.js", &[password, "altered"]) {
        println!("{}", ran.ok());
    }
}
