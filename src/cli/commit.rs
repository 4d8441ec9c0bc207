//! `qianli commit`: asks a DIMSE peer whether it has objects for good (storage commitment push model,
//! PS3.4 annex J), and waits for its report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use qianli_dimse::association::{AssociationRequest, Rejection, VERIFICATION};
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_dimse::scu::Normalised;
use qianli_dimse::services::{ObjectSink, Service, Services, StoreOutcome, StoreRequest};
use qianli_dimse::{ProposedContext, Scp, ScpConfig, Status};
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::peer::Admission;
use qianli_model::{Permissions, TenantId, TransferSyntax, json};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::peer::Callee;
use super::say::say;
use super::send::{FoundFiles, collect};
use crate::config::Config;
use crate::outbound::implementation;

/// Storage Commitment Push Model SOP Class and its one instance (PS3.4 section J.3.5).
pub(super) const COMMITMENT: &str = "1.2.840.10008.1.20.1";
const WELL_KNOWN: &str = "1.2.840.10008.1.20.1.1";

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
    let transaction = transaction_uid();
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
        bail!("{} does not offer storage commitment", reached.to.title);
    };
    let data = request(&transaction, &asked);
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
            if let Some(outcome) = Outcome::read(&data, syntax, &transaction)? {
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
    Ok(outcome.say(&asked))
}

/// A UID of the time and this process (PS3.5 annex B.2 allows any number below 2.25).
fn transaction_uid() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("2.25.{}", (time << 32) | u128::from(std::process::id()))
}

/// The data set of the N-ACTION, in Implicit VR Little Endian (PS3.4 table J.3-1).
fn request(transaction: &str, asked: &BTreeMap<String, (String, PathBuf)>) -> Vec<u8> {
    let mut items = Vec::new();
    for (instance, (class, _)) in asked {
        let mut item = Vec::new();
        uid(&mut item, 0x1150, class);
        uid(&mut item, 0x1155, instance);
        items.extend([0xFE, 0xFF, 0x00, 0xE0]);
        items.extend(length(&item));
        items.extend(item);
    }
    let mut data = Vec::with_capacity(items.len() + 100);
    uid(&mut data, 0x1195, transaction);
    data.extend([0x08, 0x00, 0x99, 0x11]);
    data.extend(length(&items));
    data.extend(items);
    data
}

/// An element of group 0008 with a UID.
fn uid(out: &mut Vec<u8>, element: u16, value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(0);
    }
    out.extend([0x08, 0x00]);
    out.extend(element.to_le_bytes());
    out.extend(length(&value));
    out.extend(value);
}

fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// What a report says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    committed: Vec<String>,
    /// With Failure Reason (0008,1197).
    failed: Vec<(String, Option<u64>)>,
}

impl Outcome {
    /// Reads a report; `None` when it is about another transaction.
    fn read(data: &[u8], syntax: TransferSyntax, of: &str) -> anyhow::Result<Option<Self>> {
        let mut source = SliceSource::new(data);
        let document = json::document(&mut source, syntax, &Limits::default());
        let object: Value = serde_json::from_slice(&document.context("read the report")?.json)?;
        let text = |object: &Value, tag: &str| {
            object.pointer(&format!("/{tag}/Value/0")).and_then(Value::as_str).map(str::to_owned)
        };
        if text(&object, "00081195").as_deref() != Some(of) {
            return Ok(None);
        }
        let items = |tag: &str| {
            let items = object.pointer(&format!("/{tag}/Value")).and_then(Value::as_array);
            items.cloned().unwrap_or_default()
        };
        let committed =
            items("00081199").iter().filter_map(|item| text(item, "00081155")).collect();
        let reason = |item: &Value| item.pointer("/00081197/Value/0").and_then(Value::as_u64);
        let failed = items("00081198")
            .iter()
            .filter_map(|item| Some((text(item, "00081155")?, reason(item))))
            .collect();
        Ok(Some(Self { committed, failed }))
    }

    fn say(&self, asked: &BTreeMap<String, (String, PathBuf)>) -> ExitCode {
        say!("committed     {:>8}", self.committed.len());
        say!("not committed {:>8}", self.failed.len());
        for (instance, reason) in &self.failed {
            let path = asked.get(instance).map(|(_, path)| path.display().to_string());
            // PS3.3 section C.14.1.1.
            let words = match reason {
                Some(0x0110) => "processing failure",
                Some(0x0112) => "it is not there",
                Some(0x0119) => "it is of another class",
                Some(0x0122) => "its class is not supported",
                Some(0x0131) => "the transaction is a duplicate",
                Some(0x0213) => "out of resources",
                _ => "no reason that the standard lists",
            };
            say!("  {}: {words}", path.as_deref().unwrap_or(instance));
        }
        let silent: Vec<&String> = asked
            .keys()
            .filter(|uid| !self.committed.contains(uid))
            .filter(|uid| !self.failed.iter().any(|(failed, _)| failed == *uid))
            .collect();
        if !silent.is_empty() {
            say!("not mentioned {:>8}", silent.len());
        }
        match self.failed.is_empty() && silent.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

/// Hears reports, and nothing else.
struct Ear(mpsc::Sender<Report>);

#[async_trait]
impl Services for Ear {
    fn admit(&self, _: &AssociationRequest) -> Result<Admission, Rejection> {
        let (tenant, permissions) = (TenantId::DEFAULT, Permissions::NONE);
        Ok(Admission { tenant, permissions, rule: None, version: 0 })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_every_object_and_reports_are_read() {
        let asked: BTreeMap<_, _> = ["1.2.1", "1.2.22"]
            .map(|uid| (uid.to_owned(), ("1.2.840.10008.5.1.4.1.1.2".to_owned(), PathBuf::new())))
            .into();
        let data = request("2.25.1", &asked);
        let read = |of| Outcome::read(&data, TransferSyntax::IMPLICIT_LITTLE, of).unwrap();
        // A report that everything is there looks as the request does (PS3.4 table J.3-2).
        let committed = vec!["1.2.1".to_owned(), "1.2.22".to_owned()];
        assert_eq!(read("2.25.1"), Some(Outcome { committed, failed: Vec::new() }));
        assert_eq!(read("2.25.2"), None, "another transaction");
        assert!(transaction_uid().len() <= 64);
    }
}
