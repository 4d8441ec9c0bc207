//! API tokens of programs.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Permissions, Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{ApiToken, NewToken, Tenant, joining, roles};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;

type Row = (i64, i64, String, String, String, String, String, i64, i64, i64, i64);

const COLUMNS: &str = "a.id, t.id, t.name, t.title, a.name, a.permissions, a.created_by,
    a.created_ms, a.expires_ms, a.revoked_ms, a.used_ms
    FROM api_tokens a JOIN tenants t ON t.id = a.tenant_id";

fn token(row: Row) -> ApiToken {
    let (
        id,
        tenant,
        tenant_name,
        title,
        name,
        permissions,
        created_by,
        created,
        expires,
        revoked,
        used,
    ) = row;
    ApiToken {
        id,
        tenant: Tenant { id: TenantId(tenant), name: tenant_name, title },
        name,
        // A name that this version does not know permits nothing at all.
        permissions: Permissions::parse(&permissions).unwrap_or_default(),
        created_by,
        created_ms: created,
        expires_ms: expires,
        revoked_ms: revoked,
        used_ms: used,
    }
}

impl Catalog {
    /// Makes a token that works in the scope's tenant, and returns its key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_token(&self, scope: &Scope, new: &NewToken) -> Result<i64, CatalogError> {
        const TEXT: &str = "INSERT INTO api_tokens (secret, tenant_id, name, permissions,
                created_by, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)
            RETURNING id";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let (id,): (i64,) = sqlx::query_as(TEXT)
                .bind(&new.secret)
                .bind(scope.tenant().0)
                .bind(&new.name)
                .bind(new.permissions.names())
                .bind(&new.created_by)
                .bind(new.at_ms)
                .bind(new.expires_ms)
                .fetch_one(&mut *transaction)
                .await?;
            let permissions = new.permissions.names();
            let entry = AuditEntry::new(scope, Action::ChangeToken, Outcome::Success, new.at_ms)
                .with(&json!({"did": "add", "token": id, "permissions": permissions}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(id)
        })
    }

    /// The token of a digest, when it is neither revoked nor at its end, and whoever made it is not
    /// switched off.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn token(&self, secret: &str, now_ms: i64) -> Result<Option<ApiToken>, CatalogError> {
        // A token of somebody who was switched off would be a way back in.
        let columns = COLUMNS.replacen(
            " FROM",
            &format!(
                ", EXISTS (SELECT 1 FROM users u WHERE u.login = a.created_by),
                (SELECT {} FROM users u JOIN memberships m ON m.user_id = u.id
                    WHERE u.login = a.created_by AND m.tenant_id = a.tenant_id) FROM",
                joining(self.db(), "m.role")
            ),
            1,
        );
        let text = format!(
            "SELECT {columns} WHERE a.secret = $1 AND a.revoked_ms = 0 AND a.expires_ms > $2
            AND NOT EXISTS (SELECT 1 FROM users u WHERE u.login = a.created_by AND u.disabled)"
        );
        // The columns of a token, whether a person made it, and what that person is to the tenant.
        type Found = (
            i64,
            i64,
            String,
            String,
            String,
            String,
            String,
            i64,
            i64,
            i64,
            i64,
            bool,
            Option<String>,
        );
        let found: Option<Found> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(secret)
                .bind(now_ms)
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(found.map(|(a, b, c, d, e, f, g, h, i, j, k, by_person, names)| {
            let mut token = token((a, b, c, d, e, f, g, h, i, j, k));
            // Nobody gives more than they have, also when they have less than when they gave it.
            if by_person {
                let has = roles(&names.unwrap_or_default());
                let has = has.iter().fold(Permissions::NONE, |set, one| set.and(one.permissions()));
                token.permissions = token.permissions.within(has);
            }
            token
        }))
    }

    /// Every token of the scope's tenant, revoked ones too, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tokens(&self, scope: &Scope) -> Result<Vec<ApiToken>, CatalogError> {
        let text = format!("SELECT {COLUMNS} WHERE a.tenant_id = $1 ORDER BY a.id DESC");
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().map(token).collect())
    }

    /// Notes that a token is in use.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn touch_token(&self, token: i64, now_ms: i64) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE api_tokens SET used_ms = $2 WHERE id = $1";
        on_db!(self.db(), pools => {
            sqlx::query(TEXT).bind(token).bind(now_ms).execute(&pools.write).await?;
        });
        Ok(())
    }

    /// Revokes every token that `maker` made in the scope's tenant; returns how many.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn revoke_tokens_of(
        &self,
        scope: &Scope,
        maker: &str,
        now_ms: i64,
    ) -> Result<usize, CatalogError> {
        const TEXT: &str = "UPDATE api_tokens SET revoked_ms = $3
            WHERE tenant_id = $1 AND created_by = $2 AND revoked_ms = 0 RETURNING id";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let revoked: Vec<(i64,)> = sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(maker)
                .bind(now_ms)
                .fetch_all(&mut *transaction)
                .await?;
            let entry = |(id,): &(i64,)| {
                AuditEntry::new(scope, Action::ChangeToken, Outcome::Success, now_ms)
                    .with(&json!({"did": "revoke", "token": id}))
            };
            if !revoked.is_empty() {
                transaction.append_audit(revoked.iter().map(entry).collect()).await?;
            }
            transaction.commit().await?;
            Ok(revoked.len())
        })
    }

    /// Revokes a token of the scope's tenant. False when there is none of that key that is valid.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn revoke_token(
        &self,
        scope: &Scope,
        token: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE api_tokens SET revoked_ms = $3
            WHERE tenant_id = $1 AND id = $2 AND revoked_ms = 0";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(token)
                .bind(now_ms)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if done == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeToken, Outcome::Success, now_ms)
                .with(&json!({"did": "revoke", "token": token}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }
}
