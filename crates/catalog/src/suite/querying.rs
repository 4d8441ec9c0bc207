//! Matching kinds, levels, order and pages.

use qianli_model::Query;
use qianli_model::query::{INDEXED, Indexed, Kind, Level, Rule};

use super::fixture::{between, instance, matching, number, scope, studies, with};
use crate::Catalog;

super::on_both!(
    text_matches_without_case_and_with_wildcards,
    wildcards_that_are_data_are_literal,
    dates_and_times_match_ranges,
    uids_and_lists,
    every_attribute_can_be_matched,
    levels_relate,
    pages_are_stable,
    values_are_never_sql,
);

const NONE: [u32; 0] = [];

/// Records one study per value and returns after all are there.
async fn record_each(
    catalog: &Catalog,
    values: &[&str],
    change: fn(&mut qianli_model::InstanceHeader, &str),
) {
    for (study, value) in (1..).zip(values) {
        let new = with(instance(study, 1, 1), |header| change(header, value));
        catalog.record(&scope(), new).await.unwrap();
    }
}

async fn check(catalog: &Catalog, attribute: Indexed, value: &str, expected: &[u32]) {
    let mut found = studies(catalog, &matching(attribute, value)).await;
    found.sort_unstable();
    assert_eq!(found, expected, "{attribute:?} {value}");
}

async fn text_matches_without_case_and_with_wildcards(catalog: &Catalog) {
    let ids = ["AB-100", "ab-200", "XAB-1", "", "ABC"];
    record_each(catalog, &ids, |header, value| header.patient.id = value.into()).await;
    for (value, expected) in [
        ("ab-100", &[1][..]),
        ("AB*", &[1, 2, 5]),
        ("*ab*", &[1, 2, 3, 5]),
        ("*b-1*", &[1, 3]),
        ("ab-?00", &[1, 2]),
        ("???", &[5]),
        ("*00", &[1, 2]),
        ("a*0", &[1, 2]),
        ("*", &[1, 2, 3, 4, 5]),
        ("ab", &[]),
    ] {
        check(catalog, Indexed::PatientId, value, expected).await;
    }
    let empty = Query::all(Level::Study, 10).with(Indexed::PatientId, Rule::Empty);
    assert_eq!(studies(catalog, &empty).await, [4]);
}

async fn wildcards_that_are_data_are_literal(catalog: &Catalog) {
    let descriptions = ["50% dose", "50 dose", "a_b", "axb", "c\\d", "say \"hi\" AND", "x'; --"];
    record_each(catalog, &descriptions, |header, value| {
        header.study.description = value.into();
    })
    .await;
    for (value, expected) in [
        ("*50%*", &[1][..]),
        ("50% dose", &[1]),
        ("50%*", &[1]),
        ("*a_b*", &[3]),
        ("a_b", &[3]),
        ("a?b", &[3, 4]),
        ("*c\\d*", &[5]),
        ("*%*", &[1]),
        ("*_*", &[3]),
        ("*say \"hi\" AND*", &[6]),
        ("*\"hi\"*", &[6]),
        ("*'; --*", &[7]),
        ("*dose OR a*", &[]),
        ("*^dose*", &[]),
    ] {
        check(catalog, Indexed::StudyDescription, value, expected).await;
    }
}

async fn dates_and_times_match_ranges(catalog: &Catalog) {
    let moments = [
        ("20231231", "235959.999999"),
        ("20240101", "000000"),
        ("20240101", "1030"),
        ("20240102", "235959"),
        ("20240103", ""),
        ("", ""),
    ];
    for (study, (date, time)) in (1..).zip(moments) {
        let new = with(instance(study, 1, 1), |header| {
            header.study.date = date.into();
            header.study.time = time.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    check(catalog, Indexed::StudyDate, "20240101", &[2, 3]).await;
    check(catalog, Indexed::StudyTime, "1030", &[3]).await;
    check(catalog, Indexed::StudyTime, "10", &[3]).await;
    check(catalog, Indexed::StudyTime, "000000", &[2]).await;
    for (attribute, from, to, expected) in [
        (Indexed::StudyDate, "20240101", "20240102", &[4, 3, 2][..]),
        (Indexed::StudyDate, "20240102", "", &[5, 4]),
        (Indexed::StudyDate, "", "20231231", &[1]),
        (Indexed::StudyDate, "20240201", "20240101", &[]),
        (Indexed::StudyTime, "103000.000000", "103059.999999", &[3]),
        (Indexed::StudyTime, "", "000000.999999", &[2]),
        // Past midnight.
        (Indexed::StudyTime, "230000.000000", "010000.000000", &[4, 2, 1]),
    ] {
        let found = studies(catalog, &between(attribute, from, to)).await;
        assert_eq!(found, expected, "{attribute:?} {from}-{to}");
    }

    let range = |from: &str, to: &str| Rule::Range(Some(from.into()), Some(to.into()));
    let mut night = Query::all(Level::Study, 10)
        .with(Indexed::StudyDate, range("20231231", "20240101"))
        .with(Indexed::StudyTime, range("230000.000000", "020000.000000"));
    assert_eq!(studies(catalog, &night).await, [2, 1], "one range of instants over midnight");
    night.combined_datetime = false;
    assert_eq!(studies(catalog, &night).await, [2, 1], "each day's night hours");
    let mut day = Query::all(Level::Study, 10)
        .with(Indexed::StudyDate, range("20240101", "20240102"))
        .with(Indexed::StudyTime, range("100000.000000", "235959.999999"));
    assert_eq!(studies(catalog, &day).await, [4, 3]);
    day.combined_datetime = false;
    assert_eq!(studies(catalog, &day).await, [4, 3]);
    let mut noon = Query::all(Level::Study, 10)
        .with(Indexed::StudyDate, range("20231231", "20240102"))
        .with(Indexed::StudyTime, range("100000.000000", "110000.999999"));
    assert_eq!(studies(catalog, &noon).await, [3, 2, 1], "from 10:00 to 11:00 two days later");
    noon.combined_datetime = false;
    assert_eq!(studies(catalog, &noon).await, [3], "10:00 to 11:00 on each day");
    let single = matching(Indexed::StudyDate, "20240101")
        .with(Indexed::StudyTime, range("090000.000000", "120000.000000"));
    assert_eq!(studies(catalog, &single).await, [3]);
    let open = Query::all(Level::Study, 10)
        .with(Indexed::StudyDate, Rule::Range(Some("20240101".into()), None))
        .with(Indexed::StudyTime, Rule::Range(Some("100000.000000".into()), None));
    assert_eq!(studies(catalog, &open).await, [5, 4, 3]);
    let dateless = Query::all(Level::Study, 10).with(Indexed::StudyDate, Rule::Empty);
    assert_eq!(studies(catalog, &dateless).await, [6]);
}

async fn uids_and_lists(catalog: &Catalog) {
    for study in 1..=4 {
        let new = with(instance(study, study, 1), |header| {
            header.series.modality = ["CT", "MR", "ct", "SEG"][study as usize - 1].into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    let list = |values: &[&str]| Rule::AnyOf(values.iter().map(|v| (*v).into()).collect());
    let query =
        |attribute, values: &[&str]| Query::all(Level::Study, 10).with(attribute, list(values));
    let found = studies(catalog, &query(Indexed::StudyInstanceUid, &["1.2.3", "1.2.1", "9"])).await;
    assert_eq!(found, [3, 1]);
    let found = studies(catalog, &query(Indexed::StudyInstanceUid, &["1.2.*"])).await;
    assert_eq!(found, NONE, "UIDs have no wildcards");
    let found = studies(catalog, &query(Indexed::ModalitiesInStudy, &["CT", "SEG"])).await;
    assert_eq!(found, [4, 3, 1]);
    let found = studies(catalog, &query(Indexed::ModalitiesInStudy, &["*R"])).await;
    assert_eq!(found, [2]);
    let found = studies(catalog, &query(Indexed::SopInstanceUid, &["1.2.2.2.1"])).await;
    assert_eq!(found, [2]);
    let found = studies(catalog, &query(Indexed::SeriesInstanceUid, &["1.2.4.4", "1.2.1.1"])).await;
    assert_eq!(found, [4, 1]);
    let found = studies(catalog, &query(Indexed::SeriesNumber, &["2", "x"])).await;
    assert_eq!(found, [2]);
    let range = Rule::Range(Some("2".into()), Some("3".into()));
    let numbers = Query::all(Level::Study, 10).with(Indexed::SeriesNumber, range);
    assert_eq!(studies(catalog, &numbers).await, [3, 2]);
}

/// Each attribute compiles for each rule at each level, and finds what is there.
async fn every_attribute_can_be_matched(catalog: &Catalog) {
    let new = with(instance(1, 1, 1), |header| {
        header.patient.issuer = "H".into();
        header.series.station_name = "ST".into();
        header.series.institution = "IN".into();
        header.series.date = "20240305".into();
        header.series.time = "1015".into();
        header.series.pps_start_date = "20240305".into();
        header.series.pps_start_time = "1014".into();
    });
    catalog.record(&scope(), new).await.unwrap();
    for (attribute, _, _, kind) in INDEXED.iter().copied() {
        let present = match attribute {
            Indexed::StudyInstanceUid => "1.2.1",
            Indexed::SeriesInstanceUid => "1.2.1.1",
            Indexed::SopInstanceUid => "1.2.1.1.1",
            Indexed::SopClassUid => "1.2.840.10008.5.1.4.1.1.2",
            Indexed::PatientBirthDate => "19700101",
            _ => match kind {
                Kind::Date => "20240305",
                Kind::Time => "10",
                Kind::Number | Kind::Decimal => "1",
                Kind::DateTime => "20240305",
                _ => "?*",
            },
        };
        for level in [Level::Study, Level::Series, Level::Instance] {
            for (rule, expected) in [
                (Rule::AnyOf(vec![present.into(), "other".into()]), 1),
                (Rule::Range(Some("0".into()), Some("9999999999999".into())), -1),
                (Rule::Range(None, None), 1),
                (Rule::Empty, 0),
            ] {
                let query = Query::all(level, 10).with(attribute, rule.clone());
                let found = catalog.find(&scope(), &query).await.unwrap();
                let count = catalog.count(&scope(), &query).await.unwrap();
                assert_eq!(count, i64::try_from(found.len()).unwrap());
                if expected >= 0 {
                    assert_eq!(count, expected, "{attribute:?} {rule:?} {level:?}");
                }
            }
        }
    }
}

async fn levels_relate(catalog: &Catalog) {
    for (study, series, sop, modality, part) in [
        (1, 1, 1, "CT", "CHEST"),
        (1, 1, 2, "CT", "CHEST"),
        (1, 2, 3, "SR", "HEAD"),
        (2, 1, 1, "CT", "HEAD"),
    ] {
        let new = with(instance(study, series, sop), |header| {
            header.series.modality = modality.into();
            header.series.body_part = part.into();
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    // Both conditions must hold for the same series.
    let head_ct = matching(Indexed::Modality, "CT").equals(Indexed::BodyPartExamined, "HEAD");
    assert_eq!(studies(catalog, &head_ct).await, [2]);
    let modalities = matching(Indexed::ModalitiesInStudy, "SR").equals(Indexed::Modality, "CT");
    assert_eq!(studies(catalog, &modalities).await, [1]);

    let series = Query::all(Level::Series, 10).equals(Indexed::ModalitiesInStudy, "sr");
    let found = catalog.find(&scope(), &series).await.unwrap();
    let uids: Vec<&str> =
        found.iter().map(|row| row.series.as_ref().unwrap().uid.as_str()).collect();
    assert_eq!(uids, ["1.2.1.1", "1.2.1.2"]);
    assert!(found.iter().all(|row| row.instance.is_none()));

    let instances = Query::all(Level::Instance, 10)
        .equals(Indexed::StudyInstanceUid, "1.2.1")
        .equals(Indexed::Modality, "CT")
        .equals(Indexed::PatientId, "p1");
    let found = catalog.find(&scope(), &instances).await.unwrap();
    let uids: Vec<&str> =
        found.iter().map(|row| row.instance.as_ref().unwrap().uid.as_str()).collect();
    assert_eq!(uids, ["1.2.1.1.1", "1.2.1.1.2"]);
    let instance = found[0].instance.as_ref().unwrap();
    assert_eq!((instance.transfer_syntax.as_str(), instance.size), ("1.2.840.10008.1.2.1", 1000));
    assert_eq!(found[0].study.modalities, ["CT", "SR"]);

    let by_number = Query::all(Level::Series, 10).equals(Indexed::InstanceNumber, "3");
    let found = catalog.find(&scope(), &by_number).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].series.as_ref().unwrap().uid, "1.2.1.2");
}

async fn pages_are_stable(catalog: &Catalog) {
    for study in 1..=23 {
        let new = with(instance(study, 1, 1), |header| {
            header.study.date = if study % 3 == 0 { String::new() } else { "20240305".into() };
            header.study.time = if study % 2 == 0 { "10".into() } else { String::new() };
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    for number in [None, Some(10), Some(9), None, Some(-1)] {
        let sop = 100 + number.map_or(0, |number: i64| (number + 50) as u32);
        let mut new = instance(2, 1, sop);
        new.header.instance.number = number;
        catalog.record(&scope(), new).await.unwrap();
    }
    let all = studies(catalog, &Query::all(Level::Study, 100)).await;
    assert_eq!(all.len(), 23);
    assert_eq!(&all[..3], [22, 20, 16], "newest first: by time, then by arrival");
    assert_eq!(&all[20..], [15, 9, 3], "those without a date last");
    let mut paged = Vec::new();
    for offset in (0..30).step_by(5) {
        let query = Query { offset, ..Query::all(Level::Study, 5) };
        paged.extend(studies(catalog, &query).await);
    }
    assert_eq!(paged, all);

    let instances = Query::all(Level::Instance, 100).equals(Indexed::StudyInstanceUid, "1.2.2");
    let found = catalog.find(&scope(), &instances).await.unwrap();
    let numbers: Vec<&str> = found
        .iter()
        .map(|row| row.instance.as_ref().unwrap().uid.rsplit('.').next().unwrap())
        .collect();
    assert_eq!(numbers, ["149", "1", "159", "160", "100"], "by number, none last");
}

async fn values_are_never_sql(catalog: &Catalog) {
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    for attack in [
        "' OR '1'='1",
        "'; DROP TABLE instances; --",
        "\" OR \"\"=\"",
        "\\",
        "\\'",
        "$1",
        "%",
        "_",
        "*\" OR rowid > 0 OR \"*",
        "*) OR (1=1*",
        "1\0",
        "\u{10FFFF}*",
        "*{a b} : c NOT d*",
    ] {
        for (attribute, ..) in INDEXED.iter().copied() {
            for level in [Level::Study, Level::Instance] {
                for rule in [
                    Rule::AnyOf(vec![attack.into()]),
                    Rule::Range(Some(attack.into()), Some(attack.into())),
                ] {
                    let query = Query::all(level, 10).with(attribute, rule.clone());
                    let found = catalog.find(&scope(), &query).await.unwrap();
                    assert_eq!(found, [], "{attribute:?} {rule:?}");
                }
            }
        }
    }
    let new = with(instance(2, 1, 1), |header| {
        header.patient.id = "'; DROP TABLE studies; --".into();
        header.patient.name = "Robert'); DROP TABLE students;--".into();
        header.study.description = "$1 \" ' \\ %".into();
    });
    catalog.record(&scope(), new).await.unwrap();
    check(catalog, Indexed::PatientId, "'; drop table studies; --", &[2]).await;
    check(catalog, Indexed::PatientName, "*drop table students*", &[2]).await;
    check(catalog, Indexed::StudyDescription, "$1 \" ' \\ %", &[2]).await;
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM studies").await, 2);
}
