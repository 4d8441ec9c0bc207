//! Which study belongs to which order. The stored images are never changed: a match is a row, and
//! what does not agree waits for a person.

use qianli_model::Scope;
use qianli_model::order::{Difference, MismatchKind, Order, Seen, StepState, differences};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::OrderRow;
use super::performed::order_in;
use super::read::{COLUMNS, Row, row};
use super::write::{audit, update};
use crate::Catalog;
use crate::db::on_db;
use crate::error::CatalogError;
use crate::keys::text_key;
use crate::workitem::tx::{Tx, on_tx};

/// How long a sender that asked for a worklist counts as one that takes them (ms).
const TAKES_WORKLISTS_MS: i64 = 30 * 24 * 3_600_000;

/// Most orders that one study is compared with.
const CANDIDATES: i64 = 32;

/// What matching found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Orders that the study belongs to.
    pub orders: Vec<i64>,
    /// What a person has to look at.
    pub mismatches: Vec<MismatchKind>,
}

impl Catalog {
    /// Finds the orders of a study: by Study Instance UID, then by accession number and patient, then
    /// by the series that a modality said it performed. What a person decided stays.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn match_study(
        &self,
        scope: &Scope,
        study: &str,
        now_ms: i64,
    ) -> Result<Matched, CatalogError> {
        let Some((seen, modalities)) = self.seen(scope, study).await? else {
            return Ok(Matched::default());
        };
        let takes_worklists = self.takes_worklists(scope, study, now_ms).await?;
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        if is_decided(&mut tx, tenant, study).await? {
            return Ok(Matched::default());
        }
        let (how, candidates) = candidates(&mut tx, tenant, study, &seen).await?;
        let mut matched = Matched::default();
        let mut noticed: Vec<(MismatchKind, i64)> = Vec::new();
        let same = |order: &Order| !differences(order, &seen).contains(&Difference::PatientId);
        let (ours, others): (Vec<OrderRow>, Vec<OrderRow>) =
            candidates.into_iter().partition(|found| same(&found.order));
        for found in chosen(ours, &modalities) {
            let new = keep(&mut tx, (scope, now_ms), study, (found.id, how)).await?;
            if new {
                finish(&mut tx, tenant, &found, &modalities, now_ms).await?;
            }
            matched.orders.push(found.id);
            let differ = differences(&found.order, &seen);
            let of_person = [Difference::Name, Difference::BirthDate, Difference::Sex];
            if differ.iter().any(|one| of_person.contains(one)) {
                noticed.push((MismatchKind::Demographics, found.id));
            }
        }
        if matched.orders.is_empty() {
            match others.first() {
                Some(other) => noticed.push((MismatchKind::OtherPatient, other.id)),
                None if takes_worklists => noticed.push((MismatchKind::NoOrder, 0)),
                None => {}
            }
        }
        let mut is_news = false;
        for (kind, order) in &noticed {
            is_news |= notice(&mut tx, tenant, (*kind, study, *order), now_ms).await?;
            matched.mismatches.push(*kind);
        }
        let settled = forget(&mut tx, tenant, study, &matched.orders, &noticed).await?;
        if !matched.orders.is_empty() || is_news || settled {
            let kinds: Vec<&str> = matched.mismatches.iter().map(|kind| kind.as_str()).collect();
            let details = json!({"did": "match", "orders": matched.orders, "how": how,
                "mismatches": kinds});
            audit(&mut tx, scope, &details, now_ms).await?;
        }
        tx.commit().await?;
        Ok(matched)
    }

    /// Studies that were here before an order and could be its.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn studies_for_order(
        &self,
        scope: &Scope,
        order: i64,
    ) -> Result<Vec<String>, CatalogError> {
        const TEXT: &str = "SELECT s.study_uid FROM studies s JOIN orders o
                ON o.tenant_id = s.tenant_id AND o.id = $2 AND s.study_uid = o.study_uid
            WHERE s.tenant_id = $1
            UNION SELECT s.study_uid FROM studies s JOIN orders o
                ON o.tenant_id = s.tenant_id AND o.id = $2 AND s.accession_key = o.accession_key
                    AND o.accession_key <> ''
            WHERE s.tenant_id = $1 LIMIT 32";
        let rows: Vec<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(order)
                .fetch_all(&pools.read)
                .await?
        });
        Ok(rows.into_iter().map(|(uid,)| uid).collect())
    }

    /// Notes that an order was performed and no study of it came. False when one did.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn miss_images(
        &self,
        scope: &Scope,
        order: i64,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const ANY: &str = "SELECT study_uid FROM study_orders
            WHERE tenant_id = $1 AND order_id = $2 LIMIT 1";
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        let Some(found) = order_in(&mut tx, tenant, order).await? else { return Ok(false) };
        let any: Option<(String,)> = on_tx!(&mut tx, connection => {
            sqlx::query_as(ANY).bind(tenant).bind(order).fetch_optional(connection).await?
        });
        if any.is_some() || found.order.state() != StepState::Completed {
            return Ok(false);
        }
        if notice(&mut tx, tenant, (MismatchKind::NoImages, "", order), now_ms).await? {
            let details = json!({"did": "match", "orders": [order], "mismatches": ["no-images"]});
            audit(&mut tx, scope, &details, now_ms).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Whether the sender of a study asked for a worklist lately.
    async fn takes_worklists(
        &self,
        scope: &Scope,
        study: &str,
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        const TEXT: &str = "SELECT w.calling FROM worklist_stations w
            WHERE w.tenant_id = $1 AND w.seen_ms >= $3 AND w.calling IN (
                SELECT i.calling_ae FROM instances i JOIN series r ON r.id = i.series_id
                JOIN studies s ON s.id = r.study_id
                WHERE s.tenant_id = $1 AND s.study_uid = $2)
            LIMIT 1";
        let row: Option<(String,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT)
                .bind(scope.tenant().0)
                .bind(study)
                .bind(now_ms.saturating_sub(TAKES_WORKLISTS_MS))
                .fetch_optional(&pools.read)
                .await?
        });
        Ok(row.is_some())
    }
}

/// Whether a person said to which order a study belongs, or that it belongs to none.
async fn is_decided(tx: &mut Tx, tenant: i64, study: &str) -> Result<bool, CatalogError> {
    const TEXT: &str = "SELECT id FROM order_mismatches
        WHERE tenant_id = $1 AND study_uid = $2 AND state <> 'open' AND kind <> 'demographics'
        LIMIT 1";
    let row: Option<(i64,)> = on_tx!(tx, connection => {
        sqlx::query_as(TEXT).bind(tenant).bind(study).fetch_optional(connection).await?
    });
    Ok(row.is_some())
}

async fn candidates(
    tx: &mut Tx,
    tenant: i64,
    study: &str,
    seen: &Seen,
) -> Result<(&'static str, Vec<OrderRow>), CatalogError> {
    let ways = [
        ("study-uid", "o.study_uid = $2", study.to_owned()),
        ("accession", "o.accession_key = $2", text_key(&seen.accession)),
        (
            "performed-series",
            "o.id IN (SELECT p.order_id FROM performed_steps p
                JOIN performed_series q ON q.performed_id = p.id
                JOIN series r ON r.series_uid = q.series_uid
                JOIN studies s ON s.id = r.study_id
                WHERE p.tenant_id = $1 AND s.tenant_id = $1 AND s.study_uid = $2)",
            study.to_owned(),
        ),
    ];
    for (how, condition, value) in ways {
        if value.is_empty() {
            continue;
        }
        let text = format!(
            "SELECT {COLUMNS} FROM orders o WHERE o.tenant_id = $1 AND {condition}
            ORDER BY o.id LIMIT $3"
        );
        let rows: Vec<Row> = on_tx!(&mut *tx, connection => {
            sqlx::query_as(AssertSqlSafe(text))
                .bind(tenant)
                .bind(value)
                .bind(CANDIDATES)
                .fetch_all(connection)
                .await?
        });
        if !rows.is_empty() {
            let found = rows.into_iter().map(row).collect::<Result<_, _>>()?;
            return Ok((how, found));
        }
    }
    Ok(("", Vec::new()))
}

/// Of several orders those with one of the study's modalities, if there are such.
fn chosen(orders: Vec<OrderRow>, modalities: &[String]) -> Vec<OrderRow> {
    let fits =
        |found: &OrderRow| found.order.steps.iter().any(|step| modalities.contains(&step.modality));
    if orders.len() > 1 && orders.iter().any(fits) {
        return orders.into_iter().filter(fits).collect();
    }
    orders
}

/// Writes that a study belongs to an order. False when that was known.
pub(super) async fn keep(
    tx: &mut Tx,
    (scope, now_ms): (&Scope, i64),
    study: &str,
    (order, how): (i64, &str),
) -> Result<bool, CatalogError> {
    const TEXT: &str = "INSERT INTO study_orders (tenant_id, study_uid, order_id, how, matched_by,
            matched_ms)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, study_uid, order_id) DO NOTHING";
    let done = on_tx!(tx, connection => {
        sqlx::query(TEXT)
            .bind(scope.tenant().0)
            .bind(study)
            .bind(order)
            .bind(how)
            .bind(scope.principal().name())
            .bind(now_ms)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(done > 0)
}

/// Completes the steps whose images are here, unless a modality reports its steps itself.
pub(super) async fn finish(
    tx: &mut Tx,
    tenant: i64,
    found: &OrderRow,
    modalities: &[String],
    now_ms: i64,
) -> Result<(), CatalogError> {
    const REPORTED: &str = "SELECT id FROM performed_steps
        WHERE tenant_id = $1 AND order_id = $2 LIMIT 1";
    let reported: Option<(i64,)> = on_tx!(&mut *tx, connection => {
        sqlx::query_as(REPORTED)
            .bind(tenant)
            .bind(found.id)
            .fetch_optional(connection)
            .await?
    });
    if reported.is_some() {
        return Ok(());
    }
    let mut order = found.order.clone();
    let alone = order.steps.len() == 1;
    for step in &mut order.steps {
        if !step.status.is_final() && (alone || modalities.contains(&step.modality)) {
            step.status = StepState::Completed;
        }
    }
    if order != found.order {
        update(tx, tenant, found.id, &order, now_ms).await?;
    }
    Ok(())
}

/// Puts something on the list of what a person has to look at. False when it is there, open or
/// decided.
async fn notice(
    tx: &mut Tx,
    tenant: i64,
    (kind, study, order): (MismatchKind, &str, i64),
    now_ms: i64,
) -> Result<bool, CatalogError> {
    const TEXT: &str = "INSERT INTO order_mismatches (tenant_id, kind, study_uid, order_id, state,
            earlier, created_ms, settled_ms, settled_by)
        VALUES ($1, $2, $3, $4, 'open', '', $5, 0, '')
        ON CONFLICT (tenant_id, kind, study_uid, order_id) DO NOTHING";
    let done = on_tx!(tx, connection => {
        sqlx::query(TEXT)
            .bind(tenant)
            .bind(kind.as_str())
            .bind(study)
            .bind(order)
            .bind(now_ms)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(done > 0)
}

/// Takes off the list what settled itself: the order came later, or its images did.
async fn forget(
    tx: &mut Tx,
    tenant: i64,
    study: &str,
    orders: &[i64],
    noticed: &[(MismatchKind, i64)],
) -> Result<bool, CatalogError> {
    const OPEN: &str = "SELECT id, kind, study_uid, order_id FROM order_mismatches
        WHERE tenant_id = $1 AND study_uid = $2 AND state = 'open'";
    const IMAGES: &str = "DELETE FROM order_mismatches WHERE tenant_id = $1 AND order_id = $2
        AND study_uid = '' AND state = 'open'";
    const REMOVE: &str = "DELETE FROM order_mismatches WHERE tenant_id = $1 AND id = $2";
    let rows: Vec<(i64, String, String, i64)> = on_tx!(&mut *tx, connection => {
        sqlx::query_as(OPEN).bind(tenant).bind(study).fetch_all(connection).await?
    });
    let mut removed = 0;
    for (id, kind, _, order) in rows {
        let stays = noticed.iter().any(|(one, of)| one.as_str() == kind && *of == order);
        if !stays {
            removed += on_tx!(&mut *tx, connection => {
                sqlx::query(REMOVE).bind(tenant).bind(id).execute(connection).await?
                    .rows_affected()
            });
        }
    }
    for order in orders {
        removed += on_tx!(&mut *tx, connection => {
            sqlx::query(IMAGES).bind(tenant).bind(order).execute(connection).await?
                .rows_affected()
        });
    }
    Ok(removed > 0)
}
