//! Subscriptions (PS3.4 CC.2.3): to a workitem, to the worklist, to a filtered part of it.

use qianli_model::workitem::{Refusal, search};
use qianli_model::{AeTitle, Scope, SopInstanceUid};
use sqlx::AssertSqlSafe;

use super::compile::{Writer, bind_all};
use super::tx::{Subscriptions, Tx, on_tx};
use super::{Kept, Subject, read};
use crate::db::Db;
use crate::error::CatalogError;

/// First reports that one subscription prepares at most: the places that one transaction has.
const FIRST_REPORTS: i64 = 4_000;

/// A state report from the columns of `w`; both hold one of a few words.
const STATE_REPORT: &str = r#"'{"00404041":{"vr":"CS","Value":["' || w.readiness
    || '"]},"00741000":{"vr":"CS","Value":["' || w.state || '"]}}'"#;

pub(super) async fn subscribe(
    db: &Db,
    scope: &Scope,
    aet: &AeTitle,
    subject: &Subject,
    deletion_lock: bool,
    now_ms: i64,
) -> Result<Result<(), Refusal>, CatalogError> {
    const FOLLOW: &str = "INSERT INTO workitem_followers (tenant_id, aet, filter, deletion_lock)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (tenant_id, aet, filter) DO UPDATE SET deletion_lock = excluded.deletion_lock";
    if let Subject::Workitem(uid) = subject
        && let Err(refusal) = here(db, scope, uid).await?
    {
        return Ok(Err(refusal));
    }
    let tenant = scope.tenant().0;
    let mut tx = Tx::begin(db, tenant, Subscriptions::Write).await?;
    let mut writer = Writer::new(tx.dialect(), tenant);
    let clause = match subject {
        Subject::Workitem(uid) => {
            let path = search::path("00080018").unwrap_or_default();
            let rule = search::Rule::AnyOf(vec![uid.as_str().to_owned()]);
            let kind = search::Kind::Uid;
            writer.all(&[search::Condition { path, kind, rule }], false)
        }
        Subject::Worklist => writer.all(&[], false),
        Subject::Filtered(filter) => {
            let conditions =
                search::filter(filter).map_err(|_| CatalogError::Corrupt("a filter"))?;
            writer.all(&conditions, false)
        }
    };
    let filter = match subject {
        Subject::Workitem(_) => None,
        Subject::Worklist => Some(""),
        Subject::Filtered(filter) => Some(filter.as_str()),
    };
    if let Some(filter) = filter {
        on_tx!(&mut tx, connection => {
            sqlx::query(FOLLOW)
                .bind(tenant)
                .bind(aet.as_str())
                .bind(filter)
                .bind(deletion_lock)
                .execute(connection)
                .await?;
        });
    }
    // One that was asked for by name is reported whatever its state, and again when asked again.
    let by_name = matches!(subject, Subject::Workitem(_));
    let which = if by_name {
        clause.clone()
    } else {
        let aet = writer.text(aet.as_str());
        format!(
            "w.state IN ('SCHEDULED', 'IN PROGRESS') AND NOT EXISTS (
                SELECT 1 FROM workitem_subscriptions s
                WHERE s.workitem_id = w.id AND s.aet = {aet}) AND {clause}"
        )
    };
    first_reports(&mut tx, aet, writer.fork(), &which, 0, now_ms).await?;

    let place_aet = writer.text(aet.as_str());
    let place_lock = writer.number(i64::from(deletion_lock));
    let tenant_place = writer.tenant().to_owned();
    // The same again sets the lock as it is asked for now; the worklist's never takes one away.
    let lock = if by_name {
        "excluded.deletion_lock"
    } else {
        "workitem_subscriptions.deletion_lock OR excluded.deletion_lock"
    };
    let text = format!(
        "INSERT INTO workitem_subscriptions (workitem_id, tenant_id, aet, deletion_lock)
        SELECT w.id, w.tenant_id, {place_aet}, {place_lock} <> 0 FROM workitems w
        WHERE w.tenant_id = {tenant_place} AND w.removed_ms = 0 AND {clause}
        ON CONFLICT (workitem_id, aet) DO UPDATE SET deletion_lock = {lock}"
    );
    on_tx!(&mut tx, connection => {
        bind_all!(sqlx::query(AssertSqlSafe(text)), writer.binds).execute(connection).await?;
    });
    tx.commit().await?;
    Ok(Ok(()))
}

/// Prepares a state report of each workitem that `which` (over `w`) picks, for one receiver.
/// `after` is the last place that the transaction has used.
async fn first_reports(
    tx: &mut Tx,
    aet: &AeTitle,
    mut writer: Writer,
    which: &str,
    after: i64,
    now_ms: i64,
) -> Result<(), CatalogError> {
    let aet = writer.text(aet.as_str());
    let (after, now) = (writer.number(after), writer.number(now_ms));
    let limit = writer.number(FIRST_REPORTS);
    let tenant = writer.tenant();
    let picked = format!(
        "SELECT w.tenant_id, {aet} AS aet, w.workitem_uid, 1 AS kind, {STATE_REPORT} AS attributes,
            {now} AS at_ms, w.id FROM workitems w
        WHERE w.tenant_id = {tenant} AND w.removed_ms = 0 AND {which}
        ORDER BY w.id DESC LIMIT {limit}"
    );
    let text = match tx {
        Tx::Postgres(_) => format!(
            "INSERT INTO workitem_events
                (tenant_id, aet, sequence, workitem_uid, kind, attributes, at_ms)
            SELECT p.tenant_id, p.aet, (f.base + pg_current_xact_id()::text::bigint) * 4096
                + {after} + ROW_NUMBER() OVER (ORDER BY p.id), p.workitem_uid, p.kind,
                p.attributes, p.at_ms
            FROM ({picked}) p, feed f WHERE f.id = 1"
        ),
        Tx::Sqlite(_) => format!(
            "INSERT INTO workitem_events (tenant_id, aet, workitem_uid, kind, attributes, at_ms)
            SELECT tenant_id, aet, workitem_uid, kind, attributes, at_ms
            FROM ({picked}) WHERE {after} >= 0 ORDER BY id"
        ),
    };
    on_tx!(tx, connection => {
        bind_all!(sqlx::query(AssertSqlSafe(text)), writer.binds).execute(connection).await?;
    });
    Ok(())
}

pub(super) async fn unsubscribe(
    db: &Db,
    scope: &Scope,
    aet: &AeTitle,
    subject: &Subject,
) -> Result<Result<bool, Refusal>, CatalogError> {
    const ONE: &str = "DELETE FROM workitem_subscriptions WHERE aet = $2 AND workitem_id =
        (SELECT id FROM workitems WHERE tenant_id = $1 AND workitem_uid = $3)";
    const ALL: &str = "DELETE FROM workitem_subscriptions WHERE tenant_id = $1 AND aet = $2";
    if let Subject::Workitem(uid) = subject
        && let Err(refusal) = here(db, scope, uid).await?
    {
        return Ok(Err(refusal));
    }
    let tenant = scope.tenant().0;
    let mut tx = Tx::begin(db, tenant, Subscriptions::Write).await?;
    let followed = leave(&mut tx, tenant, aet, subject).await?;
    let subscribed = match subject {
        Subject::Workitem(uid) => on_tx!(&mut tx, connection => {
            sqlx::query(ONE)
                .bind(tenant)
                .bind(aet.as_str())
                .bind(uid.as_str())
                .execute(connection)
                .await?
                .rows_affected()
        }),
        // CC.2.3.3: leaving the worklist leaves every workitem.
        Subject::Worklist | Subject::Filtered(_) => on_tx!(&mut tx, connection => {
            sqlx::query(ALL).bind(tenant).bind(aet.as_str()).execute(connection).await?.rows_affected()
        }),
    };
    tx.commit().await?;
    Ok(Ok(followed || subscribed > 0))
}

pub(super) async fn suspend(
    db: &Db,
    scope: &Scope,
    aet: &AeTitle,
    subject: &Subject,
) -> Result<bool, CatalogError> {
    let tenant = scope.tenant().0;
    let mut tx = Tx::begin(db, tenant, Subscriptions::Write).await?;
    let followed = leave(&mut tx, tenant, aet, subject).await?;
    tx.commit().await?;
    Ok(followed)
}

/// Removes the rule that subscribes to workitems to come.
async fn leave(
    tx: &mut Tx,
    tenant: i64,
    aet: &AeTitle,
    subject: &Subject,
) -> Result<bool, CatalogError> {
    const WORKLIST: &str =
        "DELETE FROM workitem_followers WHERE tenant_id = $1 AND aet = $2 AND filter = $3";
    const FILTERS: &str =
        "DELETE FROM workitem_followers WHERE tenant_id = $1 AND aet = $2 AND filter <> $3";
    let (text, filter) = match subject {
        Subject::Workitem(_) => return Ok(false),
        Subject::Worklist => (WORKLIST, ""),
        Subject::Filtered(filter) if filter.is_empty() => (FILTERS, ""),
        Subject::Filtered(filter) => (WORKLIST, filter.as_str()),
    };
    let removed = on_tx!(tx, connection => {
        sqlx::query(text)
            .bind(tenant)
            .bind(aet.as_str())
            .bind(filter)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(removed > 0)
}

async fn here(
    db: &Db,
    scope: &Scope,
    uid: &SopInstanceUid,
) -> Result<Result<(), Refusal>, CatalogError> {
    Ok(match read::workitem(db, scope, uid).await?.0 {
        Kept::Here(_) => Ok(()),
        Kept::Removed => Err(Refusal::Removed),
        Kept::Absent => Err(Refusal::Absent),
    })
}

/// Subscribes those who follow the worklist, or a part of it that holds a new workitem.
pub(super) async fn new_workitem(tx: &mut Tx, tenant: i64, id: i64) -> Result<(), CatalogError> {
    const TEXT: &str = "INSERT INTO workitem_subscriptions
            (workitem_id, tenant_id, aet, deletion_lock)
        SELECT $1, tenant_id, aet, deletion_lock FROM workitem_followers
        WHERE tenant_id = $2 AND filter = ''
        ON CONFLICT (workitem_id, aet) DO NOTHING";
    on_tx!(&mut *tx, connection => {
        sqlx::query(TEXT).bind(id).bind(tenant).execute(connection).await?;
    });
    by_filters(tx, tenant, id).await?;
    Ok(())
}

/// Subscribes those whose filter matches a workitem since it was changed, and tells them its state.
pub(super) async fn changed_workitem(
    tx: &mut Tx,
    tenant: i64,
    id: i64,
    mut place: i64,
    now_ms: i64,
) -> Result<(), CatalogError> {
    for aet in by_filters(tx, tenant, id).await? {
        let Ok(aet) = AeTitle::parse(&aet) else { continue };
        let mut writer = Writer::new(tx.dialect(), tenant);
        let which = format!("w.id = {}", writer.number(id));
        first_reports(tx, &aet, writer, &which, place, now_ms).await?;
        place += 1;
    }
    Ok(())
}

/// Subscribes by filters; returns who was not subscribed before.
async fn by_filters(tx: &mut Tx, tenant: i64, id: i64) -> Result<Vec<String>, CatalogError> {
    const FILTERS: &str = "SELECT aet, filter, deletion_lock FROM workitem_followers
        WHERE tenant_id = $1 AND filter <> ''";
    const SUBSCRIBE: &str = "INSERT INTO workitem_subscriptions
            (workitem_id, tenant_id, aet, deletion_lock) VALUES ($1, $2, $3, $4)
        ON CONFLICT (workitem_id, aet) DO NOTHING";
    let followers: Vec<(String, String, bool)> = on_tx!(&mut *tx, connection => {
        sqlx::query_as(FILTERS).bind(tenant).fetch_all(connection).await?
    });
    let mut added = Vec::new();
    for (aet, filter, deletion_lock) in followers {
        let Ok(conditions) = search::filter(&filter) else { continue };
        let mut writer = Writer::new(tx.dialect(), tenant);
        let clause = writer.all(&conditions, false);
        let tenant_place = writer.tenant().to_owned();
        let place = writer.number(id);
        let text = format!(
            "SELECT w.id FROM workitems w
            WHERE w.tenant_id = {tenant_place} AND w.id = {place} AND {clause}"
        );
        let matched: Option<(i64,)> = on_tx!(&mut *tx, connection => {
            let query = sqlx::query_as(AssertSqlSafe(text));
            bind_all!(query, writer.binds).fetch_optional(connection).await?
        });
        if matched.is_none() {
            continue;
        }
        let subscribed = on_tx!(&mut *tx, connection => {
            sqlx::query(SUBSCRIBE)
                .bind(id)
                .bind(tenant)
                .bind(&aet)
                .bind(deletion_lock)
                .execute(connection)
                .await?
                .rows_affected()
        });
        if subscribed > 0 {
            added.push(aet);
        }
    }
    Ok(added)
}
