//! Parsing of match values (PS3.4 C.2.2.2). Wildcards are left as they are: whoever matches
//! decides how, after folding.

use super::{Kind, MatchValueError, Rule};
use crate::uid::StudyUid;

pub(super) fn parse(
    kind: Kind,
    keyword: Option<&'static str>,
    by_comma: bool,
    text: &str,
) -> Result<Option<Rule>, MatchValueError> {
    let text = trim(text);
    if is_universal(text) {
        return Ok(None);
    }
    if text == "\"\"" {
        return Ok(Some(Rule::Empty));
    }
    let error =
        |expected| MatchValueError { keyword: keyword.unwrap_or("the attribute"), expected };
    match kind {
        Kind::Text | Kind::PersonName => {
            let values: Vec<String> = list(text, by_comma).map(str::to_owned).collect();
            // Separators alone ask for nothing; to take them for a universal value would widen the
            // search to everything.
            if values.is_empty() {
                return Err(error("value"));
            }
            // One universal value of a list makes the list universal.
            let universal = values.iter().any(|value| is_universal(value));
            Ok((!universal).then_some(Rule::AnyOf(values)))
        }
        Kind::Uid => values(list(text, true), |uid| {
            StudyUid::parse(uid).ok().map(|uid| uid.as_str().to_owned())
        })
        .ok_or_else(|| error("UID or list of UIDs")),
        Kind::Number => values(list(text, false), |number| {
            number.parse::<i64>().ok().map(|number| number.to_string())
        })
        .ok_or_else(|| error("whole number")),
        Kind::Decimal => values(list(text, false), |number| {
            number.parse::<f64>().ok().filter(|n| n.is_finite()).map(|number| number.to_string())
        })
        .ok_or_else(|| error("number")),
        Kind::DateTime => date_times(text).ok_or_else(|| error("date and time or range of them")),
        Kind::Date => dates(text).ok_or_else(|| error("date (YYYYMMDD) or range of dates")),
        Kind::Time => times(text).ok_or_else(|| error("time (HHMMSS) or range of times")),
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\0'])
}

fn is_universal(text: &str) -> bool {
    text.bytes().all(|b| b == b'*')
}

/// The values of a list; empty ones are left out.
fn list(text: &str, by_comma: bool) -> impl Iterator<Item = &str> {
    text.split(move |c| c == '\\' || (by_comma && c == ',')).map(trim).filter(|v| !v.is_empty())
}

/// `None` if a value is malformed or there is none: separators alone are no universal value.
fn values<'a>(
    list: impl Iterator<Item = &'a str>,
    parse: impl Fn(&str) -> Option<String>,
) -> Option<Option<Rule>> {
    let values = list.map(parse).collect::<Option<Vec<_>>>()?;
    (!values.is_empty()).then_some(Some(Rule::AnyOf(values)))
}

fn dates(text: &str) -> Option<Option<Rule>> {
    let Some((from, to)) = text.split_once('-') else {
        return values(list(text, false), date);
    };
    range(from, to, date_bound, date_bound)
}

/// Both ends are parsed if they are there; one of them must be.
fn range(
    from: &str,
    to: &str,
    parse_from: impl Fn(&str) -> Option<String>,
    parse_to: impl Fn(&str) -> Option<String>,
) -> Option<Option<Rule>> {
    let (from, to) = (trim(from), trim(to));
    if from.is_empty() && to.is_empty() {
        return None;
    }
    let from = if from.is_empty() { None } else { Some(parse_from(from)?) };
    let to = if to.is_empty() { None } else { Some(parse_to(to)?) };
    Some(Some(Rule::Range(from, to)))
}

/// One end of a range. Clients ask for a month as `20240201-20240231`: the days need not exist, and
/// compared as text they still bound the month.
fn date_bound(text: &str) -> Option<String> {
    let digits = date_digits(text)?;
    let in_range = |from, to, most| {
        digits.get(from..to)?.parse::<u8>().ok().filter(|n| (1..=most).contains(n))
    };
    (in_range(4, 6, 12).is_some() && in_range(6, 8, 31).is_some()).then_some(digits.clone())
}

/// `YYYYMMDD`, also written `YYYY.MM.DD` (ACR-NEMA).
fn date(text: &str) -> Option<String> {
    let digits = date_digits(text)?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u16>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u16::from(leap),
        _ => return None,
    };
    (1..=days).contains(&day).then_some(digits)
}

/// The eight digits of a date, with or without dots.
fn date_digits(text: &str) -> Option<String> {
    let digits = match text.as_bytes() {
        [_, _, _, _, b'.', _, _, b'.', _, _] => text.replace('.', ""),
        _ => text.to_owned(),
    };
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits)
}

/// One date and time, or two joined by a hyphen; zones have hyphens of their own.
fn date_times(text: &str) -> Option<Option<Rule>> {
    if let Some(single) = date_time(text) {
        return Some(Some(Rule::AnyOf(vec![single])));
    }
    let places = text.match_indices('-').map(|(at, _)| at);
    places.into_iter().find_map(|at| {
        let (from, to) = (text.get(..at)?, text.get(at + 1..)?);
        range(from, to, date_time, date_time)
    })
}

/// `YYYY[MM[DD[HH[MM[SS[.F]]]]]]` without its zone.
fn date_time(text: &str) -> Option<String> {
    let (digits, zone) = match text.rfind(['+', '-']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, "0000"),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fits = matches!(whole.len(), 4 | 6 | 8 | 10 | 12 | 14)
        && all_digits(whole)
        && all_digits(fraction)
        && (1..=6).contains(&fraction.len())
        && (whole.len() == 14 || !digits.contains('.'));
    // No zone is further from Greenwich: 2023-2024 is a range.
    let is_zone = zone.len() == 4 && all_digits(zone) && zone <= "1400";
    (fits && is_zone).then(|| digits.to_owned())
}

/// A single time is the range of instants that it covers: `10` is the whole hour. Of a list, whose
/// values cannot be ranges, the first instant of each counts.
fn times(text: &str) -> Option<Option<Rule>> {
    let first = |text: &str| time(text).map(|time| time.0);
    let last = |text: &str| time(text).map(|time| time.1);
    if let Some((from, to)) = text.split_once('-') {
        return range(from, to, first, last);
    }
    if text.contains('\\') {
        return values(list(text, false), first);
    }
    let (from, to) = time(text)?;
    Some(Some(Rule::Range(Some(from), Some(to))))
}

/// The first and the last instant of a time of any precision, as `HHMMSS.FFFFFF`.
fn time(text: &str) -> Option<(String, String)> {
    let text = text.replace(':', "");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fraction_fits = fraction.len() <= 6 && (fraction.is_empty() || whole.len() == 6);
    let has_point_only = text.ends_with('.');
    if !digits(whole) || !digits(fraction) || !fraction_fits || has_point_only {
        return None;
    }
    let part = |from: usize| whole.get(from..from + 2).map(|text| text.parse::<u8>().ok());
    if !matches!(whole.len(), 2 | 4 | 6)
        || part(0)?.is_none_or(|hour| hour > 23)
        || part(2).is_some_and(|minute| minute.is_none_or(|minute| minute > 59))
        // 60 is a leap second (PS3.5 table 6.2-1).
        || part(4).is_some_and(|second| second.is_none_or(|second| second > 60))
    {
        return None;
    }
    let pad = |whole_pad: &str, fraction_pad: &str| {
        let whole_rest = whole_pad.get(whole.len()..).unwrap_or("");
        let fraction_rest = fraction_pad.get(fraction.len()..).unwrap_or("");
        format!("{whole}{whole_rest}.{fraction}{fraction_rest}")
    };
    Some((pad("000000", "000000"), pad("235959", "999999")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Indexed, parse_rule as parse};

    fn any(values: &[&str]) -> Option<Rule> {
        Some(Rule::AnyOf(values.iter().map(|&v| v.to_owned()).collect()))
    }

    fn between(from: Option<&str>, to: Option<&str>) -> Option<Rule> {
        Some(Rule::Range(from.map(str::to_owned), to.map(str::to_owned)))
    }

    fn check(attribute: Indexed, text: &str, expected: Option<Rule>) {
        assert_eq!(parse(attribute, text), Ok(expected), "{attribute:?} {text:?}");
    }

    fn check_error(attribute: Indexed, text: &str) {
        let error = parse(attribute, text).expect_err(text);
        assert_eq!(Some(error.keyword), attribute.tag().keyword());
    }

    #[test]
    fn universal_and_empty_matching() {
        for attribute in [
            Indexed::PatientName,
            Indexed::PatientId,
            Indexed::StudyDate,
            Indexed::StudyTime,
            Indexed::StudyInstanceUid,
            Indexed::SeriesNumber,
        ] {
            check(attribute, "", None);
            check(attribute, "  ", None);
            check(attribute, "*", None);
            check(attribute, "**", None);
            check(attribute, "\"\"", Some(Rule::Empty));
        }
        check(Indexed::PatientId, "A\\*", None);
    }

    #[test]
    fn separators_alone_are_not_universal() {
        for attribute in [
            Indexed::PatientName,
            Indexed::PatientId,
            Indexed::StudyDate,
            Indexed::StudyTime,
            Indexed::StudyInstanceUid,
            Indexed::SeriesNumber,
        ] {
            check_error(attribute, "\\");
            check_error(attribute, " \\ \\");
        }
        check_error(Indexed::Modality, ",");
        check(Indexed::PatientId, "\\A\\", any(&["A"]));
    }

    #[test]
    fn text_keeps_its_wildcards_and_its_commas() {
        check(Indexed::PatientName, "Wang*^X?ao", any(&["Wang*^X?ao"]));
        check(Indexed::StudyDescription, "Thorax, 100%_ ", any(&["Thorax, 100%_"]));
        check(Indexed::PatientId, "A1\\A2", any(&["A1", "A2"]));
        check(Indexed::ModalitiesInStudy, "CT,MR", any(&["CT", "MR"]));
        check(Indexed::Modality, "CT\\MR", any(&["CT", "MR"]));
    }

    #[test]
    fn uid_lists() {
        check(Indexed::StudyInstanceUid, "1.2\\1.3", any(&["1.2", "1.3"]));
        check(Indexed::SopInstanceUid, "1.2,1.3\0", any(&["1.2", "1.3"]));
        check_error(Indexed::StudyInstanceUid, "1.2.*");
        check_error(Indexed::StudyInstanceUid, "../etc");
    }

    #[test]
    fn numbers() {
        check(Indexed::SeriesNumber, " 007 ", any(&["7"]));
        check(Indexed::InstanceNumber, "1\\2", any(&["1", "2"]));
        check_error(Indexed::SeriesNumber, "1*");
        check_error(Indexed::InstanceNumber, "one");
    }

    #[test]
    fn dates_and_ranges_of_dates() {
        check(Indexed::StudyDate, "20240229", any(&["20240229"]));
        check(Indexed::StudyDate, "2024.02.29", any(&["20240229"]));
        check(Indexed::StudyDate, "20240101\\20240102", any(&["20240101", "20240102"]));
        check(Indexed::StudyDate, "20240101-", between(Some("20240101"), None));
        check(Indexed::StudyDate, "-20240101", between(None, Some("20240101")));
        check(
            Indexed::PatientBirthDate,
            "19600101-19691231",
            between(Some("19600101"), Some("19691231")),
        );
        check(Indexed::StudyDate, "20240201-20240231", between(Some("20240201"), Some("20240231")));
        check_error(Indexed::StudyDate, "20240101-20240132");
        check_error(Indexed::StudyDate, "20241301-");
        for bad in ["2024", "20230229", "20241301", "20240100", "-", "2024-01-01", "2024*", "today"]
        {
            check_error(Indexed::StudyDate, bad);
        }
    }

    #[test]
    fn times_cover_what_their_precision_leaves_open() {
        check(Indexed::StudyTime, "10", between(Some("100000.000000"), Some("105959.999999")));
        check(Indexed::StudyTime, "1030", between(Some("103000.000000"), Some("103059.999999")));
        check(
            Indexed::StudyTime,
            "10:30:05",
            between(Some("103005.000000"), Some("103005.999999")),
        );
        check(
            Indexed::StudyTime,
            "103005.25",
            between(Some("103005.250000"), Some("103005.259999")),
        );
        check(Indexed::StudyTime, "0800-", between(Some("080000.000000"), None));
        check(Indexed::StudyTime, "-0800", between(None, Some("080059.999999")));
        check(Indexed::SeriesTime, "08-09", between(Some("080000.000000"), Some("095959.999999")));
        check(Indexed::StudyTime, "08\\09", any(&["080000.000000", "090000.000000"]));
        for bad in ["24", "1", "1060", "103061", "10.5", "103005.", "103005.1234567", "-", "noon"] {
            check_error(Indexed::StudyTime, bad);
        }
    }
}
