//! Rendered resources and thumbnails (PS3.18 sections 10.4.1.1.4 and 10.4.1.1.7): pictures for
//! browsers, and documents that are stored inside instances.

mod options;
mod source;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use qianli_catalog::types::{Detail, Location, Target};
use qianli_imaging::{Format, Viewport};

use super::nothing_here;
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::{At, InstanceAt};
use crate::dicomweb::respond;
use crate::error::HttpError;
use crate::pixels::Picture;
use source::Source;

/// Longest side of a thumbnail when the client does not say (pixels).
const THUMBNAIL_SIDE: u32 = 256;

/// Instances of a study or series that are looked at in search of one with frames.
const THUMBNAIL_CANDIDATES: usize = 8;

/// Path of Encapsulated Document among the bulk values.
const ENCAPSULATED_DOCUMENT: &str = "00420011";

/// `GET …/instances/{instance}/rendered`: the first frame, or the document.
pub(crate) async fn instance(
    State(state): State<WebState>,
    caller: Caller,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let detail = super::detail(&state, &caller, &at).await?;
    if detail.frames.count() == 0 {
        return document(&state, &caller, &detail, &headers, query.as_deref()).await;
    }
    frame_answer(&state, &caller, &detail, 1, &headers, query.as_deref(), None).await
}

/// `GET …/frames/{number}/rendered`.
pub(crate) async fn frame(
    State(state): State<WebState>,
    caller: Caller,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let (detail, number) = addressed_frame(&state, &caller, &at).await?;
    frame_answer(&state, &caller, &detail, number, &headers, query.as_deref(), None).await
}

/// `GET …/frames/{number}/thumbnail`.
pub(crate) async fn frame_thumbnail(
    State(state): State<WebState>,
    caller: Caller,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let (detail, number) = addressed_frame(&state, &caller, &at).await?;
    let side = Some(THUMBNAIL_SIDE);
    frame_answer(&state, &caller, &detail, number, &headers, query.as_deref(), side).await
}

/// `GET …/thumbnail` of a study, series or instance: the middle frame of its middle image.
pub(crate) async fn thumbnail(
    State(state): State<WebState>,
    caller: Caller,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let detail = representative(&state, &caller, &target).await?;
    let middle = detail.frames.count() / 2 + 1;
    let number = middle.min(detail.frames.count());
    let side = Some(THUMBNAIL_SIDE);
    frame_answer(&state, &caller, &detail, number, &headers, query.as_deref(), side).await
}

async fn addressed_frame(
    state: &WebState,
    caller: &Caller,
    at: &InstanceAt,
) -> Result<(Arc<Detail>, u32), HttpError> {
    let number: u32 = at
        .rest
        .parse()
        .map_err(|_| HttpError::bad_request("one frame at a time can be rendered"))?;
    let detail = super::detail(state, caller, at).await?;
    let count = detail.frames.count();
    if number == 0 || number > count {
        let message = format!("no such frame: this instance has {count}");
        return Err(HttpError::not_found(message));
    }
    Ok((detail, number))
}

/// The instance that stands for a study or series.
async fn representative(
    state: &WebState,
    caller: &Caller,
    target: &Target,
) -> Result<Arc<Detail>, HttpError> {
    let locations = state.archive().locate(&caller.scope, target).await?;
    if locations.is_empty() {
        return Err(nothing_here());
    }
    for location in candidates(&locations) {
        let Location { study, series, instance, .. } = location;
        let detail = state.archive().detail(&caller.scope, study, series, instance).await?;
        if let Some(detail) = detail
            && detail.frames.count() > 0
        {
            return Ok(detail);
        }
    }
    Err(HttpError::not_acceptable("there is no image here to make a thumbnail of"))
}

/// The middle one first, then others spread over the whole.
fn candidates<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(THUMBNAIL_CANDIDATES).max(1);
    all.get(all.len() / 2).into_iter().chain(all.iter().step_by(step))
}

async fn frame_answer(
    state: &WebState,
    caller: &Caller,
    detail: &Arc<Detail>,
    number: u32,
    headers: &HeaderMap,
    query: Option<&str>,
    thumbnail: Option<u32>,
) -> Result<Response, HttpError> {
    let accept = Accept::of(headers, query);
    let mut options = options::parse(query.unwrap_or_default())?;
    options.format = match accept.choose(&["image/jpeg", "image/png"].map(Offer::plain)) {
        Some(0) => Format::Jpeg,
        Some(_) => Format::Png,
        None => return Err(HttpError::not_acceptable("available here: image/jpeg, image/png")),
    };
    if let Some(side) = thumbnail {
        options.viewport = options.viewport.or(Some(Viewport::within(side, side)));
    }

    let key = format!("{} {number} {options:?}", detail.location.content_hash);
    let tag = respond::entity_tag([key.as_str()], "rendered");
    if let Some(answer) = respond::not_modified(headers, &tag) {
        return Ok(answer);
    }
    let remembered = thumbnail.and_then(|_| state.pixels().remembered(&key));
    let picture = match remembered {
        Some(picture) => picture,
        None => {
            let source = Source::open(state, caller, detail).await?;
            let rendered = source.render(state, caller, number, &options).await?;
            let content_type = rendered.content_type;
            let picture = Picture { bytes: rendered.bytes.into(), content_type };
            if thumbnail.is_some() {
                state.pixels().remember(key, picture.clone());
            }
            picture
        }
    };
    let mut response = respond::pieces(picture.content_type, vec![picture.bytes]);
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// An Encapsulated PDF as what it is (PS3.18 table 8.7.4-1 names application/pdf).
async fn document(
    state: &WebState,
    caller: &Caller,
    detail: &Detail,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Response, HttpError> {
    const PDF: &str = "application/pdf";
    let value = detail.bulk.iter().find(|value| value.path == ENCAPSULATED_DOCUMENT);
    let is_pdf = detail.location.sop_class == "1.2.840.10008.5.1.4.1.1.104.1";
    let Some(value) = value.filter(|_| is_pdf) else {
        return Err(HttpError::not_acceptable("this instance holds no image or document to show"));
    };
    if Accept::of(headers, query).choose(&[Offer::plain(PDF)]).is_none() {
        return Err(HttpError::not_acceptable("available here: application/pdf"));
    }
    let tag = respond::entity_tag([detail.location.content_hash.as_str()], PDF);
    if let Some(answer) = respond::not_modified(headers, &tag) {
        return Ok(answer);
    }
    let content = state.archive().bulk(&caller.scope, detail, value).await?;
    let mut response = respond::streamed(PDF, content, Some(value.range.length));
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_tried_first_and_few_are_tried() {
        let all: Vec<u32> = (0..100).collect();
        let tried: Vec<u32> = candidates(&all).copied().collect();
        assert_eq!(tried.first(), Some(&50));
        assert!(tried.len() <= THUMBNAIL_CANDIDATES + 1);
        assert_eq!(candidates(&[7]).copied().collect::<Vec<i32>>(), [7, 7]);
        assert_eq!(candidates(&[] as &[u8]).count(), 0);
    }
}
