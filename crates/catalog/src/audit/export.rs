//! How far the trail was sent to another system. One node sends at a time; the position of each chain
//! moves after its rows were taken, so that a crash repeats rows and loses none.

use super::entry::AuditRow;
use super::read::page_of_chain;
use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;

impl Catalog {
    /// Says that this worker sends the trail to a destination until `until_ms`. `false` while another
    /// one does.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn lease_audit_export(
        &self,
        destination: &str,
        worker: &str,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "INSERT INTO audit_exports (destination, worker, lease_until_ms)
            VALUES ($1, $2, $3)
            ON CONFLICT (destination) DO UPDATE SET worker = excluded.worker,
                lease_until_ms = excluded.lease_until_ms
            WHERE audit_exports.worker = excluded.worker OR audit_exports.lease_until_ms < $4";
        let leased = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(destination)
                .bind(worker)
                .bind(until_ms)
                .bind(now_ms)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(leased == 1)
    }

    /// Rows that a destination has not got, at most `limit` of each chain and in the order of each.
    /// Within a chain rows are committed in the order of their numbers, so none is skipped.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn unexported_audit(
        &self,
        destination: &str,
        limit: u32,
    ) -> Result<Vec<AuditRow>, CatalogError> {
        const TEXT: &str = "SELECT c.chain, c.number, COALESCE(p.number, 0)
            FROM audit_chains c
            LEFT JOIN audit_positions p ON p.chain = c.chain AND p.destination = $1
            WHERE c.number > COALESCE(p.number, 0) ORDER BY c.chain";
        let behind: Vec<(i64, i64, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(destination).fetch_all(&pools.read).await?
        });
        let mut rows = Vec::new();
        for (chain, last, sent) in behind {
            rows.extend(page_of_chain(self.db(), chain, sent, last, limit).await?);
        }
        Ok(rows)
    }

    /// Says that a destination has the rows of a chain up to this one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn audit_was_exported(
        &self,
        destination: &str,
        chain: i64,
        number: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "INSERT INTO audit_positions (destination, chain, number)
            VALUES ($1, $2, $3)
            ON CONFLICT (destination, chain) DO UPDATE SET number = excluded.number
            WHERE audit_positions.number < excluded.number";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(destination)
                .bind(chain)
                .bind(number)
                .execute(&pools.write)
                .await?;
        });
        Ok(())
    }
}
