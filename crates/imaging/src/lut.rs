//! Lookup tables (PS3.3 sections C.11.1, C.11.2, C.7.6.3.1.5 and C.7.9.2): descriptor and data.

use std::borrow::Cow;

use crate::element::{BulkValues, Element};
use crate::{ImagingError, malformed, unsupported};

/// A lookup table of up to 65,536 entries.
#[derive(Debug)]
pub(crate) struct Lut {
    entries: Vec<u16>,
    first: i32,
    /// Greatest value that the descriptor's bits allow.
    pub max: u16,
}

/// What a descriptor says.
struct Descriptor {
    count: usize,
    first: i32,
    bits: u32,
}

impl Descriptor {
    /// `None` when there is none. `signed` says that the first value mapped is signed, as the values
    /// that are looked up are.
    fn read(element: &Element, signed: bool) -> Option<Self> {
        let mut numbers = element.numbers();
        let (count, first, bits) = (numbers.next()?, numbers.next()?, numbers.next()?);
        // The VR of a descriptor is US or SS, and equipment confuses them: both readings of the
        // same sixteen bits are brought to the one that the values have.
        let count = match (count as i64) & 0xFFFF {
            0 => 65536,
            count => count as usize,
        };
        let word = ((first as i64) & 0xFFFF) as u16;
        let first = if signed { i32::from(word as i16) } else { i32::from(word) };
        Some(Self { count, first, bits: bits as u32 })
    }
}

impl Lut {
    /// Reads a table; `None` when there is no descriptor. For `signed` see [`Descriptor::read`].
    pub fn read(
        descriptor: &Element,
        data: &Element,
        signed: bool,
        bulk: &BulkValues,
    ) -> Result<Option<Self>, ImagingError> {
        let Some(descriptor) = Descriptor::read(descriptor, signed) else { return Ok(None) };
        let entries = entries(data, descriptor.count, bulk)?;
        Self::new(entries, &descriptor).map(Some)
    }

    /// Reads a table from segments (PS3.3 section C.7.9.2); `None` when there is no descriptor.
    pub fn read_segmented(
        descriptor: &Element,
        segments: &Element,
        signed: bool,
        bulk: &BulkValues,
    ) -> Result<Option<Self>, ImagingError> {
        let Some(descriptor) = Descriptor::read(descriptor, signed) else { return Ok(None) };
        let bytes = raw(segments, bulk)?;
        let narrow = descriptor.bits == 8;
        let entries = expand(&bytes, narrow, descriptor.count)?;
        Self::new(entries, &descriptor).map(Some)
    }

    fn new(mut entries: Vec<u16>, descriptor: &Descriptor) -> Result<Self, ImagingError> {
        entries.truncate(descriptor.count);
        let Some(greatest) = entries.iter().copied().max() else {
            return malformed("a lookup table is empty");
        };
        // Tables of 8-bit values with a descriptor of 16 bits are common enough to be looked for.
        let narrow = greatest <= 255 && entries.len() <= 256;
        let bits = if narrow { 8 } else { descriptor.bits.clamp(8, 16) };
        let max = u16::MAX >> (16 - bits);
        // Entries beyond the descriptor's bits show that the descriptor is wrong.
        let max = if greatest > max { u16::MAX >> greatest.leading_zeros() } else { max };
        Ok(Self { entries, first: descriptor.first, max })
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

/// The bytes of a value, or why there are none.
fn raw<'a>(data: &'a Element, bulk: &'a BulkValues) -> Result<Cow<'a, [u8]>, ImagingError> {
    match (data.bytes(bulk), data.bulk_path()) {
        (Some(bytes), _) => Ok(bytes),
        (None, Some(_)) => unsupported("a lookup table outside the metadata"),
        (None, None) => malformed("a lookup table has no readable data"),
    }
}

/// The table's words: 16 bits each, or bytes when there are too few of them for words.
fn entries(data: &Element, count: usize, bulk: &BulkValues) -> Result<Vec<u16>, ImagingError> {
    let numbers: Vec<u16> =
        data.numbers().map(|number| ((number as i64) & 0xFFFF) as u16).collect();
    if !numbers.is_empty() {
        return Ok(numbers);
    }
    let bytes = raw(data, bulk)?;
    if bytes.len() < count.saturating_mul(2) {
        return Ok(bytes.iter().map(|byte| u16::from(*byte)).collect());
    }
    Ok(words(&bytes))
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)).collect()
}

/// Expands segments to at most `count` entries. Opcodes, lengths and values are bytes when entries
/// are, words otherwise.
fn expand(bytes: &[u8], narrow: bool, count: usize) -> Result<Vec<u16>, ImagingError> {
    let units: Vec<u16> =
        if narrow { bytes.iter().map(|byte| u16::from(*byte)).collect() } else { words(bytes) };
    let mut out = Vec::new();
    let mut at = 0;
    while out.len() < count && at + 2 < units.len() {
        at = match units.get(at) {
            Some(2) => indirect(&units, at, narrow, count, &mut out)?,
            _ => segment(&units, at, count, &mut out)?,
        };
    }
    Ok(out)
}

/// Expands one discrete or linear segment; gives the position behind it.
fn segment(
    units: &[u16],
    at: usize,
    count: usize,
    out: &mut Vec<u16>,
) -> Result<usize, ImagingError> {
    let (Some(opcode), Some(length)) = (units.get(at), units.get(at + 1)) else {
        return malformed("a palette segment ends early");
    };
    let length = usize::from(*length);
    match opcode {
        0 => {
            let Some(values) = units.get(at + 2..at + 2 + length) else {
                return malformed("a palette segment ends early");
            };
            out.extend(values.iter().take(count.saturating_sub(out.len())));
            Ok(at + 2 + length)
        }
        1 => {
            let (Some(start), Some(end)) = (out.last().copied(), units.get(at + 2)) else {
                return malformed("a palette starts with a linear segment, or ends in one");
            };
            let (start, end) = (f64::from(start), f64::from(*end));
            for step in 1..=length.min(count.saturating_sub(out.len())) {
                let fraction = step as f64 / length as f64;
                out.push((start + (end - start) * fraction).round() as u16);
            }
            Ok(at + 3)
        }
        _ => malformed("a palette segment of unknown kind"),
    }
}

/// Repeats earlier segments. Those cannot be indirect themselves, so this ends.
fn indirect(
    units: &[u16],
    at: usize,
    narrow: bool,
    count: usize,
    out: &mut Vec<u16>,
) -> Result<usize, ImagingError> {
    // The offset counts bytes: four units of eight bits, or two of sixteen.
    let (size, bits) = if narrow { (4, 8) } else { (2, 16) };
    let (Some(repeats), Some(offset)) = (units.get(at + 1), units.get(at + 2..at + 2 + size))
    else {
        return malformed("a palette segment ends early");
    };
    let offset = offset.iter().rev().fold(0usize, |sum, unit| (sum << bits) | usize::from(*unit));
    let mut from = if narrow { offset } else { offset / 2 };
    for _ in 0..*repeats {
        if out.len() >= count {
            break;
        }
        from = segment(units, from, count, out)?;
    }
    Ok(at + 2 + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(json: &str) -> Element {
        serde_json::from_str(json).unwrap()
    }

    fn read(descriptor: &Element, data: &Element, signed: bool) -> Lut {
        Lut::read(descriptor, data, signed, &BulkValues::default()).unwrap().unwrap()
    }

    #[test]
    fn values_outside_the_table_take_its_ends() {
        let descriptor = element(r#"{"vr":"SS","Value":[3,-1,16]}"#);
        let data = element(r#"{"vr":"US","Value":[0,32768,65535]}"#);
        let lut = read(&descriptor, &data, true);
        let bytes: Vec<u8> = [-9, -1, 0, 1, 9].iter().map(|value| lut.byte(*value)).collect();
        assert_eq!(bytes, [0, 0, 128, 255, 255]);
    }

    #[test]
    fn bulk_tables_are_read_once_they_are_there() {
        let descriptor = element(r#"{"vr":"US","Value":[2,0,16]}"#);
        let data = element(r#"{"vr":"OW","BulkDataURI":"/bulkdata/00281201"}"#);
        let mut bulk = BulkValues::default();
        let answer = Lut::read(&descriptor, &data, false, &bulk);
        assert!(matches!(answer, Err(ImagingError::Unsupported(_))));
        assert!(Lut::read(&Element::default(), &data, false, &bulk).unwrap().is_none());
        bulk.insert("00281201", vec![0, 0, 0, 0x80]);
        let lut = Lut::read(&descriptor, &data, false, &bulk).unwrap().unwrap();
        assert_eq!([lut.byte(0), lut.byte(1)], [0, 128]);
    }

    #[test]
    fn packed_bytes_and_words_are_told_apart() {
        let descriptor = element(r#"{"vr":"US","Value":[4,0,8]}"#);
        let bytes = element(r#"{"vr":"OW","InlineBinary":"AAECAw=="}"#);
        let words = element(r#"{"vr":"OW","InlineBinary":"AAABAAIAAwA="}"#);
        for data in [bytes, words] {
            let lut = read(&descriptor, &data, false);
            assert_eq!((0..4).map(|value| lut.byte(value)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn a_descriptor_with_too_few_bits_is_not_believed() {
        let descriptor = element(r#"{"vr":"US","Value":[2,0,10]}"#);
        let data = element(r#"{"vr":"US","Value":[0,4095]}"#);
        assert_eq!(read(&descriptor, &data, false).byte(1), 255);
        let twelve = element(r#"{"vr":"US","Value":[2,0,12]}"#);
        let half = element(r#"{"vr":"US","Value":[0,2048]}"#);
        assert_eq!(read(&twelve, &half, false).byte(1), 127);
    }

    #[test]
    fn segments_are_expanded() {
        // Discrete 10 20, linear to 60 in four steps, then both again from byte 0.
        let wide: Vec<u8> = [0u16, 2, 10, 20, 1, 4, 60, 2, 2, 0, 0]
            .iter()
            .flat_map(|unit| unit.to_le_bytes())
            .collect();
        let expected = [10, 20, 30, 40, 50, 60, 10, 20, 30, 40, 50, 60];
        assert_eq!(expand(&wide, false, 12).unwrap(), expected);
        assert_eq!(expand(&wide, false, 7).unwrap(), expected[..7], "no more than the descriptor");
        let narrow = [0, 2, 10, 20, 1, 4, 60, 2, 2, 0, 0, 0, 0];
        assert_eq!(expand(&narrow, true, 12).unwrap(), expected);
    }

    #[test]
    fn impossible_segments_are_refused() {
        for units in [
            &[1u16, 4, 60][..],       // linear without a start
            &[0, 9, 1],               // discrete beyond the end
            &[7, 1, 1],               // unknown
            &[2, 1, 0, 0],            // refers to itself
            &[0, 1, 5, 2, 1, 999, 0], // refers beyond the end
        ] {
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            assert!(expand(&bytes, false, 100).is_err(), "{units:?}");
        }
    }
}
