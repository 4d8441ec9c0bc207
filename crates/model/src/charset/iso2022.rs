//! Code extension by escape sequences (ISO 2022 as PS3.5 section 6.1.2.5 uses it): a small state
//! machine over what the low and the high half of the code table mean at the moment.

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};

use super::TextKind;

pub(super) const ESCAPE: u8 = 0x1B;

/// What bytes 0xA0 to 0xFF mean (G1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HighSet {
    /// Nothing.
    None,
    /// A single-byte character set.
    Table(&'static Encoding),
    /// JIS X 0201 katakana.
    Katakana,
    /// KS X 1001, two bytes each.
    Korean,
    /// GB 2312, two bytes each.
    Chinese,
}

/// What bytes 0x21 to 0x7E mean (G0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LowSet {
    /// ASCII, or JIS X 0201 romaji, which DICOM reads alike.
    Ascii,
    /// JIS X 0208, two bytes each.
    Kanji,
    /// JIS X 0212, two bytes each.
    SupplementaryKanji,
}

#[derive(Debug, Clone, Copy)]
enum Designation {
    Low(LowSet),
    High(HighSet),
}

/// PS3.3 tables C.12-3 and C.12-4: what follows the escape character.
static SEQUENCES: &[(&[u8], Designation)] = &[
    (b"(B", Designation::Low(LowSet::Ascii)),
    (b"(J", Designation::Low(LowSet::Ascii)),
    (b"$B", Designation::Low(LowSet::Kanji)),
    // The edition of 1978, which old equipment names.
    (b"$@", Designation::Low(LowSet::Kanji)),
    (b"$(B", Designation::Low(LowSet::Kanji)),
    (b"$(D", Designation::Low(LowSet::SupplementaryKanji)),
    (b")I", Designation::High(HighSet::Katakana)),
    (b"$)C", Designation::High(HighSet::Korean)),
    (b"$)A", Designation::High(HighSet::Chinese)),
    (b"-A", Designation::High(HighSet::Table(WINDOWS_1252))),
    (b"-B", Designation::High(HighSet::Table(ISO_8859_2))),
    (b"-C", Designation::High(HighSet::Table(ISO_8859_3))),
    (b"-D", Designation::High(HighSet::Table(ISO_8859_4))),
    (b"-L", Designation::High(HighSet::Table(ISO_8859_5))),
    (b"-G", Designation::High(HighSet::Table(ISO_8859_6))),
    (b"-F", Designation::High(HighSet::Table(ISO_8859_7))),
    (b"-H", Designation::High(HighSet::Table(ISO_8859_8))),
    (b"-M", Designation::High(HighSet::Table(WINDOWS_1254))),
    (b"-T", Designation::High(HighSet::Table(WINDOWS_874))),
    (b"-b", Designation::High(HighSet::Table(ISO_8859_15))),
];

/// Decodes a value; the flag says whether every byte had a meaning.
///
/// `extension` is used for high bytes that come while no set is designated for them: writers
/// forget to repeat the escape sequence after a delimiter.
pub(super) fn decode(
    bytes: &[u8],
    initial: HighSet,
    extension: HighSet,
    kind: TextKind,
) -> (String, bool) {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 2);
    let mut clean = true;
    let mut low = LowSet::Ascii;
    let mut high = initial;
    let mut last_high = extension;
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let taken = if byte == ESCAPE {
            let after = rest.get(1..).unwrap_or(&[]);
            match SEQUENCES.iter().find(|(sequence, _)| after.starts_with(sequence)) {
                Some((sequence, Designation::Low(set))) => {
                    low = *set;
                    1 + sequence.len()
                }
                Some((sequence, Designation::High(set))) => {
                    high = *set;
                    last_high = *set;
                    1 + sequence.len()
                }
                None => {
                    clean = false;
                    1
                }
            }
        } else if byte >= 0x80 {
            let run = run(rest, |b| b >= 0x80);
            let set = if high == HighSet::None { last_high } else { high };
            clean &= decode_high(run, set, &mut text);
            run.len()
        } else if low != LowSet::Ascii && is_graphic(byte) {
            let run = run(rest, is_graphic);
            clean &= decode_kanji(run, low, &mut text);
            run.len()
        } else {
            text.push(char::from(byte));
            let name_delimiter = kind == TextKind::PersonName && matches!(byte, b'^' | b'=');
            if byte == b'\\' || name_delimiter || matches!(byte, 0x09..=0x0D) {
                low = LowSet::Ascii;
                high = initial;
            }
            1
        };
        rest = rest.get(taken..).unwrap_or(&[]);
    }
    (text, clean)
}

/// Writes an escape sequence.
pub(super) fn escape(out: &mut Vec<u8>, sequence: &[u8]) {
    out.push(ESCAPE);
    out.extend_from_slice(sequence);
}

/// What follows the escape character to designate a set for the high half.
pub(super) fn sequence(set: HighSet) -> Option<&'static [u8]> {
    SEQUENCES.iter().find_map(|(sequence, designation)| match designation {
        Designation::High(this) if *this == set => Some(*sequence),
        _ => None,
    })
}

fn is_graphic(byte: u8) -> bool {
    (0x21..=0x7E).contains(&byte)
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> &[u8] {
    let length = bytes.iter().position(|&b| !belongs(b)).unwrap_or(bytes.len());
    bytes.get(..length).unwrap_or(bytes)
}

fn decode_high(bytes: &[u8], set: HighSet, text: &mut String) -> bool {
    let encoding = match set {
        HighSet::Table(encoding) => encoding,
        HighSet::Korean => EUC_KR,
        HighSet::Chinese => GB18030,
        HighSet::Katakana => {
            let mut clean = true;
            for &byte in bytes {
                // JIS X 0201 0xA1 to 0xDF are U+FF61 to U+FF9F in order.
                let offset = byte.checked_sub(0xA1).filter(|&offset| offset <= 0x3E);
                let found = offset.and_then(|offset| char::from_u32(0xFF61 + u32::from(offset)));
                clean &= found.is_some();
                text.push(found.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            return clean;
        }
        HighSet::None => {
            // Nothing says what these are; Latin-1 keeps every byte.
            text.push_str(&WINDOWS_1252.decode_without_bom_handling(bytes).0);
            return false;
        }
    };
    let (decoded, errors) = encoding.decode_without_bom_handling(bytes);
    text.push_str(&decoded);
    !errors
}

/// The two-byte sets of Japan are the halves of EUC-JP: the same bytes with the high bit set, and
/// a prefix for the supplementary set.
fn decode_kanji(bytes: &[u8], set: LowSet, text: &mut String) -> bool {
    let mut euc = Vec::with_capacity(bytes.len() + bytes.len() / 2);
    for pair in bytes.chunks(2) {
        if set == LowSet::SupplementaryKanji {
            euc.push(0x8F);
        }
        euc.extend(pair.iter().map(|b| b | 0x80));
    }
    let (decoded, errors) = EUC_JP.decode_without_bom_handling(&euc);
    text.push_str(&decoded);
    !errors
}
