//! Retrieve of metadata (PS3.18 section 10.4.1.1.3): DICOM JSON as it was written at ingest, with
//! this server's URL in front of its bulk data references.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};

use super::nothing_here;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::Accept;
use crate::dicomweb::json::Assembly;
use crate::dicomweb::path::At;
use crate::dicomweb::respond;
use crate::error::HttpError;

/// `GET …/metadata` at study, series and instance level.
pub(crate) async fn metadata(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let media = respond::json_type(&Accept::of(&headers, query.as_deref()))?;
    let variant = format!("{media} {}", base.as_str());

    // Hashes alone are cheaper than headers; only a client that holds something is asked for.
    if headers.contains_key(header::IF_NONE_MATCH) {
        let locations = state.archive().locate(&caller.scope, &target).await?;
        let hashes = locations.iter().map(|location| location.content_hash.as_str());
        if let Some(answer) =
            respond::not_modified(&headers, &respond::entity_tag(hashes, &variant))
        {
            return Ok(answer);
        }
    }

    let found = state.archive().metadata(&caller.scope, &target).await?;
    if found.is_empty() {
        return Err(nothing_here());
    }
    let tag = respond::entity_tag(found.iter().map(|m| m.content_hash.as_str()), &variant);
    let objects = found
        .into_iter()
        .map(|one| (one.json, base.instance(&target.study, &one.series, &one.instance)))
        .collect();
    let array = Assembly::new(objects);
    let length = array.length();
    let mut response = respond::streamed(media, stream::iter(array.map(Ok)).boxed(), Some(length));
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}
