//! HL7 messages: which were taken, so that each is taken once, and which were refused lately.

use qianli_model::Scope;

use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;
use crate::keys::bounded;
use crate::workitem::tx::{Tx, on_tx};

/// How long a message is remembered: senders that were away repeat what is days old.
const MEMORY_MS: i64 = 60 * 24 * 3_600_000;

/// Refusals that are kept of a tenant.
const KEPT: i64 = 500;

/// By what a message is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId {
    /// Sending application and facility.
    pub sender: String,
    /// Sending facility, whose numbers the orders have; empty where it does not say.
    pub facility: String,
    /// Message control ID.
    pub control_id: String,
    /// Digest of its content: another message under the same control ID is another message.
    pub digest: String,
}

/// A message that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hl7Refusal {
    /// From which address.
    pub address: String,
    /// Sending application and facility.
    pub sender: String,
    /// Message control ID.
    pub control_id: String,
    /// Message type, such as `ORM^O01`.
    pub kind: String,
    /// `AE` or `AR`.
    pub code: String,
    /// Where the fault is, such as `OBR-4`; empty for the whole message.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// When (ms since 1970).
    pub at_ms: i64,
}

/// Notes that a message is being taken. False when it was taken before.
pub(super) async fn take(
    tx: &mut Tx,
    tenant: i64,
    message: &MessageId,
    now_ms: i64,
) -> Result<bool, CatalogError> {
    const OLD: &str = "DELETE FROM hl7_messages WHERE at_ms < $1";
    // A control ID that comes again with other content replaces the one before.
    const TAKE: &str = "INSERT INTO hl7_messages (tenant_id, sender, control_id, digest, at_ms)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant_id, sender, control_id) DO UPDATE SET
            digest = excluded.digest, at_ms = excluded.at_ms
        WHERE hl7_messages.digest <> excluded.digest";
    on_tx!(tx, connection => {
        sqlx::query(OLD).bind(now_ms.saturating_sub(MEMORY_MS)).execute(&mut *connection).await?;
        let taken = sqlx::query(TAKE)
            .bind(tenant)
            .bind(bounded(&message.sender))
            .bind(bounded(&message.control_id))
            .bind(bounded(&message.digest))
            .bind(now_ms)
            .execute(connection)
            .await?;
        Ok(taken.rows_affected() > 0)
    })
}

impl Catalog {
    /// Keeps a refusal for whoever has to find out why an order did not arrive; the latest 500.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn note_hl7_refusal(
        &self,
        scope: &Scope,
        refusal: &Hl7Refusal,
    ) -> Result<(), CatalogError> {
        const INSERT: &str = "INSERT INTO hl7_refusals (tenant_id, address, sender, control_id,
                kind, code, place, reason, at_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        const KEEP: &str = "DELETE FROM hl7_refusals WHERE tenant_id = $1 AND id <=
            (SELECT MAX(id) FROM hl7_refusals WHERE tenant_id = $1) - $2";
        on_db!(self.db(), pools => {
            sqlx::query(INSERT)
                .bind(scope.tenant().0)
                .bind(bounded(&refusal.address))
                .bind(bounded(&refusal.sender))
                .bind(bounded(&refusal.control_id))
                .bind(bounded(&refusal.kind))
                .bind(bounded(&refusal.code))
                .bind(bounded(&refusal.place))
                .bind(bounded(&refusal.reason))
                .bind(refusal.at_ms)
                .execute(&pools.write)
                .await?;
            sqlx::query(KEEP).bind(scope.tenant().0).bind(KEPT).execute(&pools.write).await?;
        });
        Ok(())
    }

    /// Messages of the scope's tenant that were refused, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn hl7_refusals(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<Hl7Refusal>, CatalogError> {
        const TEXT: &str = "SELECT address, sender, control_id, kind, code, place, reason, at_ms
            FROM hl7_refusals WHERE tenant_id = $1 ORDER BY at_ms DESC, id DESC LIMIT $2";
        type Line = (String, String, String, String, String, String, String, i64);
        let rows: Vec<Line> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        let one = |row: Line| {
            let (address, sender, control_id, kind, code, place, reason, at_ms) = row;
            Hl7Refusal { address, sender, control_id, kind, code, place, reason, at_ms }
        };
        Ok(rows.into_iter().map(one).collect())
    }
}
