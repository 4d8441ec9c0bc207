//! Everything that sends objects to DICOM peers: C-MOVE, routing, forwarding, `qianli send`.
//!
//! [`Outbound::send`] takes a [`Scope`], [`Selection`]s of the archive and a [`Sending`] (where to and
//! how), and says of every object what became of it. A job calls it like this:
//!
//! ```ignore
//! let sending = Sending::new(destination, "route");
//! let objects = [Selection::of(Target { study, series: None, instance: None })];
//! let delivered = app.outbound.send(&app.archive, &scope, &objects, sending).await?;
//! let again: Vec<_> = delivered.iter().filter(|one| !one.fate.is_there()).collect();
//! ```
//!
//! What it does: only what the scope may read goes out, with a row in the audit trail for each study
//! before the first byte leaves; objects of one call are spread over as many associations as the
//! destination takes, which are shared with other calls by priority and kept for a moment; objects keep
//! their transfer syntax where the destination accepts it; the next object is opened while one is being
//! sent; a broken connection and "out of resources" (A7xx) are tried again after a while, and only what
//! was not acknowledged is sent again. Dropping the future, or cancelling [`Sending::cancel`], stops
//! in the middle of an object.

pub(crate) mod connect;
mod plan;
mod pool;
mod rate;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use qianli_archive::{Archive, ArchiveError};
use qianli_catalog::types::{Location, Target};
use qianli_catalog::{AuditEntry, CatalogError};
use qianli_dimse::Status;
use qianli_dimse::scu::Priority;
use qianli_dimse::services::MoveOriginator;
use qianli_model::audit::{Action, Outcome};
use qianli_model::destination::Destination;
use qianli_model::{AeTitle, Permission, Scope, SopInstanceUid};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::app::now_ms;
pub(crate) use connect::asking;
pub use connect::{CallError, Caller, Open, echo, implementation};
use pool::Pool;
pub use source::{Body, Content, Item, OpenError, Source};

/// Sends objects. Cheap to clone; all clones share their associations.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    caller: Caller,
    pool: Pool,
}

/// Which objects of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// A study, a series or an instance.
    pub target: Target,
    /// Of that only these; `None` for all.
    pub only: Option<HashSet<SopInstanceUid>>,
}

impl Selection {
    /// Everything of a target.
    pub fn of(target: Target) -> Self {
        Self { target, only: None }
    }
}

/// Where what is selected lies, each object once.
///
/// # Errors
///
/// The archive failed.
pub(crate) async fn locate(
    archive: &Archive,
    scope: &Scope,
    what: &[Selection],
) -> Result<Vec<Location>, ArchiveError> {
    let mut locations: Vec<Location> = Vec::new();
    let mut seen = HashSet::new();
    for one in what {
        for location in archive.locate(scope, &one.target).await? {
            let wanted = one.only.as_ref().is_none_or(|only| only.contains(&location.instance));
            if wanted && seen.insert(location.blob_key.clone()) {
                locations.push(location);
            }
        }
    }
    Ok(locations)
}

/// Where objects go and how.
#[derive(Debug, Clone)]
pub struct Sending {
    /// Where to.
    pub destination: Destination,
    /// Why, in a word for the audit trail, the log and the metrics: move, route, forward, send.
    pub cause: &'static str,
    /// Our AE title for these objects; `None` for the node's.
    pub calling: Option<AeTitle>,
    /// Whose C-MOVE it is.
    pub originator: Option<MoveOriginator>,
    /// Who goes first where a destination is short of associations.
    pub priority: Priority,
    /// At most so many associations at a time, beside what the destination says.
    pub associations: Option<u32>,
    /// How often is tried what failed for now.
    pub patience: Patience,
    /// How far it is; subscribe before the call.
    pub progress: watch::Sender<Progress>,
    /// Who wants to know at once what becomes of each object, by its place in the list.
    pub fates: Option<mpsc::UnboundedSender<(usize, Fate)>>,
    /// Stops it, also in the middle of an object.
    pub cancel: CancellationToken,
}

/// How often is tried what failed for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often an object is sent before it is given up.
    pub objects: u32,
    /// How often a destination that does not answer is called before the rest is given up.
    pub calls: u32,
    /// The first pause; each next one is twice as long, up to a minute.
    pub pause: Duration,
}

impl Default for Patience {
    /// Three times each, with pauses of one and two seconds.
    fn default() -> Self {
        Self { objects: 3, calls: 3, pause: Duration::from_secs(1) }
    }
}

impl Patience {
    fn pause_after(&self, failures: u32) -> Duration {
        let factor = 1_u32 << failures.saturating_sub(1).min(16);
        self.pause.saturating_mul(factor).min(Duration::from_secs(60))
    }
}

/// How far a call is, in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Neither sent nor given up.
    pub remaining: u64,
    /// Acknowledged with success.
    pub sent: u64,
    /// Acknowledged with a warning.
    pub warned: u64,
    /// Given up.
    pub failed: u64,
    /// Bytes of data sets that were acknowledged.
    pub bytes: u64,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The peer has it.
    Sent,
    /// The peer has it and says something about it.
    Warned(Status, Option<String>),
    /// The peer has it not.
    Failed(Failure),
    /// It was not sent before the call was cancelled.
    Cancelled,
}

impl Fate {
    /// Whether the peer has it.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Sent | Self::Warned(..))
    }
}

/// Why an object was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The peer's status, where it answered.
    pub status: Option<Status>,
    /// What happened, in the peer's words where it had some. No patient data of ours.
    pub words: String,
    /// Whether it may succeed another time.
    pub is_transient: bool,
}

/// An object and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Which one, as it lies in the archive.
    pub sop_instance: SopInstanceUid,
    /// What became of it.
    pub fate: Fate,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The archive failed, or the scope does not permit it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The audit trail cannot be written: then nothing leaves.
    #[error("write the audit trail: {0}")]
    Audit(#[from] CatalogError),
}

impl Sending {
    /// To a destination, as usual.
    pub fn new(destination: Destination, cause: &'static str) -> Self {
        Self {
            destination,
            cause,
            calling: None,
            originator: None,
            priority: Priority::Medium,
            associations: None,
            patience: Patience::default(),
            progress: watch::Sender::new(Progress::default()),
            fates: None,
            cancel: CancellationToken::new(),
        }
    }
}

impl Outbound {
    /// An engine that calls as this node.
    pub fn new(caller: Caller) -> Self {
        Self(Arc::new(Inner { caller, pool: Pool::default() }))
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Sends objects of the archive, as far as the scope sees them, and says what became of each.
    /// Failures of single objects and of the destination are in the answer, not errors.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; then nothing was sent.
    pub async fn send(
        &self,
        archive: &Archive,
        scope: &Scope,
        what: &[Selection],
        sending: Sending,
    ) -> Result<Vec<Delivered>, SendError> {
        if !scope.allows(Permission::Read) {
            return Err(ArchiveError::Forbidden(Permission::Read).into());
        }
        let locations = locate(archive, scope, what).await?;
        let mut studies: BTreeMap<_, Vec<SopInstanceUid>> = BTreeMap::new();
        for location in &locations {
            studies.entry(location.study.clone()).or_default().push(location.instance.clone());
        }
        let entry = |study, outcome, instances: usize| {
            let to = &sending.destination;
            let mut entry = AuditEntry::new(scope, Action::Export, outcome, now_ms())
                .about(&Target { study, series: None, instance: None })
                .with(&json!({
                    "to": to.title.as_str(), "address": to.address, "by": sending.cause,
                }));
            entry.instances = i64::try_from(instances).unwrap_or(i64::MAX);
            entry
        };
        let leaving: Vec<_> = studies
            .iter()
            .map(|(study, instances)| entry(study.clone(), Outcome::Success, instances.len()))
            .collect();
        if !leaving.is_empty() {
            archive.catalog().write_audit(leaving).await?;
        }
        let source = source::Stored::new(archive.clone(), scope.clone(), locations);
        let delivered = self.deliver(Arc::new(source), sending.clone()).await;
        let failed: HashSet<&SopInstanceUid> = delivered
            .iter()
            .filter(|one| !one.fate.is_there())
            .map(|one| &one.sop_instance)
            .collect();
        let stayed: Vec<_> = studies
            .iter()
            .filter_map(|(study, instances)| {
                let count = instances.iter().filter(|one| failed.contains(one)).count();
                (count > 0).then(|| entry(study.clone(), Outcome::Failed, count))
            })
            .collect();
        if !stayed.is_empty()
            && let Err(error) = archive.catalog().write_audit(stayed).await
        {
            tracing::error!(%error, "that objects did not arrive is not in the audit trail");
        }
        Ok(delivered)
    }

    /// Sends whatever a source has. Nothing is written to the audit trail.
    pub async fn deliver(&self, source: Arc<dyn Source>, sending: Sending) -> Vec<Delivered> {
        let caller = match &sending.calling {
            Some(aet) => Caller { aet: aet.clone(), ..self.0.caller.clone() },
            None => self.0.caller.clone(),
        };
        let line = self.0.pool.line(&sending.destination, &caller);
        work::run(line, source, sending).await
    }

    /// Releases associations that nobody uses: before a process ends.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}
