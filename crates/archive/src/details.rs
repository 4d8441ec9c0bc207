//! Remembers where the frames of recently asked instances are, and looks ahead: whoever scrolls
//! through a series should not wait for the catalog at every image.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qianli_catalog::types::Detail;
use qianli_model::{Permission, Scope, SeriesUid, SopInstanceUid, StudyUid, TenantId};
use tokio::sync::Semaphore;

use crate::key::guard;
use crate::{Archive, ArchiveError, in_time, permit};

/// How long a cached detail may be used: an instance superseded through another node is seen after
/// this at the latest.
const FRESH: Duration = Duration::from_secs(5);

/// So many instances of a series, asked for within [`FRESH`] and not remembered, announce the others.
const SCROLLING: u32 = 3;

/// Looks ahead at once; there is no queue.
const LOOKS: usize = 2;

type Key = (TenantId, StudyUid, SeriesUid, SopInstanceUid);

/// Details within a budget of bytes.
pub(crate) struct DetailCache {
    entries: quick_cache::sync::Cache<Key, (Instant, Arc<Detail>), Weight>,
    /// Since when, and how often, instances of a series were not remembered.
    missed: quick_cache::sync::Cache<(TenantId, SeriesUid), (Instant, u32)>,
    looks: Arc<Semaphore>,
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Key, (Instant, Arc<Detail>)> for Weight {
    fn weight(&self, _key: &Key, (_, detail): &(Instant, Arc<Detail>)) -> u64 {
        let frames = match &detail.frames {
            qianli_model::FrameTable::Encapsulated { frames } => frames.len() * 48,
            _ => 0,
        };
        (512 + detail.json.len() + frames + detail.bulk.len() * 96) as u64
    }
}

impl DetailCache {
    /// A cache for about `instances` typical entries.
    pub(crate) fn new(instances: usize) -> Self {
        let bytes = instances as u64 * 8192;
        Self {
            entries: quick_cache::sync::Cache::with_weighter(instances, bytes, Weight),
            missed: quick_cache::sync::Cache::new(256),
            looks: Arc::new(Semaphore::new(LOOKS)),
        }
    }

    /// Drops what is remembered of an instance.
    pub(crate) fn forget(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) {
        self.entries.remove(&(scope.tenant(), study.clone(), series.clone(), instance.clone()));
    }

    /// Counts an instance that was not remembered. True when its series is being gone through.
    fn is_scrolling(&self, key: &Key) -> bool {
        let series = (key.0, key.2.clone());
        let (since, count) = match self.missed.get(&series) {
            Some((since, count)) if since.elapsed() < FRESH => (since, count + 1),
            _ => (Instant::now(), 1),
        };
        let is_scrolling = count >= SCROLLING;
        self.missed.insert(series, (since, if is_scrolling { 0 } else { count }));
        is_scrolling
    }
}

impl Archive {
    /// Returns location, frames and bulk values of one instance, or `None` when it is not there.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn detail(
        &self,
        scope: &Scope,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Option<Arc<Detail>>, ArchiveError> {
        permit(scope, Permission::Read)?;
        // What was revoked is gone at once: for viewers the grants are asked each time.
        if scope.viewer().is_some() {
            let found = in_time(self.0.catalog.detail(scope, study, series, instance)).await?;
            return Ok(found.map(Arc::new));
        }
        let key = (scope.tenant(), study.clone(), series.clone(), instance.clone());
        let cache = &self.0.details;
        if let Some((at, detail)) = cache.entries.get(&key)
            && at.elapsed() < FRESH
        {
            guard(scope, [detail.location.blob_key.as_str()])?;
            return Ok(Some(detail));
        }
        let found = in_time(self.0.catalog.detail(scope, study, series, instance)).await?;
        guard(scope, found.iter().map(|detail| detail.location.blob_key.as_str()))?;
        let found = found.map(Arc::new);
        match &found {
            Some(detail) => {
                if cache.is_scrolling(&key) {
                    self.look_ahead(scope, &key);
                }
                cache.entries.insert(key, (Instant::now(), Arc::clone(detail)));
            }
            None => drop(cache.entries.remove(&key)),
        }
        Ok(found)
    }

    /// Fetches the details around an instance while the caller goes on. Only a help: when there is
    /// no room or the catalog fails, they are asked for one by one.
    fn look_ahead(&self, scope: &Scope, key: &Key) {
        let Ok(permit) = Arc::clone(&self.0.details.looks).try_acquire_owned() else { return };
        let (archive, scope, (tenant, study, series, instance)) =
            (self.clone(), scope.clone(), key.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let catalog = &archive.0.catalog;
            let asked = Instant::now();
            let around = in_time(catalog.neighbours(&scope, &study, &series, &instance)).await;
            for detail in around.unwrap_or_default() {
                if guard(&scope, [detail.location.blob_key.as_str()]).is_err() {
                    return;
                }
                let key = (tenant, study.clone(), series.clone(), detail.location.instance.clone());
                archive.0.details.entries.insert(key, (asked, Arc::new(detail)));
            }
        });
    }
}

#[cfg(test)]
impl Archive {
    /// How many details are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.0.details.entries.len()
    }
}
