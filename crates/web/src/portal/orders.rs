//! `/orders`: what is scheduled, a form for a new order, what a person has to look at, and HL7
//! messages that were refused.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::orders::{FoundStep, Hl7Refusal, Mismatch};
use qianli_model::order::{
    Difference, MismatchKind, Order, OrderPatient, Procedure, Step, StepState,
};
use serde::Deserialize;

use super::format;
use super::login::redirect;
use super::orders_api::{Filter, Trouble, Verdict, advance, differs, make};
use super::page::Frame;
use super::text::Texts;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::origin::SameSite;

/// Mismatches and refused messages that are shown.
const SHOWN: u32 = 50;

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersPage<'a> {
    frame: &'a Frame,
    filter: &'a Filter,
    states: [&'static str; 7],
    steps: Vec<Line>,
    mismatches: Vec<Look>,
    settled: Vec<Look>,
    refused: Vec<Refused>,
    problem: Option<&'a str>,
}

struct Line {
    id: i64,
    step: String,
    name: String,
    patient: String,
    accession: String,
    what: String,
    modality: String,
    station: String,
    start: String,
    state: &'static str,
    is_final: bool,
    studies: Vec<String>,
}

impl Line {
    fn new(found: FoundStep) -> Option<Self> {
        let FoundStep { row, step, studies } = found;
        let order = row.order;
        let step = order.steps.get(step)?;
        let names: Vec<String> = order.patient.name.split('=').map(format::spoken).collect();
        Some(Self {
            id: row.id,
            step: step.id.clone(),
            name: names.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(" · "),
            what: match step.description.is_empty() {
                true => order.procedure.description.clone(),
                false => step.description.clone(),
            },
            modality: step.modality.clone(),
            station: step.station_ae.clone(),
            start: format!("{} {}", format::date(&step.start_date), format::time(&step.start_time)),
            state: step.status.as_str(),
            is_final: step.status.is_final(),
            patient: order.patient.id,
            accession: order.accession,
            studies,
        })
    }
}

struct Look {
    id: i64,
    kind: &'static str,
    study: String,
    seen: String,
    order: Option<i64>,
    ordered: String,
    differs: String,
    has_study: bool,
    state: &'static str,
    by: String,
    at: String,
}

impl Look {
    fn new(one: Mismatch, t: &'static Texts) -> Self {
        let words: Vec<&str> = differs(&one)
            .into_iter()
            .map(|difference| match difference {
                Difference::PatientId => t.orders_patient_id,
                Difference::Name => t.orders_name,
                Difference::BirthDate => t.orders_birth_date,
                Difference::Sex => t.orders_sex,
                Difference::Accession => t.orders_accession,
            })
            .collect();
        let person = |name: &str, id: &str, birth: &str| format!("{name} · {id} · {birth}");
        Self {
            id: one.id,
            kind: match one.kind {
                MismatchKind::OtherPatient => t.orders_other_patient,
                MismatchKind::Demographics => t.orders_demographics,
                MismatchKind::NoOrder => t.orders_no_order,
                MismatchKind::NoImages => t.orders_no_images,
            },
            has_study: !one.study_uid.is_empty(),
            seen: one
                .seen
                .map(|seen| person(&seen.name, &seen.patient_id, &seen.birth_date))
                .unwrap_or_default(),
            ordered: one
                .order
                .as_ref()
                .map(|row| {
                    let patient = &row.order.patient;
                    person(&patient.name, &patient.id, &patient.birth_date)
                })
                .unwrap_or_default(),
            order: one.order.map(|row| row.id),
            differs: words.join(", "),
            study: one.study_uid,
            state: match one.state.as_str() {
                "accepted" => t.orders_accepted,
                "assigned" => t.orders_assigned,
                _ => t.orders_dismissed,
            },
            by: one.settled_by,
            at: format::instant(if one.settled_ms > 0 { one.settled_ms } else { one.created_ms }),
        }
    }
}

struct Refused {
    kind: String,
    sender: String,
    address: String,
    control_id: String,
    what: String,
    at: String,
}

impl Refused {
    fn new(one: Hl7Refusal) -> Self {
        Self {
            what: format!("{} {} {}", one.code, one.place, one.reason),
            kind: one.kind,
            sender: one.sender,
            address: one.address,
            control_id: one.control_id,
            at: format::instant(one.at_ms),
        }
    }
}

/// `GET /orders`.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    Query(filter): Query<Filter>,
) -> Response {
    answer(&state, &caller, &frame.at("orders"), &filter, (StatusCode::OK, None)).await
}

async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    filter: &Filter,
    (status, problem): (StatusCode, Option<&str>),
) -> Response {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let search = filter.search().unwrap_or_default();
    let asked = tokio::join!(
        catalog.find_steps(scope, &search),
        catalog.order_mismatches(scope, true, SHOWN),
        catalog.order_mismatches(scope, false, SHOWN),
        catalog.hl7_refusals(scope, SHOWN),
    );
    let (steps, open, settled, refused) = match asked {
        (Ok(steps), Ok(open), Ok(settled), Ok(refused)) => (steps, open, settled, refused),
        (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) | (_, _, _, Err(error)) => {
            return frame.failed(error);
        }
    };
    let look = |one| Look::new(one, frame.t);
    let page = OrdersPage {
        frame,
        filter,
        states: StepState::ALL.map(StepState::as_str),
        steps: steps.into_iter().filter_map(Line::new).collect(),
        mismatches: open.into_iter().map(look).collect(),
        settled: settled.into_iter().map(look).collect(),
        refused: refused.into_iter().map(Refused::new).collect(),
        problem,
    };
    frame.answer(status, &page)
}

/// The form of a new order.
#[derive(Deserialize)]
pub(super) struct Wish {
    patient_id: String,
    name: String,
    #[serde(default)]
    birth_date: String,
    #[serde(default)]
    sex: String,
    #[serde(default)]
    accession: String,
    modality: String,
    #[serde(default)]
    station: String,
    date: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    referring: String,
}

impl Wish {
    fn order(self) -> Order {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let line = |text: &str| text.trim().to_owned();
        Order {
            patient: OrderPatient {
                id: line(&self.patient_id),
                name: line(&self.name),
                birth_date: digits(&self.birth_date),
                sex: line(&self.sex),
                ..OrderPatient::default()
            },
            accession: line(&self.accession),
            referring: line(&self.referring),
            procedure: Procedure { description: line(&self.description), ..Procedure::default() },
            steps: vec![Step {
                modality: line(&self.modality).to_ascii_uppercase(),
                station_ae: line(&self.station),
                start_date: digits(&self.date),
                start_time: digits(&self.time),
                description: line(&self.description),
                ..Step::default()
            }],
            ..Order::default()
        }
    }
}

/// `POST /orders`.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(wish): Form<Wish>,
) -> Response {
    let made = make(state.archive().catalog(), &caller.scope, "page", wish.order()).await;
    finish(made, &state, &caller, frame).await
}

async fn finish(
    done: Result<i64, Trouble>,
    state: &WebState,
    caller: &Caller,
    frame: Frame,
) -> Response {
    let frame = frame.at("orders");
    let (status, problem) = match done {
        Ok(_) => return redirect("/orders"),
        Err(Trouble::Missing) => (StatusCode::NOT_FOUND, frame.t.orders_missing.to_owned()),
        Err(Trouble::Wrong(status, words)) => (status, words),
        Err(Trouble::Failed(error)) => return error.into_response(),
    };
    answer(state, caller, &frame, &Filter::default(), (status, Some(&problem))).await
}

/// The state that a step shall have.
#[derive(Deserialize)]
pub(super) struct Wanted {
    order: i64,
    step: String,
    state: String,
}

/// `POST /orders/state`.
pub(super) async fn set_state(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(wanted): Form<Wanted>,
) -> Response {
    let done = match StepState::parse(&wanted.state) {
        None => Err(Trouble::Missing),
        Some(next) => {
            let catalog = state.archive().catalog();
            advance(catalog, &caller.scope, wanted.order, (wanted.step, next)).await
        }
    };
    finish(done, &state, &caller, frame).await
}

/// What somebody decides about a mismatch.
#[derive(Deserialize)]
pub(super) struct Choice {
    mismatch: i64,
    decision: String,
    /// Digits, or nothing.
    #[serde(default)]
    order: String,
}

/// `POST /orders/mismatches`.
pub(super) async fn decide(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(choice): Form<Choice>,
) -> Response {
    let verdict = Verdict { decision: choice.decision, order: choice.order.trim().parse().ok() };
    let done = match verdict.decision() {
        None => Err(Trouble::Missing),
        Some(decision) => {
            let (catalog, scope) = (state.archive().catalog(), &caller.scope);
            match catalog.settle_mismatch(scope, choice.mismatch, decision, now_ms()).await {
                Ok(Ok(())) => Ok(0),
                Ok(Err(_)) => Err(Trouble::Missing),
                Err(error) => Err(Trouble::Failed(error.into())),
            }
        }
    };
    finish(done, &state, &caller, frame).await
}
