//! `/tokens`: the API tokens of the tenant's programs.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::access::{ApiToken, NewToken};
use qianli_model::{Permission, Permissions};
use serde::Deserialize;

use super::format;
use super::login::redirect;
use super::page::Frame;
use crate::WebState;
use crate::access::{now_ms, secret};
use crate::caller::Caller;
use crate::origin::SameSite;

/// Longest name (characters).
const LONGEST: usize = 64;

/// Days that a token may be valid, as the page offers them.
const DAYS: [i64; 4] = [7, 30, 90, 365];

const DAY: i64 = 24 * 3600 * 1000;

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage<'a> {
    frame: &'a Frame,
    tokens: Vec<Line>,
    /// Name and label.
    permissions: Vec<(&'static str, &'static str)>,
    days: [i64; 4],
    /// Name and secret of a token that was just made.
    made: Option<(&'a str, &'a str)>,
    problem: Option<&'a str>,
}

struct Line {
    id: i64,
    name: String,
    may: String,
    by: String,
    made: String,
    ends: String,
    used: String,
    unused: bool,
    valid: bool,
    revoked: bool,
}

/// Which token is meant.
#[derive(Deserialize)]
pub(super) struct Which {
    token: i64,
}

/// `GET /tokens`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    let frame = frame.at("tokens");
    answer(&state, &caller, &frame, StatusCode::OK, (None, None)).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    (made, problem): (Option<(&str, &str)>, Option<&str>),
) -> Response {
    let tokens = match state.archive().catalog().tokens(&caller.scope).await {
        Ok(tokens) => tokens,
        Err(error) => return frame.failed(error),
    };
    let (now, t) = (now_ms(), frame.t);
    let line = |token: ApiToken| Line {
        id: token.id,
        may: token.permissions.iter().map(|one| t.permission(one)).collect::<Vec<_>>().join(", "),
        by: token.created_by,
        made: format::instant(token.created_ms),
        ends: format::instant(token.expires_ms),
        unused: token.used_ms == 0,
        used: format::instant(token.used_ms),
        valid: token.revoked_ms == 0 && token.expires_ms > now,
        revoked: token.revoked_ms > 0,
        name: token.name,
    };
    let page = TokensPage {
        frame,
        tokens: tokens.into_iter().map(line).collect(),
        permissions: Permission::ALL
            .into_iter()
            .map(|one| (one.name(), t.permission(one)))
            .collect(),
        days: DAYS,
        made,
        problem,
    };
    frame.answer(status, &page)
}

/// `POST /tokens`: makes a token, and shows it once.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let value = |name: &str| {
        pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    };
    let chosen: Vec<Permission> = pairs
        .iter()
        .filter(|(key, _)| key == "permission")
        .filter_map(|(_, value)| Permission::parse(value))
        .collect();
    let days = value("days").parse().ok().filter(|days| DAYS.contains(days));
    // Nobody hands out more than they have.
    let permissions = Permissions::of(&chosen).within(caller.scope.permissions());
    let name = value("name");
    let named =
        !name.is_empty() && name.chars().count() <= LONGEST && !name.chars().any(char::is_control);
    let (true, Some(days), false) = (named, days, permissions.is_none()) else {
        let problem = Some(frame.t.tokens_incomplete);
        return answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, (None, problem)).await;
    };
    let (token, now) = (secret::token(), now_ms());
    let new = NewToken {
        secret: secret::digest(&token),
        name: name.to_owned(),
        permissions,
        created_by: caller.scope.principal().name().to_owned(),
        at_ms: now,
        expires_ms: now.saturating_add(days * DAY),
    };
    match state.archive().catalog().add_token(&caller.scope, &new).await {
        Ok(_) => {
            let made = Some((name, token.as_str()));
            answer(&state, &caller, &frame, StatusCode::OK, (made, None)).await
        }
        Err(error) => frame.failed(error),
    }
}

/// `POST /tokens/revoke`.
pub(super) async fn revoke(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    match state.archive().catalog().revoke_token(&caller.scope, which.token, now_ms()).await {
        Ok(_) => {
            state.door().forget();
            redirect("/tokens")
        }
        Err(error) => frame.failed(error),
    }
}
