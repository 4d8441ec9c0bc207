//! `/login/oidc/…`: the way to an identity provider and back.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_model::TenantId;
use serde::Deserialize;

use super::login::{self, answer, here, redirect};
use super::page::Frame;
use crate::access::login::{note_failure, set_cookie};
use crate::access::oidc::{self, Callback, Failure, Provider};
use crate::access::{Logins, cookie_of};
use crate::caller::BaseUrl;
use crate::request::Peer;
use crate::{WebState, rate};

#[derive(Template)]
#[template(path = "left.html")]
struct LeftPage<'a> {
    frame: &'a Frame,
    to: &'a str,
    label: &'a str,
}

/// Where to go after the login.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    next: String,
}

fn known<'s>(state: &'s WebState, name: &str) -> Option<(&'s Logins, &'s Provider)> {
    let logins = state.config().logins.as_ref()?;
    Some((logins, state.config().providers.iter().find(|one| one.name == name)?))
}

/// `GET /login/oidc/NAME`: sends the browser to the provider.
pub(super) async fn begin(
    State(state): State<WebState>,
    Path(name): Path<String>,
    Query(target): Query<Target>,
    Peer(peer): Peer,
    base: BaseUrl,
    frame: Frame,
) -> Response {
    let Some((logins, provider)) = known(&state, &name) else { return frame.missing() };
    if let Err(wait) = state.guesses().begin(&peer) {
        return rate::too_many(wait, "too many logins begin at this address; try again in a while");
    }
    let next = here(&target.next);
    match oidc::begin(&state, logins, provider, (base.root(), next)).await {
        Ok((to, cookie)) => {
            let mut response = redirect(&to);
            login::set(&mut response, &cookie);
            response
        }
        Err(failure) => failed(&state, &frame, failure).await,
    }
}

/// `GET /login/oidc/NAME/callback`: the provider sends the browser back.
pub(super) async fn callback(
    State(state): State<WebState>,
    Path(name): Path<String>,
    Query(callback): Query<Callback>,
    Peer(peer): Peer,
    base: BaseUrl,
    headers: HeaderMap,
    frame: Frame,
) -> Response {
    let Some((logins, provider)) = known(&state, &name) else { return frame.missing() };
    if let Err(wait) = state.guesses().check(&peer) {
        return rate::too_many(wait, "too many logins failed from this address; try again later");
    }
    let browser = cookie_of(&headers, oidc::cookie_name(logins));
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let from = (peer.as_str(), agent.unwrap_or_default());
    let way = (base.root(), browser);
    let mut response = match oidc::finish(&state, logins, provider, &callback, way, from).await {
        Ok((session, next)) => {
            tracing::info!(peer, provider = name, "a person logged in");
            let mut response = redirect(here(&next));
            login::set(&mut response, &set_cookie(logins, &session));
            response
        }
        Err(failure) => {
            state.guesses().failed(&peer);
            let why = format!("{}: {}", provider.name, failure.word());
            let noted =
                note_failure(state.archive().catalog(), TenantId::DEFAULT, (0, ""), (&peer, &why))
                    .await;
            if let Err(error) = noted {
                return frame.failed(error);
            }
            failed(&state, &frame, failure).await
        }
    };
    login::set(&mut response, &oidc::clear_cookie(logins));
    response
}

async fn failed(state: &WebState, frame: &Frame, failure: Failure) -> Response {
    let t = frame.t;
    let (status, problem) = match failure {
        Failure::Stale => (StatusCode::BAD_REQUEST, t.oidc_stale),
        Failure::Refused => (StatusCode::FORBIDDEN, t.oidc_refused),
        Failure::Unbelievable => (StatusCode::FORBIDDEN, t.oidc_unbelievable),
        Failure::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, t.oidc_unavailable),
        Failure::Nowhere => (StatusCode::FORBIDDEN, t.oidc_nowhere),
        Failure::Disabled => (StatusCode::FORBIDDEN, t.oidc_disabled),
        Failure::Here(error) => return error.into_response(),
    };
    answer(state, frame, status, ("", "/"), Some(problem)).await
}

/// After the logout here: the way to the one at the provider, which a form may not lead to.
pub(super) fn left(frame: &Frame, to: &str, label: &str) -> Response {
    // Whoever was logged in no longer is.
    let frame = frame.clone().nobody();
    frame.answer(StatusCode::OK, &LeftPage { frame: &frame, to, label })
}
