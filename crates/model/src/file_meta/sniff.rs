//! Recognising the encoding of a data set that nothing declares, and what is no data set at all.

use crate::dataset::vr;
use crate::syntax::{Encoding, TransferSyntax};
use crate::tag::tag;

/// Elements that must agree before a guess is believed, if there are so many.
const ENOUGH: usize = 3;

/// Finds the encoding in which the first elements make sense.
pub(super) fn syntax(bytes: &[u8]) -> Option<TransferSyntax> {
    const BIG: &str = "1.2.840.10008.1.2.2";
    let candidates = [
        (Encoding::ExplicitLittle, Some(TransferSyntax::EXPLICIT_LITTLE)),
        (Encoding::ExplicitBig, TransferSyntax::from_uid(BIG)),
        (Encoding::ImplicitLittle, Some(TransferSyntax::IMPLICIT_LITTLE)),
    ];
    candidates.into_iter().find(|(encoding, _)| makes_sense(bytes, *encoding)).and_then(|c| c.1)
}

/// Whether the first elements have rising tags of low groups, known VRs and lengths that lead from
/// one to the next.
fn makes_sense(bytes: &[u8], encoding: Encoding) -> bool {
    let big = encoding == Encoding::ExplicitBig;
    let short = if big { u16::from_be_bytes } else { u16::from_le_bytes };
    let long = if big { u32::from_be_bytes } else { u32::from_le_bytes };
    let mut rest = bytes;
    let mut last = None;
    for _ in 0..ENOUGH {
        let Some((&[g0, g1, e0, e1, v0, v1, l0, l1], after)) = rest.split_first_chunk::<8>() else {
            return false;
        };
        let tag = tag(short([g0, g1]), short([e0, e1]));
        if tag.group == 0 || tag.group > 0x0050 || last.is_some_and(|last| tag <= last) {
            return false;
        }
        last = Some(tag);
        let (length, after) = if encoding == Encoding::ImplicitLittle {
            (long([v0, v1, l0, l1]), after)
        } else {
            let Some(vr) = vr::from_letters([v0, v1]) else { return false };
            if vr::has_long_length(vr) {
                let Some((&length, after)) = after.split_first_chunk::<4>() else { return false };
                (long(length), after)
            } else {
                (u32::from(short([l0, l1])), after)
            }
        };
        // A sequence or a long value: what came so far must do.
        let Some(next) = after.get(length as usize..) else { return last_resort(length, after) };
        if next.is_empty() {
            return true;
        }
        rest = next;
    }
    true
}

/// A value that reaches beyond the bytes at hand is only believed of an item or a plausible size.
fn last_resort(length: u32, after: &[u8]) -> bool {
    length == u32::MAX && after.starts_with(&[0xFE, 0xFF, 0x00, 0xE0])
}

/// Names what bytes look like that are not DICOM.
pub(super) fn looks_like(bytes: &[u8]) -> &'static str {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"\x89PNG", "a PNG image"),
        (b"\xFF\xD8\xFF", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"BM", "a BMP image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1F\x8B", "a gzip archive"),
        (b"7z\xBC\xAF", "a 7-Zip archive"),
        (b"Rar!", "a RAR archive"),
        (b"%PDF", "a PDF document"),
        (b"MZ", "a Windows program"),
        (b"\x7FELF", "a program"),
        (b"<", "an HTML or XML document"),
        (b"{", "a JSON document"),
        (b"[", "text"),
    ];
    if bytes.is_empty() {
        return "an empty file";
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return "nothing but zeros";
    }
    let start = bytes.trim_ascii_start();
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return name;
    }
    if bytes.iter().all(|&b| b >= 0x20 || b.is_ascii_whitespace()) {
        "text"
    } else {
        "unknown data"
    }
}
