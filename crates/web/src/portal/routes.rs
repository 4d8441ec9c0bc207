//! `/routes`: rules by which studies are sent on, the DICOMweb services that they name (see `routes_web`), and what
//! became of each study.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::CatalogError;
use qianli_catalog::routing::{DeliveriesOf, DeliveryRow, NewRule, RuleRow, WebGoal};
use qianli_model::peer::TitlePattern;
use qianli_model::routing::{Goal, LONGEST, When, Which};
use serde::Deserialize;

use super::format;
use super::login::redirect;
use super::page::Frame;
use super::routes_text::RouteTexts;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::origin::SameSite;

/// Deliveries that are shown.
const SHOWN: u32 = 100;

#[derive(Template)]
#[template(path = "routes.html")]
struct RoutesPage<'a> {
    frame: &'a Frame,
    t: &'a RouteTexts,
    rules: Vec<RuleLine>,
    deliveries: Vec<DeliveryLine>,
    /// Destinations that can be written into a new rule.
    goals: Vec<String>,
    services: Vec<WebGoal>,
    problem: Option<&'a str>,
}

struct RuleLine {
    id: i64,
    label: String,
    /// Name of a condition, and what it asks for.
    conditions: Vec<(&'static str, String)>,
    to: String,
    when: &'static str,
    window: String,
    commits: bool,
    disabled: bool,
}

struct DeliveryLine {
    id: i64,
    to: String,
    study: String,
    state: &'static str,
    waits: bool,
    failed: bool,
    sent: i64,
    committed: i64,
    refused: i64,
    words: String,
    changed: String,
    due: String,
}

/// A rule as a form or a program writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    to: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    modality: String,
    #[serde(default)]
    body_part: String,
    #[serde(default)]
    station: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    window: String,
    #[serde(default)]
    when: String,
    #[serde(default)]
    label: String,
    /// The destination has to say that it keeps what it took.
    #[serde(default)]
    commit: bool,
}

impl Wish {
    /// The rule, if it can be one.
    pub(super) fn rule(&self) -> Option<NewRule> {
        let word = |text: &str| text.trim().to_owned();
        let given = |text: &str| Some(word(text)).filter(|text| !text.is_empty());
        let which = Which {
            source: match given(&self.source) {
                Some(text) => Some(TitlePattern::parse(&text)?),
                None => None,
            },
            modality: word(&self.modality),
            body_part: word(&self.body_part),
            station: word(&self.station),
            description: word(&self.description),
        };
        let label = word(&self.label);
        let plain = label.chars().count() <= LONGEST && !label.chars().any(char::is_control);
        let to: Goal = self.to.trim().parse().ok()?;
        // DICOMweb has no storage commitment.
        let can_commit = !self.commit || matches!(to, Goal::Peer(_));
        (plain && can_commit && which.is_legal()).then_some(())?;
        Some(NewRule {
            label,
            which,
            to,
            commits: self.commit,
            window: given(&self.window).map(|text| text.parse()).transpose().ok()?,
            when: match self.when.as_str() {
                "" => When::Settled,
                word => When::parse(word)?,
            },
            at_ms: now_ms(),
        })
    }
}

/// Which rule is meant.
#[derive(Deserialize)]
pub(super) struct Named {
    rule: i64,
    #[serde(default)]
    disabled: bool,
}

/// Which delivery is meant.
#[derive(Deserialize)]
pub(super) struct Again {
    delivery: i64,
}

/// `GET /routes`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    answer(&state, &caller, &frame.at("routes"), StatusCode::OK, None).await
}

pub(super) async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    problem: Option<&str>,
) -> Response {
    let (rules, deliveries, goals, services) = match found(state, caller).await {
        Ok(found) => found,
        Err(error) => return frame.failed(error),
    };
    let t = RouteTexts::of(frame.t);
    let page = RoutesPage {
        frame,
        t,
        rules: rules.into_iter().map(|row| rule_line(t, row)).collect(),
        deliveries: deliveries.into_iter().map(|row| delivery_line(t, row)).collect(),
        goals,
        services,
        problem,
    };
    frame.answer(status, &page)
}

type Found = (Vec<RuleRow>, Vec<DeliveryRow>, Vec<String>, Vec<WebGoal>);

async fn found(state: &WebState, caller: &Caller) -> Result<Found, CatalogError> {
    let (catalog, scope) = (state.archive().catalog(), &caller.scope);
    let services = catalog.web_goals(scope).await?;
    let peers = catalog.destinations(scope).await?;
    let peers = peers.into_iter().map(|row| format!("dicom:{}", row.destination.title));
    let goals = services.iter().map(|goal| format!("web:{}", goal.name)).chain(peers).collect();
    let deliveries = catalog.deliveries(scope, &DeliveriesOf::default(), SHOWN).await?;
    Ok((catalog.route_rules(scope).await?, deliveries, goals, services))
}

fn rule_line(t: &RouteTexts, row: RuleRow) -> RuleLine {
    let rule = row.rule;
    let source = rule.which.source.as_ref().map(ToString::to_string).unwrap_or_default();
    let names = [t.modality, t.body_part, t.station, t.description];
    let words = names.into_iter().zip(rule.which.words().map(str::to_owned));
    let all = std::iter::once((t.source, source)).chain(words);
    RuleLine {
        id: rule.id,
        label: rule.label,
        conditions: all.filter(|(_, word)| !word.is_empty()).collect(),
        to: rule.to.to_string(),
        when: match rule.when {
            When::Settled => t.settled,
            When::AtOnce => t.at_once,
        },
        window: rule.window.map(|window| window.to_string()).unwrap_or_default(),
        commits: rule.commits,
        disabled: rule.disabled,
    }
}

fn delivery_line(t: &RouteTexts, row: DeliveryRow) -> DeliveryLine {
    DeliveryLine {
        id: row.id,
        to: row.to.to_string(),
        state: match row.state.as_str() {
            "waiting" => t.waiting,
            "sending" => t.sending,
            "committing" => t.committing,
            "committed" => t.committed,
            "delivered" => t.delivered,
            _ => t.failed,
        },
        waits: matches!(row.state.as_str(), "waiting" | "committing"),
        failed: row.state == "failed",
        study: row.study,
        sent: row.sent,
        committed: row.committed,
        refused: row.refused,
        words: row.words,
        changed: format::instant(row.updated_ms),
        due: format::instant(row.due_ms),
    }
}

/// `POST /routes`: adds a rule.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(wish): Form<Wish>,
) -> Response {
    let frame = frame.at("routes");
    let refuse = async |problem| {
        answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, Some(problem)).await
    };
    let Some(new) = wish.rule() else { return refuse(RouteTexts::of(frame.t).bad).await };
    match state.archive().catalog().add_route_rule(&caller.scope, &new).await {
        Ok(Some(_)) => redirect("/routes"),
        Ok(None) => refuse(RouteTexts::of(frame.t).unknown).await,
        Err(error) => frame.failed(error),
    }
}

/// `POST /routes/disabled`: switches a rule off or on.
pub(super) async fn disable(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Named>,
) -> Response {
    let catalog = state.archive().catalog();
    let done = catalog.set_route_rule_disabled(&caller.scope, which.rule, which.disabled).await;
    after(&frame, done)
}

/// `POST /routes/remove`: removes a rule.
pub(super) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Named>,
) -> Response {
    after(&frame, state.archive().catalog().remove_route_rule(&caller.scope, which.rule).await)
}

/// `POST /routes/replay`: sends a delivery again, as far as it did not arrive.
pub(super) async fn replay(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(again): Form<Again>,
) -> Response {
    let catalog = state.archive().catalog();
    after(&frame, catalog.replay_delivery(&caller.scope, again.delivery, false, now_ms()).await)
}

fn after(frame: &Frame, done: Result<bool, CatalogError>) -> Response {
    match done {
        Ok(true) => redirect("/routes"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}
