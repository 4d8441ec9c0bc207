//! Tenants: the hospitals and centres that share an archive, and their names.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, TenantId};
use serde_json::json;

use super::Tenant;
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::CatalogError;

type Row = (i64, String, String);

fn tenant((id, name, title): Row) -> Tenant {
    Tenant { id: TenantId(id), name, title }
}

impl Catalog {
    /// Every tenant, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenants(&self) -> Result<Vec<Tenant>, CatalogError> {
        const TEXT: &str = "SELECT id, name, title FROM tenants ORDER BY name";
        let rows: Vec<Row> =
            on_db!(self.db(), pools => sqlx::query_as(TEXT).fetch_all(&pools.read).await?);
        Ok(rows.into_iter().map(tenant).collect())
    }

    /// The tenant of a name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenant(&self, name: &str) -> Result<Option<Tenant>, CatalogError> {
        const TEXT: &str = "SELECT id, name, title FROM tenants WHERE name = $1";
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(name).fetch_optional(&pools.read).await?
        });
        Ok(row.map(tenant))
    }

    /// Makes a tenant of this key, under a name that says so, when its row was lost with the index.
    /// False when there is one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn restore_tenant(&self, id: TenantId, at_ms: i64) -> Result<bool, CatalogError> {
        const TEXT: &str = "INSERT INTO tenants (id, name, title, created_ms)
            VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING";
        // Postgres does not learn from rows with a key of their own which key is next.
        const NEXT: &str = "SELECT setval(pg_get_serial_sequence('tenants', 'id'),
            (SELECT MAX(id) FROM tenants))";
        let name = format!("restored-{}", id.0);
        let next = matches!(self.db(), Db::Postgres(_)).then_some(NEXT);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let made = sqlx::query(TEXT)
                .bind(id.0)
                .bind(&name)
                .bind(at_ms)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if made == 0 {
                return Ok(false);
            }
            if let Some(next) = next {
                sqlx::query(next).execute(&mut *transaction).await?;
            }
            let entry = AuditEntry::new(
                &Scope::local(id),
                Action::ChangeTenant,
                Outcome::Success,
                at_ms,
            );
            let entry = entry.with(&json!({"did": "restore", "tenant": name}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Makes a tenant. `None` when there is one of that name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_tenant(
        &self,
        name: &str,
        title: &str,
        at_ms: i64,
    ) -> Result<Option<Tenant>, CatalogError> {
        const TEXT: &str = "INSERT INTO tenants (name, title, created_ms) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO NOTHING RETURNING id, name, title";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<Row> = sqlx::query_as(TEXT)
                .bind(name)
                .bind(title)
                .bind(at_ms)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(made) = row.map(tenant) else { return Ok(None) };
            // Only whoever sits at the server makes tenants.
            let scope = Scope::local(made.id);
            let entry = AuditEntry::new(&scope, Action::ChangeTenant, Outcome::Success, at_ms)
                .with(&json!({"did": "add", "tenant": made.name}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(Some(made))
        })
    }

    /// Changes the name for people of the scope's tenant.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_title(
        &self,
        scope: &Scope,
        title: &str,
        at_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE tenants SET title = $2 WHERE id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(title)
                .execute(&mut *transaction)
                .await?;
            let entry = AuditEntry::new(scope, Action::ChangeTenant, Outcome::Success, at_ms)
                .with(&json!({"did": "title"}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}
