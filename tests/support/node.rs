//! A node under test: the real binary as its own process, with its own data folder and ports,
//! stopped with this value.

use super::setup::Setup;
use super::web::Web;
use super::{artifacts, eventually, postgres};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// AE title of every node under test.
pub const AE: &str = "QIANLI";

/// How a node is to be started.
pub struct Plan {
    setup: Setup,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    database: Option<String>,
    store: Option<String>,
    log: Option<&'static str>,
}

/// A running node.
pub struct Node {
    plan: Plan,
    folder: TempDir,
    // Held to be dropped with the node.
    _database: Option<postgres::Database>,
    process: Option<Child>,
    starts: u32,
    http: String,
    dimse: String,
    dimse_tls: String,
    hl7: String,
}

impl Plan {
    /// Adds an argument of `serve`.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments of `serve`.
    pub fn args<'a>(self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Uses this database instead of the one of the setup.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    /// Uses this blob store instead of the one of the setup.
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Some(url.into());
        self
    }

    /// Sends the log somewhere else than to a file of the test.
    pub fn log_to(mut self, path: &'static str) -> Self {
        self.log = Some(path);
        self
    }

    /// Starts the node and waits until it is ready.
    pub fn start(mut self) -> Node {
        let folder = tempfile::Builder::new().prefix("qianli-test-").tempdir().expect("a folder");
        let mut own_database = None;
        if let Setup::Cloud(cloud) = &self.setup {
            if self.database.is_none() {
                let database = cloud.postgres.create();
                self.database = Some(database.url.clone());
                own_database = Some(database);
            }
            if self.store.is_none() {
                self.store = Some(cloud.s3.fresh_store());
                // In front, so that what the test itself sets wins.
                self.environment.splice(0..0, cloud.s3.environment());
            }
        }
        let mut node = Node {
            plan: self,
            folder,
            _database: own_database,
            process: None,
            starts: 0,
            http: String::new(),
            dimse: String::new(),
            dimse_tls: String::new(),
            hl7: String::new(),
        };
        node.restart();
        node
    }
}

impl Node {
    /// A plan with nothing special.
    pub fn plan(setup: &Setup) -> Plan {
        Plan {
            setup: setup.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
            database: None,
            store: None,
            log: None,
        }
    }

    /// Starts a node with nothing special.
    pub fn start(setup: &Setup) -> Self {
        Self::plan(setup).start()
    }

    /// Starts the node again on the same data, on new ports.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the node still runs");
        self.starts += 1;
        let log = self.plan.log.map_or_else(|| self.log_path(), PathBuf::from);
        let log = File::create(log).expect("create the log file");
        let mut child = self
            .command("serve")
            .args(["--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0", "--aet", AE, "--no-auth"])
            .args(&self.plan.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("start the node");
        let stdout = child.stdout.take().expect("standard output is piped");
        self.process = Some(child);

        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Reading to the end keeps the node from blocking on a full pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (mut http, mut dimse) = (None, None);
        while http.is_none() || dimse.is_none() {
            let line = lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
                panic!("the node did not print its addresses:\n{}", self.log_tail());
            });
            if let Some(url) = line.strip_prefix("http: ") {
                http = Some(url.trim().trim_end_matches('/').to_owned());
            } else if let Some(address) = line.strip_prefix("hl7: ") {
                self.hl7 = address.trim().to_owned();
            } else if let Some((_, address)) =
                line.strip_prefix("dimse-tls: ").and_then(|peer| peer.split_once('@'))
            {
                self.dimse_tls = address.trim().to_owned();
            } else if let Some(address) = line.strip_prefix("dimse: ") {
                dimse = address.trim().split_once('@').map(|(_, address)| address.to_owned());
            }
        }
        self.http = http.unwrap_or_default();
        self.dimse = dimse.unwrap_or_default();
        let client = super::web::client();
        let url = format!("{}/readyz", self.http);
        eventually("readyz says 200", Duration::from_secs(60), || {
            let exited = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(exited.is_none(), "the node exited: {exited:?}\n{}", self.log_tail());
            client.get(&url).send().ok().filter(|answer| answer.status() == 200)
        });
    }

    /// A command of the binary on this node's data, database and blob store.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qianli"));
        command.arg(name);
        // Commands that only call peers know no archive.
        if !["send", "echo", "find", "move", "get", "commit"].contains(&name) {
            command.arg("--data").arg(self.data());
            if let Some(url) = &self.plan.database {
                command.args(["--database", url]);
            }
            if let Some(url) = &self.plan.store {
                command.args(["--store", url]);
            }
        }
        for (variable, _) in std::env::vars_os() {
            // What configures the tests must not configure the node.
            if variable.to_string_lossy().starts_with("QIANLI_") {
                command.env_remove(variable);
            }
        }
        command.envs(self.plan.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a command of the binary on this node's data to its end.
    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name).args(arguments).output().expect("run the binary")
    }

    /// Runs a command that has commands of its own, whose name comes before the settings.
    pub fn operator(&self, name: &str, arguments: &[&str]) -> Output {
        let plain = self.command(name);
        let settings: Vec<_> = plain.get_args().skip(1).map(ToOwned::to_owned).collect();
        let mut command = Command::new(plain.get_program());
        for (variable, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command.arg(name).args(arguments).args(settings).current_dir(self.scratch());
        command.output().expect("run the binary")
    }

    /// Runs a statement on the index behind the node's back.
    pub fn sql(&self, text: &str) {
        let mut shell = match &self.plan.database {
            Some(url) => {
                let mut shell = Command::new("psql");
                shell.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command"]);
                shell.arg(text).arg(url);
                shell
            }
            None => {
                let mut shell = Command::new("sqlite3");
                shell.args(["-bail", "-cmd", ".timeout 10000"]);
                shell.arg(self.data().join("qianli.db")).arg(text);
                shell
            }
        };
        let output = shell.output().expect("run a shell of the database");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the database refused {text}: {message}");
    }

    /// The DICOMweb client for this node.
    pub fn web(&self) -> Web {
        Web::new(&self.http)
    }

    /// `http://host:port`, without a slash at the end.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Where DIMSE peers connect.
    pub fn dimse(&self) -> SocketAddr {
        self.dimse.parse().expect("the dimse address")
    }

    /// Where HL7 comes in, when the plan has a listener for it.
    pub fn hl7(&self) -> SocketAddr {
        self.hl7.parse().expect("the hl7 address")
    }

    /// Where DIMSE peers connect over TLS, when the plan has a listener for them.
    pub fn dimse_tls(&self) -> SocketAddr {
        self.dimse_tls.parse().expect("the address of DIMSE over TLS")
    }

    /// `AET@host:port`, as the command line takes it.
    pub fn destination(&self) -> String {
        format!("{AE}@{}", self.dimse)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder beside the data, for files of the test.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the process and starts it again on another database beside the same objects.
    pub fn move_to_database(&mut self, url: String) {
        self.kill();
        self.plan.database = Some(url);
        self.restart();
    }

    /// Kills the process as a power cut would; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM without waiting.
    pub fn signal_stop(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "send SIGTERM");
    }

    /// Waits for the end of the process after SIGTERM.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.process.take().expect("the node runs");
        let status = eventually("the node exits", limit, || child.try_wait().ok().flatten());
        let _ = child.wait();
        status
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    /// Everything the node logged since it was last started.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", self.starts))
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("test").replace("::", "-");
            let copy = artifacts().join(format!("{test}-node.log"));
            let _ = fs::copy(self.log_path(), &copy);
            println!("--- end of the node's log, whole in {} ---", copy.display());
            println!("{}", self.log_tail());
        }
    }
}
