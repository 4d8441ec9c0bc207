//! Rendered resources and thumbnails (PS3.18 sections 10.4.1.1.4 and 10.4.1.1.7): pictures for
//! browsers, and documents that are stored inside instances.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use qianli_catalog::types::{Detail, Location, Target};
use qianli_imaging::{Format, RenderOptions, VoiFunction, Window};

use super::frames::padded_frame;
use super::nothing_here;
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::params;
use crate::dicomweb::path::{At, InstanceAt};
use crate::dicomweb::respond;
use crate::error::HttpError;
use crate::pixels::Picture;

/// Longest side of a thumbnail when the client does not say (pixels).
const THUMBNAIL_SIDE: u32 = 256;

/// Largest viewport (pixels a side).
const MAX_SIDE: u32 = 16_384;

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
    let mut options = parse_options(query.unwrap_or_default())?;
    options.format = match accept.choose(&["image/jpeg", "image/png"].map(Offer::plain)) {
        Some(0) => Format::Jpeg,
        Some(_) => Format::Png,
        None => return Err(HttpError::not_acceptable("available here: image/jpeg, image/png")),
    };
    if let Some(side) = thumbnail {
        options.viewport = options.viewport.or(Some((side, side)));
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
            let picture = render(state, caller, detail, number, options).await?;
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

async fn render(
    state: &WebState,
    caller: &Caller,
    detail: &Arc<Detail>,
    number: u32,
    options: RenderOptions,
) -> Result<Picture, HttpError> {
    let stored = detail.location.transfer_syntax;
    if !qianli_imaging::can_decode(stored) {
        let message = format!("this image cannot be rendered here: it is {}", stored.name());
        return Err(HttpError::not_acceptable(message));
    }
    let frame = match padded_frame(state, caller, detail).await? {
        Some(frame) => frame,
        None => {
            let frames = state.archive().frames(&caller.scope, detail, &[number]).await?;
            frames.into_iter().next().ok_or_else(nothing_here)?
        }
    };
    let bit_offset = detail.frames.bit_offset(number);
    let detail = Arc::clone(detail);
    let work =
        move || qianli_imaging::render(&detail.json, stored, &frame, bit_offset, number, &options);
    let rendered = state.pixels().run(work).await?;
    Ok(Picture { bytes: rendered.bytes.into(), content_type: rendered.content_type })
}

/// Parses the query parameters of PS3.18 section 8.3.5.1. `annotation`, `iccprofile` and what else
/// a client may add have no effect.
fn parse_options(query: &str) -> Result<RenderOptions, HttpError> {
    let mut options = RenderOptions::default();
    for (name, value) in params::pairs(query) {
        match name.to_ascii_lowercase().as_str() {
            "quality" => {
                let quality = value.parse().ok().filter(|q| (1..=100).contains(q));
                options.quality = quality
                    .ok_or_else(|| HttpError::bad_request("quality is a number from 1 to 100"))?;
            }
            "viewport" => options.viewport = Some(parse_viewport(&value)?),
            "window" => options.window = Some(parse_window(&value)?),
            _ => {}
        }
    }
    Ok(options)
}

fn parse_viewport(text: &str) -> Result<(u32, u32), HttpError> {
    let sides: Vec<&str> = text.split(',').map(str::trim).collect();
    let side = |text: &str| {
        let number = text.parse::<f64>().ok()?;
        (number >= 1.0 && number <= f64::from(MAX_SIDE)).then_some(number as u32)
    };
    match sides.as_slice() {
        [width, height] => side(width).zip(side(height)),
        // Regions of the source (sx, sy, sw, sh) are not cut out here.
        _ => None,
    }
    .ok_or_else(|| {
        HttpError::bad_request(format!("viewport is width,height, each from 1 to {MAX_SIDE}"))
    })
}

fn parse_window(text: &str) -> Result<Window, HttpError> {
    let malformed =
        || HttpError::bad_request("window is center,width,function with a width of 1 or more");
    let pieces: Vec<&str> = text.split(',').map(str::trim).collect();
    let (center, width, function) = match pieces.as_slice() {
        [center, width] => (center, width, "linear"),
        [center, width, function] => (center, width, *function),
        _ => return Err(malformed()),
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    let center = number(center).ok_or_else(malformed)?;
    let width = number(width).filter(|w| *w > 0.0).ok_or_else(malformed)?;
    let function = match function.to_ascii_lowercase().as_str() {
        "linear" | "" => VoiFunction::Linear,
        "linear-exact" | "linear_exact" => VoiFunction::LinearExact,
        "sigmoid" => VoiFunction::Sigmoid,
        _ => return Err(malformed()),
    };
    Ok(Window { center, width, function })
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
    fn options_are_read_and_checked() {
        let options = parse_options("viewport=200,100&quality=50&window=-600,1500,LINEAR_EXACT")
            .expect("legal options");
        assert_eq!(options.viewport, Some((200, 100)));
        assert_eq!(options.quality, 50);
        let function = VoiFunction::LinearExact;
        assert_eq!(options.window, Some(Window { center: -600.0, width: 1500.0, function }));
        for query in [
            "quality=0",
            "quality=high",
            "viewport=1",
            "viewport=0,5",
            "viewport=99999,1",
            "viewport=NaN,1",
            "window=1",
            "window=1,0,linear",
            "window=a,b,linear",
            "window=1,2,magic",
        ] {
            let error = parse_options(query).expect_err(query);
            assert_eq!(error.status(), 400, "{query}");
        }
    }

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
