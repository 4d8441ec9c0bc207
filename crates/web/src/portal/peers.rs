//! `/peers`: the DICOM peers of the tenant, what went wrong with them lately and what mends it;
//! `/peers/of/{name}`: the same of one.

pub(super) mod destinations;
pub(super) mod destinations_api;
pub(super) mod edit;
pub(super) mod way;
pub(super) mod wish;
pub(super) mod words;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::CatalogError;
use qianli_catalog::DestinationRow;
use qianli_catalog::peers::{IncidentsOf, NewPeer, Noted, PeerAdded, PeerRow};
use qianli_model::charset::TextEncoding;
use qianli_model::incident::Kind;
use qianli_model::peer::{Coercions, Creator, Register, TitlePattern};
use qianli_model::{AeTitle, Permission, TenantId};
use serde::Deserialize;

use self::destinations::Told;
use self::wish::Wish;
use self::words::Words;
use super::format;
use super::login::redirect;
use super::page::Frame;
use super::text::Texts;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::origin::SameSite;

/// Longest label (characters).
pub(super) const LONGEST: usize = 64;

/// Refused peers that are shown.
const SHOWN: u32 = 50;

/// What a peer can be allowed, as far as there are services for it.
pub(super) const PERMISSIONS: [Permission; 3] =
    [Permission::Store, Permission::Read, Permission::Worklist];

#[derive(Template)]
#[template(path = "peers.html")]
struct PeersPage<'a> {
    frame: &'a Frame,
    w: &'static Words,
    titles: Vec<String>,
    peers: Vec<Line>,
    refused: Vec<Refused>,
    /// The peer whose page it is; empty for all.
    only: &'a str,
    /// Name, label, and whether a new row has it.
    permissions: Vec<(&'static str, &'static str, bool)>,
    problem: Option<&'a str>,
    destinations: Vec<destinations::Line>,
    /// What came of asking one.
    told: Option<Told>,
}

struct Line {
    id: i64,
    /// It is one AE title, no pattern.
    exact: bool,
    label: String,
    calling: String,
    called: String,
    network: String,
    certificate: String,
    may: String,
    disabled: bool,
    seen: String,
    seen_from: String,
    unseen: bool,
    /// What is perhaps not meant.
    concerns: Vec<&'static str>,
    /// How its objects are read, name and value.
    coercions: Vec<(&'static str, String)>,
}

struct Refused {
    calling: String,
    called: String,
    address: String,
    software: String,
    /// What happened, to what, and what mends it.
    what: &'static str,
    subject: String,
    proposed: Vec<String>,
    detail: String,
    status: String,
    advice: &'static str,
    fine: bool,
    times: i64,
    last: String,
    can_admit: bool,
    /// The called AE title of a row that would admit it.
    admit_called: String,
}

/// Which row is meant.
#[derive(Deserialize)]
pub(super) struct Which {
    peer: i64,
    #[serde(default)]
    disabled: bool,
}

/// `GET /peers`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    answer(&state, &caller, &frame.at("peers"), (StatusCode::OK, ""), None).await
}

/// `GET /peers/of/{name}`: by calling AE title or address.
pub(super) async fn show_one(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(name): Path<String>,
) -> Response {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    answer(&state, &caller, &frame.at("peers"), (StatusCode::OK, &name), None).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    how: (StatusCode, &str),
    problem: Option<&str>,
) -> Response {
    answer_all(state, caller, frame, how, problem, None).await
}

async fn answer_with(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    told: Option<Told>,
) -> Response {
    answer_all(state, caller, frame, (StatusCode::OK, ""), None, told).await
}

async fn answer_all(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    (status, only): (StatusCode, &str),
    problem: Option<&str>,
    told: Option<Told>,
) -> Response {
    let Found { register, titles, peers, refused, destinations } =
        match found(state, caller, only).await {
            Ok(found) => found,
            Err(error) => return frame.failed(error),
        };
    let t = frame.t;
    let w = Words::beside(t);
    let is_default = caller.scope.tenant() == TenantId::DEFAULT;
    let offered = |one: Permission| (one.name(), t.permission(one), one == Permission::Store);
    let page = PeersPage {
        frame,
        w,
        peers: peers.into_iter().map(|peer| line(t, &register, peer)).collect(),
        refused: refused.into_iter().map(|one| refused_line(t, one, is_default)).collect(),
        only,
        permissions: PERMISSIONS.into_iter().map(offered).collect(),
        titles,
        problem,
        destinations: destinations.into_iter().map(|row| destinations::line(w, row)).collect(),
        told,
    };
    frame.answer(status, &page)
}

struct Found {
    register: Register,
    titles: Vec<String>,
    peers: Vec<PeerRow>,
    refused: Vec<Noted>,
    destinations: Vec<DestinationRow>,
}

async fn found(state: &WebState, caller: &Caller, only: &str) -> Result<Found, CatalogError> {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let titles = catalog.tenant_titles(scope).await?;
    let mut peers = catalog.peers(scope).await?;
    let mut of = IncidentsOf::Everybody;
    if !only.is_empty() {
        of = IncidentsOf::Peer(only);
        let title = AeTitle::parse(only).ok();
        peers.retain(|row| {
            row.seen_from == only || title.as_ref().is_some_and(|one| row.rule.calling.matches(one))
        });
    }
    let register = catalog.peer_register(0).await?.unwrap_or_default();
    let refused = catalog.incidents(scope, of, SHOWN).await?;
    let mut destinations = catalog.destinations(scope).await?;
    destinations.retain(|row| only.is_empty() || row.destination.title.as_str() == only);
    Ok(Found { register, titles, peers, refused, destinations })
}

fn line(t: &Texts, register: &Register, peer: PeerRow) -> Line {
    let rule = peer.rule;
    let concerns = register.concerns(&rule);
    Line {
        concerns: concerns.into_iter().map(|one| one.words(t.tongue())).collect(),
        coercions: coercions(Words::beside(t), &rule.coercions),
        id: rule.id,
        exact: rule.calling.is_exact(),
        calling: rule.calling.to_string(),
        called: rule.called.map(|title| title.to_string()).unwrap_or_default(),
        network: rule.network.map(|network| network.to_string()).unwrap_or_default(),
        certificate: rule.certificate.map(|one| one.as_str().to_owned()).unwrap_or_default(),
        may: rule.permissions.iter().map(|one| t.permission(one)).collect::<Vec<_>>().join(", "),
        disabled: rule.disabled,
        unseen: peer.seen_ms == 0,
        seen: format::instant(peer.seen_ms),
        seen_from: peer.seen_from,
        label: rule.label,
    }
}

/// Coercions with their names, those that are there.
fn coercions(w: &'static Words, known: &Coercions) -> Vec<(&'static str, String)> {
    let name =
        |encoding: Option<TextEncoding>| encoding.map(TextEncoding::name).unwrap_or_default();
    let creators: Vec<&str> = known.without.iter().map(Creator::as_str).collect();
    let all = [
        (w.charset, name(known.charset)),
        (w.charset_instead, name(known.charset_instead)),
        (w.issuer, known.issuer.clone()),
        (w.without, creators.join(", ")),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn refused_line(t: &Texts, one: Noted, is_default: bool) -> Refused {
    let incident = one.incident;
    let cause = incident.cause;
    let tongue = t.tongue();
    Refused {
        can_admit: cause.is_mended_by_registering(),
        // A row for the others would not help.
        admit_called: if is_default { String::new() } else { incident.called.clone() },
        what: cause.what(tongue),
        advice: cause.advice(tongue),
        fine: cause.kind() == Kind::Admitted,
        subject: incident.subject_named(),
        proposed: incident.proposed_named(),
        software: incident.software(),
        status: incident.status_shown(),
        calling: incident.calling,
        called: incident.called,
        address: incident.address,
        detail: incident.detail,
        times: one.times,
        last: format::instant(one.last_ms),
    }
}

/// What a form says, if it can be a row.
fn peer(pairs: &[(String, String)]) -> Option<NewPeer> {
    let calling = pairs.iter().find(|(key, _)| key == "calling");
    let calling = TitlePattern::parse(calling.map_or("", |(_, value)| value.trim()))?;
    new_peer(calling, Wish::of_form(pairs)).ok()
}

/// A row of this title as somebody wishes it, or what is wrong with it.
pub(super) fn new_peer(calling: TitlePattern, wish: Wish) -> Result<NewPeer, &'static str> {
    let change = wish.change()?;
    Ok(NewPeer {
        calling,
        label: change.label.unwrap_or_default(),
        called: change.called.flatten(),
        network: change.network.flatten(),
        certificate: change.certificate.flatten(),
        permissions: change.permissions.ok_or("permissions are missing")?,
        coercions: change.coercions.unwrap_or_default(),
        at_ms: now_ms(),
    })
}

/// `POST /peers`: adds a row.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Response {
    let frame = frame.at("peers");
    let refuse = async |problem| {
        answer(&state, &caller, &frame, (StatusCode::BAD_REQUEST, ""), Some(problem)).await
    };
    let Some(new) = peer(&pairs) else { return refuse(frame.t.peers_bad).await };
    match state.archive().catalog().add_peer(&caller.scope, &new).await {
        Ok(PeerAdded::Made(_)) => redirect("/peers"),
        Ok(PeerAdded::Taken(_)) => refuse(frame.t.peers_taken).await,
        Ok(PeerAdded::NotYourTitle) => refuse(frame.t.peers_not_yours).await,
        Err(error) => frame.failed(error),
    }
}

/// `POST /peers/disabled`: switches a row off or on.
pub(super) async fn disable(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let catalog = state.archive().catalog();
    match catalog.set_peer_disabled(&caller.scope, which.peer, which.disabled).await {
        Ok(true) => redirect("/peers"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// `POST /peers/remove`: removes a row.
pub(super) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    match state.archive().catalog().remove_peer(&caller.scope, which.peer).await {
        Ok(true) => redirect("/peers"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}
