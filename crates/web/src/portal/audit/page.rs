//! `/audit`: the trail of the caller's tenant for people, and what proves it.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use qianli_catalog::{AuditFilter, AuditOrder, AuditRow};
use qianli_model::audit::{Action, Outcome};
use serde_json::Value;

use super::check::Checked;
use super::words;
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::params;
use crate::portal::format;
use crate::portal::page::{Frame, encode};

/// Rows on one page.
const PAGE: u32 = 50;

/// Longest condition (characters).
const LONGEST: usize = 128;

/// What is searched for, as it was typed.
#[derive(Default)]
struct Search {
    who: String,
    action: String,
    outcome: String,
    study: String,
    from: String,
    to: String,
}

impl Search {
    fn read(query: &str) -> Self {
        let get = |name: &str| {
            let value = params::first(query, name).unwrap_or_default();
            value.trim().chars().take(LONGEST).collect::<String>()
        };
        Self {
            who: get("who"),
            action: get("action"),
            outcome: get("outcome"),
            study: get("study"),
            from: get("from"),
            to: get("to"),
        }
    }

    fn is_set(&self) -> bool {
        [&self.who, &self.action, &self.outcome, &self.study, &self.from, &self.to]
            .into_iter()
            .any(|value| !value.is_empty())
    }

    /// The first moment of a day in the zone of this server, `later` days after it.
    fn moment(day: &str, later: i64) -> Option<i64> {
        let day: Date = day.parse().ok()?;
        let day = day.checked_add(jiff::Span::new().try_days(later).ok()?).ok()?;
        let at = TimeZone::system().to_zoned(day.at(0, 0, 0, 0)).ok()?;
        Some(at.timestamp().as_millisecond())
    }

    /// The conditions; what cannot be read is named instead.
    fn filter(&self) -> (AuditFilter, Option<&'static str>) {
        let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let (action, outcome) = (Action::parse(&self.action), Outcome::parse(&self.outcome));
        let (since, until) = (Self::moment(&self.from, 0), Self::moment(&self.to, 1));
        let unread = [
            ("action", action.is_none() && !self.action.is_empty()),
            ("outcome", outcome.is_none() && !self.outcome.is_empty()),
            ("from", since.is_none() && !self.from.is_empty()),
            ("to", until.is_none() && !self.to.is_empty()),
        ];
        let unread = unread.into_iter().find(|(_, unread)| *unread).map(|(name, _)| name);
        let filter = AuditFilter {
            who: text(&self.who),
            study: text(&self.study),
            action,
            outcome,
            since_ms: since,
            until_ms: until,
            ..AuditFilter::default()
        };
        (filter, unread)
    }
}

/// The conditions of the page's query, for the exports. `None` when one of them cannot be read.
pub(super) fn filter(query: &str) -> Option<AuditFilter> {
    match Search::read(query).filter() {
        (filter, None) => Some(filter),
        _ => None,
    }
}

/// A row for reading.
struct Line {
    at: String,
    kind: &'static str,
    who: String,
    peer: String,
    action: &'static str,
    outcome: &'static str,
    fine: bool,
    study: String,
    study_href: String,
    counts: String,
    details: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    frame: &'a Frame,
    search: Search,
    unread: Option<&'static str>,
    /// Word, label, and whether it is chosen.
    actions: Vec<(&'static str, &'static str, bool)>,
    outcomes: Vec<(&'static str, &'static str, bool)>,
    rows: Vec<Line>,
    newer: Option<String>,
    older: Option<String>,
    csv: String,
    dicom: Option<String>,
    checked: Checked,
}

/// Where a page begins: time, chain and number of a row.
fn place(text: &str) -> Option<(i64, i64, i64)> {
    let numbers: Vec<i64> = text.split(',').filter_map(|one| one.parse().ok()).collect();
    match numbers.as_slice() {
        [at_ms, chain, number] => Some((*at_ms, *chain, *number)),
        _ => None,
    }
}

fn place_of(row: &AuditRow) -> String {
    format!("{},{},{}", row.entry.at_ms, row.chain, row.number)
}

/// `GET /audit`.
pub(in crate::portal) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    frame: Frame,
    RawQuery(query): RawQuery,
) -> Response {
    let frame = frame.at("audit");
    let query = query.unwrap_or_default();
    let search = Search::read(&query);
    let (mut filter, unread) = search.filter();
    let at = |name: &str| params::first(&query, name).as_deref().and_then(place);
    let (after, before) = (at("after"), at("before"));
    filter.after = before.or(after);
    if before.is_some() {
        filter.order = AuditOrder::OldestFirst;
    }
    let mut rows = Vec::new();
    if unread.is_none() {
        // One more than is shown says whether there are more.
        match state.archive().catalog().audit(&caller.scope, &filter, PAGE + 1).await {
            Ok(found) => rows = found,
            Err(error) => return frame.failed(error),
        }
    }
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    if before.is_some() {
        rows.reverse();
    }
    let (is_newer, is_older) = match before {
        Some(_) => (more, true),
        None => (after.is_some(), more),
    };
    let step = |name: &str, other: &str, row: Option<&AuditRow>, is: bool| {
        let row = row.filter(|_| is)?;
        Some(frame.link(&[(name, &place_of(row)), (other, "")]))
    };
    let newer = step("before", "after", rows.first(), is_newer);
    let older = step("after", "before", rows.last(), is_older);
    let export = |format: &str| {
        let link = frame.link(&[("after", ""), ("before", ""), ("lang", ""), ("format", format)]);
        link.replacen("/audit", "/audit/export", 1)
    };
    let english = frame.is_english();
    let chosen = |words: &[&'static str], current: &str| {
        let one = |word: &&'static str| (*word, words::label(word, english), *word == current);
        words.iter().map(one).collect::<Vec<_>>()
    };
    let actions: Vec<&'static str> = Action::ALL.iter().map(|one| one.as_str()).collect();
    let outcomes: Vec<&'static str> = Outcome::ALL.iter().map(|one| one.as_str()).collect();
    let page = AuditPage {
        actions: chosen(&actions, &search.action),
        outcomes: chosen(&outcomes, &search.outcome),
        rows: rows.iter().map(|row| line(row, &frame)).collect(),
        newer,
        older,
        csv: export("csv"),
        dicom: state.config().audit_message.map(|_| export("dicom")),
        checked: state.audit_check().state(),
        unread,
        search,
        frame: &frame,
    };
    frame.answer(StatusCode::OK, &page)
}

fn line(row: &AuditRow, frame: &Frame) -> Line {
    let (entry, english) = (&row.entry, frame.is_english());
    let word = |known: Option<&'static str>| known.map_or("?", |word| words::label(word, english));
    let counted = |number: i64, what: &str| match number {
        0 | 1 => None,
        number => Some(format!("{} {what}", format::count(number))),
    };
    let counts = [
        counted(entry.requests, frame.t.audit_requests),
        counted(entry.instances, frame.t.audit_instances),
    ];
    Line {
        at: format::instant(entry.at_ms),
        kind: words::kind(&entry.principal_kind, english),
        who: entry.principal.clone(),
        peer: entry.peer.clone(),
        action: word(Action::parse(&entry.action).map(Action::as_str)),
        outcome: word(Outcome::parse(&entry.outcome).map(Outcome::as_str)),
        fine: entry.outcome == Outcome::Success.as_str(),
        study_href: match frame.reads() && !entry.study.is_empty() {
            true => format!("/studies/{}", encode(&entry.study).replace("%2E", ".")),
            false => String::new(),
        },
        study: entry.study.clone(),
        counts: counts.into_iter().flatten().collect::<Vec<_>>().join(", "),
        details: details(row),
    }
}

/// Everything that the row says and its line does not, by name.
fn details(row: &AuditRow) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let Value::Object(mut row) = row.to_json() else { return all };
    let inner = row.remove("details");
    for shown in ["action", "outcome", "principal", "principal_kind", "peer", "study", "at_ms"] {
        row.remove(shown);
    }
    // Nothing was counted.
    row.retain(|name, value| name != "instances" || value.as_i64() != Some(0));
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let own = match inner {
        Some(Value::Object(own)) => own.into_iter().collect(),
        Some(other) => vec![("details".to_owned(), other)],
        None => Vec::new(),
    };
    for (name, value) in own.into_iter().chain(row) {
        let text = text(value);
        if !text.is_empty() {
            all.push((name, text));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_conditions_or_is_named() {
        let query = "who=wang&action=read+pixels&outcome=not+found&study=1.2&from=2026-11-01";
        let (filter, unread) = Search::read(query).filter();
        assert_eq!(unread, None);
        assert_eq!((filter.who.as_deref(), filter.study.as_deref()), (Some("wang"), Some("1.2")));
        assert_eq!(filter.action, Some(Action::ReadPixels));
        assert_eq!(filter.outcome, Some(Outcome::NotFound));
        let (day, _) = Search::read("from=2026-11-01&to=2026-11-01").filter();
        let length = day.until_ms.unwrap() - day.since_ms.unwrap();
        assert!((82_800_000..=90_000_000).contains(&length), "one day: {length} ms");
        for (query, name) in
            [("action=look", "action"), ("from=yesterday", "from"), ("to=2026-13-01", "to")]
        {
            assert_eq!(Search::read(query).filter().1, Some(name), "{query}");
            assert!(super::filter(query).is_none());
        }
        assert!(!Search::read("after=1,2,3&lang=en").is_set());
        assert_eq!(place("5,9,3"), Some((5, 9, 3)));
        assert_eq!(place("5,9"), None);
    }
}
