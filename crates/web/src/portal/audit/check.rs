//! Proving the chains from a page. All of the trail is read for it, so one check runs at a time, and
//! what it found is kept until the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use qianli_catalog::{Catalog, Exported};

use crate::WebState;
use crate::access::now_ms;
use crate::origin::SameSite;
use crate::portal::format;
use crate::portal::login::redirect;

/// How long the answer waits for the check; a long one goes on without it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Faults that are named.
const NAMED: usize = 8;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    /// One is running now.
    pub(crate) running: bool,
    /// When the last one ended, for the page; empty before the first.
    pub(crate) at: String,
    /// Rows that are as they were written.
    pub(crate) rows: String,
    /// What is wrong, chain by chain.
    pub(crate) faults: Vec<String>,
    /// The catalog failed.
    pub(crate) failed: bool,
}

/// The last check and the one that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check(Arc<Mutex<Checked>>);

impl Check {
    /// What is known.
    pub(crate) fn state(&self) -> Checked {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Checked) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks, unless it is being done.
    async fn run(self, catalog: Catalog) {
        if self.change(|state| std::mem::replace(&mut state.running, true)) {
            return;
        }
        let found = catalog.verify_audit(&Exported::new()).await;
        let at = format::instant(now_ms());
        let mut checked = Checked { at, ..Checked::default() };
        match found {
            Ok(reports) => {
                let rows = reports.iter().map(|report| report.rows).sum();
                checked.rows = format::count(rows);
                let fault = |report: &qianli_catalog::ChainReport| {
                    let fault = report.fault.as_ref()?;
                    Some(format!("{}: {fault}", report.chain))
                };
                checked.faults = reports.iter().filter_map(fault).take(NAMED).collect();
            }
            Err(error) => {
                tracing::error!(%error, "the audit trail cannot be checked");
                checked.failed = true;
            }
        }
        if !checked.faults.is_empty() {
            tracing::error!(faults = ?checked.faults, "the audit trail was altered or damaged");
        }
        self.change(|state| *state = checked);
    }
}

/// `POST /audit/verify`.
pub(in crate::portal) async fn verify(State(state): State<WebState>, _: SameSite) -> Response {
    let check = state.audit_check().clone().run(state.archive().catalog().clone());
    // It goes on when nobody waits for it any more.
    let task = tokio::spawn(check);
    let _ = tokio::time::timeout(PATIENCE, task).await;
    redirect("/audit")
}
