//! Deletion over DICOMweb.

use axum::http::{Method, header};

use super::data::Instance;
use super::node::{Answer, Node};
use crate::WebConfig;

async fn delete(node: &Node, path: &str) -> Answer {
    node.request(Method::DELETE, path, &[], Vec::new()).await
}

async fn count(node: &Node) -> Option<usize> {
    node.get("/dicom-web/instances").await.json().as_array().map(Vec::len)
}

#[tokio::test]
async fn deleting_needs_the_operators_leave() {
    let node = Node::start().await;
    node.store(&[Instance::new(1, 1, 1)]).await;
    let answer = delete(&node, "/dicom-web/studies/1.2.826.1").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("allow_delete = true"), "{}", answer.text());
    assert_eq!(node.get("/dicom-web/deletions").await.status, 403);
    assert_eq!(count(&node).await, Some(1));
}

#[tokio::test]
async fn every_level_is_deleted_and_comes_back() {
    let node = Node::start_with(WebConfig { allow_delete: true, ..WebConfig::default() }).await;
    let all = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)].map(|(s, r, n)| Instance::new(s, r, n));
    node.store(&all).await;
    assert_eq!(delete(&node, &all[1].path()).await.status, 204);
    assert_eq!(node.get(&format!("{}/metadata", all[1].path())).await.status, 404);
    assert_eq!(count(&node).await, Some(3));
    let series = delete(&node, "/dicom-web/studies/1.2.826.1/series/1.2.826.1.2").await;
    assert_eq!((series.status, series.body.len()), (204, 0));
    assert_eq!(count(&node).await, Some(2));
    assert_eq!(delete(&node, "/dicom-web/studies/1.2.826.1/").await.status, 204);
    assert_eq!(delete(&node, "/dicom-web/studies/1.2.826.1").await.status, 404);
    assert_eq!(delete(&node, "/dicom-web/studies/none").await.status, 400);
    assert_eq!(count(&node).await, Some(1));

    let list = node.get("/dicom-web/deletions").await.json();
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 3);
    assert_eq!(
        (list[2]["instance"].as_str(), list[2]["by"].as_str()),
        (Some("1.2.826.1.1.2"), Some("DICOMweb"))
    );
    assert!(!list[0].to_string().contains("Wang"), "no patient data");
    let path = series.header("content-location").strip_prefix("http://localhost").expect("a URL");
    let restore = format!("{path}/restore");
    let bare = node.request(Method::POST, &restore, &[], Vec::new()).await;
    assert_eq!(bare.status, 415, "another site could send this");
    let json = [(header::CONTENT_TYPE, "application/json")];
    let restored = node.request(Method::POST, &restore, &json, Vec::new()).await;
    assert_eq!((restored.status, restored.json()["restored"].as_i64()), (200, Some(1)));
    let again = node.request(Method::POST, &restore, &json, Vec::new()).await;
    assert_eq!((again.status, again.text().as_str()), (409, "the deletion is restored\n"));
    assert_eq!(node.get(&all[2].path()).await.status, 200);
    assert_eq!(count(&node).await, Some(2));
    node.store(&[all[0].clone()]).await;
    assert_eq!(count(&node).await, Some(3), "what was deleted can be stored again");
}

/// Pages of other sites can neither delete nor store, whatever a browser lets them send.
#[tokio::test]
async fn other_sites_change_nothing() {
    let node = Node::start_with(WebConfig { allow_delete: true, ..WebConfig::default() }).await;
    let instance = Instance::new(1, 1, 1);
    node.store(std::slice::from_ref(&instance)).await;
    let foreign = [(header::ORIGIN, "https://elsewhere.example")];
    let path = instance.path();
    for (method, path) in [(Method::DELETE, path.as_str()), (Method::POST, "/dicom-web/studies")] {
        let answer = node.request(method, path, &foreign, Vec::new()).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert_eq!(count(&node).await, Some(1));
    let own = [(header::ORIGIN, "http://localhost")];
    assert_eq!(node.request(Method::DELETE, &path, &own, Vec::new()).await.status, 204);
}
