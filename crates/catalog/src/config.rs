//! How the catalog is reached and how it batches. Read once by the binary, then plain values.

use std::time::Duration;

use qianli_model::query::Path;

/// Settings of a [`crate::Catalog`].
#[derive(Clone)]
pub struct CatalogConfig {
    /// `sqlite:PATH`, `sqlite::memory:` (a private temporary file, for tests), or `postgres://…`.
    pub url: String,
    /// Connections to hold at most: to Postgres altogether, to SQLite for reading.
    pub max_connections: u32,
    /// Instances that one transaction records at most, 1 to 1024.
    pub record_batch: usize,
    /// Instances that may wait for the writer; beyond it `record` waits, which slows senders down.
    pub record_queue: usize,
    /// How long a call waits for a connection, and a batch for its commit, before it fails.
    pub timeout: Duration,
    /// How long a study must be quiet before its `study.settled` job may run.
    pub settle_after: Duration,
    /// Attributes that are indexed beyond those that have columns. The same on every node.
    pub indexed_attributes: Vec<Path>,
}

impl CatalogConfig {
    /// The defaults for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:qianli.sqlite".into(),
            max_connections: 16,
            record_batch: 256,
            record_queue: 1024,
            timeout: Duration::from_secs(30),
            settle_after: Duration::from_secs(60),
            indexed_attributes: Vec::new(),
        }
    }
}

impl std::fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogConfig")
            .field("url", &crate::db::redacted(&self.url))
            .field("max_connections", &self.max_connections)
            .field("record_batch", &self.record_batch)
            .field("record_queue", &self.record_queue)
            .field("timeout", &self.timeout)
            .field("settle_after", &self.settle_after)
            .finish()
    }
}
