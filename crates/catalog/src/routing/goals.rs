//! DICOMweb destinations and their secrets, which leave by [`Catalog::web_goal`] only.

use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use serde_json::json;

use super::{WebAddress, WebAuth, WebGoal};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

type Row = (String, String, String, String, bool, String, i64);

impl Catalog {
    /// The DICOMweb destinations of the scope's tenant, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn web_goals(&self, scope: &Scope) -> Result<Vec<WebGoal>, CatalogError> {
        const TEXT: &str =
            "SELECT name, url, auth, login, trusted, created_by, created_ms FROM web_goals
            WHERE tenant_id = $1 ORDER BY name";
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        let goal = |(name, url, auth, login, trusted, created_by, created_ms)| WebGoal {
            name,
            url,
            auth,
            login,
            trusted,
            created_by,
            created_ms,
        };
        Ok(rows.into_iter().map(goal).collect())
    }

    /// Address and credentials of a DICOMweb destination, for whoever calls it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn web_goal(
        &self,
        scope: &Scope,
        name: &str,
    ) -> Result<Option<WebAddress>, CatalogError> {
        const TEXT: &str = "SELECT url, auth, login, secret, trusted FROM web_goals WHERE tenant_id = $1 AND name = $2";
        let row: Option<(String, String, String, String, bool)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(name)
                .fetch_optional(&pools.read)
                .await?
        });
        let Some((url, auth, login, secret, trusted)) = row else { return Ok(None) };
        let auth = match auth.as_str() {
            "" => WebAuth::Nothing,
            "bearer" => WebAuth::Bearer(secret),
            "basic" => WebAuth::Basic(login, secret),
            _ => return Err(CatalogError::Corrupt("a DICOMweb destination")),
        };
        Ok(Some(WebAddress { url, auth, trusted }))
    }

    /// Adds a DICOMweb destination to the scope's tenant, or changes the one of that name. What it becomes `trusted` by
    /// is the caller's to decide, see [`WebAddress`].
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_web_goal(
        &self,
        scope: &Scope,
        name: &str,
        url: &str,
        auth: &WebAuth,
        trusted: bool,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "INSERT INTO web_goals
                (tenant_id, name, url, auth, login, secret, created_by, created_ms, trusted)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (tenant_id, name) DO UPDATE SET url = excluded.url, auth = excluded.auth,
                login = excluded.login, secret = excluded.secret, trusted = excluded.trusted,
                created_by = excluded.created_by, created_ms = excluded.created_ms";
        let (login, secret) = match auth {
            WebAuth::Nothing => ("", ""),
            WebAuth::Bearer(token) => ("", token.as_str()),
            WebAuth::Basic(login, password) => (login.as_str(), password.as_str()),
        };
        let at_ms = now_ms();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(name)
                .bind(url)
                .bind(auth.kind())
                .bind(login)
                .bind(secret)
                .bind(scope.principal().name())
                .bind(at_ms)
                .bind(trusted)
                .execute(&mut *transaction)
                .await?;
            let details = json!({
                "did": "set destination", "name": name, "url": url, "credentials": auth.kind(),
                "trusted": trusted,
            });
            let entry = AuditEntry::new(scope, Action::ChangeRoute, Outcome::Success, at_ms);
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Removes a DICOMweb destination of the scope's tenant. False when there is none of that name, or a
    /// rule needs it.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_web_goal(&self, scope: &Scope, name: &str) -> Result<bool, CatalogError> {
        const TEXT: &str = "DELETE FROM web_goals WHERE tenant_id = $1 AND name = $2
            AND NOT EXISTS (SELECT 1 FROM route_rules r WHERE r.tenant_id = $1
                AND r.goal_kind = 'web' AND r.goal_name = $2)";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let removed = sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(name)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if removed == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeRoute, Outcome::Success, now_ms())
                .with(&json!({"did": "remove destination", "name": name}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(true)
    }
}
