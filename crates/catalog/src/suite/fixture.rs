//! Databases to test on, and instances to record.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use qianli_model::frames::{ByteRange, FrameTable};
use qianli_model::header::{
    BulkValue, InstanceFields, InstanceHeader, PatientFields, SeriesFields, StudyFields,
};
use qianli_model::query::{Indexed, Level, Path, Rule};
use qianli_model::{
    Provenance, Query, Route, Scope, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, TenantId,
    TransferSyntax,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::db::{on_db, postgres_options};
use crate::{Catalog, CatalogConfig, DuplicatePolicy, NewInstance, Target};

/// 2024-03-05T07:40:00Z.
pub const NOW: i64 = 1_709_624_400_000;

/// Attributes that the test databases index: one of a series, one of an instance, one of a study.
const INDEXED: [&str; 3] = ["DeviceSerialNumber", "SliceThickness", "PatientComments"];

/// A fresh database and what removes it.
pub struct Place {
    pub catalog: Catalog,
    drop_with: Option<(String, String)>,
}

impl Place {
    pub async fn sqlite() -> Self {
        let catalog = Catalog::connect(config("sqlite::memory:".into())).await.unwrap();
        assert_eq!(catalog.migrate().await.unwrap(), count_of_migrations());
        assert!(!catalog.prepare_search().await.unwrap(), "an empty archive lacks nothing");
        Self { catalog, drop_with: None }
    }

    /// `None` when there is no server and none is required.
    pub async fn postgres() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(server) = postgres_server() else {
            eprintln!("skipped on Postgres: QIANLI_TEST_POSTGRES is not set");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("qianli_test_{}_{number}", std::process::id());
        administer(&server, format!("CREATE DATABASE {name}")).await;
        let url = with_database(&server, &name);
        let catalog = Catalog::connect(config(url)).await.unwrap();
        assert_eq!(catalog.migrate().await.unwrap(), count_of_migrations());
        assert!(!catalog.prepare_search().await.unwrap(), "an empty archive lacks nothing");
        Some(Self { catalog, drop_with: Some((server, name)) })
    }

    pub async fn leave(self) {
        self.catalog.close().await;
        if let Some((server, name)) = self.drop_with {
            administer(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// URL of the same database, for a second node. Only on Postgres.
    pub fn url(&self) -> String {
        let (server, name) = self.drop_with.as_ref().unwrap();
        with_database(server, name)
    }
}

pub fn postgres_server() -> Option<String> {
    let required = std::env::var("QIANLI_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    let server = std::env::var("QIANLI_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    assert!(
        server.is_some() || !required,
        "QIANLI_REQUIRE_POSTGRES=1, but QIANLI_TEST_POSTGRES is not set"
    );
    server
}

fn count_of_migrations() -> u32 {
    u32::try_from(crate::migrate::MIGRATIONS.len()).unwrap()
}

pub fn config(url: String) -> CatalogConfig {
    CatalogConfig {
        max_connections: 6,
        timeout: Duration::from_secs(20),
        indexed_attributes: INDEXED.iter().filter_map(|name| Path::parse(name)).collect(),
        ..CatalogConfig::new(url)
    }
}

fn with_database(server: &str, name: &str) -> String {
    let (base, query) = match server.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (server, String::new()),
    };
    let after_scheme = base.find("://").map_or(0, |position| position + 3);
    let host_end = base[after_scheme..].find('/').map_or(base.len(), |end| after_scheme + end);
    format!("{}/{name}{query}", &base[..host_end])
}

async fn administer(server: &str, sql: String) {
    let options = postgres_options(server).unwrap();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Runs a statement past the catalog's own interface.
pub async fn execute(catalog: &Catalog, sql: impl Into<String>) {
    let sql = sql.into();
    on_db!(catalog.db(), pools => {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pools.write).await.unwrap();
    });
}

/// The number that a statement selects.
pub async fn number(catalog: &Catalog, sql: impl Into<String>) -> i64 {
    let sql = sql.into();
    let (number,): (i64,) = on_db!(catalog.db(), pools => {
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&pools.write).await.unwrap()
    });
    number
}

pub fn scope() -> Scope {
    Scope::local(TenantId::DEFAULT)
}

/// Makes a second tenant.
pub async fn other_tenant(catalog: &Catalog) -> Scope {
    execute(catalog, "INSERT INTO tenants (id, name) VALUES (2, 'other')").await;
    Scope::local(TenantId(2))
}

/// An instance of a small study; tests change what they are about. The UIDs are built from numbers.
pub fn instance(study: u32, series: u32, number: u32) -> NewInstance {
    let study_uid = format!("1.2.{study}");
    let series_uid = format!("1.2.{study}.{series}");
    let sop_uid = format!("1.2.{study}.{series}.{number}");
    let hash = format!("{study:016x}{series:016x}{number:032x}");
    let study_fields = StudyFields {
        date: "20240305".into(),
        time: "101500".into(),
        accession_number: format!("ACC{study}"),
        id: format!("S{study}"),
        description: "CT Chest".into(),
        referring_physician: "House^Gregory".into(),
    };
    let patient = PatientFields {
        id: format!("P{study}"),
        issuer: String::new(),
        name: "Wang^XiaoDong=王^小东=".into(),
        birth_date: "19700101".into(),
        sex: "M".into(),
    };
    let series_fields = SeriesFields {
        modality: "CT".into(),
        number: Some(i64::from(series)),
        description: "Axial".into(),
        body_part: "CHEST".into(),
        ..SeriesFields::default()
    };
    let json = format!("{{\"00080018\":{{\"vr\":\"UI\",\"Value\":[\"{sop_uid}\"]}}}}");
    let header = InstanceHeader {
        study_uid: StudyUid::parse(&study_uid).unwrap(),
        series_uid: SeriesUid::parse(&series_uid).unwrap(),
        sop_instance_uid: SopInstanceUid::parse(&sop_uid).unwrap(),
        sop_class_uid: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap(),
        transfer_syntax: TransferSyntax::EXPLICIT_LITTLE,
        study_json: study_json(&patient, &study_fields),
        series_json: "{\"00080060\":{\"vr\":\"CS\",\"Value\":[\"CT\"]}}".into(),
        instance_json: json.clone(),
        json: json.into_bytes(),
        patient,
        study: study_fields,
        series: series_fields,
        instance: InstanceFields { number: Some(i64::from(number)), ..InstanceFields::default() },
        bulk: vec![BulkValue {
            path: "7FE00010".into(),
            vr: "OW".into(),
            range: ByteRange { offset: 900, length: 524_288 },
        }],
        frames: FrameTable::Native { offset: 900, bits_per_frame: 4_194_304, count: 1 },
        warnings: Vec::new(),
    };
    NewInstance {
        blob_key: format!("1/{study_uid}/{series_uid}/{sop_uid}/{hash}.dcm"),
        content_hash: hash,
        header,
        blob_size: 1000,
        data_set_offset: 330,
        provenance: Provenance::new(Route::Stow, "192.0.2.7"),
        received_ms: NOW,
        policy: DuplicatePolicy::KeepBoth,
    }
}

/// The study fragment that a reader of headers would make of these fields.
pub fn study_json(patient: &PatientFields, study: &StudyFields) -> String {
    let mut fragment = serde_json::Map::new();
    for (tag, vr, value) in [
        ("00080020", "DA", &study.date),
        ("00080050", "SH", &study.accession_number),
        ("00081030", "LO", &study.description),
        ("00100020", "LO", &patient.id),
    ] {
        let attribute = match value.as_str() {
            "" => serde_json::json!({"vr": vr}),
            value => serde_json::json!({"vr": vr, "Value": [value]}),
        };
        fragment.insert(tag.into(), attribute);
    }
    for (tag, name) in [("00080090", &study.referring_physician), ("00100010", &patient.name)] {
        let groups = ["Alphabetic", "Ideographic", "Phonetic"].into_iter().zip(name.split('='));
        let groups: serde_json::Map<_, _> = groups
            .filter(|(_, group)| !group.is_empty())
            .map(|(key, group)| (key.to_owned(), group.into()))
            .collect();
        let attribute = match groups.is_empty() {
            true => serde_json::json!({"vr": "PN"}),
            false => serde_json::json!({"vr": "PN", "Value": [groups]}),
        };
        fragment.insert(tag.into(), attribute);
    }
    serde_json::Value::Object(fragment).to_string()
}

/// Applies a change to an instance and keeps its study fragment true.
pub fn with(mut new: NewInstance, change: impl FnOnce(&mut InstanceHeader)) -> NewInstance {
    change(&mut new.header);
    new.header.study_json = study_json(&new.header.patient, &new.header.study);
    new
}

/// The same instance with other content.
pub fn other_content(mut new: NewInstance, mark: &str) -> NewInstance {
    new.content_hash = format!("{mark}{}", &new.content_hash[mark.len()..]);
    new.blob_key = format!("{}-{mark}", new.blob_key);
    new
}

pub fn target(new: &NewInstance) -> Target {
    Target {
        study: new.header.study_uid.clone(),
        series: Some(new.header.series_uid.clone()),
        instance: Some(new.header.sop_instance_uid.clone()),
    }
}

pub fn study_target(study: u32) -> Target {
    Target {
        study: StudyUid::parse(&format!("1.2.{study}")).unwrap(),
        series: None,
        instance: None,
    }
}

/// Last numbers of the UIDs that a study query finds, in order.
pub async fn studies(catalog: &Catalog, query: &Query) -> Vec<u32> {
    let found = catalog.find(&scope(), query).await.unwrap();
    let counted = catalog.count(&scope(), query).await.unwrap();
    if query.offset == 0 && found.len() < query.limit as usize {
        assert_eq!(counted, i64::try_from(found.len()).unwrap(), "count agrees with find");
    }
    found.iter().map(|row| row.study.uid.rsplit('.').next().unwrap().parse().unwrap()).collect()
}

/// A study query for one value.
pub fn matching(attribute: Indexed, value: &str) -> Query {
    Query::all(Level::Study, 1000).equals(attribute, value)
}

/// A study query for a range; empty bounds are open.
pub fn between(attribute: Indexed, from: &str, to: &str) -> Query {
    let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Query::all(Level::Study, 1000).with(attribute, Rule::Range(bound(from), bound(to)))
}

/// The first `count` events. On Postgres they appear when no older transaction runs any more in the
/// whole cluster, and other tests share it: waits for them.
pub async fn events(catalog: &Catalog, scope: &Scope, count: usize) -> Vec<crate::Event> {
    let limit = u32::try_from(count + 10).unwrap();
    for _ in 0..1200 {
        let events = catalog.events_after(scope, 0, limit).await.unwrap();
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} events did not appear within a minute")
}
