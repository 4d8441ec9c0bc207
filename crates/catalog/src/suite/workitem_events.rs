//! Subscriptions to workitems and the reports that they bring.

use std::time::Duration;

use qianli_model::workitem::{Held, State, change};
use serde_json::{Value, json};

use super::fixture::{NOW, scope};
use super::workitems::{aet, attributes, create, move_to, set, uid, update};
use crate::{Catalog, Subject, WorkitemEvent};

super::on_both!(
    a_subscriber_is_told_what_happens,
    the_worklist_brings_all_and_what_is_to_come,
    a_filter_brings_what_matches_then_or_later,
    suspending_keeps_what_there_is,
    unsubscribing_ends_it,
    delivery_continues_where_it_was_confirmed,
    subscribers_and_changes_at_once_agree,
);

/// The first `count` reports for a receiver. On Postgres they appear when no older transaction runs
/// in the whole cluster, which other tests share: waits for them.
async fn reports(catalog: &Catalog, title: &str, count: usize) -> Vec<WorkitemEvent> {
    for _ in 0..1200 {
        let events = catalog.workitem_events(&scope(), &aet(title), 0, 1000).await.unwrap();
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} reports did not appear within a minute")
}

/// Number of the workitem, kind and state of each report.
async fn told(catalog: &Catalog, title: &str, count: usize) -> Vec<(u32, i64, String)> {
    let events = reports(catalog, title, count).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let attributes: Value = serde_json::from_str(&event.attributes).unwrap();
            let state = attributes["00741000"]["Value"][0].as_str().unwrap_or_default().to_owned();
            (event.workitem.rsplit('.').next().unwrap().parse().unwrap(), event.kind, state)
        })
        .collect();
    assert_eq!(told.len(), count, "{told:?}");
    told
}

fn is(rows: &[(u32, i64, &str)]) -> Vec<(u32, i64, String)> {
    rows.iter().map(|(number, kind, state)| (*number, *kind, (*state).to_owned())).collect()
}

async fn subscribe(catalog: &Catalog, title: &str, subject: &Subject) {
    catalog.subscribe(&scope(), &aet(title), subject, false, NOW).await.unwrap().unwrap();
}

fn labelled(label: &str) -> Value {
    let mut all = attributes();
    all["00741202"] = json!({"vr": "LO", "Value": [label]});
    all
}

async fn a_subscriber_is_told_what_happens(catalog: &Catalog) {
    create(catalog, &scope(), 1, &attributes()).await;
    create(catalog, &scope(), 2, &attributes()).await;
    subscribe(catalog, "A", &Subject::Workitem(uid(1))).await;
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    move_to(catalog, 2, State::InProgress, 1, NOW).await.unwrap();
    let reason = set(&json!({"00741238": {"vr": "LT", "Value": ["not needed"]}}));
    let ask = |held: &Held| change::request_cancel(held, &reason, Some("RIS"), NOW);
    catalog.change_workitem(&scope(), &uid(1), NOW, ask).await.unwrap().unwrap();
    move_to(catalog, 1, State::Canceled, 1, NOW).await.unwrap();
    let expected =
        is(&[(1, 1, "SCHEDULED"), (1, 1, "IN PROGRESS"), (1, 2, ""), (1, 1, "CANCELED")]);
    assert_eq!(told(catalog, "A", 4).await, expected);
    let events = reports(catalog, "A", 4).await;
    assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let asked: Value = serde_json::from_str(&events[2].attributes).unwrap();
    assert_eq!(asked["00741238"]["Value"][0], "not needed");
    assert_eq!(asked["00741236"]["Value"][0], "RIS");
    let nobody = Subject::Workitem(uid(9));
    assert!(catalog.subscribe(&scope(), &aet("A"), &nobody, false, NOW).await.unwrap().is_err());
}

async fn the_worklist_brings_all_and_what_is_to_come(catalog: &Catalog) {
    for number in 1..=3 {
        create(catalog, &scope(), number, &attributes()).await;
    }
    move_to(catalog, 3, State::InProgress, 1, NOW).await.unwrap();
    move_to(catalog, 3, State::Canceled, 1, NOW).await.unwrap();
    subscribe(catalog, "A", &Subject::Worklist).await;
    create(catalog, &scope(), 4, &attributes()).await;
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    // Once more changes nothing.
    subscribe(catalog, "A", &Subject::Worklist).await;
    let expected =
        is(&[(1, 1, "SCHEDULED"), (2, 1, "SCHEDULED"), (4, 1, "SCHEDULED"), (1, 1, "IN PROGRESS")]);
    assert_eq!(told(catalog, "A", 4).await, expected);
}

async fn a_filter_brings_what_matches_then_or_later(catalog: &Catalog) {
    create(catalog, &scope(), 1, &labelled("neuro")).await;
    create(catalog, &scope(), 2, &labelled("chest")).await;
    subscribe(catalog, "A", &Subject::Filtered("00741202=neuro".into())).await;
    create(catalog, &scope(), 3, &labelled("neuro")).await;
    create(catalog, &scope(), 4, &labelled("chest")).await;
    update(catalog, 2, &json!({"00741202": {"vr": "LO", "Value": ["neuro"]}})).await;
    // What no longer matches stays subscribed.
    update(catalog, 1, &json!({"00741202": {"vr": "LO", "Value": ["chest"]}})).await;
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    let expected =
        is(&[(1, 1, "SCHEDULED"), (3, 1, "SCHEDULED"), (2, 1, "SCHEDULED"), (1, 1, "IN PROGRESS")]);
    assert_eq!(told(catalog, "A", 4).await, expected);
}

async fn suspending_keeps_what_there_is(catalog: &Catalog) {
    create(catalog, &scope(), 1, &attributes()).await;
    subscribe(catalog, "A", &Subject::Worklist).await;
    assert!(catalog.suspend(&scope(), &aet("A"), &Subject::Worklist).await.unwrap());
    assert!(!catalog.suspend(&scope(), &aet("A"), &Subject::Worklist).await.unwrap());
    create(catalog, &scope(), 2, &attributes()).await;
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    let expected = is(&[(1, 1, "SCHEDULED"), (1, 1, "IN PROGRESS")]);
    assert_eq!(told(catalog, "A", 2).await, expected);
}

async fn unsubscribing_ends_it(catalog: &Catalog) {
    for number in 1..=2 {
        create(catalog, &scope(), number, &attributes()).await;
    }
    let leave = async |title: &str, subject: &Subject| {
        catalog.unsubscribe(&scope(), &aet(title), subject).await.unwrap().unwrap()
    };
    subscribe(catalog, "A", &Subject::Worklist).await;
    subscribe(catalog, "B", &Subject::Worklist).await;
    assert!(leave("A", &Subject::Workitem(uid(1))).await);
    assert!(!leave("A", &Subject::Workitem(uid(1))).await);
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    assert!(leave("A", &Subject::Worklist).await);
    assert!(!leave("A", &Subject::Worklist).await);
    move_to(catalog, 2, State::InProgress, 1, NOW).await.unwrap();
    create(catalog, &scope(), 3, &attributes()).await;
    told(catalog, "B", 5).await;
    assert_eq!(told(catalog, "A", 2).await, is(&[(1, 1, "SCHEDULED"), (2, 1, "SCHEDULED")]));
    let filter = Subject::Filtered("00741202=x".into());
    subscribe(catalog, "A", &filter).await;
    assert!(leave("A", &Subject::Filtered(String::new())).await, "whatever filter");
    let unknown = Subject::Workitem(uid(9));
    assert!(catalog.unsubscribe(&scope(), &aet("A"), &unknown).await.unwrap().is_err());
}

async fn delivery_continues_where_it_was_confirmed(catalog: &Catalog) {
    subscribe(catalog, "A", &Subject::Worklist).await;
    for number in 1..=5 {
        create(catalog, &scope(), number, &attributes()).await;
    }
    let all = reports(catalog, "A", 5).await;
    assert_eq!(catalog.delivered(&scope(), &aet("A")).await.unwrap(), 0);
    for (confirm, expected) in [(2, 2), (1, 2), (4, 4)] {
        let sequence = all[confirm].sequence;
        catalog.confirm_delivery(&scope(), &aet("A"), sequence).await.unwrap();
        let delivered = catalog.delivered(&scope(), &aet("A")).await.unwrap();
        assert_eq!(delivered, all[expected].sequence, "never backwards");
    }
    let page = catalog.workitem_events(&scope(), &aet("A"), all[1].sequence, 2).await.unwrap();
    assert_eq!(page, all[2..4]);
    assert!(catalog.newest_workitem_event().await.unwrap() >= all[4].sequence);
}

/// Whoever subscribes while a workitem changes gets its state first and then what follows, with
/// nothing missing in between.
async fn subscribers_and_changes_at_once_agree(catalog: &Catalog) {
    for round in 1..=8_u32 {
        create(catalog, &scope(), round, &attributes()).await;
        let title = format!("R{round}");
        let (changer, subscriber) = (catalog.clone(), catalog.clone());
        let name = title.clone();
        let changes = tokio::spawn(async move {
            move_to(&changer, round, State::InProgress, 1, NOW).await.unwrap();
            move_to(&changer, round, State::Canceled, 1, NOW).await.unwrap();
        });
        let subscribes = tokio::spawn(async move {
            subscribe(&subscriber, &name, &Subject::Workitem(uid(round))).await;
        });
        changes.await.unwrap();
        subscribes.await.unwrap();
        let order = ["SCHEDULED", "IN PROGRESS", "CANCELED"];
        // What was committed before the subscription is in its first report; wait for the last.
        let mut states: Vec<String> = Vec::new();
        for _ in 0..1200 {
            let events = reports(catalog, &title, 1).await;
            states = events
                .iter()
                .map(|event| {
                    let attributes: Value = serde_json::from_str(&event.attributes).unwrap();
                    attributes["00741000"]["Value"][0].as_str().unwrap_or_default().to_owned()
                })
                .collect();
            if states.last().is_some_and(|state| state == "CANCELED") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let first = order.iter().position(|state| *state == states[0]).unwrap();
        assert_eq!(states, order[first..], "round {round}");
    }
}
