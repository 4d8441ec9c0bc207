//! The queue of slow work. What a job does is not known here.

use qianli_model::{Scope, TenantId};
use sqlx::AssertSqlSafe;

use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::types::Job;

pub(crate) async fn enqueue(
    db: &Db,
    scope: &Scope,
    kind: &str,
    dedupe_key: &str,
    payload: &str,
    run_at_ms: i64,
) -> Result<(), CatalogError> {
    const TEXT: &str = "INSERT INTO jobs (tenant_id, kind, dedupe_key, payload, state, run_at_ms)
        VALUES ($1, $2, $3, $4, 'ready', $5)
        ON CONFLICT (tenant_id, kind, dedupe_key) DO UPDATE SET
            payload = excluded.payload,
            run_at_ms = excluded.run_at_ms,
            revision = jobs.revision + 1,
            attempts = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.attempts END,
            state = CASE WHEN jobs.state = 'dead' THEN 'ready' ELSE jobs.state END";
    on_db!(db, pools => {
        sqlx::query(TEXT)
            .bind(scope.tenant().0)
            .bind(kind)
            .bind(dedupe_key)
            .bind(payload)
            .bind(run_at_ms)
            .execute(&pools.write)
            .await?;
    });
    Ok(())
}

pub(crate) async fn claim(
    db: &Db,
    worker: &str,
    lease_ms: i64,
    now_ms: i64,
) -> Result<Option<Job>, CatalogError> {
    // Two nodes that ask at once must not wait for each other nor get the same job.
    let lock = match db {
        Db::Postgres(_) => "FOR UPDATE SKIP LOCKED",
        Db::Sqlite(_) => "",
    };
    let text = format!(
        "UPDATE jobs SET state = 'running', worker = $1, lease_until_ms = $2,
            attempts = attempts + 1
        WHERE id = (SELECT id FROM jobs
            WHERE state <> 'dead' AND run_at_ms <= $3 AND (state = 'ready' OR lease_until_ms <= $3)
            ORDER BY run_at_ms, id LIMIT 1 {lock})
        RETURNING id, tenant_id, kind, dedupe_key, payload, attempts - 1, revision"
    );
    let row: Option<(i64, i64, String, String, String, i64, i64)> = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text))
            .bind(worker)
            .bind(now_ms.saturating_add(lease_ms))
            .bind(now_ms)
            .fetch_optional(&pools.write)
            .await?
    });
    let job = |(id, tenant, kind, dedupe_key, payload, attempts, revision)| Job {
        id,
        kind,
        payload,
        attempts,
        tenant: TenantId(tenant),
        dedupe_key,
        revision,
    };
    Ok(row.map(job))
}

pub(crate) async fn finish(db: &Db, job: &Job) -> Result<(), CatalogError> {
    const REMOVE: &str = "DELETE FROM jobs WHERE id = $1 AND revision = $2";
    const AGAIN: &str = "UPDATE jobs SET state = 'ready', attempts = 0, lease_until_ms = 0
        WHERE id = $1 AND revision <> $2 AND state = 'running'";
    on_db!(db, pools => {
        let removed = sqlx::query(REMOVE).bind(job.id).bind(job.revision);
        if removed.execute(&pools.write).await?.rows_affected() == 0 {
            sqlx::query(AGAIN).bind(job.id).bind(job.revision).execute(&pools.write).await?;
        }
    });
    Ok(())
}

pub(crate) async fn count(
    db: &Db,
    scope: &Scope,
    kind: &str,
    prefix: &str,
) -> Result<i64, CatalogError> {
    const TEXT: &str = "SELECT COUNT(*) FROM jobs WHERE tenant_id = $1 AND kind = $2
        AND substr(dedupe_key, 1, $3) = $4";
    let length = i32::try_from(prefix.chars().count()).unwrap_or(i32::MAX);
    let (count,): (i64,) = on_db!(db, pools => {
        sqlx::query_as(TEXT)
            .bind(scope.tenant().0)
            .bind(kind)
            .bind(length)
            .bind(prefix)
            .fetch_one(&pools.read)
            .await?
    });
    Ok(count)
}

pub(crate) async fn drop(
    db: &Db,
    scope: &Scope,
    kind: &str,
    dedupe_key: &str,
) -> Result<(), CatalogError> {
    const TEXT: &str = "DELETE FROM jobs WHERE tenant_id = $1 AND kind = $2 AND dedupe_key = $3";
    on_db!(db, pools => {
        sqlx::query(TEXT)
            .bind(scope.tenant().0)
            .bind(kind)
            .bind(dedupe_key)
            .execute(&pools.write)
            .await?;
    });
    Ok(())
}

pub(crate) async fn forget_dead(db: &Db, kind: &str, before_ms: i64) -> Result<u64, CatalogError> {
    const TEXT: &str = "DELETE FROM jobs WHERE state = 'dead' AND kind = $1 AND run_at_ms <= $2";
    on_db!(db, pools => {
        let gone = sqlx::query(TEXT).bind(kind).bind(before_ms).execute(&pools.write).await?;
        Ok(gone.rows_affected())
    })
}

pub(crate) async fn fail(
    db: &Db,
    job: &Job,
    retry_at_ms: i64,
    max_attempts: i64,
) -> Result<bool, CatalogError> {
    const TEXT: &str = "UPDATE jobs SET lease_until_ms = 0,
            run_at_ms = CASE WHEN revision = $2 THEN $3 ELSE run_at_ms END,
            state = CASE WHEN revision = $2 AND attempts >= $4 THEN 'dead' ELSE 'ready' END
        WHERE id = $1 AND state = 'running' RETURNING state";
    let row: Option<(String,)> = on_db!(db, pools => {
        sqlx::query_as(TEXT)
            .bind(job.id)
            .bind(job.revision)
            .bind(retry_at_ms)
            .bind(max_attempts)
            .fetch_optional(&pools.write)
            .await?
    });
    Ok(row.is_some_and(|row| row.0 == "dead"))
}
