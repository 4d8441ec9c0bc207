//! Reading the query string of a search for workitems (PS3.18 sections 8.3.4 and 11.9).

use std::collections::BTreeSet;

use qianli_model::Tag;
use qianli_model::tag::SOP_INSTANCE_UID;
use qianli_model::workitem::search::{self, MAX_CONDITIONS};
use qianli_model::workitem::{DataSet, rules};

use super::super::params;
use crate::error::HttpError;

/// Rows of an answer when the client sets no limit.
const DEFAULT_LIMIT: u32 = 1_000;

/// Most rows of an answer.
const MAX_LIMIT: u32 = 10_000;

/// A search, ready to be run.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// Asks for one row more than `limit`, which tells whether there are more.
    pub(super) query: search::Search,
    pub(super) limit: usize,
    /// The limit is ours, not the client's.
    pub(super) limited_by_us: bool,
    /// The client wants to know how many workitems there are without the page.
    pub(super) count: bool,
    pub(super) warnings: Vec<String>,
    include_all: bool,
    include: BTreeSet<Tag>,
    /// What was matched so far.
    named: Vec<Vec<Tag>>,
}

impl Search {
    pub(super) fn parse(query: &str) -> Result<Self, HttpError> {
        let mut search = Self {
            query: search::Search { limit: DEFAULT_LIMIT, ..search::Search::default() },
            limit: 0,
            limited_by_us: true,
            count: false,
            warnings: Vec::new(),
            include_all: false,
            include: rules::RULES.iter().map(|rule| rule.tag).collect(),
            named: Vec::new(),
        };
        params::once(query, &["limit", "offset", "fuzzymatching", "count"])?;
        for (name, value) in params::pairs(query) {
            search.parameter(&name, &value)?;
        }
        search.limit = search.query.limit as usize;
        search.query.limit = search.query.limit.saturating_add(1);
        Ok(search)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        match name.to_ascii_lowercase().as_str() {
            "limit" => {
                let asked = number(name, value)?;
                self.query.limit = asked.min(MAX_LIMIT);
                self.limited_by_us = asked > MAX_LIMIT;
            }
            "offset" => self.query.offset = number(name, value)?,
            "fuzzymatching" => self.query.fuzzy = flag(name, value)?,
            "count" => self.count = flag(name, value)?,
            "includefield" => self.include_fields(value),
            // Always on here; asking for less changes nothing for honest values.
            "emptyvaluematching" | "multiplevaluematching" => {}
            // Content negotiation reads them elsewhere.
            "accept" | "charset" => {}
            _ => self.matching(name, value)?,
        }
        Ok(())
    }

    fn matching(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        let Some(path) = search::path(name) else {
            self.warnings.push("a parameter is not an attribute of a workitem; ignored".into());
            return Ok(());
        };
        if self.named.contains(&path) {
            let message = "an attribute is given more than once, or by two names: give it once";
            return Err(HttpError::bad_request(message));
        }
        self.named.push(path.clone());
        self.include.extend(path.first());
        let condition = search::condition(path, value)
            .map_err(|error| HttpError::bad_request(error.to_string()))?;
        self.query.conditions.extend(condition);
        if self.query.conditions.len() > MAX_CONDITIONS {
            let message = format!("more than {MAX_CONDITIONS} attributes to match");
            return Err(HttpError::bad_request(message));
        }
        Ok(())
    }

    fn include_fields(&mut self, value: &str) {
        for field in value.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            if field.eq_ignore_ascii_case("all") {
                self.include_all = true;
                continue;
            }
            // Of a path into a sequence the whole sequence is returned.
            match field.split('.').next().and_then(Tag::from_keyword_or_hex) {
                Some(tag) => {
                    self.include.insert(tag);
                }
                None => self.warnings.push("an includefield is not an attribute; ignored".into()),
            }
        }
    }

    /// The attributes of a row that the client asked for, and the UID of the workitem.
    pub(super) fn shown(&self, row: String) -> Result<(String, String), HttpError> {
        let data = DataSet::parse(row.as_bytes()).map_err(HttpError::internal)?;
        let uid = data.text(SOP_INSTANCE_UID).to_owned();
        if self.include_all {
            return Ok((row, uid));
        }
        Ok((data.only(|tag| self.include.contains(&tag)).to_json(), uid))
    }
}

fn flag(name: &str, value: &str) -> Result<bool, HttpError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(HttpError::bad_request(format!("{name} is neither true nor false"))),
    }
}

fn number(name: &str, value: &str) -> Result<u32, HttpError> {
    value.trim().parse().map_err(|_| {
        HttpError::bad_request(format!("{name} is not a number from 0 to {}", u32::MAX))
    })
}
