//! UTF-8 to the character sets of DICOM, for answers to peers that asked in one.

use encoding_rs::{
    EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5,
    ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_15, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};

use super::TextKind;

/// A value of (0008,0005) that text can be written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    terms: String,
    scheme: Scheme,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ascii,
    Utf8,
    Table(&'static Encoding),
    /// Two bytes per character behind an escape sequence that every part of a value repeats.
    Escaped(&'static Encoding, &'static [u8]),
    /// With escape sequences of its own, which end every part in ASCII.
    Japanese,
}

impl Writing {
    /// The character set of a value of (0008,0005); `None` when nothing can be written in it. Of code
    /// extensions the first is used.
    pub fn parse(value: &str) -> Option<Self> {
        let mut scheme = Scheme::Ascii;
        for (index, term) in value.split('\\').enumerate() {
            let name: String = term.chars().filter(char::is_ascii_alphanumeric).collect();
            let name = name.to_ascii_uppercase();
            let found = match name.as_str() {
                "" | "ISOIR6" | "ISO2022IR6" => Scheme::Ascii,
                "ISOIR192" => Scheme::Utf8,
                "GB18030" => Scheme::Table(GB18030),
                "GBK" => Scheme::Table(GBK),
                "ISO2022IR87" => Scheme::Japanese,
                "ISO2022IR149" => Scheme::Escaped(EUC_KR, b"\x1B$)C"),
                "ISO2022IR58" => Scheme::Escaped(GBK, b"\x1B$)A"),
                other => {
                    let number = other.strip_prefix("ISO2022IR").or(other.strip_prefix("ISOIR"))?;
                    Scheme::Table(table(number)?)
                }
            };
            if index == 0 || scheme == Scheme::Ascii {
                scheme = found;
            }
        }
        Some(Self { terms: value.trim().to_owned(), scheme })
    }

    /// The value of (0008,0005).
    pub fn terms(&self) -> &str {
        &self.terms
    }

    /// Writes a value; `None` when the character set lacks one of its characters.
    pub fn encode(&self, text: &str, kind: TextKind) -> Option<Vec<u8>> {
        if text.is_ascii() {
            return Some(text.as_bytes().to_vec());
        }
        match self.scheme {
            Scheme::Ascii => None,
            Scheme::Utf8 => Some(text.as_bytes().to_vec()),
            Scheme::Table(encoding) => {
                let bytes = whole(encoding, text)?;
                // The Windows supersets have characters where the standard has controls.
                let control = |byte: &u8| (0x80..=0x9F).contains(byte);
                let is_wide = encoding == GB18030 || encoding == GBK;
                (is_wide || !bytes.iter().any(control)).then_some(bytes)
            }
            Scheme::Japanese => parts(text, kind, |part| whole(ISO_2022_JP, part)),
            Scheme::Escaped(encoding, escape) => parts(text, kind, |part| {
                if part.is_ascii() {
                    return Some(part.as_bytes().to_vec());
                }
                let bytes = whole(encoding, part)?;
                // The sets of 94 by 94 have no byte between 80 and A0, which their supersets use.
                let high = |byte: &u8| *byte < 0x80 || (0xA1..=0xFE).contains(byte);
                let pairs = bytes.iter().filter(|byte| **byte >= 0x80).count() % 2 == 0;
                (bytes.iter().all(high) && pairs).then(|| [escape, &bytes].concat())
            }),
        }
    }
}

fn whole(encoding: &'static Encoding, text: &str) -> Option<Vec<u8>> {
    let (bytes, used, lost) = encoding.encode(text);
    (!lost && used == encoding).then(|| bytes.into_owned())
}

/// Encodes between delimiters, each of which resets code extensions (PS3.5 section 6.1.2.5.3).
fn parts(text: &str, kind: TextKind, encode: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let resets = |c: char| {
        c.is_control() || c == '\\' || (kind == TextKind::PersonName && matches!(c, '^' | '='))
    };
    let mut written = Vec::new();
    for part in text.split_inclusive(resets) {
        let end = part.char_indices().next_back().filter(|(_, last)| resets(*last));
        let (part, delimiter) = part.split_at(end.map_or(part.len(), |(at, _)| at));
        written.extend(encode(part)?);
        written.extend_from_slice(delimiter.as_bytes());
    }
    Some(written)
}

/// PS3.3 tables C.12-2 and C.12-3.
fn table(number: &str) -> Option<&'static Encoding> {
    Some(match number {
        "100" => WINDOWS_1252,
        "101" => ISO_8859_2,
        "109" => ISO_8859_3,
        "110" => ISO_8859_4,
        "144" => ISO_8859_5,
        "127" => ISO_8859_6,
        "126" => ISO_8859_7,
        "138" => ISO_8859_8,
        "148" => WINDOWS_1254,
        "166" => WINDOWS_874,
        "203" => ISO_8859_15,
        _ => return None,
    })
}
