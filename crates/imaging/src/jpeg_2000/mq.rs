//! The arithmetic coder of JPEG 2000 (ISO/IEC 15444-1 annex C), writing.

/// A state of table C.2: Qe, next state after a more and a less probable symbol, and whether the
/// sense of the more probable one turns.
struct State(u16, u8, u8, bool);

const STATES: [State; 47] = [
    State(0x5601, 1, 1, true),
    State(0x3401, 2, 6, false),
    State(0x1801, 3, 9, false),
    State(0x0AC1, 4, 12, false),
    State(0x0521, 5, 29, false),
    State(0x0221, 38, 33, false),
    State(0x5601, 7, 6, true),
    State(0x5401, 8, 14, false),
    State(0x4801, 9, 14, false),
    State(0x3801, 10, 14, false),
    State(0x3001, 11, 17, false),
    State(0x2401, 12, 18, false),
    State(0x1C01, 13, 20, false),
    State(0x1601, 29, 21, false),
    State(0x5601, 15, 14, true),
    State(0x5401, 16, 14, false),
    State(0x5101, 17, 15, false),
    State(0x4801, 18, 16, false),
    State(0x3801, 19, 17, false),
    State(0x3401, 20, 18, false),
    State(0x3001, 21, 19, false),
    State(0x2801, 22, 19, false),
    State(0x2401, 23, 20, false),
    State(0x2201, 24, 21, false),
    State(0x1C01, 25, 22, false),
    State(0x1801, 26, 23, false),
    State(0x1601, 27, 24, false),
    State(0x1401, 28, 25, false),
    State(0x1201, 29, 26, false),
    State(0x1101, 30, 27, false),
    State(0x0AC1, 31, 28, false),
    State(0x09C1, 32, 29, false),
    State(0x08A1, 33, 30, false),
    State(0x0521, 34, 31, false),
    State(0x0441, 35, 32, false),
    State(0x02A1, 36, 33, false),
    State(0x0221, 37, 34, false),
    State(0x0141, 38, 35, false),
    State(0x0111, 39, 36, false),
    State(0x0085, 40, 37, false),
    State(0x0049, 41, 38, false),
    State(0x0025, 42, 39, false),
    State(0x0015, 43, 40, false),
    State(0x0009, 44, 41, false),
    State(0x0005, 45, 42, false),
    State(0x0001, 45, 43, false),
    State(0x5601, 46, 46, false),
];

/// Number of contexts (table D.7).
pub(super) const CONTEXTS: usize = 19;

/// The context of run lengths.
pub(super) const RUN: usize = 17;

/// The context in which both symbols stay equally likely.
pub(super) const UNIFORM: usize = 18;

/// The encoder of one code block.
pub(super) struct Encoder {
    /// The first byte stands for the one before the output and is dropped.
    out: Vec<u8>,
    interval: u32,
    code: u32,
    /// CT: shifts until a byte is complete.
    countdown: u32,
    /// State and more probable symbol by context.
    contexts: [(u8, u8); CONTEXTS],
}

impl Encoder {
    pub fn new() -> Self {
        let mut contexts = [(0, 0); CONTEXTS];
        (contexts[0], contexts[RUN], contexts[UNIFORM]) = ((4, 0), (3, 0), (46, 0));
        Self { out: vec![0], interval: 0x8000, code: 0, countdown: 12, contexts }
    }

    /// Encodes one symbol, 0 or 1 (C.2.2 to C.2.4).
    #[inline]
    pub fn put(&mut self, symbol: u8, context: usize) {
        let (index, likely) = self.contexts[context];
        let State(estimate, after_likely, after_other, turns) = STATES[usize::from(index)];
        let estimate = u32::from(estimate);
        self.interval -= estimate;
        if symbol == likely {
            if self.interval & 0x8000 != 0 {
                self.code += estimate;
                return;
            }
            if self.interval < estimate {
                self.interval = estimate;
            } else {
                self.code += estimate;
            }
            self.contexts[context].0 = after_likely;
        } else {
            if self.interval < estimate {
                self.code += estimate;
            } else {
                self.interval = estimate;
            }
            self.contexts[context] = (after_other, if turns { 1 - likely } else { likely });
        }
        while self.interval & 0x8000 == 0 {
            self.interval <<= 1;
            self.code <<= 1;
            self.countdown -= 1;
            if self.countdown == 0 {
                self.byte_out();
            }
        }
    }

    /// Section C.2.6: a byte behind 0xFF carries seven bits.
    fn byte_out(&mut self) {
        let last = self.out.last().copied().unwrap_or(0);
        if last != 0xFF && self.code >= 0x0800_0000 {
            if let Some(last) = self.out.last_mut() {
                *last += 1;
            }
            self.code &= 0x07FF_FFFF;
        }
        if self.out.last() == Some(&0xFF) {
            self.out.push((self.code >> 20) as u8);
            self.code &= 0x000F_FFFF;
            self.countdown = 7;
        } else {
            self.out.push((self.code >> 19) as u8);
            self.code &= 0x0007_FFFF;
            self.countdown = 8;
        }
    }

    /// Ends the code block (C.2.9).
    pub fn finish(mut self) -> Vec<u8> {
        let target = self.code + self.interval;
        self.code |= 0xFFFF;
        if self.code >= target {
            self.code -= 0x8000;
        }
        for _ in 0..2 {
            self.code <<= self.countdown;
            self.byte_out();
        }
        if self.out.last() == Some(&0xFF) {
            self.out.pop();
        }
        self.out.remove(0);
        self.out
    }
}
