//! A data set of the DICOM JSON model as a page reads it: texts first, nothing ever fails.

use serde_json::Value;

/// A data set, or an item of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Set<'j> {
    value: &'j Value,
    chinese: bool,
}

impl<'j> Set<'j> {
    /// A data set for readers of Chinese, or of English.
    pub(super) fn new(value: &'j Value, chinese: bool) -> Self {
        Self { value, chinese }
    }

    /// Whether an attribute has a value.
    pub(super) fn has(self, tag: &str) -> bool {
        self.values(tag).next().is_some()
    }

    /// The values of an attribute.
    pub(super) fn values(self, tag: &str) -> impl Iterator<Item = &'j Value> {
        self.value
            .get(tag)
            .and_then(|element| element.get("Value")?.as_array())
            .into_iter()
            .flatten()
    }

    /// The items of a sequence.
    pub(super) fn items(self, tag: &str) -> impl Iterator<Item = Set<'j>> {
        self.values(tag)
            .filter(|item| item.is_object())
            .map(move |item| Set::new(item, self.chinese))
    }

    /// The first item of a sequence; an empty one when there is none.
    pub(super) fn item(self, tag: &str) -> Set<'j> {
        self.items(tag).next().unwrap_or(Set::new(&Value::Null, self.chinese))
    }

    /// Every value as text, separated by commas.
    pub(super) fn text(self, tag: &str) -> String {
        let texts = self.values(tag).map(|value| shown(value, self.chinese));
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// The first value as a number.
    pub(super) fn number(self, tag: &str) -> Option<f64> {
        let value = self.values(tag).next()?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// Every value as a number.
    pub(super) fn numbers(self, tag: &str) -> Vec<f64> {
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        self.values(tag).filter_map(number).collect()
    }

    /// The meaning of a coded concept, or its code when it has none.
    pub(super) fn code(self, tag: &str) -> String {
        let concept = self.item(tag);
        let meaning = concept.text("00080104");
        if !meaning.is_empty() {
            return meaning;
        }
        ["00080100", "00080119", "00080120"]
            .into_iter()
            .map(|tag| concept.text(tag))
            .find(|code| !code.is_empty())
            .unwrap_or_default()
    }

    /// Every value as people write values of its representation: dates, times and instants with
    /// their separators.
    pub(super) fn written(self, tag: &str) -> String {
        let vr = self.value.get(tag).and_then(|element| element.get("vr")?.as_str());
        let texts =
            self.values(tag).map(|value| written(vr.unwrap_or_default(), value, self.chinese));
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// Attributes with their tags, in order.
    pub(super) fn members(self) -> impl Iterator<Item = (&'j str, &'j Value)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(tag, element)| (tag.as_str(), element))
    }
}

/// A value of a representation as people write it.
pub(super) fn written(vr: &str, value: &Value, chinese: bool) -> String {
    let text = shown(value, chinese);
    let read = match vr {
        "DA" => date(&text),
        "TM" => time(&text),
        "DT" => instant(&text),
        _ => None,
    };
    read.unwrap_or(text)
}

/// A value as it is; names as the other pages write them, in the reader's script first.
pub(super) fn shown(value: &Value, chinese: bool) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(groups) => {
            let group = |name: &str| {
                let text = groups.get(name).and_then(Value::as_str).unwrap_or_default();
                crate::portal::spoken_name(text)
            };
            let mut order = ["Alphabetic", "Ideographic", "Phonetic"];
            if chinese {
                order.swap(0, 1);
            }
            let mut names = order.into_iter().map(group).filter(|name| !name.is_empty());
            let first = names.next().unwrap_or_default();
            match names.find(|name| *name != first) {
                Some(second) => format!("{first} ({second})"),
                None => first,
            }
        }
        _ => String::new(),
    }
}

/// `20240102` as `2024-01-02`, with as many of its parts as there are.
fn date(text: &str) -> Option<String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match (digits, text.len()) {
        (true, 4) => Some(text.to_owned()),
        (true, 6) => Some(format!("{}-{}", text.get(..4)?, text.get(4..)?)),
        (true, 8) => Some(format!("{}-{}-{}", text.get(..4)?, text.get(4..6)?, text.get(6..)?)),
        _ => None,
    }
}

/// `120000.5` as `12:00:00.5`, with as many of its parts as there are.
fn time(text: &str) -> Option<String> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(|fraction| whole.len() == 6 && digits(fraction)) {
        return None;
    }
    let time = match whole.len() {
        // An hour alone would not be known for one.
        2 => format!("{whole}:00"),
        4 => format!("{}:{}", whole.get(..2)?, whole.get(2..)?),
        6 => format!("{}:{}:{}", whole.get(..2)?, whole.get(2..4)?, whole.get(4..)?),
        _ => return None,
    };
    // Zeros after the point say nothing to a reader.
    match fraction.map(|fraction| fraction.trim_end_matches('0')) {
        None | Some("") => Some(time),
        Some(fraction) => Some(format!("{time}.{fraction}")),
    }
}

/// `20001206120000.5+0100` as `2000-12-06 12:00:00.5 +01:00`, with as many of its parts as there are.
fn instant(text: &str) -> Option<String> {
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (local, zone) = (text.get(..at)?, text.get(at..)?);
    let zone = match zone.len() {
        0 => String::new(),
        5 if zone.bytes().skip(1).all(|byte| byte.is_ascii_digit()) => {
            format!(" {}:{}", zone.get(..3)?, zone.get(3..)?)
        }
        _ => return None,
    };
    let local = match local.get(8..).filter(|time| !time.is_empty()) {
        Some(clock) => format!("{} {}", date(local.get(..8)?)?, time(clock)?),
        None => date(local)?,
    };
    Some(format!("{local}{zone}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_and_times_are_written_with_their_separators() {
        for (vr, text, expected) in [
            ("DA", "20001206", "2000-12-06"),
            ("DA", "2000.12.06", "2000.12.06"),
            ("TM", "120000", "12:00:00"),
            ("TM", "1200", "12:00"),
            ("TM", "120000.500000", "12:00:00.5"),
            ("TM", "120000.000", "12:00:00"),
            ("TM", "12:00:00", "12:00:00"),
            ("TM", "noon", "noon"),
            ("DT", "20001206120000.5+0100", "2000-12-06 12:00:00.5 +01:00"),
            ("DT", "20001206120000", "2000-12-06 12:00:00"),
            ("DT", "200012", "2000-12"),
            ("DT", "2000-0500", "2000 -05:00"),
            ("DT", "20001206+1", "20001206+1"),
            ("DT", "2000120612é", "2000120612é"),
            ("LO", "20001206", "20001206"),
        ] {
            assert_eq!(written(vr, &json!(text), false), expected, "{vr} {text}");
        }
    }

    #[test]
    fn names_are_written_as_on_the_other_pages() {
        let name = json!({"Alphabetic": "Wang^Wu", "Ideographic": "王^五"});
        assert_eq!(shown(&name, false), "Wang, Wu (王五)");
        assert_eq!(shown(&name, true), "王五 (Wang, Wu)");
        assert_eq!(shown(&json!({"Alphabetic": "dwv^patientName"}), true), "dwv, patientName");
    }
}
