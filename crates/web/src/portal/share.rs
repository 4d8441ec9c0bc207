//! `/studies/{study}/share`: who may see a study beside the tenant's own, and the links to it.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::access::Tenant;
use qianli_catalog::grants::{Grant, NewGrant, NewLink, Origin, Recipient, ShareLink, Which};
use qianli_model::deidentify;
use qianli_model::grant::{Priors, Subject};
use qianli_model::query::{Indexed, Level};
use qianli_model::{Query, Scope, StudyUid};
use serde::Deserialize;

use super::format;
use super::page::Frame;
use super::qr;
use super::studies::StudyCard;
use super::text::Texts;
use crate::WebState;
use crate::access::{login, now_ms, secret};
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin::SameSite;

/// Longest purpose and longest name of a link (characters).
pub(super) const LONGEST: usize = 200;

/// Days that a grant may hold, as the pages offer them; 0 for no end.
pub(super) const DAYS: [i64; 6] = [1, 7, 30, 90, 365, 0];

/// Days that a link may hold.
const LINK_DAYS: [i64; 4] = [1, 7, 30, 90];

/// How often a link may be opened; 0 for any number.
const VIEWS: [u32; 5] = [0, 1, 3, 10, 50];

const DAY: i64 = 24 * 3600 * 1000;

#[derive(Template)]
#[template(path = "share.html")]
struct SharePage<'a> {
    frame: &'a Frame,
    study: StudyCard,
    has_patient: bool,
    grants: Vec<GrantLine>,
    links: Vec<LinkLine>,
    tenants: Vec<(String, String)>,
    days: [i64; 6],
    link_days: [i64; 4],
    views: [u32; 5],
    made: Option<Made>,
    problem: Option<&'a str>,
}

/// A link that was just made.
pub(super) struct Made {
    pub id: i64,
    pub url: String,
    /// Empty when none is asked for.
    pub code: String,
    /// The link as a QR picture (SVG).
    pub picture: String,
    pub expires_ms: i64,
}

/// A grant as a line of a list.
pub(super) struct GrantLine {
    pub id: i64,
    pub what: String,
    /// Path of the study, where it is one.
    pub href: String,
    pub to: String,
    pub how: String,
    pub purpose: String,
    pub by: String,
    pub made: String,
    pub ends: String,
    pub live: bool,
    pub revoked: bool,
    pub emergency: bool,
    pub unreviewed: bool,
    pub reviewed_by: String,
}

impl GrantLine {
    pub(super) fn new(grant: Grant, frame: &Frame, now: i64) -> Self {
        let t = frame.t;
        let (what, href) = match &grant.subject {
            Subject::Study(uid) => (t.share_study.to_owned(), format!("/studies/{uid}")),
            Subject::Patient { id, .. } => {
                (format!("{} {}", t.share_patient, format::short(id)), String::new())
            }
            Subject::Rule(rule) => {
                let (modality, part) =
                    (rule.modality.to_uppercase(), rule.body_part.to_uppercase());
                let parts = [modality, part, rule.priority.clone()];
                let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                let parts = if parts.is_empty() { t.share_all.into() } else { parts.join(", ") };
                (format!("{}: {parts}", t.share_rule), String::new())
            }
        };
        let priors = match grant.priors {
            Priors::None => None,
            Priors::Related => Some(t.share_priors_related),
            Priors::All => Some(t.share_priors_all),
        };
        let how = [
            Some(if grant.download { t.share_may_download } else { t.share_may_look }),
            priors,
            grant.reshare.then_some(t.share_may_reshare),
            (grant.origin == Origin::Reshare).then_some(t.share_is_reshare),
            (grant.origin == Origin::Emergency).then_some(t.share_is_emergency),
            (!grant.project.is_empty()).then_some(t.share_is_pseudonymous),
            (!grant.project.is_empty()).then_some(grant.project.as_str()),
        ];
        let emergency = grant.origin == Origin::Emergency;
        Self {
            id: grant.id,
            what,
            href,
            live: grant.is_live(now),
            revoked: grant.revoked_ms > 0,
            emergency,
            unreviewed: emergency && grant.reviewed_ms == 0,
            reviewed_by: grant.reviewed_by,
            to: grant.to_name,
            how: how.into_iter().flatten().collect::<Vec<_>>().join(" · "),
            purpose: grant.purpose,
            by: grant.created_by,
            made: format::instant(grant.created_ms),
            ends: if grant.expires_ms == 0 {
                String::new()
            } else {
                format::instant(grant.expires_ms)
            },
        }
    }
}

/// A share link as a line of a list.
pub(super) struct LinkLine {
    pub id: i64,
    pub name: String,
    pub by: String,
    pub made: String,
    pub ends: String,
    pub used: String,
    pub views: i64,
    pub left: Option<u32>,
    pub download: bool,
    pub has_code: bool,
    pub live: bool,
    pub revoked: bool,
}

impl LinkLine {
    pub(super) fn new(link: ShareLink, now: i64) -> Self {
        Self {
            id: link.id,
            live: link.is_live(now),
            revoked: link.revoked_ms > 0,
            has_code: !link.code.is_empty(),
            name: link.name,
            by: link.created_by,
            made: format::instant(link.created_ms),
            ends: format::instant(link.expires_ms),
            used: if link.used_ms == 0 { String::new() } else { format::instant(link.used_ms) },
            views: link.views,
            left: link.views_left,
            download: link.download,
        }
    }
}

/// `GET /studies/{study}/share`.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(study): Path<String>,
) -> Response {
    let Ok(study) = StudyUid::parse(&study) else { return frame.missing() };
    answer(&state, &caller, &frame.at("studies"), &study, StatusCode::OK, (None, None)).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    study: &StudyUid,
    status: StatusCode,
    (made, problem): (Option<Made>, Option<&str>),
) -> Response {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let query = Query::all(Level::Study, 1).equals(Indexed::StudyInstanceUid, study.as_str());
    let uid = study.as_str();
    let asked = tokio::join!(
        catalog.find(scope, &query),
        catalog.grants(scope, Which::OfStudy(uid)),
        catalog.links(scope, Some(uid)),
        catalog.patient_of(scope, uid),
        catalog.tenants(),
    );
    let (found, grants, links, patient, tenants) = match asked {
        (Ok(a), Ok(b), Ok(c), Ok(d), Ok(e)) => (a, b, c, d, e),
        (Err(cause), ..) | (_, Err(cause), ..) | (_, _, Err(cause), ..) => {
            return frame.failed(cause);
        }
        (_, _, _, Err(cause), _) | (.., Err(cause)) => return frame.failed(cause),
    };
    let Some(row) = found.first() else { return frame.missing() };
    let now = now_ms();
    let page = SharePage {
        frame,
        study: StudyCard::new(&row.study, frame),
        has_patient: patient.is_some(),
        grants: grants.into_iter().map(|one| GrantLine::new(one, frame, now)).collect(),
        links: links.into_iter().map(|one| LinkLine::new(one, now)).collect(),
        tenants: everybody(tenants, scope, frame),
        days: DAYS,
        link_days: LINK_DAYS,
        views: VIEWS,
        made,
        problem,
    };
    frame.answer(status, &page)
}

/// Name and title.
fn named(Tenant { name, title, .. }: Tenant) -> (String, String) {
    let shown = if title.is_empty() { name.clone() } else { title };
    (name, shown)
}

/// Names and titles of the tenants beside the scope's own.
pub(super) fn others(tenants: Vec<Tenant>, scope: &Scope) -> Vec<(String, String)> {
    tenants.into_iter().filter(|tenant| tenant.id != scope.tenant()).map(named).collect()
}

/// The same, and at last the scope's own, where single persons may be meant.
pub(super) fn everybody(
    tenants: Vec<Tenant>,
    scope: &Scope,
    frame: &Frame,
) -> Vec<(String, String)> {
    let (own, mut all): (Vec<_>, Vec<_>) =
        tenants.into_iter().partition(|tenant| tenant.id == scope.tenant());
    all.extend(own);
    let shown = |tenant: Tenant| {
        let own = tenant.id == scope.tenant();
        let (name, title) = named(tenant);
        (name, if own { format!("{title} ({})", frame.t.share_own) } else { title })
    };
    all.into_iter().map(shown).collect()
}

/// What the form for a grant holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    pub(super) what: String,
    #[serde(default)]
    pub(super) priors: String,
    pub(super) tenant: String,
    #[serde(default)]
    pub(super) person: String,
    pub(super) days: i64,
    #[serde(default)]
    pub(super) download: bool,
    #[serde(default)]
    pub(super) reshare: bool,
    /// Name of the project under whose pseudonyms it is shared; empty for as it is.
    #[serde(default)]
    pub(super) project: String,
    #[serde(default)]
    pub(super) purpose: String,
    #[serde(default)]
    pub(super) modality: String,
    #[serde(default)]
    pub(super) body_part: String,
    /// Of the order; empty for any.
    #[serde(default)]
    pub(super) priority: String,
    #[serde(default)]
    pub(super) older: bool,
    /// What is passed on: whose study, and which.
    #[serde(default)]
    pub(super) owner: String,
    #[serde(default)]
    pub(super) study: String,
}

/// The key of a project that somebody named; `None` for no name, an error for one that is none.
async fn project(
    state: &WebState,
    scope: &Scope,
    name: &str,
) -> Result<Result<Option<i64>, ()>, HttpError> {
    let name = name.trim().to_ascii_uppercase();
    if name.is_empty() {
        return Ok(Ok(None));
    }
    let secret = secret::session();
    if deidentify::Project::new(&name, secret.as_bytes()).is_err() {
        return Ok(Err(()));
    }
    let project = state.archive().catalog().project(scope, &name, &secret, now_ms()).await?;
    Ok(Ok(Some(project.id)))
}

/// A line that somebody typed.
pub(super) fn line(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    fine.then(|| text.to_owned())
}

impl Wish {
    /// The grant of this subject, or what is wrong with it.
    pub(super) async fn grant(
        &self,
        state: &WebState,
        caller: &Caller,
        frame: &Frame,
        subject: Subject,
    ) -> Result<Result<NewGrant, &'static str>, HttpError> {
        let (catalog, t) = (state.archive().catalog(), frame.t);
        let Some(tenant) = catalog.tenant(self.tenant.trim()).await? else {
            return Ok(Err(t.share_no_tenant));
        };
        let to = match self.person.trim() {
            "" if tenant.id == caller.scope.tenant() => return Ok(Err(t.share_no_recipient)),
            "" => Recipient::Tenant(tenant.id),
            login => match catalog.person(&Scope::local(tenant.id), login).await? {
                Some(person) if !person.disabled => Recipient::Person(person.id),
                Some(_) | None => return Ok(Err(t.share_no_person)),
            },
        };
        let Some(purpose) = line(&self.purpose).filter(|text| !text.is_empty()) else {
            return Ok(Err(t.share_no_purpose));
        };
        if !DAYS.contains(&self.days) {
            return Ok(Err(t.share_no_days));
        }
        let priors = match self.priors.as_str() {
            "" => Some(Priors::None),
            word => Priors::parse(word),
        };
        let (Some(priors), "" | "study" | "patient") = (priors, self.what.as_str()) else {
            return Ok(Err(t.share_no_what));
        };
        let project = match project(state, &caller.scope, &self.project).await? {
            Ok(project) => project,
            Err(()) => return Ok(Err(t.share_no_project)),
        };
        let now = now_ms();
        Ok(Ok(NewGrant {
            subject,
            priors,
            to,
            // What leaves under pseudonyms leaves as files.
            download: self.download || project.is_some(),
            reshare: self.reshare && project.is_none() && matches!(to, Recipient::Tenant(_)),
            project,
            purpose,
            created_by: caller.scope.principal().name().to_owned(),
            at_ms: now,
            expires_ms: if self.days == 0 { 0 } else { now.saturating_add(self.days * DAY) },
        }))
    }
}

/// `POST /studies/{study}/share`: lets somebody else see the study, or all of its patient.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Path(study): Path<String>,
    Form(wish): Form<Wish>,
) -> Response {
    let Ok(study) = StudyUid::parse(&study) else { return frame.missing() };
    let frame = frame.at("studies");
    match make_grant(&state, &caller, &frame, &study, &wish).await {
        Ok(_) => super::login::redirect(&format!("/studies/{study}/share")),
        Err(Trouble::Missing) => frame.missing(),
        Err(Trouble::Wrong(problem)) => {
            let status = StatusCode::BAD_REQUEST;
            answer(&state, &caller, &frame, &study, status, (None, Some(problem))).await
        }
        Err(Trouble::Failed(error)) => error.into_response(),
    }
}

/// Shares a study, or all of its patient, and returns the grant's key.
pub(super) async fn make_grant(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    study: &StudyUid,
    wish: &Wish,
) -> Result<i64, Trouble> {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let subject = match wish.what.as_str() {
        "patient" => catalog.patient_of(scope, study.as_str()).await?.ok_or(Trouble::Missing)?,
        _ => Subject::Study(study.to_string()),
    };
    let new = wish.grant(state, caller, frame, subject).await?.map_err(Trouble::Wrong)?;
    let id = catalog.add_grant(scope, &new, Origin::Share).await?.ok_or(Trouble::Missing)?;
    state.door().forget();
    Ok(id)
}

/// What the form for a link holds.
#[derive(Deserialize)]
pub(super) struct LinkWish {
    pub(super) name: String,
    #[serde(default)]
    pub(super) what: String,
    #[serde(default)]
    pub(super) code: bool,
    #[serde(default)]
    pub(super) download: bool,
    pub(super) days: i64,
    #[serde(default)]
    pub(super) views: u32,
    #[serde(default)]
    pub(super) project: String,
}

/// Why nothing was shared.
pub(super) enum Trouble {
    /// There is no such study.
    Missing,
    /// What was asked for makes no sense, in words for whoever asked.
    Wrong(&'static str),
    /// The server failed.
    Failed(HttpError),
}

impl<E: Into<HttpError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes a link to a study, or to all of its patient.
pub(super) async fn make_link(
    state: &WebState,
    (scope, base): (&Scope, &BaseUrl),
    study: &StudyUid,
    wish: &LinkWish,
    texts: &Texts,
) -> Result<Made, Trouble> {
    let catalog = state.archive().catalog();
    let query = Query::all(Level::Study, 1).equals(Indexed::StudyInstanceUid, study.as_str());
    let (found, patient) =
        tokio::try_join!(catalog.find(scope, &query), catalog.patient_of(scope, study.as_str()))?;
    if found.is_empty() {
        return Err(Trouble::Missing);
    }
    let name = line(&wish.name).filter(|name| !name.is_empty());
    let Some(name) = name else { return Err(Trouble::Wrong(texts.share_no_name)) };
    if !LINK_DAYS.contains(&wish.days) || !VIEWS.contains(&wish.views) {
        return Err(Trouble::Wrong(texts.share_no_link_days));
    }
    if !["", "study", "patient"].contains(&wish.what.as_str()) {
        return Err(Trouble::Wrong(texts.share_no_what));
    }
    let Ok(project) = project(state, scope, &wish.project).await? else {
        return Err(Trouble::Wrong(texts.share_no_project));
    };
    let (token, code) = (secret::session(), if wish.code { secret::code() } else { String::new() });
    let hash = match code.clone() {
        code if code.is_empty() => String::new(),
        code => login::computed(state, move || secret::hash(&code))
            .await?
            .map_err(HttpError::internal)?,
    };
    let now = now_ms();
    let new = NewLink {
        secret: secret::digest(&token),
        code: hash,
        name: name.clone(),
        subject: match (wish.what.as_str(), patient) {
            ("patient", Some(patient)) => patient,
            _ => Subject::Study(study.to_string()),
        },
        priors: Priors::None,
        download: wish.download || project.is_some(),
        project,
        views: (wish.views > 0).then_some(wish.views),
        purpose: name,
        created_by: scope.principal().name().to_owned(),
        at_ms: now,
        expires_ms: now.saturating_add(wish.days * DAY),
    };
    let id = catalog.add_link(scope, &new).await?;
    let root = base.as_str().trim_end_matches("/dicom-web");
    let url = format!("{root}/l/{token}");
    let picture = qr::svg(&url).unwrap_or_default();
    Ok(Made { id, url, code, picture, expires_ms: new.expires_ms })
}

/// `POST /studies/{study}/links`: makes a link, and shows it once.
pub(super) async fn add_link(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    _: SameSite,
    frame: Frame,
    Path(study): Path<String>,
    Form(wish): Form<LinkWish>,
) -> Response {
    let Ok(study) = StudyUid::parse(&study) else { return frame.missing() };
    let frame = frame.at("studies");
    let of = (&caller.scope, &base);
    let (status, shown) = match make_link(&state, of, &study, &wish, frame.t).await {
        Ok(made) => (StatusCode::OK, (Some(made), None)),
        Err(Trouble::Missing) => return frame.missing(),
        Err(Trouble::Wrong(problem)) => (StatusCode::BAD_REQUEST, (None, Some(problem))),
        Err(Trouble::Failed(error)) => return error.into_response(),
    };
    answer(&state, &caller, &frame, &study, status, shown).await
}
