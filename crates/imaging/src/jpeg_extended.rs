//! JPEG with 12 bits per sample and Huffman coding: sequential DCT (ITU-T T.81 process 4), which the
//! transfer syntax .51 adds to baseline, and progressive DCT (processes 8 and 12), which are .53
//! and .55.
//!
//! One component, which is all that 12-bit DICOM images have. The 8-bit processes are decoded
//! elsewhere (see [`crate::jpeg`]).

mod progressive;

use progressive::Coefficients;

use crate::huffman::{BitReader, HuffmanTable};
use crate::jpeg::{FrameHeader, Segments};
use crate::{ImagingError, MAX_FRAME_BYTES, malformed, unsupported};

/// Positions of the coefficients in the order of the stream (figure A.6).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Tables that segments before the scan define, by destination.
#[derive(Default)]
struct Tables {
    quantization: [Option<[f32; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
}

/// Decodes a stream of one component to samples row by row.
pub(crate) fn decode(data: &[u8]) -> Result<Vec<u16>, ImagingError> {
    let mut segments = Segments::new(data)?;
    let mut tables = Tables::default();
    let mut restart_interval = 0;
    let mut header: Option<(FrameHeader, usize)> = None;
    let mut progressive: Option<Coefficients> = None;
    while let Some((marker, parameters)) = segments.next()? {
        match marker {
            0xC4 => tables.read_huffman(parameters)?,
            0xDB => tables.read_quantization(parameters)?,
            0xDD => match parameters {
                [high, low] => restart_interval = usize::from(u16::from_be_bytes([*high, *low])),
                _ => return malformed("the JPEG restart interval is malformed"),
            },
            0xC1 | 0xC2 if header.is_none() => {
                let frame = FrameHeader::parse(marker, parameters)?;
                let quantization = parameters.get(8).copied().unwrap_or(0);
                header = Some((frame, usize::from(quantization)));
            }
            0xDA => {
                let Some((frame, quantization)) = &header else {
                    return malformed("a JPEG scan precedes its frame header");
                };
                if frame.components.len() != 1 || frame.precision != 12 {
                    return unsupported("colour JPEG with 12 bits per sample");
                }
                let mut reader = BitReader::new(segments.rest());
                if frame.marker == 0xC1 {
                    let scan = Scan::new(&tables, *quantization, parameters, restart_interval)?;
                    return scan.decode(reader, frame, data.len());
                }
                let coefficients = match &mut progressive {
                    Some(coefficients) => coefficients,
                    None => progressive.insert(Coefficients::new(frame, data.len())?),
                };
                coefficients.decode_scan(parameters, &tables, restart_interval, &mut reader)?;
                segments.skip(reader.end());
            }
            0xC0..=0xCF => return unsupported("this process of JPEG with 12 bits per sample"),
            _ => {}
        }
    }
    let quantization = header.as_ref().and_then(|(_, table)| tables.quantization.get(*table));
    match (progressive, quantization) {
        (Some(coefficients), Some(Some(table))) => Ok(coefficients.into_samples(table)),
        (Some(_), _) => malformed("a JPEG scan uses a table that is not there"),
        (None, _) => malformed("the JPEG stream has no scan"),
    }
}

/// Checks what a frame header claims against the data: `bits` is how few a block of 64 samples may
/// take.
fn checked_size(
    frame: &FrameHeader,
    data_length: usize,
    bits: usize,
) -> Result<usize, ImagingError> {
    let total = frame.rows * frame.columns;
    if total > MAX_FRAME_BYTES / 2 {
        return Err(ImagingError::TooLarge);
    }
    let blocks = frame.rows.div_ceil(8) * frame.columns.div_ceil(8);
    if total == 0 || blocks.saturating_mul(bits) > data_length.saturating_mul(8) {
        return malformed("the JPEG stream is too short for its dimensions");
    }
    Ok(total)
}

/// Writes the samples of a block whose dequantized coefficients are given, into a band of eight
/// rows, cut at the edges.
fn put_block(
    block: &[f32; 64],
    basis: &[[f32; 8]; 8],
    band: &mut [u16],
    columns: usize,
    left: usize,
) {
    let pixels = inverse_transform(block, basis);
    for (row, values) in band.chunks_mut(columns).zip(pixels.as_chunks::<8>().0) {
        row.iter_mut().skip(left).zip(values).for_each(|(sample, value)| {
            // Level shift of annex A.3.1.
            *sample = (value + 2048.0).round().clamp(0.0, 4095.0) as u16;
        });
    }
}

impl Tables {
    /// Reads a DHT segment (B.2.4.2).
    fn read_huffman(&mut self, mut parameters: &[u8]) -> Result<(), ImagingError> {
        while let Some((destination, rest)) = parameters.split_first() {
            let Some((counts, rest)) = rest.split_first_chunk::<16>() else {
                return malformed("a Huffman table is truncated");
            };
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let Some((values, rest)) = rest.split_at_checked(total) else {
                return malformed("a Huffman table is truncated");
            };
            let class = if destination >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            match (class.get_mut(usize::from(destination & 15)), HuffmanTable::new(counts, values))
            {
                (Some(slot), Some(table)) => *slot = Some(table),
                _ => return malformed("a Huffman table is no prefix code"),
            }
            parameters = rest;
        }
        Ok(())
    }

    /// Reads a DQT segment (B.2.4.1), whose entries have 8 or 16 bits.
    fn read_quantization(&mut self, mut parameters: &[u8]) -> Result<(), ImagingError> {
        while let Some((destination, rest)) = parameters.split_first() {
            let width = 1 + usize::from(destination >> 4 != 0);
            let Some((entries, rest)) = rest.split_at_checked(64 * width) else {
                return malformed("a quantization table is truncated");
            };
            let mut table = [0f32; 64];
            for (position, entry) in ZIGZAG.iter().zip(entries.chunks_exact(width)) {
                let value = entry.iter().fold(0u16, |value, byte| value << 8 | u16::from(*byte));
                if let Some(slot) = table.get_mut(*position) {
                    *slot = f32::from(value);
                }
            }
            match self.quantization.get_mut(usize::from(destination & 15)) {
                Some(slot) => *slot = Some(table),
                None => return malformed("a quantization table has no place"),
            }
            parameters = rest;
        }
        Ok(())
    }
}

/// The one scan of the image, with the tables that it uses.
struct Scan<'a> {
    quantization: &'a [f32; 64],
    dc: &'a HuffmanTable,
    ac: &'a HuffmanTable,
    restart_interval: usize,
}

impl<'a> Scan<'a> {
    fn new(
        tables: &'a Tables,
        quantization: usize,
        parameters: &[u8],
        restart_interval: usize,
    ) -> Result<Self, ImagingError> {
        // A sequential scan has all coefficients whatever it says of their selection (B.2.3 wants 0,
        // 63 and 0): some encoders write zeros, and every reader lets them.
        let [1, _, selectors, _, _, _] = parameters else {
            return malformed("a JPEG scan header is out of range");
        };
        let (dc, ac) = (usize::from(selectors >> 4), usize::from(selectors & 15));
        match (tables.quantization.get(quantization), tables.dc.get(dc), tables.ac.get(ac)) {
            (Some(Some(quantization)), Some(Some(dc)), Some(Some(ac))) => {
                Ok(Self { quantization, dc, ac, restart_interval })
            }
            _ => malformed("a JPEG scan uses a table that is not there"),
        }
    }

    fn decode(
        &self,
        mut reader: BitReader<'_>,
        frame: &FrameHeader,
        data_length: usize,
    ) -> Result<Vec<u16>, ImagingError> {
        let total = checked_size(frame, data_length, 2)?;
        let basis = basis();
        let mut samples = vec![0u16; total];
        let (mut previous, mut done) = (0, 0);
        // The sampling factors of a single component mean nothing: blocks come row by row (A.2.2).
        for band in samples.chunks_mut(frame.columns * 8) {
            for left in (0..frame.columns).step_by(8) {
                if self.restart_interval > 0 && done == self.restart_interval {
                    if !reader.restart() {
                        return malformed("a JPEG restart marker is missing");
                    }
                    (previous, done) = (0, 0);
                }
                let Some(block) = self.block(&mut reader, &mut previous) else {
                    return malformed("the JPEG stream is damaged");
                };
                if reader.exhausted() {
                    return malformed("the JPEG stream ends early");
                }
                done += 1;
                put_block(&block, &basis, band, frame.columns, left);
            }
        }
        Ok(samples)
    }

    /// Decodes and dequantizes the coefficients of a block (F.2.2).
    fn block(&self, reader: &mut BitReader<'_>, previous: &mut i32) -> Option<[f32; 64]> {
        let mut block = [0f32; 64];
        let category = reader.symbol(self.dc)?;
        if category > 15 {
            return None;
        }
        *previous = previous.wrapping_add(reader.signed(category));
        block[0] = *previous as f32 * self.quantization[0];
        let mut index = 0;
        while index < 63 {
            let symbol = reader.symbol(self.ac)?;
            let (run, category) = (usize::from(symbol >> 4), symbol & 15);
            match (run, category) {
                (15, 0) => index += 16,
                (_, 0) => break,
                _ => {
                    index += run + 1;
                    let position = *ZIGZAG.get(index)?;
                    let value = reader.signed(category) as f32;
                    *block.get_mut(position)? = value * self.quantization.get(position)?;
                }
            }
        }
        Some(block)
    }
}

/// Rows are frequencies, columns positions: `C(u)/2 · cos((2x+1)uπ/16)`, annex A.3.3.
fn basis() -> [[f32; 8]; 8] {
    std::array::from_fn(|u| {
        let scale = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
        std::array::from_fn(|x| {
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (scale / 2.0 * angle.cos()) as f32
        })
    })
}

/// The inverse DCT, rows then columns.
fn inverse_transform(block: &[f32; 64], basis: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut half = [[0f32; 8]; 8];
    for (row, coefficients) in half.iter_mut().zip(block.as_chunks::<8>().0) {
        for (coefficient, waves) in coefficients.iter().zip(basis) {
            if *coefficient != 0.0 {
                row.iter_mut().zip(waves).for_each(|(sum, wave)| *sum += coefficient * wave);
            }
        }
    }
    let mut out = [0f32; 64];
    for (y, row) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        for (line, waves) in half.iter().zip(basis) {
            let wave = waves.get(y).copied().unwrap_or(0.0);
            row.iter_mut().zip(line).for_each(|(sum, value)| *sum += value * wave);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of one 8 x 8 block: a DC difference in three bits of category, then `ac` bits.
    fn stream(scan: &[u8], rows: u8, columns: u8) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
        out.extend([8; 64]);
        out.extend([0xFF, 0xC1, 0, 11, 12, 0, rows, 0, columns, 1, 1, 0x11, 0]);
        // DC: 0 → category 0, 10 → category 11. AC: 0 → end of block, 10 → one coefficient of
        // three bits.
        out.extend([
            0xFF, 0xC4, 0, 21, 0x00, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11,
        ]);
        out.extend([0xFF, 0xC4, 0, 21, 0x10, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x00, 0, 63, 0]);
        out.extend(scan);
        out.extend([0xFF, 0xD9]);
        out
    }

    #[test]
    fn a_flat_block_is_its_dc_coefficient() {
        // Category 11, value 1024: 1024 · 8 / 8 above the level shift. Then end of block.
        let scan = [0b1010_0000, 0b0000_0000, 0b0000_0000];
        assert_eq!(decode(&stream(&scan, 8, 8)).unwrap(), [3072; 64]);
        assert_eq!(decode(&stream(&scan, 3, 5)).unwrap(), [3072; 15], "cut at the edges");
    }

    #[test]
    fn a_sequential_scan_has_all_coefficients_whatever_it_says() {
        let mut stream = stream(&[0b0101_1100, 0b0111_1111], 8, 8);
        let whole = decode(&stream).unwrap();
        let selection = stream.windows(3).rposition(|three| three == [0, 63, 0]).unwrap();
        stream[selection + 1] = 0;
        assert_eq!(decode(&stream).unwrap(), whole);
    }

    #[test]
    fn a_horizontal_wave_falls_from_left_to_right() {
        // DC category 0; AC coefficient 0,1 of value 7; end of block.
        let samples = decode(&stream(&[0b0101_1100, 0b0111_1111], 8, 8)).unwrap();
        let expected = |x: usize| {
            let wave = ((2 * x + 1) as f64 * std::f64::consts::PI / 16.0).cos();
            (2048.0 + 7.0 * 8.0 * wave / (2.0 * 8f64.sqrt())).round() as u16
        };
        let first: Vec<u16> = (0..8).map(expected).collect();
        assert_eq!(samples[..8], first);
        assert_eq!(samples[56..], first, "every row is the same");
    }

    #[test]
    fn damage_is_an_error_or_a_picture_but_never_a_panic() {
        let whole = stream(&[0b1010_0000, 0, 0], 8, 8);
        for end in 0..whole.len() - 3 {
            assert!(decode(&whole[..end]).is_err(), "{end}");
        }
        for index in 0..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = whole.clone();
                damaged[index] ^= flip;
                let _ = decode(&damaged);
            }
        }
    }
}
