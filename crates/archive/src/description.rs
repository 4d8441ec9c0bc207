//! The few attributes of a stored header that conversion needs, read from its DICOM JSON.

use std::fmt;
use std::sync::Arc;

use qianli_model::header::BASE_URL_MARK;
use qianli_model::{Tag, tag};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Bytes of descriptions that are remembered.
const REMEMBERED: u64 = 8 << 20;

/// By content hash, descriptions and the same as JSON for the codecs: parsing a long header for every
/// frame would cost more than the frame.
pub(crate) type DescriptionCache =
    quick_cache::sync::Cache<String, Arc<(Description, Vec<u8>)>, ByLength>;

/// An empty cache.
pub(crate) fn cache() -> DescriptionCache {
    quick_cache::sync::Cache::with_weighter(4096, REMEMBERED, ByLength)
}

/// Weighs a description by its JSON; parsed it takes a few times as much.
#[derive(Clone)]
pub(crate) struct ByLength;

impl quick_cache::Weighter<String, Arc<(Description, Vec<u8>)>> for ByLength {
    fn weight(&self, _hash: &String, described: &Arc<(Description, Vec<u8>)>) -> u64 {
        (256 + described.1.len() * 4) as u64
    }
}

/// The image pixel description (group 0028) and what else names the pixels; everything else is
/// skipped while parsing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Description(Map<String, Value>);

impl Description {
    /// Reads a header's JSON; what is not JSON describes nothing.
    pub(crate) fn read(json: &[u8]) -> Self {
        let text: Vec<u8> = json.iter().copied().filter(|byte| *byte != BASE_URL_MARK).collect();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The description as DICOM JSON: all that decoding needs, however large the header is.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// Whether the attribute is there, be it empty.
    pub(crate) fn has(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag.to_string())
    }

    /// First value as a whole number.
    pub(crate) fn number(&self, tag: Tag) -> Option<u64> {
        let value = self.values(tag).first()?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// Every value as text.
    pub(crate) fn texts(&self, tag: Tag) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        self.values(tag).iter().map(text).collect()
    }

    /// Bits of one frame without compression; 0 when the description is incomplete.
    pub(crate) fn frame_bits(&self) -> u64 {
        let factors = [
            self.number(tag::ROWS).unwrap_or(0),
            self.number(tag::COLUMNS).unwrap_or(0),
            self.number(tag::SAMPLES_PER_PIXEL).unwrap_or(1),
            self.number(tag::BITS_ALLOCATED).unwrap_or(0),
        ];
        factors.into_iter().fold(1, u64::saturating_mul)
    }

    fn values(&self, tag: Tag) -> &[Value] {
        let values = self.0.get(&tag.to_string()).and_then(|element| element.get("Value"));
        values.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Description;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DICOM JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Description, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if is_kept(&key) {
                kept.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Description(kept))
    }
}

/// Image Type, Icon Image Sequence, the pixel data elements, and the scalar attributes of group
/// 0028: lookup tables are for rendering.
fn is_kept(key: &str) -> bool {
    let Some(tag) = Tag::from_hex(key) else { return false };
    match tag.group {
        // Image Type and Derivation Description.
        0x0008 => matches!(tag.element, 0x0008 | 0x2111),
        0x0028 => !matches!(tag.element, 0x1201..=0x1223 | 0x3000..=0x3FFF),
        0x0088 => tag.element == 0x0200,
        0x7FE0 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pixels_need_is_kept() {
        let json = b"{\"00080008\":{\"vr\":\"CS\",\"Value\":[\"ORIGINAL\",\"PRIMARY\"]},\
            \"00280008\":{\"vr\":\"IS\",\"Value\":[\"3\"]},\
            \"00280010\":{\"vr\":\"US\",\"Value\":[4]},\"00280011\":{\"vr\":\"US\",\"Value\":[5]},\
            \"00280100\":{\"vr\":\"US\",\"Value\":[16]},\
            \"00281201\":{\"vr\":\"OW\",\"InlineBinary\":\"AAAA\"},\
            \"52009230\":{\"vr\":\"SQ\",\"Value\":[{}]},\
            \"7FE00010\":{\"vr\":\"OW\",\"BulkDataURI\":\"\x01/bulkdata/7FE00010\"}}";
        let description = Description::read(json);
        assert_eq!(description.texts(tag::IMAGE_TYPE), ["ORIGINAL", "PRIMARY"]);
        assert_eq!(description.number(tag::NUMBER_OF_FRAMES), Some(3));
        assert_eq!(description.frame_bits(), 4 * 5 * 16);
        assert!(description.has(tag::PIXEL_DATA));
        let slim = String::from_utf8(description.to_json()).expect("UTF-8");
        assert!(!slim.contains("52009230") && !slim.contains("00281201"), "{slim}");
        assert_eq!(Description::read(slim.as_bytes()), description);
        assert_eq!(Description::read(b"nonsense"), Description::default());
    }
}
