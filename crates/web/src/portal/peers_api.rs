//! `/api/peers`: the register of DICOM peers and what went wrong with them, as JSON, for the scripts of an
//! administrator who is logged in: API tokens do not administer. The page does the same.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::peers::{IncidentsOf, NewPeer, Noted, PeerAdded, PeerChanged, PeerRow};
use qianli_model::incident::Tongue;
use qianli_model::peer::{CertificateRule, PeerRule, Register, TitlePattern};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::format::instant;
use super::peers::new_peer;
use super::peers::wish::Wish;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Incidents that one answer holds at most.
const MOST: u32 = 500;

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|cause| {
        HttpError::bad_request(format!("the body is not what is asked for: {cause}"))
    })
}

pub(super) fn answer(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, value.to_string()).into_response()
}

fn done(done: bool) -> Result<StatusCode, HttpError> {
    match done {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(HttpError::not_found("there is no peer of this number")),
    }
}

/// A row that is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRow {
    calling: String,
    called: Option<String>,
    network: Option<String>,
    certificate: Option<String>,
    permissions: Vec<String>,
    #[serde(default)]
    label: String,
    coercions: Option<Value>,
}

/// What a row is made of, or what is wrong with it.
fn row(new: NewRow) -> Result<NewPeer, &'static str> {
    let calling = TitlePattern::parse(&new.calling)
        .ok_or("calling must be an AE title of 1 to 16 characters, or a pattern of titles")?;
    let wish = Wish {
        label: Some(new.label),
        called: Some(new.called),
        network: Some(new.network),
        certificate: Some(new.certificate),
        permissions: Some(new.permissions),
        disabled: None,
        coercions: new.coercions,
    };
    new_peer(calling, wish)
}

/// What a row says, with what is perhaps not meant.
fn rule_told(register: &Register, rule: &PeerRule) -> Value {
    let permissions: Vec<&str> = rule.permissions.iter().map(|one| one.name()).collect();
    let concerns = register.concerns(rule);
    let warnings = concerns
        .iter()
        .map(|one| json!({"warning": one.name(), "words": one.words(Tongue::English)}));
    json!({
        "id": rule.id, "label": rule.label, "calling": rule.calling.as_str(),
        "called": rule.called.as_ref().map(ToString::to_string),
        "network": rule.network.as_ref().map(ToString::to_string),
        "certificate": rule.certificate.as_ref().map(CertificateRule::as_str),
        "permissions": permissions, "disabled": rule.disabled,
        "coercions": rule.coercions.to_json(),
        "warnings": warnings.collect::<Value>(),
    })
}

/// `GET /api/peers`.
pub(super) async fn list(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let catalog = state.archive().catalog();
    let rows = catalog.peers(&caller.scope).await?;
    let register = catalog.peer_register(0).await?.unwrap_or_default();
    let shown = |row: &PeerRow| {
        let mut told = rule_told(&register, &row.rule);
        told["by"] = json!(row.created_by);
        told["made"] = json!(instant(row.created_ms));
        told["seen"] = json!((row.seen_ms > 0).then(|| instant(row.seen_ms)));
        told["seen_from"] = json!(row.seen_from);
        told
    };
    Ok(answer(StatusCode::OK, &rows.iter().map(shown).collect()))
}

fn taken(id: i64) -> Response {
    let problem = json!({ "error": "there is a row for these peers already", "id": id });
    answer(StatusCode::CONFLICT, &problem)
}

/// `POST /api/peers`.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let new = row(read(&body)?).map_err(HttpError::bad_request)?;
    match state.archive().catalog().add_peer(&caller.scope, &new).await? {
        PeerAdded::Made(id) => Ok(answer(StatusCode::CREATED, &json!({ "id": id }))),
        PeerAdded::Taken(id) => Ok(taken(id)),
        PeerAdded::NotYourTitle => {
            Err(HttpError::forbidden("called must be an AE title of this tenant"))
        }
    }
}

/// `PATCH /api/peers/{id}`: changes what the body names, and gives the row as it is then. `null` for
/// `called`, `network` and `certificate` means any.
pub(super) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wish: Wish = read(&body)?;
    let change = wish.change().map_err(HttpError::bad_request)?;
    let catalog = state.archive().catalog();
    match catalog.change_peer(&caller.scope, id, &change, now_ms()).await? {
        PeerChanged::Now(rule) => {
            let register = catalog.peer_register(0).await?.unwrap_or_default();
            Ok(answer(StatusCode::OK, &rule_told(&register, &rule)))
        }
        PeerChanged::Missing => Err(HttpError::not_found("there is no peer of this number")),
        PeerChanged::Taken(id) => Ok(taken(id)),
        PeerChanged::NotYourTitle => {
            Err(HttpError::forbidden("called must be an AE title of this tenant"))
        }
    }
}

/// `DELETE /api/peers/{id}`.
pub(super) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
) -> Result<StatusCode, HttpError> {
    done(state.archive().catalog().remove_peer(&caller.scope, id).await?)
}

/// Of whom.
#[derive(Deserialize)]
pub(super) struct Of {
    peer: Option<String>,
}

/// `GET /api/peers/incidents`, of all or of one AE title or address: what went wrong, and what mends it.
pub(super) async fn incidents(
    State(state): State<WebState>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Response, HttpError> {
    let of = of.peer.as_deref().map_or(IncidentsOf::Everybody, IncidentsOf::Peer);
    let found = state.archive().catalog().incidents(&caller.scope, of, MOST).await?;
    let shown = |one: &Noted| one.to_json(instant);
    Ok(answer(StatusCode::OK, &found.iter().map(shown).collect()))
}
