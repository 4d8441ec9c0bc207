//! Writing workitems: rows, keys and reports in one transaction.

use qianli_model::audit::{Action, Outcome};
use qianli_model::tag::tag;
use qianli_model::workitem::{Change, DataSet, Event, Held, Refusal, instant};
use qianli_model::{AeTitle, Scope, SopInstanceUid};
use serde_json::json;

use super::tx::{Subscriptions, Tx, on_tx};
use super::{Kept, follow, keys, read};
use crate::audit::{Append, AuditEntry};
use crate::db::{Db, on_db};
use crate::error::{CatalogError, Cause};
use crate::reading;

/// How often a change is tried while others change the same workitem.
const TRIES: usize = 32;

pub(super) async fn create(
    db: &Db,
    scope: &Scope,
    uid: &SopInstanceUid,
    held: &Held,
    events: &[Event],
    now_ms: i64,
) -> Result<bool, CatalogError> {
    let mut tx = Tx::begin(db, scope.tenant().0, Subscriptions::Read).await?;
    if !insert(&mut tx, scope.tenant().0, uid, held, (1, events), now_ms).await? {
        return Ok(false);
    }
    audit(&mut tx, scope, Action::CreateWorkitem, uid, held, now_ms).await?;
    tx.commit().await?;
    Ok(true)
}

/// Writes a new workitem in a transaction whose caller adds the audit row; `false` when it was here. `first` is the
/// place of its first report among those of the transaction.
pub(crate) async fn insert(
    tx: &mut Tx,
    tenant: i64,
    uid: &SopInstanceUid,
    held: &Held,
    (first, events): (i64, &[Event]),
    now_ms: i64,
) -> Result<bool, CatalogError> {
    const TEXT: &str =
        "INSERT INTO workitems (tenant_id, workitem_uid, state, readiness, start_key,
            transaction_uid, json, revision, created_ms, updated_ms, final_ms, removed_ms)
        VALUES ($1, $2, $3, $4, $5, $8, $6, 0, $7, $7, 0, 0)
        ON CONFLICT (tenant_id, workitem_uid) DO NOTHING RETURNING id";
    let row: Option<(i64,)> = on_tx!(&mut *tx, connection => {
        sqlx::query_as(TEXT)
            .bind(tenant)
            .bind(uid.as_str())
            .bind(held.state.as_str())
            .bind(readiness(&held.data))
            .bind(start_key(&held.data))
            .bind(held.data.to_json())
            .bind(now_ms)
            .bind(held.transaction.as_ref().map_or("", |uid| uid.as_str()))
            .fetch_optional(connection)
            .await?
    });
    let Some((id,)) = row else { return Ok(false) };
    keys::write(tx, tenant, id, &keys::Keys::new(), &keys::of(&held.data)).await?;
    follow::new_workitem(tx, tenant, id).await?;
    report(tx, tenant, (id, uid), (first, events), now_ms).await?;
    Ok(true)
}

pub(super) async fn change(
    db: &Db,
    scope: &Scope,
    uid: &SopInstanceUid,
    now_ms: i64,
    decide: impl Fn(&Held) -> Result<Change, Refusal>,
) -> Result<Result<Change, Refusal>, CatalogError> {
    for _ in 0..TRIES {
        let (before, row) = match read::workitem(db, scope, uid).await? {
            (Kept::Here(held), Some(row)) => (held, row),
            (Kept::Removed, _) => return Ok(Err(Refusal::Removed)),
            _ => return Ok(Err(Refusal::Absent)),
        };
        let change = match decide(&before) {
            Ok(change) => change,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if change.held.is_none() && change.events.is_empty() {
            return Ok(Ok(change));
        }
        let mut tx = Tx::begin(db, scope.tenant().0, Subscriptions::Read).await?;
        if update(&mut tx, scope.tenant().0, uid, (row, &before), &change, now_ms).await? {
            let after = change.held.as_ref().unwrap_or(&before);
            if let Err(refusal) = reading::heard(&mut tx, scope, uid, after, now_ms).await? {
                return Ok(Err(refusal));
            }
            audit(&mut tx, scope, Action::ChangeWorkitem, uid, after, now_ms).await?;
            tx.commit().await?;
            return Ok(Ok(change));
        }
    }
    Err(CatalogError::Unavailable(Cause::new("others keep changing the same workitem")))
}

/// Writes a change of the revision that was read, in a transaction whose caller adds the audit row; `false` when
/// there is a later one by now.
pub(crate) async fn update(
    tx: &mut Tx,
    tenant: i64,
    uid: &SopInstanceUid,
    ((id, revision), before): ((i64, i64), &Held),
    change: &Change,
    now_ms: i64,
) -> Result<bool, CatalogError> {
    const TEXT: &str = "UPDATE workitems SET state = $3, readiness = $4, start_key = $5,
            transaction_uid = $6, json = $7, revision = revision + 1, updated_ms = $8,
            final_ms = $9
        WHERE id = $1 AND revision = $2 AND removed_ms = 0";
    let after = change.held.as_ref().unwrap_or(before);
    let transaction = after.transaction.as_ref().map_or("", |uid| uid.as_str());
    let written = on_tx!(&mut *tx, connection => {
        sqlx::query(TEXT)
            .bind(id)
            .bind(revision)
            .bind(after.state.as_str())
            .bind(readiness(&after.data))
            .bind(start_key(&after.data))
            .bind(transaction)
            .bind(after.data.to_json())
            .bind(now_ms)
            .bind(if after.state.is_final() { now_ms } else { 0 })
            .execute(connection)
            .await?
            .rows_affected()
    });
    if written == 0 {
        return Ok(false);
    }
    keys::write(tx, tenant, id, &keys::of(&before.data), &keys::of(&after.data)).await?;
    report(tx, tenant, (id, uid), (1, &change.events), now_ms).await?;
    if change.held.is_some() {
        let place = i64::try_from(change.events.len()).unwrap_or(0);
        follow::changed_workitem(tx, tenant, id, place, now_ms).await?;
    }
    Ok(true)
}

/// Adds a row to the audit trail, last in the transaction. A workitem's UID stands where an
/// instance's does.
async fn audit(
    tx: &mut Tx,
    scope: &Scope,
    action: Action,
    uid: &SopInstanceUid,
    held: &Held,
    now_ms: i64,
) -> Result<(), CatalogError> {
    let entry = AuditEntry::new(scope, action, Outcome::Success, now_ms);
    let entry = AuditEntry { instance: uid.to_string(), ..entry };
    let entry = entry.with(&json!({ "state": held.state.as_str() }));
    on_tx!(tx, connection => connection.append_audit(vec![entry]).await)
}

/// One row for each report and each of the workitem's subscribers.
async fn report(
    tx: &mut Tx,
    tenant: i64,
    (id, uid): (i64, &SopInstanceUid),
    (first, events): (i64, &[Event]),
    now_ms: i64,
) -> Result<(), CatalogError> {
    const POSTGRES: &str = "INSERT INTO workitem_events
            (tenant_id, aet, sequence, workitem_uid, kind, attributes, at_ms)
        SELECT $1, s.aet, (f.base + pg_current_xact_id()::text::bigint) * 4096 + $7,
            $3, $4, $5, $6
        FROM workitem_subscriptions s, feed f WHERE s.workitem_id = $2 AND f.id = 1";
    const SQLITE: &str = "INSERT INTO workitem_events
            (tenant_id, aet, workitem_uid, kind, attributes, at_ms)
        SELECT $1, s.aet, $3, $4, $5, $6
        FROM workitem_subscriptions s WHERE s.workitem_id = $2 AND $7 > 0";
    let text = match tx {
        Tx::Postgres(_) => POSTGRES,
        Tx::Sqlite(_) => SQLITE,
    };
    for (place, event) in (first..).zip(events) {
        on_tx!(&mut *tx, connection => {
            sqlx::query(text)
                .bind(tenant)
                .bind(id)
                .bind(uid.as_str())
                .bind(event.kind.number())
                .bind(event.attributes.to_json())
                .bind(now_ms)
                .bind(place)
                .execute(connection)
                .await?;
        });
    }
    Ok(())
}

pub(super) async fn confirm(
    db: &Db,
    scope: &Scope,
    aet: &AeTitle,
    sequence: i64,
) -> Result<(), CatalogError> {
    const TEXT: &str = "INSERT INTO workitem_receivers (tenant_id, aet, delivered)
        VALUES ($1, $2, $3)
        ON CONFLICT (tenant_id, aet) DO UPDATE SET delivered = excluded.delivered
        WHERE workitem_receivers.delivered < excluded.delivered";
    on_db!(db, pools => {
        sqlx::query(TEXT)
            .bind(scope.tenant().0)
            .bind(aet.as_str())
            .bind(sequence)
            .execute(&pools.write)
            .await?;
    });
    Ok(())
}

fn readiness(data: &DataSet) -> &str {
    data.text(tag(0x0040, 0x4041))
}

/// The start as an instant that compares; empty where it is none.
fn start_key(data: &DataSet) -> String {
    let zone = data.text(qianli_model::tag::TIMEZONE_OFFSET_FROM_UTC);
    instant::bounds(data.text(tag(0x0040, 0x4005)), zone)
        .map(|(first, _)| first)
        .unwrap_or_default()
}
