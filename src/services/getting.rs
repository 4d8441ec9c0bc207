//! C-GET (PS3.4 section C.4.3): sends what is asked for over the association that asks, on the
//! contexts for which its peer proposed to be SCP. Objects stream from the store; the next one is
//! opened while one is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future;
use qianli_archive::Archive;
use qianli_catalog::AuditEntry;
use qianli_catalog::types::{Location, Target};
use qianli_dimse::Status;
use qianli_dimse::association::AcceptedContext;
use qianli_dimse::exchange::{Exchange, Invocation, Invoked, OperationRequest, Reply};
use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use tokio::time::Instant;

use super::models;
use super::moving::{TELL, counts, ended};
use super::retrieval::{
    IDENTIFIER_MISMATCH, NO_MATCHES_CALCULATED, ONLY_TO_LOOK_AT, RetrievalError, may_look, select,
    words,
};
use crate::app::now_ms;
use crate::outbound::source::{OpenError, Ready, Source, Stored, prepare};
use crate::outbound::{Delivered, Failure, Fate, Progress, locate};

/// Works off a C-GET. The scope may read.
pub(super) async fn perform(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
    exchange: &mut Exchange,
) {
    let scope = &scope.clone().to_download();
    let locations = match find(archive, scope, request).await {
        Ok(locations) => locations,
        Err(reply) => return exchange.reply(reply).await,
    };
    if let Err(error) = note(archive, scope, &locations).await {
        tracing::error!(%error, "a C-GET cannot be noted in the audit trail");
        return exchange.reply(Reply::new(NO_MATCHES_CALCULATED)).await;
    }
    let total = locations.len();
    let started = Instant::now();
    let source = Arc::new(Stored::new(archive.clone(), scope.clone(), locations));
    let delivered = send(source, request, exchange).await;
    let syntax = request.context.transfer_syntax;
    let reply = ended(&delivered, exchange.is_cancelled(), syntax.encoding());
    tracing::info!(
        calling = %request.association.calling,
        objects = total,
        duration_ms = started.elapsed().as_millis() as u64,
        "sent to {} what it asked for: {} ({} of {total} objects arrived)",
        request.association.calling,
        words(reply.status),
        delivered.iter().filter(|one| one.fate.is_there()).count(),
    );
    exchange.reply(reply).await;
}

async fn find(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
) -> Result<Vec<Location>, Reply> {
    let root = models::root(&request.context.abstract_syntax);
    let identifier = request.data.as_deref().unwrap_or_default();
    let failed = |error: qianli_archive::ArchiveError| {
        tracing::error!(%error, "the objects of a C-GET cannot be found");
        Reply::new(NO_MATCHES_CALCULATED)
    };
    let what = select(archive, scope, root, identifier, request.context.transfer_syntax).await;
    let what = what.map_err(|error| match error {
        RetrievalError::Identifier(words) => Reply::with_comment(IDENTIFIER_MISMATCH, words),
        RetrievalError::Archive(error) => failed(error),
    })?;
    let found = locate(archive, scope, &what).await.map_err(failed)?;
    match found.is_empty() && may_look(archive, scope, &what).await {
        true => Err(Reply::with_comment(ONLY_TO_LOOK_AT.0, ONLY_TO_LOOK_AT.1)),
        false => Ok(found),
    }
}

/// One row for each study: objects leave.
async fn note(
    archive: &Archive,
    scope: &Scope,
    locations: &[Location],
) -> Result<(), qianli_catalog::CatalogError> {
    let mut studies = BTreeMap::new();
    for location in locations {
        *studies.entry(location.study.clone()).or_insert(0_i64) += 1;
    }
    for (study, instances) in studies {
        let mut entry = AuditEntry::new(scope, Action::ReadObjects, Outcome::Success, now_ms())
            .about(&Target { study, series: None, instance: None });
        entry.instances = instances;
        archive.catalog().note_audit(entry).await?;
    }
    Ok(())
}

/// Sends every object, or as many as there are before a cancel.
async fn send(
    source: Arc<Stored>,
    request: &OperationRequest,
    exchange: &mut Exchange,
) -> Vec<Delivered> {
    let items = source.items().to_vec();
    let mut delivered: Vec<Delivered> = Vec::with_capacity(items.len());
    let mut told = Instant::now();
    let mut ahead = match items.is_empty() {
        true => None,
        false => Some(open(&source, 0, &request.contexts).await),
    };
    for (at, item) in items.iter().enumerate() {
        let next = at.saturating_add(1);
        let (fate, opened) = match ahead.take() {
            _ if exchange.is_cancelled() => (Fate::Cancelled, None),
            Some(Ok((context, ready))) => {
                let command = Invoked::Store {
                    sop_class: item.sop_class.clone(),
                    sop_instance: ready.sop_instance,
                    move_originator: None,
                };
                let invocation = Invocation { context, command, data: ready.content };
                let (answer, opened) = future::join(
                    exchange.invoke(invocation),
                    open_if_there(&source, next, items.len(), &request.contexts),
                )
                .await;
                let fate = match answer {
                    Ok(answer) if answer.status == Status::SUCCESS => Fate::Sent,
                    Ok(answer) if answer.status.is_done() => {
                        Fate::Warned(answer.status, answer.comment)
                    }
                    Ok(answer) => failed(Some(answer.status), answer.comment.unwrap_or_default()),
                    Err(error) => failed(None, error.to_string()),
                };
                (fate, opened)
            }
            Some(Err(words)) => (
                failed(None, words),
                open_if_there(&source, next, items.len(), &request.contexts).await,
            ),
            None => (failed(None, "it was not opened".into()), None),
        };
        ahead = opened;
        delivered.push(Delivered { sop_instance: item.sop_instance.clone(), fate });
        if told.elapsed() >= TELL && next < items.len() && !exchange.is_cancelled() {
            told = Instant::now();
            let pending = counts(&progress(&delivered, items.len()));
            exchange.reply(Reply::new(Status::PENDING).counting(pending)).await;
        }
    }
    delivered
}

fn failed(status: Option<Status>, words: String) -> Fate {
    Fate::Failed(Failure { status, words, is_transient: false })
}

fn progress(delivered: &[Delivered], total: usize) -> Progress {
    let mut progress =
        Progress { remaining: (total - delivered.len().min(total)) as u64, ..Progress::default() };
    for one in delivered {
        match one.fate {
            Fate::Sent => progress.sent += 1,
            Fate::Warned(..) => progress.warned += 1,
            Fate::Failed(_) => progress.failed += 1,
            Fate::Cancelled => progress.remaining += 1,
        }
    }
    progress
}

type Opened = Result<(u8, Ready), String>;

async fn open_if_there(
    source: &Arc<Stored>,
    at: usize,
    count: usize,
    contexts: &[AcceptedContext],
) -> Option<Opened> {
    match at < count {
        true => Some(open(source, at, contexts).await),
        false => None,
    }
}

/// Opens an object for the best context of its class: as it is stored if there is one, else in what it
/// can be turned into.
async fn open(source: &Arc<Stored>, at: usize, contexts: &[AcceptedContext]) -> Opened {
    let Some(item) = source.items().get(at) else { return Err("it is not in the list".into()) };
    let mut fitting: Vec<&AcceptedContext> = contexts
        .iter()
        .filter(|context| {
            context.requestor_is_scp
                && context.abstract_syntax == item.sop_class.as_str()
                && source.can_send(item.syntax, context.transfer_syntax)
        })
        .collect();
    fitting.sort_by_key(|context| context.transfer_syntax != item.syntax);
    let of_class = || contexts.iter().filter(|one| one.abstract_syntax == item.sop_class.as_str());
    let without_role = of_class().count() > 0 && !of_class().any(|one| one.requestor_is_scp);
    let mut why = match without_role {
        true => format!("without role selection (as SCP) nobody takes {} here", item.sop_class),
        false => format!(
            "the peer takes no {} in {} nor in what it can be turned into",
            item.sop_class,
            item.syntax.name()
        ),
    };
    for context in fitting {
        let source: Arc<dyn Source> = Arc::<Stored>::clone(source);
        match prepare(source, at, context.transfer_syntax).await {
            Ok(ready) => return Ok((context.id, ready)),
            Err(OpenError::Unsuitable(words)) => why = words,
            Err(OpenError::Unreadable(words)) => return Err(words),
        }
    }
    Err(why)
}
