//! Retrieve of whole objects (PS3.18 section 10.4.1.1): studies, series, instances, as multipart,
//! single part or zip archive.
//!
//! An object goes out as it is stored where the client takes that, byte for byte; else it is
//! rewritten and transcoded while it is sent (decision 0008). Memory does not depend on the size of
//! objects or studies.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_archive::{ArchiveError, ConvertError, Opened, can_convert};
use qianli_catalog::types::Location;
use qianli_model::TransferSyntax;

use super::{nothing_here, to_keep, zip};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::At;
use crate::dicomweb::respond::{self, Framing};
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
    let locations = to_keep(&state, &caller, &target).await?;
    let accept = Accept::of(&headers, query.as_deref());
    let one = target.instance.is_some();
    let negotiation = Negotiation::new(&accept, &locations, one)?;
    let Negotiation { shape, .. } = negotiation;
    let (chosen, left_out) = negotiation.assign(locations);

    let tag = respond::entity_tag(
        chosen.iter().flat_map(|(location, to)| [location.content_hash.as_str(), to.uid()]),
        shape.name(),
    );
    if let Some(answer) = respond::conditional(&headers, &tag) {
        return Ok(answer);
    }

    let objects = Objects { state, caller, accept, shape, one };
    let mut rest = chosen.into_iter();
    let Some((location, to)) = rest.next() else { return Err(nothing_here()) };
    // The first object is opened before the status is said: a dead store or pixels that nobody can
    // decode are no 200.
    let first = objects.open(&location, to).await.map_err(|error| match error {
        ConvertError::Imaging(cause) => {
            HttpError::not_acceptable(format!("{}; {cause}", available(&[&location], one)))
        }
        other => other.into(),
    })?;
    let mut response = match shape {
        Shape::Single => {
            let content_type = format!("{DICOM}; transfer-syntax={}", first.syntax);
            respond::streamed(&content_type, first.content, first.length)
        }
        Shape::Multipart => multipart(objects, &base, (location, first), rest.collect()),
        Shape::Zip => zip::answer(objects, &target.study, (location, first), rest.collect()),
    };
    if left_out > 0 {
        // PS3.18 table 10.4.1-2.
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("{left_out} instances cannot be given in a transfer syntax asked for");
        respond::warn(response.headers_mut(), &text);
    }
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// How objects are put into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `multipart/related`.
    Multipart,
    /// One object is the body.
    Single,
    /// `application/zip` (PS3.18 section 8.7.3.3, DICOM Supplement 211).
    Zip,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Multipart => "multipart",
            Self::Single => "single",
            Self::Zip => "zip",
        }
    }

    fn offer(self, candidate: &Candidate) -> Offer<'static> {
        Offer {
            multipart: self == Self::Multipart,
            media: if self == Self::Zip { zip::MEDIA } else { DICOM },
            syntax: Some(candidate.syntax.uid()),
            default_syntax: candidate.default,
            stored: candidate.stored,
        }
    }
}

/// A syntax in which an object can be had.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    syntax: TransferSyntax,
    default: bool,
    stored: bool,
}

/// Syntaxes in which an object can be had, ours to prefer first.
///
/// PS3.18 section 8.7.3.5.2 makes Explicit VR Little Endian the default of a client that names no
/// syntax. What cannot be decoded (video) comes as it is stored then: 406 would help nobody.
fn candidates(stored: TransferSyntax, excluded: &[TransferSyntax]) -> Vec<Candidate> {
    let explicit = TransferSyntax::EXPLICIT_LITTLE;
    let possible = |to: TransferSyntax| can_convert(stored, to) && !excluded.contains(&to);
    let default = if possible(explicit) { explicit } else { stored };
    // Lossless ones in the order of the registry, then lossy ones.
    let (lossy, lossless): (Vec<_>, Vec<_>) = TransferSyntax::all()
        .filter(|to| *to != default && *to != stored && possible(*to))
        .partition(|to| to.is_lossy());
    let mut all = vec![default];
    all.extend((stored != default && possible(stored)).then_some(stored));
    all.extend(lossless);
    all.extend(lossy);
    all.into_iter()
        .map(|syntax| Candidate { syntax, default: syntax == default, stored: syntax == stored })
        .collect()
}

/// What was agreed on: one shape, and a syntax for each stored one.
struct Negotiation {
    shape: Shape,
    syntaxes: BTreeMap<&'static str, Option<TransferSyntax>>,
}

impl Negotiation {
    fn new(accept: &Accept, locations: &[Location], one: bool) -> Result<Self, HttpError> {
        let mut syntaxes = BTreeMap::new();
        let mut agreed = None;
        // The first syntax that can be answered decides the shape; the others must fit in.
        for _ in 0..2 {
            for location in locations {
                let stored = location.transfer_syntax;
                if matches!(syntaxes.get(stored.uid()), Some(Some(_))) {
                    continue;
                }
                let chosen = choose(accept, stored, agreed, one, &[]);
                agreed = agreed.or(chosen.map(|(shape, _)| shape));
                syntaxes.insert(stored.uid(), chosen.map(|(_, syntax)| syntax));
            }
        }
        match agreed {
            Some(shape) => Ok(Self { shape, syntaxes }),
            None => {
                let all: Vec<&Location> = locations.iter().collect();
                Err(HttpError::not_acceptable(available(&all, one)))
            }
        }
    }

    /// Gives each object its syntax; tells how many have none.
    fn assign(&self, locations: Vec<Location>) -> (Vec<(Location, TransferSyntax)>, usize) {
        let all = locations.len();
        let chosen: Vec<_> = locations
            .into_iter()
            .filter_map(|location| {
                let to = self.syntaxes.get(location.transfer_syntax.uid()).copied().flatten()?;
                Some((location, to))
            })
            .collect();
        let left_out = all - chosen.len();
        (chosen, left_out)
    }
}

/// Chooses shape and syntax for one stored syntax.
fn choose(
    accept: &Accept,
    stored: TransferSyntax,
    agreed: Option<Shape>,
    one: bool,
    excluded: &[TransferSyntax],
) -> Option<(Shape, TransferSyntax)> {
    let candidates = candidates(stored, excluded);
    let shapes = [Shape::Multipart, Shape::Single, Shape::Zip].into_iter().filter(|shape| {
        agreed.is_none_or(|agreed| agreed == *shape) && (one || *shape != Shape::Single)
    });
    let all: Vec<(Shape, Candidate)> = shapes
        .flat_map(|shape| candidates.iter().map(move |candidate| (shape, *candidate)))
        .collect();
    let offers: Vec<Offer<'_>> =
        all.iter().map(|(shape, candidate)| shape.offer(candidate)).collect();
    let index = accept.choose(&offers)?;
    all.get(index).map(|(shape, candidate)| (*shape, candidate.syntax))
}

/// What can be had, for a client that asked for something else.
fn available(locations: &[&Location], one: bool) -> String {
    let single = if one { ", application/dicom" } else { "" };
    let mut syntaxes: Vec<&str> = Vec::new();
    for location in locations {
        for candidate in candidates(location.transfer_syntax, &[]) {
            if !syntaxes.contains(&candidate.syntax.uid()) {
                syntaxes.push(candidate.syntax.uid());
            }
        }
    }
    format!(
        "available here: multipart/related; type=\"application/dicom\"{single}, application/zip, \
         each with transfer-syntax=* or {}",
        syntaxes.join(", ")
    )
}

/// Opens objects as a client takes them.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) state: WebState,
    caller: Caller,
    accept: Accept,
    shape: Shape,
    one: bool,
}

impl Objects {
    /// Opens an object in a syntax; where its pixels do not go into that, in the next one that the
    /// client takes.
    pub(super) async fn open(
        &self,
        location: &Location,
        to: TransferSyntax,
    ) -> Result<Opened, ConvertError> {
        let mut to = to;
        let mut excluded = Vec::new();
        loop {
            let opened = self.state.archive().open_as(&self.caller.scope, location, to).await;
            let Err(ConvertError::Imaging(cause)) = opened else { return opened };
            excluded.push(to);
            let stored = location.transfer_syntax;
            match choose(&self.accept, stored, Some(self.shape), self.one, &excluded) {
                Some((_, next)) if !excluded.contains(&next) => to = next,
                _ => return Err(cause.into()),
            }
        }
    }

    /// Opens an object after the first, when the answer has begun.
    pub(super) async fn open_later(
        &self,
        location: &Location,
        to: TransferSyntax,
    ) -> Result<Opened, ArchiveError> {
        self.open(location, to).await.map_err(|error| match error {
            ConvertError::Archive(error) => error,
            other => ArchiveError::Damaged(other.to_string()),
        })
    }
}

fn multipart(
    objects: Objects,
    base: &BaseUrl,
    (location, first): (Location, Opened),
    rest: Vec<(Location, TransferSyntax)>,
) -> Response {
    let framing = Arc::new(Framing::new());
    let closing = framing.closing();
    let content_type = framing.content_type(DICOM);
    let url =
        |location: &Location| base.instance(&location.study, &location.series, &location.instance);
    let head = framing.header(true, DICOM, Some(first.syntax.uid()), &url(&location));
    let rest: Vec<_> =
        rest.into_iter().map(|(location, to)| (url(&location), location, to)).collect();
    // Known when every object goes out as it is stored.
    let length = rest.iter().try_fold(
        (closing.len() + head.len()) as u64 + first.length.unwrap_or(0),
        |sum, (url, location, to)| {
            let stored = *to == location.transfer_syntax;
            let header = framing.header(false, DICOM, Some(to.uid()), url).len() as u64;
            stored.then(|| sum.saturating_add(header).saturating_add(location.blob_size))
        },
    );
    let length = length.filter(|_| first.length.is_some());
    let rest = stream::iter(rest)
        .then(move |(url, location, to)| {
            let (objects, framing) = (objects.clone(), Arc::clone(&framing));
            async move {
                let opened = objects.open_later(&location, to).await?;
                let header = framing.header(false, DICOM, Some(opened.syntax.uid()), &url);
                Ok::<_, ArchiveError>(stream::iter([Ok(header)]).chain(opened.content))
            }
        })
        .try_flatten();
    let content = stream::iter([Ok(head)])
        .chain(first.content)
        .chain(rest)
        .chain(stream::iter([Ok(closing)]));
    respond::streamed(&content_type, content.boxed(), length)
}

/// Headers of a download that a browser is to keep as a file.
pub(super) fn attachment(headers: &mut HeaderMap, name: &str) {
    respond::set(headers, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
}
