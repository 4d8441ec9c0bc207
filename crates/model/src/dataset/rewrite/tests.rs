//! Byte-exact expectations for the rewriter, and the same data set through every encoding.

use super::*;
use crate::dataset::{InflateSource, SliceSource};
use crate::tag::tag;
use crate::testdata::Builder;

fn syntax(uid: &str) -> TransferSyntax {
    TransferSyntax::from_uid(uid).expect("a syntax of the table")
}

fn rewrite_with(
    bytes: &[u8],
    encoding: Encoding,
    target: TransferSyntax,
    pixels: PixelPlan,
    changes: Changes,
) -> Result<Vec<u8>, RewriteError> {
    let source = SliceSource::new(bytes);
    let limits = Limits::default();
    let mut rewriter = Rewriter::new(source, encoding, target, pixels, changes, &limits);
    let mut all = Vec::new();
    loop {
        let mut out = Vec::new();
        let step = rewriter.step(&mut out)?;
        assert!(out.len() <= STEP + PIECE + 64, "a step of {} bytes", out.len());
        all.append(&mut out);
        match step {
            Step::More => {}
            Step::Pixels if target.is_encapsulated() => {
                rewriter.encapsulated_pixels(&mut all);
                rewriter.fragment(b"abc", &mut all);
                rewriter.end_pixels(&mut all);
            }
            Step::Pixels => {
                rewriter.native_pixels(VR::OB, 4, &mut all);
                rewriter.write(b"wx", &mut all);
                rewriter.write(b"yz", &mut all);
            }
            Step::End => return Ok(all),
        }
    }
}

fn rewrite(built: &Builder, encoding: Encoding) -> Vec<u8> {
    let target = TransferSyntax::EXPLICIT_LITTLE;
    rewrite_with(&built.bytes, encoding, target, PixelPlan::Copy, Changes::new())
        .expect("a data set that can be rewritten")
}

/// A sequence with undefined lengths, as they are always written.
fn sequence(built: Builder, tag: u32, items: &[Vec<u8>]) -> Builder {
    built.sequence(tag, items, false)
}

/// A bit of everything, in one encoding.
fn everything(encoding: Encoding) -> Builder {
    let big = encoding == Encoding::ExplicitBig;
    let word = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let item = || Builder::new(encoding).us(0x0028_0010, 7).text(0x0008_0100, "SH", "CODE");
    let inner = Builder::new(encoding).sequence(0x0040_A730, &[item().bytes], true);
    let lut: Vec<u8> = [1u16, 0x0203, 0x0405].into_iter().flat_map(word).collect();
    let double = if big { 1.5f64.to_be_bytes() } else { 1.5f64.to_le_bytes() };
    Builder::new(encoding)
        .text(0x0008_0005, "CS", "ISO_IR 192")
        .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.7\0")
        .sequence(0x0008_1140, &[item().bytes, Vec::new()], true)
        .text(0x0009_0010, "LO", "QIANLI")
        .text(0x0010_0010, "PN", "Wang^Wu ")
        .element(0x0018_9087, "FD", &double)
        .us(0x0028_0103, 1)
        .element(0x0028_0106, "SS", &word(0xFFFE))
        .element(0x0028_1201, "OW", &lut)
        .sequence(0x0040_A043, &[inner.bytes], true)
}

/// [`everything`] as it must come out.
fn expected() -> Builder {
    let item = || Builder::explicit().us(0x0028_0010, 7).text(0x0008_0100, "SH", "CODE");
    let inner = sequence(Builder::explicit(), 0x0040_A730, &[item().bytes]);
    let built = Builder::explicit().text(0x0008_0005, "CS", "ISO_IR 192").text(
        0x0008_0016,
        "UI",
        "1.2.840.10008.5.1.4.1.1.7\0",
    );
    let built = sequence(built, 0x0008_1140, &[item().bytes, Vec::new()])
        .text(0x0009_0010, "LO", "QIANLI")
        .text(0x0010_0010, "PN", "Wang^Wu ")
        .element(0x0018_9087, "FD", &1.5f64.to_le_bytes())
        .us(0x0028_0103, 1)
        .element(0x0028_0106, "SS", &0xFFFEu16.to_le_bytes())
        .element(0x0028_1201, "OW", &[1, 0, 3, 2, 5, 4]);
    sequence(built, 0x0040_A043, &[inner.bytes])
}

#[test]
fn every_encoding_becomes_explicit_little_endian() {
    for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
        assert_eq!(rewrite(&everything(encoding), encoding), expected().bytes, "{encoding:?}");
    }
}

#[test]
fn explicit_becomes_implicit_and_comes_back() {
    let from = everything(Encoding::ExplicitLittle);
    let target = TransferSyntax::IMPLICIT_LITTLE;
    let implicit = rewrite_with(
        &from.bytes,
        Encoding::ExplicitLittle,
        target,
        PixelPlan::Copy,
        Changes::new(),
    );
    let mut implicit_builder = Builder::implicit();
    implicit_builder.bytes = implicit.expect("a data set");
    assert_eq!(&implicit_builder.bytes[..8], [8, 0, 5, 0, 10, 0, 0, 0]);
    assert_eq!(rewrite(&implicit_builder, Encoding::ImplicitLittle), expected().bytes);
}

#[test]
fn deflated_output_inflates_to_the_same() {
    let target = syntax("1.2.840.10008.1.2.1.99");
    // Incompressible, so that the deflater needs more room than it is given at once.
    let noise: Vec<u8> =
        (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let from = Builder::explicit().element(0x0042_0011, "OB", &noise);
    let deflated = rewrite_with(
        &from.bytes,
        Encoding::ExplicitLittle,
        target,
        PixelPlan::Copy,
        Changes::new(),
    )
    .expect("a data set");
    assert_eq!(deflated.len() % 2, 0);
    let mut inflated = InflateSource::new(deflated.as_slice(), 1 << 20);
    let mut plain = vec![0; from.bytes.len()];
    inflated.read_exact(&mut plain).expect("as many bytes as went in");
    assert!(plain == from.bytes);
    assert_eq!(inflated.remaining(), Some(0));
}

#[test]
fn group_lengths_go_odd_lengths_are_padded_long_text_becomes_unknown() {
    let long = "x".repeat(70_000);
    let from = Builder::implicit()
        .element(0x0008_0000, "UL", &[9, 0, 0, 0])
        .text(0x0008_0018, "UI", "1.2.3")
        .text(0x0008_0060, "CS", "MRI")
        .text(0x0008_1030, "LO", &long)
        .element(0x0009_1001, "UN", &[1, 2, 3]);
    let header = [8, 0, 0x30, 0x10, b'U', b'N', 0, 0];
    let expected = Builder::explicit()
        .text(0x0008_0018, "UI", "1.2.3\0")
        .text(0x0008_0060, "CS", "MRI ")
        .raw(&header)
        .raw(&70_000u32.to_le_bytes())
        .raw(long.as_bytes())
        .element(0x0009_1001, "UN", &[1, 2, 3, 0]);
    assert_eq!(rewrite(&from, Encoding::ImplicitLittle), expected.bytes);
}

#[test]
fn unknown_elements_keep_their_bytes_and_known_ones_get_their_representation() {
    let private = Builder::implicit().us(0x0028_0010, 1);
    let from = Builder::explicit()
        .element(0x0009_1002, "UN", &[0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0])
        .element(0x0010_0020, "UN", b"ID")
        .header(0x0011_1003, "UN", u32::MAX)
        .item(&private.bytes, true)
        .delimiter(0xFFFE_E0DD);
    let expected = Builder::explicit()
        .element(0x0009_1002, "UN", &[0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0])
        .text(0x0010_0020, "LO", "ID");
    let item = Builder::explicit().us(0x0028_0010, 1);
    let expected = sequence(expected, 0x0011_1003, &[item.bytes]);
    assert_eq!(rewrite(&from, Encoding::ExplicitLittle), expected.bytes);
}

#[test]
fn samples_of_big_endian_pixels_are_swapped_as_wide_as_they_are() {
    for (bits, expected) in [(8, [1, 0, 3, 2]), (16, [1, 0, 3, 2]), (32, [3, 2, 1, 0])] {
        let from = Builder::new(Encoding::ExplicitBig).us(0x0028_0100, bits).element(
            0x7FE0_0010,
            "OW",
            &[0, 1, 2, 3],
        );
        let expected =
            Builder::explicit().us(0x0028_0100, bits).element(0x7FE0_0010, "OW", &expected);
        assert_eq!(rewrite(&from, Encoding::ExplicitBig), expected.bytes, "{bits}");
    }
}

#[test]
fn elements_are_replaced_added_and_removed() {
    let item = Builder::explicit().text(0x0008_0018, "UI", "1.9\0");
    let from = Builder::explicit()
        .text(0x0008_0018, "UI", "1.2\0")
        .sequence(0x0008_1140, std::slice::from_ref(&item.bytes), true)
        .text(0x0020_000D, "UI", "1.5\0")
        .sequence(0x0088_0200, std::slice::from_ref(&item.bytes), true)
        .element(0x7FE0_0001, "OV", &[0; 8])
        .element(0x7FE0_0010, "OB", &[1, 2]);
    let changes = Changes::from([
        (tag::IMAGE_TYPE, Change::text(VR::CS, "DERIVED")),
        (tag::SOP_INSTANCE_UID, Change::text(VR::UI, "2.25.7")),
        (tag(0x0028, 0x2110), Change::text(VR::CS, "01")),
        (tag(0x0088, 0x0200), Change::Remove),
        (tag::EXTENDED_OFFSET_TABLE, Change::Remove),
        (tag(0x7FE1, 0x0010), Change::text(VR::LO, "END")),
    ]);
    let found = rewrite_with(
        &from.bytes,
        Encoding::ExplicitLittle,
        TransferSyntax::EXPLICIT_LITTLE,
        PixelPlan::Replace,
        changes,
    );
    let expected =
        Builder::explicit().text(0x0008_0008, "CS", "DERIVED ").text(0x0008_0018, "UI", "2.25.7");
    let expected = sequence(expected, 0x0008_1140, &[item.bytes])
        .text(0x0020_000D, "UI", "1.5\0")
        .text(0x0028_2110, "CS", "01")
        .element(0x7FE0_0010, "OB", b"wxyz")
        .text(0x7FE1_0010, "LO", "END ");
    assert_eq!(found.expect("a data set"), expected.bytes);
}

#[test]
fn fragments_are_replaced_copied_or_refused() {
    let rle = syntax("1.2.840.10008.1.2.5");
    let from = Builder::explicit().us(0x0028_0010, 1).fragments(&[0], &[&[1, 2, 3, 4], &[5, 6]]);
    let check = |target, pixels, expected: Option<Builder>| {
        let found =
            rewrite_with(&from.bytes, Encoding::ExplicitLittle, target, pixels, Changes::new());
        match expected {
            Some(expected) => assert_eq!(found.expect("a data set"), expected.bytes),
            None => assert!(matches!(found, Err(RewriteError::Encapsulated(_)))),
        }
    };
    let head = || Builder::explicit().us(0x0028_0010, 1);
    check(rle, PixelPlan::Copy, Some(head().fragments(&[0], &[&[1, 2, 3, 4], &[5, 6]])));
    check(rle, PixelPlan::Replace, Some(head().fragments(&[], &[b"abc\0"])));
    let native = head().element(0x7FE0_0010, "OB", b"wxyz");
    check(TransferSyntax::EXPLICIT_LITTLE, PixelPlan::Replace, Some(native));
    check(TransferSyntax::EXPLICIT_LITTLE, PixelPlan::Copy, None);
}

#[test]
fn long_values_come_in_steps() {
    let long: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    let from =
        Builder::new(Encoding::ExplicitBig).us(0x0028_0100, 16).element(0x7FE0_0010, "OW", &long);
    let mut swapped = long.clone();
    swapped.chunks_exact_mut(2).for_each(<[u8]>::reverse);
    let expected = Builder::explicit().us(0x0028_0100, 16).element(0x7FE0_0010, "OW", &swapped);
    assert!(rewrite(&from, Encoding::ExplicitBig) == expected.bytes);
}

#[test]
fn a_truncated_data_set_is_an_error() {
    let from = everything(Encoding::ExplicitLittle);
    let cut = &from.bytes[..from.bytes.len() - 3];
    let found = rewrite_with(
        cut,
        Encoding::ExplicitLittle,
        TransferSyntax::EXPLICIT_LITTLE,
        PixelPlan::Copy,
        Changes::new(),
    );
    assert!(matches!(found, Err(RewriteError::DataSet(_))));
}

/// Whatever happens to its bytes, a data set is rewritten to one that rewriting leaves alone, or not
/// at all.
#[test]
fn flipped_bytes_end_in_an_answer() {
    let limits = Limits { max_elements: 1000, max_fragments: 100, ..Limits::default() };
    let run = |bytes: &[u8], encoding| {
        let target = TransferSyntax::EXPLICIT_LITTLE;
        let source = SliceSource::new(bytes);
        let mut rewriter =
            Rewriter::new(source, encoding, target, PixelPlan::Copy, Changes::new(), &limits);
        let mut all = Vec::new();
        loop {
            let step = rewriter.step(&mut all)?;
            assert!(all.len() <= 4 * bytes.len() + 64, "{} bytes of {}", all.len(), bytes.len());
            if step == Step::End {
                return Ok::<_, RewriteError>(all);
            }
        }
    };
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut rewritten = 0;
    for round in 0..6000_u32 {
        let encoding = [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig]
            [round as usize % 3];
        let mut bytes = everything(encoding).bytes;
        for _ in 0..=round % 4 {
            // xorshift64: fixed seed, so that a failure can be repeated.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = random as usize % bytes.len();
            bytes[at] = [0, 0xFF, (random >> 32) as u8, bytes[at] ^ 1][(random >> 60) as usize % 4];
        }
        let Ok(once) = run(&bytes, encoding) else { continue };
        rewritten += 1;
        let twice = run(&once, Encoding::ExplicitLittle);
        assert!(twice.is_ok_and(|twice| twice == once), "round {round}");
    }
    assert!(rewritten > 1000, "{rewritten}");
}

#[test]
fn an_item_is_added_in_front_of_those_that_are_there() {
    let target = TransferSyntax::EXPLICIT_LITTLE;
    let code = |value: &str| Builder::explicit().text(0x0008_0100, "SH", value);
    let added = || Changes::from([(tag(0x0008, 0x0100), Change::text(VR::SH, "NEW "))]);
    let changes = || {
        let nested = Changes::from([(tag(0x0040, 0xA170), Change::AddItem(added()))]);
        Changes::from([
            (tag(0x0008, 0x2112), Change::AddItem(added())),
            (tag(0x0008, 0x9215), Change::AddItem(nested)),
        ])
    };
    let inner = sequence(Builder::explicit(), 0x0040_A170, &[code("NEW ").bytes]);
    let start = || Builder::explicit().text(0x0008_0005, "CS", "ISO_IR 192");
    for (before, after) in [
        (start(), vec![code("NEW ").bytes]),
        (start().sequence(0x0008_2112, &[], true), vec![code("NEW ").bytes]),
        (
            start().sequence(0x0008_2112, &[code("OLD ").bytes], true),
            vec![code("NEW ").bytes, code("OLD ").bytes],
        ),
    ] {
        let before = before.text(0x0010_0020, "LO", "P1");
        let written = rewrite_with(
            &before.bytes,
            Encoding::ExplicitLittle,
            target,
            PixelPlan::Copy,
            changes(),
        );
        let expected = sequence(start(), 0x0008_2112, &after);
        let expected = sequence(expected, 0x0008_9215, std::slice::from_ref(&inner.bytes));
        let expected = expected.text(0x0010_0020, "LO", "P1");
        assert_eq!(written.expect("a data set that can be rewritten"), expected.bytes);
    }
}
