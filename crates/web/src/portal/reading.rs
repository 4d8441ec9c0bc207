//! `/reading`: what is to be read, live, and the filters that people keep.

pub(in crate::portal) mod api;
pub(in crate::portal) mod live;
pub(in crate::portal) mod rules;
pub(in crate::portal) mod task;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use qianli_catalog::access::Tenant;
use qianli_catalog::reading::{Counts, Filter, Listed, View, Workload};
use qianli_catalog::{AuditEntry, Catalog};
use qianli_model::audit::{Action, Outcome};
use qianli_model::reading::{Discrepancy, Priority, Reader, State as Step};
use qianli_model::{Permission, Scope};
use serde::Deserialize;

use super::assets::{Asset, READING_SCRIPT};
use super::format::{self, Attributes, Name};
use super::login::redirect;
use super::page::{Frame, encode};
use super::reading_text::Texts;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::headers;
use crate::origin::SameSite;

/// Tasks on one page.
const PAGE: u32 = 100;

/// Deepest page: the catalog skips rows one by one.
const MAX_PAGE: u32 = 500;

/// What counts as due soon (ms).
const SOON_MS: i64 = 60 * 60_000;

/// Longest name and query of a view (bytes).
const LONGEST_VIEW: usize = 500;

/// What a list is narrowed by, as the query says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    pub(super) state: String,
    pub(super) priority: String,
    pub(super) modality: String,
    pub(super) hospital: String,
    pub(super) subspecialty: String,
    /// `me`, or a login.
    pub(super) reader: String,
    /// `overdue`, `soon`, or empty.
    pub(super) due: String,
    /// `1` for what was handed out to others.
    pub(super) given: String,
    study: String,
    page: u32,
    limit: u32,
    offset: u32,
}

impl Wanted {
    /// The filter. `None` when a word is none that is known.
    fn filter(&self, scope: &Scope, now_ms: i64) -> Option<Filter> {
        let states = match self.state.as_str() {
            "" => Vec::new(),
            "all" => Step::ALL.to_vec(),
            words => words.split(',').map(Step::parse).collect::<Option<Vec<Step>>>()?,
        };
        let priority = match self.priority.as_str() {
            "" => None,
            word => Some(Priority::parse(word)?),
        };
        let due_before_ms = match self.due.as_str() {
            "" => None,
            "overdue" => Some(now_ms),
            "soon" => Some(now_ms.saturating_add(SOON_MS)),
            _ => return None,
        };
        Some(Filter {
            states,
            priority,
            modality: self.modality.trim().to_owned(),
            hospital: self.hospital.clone(),
            subspecialty: self.subspecialty.clone(),
            reader: match self.reader.as_str() {
                "me" => Reader::of(scope).name,
                name => name.trim().to_lowercase(),
            },
            due_before_ms,
            study: self.study.clone(),
            given: self.given == "1",
            limit: self.limit,
            offset: self.offset,
        })
    }
}

#[derive(Template)]
#[template(path = "reading.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    r: &'static Texts,
    wanted: &'a Wanted,
    list: Rows,
    hospitals: Vec<(String, String)>,
    subspecialties: Vec<String>,
    readers: Vec<String>,
    views: Vec<View>,
    dispatches: bool,
    script: &'static Asset,
}

/// The part of the page that is fetched anew when something happens.
#[derive(Template)]
#[template(path = "reading_rows.html")]
struct Rows {
    r: &'static Texts,
    lines: Vec<Line>,
    counts: Counts,
    workload: Vec<Workload>,
    /// Position of the feed when it was read.
    position: i64,
    given: bool,
    previous: String,
    next: String,
}

/// A task in a list.
pub(super) struct Line {
    id: i64,
    name: Option<Name>,
    patient_id: String,
    sex_birth: String,
    modalities: Vec<String>,
    description: String,
    date: String,
    hospital: String,
    reads: String,
    priority: &'static str,
    priority_word: &'static str,
    state: &'static str,
    state_word: &'static str,
    subspecialty: String,
    reader: String,
    due: String,
    /// `overdue`, `soon` or empty.
    clock: &'static str,
    is_live: bool,
    is_second: bool,
    arriving: bool,
    late: i64,
    discrepancy: &'static str,
    may_claim: bool,
    viewer: String,
    gone: bool,
}

/// Words for a priority.
fn priority(r: &'static Texts, priority: Priority) -> &'static str {
    match priority {
        Priority::Stat => r.stat,
        Priority::High => r.high,
        Priority::Medium => r.medium,
        Priority::Low => r.low,
    }
}

/// Words for a state.
fn state(r: &'static Texts, state: Step) -> &'static str {
    match state {
        Step::Open => r.open,
        Step::Claimed => r.claimed,
        Step::Done => r.done,
        Step::Cancelled => r.cancelled,
    }
}

/// Words for a discrepancy; empty for none.
fn discrepancy(r: &'static Texts, found: Discrepancy) -> &'static str {
    match found {
        Discrepancy::None => "",
        Discrepancy::Minor => r.minor,
        Discrepancy::Major => r.major,
    }
}

/// What people call a tenant.
fn called(tenant: &Tenant) -> String {
    if tenant.title.is_empty() { tenant.name.clone() } else { tenant.title.clone() }
}

/// Where the viewer opens a study of a tenant, for somebody who works in another or in the same.
fn viewer(study: &str, owner: &Tenant, scope: &Scope) -> String {
    let link = super::studies::viewer(study);
    match owner.id == scope.tenant() {
        true => link,
        false => format!("{link}&tenant={}", encode(&owner.name)),
    }
}

impl Line {
    fn new(listed: Listed, scope: &Scope, frame: &Frame, now_ms: i64) -> Self {
        let r = frame.r();
        let task = listed.task;
        let study = listed.study;
        let attributes =
            Attributes::parse(study.as_ref().map_or("{}", |study| study.json.as_str()));
        let is_live = !task.held.state.is_final();
        let clock = match task.held.due_ms {
            due if is_live && due < now_ms => "overdue",
            due if is_live && due < now_ms.saturating_add(SOON_MS) => "soon",
            _ => "",
        };
        let sex = format::sex(&attributes.text("00100040"), frame.t);
        let birth = format::date(&attributes.text("00100030"));
        Self {
            id: task.id,
            name: attributes.name("00100010", frame.language),
            patient_id: attributes.text("00100020"),
            sex_birth: [sex, birth]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" · "),
            modalities: study
                .as_ref()
                .map(|study| study.modalities.iter().map(|one| format::short(one)).collect())
                .unwrap_or_default(),
            description: attributes.text("00081030"),
            date: format::date(&attributes.text("00080020")),
            hospital: called(&listed.owner),
            reads: called(&listed.reads),
            priority: task.held.priority.as_str(),
            priority_word: priority(r, task.held.priority),
            state: task.held.state.as_str(),
            state_word: state(r, task.held.state),
            subspecialty: task.subspecialty,
            reader: task.held.reader.map(|reader| reader.name).unwrap_or_default(),
            due: format::instant(task.held.due_ms),
            clock,
            is_live,
            is_second: task.held.is_second,
            arriving: task.complete_ms == 0,
            late: task.held.late,
            discrepancy: discrepancy(r, task.held.discrepancy),
            may_claim: task.held.state == Step::Open
                && task.tenant == scope.tenant()
                && scope.allows(Permission::Interpret),
            viewer: match study.is_some() {
                true => viewer(&task.study, &listed.owner, scope),
                false => String::new(),
            },
            gone: study.is_none(),
        }
    }
}

/// Notes in the trails of other hospitals that their patients were named here.
async fn note(catalog: &Catalog, scope: &Scope, listed: &[Listed]) -> Result<(), HttpError> {
    let mut owners: Vec<i64> = listed
        .iter()
        .filter(|one| one.study.is_some() && one.owner.id != scope.tenant())
        .map(|one| one.owner.id.0)
        .collect();
    owners.sort_unstable();
    owners.dedup();
    for tenant in owners {
        let entry = AuditEntry::new(scope, Action::ReadReading, Outcome::Success, now_ms());
        catalog.note_audit(AuditEntry { tenant, ..entry }).await?;
    }
    Ok(())
}

async fn rows(
    web: &WebState,
    caller: &Caller,
    frame: &Frame,
    wanted: &Wanted,
) -> Result<Rows, HttpError> {
    let (catalog, scope, now) = (web.archive().catalog(), &caller.scope, now_ms());
    // Read first: what happens after it comes as an event.
    let position = catalog.newest_reading_event().await?;
    let page = wanted.page.min(MAX_PAGE);
    let filter = wanted.filter(scope, now).unwrap_or_default();
    let filter = Filter { limit: PAGE + 1, offset: page.saturating_mul(PAGE), ..filter };
    let given = filter.given;
    let (listed, counts, workload) = tokio::join!(
        catalog.reading_list(scope, &filter, now),
        catalog.reading_counts(scope, now),
        catalog.reading_workload(scope, now),
    );
    let (mut listed, counts, workload) = (listed?, counts?, workload?);
    let more = listed.len() > PAGE as usize;
    listed.truncate(PAGE as usize);
    note(catalog, scope, &listed).await?;
    let to = |page: u32| frame.link(&[("page", &page.to_string())]).replace("/rows", "");
    Ok(Rows {
        r: frame.r(),
        lines: listed.into_iter().map(|one| Line::new(one, scope, frame, now)).collect(),
        counts,
        workload,
        position,
        given,
        previous: if page > 0 { to(page - 1) } else { String::new() },
        next: if more { to(page + 1) } else { String::new() },
    })
}

/// Lets a page of the worklist listen to its events.
fn listening(mut response: Response) -> Response {
    let policy = HeaderValue::from_static(headers::LIVE);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// `GET /reading`.
pub(super) async fn show(
    State(web): State<WebState>,
    caller: Caller,
    frame: Frame,
    Query(wanted): Query<Wanted>,
) -> Response {
    let frame = frame.at("reading");
    let (catalog, scope) = (web.archive().catalog(), &caller.scope);
    let asked = tokio::join!(
        rows(&web, &caller, &frame, &wanted),
        catalog.reading_choices(scope),
        catalog.reading_people(scope),
        catalog.reading_views(scope),
    );
    let (list, choices, readers, views) = match asked {
        (Ok(list), Ok(choices), Ok(readers), Ok(views)) => (list, choices, readers, views),
        (Err(error), ..) => return frame.failed(error.message()),
        (_, Err(error), ..) | (_, _, Err(error), _) | (.., Err(error)) => {
            return frame.failed(error);
        }
    };
    let (subspecialties, owners) = choices;
    let page = ListPage {
        r: frame.r(),
        wanted: &wanted,
        list,
        hospitals: owners.iter().map(|one| (one.name.clone(), called(one))).collect(),
        subspecialties,
        readers: readers.into_iter().map(|reader| reader.name).collect(),
        views,
        dispatches: scope.allows(Permission::Dispatch),
        script: &READING_SCRIPT,
        frame: &frame,
    };
    listening(frame.answer(StatusCode::OK, &page))
}

/// `GET /reading/rows`: the list alone, for the script of the page.
pub(super) async fn show_rows(
    State(web): State<WebState>,
    caller: Caller,
    frame: Frame,
    Query(wanted): Query<Wanted>,
) -> Response {
    match rows(&web, &caller, &frame, &wanted).await {
        Ok(list) => frame.answer(StatusCode::OK, &list),
        Err(error) => frame.failed(error.message()),
    }
}

/// The form of a view.
#[derive(Deserialize)]
pub(super) struct Kept {
    name: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    forget: String,
}

/// `POST /reading/views`: keeps the filters under a name, or forgets them.
pub(super) async fn views(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(kept): Form<Kept>,
) -> Response {
    let frame = frame.at("reading");
    let name = kept.name.trim().to_owned();
    let query = kept.query.trim_start_matches('?').to_owned();
    if name.is_empty() || name.len() > LONGEST_VIEW || query.len() > LONGEST_VIEW {
        let words = (frame.r().views, frame.r().unreadable);
        return frame.message(StatusCode::BAD_REQUEST, words);
    }
    let catalog = web.archive().catalog();
    let view = View { name, query };
    let done = match kept.forget.is_empty() {
        true => catalog.keep_reading_view(&caller.scope, &view).await,
        false => catalog.forget_reading_view(&caller.scope, &view.name).await,
    };
    match done {
        Ok(_) if view.query.is_empty() => redirect("/reading"),
        Ok(_) => redirect(&format!("/reading?{}", plain(&view.query))),
        Err(error) => frame.failed(error),
    }
}

/// A query that a header can carry.
fn plain(query: &str) -> String {
    query.chars().filter(|c| c.is_ascii_graphic()).collect()
}
