//! Waveforms as drawings (PS3.3 section C.10.9): one row per channel on paper of millimetres, with
//! the scale that cardiologists read, 25 mm/s and 10 mm/mV, where the unit is one of voltage.

use std::fmt::Write;

use super::html::{Html, escape};
use super::set::Set;

/// Groups and channels that are drawn.
const MOST_GROUPS: usize = 4;
const MOST_CHANNELS: usize = 32;

/// What is drawn of a recording (s), and how (mm).
const SECONDS: f64 = 10.0;
const MM_PER_SECOND: f64 = 25.0;
const MM_PER_MILLIVOLT: f64 = 10.0;

/// Columns per millimetre that a curve of more samples is reduced to.
const COLUMNS_PER_MM: f64 = 4.0;

/// Height of a row without voltage, and least of any (mm).
const ROW: f64 = 20.0;

/// Height of the line that names a channel (mm).
const NAME: f64 = 4.0;

/// Paths of the bulk values of waveforms.
pub(super) fn paths() -> impl Iterator<Item = String> {
    (0..MOST_GROUPS).map(|group| format!("54000100/{group}/54001010"))
}

/// Writes every group; `data` are the bulk values in the order of [`paths`].
pub(super) fn write(html: &mut Html, set: Set<'_>, data: &[Option<Vec<u8>>], big_endian: bool) {
    for (index, group) in set.items("54000100").take(MOST_GROUPS).enumerate() {
        let label = match group.text("003A0020") {
            label if label.is_empty() => format!("{} {}", html.word("Group", "组"), index + 1),
            label => label,
        };
        html.heading(2, &label);
        let bytes = data.get(index).and_then(Option::as_deref);
        let recording = bytes.and_then(|bytes| Recording::read(group, bytes, big_endian));
        match recording {
            Some(recording) => recording.draw(html, group),
            None => {
                let name = html.word("The samples cannot be shown here.", "此处无法显示采样数据。");
                html.line("", name);
            }
        }
    }
}

/// The samples of a group, channels interleaved.
struct Recording {
    channels: usize,
    rate: f64,
    samples: Vec<i32>,
}

impl Recording {
    fn read(group: Set<'_>, bytes: &[u8], big_endian: bool) -> Option<Self> {
        let channels = group.number("003A0005").map(|count| count as usize)?;
        let rate = group.number("003A001A").filter(|rate| *rate > 0.0 && *rate < 1e6)?;
        if channels == 0 || channels > 512 {
            return None;
        }
        let interpretation = group.text("54001006");
        let samples: Vec<i32> = match (group.number("54001004")? as u32, interpretation.as_str()) {
            (8, "SB") => bytes.iter().map(|byte| i32::from(*byte as i8)).collect(),
            (8, "UB") => bytes.iter().map(|byte| i32::from(*byte)).collect(),
            (16, kind @ ("SS" | "US")) => {
                let word = |pair: &[u8; 2]| match big_endian {
                    true => u16::from_be_bytes(*pair),
                    false => u16::from_le_bytes(*pair),
                };
                let words = bytes.as_chunks::<2>().0.iter().map(word);
                match kind {
                    "SS" => words.map(|word| i32::from(word as i16)).collect(),
                    _ => words.map(i32::from).collect(),
                }
            }
            _ => return None,
        };
        (samples.len() >= channels).then_some(Self { channels, rate, samples })
    }

    fn draw(&self, html: &mut Html, group: Set<'_>) {
        let count = self.samples.len() / self.channels;
        let seconds = count as f64 / self.rate;
        let drawn = seconds.min(SECONDS);
        let width = (drawn * MM_PER_SECOND).max(10.0);
        let definitions: Vec<Set<'_>> = group.items("003A0200").collect();
        let mut body = String::new();
        let mut top = 4.0;
        let mut scale = "";
        for channel in 0..self.channels.min(MOST_CHANNELS) {
            let definition = definitions.get(channel).copied();
            let curve = Curve::new(self, channel, definition, (drawn * self.rate) as usize);
            scale = if curve.voltage { "25 mm/s, 10 mm/mV" } else { "25 mm/s" };
            let name = definition.map(|d| d.code("003A0208")).unwrap_or_default();
            // The name has a line of its own above the curve.
            let middle = top + NAME + curve.above;
            let _ = writeln!(
                body,
                "<text x=\"1\" y=\"{:.1}\" font-size=\"3.5\" fill=\"#333\">{}</text>\
                 <polyline transform=\"translate(0 {middle:.2})\" fill=\"none\" stroke=\"#111\" \
                 stroke-width=\"0.25\" stroke-linejoin=\"round\" points=\"{}\"/>",
                top + 3.0,
                escape(&name),
                curve.points
            );
            top += NAME + curve.above + curve.below + 1.0;
        }
        let (seconds_word, of) = (html.word("s", "秒"), html.word("of", "/ 共"));
        let about = format!("{drawn:.1} {of} {seconds:.1} {seconds_word}, {scale}");
        html.raw(&format!(
            "<p class=\"s\">{about}</p>\n<svg viewBox=\"0 0 {width:.0} {top:.0}\" role=\"img\">\
             <defs><pattern id=\"a\" width=\"1\" height=\"1\" patternUnits=\"userSpaceOnUse\">\
             <path d=\"M1 0H0V1\" fill=\"none\" stroke=\"#f3d3d3\" stroke-width=\".08\"/></pattern>\
             <pattern id=\"b\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
             <path d=\"M5 0H0V5\" fill=\"url(#a)\" stroke=\"#e5a5a5\" stroke-width=\".16\"/></pattern>\
             </defs><rect width=\"100%\" height=\"100%\" fill=\"url(#a)\"/>\
             <rect width=\"100%\" height=\"100%\" fill=\"url(#b)\"/>\n"
        ));
        html.raw(&body);
        html.raw("</svg>\n");
    }
}

/// One channel, in millimetres.
struct Curve {
    points: String,
    above: f64,
    below: f64,
    voltage: bool,
}

impl Curve {
    fn new(
        recording: &Recording,
        channel: usize,
        definition: Option<Set<'_>>,
        count: usize,
    ) -> Self {
        let number = |tag: &str| definition.and_then(|definition| definition.number(tag));
        let unit = definition.map(|d| d.item("003A0211").text("00080100")).unwrap_or_default();
        let to_millivolts = match unit.as_str() {
            "uV" | "μV" | "µV" => Some(1e-3),
            "mV" => Some(1.0),
            "V" => Some(1e3),
            _ => None,
        };
        let sensitivity = number("003A0210").unwrap_or(1.0) * number("003A0212").unwrap_or(1.0);
        let baseline = number("003A0213").unwrap_or(0.0);
        let values = recording.samples.iter().skip(channel).step_by(recording.channels).take(count);
        let values: Vec<f64> =
            values.map(|sample| f64::from(*sample) * sensitivity + baseline).collect();
        let (least, greatest) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        let (zero, factor) = match to_millivolts {
            Some(to_millivolts) => (0.0, to_millivolts * MM_PER_MILLIVOLT),
            // A unit without a customary scale fills its row.
            None => ((least + greatest) / 2.0, ROW / (greatest - least).max(f64::MIN_POSITIVE)),
        };
        let height = |value: f64| ((value - zero) * factor).clamp(-200.0, 200.0);
        let step = MM_PER_SECOND / recording.rate;
        let per_column = ((1.0 / COLUMNS_PER_MM) / step).floor().max(1.0) as usize;
        let mut points = String::new();
        let mut point = |index: usize, value: f64| {
            // Up is negative in drawings. Two digits are a hundredth of a millimetre.
            let (x, y) = (index as f64 * step, -height(value));
            let gap = if points.is_empty() { "" } else { " " };
            let _ = write!(points, "{gap}{},{}", rounded(x), rounded(y));
        };
        for (column, samples) in values.chunks(per_column).enumerate() {
            let at = column * per_column;
            let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            point(at, samples.first().copied().unwrap_or(low));
            if samples.len() > 1 {
                point(at, low);
                point(at, high);
            }
        }
        let above = height(greatest).max(ROW / 3.0);
        let below = (-height(least)).max(ROW / 3.0);
        Self { points, above, below, voltage: to_millivolts.is_some() }
    }
}

/// At most two decimals, without trailing zeros or a negative zero.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 100.0).round() / 100.0;
    if rounded == 0.0 { 0.0 } else { rounded }
}
