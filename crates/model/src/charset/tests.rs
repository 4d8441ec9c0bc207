//! Examples of PS3.5 annexes H, I, J and K, and the spellings and faults of the field.

use super::*;

fn decode(declared: &str, bytes: &[u8]) -> (String, Certainty) {
    let charset = Charset::parse(declared.as_bytes(), Knowledge::default());
    let (text, certainty) = charset.decode(bytes, TextKind::PersonName);
    (text.into_owned(), certainty)
}

fn check(declared: &str, bytes: &[u8], expected: &str) {
    assert_eq!(decode(declared, bytes), (expected.to_owned(), Certainty::Exact), "{declared}");
}

#[test]
fn japanese_with_escape_sequences() {
    // PS3.5 H.3.1.
    check(
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    );
    // PS3.5 H.3.2: half-width katakana from the first value, kanji by escape.
    check(
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J=\x1B$B$d$^$@\x1B(J^\x1B$B$?$m$&\x1B(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    );
    check("\\ISO 2022 IR 159", b"\x1B$(D0!\x1B(B", "丂");
}

#[test]
fn korean_and_chinese_with_escape_sequences() {
    // PS3.5 I.2.
    let name = b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF";
    check("\\ISO 2022 IR 149", name, "Hong^Gildong=洪^吉洞=홍^길동");
    // PS3.5 K.2.
    let name = b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB=";
    check("\\ISO 2022 IR 58", name, "Zhang^XiaoDong=张^小东=");
}

#[test]
fn a_forgotten_escape_sequence_after_a_delimiter() {
    check("\\ISO 2022 IR 149", b"=\x1B$)C\xFB\xF3^\xD1\xCE\xD4\xD7", "=洪^吉洞");
    check("\\ISO 2022 IR 58", b"\xD5\xC5", "张");
}

#[test]
fn single_byte_sets() {
    check("ISO_IR 100", b"M\xFCller^J\xF6rg", "Müller^Jörg");
    check("ISO_IR 101", b"Wa\xB3\xEAsa", "Wałęsa");
    check("ISO_IR 144", b"\xBB\xEEce\xDC\xD1yp\xD3", "Люceмбypг");
    check("ISO_IR 126", b"\xC4\xE9\xEF\xED", "Διον");
    check("ISO_IR 127", b"\xE2\xC8\xC7\xE6\xEA", "قباني");
    check("ISO_IR 138", b"\xF9\xF8\xE5\xEF", "שרון");
    check("ISO_IR 148", b"\xC7avu\xFEo\xF0lu", "Çavuşoğlu");
    check("ISO_IR 166", b"\xB9\xD2\xC2", "นาย");
    check("ISO_IR 203", b"\xA4", "€");
    check("ISO_IR 13", b"\xD4\xCF\xC0\xDE", "ﾔﾏﾀﾞ");
    check("ISO_IR 192", "Wang^小东".as_bytes(), "Wang^小东");
    check("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xE9\x1B-L\xBB\xEE", "éЛю");
    check("ISO 2022 IR 6\\ISO 2022 IR 126", b"\x1B-F\xC4^\x1B-F\xE9", "Δ^ι");
}

#[test]
fn a_backslash_byte_inside_a_character_stays_there() {
    // 0x85 0x5C is one character in GBK; the value has two parts, not three.
    let (text, _) = decode("GB18030", b"\x85\x5C\\\xD5\xC5");
    assert_eq!(text, "匼\\张");
    check("GBK", b"\xD5\xC5^\xD0\xA1\xB6\xAB", "张^小东");
}

#[test]
fn spellings_of_the_field() {
    for alias in
        ["ISO_IR_100", "ISO-IR 100", "ISO IR 100", "iso_ir 100 ", "ISO 2022 IR 100", "LATIN1"]
    {
        check(alias, b"\xE9", "é");
    }
    for alias in ["UTF-8", "utf8", "ISO_IR 192", "ISO_IR192", "\\ISO_IR 192"] {
        check(alias, "é".as_bytes(), "é");
    }
    check("GB2312", b"\xD5\xC5", "张");
    for alias in ["\\ISO2022 IR 87", "ISO 2022 IR 87", "iso 2022 ir 6\\iso 2022 ir 87"] {
        check(alias, b"\x1B$B;3\x1B(B", "山");
    }
    // Escape sequences without any declaration.
    assert_eq!(decode("", b"\x1B$)A\xD5\xC5"), ("张".into(), Certainty::Guessed));
}

#[test]
fn undeclared_and_unknown_sets_are_guessed() {
    for declared in ["", "ISO_IR 6", "ISO_IR 999", "KLINGON"] {
        assert_eq!(
            decode(declared, "张".as_bytes()),
            ("张".into(), Certainty::Guessed),
            "{declared}"
        );
        assert_eq!(decode(declared, b"\xE9"), ("é".into(), Certainty::Guessed));
    }
    assert!(!Charset::parse(b"KLINGON", Knowledge::default()).is_known());
    let gbk = Knowledge { unlabelled: "gb18030".parse().unwrap(), ..Knowledge::default() };
    let gbk = Charset::undeclared(gbk);
    assert_eq!(gbk.decode(b"\xD5\xC5", TextKind::Text), ("张".into(), Certainty::Guessed));
    assert_eq!(gbk.decode(b"M\xFCller \xFF", TextKind::Text).0, "Müller ÿ");
}

#[test]
fn what_an_operator_knows_corrects_single_byte_labels_only() {
    let gbk = Knowledge { mislabelled: Some("gbk".parse().unwrap()), ..Knowledge::default() };
    let read = |declared: &str, bytes: &[u8]| {
        let charset = Charset::parse(declared.as_bytes(), gbk);
        charset.decode(bytes, TextKind::PersonName).0.into_owned()
    };
    // "联通" in GBK is valid UTF-8 for something else.
    for declared in ["", "ISO_IR 100", "ISO_IR 144", "KLINGON"] {
        assert_eq!(read(declared, b"\xD5\xC5^\xD0\xA1\xB6\xAB"), "张^小东", "{declared}");
        assert_eq!(read(declared, b"\xC1\xAA\xCD\xA8"), "联通", "{declared}");
    }
    assert_eq!(read("ISO_IR 100", b"M\xFCller \xFF"), "Müller ÿ", "does not fit GBK");
    assert_eq!(read("ISO_IR 192", "张".as_bytes()), "张");
    assert_eq!(read("\\ISO 2022 IR 149", b"\x1B$)C\xFB\xF3"), "洪");
    assert_eq!(read("\\ISO 2022 IR 149", b"\xFB\xF3"), "洪");
    assert!("utf-16le".parse::<TextEncoding>().is_err());
}

#[test]
fn impossible_bytes_are_replaced_and_told() {
    assert_eq!(decode("ISO_IR 192", b"a\xFFb"), ("a\u{FFFD}b".into(), Certainty::Replaced));
    assert_eq!(decode("\\ISO 2022 IR 87", b"a\x1B%Gb").1, Certainty::Replaced);
    assert_eq!(decode("\\ISO 2022 IR 87", b"\x1B$B;").1, Certainty::Replaced);
}
