//! Storage commitment of what was sent on to DICOM peers (PS3.4 annex J): asks, takes the report on the same
//! association or lets it come on another (`src/services/commitment.rs`), and asks again when it does not come.

use std::time::{Duration, Instant};

use qianli_catalog::Catalog;
use qianli_catalog::routing::{Asking, Delivery, Report};
use qianli_catalog::types::Location;
use qianli_dimse::scu::{EventReport, Normalised, ScuError};
use qianli_dimse::{ProposedContext, Status};
use qianli_model::{AeTitle, Scope, TransferSyntax};

use super::{Router, Trouble};
use crate::app::now_ms;
use crate::commitment::{COMMITMENT, Outcome, WELL_KNOWN, new_transaction, reason_words, request};
use crate::outbound::CallError;

/// Objects of one request: some peers take no long lists.
const MOST: usize = 1000;

/// How long the association that asked is kept for the report.
const SAME_ASSOCIATION: Duration = Duration::from_secs(10);

/// How often it is looked whether the report came on another association meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// How often a destination is asked before a person has to look.
const MOST_ASKED: i64 = 6;

/// The longest time that a destination gets for its report, unless the settings say more (ms).
const LONGEST_MS: i64 = 24 * 3_600_000;

/// What became of a question.
pub(super) enum Asked {
    /// It was asked; what it answered so far is in the catalog.
    Done,
    /// It is to be tried again; why.
    Later(String),
    /// It makes no sense to try again; why.
    Never(String),
}

/// Asks a peer whether it keeps objects. `asked` is how often it was asked before.
pub(super) async fn ask(
    router: &Router,
    scope: &Scope,
    delivery: &Delivery,
    title: &AeTitle,
    (objects, asked): (&[Location], i64),
) -> Result<Asked, Trouble> {
    let catalog = router.app.archive.catalog();
    if asked >= MOST_ASKED {
        return Ok(Asked::Never(format!(
            "{title} was asked {asked} times whether it keeps {} objects and did not say so",
            objects.len()
        )));
    }
    let Some(destination) = catalog.destination(scope, title).await? else {
        return Ok(Asked::Later(format!("no address is registered for {title}")));
    };
    // The only syntax that every peer has to take (PS3.5 section 10.1).
    let contexts = [ProposedContext::new(COMMITMENT, [TransferSyntax::IMPLICIT_LITTLE])];
    let mut association = match router.app.outbound.caller().call(&destination, &contexts).await {
        Ok(association) => association,
        Err(CallError::Scu(ScuError::NoContextAccepted)) => {
            return Ok(Asked::Never(format!(
                "{title} has everything, but offers no storage commitment, which a rule asks for"
            )));
        }
        Err(error) => return Ok(Asked::Later(format!("storage commitment: {error}"))),
    };
    let Some(context) = association.contexts().first().map(|one| one.id) else {
        return Ok(Asked::Later("no presentation context".into()));
    };
    let mut waiting = Vec::new();
    for some in objects.chunks(MOST) {
        let transaction = new_transaction();
        let now_ms = now_ms();
        let until_ms = now_ms.saturating_add(time_for_report(router, asked));
        let times = asked.saturating_add(1);
        let asking = Asking {
            transaction: &transaction,
            title,
            objects: some,
            asked: times,
            until_ms,
            now_ms,
        };
        // Before it is asked: the report may be faster than our next line.
        catalog.ask_commitment(delivery, &asking).await?;
        let instances = some.iter().map(|one| (one.sop_class.as_str(), one.instance.as_str()));
        let data = request(&transaction, instances);
        let action = Normalised::Action(1);
        let reply = association.invoke(context, &action, None, Some(WELL_KNOWN), Some(&data)).await;
        let refused = match reply {
            Ok(reply) if reply.answer.status.is_done() => None,
            Ok(reply) => {
                let words = reply.answer.comment.unwrap_or_default();
                let status = reply.answer.status;
                let text = format!("{title} refuses storage commitment with {status} {words}");
                Some(match is_transient(status) {
                    true => Asked::Later(text),
                    false => Asked::Never(text),
                })
            }
            Err(error) => Some(Asked::Later(format!("storage commitment: {error}"))),
        };
        if let Some(refused) = refused {
            catalog.drop_commitment(&transaction).await?;
            return Ok(refused);
        }
        waiting.push(transaction);
    }
    tracing::info!(delivery = delivery.id, to = %title, objects = objects.len(), "asked for storage commitment");
    let until = Instant::now() + SAME_ASSOCIATION.min(router.app.config.commitment_wait);
    while !waiting.is_empty() && Instant::now() < until {
        match association.event_report_within(LOOK).await {
            Ok(Some(report)) => hear(router, scope, title, &report).await?,
            Ok(None) => {}
            // It will come on another association, or it is asked again.
            Err(error) => {
                tracing::debug!(%error, "no report on the association that asked");
                return Ok(Asked::Done);
            }
        }
        let mut still = Vec::new();
        for one in waiting {
            if catalog.commitment_waits(&one).await? {
                still.push(one);
            }
        }
        waiting = still;
    }
    // How it says good-bye changes nothing.
    let _ = association.release().await;
    Ok(Asked::Done)
}

/// Milliseconds that a destination gets for its report: twice as many each time.
fn time_for_report(router: &Router, asked: i64) -> i64 {
    let first = i64::try_from(router.app.config.commitment_wait.as_millis()).unwrap_or(LONGEST_MS);
    let factor = 1_i64 << asked.clamp(0, 20);
    first.saturating_mul(factor).min(LONGEST_MS.max(first))
}

/// Whether asking again can help: processing failure, out of resources (PS3.7 annex C).
fn is_transient(status: Status) -> bool {
    matches!(status.code(), 0x0110 | 0x0213 | 0xA700..=0xA7FF)
}

async fn hear(
    router: &Router,
    scope: &Scope,
    title: &AeTitle,
    report: &EventReport,
) -> Result<(), Trouble> {
    let data = report.data.as_deref().unwrap_or_default();
    let wait = router.app.config.commitment_wait;
    match Outcome::read(data, TransferSyntax::IMPLICIT_LITTLE) {
        Ok(outcome) => {
            take(router.app.archive.catalog(), scope, title, outcome, wait).await?;
        }
        Err(error) => tracing::warn!(peer = %title, "a report cannot be read: {error:#}"),
    }
    Ok(())
}

/// Takes the report of a peer, on whichever association it came. False when nobody waits for it. Nothing is sent
/// again before a sixtieth of the time that a report may take is over: some archives look before they are done.
pub(crate) async fn take(
    catalog: &Catalog,
    scope: &Scope,
    title: &AeTitle,
    outcome: Outcome,
    commitment_wait: Duration,
) -> Result<bool, qianli_catalog::CatalogError> {
    let failed: Vec<_> = outcome
        .failed
        .into_iter()
        .map(|(sop, reason)| {
            // Of another class, or of one that is not kept: that does not change.
            let helps = !matches!(reason, Some(0x0119 | 0x0122));
            let code = reason.map(|code| format!(" ({code:04X}H)")).unwrap_or_default();
            (sop, format!("{}{code}", reason_words(reason)), helps)
        })
        .collect();
    let report = Report { transaction: outcome.transaction, committed: outcome.committed, failed };
    let pause = i64::try_from(commitment_wait.as_millis() / 60).unwrap_or(i64::MAX);
    let (kept, not) = (report.committed.len(), report.failed.len());
    let taken = catalog.commitment_reported(scope, title, &report, (pause, now_ms())).await?;
    if taken {
        tracing::info!(peer = %title, kept, not, "a destination reported what it keeps");
        metrics::counter!("qianli_commitment_objects_total", "result" => "kept")
            .increment(kept as u64);
        metrics::counter!("qianli_commitment_objects_total", "result" => "not")
            .increment(not as u64);
    }
    Ok(taken)
}
