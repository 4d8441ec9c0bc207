//! The change feed.

use super::fixture::{NOW, Place, events, execute, instance, other_content, scope};
use crate::Catalog;

super::on_both!(events_tell_what_happened_in_order, a_reader_pages_through_everything);

async fn events_tell_what_happened_in_order(catalog: &Catalog) {
    let first = instance(1, 2, 3);
    catalog.record(&scope(), first.clone()).await.unwrap();
    catalog.record(&scope(), first.clone()).await.unwrap();
    catalog.record(&scope(), other_content(first, "b")).await.unwrap();
    catalog.publish(&scope(), "study.settled", "1.2.1", "", "", NOW + 5).await.unwrap();
    let events = events(catalog, &scope(), 3).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["instance.stored", "instance.superseded", "study.settled"]);
    let event = &events[0];
    assert_eq!(event.study, "1.2.1");
    assert_eq!(event.series, "1.2.1.2");
    assert_eq!(event.instance, "1.2.1.2.3");
    assert_eq!(event.at_ms, NOW);
    assert_eq!((events[2].series.as_str(), events[2].at_ms), ("", NOW + 5));
}

async fn a_reader_pages_through_everything(catalog: &Catalog) {
    for study in 1..=5 {
        let batch = (1..=10).map(|number| instance(study, 1, number)).collect();
        crate::record::at_once(catalog.db(), &scope(), batch).await;
    }
    events(catalog, &scope(), 50).await;
    let (mut position, mut seen) = (0, Vec::new());
    loop {
        let page = catalog.events_after(&scope(), position, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 7);
        assert!(page.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
        assert!(page[0].sequence > position);
        position = last.sequence;
        seen.extend(page.into_iter().map(|event| event.instance));
    }
    let expected: Vec<String> = (1..=5)
        .flat_map(|study| (1..=10).map(move |number| format!("1.2.{study}.1.{number}")))
        .collect();
    assert_eq!(seen, expected);
}

/// A transaction that began to write first and commits last has the lower numbers: a reader must
/// wait for it, and must see it before what came after.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_commit_is_not_skipped() {
    let Some(place) = Place::postgres().await else { return };
    let catalog = &place.catalog;
    let crate::db::Db::Postgres(pools) = catalog.db() else { panic!("not Postgres") };
    let mut late = pools.read.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO events SELECT 1, (base + pg_current_xact_id()::text::bigint) * 4096 + 1,
            'instance.stored', '1.2.77', '', '', 0 FROM feed",
    )
    .execute(&mut *late)
    .await
    .unwrap();
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    assert_eq!(catalog.events_after(&scope(), 0, 10).await.unwrap(), []);
    late.commit().await.unwrap();
    let events = events(catalog, &scope(), 2).await;
    let studies: Vec<&str> = events.iter().map(|event| event.study.as_str()).collect();
    assert_eq!(studies, ["1.2.77", "1.2.1"]);
    place.leave().await;
}

/// A restored dump holds events numbered above the new cluster's transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restored_dump_keeps_the_feed_growing() {
    let Some(place) = Place::postgres().await else { return };
    let catalog = &place.catalog;
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    execute(catalog, "UPDATE events SET sequence = sequence + 4096 * 1000000::bigint").await;
    assert_eq!(catalog.migrate().await.unwrap(), 0);
    let old = events(catalog, &scope(), 1).await;
    assert_eq!(old.len(), 1);
    catalog.record(&scope(), instance(1, 1, 2)).await.unwrap();
    events(catalog, &scope(), 2).await;
    let new = catalog.events_after(&scope(), old[0].sequence, 10).await.unwrap();
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].instance, "1.2.1.1.2");
    place.leave().await;
}
