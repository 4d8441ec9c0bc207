//! `/reading/rules`: which studies become reading tasks, for whom, and by when.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::reading::RuleRow;
use qianli_model::peer::TitlePattern;
use serde::Deserialize;

use super::api::{Draft, Trouble, add_rule_of};
use super::{called, priority};
use crate::WebState;
use crate::caller::Caller;
use crate::origin::SameSite;
use crate::portal::login::redirect;
use crate::portal::page::Frame;
use crate::portal::reading_text::Texts;

#[derive(Template)]
#[template(path = "reading_rules.html")]
struct RulesPage<'a> {
    frame: &'a Frame,
    r: &'static Texts,
    rules: Vec<Line>,
    tenants: Vec<(String, String)>,
    draft: &'a Draft,
    problem: Option<&'a str>,
}

struct Line {
    id: i64,
    label: String,
    conditions: Vec<(&'static str, String)>,
    to: String,
    subspecialty: String,
    priority: &'static str,
    due_minutes: i64,
    disabled: bool,
}

impl Line {
    fn new(row: RuleRow, r: &'static Texts) -> Self {
        let rule = row.rule;
        let source = rule.which.source.as_ref().map_or("", TitlePattern::as_str).to_owned();
        let asked = rule.asked.map_or("", |asked| priority(r, asked)).to_owned();
        let conditions = [
            (r.modality, rule.which.modality.to_uppercase()),
            (r.body_part, rule.which.body_part.to_uppercase()),
            (r.station, rule.which.station),
            (r.description, rule.which.description),
            (r.source, source),
            (r.asked, asked),
        ];
        Self {
            id: rule.id,
            label: rule.label,
            conditions: conditions.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            to: called(&row.to),
            subspecialty: rule.subspecialty,
            priority: priority(r, rule.priority),
            due_minutes: rule.due_minutes,
            disabled: rule.disabled,
        }
    }
}

/// `GET /reading/rules`.
pub(in crate::portal) async fn show(
    State(web): State<WebState>,
    caller: Caller,
    frame: Frame,
) -> Response {
    let frame = frame.at("reading");
    let draft = Draft { due_minutes: 1440, ..Draft::default() };
    answer(&web, &caller, &frame, &draft, (StatusCode::OK, None)).await
}

async fn answer(
    web: &WebState,
    caller: &Caller,
    frame: &Frame,
    draft: &Draft,
    (status, problem): (StatusCode, Option<&str>),
) -> Response {
    let catalog = web.archive().catalog();
    let (rules, tenants) =
        match tokio::join!(catalog.reading_rules(&caller.scope), catalog.tenants()) {
            (Ok(rules), Ok(tenants)) => (rules, tenants),
            (Err(error), _) | (_, Err(error)) => return frame.failed(error),
        };
    let page = RulesPage {
        r: frame.r(),
        rules: rules.into_iter().map(|row| Line::new(row, frame.r())).collect(),
        tenants: crate::portal::share::others(tenants, &caller.scope),
        draft,
        problem,
        frame,
    };
    frame.answer(status, &page)
}

/// `POST /reading/rules`.
pub(in crate::portal) async fn add(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(draft): Form<Draft>,
) -> Response {
    let frame = frame.at("reading");
    match add_rule_of(&web, &caller.scope, &draft).await {
        Ok(_) => redirect("/reading/rules"),
        Err(Trouble::Failed(error)) => frame.failed(error),
        Err(trouble) => {
            let (status, words) = match trouble {
                Trouble::Refused(_) => (StatusCode::FORBIDDEN, frame.r().not_allowed),
                _ => (StatusCode::BAD_REQUEST, frame.r().unreadable),
            };
            answer(&web, &caller, &frame, &draft, (status, Some(words))).await
        }
    }
}

/// Which rule, and what of it.
#[derive(Deserialize)]
pub(in crate::portal) struct Which {
    rule: i64,
    #[serde(default)]
    disabled: bool,
}

/// `POST /reading/rules/disabled`.
pub(in crate::portal) async fn disable(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    let catalog = web.archive().catalog();
    match catalog.set_reading_rule_disabled(&caller.scope, which.rule, which.disabled).await {
        Ok(true) => redirect("/reading/rules"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}

/// `POST /reading/rules/remove`.
pub(in crate::portal) async fn remove(
    State(web): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Which>,
) -> Response {
    match web.archive().catalog().remove_reading_rule(&caller.scope, which.rule).await {
        Ok(true) => redirect("/reading/rules"),
        Ok(false) => frame.missing(),
        Err(error) => frame.failed(error),
    }
}
