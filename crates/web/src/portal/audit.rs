//! `GET /api/audit`: the trail of the caller's tenant as JSON, the latest first; and the page about it.

mod check;
mod export;
mod page;
mod words;

pub(crate) use check::Check;
pub(super) use check::verify;
pub(super) use export::export;
pub(super) use page::show;

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use qianli_catalog::{AuditFilter, AuditRow};
use qianli_model::audit::{Action, Outcome};
use serde_json::{Value, json};

use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::params;
use crate::error::HttpError;

/// Rows of a page unless asked for otherwise, and at most.
const ROWS: (u32, u32) = (100, 1000);

/// Parameters, each at most once.
const PARAMETERS: &[&str] =
    &["since", "until", "principal", "study", "patient", "action", "outcome", "after", "limit"];

/// Answers a page of rows, and in `next` what `after` of the next page is.
pub(super) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let (filter, limit) = read(query.as_deref().unwrap_or_default())?;
    let rows = state.archive().catalog().audit(&caller.scope, &filter, limit).await?;
    let next = rows
        .last()
        .filter(|_| rows.len() == limit as usize)
        .map(|last| format!("{},{},{}", last.entry.at_ms, last.chain, last.number));
    let rows: Vec<Value> = rows.iter().map(shown).collect();
    let body = json!({ "rows": rows, "next": next }).to_string();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

fn shown(row: &AuditRow) -> Value {
    let mut json = row.to_json();
    let at = Timestamp::from_millisecond(row.entry.at_ms);
    json["time"] = at.map(|at| at.to_string()).unwrap_or_default().into();
    json
}

fn read(query: &str) -> Result<(AuditFilter, u32), HttpError> {
    params::once(query, PARAMETERS)?;
    let get = |name: &str| params::first(query, name).filter(|value| !value.is_empty());
    let wrong = |name: &str, what: &str| HttpError::bad_request(format!("{name} must be {what}"));
    let time = |name: &str| match get(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<Timestamp>()
            .map(|at| Some(at.as_millisecond()))
            .map_err(|_| wrong(name, "a time such as 2026-11-01T08:00:00Z")),
    };
    let action = match get("action") {
        None => None,
        Some(word) => {
            Some(Action::parse(&word).ok_or_else(|| wrong("action", "an action of the trail"))?)
        }
    };
    let outcome = match get("outcome") {
        None => None,
        Some(word) => {
            let what = "success, not found, refused or failed";
            Some(Outcome::parse(&word).ok_or_else(|| wrong("outcome", what))?)
        }
    };
    let after = match get("after") {
        None => None,
        Some(text) => {
            let numbers: Vec<i64> = text.split(',').filter_map(|one| one.parse().ok()).collect();
            match numbers.as_slice() {
                [at_ms, chain, number] => Some((*at_ms, *chain, *number)),
                _ => return Err(wrong("after", "what the page before said in next")),
            }
        }
    };
    let limit = match get("limit") {
        None => ROWS.0,
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|limit| (1..=ROWS.1).contains(limit))
            .ok_or_else(|| wrong("limit", "a number from 1 to 1000"))?,
    };
    let filter = AuditFilter {
        since_ms: time("since")?,
        until_ms: time("until")?,
        principal: get("principal"),
        study: get("study"),
        patient_id: get("patient"),
        action,
        outcome,
        after,
        ..AuditFilter::default()
    };
    Ok((filter, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for query in
            ["action=look", "limit=0", "limit=1001", "after=1,2", "since=x", "limit=1&limit=2"]
        {
            assert!(read(query).is_err(), "{query}");
        }
        let query = "since=1970-01-01T00:00:01Z&action=read+pixels&after=5,9,3&limit=7";
        let (filter, limit) = read(query).expect("legal");
        assert_eq!((filter.since_ms, filter.after, limit), (Some(1000), Some((5, 9, 3)), 7));
        assert_eq!(filter.action, Some(Action::ReadPixels));
    }
}
