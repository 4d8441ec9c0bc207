//! What went wrong with peers, and who came: notes that the acceptor leaves behind.

use qianli_model::audit::{Action, Outcome};
use qianli_model::incident::{Cause, Incident, Kind};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Noted, SeenPeer};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;

/// Incidents of each kind that are remembered of each tenant.
const REMEMBERED: i64 = 500;

/// How long (ms).
const FOR: i64 = 30 * 24 * 3600 * 1000;

const COLUMNS: &str = "tenant_id, cause, calling, called, address, certificate, subject, class_uid,
    version, proposed, status, detail, times, first_ms, last_ms";

#[derive(sqlx::FromRow)]
struct Row {
    tenant_id: i64,
    cause: String,
    calling: String,
    called: String,
    address: String,
    certificate: String,
    subject: String,
    class_uid: String,
    version: String,
    proposed: String,
    status: i64,
    detail: String,
    times: i64,
    first_ms: i64,
    last_ms: i64,
}

impl Row {
    /// `None` for a cause that a later version wrote.
    fn noted(self) -> Option<Noted> {
        Some(Noted {
            tenant: TenantId(self.tenant_id),
            incident: Incident {
                cause: Cause::parse(&self.cause)?,
                calling: self.calling,
                called: self.called,
                address: self.address,
                certificate: self.certificate,
                class_uid: self.class_uid,
                version: self.version,
                subject: self.subject,
                proposed: self.proposed,
                status: u16::try_from(self.status).unwrap_or_default(),
                detail: self.detail,
            },
            times: self.times,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
        })
    }
}

/// Which incidents are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentsOf<'a> {
    /// All but who was admitted.
    Everybody,
    /// Connections and associations that were refused.
    Refused,
    /// Those of an AE title or an address, with who was admitted.
    Peer(&'a str),
}

impl Catalog {
    /// What went wrong with the peers of the scope's tenant, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn incidents(
        &self,
        scope: &Scope,
        of: IncidentsOf<'_>,
        limit: u32,
    ) -> Result<Vec<Noted>, CatalogError> {
        let (which, name) = match of {
            IncidentsOf::Everybody => ("kind <> 'admitted' AND $2 = ''", ""),
            IncidentsOf::Refused => ("kind = 'association' AND $2 = ''", ""),
            IncidentsOf::Peer(name) => ("(calling = $2 OR address = $2)", name),
        };
        let text = format!(
            "SELECT {COLUMNS} FROM peer_incidents WHERE tenant_id = $1 AND {which}
                ORDER BY last_ms DESC, calling, cause, subject LIMIT $3"
        );
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(name)
                .bind(i64::from(limit))
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().filter_map(Row::noted).collect())
    }

    /// Notes incidents, those that kept somebody out each with a row of the audit trail in the same
    /// transaction, and which rows of the register were used. `uncounted`: refusals that nobody kept
    /// apart, there were so many.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn note_peers(
        &self,
        noted: &[Noted],
        uncounted: i64,
        seen: &[SeenPeer],
    ) -> Result<(), CatalogError> {
        const UPSERT: &str =
            "INSERT INTO peer_incidents AS r (tenant_id, kind, cause, calling, called,
                address, certificate, subject, class_uid, version, proposed, status, detail, times,
                first_ms, last_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
            ON CONFLICT (tenant_id, calling, called, address, certificate, kind, cause, subject)
            DO UPDATE SET class_uid = excluded.class_uid, version = excluded.version,
                proposed = excluded.proposed, status = excluded.status, detail = excluded.detail,
                times = r.times + excluded.times, last_ms = excluded.last_ms";
        const FORGET: &str = "DELETE FROM peer_incidents WHERE tenant_id = $1 AND kind = $2
            AND (last_ms < $3 OR last_ms < (SELECT last_ms FROM peer_incidents
                WHERE tenant_id = $1 AND kind = $2 ORDER BY last_ms DESC LIMIT 1 OFFSET $4))";
        const SEEN: &str = "UPDATE peers SET seen_ms = $2, seen_from = $3 WHERE id = $1";
        let audited = noted.iter().filter(|one| one.incident.cause.is_audited());
        let mut entries: Vec<AuditEntry> = audited.map(entry).collect();
        let now = noted.iter().map(|one| one.last_ms).max().unwrap_or_default();
        if uncounted > 0 {
            let scope = Scope::system(TenantId::DEFAULT, "admission of peers");
            let mut entry = AuditEntry::new(&scope, Action::AccessDenied, Outcome::Refused, now);
            entry.requests = uncounted;
            entries.push(entry.with(&json!({"what": "associations", "kept apart": false})));
        }
        let mut groups: Vec<(i64, Kind)> =
            noted.iter().map(|one| (one.tenant.0, one.incident.cause.kind())).collect();
        groups.sort_unstable();
        groups.dedup();
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
            for Noted { tenant, incident, times, first_ms, last_ms } in noted {
                sqlx::query(UPSERT)
                    .bind(tenant.0)
                    .bind(incident.cause.kind().name())
                    .bind(incident.cause.name())
                    .bind(&incident.calling)
                    .bind(&incident.called)
                    .bind(&incident.address)
                    .bind(&incident.certificate)
                    .bind(&incident.subject)
                    .bind(&incident.class_uid)
                    .bind(&incident.version)
                    .bind(&incident.proposed)
                    .bind(i64::from(incident.status))
                    .bind(&incident.detail)
                    .bind(times)
                    .bind(first_ms)
                    .bind(last_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            for (tenant, kind) in groups {
                sqlx::query(FORGET)
                    .bind(tenant)
                    .bind(kind.name())
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

fn entry(noted: &Noted) -> AuditEntry {
    let Incident { cause, calling, called, address, certificate, .. } = &noted.incident;
    let principal = Principal::Peer(calling.clone());
    let scope = Scope::new(noted.tenant, principal, Permissions::NONE).at(address);
    let mut entry = AuditEntry::new(&scope, Action::AccessDenied, Outcome::Refused, noted.last_ms);
    entry.requests = noted.times;
    let mut details = json!({"what": "association", "called": called, "reason": cause.name()});
    if !certificate.is_empty() {
        details["certificate"] = json!(certificate);
    }
    entry.with(&details)
}
