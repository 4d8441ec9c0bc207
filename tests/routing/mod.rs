//! Routing: studies arrive at their destinations, whole and once, whatever happens on the way.

mod commitment;

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, Place};
use crate::support::{clients, eventually};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

on_both_setups! {
    /// What a rule means goes to another archive by STOW-RS, byte for byte, and the rest does not.
    studies_go_on_by_rules = by_rules;
    /// DICOM peers get studies, also after they were away, and nothing that they brought.
    peers_get_studies_and_nothing_back = peers;
    /// A node that is killed while it sends goes on where it was.
    a_killed_node_loses_and_repeats_nothing = killed;
    /// The same to a DICOM peer.
    a_killed_node_goes_on_with_its_peer = killed_with_peer;
    /// A destination that is away gets its studies when it is back.
    a_destination_may_be_away = away;
    /// Administrators of tenants reach no networks of the server's own, whatever a name leads to.
    tenants_reach_public_addresses_only = reach_of_tenants;
    /// What was sent long ago is forgotten, and a late object goes alone all the same.
    what_was_sent_long_ago_is_forgotten = forgotten;
}

const LIMIT: Duration = Duration::from_secs(90);

/// Objects whose fate is noted together (`src/routing.rs`).
const BATCH: usize = 32;

fn plan(setup: &Setup) -> Node {
    Node::plan(setup).args(["--settle-after", "1s"]).start()
}

#[track_caller]
fn route(node: &Node, arguments: &[&str]) -> String {
    let output = node.operator("route", arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "route {arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn register(node: &Node, to: &Node) {
    route(node, &["web", "add", "second", &format!("{}/dicom-web", to.http())]);
}

fn deliveries(node: &Node) -> Vec<Value> {
    node.web().get("/api/routes/deliveries").send_ok().json_array()
}

/// The one delivery of a node, when it is in a state.
fn ended(node: &Node, state: &str) -> Value {
    eventually(&format!("the delivery is {state}"), LIMIT, || {
        deliveries(node).into_iter().find(|one| one["state"] == state)
    })
}

fn count(node: &Node, study: &str) -> usize {
    let path = format!("/studies/{study}/instances?limit=5000");
    let answer = node.web().dicom(&path).accept("application/dicom+json").send();
    if answer.status == 200 { answer.json_array().len() } else { 0 }
}

fn series(place: &Place, instances: u32) -> Vec<Instance> {
    (1..=instances).map(|number| synth::ct(place, number, 64)).collect()
}

fn stow(node: &Node, instances: &[Instance]) {
    let files: Vec<_> = instances.iter().map(Instance::part10).collect();
    for files in files.chunks(50) {
        let answer = node.web().stow(files.iter().map(Vec::as_slice));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn by_rules(setup: &Setup) {
    let (second, node) = (plan(&Setup::Embedded), plan(setup));
    let nowhere = node.operator("route", &["add", "--to", "web:second"]);
    assert_eq!(nowhere.status.code(), Some(1), "no such destination");
    register(&node, &second);
    route(&node, &["add", "--to", "web:second", "--modality", "C?", "--label", "夜间"]);
    let (wanted, other) = (Place::new(), Place::new());
    let instances = series(&wanted, 3);
    stow(&node, &instances);
    let uid = synth::new_uid();
    let class = "1.2.840.10008.5.1.4.1.1.4";
    let elements = synth::elements(&other, class, &uid).text(0x0008_0060, "CS", "MR");
    let image = synth::image(elements, 16, 16, vec![0; 512]);
    stow(&node, &[Instance::new(&other, class, &uid, &image)]);

    let delivery = ended(&node, "delivered");
    assert_eq!((delivery["taken"].as_i64(), delivery["refused"].as_i64()), (Some(3), Some(0)));
    assert_eq!(delivery["to"], "web:second");
    for instance in &instances {
        let (here, there) = (node.web().file(instance), second.web().file(instance));
        assert_eq!(here, there, "the stored bytes");
    }
    assert_eq!(deliveries(&node).len(), 1, "the other study goes nowhere");
    assert_eq!(count(&second, &other.study), 0);
    let told = route(&node, &["test", &wanted.study]);
    assert!(told.contains("3 objects to web:second"), "{told}");

    // One more of the study: it alone is sent.
    let more = synth::ct(&wanted, 4, 64);
    stow(&node, std::slice::from_ref(&more));
    eventually("the fourth object arrives", LIMIT, || {
        (count(&second, &wanted.study) == 4).then_some(())
    });
    eventually("four were taken", LIMIT, || {
        deliveries(&node).into_iter().find(|one| one["taken"] == 4 && one["state"] == "delivered")
    });
    assert_eq!(exported(&node), [3, 1]);

    // A person sends it again.
    let id = delivery["id"].to_string();
    route(&node, &["replay", &id, "--all"]);
    eventually("everything was sent again", LIMIT, || (exported(&node) == [3, 1, 4]).then_some(()));
    ended(&node, "delivered");
    assert_eq!(count(&second, &wanted.study), 4);

    // A rule for what comes, without waiting; and pages in both languages.
    let rules = node.web().get("/api/routes").send_ok().json_array();
    assert_eq!((rules.len(), rules[0]["modality"].as_str()), (1, Some("c?")));
    let number = rules[0]["id"].to_string();
    route(&node, &["remove", &number]);
    let body = r#"{"to": "web:second", "when": "at once", "description": "*"}"#;
    let request = node.web().request("POST", "/api/routes").body(body);
    assert_eq!(request.header("Content-Type", "application/json").send().status, 201);
    for (language, word) in [("en", "Routing"), ("zh", "转发记录")] {
        let page = node.web().get(&format!("/routes?lang={language}")).send_ok().text();
        assert!(page.contains(word) && page.contains("web:second"), "{page}");
    }
    let secret = r#"{"name": "third", "url": "https://a.example/x", "token": "very-secret"}"#;
    let request = node.web().request("POST", "/api/routes/web").body(secret);
    assert_eq!(request.header("Content-Type", "application/json").send().status, 204);
    let listed = node.web().get("/api/routes/web").send_ok().text();
    assert!(listed.contains("third") && !listed.contains("very-secret"), "{listed}");
}

/// How many objects left in each turn, as the audit trail tells.
fn exported(node: &Node) -> Vec<usize> {
    let trail = node.web().get("/api/audit?action=export&limit=100").send_ok().json();
    // The latest is the first.
    let rows = trail["rows"].as_array().cloned().expect("rows of the trail");
    let number = |row: &Value| row["instances"].as_u64().and_then(|n| usize::try_from(n).ok());
    rows.iter().rev().filter_map(number).collect()
}

const INSTANCES: usize = 400;

/// Sends a study to a second archive and kills the node in the middle; returns how many objects had
/// arrived by then, and how many left in each turn.
fn kill_in_the_middle(
    setup: &Setup,
    to: &str,
    register: impl Fn(&Node, &Node),
) -> (usize, Vec<usize>) {
    let (second, mut node) = (plan(&Setup::Embedded), plan(setup));
    register(&node, &second);
    route(&node, &["add", "--to", to]);
    let place = Place::new();
    stow(&node, &series(&place, INSTANCES as u32));
    eventually("some of it arrives", LIMIT, || {
        (count(&second, &place.study) > BATCH).then_some(())
    });
    node.kill();
    let there = count(&second, &place.study);
    node.restart();
    let delivery = ended(&node, "delivered");
    assert_eq!(delivery["taken"].as_u64(), Some(INSTANCES as u64));
    assert_eq!(count(&second, &place.study), INSTANCES);
    let exported = exported(&node);
    println!(
        "{there} of {INSTANCES} had arrived when the node was killed; sent in turns of {exported:?}"
    );
    (there, exported)
}

fn killed(setup: &Setup) {
    let (there, exported) = kill_in_the_middle(setup, "web:second", register);
    if there < INSTANCES {
        let again = *exported.last().expect("a second turn");
        assert!(
            again <= INSTANCES - there + 2 * BATCH,
            "{again} were sent again, {there} were there"
        );
    }
}

fn killed_with_peer(setup: &Setup) {
    let (_, exported) = kill_in_the_middle(setup, &format!("dicom:{AE}"), reach);
    let sent: usize = exported.iter().sum();
    assert!(sent <= INSTANCES + 2 * BATCH, "{sent} were sent");
}

/// Registers where another node is called.
fn reach(node: &Node, to: &Node) {
    peer(node, AE, &to.dimse().to_string());
}

#[track_caller]
fn peer(node: &Node, title: &str, address: &str) {
    let output = node.operator("peer", &["add", title, address]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// storescp of DCMTK, which serves until this value is dropped.
struct StoreScp(Child);

impl StoreScp {
    fn start(folder: &Path, port: u16) -> Self {
        std::fs::create_dir_all(folder).expect("create a folder");
        let mut command = Command::new("storescp");
        command.arg("-od").arg(folder).arg(port.to_string()).env("TCP_NODELAY", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let scp = Self(command.spawn().expect("start storescp"));
        eventually("storescp listens", LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok());
        scp
    }
}

impl Drop for StoreScp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn peers(setup: &Setup) {
    if !clients::has_dcmtk() {
        return;
    }
    let (second, node) = (plan(&Setup::Embedded), plan(setup));
    let nowhere = node.operator("route", &["add", "--to", "dicom:STORESCP"]);
    assert_eq!(nowhere.status.code(), Some(1), "it has no address");
    let folder = node.scratch().join("received");
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
    let port = free.expect("a port").port();
    peer(&node, "STORESCP", &format!("127.0.0.1:{port}"));
    reach(&node, &second);
    // What came from the first must not go back to it.
    reach(&second, &node);
    route(&second, &["add", "--to", &format!("dicom:{AE}"), "--at-once"]);
    route(&node, &["add", "--to", &format!("dicom:{AE}")]);
    route(&node, &["add", "--to", "dicom:STORESCP"]);
    let scp = StoreScp::start(&folder, port);
    let place = Place::new();
    let instances = series(&place, 40);
    stow(&node, &instances);
    eventually("both have it", LIMIT, || {
        let both = deliveries(&node).iter().filter(|one| one["state"] == "delivered").count() == 2;
        both.then_some(())
    });
    assert_eq!((files(), count(&second, &place.study)), (40, 40));

    drop(scp);
    let later = Place::new();
    stow(&node, &series(&later, 3));
    let waiting = eventually("it waits for storescp", LIMIT, || {
        deliveries(&node)
            .into_iter()
            .find(|one| one["study"] == later.study.as_str() && one["tries"].as_u64() > Some(0))
    });
    assert_eq!(waiting["to"], "dicom:STORESCP");
    assert!(!waiting["words"].as_str().unwrap_or_default().is_empty(), "{waiting}");
    let _scp = StoreScp::start(&folder, port);
    eventually("storescp gets it", LIMIT, || (files() == 43).then_some(()));
    // By now the second archive has looked at both studies.
    assert_eq!(count(&second, &later.study), 3);
    assert_eq!(deliveries(&second), [] as [Value; 0], "nothing goes back");
}

fn away(setup: &Setup) {
    let (mut second, node) = (plan(&Setup::Embedded), plan(setup));
    register(&node, &second);
    route(&node, &["add", "--to", "web:second", "--at-once"]);
    second.kill();
    // The watch of the feed begins with the first look after a rule was made.
    std::thread::sleep(Duration::from_secs(3));
    let place = Place::new();
    stow(&node, &series(&place, 5));
    let waiting = eventually("it waits", LIMIT, || {
        deliveries(&node).into_iter().find(|one| one["tries"].as_u64() > Some(0))
    });
    let words = waiting["words"].as_str().unwrap_or_default();
    assert!(words.contains("refused"), "the peer's words: {words}");
    second.restart();
    // It has another port now.
    register(&node, &second);
    let delivered = ended(&node, "delivered");
    assert_eq!(delivered["taken"].as_u64(), Some(5));
    assert_eq!(count(&second, &place.study), 5);
}

fn reach_of_tenants(setup: &Setup) {
    let node = plan(setup);
    let set = |body: &str| {
        let request = node.web().request("POST", "/api/routes/web").body(body.to_owned());
        request.header("Content-Type", "application/json").send()
    };
    for host in ["127.0.0.1", "2130706433", "[::1]", "169.254.169.254", "10.0.0.1"] {
        let answer = set(&format!(r#"{{"name": "inside", "url": "https://{host}:9/x"}}"#));
        assert_eq!(answer.status, 400, "{host}");
        assert!(answer.text().contains("private_destinations"), "{}", answer.text());
    }
    assert_eq!(set(r#"{"name": "inside", "url": "http://localhost:9/x"}"#).status, 400);
    // A name is judged by where it leads.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let url = format!("https://localhost:{}/x", free.port());
    assert_eq!(set(&format!(r#"{{"name": "inside", "url": "{url}"}}"#)).status, 204);
    route(&node, &["add", "--to", "web:inside"]);
    stow(&node, &series(&Place::new(), 1));
    let words = |node: &Node| {
        let found = deliveries(node).into_iter().find(|one| one["tries"].as_u64() > Some(0));
        found.map(|one| one["words"].as_str().unwrap_or_default().to_owned())
    };
    let said = eventually("it is not called", LIMIT, || words(&node));
    assert!(said.contains("a network of the server's own"), "{said}");

    // With the operator's leave it is called, and nobody is there.
    let node =
        Node::plan(setup).args(["--settle-after", "1s", "--private-destinations", "127.0.0.0/8"]);
    let node = node.start();
    let form = format!("name=inside&url={url}&token=very-secret&login=&password=");
    let request = node.web().request("POST", "/routes/web").body(form);
    let answer = request.header("Content-Type", "application/x-www-form-urlencoded").send();
    assert_eq!(answer.status, 303, "{}", answer.text());
    route(&node, &["add", "--to", "web:inside"]);
    stow(&node, &series(&Place::new(), 1));
    let said = eventually("it is called", LIMIT, || words(&node));
    assert!(said.contains("refused") && !said.contains("own"), "{said}");
    for (language, word) in [("en", "DICOMweb services"), ("zh", "DICOMweb 服务")] {
        let page = node.web().get(&format!("/routes?lang={language}")).send_ok().text();
        assert!(page.contains(word) && page.contains(&url), "{page}");
        assert!(!page.contains("very-secret"));
    }
    let wrong = "name=a&url=https%3A%2F%2F10.0.0.1%2F&token=&login=&password=";
    let request = node.web().request("POST", "/routes/web").body(wrong);
    let answer = request.header("Content-Type", "application/x-www-form-urlencoded").send();
    assert_eq!(answer.status, 400);
}

fn forgotten(setup: &Setup) {
    // The clock is set back from outside, where that is possible.
    if !matches!(setup, Setup::Embedded) || !clients::has_sqlite() {
        return;
    }
    let (second, mut node) = (plan(&Setup::Embedded), plan(setup));
    register(&node, &second);
    route(&node, &["add", "--to", "web:second"]);
    let place = Place::new();
    stow(&node, &series(&place, 3));
    ended(&node, "delivered");
    node.kill();
    let year = 365_i64 * 24 * 3_600_000;
    let back = format!(
        "UPDATE deliveries SET updated_ms = updated_ms - {year};
        UPDATE instances SET received_ms = received_ms - {year};
        UPDATE jobs SET run_at_ms = 0, lease_until_ms = 0 WHERE kind = 'records.forget';"
    );
    let database = node.data().join("qianli.db");
    let ran = Command::new("sqlite3").arg(&database).arg(&back).status().expect("run sqlite3");
    assert!(ran.success());
    node.restart();
    eventually("it is forgotten", LIMIT, || {
        let metrics = node.web().get("/metrics").send_ok().text();
        let counted = "qianli_forgotten_total{what=\"objects of deliveries\"} 3";
        metrics.contains(counted).then_some(())
    });
    let delivery = ended(&node, "delivered");
    assert_eq!(delivery["taken"].as_u64(), Some(3), "it is still known how many");
    stow(&node, &[synth::ct(&place, 4, 64)]);
    eventually("the fourth object arrives", LIMIT, || {
        (count(&second, &place.study) == 4).then_some(())
    });
    assert_eq!(exported(&node), [3, 1]);
}
