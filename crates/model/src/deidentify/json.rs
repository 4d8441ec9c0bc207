//! The same rules for metadata in DICOM JSON (PS3.18 annex F), as the catalog keeps it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::edit::{Editor, Fate, SequenceFate};
use super::identity::{Identity, Subject};
use super::rules::Action;
use super::{Deidentification, Options};
use crate::charset::Knowledge;
use crate::dataset::vr::{self, VR};
use crate::dataset::{Change, Changes, Element};
use crate::header::BASE_URL_MARK;
use crate::tag::Tag;

/// How the mark stands in JSON that other readers accept.
const ESCAPED_MARK: &str = "\\u0001";

impl Deidentification {
    /// De-identifies a header in DICOM JSON, and says what kind of object it is of; URLs of bulk
    /// values keep their mark.
    ///
    /// # Errors
    ///
    /// It is not a JSON object.
    pub fn json(&self, header: &[u8]) -> Result<(Vec<u8>, Subject), serde_json::Error> {
        let mut text = Vec::with_capacity(header.len() + 256);
        for byte in header {
            match *byte {
                BASE_URL_MARK => text.extend_from_slice(ESCAPED_MARK.as_bytes()),
                byte => text.push(byte),
            }
        }
        let data_set: Map<String, Value> = serde_json::from_slice(&text)?;
        let mut identity = Identity::default();
        note(&mut identity, &data_set, true, &self.options);
        let identity = Arc::new(identity);
        let mut editor = self.editor(Arc::clone(&identity), Knowledge::default());
        let mut edited = edit(&mut editor, data_set);
        for (tag, change) in self.changes(&identity, false) {
            if let Some(value) = changed(&change) {
                edited.insert(tag.to_string(), value);
            }
        }
        let mut ordered: Vec<(String, Value)> = edited.into_iter().collect();
        ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
        let ordered: Map<String, Value> = ordered.into_iter().collect();
        let text = serde_json::to_string(&ordered)?;
        let json = text.replace(ESCAPED_MARK, "\u{1}").into_bytes();
        Ok((json, identity.subject().clone()))
    }
}

fn read_vr(element: &Value) -> VR {
    let letters = element.get("vr").and_then(Value::as_str).unwrap_or_default().as_bytes();
    match letters {
        [a, b] => vr::from_letters([*a, *b]).unwrap_or(VR::UN),
        _ => VR::UN,
    }
}

fn values(element: &Value) -> &[Value] {
    element.get("Value").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// One value as a data set would have it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(groups) => ["Alphabetic", "Ideographic", "Phonetic"]
            .iter()
            .map(|group| groups.get(*group).and_then(Value::as_str).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("=")
            .trim_end_matches('=')
            .to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn note(
    identity: &mut Identity,
    data_set: &Map<String, Value>,
    outermost: bool,
    options: &Options,
) {
    for (name, element) in data_set {
        let Some(tag) = Tag::from_hex(name) else { continue };
        let vr = read_vr(element);
        if outermost {
            identity.note_presence(tag);
        }
        if vr == VR::SQ {
            for item in values(element).iter().filter_map(Value::as_object) {
                note(identity, item, false, options);
            }
            continue;
        }
        let joined: Vec<String> = values(element).iter().map(text).collect();
        if let (true, Some(number)) = (outermost, values(element).first().and_then(Value::as_u64)) {
            identity.note_number(tag, u32::try_from(number).unwrap_or(0));
        }
        identity.note(tag, vr, &joined.join("\\"), outermost, options);
    }
}

fn edit(editor: &mut Editor, data_set: Map<String, Value>) -> Map<String, Value> {
    let mut edited = Map::new();
    for (name, mut value) in data_set {
        let Some(tag) = Tag::from_hex(&name) else { continue };
        let vr = read_vr(&value);
        if vr == VR::SQ {
            match editor.sequence(tag) {
                SequenceFate::Remove => continue,
                SequenceFate::Set(items) => value = sequence(&items),
                SequenceFate::Keep => {
                    if let Some(Value::Array(items)) = value.get_mut("Value") {
                        for item in items.iter_mut() {
                            editor.item_start();
                            if let Value::Object(inner) = item.take() {
                                *item = Value::Object(edit(editor, inner));
                            }
                            editor.item_end();
                        }
                    }
                    editor.sequence_end();
                }
            }
            edited.insert(name, value);
            continue;
        }
        if let Some(value) = edit_element(editor, tag, vr, value) {
            edited.insert(name, value);
        }
    }
    edited
}

fn edit_element(editor: &mut Editor, tag: Tag, vr: VR, value: Value) -> Option<Value> {
    let element = Element { tag, vr, offset: 0, length: 0, big_endian: false };
    match editor.element(&element) {
        Fate::Copy => return Some(value),
        Fate::Remove => return None,
        Fate::Set(_) => return Some(json!({ "vr": vr.to_string() })),
        Fate::Read => {}
    }
    let joined = values(&value).iter().map(text).collect::<Vec<_>>().join("\\");
    if tag.is_private() {
        let keep = editor.value(&element, joined.as_bytes()) == Fate::Copy;
        return keep.then_some(value);
    }
    if tag == crate::tag::SPECIFIC_CHARACTER_SET {
        return Some(value);
    }
    let action = editor.action(tag, vr);
    let new = match action {
        Action::Keep => match editor.cleaned(&joined) {
            None => return Some(value),
            Some(cleaned) => cleaned,
        },
        // What lies outside of the header, or is a number.
        _ => editor.replaced(tag, vr, action, &joined)?,
    };
    Some(element_of(vr, &new))
}

fn element_of(vr: VR, text: &str) -> Value {
    if text.is_empty() {
        return json!({ "vr": vr.to_string() });
    }
    let single = matches!(vr, VR::LT | VR::ST | VR::UT | VR::UR);
    let parts: Vec<&str> = if single { vec![text] } else { text.split('\\').collect() };
    let values: Vec<Value> = parts
        .into_iter()
        .map(|part| match vr {
            VR::PN => json!({ "Alphabetic": part }),
            _ => Value::from(part),
        })
        .collect();
    json!({ "vr": vr.to_string(), "Value": values })
}

fn sequence(items: &[Changes]) -> Value {
    let object = |item: &Changes| {
        let members = item.iter();
        let members = members.filter_map(|(tag, change)| Some((tag.to_string(), changed(change)?)));
        Value::Object(members.collect())
    };
    let items: Vec<Value> = items.iter().map(object).collect();
    if items.is_empty() { json!({ "vr": "SQ" }) } else { json!({ "vr": "SQ", "Value": items }) }
}

/// A change as JSON; those of de-identification are texts and sequences.
fn changed(change: &Change) -> Option<Value> {
    match change {
        Change::Set(vr, value) => Some(element_of(*vr, &String::from_utf8_lossy(value))),
        Change::AddItem(item) => Some(sequence(std::slice::from_ref(item))),
        Change::Items(items) => Some(sequence(items)),
        Change::Remove => None,
    }
}
