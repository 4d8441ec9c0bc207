//! `/api/orders`: orders for programs, and what a person has to look at. The page `/orders` does the
//! same.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::Catalog;
use qianli_catalog::orders::{
    Applied, Decision, DecisionRefusal, FoundStep, Hl7Refusal, Mismatch, OrderRow, StepSearch,
};
use qianli_model::Scope;
use qianli_model::order::{
    Command, Difference, Order, OrderKey, OrderRefusal, StepState, apply, differences,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::format::instant;
use super::share_api::{answer, read};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Most steps of one answer.
const MOST: u32 = 500;

/// Steps of an answer for which nothing is said.
const USUAL: u32 = 100;

/// What a list is narrowed by.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    /// One day, `YYYYMMDD`.
    pub(super) day: String,
    from: String,
    to: String,
    pub(super) modality: String,
    pub(super) station: String,
    pub(super) state: String,
    patient_id: String,
    name: String,
    accession: String,
    limit: Option<u32>,
    offset: u32,
    /// The language of the page.
    #[serde(rename = "lang")]
    _lang: String,
}

impl Filter {
    /// The search. `None` when the state is none.
    pub(super) fn search(&self) -> Option<StepSearch> {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let several = |text: &str| -> Vec<String> {
            text.split(',')
                .map(str::trim)
                .filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let days = match self.day.is_empty() {
            true => (digits(&self.from), digits(&self.to)),
            false => (digits(&self.day), digits(&self.day)),
        };
        let states: Option<Vec<StepState>> =
            several(&self.state).iter().map(|word| StepState::parse(word)).collect();
        Some(StepSearch {
            station_ae: several(&self.station),
            modality: several(&self.modality),
            days,
            states: states?,
            patient_id: self.patient_id.trim().to_owned(),
            patient_name: self.name.trim().to_owned(),
            sounds: true,
            accession: self.accession.trim().to_owned(),
            limit: self.limit.unwrap_or(USUAL).clamp(1, MOST),
            offset: self.offset,
            ..StepSearch::default()
        })
    }
}

fn shown(row: &OrderRow, studies: &[String]) -> Value {
    json!({
        "id": row.id, "order": row.order, "state": row.order.state().as_str(),
        "origin": row.origin, "by": row.created_by, "made": instant(row.created_ms),
        "changed": instant(row.updated_ms), "studies": studies,
    })
}

/// `GET /api/orders`: scheduled steps by their start, each with its order.
pub(super) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Query(filter): Query<Filter>,
) -> Result<Response, HttpError> {
    let search = filter
        .search()
        .ok_or_else(|| HttpError::bad_request("state is none of a scheduled procedure step"))?;
    let found = state.archive().catalog().find_steps(&caller.scope, &search).await?;
    let one = |found: &FoundStep| {
        let mut shown = shown(&found.row, &found.studies);
        if let Some(object) = shown.as_object_mut() {
            object.insert("step".to_owned(), found.step.into());
        }
        shown
    };
    Ok(answer(StatusCode::OK, &found.iter().map(one).collect()))
}

/// Why an order could not be taken.
pub(super) enum Trouble {
    /// There is none.
    Missing,
    /// The order is wrong, or it cannot be changed so; in words.
    Wrong(StatusCode, String),
    /// The server failed.
    Failed(HttpError),
}

impl From<Trouble> for HttpError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing => Self::not_found("there is no such order"),
            Trouble::Wrong(status, words) => Self::new(status, words),
            Trouble::Failed(error) => error,
        }
    }
}

impl From<OrderRefusal> for Trouble {
    fn from(refusal: OrderRefusal) -> Self {
        match refusal {
            OrderRefusal::Unknown => Self::Missing,
            other => Self::Wrong(StatusCode::CONFLICT, other.to_string()),
        }
    }
}

async fn done(
    catalog: &Catalog,
    scope: &Scope,
    origin: &'static str,
    command: Command,
) -> Result<i64, Trouble> {
    let random = || uuid::Uuid::new_v4().as_u128();
    let commands = [command];
    let applied = catalog.apply_orders(scope, (origin, None), &commands, random, now_ms()).await;
    match applied.map_err(|error| Trouble::Failed(error.into()))? {
        Applied::Done(ids) => ids.first().copied().ok_or(Trouble::Missing),
        Applied::Before => Err(Trouble::Missing),
        Applied::Refused(_, refusal) => Err(refusal.into()),
    }
}

/// Takes a new order.
pub(super) async fn make(
    catalog: &Catalog,
    scope: &Scope,
    origin: &'static str,
    order: Order,
) -> Result<i64, Trouble> {
    let checked = order.check();
    checked.map_err(|error| Trouble::Wrong(StatusCode::BAD_REQUEST, error.to_string()))?;
    done(catalog, scope, origin, Command::Put(Box::new(order))).await
}

/// Moves a step, or all of them, to a state.
pub(super) async fn advance(
    catalog: &Catalog,
    scope: &Scope,
    id: i64,
    (step, state): (String, StepState),
) -> Result<i64, Trouble> {
    let known = known(catalog, scope, id).await?;
    done(catalog, scope, "", Command::Advance(OrderKey::of(&known.order), step, state)).await
}

async fn known(catalog: &Catalog, scope: &Scope, id: i64) -> Result<OrderRow, Trouble> {
    let found = catalog.order(scope, id).await;
    found.map_err(|error| Trouble::Failed(error.into()))?.ok_or(Trouble::Missing)
}

async fn one(
    catalog: &Catalog,
    scope: &Scope,
    id: i64,
    status: StatusCode,
) -> Result<Response, HttpError> {
    let row = known(catalog, scope, id).await?;
    let studies = catalog.studies_of_orders(scope, &[id]).await?;
    let studies = studies.get(&id).map(Vec::as_slice).unwrap_or_default();
    Ok(answer(status, &shown(&row, studies)))
}

/// `POST /api/orders`.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let order: Order = read(&body)?;
    let catalog = state.archive().catalog();
    let id = make(catalog, &caller.scope, "rest", order).await?;
    one(catalog, &caller.scope, id, StatusCode::CREATED).await
}

/// `GET /api/orders/{id}`.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Response, HttpError> {
    one(state.archive().catalog(), &caller.scope, id, StatusCode::OK).await
}

/// `PUT /api/orders/{id}`: what the body says is changed, what it leaves out stays.
pub(super) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let mut news: Order = read(&body)?;
    let catalog = state.archive().catalog();
    let known = known(catalog, &caller.scope, id).await?;
    let wanted = &mut news.procedure.study_uid;
    if wanted.is_empty() {
        wanted.clone_from(&known.order.procedure.study_uid);
    }
    if news.patient.id.is_empty() {
        news.patient.id.clone_from(&known.order.patient.id);
        news.patient.issuer.clone_from(&known.order.patient.issuer);
    }
    let command = Command::Change(Box::new(news));
    let after = apply(&known.order, &command).map_err(Trouble::from)?;
    after.check().map_err(|error| HttpError::bad_request(error.to_string()))?;
    done(catalog, &caller.scope, "rest", command).await?;
    one(catalog, &caller.scope, id, StatusCode::OK).await
}

/// How an order ends.
#[derive(Deserialize)]
pub(super) struct Ending {
    /// Also when a modality has begun.
    #[serde(default)]
    discontinue: bool,
}

/// `DELETE /api/orders/{id}`: cancels it; the row stays.
pub(super) async fn cancel(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    Query(ending): Query<Ending>,
) -> Result<Response, HttpError> {
    let catalog = state.archive().catalog();
    let key = OrderKey::of(&known(catalog, &caller.scope, id).await?.order);
    let command = match ending.discontinue {
        true => Command::Discontinue(key),
        false => Command::Cancel(key),
    };
    done(catalog, &caller.scope, "rest", command).await?;
    one(catalog, &caller.scope, id, StatusCode::OK).await
}

/// The state that a step shall have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// ID of a step; none for all.
    #[serde(default)]
    step: String,
    state: StepState,
}

/// `POST /api/orders/{id}/state`.
pub(super) async fn set_state(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let Wanted { step, state: wanted } = read(&body)?;
    let catalog = state.archive().catalog();
    advance(catalog, &caller.scope, id, (step, wanted)).await?;
    one(catalog, &caller.scope, id, StatusCode::OK).await
}

/// Which mismatches.
#[derive(Deserialize)]
pub(super) struct Settled {
    #[serde(default)]
    settled: bool,
}

/// In what a study differs from the order that is meant.
pub(super) fn differs(mismatch: &Mismatch) -> Vec<Difference> {
    match (&mismatch.order, &mismatch.seen) {
        (Some(row), Some(seen)) => differences(&row.order, seen),
        _ => Vec::new(),
    }
}

/// `GET /api/orders/mismatches`: what waits for a person, or with `settled=true` what was decided.
pub(super) async fn mismatches(
    State(state): State<WebState>,
    caller: Caller,
    Query(Settled { settled }): Query<Settled>,
) -> Result<Response, HttpError> {
    let catalog = state.archive().catalog();
    let found = catalog.order_mismatches(&caller.scope, !settled, MOST).await?;
    let one = |one: &Mismatch| {
        let words: Vec<&str> = differs(one).into_iter().map(Difference::as_str).collect();
        let seen = one.seen.as_ref().map(|seen| {
            json!({"patient_id": seen.patient_id, "issuer": seen.issuer, "name": seen.name,
                "birth_date": seen.birth_date, "sex": seen.sex, "accession": seen.accession})
        });
        json!({
            "id": one.id, "kind": one.kind.as_str(), "study": one.study_uid, "seen": seen,
            "order": one.order.as_ref().map(|row| row.id), "differs": words, "state": one.state,
            "noticed": instant(one.created_ms), "by": one.settled_by,
            "settled": (one.settled_ms > 0).then(|| instant(one.settled_ms)),
        })
    };
    Ok(answer(StatusCode::OK, &found.iter().map(one).collect()))
}

/// What somebody decides about a mismatch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    /// `accept`, `assign`, `dismiss` or `undo`.
    pub(super) decision: String,
    /// The order that it is assigned to.
    #[serde(default)]
    pub(super) order: Option<i64>,
}

impl Verdict {
    pub(super) fn decision(&self) -> Option<Decision> {
        Some(match (self.decision.as_str(), self.order) {
            ("accept", _) => Decision::Accept,
            ("assign", Some(order)) => Decision::Assign(order),
            ("dismiss", _) => Decision::Dismiss,
            ("undo", _) => Decision::Undo,
            _ => return None,
        })
    }
}

/// `POST /api/orders/mismatches/{id}`.
pub(super) async fn decide(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<StatusCode, HttpError> {
    let verdict: Verdict = read(&body)?;
    let decision = verdict.decision().ok_or_else(|| {
        HttpError::bad_request("decision is none of accept, assign (with order), dismiss and undo")
    })?;
    let catalog = state.archive().catalog();
    match catalog.settle_mismatch(&caller.scope, id, decision, now_ms()).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(DecisionRefusal::Missing) => {
            Err(HttpError::not_found("there is nothing of this number that can be decided so"))
        }
        Err(other) => Err(HttpError::new(StatusCode::CONFLICT, other.to_string())),
    }
}

/// `GET /api/orders/refused`: HL7 messages that were not taken, without what they said.
pub(super) async fn refused(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let found = state.archive().catalog().hl7_refusals(&caller.scope, MOST).await?;
    let one = |one: &Hl7Refusal| {
        json!({
            "address": one.address, "sender": one.sender, "control_id": one.control_id,
            "kind": one.kind, "code": one.code, "place": one.place, "reason": one.reason,
            "at": instant(one.at_ms),
        })
    };
    Ok(answer(StatusCode::OK, &found.iter().map(one).collect()))
}
