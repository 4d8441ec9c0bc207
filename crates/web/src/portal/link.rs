//! Share links: the page that asks for a code, and the one that shows the images on a phone.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::AuditEntry;
use qianli_catalog::grants::ShareLink;
use qianli_model::audit::{Action, Outcome};
use qianli_model::query::{Indexed, Level};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Query, Scope, StudyUid};
use serde::Deserialize;

use super::documents::{self, Link as Document};
use super::format::{self, Attributes};
use super::login::redirect;
use super::page::{Frame, encode};
use super::pseudonyms;
use super::studies::StudyCard;
use crate::access::{VISIT, login, now_ms, secret};
use crate::caller::Caller;
use crate::origin::SameSite;
use crate::request::Peer;
use crate::{WebState, headers, rate};

/// How long an opened link stays open in a browser (ms).
const VISIT_TIME: i64 = 8 * 3600 * 1000;

/// Most studies and series of a page.
const STUDIES: u32 = 100;
const SERIES: u32 = 200;

#[derive(Template)]
#[template(path = "link_code.html")]
struct CodePage<'a> {
    frame: &'a Frame,
    /// Who shares; empty when the link opens nothing.
    from: &'a str,
    asks: bool,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "link.html")]
struct ImagesPage<'a> {
    frame: &'a Frame,
    from: &'a str,
    until: String,
    studies: Vec<Study>,
    pseudonymous: Vec<pseudonyms::Line>,
}

struct Study {
    card: StudyCard,
    series: Vec<Series>,
    /// Empty when it may only be looked at.
    archive: String,
}

struct Series {
    /// Path of the series in DICOMweb.
    web: String,
    thumbnail: String,
    modality: String,
    title: String,
    count: i64,
    documents: Vec<Document>,
}

fn title(link: &ShareLink) -> &str {
    let tenant = &link.tenant;
    if tenant.title.is_empty() { &tenant.name } else { &tenant.title }
}

/// The holder of a link, who may see nothing yet.
fn holder(link: &ShareLink, peer: &str) -> Scope {
    let principal = Principal::Link(link.id, link.name.clone());
    Scope::new(link.tenant.id, principal, Permissions::NONE).at(peer)
}

/// Finds the link of a secret, if it can be opened now.
async fn find(
    state: &WebState,
    peer: &str,
    token: &str,
    frame: &Frame,
) -> Result<ShareLink, Response> {
    if let Err(wait) = state.guesses().check(peer) {
        return Err(rate::too_many(wait, "too many links or codes were wrong; try again later"));
    }
    let catalog = state.archive().catalog();
    let found = match token.len() {
        0..=256 => catalog.link(&secret::digest(token)).await,
        _ => Ok(None),
    };
    match found {
        Ok(Some(link)) if link.is_live(now_ms()) && link.views_left != Some(0) => Ok(link),
        Ok(known) => {
            // What has ended was once right, as is what links that have ended lead to: only what
            // never was is a guess.
            if known.is_none() && token != "ended" {
                state.guesses().failed(peer);
            }
            let page = CodePage { frame, from: "", asks: false, problem: None };
            Err(frame.answer(StatusCode::NOT_FOUND, &page))
        }
        Err(error) => Err(frame.failed(error)),
    }
}

/// `GET /l/{token}`: says whose link it is and asks for the code. Opening is left to a button, so
/// that programs that look at links in messages use up no views.
pub(super) async fn ask(
    State(state): State<WebState>,
    Peer(peer): Peer,
    frame: Frame,
    Path(token): Path<String>,
) -> Response {
    match find(&state, &peer, &token, &frame).await {
        Ok(link) => {
            let asks = !link.code.is_empty();
            let page = CodePage { frame: &frame, from: title(&link), asks, problem: None };
            frame.answer(StatusCode::OK, &page)
        }
        Err(response) => response,
    }
}

/// What the form holds.
#[derive(Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    code: String,
}

/// `POST /l/{token}`: opens the link in this browser.
pub(super) async fn open(
    State(state): State<WebState>,
    Peer(peer): Peer,
    _: SameSite,
    frame: Frame,
    Path(token): Path<String>,
    Form(entered): Form<Entered>,
) -> Response {
    let link = match find(&state, &peer, &token, &frame).await {
        Ok(link) => link,
        Err(response) => return response,
    };
    let (catalog, now) = (state.archive().catalog(), now_ms());
    let scope = holder(&link, &peer);
    if !link.code.is_empty() {
        let given: String = entered.code.chars().filter(char::is_ascii_digit).take(12).collect();
        let may_try = match catalog.attempt_link(link.id, now).await {
            Ok(may_try) => may_try,
            Err(error) => return frame.failed(error),
        };
        let hash = link.code.clone();
        let right = may_try
            && match login::computed(&state, move || secret::verify(&given, &hash)).await {
                Ok(right) => right,
                Err(error) => return error.into_response(),
            };
        if !right {
            state.guesses().failed(&peer);
            let entry = AuditEntry::new(&scope, Action::LoginFailed, Outcome::Refused, now)
                .with(&serde_json::json!({"link": link.id}));
            if let Err(error) = catalog.note_audit(entry).await {
                return frame.failed(error);
            }
            let (status, problem) = match may_try {
                true => (StatusCode::UNAUTHORIZED, frame.t.link_wrong),
                false => (StatusCode::TOO_MANY_REQUESTS, frame.t.link_rests),
            };
            let from = title(&link);
            let page = CodePage { frame: &frame, from, asks: true, problem: Some(problem) };
            return frame.answer(status, &page);
        }
    }
    let visit = secret::session();
    let until = now.saturating_add(VISIT_TIME).min(link.expires_ms);
    match catalog.open_link(&scope, link.id, &secret::digest(&visit), now, until).await {
        Ok(true) => {}
        // Somebody else took the last view in this moment.
        Ok(false) => {
            let page = CodePage { frame: &frame, from: "", asks: false, problem: None };
            return frame.answer(StatusCode::NOT_FOUND, &page);
        }
        Err(error) => return frame.failed(error),
    }
    let path = format!("/links/{}", link.id);
    let age = until.saturating_sub(now) / 1000;
    let https = state.config().logins.as_ref().is_some_and(|logins| logins.https);
    let secure = if https { "; Secure" } else { "" };
    let cookie =
        format!("{VISIT}={visit}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    let mut response = redirect(&path);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// `GET /links/{link}`: what the link opens.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(link): Path<String>,
) -> Response {
    let (archive, scope) = (state.archive(), &caller.scope);
    let catalog = archive.catalog();
    let query = Query::all(Level::Study, STUDIES);
    let keep = scope.clone().to_download();
    let asked = tokio::join!(
        archive.find(scope, &query),
        archive.find(&keep, &query),
        catalog.open_link_of(scope),
    );
    let (found, mine, known) = match asked {
        (Ok(found), Ok(mine), Ok(known)) => (found, mine, known),
        (Err(error), ..) | (_, Err(error), _) => return frame.failed(error),
        (.., Err(error)) => return frame.failed(error),
    };
    let Some(known) = known else { return frame.missing() };
    let root = format!("/links/{link}");
    let mut studies = Vec::new();
    for row in &found {
        let card = StudyCard::new(&row.study, &frame);
        let may_keep = mine.iter().any(|one| one.study.uid == row.study.uid);
        let series = match series(&state, scope, &row.study.uid, (&root, &frame)).await {
            Ok(series) => series,
            Err(error) => return frame.failed(error),
        };
        studies.push(Study {
            archive: match may_keep {
                true => format!(
                    "{root}/dicom-web/studies/{}?accept=application/zip%3Btransfer-syntax%3D*",
                    card.uid
                ),
                false => String::new(),
            },
            card,
            series,
        });
    }
    let lines = pseudonyms::lines(&state, scope, &format!("{root}/pseudonyms"), &frame).await;
    let pseudonymous = match lines {
        Ok(lines) => lines,
        Err(error) => return error.into_response(),
    };
    let until = format::instant(known.expires_ms);
    let from = title(&known);
    let page = ImagesPage { frame: &frame, from, until, studies, pseudonymous };
    let mut response = frame.answer(StatusCode::OK, &page);
    let policy = HeaderValue::from_static(headers::SHARED);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

async fn series(
    state: &WebState,
    scope: &Scope,
    study: &str,
    (root, frame): (&str, &Frame),
) -> Result<Vec<Series>, qianli_archive::ArchiveError> {
    let Ok(uid) = StudyUid::parse(study) else { return Ok(Vec::new()) };
    let query = Query::all(Level::Series, SERIES).equals(Indexed::StudyInstanceUid, study);
    let archive = state.archive();
    let readable = documents::query(&uid);
    let (found, readable) =
        tokio::join!(archive.find(scope, &query), archive.find(scope, &readable));
    let mut readable = documents::by_series(&uid, &readable?, frame.language);
    let mut all = Vec::new();
    for row in found?.iter().filter_map(|row| row.series.as_ref()) {
        let attributes = Attributes::parse(&row.json);
        let modality = attributes.text("00080060");
        let of_series = readable.remove(&row.uid).unwrap_or_default();
        let web = format!(
            "{root}/dicom-web/studies/{study}/series/{}",
            encode(&row.uid).replace("%2E", ".")
        );
        let pictures = format::has_picture(&modality) && of_series.count < row.instance_count;
        let description = attributes.text("0008103E");
        all.push(Series {
            thumbnail: match pictures {
                true => format!("{web}/thumbnail?viewport=256,256"),
                false => String::new(),
            },
            title: if description.is_empty() { modality.clone() } else { description },
            count: row.instance_count,
            documents: of_series
                .links
                .into_iter()
                .map(|mut link| {
                    link.href.insert_str(0, root);
                    link
                })
                .collect(),
            modality,
            web,
        });
    }
    Ok(all)
}
