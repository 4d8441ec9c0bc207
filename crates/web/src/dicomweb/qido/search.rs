//! Reads the query string of a search (PS3.18 sections 8.3.4 and 10.6.1.2).
//!
//! Every stored attribute can be matched: by its column, by the index that an operator made for it, or
//! row by row. What is computed or unknown is ignored and said so in a `Warning` header, as the
//! standard asks; what contradicts the form of its attribute is refused.

use std::collections::BTreeSet;

use qianli_catalog::types::Target;
use qianli_model::query::{
    Condition, Indexed, Kind, Level, Path, PathCondition, Rule, parse_path_rule, parse_rule,
};
use qianli_model::{Query, Tag, tag};

use super::super::params;
use crate::error::HttpError;

/// Rows of an answer when the client sets no limit.
pub(crate) const DEFAULT_LIMIT: u32 = 1_000;

/// Most rows of an answer.
pub(crate) const MAX_LIMIT: u32 = 10_000;

/// Most values of one attribute. Together with the next bound it keeps a query from costing the
/// database out of proportion.
const MAX_VALUES: usize = 500;

/// Most `*` in one value: each may make the database try every place again.
const MAX_STARS: usize = 16;

/// Most attributes without a column in one query.
const MAX_PATHS: usize = 16;

/// Attributes that answers compute: they are not in any data set, or not as they are there.
const COMPUTED: &[Tag] = &[
    tag::INSTANCE_AVAILABILITY,
    tag::SOP_CLASSES_IN_STUDY,
    tag::RETRIEVE_URL,
    tag::AVAILABLE_TRANSFER_SYNTAX_UID,
    tag::NUMBER_OF_STUDY_RELATED_SERIES,
    tag::NUMBER_OF_STUDY_RELATED_INSTANCES,
    tag::NUMBER_OF_SERIES_RELATED_INSTANCES,
    tag::SPECIFIC_CHARACTER_SET,
    tag::TIMEZONE_OFFSET_FROM_UTC,
];

/// Which attributes the client wants beyond the defaults of its level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Include {
    /// `includefield=all`.
    pub(super) all: bool,
    /// Named by `includefield` or matched on.
    pub(super) tags: BTreeSet<Tag>,
}

/// A search, ready to be run.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// Asks for one row more than `limit`, which tells whether there are more.
    pub(super) query: Query,
    /// Rows of the answer at most.
    pub(super) limit: u32,
    /// The limit is ours, not the client's.
    pub(super) limited_by_us: bool,
    pub(super) include: Include,
    /// The client wants to know how many rows there are without the page.
    pub(super) count: bool,
    pub(super) warnings: Vec<String>,
    /// What was matched so far, and how the query string names it.
    named: Vec<(Path, String)>,
}

/// Parameters of the search itself; each means one thing.
const SINGLE: &[&str] =
    &["limit", "offset", "fuzzymatching", "count", "emptyvaluematching", "multiplevaluematching"];

impl Search {
    /// Parses a query string for rows of `level` inside the study or series of the path.
    pub(super) fn parse(
        query: &str,
        level: Level,
        within: Option<&Target>,
    ) -> Result<Self, HttpError> {
        let mut search = Self {
            query: Query::all(level, 0),
            limit: DEFAULT_LIMIT,
            limited_by_us: true,
            include: Include::default(),
            count: false,
            warnings: Vec::new(),
            named: Vec::new(),
        };
        params::once(query, SINGLE)?;
        let creators = creators(query);
        for (name, value) in params::pairs(query) {
            search.parameter(&name, &value, &creators)?;
        }
        if let Some(target) = within {
            search.path(target);
        }
        search.query.limit = search.limit.saturating_add(1);
        Ok(search)
    }

    fn parameter(
        &mut self,
        name: &str,
        value: &str,
        creators: &[Creator],
    ) -> Result<(), HttpError> {
        match name.to_ascii_lowercase().as_str() {
            "limit" => {
                let asked = parse_number(name, value)?;
                self.limit = asked.min(MAX_LIMIT);
                self.limited_by_us = asked > MAX_LIMIT;
            }
            "offset" => self.query.offset = parse_number(name, value)?,
            "includefield" => self.include_fields(value),
            "fuzzymatching" => {
                self.query.fuzzy = parse_flag(name, value)?;
            }
            "count" => self.count = parse_flag(name, value)?,
            "emptyvaluematching" | "multiplevaluematching" => {
                // Both are always on here; asking for less changes nothing for honest values.
                parse_flag(name, value)?;
            }
            // Not matching parameters: content negotiation reads them elsewhere.
            "accept" | "charset" => {}
            _ => self.matching(name, value, creators)?,
        }
        Ok(())
    }

    fn matching(&mut self, name: &str, value: &str, creators: &[Creator]) -> Result<(), HttpError> {
        let Some(path) = Path::parse(name) else {
            let name = shown(name);
            self.warnings.push(format!("{name} is not an attribute that can be matched; ignored"));
            return Ok(());
        };
        self.once(&path, name)?;
        // A key without value, and every key that is matched, is also a return key (10.6.3.3).
        let tag = path.outermost();
        self.include.tags.insert(tag);
        // Attributes of a lower level are matched too: /studies?Modality=CT means the studies with
        // such a series.
        let column = Indexed::from_tag(tag).filter(|_| path.steps().len() == 1);
        let Some(attribute) = column else { return self.stored(path, value, creators) };
        check_text(tag, value)?;
        let rule = parse_rule(attribute, value)
            .map_err(|error| HttpError::bad_request(error.to_string()))?;
        match rule {
            Some(rule) => self.add(attribute, rule),
            None => Ok(()),
        }
    }

    /// Refuses an attribute that is given twice, by the same name or by two: it could mean either
    /// value or both. A repeated name is a list of UIDs or of Modalities in Study, for which that form
    /// is usual.
    fn once(&mut self, path: &Path, name: &str) -> Result<(), HttpError> {
        let Some((_, known)) = self.named.iter().find(|(other, _)| other == path) else {
            self.named.push((path.clone(), name.to_owned()));
            return Ok(());
        };
        let again = known.eq_ignore_ascii_case(name);
        let modalities = path.steps().len() == 1 && path.outermost() == tag::MODALITIES_IN_STUDY;
        if again && (modalities || path.kind() == Some(Kind::Uid)) {
            return Ok(());
        }
        let message = match again {
            true => format!("{} is given more than once", shown(name)),
            false => format!("{} and {} are the same attribute", shown(known), shown(name)),
        };
        let advice =
            "give it once; several values, of which one is to match, go between backslashes (%5C)";
        Err(HttpError::bad_request(format!("{message}: {advice}")))
    }

    /// The same attribute twice means either value, as one list of values would.
    fn add(&mut self, attribute: Indexed, rule: Rule) -> Result<(), HttpError> {
        let known = self.query.conditions.iter_mut().find(|c| c.attribute == attribute);
        let condition = match (known, rule) {
            (Some(condition), Rule::AnyOf(more)) if matches!(condition.rule, Rule::AnyOf(_)) => {
                if let Rule::AnyOf(values) = &mut condition.rule {
                    values.extend(more);
                }
                condition
            }
            (_, rule) => self.query.conditions.push_mut(Condition { attribute, rule }),
        };
        let Rule::AnyOf(values) = &mut condition.rule else { return Ok(()) };
        bounded(values)?;
        values.sort();
        values.dedup();
        Ok(())
    }

    /// Matching of an attribute without a column.
    fn stored(&mut self, path: Path, value: &str, creators: &[Creator]) -> Result<(), HttpError> {
        let tag = path.outermost();
        if COMPUTED.contains(&tag) {
            // The character set of a request says nothing about what is looked for.
            if !value.is_empty() && tag != tag::SPECIFIC_CHARACTER_SET {
                let name = tag.keyword().map_or_else(|| tag.to_string(), str::to_owned);
                self.warnings.push(format!("{name} cannot be matched here; ignored"));
            }
            return Ok(());
        }
        check_text(tag, value)?;
        let rule = parse_path_rule(&path, value)
            .map_err(|error| HttpError::bad_request(error.to_string()))?;
        let Some(rule) = rule else { return Ok(()) };
        let names_block = |creator: &Creator| {
            creator.is_used && (creator.group, u16::from(creator.block)) == (tag.group, tag.element)
        };
        if creators.iter().any(names_block) {
            return Ok(());
        }
        let path = creators.iter().fold(path, |path, creator| {
            path.with_creator(creator.group, creator.block, &creator.name)
        });
        let paths = &mut self.query.paths;
        let rule = match paths.iter().position(|condition| condition.path == path) {
            Some(known) => match (paths.remove(known).rule, rule) {
                (Rule::AnyOf(values), Rule::AnyOf(more)) => {
                    Rule::AnyOf(values.into_iter().chain(more).collect())
                }
                (_, rule) => rule,
            },
            None => rule,
        };
        if let Rule::AnyOf(values) = &rule {
            bounded(values)?;
        }
        if paths.len() == MAX_PATHS {
            let message = format!("more than {MAX_PATHS} attributes without a column");
            return Err(HttpError::bad_request(message));
        }
        paths.push(PathCondition { path, rule });
        Ok(())
    }

    fn path(&mut self, target: &Target) {
        let mut fix = |attribute, uid: &str| {
            let rule = Rule::AnyOf(vec![uid.to_owned()]);
            // Not merged with a condition of the query string: both must hold.
            self.query.conditions.push(Condition { attribute, rule });
        };
        fix(Indexed::StudyInstanceUid, target.study.as_str());
        if let Some(series) = &target.series {
            fix(Indexed::SeriesInstanceUid, series.as_str());
        }
    }

    fn include_fields(&mut self, value: &str) {
        for field in value.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            if field.eq_ignore_ascii_case("all") {
                self.include.all = true;
                continue;
            }
            // Of a path into a sequence the whole sequence is returned.
            let outermost = field.split('.').next().unwrap_or(field);
            match Tag::from_keyword_or_hex(outermost) {
                Some(tag) => {
                    self.include.tags.insert(tag);
                }
                None => {
                    let field = shown(field);
                    self.warnings.push(format!("includefield {field} is not known; ignored"));
                }
            }
        }
    }
}

/// A private creator that the query names: `00090010=ACME` says whose block 10 is, wherever a data set
/// put it (PS3.5 section 7.8.1).
struct Creator {
    group: u16,
    block: u8,
    name: String,
    /// Elements of the block are asked for; the creator then only says whose they are.
    is_used: bool,
}

fn creators(query: &str) -> Vec<Creator> {
    let creator = |(name, value): (String, String)| {
        let tag = Tag::from_hex(&name).filter(|tag| tag.is_private())?;
        let block = u8::try_from(tag.element).ok().filter(|block| *block >= 0x10)?;
        let name = value.trim().to_owned();
        let literal = !name.is_empty() && !name.contains(['*', '?', '\\', '"']);
        let uses = |(other, _): &(String, String)| {
            Tag::from_hex(other).is_some_and(|other| {
                other.group == tag.group && other.element >> 8 == u16::from(block)
            })
        };
        let is_used = params::pairs(query).any(|pair| uses(&pair));
        literal.then_some(Creator { group: tag.group, block, name, is_used })
    };
    params::pairs(query).filter_map(creator).collect()
}

/// Refuses lists and wildcards that cost out of proportion.
fn bounded(values: &[String]) -> Result<(), HttpError> {
    if values.len() > MAX_VALUES {
        let message = format!("more than {MAX_VALUES} values for one attribute");
        return Err(HttpError::bad_request(message));
    }
    if values.iter().any(|value| value.matches('*').count() > MAX_STARS) {
        let message = format!("more than {MAX_STARS} wildcards in one value");
        return Err(HttpError::bad_request(message));
    }
    Ok(())
}

/// A parameter name as it may stand in a header: it could be anything, a patient's name included.
fn shown(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    if name.len() <= 64 && name.chars().all(plain) { name.to_owned() } else { "a parameter".into() }
}

/// Refuses values that hold characters no stored value can hold, and values of spaces alone. Taken
/// for what is left without them, they would match everything.
fn check_text(tag: Tag, value: &str) -> Result<(), HttpError> {
    let wrong = if value.chars().any(char::is_control) {
        "a control character"
    } else if !value.is_empty() && value.trim().is_empty() {
        "nothing but spaces"
    } else {
        return Ok(());
    };
    let name = tag.keyword().map_or_else(|| tag.to_string(), str::to_owned);
    Err(HttpError::bad_request(format!("the value of {name} holds {wrong}")))
}

fn parse_number(name: &str, value: &str) -> Result<u32, HttpError> {
    let value = value.trim();
    value.parse().map_err(|_| {
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        HttpError::bad_request(if digits {
            format!("{name} is larger than {}, the maximum", u32::MAX)
        } else {
            format!("{name} is not a number of 0 or more")
        })
    })
}

fn parse_flag(name: &str, value: &str) -> Result<bool, HttpError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(HttpError::bad_request(format!("{name} is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use qianli_model::{StudyUid, tag};

    use super::*;

    fn parse(query: &str, level: Level) -> Search {
        Search::parse(query, level, None).expect("a legal query")
    }

    fn any(values: &[&str]) -> Rule {
        Rule::AnyOf(values.iter().map(|v| (*v).to_owned()).collect())
    }

    #[test]
    fn limits_and_offsets() {
        let check = |query: &str, limit: u32, ours: bool, offset: u32| {
            let search = parse(query, Level::Study);
            assert_eq!((search.limit, search.limited_by_us), (limit, ours), "{query}");
            assert_eq!((search.query.limit, search.query.offset), (limit + 1, offset), "{query}");
        };
        check("", DEFAULT_LIMIT, true, 0);
        check("limit=101&offset=202", 101, false, 202);
        check("Limit=0", 0, false, 0);
        check("limit=10000000", MAX_LIMIT, true, 0);
        for bad in ["limit=-1", "limit=x", "offset=", "fuzzymatching=maybe"] {
            let error = Search::parse(bad, Level::Study, None).expect_err(bad);
            assert_eq!(error.status(), 400, "{bad}");
        }
    }

    #[test]
    fn numbers_too_large_are_told_the_maximum() {
        for query in ["offset=4294967296", "offset=99999999999999999999", "limit=4294967296"] {
            let error = Search::parse(query, Level::Study, None).expect_err(query);
            assert!(error.message().contains("4294967295"), "{}", error.message());
        }
        assert_eq!(parse("offset=4294967295", Level::Study).query.offset, u32::MAX);
    }

    #[test]
    fn nonsense_never_widens_a_search() {
        for value in ["%00", "*%00", "A%00", "%0A", "%7F", "%C2%85", "%5C", "%5C%5C", "%20", "+"] {
            for name in ["PatientName", "PatientID", "StudyID", "StudyDate", "StudyInstanceUID"] {
                let query = format!("{name}={value}");
                let error = Search::parse(&query, Level::Study, None).expect_err(&query);
                assert_eq!(error.status(), 400, "{query}");
                assert!(error.message().contains(name), "{query}: {}", error.message());
            }
        }
        for value in ["", "*", "**"] {
            assert!(
                parse(&format!("PatientName={value}"), Level::Study).query.conditions.is_empty()
            );
        }
    }

    #[test]
    fn attributes_by_keyword_and_by_digits() {
        for query in ["PatientID=P1", "00100020=P1"] {
            let search = parse(query, Level::Study);
            let expected = Condition { attribute: Indexed::PatientId, rule: any(&["P1"]) };
            assert_eq!(search.query.conditions, [expected], "{query}");
            assert!(search.include.tags.contains(&tag::PATIENT_ID));
            assert!(search.warnings.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_matched_is_ignored_with_a_warning() {
        for query in ["Nonsense=1", "InstanceAvailability=ONLINE", "PatientID.PatientName=x"] {
            let search = parse(query, Level::Study);
            assert!(search.query.conditions.is_empty() && search.query.paths.is_empty(), "{query}");
            assert_eq!(search.warnings.len(), 1, "{query}");
        }
        let search = parse("%E7%8E%8B=1", Level::Study);
        assert_eq!(
            search.warnings,
            ["a parameter is not an attribute that can be matched; ignored"]
        );
        for query in ["Rows=", "InstanceAvailability=", "SpecificCharacterSet=ISO_IR%20192"] {
            assert!(parse(query, Level::Instance).warnings.is_empty(), "{query}");
        }
    }

    #[test]
    fn any_stored_attribute_can_be_matched() {
        for (query, path) in [
            ("0040A370.00080050=1", "0040A370.00080050"),
            ("RequestAttributesSequence.ScheduledProcedureStepID=1", "00400275.00400009"),
            ("00091001=1", "00091001"),
            ("Rows=1%5C2", "00280010"),
            ("PatientComments=%22%22", "00104000"),
        ] {
            let search = parse(query, Level::Study);
            assert_eq!(search.query.paths.len(), 1, "{query}");
            assert_eq!(search.query.paths[0].path.to_string(), path, "{query}");
            assert!(search.warnings.is_empty(), "{query}");
        }
        let search = parse("00091002=x&00090010=ACME", Level::Study);
        let creators: Vec<_> =
            search.query.paths.iter().map(|c| c.path.steps()[0].creator.as_deref()).collect();
        assert_eq!(creators, [Some("ACME")]);
        assert_eq!(parse("00090010=ACME", Level::Study).query.paths.len(), 1);
        for query in ["Rows=many", "SliceThickness=thick", "RequestAttributesSequence=1"] {
            let error = Search::parse(query, Level::Study, None).expect_err(query);
            assert_eq!(error.status(), 400, "{query}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("0009{:04X}=1", 0x1001 + n)).collect();
        assert!(Search::parse(&many.join("&"), Level::Study, None).is_err());
    }

    #[test]
    fn attributes_of_lower_levels_are_matched_too() {
        let search = parse("Modality=CT%5CMR", Level::Study);
        let expected = Condition { attribute: Indexed::Modality, rule: any(&["CT", "MR"]) };
        assert_eq!(search.query.conditions, [expected]);
        assert!(search.warnings.is_empty());
    }

    #[test]
    fn attributes_are_given_once() {
        for (query, named) in [
            ("PatientID=P1&PatientID=P2", vec!["PatientID"]),
            ("PatientID=P1&00100020=P2", vec!["PatientID", "00100020"]),
            ("PatientID=&PatientID=P2", vec!["PatientID"]),
            ("Rows=1&00280010=2", vec!["Rows", "00280010"]),
            ("Modality=CT&Modality=MR", vec!["Modality", "%5C"]),
            ("ModalitiesInStudy=CT&00080061=MR", vec!["ModalitiesInStudy", "00080061"]),
            ("StudyInstanceUID=1.2&0020000D=1.3", vec!["StudyInstanceUID", "0020000D"]),
            ("limit=1&limit=2", vec!["limit"]),
            ("fuzzymatching=true&FuzzyMatching=false", vec!["fuzzymatching"]),
        ] {
            let error = Search::parse(query, Level::Study, None).expect_err(query);
            assert_eq!(error.status(), 400, "{query}");
            for name in named {
                assert!(error.message().contains(name), "{query}: {}", error.message());
            }
        }
    }

    #[test]
    fn modalities_in_study_may_be_repeated() {
        let search = parse("00080061=CT&00080061=MR", Level::Study);
        let expected =
            Condition { attribute: Indexed::ModalitiesInStudy, rule: any(&["CT", "MR"]) };
        assert_eq!(search.query.conditions, [expected]);
    }

    #[test]
    fn repeated_uids_are_one_list_and_the_path_is_apart() {
        let within =
            Target { study: StudyUid::parse("1.9").expect("a UID"), series: None, instance: None };
        let query = "StudyInstanceUID=1.2&StudyInstanceUID=1.3%5C1.2";
        let search = Search::parse(query, Level::Series, Some(&within)).expect("a legal query");
        let attribute = Indexed::StudyInstanceUid;
        assert_eq!(
            search.query.conditions,
            [
                Condition { attribute, rule: any(&["1.2", "1.3"]) },
                Condition { attribute, rule: any(&["1.9"]) }
            ]
        );
    }

    #[test]
    fn include_fields_in_every_form() {
        let search = parse(
            "includefield=00081030,00080060&includefield=PatientAge&includefield=00400275.00400009",
            Level::Study,
        );
        let tags: Vec<String> = search.include.tags.iter().map(Tag::to_string).collect();
        assert_eq!(tags, ["00080060", "00081030", "00101010", "00400275"]);
        assert!(!search.include.all);
        assert!(parse("includefield=ALL", Level::Study).include.all);
        assert_eq!(parse("includefield=Nope", Level::Study).warnings.len(), 1);
    }

    #[test]
    fn flags() {
        let search = parse("fuzzymatching=true&count=true", Level::Study);
        assert!(search.query.fuzzy && search.count && search.warnings.is_empty());
        assert!(!parse("fuzzymatching=false", Level::Study).query.fuzzy);
    }

    #[test]
    fn lists_and_wildcards_are_bounded() {
        let list = |count: usize| {
            let uids: Vec<String> = (0..count).map(|i| format!("1.2.{i}")).collect();
            format!("StudyInstanceUID={}", uids.join(","))
        };
        let stars = |count: usize| format!("PatientName={}", "*a".repeat(count));
        for (legal, excessive) in [
            (list(MAX_VALUES), list(MAX_VALUES + 1)),
            (stars(MAX_STARS), stars(MAX_STARS + 1)),
            (list(MAX_VALUES), format!("{}&StudyInstanceUID=9", list(MAX_VALUES))),
        ] {
            assert!(Search::parse(&legal, Level::Study, None).is_ok());
            let error = Search::parse(&excessive, Level::Study, None).expect_err("too much");
            assert_eq!(error.status(), 400);
        }
    }

    #[test]
    fn impossible_values_are_refused_without_repeating_them() {
        let error = Search::parse("StudyDate=nonsense", Level::Study, None).expect_err("malformed");
        assert_eq!(error.status(), 400);
        assert!(!error.message().contains("nonsense"));
    }
}
