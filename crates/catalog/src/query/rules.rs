//! Compiles one condition to SQL. Values are only ever bound, never written into the text; column
//! names come from the tables here, never from a caller.

use qianli_model::query::{Indexed, Kind, Level, Rule, stored};
use qianli_model::sounds::{self, Token};

use super::Dialect;
use super::pattern::{AFTER_ALL, Pattern};
use crate::backfill::table_of;
use crate::index::Entry;
use crate::keys::{bounded, group_key, text_key};

/// A bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bind {
    Text(String),
    Number(i64),
}

/// Collects bound values while SQL is written.
#[derive(Debug)]
pub(super) struct Writer {
    pub dialect: Dialect,
    pub binds: Vec<Bind>,
}

/// Columns of the person names, in the order of component groups.
const PATIENT_NAME: [&str; 3] =
    ["s.name_alphabetic_key", "s.name_ideographic_key", "s.name_phonetic_key"];
const REFERRING_PHYSICIAN: [&str; 3] =
    ["s.referring_alphabetic_key", "s.referring_ideographic_key", "s.referring_phonetic_key"];

/// The columns that an attribute is kept in: three for a person name, one for the rest.
fn columns(attribute: Indexed) -> &'static [&'static str] {
    match attribute {
        Indexed::PatientId => &["s.patient_id_key"],
        Indexed::IssuerOfPatientId => &["s.issuer_key"],
        Indexed::PatientName => &PATIENT_NAME,
        Indexed::PatientBirthDate => &["s.birth_date"],
        Indexed::PatientSex => &["s.sex_key"],
        Indexed::StudyInstanceUid => &["s.study_uid"],
        Indexed::StudyDate => &["s.study_date"],
        Indexed::StudyTime => &["s.study_time"],
        Indexed::AccessionNumber => &["s.accession_key"],
        Indexed::StudyId => &["s.study_id_key"],
        Indexed::StudyDescription => &["s.description_key"],
        Indexed::ReferringPhysicianName => &REFERRING_PHYSICIAN,
        Indexed::ModalitiesInStudy => &["m.modality_key"],
        Indexed::SeriesInstanceUid => &["r.series_uid"],
        Indexed::Modality => &["r.modality_key"],
        Indexed::SeriesNumber => &["r.series_number"],
        Indexed::SeriesDescription => &["r.description_key"],
        Indexed::BodyPartExamined => &["r.body_part_key"],
        Indexed::StationName => &["r.station_name_key"],
        Indexed::InstitutionName => &["r.institution_key"],
        Indexed::SeriesDate => &["r.series_date"],
        Indexed::SeriesTime => &["r.series_time"],
        Indexed::PerformedProcedureStepStartDate => &["r.pps_start_date"],
        Indexed::PerformedProcedureStepStartTime => &["r.pps_start_time"],
        Indexed::SopInstanceUid => &["i.sop_uid"],
        Indexed::SopClassUid => &["i.sop_class_uid"],
        Indexed::InstanceNumber => &["i.instance_number"],
    }
}

/// Whether SQLite's trigram table has the column.
fn has_trigrams(column: &str) -> bool {
    PATIENT_NAME.contains(&column)
        || ["s.patient_id_key", "s.accession_key", "s.description_key"].contains(&column)
}

/// Shortest text that a trigram index finds (characters).
const TRIGRAM: usize = 3;

const NOTHING: &str = "1 = 0";
const EVERYTHING: &str = "1 = 1";

impl Writer {
    pub(super) fn number(&mut self, number: i64) -> String {
        self.binds.push(Bind::Number(number));
        format!("${}", self.binds.len())
    }

    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        // Postgres has no NUL in text; no stored value has one, so nothing can match it either way.
        self.binds.push(Bind::Text(text.into().replace('\0', "\u{FFFD}")));
        format!("${}", self.binds.len())
    }

    /// A condition on one attribute.
    pub(super) fn condition(&mut self, attribute: Indexed, rule: &Rule, fuzzy: bool) -> String {
        let columns = columns(attribute);
        let column = columns.first().copied().unwrap_or_default();
        match (rule, attribute.kind()) {
            (Rule::Empty, Kind::Number) => format!("{column} IS NULL"),
            (Rule::Empty, _) => {
                let all: Vec<String> = columns.iter().map(|c| format!("{c} = ''")).collect();
                format!("({})", all.join(" AND "))
            }
            (Rule::Range(from, to), Kind::Number) => self.number_range(column, from, to),
            (Rule::Range(from, to), kind) => self.range(column, kind, from, to),
            (Rule::AnyOf(values), kind) => {
                let any: Vec<String> =
                    values.iter().map(|value| self.value(columns, kind, value, fuzzy)).collect();
                if any.is_empty() { NOTHING.into() } else { format!("({})", any.join(" OR ")) }
            }
        }
    }

    /// One value of a list.
    fn value(&mut self, columns: &[&str], kind: Kind, value: &str, fuzzy: bool) -> String {
        let column = columns.first().copied().unwrap_or_default();
        match kind {
            Kind::Text => self.folded(columns, value, &text_key(value)),
            Kind::PersonName => self.name(columns, value, fuzzy),
            Kind::Uid | Kind::Date => format!("{column} = {}", self.text(value.trim())),
            // A time of less precision means the whole hour, minute or second.
            Kind::Time => {
                let digits: String = value.trim().chars().filter(|c| *c != ':').collect();
                self.pattern(columns, &Pattern::Prefix(digits))
            }
            // Only attributes in tables of their own are of these kinds; numbers are text there.
            Kind::Decimal => format!("{column} = {}", self.text(stored::key(kind, value))),
            Kind::DateTime => self.pattern(columns, &Pattern::Prefix(stored::key(kind, value))),
            Kind::Number => match value.trim().parse() {
                Ok(number) => format!("{column} = {}", self.number(number)),
                Err(_) => NOTHING.into(),
            },
        }
    }

    /// A person name matches when one component group does. A value that has several groups itself
    /// must match in each that it fills.
    fn name(&mut self, columns: &[&str], value: &str, fuzzy: bool) -> String {
        if value.contains('=') {
            let groups: Vec<String> = value
                .split('=')
                .zip(columns)
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, column)| self.folded(&[column], group, &group_key(group)))
                .collect();
            return if groups.is_empty() {
                NOTHING.into()
            } else {
                format!("({})", groups.join(" AND "))
            };
        }
        let key = group_key(value);
        let literal = self.folded(columns, value, &key);
        let asked = if fuzzy { sounds::asked(value) } else { Vec::new() };
        if asked.is_empty() {
            return literal;
        }
        let mut ways = vec![literal];
        // Words anywhere in the name, where an index finds them.
        let words = || key.split(' ');
        if !key.contains(['*', '?']) && words().all(|word| word.chars().count() >= TRIGRAM) {
            let all: Vec<String> =
                words().map(|word| self.pattern(columns, &Pattern::containing(word))).collect();
            ways.push(format!("({})", all.join(" AND ")));
        }
        let sounds = if columns == PATIENT_NAME { "name_sounds" } else { "referring_sounds" };
        self.either(&ways.join(" OR "), sounds, &asked)
    }

    /// Rows of studies that fulfil a condition or have a name that sounds as asked.
    fn either(&mut self, condition: &str, column: &str, asked: &[Vec<Token>]) -> String {
        match self.dialect {
            Dialect::Postgres => {
                let needle = self.text(ts_query(asked));
                format!(
                    "({condition} OR array_to_tsvector(string_to_array(s.{column}, ' ')) @@
                    {needle}::text::tsquery)"
                )
            }
            // Each way by its own index; the tenant is always the first value.
            Dialect::Sqlite => {
                let needle = self.text(format!("{column} : ({})", full_text_query(asked)));
                let condition = condition.replace("s.", "x.");
                format!(
                    "s.id IN (SELECT x.id FROM studies x WHERE x.tenant_id = $1 AND ({condition})
                    UNION SELECT rowid FROM study_sounds WHERE study_sounds MATCH {needle})"
                )
            }
        }
    }

    /// A condition on an attribute that has an index instead of a column.
    pub(super) fn indexed(&mut self, entry: &Entry, rule: &Rule) -> String {
        let (table, owner) = table_of(entry.level);
        let key = match entry.level {
            Level::Study => "s.id",
            Level::Series => "r.id",
            Level::Instance => "i.id",
        };
        let name = self.text(entry.name.as_str());
        let among = |condition: &str| {
            format!("{key} IN (SELECT {owner} FROM {table} WHERE attribute = {name}{condition})")
        };
        match rule {
            Rule::Empty => format!("NOT {}", among("")),
            Rule::Range(from, to) => {
                let kind = entry.kind;
                among(&format!(" AND {}", self.range("value", kind, from, to)))
            }
            Rule::AnyOf(values) => {
                let any: Vec<String> = values
                    .iter()
                    .map(|value| match entry.kind {
                        // Each group of a name has a row of its own.
                        Kind::PersonName if value.contains('=') => {
                            let groups = value.split('=').filter(|group| !group.is_empty());
                            let each: Vec<String> = groups
                                .map(|group| {
                                    let sql = self.folded(&["value"], group, &group_key(group));
                                    among(&format!(" AND {sql}"))
                                })
                                .collect();
                            if each.is_empty() { NOTHING.into() } else { each.join(" AND ") }
                        }
                        Kind::PersonName => {
                            let sql = self.folded(&["value"], value, &group_key(value));
                            among(&format!(" AND {sql}"))
                        }
                        Kind::Number => {
                            let sql = self.text(bounded(&stored::key(entry.kind, value)));
                            among(&format!(" AND value = {sql}"))
                        }
                        kind => {
                            let sql = self.value(&["value"], kind, value, false);
                            among(&format!(" AND {sql}"))
                        }
                    })
                    .collect();
                if any.is_empty() { NOTHING.into() } else { format!("({})", any.join(" OR ")) }
            }
        }
    }

    /// A value by its key. Where folding left nothing of the value, nothing matches: compared as it
    /// is, the empty key would find every row whose column is empty.
    fn folded(&mut self, columns: &[&str], value: &str, key: &str) -> String {
        let is_star = |c: char| c == '*' || c == '^' || c == ',' || c.is_whitespace();
        let lost = key.is_empty() || (key.chars().all(|c| c == '*') && !value.chars().all(is_star));
        if lost { NOTHING.into() } else { self.pattern(columns, &Pattern::parse(key)) }
    }

    fn pattern(&mut self, columns: &[&str], pattern: &Pattern) -> String {
        let any = match pattern {
            Pattern::Anything => return EVERYTHING.into(),
            Pattern::Exact(text) => {
                let value = self.text(text.as_str());
                columns.iter().map(|c| format!("{c} = {value}")).collect::<Vec<_>>().join(" OR ")
            }
            Pattern::Prefix(prefix) => {
                let from = self.text(prefix.as_str());
                let to = self.text(format!("{prefix}{AFTER_ALL}"));
                let ranges: Vec<String> =
                    columns.iter().map(|c| format!("({c} >= {from} AND {c} < {to})")).collect();
                ranges.join(" OR ")
            }
            Pattern::Like { like, literal } => return self.like(columns, like, literal),
        };
        format!("({any})")
    }

    fn like(&mut self, columns: &[&str], like: &str, literal: &str) -> String {
        let value = self.text(like);
        let escape = match self.dialect {
            // The default, and the form that a trigram index understands.
            Dialect::Postgres => "",
            Dialect::Sqlite => " ESCAPE '\\'",
        };
        let likes: Vec<String> =
            columns.iter().map(|c| format!("{c} LIKE {value}{escape}")).collect();
        let likes = format!("({})", likes.join(" OR "));
        let indexed = columns.iter().all(|column| has_trigrams(column));
        if self.dialect == Dialect::Postgres || !indexed || literal.chars().count() < TRIGRAM {
            return likes;
        }
        // The trigram table finds candidates by the longest literal part; LIKE decides.
        let names: Vec<&str> =
            columns.iter().map(|column| column.trim_start_matches("s.")).collect();
        let phrase = literal.replace('"', "\"\"");
        let needle = self.text(format!("{{{}}} : \"{phrase}\"", names.join(" ")));
        format!(
            "(s.id IN (SELECT rowid FROM study_search WHERE study_search MATCH {needle}) AND {likes})"
        )
    }

    fn range(
        &mut self,
        column: &str,
        kind: Kind,
        from: &Option<String>,
        to: &Option<String>,
    ) -> String {
        if let (Kind::Time, Some(from), Some(to)) = (kind, from, to)
            && from > to
        {
            // Past midnight.
            let (from, to) = (self.text(from.as_str()), self.text(format!("{to}{AFTER_ALL}")));
            return format!("(({column} >= {from} OR {column} < {to}) AND {column} <> '')");
        }
        let mut parts = vec![format!("{column} <> ''")];
        if let Some(from) = from {
            parts.push(format!("{column} >= {}", self.text(from.as_str())));
        }
        if let Some(to) = to {
            // What begins with the upper bound is still inside it.
            parts.push(format!("{column} < {}", self.text(format!("{to}{AFTER_ALL}"))));
        }
        format!("({})", parts.join(" AND "))
    }

    fn number_range(&mut self, column: &str, from: &Option<String>, to: &Option<String>) -> String {
        let mut parts = vec![format!("{column} IS NOT NULL")];
        for (bound, operator) in [(from, ">="), (to, "<=")] {
            let Some(bound) = bound else { continue };
            match bound.trim().parse() {
                Ok(number) => parts.push(format!("{column} {operator} {}", self.number(number))),
                Err(_) => return NOTHING.into(),
            }
        }
        format!("({})", parts.join(" AND "))
    }

    /// A range of instants over a date and a time column (PS3.4 C.2.2.2.5).
    pub(super) fn instants(&mut self, date: Indexed, days: &Rule, times: &Rule) -> Option<String> {
        let time = time_of(date)?;
        let (from_day, to_day) = match days {
            Rule::Range(from, to) => (from.clone(), to.clone()),
            Rule::AnyOf(values) => match values.as_slice() {
                [day] => (Some(day.clone()), Some(day.clone())),
                _ => return None,
            },
            Rule::Empty => return None,
        };
        let Rule::Range(from_time, to_time) = times else { return None };
        let (date, time) = (columns(date).first()?, columns(time).first()?);
        let mut parts = vec![self.range(date, Kind::Date, &from_day, &to_day)];
        if let (Some(day), Some(instant)) = (&from_day, from_time) {
            let (day, instant) = (self.text(day.as_str()), self.text(instant.as_str()));
            parts.push(format!("({date} > {day} OR {time} >= {instant})"));
        }
        if let (Some(day), Some(instant)) = (&to_day, to_time) {
            let day = self.text(day.as_str());
            let instant = self.text(format!("{instant}{AFTER_ALL}"));
            parts.push(format!("({date} < {day} OR ({time} < {instant} AND {time} <> ''))"));
        }
        Some(format!("({})", parts.join(" AND ")))
    }
}

/// The time that belongs to a date.
pub(super) fn time_of(date: Indexed) -> Option<Indexed> {
    match date {
        Indexed::StudyDate => Some(Indexed::StudyTime),
        Indexed::SeriesDate => Some(Indexed::SeriesTime),
        Indexed::PerformedProcedureStepStartDate => Some(Indexed::PerformedProcedureStepStartTime),
        _ => None,
    }
}

/// What is asked as a `tsquery`. Search words are ASCII letters and digits: nothing to escape.
fn ts_query(asked: &[Vec<Token>]) -> String {
    join(asked, " | ", " & ", |token| {
        format!("'{}'{}", token.text, if token.prefix { ":*" } else { "" })
    })
}

/// What is asked as a query of FTS5.
fn full_text_query(asked: &[Vec<Token>]) -> String {
    join(asked, " OR ", " AND ", |token| {
        format!("\"{}\"{}", token.text, if token.prefix { " *" } else { "" })
    })
}

fn join(
    asked: &[Vec<Token>],
    or: &str,
    and: &str,
    write: impl Fn(&Token) -> String + Copy,
) -> String {
    let words = asked
        .iter()
        .map(|tokens| format!("({})", tokens.iter().map(write).collect::<Vec<_>>().join(or)));
    words.collect::<Vec<_>>().join(and)
}
