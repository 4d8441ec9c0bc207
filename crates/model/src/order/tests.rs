//! Tests of orders: what is refused, what states follow, what a message changes.

use super::*;

fn order() -> Order {
    Order {
        patient: OrderPatient {
            id: "P1".into(),
            name: "Wang^XiaoDong=王^小东".into(),
            birth_date: "19800229".into(),
            sex: "M".into(),
            ..OrderPatient::default()
        },
        accession: "A1".into(),
        steps: vec![Step {
            modality: "CT".into(),
            station_ae: "CT1".into(),
            start_date: "20261123".into(),
            start_time: "0930".into(),
            ..Step::default()
        }],
        ..Order::default()
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let mut whole = order();
    whole.complete(7);
    assert_eq!(whole.check(), Ok(()));
    assert_eq!(whole.procedure.study_uid, "2.25.7");
    assert_eq!((whole.procedure.id.as_str(), whole.steps[0].id.len()), ("A1", 13));
    type Change = fn(&mut Order);
    let changes: [(&str, Change); 12] = [
        ("patient.id", |o| o.patient.id.clear()),
        ("patient.name", |o| o.patient.name = "^^".into()),
        ("patient.name", |o| o.patient.name = "x".repeat(70)),
        ("patient.birth_date", |o| o.patient.birth_date = "19790229".into()),
        ("patient.sex", |o| o.patient.sex = "X".into()),
        ("accession", |o| o.accession = "12345678901234567".into()),
        ("accession", |o| o.accession = "a\\b".into()),
        ("procedure.study_uid", |o| o.procedure.study_uid = "1..2".into()),
        ("steps", |o| o.steps.clear()),
        ("steps[0].modality", |o| o.steps[0].modality = "ct".into()),
        ("steps[0].start_time", |o| o.steps[0].start_time = "2460".into()),
        ("steps[0].start_date", |o| o.steps[0].start_date.clear()),
    ];
    for (field, change) in changes {
        let mut wrong = order();
        change(&mut wrong);
        let error = wrong.check().unwrap_err();
        assert_eq!(error.field, field);
        assert!(!error.to_string().contains("Wang"), "{error}");
    }
}

#[test]
fn times_and_dates_are_of_the_calendar() {
    for good in ["09", "0930", "093059", "235960", "093059.123"] {
        assert!(check::is_time(good), "{good}");
    }
    for bad in ["", "9", "24", "0960", "093061", "0930.5", "093059.", "noon"] {
        assert!(!check::is_time(bad), "{bad}");
    }
    assert!(is_date("20240229") && !is_date("20230229"));
    assert!(!is_date("20261301") && !is_date("2026112") && !is_date("２０"));
}

#[test]
fn states_follow_each_other() {
    use StepState::*;
    for state in StepState::ALL {
        assert_eq!(StepState::parse(state.as_str()), Some(state));
        assert!(state.may_become(state), "{state:?}");
        assert_eq!(state.is_final(), !state.may_become(Started) && state != Started);
    }
    assert!(!Started.may_become(Scheduled) && Started.may_become(Discontinued));
    assert!(Arrived.may_become(Scheduled));
    let mut two = order();
    two.steps.push(Step { id: "2".into(), ..two.steps[0].clone() });
    assert_eq!(two.state(), Scheduled);
    two.steps[0].status = Completed;
    assert_eq!(two.state(), Started);
    two.steps[1].status = Discontinued;
    assert_eq!(two.state(), Completed);
}

#[test]
fn a_change_keeps_what_it_does_not_say_and_what_has_begun() {
    let mut known = order();
    known.complete(7);
    known.procedure.reason = "cough".into();
    let mut news = order();
    news.steps[0].start_time = "1000".into();
    let changed = apply(&known, &Command::Change(Box::new(news.clone()))).unwrap();
    assert_eq!(changed.steps.len(), 1);
    assert_eq!(changed.steps[0].start_time, "1000");
    assert_eq!(changed.steps[0].id, known.steps[0].id);
    assert_eq!(changed.procedure.reason, "cough");
    known.steps[0].status = StepState::Started;
    let changed = apply(&known, &Command::Change(Box::new(news.clone()))).unwrap();
    assert_eq!(changed.steps[0].start_time, "0930");
    news.patient.id = "P2".into();
    let other = apply(&known, &Command::Put(Box::new(news)));
    assert_eq!(other, Err(OrderRefusal::OtherPatient));
    let cancel = Command::Cancel(OrderKey::default());
    assert_eq!(apply(&known, &cancel), Err(OrderRefusal::HasBegun));
    let given_up = apply(&known, &Command::Discontinue(OrderKey::default())).unwrap();
    assert_eq!(given_up.state(), StepState::Discontinued);
}

#[test]
fn differences_are_those_that_a_person_would_see() {
    let order = order();
    let seen = |name: &str, birth: &str| Seen {
        patient_id: "p1".into(),
        name: name.into(),
        birth_date: birth.into(),
        accession: "A1".into(),
        ..Seen::default()
    };
    for name in ["WANG^XIAODONG", "王^小东", "Wang XiaoDong", "王小东", "=王^小东", ""] {
        assert_eq!(differences(&order, &seen(name, "")), [], "{name}");
    }
    assert_eq!(
        differences(&order, &seen("Li^Si", "19800228")),
        [Difference::Name, Difference::BirthDate]
    );
    let other = Seen { patient_id: "P2".into(), ..seen("", "") };
    assert_eq!(differences(&order, &other), [Difference::PatientId]);
}
