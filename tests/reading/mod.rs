//! The worklist as people see it: a study that a device sends is there while it still arrives, on a page that nobody
//! reloads, on whichever node.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Place};
use crate::support::web::Answer;
use crate::support::{artifacts, clients, eventually};

on_both_setups! {
    /// From the last instance to the task, and to the study being complete; how long that takes is printed.
    a_study_is_on_the_worklist_while_it_arrives = at_once;
}

const LIMIT: Duration = Duration::from_secs(60);

fn rule(node: &Node) {
    let rule = json!({"label": "CT", "modality": "CT", "priority": "high", "dueMinutes": 90});
    let answer = post(node, "/api/reading/rules", &rule);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn post(node: &Node, path: &str, body: &Value) -> Answer {
    let request = node.web().request("POST", path).header("content-type", "application/json");
    request.body(body.to_string()).send()
}

fn tasks(node: &Node, query: &str) -> Vec<Value> {
    node.web().get(&format!("/api/reading{query}")).send_ok().json_array()
}

/// Files of a study of a device, in a folder.
fn study(node: &Node, instances: u32) -> (String, Vec<String>) {
    let place = Place::new();
    let files = (1..=instances).map(|number| {
        let path = node.scratch().join(format!("{}-{number}.dcm", place.study));
        std::fs::write(&path, synth::ct(&place, number, 64).part10()).expect("a file");
        path.to_string_lossy().into_owned()
    });
    let files = files.collect();
    (place.study.clone(), files)
}

fn send(node: &Node, files: &[String]) -> bool {
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    if !clients::has_dcmtk() {
        return false;
    }
    clients::dcmtk(node, "storescu", &[], &files).ok();
    true
}

fn at_once(setup: &Setup) {
    let node = Node::plan(setup).args(["--settle-after", "3s"]).start();
    rule(&node);
    // The rule is in force when a first study became a task.
    let (first, files) = study(&node, 1);
    if !send(&node, &files) {
        return;
    }
    eventually("the first study is a task", LIMIT, || {
        tasks(&node, "").into_iter().find(|task| task["study"] == first.as_str())
    });
    let (second, files) = study(&node, 20);
    send(&node, &files);
    let sent = Instant::now();
    let task = eventually("the study is a task", LIMIT, || {
        tasks(&node, "").into_iter().find(|task| task["study"] == second.as_str())
    });
    println!("last instance to task on /api/reading: {} ms", sent.elapsed().as_millis());
    assert_eq!((&task["state"], &task["priority"]), (&json!("open"), &json!("high")));
    let complete = eventually("the study is complete", LIMIT, || {
        let found = tasks(&node, "").into_iter().find(|task| task["study"] == second.as_str());
        found.filter(|task| task["arriving"] == json!(false))
    });
    println!("last instance to complete: {} ms (it settles after 3 s)", sent.elapsed().as_millis());
    assert_eq!(complete["id"], task["id"], "it is the same task");
    // It is a workitem, too.
    let uid = complete["workitem"].as_str().expect("a workitem");
    let item =
        node.web().dicom(&format!("/workitems/{uid}")).accept("application/dicom+json").send();
    assert_eq!(item.status, 200);
    assert!(item.text().contains("SCHEDULED") && item.text().contains(&second));
    let path = format!("/api/reading/{}", complete["id"]);
    let answer = post(&node, &path, &json!({"do": "claim"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let item =
        node.web().dicom(&format!("/workitems/{uid}")).accept("application/dicom+json").send();
    assert!(item.text().contains("IN PROGRESS"));
    // More of it comes late: the same task says so.
    let place = Place { study: second.clone(), ..Place::new() };
    let path = node.scratch().join("late.dcm");
    std::fs::write(&path, synth::ct(&place, 99, 64).part10()).expect("a file");
    send(&node, &[path.to_string_lossy().into_owned()]);
    let late = eventually("the task says that images came late", LIMIT, || {
        let found = tasks(&node, "").into_iter().find(|task| task["study"] == second.as_str());
        found.filter(|task| task["late"] == json!(1))
    });
    assert_eq!(late["id"], task["id"]);
}

/// The page, on a desk in English and on a phone in Chinese: empty, then with a study that came while it was open.
#[test]
fn an_open_worklist_shows_what_arrives() {
    if !clients::has_dcmtk() {
        return;
    }
    let node = Node::plan(&Setup::Embedded).args(["--settle-after", "3s"]).start();
    rule(&node);
    let (_, files) = study(&node, 3);
    let (_, more) = study(&node, 3);
    let port = node.dimse().port().to_string();
    let mut arguments = vec![port.as_str()];
    let all: Vec<String> = vec![files.join(","), more.join(",")];
    arguments.extend(all.iter().map(String::as_str));
    if let Some(ran) = clients::browser(&node, "reading.js", &arguments) {
        println!("{}", ran.ok());
        for picture in
            ["reading-empty", "reading-desk", "reading-task", "reading-phone", "reading-rules"]
        {
            let picture = format!("{picture}.png");
            assert!(artifacts().join(&picture).is_file(), "{picture} was not written");
        }
    }
}
