//! Compiles the conditions of a search to SQL over the rows of `workitem_keys`. Values are only
//! ever bound, never written into the text.

use qianli_model::workitem::search::{Condition, Kind, Rule, path_text};

use super::keys::fold;
use crate::query::Dialect;
use crate::query::pattern::{AFTER_ALL, Pattern};

/// A bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bind {
    Text(String),
    Number(i64),
}

/// Binds the values of a [`Writer`] to a query of whichever database.
macro_rules! bind_all {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for value in $binds {
            query = match value {
                $crate::workitem::compile::Bind::Text(text) => query.bind(text),
                $crate::workitem::compile::Bind::Number(number) => query.bind(number),
            };
        }
        query
    }};
}
pub(crate) use bind_all;

/// Collects bound values while SQL is written.
pub(super) struct Writer {
    pub(super) binds: Vec<Bind>,
    dialect: Dialect,
    tenant: String,
}

const NOTHING: &str = "1 = 0";

/// Attributes that have columns of their own.
const STATE: &str = "00741000";
const UID: &str = "00080018";
const START: &str = "00404005";

impl Writer {
    pub(super) fn new(dialect: Dialect, tenant: i64) -> Self {
        let mut writer = Self { binds: Vec::new(), dialect, tenant: String::new() };
        writer.tenant = writer.number(tenant);
        writer
    }

    /// Place of the tenant's number.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(super) fn number(&mut self, number: i64) -> String {
        self.binds.push(Bind::Number(number));
        format!("${}", self.binds.len())
    }

    /// The same values for another statement that begins alike.
    pub(super) fn fork(&self) -> Self {
        Self { binds: self.binds.clone(), dialect: self.dialect, tenant: self.tenant.clone() }
    }

    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        // Postgres has no NUL in text; no stored value has one, so nothing can match it either way.
        self.binds.push(Bind::Text(text.into().replace('\0', "\u{FFFD}")));
        format!("${}", self.binds.len())
    }

    /// A condition on `w`, the workitem's row, that is true when all conditions hold. Those inside
    /// one sequence must hold in one item of it.
    pub(super) fn all(&mut self, conditions: &[Condition], fuzzy: bool) -> String {
        let mut parts = vec!["1 = 1".to_owned()];
        let mut groups: Vec<(String, Vec<(String, &Condition)>)> = Vec::new();
        for condition in conditions {
            let path = path_text(&condition.path);
            if condition.rule == Rule::Empty {
                let path = self.text(path);
                parts.push(format!(
                    "NOT EXISTS (SELECT 1 FROM workitem_keys k
                        WHERE k.workitem_id = w.id AND k.path = {path})"
                ));
                continue;
            }
            if let Some(sql) = self.column(&path, condition) {
                parts.push(sql);
                continue;
            }
            let sequence = path.rsplit_once('.').map_or("", |(sequence, _)| sequence).to_owned();
            match groups.iter_mut().find(|(known, _)| *known == sequence && !known.is_empty()) {
                Some((_, members)) => members.push((path, condition)),
                None => groups.push((sequence, vec![(path, condition)])),
            }
        }
        for (_, members) in groups {
            parts.push(self.group(&members, fuzzy));
        }
        parts.join(" AND ")
    }

    fn group(&mut self, members: &[(String, &Condition)], fuzzy: bool) -> String {
        let mut joins = String::new();
        let mut first = String::new();
        for (index, (path, condition)) in members.iter().enumerate() {
            let name = format!("k{index}");
            let path = self.text(path.as_str());
            let value = self.value(&format!("{name}.value"), condition, fuzzy);
            if index == 0 {
                first = format!("k0.tenant_id = {} AND k0.path = {path} AND {value}", self.tenant);
            } else {
                joins.push_str(&format!(
                    " JOIN workitem_keys {name} ON {name}.workitem_id = k0.workitem_id
                        AND {name}.item = k0.item AND {name}.path = {path} AND {value}"
                ));
            }
        }
        format!("w.id IN (SELECT k0.workitem_id FROM workitem_keys k0{joins} WHERE {first})")
    }

    /// The condition on a column of the row itself, where there is one: those indexes bear the
    /// worklist of the day among millions of finished workitems.
    fn column(&mut self, path: &str, condition: &Condition) -> Option<String> {
        match (path, &condition.rule) {
            (STATE, Rule::AnyOf(values)) => {
                if values.iter().any(|value| value.contains(['*', '?'])) {
                    return None;
                }
                let any: Vec<String> = values
                    .iter()
                    .map(|value| self.text(value.trim().to_ascii_uppercase()))
                    .collect();
                Some(format!("w.state IN ({})", any.join(", ")))
            }
            (UID, Rule::AnyOf(values)) => {
                let any: Vec<String> = values.iter().map(|uid| self.text(uid.as_str())).collect();
                Some(format!("w.workitem_uid IN ({})", any.join(", ")))
            }
            (START, Rule::Range(from, to)) => {
                let sql = self.range("w.start_key", from.as_deref(), to.as_deref());
                Some(format!("({sql} AND w.start_key <> '')"))
            }
            _ => None,
        }
    }

    /// A condition on one value of a key.
    fn value(&mut self, column: &str, condition: &Condition, fuzzy: bool) -> String {
        match &condition.rule {
            Rule::AnyOf(values) => {
                let any: Vec<String> = values
                    .iter()
                    .map(|value| self.one(column, condition.kind, value, fuzzy))
                    .collect();
                if any.is_empty() { NOTHING.into() } else { format!("({})", any.join(" OR ")) }
            }
            Rule::Range(from, to) => self.range(column, from.as_deref(), to.as_deref()),
            Rule::Empty => NOTHING.into(),
        }
    }

    fn one(&mut self, column: &str, kind: Kind, value: &str, fuzzy: bool) -> String {
        let key = match kind {
            // Of a name in several groups the first that is filled decides: groups are rows of
            // their own here.
            Kind::Name => {
                fold(kind, value.split('=').find(|group| !group.is_empty()).unwrap_or_default())
            }
            _ => fold(kind, value),
        };
        // Where folding left nothing of the value, nothing matches.
        if key.is_empty() {
            return NOTHING.into();
        }
        match kind {
            Kind::Name if fuzzy && !key.contains(['*', '?']) => {
                let words: Vec<String> = key
                    .split(' ')
                    .map(|word| self.pattern(column, &Pattern::containing(word)))
                    .collect();
                format!("({})", words.join(" AND "))
            }
            Kind::Text | Kind::Name => self.pattern(column, &Pattern::parse(&key)),
            _ => format!("{column} = {}", self.text(key)),
        }
    }

    fn pattern(&mut self, column: &str, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Anything => "1 = 1".into(),
            Pattern::Exact(text) => format!("{column} = {}", self.text(text.as_str())),
            Pattern::Prefix(prefix) => {
                let from = self.text(prefix.as_str());
                let to = self.text(format!("{prefix}{AFTER_ALL}"));
                format!("({column} >= {from} AND {column} < {to})")
            }
            Pattern::Like { like, .. } => {
                let value = self.text(like.as_str());
                let escape = match self.dialect {
                    Dialect::Postgres => "",
                    Dialect::Sqlite => " ESCAPE '\\'",
                };
                format!("{column} LIKE {value}{escape}")
            }
        }
    }

    fn range(&mut self, column: &str, from: Option<&str>, to: Option<&str>) -> String {
        let past_midnight = matches!((from, to), (Some(from), Some(to)) if from > to);
        let lower = from.map(|from| format!("{column} >= {}", self.text(from)));
        let upper = to.map(|to| format!("{column} <= {}", self.text(to)));
        let parts: Vec<String> = lower.into_iter().chain(upper).collect();
        // A time range that ends before it begins goes past midnight; of dates it holds nothing.
        let is_time = from.is_some_and(|from| from.len() == 13);
        let joint = if past_midnight && is_time { " OR " } else { " AND " };
        if parts.is_empty() { NOTHING.into() } else { format!("({})", parts.join(joint)) }
    }
}
