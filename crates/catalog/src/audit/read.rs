//! Reading the trail: by what it says, and chain by chain.

use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use sqlx::AssertSqlSafe;

use super::entry::{AuditEntry, AuditRow};
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::keys::text_key;

/// Which rows are wanted; the default is all of them.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// From this time on, ms since 1970.
    pub since_ms: Option<i64>,
    /// Up to, and without, this time.
    pub until_ms: Option<i64>,
    /// Who did it: the whole name.
    pub principal: Option<String>,
    /// Who did it, or from which network address: the whole name or address.
    pub who: Option<String>,
    /// Study Instance UID.
    pub study: Option<String>,
    /// Patient ID of a study that is here now.
    pub patient_id: Option<String>,
    /// What was done.
    pub action: Option<Action>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The order, which is also the direction of the next page.
    pub order: AuditOrder,
    /// Time, chain and number of the last row of the page before.
    pub after: Option<(i64, i64, i64)>,
}

/// Order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditOrder {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

impl Catalog {
    /// A page of the tenant's trail.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn audit(
        &self,
        scope: &Scope,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRow>, CatalogError> {
        select(self.db(), Some(scope.tenant().0), filter, limit).await
    }

    /// A page of the trail of all tenants; only for operators at the command line.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn audit_of_all(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRow>, CatalogError> {
        select(self.db(), None, filter, limit).await
    }
}

/// A bound value.
enum Value {
    Number(i64),
    Text(String),
}

/// Conditions and their values.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition in which `?` stands for the value.
    fn add(&mut self, text: &str, value: Value) {
        self.values.push(value);
        self.texts.push(text.replace('?', &format!("${}", self.values.len())));
    }
}

async fn select(
    db: &Db,
    tenant: Option<i64>,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditRow>, CatalogError> {
    let mut conditions = Conditions::default();
    let number = |value: &Option<i64>| value.map(Value::Number);
    let text = |value: &Option<String>| value.clone().map(Value::Text);
    let patient = filter.patient_id.as_ref().map(|id| Value::Text(text_key(id)));
    let action = filter.action.map(|action| Value::Text(action.as_str().to_owned()));
    let outcome = filter.outcome.map(|outcome| Value::Text(outcome.as_str().to_owned()));
    let wanted = [
        ("tenant_id = ?", number(&tenant)),
        ("at_ms >= ?", number(&filter.since_ms)),
        ("at_ms < ?", number(&filter.until_ms)),
        ("principal = ?", text(&filter.principal)),
        ("(principal = ? OR peer = ?)", text(&filter.who)),
        // The second half lets the index on studies serve.
        ("study_uid = ? AND study_uid <> ''", text(&filter.study)),
        (
            "study_uid <> '' AND (tenant_id, study_uid) IN
                (SELECT tenant_id, study_uid FROM studies WHERE patient_id_key = ?)",
            patient,
        ),
        ("action = ?", action),
        ("outcome = ?", outcome),
    ];
    for (condition, value) in wanted {
        if let Some(value) = value {
            conditions.add(condition, value);
        }
    }
    let (direction, beyond) = match filter.order {
        AuditOrder::NewestFirst => ("DESC", "<"),
        AuditOrder::OldestFirst => ("ASC", ">"),
    };
    if let Some((at_ms, chain, number)) = filter.after {
        let first = conditions.values.len() + 1;
        conditions.values.extend([at_ms, chain, number].map(Value::Number));
        conditions.texts.push(format!(
            "(at_ms, chain, number) {beyond} (${first}, ${}, ${})",
            first + 1,
            first + 2
        ));
    }
    conditions.values.push(Value::Number(i64::from(limit)));
    let filter = match conditions.texts.as_slice() {
        [] => String::new(),
        texts => format!(" WHERE {}", texts.join(" AND ")),
    };
    let text = format!(
        "{SELECT}{filter} ORDER BY at_ms {direction}, chain {direction}, number {direction} LIMIT ${}",
        conditions.values.len()
    );
    let rows: Vec<Stored> = on_db!(db, pools => {
        let mut query = sqlx::query_as(AssertSqlSafe(text));
        for value in conditions.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        query.fetch_all(&pools.read).await?
    });
    Ok(rows.into_iter().map(AuditRow::from).collect())
}

/// Rows of a chain after a number and up to another, in order.
pub(super) async fn page_of_chain(
    db: &Db,
    chain: i64,
    after: i64,
    last: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, CatalogError> {
    let text = format!(
        "{SELECT} WHERE chain = $1 AND number > $2 AND number <= $3 ORDER BY number LIMIT $4"
    );
    let rows: Vec<Stored> = on_db!(db, pools => {
        sqlx::query_as(AssertSqlSafe(text))
            .bind(chain)
            .bind(after)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(&pools.read)
            .await?
    });
    Ok(rows.into_iter().map(AuditRow::from).collect())
}

const SELECT: &str = "SELECT chain, number, tenant_id, at_ms, principal_kind, principal, peer,
    action, outcome, study_uid, series_uid, sop_uid, instances, requests, details, previous_hash,
    hash FROM audit";

/// A row as it is stored.
#[derive(sqlx::FromRow)]
struct Stored {
    chain: i64,
    number: i64,
    tenant_id: i64,
    at_ms: i64,
    principal_kind: String,
    principal: String,
    peer: String,
    action: String,
    outcome: String,
    study_uid: String,
    series_uid: String,
    sop_uid: String,
    instances: i64,
    requests: i64,
    details: String,
    previous_hash: String,
    hash: String,
}

impl From<Stored> for AuditRow {
    fn from(row: Stored) -> Self {
        Self {
            chain: row.chain,
            number: row.number,
            entry: AuditEntry {
                tenant: row.tenant_id,
                at_ms: row.at_ms,
                principal_kind: row.principal_kind,
                principal: row.principal,
                peer: row.peer,
                action: row.action,
                outcome: row.outcome,
                study: row.study_uid,
                series: row.series_uid,
                instance: row.sop_uid,
                instances: row.instances,
                requests: row.requests,
                details: row.details,
            },
            previous_hash: row.previous_hash,
            hash: row.hash,
        }
    }
}
