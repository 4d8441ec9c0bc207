//! Sends the audit trail to a syslog server or a file while the node runs. How far it got is in the
//! catalog: a crash repeats rows and loses none, and of several nodes one sends at a time.

use std::time::Duration;

use anyhow::Context;
use qianli_catalog::Catalog;
use tokio_util::sync::CancellationToken;

use super::syslog::{Destination, Link, frame, host};
use crate::app::now_ms;

/// How often new rows are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Rows of a chain that are sent in one go.
const ROWS: u32 = 200;

/// How long a node is the one that sends. Longer than a round may take.
const LEASE_MS: i64 = 60_000;

/// How long a round may take.
const ROUND: Duration = Duration::from_secs(30);

/// What is sent, by whom, and where to.
pub struct Shipper {
    catalog: Catalog,
    destination: Destination,
    source: String,
    worker: String,
    host: String,
    link: Option<Link>,
}

impl Shipper {
    /// For the node with this AE title.
    pub fn new(catalog: Catalog, destination: Destination, source: &str) -> Self {
        let host = host();
        let worker = format!("{host}-{}-{source}", std::process::id());
        Self { catalog, destination, source: source.to_owned(), worker, host, link: None }
    }

    /// Sends until told to stop, and what there is then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let is_last = stop.is_cancelled();
            let pause = match self.in_time().await {
                Ok(rows) => {
                    failures = 0;
                    if rows >= ROWS as usize { Duration::ZERO } else { EVERY }
                }
                Err(error) => {
                    self.link = None;
                    failures = failures.saturating_add(1);
                    let destination = &self.destination;
                    tracing::error!(
                        %destination, "the audit trail is not sent, and waits: {error:#}"
                    );
                    EVERY.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn in_time(&mut self) -> anyhow::Result<usize> {
        tokio::time::timeout(ROUND, self.round()).await.context("it took too long")?
    }

    /// Sends what the destination lacks, if this node is the one that sends. Returns the rows.
    async fn round(&mut self) -> anyhow::Result<usize> {
        let name = self.destination.to_string();
        let now = now_ms();
        let until = now.saturating_add(LEASE_MS);
        if !self.catalog.lease_audit_export(&name, &self.worker, until, now).await? {
            return Ok(0);
        }
        let rows = self.catalog.unexported_audit(&name, ROWS).await?;
        for of_chain in rows.chunk_by(|a, b| a.chain == b.chain) {
            let frames: Vec<String> =
                of_chain.iter().map(|row| frame(row, &self.host, &self.source)).collect();
            let mut link = match self.link.take() {
                Some(link) => link,
                None => Link::open(&self.destination).await?,
            };
            link.send(&frames).await?;
            self.link = Some(link);
            if let Some(last) = of_chain.last() {
                self.catalog.audit_was_exported(&name, last.chain, last.number).await?;
            }
        }
        Ok(rows.len())
    }
}

#[cfg(test)]
mod tests {
    use qianli_catalog::{AuditEntry, CatalogConfig};
    use qianli_model::audit::{Action, Outcome};
    use qianli_model::{Scope, TenantId};

    use super::*;

    async fn catalog(rows: i64) -> Catalog {
        let catalog = Catalog::connect(CatalogConfig::new("sqlite::memory:")).await.unwrap();
        catalog.migrate().await.unwrap();
        let scope = Scope::local(TenantId::DEFAULT);
        let entry = |at| AuditEntry::new(&scope, Action::Search, Outcome::Success, at);
        catalog.write_audit((0..rows).map(entry).collect()).await.unwrap();
        catalog
    }

    #[tokio::test]
    async fn a_syslog_server_gets_every_row_once() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let catalog = catalog(3).await;
        let destination = Destination::Udp("127.0.0.1".into(), port);
        let mut shipper = Shipper::new(catalog.clone(), destination.clone(), "QIANLI");
        assert_eq!(shipper.round().await.unwrap(), 3);
        for number in 1..=3 {
            let mut buffer = vec![0; 65_536];
            let got = tokio::time::timeout(EVERY * 10, server.recv(&mut buffer)).await;
            let text = String::from_utf8_lossy(&buffer[..got.unwrap().unwrap()]).into_owned();
            assert!(text.starts_with("<85>1 1970-01-01T00:00:00.00"), "{text}");
            assert!(text.contains(&format!("number=\"{number}\" hash=\"")), "{text}");
            assert!(text.ends_with("</AuditMessage>"), "{text}");
        }
        assert_eq!(shipper.round().await.unwrap(), 0, "they were sent");
        // Another node waits for its turn.
        let mut other = Shipper::new(catalog.clone(), destination, "OTHER");
        let scope = Scope::local(TenantId::DEFAULT);
        let entry = AuditEntry::new(&scope, Action::Search, Outcome::Failed, 9);
        catalog.write_audit(vec![entry]).await.unwrap();
        assert_eq!(other.round().await.unwrap(), 0);
        assert_eq!(shipper.round().await.unwrap(), 1);
        catalog.close().await;
    }

    #[tokio::test]
    async fn a_file_gets_lines_and_what_was_missing_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("audit.log");
        let catalog = catalog(2).await;
        let destination = Destination::File(path.clone());
        let mut shipper = Shipper::new(catalog.clone(), destination, "QIANLI");
        assert!(shipper.round().await.is_err(), "there is no folder");
        std::fs::create_dir(folder.path().join("none")).unwrap();
        assert_eq!(shipper.round().await.unwrap(), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.contains("<AuditMessage>")), "{text}");
        catalog.close().await;
    }
}
