//! Who may do what with a task in which state; the choice of rules; the face as a workitem.

use super::*;
use crate::grant::Priors;
use crate::uid::{SopInstanceUid, TransactionUid};
use crate::workitem::{self, change as items};

const NOW: i64 = 1_709_624_400_000;
const MINUTE: i64 = 60_000;

fn reader(name: &str) -> Reader {
    Reader { id: i64::try_from(name.len()).unwrap_or(0), name: name.into() }
}

fn task(state: State) -> Held {
    let read = matches!(state, State::Claimed | State::Done);
    Held {
        state,
        priority: Priority::Medium,
        due_ms: NOW + 600 * MINUTE,
        begun_ms: NOW,
        reader: read.then(|| reader("li")),
        discrepancy: Discrepancy::None,
        late: 0,
        first_reader: None,
        is_second: false,
        is_foreign: false,
        touched: false,
    }
}

fn reads(name: &str) -> Actor {
    Actor { reader: reader(name), interprets: true, dispatches: false, is_owner_only: false }
}

fn dispatcher() -> Actor {
    Actor { reader: reader("dora"), interprets: false, dispatches: true, is_owner_only: false }
}

fn hospital() -> Actor {
    Actor { is_owner_only: true, ..dispatcher() }
}

/// Every state against every request of the reader, another reader, a dispatcher and the hospital.
#[test]
fn who_may_do_what_and_when() {
    let states = [State::Open, State::Claimed, State::Done, State::Cancelled];
    let asks: [(Ask, [&str; 4]); 9] = [
        (Ask::Claim, ["RO..", "R...", "....", "...."]),
        (Ask::Assign(reader("zhao")), ["..D.", "..D.", "....", "...."]),
        (Ask::Release, ["....", "R.D.", "....", "...."]),
        (Ask::Finish, ["....", "R...", "....", "...."]),
        (Ask::Prioritise(Priority::Stat, None), ["RODH", "RODH", "....", "...."]),
        (Ask::Second, ["....", "R.D.", "R.D.", "...."]),
        (Ask::Discrepancy(Discrepancy::Major), ["....", "ROD.", "ROD.", "...."]),
        (Ask::Cancel, ["..DH", "..DH", "....", "...."]),
        (Ask::Reopen, ["....", "....", "R.D.", "..DH"]),
    ];
    let actors = [('R', reads("li")), ('O', reads("wang")), ('D', dispatcher()), ('H', hospital())];
    for (ask, allowed) in asks {
        for (state, allowed) in states.into_iter().zip(allowed) {
            for (letter, actor) in &actors {
                let result = change(&task(state), actor, &ask, NOW);
                let expected = allowed.contains(*letter);
                assert_eq!(result.is_ok(), expected, "{ask:?} {state:?} {letter}: {result:?}");
            }
        }
    }
}

#[test]
fn the_second_to_claim_hears_who_was_first() {
    let claimed = change(&task(State::Open), &reads("li"), &Ask::Claim, NOW).expect("claimed");
    assert_eq!(claimed.reader, Some(reader("li")));
    let again = change(&claimed, &reads("li"), &Ask::Claim, NOW);
    assert_eq!(again, Ok(claimed.clone()), "claiming twice is claiming once");
    let other = change(&claimed, &reads("wang"), &Ask::Claim, NOW);
    assert_eq!(other, Err(Refusal::Taken("li".into())));
}

#[test]
fn whoever_read_first_is_no_second_reader() {
    let second = Held { is_second: true, first_reader: Some(reader("li")), ..task(State::Open) };
    assert_eq!(change(&second, &reads("li"), &Ask::Claim, NOW), Err(Refusal::SameReader));
    let assigned = change(&second, &dispatcher(), &Ask::Assign(reader("li")), NOW);
    assert_eq!(assigned, Err(Refusal::SameReader));
    assert!(change(&second, &reads("wang"), &Ask::Claim, NOW).is_ok());
    let third = change(&second, &dispatcher(), &Ask::Second, NOW);
    assert_eq!(third, Err(Refusal::SecondAsked));
}

#[test]
fn what_was_shared_for_a_reading_is_shared_again_by_the_hospital_only() {
    let foreign = Held { is_foreign: true, ..task(State::Cancelled) };
    assert_eq!(change(&foreign, &dispatcher(), &Ask::Reopen, NOW), Err(Refusal::NotAllowed));
    assert!(change(&foreign, &hospital(), &Ask::Reopen, NOW).is_ok());
}

#[test]
fn the_clock_follows_the_priority() {
    let to = |priority, minutes| {
        let ask = Ask::Prioritise(priority, minutes);
        let after = change(&task(State::Open), &dispatcher(), &ask, NOW + 5 * MINUTE);
        (after.expect("changed").due_ms - NOW) / MINUTE
    };
    assert_eq!(to(Priority::Stat, None), 35, "from now on");
    assert_eq!(to(Priority::Medium, None), 600, "it stays");
    assert_eq!(to(Priority::Low, None), 72 * 60, "since it was complete");
    assert_eq!(to(Priority::Low, Some(10)), 15, "as somebody said");
    let soon = Held { due_ms: NOW + 10 * MINUTE, ..task(State::Open) };
    let ask = Ask::Prioritise(Priority::Stat, None);
    let raised = change(&soon, &dispatcher(), &ask, NOW).expect("changed");
    assert_eq!(raised.due_ms, soon.due_ms, "more urgent is never later");
}

fn rule(id: i64, modality: &str, body_part: &str) -> Rule {
    Rule {
        id,
        label: String::new(),
        which: Which { modality: modality.into(), body_part: body_part.into(), ..Which::default() },
        asked: None,
        to: TenantId(2),
        subspecialty: String::new(),
        priority: Priority::Medium,
        due_minutes: 1440,
        priors: Priors::None,
        days: 0,
        disabled: false,
    }
}

#[test]
fn the_rule_that_asks_for_most_decides() {
    let series = |modality: &str, body_part: &str| Facts {
        modality: modality.into(),
        body_part: body_part.into(),
        ..Facts::default()
    };
    let stat = Rule { asked: Some(Priority::Stat), ..rule(5, "ct", "head") };
    let off = Rule { disabled: true, ..rule(6, "mr", "head") };
    let rules =
        [rule(1, "", ""), rule(2, "ct", ""), rule(3, "ct", ""), rule(4, "ct", "head"), stat, off];
    let check = |series: &[Facts], asked, expected| {
        assert_eq!(choose(&rules, series, asked).map(|rule| rule.id), expected);
    };
    check(&[series("us", "")], None, Some(1));
    check(&[series("ct", "chest")], None, Some(2));
    check(&[series("sr", ""), series("ct", "head")], None, Some(4));
    check(&[series("ct", "head")], Some(Priority::Stat), Some(5));
    check(&[series("mr", "head")], None, Some(1));
    assert_eq!(choose(&rules[1..], &[series("us", "")], None), None);
}

#[test]
fn an_order_can_only_make_it_more_urgent() {
    let rule = rule(1, "", "");
    assert_eq!((rule.priority_for(None), rule.minutes_for(None)), (Priority::Medium, 1440));
    let stat = Some(Priority::Stat);
    assert_eq!((rule.priority_for(stat), rule.minutes_for(stat)), (Priority::Stat, 30));
    let low = Some(Priority::Low);
    assert_eq!((rule.priority_for(low), rule.minutes_for(low)), (Priority::Medium, 1440));
}

/// A workitem goes with its task through its life, and a new one begins where the standard lets none go back.
#[test]
fn the_workitem_goes_with_the_task() {
    let shown = face::Shown {
        study: "1.2.3",
        study_json: r#"{"00100020":{"vr":"LO","Value":["P1"]}}"#,
        modalities: "CT",
        subspecialty: "neuro",
        is_complete: true,
        made_ms: NOW,
    };
    let lock = TransactionUid::parse("2.25.9").expect("a UID");
    let uid = SopInstanceUid::parse("2.25.1").expect("a UID");
    let open = task(State::Open);
    let data = face::new_item(&shown, &open, None);
    let (item, _) = items::create(data, &uid, NOW).expect("a workitem");
    let json = item.data.to_json();
    for part in ["neuro", "Read CT", "110005", "P1", "READY", "MEDIUM"] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let follow = |item: &workitem::Held, task: &Held| {
        let followed = face::follow(item, &shown, task, &lock, NOW + 1).expect("it follows");
        let held = followed.change.and_then(|change| change.held).unwrap_or_else(|| item.clone());
        (held, followed.anew)
    };
    let (same, anew) = follow(&item, &open);
    assert_eq!((&same, anew), (&item, false), "nothing changed");
    let (claimed, anew) = follow(&item, &task(State::Claimed));
    assert_eq!((claimed.state, anew), (workitem::State::InProgress, false));
    assert!(claimed.data.to_json().contains("\"li\""), "who reads");
    let other = Held { reader: Some(reader("zhao")), ..task(State::Claimed) };
    let (passed, anew) = follow(&claimed, &other);
    assert!(passed.data.to_json().contains("\"zhao\"") && !anew);
    let (given_up, anew) = follow(&claimed, &open);
    assert_eq!((given_up.state, anew), (workitem::State::Canceled, true));
    let (done, anew) = follow(&claimed, &task(State::Done));
    assert_eq!((done.state, anew), (workitem::State::Completed, false));
    assert!(follow(&done, &task(State::Claimed)).1, "read again");
    let (cancelled, anew) = follow(&item, &task(State::Cancelled));
    assert_eq!((cancelled.state, anew), (workitem::State::Canceled, false));
    let (cancelled, _) = follow(&claimed, &task(State::Cancelled));
    assert_eq!(cancelled.state, workitem::State::Canceled);
    let next = face::new_item(&shown, &open, Some("2.25.1"));
    assert!(next.to_json().contains("00741224"), "it names the one before");
}
