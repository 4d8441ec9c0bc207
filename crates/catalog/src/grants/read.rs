//! Looks grants up: those that a tenant gave, and those that a viewer has.

use qianli_model::grant::{Priors, Rule, Subject, Viewer};
use qianli_model::{Scope, TenantId};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};

use super::{Grant, Origin, Project, Recipient, Sharer};
use crate::Catalog;
use crate::access::Tenant;
use crate::db::{Db, on_db};
use crate::error::CatalogError;

/// Most grants of one list.
const MOST: i64 = 500;

const COLUMNS: &str = "g.id, g.kind, g.study_uid, g.patient_id, g.issuer, g.modality, g.body_part,
    g.since_ms, g.priors, g.to_tenant, g.to_person, g.link_id, g.download, g.reshare, g.purpose,
    g.origin, g.created_by, g.created_ms, g.expires_ms, g.revoked_ms, g.reviewed_ms, g.reviewed_by,
    COALESCE((SELECT CASE WHEN t.title = '' THEN t.name ELSE t.title END FROM tenants t
        WHERE t.id = g.to_tenant), (SELECT u.login FROM users u WHERE u.id = g.to_person),
        (SELECT l.name FROM share_links l WHERE l.id = g.link_id), ''),
    COALESCE((SELECT p.name FROM projects p WHERE p.id = g.project_id), ''), g.priority
    FROM grants g";

fn grant<'r, R>(row: &'r R) -> Result<Grant, CatalogError>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
{
    let kind: String = row.try_get(1)?;
    let subject = match kind.as_str() {
        "study" => Subject::Study(row.try_get(2)?),
        "patient" => Subject::Patient { id: row.try_get(3)?, issuer: row.try_get(4)? },
        "rule" => Subject::Rule(Rule {
            modality: row.try_get(5)?,
            body_part: row.try_get(6)?,
            priority: row.try_get(24)?,
            since_ms: row.try_get(7)?,
        }),
        _ => return Err(CatalogError::Corrupt("the kind of a grant")),
    };
    let priors: String = row.try_get(8)?;
    let origin: String = row.try_get(15)?;
    let to = match (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?) {
        (tenant @ 1.., _, _) => Recipient::Tenant(TenantId(tenant)),
        (_, person @ 1.., _) => Recipient::Person(person),
        (_, _, link) => Recipient::Link(link),
    };
    Ok(Grant {
        id: row.try_get(0)?,
        subject,
        priors: Priors::parse(&priors).ok_or(CatalogError::Corrupt("the priors of a grant"))?,
        to,
        to_name: row.try_get(22)?,
        download: row.try_get(12)?,
        reshare: row.try_get(13)?,
        project: row.try_get(23)?,
        purpose: row.try_get(14)?,
        origin: Origin::parse(&origin).ok_or(CatalogError::Corrupt("the origin of a grant"))?,
        created_by: row.try_get(16)?,
        created_ms: row.try_get(17)?,
        expires_ms: row.try_get(18)?,
        revoked_ms: row.try_get(19)?,
        reviewed_ms: row.try_get(20)?,
        reviewed_by: row.try_get(21)?,
    })
}

/// Which grants of a tenant are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'w> {
    /// All of them, those of links left out.
    All,
    /// Those that name a study, or its patient.
    OfStudy(&'w str),
    /// Those of broken glass that nobody has looked at.
    Unreviewed,
}

impl Catalog {
    /// Grants of the scope's tenant, ended ones too, the latest first; at most 500.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn grants(
        &self,
        scope: &Scope,
        which: Which<'_>,
    ) -> Result<Vec<Grant>, CatalogError> {
        let (clause, study) = match which {
            Which::All => ("$2 = ''", ""),
            Which::OfStudy(study) => (
                "(g.study_uid = $2 OR (g.kind = 'patient' AND EXISTS (SELECT 1 FROM studies s
                    WHERE s.tenant_id = g.tenant_id AND s.study_uid = $2
                        AND s.patient_id = g.patient_id AND s.issuer = g.issuer)))",
                study,
            ),
            Which::Unreviewed => ("$2 = '' AND g.origin = 'emergency' AND g.reviewed_ms = 0", ""),
        };
        let text = format!(
            "SELECT {COLUMNS} WHERE g.tenant_id = $1 AND g.link_id = 0 AND {clause}
            ORDER BY g.id DESC LIMIT {MOST}"
        );
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(study);
                query.fetch_all(&pools.read).await?.iter().map(grant).collect()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(study);
                query.fetch_all(&pools.read).await?.iter().map(grant).collect()
            }
        }
    }

    /// What the scope's tenant passed on of others', as far as it holds; at most 500.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn passed_on(&self, scope: &Scope, now_ms: i64) -> Result<Vec<Grant>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} WHERE g.origin = 'reshare' AND g.revoked_ms = 0
                AND (g.expires_ms = 0 OR g.expires_ms > $2)
                AND g.parent_id IN (SELECT x.id FROM grants x WHERE x.to_tenant = $1)
            ORDER BY g.id DESC LIMIT {MOST}"
        );
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(now_ms);
                query.fetch_all(&pools.read).await?.iter().map(grant).collect()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(now_ms);
                query.fetch_all(&pools.read).await?.iter().map(grant).collect()
            }
        }
    }

    /// The tenants that share something with a viewer now, by name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn sharers(&self, viewer: &Viewer, now_ms: i64) -> Result<Vec<Sharer>, CatalogError> {
        self.sharing(viewer, None, now_ms).await
    }

    /// Whether a tenant shares something with a viewer now, and if by rule.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn sharer(
        &self,
        viewer: &Viewer,
        owner: TenantId,
        now_ms: i64,
    ) -> Result<Option<Sharer>, CatalogError> {
        Ok(self.sharing(viewer, Some(owner), now_ms).await?.pop())
    }

    /// Projects under whose pseudonyms a tenant shares something with a viewer now.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn projects_of(
        &self,
        viewer: &Viewer,
        owner: TenantId,
        now_ms: i64,
    ) -> Result<Vec<Project>, CatalogError> {
        const TEXT: &str = "SELECT DISTINCT p.id, p.name, p.secret
            FROM grants g JOIN projects p ON p.id = g.project_id
            WHERE ((g.to_tenant = $1 AND $1 > 0) OR (g.to_person = $2 AND $2 > 0)
                    OR (g.link_id = $3 AND $3 > 0))
                AND g.revoked_ms = 0 AND (g.expires_ms = 0 OR g.expires_ms > $4)
                AND g.tenant_id = $5
            ORDER BY p.name";
        let rows: Vec<(i64, String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(viewer.tenant.map_or(0, |tenant| tenant.0))
                .bind(viewer.person.unwrap_or(0))
                .bind(viewer.link.unwrap_or(0))
                .bind(now_ms)
                .bind(owner.0)
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().map(|(id, name, secret)| Project { id, name, secret }).collect())
    }

    async fn sharing(
        &self,
        viewer: &Viewer,
        owner: Option<TenantId>,
        now_ms: i64,
    ) -> Result<Vec<Sharer>, CatalogError> {
        // Keys start at 1, so that 0 finds nothing: it stands where a grant is for somebody else.
        const TEXT: &str = "SELECT t.id, t.name, t.title,
                MAX(CASE WHEN g.kind = 'rule' THEN 1 ELSE 0 END),
                MAX(CASE WHEN g.reshare AND g.to_tenant = $1 THEN 1 ELSE 0 END)
            FROM grants g JOIN tenants t ON t.id = g.tenant_id
            WHERE ((g.to_tenant = $1 AND $1 > 0) OR (g.to_person = $2 AND $2 > 0)
                    OR (g.link_id = $3 AND $3 > 0))
                AND g.revoked_ms = 0 AND (g.expires_ms = 0 OR g.expires_ms > $4)
                AND ($5 = 0 OR g.tenant_id = $5)
            GROUP BY t.id, t.name, t.title ORDER BY t.name";
        let rows: Vec<(i64, String, String, i32, i32)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(viewer.tenant.map_or(0, |tenant| tenant.0))
                .bind(viewer.person.unwrap_or(0))
                .bind(viewer.link.unwrap_or(0))
                .bind(now_ms)
                .bind(owner.map_or(0, |tenant| tenant.0))
                .fetch_all(&pools.read)
                .await?
        });
        let sharer = |(id, name, title, by_rule, reshare)| Sharer {
            tenant: Tenant { id: TenantId(id), name, title },
            by_rule: by_rule > 0,
            reshare: reshare > 0,
        };
        Ok(rows.into_iter().map(sharer).collect())
    }

    /// Patient ID and issuer of a study of the scope's tenant. `None` when there is no such study, or
    /// its patient has no ID.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn patient_of(
        &self,
        scope: &Scope,
        study: &str,
    ) -> Result<Option<Subject>, CatalogError> {
        const TEXT: &str = "SELECT patient_id, issuer FROM studies
            WHERE tenant_id = $1 AND study_uid = $2 AND patient_id <> ''";
        let row: Option<(String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(study)
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(row.map(|(id, issuer)| Subject::Patient { id, issuer }))
    }

    /// The patient of the scope's tenant who has exactly this ID and birth date (YYYYMMDD), if the
    /// tenant lets doctors elsewhere look at its patients in an emergency.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn patient_in_emergency(
        &self,
        scope: &Scope,
        id: &str,
        birth_date: &str,
    ) -> Result<Option<Subject>, CatalogError> {
        const TEXT: &str = "SELECT p.patient_id, p.issuer FROM patients p
            JOIN tenants t ON t.id = p.tenant_id
            WHERE p.tenant_id = $1 AND p.patient_id = $2 AND p.birth_date = $3 AND p.study_uid = ''
                AND t.emergency AND $2 <> '' AND $3 <> '' ORDER BY p.id LIMIT 1";
        let row: Option<(String, String)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(id)
                .bind(birth_date)
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(row.map(|(id, issuer)| Subject::Patient { id, issuer }))
    }

    /// Whether the scope's tenant lets doctors elsewhere look at its patients in an emergency.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn allows_emergency(&self, scope: &Scope) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT EXISTS (SELECT 1 FROM tenants WHERE id = $1 AND emergency)";
        let (allowed,): (bool,) = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_one(&pools.read).await?
        });
        Ok(allowed)
    }
}
