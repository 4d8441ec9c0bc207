//! Recording: duplicates, policies, counters, poison.

use qianli_model::query::{Indexed, Level, Query};

use super::fixture::Place;
use super::fixture::{
    events, execute, instance, number, other_content, scope, study_target, target, with,
};
use crate::{
    Catalog, CatalogError, Copied, DuplicatePolicy, Location, NewInstance, Recorded, Totals,
};

super::on_both!(
    an_instance_is_stored_once,
    other_content_supersedes,
    a_policy_may_refuse,
    duplicates_inside_one_batch_act_in_order,
    counters_follow,
    absent_attributes_are_filled_and_others_kept,
    one_poisoned_instance_fails_alone,
    oversized_values_are_kept_short,
    a_closed_catalog_says_so,
    a_lost_object_is_replaced_by_its_copy,
    a_waiter_may_go_away,
);

const STORED: Recorded = Recorded::Stored { patient_conflict: false };
const SUPERSEDED: Recorded = Recorded::Superseded { patient_conflict: false };

async fn current(catalog: &Catalog, new: &NewInstance) -> Option<String> {
    let header = &new.header;
    catalog
        .known(&scope(), &header.study_uid, &header.series_uid, &header.sop_instance_uid)
        .await
        .unwrap()
        .map(|row| row.content_hash)
}

/// Every content under the instance's UIDs, newest first.
async fn versions(catalog: &Catalog, new: &NewInstance) -> Vec<String> {
    let header = &new.header;
    let versions = catalog
        .instance_versions(
            &scope(),
            &header.study_uid,
            &header.series_uid,
            &header.sop_instance_uid,
        )
        .await
        .unwrap();
    versions.into_iter().map(|location| location.content_hash).collect()
}

async fn an_instance_is_stored_once(catalog: &Catalog) {
    let new = instance(1, 1, 1);
    assert_eq!(current(catalog, &new).await, None);
    assert_eq!(catalog.record(&scope(), new.clone()).await.unwrap(), STORED);
    assert_eq!(catalog.record(&scope(), new.clone()).await.unwrap(), Recorded::AlreadyHere);
    assert_eq!(current(catalog, &new).await, Some(new.content_hash.clone()));
    let totals = catalog.totals(&scope()).await.unwrap();
    let expected = Totals { patients: 1, studies: 1, series: 1, instances: 1, bytes: 1000 };
    assert_eq!(totals, expected);
}

async fn other_content_supersedes(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    let mut second = other_content(first.clone(), "b");
    second.blob_size = 3000;
    catalog.record(&scope(), first.clone()).await.unwrap();
    assert_eq!(catalog.record(&scope(), second.clone()).await.unwrap(), SUPERSEDED);
    assert_eq!(current(catalog, &first).await, Some(second.content_hash.clone()));
    let located = catalog.locate(&scope(), &target(&first)).await.unwrap();
    assert_eq!(located.len(), 1);
    assert_eq!(located[0].blob_key, second.blob_key);
    let kept = versions(catalog, &first).await;
    assert_eq!(kept, [second.content_hash.clone(), first.content_hash.clone()]);
    let totals = catalog.totals(&scope()).await.unwrap();
    assert_eq!((totals.instances, totals.bytes), (1, 3000));

    // A redelivery of what was replaced must not bring it back.
    assert_eq!(catalog.record(&scope(), first.clone()).await.unwrap(), Recorded::AlreadyHere);
    assert_eq!(current(catalog, &first).await, Some(second.content_hash));
}

async fn a_policy_may_refuse(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    let mut second = other_content(first.clone(), "b");
    second.policy = DuplicatePolicy::Refuse;
    let mut again = first.clone();
    again.policy = DuplicatePolicy::Refuse;
    assert_eq!(catalog.record(&scope(), again.clone()).await.unwrap(), STORED);
    assert_eq!(catalog.record(&scope(), second).await.unwrap(), Recorded::RefusedDuplicate);
    assert_eq!(catalog.record(&scope(), again).await.unwrap(), Recorded::AlreadyHere);
    assert_eq!(versions(catalog, &first).await, [first.content_hash]);
    assert_eq!(catalog.totals(&scope()).await.unwrap().bytes, 1000);
}

async fn duplicates_inside_one_batch_act_in_order(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    let second = other_content(first.clone(), "b");
    let third = other_content(first.clone(), "c");
    let mut refused = other_content(first.clone(), "d");
    refused.policy = DuplicatePolicy::Refuse;
    let batch = [first.clone(), first.clone(), second.clone(), first.clone(), third, refused];
    let outcomes = crate::record::at_once(catalog.db(), &scope(), batch.to_vec()).await;
    let outcomes: Vec<Recorded> = outcomes.into_iter().map(Result::unwrap).collect();
    let here = Recorded::AlreadyHere;
    let expected = [STORED, here, SUPERSEDED, here, SUPERSEDED, Recorded::RefusedDuplicate];
    assert_eq!(outcomes, expected);
    assert_eq!(versions(catalog, &first).await.len(), 3);
    assert!(current(catalog, &first).await.unwrap().starts_with('c'));
    let totals = catalog.totals(&scope()).await.unwrap();
    assert_eq!((totals.instances, totals.bytes), (1, 1000));
    assert_eq!(events(catalog, &scope(), 3).await.len(), 3);
}

async fn counters_follow(catalog: &Catalog) {
    for (study, series, number) in [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)] {
        let new = with(instance(study, series, number), |header| {
            header.patient.id = "SAME".into();
            if series == 2 {
                header.series.modality = "SR".into();
                header.sop_class_uid =
                    qianli_model::SopClassUid::parse("1.2.840.10008.5.1.4.1.1.88.11").unwrap();
            }
        });
        let mut new = new;
        new.received_ms += i64::from(number);
        catalog.record(&scope(), new).await.unwrap();
    }
    let totals = catalog.totals(&scope()).await.unwrap();
    let expected = Totals { patients: 1, studies: 2, series: 3, instances: 4, bytes: 4000 };
    assert_eq!(totals, expected);
    let found = catalog.find(&scope(), &Query::all(Level::Series, 10)).await.unwrap();
    let first = found.iter().find(|row| row.series.as_ref().unwrap().uid == "1.2.1.1").unwrap();
    assert_eq!(first.study.modalities, ["CT", "SR"]);
    assert_eq!(
        first.study.sop_classes,
        ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"]
    );
    assert_eq!((first.study.series_count, first.study.instance_count), (2, 3));
    assert_eq!(first.study.size, 3000);
    assert_eq!(first.study.updated_ms, super::fixture::NOW + 2);
    assert_eq!(first.series.as_ref().unwrap().instance_count, 2);
    for (level, count) in [(Level::Study, 2), (Level::Series, 3), (Level::Instance, 4)] {
        assert_eq!(catalog.count(&scope(), &Query::all(level, 1)).await.unwrap(), count);
    }
}

async fn absent_attributes_are_filled_and_others_kept(catalog: &Catalog) {
    let bare = with(instance(1, 1, 1), |header| {
        header.study.accession_number.clear();
        header.study.description = "First".into();
        header.series.number = None;
        header.series.body_part.clear();
        header.series_json = "{}".into();
    });
    let full = with(instance(1, 1, 2), |header| {
        header.study.description = "Second".into();
        header.study.accession_number = "A77".into();
    });
    catalog.record(&scope(), bare).await.unwrap();
    catalog.record(&scope(), full).await.unwrap();
    let query = Query::all(Level::Series, 10)
        .equals(Indexed::AccessionNumber, "a77")
        .equals(Indexed::StudyDescription, "first")
        .equals(Indexed::SeriesNumber, "1")
        .equals(Indexed::BodyPartExamined, "chest");
    let found = catalog.find(&scope(), &query).await.unwrap();
    assert_eq!(found.len(), 1);
    let json: serde_json::Value = serde_json::from_str(&found[0].study.json).unwrap();
    assert_eq!(json["00080050"]["Value"][0], "A77");
    assert_eq!(json["00081030"]["Value"][0], "First");
    let series: serde_json::Value =
        serde_json::from_str(&found[0].series.as_ref().unwrap().json).unwrap();
    assert_eq!(series["00080060"]["Value"][0], "CT");
}

async fn one_poisoned_instance_fails_alone(catalog: &Catalog) {
    let poison = match catalog.kind() {
        "postgres" => "ALTER TABLE instances ADD CHECK (route <> 'dimse')".to_owned(),
        _ => "CREATE TRIGGER poison BEFORE INSERT ON instances WHEN new.route = 'dimse'
            BEGIN SELECT RAISE(ABORT, 'poison'); END"
            .to_owned(),
    };
    execute(catalog, poison).await;
    let mut batch: Vec<NewInstance> = (1..=20).map(|number| instance(1, 1, number)).collect();
    batch[7].provenance.route = qianli_model::Route::Dimse;
    let outcomes = crate::record::at_once(catalog.db(), &scope(), batch).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        if index == 7 {
            assert!(matches!(outcome, Err(CatalogError::Database(_))), "{outcome:?}");
        } else {
            assert_eq!(*outcome.as_ref().unwrap(), STORED);
        }
    }
    assert_eq!(catalog.totals(&scope()).await.unwrap().instances, 19);
    let located = catalog.locate(&scope(), &study_target(1)).await.unwrap();
    assert_eq!(located.len(), 19);
}

async fn oversized_values_are_kept_short(catalog: &Catalog) {
    let new = with(instance(1, 1, 1), |header| {
        header.study.description = "长".repeat(20_000);
        header.patient.id = "9".repeat(20_000);
        header.patient.name = "a\0b^\u{1}c".into();
    });
    assert_eq!(catalog.record(&scope(), new).await.unwrap(), STORED);
    let mut huge = instance(1, 1, 2);
    huge.blob_size = u64::MAX;
    let error = catalog.record(&scope(), huge).await.unwrap_err();
    assert!(matches!(error, CatalogError::TooLarge(_)), "{error}");
}

async fn a_closed_catalog_says_so(catalog: &Catalog) {
    catalog.ping().await.unwrap();
    catalog.close().await;
    let error = catalog.record(&scope(), instance(1, 1, 1)).await.unwrap_err();
    assert!(matches!(error, CatalogError::Closed), "{error}");
    let error = catalog.ping().await.unwrap_err();
    assert!(matches!(error, CatalogError::Closed), "{error}");
}

async fn a_waiter_may_go_away(catalog: &Catalog) {
    for number in 1..=20 {
        let catalog = catalog.clone();
        let task =
            tokio::spawn(async move { catalog.record(&scope(), instance(1, 1, number)).await });
        tokio::task::yield_now().await;
        task.abort();
        // On another thread it may still be handing its instance over.
        let _ = task.await;
    }
    assert_eq!(catalog.record(&scope(), instance(1, 1, 99)).await.unwrap(), STORED);
    let located = catalog.locate(&scope(), &study_target(1)).await.unwrap();
    let instances = number(catalog, "SELECT instance_count FROM studies").await;
    assert_eq!(i64::try_from(located.len()).unwrap(), instances);
}

async fn a_lost_object_is_replaced_by_its_copy(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    let second = other_content(first.clone(), "b");
    for new in [&first, &second, &instance(1, 1, 2)] {
        catalog.record(&scope(), new.clone()).await.unwrap();
    }
    let before = catalog.totals(&scope()).await.unwrap();
    let rows = catalog.rows_after(0, 2, false).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(catalog.rows_after(rows[1].0, 9, false).await.unwrap().len(), 1);
    assert_eq!(catalog.rows_after(i64::MAX, 9, true).await.unwrap().len(), 3);
    for (content, grows) in [(&first, 0), (&second, 10)] {
        let lost = rows_of(catalog, content).await;
        let copy = Copied {
            blob_key: format!("{}.copy", lost.blob_key),
            blob_size: lost.blob_size + 10,
            data_set_offset: lost.data_set_offset + 10,
        };
        assert!(catalog.relocate(&lost, &copy).await.unwrap());
        assert!(!catalog.relocate(&lost, &copy).await.unwrap(), "nothing has the old key");
        let now = rows_of(catalog, content).await;
        assert_eq!((&now.blob_key, now.blob_size), (&copy.blob_key, copy.blob_size));
        let keys = [copy.blob_key.clone(), lost.blob_key];
        assert_eq!(catalog.referenced_blobs(&keys).await.unwrap().len(), 1);
        let bytes = catalog.totals(&scope()).await.unwrap().bytes;
        assert_eq!(bytes, before.bytes + grows, "only what answers is counted");
    }
}

async fn rows_of(catalog: &Catalog, content: &NewInstance) -> Location {
    let header = &content.header;
    let versions = catalog
        .instance_versions(
            &scope(),
            &header.study_uid,
            &header.series_uid,
            &header.sop_instance_uid,
        )
        .await
        .unwrap();
    versions.into_iter().find(|row| row.content_hash == content.content_hash).unwrap()
}

/// SQLite ends the transaction itself when the disk is full; the next one must not suffer from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_forgotten_when_there_is_room_again() {
    let place = Place::sqlite().await;
    let catalog = &place.catalog;
    let pages = number(catalog, "PRAGMA page_count").await;
    execute(catalog, format!("PRAGMA max_page_count = {}", pages + 4)).await;
    let mut refused = 0;
    for study in 1..200 {
        refused += u32::from(catalog.record(&scope(), instance(study, 1, 1)).await.is_err());
    }
    assert!(refused > 0, "the limit is reached");
    execute(catalog, "PRAGMA max_page_count = 1073741823").await;
    for study in 200..203 {
        assert_eq!(catalog.record(&scope(), instance(study, 1, 1)).await.unwrap(), STORED);
    }
    place.leave().await;
}
