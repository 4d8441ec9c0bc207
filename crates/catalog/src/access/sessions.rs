//! Sessions of browsers.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Role, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::identities::LINK;
use super::{NewOidcLink, NewSession, OidcLink, Session, SessionRow, Tenant, joining, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

/// A session with its person, tenant and provider.
#[derive(sqlx::FromRow)]
struct Row {
    person: i64,
    login: String,
    name: String,
    must_change: bool,
    tenant: i64,
    tenant_name: String,
    title: String,
    seen_ms: i64,
    expires_ms: i64,
    roles: Option<String>,
    provider: Option<String>,
    refreshes: Option<bool>,
    checked_ms: Option<i64>,
    valid_ms: Option<i64>,
    must_enrol: bool,
}

impl Catalog {
    /// Opens a session, and drops those that have ended.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn open_session(&self, new: &NewSession) -> Result<(), CatalogError> {
        self.open_session_of(new, None).await
    }

    /// As [`Self::open_session`], with the identity provider that stands behind it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn open_session_of(
        &self,
        new: &NewSession,
        link: Option<&NewOidcLink>,
    ) -> Result<(), CatalogError> {
        const SWEEP: &str = "DELETE FROM sessions WHERE expires_ms <= $1";
        const TEXT: &str = "INSERT INTO sessions (secret, user_id, tenant_id, created_ms, seen_ms,
                expires_ms, peer, agent) VALUES ($1, $2, $3, $4, $4, $5, $6, $7)";
        let principal = Principal::Person(new.person, new.login.clone());
        let scope = Scope::new(new.tenant, principal, Permissions::NONE).at(&new.peer);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(SWEEP).bind(new.at_ms).execute(&mut *transaction).await?;
            sqlx::query(TEXT)
                .bind(&new.secret)
                .bind(new.person)
                .bind(new.tenant.0)
                .bind(new.at_ms)
                .bind(new.expires_ms)
                .bind(&new.peer)
                .bind(&new.agent)
                .execute(&mut *transaction)
                .await?;
            let mut entry = AuditEntry::new(&scope, Action::Login, Outcome::Success, new.at_ms);
            if let Some(link) = link {
                sqlx::query(LINK)
                    .bind(&new.secret)
                    .bind(&link.provider)
                    .bind(&link.sealed)
                    .bind(link.refreshes)
                    .bind(new.at_ms)
                    .execute(&mut *transaction)
                    .await?;
                entry = entry.with(&json!({"provider": link.provider}));
            }
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// The open session of a digest. `None` when it has ended, was quiet since before
    /// `quiet_since_ms`, or its account was switched off.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn session(
        &self,
        secret: &str,
        now_ms: i64,
        quiet_since_ms: i64,
    ) -> Result<Option<Session>, CatalogError> {
        let text = format!(
            "SELECT u.id AS person, u.login, u.name, u.must_change, t.id AS tenant,
                t.name AS tenant_name, t.title, s.seen_ms, s.expires_ms,
                (SELECT {} FROM memberships m
                    WHERE m.user_id = u.id AND m.tenant_id = t.id) AS roles,
                o.provider, o.refreshes, o.checked_ms, o.valid_ms,
                (EXISTS (SELECT 1 FROM memberships m JOIN tenants q ON q.id = m.tenant_id
                    WHERE m.user_id = u.id AND q.second_factor)
                AND NOT EXISTS (SELECT 1 FROM totp f WHERE f.user_id = u.id AND f.confirmed)
                AND o.provider IS NULL) AS must_enrol
            FROM sessions s LEFT JOIN oidc_sessions o ON o.secret = s.secret JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = s.tenant_id
            WHERE s.secret = $1 AND s.expires_ms > $2 AND s.seen_ms >= $3 AND NOT u.disabled",
            joining(self.db(), "m.role")
        );
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(secret)
                .bind(now_ms)
                .bind(quiet_since_ms)
                .fetch_optional(&pools.read)
                .await?
        });
        let session = |row: Row| {
            let oidc = row.provider.map(|provider| OidcLink {
                provider,
                refreshes: row.refreshes.unwrap_or_default(),
                checked_ms: row.checked_ms.unwrap_or_default(),
                valid_ms: row.valid_ms.unwrap_or_default(),
            });
            Session {
                person: row.person,
                login: row.login,
                name: row.name,
                must_change: row.must_change,
                tenant: Tenant {
                    id: TenantId(row.tenant),
                    name: row.tenant_name,
                    title: row.title,
                },
                roles: roles(&row.roles.unwrap_or_default()),
                seen_ms: row.seen_ms,
                expires_ms: row.expires_ms,
                must_enrol: row.must_enrol,
                oidc,
            }
        };
        Ok(row.map(session))
    }

    /// Notes that a session is in use.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn touch_session(&self, secret: &str, now_ms: i64) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE sessions SET seen_ms = $2 WHERE secret = $1";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT).bind(secret).bind(now_ms).execute(&pools.write).await?;
        });
        Ok(())
    }

    /// Ends a session of a person. False when there is none of that digest.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn close_session(
        &self,
        scope: &Scope,
        person: i64,
        secret: &str,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM sessions WHERE user_id = $1 AND secret = $2";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(person)
                .bind(secret)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::Logout, Outcome::Success, now_ms());
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Ends every session of a person; returns how many there were.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn end_sessions(&self, scope: &Scope, person: i64) -> Result<u64, CatalogError> {
        const TEXT: &str = "DELETE FROM sessions WHERE user_id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let ended =
                sqlx::query(TEXT).bind(person).execute(&mut *transaction).await?.rows_affected();
            if ended > 0 {
                let entry = AuditEntry::new(scope, Action::Logout, Outcome::Success, now_ms())
                    .with(&serde_json::json!({"person": person, "sessions": ended}));
                transaction.append_audit(vec![entry]).await?;
            }
            transaction.commit().await?;
            Ok(ended)
        })
    }

    /// Open sessions of a person, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn sessions(
        &self,
        person: i64,
        now_ms: i64,
    ) -> Result<Vec<SessionRow>, CatalogError> {
        const TEXT: &str = "SELECT secret, created_ms, seen_ms, expires_ms, peer, agent
            FROM sessions WHERE user_id = $1 AND expires_ms > $2 ORDER BY created_ms DESC, secret";
        let rows: Vec<(String, i64, i64, i64, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(person).bind(now_ms).fetch_all(&pools.read).await?
        });
        let row = |(secret, created_ms, seen_ms, expires_ms, peer, agent)| SessionRow {
            secret,
            created_ms,
            seen_ms,
            expires_ms,
            peer,
            agent,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What a person is to a tenant; nothing when it is no member.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn roles(&self, person: i64, tenant: TenantId) -> Result<Vec<Role>, CatalogError> {
        let text = format!(
            "SELECT {} FROM memberships m WHERE m.user_id = $1 AND m.tenant_id = $2",
            joining(self.db(), "m.role")
        );
        let (names,): (Option<String>,) = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(person)
                .bind(tenant.0)
                .fetch_one(&pools.read)
                .await?
        });
        Ok(roles(&names.unwrap_or_default()))
    }

    /// The tenants that a person belongs to, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenants_of(&self, person: i64) -> Result<Vec<Tenant>, CatalogError> {
        const TEXT: &str = "SELECT DISTINCT t.id, t.name, t.title FROM tenants t
            JOIN memberships m ON m.tenant_id = t.id WHERE m.user_id = $1 ORDER BY t.name";
        let rows: Vec<(i64, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(person).fetch_all(&pools.read).await?
        });
        let tenant = |(id, name, title)| Tenant { id: TenantId(id), name, title };
        Ok(rows.into_iter().map(tenant).collect())
    }
}
