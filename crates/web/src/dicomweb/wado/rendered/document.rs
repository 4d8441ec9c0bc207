//! Documents and videos inside instances, as what they are (PS3.18 table 8.7.4-1; PS3.3 section
//! C.24.2 and PS3.5 section 8.2).

use std::ops::Range;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_catalog::types::Detail;
use qianli_model::header::BulkValue;
use qianli_model::{FrameTable, Tag};

use super::Asked;
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::json;
use crate::dicomweb::respond::{self, Content};
use crate::dicomweb::wado::range::{self, Part};
use crate::error::HttpError;

/// Path of Encapsulated Document among the bulk values.
const ENCAPSULATED_DOCUMENT: &str = "00420011";

/// Encapsulated Document Length and MIME Type of Encapsulated Document.
const DOCUMENT_LENGTH: &str = "00420015";
const MIME_TYPE: &str = "00420012";

const PDF: &str = "application/pdf";
const MP4: &str = "video/mp4";

/// What may be sent under its own name. Anything else that a sender claims goes out as bytes: a
/// browser must not run what an object says it is.
const DOCUMENTS: &[&str] = &[
    PDF,
    "text/xml",
    "application/xml",
    "model/stl",
    "application/sla",
    "model/obj",
    "model/mtl",
    "image/jpeg",
    "image/png",
    "text/plain",
];

/// A document or video and where its bytes are.
pub(super) struct Embedded {
    pub media: &'static str,
    /// The value, or one value per fragment of a video.
    pieces: Vec<BulkValue>,
    /// A document so short that it stands in the metadata.
    inline: Option<Bytes>,
    length: u64,
}

impl Embedded {
    /// The document or video of an instance, if it holds one.
    pub(super) fn of(detail: &Detail) -> Option<Self> {
        if let Some(kind) = video(detail.location.transfer_syntax.uid()) {
            return Self::video(detail, kind);
        }
        // Most instances are images: a search is cheaper than taking their headers apart.
        memchr::memmem::find(&detail.json, b"\"00420011\"")?;
        let text = String::from_utf8_lossy(&detail.json);
        let members = json::members(&text);
        let member = |tag: &str| {
            let tag = Tag::from_hex(tag)?;
            members.iter().find(|(other, _)| *other == tag).map(|(_, value)| *value)
        };
        let claimed = member(MIME_TYPE).unwrap_or_default().to_ascii_lowercase();
        let media = DOCUMENTS.iter().find(|media| claimed.contains(&format!("\"{media}\"")));
        let is_pdf = detail.location.sop_class == "1.2.840.10008.5.1.4.1.1.104.1";
        let media = match media {
            Some(media) => media,
            None if is_pdf => PDF,
            None => "application/octet-stream",
        };
        // The value is padded to an even length, the document may not be.
        let exact = member(DOCUMENT_LENGTH).and_then(json::number);
        let trimmed = |length: u64| match exact {
            Some(exact) if exact.checked_add(1) == Some(length) => exact,
            _ => length,
        };
        if let Some(value) = detail.bulk.iter().find(|value| value.path == ENCAPSULATED_DOCUMENT) {
            let mut value = value.clone();
            value.range.length = trimmed(value.range.length);
            let length = value.range.length;
            return Some(Self { media, length, pieces: vec![value], inline: None });
        }
        let (_, rest) = member(ENCAPSULATED_DOCUMENT)?.split_once("\"InlineBinary\"")?;
        let mut bytes = qianli_imaging::base64(rest.split('"').nth(1)?)?;
        bytes.truncate(trimmed(bytes.len() as u64) as usize);
        let length = bytes.len() as u64;
        Some(Self { media, length, pieces: Vec::new(), inline: Some(bytes.into()) })
    }

    fn video(detail: &Detail, media: &'static str) -> Option<Self> {
        let FrameTable::Encapsulated { frames } = &detail.frames else { return None };
        let mut pieces: Vec<BulkValue> = Vec::new();
        for range in frames.iter().flatten() {
            let value = BulkValue { path: String::new(), vr: "OB".into(), range: *range };
            if pieces.last() != Some(&value) {
                pieces.push(value);
            }
        }
        let length = pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.range.length));
        (length > 0).then_some(Self { media, pieces, length, inline: None })
    }

    /// The bytes of a range of it.
    fn cut(&self, range: &Range<u64>) -> Self {
        let mut start = 0u64;
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let end = start.saturating_add(piece.range.length);
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let mut piece = piece.clone();
                piece.range.offset = piece.range.offset.saturating_add(from - start);
                piece.range.length = to - from;
                pieces.push(piece);
            }
            start = end;
        }
        let inline = self.inline.as_ref().map(|bytes| {
            let all = bytes.len();
            let end = usize::try_from(range.end).map_or(all, |end| end.min(all));
            let start = usize::try_from(range.start).map_or(end, |start| start.min(end));
            bytes.slice(start..end)
        });
        Self { media: self.media, pieces, inline, length: range.end.saturating_sub(range.start) }
    }

    /// Bytes of the whole.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// Media type of a video syntax.
pub(in crate::dicomweb::wado) fn video(syntax: &str) -> Option<&'static str> {
    let number = syntax.strip_prefix("1.2.840.10008.1.2.4.")?;
    match number.split('.').next()? {
        "100" | "101" => Some("video/mpeg"),
        "102" | "103" | "104" | "105" | "106" | "107" | "108" => Some(MP4),
        _ => None,
    }
}

/// Answers with the document or video.
pub(super) async fn answer(
    asked: &Asked<'_>,
    detail: &Detail,
    embedded: Embedded,
) -> Result<Response, HttpError> {
    let media = sniffed(asked.state, asked.caller, detail, &embedded).await?;
    asked.choose(&[(false, media)])?;
    let tag = respond::entity_tag([detail.location.content_hash.as_str()], media);
    if let Some(answer) = respond::conditional(asked.headers, &tag) {
        return Ok(answer);
    }
    let length = embedded.length;
    let part = match Part::of(asked.headers, length) {
        Part::Whole => 0..length,
        Part::Bytes(range) => range,
        Part::Beyond => return Ok(range::beyond(length)),
    };
    let content = content(asked.state, asked.caller, detail, &embedded.cut(&part)).await?;
    let mut response = respond::streamed(media, content, Some(part.end - part.start));
    range::label(&mut response, &part, length);
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// The media type, of a video by its first bytes: the standard allows several containers, and none.
async fn sniffed(
    state: &WebState,
    caller: &Caller,
    detail: &Detail,
    embedded: &Embedded,
) -> Result<&'static str, HttpError> {
    let Some(first) = embedded.pieces.first().filter(|_| embedded.media == MP4) else {
        return Ok(embedded.media);
    };
    let mut start = first.clone();
    start.range.length = start.range.length.min(16);
    let bytes: Vec<Bytes> =
        state.archive().bulk(&caller.scope, detail, &start).await?.try_collect().await?;
    let hevc =
        matches!(detail.location.transfer_syntax.uid().rsplit('.').next(), Some("107" | "108"));
    Ok(container(&bytes.concat(), hevc))
}

fn container(start: &[u8], hevc: bool) -> &'static str {
    match (start, hevc) {
        ([_, _, _, _, b'f', b't', b'y', b'p', ..], _) => MP4,
        ([0x47, ..], _) => "video/mp2t",
        (_, false) => "video/h264",
        (_, true) => "video/h265",
    }
}

/// The document's bytes, all at once.
pub(super) async fn whole(
    state: &WebState,
    caller: &Caller,
    detail: &Detail,
    embedded: &Embedded,
) -> Result<Bytes, HttpError> {
    let steps: Vec<Bytes> = content(state, caller, detail, embedded).await?.try_collect().await?;
    Ok(steps.concat().into())
}

/// Streams the pieces one after another. The first is opened at once, so that a dead store is no
/// 200.
async fn content(
    state: &WebState,
    caller: &Caller,
    detail: &Detail,
    embedded: &Embedded,
) -> Result<Content, HttpError> {
    if let Some(inline) = &embedded.inline {
        return Ok(stream::iter([Ok(inline.clone())]).boxed());
    }
    let mut pieces = embedded.pieces.clone().into_iter();
    let Some(first) = pieces.next() else { return Err(super::nothing_here()) };
    let opened = state.archive().bulk(&caller.scope, detail, &first).await?;
    let (state, caller, detail) = (state.clone(), caller.clone(), detail.clone());
    let rest = stream::iter(pieces).then(move |piece| {
        let (state, caller, detail) = (state.clone(), caller.clone(), detail.clone());
        async move { state.archive().bulk(&caller.scope, &detail, &piece).await }
    });
    Ok(opened.chain(rest.try_flatten()).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_are_told_by_their_syntax() {
        assert_eq!(video("1.2.840.10008.1.2.4.102"), Some("video/mp4"));
        assert_eq!(video("1.2.840.10008.1.2.4.102.1"), Some("video/mp4"));
        assert_eq!(video("1.2.840.10008.1.2.4.100"), Some("video/mpeg"));
        assert_eq!(video("1.2.840.10008.1.2.4.50"), None);
        assert_eq!(video("1.2.840.10008.1.2.1"), None);
    }

    #[test]
    fn containers_are_told_by_their_first_bytes() {
        assert_eq!(container(b"\0\0\0\x20ftypisom", false), "video/mp4");
        assert_eq!(container(b"\x47\x40\0\x10", false), "video/mp2t");
        assert_eq!(container(b"\0\0\0\x01\x67", false), "video/h264");
        assert_eq!(container(b"", true), "video/h265");
    }
}
