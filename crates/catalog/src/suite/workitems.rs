//! Workitems: kept, changed by one at a time, removed when their time is over.

use std::sync::Arc;

use qianli_model::workitem::{DataSet, Held, Refusal, State, change};
use qianli_model::{AeTitle, Scope, SopInstanceUid, TransactionUid};
use serde_json::{Value, json};

use super::fixture::{NOW, execute, number, other_tenant, scope};
use crate::{Catalog, Kept, Retention, Subject};

super::on_both!(
    what_is_kept_comes_back,
    a_uid_is_taken_once,
    of_many_who_claim_one_wins,
    changes_at_once_are_all_made,
    tenants_do_not_see_each_other,
    finished_workitems_leave_unless_locked,
    finished_workitems_of_every_tenant_leave,
);

pub fn uid(number: u32) -> SopInstanceUid {
    SopInstanceUid::parse(&format!("1.2.9.{number}")).unwrap()
}

pub fn aet(title: &str) -> AeTitle {
    AeTitle::parse(title).unwrap()
}

fn transaction(number: u32) -> TransactionUid {
    TransactionUid::parse(&format!("1.2.8.{number}")).unwrap()
}

/// Attributes of a small workitem.
pub fn attributes() -> Value {
    json!({
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741202": {"vr": "LO", "Value": ["reading"]},
        "00741204": {"vr": "LO", "Value": ["Read a CT"]},
        "00404005": {"vr": "DT", "Value": ["20240305120000"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
    })
}

pub fn set(value: &Value) -> DataSet {
    DataSet::parse(value.to_string().as_bytes()).unwrap()
}

/// Keeps a new workitem.
pub async fn create(catalog: &Catalog, scope: &Scope, number: u32, attributes: &Value) -> bool {
    let (held, made) = change::create(set(attributes), &uid(number), NOW).unwrap();
    catalog.create_workitem(scope, &uid(number), &held, &made.events, NOW).await.unwrap()
}

/// Claims, and later moves on, with the lock of this number.
pub async fn move_to(
    catalog: &Catalog,
    number: u32,
    state: State,
    lock: u32,
    now: i64,
) -> Result<(), Refusal> {
    let lock = transaction(lock);
    let decide = |held: &Held| change::change_state(held, Some(state), Some(&lock), now);
    catalog.change_workitem(&scope(), &uid(number), now, decide).await.unwrap().map(drop)
}

pub async fn update(catalog: &Catalog, number: u32, changes: &Value) {
    let changes = set(changes);
    let decide = |held: &Held| change::update(held, None, changes.clone(), NOW);
    catalog.change_workitem(&scope(), &uid(number), NOW, decide).await.unwrap().unwrap();
}

async fn here(catalog: &Catalog, number: u32) -> Held {
    match catalog.workitem(&scope(), &uid(number)).await.unwrap() {
        Kept::Here(held) => held,
        other => panic!("{other:?}"),
    }
}

async fn what_is_kept_comes_back(catalog: &Catalog) {
    assert_eq!(catalog.workitem(&scope(), &uid(1)).await.unwrap(), Kept::Absent);
    assert!(create(catalog, &scope(), 1, &attributes()).await);
    let (expected, _) = change::create(set(&attributes()), &uid(1), NOW).unwrap();
    assert_eq!(here(catalog, 1).await, expected);
    move_to(catalog, 1, State::InProgress, 5, NOW + 1).await.unwrap();
    let claimed = here(catalog, 1).await;
    assert_eq!((claimed.state, claimed.transaction), (State::InProgress, Some(transaction(5))));
    let refused = move_to(catalog, 2, State::InProgress, 5, NOW).await;
    assert_eq!(refused, Err(Refusal::Absent));
}

async fn a_uid_is_taken_once(catalog: &Catalog) {
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        tasks.push(tokio::spawn(async move { create(&catalog, &scope(), 1, &attributes()).await }));
    }
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap());
    }
    assert_eq!(created, 1);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM workitems").await, 1);
}

async fn of_many_who_claim_one_wins(catalog: &Catalog) {
    for item in 0..10 {
        create(catalog, &scope(), item, &attributes()).await;
        let start = Arc::new(tokio::sync::Barrier::new(8));
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (catalog, start) = (catalog.clone(), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    let claim = move_to(&catalog, item, State::InProgress, worker, NOW).await;
                    (worker, claim)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for worker in workers {
            match worker.await.unwrap() {
                (worker, Ok(())) => winners.push(worker),
                (_, Err(refusal)) => assert_eq!(refusal, Refusal::AlreadyInProgress),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(here(catalog, item).await.transaction, Some(transaction(winners[0])));
    }
}

async fn changes_at_once_are_all_made(catalog: &Catalog) {
    create(catalog, &scope(), 1, &attributes()).await;
    let tags = ["00741204", "00741202", "00400400", "00404011"];
    let tasks: Vec<_> = tags
        .into_iter()
        .map(|tag| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                let vr = if tag == "00404011" { "DT" } else { "LO" };
                update(&catalog, 1, &json!({tag: {"vr": vr, "Value": ["2025"]}})).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let data = serde_json::from_str::<Value>(&here(catalog, 1).await.data.to_json()).unwrap();
    for tag in tags {
        assert_eq!(data[tag]["Value"][0], "2025", "{tag}");
    }
}

async fn tenants_do_not_see_each_other(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    assert!(create(catalog, &other, 1, &attributes()).await);
    assert_eq!(catalog.workitem(&scope(), &uid(1)).await.unwrap(), Kept::Absent);
    assert!(create(catalog, &scope(), 1, &attributes()).await, "the UID is free here");
    let everything = qianli_model::workitem::search::Search { limit: 10, ..Default::default() };
    assert_eq!(catalog.find_workitems(&scope(), &everything).await.unwrap().len(), 1);
    let follow = catalog.subscribe(&other, &aet("A"), &Subject::Worklist, false, NOW).await;
    follow.unwrap().unwrap();
    assert!(create(catalog, &scope(), 2, &attributes()).await);
    let counted = "SELECT COUNT(*) FROM workitem_subscriptions";
    assert_eq!(number(catalog, counted).await, 1);
}

async fn finished_workitems_leave_unless_locked(catalog: &Catalog) {
    let retention = Retention { finished_ms: 1_000, reports_ms: 500, memory_ms: 10_000 };
    for item in 1..=3 {
        create(catalog, &scope(), item, &attributes()).await;
    }
    let lock = |on| {
        let (catalog, aet) = (catalog.clone(), aet("KEEPER"));
        async move {
            let subject = Subject::Workitem(uid(2));
            catalog.subscribe(&scope(), &aet, &subject, on, NOW).await.unwrap().unwrap();
        }
    };
    lock(true).await;
    for item in 1..=2 {
        move_to(catalog, item, State::InProgress, 1, NOW).await.unwrap();
        move_to(catalog, item, State::Canceled, 1, NOW).await.unwrap();
    }
    let expire = |now| catalog.expire_workitems_for_tests(retention, now);
    assert_eq!(expire(NOW + 999).await, 0);
    assert_eq!(expire(NOW + 1_000).await, 1);
    assert_eq!(catalog.workitem(&scope(), &uid(1)).await.unwrap(), Kept::Removed);
    assert!(!create(catalog, &scope(), 1, &attributes()).await, "the UID is remembered");
    assert_eq!(move_to(catalog, 1, State::Canceled, 1, NOW).await, Err(Refusal::Removed));
    assert!(matches!(catalog.workitem(&scope(), &uid(2)).await.unwrap(), Kept::Here(_)), "locked");
    assert!(matches!(catalog.workitem(&scope(), &uid(3)).await.unwrap(), Kept::Here(_)));
    let everything = qianli_model::workitem::search::Search { limit: 10, ..Default::default() };
    assert_eq!(catalog.find_workitems(&scope(), &everything).await.unwrap().len(), 2);
    let orphans = "SELECT COUNT(*) FROM workitem_keys WHERE workitem_id IN
        (SELECT id FROM workitems WHERE removed_ms > 0)";
    assert_eq!(number(catalog, orphans).await, 0);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM workitem_events").await, 0, "too old");

    lock(false).await;
    assert_eq!(expire(NOW + 1_001).await, 1);
    assert_eq!(expire(NOW + 20_000).await, 0);
    assert_eq!(catalog.workitem(&scope(), &uid(1)).await.unwrap(), Kept::Absent, "forgotten");
}

async fn finished_workitems_of_every_tenant_leave(catalog: &Catalog) {
    let other = other_tenant(catalog).await;
    for whose in [&scope(), &other] {
        assert!(create(catalog, whose, 1, &attributes()).await);
    }
    execute(catalog, format!("UPDATE workitems SET final_ms = {NOW}")).await;
    let retention = Retention { finished_ms: 1_000, reports_ms: 500, memory_ms: 10_000 };
    assert_eq!(catalog.expire_workitems(retention, NOW + 1_000).await.unwrap(), 2);
    for whose in [&scope(), &other] {
        assert_eq!(catalog.workitem(whose, &uid(1)).await.unwrap(), Kept::Removed);
    }
}

impl Catalog {
    async fn expire_workitems_for_tests(&self, retention: Retention, now: i64) -> u32 {
        self.expire_workitems(retention, now).await.unwrap()
    }
}
