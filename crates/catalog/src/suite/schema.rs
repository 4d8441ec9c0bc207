//! The schema itself: the two databases must have the same tables and columns.

use std::collections::BTreeSet;

use super::fixture::Place;
use crate::Catalog;

super::on_both!(migrating_again_does_nothing);

async fn migrating_again_does_nothing(catalog: &Catalog) {
    assert_eq!(catalog.migrate().await.unwrap(), 0);
    assert!(["sqlite", "postgres"].contains(&catalog.kind()));
}

#[tokio::test]
async fn both_databases_have_the_same_columns() {
    let Some(postgres) = Place::postgres().await else { return };
    let sqlite = Place::sqlite().await;
    let (crate::db::Db::Postgres(there), crate::db::Db::Sqlite(here)) =
        (postgres.catalog.db(), sqlite.catalog.db())
    else {
        panic!("the places are mixed up")
    };
    let there: BTreeSet<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&there.read)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let here: BTreeSet<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'study_search%'
            AND m.name NOT LIKE 'study_sounds%'
            AND m.name <> '_sqlx_migrations'",
    )
    .fetch_all(&here.read)
    .await
    .unwrap()
    .into_iter()
    .collect();
    assert_eq!(here, there);
    assert!(here.len() > 80);
    sqlite.leave().await;
    postgres.leave().await;
}

/// What every batch changes must be in no index, partial ones included: one such index, and each
/// batch writes to all indexes of its study instead of making a heap-only update.
#[tokio::test]
async fn counters_are_in_no_index() {
    let Some(place) = Place::postgres().await else { return };
    let crate::db::Db::Postgres(pools) = place.catalog.db() else { panic!("not Postgres") };
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT i.indexrelid::regclass::text, a.attname::text
        FROM pg_index i JOIN pg_depend d ON d.objid = i.indexrelid AND d.refobjid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
        WHERE i.indrelid IN ('studies'::regclass, 'series'::regclass) AND a.attname IN
            ('updated_ms', 'series_count', 'instance_count', 'size', 'modalities', 'sop_classes')",
    )
    .fetch_all(&pools.read)
    .await
    .unwrap();
    assert_eq!(found, []);
    place.leave().await;
}
