//! Sessions of browsers.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Role, Scope, TenantId};
use sqlx::AssertSqlSafe;

use super::{NewSession, Session, SessionRow, Tenant, joining, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

impl Catalog {
    /// Opens a session, and drops those that have ended.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn open_session(&self, new: &NewSession) -> Result<(), CatalogError> {
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
            let entry = AuditEntry::new(&scope, Action::Login, Outcome::Success, new.at_ms);
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
            "SELECT u.id, u.login, u.name, u.must_change, t.id, t.name, t.title, s.seen_ms,
                s.expires_ms, (SELECT {} FROM memberships m
                    WHERE m.user_id = u.id AND m.tenant_id = t.id)
            FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = s.tenant_id
            WHERE s.secret = $1 AND s.expires_ms > $2 AND s.seen_ms >= $3 AND NOT u.disabled",
            joining(self.db(), "m.role")
        );
        type Row = (i64, String, String, bool, i64, String, String, i64, i64, Option<String>);
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(secret)
                .bind(now_ms)
                .bind(quiet_since_ms)
                .fetch_optional(&pools.read)
                .await?
        });
        let session = |row: Row| {
            let (person, login, name, must_change, id, tenant, title, seen_ms, expires_ms, names) =
                row;
            Session {
                person,
                login,
                name,
                must_change,
                tenant: Tenant { id: TenantId(id), name: tenant, title },
                roles: roles(&names.unwrap_or_default()),
                seen_ms,
                expires_ms,
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
