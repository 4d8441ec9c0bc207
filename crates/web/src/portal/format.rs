//! Values of DICOM as people read them: names, dates, sizes. Pure functions over text.

use serde_json::Value;

use super::language::Language;
use super::text::Texts;

/// Most characters of a value that are shown. DICOM has 64 for most texts and component groups; what
/// is longer is an error of the sender, which must not bury the page.
const SHOWN: usize = 120;

/// The beginning of a text that is too long to be shown.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// A DICOM JSON object of a row of the catalog.
pub(super) struct Attributes(Value);

impl Attributes {
    /// Parses; text that is no JSON object has no attributes.
    pub fn parse(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or(Value::Null))
    }

    fn first(&self, tag: &str) -> Option<&Value> {
        self.0.get(tag)?.get("Value")?.get(0)
    }

    /// First value as text, numbers included, cut where it is too long; empty when absent.
    pub fn text(&self, tag: &str) -> String {
        match self.first(tag) {
            Some(Value::String(text)) => short(text.trim()),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// A person name for readers of a language; `None` when it is absent or empty.
    pub fn name(&self, tag: &str, language: Language) -> Option<Name> {
        let groups = self.first(tag)?;
        let group = |key: &str| groups.get(key).and_then(Value::as_str).unwrap_or_default();
        let alphabetic = short(&spoken(group("Alphabetic")));
        let ideographic = short(&spoken(group("Ideographic")));
        let phonetic = short(&spoken(group("Phonetic")));
        let order = match language {
            Language::Chinese => [ideographic, alphabetic, phonetic],
            Language::English => [alphabetic, ideographic, phonetic],
        };
        let mut names = order.into_iter().filter(|name| !name.is_empty());
        let main = names.next()?;
        let mut others: Vec<String> = Vec::new();
        for name in names {
            if name != main && !others.contains(&name) {
                others.push(name);
            }
        }
        Some(Name { main, others: others.join(" · ") })
    }
}

/// A person name with every component group that was sent (PS3.5 section 6.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The group that the reader knows best.
    pub main: String,
    /// The other groups, or the empty text.
    pub others: String,
}

/// One component group (`family^given^middle^prefix^suffix`) as it is written in running text.
pub(super) fn spoken(group: &str) -> String {
    let mut parts = group.split('^').map(str::trim);
    let mut next = || parts.next().unwrap_or_default();
    let (family, given, middle, prefix, suffix) = (next(), next(), next(), next(), next());
    if group.chars().any(is_han) && !group.chars().any(|c| c.is_ascii_alphabetic()) {
        return [prefix, family, given, middle, suffix].concat();
    }
    let given: Vec<&str> =
        [prefix, given, middle].into_iter().filter(|part| !part.is_empty()).collect();
    let given = given.join(" ");
    let mut name = match (family.is_empty(), given.is_empty()) {
        (false, false) => format!("{family}, {given}"),
        _ => format!("{family}{given}"),
    };
    if !suffix.is_empty() {
        name = format!("{name}, {suffix}");
    }
    name
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{20000}'..='\u{323AF}')
}

/// `20260314` as `2026-03-14`; other text as it is.
pub(super) fn date(text: &str) -> String {
    if text.len() == 8
        && text.bytes().all(|b| b.is_ascii_digit())
        && let (Some(year), Some(month), Some(day)) =
            (text.get(..4), text.get(4..6), text.get(6..8))
    {
        return format!("{year}-{month}-{day}");
    }
    text.to_owned()
}

/// `142530.123` as `14:25`; other text as nothing.
pub(super) fn time(text: &str) -> String {
    match (text.get(..2), text.get(2..4)) {
        (Some(hour), Some(minute)) if text.bytes().take(4).all(|b| b.is_ascii_digit()) => {
            format!("{hour}:{minute}")
        }
        _ => String::new(),
    }
}

/// Modalities whose objects are no pictures (PS3.3 section C.7.3.1.1.1), for which no thumbnail is
/// asked.
const WITHOUT_PICTURE: &[&str] = &[
    "SR", "KO", "PR", "DOC", "PLAN", "RTPLAN", "RTSTRUCT", "RTRECORD", "REG", "FID", "AU", "ECG",
    "HD", "EPS", "RESP", "EEG", "EMG", "EOG", "RWV", "STAIN",
];

/// Whether objects of a modality can have a thumbnail.
pub(super) fn has_picture(modality: &str) -> bool {
    !WITHOUT_PICTURE.contains(&modality)
}

/// Patient's sex in words.
pub(super) fn sex(code: &str, texts: &'static Texts) -> String {
    match code {
        "M" => texts.sex_male.to_owned(),
        "F" => texts.sex_female.to_owned(),
        "O" => texts.sex_other.to_owned(),
        other => other.to_owned(),
    }
}

/// Bytes with a unit of 1000, three digits.
pub(super) fn bytes(count: i64) -> String {
    let mut value = count.max(0) as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.5
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = next;
    }
    let digits = if unit == "B" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A count with separators of thousands.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}

/// A counted noun: `3 series, 120 images` and its Chinese form. `modalities` says whether all, some
/// or none of the objects are images.
pub(super) fn content(
    series: i64,
    instances: i64,
    modalities: &[String],
    language: Language,
) -> String {
    let pictures = modalities.iter().filter(|modality| has_picture(modality)).count();
    let counted = match (pictures, language) {
        (0, _) if !modalities.is_empty() => objects(0, instances, language),
        (all, _) if all == modalities.len() => objects(instances, 0, language),
        (_, Language::English) => format!("{} images and documents", count(instances)),
        (_, Language::Chinese) => format!("{} 幅影像与文档", count(instances)),
    };
    match language {
        Language::English => format!("{} series, {counted}", count(series)),
        Language::Chinese => format!("{} 个序列，{counted}", count(series)),
    }
}

/// Numbers of images and of documents; what there is none of is not named.
pub(super) fn objects(images: i64, documents: i64, language: Language) -> String {
    let counted = |number: i64, one: &str, many: &str, measure: &str| match (language, number) {
        (Language::English, 1) => format!("1 {one}"),
        (Language::English, _) => format!("{} {many}", count(number)),
        (Language::Chinese, _) => format!("{} {measure}", count(number)),
    };
    let pictures = || counted(images, "image", "images", "幅");
    let readable = || counted(documents, "document", "documents", "份文档");
    let comma = if language == Language::English { ", " } else { "，" };
    match (images, documents) {
        (_, ..=0) => pictures(),
        (..=0, _) => readable(),
        _ => format!("{}{comma}{}", pictures(), readable()),
    }
}

/// How many studies were found and which of them are shown.
pub(super) fn found(total: i64, offset: i64, shown: usize, language: Language) -> String {
    let (first, last) = (count(offset + 1), count(offset + shown as i64));
    let all = count(total);
    // A whole list needs no positions.
    let shown = if shown as i64 == total { 0 } else { shown };
    match (language, total, shown) {
        (Language::English, 1, _) => "1 study".to_owned(),
        (Language::English, _, 0) => format!("{all} studies"),
        (Language::English, ..) => format!("{first}–{last} of {all} studies"),
        (Language::Chinese, _, 0) => format!("共 {all} 份检查"),
        (Language::Chinese, ..) => format!("共 {all} 份检查，第 {first}–{last} 份"),
    }
}

/// An instant (ms since 1970) as ISO 8601 in UTC, which the page's script turns into the reader's
/// zone.
pub(super) fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_people_write_them() {
        for (group, expected) in [
            ("Doe^John", "Doe, John"),
            ("Doe^John^Q^Dr.^Jr.", "Doe, Dr. John Q, Jr."),
            ("Doe", "Doe"),
            ("^John", "John"),
            ("王^小东", "王小东"),
            ("山田^太郎", "山田太郎"),
            ("やまだ^たろう", "やまだ, たろう"),
            ("王^Wang", "王, Wang"),
            ("", ""),
        ] {
            assert_eq!(spoken(group), expected, "{group}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        let fits = "王".repeat(SHOWN);
        assert_eq!(short(&fits), fits);
        assert_eq!(short(&format!("{fits}五")), format!("{fits}…"));
        assert_eq!(short(""), "");
    }

    #[test]
    fn the_readers_script_comes_first() {
        let json = r#"{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Wang^XiaoDong","Ideographic":"王^小东","Phonetic":""}]}}"#;
        let attributes = Attributes::parse(json);
        let chinese = attributes.name("00100010", Language::Chinese).unwrap();
        assert_eq!((chinese.main.as_str(), chinese.others.as_str()), ("王小东", "Wang, XiaoDong"));
        let english = attributes.name("00100010", Language::English).unwrap();
        assert_eq!((english.main.as_str(), english.others.as_str()), ("Wang, XiaoDong", "王小东"));
        let only = Attributes::parse(r#"{"00100010":{"vr":"PN","Value":[{"Ideographic":"王"}]}}"#);
        assert_eq!(only.name("00100010", Language::English).unwrap().main, "王");
        for odd in ["{}", "", "[]", r#"{"00100010":{"vr":"PN","Value":[null]}}"#] {
            assert_eq!(Attributes::parse(odd).name("00100010", Language::English), None, "{odd}");
        }
    }

    #[test]
    fn documents_are_not_called_images() {
        let (english, chinese) = (Language::English, Language::Chinese);
        assert_eq!(objects(0, 1, english), "1 document");
        assert_eq!(objects(0, 2, chinese), "2 份文档");
        assert_eq!(objects(1, 3, english), "1 image, 3 documents");
        assert_eq!(objects(0, 0, english), "0 images");
        let of = |modalities: &[&str], language| {
            let modalities: Vec<String> = modalities.iter().map(|m| (*m).to_owned()).collect();
            content(1, 1200, &modalities, language)
        };
        assert_eq!(of(&["SR", "KO"], english), "1 series, 1,200 documents");
        assert_eq!(of(&["CT"], english), "1 series, 1,200 images");
        assert_eq!(of(&[], english), "1 series, 1,200 images");
        assert_eq!(of(&["CT", "SR"], english), "1 series, 1,200 images and documents");
        assert_eq!(of(&["CT", "SR"], chinese), "1 个序列，1,200 幅影像与文档");
    }

    #[test]
    fn dates_times_sizes_and_counts() {
        assert_eq!(
            (date("20260314"), date("2026.03.14")),
            ("2026-03-14".into(), "2026.03.14".into())
        );
        assert_eq!(
            (time("142530.5"), time("1"), time("日本語")),
            ("14:25".into(), "".into(), "".into())
        );
        for (size, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (528_000, "528 kB"),
            (99_960, "100 kB"),
            (999_600, "1.00 MB"),
            (12_345_678, "12.3 MB"),
            (-5, "0 B"),
        ] {
            assert_eq!(bytes(size), expected);
        }
        assert_eq!(
            (count(7), count(1234567), count(-1000)),
            ("7".into(), "1,234,567".into(), "-1,000".into())
        );
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
    }
}
