//! The bits of JPEG-LS scans (ITU-T T.87 section A.1 and annex A.5.3): a byte behind 0xFF carries
//! seven bits, and Golomb codes have a greatest length.

use super::model::Coder;

/// Reads bits, most significant first, stopping at markers. Behind the end it yields zeros and says
/// so in [`exhausted`](Self::exhausted).
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    /// The next bits, aligned to the left.
    buffer: u64,
    /// Bits in `buffer`.
    available: u32,
    /// Zero bits put into `buffer` behind the end of the data.
    invented: u32,
    /// Whether the byte before `position` is 0xFF.
    stuffed: bool,
}

impl<'a> BitReader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0, buffer: 0, available: 0, invented: 0, stuffed: false }
    }

    #[inline]
    fn refill(&mut self) {
        while self.available <= 56 {
            let byte = self.data.get(self.position).copied();
            let (bits, count) = match byte {
                Some(byte) if !self.stuffed => (byte, 8),
                Some(byte) if byte < 0x80 => (byte << 1, 7),
                // A marker, or nothing.
                _ => {
                    self.invented = self.invented.saturating_add(8);
                    self.available += 8;
                    continue;
                }
            };
            self.stuffed = byte == Some(0xFF);
            self.position += 1;
            self.buffer |= u64::from(bits) << (56 - self.available);
            self.available += count;
        }
    }

    #[inline]
    fn consume(&mut self, count: u32) {
        self.buffer = self.buffer.checked_shl(count).unwrap_or(0);
        self.available -= count;
    }

    /// Counts zeros up to the next one, which is consumed too; `None` beyond `limit`.
    #[inline]
    fn zeros(&mut self, limit: u32) -> Option<u32> {
        let mut total = 0;
        loop {
            self.refill();
            let zeros = self.buffer.leading_zeros();
            if zeros < self.available {
                self.consume(zeros + 1);
                total += zeros;
                return (total <= limit).then_some(total);
            }
            total += self.available;
            if total > limit {
                return None;
            }
            self.consume(self.available);
        }
    }

    /// Whether bits were used that the data does not hold.
    pub fn exhausted(&self) -> bool {
        self.invented > self.available
    }

    /// Bytes from the start of the scan to the marker that ends it.
    pub fn end(&self) -> usize {
        let start = self.position.saturating_sub(1);
        let rest = self.data.get(start..).unwrap_or_default();
        let marker = rest.windows(2).position(|pair| matches!(pair, [0xFF, 0x80..=0xFF]));
        marker.map_or(self.data.len(), |offset| start + offset)
    }
}

impl Coder for BitReader<'_> {
    const ENCODES: bool = false;

    #[inline]
    fn bits(&mut self, _: u32, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        self.refill();
        let bits = (self.buffer >> (64 - count)) as u32;
        self.consume(count);
        Some(bits)
    }

    #[inline]
    fn golomb(&mut self, _: u32, k: u32, limit: u32, escape: u32) -> Option<u32> {
        let longest = limit.checked_sub(escape + 1)?;
        let high = self.zeros(longest)?;
        if high < longest {
            Some(high << k | self.bits(0, k)?)
        } else {
            Some(self.bits(0, escape)? + 1)
        }
    }
}

/// Writes what [`BitReader`] reads.
pub(super) struct BitWriter {
    out: Vec<u8>,
    /// Bits that are not written yet, in the low end.
    buffer: u64,
    count: u32,
    /// Whether the last byte of the scan is 0xFF.
    stuffed: bool,
}

impl BitWriter {
    /// Appends to `out`.
    pub fn new(out: Vec<u8>) -> Self {
        Self { out, buffer: 0, count: 0, stuffed: false }
    }

    #[inline]
    fn put(&mut self, value: u32, count: u32) {
        self.buffer = self.buffer << count | u64::from(value);
        self.count += count;
        loop {
            let width = if self.stuffed { 7 } else { 8 };
            let Some(rest) = self.count.checked_sub(width) else { break };
            let byte = (self.buffer >> rest) as u8 & if self.stuffed { 0x7F } else { 0xFF };
            self.out.push(byte);
            self.stuffed = byte == 0xFF;
            self.count = rest;
        }
    }

    /// Fills the last byte with zeros and gives everything back.
    pub fn finish(mut self) -> Vec<u8> {
        let width = if self.stuffed { 7 } else { 8 };
        // Behind 0xFF a byte must come even when no bit is left, so that no marker seems to begin.
        if self.count > 0 || self.stuffed {
            self.put(0, width - self.count);
        }
        self.out
    }
}

impl Coder for BitWriter {
    const ENCODES: bool = true;

    #[inline]
    fn bits(&mut self, value: u32, count: u32) -> Option<u32> {
        self.put(value, count);
        Some(value)
    }

    #[inline]
    fn golomb(&mut self, value: u32, k: u32, limit: u32, escape: u32) -> Option<u32> {
        let longest = limit.checked_sub(escape + 1)?;
        let high = value >> k;
        if high < longest {
            self.put(0, high.min(31));
            self.put(0, high - high.min(31));
            self.put(1, 1);
            self.put(value & ((1 << k) - 1), k);
        } else {
            self.put(0, longest.min(31));
            self.put(0, longest - longest.min(31));
            self.put(1, 1);
            self.put((value - 1) & ((1 << escape) - 1), escape);
        }
        Some(value)
    }
}
