//! `/shared`: what other tenants share with the reader, passing it on, and breaking the glass.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::AuditEntry;
use qianli_catalog::grants::{NewGrant, Origin, Recipient, Sharer};
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::{Priors, Subject, Viewer};
use qianli_model::query::Level;
use qianli_model::{Permission, Permissions, Query, Scope, StudyUid};
use serde::Deserialize;

use super::login::redirect;
use super::page::{Frame, encode};
use super::pseudonyms;
use super::share::{GrantLine, Wish, line, others};
use super::studies::StudyCard;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;
use crate::{WebState, rate};

/// Studies that are shown of one tenant.
const MOST: u32 = 50;

/// How long broken glass stays open (ms).
const EMERGENCY: i64 = 4 * 3600 * 1000;

/// Shortest reason of an emergency (characters).
const REASON: usize = 8;

#[derive(Template)]
#[template(path = "shared.html")]
struct SharedPage<'a> {
    frame: &'a Frame,
    sharers: Vec<Shelf>,
    tenants: Vec<(String, String)>,
    /// What was passed on from here, where the reader may take it back.
    passed_on: Vec<GrantLine>,
    problem: Option<&'a str>,
}

/// What one tenant shares.
struct Shelf {
    name: String,
    title: String,
    studies: Vec<SharedStudy>,
    more: bool,
    /// Whether something of it may be passed on.
    reshare: bool,
    dicomweb: String,
    pseudonymous: Vec<pseudonyms::Line>,
}

struct SharedStudy {
    card: StudyCard,
    viewer: String,
    thumbnail: String,
    /// Empty when it may only be looked at.
    archive: String,
}

/// For whom grants are looked up when this caller works at home.
pub(super) fn viewer(caller: &Caller) -> Viewer {
    // A patient is a viewer at home, too.
    if let Some(viewer) = caller.scope.viewer() {
        return *viewer;
    }
    let reads = caller.scope.allows(Permission::Read).then(|| caller.scope.tenant());
    Viewer {
        tenant: reads,
        person: caller.person.as_ref().map(|person| person.id),
        ..Viewer::default()
    }
}

/// The caller inside the tenant that shares.
pub(super) fn inside(caller: &Caller, viewer: Viewer, sharer: &Sharer) -> Scope {
    let (scope, viewer) = (&caller.scope, Viewer { by_rule: sharer.by_rule, ..viewer });
    // What is shared with a person asks for no permission at home.
    let may = Permissions::of(&[Permission::Read]);
    Scope::new(sharer.tenant.id, scope.principal().clone(), may).at(scope.peer()).through(viewer)
}

/// `GET /shared`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    if caller.person.as_ref().is_some_and(|person| person.must_change || person.must_enrol) {
        return redirect("/account");
    }
    answer(&state, &caller, &frame.at("shared"), StatusCode::OK, None).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    let catalog = state.archive().catalog();
    let viewer = viewer(caller);
    let (sharers, tenants) = tokio::join!(catalog.sharers(&viewer, now_ms()), catalog.tenants());
    let (sharers, tenants) = match (sharers, tenants) {
        (Ok(sharers), Ok(tenants)) => (sharers, tenants),
        (Err(error), _) | (_, Err(error)) => return frame.failed(error),
    };
    let mut shelves = Vec::new();
    for sharer in sharers {
        match shelf(state, &inside(caller, viewer, &sharer), &sharer, frame).await {
            Ok(shelf) => shelves.push(shelf),
            Err(error) => return frame.failed(error.message()),
        }
    }
    let now = now_ms();
    let passed_on = match caller.scope.allows(Permission::Share) {
        true => match catalog.passed_on(&caller.scope, now).await {
            Ok(grants) => grants,
            Err(error) => return frame.failed(error),
        },
        false => Vec::new(),
    };
    let passed_on = passed_on.into_iter().map(|one| GrantLine::new(one, frame, now)).collect();
    let tenants = others(tenants, &caller.scope);
    frame.answer(status, &SharedPage { frame, sharers: shelves, tenants, passed_on, problem })
}

async fn shelf(
    state: &WebState,
    scope: &Scope,
    sharer: &Sharer,
    frame: &Frame,
) -> Result<Shelf, HttpError> {
    let archive = state.archive();
    let query = Query::all(Level::Study, MOST + 1);
    let found = archive.find(scope, &query).await?;
    // These searches name patients of somebody else: the owner's trail says so.
    let entry = AuditEntry::new(scope, Action::Search, Outcome::Success, now_ms());
    archive.catalog().note_audit(entry).await?;
    let mine = archive.find(&scope.clone().to_download(), &query).await?;
    let name = &sharer.tenant.name;
    let root = format!("/tenants/{name}");
    let studies = found.iter().take(MOST as usize).map(|row| {
        let card = StudyCard::new(&row.study, frame);
        let may_keep = mine.iter().any(|one| one.study.uid == row.study.uid);
        let web = format!("{root}/dicom-web/studies/{}", card.uid);
        SharedStudy {
            viewer: format!("{}&tenant={}", card.viewer, encode(name)),
            thumbnail: match card.thumbnail.is_empty() {
                true => String::new(),
                false => format!("{root}{}", card.thumbnail),
            },
            archive: match may_keep {
                true => format!("{web}?accept=application/zip%3Btransfer-syntax%3D*"),
                false => String::new(),
            },
            card,
        }
    });
    let pseudonymous = pseudonyms::lines(state, scope, &format!("/shared/{name}"), frame).await?;
    Ok(Shelf {
        pseudonymous,
        studies: studies.collect(),
        more: found.len() > MOST as usize,
        reshare: sharer.reshare,
        dicomweb: format!("{root}/dicom-web"),
        title: match sharer.tenant.title.as_str() {
            "" => name.clone(),
            title => title.to_owned(),
        },
        name: name.clone(),
    })
}

/// `POST /shared/pass-on`: passes on a study that somebody else shares.
pub(super) async fn pass_on(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(wish): Form<Wish>,
) -> Response {
    let frame = frame.at("shared");
    let refuse = async |problem| {
        answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, Some(problem)).await
    };
    let Ok(study) = StudyUid::parse(&wish.study) else { return frame.missing() };
    let catalog = state.archive().catalog();
    let sharers = match catalog.sharers(&viewer(&caller), now_ms()).await {
        Ok(sharers) => sharers,
        Err(error) => return frame.failed(error),
    };
    let Some(sharer) = sharers.into_iter().find(|one| one.tenant.name == wish.owner) else {
        return frame.missing();
    };
    // Those who have it already are passed nothing on, as persons neither: it would outlive what they
    // are to their hospital. Pseudonyms are the owner's to give.
    let own = match catalog.tenant(wish.tenant.trim()).await {
        Ok(tenant) => {
            tenant.is_none_or(|to| to.id == caller.scope.tenant() || to.id == sharer.tenant.id)
        }
        Err(error) => return frame.failed(error),
    };
    if own || !wish.project.trim().is_empty() {
        return refuse(frame.t.shared_not_to_pass_on).await;
    }
    let new = match wish.grant(&state, &caller, &frame, Subject::Study(study.to_string())).await {
        Ok(Ok(new)) => new,
        Ok(Err(problem)) => return refuse(problem).await,
        Err(error) => return error.into_response(),
    };
    let scope = inside(&caller, viewer(&caller), &sharer);
    match catalog.reshare(&scope, study.as_str(), &new).await {
        Ok(Some(_)) => {
            state.door().forget();
            redirect("/shared")
        }
        Ok(None) => refuse(frame.t.shared_not_to_pass_on).await,
        Err(error) => frame.failed(error),
    }
}

/// Which grant is meant.
#[derive(Deserialize)]
pub(super) struct Key {
    id: i64,
}

/// `POST /shared/take-back`: ends what was passed on from here.
pub(super) async fn take_back(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(key): Form<Key>,
) -> Response {
    match state.archive().catalog().take_back(&caller.scope, key.id, now_ms()).await {
        Ok(true) => {
            state.door().forget();
            redirect("/shared")
        }
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

#[derive(Template)]
#[template(path = "emergency.html")]
struct EmergencyPage<'a> {
    frame: &'a Frame,
    tenants: Vec<(String, String)>,
    problem: Option<&'a str>,
}

/// `GET /emergency`.
pub(super) async fn emergency(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
) -> Response {
    if caller.scope.viewer().is_some() {
        return frame.missing();
    }
    ask(&state, &caller, &frame.at("shared"), StatusCode::OK, None).await
}

async fn ask(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    match state.archive().catalog().tenants().await {
        Ok(tenants) => {
            let tenants = others(tenants, &caller.scope);
            frame.answer(status, &EmergencyPage { frame, tenants, problem })
        }
        Err(error) => frame.failed(error),
    }
}

/// Whose images are needed at once, and why.
#[derive(Deserialize)]
pub(super) struct Need {
    tenant: String,
    patient: String,
    birth_date: String,
    reason: String,
}

/// `POST /emergency`: opens a patient's studies for a few hours, without leave and not unseen.
pub(super) async fn break_glass(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(need): Form<Need>,
) -> Response {
    let frame = frame.at("shared");
    let refuse = async |status, problem| ask(&state, &caller, &frame, status, Some(problem)).await;
    if caller.scope.viewer().is_some() {
        return frame.missing();
    }
    // A program has no emergencies.
    let Some(person) = &caller.person else {
        return refuse(StatusCode::FORBIDDEN, frame.t.emergency_not_found).await;
    };
    let reason = line(&need.reason).filter(|reason| reason.chars().count() >= REASON);
    let Some(reason) = reason else {
        return refuse(StatusCode::BAD_REQUEST, frame.t.emergency_no_reason).await;
    };
    let catalog = state.archive().catalog();
    let (named, patient) = (need.tenant.trim(), need.patient.trim());
    let allowed = async {
        match catalog.tenant(named).await? {
            Some(tenant) if tenant.id != caller.scope.tenant() => {
                catalog.allows_emergency(&Scope::local(tenant.id)).await
            }
            Some(_) | None => Ok(false),
        }
    };
    match allowed.await {
        Ok(true) => {}
        Ok(false) => return refuse(StatusCode::NOT_FOUND, frame.t.emergency_not_found).await,
        Err(error) => return frame.failed(error),
    }
    // Whoever goes through birth dates is stopped.
    if let Err(wait) = state.guesses().emergency(person.id, (named, patient)) {
        return rate::too_many(wait, "too many patients were asked for in emergencies; try later");
    }
    let birth: String = need.birth_date.chars().filter(char::is_ascii_digit).collect();
    let now = now_ms();
    let opened = async {
        let scope = &caller.scope;
        let tenant = catalog.tenant(named).await?.filter(|tenant| tenant.id != scope.tenant());
        let Some(tenant) = tenant else { return Ok(None) };
        let there =
            Scope::new(tenant.id, scope.principal().clone(), scope.permissions()).at(scope.peer());
        let Some(subject) = catalog.patient_in_emergency(&there, patient, &birth).await? else {
            let entry = AuditEntry::new(&there, Action::BreakGlass, Outcome::NotFound, now);
            catalog.note_audit(entry).await?;
            return Ok(None);
        };
        let new = NewGrant {
            subject,
            priors: Priors::None,
            to: Recipient::Person(person.id),
            download: false,
            reshare: false,
            project: None,
            purpose: reason,
            created_by: scope.principal().name().to_owned(),
            at_ms: now,
            expires_ms: now.saturating_add(EMERGENCY),
        };
        catalog.add_grant(&there, &new, Origin::Emergency).await
    };
    match opened.await {
        Ok(Some(_)) => {
            state.door().forget();
            tracing::warn!(peer = caller.peer, "the glass was broken");
            redirect("/shared")
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, frame.t.emergency_not_found).await,
        Err(error) => frame.failed(error),
    }
}
