//! `/login` and `/logout`.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use super::page::{Frame, encode};
use super::{factor, oidc};
use crate::access;
use crate::access::login::{self, CODE_TIME, Outcome};
use crate::caller::{BaseUrl, Caller};
use crate::origin::SameSite;
use crate::request::Peer;
use crate::{WebState, rate};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: &'a Frame,
    next: &'a str,
    login: &'a str,
    problem: Option<&'a str>,
    first: bool,
    passwords: bool,
    /// Path and label of each identity provider.
    providers: Vec<(String, &'a str)>,
}

/// Where to go after the login.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    next: String,
}

/// What the form holds.
#[derive(Deserialize)]
pub(super) struct Entered {
    login: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// A path of this server; anything else leads to the start page.
pub(super) fn here(next: &str) -> &str {
    let fine = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/\\")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if fine { next } else { "/" }
}

/// `GET /login`.
pub(super) async fn show(
    State(state): State<WebState>,
    Query(target): Query<Target>,
    frame: Frame,
) -> Response {
    // Who needs no login has no use for this page; who has one may log in as somebody else.
    if state.config().logins.is_none() {
        return redirect("/");
    }
    answer(&state, &frame, StatusCode::OK, ("", here(&target.next)), None).await
}

/// The page of the login, perhaps with what is wrong.
pub(super) async fn answer(
    state: &WebState,
    frame: &Frame,
    status: StatusCode,
    (login, next): (&str, &str),
    problem: Option<&str>,
) -> Response {
    let config = state.config();
    let passwords = config.password_login;
    let people = state.archive().catalog().has_people().await;
    let first = passwords && people.is_ok_and(|any| !any);
    let to = |name: &str| format!("/login/oidc/{name}?next={}", encode(next));
    let providers = config.providers.iter().map(|one| (to(&one.name), one.label.as_str()));
    let providers = providers.collect();
    let page = LoginPage { frame, next, login, problem, first, passwords, providers };
    frame.answer(status, &page)
}

/// `POST /login`.
pub(super) async fn log_in(
    State(state): State<WebState>,
    Peer(peer): Peer,
    _: SameSite,
    headers: HeaderMap,
    frame: Frame,
    Form(entered): Form<Entered>,
) -> Response {
    let Some(logins) = &state.config().logins else { return redirect("/") };
    if !state.config().password_login {
        let problem = Some(frame.t.login_no_passwords);
        return answer(&state, &frame, StatusCode::FORBIDDEN, ("", here(&entered.next)), problem)
            .await;
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    if let Err(wait) = state.guesses().check(&peer) {
        return rate::too_many(wait, "too many logins failed from this address; try again later");
    }
    let pair = (entered.login.trim(), entered.password.as_str(), here(&entered.next));
    let from = (peer.as_str(), agent.unwrap_or_default());
    let outcome = match login::log_in(&state, logins, pair, from).await {
        Ok(outcome) => outcome,
        Err(error) => return error.into_response(),
    };
    let (status, problem) = match outcome {
        Outcome::In(session) => {
            tracing::info!(peer, "a person logged in");
            let mut response = redirect(here(&entered.next));
            set(&mut response, &login::set_cookie(logins, &session));
            return response;
        }
        Outcome::Code(held) => {
            let mut response = redirect("/login/code");
            set(&mut response, &factor::cookie(logins, &held, CODE_TIME / 1000));
            return response;
        }
        Outcome::Wrong => (StatusCode::UNAUTHORIZED, frame.t.login_wrong),
        Outcome::Locked => (StatusCode::TOO_MANY_REQUESTS, frame.t.login_locked),
        Outcome::Nowhere => (StatusCode::FORBIDDEN, frame.t.login_nowhere),
    };
    state.guesses().failed(&peer);
    tracing::warn!(peer, ?status, "a login failed");
    answer(&state, &frame, status, (pair.0, here(&entered.next)), Some(problem)).await
}

/// `POST /logout`.
pub(super) async fn log_out(
    State(state): State<WebState>,
    _: SameSite,
    base: BaseUrl,
    headers: HeaderMap,
    frame: Frame,
    caller: Option<Extension<Caller>>,
) -> Response {
    let mut response = redirect("/login");
    let Some(logins) = &state.config().logins else { return redirect("/") };
    if let Some(Extension(caller)) = &caller
        && let Some(person) = &caller.person
    {
        let scope = &caller.scope;
        let catalog = state.archive().catalog();
        if let Some(session) = access::cookie(&headers, logins) {
            let secret = (session, person.session.as_str());
            let there = access::oidc::end_at_provider(&state, secret, base.root()).await;
            if let Some((to, label)) = there {
                response = oidc::left(&frame, &to, &label);
            }
        }
        let closed = catalog.close_session(scope, person.id, &person.session).await;
        if let Err(error) = closed {
            return crate::HttpError::from(error).into_response();
        }
        state.door().forget();
    }
    set(&mut response, &login::clear_cookie(logins));
    response
}

pub(super) fn set(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// 303, which nobody keeps.
pub(super) fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(header::LOCATION, to);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::here;

    #[test]
    fn nobody_is_led_elsewhere_after_the_login() {
        for next in ["/", "/studies?name=%E7%8E%8B", "/viewer?StudyInstanceUIDs=1.2"] {
            assert_eq!(here(next), next);
        }
        for next in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "studies", "/a\nb"]
        {
            assert_eq!(here(next), "/", "{next:?}");
        }
    }
}
