//! Bulk values as data elements: plain ones, and pixel data in fragments (PS3.5 section A.4).

use super::{Bulk, Out, Part, UNDEFINED, too_long};
use crate::dataset::vr::{self, VR};
use crate::tag::{self, Tag};

/// Bytes of an item's tag and length.
const ITEM_HEADER: u64 = 8;

/// Writes the element of a bulk value.
pub(super) fn write(
    out: &mut Out,
    tag: Tag,
    vr: VR,
    bulk: Bulk,
    nested: bool,
) -> Result<(), String> {
    let (frames, table) = match bulk {
        Bulk::Plain(part) => return plain(out, tag, vr, part),
        Bulk::Frames(frames) => (frames, true),
        Bulk::Stream(part) => (vec![part], false),
    };
    if tag != tag::PIXEL_DATA || nested {
        return Err("only pixel data can be compressed".into());
    }
    let mut offsets = Vec::with_capacity(frames.len());
    let mut offset = 0u64;
    for frame in &frames {
        offsets.push(offset);
        offset = offset
            .checked_add(ITEM_HEADER + even(frame.length))
            .ok_or("the frames are too long")?;
    }
    // Offsets are 32 bits wide here; larger ones go into a table of their own, and then this one
    // is empty (PS3.3 section C.7.6.3.1.8).
    let small = offsets.last().is_none_or(|last| u32::try_from(*last).is_ok());
    if table && !small {
        let lengths = frames.iter().map(|frame| frame.length);
        numbers(out, tag::EXTENDED_OFFSET_TABLE, offsets.iter().copied())?;
        numbers(out, tag::EXTENDED_OFFSET_TABLE_LENGTHS, lengths)?;
    }
    out.header(tag::PIXEL_DATA, VR::OB, UNDEFINED)?;
    if table && small {
        let length = u32::try_from(offsets.len() * 4).map_err(|_| "too many frames")?;
        out.mark(tag::ITEM, length);
        for offset in &offsets {
            let offset = u32::try_from(*offset).map_err(|_| "the frames are too long")?;
            out.bytes.extend_from_slice(&offset.to_le_bytes());
        }
    } else {
        out.mark(tag::ITEM, 0);
    }
    for frame in frames {
        let length = u32::try_from(even(frame.length))
            .ok()
            .filter(|length| *length < UNDEFINED)
            .ok_or("a frame is longer than a fragment can be")?;
        out.mark(tag::ITEM, length);
        out.part(frame);
        pad(out, frame);
    }
    out.mark(tag::SEQUENCE_DELIMITATION, 0);
    Ok(())
}

fn plain(out: &mut Out, tag: Tag, vr: VR, part: Part) -> Result<(), String> {
    if !part.length.is_multiple_of(vr::word_size(vr) as u64) {
        return Err(format!("the length is not a multiple of {}", vr::word_size(vr)));
    }
    let length = u32::try_from(even(part.length))
        .ok()
        .filter(|length| *length < UNDEFINED)
        .ok_or_else(|| too_long(vr))?;
    out.header(tag, vr, length)?;
    out.part(part);
    if part.length % 2 == 1 {
        out.bytes.push(super::value::padding(vr));
    }
    Ok(())
}

fn numbers(out: &mut Out, tag: Tag, values: impl Iterator<Item = u64>) -> Result<(), String> {
    let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
    let length = u32::try_from(bytes.len()).map_err(|_| "too many frames")?;
    out.header(tag, VR::OV, length)?;
    out.bytes.extend_from_slice(&bytes);
    Ok(())
}

fn even(length: u64) -> u64 {
    length.saturating_add(length % 2)
}

fn pad(out: &mut Out, part: Part) {
    if part.length % 2 == 1 {
        out.bytes.push(0);
    }
}
