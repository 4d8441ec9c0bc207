//! Small data sets that are asked with and answered: identifiers of C-FIND, C-GET and C-MOVE (PS3.4
//! sections C.4.1 to C.4.3), procedure steps. As DICOM JSON objects inside, in the peer's transfer
//! syntax and character set outside.

use serde_json::{Map, Value, json};

use crate::charset::Repertoire;
use crate::dataset::{Limits, SliceSource};
use crate::syntax::Encoding;
use crate::tag::{self, Tag};
use crate::write::{Form, WriteError, answer};
use crate::{TransferSyntax, json};

/// (0008,0052).
pub const QUERY_RETRIEVE_LEVEL: Tag = tag::tag(0x0008, 0x0052);
/// (0008,0054).
pub const RETRIEVE_AE_TITLE: Tag = tag::tag(0x0008, 0x0054);
/// (0008,0058).
pub const FAILED_SOP_INSTANCES: Tag = tag::tag(0x0008, 0x0058);
/// (0020,1200).
pub const NUMBER_OF_PATIENT_RELATED_STUDIES: Tag = tag::tag(0x0020, 0x1200);
/// (0020,1202).
pub const NUMBER_OF_PATIENT_RELATED_SERIES: Tag = tag::tag(0x0020, 0x1202);
/// (0020,1204).
pub const NUMBER_OF_PATIENT_RELATED_INSTANCES: Tag = tag::tag(0x0020, 0x1204);

/// Where in the hierarchy a query or retrieval stands: (0008,0052).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryLevel {
    /// `PATIENT`.
    Patient,
    /// `STUDY`.
    Study,
    /// `SERIES`.
    Series,
    /// `IMAGE`.
    Image,
}

impl QueryLevel {
    /// As it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "PATIENT",
            Self::Study => "STUDY",
            Self::Series => "SERIES",
            Self::Image => "IMAGE",
        }
    }

    /// From the word; some old peers write `INSTANCE`.
    pub fn parse(word: &str) -> Option<Self> {
        match word.trim() {
            "PATIENT" => Some(Self::Patient),
            "STUDY" => Some(Self::Study),
            "SERIES" => Some(Self::Series),
            "IMAGE" | "INSTANCE" => Some(Self::Image),
            _ => None,
        }
    }
}

/// Most bytes that a deflated identifier may inflate to.
const MAX_INFLATED: u64 = 16 << 20;

/// Most sequences inside each other.
const MAX_DEPTH: usize = 16;

/// A data set that came with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Identifier {
    /// DICOM JSON object, texts in UTF-8. Binary values are left out.
    pub attributes: Map<String, Value>,
    /// Specific Character Set (0008,0005) as the peer wrote it; empty for none.
    pub charset: String,
    /// Whether binary values were left out, which nothing can be compared with.
    pub is_partial: bool,
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
        max_elements: 1_000_000,
        max_json: 64 << 20,
        max_fragments: 1,
        max_inflated: MAX_INFLATED,
        ..Limits::default()
    };
    let found = json::document(&mut SliceSource::new(bytes), syntax, &limits);
    let found = found.map_err(|_| Unreadable)?;
    let Ok(Value::Object(attributes)) = serde_json::from_slice(&found.json) else {
        return Err(Unreadable);
    };
    let charset = found.charset.unwrap_or_default().trim_end_matches([' ', '\0']).to_owned();
    let mut is_partial = false;
    let attributes = without_binary(attributes, &mut is_partial);
    Ok(Identifier { attributes, charset, is_partial })
}

/// Depth is bounded by what was read.
fn without_binary(attributes: Map<String, Value>, is_partial: &mut bool) -> Map<String, Value> {
    let keep = |(name, mut element): (String, Value)| {
        let object = element.as_object_mut()?;
        if object.contains_key("InlineBinary") || object.contains_key("BulkDataURI") {
            *is_partial = true;
            return None;
        }
        if object.get("vr").and_then(Value::as_str) == Some("SQ")
            && let Some(items) = object.get_mut("Value").and_then(Value::as_array_mut)
        {
            for item in items {
                if let Value::Object(attributes) = item {
                    *attributes = without_binary(std::mem::take(attributes), is_partial);
                }
            }
        }
        Some((name, element))
    };
    attributes.into_iter().filter_map(keep).collect()
}

impl Identifier {
    /// Every attribute with its tag and JSON object.
    pub fn all(&self) -> impl Iterator<Item = (Tag, &Value)> {
        attributes(&self.attributes)
    }

    /// The text of an attribute's value, several values joined by backslashes; `None` when it is absent
    /// or empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        Some(joined(self.attributes.get(&tag.to_string())?)).filter(|text| !text.is_empty())
    }

    /// The level of a query or retrieval; `None` when it is absent or no level.
    pub fn level(&self) -> Option<QueryLevel> {
        QueryLevel::parse(&self.text(QUERY_RETRIEVE_LEVEL)?)
    }

    /// In which form an answer is understood: the syntax of the context that it goes out on, and the
    /// character set that was asked in. What has no place in it goes out in UTF-8, see [`Answer`].
    pub fn form(&self, syntax: TransferSyntax) -> Form {
        form(syntax, &self.charset)
    }
}

fn form(syntax: TransferSyntax, charset: &str) -> Form {
    let repertoire = Repertoire::parse(charset).unwrap_or(Repertoire::UTF_8);
    Form { implicit: syntax.encoding() == Encoding::ImplicitLittle, repertoire }
}

/// The attributes of a DICOM JSON object with their tags.
pub fn attributes(members: &Map<String, Value>) -> impl Iterator<Item = (Tag, &Value)> {
    members.iter().filter_map(|(key, value)| Some((Tag::from_hex(key)?, value)))
}

/// The text of a DICOM JSON attribute as it would stand in a data set, several values joined by
/// backslashes. Empty for sequences and binary values.
pub fn joined(value: &Value) -> String {
    let values = value.get("Value").and_then(Value::as_array);
    values.into_iter().flatten().map(plain).collect::<Vec<_>>().join("\\")
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

/// Writes a data set in Implicit or Explicit VR Little Endian. Text is written in the character set
/// that the peer asked with (`requested`, the value of (0008,0005)), where all of it fits that, else in
/// UTF-8; (0008,0005) says which. What no data set can hold is left out.
pub fn write(attributes: &Map<String, Value>, syntax: TransferSyntax, requested: &str) -> Vec<u8> {
    let answer = Answer { members: attributes.clone() };
    answer.encode(&form(syntax, requested)).unwrap_or_default()
}

/// An answer as DICOM JSON, and how it is encoded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    members: Map<String, Value>,
}

impl Answer {
    /// Sets an attribute to a DICOM JSON object.
    pub fn set(&mut self, tag: Tag, value: Value) {
        self.members.insert(tag.to_string(), value);
    }

    /// Sets an attribute to texts.
    pub fn set_text<'a>(&mut self, tag: Tag, vr: &str, values: impl IntoIterator<Item = &'a str>) {
        let values: Vec<&str> = values.into_iter().collect();
        self.set(
            tag,
            if values.is_empty() {
                json!({ "vr": vr })
            } else {
                json!({ "vr": vr, "Value": values })
            },
        );
    }

    /// Sets an attribute to a number.
    pub fn set_number(&mut self, tag: Tag, vr: &str, value: i64) {
        self.set(tag, json!({ "vr": vr, "Value": [value] }));
    }

    /// Whether it has an attribute.
    pub fn has(&self, tag: Tag) -> bool {
        self.members.contains_key(&tag.to_string())
    }

    /// The bytes in `form`; in UTF-8 when the character set has no place for the text. (0008,0005) says
    /// which of them it is. Values that cannot be written in the VR that they have are left empty: an
    /// answer without one attribute is better than none.
    ///
    /// # Errors
    ///
    /// What is wrong with the JSON.
    pub fn encode(mut self, form: &Form) -> Result<Vec<u8>, WriteError> {
        let utf8 = Form { repertoire: Repertoire::UTF_8, ..form.clone() };
        loop {
            let error = match answer(&self.members, form) {
                Ok(bytes) => return Ok(bytes),
                Err(_) => match answer(&self.members, &utf8) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => error,
                },
            };
            let outermost = error.path.get(..8).unwrap_or_default().to_owned();
            match self.members.get_mut(&outermost).and_then(Value::as_object_mut) {
                Some(member) if member.len() > 1 => member.retain(|key, _| key == "vr"),
                _ => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPLICIT: TransferSyntax = TransferSyntax::IMPLICIT_LITTLE;
    const EXPLICIT: TransferSyntax = TransferSyntax::EXPLICIT_LITTLE;

    fn element(group: u16, element: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
        bytes
    }

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
        for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] {
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

    #[test]
    fn keys_are_read_in_the_character_set_that_is_declared() {
        let bytes = [
            element(0x0008, 0x0005, b"GB18030 "),
            element(0x0008, 0x0052, b"STUDY "),
            element(0x0010, 0x0010, b"\xcd\xf5*\0"),
            element(0x0020, 0x000D, b"1.2\\1.3\0"),
            element(0x0020, 0x0013, b"7 "),
        ]
        .concat();
        let identifier = read(&bytes, IMPLICIT).unwrap();
        assert_eq!(identifier.level(), Some(QueryLevel::Study));
        assert_eq!(identifier.text(tag::PATIENT_NAME).as_deref(), Some("王*"));
        assert_eq!(texts(&identifier.attributes, tag::STUDY_INSTANCE_UID), ["1.2", "1.3"]);
        assert_eq!(identifier.text(tag::INSTANCE_NUMBER).as_deref(), Some("7"));
        assert_eq!(identifier.text(tag::PATIENT_ID), None);
        let form = identifier.form(IMPLICIT);
        assert!(form.implicit);
        assert_eq!(form.repertoire.terms().collect::<Vec<_>>(), ["GB18030"]);
    }

    #[test]
    fn wildcards_and_ranges_of_any_attribute_are_kept() {
        let bytes = [
            element(0x0008, 0x0020, b"20240101-20240131 "),
            element(0x0020, 0x0013, b"* "),
            element(0x0028, 0x0010, b""),
        ]
        .concat();
        let identifier = read(&bytes, IMPLICIT).unwrap();
        assert_eq!(identifier.text(tag::STUDY_DATE).as_deref(), Some("20240101-20240131"));
        assert_eq!(identifier.text(tag::INSTANCE_NUMBER).as_deref(), Some("*"));
        assert_eq!(identifier.all().count(), 3);
    }

    #[test]
    fn answers_are_in_the_character_set_that_was_asked_in_if_it_has_every_character() {
        let mut answer = Answer::default();
        answer.set(tag::PATIENT_NAME, json!({"vr": "PN", "Value": [{"Alphabetic": "王^五"}]}));
        answer.set_text(QUERY_RETRIEVE_LEVEL, "CS", ["STUDY"]);
        for (asked, expected, name) in [
            ("GB18030", "GB18030", &b"\xcd\xf5^\xce\xe5\0"[..5]),
            ("ISO_IR 100", "ISO_IR 192", "王^五".as_bytes()),
            ("ISO_IR 192", "ISO_IR 192", "王^五".as_bytes()),
            ("", "ISO_IR 192", "王^五".as_bytes()),
        ] {
            for implicit in [false, true] {
                let repertoire = Repertoire::parse(asked).unwrap();
                let bytes = answer.clone().encode(&Form { implicit, repertoire }).unwrap();
                assert!(bytes.windows(name.len()).any(|window| window == name), "{asked}");
                let syntax = if implicit { IMPLICIT } else { EXPLICIT };
                let again = read(&bytes, syntax).unwrap();
                assert_eq!(again.text(tag::PATIENT_NAME).as_deref(), Some("王^五"));
                assert_eq!(again.form(syntax).repertoire.terms().collect::<Vec<_>>(), [expected]);
                assert_eq!(again.level(), Some(QueryLevel::Study));
            }
        }
    }

    #[test]
    fn plain_answers_declare_nothing_and_impossible_values_are_left_empty() {
        let mut answer = Answer::default();
        answer.set_text(tag::PATIENT_ID, "LO", ["P1"]);
        answer.set(tag::ROWS, json!({"vr": "US", "Value": ["many"]}));
        let form = Form { implicit: true, repertoire: Repertoire::DEFAULT };
        let bytes = answer.encode(&form).unwrap();
        let expected = [element(0x0010, 0x0020, b"P1"), element(0x0028, 0x0010, b"")].concat();
        assert_eq!(bytes, expected);
    }
}
