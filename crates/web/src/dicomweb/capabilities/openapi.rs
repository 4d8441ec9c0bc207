//! The capabilities as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use crate::dicomweb::routes::{GROUPS, Route};

/// The document for a service whose root is `base`.
pub(super) fn document(base: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for (group, _, routes) in GROUPS {
        for route in *routes {
            let path = paths.entry(route.shown()).or_insert_with(|| json!({}));
            if let Value::Object(verbs) = path {
                let verb = route.verb.name().to_ascii_lowercase();
                verbs.insert(verb, operation(route, group));
            }
        }
    }
    let version = if version.is_empty() { "0" } else { version };
    let tags: Vec<Value> = GROUPS.iter().map(|(name, ..)| json!({"name": name})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Qianli DICOMweb",
            "version": version,
            "summary": "DICOM PS3.18 services of this server",
            "description": "Text is sent and taken in UTF-8 (PS3.18 section 8.8).",
        },
        "servers": [{"url": base}],
        "tags": tags,
        "paths": paths,
    })
}

fn operation(route: &Route, group: &str) -> Value {
    let mut parameters: Vec<Value> =
        route.variables().map(|name| parameter(name, "path", true)).collect();
    parameters.extend(route.query.iter().map(|name| parameter(name, "query", false)));
    let content = |types: &[&str]| -> Map<String, Value> {
        types.iter().map(|media| ((*media).to_owned(), json!({}))).collect()
    };
    let success = if route.gives.is_empty() { "204" } else { "200" };
    let mut answer = json!({"description": "Success"});
    if !route.gives.is_empty() {
        answer["content"] = Value::Object(content(route.gives));
    }
    let mut operation = json!({
        "tags": [group],
        "summary": route.says[0],
        "parameters": parameters,
        "responses": {
            success: answer,
            "default": {
                "description": "What went wrong, in a sentence",
                "content": {"text/plain": {}},
            },
        },
    });
    if !route.section.is_empty() {
        operation["description"] = json!(format!("DICOM PS3.18 section {}", route.section));
    }
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({"required": true, "content": content(route.takes)});
    }
    operation
}

fn parameter(name: &str, place: &str, required: bool) -> Value {
    json!({"name": name, "in": place, "required": required, "schema": {"type": "string"}})
}
