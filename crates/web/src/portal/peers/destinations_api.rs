//! `/api/peers/destinations`: where DICOM peers are reached, for programs. Secrets go in and never come
//! out.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_model::AeTitle;
use qianli_model::destination::Destination;
use qianli_model::incident::Tongue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::destinations::{is_needed, is_operator};
use super::way::{NewIdentity, OPERATORS_ONLY, Way, leads_home};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;
use crate::portal::format::instant;
use crate::portal::peers_api::{answer, read};

/// What a destination is, without secrets.
fn told(to: &Destination) -> Value {
    let syntaxes: Vec<&str> = to.syntaxes.iter().map(|one| one.uid()).collect();
    json!({
        "title": to.title.as_str(), "address": to.address, "tls": to.tls.is_some(),
        "tls_name": to.tls.as_ref().map_or("", |tls| tls.server_name.as_str()),
        "syntaxes": syntaxes, "only_these": to.only_these, "associations": to.associations,
        "bandwidth": to.bandwidth, "identity": to.identity.as_ref().map(|one| one.kind()),
    })
}

fn title(text: &str) -> Result<AeTitle, HttpError> {
    AeTitle::parse(text)
        .map_err(|_| HttpError::bad_request("title must be an AE title of 1 to 16 characters"))
}

async fn found(
    state: &WebState,
    caller: &Caller,
    title: &AeTitle,
) -> Result<Destination, HttpError> {
    let found = state.archive().catalog().destination(&caller.scope, title).await?;
    found.ok_or_else(|| HttpError::not_found("there is no destination of this title"))
}

/// `GET /api/peers/destinations`.
pub(in crate::portal) async fn list(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let rows = state.archive().catalog().destinations(&caller.scope).await?;
    let shown = rows.iter().map(|row| {
        let mut told = told(&row.destination);
        told["by"] = json!(row.created_by);
        told["made"] = json!(instant(row.created_ms));
        told
    });
    Ok(answer(StatusCode::OK, &shown.collect()))
}

/// A destination that is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct New {
    title: String,
    address: String,
    tls: Option<bool>,
    tls_name: Option<String>,
    syntaxes: Option<Vec<String>>,
    only_these: Option<bool>,
    associations: Option<u32>,
    bandwidth: Option<u64>,
    identity: Option<NewIdentity>,
}

/// `POST /api/peers/destinations`: adds one.
pub(in crate::portal) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let new: New = read(&body)?;
    let mut to = Destination::new(title(&new.title)?, String::new());
    let way = Way {
        address: Some(new.address),
        tls: new.tls,
        tls_name: new.tls_name,
        syntaxes: new.syntaxes,
        only_these: new.only_these,
        associations: new.associations,
        bandwidth: new.bandwidth,
        identity: Some(new.identity),
    };
    way.apply(&mut to, is_operator(&caller)).map_err(HttpError::bad_request)?;
    keep_out(&caller, &to).await?;
    if to.address.is_empty() {
        return Err(HttpError::bad_request("address is missing"));
    }
    let catalog = state.archive().catalog();
    if catalog.destination(&caller.scope, &to.title).await?.is_some() {
        let problem = json!({"error": "there is a destination of this title already"});
        return Ok(answer(StatusCode::CONFLICT, &problem));
    }
    catalog.put_destination(&caller.scope, &to, now_ms()).await?;
    Ok(answer(StatusCode::CREATED, &told(&to)))
}

/// Names that lead to the server itself are the operator's as well.
async fn keep_out(caller: &Caller, to: &Destination) -> Result<(), HttpError> {
    match !is_operator(caller) && leads_home(&to.address).await {
        true => Err(HttpError::bad_request(OPERATORS_ONLY)),
        false => Ok(()),
    }
}

/// `GET /api/peers/destinations/{title}`.
pub(in crate::portal) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    Ok(answer(StatusCode::OK, &told(&found(&state, &caller, &title(&name)?).await?)))
}

/// `PATCH /api/peers/destinations/{title}`: changes what the body names, and gives it as it is then.
pub(in crate::portal) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let way: Way = read(&body)?;
    let mut to = found(&state, &caller, &title(&name)?).await?;
    way.apply(&mut to, is_operator(&caller)).map_err(HttpError::bad_request)?;
    keep_out(&caller, &to).await?;
    state.archive().catalog().put_destination(&caller.scope, &to, now_ms()).await?;
    Ok(answer(StatusCode::OK, &told(&to)))
}

/// `DELETE /api/peers/destinations/{title}`, unless a rule needs it.
pub(in crate::portal) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(name): Path<String>,
) -> Result<StatusCode, HttpError> {
    let title = title(&name)?;
    if is_needed(&state, &caller, &title).await? {
        let problem = "a rule sends studies there; remove the rule first";
        return Err(HttpError::new(StatusCode::CONFLICT, problem));
    }
    match state.archive().catalog().remove_destination(&caller.scope, &title).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(HttpError::not_found("there is no destination of this title")),
    }
}

/// `POST /api/peers/destinations/{title}/echo`: asks it whether it is there. What came of it is the
/// answer, not the status.
pub(in crate::portal) async fn echo(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let to = found(&state, &caller, &title(&name)?).await?;
    keep_out(&caller, &to).await?;
    let Some(echo) = state.config().echo.clone() else {
        return Err(HttpError::not_found("this server calls nobody"));
    };
    let told = match echo.ask(to).await {
        Ok(took) => {
            json!({"answers": true, "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)})
        }
        Err((trouble, detail)) => json!({
            "answers": false, "cause": trouble.name(), "what": trouble.what(Tongue::English),
            "advice": trouble.advice(Tongue::English), "detail": detail,
        }),
    };
    Ok(answer(StatusCode::OK, &told))
}
