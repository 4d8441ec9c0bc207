//! QIDO-RS (PS3.18 section 10.6): searching for studies, series and instances.

mod answer;
mod search;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_catalog::types::{Found, Target};
use qianli_model::query::Level;
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid};

use self::answer::Layout;
pub(crate) use self::answer::returned;
use self::search::Search;
pub(crate) use self::search::{DEFAULT_LIMIT, MAX_LIMIT};
use super::accept::Accept;
use super::json;
use super::path::At;
use super::respond;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;

/// Headers that are fetched at once when an answer needs more than the index holds.
const HEADERS_AT_ONCE: usize = 8;

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
    let media = respond::json_type(&Accept::of(headers, query))?;
    let mut search = Search::parse(query.unwrap_or_default(), level, within.as_ref())?;
    let mut found = state.archive().find(&caller.scope, &search.query).await?;
    if found.len() > search.limit as usize {
        found.truncate(search.limit as usize);
        if search.limited_by_us {
            search.warnings.push(format!(
                "The number of results exceeded the maximum of {}; ask for more with offset",
                search.limit
            ));
        }
    }

    let layout = Layout::new(level, within.as_ref(), &search.include);
    let headers_wanted = layout.beyond_index();
    let body = if headers_wanted {
        let rows = stream::iter(found).map(|row| {
            let layout = &layout;
            async move {
                let header = header_of(state, caller, &row).await?;
                Ok::<_, HttpError>(layout.row(base, &row, header.as_deref()))
            }
        });
        join(rows.buffered(HEADERS_AT_ONCE).try_collect::<Vec<_>>().await?)
    } else {
        join(found.iter().map(|row| layout.row(base, row, None)))
    };
    let mut response = respond::json(media, body.into());
    for warning in &search.warnings {
        respond::warn(response.headers_mut(), warning);
    }
    Ok(response)
}

fn join(rows: impl IntoIterator<Item = String>) -> String {
    let mut body = String::from("[");
    for (index, row) in rows.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&row);
    }
    body.push(']');
    body
}

/// The whole stored header of an instance row.
async fn header_of(
    state: &WebState,
    caller: &Caller,
    row: &Found,
) -> Result<Option<String>, HttpError> {
    let (Some(series), Some(instance)) = (&row.series, &row.instance) else { return Ok(None) };
    let target = Target {
        study: StudyUid::parse(&row.study.uid).map_err(HttpError::internal)?,
        series: Some(SeriesUid::parse(&series.uid).map_err(HttpError::internal)?),
        instance: Some(SopInstanceUid::parse(&instance.uid).map_err(HttpError::internal)?),
    };
    let found = state.archive().metadata(&caller.scope, &target).await?;
    let Some(one) = found.into_iter().next() else { return Ok(None) };
    // The mark is a control character: it stays in place here, and `answer` replaces it.
    debug_assert!(!one.json.is_empty(), "stored headers are JSON objects");
    Ok(String::from_utf8(one.json).ok().filter(|json| !json::members(json).is_empty()))
}
