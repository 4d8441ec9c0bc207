//! The sample coder of JPEG-LS (ITU-T T.87 annex A): contexts, prediction, run mode.
//!
//! Both directions share one walk over the samples, so that they cannot drift apart: a [`Coder`]
//! either produces each code from the stream or writes the one it is given.

/// One direction of coding. Values that are passed in are written by encoders and ignored by
/// decoders; what comes back is the value that the stream holds. `None` is a damaged stream.
pub(super) trait Coder {
    /// Whether lines hold source samples when they are handed over.
    const ENCODES: bool;

    /// `count` bits, at most 32.
    fn bits(&mut self, value: u32, count: u32) -> Option<u32>;

    /// A Golomb code of parameter `k`, at most `limit` bits long, whose escape has `escape` bits
    /// (section A.5.3).
    fn golomb(&mut self, value: u32, k: u32, limit: u32, escape: u32) -> Option<u32>;
}

/// Orders of run lengths (section A.2.1, J).
const RUN_ORDERS: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// Coding parameters of a scan (sections A.2.1 and C.2.4.1.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    /// MAXVAL.
    maximum: i32,
    near: i32,
    thresholds: [i32; 3],
    reset: i32,
    /// RANGE.
    range: i32,
    /// Bits of a prediction error, qbpp.
    error_bits: u32,
    /// LIMIT.
    limit: u32,
}

impl Parameters {
    /// Derives everything from precision, NEAR and the presets, of which zeros mean the default.
    /// `None` when a value is out of its range.
    pub fn new(
        precision: u32,
        near: i32,
        maximum: i32,
        thresholds: [i32; 3],
        reset: i32,
    ) -> Option<Self> {
        let greatest = (1i32 << precision) - 1;
        let maximum = if maximum == 0 { greatest } else { maximum };
        if maximum > greatest || maximum < 1 || near > (maximum / 2).min(255) {
            return None;
        }
        let reset = if reset == 0 { 64 } else { reset };
        if !(3..=255.max(maximum)).contains(&reset) {
            return None;
        }
        let defaults = default_thresholds(maximum, near);
        let mut chosen = [0; 3];
        let mut least = near + 1;
        for ((chosen, preset), default) in chosen.iter_mut().zip(thresholds).zip(defaults) {
            *chosen = if preset == 0 { default } else { preset };
            if !(least..=maximum).contains(chosen) {
                return None;
            }
            least = *chosen;
        }
        let range = (maximum + 2 * near) / (2 * near + 1) + 1;
        let bits = bits_of(maximum + 1).max(2);
        let error_bits = bits_of(range);
        let limit = 2 * (bits + bits.max(8));
        Some(Self { maximum, near, thresholds: chosen, reset, range, error_bits, limit })
    }
}

/// The least number of bits that count `values` values.
fn bits_of(values: i32) -> u32 {
    32 - (values - 1).leading_zeros()
}

/// Section C.2.4.1.1.1.
fn default_thresholds(maximum: i32, near: i32) -> [i32; 3] {
    let clamp = |value: i32, least: i32| {
        if value > maximum || value < least { least } else { value }
    };
    let basic = [3, 7, 21];
    let margins = [3 * near, 5 * near, 7 * near];
    let mut least = near + 1;
    let mut out = [0; 3];
    for (index, out) in out.iter_mut().enumerate() {
        let floor = index as i32 + 2;
        let value = if maximum >= 128 {
            let factor = (maximum.min(4095) + 128) / 256;
            factor * (basic[index] - floor) + floor + margins[index]
        } else {
            let factor = 256 / (maximum + 1);
            floor.max(basic[index] / factor + margins[index])
        };
        *out = clamp(value, least);
        least = *out;
    }
    out
}

/// Statistics of a regular context.
#[derive(Debug, Clone, Copy)]
struct Context {
    /// A: sum of error magnitudes.
    magnitude: i32,
    /// B: sum of errors.
    bias: i32,
    /// C: correction of predictions.
    correction: i32,
    /// N: occurrences.
    count: i32,
}

/// Statistics of a run interruption context.
#[derive(Debug, Clone, Copy)]
struct RunContext {
    magnitude: i32,
    count: i32,
    /// Nn: negative errors.
    negative: i32,
}

/// The state of a scan.
pub(super) struct Model {
    parameters: Parameters,
    /// By quantised gradients; the first one serves only pixels of several components.
    contexts: Vec<Context>,
    /// By run interruption type.
    run_contexts: [RunContext; 2],
    /// RUNindex by component.
    run_indexes: Vec<usize>,
}

impl Model {
    /// Starts a scan of `components`.
    pub fn new(parameters: Parameters, components: usize) -> Self {
        let magnitude = ((parameters.range + 32) / 64).max(2);
        let context = Context { magnitude, bias: 0, correction: 0, count: 1 };
        Self {
            parameters,
            contexts: vec![context; 365],
            run_contexts: [RunContext { magnitude, count: 1, negative: 0 }; 2],
            run_indexes: vec![0; components],
        }
    }

    /// Codes a line of one component. Lines have a sample more at both ends; `above` is complete,
    /// `here` has its first sample and, when encoding, the source. Afterwards it holds what a
    /// decoder sees.
    pub fn line<C: Coder>(
        &mut self,
        coder: &mut C,
        above: &[i32],
        here: &mut [i32],
        component: usize,
    ) -> Option<()> {
        let columns = here.len().checked_sub(2)?;
        let mut run_index = *self.run_indexes.get(component)?;
        let mut x = 1;
        while x <= columns {
            let [left, corner, top, right] = neighbours(above, here, x);
            let gradient = self.gradient(left, corner, top, right);
            if gradient != 0 {
                here[x] = self.regular(coder, here[x], gradient, predict(left, top, corner))?;
                x += 1;
                continue;
            }
            let near = self.parameters.near;
            let matches = |sample: i32, _| (sample - left).abs() <= near;
            let rest = here.get_mut(x..=columns)?;
            let length = run_length(coder, rest, matches, &mut run_index)?;
            rest.get_mut(..length)?.fill(left);
            x += length;
            if x <= columns {
                let top = above[x];
                let similar = (left - top).abs() <= near;
                let order = RUN_ORDERS[run_index];
                here[x] = self.interruption(coder, here[x], left, top, similar, order)?;
                run_index = run_index.saturating_sub(1);
                x += 1;
            }
        }
        self.run_indexes[component] = run_index;
        Some(())
    }

    /// Codes a line of pixels, all components of one before the next (ILV 2).
    pub fn pixels<C: Coder>(
        &mut self,
        coder: &mut C,
        above: &[Vec<i32>],
        here: &mut [Vec<i32>],
    ) -> Option<()> {
        let columns = here.first()?.len().checked_sub(2)?;
        let count = here.len();
        let mut run_index = *self.run_indexes.first()?;
        let mut gradients = vec![0; count];
        let mut x = 1;
        while x <= columns {
            for ((gradient, above), here) in gradients.iter_mut().zip(above).zip(&*here) {
                let [left, corner, top, right] = neighbours(above, here, x);
                *gradient = self.gradient(left, corner, top, right);
            }
            if gradients.iter().any(|gradient| *gradient != 0) {
                for ((gradient, above), here) in gradients.iter().zip(above).zip(here.iter_mut()) {
                    let [left, corner, top, _] = neighbours(above, here, x);
                    let prediction = predict(left, top, corner);
                    here[x] = self.regular(coder, here[x], *gradient, prediction)?;
                }
                x += 1;
                continue;
            }
            let near = self.parameters.near;
            let (first, others) = here.split_first_mut()?;
            let left = first[x - 1];
            let matches = |sample: i32, offset: usize| {
                (sample - left).abs() <= near
                    && others.iter().all(|line| (line[x + offset] - line[x - 1]).abs() <= near)
            };
            let length = run_length(coder, first.get(x..=columns)?, matches, &mut run_index)?;
            for line in here.iter_mut() {
                let left = line[x - 1];
                line.get_mut(x..x + length)?.fill(left);
            }
            x += length;
            if x <= columns {
                let order = RUN_ORDERS[run_index];
                for (above, here) in above.iter().zip(here.iter_mut()) {
                    let (left, top) = (here[x - 1], above[x]);
                    here[x] = self.interruption(coder, here[x], left, top, false, order)?;
                }
                run_index = run_index.saturating_sub(1);
                x += 1;
            }
        }
        self.run_indexes[0] = run_index;
        Some(())
    }

    /// Quantises the local gradients to a number whose sign is that of the context (A.3.1 to
    /// A.3.4).
    #[inline]
    fn gradient(&self, left: i32, corner: i32, top: i32, right: i32) -> i32 {
        let quantise = |difference: i32| -> i32 {
            let [t1, t2, t3] = self.parameters.thresholds;
            let magnitude = difference.abs();
            let level = if magnitude <= self.parameters.near {
                0
            } else if magnitude < t1 {
                1
            } else if magnitude < t2 {
                2
            } else if magnitude < t3 {
                3
            } else {
                4
            };
            if difference < 0 { -level } else { level }
        };
        (quantise(right - top) * 9 + quantise(top - corner)) * 9 + quantise(corner - left)
    }

    /// Codes a sample in regular mode (A.4 to A.6) and gives what a decoder sees.
    #[inline]
    fn regular<C: Coder>(
        &mut self,
        coder: &mut C,
        source: i32,
        gradient: i32,
        prediction: i32,
    ) -> Option<i32> {
        let Parameters { maximum, near, range, error_bits, limit, reset, .. } = self.parameters;
        let negative = gradient < 0;
        let context = self.contexts.get_mut(gradient.unsigned_abs() as usize)?;
        let correction = if negative { -context.correction } else { context.correction };
        let prediction = (prediction + correction).clamp(0, maximum);
        let k = golomb_parameter(context.count, context.magnitude);
        let inverted = near == 0 && k == 0 && 2 * context.bias <= -context.count;
        let mut mapped = 0;
        if C::ENCODES {
            let difference = if negative { prediction - source } else { source - prediction };
            let error = reduce(quantise(difference, near), range);
            mapped = if inverted {
                if error >= 0 { 2 * error + 1 } else { -2 * (error + 1) }
            } else if error >= 0 {
                2 * error
            } else {
                -2 * error - 1
            };
        }
        let mapped = coder.golomb(mapped as u32, k, limit, error_bits)?;
        if mapped > 2 * range as u32 {
            return None;
        }
        let half = (mapped >> 1) as i32;
        let error = match (inverted, mapped & 1 == 1) {
            (false, false) | (true, true) => half,
            (false, true) | (true, false) => -half - 1,
        };
        // Section A.6.
        context.bias += error * (2 * near + 1);
        context.magnitude = context.magnitude.saturating_add(error.abs());
        if context.count == reset {
            context.magnitude >>= 1;
            context.bias >>= 1;
            context.count >>= 1;
        }
        context.count += 1;
        if context.bias <= -context.count {
            context.correction = (context.correction - 1).max(-128);
            context.bias = (context.bias + context.count).max(1 - context.count);
        } else if context.bias > 0 {
            context.correction = (context.correction + 1).min(127);
            context.bias = (context.bias - context.count).min(0);
        }
        let error = if negative { -error } else { error };
        Some(self.reconstruct(prediction, error))
    }

    /// Codes the sample that ends a run (A.7.2). `similar` says that left and top agree.
    fn interruption<C: Coder>(
        &mut self,
        coder: &mut C,
        source: i32,
        left: i32,
        top: i32,
        similar: bool,
        run_order: u32,
    ) -> Option<i32> {
        let Parameters { near, range, error_bits, limit, reset, .. } = self.parameters;
        let kind = i32::from(similar);
        let prediction = if similar { left } else { top };
        let negative = !similar && left > top;
        let context = self.run_contexts.get_mut(usize::from(similar))?;
        let magnitude = context.magnitude + if similar { context.count >> 1 } else { 0 };
        let k = golomb_parameter(context.count, magnitude);
        // Whether negative errors are the likelier ones.
        let tends = k != 0 || 2 * context.negative >= context.count;
        let mut mapped = 0;
        if C::ENCODES {
            let difference = if negative { prediction - source } else { source - prediction };
            let error = reduce(quantise(difference, near), range);
            let odd = if error < 0 { tends } else { error > 0 && !tends };
            mapped = 2 * error.abs() - kind - i32::from(odd);
        }
        let limit = limit.checked_sub(run_order + 1)?;
        let mapped = coder.golomb(mapped as u32, k, limit, error_bits)?;
        if mapped > 2 * range as u32 {
            return None;
        }
        let mapped = mapped as i32;
        let total = mapped + kind;
        let odd = total & 1 == 1;
        let size = (total + i32::from(odd)) / 2;
        let error = if tends == odd { -size } else { size };
        if error < 0 {
            context.negative += 1;
        }
        context.magnitude = context.magnitude.saturating_add((mapped + 1 - kind) >> 1);
        if context.count == reset {
            context.magnitude >>= 1;
            context.count >>= 1;
            context.negative >>= 1;
        }
        context.count += 1;
        let error = if negative { -error } else { error };
        Some(self.reconstruct(prediction, error))
    }

    /// Adds a quantised error to a prediction, around the ends of the range (A.4.4, A.4.5).
    #[inline]
    fn reconstruct(&self, prediction: i32, error: i32) -> i32 {
        let Parameters { maximum, near, range, .. } = self.parameters;
        let step = 2 * near + 1;
        let mut value = prediction + error * step;
        if value < -near {
            value += range * step;
        } else if value > maximum + near {
            value -= range * step;
        }
        value.clamp(0, maximum)
    }
}

/// Ra, Rc, Rb and Rd of figure A.1.
#[inline]
fn neighbours(above: &[i32], here: &[i32], x: usize) -> [i32; 4] {
    [here[x - 1], above[x - 1], above[x], above[x + 1]]
}

/// The edge-detecting predictor (A.4.1).
#[inline]
fn predict(left: i32, top: i32, corner: i32) -> i32 {
    if corner >= left.max(top) {
        left.min(top)
    } else if corner <= left.min(top) {
        left.max(top)
    } else {
        left + top - corner
    }
}

/// Rounds an error to steps of `2 * near + 1` (A.4.4).
#[inline]
fn quantise(error: i32, near: i32) -> i32 {
    if near == 0 {
        error
    } else if error > 0 {
        (error + near) / (2 * near + 1)
    } else {
        -((near - error) / (2 * near + 1))
    }
}

/// Brings an error into half the range on either side of zero (A.4.5).
#[inline]
fn reduce(error: i32, range: i32) -> i32 {
    let error = if error < 0 { error + range } else { error };
    if error >= (range + 1) / 2 { error - range } else { error }
}

/// The least k for which `count << k` is not below `magnitude` (A.5.1).
#[inline]
fn golomb_parameter(count: i32, magnitude: i32) -> u32 {
    let mut k = 0;
    while k < 24 && (i64::from(count) << k) < i64::from(magnitude) {
        k += 1;
    }
    k
}

/// Codes the length of a run (A.7.1) of the samples in `rest` that match. It ends before the first
/// that does not, or at the end of the line.
fn run_length<C: Coder>(
    coder: &mut C,
    rest: &[i32],
    matches: impl Fn(i32, usize) -> bool,
    run_index: &mut usize,
) -> Option<usize> {
    let wanted = if C::ENCODES {
        rest.iter().enumerate().take_while(|(offset, sample)| matches(**sample, *offset)).count()
    } else {
        0
    };
    let mut done = 0;
    loop {
        let order = RUN_ORDERS[*run_index];
        let chunk = 1usize << order;
        let missing = rest.len() - done;
        // A run up to the end of the line is told by a chunk that reaches beyond it.
        let whole = wanted - done.min(wanted) >= chunk.min(missing);
        if coder.bits(u32::from(whole), 1)? == 1 {
            if chunk <= missing && *run_index < RUN_ORDERS.len() - 1 {
                *run_index += 1;
            }
            done += chunk.min(missing);
            if done == rest.len() {
                return Some(done);
            }
        } else {
            let left = coder.bits((wanted - done.min(wanted)) as u32, order)? as usize;
            done += left;
            return (done < rest.len()).then_some(done);
        }
    }
}
