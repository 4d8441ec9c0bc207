//! Destinations on the page of peers: where they are reached, whether they answer, and how they are
//! changed (`/peers/destinations/…`).

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::DestinationRow;
use qianli_model::AeTitle;
use qianli_model::destination::{Destination, Identity};
use qianli_model::routing::Goal;
use qianli_model::scope::Principal;
use serde::Deserialize;

use super::way::{OPERATORS_ONLY, Way, leads_home};
use super::words::Words;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;
use crate::portal::login::redirect;
use crate::portal::page::Frame;

/// A destination as the list of peers shows it.
pub(super) struct Line {
    pub(super) title: String,
    pub(super) address: String,
    /// How it is called beyond its address.
    pub(super) notes: Vec<String>,
}

/// What came of asking a destination, for people.
pub(super) struct Told {
    pub(super) fine: bool,
    pub(super) words: String,
    pub(super) detail: String,
}

#[derive(Template)]
#[template(path = "destination.html")]
struct DestinationPage<'a> {
    frame: &'a Frame,
    w: &'static Words,
    title: &'a str,
    to: &'a Destination,
    tls_name: &'a str,
    has_authorities: bool,
    syntaxes: String,
    user: &'a str,
    has_password: bool,
    has_token: bool,
    problem: Option<&'a str>,
}

/// Which destination.
#[derive(Deserialize)]
pub(in crate::portal) struct Which {
    title: String,
}

pub(super) fn line(w: &Words, row: DestinationRow) -> Line {
    let to = row.destination;
    let mut notes = vec![format!("{}: {}", w.associations, to.associations)];
    notes.extend((to.bandwidth > 0).then(|| format!("{}: {}", w.bandwidth, to.bandwidth)));
    notes.extend(to.tls.map(|_| "TLS".to_owned()));
    if !to.syntaxes.is_empty() {
        let names: Vec<_> = to.syntaxes.iter().map(|one| one.name()).collect();
        let only = if to.only_these { w.only } else { w.syntaxes };
        notes.push(format!("{only}: {}", names.join(", ")));
    }
    notes.extend(to.identity.map(|one| format!("{}: {}", w.identity, one.kind())));
    Line { title: to.title.to_string(), address: to.address, notes }
}

/// Whether the caller may name addresses of the server itself.
pub(in crate::portal) fn is_operator(caller: &Caller) -> bool {
    *caller.scope.principal() == Principal::Local
}

/// Whether a rule sends studies to it.
pub(in crate::portal) async fn is_needed(
    state: &WebState,
    caller: &Caller,
    title: &AeTitle,
) -> Result<bool, qianli_catalog::CatalogError> {
    let rules = state.archive().catalog().route_rules(&caller.scope).await?;
    Ok(rules.iter().any(|row| matches!(&row.rule.to, Goal::Peer(to) if to == title)))
}

/// `GET /peers/destinations/{title}`.
pub(in crate::portal) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(title): Path<String>,
) -> Response {
    let frame = frame.at("peers");
    let Ok(title) = AeTitle::parse(&title) else { return frame.missing() };
    match state.archive().catalog().destination(&caller.scope, &title).await {
        Ok(Some(to)) => page(&frame, &to, None),
        Ok(None) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

fn page(frame: &Frame, to: &Destination, problem: Option<&str>) -> Response {
    let syntaxes: Vec<_> = to.syntaxes.iter().map(|one| one.uid()).collect();
    let page = DestinationPage {
        frame,
        w: Words::beside(frame.t),
        title: to.title.as_str(),
        to,
        tls_name: to.tls.as_ref().map_or("", |tls| tls.server_name.as_str()),
        has_authorities: to.tls.as_ref().is_some_and(|tls| !tls.authorities.is_empty()),
        syntaxes: syntaxes.join(" "),
        user: match &to.identity {
            Some(Identity::Username(name) | Identity::Password(name, _)) => name,
            Some(Identity::Jwt(_)) | None => "",
        },
        has_password: matches!(to.identity, Some(Identity::Password(..))),
        has_token: matches!(to.identity, Some(Identity::Jwt(_))),
        problem,
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    frame.answer(status, &page)
}

/// `POST /peers/destinations/{title}`: changes it.
pub(in crate::portal) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Path(title): Path<String>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let frame = frame.at("peers");
    let catalog = state.archive().catalog();
    let Ok(title) = AeTitle::parse(&title) else { return frame.missing() };
    let before = match catalog.destination(&caller.scope, &title).await {
        Ok(Some(before)) => before,
        Ok(None) => return frame.missing(),
        Err(error) => return frame.failed(error),
    };
    let mut to = before.clone();
    let way = Way::of_form(&pairs, before.identity.as_ref());
    let wrong = way.apply(&mut to, is_operator(&caller)).is_err();
    if wrong || (!is_operator(&caller) && leads_home(&to.address).await) {
        return page(&frame, &before, Some(Words::beside(frame.t).bad_destination));
    }
    match catalog.put_destination(&caller.scope, &to, now_ms()).await {
        Ok(_) => redirect("/peers#destinations"),
        Err(error) => frame.failed(error),
    }
}

/// `POST /peers/destinations`: adds one.
pub(in crate::portal) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let frame = frame.at("peers");
    let w = Words::beside(frame.t);
    let catalog = state.archive().catalog();
    let refuse = async |problem| {
        super::answer(&state, &caller, &frame, (StatusCode::BAD_REQUEST, ""), Some(problem)).await
    };
    let title = pairs.iter().find(|(key, _)| key == "title").map_or("", |(_, value)| value.trim());
    let Ok(title) = AeTitle::parse(title) else { return refuse(w.bad_destination).await };
    let mut to = Destination::new(title.clone(), String::new());
    let usual = to.associations;
    let mut way = Way::of_form(&pairs, None);
    way.associations = way.associations.filter(|number| *number > 0).or(Some(usual));
    let wrong = way.apply(&mut to, is_operator(&caller)).is_err() || to.address.is_empty();
    if wrong || (!is_operator(&caller) && leads_home(&to.address).await) {
        return refuse(w.bad_destination).await;
    }
    match catalog.destination(&caller.scope, &title).await {
        Ok(None) => {}
        Ok(Some(_)) => return refuse(w.destination_taken).await,
        Err(error) => return frame.failed(error),
    }
    match catalog.put_destination(&caller.scope, &to, now_ms()).await {
        Ok(_) => redirect("/peers#destinations"),
        Err(error) => frame.failed(error),
    }
}

/// `POST /peers/destinations/remove`: removes one, unless a rule needs it.
pub(in crate::portal) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let frame = frame.at("peers");
    let Ok(title) = AeTitle::parse(&which.title) else { return frame.missing() };
    match is_needed(&state, &caller, &title).await {
        Ok(false) => {}
        Ok(true) => {
            let problem = Some(Words::beside(frame.t).destination_needed);
            let bad = (StatusCode::BAD_REQUEST, "");
            return super::answer(&state, &caller, &frame, bad, problem).await;
        }
        Err(error) => return frame.failed(error),
    }
    match state.archive().catalog().remove_destination(&caller.scope, &title).await {
        Ok(true) => redirect("/peers#destinations"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// `POST /peers/destinations/echo`: asks one whether it is there.
pub(in crate::portal) async fn echo(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let frame = frame.at("peers");
    let Ok(title) = AeTitle::parse(&which.title) else { return frame.missing() };
    let to = match state.archive().catalog().destination(&caller.scope, &title).await {
        Ok(Some(to)) => to,
        Ok(None) => return frame.missing(),
        Err(error) => return frame.failed(error),
    };
    if !is_operator(&caller) && leads_home(&to.address).await {
        return HttpError::bad_request(OPERATORS_ONLY).into_response();
    }
    let Some(echo) = state.config().echo.clone() else { return frame.missing() };
    let w = Words::beside(frame.t);
    let tongue = frame.t.tongue();
    let told = match echo.ask(to).await {
        Ok(took) => Told {
            fine: true,
            words: format!("{title} {} ({} ms)", w.answers, took.as_millis()),
            detail: String::new(),
        },
        Err((trouble, detail)) => Told {
            fine: false,
            words: format!("{title}: {}. {}", trouble.what(tongue), trouble.advice(tongue)),
            detail,
        },
    };
    super::answer_with(&state, &caller, &frame, Some(told)).await
}
