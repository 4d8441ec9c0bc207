//! Encodes JPEG lossless with the first predictor (ITU-T T.81 annex H), as .70 asks and .57 allows.

use crate::attributes::Image;

/// Categories of differences, 0 to 16.
const CATEGORIES: usize = 17;

/// Encodes samples pixel by pixel as one scan, each predicted from its left neighbour.
pub(crate) fn encode(image: &Image, samples: &[u16], precision: u8) -> Vec<u8> {
    let precision = precision.max(2);
    let mut frequencies = [0u64; CATEGORIES];
    for_each_difference(image, samples, precision, |difference| {
        frequencies[category(difference)] += 1;
    });
    let codes = Codes::new(&frequencies);

    // `Image` has rows and columns of 16 bits and one or three samples.
    let count = image.samples as u8;
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xC3, 0, 8 + 3 * count, precision];
    out.extend((image.rows as u16).to_be_bytes());
    out.extend((image.columns as u16).to_be_bytes());
    out.push(count);
    (1..=count).for_each(|id| out.extend([id, 0x11, 0]));
    out.extend([0xFF, 0xC4, 0, 19 + codes.symbols.len() as u8, 0]);
    out.extend(codes.counts);
    out.extend(&codes.symbols);
    out.extend([0xFF, 0xDA, 0, 6 + 2 * count, count]);
    (1..=count).for_each(|id| out.extend([id, 0]));
    out.extend([1, 0, 0]);

    let mut writer = BitWriter { out, buffer: 0, count: 0 };
    for_each_difference(image, samples, precision, |difference| {
        let category = category(difference);
        let (code, length) = codes.codes[category];
        writer.put(u32::from(code), length);
        if (1..=15).contains(&category) {
            // Negative differences are written one less (F.1.2.1).
            let value = i32::from(difference) - i32::from(difference < 0);
            writer.put(value as u32 & ((1 << category) - 1), category as u32);
        }
    });
    let mut out = writer.finish();
    out.extend([0xFF, 0xD9]);
    out
}

/// Walks over the differences to the prediction, modulo 2^16 (H.1.2.1).
fn for_each_difference(image: &Image, samples: &[u16], precision: u8, mut each: impl FnMut(i16)) {
    let count = image.samples;
    let mut above: Option<&[u16]> = None;
    for row in samples.chunks_exact(image.columns * count) {
        for (index, sample) in row.iter().enumerate() {
            let prediction = match (index.checked_sub(count), above) {
                (Some(left), _) => row[left],
                (None, Some(above)) => above[index],
                (None, None) => 1 << (precision - 1),
            };
            each(sample.wrapping_sub(prediction) as i16);
        }
        above = Some(row);
    }
}

/// The category of a difference (table H.2).
fn category(difference: i16) -> usize {
    (u16::BITS - difference.unsigned_abs().leading_zeros()) as usize
}

/// A Huffman table made for one image.
struct Codes {
    /// Codes per length, from 1.
    counts: [u8; 16],
    /// Categories by code.
    symbols: Vec<u8>,
    /// Code and length by category.
    codes: [(u16, u32); CATEGORIES],
}

impl Codes {
    fn new(frequencies: &[u64; CATEGORIES]) -> Self {
        let lengths = lengths(frequencies);
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        let mut codes = [(0, 0); CATEGORIES];
        let mut code = 0u16;
        for length in 1..=16u32 {
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
                counts[length as usize - 1] += 1;
                symbols.push(symbol as u8);
                codes[symbol] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        Self { counts, symbols, codes }
    }
}

/// Code lengths of at most 16 bits by category, 0 for those that do not occur. The code of ones
/// alone stays free, as annex C asks.
fn lengths(frequencies: &[u64; CATEGORIES]) -> [u32; CATEGORIES] {
    let total: u64 = frequencies.iter().sum();
    // Weights of at least a 2,048th keep the tree flat enough for 16 bits.
    let weight = |frequency: u64| frequency.max(total / 2048).max(1);
    // The place kept for the code of ones is the lightest, so it is among the longest codes.
    let mut nodes: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new())];
    let used = frequencies.iter().enumerate().filter(|(_, frequency)| **frequency > 0);
    nodes.extend(used.map(|(symbol, frequency)| (weight(*frequency), vec![symbol])));
    let mut lengths = [0; CATEGORIES];
    while nodes.len() > 1 {
        nodes.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let (Some((a, mut left)), Some((b, right))) = (nodes.pop(), nodes.pop()) else { break };
        left.extend(right);
        left.iter().for_each(|symbol| lengths[*symbol] += 1);
        nodes.push((a + b, left));
    }
    lengths
}

struct BitWriter {
    out: Vec<u8>,
    buffer: u64,
    count: u32,
}

impl BitWriter {
    fn put(&mut self, value: u32, count: u32) {
        self.buffer = self.buffer << count | u64::from(value);
        self.count += count;
        while let Some(rest) = self.count.checked_sub(8) {
            let byte = (self.buffer >> rest) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                self.out.push(0);
            }
            self.count = rest;
        }
    }

    /// Fills the last byte with ones (F.1.2.3).
    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            let missing = 8 - self.count;
            self.put((1 << missing) - 1, missing);
        }
        self.out
    }
}
