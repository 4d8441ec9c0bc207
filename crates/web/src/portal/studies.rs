//! `/studies`: the searchable list.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use qianli_catalog::types::StudyRow;
use qianli_model::Query;
use qianli_model::query::{Indexed, Level, Rule};

use super::format::{self, Attributes, Name};
use super::language;
use super::page::{Frame, encode};
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::params;

/// Studies on one page.
const PAGE: u32 = 25;

/// Deepest page: the catalog skips rows one by one.
const MAX_PAGE: u32 = 4000;

/// Most modalities that are shown of a study.
const MAX_BADGES: usize = 12;

/// Longest condition (characters).
const MAX_CONDITION: usize = 64;

/// Most parameters that the page says it does not know.
const MAX_UNREAD: usize = 8;

/// Modalities that can be chosen, as in PS3.3 section C.7.3.1.1.1.
const MODALITIES: &[&str] =
    &["CT", "MR", "DX", "CR", "US", "MG", "XA", "RF", "PT", "NM", "ES", "SM", "OT"];

/// Quick ranges: value of `range`, days back from today.
const RANGES: &[(&str, i64)] = &[("today", 0), ("7d", 6), ("30d", 29)];

/// A study in a list.
pub(super) struct StudyCard {
    pub uid: String,
    pub href: String,
    pub viewer: String,
    /// Empty when there is no picture to ask for.
    pub thumbnail: String,
    pub name: Option<Name>,
    pub patient_id: String,
    pub sex: String,
    pub birth: String,
    pub date: String,
    pub time: String,
    pub accession: String,
    pub modalities: Vec<String>,
    pub description: String,
    pub content: String,
    pub size: String,
    pub updated: String,
    pub conflict: bool,
}

impl StudyCard {
    /// Prepares a row of the catalog for reading.
    pub fn new(row: &StudyRow, frame: &Frame) -> Self {
        let attributes = Attributes::parse(&row.json);
        let uid = encode(&row.uid).replace("%2E", ".");
        let pictures = row.modalities.iter().any(|modality| format::has_picture(modality));
        let thumbnail = if pictures || row.modalities.is_empty() {
            format!("/dicom-web/studies/{uid}/thumbnail?viewport=192,192")
        } else {
            String::new()
        };
        Self {
            href: format!("/studies/{uid}"),
            viewer: viewer(&row.uid),
            thumbnail,
            uid: row.uid.clone(),
            name: attributes.name("00100010", frame.language),
            patient_id: attributes.text("00100020"),
            sex: format::sex(&attributes.text("00100040"), frame.t),
            birth: format::date(&attributes.text("00100030")),
            date: format::date(&attributes.text("00080020")),
            time: format::time(&attributes.text("00080030")),
            accession: attributes.text("00080050"),
            modalities: row.modalities.iter().take(MAX_BADGES).map(|m| format::short(m)).collect(),
            description: attributes.text("00081030"),
            content: format::content(
                row.series_count,
                row.instance_count,
                &row.modalities,
                frame.language,
            ),
            size: format::bytes(row.size),
            updated: format::instant(row.updated_ms),
            conflict: row.patient_conflict,
        }
    }

    /// What stands in for a picture that cannot be made.
    pub fn mark(&self) -> &str {
        self.modalities.first().map_or("", String::as_str)
    }
}

/// Where the viewer opens a study.
pub(super) fn viewer(uid: &str) -> String {
    format!("/viewer?StudyInstanceUIDs={}", encode(uid).replace("%2E", "."))
}

/// What the form holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Search {
    name: String,
    id: String,
    accession: String,
    from: String,
    to: String,
    range: String,
    modalities: Vec<String>,
    page: u32,
    /// Parameters that nothing here is known by, and those whose values nothing is.
    unread: Vec<String>,
}

impl Search {
    fn parse(query: &str) -> Self {
        let mut search = Self { page: 1, ..Self::default() };
        for (name, value) in params::pairs(query) {
            let value: String = value.trim().chars().take(MAX_CONDITION).collect();
            match name.as_str() {
                "name" => search.name = value,
                "id" => search.id = value,
                "accession" => search.accession = value,
                "from" => search.from = value,
                "to" => search.to = value,
                "range" if RANGES.iter().any(|(range, _)| *range == value) => search.range = value,
                "modality" if MODALITIES.contains(&value.as_str()) => search.modalities.push(value),
                "page" if value.parse::<u32>().is_ok() => {
                    search.page = value.parse().unwrap_or(1).clamp(1, MAX_PAGE);
                }
                "range" | "modality" | "page" if value.is_empty() => {}
                language::NAME => {}
                _ if search.unread.len() < MAX_UNREAD => {
                    let name: String = name.chars().take(MAX_CONDITION).collect();
                    search.unread.push(format!("{name}={value}"));
                }
                _ => {}
            }
        }
        search
    }

    /// Whether any condition is set.
    fn is_set(&self) -> bool {
        let texts = [&self.name, &self.id, &self.accession, &self.from, &self.to, &self.range];
        texts.iter().any(|text| !text.is_empty()) || !self.modalities.is_empty()
    }

    /// The query.
    fn query(&self, today: Date) -> Query {
        let mut query = Query::all(Level::Study, PAGE);
        query.offset = (self.page - 1) * PAGE;
        // Pinyin, kana and names that only sound alike find people too.
        query.fuzzy = true;
        for (attribute, text) in [
            (Indexed::PatientName, &self.name),
            (Indexed::PatientId, &self.id),
            (Indexed::AccessionNumber, &self.accession),
        ] {
            if text.is_empty() {
                continue;
            }
            let is_name = attribute == Indexed::PatientName;
            let value = if is_name { name(text) } else { anywhere(text) };
            query = query.equals(attribute, value);
        }
        let quick = RANGES.iter().find(|(range, _)| *range == self.range);
        let range = match quick {
            Some((_, days)) => {
                let first = today.checked_sub(days.days()).unwrap_or(today);
                Rule::Range(Some(compact(first)), Some(compact(today)))
            }
            None => Rule::Range(day(&self.from).map(compact), day(&self.to).map(compact)),
        };
        if range != Rule::Range(None, None) {
            query = query.with(Indexed::StudyDate, range);
        }
        if !self.modalities.is_empty() {
            query = query.with(Indexed::ModalitiesInStudy, Rule::AnyOf(self.modalities.clone()));
        }
        query
    }
}

/// Plain text matches anywhere in a value; who writes wildcards knows what they want.
fn anywhere(text: &str) -> String {
    if text.contains(['*', '?']) { text.to_owned() } else { format!("*{text}*") }
}

/// As [`anywhere`], but one or two characters begin a name: in the middle no index finds so few, and
/// what sounds like them is found at the beginning of every word anyway.
fn name(text: &str) -> String {
    if text.chars().count() < 3 && !text.contains(['*', '?']) {
        format!("{text}*")
    } else {
        anywhere(text)
    }
}

/// Reads a date of the form.
fn day(text: &str) -> Option<Date> {
    text.parse().ok()
}

/// Whether there is text where a date should be that is none.
fn is_no_date(text: &str) -> bool {
    !text.is_empty() && day(text).is_none()
}

fn compact(date: Date) -> String {
    date.strftime("%Y%m%d").to_string()
}

#[derive(Template)]
#[template(path = "studies.html")]
struct StudiesPage<'a> {
    frame: &'a Frame,
    search: &'a Search,
    /// Label, link, whether current.
    ranges: Vec<(&'static str, String, bool)>,
    /// Modality and whether it is chosen.
    modalities: Vec<(&'static str, bool)>,
    no_from: bool,
    no_to: bool,
    studies: Vec<StudyCard>,
    summary: String,
    previous: Option<String>,
    next: Option<String>,
}

/// `GET /studies`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    let frame = frame.at("studies");
    let search = Search::parse(frame.query());
    let query = search.query(Zoned::now().date());
    let archive = state.archive();
    let (found, count) =
        tokio::join!(archive.find(&caller.scope, &query), archive.count(&caller.scope, &query),);
    let (found, count) = match (found, count) {
        (Ok(found), Ok(count)) => (found, count),
        (Err(cause), _) | (_, Err(cause)) => return frame.failed(cause),
    };
    let t = frame.t;
    let labels = [t.range_today, t.range_week, t.range_month];
    let mut ranges = vec![(t.range_any, link_to_range(&frame, ""), search.range.is_empty())];
    for ((range, _), label) in RANGES.iter().zip(labels) {
        ranges.push((label, link_to_range(&frame, range), search.range == *range));
    }
    let last = count.max(0).div_euclid(i64::from(PAGE)) + 1;
    let more = i64::from(query.offset) + (found.len() as i64) < count;
    let at = |page: u32| frame.link(&[("page", &page.to_string())]);
    let page = StudiesPage {
        ranges,
        modalities: MODALITIES
            .iter()
            .map(|modality| (*modality, search.modalities.iter().any(|chosen| chosen == modality)))
            .collect(),
        no_from: is_no_date(&search.from),
        no_to: is_no_date(&search.to),
        studies: found.iter().map(|row| StudyCard::new(&row.study, &frame)).collect(),
        summary: format::found(count, i64::from(query.offset), found.len(), frame.language),
        previous: (search.page > 1).then(|| {
            let before = i64::from(search.page - 1).min(last).max(1);
            at(u32::try_from(before).unwrap_or(1))
        }),
        next: (more && search.page < MAX_PAGE).then(|| at(search.page + 1)),
        search: &search,
        frame: &frame,
    };
    frame.answer(StatusCode::OK, &page)
}

/// A quick range replaces dates and starts from the first page.
fn link_to_range(frame: &Frame, range: &str) -> String {
    frame.link(&[("range", range), ("from", ""), ("to", ""), ("page", "")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(query: &str) -> Vec<(Indexed, Rule)> {
        let today = Date::constant(2026, 3, 14);
        let query = Search::parse(query).query(today);
        query.conditions.into_iter().map(|c| (c.attribute, c.rule)).collect()
    }

    fn any(values: &[&str]) -> Rule {
        Rule::AnyOf(values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn range(from: Option<&str>, to: Option<&str>) -> Rule {
        Rule::Range(from.map(str::to_owned), to.map(str::to_owned))
    }

    #[test]
    fn plain_text_matches_anywhere_and_wildcards_stay() {
        let name = conditions("name=+%E7%8E%8B+&id=A%3F1&accession=");
        assert_eq!(
            name,
            [(Indexed::PatientName, any(&["王*"])), (Indexed::PatientId, any(&["A?1"]))]
        );
    }

    #[test]
    fn names_are_searched_by_sound_too() {
        let query = Search::parse("name=zhangx").query(Date::constant(2026, 3, 14));
        assert!(query.fuzzy);
        assert_eq!(query.conditions[0].rule, any(&["*zhangx*"]));
        assert_eq!(conditions("name=li"), [(Indexed::PatientName, any(&["li*"]))]);
        assert_eq!(conditions("name=l%3F"), [(Indexed::PatientName, any(&["l?"]))]);
    }

    #[test]
    fn ranges_are_inclusive_and_quick_ones_win() {
        let date = Indexed::StudyDate;
        assert_eq!(conditions("from=2026-03-01&to="), [(date, range(Some("20260301"), None))]);
        assert_eq!(
            conditions("range=7d&from=2020-01-01"),
            [(date, range(Some("20260308"), Some("20260314")))]
        );
        assert_eq!(conditions("range=today"), [(date, range(Some("20260314"), Some("20260314")))]);
        assert_eq!(conditions("range=decade"), []);
        assert_eq!(conditions("from=2026-13-45"), []);
        assert!(is_no_date("2026-13-45") && !is_no_date("") && !is_no_date("2026-03-14"));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let unread = |query: &str| Search::parse(query).unread;
        assert!(unread("name=a&lang=en&range=&modality=CT&page=2").is_empty());
        assert_eq!(
            unread("Name=a&modality=XX&range=1y&page=x"),
            ["Name=a", "modality=XX", "range=1y", "page=x"]
        );
        assert_eq!(unread(&"x=1&".repeat(1000)).len(), MAX_UNREAD);
    }

    #[test]
    fn modalities_are_joined_by_or_and_unknown_ones_dropped() {
        assert_eq!(
            conditions("modality=CT&modality=MR&modality=%3Cb%3E"),
            [(Indexed::ModalitiesInStudy, any(&["CT", "MR"]))]
        );
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(Search::parse("page=0").page, 1);
        assert_eq!(Search::parse("page=x").page, 1);
        assert_eq!(Search::parse("page=4294967295").page, MAX_PAGE);
        let query = Search::parse("page=3").query(Date::constant(2026, 3, 14));
        assert_eq!((query.offset, query.limit), (50, 25));
    }
}
