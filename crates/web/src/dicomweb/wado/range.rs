//! Byte ranges of what goes out as one body (RFC 9110 section 14): values, documents, videos. A player
//! seeks by them.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::dicomweb::respond;
use crate::error::HttpError;

/// Which bytes of a value are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Bytes(Range<u64>),
    /// None that there are.
    Beyond,
}

impl Part {
    /// Reads a Range header (RFC 9110 section 14.2). Several ranges, other units and what cannot be read
    /// mean the whole, and so does If-Range: our entity tags are weak.
    pub(super) fn of(headers: &HeaderMap, length: u64) -> Self {
        if headers.contains_key(header::IF_RANGE) {
            return Part::Whole;
        }
        let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        let Some((first, last)) =
            text.and_then(|text| text.trim().strip_prefix("bytes=")?.trim().split_once('-'))
        else {
            return Part::Whole;
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let range = match (first.trim(), last.trim()) {
            ("", last) => match number(last) {
                Some(count) => length.saturating_sub(count)..length,
                None => return Part::Whole,
            },
            (first, "") => match number(first) {
                Some(first) => first..length,
                None => return Part::Whole,
            },
            (first, last) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => {
                    first..length.min(last.saturating_add(1))
                }
                _ => return Part::Whole,
            },
        };
        if range.start < range.end { Part::Bytes(range) } else { Part::Beyond }
    }
}

/// The answer to a range beyond the last byte of `length`.
pub(super) fn beyond(length: u64) -> Response {
    let message = "the value is shorter than the range asked for";
    let mut response = HttpError::new(StatusCode::RANGE_NOT_SATISFIABLE, message).into_response();
    respond::set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
    response
}

/// Says that ranges can be had, and which of `length` bytes the answer holds if not all.
pub(super) fn label(response: &mut Response, part: &Range<u64>, length: u64) {
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if *part != (0..length) {
        let last = part.end.saturating_sub(1);
        let shown = format!("bytes {}-{last}/{length}", part.start);
        respond::set(headers, header::CONTENT_RANGE, &shown);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_bytes() {
        let check = |text: &str, expected: Part| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().expect("a header value"));
            assert_eq!(Part::of(&headers, 10), expected, "{text}");
        };
        check("bytes=0-0", Part::Bytes(0..1));
        check("bytes=2-", Part::Bytes(2..10));
        check("bytes=2-99", Part::Bytes(2..10));
        check("bytes=-3", Part::Bytes(7..10));
        check("bytes=-30", Part::Bytes(0..10));
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            check(text, Part::Beyond);
        }
        for text in ["bytes=1-2,4-5", "bytes=5-2", "items=0-1", "bytes=x", "bytes=-", "nonsense"] {
            check(text, Part::Whole);
        }
    }
}
