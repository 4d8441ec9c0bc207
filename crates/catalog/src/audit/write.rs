//! Adding rows to a chain, on either database.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqliteConnection};

use super::chain::{Head, seal, shared};
use super::entry::{AuditEntry, AuditRow};
use crate::error::CatalogError;

/// A connection on which entries can be added to the trail, within the transaction that is open.
pub(crate) trait Append {
    /// Adds entries to a shared chain. Call it last in the transaction: the chain's head stays locked
    /// until the end.
    async fn append_audit(&mut self, entries: Vec<AuditEntry>) -> Result<(), CatalogError>;
}

impl Append for PgConnection {
    async fn append_audit(&mut self, entries: Vec<AuditEntry>) -> Result<(), CatalogError> {
        for chain in shared() {
            let found: Option<(i64, String)> =
                sqlx::query_as("SELECT number, hash FROM audit_chains WHERE chain = $1 FOR UPDATE")
                    .bind(chain)
                    .fetch_optional(&mut *self)
                    .await?;
            let Some((number, hash)) = found else { continue };
            let head = Head { chain, number, hash };
            let rows = seal(&head, entries);
            let statement = Statement { bound: 0 };
            let text = format!("WITH {} SELECT 1 FROM head_done", statement.parts());
            let query = sqlx::query(AssertSqlSafe(text));
            let done = statement.bind(query, &head, &rows).fetch_optional(self).await?;
            return done.map(drop).ok_or(CatalogError::Corrupt("the head of an audit chain"));
        }
        Err(CatalogError::Corrupt("the audit trail has no heads"))
    }
}

impl Append for SqliteConnection {
    async fn append_audit(&mut self, entries: Vec<AuditEntry>) -> Result<(), CatalogError> {
        for chain in shared() {
            let Some(head) = load(self, chain).await? else { continue };
            let rows = seal(&head, entries);
            return match advance(self, &head, &rows).await? {
                true => Ok(()),
                false => Err(CatalogError::Corrupt("the head of an audit chain")),
            };
        }
        Err(CatalogError::Corrupt("the audit trail has no heads"))
    }
}

/// The head of a chain on SQLite; `None` when it is missing.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    chain: i64,
) -> Result<Option<Head>, sqlx::Error> {
    let found: Option<(i64, String)> =
        sqlx::query_as("SELECT number, hash FROM audit_chains WHERE chain = $1")
            .bind(chain)
            .fetch_optional(connection)
            .await?;
    Ok(found.map(|(number, hash)| Head { chain, number, hash }))
}

/// Adds rows on SQLite and moves the head; `false` when the head is not where it was thought to be.
pub(crate) async fn advance(
    connection: &mut SqliteConnection,
    head: &Head,
    rows: &[AuditRow],
) -> Result<bool, sqlx::Error> {
    const MOVE: &str = "UPDATE audit_chains SET number = $2, hash = $3
        WHERE chain = $1 AND number = $4 AND hash = $5";
    const INSERT: &str = "INSERT INTO audit (chain, number, tenant_id, at_ms, instances, requests,
            principal_kind, principal, peer, action, outcome, study_uid, series_uid, sop_uid,
            details, previous_hash, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    let after = head.after(rows);
    let moved = sqlx::query(MOVE)
        .bind(head.chain)
        .bind(after.number)
        .bind(&after.hash)
        .bind(head.number)
        .bind(&head.hash)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    if moved == 0 {
        return Ok(false);
    }
    for row in rows {
        let entry = &row.entry;
        sqlx::query(INSERT)
            .bind(row.chain)
            .bind(row.number)
            .bind(entry.tenant)
            .bind(entry.at_ms)
            .bind(entry.instances)
            .bind(entry.requests)
            .bind(&entry.principal_kind)
            .bind(&entry.principal)
            .bind(&entry.peer)
            .bind(&entry.action)
            .bind(&entry.outcome)
            .bind(&entry.study)
            .bind(&entry.series)
            .bind(&entry.instance)
            .bind(&entry.details)
            .bind(&row.previous_hash)
            .bind(&row.hash)
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}

/// Parts of a Postgres statement that add rows and move the head, if it is where it was thought to
/// be; `head_done` is empty if not. They can stand in any statement, so that recording a batch of
/// instances takes no round trip more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    /// Values that the statement binds before.
    pub bound: usize,
}

impl Statement {
    pub(crate) fn parts(self) -> String {
        let at = |place: usize| self.bound + place;
        let arrays: Vec<String> = (6..=21)
            .map(|place| {
                let kind = if place <= 10 { "bigint" } else { "text" };
                format!("${}::{kind}[]", at(place))
            })
            .collect();
        let arrays = arrays.join(", ");
        if super::audit_is_off() {
            // The values still need their types, and the statement this name.
            let [after, hash, chain, before, old] = [at(2), at(3), at(1), at(4), at(5)];
            return format!(
                "head_done AS (SELECT 1 WHERE (${after}::bigint, ${hash}::text, ${chain}::bigint,
                    ${before}::bigint, ${old}::text) IS NOT NULL),
                audit_done AS (SELECT 1 FROM UNNEST({arrays}))"
            );
        }
        format!(
            "head_done AS (
                UPDATE audit_chains SET number = ${}, hash = ${}
                WHERE chain = ${} AND number = ${} AND hash = ${} RETURNING chain),
            audit_done AS (
                INSERT INTO audit (chain, number, tenant_id, at_ms, instances, requests,
                    principal_kind, principal, peer, action, outcome, study_uid, series_uid,
                    sop_uid, details, previous_hash, hash)
                SELECT h.chain, u.* FROM head_done h CROSS JOIN UNNEST({arrays}) AS u)",
            at(2),
            at(3),
            at(1),
            at(4),
            at(5)
        )
    }

    /// Binds the values of the parts, which must be the next.
    pub(crate) fn bind<'q>(
        self,
        query: Query<'q, Postgres, PgArguments>,
        head: &Head,
        rows: &[AuditRow],
    ) -> Query<'q, Postgres, PgArguments> {
        let after = head.after(rows);
        let numbers = |f: fn(&AuditRow) -> i64| rows.iter().map(f).collect::<Vec<i64>>();
        let texts = |f: fn(&AuditRow) -> &String| rows.iter().map(f).cloned().collect::<Vec<_>>();
        query
            .bind(head.chain)
            .bind(after.number)
            .bind(after.hash)
            .bind(head.number)
            .bind(head.hash.clone())
            .bind(numbers(|row| row.number))
            .bind(numbers(|row| row.entry.tenant))
            .bind(numbers(|row| row.entry.at_ms))
            .bind(numbers(|row| row.entry.instances))
            .bind(numbers(|row| row.entry.requests))
            .bind(texts(|row| &row.entry.principal_kind))
            .bind(texts(|row| &row.entry.principal))
            .bind(texts(|row| &row.entry.peer))
            .bind(texts(|row| &row.entry.action))
            .bind(texts(|row| &row.entry.outcome))
            .bind(texts(|row| &row.entry.study))
            .bind(texts(|row| &row.entry.series))
            .bind(texts(|row| &row.entry.instance))
            .bind(texts(|row| &row.entry.details))
            .bind(texts(|row| &row.previous_hash))
            .bind(texts(|row| &row.hash))
    }
}
