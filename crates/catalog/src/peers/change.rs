//! Changes of a row of the register.

use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use qianli_model::peer::{CertificateRule, PeerRule};
use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;

use super::rows::{CHANGED, COLUMNS, OWN, Row, SETTLED, is_free, rule};
use super::{PeerChange, PeerChanged};
use crate::Catalog;
use crate::audit::{Append, AuditEntry};
use crate::db::on_db;
use crate::deletion::{begin, now_ms};
use crate::error::CatalogError;

/// What the catalog and the audit trail hold of a row that can be changed, by name.
fn parts(rule: &PeerRule) -> [(&'static str, Value); 7] {
    let text = |text: Option<String>| json!(text.unwrap_or_default());
    [
        ("label", json!(rule.label)),
        ("called", text(rule.called.as_ref().map(ToString::to_string))),
        ("network", text(rule.network.as_ref().map(ToString::to_string))),
        ("certificate", json!(rule.certificate.as_ref().map_or("", CertificateRule::as_str))),
        ("permissions", json!(rule.permissions.names())),
        ("disabled", json!(rule.disabled)),
        ("coercions", rule.coercions.to_json()),
    ]
}

/// Whether two rows mean the same peers.
fn means_the_same(one: &PeerRule, other: &PeerRule) -> bool {
    one.called == other.called
        && one.network == other.network
        && one.certificate == other.certificate
}

impl PeerChange {
    fn apply(&self, to: &PeerRule) -> PeerRule {
        let mut rule = to.clone();
        let Self { label, called, network, certificate, permissions, disabled, coercions } =
            self.clone();
        rule.label = label.unwrap_or(rule.label);
        rule.called = called.unwrap_or(rule.called);
        rule.network = network.unwrap_or(rule.network);
        rule.certificate = certificate.unwrap_or(rule.certificate);
        rule.permissions = permissions.unwrap_or(rule.permissions);
        rule.disabled = disabled.unwrap_or(rule.disabled);
        rule.coercions = coercions.unwrap_or(rule.coercions);
        rule
    }
}

impl Catalog {
    /// Changes a row of the scope's tenant, with an audit row that says what was and what is.
    ///
    /// Whom a row means is changed by the rules for new rows: [`PeerChanged::NotYourTitle`] otherwise.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn change_peer(
        &self,
        scope: &Scope,
        peer: i64,
        change: &PeerChange,
        at_ms: i64,
    ) -> Result<PeerChanged, CatalogError> {
        const THERE: &str = "SELECT id FROM peers WHERE tenant_id = $1 AND calling = $2
            AND called = $3 AND network = $4 AND certificate = $5 AND id <> $6";
        const UPDATE: &str = "UPDATE peers SET label = $3, called = $4, network = $5,
            certificate = $6, permissions = $7, disabled = $8, coercions = $9 WHERE tenant_id = $1 AND id = $2";
        let tenant = scope.tenant().0;
        let find = format!("{COLUMNS} WHERE tenant_id = $1 AND id = $2");
        let now = on_db!(self.db(), pools => {
            let mut transaction = pools.write.begin_with(begin(self.db())).await?;
            let found: Option<Row> = sqlx::query_as(AssertSqlSafe(find))
                .bind(tenant)
                .bind(peer)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(found) = found else { return Ok(PeerChanged::Missing) };
            let before = rule(found)?;
            let now = change.apply(&before);
            if now == before {
                return Ok(PeerChanged::Now(Box::new(now)));
            }
            let called = now.called.as_ref().map(ToString::to_string).unwrap_or_default();
            let network = now.network.as_ref().map(ToString::to_string).unwrap_or_default();
            let certificate = now.certificate.as_ref().map_or("", CertificateRule::as_str);
            if !means_the_same(&before, &now) {
                if !is_free(scope, &called) {
                    let own: Option<(i64,)> = sqlx::query_as(OWN)
                        .bind(&called)
                        .bind(tenant)
                        .fetch_optional(&mut *transaction)
                        .await?;
                    if own.is_none() {
                        return Ok(PeerChanged::NotYourTitle);
                    }
                }
                let there: Option<(i64,)> = sqlx::query_as(THERE)
                    .bind(tenant)
                    .bind(now.calling.as_str())
                    .bind(&called)
                    .bind(&network)
                    .bind(certificate)
                    .bind(peer)
                    .fetch_optional(&mut *transaction)
                    .await?;
                if let Some((id,)) = there {
                    return Ok(PeerChanged::Taken(id));
                }
            }
            sqlx::query(UPDATE)
                .bind(tenant)
                .bind(peer)
                .bind(&now.label)
                .bind(&called)
                .bind(&network)
                .bind(certificate)
                .bind(now.permissions.names())
                .bind(now.disabled)
                .bind(now.coercions.to_text())
                .execute(&mut *transaction)
                .await?;
            if !now.disabled {
                sqlx::query(SETTLED)
                    .bind(tenant)
                    .bind(now.calling.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query(CHANGED).execute(&mut *transaction).await?;
            let entry = AuditEntry::new(scope, Action::ChangePeer, Outcome::Success, at_ms);
            let entry = entry.with(&details(&before, &now));
            transaction.append_audit(vec![entry]).await?;
            transaction.commit().await?;
            now
        });
        self.peers_changed().notify_one();
        Ok(PeerChanged::Now(Box::new(now)))
    }

    /// Switches a row of the scope's tenant off or on: whom it means is refused while it is off.
    /// False when there is none of that key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_peer_disabled(
        &self,
        scope: &Scope,
        peer: i64,
        disabled: bool,
    ) -> Result<bool, CatalogError> {
        let change = PeerChange { disabled: Some(disabled), ..PeerChange::default() };
        let changed = self.change_peer(scope, peer, &change, now_ms()).await?;
        Ok(matches!(changed, PeerChanged::Now(_)))
    }
}

/// What is different, as it was and as it is.
fn details(before: &PeerRule, now: &PeerRule) -> Value {
    let (mut was, mut is) = (Map::new(), Map::new());
    for ((name, old), (_, new)) in parts(before).into_iter().zip(parts(now)) {
        if old != new {
            was.insert(name.to_owned(), old);
            is.insert(name.to_owned(), new);
        }
    }
    let did = match (is.get("disabled"), is.len()) {
        (Some(Value::Bool(true)), 1) => "switch off",
        (Some(Value::Bool(false)), 1) => "switch on",
        _ => "change",
    };
    let calling = now.calling.as_str();
    json!({"did": did, "peer": now.id, "calling": calling, "was": was, "is": is})
}
