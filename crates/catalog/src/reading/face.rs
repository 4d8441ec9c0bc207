//! The workitem that stands for a task, in the transaction of the task.

use qianli_model::reading::{Actor, Ask, Reader, Refusal as No, State, change, face};
use qianli_model::workitem::{Held as Item, Refusal, change as items};
use qianli_model::{Scope, SopInstanceUid, TenantId, TransactionUid};

use super::{Task, change::stamped, rows, steps};
use crate::error::CatalogError;
use crate::record::split_list;
use crate::workitem::tx::{Tx, on_tx};
use crate::workitem::{Kept, read, write};
use crate::{Catalog, db::Db};

/// Place of the first report of a new workitem among those of a transaction that ends another one too.
const SECOND_ITEM: i64 = 1000;

const DAMAGED: CatalogError = CatalogError::Corrupt("the workitem of a reading task");

/// A workitem as it was read, with its row.
pub(super) type Present = Option<((i64, i64), Item)>;

/// The present workitem of a task; `None` when its time was over, or it has none yet.
pub(super) async fn present(db: &Db, task: &Task) -> Result<Present, CatalogError> {
    let Ok(uid) = SopInstanceUid::parse(&task.workitem) else { return Ok(None) };
    let scope = Scope::system(task.tenant, "a reading task has a face");
    Ok(match read::workitem(db, &scope, &uid).await? {
        (Kept::Here(held), Some(row)) => Some((row, held)),
        _ => None,
    })
}

/// Makes the workitem say what the task says, and notes a new one in the task. `false` when somebody changed the
/// workitem meanwhile.
pub(super) async fn write(
    tx: &mut Tx,
    task: &mut Task,
    present: Present,
    random: &(dyn Fn() -> u128 + Sync),
    now_ms: i64,
) -> Result<bool, CatalogError> {
    let (json, modalities) = study(tx, task).await?;
    let study_uid = task.study.clone();
    let subspecialty = task.subspecialty.clone();
    let shown = face::Shown {
        study: &study_uid,
        study_json: &json,
        modalities: &modalities,
        subspecialty: &subspecialty,
        is_complete: task.complete_ms > 0,
        made_ms: task.made_ms,
    };
    let lock = TransactionUid::parse(&face::uid(random())).map_err(|_| DAMAGED)?;
    let anew = match present {
        None => task.workitem.is_empty() || !task.held.state.is_final(),
        Some((row, item)) => {
            let uid = SopInstanceUid::parse(&task.workitem).map_err(|_| DAMAGED)?;
            let followed =
                face::follow(&item, &shown, &task.held, &lock, now_ms).map_err(|_| DAMAGED)?;
            if let Some(change) = followed.change
                && !write::update(tx, task.tenant.0, &uid, (row, &item), &change, now_ms).await?
            {
                return Ok(false);
            }
            followed.anew
        }
    };
    if !anew {
        return Ok(true);
    }
    let replaces = (!task.workitem.is_empty()).then_some(task.workitem.as_str());
    let uid = face::item_uid(random()).ok_or(DAMAGED)?;
    let data = face::new_item(&shown, &task.held, replaces);
    let (held, created) = items::create(data, &uid, now_ms).map_err(|_| DAMAGED)?;
    // A task that is read again begins in the state that it has.
    let followed = face::follow(&held, &shown, &task.held, &lock, now_ms).map_err(|_| DAMAGED)?;
    let (held, mut events) = match followed.change {
        Some(change) => (change.held.unwrap_or(held), change.events),
        None => (held, Vec::new()),
    };
    events.splice(0..0, created.events);
    write::insert(tx, task.tenant.0, &uid, &held, (SECOND_ITEM, &events), now_ms).await?;
    task.workitem = uid.as_str().to_owned();
    Ok(true)
}

async fn study(tx: &mut Tx, task: &Task) -> Result<(String, String), CatalogError> {
    const TEXT: &str =
        "SELECT study_json, modalities FROM studies WHERE tenant_id = $1 AND study_uid = $2";
    let row: Option<(String, String)> = on_tx!(tx, connection => {
        sqlx::query_as(TEXT)
            .bind(task.owner.0)
            .bind(&task.study)
            .fetch_optional(connection)
            .await?
    });
    let (json, modalities) = row.unwrap_or_default();
    Ok((json, split_list(&modalities).collect::<Vec<_>>().join("/")))
}

/// Follows a change that a worker made of a task's workitem, in the workitem's transaction. Whoever works by
/// workitems may do what they may do on the pages, and nothing else.
pub(crate) async fn heard(
    tx: &mut Tx,
    scope: &Scope,
    uid: &SopInstanceUid,
    item: &Item,
    now_ms: i64,
) -> Result<Result<(), Refusal>, CatalogError> {
    let tenant: TenantId = scope.tenant();
    let Some(task) = rows::by_workitem(tx, tenant.0, uid.as_str()).await? else {
        return Ok(Ok(()));
    };
    let (state, priority) = face::heard(item, task.held.priority);
    let mut asks = Vec::new();
    if priority != task.held.priority {
        asks.push(Ask::Prioritise(priority, None));
    }
    match (task.held.state, state) {
        (before, after) if before == after => {}
        (State::Open, State::Claimed) => asks.push(Ask::Claim),
        (_, State::Done) => asks.push(Ask::Finish),
        // A performer who gives up does not end the task: somebody else reads it.
        (State::Claimed, State::Cancelled) => asks.push(Ask::Release),
        (_, State::Cancelled) => asks.push(Ask::Cancel),
        _ => {}
    }
    let by = Actor::of(scope, task.tenant);
    let mut after = task.clone();
    let (mut place, mut audited) = (1, Vec::new());
    for ask in asks {
        match change(&after.held, &by, &ask, now_ms) {
            Ok(held) => after = stamped(&after, held, now_ms),
            Err(No::Taken(_)) => return Ok(Err(Refusal::AlreadyInProgress)),
            Err(_) => return Ok(Err(Refusal::NotYours)),
        }
        let detail = match &ask {
            Ask::Claim => Reader::of(scope).name,
            Ask::Prioritise(priority, _) => priority.as_str().to_owned(),
            _ => String::new(),
        };
        let step = steps::Did { did: ask.word(), detail: &detail, note: "", place };
        steps::tell(tx, scope, &after, step, now_ms).await?;
        audited.extend(steps::entries(scope, &after, (ask.word(), &detail), now_ms));
        if ask == Ask::Cancel && after.grant > 0 {
            audited.extend(steps::switch_grant(tx, scope, &after, false, now_ms).await?);
        }
        place += 1;
    }
    if audited.is_empty() {
        return Ok(Ok(()));
    }
    if after.held.state == State::Open && task.held.state == State::Claimed {
        let seed = now_ms.unsigned_abs();
        let random = || fresh(uid, seed);
        if !write(tx, &mut after, None, &random, now_ms).await? {
            return Err(Catalog::busy_reading());
        }
    }
    if !rows::save(tx, &after, now_ms).await? {
        return Err(Catalog::busy_reading());
    }
    steps::audit(tx, audited).await?;
    Ok(Ok(()))
}

/// A number for the UID of the workitem that follows another: nobody draws one here. The digits of the one before and
/// the time make it as unlikely to be there as a random one.
fn fresh(uid: &SopInstanceUid, seed: u64) -> u128 {
    let hash = blake3::hash(format!("{} {seed}", uid.as_str()).as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|at| hash.as_bytes()[at]);
    u128::from_be_bytes(bytes)
}
