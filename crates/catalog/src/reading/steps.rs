//! What every change of a task writes beside its row: history, audit, grant.

use qianli_model::Scope;
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::{Priors, Subject};
use serde_json::{Value, json};

use super::Task;
use crate::audit::{Append, AuditEntry};
use crate::error::CatalogError;
use crate::grants::{NewGrant, Origin, Recipient};
use crate::keys::bounded;
use crate::workitem::tx::{Tx, on_tx};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A step for the history of a task.
pub(super) struct Did<'d> {
    /// What was done.
    pub did: &'d str,
    /// To what.
    pub detail: &'d str,
    /// In the words of whoever did it.
    pub note: &'d str,
    /// Position among the steps of the transaction, from 1.
    pub place: i64,
}

/// Adds a step to the history, which is the feed of the live worklist: numbered as the change feed is.
pub(super) async fn tell(
    tx: &mut Tx,
    scope: &Scope,
    task: &Task,
    step: Did<'_>,
    now_ms: i64,
) -> Result<(), CatalogError> {
    const POSTGRES: &str =
        "INSERT INTO reading_history (tenant_id, owner_id, task_id, did, by_kind,
            by_name, detail, note, at_ms, sequence)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9,
            (base + pg_current_xact_id()::text::bigint) * 4096 + $10
        FROM feed WHERE id = 1";
    const SQLITE: &str = "INSERT INTO reading_history (tenant_id, owner_id, task_id, did, by_kind,
            by_name, detail, note, at_ms)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE $10 > 0";
    let text = match tx {
        Tx::Postgres(_) => POSTGRES,
        Tx::Sqlite(_) => SQLITE,
    };
    on_tx!(tx, connection => {
        sqlx::query(text)
            .bind(task.tenant.0)
            .bind(task.owner.0)
            .bind(task.id)
            .bind(step.did)
            .bind(scope.principal().kind())
            .bind(bounded(scope.principal().name()))
            .bind(bounded(step.detail))
            .bind(bounded(step.note))
            .bind(now_ms)
            .bind(step.place)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Audit rows of a change, for the reader's tenant and the owner's. Words of people stay out of them.
pub(super) fn entries(
    scope: &Scope,
    task: &Task,
    (did, detail): (&str, &str),
    now_ms: i64,
) -> Vec<AuditEntry> {
    let mut entry = AuditEntry::new(scope, Action::ChangeReading, Outcome::Success, now_ms)
        .with(&json!({"did": did, "task": task.id, "to": detail}));
    entry.study.clone_from(&task.study);
    let mut tenants = vec![task.tenant.0, task.owner.0];
    tenants.dedup();
    tenants.into_iter().map(|tenant| AuditEntry { tenant, ..entry.clone() }).collect()
}

/// Adds audit rows, last in the transaction.
pub(super) async fn audit(tx: &mut Tx, entries: Vec<AuditEntry>) -> Result<(), CatalogError> {
    on_tx!(tx, connection => connection.append_audit(entries).await)
}

/// Lets the tenant that reads see the study of another; the grant's key and its audit row.
pub(super) async fn grant(
    tx: &mut Tx,
    scope: &Scope,
    task: &Task,
    (priors, days): (Priors, i64),
    now_ms: i64,
) -> Result<(i64, AuditEntry), CatalogError> {
    let expires_ms = match days {
        0 => 0,
        days => now_ms.saturating_add(days.saturating_mul(DAY_MS)),
    };
    let new = NewGrant {
        subject: Subject::Study(task.study.clone()),
        priors,
        to: Recipient::Tenant(task.tenant),
        download: true,
        reshare: false,
        project: None,
        purpose: "reading".into(),
        created_by: scope.principal().name().to_owned(),
        at_ms: now_ms,
        expires_ms,
    };
    let id = on_tx!(tx, connection => {
        crate::grants::write::insert!(connection, task.owner.0, new, Origin::Share, 0_i64)
    });
    let details = json!({"did": "add", "grant": id, "kind": "study", "origin": "share",
        "to_tenant": task.tenant.0, "download": true, "expires_ms": expires_ms});
    Ok((id, of_grant(scope, task, &details, now_ms)))
}

/// Ends the grant of a task, or lets it show the study again; its audit row, or `None` when it was so.
pub(super) async fn switch_grant(
    tx: &mut Tx,
    scope: &Scope,
    task: &Task,
    on: bool,
    now_ms: i64,
) -> Result<Option<AuditEntry>, CatalogError> {
    const OFF: &str = "UPDATE grants SET revoked_ms = $3, revoked_by = $4
        WHERE tenant_id = $1 AND revoked_ms = 0 AND (id = $2 OR parent_id = $2)";
    const ON: &str = "UPDATE grants SET revoked_ms = 0, revoked_by = $4,
            expires_ms = CASE WHEN expires_ms = 0 THEN 0 ELSE $3 + (expires_ms - created_ms) END
        WHERE tenant_id = $1 AND id = $2 AND revoked_ms > 0";
    let by = if on { "" } else { scope.principal().name() };
    let changed = on_tx!(tx, connection => {
        sqlx::query(if on { ON } else { OFF })
            .bind(task.owner.0)
            .bind(task.grant)
            .bind(now_ms)
            .bind(by)
            .execute(connection)
            .await?
            .rows_affected()
    });
    let did = if on { "renew" } else { "revoke" };
    let details = json!({"did": did, "grant": task.grant});
    Ok((changed > 0).then(|| of_grant(scope, task, &details, now_ms)))
}

fn of_grant(scope: &Scope, task: &Task, details: &Value, now_ms: i64) -> AuditEntry {
    let mut entry =
        AuditEntry::new(scope, Action::ChangeGrant, Outcome::Success, now_ms).with(details);
    (entry.tenant, entry.study) = (task.owner.0, task.study.clone());
    entry
}
