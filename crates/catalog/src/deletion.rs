//! Removal of studies, series and instances: the rows go at once, in one transaction with an audit
//! row, an event and the job that removes the objects later. Until then they can be restored.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Provenance, Route, Scope, SeriesUid, SopInstanceUid, StudyUid};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::types::{DeletedInstance, Deletion, DeletionState, NewDeletion, Target};

/// Kind of the job that removes the objects of a deletion; its key is the deletion's number.
pub const PURGE_JOB: &str = "objects.purge";

impl Catalog {
    /// Removes a study, a series or an instance from every answer, kept older contents included.
    /// `None` when it is not here. The objects stay until the job [`PURGE_JOB`] runs.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn delete(
        &self,
        scope: &Scope,
        target: &Target,
        new: &NewDeletion,
    ) -> Result<Option<Deletion>, CatalogError> {
        delete(self.db(), scope, target, new).await
    }

    /// Deletions, newest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn deletions(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<Deletion>, CatalogError> {
        let text = format!("{SELECT} WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2");
        let rows: Vec<DeletionRow> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        rows.into_iter().map(deletion).collect()
    }

    /// One deletion.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn deletion(&self, scope: &Scope, id: i64) -> Result<Option<Deletion>, CatalogError> {
        let text = format!("{SELECT} WHERE tenant_id = $1 AND id = $2");
        let row: Option<DeletionRow> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(id)
                .fetch_optional(&pools.write)
                .await?
        });
        row.map(deletion).transpose()
    }

    /// Moves a deletion from one of some states to another, unless another worker was faster.
    /// Returns whether it did.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn move_deletion(
        &self,
        scope: &Scope,
        id: i64,
        from: &[DeletionState],
        to: DeletionState,
    ) -> Result<bool, CatalogError> {
        let from: Vec<String> = from.iter().map(|state| format!("'{}'", state.as_str())).collect();
        let text = format!(
            "UPDATE deletions SET state = $3 WHERE tenant_id = $1 AND id = $2 AND state IN ({})
            RETURNING study_uid, series_uid, sop_uid, instances",
            from.join(", ")
        );
        let begin = begin(self.db());
        let action = match to {
            DeletionState::Restored => Some(Action::Restore),
            DeletionState::Purged => Some(Action::Purge),
            _ => None,
        };
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin).await?;
            let moved: Option<(String, String, String, i64)> =
                sqlx::query_as(AssertSqlSafe(text))
                    .bind(scope.tenant().0)
                    .bind(id)
                    .bind(to.as_str())
                    .fetch_optional(&mut *transaction)
                    .await?;
            let Some((study, series, instance, instances)) = moved else { return Ok(false) };
            if let Some(action) = action {
                let entry = AuditEntry::new(scope, action, Outcome::Success, now_ms());
                let entry = AuditEntry { study, series, instance, instances, ..entry };
                let entry = entry.with(&json!({ "deletion": id }));
                transaction.append_audit(vec![entry]).await?;
            }
            transaction.commit().await?;
        });
        Ok(true)
    }

    /// Contents of a deletion whose objects may still lie in the store, in the order in which they
    /// were recorded.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn deleted_instances(
        &self,
        scope: &Scope,
        id: i64,
    ) -> Result<Vec<DeletedInstance>, CatalogError> {
        const TEXT: &str = "SELECT i.study_uid, i.series_uid, i.sop_uid, i.content_hash,
                i.is_current, i.blob_key, i.blob_size, i.route, i.peer, i.calling_ae, i.called_ae,
                i.received_ms
            FROM deleted_instances i JOIN deletions d ON d.id = i.deletion_id
            WHERE d.tenant_id = $1 AND d.id = $2 ORDER BY i.instance_row";
        let rows: Vec<InstanceTuple> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(id)
                .fetch_all(&pools.read)
                .await?
        });
        rows.into_iter().map(deleted_instance).collect()
    }

    /// Forgets where the objects of a deletion lay, or one of them, after they were removed or
    /// restored.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn forget_deleted(
        &self,
        scope: &Scope,
        id: i64,
        blob_key: Option<&str>,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "DELETE FROM deleted_instances WHERE deletion_id =
            (SELECT id FROM deletions WHERE tenant_id = $1 AND id = $2)
            AND ($3 = '' OR blob_key = $3)";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(id)
                .bind(blob_key.unwrap_or_default())
                .execute(&pools.write)
                .await?;
        });
        Ok(())
    }
}

const SELECT: &str = "SELECT id, study_uid, series_uid, sop_uid, principal, peer, at_ms,
    purge_at_ms, instances, contents, bytes, state FROM deletions";

type DeletionRow = (i64, String, String, String, String, String, i64, i64, i64, i64, i64, String);

type InstanceTuple =
    (String, String, String, String, bool, String, i64, String, String, String, String, i64);

fn deletion(row: DeletionRow) -> Result<Deletion, CatalogError> {
    let (id, study, series, instance, by, peer, at_ms, purge_at_ms, ..) = row.clone();
    let (.., instances, contents, bytes, state) = row;
    let state = DeletionState::parse(&state).ok_or(CatalogError::Corrupt("a deletion's state"))?;
    Ok(Deletion {
        id,
        study,
        series,
        instance,
        by,
        peer,
        at_ms,
        purge_at_ms,
        instances,
        contents,
        bytes,
        state,
    })
}

fn deleted_instance(row: InstanceTuple) -> Result<DeletedInstance, CatalogError> {
    let (study, series, instance, content_hash, is_current, blob_key, size, ..) = row.clone();
    let (.., route, peer, calling_ae, called_ae, received_ms) = row;
    let uid = |_| CatalogError::Corrupt("a UID");
    let title = |text: String| (!text.is_empty()).then_some(text);
    let route = [Route::Dimse, Route::Stow, Route::Import, Route::Rebuild]
        .into_iter()
        .find(|known| known.as_str() == route)
        .ok_or(CatalogError::Corrupt("a route"))?;
    Ok(DeletedInstance {
        study: StudyUid::parse(&study).map_err(uid)?,
        series: SeriesUid::parse(&series).map_err(uid)?,
        instance: SopInstanceUid::parse(&instance).map_err(uid)?,
        content_hash,
        is_current,
        blob_key,
        blob_size: u64::try_from(size).map_err(|_| CatalogError::Corrupt("a blob's size"))?,
        provenance: Provenance {
            route,
            peer,
            calling_ae: title(calling_ae),
            called_ae: title(called_ae),
            coercions: None,
        },
        received_ms,
    })
}

/// The transaction. Locks in the order of the recorder: the study first, then its patient, then the
/// totals; whoever holds the study owns what is below it.
async fn delete(
    db: &Db,
    scope: &Scope,
    target: &Target,
    new: &NewDeletion,
) -> Result<Option<Deletion>, CatalogError> {
    let tenant = scope.tenant().0;
    let series_uid = target.series.as_ref().map_or("", SeriesUid::as_str);
    let sop_uid = target.instance.as_ref().map_or("", SopInstanceUid::as_str);
    let (lock, event) = match db {
        Db::Postgres(_) => (" FOR UPDATE", EVENT_POSTGRES),
        Db::Sqlite(_) => ("", EVENT_SQLITE),
    };
    let begin = begin(db);
    let find = format!("{FIND_STUDY}{lock}");
    on_db!(db, pools => {
        let mut transaction = pools.write.begin_with(begin).await?;
        let study: Option<(i64, i64)> = sqlx::query_as(AssertSqlSafe(find))
            .bind(tenant)
            .bind(target.study.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some((study, patient)) = study else { return Ok(None) };
        let (id,): (i64,) = sqlx::query_as(INSERT_DELETION)
            .bind(tenant)
            .bind(target.study.as_str())
            .bind(series_uid)
            .bind(sop_uid)
            .bind(&new.by)
            .bind(&new.peer)
            .bind(new.at_ms)
            .bind(new.purge_at_ms)
            .fetch_one(&mut *transaction)
            .await?;
        let contents = sqlx::query(KEEP_INSTANCES)
            .bind(id)
            .bind(study)
            .bind(series_uid)
            .bind(sop_uid)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if contents == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        let (instances, bytes): (i64, i64) =
            sqlx::query_as(COUNT_DELETED).bind(id).fetch_one(&mut *transaction).await?;
        sqlx::query(DELETE_INSTANCES).bind(id).execute(&mut *transaction).await?;
        let removed_series = sqlx::query(DELETE_EMPTY_SERIES)
            .bind(study)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        let removed_series = i64::try_from(removed_series).unwrap_or(i64::MAX);
        sqlx::query(COUNT_SERIES)
            .bind(study)
            .bind(series_uid)
            .bind(new.at_ms)
            .execute(&mut *transaction)
            .await?;
        let (left,): (i64,) =
            sqlx::query_as(COUNT_LEFT).bind(study).fetch_one(&mut *transaction).await?;
        let (mut studies, mut patients) = (0, 0);
        if left == 0 {
            studies = 1;
            sqlx::query("DELETE FROM studies WHERE id = $1")
                .bind(study)
                .execute(&mut *transaction)
                .await?;
            let (rest,): (i64,) = sqlx::query_as(crate::record::LEAVE_PATIENT)
                .bind(patient)
                .fetch_one(&mut *transaction)
                .await?;
            if rest == 0 {
                patients = 1;
                sqlx::query(crate::record::DELETE_PATIENT)
                    .bind(patient)
                    .execute(&mut *transaction)
                    .await?;
            }
            // Nobody needs to hear that a study is quiet which is gone.
            sqlx::query(FORGET_SETTLING)
                .bind(tenant)
                .bind(target.study.as_str())
                .execute(&mut *transaction)
                .await?;
        } else {
            let series: Vec<(String,)> = sqlx::query_as("SELECT series_json FROM series WHERE study_id = $1")
                .bind(study)
                .fetch_all(&mut *transaction)
                .await?;
            let classes: Vec<(String,)> =
                sqlx::query_as(CLASSES_LEFT).bind(study).fetch_all(&mut *transaction).await?;
            sqlx::query(COUNT_STUDY)
                .bind(study)
                .bind(new.at_ms)
                .bind(joined(series.iter().filter_map(|(json,)| modality(json))))
                .bind(joined(classes.into_iter().map(|(class,)| class)))
                .execute(&mut *transaction)
                .await?;
        }
        let mut totals = sqlx::query(COUNT_TOTALS).bind(tenant);
        for value in [patients, studies, removed_series, instances, bytes] {
            totals = totals.bind(-value);
        }
        totals.execute(&mut *transaction).await?;
        sqlx::query(FINISH_DELETION)
            .bind(id)
            .bind(instances)
            .bind(i64::try_from(contents).unwrap_or(i64::MAX))
            .bind(bytes)
            .execute(&mut *transaction)
            .await?;
        let kind = match (series_uid, sop_uid) {
            ("", _) => "study.deleted",
            (_, "") => "series.deleted",
            _ => "instance.deleted",
        };
        sqlx::query(event)
            .bind(tenant)
            .bind(kind)
            .bind(target.study.as_str())
            .bind(series_uid)
            .bind(sop_uid)
            .bind(new.at_ms)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(INSERT_PURGE)
            .bind(tenant)
            .bind(PURGE_JOB)
            .bind(id.to_string())
            .bind(new.purge_at_ms)
            .execute(&mut *transaction)
            .await?;
        let done = sqlx::query_as(AssertSqlSafe(format!("{SELECT} WHERE id = $1")))
            .bind(id)
            .fetch_one(&mut *transaction)
            .await?;
        let entry = AuditEntry::new(scope, Action::Delete, Outcome::Success, new.at_ms).about(target);
        let entry = AuditEntry { instances, ..entry };
        let details = json!({ "deletion": id, "by": new.by, "bytes": bytes });
        transaction.append_audit(vec![entry.with(&details)]).await?;
        transaction.commit().await?;
        deletion(done).map(Some)
    })
}

/// How a transaction begins that reads before it writes.
pub(crate) fn begin(db: &Db) -> &'static str {
    match db {
        Db::Postgres(_) => "BEGIN",
        // Takes the write lock at once: nothing may slip between reading and writing.
        Db::Sqlite(_) => "BEGIN IMMEDIATE",
    }
}

/// Now, for changes that are not told when they happen.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Distinct values as one column, like the recorder keeps them.
fn joined(values: impl Iterator<Item = String>) -> String {
    crate::record::join_list(&values.filter(|value| !value.is_empty()).collect::<BTreeSet<_>>())
}

/// Modality of a series, from its DICOM JSON.
fn modality(series_json: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(series_json).ok()?;
    let value = json.get("00080060")?.get("Value")?.get(0)?.as_str()?;
    Some(value.replace('\\', "/"))
}

const FIND_STUDY: &str =
    "SELECT id, patient_row FROM studies WHERE tenant_id = $1 AND study_uid = $2";

const INSERT_DELETION: &str = "INSERT INTO deletions (tenant_id, study_uid, series_uid, sop_uid,
        principal, peer, at_ms, purge_at_ms, instances, contents, bytes, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 'kept') RETURNING id";

/// An empty UID means all of the level above.
const KEEP_INSTANCES: &str = "INSERT INTO deleted_instances (deletion_id, instance_row, study_uid,
        series_uid, sop_uid, content_hash, is_current, blob_key, blob_digest, blob_size, route,
        peer, calling_ae, called_ae, received_ms)
    SELECT $1, i.id, s.study_uid, r.series_uid, i.sop_uid, i.content_hash, i.is_current,
        i.blob_key, i.blob_digest, i.blob_size, i.route, i.peer, i.calling_ae, i.called_ae,
        i.received_ms
    FROM studies s JOIN series r ON r.study_id = s.id JOIN instances i ON i.series_id = r.id
    WHERE s.id = $2 AND ($3 = '' OR r.series_uid = $3) AND ($4 = '' OR i.sop_uid = $4)";

const COUNT_DELETED: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(blob_size), 0) AS BIGINT)
    FROM deleted_instances WHERE deletion_id = $1 AND is_current";

const DELETE_INSTANCES: &str = "DELETE FROM instances WHERE id IN
    (SELECT instance_row FROM deleted_instances WHERE deletion_id = $1)";

const DELETE_EMPTY_SERIES: &str = "DELETE FROM series WHERE study_id = $1
    AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.series_id = series.id)";

const COUNT_SERIES: &str = "UPDATE series SET updated_ms = $3,
        instance_count = (SELECT COUNT(*) FROM instances i
            WHERE i.series_id = series.id AND i.is_current),
        size = (SELECT CAST(COALESCE(SUM(i.blob_size), 0) AS BIGINT) FROM instances i
            WHERE i.series_id = series.id AND i.is_current)
    WHERE study_id = $1 AND series_uid = $2";

const COUNT_LEFT: &str = "SELECT COUNT(*) FROM series WHERE study_id = $1";

const CLASSES_LEFT: &str = "SELECT DISTINCT i.sop_class_uid FROM series r
    JOIN instances i ON i.series_id = r.id AND i.is_current WHERE r.study_id = $1";

const COUNT_STUDY: &str = "UPDATE studies SET updated_ms = $2, modalities = $3, sop_classes = $4,
        series_count = (SELECT COUNT(*) FROM series r WHERE r.study_id = studies.id),
        instance_count = (SELECT CAST(COALESCE(SUM(r.instance_count), 0) AS BIGINT)
            FROM series r WHERE r.study_id = studies.id),
        size = (SELECT CAST(COALESCE(SUM(r.size), 0) AS BIGINT)
            FROM series r WHERE r.study_id = studies.id)
    WHERE id = $1";

const FORGET_SETTLING: &str = "DELETE FROM jobs
    WHERE tenant_id = $1 AND kind = 'study.settled' AND dedupe_key = $2 AND state <> 'running'";

/// Every shard counts in the sum, so that any will do.
const COUNT_TOTALS: &str = "INSERT INTO tenant_totals
        (tenant_id, shard, patients, studies, series, instances, bytes)
    VALUES ($1, 0, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, shard) DO UPDATE SET
        patients = tenant_totals.patients + excluded.patients,
        studies = tenant_totals.studies + excluded.studies,
        series = tenant_totals.series + excluded.series,
        instances = tenant_totals.instances + excluded.instances,
        bytes = tenant_totals.bytes + excluded.bytes";

const FINISH_DELETION: &str =
    "UPDATE deletions SET instances = $2, contents = $3, bytes = $4 WHERE id = $1";

/// The arithmetic is explained at `feed` in the first migration.
const EVENT_POSTGRES: &str =
    "INSERT INTO events (tenant_id, sequence, kind, study_uid, series_uid, sop_uid, at_ms)
    SELECT $1, (base + pg_current_xact_id()::text::bigint) * 4096 + 1, $2, $3, $4, $5, $6
    FROM feed WHERE id = 1";

const EVENT_SQLITE: &str =
    "INSERT INTO events (tenant_id, kind, study_uid, series_uid, sop_uid, at_ms)
    VALUES ($1, $2, $3, $4, $5, $6)";

const INSERT_PURGE: &str = "INSERT INTO jobs
        (tenant_id, kind, dedupe_key, payload, state, run_at_ms)
    VALUES ($1, $2, $3, '{}', 'ready', $4)";
