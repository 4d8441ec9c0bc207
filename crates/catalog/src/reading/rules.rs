//! Rows of reading rules.

use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::Priors;
use qianli_model::peer::TitlePattern;
use qianli_model::reading::{Priority, Rule};
use qianli_model::routing::Which;
use qianli_model::{Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{NewRule, RuleRow};
use crate::Catalog;
use crate::access::Tenant;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;
use crate::keys::text_key;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    label: String,
    source: String,
    modality: String,
    body_part: String,
    station: String,
    description: String,
    asked: String,
    to_tenant: i64,
    subspecialty: String,
    priority: String,
    due_minutes: i64,
    priors: String,
    days: i64,
    disabled: bool,
    created_by: String,
    created_ms: i64,
    to_name: String,
    to_title: String,
}

impl Row {
    /// One that this version cannot read would hand out the wrong studies.
    fn read(self) -> Result<RuleRow, CatalogError> {
        const CORRUPT: CatalogError = CatalogError::Corrupt("a reading rule");
        let source = match self.source.as_str() {
            "" => None,
            text => Some(TitlePattern::parse(text).ok_or(CORRUPT)?),
        };
        let asked = match self.asked.as_str() {
            "" => None,
            word => Some(Priority::parse(word).ok_or(CORRUPT)?),
        };
        let to = TenantId(self.to_tenant);
        let rule = Rule {
            id: self.id,
            label: self.label,
            which: Which {
                source,
                modality: self.modality,
                body_part: self.body_part,
                station: self.station,
                description: self.description,
            },
            asked,
            to,
            subspecialty: self.subspecialty,
            priority: Priority::parse(&self.priority).ok_or(CORRUPT)?,
            due_minutes: self.due_minutes,
            priors: Priors::parse(&self.priors).ok_or(CORRUPT)?,
            days: self.days,
            disabled: self.disabled,
        };
        let to = Tenant { id: to, name: self.to_name, title: self.to_title };
        Ok(RuleRow { rule, to, created_by: self.created_by, created_ms: self.created_ms })
    }
}

impl Catalog {
    /// The reading rules of the scope's tenant, the oldest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn reading_rules(&self, scope: &Scope) -> Result<Vec<RuleRow>, CatalogError> {
        const TEXT: &str = "SELECT r.id, r.label, r.source, r.modality, r.body_part, r.station,
                r.description, r.asked, r.to_tenant, r.subspecialty, r.priority, r.due_minutes,
                r.priors, r.days, r.disabled, r.created_by, r.created_ms, t.name AS to_name,
                t.title AS to_title
            FROM reading_rules r JOIN tenants t ON t.id = r.to_tenant
            WHERE r.tenant_id = $1 ORDER BY r.id";
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        rows.into_iter().map(Row::read).collect()
    }

    /// Adds a rule to the scope's tenant, and returns its key. `None` when there is no such tenant to read.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_reading_rule(
        &self,
        scope: &Scope,
        new: &NewRule,
    ) -> Result<Option<i64>, CatalogError> {
        const KNOWN: &str = "SELECT id FROM tenants WHERE id = $1";
        const INSERT: &str =
            "INSERT INTO reading_rules (tenant_id, label, source, modality, body_part,
                station, description, asked, to_tenant, subspecialty, priority, due_minutes, priors,
                days, created_by, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
            RETURNING id";
        let which = &new.which;
        let source = which.source.as_ref().map_or("", TitlePattern::as_str);
        let asked = new.asked.map_or("", Priority::as_str);
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let known: Option<(i64,)> =
                sqlx::query_as(KNOWN).bind(new.to.0).fetch_optional(&mut *transaction).await?;
            if known.is_none() {
                return Ok(None);
            }
            let (id,): (i64,) = sqlx::query_as(INSERT)
                .bind(scope.tenant().0)
                .bind(&new.label)
                .bind(source)
                .bind(text_key(&which.modality))
                .bind(text_key(&which.body_part))
                .bind(text_key(&which.station))
                .bind(text_key(&which.description))
                .bind(asked)
                .bind(new.to.0)
                .bind(&new.subspecialty)
                .bind(new.priority.as_str())
                .bind(new.due_minutes)
                .bind(new.priors.as_str())
                .bind(new.days)
                .bind(scope.principal().name())
                .bind(new.at_ms)
                .fetch_one(&mut *transaction)
                .await?;
            let details = json!({
                "did": "add rule", "rule": id, "to_tenant": new.to.0, "source": source,
                "modality": which.modality, "body part": which.body_part,
                "station": which.station, "description": which.description, "asked": asked,
                "priority": new.priority.as_str(), "due_minutes": new.due_minutes,
                "priors": new.priors.as_str(), "days": new.days,
            });
            let entry = AuditEntry::new(scope, Action::ChangeReading, Outcome::Success, new.at_ms);
            transaction.append_audit(vec![entry.with(&details)]).await?;
            transaction.commit().await?;
            Ok(Some(id))
        })
    }

    /// Switches a rule of the scope's tenant off or on. False when there is none of that key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_reading_rule_disabled(
        &self,
        scope: &Scope,
        rule: i64,
        disabled: bool,
    ) -> Result<bool, CatalogError> {
        let (text, did) = match disabled {
            true => ("UPDATE reading_rules SET disabled = TRUE", "switch off rule"),
            false => ("UPDATE reading_rules SET disabled = FALSE", "switch on rule"),
        };
        self.change_reading_rule(scope, rule, text, did).await
    }

    /// Removes a rule of the scope's tenant; the tasks that it made stay. False when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_reading_rule(
        &self,
        scope: &Scope,
        rule: i64,
    ) -> Result<bool, CatalogError> {
        self.change_reading_rule(scope, rule, "DELETE FROM reading_rules", "remove rule").await
    }

    async fn change_reading_rule(
        &self,
        scope: &Scope,
        rule: i64,
        text: &'static str,
        did: &str,
    ) -> Result<bool, CatalogError> {
        let text = format!("{text} WHERE tenant_id = $1 AND id = $2");
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let changed = sqlx::query(AssertSqlSafe(text))
                .bind(scope.tenant().0)
                .bind(rule)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if changed == 0 {
                return Ok(false);
            }
            let entry = AuditEntry::new(scope, Action::ChangeReading, Outcome::Success, now_ms())
                .with(&json!({"did": did, "rule": rule}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(true)
    }

    /// Tenants that have rules which make tasks.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenants_with_reading_rules(&self) -> Result<Vec<TenantId>, CatalogError> {
        const TEXT: &str = "SELECT DISTINCT tenant_id FROM reading_rules WHERE NOT disabled";
        let rows: Vec<(i64,)> =
            on_db!(self.db(), pools => sqlx::query_as(TEXT).fetch_all(&pools.read).await?);
        Ok(rows.into_iter().map(|(id,)| TenantId(id)).collect())
    }
}
