//! What a workitem can be found by, and the reading of match values (PS3.4 C.2.2.2, PS3.18 8.3.4).
//!
//! Every value of a workitem becomes a [`Key`] under the path of its tags, so that any attribute can
//! be matched, inside sequences too. Folding of text is left to whoever compares.

use dicom_core::VR;
use serde_json::Value;

use super::data::{Content, DataSet, Element, name_of};
use super::instant;
use crate::dataset::vr::lookup;
use crate::tag::{self, Tag};
use crate::uid::SopInstanceUid;

/// Most values in one list.
const MAX_LIST: usize = 500;

/// Most `*` in one value: each may make the database try every place again.
const MAX_STARS: usize = 16;

/// Most attributes of one search.
pub const MAX_CONDITIONS: usize = 32;

/// Deepest path.
const MAX_PATH: usize = 8;

/// How values of an attribute compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without regard to case, with wildcards.
    Text,
    /// A person name: any component group, folded, with wildcards.
    Name,
    /// `YYYYMMDD`.
    Date,
    /// `HHMMSS.FFFFFF`.
    Time,
    /// An instant, see [`super::instant`].
    DateTime,
    /// As it is.
    Uid,
    /// As it is, without padding.
    Number,
}

impl Kind {
    /// The kind of an attribute, by the dictionary of PS3.6: what a sender calls it does not count.
    pub fn of(tag: Tag) -> Self {
        match lookup(tag, false) {
            VR::PN => Self::Name,
            VR::DA => Self::Date,
            VR::TM => Self::Time,
            VR::DT => Self::DateTime,
            VR::UI => Self::Uid,
            VR::DS
            | VR::FD
            | VR::FL
            | VR::IS
            | VR::SL
            | VR::SS
            | VR::SV
            | VR::UL
            | VR::US
            | VR::UV => Self::Number,
            _ => Self::Text,
        }
    }
}

/// One value of a workitem, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Tags from the outermost sequence inwards, joined by `.`.
    pub path: String,
    /// Positions of the items it lies in, joined by `.`; empty outside of sequences.
    pub item: String,
    /// How it compares.
    pub kind: Kind,
    /// The value; text is not folded yet.
    pub value: String,
}

/// A path as [`Key::path`] writes it.
pub fn path_text(path: &[Tag]) -> String {
    path.iter().map(Tag::to_string).collect::<Vec<_>>().join(".")
}

/// All keys of a workitem.
pub fn keys(data: &DataSet) -> Vec<Key> {
    let zone = data.text(tag::TIMEZONE_OFFSET_FROM_UTC).to_owned();
    let mut keys = Vec::new();
    collect(data, "", "", &zone, &mut keys);
    keys
}

fn collect(data: &DataSet, path: &str, item: &str, zone: &str, keys: &mut Vec<Key>) {
    let join = |left: &str, right: String| match left {
        "" => right,
        left => format!("{left}.{right}"),
    };
    for (tag, Element { content, .. }) in data.iter() {
        let path = join(path, tag.to_string());
        match content {
            Content::Items(items) => {
                for (index, inner) in items.iter().enumerate() {
                    collect(inner, &path, &join(item, index.to_string()), zone, keys);
                }
            }
            Content::Plain(values) => {
                let kind = Kind::of(tag);
                let texts = values.iter().flat_map(texts).filter_map(|text| key(kind, &text, zone));
                keys.extend(texts.map(|value| Key {
                    path: path.clone(),
                    item: item.to_owned(),
                    kind,
                    value,
                }));
            }
        }
    }
}

/// The texts of one JSON value: several for the groups of a person name.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Object(groups) => {
            groups.values().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The form that compares, or `None` where a value is not what its attribute holds: it is kept and
/// shown, but cannot be found by a range.
fn key(kind: Kind, text: &str, zone: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() {
        return None;
    }
    match kind {
        Kind::Text | Kind::Name | Kind::Uid | Kind::Number => Some(text.to_owned()),
        Kind::Date => Some(text.replace('.', "")),
        Kind::Time => time(text).map(|(first, _)| first),
        Kind::DateTime => instant::bounds(text, zone).map(|(first, _)| first),
    }
}

/// What one attribute must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// One of these; texts and names may hold `*` and `?`. Never empty.
    AnyOf(Vec<String>),
    /// From and to as keys, both included, at least one of them there.
    Range(Option<String>, Option<String>),
    /// Empty or absent.
    Empty,
}

/// An attribute and its rule. Conditions inside one sequence must hold in one item of it
/// (PS3.4 C.2.2.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Tags from the outermost sequence inwards; never empty.
    pub path: Vec<Tag>,
    /// How values compare.
    pub kind: Kind,
    /// What they must be.
    pub rule: Rule,
}

/// A search for workitems: conditions joined by AND.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// What must match.
    pub conditions: Vec<Condition>,
    /// Names match where every word of the value occurs in them.
    pub fuzzy: bool,
    /// At most this many rows.
    pub limit: u32,
    /// Skip this many rows.
    pub offset: u32,
}

/// Why a search cannot be read. The texts name attributes, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Not an attribute.
    #[error("a parameter is not the name or the tag of an attribute")]
    NotAnAttribute,
    /// A value that the attribute cannot have.
    #[error("the value for {0} is not a {1}")]
    Value(String, &'static str),
    /// More than is looked for at once.
    #[error("the search has {0}")]
    TooMuch(&'static str),
    /// A filter without conditions would match everything.
    #[error("a filter is a list of attribute=value, separated by commas")]
    NotAFilter,
}

/// Reads the path of an attribute: keywords or eight digits, joined by `.`.
pub fn path(name: &str) -> Option<Vec<Tag>> {
    let path: Option<Vec<Tag>> =
        name.split('.').take(MAX_PATH + 1).map(Tag::from_keyword_or_hex).collect();
    path.filter(|path| (1..=MAX_PATH).contains(&path.len()))
}

/// Reads one matching parameter; `None` for a value that matches everything.
///
/// # Errors
///
/// See [`SearchError`].
pub fn condition(path: Vec<Tag>, value: &str) -> Result<Option<Condition>, SearchError> {
    let last = path.last().copied().ok_or(SearchError::NotAnAttribute)?;
    let kind = Kind::of(last);
    let wrong = |what| SearchError::Value(name_of(last), what);
    let text = value.trim_matches([' ', '\0']);
    if text.chars().any(char::is_control) || (text.is_empty() && !value.is_empty()) {
        return Err(wrong("value that it can have"));
    }
    if text.bytes().all(|b| b == b'*') {
        return Ok(None);
    }
    if text == "\"\"" {
        return Ok(Some(Condition { path, kind, rule: Rule::Empty }));
    }
    let rule = match kind {
        Kind::Text | Kind::Name => list(text, false).map(Rule::AnyOf),
        Kind::Number => list(text, false).map(Rule::AnyOf),
        Kind::Uid => list(text, true)
            .filter(|uids| uids.iter().all(|uid| SopInstanceUid::parse(uid).is_ok()))
            .map(Rule::AnyOf),
        Kind::Date => range(text, |text| date(text).map(|date| (date.clone(), date))),
        Kind::Time => range(text, time),
        Kind::DateTime => range(text, |text| instant::bounds(text, "")),
    };
    let what = match kind {
        Kind::Text | Kind::Name => "value",
        Kind::Number => "number",
        Kind::Uid => "UID or list of UIDs",
        Kind::Date => "date or range of dates",
        Kind::Time => "time or range of times",
        Kind::DateTime => "date-time or range of date-times",
    };
    let rule = rule.ok_or_else(|| wrong(what))?;
    if let Rule::AnyOf(values) = &rule {
        if values.len() > MAX_LIST {
            return Err(SearchError::TooMuch("too many values for one attribute"));
        }
        if values.iter().any(|value| value.matches('*').count() > MAX_STARS) {
            return Err(SearchError::TooMuch("too many wildcards in one value"));
        }
        // One universal value of a list makes the list universal.
        let wild = matches!(kind, Kind::Text | Kind::Name);
        if wild && values.iter().any(|value| value.bytes().all(|b| b == b'*')) {
            return Ok(None);
        }
    }
    Ok(Some(Condition { path, kind, rule }))
}

/// Reads the filter of a subscription (PS3.18 section 11.10.1.2): `attribute=value`, joined by
/// commas. A comma inside a list of UIDs is told apart by what follows it.
///
/// # Errors
///
/// See [`SearchError`].
pub fn filter(text: &str) -> Result<Vec<Condition>, SearchError> {
    let mut pairs: Vec<(Vec<Tag>, String)> = Vec::new();
    for piece in text.split(',') {
        let named =
            piece.split_once('=').and_then(|(name, value)| Some((path(name.trim())?, value)));
        match (named, pairs.last_mut()) {
            (Some((path, value)), _) => pairs.push((path, value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (None, None) => return Err(SearchError::NotAFilter),
        }
    }
    if pairs.len() > MAX_CONDITIONS {
        return Err(SearchError::TooMuch("too many attributes"));
    }
    let conditions: Result<Vec<_>, _> =
        pairs.into_iter().map(|(path, value)| condition(path, &value)).collect();
    let conditions: Vec<Condition> = conditions?.into_iter().flatten().collect();
    if conditions.is_empty() { Err(SearchError::NotAFilter) } else { Ok(conditions) }
}

/// The values of a list without empty ones; `None` when nothing is left.
fn list(text: &str, by_comma: bool) -> Option<Vec<String>> {
    let mut values: Vec<String> = text
        .split(|c| c == '\\' || (by_comma && c == ','))
        .map(|value| value.trim_matches([' ', '\0']).to_owned())
        .filter(|value| !value.is_empty())
        .collect();
    values.sort();
    values.dedup();
    (!values.is_empty()).then_some(values)
}

/// A single value, which is the range that it covers, or a range. A hyphen may also be the sign of
/// an offset: the split that makes two values counts, then the whole as one.
fn range(text: &str, bounds: impl Fn(&str) -> Option<(String, String)>) -> Option<Rule> {
    let end = |text: &str| match text.trim() {
        "" => Some(None),
        text => bounds(text).map(Some),
    };
    let as_one = bounds(text);
    if let Some((first, last)) = as_one {
        return Some(Rule::Range(Some(first), Some(last)));
    }
    for (at, _) in text.match_indices('-') {
        let (Some(from), Some(to)) = (text.get(..at), text.get(at + 1..)) else { continue };
        let (Some(from), Some(to)) = (end(from), end(to)) else { continue };
        if from.is_some() || to.is_some() {
            return Some(Rule::Range(from.map(|from| from.0), to.map(|to| to.1)));
        }
    }
    None
}

/// `YYYYMMDD`, also with the dots of ACR-NEMA. The day need not exist: clients ask for a month as
/// `20240201-20240231`.
fn date(text: &str) -> Option<String> {
    let digits = text.replace('.', "");
    let part = |from, to| digits.get(from..to)?.parse::<u8>().ok();
    let legal = digits.len() == 8
        && digits.bytes().all(|b| b.is_ascii_digit())
        && part(4, 6).is_some_and(|month| (1..=12).contains(&month))
        && part(6, 8).is_some_and(|day| (1..=31).contains(&day));
    legal.then_some(digits)
}

/// The first and the last instant of a time of any precision.
fn time(text: &str) -> Option<(String, String)> {
    let text = text.replace(':', "");
    // A time is the end of a date-time of which the date does not matter.
    let (first, last) = instant::bounds(&format!("20000101{text}"), "")?;
    let after_date = |key: String| key.get(8..).map(str::to_owned);
    let has_digits = text.len() >= 2 && !text.contains(['+', '-']);
    has_digits.then_some(())?;
    Some((after_date(first)?, after_date(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, value: &str) -> Option<Rule> {
        condition(path(name).expect("an attribute"), value).expect("a legal value").map(|c| c.rule)
    }

    fn any(values: &[&str]) -> Option<Rule> {
        Some(Rule::AnyOf(values.iter().map(|v| (*v).to_owned()).collect()))
    }

    fn between(from: &str, to: &str) -> Option<Rule> {
        let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Rule::Range(bound(from), bound(to)))
    }

    #[test]
    fn match_values_are_read_by_the_kind_of_their_attribute() {
        assert_eq!(
            rule("ProcedureStepState", "SCHEDULED\\IN PROGRESS"),
            any(&["IN PROGRESS", "SCHEDULED"])
        );
        assert_eq!(rule("00741204", "CT*"), any(&["CT*"]));
        assert_eq!(rule("SOPInstanceUID", "1.2,1.3\\1.2"), any(&["1.2", "1.3"]));
        assert_eq!(rule("PatientName", "*"), None);
        assert_eq!(rule("PatientName", ""), None);
        assert_eq!(rule("PatientName", "a\\*"), None);
        assert_eq!(rule("PatientName", "\"\""), Some(Rule::Empty));
        assert_eq!(rule("PatientBirthDate", "19700101-"), between("19700101", ""));
        assert_eq!(rule("StudyTime", "10"), between("100000.000000", "105959.999999"));
        let start = "ScheduledProcedureStepStartDateTime";
        assert_eq!(
            rule(start, "20240305"),
            between("20240305000000.000000", "20240305235959.999999")
        );
        assert_eq!(
            rule(start, "2024-2025"),
            between("20240101000000.000000", "20251231235959.999999")
        );
        assert_eq!(rule(start, "-202403051200"), between("", "20240305120059.999999"));
        assert_eq!(
            rule(start, "20240305120000-0500"),
            between("20240305170000.000000", "20240305170000.999999")
        );
        assert_eq!(
            rule(start, "20240305120000-0500-20240305130000-0500"),
            between("20240305170000.000000", "20240305180000.999999")
        );
    }

    #[test]
    fn nonsense_is_refused_without_repeating_it() {
        for (name, value) in [
            ("SOPInstanceUID", "secret"),
            ("PatientBirthDate", "secret"),
            ("ScheduledProcedureStepStartDateTime", "secret"),
            ("ScheduledProcedureStepStartDateTime", "-"),
            ("PatientName", "\\"),
            ("PatientName", " "),
            ("PatientName", "secret\u{7}"),
        ] {
            let error = condition(path(name).expect("an attribute"), value).expect_err(value);
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        for name in ["", "Nonsense", "0040", "00404025.", "a.b", &["00404025"; 9].join(".")] {
            assert_eq!(path(name), None, "{name}");
        }
        let many = (0..501).map(|i| format!("v{i}")).collect::<Vec<_>>().join("\\");
        for value in [many, "*a".repeat(17)] {
            let path = path("PatientID").expect("an attribute");
            assert!(matches!(condition(path, &value), Err(SearchError::TooMuch(_))));
        }
    }

    #[test]
    fn filters_are_lists_of_conditions() {
        let conditions = filter(
            "00741202=reading, ScheduledStationNameCodeSequence.CodeValue=X,SOPInstanceUID=1.2,1.3",
        )
        .expect("a filter");
        let paths: Vec<String> = conditions.iter().map(|c| path_text(&c.path)).collect();
        assert_eq!(paths, ["00741202", "00404025.00080100", "00080018"]);
        assert_eq!(Some(conditions[2].rule.clone()), any(&["1.2", "1.3"]));
        for bad in ["", "nothing", "00741202=*", "Nope=1", "=1"] {
            assert_eq!(filter(bad), Err(SearchError::NotAFilter), "{bad}");
        }
    }

    #[test]
    fn every_value_has_a_key_under_its_path() {
        let data = DataSet::parse(
            br#"{"00741204":{"vr":"LO","Value":["Read"]},
                "00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B","Ideographic":"C"}]},
                "00404005":{"vr":"DT","Value":["20240305120000+0100"]},
                "00404025":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["X"]}},
                    {"00080100":{"vr":"SH","Value":["Y"]}}]},
                "00100020":{"vr":"LO"}}"#,
        )
        .expect("a data set");
        let keys: Vec<_> =
            keys(&data).into_iter().map(|key| (key.path, key.item, key.value)).collect();
        let expected = [
            ("00100010", "", "A^B"),
            ("00100010", "", "C"),
            ("00404005", "", "20240305110000.000000"),
            ("00404025.00080100", "0", "X"),
            ("00404025.00080100", "1", "Y"),
            ("00741204", "", "Read"),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(keys, expected);
    }
}
