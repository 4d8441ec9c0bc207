//! Makes, revokes and reviews grants, each with its row in the audit trail.

use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::{Priors, Subject};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::reach::{Asked, condition};
use super::{NewGrant, Origin, Project, Recipient};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::begin;
use crate::error::CatalogError;
use crate::keys::text_key;

/// The columns of a subject, in the order of the table.
pub(crate) struct Columns {
    pub(crate) kind: &'static str,
    pub(crate) texts: [String; 6],
    pub(crate) since_ms: i64,
}

impl Columns {
    pub(crate) fn of(subject: &Subject) -> Self {
        let kind = subject.kind();
        let empty = String::new;
        let (texts, since_ms) = match subject {
            Subject::Study(uid) => ([uid.clone(), empty(), empty(), empty(), empty(), empty()], 0),
            Subject::Patient { id, issuer } => {
                ([empty(), id.clone(), issuer.clone(), empty(), empty(), empty()], 0)
            }
            Subject::Rule(rule) => {
                let (modality, body_part) = (text_key(&rule.modality), text_key(&rule.body_part));
                let priority = rule.priority.to_uppercase();
                ([empty(), empty(), empty(), modality, body_part, priority], rule.since_ms)
            }
        };
        Self { kind, texts, since_ms }
    }
}

pub(crate) const INSERT: &str =
    "INSERT INTO grants (tenant_id, kind, study_uid, patient_id, issuer,
        modality, body_part, priority, since_ms, priors, to_tenant, to_person, link_id, download, reshare,
        purpose, origin, parent_id, created_by, created_ms, expires_ms, project_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21, $22) RETURNING id";

/// Binds the values of [`INSERT`].
macro_rules! insert {
    ($transaction:expr, $tenant:expr, $new:expr, $origin:expr, $parent:expr) => {{
        let columns = $crate::grants::write::Columns::of(&$new.subject);
        let (tenant, person, link) = $crate::grants::write::keys($new.to);
        let mut query = sqlx::query_as($crate::grants::write::INSERT).bind($tenant);
        query = query.bind(columns.kind);
        for text in columns.texts {
            query = query.bind(text);
        }
        let (id,): (i64,) = query
            .bind(columns.since_ms)
            .bind($new.priors.as_str())
            .bind(tenant)
            .bind(person)
            .bind(link)
            .bind($new.download)
            .bind($new.reshare)
            .bind(&$new.purpose)
            .bind($origin.as_str())
            .bind($parent)
            .bind(&$new.created_by)
            .bind($new.at_ms)
            .bind($new.expires_ms)
            .bind($new.project.unwrap_or(0))
            .fetch_one(&mut *$transaction)
            .await?;
        id
    }};
}
pub(crate) use insert;

/// Keys of tenant, person and link; 0 for those that it is not.
pub(crate) fn keys(to: Recipient) -> (i64, i64, i64) {
    match to {
        Recipient::Tenant(tenant) => (tenant.0, 0, 0),
        Recipient::Person(person) => (0, person, 0),
        Recipient::Link(link) => (0, 0, link),
    }
}

/// What an audit row says of a grant. Patient IDs and purposes stay out of it: the grant has them.
fn details(did: &str, grant: i64, new: &NewGrant, origin: Origin) -> Value {
    let (tenant, person, _) = keys(new.to);
    json!({
        "did": did, "grant": grant, "kind": new.subject.kind(), "origin": origin.as_str(),
        "to_tenant": tenant, "to_person": person, "download": new.download,
        "project": new.project,
        "expires_ms": new.expires_ms,
    })
}

/// An audit row of a grant.
fn entry(scope: &Scope, action: Action, subject: &Subject, at_ms: i64) -> AuditEntry {
    let mut entry = AuditEntry::new(scope, action, Outcome::Success, at_ms);
    if let Subject::Study(uid) = subject {
        entry.study.clone_from(uid);
    }
    entry
}

const STUDY: &str = "SELECT EXISTS (SELECT 1 FROM studies WHERE tenant_id = $1 AND study_uid = $2)";
const PATIENT: &str = "SELECT EXISTS (SELECT 1 FROM patients
    WHERE tenant_id = $1 AND patient_id = $2 AND issuer = $3 AND study_uid = '')";

const OPEN: &str = "SELECT id FROM grants
    WHERE tenant_id = $1 AND patient_id = $2 AND issuer = $3 AND to_person = $4
        AND origin = 'emergency' AND revoked_ms = 0 AND (expires_ms = 0 OR expires_ms > $5)";

impl Catalog {
    /// Shares what belongs to the scope's tenant, and returns the grant's key. `None` when there is
    /// no such study or patient.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_grant(
        &self,
        scope: &Scope,
        new: &NewGrant,
        origin: Origin,
    ) -> Result<Option<i64>, CatalogError> {
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let query = match &new.subject {
                Subject::Study(uid) => {
                    Some(sqlx::query_as(STUDY).bind(scope.tenant().0).bind(uid))
                }
                Subject::Patient { id, issuer } => {
                    Some(sqlx::query_as(PATIENT).bind(scope.tenant().0).bind(id).bind(issuer))
                }
                Subject::Rule(_) => None,
            };
            if let Some(query) = query {
                let (found,): (bool,) = query.fetch_one(&mut *transaction).await?;
                if !found {
                    return Ok(None);
                }
            }
            if origin == Origin::Emergency
                && let Subject::Patient { id, issuer } = &new.subject
            {
                // The glass is broken once: revoking it must close it.
                let (_, person, _) = keys(new.to);
                let open: Option<(i64,)> = sqlx::query_as(OPEN)
                    .bind(scope.tenant().0)
                    .bind(id)
                    .bind(issuer)
                    .bind(person)
                    .bind(new.at_ms)
                    .fetch_optional(&mut *transaction)
                    .await?;
                if let Some((open,)) = open {
                    return Ok(Some(open));
                }
            }
            let id = insert!(transaction, scope.tenant().0, new, origin, 0_i64);
            let action = match origin {
                Origin::Emergency => Action::BreakGlass,
                Origin::Share | Origin::Reshare | Origin::Link => Action::ChangeGrant,
            };
            let entry = entry(scope, action, &new.subject, new.at_ms);
            let entry = entry.with(&details("add", id, new, origin));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(Some(id))
        })
    }

    /// Passes on one study that a tenant shares with the scope's viewer, no longer and no wider than
    /// it was shared. The scope is that of the viewer in the owner's tenant. `None` when nothing that
    /// may be passed on shows the study.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reshare(
        &self,
        scope: &Scope,
        study: &str,
        new: &NewGrant,
    ) -> Result<Option<i64>, CatalogError> {
        let Some(viewer) = scope.viewer() else { return Ok(None) };
        let back =
            [Some(scope.tenant()), viewer.tenant].map(|tenant| tenant.map(Recipient::Tenant));
        if back.contains(&Some(new.to)) {
            return Ok(None);
        }
        // Only a whole tenant was trusted to pass on, and what it was given, not the priors of it.
        let parents = "SELECT g.id, g.expires_ms, g.download FROM grants g
            WHERE g.tenant_id = $1 AND g.to_tenant = $2 AND g.reshare AND g.revoked_ms = 0
                AND (g.expires_ms = 0 OR g.expires_ms > $3)
                AND (g.kind <> 'study' OR g.study_uid = $4)
            ORDER BY g.download DESC, CASE WHEN g.expires_ms = 0 THEN 1 ELSE 0 END DESC,
                g.expires_ms DESC";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let rows: Vec<(i64, i64, bool)> = sqlx::query_as(parents)
                .bind(scope.tenant().0)
                .bind(viewer.tenant.map_or(0, |tenant| tenant.0))
                .bind(new.at_ms)
                .bind(study)
                .fetch_all(&mut *transaction)
                .await?;
            for (parent, ends, download) in rows {
                // The parent alone must show the study: what other grants show is not passed on.
                let asked = Asked { study: Some("$1"), grant: Some(parent), now_ms: new.at_ms };
                let mut binds = Vec::new();
                let shown = condition(scope, asked, |value| {
                    binds.push(value);
                    format!("${}", binds.len() + 1)
                });
                let Some(shown) = shown else { continue };
                binds.push(scope.tenant().0);
                let tenant = binds.len() + 1;
                let text = format!("SELECT s.id FROM studies s
                    WHERE s.tenant_id = ${tenant} AND s.study_uid = $1 AND {shown}");
                let mut query = sqlx::query_as(AssertSqlSafe(text)).bind(study);
                for value in binds {
                    query = query.bind(value);
                }
                let found: Option<(i64,)> = query.fetch_optional(&mut *transaction).await?;
                if found.is_none() {
                    continue;
                }
                let ends = match (ends, new.expires_ms) {
                    (0, mine) => mine,
                    (theirs, 0) => theirs,
                    (theirs, mine) => theirs.min(mine),
                };
                let narrowed = NewGrant {
                    subject: Subject::Study(study.to_owned()),
                    priors: Priors::None,
                    download: new.download && download,
                    reshare: false,
                    project: None,
                    expires_ms: ends,
                    ..new.clone()
                };
                let id = insert!(transaction, scope.tenant().0, narrowed, Origin::Reshare, parent);
                let entry = entry(scope, Action::ChangeGrant, &narrowed.subject, new.at_ms);
                let entry = entry.with(&details("reshare", id, &narrowed, Origin::Reshare));
                transaction.append_audit(vec![entry]).await?;
                transaction.commit().await?;
                return Ok(Some(id));
            }
            Ok(None)
        })
    }

    /// Revokes a grant of the scope's tenant, and whatever was passed on from it. False when there is
    /// none of that key that holds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn revoke_grant(
        &self,
        scope: &Scope,
        grant: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE grants SET revoked_ms = $3, revoked_by = $4
            WHERE tenant_id = $1 AND revoked_ms = 0 AND (id = $2 OR parent_id = $2)
            RETURNING id, study_uid";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let rows: Vec<(i64, String)> = sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(grant)
                .bind(now_ms)
                .bind(scope.principal().name())
                .fetch_all(&mut *transaction)
                .await?;
            let Some((_, study)) = rows.iter().find(|(id, _)| *id == grant) else {
                return Ok(false);
            };
            let mut entry = AuditEntry::new(scope, Action::ChangeGrant, Outcome::Success, now_ms)
                .with(&json!({"did": "revoke", "grant": grant, "with_passed_on": rows.len() - 1}));
            entry.study.clone_from(study);
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Takes back what the scope's tenant passed on of somebody else's. False when there is none of
    /// that key that holds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn take_back(
        &self,
        scope: &Scope,
        grant: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE grants SET revoked_ms = $3, revoked_by = $4
            WHERE id = $2 AND revoked_ms = 0 AND origin = 'reshare' AND parent_id IN
                (SELECT p.id FROM grants p WHERE p.to_tenant = $1)
            RETURNING tenant_id, study_uid";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(i64, String)> = sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(grant)
                .bind(now_ms)
                .bind(scope.principal().name())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((owner, study)) = row else { return Ok(false) };
            let mut entry = AuditEntry::new(scope, Action::ChangeGrant, Outcome::Success, now_ms)
                .with(&json!({"did": "take back", "grant": grant}));
            (entry.tenant, entry.study) = (owner, study);
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Notes that the owner has looked at a grant that was taken in an emergency. False when there is
    /// none of that key to look at.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn review_grant(
        &self,
        scope: &Scope,
        grant: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "UPDATE grants SET reviewed_ms = $3, reviewed_by = $4
            WHERE tenant_id = $1 AND id = $2 AND origin = 'emergency' AND reviewed_ms = 0
            RETURNING study_uid";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let row: Option<(String,)> = sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(grant)
                .bind(now_ms)
                .bind(scope.principal().name())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((study,)) = row else { return Ok(false) };
            let mut entry = AuditEntry::new(scope, Action::ChangeGrant, Outcome::Success, now_ms)
                .with(&json!({"did": "review", "grant": grant}));
            entry.study = study;
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Says whether doctors elsewhere may look at patients of the scope's tenant in an emergency.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn allow_emergency(
        &self,
        scope: &Scope,
        allowed: bool,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        const TEXT: &str = "UPDATE tenants SET emergency = $2 WHERE id = $1";
        const END: &str = "UPDATE grants SET revoked_ms = $2, revoked_by = $3
            WHERE tenant_id = $1 AND origin = 'emergency' AND revoked_ms = 0";
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            sqlx::query(TEXT)
                .bind(scope.tenant().0)
                .bind(allowed)
                .execute(&mut *transaction)
                .await?;
            if !allowed {
                sqlx::query(END)
                    .bind(scope.tenant().0)
                    .bind(now_ms)
                    .bind(scope.principal().name())
                    .execute(&mut *transaction)
                    .await?;
            }
            let entry = AuditEntry::new(scope, Action::ChangeTenant, Outcome::Success, now_ms)
                .with(&json!({"did": "allow emergency", "allowed": allowed}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    /// The project of a name of the scope's tenant, made with this secret when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn project(
        &self,
        scope: &Scope,
        name: &str,
        secret: &str,
        now_ms: i64,
    ) -> Result<Project, CatalogError> {
        // The update changes nothing; it makes the row that was there come back.
        const TEXT: &str = "INSERT INTO projects (tenant_id, name, secret, created_ms)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, name) DO UPDATE SET created_ms = projects.created_ms
            RETURNING id, name, secret";
        let (id, name, secret) = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(name)
                .bind(secret)
                .bind(now_ms)
                .fetch_one(&pools.write)
                .await?
        });
        Ok(Project { id, name, secret })
    }
}
