//! QIDO-RS through the router.

use serde_json::{Value, json};

use super::data::{IMPLICIT, Instance, Pixels};
use super::node::Node;
use crate::WebConfig;

async fn node() -> Node {
    let node = Node::start().await;
    let mut report = Instance::new(1, 2, 1);
    report.modality = "SR";
    report.pixels = Pixels::None;
    let mut other = Instance::new(2, 1, 1);
    other.patient_id = "P2";
    other.patient_name = "Doe^Jane";
    let instances = [Instance::new(1, 1, 1), Instance::new(1, 1, 2), report, other];
    node.store(&instances).await;
    node
}

async fn uids(node: &Node, query: &str, tag: &str) -> Vec<String> {
    let answer = node.get(query).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let rows = answer.json();
    let rows = rows.as_array().expect("an array");
    rows.iter().filter_map(|row| row[tag]["Value"][0].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn private_attributes_are_found_as_what_they_hold() {
    let node = Node::start().await;
    let mut number = Instance::new(1, 1, 1);
    number.private_text = Some(("DS", "1.50"));
    let mut unknown = Instance::new(1, 1, 2);
    (unknown.syntax, unknown.private_text) = (IMPLICIT, Some(("LO", "Some Text")));
    node.store(&[number, unknown]).await;
    for (query, expected) in [
        ("00091002=1.5", vec!["1.2.826.1.1.1"]),
        ("00091002=15", vec![]),
        ("00091002=some*", vec!["1.2.826.1.1.2"]),
        ("00091002=Some%20Text&00090010=QIANLI%20TEST", vec!["1.2.826.1.1.2"]),
        ("00091002=1.500&00090010=QIANLI%20TEST", vec!["1.2.826.1.1.1"]),
        ("00091002=1.5&00090010=OTHER", vec![]),
    ] {
        let query = format!("/dicom-web/instances?{query}");
        assert_eq!(uids(&node, &query, "00080018").await, expected, "{query}");
    }
}

#[tokio::test]
async fn studies_are_found_by_every_kind_of_match() {
    let node = node().await;
    for (query, expected) in [
        ("PatientID=P1", vec!["1.2.826.1"]),
        ("00100020=P2", vec!["1.2.826.2"]),
        ("PatientName=%E7%8E%8B*", vec!["1.2.826.1"]),
        ("PatientName=*jane*", vec!["1.2.826.2"]),
        ("StudyInstanceUID=1.2.826.2%5C1.2.826.9", vec!["1.2.826.2"]),
        ("ModalitiesInStudy=SR,MR", vec!["1.2.826.1"]),
        ("Modality=SR", vec!["1.2.826.1"]),
        ("StudyDate=20240101-20240103&PatientID=P2", vec!["1.2.826.2"]),
        ("StudyDate=20250101-", vec![]),
    ] {
        let path = format!("/dicom-web/studies?{query}");
        assert_eq!(uids(&node, &path, "0020000D").await, expected, "{query}");
    }
}

#[tokio::test]
async fn no_match_is_an_empty_array() {
    let node = node().await;
    let answer = node.get("/dicom-web/studies?PatientID=NOBODY").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
    assert_eq!(answer.header("content-type"), "application/dicom+json; charset=utf-8");
    let answer = node.get("/dicom-web/studies/9.9.9/series").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
}

#[tokio::test]
async fn what_ohif_asks_first() {
    let node = node().await;
    let list = "/dicom-web/studies?limit=101&offset=0&fuzzymatching=true&\
                includefield=00081030%2C00080060%2C00080090%2C00100030";
    for path in [list.to_owned(), format!("{list}&StudyInstanceUID=1.2.826.1")] {
        let answer = node.get(&path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("warning"), "", "fuzzy matching is done");
        let rows = answer.json();
        let row = rows
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["0020000D"]["Value"][0] == "1.2.826.1"));
        let row = row.expect("the study");
        assert_eq!(row["00081030"]["Value"][0], "HEAD");
        assert_eq!(row["00080061"]["Value"], json!(["CT", "SR"]));
        assert_eq!(row["00201206"]["Value"][0], 2);
        assert_eq!(row["00201208"]["Value"][0], 3);
        assert_eq!(row["00081190"]["Value"][0], "http://localhost/dicom-web/studies/1.2.826.1");
        assert_eq!(row["00100010"]["Value"][0]["Ideographic"], "王^五");
    }
    let series = "/dicom-web/studies/1.2.826.1/series?\
                  includefield=00080021%2C00080031%2C0008103E%2C00200011";
    let answer = node.get(series).await;
    let rows = answer.json();
    let rows = rows.as_array().expect("an array");
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row["0020000E"]["Value"][0] == "1.2.826.1.1");
    let row = row.expect("the series");
    assert_eq!(row["00080060"]["Value"][0], "CT");
    assert_eq!(row["00201209"]["Value"][0], 2);
    assert_eq!(row["00400275"], json!({"vr": "SQ"}));
    let priors = "/dicom-web/studies?00100020=P1&limit=101&offset=0&includefield=00081030";
    assert_eq!(uids(&node, priors, "0020000D").await, ["1.2.826.1"]);
}

#[tokio::test]
async fn levels_know_their_ancestors() {
    let node = node().await;
    let count = |rows: Value| rows.as_array().map(Vec::len);
    assert_eq!(count(node.get("/dicom-web/series").await.json()), Some(3));
    assert_eq!(count(node.get("/dicom-web/instances").await.json()), Some(4));
    assert_eq!(count(node.get("/dicom-web/studies/1.2.826.1/instances").await.json()), Some(3));
    let inside = node.get("/dicom-web/studies/1.2.826.1/series/1.2.826.1.1/instances").await.json();
    assert_eq!(count(inside.clone()), Some(2));
    assert_eq!(inside[1]["00080018"]["Value"][0], "1.2.826.1.1.2");
    assert_eq!(inside[0]["00083002"]["Value"][0], "1.2.840.10008.1.2.1");
    assert_eq!(inside[0]["00280010"]["Value"][0], 2);
    assert!(inside[0].get("00100020").is_none());
    let relational = node.get("/dicom-web/instances?PatientID=P2").await.json();
    assert_eq!(count(relational.clone()), Some(1));
    assert_eq!(relational[0]["00100020"]["Value"][0], "P2");
    // A series that exists, but in another study.
    let wrong = node.get("/dicom-web/studies/1.2.826.2/series/1.2.826.1.1/instances").await;
    assert_eq!(wrong.text(), "[]");
}

#[tokio::test]
async fn attributes_beyond_the_index_are_fetched() {
    let node = node().await;
    let series = "/dicom-web/studies/1.2.826.1/series/1.2.826.1.1";
    let path = format!("{series}/instances?includefield=WindowCenter,PixelData");
    let rows = node.get(&path).await.json();
    assert_eq!(rows[0]["00281050"]["Value"][0], 40.0);
    let uri = rows[0]["7FE00010"]["BulkDataURI"].as_str().unwrap_or_default();
    assert!(uri.starts_with("http://localhost/dicom-web/studies/1.2.826.1/series/"), "{uri}");
}

#[tokio::test]
async fn pages_are_disjoint_and_ours_are_announced() {
    let node = node().await;
    let mut seen = Vec::new();
    for offset in 0..5 {
        let path = format!("/dicom-web/instances?limit=1&offset={offset}");
        seen.extend(uids(&node, &path, "00080018").await);
        assert_eq!(node.get(&path).await.header("warning"), "", "the client's own limit");
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (4, 4));
    assert_eq!(node.get("/dicom-web/studies?limit=0").await.text(), "[]");
}

#[tokio::test]
async fn malformed_queries_and_other_formats() {
    let node = node().await;
    for query in ["StudyDate=x", "limit=-1", "StudyInstanceUID=a", "offset=1.5"] {
        let answer = node.get(&format!("/dicom-web/studies?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.header("content-type").starts_with("text/plain"));
    }
    assert_eq!(node.get("/dicom-web/studies/abc/series").await.status, 400);
    let json = node.get_as("/dicom-web/studies", "application/json").await;
    assert_eq!(json.header("content-type"), "application/json");
    let other = node.get_as("/dicom-web/studies", "text/csv").await;
    assert_eq!(other.status, 406);
    for media in ["application/dicom+json", "application/dicom+xml"] {
        assert!(other.text().contains(media), "{}", other.text());
    }
    let ignored = node.get("/dicom-web/studies?Nonsense=1&RetrieveURL=x").await;
    assert_eq!(ignored.status, 200);
    assert_eq!(ignored.headers.get_all("warning").iter().count(), 1);
    let warning = ignored.header("warning");
    assert!(warning.contains("Nonsense") && warning.contains("RetrieveURL"), "{warning}");
}

#[tokio::test]
async fn rows_as_xml() {
    let node = node().await;
    let media = "multipart/related; type=\"application/dicom+xml\"";
    for accept in
        [media, "multipart/related;type=application/dicom+xml, application/dicom+json;q=0.5"]
    {
        let xml = node.get_as("/dicom-web/studies?includefield=all", accept).await;
        assert_eq!(xml.status, 200);
        assert!(xml.header("content-type").starts_with(media), "{}", xml.header("content-type"));
        let text = xml.text();
        let rows = node.get("/dicom-web/studies").await.json().as_array().map_or(0, Vec::len);
        assert_eq!(text.matches("<NativeDicomModel").count(), rows);
        assert!(text.contains("<Value number=\"1\">1.2.826.1</Value>"), "{text}");
    }
    let preferred = format!("{media};q=0.5, application/dicom+json");
    let json = node.get_as("/dicom-web/studies", &preferred).await;
    assert!(json.header("content-type").starts_with("application/dicom+json"));
    let none = node.get_as("/dicom-web/studies?PatientID=NOBODY", media).await;
    assert_eq!((none.status, none.text().as_str()), (204, ""));
}

#[tokio::test]
async fn totals_are_told_when_asked() {
    let node = node().await;
    for (query, total) in [
        ("count=true", "4"),
        ("count=true&limit=1", "4"),
        ("count=true&limit=1&offset=3", "4"),
        ("count=true&offset=100", "4"),
        ("count=false", ""),
        ("", ""),
    ] {
        let answer = node.get(&format!("/dicom-web/instances?{query}")).await;
        assert_eq!((answer.status, answer.header("x-total-count")), (200, total), "{query}");
    }
    assert_eq!(node.get("/dicom-web/instances?count=perhaps").await.status, 400);
}

#[tokio::test]
async fn names_of_separators_alone_match_nobody() {
    let node = node().await;
    for value in ["%5E", "%5E%5E", "%3D", "%3D%3D", "%5E%3D%5E", ",", "%CC%81", "%CC%81*"] {
        for name in ["PatientName", "ReferringPhysicianName"] {
            let answer = node.get(&format!("/dicom-web/studies?{name}={value}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{name}={value}");
        }
    }
    for (value, status) in [("%00", 400), ("%5C", 400), ("*%00", 400)] {
        for name in ["PatientName", "PatientID", "StudyID"] {
            let answer = node.get(&format!("/dicom-web/studies?{name}={value}")).await;
            assert_eq!(answer.status, status, "{name}={value}");
        }
    }
    let all = node.get("/dicom-web/studies").await.json();
    for value in ["*", "", "*%5E*", "*%5E"] {
        let found = node.get(&format!("/dicom-web/studies?PatientName={value}")).await.json();
        assert_eq!(found.as_array().map(Vec::len), all.as_array().map(Vec::len), "{value}");
    }
}

/// After an upgrade, names are found by their sound bit by bit, and the answer says so until then.
#[tokio::test]
async fn answers_say_when_older_studies_may_be_missing() {
    let node = Node::start_upgraded(WebConfig::default()).await;
    node.store(&[Instance::new(1, 1, 1)]).await;
    let by_sound = "/dicom-web/studies?PatientName=wang&fuzzymatching=true";
    let told = node.get(by_sound).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let warning = told.header("warning");
    assert!(warning.starts_with("299 ") && warning.contains("missing"), "{warning}");
    for complete in ["/dicom-web/studies?PatientName=wang", "/dicom-web/studies?fuzzymatching=true"]
    {
        assert_eq!(node.get(complete).await.header("warning"), "", "{complete}");
    }
    while node.catalog.backfill().await.expect("a step").is_some() {}
    assert_eq!(node.get(by_sound).await.header("warning"), "");
}

#[tokio::test]
async fn queries_that_could_mean_two_things_are_refused() {
    let node = node().await;
    for query in
        ["PatientID=P1&00100020=P2", "limit=1&limit=2", "PatientName=%CD%F5", "charset=gbk"]
    {
        let answer = node.get(&format!("/dicom-web/studies?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    let answer = node.get("/dicom-web/studies?charset=utf-8&PatientID=P1").await;
    assert_eq!((answer.status, answer.header("warning")), (200, ""));
    let other = [("accept-charset".parse().expect("a name"), "gbk, iso-8859-1;q=0.5")];
    let get = "GET".parse().expect("a method");
    let answer = node.request(get, "/dicom-web/studies", &other, Vec::new()).await;
    assert!(answer.status == 200 && answer.header("warning").contains("UTF-8"));
}

#[tokio::test]
async fn one_document_of_xml_is_taken_for_parts_of_it() {
    let node = node().await;
    let answer = node.get_as("/dicom-web/studies", "application/dicom+xml").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = answer.header("content-type");
    assert!(kind.starts_with("multipart/related; type=\"application/dicom+xml\""), "{kind}");
    assert_eq!(answer.parts().len(), 2);
}
