//! C-MOVE (PS3.4 section C.4.2): sends what is asked for to a registered destination, and says how far
//! that is.

use std::time::Duration;

use qianli_archive::Archive;
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::{Operation, SubOperations};
use qianli_dimse::services::MoveOriginator;
use qianli_dimse::{AssociationInfo, Status};
use qianli_model::destination::Destination;
use qianli_model::{AeTitle, Scope};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::models::{self, Root};
use super::retrieval::{
    DESTINATION_UNKNOWN, IDENTIFIER_MISMATCH, NO_MATCHES_CALCULATED, NOT_PERFORMED,
    ONLY_TO_LOOK_AT, RetrievalError, WITH_FAILURES, failed_list, may_look, select, words,
};
use crate::outbound::{Delivered, Fate, Outbound, Progress, Sending};

/// How often counts that changed are told.
pub(super) const TELL: Duration = Duration::from_millis(250);

/// How often the peer hears of us in any case, so that it does not take us for dead.
const ALIVE: Duration = Duration::from_secs(1);

/// Works off a C-MOVE. The scope may read.
pub(super) async fn perform(
    archive: &Archive,
    outbound: &Outbound,
    scope: &Scope,
    request: &OperationRequest,
    exchange: &mut Exchange,
) {
    let scope = &scope.clone().to_download();
    let reply = match begin(archive, &home(scope), request).await {
        Ok((sending, root)) => {
            run(archive, outbound, scope, request, exchange, sending, root).await
        }
        Err(reply) => reply,
    };
    exchange.reply(reply).await;
}

/// The tenant whose destinations count: its own, for a peer that reads what another one granted to it.
fn home(scope: &Scope) -> Scope {
    let tenant = scope.viewer().and_then(|viewer| viewer.tenant).unwrap_or(scope.tenant());
    Scope::new(tenant, scope.principal().clone(), scope.permissions()).at(scope.peer())
}

/// Looks up the destination, or says why there is none.
async fn begin(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
) -> Result<(Sending, Root), Reply> {
    let root = models::root(&request.context.abstract_syntax);
    let who = &request.association;
    let Operation::Move { destination, priority } = &request.operation else {
        return Err(Reply::new(Status::UNRECOGNISED_OPERATION));
    };
    let Some(title) = destination else {
        let words = "Move Destination is missing or no AE title";
        return Err(Reply::with_comment(DESTINATION_UNKNOWN, words));
    };
    let destination = destination_of(archive, scope, who, title).await?;
    let titles = archive.catalog().tenant_titles(scope).await.unwrap_or_default();
    let mut sending = Sending::new(destination, "move");
    // A tenant's own title is the one that its workstations know.
    let is_own = titles.iter().any(|title| *title == who.called.as_str());
    sending.calling = is_own.then(|| who.called.clone());
    sending.priority = *priority;
    sending.originator = Some(MoveOriginator {
        ae_title: who.calling.clone(),
        message_id: Some(request.message_id),
    });
    Ok((sending, root))
}

async fn destination_of(
    archive: &Archive,
    scope: &Scope,
    who: &AssociationInfo,
    title: &AeTitle,
) -> Result<Destination, Reply> {
    match archive.catalog().destination(scope, title).await {
        Ok(Some(destination)) => Ok(destination),
        Ok(None) => {
            tracing::warn!(
                calling = %who.calling,
                "{} ({}) asked to move objects to {title}, which is not registered as a destination; \
                 register it with `qianli peer add {title} HOST:PORT`",
                who.calling,
                who.peer,
            );
            let words = format!("{title} is not registered here as a destination");
            Err(Reply::with_comment(DESTINATION_UNKNOWN, words))
        }
        Err(error) => {
            tracing::error!(%error, "a move destination cannot be looked up");
            Err(Reply::new(NO_MATCHES_CALCULATED))
        }
    }
}

async fn run(
    archive: &Archive,
    outbound: &Outbound,
    scope: &Scope,
    request: &OperationRequest,
    exchange: &mut Exchange,
    mut sending: Sending,
    root: Root,
) -> Reply {
    let started = Instant::now();
    let syntax = request.context.transfer_syntax;
    let identifier = request.data.as_deref().unwrap_or_default();
    let what = match select(archive, scope, root, identifier, syntax).await {
        Ok(what) => what,
        Err(RetrievalError::Identifier(words)) => {
            return Reply::with_comment(IDENTIFIER_MISMATCH, words);
        }
        Err(RetrievalError::Archive(error)) => {
            tracing::error!(%error, "the objects of a C-MOVE cannot be found");
            return Reply::new(NO_MATCHES_CALCULATED);
        }
    };
    sending.cancel = exchange.cancellation();
    let title = sending.destination.title.clone();
    let mut progress = sending.progress.subscribe();
    let mut ticks = interval(TELL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Instant::now();
    let work = outbound.send(archive, scope, &what, sending);
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            _ = ticks.tick() => {}
        }
        let changed = progress.has_changed().unwrap_or(false);
        if changed || told.elapsed() >= ALIVE {
            let now = *progress.borrow_and_update();
            told = Instant::now();
            exchange.reply(Reply::new(Status::PENDING).counting(counts(&now))).await;
        }
    };
    let delivered = match result {
        Ok(delivered) => delivered,
        Err(error) => {
            tracing::error!(%error, "the objects of a C-MOVE cannot be sent");
            return Reply::new(NO_MATCHES_CALCULATED);
        }
    };
    if delivered.is_empty() && may_look(archive, scope, &what).await {
        return Reply::with_comment(ONLY_TO_LOOK_AT.0, ONLY_TO_LOOK_AT.1);
    }
    let reply = ended(&delivered, exchange.is_cancelled(), syntax.encoding());
    tracing::info!(
        calling = %request.association.calling,
        to = %title,
        objects = delivered.len(),
        duration_ms = started.elapsed().as_millis() as u64,
        "moved for {} to {title}: {} ({} of {} objects arrived)",
        request.association.calling,
        words(reply.status),
        delivered.iter().filter(|one| one.fate.is_there()).count(),
        delivered.len(),
    );
    reply
}

/// Counts as they travel.
pub(super) fn counts(progress: &Progress) -> SubOperations {
    SubOperations {
        remaining: Some(few(progress.remaining)),
        completed: few(progress.sent),
        failed: few(progress.failed),
        warning: few(progress.warned),
    }
}

pub(super) fn few(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// The final response (PS3.4 table C.4-2).
pub(super) fn ended(
    delivered: &[Delivered],
    is_cancelled: bool,
    encoding: qianli_model::syntax::Encoding,
) -> Reply {
    let count = |wanted: fn(&Fate) -> bool| {
        few(delivered.iter().filter(|one| wanted(&one.fate)).count() as u64)
    };
    let left = count(|fate| *fate == Fate::Cancelled);
    let mut counts = SubOperations {
        remaining: None,
        completed: count(|fate| *fate == Fate::Sent),
        failed: count(|fate| matches!(fate, Fate::Failed(_))),
        warning: count(|fate| matches!(fate, Fate::Warned(..))),
    };
    let status = if is_cancelled && left > 0 {
        counts.remaining = Some(left);
        Status::CANCEL
    } else if counts.failed == 0 && counts.warning == 0 {
        Status::SUCCESS
    } else if counts.completed == 0 && counts.warning == 0 {
        NOT_PERFORMED
    } else {
        WITH_FAILURES
    };
    let failures = delivered.iter().filter_map(|one| match &one.fate {
        Fate::Failed(failure) => Some((one.sop_instance.as_str(), failure)),
        _ => None,
    });
    let (failed, reasons): (Vec<&str>, Vec<_>) = failures.unzip();
    let mut reply = Reply::new(status).counting(counts);
    reply.comment = reasons.first().map(|failure| failure.words.clone());
    if !failed.is_empty() {
        reply.data = Some(failed_list(&failed, encoding).into());
    }
    reply
}

#[cfg(test)]
mod tests {
    use qianli_model::SopInstanceUid;
    use qianli_model::syntax::Encoding;

    use super::*;
    use crate::outbound::Failure;

    fn delivered(fates: &[Fate]) -> Vec<Delivered> {
        let uid = |n: usize| SopInstanceUid::parse(&format!("1.2.{n}")).unwrap();
        let one =
            |(n, fate): (usize, &Fate)| Delivered { sop_instance: uid(n), fate: fate.clone() };
        fates.iter().enumerate().map(one).collect()
    }

    #[track_caller]
    fn check(fates: &[Fate], is_cancelled: bool, status: u16, counts: [u16; 4], list: bool) {
        let reply = ended(&delivered(fates), is_cancelled, Encoding::ImplicitLittle);
        assert_eq!(reply.status, Status::new(status), "{fates:?}");
        let told = reply.counts.unwrap();
        let remaining = told.remaining.unwrap_or_default();
        assert_eq!([remaining, told.completed, told.failed, told.warning], counts, "{fates:?}");
        assert_eq!(reply.data.is_some(), list, "{fates:?}");
    }

    #[test]
    fn the_final_status_follows_from_the_fates() {
        let failure = Failure { status: None, words: "no".into(), is_transient: false };
        let failed = || Fate::Failed(failure.clone());
        let warned = || Fate::Warned(Status::new(0xB007), None);
        check(&[], false, 0x0000, [0, 0, 0, 0], false);
        check(&[Fate::Sent, Fate::Sent], false, 0x0000, [0, 2, 0, 0], false);
        check(&[Fate::Sent, failed()], false, 0xB000, [0, 1, 1, 0], true);
        check(&[Fate::Sent, warned()], false, 0xB000, [0, 1, 0, 1], false);
        check(&[failed(), failed()], false, 0xA702, [0, 0, 2, 0], true);
        check(&[Fate::Sent, failed(), Fate::Cancelled], true, 0xFE00, [1, 1, 1, 0], true);
        check(&[Fate::Sent], true, 0x0000, [0, 1, 0, 0], false);
    }
}
