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
    /// So much of the store has no row that the index is rather lost, or another's: nothing was
    /// removed.
    pub doubtful: bool,
}

/// How a sweep treats what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepMode {
    /// Only count.
    Look,
    /// Remove orphans, unless they are so many that the index cannot be the right one.
    Remove,
    /// Remove orphans however many they are.
    Force,
}

/// More orphans than this, and more than one object in [`DOUBTFUL_SHARE`], are not what crashes leave.
const DOUBTFUL_COUNT: u64 = 16;

/// See [`DOUBTFUL_COUNT`].
const DOUBTFUL_SHARE: u64 = 20;

impl Archive {
    /// Looks for blobs without a row that are older than `grace`, and removes them as `mode` says.
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
        mode: SweepMode,
    ) -> Result<Swept, ArchiveError> {
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut swept = Swept::default();
        let mut orphans = Vec::new();
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
                self.find_orphans(&mut batch, &mut orphans).await?;
            }
        }
        self.find_orphans(&mut batch, &mut orphans).await?;
        swept.orphans = orphans.len() as u64;
        swept.orphan_bytes = orphans.iter().map(|(_, size)| size).sum();
        swept.doubtful = swept.orphans == swept.seen && swept.orphans > 0
            || swept.orphans > DOUBTFUL_COUNT && swept.orphans > swept.seen / DOUBTFUL_SHARE;
        let remove = mode == SweepMode::Force || mode == SweepMode::Remove && !swept.doubtful;
        if remove {
            for (key, size) in orphans {
                self.0.blobs.delete(&key).await?;
                tracing::info!(key, size, "removed an object that no row points at");
            }
        }
        swept.removed = remove;
        Ok(swept)
    }

    async fn find_orphans(
        &self,
        batch: &mut Vec<(String, u64)>,
        orphans: &mut Vec<(String, u64)>,
    ) -> Result<(), ArchiveError> {
        let keys: Vec<String> = batch.iter().map(|(key, _)| key.clone()).collect();
        let referenced = self.0.catalog.referenced_blobs(&keys).await?;
        orphans.extend(batch.drain(..).filter(|(key, _)| !referenced.contains(key)));
        Ok(())
    }
}
