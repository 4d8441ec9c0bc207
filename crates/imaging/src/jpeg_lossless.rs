//! JPEG lossless, process 14 (ITU-T T.81 annex H): the transfer syntaxes .57 and .70.
//!
//! Huffman coding, precisions of 2 to 16 bits, every predictor, restart intervals, interleaved or
//! separate scans. Components must not be subsampled, as DICOM requires.

pub(crate) mod encode;

use crate::huffman::{BitReader, HuffmanTable};
use crate::jpeg::{FrameHeader, Segments};
use crate::{ImagingError, MAX_FRAME_BYTES, malformed, unsupported};

/// Decodes a stream to samples pixel by pixel.
pub(crate) fn decode(data: &[u8]) -> Result<Vec<u16>, ImagingError> {
    let mut segments = Segments::new(data)?;
    let mut tables: [Option<HuffmanTable>; 4] = [const { None }; 4];
    let mut restart_interval = 0;
    let mut image: Option<LosslessImage> = None;
    while let Some((marker, parameters)) = segments.next()? {
        match marker {
            0xC4 => read_tables(parameters, &mut tables)?,
            0xDD => match parameters {
                [high, low] => restart_interval = usize::from(u16::from_be_bytes([*high, *low])),
                _ => return malformed("the JPEG restart interval is malformed"),
            },
            0xC3 if image.is_none() => {
                let header = FrameHeader::parse(marker, parameters)?;
                image = Some(LosslessImage::new(header, data.len())?);
            }
            0xC0..=0xCF => return unsupported("hierarchical JPEG"),
            0xDA => {
                let Some(image) = &mut image else {
                    return malformed("a JPEG scan precedes its frame header");
                };
                let scan = Scan::parse(parameters, &image.header)?;
                let mut reader = BitReader::new(segments.rest());
                image.decode_scan(&scan, &tables, restart_interval, &mut reader)?;
                segments.skip(reader.end());
            }
            _ => {}
        }
    }
    match image {
        Some(image) if image.decoded == image.header.components.len() => Ok(image.samples),
        _ => malformed("the JPEG stream ends before all components are there"),
    }
}

/// Reads a DHT segment (B.2.4.2), which may define several tables.
fn read_tables(
    mut parameters: &[u8],
    tables: &mut [Option<HuffmanTable>; 4],
) -> Result<(), ImagingError> {
    while let Some((destination, rest)) = parameters.split_first() {
        let Some((counts, rest)) = rest.split_first_chunk::<16>() else {
            return malformed("a Huffman table is truncated");
        };
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let Some((values, rest)) = rest.split_at_checked(total) else {
            return malformed("a Huffman table is truncated");
        };
        // Class 0 are the tables of differences; others have no use in a lossless stream.
        if let Some(table) = tables.get_mut(usize::from(*destination)) {
            *table = HuffmanTable::new(counts, values);
            if table.is_none() {
                return malformed("a Huffman table is no prefix code");
            }
        }
        parameters = rest;
    }
    Ok(())
}

/// A scan header (B.2.3).
struct Scan {
    /// Position of each component in the frame header, and its Huffman table.
    components: Vec<(usize, usize)>,
    predictor: u8,
    point_transform: u32,
}

impl Scan {
    fn parse(parameters: &[u8], header: &FrameHeader) -> Result<Self, ImagingError> {
        let Some((count, rest)) = parameters.split_first() else {
            return malformed("a JPEG scan header is truncated");
        };
        let count = usize::from(*count);
        let (Some(selectors), Some([predictor, _, approximation])) =
            (rest.get(..count * 2), rest.get(count * 2..))
        else {
            return malformed("a JPEG scan header is truncated");
        };
        let mut components: Vec<(usize, usize)> = Vec::new();
        for [id, table] in selectors.as_chunks::<2>().0 {
            let position = header.components.iter().position(|component| component.id == *id);
            match position {
                Some(position) if components.iter().all(|(other, _)| *other != position) => {
                    components.push((position, usize::from(table >> 4)));
                }
                _ => return malformed("a JPEG scan names an unknown component"),
            }
        }
        let point_transform = u32::from(approximation & 15);
        let valid = !components.is_empty()
            && (1..=7).contains(predictor)
            && point_transform < u32::from(header.precision);
        if !valid {
            return malformed("a JPEG scan header is out of range");
        }
        Ok(Self { components, predictor: *predictor, point_transform })
    }
}

struct LosslessImage {
    header: FrameHeader,
    /// Pixel by pixel.
    samples: Vec<u16>,
    /// Components that scans have delivered.
    decoded: usize,
}

impl LosslessImage {
    fn new(header: FrameHeader, data_length: usize) -> Result<Self, ImagingError> {
        let components = header.components.len();
        if !(1..=4).contains(&components) || !(2..=16).contains(&header.precision) {
            return unsupported("this number of JPEG components or bits");
        }
        // The sampling factors of a single component mean nothing.
        let first = header.components.first().map(|c| (c.horizontal, c.vertical));
        if header.components.iter().any(|c| Some((c.horizontal, c.vertical)) != first) {
            return unsupported("lossless JPEG with subsampled components");
        }
        let total = header.rows * header.columns * components;
        if total > MAX_FRAME_BYTES / 2 {
            return Err(ImagingError::TooLarge);
        }
        // Every sample takes at least one bit.
        if total == 0 || total > data_length.saturating_mul(8) {
            return malformed("the JPEG stream is too short for its dimensions");
        }
        Ok(Self { header, samples: vec![0; total], decoded: 0 })
    }

    fn decode_scan(
        &mut self,
        scan: &Scan,
        tables: &[Option<HuffmanTable>; 4],
        restart_interval: usize,
        reader: &mut BitReader<'_>,
    ) -> Result<(), ImagingError> {
        let columns = self.header.columns;
        // Annex H.1.1 wants restarts at the start of rows only.
        if !restart_interval.is_multiple_of(columns) {
            return unsupported("lossless JPEG with restarts inside a row");
        }
        let restart_rows = restart_interval / columns;
        let mut selected = Vec::with_capacity(scan.components.len());
        for (position, table) in &scan.components {
            match tables.get(*table) {
                Some(Some(table)) => selected.push((*position, table)),
                _ => return malformed("a JPEG scan uses a Huffman table that is not there"),
            }
        }
        self.decoded += selected.len();
        if self.decoded > self.header.components.len() {
            return malformed("a JPEG component comes twice");
        }
        let count = self.header.components.len();
        let start = 1i32 << (u32::from(self.header.precision) - scan.point_transform - 1);
        let stride = columns * count;
        let mut done: &mut [u16] = &mut [];
        for (index, row) in self.samples.chunks_exact_mut(stride).enumerate() {
            let restarts = restart_rows > 0 && index > 0 && index.is_multiple_of(restart_rows);
            if restarts && !reader.restart() {
                return malformed("a JPEG restart marker is missing");
            }
            let above = (index > 0 && !restarts).then_some(&*done);
            let decoded = match selected.as_slice() {
                [(0, table)] if count == 1 && scan.predictor == 1 => {
                    decode_row_from_left(reader, table, row, above, start)
                }
                _ => decode_row(reader, &selected, count, row, above, start, scan.predictor),
            };
            if decoded.is_none() || reader.exhausted() {
                return malformed("the JPEG stream is damaged or ends early");
            }
            done = row;
        }
        if scan.point_transform > 0 {
            for pixel in self.samples.chunks_exact_mut(count) {
                for (position, _) in &selected {
                    if let Some(sample) = pixel.get_mut(*position) {
                        *sample <<= scan.point_transform;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Decodes one difference (H.1.2.2); `None` when the bits are no code.
#[inline]
fn difference(reader: &mut BitReader<'_>, table: &HuffmanTable) -> Option<i32> {
    match reader.symbol(table)? {
        16 => Some(32768),
        category @ 0..=15 => Some(reader.signed(category)),
        _ => None,
    }
}

/// The common case: one component, predicted from the left.
fn decode_row_from_left(
    reader: &mut BitReader<'_>,
    table: &HuffmanTable,
    row: &mut [u16],
    above: Option<&[u16]>,
    start: i32,
) -> Option<()> {
    let mut previous = above.map_or(start, |above| above.first().map_or(0, |b| i32::from(*b)));
    for sample in row {
        previous = (previous + difference(reader, table)?) & 0xFFFF;
        *sample = previous as u16;
    }
    Some(())
}

/// Any predictor of table H.1 and any selection of components. Without a row above (the first row,
/// and the first after a restart) samples are predicted from the left, the first from `start`.
fn decode_row(
    reader: &mut BitReader<'_>,
    selected: &[(usize, &HuffmanTable)],
    count: usize,
    row: &mut [u16],
    above: Option<&[u16]>,
    start: i32,
    predictor: u8,
) -> Option<()> {
    for x in 0..row.len() / count {
        for (position, table) in selected {
            let here = x * count + position;
            let left = here.checked_sub(count);
            let at = |row: &[u16], index: usize| row.get(index).map_or(0, |s| i32::from(*s));
            let prediction = match (above, left) {
                (None, None) => start,
                (None, Some(left)) => at(row, left),
                (Some(above), None) => at(above, here),
                (Some(above), Some(left)) => {
                    predict(predictor, at(row, left), at(above, here), at(above, left))
                }
            };
            let sample = prediction + difference(reader, table)?;
            *row.get_mut(here)? = (sample & 0xFFFF) as u16;
        }
    }
    Some(())
}

/// Table H.1: `a` is to the left, `b` above, `c` above to the left.
fn predict(predictor: u8, a: i32, b: i32, c: i32) -> i32 {
    match predictor {
        1 => a,
        2 => b,
        3 => c,
        4 => a + b - c,
        5 => a + ((b - c) >> 1),
        6 => b + ((a - c) >> 1),
        _ => (a + b) >> 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, most significant first, stuffing zeros behind 0xFF.
    #[derive(Default)]
    struct Bits {
        out: Vec<u8>,
        buffer: u32,
        count: u32,
    }

    impl Bits {
        fn put(&mut self, value: u32, count: u32) {
            for bit in (0..count).rev() {
                self.buffer = self.buffer << 1 | (value >> bit) & 1;
                self.count += 1;
                if self.count == 8 {
                    self.out.push(self.buffer as u8);
                    if self.buffer as u8 == 0xFF {
                        self.out.push(0);
                    }
                    (self.buffer, self.count) = (0, 0);
                }
            }
        }

        fn align(&mut self) {
            while self.count != 0 {
                self.put(1, 1);
            }
        }
    }

    /// Encodes samples pixel by pixel, in one scan. Every category has a code of five bits.
    fn encode(
        samples: &[u16],
        columns: usize,
        components: usize,
        predictor: u8,
        restart_rows: usize,
    ) -> Vec<u8> {
        let rows = samples.len() / columns / components;
        let mut counts = [0; 16];
        counts[4] = 17;
        let mut out = vec![0xFF, 0xD8, 0xFF, 0xC4, 0, 2 + 17 + 17, 0];
        out.extend(counts);
        out.extend(0..=16u8);
        out.extend([0xFF, 0xC3, 0, 8 + 3 * components as u8, 16, 0, rows as u8, 0]);
        out.extend([columns as u8, components as u8]);
        (0..components as u8).for_each(|id| out.extend([id, 0x11, 0]));
        if restart_rows > 0 {
            out.extend([0xFF, 0xDD, 0, 4, 0, (restart_rows * columns) as u8]);
        }
        out.extend([0xFF, 0xDA, 0, 6 + 2 * components as u8, components as u8]);
        (0..components as u8).for_each(|id| out.extend([id, 0]));
        out.extend([predictor, 0, 0]);
        let mut bits = Bits::default();
        for y in 0..rows {
            let restarts = restart_rows > 0 && y > 0 && y % restart_rows == 0;
            if restarts {
                bits.align();
                bits.out.extend([0xFF, 0xD0 + ((y / restart_rows - 1) % 8) as u8]);
            }
            for x in 0..columns {
                for c in 0..components {
                    let at =
                        |x: usize, y: usize| i32::from(samples[(y * columns + x) * components + c]);
                    let prediction = match (y == 0 || restarts, x) {
                        (true, 0) => 1 << 15,
                        (true, _) => at(x - 1, y),
                        (false, 0) => at(0, y - 1),
                        _ => predict(predictor, at(x - 1, y), at(x, y - 1), at(x - 1, y - 1)),
                    };
                    let difference = (at(x, y) - prediction) as i16;
                    if difference == i16::MIN {
                        bits.put(16, 5);
                        continue;
                    }
                    let magnitude = difference.unsigned_abs();
                    let category = 16 - magnitude.leading_zeros();
                    bits.put(category, 5);
                    let value = i32::from(difference) - i32::from(difference < 0);
                    bits.put(value as u32 & ((1 << category) - 1), category);
                }
            }
        }
        bits.align();
        out.extend(bits.out);
        out.extend([0xFF, 0xD9]);
        out
    }

    fn noise(count: usize) -> Vec<u16> {
        let mut state = 12345u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u16
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn every_predictor_restart_and_component_count_is_exact() {
        for predictor in 1..=7 {
            for components in [1, 3] {
                for restart_rows in [0, 1, 2] {
                    let mut samples = noise(9 * 7 * components);
                    samples[5] = samples[5 - components].wrapping_add(32768);
                    let stream = encode(&samples, 9, components, predictor, restart_rows);
                    let case = (predictor, components, restart_rows);
                    assert_eq!(decode(&stream).unwrap(), samples, "{case:?}");
                }
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_a_picture_but_never_a_panic() {
        let stream = encode(&noise(63), 9, 1, 4, 2);
        for end in 0..stream.len() - 2 {
            assert!(decode(&stream[..end]).is_err(), "{end}");
        }
        for index in 0..stream.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = stream.clone();
                damaged[index] ^= flip;
                let _ = decode(&damaged);
            }
        }
    }
}
