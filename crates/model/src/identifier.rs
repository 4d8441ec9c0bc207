//! Small data sets that are asked with and answered: identifiers of C-FIND, procedure steps. As DICOM
//! JSON objects inside, in the peer's transfer syntax and character set outside.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value};

use crate::charset::{TextKind, Writing};
use crate::dataset::vr::{self, VR, from_letters};
use crate::dataset::{Event, InflateSource, Limits, Scanner, SliceSource, Source};
use crate::json::document;
use crate::syntax::{Encoding, TransferSyntax};
use crate::tag::{self, Tag};

/// Most bytes that a deflated identifier may inflate to.
const MAX_INFLATED: u64 = 16 << 20;

/// Most sequences inside each other that are written.
const MAX_DEPTH: usize = 16;

/// A data set that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Identifier {
    /// DICOM JSON object, texts in UTF-8. Binary values are left out.
    pub attributes: Map<String, Value>,
    /// Specific Character Set (0008,0005) as the peer wrote it; empty for none.
    pub charset: String,
}

/// What cannot be read, without the values in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data set cannot be read")]
pub struct Unreadable;

/// Reads a data set.
///
/// # Errors
///
/// [`Unreadable`] when it cannot be walked to its end, or is larger than an identifier can be.
pub fn read(bytes: &[u8], syntax: TransferSyntax) -> Result<Identifier, Unreadable> {
    let limits = Limits {
        max_depth: MAX_DEPTH,
        max_elements: 100_000,
        max_json: 16 << 20,
        max_fragments: 1,
        max_inflated: MAX_INFLATED,
        ..Limits::default()
    };
    let found = document(&mut SliceSource::new(bytes), syntax, &limits).map_err(|_| Unreadable)?;
    let Ok(Value::Object(attributes)) = serde_json::from_slice(&found.json) else {
        return Err(Unreadable);
    };
    let mut source = SliceSource::new(bytes);
    let charset = match syntax.is_deflated() {
        true => charset_of(InflateSource::over(&mut source, MAX_INFLATED), syntax, &limits),
        false => charset_of(source, syntax, &limits),
    };
    Ok(Identifier { attributes: without_binary(attributes), charset })
}

fn charset_of(source: impl Source, syntax: TransferSyntax, limits: &Limits) -> String {
    let mut scanner = Scanner::new(source, syntax.encoding(), limits);
    while let Ok(Event::Element(element)) = scanner.next() {
        if element.tag == tag::SPECIFIC_CHARACTER_SET {
            let mut value = Vec::new();
            let read = element.length <= 256 && scanner.value(&mut value).is_ok();
            let text =
                if read { String::from_utf8_lossy(&value).into_owned() } else { String::new() };
            return text.trim_end_matches([' ', '\0']).to_owned();
        }
        if element.tag > tag::SPECIFIC_CHARACTER_SET {
            break;
        }
    }
    String::new()
}

/// Depth is bounded by what was read.
fn without_binary(attributes: Map<String, Value>) -> Map<String, Value> {
    let keep = |(name, mut element): (String, Value)| {
        let object = element.as_object_mut()?;
        if object.contains_key("InlineBinary") || object.contains_key("BulkDataURI") {
            return None;
        }
        if object.get("vr").and_then(Value::as_str) == Some("SQ")
            && let Some(items) = object.get_mut("Value").and_then(Value::as_array_mut)
        {
            for item in items {
                if let Value::Object(attributes) = item {
                    *attributes = without_binary(std::mem::take(attributes));
                }
            }
        }
        Some((name, element))
    };
    attributes.into_iter().filter_map(keep).collect()
}

/// The first value of an attribute as text, a name with its groups joined; empty where there is none.
pub fn text(attributes: &Map<String, Value>, tag: Tag) -> String {
    texts(attributes, tag).into_iter().next().unwrap_or_default()
}

/// Every value of an attribute as text.
pub fn texts(attributes: &Map<String, Value>, tag: Tag) -> Vec<String> {
    let values = attributes.get(&tag.to_string()).and_then(|one| one.get("Value"));
    let values = values.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().map(plain).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(groups) => {
            let group = |name| groups.get(name).and_then(Value::as_str).unwrap_or_default().trim();
            let name = ["Alphabetic", "Ideographic", "Phonetic"].map(group).join("=");
            name.trim_end_matches('=').to_owned()
        }
        _ => String::new(),
    }
}

/// The items of a sequence.
pub fn items(attributes: &Map<String, Value>, tag: Tag) -> Vec<&Map<String, Value>> {
    let values = attributes.get(&tag.to_string()).and_then(|one| one.get("Value"));
    let values = values.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_object).collect()
}

/// Whether an attribute is there and has a value.
pub fn has_value(attributes: &Map<String, Value>, tag: Tag) -> bool {
    let values = attributes.get(&tag.to_string()).and_then(|one| one.get("Value"));
    values.and_then(Value::as_array).is_some_and(|values| {
        values.iter().any(|value| match value {
            Value::Object(object) => !object.is_empty(),
            Value::String(text) => !text.trim().is_empty(),
            other => !other.is_null(),
        })
    })
}

/// Writes a data set in a transfer syntax. Text is written in the character set that the peer asked
/// with (`requested`, the value of (0008,0005)), where all of it fits that, else in UTF-8;
/// (0008,0005) says which.
pub fn write(attributes: &Map<String, Value>, syntax: TransferSyntax, requested: &str) -> Vec<u8> {
    let utf8 = Writing::parse("ISO_IR 192");
    let charsets = [Writing::parse(requested), utf8.clone()];
    let mut written = Vec::new();
    for charset in charsets.iter().flatten() {
        let encoding = syntax.encoding();
        let mut writer = Writer { encoding, charset, fits: true };
        written = writer.set(attributes, 0, true);
        if writer.fits {
            break;
        }
    }
    if !syntax.is_deflated() {
        return written;
    }
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = deflate.write_all(&written);
    let mut written = deflate.finish().unwrap_or_default();
    if written.len() % 2 == 1 {
        written.push(0);
    }
    written
}

struct Writer<'a> {
    encoding: Encoding,
    charset: &'a Writing,
    /// Whether the character set had all of the text.
    fits: bool,
}

impl Writer<'_> {
    fn set(&mut self, attributes: &Map<String, Value>, depth: usize, root: bool) -> Vec<u8> {
        let mut tagged: Vec<(Tag, &Value)> = attributes
            .iter()
            .filter_map(|(name, element)| Some((Tag::from_hex(name)?, element)))
            .filter(|(tag, _)| *tag != tag::SPECIFIC_CHARACTER_SET && !tag.is_group_length())
            .collect();
        tagged.sort_unstable_by_key(|(tag, _)| *tag);
        let mut body = Vec::new();
        for (tag, element) in tagged {
            let vr = element.get("vr").and_then(Value::as_str);
            let vr = vr.and_then(|letters| letters.as_bytes().try_into().ok());
            let Some(vr) = vr.and_then(from_letters) else { continue };
            let none = Vec::new();
            let values = element.get("Value").and_then(Value::as_array).unwrap_or(&none);
            let value = match vr {
                VR::SQ => self.items(values, depth),
                _ => self.value(vr, values),
            };
            self.element(tag, vr, &value, &mut body);
        }
        if !root || self.charset.terms().is_empty() {
            return body;
        }
        let mut all = Vec::with_capacity(body.len().saturating_add(32));
        let terms = padded(self.charset.terms().as_bytes().to_vec(), b' ');
        self.element(tag::SPECIFIC_CHARACTER_SET, VR::CS, &terms, &mut all);
        // Nothing that is answered comes before it.
        all.extend(body);
        all
    }

    fn items(&mut self, values: &[Value], depth: usize) -> Vec<u8> {
        let mut written = Vec::new();
        if depth >= MAX_DEPTH {
            return written;
        }
        for item in values.iter().filter_map(Value::as_object) {
            let body = self.set(item, depth.saturating_add(1), false);
            self.tag(tag::ITEM, &mut written);
            self.number(body.len(), &mut written);
            written.extend(body);
        }
        written
    }

    fn value(&mut self, vr: VR, values: &[Value]) -> Vec<u8> {
        let numbers = || values.iter().filter_map(Value::as_i64);
        let big = self.encoding == Encoding::ExplicitBig;
        let order = |mut bytes: Vec<u8>| {
            if big {
                bytes.reverse();
            }
            bytes
        };
        match vr {
            VR::US => numbers()
                .filter_map(|n| u16::try_from(n).ok())
                .flat_map(|n| order(n.to_le_bytes().to_vec()))
                .collect(),
            VR::UL => numbers()
                .filter_map(|n| u32::try_from(n).ok())
                .flat_map(|n| order(n.to_le_bytes().to_vec()))
                .collect(),
            VR::UI => padded(values.iter().map(plain).collect::<Vec<_>>().join("\\").into(), 0),
            VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::TM | VR::UR => {
                padded(values.iter().map(plain).collect::<Vec<_>>().join("\\").into(), b' ')
            }
            VR::LO | VR::SH | VR::PN | VR::UC | VR::LT | VR::ST | VR::UT => {
                let kind = if vr == VR::PN { TextKind::PersonName } else { TextKind::Text };
                let mut written = Vec::new();
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        written.push(b'\\');
                    }
                    match self.charset.encode(&plain(value), kind) {
                        Some(bytes) => written.extend(bytes),
                        None => self.fits = false,
                    }
                }
                padded(written, b' ')
            }
            _ => Vec::new(),
        }
    }

    fn element(&self, tag: Tag, vr: VR, value: &[u8], out: &mut Vec<u8>) {
        self.tag(tag, out);
        if self.encoding == Encoding::ImplicitLittle {
            self.number(value.len(), out);
        } else if vr::has_long_length(vr) {
            out.extend_from_slice(vr.to_string().as_bytes());
            out.extend_from_slice(&[0, 0]);
            self.number(value.len(), out);
        } else {
            // Identifiers hold no value that is longer; one that was would end here.
            let value_length = u16::try_from(value.len()).unwrap_or(u16::MAX - 1);
            out.extend_from_slice(vr.to_string().as_bytes());
            out.extend_from_slice(&self.short(value_length));
            out.extend_from_slice(value.get(..usize::from(value_length)).unwrap_or_default());
            return;
        }
        out.extend_from_slice(value);
    }

    fn tag(&self, tag: Tag, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.short(tag.group));
        out.extend_from_slice(&self.short(tag.element));
    }

    fn short(&self, number: u16) -> [u8; 2] {
        match self.encoding {
            Encoding::ExplicitBig => number.to_be_bytes(),
            _ => number.to_le_bytes(),
        }
    }

    fn number(&self, number: usize, out: &mut Vec<u8>) {
        let number = u32::try_from(number).unwrap_or(u32::MAX - 1);
        out.extend_from_slice(&match self.encoding {
            Encoding::ExplicitBig => number.to_be_bytes(),
            _ => number.to_le_bytes(),
        });
    }
}

fn padded(mut value: Vec<u8>, pad: u8) -> Vec<u8> {
    if value.len() % 2 == 1 {
        value.push(pad);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(name: &str) -> Map<String, Value> {
        let groups = crate::name::groups(name);
        let set = json!({
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": groups.alphabetic,
                "Ideographic": groups.ideographic}]},
            "00080050": {"vr": "SH"},
            "00321064": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["CT"]}}]},
            "00280010": {"vr": "US", "Value": [513]},
        });
        set.as_object().cloned().unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_in_every_syntax_and_character_set() {
        for syntax in [
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.1.99",
        ] {
            let syntax = TransferSyntax::from_uid(syntax).unwrap();
            for (name, requested, expected) in [
                ("Wang^XiaoDong=王^小东", "GB18030", "GB18030"),
                ("Wang^XiaoDong=王^小东", "GBK", "GBK"),
                ("Wang^XiaoDong=王^小东", "\\ISO 2022 IR 58", "\\ISO 2022 IR 58"),
                ("Wang^XiaoDong=王^小东", "ISO_IR 192", "ISO_IR 192"),
                ("Wang^XiaoDong=王^小东", "ISO_IR 100", "ISO_IR 192"),
                ("Wang^XiaoDong=王^小东", "", "ISO_IR 192"),
                ("Yamada^Tarou=山田^太郎", "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
                ("Hong^Gildong=洪^吉洞", "\\ISO 2022 IR 149", "\\ISO 2022 IR 149"),
                ("Buc^Jérôme", "ISO_IR 100", "ISO_IR 100"),
                ("Doe^John", "", ""),
            ] {
                let bytes = write(&named(name), syntax, requested);
                let found = read(&bytes, syntax).unwrap();
                assert_eq!(found.charset, expected, "{name} {}", syntax.name());
                let name_tag = tag::tag(0x0010, 0x0010);
                assert_eq!(text(&found.attributes, name_tag), name, "{requested}");
                let codes = items(&found.attributes, tag::tag(0x0032, 0x1064));
                assert_eq!(text(codes[0], tag::tag(0x0008, 0x0100)), "CT");
                assert_eq!(text(&found.attributes, tag::tag(0x0028, 0x0010)), "513");
                assert!(!has_value(&found.attributes, tag::tag(0x0008, 0x0050)));
                assert_eq!(bytes.len() % 2, 0);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_unreadable() {
        for bytes in [&b"\x08\0\x05\0CS\xFF\xFF"[..], b"\x08", &[0xFF; 64]] {
            assert!(read(bytes, TransferSyntax::EXPLICIT_LITTLE).is_err());
        }
        assert!(read(b"", TransferSyntax::EXPLICIT_LITTLE).unwrap().attributes.is_empty());
    }
}
