//! `qianli commit`: asks a DIMSE peer whether it has objects for good (storage commitment push model,
//! PS3.4 annex J), and waits for its report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use qianli_dimse::association::{AssociationRequest, Rejection, VERIFICATION};
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_dimse::scu::Normalised;
use qianli_dimse::services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
use qianli_dimse::{ProposedContext, Scp, ScpConfig, Status};
use qianli_model::peer::Admission;
use qianli_model::{Permissions, TenantId, TransferSyntax};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::peer::Callee;
use super::say::say;
use super::send::{FoundFiles, collect};
use crate::commitment::{COMMITMENT, Outcome, WELL_KNOWN, new_transaction, reason_words, request};
use crate::config::Config;
use crate::outbound::implementation;

/// Arguments of `qianli commit`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    callee: Callee,
    /// Files and folders that were sent before.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Take the report on an association that the peer opens to this address; else it has to come
    /// on the one that asks.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How long to wait for the report.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// A report: its data set and how that is encoded.
type Report = (Bytes, TransferSyntax);

/// Asks, waits, and says what the peer has; exit code 1 when it has not everything.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let paths = arguments.paths.clone();
    let FoundFiles { files, unreadable, .. } =
        tokio::task::spawn_blocking(move || collect(&paths)).await??;
    if let Some(first) = unreadable.first() {
        bail!("{} files cannot be read: {first}", unreadable.len());
    }
    // Each once, and by which file it is known here.
    let asked: BTreeMap<String, (String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let class = file.item.sop_class.to_string();
            (file.item.sop_instance.to_string(), (class, file.path))
        })
        .collect();
    if asked.is_empty() {
        bail!("there is no DICOM file in what was named");
    }
    let transaction = new_transaction();
    let (reports, mut told) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let listening = arguments.listen.is_some();
    if let Some(address) = arguments.listen {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        eprintln!("waiting for the report at {}", listener.local_addr()?);
        let scp = Scp::new(listener, ScpConfig::new(implementation()), Arc::new(Ear(reports)));
        tokio::spawn(scp.run(stop.clone()));
    }
    let reached = arguments.callee.reach(&config).await?;
    let syntax = TransferSyntax::IMPLICIT_LITTLE;
    let contexts = [ProposedContext::new(COMMITMENT, [syntax])];
    let mut association = reached.connect_patiently(&contexts, Some(arguments.wait)).await?;
    let Some(context) = association.context(COMMITMENT, syntax).map(|accepted| accepted.id) else {
        return Err(reached.lacks(COMMITMENT));
    };
    let asking = asked.iter().map(|(uid, (class, _))| (class.as_str(), uid.as_str()));
    let data = request(&transaction, asking);
    let action = Normalised::Action(1);
    let reply = association.invoke(context, &action, None, Some(WELL_KNOWN), Some(&data)).await?;
    if !reply.answer.status.is_done() {
        let words = reply.answer.comment.unwrap_or_default();
        bail!("{} refuses with {} {words}", reached.to.title, reply.answer.status);
    }
    let waiting = async {
        loop {
            let (data, syntax) = tokio::select! {
                report = association.event_report(), if association.is_ready() => match report {
                    Ok(report) => (report.data.unwrap_or_default(), syntax),
                    // It may still come on an association of the peer's.
                    Err(error) if listening => {
                        tracing::debug!(%error, "no report on the association that asked");
                        continue;
                    }
                    Err(error) => {
                        return Err(error).context(
                            "wait for the report; a peer that reports on an association of its own \
                             needs --listen, and to know us there",
                        );
                    }
                },
                Some(report) = told.recv() => report,
                else => bail!("nobody can report any more"),
            };
            let outcome = Outcome::read(&data, syntax).context("read the report")?;
            if outcome.transaction == transaction {
                return Ok(outcome);
            }
        }
    };
    let waited = tokio::time::timeout(arguments.wait, waiting).await;
    stop.cancel();
    let Ok(outcome) = waited else {
        bail!(
            "{} did not report within {}",
            reached.to.title,
            humantime::format_duration(arguments.wait)
        );
    };
    let outcome = outcome?;
    if association.is_ready() {
        // The report is here; how the association ends changes nothing.
        let _ = association.release().await;
    }
    Ok(tell(&outcome, &asked))
}

/// Prints what a report says.
fn tell(outcome: &Outcome, asked: &BTreeMap<String, (String, PathBuf)>) -> ExitCode {
    say!("committed     {:>8}", outcome.committed.len());
    say!("not committed {:>8}", outcome.failed.len());
    for (instance, reason) in &outcome.failed {
        let path = asked.get(instance).map(|(_, path)| path.display().to_string());
        let words = reason_words(*reason);
        say!("  {}: {words}", path.as_deref().unwrap_or(instance));
    }
    let silent: Vec<&String> = asked
        .keys()
        .filter(|uid| !outcome.committed.contains(uid))
        .filter(|uid| !outcome.failed.iter().any(|(failed, _)| failed == *uid))
        .collect();
    if !silent.is_empty() {
        say!("not mentioned {:>8}", silent.len());
    }
    match outcome.failed.is_empty() && silent.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Hears reports, and nothing else.
struct Ear(mpsc::Sender<Report>);

#[async_trait]
impl Services for Ear {
    fn admit(&self, _: &AssociationRequest) -> Result<Admission, Rejection> {
        let (tenant, permissions) = (TenantId::DEFAULT, Permissions::NONE);
        Ok(Admission { tenant, permissions, through: None, rule: None, version: 0 })
    }

    fn service(&self, uid: &str) -> Option<Service> {
        match uid {
            VERIFICATION => Some(Service::Verification),
            COMMITMENT => Some(Service::Commitment),
            _ => None,
        }
    }

    async fn begin_store(&self, _: &StoreRequest) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        Err(StoreOutcome::new(Status::UNRECOGNISED_OPERATION))
    }

    async fn perform(&self, request: OperationRequest, exchange: &mut Exchange) {
        let status = match (&request.operation, request.data) {
            (Operation::EventReport { .. }, Some(data)) => {
                let report = (data, request.context.transfer_syntax);
                match self.0.send(report).await {
                    Ok(()) => Status::SUCCESS,
                    Err(_) => Status::PROCESSING_FAILURE,
                }
            }
            (Operation::EventReport { .. }, None) => Status::MISTYPED_ARGUMENT,
            _ => Status::UNRECOGNISED_OPERATION,
        };
        exchange.reply(Reply::new(status)).await;
    }
}
