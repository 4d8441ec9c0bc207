//! Round trips, the worked example of the standard, and damage.

use super::*;
use crate::attributes::DataSet;
use crate::testdata::{Random, json};

fn image(words: &str) -> Image {
    Image::read(&DataSet::parse(json(words).as_bytes()).unwrap()).unwrap()
}

/// Samples of `bits` bits: flat areas, ramps and noise, as images have.
fn picture(image: &Image, bits: u32, seed: u64) -> Vec<u16> {
    let mut random = Random::new(seed);
    let mask = ((1u32 << bits) - 1) as u16;
    let mut out = Vec::with_capacity(image.pixels() * image.samples);
    for y in 0..image.rows {
        for x in 0..image.columns {
            for sample in 0..image.samples {
                let value = match (x / 9 + y / 7) % 4 {
                    0 => 0,
                    1 => (x * 3 + y * 5 + sample * 11) as u16,
                    2 => random.next() as u16,
                    _ => mask,
                };
                out.push(value & mask);
            }
        }
    }
    out
}

#[test]
fn the_example_of_the_standard_comes_out_bit_for_bit() {
    // ITU-T T.87 annex H.3.
    let samples = [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145];
    let coded = [
        0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00,
        0x6E, 0xE6, 0x00, 0x00, 0x01, 0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60,
    ];
    let image = image("rows=4 columns=4");
    let stream = encode(&image, &samples, 8, 0).unwrap();
    assert_eq!(stream[25..stream.len() - 2], coded);
    assert_eq!(decode_stream(&image, &stream).unwrap().1, samples);
}

#[test]
fn every_size_depth_and_number_of_components_is_exact() {
    let sizes = [(1, 1), (1, 300), (300, 1), (2, 2), (7, 5), (65, 130), (511, 513)];
    for (rows, columns) in sizes {
        for (bits, extra) in [
            (2, "bits=8"),
            (7, "bits=8"),
            (8, "bits=8"),
            (12, "bits=16"),
            (16, "bits=16"),
            (8, "bits=8 samples=3 photometric=RGB"),
            (16, "bits=16 samples=3 photometric=RGB"),
        ] {
            let image = image(&format!("rows={rows} columns={columns} {extra}"));
            let samples = picture(&image, bits, (rows * columns) as u64);
            let stream = encode(&image, &samples, bits as u8, 0).unwrap();
            let (frame, decoded) = decode_stream(&image, &stream).unwrap();
            assert_eq!(u32::from(frame.precision), bits);
            assert!(decoded == samples, "{rows} x {columns} {extra} {bits} bits");
        }
    }
}

#[test]
fn near_lossless_stays_within_its_bound() {
    for near in [1, 2, 5, 20] {
        for (bits, extra) in [(8, "bits=8"), (12, "bits=16"), (8, "samples=3 photometric=RGB")] {
            let image = image(&format!("rows=61 columns=83 {extra}"));
            let samples = picture(&image, bits, u64::from(near));
            let stream = encode(&image, &samples, bits as u8, near).unwrap();
            let (_, decoded) = decode_stream(&image, &stream).unwrap();
            let worst = samples.iter().zip(&decoded).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(u16::from(near)) && worst > Some(0), "{near} {extra}: {worst:?}");
        }
    }
}

#[test]
fn streams_that_contradict_the_data_set_are_refused() {
    let small = image("rows=4 columns=4");
    let stream = encode(&small, &[7; 16], 8, 0).unwrap();
    for words in
        ["rows=4 columns=5", "rows=5 columns=4", "rows=4 columns=4 samples=3 photometric=RGB"]
    {
        assert!(decode(&image(words), &stream).is_err(), "{words}");
    }
    let deep = encode(&image("rows=4 columns=4 bits=16"), &[7; 16], 12, 0).unwrap();
    assert!(decode(&small, &deep).is_err());
    // A header that claims 60,000 x 8,000 pixels over a few bytes of data.
    let mut huge = stream.clone();
    huge[7..11].copy_from_slice(&[0xEA, 0x60, 0x1F, 0x40]);
    assert!(decode(&image("rows=60000 columns=8000"), &huge).is_err());
}
