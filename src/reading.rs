//! Reading tasks follow the studies: one is there within a second of a study's first image, and knows when the study is
//! complete. What rules want of a study is decided in the catalog; here is when it is asked.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use anyhow::Context;
use qianli_model::{Scope, TenantId};
use tokio_util::sync::CancellationToken;

use crate::app::{App, now_ms};

/// How often the change feed is looked at.
const IDLE: Duration = Duration::from_millis(500);

/// Events of a tenant that are read at once.
const EVENTS: u32 = 500;

/// Series that are remembered as asked about. A forgotten one is asked about again, which changes nothing.
const REMEMBERED: usize = 8192;

/// Tells the tasks of a study that has been quiet that it is complete, and makes one if a rule wants that.
///
/// # Errors
///
/// The catalog does not answer.
pub(crate) async fn settled(app: &App, tenant: TenantId, study: &str) -> anyhow::Result<()> {
    let scope = Scope::system(tenant, "a study has been quiet");
    follow(app, &scope, study, true).await.context("follow a study for its reading")
}

async fn follow(app: &App, scope: &Scope, study: &str, complete: bool) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let random = || uuid::Uuid::new_v4().as_u128();
    let followed = catalog.follow_reading(scope, study, complete, &random, now_ms()).await?;
    if followed.made {
        tracing::info!(study, complete, "a study became a reading task");
    }
    Ok(())
}

/// Looks into the change feed until told to stop. What is missed when a node dies is made up for when the study is
/// quiet.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let mut seen = Seen::default();
    while !stop.is_cancelled() {
        if let Err(error) = look(&app, &mut seen).await {
            tracing::warn!(%error, "reading tasks wait: the change feed cannot be read");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

/// How far the feeds were read, and which series were asked about.
#[derive(Default)]
struct Seen {
    positions: BTreeMap<i64, i64>,
    series: HashSet<(i64, String)>,
    order: VecDeque<(i64, String)>,
}

impl Seen {
    /// Whether a series is new here.
    fn is_new(&mut self, tenant: TenantId, series: &str) -> bool {
        let key = (tenant.0, series.to_owned());
        if !self.series.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.series.remove(&oldest);
        }
        true
    }

    /// A series that could not be asked about is asked about again.
    fn forget(&mut self, tenant: TenantId, series: &str) {
        let key = (tenant.0, series.to_owned());
        self.series.remove(&key);
        self.order.retain(|known| *known != key);
    }
}

async fn look(app: &App, seen: &mut Seen) -> anyhow::Result<()> {
    let catalog = app.archive.catalog();
    let tenants = catalog.tenants_with_reading_rules().await?;
    seen.positions.retain(|tenant, _| tenants.contains(&TenantId(*tenant)));
    for tenant in tenants {
        let scope = Scope::system(tenant, "a study arrives");
        let Some(position) = seen.positions.get(&tenant.0).copied() else {
            // What is here already becomes a task when its study is quiet.
            seen.positions.insert(tenant.0, catalog.last_event(&scope).await?);
            continue;
        };
        let events = catalog.events_after(&scope, position, EVENTS).await?;
        let mut asked = HashSet::new();
        for event in events.iter().filter(|event| event.kind == "instance.stored") {
            if !seen.is_new(tenant, &event.series) || !asked.insert(event.study.as_str()) {
                continue;
            }
            if let Err(error) = follow(app, &scope, &event.study, false).await {
                seen.forget(tenant, &event.series);
                return Err(error);
            }
        }
        if let Some(last) = events.last() {
            seen.positions.insert(tenant.0, last.sequence);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_asked_about_once_and_the_memory_is_bounded() {
        let mut seen = Seen::default();
        assert!(seen.is_new(TenantId(1), "1.2") && !seen.is_new(TenantId(1), "1.2"));
        assert!(seen.is_new(TenantId(2), "1.2"), "of another tenant it is another one");
        seen.forget(TenantId(1), "1.2");
        assert!(seen.is_new(TenantId(1), "1.2"));
        for number in 0..2 * REMEMBERED {
            seen.is_new(TenantId(1), &number.to_string());
        }
        assert_eq!((seen.series.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert!(seen.is_new(TenantId(1), "1.2"), "the oldest are forgotten");
    }
}
