//! The change feed and the counters of a tenant.

use qianli_model::Scope;

use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::types::{Event, Totals};

/// Events after a position. On Postgres a transaction that began to write earlier may commit later;
/// its events have lower numbers. So nothing is shown from the oldest running transaction on.
pub(crate) async fn events_after(
    db: &Db,
    scope: &Scope,
    sequence: i64,
    limit: u32,
) -> Result<Vec<Event>, CatalogError> {
    const POSTGRES: &str = "SELECT sequence, kind, study_uid, series_uid, sop_uid, at_ms
        FROM events WHERE tenant_id = $1 AND sequence > $2
            AND sequence < ((SELECT base FROM feed WHERE id = 1)
                + pg_snapshot_xmin(pg_current_snapshot())::text::bigint) * 4096
        ORDER BY sequence LIMIT $3";
    const SQLITE: &str = "SELECT sequence, kind, study_uid, series_uid, sop_uid, at_ms
        FROM events WHERE tenant_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
    // Events name every study of the tenant.
    if scope.viewer().is_some() {
        return Ok(Vec::new());
    }
    let text = match db {
        Db::Postgres(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    let rows: Vec<(i64, String, String, String, String, i64)> = on_db!(db, pools => {
        sqlx::query_as(text)
            .bind(scope.tenant().0)
            .bind(sequence)
            .bind(i64::from(limit))
            .fetch_all(&pools.read)
            .await?
    });
    let event = |(sequence, kind, study, series, instance, at_ms)| Event {
        sequence,
        kind,
        study,
        series,
        instance,
        at_ms,
    };
    Ok(rows.into_iter().map(event).collect())
}

pub(crate) async fn publish(
    db: &Db,
    scope: &Scope,
    kind: &str,
    [study, series, instance]: [&str; 3],
    at_ms: i64,
) -> Result<(), CatalogError> {
    const POSTGRES: &str =
        "INSERT INTO events (tenant_id, sequence, kind, study_uid, series_uid, sop_uid, at_ms)
        SELECT $1, (base + pg_current_xact_id()::text::bigint) * 4096 + 1, $2, $3, $4, $5, $6
        FROM feed WHERE id = 1";
    const SQLITE: &str =
        "INSERT INTO events (tenant_id, kind, study_uid, series_uid, sop_uid, at_ms)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let text = match db {
        Db::Postgres(_) => POSTGRES,
        Db::Sqlite(_) => SQLITE,
    };
    on_db!(db, pools => {
        sqlx::query(text)
            .bind(scope.tenant().0)
            .bind(kind)
            .bind(study)
            .bind(series)
            .bind(instance)
            .bind(at_ms)
            .execute(&pools.write)
            .await?;
    });
    Ok(())
}

/// The sum over the few rows that the writers of a tenant count in.
pub(crate) async fn totals(db: &Db, scope: &Scope) -> Result<Totals, CatalogError> {
    const TEXT: &str = "SELECT CAST(COALESCE(SUM(patients), 0) AS BIGINT),
            CAST(COALESCE(SUM(studies), 0) AS BIGINT), CAST(COALESCE(SUM(series), 0) AS BIGINT),
            CAST(COALESCE(SUM(instances), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT)
        FROM tenant_totals WHERE tenant_id = $1";
    let (patients, studies, series, instances, bytes) = on_db!(db, pools => {
        sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_one(&pools.read).await?
    });
    Ok(Totals { patients, studies, series, instances, bytes })
}
