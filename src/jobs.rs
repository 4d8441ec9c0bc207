//! Background work: takes jobs that are due from the catalog and runs them, one at a time.

use std::time::{Duration, Instant};

use anyhow::Context;
use qianli_archive::Purged;
use qianli_catalog::orders::{IMAGES_JOB, MATCH_JOB, Matched};
use qianli_catalog::types::Job;
use qianli_catalog::{Catalog, PURGE_JOB, Retention};
use qianli_model::{Scope, TenantId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, now_ms};
use crate::outbound::connect::Caller;
use crate::services::commitment;

/// How long a worker may keep a job before another takes it for lost.
const LEASE_MS: i64 = 5 * 60_000;

/// How often the queue is looked at when it was empty.
const IDLE: Duration = Duration::from_secs(2);

/// A job that failed this often is left for an operator.
const MAX_ATTEMPTS: i64 = 8;

/// The same for jobs that wait for somebody else's device, which may be off for a weekend: about three
/// days, an hour apart in the end.
const MAX_CALLS: i64 = 80;

/// Devices that are called at a time by jobs.
const CALLS: usize = 16;

/// Removes workitems whose time is over; asks for itself again.
const EXPIRE_JOB: &str = "workitems.expire";

/// Forgets deliveries and orders whose time is over; asks for itself again.
const FORGET_JOB: &str = "records.forget";

/// How often that is done.
const EXPIRE_EVERY_MS: i64 = 3_600_000;

/// How long it is remembered that a device could not be told what is safe here.
const UNTOLD_MS: i64 = 30 * 24 * 3_600_000;

/// Batches of one run. The rest waits for the next, so that other jobs get their turn.
const EXPIRE_BATCHES: u32 = 100;

/// How long event reports wait for a receiver that is away.
const REPORTS_MS: i64 = 7 * 24 * 3_600_000;

/// How long it is remembered that a removed workitem was here.
const MEMORY_MS: i64 = 365 * 24 * 3_600_000;

/// Kind of the job that computes what older rows lack of search words and indexed attributes.
const BACKFILL: &str = "index.backfill";

/// How long one turn of the back-fill may take: other jobs wait for it.
const BACKFILL_TURN: Duration = Duration::from_secs(5);

/// Asks for the back-fill; asking twice is asking once.
///
/// # Errors
///
/// The catalog does not answer.
pub(crate) async fn ask_for_backfill(catalog: &Catalog) -> anyhow::Result<()> {
    let scope = Scope::system(TenantId::DEFAULT, "older rows lack what searches need");
    Ok(catalog.enqueue(&scope, BACKFILL, "all", "{}", now_ms()).await?)
}

/// Works until told to stop. A job under way is finished first.
pub async fn run(app: App, stop: CancellationToken) {
    let worker = format!("{}-{}", app.config.aet, std::process::id());
    let scope = Scope::system(TenantId::DEFAULT, "workitems are kept for a time");
    let asked = app.archive.catalog().enqueue(&scope, EXPIRE_JOB, "", "", now_ms()).await;
    if let Err(error) = asked {
        tracing::warn!(%error, "the removal of finished workitems waits for the next start");
    }
    let scope = Scope::system(TenantId::DEFAULT, "deliveries and orders are kept for a time");
    let asked = app.archive.catalog().enqueue(&scope, FORGET_JOB, "", "", now_ms()).await;
    if let Err(error) = asked {
        tracing::warn!(%error, "old deliveries and orders are kept until the next start");
    }
    let mut calls = JoinSet::new();
    while !stop.is_cancelled() {
        while calls.try_join_next().is_some() {}
        let worked = match app.archive.catalog().claim_job(&worker, LEASE_MS, now_ms()).await {
            Ok(Some(job)) if job.kind == commitment::JOB => {
                // Somebody else's device may take its time; nothing of ours waits for it.
                let app = app.clone();
                calls.spawn(async move { work(&app, &job).await });
                if calls.len() >= CALLS {
                    calls.join_next().await;
                }
                true
            }
            Ok(Some(job)) => {
                work(&app, &job).await;
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "the job queue cannot be read");
                false
            }
        };
        if !worked {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    }
}

async fn work(app: &App, job: &Job) {
    let catalog = app.archive.catalog();
    let result = match job.kind.as_str() {
        // The study has been quiet for a while: say so in the change feed.
        "study.settled" => settle(app, job).await,
        // The grace period of a deletion is over.
        PURGE_JOB => purge(app, job).await,
        EXPIRE_JOB => expire(app, job).await,
        FORGET_JOB => forget(app, job).await,
        BACKFILL => backfill(app, job).await,
        // An order is new or changed: its images may have been here before it.
        MATCH_JOB => match_order(app, job).await,
        // A modality said a while ago that it is done.
        IMAGES_JOB => miss_images(app, job).await,
        // Somebody waits to be told what is safe here.
        commitment::JOB => commitment::report(app, &Caller::of(&app.config), job).await,
        other => Err(anyhow::anyhow!("no handler for jobs of kind {other}")),
    };
    let Err(error) = result else { return };
    let wait = 1000_i64 << job.attempts.clamp(0, 12);
    let most = match job.kind.as_str() {
        commitment::JOB => MAX_CALLS,
        _ => MAX_ATTEMPTS,
    };
    let given_back = catalog.fail_job(job, now_ms().saturating_add(wait), most).await;
    match given_back {
        Ok(true) => tracing::error!(job = job.id, kind = job.kind, %error, "a job failed for good"),
        Ok(false) => {
            tracing::warn!(job = job.id, kind = job.kind, %error, "a job failed; it is tried again")
        }
        Err(failed) => {
            tracing::error!(job = job.id, %error, %failed, "a job could not be given back")
        }
    }
}

/// Sends a study that is quiet on its way, and says so in the change feed. A crash in between does it
/// twice, which is no harm to deliveries, and which readers of the feed must bear anyway.
async fn settle(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let scope = Scope::system(job.tenant, "a study has been quiet");
    let matched = catalog.match_study(&scope, &job.dedupe_key, now_ms()).await?;
    tell(&job.dedupe_key, &matched);
    crate::routing::settled(app, job.tenant, &job.dedupe_key).await?;
    crate::reading::settled(app, job.tenant, &job.dedupe_key).await?;
    catalog.publish(&scope, &job.kind, &job.dedupe_key, "", "", now_ms()).await?;
    Ok(catalog.finish_job(job).await?)
}

/// Matches studies that were here before their order.
async fn match_order(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let scope = Scope::system(job.tenant, "an order is new or changed");
    let order = job.dedupe_key.parse().context("read the number of an order")?;
    for study in catalog.studies_for_order(&scope, order).await? {
        let matched = catalog.match_study(&scope, &study, now_ms()).await?;
        tell(&study, &matched);
    }
    Ok(catalog.finish_job(job).await?)
}

/// Notes for a person that an order was performed and no images came.
async fn miss_images(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let scope = Scope::system(job.tenant, "an order was performed a while ago");
    let order = job.dedupe_key.parse().context("read the number of an order")?;
    if catalog.miss_images(&scope, order, now_ms()).await? {
        tracing::warn!(order, "an order was performed, but no images of it came");
    }
    Ok(catalog.finish_job(job).await?)
}

fn tell(study: &str, matched: &Matched) {
    if !matched.mismatches.is_empty() {
        let what: Vec<&str> = matched.mismatches.iter().map(|kind| kind.as_str()).collect();
        tracing::warn!(study, what = what.join(" "), "a study does not agree with the orders");
    }
}

/// Removes the objects of a deletion. A crash leaves the rest for the next try.
async fn purge(app: &App, job: &Job) -> anyhow::Result<()> {
    let scope = Scope::system(job.tenant, "the grace period of a deletion is over");
    let id = job.dedupe_key.parse().context("read the number of a deletion")?;
    if let Purged::NotBefore(at_ms) = app.archive.purge(&scope, id, now_ms()).await? {
        let catalog = app.archive.catalog();
        catalog.enqueue(&scope, &job.kind, &job.dedupe_key, &job.payload, at_ms).await?;
    }
    Ok(app.archive.catalog().finish_job(job).await?)
}

/// Removes workitems of all tenants whose time is over. Each batch is a transaction of its own, so a crash loses
/// nothing; what is left comes with the next run.
async fn expire(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let kept = app.config.workitem_retention.as_millis();
    let retention = Retention {
        finished_ms: i64::try_from(kept).unwrap_or(i64::MAX),
        reports_ms: REPORTS_MS,
        memory_ms: MEMORY_MS,
    };
    let mut removed = 0;
    for _ in 0..EXPIRE_BATCHES {
        match catalog.expire_workitems(retention, now_ms()).await? {
            0 => break,
            batch => removed += batch,
        }
    }
    if removed > 0 {
        tracing::info!(removed, "workitems whose time was over were removed");
    }
    let scope = Scope::system(job.tenant, "workitems are kept for a time");
    let next = now_ms().saturating_add(EXPIRE_EVERY_MS);
    catalog.enqueue(&scope, &job.kind, &job.dedupe_key, &job.payload, next).await?;
    Ok(catalog.finish_job(job).await?)
}

/// Forgets what was sent long ago, orders that nobody needs, and reports that could not be given. Each batch is a
/// transaction of its own; what is left comes with the next run.
async fn forget(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let before = |kept: Duration| {
        now_ms().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
    };
    let counted = |what: &'static str, number: u64| {
        if number > 0 {
            tracing::info!(number, what, "forgot what was kept for its time");
            metrics::counter!("qianli_forgotten_total", "what" => what).increment(number);
        }
    };
    let (mut deliveries, mut objects) = (0, 0);
    for _ in 0..EXPIRE_BATCHES {
        let done = catalog.forget_deliveries(before(app.config.delivery_retention)).await?;
        deliveries += done.deliveries;
        objects += done.objects;
        if (done.deliveries, done.objects) == (0, 0) {
            break;
        }
    }
    counted("deliveries", deliveries);
    counted("objects of deliveries", objects);
    let mut orders = 0;
    for tenant in catalog.tenants().await? {
        for _ in 0..EXPIRE_BATCHES {
            let done =
                catalog.expire_orders(tenant.id, before(app.config.order_retention), now_ms());
            match done.await? {
                0 => break,
                number => orders += number,
            }
        }
    }
    counted("orders and performed steps", orders);
    let untold = now_ms().saturating_sub(UNTOLD_MS);
    counted("reports of commitment", catalog.forget_dead_jobs(commitment::JOB, untold).await?);
    let scope = Scope::system(job.tenant, "deliveries and orders are kept for a time");
    let next = now_ms().saturating_add(EXPIRE_EVERY_MS);
    catalog.enqueue(&scope, &job.kind, &job.dedupe_key, &job.payload, next).await?;
    Ok(catalog.finish_job(job).await?)
}

/// Works off some of the back-fill and asks for another turn, so that other jobs get theirs.
async fn backfill(app: &App, job: &Job) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let begun = Instant::now();
    while begun.elapsed() < BACKFILL_TURN {
        let Some(step) = catalog.backfill().await? else {
            return Ok(catalog.finish_job(job).await?);
        };
        if step.done {
            tracing::info!(name = step.name, "back-fill: every stored object is in the index");
        }
    }
    for row in catalog.backfills().await?.into_iter().filter(|row| !row.done) {
        let percent = catalog.backfill_percent(&row).await?;
        tracing::info!(name = row.name, through = row.position, percent, "back-fill under way");
    }
    ask_for_backfill(catalog).await?;
    Ok(catalog.finish_job(job).await?)
}
