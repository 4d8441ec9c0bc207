//! A fresh Postgres database per node, created and dropped with `psql` on the server that
//! `QIANLI_TEST_POSTGRES` names.

use super::unique;
use std::process::Command;

/// The server, by the URL of a role that may create databases.
#[derive(Debug, Clone)]
pub struct Admin {
    url: String,
}

/// A database that is dropped with this value.
#[derive(Debug)]
pub struct Database {
    admin: Admin,
    name: String,
    /// How a node reaches it.
    pub url: String,
}

impl Admin {
    /// Takes the URL as it stands in the environment.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    /// Creates an empty database.
    pub fn create(&self) -> Database {
        let name = format!("qianli_test_{:x}", unique());
        self.run(&format!("CREATE DATABASE {name}"));
        let url = self.with_path(&name);
        Database { admin: self.clone(), name, url }
    }

    /// Host and port, for a proxy in between.
    pub fn address(&self) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.contains(':') { host.to_owned() } else { format!("{host}:5432") }
    }

    fn with_path(&self, database: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").expect("a postgres:// URL");
        let (path, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
        let authority = path.split('/').next().unwrap_or(path);
        let query = query.map(|q| format!("?{q}")).unwrap_or_default();
        format!("{scheme}://{authority}/{database}{query}")
    }

    fn run(&self, sql: &str) {
        let output = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command", sql, &self.url])
            .output()
            .expect("run psql");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql refused {sql}: {message}");
    }
}

impl Database {
    /// The same database through another address (a proxy).
    pub fn url_through(&self, address: &str) -> String {
        self.url.replacen(&self.admin.address(), address, 1)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE ends sessions that a killed node left behind.
        self.admin.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}
