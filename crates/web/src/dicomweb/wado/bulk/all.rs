//! All bulk data of a study, series or instance in one answer (PS3.18 section 10.4.1.1.5), and all
//! pixel data alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
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
use crate::dicomweb::wado::{frames, to_keep};
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
    let locations = to_keep(&state, &caller, &target).await?;
    let form = Form::choose(accept, &locations)?;
    let labels: BTreeSet<_> =
        locations.iter().map(|location| form.of_frames(accept, location.transfer_syntax)).collect();
    let variant = format!("bulk {only_pixels} {form:?} {labels:?} {}", base.as_str());
    let hashes = locations.iter().map(|location| location.content_hash.as_str());
    let tag = respond::entity_tag(hashes, &variant);
    if let Some(answer) = respond::conditional(headers, &tag) {
        return Ok(answer);
    }

    let framing = Arc::new(Framing::new());
    let closing = framing.closing();
    let started = Arc::new(AtomicBool::new(false));
    let accept = accept.clone();
    let writer = Writer { state, caller, base, accept, framing, started, form, only_pixels };
    // The status depends on whether there is anything at all.
    let mut rest = locations.into_iter();
    let (media, first) = loop {
        let Some(location) = rest.next() else {
            return Err(HttpError::not_found(form.nothing()));
        };
        if let Some(parts) = writer.instance(&location).await? {
            break parts;
        }
    };
    // The type of the whole is that of its first part (RFC 2387 section 3.1).
    let content_type = writer.framing.content_type(media);
    let rest = stream::iter(rest)
        .then(move |location| {
            let writer = writer.clone();
            async move {
                let parts = writer.instance(&location).await?.map(|(_, parts)| parts);
                Ok::<_, ArchiveError>(parts.unwrap_or_else(|| stream::empty().boxed()))
            }
        })
        .try_flatten();
    let content = first.chain(rest).chain(stream::iter([Ok(closing)])).boxed();
    let mut response = respond::streamed(&content_type, content, None);
    if form == (Form::Frames { octets: false }) {
        let text = "only frames stored in a media type asked for are here";
        respond::warn(response.headers_mut(), text);
        if labels.contains(&None) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// How values and compressed frames go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All as `application/octet-stream`: compressed frames decoded, or as they are stored.
    Octets { as_stored: bool },
    /// Compressed frames as they are stored, under a media type of their own that the client takes;
    /// everything else as octets, if it takes those too.
    Frames { octets: bool },
}

impl Form {
    /// What the client likes best; of what it likes equally, decoded octets.
    fn choose(accept: &Accept, locations: &[Location]) -> Result<Self, HttpError> {
        // No syntax is called this; `transfer-syntax=*` takes it.
        const STORED: &str = "stored";
        let offer = |media, syntax, default_syntax| Offer {
            multipart: true,
            syntax: Some(syntax),
            default_syntax,
            stored: syntax == STORED,
            ..Offer::plain(media)
        };
        let mut offers = vec![
            offer(OCTET_STREAM, TransferSyntax::EXPLICIT_LITTLE.uid(), true),
            offer(OCTET_STREAM, STORED, false),
        ];
        let compressed = |location: &Location| {
            Some(location.transfer_syntax).filter(|syntax| syntax.is_encapsulated())
        };
        let syntaxes: BTreeMap<&str, TransferSyntax> =
            locations.iter().filter_map(compressed).map(|syntax| (syntax.uid(), syntax)).collect();
        for (uid, syntax) in &syntaxes {
            offers.extend(media::of_frames(*syntax).iter().map(|media| offer(media, uid, true)));
        }
        match accept.choose(&offers) {
            Some(index @ (0 | 1)) => Ok(Self::Octets { as_stored: index == 1 }),
            Some(_) => {
                let octets = accept.choose(offers.get(..1).unwrap_or_default()).is_some();
                Ok(Self::Frames { octets })
            }
            None => {
                let kinds: BTreeSet<&str> = syntaxes
                    .values()
                    .flat_map(|syntax| media::of_frames(*syntax))
                    .copied()
                    .collect();
                let kinds: String = kinds
                    .iter()
                    .map(|media| format!(", multipart/related; type=\"{media}\""))
                    .collect();
                Err(HttpError::not_acceptable(format!(
                    "available here: multipart/related; type=\"application/octet-stream\", also with \
                     transfer-syntax=*{kinds}",
                )))
            }
        }
    }

    /// The media type under which frames of a syntax go out as stored, if they may.
    fn of_frames(self, accept: &Accept, syntax: TransferSyntax) -> Option<&'static str> {
        match self {
            Self::Octets { as_stored } => as_stored.then_some(OCTET_STREAM),
            Self::Frames { .. } if !syntax.is_encapsulated() => None,
            Self::Frames { .. } => media::of_frames(syntax).iter().copied().find(|media| {
                let offer =
                    Offer { multipart: true, syntax: Some(syntax.uid()), ..Offer::plain(media) };
                accept.choose(&[offer]).is_some()
            }),
        }
    }

    /// Whether anything goes out as octets.
    fn has_octets(self) -> bool {
        self != Self::Frames { octets: false }
    }

    /// Why there is no part.
    fn nothing(self) -> &'static str {
        match self {
            Self::Octets { .. } | Self::Frames { octets: true } => {
                "there is no bulk data under this path"
            }
            Self::Frames { octets: false } => {
                "there is no bulk data of the media type asked for under this path"
            }
        }
    }
}

#[derive(Clone)]
struct Writer {
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    accept: Accept,
    framing: Arc<Framing>,
    /// A part was written.
    started: Arc<AtomicBool>,
    form: Form,
    only_pixels: bool,
}

/// What makes one part.
enum Item {
    Value(BulkValue),
    Frame(u32),
}

impl Writer {
    /// The parts of one instance and the media type of the first, or `None` when it has none.
    async fn instance(
        &self,
        location: &Location,
    ) -> Result<Option<(&'static str, Content)>, ArchiveError> {
        let Location { study, series, instance, .. } = location;
        let archive = self.state.archive();
        let detail = archive.detail(&self.caller.scope, study, series, instance).await?;
        // Deleted since it was located: there is nothing to send.
        let Some(detail) = detail else { return Ok(None) };
        let stored_as = self.form.of_frames(&self.accept, location.transfer_syntax);
        let items = self.items(&detail, stored_as.is_some());
        let media = match items.first() {
            None => return Ok(None),
            Some(Item::Frame(_)) => stored_as.unwrap_or(OCTET_STREAM),
            Some(Item::Value(_)) => OCTET_STREAM,
        };
        let reader = FrameReader::new(archive, &self.caller.scope, Arc::clone(&detail));
        let url = self.base.instance(study, series, instance);
        let writer = self.clone();
        let parts = stream::iter(items)
            .then(move |item| {
                let (writer, reader, url) = (writer.clone(), reader.clone(), url.clone());
                async move {
                    match item {
                        Item::Value(value) => writer.value(&reader, &value, &url).await,
                        Item::Frame(number) => writer.frame(&reader, number, stored_as, &url).await,
                    }
                }
            })
            .try_flatten();
        Ok(Some((media, parts.boxed())))
    }

    fn items(&self, detail: &Detail, frames_as_stored: bool) -> Vec<Item> {
        let octets = self.form.has_octets();
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
                if octets || frames_as_stored {
                    items.extend((1..=frames).map(Item::Frame));
                }
            } else if octets {
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

    /// One compressed frame: decoded, unless it is to go out as stored, cannot be decoded, or would
    /// not be what the metadata says. Its part names the transfer syntax.
    async fn frame(
        &self,
        reader: &FrameReader,
        number: u32,
        stored_as: Option<&'static str>,
        url: &str,
    ) -> Result<Content, ArchiveError> {
        let detail = reader.detail();
        let at = format!("{url}/frames/{number}");
        let explicit = TransferSyntax::EXPLICIT_LITTLE;
        if stored_as.is_none()
            && let Ok(made) = reader.transcoded(number, explicit, true).await
            && frames::describes(&detail.json, made.frame.photometric)
        {
            let head = self.header(OCTET_STREAM, explicit, &at);
            return Ok(stream::iter([Ok(head), Ok(made.into_bytes())]).boxed());
        }
        let frame = reader.stored(number).await?;
        let media = stored_as.unwrap_or(OCTET_STREAM);
        let head = self.header(media, detail.location.transfer_syntax, &at);
        Ok(stream::iter([Ok(head)]).chain(frame).boxed())
    }

    fn header(&self, media: &str, syntax: TransferSyntax, at: &str) -> Bytes {
        let first = !self.started.swap(true, Ordering::Relaxed);
        self.framing.header(first, media, Some(syntax.uid()), at)
    }
}
