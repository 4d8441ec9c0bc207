//! Filters of the worklist that people keep under a name.

use qianli_model::Scope;
use qianli_model::reading::Reader;

use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;

/// Most views of a person in a tenant.
const MOST: i64 = 50;

/// A filter under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What its person calls it.
    pub name: String,
    /// The query of the page.
    pub query: String,
}

impl Catalog {
    /// The views of whoever acts in the scope, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_views(&self, scope: &Scope) -> Result<Vec<View>, CatalogError> {
        const TEXT: &str = "SELECT name, query FROM reading_views
            WHERE tenant_id = $1 AND person_id = $2 ORDER BY name LIMIT $3";
        let rows: Vec<(String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(Reader::of(scope).id)
                .bind(MOST)
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().map(|(name, query)| View { name, query }).collect())
    }

    /// Keeps a view under a name, in place of one that had it. False when there are too many.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn keep_reading_view(
        &self,
        scope: &Scope,
        view: &View,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "INSERT INTO reading_views (tenant_id, person_id, name, query)
            SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM reading_views
                WHERE tenant_id = $1 AND person_id = $2 AND name <> $3) < $5
            ON CONFLICT (tenant_id, person_id, name) DO UPDATE SET query = excluded.query";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(Reader::of(scope).id)
                .bind(&view.name)
                .bind(&view.query)
                .bind(MOST)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done > 0)
    }

    /// Forgets a view of whoever acts in the scope. False when there is none of that name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn forget_reading_view(
        &self,
        scope: &Scope,
        name: &str,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str =
            "DELETE FROM reading_views WHERE tenant_id = $1 AND person_id = $2 AND name = $3";
        let done = on_db!(self.db(), pools => {
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(Reader::of(scope).id)
                .bind(name)
                .execute(&pools.write)
                .await?
                .rows_affected()
        });
        Ok(done > 0)
    }
}
