//! Rows of rules.

use qianli_model::audit::{Action, Outcome};
use qianli_model::peer::TitlePattern;
use qianli_model::routing::{Goal, Rule, When, Which};
use qianli_model::{Scope, TenantId};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{NewRule, RuleRow};
use crate::Catalog;
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
    goal_kind: String,
    goal_name: String,
    time_window: String,
    send_when: String,
    commits: bool,
    disabled: bool,
    created_by: String,
    created_ms: i64,
}

impl Row {
    /// One that this version cannot read would send the wrong objects.
    fn read(self) -> Result<RuleRow, CatalogError> {
        const CORRUPT: CatalogError = CatalogError::Corrupt("a routing rule");
        let source = match self.source.as_str() {
            "" => None,
            text => Some(TitlePattern::parse(text).ok_or(CORRUPT)?),
        };
        let window = match self.time_window.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| CORRUPT)?),
        };
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
            to: Goal::of(&self.goal_kind, &self.goal_name).ok_or(CORRUPT)?,
            window,
            when: When::parse(&self.send_when).ok_or(CORRUPT)?,
            commits: self.commits,
            disabled: self.disabled,
        };
        Ok(RuleRow { rule, created_by: self.created_by, created_ms: self.created_ms })
    }
}

impl Catalog {
    /// The routing rules of the scope's tenant, by destination.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn route_rules(&self, scope: &Scope) -> Result<Vec<RuleRow>, CatalogError> {
        const TEXT: &str = "SELECT id, label, source, modality, body_part, station, description,
                goal_kind, goal_name, time_window, send_when, commits, disabled, created_by,
                created_ms
            FROM route_rules WHERE tenant_id = $1 ORDER BY goal_kind, goal_name, id";
        let rows: Vec<Row> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_all(&pools.read).await?
        });
        rows.into_iter().map(Row::read).collect()
    }

    /// Adds a rule to the scope's tenant, and returns its key. `None` when the tenant has no such
    /// destination.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add_route_rule(
        &self,
        scope: &Scope,
        new: &NewRule,
    ) -> Result<Option<i64>, CatalogError> {
        let known = match &new.to {
            Goal::Web(_) => "SELECT id FROM web_goals WHERE tenant_id = $1 AND name = $2",
            Goal::Peer(_) => "SELECT id FROM destinations WHERE tenant_id = $1 AND title = $2",
        };
        const INSERT: &str =
            "INSERT INTO route_rules (tenant_id, label, source, modality, body_part,
                station, description, goal_kind, goal_name, time_window, send_when, commits,
                created_by, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id";
        let which = &new.which;
        let source = which.source.as_ref().map_or("", TitlePattern::as_str);
        let window = new.window.map(|window| window.to_string()).unwrap_or_default();
        on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let known: Option<(i64,)> = sqlx::query_as(known)
                .bind(scope.tenant().0)
                .bind(new.to.name())
                .fetch_optional(&mut *transaction)
                .await?;
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
                .bind(new.to.kind())
                .bind(new.to.name())
                .bind(&window)
                .bind(new.when.as_str())
                .bind(new.commits)
                .bind(scope.principal().name())
                .bind(new.at_ms)
                .fetch_one(&mut *transaction)
                .await?;
            let details = json!({
                "did": "add", "rule": id, "to": new.to.to_string(), "source": source,
                "modality": which.modality, "body part": which.body_part,
                "station": which.station, "description": which.description,
                "window": window, "when": new.when.as_str(), "commitment": new.commits,
            });
            let entry = AuditEntry::new(scope, Action::ChangeRoute, Outcome::Success, new.at_ms);
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
    pub async fn set_route_rule_disabled(
        &self,
        scope: &Scope,
        rule: i64,
        disabled: bool,
    ) -> Result<bool, CatalogError> {
        let (text, did) = match disabled {
            true => ("UPDATE route_rules SET disabled = TRUE", "switch off"),
            false => ("UPDATE route_rules SET disabled = FALSE", "switch on"),
        };
        self.change_route_rule(scope, rule, text, did).await
    }

    /// Removes a rule of the scope's tenant; what was sent by it stays listed. False when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn remove_route_rule(&self, scope: &Scope, rule: i64) -> Result<bool, CatalogError> {
        self.change_route_rule(scope, rule, "DELETE FROM route_rules", "remove").await
    }

    async fn change_route_rule(
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
            let entry = AuditEntry::new(scope, Action::ChangeRoute, Outcome::Success, now_ms())
                .with(&json!({"did": did, "rule": rule}));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
        });
        Ok(true)
    }

    /// Tenants that send objects on as they come.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenants_routing_at_once(&self) -> Result<Vec<TenantId>, CatalogError> {
        const TEXT: &str = "SELECT DISTINCT tenant_id FROM route_rules
            WHERE send_when = 'at once' AND NOT disabled";
        let rows: Vec<(i64,)> =
            on_db!(self.db(), pools => sqlx::query_as(TEXT).fetch_all(&pools.read).await?);
        Ok(rows.into_iter().map(|(id,)| TenantId(id)).collect())
    }

    /// Position of the last event of the scope's tenant; 0 when there is none.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn last_event(&self, scope: &Scope) -> Result<i64, CatalogError> {
        const TEXT: &str = "SELECT COALESCE(MAX(sequence), 0) FROM events WHERE tenant_id = $1";
        let (last,): (i64,) = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).bind(scope.tenant().0).fetch_one(&pools.read).await?
        });
        Ok(last)
    }
}
