//! Writing file meta information for data sets that came without (DIMSE) or whose own is replaced.

use crate::syntax::TransferSyntax;

use super::{MAGIC, PREAMBLE};

/// (0002,0012) of files that we write: identifies this software, derived from a UUID (PS3.5
/// annex B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.125535250454297203098675442373804090598";

/// (0002,0013) of files that we write.
pub const IMPLEMENTATION_VERSION_NAME: &str = "QIANLI_0_1";

/// Writes a preamble of zeros, the magic and the file meta information (PS3.10 section 7.1), ready
/// to be followed by the data set.
///
/// `source_ae` becomes (0002,0016): the title of the sender, where known.
pub fn write(
    sop_class: &str,
    sop_instance: &str,
    syntax: TransferSyntax,
    source_ae: Option<&str>,
) -> Vec<u8> {
    write_with(sop_class, sop_instance, syntax, source_ae, "")
}

/// The same with (0002,0102) Private Information of ours, unless it is empty: what has to be known of
/// the data set beside itself.
pub fn write_with(
    sop_class: &str,
    sop_instance: &str,
    syntax: TransferSyntax,
    source_ae: Option<&str>,
    private: &str,
) -> Vec<u8> {
    let mut elements = Vec::with_capacity(256);
    // File Meta Information Version, the only OB: two reserved bytes and a 32-bit length.
    elements.extend_from_slice(b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01");
    push(&mut elements, 0x0002, b"UI", sop_class, 0);
    push(&mut elements, 0x0003, b"UI", sop_instance, 0);
    push(&mut elements, 0x0010, b"UI", syntax.uid(), 0);
    push(&mut elements, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID, 0);
    push(&mut elements, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
    if let Some(title) = source_ae {
        push(&mut elements, 0x0016, b"AE", title, b' ');
    }
    if !private.is_empty() {
        push(&mut elements, 0x0100, b"UI", IMPLEMENTATION_CLASS_UID, 0);
        let odd = private.len() % 2;
        elements.extend_from_slice(b"\x02\x00\x02\x01OB\x00\x00");
        // Texts of ours are far from 4 GiB.
        elements.extend_from_slice(&((private.len() + odd) as u32).to_le_bytes());
        elements.extend_from_slice(private.as_bytes());
        elements.extend(std::iter::repeat_n(0, odd));
    }
    let mut file = vec![0; PREAMBLE];
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(b"\x02\x00\x00\x00UL\x04\x00");
    // A handful of short elements.
    file.extend_from_slice(&(elements.len() as u32).to_le_bytes());
    file.extend_from_slice(&elements);
    file
}

/// Writes one element with a short length, padded to an even one.
fn push(out: &mut Vec<u8>, element: u16, vr: &[u8; 2], value: &str, padding: u8) {
    // UIDs and titles are bounded by their types; the length field is 16 bits.
    let value = value.as_bytes().get(..value.len().min(0xFFFE)).unwrap_or(&[]);
    let odd = value.len() % 2;
    out.extend_from_slice(&[0x02, 0x00]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(vr);
    out.extend_from_slice(&((value.len() + odd) as u16).to_le_bytes());
    out.extend_from_slice(value);
    if odd == 1 {
        out.push(padding);
    }
}
