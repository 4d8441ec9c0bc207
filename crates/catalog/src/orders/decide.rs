//! What a person makes of a mismatch, and how that is undone.

use qianli_model::Scope;
use qianli_model::order::MismatchKind;
use serde_json::json;

use super::matching::{finish, keep};
use super::performed::order_in;
use super::write::audit;
use crate::Catalog;
use crate::error::CatalogError;
use crate::keys::bounded;
use crate::workitem::tx::{Tx, on_tx};

/// What somebody decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is right as it is: the study belongs to the order, or nothing is amiss.
    Accept,
    /// The study belongs to the order of this key.
    Assign(i64),
    /// The study belongs to no order.
    Dismiss,
    /// Back to how it was before the decision.
    Undo,
}

/// Why a decision cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecisionRefusal {
    /// There is no such mismatch, or it is decided already (or, to undo, not yet).
    #[error("there is nothing of this number that can be decided so")]
    Missing,
    /// There is no such order.
    #[error("there is no such order")]
    NoOrder,
    /// There is no study that could be assigned.
    #[error("there is no study that could be assigned")]
    NoStudy,
}

type Line = (String, String, i64, String, String);

impl Catalog {
    /// Settles a mismatch as somebody decides.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`]; the inner refusal says why the decision cannot be made.
    pub async fn settle_mismatch(
        &self,
        scope: &Scope,
        id: i64,
        decision: Decision,
        now_ms: i64,
    ) -> Result<Result<(), DecisionRefusal>, CatalogError> {
        const FIND: &str = "SELECT kind, study_uid, order_id, state, earlier FROM order_mismatches
            WHERE tenant_id = $1 AND id = $2";
        const SETTLE: &str = "UPDATE order_mismatches SET state = $3, earlier = $4,
                settled_ms = $5, settled_by = $6
            WHERE tenant_id = $1 AND id = $2";
        let tenant = scope.tenant().0;
        let mut tx = Tx::of_orders(self.db(), tenant).await?;
        let row: Option<Line> = on_tx!(&mut tx, connection => {
            sqlx::query_as(FIND).bind(tenant).bind(id).fetch_optional(connection).await?
        });
        let Some((kind, study, order, state, earlier)) = row else {
            return Ok(Err(DecisionRefusal::Missing));
        };
        if (state == "open") == (decision == Decision::Undo) {
            return Ok(Err(DecisionRefusal::Missing));
        }
        let kind =
            MismatchKind::parse(&kind).ok_or(CatalogError::Corrupt("a mismatch of an order"))?;
        let known = matches(&mut tx, tenant, &study).await?;
        let by = (scope, now_ms);
        let state = match decision {
            Decision::Accept => {
                if kind == MismatchKind::OtherPatient {
                    keep(&mut tx, by, &study, (order, "person")).await?;
                }
                "accepted"
            }
            Decision::Assign(to) => {
                if study.is_empty() {
                    return Ok(Err(DecisionRefusal::NoStudy));
                }
                let Some(found) = order_in(&mut tx, tenant, to).await? else {
                    return Ok(Err(DecisionRefusal::NoOrder));
                };
                replace(&mut tx, by, &study, &[(to, "person".to_owned())]).await?;
                finish(&mut tx, tenant, &found, &[], now_ms).await?;
                "assigned"
            }
            Decision::Dismiss => {
                if !study.is_empty() {
                    replace(&mut tx, by, &study, &[]).await?;
                }
                "dismissed"
            }
            Decision::Undo => {
                if !study.is_empty() {
                    let before: Vec<(i64, String)> =
                        serde_json::from_str(&earlier).unwrap_or_default();
                    replace(&mut tx, by, &study, &before).await?;
                }
                "open"
            }
        };
        let (settled_ms, settled_by) = match decision {
            Decision::Undo => (0, ""),
            _ => (now_ms, scope.principal().name()),
        };
        let earlier = serde_json::to_string(&known).unwrap_or_default();
        on_tx!(&mut tx, connection => {
            sqlx::query(SETTLE)
                .bind(tenant)
                .bind(id)
                .bind(state)
                .bind(earlier)
                .bind(settled_ms)
                .bind(bounded(settled_by))
                .execute(connection)
                .await?;
        });
        let to = if let Decision::Assign(to) = decision { to } else { order };
        let details = json!({"did": "settle mismatch", "mismatch": id, "kind": kind.as_str(),
            "state": state, "orders": [to]});
        audit(&mut tx, scope, &details, now_ms).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

/// The orders that a study belongs to now, and how that was found.
async fn matches(
    tx: &mut Tx,
    tenant: i64,
    study: &str,
) -> Result<Vec<(i64, String)>, CatalogError> {
    const TEXT: &str = "SELECT order_id, how FROM study_orders
        WHERE tenant_id = $1 AND study_uid = $2 ORDER BY order_id";
    Ok(on_tx!(tx, connection => {
        sqlx::query_as(TEXT).bind(tenant).bind(study).fetch_all(connection).await?
    }))
}

/// Makes a study belong to these orders and no others.
async fn replace(
    tx: &mut Tx,
    by: (&Scope, i64),
    study: &str,
    orders: &[(i64, String)],
) -> Result<(), CatalogError> {
    const REMOVE: &str = "DELETE FROM study_orders WHERE tenant_id = $1 AND study_uid = $2";
    on_tx!(&mut *tx, connection => {
        sqlx::query(REMOVE).bind(by.0.tenant().0).bind(study).execute(connection).await?;
    });
    for (order, how) in orders {
        keep(tx, by, study, (*order, how)).await?;
    }
    Ok(())
}
