//! Retrieve of metadata (PS3.18 section 10.4.1.1.3): DICOM JSON as it was written at ingest, with
//! this server's URL in front of its bulk data references; or the same as Native DICOM Model XML.

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_archive::{Archive, ArchiveError};
use qianli_catalog::types::{Location, Metadata, Target};
use qianli_model::{Scope, SeriesUid, xml};

use super::nothing_here;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::json::{Assembly, replace_mark};
use crate::dicomweb::path::At;
use crate::dicomweb::respond::{self, DICOM_JSON, Framing};
use crate::error::HttpError;

/// Headers of a study with more instances than this are read series by series while they are sent;
/// fewer are read at once, so that the answer has a length.
const AT_ONCE: usize = 1_000;

/// Bytes of one piece of a streamed answer.
const PIECE: usize = 64 << 10;

/// `GET …/metadata` at study, series and instance level.
pub(crate) async fn metadata(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let form = Form::choose(&Accept::of(&headers, query.as_deref()), target.instance.is_some())?;
    let variant = format!("{form:?} {}", base.as_str());

    // Hashes alone are cheaper than headers: for a client that holds something, and for a study that
    // may be too large to be read at once.
    let mut locations = Vec::new();
    let conditional = [header::IF_NONE_MATCH, header::IF_MATCH];
    if conditional.iter().any(|name| headers.contains_key(name)) || target.series.is_none() {
        locations = state.archive().locate(&caller.scope, &target).await?;
        if locations.is_empty() {
            return Err(nothing_here());
        }
        let hashes = locations.iter().map(|location| location.content_hash.as_str());
        let tag = respond::entity_tag(hashes, &variant);
        if let Some(answer) = respond::conditional(&headers, &tag) {
            return Ok(answer);
        }
    }

    let large = target.series.is_none() && locations.len() > AT_ONCE;
    let (found, later, tag);
    if large {
        let hashes = locations.iter().map(|location| location.content_hash.as_str());
        tag = respond::entity_tag(hashes, &variant);
        (found, later) = (Vec::new(), in_order(locations));
    } else {
        (found, later) = (state.archive().metadata(&caller.scope, &target).await?, Vec::new());
        if found.is_empty() {
            return Err(nothing_here());
        }
        tag = respond::entity_tag(found.iter().map(|one| one.content_hash.as_str()), &variant);
    }
    let mut response = match form {
        Form::Json(media) if !large => {
            let objects = found
                .into_iter()
                .map(|one| (one.json, base.instance(&target.study, &one.series, &one.instance)))
                .collect();
            let array = Assembly::new(objects);
            let length = array.length();
            respond::streamed(media, stream::iter(array.map(Ok)).boxed(), Some(length))
        }
        _ => {
            let framing = Framing::new();
            let content_type = match form {
                Form::Json(media) => media.to_owned(),
                Form::XmlParts => framing.content_type(xml::MEDIA_TYPE),
                Form::XmlDocument => xml::MEDIA_TYPE.to_owned(),
            };
            let writing = Writing {
                archive: state.archive().clone(),
                scope: caller.scope.clone(),
                base,
                target,
                form,
                framing,
                series: later.into_iter(),
                headers: found.into_iter(),
                started: false,
                ended: false,
            };
            let content = stream::try_unfold(writing, |mut writing| async move {
                let piece = writing.piece().await?;
                Ok(piece.map(|piece| (piece, writing)))
            });
            respond::streamed(&content_type, content.boxed(), None)
        }
    };
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// Series in the order of their instances.
fn in_order(locations: Vec<Location>) -> Vec<SeriesUid> {
    let mut seen = BTreeSet::new();
    locations
        .into_iter()
        .map(|location| location.series)
        .filter(|series| seen.insert(series.clone()))
        .collect()
}

/// How headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One array, under this media type.
    Json(&'static str),
    /// One document per instance, each a part.
    XmlParts,
    /// The document of the only instance.
    XmlDocument,
}

impl Form {
    fn choose(accept: &Accept, one_instance: bool) -> Result<Self, HttpError> {
        let forms = [
            Self::Json(DICOM_JSON),
            Self::Json("application/json"),
            Self::XmlParts,
            Self::XmlDocument,
        ];
        let offers = forms.map(|form| match form {
            Self::Json(media) => Offer::plain(media),
            Self::XmlParts => Offer { multipart: true, ..Offer::plain(xml::MEDIA_TYPE) },
            Self::XmlDocument => Offer::plain(xml::MEDIA_TYPE),
        });
        match accept.choose(&offers).and_then(|index| forms.get(index)) {
            // Several documents can only be parts; whoever reads the media type of one reads these.
            Some(Self::XmlDocument) if !one_instance => Ok(Self::XmlParts),
            Some(form) => Ok(*form),
            None => Err(HttpError::not_acceptable(
                "available here: application/dicom+json, application/json, multipart/related; \
                 type=\"application/dicom+xml\"",
            )),
        }
    }
}

/// Headers that are written while they are sent.
struct Writing {
    archive: Archive,
    scope: Scope,
    base: BaseUrl,
    target: Target,
    form: Form,
    framing: Framing,
    /// Series whose headers are still to be read.
    series: std::vec::IntoIter<SeriesUid>,
    /// Headers at hand.
    headers: std::vec::IntoIter<Metadata>,
    started: bool,
    ended: bool,
}

impl Writing {
    async fn piece(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
        while piece.len() < PIECE {
            if let Some(header) = self.headers.next() {
                self.write(&header, &mut piece)?;
                continue;
            }
            let Some(series) = self.series.next() else {
                self.ended = true;
                match self.form {
                    Form::Json(_) => {
                        piece.extend_from_slice(if self.started { b"]" } else { b"[]" })
                    }
                    Form::XmlParts => piece.extend_from_slice(&self.framing.closing()),
                    Form::XmlDocument => {}
                }
                break;
            };
            let target = Target { series: Some(series), ..self.target.clone() };
            self.headers = self.archive.metadata(&self.scope, &target).await?.into_iter();
        }
        Ok(Some(piece.into()))
    }

    fn write(&mut self, header: &Metadata, out: &mut Vec<u8>) -> Result<(), ArchiveError> {
        let url = self.base.instance(&self.target.study, &header.series, &header.instance);
        let first = !self.started;
        self.started = true;
        match self.form {
            Form::Json(_) => {
                out.push(if first { b'[' } else { b',' });
                replace_mark(&header.json, &url, out);
                return Ok(());
            }
            Form::XmlParts => {
                let at = format!("{url}/metadata");
                out.extend_from_slice(&self.framing.header(first, xml::MEDIA_TYPE, None, &at));
            }
            Form::XmlDocument => {}
        }
        xml::from_json(&header.json, &url, out)
            .map_err(|error| ArchiveError::Damaged(format!("a header as XML: {error}")))
    }
}
