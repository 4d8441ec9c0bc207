//! Grayscale: modality transformation, VOI window or LUT, and the inversion of MONOCHROME1
//! (PS3.3 sections C.11.1 and C.11.2, PS3.4 annex N).
//!
//! Samples of up to 16 bits go through one table that holds the whole transformation, so a pixel
//! costs one look-up. Wider and floating point samples are computed one by one.

use crate::attributes::{DataSet, Image, Photometric, SampleKind};
use crate::encode::Picture;
use crate::lut::Lut;
use crate::{ImagingError, RenderOptions, VoiFunction, Window, bits, malformed};

/// Everything between a stored value and its brightness.
pub(crate) struct Transformation {
    modality: Modality,
    voi: Voi,
    /// Stored values that stand for "no pixel here"; they do not count for the stretch.
    padding: Option<(i64, i64)>,
}

enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Lut),
}

enum Voi {
    Window(Window),
    Table(Lut),
    /// From the least to the greatest value of the frame.
    Stretch,
}

impl Transformation {
    /// Collects what applies to a frame counted from 1.
    pub fn read(
        data_set: &DataSet,
        image: &Image,
        frame_number: u32,
        options: &RenderOptions,
    ) -> Result<Self, ImagingError> {
        let modality = match data_set.rescale(frame_number) {
            Some((slope, intercept)) => {
                // A slope of zero would make every pixel equal; equipment writes it for "none".
                Modality::Linear { slope: if slope == 0.0 { 1.0 } else { slope }, intercept }
            }
            None => match data_set.modality_luts.item(0) {
                Some(item) => match Lut::read(&item.descriptor, &item.data, image.signed)? {
                    Some(table) => Modality::Table(table),
                    None => Modality::Linear { slope: 1.0, intercept: 0.0 },
                },
                None => Modality::Linear { slope: 1.0, intercept: 0.0 },
            },
        };
        let window = options.window.or_else(|| {
            let (center, width, function) = data_set.window(frame_number)?;
            let function = match function {
                "SIGMOID" => VoiFunction::Sigmoid,
                "LINEAR_EXACT" => VoiFunction::LinearExact,
                _ => VoiFunction::Linear,
            };
            Some(Window { center, width, function })
        });
        let voi = match window.and_then(usable) {
            Some(window) => Voi::Window(window),
            None => Self::voi_table(data_set, image).map_or(Voi::Stretch, Voi::Table),
        };
        Ok(Self { modality, voi, padding: padding(data_set, image) })
    }

    /// The first VOI LUT. One that is stored elsewhere or damaged only costs contrast, so the
    /// stretch stands in for it.
    fn voi_table(data_set: &DataSet, image: &Image) -> Option<Lut> {
        let item = data_set.voi_luts.item(0)?;
        Lut::read(&item.descriptor, &item.data, image.signed).ok()?
    }

    fn modality(&self, stored: f64) -> f64 {
        match &self.modality {
            Modality::Linear { slope, intercept } => stored * slope + intercept,
            Modality::Table(table) => f64::from(table.get(stored as i64)),
        }
    }

    fn is_padding(&self, stored: i64) -> bool {
        self.padding.is_some_and(|(low, high)| (low..=high).contains(&stored))
    }

    /// Brightness of a value after the modality transformation; `range` is least and greatest value
    /// of the frame, needed for the stretch.
    fn brightness(&self, value: f64, range: (f64, f64)) -> u8 {
        match &self.voi {
            Voi::Window(window) => window.apply(value),
            Voi::Table(table) => table.byte(value.round() as i64),
            Voi::Stretch => {
                let (low, high) = range;
                if high > low { byte((value - low) / (high - low)) } else { 0 }
            }
        }
    }

    fn stretches(&self) -> bool {
        matches!(self.voi, Voi::Stretch)
    }
}

/// Windows that no rule covers are dropped; LINEAR needs a width of 1, below that the exact form is
/// meant.
fn usable(window: Window) -> Option<Window> {
    if !window.center.is_finite() || !window.width.is_finite() || window.width <= 0.0 {
        return None;
    }
    let function = match window.function {
        VoiFunction::Linear if window.width < 1.0 => VoiFunction::LinearExact,
        function => function,
    };
    Some(Window { function, ..window })
}

impl Window {
    /// Brightness of a value (PS3.3 section C.11.2.1.2.1 and C.11.2.1.3).
    fn apply(&self, value: f64) -> u8 {
        let Self { center, width, function } = *self;
        byte(match function {
            // The widths of 1 divide by zero, which clamping turns into the threshold it should be.
            VoiFunction::Linear if width == 1.0 => f64::from(value > center - 0.5),
            VoiFunction::Linear => (value - (center - 0.5)) / (width - 1.0) + 0.5,
            VoiFunction::LinearExact => (value - center) / width + 0.5,
            VoiFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        })
    }
}

/// Scales 0–1 to 0–255, clamping; NaN becomes 0.
fn byte(fraction: f64) -> u8 {
    (fraction * 255.0).clamp(0.0, 255.0).round() as u8
}

/// Pixel Padding Value and Pixel Padding Range Limit, in the sign of the pixels.
fn padding(data_set: &DataSet, image: &Image) -> Option<(i64, i64)> {
    let stored = |number: f64| {
        let number = number as i64;
        if image.signed && image.bits_allocated == 16 {
            i64::from((number & 0xFFFF) as u16 as i16)
        } else if !image.signed && number < 0 {
            number & 0xFFFF
        } else {
            number
        }
    };
    let value = stored(data_set.padding.number()?);
    let limit = data_set.padding_limit.number().map_or(value, stored);
    Some((value.min(limit), value.max(limit)))
}

/// Renders a decoded frame to 8-bit gray.
pub(crate) fn render(
    image: &Image,
    pixels: &[u8],
    transformation: &Transformation,
) -> Result<Picture, ImagingError> {
    let mut gray = match (image.kind, image.bits_allocated) {
        (SampleKind::Integer, 1) => {
            let table = [0.0, 1.0]
                .map(|v| transformation.brightness(transformation.modality(v), (0.0, 1.0)));
            let bits = bits::unpack(pixels, image.pixels());
            bits.into_iter().map(|bit| if bit == 0 { table[0] } else { table[1] }).collect()
        }
        (SampleKind::Integer, 8) => {
            through_table(image, transformation, || pixels.iter().map(|byte| usize::from(*byte)))
        }
        (SampleKind::Integer, 16) => through_table(image, transformation, || {
            let words = pixels.as_chunks::<2>().0;
            words.iter().map(|word| usize::from(u16::from_le_bytes(*word)))
        }),
        (SampleKind::Integer, _) => {
            let wide = pixels.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
            one_by_one(transformation, wide.map(|raw| stored(image, raw) as f64), true)
        }
        (SampleKind::Float, _) => {
            let floats = pixels.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
            one_by_one(transformation, floats.map(f64::from), false)
        }
        (SampleKind::Double, _) => {
            let doubles = pixels.as_chunks::<8>().0.iter().map(|word| f64::from_le_bytes(*word));
            one_by_one(transformation, doubles, false)
        }
    };
    if gray.len() != image.pixels() {
        return malformed("the frame is shorter than its dimensions say");
    }
    if image.photometric == Photometric::Monochrome1 {
        gray.iter_mut().for_each(|value| *value = 255 - *value);
    }
    Ok(Picture { width: image.columns, height: image.rows, channels: 1, samples: gray })
}

/// The stored value inside a sample: shifted, masked, sign extended.
fn stored(image: &Image, raw: u32) -> i64 {
    let mask = ((1u64 << image.bits_stored) - 1) as u32;
    let value = i64::from(raw.checked_shr(image.shift as u32).unwrap_or(0) & mask);
    let sign = 1i64 << (image.bits_stored - 1);
    if image.signed && value & sign != 0 { value - (sign << 1) } else { value }
}

/// Maps samples of up to 16 bits through a table over their stored bits.
fn through_table<I: Iterator<Item = usize>>(
    image: &Image,
    transformation: &Transformation,
    samples: impl Fn() -> I,
) -> Vec<u8> {
    let size = 1usize << image.bits_stored;
    let (shift, mask) = (image.shift, size - 1);
    let stored_of = |index: usize| stored(image, (index << shift) as u32);
    let mut range = (0.0, 0.0);
    if transformation.stretches() {
        let mut present = vec![false; size];
        for sample in samples() {
            if let Some(seen) = present.get_mut((sample >> shift) & mask) {
                *seen = true;
            }
        }
        let values = present.iter().enumerate().filter(|(_, seen)| **seen).map(|(index, _)| index);
        let values = values.map(stored_of).filter(|value| !transformation.is_padding(*value));
        range = extent(values.map(|value| transformation.modality(value as f64)));
    }
    let table: Vec<u8> = (0..size)
        .map(|index| transformation.modality(stored_of(index) as f64))
        .map(|value| transformation.brightness(value, range))
        .collect();
    samples().map(|sample| table.get((sample >> shift) & mask).copied().unwrap_or(0)).collect()
}

/// Maps samples that are too wide for a table.
fn one_by_one(
    transformation: &Transformation,
    samples: impl Iterator<Item = f64> + Clone,
    padded: bool,
) -> Vec<u8> {
    let mut range = (0.0, 0.0);
    if transformation.stretches() {
        let counted =
            samples.clone().filter(|value| !(padded && transformation.is_padding(*value as i64)));
        range = extent(counted.map(|value| transformation.modality(value)));
    }
    samples.map(|value| transformation.brightness(transformation.modality(value), range)).collect()
}

/// Least and greatest finite value; zeros when there is none.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let wide = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold(wide, |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::json;

    fn gray_with(words: &str, frame: &[u8], number: u32, window: Option<Window>) -> Vec<u8> {
        let data_set = DataSet::parse(json(words).as_bytes()).unwrap();
        let image = Image::read(&data_set).unwrap();
        let options = RenderOptions { window, ..RenderOptions::default() };
        let voi = Transformation::read(&data_set, &image, number, &options).unwrap();
        render(&image, frame, &voi).unwrap().samples
    }

    fn gray(words: &str, frame: &[u8]) -> Vec<u8> {
        gray_with(words, frame, 1, None)
    }

    fn words_of(values: &[i16]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn linear_windows_follow_the_formula_of_the_standard() {
        // C.11.2.1.2.1: c = 2048, w = 4096 maps 0 to 0 and 4095 to the greatest output.
        let words = "bits=16 00281050=2048 00281051=4096 rows=1 columns=4";
        assert_eq!(gray(words, &words_of(&[0, 2047, 2048, 4095])), [0, 127, 128, 255]);
        // c = 0, w = 1 is a threshold: values from 0 on are white.
        let words = "bits=16 signed=1 00281050=0 00281051=1 rows=1 columns=3";
        assert_eq!(gray(words, &words_of(&[-1, 0, 1])), [0, 255, 255]);
    }

    #[test]
    fn exact_and_sigmoid_windows() {
        let exact = "00281050=50 00281051=100 00281056=\"LINEAR_EXACT\"";
        assert_eq!(gray(exact, &[0, 50, 100, 200]), [0, 128, 255, 255]);
        let sigmoid = "00281050=50 00281051=100 00281056=\"SIGMOID\"";
        assert_eq!(gray(sigmoid, &[0, 50, 100, 150]), [30, 128, 225, 250]);
    }

    #[test]
    fn rescale_comes_before_the_window() {
        let words = "bits=16 00281052=-1000 00281053=2 00281050=0 00281051=2000 \
                     00281056=\"LINEAR_EXACT\"";
        assert_eq!(gray(words, &words_of(&[0, 500, 750, 1000])), [0, 128, 191, 255]);
    }

    #[test]
    fn without_a_window_the_frame_is_stretched_and_padding_left_out() {
        assert_eq!(gray("", &[10, 20, 30, 60]), [0, 51, 102, 255]);
        let padded = "bits=16 signed=1 00280120=-2000";
        assert_eq!(gray(padded, &words_of(&[-2000, 0, 50, 100])), [0, 0, 128, 255]);
        let as_unsigned = "bits=16 signed=1 00280120=63536";
        assert_eq!(gray(as_unsigned, &words_of(&[-2000, 0, 50, 100])), [0, 0, 128, 255]);
        assert_eq!(gray("", &[7, 7, 7, 7]), [0, 0, 0, 0]);
    }

    #[test]
    fn stored_bits_are_masked_shifted_and_sign_extended() {
        // Twelve bits stored in the high part; the low four are an overlay's.
        let words = "bits=16 stored=12 high=15 signed=1";
        assert_eq!(
            gray(words, &[0x0F, 0xFF, 0x00, 0x00, 0x0F, 0x01, 0x00, 0x02]),
            [0, 85, 170, 255]
        );
    }

    #[test]
    fn monochrome1_is_inverted() {
        assert_eq!(gray("photometric=MONOCHROME1", &[0, 51, 204, 255]), [255, 204, 51, 0]);
    }

    #[test]
    fn single_bits_are_black_and_white_even_when_all_are_set() {
        assert_eq!(gray("bits=1", &[0b1001]), [255, 0, 0, 255]);
        assert_eq!(gray("bits=1", &[0b1111]), [255; 4]);
    }

    #[test]
    fn wide_and_floating_point_samples() {
        let wide: Vec<u8> =
            [0u32, 1 << 30, 2 << 30, 3 << 30].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(gray("bits=32", &wide), [0, 85, 170, 255]);
        let floats: Vec<u8> =
            [f32::NAN, -1.0, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let words = "bits=32 7FE00008=raw:{\"vr\":\"OF\",\"BulkDataURI\":\"x\"}";
        assert_eq!(gray(words, &floats), [0, 0, 128, 255]);
    }

    #[test]
    fn the_callers_window_wins() {
        let window = Window { center: 0.5, width: 1.0, function: VoiFunction::LinearExact };
        let words = "00281050=50 00281051=100";
        assert_eq!(gray_with(words, &[0, 1, 2, 50], 1, Some(window)), [0, 255, 255, 255]);
    }

    #[test]
    fn functional_groups_of_the_frame_win_over_shared_ones() {
        let item = |center: u8| {
            format!(
                r#"{{"00289132":{{"vr":"SQ","Value":[{{"00281050":{{"vr":"DS","Value":["{center}"]}},"00281051":{{"vr":"DS","Value":["2"]}},"00281056":{{"vr":"CS","Value":["LINEAR_EXACT"]}}}}]}}}}"#
            )
        };
        let words = format!(
            r#"52009229=raw:{{"vr":"SQ","Value":[{}]}} 52009230=raw:{{"vr":"SQ","Value":[{},{{}}]}}"#,
            item(100),
            item(10)
        );
        let frame = [9, 10, 11, 100];
        assert_eq!(gray_with(&words, &frame, 1, None), [0, 128, 255, 255]);
        assert_eq!(gray_with(&words, &frame, 2, None), [0, 0, 0, 128], "falls back to shared");
        assert_eq!(gray_with(&words, &frame, 9, None), [0, 0, 0, 128], "beyond the last item");
    }

    #[test]
    fn lookup_tables_for_modality_and_voi() {
        let item = r#"{"vr":"SQ","Value":[{"00283002":{"vr":"US","Value":[4,0,16]},"00283006":{"vr":"US","Value":[0,65535,32768,0]}}]}"#;
        assert_eq!(gray(&format!("00283010=raw:{item}"), &[0, 1, 2, 9]), [0, 255, 128, 0]);
        assert_eq!(gray(&format!("00283000=raw:{item}"), &[0, 1, 2, 9]), [0, 255, 128, 0]);
    }
}
