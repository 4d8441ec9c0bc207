//! Character sets of HL7 (MSH-18, table 0211) to UTF-8, before anything is parsed: in several of them
//! a delimiter's byte is half a character.

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GB18030, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, WINDOWS_1252, WINDOWS_1254,
};

use super::Fault;
use crate::charset::{Charset, Knowledge, TextEncoding, TextKind};

enum Set {
    Utf8,
    /// Nothing declared, or ASCII: a guess for what goes beyond.
    Undeclared,
    Table(&'static Encoding),
    /// Sets that escape sequences switch, by their DICOM names.
    Extended(&'static [u8]),
}

/// Decodes a whole message as its MSH-18 says.
pub(super) fn decode(bytes: &[u8], unlabelled: TextEncoding) -> Result<String, Fault> {
    let header = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    if !header.starts_with(b"MSH") {
        return Err(Fault::reject(100, "", "the message does not begin with MSH"));
    }
    let separator = header.get(3).copied().unwrap_or(b'|');
    // MSH-1 is the separator itself, so the 18th field is the 17th piece behind the name.
    let field = header.split(|byte| *byte == separator).nth(17).unwrap_or_default();
    let repetition = header.get(5).copied().unwrap_or(b'~');
    let mut names = field.split(|byte| *byte == repetition).filter(|name| !name.is_empty());
    let (first, second) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let wrong = || Fault::error(102, "MSH-18", "names another character set than the text has");
    let text = match (set(first)?, set(second)?) {
        (Set::Undeclared, Set::Extended(terms)) | (Set::Extended(terms), _) => {
            let charset = Charset::parse(terms, Knowledge::default());
            charset.decode(bytes, TextKind::Text).0.into_owned()
        }
        (Set::Utf8, _) => std::str::from_utf8(bytes).map_err(|_| wrong())?.to_owned(),
        (Set::Undeclared, _) => {
            let knowledge = Knowledge { unlabelled, ..Knowledge::default() };
            Charset::undeclared(knowledge).decode(bytes, TextKind::Text).0.into_owned()
        }
        (Set::Table(encoding), _) => {
            let text = encoding.decode_without_bom_handling_and_without_replacement(bytes);
            text.ok_or_else(wrong)?.into_owned()
        }
    };
    Ok(text.replace('\0', ""))
}

/// By letters and digits alone: `UNICODE UTF-8`, `8859/1`, `GB 18030-2000`, `ISO IR87`.
fn set(name: &[u8]) -> Result<Set, Fault> {
    let mut plain: String =
        name.iter().filter(|b| b.is_ascii_alphanumeric()).map(|&b| char::from(b)).collect();
    plain.make_ascii_uppercase();
    let plain = plain.strip_prefix("ISO").filter(|rest| rest.starts_with("8859")).unwrap_or(&plain);
    Ok(match plain {
        "" | "ASCII" | "ISOIR6" => Set::Undeclared,
        "UNICODEUTF8" | "UTF8" | "UNICODE" => Set::Utf8,
        "GB180302000" | "GB18030" | "GB180302005" | "GB180302022" | "GBK" | "GB2312" => {
            Set::Table(GB18030)
        }
        "88591" => Set::Table(WINDOWS_1252),
        "88592" => Set::Table(ISO_8859_2),
        "88593" => Set::Table(ISO_8859_3),
        "88594" => Set::Table(ISO_8859_4),
        "88595" => Set::Table(ISO_8859_5),
        "88596" => Set::Table(ISO_8859_6),
        "88597" => Set::Table(ISO_8859_7),
        "88598" => Set::Table(ISO_8859_8),
        "88599" => Set::Table(WINDOWS_1254),
        "885915" => Set::Table(ISO_8859_15),
        "BIG5" => Set::Table(BIG5),
        "KSX1001" | "EUCKR" => Set::Table(EUC_KR),
        "SHIFTJIS" | "SJIS" => Set::Table(SHIFT_JIS),
        "ISOIR14" => Set::Extended(b"ISO 2022 IR 13\\ISO 2022 IR 87"),
        "ISOIR87" => Set::Extended(b"\\ISO 2022 IR 87"),
        "ISOIR159" => Set::Extended(b"\\ISO 2022 IR 87\\ISO 2022 IR 159"),
        _ => {
            let known = "names a character set that is not known here; UNICODE UTF-8 always is";
            return Err(Fault::reject(103, "MSH-18", known));
        }
    })
}
