//! The transactions on workitems (PS3.18 sections 11.4 to 11.9).

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::Kept;
use qianli_model::tag::{SOP_INSTANCE_UID, Tag, tag};
use qianli_model::workitem::{Change, Held, Refusal, State as Step, Transaction, change};
use qianli_model::{SopInstanceUid, TransactionUid};
use serde::Deserialize;

use super::super::accept::Accept;
use super::super::qido::TOTAL_COUNT;
use super::super::{params, respond};
use super::answer::Shape;
use super::search::Search;
use super::{aet, body, failed, refuse, uid, warn};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin::SameSite;

const TRANSACTION_UID: Tag = tag(0x0008, 0x1195);
const STATE: Tag = tag(0x0074, 0x1000);

/// The variables of a path.
#[derive(Deserialize)]
pub(super) struct At {
    workitem: String,
    aetitle: Option<String>,
}

/// 11.4 Create.
pub(super) async fn create(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    _site: SameSite,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, HttpError> {
    let data = body::required(&headers, body).await?;
    let named = uid_in_query(query.as_deref(), &["workitem", "AffectedSOPInstanceUID"])
        .map(|text| uid(&text))
        .transpose()?;
    let inside = Some(data.text(SOP_INSTANCE_UID)).filter(|text| !text.is_empty());
    let inside = inside.map(uid).transpose()?;
    if let (Some(named), Some(inside)) = (&named, &inside)
        && named != inside
    {
        let message = "the UID of the workitem in the URL is not the one in the body";
        return Err(HttpError::bad_request(message));
    }
    let uid = match named.or(inside) {
        Some(uid) => uid,
        // PS3.5 annex B.2: a UUID as a UID.
        None => uid(&format!("2.25.{}", uuid::Uuid::new_v4().as_u128()))?,
    };
    let now = now_ms();
    let (held, made) = match change::create(data, &uid, now) {
        Ok(made) => made,
        Err(refusal) => return Ok(refuse(&refusal, Transaction::Create)),
    };
    let catalog = state.archive().catalog();
    let created = catalog.create_workitem(&caller.scope, &uid, &held, &made.events, now).await;
    if !created.map_err(failed)? {
        return Ok(refuse(&Refusal::Duplicate, Transaction::Create));
    }
    state.channels().nudge();
    let mut response = StatusCode::CREATED.into_response();
    let url = url_of(&base, &uid);
    let headers = response.headers_mut();
    respond::set(headers, header::LOCATION, &url);
    respond::set(headers, header::CONTENT_LOCATION, &url);
    if let Some(note) = made.note {
        warn(headers, note.warning(true));
    }
    Ok(response)
}

/// 11.5 Retrieve.
pub(super) async fn retrieve(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    Path(at): Path<At>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let uid = uid(&at.workitem)?;
    let shape = Shape::choose(&Accept::of(&headers, query.as_deref()), true)?;
    match state.archive().catalog().workitem(&caller.scope, &uid).await.map_err(failed)? {
        Kept::Here(held) => {
            let url = url_of(&base, &uid);
            let mut response = shape.answer(&[(held.data.to_json(), url.clone())])?;
            respond::set(response.headers_mut(), header::CONTENT_LOCATION, &url);
            Ok(response)
        }
        Kept::Removed => Ok(refuse(&Refusal::Removed, Transaction::Retrieve)),
        Kept::Absent => Ok(refuse(&Refusal::Absent, Transaction::Retrieve)),
    }
}

/// 11.6 Update.
pub(super) async fn update(
    State(state): State<WebState>,
    caller: Caller,
    Path(at): Path<At>,
    _site: SameSite,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, HttpError> {
    let uid = uid(&at.workitem)?;
    let changes = body::required(&headers, body).await?;
    let names = ["transaction-uid", "transaction", "transactionUID"];
    let transaction = match uid_in_query(query.as_deref(), &names) {
        Some(text) => parse_transaction(&text),
        None => parse_transaction(changes.text(TRANSACTION_UID)),
    };
    let now = now_ms();
    let decide =
        |held: &Held| change::update(held, transaction.clone()?.as_ref(), changes.clone(), now);
    make(&state, &caller, &uid, Transaction::Update, StatusCode::OK, decide).await
}

/// 11.7 Change state.
pub(super) async fn change_state(
    State(state): State<WebState>,
    caller: Caller,
    Path(at): Path<At>,
    _site: SameSite,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let uid = uid(&at.workitem)?;
    at.aetitle.as_deref().map(aet).transpose()?;
    let request = body::required(&headers, body).await?;
    let wanted = Step::parse(request.text(STATE));
    let transaction = parse_transaction(request.text(TRANSACTION_UID));
    let now = now_ms();
    let decide =
        |held: &Held| change::change_state(held, wanted, transaction.clone()?.as_ref(), now);
    make(&state, &caller, &uid, Transaction::ChangeState, StatusCode::OK, decide).await
}

/// 11.8 Request cancellation.
pub(super) async fn request_cancel(
    State(state): State<WebState>,
    caller: Caller,
    Path(at): Path<At>,
    _site: SameSite,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, HttpError> {
    let uid = uid(&at.workitem)?;
    let named = params::first(query.as_deref().unwrap_or_default(), "requester");
    let requester = at.aetitle.or(named).as_deref().map(aet).transpose()?;
    let request = body::optional(&headers, body).await?;
    let requester = requester.as_ref().map(qianli_model::AeTitle::as_str);
    let now = now_ms();
    let decide = |held: &Held| change::request_cancel(held, &request, requester, now);
    make(&state, &caller, &uid, Transaction::RequestCancel, StatusCode::ACCEPTED, decide).await
}

/// 11.9 Search.
pub(super) async fn search(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let shape = Shape::choose(&Accept::of(&headers, query.as_deref()), false)?;
    let mut search = Search::parse(query.as_deref().unwrap_or_default())?;
    let catalog = state.archive().catalog();
    let mut rows = catalog.find_workitems(&caller.scope, &search.query).await.map_err(failed)?;
    if rows.len() > search.limit {
        rows.truncate(search.limit);
        if search.limited_by_us {
            search.warnings.push(format!(
                "The number of results exceeded the maximum of {}; ask for more with offset",
                search.limit
            ));
        }
    }
    let rows: Result<Vec<_>, HttpError> = rows
        .into_iter()
        .map(|row| {
            let (shown, uid) = search.shown(row)?;
            Ok((shown, format!("{}/workitems/{uid}", base.as_str())))
        })
        .collect();
    let mut response = shape.answer(&rows?)?;
    if search.count {
        let total = catalog.count_workitems(&caller.scope, &search.query).await.map_err(failed)?;
        respond::set(response.headers_mut(), TOTAL_COUNT, &total.to_string());
    }
    for warning in &search.warnings {
        respond::warn(response.headers_mut(), warning);
    }
    Ok(response)
}

/// Makes a change and answers it.
async fn make(
    state: &WebState,
    caller: &Caller,
    uid: &SopInstanceUid,
    transaction: Transaction,
    success: StatusCode,
    decide: impl Fn(&Held) -> Result<Change, Refusal>,
) -> Result<Response, HttpError> {
    let catalog = state.archive().catalog();
    let changed = catalog.change_workitem(&caller.scope, uid, now_ms(), decide).await;
    match changed.map_err(failed)? {
        Err(refusal) => Ok(refuse(&refusal, transaction)),
        Ok(change) => {
            if !change.events.is_empty() {
                state.channels().nudge();
            }
            let mut response = success.into_response();
            if let Some(note) = change.note {
                warn(response.headers_mut(), note.warning(false));
            }
            Ok(response)
        }
    }
}

/// The Transaction UID of a request, none where the text is empty.
fn parse_transaction(text: &str) -> Result<Option<TransactionUid>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    TransactionUid::parse(text).map(Some).map_err(|_| Refusal::TransactionWrong)
}

/// A UID in the query string: under one of these names, or alone (PS3.18 writes `?{uid}`).
fn uid_in_query(query: Option<&str>, names: &[&str]) -> Option<String> {
    params::pairs(query.unwrap_or_default()).find_map(|(name, value)| {
        if names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Some(value);
        }
        let alone = value.is_empty() && name.starts_with(|c: char| c.is_ascii_digit());
        alone.then_some(name)
    })
}

fn url_of(base: &BaseUrl, uid: &SopInstanceUid) -> String {
    format!("{}/workitems/{uid}", base.as_str())
}

/// Milliseconds since 1970-01-01T00:00Z.
pub(super) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
