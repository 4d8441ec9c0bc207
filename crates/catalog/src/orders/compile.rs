//! Compiles a search for scheduled steps to SQL. Values are only ever bound, never written into the
//! text.

use qianli_model::sounds;

use super::StepSearch;
use crate::keys::{bounded, group_key, text_key, time_key};
use crate::query::Dialect;
use crate::query::pattern::{AFTER_ALL, Pattern};
use crate::workitem::compile::Bind;

const NOTHING: &str = "1 = 0";

/// Collects bound values while SQL is written.
pub(super) struct Writer {
    pub(super) binds: Vec<Bind>,
    dialect: Dialect,
}

impl Writer {
    /// The tenant is always the first value.
    pub(super) fn new(dialect: Dialect, tenant: i64) -> Self {
        Self { binds: vec![Bind::Number(tenant)], dialect }
    }

    pub(super) fn number(&mut self, number: i64) -> String {
        self.binds.push(Bind::Number(number));
        format!("${}", self.binds.len())
    }

    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        self.binds.push(Bind::Text(text.into().replace('\0', "\u{FFFD}")));
        format!("${}", self.binds.len())
    }

    /// The condition on `t`, the row of a step, and `o`, that of its order.
    pub(super) fn all(&mut self, search: &StepSearch) -> String {
        let mut parts = vec!["t.tenant_id = $1".to_owned()];
        self.stations(search, &mut parts);
        if let Some(any) = self.any("t.modality_key", &search.modality) {
            parts.push(any);
        }
        for (column, value) in [
            ("t.station_name_key", &search.station_name),
            ("t.step_id_key", &search.step_id),
            ("o.patient_id_key", &search.patient_id),
            ("o.issuer_key", &search.issuer),
            ("o.accession_key", &search.accession),
            ("o.procedure_id_key", &search.procedure_id),
        ] {
            if !value.is_empty() {
                parts.push(self.folded(&[column], &text_key(value)));
            }
        }
        if !search.sex.is_empty() {
            let sex = self.text(bounded(&search.sex));
            parts.push(format!("o.sex = {sex}"));
        }
        self.names(search, &mut parts);
        self.moments(search, &mut parts);
        self.range("o.birth_date", &search.birth_dates, &mut parts);
        if !search.states.is_empty() {
            let any: Vec<String> =
                search.states.iter().map(|state| self.text(state.as_str())).collect();
            parts.push(format!("t.status IN ({})", any.join(", ")));
        }
        if !search.study_uids.is_empty() {
            let any: Vec<String> =
                search.study_uids.iter().map(|uid| self.text(bounded(uid))).collect();
            parts.push(format!("o.study_uid IN ({})", any.join(", ")));
        }
        if search.order != 0 {
            let id = self.number(search.order);
            parts.push(format!("o.id = {id}"));
        }
        parts.join(" AND ")
    }

    /// One of several values; `None` for none.
    fn any(&mut self, column: &str, values: &[String]) -> Option<String> {
        let any: Vec<String> =
            values.iter().map(|value| self.folded(&[column], &text_key(value))).collect();
        (!any.is_empty()).then(|| format!("({})", any.join(" OR ")))
    }

    /// The stations that are asked for. A step without one is any station's of its modality: of the modality that is
    /// asked for, else of one for which a station of that name has had orders, else, of a station that nobody knows,
    /// of any.
    fn stations(&mut self, search: &StepSearch, parts: &mut Vec<String>) {
        let Some(named) = self.any("t.station_ae_key", &search.station_ae) else { return };
        if !search.unassigned {
            parts.push(named);
            return;
        }
        let fits = match search.modality.is_empty() {
            false => String::new(),
            true => {
                let known = self.any("k.station_ae_key", &search.station_ae).unwrap_or_default();
                let theirs = format!("FROM order_steps k WHERE k.tenant_id = $1 AND {known}");
                format!(
                    " AND (t.modality_key IN (SELECT k.modality_key {theirs})
                        OR NOT EXISTS (SELECT 1 {theirs}))"
                )
            }
        };
        parts.push(format!("({named} OR (t.station_ae_key = ''{fits}))"));
    }

    fn names(&mut self, search: &StepSearch, parts: &mut Vec<String>) {
        const PATIENT: [&str; 3] =
            ["o.name_alphabetic_key", "o.name_ideographic_key", "o.name_phonetic_key"];
        const PERFORMER: [&str; 3] = [
            "t.performer_alphabetic_key",
            "t.performer_ideographic_key",
            "t.performer_phonetic_key",
        ];
        if !search.performer.is_empty() {
            parts.push(self.name(&PERFORMER, &search.performer));
        }
        if search.patient_name.is_empty() {
            return;
        }
        let literal = self.name(&PATIENT, &search.patient_name);
        let asked = match search.sounds {
            true => sounds::asked(&search.patient_name),
            false => Vec::new(),
        };
        let mut words = Vec::new();
        for tokens in &asked {
            let any: Vec<String> = tokens
                .iter()
                .map(|token| match token.prefix {
                    true => {
                        let from = self.text(token.text.as_str());
                        let to = self.text(format!("{}{AFTER_ALL}", token.text));
                        format!("(w.word >= {from} AND w.word < {to})")
                    }
                    false => format!("w.word = {}", self.text(token.text.as_str())),
                })
                .collect();
            words.push(format!(
                "o.id IN (SELECT w.order_id FROM order_words w WHERE w.tenant_id = $1 AND ({}))",
                any.join(" OR ")
            ));
        }
        parts.push(match words.is_empty() {
            true => literal,
            false => format!("({literal} OR ({}))", words.join(" AND ")),
        });
    }

    /// A name matches when one component group does; a value with several groups must match in each
    /// that it fills.
    fn name(&mut self, columns: &[&str], value: &str) -> String {
        if !value.contains('=') {
            return self.folded(columns, &group_key(value));
        }
        let groups: Vec<String> = value
            .split('=')
            .zip(columns)
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, column)| self.folded(&[column], &group_key(group)))
            .collect();
        if groups.is_empty() { NOTHING.into() } else { format!("({})", groups.join(" AND ")) }
    }

    /// With both days and a time, one span of time (PS3.4 K.6.1.2.2).
    fn moments(&mut self, search: &StepSearch, parts: &mut Vec<String>) {
        self.range("t.start_date", &search.days, parts);
        let (earliest, latest) = &search.times;
        let is_span = search.days.0 != search.days.1
            && !(search.days.0.is_empty() && search.days.1.is_empty());
        if !is_span {
            let times = (time_of(earliest), latest.clone());
            self.range("t.start_time", &times, parts);
            return;
        }
        if !earliest.is_empty() && !search.days.0.is_empty() {
            let day = self.text(bounded(&search.days.0));
            let from = self.text(time_of(earliest));
            parts.push(format!("(t.start_date > {day} OR t.start_time >= {from})"));
        }
        if !latest.is_empty() && !search.days.1.is_empty() {
            let day = self.text(bounded(&search.days.1));
            let to = self.text(format!("{}{AFTER_ALL}", bounded(latest)));
            parts.push(format!("(t.start_date < {day} OR t.start_time < {to})"));
        }
    }

    /// What begins with the upper bound is still inside.
    fn range(&mut self, column: &str, range: &(String, String), parts: &mut Vec<String>) {
        let (from, to) = range;
        if !from.is_empty() {
            let from = self.text(bounded(from));
            parts.push(format!("{column} >= {from}"));
        }
        if !to.is_empty() {
            let to = self.text(format!("{}{AFTER_ALL}", bounded(to)));
            parts.push(format!("({column} < {to} AND {column} <> '')"));
        }
    }

    fn folded(&mut self, columns: &[&str], key: &str) -> String {
        // Where folding left nothing of the value, nothing matches.
        if key.is_empty() {
            return NOTHING.into();
        }
        let pattern = Pattern::parse(key);
        let any: Vec<String> = columns
            .iter()
            .map(|column| match &pattern {
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
            })
            .collect();
        format!("({})", any.join(" OR "))
    }
}

fn time_of(text: &str) -> String {
    if text.is_empty() { String::new() } else { time_key(text) }
}
