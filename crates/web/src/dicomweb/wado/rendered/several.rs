//! Several frames or instances: one part each of a multipart answer. One is rendered while the one
//! before it is sent, so memory does not grow with their number.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_archive::ArchiveError;
use qianli_catalog::types::{Detail, Location, Target};
use qianli_imaging::RenderOptions;

use super::source::Source;
use super::{Asked, JPEG, PNG, document, locate, page, thumbnail};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::Offer;
use crate::dicomweb::respond::{self, Framing};
use crate::error::HttpError;
use crate::pixels::Picture;

/// Largest document that becomes a part beside pictures (bytes).
const MOST_DOCUMENT: u64 = 32 << 20;

/// One part on its way out.
pub(super) struct Part {
    pub media: &'static str,
    pub body: Bytes,
    pub at: String,
}

/// Frames of one instance. The first is rendered before anything is answered, so that what cannot
/// be rendered is no 200.
pub(super) async fn frames(
    asked: &Asked<'_>,
    source: Source,
    numbers: Vec<u32>,
    options: RenderOptions,
) -> Result<Response, HttpError> {
    let url = source.url(asked.base);
    let part = |number: u32, rendered: Picture| Part {
        media: rendered.content_type,
        body: rendered.bytes,
        at: format!("{url}/frames/{number}/rendered"),
    };
    let mut numbers = numbers.into_iter();
    let Some(number) = numbers.next() else { return Err(super::nothing_here()) };
    let first = part(number, source.render(asked.state, asked.caller, number, &options).await?);
    let (state, caller) = (asked.state.clone(), asked.caller.clone());
    let url = url.clone();
    let rest = stream::iter(numbers).then(move |number| {
        let (state, caller) = (state.clone(), caller.clone());
        let (source, options) = (source.clone(), options.clone());
        let at = format!("{url}/frames/{number}/rendered");
        async move {
            let rendered = source.render(&state, &caller, number, &options).await;
            rendered
                .map(|rendered| Part { media: rendered.content_type, body: rendered.bytes, at })
                .map_err(|error| broken(&error))
        }
    });
    Ok(multipart(first, rest))
}

/// Instances of a study or series: their first frames, and, for a client that takes more than
/// pictures, their documents and pages. What cannot be rendered is left out.
pub(super) async fn instances(asked: &Asked<'_>, target: &Target) -> Result<Response, HttpError> {
    let offers = [(true, JPEG), (true, PNG), (false, JPEG), (false, PNG)];
    let (multipart_wanted, media) = asked.choose(&offers)?;
    let options = asked.options_for(media);
    if !multipart_wanted {
        return thumbnail::representative_picture(asked, target, options).await;
    }
    let locations = locate(asked.state, asked.caller, target).await?;
    let anything = Offer { multipart: true, ..Offer::plain("application/pdf") };
    let maker = Maker {
        state: asked.state.clone(),
        caller: asked.caller.clone(),
        base: asked.base.clone(),
        options,
        pictures_only: asked.accept.choose(&[anything]).is_none(),
        chinese: crate::portal::prefers_chinese("", asked.headers),
    };
    let variant =
        format!("all {media} {} {} {:?}", maker.pictures_only, maker.chinese, maker.options);
    let hashes = locations.iter().map(|location| location.content_hash.as_str());
    let tag = respond::entity_tag(hashes, &variant);
    if let Some(answer) = respond::conditional(asked.headers, &tag) {
        return Ok(answer);
    }

    let mut locations = locations.into_iter();
    let first = loop {
        let Some(location) = locations.next() else {
            let message = "nothing here can be rendered as what the Accept header names";
            return Err(HttpError::not_acceptable(message));
        };
        if let Some(part) = maker.part(&location).await? {
            break part;
        }
    };
    let maker = Arc::new(maker);
    let rest = stream::iter(locations).filter_map(move |location| {
        let maker = Arc::clone(&maker);
        async move { maker.part(&location).await.map_err(|error| broken(&error)).transpose() }
    });
    let mut response = multipart(first, rest);
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// Makes parts of instances.
struct Maker {
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    options: RenderOptions,
    pictures_only: bool,
    /// Language of pages.
    chinese: bool,
}

impl Maker {
    /// The part of an instance; `None` when it cannot be rendered or has gone.
    async fn part(&self, location: &Location) -> Result<Option<Part>, HttpError> {
        let Location { study, series, instance, .. } = location;
        let found =
            self.state.archive().detail(&self.caller.scope, study, series, instance).await?;
        let Some(detail) = found else { return Ok(None) };
        let made = match document::Embedded::of(&detail) {
            Some(embedded) if !self.pictures_only => self.document(&detail, embedded).await,
            Some(_) => return Ok(None),
            None if detail.frames.count() == 0 && !self.pictures_only => {
                let (state, caller) = (&self.state, &self.caller);
                let page = page::make(state, caller, &detail, self.base.as_str(), self.chinese);
                page.await.map(|page| (page::HTML_UTF8, page))
            }
            None => self.picture(&detail).await,
        };
        let at = format!("{}/rendered", self.base.instance(study, series, instance));
        match made {
            Ok((media, body)) => Ok(Some(Part { media, body, at })),
            Err(error) if error.status().is_client_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn picture(&self, detail: &Arc<Detail>) -> Result<(&'static str, Bytes), HttpError> {
        if detail.frames.count() == 0 {
            return Err(HttpError::not_acceptable("no image"));
        }
        let source = Source::open(&self.state, &self.caller, detail).await?;
        let rendered = source.render(&self.state, &self.caller, 1, &self.options).await?;
        Ok((rendered.content_type, rendered.bytes))
    }

    async fn document(
        &self,
        detail: &Detail,
        embedded: document::Embedded,
    ) -> Result<(&'static str, Bytes), HttpError> {
        if embedded.length() > MOST_DOCUMENT {
            return Err(HttpError::not_acceptable("too long for a part"));
        }
        let body = document::whole(&self.state, &self.caller, detail, &embedded).await?;
        Ok((embedded.media, body))
    }
}

/// The multipart answer of a first part and those behind it. It is named after the first, the root
/// part (PS3.18 section 8.6.1.2.1, RFC 2387 section 3.1), whatever the others are: each says its own
/// type.
fn multipart(
    first: Part,
    rest: impl futures_util::Stream<Item = Result<Part, ArchiveError>> + Send + 'static,
) -> Response {
    let framing = Framing::new();
    let root = first.media.split(';').next().unwrap_or(first.media);
    let content_type = framing.content_type(root);
    let closing = framing.closing();
    let head = [framing.header(true, first.media, None, &first.at), first.body];
    let rest = rest.flat_map(move |part| {
        let pieces = match part {
            Ok(part) => {
                let header = framing.header(false, part.media, None, &part.at);
                vec![Ok(header), Ok(part.body)]
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    });
    let content = stream::iter(head.map(Ok)).chain(rest).chain(stream::iter([Ok(closing)]));
    respond::streamed(&content_type, content.boxed(), None)
}

/// An error behind the first part, when the answer has begun: it can only break off.
pub(super) fn broken(error: &HttpError) -> ArchiveError {
    ArchiveError::Damaged(format!("rendering stopped: {}", error.message()))
}
