//! Orders: taken once, found as a worklist asks, moved by modalities, matched to studies.

use qianli_model::order::{Command, MismatchKind, Order, OrderKey, OrderPatient, OrderRefusal};
use qianli_model::order::{Step, StepState};

use super::fixture::{NOW, execute, instance, number, other_tenant, scope, with};
use crate::Catalog;
use crate::orders::{
    Applied, Decision, DecisionRefusal, Hl7Refusal, MessageId, NewPerformed, PerformedState,
    StepSearch,
};

super::on_both!(
    a_message_is_taken_once_and_whole,
    steps_are_found_as_a_worklist_asks,
    news_of_a_patient_reach_open_orders,
    modalities_move_the_states,
    studies_are_matched,
    a_person_decides_and_can_undo,
    refusals_are_kept_for_a_while,
    numbers_are_those_of_a_facility,
    unassigned_steps_are_any_stations_of_their_modality,
    orders_are_kept_for_a_time,
);

fn order(accession: &str, patient: &str) -> Order {
    Order {
        patient: OrderPatient {
            id: patient.into(),
            name: "Zhang^XiaoDong=张^小东".into(),
            birth_date: "19800102".into(),
            sex: "M".into(),
            ..OrderPatient::default()
        },
        accession: accession.into(),
        steps: vec![Step {
            modality: "CT".into(),
            station_ae: "CT1".into(),
            start_date: "20261123".into(),
            start_time: "0930".into(),
            performer: "Li^Si".into(),
            ..Step::default()
        }],
        ..Order::default()
    }
}

fn put(order: Order) -> Command {
    Command::Put(Box::new(order))
}

async fn take(catalog: &Catalog, control_id: &str, commands: &[Command]) -> Applied {
    of(catalog, "COUNTY", control_id, commands).await
}

/// As [`take`], from any facility.
async fn of(catalog: &Catalog, facility: &str, control_id: &str, commands: &[Command]) -> Applied {
    let id = MessageId {
        sender: format!("HIS|{facility}"),
        facility: facility.into(),
        control_id: control_id.into(),
        digest: format!("{commands:?}").len().to_string(),
    };
    let random = || {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
    };
    catalog.apply_orders(&scope(), ("hl7", Some(&id)), commands, random, NOW).await.unwrap()
}

async fn made(catalog: &Catalog, order: Order) -> i64 {
    let control = format!("{}-{}", order.accession, order.patient.id);
    let Applied::Done(ids) = take(catalog, &control, &[put(order)]).await else {
        panic!("refused")
    };
    ids[0]
}

async fn found(catalog: &Catalog, search: StepSearch) -> Vec<String> {
    let search = StepSearch { limit: 50, ..search };
    let steps = catalog.find_steps(&scope(), &search).await.unwrap();
    steps.into_iter().map(|one| one.row.order.accession).collect()
}

async fn a_message_is_taken_once_and_whole(catalog: &Catalog) {
    let id = made(catalog, order("A1", "P1")).await;
    assert_eq!(take(catalog, "A1-P1", &[put(order("A1", "P1"))]).await, Applied::Before);
    let again = take(catalog, "2", &[put(order("A1", "P1"))]).await;
    assert_eq!(again, Applied::Done(vec![id]), "the same order in another message is no second");
    // The second command cannot be done, so the first is not either, and the message can come again.
    let both = [put(order("A2", "P1")), put(order("A1", "P2"))];
    let refused = Applied::Refused(1, OrderRefusal::OtherPatient);
    assert_eq!(take(catalog, "3", &both).await, refused);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM orders").await, 1);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM hl7_messages").await, 2);
    let unknown = Command::Cancel(OrderKey { accession: "A9".into(), ..OrderKey::default() });
    assert_eq!(take(catalog, "4", &[unknown]).await, Applied::Refused(0, OrderRefusal::Unknown));
    let other = other_tenant(catalog).await;
    assert!(catalog.order(&other, id).await.unwrap().is_none());
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'change order'";
    assert_eq!(number(catalog, audited).await, 2);
    let row = catalog.order(&scope(), id).await.unwrap().unwrap();
    assert_eq!((row.origin.as_str(), row.order.procedure.id.as_str()), ("hl7", "A1"));
}

async fn steps_are_found_as_a_worklist_asks(catalog: &Catalog) {
    made(catalog, order("A1", "P1")).await;
    let mut late = order("A2", "P2");
    late.patient.name = "Müller^Jörg".into();
    late.steps[0].start_date = "20261124".into();
    late.steps[0].station_ae = "MR1".into();
    late.steps[0].modality = "MR".into();
    made(catalog, late).await;
    let check = async |search: StepSearch, expected: &[&str]| {
        let shown = format!("{search:?}");
        assert_eq!(found(catalog, search).await, expected, "{shown}");
    };
    let base = StepSearch::default;
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    check(base(), &["A1", "A2"]).await;
    check(StepSearch { station_ae: vec!["CT1".into()], ..base() }, &["A1"]).await;
    check(StepSearch { station_ae: vec!["CT*".into(), "X".into()], ..base() }, &["A1"]).await;
    check(StepSearch { modality: vec!["MR".into()], ..base() }, &["A2"]).await;
    check(StepSearch { days: pair("20261123", "20261123"), ..base() }, &["A1"]).await;
    check(StepSearch { days: pair("20261124", ""), ..base() }, &["A2"]).await;
    let times = pair("0900", "10");
    check(StepSearch { times: times.clone(), ..base() }, &["A1", "A2"]).await;
    check(StepSearch { times: pair("1000", ""), ..base() }, &[]).await;
    // One span of time from the first evening to the last morning.
    let days = pair("20261123", "20261124");
    let span = StepSearch { days: days.clone(), times: pair("1800", "0900"), ..base() };
    check(span, &[]).await;
    check(StepSearch { days, times: pair("0930", "0930"), ..base() }, &["A1", "A2"]).await;
    for (name, expected) in [
        ("zhang*", vec!["A1"]),
        ("张^小东", vec!["A1"]),
        ("张*", vec!["A1"]),
        ("Muller^*", vec!["A2"]),
        ("*", vec!["A1", "A2"]),
        ("zxd", vec![]),
    ] {
        check(StepSearch { patient_name: name.into(), ..base() }, &expected).await;
    }
    let sound = |name: &str| StepSearch { patient_name: name.into(), sounds: true, ..base() };
    check(sound("zxd"), &["A1"]).await;
    check(sound("xiaodong zhang"), &["A1"]).await;
    check(sound("mueller"), &["A2"]).await;
    check(StepSearch { patient_id: "p2".into(), ..base() }, &["A2"]).await;
    check(StepSearch { accession: "A?".into(), ..base() }, &["A1", "A2"]).await;
    check(StepSearch { procedure_id: "A1".into(), ..base() }, &["A1"]).await;
    check(StepSearch { performer: "li*".into(), ..base() }, &["A1", "A2"]).await;
    check(StepSearch { states: vec![StepState::Ready], ..base() }, &[]).await;
    check(StepSearch { accession: "'; --".into(), ..base() }, &[]).await;
}

async fn news_of_a_patient_reach_open_orders(catalog: &Catalog) {
    made(catalog, order("A1", "P1")).await;
    let mut done = order("A2", "P1");
    done.steps[0].status = StepState::Completed;
    made(catalog, done).await;
    let news =
        OrderPatient {
            id: "P1".into(), name: "Zhang^Wei=张^伟".into(), ..OrderPatient::default()
        };
    let stays = OrderPatient { id: "P7".into(), ..OrderPatient::default() };
    let heard = [Command::Patient(Box::new(news.clone()))];
    assert!(matches!(take(catalog, "1", &heard).await, Applied::Done(ids) if ids.len() == 1));
    let name = StepSearch { patient_name: "张伟".into(), ..StepSearch::default() };
    assert_eq!(found(catalog, name).await, ["A1"]);
    let merged = [Command::Merge(Box::new(news), Box::new(stays))];
    assert!(matches!(take(catalog, "2", &merged).await, Applied::Done(ids) if ids.len() == 1));
    let moved = StepSearch { patient_id: "P7".into(), ..StepSearch::default() };
    assert_eq!(found(catalog, moved).await, ["A1"]);
}

fn performed(uid: &str, key: OrderKey, step: &str) -> NewPerformed {
    NewPerformed {
        sop_uid: uid.into(),
        scheduled: vec![(key, step.into())],
        study_uid: "1.2.3".into(),
        calling: "CT1".into(),
        state: PerformedState::InProgress,
        series: Vec::new(),
        json: "{}".into(),
    }
}

async fn modalities_move_the_states(catalog: &Catalog) {
    let id = made(catalog, order("A1", "P1")).await;
    let row = catalog.order(&scope(), id).await.unwrap().unwrap();
    let new = performed("1.9", OrderKey::of(&row.order), &row.order.steps[0].id);
    assert!(catalog.create_performed(&scope(), &new, NOW).await.unwrap());
    assert!(!catalog.create_performed(&scope(), &new, NOW).await.unwrap(), "the same UID");
    let state = async || catalog.order(&scope(), id).await.unwrap().unwrap().order.state();
    assert_eq!(state().await, StepState::Started);
    let cancel = [Command::Cancel(OrderKey::of(&row.order))];
    let begun = Applied::Refused(0, OrderRefusal::HasBegun);
    assert_eq!(take(catalog, "c", &cancel).await, begun);
    let known = catalog.performed(&scope(), "1.9").await.unwrap().unwrap();
    let done = (PerformedState::Completed, "{\"a\":1}", &["1.2.3.1".to_owned()][..]);
    assert!(catalog.change_performed(&scope(), &known, done, NOW + 5).await.unwrap());
    assert_eq!(state().await, StepState::Completed);
    assert!(!catalog.change_performed(&scope(), &known, done, NOW + 6).await.unwrap());
    // An hour later no image is here.
    let waits = "SELECT COUNT(*) FROM jobs WHERE kind = 'order.images'";
    assert_eq!(number(catalog, waits).await, 1);
    assert!(catalog.miss_images(&scope(), id, NOW + 9).await.unwrap());
    let open = catalog.order_mismatches(&scope(), true, 9).await.unwrap();
    assert_eq!((open.len(), open[0].kind), (1, MismatchKind::NoImages));
    let nobody = performed("1.10", OrderKey::default(), "");
    assert!(catalog.create_performed(&scope(), &nobody, NOW).await.unwrap());
    assert_eq!(catalog.performed(&scope(), "1.10").await.unwrap().unwrap().order, 0);
}

/// A study of one image, whose accession number, patient and name are these.
async fn study(catalog: &Catalog, number: u32, texts: [&str; 3]) {
    let [accession, patient, name] = texts.map(str::to_owned);
    let new = with(instance(number, 1, 1), |header| {
        header.study.accession_number = accession;
        header.patient.id = patient;
        header.patient.name = name;
        header.patient.birth_date.clear();
    });
    catalog.record(&scope(), new).await.unwrap();
}

async fn studies_are_matched(catalog: &Catalog) {
    let id = made(catalog, order("A1", "P1")).await;
    study(catalog, 1, ["A1", "P1", "ZHANG^XIAODONG"]).await;
    let matched = catalog.match_study(&scope(), "1.2.1", NOW).await.unwrap();
    assert_eq!((matched.orders, matched.mismatches), (vec![id], vec![]));
    let row = catalog.order(&scope(), id).await.unwrap().unwrap();
    assert_eq!(row.order.state(), StepState::Completed, "no modality reported it");
    let steps = StepSearch { limit: 9, ..StepSearch::default() };
    let listed = catalog.find_steps(&scope(), &steps).await.unwrap();
    assert_eq!(listed[0].studies, ["1.2.1"]);
    // The same accession number on images of somebody else.
    study(catalog, 2, ["A1", "P2", "Li^Si"]).await;
    let matched = catalog.match_study(&scope(), "1.2.2", NOW).await.unwrap();
    assert_eq!((matched.orders, matched.mismatches), (vec![], vec![MismatchKind::OtherPatient]));
    // The right patient with another name.
    let mut third = order("A3", "P3");
    third.procedure.study_uid = "1.2.3".into();
    let third = made(catalog, third).await;
    study(catalog, 3, ["", "P3", "Li^Si"]).await;
    let matched = catalog.match_study(&scope(), "1.2.3", NOW).await.unwrap();
    assert_eq!(matched.orders, [third]);
    assert_eq!(matched.mismatches, [MismatchKind::Demographics]);
    // By the series that a modality performed.
    let fourth = made(catalog, order("A4", "P4")).await;
    let key = OrderKey { accession: "A4".into(), ..OrderKey::default() };
    let mut new = performed("1.9.4", key, "");
    new.series = vec!["1.2.4.1".into()];
    catalog.create_performed(&scope(), &new, NOW).await.unwrap();
    study(catalog, 4, ["", "P4", ""]).await;
    let matched = catalog.match_study(&scope(), "1.2.4", NOW).await.unwrap();
    assert_eq!(matched.orders, [fourth]);
    let row = catalog.order(&scope(), fourth).await.unwrap().unwrap();
    assert_eq!(row.order.state(), StepState::Started, "the modality says when it is done");
    // Nothing ordered: only a sender that takes worklists is asked about.
    study(catalog, 5, ["", "P5", ""]).await;
    let matched = catalog.match_study(&scope(), "1.2.5", NOW).await.unwrap();
    assert_eq!(matched.mismatches, []);
    execute(catalog, "UPDATE instances SET calling_ae = 'CT1'").await;
    let matched = catalog.match_study(&scope(), "1.2.5", NOW).await.unwrap();
    assert_eq!(matched.mismatches, [MismatchKind::NoOrder]);
    // The order comes after its images.
    let mut fifth = order("A5", "P5");
    fifth.procedure.study_uid = "1.2.5".into();
    let fifth = made(catalog, fifth).await;
    assert_eq!(catalog.studies_for_order(&scope(), fifth).await.unwrap(), ["1.2.5"]);
    catalog.match_study(&scope(), "1.2.5", NOW).await.unwrap();
    let open = catalog.order_mismatches(&scope(), true, 9).await.unwrap();
    assert!(open.iter().all(|one| one.study_uid != "1.2.5"), "{open:?}");
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM events WHERE kind LIKE 'order%'").await, 0);
}

async fn a_person_decides_and_can_undo(catalog: &Catalog) {
    let first = made(catalog, order("A1", "P1")).await;
    let second = made(catalog, order("A2", "P2")).await;
    study(catalog, 2, ["A1", "P2", "Li^Si"]).await;
    catalog.match_study(&scope(), "1.2.2", NOW).await.unwrap();
    let open = catalog.order_mismatches(&scope(), true, 9).await.unwrap();
    assert_eq!(open.len(), 1);
    let seen = open[0].seen.as_ref().unwrap();
    assert_eq!((seen.patient_id.as_str(), seen.name.as_str()), ("P2", "Li^Si"));
    assert_eq!(open[0].order.as_ref().unwrap().id, first);
    let id = open[0].id;
    let settle =
        async |decision| catalog.settle_mismatch(&scope(), id, decision, NOW).await.unwrap();
    let belongs = async |order: i64| {
        let text = format!("SELECT COUNT(*) FROM study_orders WHERE order_id = {order}");
        number(catalog, text).await
    };
    assert_eq!(settle(Decision::Undo).await, Err(DecisionRefusal::Missing));
    assert_eq!(settle(Decision::Assign(77)).await, Err(DecisionRefusal::NoOrder));
    assert_eq!(settle(Decision::Assign(second)).await, Ok(()));
    assert_eq!((belongs(first).await, belongs(second).await), (0, 1));
    assert_eq!(settle(Decision::Dismiss).await, Err(DecisionRefusal::Missing));
    // What a person decided stays when more images come.
    catalog.match_study(&scope(), "1.2.2", NOW).await.unwrap();
    assert_eq!((belongs(first).await, belongs(second).await), (0, 1));
    assert_eq!(settle(Decision::Undo).await, Ok(()));
    assert_eq!((belongs(first).await, belongs(second).await), (0, 0));
    assert_eq!(settle(Decision::Accept).await, Ok(()));
    assert_eq!(belongs(first).await, 1);
    assert_eq!(catalog.order_mismatches(&scope(), true, 9).await.unwrap(), []);
    assert_eq!(catalog.order_mismatches(&scope(), false, 9).await.unwrap()[0].state, "accepted");
    let other = other_tenant(catalog).await;
    let theirs = catalog.settle_mismatch(&other, id, Decision::Undo, NOW).await.unwrap();
    assert_eq!(theirs, Err(DecisionRefusal::Missing));
}

async fn refusals_are_kept_for_a_while(catalog: &Catalog) {
    let refusal = |at_ms| Hl7Refusal {
        address: "192.0.2.1".into(),
        sender: "HIS|COUNTY".into(),
        control_id: "7".into(),
        kind: "ORM^O01".into(),
        code: "AE".into(),
        place: "OBR-4".into(),
        reason: "is missing".into(),
        at_ms,
    };
    for at in 0..510 {
        catalog.note_hl7_refusal(&scope(), &refusal(at)).await.unwrap();
    }
    let kept = catalog.hl7_refusals(&scope(), 1000).await.unwrap();
    assert_eq!((kept.len(), kept[0].at_ms), (500, 509));
}

async fn numbers_are_those_of_a_facility(catalog: &Catalog) {
    let ours = made(catalog, order("A1", "P1")).await;
    let key = || OrderKey { accession: "A1".into(), ..OrderKey::default() };
    let refused = Applied::Refused(0, OrderRefusal::Unknown);
    let cancel = [Command::Cancel(key())];
    assert_eq!(of(catalog, "OTHER", "1", &cancel).await, refused, "another's number");
    let Applied::Done(theirs) = of(catalog, "OTHER", "2", &[put(order("A1", "P9"))]).await else {
        panic!("two facilities may have the same number")
    };
    assert_ne!(theirs, [ours]);
    // News of a patient whose ID has no issuer are of the facility's own patients.
    let mut news = order("", "P1").patient;
    news.name = "Other^Person".into();
    let news = [Command::Patient(Box::new(news))];
    assert_eq!(of(catalog, "OTHER", "3", &news).await, Applied::Done(vec![]));
    assert_eq!(of(catalog, "COUNTY", "4", &news).await, Applied::Done(vec![ours]));
    // A Study Instance UID is one in the world.
    let row = catalog.order(&scope(), ours).await.unwrap().unwrap();
    let mut same = order("A7", "P1");
    same.procedure.study_uid = row.order.procedure.study_uid.clone();
    let refused = Applied::Refused(0, OrderRefusal::OtherFacility);
    assert_eq!(of(catalog, "OTHER", "5", &[put(same)]).await, refused);
    // An order that was entered here becomes that of the facility which names it first.
    let random = || 77;
    let new = [put(order("A2", "P2"))];
    let applied = catalog.apply_orders(&scope(), ("page", None), &new, random, NOW).await;
    let Applied::Done(entered) = applied.unwrap() else { panic!("refused") };
    assert_eq!(of(catalog, "COUNTY", "6", &[put(order("A2", "P2"))]).await, Applied::Done(entered));
    let cancel = [Command::Cancel(OrderKey { accession: "A2".into(), ..OrderKey::default() })];
    let refused = Applied::Refused(0, OrderRefusal::Unknown);
    assert_eq!(of(catalog, "OTHER", "7", &cancel).await, refused);
    // A modality knows numbers only.
    let new = performed("1.9.1", OrderKey { accession: "A2".into(), ..OrderKey::default() }, "");
    assert!(catalog.create_performed(&scope(), &new, NOW).await.unwrap());
}

async fn unassigned_steps_are_any_stations_of_their_modality(catalog: &Catalog) {
    made(catalog, order("A1", "P1")).await;
    for (accession, modality) in [("A2", "CT"), ("A3", "MR")] {
        let mut new = order(accession, "P2");
        new.steps[0].station_ae = String::new();
        new.steps[0].modality = modality.into();
        made(catalog, new).await;
    }
    let asks = |station: &str, modality: &[&str]| StepSearch {
        station_ae: vec![station.into()],
        modality: modality.iter().map(|one| (*one).to_owned()).collect(),
        unassigned: true,
        ..StepSearch::default()
    };
    assert_eq!(found(catalog, asks("CT1", &[])).await, ["A1", "A2"], "it does CT, as is known");
    assert_eq!(found(catalog, asks("CT2", &["CT"])).await, ["A2"]);
    assert_eq!(found(catalog, asks("NEW", &[])).await, ["A2", "A3"], "nobody knows what it does");
    let strict = StepSearch { unassigned: false, ..asks("CT1", &[]) };
    assert_eq!(found(catalog, strict).await, ["A1"]);
}

async fn orders_are_kept_for_a_time(catalog: &Catalog) {
    let old = made(catalog, order("A1", "P1")).await;
    let mut planned = order("A2", "P2");
    planned.steps[0].start_date = "29991231".into();
    let planned = made(catalog, planned).await;
    let here = made(catalog, order("A3", "P3")).await;
    study(catalog, 4, ["A3", "P3", "ZHANG^XIAODONG"]).await;
    assert_eq!(catalog.match_study(&scope(), "1.2.4", NOW).await.unwrap().orders, [here]);
    let key = OrderKey { accession: "A1".into(), ..OrderKey::default() };
    for (uid, key) in [("1.9.1", key), ("1.9.2", OrderKey::default())] {
        catalog.create_performed(&scope(), &performed(uid, key, ""), NOW).await.unwrap();
    }
    // The date of the steps lies before the cut as well.
    let year = 365 * 24 * 3_600_000;
    execute(catalog, "UPDATE order_steps SET start_date = '20010101' WHERE start_date < '2900'")
        .await;
    let tenant = scope().tenant();
    assert_eq!(catalog.expire_orders(tenant, NOW - 1, NOW).await.unwrap(), 0, "too young");
    let other = other_tenant(catalog).await.tenant();
    assert_eq!(catalog.expire_orders(other, NOW + year, NOW).await.unwrap(), 0);
    assert_eq!(catalog.expire_orders(tenant, NOW + year, NOW).await.unwrap(), 2);
    assert_eq!(catalog.expire_orders(tenant, NOW + year, NOW).await.unwrap(), 0);
    assert!(catalog.order(&scope(), old).await.unwrap().is_none());
    for kept in [planned, here] {
        assert!(catalog.order(&scope(), kept).await.unwrap().is_some());
    }
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM performed_steps").await, 0);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM order_steps").await, 2);
    let audited = "SELECT COUNT(*) FROM audit WHERE details LIKE '%expire%'";
    assert_eq!(number(catalog, audited).await, 1);
}
