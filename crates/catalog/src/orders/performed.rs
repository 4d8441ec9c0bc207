//! Modality performed procedure steps (PS3.4 annex F): what they say is kept, and moves the states of
//! the scheduled steps that they name.

use qianli_model::Scope;
use qianli_model::order::{OrderKey, StepState};
use serde_json::json;

use super::write::{audit, find, job, update};
use super::{IMAGES_JOB, read};
use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;
use crate::keys::bounded;
use crate::workitem::tx::{Tx, on_tx};

/// How long images may take after the modality says that it is done (ms).
const IMAGES_MS: i64 = 3_600_000;

/// Performed Procedure Step Status, (0040,0252).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerformedState {
    /// Under way.
    InProgress,
    /// Done.
    Completed,
    /// Given up.
    Discontinued,
}

impl PerformedState {
    /// The word of the standard.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Discontinued => "DISCONTINUED",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::InProgress, Self::Completed, Self::Discontinued]
            .into_iter()
            .find(|state| state.as_str() == word.trim())
    }

    fn of_step(self) -> StepState {
        match self {
            Self::InProgress => StepState::Started,
            Self::Completed => StepState::Completed,
            Self::Discontinued => StepState::Discontinued,
        }
    }
}

/// What a modality says that it performs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerformed {
    /// SOP Instance UID of the performed step.
    pub sop_uid: String,
    /// The order that it names, and its scheduled step's ID, once per scheduled step.
    pub scheduled: Vec<(OrderKey, String)>,
    /// Study Instance UID.
    pub study_uid: String,
    /// Calling AE title.
    pub calling: String,
    /// How far it is.
    pub state: PerformedState,
    /// Series that were performed so far.
    pub series: Vec<String>,
    /// The whole step as a DICOM JSON object.
    pub json: String,
}

/// A performed step as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    /// Key in the catalog.
    pub id: i64,
    /// Key of the order; 0 where nothing was ordered.
    pub order: i64,
    /// IDs of the scheduled steps, separated by backslashes.
    pub step_ids: String,
    /// AE title of the modality that made it.
    pub calling: String,
    /// How far it is.
    pub state: PerformedState,
    /// The whole step as a DICOM JSON object.
    pub json: String,
    /// When it was last changed (ms since 1970).
    pub updated_ms: i64,
}

impl Catalog {
    /// Keeps a new performed step and moves the scheduled steps that it names. False when there is one
    /// of this UID.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn create_performed(
        &self,
        scope: &Scope,
        new: &NewPerformed,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const INSERT: &str = "INSERT INTO performed_steps (tenant_id, sop_uid, order_id, step_ids,
                status, study_uid, calling, json, created_ms, updated_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
            ON CONFLICT (tenant_id, sop_uid) DO NOTHING RETURNING id";
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        let mut order = None;
        let mut steps = Vec::new();
        for (key, step) in &new.scheduled {
            if let Some(found) = find(&mut tx, tenant, key, "").await?
                && order.as_ref().is_none_or(|known: &super::OrderRow| known.id == found.id)
            {
                order = Some(found);
                steps.push(step.clone());
            }
        }
        let id = order.as_ref().map_or(0, |order| order.id);
        let row: Option<(i64,)> = on_tx!(&mut tx, connection => {
            sqlx::query_as(INSERT)
                .bind(tenant)
                .bind(&new.sop_uid)
                .bind(id)
                .bind(steps.join("\\"))
                .bind(new.state.as_str())
                .bind(bounded(&new.study_uid))
                .bind(bounded(&new.calling))
                .bind(new.json.replace('\0', ""))
                .bind(now_ms)
                .fetch_optional(connection)
                .await?
        });
        let Some((performed,)) = row else { return Ok(false) };
        series(&mut tx, tenant, performed, &new.series).await?;
        station(&mut tx, tenant, &new.calling, now_ms).await?;
        if let Some(mut order) = order {
            advance(&mut order.order, &steps, new.state);
            update(&mut tx, tenant, id, &order.order, now_ms).await?;
        }
        let details = json!({"did": "perform", "orders": [id], "state": new.state.as_str()});
        audit(&mut tx, scope, &details, now_ms).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// One performed step.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn performed(
        &self,
        scope: &Scope,
        sop_uid: &str,
    ) -> Result<Option<Performed>, CatalogError> {
        const TEXT: &str = "SELECT id, order_id, step_ids, calling, status, json, updated_ms
            FROM performed_steps WHERE tenant_id = $1 AND sop_uid = $2";
        let row: Option<(i64, i64, String, String, String, String, i64)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(sop_uid)
                .fetch_optional(&pools.read)
                .await?
        });
        let one = |(id, order, step_ids, calling, state, json, updated_ms): (
            i64,
            i64,
            _,
            _,
            String,
            _,
            i64,
        )| {
            let state =
                PerformedState::parse(&state).ok_or(CatalogError::Corrupt("a performed step"))?;
            Ok(Performed { id, order, step_ids, calling, state, json, updated_ms })
        };
        row.map(one).transpose()
    }

    /// Changes a performed step that is under way, and moves the scheduled steps that it names. False
    /// when it is under way no longer.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn change_performed(
        &self,
        scope: &Scope,
        known: &Performed,
        (state, json, performed_series): (PerformedState, &str, &[String]),
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const UPDATE: &str = "UPDATE performed_steps SET status = $3, json = $4, updated_ms = $5
            WHERE tenant_id = $1 AND id = $2 AND status = 'IN PROGRESS' AND updated_ms <= $6
                AND json = $7";
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        let done = on_tx!(&mut tx, connection => {
            sqlx::query(UPDATE)
                .bind(tenant)
                .bind(known.id)
                .bind(state.as_str())
                .bind(json.replace('\0', ""))
                .bind(now_ms.max(known.updated_ms))
                .bind(known.updated_ms)
                .bind(&known.json)
                .execute(connection)
                .await?
                .rows_affected()
        });
        if done == 0 {
            return Ok(false);
        }
        series(&mut tx, tenant, known.id, performed_series).await?;
        if known.order != 0
            && let Some(mut found) = order_in(&mut tx, tenant, known.order).await?
        {
            let steps: Vec<String> = known.step_ids.split('\\').map(str::to_owned).collect();
            advance(&mut found.order, &steps, state);
            update(&mut tx, tenant, known.order, &found.order, now_ms).await?;
            if state == PerformedState::Completed {
                let due = now_ms.saturating_add(IMAGES_MS);
                job(&mut tx, tenant, (IMAGES_JOB, &known.order.to_string()), due).await?;
            }
        }
        let details = json!({"did": "perform", "orders": [known.order], "state": state.as_str()});
        audit(&mut tx, scope, &details, now_ms).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes that an AE title asks for worklists, at most once an hour.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn note_worklist_station(
        &self,
        scope: &Scope,
        calling: &str,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        on_db!(self.db(), pools => {
            sqlx::query(STATION)
                .bind(scope.tenant().0)
                .bind(bounded(calling))
                .bind(now_ms)
                .execute(&pools.write)
                .await?;
        });
        Ok(())
    }
}

const STATION: &str = "INSERT INTO worklist_stations (tenant_id, calling, seen_ms)
    VALUES ($1, $2, $3)
    ON CONFLICT (tenant_id, calling) DO UPDATE SET seen_ms = excluded.seen_ms
    WHERE worklist_stations.seen_ms < excluded.seen_ms - 3600000";

async fn station(tx: &mut Tx, tenant: i64, calling: &str, now_ms: i64) -> Result<(), CatalogError> {
    on_tx!(tx, connection => {
        sqlx::query(STATION)
            .bind(tenant)
            .bind(bounded(calling))
            .bind(now_ms)
            .execute(connection)
            .await?;
    });
    Ok(())
}

pub(super) async fn order_in(
    tx: &mut Tx,
    tenant: i64,
    id: i64,
) -> Result<Option<super::OrderRow>, CatalogError> {
    let text =
        format!("SELECT {} FROM orders o WHERE o.tenant_id = $1 AND o.id = $2", read::COLUMNS);
    let found: Option<read::Row> = on_tx!(tx, connection => {
        sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(tenant)
            .bind(id)
            .fetch_optional(connection)
            .await?
    });
    found.map(read::row).transpose()
}

/// Moves the steps of these IDs. What the modality says of its own work counts, also when somebody
/// had cancelled it; what is completed stays so.
fn advance(order: &mut qianli_model::order::Order, steps: &[String], state: PerformedState) {
    let alone = order.steps.len() == 1;
    for step in &mut order.steps {
        let meant = steps.contains(&step.id) || (alone && steps.iter().all(String::is_empty));
        if meant && step.status != StepState::Completed {
            step.status = state.of_step();
        }
    }
}

async fn series(
    tx: &mut Tx,
    tenant: i64,
    performed: i64,
    uids: &[String],
) -> Result<(), CatalogError> {
    const TEXT: &str = "INSERT INTO performed_series (performed_id, tenant_id, series_uid)
        VALUES ($1, $2, $3) ON CONFLICT (performed_id, series_uid) DO NOTHING";
    for uid in uids {
        on_tx!(&mut *tx, connection => {
            sqlx::query(TEXT)
                .bind(performed)
                .bind(tenant)
                .bind(bounded(uid))
                .execute(connection)
                .await?;
        });
    }
    Ok(())
}
