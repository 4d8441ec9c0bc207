//! Thumbnails at every level (PS3.18 section 10.4.1.1.7): a small picture for lists, always. What
//! has no picture gets a sheet with its modality on it, so that no list shows a broken image.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use qianli_catalog::types::{Detail, Location, Target};
use qianli_imaging::{Format, RenderOptions, Viewport};
use qianli_model::tag;

use super::source::Source;
use super::{JPEG, PNG, locate, options};
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::json;
use crate::dicomweb::path::{At, InstanceAt};
use crate::dicomweb::respond;
use crate::error::HttpError;
use crate::pixels::Picture;

/// Longest side of a thumbnail when the client does not say (pixels).
const SIDE: u32 = 256;

/// Instances that are looked at in search of one with images.
const CANDIDATES: usize = 12;

/// Beginnings of the SOP Class UIDs of objects that have no image of their own, or one that means
/// nothing alone: presentation states, waveforms, registrations and segmentations, structured
/// reports, documents, radiotherapy plans and doses.
const NOT_FIRST: &[&str] = &[
    "1.2.840.10008.5.1.4.1.1.9.",
    "1.2.840.10008.5.1.4.1.1.11.",
    "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.1.1.88.",
    "1.2.840.10008.5.1.4.1.1.104.",
    "1.2.840.10008.5.1.4.1.1.481.",
];

/// `GET …/thumbnail` of a study, series or instance.
pub(crate) async fn thumbnail(
    State(state): State<WebState>,
    caller: Caller,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let options = parse(&headers, query.as_deref())?;
    // A list is drawn again and again: within a few seconds neither catalog nor blob is asked.
    // What is shared with others can be revoked within them.
    let key = format!("{:?} {target:?} {options:?}", caller.scope.tenant());
    let is_own = caller.scope.viewer().is_none();
    if let Some((tag, picture)) = state.pixels().recent(&key).filter(|_| is_own) {
        return Ok(answer(&headers, &tag, &picture));
    }
    let detail = representative(&state, &caller, &target).await?;
    let count = detail.frames.count();
    let number = (count / 2 + 1).min(count);
    let (tag, picture) = made(&state, &caller, &detail, number, &options).await?;
    if is_own {
        state.pixels().remember_recent(key, tag.clone(), picture.clone());
    }
    Ok(answer(&headers, &tag, &picture))
}

/// `GET …/frames/{number}/thumbnail`.
pub(crate) async fn frame(
    State(state): State<WebState>,
    caller: Caller,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let numbers = super::super::frames::parse_list(&at.rest)?;
    let [number] = numbers.as_slice() else {
        return Err(HttpError::bad_request("a thumbnail is of one frame"));
    };
    let options = parse(&headers, query.as_deref())?;
    let detail = super::super::detail(&state, &caller, &at).await?;
    super::super::frames::check_range(&detail, &numbers)?;
    let (tag, picture) = made(&state, &caller, &detail, *number, &options).await?;
    Ok(answer(&headers, &tag, &picture))
}

/// One picture that stands for a study or series, at the size of its image.
pub(super) async fn representative_picture(
    asked: &super::Asked<'_>,
    target: &Target,
    options: RenderOptions,
) -> Result<Response, HttpError> {
    let detail = representative(asked.state, asked.caller, target).await?;
    let count = detail.frames.count();
    let number = (count / 2 + 1).min(count);
    let hash = detail.location.content_hash.as_str();
    let tag = respond::entity_tag([hash], &format!("representative {number} {options:?}"));
    if let Some(answer) = respond::conditional(asked.headers, &tag) {
        return Ok(answer);
    }
    if count == 0 {
        return Err(HttpError::not_acceptable("there is no image here"));
    }
    let source = Source::open(asked.state, asked.caller, &detail).await?;
    let rendered = source.render(asked.state, asked.caller, number, &options).await?;
    let mut response = respond::pieces(rendered.content_type, vec![rendered.bytes]);
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

fn parse(headers: &HeaderMap, query: Option<&str>) -> Result<RenderOptions, HttpError> {
    let mut options = options::parse(query.unwrap_or_default())?;
    let accept = Accept::of(headers, query);
    options.format = match accept.choose(&[JPEG, PNG].map(Offer::plain)) {
        Some(0) => Format::Jpeg,
        Some(_) => Format::Png,
        None => return Err(HttpError::not_acceptable("available here: image/jpeg, image/png")),
    };
    let viewport = options.viewport.get_or_insert(Viewport::within(SIDE, SIDE));
    // A thumbnail that is larger than its image shows nothing more.
    viewport.enlarge = false;
    Ok(options)
}

fn answer(headers: &HeaderMap, tag: &str, picture: &Picture) -> Response {
    if let Some(answer) = respond::conditional(headers, tag) {
        return answer;
    }
    let mut response = respond::pieces(picture.content_type, vec![picture.bytes.clone()]);
    respond::cacheable(response.headers_mut(), tag);
    response
}

/// The thumbnail of a frame, or of an instance without frames (`number` 0), and its entity tag.
async fn made(
    state: &WebState,
    caller: &Caller,
    detail: &Arc<Detail>,
    number: u32,
    options: &RenderOptions,
) -> Result<(String, Picture), HttpError> {
    let key = format!("{} {number} {options:?}", detail.location.content_hash);
    let tag = respond::entity_tag([key.as_str()], "thumbnail");
    if let Some(picture) = state.pixels().remembered(&key) {
        return Ok((tag, picture));
    }
    let picture = match picture(state, caller, detail, number, options).await {
        // What cannot be shown, or is larger than anything that can.
        Err(error) if matches!(error.status().as_u16(), 406 | 413) => {
            let (label, options) = (label(detail), options.clone());
            let draw = move || qianli_imaging::placeholder(&label, &options);
            let drawn = state.pixels().run(draw).await?;
            Picture { bytes: drawn.bytes.into(), content_type: drawn.content_type }
        }
        picture => picture?,
    };
    // A copy: what is remembered must not keep memory set aside.
    let bytes = Bytes::copy_from_slice(&picture.bytes);
    let picture = Picture { bytes, content_type: picture.content_type };
    state.pixels().remember(key, picture.clone());
    Ok((tag, picture))
}

async fn picture(
    state: &WebState,
    caller: &Caller,
    detail: &Arc<Detail>,
    number: u32,
    options: &RenderOptions,
) -> Result<Picture, HttpError> {
    if number == 0 {
        return Err(HttpError::not_acceptable("this instance has no frames"));
    }
    let source = Source::open(state, caller, detail).await?;
    source.render(state, caller, number, options).await
}

/// What stands on the sheet of an object without picture: its modality.
fn label(detail: &Detail) -> String {
    let is_pdf = detail.location.sop_class == "1.2.840.10008.5.1.4.1.1.104.1";
    if is_pdf {
        return "PDF".into();
    }
    let text = String::from_utf8_lossy(&detail.json);
    let members = json::members(&text);
    let modality = members.iter().find(|(tag, _)| *tag == tag::MODALITY);
    let value = modality.and_then(|(_, value)| value.split_once('[')?.1.split('"').nth(1));
    value.unwrap_or("DICOM").to_owned()
}

/// The instance that stands for a target: the middle one of the first series of images, or else of
/// any series with frames, or else the first instance.
async fn representative(
    state: &WebState,
    caller: &Caller,
    target: &Target,
) -> Result<Arc<Detail>, HttpError> {
    let locations = locate(state, caller, target).await?;
    let mut last = None;
    for location in candidates(&locations) {
        let Location { study, series, instance, .. } = location;
        let detail = state.archive().detail(&caller.scope, study, series, instance).await?;
        let Some(detail) = detail else { continue };
        let shown = qianli_imaging::can_decode(detail.location.transfer_syntax);
        if detail.frames.count() > 0 && shown {
            return Ok(detail);
        }
        last = last.or(Some(detail));
    }
    last.ok_or_else(super::nothing_here)
}

/// The middle and the first instance of each series, series of images before others, and few of
/// them.
fn candidates(all: &[Location]) -> impl Iterator<Item = &Location> {
    let mut series: Vec<&[Location]> = all.chunk_by(|a, b| a.series == b.series).collect();
    // The sort is stable: series stay in their order.
    series.sort_by_key(|series| {
        let class = series.first().map_or("", |location| location.sop_class.as_str());
        NOT_FIRST.iter().any(|start| class.starts_with(start))
    });
    series
        .into_iter()
        .flat_map(|series| [series.get(series.len() / 2), series.first()])
        .flatten()
        .take(CANDIDATES)
}
