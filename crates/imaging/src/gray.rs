//! Grayscale: modality transformation, VOI window or LUT, and the inversion of MONOCHROME1
//! (PS3.3 sections C.11.1 and C.11.2, PS3.4 annex N).
//!
//! Samples of up to 16 bits go through one table that holds the whole transformation, so a pixel
//! costs one look-up. Wider and floating point samples are computed one by one.

use crate::attributes::{DataSet, Image, LutItem, SampleKind};
use crate::element::BulkValues;
use crate::encode::Picture;
use crate::lut::Lut;
use crate::{ImagingError, VoiFunction, Window, WindowChoice, bits, malformed};

/// Everything between a stored value and its brightness.
pub(crate) struct Transformation {
    modality: Modality,
    voi: Voi,
    /// Stored values that stand for "no pixel here"; they do not count for the stretch.
    padding: Option<(i64, i64)>,
    inverse: bool,
}

enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Lut),
}

enum Voi {
    Window(Window),
    Table(Lut),
    /// Over these values, whatever the frame holds.
    Range(f64, f64),
    /// From the least to the greatest value of the frame.
    Stretch,
}

impl Transformation {
    /// Collects what applies to a frame counted from 1.
    pub fn read(
        data_set: &DataSet,
        image: &Image,
        frame_number: u32,
        choice: Option<&WindowChoice>,
        bulk: &BulkValues,
    ) -> Result<Self, ImagingError> {
        let rescale = data_set.rescale(frame_number);
        // Some objects carry a table beside a rescale that changes nothing: the table is meant.
        let needed = rescale.filter(|rescale| *rescale != (1.0, 0.0)).is_none();
        let item = data_set.modality_luts.item(0).filter(|_| needed);
        let table = match item {
            Some(item) => Lut::read(&item.descriptor, &item.data, image.signed, bulk)?,
            None => None,
        };
        let modality = match (table, rescale.unwrap_or((1.0, 0.0))) {
            (Some(table), _) => Modality::Table(table),
            // A slope of zero would make every pixel equal; equipment writes it for "none".
            (None, (0.0, intercept)) => Modality::Linear { slope: 1.0, intercept },
            (None, (slope, intercept)) => Modality::Linear { slope, intercept },
        };
        let mut transformation = Self {
            modality,
            voi: Voi::Stretch,
            padding: padding(data_set, image),
            inverse: data_set.is_inverse(image.photometric),
        };
        transformation.voi = match choice {
            Some(WindowChoice::Given(window)) => match usable(*window) {
                Some(window) => Voi::Window(window),
                None => transformation.own(data_set, image, frame_number, bulk),
            },
            Some(WindowChoice::Named(name)) => {
                transformation.named(data_set, image, frame_number, name, bulk)?
            }
            None => transformation.own(data_set, image, frame_number, bulk),
        };
        Ok(transformation)
    }

    /// What the data set says: its first usable window, its first VOI LUT, or neither.
    fn own(&self, data_set: &DataSet, image: &Image, frame_number: u32, bulk: &BulkValues) -> Voi {
        let windows = data_set.windows(frame_number);
        if let Some(window) = windows.into_iter().find_map(|(window, _)| usable(window)) {
            return Voi::Window(window);
        }
        // A table that is damaged only costs contrast, so what comes next stands in for it.
        let first = data_set.voi_luts(frame_number).item(0);
        let table = first.and_then(|item| self.table(item, image, bulk).ok().flatten());
        if let Some(table) = table {
            return Voi::Table(table);
        }
        // Without a VOI transformation the values are brightness as they are (C.11.2.1.2): that
        // is what a screen of 256 levels can show of 8-bit images. Wider ones would be dark.
        let linear = matches!(self.modality, Modality::Linear { .. });
        let whole = matches!(image.kind, SampleKind::Integer) && !image.signed && linear;
        match data_set.maximum_fraction() {
            Some(greatest) => Voi::Range(0.0, greatest),
            None if whole && (2..=8).contains(&image.bits_stored) && !data_set.is_labelmap() => {
                let (low, high) = (self.modality(0.0), self.modality(f64::from(u8::MAX)));
                // Seven bits or fewer are written by mistake as often as on purpose.
                Voi::Range(low.min(high), low.max(high))
            }
            None => Voi::Stretch,
        }
    }

    /// The window or table that a name or a number from 1 means.
    fn named(
        &self,
        data_set: &DataSet,
        image: &Image,
        frame_number: u32,
        name: &str,
        bulk: &BulkValues,
    ) -> Result<Voi, ImagingError> {
        let windows = data_set.windows(frame_number);
        let luts: Vec<&LutItem> = data_set.voi_luts(frame_number).items().collect();
        let names: Vec<&str> = windows
            .iter()
            .map(|(_, name)| *name)
            .chain(luts.iter().map(|item| item.explanation.text()))
            .collect();
        let unknown = || {
            Err(ImagingError::Request(
                format!("this image has {} windows; none has that name or number", names.len())
                    .into(),
            ))
        };
        let by_name = names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let by_number = || name.parse::<usize>().ok()?.checked_sub(1);
        let Some(index) = by_name.or_else(by_number) else { return unknown() };
        if let Some((window, _)) = windows.get(index) {
            return Ok(usable(*window).map_or(Voi::Stretch, Voi::Window));
        }
        let Some(item) = luts.get(index.saturating_sub(windows.len())) else { return unknown() };
        Ok(self.table(item, image, bulk)?.map_or(Voi::Stretch, Voi::Table))
    }

    fn table(
        &self,
        item: &LutItem,
        image: &Image,
        bulk: &BulkValues,
    ) -> Result<Option<Lut>, ImagingError> {
        // What is looked up is the outcome of the modality transformation.
        let signed = match &self.modality {
            Modality::Linear { slope, intercept } => {
                image.signed || *intercept < 0.0 || *slope < 0.0
            }
            Modality::Table(_) => false,
        };
        Lut::read(&item.descriptor, &item.data, signed, bulk)
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
            Voi::Range(low, high) => spread(value, *low, *high),
            Voi::Stretch => spread(value, range.0, range.1),
        }
    }

    fn stretches(&self) -> bool {
        matches!(self.voi, Voi::Stretch)
    }
}

/// Brightness of a value between two others.
fn spread(value: f64, low: f64, high: f64) -> u8 {
    if high > low { byte((value - low) / (high - low)) } else { 0 }
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
    if transformation.inverse {
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
    if shift == 0 {
        return if size <= NARROW {
            through_fixed(&repeated::<NARROW>(&table), samples())
        } else {
            through_fixed(&repeated::<WIDE>(&table), samples())
        };
    }
    samples().map(|sample| table.get((sample >> shift) & mask).copied().unwrap_or(0)).collect()
}

/// Entries of the table for samples of up to 12 bits, which stays in the processor's nearest cache.
const NARROW: usize = 1 << 12;

/// Entries of the table for samples of up to 16 bits.
const WIDE: usize = 1 << 16;

/// A table repeated to `N` entries, a power of two: what lies above the stored bits changes nothing.
fn repeated<const N: usize>(table: &[u8]) -> Box<[u8; N]> {
    let entries: Vec<u8> = table.iter().copied().cycle().take(N).collect();
    entries.try_into().unwrap_or_else(|_| Box::new([0; N]))
}

/// A look-up without a check of bounds: the length of the table is known, and masking keeps inside.
fn through_fixed<const N: usize>(table: &[u8; N], samples: impl Iterator<Item = usize>) -> Vec<u8> {
    samples.map(|sample| table[sample & (N - 1)]).collect()
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
        let choice = window.map(WindowChoice::Given);
        let bulk = BulkValues::default();
        let voi = Transformation::read(&data_set, &image, number, choice.as_ref(), &bulk).unwrap();
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
        let words = "bits=16 rows=1 columns=4";
        assert_eq!(gray(words, &words_of(&[10, 20, 30, 60])), [0, 51, 102, 255]);
        let padded = "bits=16 signed=1 00280120=-2000";
        assert_eq!(gray(padded, &words_of(&[-2000, 0, 50, 100])), [0, 0, 128, 255]);
        let as_unsigned = "bits=16 signed=1 00280120=63536";
        assert_eq!(gray(as_unsigned, &words_of(&[-2000, 0, 50, 100])), [0, 0, 128, 255]);
        assert_eq!(gray("bits=16", &words_of(&[7, 7, 7, 7])), [0, 0, 0, 0]);
    }

    #[test]
    fn eight_bits_without_a_window_are_shown_as_they_are() {
        assert_eq!(gray("", &[10, 20, 30, 60]), [10, 20, 30, 60]);
        assert_eq!(gray("00281052=-100 00281053=2", &[0, 1, 100, 255]), [0, 1, 100, 255]);
        let fractions = "0062000E=100";
        assert_eq!(gray(fractions, &[0, 50, 100, 200]), [0, 128, 255, 255]);
        let labels = "00620001=\"LABELMAP\"";
        assert_eq!(gray(labels, &[0, 1, 2, 3]), [0, 85, 170, 255]);
    }

    #[test]
    fn the_shape_of_the_presentation_inverts_once() {
        let shape = "20500020=\"INVERSE\"";
        assert_eq!(gray(shape, &[0, 51, 204, 255]), [255, 204, 51, 0]);
        let both = format!("photometric=MONOCHROME1 {shape}");
        assert_eq!(gray(&both, &[0, 51, 204, 255]), [255, 204, 51, 0]);
    }

    #[test]
    fn a_window_is_chosen_by_name_or_number() {
        let item = r#"{"vr":"SQ","Value":[{"00283002":{"vr":"US","Value":[2,0,8]},"00283003":{"vr":"LO","Value":["INK"]},"00283006":{"vr":"US","Value":[255,0]}}]}"#;
        let words = format!(
            "00281050=10,100 00281051=2,100 00281055=\"SOFT\",\"BONE\" \
             00281056=\"LINEAR_EXACT\" 00283010=raw:{item}"
        );
        let data_set = DataSet::parse(json(&words).as_bytes()).unwrap();
        let image = Image::read(&data_set).unwrap();
        let bulk = BulkValues::default();
        let gray = |name: Option<&str>| {
            let choice = name.map(|name| WindowChoice::Named(name.into()));
            let voi = Transformation::read(&data_set, &image, 1, choice.as_ref(), &bulk)?;
            render(&image, &[0, 10, 100, 150], &voi).map(|picture| picture.samples)
        };
        let soft = [0, 128, 255, 255];
        let bone = [0, 0, 128, 255];
        assert_eq!(gray(None).unwrap(), soft);
        for (name, expected) in [("1", soft), ("soft", soft), ("2", bone), ("BONE", bone)] {
            assert_eq!(gray(Some(name)).unwrap(), expected, "{name}");
        }
        assert_eq!(gray(Some("ink")).unwrap(), [255, 0, 0, 0]);
        assert_eq!(gray(Some("3")).unwrap(), [255, 0, 0, 0]);
        for name in ["0", "4", "LUNG", ""] {
            assert!(matches!(gray(Some(name)), Err(ImagingError::Request(_))), "{name}");
        }
    }

    #[test]
    fn voi_tables_start_below_zero_where_values_do() {
        let item = r#"{"vr":"SQ","Value":[{"00283002":{"vr":"US","Value":[4,65534,8]},"00283006":{"vr":"US","Value":[10,20,30,40]}}]}"#;
        let words = format!("00281052=-2 00281053=1 00283010=raw:{item}");
        assert_eq!(gray(&words, &[0, 1, 2, 3]), [10, 20, 30, 40]);
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
        let beside = format!("00281052=0 00281053=1 00283000=raw:{item}");
        assert_eq!(gray(&beside, &[0, 1, 2, 9]), [0, 255, 128, 0], "the rescale says nothing");
    }
}
