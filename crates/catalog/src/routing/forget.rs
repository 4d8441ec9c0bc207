//! Forgets what was sent long ago.
//!
//! Of a study that is still here one row for each destination stays, which says until when everything was sent: a late
//! object then goes alone. Of a study that is gone nothing stays.

use sqlx::AssertSqlSafe;

use crate::Catalog;
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;

/// Deliveries of one batch.
const BATCH: i64 = 200;

/// What one batch forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Deliveries of studies that are gone.
    pub deliveries: u64,
    /// Rows about single objects.
    pub objects: u64,
}

impl Catalog {
    /// Forgets a batch of what did not change since `before_ms` (ms since 1970), of every tenant. Nothing is left to
    /// do when it forgot nothing. Only for the node's own work.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn forget_deliveries(&self, before_ms: i64) -> Result<Forgotten, CatalogError> {
        // What a person has to look at, or waits, is not forgotten while its study is here.
        const GONE: &str = "SELECT d.id FROM deliveries d
            WHERE d.updated_ms <= $1 AND d.state <> 'sending' AND NOT EXISTS (SELECT 1
                FROM studies s WHERE s.tenant_id = d.tenant_id AND s.study_uid = d.study_uid)
            ORDER BY d.id LIMIT $2";
        const SENT: &str = "SELECT d.id FROM deliveries d
            WHERE d.updated_ms <= $1 AND d.state IN ('delivered', 'committed')
                AND EXISTS (SELECT 1 FROM delivered o WHERE o.delivery_id = d.id)
            ORDER BY d.id LIMIT $2";
        // Everything that was here when it was last looked at had been taken; the row itself does not change for
        // whoever lists deliveries.
        const COUNT: &str = "UPDATE deliveries SET forgotten_ms = updated_ms,
                forgotten = forgotten + (SELECT COUNT(*) FROM delivered o
                    WHERE o.delivery_id = deliveries.id AND o.outcome IN ('sent', 'committed'))
            WHERE id = $1 AND updated_ms <= $2 AND state IN ('delivered', 'committed')";
        let mut forgotten = Forgotten::default();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let gone: Vec<(i64,)> = sqlx::query_as(GONE)
                .bind(before_ms)
                .bind(BATCH)
                .fetch_all(&mut *transaction)
                .await?;
            for (id,) in gone {
                for (text, counted) in [
                    ("DELETE FROM commitments WHERE delivery_id = $1", false),
                    ("DELETE FROM delivered WHERE delivery_id = $1", true),
                    ("DELETE FROM deliveries WHERE id = $1", false),
                ] {
                    let done = sqlx::query(AssertSqlSafe(text)).bind(id);
                    let rows = done.execute(&mut *transaction).await?.rows_affected();
                    forgotten.objects += if counted { rows } else { 0 };
                }
                forgotten.deliveries += 1;
            }
            let sent: Vec<(i64,)> = sqlx::query_as(SENT)
                .bind(before_ms)
                .bind(BATCH)
                .fetch_all(&mut *transaction)
                .await?;
            for (id,) in sent {
                let counted = sqlx::query(COUNT).bind(id).bind(before_ms);
                if counted.execute(&mut *transaction).await?.rows_affected() == 0 {
                    continue;
                }
                let rows = sqlx::query("DELETE FROM delivered WHERE delivery_id = $1").bind(id);
                forgotten.objects += rows.execute(&mut *transaction).await?.rows_affected();
            }
            transaction.commit().await?;
        });
        Ok(forgotten)
    }
}
