//! Many tasks and several nodes recording at once, and a database that goes away.

use std::time::Duration;

use qianli_model::query::{Level, Query};

use super::fixture::{Place, config, events, execute, instance, number, scope, with};
use crate::{Catalog, CatalogError, Recorded};

super::on_both!(many_tasks_record_at_once, the_same_instance_from_everywhere, tenants_are_apart);

/// 200 tasks, half of them in one study.
async fn many_tasks_record_at_once(catalog: &Catalog) {
    let tasks: Vec<_> = (0..200u32)
        .map(|task| {
            let catalog = catalog.clone();
            let study = if task % 2 == 0 { 1 } else { 2 + task % 20 };
            tokio::spawn(async move {
                catalog.record(&scope(), instance(study, 1 + task % 3, task)).await
            })
        })
        .collect();
    for task in tasks {
        let outcome = task.await.unwrap().unwrap();
        assert_eq!(outcome, Recorded::Stored { patient_conflict: false });
    }
    consistent(catalog, 200).await;
}

async fn the_same_instance_from_everywhere(catalog: &Catalog) {
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move { catalog.record(&scope(), instance(1, 1, 1)).await })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap().unwrap() {
            Recorded::Stored { .. } => stored += 1,
            outcome => assert_eq!(outcome, Recorded::AlreadyHere),
        }
    }
    assert_eq!(stored, 1);
    consistent(catalog, 1).await;
}

/// Counters, totals and events all say what the rows say.
async fn consistent(catalog: &Catalog, instances: i64) {
    let rows = number(catalog, "SELECT COUNT(*) FROM instances WHERE is_current").await;
    assert_eq!(rows, instances);
    let totals = catalog.totals(&scope()).await.unwrap();
    assert_eq!(totals.instances, instances);
    assert_eq!(totals.series, number(catalog, "SELECT COUNT(*) FROM series").await);
    assert_eq!(totals.studies, number(catalog, "SELECT COUNT(*) FROM studies").await);
    assert_eq!(totals.patients, number(catalog, "SELECT COUNT(*) FROM patients").await);
    for table in ["studies", "series"] {
        let sum = format!("SELECT CAST(SUM(instance_count) AS BIGINT) FROM {table}");
        assert_eq!(number(catalog, sum).await, instances, "{table}");
    }
    let sum = "SELECT CAST(SUM(series_count) AS BIGINT) FROM studies";
    assert_eq!(number(catalog, sum).await, totals.series);
    let sum = "SELECT CAST(SUM(study_count) AS BIGINT) FROM patients";
    assert_eq!(number(catalog, sum).await, totals.studies);
    let count = usize::try_from(instances).unwrap();
    assert_eq!(events(catalog, &scope(), count).await.len(), count);
}

async fn tenants_are_apart(catalog: &Catalog) {
    let other = super::fixture::other_tenant(catalog).await;
    let mine = instance(1, 1, 1);
    let theirs = super::fixture::other_content(mine.clone(), "f");
    catalog.record(&scope(), mine.clone()).await.unwrap();
    assert_eq!(catalog.totals(&other).await.unwrap(), crate::Totals::default());
    let target = super::fixture::target(&mine);
    assert_eq!(catalog.locate(&other, &target).await.unwrap(), []);
    assert_eq!(catalog.metadata(&other, &target).await.unwrap(), []);
    for level in [Level::Study, Level::Series, Level::Instance] {
        assert_eq!(catalog.find(&other, &Query::all(level, 10)).await.unwrap(), []);
    }
    assert_eq!(catalog.events_after(&other, 0, 10).await.unwrap(), []);

    let outcome = catalog.record(&other, theirs.clone()).await.unwrap();
    assert_eq!(outcome, Recorded::Stored { patient_conflict: false });
    for (scope, new) in [(scope(), &mine), (other, &theirs)] {
        let located = catalog.locate(&scope, &target).await.unwrap();
        assert_eq!(located.len(), 1);
        assert_eq!(located[0].content_hash, new.content_hash);
        let header = &new.header;
        let (study, series, sop) =
            (&header.study_uid, &header.series_uid, &header.sop_instance_uid);
        let detail = catalog.detail(&scope, study, series, sop).await.unwrap().unwrap();
        assert_eq!(detail.location.blob_key, new.blob_key);
        let versions = catalog.instance_versions(&scope, study, series, sop).await.unwrap();
        assert_eq!(versions.len(), 1);
        assert_eq!(catalog.totals(&scope).await.unwrap().instances, 1);
        assert_eq!(events(catalog, &scope, 1).await.len(), 1);
    }
}

/// Two nodes on one Postgres record into the same studies, of the same patients, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_share_one_postgres() {
    let Some(place) = Place::postgres().await else { return };
    let nodes = [
        Catalog::connect(config(place.url())).await.unwrap(),
        Catalog::connect(config(place.url())).await.unwrap(),
    ];
    let mut tasks = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        for task in 0..150u32 {
            let node = node.clone();
            // Both nodes get each study in opposite order; a third of the instances go to both.
            let position = if index == 0 { task } else { 149 - task };
            let sop = if position % 3 == 0 { position } else { position * 2 + index as u32 + 1000 };
            let new = with(instance(position % 15, position % 2 + 1, sop), |header| {
                header.patient.id = format!("SHARED{}", position % 4);
            });
            tasks.push(tokio::spawn(async move { node.record(&scope(), new).await }));
        }
    }
    let mut stored = 0;
    for task in tasks {
        if let Recorded::Stored { .. } = task.await.unwrap().unwrap() {
            stored += 1;
        }
    }
    assert_eq!(stored, 50 + 100 + 100, "the shared ones once, the others each");
    consistent(&place.catalog, stored).await;
    for node in &nodes {
        node.close().await;
    }
    place.leave().await;
}

/// Several nodes starting at once migrate once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_may_migrate_at_once() {
    let Some(place) = Place::postgres().await else { return };
    execute(&place.catalog, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let node = Catalog::connect(config(place.url())).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let applied = node.migrate().await;
            node.close().await;
            applied
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    place.catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    place.leave().await;
}

/// Connections that die are replaced; the writer survives and waiters are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_die_are_replaced() {
    let Some(place) = Place::postgres().await else { return };
    let catalog = &place.catalog;
    for round in 1..=3 {
        catalog.record(&scope(), instance(round, 1, 1)).await.unwrap();
        let helper = Catalog::connect(config(place.url())).await.unwrap();
        execute(
            &helper,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        helper.close().await;
        let outcome = catalog.record(&scope(), instance(round, 1, 2)).await.unwrap();
        assert_eq!(outcome, Recorded::Stored { patient_conflict: false });
    }
    place.leave().await;
}

/// A database that cannot be written is an error for every waiter, and only while it lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_unwritable_database_is_an_error_while_it_lasts() {
    let place = Place::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("deep/down/catalog.sqlite").display());
    let quick = crate::CatalogConfig { timeout: Duration::from_millis(700), ..config(url.clone()) };
    let catalog = Catalog::connect(quick).await.unwrap();
    catalog.migrate().await.unwrap();
    let blocker = Catalog::connect(config(url)).await.unwrap();
    let crate::db::Db::Sqlite(pools) = blocker.db() else { panic!("not SQLite") };
    let lock = pools.write.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let tasks: Vec<_> = (1..=5)
        .map(|number| {
            let catalog = catalog.clone();
            tokio::spawn(async move { catalog.record(&scope(), instance(1, 1, number)).await })
        })
        .collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, CatalogError::Unavailable(_)), "{error}");
        assert!(error.is_transient());
    }
    lock.rollback().await.unwrap();
    let outcome = catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    assert_eq!(outcome, Recorded::Stored { patient_conflict: false });
    catalog.close().await;
    blocker.close().await;
    place.leave().await;
}

/// The file is for its owner alone: patient data lies in it.
#[cfg(unix)]
#[tokio::test]
async fn the_sqlite_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/catalog.sqlite");
    let catalog = Catalog::connect(config(format!("sqlite:{}", path.display()))).await.unwrap();
    catalog.migrate().await.unwrap();
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    catalog.close().await;
}
