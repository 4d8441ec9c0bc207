//! Invitations: made at `/people`, opened at `/invitation` by whoever was given the link.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::access::{Accepted, Invitation, NewInvitation, NewPerson};
use qianli_model::Role;
use serde::Deserialize;

use super::format;
use super::login::redirect;
use super::page::Frame;
use super::people::{self, LONGEST, Made, Pairs, chosen, is_login, value};
use crate::access::{now_ms, secret};
use crate::caller::{BaseUrl, Caller};
use crate::origin::SameSite;
use crate::request::Peer;
use crate::{WebState, rate};

/// Days that an invitation may be open, as the page offers them.
pub(super) const DAYS: [i64; 3] = [1, 7, 30];

const DAY: i64 = 24 * 3600 * 1000;

/// An invitation in the list.
pub(super) struct Line {
    pub(super) id: i64,
    pub(super) note: String,
    pub(super) roles: String,
    pub(super) by: String,
    pub(super) ends: String,
    pub(super) used_by: String,
    pub(super) revoked: bool,
    pub(super) open: bool,
}

/// The invitations as the list shows them.
pub(super) fn lines(all: Vec<Invitation>, label: impl Fn(&Role) -> &'static str) -> Vec<Line> {
    let now = now_ms();
    let line = |one: Invitation| Line {
        id: one.id,
        roles: one.roles.iter().map(&label).collect::<Vec<_>>().join(", "),
        by: one.created_by,
        ends: format::instant(one.expires_ms),
        open: one.used_ms == 0 && one.revoked_ms == 0 && one.expires_ms > now,
        revoked: one.revoked_ms > 0,
        used_by: one.used_by,
        note: one.note,
    };
    all.into_iter().map(line).collect()
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct InvitationPage<'a> {
    frame: &'a Frame,
    code: &'a str,
    tenant: &'a str,
    roles: Vec<&'static str>,
    login: &'a str,
    name: &'a str,
    shortest: usize,
    problem: Option<&'a str>,
}

/// `POST /people/invite`: makes an invitation, and shows its link once.
pub(super) async fn invite(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    base: BaseUrl,
    frame: Frame,
    Form(pairs): Form<Pairs>,
) -> Response {
    let frame = frame.at("people");
    let (note, roles) = (value(&pairs, "note"), chosen(&pairs));
    let days = value(&pairs, "days").parse().ok().filter(|days| DAYS.contains(days));
    let refuse = async |problem| {
        let status = StatusCode::BAD_REQUEST;
        people::answer(&state, &caller, &frame, status, (None, Some(problem), None)).await
    };
    if note.chars().count() > LONGEST || note.chars().any(char::is_control) {
        return refuse(frame.t.people_bad_name).await;
    }
    let (Some(days), false) = (days, roles.is_empty()) else {
        return refuse(frame.t.people_no_role).await;
    };
    let (code, now) = (secret::session(), now_ms());
    let new = NewInvitation {
        secret: secret::digest(&code),
        roles,
        note: note.to_owned(),
        at_ms: now,
        expires_ms: now.saturating_add(days * DAY),
    };
    match state.archive().catalog().invite(&caller.scope, &new).await {
        Ok(_) => {
            // In the query, which no log of ours holds.
            let link = format!("{}/invitation?code={code}", base.root());
            let made = Some(Made::Link(link));
            people::answer(&state, &caller, &frame, StatusCode::OK, (made, None, None)).await
        }
        Err(error) => frame.failed(error),
    }
}

/// Which invitation is meant.
#[derive(Deserialize)]
pub(super) struct Which {
    invitation: i64,
}

/// `POST /people/invite/revoke`.
pub(super) async fn revoke(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let catalog = state.archive().catalog();
    match catalog.revoke_invitation(&caller.scope, which.invitation, now_ms()).await {
        Ok(_) => redirect("/people"),
        Err(error) => frame.failed(error),
    }
}

/// What stands in the link.
#[derive(Deserialize)]
pub(super) struct Code {
    #[serde(default)]
    code: String,
}

/// What whoever was invited chooses.
#[derive(Deserialize)]
pub(super) struct Chosen {
    code: String,
    login: String,
    #[serde(default)]
    name: String,
    new: String,
    again: String,
}

/// `GET /invitation`.
pub(super) async fn open(
    State(state): State<WebState>,
    Peer(peer): Peer,
    frame: Frame,
    Query(given): Query<Code>,
) -> Response {
    page(&state, &frame, &peer, (&given.code, "", ""), None).await
}

async fn page(
    state: &WebState,
    frame: &Frame,
    peer: &str,
    (code, login, name): (&str, &str, &str),
    problem: Option<&str>,
) -> Response {
    if state.config().logins.is_none() || !state.config().password_login {
        return frame.missing();
    }
    if let Err(wait) = state.guesses().check(peer) {
        return rate::too_many(wait, "too many attempts failed from this address; try again later");
    }
    let digest = secret::digest(code);
    match state.archive().catalog().invitation(&digest, now_ms()).await {
        Ok(Some(invited)) => {
            let page = InvitationPage {
                frame,
                code,
                tenant: &invited.tenant,
                roles: invited.roles.iter().map(|role| frame.t.role(*role)).collect(),
                login,
                name,
                shortest: secret::SHORTEST,
                problem,
            };
            let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            frame.answer(status, &page)
        }
        Ok(None) => {
            state.guesses().failed(peer);
            frame.message(StatusCode::NOT_FOUND, (frame.t.invite_over_title, frame.t.invite_over))
        }
        Err(error) => frame.failed(error),
    }
}

/// `POST /invitation`: makes the account.
pub(super) async fn accept(
    State(state): State<WebState>,
    Peer(peer): Peer,
    _: SameSite,
    frame: Frame,
    Form(given): Form<Chosen>,
) -> Response {
    let t = frame.t;
    let (login, name) = (given.login.trim(), given.name.trim());
    let entered = (given.code.as_str(), login, name);
    let problem = if !is_login(login) {
        Some(t.people_bad_login)
    } else if name.chars().count() > LONGEST || name.chars().any(char::is_control) {
        Some(t.people_bad_name)
    } else if given.new != given.again {
        Some(t.password_differs)
    } else {
        secret::check(login, &given.new).err().map(|weak| t.weak(weak))
    };
    if problem.is_some() || !state.config().password_login {
        return page(&state, &frame, &peer, entered, problem).await;
    }
    if let Err(wait) = state.guesses().check(&peer) {
        return rate::too_many(wait, "too many attempts failed from this address; try again later");
    }
    let catalog = state.archive().catalog();
    let digest = secret::digest(&given.code);
    // Before the work of hashing, which is not for everybody.
    match catalog.invitation(&digest, now_ms()).await {
        Ok(Some(_)) => {}
        Ok(None) => return page(&state, &frame, &peer, entered, None).await,
        Err(error) => return frame.failed(error),
    }
    let password = match people::hashed(&state, given.new.clone()).await {
        Ok(password) => password,
        Err(error) => return error.into_response(),
    };
    let new = NewPerson {
        login: login.to_owned(),
        name: name.to_owned(),
        password,
        must_change: false,
        roles: Vec::new(),
        at_ms: now_ms(),
    };
    match catalog.accept_invitation(&digest, &new, &peer).await {
        Ok(Accepted::In) => redirect("/login"),
        Ok(Accepted::Taken) => page(&state, &frame, &peer, entered, Some(t.people_taken)).await,
        Ok(Accepted::Over) => page(&state, &frame, &peer, entered, None).await,
        Err(error) => frame.failed(error),
    }
}
