//! C-FIND of the query/retrieve models (PS3.4 sections C.4.1 and C.6): an identifier becomes the one
//! query that every face asks, and its rows become matches, a page at a time.
//!
//! Relational queries are always answered: whoever keeps to the hierarchy sees no difference.

use std::collections::{BTreeSet, HashSet};

use qianli_archive::{Archive, ArchiveError};
use qianli_catalog::AuditEntry;
use qianli_catalog::types::Found;
use qianli_dimse::Status;
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_model::audit::{Action, Outcome};
use qianli_model::identifier::{
    Answer, Identifier, NUMBER_OF_PATIENT_RELATED_INSTANCES, NUMBER_OF_PATIENT_RELATED_SERIES,
    NUMBER_OF_PATIENT_RELATED_STUDIES, QUERY_RETRIEVE_LEVEL, QueryLevel, RETRIEVE_AE_TITLE,
    attributes, joined,
};
use qianli_model::query::{Indexed, Level, Path, PathCondition, Rule, parse_path_rule, parse_rule};
use qianli_model::write::Form;
use qianli_model::{Query, Scope, Tag, tag};
use serde_json::{Map, Value, json};

use super::models::{self, Root};
use crate::app::now_ms;

/// Rows that are read of the index at once.
const PAGE: u32 = 500;

/// The same for rows with whole headers.
const PAGE_WITH_HEADERS: u32 = 100;

/// Most values of one key, and most `*` in one of them: together with the next they keep a query from
/// costing the database out of proportion.
const MAX_VALUES: usize = 500;
const MAX_STARS: usize = 16;

/// Most keys that are matched without a column of the index.
const MAX_PATHS: usize = 16;

/// Patients that one query may name: each of them is remembered until its end.
const MAX_PATIENTS: usize = 200_000;

/// Keys that are no matching keys: they say how to read the identifier, or are computed.
const NOT_MATCHED: &[Tag] = &[
    tag::SPECIFIC_CHARACTER_SET,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    tag::TIMEZONE_OFFSET_FROM_UTC,
    tag::INSTANCE_AVAILABILITY,
    tag::SOP_CLASSES_IN_STUDY,
    tag::AVAILABLE_TRANSFER_SYNTAX_UID,
    NUMBER_OF_PATIENT_RELATED_STUDIES,
    NUMBER_OF_PATIENT_RELATED_SERIES,
    NUMBER_OF_PATIENT_RELATED_INSTANCES,
    tag::NUMBER_OF_STUDY_RELATED_SERIES,
    tag::NUMBER_OF_STUDY_RELATED_INSTANCES,
    tag::NUMBER_OF_SERIES_RELATED_INSTANCES,
];

/// What the index keeps of an instance; any other key at that level is looked up in its header.
const INDEXED_INSTANCE: &[Tag] =
    &[tag::SOP_CLASS_UID, tag::SOP_INSTANCE_UID, tag::INSTANCE_NUMBER, tag::ROWS, tag::COLUMNS];

/// A query, ready to be asked.
struct Search {
    level: QueryLevel,
    query: Query,
    /// Every key, in the order of tags, with what was asked of it.
    keys: Vec<(Tag, Value)>,
    form: Form,
    /// Some key could not be matched (PS3.4 table C.4-1, FF01).
    partial: bool,
    /// Keywords of what was matched, for the audit trail.
    by: BTreeSet<String>,
    retrieve_from: String,
}

/// Answers a C-FIND.
pub(super) async fn find(
    archive: &Archive,
    scope: &Scope,
    request: &OperationRequest,
    exchange: &mut Exchange,
) {
    let search = match Search::read(request) {
        Ok(search) => search,
        Err(reply) => return exchange.reply(reply).await,
    };
    let mut matches = 0_u64;
    let result = search.run(archive, scope, exchange, &mut matches).await;
    let reply = match result {
        Ok(true) => Reply::success(),
        Ok(false) => Reply::new(Status::CANCEL),
        Err(error) => {
            tracing::error!(%error, "a C-FIND of {} failed", request.association.calling);
            models::failed(&error)
        }
    };
    tracing::debug!(level = search.level.as_str(), matches, "answered a C-FIND");
    let outcome = if reply.status.is_done() { Outcome::Success } else { Outcome::Failed };
    let mut entry = AuditEntry::new(scope, Action::Search, outcome, now_ms());
    if !search.by.is_empty() {
        entry = entry.with(&json!({ "by": search.by }));
    }
    if let Err(error) = archive.catalog().note_audit(entry).await {
        tracing::error!(%error, "a C-FIND is not in the audit trail");
    }
    exchange.reply(reply).await;
}

impl Search {
    /// Reads an identifier, or says what is wrong with it.
    fn read(request: &OperationRequest) -> Result<Self, Reply> {
        let (root, identifier, level) = models::read(request)?;
        let has_level = match root {
            Root::Patient => true,
            Root::Study => level != QueryLevel::Patient,
            Root::PatientStudyOnly => level <= QueryLevel::Study,
        };
        if !has_level {
            let comment = format!("this model has no level {}", level.as_str());
            return Err(models::mismatch(&comment, QUERY_RETRIEVE_LEVEL));
        }
        let mut search = Self {
            level,
            query: Query {
                // Only on request, by extended negotiation (PS3.4 section C.5.1.1).
                combined_datetime: request.context.extended.datetime,
                fuzzy: request.context.extended.fuzzy,
                ..Query::all(
                    match level {
                        QueryLevel::Patient | QueryLevel::Study => Level::Study,
                        QueryLevel::Series => Level::Series,
                        QueryLevel::Image => Level::Instance,
                    },
                    PAGE,
                )
            },
            keys: Vec::new(),
            form: identifier.form(request.context.transfer_syntax),
            partial: identifier.is_partial,
            by: BTreeSet::new(),
            retrieve_from: request.association.called.to_string(),
        };
        let mut keys: Vec<(Tag, &Value)> = identifier.all().collect();
        keys.sort_unstable_by_key(|(tag, _)| *tag);
        for (tag, value) in keys {
            if tag.is_group_length() {
                continue;
            }
            search.keys.push((tag, value.clone()));
            if !NOT_MATCHED.contains(&tag) && !is_creator(tag) {
                search.key(tag, value, &identifier)?;
            }
        }
        search.query.with_headers = search.needs_headers();
        if search.query.with_headers {
            search.query.limit = PAGE_WITH_HEADERS;
        }
        Ok(search)
    }

    /// Adds what one key asks for.
    fn key(&mut self, tag: Tag, value: &Value, identifier: &Identifier) -> Result<(), Reply> {
        if value.get("vr").and_then(Value::as_str) == Some("SQ") {
            return self.sequence(&tag.to_string(), value, tag, 1);
        }
        let text = joined(value);
        if text.is_empty() {
            return Ok(());
        }
        check_size(&text, tag)?;
        if let Some(attribute) = Indexed::from_tag(tag) {
            let rule = parse_rule(attribute, &text).map_err(|error| unreadable(&error, tag))?;
            if let Some(rule) = rule {
                self.by.insert(tag.keyword().unwrap_or("attribute").to_owned());
                self.query = std::mem::replace(&mut self.query, Query::all(Level::Study, 0))
                    .with(attribute, rule);
            }
            return Ok(());
        }
        let Some(mut path) = Path::parse(&tag.to_string()) else {
            self.partial = true;
            return Ok(());
        };
        if tag.is_private() {
            let block = tag.element.to_be_bytes()[0];
            let creator = Tag { group: tag.group, element: u16::from(block) };
            let Some(creator) = identifier.text(creator) else {
                // Nobody knows what it means without its creator.
                self.partial = true;
                return Ok(());
            };
            path = path.with_creator(tag.group, block, &creator);
        }
        self.path(path, &text, tag)
    }

    /// Adds the keys of a sequence's item (PS3.4 section C.2.2.2.6).
    fn sequence(
        &mut self,
        path: &str,
        value: &Value,
        outermost: Tag,
        depth: usize,
    ) -> Result<(), Reply> {
        let items = value.get("Value").and_then(Value::as_array);
        let Some(item) = items.and_then(|items| items.first()?.as_object()) else { return Ok(()) };
        for (tag, value) in attributes(item) {
            if tag.is_group_length() || tag == tag::SPECIFIC_CHARACTER_SET || is_creator(tag) {
                continue;
            }
            let path = format!("{path}.{tag}");
            if value.get("vr").and_then(Value::as_str) == Some("SQ") {
                if depth >= 8 {
                    self.partial = true;
                    continue;
                }
                self.sequence(&path, value, outermost, depth + 1)?;
                continue;
            }
            let text = joined(value);
            if text.is_empty() {
                continue;
            }
            check_size(&text, tag)?;
            match Path::parse(&path) {
                Some(path) => self.path(path, &text, outermost)?,
                None => self.partial = true,
            }
        }
        Ok(())
    }

    fn path(&mut self, path: Path, text: &str, offending: Tag) -> Result<(), Reply> {
        let rule: Option<Rule> =
            parse_path_rule(&path, text).map_err(|error| unreadable(&error, offending))?;
        let Some(rule) = rule else { return Ok(()) };
        if self.query.paths.len() == MAX_PATHS {
            let comment = format!("more than {MAX_PATHS} keys that are not indexed");
            return Err(models::mismatch(&comment, offending));
        }
        self.by.insert(path.to_string());
        self.query.paths.push(PathCondition { path, rule });
        Ok(())
    }

    /// Whether the stored headers of instances have to be read for the keys.
    fn needs_headers(&self) -> bool {
        let beyond = |tag: Tag| {
            !NOT_MATCHED.contains(&tag)
                && !INDEXED_INSTANCE.contains(&tag)
                && Indexed::from_tag(tag).is_none()
        };
        self.level == QueryLevel::Image && self.keys.iter().any(|(tag, _)| beyond(*tag))
    }

    /// Sends every match. False when it was cancelled.
    async fn run(
        &self,
        archive: &Archive,
        scope: &Scope,
        exchange: &mut Exchange,
        matches: &mut u64,
    ) -> Result<bool, ArchiveError> {
        let mut query = self.query.clone();
        let mut patients = HashSet::new();
        loop {
            let page = archive.find(scope, &query).await?;
            let rows = u32::try_from(page.len()).unwrap_or(u32::MAX);
            for found in &page {
                if exchange.is_cancelled() {
                    return Ok(false);
                }
                let row = Row::new(found);
                let mut answer = self.answer(&row);
                if self.level == QueryLevel::Patient {
                    let patient = (row.text(tag::PATIENT_ID), row.text(tag::ISSUER_OF_PATIENT_ID));
                    if patients.contains(&patient) {
                        continue;
                    }
                    if patients.len() == MAX_PATIENTS {
                        return Err(ArchiveError::Damaged("too many patients match".into()));
                    }
                    self.count_patient(archive, scope, &patient, &mut answer).await?;
                    patients.insert(patient);
                }
                match answer.encode(&self.form) {
                    Ok(bytes) => {
                        *matches += 1;
                        let status = if self.partial {
                            Status::PENDING_WITH_WARNING
                        } else {
                            Status::PENDING
                        };
                        exchange.reply(Reply { status, ..Reply::matched(bytes) }).await;
                    }
                    Err(error) => tracing::error!(%error, "a match cannot be written"),
                }
            }
            if rows < query.limit {
                return Ok(true);
            }
            query.offset = query.offset.saturating_add(rows);
        }
    }

    /// One match: every key that was asked for, with a value or without.
    fn answer(&self, row: &Row<'_>) -> Answer {
        let mut answer = Answer::default();
        for (tag, asked) in &self.keys {
            if *tag == tag::SPECIFIC_CHARACTER_SET || is_creator(*tag) {
                continue;
            }
            if !row.compute(*tag, &mut answer) {
                let value = match row.value(*tag) {
                    Some(value) => narrowed(value, asked),
                    None => json!({ "vr": asked.get("vr").cloned().unwrap_or("UN".into()) }),
                };
                answer.set(*tag, value);
            }
        }
        answer.set_text(QUERY_RETRIEVE_LEVEL, "CS", [self.level.as_str()]);
        answer.set_text(RETRIEVE_AE_TITLE, "AE", [self.retrieve_from.as_str()]);
        answer
    }

    /// Fills in the counts of a patient, where they are asked for.
    async fn count_patient(
        &self,
        archive: &Archive,
        scope: &Scope,
        (id, issuer): &(String, String),
        answer: &mut Answer,
    ) -> Result<(), ArchiveError> {
        let counts = [
            NUMBER_OF_PATIENT_RELATED_STUDIES,
            NUMBER_OF_PATIENT_RELATED_SERIES,
            NUMBER_OF_PATIENT_RELATED_INSTANCES,
        ];
        if !counts.iter().any(|tag| answer.has(*tag)) {
            return Ok(());
        }
        let studies = archive.find(scope, &models::of_patient(id, Some(issuer), 10_000)).await?;
        let sum = |count: fn(&Found) -> i64| studies.iter().map(count).sum::<i64>();
        let numbers = [
            i64::try_from(studies.len()).unwrap_or(i64::MAX),
            sum(|found| found.study.series_count),
            sum(|found| found.study.instance_count),
        ];
        for (tag, number) in counts.into_iter().zip(numbers) {
            if answer.has(tag) {
                answer.set_number(tag, "IS", number);
            }
        }
        Ok(())
    }
}

/// A row of the index with its stored attributes.
struct Row<'a> {
    found: &'a Found,
    /// The narrowest level first.
    parts: Vec<Map<String, Value>>,
}

impl<'a> Row<'a> {
    fn new(found: &'a Found) -> Self {
        let object = |json: &[u8]| serde_json::from_slice(json).unwrap_or_default();
        let mut parts = Vec::with_capacity(4);
        if let Some(instance) = &found.instance {
            parts.extend(instance.header.as_deref().map(object));
            parts.push(object(instance.json.as_bytes()));
        }
        parts.extend(found.series.as_ref().map(|series| object(series.json.as_bytes())));
        parts.push(object(found.study.json.as_bytes()));
        Self { found, parts }
    }

    fn value(&self, tag: Tag) -> Option<&Value> {
        let key = tag.to_string();
        self.parts.iter().find_map(|part| part.get(&key))
    }

    fn text(&self, tag: Tag) -> String {
        self.value(tag).map(joined).unwrap_or_default()
    }

    /// Sets what is no stored attribute. False when it is one.
    fn compute(&self, tag: Tag, answer: &mut Answer) -> bool {
        let Found { study, series, instance } = self.found;
        match tag {
            tag::STUDY_INSTANCE_UID => answer.set_text(tag, "UI", [study.uid.as_str()]),
            tag::SERIES_INSTANCE_UID => {
                answer.set_text(tag, "UI", series.iter().map(|row| row.uid.as_str()));
            }
            tag::SOP_INSTANCE_UID => {
                answer.set_text(tag, "UI", instance.iter().map(|row| row.uid.as_str()));
            }
            tag::MODALITIES_IN_STUDY => {
                answer.set_text(tag, "CS", study.modalities.iter().map(String::as_str));
            }
            tag::SOP_CLASSES_IN_STUDY => {
                answer.set_text(tag, "UI", study.sop_classes.iter().map(String::as_str));
            }
            tag::INSTANCE_AVAILABILITY => answer.set_text(tag, "CS", ["ONLINE"]),
            tag::AVAILABLE_TRANSFER_SYNTAX_UID => {
                let syntax = instance.iter().map(|row| row.transfer_syntax.as_str());
                answer.set_text(tag, "UI", syntax);
            }
            tag::NUMBER_OF_STUDY_RELATED_SERIES => answer.set_number(tag, "IS", study.series_count),
            tag::NUMBER_OF_STUDY_RELATED_INSTANCES => {
                answer.set_number(tag, "IS", study.instance_count);
            }
            tag::NUMBER_OF_SERIES_RELATED_INSTANCES => match series {
                Some(series) => answer.set_number(tag, "IS", series.instance_count),
                None => answer.set_text(tag, "IS", []),
            },
            NUMBER_OF_PATIENT_RELATED_STUDIES
            | NUMBER_OF_PATIENT_RELATED_SERIES
            | NUMBER_OF_PATIENT_RELATED_INSTANCES => answer.set_text(tag, "IS", []),
            _ => return false,
        }
        true
    }
}

/// What is returned of a stored attribute: of sequences the attributes that were asked for, all of
/// them when none was. Values behind a URI stay where they are.
fn narrowed(stored: &Value, asked: &Value) -> Value {
    let Some(object) = stored.as_object() else { return json!({ "vr": "UN" }) };
    if object.contains_key("BulkDataURI") {
        return json!({ "vr": object.get("vr").cloned().unwrap_or("UN".into()) });
    }
    let first = |value: &Value| {
        let items = value.get("Value").and_then(Value::as_array);
        items.and_then(|items| items.first()?.as_object().cloned())
    };
    let wanted = match object.get("vr").and_then(Value::as_str) {
        Some("SQ") => first(asked).filter(|item| !item.is_empty()),
        _ => None,
    };
    let Some(wanted) = wanted else { return stored.clone() };
    let items = stored.get("Value").and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_object).map(|item| {
        let kept = wanted.iter().map(|(key, asked)| {
            let value = item.get(key).map(|value| narrowed(value, asked));
            let empty = || json!({ "vr": asked.get("vr").cloned().unwrap_or("UN".into()) });
            (key.clone(), value.unwrap_or_else(empty))
        });
        Value::Object(kept.collect())
    });
    json!({ "vr": "SQ", "Value": items.collect::<Vec<_>>() })
}

/// Whether an element names the creator of private elements (PS3.5 section 7.8.1).
fn is_creator(tag: Tag) -> bool {
    tag.is_private() && (0x0010..=0x00FF).contains(&tag.element)
}

fn check_size(text: &str, tag: Tag) -> Result<(), Reply> {
    let most = text.split('\\').map(|one| one.matches('*').count()).max().unwrap_or_default();
    if text.split('\\').count() > MAX_VALUES || most > MAX_STARS {
        let comment = format!("a key has more than {MAX_VALUES} values or {MAX_STARS} asterisks");
        return Err(models::mismatch(&comment, tag));
    }
    Ok(())
}

fn unreadable(error: &qianli_model::query::MatchValueError, tag: Tag) -> Reply {
    models::mismatch(&error.to_string(), tag)
}
