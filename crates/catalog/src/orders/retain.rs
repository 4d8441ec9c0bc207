//! Removes orders, and what modalities performed, that nobody needs any more.

use qianli_model::workitem::instant::date_time;
use qianli_model::{Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::write::audit;
use crate::Catalog;
use crate::error::CatalogError;
use crate::workitem::tx::{Tx, on_tx};

/// Orders of one batch.
const BATCH: i64 = 200;

impl Catalog {
    /// Removes a batch of orders of a tenant that did not change since `before_ms` (ms since 1970), are not scheduled
    /// for later than that, and of which no study is here; with them their steps, what was performed of them and what a
    /// person decided. Then of performed steps without an order. Returns how many rows of both there were: nothing is
    /// left to do when that is 0. Only for the node's own work.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn expire_orders(
        &self,
        tenant: TenantId,
        before_ms: i64,
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        const ORDERS: &str = "SELECT o.id FROM orders o WHERE o.tenant_id = $1 AND o.updated_ms <= $2
            AND NOT EXISTS (SELECT 1 FROM order_steps t WHERE t.order_id = o.id AND t.start_date > $3)
            AND NOT EXISTS (SELECT 1 FROM study_orders m JOIN studies s
                ON s.tenant_id = m.tenant_id AND s.study_uid = m.study_uid WHERE m.order_id = o.id)
            AND NOT EXISTS (SELECT 1 FROM studies s
                WHERE s.tenant_id = o.tenant_id AND s.study_uid = o.study_uid)
            ORDER BY o.id LIMIT $4";
        const PERFORMED: &str = "SELECT p.id FROM performed_steps p
            WHERE p.tenant_id = $1 AND p.updated_ms <= $2 AND p.order_id = 0
                AND NOT EXISTS (SELECT 1 FROM studies s
                    WHERE s.tenant_id = p.tenant_id AND s.study_uid = p.study_uid)
            ORDER BY p.id LIMIT $3";
        const OF_ORDER: [&str; 7] = [
            "DELETE FROM performed_series WHERE performed_id IN
                (SELECT id FROM performed_steps WHERE tenant_id = $1 AND order_id = $2)",
            "DELETE FROM performed_steps WHERE tenant_id = $1 AND order_id = $2",
            "DELETE FROM order_mismatches WHERE tenant_id = $1 AND order_id = $2",
            "DELETE FROM study_orders WHERE tenant_id = $1 AND order_id = $2",
            "DELETE FROM order_steps WHERE tenant_id = $1 AND order_id = $2",
            "DELETE FROM order_words WHERE tenant_id = $1 AND order_id = $2",
            "DELETE FROM orders WHERE tenant_id = $1 AND id = $2",
        ];
        const OF_STEP: [&str; 2] = [
            "DELETE FROM performed_series WHERE tenant_id = $1 AND performed_id = $2",
            "DELETE FROM performed_steps WHERE tenant_id = $1 AND id = $2",
        ];
        // Of studies that are gone, and of which a person had decided.
        const MISMATCHES: &str = "DELETE FROM order_mismatches WHERE tenant_id = $1
            AND state <> 'open' AND settled_ms <= $2 AND NOT EXISTS (SELECT 1 FROM studies s
                WHERE s.tenant_id = order_mismatches.tenant_id
                    AND s.study_uid = order_mismatches.study_uid)";
        let day = date_time(before_ms);
        let day = day.get(..8).unwrap_or_default();
        let mut tx = Tx::of_orders(self.db(), tenant.0).await?;
        let orders: Vec<(i64,)> = on_tx!(&mut tx, connection => {
            sqlx::query_as(ORDERS)
                .bind(tenant.0)
                .bind(before_ms)
                .bind(day)
                .bind(BATCH)
                .fetch_all(connection)
                .await?
        });
        let performed: Vec<(i64,)> = on_tx!(&mut tx, connection => {
            sqlx::query_as(PERFORMED)
                .bind(tenant.0)
                .bind(before_ms)
                .bind(BATCH)
                .fetch_all(connection)
                .await?
        });
        for (ids, texts) in [(&orders, &OF_ORDER[..]), (&performed, &OF_STEP[..])] {
            for (id,) in ids {
                for text in texts {
                    on_tx!(&mut tx, connection => {
                        sqlx::query(AssertSqlSafe(*text))
                            .bind(tenant.0)
                            .bind(id)
                            .execute(connection)
                            .await?;
                    });
                }
            }
        }
        on_tx!(&mut tx, connection => {
            sqlx::query(MISMATCHES).bind(tenant.0).bind(before_ms).execute(connection).await?;
        });
        if !orders.is_empty() || !performed.is_empty() {
            let scope = Scope::system(tenant, "orders are kept for a time");
            let ids: Vec<i64> = orders.iter().map(|(id,)| *id).collect();
            let details = json!({"did": "expire", "orders": ids, "performed": performed.len()});
            audit(&mut tx, &scope, &details, now_ms).await?;
        }
        tx.commit().await?;
        Ok((orders.len() + performed.len()) as u64)
    }
}
