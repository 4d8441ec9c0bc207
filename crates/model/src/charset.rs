//! Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section 6.1.2) to UTF-8, and back (`encode.rs`).
//!
//! Owns the names of the character sets and the choice of a decoder; the code extensions of
//! ISO 2022 are in `iso2022.rs`. A value is decoded whole and split at its delimiters afterwards:
//! in several of these encodings a byte that looks like a backslash is half a character.

use std::borrow::Cow;
use std::str::FromStr;

use encoding_rs::{
    Encoding, GB18030, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7,
    ISO_8859_8, ISO_8859_15, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};

mod encode;
mod iso2022;

pub use encode::Repertoire;
use iso2022::HighSet;

/// The defined terms of PS3.3 tables C.12-2 to C.12-5, each with what it is, for documents; the code
/// extensions of ISO 2022 with their numbers alone. Other spellings are read too.
pub static DEFINED_TERMS: &[(&str, &str)] = &[
    ("ISO_IR 6", "ASCII, the default"),
    ("ISO_IR 100", "Latin alphabet No. 1"),
    ("ISO_IR 101", "Latin alphabet No. 2"),
    ("ISO_IR 109", "Latin alphabet No. 3"),
    ("ISO_IR 110", "Latin alphabet No. 4"),
    ("ISO_IR 203", "Latin alphabet No. 9"),
    ("ISO_IR 144", "Cyrillic"),
    ("ISO_IR 127", "Arabic"),
    ("ISO_IR 126", "Greek"),
    ("ISO_IR 138", "Hebrew"),
    ("ISO_IR 148", "Latin alphabet No. 5 (Turkish)"),
    ("ISO_IR 166", "Thai"),
    ("ISO_IR 13", "Japanese, JIS X 0201"),
    ("ISO 2022 IR 87", "Japanese, JIS X 0208, by escape sequence"),
    ("ISO 2022 IR 159", "Japanese, JIS X 0212, by escape sequence"),
    ("ISO 2022 IR 149", "Korean, KS X 1001, by escape sequence"),
    ("ISO 2022 IR 58", "Chinese, GB 2312, by escape sequence"),
    ("ISO_IR 192", "Unicode in UTF-8"),
    ("GB18030", "Chinese, GB 18030"),
    ("GBK", "Chinese, GBK"),
];

/// An encoding by its name in the WHATWG Encoding Standard: `gbk`, `euc-kr`, `shift_jis`, `latin1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl TextEncoding {
    /// Its name, in lower case.
    pub fn name(self) -> String {
        self.0.name().to_ascii_lowercase()
    }
}

/// No such encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such character encoding; write gbk, gb18030, big5, euc-kr, shift_jis, latin1 or another name of the WHATWG Encoding Standard"
)]
pub struct TextEncodingError;

impl FromStr for TextEncoding {
    type Err = TextEncodingError;
    fn from_str(name: &str) -> Result<Self, TextEncodingError> {
        // UTF-16 and the like have no ASCII half, and DICOM text without one is no DICOM text.
        let encoding = Encoding::for_label(name.as_bytes()).filter(|e| e.is_ascii_compatible());
        encoding.map(Self).ok_or(TextEncodingError)
    }
}

/// What an operator knows of a sender's text beside what its instances declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knowledge {
    /// How bytes beyond ASCII are read when no character set that we know is declared and they are
    /// not valid UTF-8; Latin-1 where they do not fit it either.
    pub unlabelled: TextEncoding,
    /// What bytes beyond ASCII are where nothing is declared, of a sender whose text is known. Text that
    /// does not fit is guessed.
    pub undeclared: Option<TextEncoding>,
    /// What bytes beyond ASCII really are where nothing, an unknown or a single-byte character set
    /// is declared. Text that does not fit is read as declared.
    pub mislabelled: Option<TextEncoding>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self { unlabelled: TextEncoding(WINDOWS_1252), undeclared: None, mislabelled: None }
    }
}

/// How sure we are of a decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Decoded as declared.
    Exact,
    /// The declaration was missing or unknown, and the encoding was guessed.
    Guessed,
    /// Some bytes are impossible in the declared character set and were replaced.
    Replaced,
}

/// Which delimiters reset the code extensions to the initial state (PS3.5 section 6.1.2.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// LO, SH, UC, ST, LT, UT: control characters and the backslash.
    Text,
    /// PN: also `^` and `=`.
    PersonName,
}

/// A value of (0008,0005), ready to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charset {
    scheme: Scheme,
    knowledge: Knowledge,
    known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    /// Nothing beyond ASCII was declared.
    Undeclared,
    Utf8,
    Gb18030,
    /// One or several sets with code extensions.
    Sets {
        /// In force at the start of a value.
        initial: HighSet,
        /// For bytes that come without the escape sequence they need: the first declared
        /// extension that has such bytes.
        extension: HighSet,
    },
}

impl Charset {
    /// No Specific Character Set at all: ASCII, and a guess for what goes beyond.
    pub fn undeclared(knowledge: Knowledge) -> Self {
        Self { scheme: Scheme::Undeclared, knowledge, known: true }
    }

    /// Reads the value of (0008,0005), in any of the spellings that occur.
    pub fn parse(value: &[u8], knowledge: Knowledge) -> Self {
        let mut initial = HighSet::None;
        let mut extension = HighSet::None;
        let mut known = true;
        let mut extended = value.contains(&b'\\');
        for (index, term) in value.split(|&byte| byte == b'\\').enumerate() {
            match Term::parse(term) {
                Some(Term::Whole(scheme)) => return Self { scheme, knowledge, known: true },
                Some(Term::LowSet) => extended = true,
                Some(Term::Set(set)) if index == 0 => initial = set,
                Some(Term::Set(set)) if extension == HighSet::None => extension = set,
                Some(Term::Set(_)) => {}
                None => known = false,
            }
        }
        let scheme = if initial == HighSet::None && extension == HighSet::None && !extended {
            Scheme::Undeclared
        } else {
            Scheme::Sets { initial, extension }
        };
        Self { scheme, knowledge, known }
    }

    /// Whether every term was one that we know.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Decodes a value. ASCII is borrowed; control characters and padding are kept as they are.
    pub fn decode<'a>(&self, bytes: &'a [u8], kind: TextKind) -> (Cow<'a, str>, Certainty) {
        if bytes.is_ascii()
            && !bytes.contains(&iso2022::ESCAPE)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return (Cow::Borrowed(text), Certainty::Exact);
        }
        if !bytes.contains(&iso2022::ESCAPE)
            && let Some(text) = self.corrected(bytes)
        {
            return (text, Certainty::Exact);
        }
        match self.scheme {
            Scheme::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => (Cow::Borrowed(text), Certainty::Exact),
                Err(_) => (String::from_utf8_lossy(bytes), Certainty::Replaced),
            },
            Scheme::Gb18030 => whole(GB18030, bytes),
            Scheme::Sets { initial: HighSet::Table(table), .. }
                if !bytes.contains(&iso2022::ESCAPE) =>
            {
                whole(table, bytes)
            }
            Scheme::Sets { initial, extension } => {
                let (text, clean) = iso2022::decode(bytes, initial, extension, kind);
                let certainty = if clean { Certainty::Exact } else { Certainty::Replaced };
                (Cow::Owned(text), certainty)
            }
            // Escape sequences name their sets themselves.
            Scheme::Undeclared if bytes.contains(&iso2022::ESCAPE) => {
                let (text, _) = iso2022::decode(bytes, HighSet::None, HighSet::None, kind);
                (Cow::Owned(text), Certainty::Guessed)
            }
            Scheme::Undeclared => (self.guess(bytes), Certainty::Guessed),
        }
    }

    fn guess<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Cow::Borrowed(text);
        }
        match whole(self.knowledge.unlabelled.0, bytes) {
            (text, Certainty::Exact) => text,
            _ => whole(WINDOWS_1252, bytes).0,
        }
    }

    /// What the operator says the text is, where the declaration could be a mistake.
    fn corrected<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        let doubtful = match self.scheme {
            Scheme::Undeclared => true,
            Scheme::Sets { initial, extension } => {
                matches!(initial, HighSet::Table(_)) && extension == HighSet::None
            }
            Scheme::Utf8 | Scheme::Gb18030 => false,
        };
        let undeclared =
            self.knowledge.undeclared.filter(|_| self.known && self.scheme == Scheme::Undeclared);
        let encoding = undeclared.or(self.knowledge.mislabelled.filter(|_| doubtful))?;
        match whole(encoding.0, bytes) {
            (text, Certainty::Exact) => Some(text),
            _ => None,
        }
    }
}

fn whole<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> (Cow<'a, str>, Certainty) {
    let (text, errors) = encoding.decode_without_bom_handling(bytes);
    (text, if errors { Certainty::Replaced } else { Certainty::Exact })
}

enum Term {
    /// A character set that does not mix with others.
    Whole(Scheme),
    /// A set for the high half of the code table, or none.
    Set(HighSet),
    /// A set for the low half, in force only after its escape sequence.
    LowSet,
}

impl Term {
    /// Only letters and digits count: `ISO_IR_100`, `ISO-IR 100` and `iso ir 100` are one term.
    fn parse(term: &[u8]) -> Option<Self> {
        let mut name: String =
            term.iter().filter(|b| b.is_ascii_alphanumeric()).map(|&b| char::from(b)).collect();
        name.make_ascii_uppercase();
        match name.as_str() {
            "" | "ASCII" | "USASCII" => return Some(Self::Set(HighSet::None)),
            "UTF8" => return Some(Self::Whole(Scheme::Utf8)),
            "GB18030" | "GBK" | "GB2312" | "CP936" => return Some(Self::Whole(Scheme::Gb18030)),
            "ISO88591" | "LATIN1" => return Some(Self::Set(HighSet::Table(WINDOWS_1252))),
            _ => {}
        }
        let number = name
            .strip_prefix("ISO2022IR")
            .or_else(|| name.strip_prefix("ISOIR"))
            .or_else(|| name.strip_prefix("IR"))?;
        // PS3.3 tables C.12-2 to C.12-5. encoding_rs has the Windows supersets of Latin-1, Latin-5
        // and TIS-620: they give printable characters where the standard has C1 controls, which
        // DICOM text cannot contain and Windows programs do send.
        let set = match number {
            "6" => HighSet::None,
            "87" | "159" => return Some(Self::LowSet),
            "100" => HighSet::Table(WINDOWS_1252),
            "101" => HighSet::Table(ISO_8859_2),
            "109" => HighSet::Table(ISO_8859_3),
            "110" => HighSet::Table(ISO_8859_4),
            "144" => HighSet::Table(ISO_8859_5),
            "127" => HighSet::Table(ISO_8859_6),
            "126" => HighSet::Table(ISO_8859_7),
            "138" => HighSet::Table(ISO_8859_8),
            "148" => HighSet::Table(WINDOWS_1254),
            "166" => HighSet::Table(WINDOWS_874),
            "203" => HighSet::Table(ISO_8859_15),
            "13" => HighSet::Katakana,
            "149" => HighSet::Korean,
            "58" => HighSet::Chinese,
            "192" => return Some(Self::Whole(Scheme::Utf8)),
            _ => return None,
        };
        Some(Self::Set(set))
    }
}

#[cfg(test)]
mod tests;
