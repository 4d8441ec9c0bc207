//! Routing with storage commitment: a delivery counts when its destination says that it keeps everything.

use super::{LIMIT, StoreScp, deliveries, ended, peer, route, series, stow};
use crate::on_both_setups;
use crate::support::clients::{self, Served};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::Place;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

on_both_setups! {
    /// The destination says it on the association that asked, or on one of its own.
    a_destination_says_that_it_keeps_everything = both_ways;
    /// What it lost is sent again; what it goes on losing waits for a person.
    what_is_not_kept_is_sent_again = failures;
    /// A destination that says nothing is asked again.
    silence_is_asked_again = silence;
    /// A node that is killed while it waits hears the report after its restart, from whom it asked only.
    a_killed_node_hears_the_report = killed;
    /// A destination without storage commitment has everything, and a person is told.
    no_storage_commitment_is_told = not_offered;
}

const TITLE: &str = "COMMITSCP";

struct Bench {
    node: Node,
    scp: Served,
    folder: PathBuf,
}

impl Bench {
    /// A node with a rule for the SCP, which answers in a mode.
    fn start(setup: &Setup, mode: &str, wait: &str) -> Option<Self> {
        let node =
            Node::plan(setup).args(["--settle-after", "1s", "--commitment-wait", wait]).start();
        let folder = node.scratch().join("commit");
        fs::create_dir_all(&folder).expect("create a folder");
        let scp = Served::python_with("commit_scp.py", &[&folder.display().to_string()])?;
        let bench = Self { node, scp, folder };
        bench.tell("mode", mode);
        bench.tell("port", &bench.node.dimse().port().to_string());
        peer(&bench.node, TITLE, &format!("127.0.0.1:{}", bench.scp.port));
        route(&bench.node, &["add", "--to", &format!("dicom:{TITLE}"), "--commit"]);
        Some(bench)
    }

    fn tell(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("write a file");
    }

    /// Lines that the SCP wrote.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn send(&self, instances: u32) -> Place {
        let place = Place::new();
        stow(&self.node, &series(&place, instances));
        place
    }

    /// The delivery of a study when it is in a state.
    #[track_caller]
    fn of(&self, place: &Place, state: &str) -> Value {
        let mut last = Value::Null;
        eventually(&format!("the delivery is {state}; SCP: {:?}", self.folder), LIMIT, || {
            let all = deliveries(&self.node);
            let found = all.into_iter().find(|one| one["study"] == place.study.as_str())?;
            last = found.clone();
            (found["state"] == state).then_some(found)
        })
    }
}

fn numbers(delivery: &Value) -> [Option<i64>; 3] {
    ["taken", "committed", "refused"].map(|name| delivery[name].as_i64())
}

fn both_ways(setup: &Setup) {
    let Some(bench) = Bench::start(setup, "same", "60s") else { return };
    let place = bench.send(3);
    let delivery = bench.of(&place, "committed");
    assert_eq!(numbers(&delivery), [Some(3), Some(3), Some(0)], "{delivery}");
    bench.tell("mode", "new");
    let place = bench.send(2);
    assert_eq!(numbers(&bench.of(&place, "committed")), [Some(2), Some(2), Some(0)]);
    assert_eq!(bench.lines("status"), [format!("{TITLE} 0000")]);
    let asked = bench.lines("asked");
    assert!(asked[0].ends_with(" 3") && asked[1].ends_with(" 2"), "{asked:?}");
    assert_eq!(bench.lines("stored").len(), 5, "each was sent once");
    for (language, word) in [("en", "committed"), ("zh", "已确认存储")] {
        let page = bench.node.web().get(&format!("/routes?lang={language}")).send_ok().text();
        assert!(page.contains(word), "{page}");
    }
    // One more of the study: it alone is sent, and asked about.
    stow(&bench.node, &[crate::support::synth::ct(&place, 3, 64)]);
    eventually("the third object is kept", LIMIT, || {
        let delivery = bench.of(&place, "committed");
        (delivery["committed"] == 3).then_some(())
    });
    assert_eq!((bench.lines("stored").len(), bench.lines("asked").len()), (6, 3));
    let rules = bench.node.web().get("/api/routes").send_ok().json_array();
    assert_eq!(rules[0]["commit"], true);
    let body = r#"{"to": "web:x", "commit": true}"#;
    let request = bench.node.web().request("POST", "/api/routes").body(body);
    assert_eq!(request.header("Content-Type", "application/json").send().status, 400);
}

fn failures(setup: &Setup) {
    let Some(bench) = Bench::start(setup, "fail-once", "30s") else { return };
    let place = bench.send(3);
    let delivery = bench.of(&place, "committed");
    assert_eq!(numbers(&delivery), [Some(3), Some(3), Some(0)], "{delivery}");
    assert_eq!(bench.lines("stored").len(), 4, "what was lost was sent again, and nothing else");
    let asked = bench.lines("asked");
    assert!(asked[0].ends_with(" 3") && asked[1].ends_with(" 1"), "{asked:?}");

    bench.tell("mode", "fail-always");
    let place = bench.send(2);
    let delivery = bench.of(&place, "failed");
    assert_eq!(numbers(&delivery), [Some(1), Some(1), Some(1)], "{delivery}");
    let words = delivery["words"].as_str().unwrap_or_default();
    assert!(words.contains("not committed: it is not there (0112H)"), "{words}");
    let times = bench.lines("asked").len();
    assert_eq!(times, 2 + 4, "it may lose an object four times");
    // A person sends it again.
    bench.tell("mode", "same");
    route(&bench.node, &["replay", &delivery["id"].to_string()]);
    assert_eq!(numbers(&bench.of(&place, "committed")), [Some(2), Some(2), Some(0)]);
}

fn silence(setup: &Setup) {
    let Some(bench) = Bench::start(setup, "never", "2s") else { return };
    let place = bench.send(2);
    let delivery = bench.of(&place, "committing");
    assert_eq!(numbers(&delivery), [Some(2), Some(0), Some(0)], "{delivery}");
    assert!(delivery["next"].is_string(), "{delivery}");
    eventually("it is asked again", LIMIT, || (bench.lines("asked").len() >= 2).then_some(()));
    bench.tell("mode", "same");
    assert_eq!(numbers(&bench.of(&place, "committed")), [Some(2), Some(2), Some(0)]);
    assert_eq!(bench.lines("stored").len(), 2, "nothing was sent again");
    let transactions = bench.lines("asked");
    assert_ne!(transactions[0], transactions[1], "each time another transaction");
}

fn killed(setup: &Setup) {
    let Some(mut bench) = Bench::start(setup, "hold", "10m") else { return };
    let place = bench.send(3);
    eventually("it is asked", LIMIT, || (!bench.lines("asked").is_empty()).then_some(()));
    bench.node.kill();
    bench.node.restart();
    bench.tell("port", &bench.node.dimse().port().to_string());
    bench.tell("go", "");
    let delivery = bench.of(&place, "committed");
    assert_eq!(numbers(&delivery), [Some(3), Some(3), Some(0)], "{delivery}");
    let said = bench.lines("status");
    assert_eq!(said[0], "OTHER 0112", "nobody asked that one");
    assert_eq!(said[1], format!("{TITLE} 0000"));
    assert_eq!((bench.lines("asked").len(), bench.lines("stored").len()), (1, 3));
}

fn not_offered(setup: &Setup) {
    if !clients::has_dcmtk() {
        return;
    }
    let node = super::plan(setup);
    let folder = node.scratch().join("received");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
    let port = free.expect("a port").port();
    peer(&node, "STORESCP", &format!("127.0.0.1:{port}"));
    route(&node, &["add", "--to", "dicom:STORESCP", "--commit"]);
    let _scp = StoreScp::start(&folder, port);
    stow(&node, &series(&Place::new(), 2));
    let delivery = ended(&node, "failed");
    assert_eq!(numbers(&delivery), [Some(2), Some(0), Some(0)], "{delivery}");
    let words = delivery["words"].as_str().unwrap_or_default();
    assert!(words.contains("offers no storage commitment"), "{words}");
}
