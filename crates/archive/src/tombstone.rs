//! What says in the store itself that objects were deleted: the index that knows it may be lost, and
//! what was deleted, perhaps because a law asked for it, must not come back when the rows are made
//! again.
//!
//! It is written after the rows are gone and removed before they return, so that a crash at any moment
//! can at most bring a deleted object back, and never hides one that was not deleted.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_catalog::types::Deletion;
use qianli_model::Scope;

use crate::blobs::Listed;
use crate::{Archive, ArchiveError, in_time};

/// What its name ends in.
const SUFFIX: &str = ".deleted";

/// Longer ones are not ours: the keys of more than a hundred thousand objects.
const LONGEST: u64 = 64 << 20;

/// `tenant/study/deletion.TIME.NUMBER.deleted`; it holds the keys of the objects, a line each.
fn key(scope: &Scope, deletion: &Deletion) -> String {
    let (tenant, study) = (scope.tenant().0, &deletion.study);
    format!("{tenant}/{study}/deletion.{}.{}{SUFFIX}", deletion.at_ms, deletion.id)
}

/// Whether an object of the store is one.
pub(crate) fn is_one(object: &Listed) -> bool {
    object.key.ends_with(SUFFIX)
}

impl Archive {
    /// Writes the keys of a deletion's objects beside them.
    pub(crate) async fn bury(&self, scope: &Scope, of: &Deletion) -> Result<(), ArchiveError> {
        let mut lines = String::new();
        for gone in in_time(self.0.catalog.deleted_instances(scope, of.id)).await? {
            lines.push_str(&gone.blob_key);
            lines.push('\n');
        }
        Ok(self.0.blobs.put(&key(scope, of), vec![Bytes::from(lines)]).await?)
    }

    /// Takes it away: the objects come back, or are gone.
    pub(crate) async fn unbury(&self, scope: &Scope, of: &Deletion) -> Result<(), ArchiveError> {
        Ok(self.0.blobs.delete(&key(scope, of)).await?)
    }

    /// Adds the keys that one names.
    pub(crate) async fn read_buried(
        &self,
        object: &Listed,
        keys: &mut HashSet<String>,
    ) -> Result<(), ArchiveError> {
        if object.size > LONGEST {
            return Err(ArchiveError::Damaged(format!("{} is too long", object.key)));
        }
        let mut stream = self.0.blobs.stream(&object.key, 0..object.size).await?;
        let mut text = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            text.extend_from_slice(&chunk);
        }
        keys.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        Ok(())
    }
}
