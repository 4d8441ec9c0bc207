//! RLE Lossless (PS3.5 annex G): PackBits over byte planes.

use crate::attributes::Image;
use crate::{ImagingError, malformed, unsupported};

/// Bytes of the header: the number of segments and fifteen offsets, each 32 bits.
const HEADER: usize = 64;

/// No byte of PackBits data stands for more than this many bytes, so a longer output cannot come
/// out of a frame and is refused before it is allocated.
const MAX_EXPANSION: usize = 64;

/// Decodes one frame to native little-endian pixels.
pub(crate) fn decode(image: &Image, frame: &[u8]) -> Result<Vec<u8>, ImagingError> {
    let offsets = segment_offsets(frame)?;
    let sample_bytes = image.sample_bytes();
    let planes = image.samples * sample_bytes;
    if offsets.len() != planes {
        return malformed("the number of RLE segments does not fit the samples");
    }
    let total = image.decoded_bytes();
    if total > frame.len().saturating_mul(MAX_EXPANSION) {
        return malformed("the RLE frame is too short for its dimensions");
    }
    let plane_bytes = total / planes;
    let mut out = vec![0; total];
    let mut plane = Vec::with_capacity(plane_bytes);
    for (index, start) in offsets.iter().enumerate() {
        let end = offsets.get(index + 1).copied().unwrap_or(frame.len());
        let Some(segment) = frame.get(*start..end) else {
            return malformed("an RLE segment lies outside its frame");
        };
        plane.clear();
        unpack(segment, plane_bytes, &mut plane)?;
        if planes == 1 {
            return Ok(plane);
        }
        // Segments come sample by sample, the most significant byte of each first (annex G.2).
        let (sample, significance) = (index / sample_bytes, index % sample_bytes);
        let byte = sample_bytes - 1 - significance;
        let (first, step) = if image.planar {
            (sample * image.pixels() * sample_bytes + byte, sample_bytes)
        } else {
            (sample * sample_bytes + byte, planes)
        };
        let targets = out.iter_mut().skip(first).step_by(step);
        for (target, value) in targets.zip(&plane) {
            *target = *value;
        }
    }
    Ok(out)
}

fn segment_offsets(frame: &[u8]) -> Result<Vec<usize>, ImagingError> {
    let Some((header, _)) = frame.split_first_chunk::<HEADER>() else {
        return malformed("the RLE header is truncated");
    };
    let mut words = header.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let count = words.next().unwrap_or(0) as usize;
    if !(1..=15).contains(&count) {
        return malformed("the RLE header counts no segment, or too many");
    }
    let offsets: Vec<usize> = words.take(count).map(|offset| offset as usize).collect();
    let ordered = offsets.is_sorted_by(|a, b| a < b) && offsets.first() >= Some(&HEADER);
    if ordered { Ok(offsets) } else { malformed("the RLE offsets are not ascending") }
}

/// Expands one segment until `length` bytes are there (annex G.3.2). What follows is padding.
fn unpack(mut segment: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), ImagingError> {
    while out.len() < length {
        let Some((control, rest)) = segment.split_first() else {
            return malformed("an RLE segment ends early");
        };
        let missing = length - out.len();
        match *control {
            0..=127 => {
                let run = usize::from(*control) + 1;
                let Some((literal, rest)) = rest.split_at_checked(run) else {
                    return malformed("an RLE segment ends inside a literal run");
                };
                out.extend(literal.iter().take(missing));
                segment = rest;
            }
            128 => segment = rest,
            129..=255 => {
                let run = 257 - usize::from(*control);
                let Some((value, rest)) = rest.split_first() else {
                    return malformed("an RLE segment ends inside a replicated run");
                };
                out.resize(out.len() + run.min(missing), *value);
                segment = rest;
            }
        }
    }
    Ok(())
}

/// Encodes native little-endian pixels as one frame.
pub(crate) fn encode(image: &Image, pixels: &[u8]) -> Result<Vec<u8>, ImagingError> {
    let sample_bytes = image.sample_bytes();
    let planes = image.samples * sample_bytes;
    if planes > HEADER / 4 - 1 {
        return unsupported("RLE of samples that are this wide");
    }
    if pixels.len() != image.decoded_bytes() {
        return malformed("the frame is shorter than its dimensions say");
    }
    let plane_bytes = pixels.len() / planes;
    // No run crosses the end of a row (annex G.3.1). Packed bits have rows that end inside bytes;
    // they are one run of bytes.
    let row_bytes = if image.bits_allocated == 1 { plane_bytes } else { image.columns };
    let mut header = vec![planes as u32];
    let mut body = Vec::new();
    let mut plane = Vec::with_capacity(plane_bytes);
    for index in 0..planes {
        let (sample, significance) = (index / sample_bytes, index % sample_bytes);
        let byte = sample_bytes - 1 - significance;
        let (first, step) = if image.planar {
            (sample * image.pixels() * sample_bytes + byte, sample_bytes)
        } else {
            (sample * sample_bytes + byte, planes)
        };
        plane.clear();
        plane.extend(pixels.iter().skip(first).step_by(step).take(plane_bytes));
        header.push((HEADER + body.len()) as u32);
        for row in plane.chunks(row_bytes.max(1)) {
            pack(row, &mut body);
        }
        // Segments have an even length (annex G.5).
        if body.len() % 2 == 1 {
            body.push(0);
        }
    }
    header.resize(HEADER / 4, 0);
    let mut out: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.append(&mut body);
    Ok(out)
}

/// Encodes one row (annex G.3.1): runs of equal bytes, and what lies between them as literals.
fn pack(row: &[u8], out: &mut Vec<u8>) {
    let mut literal: &[u8] = &[];
    let mut rest = row;
    while let Some(value) = rest.first() {
        let run = rest.iter().take(128).take_while(|byte| *byte == value).count();
        let (here, behind) = rest.split_at(run);
        // Two equal bytes inside a literal cost nothing there.
        if run > 2 || (run == 2 && literal.is_empty()) {
            flush(literal, out);
            out.extend([(257 - run) as u8, *value]);
            literal = &[];
            rest = behind;
        } else {
            let start = row.len() - rest.len() - literal.len();
            literal = row.get(start..start + literal.len() + here.len()).unwrap_or_default();
            rest = behind;
        }
    }
    flush(literal, out);
}

fn flush(literal: &[u8], out: &mut Vec<u8>) {
    for run in literal.chunks(128) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{DataSet, Photometric};
    use crate::testdata::json;

    fn image(words: &str) -> Image {
        Image::read(&DataSet::parse(json(words).as_bytes()).unwrap()).unwrap()
    }

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![segments.len() as u32];
        let mut offset = 64;
        for segment in segments {
            header.push(offset);
            offset += segment.len() as u32;
        }
        header.resize(16, 0);
        let mut out: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.extend(segments.concat());
        out
    }

    #[test]
    fn runs_literals_and_no_operations_expand() {
        let image = image("rows=1 columns=6");
        let bytes = frame(&[&[254, 7, 128, 2, 1, 2, 3, 0]]);
        assert_eq!(decode(&image, &bytes).unwrap(), [7, 7, 7, 1, 2, 3]);
    }

    #[test]
    fn deep_samples_come_most_significant_byte_first() {
        let image = image("rows=1 bits=16");
        let bytes = frame(&[&[1, 0x12, 0x34], &[1, 0x56, 0x78]]);
        assert_eq!(decode(&image, &bytes).unwrap(), [0x56, 0x12, 0x78, 0x34]);
    }

    #[test]
    fn colours_follow_the_planar_configuration() {
        let segments: [&[u8]; 3] = [&[1, 1, 2], &[1, 3, 4], &[1, 5, 6]];
        let pixels = image("rows=1 samples=3 photometric=RGB planar=0");
        assert_eq!(decode(&pixels, &frame(&segments)).unwrap(), [1, 3, 5, 2, 4, 6]);
        let planes = image("rows=1 samples=3 photometric=RGB planar=1");
        assert_eq!(decode(&planes, &frame(&segments)).unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn hostile_frames_are_refused() {
        let small = image("rows=1 columns=6");
        for segments in [&[254u8][..], &[5, 1, 2], &[], &[128, 128]] {
            assert!(decode(&small, &frame(&[segments])).is_err(), "{segments:?}");
        }
        assert!(decode(&small, &[1, 0, 0, 0]).is_err());
        let mut wild = frame(&[&[5, 1, 2, 3, 4, 5, 6]]);
        wild[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&small, &wild).is_err());
        let huge = image("rows=60000 columns=8000");
        assert!(decode(&huge, &frame(&[&[129, 0]])).is_err());
    }

    #[test]
    fn runs_and_literals_are_packed_as_annex_g_says() {
        let packed = |row: &[u8]| {
            let mut out = Vec::new();
            pack(row, &mut out);
            out
        };
        assert_eq!(packed(&[7, 7, 7, 1, 2, 3]), [254, 7, 2, 1, 2, 3]);
        assert_eq!(packed(&[1, 2, 2, 3, 3, 3]), [2, 1, 2, 2, 254, 3]);
        assert_eq!(packed(&[5; 129]), [129, 5, 0, 5]);
        assert_eq!(packed(&[5, 5]), [255, 5]);
        let noise: Vec<u8> = (0..=199).collect();
        assert_eq!(packed(&noise).len(), 202);
    }

    #[test]
    fn encoded_frames_decode_to_themselves() {
        let shapes = [
            "rows=1 columns=1",
            "rows=3 columns=5",
            "rows=7 columns=1 bits=16",
            "rows=2 columns=300 bits=32",
            "rows=5 columns=3 samples=3 photometric=RGB bits=16",
            "rows=5 columns=3 samples=3 photometric=RGB planar=1",
            "rows=5 columns=5 bits=1",
        ];
        for words in shapes {
            let image = image(words);
            let pixels: Vec<u8> = (0..image.decoded_bytes()).map(|i| (i * i / 7) as u8).collect();
            let encoded = encode(&image, &pixels).unwrap();
            assert_eq!(decode(&image, &encoded).unwrap(), pixels, "{words}");
        }
        let mut wide = image("samples=3 photometric=RGB bits=32");
        (wide.samples, wide.photometric) = (4, Photometric::Rgb);
        assert!(encode(&wide, &[0; 64]).is_err(), "sixteen segments have no place");
    }
}
