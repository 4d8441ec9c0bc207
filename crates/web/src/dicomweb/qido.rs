//! QIDO-RS (PS3.18 section 10.6): searching for studies, series and instances.

mod answer;
mod search;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use qianli_catalog::types::Target;
use qianli_model::query::Level;
use qianli_model::xml;

use self::answer::Layout;
pub(crate) use self::answer::returned;
use self::search::Search;
pub(crate) use self::search::{DEFAULT_LIMIT, MAX_LIMIT};
use super::accept::{Accept, Offer};
use super::path::At;
use super::respond;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;

/// Most rows of an answer that needs whole headers.
const MAX_HEADERS: u32 = 1_000;

/// Most bytes of an answer, before it is made XML: headers can be long.
const MAX_ANSWER: usize = 128 << 20;

/// Header that says how many rows there are without the page, when `count=true` asks for it.
pub(crate) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// `GET /studies`.
pub(crate) async fn studies(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    find(&state, &caller, &base, &headers, query.as_deref(), Level::Study, None).await
}

/// `GET /series`.
pub(crate) async fn series(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    find(&state, &caller, &base, &headers, query.as_deref(), Level::Series, None).await
}

/// `GET /instances`.
pub(crate) async fn instances(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    find(&state, &caller, &base, &headers, query.as_deref(), Level::Instance, None).await
}

/// `GET /studies/{study}/series`.
pub(crate) async fn series_of(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(at): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    find(&state, &caller, &base, &headers, query.as_deref(), Level::Series, Some(at)).await
}

/// `GET /studies/{study}/instances` and `GET /studies/{study}/series/{series}/instances`.
pub(crate) async fn instances_of(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(at): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    find(&state, &caller, &base, &headers, query.as_deref(), Level::Instance, Some(at)).await
}

async fn find(
    state: &WebState,
    caller: &Caller,
    base: &BaseUrl,
    headers: &HeaderMap,
    query: Option<&str>,
    level: Level,
    within: Option<Target>,
) -> Result<Response, HttpError> {
    let form = Form::choose(&Accept::of(headers, query))?;
    let mut search = Search::parse(query.unwrap_or_default(), level, within.as_ref())?;
    let layout = Layout::new(level, within.as_ref(), &search.include);
    search.query.with_headers = layout.beyond_index();
    if search.query.with_headers && search.limit > MAX_HEADERS {
        search.limit = MAX_HEADERS;
        search.query.limit = MAX_HEADERS + 1;
        search.limited_by_us = true;
    }
    let mut found = state.archive().find(&caller.scope, &search.query).await?;
    let is_cut = found.len() > search.limit as usize;
    if is_cut {
        found.truncate(search.limit as usize);
        if search.limited_by_us {
            // First, since only some warnings are spelt out.
            let exceeded = format!(
                "The number of results exceeded the maximum of {}; ask for more with offset",
                search.limit
            );
            search.warnings.insert(0, exceeded);
        }
    }
    if state.archive().may_miss(&search.query).await? {
        search.warnings.push(
            "Older studies may be missing: they are found by the sound of a name once a background \
             job has gone through them"
                .into(),
        );
    }
    let total = if search.count {
        Some(total(state, caller, &search, is_cut, found.len()).await?)
    } else {
        None
    };
    let mut rows = Vec::with_capacity(found.len());
    let mut size = 0;
    for row in &found {
        let header = row.instance.as_ref().and_then(|instance| instance.header.as_deref());
        let header = header.and_then(|header| std::str::from_utf8(header).ok());
        let (json, url) = layout.row(base, row, header);
        size += json.len();
        if size > MAX_ANSWER && !rows.is_empty() {
            let exceeded = format!(
                "The answer exceeded the maximum size after {} results; ask for more with offset",
                rows.len()
            );
            search.warnings.insert(0, exceeded);
            break;
        }
        rows.push((json, url));
    }
    let mut response = match form {
        Form::Json(media) => respond::json(media, join(&rows).into()),
        // A multipart body has parts: nothing found is 204 (PS3.18 table 10.6.3-1).
        Form::Xml if rows.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Form::Xml => xml_parts(&rows)?,
    };
    if let Some(total) = total {
        respond::set(response.headers_mut(), TOTAL_COUNT, &total.to_string());
    }
    respond::warn_all(response.headers_mut(), &search.warnings);
    Ok(response)
}

/// How many rows there are without the page. A first page that holds everything need not be counted.
async fn total(
    state: &WebState,
    caller: &Caller,
    search: &Search,
    is_cut: bool,
    rows: usize,
) -> Result<i64, HttpError> {
    if !is_cut && search.query.offset == 0 {
        return Ok(i64::try_from(rows).unwrap_or(i64::MAX));
    }
    Ok(state.archive().count(&caller.scope, &search.query).await?)
}

/// How rows are sent.
enum Form {
    /// An array under this media type.
    Json(&'static str),
    /// One part for each row.
    Xml,
}

impl Form {
    /// Picks what the client likes best; JSON when it does not say.
    fn choose(accept: &Accept) -> Result<Self, HttpError> {
        let multipart = Offer { multipart: true, ..Offer::plain(xml::MEDIA_TYPE) };
        // A client that takes one document of XML reads several as parts, as of metadata.
        let single = Offer::plain(xml::MEDIA_TYPE);
        let offers =
            [Offer::plain(respond::DICOM_JSON), Offer::plain(respond::JSON), multipart, single];
        match accept.choose(&offers) {
            Some(0) => Ok(Self::Json(respond::DICOM_JSON)),
            Some(1) => Ok(Self::Json(respond::JSON)),
            Some(_) => Ok(Self::Xml),
            None => Err(HttpError::not_acceptable(
                "available here: application/dicom+json, application/json, \
                 multipart/related; type=\"application/dicom+xml\"",
            )),
        }
    }
}

fn join(rows: &[(String, String)]) -> String {
    let mut body = String::with_capacity(rows.iter().map(|(row, _)| row.len() + 1).sum());
    body.push('[');
    for (index, (row, _)) in rows.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(row);
    }
    body.push(']');
    body
}

/// Every row as a document of the Native DICOM Model.
fn xml_parts(rows: &[(String, String)]) -> Result<Response, HttpError> {
    let framing = respond::Framing::new();
    let mut pieces = Vec::with_capacity(rows.len() * 2 + 1);
    for (index, (json, url)) in rows.iter().enumerate() {
        let mut document = Vec::with_capacity(json.len() * 2);
        xml::from_json(json.as_bytes(), url, &mut document).map_err(HttpError::internal)?;
        pieces.push(framing.header(index == 0, xml::MEDIA_TYPE, None, url));
        pieces.push(document.into());
    }
    pieces.push(framing.closing());
    Ok(respond::pieces(&framing.content_type(xml::MEDIA_TYPE), pieces))
}
