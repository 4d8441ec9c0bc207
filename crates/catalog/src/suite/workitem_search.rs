//! Searching for workitems by any attribute.

use qianli_model::workitem::State;
use qianli_model::workitem::search::{self, Search};
use serde_json::{Value, json};

use super::fixture::{NOW, scope};
use super::workitems::{attributes, create, move_to, update};
use crate::Catalog;

super::on_both!(
    every_kind_of_match,
    conditions_of_a_sequence_hold_in_one_item,
    found_by_what_it_says_now,
    pages_are_stable,
);

/// Last numbers of what is found, in order.
async fn found(catalog: &Catalog, query: &str) -> Vec<u32> {
    let conditions = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            search::condition(search::path(name).unwrap(), value).unwrap()
        })
        .collect();
    numbers(catalog, &Search { conditions, limit: 100, ..Search::default() }).await
}

async fn numbers(catalog: &Catalog, search: &Search) -> Vec<u32> {
    let rows = catalog.find_workitems(&scope(), search).await.unwrap();
    rows.iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row).unwrap();
            let uid = row["00080018"]["Value"][0].as_str().unwrap().to_owned();
            uid.rsplit('.').next().unwrap().parse().unwrap()
        })
        .collect()
}

fn with(changes: Value) -> Value {
    let mut all = attributes();
    let changes = changes.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(changes);
    all
}

fn codes(pairs: &[(&str, &str)]) -> Value {
    let items: Vec<Value> = pairs
        .iter()
        .map(|(value, scheme)| {
            json!({
                "00080100": {"vr": "SH", "Value": [value]},
                "00080102": {"vr": "SH", "Value": [scheme]},
                "00080104": {"vr": "LO", "Value": ["x"]},
            })
        })
        .collect();
    json!({"vr": "SQ", "Value": items})
}

async fn every_kind_of_match(catalog: &Catalog) {
    create(catalog, &scope(), 1, &attributes()).await;
    let other = with(json!({
        "00741204": {"vr": "LO", "Value": ["Segment 100%_\\ liver"]},
        "00741200": {"vr": "CS", "Value": ["LOW"]},
        "00404005": {"vr": "DT", "Value": ["20240306080000+0800"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
        "00100020": {"vr": "LO", "Value": ["P2"]},
        "00100030": {"vr": "DA", "Value": ["19700131"]},
        "00404025": codes(&[("AI1", "99Q")]),
    }));
    create(catalog, &scope(), 2, &other).await;
    for (query, expected) in [
        ("", &[1, 2][..]),
        ("ProcedureStepState=SCHEDULED", &[1, 2]),
        ("ProcedureStepState=COMPLETED\\CANCELED", &[]),
        ("ProcedureStepState=SCHED*", &[1, 2]),
        ("00741200=low", &[2]),
        ("00741200=LOW\\HIGH", &[1, 2]),
        ("00741204=read*", &[1]),
        ("00741204=*liver", &[2]),
        ("00741204=*%*", &[2]),
        ("00741204=*_*", &[2]),
        ("00741204=R?ad a CT", &[1]),
        ("00741204=Read", &[]),
        ("PatientName=wang*", &[1]),
        ("PatientName=王小东", &[1]),
        ("PatientName=muller^jorg", &[2]),
        ("PatientName==王^小东", &[1]),
        ("PatientID=P1\\P2", &[1, 2]),
        ("PatientID=\"\"", &[]),
        ("PatientBirthDate=\"\"", &[1]),
        ("PatientBirthDate=19700101-19700131", &[2]),
        ("PatientBirthDate=19700201-", &[]),
        ("SOPInstanceUID=1.2.9.2,1.2.9.7", &[2]),
        ("SOPInstanceUID=1.2.9", &[]),
        ("ScheduledProcedureStepStartDateTime=20240305", &[1]),
        ("ScheduledProcedureStepStartDateTime=20240306", &[2]),
        ("ScheduledProcedureStepStartDateTime=20240306000000", &[2]),
        ("ScheduledProcedureStepStartDateTime=2024030513-", &[2]),
        ("ScheduledProcedureStepStartDateTime=-2024030512", &[1]),
        ("ScheduledStationNameCodeSequence.CodeValue=ai1", &[2]),
        ("00404025.00080100=AI2", &[]),
        ("00404025.00080100=AI*&PatientID=P2", &[2]),
        ("00404025.00080100=AI*&PatientID=P1", &[]),
        ("00404025.00080100=\"\"", &[1]),
        ("00091001=x", &[]),
    ] {
        assert_eq!(found(catalog, query).await, expected, "{query}");
    }
    let fuzzy = Search {
        conditions: search::filter("PatientName=dong").unwrap(),
        fuzzy: true,
        limit: 10,
        offset: 0,
    };
    assert_eq!(numbers(catalog, &fuzzy).await, [1]);
}

async fn conditions_of_a_sequence_hold_in_one_item(catalog: &Catalog) {
    let one = with(json!({"00404025": codes(&[("A", "X"), ("B", "Y")])}));
    create(catalog, &scope(), 1, &one).await;
    assert_eq!(found(catalog, "00404025.00080100=A&00404025.00080102=X").await, [1]);
    assert_eq!(found(catalog, "00404025.00080100=A&00404025.00080102=Y").await, [0_u32; 0]);
    assert_eq!(found(catalog, "00404025.00080100=A\\B&00404025.00080102=Y").await, [1]);
}

async fn found_by_what_it_says_now(catalog: &Catalog) {
    create(catalog, &scope(), 1, &attributes()).await;
    update(
        catalog,
        1,
        &json!({"00741204": {"vr": "LO", "Value": ["Segment"]},
        "00404005": {"vr": "DT", "Value": ["20250101"]}, "00404025": codes(&[("A", "X")])}),
    )
    .await;
    assert_eq!(found(catalog, "00741204=Read*").await, [0_u32; 0]);
    assert_eq!(found(catalog, "00741204=Segment&00404025.00080100=A").await, [1]);
    assert_eq!(found(catalog, "00404005=2025").await, [1]);
    update(catalog, 1, &json!({"00404025": {"vr": "SQ"}})).await;
    assert_eq!(found(catalog, "00404025.00080100=A").await, [0_u32; 0]);
    move_to(catalog, 1, State::InProgress, 1, NOW).await.unwrap();
    assert_eq!(found(catalog, "ProcedureStepState=IN PROGRESS").await, [1]);
    assert_eq!(found(catalog, "00741000=SCHED*").await, [0_u32; 0]);
}

async fn pages_are_stable(catalog: &Catalog) {
    for number in 1..=7 {
        let hour = 8 - number / 2;
        let start = format!("202403050{hour}0000");
        create(
            catalog,
            &scope(),
            number,
            &with(json!({"00404005": {"vr": "DT", "Value": [start]}})),
        )
        .await;
    }
    let mut seen = Vec::new();
    for offset in 0..4 {
        let search = Search { limit: 2, offset: offset * 2, ..Search::default() };
        seen.extend(numbers(catalog, &search).await);
    }
    assert_eq!(seen, [6, 7, 4, 5, 2, 3, 1]);
}
