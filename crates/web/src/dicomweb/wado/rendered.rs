//! Rendered resources (PS3.18 section 10.4.1.1.4): pictures for browsers, the documents and videos
//! inside instances, and pages of what has neither.
//!
//! One instance alone is a picture, a cine, a document or a page; several frames or instances are one
//! part each of a multipart answer, made while it is sent.

mod cine;
mod document;
mod options;
mod page;
mod several;
mod source;
mod thumbnail;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use qianli_catalog::types::{Detail, Target};
use qianli_imaging::{Format, RenderOptions};

use super::nothing_here;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::{At, InstanceAt};
use crate::dicomweb::respond;
use crate::error::HttpError;
pub(super) use document::video;
pub(super) use options::MAX_SIDE;
use source::Source;
pub(crate) use thumbnail::{frame as frame_thumbnail, thumbnail};

const JPEG: &str = "image/jpeg";
const PNG: &str = "image/png";
const GIF: &str = "image/gif";

/// What a request for something rendered says, apart from what it addresses.
struct Asked<'r> {
    state: &'r WebState,
    caller: &'r Caller,
    base: &'r BaseUrl,
    headers: &'r HeaderMap,
    accept: Accept,
    options: RenderOptions,
}

impl<'r> Asked<'r> {
    fn read(
        state: &'r WebState,
        caller: &'r Caller,
        base: &'r BaseUrl,
        headers: &'r HeaderMap,
        query: Option<&str>,
    ) -> Result<Self, HttpError> {
        let accept = Accept::of(headers, query);
        let options = options::parse(query.unwrap_or_default())?;
        Ok(Self { state, caller, base, headers, accept, options })
    }

    /// Chooses among media types, each alone or as parts; the list is the answer to what is not.
    fn choose(&self, offers: &[(bool, &'static str)]) -> Result<(bool, &'static str), HttpError> {
        let asked: Vec<Offer<'_>> = offers
            .iter()
            .map(|(multipart, media)| Offer { multipart: *multipart, ..Offer::plain(media) })
            .collect();
        let chosen = self.accept.choose(&asked).and_then(|index| offers.get(index));
        chosen.copied().ok_or_else(|| {
            let names: Vec<String> = offers
                .iter()
                .map(|(multipart, media)| match multipart {
                    true => format!("multipart/related; type=\"{media}\""),
                    false => (*media).to_owned(),
                })
                .collect();
            HttpError::not_acceptable(format!("available here: {}", names.join(", ")))
        })
    }

    /// The options for a media type of pictures.
    fn options_for(&self, media: &str) -> RenderOptions {
        let format = if media == PNG { Format::Png } else { Format::Jpeg };
        RenderOptions { format, ..self.options.clone() }
    }
}

/// `GET` of `/studies/{study}/rendered` and `/studies/{study}/series/{series}/rendered`.
pub(crate) async fn level(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let asked = Asked::read(&state, &caller, &base, &headers, query.as_deref())?;
    several::instances(&asked, &target).await
}

/// `GET …/instances/{instance}/rendered`.
pub(crate) async fn instance(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let detail = super::detail(&state, &caller, &at).await?;
    let asked = Asked::read(&state, &caller, &base, &headers, query.as_deref())?;
    if let Some(embedded) = document::Embedded::of(&detail) {
        return document::answer(&asked, &detail, embedded).await;
    }
    let count = detail.frames.count();
    if count == 0 {
        let page = page::answer(&asked, &detail, query.as_deref().unwrap_or_default()).await;
        return page.map_err(|error| match error.status().as_u16() {
            // Of an image that is none, why.
            406 => {
                let why = super::frames::no_frames(&detail);
                HttpError::not_acceptable(format!("{}; {}", error.message(), why.message()))
            }
            _ => error,
        });
    }
    let all = (1..=count).collect();
    pictures(&asked, &detail, all, true).await
}

/// `GET …/frames/{list}/rendered`.
pub(crate) async fn frames(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let numbers = super::frames::parse_list(&at.rest)?;
    let detail = super::detail(&state, &caller, &at).await?;
    super::frames::check_no_film(&detail)?;
    super::frames::check_range(&detail, &numbers)?;
    let asked = Asked::read(&state, &caller, &base, &headers, query.as_deref())?;
    pictures(&asked, &detail, numbers, false).await
}

/// Frames of one instance. `first_stands_for_all`: a client that takes one picture gets the first.
async fn pictures(
    asked: &Asked<'_>,
    detail: &Arc<Detail>,
    numbers: Vec<u32>,
    first_stands_for_all: bool,
) -> Result<Response, HttpError> {
    let single = numbers.len() == 1 || first_stands_for_all;
    let mut offers = Vec::new();
    if single {
        offers.extend([(false, JPEG), (false, PNG)]);
    }
    offers.extend([(true, JPEG), (true, PNG), (false, GIF)]);
    let (multipart, media) = asked.choose(&offers)?;
    let options = asked.options_for(media);

    let hash = detail.location.content_hash.as_str();
    let tag = respond::entity_tag([hash], &format!("{numbers:?} {multipart} {media} {options:?}"));
    if let Some(answer) = respond::conditional(asked.headers, &tag) {
        return Ok(answer);
    }
    let source = Source::open(asked.state, asked.caller, detail).await?;
    let mut response = match (multipart, media) {
        (true, _) => several::frames(asked, source, numbers, options).await?,
        (false, GIF) => cine::answer(asked, source, &numbers, options).await?,
        (false, _) => {
            let number = numbers.first().copied().unwrap_or(1);
            let rendered = source.render(asked.state, asked.caller, number, &options).await?;
            respond::pieces(rendered.content_type, vec![rendered.bytes])
        }
    };
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// Where the instances of a target lie; 404 when there are none.
async fn locate(
    state: &WebState,
    caller: &Caller,
    target: &Target,
) -> Result<Vec<qianli_catalog::types::Location>, HttpError> {
    let locations = state.archive().locate(&caller.scope, target).await?;
    if locations.is_empty() {
        return Err(nothing_here());
    }
    Ok(locations)
}
