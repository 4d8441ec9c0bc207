//! Rows of the register and called AE titles of tenants.

use qianli_model::audit::{Action, Outcome};
use qianli_model::peer::{CertificateRule, Coercions, PeerRule, Register, TitlePattern};
use qianli_model::scope::Principal;
use qianli_model::{AeTitle, Permissions, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{NewPeer, PeerAdded, PeerRow};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

/// Says to every node that the register changed.
pub(super) const CHANGED: &str = "UPDATE peer_register SET version = version + 1 WHERE id = 1";

/// Whether a title is one of the tenant's.
pub(super) const OWN: &str =
    "SELECT tenant_id FROM tenant_titles WHERE title = $1 AND tenant_id = $2";

/// Forgets refusals that a row settles.
pub(super) const SETTLED: &str = "DELETE FROM peer_incidents WHERE tenant_id = $1 AND calling = $2
    AND cause IN ('unknown', 'registered elsewhere')";

pub(super) const COLUMNS: &str =
    "SELECT id, tenant_id, label, calling, called, network, certificate,
    permissions, disabled, coercions FROM peers";

pub(super) type Row = (i64, i64, String, String, String, String, String, String, bool, String);
type Seen = (i64, String, i64, i64, String);

/// A row that was stored. One that this version cannot read would admit or refuse the wrong peers.
pub(super) fn rule(row: Row) -> Result<PeerRule, CatalogError> {
    const CORRUPT: CatalogError = CatalogError::Corrupt("a row of the register of peers");
    let (id, tenant, label, calling, called, network, certificate, permissions, ..) = row;
    let (disabled, coercions) = (row.8, row.9);
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(PeerRule {
        id,
        tenant: TenantId(tenant),
        label,
        calling: TitlePattern::parse(&calling).ok_or(CORRUPT)?,
        called: some(called).map(|text| AeTitle::parse(&text)).transpose().map_err(|_| CORRUPT)?,
        network: some(network).map(|text| text.parse()).transpose().map_err(|_| CORRUPT)?,
        certificate: some(certificate)
            .map(|text| CertificateRule::parse(&text).ok_or(CORRUPT))
            .transpose()?,
        // A permission that this version does not know permits nothing here.
        permissions: Permissions::of(
            &permissions.split(',').filter_map(qianli_model::Permission::parse).collect::<Vec<_>>(),
        ),
        disabled,
        coercions: Coercions::from_text(&coercions).ok_or(CORRUPT)?,
    })
}

/// Whether a scope may name this called title, empty for any, without owning it. Images that are
/// addressed to everybody would go to whoever writes the widest pattern.
pub(super) fn is_free(scope: &Scope, called: &str) -> bool {
    let operator = *scope.principal() == Principal::Local;
    scope.tenant() == TenantId::DEFAULT || (operator && called.is_empty())
}

impl Catalog {
    /// The register with the titles of all tenants, unless it still has the version that the caller
    /// knows.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn peer_register(&self, known: i64) -> Result<Option<Register>, CatalogError> {
        const VERSION: &str = "SELECT version FROM peer_register WHERE id = 1";
        const TITLES: &str = "SELECT title, tenant_id FROM tenant_titles";
        // Read first: what changes in between is read again under a later version.
        let (version,): (i64,) =
            on_db!(self.db(), pools => sqlx::query_as(VERSION).fetch_one(&pools.read).await?);
        if version == known {
            return Ok(None);
        }
        let rows: Vec<Row> =
            on_db!(self.db(), pools => sqlx::query_as(COLUMNS).fetch_all(&pools.read).await?);
        let titles: Vec<(String, i64)> =
            on_db!(self.db(), pools => sqlx::query_as(TITLES).fetch_all(&pools.read).await?);
        let rules = rows.into_iter().map(rule).collect::<Result<_, _>>()?;
        let titles = titles
            .into_iter()
            .map(|(title, tenant)| match AeTitle::parse(&title) {
                Ok(title) => Ok((title, TenantId(tenant))),
                Err(_) => Err(CatalogError::Corrupt("an AE title of a tenant")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Register::new(version, rules, titles)))
    }

    /// The rows of the scope's tenant, by calling AE title.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn peers(&self, scope: &Scope) -> Result<Vec<PeerRow>, CatalogError> {
        const SEEN: &str = "SELECT id, created_by, created_ms, seen_ms, seen_from FROM peers
            WHERE tenant_id = $1 ORDER BY calling, id";
        let text = format!("{COLUMNS} WHERE tenant_id = $1 ORDER BY calling, id");
        let tenant = scope.tenant().0;
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text)).bind(tenant).fetch_all(&pools.read).await?
        });
        let seen: Vec<Seen> = on_db!(self.db(), pools => {
            sqlx::query_as(SEEN).bind(tenant).fetch_all(&pools.read).await?
        });
        let mut seen: std::collections::HashMap<i64, Seen> =
            seen.into_iter().map(|row| (row.0, row)).collect();
        let row = |row: Row| {
            let (_, created_by, created_ms, seen_ms, seen_from) =
                seen.remove(&row.0).unwrap_or_default();
            Ok(PeerRow { rule: rule(row)?, created_by, created_ms, seen_ms, seen_from })
        };
        rows.into_iter().map(row).collect()
    }

    /// Adds a row to the register of the scope's tenant, and forgets refusals that it settles.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_peer(&self, scope: &Scope, new: &NewPeer) -> Result<PeerAdded, CatalogError> {
        const INSERT: &str = "INSERT INTO peers (tenant_id, label, calling, called, network,
                certificate, permissions, coercions, created_by, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (tenant_id, calling, called, network, certificate) DO NOTHING RETURNING id";
        const THERE: &str = "SELECT id FROM peers WHERE tenant_id = $1 AND calling = $2
            AND called = $3 AND network = $4 AND certificate = $5";
        let tenant = scope.tenant().0;
        let called = new.called.as_ref().map(ToString::to_string).unwrap_or_default();
        let network = new.network.as_ref().map(ToString::to_string).unwrap_or_default();
        let certificate = new.certificate.as_ref().map_or("", CertificateRule::as_str);
        let free = is_free(scope, &called);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            if !free {
                let own: Option<(i64,)> = sqlx::query_as(OWN)
                    .bind(&called)
                    .bind(tenant)
                    .fetch_optional(&mut *transaction)
                    .await?;
                if own.is_none() {
                    return Ok(PeerAdded::NotYourTitle);
                }
            }
            let row: Option<(i64,)> = sqlx::query_as(INSERT)
                .bind(tenant)
                .bind(&new.label)
                .bind(new.calling.as_str())
                .bind(&called)
                .bind(&network)
                .bind(certificate)
                .bind(new.permissions.names())
                .bind(new.coercions.to_text())
                .bind(scope.principal().name())
                .bind(new.at_ms)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((id,)) = row else {
                let (there,): (i64,) = sqlx::query_as(THERE)
                    .bind(tenant)
                    .bind(new.calling.as_str())
                    .bind(&called)
                    .bind(&network)
                    .bind(certificate)
                    .fetch_one(&mut *transaction)
                    .await?;
                return Ok(PeerAdded::Taken(there));
            };
            sqlx::query(SETTLED)
                .bind(tenant)
                .bind(new.calling.as_str())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(CHANGED).execute(&mut *transaction).await?;
            let details = json!({
                "did": "add", "peer": id, "calling": new.calling.as_str(), "called": called,
                "network": network, "certificate": certificate,
                "permissions": new.permissions.names(), "coercions": new.coercions.to_json(),
            });
            let entry = AuditEntry::new(scope, Action::ChangePeer, Outcome::Success, new.at_ms);
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
            self.peers_changed().notify_one();
            Ok(PeerAdded::Made(id))
        })
    }

    /// Removes a row of the scope's tenant. False when there is none of that key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_peer(&self, scope: &Scope, peer: i64) -> Result<bool, CatalogError> {
        const REMOVE: &str = "DELETE FROM peers WHERE tenant_id = $1 AND id = $2";
        const FIND: &str = "SELECT calling FROM peers WHERE tenant_id = $1 AND id = $2";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(String,)> = sqlx::query_as(FIND)
                .bind(scope.tenant().0)
                .bind(peer)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((calling,)) = row else { return Ok(false) };
            sqlx::query(REMOVE)
                .bind(scope.tenant().0)
                .bind(peer)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(CHANGED).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangePeer, Outcome::Success, now_ms())
                .with(&json!({"did": "remove", "peer": peer, "calling": calling}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        self.peers_changed().notify_one();
        Ok(true)
    }

    /// The called AE titles that the scope's tenant has for itself.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenant_titles(&self, scope: &Scope) -> Result<Vec<String>, CatalogError> {
        const TEXT: &str = "SELECT title FROM tenant_titles WHERE tenant_id = $1 ORDER BY title";
        let rows: Vec<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        Ok(rows.into_iter().map(|(title,)| title).collect())
    }

    /// Gives the scope's tenant a called AE title. False when another tenant has it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn claim_title(
        &self,
        scope: &Scope,
        title: &AeTitle,
        at_ms: i64,
    ) -> Result<bool, CatalogError> {
        const OWNER: &str = "SELECT tenant_id FROM tenant_titles WHERE title = $1";
        const INSERT: &str = "INSERT INTO tenant_titles (title, tenant_id, created_ms)
            VALUES ($1, $2, $3) ON CONFLICT (title) DO NOTHING";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(INSERT)
                .bind(title.as_str())
                .bind(scope.tenant().0)
                .bind(at_ms)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                let (owner,): (i64,) = sqlx::query_as(OWNER)
                    .bind(title.as_str())
                    .fetch_one(&mut *transaction)
                    .await?;
                return Ok(owner == scope.tenant().0);
            }
            sqlx::query(CHANGED).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangeTenant, Outcome::Success, at_ms)
                .with(&json!({"did": "claim title", "title": title.as_str()}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            self.peers_changed().notify_one();
            Ok(true)
        })
    }

    /// Takes a called AE title from the scope's tenant. False when it has none of that name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn release_title(
        &self,
        scope: &Scope,
        title: &AeTitle,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM tenant_titles WHERE title = $1 AND tenant_id = $2";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(title.as_str())
                .bind(scope.tenant().0)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            sqlx::query(CHANGED).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangeTenant, Outcome::Success, now_ms())
                .with(&json!({"did": "release title", "title": title.as_str()}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            self.peers_changed().notify_one();
            Ok(true)
        })
    }
}
