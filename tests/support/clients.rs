//! Other people's clients: DCMTK's tools, Python scripts over pydicom, pynetdicom,
//! dicomweb-client and dicomtrolley, and scripts that drive Chromium.

use super::node::{AE, Node};
use super::{artifacts, skip};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// What a client printed and whether it succeeded.
#[derive(Debug)]
pub struct Ran {
    /// Exit code, or `None` after a signal.
    pub code: Option<i32>,
    /// Standard output and standard error.
    pub text: String,
}

impl Ran {
    /// Panics with the client's words unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.text);
        self.text
    }
}

/// Runs one of DCMTK's tools against a node: title, peer and port are put after `options`, files
/// or further arguments last.
pub fn dcmtk(node: &Node, tool: &str, options: &[&str], rest: &[&str]) -> Ran {
    dcmtk_at(node.dimse().port(), tool, options, rest)
}

/// As [`dcmtk`], towards any port of this machine.
pub fn dcmtk_at(port: u16, tool: &str, options: &[&str], rest: &[&str]) -> Ran {
    let mut command = Command::new(tool);
    // Debian's DCMTK waits for Nagle's algorithm otherwise.
    command.env("TCP_NODELAY", "1").args(options);
    if !options.contains(&"-aec") {
        command.args(["-aec", AE]);
    }
    command.arg("127.0.0.1").arg(port.to_string()).args(rest);
    run(&mut command)
}

/// Whether DCMTK is installed; says so when it is not.
pub fn has_dcmtk() -> bool {
    present("echoscu", &["--version"], "DCMTK")
}

/// Runs a script of `tests/python` with the address of the node and further arguments.
/// `None` when Python or a client library is not there.
pub fn python(node: &Node, script: &str, arguments: &[&str]) -> Option<Ran> {
    let mut command = python_script(script)?;
    command
        .env("QIANLI_HTTP", node.http())
        .env("QIANLI_DIMSE_PORT", node.dimse().port().to_string())
        .env("QIANLI_AET", AE)
        .env("QIANLI_ARTIFACTS", artifacts())
        .env("TCP_NODELAY", "1")
        .args(arguments);
    Some(run(&mut command))
}

/// A script of `tests/python` that serves until this value is dropped.
pub struct Served {
    process: Child,
    /// Where it listens.
    pub port: u16,
}

impl Served {
    /// Starts the script, which prints its port and ends when its standard input closes.
    pub fn python(script: &str) -> Option<Self> {
        Self::python_with(script, &[])
    }

    /// The same with arguments.
    pub fn python_with(script: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = python_script(script)?;
        let mut process = command
            .args(arguments)
            .env("TCP_NODELAY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the script");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read the port");
        let port = line.trim().parse().expect("a port");
        Some(Self { process, port })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A script of node that serves until this value is dropped: it prints its URL, and ends when its
/// standard input closes.
pub struct ServedByNode {
    process: Child,
    /// Where it listens.
    pub url: String,
}

impl ServedByNode {
    /// Starts a script of the repository. `None` when node or its packages are not there.
    pub fn start(script: &str, package: &str) -> Option<Self> {
        let modules = super::external("QIANLI_TEST_NODE_MODULES", package)?;
        if !present("node", &["--version"], "node") {
            return None;
        }
        if !Path::new(&modules).join(package).is_dir() {
            skip(package, "it is not installed");
            return None;
        }
        let mut process = Command::new("node")
            .arg(source(script))
            .env("NODE_PATH", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start the script");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read the URL");
        Some(Self { process, url: line.trim().to_owned() })
    }
}

impl Drop for ServedByNode {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn python_script(script: &str) -> Option<Command> {
    let interpreter = std::env::var("QIANLI_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = "import pydicom, pynetdicom, dicomweb_client, dicomtrolley, numpy, PIL";
    if !present(
        &interpreter,
        &["-c", imports],
        "pydicom, pynetdicom, dicomweb-client and dicomtrolley",
    ) {
        return None;
    }
    let mut command = Command::new(interpreter);
    command.arg(source("tests/python").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// Runs a script of `tests/browser`, which drives Chromium through playwright-core.
/// `None` when node, playwright-core or Chromium is not there.
pub fn browser(node: &Node, script: &str, arguments: &[&str]) -> Option<Ran> {
    let chromium =
        std::env::var("QIANLI_TEST_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let modules = super::external("QIANLI_TEST_NODE_MODULES", "the browser tests")?;
    if !present("node", &["--version"], "node") || !present(&chromium, &["--version"], "Chromium") {
        return None;
    }
    let mut command = Command::new("node");
    command
        .arg(source("tests/browser").join(script))
        .env("QIANLI_HTTP", node.http())
        .env("QIANLI_ARTIFACTS", artifacts())
        .env("QIANLI_TEST_CHROMIUM", chromium)
        .env("NODE_PATH", modules)
        .args(arguments);
    Some(run(&mut command))
}

/// Whether the shell of SQLite is there, for looking into an index from outside.
pub fn has_sqlite() -> bool {
    present("sqlite3", &["--version"], "the shell of SQLite")
}

/// A path inside the repository.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
            panic!("cannot run {}: {error}", command.get_program().to_string_lossy())
        });
    let mut text = String::from_utf8_lossy(&stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&stderr));
    Ran { code: status.code(), text }
}

fn present(program: &str, arguments: &[&str], what: &str) -> bool {
    static MISSING: OnceLock<()> = OnceLock::new();
    let ran = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let there = ran.is_ok_and(|status| status.success());
    if !there && MISSING.set(()).is_ok() {
        skip(what, "it is not installed");
    }
    there
}
