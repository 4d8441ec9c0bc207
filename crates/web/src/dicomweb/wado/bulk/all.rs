//! All bulk data of a study, series or instance in one answer (PS3.18 section 10.4.1.1.5), and all
//! pixel data alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_archive::{ArchiveError, FrameReader};
use qianli_catalog::types::{Detail, Location, Target};
use qianli_model::header::BulkValue;
use qianli_model::syntax::Encoding;
use qianli_model::{TransferSyntax, tag};

use super::{little_endian, word_size};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::At;
use crate::dicomweb::respond::{self, Content, Framing};
use crate::dicomweb::wado::media::{self, OCTET_STREAM};
use crate::dicomweb::wado::{frames, nothing_here};
use crate::error::HttpError;

/// `GET …/bulkdata` of a study, series or instance.
pub(crate) async fn all(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let accept = Accept::of(&headers, query.as_deref());
    answer(state, caller, base, target, &headers, &accept, false).await
}

/// `GET …/pixeldata` of a study, series or instance.
pub(crate) async fn pixel_data(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let accept = Accept::of(&headers, query.as_deref());
    answer(state, caller, base, target, &headers, &accept, true).await
}

async fn answer(
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    target: Target,
    headers: &HeaderMap,
    accept: &Accept,
    only_pixels: bool,
) -> Result<Response, HttpError> {
    let locations = state.archive().locate(&caller.scope, &target).await?;
    if locations.is_empty() {
        return Err(nothing_here());
    }
    let explicit = TransferSyntax::EXPLICIT_LITTLE.uid();
    let offer = |syntax, as_stored: bool| Offer {
        multipart: true,
        syntax: Some(syntax),
        default_syntax: !as_stored,
        stored: as_stored,
        ..Offer::plain(OCTET_STREAM)
    };
    // No syntax is called this; `transfer-syntax=*` takes it.
    let as_stored = match accept.choose(&[offer(explicit, false), offer("stored", true)]) {
        Some(index) => index == 1,
        None => {
            return Err(HttpError::not_acceptable(
                "available here: multipart/related; type=\"application/octet-stream\", also with \
                 transfer-syntax=*",
            ));
        }
    };
    let variant = format!("bulk {only_pixels} {as_stored} {}", base.as_str());
    let hashes = locations.iter().map(|location| location.content_hash.as_str());
    let tag = respond::entity_tag(hashes, &variant);
    if let Some(answer) = respond::not_modified(headers, &tag) {
        return Ok(answer);
    }

    let framing = Arc::new(Framing::new());
    let content_type = framing.content_type(OCTET_STREAM);
    let closing = framing.closing();
    let started = Arc::new(AtomicBool::new(false));
    let writer = Writer { state, caller, base, framing, started, as_stored, only_pixels };
    // The status depends on whether there is anything at all.
    let mut rest = locations.into_iter();
    let first = loop {
        let Some(location) = rest.next() else {
            return Err(HttpError::not_found("there is no bulk data under this path"));
        };
        if let Some(parts) = writer.instance(&location).await? {
            break parts;
        }
    };
    let rest = stream::iter(rest)
        .then(move |location| {
            let writer = writer.clone();
            async move {
                let parts = writer.instance(&location).await?;
                Ok::<_, ArchiveError>(parts.unwrap_or_else(|| stream::empty().boxed()))
            }
        })
        .try_flatten();
    let content = first.chain(rest).chain(stream::iter([Ok(closing)])).boxed();
    let mut response = respond::streamed(&content_type, content, None);
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

#[derive(Clone)]
struct Writer {
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    framing: Arc<Framing>,
    /// A part was written.
    started: Arc<AtomicBool>,
    /// Compressed frames go out as they are stored.
    as_stored: bool,
    only_pixels: bool,
}

/// What makes one part.
enum Item {
    Value(BulkValue),
    Frame(u32),
}

impl Writer {
    /// The parts of one instance, or `None` when it has none.
    async fn instance(&self, location: &Location) -> Result<Option<Content>, ArchiveError> {
        let Location { study, series, instance, .. } = location;
        let archive = self.state.archive();
        let detail = archive.detail(&self.caller.scope, study, series, instance).await?;
        // Deleted since it was located: there is nothing to send.
        let Some(detail) = detail else { return Ok(None) };
        let items = self.items(&detail);
        if items.is_empty() {
            return Ok(None);
        }
        let reader = FrameReader::new(archive, &self.caller.scope, Arc::clone(&detail));
        let url = self.base.instance(study, series, instance);
        let writer = self.clone();
        let parts = stream::iter(items)
            .then(move |item| {
                let (writer, reader, url) = (writer.clone(), reader.clone(), url.clone());
                async move {
                    match item {
                        Item::Value(value) => writer.value(&reader, &value, &url).await,
                        Item::Frame(number) => writer.frame(&reader, number, &url).await,
                    }
                }
            })
            .try_flatten();
        Ok(Some(parts.boxed()))
    }

    fn items(&self, detail: &Detail) -> Vec<Item> {
        let pixels = tag::PIXEL_DATA.to_string();
        let pixel_elements = [tag::PIXEL_DATA, tag::FLOAT_PIXEL_DATA, tag::DOUBLE_FLOAT_PIXEL_DATA]
            .map(|tag| tag.to_string());
        let mut items = Vec::new();
        for value in &detail.bulk {
            if self.only_pixels && !pixel_elements.contains(&value.path) {
                continue;
            }
            let frames = detail.frames.count();
            let compressed = detail.location.transfer_syntax.is_encapsulated();
            if value.path == pixels && compressed && frames > 0 {
                items.extend((1..=frames).map(Item::Frame));
            } else {
                items.push(Item::Value(value.clone()));
            }
        }
        items
    }

    async fn value(
        &self,
        reader: &FrameReader,
        value: &BulkValue,
        url: &str,
    ) -> Result<Content, ArchiveError> {
        let detail = reader.detail();
        let content = self.state.archive().bulk(&self.caller.scope, detail, value).await?;
        let big = detail.location.transfer_syntax.encoding() == Encoding::ExplicitBig;
        let content = little_endian(content, if big { word_size(detail, value) } else { 1 });
        let at = format!("{url}/bulkdata/{}", value.path);
        let head = self.header(OCTET_STREAM, TransferSyntax::EXPLICIT_LITTLE, &at);
        Ok(stream::iter([Ok(head)]).chain(content).boxed())
    }

    /// One compressed frame: decoded, unless that is not wanted, impossible, or would not be what
    /// the metadata says. Its part names what it is.
    async fn frame(
        &self,
        reader: &FrameReader,
        number: u32,
        url: &str,
    ) -> Result<Content, ArchiveError> {
        let detail = reader.detail();
        let at = format!("{url}/frames/{number}");
        let explicit = TransferSyntax::EXPLICIT_LITTLE;
        if !self.as_stored
            && let Ok(made) = reader.transcoded(number, explicit, true).await
            && frames::describes(&detail.json, made.frame.photometric)
        {
            let head = self.header(OCTET_STREAM, explicit, &at);
            return Ok(stream::iter([Ok(head), Ok(made.into_bytes())]).boxed());
        }
        let stored = detail.location.transfer_syntax;
        let media = media::of_frames(stored).first().copied().unwrap_or(OCTET_STREAM);
        let frame = reader.stored(number).await?;
        let head = self.header(media, stored, &at);
        Ok(stream::iter([Ok(head)]).chain(frame).boxed())
    }

    fn header(&self, media: &str, syntax: TransferSyntax, at: &str) -> Bytes {
        let first = !self.started.swap(true, Ordering::Relaxed);
        self.framing.header(first, media, Some(syntax.uid()), at)
    }
}
