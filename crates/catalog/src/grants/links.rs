//! Share links: made by those who share, opened by whoever holds them.

use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, TenantId};
use serde_json::json;
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};

use super::write::insert;
use super::{NewGrant, NewLink, Origin, Recipient, ShareLink};
use crate::Catalog;
use crate::access::Tenant;
use crate::audit::{Append, AuditEntry};
use crate::db::{Db, on_db};
use crate::deletion::begin;
use crate::error::CatalogError;

const COLUMNS: &str = "l.id, t.id, t.name, t.title, l.code, l.name, l.download, l.views_left,
    l.views, l.locked_until_ms, l.created_by, l.created_ms, l.expires_ms, l.revoked_ms, l.used_ms
    FROM share_links l JOIN tenants t ON t.id = l.tenant_id";

/// A link of somebody who was switched off opens nothing, like their tokens.
const MAKER: &str =
    "NOT EXISTS (SELECT 1 FROM users u WHERE u.login = l.created_by AND u.disabled)";

/// Most links of one list.
const MOST: i64 = 200;

/// Wrong codes in a row after which a link rests.
const PATIENCE: i64 = 5;

/// How long it rests (ms).
const REST: i64 = 15 * 60_000;

fn link<'r, R>(row: &'r R) -> Result<ShareLink, CatalogError>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
{
    let views_left: i64 = row.try_get(7)?;
    Ok(ShareLink {
        id: row.try_get(0)?,
        tenant: Tenant {
            id: TenantId(row.try_get(1)?),
            name: row.try_get(2)?,
            title: row.try_get(3)?,
        },
        code: row.try_get(4)?,
        name: row.try_get(5)?,
        download: row.try_get(6)?,
        views_left: u32::try_from(views_left).ok(),
        views: row.try_get(8)?,
        locked_until_ms: row.try_get(9)?,
        created_by: row.try_get(10)?,
        created_ms: row.try_get(11)?,
        expires_ms: row.try_get(12)?,
        revoked_ms: row.try_get(13)?,
        used_ms: row.try_get(14)?,
    })
}

impl Catalog {
    /// Makes a link to what belongs to the scope's tenant, and returns its key. Whether there is such
    /// a study is the caller's to ask before.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_link(&self, scope: &Scope, new: &NewLink) -> Result<i64, CatalogError> {
        const TEXT: &str = "INSERT INTO share_links (tenant_id, secret, code, name, download,
                views_left, created_by, created_ms, expires_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let (id,): (i64,) = sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(&new.secret)
                .bind(&new.code)
                .bind(&new.name)
                .bind(new.download)
                .bind(new.views.map_or(-1, i64::from))
                .bind(&new.created_by)
                .bind(new.at_ms)
                .bind(new.expires_ms)
                .fetch_one(&mut *transaction)
                .await?;
            let grant = NewGrant {
                subject: new.subject.clone(),
                priors: new.priors,
                to: Recipient::Link(id),
                download: new.download,
                reshare: false,
                project: new.project,
                purpose: new.purpose.clone(),
                created_by: new.created_by.clone(),
                at_ms: new.at_ms,
                expires_ms: new.expires_ms,
            };
            let _ = insert!(transaction, scope.tenant().0, grant, Origin::Link, 0_i64);
            let mut entry = AuditEntry::new(scope, Action::ChangeLink, Outcome::Success, new.at_ms)
                .with(&json!({
                    "did": "add", "link": id, "kind": new.subject.kind(),
                    "download": new.download, "expires_ms": new.expires_ms,
                }));
            if let qianli_model::grant::Subject::Study(uid) = &new.subject {
                entry.study.clone_from(uid);
            }
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(id)
        })
    }

    /// Links of the scope's tenant to a study, or to all; ended ones too, the latest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn links(
        &self,
        scope: &Scope,
        study: Option<&str>,
    ) -> Result<Vec<ShareLink>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} WHERE l.tenant_id = $1 AND ($2 = '' OR EXISTS (SELECT 1 FROM grants g
                WHERE g.link_id = l.id AND (g.study_uid = $2 OR (g.kind = 'patient' AND EXISTS
                    (SELECT 1 FROM studies s WHERE s.tenant_id = g.tenant_id AND s.study_uid = $2
                        AND s.patient_id = g.patient_id AND s.issuer = g.issuer)))))
            ORDER BY l.id DESC LIMIT {MOST}"
        );
        let study = study.unwrap_or_default();
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(study);
                query.fetch_all(&pools.read).await?.iter().map(link).collect()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(scope.tenant().0).bind(study);
                query.fetch_all(&pools.read).await?.iter().map(link).collect()
            }
        }
    }

    /// The link of a digest, whether it still opens anything or not.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn link(&self, secret: &str) -> Result<Option<ShareLink>, CatalogError> {
        let text = format!("SELECT {COLUMNS} WHERE l.secret = $1 AND {MAKER}");
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(secret);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(secret);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
        }
    }

    /// Counts a code that somebody is about to try. False while the link rests after wrong ones.
    /// Counted before it is compared, in one statement: a thousand tries at once are not one try.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn attempt_link(&self, link: i64, now_ms: i64) -> Result<bool, CatalogError> {
        let text = format!(
            "UPDATE share_links SET failures = failures + 1,
                locked_until_ms = CASE WHEN (failures + 1) % {PATIENCE} = 0
                    THEN $2 + {REST} ELSE 0 END
            WHERE id = $1 AND locked_until_ms <= $2"
        );
        on_db!(self.db(), pools => {
            let query = sqlx::query(AssertSqlSafe(text)).bind(link).bind(now_ms);
            Ok(query.execute(&pools.write).await?.rows_affected() == 1)
        })
    }

    /// Opens a link: one view less, and a visit that the digest names until `until_ms`. False when it
    /// ended, was revoked or has no views left.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn open_link(
        &self,
        scope: &Scope,
        link: i64,
        secret: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TAKE: &str = "UPDATE share_links SET views = views + 1, failures = 0,
                locked_until_ms = 0, used_ms = $2,
                views_left = CASE WHEN views_left > 0 THEN views_left - 1 ELSE views_left END
            WHERE id = $1 AND revoked_ms = 0 AND expires_ms > $2 AND views_left <> 0";
        const CLEAN: &str = "DELETE FROM link_visits WHERE link_id = $1 AND expires_ms <= $2";
        const VISIT: &str = "INSERT INTO link_visits (secret, link_id, created_ms, expires_ms)
            VALUES ($1, $2, $3, $4)";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let taken = sqlx::query(TAKE).bind(link).bind(now_ms).execute(&mut *transaction).await?;
            if taken.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(CLEAN).bind(link).bind(now_ms).execute(&mut *transaction).await?;
            sqlx::query(VISIT)
                .bind(secret)
                .bind(link)
                .bind(now_ms)
                .bind(until_ms)
                .execute(&mut *transaction)
                .await?;
            let entry = AuditEntry::new(scope, Action::Login, Outcome::Success, now_ms)
                .with(&json!({"link": link}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// The link of a visit that has not ended, while the link itself holds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn visit(
        &self,
        secret: &str,
        now_ms: i64,
    ) -> Result<Option<ShareLink>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} JOIN link_visits v ON v.link_id = l.id
            WHERE v.secret = $1 AND v.expires_ms > $2 AND l.revoked_ms = 0 AND l.expires_ms > $2 AND {MAKER}"
        );
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(secret).bind(now_ms);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(secret).bind(now_ms);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
        }
    }

    /// Revokes a link of the scope's tenant. False when there is none of that key that holds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn revoke_link(
        &self,
        scope: &Scope,
        link: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const LINK: &str = "UPDATE share_links SET revoked_ms = $3
            WHERE tenant_id = $1 AND id = $2 AND revoked_ms = 0";
        const GRANTS: &str = "UPDATE grants SET revoked_ms = $3, revoked_by = $4
            WHERE tenant_id = $1 AND link_id = $2 AND revoked_ms = 0";
        const VISITS: &str = "DELETE FROM link_visits WHERE link_id = $1";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let done = sqlx::query(LINK)
                .bind(scope.tenant().0)
                .bind(link)
                .bind(now_ms)
                .execute(&mut *transaction)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(GRANTS)
                .bind(scope.tenant().0)
                .bind(link)
                .bind(now_ms)
                .bind(scope.principal().name())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(VISITS).bind(link).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangeLink, Outcome::Success, now_ms)
                .with(&json!({"did": "revoke", "link": link}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// The link that the scope of its holder was made from, while it holds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn open_link_of(&self, scope: &Scope) -> Result<Option<ShareLink>, CatalogError> {
        let Some(id) = scope.viewer().and_then(|viewer| viewer.link) else { return Ok(None) };
        let text = format!("SELECT {COLUMNS} WHERE l.id = $1 AND l.revoked_ms = 0");
        match self.db() {
            Db::Postgres(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(id);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
            Db::Sqlite(pools) => {
                let query = sqlx::query(AssertSqlSafe(text)).bind(id);
                query.fetch_optional(&pools.read).await?.as_ref().map(link).transpose()
            }
        }
    }
}
