//! Progressive scans of 12-bit streams (ITU-T T.81 annex G): each delivers some coefficients, or one
//! more bit of them.

use super::{Tables, ZIGZAG, basis, checked_size, put_block};
use crate::huffman::{BitReader, HuffmanTable};
use crate::jpeg::{FrameHeader, MAX_SCANS};
use crate::{ImagingError, malformed};

/// What the scans so far have delivered.
pub(super) struct Coefficients {
    rows: usize,
    columns: usize,
    /// Block by block, in natural order.
    blocks: Vec<[i16; 64]>,
    scans: usize,
}

/// A scan header of one component (B.2.3, G.1.1.1).
struct Scan {
    /// First and last coefficient, in the order of the stream.
    band: (usize, usize),
    /// Whether the coefficients get one more bit, rather than their first ones.
    refines: bool,
    /// Position of the least bit that this scan delivers.
    low: u32,
}

impl Scan {
    fn parse(parameters: &[u8]) -> Result<Self, ImagingError> {
        let [1, _, _, first, last, approximation] = parameters else {
            return malformed("a JPEG scan header is out of range");
        };
        let (high, low) = (approximation >> 4, approximation & 15);
        let (first, last) = (usize::from(*first), usize::from(*last));
        // Scans of the DC coefficient have no others.
        let band = if first == 0 { last == 0 } else { first <= last && last < 64 };
        if !band || low > 13 || (high != 0 && high != low + 1) {
            return malformed("a JPEG scan header is out of range");
        }
        Ok(Self { band: (first, last), refines: high != 0, low: u32::from(low) })
    }
}

impl Coefficients {
    pub fn new(frame: &FrameHeader, data_length: usize) -> Result<Self, ImagingError> {
        // The first scan has at least one bit of each block.
        checked_size(frame, data_length, 1)?;
        let count = frame.rows.div_ceil(8) * frame.columns.div_ceil(8);
        let blocks = vec![[0; 64]; count];
        Ok(Self { rows: frame.rows, columns: frame.columns, blocks, scans: 0 })
    }

    /// Decodes one scan.
    pub fn decode_scan(
        &mut self,
        parameters: &[u8],
        tables: &Tables,
        restart_interval: usize,
        reader: &mut BitReader<'_>,
    ) -> Result<(), ImagingError> {
        let scan = Scan::parse(parameters)?;
        if self.scans == 0 && (scan.band.0 != 0 || scan.refines) {
            return malformed("the JPEG stream does not start with its DC coefficients");
        }
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return malformed("the JPEG stream has too many scans");
        }
        let selectors = parameters.get(2).copied().unwrap_or(0);
        let table = match scan.band.0 {
            0 => tables.dc.get(usize::from(selectors >> 4)),
            _ => tables.ac.get(usize::from(selectors & 15)),
        };
        let table = match table {
            Some(Some(table)) => Some(table),
            // Further bits of DC coefficients are not coded.
            _ if scan.band.0 == 0 && scan.refines => None,
            _ => return malformed("a JPEG scan uses a table that is not there"),
        };
        let mut state = State::default();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            if restart_interval > 0 && index > 0 && index.is_multiple_of(restart_interval) {
                if !reader.restart() {
                    return malformed("a JPEG restart marker is missing");
                }
                state = State::default();
            }
            let done = match (table, scan.band.0, scan.refines) {
                (Some(table), 0, false) => state.first_dc(reader, table, scan.low, block),
                (_, 0, _) => {
                    block[0] |= (reader.bits(1) << scan.low) as i16;
                    Some(())
                }
                (Some(table), _, false) => state.first_ac(reader, table, &scan, block),
                (Some(table), _, true) => state.refine_ac(reader, table, &scan, block),
                (None, ..) => None,
            };
            if done.is_none() || reader.exhausted() {
                return malformed("the JPEG stream is damaged or ends early");
            }
        }
        Ok(())
    }

    /// Dequantizes and transforms what the scans delivered, to samples row by row.
    pub fn into_samples(self, quantization: &[f32; 64]) -> Vec<u16> {
        let basis = basis();
        let mut samples = vec![0u16; self.rows * self.columns];
        let bands = samples.chunks_mut(self.columns * 8);
        for (band, blocks) in bands.zip(self.blocks.chunks(self.columns.div_ceil(8))) {
            for (number, block) in blocks.iter().enumerate() {
                let mut values = [0f32; 64];
                for ((value, coefficient), step) in values.iter_mut().zip(block).zip(quantization) {
                    *value = f32::from(*coefficient) * step;
                }
                put_block(&values, &basis, band, self.columns, number * 8);
            }
        }
        samples
    }
}

/// What decoding carries from block to block, up to a restart.
#[derive(Default)]
struct State {
    /// The last DC coefficient, without its low bits.
    previous: i32,
    /// How many blocks from this one on have no further coefficients in this band (G.1.2.2).
    ended: u32,
}

impl State {
    fn first_dc(
        &mut self,
        reader: &mut BitReader<'_>,
        table: &HuffmanTable,
        low: u32,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let category = reader.symbol(table).filter(|category| *category <= 15)?;
        self.previous = self.previous.wrapping_add(reader.signed(category));
        block[0] = narrow(self.previous.wrapping_shl(low));
        Some(())
    }

    /// Figures G.3 to G.6.
    fn first_ac(
        &mut self,
        reader: &mut BitReader<'_>,
        table: &HuffmanTable,
        scan: &Scan,
        block: &mut [i16; 64],
    ) -> Option<()> {
        if self.ended > 0 {
            self.ended -= 1;
            return Some(());
        }
        let (mut index, last) = scan.band;
        while index <= last {
            let symbol = reader.symbol(table)?;
            let (run, category) = (symbol >> 4, symbol & 15);
            match (run, category) {
                (15, 0) => index += 16,
                (_, 0) => {
                    self.ended = (1 << run) - 1 + reader.bits(run);
                    break;
                }
                _ => {
                    index += usize::from(run);
                    let value = reader.signed(category) << scan.low;
                    *block.get_mut(*ZIGZAG.get(index)?)? = narrow(value);
                    index += 1;
                }
            }
        }
        Some(())
    }

    /// Figure G.7: coefficients that are not zero get a bit each, wherever they lie; runs count
    /// those that are zero.
    fn refine_ac(
        &mut self,
        reader: &mut BitReader<'_>,
        table: &HuffmanTable,
        scan: &Scan,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let (mut index, last) = scan.band;
        let step = 1i16 << scan.low;
        while self.ended == 0 && index <= last {
            let symbol = reader.symbol(table)?;
            let (mut run, category) = (symbol >> 4, symbol & 15);
            let new = match (run, category) {
                (15, 0) => 0,
                (_, 0) => {
                    self.ended = (1 << run) + reader.bits(run);
                    break;
                }
                _ if reader.bits(1) == 1 => step,
                _ => -step,
            };
            while index <= last {
                let coefficient = block.get_mut(*ZIGZAG.get(index)?)?;
                if *coefficient != 0 {
                    refine(reader, coefficient, step);
                } else if run == 0 {
                    *coefficient = new;
                    break;
                } else {
                    run -= 1;
                }
                index += 1;
            }
            index += 1;
        }
        if self.ended > 0 {
            for position in ZIGZAG.get(index..=last).unwrap_or_default() {
                let coefficient = block.get_mut(*position)?;
                if *coefficient != 0 {
                    refine(reader, coefficient, step);
                }
            }
            self.ended -= 1;
        }
        Some(())
    }
}

/// Moves a coefficient away from zero where the next bit says so.
fn refine(reader: &mut BitReader<'_>, coefficient: &mut i16, step: i16) {
    if reader.bits(1) == 1 {
        let away = if *coefficient > 0 { step } else { -step };
        *coefficient = coefficient.saturating_add(away);
    }
}

/// No stream of 12-bit samples has coefficients beyond 16 bits.
fn narrow(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use crate::jpeg_extended::decode;

    fn segment(marker: u8, parameters: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFF, marker, 0, parameters.len() as u8 + 2];
        out.extend(parameters);
        out
    }

    /// A table of up to three codes: 0, 10 and 110.
    fn table(destination: u8, values: &[u8]) -> Vec<u8> {
        let mut parameters = vec![destination];
        parameters.extend((0..16).map(|length| u8::from(length < values.len())));
        parameters.extend(values);
        segment(0xC4, &parameters)
    }

    fn scan(band: (u8, u8), approximation: u8, bits: &[u8]) -> Vec<u8> {
        let mut out = segment(0xDA, &[1, 1, 0, band.0, band.1, approximation]);
        out.extend(bits);
        out
    }

    /// Two blocks side by side, every quantization step 8, with these scans.
    fn stream(scans: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8];
        let mut quantization = vec![0];
        quantization.extend([8; 64]);
        out.extend(segment(0xDB, &quantization));
        out.extend(segment(0xC2, &[12, 0, 8, 0, 16, 1, 1, 0x11, 0]));
        // DC: 0 → category 0, 10 → category 3.
        out.extend(table(0x00, &[0, 3]));
        // AC: 0 → end of block, 10 → one bit of a coefficient, 110 → end of two or three blocks.
        out.extend(table(0x10, &[0x00, 0x01, 0x10]));
        scans.iter().for_each(|scan| out.extend(scan));
        out.extend([0xFF, 0xD9]);
        out
    }

    /// What a block of these two coefficients looks like along a row.
    fn wave(dc: f64, ac: f64) -> Vec<u16> {
        let value = |x: usize| {
            let cosine = ((2 * x + 1) as f64 * std::f64::consts::PI / 16.0).cos();
            2048.0 + dc + ac * 8.0 * cosine / (2.0 * 8f64.sqrt())
        };
        (0..8).map(|x| value(x).round() as u16).collect()
    }

    #[test]
    fn scans_add_coefficients_and_then_their_bits() {
        // The first block has DC 5 << 1, the second the same (category 0); bits 1 and 0 refine.
        let dc = scan((0, 0), 0x01, &[0b1010_1011]);
        let refined_dc = scan((0, 0), 0x10, &[0b1011_1111]);
        // The first block's wave has 1 << 1; the run of ends covers the rest and the second block.
        let ac = scan((1, 63), 0x01, &[0b1011_1001]);
        // Refined: an end for two blocks; the one coefficient that is there gets a bit.
        let refined_ac = scan((1, 63), 0x10, &[0b1100_1111]);
        let picture = |scans: &[Vec<u8>]| decode(&stream(scans)).unwrap();
        let all = picture(&[dc.clone(), ac.clone(), refined_dc, refined_ac]);
        assert_eq!((&all[..8], &all[8..16]), (&wave(11.0, 3.0)[..], &wave(10.0, 0.0)[..]));
        assert!(all.chunks(16).all(|row| row == &all[..16]), "every row is the same");
        let coarse = picture(&[dc.clone(), ac.clone()]);
        assert_eq!(coarse[..8], wave(10.0, 2.0)[..]);
        assert!(decode(&stream(&[ac, dc])).is_err(), "the DC coefficients come first");
    }

    #[test]
    fn damage_is_an_error_or_a_picture_but_never_a_panic() {
        let whole = stream(&[
            scan((0, 0), 0x01, &[0b1010_1011]),
            scan((1, 63), 0x01, &[0b1011_1001]),
            scan((1, 63), 0x10, &[0b1100_1111]),
        ]);
        for end in 0..whole.len() {
            let _ = decode(&whole[..end]);
        }
        for index in 0..whole.len() {
            for flip in [1, 2, 0x10, 0x80, 0xFF] {
                let mut damaged = whole.clone();
                damaged[index] ^= flip;
                let _ = decode(&damaged);
            }
        }
    }
}
