//! Lookup tables (PS3.3 sections C.11.1, C.11.2 and C.7.6.3.1.5): descriptor and data.

use crate::attributes::Element;
use crate::{ImagingError, malformed, unsupported};

/// A lookup table of up to 65,536 entries.
#[derive(Debug)]
pub(crate) struct Lut {
    entries: Vec<u16>,
    first: i32,
    /// Greatest value that the descriptor's bits allow.
    pub max: u16,
}

impl Lut {
    /// Reads a table; `None` when there is no descriptor. `signed` says that the first value mapped
    /// is signed, as the pixels are.
    pub fn read(
        descriptor: &Element,
        data: &Element,
        signed: bool,
    ) -> Result<Option<Self>, ImagingError> {
        let mut numbers = descriptor.numbers();
        let (Some(count), Some(first), Some(bits)) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return Ok(None);
        };
        // The VR of a descriptor is US or SS, and equipment confuses them: both readings of the
        // same sixteen bits are brought to the one that the pixels have.
        let count = match (count as i64) & 0xFFFF {
            0 => 65536,
            count => count as usize,
        };
        let word = ((first as i64) & 0xFFFF) as u16;
        let first = if signed { i32::from(word as i16) } else { i32::from(word) };
        let mut entries = entries(data, count)?;
        entries.truncate(count);
        if entries.is_empty() {
            return malformed("a lookup table is empty");
        }
        // Tables of 8-bit values with a descriptor of 16 bits are common enough to be looked for.
        let narrow = entries.iter().all(|entry| *entry <= 255);
        let bits = if narrow && bits > 8.0 && entries.len() <= 256 { 8 } else { bits as u32 };
        let max = if bits >= 16 { u16::MAX } else { (1 << bits.max(8)) - 1 };
        Ok(Some(Self { entries, first, max }))
    }

    /// The entry of a value; values outside the table take its first or last entry.
    pub fn get(&self, value: i64) -> u16 {
        let index = value.saturating_sub(i64::from(self.first)).max(0);
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(self.entries.len() - 1);
        self.entries.get(index).copied().unwrap_or(0)
    }

    /// The entry scaled to 0–255.
    pub fn byte(&self, value: i64) -> u8 {
        let entry = self.get(value);
        match self.max {
            255 => entry.min(255) as u8,
            u16::MAX => (entry >> 8) as u8,
            max => (u32::from(entry.min(max)) * 255 / u32::from(max)) as u8,
        }
    }
}

/// The table's words: 16 bits each, or bytes when there are too few of them for words.
fn entries(data: &Element, count: usize) -> Result<Vec<u16>, ImagingError> {
    if let Some(text) = data.inline() {
        let Some(bytes) = base64(text) else {
            return malformed("a lookup table is not base64");
        };
        if bytes.len() < count.saturating_mul(2) {
            return Ok(bytes.into_iter().map(u16::from).collect());
        }
        return Ok(bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)).collect());
    }
    if data.is_bulk() {
        return unsupported("a lookup table outside the metadata");
    }
    Ok(data.numbers().map(|number| ((number as i64) & 0xFFFF) as u16).collect())
}

/// Decodes base64 (RFC 4648 section 4), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
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

    fn element(json: &str) -> Element {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn base64_decodes_every_padding() {
        for (text, bytes) in [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo")] {
            assert_eq!(base64(text).as_deref(), Some(bytes));
        }
        assert_eq!(base64("Z*=="), None);
    }

    #[test]
    fn values_outside_the_table_take_its_ends() {
        let descriptor = element(r#"{"vr":"SS","Value":[3,-1,16]}"#);
        let data = element(r#"{"vr":"US","Value":[0,32768,65535]}"#);
        let lut = Lut::read(&descriptor, &data, true).unwrap().unwrap();
        let bytes: Vec<u8> = [-9, -1, 0, 1, 9].iter().map(|value| lut.byte(*value)).collect();
        assert_eq!(bytes, [0, 0, 128, 255, 255]);
    }

    #[test]
    fn bulk_tables_are_unsupported_and_missing_ones_are_none() {
        let descriptor = element(r#"{"vr":"US","Value":[256,0,16]}"#);
        let bulk = element(r#"{"vr":"OW","BulkDataURI":"/bulkdata/00281201"}"#);
        let answer = Lut::read(&descriptor, &bulk, false);
        assert!(matches!(answer, Err(ImagingError::Unsupported(_))));
        assert!(Lut::read(&Element::default(), &bulk, false).unwrap().is_none());
    }

    #[test]
    fn packed_bytes_and_words_are_told_apart() {
        let descriptor = element(r#"{"vr":"US","Value":[4,0,8]}"#);
        let bytes = element(r#"{"vr":"OW","InlineBinary":"AAECAw=="}"#);
        let words = element(r#"{"vr":"OW","InlineBinary":"AAABAAIAAwA="}"#);
        for data in [bytes, words] {
            let lut = Lut::read(&descriptor, &data, false).unwrap().unwrap();
            assert_eq!((0..4).map(|value| lut.byte(value)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        }
    }
}
