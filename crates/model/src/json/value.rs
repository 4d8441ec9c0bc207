//! One value of a data element as the content of its JSON object (PS3.18 section F.2.3).

use super::number::{write_decimal, write_float, write_integer};
use super::text::{push_hex, write_base64, write_string};
use crate::dataset::vr::VR;

/// Which of the three forms of JSON the values of a VR take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `Value` of strings or decimal numbers.
    Text,
    /// `Value` of binary numbers or tags.
    Numbers,
    /// `InlineBinary`.
    Bytes,
}

pub(super) fn form(vr: VR) -> Form {
    match vr {
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ => Form::Bytes,
        VR::AT | VR::FD | VR::FL | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV => {
            Form::Numbers
        }
        _ => Form::Text,
    }
}

/// Removes the padding of a text value as a whole: NUL and spaces at its end.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(['\0', ' '])
}

/// Removes spaces that PS3.5 table 6.2-1 calls insignificant, and stray NULs.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(['\0', ' '])
}

/// Whether the backslash separates values of the VR (PS3.5 section 6.4).
fn is_multiple(vr: VR) -> bool {
    !matches!(vr, VR::LT | VR::ST | VR::UT | VR::UR)
}

/// Writes `,"Value":[…]` for decoded text; nothing if it is empty. Returns false if a decimal
/// string was not a number and was written as a string.
pub(super) fn write_text(out: &mut Vec<u8>, vr: VR, text: &str) -> bool {
    let text = trim_end(text);
    if text.is_empty() {
        return true;
    }
    out.extend_from_slice(b",\"Value\":[");
    let mut numeric = true;
    if is_multiple(vr) {
        for (index, part) in text.split('\\').enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let part = if vr == VR::UC { trim_end(part) } else { trim(part) };
            if part.is_empty() {
                out.extend_from_slice(b"null");
            } else if vr == VR::PN {
                write_person_name(out, part);
            } else if matches!(vr, VR::IS | VR::DS) {
                if !write_decimal(out, part) {
                    numeric = false;
                    write_string(out, part);
                }
            } else {
                write_string(out, part);
            }
        }
    } else {
        write_string(out, text);
    }
    out.push(b']');
    numeric
}

/// PS3.18 section F.2.2: one member per component group that is there.
fn write_person_name(out: &mut Vec<u8>, name: &str) {
    const GROUPS: [&[u8]; 3] = [b"\"Alphabetic\":", b"\"Ideographic\":", b"\"Phonetic\":"];
    let start = out.len();
    for (key, group) in GROUPS.into_iter().zip(name.splitn(3, '=')) {
        let group = trim(group);
        if group.is_empty() {
            continue;
        }
        out.push(if out.len() == start { b'{' } else { b',' });
        out.extend_from_slice(key);
        write_string(out, group);
    }
    if out.len() == start {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'}');
    }
}

/// Writes `,"Value":[…]` for little endian numbers; nothing if there is not one whole number.
/// Returns false if bytes are left over.
pub(super) fn write_numbers(out: &mut Vec<u8>, vr: VR, bytes: &[u8]) -> bool {
    fn each<const N: usize>(
        out: &mut Vec<u8>,
        bytes: &[u8],
        write: impl Fn(&mut Vec<u8>, [u8; N]),
    ) -> bool {
        let (words, rest) = bytes.as_chunks::<N>();
        if words.is_empty() {
            return rest.is_empty();
        }
        out.extend_from_slice(b",\"Value\":[");
        for (index, word) in words.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, *word);
        }
        out.push(b']');
        rest.is_empty()
    }
    match vr {
        VR::US => each(out, bytes, |out, word| write_integer(out, u16::from_le_bytes(word).into())),
        VR::SS => each(out, bytes, |out, word| write_integer(out, i16::from_le_bytes(word).into())),
        VR::UL => each(out, bytes, |out, word| write_integer(out, u32::from_le_bytes(word).into())),
        VR::SL => each(out, bytes, |out, word| write_integer(out, i32::from_le_bytes(word).into())),
        VR::UV => each(out, bytes, |out, word| write_integer(out, u64::from_le_bytes(word).into())),
        VR::SV => each(out, bytes, |out, word| write_integer(out, i64::from_le_bytes(word).into())),
        VR::FL => each(out, bytes, |out, word| write_float(out, f32::from_le_bytes(word).into())),
        VR::FD => each(out, bytes, |out, word| write_float(out, f64::from_le_bytes(word))),
        _ => each(out, bytes, |out, [g0, g1, e0, e1]| {
            out.push(b'"');
            for byte in [g1, g0, e1, e0] {
                push_hex(out, byte);
            }
            out.push(b'"');
        }),
    }
}

/// Writes `,"InlineBinary":"…"`.
pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b",\"InlineBinary\":\"");
    write_base64(out, bytes);
    out.push(b'"');
}
