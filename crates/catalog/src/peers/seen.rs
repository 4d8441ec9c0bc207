//! Who was refused, and who came: notes that the admission of associations leaves behind.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope, TenantId};
use serde_json::json;

use super::{Refusals, RefusedPeer, SeenPeer};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;

/// Refused peers that are remembered of each tenant.
const REMEMBERED: i64 = 500;

/// How long (ms).
const FOR: i64 = 30 * 24 * 3600 * 1000;

type Row = (i64, String, String, String, String, String, i64, i64, i64);

impl Catalog {
    /// Refusals of associations that called an AE title of the scope's tenant, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn refused_peers(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<Refusals>, CatalogError> {
        const TEXT: &str = "SELECT tenant_id, calling, called, address, certificate, reason, times,
                first_ms, last_ms
            FROM refused_peers WHERE tenant_id = $1 ORDER BY last_ms DESC, calling LIMIT $2";
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        let refusals = |row: Row| {
            let (tenant, calling, called, address, certificate, reason, times, first_ms, last_ms) =
                row;
            let peer = RefusedPeer { tenant, calling, called, address, certificate, reason };
            Refusals { peer, times, first_ms, last_ms }
        };
        Ok(rows.into_iter().map(refusals).collect())
    }

    /// Notes refusals, each with a row of the audit trail in the same transaction, and which rows of
    /// the register were used. `uncounted`: refusals that nobody kept apart, there were so many.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn note_peers(
        &self,
        refused: &[Refusals],
        uncounted: i64,
        seen: &[SeenPeer],
    ) -> Result<(), CatalogError> {
        const UPSERT: &str = "INSERT INTO refused_peers AS r (tenant_id, calling, called, address,
                certificate, reason, times, first_ms, last_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (tenant_id, calling, called, address, certificate) DO UPDATE
            SET reason = excluded.reason, times = r.times + excluded.times,
                last_ms = excluded.last_ms";
        const FORGET: &str = "DELETE FROM refused_peers WHERE tenant_id = $1 AND (last_ms < $2
            OR last_ms < (SELECT last_ms FROM refused_peers WHERE tenant_id = $1
                ORDER BY last_ms DESC LIMIT 1 OFFSET $3))";
        const SEEN: &str = "UPDATE peers SET seen_ms = $2, seen_from = $3 WHERE id = $1";
        let mut entries: Vec<AuditEntry> = refused.iter().map(entry).collect();
        let now = refused.iter().map(|one| one.last_ms).max().unwrap_or_default();
        if uncounted > 0 {
            let scope = Scope::system(TenantId::DEFAULT, "admission of peers");
            let mut entry = AuditEntry::new(&scope, Action::AccessDenied, Outcome::Refused, now);
            entry.requests = uncounted;
            entries.push(entry.with(&json!({"what": "associations", "kept apart": false})));
        }
        let mut tenants: Vec<i64> = refused.iter().map(|one| one.peer.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            for one in seen {
                sqlx::query(SEEN)
                    .bind(one.rule)
                    .bind(one.at_ms)
                    .bind(&one.address)
                    .execute(&mut *transaction)
                    .await?;
            }
            for Refusals { peer, times, first_ms, last_ms } in refused {
                sqlx::query(UPSERT)
                    .bind(peer.tenant)
                    .bind(&peer.calling)
                    .bind(&peer.called)
                    .bind(&peer.address)
                    .bind(&peer.certificate)
                    .bind(&peer.reason)
                    .bind(times)
                    .bind(first_ms)
                    .bind(last_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            for tenant in tenants {
                sqlx::query(FORGET)
                    .bind(tenant)
                    .bind(now.saturating_sub(FOR))
                    .bind(REMEMBERED)
                    .execute(&mut *transaction)
                    .await?;
            }
            if !entries.is_empty() {
                transaction.append_audit(entries).await?;
            }
            transaction.commit().await?;
        });
        Ok(())
    }
}

fn entry(refusals: &Refusals) -> AuditEntry {
    let RefusedPeer { tenant, calling, called, address, certificate, reason } = &refusals.peer;
    let principal = Principal::Peer(calling.clone());
    let scope = Scope::new(TenantId(*tenant), principal, Permissions::NONE).at(address);
    let mut entry =
        AuditEntry::new(&scope, Action::AccessDenied, Outcome::Refused, refusals.last_ms);
    entry.requests = refusals.times;
    let mut details = json!({"what": "association", "called": called, "reason": reason});
    if !certificate.is_empty() {
        details["certificate"] = json!(certificate);
    }
    entry.with(&details)
}
