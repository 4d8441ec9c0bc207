//! Two hospitals with the same UIDs on one node: neither sees, counts, deletes or overwrites what
//! belongs to the other, over anything that can be asked. The routes come from the node's own tables.

use crate::dicomweb::ups::Receiver;
use crate::on_both_setups;
use crate::support::data_set::DataSet;
use crate::support::node::Node;
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Instance, Place};
use crate::support::web::{Answer, Web};
use qianli_web::facts;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

on_both_setups! {
    /// The same study in two hospitals, one by DIMSE and one by STOW-RS, and a walk over everything.
    hospitals_never_meet = apart;
}

const JSON: &str = "application/dicom+json";
const WORKLIST: &str = "1.2.840.10008.5.1.4.34.5";
const SIDE: u16 = 16;

/// What everybody may do but manage accounts.
const MAY: &str = "read,store,delete,settle,worklist,audit";

/// Headers that differ from answer to answer.
const VARYING: [&str; 2] = ["date", "x-request-id"];

/// A hospital, and what it stored.
struct Hospital {
    /// Short name of the tenant.
    name: &'static str,
    /// A word that stands in every header of its objects.
    word: &'static str,
    web: Web,
    token: String,
    /// In the study that the other has too.
    shared: Vec<Instance>,
    /// In a study of its own.
    own: Instance,
}

/// UIDs in place of the variables of a route.
#[derive(Debug, Clone)]
struct Uids {
    place: Place,
    instance: String,
    workitem: String,
    deletion: String,
}

impl Uids {
    fn of(instance: &Instance, workitem: &str, deletion: &str) -> Self {
        Self {
            place: instance.place.clone(),
            instance: instance.uid.clone(),
            workitem: workitem.to_owned(),
            deletion: deletion.to_owned(),
        }
    }

    fn fill(&self, path: &str) -> String {
        let segment = |part: &str| match part {
            "{study}" => self.place.study.clone(),
            "{series}" => self.place.series.clone(),
            "{instance}" => self.instance.clone(),
            "{workitem}" => self.workitem.clone(),
            "{id}" => self.deletion.clone(),
            "{frames}" => "1".to_owned(),
            "{tag}" | "{*tag}" => "7FE00010".to_owned(),
            "{aetitle}" => "READER".to_owned(),
            other => other.trim_matches(['{', '}', '*']).to_owned(),
        };
        path.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    /// Without what tells these UIDs from others.
    fn neutral(&self, text: &str) -> String {
        let uids = [&self.instance, &self.place.series, &self.place.study, &self.workitem];
        // A page names its own path in the links to its other language.
        let text =
            text.replace(&format!("/reading/tasks/{}?", self.deletion), "/reading/tasks/ID?");
        uids.into_iter().fold(text, |text, uid| text.replace(uid.as_str(), "UID"))
    }
}

/// UIDs like these that nobody has: of the same length, another last digit.
fn unknown(uids: &Uids) -> Uids {
    let other = |uid: &str| {
        let (rest, last) = uid.split_at(uid.len() - 1);
        format!("{rest}{}", if last == "9" { 8 } else { 9 })
    };
    let place = Place { study: other(&uids.place.study), series: other(&uids.place.series) };
    Uids {
        place,
        instance: other(&uids.instance),
        workitem: other(&uids.workitem),
        deletion: "9".repeat(uids.deletion.len()),
    }
}

fn objects(place: &Place, word: &str, seed: u64, count: u32) -> Vec<Instance> {
    let one = |number: u32| {
        let uid = format!("{}.{number}", place.series);
        let pixels = synth::noise(seed + u64::from(number), usize::from(SIDE) * 256);
        let elements: DataSet = synth::elements(place, CT, &uid)
            .text(0x0008_1030, "LO", &format!("{word} study"))
            .text(0x0008_103E, "LO", &format!("{word} series"))
            .text(0x0010_0010, "PN", &format!("{word}^Patient"))
            .text(0x0010_0020, "LO", &format!("{word}-1"))
            .text(0x0020_0013, "IS", &number.to_string());
        Instance::new(place, CT, &uid, &synth::image(elements, SIDE, 128, pixels))
    };
    (1..=count).map(one).collect()
}

#[track_caller]
fn run(node: &Node, command: &str, arguments: &[&str]) -> String {
    let output = node.operator(command, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn hospital(node: &Node, name: &'static str, word: &'static str, shared: &Place) -> Hospital {
    run(node, "tenant", &["add", name]);
    let token = run(node, "token", &["add", "t", "--may", MAY, "--tenant", name]);
    let seed = u64::from(word.as_bytes()[0]) << 20;
    Hospital {
        name,
        word,
        web: node.web().with_token(&token),
        token,
        shared: objects(shared, word, seed, 2),
        own: objects(&Place::new(), word, seed + 9, 1).remove(0),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

impl Hospital {
    /// Sends a request of a route: what changes something has a body that is understood.
    fn ask(&self, verb: &str, path: &str) -> Answer {
        let request = self.web.request(verb, path);
        let request = match verb {
            "POST" | "PUT" => {
                let body = json!({
                    "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]},
                    "00081195": {"vr": "UI", "Value": ["1.5.7"]},
                });
                request.header("Content-Type", JSON).body(body.to_string())
            }
            _ => request,
        };
        request.send()
    }

    /// Nothing of the other is in an answer.
    #[track_caller]
    fn expect_own(&self, other: &Self, path: &str, answer: &Answer) {
        let body = &answer.body;
        let (at, pixels) = (body.len(), &other.shared[0].data_set);
        let pixels = &pixels[pixels.len() - 64..];
        assert!(!contains(body, other.word.as_bytes()), "{path} of {}: {at} bytes", self.name);
        assert!(!contains(body, pixels), "{path} of {} has the other's pixels", self.name);
        // Whoever guessed a UID finds the guess in its own trail.
        let trail = ["/api/audit", "/audit", "/audit/export"].contains(&path);
        let told = !trail && contains(body, other.own.place.study.as_bytes());
        assert!(!told, "{path} of {}", self.name);
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains(&other.own.place.study), "{name} of {path}");
        }
    }

    /// The frame that it stored.
    #[track_caller]
    fn expect_frame(&self) {
        for instance in &self.shared {
            let path = format!("{}/frames/1", instance.path());
            let answer = self.web.dicom(&path).accept("application/octet-stream").send();
            let frame = &instance.data_set[instance.data_set.len() - usize::from(SIDE) * 256..];
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body == frame, "{path} of {} is another's", self.name);
        }
    }
}

/// An answer without what may differ between any two requests.
fn comparable(answer: &Answer, uids: &Uids) -> (u16, Vec<String>, String) {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !VARYING.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .map(|line| uids.neutral(&line))
        .collect();
    headers.sort();
    (answer.status, headers, uids.neutral(&answer.text()))
}

/// Every method and path that can be asked, with its variables.
fn everything() -> Vec<(&'static str, String)> {
    let routes = facts::resources().into_iter();
    let mut all: Vec<_> = routes.map(|one| (one.verb, format!("/dicom-web{}", one.path))).collect();
    all.extend(facts::pages().map(|path| ("GET", path.to_owned())));
    let wado = "/dicom-web/wado?requestType=WADO&studyUID=S/{study}&seriesUID=S/{series}&objectUID=S/{instance}";
    // The variables of this one are not whole segments.
    for kind in ["", "&contentType=application/dicom", "&contentType=image/png"] {
        all.push(("GET", format!("{wado}{kind}")));
    }
    all
}

/// As [`Uids::fill`], for the query of WADO-URI too.
fn filled(uids: &Uids, path: &str) -> String {
    match path.contains("requestType=WADO") {
        false => uids.fill(path),
        true => path
            .replace("S/{study}", &uids.place.study)
            .replace("S/{series}", &uids.place.series)
            .replace("S/{instance}", &uids.instance),
    }
}

fn reads<'e>(everything: &'e [(&'static str, String)]) -> impl Iterator<Item = &'e String> {
    // The viewer's files are the same for all; a WebSocket is tried below; live events never end.
    let silent = [
        "/viewer",
        "/ohif",
        "/static",
        "/favicon",
        "/app-config",
        "/login",
        "/reading/live",
        "/api/reading/events",
    ];
    everything
        .iter()
        .filter(|(verb, _)| *verb == "GET")
        .map(|(_, path)| path)
        .filter(move |path| !silent.iter().any(|start| path.starts_with(start)))
        .filter(|path| !path.starts_with("/dicom-web/subscribers"))
}

fn apart(setup: &Setup) {
    let node = Node::plan(setup).args(["--no-auth=false", "--allow-delete"]).start();
    let place = Place::new();
    let north = hospital(&node, "north", "Northern", &place);
    let south = hospital(&node, "south", "Southern", &place);
    run(&node, "tenant", &["ae", "north", "NORTH"]);
    store(&node, &north, &south);
    assert_ne!(north.shared[0].data_set, south.shared[0].data_set);

    let workitem = events(&node, &north, &south);
    let deletion = {
        let gone = objects(&Place::new(), north.word, 77, 1).remove(0);
        north.web.stow_instance(&gone);
        let path = format!("/dicom-web/studies/{}", gone.place.study);
        assert!(north.ask("DELETE", &path).status < 300);
        let listed = north.web.json("/deletions");
        listed[0]["id"].to_string().trim_matches('"').to_owned()
    };
    let everything = everything();
    not_found(&north, &south, &everything, &Uids::of(&north.own, &workitem, &deletion));
    warmed(&north, &south, &everything);
    counted(&node, &north, &south);
    changed(&node, &north, &south);
}

/// One by DIMSE, one by STOW-RS, and each a study of its own.
fn store(node: &Node, north: &Hospital, south: &Hospital) {
    let peer = crate::support::eventually("the title counts", Duration::from_secs(30), || {
        Peer::associate(node.dimse(), "NORTH", "CT1", &[(CT, &[EXPLICIT])]).ok()
    });
    let mut peer = peer;
    let context = peer.context(CT, EXPLICIT).expect("a context");
    for instance in north.shared.iter().chain([&north.own]) {
        let answer = peer.store(context, CT, &instance.uid, &instance.data_set);
        assert_eq!(answer.expect("an answer").status, 0);
    }
    peer.release().expect("release");
    for instance in south.shared.iter().chain([&south.own]) {
        // The same UIDs are no conflict and no duplicate: the answer is as for any other.
        south.web.stow_instance(instance);
    }
}

/// Receivers of the same AE title hear of their own hospital's workitems only, also when these have
/// the same UID. Returns a workitem that only the first has.
fn events(node: &Node, north: &Hospital, south: &Hospital) -> String {
    let receive = |of: &Hospital| {
        let bearer = format!("Bearer {}", of.token);
        Receiver::open_with(node, "READER", &[("Authorization", &bearer)]).expect("a WebSocket")
    };
    let (mut hears_north, mut hears_south) = (receive(north), receive(south));
    for of in [north, south] {
        let path = format!("/workitems/{WORKLIST}/subscribers/READER");
        assert_eq!(of.web.post(&path, JSON, "").send().status, 201);
    }
    let create = |of: &Hospital, uid: &str| {
        let body = json!({
            "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
            "00741200": {"vr": "CS", "Value": ["HIGH"]},
            "00741204": {"vr": "LO", "Value": [format!("{} reading", of.word)]},
            "00404005": {"vr": "DT", "Value": ["20240305120000"]},
            "00404041": {"vr": "CS", "Value": ["READY"]},
        });
        let answer = of.web.post(&format!("/workitems?{uid}"), JSON, body.to_string()).send();
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    create(north, "1.2.9.11");
    create(north, "1.2.9.22");
    hears_north.hears(1, 1, "1.2.9.11", "SCHEDULED");
    hears_north.hears(2, 1, "1.2.9.22", "SCHEDULED");
    assert_eq!(hears_south.next(Duration::from_secs(2)), None, "the other's event");
    create(south, "1.2.9.22");
    hears_south.hears(1, 1, "1.2.9.22", "SCHEDULED");
    assert_eq!(hears_north.next(Duration::from_secs(2)), None, "the other's event");
    let found = |of: &Hospital| of.web.json("/workitems").len();
    assert_eq!((found(north), found(south)), (2, 1));
    "1.2.9.11".to_owned()
}

/// What only the other has answers as what nobody has: in status, headers and body.
fn not_found(
    north: &Hospital,
    south: &Hospital,
    everything: &[(&'static str, String)],
    theirs: &Uids,
) {
    let nobodys = unknown(theirs);
    let mut compared = 0;
    for (verb, path) in everything {
        let (foreign, unknown) = (filled(theirs, path), filled(&nobodys, path));
        if foreign == unknown || path.starts_with("/login") || path.contains("READER") {
            continue;
        }
        // The first may be told from the second by nothing, whichever is asked first.
        for (first, second) in
            [((&foreign, theirs), (&unknown, &nobodys)), ((&unknown, &nobodys), (&foreign, theirs))]
        {
            let one = comparable(&south.ask(verb, first.0), first.1);
            let other = comparable(&south.ask(verb, second.0), second.1);
            assert_eq!(one, other, "{verb} {path}");
        }
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
    for accept in ["image/jpeg", "application/zip", "application/dicom; transfer-syntax=*", "x/y"] {
        for path in ["/dicom-web/studies/{study}", "/dicom-web/studies/{study}/rendered"] {
            let ask = |uids: &Uids| {
                let request = south.web.request("GET", &filled(uids, path)).accept(accept);
                comparable(&request.send(), uids)
            };
            assert_eq!(ask(theirs), ask(&nobodys), "{path} as {accept}");
        }
    }
    for uid in ["StudyInstanceUID", "0020000D"] {
        let ask = |uids: &Uids| {
            let path = format!("/dicom-web/studies?{uid}={}&includefield=all", uids.place.study);
            comparable(&south.ask("GET", &path), uids)
        };
        assert_eq!(ask(theirs), ask(&nobodys), "{uid}");
    }
    // All this left the other's as it was.
    assert_eq!(north.ask("GET", &format!("/dicom-web{}", north.own.path())).status, 200);
    let state = &north.web.json("/workitems/1.2.9.11")[0]["00741000"]["Value"][0];
    assert_eq!(state, "SCHEDULED");
    assert_eq!(north.web.json("/deletions").len(), 1);
}

/// What one read lies in memory when the other asks: each still gets its own, and no tag of the other
/// saves an answer.
fn warmed(north: &Hospital, south: &Hospital, everything: &[(&'static str, String)]) {
    let uids = Uids::of(&north.shared[0], "1.2.9.22", "1");
    let mut tags = 0;
    for path in reads(everything) {
        let path = filled(&uids, path);
        let (first, second) = (north.ask("GET", &path), south.ask("GET", &path));
        north.expect_own(south, &path, &first);
        south.expect_own(north, &path, &second);
        let (one, other) = (first.header("etag"), second.header("etag"));
        if first.status != 200 || one.is_empty() {
            continue;
        }
        assert_ne!(one, other, "{path}");
        let with_tag = |tag: &str| {
            let request = south.web.request("GET", &path).header("If-None-Match", tag);
            request.send().status
        };
        assert_ne!(with_tag(one), 304, "{path} with the other's tag");
        assert_eq!(with_tag(other), 304, "{path} with its own tag");
        tags += 1;
    }
    assert!(tags >= 5, "{tags} answers had tags");
    for _ in 0..3 {
        north.expect_frame();
        south.expect_frame();
    }
}

/// Totals, searches, the trail and exports have one's own only.
fn counted(node: &Node, north: &Hospital, south: &Hospital) {
    for of in [north, south] {
        for (path, count) in [("/studies", 2), ("/series", 2), ("/instances", 3), ("/conflicts", 0)]
        {
            assert_eq!(of.web.json(path).len(), count, "{path} of {}", of.name);
        }
        let page = of.web.get("/").header("Accept-Language", "en").send().text();
        assert!(page.contains(of.word), "the first page of {} lists its studies", of.name);
    }
    let trail = |of: &Hospital| {
        let answer = of.web.get("/api/audit?limit=1000").send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let tenants: Vec<&str> = text.split("\"tenant\":").skip(1).collect();
        let tenants = tenants.iter().map(|rest| rest.split([',', '}']).next().unwrap_or_default());
        // Names of tenants stand in details; the column has a number.
        let number = |one: &&str| one.trim().parse::<i64>().is_ok();
        let mut tenants: Vec<String> = tenants.filter(number).map(str::to_owned).collect();
        tenants.sort();
        tenants.dedup();
        tenants
    };
    let (theirs, ours) = (trail(north), trail(south));
    assert_eq!((theirs.len(), ours.len()), (1, 1), "{theirs:?} {ours:?}");
    assert_ne!(theirs, ours, "the trail of one is not the other's");

    let folder = node.scratch().join("south");
    run(node, "export", &[&folder.to_string_lossy(), "--all", "--tenant", "south"]);
    let mut files = 0;
    for path in crate::support::sample::files(&folder) {
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!contains(&bytes, north.word.as_bytes()), "{}", path.display());
        files += usize::from(path.extension().is_some_and(|extension| extension == "dcm"));
    }
    assert_eq!(files, 3);
    let none = |tenant: &str, study: &str, into: &Path| {
        let into = into.to_string_lossy().into_owned();
        let output = node.operator("export", &[&into, "--study", study, "--tenant", tenant]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let theirs = none("south", &north.own.place.study, &node.scratch().join("x"));
    assert_eq!(theirs, none("south", "1.2.3.4.5", &node.scratch().join("y")));
    assert_eq!(theirs.0, Some(1));
}

/// Overwriting and deleting stops at the border.
fn changed(node: &Node, north: &Hospital, south: &Hospital) {
    // What the other has can be stored here as if it were nowhere.
    let place = north.own.place.clone();
    let twin = objects(&place, south.word, 5, 1).remove(0);
    south.web.stow_instance(&twin);
    let name = |of: &Hospital| {
        let path = format!("/studies/{}/metadata", place.study);
        of.web.json(&path)[0]["00100010"]["Value"][0]["Alphabetic"].to_string()
    };
    assert_eq!(
        (name(north).as_str(), name(south).as_str()),
        ("\"Northern^Patient\"", "\"Southern^Patient\"")
    );
    let shared = format!("/dicom-web/studies/{}", north.shared[0].place.study);
    assert!(south.ask("DELETE", &shared).status < 300);
    assert_eq!(south.ask("GET", &shared).status, 404);
    north.expect_frame();
    assert_eq!((north.web.json("/deletions").len(), south.web.json("/deletions").len()), (1, 1));
    let study = &north.own.place.study;
    let gone = run(node, "delete", &[study, "--yes", "--tenant", "north"]);
    assert!(gone.contains("--tenant north"), "{gone}");
    assert_eq!(north.ask("GET", &format!("/dicom-web/studies/{study}")).status, 404);
    assert_eq!(name(south), "\"Southern^Patient\"");
    let number = south.web.json("/deletions")[0]["id"].to_string();
    let wrong = node.operator("restore", &[&number, "--tenant", "north"]);
    assert!(!wrong.status.success(), "another's deletion");
    run(node, "restore", &[&number, "--tenant", "south"]);
    south.expect_frame();
}
