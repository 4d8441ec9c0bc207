//! When something outside took an object away: noticing it, healing it with the next copy that is
//! sent, and making the rows again when the index was lost.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use qianli_catalog::Copied;
use qianli_catalog::types::{DuplicatePolicy, Location, NewInstance, Recorded};
use qianli_model::{Provenance, Route, Scope, SeriesUid, SopInstanceUid, StudyUid, TenantId};

use crate::ingest::{Format, Parsed, Reading, now_ms, parse};
use crate::{Archive, ArchiveError, BlobError, in_time, tombstone};

/// Rows looked up at once, and objects whose presence is asked at once.
const BATCH: u32 = 500;
const ASKED_AT_ONCE: usize = 16;

/// Longest list of lost objects that is kept for a person; all are counted.
const LISTED: usize = 100;

/// Largest key of a tenant that is believed: the next one is counted from it.
const MOST_TENANTS: i64 = 1_000_000_000;

/// What a look at the rows found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Rows looked at.
    pub rows: u64,
    /// Rows whose object is not in the store, or has another length.
    pub lost: u64,
    /// The first of them.
    pub listed: Vec<Location>,
}

/// What making the rows again did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Objects looked at.
    pub seen: u64,
    /// Objects that had a row.
    pub known: u64,
    /// Objects that have a row again.
    pub recorded: u64,
    /// Objects whose content some other object holds as well; the sweep finds them.
    pub copies: u64,
    /// Objects that were deleted and are left so.
    pub deleted: u64,
    /// Objects that cannot be read, with the reason; the first of them.
    pub damaged: Vec<(String, String)>,
    /// How many cannot be read.
    pub damaged_count: u64,
    /// Tenants that had no row any more.
    pub tenants: Vec<TenantId>,
}

impl Archive {
    /// Whether the object of a row is in the store with its length.
    pub(crate) async fn is_whole(&self, location: &Location) -> Result<bool, BlobError> {
        Ok(self.0.blobs.size(&location.blob_key).await? == Some(location.blob_size))
    }

    /// After the catalog said that a content is here already: makes sure that it is. When its object
    /// was lost, the copy that was just written takes its place. Returns whether it did.
    pub(crate) async fn heal(
        &self,
        scope: &Scope,
        (study, series, instance): (&StudyUid, &SeriesUid, &SopInstanceUid),
        content_hash: &str,
        copy: &Copied,
    ) -> Result<bool, ArchiveError> {
        let catalog = &self.0.catalog;
        let versions = in_time(catalog.instance_versions(scope, study, series, instance)).await?;
        let Some(row) = versions.into_iter().find(|row| row.content_hash == content_hash) else {
            // Deleted in this moment: the copy is not needed.
            return Ok(false);
        };
        if row.blob_key == copy.blob_key || self.is_whole(&row).await? {
            return Ok(false);
        }
        let healed = in_time(catalog.relocate(&row, copy)).await?;
        if healed {
            self.0.details.forget(scope, study, series, instance);
            tracing::warn!(
                key = row.blob_key,
                new_key = copy.blob_key,
                "an object was lost from the store; the copy that arrived now takes its place"
            );
            metrics::counter!("qianli_healed_objects_total").increment(1);
        }
        Ok(healed)
    }

    /// Looks whether every row's object is in the store with its length, or only the newest `most`.
    ///
    /// # Errors
    ///
    /// The catalog or the store failed.
    pub async fn check_objects(&self, most: Option<u64>) -> Result<Checked, ArchiveError> {
        let newest_first = most.is_some();
        let most = most.unwrap_or(u64::MAX);
        let mut checked = Checked::default();
        let mut after = if newest_first { i64::MAX } else { 0 };
        while checked.rows < most {
            let limit = u64::from(BATCH).min(most - checked.rows);
            let limit = u32::try_from(limit).unwrap_or(BATCH);
            let page = in_time(self.0.catalog.rows_after(after, limit, newest_first)).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            checked.rows += page.len() as u64;
            let lost: Vec<Location> = stream::iter(page)
                .map(|(_, row)| async move {
                    let whole = self.is_whole(&row).await?;
                    Ok::<_, ArchiveError>((!whole).then_some(row))
                })
                .buffered(ASKED_AT_ONCE)
                .try_filter_map(|lost| async move { Ok(lost) })
                .try_collect()
                .await?;
            checked.lost += lost.len() as u64;
            let room = LISTED.saturating_sub(checked.listed.len());
            checked.listed.extend(lost.into_iter().take(room));
        }
        Ok(checked)
    }

    /// Makes rows for objects that have none, in the order in which the objects were written, so
    /// that of several contents the last one answers again. Objects stay where they are. What was
    /// deleted and not yet removed stays deleted, unless `with_deleted`. What the store cannot tell
    /// (who sent an object) is not brought back. Each object returns to the tenant that its key names,
    /// whose row is made where it was lost too; the scope says who does it.
    ///
    /// `progress` hears of every object that is done.
    ///
    /// # Errors
    ///
    /// The catalog or the store failed; it can be repeated, what is done stays done.
    pub async fn rebuild(
        &self,
        scope: &Scope,
        with_deleted: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Rebuilt, ArchiveError> {
        let mut rebuilt = Rebuilt::default();
        let mut orphans = Vec::new();
        let mut batch = Vec::new();
        let mut deleted = HashSet::new();
        let mut listed = self.0.blobs.list();
        loop {
            let object = listed.try_next().await?;
            let done = object.is_none();
            if let Some(object) = object.as_ref().filter(|object| tombstone::is_one(object)) {
                self.read_buried(object, &mut deleted).await?;
            }
            if let Some(object) = object.filter(|object| object.key.ends_with(".dcm")) {
                rebuilt.seen += 1;
                batch.push(object);
            }
            if done || batch.len() >= BATCH as usize {
                let keys: Vec<String> = batch.iter().map(|object| object.key.clone()).collect();
                let known = in_time(self.0.catalog.referenced_blobs(&keys)).await?;
                rebuilt.known += known.len() as u64;
                orphans.extend(batch.drain(..).filter(|object| !known.contains(&object.key)));
            }
            if done {
                break;
            }
        }
        if !with_deleted {
            let all = orphans.len();
            orphans.retain(|object| !deleted.contains(&object.key));
            rebuilt.deleted = (all - orphans.len()) as u64;
        }
        orphans.sort_by(|a, b| (a.modified_ms, &a.key).cmp(&(b.modified_ms, &b.key)));
        let total = orphans.len() as u64;
        let mut tenants = HashSet::from([TenantId::DEFAULT]);
        for (done, object) in (1..).zip(orphans) {
            let Some(tenant) = tenant_of(&object.key) else {
                rebuilt.damaged_count += 1;
                if rebuilt.damaged.len() < LISTED {
                    rebuilt.damaged.push((object.key, "its key names no tenant".to_owned()));
                }
                continue;
            };
            if tenants.insert(tenant) {
                let made = self.0.catalog.restore_tenant(tenant, now_ms()).await?;
                rebuilt.tenants.extend(made.then_some(tenant));
            }
            let scope = &Scope::new(tenant, scope.principal().clone(), scope.permissions());
            match self.record_again(scope, &object.key, object.size, object.modified_ms).await {
                Ok(Recorded::AlreadyHere | Recorded::RefusedDuplicate) => rebuilt.copies += 1,
                Ok(_) => rebuilt.recorded += 1,
                Err(ArchiveError::Damaged(reason)) => {
                    rebuilt.damaged_count += 1;
                    if rebuilt.damaged.len() < LISTED {
                        rebuilt.damaged.push((object.key, reason));
                    }
                }
                Err(other) => return Err(other),
            }
            progress(done, total);
        }
        Ok(rebuilt)
    }

    async fn record_again(
        &self,
        scope: &Scope,
        key: &str,
        size: u64,
        modified_ms: i64,
    ) -> Result<Recorded, ArchiveError> {
        let damaged = |cause: &dyn std::fmt::Display| ArchiveError::Damaged(cause.to_string());
        let provenance = Provenance::new(Route::Rebuild, "");
        let (header, data_set_offset, content_hash) = {
            let mut spool = self.spool();
            let mut stream = self.0.blobs.stream(key, 0..size).await?;
            while let Some(chunk) = stream.try_next().await? {
                spool.write(chunk).await.map_err(|refusal| damaged(&refusal))?;
            }
            let spooled = spool.finish().await.map_err(|refusal| damaged(&refusal))?;
            let reading = Reading::of(&self.0.config, &provenance);
            let parsed = parse(&self.0.parsing, spooled, &Format::Part10, reading).await;
            let (_, Parsed { header, data_set_offset, content_hash, memory: _memory, .. }) =
                parsed.map_err(|error| damaged(&error))?;
            (header, data_set_offset, content_hash)
        };
        let new = NewInstance {
            header,
            blob_key: key.to_owned(),
            content_hash,
            blob_size: size,
            data_set_offset,
            provenance,
            received_ms: modified_ms,
            policy: DuplicatePolicy::KeepBoth,
        };
        Ok(self.0.catalog.record(scope, new).await?)
    }
}

/// The tenant that a key names, if it can be one of ours.
fn tenant_of(key: &str) -> Option<TenantId> {
    let (tenant, _) = key.split_once('/')?;
    tenant.parse().ok().filter(|id| (1..=MOST_TENANTS).contains(id)).map(TenantId)
}
