//! Shapes of DICOMweb answers: multipart bodies, JSON, entity tags and caching headers.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use qianli_archive::ArchiveError;

use crate::error::HttpError;

/// The JSON media type of the standard and the one that everything else sends.
pub(crate) const DICOM_JSON: &str = "application/dicom+json";
pub(crate) const JSON: &str = "application/json";

/// Bytes of a body that may break off: the connection is then closed before its announced end.
pub(crate) type Content = BoxStream<'static, Result<Bytes, ArchiveError>>;

/// The framing of one multipart answer (RFC 2046 section 5.1.1).
pub(crate) struct Framing {
    boundary: String,
}

impl Framing {
    /// A framing with a boundary that nobody can have put into the payload.
    pub(crate) fn new() -> Self {
        Self { boundary: uuid::Uuid::new_v4().simple().to_string() }
    }

    /// Content-Type of the whole answer.
    pub(crate) fn content_type(&self, media: &str) -> String {
        format!("multipart/related; type=\"{media}\"; boundary=\"{}\"", self.boundary)
    }

    /// What goes in front of a part. `first` leaves out the line end that closes the part before.
    pub(crate) fn header(&self, first: bool, media: &str, syntax: Option<&str>, at: &str) -> Bytes {
        let line_end = if first { "" } else { "\r\n" };
        let syntax = syntax.map(|uid| format!("; transfer-syntax={uid}")).unwrap_or_default();
        let boundary = &self.boundary;
        format!(
            "{line_end}--{boundary}\r\nContent-Type: {media}{syntax}\r\n\
             Content-Location: {at}\r\n\r\n"
        )
        .into()
    }

    /// What ends the answer.
    pub(crate) fn closing(&self) -> Bytes {
        format!("\r\n--{}--\r\n", self.boundary).into()
    }
}

/// Entity tag of an answer made from `hashes` in the shape that `variant` names.
///
/// Weak (RFC 7232 section 2.3): the boundary of a multipart answer and the base URL inside JSON
/// differ between answers that mean the same. `If-None-Match` compares weakly anyway.
pub(crate) fn entity_tag<'a>(hashes: impl IntoIterator<Item = &'a str>, variant: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.update(b"/").update(variant.as_bytes());
    let hex = hasher.finalize().to_hex();
    format!("W/\"{}\"", hex.get(..32).unwrap_or_default())
}

/// Answers what the request's conditions decide (RFC 9110 section 13): 304 when the client holds what
/// `tag` names, 412 when it wants something else that it names in If-Match.
///
/// If-Match is compared weakly too: our tags are weak, yet name the content, and a client that goes
/// on where it left off wants to know whether that is still the same.
pub(crate) fn conditional(request: &HeaderMap, tag: &str) -> Option<Response> {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let names = |header: HeaderName| {
        request.get_all(header).iter().any(|value| {
            value.to_str().is_ok_and(|list| {
                list.split(',').any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
            })
        })
    };
    if request.contains_key(header::IF_MATCH) && !names(header::IF_MATCH) {
        let message = "what is here now is not what If-Match names";
        let error = HttpError::new(StatusCode::PRECONDITION_FAILED, message);
        return Some(error.into_response());
    }
    names(header::IF_NONE_MATCH).then(|| {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        cacheable(response.headers_mut(), tag);
        response
    })
}

/// Sets the headers of an answer that a client may keep.
///
/// `no-cache` means "keep it, but ask each time". Pixels and header of an instance are immutable
/// under their content hash, not under their URL: a corrected instance may supersede the one that
/// a browser holds, and old pixels under a new header are a wrong image. Asking costs a 304.
pub(crate) fn cacheable(headers: &mut HeaderMap, tag: &str) {
    set(headers, header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.append(header::VARY, HeaderValue::from_static("accept"));
}

/// Sets a header from text of our own making; what cannot be a header value is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Checks that a request says it is JSON.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), HttpError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media.and_then(|media| media.split(';').next()).map(str::trim);
    if essence == Some(JSON) {
        return Ok(());
    }
    Err(HttpError::unsupported_media_type("send Content-Type: application/json"))
}

/// Adds a `Warning: 299` header (PS3.18 section 8.3.4.5, RFC 7234 section 5.5).
pub(crate) fn warn(headers: &mut HeaderMap, text: &str) {
    let text: String = text
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\'))
        .collect();
    if let Ok(value) = HeaderValue::from_str(&format!("299 qianli \"{text}\"")) {
        headers.append(header::WARNING, value);
    }
}

/// Warnings that one answer spells out; of the others it says how many there are.
const WARNINGS_TOLD: usize = 4;

/// Most characters of one warning: names in it come from the request.
const WARNING_LENGTH: usize = 200;

/// Adds the warnings of an answer, all in one header: clients and proxies refuse heads that are long.
pub(crate) fn warn_all(headers: &mut HeaderMap, warnings: &[String]) {
    let short = |text: &String| text.chars().take(WARNING_LENGTH).collect::<String>();
    let mut told: Vec<String> = warnings.iter().take(WARNINGS_TOLD).map(short).collect();
    let rest = warnings.len().saturating_sub(WARNINGS_TOLD);
    if rest > 0 {
        told.push(format!("and {rest} more"));
    }
    if !told.is_empty() {
        warn(headers, &told.join("; "));
    }
}

/// A 200 answer with found rows in JSON.
pub(crate) fn json(media: &str, body: Bytes) -> Response {
    let mut response = Body::from(body).into_response();
    set_content_type(response.headers_mut(), media);
    response
}

/// A 200 answer that says what became of a request, in JSON. Without a charset: the Python
/// dicomweb-client reads such an answer only if Content-Type is the bare media type.
pub(crate) fn outcome(media: &str, body: Bytes) -> Response {
    let mut response = Body::from(body).into_response();
    set(response.headers_mut(), header::CONTENT_TYPE, media);
    response
}

/// Sets Content-Type. DICOM JSON gets its charset named although it has no other: who decodes by the
/// header alone (`response.text` of Python's requests) guesses otherwise, and wrongly for names in
/// two scripts.
fn set_content_type(headers: &mut HeaderMap, media: &str) {
    if media == DICOM_JSON {
        set(headers, header::CONTENT_TYPE, &format!("{media}; charset=utf-8"));
    } else {
        set(headers, header::CONTENT_TYPE, media);
    }
}

/// A 200 answer whose pieces are at hand; nothing is copied.
pub(crate) fn pieces(content_type: &str, pieces: Vec<Bytes>) -> Response {
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    let content = stream::iter(pieces.into_iter().map(Ok)).boxed();
    streamed(content_type, content, Some(length))
}

/// A 200 answer that streams.
///
/// A failure after the first byte can only break the connection off, so it is logged here.
pub(crate) fn streamed(content_type: &str, content: Content, length: Option<u64>) -> Response {
    let logged = content.inspect(|step| {
        if let Err(cause) = step {
            tracing::error!(%cause, "an answer broke off");
        }
    });
    let mut response = Body::from_stream(logged).into_response();
    let headers = response.headers_mut();
    set_content_type(headers, content_type);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_in_every_form() {
        let tag = entity_tag(["aa", "bb"], "json");
        let strong = tag.trim_start_matches("W/").to_owned();
        for (held, expected) in [
            (tag.clone(), true),
            (strong.clone(), true),
            (format!("\"other\", {strong}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
        ] {
            let mut headers = HeaderMap::new();
            set(&mut headers, header::IF_NONE_MATCH, &held);
            let status = |headers: &HeaderMap| {
                conditional(headers, &tag).map(|answer| answer.status().as_u16())
            };
            assert_eq!(status(&headers), expected.then_some(304), "{held}");
            let mut headers = HeaderMap::new();
            set(&mut headers, header::IF_MATCH, &held);
            assert_eq!(status(&headers), (!expected).then_some(412), "{held}");
        }
        assert_ne!(tag, entity_tag(["aa", "bb"], "other"));
        assert_ne!(tag, entity_tag(["aa"], "json"));
    }

    #[test]
    fn parts_are_framed() {
        let framing = Framing::new();
        let boundary = &framing.boundary;
        let body = [
            framing.header(true, "a/b", Some("1.2"), "/x"),
            Bytes::from_static(b"one"),
            framing.header(false, "a/b", None, "/y"),
            framing.closing(),
        ]
        .concat();
        let expected = format!(
            "--{boundary}\r\nContent-Type: a/b; transfer-syntax=1.2\r\nContent-Location: /x\r\n\r\n\
             one\r\n--{boundary}\r\nContent-Type: a/b\r\nContent-Location: /y\r\n\r\n\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&body), expected);
        assert_ne!(Framing::new().boundary, *boundary);
    }

    #[test]
    fn warnings_share_one_header_of_bounded_length() {
        let warned = |count: usize| {
            let mut headers = HeaderMap::new();
            warn_all(&mut headers, &vec!["x".repeat(9_000); count]);
            let values: Vec<_> = headers.get_all(header::WARNING).iter().cloned().collect();
            assert!(values.len() <= 1);
            values.first().map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        assert_eq!(warned(0), None);
        assert!(warned(4).is_some_and(|text| text.len() < 900 && !text.contains("more")));
        assert!(warned(3_000).is_some_and(|text| text.ends_with("; and 2996 more\"")));
    }

    #[test]
    fn warnings_cannot_break_out_of_their_header() {
        let mut headers = HeaderMap::new();
        warn(&mut headers, "a \"b\"\r\nSet-Cookie: \\x 王");
        let value = headers.get(header::WARNING).and_then(|v| v.to_str().ok());
        assert_eq!(value, Some("299 qianli \"a bSet-Cookie: x \""));
    }
}
