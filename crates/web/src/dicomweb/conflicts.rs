//! Studies in which images of more than one patient arrived: the list for a person, who deletes what
//! does not belong, or says that all is well.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::path::At;
use super::respond;
use super::routes::{Route, route};
use crate::WebState;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

const JSON: &str = "application/json";

/// Studies that are listed.
const LISTED: u32 = 1000;

/// Routes of the list.
pub(crate) const ROUTES: &[Route] = &[
    route!(Get "/conflicts" => list, Settle, "",
        ["Studies with images of more than one patient", "混有多名患者影像的检查"], gives &[JSON]),
    route!(Get "/conflicts/{study}" => show, Settle, "",
        ["The patients that instances of such a study name", "该检查中出现的患者"], gives &[JSON]),
    route!(Post "/conflicts/{study}/settle" => settle, Settle, "",
        ["Say that such a study is as it should be", "确认该检查无误"], takes &[JSON]),
];

/// `GET /conflicts`.
async fn list(State(state): State<WebState>, caller: Caller) -> Result<Response, HttpError> {
    let found = state.archive().patient_conflicts(&caller.scope, LISTED).await?;
    let list = found.iter().map(|conflict| {
        let updated = Timestamp::from_millisecond(conflict.updated_ms);
        json!({
            "study": conflict.study,
            "instances": conflict.instances,
            "updated": updated.map(|time| time.to_string()).ok(),
        })
    });
    Ok(answer(&Value::Array(list.collect())))
}

/// `GET /conflicts/{study}`.
async fn show(
    State(state): State<WebState>,
    caller: Caller,
    At(target): At,
) -> Result<Response, HttpError> {
    let patients = state.archive().patients_of_conflict(&caller.scope, &target.study).await?;
    let patients = patients.ok_or_else(nothing)?;
    let patients = patients.iter().map(|patient| {
        json!({
            "id": patient.id,
            "issuer": patient.issuer,
            "name": patient.name,
            "instances": patient.instances,
            "examples": patient.examples,
        })
    });
    Ok(answer(&json!({
        "study": target.study.as_str(),
        "patients": patients.collect::<Vec<_>>(),
    })))
}

/// `POST /conflicts/{study}/settle`. The Content-Type, which a browser sends to another site only
/// after asking, keeps other sites from settling.
async fn settle(
    State(state): State<WebState>,
    _site: SameSite,
    caller: Caller,
    At(target): At,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    respond::check_json(&headers)?;
    if state.archive().settle_patient_conflict(&caller.scope, &target.study).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(nothing())
}

fn nothing() -> HttpError {
    HttpError::not_found("no such study holds images of more than one patient")
}

fn answer(body: &Value) -> Response {
    let mut response = respond::json(JSON, body.to_string().into());
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    response
}
