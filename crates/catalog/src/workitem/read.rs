//! Reading workitems and the reports that wait.

use qianli_model::workitem::search::Search;
use qianli_model::workitem::{DataSet, Held, State};
use qianli_model::{AeTitle, Scope, SopInstanceUid, TransactionUid};
use sqlx::AssertSqlSafe;

use super::compile::{Writer, bind_all};
use super::{Kept, WorkitemEvent};
use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::query::Dialect;

/// Key and revision of a row that is here.
pub(crate) type Row = Option<(i64, i64)>;

/// One workitem and its row.
pub(crate) async fn workitem(
    db: &Db,
    scope: &Scope,
    uid: &SopInstanceUid,
) -> Result<(Kept, Row), CatalogError> {
    const TEXT: &str =
        "SELECT id, revision, state, transaction_uid, json, removed_ms FROM workitems
        WHERE tenant_id = $1 AND workitem_uid = $2";
    let row: Option<(i64, i64, String, String, String, i64)> = on_db!(db, pools => {
        sqlx::query_as(TEXT)
            .bind(scope.tenant().0)
            .bind(uid.as_str())
            .fetch_optional(&pools.read)
            .await?
    });
    let Some((id, revision, state, transaction, json, removed_ms)) = row else {
        return Ok((Kept::Absent, None));
    };
    if removed_ms > 0 {
        return Ok((Kept::Removed, None));
    }
    let damaged = || CatalogError::Corrupt("a workitem");
    let held = Held {
        data: DataSet::parse(json.as_bytes()).map_err(|_| damaged())?,
        state: State::parse(&state).ok_or_else(damaged)?,
        transaction: TransactionUid::parse(&transaction).ok(),
    };
    Ok((Kept::Here(held), Some((id, revision))))
}

pub(super) async fn find(
    db: &Db,
    scope: &Scope,
    search: &Search,
) -> Result<Vec<String>, CatalogError> {
    let dialect = match db {
        Db::Postgres(_) => Dialect::Postgres,
        Db::Sqlite(_) => Dialect::Sqlite,
    };
    let mut writer = Writer::new(dialect, scope.tenant().0);
    let clause = writer.all(&search.conditions, search.fuzzy);
    let limit = writer.number(i64::from(search.limit));
    let offset = writer.number(i64::from(search.offset));
    let tenant = writer.tenant();
    let text = format!(
        "SELECT w.json FROM workitems w WHERE w.tenant_id = {tenant} AND w.removed_ms = 0
            AND {clause} ORDER BY w.start_key, w.id LIMIT {limit} OFFSET {offset}"
    );
    let rows: Vec<(String,)> = on_db!(db, pools => {
        let query = sqlx::query_as(AssertSqlSafe(text));
        bind_all!(query, writer.binds).fetch_all(&pools.read).await?
    });
    Ok(rows.into_iter().map(|row| row.0).collect())
}

pub(super) async fn count(db: &Db, scope: &Scope, search: &Search) -> Result<i64, CatalogError> {
    let dialect = match db {
        Db::Postgres(_) => Dialect::Postgres,
        Db::Sqlite(_) => Dialect::Sqlite,
    };
    let mut writer = Writer::new(dialect, scope.tenant().0);
    let clause = writer.all(&search.conditions, search.fuzzy);
    let tenant = writer.tenant();
    let text = format!(
        "SELECT COUNT(*) FROM workitems w WHERE w.tenant_id = {tenant} AND w.removed_ms = 0
            AND {clause}"
    );
    let (count,): (i64,) = on_db!(db, pools => {
        let query = sqlx::query_as(AssertSqlSafe(text));
        bind_all!(query, writer.binds).fetch_one(&pools.read).await?
    });
    Ok(count)
}

/// Nothing is shown from the oldest running transaction of Postgres on: see `feed`.
pub(crate) const SHOWN: &str = "sequence < ((SELECT base FROM feed WHERE id = 1)
    + pg_snapshot_xmin(pg_current_snapshot())::text::bigint) * 4096";

pub(super) async fn events(
    db: &Db,
    scope: &Scope,
    aet: &AeTitle,
    after: i64,
    limit: u32,
) -> Result<Vec<WorkitemEvent>, CatalogError> {
    let shown = match db {
        Db::Postgres(_) => SHOWN,
        Db::Sqlite(_) => "1 = 1",
    };
    let text = format!(
        "SELECT sequence, workitem_uid, kind, attributes FROM workitem_events
        WHERE tenant_id = $1 AND aet = $2 AND sequence > $3 AND {shown}
        ORDER BY sequence LIMIT $4"
    );
    let rows: Vec<(i64, String, i64, String)> = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text))
            .bind(scope.tenant().0)
            .bind(aet.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&pools.read)
            .await?
    });
    let event = |(sequence, workitem, kind, attributes)| WorkitemEvent {
        sequence,
        workitem,
        kind,
        attributes,
    };
    Ok(rows.into_iter().map(event).collect())
}

pub(super) async fn newest_event(db: &Db) -> Result<i64, CatalogError> {
    let shown = match db {
        Db::Postgres(_) => SHOWN,
        Db::Sqlite(_) => "1 = 1",
    };
    let text = format!("SELECT COALESCE(MAX(sequence), 0) FROM workitem_events WHERE {shown}");
    let (newest,): (i64,) = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text)).fetch_one(&pools.read).await?
    });
    Ok(newest)
}

pub(super) async fn delivered(db: &Db, scope: &Scope, aet: &AeTitle) -> Result<i64, CatalogError> {
    const TEXT: &str = "SELECT delivered FROM workitem_receivers WHERE tenant_id = $1 AND aet = $2";
    let row: Option<(i64,)> = on_db!(db, pools => {
        sqlx::query_as(TEXT)
            .bind(scope.tenant().0)
            .bind(aet.as_str())
            .fetch_optional(&pools.read)
            .await?
    });
    Ok(row.map_or(0, |row| row.0))
}
