//! What happens to workitems that nobody needs any more (PS3.4 CC.2.1.3, CC.2.3: deletion locks).

use super::tx::{Subscriptions, Tx, on_tx};
use crate::db::{Db, on_db};
use crate::error::CatalogError;

/// How long things stay, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A workitem after it became final, unless a subscription locks it.
    pub finished_ms: i64,
    /// A report that was not fetched.
    pub reports_ms: i64,
    /// The memory that a removed workitem was here: its UID is answered with 410 and not taken
    /// again.
    pub memory_ms: i64,
}

/// Workitems of one batch.
const BATCH: i64 = 200;

/// Everybody whose workitems may be due.
pub(super) async fn tenants(db: &Db) -> Result<Vec<i64>, CatalogError> {
    let rows: Vec<(i64,)> = on_db!(db, pools => {
        sqlx::query_as("SELECT id FROM tenants ORDER BY id").fetch_all(&pools.read).await?
    });
    Ok(rows.into_iter().map(|row| row.0).collect())
}

pub(super) async fn expire(
    db: &Db,
    tenant: i64,
    retention: Retention,
    now_ms: i64,
) -> Result<u32, CatalogError> {
    const DUE: &str = "SELECT w.id FROM workitems w
        WHERE w.tenant_id = $1 AND w.final_ms > 0 AND w.final_ms <= $2 AND w.removed_ms = 0
            AND NOT EXISTS (SELECT 1 FROM workitem_subscriptions s
                WHERE s.workitem_id = w.id AND s.deletion_lock)
        ORDER BY w.final_ms LIMIT $3";
    const KEYS: &str = "DELETE FROM workitem_keys WHERE workitem_id = $1";
    const SUBSCRIPTIONS: &str = "DELETE FROM workitem_subscriptions WHERE workitem_id = $1";
    const REMOVE: &str = "UPDATE workitems SET json = '', transaction_uid = '', start_key = '',
            revision = revision + 1, removed_ms = $2 WHERE id = $1";
    const REPORTS: &str = "DELETE FROM workitem_events WHERE tenant_id = $1 AND at_ms <= $2";
    const FORGET: &str =
        "DELETE FROM workitems WHERE tenant_id = $1 AND removed_ms > 0 AND removed_ms <= $2";
    let before = |ms: i64| now_ms.saturating_sub(ms);
    // Nobody may put a lock on what is being removed.
    let mut tx = Tx::begin(db, tenant, Subscriptions::Write).await?;
    let due: Vec<(i64,)> = on_tx!(&mut tx, connection => {
        sqlx::query_as(DUE)
            .bind(tenant)
            .bind(before(retention.finished_ms))
            .bind(BATCH)
            .fetch_all(connection)
            .await?
    });
    for (id,) in &due {
        on_tx!(&mut tx, connection => {
            sqlx::query(KEYS).bind(id).execute(&mut *connection).await?;
            sqlx::query(SUBSCRIPTIONS).bind(id).execute(&mut *connection).await?;
            sqlx::query(REMOVE).bind(id).bind(now_ms).execute(&mut *connection).await?;
        });
    }
    for (text, ms) in [(REPORTS, retention.reports_ms), (FORGET, retention.memory_ms)] {
        on_tx!(&mut tx, connection => {
            sqlx::query(text).bind(tenant).bind(before(ms)).execute(connection).await?;
        });
    }
    tx.commit().await?;
    Ok(u32::try_from(due.len()).unwrap_or(u32::MAX))
}
