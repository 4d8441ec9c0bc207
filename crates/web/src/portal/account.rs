//! `/account`: who I am here, my password, where I am logged in.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_model::Scope;
use serde::Deserialize;

use super::format;
use super::login::redirect;
use super::page::Frame;
use crate::access::{login, now_ms, secret};
use crate::caller::{Caller, Person};
use crate::origin::SameSite;
use crate::{HttpError, WebState};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: &'a Frame,
    person: &'a Person,
    roles: Vec<&'static str>,
    shortest: usize,
    sessions: Vec<SessionLine>,
    problem: Option<&'a str>,
    /// Whether there is a password here that can be changed.
    has_password: bool,
    /// Whether a code is asked for at the login.
    has_factor: bool,
    recovery_codes: i64,
}

struct SessionLine {
    id: String,
    current: bool,
    agent: String,
    peer: String,
    began: String,
    seen: String,
}

/// What the form of the password holds.
#[derive(Deserialize)]
pub(super) struct Passwords {
    current: String,
    new: String,
    again: String,
}

/// Which session is to end.
#[derive(Deserialize)]
pub(super) struct Which {
    session: String,
}

/// `GET /account`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    let frame = frame.at("account");
    answer(&state, &caller, &frame, StatusCode::OK, None).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    // Without logins, and behind a token, there is no account.
    let Some(person) = &caller.person else { return redirect("/") };
    let sessions = match state.archive().catalog().sessions(person.id, now_ms()).await {
        Ok(sessions) => sessions,
        Err(error) => return frame.failed(error),
    };
    let has_password = match state.archive().catalog().has_identity(person.id).await {
        Ok(known_elsewhere) => !known_elsewhere && state.config().password_login,
        Err(error) => return frame.failed(error),
    };
    let catalog = state.archive().catalog();
    let (kept, recovery_codes) =
        match (catalog.totp(person.id).await, catalog.recovery_codes(person.id).await) {
            (Ok(kept), Ok(left)) => (kept, left),
            (Err(error), _) | (_, Err(error)) => return frame.failed(error),
        };
    let has_factor = kept.is_some_and(|kept| kept.confirmed);
    let line = |row: qianli_catalog::access::SessionRow| SessionLine {
        current: row.secret == person.session,
        id: row.secret,
        agent: row.agent,
        peer: row.peer,
        began: format::instant(row.created_ms),
        seen: format::instant(row.seen_ms),
    };
    let page = AccountPage {
        frame,
        person,
        roles: person.roles.iter().map(|role| frame.t.role(*role)).collect(),
        shortest: secret::SHORTEST,
        sessions: sessions.into_iter().map(line).collect(),
        problem,
        has_password,
        has_factor,
        recovery_codes,
    };
    frame.answer(status, &page)
}

/// `POST /account/password`. Ends every session, this one too: whoever knew the old password and is
/// still logged in somewhere no longer is.
pub(super) async fn change_password(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(given): Form<Passwords>,
) -> Response {
    let Some(person) = &caller.person else { return redirect("/") };
    let problem = match change(&state, (&caller.scope, person), given, &frame).await {
        Ok(None) => return redirect("/login"),
        Ok(Some(problem)) => problem,
        Err(error) => return error.into_response(),
    };
    answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, Some(problem)).await
}

async fn change<'t>(
    state: &WebState,
    (scope, person): (&Scope, &Person),
    given: Passwords,
    frame: &Frame,
) -> Result<Option<&'t str>, HttpError> {
    let t = frame.t;
    if given.new != given.again {
        return Ok(Some(t.password_differs));
    }
    if given.new == given.current {
        return Ok(Some(t.password_same));
    }
    if let Err(weak) = secret::check(&person.login, &given.new) {
        return Ok(Some(t.weak(weak)));
    }
    let catalog = state.archive().catalog();
    if let Some(problem) = right_password(state, person, given.current, frame).await? {
        return Ok(Some(problem));
    }
    let hashed = login::computed(state, move || secret::hash(&given.new)).await?;
    let hashed = hashed.map_err(HttpError::internal)?;
    catalog.set_password(scope, person.id, &hashed, false, now_ms()).await?;
    state.door().forget();
    Ok(None)
}

/// Whether a password is the person's, counted as at the login; what is wrong, or nothing.
pub(super) async fn right_password(
    state: &WebState,
    person: &Person,
    given: String,
    frame: &Frame,
) -> Result<Option<&'static str>, HttpError> {
    let catalog = state.archive().catalog();
    let wrong = Ok(Some(frame.t.password_wrong));
    let Some(known) = catalog.credentials(&person.login).await? else { return wrong };
    if !catalog.attempt_login(known.id, now_ms()).await? {
        return Ok(Some(frame.t.login_locked));
    }
    let hash = known.password.clone();
    let right = login::computed(state, move || secret::verify(&given, &hash)).await?;
    if !right || !catalog.login_succeeded(known.id, &known.password).await? {
        return wrong;
    }
    Ok(None)
}

/// The page again, with what is wrong.
pub(super) async fn refuse(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    problem: &str,
) -> Response {
    answer(state, caller, frame, StatusCode::BAD_REQUEST, Some(problem)).await
}

/// `POST /account/sessions`: ends one of the caller's sessions.
pub(super) async fn end_session(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    Form(which): Form<Which>,
) -> Response {
    let Some(person) = &caller.person else { return redirect("/") };
    match state.archive().catalog().close_session(&caller.scope, person.id, &which.session).await {
        Ok(_) => {
            state.door().forget();
            redirect("/account")
        }
        Err(error) => HttpError::from(error).into_response(),
    }
}
