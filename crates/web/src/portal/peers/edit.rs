//! `/peers/row/{id}`: one row of the register, to be changed.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::peers::PeerChanged;
use qianli_model::charset::TextEncoding;
use qianli_model::peer::{Creator, PeerRule};

use super::PERMISSIONS;
use super::wish::Wish;
use super::words::Words;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::origin::SameSite;
use crate::portal::login::redirect;
use crate::portal::page::Frame;

#[derive(Template)]
#[template(path = "peer.html")]
struct RowPage<'a> {
    frame: &'a Frame,
    w: &'static Words,
    id: i64,
    calling: &'a str,
    label: &'a str,
    called: String,
    network: String,
    certificate: &'a str,
    disabled: bool,
    /// Name, label, and whether the row has it.
    permissions: Vec<(&'static str, &'static str, bool)>,
    concerns: Vec<&'static str>,
    charset: String,
    charset_instead: String,
    issuer: &'a str,
    without: String,
    problem: Option<&'a str>,
}

/// `GET /peers/row/{id}`.
pub(in crate::portal) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(id): Path<i64>,
) -> Response {
    answer(&state, &caller, &frame.at("peers"), id, None).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    id: i64,
    problem: Option<&str>,
) -> Response {
    let catalog = state.archive().catalog();
    let rows = match catalog.peers(&caller.scope).await {
        Ok(rows) => rows,
        Err(error) => return frame.failed(error),
    };
    let Some(rule) = rows.into_iter().map(|row| row.rule).find(|rule| rule.id == id) else {
        return frame.missing();
    };
    let register = match catalog.peer_register(0).await {
        Ok(register) => register.unwrap_or_default(),
        Err(error) => return frame.failed(error),
    };
    let t = frame.t;
    let PeerRule { calling, label, called, network, certificate, .. } = &rule;
    let concerns = register.concerns(&rule);
    let known = &rule.coercions;
    let creators: Vec<&str> = known.without.iter().map(Creator::as_str).collect();
    let page = RowPage {
        frame,
        w: Words::beside(t),
        id,
        calling: calling.as_str(),
        label,
        called: called.as_ref().map(ToString::to_string).unwrap_or_default(),
        network: network.as_ref().map(ToString::to_string).unwrap_or_default(),
        certificate: certificate.as_ref().map_or("", |one| one.as_str()),
        disabled: rule.disabled,
        permissions: PERMISSIONS
            .into_iter()
            .map(|one| (one.name(), t.permission(one), rule.permissions.allow(one)))
            .collect(),
        concerns: concerns.into_iter().map(|one| one.words(t.tongue())).collect(),
        charset: known.charset.map(TextEncoding::name).unwrap_or_default(),
        charset_instead: known.charset_instead.map(TextEncoding::name).unwrap_or_default(),
        issuer: &known.issuer,
        without: creators.join(", "),
        problem,
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    frame.answer(status, &page)
}

/// `POST /peers/row/{id}`: changes it.
pub(in crate::portal) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Path(id): Path<i64>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let frame = frame.at("peers");
    let w = Words::beside(frame.t);
    let refuse = async |problem: &str| answer(&state, &caller, &frame, id, Some(problem)).await;
    let Ok(change) = Wish::of_form(&pairs).change() else { return refuse(w.bad_row).await };
    let catalog = state.archive().catalog();
    match catalog.change_peer(&caller.scope, id, &change, now_ms()).await {
        Ok(PeerChanged::Now(_)) => redirect("/peers"),
        Ok(PeerChanged::Missing) => frame.missing(),
        Ok(PeerChanged::Taken(_)) => refuse(w.taken).await,
        Ok(PeerChanged::NotYourTitle) => refuse(frame.t.peers_not_yours).await,
        Err(error) => frame.failed(error),
    }
}
