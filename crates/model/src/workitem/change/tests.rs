//! The state machine, every state against every action, and the rules for attributes.

use serde_json::{Value, json};

use super::super::{EventKind, Transaction};
use super::*;

const NOW: i64 = 1_709_624_400_000;

fn uid() -> SopInstanceUid {
    SopInstanceUid::parse("1.2.3").expect("a UID")
}

fn transaction(text: &str) -> TransactionUid {
    TransactionUid::parse(text).expect("a UID")
}

fn code(value: &str) -> Value {
    json!({"vr": "SQ", "Value": [{
        "00080100": {"vr": "SH", "Value": [value]},
        "00080102": {"vr": "SH", "Value": ["99Q"]},
        "00080104": {"vr": "LO", "Value": ["a meaning"]},
    }]})
}

/// The least that is taken without additions.
fn fresh() -> Value {
    let mut data = json!({
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741202": {"vr": "LO", "Value": ["reading"]},
        "00741204": {"vr": "LO", "Value": ["Read a CT"]},
        "00404005": {"vr": "DT", "Value": ["20240305120000"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
    });
    let object = data.as_object_mut().expect("an object");
    for rule in rules::RULES {
        if rule.create == rules::Create::Present {
            object.insert(rule.tag.to_string(), json!({"vr": rule.vr.to_string()}));
        }
    }
    data
}

fn set(data: &Value) -> DataSet {
    DataSet::parse(data.to_string().as_bytes()).expect("a data set")
}

fn performed() -> Value {
    json!({"00741216": {"vr": "SQ", "Value": [{
        "00404028": code("STATION"),
        "00404050": {"vr": "DT", "Value": ["20240305121000"]},
        "00404051": {"vr": "DT", "Value": ["20240305122000"]},
        "00404019": code("WORK"),
        "00404033": {"vr": "SQ"},
    }]}})
}

/// A workitem in a state, ready for COMPLETED, its lock `1.9` unless it was never claimed.
fn held(state: State) -> Held {
    let (mut held, _) = create(set(&fresh()), &uid(), NOW).expect("legal");
    if state == State::Scheduled {
        return held;
    }
    for (tag, element) in set(&performed()).iter() {
        held.data.set(tag, element.clone());
    }
    held.data.set_text(tags::STATE, VR::CS, state.as_str());
    Held { state, transaction: Some(transaction("1.9")), ..held }
}

/// The outcome of an action as one word: the state afterwards, the note's or the refusal's code.
fn word(outcome: Result<Change, Refusal>) -> String {
    match outcome {
        Ok(Change { note: Some(Note::AlreadyCanceled), held: None, .. }) => "B304".into(),
        Ok(Change { note: Some(Note::AlreadyCompleted), held: None, .. }) => "B306".into(),
        Ok(Change { held: Some(held), .. }) => {
            assert_eq!(held.data.text(tags::STATE), held.state.as_str());
            held.state.as_str().into()
        }
        Ok(Change { held: None, .. }) => "accepted".into(),
        Err(refusal) => format!("{:04X}", refusal.code()),
    }
}

/// PS3.4 table CC.1.1-2, and N-SET beside it.
#[test]
fn every_state_meets_every_action() {
    let right = transaction("1.9");
    let wrong = transaction("1.8");
    let update = set(&json!({"00741204": {"vr": "LO", "Value": ["other"]}}));
    let change = |state, wanted, lock: Option<&TransactionUid>| {
        word(change_state(&held(state), wanted, lock, NOW))
    };
    type Action<'a> = Box<dyn Fn(State) -> String + 'a>;
    let (progress, done, canceled) = (State::InProgress, State::Completed, State::Canceled);
    let table: Vec<(&str, Action<'_>, [&str; 4])> = vec![
        (
            "claim",
            Box::new(|state| change(state, Some(progress), Some(&right))),
            ["IN PROGRESS", "C302", "C300", "C300"],
        ),
        (
            "claim with another lock",
            Box::new(|state| change(state, Some(progress), Some(&wrong))),
            ["IN PROGRESS", "C302", "C300", "C300"],
        ),
        (
            "claim without lock",
            Box::new(|state| change(state, Some(progress), None)),
            ["C301", "C301", "C301", "C301"],
        ),
        (
            "to SCHEDULED",
            Box::new(|state| change(state, Some(State::Scheduled), Some(&right))),
            ["C303", "C303", "C303", "C303"],
        ),
        (
            "to nothing",
            Box::new(|state| change(state, None, Some(&right))),
            ["C303", "C303", "C303", "C303"],
        ),
        (
            "complete",
            Box::new(|state| change(state, Some(done), Some(&right))),
            ["C310", "COMPLETED", "B306", "C300"],
        ),
        (
            "complete with another lock",
            Box::new(|state| change(state, Some(done), Some(&wrong))),
            ["C310", "C301", "C301", "C301"],
        ),
        (
            "complete without lock",
            Box::new(|state| change(state, Some(done), None)),
            ["C301", "C301", "C301", "C301"],
        ),
        (
            "cancel",
            Box::new(|state| change(state, Some(canceled), Some(&right))),
            ["C310", "CANCELED", "C300", "B304"],
        ),
        (
            "cancel with another lock",
            Box::new(|state| change(state, Some(canceled), Some(&wrong))),
            ["C310", "C301", "C301", "C301"],
        ),
        (
            "cancel without lock",
            Box::new(|state| change(state, Some(canceled), None)),
            ["C301", "C301", "C301", "C301"],
        ),
        (
            "ask to cancel",
            Box::new(|state| word(request_cancel(&held(state), &DataSet::default(), None, NOW))),
            ["CANCELED", "accepted", "C311", "B304"],
        ),
        (
            "update",
            Box::new(|state| word(super::update(&held(state), None, update.clone(), NOW))),
            ["SCHEDULED", "C301", "C300", "C300"],
        ),
        (
            "update with lock",
            Box::new(|state| word(super::update(&held(state), Some(&right), update.clone(), NOW))),
            ["C310", "IN PROGRESS", "C300", "C300"],
        ),
        (
            "update with another lock",
            Box::new(|state| word(super::update(&held(state), Some(&wrong), update.clone(), NOW))),
            ["C310", "C301", "C300", "C300"],
        ),
    ];
    for (name, action, expected) in &table {
        for (state, expected) in State::ALL.into_iter().zip(expected) {
            assert_eq!(action(state), *expected, "{name} when {}", state.as_str());
        }
    }
}

#[test]
fn what_is_left_out_is_added_and_said() {
    let (complete, change) = create(set(&fresh()), &uid(), NOW).expect("legal");
    assert_eq!(change.note, None);
    assert_eq!(complete.data.text(tag::SOP_INSTANCE_UID), "1.2.3");
    assert_eq!(complete.data.text(tag::SOP_CLASS_UID), SOP_CLASS);
    assert_eq!(complete.data.text(tags::MODIFIED), "20240305074000.000000+0000");
    let mut less = fresh();
    less.as_object_mut().expect("an object").retain(|name, _| {
        ["00741000", "00741200", "00741204", "00404005", "00404041"].contains(&name.as_str())
    });
    let (added, change) = create(set(&less), &uid(), NOW).expect("legal");
    assert_eq!(change.note, Some(Note::Modified));
    assert_eq!(added.data.text(tags::WORKLIST_LABEL), rules::DEFAULT_WORKLIST);
    for rule in rules::RULES.iter().filter(|rule| rule.create == rules::Create::Present) {
        assert!(added.data.contains(rule.tag), "{}", rule.tag);
    }
}

#[test]
fn creation_follows_the_table() {
    let check = |name: &str, value: Option<Value>, code: u16| {
        let mut data = fresh();
        let object = data.as_object_mut().expect("an object");
        match value {
            Some(value) => object.insert(name.into(), value),
            None => object.remove(name),
        };
        let refusal = create(set(&data), &uid(), NOW).expect_err(name);
        assert_eq!(refusal.code(), code, "{name}: {refusal}");
        assert_eq!(refusal.http(Transaction::Create), 400, "{name}");
    };
    let cs = |text: &str| Some(json!({"vr": "CS", "Value": [text]}));
    for required in ["00741000", "00741200", "00741204", "00404005", "00404041"] {
        check(required, None, 0x0120);
        check(required, Some(json!({"vr": "CS"})), 0x0121);
        check(required, Some(json!({"vr": "CS", "Value": [" "]})), 0x0121);
    }
    check("00741000", cs("IN PROGRESS"), 0xC309);
    check("00741200", cs("URGENT"), 0x0106);
    check("00404041", cs("PERHAPS"), 0x0106);
    check("00404005", Some(json!({"vr": "DT", "Value": ["tomorrow"]})), 0x0106);
    check("00081195", Some(json!({"vr": "UI", "Value": ["1.9"]})), 0x0106);
    check("00741216", performed().get("00741216").cloned(), 0x0106);
    check("00741002", Some(json!({"vr": "SQ", "Value": [{}]})), 0x0106);
    check("00080016", Some(json!({"vr": "UI", "Value": ["1.2"]})), 0x0106);
    check("00404025", Some(json!({"vr": "LO", "Value": ["X"]})), 0x0106);
    check("00404025", Some(json!({"vr": "SQ", "Value": [{}]})), 0x0120);
}

#[test]
fn updates_may_not_touch_identity_or_state() {
    let item = held(State::Scheduled);
    for rule in rules::RULES.iter().filter(|rule| rule.update == rules::Update::Never) {
        if rule.tag == tags::TRANSACTION_UID {
            continue;
        }
        let mut changes = DataSet::default();
        changes.set_empty(rule.tag, rule.vr);
        let refusal = update(&item, None, changes, NOW).expect_err("never");
        assert_eq!(refusal.code(), 0x0106, "{}", rule.tag);
        assert_eq!(refusal.http(Transaction::Update), 400);
    }
    let empty = set(&json!({"00741204": {"vr": "LO"}}));
    assert_eq!(update(&item, None, empty, NOW).expect_err("type 1").code(), 0x0121);
    // Its own UIDs, as a client that sends back what it read would have them, are no change.
    let own = item.data.only(|t| t == tag::SOP_CLASS_UID || t == tag::SOP_INSTANCE_UID);
    assert_eq!(update(&item, None, own, NOW).map(|change| change.held), Ok(None));
}

#[test]
fn completion_needs_what_was_done() {
    let right = transaction("1.9");
    let complete = held(State::InProgress);
    let missing = |path: &[&str]| {
        let mut data: Value = serde_json::from_str(&complete.data.to_json()).expect("JSON");
        match path {
            [name] => data.as_object_mut().expect("an object").remove(*name),
            [name, inner] => {
                data[*name]["Value"][0].as_object_mut().expect("an item").remove(*inner)
            }
            _ => None,
        };
        let held = Held { data: set(&data), ..complete.clone() };
        change_state(&held, Some(State::Completed), Some(&right), NOW)
    };
    for path in [
        &["00741216"][..],
        &["00741216", "00404028"],
        &["00741216", "00404050"],
        &["00741216", "00404051"],
        &["00741216", "00404019"],
        &["00741216", "00404033"],
        &["00741204"],
    ] {
        let refusal = missing(path).expect_err("unfinished");
        assert_eq!(refusal.code(), 0xC304, "{path:?}");
        assert_eq!(refusal.http(Transaction::ChangeState), 409);
    }
    assert!(missing(&[]).is_ok());
}

fn kinds(change: &Change) -> Vec<EventKind> {
    change.events.iter().map(|event| event.kind).collect()
}

#[test]
fn changes_are_reported() {
    let mut assigned = fresh();
    assigned["00404025"] = code("ROOM1");
    let (item, created) = create(set(&assigned), &uid(), NOW).expect("legal");
    assert_eq!(kinds(&created), [EventKind::StateReport, EventKind::Assigned]);
    assert_eq!(created.events[0].attributes.text(tags::READINESS), "READY");

    let change = |changes: Value| update(&item, None, set(&changes), NOW).expect("legal");
    let label = json!({"00741204": {"vr": "LO", "Value": ["other"]}});
    assert_eq!(kinds(&change(label)), []);
    let ready = json!({"00404041": {"vr": "CS", "Value": ["INCOMPLETE"]}});
    assert_eq!(kinds(&change(ready)), [EventKind::StateReport]);
    let nobody = json!({"00404025": {"vr": "SQ"}});
    assert_eq!(kinds(&change(nobody)), [EventKind::Assigned]);
    let progress = json!({"00741002": {"vr": "SQ", "Value": [
        {"00741004": {"vr": "DS", "Value": [50]}}]}});
    assert_eq!(kinds(&change(progress)), [EventKind::ProgressReport]);

    let lock = transaction("1.9");
    let claimed = change_state(&item, Some(State::InProgress), Some(&lock), NOW).expect("legal");
    assert_eq!(kinds(&claimed), [EventKind::StateReport]);
    let claimed = claimed.held.expect("a change");
    assert_eq!(claimed.transaction, Some(lock));
    assert!(!claimed.data.to_json().contains("00081195"), "the lock is a secret");

    let reason = json!({"00741238": {"vr": "LT", "Value": ["no more needed"]}});
    let asked = request_cancel(&claimed, &set(&reason), Some("RIS"), NOW).expect("legal");
    assert_eq!(kinds(&asked), [EventKind::CancelRequested]);
    assert_eq!(asked.events[0].attributes.text(tags::CANCEL_REASON), "no more needed");
    assert_eq!(asked.events[0].attributes.text(tags::REQUESTING_AE), "RIS");

    let canceled = request_cancel(&item, &set(&reason), None, NOW).expect("legal");
    let states: Vec<&str> =
        canceled.events.iter().map(|event| event.attributes.text(tags::STATE)).collect();
    assert_eq!(states, ["IN PROGRESS", "CANCELED"]);
    let progress = canceled.held.expect("a change").data.items(tags::PROGRESS)[0].clone();
    assert_eq!(progress.text(tags::CANCEL_REASON), "no more needed");
    assert_eq!(progress.text(tags::CANCELED_AT), "20240305074000.000000+0000");
    assert_eq!(progress.items(tags::DISCONTINUATION)[0].text(tags::CODE_VALUE), "110513");
}

#[test]
fn reports_carry_their_command_elements() {
    let attributes = r#"{"00741000":{"vr":"CS","Value":["SCHEDULED"]}}"#;
    let text = super::super::report("1.2.3", 1, attributes, 7);
    let expected = json!({
        "00000002": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.34.6.4"]},
        "00000110": {"vr": "US", "Value": [7]},
        "00001000": {"vr": "UI", "Value": ["1.2.3"]},
        "00001002": {"vr": "US", "Value": [1]},
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
    });
    assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(expected));
}

#[test]
fn hostile_bodies_are_refused() {
    let deep = |depth: usize| {
        let open = r#"{"00404021":{"vr":"SQ","Value":["#.repeat(depth);
        format!("{open}{}", "]}}".repeat(depth))
    };
    assert!(DataSet::parse(deep(10).as_bytes()).is_ok());
    let many = format!(r#"{{"00080018":{{"vr":"UI","Value":["1"{}]}}}}"#, r#","1""#.repeat(3000));
    let long = format!(r#"{{"00741204":{{"vr":"LO","Value":["{}"]}}}}"#, "x".repeat(70_000));
    for body in [
        deep(20),
        deep(100_000),
        "[".repeat(100_000),
        many,
        long,
        String::new(),
        "null".into(),
        "[]".into(),
        "[{},{}]".into(),
        "[1]".into(),
        r#"{"PatientID":{"vr":"LO"}}"#.into(),
        r#"{"00100020":{"vr":"XX"}}"#.into(),
        r#"{"00100020":{"vr":"王"}}"#.into(),
        r#"{"00100020":{}}"#.into(),
        r#"{"00100020":7}"#.into(),
        r#"{"00100020":{"vr":"LO","Value":"P1"}}"#.into(),
        r#"{"00100020":{"vr":"LO","Value":[{}]}}"#.into(),
        r#"{"00100020":{"vr":"LO","Value":[[]]}}"#.into(),
        r#"{"00100020":{"vr":"LO","Value":["a\u0000b"]}}"#.into(),
        r#"{"00100010":{"vr":"PN","Value":[{"Alphabetic":7}]}}"#.into(),
        r#"{"00100010":{"vr":"PN","Value":[{"Other":"x"}]}}"#.into(),
        r#"{"00404021":{"vr":"SQ","Value":["x"]}}"#.into(),
        r#"{"00741004":{"vr":"DS","Value":[1e999]}}"#.into(),
        r#"{"00420011":{"vr":"OB","InlineBinary":"AAAA"}}"#.into(),
        r#"{"00420011":{"vr":"OB","BulkDataURI":"http://h/"}}"#.into(),
        r#"{"00020010":{"vr":"UI"}}"#.into(),
        r#"{"00000002":{"vr":"UI"}}"#.into(),
    ] {
        let start: String = body.chars().take(60).collect();
        assert!(DataSet::parse(body.as_bytes()).is_err(), "{start}");
    }
}
