//! What the server says of itself.

use axum::http::{Method, header};

use super::node::Node;
use crate::WebConfig;
use crate::dicomweb::routes;

#[tokio::test]
async fn capabilities_come_as_wadl_json_or_a_page() {
    let node = Node::start().await;
    for method in [Method::OPTIONS, Method::GET] {
        for (accept, media) in [
            ("*/*", "application/vnd.sun.wadl+xml"),
            ("application/vnd.sun.wadl+xml", "application/vnd.sun.wadl+xml"),
            ("application/json", "application/json"),
        ] {
            for path in ["/dicom-web/", "/dicom-web"] {
                let headers = [(header::ACCEPT, accept)];
                let answer = node.request(method.clone(), path, &headers, Vec::new()).await;
                assert_eq!((answer.status, answer.header("content-type")), (200, media), "{path}");
            }
        }
        let headers = [(header::ACCEPT, "image/png")];
        let answer = node.request(method, "/dicom-web/", &headers, Vec::new()).await;
        assert_eq!(answer.status, 406);
    }
    let browser = node.get_as("/dicom-web/", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!((browser.status, browser.header("location")), (303, "/api"));
    let wadl = node.get("/dicom-web/").await.text();
    assert!(wadl.contains("<resources base=\"http://localhost/dicom-web\">"), "{wadl}");
    assert!(wadl.contains("<resource path=\"studies/{study}/metadata\">"), "{wadl}");
}

/// Each route is in every document, and the server does answer it.
#[tokio::test]
async fn no_document_leaves_a_route_out() {
    let node = Node::start().await;
    let openapi = node.get("/dicom-web/openapi.json").await.json();
    let wadl = node.get("/dicom-web/").await.text();
    let page = node.get("/api").await;
    assert_eq!(page.status, 200);
    assert_eq!(openapi["servers"][0]["url"], "http://localhost/dicom-web");
    let mut count = 0;
    let mut names = std::collections::BTreeSet::new();
    for route in routes::all() {
        count += 1;
        let (verb, path) = (route.verb.name(), route.shown());
        let operation = &openapi["paths"][&path][verb.to_ascii_lowercase()];
        assert!(operation["summary"].is_string(), "{verb} {path} is not in the OpenAPI document");
        let variables = route.variables().count() + route.query.len();
        assert_eq!(operation["parameters"].as_array().map(Vec::len), Some(variables), "{path}");
        let statuses = operation["responses"].as_object().expect("responses");
        assert_eq!(statuses.len(), route.statuses().len() + 1, "{verb} {path}");
        let name = operation["operationId"].as_str().expect("a name").to_owned();
        assert!(names.insert(name.clone()), "{name} is two operations");
        assert!(wadl.contains(&format!("<resource path=\"{}\">", &path[1..])), "{path}");
        assert!(page.text().contains(&format!("<code>{path}</code>")), "{path}");
        assert!(route.says.iter().all(|text| !text.is_empty()), "{path}");

        let method = Method::from_bytes(verb.as_bytes()).expect("a method");
        let target = path.replace(['{', '}'], "");
        let answer = node.request(method, &format!("/dicom-web{target}"), &[], Vec::new()).await;
        assert_ne!(answer.status, 405, "{verb} {path}");
        assert!(!answer.text().contains("no such DICOMweb resource"), "{verb} {path}");
    }
    assert!(count >= 20, "{count} routes");
}

/// What a generated client trusts: types, what may be left out, and statuses that do come.
#[tokio::test]
async fn the_openapi_document_says_what_the_server_does() {
    let node = Node::start().await;
    let openapi = node.get("/dicom-web/openapi.json").await.json();
    let operation = |path: &str, verb: &str| openapi["paths"][path][verb].clone();
    let statuses = |path: &str, verb: &str| {
        let responses = operation(path, verb)["responses"].as_object().cloned();
        responses.expect("responses").keys().cloned().collect::<Vec<_>>()
    };
    for (path, verb, expected) in [
        ("/workitems", "post", &["201", "default"][..]),
        ("/workitems/{workitem}/subscribers/{aetitle}", "post", &["201", "default"]),
        ("/workitems/{workitem}/cancelrequest", "post", &["202", "default"]),
        ("/workitems/{workitem}/state", "put", &["200", "default"]),
        ("/studies", "post", &["200", "202", "409", "503", "default"]),
        ("/studies/{study}", "delete", &["204", "default"]),
        ("/subscribers/{aetitle}", "get", &["101", "default"]),
    ] {
        assert_eq!(statuses(path, verb), expected, "{verb} {path}");
    }
    let store = operation("/studies", "post");
    for status in ["202", "409"] {
        let answer = &store["responses"][status];
        assert!(answer["content"]["application/dicom+json"].is_object(), "{status}");
    }
    let created = &operation("/workitems", "post")["responses"]["201"];
    assert!(created["headers"]["Location"].is_object() && created.get("content").is_none());

    let parameter = |path: &str, name: &str| {
        let all = operation(path, "get")["parameters"].as_array().cloned().expect("parameters");
        all.into_iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{path} {name}"))
    };
    let required = ["requestType", "studyUID", "seriesUID", "objectUID"];
    let query = required.map(|name| (name, if name == "requestType" { "WADO" } else { "1.2" }));
    for name in required {
        assert_eq!(parameter("/wado", name)["required"], true, "{name}");
        let others = query.iter().filter(|(other, _)| *other != name);
        let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
        let answer = node.get(&format!("/dicom-web/wado?{}", others.join("&"))).await;
        assert_eq!(answer.status, 400, "{name}");
    }
    assert_eq!(parameter("/wado", "rows")["required"], false);
    for (name, kind) in [("limit", "integer"), ("offset", "integer"), ("count", "boolean")] {
        assert_eq!(parameter("/studies", name)["schema"]["type"], kind, "{name}");
    }
    let says = operation("/studies", "get")["description"].clone();
    assert!(says.as_str().is_some_and(|says| says.contains("00100020=P1")), "{says}");
    assert_eq!(
        operation("/studies/{study}/series", "get")["operationId"],
        "getStudiesByStudySeries"
    );
    let instance = "/studies/{study}/series/{series}/instances/{instance}";
    assert!(openapi["paths"][format!("{instance}/frames/{{frames}}")].is_object());
    assert!(openapi["paths"][format!("{instance}/bulkdata/{{tag}}")].is_object());
}

/// A route that is not in the table would be in no document.
#[test]
fn routes_are_made_in_the_table_only() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dicomweb");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "routes.rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                assert!(!text.contains(".route("), "{} has a route of its own", path.display());
            }
        }
    }
}

#[tokio::test]
async fn preflights_still_work_beside_the_capabilities() {
    let origins = vec!["https://viewer.example".to_owned()];
    let node = Node::start_with(WebConfig { cors_origins: origins, ..WebConfig::default() }).await;
    let preflight = [
        (header::ORIGIN, "https://viewer.example"),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "DELETE"),
    ];
    for path in ["/dicom-web/", "/dicom-web/studies/1.2"] {
        let answer = node.request(Method::OPTIONS, path, &preflight, Vec::new()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("access-control-allow-methods").contains("DELETE"), "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
}
