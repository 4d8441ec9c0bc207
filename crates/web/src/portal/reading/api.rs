//! `/api/reading`: tasks, their changes and rules for programs. The pages do the same.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::reading::{Changed, Listed, NewRule, Request, RuleRow, Step, Task};
use qianli_catalog::{Catalog, CatalogError};
use qianli_model::grant::Priors;
use qianli_model::peer::TitlePattern;
use qianli_model::reading::{Ask, Discrepancy, LONGEST, Priority, Refusal};
use qianli_model::routing::Which;
use qianli_model::{Permission, Scope, StudyUid, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::format::{Attributes, instant};
use super::super::share_api::{answer, read};
use super::{Wanted, note};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Longest time until a task is due (minutes): a year.
const MOST_MINUTES: i64 = 366 * 24 * 60;

/// Longest time for which a reader elsewhere sees a study (days).
const MOST_DAYS: i64 = 3660;

fn shown(listed: &Listed) -> Value {
    let task = &listed.task;
    let time = |ms: i64| if ms > 0 { instant(ms).into() } else { Value::Null };
    let study = listed.study.as_ref().map(|study| {
        let attributes = Attributes::parse(&study.json);
        json!({
            "patientId": attributes.text("00100020"), "description": attributes.text("00081030"),
            "date": attributes.text("00080020"), "modalities": study.modalities,
            "bodyParts": study.body_parts, "series": study.series, "instances": study.instances,
        })
    });
    json!({
        "id": task.id, "study": task.study, "hospital": listed.owner.name, "reads": listed.reads.name,
        "state": task.held.state.as_str(), "priority": task.held.priority.as_str(),
        "subspecialty": task.subspecialty, "question": task.question,
        "reader": task.held.reader.as_ref().map(|reader| reader.name.as_str()),
        "discrepancy": task.held.discrepancy.as_str(), "due": instant(task.held.due_ms),
        "made": instant(task.made_ms), "madeBy": task.made_by, "complete": time(task.complete_ms),
        "arriving": task.complete_ms == 0, "late": task.held.late, "claimed": time(task.claimed_ms),
        "ended": time(task.final_ms), "changed": instant(task.updated_ms),
        "workitem": task.workitem, "secondOf": (task.parent > 0).then_some(task.parent),
        "second": listed.second.map(|(id, _)| id), "about": study,
    })
}

fn step(step: &Step) -> Value {
    json!({"did": step.did, "by": step.by, "to": step.detail, "note": step.note, "at": instant(step.at_ms)})
}

/// `GET /api/reading`.
pub(in crate::portal) async fn list(
    State(web): State<WebState>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Response, HttpError> {
    let (catalog, now) = (web.archive().catalog(), now_ms());
    let filter = wanted.filter(&caller.scope, now);
    let filter = filter.ok_or_else(|| HttpError::bad_request("state, priority or due is none"))?;
    let listed = catalog.reading_list(&caller.scope, &filter, now).await?;
    note(catalog, &caller.scope, &listed).await?;
    Ok(answer(StatusCode::OK, &listed.iter().map(shown).collect()))
}

/// `GET /api/reading/{id}`: a task with its history.
pub(in crate::portal) async fn show(
    State(web): State<WebState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Response, HttpError> {
    one(web.archive().catalog(), &caller.scope, id, StatusCode::OK).await
}

async fn one(
    catalog: &Catalog,
    scope: &Scope,
    id: i64,
    status: StatusCode,
) -> Result<Response, HttpError> {
    let (listed, history) = tokio::join!(
        catalog.reading_listed(scope, id, now_ms()),
        catalog.reading_history(scope, id)
    );
    let listed = listed?.ok_or_else(missing)?;
    note(catalog, scope, std::slice::from_ref(&listed)).await?;
    let mut value = shown(&listed);
    if let Some(object) = value.as_object_mut() {
        object.insert("history".to_owned(), history?.iter().map(step).collect());
    }
    Ok(answer(status, &value))
}

fn missing() -> HttpError {
    HttpError::not_found("there is no such reading task")
}

/// What a program, or a form, wants done with a task.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::portal) struct Wish {
    /// The word of an [`Ask`].
    #[serde(rename = "do")]
    pub(super) what: String,
    /// A login, a priority or a discrepancy.
    pub(super) to: String,
    /// Minutes until it is due, for a priority.
    pub(super) minutes: Option<i64>,
    /// Why.
    pub(super) note: String,
}

/// Why a wish is not granted.
pub(super) enum Trouble {
    /// It makes no sense.
    Unreadable,
    /// The task does not allow it.
    Refused(Refusal),
    /// There is no such task.
    Missing,
    /// The server failed.
    Failed(CatalogError),
}

impl From<CatalogError> for Trouble {
    fn from(error: CatalogError) -> Self {
        Self::Failed(error)
    }
}

impl From<Trouble> for HttpError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreadable => Self::bad_request(
                "do is one of claim, release, assign, prioritise, second, discrepancy, cancel, reopen, finish, see-late; to is a login, a priority or a discrepancy",
            ),
            Trouble::Refused(refusal) => Self::new(status_of(&refusal), refusal.to_string()),
            Trouble::Missing => missing(),
            Trouble::Failed(error) => error.into(),
        }
    }
}

/// HTTP status of a refusal.
pub(super) fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotAllowed => StatusCode::FORBIDDEN,
        Refusal::NoSuchReader => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    }
}

/// Does what is wished.
pub(super) async fn grant(
    web: &WebState,
    scope: &Scope,
    id: i64,
    wish: &Wish,
) -> Result<Task, Trouble> {
    let catalog = web.archive().catalog();
    if wish.note.chars().count() > LONGEST {
        return Err(Trouble::Unreadable);
    }
    let ask = match wish.what.as_str() {
        "claim" => Ask::Claim,
        "release" => Ask::Release,
        "finish" => Ask::Finish,
        "second" => Ask::Second,
        "cancel" => Ask::Cancel,
        "reopen" => Ask::Reopen,
        "see-late" => Ask::SeeLate,
        "prioritise" => {
            let priority = Priority::parse(&wish.to).ok_or(Trouble::Unreadable)?;
            if wish.minutes.is_some_and(|minutes| !(1..=MOST_MINUTES).contains(&minutes)) {
                return Err(Trouble::Unreadable);
            }
            Ask::Prioritise(priority, wish.minutes)
        }
        "discrepancy" => Ask::Discrepancy(Discrepancy::parse(&wish.to).ok_or(Trouble::Unreadable)?),
        "assign" => {
            // Whoever may not hand out is told so, not who reads here.
            if !scope.allows(Permission::Dispatch) {
                return Err(Trouble::Refused(Refusal::NotAllowed));
            }
            match catalog.reading_person(scope, wish.to.trim()).await? {
                Some(reader) => Ask::Assign(reader),
                None => return Err(Trouble::Refused(Refusal::NoSuchReader)),
            }
        }
        _ => return Err(Trouble::Unreadable),
    };
    let random = || uuid::Uuid::new_v4().as_u128();
    let asked = (&ask, wish.note.trim());
    finished(web, catalog.change_reading(scope, id, asked, &random, now_ms()).await?)
}

fn finished(web: &WebState, changed: Changed) -> Result<Task, Trouble> {
    match changed {
        Changed::Done(task) => {
            web.live().nudge();
            web.channels().nudge();
            Ok(*task)
        }
        Changed::Refused(refusal) => Err(Trouble::Refused(refusal)),
        Changed::Absent => Err(Trouble::Missing),
    }
}

/// `POST /api/reading/{id}`.
pub(in crate::portal) async fn change(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wish: Wish = read(&body)?;
    let task = grant(&web, &caller.scope, id, &wish).await?;
    one(web.archive().catalog(), &caller.scope, task.id, StatusCode::OK).await
}

/// A request for a reading.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::portal) struct Asked {
    /// Study Instance UID.
    pub(super) study: String,
    /// Name of the tenant that is to read; empty for the own.
    pub(super) to: String,
    pub(super) priority: String,
    #[serde(rename = "dueMinutes")]
    pub(super) due_minutes: Option<i64>,
    pub(super) subspecialty: String,
    pub(super) question: String,
    /// `none`, `related` or `all`.
    pub(super) priors: String,
    pub(super) days: i64,
}

/// The tenant of a name; the scope's own for none.
async fn tenant(catalog: &Catalog, scope: &Scope, name: &str) -> Result<TenantId, Trouble> {
    if name.is_empty() {
        return Ok(scope.tenant());
    }
    Ok(catalog.tenant(name).await?.ok_or(Trouble::Unreadable)?.id)
}

fn is_fine(text: &str) -> bool {
    text.chars().count() <= LONGEST
        && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\r')
}

/// Asks for a reading.
pub(super) async fn request(web: &WebState, scope: &Scope, asked: &Asked) -> Result<Task, Trouble> {
    let catalog = web.archive().catalog();
    let word = |word: &str, usual: &'static str| match word {
        "" => usual.to_owned(),
        word => word.to_owned(),
    };
    let fine = is_fine(&asked.question)
        && is_fine(&asked.subspecialty)
        && StudyUid::parse(&asked.study).is_ok()
        && (0..=MOST_DAYS).contains(&asked.days)
        && asked.due_minutes.is_none_or(|minutes| (1..=MOST_MINUTES).contains(&minutes));
    if !fine {
        return Err(Trouble::Unreadable);
    }
    let request = Request {
        study: asked.study.clone(),
        to: tenant(catalog, scope, &asked.to).await?,
        priority: Priority::parse(&word(&asked.priority, "medium")).ok_or(Trouble::Unreadable)?,
        due_minutes: asked.due_minutes,
        subspecialty: asked.subspecialty.trim().to_owned(),
        question: asked.question.trim().to_owned(),
        priors: Priors::parse(&word(&asked.priors, "related")).ok_or(Trouble::Unreadable)?,
        days: asked.days,
    };
    let random = || uuid::Uuid::new_v4().as_u128();
    finished(web, catalog.request_reading(scope, &request, &random, now_ms()).await?)
}

/// `POST /api/reading/requests`: asks for a reading of a study of the own tenant. It makes a grant, so it needs what
/// giving one needs.
pub(in crate::portal) async fn add(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let asked: Asked = read(&body)?;
    let task = request(&web, &caller.scope, &asked).await?;
    one(web.archive().catalog(), &caller.scope, task.id, StatusCode::CREATED).await
}

/// `GET /api/reading/workload`.
pub(in crate::portal) async fn workload(
    State(web): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let (catalog, now) = (web.archive().catalog(), now_ms());
    let counts = catalog.reading_counts(&caller.scope, now).await?;
    let readers = catalog.reading_workload(&caller.scope, now).await?;
    let one = |one: &qianli_catalog::reading::Workload| json!({"reader": one.reader, "claimed": one.claimed, "overdue": one.overdue, "done": one.done});
    let value = json!({
        "open": counts.open, "claimed": counts.claimed, "overdue": counts.overdue, "stat": counts.stat,
        "readers": readers.iter().map(one).collect::<Value>(),
    });
    Ok(answer(StatusCode::OK, &value))
}

/// A new rule.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::portal) struct Draft {
    pub(super) label: String,
    pub(super) source: String,
    pub(super) modality: String,
    #[serde(rename = "bodyPart")]
    pub(super) body_part: String,
    pub(super) station: String,
    pub(super) description: String,
    pub(super) asked: String,
    /// Name of the tenant that is to read; empty for the own.
    pub(super) to: String,
    pub(super) subspecialty: String,
    pub(super) priority: String,
    #[serde(rename = "dueMinutes")]
    pub(super) due_minutes: i64,
    pub(super) priors: String,
    pub(super) days: i64,
}

/// Adds a rule.
pub(super) async fn add_rule_of(
    web: &WebState,
    scope: &Scope,
    draft: &Draft,
) -> Result<i64, Trouble> {
    let catalog = web.archive().catalog();
    let which = Which {
        source: match draft.source.trim() {
            "" => None,
            text => Some(TitlePattern::parse(text).ok_or(Trouble::Unreadable)?),
        },
        modality: draft.modality.trim().to_owned(),
        body_part: draft.body_part.trim().to_owned(),
        station: draft.station.trim().to_owned(),
        description: draft.description.trim().to_owned(),
    };
    let asked = match draft.asked.as_str() {
        "" => None,
        word => Some(Priority::parse(word).ok_or(Trouble::Unreadable)?),
    };
    let fine = which.is_legal()
        && is_fine(&draft.label)
        && is_fine(&draft.subspecialty)
        && (1..=MOST_MINUTES).contains(&draft.due_minutes)
        && (0..=MOST_DAYS).contains(&draft.days);
    let to = tenant(catalog, scope, &draft.to).await?;
    // A rule that gives grants asks for what giving one asks for.
    if to != scope.tenant() && !scope.allows(Permission::Share) {
        return Err(Trouble::Refused(Refusal::NotAllowed));
    }
    if !fine {
        return Err(Trouble::Unreadable);
    }
    let new = NewRule {
        label: draft.label.trim().to_owned(),
        which,
        asked,
        to,
        subspecialty: draft.subspecialty.trim().to_owned(),
        priority: Priority::parse(&draft.priority).ok_or(Trouble::Unreadable)?,
        due_minutes: draft.due_minutes,
        priors: match draft.priors.as_str() {
            "" => Priors::Related,
            word => Priors::parse(word).ok_or(Trouble::Unreadable)?,
        },
        days: draft.days,
        at_ms: now_ms(),
    };
    catalog.add_reading_rule(scope, &new).await?.ok_or(Trouble::Missing)
}

fn shown_rule(row: &RuleRow) -> Value {
    let rule = &row.rule;
    let [modality, body_part, station, description] = rule.which.words();
    json!({
        "id": rule.id, "label": rule.label,
        "source": rule.which.source.as_ref().map(TitlePattern::as_str), "modality": modality,
        "bodyPart": body_part, "station": station, "description": description,
        "asked": rule.asked.map(Priority::as_str), "to": row.to.name,
        "subspecialty": rule.subspecialty, "priority": rule.priority.as_str(),
        "dueMinutes": rule.due_minutes, "priors": rule.priors.as_str(), "days": rule.days,
        "disabled": rule.disabled, "by": row.created_by, "made": instant(row.created_ms),
    })
}

/// `GET /api/reading/rules`.
pub(in crate::portal) async fn rules(
    State(web): State<WebState>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let rules = web.archive().catalog().reading_rules(&caller.scope).await?;
    Ok(answer(StatusCode::OK, &rules.iter().map(shown_rule).collect()))
}

/// `POST /api/reading/rules`.
pub(in crate::portal) async fn add_rule(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    body: Bytes,
) -> Result<Response, HttpError> {
    let draft: Draft = read(&body)?;
    let made = add_rule_of(&web, &caller.scope, &draft).await;
    let id = made.map_err(|trouble| match trouble {
        Trouble::Unreadable | Trouble::Missing => HttpError::bad_request(
            "a rule needs priority (stat, high, medium, low) and dueMinutes; to is the name of a tenant; priors is none, related or all; patterns have at most 64 characters",
        ),
        other => other.into(),
    })?;
    Ok(answer(StatusCode::CREATED, &json!({"id": id})))
}

/// `DELETE /api/reading/rules/{id}`.
pub(in crate::portal) async fn remove_rule(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    Path(id): Path<i64>,
) -> Result<Response, HttpError> {
    match web.archive().catalog().remove_reading_rule(&caller.scope, id).await? {
        true => Ok(answer(StatusCode::OK, &json!({"removed": id}))),
        false => Err(HttpError::not_found("there is no such reading rule")),
    }
}
