//! UPS-RS, the worklist service (PS3.18 section 11): workitems, subscriptions, event reports.
//!
//! What a request makes of a workitem is decided by [`qianli_model::workitem`] and made to last by
//! the catalog; here are the bodies, the headers and the status codes.

mod answer;
mod body;
mod channel;
mod search;
mod subscribers;
mod workitems;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_catalog::CatalogError;
use qianli_model::workitem::{Refusal, Transaction};
use qianli_model::xml;
use qianli_model::{AeTitle, SopInstanceUid};

pub(crate) use channel::Channels;

use super::respond::DICOM_JSON;
use super::routes::{Route, route};
use crate::error::HttpError;

/// Bodies with a workitem in them, the default first.
const TAKES: &[&str] =
    &[DICOM_JSON, xml::MEDIA_TYPE, "multipart/related; type=\"application/dicom+xml\""];
/// Answers with one workitem.
const GIVES: &[&str] = &[
    DICOM_JSON,
    "application/json",
    xml::MEDIA_TYPE,
    "multipart/related; type=\"application/dicom+xml\"",
];
/// Answers with many.
const FINDS: &[&str] =
    &[DICOM_JSON, "application/json", "multipart/related; type=\"application/dicom+xml\""];

/// Routes of the service.
pub(crate) const ROUTES: &[Route] = &[
    route!(Post "/workitems" => workitems::create, Worklist, "11.4",
        ["Create a workitem", "创建工作项"], query &["workitem"], takes TAKES,
        answers &[201]),
    route!(Get "/workitems" => workitems::search, Worklist, "11.9",
        ["Search for workitems", "检索工作项"],
        query &["limit", "offset", "includefield", "fuzzymatching", "count"], gives FINDS),
    route!(Get "/workitems/{workitem}" => workitems::retrieve, Worklist, "11.5",
        ["Retrieve a workitem", "获取工作项"], gives GIVES),
    route!(Post "/workitems/{workitem}" => workitems::update, Worklist, "11.6",
        ["Update a workitem", "更新工作项"], query &["transaction-uid"], takes TAKES,
        answers &[200]),
    route!(Put "/workitems/{workitem}/state" => workitems::change_state, Worklist, "11.7",
        ["Claim, complete or cancel a workitem", "认领、完成或取消工作项"], takes TAKES,
        answers &[200]),
    route!(Put "/workitems/{workitem}/state/{aetitle}" => workitems::change_state, Worklist, "",
        ["The same, saying who asks", "同上，并注明请求方"], takes TAKES, answers &[200]),
    route!(Post "/workitems/{workitem}/cancelrequest" => workitems::request_cancel, Worklist, "11.8",
        ["Ask to cancel a workitem", "请求取消工作项"], query &["requester"], takes TAKES,
        answers &[202]),
    route!(Post "/workitems/{workitem}/cancelrequest/{aetitle}" => workitems::request_cancel, Worklist, "",
        ["The same, saying who asks", "同上，并注明请求方"], takes TAKES, answers &[202]),
    route!(Post "/workitems/{workitem}/subscribers/{aetitle}" => subscribers::subscribe, Worklist, "11.10",
        ["Subscribe to a workitem, the worklist or a filtered part of it",
         "订阅单个工作项、整个工作列表或其筛选部分"], query &["deletionlock", "filter"],
        answers &[201]),
    route!(Delete "/workitems/{workitem}/subscribers/{aetitle}" => subscribers::unsubscribe, Worklist, "11.11",
        ["End a subscription", "取消订阅"], answers &[200]),
    route!(Post "/workitems/{workitem}/subscribers/{aetitle}/suspend" => subscribers::suspend,
        Worklist, "11.12", ["Subscribe to no more new workitems", "暂停订阅新工作项"], answers &[200]),
    route!(Get "/subscribers/{aetitle}" => channel::open, Worklist, "8.10.4",
        ["Open the WebSocket for event reports", "打开接收事件报告的 WebSocket"], answers &[101]),
];

/// Answers a refusal: its status, a sentence, and the Warning that section 11 prescribes for it.
fn refuse(refusal: &Refusal, transaction: Transaction) -> Response {
    let status = StatusCode::from_u16(refusal.http(transaction)).unwrap_or(StatusCode::BAD_REQUEST);
    let message = format!("{refusal} (DICOM status {:04X})", refusal.code());
    let mut response = HttpError::new(status, message).into_response();
    if let Some(text) = refusal.warning(transaction) {
        warn(response.headers_mut(), text);
    }
    response
}

/// Sets a Warning exactly as section 11 writes it: without the quotes of RFC 7234.
fn warn(headers: &mut HeaderMap, text: &'static str) {
    if let Ok(value) = HeaderValue::from_str(&format!("299 qianli: {text}")) {
        headers.append(header::WARNING, value);
    }
}

/// A database that is away is tried again; anything else is ours to mend.
fn failed(error: CatalogError) -> HttpError {
    if error.is_transient() {
        tracing::error!(cause = %error, "catalog does not answer");
        return HttpError::unavailable("the worklist cannot answer now; try again");
    }
    HttpError::internal(error)
}

fn uid(text: &str) -> Result<SopInstanceUid, HttpError> {
    SopInstanceUid::parse(text)
        .map_err(|error| HttpError::bad_request(format!("the workitem in the path: {error}")))
}

fn aet(text: &str) -> Result<AeTitle, HttpError> {
    AeTitle::parse(text).map_err(|error| HttpError::bad_request(error.to_string()))
}
