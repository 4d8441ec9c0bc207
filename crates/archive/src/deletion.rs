//! Deletion, its undoing, and the removal of objects afterwards.
//!
//! The rows go first and the objects later (decision 0002 the other way round): a crash at any
//! moment leaves either an object that the job still removes, or one that can be restored.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use qianli_catalog::types::{
    DeletedInstance, Deletion, DeletionState, DuplicatePolicy, NewDeletion, NewInstance, Target,
};
use qianli_model::scope::Principal;
use qianli_model::{Permission, Scope};

use crate::ingest::{Format, Parsed, Reading, now_ms, parse};
use crate::key::guard;
use crate::{Archive, ArchiveError, in_time, permit};

/// Objects whose references are looked up at once.
const BATCH: usize = 500;

/// What a restoration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Contents that answer, or are kept as older ones, again.
    pub restored: u64,
    /// Contents that stay deleted because the same instance arrived anew since.
    pub replaced: u64,
}

/// Why a deletion cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such deletion.
    #[error("there is no such deletion")]
    Unknown,
    /// Its objects are gone, or it was undone already.
    #[error("the deletion is {}", .0.as_str())]
    TooLate(DeletionState),
    /// The archive failed; it can be tried again.
    #[error(transparent)]
    Failed(#[from] ArchiveError),
}

/// What became of the objects of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// They are gone, or there was nothing to remove; so many were removed now.
    Done(u64),
    /// Not before this time, ms since 1970.
    NotBefore(i64),
}

impl Archive {
    /// Deletes a study, a series or an instance, older contents included: it answers nothing any
    /// more when this returns. `None` when it is not here. `door` says how the caller came in, and
    /// `peer` from where. The objects stay for the configured grace period.
    ///
    /// # Errors
    ///
    /// The catalog failed; nothing or everything was deleted.
    pub async fn delete(
        &self,
        scope: &Scope,
        target: &Target,
        door: &str,
        peer: &str,
    ) -> Result<Option<Deletion>, ArchiveError> {
        permit(scope, Permission::Delete)?;
        let at_ms = now_ms();
        let grace = i64::try_from(self.0.config.delete_grace.as_millis()).unwrap_or(i64::MAX);
        let by = match scope.principal() {
            Principal::Local => door.to_owned(),
            principal => format!("{door}: {}", principal.name()),
        };
        let purge_at_ms = at_ms.saturating_add(grace);
        let new = NewDeletion { by, peer: peer.to_owned(), at_ms, purge_at_ms };
        let deleted = in_time(self.0.catalog.delete(scope, target, &new)).await?;
        let Some(deletion) = deleted else { return Ok(None) };
        tracing::info!(
            deletion = deletion.id,
            study = deletion.study,
            series = deletion.series,
            sop_instance = deletion.instance,
            instances = deletion.instances,
            by = deletion.by,
            peer,
            "deleted"
        );
        metrics::counter!("qianli_deleted_instances_total")
            .increment(deletion.instances.unsigned_abs());
        for gone in in_time(self.0.catalog.deleted_instances(scope, deletion.id)).await? {
            self.0.details.forget(scope, &gone.study, &gone.series, &gone.instance);
        }
        if let Err(error) = self.bury(scope, &deletion).await {
            // The deletion stands; what it lacks matters only if the index is lost.
            tracing::warn!(
                deletion = deletion.id, %error,
                "the store was not told of a deletion: a rebuild before its objects are removed \
                 would bring them back"
            );
        }
        if target.series.is_some() {
            self.review_conflict(scope, &target.study).await?;
        }
        Ok(Some(deletion))
    }

    /// Undoes a deletion whose objects are still here. An instance that arrived anew meanwhile is
    /// left as it is. A restoration that broke off can be repeated.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn restore(&self, scope: &Scope, id: i64) -> Result<Restored, RestoreError> {
        let catalog = &self.0.catalog;
        let found = in_time(catalog.deletion(scope, id)).await?;
        let deletion = found.ok_or(RestoreError::Unknown)?;
        let undoable = [DeletionState::Kept, DeletionState::Restoring];
        let to = DeletionState::Restoring;
        if !in_time(catalog.move_deletion(scope, id, &undoable, to)).await? {
            return Err(RestoreError::TooLate(deletion.state));
        }
        self.unbury(scope, &deletion).await?;
        let contents = in_time(catalog.deleted_instances(scope, id)).await?;
        // What a restoration that broke off made already has the same hashes.
        let ours: HashSet<_> = contents.iter().map(|content| &content.content_hash).collect();
        let mut restored = Restored::default();
        let mut back = Vec::new();
        for content in &contents {
            let (study, series, instance) = (&content.study, &content.series, &content.instance);
            let known = in_time(catalog.known(scope, study, series, instance)).await?;
            if known.is_some_and(|known| !ours.contains(&known.content_hash)) {
                restored.replaced += 1;
                continue;
            }
            self.restore_one(scope, content).await?;
            self.0.details.forget(scope, study, series, instance);
            back.push(content.blob_key.clone());
            restored.restored += 1;
        }
        for keys in back.chunks(BATCH) {
            // The same content may have arrived anew, with an object of its own.
            let used = in_time(catalog.blobs_in_use(keys)).await?;
            for key in keys {
                if !used.contains(key) {
                    self.0.blobs.delete(key).await.map_err(ArchiveError::from)?;
                }
                in_time(catalog.forget_deleted(scope, id, Some(key))).await?;
            }
        }
        let to = match restored.replaced {
            0 => DeletionState::Restored,
            _ => DeletionState::Kept,
        };
        in_time(catalog.move_deletion(scope, id, &[DeletionState::Restoring], to)).await?;
        tracing::info!(deletion = id, restored = restored.restored, "a deletion was undone");
        Ok(restored)
    }

    /// Makes the rows of one content again from its object.
    async fn restore_one(
        &self,
        scope: &Scope,
        content: &DeletedInstance,
    ) -> Result<(), ArchiveError> {
        let refused = |refusal: &dyn std::fmt::Display| {
            ArchiveError::Damaged(format!("{} cannot be restored: {refusal}", content.blob_key))
        };
        guard(scope, [content.blob_key.as_str()])?;
        let mut spool = self.spool();
        let mut stream = self.0.blobs.stream(&content.blob_key, 0..content.blob_size).await?;
        while let Some(chunk) = stream.try_next().await? {
            spool.write(chunk).await.map_err(|refusal| refused(&refusal))?;
        }
        let spooled = spool.finish().await.map_err(|refusal| refused(&refusal))?;
        let reading = Reading::of(&self.0.config, &content.provenance);
        let parsed = parse(&self.0.parsing, spooled, &Format::Part10, reading).await;
        let (_, Parsed { header, data_set_offset, content_hash, memory: _memory, .. }) =
            parsed.map_err(|error| refused(&error))?;
        if content_hash != content.content_hash {
            return Err(refused(&"its content is not what was stored"));
        }
        let new = NewInstance {
            header,
            blob_key: content.blob_key.clone(),
            content_hash,
            blob_size: content.blob_size,
            data_set_offset,
            provenance: content.provenance.clone(),
            received_ms: content.received_ms,
            policy: DuplicatePolicy::KeepBoth,
        };
        self.0.catalog.record(scope, new).await?;
        Ok(())
    }

    /// Removes the objects of a deletion whose grace period is over. Can be repeated at any time.
    ///
    /// # Errors
    ///
    /// The catalog or the store failed; what is left is removed the next time.
    pub async fn purge(&self, scope: &Scope, id: i64, now_ms: i64) -> Result<Purged, ArchiveError> {
        /// How long to wait for a restoration that is under way, or broke off.
        const RESTORING_MS: i64 = 3_600_000;
        let catalog = &self.0.catalog;
        let Some(deletion) = in_time(catalog.deletion(scope, id)).await? else {
            return Ok(Purged::Done(0));
        };
        match deletion.state {
            DeletionState::Restored | DeletionState::Purged => return Ok(Purged::Done(0)),
            DeletionState::Restoring => {
                return Ok(Purged::NotBefore(now_ms.saturating_add(RESTORING_MS)));
            }
            DeletionState::Kept if now_ms < deletion.purge_at_ms => {
                return Ok(Purged::NotBefore(deletion.purge_at_ms));
            }
            DeletionState::Kept | DeletionState::Purging => {}
        }
        let from = [DeletionState::Kept, DeletionState::Purging];
        if !in_time(catalog.move_deletion(scope, id, &from, DeletionState::Purging)).await? {
            return Ok(Purged::NotBefore(now_ms.saturating_add(RESTORING_MS)));
        }
        let mut removed = 0;
        for batch in in_time(catalog.deleted_instances(scope, id)).await?.chunks(BATCH) {
            let keys: Vec<String> = batch.iter().map(|one| one.blob_key.clone()).collect();
            guard(scope, keys.iter().map(String::as_str))?;
            let used = in_time(catalog.blobs_in_use(&keys)).await?;
            for key in keys.iter().filter(|key| !used.contains(*key)) {
                self.0.blobs.delete(key).await?;
                removed += 1;
            }
        }
        self.unbury(scope, &deletion).await?;
        in_time(catalog.forget_deleted(scope, id, None)).await?;
        in_time(catalog.move_deletion(scope, id, &from, DeletionState::Purged)).await?;
        tracing::info!(deletion = id, removed, "the objects of a deletion were removed");
        Ok(Purged::Done(removed))
    }

    /// The latest deletions, newest first.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub async fn deletions(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<Deletion>, ArchiveError> {
        in_time(self.0.catalog.deletions(scope, limit)).await
    }
}
