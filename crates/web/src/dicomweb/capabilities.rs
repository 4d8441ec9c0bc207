//! What this server can do, as documents (PS3.18 section 8.9 and annex H): WADL and OpenAPI, made
//! from the table of [`super::routes`].

mod openapi;
mod wadl;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};

use qianli_model::Permission;

use super::accept::{Accept, Offer};
use super::routes::{Route, route};
use super::{params, respond, wado};
use crate::WebState;
use crate::access::require;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;

const WADL: &str = "application/vnd.sun.wadl+xml";
const JSON: &str = "application/json";
const OPENAPI: &str = "application/vnd.oai.openapi+json";
const HTML: &str = "text/html";

/// Where people read the same.
const PAGE: &str = "/api";

/// Routes of the capabilities themselves.
pub(crate) const ROUTES: &[Route] = &[
    route!(Options "/" => describe, SignIn, "8.9",
        ["What this server can do", "本服务器的能力说明"], gives &[WADL, JSON, OPENAPI]),
    route!(Get "/" => describe, SignIn, "8.9",
        ["What this server can do", "本服务器的能力说明"], gives &[WADL, JSON, OPENAPI]),
    route!(Get "/openapi.json" => openapi_document, SignIn, "",
        ["The OpenAPI document", "OpenAPI 文档"], gives &[JSON, OPENAPI]),
];

/// `OPTIONS /` and `GET /`. A browser, which asks for HTML, is sent to the page. A query of WADO-URI
/// is answered as under its own path: some clients (the npm dicomweb-client) know only this root.
async fn describe(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    if query.as_deref().and_then(|query| params::first(query, "requestType")).is_some() {
        require(&caller, Permission::Read)?;
        return wado::uri::retrieve(State(state), caller, base, headers, RawQuery(query)).await;
    }
    let types = [WADL, JSON, OPENAPI, HTML];
    let accept = Accept::of(&headers, query.as_deref());
    let chosen = accept.choose(&types.map(Offer::plain)).and_then(|index| types.get(index));
    match chosen.copied() {
        Some(WADL) => Ok(answer(WADL, wadl::document(base.as_str()))),
        Some(HTML) => Ok(Redirect::to(PAGE).into_response()),
        Some(media) => Ok(answer(media, document(&state, &base))),
        None => Err(HttpError::not_acceptable(format!("available here: {WADL}, {JSON}"))),
    }
}

/// `GET /openapi.json`.
async fn openapi_document(State(state): State<WebState>, base: BaseUrl) -> Response {
    answer(JSON, document(&state, &base))
}

fn document(state: &WebState, base: &BaseUrl) -> String {
    openapi::document(base.as_str(), &state.config().node.version).to_string()
}

fn answer(media: &'static str, text: String) -> Response {
    let mut response = respond::json(media, text.into());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}
