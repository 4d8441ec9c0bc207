//! Sends studies on as the rules of their tenants say (`docs/decisions/0021-routing.md`).
//!
//! A study that has been quiet makes deliveries, one for each destination (`settled`, called by its job). Studies that
//! some rule sends at once are found in the change feed meanwhile (`watch`): what that misses in a crash is made
//! up for when the study is quiet. Workers of every node claim deliveries that are due and lease them; what a
//! destination acknowledged is noted as it comes, so that only the rest is sent again.

mod commit;
mod dicom;
mod reach;
mod web;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use qianli_catalog::routing::{Delivery, Ended, Left, Said};
use qianli_catalog::types::Location;
use qianli_model::routing::Goal;
use qianli_model::{Scope, TenantId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, now_ms};
use commit::Asked;

pub(crate) use commit::take as take_report;

/// Deliveries of a node at a time. To one destination there is one at a time, of all nodes.
const PARALLEL: usize = 4;

/// How long a worker may keep a delivery without a sign of life before another takes it for lost.
const LEASE_MS: i64 = 30_000;

/// How often it gives one.
const SIGN: Duration = Duration::from_secs(10);

/// How often it is looked for work when there was none.
const IDLE: Duration = Duration::from_secs(1);

/// Objects whose fate is noted together: at most these are sent twice when a node dies.
const BATCH: usize = 32;

/// The pause after the first failure; each next one is twice as long.
const FIRST_PAUSE_MS: i64 = 2_000;

/// The longest pause.
const LONGEST_PAUSE_MS: i64 = 15 * 60_000;

/// What failed this often, about a day, waits for a person.
const MAX_ATTEMPTS: i64 = 100;

/// Events of a tenant that are read at once.
const EVENTS: u32 = 500;

/// What became of some objects.
enum Sent {
    /// The destination said something about each of them.
    Done,
    /// It is to be tried again; why.
    Later(String),
}

/// Makes the deliveries of a study that has been quiet.
///
/// # Errors
///
/// The catalog does not answer.
pub(crate) async fn settled(app: &App, tenant: TenantId, study: &str) -> anyhow::Result<()> {
    let scope = Scope::system(tenant, "a study has been quiet");
    let planned = app.archive.catalog().plan_deliveries(&scope, study, true, now_ms()).await;
    let planned = planned.context("plan deliveries")?;
    if planned > 0 {
        tracing::info!(study, destinations = planned, "a study is sent on");
    }
    Ok(())
}

/// Works until told to stop. What is under way then is given back, and goes on with the next start.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let worker = format!("{}-{}-{}", app.config.aet, std::process::id(), now_ms());
    let web = match web::Client::new(&app.config.private_destinations) {
        Ok(web) => web,
        Err(error) => {
            tracing::error!(%error, "no HTTP client: nothing is sent on");
            stop.cancelled().await;
            return;
        }
    };
    let watching = tokio::spawn(watch(app.clone(), stop.clone()));
    let router = Router { app, web, worker, stop };
    let mut running = JoinSet::new();
    while !router.stop.is_cancelled() {
        let mut found = false;
        if running.len() < PARALLEL {
            let catalog = router.app.archive.catalog();
            match catalog.claim_delivery(&router.worker, LEASE_MS, now_ms()).await {
                Ok(Some(delivery)) => {
                    found = true;
                    let router = router.clone();
                    running.spawn(async move { router.work(&delivery).await });
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the deliveries cannot be read"),
            }
        }
        if found {
            continue;
        }
        tokio::select! {
            () = router.stop.cancelled() => {}
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
    while running.join_next().await.is_some() {}
    watching.abort();
}

#[derive(Clone)]
struct Router {
    app: App,
    web: web::Client,
    worker: String,
    stop: CancellationToken,
}

impl Router {
    /// Works on a delivery as long as it is leased, and gives it back.
    async fn work(&self, delivery: &Delivery) {
        let catalog = self.app.archive.catalog();
        let ended = tokio::select! {
            ended = self.send_all(delivery) => ended,
            () = self.lost(delivery) => {
                tracing::warn!(delivery = delivery.id, "another worker took a delivery");
                return;
            }
            () = self.stop.cancelled() => Ok(Ended::Again(now_ms())),
        };
        let ended = match ended {
            Ok(Ended::Retry(_, words)) | Err(Trouble(words)) => again(delivery, words),
            Ok(ended) => ended,
        };
        let (id, to, study) = (delivery.id, delivery.to.to_string(), delivery.study.as_str());
        match &ended {
            Ended::Delivered => tracing::info!(delivery = id, to, study, "a study was sent on"),
            Ended::Failed(words) => {
                tracing::error!(delivery = id, to, study, words, "a study could not be sent on");
            }
            Ended::Retry(_, words) => {
                tracing::warn!(delivery = id, to, study, words, "sending a study on waits");
            }
            Ended::Committed => tracing::info!(delivery = id, to, study, "a study is kept there"),
            Ended::Committing(_) => {
                tracing::info!(
                    delivery = id,
                    to,
                    study,
                    "a study was sent on and waits for commitment"
                );
            }
            Ended::Again(_) => {}
        }
        if let Err(error) = catalog.end_delivery(delivery, &self.worker, &ended, now_ms()).await {
            tracing::warn!(delivery = id, %error, "a delivery could not be given back");
        }
    }

    /// Keeps the lease; returns when it is lost.
    async fn lost(&self, delivery: &Delivery) {
        let catalog = self.app.archive.catalog();
        loop {
            tokio::time::sleep(SIGN).await;
            let until = now_ms().saturating_add(LEASE_MS);
            // A catalog that is away is away for the others too.
            if let Ok(false) = catalog.keep_delivery(delivery, &self.worker, until).await {
                return;
            }
        }
    }

    async fn send_all(&self, delivery: &Delivery) -> Result<Ended, Trouble> {
        let catalog = self.app.archive.catalog();
        // What was tried once is not tried again within one turn, whatever became of it.
        let mut tried = HashSet::new();
        let mut has_asked = false;
        loop {
            let mut left = catalog.left_of(delivery, now_ms()).await?;
            let all = left.now.len();
            left.now
                .retain(|one| !tried.contains(&(one.instance.clone(), one.content_hash.clone())));
            if left.now.is_empty() && !left.ask.is_empty() && !has_asked {
                has_asked = true;
                match self.ask(delivery, &left).await? {
                    Asked::Done => continue,
                    Asked::Later(words) => return Ok(Ended::Retry(0, words)),
                    Asked::Never(words) => return Ok(Ended::Failed(words)),
                }
            }
            if left.now.is_empty() {
                if all > 0 || !left.ask.is_empty() {
                    let words = "some objects were neither taken nor refused";
                    return Ok(Ended::Retry(0, words.into()));
                }
                return Ok(end_of(&left));
            }
            tried.extend(
                left.now.iter().map(|one| (one.instance.clone(), one.content_hash.clone())),
            );
            if let Sent::Later(words) = self.send(delivery, left.now).await? {
                return Ok(Ended::Retry(0, words));
            }
        }
    }

    async fn send(&self, delivery: &Delivery, objects: Vec<Location>) -> Result<Sent, Trouble> {
        let scope = Scope::system(delivery.tenant, "objects are sent on by rules");
        match &delivery.to {
            Goal::Peer(title) => dicom::send(self, &scope, delivery, title, objects).await,
            Goal::Web(name) => web::send(self, &scope, delivery, name, objects).await,
        }
    }

    /// Asks whether the destination keeps what it took.
    async fn ask(&self, delivery: &Delivery, left: &Left) -> Result<Asked, Trouble> {
        let scope = Scope::system(delivery.tenant, "objects are sent on by rules");
        match &delivery.to {
            Goal::Peer(title) => {
                commit::ask(self, &scope, delivery, title, (&left.ask, left.asked)).await
            }
            Goal::Web(_) => Ok(Asked::Never("DICOMweb has no storage commitment".into())),
        }
    }

    async fn note(&self, delivery: &Delivery, said: &[Said]) -> Result<(), Trouble> {
        Ok(self.app.archive.catalog().note_delivered(delivery, said, now_ms()).await?)
    }
}

/// Something of ours failed, in words.
struct Trouble(String);

impl<E: std::fmt::Display> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Where a delivery stands of which nothing can be sent now.
fn end_of(left: &Left) -> Ended {
    match (left.later_ms, left.asked_until_ms) {
        (Some(at), until) => Ended::Again(until.map_or(at, |until| at.min(until))),
        (None, Some(until)) => Ended::Committing(until),
        (None, None) if left.refused > 0 => Ended::Failed(format!(
            "{} objects were refused, one of them with: {}",
            left.refused, left.words
        )),
        (None, None) if left.committed > 0 => Ended::Committed,
        (None, None) => Ended::Delivered,
    }
}

/// The next try, or the end of trying.
fn again(delivery: &Delivery, words: String) -> Ended {
    if delivery.attempts >= MAX_ATTEMPTS {
        return Ended::Failed(words);
    }
    let factor = 1_i64 << delivery.attempts.clamp(0, 20);
    let pause = FIRST_PAUSE_MS.saturating_mul(factor).min(LONGEST_PAUSE_MS);
    Ended::Retry(now_ms().saturating_add(pause), words)
}

/// Makes deliveries of studies that some rule sends at once, as their objects come.
async fn watch(app: App, stop: CancellationToken) {
    let mut seen: BTreeMap<i64, i64> = BTreeMap::new();
    while !stop.is_cancelled() {
        if let Err(error) = look(&app, &mut seen).await {
            tracing::warn!(%error, "the change feed cannot be read: rules that send at once wait");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

async fn look(app: &App, seen: &mut BTreeMap<i64, i64>) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let tenants = catalog.tenants_routing_at_once().await?;
    seen.retain(|tenant, _| tenants.contains(&TenantId(*tenant)));
    for tenant in tenants {
        let scope = Scope::system(tenant, "objects are sent on as they come");
        let Some(position) = seen.get(&tenant.0).copied() else {
            // What is here already goes when its study is quiet.
            seen.insert(tenant.0, catalog.last_event(&scope).await?);
            continue;
        };
        let events = catalog.events_after(&scope, position, EVENTS).await?;
        let mut studies = HashSet::new();
        for event in &events {
            let came = matches!(event.kind.as_str(), "instance.stored" | "instance.superseded");
            if came && studies.insert(event.study.as_str()) {
                catalog.plan_deliveries(&scope, &event.study, false, now_ms()).await?;
            }
        }
        if let Some(last) = events.last() {
            seen.insert(tenant.0, last.sequence);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let delivery = |attempts| Delivery {
            id: 1,
            tenant: TenantId(1),
            to: "web:a".parse().expect("a destination"),
            study: "1.2.3".into(),
            settled: true,
            attempts,
            revision: 0,
        };
        let pause = |attempts| match again(&delivery(attempts), "away".into()) {
            Ended::Retry(at, words) => {
                assert_eq!(words, "away");
                at - now_ms()
            }
            other => panic!("{other:?}"),
        };
        let near = |pause: i64, expected: i64| assert!((pause - expected).abs() < 1000, "{pause}");
        near(pause(0), 2_000);
        near(pause(3), 16_000);
        near(pause(99), LONGEST_PAUSE_MS);
        assert_eq!(again(&delivery(100), "away".into()), Ended::Failed("away".into()));
    }
}
