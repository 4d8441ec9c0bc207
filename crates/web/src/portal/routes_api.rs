//! `/api/routes`: rules, DICOMweb destinations and deliveries for programs. Secrets go in and never come out.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::routing::{DeliveriesOf, DeliveryRow, RuleRow};
use qianli_model::peer::TitlePattern;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::format::instant;
use super::routes::Wish;
use super::routes_web::{NewGoal, Wrong};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Deliveries of one answer.
const LISTED: u32 = 1000;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|cause| {
        HttpError::bad_request(format!("the body is not what is asked for: {cause}"))
    })
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, value.to_string()).into_response()
}

fn done(done: bool, what: &'static str) -> Result<StatusCode, HttpError> {
    match done {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(HttpError::not_found(what)),
    }
}

/// `GET /api/routes`: the rules.
pub(super) async fn rules(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let rows = state.archive().catalog().route_rules(&caller.scope).await?;
    let shown = |row: &RuleRow| {
        let rule = &row.rule;
        let which = &rule.which;
        json!({
            "id": rule.id, "label": rule.label, "to": rule.to.to_string(),
            "source": which.source.as_ref().map_or("", TitlePattern::as_str),
            "modality": which.modality, "body_part": which.body_part, "station": which.station,
            "description": which.description, "when": rule.when.as_str(), "commit": rule.commits,
            "window": rule.window.map(|window| window.to_string()), "disabled": rule.disabled,
            "by": row.created_by, "made": instant(row.created_ms),
        })
    };
    Ok(answer(StatusCode::OK, &rows.iter().map(shown).collect()))
}

/// `POST /api/routes`: adds a rule.
pub(super) async fn add_rule(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wish: Wish = read(&body)?;
    let new = wish.rule().ok_or_else(|| {
        HttpError::bad_request(
            "to is dicom:TITLE or web:NAME, window is HH:MM-HH:MM with an optional +HH:MM, \
             when is settled or at once, commit is for dicom:TITLE only, and patterns have at most 64 characters",
        )
    })?;
    match state.archive().catalog().add_route_rule(&caller.scope, &new).await? {
        Some(id) => Ok(answer(StatusCode::CREATED, &json!({ "id": id }))),
        None => Err(HttpError::bad_request("there is no such destination")),
    }
}

/// `DELETE /api/routes/{id}`.
pub(super) async fn remove_rule(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
) -> Result<StatusCode, HttpError> {
    let removed = state.archive().catalog().remove_route_rule(&caller.scope, id).await?;
    done(removed, "there is no rule of this number")
}

/// `GET /api/routes/web`: the DICOMweb destinations, without secrets.
pub(super) async fn goals(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let goals = state.archive().catalog().web_goals(&caller.scope).await?;
    let shown = goals.iter().map(|one| {
        json!({
            "name": one.name, "url": one.url, "auth": one.auth, "login": one.login,
            "trusted": one.trusted,
            "by": one.created_by, "made": instant(one.created_ms),
        })
    });
    Ok(answer(StatusCode::OK, &shown.collect()))
}

/// `POST /api/routes/web`: adds a DICOMweb destination, or changes the one of that name.
pub(super) async fn set_goal(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<StatusCode, HttpError> {
    let new: NewGoal = read(&body)?;
    let auth = new.read(&state.config().private_destinations).map_err(|wrong| {
        HttpError::bad_request(match wrong {
            Wrong::Name => "a name is 1 to 32 letters, digits, - and _",
            Wrong::Url => "url is an https address without credentials and query",
            Wrong::Inside => {
                "url is in a network of the server's own; its operator may allow that \
                 (private_destinations), or register it there (qianli route web add)"
            }
            Wrong::Secret => "either a token, or login and password, of printable ASCII characters",
        })
    })?;
    let catalog = state.archive().catalog();
    catalog.set_web_goal(&caller.scope, &new.name, &new.url, &auth, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/routes/web/{name}`.
pub(super) async fn remove_goal(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(name): Path<String>,
) -> Result<StatusCode, HttpError> {
    let removed = state.archive().catalog().remove_web_goal(&caller.scope, &name).await?;
    done(removed, "there is no such destination, or a rule needs it")
}

/// Which deliveries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    #[serde(default)]
    study: String,
    #[serde(default)]
    state: String,
}

/// `GET /api/routes/deliveries`, also of a study or in a state.
pub(super) async fn deliveries(
    State(state): State<WebState>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Response, HttpError> {
    let of = DeliveriesOf { study: of.study, state: of.state };
    let rows = state.archive().catalog().deliveries(&caller.scope, &of, LISTED).await?;
    let shown = |one: &DeliveryRow| {
        json!({
            "id": one.id, "to": one.to.to_string(), "study": one.study, "state": one.state,
            "taken": one.sent, "committed": one.committed, "refused": one.refused, "tries": one.attempts, "words": one.words,
            "made": instant(one.created_ms), "changed": instant(one.updated_ms),
            "next": matches!(one.state.as_str(), "waiting" | "committing").then(|| instant(one.due_ms)),
        })
    };
    Ok(answer(StatusCode::OK, &rows.iter().map(shown).collect()))
}

/// How a delivery is sent again.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// Also what the destination took.
    #[serde(default)]
    all: bool,
}

/// `POST /api/routes/deliveries/{id}/replay`: sends it again, as far as it did not arrive, or all.
pub(super) async fn replay(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<StatusCode, HttpError> {
    let how: Replay = if body.is_empty() { Replay::default() } else { read(&body)? };
    let catalog = state.archive().catalog();
    let replayed = catalog.replay_delivery(&caller.scope, id, how.all, now_ms()).await?;
    done(replayed, "there is no delivery of this number")
}
