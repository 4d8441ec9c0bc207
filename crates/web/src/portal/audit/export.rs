//! `GET /audit/export`: the rows that the page's conditions find, as CSV or as audit messages of
//! PS3.15 section A.5, the earliest first.

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use qianli_catalog::{AuditFilter, AuditOrder, AuditRow, CatalogError};

use super::page::filter;
use crate::caller::Caller;
use crate::dicomweb::params;
use crate::error::HttpError;
use crate::portal::format;
use crate::{AuditMessage, WebState};

/// Rows read at a time.
const PAGE: u32 = 1000;

const COLUMNS: &str = "time,tenant,kind,principal,address,action,outcome,study,series,instance,\
    instances,requests,details,chain,number,hash\r\n";

/// How a row is written.
#[derive(Clone, Copy)]
enum Form {
    Csv,
    Dicom(AuditMessage),
}

pub(in crate::portal) async fn export(
    State(state): State<WebState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let query = query.unwrap_or_default();
    let wrong = || HttpError::bad_request("one of the conditions cannot be read; see /audit");
    let mut filter = filter(&query).ok_or_else(wrong)?;
    filter.order = AuditOrder::OldestFirst;
    // What is written while this runs, this very export first of all, is for the next one.
    let now = crate::access::now_ms();
    filter.until_ms = Some(filter.until_ms.unwrap_or(i64::MAX).min(now));
    let format = params::first(&query, "format").unwrap_or_default();
    let form = match (format.as_str(), state.config().audit_message) {
        ("" | "csv", _) => Form::Csv,
        ("dicom", Some(message)) => Form::Dicom(message),
        _ => return Err(HttpError::bad_request("format must be csv or dicom")),
    };
    let (kind, name, head) = match form {
        // The mark tells Excel that it is UTF-8.
        Form::Csv => ("text/csv; charset=utf-8", "audit.csv", format!("\u{feff}{COLUMNS}")),
        Form::Dicom(_) => {
            let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AuditMessages>\n";
            ("application/xml", "audit.xml", head.to_owned())
        }
    };
    let start = Step::Head(head, filter);
    let rows =
        stream::try_unfold(start, move |step| next(state.clone(), caller.clone(), form, step));
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(rows)).into_response())
}

/// How far the answer is.
enum Step {
    Head(String, AuditFilter),
    Rows(AuditFilter),
    End,
}

async fn next(
    state: WebState,
    caller: Caller,
    form: Form,
    step: Step,
) -> Result<Option<(Bytes, Step)>, CatalogError> {
    let mut filter = match step {
        Step::Head(head, filter) => return Ok(Some((head.into(), Step::Rows(filter)))),
        Step::Rows(filter) => filter,
        Step::End => return Ok(None),
    };
    let rows = state.archive().catalog().audit(&caller.scope, &filter, PAGE).await?;
    let mut text = String::new();
    for row in &rows {
        match form {
            Form::Csv => csv(&mut text, row),
            // The comment is what `qianli audit verify --against` compares.
            Form::Dicom(message) => {
                let AuditRow { chain, number, hash, .. } = row;
                text += &format!("<!-- chain={chain} number={number} hash={hash} -->");
                text += &message(row, &state.config().node.aet);
                text.push('\n');
            }
        }
    }
    let step = match rows.last() {
        Some(last) if rows.len() == PAGE as usize => {
            filter.after = Some((last.entry.at_ms, last.chain, last.number));
            Step::Rows(filter)
        }
        _ => {
            if matches!(form, Form::Dicom(_)) {
                text += "</AuditMessages>\n";
            }
            Step::End
        }
    };
    Ok(Some((text.into(), step)))
}

fn csv(text: &mut String, row: &AuditRow) {
    let entry = &row.entry;
    let numbers = |number: i64| number.to_string();
    let cells = [
        format::instant(entry.at_ms),
        numbers(entry.tenant),
        entry.principal_kind.clone(),
        entry.principal.clone(),
        entry.peer.clone(),
        entry.action.clone(),
        entry.outcome.clone(),
        entry.study.clone(),
        entry.series.clone(),
        entry.instance.clone(),
        numbers(entry.instances),
        numbers(entry.requests),
        entry.details.clone(),
        numbers(row.chain),
        numbers(row.number),
        row.hash.clone(),
    ];
    let cells: Vec<String> = cells.iter().map(|one| cell(one)).collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

/// A cell (RFC 4180). Names come from outside: what a spreadsheet would compute gets an apostrophe.
fn cell(text: &str) -> String {
    let computed = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let apostrophe = if computed { "'" } else { "" };
    if computed || text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{apostrophe}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text_and_nothing_else() {
        for (text, expected) in [
            ("wang", "wang"),
            ("a,b", "\"a,b\""),
            (r#"{"by":1}"#, r#""{""by"":1}""#),
            ("=HYPERLINK(1)", "\"'=HYPERLINK(1)\""),
            ("@x", "\"'@x\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
