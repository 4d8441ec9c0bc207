//! The capabilities as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use crate::dicomweb::routes::{GROUPS, Route};
use crate::dicomweb::wado::uri;

/// What a search takes besides its own parameters, which OpenAPI has no form for that generated
/// clients agree on.
const KEYS: &str = "Attributes to match are further query parameters, by keyword or by eight \
                    hexadecimal digits: PatientName=Wang*, 00100020=P1, StudyDate=20240101-20241231; \
                    inside sequences with dots between.";

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
        "components": {"securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API token; also as the password of Basic.",
            },
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": "qianli",
                "description": "The session of a browser; over HTTPS the name is __Host-qianli.",
            },
        }},
    })
}

fn operation(route: &Route, group: &str) -> Value {
    let mut parameters: Vec<Value> =
        route.variables().map(|name| parameter(name, "path", true)).collect();
    parameters.extend(
        route.query.iter().map(|name| parameter(name, "query", uri::REQUIRED.contains(name))),
    );
    let mut responses: Map<String, Value> = route
        .statuses()
        .iter()
        .map(|status| (status.to_string(), answer(route, *status)))
        .collect();
    responses.insert(
        "default".to_owned(),
        json!({
            "description": "What went wrong, in a sentence",
            "content": {"text/plain": {}},
        }),
    );
    let mut operation = json!({
        "operationId": name(route),
        "tags": [group],
        "summary": route.says[0],
        "parameters": parameters,
        "responses": responses,
    });
    operation["security"] = json!([{"token": []}, {"session": []}]);
    let needs = Some(format!("Needs {}.", route.needs.name()));
    let section =
        (!route.section.is_empty()).then(|| format!("DICOM PS3.18 section {}.", route.section));
    let keys = route.query.contains(&"includefield").then(|| KEYS.to_owned());
    let description: Vec<String> = section.into_iter().chain(needs).chain(keys).collect();
    operation["description"] = json!(description.join(" "));
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({"required": true, "content": content(route.takes)});
    }
    operation
}

/// A name for functions of generated clients: `getStudiesByStudySeries` for
/// `GET /studies/{study}/series`.
fn name(route: &Route) -> String {
    let mut name = route.verb.name().to_ascii_lowercase();
    let path = route.shown();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segment.starts_with('{') {
            name.push_str("By");
        }
        for word in segment.split(|c: char| !c.is_ascii_alphanumeric()) {
            let mut letters = word.chars();
            name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            name.extend(letters);
        }
    }
    if path == "/" { name + "Capabilities" } else { name }
}

fn content(types: &[&str]) -> Map<String, Value> {
    types.iter().map(|media| ((*media).to_owned(), json!({}))).collect()
}

/// An answer under one status.
fn answer(route: &Route, status: u16) -> Value {
    let description = match status {
        101 => "The connection is a WebSocket from here on",
        201 => "Created",
        202 if route.gives.is_empty() => "Accepted: others will decide",
        202 => "Some of it was done; the body says what",
        204 => "Success, without a body",
        206 => "A part of it: the bytes asked for, or what can be given in the form asked for",
        409 => "None of it was done; the body says why",
        503 => "None of it was done, and trying again may help; the body says why",
        _ => "Success",
    };
    let mut answer = json!({"description": description});
    if status == 201 {
        let url = json!({"schema": {"type": "string", "format": "uri"}});
        answer["headers"]["Content-Location"] = url.clone();
        if route.variables().next().is_none() {
            answer["headers"]["Location"] = url;
        }
    }
    if !route.gives.is_empty() && !matches!(status, 101 | 201 | 204) {
        answer["content"] = Value::Object(content(route.gives));
    }
    answer
}

fn parameter(name: &str, place: &str, required: bool) -> Value {
    let mut parameter =
        json!({"name": name, "in": place, "required": required, "schema": schema(name)});
    let about = match name {
        "frames" => "Numbers of frames from 1, separated by commas",
        "tag" => "Where the value is, as the BulkDataURI in the metadata ends: 7FE00010",
        "includefield" => "Attributes to return, by keyword or eight hexadecimal digits; or all",
        "count" => "Say in the header X-Total-Count how many there are without the page",
        "viewport" => "width,height[,x,y,columns,rows]",
        "window" => "centre,width,function",
        "region" => "left,top,right,bottom, each from 0.0 to 1.0",
        "aetitle" => "Application Entity Title",
        _ => return parameter,
    };
    parameter["description"] = json!(about);
    parameter
}

/// The type of a parameter; its name means one thing in all routes.
fn schema(name: &str) -> Value {
    match name {
        "limit" | "offset" => json!({"type": "integer", "minimum": 0}),
        "count" | "fuzzymatching" | "deletionlock" => json!({"type": "boolean"}),
        "quality" | "imageQuality" => json!({"type": "integer", "minimum": 1, "maximum": 100}),
        "rows" | "columns" | "frameNumber" => json!({"type": "integer", "minimum": 1}),
        "windowCenter" | "windowWidth" => json!({"type": "number"}),
        "requestType" => json!({"type": "string", "enum": ["WADO"]}),
        // Several are several parameters, or one with commas.
        "includefield" => json!({"type": "array", "items": {"type": "string"}}),
        _ => json!({"type": "string"}),
    }
}
