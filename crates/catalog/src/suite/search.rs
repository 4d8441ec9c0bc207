//! Names by sound, attributes without a column, and the filling in of what older rows lack.

use qianli_model::Query;
use qianli_model::query::{Indexed, Level, Path, PathCondition, Rule, parse_path_rule};

use super::fixture::{execute, instance, matching, number, scope, studies, with};
use crate::{Catalog, CatalogError};

super::on_both!(
    names_are_found_by_their_sound,
    indexed_attributes_are_found_at_every_level,
    other_attributes_are_compared_row_by_row,
    what_is_too_broad_is_said,
    headers_come_along_when_asked,
    older_rows_are_filled_in,
    values_of_paths_are_never_sql,
);

fn path_query(level: Level, path: &str, value: &str) -> Query {
    let path = Path::parse(path).unwrap();
    let rule = parse_path_rule(&path, value).unwrap().unwrap();
    Query { paths: vec![PathCondition { path, rule }], ..Query::all(level, 100) }
}

async fn names_are_found_by_their_sound(catalog: &Catalog) {
    let names =
        ["张^小东", "Smith^John", "==ヤマダ^タロウ", "김^희중", "Zhang^Wei=张^伟", "", "張^小東"];
    for (study, name) in (1..).zip(names) {
        let new = with(instance(study, 1, 1), |header| {
            header.patient.name = name.into();
            header.study.referring_physician =
                if study == 2 { "Meyer^Anna".into() } else { String::new() };
        });
        catalog.record(&scope(), new).await.unwrap();
    }
    for (value, expected) in [
        ("zhang xiaodong", &[1, 7][..]),
        ("zxd", &[1, 7]),
        ("zhangxiaodong", &[1, 7]),
        ("張小東", &[1, 7]),
        ("zhang", &[1, 5, 7]),
        ("zhangx*", &[1, 7]),
        ("*zhang*", &[1, 5, 7]),
        ("smyth jon", &[2]),
        ("mith", &[2]),
        ("やまだ", &[3]),
        ("yamada taro", &[3]),
        ("kim", &[4]),
        ("nobody", &[]),
        ("' OR 1=1 --", &[]),
        ("zxd\" OR \"a", &[]),
    ] {
        let query = Query { fuzzy: true, ..matching(Indexed::PatientName, value) };
        let mut found = studies(catalog, &query).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{value}");
    }
    let meier = Query { fuzzy: true, ..matching(Indexed::ReferringPhysicianName, "meier") };
    assert_eq!(studies(catalog, &meier).await, [2]);
    assert_eq!(studies(catalog, &matching(Indexed::PatientName, "zxd")).await, [0; 0]);

    // A name that came with a later instance.
    let late = with(instance(6, 1, 2), |header| header.patient.name = "李^四".into());
    catalog.record(&scope(), late).await.unwrap();
    let query = Query { fuzzy: true, ..matching(Indexed::PatientName, "lisi") };
    assert_eq!(studies(catalog, &query).await, [6]);
}

/// Three studies; the second has what is looked for.
async fn record_devices(catalog: &Catalog) {
    for (study, serial, thickness) in [(1, "SN-1", "5"), (2, "SN-2", "1.50"), (3, "", "")] {
        let value = |text: &str| {
            if text.is_empty() { String::new() } else { format!(",\"Value\":[{text}]") }
        };
        for number in 1..=2 {
            let mut new = instance(study, 1, number);
            let quoted = if serial.is_empty() { String::new() } else { format!("\"{serial}\"") };
            new.header.series_json = format!(
                "{{\"00080070\":{{\"vr\":\"LO\",\"Value\":[\"Maker {study}\"]}},\
                 \"00181000\":{{\"vr\":\"LO\"{}}},\"00400275\":{{\"vr\":\"SQ\",\"Value\":[\
                 {{\"00400009\":{{\"vr\":\"SH\",\"Value\":[\"SPS{study}\"]}}}}]}}}}",
                value(&quoted)
            );
            new.header.json = format!(
                "{{\"00080018\":{{\"vr\":\"UI\",\"Value\":[\"1.2.{study}.1.{number}\"]}},\
                 \"00180050\":{{\"vr\":\"DS\"{}}},\"00189999\":{{\"vr\":\"UI\",\"Value\":[\"1.9.{number}\"]}}}}",
                value(thickness)
            )
            .into_bytes();
            catalog.record(&scope(), new).await.unwrap();
        }
    }
}

async fn indexed_attributes_are_found_at_every_level(catalog: &Catalog) {
    record_devices(catalog).await;
    for (path, value, expected) in [
        ("DeviceSerialNumber", "sn-2", &[2][..]),
        ("DeviceSerialNumber", "SN-*", &[1, 2]),
        ("DeviceSerialNumber", "SN-1\\SN-2", &[1, 2]),
        ("DeviceSerialNumber", "*n-2*", &[2]),
        ("DeviceSerialNumber", "%", &[]),
        ("DeviceSerialNumber", "\"\"", &[3]),
        ("SliceThickness", "1.5", &[2]),
        ("SliceThickness", "5.0", &[1]),
        ("SliceThickness", "\"\"", &[3]),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "SPS3", &[3]),
        ("PatientComments", "\"\"", &[1, 2, 3]),
    ] {
        let mut found = studies(catalog, &path_query(Level::Study, path, value)).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{path} {value}");
    }
    let series = path_query(Level::Series, "DeviceSerialNumber", "SN-2");
    assert_eq!(catalog.find(&scope(), &series).await.unwrap().len(), 1);
    let instances = path_query(Level::Instance, "DeviceSerialNumber", "SN-2");
    assert_eq!(catalog.count(&scope(), &instances).await.unwrap(), 2);
    let thick = path_query(Level::Instance, "SliceThickness", "1.5");
    assert_eq!(catalog.find(&scope(), &thick).await.unwrap().len(), 2);
    // Values that a later instance brings.
    let mut new = instance(3, 1, 9);
    new.header.series_json = "{\"00181000\":{\"vr\":\"LO\",\"Value\":[\"SN-3\"]}}".into();
    catalog.record(&scope(), new).await.unwrap();
    let late = path_query(Level::Study, "DeviceSerialNumber", "SN-3");
    assert_eq!(studies(catalog, &late).await, [3]);
}

async fn other_attributes_are_compared_row_by_row(catalog: &Catalog) {
    record_devices(catalog).await;
    assert_eq!(studies(catalog, &path_query(Level::Study, "Manufacturer", "maker 2")).await, [2]);
    let both = path_query(Level::Study, "Manufacturer", "MAKER*");
    assert_eq!(studies(catalog, &both).await, [3, 2, 1]);
    let page = Query { limit: 1, offset: 1, ..both.clone() };
    assert_eq!(studies(catalog, &page).await, [2]);
    assert_eq!(catalog.count(&scope(), &page).await.unwrap(), 3);
    let beyond = Query { offset: 7, ..both.clone() };
    assert_eq!(studies(catalog, &beyond).await, [0; 0]);
    // Every study has such an instance, but only one row for each comes back.
    let of_instances = path_query(Level::Study, "00189999", "1.9.2");
    assert_eq!(studies(catalog, &of_instances).await, [3, 2, 1]);
    let series = Query { level: Level::Series, ..of_instances.clone() };
    let found = catalog.find(&scope(), &series).await.unwrap();
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|row| row.series.is_some() && row.instance.is_none()));
    let instances = Query { level: Level::Instance, ..of_instances.clone() };
    let found = catalog.find(&scope(), &instances).await.unwrap();
    let uids: Vec<_> =
        found.iter().map(|row| row.instance.as_ref().unwrap().uid.as_str()).collect();
    assert_eq!(uids, ["1.2.3.1.2", "1.2.2.1.2", "1.2.1.1.2"]);
    // With a column, an index and a comparison together.
    let mut all =
        path_query(Level::Study, "DeviceSerialNumber", "SN-*").equals(Indexed::PatientId, "p2");
    all.paths.extend(path_query(Level::Study, "Manufacturer", "maker*").paths);
    assert_eq!(studies(catalog, &all).await, [2]);
    let none = path_query(Level::Study, "00189999", "\"\"");
    assert_eq!(studies(catalog, &none).await, [0; 0]);
}

async fn what_is_too_broad_is_said(catalog: &Catalog) {
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    let numbers = match catalog.kind() {
        "postgres" => "(SELECT generate_series(1, 20100) AS n) AS g",
        _ => {
            "(WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 20100)
            SELECT n FROM g) AS g"
        }
    };
    let columns = "tenant_id, patient_row, patient_id, issuer, patient_id_key, issuer_key,
        name_alphabetic_key, name_ideographic_key, name_phonetic_key, birth_date, sex_key, study_date,
        study_time, accession_key, study_id_key, description_key, referring_alphabetic_key,
        referring_ideographic_key, referring_phonetic_key, study_json, modalities, sop_classes,
        series_count, instance_count, size, patient_conflict, created_ms, updated_ms";
    execute(
        catalog,
        format!(
            "INSERT INTO studies (study_uid, {columns})
            SELECT '1.3.' || n, {columns} FROM studies, {numbers} WHERE study_uid = '1.2.1'"
        ),
    )
    .await;
    let broad = path_query(Level::Study, "PatientAge", "042Y");
    let result = catalog.find(&scope(), &broad).await;
    assert!(matches!(result, Err(CatalogError::TooBroad)), "{result:?}");
    assert!(matches!(catalog.count(&scope(), &broad).await, Err(CatalogError::TooBroad)));
    let narrow = broad.equals(Indexed::StudyInstanceUid, "1.2.1");
    assert_eq!(studies(catalog, &narrow).await, [0; 0]);
    // Enough is found before the bound: nobody has to narrow anything.
    let page = Query { limit: 3, ..path_query(Level::Study, "StudyDescription", "ct*") };
    assert_eq!(catalog.find(&scope(), &page).await.unwrap().len(), 3);
}

async fn headers_come_along_when_asked(catalog: &Catalog) {
    record_devices(catalog).await;
    let plain = Query::all(Level::Instance, 10);
    let rows = catalog.find(&scope(), &plain).await.unwrap();
    assert!(rows.iter().all(|row| row.instance.as_ref().unwrap().header.is_none()));
    let asked = Query { with_headers: true, ..plain };
    for query in [
        asked.clone(),
        Query { with_headers: true, ..path_query(Level::Instance, "00189999", "1.9.1") },
    ] {
        for row in catalog.find(&scope(), &query).await.unwrap() {
            let instance = row.instance.unwrap();
            let header = String::from_utf8(instance.header.unwrap()).unwrap();
            assert!(header.contains(&instance.uid) && header.contains("00189999"), "{header}");
        }
    }
}

async fn older_rows_are_filled_in(catalog: &Catalog) {
    record_devices(catalog).await;
    let name = Query { fuzzy: true, ..matching(Indexed::PatientName, "wxd") };
    let serial = path_query(Level::Study, "DeviceSerialNumber", "SN-2");
    let thick = path_query(Level::Instance, "SliceThickness", "1.5");
    // As an older release left them.
    execute(catalog, "UPDATE studies SET name_sounds = '', referring_sounds = ''").await;
    for table in ["study_attributes", "series_attributes", "instance_attributes"] {
        execute(catalog, format!("DELETE FROM {table}")).await;
    }
    execute(catalog, "UPDATE backfills SET position = 0, done = FALSE").await;
    assert!(catalog.prepare_search().await.unwrap());
    assert_eq!(studies(catalog, &name).await, [0; 0]);
    assert!(catalog.may_miss(&name).await.unwrap(), "who asks is told so");
    let plain = Query { fuzzy: false, ..name.clone() };
    for complete in [&plain, &serial, &thick, &Query { fuzzy: true, ..Query::all(Level::Study, 9) }]
    {
        assert!(!catalog.may_miss(complete).await.unwrap(), "{complete:?}");
    }
    let waiting = catalog.backfills().await.unwrap();
    let percent = catalog.backfill_percent(&waiting[0]).await.unwrap();
    assert_eq!((waiting[0].done, percent), (false, 0));
    // Attributes whose index is incomplete are compared instead: nothing is missed meanwhile.
    assert_eq!(studies(catalog, &serial).await, [2]);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM series_attributes").await, 0);
    let mut steps = 0;
    while let Some(step) = catalog.backfill().await.unwrap() {
        assert!(step.done && step.position > 0, "{step:?}");
        steps += 1;
    }
    assert_eq!(steps, 6);
    assert!(catalog.backfills().await.unwrap().iter().all(|row| row.done));
    assert_eq!(studies(catalog, &name).await, [3, 2, 1]);
    assert!(!catalog.may_miss(&name).await.unwrap());
    assert_eq!(studies(catalog, &serial).await, [2]);
    assert_eq!(catalog.find(&scope(), &thick).await.unwrap().len(), 2);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM series_attributes").await, 5);
    assert!(!catalog.prepare_search().await.unwrap());
    // An attribute of another configuration is forgotten with its values.
    assert_eq!(catalog.other_attributes().await.unwrap(), None);
    execute(catalog, "INSERT INTO backfills (name, done) VALUES ('00080070', TRUE)").await;
    let other = catalog.other_attributes().await.unwrap().expect("another list than ours");
    assert!(other.iter().any(|path| path.to_string() == "00080070"), "{other:?}");
    execute(
        catalog,
        "UPDATE series_attributes SET attribute = '00080070' WHERE attribute = '00181000'",
    )
    .await;
    catalog.prepare_search().await.unwrap();
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM series_attributes").await, 3);
    assert_eq!(catalog.backfills().await.unwrap().len(), 6);
}

async fn values_of_paths_are_never_sql(catalog: &Catalog) {
    record_devices(catalog).await;
    for attack in
        ["' OR '1'='1", "'; DROP TABLE series_attributes; --", "$1", "%", "_", "\\", "1\0"]
    {
        for path in ["DeviceSerialNumber", "SliceThickness", "Manufacturer"] {
            let path = Path::parse(path).unwrap();
            for rule in [
                Rule::AnyOf(vec![attack.into()]),
                Rule::Range(Some(attack.into()), Some(attack.into())),
            ] {
                let paths = vec![PathCondition { path: path.clone(), rule }];
                let query = Query { paths, ..Query::all(Level::Study, 10) };
                assert_eq!(studies(catalog, &query).await, [0; 0], "{attack}");
            }
        }
    }
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM series_attributes").await, 5);
}
