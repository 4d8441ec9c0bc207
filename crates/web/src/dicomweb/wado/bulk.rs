//! Retrieve of bulk data (PS3.18 section 10.4.1.1.5): the values that metadata refers to, one by one
//! (whole or in byte ranges) or all of a study, series or instance at once.

mod all;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use qianli_catalog::types::Detail;
use qianli_model::header::BulkValue;
use qianli_model::syntax::Encoding;
use qianli_model::{TransferSyntax, tag};

use super::media::OCTET_STREAM;
use super::range::{self, Part};
use super::{frames, nothing_here};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::json;
use crate::dicomweb::path::InstanceAt;
use crate::dicomweb::respond::{self, Content, Framing};
use crate::error::HttpError;

pub(crate) use all::{all, pixel_data};

/// Media types under which an encapsulated document may go out: what its data set says must not make
/// a browser run it in this server's name.
const DOCUMENTS: &[&str] =
    &["application/pdf", "model/stl", "model/obj", "model/mtl", "application/sla"];

const ENCAPSULATED_DOCUMENT: &str = "00420011";

/// `GET …/bulkdata/{path}`.
pub(crate) async fn bulk(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let detail = super::detail(&state, &caller, &at).await?;
    let value = detail
        .bulk
        .iter()
        .find(|value| value.path.eq_ignore_ascii_case(&at.rest))
        .ok_or_else(nothing_here)?;
    let accept = Accept::of(&headers, query.as_deref());
    let url = base.instance(&at.study, &at.series, &at.instance);

    // Compressed pixel data is one part per frame (PS3.18 section 8.7.3.3.2), never the
    // encapsulation of PS3.5 annex A.4.
    let stored = detail.location.transfer_syntax;
    let count = detail.frames.count();
    if stored.is_encapsulated() && count > 0 && value.path == tag::PIXEL_DATA.to_string() {
        let all = (1..=count).collect();
        return frames::answer(&state, &caller, detail, all, &accept, &headers, &url).await;
    }

    let explicit = TransferSyntax::EXPLICIT_LITTLE.uid();
    let document = media_type(&detail, value);
    let kinds = [Some((OCTET_STREAM, Some(explicit))), document.map(|media| (media, None))];
    let shapes: Vec<(bool, &str, Option<&str>)> = kinds
        .into_iter()
        .flatten()
        .flat_map(|(media, syntax)| [(false, media, syntax), (true, media, syntax)])
        .collect();
    let offer = |(multipart, media, syntax): &(bool, &'static str, Option<&'static str>)| Offer {
        multipart: *multipart,
        syntax: *syntax,
        ..Offer::plain(media)
    };
    let offers: Vec<Offer<'_>> = shapes.iter().map(offer).collect();
    let chosen = accept.choose(&offers).and_then(|index| shapes.get(index));
    let Some(&(multipart, media, syntax)) = chosen else {
        let kinds = document.map(|media| format!("{media}, ")).unwrap_or_default();
        return Err(HttpError::not_acceptable(format!(
            "available here: {kinds}application/octet-stream, \
             multipart/related; type=\"application/octet-stream\"",
        )));
    };
    let variant = format!("{} {multipart} {media}", value.path);
    let tag = respond::entity_tag([detail.location.content_hash.as_str()], &variant);
    if let Some(answer) = respond::conditional(&headers, &tag) {
        return Ok(answer);
    }

    let word = match stored.encoding() {
        Encoding::ExplicitBig => word_size(&detail, value),
        _ => 1,
    };
    let length = value.range.length;
    let whole = multipart || word > 1;
    let part = match if whole { Part::Whole } else { Part::of(&headers, length) } {
        Part::Whole => 0..length,
        Part::Bytes(range) => range,
        Part::Beyond => return Ok(range::beyond(length)),
    };
    let mut wanted = value.clone();
    wanted.range.offset = wanted.range.offset.saturating_add(part.start);
    wanted.range.length = part.end - part.start;
    let content = state.archive().bulk(&caller.scope, &detail, &wanted).await?;
    let content = little_endian(content, word);
    let mut response = if multipart {
        let framing = Framing::new();
        let at = format!("{url}/bulkdata/{}", value.path);
        let head = framing.header(true, media, syntax, &at);
        let closing = framing.closing();
        let length = length.saturating_add((head.len() + closing.len()) as u64);
        let whole =
            stream::iter([Ok(head)]).chain(content).chain(stream::iter([Ok(closing)])).boxed();
        respond::streamed(&framing.content_type(media), whole, Some(length))
    } else {
        respond::streamed(media, content, Some(wanted.range.length))
    };
    if !whole {
        range::label(&mut response, &part, length);
    }
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// What an encapsulated document says that it is (0042,0012), if we say so too.
fn media_type(detail: &Detail, value: &BulkValue) -> Option<&'static str> {
    if value.path != ENCAPSULATED_DOCUMENT {
        return None;
    }
    let json = String::from_utf8_lossy(&detail.json);
    let members = json::members(&json);
    let (_, stated) = members.iter().find(|(tag, _)| *tag == tag::tag(0x0042, 0x0012))?;
    let stated = stated.to_ascii_lowercase();
    DOCUMENTS.iter().find(|media| stated.contains(&json::quote(media))).copied()
}

/// Bytes per word of a value (PS3.5 section 7.3); 1 where order means nothing.
fn word_size(detail: &Detail, value: &BulkValue) -> usize {
    match value.vr.as_str() {
        // Samples of more than 16 bits are swapped as a whole by everything that writes them.
        "OW" if value.path == tag::PIXEL_DATA.to_string() => {
            bits_allocated(&detail.json).map_or(2, |bits| (bits / 8).max(2))
        }
        "OW" | "US" | "SS" | "AT" => 2,
        "OL" | "OF" | "UL" | "SL" | "FL" => 4,
        "OD" | "OV" | "UV" | "SV" | "FD" => 8,
        _ => 1,
    }
}

fn bits_allocated(json: &[u8]) -> Option<usize> {
    let json = String::from_utf8_lossy(json);
    let members = json::members(&json);
    let (_, value) = members.iter().find(|(tag, _)| *tag == tag::BITS_ALLOCATED)?;
    let digits: String =
        value.split('[').nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Reverses the bytes of each word of a stream, wherever its steps are cut.
fn little_endian(content: Content, word: usize) -> Content {
    if word <= 1 {
        return content;
    }
    let start = (content, BytesMut::new(), false);
    stream::unfold(start, move |(mut content, mut held, mut ended)| async move {
        while !ended {
            match content.next().await {
                Some(Ok(step)) => {
                    held.extend_from_slice(&step);
                    let whole = held.len() - held.len() % word;
                    if whole > 0 {
                        let mut words = held.split_to(whole);
                        words.chunks_exact_mut(word).for_each(<[u8]>::reverse);
                        return Some((Ok(words.freeze()), (content, held, ended)));
                    }
                }
                Some(Err(error)) => return Some((Err(error), (content, held, true))),
                None => ended = true,
            }
        }
        // A value that ends inside a word is damaged; its last bytes go out as they are.
        let rest: Bytes = held.split().freeze();
        (!rest.is_empty()).then_some((Ok(rest), (content, held, true)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn words_are_reversed_across_steps() {
        let bytes: Vec<u8> = (0..10).collect();
        for step in 1..=10 {
            let steps: Vec<_> = bytes.chunks(step).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            let content = stream::iter(steps).boxed();
            let out: Vec<Bytes> = little_endian(content, 4).try_collect().await.expect("no errors");
            assert_eq!(out.concat(), [3, 2, 1, 0, 7, 6, 5, 4, 8, 9], "steps of {step}");
        }
    }

    #[test]
    fn bits_allocated_is_found() {
        let json = br#"{"00280010":{"vr":"US","Value":[512]},"00280100":{"vr":"US","Value":[32]}}"#;
        assert_eq!(bits_allocated(json), Some(32));
        assert_eq!(bits_allocated(b"{}"), None);
    }
}
