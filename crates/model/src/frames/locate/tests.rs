//! Frame location: tables, arithmetic, and what happens when they are wrong.

use super::*;

const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";
const MPEG4: &str = "1.2.840.10008.1.2.4.102";

fn pixels(rows: u16, columns: u16, samples: u16, bits: u16, frames: i64) -> Pixels {
    Pixels {
        rows,
        columns,
        samples,
        bits_allocated: bits,
        frames: (frames > 0).then_some(frames),
        photometric: "MONOCHROME2".to_owned(),
    }
}

fn check_native(pixels: &Pixels, length: u64, bits_per_frame: u64, count: u32, odd: bool) {
    let range = ByteRange { offset: 100, length };
    let located = native(pixels, tag::PIXEL_DATA, range, TransferSyntax::EXPLICIT_LITTLE);
    assert_eq!(located.table, FrameTable::Native { offset: 100, bits_per_frame, count });
    assert_eq!(located.oddity.is_some(), odd);
}

#[test]
fn native_frames_by_arithmetic() {
    check_native(&pixels(4, 5, 1, 16, 3), 120, 320, 3, false);
    check_native(&pixels(4, 5, 1, 16, 0), 40, 320, 1, false);
    check_native(&pixels(7, 13, 1, 1, 11), 126, 91, 11, false);
    // Short values: whole frames only; nothing whole gives none.
    check_native(&pixels(4, 5, 1, 16, 3), 119, 320, 2, true);
    check_native(&pixels(0xFFFF, 0xFFFF, 1, 16, 1), 64, 0xFFFF * 0xFFFF * 16, 0, true);
    check_native(&pixels(4, 5, 1, 16, i64::from(i32::MAX)), 80, 320, 2, true);
    check_native(&pixels(4, 5, 1, 16, -3), 40, 320, 1, false);
}

#[test]
fn subsampled_native_frames() {
    let ybr = |photometric: &str, frames| Pixels {
        photometric: photometric.to_owned(),
        ..pixels(4, 4, 3, 8, frames)
    };
    check_native(&ybr("YBR_FULL_422", 2), 64, 256, 2, false);
    check_native(&ybr("YBR_FULL_422", 2), 96, 384, 2, false);
    check_native(&ybr("YBR_FULL", 1), 48, 384, 1, false);
    check_native(&ybr("YBR_PARTIAL_420", 1), 24, 192, 1, false);
}

#[test]
fn undescribed_and_float_pixels() {
    let range = ByteRange { offset: 100, length: 64 };
    let plain = TransferSyntax::EXPLICIT_LITTLE;
    let none = native(&pixels(0, 5, 1, 16, 1), tag::PIXEL_DATA, range, plain);
    assert_eq!((none.table, none.oddity.is_some()), (FrameTable::None, true));
    let float = native(&pixels(4, 4, 1, 0, 1), tag::FLOAT_PIXEL_DATA, range, plain);
    assert_eq!(float.table, FrameTable::Native { offset: 100, bits_per_frame: 512, count: 1 });
    let double = native(&pixels(2, 4, 1, 0, 1), tag::DOUBLE_FLOAT_PIXEL_DATA, range, plain);
    assert_eq!(double.table.count(), 1);
}

/// Fragments of the given lengths, one after another; a `!` before the length marks the start of a
/// codestream.
fn fragments(lengths: &[&str]) -> Vec<Fragment> {
    let mut at = 1000;
    let mut list = Vec::new();
    for text in lengths {
        let starts_codestream = text.starts_with('!');
        let length = text.trim_start_matches('!').parse().unwrap();
        let range = ByteRange { offset: at + 8, length };
        list.push(Fragment { at, range, starts_codestream });
        at += 8 + length;
    }
    list
}

/// Checks how many fragments each frame has.
#[track_caller]
fn check(
    uid: &str,
    claimed: i64,
    lengths: &[&str],
    basic: &[u32],
    extended: Option<&[u64]>,
    expected: &[usize],
    odd: bool,
) {
    let list = fragments(lengths);
    let mut tables = Tables::default();
    tables.set_basic(&basic.iter().flat_map(|o| o.to_le_bytes()).collect::<Vec<_>>());
    if let Some(offsets) = extended {
        let bytes: Vec<u8> = offsets.iter().flat_map(|o| o.to_le_bytes()).collect();
        tables.set_extended(tag::EXTENDED_OFFSET_TABLE, &bytes, false);
    }
    let syntax = TransferSyntax::from_uid(uid).unwrap();
    let located = encapsulated(&pixels(4, 4, 1, 8, claimed), &list, &tables, syntax);
    let FrameTable::Encapsulated { frames } = &located.table else { panic!("{located:?}") };
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), expected);
    assert_eq!(located.oddity.is_some(), odd, "{:?}", located.oddity);
    // Frames hold the fragments in order, each once.
    let flat: Vec<ByteRange> = frames.iter().flatten().copied().collect();
    let all: Vec<ByteRange> = list.iter().map(|f| f.range).collect();
    assert_eq!(flat, all[..flat.len()]);
}

#[test]
fn offset_tables_that_prove_right_are_used() {
    check(JPEG, 2, &["!10", "6", "!4"], &[0, 32], None, &[2, 1], false);
    check(JPEG, 2, &["!10", "6", "!4"], &[], Some(&[0, 32]), &[2, 1], false);
    check(JPEG, 2, &["!10", "!4"], &[0, 99], Some(&[0, 18]), &[1, 1], false);
}

#[test]
fn offset_tables_that_are_wrong_are_not() {
    check(JPEG, 2, &["!10", "6", "!4"], &[0, 33], None, &[2, 1], true);
    check(JPEG, 2, &["!10", "!4"], &[0, 0], None, &[1, 1], true);
    check(JPEG, 2, &["!10", "!4"], &[8, 26], None, &[1, 1], true);
    check(JPEG, 2, &["!10", "6", "!4"], &[0, 32], Some(&[0, u64::MAX]), &[2, 1], true);
    check(JPEG, 2, &["!10", "!4"], &[0, 18, 36, 54], None, &[1, 1], true);
}

#[test]
fn without_a_table() {
    check(JPEG, 3, &["!10", "!6", "!4"], &[], None, &[1, 1, 1], false);
    check(JPEG, 1, &["!10", "6", "4"], &[], None, &[3], false);
    check(JPEG, 2, &["!10", "6", "!4", "2"], &[], None, &[2, 2], false);
    check(JPEG, 2, &["!10", "!6", "!4"], &[], None, &[1, 1, 1], true);
    check(JPEG, 2, &["10", "6", "4"], &[], None, &[1, 1, 1], true);
    check(JPEG, 5, &["!10", "!6"], &[], None, &[1, 1], true);
    check(RLE, 5, &["64", "66", "68"], &[], None, &[1, 1, 1], true);
    check(RLE, 1, &["64"], &[], None, &[1], false);
}

#[test]
fn special_cases() {
    check(MPEG4, 50, &["10", "6"], &[], None, &[2], false);
    check(JPEG, 1, &[], &[], None, &[], true);
    // An empty fragment at the end is no frame.
    let list = fragments(&["!10", "!4", "0"]);
    let syntax = TransferSyntax::from_uid(JPEG).unwrap();
    let located = encapsulated(&pixels(4, 4, 1, 8, 2), &list, &Tables::default(), syntax);
    assert_eq!((located.table.count(), located.oddity), (2, None));
}

#[test]
fn codestreams_are_recognised_by_their_first_bytes() {
    for start in [
        b"\xFF\xD8\xFF\xE0".as_slice(),
        b"\xFF\x4F\xFF\x51",
        b"\xFF\x0A\x00",
        b"\0\0\0\x0CjP  \r\n",
        b"\0\0\0\x0CJXL \r\n",
    ] {
        assert!(starts_codestream(start));
    }
    for other in [b"".as_slice(), b"\xFF", b"\xFF\x4F\x00\x51", b"\0\0\0\x0Cxxxx"] {
        assert!(!starts_codestream(other));
    }
}
