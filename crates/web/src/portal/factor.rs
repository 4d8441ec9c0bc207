//! Second factors: `/login/code` after the password, and their part of `/account`.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope};
use serde::Deserialize;

use super::account::{self, right_password};
use super::login::{self, here, redirect};
use super::page::Frame;
use super::qr;
use crate::access::login::{note_failure, open_session, set_cookie};
use crate::access::{Logins, cookie_of, factor, now_ms, secret};
use crate::caller::{BaseUrl, Caller};
use crate::origin::SameSite;
use crate::request::Peer;
use crate::{HttpError, WebState, rate};

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    frame: &'a Frame,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "factor.html")]
struct FactorPage<'a> {
    frame: &'a Frame,
    /// Picture, and the secret in groups, while it waits for a code.
    waiting: Option<(String, String)>,
    /// Recovery codes, shown this once.
    codes: Vec<String>,
    problem: Option<&'a str>,
}

/// A code.
#[derive(Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    code: String,
}

/// A password, asked for again before something that matters.
#[derive(Deserialize)]
pub(super) struct Password {
    current: String,
}

/// Name of the cookie of a login that waits for a code.
fn cookie_name(logins: &Logins) -> &'static str {
    if logins.https { "__Host-qianli-code" } else { "qianli-code" }
}

/// That cookie.
pub(super) fn cookie(logins: &Logins, value: &str, seconds: i64) -> String {
    let secure = if logins.https { "; Secure" } else { "" };
    let name = cookie_name(logins);
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// `GET /login/code`.
pub(super) async fn ask(
    State(state): State<WebState>,
    headers: HeaderMap,
    frame: Frame,
) -> Response {
    let Some(logins) = &state.config().logins else { return redirect("/") };
    match cookie_of(&headers, cookie_name(logins)) {
        Some(_) => frame.answer(StatusCode::OK, &CodePage { frame: &frame, problem: None }),
        None => redirect("/login"),
    }
}

/// `POST /login/code`.
pub(super) async fn enter(
    State(state): State<WebState>,
    Peer(peer): Peer,
    _: SameSite,
    headers: HeaderMap,
    frame: Frame,
    Form(entered): Form<Entered>,
) -> Response {
    let Some(logins) = &state.config().logins else { return redirect("/") };
    if let Err(wait) = state.guesses().check(&peer) {
        return rate::too_many(wait, "too many logins failed from this address; try again later");
    }
    let Some(held) = cookie_of(&headers, cookie_name(logins)) else { return redirect("/login") };
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let from = (peer.as_str(), agent.unwrap_or_default());
    match try_code(&state, logins, held, &entered.code, from).await {
        Ok(Tried::In(session, next)) => {
            tracing::info!(peer, "a person logged in with a second factor");
            let mut response = redirect(here(&next));
            login::set(&mut response, &set_cookie(logins, &session));
            login::set(&mut response, &cookie(logins, "", 0));
            response
        }
        Ok(Tried::Over) => {
            let mut response = redirect("/login");
            login::set(&mut response, &cookie(logins, "", 0));
            response
        }
        Ok(Tried::Wrong { locked }) => {
            state.guesses().failed(&peer);
            tracing::warn!(peer, locked, "a second factor was wrong");
            let (status, problem) = match locked {
                true => (StatusCode::TOO_MANY_REQUESTS, frame.t.login_locked),
                false => (StatusCode::UNAUTHORIZED, frame.t.code_wrong),
            };
            frame.answer(status, &CodePage { frame: &frame, problem: Some(problem) })
        }
        Err(error) => error.into_response(),
    }
}

/// What came of a code.
enum Tried {
    In(String, String),
    /// The login took too long, or its password is no longer the person's.
    Over,
    Wrong {
        locked: bool,
    },
}

async fn try_code(
    state: &WebState,
    logins: &Logins,
    held: &str,
    code: &str,
    (peer, agent): (&str, &str),
) -> Result<Tried, HttpError> {
    let catalog = state.archive().catalog();
    let digest = secret::digest(held);
    let Some(step) = catalog.login_step(&digest, now_ms()).await? else { return Ok(Tried::Over) };
    let Some(tenant) = catalog.tenants_of(step.person).await?.into_iter().next() else {
        return Ok(Tried::Over);
    };
    let named = (step.person, step.login.as_str());
    let note = async |why| note_failure(catalog, tenant.id, named, (peer, why)).await;
    // Counted with the wrong passwords, before it is looked at.
    let Ok(attempt) = state.guesses().attempt(&step.login, peer) else {
        note("too many tries").await?;
        return Ok(Tried::Wrong { locked: true });
    };
    let Some(kept) = catalog.totp(step.person).await?.filter(|kept| kept.confirmed) else {
        return Ok(Tried::Over);
    };
    let principal = Principal::Person(step.person, step.login.clone());
    let scope = Scope::new(tenant.id, principal, Permissions::NONE).at(peer);
    if !factor::opens(state, &scope, (step.person, &kept), code).await? {
        note("wrong code").await?;
        return Ok(Tried::Wrong { locked: false });
    }
    // One of several codes at once begins a session.
    if !catalog.end_login_step(&digest).await?
        || !catalog.login_succeeded(step.person, &step.password).await?
    {
        return Ok(Tried::Over);
    }
    state.guesses().succeeded(&attempt);
    let who = (step.person, step.login.as_str(), tenant.id);
    let session = open_session(state, logins, who, (peer, agent)).await?;
    Ok(Tried::In(session, step.next))
}

/// `POST /account/factor`: begins a second factor, after the password.
pub(super) async fn begin(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    base: BaseUrl,
    frame: Frame,
    Form(given): Form<Password>,
) -> Response {
    let frame = frame.at("account");
    let Some(person) = &caller.person else { return redirect("/") };
    match right_password(&state, person, given.current, &frame).await {
        Ok(None) => {}
        Ok(Some(problem)) => return account::refuse(&state, &caller, &frame, problem).await,
        Err(error) => return error.into_response(),
    }
    let kept = factor::new_secret();
    match state.archive().catalog().begin_totp(person.id, &kept).await {
        Ok(true) => waiting(&frame, &base, (&kept, &person.login), StatusCode::OK, None),
        Ok(false) => redirect("/account"),
        Err(error) => frame.failed(error),
    }
}

fn waiting(
    frame: &Frame,
    base: &BaseUrl,
    (kept, login): (&str, &str),
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    let archive = base.root().split_once("://").map_or("", |(_, rest)| rest);
    let picture = qr::svg(&factor::uri(kept, archive, login)).unwrap_or_default();
    let groups: Vec<&str> =
        kept.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    let waiting = Some((picture, groups.join(" ")));
    frame.answer(status, &FactorPage { frame, waiting, codes: Vec::new(), problem })
}

/// `POST /account/factor/confirm`: the first code; shows the recovery codes.
pub(super) async fn confirm(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    base: BaseUrl,
    frame: Frame,
    Form(entered): Form<Entered>,
) -> Response {
    let frame = frame.at("account");
    let Some(person) = &caller.person else { return redirect("/") };
    let catalog = state.archive().catalog();
    let kept = match catalog.totp(person.id).await {
        Ok(Some(kept)) if !kept.confirmed => kept,
        Ok(_) => return redirect("/account"),
        Err(error) => return frame.failed(error),
    };
    let Some(step) = factor::step(&kept.secret, &entered.code) else {
        let (pair, problem) = ((kept.secret.as_str(), person.login.as_str()), frame.t.code_wrong);
        return waiting(&frame, &base, pair, StatusCode::BAD_REQUEST, Some(problem));
    };
    let codes = factor::new_codes();
    let digests: Vec<String> = codes.iter().map(|code| factor::digest(person.id, code)).collect();
    match catalog.confirm_totp(&caller.scope, person.id, (&kept.secret, step), &digests).await {
        Ok(true) => {
            state.door().forget();
            let page = FactorPage { frame: &frame, waiting: None, codes, problem: None };
            frame.answer(StatusCode::OK, &page)
        }
        Ok(false) => redirect("/account"),
        Err(error) => frame.failed(error),
    }
}

/// `POST /account/factor/remove`, after the password.
pub(super) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(given): Form<Password>,
) -> Response {
    let frame = frame.at("account");
    let Some(person) = &caller.person else { return redirect("/") };
    match right_password(&state, person, given.current, &frame).await {
        Ok(None) => {}
        Ok(Some(problem)) => return account::refuse(&state, &caller, &frame, problem).await,
        Err(error) => return error.into_response(),
    }
    match state.archive().catalog().remove_totp(&caller.scope, person.id).await {
        Ok(_) => {
            state.door().forget();
            redirect("/account")
        }
        Err(error) => frame.failed(error),
    }
}
