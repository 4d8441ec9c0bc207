//! ICC profiles (ICC.1:2010) of what a browser takes an unlabelled picture for: sRGB, and gray with
//! the same tone curve. Written here from the published numbers of IEC 61966-2-1.

/// Illuminant of the connection space, D50.
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];

/// From D65, the white of sRGB, to D50 (Bradford).
const ADAPTATION: [f64; 9] =
    [1.04788, 0.02292, -0.05022, 0.02959, 0.99048, -0.01707, -0.00925, 0.01508, 0.75168];

/// The profile of sRGB.
pub(crate) fn srgb() -> Vec<u8> {
    let curve = curve();
    profile(
        b"RGB ",
        &[
            (b"desc", text("sRGB")),
            (b"cprt", text("no copyright")),
            (b"wtpt", numbers(b"XYZ ", &D50)),
            (b"chad", numbers(b"sf32", &ADAPTATION)),
            (b"rXYZ", numbers(b"XYZ ", &[0.43607, 0.22249, 0.01392])),
            (b"gXYZ", numbers(b"XYZ ", &[0.38515, 0.71687, 0.09708])),
            (b"bXYZ", numbers(b"XYZ ", &[0.14307, 0.06061, 0.71410])),
            (b"rTRC", curve.clone()),
            (b"gTRC", curve.clone()),
            (b"bTRC", curve),
        ],
    )
}

/// The profile of gray with the tone curve of sRGB.
pub(crate) fn gray() -> Vec<u8> {
    profile(
        b"GRAY",
        &[
            (b"desc", text("gray, sRGB curve")),
            (b"cprt", text("no copyright")),
            (b"wtpt", numbers(b"XYZ ", &D50)),
            (b"chad", numbers(b"sf32", &ADAPTATION)),
            (b"kTRC", curve()),
        ],
    )
}

fn profile(space: &[u8; 4], tags: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut table = (tags.len() as u32).to_be_bytes().to_vec();
    let mut data = Vec::new();
    let start = 128 + 4 + 12 * tags.len();
    for (name, value) in tags {
        table.extend_from_slice(*name);
        table.extend(((start + data.len()) as u32).to_be_bytes());
        table.extend((value.len() as u32).to_be_bytes());
        data.extend_from_slice(value);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let mut out = ((start + data.len()) as u32).to_be_bytes().to_vec();
    out.extend([0; 4]);
    out.extend(0x0430_0000u32.to_be_bytes());
    out.extend_from_slice(b"mntr");
    out.extend_from_slice(space);
    out.extend_from_slice(b"XYZ ");
    // A fixed date, so that equal pictures are equal files.
    for part in [2020u16, 1, 1, 0, 0, 0] {
        out.extend(part.to_be_bytes());
    }
    out.extend_from_slice(b"acsp");
    out.resize(68, 0);
    D50.iter().for_each(|value| out.extend(fixed(*value)));
    out.resize(128, 0);
    out.extend(table);
    out.extend(data);
    out
}

fn text(words: &str) -> Vec<u8> {
    let mut out = b"mluc\0\0\0\0".to_vec();
    out.extend([0, 0, 0, 1, 0, 0, 0, 12]);
    out.extend_from_slice(b"enUS");
    out.extend((words.len() as u32 * 2).to_be_bytes());
    out.extend(28u32.to_be_bytes());
    words.encode_utf16().for_each(|unit| out.extend(unit.to_be_bytes()));
    out
}

fn numbers(kind: &[u8; 4], values: &[f64]) -> Vec<u8> {
    let mut out = kind.to_vec();
    out.extend([0; 4]);
    values.iter().for_each(|value| out.extend(fixed(*value)));
    out
}

/// The curve of sRGB as parameters: a power above 0.04045, a line below.
fn curve() -> Vec<u8> {
    let mut out = b"para\0\0\0\0\0\x03\0\0".to_vec();
    for value in [2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045] {
        out.extend(fixed(value));
    }
    out
}

/// A signed number of 16 bits and 16 bits of fraction.
fn fixed(value: f64) -> [u8; 4] {
    ((value * 65536.0).round() as i32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_say_their_own_length_and_every_tag_lies_inside() {
        for profile in [srgb(), gray()] {
            let word =
                |at: usize| u32::from_be_bytes(profile[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(word(0), profile.len());
            assert_eq!(&profile[36..40], b"acsp");
            for tag in 0..word(128) {
                let at = 132 + 12 * tag;
                assert!(word(at + 4) + word(at + 8) <= profile.len());
                assert_eq!(word(at + 4) % 4, 0);
            }
        }
    }
}
