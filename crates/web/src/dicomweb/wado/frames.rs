//! Retrieve of frames (PS3.18 section 10.4.1.1.6).
//!
//! The hot path of every viewer: one range read, no copy. Frames go out as stored when the client
//! takes that; they are decoded, or encoded anew, when it asks for what `imaging` can make of them.
//! Implicit VR, explicit VR and inflated data sets hold the same frame bytes, so all native frames
//! are labelled Explicit VR Little Endian.

mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use qianli_archive::{ArchiveError, Busy, ConvertError, FrameReader, Inflating};
use qianli_catalog::types::Detail;
use qianli_imaging::ImagingError;
use qianli_model::syntax::Encoding;
use qianli_model::{FrameTable, TransferSyntax, tag};

use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::Accept;
use crate::dicomweb::json;
use crate::dicomweb::path::InstanceAt;
use crate::dicomweb::respond::{self, Content, Framing};
use crate::dicomweb::wado::rendered;
use crate::error::HttpError;
use plan::{GROUP_BYTES, Plan, stored_length};

/// Most frames of one request.
const MAX_FRAMES: usize = 100_000;

/// `GET …/frames/{list}`.
pub(crate) async fn frames(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    at: InstanceAt,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let numbers = parse_list(&at.rest)?;
    let detail = super::detail(&state, &caller, &at).await?;
    check_no_film(&detail)?;
    let accept = Accept::of(&headers, query.as_deref());
    let url = base.instance(&at.study, &at.series, &at.instance);
    answer(&state, &caller, detail, numbers, &accept, &headers, &url).await
}

/// Answers with frames of an instance.
pub(crate) async fn answer(
    state: &WebState,
    caller: &Caller,
    detail: Arc<Detail>,
    numbers: Vec<u32>,
    accept: &Accept,
    headers: &HeaderMap,
    url: &str,
) -> Result<Response, HttpError> {
    check_range(&detail, &numbers)?;
    let mut tried = Vec::new();
    let mut failure: Option<FrameError> = None;
    // What the first frame cannot be made of is tried no further: the next best may do.
    let (plan, tag, first) = loop {
        let plan = match Plan::choose(&detail, accept, numbers.len() == 1, &tried) {
            Ok(plan) => plan,
            Err(refusal) => {
                let Some(failure) = failure.take() else { return Err(refusal) };
                if failure.is_too_large() {
                    return Err(failure.into());
                }
                let message = format!("{}; {failure}", refusal.message());
                return Err(HttpError::not_acceptable(message));
            }
        };
        let variant = format!("{:?} {}", numbers, plan.media_type());
        let tag = respond::entity_tag([detail.location.content_hash.as_str()], &variant);
        if let Some(answer) = respond::conditional(headers, &tag) {
            return Ok(answer);
        }
        let loader = Loader::new(state, caller, &detail, &plan);
        let group = plan.group(&detail.frames, &numbers).into_iter().next().unwrap_or_default();
        match loader.load(&group, false).await {
            Ok(first) => break (plan, tag, first),
            Err(error) if plan.to.is_some() && error.is_of_the_frame() => {
                tried.push(plan);
                failure = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    };
    let loader = Loader::new(state, caller, &detail, &plan);
    let mut groups = plan.group(&detail.frames, &numbers).into_iter();
    let first_group = groups.next().unwrap_or_default();
    let framing = Arc::new(Framing::new());
    let mut response = match first {
        Loaded::Whole(frames) if !plan.multipart => respond::pieces(&plan.content_type(), frames),
        Loaded::Streamed(frame) if !plan.multipart => {
            let length = numbers.first().map(|number| stored_length(&detail.frames, *number));
            respond::streamed(&plan.content_type(), frame, length)
        }
        Loaded::Whole(frames) if groups.len() == 0 => {
            let mut pieces = frame_parts(&framing, &plan, url, &first_group, frames, true);
            pieces.push(framing.closing());
            respond::pieces(&framing.content_type(plan.media), pieces)
        }
        first => {
            let content_type = framing.content_type(plan.media);
            let head = first.parts(&framing, &plan, url, &first_group, true);
            let length = plan.length(&framing, url, &detail.frames, &numbers);
            let closing = framing.closing();
            let url = url.to_owned();
            let ahead = loader.ahead(&plan);
            let rest = stream::iter(groups)
                .map(move |group| {
                    let (loader, url) = (loader.clone(), url.clone());
                    let framing = Arc::clone(&framing);
                    async move {
                        let frames = loader.load(&group, true).await?;
                        Ok::<_, ArchiveError>(frames.parts(&framing, &plan, &url, &group, false))
                    }
                })
                .buffered(ahead);
            let content = head.chain(rest.try_flatten()).chain(stream::iter([Ok(closing)]));
            respond::streamed(&content_type, content.boxed(), length)
        }
    };
    respond::cacheable(response.headers_mut(), &tag);
    Ok(response)
}

/// Parses `1,3`. Zero and numbers beyond the last frame are legal text: they give 404 later.
pub(super) fn parse_list(text: &str) -> Result<Vec<u32>, HttpError> {
    let malformed = || HttpError::bad_request("the frame list is not numbers separated by commas");
    let mut numbers = Vec::new();
    for item in text.split(',') {
        let item = item.trim();
        if item.is_empty() || !item.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        numbers.push(item.parse().unwrap_or(u32::MAX));
        if numbers.len() > MAX_FRAMES {
            return Err(HttpError::bad_request("the frame list is too long"));
        }
    }
    Ok(numbers)
}

/// Checks that every frame exists, and that the list asks for no more than all frames once.
///
/// The standard's lists are of "non-duplicate" numbers. A repeated one is answered all the same as
/// long as the answer is not larger than the whole instance would be, in frames (which bounds decoded
/// pixels) and in stored bytes: a short request for one frame thousands of times is refused.
pub(super) fn check_range(detail: &Detail, numbers: &[u32]) -> Result<(), HttpError> {
    if detail.frames.count() == 0 {
        return Err(no_frames(detail));
    }
    check_list(&detail.frames, numbers)
}

/// Refuses frames of a video: its pixel data is one stream, of which no number of a frame names a part
/// (PS3.18 section 8.7.3.3, PS3.5 section 8.2), whatever Number of Frames says.
pub(super) fn check_no_film(detail: &Detail) -> Result<(), HttpError> {
    let Some(media) = rendered::video(detail.location.transfer_syntax.uid()) else { return Ok(()) };
    Err(HttpError::not_found(format!(
        "this instance is a video, one stream without frames that can be told apart: get it whole, or \
         in ranges of bytes, as {media} at the instance's /rendered, or as it is stored at its \
         /bulkdata/7FE00010"
    )))
}

/// Why an instance has no frames; where its header promises some, with the numbers.
pub(super) fn no_frames(detail: &Detail) -> HttpError {
    let path = tag::PIXEL_DATA.to_string();
    let value = detail.bulk.iter().find(|value| value.path == path);
    let json = String::from_utf8_lossy(&detail.json);
    let members = json::members(&json);
    let number = |tag| json::number(members.iter().find(|(other, _)| *other == tag)?.1);
    let promised = number(tag::COLUMNS).zip(number(tag::ROWS));
    let Some((columns, rows)) = promised.filter(|_| detail.frames != FrameTable::None) else {
        return HttpError::not_found("this instance has no frames");
    };
    let samples = number(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
    let bits = number(tag::BITS_ALLOCATED).unwrap_or(8);
    let bits_of_frame = [columns, rows, samples, bits].into_iter().fold(1, u64::saturating_mul);
    let needed = bits_of_frame.div_ceil(8);
    let held = match value {
        Some(value) => format!("{} bytes of pixel data are there", value.range.length),
        None => "fewer are there".to_owned(),
    };
    HttpError::not_found(format!(
        "this instance has no whole frame: its header says {columns} columns and {rows} rows of \
         {samples} samples of {bits} bits, {needed} bytes for each frame, and {held} (a decoded frame \
         may have {} bytes here). The object itself can be retrieved",
        qianli_imaging::MAX_FRAME_BYTES
    ))
}

fn check_list(frames: &FrameTable, numbers: &[u32]) -> Result<(), HttpError> {
    let count = frames.count();
    if numbers.iter().any(|number| *number == 0 || *number > count) {
        let message = format!("no such frame: this instance has frames 1 to {count}");
        return Err(HttpError::not_found(message));
    }
    let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
    if distinct.len() < numbers.len() {
        let bytes = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.fold(0u64, |sum, number| sum.saturating_add(stored_length(frames, number)))
        };
        let asked = bytes(&mut numbers.iter().copied());
        if numbers.len() > count as usize || asked > bytes(&mut (1..=count)) {
            let message = "the frame list repeats frames until they exceed the whole instance";
            return Err(HttpError::bad_request(message));
        }
    }
    Ok(())
}

/// Frames of one group on their way out.
enum Loaded {
    Whole(Vec<Bytes>),
    /// One frame, too large to be held while the client takes it.
    Streamed(Content),
}

impl Loaded {
    /// The frames with what goes in front of each.
    fn parts(
        self,
        framing: &Framing,
        plan: &Plan,
        url: &str,
        numbers: &[u32],
        first: bool,
    ) -> Content {
        match self {
            Self::Whole(frames) => {
                let parts = frame_parts(framing, plan, url, numbers, frames, first);
                stream::iter(parts.into_iter().map(Ok)).boxed()
            }
            Self::Streamed(frame) => {
                let number = numbers.first().copied().unwrap_or_default();
                let head = plan.header(framing, first, url, number);
                stream::iter([Ok(head)]).chain(frame).boxed()
            }
        }
    }
}

fn frame_parts(
    framing: &Framing,
    plan: &Plan,
    url: &str,
    numbers: &[u32],
    frames: Vec<Bytes>,
    first: bool,
) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(frames.len() * 2 + 1);
    for (index, (number, frame)) in numbers.iter().zip(frames).enumerate() {
        parts.push(plan.header(framing, first && index == 0, url, *number));
        parts.push(frame);
    }
    parts
}

/// Reads frames, and transcodes them when the plan says so.
#[derive(Clone)]
struct Loader {
    state: WebState,
    caller: Caller,
    detail: Arc<Detail>,
    /// The syntax to transcode to, and the reader that does.
    transcoding: Option<(TransferSyntax, FrameReader)>,
    inflating: Inflating,
}

impl Loader {
    fn new(state: &WebState, caller: &Caller, detail: &Arc<Detail>, plan: &Plan) -> Self {
        let reader = || FrameReader::new(state.archive(), &caller.scope, Arc::clone(detail));
        let transcoding = plan.to.map(|to| (to, reader()));
        let (state, caller) = (state.clone(), caller.clone());
        let (detail, inflating) = (Arc::clone(detail), Inflating::default());
        Self { state, caller, detail, transcoding, inflating }
    }

    /// How many groups are read ahead of the client.
    fn ahead(&self, plan: &Plan) -> usize {
        self.transcoding.as_ref().map_or(1, |(_, reader)| reader.ahead(plan.ahead()))
    }

    async fn load(&self, numbers: &[u32], later: bool) -> Result<Loaded, FrameError> {
        let Some((to, reader)) = &self.transcoding else {
            let (archive, scope) = (self.state.archive(), &self.caller.scope);
            if let [number] = numbers
                && stored_length(&self.detail.frames, *number) > GROUP_BYTES
            {
                let at = &self.inflating;
                let frame = archive.frame_stream(scope, &self.detail, *number, at).await?;
                return Ok(Loaded::Streamed(frame));
            }
            let frames = archive.frames(scope, &self.detail, numbers, &self.inflating).await?;
            return Ok(Loaded::Whole(frames));
        };
        let mut frames = Vec::with_capacity(numbers.len());
        for number in numbers {
            let made = reader.transcoded(*number, *to, later).await?;
            // The codecs of JPEG and its relatives say themselves what their colours are.
            let is_bare = !to.is_encapsulated() || to.uid() == "1.2.840.10008.1.2.5";
            let photometric = made.frame.photometric;
            if is_bare && !describes(&self.detail.json, photometric) {
                return Err(FrameError::Recoloured(photometric));
            }
            frames.push(made.into_bytes());
        }
        Ok(Loaded::Whole(frames))
    }
}

/// The whole pixel data value where decoding the only frame needs it.
pub(super) async fn padded_frame(
    state: &WebState,
    caller: &Caller,
    detail: &Detail,
) -> Result<Option<Bytes>, ArchiveError> {
    if detail.location.transfer_syntax.encoding() != Encoding::ExplicitBig
        || detail.frames.count() != 1
    {
        return Ok(None);
    }
    let at = Inflating::default();
    state.archive().frame_with_padding(&caller.scope, detail, 1, &at).await.map(Some)
}

/// Whether the metadata that the client holds is right about the colours of decoded pixels.
///
/// Chrominances that were shared between pixels (YBR_FULL_422) come out one per pixel, which the
/// length tells; the terms of JPEG 2000 mean RGB once decoded (PS3.3 section C.7.6.3.1.2).
pub(super) fn describes(json: &[u8], photometric: &str) -> bool {
    let json = String::from_utf8_lossy(json);
    let stored = json::members(&json)
        .into_iter()
        .find(|(tag, _)| *tag == tag::PHOTOMETRIC_INTERPRETATION)
        .map(|(_, value)| value);
    let same: &[&str] = match photometric {
        "YBR_FULL" => &["YBR_FULL", "YBR_FULL_422"],
        "RGB" => &["RGB", "YBR_RCT", "YBR_ICT"],
        _ => &[],
    };
    stored.is_none_or(|value| {
        value.contains(&json::quote(photometric))
            || same.iter().any(|term| value.contains(&json::quote(term)))
    })
}

/// Why frames cannot be given.
#[derive(Debug, thiserror::Error)]
enum FrameError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Decoding gives another Photometric Interpretation than the metadata says; a client that
    /// trusts its metadata would show wrong colours.
    #[error("decoded, the frame would be {0}, unlike its metadata; take transfer-syntax=*")]
    Recoloured(&'static str),
}

impl FrameError {
    /// The frame is to blame, so that another form of it may do.
    fn is_of_the_frame(&self) -> bool {
        matches!(
            self,
            Self::Convert(ConvertError::Imaging(_) | ConvertError::Busy(Busy::TooLarge { .. }))
                | Self::Recoloured(_)
        )
    }

    /// It takes more memory than there ever is.
    fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::Convert(
                ConvertError::Imaging(ImagingError::TooLarge)
                    | ConvertError::Busy(Busy::TooLarge { .. })
            )
        )
    }
}

impl From<FrameError> for HttpError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Archive(error) => error.into(),
            FrameError::Convert(error) => error.into(),
            FrameError::Recoloured(_) => Self::not_acceptable(error.to_string()),
        }
    }
}

/// For frames after the first group, when the answer has begun.
impl From<FrameError> for ArchiveError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Archive(error) | FrameError::Convert(ConvertError::Archive(error)) => error,
            other => Self::Damaged(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use qianli_model::frames::ByteRange;

    use super::*;

    #[test]
    fn lists_are_numbers_and_commas() {
        assert_eq!(parse_list("1,3").ok(), Some(vec![1, 3]));
        assert_eq!(parse_list("0").ok(), Some(vec![0]));
        assert_eq!(parse_list("99999999999999").ok(), Some(vec![u32::MAX]));
        for text in ["", "a", "1,", "-1", "1-3", "1;2"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_ask_for_no_more_than_the_instance() {
        let native = FrameTable::Native { offset: 0, bits_per_frame: 8 << 20, count: 3 };
        let check = |frames: &FrameTable, numbers: &[u32]| {
            check_list(frames, numbers).map_err(|error| error.status().as_u16())
        };
        for (numbers, expected) in [
            (&[3, 1, 2][..], Ok(())),
            (&[2, 2], Ok(())),
            (&[2, 2, 2], Ok(())),
            (&[2, 2, 2, 2], Err(400)),
            (&[1, 2, 3, 1], Err(400)),
            (&[1, 4], Err(404)),
            (&[0], Err(404)),
        ] {
            assert_eq!(check(&native, numbers), expected, "{numbers:?}");
        }
        assert_eq!(check(&native, &[1; 5_000]), Err(400));
        let range = |offset, length| ByteRange { offset, length };
        let uneven = FrameTable::Encapsulated {
            frames: vec![vec![range(0, 1_000)], vec![range(1_008, 10)]],
        };
        assert_eq!(check(&uneven, &[2, 2]), Ok(()));
        assert_eq!(check(&uneven, &[1, 1]), Err(400));
    }
}
