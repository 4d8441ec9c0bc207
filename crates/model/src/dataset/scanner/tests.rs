//! Events of well-formed, odd and hostile data sets, written as one line of text each.

use super::*;
use crate::dataset::{InflateSource, SliceSource};
use crate::testdata::{Builder, UNDEFINED};

/// Tags with their VR and value length; `[` and `]` around sequences, `{` and `}` around items,
/// `<` and `>` around fragments.
fn events(bytes: &[u8], encoding: Encoding, limits: &Limits) -> Result<String, DataSetError> {
    let mut source = SliceSource::new(bytes);
    walk(&mut Scanner::new(&mut source, encoding, limits))
}

fn walk<S: Source>(scanner: &mut Scanner<S>) -> Result<String, DataSetError> {
    let mut text = String::new();
    let mut value = Vec::new();
    loop {
        match scanner.next()? {
            Event::Element(element) => {
                // Every second value is skipped, so that both ways are walked.
                if element.tag.element % 2 == 0 {
                    scanner.value(&mut value)?;
                    assert_eq!(value.len() as u64, element.length);
                }
                text += &format!("{}:{}:{} ", element.tag, element.vr.to_string(), element.length);
            }
            Event::SequenceStart(element) => text += &format!("{}[", element.tag),
            Event::SequenceEnd => text += "] ",
            Event::ItemStart => text += "{ ",
            Event::ItemEnd => text += "}",
            Event::FragmentsStart(element) => {
                text += &format!("{}:{}<", element.tag, element.vr.to_string())
            }
            Event::Fragment { length, .. } => text += &format!(" {length}"),
            Event::FragmentsEnd { delimited, .. } => {
                text += if delimited { " > " } else { " ... " }
            }
            Event::End => break,
        }
    }
    for oddity in scanner.oddities() {
        text += &format!("({oddity})");
    }
    Ok(text.trim_end().to_owned())
}

fn check(built: Builder, encoding: Encoding, expected: &str) {
    let found = events(&built.bytes, encoding, &Limits::default());
    assert_eq!(found.unwrap(), expected);
}

fn check_explicit(built: Builder, expected: &str) {
    check(built, Encoding::ExplicitLittle, expected);
}

fn check_fails(built: Builder, encoding: Encoding) -> DataSetError {
    let found = events(&built.bytes, encoding, &Limits::default());
    found.expect_err("this must not be walked to its end")
}

#[test]
fn every_encoding_and_both_kinds_of_length_give_the_same_events() {
    for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
        for defined in [true, false] {
            let inner = Builder::new(encoding).text(0x0008_1155, "UI", "1.2\0").bytes;
            let item = Builder::new(encoding)
                .text(0x0008_1150, "UI", "1.2\0")
                .sequence(0x0008_114A, &[inner], defined)
                .bytes;
            let built = Builder::new(encoding)
                .text(0x0008_0005, "CS", "ISO_IR 100")
                .sequence(0x0008_1115, &[item, Vec::new()], defined)
                .sequence(0x0008_1140, &[], defined)
                .us(0x0028_0010, 5);
            check(
                built,
                encoding,
                "00080005:CS:10 00081115[{ 00081150:UI:4 0008114A[{ 00081155:UI:4 }] }{ }] \
                 00081140[] 00280010:US:2",
            );
        }
    }
}

#[test]
fn un_of_undefined_length_holds_implicit_items() {
    // PS3.5 section 6.2.2 note 7, in a big endian data set too.
    let item = Builder::implicit().text(0x0010_0020, "LO", "ABCD").bytes;
    let content = Builder::implicit().item(&item, false).delimiter(0xFFFE_E0DD).bytes;
    for encoding in [Encoding::ExplicitLittle, Encoding::ExplicitBig] {
        let built = Builder::new(encoding)
            .header(0x0009_1010, "UN", UNDEFINED)
            .raw(&content)
            .us(0x0028_0010, 5);
        check(built, encoding, "00091010[{ 00100020:LO:4 }] 00280010:US:2");
    }
}

#[test]
fn un_of_defined_length() {
    let item = Builder::implicit().text(0x0040_0007, "LO", "ABCD").bytes;
    let items = Builder::implicit().item(&item, true).bytes;
    let built = Builder::explicit()
        .text(0x0010_0020, "UN", "ABCD")
        .element(0x0040_0275, "UN", &items)
        .element(0x0040_0293, "UN", b"no items here")
        .element(0x0041_1010, "UN", &items);
    check_explicit(
        built,
        "00100020:LO:4 00400275[{ 00400007:LO:4 }] 00400293:UN:13 00411010:UN:20",
    );
}

#[test]
fn unknown_value_representations() {
    let future = Builder::explicit().header(0x0008_0000, "ZZ", 4).raw(b"abcd");
    check_explicit(future.us(0x0028_0010, 5), "00080000:UL:4 00280010:US:2");
    let old = Builder::explicit().raw(b"\x09\x00\x11\x10??\x04\x00abcd").us(0x0028_0010, 5);
    check_explicit(old, "00091011:UN:4 00280010:US:2");
}

#[test]
fn items_in_another_encoding_than_their_data_set() {
    let item = Builder::implicit().text(0x0010_0020, "LO", "ABCD").bytes;
    let built = Builder::explicit().sequence(0x2001_1010, &[item], true).us(0x0028_0010, 5);
    check_explicit(built, "20011010[{ 00100020:LO:4 }] 00280010:US:2");
}

#[test]
fn a_data_set_in_another_encoding_than_declared_is_an_error() {
    let implicit = Builder::implicit().text(0x0008_0005, "CS", "ISO_IR 100");
    assert!(matches!(
        check_fails(implicit, Encoding::ExplicitLittle),
        DataSetError::Malformed { at: 0, .. }
    ));
    let explicit = Builder::explicit().text(0x0008_0005, "CS", "ISO_IR 100");
    assert!(matches!(
        check_fails(explicit, Encoding::ImplicitLittle),
        DataSetError::Malformed { at: 0, .. }
    ));
}

#[test]
fn an_attribute_that_was_no_sequence_in_older_editions() {
    let built =
        Builder::implicit().text(0x0040_A170, "CS", "NAMED TYPE").text(0x0040_A073, "CS", "X ");
    check(built, Encoding::ImplicitLittle, "0040A170:UN:10 0040A073:UN:2");
}

#[test]
fn signedness_of_implicit_pixel_attributes() {
    let built = Builder::implicit().us(0x0028_0106, 1);
    let mut source = SliceSource::new(&built.bytes);
    let mut scanner = Scanner::new(&mut source, Encoding::ImplicitLittle, &Limits::default());
    scanner.set_signed(true);
    assert_eq!(walk(&mut scanner).unwrap(), "00280106:SS:2");
}

#[test]
fn fragments() {
    check_explicit(
        Builder::explicit().fragments(&[0, 12], &[b"\xFF\xD8ab", b"cd"]),
        "7FE00010:OB< 8 4 2 >",
    );
    let mut unfinished = Builder::explicit().fragments(&[], &[b"abcd"]);
    unfinished.bytes.truncate(unfinished.bytes.len() - 8);
    check_explicit(unfinished, "7FE00010:OB< 0 4 ...");
    let unended = Builder::explicit().header(0x7FE0_0010, "OB", UNDEFINED).raw(&[0xFE, 0xFF, 0x00]);
    assert!(matches!(
        check_fails(unended, Encoding::ExplicitLittle),
        DataSetError::Truncated { .. }
    ));
    let nested = Builder::explicit()
        .header(0x7FE0_0010, "OB", UNDEFINED)
        .raw(b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
    assert!(matches!(
        check_fails(nested, Encoding::ExplicitLittle),
        DataSetError::Malformed { .. }
    ));
}

#[test]
fn harmless_remains_are_tolerated_and_told() {
    check_explicit(
        Builder::explicit().us(0x0028_0010, 5).raw(&[0; 5]),
        "00280010:US:2 (zero bytes follow the data set)",
    );
    check_explicit(
        Builder::explicit().us(0x0028_0010, 5).raw(&[0; 50_001]),
        "00280010:US:2 (zero bytes follow the data set)",
    );
    check_explicit(
        Builder::explicit().delimiter(0xFFFE_E00D).us(0x0028_0010, 5),
        "00280010:US:2 (a delimiter where an element belongs)",
    );
    check_explicit(
        Builder::explicit().item(b"lost", true).us(0x0028_0010, 5),
        "00280010:US:2 (an item outside of a sequence was skipped)",
    );
    let mut garbage = Builder::explicit().us(0x0028_0010, 5).raw(&[0; 20]);
    garbage.bytes.push(1);
    check_fails(garbage, Encoding::ExplicitLittle);
    check_fails(Builder::explicit().raw(b"abc"), Encoding::ExplicitLittle);
}

#[test]
fn odd_lengths_are_walked() {
    check_explicit(
        Builder::explicit().text(0x0008_1030, "LO", "abc").us(0x0028_0010, 5),
        "00081030:LO:3 00280010:US:2",
    );
}

#[test]
fn lengths_beyond_what_remains_are_truncation() {
    for built in [
        Builder::explicit().header(0x7FE0_0010, "OW", 0xFFFF_FF00).raw(&[0; 64]),
        Builder::explicit().header(0x0008_1030, "LO", 5).raw(b"abcd"),
        Builder::explicit().header(0x0008_1115, "SQ", 100),
        Builder::explicit().header(0x0008_1115, "SQ", UNDEFINED),
        Builder::explicit().sequence(0x0008_1115, &[], false).raw(b"\x08\x00"),
    ] {
        assert!(matches!(
            check_fails(built, Encoding::ExplicitLittle),
            DataSetError::Truncated { .. }
        ));
    }
}

#[test]
fn what_overlaps_its_container_is_malformed() {
    let element = Builder::explicit().header(0x0008_1150, "UI", 40).raw(b"1.2\0").bytes;
    let in_item = Builder::explicit().sequence(0x0008_1115, &[element], true).raw(&[0; 64]);
    assert!(matches!(
        check_fails(in_item, Encoding::ExplicitLittle),
        DataSetError::Malformed { .. }
    ));
    let wrong = Builder::explicit().header(0x0010_0010, "PN", 0).header(0x0008_0008, "SS", 2);
    assert!(matches!(check_fails(wrong, Encoding::ExplicitLittle), DataSetError::Truncated { .. }));
    let forbidden = Builder::explicit().header(0x7FE0_0011, "UT", UNDEFINED).raw(&[0; 64]);
    assert!(matches!(
        check_fails(forbidden, Encoding::ExplicitLittle),
        DataSetError::Malformed { .. }
    ));
}

#[test]
fn limits_hold() {
    let limits = Limits { max_depth: 10, max_elements: 50, max_fragments: 4, ..Limits::default() };
    let run = |bytes: &[u8]| events(bytes, Encoding::ExplicitLittle, &limits);
    let mut deep = Builder::explicit();
    for _ in 0..11 {
        deep = deep.header(0x0008_1115, "SQ", UNDEFINED).raw(b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
    }
    assert!(matches!(run(&deep.bytes), Err(DataSetError::Limit { .. })));
    let mut many = Builder::explicit();
    for element in 0..51 {
        many = many.us(0x0028_1000 + element, 1);
    }
    assert!(matches!(run(&many.bytes), Err(DataSetError::Limit { .. })));
    let empty_items = vec![Vec::new(); 51];
    let items = Builder::explicit().sequence(0x0008_1115, &empty_items, true);
    assert!(matches!(run(&items.bytes), Err(DataSetError::Limit { .. })));
    let four = Builder::explicit().fragments(&[], &[b"a1", b"b1", b"c1"]);
    assert!(run(&four.bytes).is_ok());
    let five = Builder::explicit().fragments(&[], &[b"a1", b"b1", b"c1", b"d1"]);
    assert!(matches!(run(&five.bytes), Err(DataSetError::Limit { .. })));
}

#[test]
fn a_million_levels_do_not_overflow_the_stack() {
    let level = Builder::explicit()
        .header(0x0008_1115, "SQ", UNDEFINED)
        .raw(b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF")
        .bytes;
    let deep = level.repeat(1_000_000);
    let limits = Limits { max_depth: usize::MAX, max_elements: usize::MAX, ..Limits::default() };
    let found = events(&deep, Encoding::ExplicitLittle, &limits);
    assert!(matches!(found, Err(DataSetError::Truncated { .. })));
}

#[test]
fn a_source_of_unknown_length_ends_as_well() {
    use std::io::Write;
    let built = Builder::explicit().text(0x0008_1030, "LO", "abcd").us(0x0028_0010, 5);
    let deflate = |bytes: &[u8]| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let compressed = deflate(&built.bytes);
    let limits = Limits::default();
    let mut source = InflateSource::new(compressed.as_slice(), 1 << 20);
    let mut scanner = Scanner::new(&mut source, Encoding::ExplicitLittle, &limits);
    assert_eq!(walk(&mut scanner).unwrap(), "00081030:LO:4 00280010:US:2");
    // A lying length neither allocates nor loops.
    let lying = Builder::explicit().header(0x7FE0_0010, "OW", 0xFFFF_FF00).raw(&[0; 200_000]);
    let compressed = deflate(&lying.bytes);
    let mut source = InflateSource::new(compressed.as_slice(), 1 << 20);
    let mut scanner = Scanner::new(&mut source, Encoding::ExplicitLittle, &limits);
    assert!(matches!(walk(&mut scanner), Err(DataSetError::Truncated { .. })));
    let mut source = InflateSource::new(compressed.as_slice(), 1 << 10);
    let mut scanner = Scanner::new(&mut source, Encoding::ExplicitLittle, &limits);
    assert!(matches!(walk(&mut scanner), Err(DataSetError::Limit { .. })));
}
