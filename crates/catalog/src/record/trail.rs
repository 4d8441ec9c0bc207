//! What a batch says in the audit trail: one entry for each study and sender.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qianli_model::audit::{Action, Outcome};
use serde_json::json;

use super::plan::Plan;
use super::prepare::Prepared;
use crate::audit::{AuditEntry, audit_is_off};

/// SOP classes that an entry counts; a study has a few.
const CLASSES: usize = 16;

/// What is gathered for an entry.
#[derive(Default)]
struct Group<'a> {
    items: Vec<&'a Prepared>,
    replaced: i64,
}

/// Entries for what the batch stores, in the order in which their first instances came.
pub(super) fn entries(plan: &Plan, batch: &[Prepared]) -> Vec<AuditEntry> {
    if audit_is_off() {
        return Vec::new();
    }
    let mut order = Vec::new();
    let mut groups: HashMap<_, Group<'_>> = HashMap::new();
    for (kind, index) in &plan.events {
        let item = &batch[*index];
        let key = (item.tenant, &item.study_uid, &item.principal, item.sender());
        let group = groups.entry(key).or_default();
        if group.items.is_empty() {
            order.push(key);
        }
        group.items.push(item);
        group.replaced += i64::from(*kind == "instance.superseded");
    }
    order.iter().filter_map(|key| groups.get(key)).filter_map(entry).collect()
}

fn entry(group: &Group<'_>) -> Option<AuditEntry> {
    let first = group.items.first()?;
    let [route, peer, calling_ae, called_ae] = first.sender() else { return None };
    let series: BTreeSet<&str> = group.items.iter().map(|item| item.series_uid.as_str()).collect();
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    for item in &group.items {
        if classes.len() < CLASSES || classes.contains_key(item.sop_class()) {
            *classes.entry(item.sop_class()).or_default() += 1;
        }
    }
    let mut details = json!({
        "route": route,
        "series": series.len(),
        "bytes": group.items.iter().map(|item| item.blob_size).sum::<i64>(),
        "sop_classes": classes,
    });
    for (name, title) in [("calling_ae", calling_ae), ("called_ae", called_ae)] {
        if !title.is_empty() {
            details[name] = json!(title);
        }
    }
    if group.replaced > 0 {
        details["replaced"] = json!(group.replaced);
    }
    let only = |uid: &str, is_only: bool| if is_only { uid.to_owned() } else { String::new() };
    let count = group.items.len();
    let instances = i64::try_from(count).unwrap_or(i64::MAX);
    let (principal_kind, principal) = &first.principal;
    Some(AuditEntry {
        tenant: first.tenant,
        at_ms: group.items.iter().map(|item| item.received_ms).max().unwrap_or_default(),
        principal_kind: (*principal_kind).to_owned(),
        principal: principal.clone(),
        peer: peer.clone(),
        action: Action::Store.as_str().to_owned(),
        outcome: Outcome::Success.as_str().to_owned(),
        study: first.study_uid.clone(),
        series: only(&first.series_uid, series.len() == 1),
        instance: only(first.sop_uid(), count == 1),
        instances,
        requests: instances,
        details: details.to_string(),
    })
}
