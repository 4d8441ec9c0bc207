//! Tenants: the hospitals and centres that share an archive, and their names.

use qianli_model::TenantId;

use super::Tenant;
use crate::Catalog;
use crate::db::on_db;
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
        let row: Option<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(name)
                .bind(title)
                .bind(at_ms)
                .fetch_optional(&pools.write)
                .await?
        });
        Ok(row.map(tenant))
    }
}
