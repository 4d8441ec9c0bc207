//! Reading orders, their studies, and what waits for a person.

use std::collections::HashMap;

use qianli_model::Scope;
use qianli_model::order::{MismatchKind, Order, Seen};
use sqlx::AssertSqlSafe;

use super::compile::Writer;
use super::{FoundStep, Mismatch, OrderRow, StepSearch};
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::query::Dialect;
use crate::workitem::compile::bind_all;

/// Columns of an order, in the order of [`Row`].
pub(super) const COLUMNS: &str = "o.id, o.json, o.origin, o.created_by, o.created_ms, o.updated_ms";

pub(super) type Row = (i64, String, String, String, i64, i64);

pub(super) fn row(row: Row) -> Result<OrderRow, CatalogError> {
    let (id, json, origin, created_by, created_ms, updated_ms) = row;
    let order: Order =
        serde_json::from_str(&json).map_err(|_| CatalogError::Corrupt("an order"))?;
    Ok(OrderRow { id, order, origin, created_by, created_ms, updated_ms })
}

impl Catalog {
    /// One order of the scope's tenant.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn order(&self, scope: &Scope, id: i64) -> Result<Option<OrderRow>, CatalogError> {
        let text = format!("SELECT {COLUMNS} FROM orders o WHERE o.tenant_id = $1 AND o.id = $2");
        let found: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(id)
                .fetch_optional(&pools.read)
                .await?
        });
        found.map(row).transpose()
    }

    /// Scheduled steps that a search matches, by start and then by age, with their orders.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn find_steps(
        &self,
        scope: &Scope,
        search: &StepSearch,
    ) -> Result<Vec<FoundStep>, CatalogError> {
        let dialect = match self.db() {
            Db::Postgres(_) => Dialect::Postgres,
            Db::Sqlite(_) => Dialect::Sqlite,
        };
        let mut writer = Writer::new(dialect, scope.tenant().0);
        let clause = writer.all(search);
        let limit = writer.number(i64::from(search.limit));
        let offset = writer.number(i64::from(search.offset));
        let text = format!(
            "SELECT {COLUMNS}, t.position FROM order_steps t JOIN orders o ON o.id = t.order_id
            WHERE {clause} ORDER BY t.start_date, t.start_time, t.order_id, t.position
            LIMIT {limit} OFFSET {offset}"
        );
        type Line = (i64, String, String, String, i64, i64, i64);
        let rows: Vec<Line> = on_db!(self.db(), pools => {
            let query = sqlx::query_as(AssertSqlSafe(text));
            bind_all!(query, writer.binds).fetch_all(&pools.read).await?
        });
        let mut found = Vec::with_capacity(rows.len());
        for (id, json, origin, by, created, updated, position) in rows {
            let row = row((id, json, origin, by, created, updated))?;
            let step = usize::try_from(position).unwrap_or_default();
            if row.order.steps.get(step).is_none() {
                return Err(CatalogError::Corrupt("a step of an order"));
            }
            found.push(FoundStep { row, step, studies: Vec::new() });
        }
        let keys: Vec<i64> = found.iter().map(|one| one.row.id).collect();
        let studies = self.studies_of_orders(scope, &keys).await?;
        for one in &mut found {
            one.studies = studies.get(&one.row.id).cloned().unwrap_or_default();
        }
        Ok(found)
    }

    /// Studies that belong to orders, by key of the order.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn studies_of_orders(
        &self,
        scope: &Scope,
        orders: &[i64],
    ) -> Result<HashMap<i64, Vec<String>>, CatalogError> {
        let mut studies: HashMap<i64, Vec<String>> = HashMap::new();
        for some in orders.chunks(200) {
            let mut writer = Writer::new(Dialect::Sqlite, scope.tenant().0);
            let any: Vec<String> = some.iter().map(|id| writer.number(*id)).collect();
            let text = format!(
                "SELECT order_id, study_uid FROM study_orders
                WHERE tenant_id = $1 AND order_id IN ({}) ORDER BY matched_ms, study_uid",
                any.join(", ")
            );
            let rows: Vec<(i64, String)> = on_db!(self.db(), pools => {
                let query = sqlx::query_as(AssertSqlSafe(text));
                bind_all!(query, writer.binds).fetch_all(&pools.read).await?
            });
            for (order, study) in rows {
                let known = studies.entry(order).or_default();
                if !known.contains(&study) {
                    known.push(study);
                }
            }
        }
        Ok(studies)
    }

    /// What waits for a person, or (`open` false) what was decided, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn order_mismatches(
        &self,
        scope: &Scope,
        open: bool,
        limit: u32,
    ) -> Result<Vec<Mismatch>, CatalogError> {
        const OPEN: &str = "SELECT id, kind, study_uid, order_id, state, created_ms, settled_ms,
                settled_by FROM order_mismatches
            WHERE tenant_id = $1 AND state = 'open' ORDER BY created_ms DESC, id DESC LIMIT $2";
        const SETTLED: &str = "SELECT id, kind, study_uid, order_id, state, created_ms, settled_ms,
                settled_by FROM order_mismatches
            WHERE tenant_id = $1 AND state <> 'open' ORDER BY settled_ms DESC, id DESC LIMIT $2";
        type Line = (i64, String, String, i64, String, i64, i64, String);
        let rows: Vec<Line> = on_db!(self.db(), pools => {
            sqlx::query_as(if open { OPEN } else { SETTLED })
                .bind(scope.tenant().0)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        let mut found = Vec::with_capacity(rows.len());
        for (id, kind, study_uid, order, state, created_ms, settled_ms, settled_by) in rows {
            let kind = MismatchKind::parse(&kind);
            let seen = match study_uid.is_empty() {
                true => None,
                false => self.seen(scope, &study_uid).await?.map(|(seen, _)| seen),
            };
            let order = if order == 0 { None } else { self.order(scope, order).await? };
            found.push(Mismatch {
                id,
                kind: kind.ok_or(CatalogError::Corrupt("a mismatch of an order"))?,
                study_uid,
                seen,
                order,
                state,
                created_ms,
                settled_ms,
                settled_by,
            });
        }
        Ok(found)
    }

    /// What a study says of its patient, and its modalities; `None` when it is not here.
    pub(super) async fn seen(
        &self,
        scope: &Scope,
        study: &str,
    ) -> Result<Option<(Seen, Vec<String>)>, CatalogError> {
        const TEXT: &str = "SELECT s.patient_id, s.issuer, p.name, s.birth_date, p.sex,
                s.accession_key, s.modalities
            FROM studies s JOIN patients p ON p.id = s.patient_row
            WHERE s.tenant_id = $1 AND s.study_uid = $2";
        type Line = (String, String, String, String, String, String, String);
        let found: Option<Line> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(found.map(|(patient_id, issuer, name, birth_date, sex, accession, modalities)| {
            let seen = Seen { patient_id, issuer, name, birth_date, sex, accession };
            (seen, crate::record::split_list(&modalities).collect())
        }))
    }
}
