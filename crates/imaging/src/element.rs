//! Elements of the DICOM JSON model (PS3.18 annex F) as pixels need them: numbers, texts, bytes.
//!
//! Tolerant on purpose: one odd value elsewhere must not hide an image.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A data element's value in whichever form the JSON model gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Element {
    vr: String,
    #[serde(rename = "Value")]
    values: Values,
    #[serde(rename = "InlineBinary")]
    inline: Option<String>,
    #[serde(rename = "BulkDataURI")]
    bulk: Option<String>,
}

/// Values that metadata only refers to, as their owner fetched them.
#[derive(Debug, Default)]
pub(crate) struct BulkValues {
    values: BTreeMap<String, Vec<u8>>,
    /// Words of the values are big endian, as in the object they come from.
    big_endian: bool,
}

impl BulkValues {
    /// No values yet, of an object in this byte order.
    pub fn new(big_endian: bool) -> Self {
        Self { values: BTreeMap::new(), big_endian }
    }

    /// Keeps a value under its path.
    pub fn insert(&mut self, path: &str, bytes: Vec<u8>) {
        self.values.insert(path.to_owned(), bytes);
    }
}

/// A sequence element's items.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Sequence<T> {
    #[serde(rename = "Value")]
    items: Vec<Option<T>>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> Sequence<T> {
    /// Item by position from 0; `None` when it is missing or empty.
    pub fn item(&self, index: usize) -> Option<&T> {
        self.items.get(index)?.as_ref()
    }

    /// Every item that is not empty.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }
}

impl Element {
    /// First value as a number; numbers written as text (DS, IS) count.
    pub fn number(&self) -> Option<f64> {
        self.numbers().next()
    }

    /// Every value that is a number.
    pub fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.0.iter().filter_map(|value| match value {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Scalar::Other => None,
        })
    }

    /// First value as text without padding, or the empty text.
    pub fn text(&self) -> &str {
        match self.values.0.first() {
            Some(Scalar::Text(text)) => text.trim(),
            _ => "",
        }
    }

    /// The value of a binary VR, little endian; `None` when there is none, when it is not base64, or
    /// when it has to be fetched and was not.
    pub fn bytes<'a>(&'a self, bulk: &'a BulkValues) -> Option<Cow<'a, [u8]>> {
        if let Some(text) = &self.inline {
            return base64(text).map(Cow::Owned);
        }
        let bytes = bulk.values.get(self.bulk_path()?)?;
        // Bulk values come as their object holds them; inline ones were swapped with the header.
        if bulk.big_endian && matches!(self.vr.as_str(), "OW" | "US" | "SS") {
            let mut swapped = bytes.clone();
            swapped.as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse());
            return Some(Cow::Owned(swapped));
        }
        Some(Cow::Borrowed(bytes))
    }

    /// Path of a value that has to be fetched, e.g. `00283010/0/00283006`.
    pub fn bulk_path(&self) -> Option<&str> {
        self.bulk.as_deref()?.split_once("/bulkdata/").map(|(_, path)| path)
    }

    /// Whether the element is there at all, with or without a value.
    pub fn is_present(&self) -> bool {
        !self.vr.is_empty()
    }

    /// VR, two letters.
    pub fn vr(&self) -> &str {
        &self.vr
    }

    /// Every value that is text, without padding.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.0.iter().map(|value| match value {
            Scalar::Text(text) => text.trim(),
            _ => "",
        })
    }

    /// First value as a whole number from 0 to 65,535.
    pub fn short(&self) -> Option<u16> {
        let number = self.number()?;
        (number.fract() == 0.0 && (0.0..=65535.0).contains(&number)).then_some(number as u16)
    }
}

#[derive(Debug, Default)]
struct Values(Vec<Scalar>);

#[derive(Debug)]
enum Scalar {
    Number(f64),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Accepts anything, so that one odd value elsewhere does not hide an image.
struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the DICOM JSON model")
    }
    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// Decodes base64 (RFC 4648 section 4), with or without padding; `None` when it is not base64.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes_every_padding() {
        for (text, bytes) in [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo")] {
            assert_eq!(base64(text).as_deref(), Some(bytes));
        }
        assert_eq!(base64("Z*=="), None);
    }

    #[test]
    fn bulk_values_are_found_by_their_path_and_swapped() {
        let element: Element =
            serde_json::from_str(r#"{"vr":"OW","BulkDataURI":"/bulkdata/00283010/0/00283006"}"#)
                .unwrap();
        let mut bulk = BulkValues::default();
        assert_eq!(element.bytes(&bulk), None);
        bulk.insert("00283010/0/00283006", vec![1, 2, 3]);
        assert_eq!(element.bytes(&bulk).as_deref(), Some(&[1, 2, 3][..]));
        bulk.big_endian = true;
        assert_eq!(element.bytes(&bulk).as_deref(), Some(&[2, 1, 3][..]));
    }
}
