//! Retrieve of whole objects (PS3.18 section 10.4.1.1): studies, series, instances.
//!
//! Objects go out as they are stored, in constant memory. A client that names no transfer syntax
//! gets the stored one too, where section 8.7.3.5.2 would have us transcode to Explicit VR Little
//! Endian: every client in the field reads what it stored, and a lossless conversion that is not
//! asked for costs more than it gives. CONFORMANCE.md says so.

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_catalog::types::Location;

use super::nothing_here;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::At;
use crate::dicomweb::respond::{self, Content, Framing};
use crate::error::HttpError;

const DICOM: &str = "application/dicom";

/// `GET` of `/studies/{study}` and the series and instances below it.
pub(crate) async fn retrieve(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let locations = state.archive().locate(&caller.scope, &target).await?;
    let Some(first) = locations.first() else { return Err(nothing_here()) };
    let accept = Accept::of(&headers, query.as_deref());
    let multipart = takes_multipart(&accept, &locations, target.instance.is_some())?;

    let variant = if multipart { "multipart" } else { "single" };
    let tag = respond::entity_tag(locations.iter().map(|l| l.content_hash.as_str()), variant);
    if let Some(answer) = respond::not_modified(&headers, &tag) {
        return Ok(answer);
    }

    // The first object is opened before the status is said, so that a dead store is no 200.
    let opened = state.archive().open(&caller.scope, first).await?;
    let mut response = if multipart {
        multipart_answer(state, caller, &base, locations, opened)
    } else {
        let content_type = format!("{DICOM}; transfer-syntax={}", first.transfer_syntax);
        respond::streamed(&content_type, opened, Some(first.blob_size))
    };
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

fn multipart_answer(
    state: WebState,
    caller: Caller,
    base: &BaseUrl,
    locations: Vec<Location>,
    first: Content,
) -> Response {
    let framing = Framing::new();
    let closing = framing.closing();
    let content_type = framing.content_type(DICOM);
    let parts: Vec<_> = locations
        .into_iter()
        .enumerate()
        .map(|(index, location)| {
            let url = base.instance(&location.study, &location.series, &location.instance);
            let syntax = Some(location.transfer_syntax.uid());
            (framing.header(index == 0, DICOM, syntax, &url), location)
        })
        .collect();
    let length = parts
        .iter()
        .map(|(header, location)| header.len() as u64 + location.blob_size)
        .fold(closing.len() as u64, u64::saturating_add);

    let mut first = Some(first);
    let content = stream::iter(parts)
        .then(move |(header, location)| {
            let opened = first.take();
            let (state, caller) = (state.clone(), caller.clone());
            async move {
                let object = match opened {
                    Some(object) => object,
                    None => state.archive().open(&caller.scope, &location).await?,
                };
                Ok::<_, qianli_archive::ArchiveError>(stream::iter([Ok(header)]).chain(object))
            }
        })
        .try_flatten()
        .chain(stream::iter([Ok(closing)]));
    respond::streamed(&content_type, content.boxed(), Some(length))
}

/// Whether to answer multipart, or an error when the client does not take what is stored.
fn takes_multipart(
    accept: &Accept,
    locations: &[Location],
    one_instance: bool,
) -> Result<bool, HttpError> {
    let syntaxes: BTreeSet<&str> = locations.iter().map(|l| l.transfer_syntax.uid()).collect();
    let offer = |multipart, syntax| Offer {
        multipart,
        media: DICOM,
        syntax: Some(syntax),
        default_syntax: true,
    };
    let mut multipart = true;
    let mut refused = Vec::new();
    for syntax in &syntaxes {
        let mut offers = vec![offer(true, *syntax)];
        if one_instance {
            offers.push(offer(false, *syntax));
        }
        match accept.choose(&offers) {
            Some(index) => multipart = index == 0,
            None => refused.push(*syntax),
        }
    }
    if refused.is_empty() {
        return Ok(multipart);
    }
    let single = if one_instance { " or application/dicom" } else { "" };
    Err(HttpError::not_acceptable(format!(
        "available here: multipart/related; type=\"application/dicom\"{single}, each with \
         transfer-syntax=* or {}",
        refused.join(", ")
    )))
}
