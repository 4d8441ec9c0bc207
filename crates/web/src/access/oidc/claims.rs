//! What a token says of somebody, and what that makes of them here.

use serde_json::{Map, Value};

use super::Rule;

/// The claims of a token or of the provider's answer about a person.
pub(super) type Claims = Map<String, Value>;

/// Values of one claim that are looked at.
const MOST_VALUES: usize = 1000;

/// The text of a claim.
pub(super) fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name)?.as_str()
}

/// A moment (seconds since 1970), also one with a fraction.
pub(super) fn seconds(claims: &Claims, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// Whether `wanted` stands in the audience.
pub(super) fn is_for(claims: &Claims, wanted: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

/// Whether the claim of a rule stands there at all.
pub(super) fn says<T>(claims: &Claims, rule: &Rule<T>) -> bool {
    found(claims, &rule.claim).is_some()
}

/// Whether a rule holds.
pub(super) fn holds<T>(claims: &Claims, rule: &Rule<T>) -> bool {
    let Some(value) = found(claims, &rule.claim) else { return false };
    let is_scope = matches!(rule.claim.as_str(), "scope" | "scp");
    let fits = |one: &Value| match one {
        Value::Null => false,
        _ if rule.value == "*" => true,
        // A list of words by RFC 6749 section 3.3; elsewhere a space is part of a name.
        Value::String(text) if is_scope => text.split(' ').any(|word| word == rule.value),
        Value::String(text) => *text == rule.value,
        Value::Bool(yes) => rule.value == if *yes { "true" } else { "false" },
        Value::Number(number) => number.to_string() == rule.value,
        Value::Array(_) | Value::Object(_) => false,
    };
    match value {
        Value::Array(many) => many.iter().take(MOST_VALUES).any(fits),
        one => fits(one),
    }
}

/// A claim by its name, or by a path: names may hold dots themselves, as those that are URLs do.
fn found<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.');
    let mut value = claims.get(steps.next()?)?;
    for step in steps {
        value = value.as_object()?.get(step)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: Value, claim: &str, value: &str) -> bool {
        let rule =
            Rule { claim: claim.into(), value: value.into(), tenant: String::new(), gives: () };
        holds(claims.as_object().expect("an object"), &rule)
    }

    #[test]
    fn values_are_compared_whole() {
        let of = |groups: Value| serde_json::json!({ "groups": groups });
        assert!(check(of("radiology".into()), "groups", "radiology"));
        assert!(check(of(serde_json::json!(["a", "radiology"])), "groups", "radiology"));
        for other in ["Radiology", "radio", "not radiology", "radiology other", ""] {
            assert!(!check(of(other.into()), "groups", "radiology"), "{other}");
        }
        assert!(!check(of(Value::Null), "groups", "*"));
        assert!(!check(of(serde_json::json!([])), "groups", "*"));
        assert!(check(of("anything".into()), "groups", "*"));
        assert!(!check(of(serde_json::json!([["radiology"]])), "groups", "radiology"));
        assert!(check(of(true.into()), "groups", "true"));
    }

    #[test]
    fn scopes_are_words_and_paths_lead_into_objects() {
        let claims = || {
            serde_json::json!({
                "scope": "openid images.read",
                "realm_access": { "roles": ["doctor"] },
                "https://id.example/roles": ["chief"],
            })
        };
        assert!(check(claims(), "scope", "images.read"));
        assert!(!check(claims(), "scope", "images"));
        assert!(check(claims(), "realm_access.roles", "doctor"));
        assert!(check(claims(), "https://id.example/roles", "chief"));
        assert!(!check(claims(), "realm_access.none", "*"));
    }

    #[test]
    fn audiences_are_one_or_many() {
        let of = |aud: Value| serde_json::json!({ "aud": aud });
        for (aud, expected) in [
            (serde_json::json!("a"), true),
            (serde_json::json!(["b", "a"]), true),
            (serde_json::json!(["b"]), false),
            (serde_json::json!("ab"), false),
            (serde_json::json!(null), false),
        ] {
            assert_eq!(is_for(of(aud.clone()).as_object().expect("one"), "a"), expected, "{aud}");
        }
    }
}
