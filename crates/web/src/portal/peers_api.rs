//! `/api/peers`: the register of DICOM peers and what went wrong with them, as JSON, for the scripts of an
//! administrator who is logged in: API tokens do not administer. The page does the same.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::peers::{IncidentsOf, NewPeer, Noted, PeerAdded, PeerRow};
use qianli_model::incident::Tongue;
use qianli_model::peer::{CertificateRule, TitlePattern};
use qianli_model::{AeTitle, Permissions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::format::instant;
use super::peers::{LONGEST, PERMISSIONS};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Incidents that one answer holds at most.
const MOST: u32 = 500;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|cause| {
        HttpError::bad_request(format!("the body is not what is asked for: {cause}"))
    })
}

fn answer(status: StatusCode, value: &Value) -> Response {
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
}

/// What a row is made of, or what is wrong with it.
fn row(new: NewRow) -> Result<NewPeer, &'static str> {
    let permissions = Permissions::parse(&new.permissions.join(","))
        .filter(|set| !set.is_none() && set.iter().all(|one| PERMISSIONS.contains(&one)))
        .ok_or("permissions must be some of store, read and worklist")?;
    let plain = new.label.chars().count() <= LONGEST && !new.label.chars().any(char::is_control);
    Ok(NewPeer {
        label: if plain { new.label } else { return Err("label is too long, or not plain text") },
        calling: TitlePattern::parse(&new.calling)
            .ok_or("calling must be an AE title of 1 to 16 characters, or a pattern of titles")?,
        called: new
            .called
            .map(|title| AeTitle::parse(&title))
            .transpose()
            .map_err(|_| "called must be an AE title of 1 to 16 characters")?,
        network: new
            .network
            .map(|text| text.parse())
            .transpose()
            .map_err(|_: String| "network must be an address or a network such as 10.1.0.0/16")?,
        certificate: match new.certificate {
            Some(text) => Some(
                CertificateRule::parse(&text)
                    .ok_or("certificate must be a SHA-256 or the subject of a certificate")?,
            ),
            None => None,
        },
        permissions,
        at_ms: now_ms(),
    })
}

/// `GET /api/peers`.
pub(super) async fn list(
    State(state): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let rows = state.archive().catalog().peers(&caller.scope).await?;
    let shown = |row: &PeerRow| {
        let rule = &row.rule;
        let permissions: Vec<&str> = rule.permissions.iter().map(|one| one.name()).collect();
        json!({
            "id": rule.id, "label": rule.label, "calling": rule.calling.as_str(),
            "called": rule.called.as_ref().map(ToString::to_string),
            "network": rule.network.as_ref().map(ToString::to_string),
            "certificate": rule.certificate.as_ref().map(CertificateRule::as_str),
            "permissions": permissions, "disabled": rule.disabled, "by": row.created_by,
            "made": instant(row.created_ms), "seen": (row.seen_ms > 0).then(|| instant(row.seen_ms)),
            "seen_from": row.seen_from,
        })
    };
    Ok(answer(StatusCode::OK, &rows.iter().map(shown).collect()))
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
        PeerAdded::Taken => {
            let problem = json!({ "error": "there is a row for these peers already" });
            Ok(answer(StatusCode::CONFLICT, &problem))
        }
        PeerAdded::NotYourTitle => {
            Err(HttpError::forbidden("called must be an AE title of this tenant"))
        }
    }
}

/// What can be changed of a row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    disabled: bool,
}

/// `PATCH /api/peers/{id}`: switches a row off or on.
pub(super) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<StatusCode, HttpError> {
    let Change { disabled } = read(&body)?;
    done(state.archive().catalog().set_peer_disabled(&caller.scope, id, disabled).await?)
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
    let shown = |one: &Noted| {
        let incident = &one.incident;
        let proposed: Vec<&str> =
            incident.proposed.split(' ').filter(|text| !text.is_empty()).collect();
        json!({
            "kind": incident.cause.kind().name(), "cause": incident.cause.name(),
            "calling": incident.calling, "called": incident.called, "address": incident.address,
            "certificate": incident.certificate, "implementation_class_uid": incident.class_uid,
            "implementation_version": incident.version, "subject": incident.subject,
            "proposed": proposed, "detail": incident.detail,
            "status": (incident.status != 0).then(|| format!("{:04X}", incident.status)),
            "what": incident.cause.what(Tongue::English),
            "advice": incident.cause.advice(Tongue::English),
            "times": one.times, "first": instant(one.first_ms), "last": instant(one.last_ms),
        })
    };
    Ok(answer(StatusCode::OK, &found.iter().map(shown).collect()))
}
