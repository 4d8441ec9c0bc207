//! Text into the character sets of PS3.3 section C.12.1.1.2, for peers that ask in one of them.

use encoding_rs::{EUC_JP, EUC_KR, Encoding, GB18030, GBK};

use super::iso2022::HighSet;
use super::{Term, TextKind, iso2022};

/// A set that is reached by an escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// JIS X 0208, in the low half.
    Kanji,
    /// In the high half.
    High(HighSet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    Ascii,
    Utf8,
    /// An encoding for all of the text.
    Whole(&'static Encoding),
    /// What is in force at the start, and what escape sequences lead to.
    Sets(HighSet, Vec<Extension>),
}

/// A value of Specific Character Set (0008,0005) that text can be written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repertoire {
    scheme: Scheme,
    terms: Vec<String>,
}

impl Repertoire {
    /// Unicode in UTF-8.
    pub const UTF_8: Self = Self { scheme: Scheme::Utf8, terms: Vec::new() };
    /// The default repertoire, ASCII.
    pub const DEFAULT: Self = Self { scheme: Scheme::Ascii, terms: Vec::new() };

    /// Reads a value of (0008,0005). `None` when a term of it is not known.
    pub fn parse(value: &str) -> Option<Self> {
        let mut initial = HighSet::None;
        let mut extensions = Vec::new();
        let mut terms = Vec::new();
        let count = value.split('\\').count();
        for (index, term) in value.split('\\').enumerate() {
            let term = term.trim_matches([' ', '\0']);
            terms.push(term.to_owned());
            let whole = |encoding, name: &str| {
                Some(Self { scheme: Scheme::Whole(encoding), terms: vec![name.to_owned()] })
            };
            match Term::parse(term.as_bytes())? {
                Term::Whole(super::Scheme::Utf8) => return Some(Self::UTF_8),
                Term::Whole(_) if term.contains("18030") => return whole(GB18030, "GB18030"),
                Term::Whole(_) => return whole(GBK, "GBK"),
                // Nothing writes JIS X 0212: its characters are sent in UTF-8.
                Term::LowSet if term.contains("159") => {}
                Term::LowSet => extensions.push(Extension::Kanji),
                Term::Set(HighSet::None) => {}
                Term::Set(set) if index == 0 => initial = set,
                Term::Set(set) => extensions.push(Extension::High(set)),
            }
        }
        let two_bytes = matches!(initial, HighSet::Korean | HighSet::Chinese);
        if two_bytes {
            // As the only term they say what escape sequences lead to.
            extensions.insert(0, Extension::High(initial));
            initial = HighSet::None;
        }
        if initial == HighSet::None && extensions.is_empty() {
            return Some(Self::DEFAULT);
        }
        if extensions.is_empty() && count > 1 {
            terms.truncate(1);
        }
        Some(Self { scheme: Scheme::Sets(initial, extensions), terms })
    }

    /// The terms that (0008,0005) has to hold; none for the default repertoire.
    pub fn terms(&self) -> impl Iterator<Item = &str> {
        let utf8 = (self.scheme == Scheme::Utf8).then_some("ISO_IR 192");
        utf8.into_iter().chain(self.terms.iter().map(String::as_str))
    }

    /// Encodes a value. `None` when it has a character that the set has no place for.
    pub fn encode(&self, text: &str, kind: TextKind) -> Option<Vec<u8>> {
        if text.is_ascii() {
            return Some(text.as_bytes().to_vec());
        }
        match &self.scheme {
            Scheme::Ascii => None,
            Scheme::Utf8 => Some(text.as_bytes().to_vec()),
            Scheme::Whole(encoding) => exact(encoding, text),
            Scheme::Sets(initial, extensions) => sets(text, kind, *initial, extensions),
        }
    }
}

/// Encodes without replacing what has no place.
fn exact(encoding: &'static Encoding, text: &str) -> Option<Vec<u8>> {
    let (bytes, _, replaced) = encoding.encode(text);
    (!replaced).then(|| bytes.into_owned())
}

/// Character by character, with an escape sequence wherever the set changes. The sets are back at their
/// initial state before each delimiter and at the end (PS3.5 section 6.1.2.5.3).
fn sets(text: &str, kind: TextKind, initial: HighSet, extensions: &[Extension]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut is_kanji = false;
    let mut high = initial;
    for c in text.chars() {
        if c.is_ascii() {
            if std::mem::take(&mut is_kanji) {
                iso2022::escape(&mut out, b"(B");
            }
            let ends_name = kind == TextKind::PersonName && matches!(c, '^' | '=');
            if ends_name || c == '\\' || c.is_ascii_control() {
                high = initial;
            }
            out.push(u8::try_from(c).ok()?);
            continue;
        }
        if let Some(bytes) = in_high(c, high) {
            // What is already designated wins: no escape sequence is needed.
            out.extend(bytes);
            continue;
        }
        let (extension, bytes) = extensions.iter().find_map(|extension| {
            let bytes = match extension {
                Extension::Kanji => kanji(c).map(Vec::from),
                Extension::High(set) => in_high(c, *set),
            };
            Some((*extension, bytes?))
        })?;
        match extension {
            Extension::High(set) => {
                iso2022::escape(&mut out, iso2022::sequence(set)?);
                high = set;
            }
            Extension::Kanji if !std::mem::replace(&mut is_kanji, true) => {
                iso2022::escape(&mut out, b"$B");
            }
            Extension::Kanji => {}
        }
        out.extend(bytes);
    }
    if is_kanji {
        iso2022::escape(&mut out, b"(B");
    }
    Some(out)
}

/// The bytes of a character in a set of the high half.
fn in_high(c: char, set: HighSet) -> Option<Vec<u8>> {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    let (bytes, length) = match set {
        HighSet::None => return None,
        HighSet::Katakana => {
            let offset = u32::from(c).checked_sub(0xFF61).filter(|offset| *offset <= 0x3E)?;
            return Some(vec![u8::try_from(0xA1 + offset).ok()?]);
        }
        HighSet::Table(encoding) => (exact(encoding, text)?, 1),
        HighSet::Korean => (exact(EUC_KR, text)?, 2),
        HighSet::Chinese => (exact(GBK, text)?, 2),
    };
    // The encodings of the web have more than the sets of ISO 2022, which begin at A0 or A1.
    let belongs = bytes.len() == length && bytes.iter().all(|byte| *byte >= 0xA0);
    belongs.then_some(bytes)
}

/// The bytes of a character in JIS X 0208, which are those of EUC-JP without the high bit.
fn kanji(c: char) -> Option<[u8; 2]> {
    let mut buffer = [0; 4];
    let bytes = exact(EUC_JP, c.encode_utf8(&mut buffer))?;
    match bytes.as_slice() {
        [first @ 0xA1..=0xFE, second] => Some([first & 0x7F, second & 0x7F]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset::{Certainty, Charset, Knowledge};

    /// Encodes, compares with the bytes of PS3.5 annexes H to K, and decodes again.
    #[track_caller]
    fn check(charset: &str, text: &str, expected: Option<&[u8]>) {
        let repertoire = Repertoire::parse(charset).expect("a known character set");
        let encoded = repertoire.encode(text, TextKind::PersonName).expect("a place");
        if let Some(expected) = expected {
            assert_eq!(encoded, expected, "{charset}: {text}");
        }
        let declared = repertoire.terms().collect::<Vec<_>>().join("\\");
        let read = Charset::parse(declared.as_bytes(), Knowledge::default());
        let (decoded, certainty) = read.decode(&encoded, TextKind::PersonName);
        assert_eq!((decoded.as_ref(), certainty), (text, Certainty::Exact), "{charset}");
    }

    #[test]
    fn names_of_the_standard_come_out_as_it_prints_them() {
        check(
            "\\ISO 2022 IR 87",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            Some(
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            ),
        );
        check(
            "\\ISO 2022 IR 149",
            "Hong^Gildong=洪^吉洞=홍^길동",
            Some(
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            ),
        );
        check("GB18030", "Wang^XiaoDong=王^小东", Some(b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"));
        check("ISO_IR 100", "Buc^Jérôme", Some(b"Buc^J\xe9r\xf4me"));
        check("ISO_IR 192", "Wang^XiaoDong=王^小東", Some("Wang^XiaoDong=王^小東".as_bytes()));
    }

    #[test]
    fn every_set_is_read_back() {
        check("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东", None);
        check("ISO 2022 IR 6\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东", None);
        check("ISO_IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", None);
        check("ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", "ﾔﾏﾀﾞ=山田^太郎", None);
        check("ISO 2022 IR 100\\ISO 2022 IR 144", "Jérôme^Люкceмбypг", None);
        check("ISO_IR 144", "Люкceмбypг", None);
        check("ISO_IR 126", "Διονυσιος", None);
        check("GBK", "王^小东", None);
        check("ISO_IR 6", "Plain^Name", None);
        check("", "Plain^Name", None);
    }

    #[test]
    fn what_has_no_place_is_not_replaced() {
        for (charset, text) in [
            ("", "王"),
            ("ISO_IR 100", "王^小东"),
            ("ISO_IR 100", "€"),
            ("\\ISO 2022 IR 87", "홍"),
            ("\\ISO 2022 IR 149", "Jérôme"),
            ("GBK", "𠮷"),
            ("\\ISO 2022 IR 159", "丂"),
        ] {
            let repertoire = Repertoire::parse(charset).expect("a known character set");
            assert_eq!(repertoire.encode(text, TextKind::Text), None, "{charset}: {text}");
        }
        assert_eq!(Repertoire::parse("ISO_IR 999"), None);
    }
}
