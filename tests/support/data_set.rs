//! A small data set writer: Explicit VR Little Endian, elements in any order, values as given. It
//! shares no code with the node, so that the node is not tested against itself.

use std::collections::BTreeMap;

/// Elements by tag (group in the upper half), each with its VR and its raw value.
#[derive(Debug, Clone, Default)]
pub struct DataSet(BTreeMap<u32, ([u8; 2], Vec<u8>)>);

impl DataSet {
    /// Sets an element of a text VR; the value is padded to even length.
    #[must_use]
    pub fn text(self, tag: u32, vr: &str, value: &str) -> Self {
        let padding = if vr == "UI" { 0 } else { b' ' };
        self.bytes_padded(tag, vr, value.as_bytes().to_vec(), padding)
    }

    /// Sets a US element.
    #[must_use]
    pub fn us(self, tag: u32, value: u16) -> Self {
        self.bytes(tag, "US", value.to_le_bytes().to_vec())
    }

    /// Sets an element from raw bytes, padded with NUL to even length.
    #[must_use]
    pub fn bytes(self, tag: u32, vr: &str, value: Vec<u8>) -> Self {
        self.bytes_padded(tag, vr, value, 0)
    }

    /// Removes an element.
    #[must_use]
    pub fn without(mut self, tag: u32) -> Self {
        self.0.remove(&tag);
        self
    }

    /// Sets a sequence, items of undefined length in a sequence of undefined length.
    #[must_use]
    pub fn sequence(mut self, tag: u32, items: &[DataSet]) -> Self {
        let mut value = Vec::new();
        for item in items {
            value.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
            value.extend(item.encode());
            value.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
        }
        value.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        self.0.insert(tag, (*b"SQ", value));
        self
    }

    fn bytes_padded(mut self, tag: u32, vr: &str, mut value: Vec<u8>, padding: u8) -> Self {
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        let vr = vr.as_bytes().try_into().expect("a VR has two letters");
        self.0.insert(tag, (vr, value));
        self
    }

    /// Encodes the elements in order of their tags.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, (vr, value)) in &self.0 {
            header(&mut out, *tag, vr, value.len() as u32);
            out.extend(value);
        }
        out
    }
}

/// Writes the header of an element in Explicit VR Little Endian (PS3.5 section 7.1.2). Sequences
/// get undefined length.
pub fn header(out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], length: u32) {
    out.extend(((tag >> 16) as u16).to_le_bytes());
    out.extend((tag as u16).to_le_bytes());
    out.extend(vr);
    match vr {
        b"SQ" => out.extend([0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
        | b"UV" => {
            out.extend([0, 0]);
            out.extend(length.to_le_bytes());
        }
        _ => out.extend((length as u16).to_le_bytes()),
    }
}

/// Puts a preamble and file meta information before an encoded data set (PS3.10 section 7.1).
pub fn part10(class: &str, instance: &str, transfer_syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let meta = DataSet::default()
        .bytes(0x0002_0001, "OB", vec![0, 1])
        .text(0x0002_0002, "UI", class)
        .text(0x0002_0003, "UI", instance)
        .text(0x0002_0010, "UI", transfer_syntax)
        .text(0x0002_0012, "UI", "2.25.81230961")
        .encode();
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    header(&mut file, 0x0002_0000, b"UL", 4);
    file.extend((meta.len() as u32).to_le_bytes());
    file.extend(meta);
    file.extend(data_set);
    file
}

/// Returns the transfer syntax and the data set of a Part 10 file, for files whose file meta
/// information is as the standard says; `None` for the others.
pub fn split_part10(file: &[u8]) -> Option<(String, &[u8])> {
    if file.get(128..132)? != b"DICM" {
        return None;
    }
    let mut at = 132;
    let mut syntax = None;
    // Explicit VR Little Endian, whatever the data set is in; ends where group 2 ends.
    while file.get(at..at + 2)? == [2, 0] {
        let element = u16::from_le_bytes(file.get(at + 2..at + 4)?.try_into().ok()?);
        let (start, length) = match file.get(at + 4..at + 6)? {
            b"OB" | b"UN" | b"UT" | b"OW" => {
                (at + 12, u32::from_le_bytes(file.get(at + 8..at + 12)?.try_into().ok()?) as usize)
            }
            _ => (at + 8, u16::from_le_bytes(file.get(at + 6..at + 8)?.try_into().ok()?).into()),
        };
        let value = file.get(start..start + length)?;
        if element == 0x0010 {
            let text = String::from_utf8_lossy(value);
            syntax = Some(text.trim_matches(['\0', ' ']).to_owned());
        }
        at = start + length;
        if file.len() < at + 2 {
            break;
        }
    }
    Some((syntax?, file.get(at..)?))
}
