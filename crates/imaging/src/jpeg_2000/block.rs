//! Codes the bit planes of a code block (ISO/IEC 15444-1 annex D), in one segment.

use super::mq::{Encoder, RUN, UNIFORM};

/// Which coefficients a subband holds (annex B.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Band {
    /// Low in both directions, at the coarsest level.
    LowLow,
    /// High horizontally.
    HighLow,
    /// High vertically.
    LowHigh,
    HighHigh,
}

/// A coded block.
pub(super) struct Block {
    pub data: Vec<u8>,
    pub passes: u32,
    /// Bit planes from the first that is not empty.
    pub planes: u32,
}

const SIGNIFICANT: u8 = 1;
const NEGATIVE: u8 = 2;
const VISITED: u8 = 4;
const REFINED: u8 = 8;

/// A block while it is coded; the flags have a border of one coefficient.
struct Coder<'a> {
    magnitudes: &'a [u32],
    flags: Vec<u8>,
    width: usize,
    height: usize,
    band: Band,
    mq: Encoder,
}

/// Codes a block of `width` coefficients a row.
pub(super) fn encode(coefficients: &[i32], width: usize, band: Band) -> Block {
    let magnitudes: Vec<u32> = coefficients.iter().map(|c| c.unsigned_abs()).collect();
    let all = magnitudes.iter().fold(0, |all, magnitude| all | magnitude);
    let planes = u32::BITS - all.leading_zeros();
    if planes == 0 || width == 0 {
        return Block { data: Vec::new(), passes: 0, planes: 0 };
    }
    let height = coefficients.len() / width;
    let mut flags = vec![0; (width + 2) * (height + 2)];
    for (y, row) in coefficients.chunks_exact(width).enumerate() {
        for (x, coefficient) in row.iter().enumerate() {
            if *coefficient < 0 {
                flags[(y + 1) * (width + 2) + x + 1] = NEGATIVE;
            }
        }
    }
    let mq = Encoder::new();
    let mut coder = Coder { magnitudes: &magnitudes, flags, width, height, band, mq };
    coder.clean_up(planes - 1);
    for plane in (0..planes - 1).rev() {
        coder.propagate(plane);
        coder.refine(plane);
        coder.clean_up(plane);
    }
    Block { data: coder.mq.finish(), passes: 3 * planes - 2, planes }
}

impl Coder<'_> {
    /// Position in the flags.
    #[inline]
    fn at(&self, x: usize, y: usize) -> usize {
        (y + 1) * (self.width + 2) + x + 1
    }

    #[inline]
    fn bit(&self, x: usize, y: usize, plane: u32) -> u8 {
        (self.magnitudes[y * self.width + x] >> plane & 1) as u8
    }

    /// Significant neighbours: left and right, above and below, at the corners.
    #[inline]
    fn neighbours(&self, at: usize) -> (u8, u8, u8) {
        let stride = self.width + 2;
        let f = |index: usize| self.flags[index] & SIGNIFICANT;
        (
            f(at - 1) + f(at + 1),
            f(at - stride) + f(at + stride),
            f(at - stride - 1) + f(at - stride + 1) + f(at + stride - 1) + f(at + stride + 1),
        )
    }

    /// Table D.1.
    #[inline]
    fn zero_context(&self, at: usize) -> usize {
        let (across, down, corners) = self.neighbours(at);
        let (first, second) = match self.band {
            Band::LowLow | Band::LowHigh => (across, down),
            Band::HighLow => (down, across),
            Band::HighHigh => {
                let sides = across + down;
                return match (corners, sides) {
                    (3.., _) => 8,
                    (2, 1..) => 7,
                    (2, _) => 6,
                    (1, 2..) => 5,
                    (1, 1) => 4,
                    (1, _) => 3,
                    (_, 2..) => 2,
                    (_, 1) => 1,
                    _ => 0,
                };
            }
        };
        match (first, second, corners) {
            (2, _, _) => 8,
            (1, 1.., _) => 7,
            (1, _, 1..) => 6,
            (1, _, _) => 5,
            (_, 2, _) => 4,
            (_, 1, _) => 3,
            (_, _, 2..) => 2,
            (_, _, 1) => 1,
            _ => 0,
        }
    }

    /// Codes the sign of a coefficient (tables D.2 and D.3) and makes it significant.
    fn sign(&mut self, at: usize) {
        let stride = self.width + 2;
        let value = |index: usize| match self.flags[index] & (SIGNIFICANT | NEGATIVE) {
            SIGNIFICANT => 1i8,
            0 | NEGATIVE => 0,
            _ => -1,
        };
        let across = (value(at - 1) + value(at + 1)).clamp(-1, 1);
        let down = (value(at - stride) + value(at + stride)).clamp(-1, 1);
        let (context, turned) = match (across, down) {
            (1, 1) => (13, 0),
            (1, 0) => (12, 0),
            (1, _) => (11, 0),
            (0, 1) => (10, 0),
            (0, 0) => (9, 0),
            (0, _) => (10, 1),
            (_, 1) => (11, 1),
            (_, 0) => (12, 1),
            _ => (13, 1),
        };
        let negative = u8::from(self.flags[at] & NEGATIVE != 0);
        self.mq.put(negative ^ turned, context);
        self.flags[at] |= SIGNIFICANT;
    }

    /// Walks over stripes of four rows, column by column (D.1).
    fn stripes(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (width, height) = (self.width, self.height);
        (0..height)
            .step_by(4)
            .flat_map(move |top| (0..width).map(move |x| (x, top, (top + 4).min(height))))
    }

    /// Significance propagation (D.3.1).
    fn propagate(&mut self, plane: u32) {
        for (x, top, end) in self.stripes() {
            for y in top..end {
                let at = self.at(x, y);
                let context = self.zero_context(at);
                if self.flags[at] & SIGNIFICANT != 0 || context == 0 {
                    continue;
                }
                let bit = self.bit(x, y, plane);
                self.mq.put(bit, context);
                if bit == 1 {
                    self.sign(at);
                }
                self.flags[at] |= VISITED;
            }
        }
    }

    /// Magnitude refinement (D.3.3).
    fn refine(&mut self, plane: u32) {
        for (x, top, end) in self.stripes() {
            for y in top..end {
                let at = self.at(x, y);
                if self.flags[at] & (SIGNIFICANT | VISITED) != SIGNIFICANT {
                    continue;
                }
                let context = if self.flags[at] & REFINED != 0 {
                    16
                } else if self.neighbours(at) != (0, 0, 0) {
                    15
                } else {
                    14
                };
                let bit = self.bit(x, y, plane);
                self.mq.put(bit, context);
                self.flags[at] |= REFINED;
            }
        }
    }

    /// Clean-up (D.3.4), which also forgets what the plane visited.
    fn clean_up(&mut self, plane: u32) {
        for (x, top, end) in self.stripes() {
            let mut y = top;
            let whole = end - top == 4
                && (top..end).all(|y| {
                    let at = self.at(x, y);
                    self.flags[at] & (SIGNIFICANT | VISITED) == 0 && self.zero_context(at) == 0
                });
            if whole {
                let first = (top..end).position(|y| self.bit(x, y, plane) == 1);
                self.mq.put(u8::from(first.is_some()), RUN);
                let Some(first) = first else { continue };
                self.mq.put((first >> 1) as u8, UNIFORM);
                self.mq.put((first & 1) as u8, UNIFORM);
                y = top + first;
                self.sign(self.at(x, y));
                y += 1;
            }
            for y in y..end {
                let at = self.at(x, y);
                if self.flags[at] & (SIGNIFICANT | VISITED) == 0 {
                    let bit = self.bit(x, y, plane);
                    self.mq.put(bit, self.zero_context(at));
                    if bit == 1 {
                        self.sign(at);
                    }
                }
            }
        }
        self.flags.iter_mut().for_each(|flags| *flags &= !VISITED);
    }
}
