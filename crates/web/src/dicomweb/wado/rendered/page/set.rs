//! A data set of the DICOM JSON model as a page reads it: texts first, nothing ever fails.

use serde_json::Value;

/// A data set, or an item of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Set<'j>(&'j Value);

impl<'j> Set<'j> {
    pub(super) fn new(value: &'j Value) -> Self {
        Self(value)
    }

    /// Whether an attribute has a value.
    pub(super) fn has(self, tag: &str) -> bool {
        self.values(tag).next().is_some()
    }

    /// The values of an attribute.
    pub(super) fn values(self, tag: &str) -> impl Iterator<Item = &'j Value> {
        self.0.get(tag).and_then(|element| element.get("Value")?.as_array()).into_iter().flatten()
    }

    /// The items of a sequence.
    pub(super) fn items(self, tag: &str) -> impl Iterator<Item = Set<'j>> {
        self.values(tag).filter(|item| item.is_object()).map(Set)
    }

    /// The first item of a sequence; an empty one when there is none.
    pub(super) fn item(self, tag: &str) -> Set<'j> {
        self.items(tag).next().unwrap_or(Set(&Value::Null))
    }

    /// Every value as text, separated by commas.
    pub(super) fn text(self, tag: &str) -> String {
        let texts: Vec<String> = self.values(tag).map(shown).filter(|t| !t.is_empty()).collect();
        texts.join(", ")
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

    /// A date as `2024-01-02`, where it is one.
    pub(super) fn date(self, tag: &str) -> String {
        date(&self.text(tag))
    }

    /// Attributes with their tags, in order.
    pub(super) fn members(self) -> impl Iterator<Item = (&'j str, &'j Value)> {
        let members = self.0.as_object().into_iter().flatten();
        members.map(|(tag, element)| (tag.as_str(), element))
    }
}

/// A value as people write it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(groups) => {
            // A person name: its groups, carets for spaces. No space between Chinese name parts.
            let group = |name: &str| {
                let text = groups.get(name).and_then(Value::as_str).unwrap_or_default();
                let glue = if text.chars().any(|c| c > '\u{2E7F}') { "" } else { " " };
                let parts: Vec<&str> =
                    text.split('^').map(str::trim).filter(|part| !part.is_empty()).collect();
                parts.join(glue)
            };
            let mut names = [group("Ideographic"), group("Alphabetic")].into_iter();
            let first = names.find(|name| !name.is_empty()).unwrap_or_default();
            match names.find(|name| !name.is_empty()) {
                Some(second) => format!("{first} ({second})"),
                None => first,
            }
        }
        _ => String::new(),
    }
}

fn date(text: &str) -> String {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    match (text.get(..4), text.get(4..6), text.get(6..8)) {
        (Some(year), Some(month), Some(day)) if digits => format!("{year}-{month}-{day}"),
        _ => text.to_owned(),
    }
}
