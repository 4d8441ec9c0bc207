//! Orders from end to end: HL7 in, the worklist out, performed, stored and matched; what does not
//! agree; what is refused.

mod limits;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::on_both_setups;
use crate::support::clients::{dcmtk, has_dcmtk, python};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::new_uid;

on_both_setups! {
    an_order_by_hl7_is_seen_performed_stored_and_matched = whole_way;
    programs_enter_change_and_cancel_orders = rest;
    what_does_not_agree_waits_for_a_person = mismatches;
    hostile_senders_are_told_or_hung_up_on = hostile;
}

const ORDER: &str =
    "MSH|^~\\&|HIS|COUNTY|QIANLI|RAD|20261123080000||ORM^O01|M1|P|2.3.1||||||GB 18030-2000
PID|1||P1^^^COUNTY^MR||Zhang^XiaoDong^^^^^^A~张^小东^^^^^^I||19800102|M
PV1||O|WARD^7^2|||||9^李^四
ORC|NW|PL1|FI1||||^^^20261123093000^^R|||||7^House^Gregory
OBR|1|PL1|FI1|CTCH^胸部平扫^L^P1^Chest routine^L||||||||||||||A1|RP1|SPS1|CT1|||CT
";

/// A node that listens for HL7 and knows a modality.
fn start(setup: &Setup) -> Node {
    let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(config.path(), "[[hl7]]\naddress = \"127.0.0.1:0\"\n").unwrap();
    let node = Node::plan(setup).arg("--config").arg(config.path().display().to_string()).start();
    let made = node.operator("peer", &["add", "CT1", "--may", "store,worklist"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // A node looks at the register every five seconds, and at once when it starts.
    let mut node = node;
    node.kill();
    node.restart();
    node
}

fn hl7_port(node: &Node) -> String {
    node.hl7().port().to_string()
}

/// Sends a message in its framing, and returns the answer.
fn send(node: &Node, message: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.hl7()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let framed = [b"\x0B", message, b"\x1C\r"].concat();
    stream.write_all(&framed).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"\x1C\r") {
        let length = stream.read(&mut buffer).expect("an answer");
        assert!(length > 0, "hung up");
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(answer).unwrap()
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace(" GB 18030-2000", "")
        .replace("GB 18030-2000", "UNICODE UTF-8")
        .replace('\n', "\r")
        .into()
}

fn api(node: &Node, path: &str) -> Value {
    let answer = node.web().get(path).send();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn change(node: &Node, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = node.web().request(method, path);
    let answer = request.header("content-type", "application/json").body(body.to_string()).send();
    let text = answer.text();
    (answer.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Lets the study be quiet at once.
fn settle(node: &Node) {
    node.sql("UPDATE jobs SET run_at_ms = 0 WHERE kind IN ('study.settled', 'order.images')");
}

fn whole_way(setup: &Setup) {
    let node = start(setup);
    let port = hl7_port(&node);
    let file = node.scratch().join("order.hl7");
    std::fs::write(&file, ORDER).unwrap();
    let path = file.display().to_string();
    let Some(ran) = python(&node, "orders.py", &["send", &port, &path, "gb18030"]) else { return };
    let answer = ran.ok();
    assert!(answer.contains("MSA|AA|M1|"), "{answer}");
    let again = python(&node, "orders.py", &["send", &port, &path, "gb18030"]).unwrap().ok();
    assert!(again.contains("MSA|AA|M1|this message was taken before"), "{again}");
    let orders = api(&node, "/api/orders?day=20261123&modality=CT&station=CT1&state=SCHEDULED");
    assert_eq!(orders.as_array().unwrap().len(), 1, "{orders}");
    assert_eq!(orders[0]["order"]["patient"]["name"], "Zhang^XiaoDong=张^小东");
    assert_eq!(orders[0]["order"]["referring"], "李^四");
    let id = orders[0]["id"].as_i64().unwrap();
    let sound = api(&node, "/api/orders?name=xiaodong");
    assert_eq!(sound.as_array().unwrap().len(), 1);

    // Seen by DCMTK.
    if has_dcmtk() {
        let keys = |station: &str| {
            let station =
                format!("ScheduledProcedureStepSequence[0].ScheduledStationAETitle={station}");
            let date =
                "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20261123-";
            let options = [
                "-v",
                "-W",
                "-aet",
                "CT1",
                "-k",
                "PatientName=ZHANG*",
                "-k",
                "AccessionNumber",
                "-k",
                &station,
                "-k",
                date,
                "-k",
                "ScheduledProcedureStepSequence[0].Modality=CT",
            ];
            dcmtk(&node, "findscu", &options, &[]).ok()
        };
        let seen = keys("CT1");
        assert!(seen.contains("[A1") && seen.contains("[20261123]"), "{seen}");
        assert!(!keys("MR1").contains("[A1"));
    }
    // Seen in the character set that is asked for, by any of its names.
    for (charset, name) in
        [("GB18030", "张*"), ("ISO_IR 192", "张^小东"), ("GB18030", "zhang^*"), ("ISO_IR 192", "*")]
    {
        let seen = python(&node, "orders.py", &["worklist", charset, name]).unwrap().ok();
        let seen: Value = serde_json::from_str(seen.lines().last().unwrap()).unwrap();
        assert_eq!(seen[0]["name"], "Zhang^XiaoDong=张^小东", "{charset} {name}: {seen}");
        assert_eq!(seen[0]["charset"], charset);
        assert_eq!(seen[0]["accession"], "A1");
        assert_eq!(seen[0]["code"], "CTCH");
        assert_eq!(seen[0]["keys"].as_array().unwrap().len(), 6, "what was asked, no more: {seen}");
    }
    let none = python(&node, "orders.py", &["worklist", "GB18030", "李*"]).unwrap().ok();
    assert_eq!(none.trim(), "[]");

    // Performed.
    let performed = python(&node, "orders.py", &["perform"]).unwrap().ok();
    let performed: Value = serde_json::from_str(performed.lines().last().unwrap()).unwrap();
    let expected = ["0120", "0121", "0106", "0000", "0111", "0120", "0112", "0000", "0110/A506"];
    assert_eq!(performed["statuses"], json!(expected));
    assert_eq!(api(&node, &format!("/api/orders/{id}"))["state"], "COMPLETED");
    let empty = python(&node, "orders.py", &["worklist", ""]).unwrap().ok();
    assert_eq!(empty.trim(), "[]", "what is done is on no worklist");

    // Stored, and matched.
    let (study, series) =
        (performed["study"].as_str().unwrap(), performed["series"].as_str().unwrap());
    let image = ["store", study, series, "Zhang^XiaoDong=张^小东", "P1", "A1"];
    python(&node, "orders.py", &image).unwrap().ok();
    settle(&node);
    eventually("the study is matched", Duration::from_secs(30), || {
        let order = api(&node, &format!("/api/orders/{id}"));
        (order["studies"] == json!([study])).then_some(())
    });
    assert_eq!(api(&node, "/api/orders/mismatches"), json!([]));
    for (language, word) in [("en", "Orders"), ("zh", "检查申请")] {
        let page = node.web().get(&format!("/orders?lang={language}")).send_ok().text();
        assert!(page.contains(word) && page.contains(study) && page.contains("张小东"), "{page}");
    }
}

fn order(accession: &str, patient: &str) -> Value {
    json!({
        "patient": {"id": patient, "name": "Li^Si=李^四", "birth_date": "19700101", "sex": "F"},
        "accession": accession,
        "procedure": {"description": "Chest"},
        "steps": [{"modality": "CT", "station_ae": "CT1", "start_date": "20261123",
            "start_time": "1000"}],
    })
}

fn rest(setup: &Setup) {
    let node = start(setup);
    let (status, made) = change(&node, "POST", "/api/orders", &order("R1", "P2"));
    assert_eq!(status, 201, "{made}");
    let path = format!("/api/orders/{}", made["id"]);
    assert_eq!(made["state"], "SCHEDULED");
    assert!(made["order"]["procedure"]["study_uid"].as_str().unwrap().starts_with("2.25."));
    let (status, why) = change(&node, "POST", "/api/orders", &json!({"patient": {"id": "P9"}}));
    assert_eq!((status, why.to_string().contains("patient.name")), (400, true), "{why}");
    let (status, why) = change(&node, "POST", "/api/orders", &order("R1", "P3"));
    assert_eq!(status, 409, "another patient under the same numbers: {why}");
    let later =
        json!({"steps": [{"modality": "CT", "station_ae": "CT2", "start_date": "20261124"}]});
    let (status, changed) = change(&node, "PUT", &path, &later);
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["order"]["steps"][0]["station_ae"], "CT2");
    assert_eq!(changed["order"]["patient"]["name"], "Li^Si=李^四");
    let (status, arrived) =
        change(&node, "POST", &format!("{path}/state"), &json!({"state": "ARRIVED"}));
    assert_eq!((status, &arrived["state"]), (200, &json!("ARRIVED")));
    assert_eq!(api(&node, "/api/orders?station=CT2&state=ARRIVED").as_array().unwrap().len(), 1);
    let (status, ended) = change(&node, "DELETE", &path, &json!(null));
    assert_eq!((status, &ended["state"]), (200, &json!("DISCONTINUED")));
    let (status, _) = change(&node, "POST", &format!("{path}/state"), &json!({"state": "STARTED"}));
    assert_eq!(status, 409);
    assert_eq!(change(&node, "DELETE", "/api/orders/77", &json!(null)).0, 404);
    assert_eq!(node.web().get("/api/orders?state=LOST").send().status, 400);
    let audit = api(&node, "/api/audit?action=change%20order").to_string();
    assert!(audit.contains("change order") && !audit.contains("Li^Si"), "{audit}");
}

fn mismatches(setup: &Setup) {
    let node = start(setup);
    let (_, first) = change(&node, "POST", "/api/orders", &order("R1", "P2"));
    let (_, second) = change(&node, "POST", "/api/orders", &order("R2", "P3"));
    let study = new_uid();
    let series = new_uid();
    let image = ["store", &study, &series, "Li^Si", "P3", "R1"];
    let Some(ran) = python(&node, "orders.py", &image) else { return };
    ran.ok();
    settle(&node);
    let open = || {
        eventually("a mismatch", Duration::from_secs(30), || {
            let found = api(&node, "/api/orders/mismatches");
            (found.as_array().unwrap().len() == 1).then(|| found[0].clone())
        })
    };
    let one = open();
    assert_eq!((&one["kind"], &one["study"]), (&json!("other-patient"), &json!(study)));
    assert_eq!((&one["order"], &one["differs"]), (&first["id"], &json!(["patient-id"])));
    let page = node.web().get("/orders?lang=en").send_ok().text();
    assert!(page.contains("on images of another patient"), "{page}");
    let path = format!("/api/orders/mismatches/{}", one["id"]);
    let assign = json!({"decision": "assign", "order": second["id"]});
    assert_eq!(change(&node, "POST", &path, &assign).0, 204);
    assert_eq!(api(&node, "/api/orders/mismatches"), json!([]));
    let belongs = api(&node, &format!("/api/orders/{}", second["id"]));
    assert_eq!((&belongs["studies"], &belongs["state"]), (&json!([study]), &json!("COMPLETED")));
    assert_eq!(change(&node, "POST", &path, &json!({"decision": "undo"})).0, 204);
    assert_eq!(api(&node, &format!("/api/orders/{}", second["id"]))["studies"], json!([]));
    open();
    // The image says what it said.
    let metadata = node.web().json(&format!("/studies/{study}/metadata"));
    assert_eq!(metadata[0]["00100020"]["Value"][0], "P3");
    assert_eq!(metadata[0]["00080050"]["Value"][0], "R1");
}

fn hostile(setup: &Setup) {
    let node = start(setup);
    let refused = |text: &str, code: &str, place: &str| {
        let answer = send(&node, &crlf(text));
        let code = format!("\rMSA|{code}|");
        assert!(answer.contains(&code) && answer.contains(place), "{answer}");
    };
    refused(&ORDER.replace("ORM^O01", "SIU^S12"), "AR", "MSH^1^9");
    refused(&ORDER.replace("|CT1|||CT", "|CT1"), "AE", "OBR^1^24");
    refused(&ORDER.replace("ORC|NW", "ORC|CA"), "AE", "no order with these numbers");
    refused("nonsense", "AR", "MSH");
    assert!(send(&node, &crlf(ORDER)).contains("\rMSA|AA|M1|"));
    let other = ORDER.replace("P1^^^COUNTY", "P8^^^COUNTY").replace("|M1|", "|M2|");
    refused(&other, "AE", "is of another patient");
    // What is no MLLP at all is hung up on.
    let mut stream = TcpStream::connect(node.hl7()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    // Half a message holds nobody up.
    let mut half = TcpStream::connect(node.hl7()).unwrap();
    half.write_all(b"\x0BMSH|^~").unwrap();
    assert!(send(&node, &crlf(ORDER)).contains("taken before"));
    assert_eq!(api(&node, "/api/orders").as_array().unwrap().len(), 1);
    let listed = api(&node, "/api/orders/refused");
    assert_eq!(listed.as_array().unwrap().len(), 6, "{listed}");
    let all = format!("{listed}{}", node.log());
    assert!(!all.contains("Zhang") && !all.contains("19800102"), "patients stay out of logs");
    // A peer that may only store is told nothing of patients.
    let mut node = node;
    if has_dcmtk() {
        let seen =
            dcmtk(&node, "findscu", &["-v", "-W", "-aet", "STRANGER", "-k", "PatientName"], &[]);
        assert!(!seen.text.contains("Zhang"), "{}", seen.text);
    }
    node.kill();
}
