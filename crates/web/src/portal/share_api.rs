//! `/api/links` and `/api/grants`: sharing for programs, such as the one that prints reports with a
//! QR picture on them. The pages do the same.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::grants::{Grant, ShareLink, Which};
use qianli_model::StudyUid;
use qianli_model::grant::Subject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::format::instant;
use super::page::Frame;
use super::share::{LinkWish, Trouble, Wish, make_grant, make_link};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin::SameSite;

/// Reads the JSON of a request.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|cause| {
        HttpError::bad_request(format!("the body is not what is asked for: {cause}"))
    })
}

/// An answer in JSON that nobody keeps.
pub(super) fn answer(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, value.to_string()).into_response()
}

fn told(trouble: Trouble) -> HttpError {
    match trouble {
        Trouble::Missing => {
            HttpError::not_found("there is no such study, or its patient has no ID")
        }
        Trouble::Wrong(problem) => HttpError::bad_request(problem),
        Trouble::Failed(error) => error,
    }
}

fn uid(text: &str) -> Result<StudyUid, HttpError> {
    StudyUid::parse(text).map_err(|_| HttpError::bad_request("study must be a Study Instance UID"))
}

/// A link that is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLink {
    study: String,
    /// Whom it is for.
    name: String,
    /// `study` or `patient`.
    #[serde(default)]
    what: String,
    #[serde(default = "yes")]
    code: bool,
    #[serde(default)]
    download: bool,
    #[serde(default = "week")]
    days: i64,
    #[serde(default)]
    views: u32,
    #[serde(default)]
    project: String,
}

fn yes() -> bool {
    true
}

fn week() -> i64 {
    7
}

/// `POST /api/links`: makes a link, and tells its address and code this once.
pub(super) async fn add_link(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    _: SameSite,
    frame: Frame,
    body: Bytes,
) -> Result<Response, HttpError> {
    let NewLink { study, name, what, code, download, days, views, project } = read(&body)?;
    let study = uid(&study)?;
    let wish = LinkWish { name, what, code, download, days, views, project };
    let made = make_link(&state, (&caller.scope, &base), &study, &wish, frame.t).await;
    let made = made.map_err(told)?;
    Ok(answer(
        StatusCode::CREATED,
        &json!({
            "id": made.id, "url": made.url, "code": made.code, "qr": made.picture,
            "expires": instant(made.expires_ms),
        }),
    ))
}

/// Of which study.
#[derive(Deserialize)]
pub(super) struct Of {
    study: Option<String>,
}

/// `GET /api/links`, of a study or all.
pub(super) async fn links(
    State(state): State<WebState>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Response, HttpError> {
    let study = of.study.as_deref().map(uid).transpose()?;
    let study = study.as_ref().map(StudyUid::as_str);
    let links = state.archive().catalog().links(&caller.scope, study).await?;
    let now = now_ms();
    let shown = |link: &ShareLink| {
        json!({
            "id": link.id, "name": link.name, "by": link.created_by, "code": !link.code.is_empty(),
            "download": link.download, "views": link.views, "views_left": link.views_left,
            "made": instant(link.created_ms), "expires": instant(link.expires_ms),
            "live": link.is_live(now),
        })
    };
    Ok(answer(StatusCode::OK, &links.iter().map(shown).collect()))
}

/// `DELETE /api/links/{id}`.
pub(super) async fn revoke_link(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
) -> Result<StatusCode, HttpError> {
    let done = state.archive().catalog().revoke_link(&caller.scope, id, now_ms()).await?;
    state.door().forget();
    revoked(done)
}

fn revoked(done: bool) -> Result<StatusCode, HttpError> {
    match done {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(HttpError::not_found("there is nothing of this number that holds")),
    }
}

/// `POST /api/grants`: shares a study or its patient with a tenant or a person.
pub(super) async fn add_grant(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wish: Wish = read(&body)?;
    let study = uid(&wish.study)?;
    let id = make_grant(&state, &caller, &frame, &study, &wish).await.map_err(told)?;
    Ok(answer(StatusCode::CREATED, &json!({ "id": id })))
}

/// `GET /api/grants`, of a study or all.
pub(super) async fn grants(
    State(state): State<WebState>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Response, HttpError> {
    let study = of.study.as_deref().map(uid).transpose()?;
    let which = study.as_ref().map_or(Which::All, |study| Which::OfStudy(study.as_str()));
    let grants = state.archive().catalog().grants(&caller.scope, which).await?;
    let now = now_ms();
    let shown = |grant: &Grant| {
        let subject = match &grant.subject {
            Subject::Study(uid) => json!({ "study": uid }),
            Subject::Patient { id, issuer } => json!({ "patient": id, "issuer": issuer }),
            Subject::Rule(rule) => {
                json!({ "modality": rule.modality, "body_part": rule.body_part, "priority": rule.priority })
            }
        };
        json!({
            "id": grant.id, "what": grant.subject.kind(), "subject": subject, "to": grant.to_name,
            "priors": grant.priors.as_str(), "download": grant.download, "reshare": grant.reshare,
            "project": grant.project,
            "purpose": grant.purpose, "origin": grant.origin.as_str(), "by": grant.created_by,
            "made": instant(grant.created_ms), "live": grant.is_live(now),
            "expires": (grant.expires_ms > 0).then(|| instant(grant.expires_ms)),
        })
    };
    Ok(answer(StatusCode::OK, &grants.iter().map(shown).collect()))
}

/// `DELETE /api/grants/{id}`.
pub(super) async fn revoke_grant(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
) -> Result<StatusCode, HttpError> {
    let done = state.archive().catalog().revoke_grant(&caller.scope, id, now_ms()).await?;
    state.door().forget();
    revoked(done)
}
