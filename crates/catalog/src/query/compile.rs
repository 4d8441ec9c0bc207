//! Compiles a query to one SELECT.
//!
//! Conditions of a lower level than the query's (a modality in a study query) become one subquery,
//! so that several of them speak of the same series; conditions of a higher level join upward.

use qianli_model::Scope;
use qianli_model::query::{Indexed, Level, Query, Rule};

use super::Dialect;
use super::rules::{Bind, Writer, time_of};
use crate::deletion::now_ms;
use crate::grants::reach::{Asked, condition};
use crate::index::Entry;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A page of rows; at instance level with the packed header, if asked.
    Rows { with_header: bool },
    /// The number of all rows.
    Count,
}

/// SQL and its bound values, `$1` first.
#[derive(Debug)]
pub(super) struct Statement {
    pub text: String,
    pub binds: Vec<Bind>,
}

const STUDY: &str = "s.study_uid, s.study_json, s.modalities, s.sop_classes, s.series_count,
    s.instance_count, s.size, s.updated_ms, s.patient_conflict";
const SERIES: &str = "r.series_uid, r.series_json, r.instance_count";
const INSTANCE: &str = "i.sop_uid, i.instance_json, i.transfer_syntax, i.blob_size";

const STUDY_ORDER: &str = "s.study_date DESC, s.study_time DESC, s.id DESC";
const SERIES_ORDER: &str = "r.series_number NULLS LAST, r.id";
const INSTANCE_ORDER: &str = "i.instance_number NULLS LAST, i.id";

/// Conditions by the level they speak of.
#[derive(Default)]
struct Conditions {
    study: Vec<String>,
    series: Vec<String>,
    instance: Vec<String>,
    /// Some condition finds series or instances wherever they belong: by UID or by an index.
    by_uid: bool,
}

pub(super) fn compile(
    dialect: Dialect,
    scope: &Scope,
    query: &Query,
    indexed: &[(&Entry, &Rule)],
    answer: Answer,
) -> Statement {
    let mut writer = Writer { dialect, binds: Vec::new() };
    let tenant = writer.number(scope.tenant().0);
    let mut conditions = collect(&mut writer, query);
    for (entry, rule) in indexed {
        let sql = writer.indexed(entry, rule);
        // An index finds few rows, like a UID; only absence is the rule rather than the exception.
        conditions.by_uid |= **rule != Rule::Empty;
        conditions.add(entry.level, sql);
    }
    conditions.study.insert(0, format!("s.tenant_id = {tenant}"));
    let asked = Asked { study: None, grant: None, now_ms: now_ms() };
    if let Some(seen) = condition(scope, asked, |number| writer.number(number)) {
        conditions.study.insert(1, seen);
    }
    let (columns, source, order) = match query.level {
        Level::Study => (STUDY.to_owned(), "studies s", STUDY_ORDER.to_owned()),
        Level::Series => (
            format!("{STUDY}, {SERIES}"),
            "studies s JOIN series r ON r.study_id = s.id",
            format!("{STUDY_ORDER}, {SERIES_ORDER}"),
        ),
        Level::Instance => (
            format!("{STUDY}, {SERIES}, {INSTANCE}"),
            "studies s JOIN series r ON r.study_id = s.id
            JOIN instances i ON i.series_id = r.id AND i.is_current",
            format!("{STUDY_ORDER}, {SERIES_ORDER}, {INSTANCE_ORDER}"),
        ),
    };
    let clause = clause(query.level, conditions);
    let text = match answer {
        Answer::Count => format!("SELECT COUNT(*) FROM {source} WHERE {clause}"),
        Answer::Rows { with_header } => {
            let header = if with_header { ", i.header" } else { "" };
            let limit = writer.number(i64::from(query.limit));
            let offset = writer.number(i64::from(query.offset));
            format!(
                "SELECT {columns}{header} FROM {source} WHERE {clause} ORDER BY {order}
                LIMIT {limit} OFFSET {offset}"
            )
        }
    };
    Statement { text, binds: writer.binds }
}

fn collect(writer: &mut Writer, query: &Query) -> Conditions {
    let mut conditions = Conditions::default();
    let mut done: Vec<Indexed> = Vec::new();
    if query.combined_datetime {
        for date in &query.conditions {
            let time = time_of(date.attribute);
            let Some(time) = query.conditions.iter().find(|c| Some(c.attribute) == time) else {
                continue;
            };
            if let Some(sql) = writer.instants(date.attribute, &date.rule, &time.rule) {
                conditions.add(date.attribute.level(), sql);
                done.extend([date.attribute, time.attribute]);
            }
        }
    }
    for condition in query.conditions.iter().filter(|c| !done.contains(&c.attribute)) {
        let attribute = condition.attribute;
        let sql = writer.condition(attribute, &condition.rule, query.fuzzy);
        let sql = match (attribute, &condition.rule) {
            (Indexed::ModalitiesInStudy, Rule::Empty) => "s.modalities = ''".to_owned(),
            (Indexed::ModalitiesInStudy, _) => {
                format!("EXISTS (SELECT 1 FROM series m WHERE m.study_id = s.id AND {sql})")
            }
            _ => sql,
        };
        let uids = [Indexed::SeriesInstanceUid, Indexed::SopInstanceUid];
        conditions.by_uid |= uids.contains(&attribute);
        conditions.add(attribute.level(), sql);
    }
    conditions
}

impl Conditions {
    fn add(&mut self, level: Level, sql: String) {
        match level {
            Level::Study => self.study.push(sql),
            Level::Series => self.series.push(sql),
            Level::Instance => self.instance.push(sql),
        }
    }
}

fn clause(level: Level, conditions: Conditions) -> String {
    let Conditions { mut study, mut series, instance, by_uid } = conditions;
    if level == Level::Instance {
        study.extend(series);
        study.extend(instance);
        return study.join(" AND ");
    }
    if level == Level::Series {
        if !instance.is_empty() {
            let source = "instances i";
            study.push(below("r.id", "i.series_id", source, "i.is_current", &instance, by_uid));
        }
        study.extend(series);
        return study.join(" AND ");
    }
    if instance.is_empty() && series.is_empty() {
        return study.join(" AND ");
    }
    let (source, current) = if instance.is_empty() {
        ("series r", "1 = 1")
    } else {
        ("series r JOIN instances i ON i.series_id = r.id", "i.is_current")
    };
    series.extend(instance);
    study.push(below("s.id", "r.study_id", source, current, &series, by_uid));
    study.join(" AND ")
}

/// A condition on what belongs to a row. A UID finds few rows, wherever they belong: those first
/// (IN). Anything else is better asked for each row that the other conditions leave (EXISTS).
fn below(
    key: &str,
    foreign: &str,
    source: &str,
    current: &str,
    conditions: &[String],
    by_uid: bool,
) -> String {
    let conditions = conditions.join(" AND ");
    if by_uid {
        format!("{key} IN (SELECT {foreign} FROM {source} WHERE {current} AND {conditions})")
    } else {
        format!(
            "EXISTS (SELECT 1 FROM {source} WHERE {foreign} = {key} AND {current} AND {conditions})"
        )
    }
}
