//! What holds for every request.

use axum::body::Body;
use axum::http::{Method, Request, header};

use super::data::{self, Instance};
use super::node::Node;
use crate::{WebConfig, WebConfigError};

#[tokio::test]
async fn the_node_says_how_it_is() {
    let node = Node::start().await;
    assert_eq!(node.get("/healthz").await.text(), "ok\n");
    let ready = node.get("/readyz").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let node = Node::start().await;
    node.store(&[Instance::new(1, 1, 1)]).await;
    for path in ["/dicom-web/studies", "/dicom-web/studies/1.2.826.1/metadata"] {
        let without = node.get(path).await;
        let with = node.get(&format!("{path}/?limit=5")).await;
        assert_eq!((with.status, with.text()), (without.status, without.text()), "{path}");
    }
}

#[tokio::test]
async fn methods_that_do_not_exist_are_405() {
    let node = Node::start().await;
    for path in ["/dicom-web/series", "/dicom-web/studies/1.2/metadata"] {
        let answer = node.request(Method::PUT, path, &[], Vec::new()).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.text().contains("not allowed"), "{path}");
    }
}

#[tokio::test]
async fn other_origins_only_when_they_are_listed() {
    let origin = [(header::ORIGIN, "https://viewer.example")];
    let closed = Node::start().await;
    let answer = closed.request(Method::GET, "/dicom-web/studies", &origin, Vec::new()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");

    let origins = vec!["https://viewer.example".to_owned()];
    let open = Node::start_with(WebConfig { cors_origins: origins, ..WebConfig::default() }).await;
    let answer = open.request(Method::GET, "/dicom-web/studies", &origin, Vec::new()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://viewer.example");
    let preflight = [
        origin[0].clone(),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "GET"),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, "accept"),
    ];
    let answer = open.request(Method::OPTIONS, "/dicom-web/studies", &preflight, Vec::new()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("access-control-allow-headers").contains("accept"));
    let stranger = [(header::ORIGIN, "https://other.example")];
    let answer = open.request(Method::GET, "/dicom-web/studies", &stranger, Vec::new()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn settings_that_cannot_work_are_told_at_the_start() {
    for url in ["pacs.example", "ftp://x", "http://a b", "http://a\"b"] {
        let config = WebConfig { public_url: Some(url.into()), ..WebConfig::default() };
        assert!(matches!(config.check(), Err(WebConfigError::PublicUrl(_))), "{url}");
    }
    for origin in ["*", "viewer.example", "https://viewer.example/path"] {
        let config = WebConfig { cors_origins: vec![origin.into()], ..WebConfig::default() };
        assert!(matches!(config.check(), Err(WebConfigError::Origin(_))), "{origin}");
    }
    assert_eq!(WebConfig::default().check(), Ok(()));
}

#[tokio::test]
async fn pages_of_other_host_names_cannot_read_the_archive() {
    let public_url = Some("https://pacs.example/imaging".to_owned());
    let node = Node::start_with(WebConfig { public_url, ..WebConfig::default() }).await;
    let ask = async |path: &str, host: &str| {
        let request = Request::get(path).header(header::HOST, host).body(Body::empty());
        node.send(request.expect("a request")).await
    };
    for path in ["/", "/studies", "/dicom-web/studies", "/viewer", "/absent.js", "/dicom-web/x"] {
        let answer = ask(path, "rebound.example:8080").await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(answer.text().contains("public_url"), "{path}: {}", answer.text());
        assert!(!answer.text().contains("rebound"), "{path}: {}", answer.text());
        assert_eq!(ask(path, "[::1").await.status, 400, "{path}");
    }
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "pacs.example"] {
        assert_eq!(ask("/dicom-web/studies", host).await.status, 200, "{host}");
    }
    assert_eq!(ask("/healthz", "monitor.example").await.status, 200);
    assert_eq!(ask("/readyz", "monitor.example").await.status, 200);
}

#[tokio::test]
async fn what_was_lost_is_said_to_be_and_not_busy() {
    let instance = Instance::new(1, 1, 1);
    let other = Instance { syntax: data::IMPLICIT, ..Instance::new(1, 1, 2) };
    let node = Node::start().await;
    node.store(&[instance.clone(), other.clone()]).await;
    node.lose_objects();
    let path = instance.path();
    let frame = format!("{path}/frames/1");
    for path in [path.clone(), frame, format!("{path}/rendered"), other.path()] {
        let answer = node.get(&path).await;
        assert_eq!(answer.status, 500, "{path}: {}", answer.text());
        assert!(answer.text().contains("operator"), "{path}: {}", answer.text());
        assert_eq!(answer.header("retry-after"), "");
    }
    assert_eq!(node.get(&format!("{path}/metadata")).await.status, 200, "the catalog knows");
}
