//! The data set of a workitem, from and to DICOM JSON (PS3.18 annex F).
//!
//! Bodies come from anybody: depth, number of values and length of texts are bounded, and nothing
//! but what annex F knows is taken. Bulk values have no place in a workitem (PS3.18 11.1.3).

use std::collections::BTreeMap;

use dicom_core::VR;
use serde_json::{Map, Value, json};

use crate::dataset::vr::from_letters;
use crate::tag::{self, Tag};

/// Sequences inside sequences.
const MAX_DEPTH: usize = 16;

/// Values of the whole data set, items counted too.
const MAX_VALUES: usize = 2_000;

/// Longest single text (bytes).
const MAX_TEXT: usize = 64 * 1024;

/// Why a body is not a data set of a workitem. The texts name attributes, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not JSON at all, or nested too deeply for it.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no object or array with one object.
    #[error("the body is not one DICOM JSON object")]
    NotOneObject,
    /// A member's name is no tag.
    #[error("a member's name is not a tag of eight hexadecimal digits")]
    NotATag,
    /// An element that is not what annex F describes.
    #[error("{0} is not a DICOM JSON element: {1}")]
    NotAnElement(Tag, &'static str),
    /// A limit is exceeded.
    #[error("the data set has {0}")]
    TooMuch(&'static str),
}

/// Values of an element.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Strings, numbers, nulls and the objects of person names, as annex F writes them.
    Plain(Vec<Value>),
    /// Items of a sequence.
    Items(Vec<DataSet>),
}

/// One attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// How the value is represented.
    pub vr: VR,
    /// The values; none for an empty attribute.
    pub content: Content,
}

/// Attributes by tag.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSet(BTreeMap<Tag, Element>);

impl DataSet {
    /// Reads one DICOM JSON object, or an array that holds one.
    ///
    /// # Errors
    ///
    /// See [`DataError`].
    pub fn parse(body: &[u8]) -> Result<Self, DataError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| DataError::NotJson)?;
        let object = match value {
            Value::Object(object) => object,
            Value::Array(values) => match <[Value; 1]>::try_from(values) {
                Ok([Value::Object(object)]) => object,
                _ => return Err(DataError::NotOneObject),
            },
            _ => return Err(DataError::NotOneObject),
        };
        Self::from_object(object, 0, &mut 0)
    }

    fn from_object(
        object: Map<String, Value>,
        depth: usize,
        count: &mut usize,
    ) -> Result<Self, DataError> {
        if depth > MAX_DEPTH {
            return Err(DataError::TooMuch("too many sequences inside each other"));
        }
        let mut set = BTreeMap::new();
        for (name, value) in object {
            let tag = Tag::from_hex(&name).ok_or(DataError::NotATag)?;
            if tag.group < 8 {
                let why = "groups below 0008 are not part of a data set";
                return Err(DataError::NotAnElement(tag, why));
            }
            // Group lengths say nothing here, and would be wrong after the first change.
            if !tag.is_group_length() {
                *count += 1;
                set.insert(tag, Element::read(tag, value, depth, count)?);
            }
        }
        Ok(Self(set))
    }

    /// The DICOM JSON object.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    fn to_value(&self) -> Value {
        let members = self.0.iter().map(|(tag, element)| {
            let mut object = json!({ "vr": element.vr.to_string() });
            let values: Vec<Value> = match &element.content {
                Content::Plain(values) => values.clone(),
                Content::Items(items) => items.iter().map(Self::to_value).collect(),
            };
            if !values.is_empty()
                && let Some(object) = object.as_object_mut()
            {
                object.insert("Value".to_owned(), Value::Array(values));
            }
            (tag.to_string(), object)
        });
        Value::Object(members.collect())
    }

    /// All attributes, in order of their tags.
    pub fn iter(&self) -> impl Iterator<Item = (Tag, &Element)> {
        self.0.iter().map(|(tag, element)| (*tag, element))
    }

    /// Whether there is no attribute.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One attribute.
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.0.get(&tag)
    }

    /// Whether the attribute is there, with a value or without.
    pub fn contains(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag)
    }

    /// Whether the attribute is there and has a value.
    pub fn has_value(&self, tag: Tag) -> bool {
        self.get(tag).is_some_and(|element| !element.is_empty())
    }

    /// The first value as text; empty where there is none.
    pub fn text(&self, tag: Tag) -> &str {
        match self.get(tag).map(|element| &element.content) {
            Some(Content::Plain(values)) => {
                values.first().and_then(Value::as_str).unwrap_or_default().trim_end()
            }
            _ => "",
        }
    }

    /// The items of a sequence; none where it is not there.
    pub fn items(&self, tag: Tag) -> &[Self] {
        match self.get(tag).map(|element| &element.content) {
            Some(Content::Items(items)) => items,
            _ => &[],
        }
    }

    /// Sets an attribute to one text.
    pub fn set_text(&mut self, tag: Tag, vr: VR, text: &str) {
        let content = Content::Plain(vec![Value::from(text)]);
        self.0.insert(tag, Element { vr, content });
    }

    /// Sets an attribute to one number.
    pub fn set_number(&mut self, tag: Tag, vr: VR, number: u64) {
        let content = Content::Plain(vec![Value::from(number)]);
        self.0.insert(tag, Element { vr, content });
    }

    /// Sets a sequence.
    pub fn set_items(&mut self, tag: Tag, items: Vec<Self>) {
        self.0.insert(tag, Element { vr: VR::SQ, content: Content::Items(items) });
    }

    /// Sets an attribute without value.
    pub fn set_empty(&mut self, tag: Tag, vr: VR) {
        let content = match vr {
            VR::SQ => Content::Items(Vec::new()),
            _ => Content::Plain(Vec::new()),
        };
        self.0.insert(tag, Element { vr, content });
    }

    /// Sets an attribute to what it is elsewhere.
    pub fn set(&mut self, tag: Tag, element: Element) {
        self.0.insert(tag, element);
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, tag: Tag) -> Option<Element> {
        self.0.remove(&tag)
    }

    /// The same attributes and no others.
    #[must_use]
    pub fn only(&self, keep: impl Fn(Tag) -> bool) -> Self {
        let kept = self.0.iter().filter(|(tag, _)| keep(**tag));
        Self(kept.map(|(tag, element)| (*tag, element.clone())).collect())
    }
}

impl Element {
    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            Content::Plain(values) => values.iter().all(|value| match value {
                Value::String(text) => text.trim().is_empty(),
                Value::Object(groups) => groups.is_empty(),
                other => other.is_null(),
            }),
            Content::Items(items) => items.is_empty(),
        }
    }

    fn read(tag: Tag, value: Value, depth: usize, count: &mut usize) -> Result<Self, DataError> {
        let wrong = |why| DataError::NotAnElement(tag, why);
        let Value::Object(mut object) = value else { return Err(wrong("it is no object")) };
        let vr = object.get("vr").and_then(Value::as_str).and_then(|letters| {
            let letters: [u8; 2] = letters.as_bytes().try_into().ok()?;
            from_letters(letters)
        });
        let vr = vr.ok_or_else(|| wrong("its vr is not one of PS3.5"))?;
        if object.contains_key("BulkDataURI") || object.contains_key("InlineBinary") {
            return Err(wrong("bulk values have no place in a workitem"));
        }
        let values = match object.remove("Value") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(wrong("Value is no array")),
        };
        *count += values.len();
        if *count > MAX_VALUES {
            return Err(DataError::TooMuch("too many values"));
        }
        if vr == VR::SQ {
            let items = values.into_iter().map(|value| match value {
                Value::Object(item) => DataSet::from_object(item, depth + 1, count),
                Value::Null => Ok(DataSet::default()),
                _ => Err(wrong("an item is no object")),
            });
            return Ok(Self { vr, content: Content::Items(items.collect::<Result<_, _>>()?) });
        }
        let values = values.into_iter().map(|value| plain(vr, value).map_err(wrong));
        Ok(Self { vr, content: Content::Plain(values.collect::<Result<_, _>>()?) })
    }
}

/// One value as annex F writes it for its VR.
fn plain(vr: VR, value: Value) -> Result<Value, &'static str> {
    match (vr, value) {
        (_, Value::Null) => Ok(Value::Null),
        (VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN, _) => {
            Err("binary values have no place in a workitem")
        }
        (VR::PN, Value::Object(groups)) => {
            let known = ["Alphabetic", "Ideographic", "Phonetic"];
            for (name, text) in &groups {
                let text = text.as_str().ok_or("a component group is no text")?;
                if !known.contains(&name.as_str()) {
                    return Err("a component group has another name than the three there are");
                }
                check_text(text)?;
            }
            Ok(Value::Object(groups))
        }
        // A plain string is not annex F, but what many send; it can only mean one thing.
        (VR::PN, Value::String(text)) => {
            check_text(&text)?;
            let groups = crate::name::groups(&text);
            let named = [
                ("Alphabetic", groups.alphabetic),
                ("Ideographic", groups.ideographic),
                ("Phonetic", groups.phonetic),
            ];
            let filled = named.into_iter().filter(|(_, text)| !text.is_empty());
            Ok(Value::Object(filled.map(|(name, text)| (name.to_owned(), text.into())).collect()))
        }
        (VR::PN, _) => Err("a person name is an object of component groups"),
        (_, Value::String(text)) => {
            check_text(&text)?;
            Ok(Value::String(text))
        }
        (
            VR::DS | VR::FD | VR::FL | VR::IS | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV,
            Value::Number(number),
        ) => Ok(Value::Number(number)),
        (_, Value::Number(number)) => Ok(Value::String(number.to_string())),
        _ => Err("a value is neither text nor number"),
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_TEXT {
        return Err("a text is too long");
    }
    if text.contains('\0') {
        return Err("a text holds a NUL");
    }
    Ok(())
}

/// Name of an attribute for people: its keyword, or its digits.
pub(crate) fn name_of(tag: Tag) -> String {
    tag.keyword().map_or_else(|| tag.to_string(), str::to_owned)
}

/// Tags that only workitems have.
pub(crate) mod tags {
    use super::Tag;
    use super::tag::tag;

    pub(crate) const TRANSACTION_UID: Tag = tag(0x0008, 0x1195);
    pub(crate) const CODE_VALUE: Tag = tag(0x0008, 0x0100);
    pub(crate) const CODING_SCHEME: Tag = tag(0x0008, 0x0102);
    pub(crate) const CODE_MEANING: Tag = tag(0x0008, 0x0104);
    pub(crate) const LONG_CODE_VALUE: Tag = tag(0x0008, 0x0119);
    pub(crate) const URN_CODE_VALUE: Tag = tag(0x0008, 0x0120);
    pub(crate) const START: Tag = tag(0x0040, 0x4005);
    pub(crate) const MODIFIED: Tag = tag(0x0040, 0x4010);
    pub(crate) const STATION_NAME: Tag = tag(0x0040, 0x4025);
    pub(crate) const HUMAN_PERFORMERS: Tag = tag(0x0040, 0x4034);
    pub(crate) const HUMAN_PERFORMER_CODE: Tag = tag(0x0040, 0x4009);
    pub(crate) const HUMAN_PERFORMER_ORGANIZATION: Tag = tag(0x0040, 0x4036);
    pub(crate) const READINESS: Tag = tag(0x0040, 0x4041);
    pub(crate) const CANCELED_AT: Tag = tag(0x0040, 0x4052);
    pub(crate) const STATE: Tag = tag(0x0074, 0x1000);
    pub(crate) const PROGRESS: Tag = tag(0x0074, 0x1002);
    pub(crate) const CONTACT_URI: Tag = tag(0x0074, 0x100A);
    pub(crate) const CONTACT_NAME: Tag = tag(0x0074, 0x100C);
    pub(crate) const DISCONTINUATION: Tag = tag(0x0074, 0x100E);
    pub(crate) const COMMUNICATIONS: Tag = tag(0x0074, 0x1008);
    pub(crate) const PRIORITY: Tag = tag(0x0074, 0x1200);
    pub(crate) const WORKLIST_LABEL: Tag = tag(0x0074, 0x1202);
    pub(crate) const LABEL: Tag = tag(0x0074, 0x1204);
    pub(crate) const PERFORMED: Tag = tag(0x0074, 0x1216);
    pub(crate) const REQUESTING_AE: Tag = tag(0x0074, 0x1236);
    pub(crate) const CANCEL_REASON: Tag = tag(0x0074, 0x1238);
    pub(crate) const PERFORMED_STATION_NAME: Tag = tag(0x0040, 0x4028);
    pub(crate) const PERFORMED_START: Tag = tag(0x0040, 0x4050);
    pub(crate) const PERFORMED_END: Tag = tag(0x0040, 0x4051);
    pub(crate) const PERFORMED_WORKITEM: Tag = tag(0x0040, 0x4019);
    pub(crate) const OUTPUT: Tag = tag(0x0040, 0x4033);
}
