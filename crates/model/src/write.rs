//! DICOM JSON (PS3.18 annex F) to a data set in Explicit or Implicit VR Little Endian.
//!
//! Without recursion. Bulk values stay where they are: the result is a list of pieces, some of them
//! bytes, some of them names of bulk values that the caller copies in between, so that an object of
//! any size is written with little memory. Text goes out in UTF-8, and (0008,0005) says so, unless
//! another character set is asked for that has every character. Sequences and items have undefined length, since the length of what they hold is not known before.

use serde_json::{Map, Value};

use crate::charset::{Repertoire, TextKind};
use crate::dataset::Limits;
use crate::dataset::vr::{self, VR};
use crate::header::Warning;
use crate::tag::{self, Tag};

mod pixels;
#[cfg(test)]
mod tests;
pub(crate) mod value;

/// A value that the JSON names by a BulkDataURI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bulk {
    /// The bytes of the value, little endian.
    Plain(Part),
    /// Compressed frames, each of which becomes one fragment behind an offset table.
    Frames(Vec<Part>),
    /// One stream (MPEG), which becomes one fragment behind an empty offset table.
    Stream(Part),
}

/// Bytes that the caller holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The caller's own name for them.
    pub name: usize,
    /// How many they are.
    pub length: u64,
}

/// What the data set consists of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The caller's bytes.
    Part(Part),
}

/// A data set, written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// The data set.
    pub pieces: Vec<Piece>,
    /// Attributes that were left out because their values cannot be written.
    pub discarded: Vec<Warning>,
}

/// Why JSON is not a data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct WriteError {
    /// Where: `GGGGEEEE`, or `GGGGEEEE/0/GGGGEEEE` inside sequences, items counted from 0.
    pub path: String,
    /// What is wrong, without the value.
    pub reason: String,
}

/// What to do about an attribute whose value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Give up.
    Strict,
    /// Leave it out and say so, unless the object would be meaningless without it.
    Lenient,
}

/// How a data set is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Without value representations: Implicit VR Little Endian (PS3.5 section 7.1.3).
    pub implicit: bool,
    /// The character set of its text.
    pub repertoire: Repertoire,
}

impl Form {
    /// Explicit VR Little Endian, UTF-8.
    pub const STORED: Self = Self { implicit: false, repertoire: Repertoire::UTF_8 };
}

/// Writes a data set that is sent in answer to a peer, all of it in memory.
///
/// # Errors
///
/// As [`fn@write`]; also for a value that is behind a BulkDataURI, and for text that the character set
/// of `form` has no place for.
pub fn answer(json: &Map<String, Value>, form: &Form) -> Result<Vec<u8>, WriteError> {
    let written = write_as(json, &|_| None, &Limits::default(), Strictness::Strict, form)?;
    let mut bytes = Vec::new();
    for piece in written.pieces {
        if let Piece::Bytes(piece) = piece {
            bytes.extend(piece);
        }
    }
    Ok(bytes)
}

/// Writes a data set in Explicit VR Little Endian and UTF-8.
///
/// `bulk` finds the value of a BulkDataURI. Group 0002 and group lengths are passed over: file meta
/// information is written by [`crate::file_meta`].
///
/// # Errors
///
/// The path of what is wrong and why: a key that is no tag, a value that its VR cannot hold, a bulk
/// value that is not there, or more than `limits` allow.
pub fn write(
    json: &Map<String, Value>,
    bulk: &dyn Fn(&str) -> Option<Bulk>,
    limits: &Limits,
    strictness: Strictness,
) -> Result<Written, WriteError> {
    write_as(json, bulk, limits, strictness, &Form::STORED)
}

fn write_as(
    json: &Map<String, Value>,
    bulk: &dyn Fn(&str) -> Option<Bulk>,
    limits: &Limits,
    strictness: Strictness,
    form: &Form,
) -> Result<Written, WriteError> {
    let mut writer = Writer {
        out: Out { implicit: form.implicit, ..Out::default() },
        bulk,
        limits,
        repertoire: &form.repertoire,
        strictness,
        discarded: Vec::new(),
        elements: 0,
    };
    writer.run(json)?;
    let discarded = writer.discarded;
    Ok(Written { pieces: writer.out.finish(), discarded })
}

/// Pieces being written.
#[derive(Default)]
struct Out {
    implicit: bool,
    done: Vec<Piece>,
    bytes: Vec<u8>,
}

impl Out {
    fn part(&mut self, part: Part) {
        if !self.bytes.is_empty() {
            self.done.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        }
        if part.length > 0 {
            self.done.push(Piece::Part(part));
        }
    }

    fn tag(&mut self, tag: Tag) {
        self.bytes.extend_from_slice(&tag.group.to_le_bytes());
        self.bytes.extend_from_slice(&tag.element.to_le_bytes());
    }

    /// An item or delimiter: a tag and a length, no VR.
    fn mark(&mut self, tag: Tag, length: u32) {
        self.tag(tag);
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    /// Tag, VR and length of an element (PS3.5 section 7.1.2).
    fn header(&mut self, tag: Tag, vr: VR, length: u32) -> Result<(), String> {
        let short = u16::try_from(length);
        if self.implicit {
            self.mark(tag, length);
            return Ok(());
        }
        self.tag(tag);
        self.bytes.extend_from_slice(vr.to_string().as_bytes());
        if vr::has_long_length(vr) {
            self.bytes.extend_from_slice(&[0, 0]);
            self.bytes.extend_from_slice(&length.to_le_bytes());
        } else {
            let short = short.map_err(|_| too_long(vr))?;
            self.bytes.extend_from_slice(&short.to_le_bytes());
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.bytes.is_empty() {
            self.done.push(Piece::Bytes(self.bytes));
        }
        self.done
    }
}

fn too_long(vr: VR) -> String {
    format!("the value is longer than a {vr} can be")
}

/// Undefined length (PS3.5 section 7.5).
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// An open item, or the data set itself.
struct Level<'a> {
    /// What is left of it.
    elements: std::vec::IntoIter<(Tag, &'a Value)>,
    /// What is left of its sequence.
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
    /// Path of its sequence with a slash behind it; empty for the data set.
    sequence: String,
    /// Path of itself with a slash behind it.
    path: String,
}

struct Writer<'a> {
    out: Out,
    bulk: &'a dyn Fn(&str) -> Option<Bulk>,
    limits: &'a Limits,
    repertoire: &'a Repertoire,
    strictness: Strictness,
    discarded: Vec<Warning>,
    elements: usize,
}

impl Writer<'_> {
    fn run(&mut self, json: &Map<String, Value>) -> Result<(), WriteError> {
        let mut elements = sorted(json, "")?;
        // What the metadata says of the encoding that the text once had counts no more.
        let terms: Vec<&str> = self.repertoire.terms().collect();
        let charset = Value::Object(Map::from_iter([
            ("vr".to_owned(), Value::from("CS")),
            ("Value".to_owned(), Value::from(terms.clone())),
        ]));
        elements.retain(|(tag, _)| *tag != tag::SPECIFIC_CHARACTER_SET);
        if !terms.is_empty() {
            let at = elements.partition_point(|(tag, _)| *tag < tag::SPECIFIC_CHARACTER_SET);
            elements.insert(at, (tag::SPECIFIC_CHARACTER_SET, &charset));
        }
        let mut levels = vec![Level {
            elements: elements.into_iter(),
            items: [].iter().enumerate(),
            sequence: String::new(),
            path: String::new(),
        }];
        while let Some(level) = levels.last_mut() {
            if let Some((tag, value)) = level.elements.next() {
                let path = format!("{}{tag}", level.path);
                if let Some(nested) = self.element(tag, value, path, levels.len())? {
                    levels.push(nested);
                }
                continue;
            }
            if !level.path.is_empty() {
                self.out.mark(tag::ITEM_DELIMITATION, 0);
            }
            if self.next_item(level)? {
                continue;
            }
            if !level.sequence.is_empty() {
                self.out.mark(tag::SEQUENCE_DELIMITATION, 0);
            }
            levels.pop();
        }
        Ok(())
    }

    /// Opens the next item of the level's sequence; false after the last.
    fn next_item<'v>(&mut self, level: &mut Level<'v>) -> Result<bool, WriteError> {
        let Some((index, item)) = level.items.next() else { return Ok(false) };
        let path = format!("{}{index}", level.sequence);
        let elements = match item {
            Value::Object(item) => sorted(item, &format!("{path}/"))?,
            Value::Null => Vec::new(),
            _ => return Err(WriteError { path, reason: "an item is an object".into() }),
        };
        self.out.mark(tag::ITEM, UNDEFINED);
        level.elements = elements.into_iter();
        level.path = path + "/";
        Ok(true)
    }

    /// Writes one element; a sequence is opened and returned, its items follow.
    fn element<'v>(
        &mut self,
        tag: Tag,
        json: &'v Value,
        path: String,
        depth: usize,
    ) -> Result<Option<Level<'v>>, WriteError> {
        self.elements += 1;
        if self.elements > self.limits.max_elements {
            return Err(WriteError { path, reason: "more data elements than are taken".into() });
        }
        let nested = depth > 1;
        if is_passed_over(tag, nested) {
            return Ok(None);
        }
        let fail = |reason: String| WriteError { path: path.clone(), reason };
        let (vr, content) = match content(tag, json) {
            Ok(read) => read,
            Err(reason) => return self.leave_out(tag, &path, nested, reason).map(|()| None),
        };
        match content {
            Content::Items(items) => {
                if depth > self.limits.max_depth {
                    return Err(fail("sequences are nested deeper than is taken".into()));
                }
                self.out.header(tag, VR::SQ, UNDEFINED).map_err(fail)?;
                let sequence = path + "/";
                let mut level = Level {
                    elements: Vec::new().into_iter(),
                    items: items.iter().enumerate(),
                    sequence,
                    path: String::new(),
                };
                if self.next_item(&mut level)? {
                    return Ok(Some(level));
                }
                self.out.mark(tag::SEQUENCE_DELIMITATION, 0);
                Ok(None)
            }
            Content::Bulk(uri) => {
                let Some(found) = (self.bulk)(uri) else {
                    return Err(fail("the value that its BulkDataURI names was not sent".into()));
                };
                pixels::write(&mut self.out, tag, vr, found, nested).map_err(fail)?;
                Ok(None)
            }
            Content::Bytes(bytes) => {
                let start = self.out.bytes.len();
                let encoded = self.encode(vr, bytes);
                match encoded.and_then(|bytes| self.plain(tag, vr, &bytes)) {
                    Ok(()) => Ok(None),
                    Err(reason) => {
                        self.out.bytes.truncate(start);
                        self.leave_out(tag, &path, nested, reason).map(|()| None)
                    }
                }
            }
        }
    }

    /// Text in the character set of the data set. Other values stay as they are.
    fn encode(&self, vr: VR, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let kind = match vr {
            VR::PN => TextKind::PersonName,
            VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UT => TextKind::Text,
            _ => return Ok(bytes),
        };
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(bytes) };
        let encoded = self.repertoire.encode(text, kind);
        encoded.ok_or_else(|| "the character set has no place for the text".into())
    }

    fn plain(&mut self, tag: Tag, vr: VR, bytes: &[u8]) -> Result<(), String> {
        let odd = bytes.len() % 2;
        let length = u32::try_from(bytes.len() + odd).map_err(|_| too_long(vr))?;
        self.out.header(tag, vr, length)?;
        self.out.bytes.extend_from_slice(bytes);
        if odd == 1 {
            self.out.bytes.push(value::padding(vr));
        }
        Ok(())
    }

    /// Notes that an element is left out, or fails when that must not be.
    fn leave_out(
        &mut self,
        tag: Tag,
        path: &str,
        nested: bool,
        reason: String,
    ) -> Result<(), WriteError> {
        if self.strictness == Strictness::Strict || (!nested && is_essential(tag)) {
            return Err(WriteError { path: path.to_owned(), reason });
        }
        self.discarded.push(Warning { tag: Some(tag), message: format!("{path}: {reason}") });
        Ok(())
    }
}

/// Whether an object means nothing, or something else, without the attribute: identity and pixels.
fn is_essential(tag: Tag) -> bool {
    matches!(
        tag,
        tag::SOP_CLASS_UID
            | tag::SOP_INSTANCE_UID
            | tag::STUDY_INSTANCE_UID
            | tag::SERIES_INSTANCE_UID
            | tag::PATIENT_ID
            | tag::ENCAPSULATED_DOCUMENT
    ) || matches!(tag.group, 0x0028 | 0x7FE0)
}

/// Not part of a data set, or written by ourselves.
fn is_passed_over(tag: Tag, nested: bool) -> bool {
    // (FFFC,FFFC) is padding; see PS3.5 section 7.2 for group lengths.
    tag.group == 0x0002
        || tag.is_group_length()
        || tag.group == 0xFFFC
        || (nested && tag == tag::SPECIFIC_CHARACTER_SET)
}

/// Elements in the order of a data set.
fn sorted<'v>(
    json: &'v Map<String, Value>,
    path: &str,
) -> Result<Vec<(Tag, &'v Value)>, WriteError> {
    let mut elements = Vec::with_capacity(json.len());
    for (key, value) in json {
        let wrong = |reason: &str| {
            let shown: String = key.chars().filter(char::is_ascii_graphic).take(32).collect();
            WriteError { path: format!("{path}{shown}"), reason: reason.to_owned() }
        };
        let tag = Tag::from_hex(key).ok_or_else(|| wrong("not a tag of eight digits"))?;
        if matches!(tag.group, 0x0000 | 0xFFFE | 0xFFFF) {
            return Err(wrong("this group cannot stand in a data set"));
        }
        elements.push((tag, value));
    }
    elements.sort_unstable_by_key(|(tag, _)| *tag);
    if let Some(pair) = elements.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let path = format!("{path}{}", pair[0].0);
        return Err(WriteError { path, reason: "the attribute stands here twice".into() });
    }
    Ok(elements)
}

/// What an element's JSON object holds.
enum Content<'v> {
    Items(&'v [Value]),
    Bulk(&'v str),
    Bytes(Vec<u8>),
}

fn content(tag: Tag, json: &Value) -> Result<(VR, Content<'_>), String> {
    let Value::Object(element) = json else { return Err("an attribute is an object".into()) };
    let vr = match element.get("vr") {
        Some(Value::String(letters)) => {
            let bytes: Option<[u8; 2]> = letters.as_bytes().try_into().ok();
            bytes.and_then(vr::from_letters).ok_or("vr is not a value representation")?
        }
        Some(_) => return Err("vr is not a value representation".into()),
        None => vr::lookup(tag, false),
    };
    let held: Vec<&str> = ["Value", "InlineBinary", "BulkDataURI"]
        .into_iter()
        .filter(|key| element.get(*key).is_some_and(|value| !value.is_null()))
        .collect();
    if held.len() > 1 {
        return Err(format!("{} exclude each other", held.join(" and ")));
    }
    let content = match held.first().and_then(|key| Some((*key, element.get(*key)?))) {
        None if vr == VR::SQ => Content::Items(&[]),
        None => Content::Bytes(Vec::new()),
        Some(("Value", Value::Array(values))) if vr == VR::SQ => Content::Items(values),
        Some(("Value", Value::Array(values))) => Content::Bytes(value::bytes(vr, values)?),
        Some(("Value", _)) => return Err("Value is an array".into()),
        Some((key, _)) if vr == VR::SQ => return Err(format!("a sequence has no {key}")),
        Some(("BulkDataURI", Value::String(uri))) => Content::Bulk(uri),
        Some(("InlineBinary", Value::String(text))) => {
            Content::Bytes(value::base64(text).ok_or("InlineBinary is not base64")?)
        }
        Some((key, _)) => return Err(format!("{key} is a string")),
    };
    if let Content::Bytes(bytes) = &content
        && !bytes.len().is_multiple_of(vr::word_size(vr))
    {
        return Err(format!("the length is not a multiple of {}", vr::word_size(vr)));
    }
    Ok((vr, content))
}
