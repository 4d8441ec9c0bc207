//! Round trips through the decoder, which is somebody else's, and damage.

use qianli_model::TransferSyntax;

use crate::testdata::{Random, json};
use crate::{Transcoded, transcode};

fn syntax(uid: &str) -> TransferSyntax {
    TransferSyntax::from_uid(uid).unwrap()
}

const LOSSLESS: &str = "1.2.840.10008.1.2.4.90";

fn encode(words: &str, frame: &[u8]) -> Transcoded {
    let native = TransferSyntax::EXPLICIT_LITTLE;
    transcode(json(words).as_bytes(), native, syntax(LOSSLESS), frame, 0).unwrap()
}

/// Flat areas, ramps and noise, of samples of `bits` bits in `width` bytes.
fn picture(rows: usize, columns: usize, samples: usize, bits: u32, signed: bool) -> Vec<u8> {
    let mut random = Random::new((rows * columns) as u64 + u64::from(bits));
    let mut out = Vec::new();
    for y in 0..rows {
        for x in 0..columns {
            for sample in 0..samples {
                let value = match (x / 19 + y / 17) % 4 {
                    0 => 0,
                    1 => (x * 3 + y * 5 + sample * 11) as u32,
                    2 => random.next() as u32,
                    _ => u32::MAX,
                };
                let value = value << (32 - bits);
                let value = if signed {
                    (value as i32 >> (32 - bits)) as u32
                } else {
                    value >> (32 - bits)
                };
                out.extend(&value.to_le_bytes()[..bits.div_ceil(8) as usize]);
            }
        }
    }
    out
}

#[test]
fn every_size_and_depth_comes_back_exactly() {
    let sizes =
        [(1, 1), (1, 300), (300, 1), (2, 3), (5, 4), (63, 65), (64, 64), (130, 97), (511, 513)];
    for (rows, columns) in sizes {
        for (bits, allocated, signed, samples) in [
            (1, 8, false, 1),
            (8, 8, false, 1),
            (8, 8, true, 1),
            (12, 16, false, 1),
            (12, 16, true, 1),
            (16, 16, false, 1),
            (16, 16, true, 1),
            (8, 8, false, 3),
            (16, 16, false, 3),
        ] {
            let photometric = if samples == 3 { "RGB" } else { "MONOCHROME2" };
            let words = format!(
                "rows={rows} columns={columns} bits={allocated} stored={bits} high={} signed={} \
                 samples={samples} photometric={photometric} planar=0",
                bits - 1,
                u8::from(signed)
            );
            let frame = picture(rows, columns, samples, bits, signed);
            let coded = encode(&words, &frame);
            let expected = if samples == 3 { "YBR_RCT" } else { "MONOCHROME2" };
            assert_eq!((coded.photometric, coded.lossy), (expected, None));
            let label = json(&words.replace("RGB", expected));
            let back = crate::decode_described(label.as_bytes(), syntax(LOSSLESS), &coded.bytes, 0);
            let back = back.unwrap();
            assert!(back.pixels == frame, "{words}");
            assert_eq!(back.photometric, photometric);
        }
    }
}

#[test]
fn packed_bits_come_back() {
    let words = "rows=37 columns=41 bits=1";
    let mut random = Random::new(5);
    let mut frame: Vec<u8> = (0..(37 * 41usize).div_ceil(8)).map(|_| random.next() as u8).collect();
    *frame.last_mut().unwrap() &= (1 << (37 * 41 % 8)) - 1;
    let coded = encode(words, &frame);
    let back = crate::decode(json(words).as_bytes(), syntax(LOSSLESS), &coded.bytes, 0).unwrap();
    assert_eq!(back, frame);
}

#[test]
fn streams_that_contradict_the_data_set_are_refused() {
    let coded = encode("rows=20 columns=30", &picture(20, 30, 1, 8, false)).bytes;
    let decode = |words: &str, stream: &[u8]| {
        crate::decode(json(words).as_bytes(), syntax(LOSSLESS), stream, 0)
    };
    for words in ["rows=20 columns=31", "rows=20 columns=30 samples=3 photometric=RGB"] {
        assert!(decode(words, &coded).is_err(), "{words}");
    }
    let mut huge = coded.clone();
    huge[8..16].copy_from_slice(&[0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF]);
    assert!(decode("rows=20 columns=30", &huge).is_err());
    assert!(decode("rows=65535 columns=65535", &huge).is_err());
    // Tiles, and precincts, of one sample each.
    let mut cut = coded.clone();
    cut[24..32].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(decode("rows=20 columns=30", &cut).is_err());
    assert!(decode("rows=20 columns=30", b"").is_err());
}

#[test]
fn a_jp2_file_is_opened() {
    let frame = picture(20, 30, 1, 8, false);
    let coded = encode("rows=20 columns=30", &frame).bytes;
    let mut file = b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\0jp2c".to_vec();
    file.extend(&coded);
    let words = json("rows=20 columns=30");
    assert_eq!(crate::decode(words.as_bytes(), syntax(LOSSLESS), &file, 0).unwrap(), frame);
}
