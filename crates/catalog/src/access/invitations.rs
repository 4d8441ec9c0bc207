//! Invitations: links by which somebody makes an account of their own in a tenant, once.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope, TenantId};
use serde_json::json;

use super::people::{ADD_ROLE, names};
use super::{Accepted, Invitation, Invited, NewInvitation, NewPerson, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;

/// Invitations that a list shows.
const MOST_LISTED: i64 = 100;

/// Whether an invitation opens anything at $2. One of somebody who was switched off would be a way
/// back in.
const OPEN: &str = "invitations.used_ms = 0 AND invitations.revoked_ms = 0
    AND invitations.expires_ms > $2 AND NOT EXISTS
        (SELECT 1 FROM users u WHERE u.login = invitations.created_by AND u.disabled)";

impl Catalog {
    /// Makes an invitation to the scope's tenant, and returns its key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn invite(&self, scope: &Scope, new: &NewInvitation) -> Result<i64, CatalogError> {
        const TEXT: &str = "INSERT INTO invitations (secret, tenant_id, roles, note, created_by,
                created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
        let of = names(&new.roles);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let (id,): (i64,) = sqlx::query_as(TEXT)
                .bind(&new.secret)
                .bind(scope.tenant().0)
                .bind(of.join(","))
                .bind(&new.note)
                .bind(scope.principal().name())
                .bind(new.at_ms)
                .bind(new.expires_ms)
                .fetch_one(&mut *transaction)
                .await?;
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, new.at_ms)
                .with(&json!({"did": "invite", "invitation": id, "roles": of}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(id)
        })
    }

    /// The latest invitations to the scope's tenant.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn invitations(&self, scope: &Scope) -> Result<Vec<Invitation>, CatalogError> {
        const TEXT: &str = "SELECT id, roles, note, created_by, expires_ms, revoked_ms, used_ms,
                used_by FROM invitations WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2";
        type Row = (i64, String, String, String, i64, i64, i64, String);
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(MOST_LISTED)
                .fetch_all(&pools.read)
                .await?
        });
        let one = |(id, of, note, created_by, expires_ms, revoked_ms, used_ms, used_by): Row| {
            let roles = roles(&of);
            Invitation { id, roles, note, created_by, expires_ms, revoked_ms, used_ms, used_by }
        };
        Ok(rows.into_iter().map(one).collect())
    }

    /// Takes an invitation of the scope's tenant back. False when there is none that is open.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn revoke_invitation(
        &self,
        scope: &Scope,
        id: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE invitations SET revoked_ms = $3
            WHERE tenant_id = $1 AND id = $2 AND revoked_ms = 0 AND used_ms = 0";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(id)
                .bind(now_ms)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeUser, Outcome::Success, now_ms)
                .with(&json!({"did": "revoke invitation", "invitation": id}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// What an invitation that is open is to, by the digest of its secret.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn invitation(
        &self,
        secret: &str,
        now_ms: i64,
    ) -> Result<Option<Invited>, CatalogError> {
        let text = format!(
            "SELECT t.name, t.title, invitations.roles FROM invitations
            JOIN tenants t ON t.id = invitations.tenant_id
            WHERE invitations.secret = $1 AND {OPEN}"
        );
        let row: Option<(String, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(sqlx::AssertSqlSafe(text))
                .bind(secret)
                .bind(now_ms)
                .fetch_optional(&pools.read)
                .await?
        });
        let invited = |(name, title, of): (String, String, String)| Invited {
            tenant: if title.is_empty() { name } else { title },
            roles: roles(&of),
        };
        Ok(row.map(invited))
    }

    /// Makes the account of whoever was invited; the invitation is used up. The roles are its own,
    /// whatever `new` says.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn accept_invitation(
        &self,
        secret: &str,
        new: &NewPerson,
        peer: &str,
    ) -> Result<Accepted, CatalogError> {
        const PERSON: &str = "INSERT INTO users (login, name, password, must_change, created_ms,
                password_ms) VALUES ($1, $2, $3, FALSE, $4, $4)
            ON CONFLICT (login) DO NOTHING RETURNING id";
        let take = format!(
            "UPDATE invitations SET used_ms = $2, used_by = $3 WHERE secret = $1 AND {OPEN}
            RETURNING id, tenant_id, roles"
        );
        let login = new.login.to_lowercase();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(take))
                .bind(secret)
                .bind(new.at_ms)
                .bind(&login)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((invitation, tenant, of)) = row else { return Ok(Accepted::Over) };
            let row: Option<(i64,)> = sqlx::query_as(PERSON)
                .bind(&login)
                .bind(&new.name)
                .bind(&new.password)
                .bind(new.at_ms)
                .fetch_optional(&mut *transaction)
                .await?;
            // Nothing was committed: the invitation stays open for another login.
            let Some((person,)) = row else { return Ok(Accepted::Taken) };
            let of = roles(&of);
            for role in &of {
                sqlx::query(ADD_ROLE)
                    .bind(person)
                    .bind(tenant)
                    .bind(role.name())
                    .execute(&mut *transaction)
                    .await?;
            }
            let principal = Principal::Person(person, login.clone());
            let scope = Scope::new(TenantId(tenant), principal, Permissions::NONE).at(peer);
            let entry = AuditEntry::new(&scope, Action::ChangeUser, Outcome::Success, new.at_ms);
            let entry = entry.with(&json!({
                "did": "add", "login": login, "roles": names(&of), "invitation": invitation
            }));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(Accepted::In)
        })
    }
}
