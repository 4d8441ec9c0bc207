//! Fills attributes that a study or series lacks from a later instance, and never changes those it
//! has: what an attribute says does not depend on which instance happened to come last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An attribute of a DICOM JSON object, with the VR in front where people look for it.
#[derive(Serialize, Deserialize)]
struct Attribute {
    #[serde(skip_serializing_if = "Option::is_none")]
    vr: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Attribute {
    fn has_value(&self) -> bool {
        ["Value", "InlineBinary", "BulkDataURI"].iter().any(|key| self.rest.contains_key(*key))
    }
}

/// Adds to `json` the attributes of `other` that it lacks or has without a value. Returns whether
/// anything was added. Text that is not a JSON object changes nothing.
pub(crate) fn fill_json(json: &mut String, other: &str) -> bool {
    if json == other {
        return false;
    }
    let (Ok(mut mine), Ok(theirs)) = (
        serde_json::from_str::<BTreeMap<String, Attribute>>(json),
        serde_json::from_str::<BTreeMap<String, Attribute>>(other),
    ) else {
        return false;
    };
    let mut filled = false;
    for (tag, attribute) in theirs {
        let present = mine.get(&tag).is_some_and(Attribute::has_value);
        if !present && (attribute.has_value() || !mine.contains_key(&tag)) {
            mine.insert(tag, attribute);
            filled = true;
        }
    }
    if filled {
        // A map of strings and JSON values always serialises.
        if let Ok(text) = serde_json::to_string(&mine) {
            *json = text;
        }
    }
    filled
}

/// Fills empty columns. Returns whether any was filled.
pub(crate) fn fill_text(mine: &mut [String], theirs: &[String]) -> bool {
    let mut filled = false;
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        if mine.is_empty() && !theirs.is_empty() {
            mine.clone_from(theirs);
            filled = true;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mine: &str, other: &str, expected: &str) {
        let mut json = mine.to_owned();
        let filled = fill_json(&mut json, other);
        assert_eq!(json, expected);
        assert_eq!(filled, mine != expected);
    }

    #[test]
    fn only_what_is_absent_is_filled() {
        let id = r#"{"00080050":{"vr":"SH","Value":["A1"]}}"#;
        check(id, id, id);
        check(id, r#"{"00080050":{"vr":"SH","Value":["B2"]}}"#, id);
        check(id, r#"{"00080050":{"vr":"SH"}}"#, id);
        check(r#"{"00080050":{"vr":"SH"}}"#, id, id);
        check("{}", id, id);
        check("not json", id, "not json");
        check(id, "[]", id);
    }
}
