//! What HL7 senders and modalities may not do to each other: hold all places, hold up a stop, change the orders of another
//! facility, end what another performs; and how a modality sees what is no station's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ORDER, api, change, crlf, order, send, start};
use crate::on_both_setups;
use crate::support::clients::{has_sqlite, python};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::setup::Setup;

on_both_setups! {
    silent_senders_keep_nobody_out = silent;
    a_stop_waits_for_no_half_message = stop;
    facilities_have_their_own_numbers = facilities;
    modalities_see_what_is_no_stations_and_end_their_own_steps = modalities;
    old_orders_are_forgotten = forgotten;
}

/// Connections that a listener takes (`src/hl7/places.rs`).
const PLACES: usize = 64;

/// Whether a message is answered on a new connection.
fn is_answered(node: &Node, message: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(node.hl7()) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let framed = [b"\x0B", message, b"\x1C\r"].concat();
    let mut answer = [0; 256];
    stream.write_all(&framed).is_ok()
        && stream.read(&mut answer).is_ok_and(|read| read > 0)
        && String::from_utf8_lossy(&answer).contains("\rMSA|AA|")
}

fn silent(setup: &Setup) {
    let node = start(setup);
    let begun = Instant::now();
    let idle: Vec<TcpStream> = (0..PLACES + 6)
        .map(|_| {
            let stream = TcpStream::connect(node.hl7()).unwrap();
            // One that never said a word is slow to begin with, one that was answered waits.
            assert!(is_answered(&node, &crlf(ORDER)), "while {:?}", begun.elapsed());
            stream
        })
        .collect();
    assert!(is_answered(&node, &crlf(ORDER)));
    drop(idle);
    let half: Vec<TcpStream> = (0..PLACES)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(node.hl7()).ok()?;
            stream.write_all(b"\x0BMSH|^~").ok()?;
            Some(stream)
        })
        .collect();
    eventually("senders of half messages make room", Duration::from_secs(20), || {
        is_answered(&node, &crlf(ORDER)).then_some(())
    });
    drop(half);
    assert_eq!(api(&node, "/api/orders").as_array().unwrap().len(), 1);
}

fn stop(setup: &Setup) {
    let mut node = start(setup);
    let mut half = TcpStream::connect(node.hl7()).unwrap();
    half.write_all(b"\x0BMSH|^~").unwrap();
    let idle = TcpStream::connect(node.hl7()).unwrap();
    assert!(send(&node, &crlf(ORDER)).contains("\rMSA|AA|M1|"));
    let begun = Instant::now();
    node.signal_stop();
    assert!(node.wait(Duration::from_secs(20)).success());
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    drop((half, idle));
}

fn facilities(setup: &Setup) {
    let node = start(setup);
    let from = |facility: &str, control: &str, text: &str| {
        let text = text.replace("|COUNTY|QIANLI", &format!("|{facility}|QIANLI"));
        send(&node, &crlf(&text.replace("|M1|", &format!("|{control}|"))))
    };
    assert!(from("NORTH", "1", ORDER).contains("\rMSA|AA|1|"));
    let cancel = ORDER.replace("ORC|NW", "ORC|CA");
    let refused = from("SOUTH", "2", &cancel);
    assert!(refused.contains("\rMSA|AE|2|") && refused.contains("no order"), "{refused}");
    let theirs = ORDER.replace("P1^^^COUNTY", "P8^^^SOUTH");
    assert!(from("SOUTH", "3", &theirs).contains("\rMSA|AA|3|"), "their own order");
    let states = || {
        let orders = api(&node, "/api/orders");
        let mut states: Vec<(String, String)> = orders
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["order"]["patient"]["id"].to_string(), one["state"].to_string()))
            .collect();
        states.sort();
        states
    };
    let pair = |id: &str, state: &str| (format!("\"{id}\""), format!("\"{state}\""));
    assert_eq!(states(), [pair("P1", "SCHEDULED"), pair("P8", "SCHEDULED")]);
    let cancel = theirs.replace("ORC|NW", "ORC|CA");
    assert!(from("SOUTH", "4", &cancel).contains("\rMSA|AA|4|"));
    assert_eq!(states(), [pair("P1", "SCHEDULED"), pair("P8", "DISCONTINUED")]);
    // What cannot be read is answered with its number all the same.
    let broken = from("NORTH", "5", &format!("{ORDER}no segment\n"));
    assert!(broken.contains("\rMSA|AR|5|"), "{broken}");
}

fn modalities(setup: &Setup) {
    let node = start(setup);
    let made = node.operator("peer", &["add", "CT2", "--may", "worklist"]);
    assert!(made.status.success());
    for (accession, modality) in [("R1", "CT"), ("R2", "MR")] {
        let mut new = order(accession, "P2");
        new["steps"][0]["modality"] = json!(modality);
        new["steps"][0]["station_ae"] = json!("");
        assert_eq!(change(&node, "POST", "/api/orders", &new).0, 201);
    }
    assert_eq!(change(&node, "POST", "/api/orders", &order("R3", "P3")).0, 201);
    let run = |arguments: &[&str]| -> Option<Value> {
        let ran = python(&node, "orders.py", arguments)?.ok();
        Some(serde_json::from_str(ran.lines().last().unwrap()).unwrap())
    };
    let Some(seen) = run(&["stations", "CT1"]) else { return };
    let accessions = |seen: &Value| {
        let mut all: Vec<String> =
            seen.as_array().unwrap().iter().map(|one| one[0].to_string()).collect();
        all.sort();
        all.join("")
    };
    assert_eq!(accessions(&seen), "\"R1\"\"R3\"", "its own, and what is any CT's");
    assert!(seen.as_array().unwrap().iter().all(|one| one[1] == "CT1"), "{seen}");
    assert_eq!(accessions(&run(&["stations", "CT9", "MR"]).unwrap()), "\"R2\"");
    // Keys have a number of values.
    assert_eq!(run(&["many", "64"]).unwrap()[0], "0000");
    let refused = run(&["many", "30000"]).unwrap();
    assert_eq!(refused, json!(["C000", "a key has more than 64 values"]));
    // Nobody ends what another performs. A node looks at the register every five seconds.
    eventually("another modality is let in and refused", Duration::from_secs(20), || {
        let ran = python(&node, "orders.py", &["steal"])?;
        let said = ran.text.lines().last().unwrap_or_default().to_owned();
        (ran.code == Some(0)).then(|| assert_eq!(said, r#"["0000", "0124", "0000"]"#))
    });
}

fn forgotten(setup: &Setup) {
    // The clock is set back from outside, where that is possible.
    if !matches!(setup, Setup::Embedded) || !has_sqlite() {
        return;
    }
    let mut node = Node::plan(setup).start();
    for (accession, patient) in [("R1", "P2"), ("R3", "P3")] {
        assert_eq!(change(&node, "POST", "/api/orders", &order(accession, patient)).0, 201);
    }
    node.kill();
    let back = "UPDATE orders SET updated_ms = 0 WHERE accession_key = 'r1';
        UPDATE order_steps SET start_date = '20010101';
        UPDATE jobs SET run_at_ms = 0, lease_until_ms = 0 WHERE kind = 'records.forget';";
    let database = node.data().join("qianli.db");
    let ran = Command::new("sqlite3").arg(&database).arg(back).status().expect("run sqlite3");
    assert!(ran.success());
    node.restart();
    let left = eventually("the old order is forgotten", Duration::from_secs(30), || {
        let orders = api(&node, "/api/orders");
        (orders.as_array().unwrap().len() == 1).then_some(orders)
    });
    assert_eq!(left[0]["order"]["accession"], "R3");
    let counted = "qianli_forgotten_total{what=\"orders and performed steps\"} 1";
    eventually("it is counted", Duration::from_secs(10), || {
        node.web().get("/metrics").send_ok().text().contains(counted).then_some(())
    });
    let audit = api(&node, "/api/audit?action=change%20order").to_string();
    assert!(audit.contains("expire"), "{audit}");
}
