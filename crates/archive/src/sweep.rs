//! Removes orphans: blobs that no row points at, left by a crash between blob and row.

use std::time::Duration;

use futures_util::TryStreamExt;

use crate::{Archive, ArchiveError};

/// Keys asked of the catalog at once.
const BATCH: usize = 500;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Objects looked at.
    pub seen: u64,
    /// Objects younger than the grace period, left alone.
    pub young: u64,
    /// Orphans found.
    pub orphans: u64,
    /// Bytes of the orphans.
    pub orphan_bytes: u64,
    /// Whether the orphans were removed.
    pub removed: bool,
}

impl Archive {
    /// Looks for blobs without a row that are older than `grace`, and removes them if `remove`.
    ///
    /// Keys are unique per attempt, so an orphan can never become referenced later: `grace` only
    /// has to outlast an ingest that is under way. `now_ms` is the present, ms since 1970.
    ///
    /// # Errors
    ///
    /// The store or the catalog failed; a sweep can be repeated at any time.
    pub async fn sweep(
        &self,
        now_ms: i64,
        grace: Duration,
        remove: bool,
    ) -> Result<Swept, ArchiveError> {
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut swept = Swept { removed: remove, ..Swept::default() };
        let mut batch = Vec::with_capacity(BATCH);
        let mut listed = self.0.blobs.list();
        while let Some(object) = listed.try_next().await? {
            if !object.key.ends_with(".dcm") {
                continue;
            }
            swept.seen += 1;
            if object.modified_ms > now_ms.saturating_sub(grace_ms) {
                swept.young += 1;
                continue;
            }
            batch.push((object.key, object.size));
            if batch.len() == BATCH {
                self.sweep_batch(&mut batch, &mut swept).await?;
            }
        }
        self.sweep_batch(&mut batch, &mut swept).await?;
        Ok(swept)
    }

    async fn sweep_batch(
        &self,
        batch: &mut Vec<(String, u64)>,
        swept: &mut Swept,
    ) -> Result<(), ArchiveError> {
        let keys: Vec<String> = batch.iter().map(|(key, _)| key.clone()).collect();
        let referenced = self.0.catalog.referenced_blobs(&keys).await?;
        for (key, size) in batch.drain(..).filter(|(key, _)| !referenced.contains(key)) {
            swept.orphans += 1;
            swept.orphan_bytes += size;
            if swept.removed {
                self.0.blobs.delete(&key).await?;
                tracing::info!(key, size, "removed an object that no row points at");
            }
        }
        Ok(())
    }
}
