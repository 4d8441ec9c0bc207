//! What an answer with frames consists of: media type, transfer syntax, framing, and in which groups
//! frames are read.

use bytes::Bytes;
use qianli_catalog::types::Detail;
use qianli_model::syntax::Encoding;
use qianli_model::{FrameTable, TransferSyntax};

use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::respond::Framing;
use crate::dicomweb::wado::media::{self, OCTET_STREAM};
use crate::error::HttpError;

/// Frames of one request are read in groups of at most this many bytes; a longer frame is streamed.
pub(super) const GROUP_BYTES: u64 = 1 << 20;

/// Frames that are transcoded at once for one answer.
const AT_ONCE: usize = 2;

/// What one answer consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) multipart: bool,
    pub(super) media: &'static str,
    /// What the answer says of its transfer syntax.
    pub(super) syntax: &'static str,
    /// Transcode (or reorder, or realign) to this syntax instead of sending the stored bytes.
    pub(super) to: Option<TransferSyntax>,
}

/// Syntaxes that a media type stands for when a client names none (PS3.18 tables 8.7.3-4 and
/// 8.7.3-5).
const DEFAULTS: &[&str] = &[
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.92",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.201",
];

impl Plan {
    /// The plan that a client likes best, apart from those that were tried in vain.
    pub(super) fn choose(
        detail: &Detail,
        accept: &Accept,
        one_frame: bool,
        tried: &[Self],
    ) -> Result<Self, HttpError> {
        let mut plans = Self::possible(detail, one_frame);
        plans.retain(|(plan, _)| !tried.contains(plan));
        let offers: Vec<Offer<'_>> = plans
            .iter()
            .map(|(plan, default_syntax)| Offer {
                multipart: plan.multipart,
                media: plan.media,
                syntax: Some(plan.syntax),
                default_syntax: *default_syntax,
                stored: plan.to.is_none(),
            })
            .collect();
        let chosen = accept.choose(&offers).and_then(|index| plans.get(index));
        chosen.map(|(plan, _)| *plan).ok_or_else(|| {
            let mut available: Vec<String> = plans.iter().map(|(p, _)| p.media_type()).collect();
            available.dedup();
            HttpError::not_acceptable(format!("available here: {}", available.join(", ")))
        })
    }

    /// Everything that can be had, best first, each with whether it may answer a client that names
    /// the media type alone.
    fn possible(detail: &Detail, one_frame: bool) -> Vec<(Self, bool)> {
        let stored = detail.location.transfer_syntax;
        let explicit = TransferSyntax::EXPLICIT_LITTLE;
        let plan = |media, syntax: TransferSyntax, to| {
            let syntax = syntax.uid();
            Self { multipart: true, media, syntax, to }
        };
        let mut plans = Vec::new();
        if stored.is_encapsulated() {
            for media in media::of_frames(stored) {
                plans.push((plan(*media, stored, None), *media != OCTET_STREAM));
            }
            // PS3.18 has octet-stream for uncompressed frames only; OHIF and others ask for it
            // with `transfer-syntax=*` and read the label of the part.
            plans.push((plan(OCTET_STREAM, stored, None), false));
            if qianli_imaging::can_decode(stored) {
                plans.push((plan(OCTET_STREAM, explicit, Some(explicit)), true));
            }
        } else {
            let to = must_be_rearranged(stored, &detail.frames).then_some(explicit);
            plans.push((plan(OCTET_STREAM, explicit, to), true));
            plans.push((plan(OCTET_STREAM, TransferSyntax::IMPLICIT_LITTLE, to), false));
        }
        plans.extend(encoded(stored).map(|(media, to)| {
            let default = DEFAULTS.contains(&to.uid());
            (plan(media, to, Some(to)), default)
        }));
        // A client that names no syntax must be able to get something.
        if !plans.iter().any(|(_, default)| *default)
            && let Some((_, default)) = plans.first_mut()
        {
            *default = true;
        }
        if one_frame {
            let single: Vec<_> = plans
                .iter()
                .map(|(plan, default)| (Self { multipart: false, ..*plan }, *default))
                .collect();
            plans.extend(single);
        }
        plans
    }

    pub(super) fn content_type(&self) -> String {
        format!("{}; transfer-syntax={}", self.media, self.syntax)
    }

    pub(super) fn media_type(&self) -> String {
        if self.multipart {
            let Self { media, syntax, .. } = self;
            format!("multipart/related; type=\"{media}\"; transfer-syntax={syntax}")
        } else {
            self.content_type()
        }
    }

    /// How many groups are read ahead of the client.
    pub(super) fn ahead(&self) -> usize {
        if self.to.is_some() { AT_ONCE } else { 1 }
    }

    /// Cuts a list of frames into groups that are read at once.
    pub(super) fn group(&self, frames: &FrameTable, numbers: &[u32]) -> Vec<Vec<u32>> {
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut bytes = 0u64;
        for number in numbers {
            bytes = bytes.saturating_add(stored_length(frames, *number));
            match groups.last_mut() {
                // A decoded frame may be far larger than a stored one: one at a time.
                Some(group) if self.to.is_none() && bytes <= GROUP_BYTES => group.push(*number),
                _ => {
                    groups.push(vec![*number]);
                    bytes = stored_length(frames, *number);
                }
            }
        }
        groups
    }

    /// Length of a multipart answer, when it is known before the frames are.
    pub(super) fn length(
        &self,
        framing: &Framing,
        url: &str,
        frames: &FrameTable,
        numbers: &[u32],
    ) -> Option<u64> {
        if self.to.is_some() {
            return None;
        }
        let mut length = framing.closing().len() as u64;
        for (index, number) in numbers.iter().enumerate() {
            length += self.header(framing, index == 0, url, *number).len() as u64;
            length = length.saturating_add(stored_length(frames, *number));
        }
        Some(length)
    }

    pub(super) fn header(&self, framing: &Framing, first: bool, url: &str, number: u32) -> Bytes {
        let at = format!("{url}/frames/{number}");
        framing.header(first, self.media, Some(self.syntax), &at)
    }
}

/// Native frames that are not little-endian samples starting on a byte.
fn must_be_rearranged(syntax: TransferSyntax, frames: &FrameTable) -> bool {
    let packed = match frames {
        FrameTable::Native { bits_per_frame, count, .. } => {
            !bits_per_frame.is_multiple_of(8) && *count > 1
        }
        _ => false,
    };
    packed || syntax.encoding() == Encoding::ExplicitBig
}

pub(super) fn stored_length(frames: &FrameTable, number: u32) -> u64 {
    frames.frame(number).unwrap_or_default().iter().map(|range| range.length).sum()
}

/// What frames of a syntax can be encoded as: lossless syntaxes first, of which each may stand for
/// its media type alone.
fn encoded(stored: TransferSyntax) -> impl Iterator<Item = (&'static str, TransferSyntax)> {
    let possible = move |to: &TransferSyntax| {
        to.is_encapsulated()
            && *to != stored
            && qianli_imaging::can_encode(*to)
            && qianli_imaging::can_decode(stored)
    };
    let (lossy, lossless): (Vec<_>, Vec<_>) =
        TransferSyntax::all().filter(possible).partition(|to| to.is_lossy());
    lossless
        .into_iter()
        .chain(lossy)
        .flat_map(|to| media::of_frames(to).iter().map(move |media| (*media, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_in_groups_of_bounded_size() {
        let frames = FrameTable::Native { offset: 0, bits_per_frame: 8 << 18, count: 10 };
        let plan =
            Plan { multipart: true, media: OCTET_STREAM, syntax: "1.2.840.10008.1.2.1", to: None };
        let numbers: Vec<u32> = (1..=10).collect();
        let sizes = |plan: Plan| -> Vec<usize> {
            plan.group(&frames, &numbers).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(plan), [4, 4, 2]);
        let to = Some(TransferSyntax::EXPLICIT_LITTLE);
        assert_eq!(sizes(Plan { to, ..plan }), [1; 10]);
    }
}
