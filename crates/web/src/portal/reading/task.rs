//! `/reading/tasks/{id}`: one task, what can be done with it, earlier studies of the patient, and its history; and the
//! form on the page of a study that asks for a reading.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::access::Tenant;
use qianli_catalog::reading::{Listed, Step};
use qianli_catalog::types::StudyRow;
use qianli_model::query::{Indexed, Level};
use qianli_model::reading::{Refusal, State as Stage};
use qianli_model::{Permission, Query, Scope};

use super::api::{Asked, Trouble, Wish, grant, request, status_of};
use super::{Line, called, listening, note, state, viewer};
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;
use crate::portal::assets::{Asset, READING_SCRIPT};
use crate::portal::format::{self, Attributes};
use crate::portal::login::redirect;
use crate::portal::page::Frame;
use crate::portal::reading_text::Texts;
use crate::portal::shared;

/// Most earlier studies of each hospital.
const MOST: u32 = 50;

#[derive(Template)]
#[template(path = "reading_task.html")]
struct TaskPage<'a> {
    frame: &'a Frame,
    r: &'static Texts,
    line: Line,
    question: String,
    made_by: String,
    made: String,
    may: May,
    readers: Vec<String>,
    second: Option<(i64, &'static str)>,
    first: Option<i64>,
    priors: Vec<Prior>,
    others: Vec<Prior>,
    history: Vec<Done>,
    position: i64,
    problem: Option<String>,
    script: &'static Asset,
}

/// Which buttons are shown. What is really allowed, the task says when one is pressed.
#[derive(Default)]
struct May {
    claim: bool,
    release: bool,
    finish: bool,
    reopen: bool,
    cancel: bool,
    assign: bool,
    prioritise: bool,
    second: bool,
    discrepancy: bool,
    see_late: bool,
}

impl May {
    fn of(listed: &Listed, scope: &Scope) -> Self {
        let held = &listed.task.held;
        let here = listed.task.tenant == scope.tenant();
        let mine = here && held.reader.as_ref() == Some(&qianli_model::reading::Reader::of(scope));
        let interprets = here && scope.allows(Permission::Interpret);
        let dispatches = scope.allows(Permission::Dispatch);
        let hands_out = dispatches && here;
        let is_live = !held.state.is_final();
        let read = matches!(held.state, Stage::Claimed | Stage::Done);
        Self {
            claim: interprets && held.state == Stage::Open,
            release: held.state == Stage::Claimed && (mine || hands_out),
            finish: held.state == Stage::Claimed && mine && interprets,
            reopen: match held.state {
                Stage::Done => mine || hands_out,
                Stage::Cancelled => dispatches && (!here || !held.is_foreign),
                _ => false,
            },
            cancel: is_live && dispatches,
            assign: is_live && hands_out,
            prioritise: is_live && (dispatches || interprets),
            second: read && (mine || hands_out) && !held.is_second && listed.second.is_none(),
            discrepancy: read && (interprets || hands_out),
            see_late: held.late > 0 && (mine || hands_out),
        }
    }
}

impl May {
    /// Buttons that need no further word: what they ask for, and what people call it.
    fn buttons(&self, r: &'static Texts) -> Vec<(&'static str, &'static str)> {
        let all = [
            (self.claim, "claim", r.claim),
            (self.finish, "finish", r.finish),
            (self.release, "release", r.release),
            (self.reopen, "reopen", r.reopen),
            (self.see_late, "see-late", r.see_late),
        ];
        all.into_iter().filter(|(may, ..)| *may).map(|(_, word, name)| (word, name)).collect()
    }
}

/// An earlier study.
struct Prior {
    date: String,
    modalities: Vec<String>,
    description: String,
    hospital: String,
    content: String,
    viewer: String,
}

/// A line of the history.
struct Done {
    did: &'static str,
    by: String,
    detail: String,
    note: String,
    at: String,
}

impl Done {
    fn new(step: Step, r: &'static Texts) -> Self {
        let did = match step.did.as_str() {
            "make" => r.did_make,
            "complete" => r.did_complete,
            "late" => r.did_late,
            "rule" => r.did_rule,
            "claim" => r.did_claim,
            "release" => r.did_release,
            "assign" => r.did_assign,
            "prioritise" => r.did_prioritise,
            "second" => r.did_second,
            "discrepancy" => r.did_discrepancy,
            "cancel" => r.did_cancel,
            "reopen" => r.did_reopen,
            "see-late" => r.did_see_late,
            _ => r.did_finish,
        };
        Self {
            did,
            by: match step.by_kind.as_str() {
                "system" | "local" => "Qianli".to_owned(),
                _ => step.by,
            },
            detail: step.detail,
            note: step.note,
            at: format::instant(step.at_ms),
        }
    }
}

/// `GET /reading/tasks/{id}`.
pub(in crate::portal) async fn show(
    State(web): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(id): Path<i64>,
) -> Response {
    answer(&web, &caller, &frame.at("reading"), id, (StatusCode::OK, None)).await
}

async fn answer(
    web: &WebState,
    caller: &Caller,
    frame: &Frame,
    id: i64,
    (status, problem): (StatusCode, Option<String>),
) -> Response {
    match page(web, caller, frame, id, problem).await {
        Ok(Some(page)) => listening(frame.answer(status, &page)),
        Ok(None) => frame.missing(),
        Err(error) => frame.failed(error.message()),
    }
}

async fn page<'a>(
    web: &WebState,
    caller: &Caller,
    frame: &'a Frame,
    id: i64,
    problem: Option<String>,
) -> Result<Option<TaskPage<'a>>, HttpError> {
    let (catalog, scope, now) = (web.archive().catalog(), &caller.scope, now_ms());
    let position = catalog.newest_reading_event().await?;
    let Some(listed) = catalog.reading_listed(scope, id, now).await? else { return Ok(None) };
    note(catalog, scope, std::slice::from_ref(&listed)).await?;
    let may = May::of(&listed, scope);
    let readers = match may.assign {
        true => catalog.reading_people(scope).await?.into_iter().map(|one| one.name).collect(),
        false => Vec::new(),
    };
    let history = catalog.reading_history(scope, id).await?;
    let (priors, others) = earlier(web, caller, frame, &listed).await?;
    let task = &listed.task;
    Ok(Some(TaskPage {
        r: frame.r(),
        may,
        readers,
        question: task.question.clone(),
        made_by: task.made_by.clone(),
        made: format::instant(task.made_ms),
        second: listed.second.map(|(id, stage)| (id, state(frame.r(), stage))),
        first: (task.parent > 0).then_some(task.parent),
        priors,
        others,
        history: history.into_iter().map(|step| Done::new(step, frame.r())).collect(),
        position,
        problem,
        script: &READING_SCRIPT,
        line: Line::new(listed, scope, frame, now),
        frame,
    }))
}

/// Earlier studies of the same patient in the hospital of the study; and in other places those of somebody of the same
/// name, birth date and sex, who may be another person. Only what the caller may see anyway.
async fn earlier(
    web: &WebState,
    caller: &Caller,
    frame: &Frame,
    listed: &Listed,
) -> Result<(Vec<Prior>, Vec<Prior>), HttpError> {
    let (mut priors, mut others) = (Vec::new(), Vec::new());
    let Some(study) = &listed.study else { return Ok((priors, others)) };
    if !caller.scope.allows(Permission::Read) {
        return Ok((priors, others));
    }
    let about = Attributes::parse(&study.json);
    let text = |tag: &str| about.text(tag);
    let (id, issuer, birth, sex) =
        (text("00100020"), text("00100021"), text("00100030"), text("00100040"));
    let name = about.name("00100010", frame.language).map(|name| name.main).unwrap_or_default();
    let catalog = web.archive().catalog();
    let viewing = shared::viewer(caller);
    let mut places: Vec<(Tenant, Scope)> = Vec::new();
    for sharer in catalog.sharers(&viewing, now_ms()).await? {
        if sharer.tenant.id != caller.scope.tenant() {
            let inside = shared::inside(caller, viewing, &sharer);
            places.push((sharer.tenant, inside));
        }
    }
    let own =
        [&listed.owner, &listed.reads].into_iter().find(|one| one.id == caller.scope.tenant());
    if let Some(own) = own {
        places.push((own.clone(), caller.scope.clone()));
    }
    for (place, scope) in places {
        let is_owner = place.id == listed.owner.id;
        let query = match is_owner {
            true if !id.is_empty() => Indexed::PatientId.of(&id),
            false if !birth.is_empty() && !name.is_empty() => Indexed::PatientBirthDate.of(&birth),
            _ => continue,
        };
        for found in web.archive().find(&scope, &query).await? {
            let row = found.study;
            let that = Attributes::parse(&row.json);
            let named = that.name("00100010", frame.language).map(|name| name.main);
            let same = match is_owner {
                true => row.uid != listed.task.study && that.text("00100021") == issuer,
                false => named.as_ref() == Some(&name) && that.text("00100040") == sex,
            };
            if same {
                let prior = Prior::new(&row, &that, &place, caller, frame);
                if is_owner { priors.push(prior) } else { others.push(prior) }
            }
        }
    }
    priors.sort_by(|one, other| other.date.cmp(&one.date));
    others.sort_by(|one, other| other.date.cmp(&one.date));
    Ok((priors, others))
}

/// A search for studies by one value.
trait Of {
    fn of(self, value: &str) -> Query;
}

impl Of for Indexed {
    fn of(self, value: &str) -> Query {
        Query::all(Level::Study, MOST).equals(self, value)
    }
}

impl Prior {
    fn new(
        row: &StudyRow,
        attributes: &Attributes,
        place: &Tenant,
        caller: &Caller,
        frame: &Frame,
    ) -> Self {
        Self {
            date: format::date(&attributes.text("00080020")),
            modalities: row.modalities.iter().map(|one| format::short(one)).collect(),
            description: attributes.text("00081030"),
            hospital: called(place),
            content: format::content(
                row.series_count,
                row.instance_count,
                &row.modalities,
                frame.language,
            ),
            viewer: viewer(&row.uid, place, &caller.scope),
        }
    }
}

/// What a refusal says to a person.
fn words(r: &'static Texts, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Taken(name) => format!("{}{name}", r.taken),
        Refusal::NotAllowed => r.not_allowed.to_owned(),
        Refusal::WrongState(stage) => format!("{}{}", r.wrong_state, state(r, *stage)),
        Refusal::SameReader => r.same_reader.to_owned(),
        Refusal::SecondAsked => r.second_asked.to_owned(),
        Refusal::NoSuchReader => r.no_reader.to_owned(),
        Refusal::NothingLate => r.nothing_late.to_owned(),
    }
}

/// `POST /reading/tasks/{id}`.
pub(in crate::portal) async fn change(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Path(id): Path<i64>,
    Form(wish): Form<Wish>,
) -> Response {
    let frame = frame.at("reading");
    match grant(&web, &caller.scope, id, &wish).await {
        Ok(task) => redirect(&format!("/reading/tasks/{}", task.id)),
        Err(Trouble::Missing) => frame.missing(),
        Err(Trouble::Failed(error)) => frame.failed(error),
        Err(Trouble::Unreadable) => {
            let problem = frame.r().unreadable.to_owned();
            answer(&web, &caller, &frame, id, (StatusCode::BAD_REQUEST, Some(problem))).await
        }
        Err(Trouble::Refused(refusal)) => {
            let problem = (status_of(&refusal), Some(words(frame.r(), &refusal)));
            answer(&web, &caller, &frame, id, problem).await
        }
    }
}

#[derive(Template)]
#[template(path = "reading_request.html")]
struct RequestPage<'a> {
    frame: &'a Frame,
    r: &'static Texts,
    study: String,
    tenants: Vec<(String, String)>,
    problem: Option<&'a str>,
}

/// `GET /studies/{study}/reading`.
pub(in crate::portal) async fn ask(
    State(web): State<WebState>,
    caller: Caller,
    frame: Frame,
    Path(study): Path<String>,
) -> Response {
    form(&web, &caller, &frame.at("studies"), study, (StatusCode::OK, None)).await
}

async fn form(
    web: &WebState,
    caller: &Caller,
    frame: &Frame,
    study: String,
    (status, problem): (StatusCode, Option<&str>),
) -> Response {
    match web.archive().catalog().tenants().await {
        Ok(tenants) => {
            let tenants = crate::portal::share::others(tenants, &caller.scope);
            let page = RequestPage { frame, r: frame.r(), study, tenants, problem };
            frame.answer(status, &page)
        }
        Err(error) => frame.failed(error),
    }
}

/// `POST /studies/{study}/reading`.
pub(in crate::portal) async fn requested(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Path(study): Path<String>,
    Form(asked): Form<Asked>,
) -> Response {
    let frame = frame.at("studies");
    let asked = Asked { study: study.clone(), ..asked };
    match request(&web, &caller.scope, &asked).await {
        Ok(task) if caller.scope.allows(Permission::Worklist) => {
            redirect(&format!("/reading/tasks/{}", task.id))
        }
        Ok(_) => redirect(&format!("/studies/{study}")),
        Err(Trouble::Missing) => frame.missing(),
        Err(Trouble::Failed(error)) => frame.failed(error),
        Err(Trouble::Unreadable | Trouble::Refused(_)) => {
            let problem = (StatusCode::BAD_REQUEST, Some(frame.r().unreadable));
            form(&web, &caller, &frame, study, problem).await
        }
    }
}
