//! DICOM JSON (PS3.18 annex F) as text: taking stored objects apart at their top level, putting
//! answers together, and setting the instance's URL into bulk data references.
//!
//! Stored objects were written by our own header reader, so nothing here parses values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use qianli_model::Tag;
use qianli_model::header::BASE_URL_MARK;

/// One data set on its way out: attribute to the JSON text of its value object, in tag order.
#[derive(Default)]
pub(crate) struct DataSet<'a>(BTreeMap<Tag, Cow<'a, str>>);

impl<'a> DataSet<'a> {
    /// Sets an attribute to a JSON value object.
    pub(crate) fn set(&mut self, tag: Tag, value: impl Into<Cow<'a, str>>) {
        self.0.insert(tag, value.into());
    }

    /// Sets an attribute to text values; none gives the empty attribute.
    pub(crate) fn set_text<'t>(
        &mut self,
        tag: Tag,
        vr: &str,
        values: impl IntoIterator<Item = &'t str>,
    ) {
        let values: Vec<String> = values.into_iter().map(quote).collect();
        self.set(tag, object(vr, &values));
    }

    /// Sets an attribute to one number.
    pub(crate) fn set_number(&mut self, tag: Tag, vr: &str, value: i64) {
        self.set(tag, object(vr, &[value.to_string()]));
    }

    /// Sets a sequence attribute.
    pub(crate) fn set_items(&mut self, tag: Tag, items: &[DataSet<'_>]) {
        let items: Vec<String> = items.iter().map(DataSet::to_json).collect();
        self.set(tag, object("SQ", &items));
    }

    /// Whether the attribute is set.
    pub(crate) fn contains(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag)
    }

    /// The data set as a JSON object.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.0.values().map(|v| v.len() + 16).sum());
        self.write(&mut json);
        json
    }

    /// Appends the data set as a JSON object.
    pub(crate) fn write(&self, json: &mut String) {
        json.push('{');
        for (index, (tag, value)) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push('"');
            json.push_str(&tag.to_string());
            json.push_str("\":");
            json.push_str(value);
        }
        json.push('}');
    }
}

/// The first number of a JSON value object, where it is a whole one.
pub(crate) fn number(value: &str) -> Option<u64> {
    let after = value.split_once('[')?.1.trim_start_matches('"');
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn object(vr: &str, values: &[String]) -> String {
    if values.is_empty() {
        // F.2.5: an attribute without value has neither "Value" nor an empty array.
        return format!(r#"{{"vr":"{vr}"}}"#);
    }
    format!(r#"{{"vr":"{vr}","Value":[{}]}}"#, values.join(","))
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Members of a stored DICOM JSON object: tag and text of the value. What does not look like one
/// gives no members.
pub(crate) fn members(object: &str) -> Vec<(Tag, &str)> {
    let mut found = Vec::new();
    let Some(inner) = object.trim().strip_prefix('{').and_then(|o| o.strip_suffix('}')) else {
        return found;
    };
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let Some((key, after)) = rest.strip_prefix('"').and_then(|r| r.split_once('"')) else {
            return found;
        };
        let Some(value) = after.trim_start().strip_prefix(':') else { return found };
        let value = value.trim_start();
        let length = value_length(value.as_bytes());
        let (Some(text), Some(next)) = (value.get(..length), value.get(length..)) else {
            return found;
        };
        if let Some(tag) = Tag::from_hex(key) {
            found.push((tag, text.trim_end()));
        }
        rest = next.strip_prefix(',').unwrap_or_default().trim_start();
    }
    found
}

/// Bytes up to the comma that ends a value, or all.
fn value_length(text: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of one piece of an assembled array: small enough for the allocator to use the same memory
/// again for every piece instead of asking the system for fresh pages.
const PIECE: usize = 64 << 10;

/// A JSON array of stored objects with each instance's URL in place of its marks.
///
/// Made while it is sent, in one pass that looks for the mark byte only: metadata of a large series
/// is a memory copy, and no second copy of the whole is ever held.
pub(crate) struct Assembly {
    objects: std::vec::IntoIter<(Vec<u8>, String)>,
    started: bool,
    ended: bool,
}

impl Assembly {
    /// An array of `objects`, each with the URL of its instance.
    pub(crate) fn new(objects: Vec<(Vec<u8>, String)>) -> Self {
        Self { objects: objects.into_iter(), started: false, ended: false }
    }

    /// Length of the whole array (bytes).
    pub(crate) fn length(&self) -> u64 {
        let objects = self.objects.as_slice();
        let commas = objects.len().saturating_sub(1);
        let sizes = objects.iter().map(|(object, url)| {
            let marks = memchr::memchr_iter(BASE_URL_MARK, object).count();
            object.len() - marks + marks * url.len()
        });
        (2 + commas + sizes.sum::<usize>()) as u64
    }
}

impl Iterator for Assembly {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
        while piece.len() < PIECE {
            match self.objects.next() {
                Some((object, url)) => {
                    piece.push(if self.started { b',' } else { b'[' });
                    self.started = true;
                    replace_mark(&object, &url, &mut piece);
                }
                None => {
                    piece.extend_from_slice(if self.started { b"]" } else { b"[]" });
                    self.ended = true;
                    break;
                }
            }
        }
        Some(piece.into())
    }
}

/// Appends `json` with `url` in place of every mark. A URL holds nothing that JSON must escape:
/// see `base_url`.
pub(crate) fn replace_mark(json: &[u8], url: &str, out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(at) = memchr::memchr(BASE_URL_MARK, rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(url.as_bytes());
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use qianli_model::tag;

    use super::*;

    #[test]
    fn members_are_found_whatever_their_values_hold() {
        let object = r#"{"00080020":{"vr":"DA","Value":["20240101"]}, "00100010" : {"vr":"PN",
            "Value":[{"Alphabetic":"A\"},{,\\"}]},"00400275":{"vr":"SQ","Value":[{"00400009":
            {"vr":"SH"}},{}]} }"#;
        let found = members(object);
        let tags: Vec<_> = found.iter().map(|(tag, _)| tag.to_string()).collect();
        assert_eq!(tags, ["00080020", "00100010", "00400275"]);
        for (_, value) in found {
            serde_json::from_str::<serde_json::Value>(value).expect("a JSON value");
        }
        for broken in ["", "{", "[]", "{}", r#"{"0008"#, r#"{"00080020"}"#] {
            assert!(members(broken).is_empty(), "{broken}");
        }
    }

    #[test]
    fn data_sets_are_valid_json_in_tag_order() {
        let mut item = DataSet::default();
        item.set_text(tag::SOP_CLASS_UID, "UI", ["1.2"]);
        let mut set = DataSet::default();
        set.set_text(tag::PATIENT_ID, "LO", ["a\"b\n"]);
        set.set_text(tag::STUDY_ID, "SH", []);
        set.set_number(tag::NUMBER_OF_STUDY_RELATED_SERIES, "IS", 3);
        set.set_items(tag::REQUEST_ATTRIBUTES_SEQUENCE, &[item]);
        let json = set.to_json();
        let expected = concat!(
            r#"{"00100020":{"vr":"LO","Value":["a\"b\n"]},"00200010":{"vr":"SH"},"#,
            r#""00201206":{"vr":"IS","Value":[3]},"#,
            r#""00400275":{"vr":"SQ","Value":[{"00080016":{"vr":"UI","Value":["1.2"]}}]}}"#
        );
        assert_eq!(json, expected);
    }

    fn assemble(objects: Vec<(Vec<u8>, String)>) -> Vec<Bytes> {
        let assembly = Assembly::new(objects);
        let length = assembly.length();
        let pieces: Vec<Bytes> = assembly.collect();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>() as u64, length);
        pieces
    }

    #[test]
    fn marks_become_urls() {
        let objects = vec![
            (b"{\"u\":\"\x01/bulkdata/1\",\"v\":\"\x01\"}".to_vec(), "http://h/a".to_owned()),
            (b"{}".to_vec(), "http://h/b".to_owned()),
            (b"{\"w\":\"\x01/x\"}".to_vec(), "http://h/c".to_owned()),
        ];
        let expected =
            r#"[{"u":"http://h/a/bulkdata/1","v":"http://h/a"},{},{"w":"http://h/c/x"}]"#;
        assert_eq!(assemble(objects).concat(), expected.as_bytes());
        assert_eq!(assemble(Vec::new()).concat(), b"[]");
    }

    #[test]
    fn large_arrays_come_in_pieces() {
        let object = format!("{{\"x\":\"{}\"}}", "y".repeat(PIECE / 2)).into_bytes();
        let pieces = assemble((0..5).map(|_| (object.clone(), String::new())).collect());
        assert!(pieces.len() > 1);
        let whole: Vec<serde_json::Value> =
            serde_json::from_slice(&pieces.concat()).expect("a JSON array");
        assert_eq!(whole.len(), 5);
    }
}
