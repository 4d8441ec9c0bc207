//! What requests leave in the audit trail.

use qianli_catalog::{AuditFilter, AuditOrder, AuditRow};

use super::data::Instance;
use super::node::Node;

/// The trail without what storing left, once it has so many rows.
async fn trail(node: &Node, rows: usize) -> Vec<AuditRow> {
    let filter = AuditFilter { order: AuditOrder::OldestFirst, ..AuditFilter::default() };
    for _ in 0..200 {
        let found = node.catalog.audit_of_all(&filter, 1000).await.expect("the trail");
        let found: Vec<_> = found
            .into_iter()
            .filter(|row| (row.entry.action.as_str(), row.entry.outcome.as_str()) != STORED)
            .collect();
        if found.len() >= rows {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{rows} rows did not appear within ten seconds")
}

const STORED: (&str, &str) = ("store", "success");

#[tokio::test]
async fn reads_and_refusals_leave_rows() {
    let node = Node::start().await;
    let image = Instance::new(1, 1, 1);
    node.store(std::slice::from_ref(&image)).await;
    let study = format!("/dicom-web/studies/{}", image.study);
    let instance = format!("{study}/series/{}/instances/{}", image.series, image.uid);
    assert_eq!(node.get("/dicom-web/studies?PatientName=W*").await.status, 200);
    assert_eq!(node.get(&format!("{study}/metadata")).await.status, 200);
    assert_eq!(node.get(&instance).await.status, 200);
    for _ in 0..5 {
        assert_eq!(node.get(&format!("{instance}/frames/1")).await.status, 200);
    }
    assert_eq!(node.get("/dicom-web/studies/1.9.9/metadata").await.status, 404);
    let delete = node.request(axum::http::Method::DELETE, &study, &[], Vec::new()).await;
    assert_eq!(delete.status, 403, "{}", delete.text());
    assert_eq!(node.get("/dicom-web/openapi.json").await.status, 200);
    assert_eq!(node.get(&format!("/studies/{}", image.study)).await.status, 200);

    let rows = trail(&node, 7).await;
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.entry.action.as_str(), row.entry.outcome.as_str(), row.entry.requests))
        .collect();
    let expected = [
        ("search", "success", 1),
        ("read metadata", "success", 1),
        ("read objects", "success", 1),
        ("read pixels", "success", 5),
        ("read metadata", "not found", 1),
        ("delete", "refused", 1),
        ("read page", "success", 1),
    ];
    for one in expected {
        assert!(said.contains(&one), "{one:?} is not among {said:?}");
    }
    assert_eq!(said.len(), expected.len(), "{said:?}");
    let frames = rows.iter().find(|row| row.entry.action == "read pixels").expect("frames");
    assert_eq!(frames.entry.study, image.study);
    assert_eq!(frames.entry.instance, image.uid);
    assert_eq!(frames.entry.instances, 1);
    let search = rows.iter().find(|row| row.entry.action == "search").expect("a search");
    assert_eq!(search.entry.details, r#"{"by":["PatientName"]}"#);
    let of_api = node.get("/api/audit?action=delete").await;
    assert_eq!(of_api.status, 200, "{}", of_api.text());
    let of_api = of_api.json();
    assert_eq!(of_api["rows"].as_array().map(Vec::len), Some(1), "{of_api}");
    assert_eq!(of_api["rows"][0]["outcome"], "refused");
    assert_eq!(node.get("/api/audit?limit=0").await.status, 400);
    let reports = node.catalog.verify_audit(&Default::default()).await.expect("a check");
    assert!(reports.iter().all(|report| report.fault.is_none()));
}
