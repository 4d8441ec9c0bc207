//! Subscribing, unsubscribing, suspending (PS3.18 sections 11.10 to 11.12).

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qianli_catalog::Subject;
use qianli_model::workitem::{FILTERED_WORKLIST, Transaction, WORKLIST, search};
use serde::Deserialize;

use super::super::{params, respond};
use super::workitems::now_ms;
use super::{aet, failed, refuse, uid};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin::SameSite;

/// Longest filter (bytes).
const MAX_FILTER: usize = 4_096;

/// The variables of a path.
#[derive(Deserialize)]
pub(super) struct At {
    workitem: String,
    aetitle: String,
}

impl At {
    /// What the path names; a filtered worklist without its filter.
    fn subject(&self) -> Result<Subject, HttpError> {
        Ok(match self.workitem.as_str() {
            WORKLIST => Subject::Worklist,
            FILTERED_WORKLIST => Subject::Filtered(String::new()),
            workitem => Subject::Workitem(uid(workitem)?),
        })
    }
}

/// 11.10 Subscribe.
pub(super) async fn subscribe(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    _site: SameSite,
    Path(at): Path<At>,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let aet = aet(&at.aetitle)?;
    let query = query.unwrap_or_default();
    params::once(&query, &["deletionlock"])?;
    let lock = match params::first(&query, "deletionlock").unwrap_or_default().as_str() {
        "true" => true,
        "false" | "" => false,
        _ => return Err(HttpError::bad_request("deletionlock is neither true nor false")),
    };
    let subject = match at.subject()? {
        Subject::Filtered(_) => Subject::Filtered(filter(&query)?),
        subject => subject,
    };
    let catalog = state.archive().catalog();
    let done = catalog.subscribe(&caller.scope, &aet, &subject, lock, now_ms()).await;
    if let Err(refusal) = done.map_err(failed)? {
        return Ok(refuse(&refusal, Transaction::Subscribe));
    }
    state.channels().nudge();
    let mut response = StatusCode::CREATED.into_response();
    // http becomes ws, https wss; of a path alone the client knows the rest.
    let root = base.as_str();
    let root = root.strip_prefix("http").map_or(root.to_owned(), |rest| format!("ws{rest}"));
    let title = utf8_percent_encode(aet.as_str(), NON_ALPHANUMERIC);
    let url = format!("{root}/subscribers/{title}");
    respond::set(response.headers_mut(), header::CONTENT_LOCATION, &url);
    Ok(response)
}

/// The conditions of the query string: those in `filter`, and matching keys beside it.
fn filter(query: &str) -> Result<String, HttpError> {
    let mut pieces = Vec::new();
    for (name, value) in params::pairs(query) {
        match name.to_ascii_lowercase().as_str() {
            "filter" => pieces.push(value),
            "deletionlock" | "accept" | "charset" => {}
            _ => pieces.push(format!("{name}={value}")),
        }
    }
    let filter = pieces.join(",");
    if filter.len() > MAX_FILTER {
        return Err(HttpError::bad_request(format!("a filter may have {MAX_FILTER} bytes")));
    }
    search::filter(&filter).map_err(|error| HttpError::bad_request(error.to_string()))?;
    Ok(filter)
}

/// 11.11 Unsubscribe.
pub(super) async fn unsubscribe(
    State(state): State<WebState>,
    caller: Caller,
    _site: SameSite,
    Path(at): Path<At>,
) -> Result<Response, HttpError> {
    let (aet, subject) = (aet(&at.aetitle)?, at.subject()?);
    let catalog = state.archive().catalog();
    match catalog.unsubscribe(&caller.scope, &aet, &subject).await.map_err(failed)? {
        Err(refusal) => Ok(refuse(&refusal, Transaction::Subscribe)),
        Ok(was) => answer(was),
    }
}

/// 11.12 Suspend.
pub(super) async fn suspend(
    State(state): State<WebState>,
    caller: Caller,
    _site: SameSite,
    Path(at): Path<At>,
) -> Result<Response, HttpError> {
    let (aet, subject) = (aet(&at.aetitle)?, at.subject()?);
    if let Subject::Workitem(_) = subject {
        let message = "only a subscription to the worklist, or to a filtered one, can be suspended";
        return Err(HttpError::bad_request(message));
    }
    let catalog = state.archive().catalog();
    answer(catalog.suspend(&caller.scope, &aet, &subject).await.map_err(failed)?)
}

fn answer(was: bool) -> Result<Response, HttpError> {
    if was {
        Ok(StatusCode::OK.into_response())
    } else {
        Err(HttpError::not_found("there is no such subscription"))
    }
}
