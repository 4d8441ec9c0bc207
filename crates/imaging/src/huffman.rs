//! Entropy-coded segments of JPEG (ITU-T T.81 annexes C and F): bits and Huffman codes.

/// Codes up to this many bits are found with one look into a table.
const FAST_BITS: u32 = 10;

/// Longest Huffman code.
const MAX_BITS: u32 = 16;

/// Reads bits, most significant first, removing stuffed zero bytes and stopping at markers. Behind
/// the end it yields zeros and says so in [`exhausted`](Self::exhausted).
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    /// The next bits, aligned to the left.
    buffer: u64,
    /// Bits in `buffer`.
    available: u32,
    /// Zero bits that were put into `buffer` behind the end of the data.
    invented: u32,
}

impl<'a> BitReader<'a> {
    /// Starts at the first byte of an entropy-coded segment.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0, buffer: 0, available: 0, invented: 0 }
    }

    /// Makes at least 32 bits available: enough for one code and the bits that belong to it.
    #[inline]
    fn refill(&mut self) {
        if self.available >= 32 {
            return;
        }
        let rest = self.data.get(self.position..).unwrap_or_default();
        if let Some((word, _)) = rest.split_first_chunk::<4>()
            && !word.contains(&0xFF)
        {
            self.buffer |= u64::from(u32::from_be_bytes(*word)) << (32 - self.available);
            self.available += 32;
            self.position += 4;
            return;
        }
        while self.available <= 56 {
            let byte = match self.data.get(self.position..).unwrap_or_default() {
                [0xFF, 0, ..] => {
                    self.position += 2;
                    0xFF
                }
                [0xFF, ..] | [] => {
                    self.invented = self.invented.saturating_add(8);
                    0
                }
                [byte, ..] => {
                    self.position += 1;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.available);
            self.available += 8;
        }
    }

    /// The next `count` bits, 1 to 16, without moving.
    #[inline]
    fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    #[inline]
    fn consume(&mut self, count: u32) {
        self.buffer <<= count;
        self.available -= count;
    }

    /// Decodes one symbol; `None` when the bits are no code of the table.
    #[inline]
    pub fn symbol(&mut self, table: &HuffmanTable) -> Option<u8> {
        self.refill();
        let entry = table.fast.get(self.peek(FAST_BITS) as usize).copied().unwrap_or(0);
        if entry != 0 {
            self.consume(u32::from(entry >> 8));
            return Some(entry as u8);
        }
        for length in FAST_BITS + 1..=MAX_BITS {
            let code = self.peek(length) as i32;
            let row = table.rows.get(length as usize)?;
            if code < row.end {
                self.consume(length);
                return table.values.get(usize::try_from(code + row.offset).ok()?).copied();
            }
        }
        None
    }

    /// Receives `count` bits (0 to 15) behind a symbol and extends their sign (F.2.2.1).
    #[inline]
    pub fn signed(&mut self, count: u8) -> i32 {
        let count = u32::from(count.min(15));
        if count == 0 {
            return 0;
        }
        let bits = self.peek(count) as i32;
        self.consume(count);
        if bits < 1 << (count - 1) { bits - (1 << count) + 1 } else { bits }
    }

    /// Takes `count` bits, 0 to 16, that belong to no code.
    #[inline]
    pub fn bits(&mut self, count: u8) -> u32 {
        let count = u32::from(count.min(16));
        if count == 0 {
            return 0;
        }
        self.refill();
        let bits = self.peek(count);
        self.consume(count);
        bits
    }

    /// Whether bits were used that the data does not hold.
    #[inline]
    pub fn exhausted(&self) -> bool {
        self.invented > self.available
    }

    /// Moves behind the restart marker that must come next; `false` when it does not.
    pub fn restart(&mut self) -> bool {
        let rest = self.data.get(self.position..).unwrap_or_default();
        let fill = rest.iter().take_while(|byte| **byte == 0xFF).count();
        let marker = rest.get(fill).copied();
        if fill == 0 || !matches!(marker, Some(0xD0..=0xD7)) {
            return false;
        }
        self.position += fill + 1;
        (self.buffer, self.available, self.invented) = (0, 0, 0);
        true
    }

    /// Bytes from the start of the segment to the marker that ends it.
    pub fn end(&self) -> usize {
        let rest = self.data.get(self.position..).unwrap_or_default();
        let marker =
            rest.windows(2).position(|pair| matches!(pair, [0xFF, 1..=0xCF | 0xD8..=0xFE]));
        marker.map_or(self.data.len(), |offset| self.position + offset)
    }
}

/// A Huffman table (annex C), ready for decoding.
#[derive(Debug)]
pub(crate) struct HuffmanTable {
    /// By the next [`FAST_BITS`] bits: code length in the high byte, symbol in the low one; 0 when
    /// the code is longer.
    fast: Vec<u16>,
    /// By code length.
    rows: [Row; MAX_BITS as usize + 1],
    values: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// One behind the last code of this length.
    end: i32,
    /// What to add to a code to find its value.
    offset: i32,
}

impl HuffmanTable {
    /// Builds a table from the number of codes per length and the symbols in order; `None` when
    /// they describe no prefix code.
    pub fn new(counts: &[u8; 16], values: &[u8]) -> Option<Self> {
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        if total != values.len() || total > 256 {
            return None;
        }
        let mut fast = vec![0u16; 1 << FAST_BITS];
        let mut rows = [Row::default(); MAX_BITS as usize + 1];
        let (mut code, mut index) = (0usize, 0usize);
        for (length, count) in (1u32..).zip(counts) {
            let end = code + usize::from(*count);
            if end > 1 << length {
                return None;
            }
            if let Some(row) = rows.get_mut(length as usize) {
                *row = Row { end: end as i32, offset: index as i32 - code as i32 };
            }
            for value in values.get(index..index + usize::from(*count))? {
                if length <= FAST_BITS {
                    let span = 1 << (FAST_BITS - length);
                    let entry = (length as u16) << 8 | u16::from(*value);
                    fast.get_mut(code * span..(code + 1) * span)?.fill(entry);
                }
                code += 1;
            }
            index += usize::from(*count);
            code <<= 1;
        }
        Some(Self { fast, rows, values: values.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes: 0 → 5, 10 → 6, 110 → 7, and one of 12 bits, 1110 0000 0000 → 8.
    fn table() -> HuffmanTable {
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[11]) = (1, 1, 1, 1);
        HuffmanTable::new(&counts, &[5, 6, 7, 8]).unwrap()
    }

    #[test]
    fn short_and_long_codes_are_found() {
        let mut reader = BitReader::new(&[0b0101_1011, 0b1000_0000, 0b0000_0000]);
        let table = table();
        let symbols: Vec<_> = (0..4).map(|_| reader.symbol(&table)).collect();
        assert_eq!(symbols, [Some(5), Some(6), Some(7), Some(8)]);
        let mut reader = BitReader::new(&[0b1110_0000, 0b0000_0111, 0xF0]);
        assert_eq!(reader.symbol(&table), Some(8));
        assert_eq!(reader.symbol(&table), Some(5));
        assert_eq!(reader.symbol(&table), None, "1111… is no code");
    }

    #[test]
    fn signs_are_extended_and_stuffing_is_removed() {
        let mut reader = BitReader::new(&[0xFF, 0x00, 0b0101_0000]);
        reader.refill();
        assert_eq!(reader.signed(8), 255);
        assert_eq!(reader.signed(3), 2 - 7);
        assert!(!reader.exhausted());
        reader.consume(6);
        assert!(reader.exhausted());
    }

    #[test]
    fn restarts_need_their_marker() {
        let mut reader = BitReader::new(&[0xAB, 0xFF, 0xD0, 0xCD, 0xFF, 0xD9]);
        reader.refill();
        assert_eq!(reader.peek(8), 0xAB);
        assert!(reader.restart());
        reader.refill();
        assert_eq!(reader.peek(8), 0xCD);
        assert!(!reader.restart());
        assert_eq!(reader.end(), 4);
    }

    #[test]
    fn impossible_tables_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[1, 2, 3]).is_none());
        assert!(HuffmanTable::new(&[0; 16], &[1]).is_none());
        assert!(HuffmanTable::new(&[255; 16], &[0; 4080]).is_none());
    }
}
