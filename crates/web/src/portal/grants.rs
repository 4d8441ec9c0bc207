//! `/grants`: everything that the tenant shares, rules, and what was taken in an emergency.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::grants::{Origin, Which};
use qianli_model::grant::{Rule, Subject};
use qianli_model::order::PRIORITIES;
use serde::Deserialize;

use super::login::redirect;
use super::page::Frame;
use super::share::{DAYS, GrantLine, LinkLine, Wish, line, others};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::origin::SameSite;

#[derive(Template)]
#[template(path = "grants.html")]
struct GrantsPage<'a> {
    frame: &'a Frame,
    grants: Vec<GrantLine>,
    links: Vec<LinkLine>,
    tenants: Vec<(String, String)>,
    days: [i64; 6],
    priorities: &'static [&'static str],
    emergency: bool,
    unreviewed: usize,
    problem: Option<&'a str>,
}

/// `GET /grants`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    answer(&state, &caller, &frame.at("grants"), StatusCode::OK, None).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let asked = tokio::join!(
        catalog.grants(scope, Which::All),
        catalog.links(scope, None),
        catalog.tenants(),
        catalog.allows_emergency(scope),
    );
    let (grants, links, tenants, emergency) = match asked {
        (Ok(grants), Ok(links), Ok(tenants), Ok(emergency)) => (grants, links, tenants, emergency),
        (Err(cause), ..) | (_, Err(cause), ..) | (_, _, Err(cause), _) | (.., Err(cause)) => {
            return frame.failed(cause);
        }
    };
    let now = now_ms();
    let mut grants: Vec<_> =
        grants.into_iter().map(|one| GrantLine::new(one, frame, now)).collect();
    // What waits for a look comes first, then what holds.
    grants.sort_by_key(|one| (!one.unreviewed, !one.live));
    let page = GrantsPage {
        frame,
        unreviewed: grants.iter().filter(|one| one.unreviewed).count(),
        grants,
        links: links.into_iter().map(|one| LinkLine::new(one, now)).collect(),
        tenants: others(tenants, scope),
        days: DAYS,
        priorities: &PRIORITIES,
        emergency,
        problem,
    };
    frame.answer(status, &page)
}

/// `POST /grants`: shares by rule.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(wish): Form<Wish>,
) -> Response {
    let frame = frame.at("grants");
    let refuse = async |problem| {
        answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, Some(problem)).await
    };
    let (Some(modality), Some(body_part)) = (line(&wish.modality), line(&wish.body_part)) else {
        return refuse(frame.t.share_no_purpose).await;
    };
    let priority = wish.priority.clone();
    if !priority.is_empty() && !PRIORITIES.contains(&priority.as_str()) {
        return refuse(frame.t.grants_no_priority).await;
    }
    let since_ms = if wish.older { 0 } else { now_ms() };
    let subject = Subject::Rule(Rule { modality, body_part, priority, since_ms });
    let new = match wish.grant(&state, &caller, &frame, subject).await {
        Ok(Ok(new)) => new,
        Ok(Err(problem)) => return refuse(problem).await,
        Err(error) => return error.into_response(),
    };
    match state.archive().catalog().add_grant(&caller.scope, &new, Origin::Share).await {
        Ok(_) => {
            state.door().forget();
            redirect("/grants")
        }
        Err(error) => frame.failed(error),
    }
}

/// Which grant or link is meant, and where to go back to.
#[derive(Deserialize)]
pub(super) struct Key {
    id: i64,
    #[serde(default)]
    study: String,
}

impl Key {
    fn back(&self) -> String {
        match qianli_model::StudyUid::parse(&self.study) {
            Ok(study) => format!("/studies/{study}/share"),
            Err(_) => "/grants".into(),
        }
    }
}

/// `POST /grants/revoke`.
pub(super) async fn revoke(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(key): Form<Key>,
) -> Response {
    match state.archive().catalog().revoke_grant(&caller.scope, key.id, now_ms()).await {
        Ok(true) => {
            state.door().forget();
            redirect(&key.back())
        }
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// `POST /grants/links/revoke`.
pub(super) async fn revoke_link(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(key): Form<Key>,
) -> Response {
    match state.archive().catalog().revoke_link(&caller.scope, key.id, now_ms()).await {
        Ok(true) => {
            state.door().forget();
            redirect(&key.back())
        }
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// `POST /grants/review`: somebody has looked at broken glass.
pub(super) async fn review(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(key): Form<Key>,
) -> Response {
    match state.archive().catalog().review_grant(&caller.scope, key.id, now_ms()).await {
        Ok(true) => redirect("/grants"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// Whether doctors elsewhere may break the glass.
#[derive(Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    allowed: bool,
}

/// `POST /grants/emergency`.
pub(super) async fn allow_emergency(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(leave): Form<Leave>,
) -> Response {
    let catalog = state.archive().catalog();
    match catalog.allow_emergency(&caller.scope, leave.allowed, now_ms()).await {
        Ok(()) => redirect("/grants"),
        Err(error) => frame.failed(error),
    }
}
