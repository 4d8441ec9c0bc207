//! JSON strings and base64.

/// Writes `text` as a JSON string with its quotes. NUL is left out: no text VR allows it, and no
/// database keeps it.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(start..index).unwrap_or(&[]));
        start = index + 1;
        match byte {
            0 => {}
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, other);
            }
        }
    }
    out.extend_from_slice(bytes.get(start..).unwrap_or(&[]));
    out.push(b'"');
}

/// Writes two upper case hexadecimal digits.
pub(super) fn push_hex(out: &mut Vec<u8>, byte: u8) {
    for nibble in [byte >> 4, byte & 0x0F] {
        out.push(if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 });
    }
}

/// Writes base64 with padding (RFC 4648 section 4).
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32| ALPHABET.get((value & 63) as usize).copied().unwrap_or(b'=');
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(digit(bits >> 18));
        out.push(digit(bits >> 12));
        out.push(if group.len() > 1 { digit(bits >> 6) } else { b'=' });
        out.push(if group.len() > 2 { digit(bits) } else { b'=' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_a_json_reader() {
        for text in ["", "plain", "a\"b\\c", "line\r\n\ttab", "\u{1}\u{1F}\u{7F}", "王^小東", "𠮷"]
        {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert!(out.iter().all(|&b| b >= 0x20), "no raw control character: {text:?}");
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
        let mut out = Vec::new();
        write_string(&mut out, "a\0b");
        assert_eq!(out, b"\"ab\"");
    }

    #[test]
    fn base64_pads() {
        for (plain, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            let mut out = Vec::new();
            write_base64(&mut out, plain.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
