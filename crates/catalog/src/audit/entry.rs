//! What a row of the audit trail says.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Scope, SeriesUid, SopInstanceUid, StudyUid, TenantId};
use serde_json::{Value, json};

use crate::keys::bounded;
use crate::types::Target;

/// Kind of whoever said nothing of themselves, or nothing that is right.
pub(crate) const NOBODY: &str = "nobody";

/// What happened, before it has a place in a chain. Holds no patient data: UIDs lead to the patient
/// for those who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Key of the tenant whose data it concerns.
    pub tenant: i64,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Kind of who did it, see [`qianli_model::scope::Principal::kind`].
    pub principal_kind: String,
    /// Who did it, within the kind.
    pub principal: String,
    /// Network address from which it was done; empty for this machine's command line.
    pub peer: String,
    /// What was done: a word of [`Action`], or of a later release.
    pub action: String,
    /// How it ended: a word of [`Outcome`], or of a later release.
    pub outcome: String,
    /// Study Instance UID, or empty.
    pub study: String,
    /// Series Instance UID, or empty.
    pub series: String,
    /// SOP Instance UID, or empty.
    pub instance: String,
    /// How many instances it concerned, where that is known; else 0.
    pub instances: i64,
    /// How many requests this row stands for.
    pub requests: i64,
    /// A JSON object with what else is worth knowing.
    pub details: String,
}

impl AuditEntry {
    /// An entry about one request of this caller.
    pub fn new(scope: &Scope, action: Action, outcome: Outcome, at_ms: i64) -> Self {
        Self {
            tenant: scope.tenant().0,
            at_ms,
            principal_kind: scope.principal().kind().to_owned(),
            principal: bounded(scope.principal().name()),
            peer: bounded(scope.peer()),
            action: action.as_str().to_owned(),
            outcome: outcome.as_str().to_owned(),
            study: String::new(),
            series: String::new(),
            instance: String::new(),
            instances: 0,
            requests: 1,
            details: through(scope).map_or("{}".to_owned(), |viewer| viewer.to_string()),
        }
    }

    /// An entry about a request that was refused since nobody knows who sent it. It concerns no tenant
    /// more than another, and stands with the first.
    pub fn of_nobody(peer: &str, action: Action, at_ms: i64) -> Self {
        let scope = Scope::new(TenantId::DEFAULT, Principal::Local, Permissions::NONE).at(peer);
        let entry = Self::new(&scope, action, Outcome::Refused, at_ms);
        Self { principal_kind: NOBODY.to_owned(), ..entry }
    }

    /// About a study, a series or an instance.
    #[must_use]
    pub fn about(mut self, target: &Target) -> Self {
        self.study = target.study.to_string();
        self.series = target.series.as_ref().map(SeriesUid::to_string).unwrap_or_default();
        self.instance = target.instance.as_ref().map(SopInstanceUid::to_string).unwrap_or_default();
        self
    }

    /// About a whole study.
    #[must_use]
    pub fn about_study(mut self, study: &StudyUid) -> Self {
        self.study = study.to_string();
        self
    }

    /// With details, which must not hold patient data.
    #[must_use]
    pub fn with(mut self, details: &Value) -> Self {
        // Postgres cannot keep NUL in text; JSON has it as an escape, which is no such byte.
        self.details = match serde_json::from_str(&self.details) {
            Ok(Value::Object(mut known)) if !known.is_empty() => {
                known.extend(details.as_object().cloned().unwrap_or_default());
                Value::Object(known).to_string()
            }
            _ => details.to_string(),
        };
        self
    }
}

/// For whom grants were looked up, where it was somebody else's tenant: the owner sees who looked.
fn through(scope: &Scope) -> Option<Value> {
    let viewer = scope.viewer()?;
    Some(match (viewer.link, viewer.tenant) {
        (Some(link), _) => json!({"through": {"link": link}}),
        (None, Some(tenant)) => json!({"through": {"tenant": tenant.0}}),
        (None, None) => json!({"through": {"person": viewer.person}}),
    })
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The chain, from 1.
    pub chain: i64,
    /// Place in the chain, from 1 and without gaps.
    pub number: i64,
    /// What happened.
    pub entry: AuditEntry,
    /// Hash of the row before it, 64 hex digits; zeros for the first.
    pub previous_hash: String,
    /// Hash of this row, 64 hex digits.
    pub hash: String,
}

impl AuditRow {
    /// The row as a JSON object: everything that its hash covers, and the hash.
    pub fn to_json(&self) -> Value {
        let entry = &self.entry;
        // Details that are no JSON were not written by us; they are shown as the text that they are.
        let details = serde_json::from_str(&entry.details)
            .unwrap_or_else(|_| Value::String(entry.details.clone()));
        json!({
            "chain": self.chain,
            "number": self.number,
            "at_ms": entry.at_ms,
            "tenant": entry.tenant,
            "principal_kind": entry.principal_kind,
            "principal": entry.principal,
            "peer": entry.peer,
            "action": entry.action,
            "outcome": entry.outcome,
            "study": entry.study,
            "series": entry.series,
            "instance": entry.instance,
            "instances": entry.instances,
            "requests": entry.requests,
            "details": details,
            "previous_hash": self.previous_hash,
            "hash": self.hash,
        })
    }

    /// The hash that a row with this content must have: BLAKE3 over every other column, numbers as
    /// eight bytes, texts with their length in front, in a fixed order. No two rows have the same
    /// encoding.
    pub fn hash_of(chain: i64, number: i64, entry: &AuditEntry, previous_hash: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("qianli audit trail, version 1");
        let AuditEntry { tenant, at_ms, instances, requests, .. } = entry;
        for value in [chain, number, *tenant, *at_ms, *instances, *requests] {
            hasher.update(&value.to_le_bytes());
        }
        for text in [
            &entry.principal_kind,
            &entry.principal,
            &entry.peer,
            &entry.action,
            &entry.outcome,
            &entry.study,
            &entry.series,
            &entry.instance,
            &entry.details,
        ] {
            feed(&mut hasher, text);
        }
        feed(&mut hasher, previous_hash);
        hasher.finalize().to_hex().to_string()
    }
}

fn feed(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter that moves from one column to its neighbour, or any other change, is another row.
    #[test]
    fn every_column_counts() {
        let scope = Scope::system(TenantId::DEFAULT, "test");
        let entry = AuditEntry::new(&scope, Action::Store, Outcome::Success, 7);
        let hash = |chain, number, entry: &AuditEntry, previous: &str| {
            AuditRow::hash_of(chain, number, entry, previous)
        };
        let first = hash(1, 1, &entry, "p");
        let mut seen = vec![first.clone(), hash(2, 1, &entry, "p"), hash(1, 2, &entry, "p")];
        seen.push(hash(1, 1, &entry, "q"));
        let changes: [fn(&mut AuditEntry); 15] = [
            |e| e.tenant += 1,
            |e| e.at_ms += 1,
            |e| e.principal_kind.push('x'),
            |e| e.principal.push('x'),
            |e| e.peer.push('x'),
            |e| e.action.push('x'),
            |e| e.outcome.push('x'),
            |e| e.study.push('x'),
            |e| e.series.push('x'),
            |e| e.instance.push('x'),
            |e| e.details.push('x'),
            |e| e.instances += 1,
            |e| e.requests += 1,
            |e| {
                e.instances += 1;
                e.requests -= 1;
            },
            |e| {
                e.principal.insert(0, 'm');
                e.principal_kind.pop();
            },
        ];
        for change in changes {
            let mut other = entry.clone();
            change(&mut other);
            seen.push(hash(1, 1, &other, "p"));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert_eq!(first, hash(1, 1, &entry, "p"));
        assert_eq!(first.len(), 64);
    }
}
