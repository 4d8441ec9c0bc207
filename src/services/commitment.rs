//! Storage commitment, push model, as SCP (PS3.4 annex J): takes the request, looks at every object,
//! and reports; on the same association if its peer stays, else on a new one, as a job that is tried
//! for days. Saying "committed" twice harms nobody, not saying it makes a modality keep its images.
//! And the reports that peers bring us about what we sent on (`src/routing/commit.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use qianli_archive::{Archive, Safety};
use qianli_catalog::types::Job;
use qianli_dimse::exchange::{Exchange, Invocation, Invoked, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_dimse::scu::{Normalised, Role};
use qianli_dimse::{ProposedContext, Status};
use qianli_model::charset::Repertoire;
use qianli_model::identifier::{Answer, RETRIEVE_AE_TITLE};
use qianli_model::write::Form;
use qianli_model::{AeTitle, Scope, SopClassUid, SopInstanceUid, Tag, TransferSyntax, tag};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::app::{App, now_ms};
use crate::commitment::{Lists, Outcome};
use crate::outbound::connect::Caller;

/// Storage Commitment Push Model SOP Class.
pub(crate) const SOP_CLASS: &str = "1.2.840.10008.1.20.1";
/// Its one SOP instance.
const SOP_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// Kind of the job that reports.
pub(crate) const JOB: &str = "commitment.report";

/// How long the association that asked is waited for before another is opened (ms).
const SAME_ASSOCIATION_MS: i64 = 15_000;

/// Instances of one request.
const MOST: usize = 50_000;

/// Reports that may wait for one AE title.
const MOST_WAITING: i64 = 100;

/// How long a device that did not answer is left alone.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Devices that did not answer, and when: the others' reports do not wait for them again and again.
static SILENT: Mutex<BTreeMap<(i64, String), Instant>> = Mutex::new(BTreeMap::new());

/// Requests that are read or reported at a time: each of them is a long list in memory, and the others
/// can wait.
static TURNS: Semaphore = Semaphore::const_new(2);

const TRANSACTION_UID: Tag = tag::tag(0x0008, 0x1195);
const FAILURE_REASON: Tag = tag::tag(0x0008, 0x1197);
const FAILED_SOP_SEQUENCE: Tag = tag::tag(0x0008, 0x1198);
const REFERENCED_SOP_SEQUENCE: Tag = tag::tag(0x0008, 0x1199);
const REFERENCED_SOP_CLASS: Tag = tag::tag(0x0008, 0x1150);
const REFERENCED_SOP_INSTANCE: Tag = tag::tag(0x0008, 0x1155);

/// A request that waits for its report.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// AE title of whoever asked.
    peer: String,
    /// The title by which it called us, which is ours in the report.
    called: String,
    /// Transaction UID.
    transaction: String,
    /// SOP classes and instances.
    instances: Vec<(String, String)>,
}

/// Takes a request and reports on the same association, if its peer lets us.
pub(super) async fn perform(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
    exchange: &mut Exchange,
) {
    // Never closed.
    let turn = TURNS.acquire().await;
    let waiting = match Waiting::read(request) {
        Ok(waiting) => waiting,
        Err(reply) => return exchange.reply(reply).await,
    };
    let whose = format!("{}/", waiting.peer);
    let key = format!("{whose}{}", waiting.transaction);
    let taken = async {
        if archive.catalog().jobs_waiting(scope, JOB, &whose).await? >= MOST_WAITING {
            return anyhow::Ok(false);
        }
        let payload = serde_json::to_string(&waiting)?;
        let due = now_ms().saturating_add(SAME_ASSOCIATION_MS);
        archive.catalog().enqueue(scope, JOB, &key, &payload, due).await?;
        Ok(true)
    };
    match taken.await {
        Ok(true) => {}
        Ok(false) => {
            let comment =
                "too many reports wait for this AE title: is it registered, and listening?";
            let reply = Reply::with_comment(Status::RESOURCE_LIMITATION, comment);
            return exchange.reply(reply).await;
        }
        Err(error) => {
            tracing::error!(%error, "a request for storage commitment cannot be kept");
            return exchange.reply(Reply::new(Status::PROCESSING_FAILURE)).await;
        }
    }
    exchange.reply(Reply::success()).await;
    let reported = async {
        let (event_type, report) = waiting.report(archive, scope).await?;
        let bytes = report.encode(&form(request.context.transfer_syntax))?;
        // How fast the peer takes it is nobody else's business.
        drop(turn);
        let command = Invoked::EventReport {
            sop_class: SopClassUid::parse(SOP_CLASS)?,
            sop_instance: SopInstanceUid::parse(SOP_INSTANCE)?,
            event_type,
        };
        let data = stream::iter([Ok(bytes.into())]).boxed();
        let context = request.context.id;
        let answer = exchange.invoke(Invocation { context, command, data }).await?;
        if !answer.status.is_done() {
            bail!("the peer answers its report with {}", answer.status);
        }
        anyhow::Ok(archive.catalog().drop_job(scope, JOB, &key).await?)
    };
    if let Err(error) = reported.await {
        tracing::info!(
            peer = waiting.peer,
            "storage commitment is reported on another association: {error:#}"
        );
    }
}

/// Takes the report of a peer that we asked about what we sent it.
pub(super) async fn reported(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
    wait: Duration,
) -> Reply {
    let Ok(_turn) = TURNS.acquire().await else { return Reply::new(Status::PROCESSING_FAILURE) };
    let data = request.data.as_deref().unwrap_or_default();
    let outcome = match Outcome::read(data, request.context.transfer_syntax) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(peer = %request.association.calling, "a report cannot be read: {error:#}");
            let comment = "the data set cannot be read";
            return Reply::with_comment(Status::PROCESSING_FAILURE, comment);
        }
    };
    let title = &request.association.calling;
    match crate::routing::take_report(archive.catalog(), scope, title, outcome, wait).await {
        Ok(true) => Reply::success(),
        Ok(false) => {
            let comment = "no transaction of that kind is waited for";
            Reply::with_comment(Status::new(0x0112), comment)
        }
        Err(error) => {
            tracing::error!(%error, "a report of storage commitment cannot be kept");
            Reply::new(Status::PROCESSING_FAILURE)
        }
    }
}

/// Reports on an association of our own.
///
/// # Errors
///
/// The peer is not registered as a destination, is not there, or does not take the report.
pub(crate) async fn report(app: &App, caller: &Caller, job: &Job) -> anyhow::Result<()> {
    let waiting: Waiting = serde_json::from_str(&job.payload).context("read the request")?;
    let scope = Scope::system(job.tenant, "storage commitment");
    let title: AeTitle = waiting.peer.parse()?;
    let catalog = app.archive.catalog();
    let Some(destination) = catalog.destination(&scope, &title).await? else {
        bail!(
            "{title} wants to be told what is committed, and nobody knows where it listens: \
             register it with `qianli peer add {title} HOST:PORT`"
        );
    };
    let device = (job.tenant.0, waiting.peer.clone());
    if is_silent(&device) {
        bail!("{title} did not answer a moment ago");
    }
    let settings = qianli_dimse::ScuConfig {
        calling: waiting.called.parse()?,
        ..caller.settings(&destination)
    };
    let syntaxes = [TransferSyntax::EXPLICIT_LITTLE, TransferSyntax::IMPLICIT_LITTLE];
    // We are the SCP of the class, although we call.
    let context = ProposedContext::new(SOP_CLASS, syntaxes).as_role(Role::Performer);
    let called = caller.call_as(&destination, &settings, &[context]).await;
    let mut association = called.inspect_err(|_| note_silent(device))?;
    let (event_type, report) = {
        let _turn = TURNS.acquire().await;
        waiting.report(&app.archive, &scope).await?
    };
    let accepted = association.contexts().first().context("no context was accepted")?;
    let (context, syntax) = (accepted.id, accepted.transfer_syntax);
    let bytes = report.encode(&form(syntax))?;
    let event = Normalised::EventReport(event_type);
    let answer = association.invoke(context, &event, None, Some(SOP_INSTANCE), Some(&bytes)).await;
    let answer = answer.context("N-EVENT-REPORT")?.answer;
    // It has the report; how it says good-bye changes nothing.
    let _ = association.release().await;
    if !answer.status.is_done() {
        bail!("{title} answers its report with {}", answer.status);
    }
    tracing::info!(peer = %title, instances = waiting.instances.len(), "reported what is committed");
    Ok(catalog.finish_job(job).await?)
}

fn is_silent(device: &(i64, String)) -> bool {
    let mut silent = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
    silent.retain(|_, since| since.elapsed() < SILENT_FOR);
    silent.contains_key(device)
}

fn note_silent(device: (i64, String)) {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner).insert(device, Instant::now());
}

fn form(syntax: TransferSyntax) -> Form {
    let implicit = syntax == TransferSyntax::IMPLICIT_LITTLE;
    Form { implicit, repertoire: Repertoire::DEFAULT }
}

impl Waiting {
    fn read(request: &OperationRequest) -> Result<Self, Reply> {
        // PS3.7 section 10.1.4.1.10 and annex C.
        let refuse = |code, comment: &str| Err(Reply::with_comment(Status::new(code), comment));
        let Operation::Action { action_type } = request.operation else {
            return refuse(0x0123, "the only action is 1, request storage commitment");
        };
        if request.sop_instance.as_deref() != Some(SOP_INSTANCE) {
            return refuse(0x0112, "not the Storage Commitment Push Model SOP Instance");
        }
        if action_type != 1 {
            return refuse(0x0123, "the only action is 1, request storage commitment");
        }
        let data = request.data.as_deref().unwrap_or_default();
        let Ok(mut asked) = Lists::read(data, request.context.transfer_syntax) else {
            return refuse(0x0115, "the data set cannot be read");
        };
        let Some(transaction) = asked.transaction.take().filter(|uid| !uid.is_empty()) else {
            return refuse(0x0115, "Transaction UID is missing");
        };
        if SopInstanceUid::parse(&transaction).is_err() {
            return refuse(0x0115, "Transaction UID is not a UID");
        }
        let items = asked.into_referenced();
        if items.is_empty() {
            return refuse(0x0115, "Referenced SOP Sequence is missing or empty");
        }
        if items.len() > MOST {
            return refuse(0x0213, "too many instances in one request");
        }
        let mut instances = Vec::with_capacity(items.len());
        for item in items {
            let class = item.class.unwrap_or_default().trim().to_owned();
            let instance = item.instance.unwrap_or_default().trim().to_owned();
            if SopClassUid::parse(&class).is_err() || SopInstanceUid::parse(&instance).is_err() {
                return refuse(0x0115, "a reference without SOP class or instance UID");
            }
            instances.push((class, instance));
        }
        Ok(Self {
            peer: request.association.calling.to_string(),
            called: request.association.called.to_string(),
            transaction,
            instances,
        })
    }

    /// Event type and data set of the report (PS3.4 table J.3-3).
    async fn report(&self, archive: &Archive, scope: &Scope) -> anyhow::Result<(u16, Answer)> {
        let parsed: Result<Vec<_>, _> = self
            .instances
            .iter()
            .map(|(class, uid)| SopInstanceUid::parse(uid).map(|uid| (class.clone(), uid)))
            .collect();
        let held = archive.safety_of(scope, &parsed?).await?;
        let mut safe = Vec::new();
        let mut failed = Vec::new();
        for ((class, instance), held) in self.instances.iter().zip(held) {
            let mut item = json!({
                REFERENCED_SOP_CLASS.to_string(): {"vr": "UI", "Value": [class]},
                REFERENCED_SOP_INSTANCE.to_string(): {"vr": "UI", "Value": [instance]},
            });
            // PS3.3 section C.14.1.1.
            let reason = match held {
                Safety::Safe => {
                    safe.push(item);
                    continue;
                }
                Safety::Missing => 0x0112,
                Safety::OtherClass => 0x0119,
                Safety::Damaged => 0x0110,
            };
            item[FAILURE_REASON.to_string()] = json!({"vr": "US", "Value": [reason]});
            failed.push(item);
        }
        let mut answer = Answer::default();
        answer.set_text(TRANSACTION_UID, "UI", [self.transaction.as_str()]);
        answer.set_text(RETRIEVE_AE_TITLE, "AE", [self.called.as_str()]);
        let event_type = if failed.is_empty() { 1 } else { 2 };
        for (tag, items) in [(REFERENCED_SOP_SEQUENCE, safe), (FAILED_SOP_SEQUENCE, failed)] {
            if !items.is_empty() {
                answer.set(tag, json!({"vr": "SQ", "Value": items}));
            }
        }
        tracing::debug!(peer = self.peer, event_type, "looked at what is to be committed");
        Ok((event_type, answer))
    }
}
