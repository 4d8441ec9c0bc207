//! What the databases do for the queries that people wait for: at fifty thousand studies every one
//! of them must be answered from an index.

use std::time::Instant;

use qianli_model::grant::Viewer;
use qianli_model::query::{Indexed, Level, Path, PathCondition, Rule};
use qianli_model::{Query, TenantId};

use super::fixture::{Place, execute, scope, studies};
use crate::Catalog;
use crate::query::explained;

/// Studies to generate.
const STUDIES: u32 = 50_000;

/// Fills the tables past the recorder: one statement, the same rows on both databases.
async fn generate(catalog: &Catalog) {
    let (series, random) = match catalog.kind() {
        "postgres" => (format!("generate_series(1, {STUDIES}) AS g (n)"), "substr(md5(n::text), 1, 8)"),
        _ => (
            format!(
                "(WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {STUDIES})
                SELECT n FROM g) AS g"
            ),
            "printf('%08x', (n * 2654435761) % 4294967296)",
        ),
    };
    let day = "(20150101 + (n % 9) * 10000 + (n % 12) * 100 + n % 28)";
    let name = format!("'family' || (n % 5000) || ' ' || {random}");
    let [zhang, smith] =
        [qianli_model::sounds::stored("张^小东"), qianli_model::sounds::stored("Smith^John")];
    let no_limit = if catalog.kind() == "postgres" { "SET statement_timeout = 0;" } else { "" };
    let text = format!(
        "{no_limit} INSERT INTO patients (id, tenant_id, patient_id, issuer, study_uid, name, birth_date, sex,
            study_count, updated_ms)
        SELECT 1000000 + n, 1, 'P' || n, '', '', '', '', '', 1, 0 FROM {series};
        INSERT INTO studies (id, tenant_id, patient_row, study_uid, patient_id, issuer,
            patient_id_key, issuer_key, name_alphabetic_key, name_ideographic_key,
            name_phonetic_key, birth_date, sex_key, study_date, study_time, accession_key,
            study_id_key, description_key, referring_alphabetic_key, referring_ideographic_key,
            referring_phonetic_key, name_sounds, study_json, modalities, sop_classes, series_count,
            instance_count, size, patient_conflict, created_ms, updated_ms)
        SELECT 1000000 + n, 1, 1000000 + n, '1.2.' || n, 'P' || n, '', 'p' || n, '', {name},
            '王' || (n % 700) || '东', '', '19700101', 'm', CAST({day} AS TEXT), '101500.000000',
            'acc' || n, 's', 'ct chest ' || (n % 40), '', '', '', CASE n % 1000 WHEN 7 THEN '{zhang}'
                WHEN 8 THEN '{smith}' ELSE 'lfamily' || (n % 5000) END, '{{}}', 'CT', '1.2.3', 1, 1, 1000,
            FALSE, 0, 0
        FROM {series};
        INSERT INTO series (id, study_id, series_uid, modality_key, series_number, description_key,
            body_part_key, station_name_key, institution_key, series_date, series_time,
            pps_start_date, pps_start_time, series_json, instance_count, size, created_ms, updated_ms)
        SELECT 1000000 + n, 1000000 + n, '1.2.' || n || '.1', 'ct', 1, '', '', '', '', '', '', '',
            '', '{{}}', 1, 1000, 0, 0
        FROM {series};
        INSERT INTO series_attributes (series_id, attribute, value)
        SELECT 1000000 + n, '00181000', 'serial ' || n FROM {series};
        ANALYZE;"
    );
    execute(catalog, text).await;
}

fn like(attribute: Indexed, value: &str) -> Query {
    Query::all(Level::Study, 101).equals(attribute, value)
}

fn fuzzy(value: &str) -> Query {
    Query { fuzzy: true, ..like(Indexed::PatientName, value) }
}

fn serial(value: &str) -> Query {
    let path = Path::parse("DeviceSerialNumber").unwrap();
    let rule = Rule::AnyOf(vec![value.into()]);
    Query { paths: vec![PathCondition { path, rule }], ..Query::all(Level::Study, 101) }
}

/// Query, the index it must use on Postgres and on SQLite, and how many rows it finds.
fn cases() -> Vec<(&'static str, Query, [&'static str; 2], usize)> {
    let days = Rule::Range(Some("20150105".into()), Some("20150105".into()));
    let substring = ["studies_by_substring", "study_search"];
    vec![
        ("id", like(Indexed::PatientId, "P4711"), ["studies_by_patient_id"; 2], 1),
        ("accession", like(Indexed::AccessionNumber, "ACC4711"), ["studies_by_accession"; 2], 1),
        (
            "date",
            Query::all(Level::Study, 101).with(Indexed::StudyDate, days),
            ["studies_by_date"; 2],
            101,
        ),
        ("newest", Query::all(Level::Study, 101), ["studies_by_date"; 2], 101),
        ("prefix", like(Indexed::PatientName, "family4711*"), ["studies_by_alphabetic"; 2], 10),
        ("ideographs", like(Indexed::PatientName, "王69*"), ["studies_by_ideographic"; 2], 101),
        ("substring", like(Indexed::PatientName, "*mily4711 *"), substring, 10),
        ("part of an id", like(Indexed::PatientId, "*4711*"), substring, 15),
        (
            "in a description",
            like(Indexed::StudyDescription, "*chest 39*"),
            ["studies_by_", "study_search"],
            101,
        ),
        (
            "a study's series",
            Query::all(Level::Series, 101).equals(Indexed::StudyInstanceUid, "1.2.4711"),
            ["studies_tenant_id_study_uid_key", "sqlite_autoindex_studies_1"],
            1,
        ),
        ("by series", like(Indexed::SeriesInstanceUid, "1.2.4711.1"), ["series_by_uid"; 2], 1),
        (
            "modality and date",
            like(Indexed::ModalitiesInStudy, "CT")
                .with(Indexed::StudyDate, Rule::Range(Some("20200101".into()), None)),
            ["studies_by_date"; 2],
            101,
        ),
        ("pinyin", fuzzy("zhang xiaodong"), ["studies_by_name_sounds", "study_sounds"], 50),
        ("initials", fuzzy("zxd"), ["studies_by_name_sounds", "study_sounds"], 50),
        ("by sound", fuzzy("smyth*"), ["studies_by_name_sounds", "study_sounds"], 0),
        ("sounds like", fuzzy("jon smyth"), ["studies_by_name_sounds", "study_sounds"], 50),
        ("an indexed attribute", serial("SERIAL 4711"), ["series_attributes_by_value"; 2], 1),
        ("part of one", serial("serial 4711*"), ["series_attributes_by_value"; 2], 11),
    ]
}

async fn check(catalog: &Catalog, which: usize) {
    generate(catalog).await;
    for (name, query, indexes, rows) in cases() {
        // A statement that only explains does not notice that the tables were analysed meanwhile.
        catalog.find(&scope(), &query).await.unwrap();
        let plan = explained(catalog.db(), &scope(), &query, catalog.index()).await;
        let index = indexes[which];
        assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        assert!(!plan.contains("Seq Scan on studies"), "{name}:\n{plan}");
        assert_eq!(catalog.find(&scope(), &query).await.unwrap().len(), rows, "{name}");
        let mut times: Vec<u128> = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            catalog.find(&scope(), &query).await.unwrap();
            times.push(begun.elapsed().as_micros());
        }
        times.sort_unstable();
        let execution = plan.lines().rev().find(|line| line.contains("Execution Time"));
        eprintln!(
            "{} {name}: median {} us, worst {} us{}",
            catalog.kind(),
            times[10],
            times[19],
            execution.map(|line| format!(",{line}")).unwrap_or_default()
        );
        // Generous: the machine may be busy. A scan of all rows takes ten times as long.
        assert!(times[10] < 20_000, "{name}: median {} us", times[10]);
    }
    check_of_viewers(catalog).await;
    // Too short for three-character indexes, found by scanning.
    assert_eq!(studies(catalog, &like(Indexed::PatientName, "*9东*")).await.len(), 101);
}

/// Whoever looks into the tenant by grants finds theirs without looking at the studies of others.
async fn check_of_viewers(catalog: &Catalog) {
    let grants = "INSERT INTO grants (tenant_id, kind, study_uid, patient_id, issuer, modality,
            body_part, since_ms, priors, to_tenant, to_person, link_id, download, reshare, purpose,
            origin, parent_id, created_by, created_ms, expires_ms)
        SELECT 1, 'study', study_uid, '', '', '', '', 0, 'all', 1 + id % 50, 0, 0, TRUE, FALSE, '',
            'share', 0, '', 0, 0 FROM studies WHERE id % 10 = 0;
        INSERT INTO grants (tenant_id, kind, study_uid, patient_id, issuer, modality,
            body_part, since_ms, priors, to_tenant, to_person, link_id, download, reshare, purpose,
            origin, parent_id, created_by, created_ms, expires_ms)
        SELECT 1, 'patient', '', patient_id, '', '', '', 0, 'none', 0, 0, id, TRUE, FALSE, '',
            'link', 0, '', 0, 0 FROM studies WHERE id % 10 = 1;
        ANALYZE;";
    execute(catalog, grants).await;
    let by_tenant = Viewer { tenant: Some(TenantId(11)), ..Viewer::default() };
    let by_link = Viewer { link: Some(1_004_711), ..Viewer::default() };
    for (name, viewer, rows) in [("a tenant", by_tenant, 101), ("a link", by_link, 1)] {
        let viewer = scope().through(viewer);
        let query = Query::all(Level::Study, 101);
        catalog.find(&viewer, &query).await.unwrap();
        let plan = explained(catalog.db(), &viewer, &query, catalog.index()).await;
        assert!(!plan.contains("Seq Scan on studies"), "{name}:\n{plan}");
        assert_eq!(catalog.find(&viewer, &query).await.unwrap().len(), rows, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_answers_from_indexes() {
    let place = Place::sqlite().await;
    check(&place.catalog, 1).await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_answers_from_indexes() {
    let Some(place) = Place::postgres().await else { return };
    check(&place.catalog, 0).await;
    place.leave().await;
}

/// A database that was never analysed must not look through a whole series for each instance.
#[tokio::test]
async fn an_empty_postgres_finds_an_instance_by_its_uid() {
    let Some(place) = Place::postgres().await else { return };
    let crate::db::Db::Postgres(pools) = place.catalog.db() else { panic!("not Postgres") };
    let mut connection = pools.write.acquire().await.unwrap();
    let prepare = format!("PREPARE load AS {}", crate::record::LOAD);
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
    let rows: Vec<(String,)> = sqlx::query_as("EXPLAIN EXECUTE load ('{1}', '{1.2}', '{1.2.3}')")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let plan: Vec<String> = rows.into_iter().map(|row| row.0).collect();
    let by_uid = |line: &String| line.contains("Index Cond") && line.contains("sop_uid = ");
    assert!(plan.iter().any(by_uid), "{plan:#?}");
    drop(connection);
    place.leave().await;
}
