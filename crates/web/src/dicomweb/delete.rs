//! Deletion of studies, series and instances, where the operator allows it, and its undoing.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use qianli_archive::RestoreError;
use qianli_catalog::types::Deletion;
use serde_json::{Value, json};

use super::path::At;
use super::respond;
use super::routes::{Route, route};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin::SameSite;

const JSON: &str = "application/json";

/// Deletions that are listed.
const LISTED: u32 = 1000;

/// Routes of the deletion.
pub(crate) const ROUTES: &[Route] = &[
    route!(Delete "/studies/{study}" => delete, Delete, "",
        ["Delete a study, where that is allowed", "删除检查（需管理员允许）"]),
    route!(Delete "/studies/{study}/series/{series}" => delete, Delete, "",
        ["Delete a series, where that is allowed", "删除序列（需管理员允许）"]),
    route!(Delete "/studies/{study}/series/{series}/instances/{instance}" => delete, Delete, "",
        ["Delete an instance, where that is allowed", "删除实例（需管理员允许）"]),
    route!(Get "/deletions" => list, Delete, "",
        ["The latest deletions", "最近的删除记录"], gives &[JSON]),
    route!(Post "/deletions/{id}/restore" => restore, Delete, "",
        ["Undo a deletion within its grace period", "在宽限期内撤销删除"],
        takes &[JSON], gives &[JSON]),
];

/// `DELETE` of a study, series or instance.
async fn delete(
    State(state): State<WebState>,
    _site: SameSite,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
) -> Result<Response, HttpError> {
    check_allowed(&state)?;
    let deleted = state.archive().delete(&caller.scope, &target, "DICOMweb", &caller.peer).await?;
    let deletion = deleted.ok_or_else(|| HttpError::not_found("it is not here"))?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let location = format!("{}/deletions/{}", base.as_str(), deletion.id);
    respond::set(response.headers_mut(), header::CONTENT_LOCATION, &location);
    Ok(response)
}

/// `GET /deletions`.
async fn list(State(state): State<WebState>, caller: Caller) -> Result<Response, HttpError> {
    check_allowed(&state)?;
    let deletions = state.archive().deletions(&caller.scope, LISTED).await?;
    let list = Value::Array(deletions.iter().map(describe).collect());
    let mut response = respond::json(JSON, list.to_string().into());
    respond::set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    Ok(response)
}

/// `POST /deletions/{id}/restore`. The Content-Type, which a browser sends to another site only after
/// asking, keeps other sites from restoring.
async fn restore(
    State(state): State<WebState>,
    _site: SameSite,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    check_allowed(&state)?;
    respond::check_json(&headers)?;
    let id = id.parse().map_err(|_| HttpError::bad_request("a deletion is named by a number"))?;
    match state.archive().restore(&caller.scope, id).await {
        Ok(restored) => {
            let body = json!({"restored": restored.restored, "replaced": restored.replaced});
            Ok(respond::json(JSON, body.to_string().into()))
        }
        Err(RestoreError::Unknown) => Err(HttpError::not_found("there is no such deletion")),
        Err(error @ RestoreError::TooLate(_)) => {
            Err(HttpError::new(StatusCode::CONFLICT, error.to_string()))
        }
        Err(RestoreError::Failed(error)) => Err(error.into()),
    }
}

fn check_allowed(state: &WebState) -> Result<(), HttpError> {
    if state.config().allow_delete {
        return Ok(());
    }
    Err(HttpError::new(
        StatusCode::FORBIDDEN,
        "deleting is not allowed here; the operator can set allow_delete = true in qianli.toml",
    ))
}

fn describe(deletion: &Deletion) -> Value {
    let time = |ms: i64| Timestamp::from_millisecond(ms).map(|time| time.to_string()).ok();
    let uid = |uid: &str| (!uid.is_empty()).then(|| uid.to_owned());
    json!({
        "id": deletion.id,
        "study": deletion.study,
        "series": uid(&deletion.series),
        "instance": uid(&deletion.instance),
        "by": deletion.by,
        "peer": deletion.peer,
        "at": time(deletion.at_ms),
        "purge_at": time(deletion.purge_at_ms),
        "instances": deletion.instances,
        "contents": deletion.contents,
        "bytes": deletion.bytes,
        "state": deletion.state.as_str(),
    })
}
