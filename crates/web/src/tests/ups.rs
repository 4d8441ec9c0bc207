//! UPS-RS through the router: each transaction, and each row of its table of errors.

use axum::http::{HeaderName, Method, header};
use serde_json::{Value, json};

use super::node::{Answer, Node};

const UID: &str = "1.2.826.9.1";
const ITEM: &str = "/dicom-web/workitems/1.2.826.9.1";
const JSON: &str = "application/dicom+json";

fn fresh() -> Value {
    json!({
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741202": {"vr": "LO", "Value": ["reading"]},
        "00741204": {"vr": "LO", "Value": ["Read a CT"]},
        "00404005": {"vr": "DT", "Value": ["20240305120000"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100021": {"vr": "LO", "Value": ["H"]},
    })
}

fn performed() -> Value {
    let code = json!({"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]});
    json!({"00741216": {"vr": "SQ", "Value": [{
        "00404028": code,
        "00404019": code,
        "00404050": {"vr": "DT", "Value": ["20240305121000"]},
        "00404051": {"vr": "DT", "Value": ["20240305122000"]},
        "00404033": {"vr": "SQ"},
    }]}})
}

fn state(word: &str, transaction: &str) -> Value {
    let mut request = json!({"00741000": {"vr": "CS", "Value": [word]}});
    if !transaction.is_empty() {
        request["00081195"] = json!({"vr": "UI", "Value": [transaction]});
    }
    request
}

async fn send(node: &Node, method: Method, path: &str, body: &Value) -> Answer {
    let headers = [(header::CONTENT_TYPE, JSON)];
    node.request(method, path, &headers, body.to_string().into_bytes()).await
}

async fn post(node: &Node, path: &str, body: &Value) -> Answer {
    send(node, Method::POST, path, body).await
}

async fn create(node: &Node, uid: &str, body: &Value) {
    let answer = post(node, &format!("/dicom-web/workitems?{uid}"), body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn change(node: &Node, word: &str, transaction: &str) -> Answer {
    send(node, Method::PUT, &format!("{ITEM}/state"), &state(word, transaction)).await
}

fn check(answer: &Answer, status: u16, warning: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let expected = match warning {
        "" => String::new(),
        text => format!("299 qianli: {text}"),
    };
    assert_eq!(answer.header("warning"), expected, "{}", answer.text());
}

#[tokio::test]
async fn creating_names_the_workitem() {
    let node = Node::start().await;
    for (query, inside, expected) in [
        ("?1.2.9.1", "", Some("1.2.9.1")),
        ("?workitem=1.2.9.2", "1.2.9.2", Some("1.2.9.2")),
        ("?AffectedSOPInstanceUID=1.2.9.3", "", Some("1.2.9.3")),
        ("", "1.2.9.4", Some("1.2.9.4")),
        ("", "", None),
    ] {
        let mut body = fresh();
        if !inside.is_empty() {
            body["00080018"] = json!({"vr": "UI", "Value": [inside]});
        }
        let answer = post(&node, &format!("/dicom-web/workitems{query}"), &body).await;
        assert_eq!((answer.status, answer.text().as_str()), (201, ""), "{query}");
        let location = answer.header("content-location").to_owned();
        assert_eq!(location, answer.header("location"));
        let uid = location.strip_prefix("http://localhost/dicom-web/workitems/").expect("a URL");
        match expected {
            Some(expected) => assert_eq!(uid, expected),
            None => assert!(uid.starts_with("2.25."), "{uid}"),
        }
        // Attributes of type 2 were left out, so some were added.
        check(&answer, 201, "The Workitem was created with modifications.");
        let read = node.get(&format!("/dicom-web/workitems/{uid}")).await.json();
        assert_eq!(read[0]["00080018"]["Value"][0], uid);
        assert_eq!(read[0]["00080016"]["Value"][0], "1.2.840.10008.5.1.4.34.6.1");
        assert_eq!(read[0]["00100010"]["Value"][0]["Ideographic"], "王^小东");
        assert_eq!(read[0]["00404025"], json!({"vr": "SQ"}));
    }
}

#[tokio::test]
async fn creating_is_refused() {
    let node = Node::start().await;
    let workitems = "/dicom-web/workitems";
    create(&node, UID, &fresh()).await;
    check(&post(&node, &format!("{workitems}?{UID}"), &fresh()).await, 409, "");
    check(&post(&node, &format!("{workitems}?workitem=x"), &fresh()).await, 400, "");
    let mut other = fresh();
    other["00080018"] = json!({"vr": "UI", "Value": ["1.2.9.9"]});
    check(&post(&node, &format!("{workitems}?1.2.9.8"), &other).await, 400, "");
    let mut claimed = fresh();
    claimed["00741000"]["Value"][0] = "IN PROGRESS".into();
    let answer = post(&node, workitems, &claimed).await;
    check(&answer, 400, "");
    assert!(answer.text().contains("C309"), "{}", answer.text());
    for (kind, body, status) in [
        (JSON, &b"{"[..], 400),
        (JSON, b"", 400),
        (JSON, b"[]", 400),
        ("application/json", b"{}", 400),
        ("text/plain", b"{}", 415),
        ("application/dicom", b"DICM", 415),
        ("application/dicom+xml", b"<x/>", 400),
        ("multipart/related; type=\"application/dicom\"; boundary=X", b"--X--", 415),
        ("multipart/related; type=\"application/dicom+xml\"; boundary=X", b"--X--", 400),
        ("multipart/related; type=\"application/dicom+xml\"", b"--X--", 400),
    ] {
        let headers = [(header::CONTENT_TYPE, kind)];
        let answer = node.request(Method::POST, workitems, &headers, body.to_vec()).await;
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
    }
    let large = vec![b' '; (1 << 20) + 1];
    let headers = [(header::CONTENT_TYPE, JSON)];
    let answer = node.request(Method::POST, workitems, &headers, large).await;
    assert_eq!(answer.status, 413);
    let headers = [(header::CONTENT_TYPE, JSON), (header::CONTENT_ENCODING, "gzip")];
    let answer = node.request(Method::POST, workitems, &headers, b"{}".to_vec()).await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn workitems_come_and_go_as_xml() {
    let node = Node::start().await;
    create(&node, UID, &fresh()).await;
    let xml = node.get_as(ITEM, "application/dicom+xml").await;
    assert_eq!((xml.status, xml.header("content-type")), (200, "application/dicom+xml"));
    assert!(xml.text().contains("keyword=\"ProcedureStepLabel\""), "{}", xml.text());
    let multipart = "multipart/related; type=\"application/dicom+xml\"";
    let parts = node.get_as(ITEM, multipart).await.parts();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].1, xml.body);
    let many = node.get_as("/dicom-web/workitems", multipart).await.parts();
    assert!(many[0].0.contains("/workitems/1.2.826.9.1"), "{}", many[0].0);
    assert_eq!(node.get_as(ITEM, "image/png").await.status, 406);
    assert_eq!(node.get_as("/dicom-web/workitems", "image/png").await.status, 406);

    // What was read can be created again under another UID.
    let text = xml.text().replace(UID, "1.2.826.9.2");
    let single = [(header::CONTENT_TYPE, "application/dicom+xml")];
    let path = "/dicom-web/workitems";
    let answer = node.request(Method::POST, path, &single, text.clone().into_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let text = text.replace("1.2.826.9.2", "1.2.826.9.3");
    let body = format!("--X\r\nContent-Type: application/dicom+xml\r\n\r\n{text}\r\n--X--\r\n");
    let kind =
        [(header::CONTENT_TYPE, "multipart/related; type=\"application/dicom+xml\"; boundary=X")];
    let answer = node.request(Method::POST, path, &kind, body.into_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let read = |uid: &'static str| {
        let node = &node;
        async move { node.get(&format!("/dicom-web/workitems/{uid}")).await.json()[0].clone() }
    };
    let (mut first, mut third) = (read(UID).await, read("1.2.826.9.3").await);
    for value in [&mut first, &mut third] {
        let object = value.as_object_mut().expect("an object");
        object.remove("00080018");
        object.remove("00404010");
    }
    assert_eq!(first, third);
}

#[tokio::test]
async fn a_workitem_goes_through_its_life() {
    let node = Node::start().await;
    create(&node, UID, &fresh()).await;
    let label = json!({"00741204": {"vr": "LO", "Value": ["Read it now"]}});
    check(&post(&node, ITEM, &label).await, 200, "");
    check(&change(&node, "IN PROGRESS", "1.5").await, 200, "");
    let read = node.get(ITEM).await;
    assert!(!read.text().contains("00081195"), "the lock is a secret: {}", read.text());
    assert_eq!(read.header("cache-control"), "no-store");
    assert_eq!(read.json()[0]["00741204"]["Value"][0], "Read it now");
    check(&post(&node, &format!("{ITEM}?transaction-uid=1.5"), &performed()).await, 200, "");
    let mut with_lock = json!({"00741202": {"vr": "LO", "Value": ["other"]}});
    with_lock["00081195"] = json!({"vr": "UI", "Value": ["1.5"]});
    check(&post(&node, ITEM, &with_lock).await, 200, "");
    check(&change(&node, "COMPLETED", "1.5").await, 200, "");
    assert_eq!(node.get(ITEM).await.json()[0]["00741000"]["Value"][0], "COMPLETED");
}

#[tokio::test]
async fn updates_are_refused() {
    let node = Node::start().await;
    let label = json!({"00741204": {"vr": "LO", "Value": ["x"]}});
    let inconsistent =
        "The submitted request is inconsistent with the current state of the Workitem.";
    check(&post(&node, ITEM, &label).await, 404, "");
    check(&post(&node, "/dicom-web/workitems/x", &label).await, 400, "");
    create(&node, UID, &fresh()).await;
    let unclaimed = "The target URI did not reference a claimed Workitem.";
    check(&post(&node, &format!("{ITEM}?1.5"), &label).await, 409, unclaimed);
    check(&post(&node, ITEM, &json!({"00741204": {"vr": "LO"}})).await, 400, "");
    check(&post(&node, ITEM, &state("COMPLETED", "")).await, 400, "");
    let answer = post(&node, ITEM, &json!({"00100020": {"vr": "LO", "Value": ["P2"]}})).await;
    check(&answer, 400, "");
    assert!(answer.text().contains("PatientID") && !answer.text().contains("P2"));
    change(&node, "IN PROGRESS", "1.5").await;
    check(&post(&node, ITEM, &label).await, 400, inconsistent);
    check(&post(&node, &format!("{ITEM}?transaction-uid=1.6"), &label).await, 400, inconsistent);
    check(&post(&node, &format!("{ITEM}?transaction-uid=x"), &label).await, 400, inconsistent);
    change(&node, "CANCELED", "1.5").await;
    check(&post(&node, &format!("{ITEM}?transaction-uid=1.5"), &label).await, 400, inconsistent);
}

#[tokio::test]
async fn state_changes_are_refused() {
    let node = Node::start().await;
    let inconsistent = "The submitted request is inconsistent with the state of the UPS Instance.";
    check(&change(&node, "IN PROGRESS", "1.5").await, 404, "");
    create(&node, UID, &fresh()).await;
    check(&change(&node, "IN PROGRESS", "").await, 400, "The Transaction UID is missing.");
    check(&change(&node, "IN PROGRESS", "x").await, 400, "The Transaction UID is incorrect.");
    check(&change(&node, "SCHEDULED", "1.5").await, 400, inconsistent);
    check(&change(&node, "SLEEPING", "1.5").await, 400, inconsistent);
    check(&change(&node, "COMPLETED", "1.5").await, 409, inconsistent);
    check(&change(&node, "CANCELED", "1.5").await, 409, inconsistent);
    check(&change(&node, "IN PROGRESS", "1.5").await, 200, "");
    check(&change(&node, "IN PROGRESS", "1.6").await, 409, inconsistent);
    check(&change(&node, "COMPLETED", "1.6").await, 400, "The Transaction UID is incorrect.");
    check(&change(&node, "COMPLETED", "").await, 400, "The Transaction UID is missing.");
    let unfinished = change(&node, "COMPLETED", "1.5").await;
    check(&unfinished, 409, inconsistent);
    assert!(unfinished.text().contains("UnifiedProcedureStepPerformedProcedureSequence"));
    post(&node, &format!("{ITEM}?1.5"), &performed()).await;
    check(&change(&node, "COMPLETED", "1.5").await, 200, "");
    let again = "The UPS is already in the requested state of COMPLETED.";
    check(&change(&node, "COMPLETED", "1.5").await, 200, again);
    check(&change(&node, "CANCELED", "1.5").await, 409, inconsistent);
    check(&change(&node, "IN PROGRESS", "1.7").await, 409, inconsistent);
}

#[tokio::test]
async fn cancellation_is_asked_for() {
    let node = Node::start().await;
    let path = format!("{ITEM}/cancelrequest");
    let nothing = || node.request(Method::POST, &path, &[], Vec::new());
    check(&nothing().await, 404, "");
    create(&node, UID, &fresh()).await;
    let reason = json!({"00741238": {"vr": "LT", "Value": ["not needed"]}});
    check(&post(&node, &format!("{path}/RIS"), &reason).await, 202, "");
    let read = node.get(ITEM).await.json();
    assert_eq!(read[0]["00741000"]["Value"][0], "CANCELED");
    assert_eq!(read[0]["00741002"]["Value"][0]["00741238"]["Value"][0], "not needed");
    check(&nothing().await, 202, "The UPS is already in the requested state of CANCELED.");
    let too_long = format!("{path}?requester=SEVENTEEN-LETTERS");
    assert_eq!(post(&node, &too_long, &reason).await.status, 400);

    // One that is being worked on goes on until its performer listens.
    create(&node, "1.2.826.9.2", &fresh()).await;
    let item = "/dicom-web/workitems/1.2.826.9.2";
    send(&node, Method::PUT, &format!("{item}/state"), &state("IN PROGRESS", "1.5")).await;
    check(&post(&node, &format!("{item}/cancelrequest"), &reason).await, 202, "");
    assert_eq!(node.get(item).await.json()[0]["00741000"]["Value"][0], "IN PROGRESS");
    post(&node, &format!("{item}?1.5"), &performed()).await;
    send(&node, Method::PUT, &format!("{item}/state"), &state("COMPLETED", "1.5")).await;
    let inconsistent = "The submitted request is inconsistent with the state of the UPS Instance.";
    check(&post(&node, &format!("{item}/cancelrequest"), &reason).await, 409, inconsistent);
}

#[tokio::test]
async fn the_worklist_is_searched() {
    let node = Node::start().await;
    for (uid, label, priority) in
        [("1.2.9.1", "CT", "HIGH"), ("1.2.9.2", "MR", "LOW"), ("1.2.9.3", "CT head", "LOW")]
    {
        let mut body = fresh();
        body["00741204"]["Value"][0] = label.into();
        body["00741200"]["Value"][0] = priority.into();
        body["00402001"] = json!({"vr": "LO", "Value": ["a reason"]});
        create(&node, uid, &body).await;
    }
    let found = async |query: &str| {
        let answer = node.get(&format!("/dicom-web/workitems?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let rows = answer.json();
        let uids: Vec<String> = rows
            .as_array()
            .expect("an array")
            .iter()
            .map(|row| row["00080018"]["Value"][0].as_str().unwrap_or_default().to_owned())
            .collect();
        (uids.join(" "), answer.header("warning").to_owned(), rows)
    };
    for (query, expected) in [
        ("", "1.2.9.1 1.2.9.2 1.2.9.3"),
        ("ProcedureStepLabel=CT*", "1.2.9.1 1.2.9.3"),
        ("ScheduledProcedureStepPriority=LOW&00741204=ct*", "1.2.9.3"),
        ("ProcedureStepState=COMPLETED", ""),
        ("SOPInstanceUID=1.2.9.3,1.2.9.1", "1.2.9.1 1.2.9.3"),
        ("PatientName=%E7%8E%8B*&limit=1&offset=1", "1.2.9.2"),
        ("ScheduledProcedureStepStartDateTime=20240305-20240306&limit=2", "1.2.9.1 1.2.9.2"),
        ("ScheduledStationNameCodeSequence.CodeValue=X", ""),
    ] {
        let (uids, warning, _) = found(query).await;
        assert_eq!((uids.as_str(), warning.as_str()), (expected, ""), "{query}");
    }
    let (_, warning, _) = found("Nonsense=1&includefield=Nope").await;
    assert!(warning.starts_with("299 "), "{warning}");
    let reason = "00402001";
    assert!(found("").await.2[0].get(reason).is_none());
    assert!(found("includefield=00402001").await.2[0].get(reason).is_some());
    assert!(found("includefield=all").await.2[0].get(reason).is_some());
    assert!(found("00402001=a*").await.2[0].get(reason).is_some(), "what is matched is returned");
    assert!(!found("includefield=all").await.2.to_string().contains("00081195"));
    for bad in [
        "limit=x",
        "offset=-1",
        "fuzzymatching=2",
        "SOPInstanceUID=x",
        "ScheduledProcedureStepStartDateTime=x",
        "PatientID=%20",
        "PatientID=%00",
        "PatientID=a&00100020=b",
        "limit=1&limit=2",
        "charset=gbk",
    ] {
        let answer = node.get(&format!("/dicom-web/workitems?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let many: Vec<String> = (0..40).map(|_| "PatientID=x".to_owned()).collect();
    let answer = node.get(&format!("/dicom-web/workitems?{}", many.join("&"))).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let node = Node::start().await;
    create(&node, UID, &fresh()).await;
    let worklist = "/dicom-web/workitems/1.2.840.10008.5.1.4.34.5";
    let filtered = "/dicom-web/workitems/1.2.840.10008.5.1.4.34.5.1";
    let send =
        async |method: Method, path: String| node.request(method, &path, &[], Vec::new()).await;
    let (post, delete) = (Method::POST, Method::DELETE);
    let answer =
        send(post.clone(), format!("{ITEM}/subscribers/READER%201?deletionlock=true")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let channel = answer.header("content-location");
    assert_eq!(channel, "ws://localhost/dicom-web/subscribers/READER%201");
    for (method, path, status) in [
        (&post, format!("{worklist}/subscribers/A"), 201),
        (&post, format!("{filtered}/subscribers/A?filter=00741202=reading"), 201),
        (&post, format!("{filtered}/subscribers/A?00741202=chest&deletionlock=false"), 201),
        (&post, format!("{filtered}/subscribers/A"), 400),
        (&post, format!("{filtered}/subscribers/A?filter=nonsense"), 400),
        (&post, format!("{ITEM}/subscribers/SEVENTEEN-LETTERS"), 400),
        (&post, format!("{ITEM}/subscribers/A?deletionlock=maybe"), 400),
        (&post, "/dicom-web/workitems/1.2.9.9/subscribers/A".to_owned(), 404),
        (&post, "/dicom-web/workitems/x/subscribers/A".to_owned(), 400),
        (&post, format!("{ITEM}/subscribers/A/suspend"), 400),
        (&post, format!("{worklist}/subscribers/A/suspend"), 200),
        (&post, format!("{worklist}/subscribers/A/suspend"), 404),
        (&post, format!("{filtered}/subscribers/A/suspend"), 200),
        (&post, format!("{filtered}/subscribers/B/suspend"), 404),
        (&delete, format!("{ITEM}/subscribers/A"), 200),
        (&delete, format!("{ITEM}/subscribers/A"), 404),
        (&delete, format!("{worklist}/subscribers/A"), 404),
        (&delete, "/dicom-web/workitems/1.2.9.9/subscribers/A".to_owned(), 404),
        (&delete, format!("{ITEM}/subscribers/READER%201"), 200),
    ] {
        let answer = send(method.clone(), path.clone()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let plain = send(Method::GET, "/dicom-web/subscribers/A".to_owned()).await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
}

/// A page of another site could make a browser send these without asking.
#[tokio::test]
async fn other_sites_cannot_change_the_worklist() {
    let node = Node::start().await;
    create(&node, UID, &fresh()).await;
    let origin: (HeaderName, &str) = (header::ORIGIN, "https://evil.example");
    for (method, path) in [
        (Method::POST, "/dicom-web/workitems".to_owned()),
        (Method::POST, ITEM.to_owned()),
        (Method::PUT, format!("{ITEM}/state")),
        (Method::POST, format!("{ITEM}/cancelrequest")),
        (Method::POST, format!("{ITEM}/subscribers/A")),
        (Method::DELETE, format!("{ITEM}/subscribers/A")),
        (Method::GET, "/dicom-web/subscribers/A".to_owned()),
    ] {
        let answer =
            node.request(method.clone(), &path, std::slice::from_ref(&origin), Vec::new()).await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
    let own = [(header::ORIGIN, "http://localhost")];
    let path = format!("{ITEM}/cancelrequest");
    assert_eq!(node.request(Method::POST, &path, &own, Vec::new()).await.status, 202);
}

#[tokio::test]
async fn searches_count_what_is_beyond_the_page() {
    let node = Node::start().await;
    for number in 1..=3 {
        create(&node, &format!("1.2.9.{number}"), &fresh()).await;
    }
    for (query, rows, total) in [
        ("?limit=1&count=true", 1, "3"),
        ("?offset=2&count=true", 1, "3"),
        ("?count=true&00741200=LOW", 0, "0"),
        ("?limit=1", 1, ""),
        ("?count=false", 3, ""),
    ] {
        let answer = node.get(&format!("/dicom-web/workitems{query}")).await;
        assert_eq!(answer.json().as_array().map(Vec::len), Some(rows), "{query}");
        assert_eq!(
            (answer.header("x-total-count"), answer.header("warning")),
            (total, ""),
            "{query}"
        );
    }
    assert_eq!(node.get("/dicom-web/workitems?count=maybe").await.status, 400);
}
