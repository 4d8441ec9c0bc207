//! Reading tasks: made once, claimed once, seen by those who read and those whose study it is, and by nobody else.

use std::sync::atomic::{AtomicU64, Ordering};

use qianli_model::grant::{Priors, Viewer};
use qianli_model::query::Level;
use qianli_model::reading::{Ask, Discrepancy, Priority, Reader, Refusal, State};
use qianli_model::routing::Which;
use qianli_model::scope::Principal;
use qianli_model::workitem::{self, change as items};
use qianli_model::{
    AeTitle, Permission, Permissions, Query, Role, Scope, SopInstanceUid, TenantId, TransactionUid,
};

use super::fixture::{NOW, execute, instance, number, other_tenant, scope, study_target, with};
use crate::reading::{Changed, Filter, NewRule, Request, Task, View};
use crate::{Catalog, Kept, Subject};

super::on_both!(
    a_study_becomes_one_task_by_rule,
    a_centre_reads_what_it_was_handed_and_no_longer,
    of_two_who_claim_one_gets_it,
    every_step_is_in_history_and_audit,
    late_images_flag_the_task,
    a_second_reader_is_another_one,
    the_workitem_says_what_the_task_says,
    whoever_works_by_workitems_keeps_to_the_rules,
    a_request_is_not_made_twice,
    lists_filter_and_count,
    views_are_of_one_person,
);

const CENTRE: TenantId = TenantId(2);

fn random() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 32
}

fn rule(modality: &str, to: TenantId) -> NewRule {
    NewRule {
        label: "夜间".into(),
        which: Which { modality: modality.into(), ..Which::default() },
        asked: None,
        to,
        subspecialty: "neuro".into(),
        priority: Priority::High,
        due_minutes: 60,
        priors: Priors::All,
        days: 0,
        at_ms: NOW,
    }
}

/// Somebody with a role in a tenant.
fn person(tenant: TenantId, id: i64, role: Role) -> Scope {
    Scope::new(tenant, Principal::Person(id, format!("{role}{id}")), role.permissions())
}

fn reader(id: i64) -> Scope {
    person(TenantId::DEFAULT, id, Role::Reader)
}

async fn record(catalog: &Catalog, study: u32, sop: u32) {
    catalog.record(&scope(), instance(study, 1, sop)).await.unwrap();
}

async fn follow(catalog: &Catalog, study: u32, complete: bool, now_ms: i64) -> (bool, usize) {
    let study = format!("1.2.{study}");
    let followed = catalog.follow_reading(&scope(), &study, complete, &random, now_ms).await;
    let followed = followed.unwrap();
    (followed.made, followed.changed)
}

/// A rule, a study, and the task that becomes of them.
async fn tasked(catalog: &Catalog, to: TenantId) -> Task {
    catalog.add_reading_rule(&scope(), &rule("ct", to)).await.unwrap().unwrap();
    record(catalog, 1, 1).await;
    assert_eq!(follow(catalog, 1, true, NOW).await, (true, 0));
    only(catalog, &Scope::local(to), &Filter::default()).await
}

async fn only(catalog: &Catalog, scope: &Scope, filter: &Filter) -> Task {
    let mut listed = catalog.reading_list(scope, filter, NOW).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.remove(0).task
}

async fn ask(catalog: &Catalog, scope: &Scope, task: i64, ask: Ask) -> Changed {
    catalog.change_reading(scope, task, (&ask, "because"), &random, NOW + 1).await.unwrap()
}

fn done(changed: Changed) -> Task {
    match changed {
        Changed::Done(task) => *task,
        other => panic!("{other:?}"),
    }
}

async fn a_study_becomes_one_task_by_rule(catalog: &Catalog) {
    record(catalog, 1, 1).await;
    assert_eq!(follow(catalog, 1, true, NOW).await, (false, 0), "no rule wants it");
    catalog.add_reading_rule(&scope(), &rule("mr", TenantId::DEFAULT)).await.unwrap().unwrap();
    assert_eq!(follow(catalog, 1, true, NOW).await, (false, 0), "it is no MR");
    catalog.add_reading_rule(&scope(), &rule("CT", TenantId::DEFAULT)).await.unwrap().unwrap();
    assert_eq!(follow(catalog, 1, false, NOW).await, (true, 0));
    let task = only(catalog, &scope(), &Filter::default()).await;
    assert_eq!((task.held.state, task.complete_ms, task.grant), (State::Open, 0, 0));
    assert_eq!(task.held.due_ms, NOW + 60 * 60_000);
    assert_eq!((task.subspecialty.as_str(), task.made_by.as_str()), ("neuro", "夜间"));
    // More of it comes, and the same news twice.
    record(catalog, 1, 2).await;
    assert_eq!(follow(catalog, 1, false, NOW + 500).await, (false, 0));
    assert_eq!(follow(catalog, 1, true, NOW + 1000).await, (false, 1));
    assert_eq!(follow(catalog, 1, true, NOW + 2000).await, (false, 0));
    let task = only(catalog, &scope(), &Filter::default()).await;
    assert_eq!((task.complete_ms, task.instances), (NOW + 1000, 2));
    assert_eq!(task.held.due_ms, NOW + 1000 + 60 * 60_000, "its time begins when it is complete");
    // A rule that asks for more speaks up when its series arrives.
    let head = NewRule {
        which: Which { modality: "CT".into(), body_part: "HEAD".into(), ..Which::default() },
        priority: Priority::Stat,
        due_minutes: 20,
        ..rule("", TenantId::DEFAULT)
    };
    catalog.add_reading_rule(&scope(), &head).await.unwrap().unwrap();
    record(catalog, 2, 1).await;
    assert_eq!(follow(catalog, 2, false, NOW).await, (true, 0));
    let brain = with(instance(2, 2, 1), |header| header.series.body_part = "HEAD".into());
    catalog.record(&scope(), brain).await.unwrap();
    assert_eq!(follow(catalog, 2, false, NOW + 500).await, (false, 1));
    let stat = Filter { priority: Some(Priority::Stat), ..Filter::default() };
    let task = only(catalog, &scope(), &stat).await;
    assert_eq!(task.held.due_ms, NOW + 500 + 20 * 60_000);
    let made = number(catalog, "SELECT COUNT(*) FROM reading_tasks").await;
    assert_eq!(made, 2);
}

async fn a_centre_reads_what_it_was_handed_and_no_longer(catalog: &Catalog) {
    let centre = other_tenant(catalog).await;
    execute(catalog, "INSERT INTO tenants (id, name) VALUES (3, 'stranger')").await;
    let stranger = Scope::local(TenantId(3));
    let task = tasked(catalog, CENTRE).await;
    assert!(task.grant > 0 && task.held.is_foreign);
    record(catalog, 2, 1).await;
    let viewer = scope().through(Viewer { tenant: Some(CENTRE), ..Viewer::default() });
    let seen = async || {
        let found = catalog.find(&viewer, &Query::all(Level::Study, 10)).await.unwrap();
        assert_eq!(
            !catalog.locate(&viewer, &study_target(1)).await.unwrap().is_empty(),
            found.len() == 1
        );
        found.len()
    };
    assert_eq!(seen().await, 1, "the study that it reads, and no other");
    let shown = catalog.reading_listed(&centre, task.id, NOW).await.unwrap().unwrap();
    assert!(shown.study.unwrap().json.contains("P1"));
    assert_eq!((shown.owner.name.as_str(), shown.reads.name.as_str()), ("default", "other"));

    // The hospital sees what it handed out; a stranger sees nothing and changes nothing.
    let given = Filter { given: true, ..Filter::default() };
    assert_eq!(only(catalog, &scope(), &given).await.id, task.id);
    assert!(catalog.reading_list(&scope(), &Filter::default(), NOW).await.unwrap().is_empty());
    for filter in [Filter::default(), given] {
        assert!(catalog.reading_list(&stranger, &filter, NOW).await.unwrap().is_empty());
    }
    assert!(catalog.reading_listed(&stranger, task.id, NOW).await.unwrap().is_none());
    assert!(catalog.reading_history(&stranger, task.id).await.unwrap().is_empty());
    assert!(catalog.reading_events_after(&stranger, 0, 10).await.unwrap().is_empty());
    assert_eq!(ask(catalog, &stranger, task.id, Ask::Claim).await, Changed::Absent);
    assert_eq!(catalog.reading_counts(&stranger, NOW).await.unwrap().open, 0);
    let audited = "SELECT COUNT(DISTINCT tenant_id) FROM audit WHERE action = 'change reading'
        AND study_uid = '1.2.1'";
    assert_eq!(number(catalog, audited).await, 2, "in the trail of both");

    // The hospital cannot read for the centre, but it can take back what it handed out.
    assert_eq!(
        ask(catalog, &scope(), task.id, Ask::Claim).await,
        Changed::Refused(Refusal::NotAllowed)
    );
    let dispatcher = person(TenantId::DEFAULT, 9, Role::Dispatcher);
    assert_eq!(
        done(ask(catalog, &dispatcher, task.id, Ask::Cancel).await).held.state,
        State::Cancelled
    );
    assert_eq!(seen().await, 0, "from the next statement on");
    let shown = catalog.reading_listed(&centre, task.id, NOW).await.unwrap().unwrap();
    assert_eq!(shown.study, None, "nor on its worklist");
    let theirs = person(CENTRE, 8, Role::Dispatcher);
    assert_eq!(
        ask(catalog, &theirs, task.id, Ask::Reopen).await,
        Changed::Refused(Refusal::NotAllowed),
        "nobody gives themselves a grant"
    );
    assert_eq!(done(ask(catalog, &dispatcher, task.id, Ask::Reopen).await).held.state, State::Open);
    assert_eq!(seen().await, 1);
}

async fn of_two_who_claim_one_gets_it(catalog: &Catalog) {
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let mut claims = tokio::task::JoinSet::new();
    for id in 1..=8 {
        let catalog = catalog.clone();
        claims.spawn(async move { ask(&catalog, &reader(id), task.id, Ask::Claim).await });
    }
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    while let Some(claim) = claims.join_next().await {
        match claim.unwrap() {
            Changed::Done(task) => won.push(task.held.reader.unwrap().name),
            Changed::Refused(Refusal::Taken(name)) => lost.push(name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.iter().all(|name| *name == won[0]), "{lost:?} are told of {won:?}");
    let claims = "SELECT COUNT(*) FROM reading_history WHERE did = 'claim'";
    assert_eq!(number(catalog, claims).await, 1);
}

async fn every_step_is_in_history_and_audit(catalog: &Catalog) {
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let (li, dispatcher) = (reader(1), person(TenantId::DEFAULT, 9, Role::Dispatcher));
    let to = Reader { id: 5, name: "zhao".into() };
    let steps = [
        (&li, Ask::Claim, State::Claimed),
        (&li, Ask::Claim, State::Claimed),
        (&li, Ask::Release, State::Open),
        (&dispatcher, Ask::Prioritise(Priority::Stat, None), State::Open),
        (&dispatcher, Ask::Assign(to.clone()), State::Claimed),
        (&dispatcher, Ask::Assign(Reader::of(&li)), State::Claimed),
        (&li, Ask::Finish, State::Done),
        (&li, Ask::Discrepancy(Discrepancy::Major), State::Done),
        (&li, Ask::Reopen, State::Claimed),
        (&dispatcher, Ask::Cancel, State::Cancelled),
        (&dispatcher, Ask::Reopen, State::Open),
    ];
    for (who, what, state) in steps {
        let word = what.word();
        assert_eq!(done(ask(catalog, who, task.id, what).await).held.state, state, "{word}");
    }
    let history = catalog.reading_history(&scope(), task.id).await.unwrap();
    let words: Vec<&str> = history.iter().map(|step| step.did.as_str()).collect();
    assert_eq!(
        words,
        [
            "make",
            "claim",
            "release",
            "prioritise",
            "assign",
            "assign",
            "finish",
            "discrepancy",
            "reopen",
            "cancel",
            "reopen"
        ]
    );
    assert_eq!((history[1].by.as_str(), history[1].note.as_str()), ("reader1", "because"));
    assert_eq!((history[3].detail.as_str(), history[4].detail.as_str()), ("stat", "zhao"));
    assert!(history.is_sorted_by_key(|step| step.sequence));
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'change reading'
        AND study_uid = '1.2.1' AND details NOT LIKE '%because%'";
    assert_eq!(number(catalog, audited).await, 11);
    for _ in 0..600 {
        // On Postgres what is new is shown when no older transaction of the cluster runs any more.
        let events = catalog.reading_events_after(&scope(), history[9].sequence, 10).await.unwrap();
        if !events.is_empty() {
            assert_eq!(events, history[10..]);
            let newest = catalog.newest_reading_event().await.unwrap();
            assert!(newest >= history[10].sequence);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the last step did not appear within half a minute");
}

async fn late_images_flag_the_task(catalog: &Catalog) {
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let li = reader(1);
    ask(catalog, &li, task.id, Ask::Claim).await;
    ask(catalog, &li, task.id, Ask::Finish).await;
    record(catalog, 1, 2).await;
    record(catalog, 1, 3).await;
    assert_eq!(follow(catalog, 1, true, NOW + 9).await, (false, 1));
    assert_eq!(follow(catalog, 1, true, NOW + 9).await, (false, 0));
    let finished = Filter { states: vec![State::Done], ..Filter::default() };
    assert_eq!(only(catalog, &scope(), &finished).await.held.late, 2);
    assert_eq!(done(ask(catalog, &li, task.id, Ask::SeeLate).await).held.late, 0);
    assert_eq!(follow(catalog, 1, true, NOW + 9).await, (false, 0), "they were looked at");
    record(catalog, 1, 4).await;
    assert_eq!(follow(catalog, 1, false, NOW + 9).await, (false, 1));
    assert_eq!(only(catalog, &scope(), &finished).await.held.late, 1);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM reading_tasks").await, 1);
}

async fn a_second_reader_is_another_one(catalog: &Catalog) {
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let (li, wang) = (reader(1), reader(2));
    ask(catalog, &li, task.id, Ask::Claim).await;
    let second = done(ask(catalog, &li, task.id, Ask::Second).await);
    assert_eq!((second.parent, second.held.state), (task.id, State::Open));
    assert_eq!(second.question, "because");
    let again = ask(catalog, &li, task.id, Ask::Second).await;
    assert_eq!(again, Changed::Refused(Refusal::SecondAsked));
    let own = ask(catalog, &li, second.id, Ask::Claim).await;
    assert_eq!(own, Changed::Refused(Refusal::SameReader));
    assert_eq!(done(ask(catalog, &wang, second.id, Ask::Claim).await).held.state, State::Claimed);
    let shown = catalog.reading_listed(&scope(), task.id, NOW).await.unwrap().unwrap();
    assert_eq!(shown.second, Some((second.id, State::Claimed)));
    assert_eq!(follow(catalog, 1, true, NOW + 5).await, (false, 0), "rules make no third one");
}

async fn item(catalog: &Catalog, scope: &Scope, uid: &str) -> workitem::Held {
    let uid = SopInstanceUid::parse(uid).unwrap();
    match catalog.workitem(scope, &uid).await.unwrap() {
        Kept::Here(held) => held,
        other => panic!("{other:?}"),
    }
}

async fn the_workitem_says_what_the_task_says(catalog: &Catalog) {
    let aet = AeTitle::parse("WATCH").unwrap();
    catalog.subscribe(&scope(), &aet, &Subject::Worklist, false, NOW).await.unwrap().unwrap();
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let li = reader(1);
    let face = |task: &Task| task.workitem.clone();
    let first = face(&task);
    let shown = item(catalog, &scope(), &first).await;
    assert_eq!(shown.state, workitem::State::Scheduled);
    let json = shown.data.to_json();
    for part in ["\"HIGH\"", "neuro", "P1", "1.2.1", "Read CT"] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let claimed = done(ask(catalog, &li, task.id, Ask::Claim).await);
    assert_eq!(face(&claimed), first);
    assert_eq!(item(catalog, &scope(), &first).await.state, workitem::State::InProgress);
    let open = done(ask(catalog, &li, task.id, Ask::Release).await);
    assert_ne!(face(&open), first, "a claimed workitem cannot be given back");
    assert_eq!(item(catalog, &scope(), &first).await.state, workitem::State::Canceled);
    let second = item(catalog, &scope(), &face(&open)).await;
    assert_eq!(second.state, workitem::State::Scheduled);
    assert!(second.data.to_json().contains(&first), "it names the one that it replaces");
    ask(catalog, &li, task.id, Ask::Claim).await;
    let read = done(ask(catalog, &li, task.id, Ask::Finish).await);
    assert_eq!(item(catalog, &scope(), &face(&read)).await.state, workitem::State::Completed);
    let again = done(ask(catalog, &li, task.id, Ask::Reopen).await);
    let third = item(catalog, &scope(), &face(&again)).await;
    assert_eq!(third.state, workitem::State::InProgress);
    assert!(third.data.to_json().contains("reader1"), "and who reads");
    for _ in 0..600 {
        let events = catalog.workitem_events(&scope(), &aet, 0, 100).await.unwrap();
        if events.iter().any(|event| event.workitem == face(&again)) {
            let of_first = events.iter().filter(|event| event.workitem == first).count();
            assert!(of_first >= 3, "new, claimed and cancelled: {events:?}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the reports did not appear within half a minute");
}

async fn whoever_works_by_workitems_keeps_to_the_rules(catalog: &Catalog) {
    let task = tasked(catalog, TenantId::DEFAULT).await;
    let lock = TransactionUid::parse("2.25.77").unwrap();
    let to = async |scope: &Scope, uid: &str, state| {
        let uid = SopInstanceUid::parse(uid).unwrap();
        let decide =
            |held: &workitem::Held| items::change_state(held, Some(state), Some(&lock), NOW);
        catalog.change_workitem(scope, &uid, NOW, decide).await.unwrap().map(|_| ())
    };
    let program = |may: &[Permission]| {
        let principal = Principal::Token(4, "ai".into());
        Scope::new(TenantId::DEFAULT, principal, Permissions::of(may))
    };
    let helper = program(&[Permission::Worklist]);
    let refused = to(&helper, &task.workitem, workitem::State::InProgress).await;
    assert_eq!(refused, Err(workitem::Refusal::NotYours), "it may not interpret");
    assert_eq!(item(catalog, &scope(), &task.workitem).await.state, workitem::State::Scheduled);
    let ai = program(&[Permission::Worklist, Permission::Interpret]);
    to(&ai, &task.workitem, workitem::State::InProgress).await.unwrap();
    let claimed = only(catalog, &scope(), &Filter::default()).await;
    assert_eq!(claimed.held.reader, Some(Reader { id: 0, name: "ai".into() }));
    let late = ask(catalog, &reader(1), task.id, Ask::Claim).await;
    assert_eq!(late, Changed::Refused(Refusal::Taken("ai".into())));
    // It gives up: the task is open again, with another workitem.
    to(&ai, &task.workitem, workitem::State::Canceled).await.unwrap();
    let open = only(catalog, &scope(), &Filter::default()).await;
    assert_eq!(open.held.state, State::Open);
    assert_ne!(open.workitem, task.workitem);
    assert_eq!(item(catalog, &scope(), &open.workitem).await.state, workitem::State::Scheduled);
    let words = catalog.reading_history(&scope(), task.id).await.unwrap();
    let words: Vec<(&str, &str)> =
        words.iter().map(|step| (step.did.as_str(), step.by.as_str())).collect();
    assert_eq!(words[1..], [("claim", "ai"), ("release", "ai")]);
}

async fn a_request_is_not_made_twice(catalog: &Catalog) {
    other_tenant(catalog).await;
    let request = Request {
        study: "1.2.1".into(),
        to: CENTRE,
        priority: Priority::Stat,
        due_minutes: None,
        subspecialty: String::new(),
        question: "出血?".into(),
        priors: Priors::None,
        days: 0,
    };
    let make = async || catalog.request_reading(&scope(), &request, &random, NOW).await.unwrap();
    assert_eq!(make().await, Changed::Absent, "there is no such study");
    record(catalog, 1, 1).await;
    let task = done(make().await);
    assert_eq!((task.tenant, task.question.as_str()), (CENTRE, "出血?"));
    assert_eq!(task.held.due_ms, NOW + 30 * 60_000);
    assert_eq!(done(make().await).id, task.id);
    catalog.add_reading_rule(&scope(), &rule("ct", TenantId::DEFAULT)).await.unwrap().unwrap();
    assert_eq!(follow(catalog, 1, true, NOW + 5).await, (false, 0), "somebody asked already");
    ask(catalog, &scope(), task.id, Ask::Cancel).await;
    let again = done(make().await);
    assert_eq!((again.id, again.held.state), (task.id, State::Open));
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM grants WHERE revoked_ms = 0").await, 1);
}

async fn lists_filter_and_count(catalog: &Catalog) {
    catalog.add_reading_rule(&scope(), &rule("", TenantId::DEFAULT)).await.unwrap().unwrap();
    for study in 1..=4 {
        let modality = if study == 2 { "MR" } else { "CT" };
        let new = with(instance(study, 1, 1), |header| header.series.modality = modality.into());
        catalog.record(&scope(), new).await.unwrap();
        follow(catalog, study, true, NOW + i64::from(study)).await;
    }
    let all = catalog.reading_list(&scope(), &Filter::default(), NOW).await.unwrap();
    let of = |listed: &[crate::reading::Listed]| -> Vec<String> {
        listed.iter().map(|one| one.task.study.clone()).collect()
    };
    assert_eq!(of(&all), ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]);
    ask(catalog, &scope(), all[2].task.id, Ask::Prioritise(Priority::Stat, None)).await;
    ask(catalog, &reader(1), all[1].task.id, Ask::Claim).await;
    ask(catalog, &reader(1), all[3].task.id, Ask::Claim).await;
    ask(catalog, &reader(1), all[3].task.id, Ask::Finish).await;
    let list =
        async |filter: Filter| of(&catalog.reading_list(&scope(), &filter, NOW).await.unwrap());
    assert_eq!(list(Filter::default()).await, ["1.2.3", "1.2.1", "1.2.2"], "the urgent first");
    assert_eq!(list(Filter { modality: "mr".into(), ..Filter::default() }).await, ["1.2.2"]);
    assert_eq!(list(Filter { reader: "reader1".into(), ..Filter::default() }).await, ["1.2.2"]);
    let finished = Filter { states: vec![State::Done], ..Filter::default() };
    assert_eq!(list(finished).await, ["1.2.4"]);
    assert_eq!(list(Filter { hospital: "other".into(), ..Filter::default() }).await, [""; 0]);
    assert_eq!(list(Filter { hospital: "default".into(), ..Filter::default() }).await.len(), 3);
    assert_eq!(list(Filter { subspecialty: "cardiac".into(), ..Filter::default() }).await, [""; 0]);
    let soon = Filter { due_before_ms: Some(NOW + 31 * 60_000), ..Filter::default() };
    assert_eq!(list(soon).await, ["1.2.3"]);
    assert_eq!(list(Filter { limit: 1, offset: 1, ..Filter::default() }).await, ["1.2.1"]);
    let counts = catalog.reading_counts(&scope(), NOW + 40 * 60_000).await.unwrap();
    assert_eq!((counts.open, counts.claimed, counts.overdue, counts.stat), (2, 1, 1, 1));
    let load = catalog.reading_workload(&scope(), NOW).await.unwrap();
    assert_eq!(load.len(), 1);
    assert_eq!((load[0].reader.as_str(), load[0].claimed, load[0].done), ("reader1", 1, 1));
    let (words, hospitals) = catalog.reading_choices(&scope()).await.unwrap();
    assert_eq!((words, hospitals.len()), (vec!["neuro".to_owned()], 1));
}

async fn views_are_of_one_person(catalog: &Catalog) {
    let view = View { name: "我的急诊".into(), query: "priority=stat".into() };
    assert!(catalog.keep_reading_view(&reader(1), &view).await.unwrap());
    let changed = View { query: "priority=high".into(), ..view.clone() };
    assert!(catalog.keep_reading_view(&reader(1), &changed).await.unwrap());
    assert_eq!(catalog.reading_views(&reader(1)).await.unwrap(), [changed]);
    assert_eq!(catalog.reading_views(&reader(2)).await.unwrap(), []);
    assert!(!catalog.forget_reading_view(&reader(2), &view.name).await.unwrap());
    assert!(catalog.forget_reading_view(&reader(1), &view.name).await.unwrap());
    assert_eq!(catalog.reading_views(&reader(1)).await.unwrap(), []);
}
