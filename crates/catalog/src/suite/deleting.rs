//! What deletion takes away, and what it leaves.

use qianli_model::query::{Level, Query};

use super::fixture::{
    NOW, events, instance, number, other_content, other_tenant, scope, study_target, target, with,
};
use crate::types::{DeletionState, NewDeletion};
use crate::{Catalog, PURGE_JOB, Recorded, Target};

super::on_both!(
    a_study_goes_with_all_that_hangs_on_it,
    what_is_left_is_counted_anew,
    older_contents_go_too_and_the_same_can_come_again,
    what_is_not_here_or_not_ours_cannot_be_deleted,
    deleting_while_recording_leaves_true_counters,
);

const STORED: Recorded = Recorded::Stored { patient_conflict: false };

fn new() -> NewDeletion {
    NewDeletion {
        by: "a test".into(),
        peer: "192.0.2.9".into(),
        at_ms: NOW + 5000,
        purge_at_ms: NOW + 10_000,
    }
}

/// Counters, totals and rows say the same.
async fn consistent(catalog: &Catalog) -> i64 {
    let rows = number(catalog, "SELECT COUNT(*) FROM instances WHERE is_current").await;
    let bytes =
        "SELECT CAST(COALESCE(SUM(blob_size), 0) AS BIGINT) FROM instances WHERE is_current";
    let totals = catalog.totals(&scope()).await.unwrap();
    assert_eq!(totals.instances, rows);
    assert_eq!(totals.bytes, number(catalog, bytes).await);
    assert_eq!(totals.series, number(catalog, "SELECT COUNT(*) FROM series").await);
    assert_eq!(totals.studies, number(catalog, "SELECT COUNT(*) FROM studies").await);
    assert_eq!(totals.patients, number(catalog, "SELECT COUNT(*) FROM patients").await);
    let studies = "SELECT CAST(COALESCE(SUM(study_count), 0) AS BIGINT) FROM patients";
    assert_eq!(totals.studies, number(catalog, studies).await);
    for table in ["studies", "series"] {
        for (column, expected) in [("instance_count", rows), ("size", totals.bytes)] {
            let sum = format!("SELECT CAST(COALESCE(SUM({column}), 0) AS BIGINT) FROM {table}");
            assert_eq!(number(catalog, sum).await, expected, "{table}.{column}");
        }
    }
    let empty = "SELECT COUNT(*) FROM series WHERE instance_count = 0";
    assert_eq!(number(catalog, empty).await, 0);
    rows
}

async fn a_study_goes_with_all_that_hangs_on_it(catalog: &Catalog) {
    for (study, series, number) in [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)] {
        let outcome = catalog.record(&scope(), instance(study, series, number)).await;
        assert_eq!(outcome.unwrap(), STORED);
    }
    let done = catalog.delete(&scope(), &study_target(1), &new()).await.unwrap().unwrap();
    assert_eq!((done.instances, done.contents, done.bytes), (3, 3, 3000));
    assert_eq!(
        (done.study.as_str(), done.series.as_str(), done.by.as_str()),
        ("1.2.1", "", "a test")
    );
    assert_eq!((done.peer.as_str(), done.state), ("192.0.2.9", DeletionState::Kept));
    assert_eq!(consistent(catalog).await, 1);
    assert!(catalog.locate(&scope(), &study_target(1)).await.unwrap().is_empty());
    let found = catalog.find(&scope(), &Query::all(Level::Study, 10)).await.unwrap();
    assert_eq!(found.len(), 1);

    let last = events(catalog, &scope(), 5).await.pop().unwrap();
    assert_eq!((last.kind.as_str(), last.study.as_str()), ("study.deleted", "1.2.1"));
    assert!(catalog.claim_job("w", 1000, NOW + 9_999).await.unwrap().is_none());
    let job = catalog.claim_job("w", 1000, NOW + 10_000).await.unwrap().unwrap();
    assert_eq!((job.kind.as_str(), job.dedupe_key.clone()), (PURGE_JOB, done.id.to_string()));

    let contents = catalog.deleted_instances(&scope(), done.id).await.unwrap();
    assert_eq!(contents.len(), 3);
    let keys: Vec<String> = contents.iter().map(|content| content.blob_key.clone()).collect();
    assert_eq!(catalog.referenced_blobs(&keys).await.unwrap().len(), 3, "the sweep spares them");
    assert!(catalog.blobs_in_use(&keys).await.unwrap().is_empty());
    assert_eq!(contents[0].provenance.peer, "192.0.2.7");
    catalog.forget_deleted(&scope(), done.id, Some(&keys[0])).await.unwrap();
    assert_eq!(catalog.referenced_blobs(&keys).await.unwrap().len(), 2);
    catalog.forget_deleted(&scope(), done.id, None).await.unwrap();
    assert!(catalog.referenced_blobs(&keys).await.unwrap().is_empty());

    let kept = [DeletionState::Kept];
    let to = DeletionState::Purging;
    assert!(catalog.move_deletion(&scope(), done.id, &kept, to).await.unwrap());
    assert!(!catalog.move_deletion(&scope(), done.id, &kept, to).await.unwrap());
    let listed = catalog.deletions(&scope(), 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].state), (1, DeletionState::Purging));
}

async fn what_is_left_is_counted_anew(catalog: &Catalog) {
    for number in 1..=3 {
        catalog.record(&scope(), instance(1, 1, number)).await.unwrap();
    }
    let report = with(instance(1, 2, 1), |header| {
        header.series.modality = "SR".into();
        header.series_json = r#"{"00080060":{"vr":"CS","Value":["SR"]}}"#.into();
        header.sop_class_uid = "1.2.840.10008.5.1.4.1.1.88.11".parse().unwrap();
    });
    catalog.record(&scope(), report.clone()).await.unwrap();
    let done =
        catalog.delete(&scope(), &target(&instance(1, 1, 2)), &new()).await.unwrap().unwrap();
    assert_eq!((done.instances, done.instance.as_str()), (1, "1.2.1.1.2"));
    assert_eq!(consistent(catalog).await, 3);
    let study = async || {
        let found = catalog.find(&scope(), &Query::all(Level::Study, 10)).await.unwrap();
        found.into_iter().next().unwrap().study
    };
    let left = study().await;
    assert_eq!((left.series_count, left.instance_count, left.size), (2, 3, 3000));
    assert_eq!(left.modalities, ["CT", "SR"]);
    assert_eq!(left.updated_ms, NOW + 5000);

    let series = Target { instance: None, ..target(&report) };
    let done = catalog.delete(&scope(), &series, &new()).await.unwrap().unwrap();
    assert_eq!((done.instances, done.series.as_str()), (1, "1.2.1.2"));
    let left = study().await;
    assert_eq!((left.series_count, left.instance_count), (1, 2));
    assert_eq!((left.modalities.len(), left.sop_classes.len()), (1, 1));
    assert_eq!(consistent(catalog).await, 2);
    let kinds: Vec<String> =
        events(catalog, &scope(), 6).await.into_iter().skip(4).map(|event| event.kind).collect();
    assert_eq!(kinds, ["instance.deleted", "series.deleted"]);
    for number in [1, 3] {
        let target = target(&instance(1, 1, number));
        catalog.delete(&scope(), &target, &new()).await.unwrap().unwrap();
    }
    assert_eq!(consistent(catalog).await, 0);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM patients").await, 0);
}

async fn older_contents_go_too_and_the_same_can_come_again(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    catalog.record(&scope(), first.clone()).await.unwrap();
    catalog.record(&scope(), other_content(first.clone(), "b")).await.unwrap();
    let done = catalog.delete(&scope(), &study_target(1), &new()).await.unwrap().unwrap();
    assert_eq!((done.instances, done.contents), (1, 2));
    let contents = catalog.deleted_instances(&scope(), done.id).await.unwrap();
    assert_eq!(contents.iter().map(|one| one.is_current).collect::<Vec<_>>(), [false, true]);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM instances").await, 0);
    let again = catalog.record(&scope(), first).await.unwrap();
    assert_eq!(again, STORED, "not a repetition of what was replaced");
    assert_eq!(consistent(catalog).await, 1);
}

async fn what_is_not_here_or_not_ours_cannot_be_deleted(catalog: &Catalog) {
    let stranger = other_tenant(catalog).await;
    catalog.record(&scope(), instance(1, 1, 1)).await.unwrap();
    for absent in [study_target(9), target(&instance(1, 1, 9)), target(&instance(1, 9, 1))] {
        assert!(catalog.delete(&scope(), &absent, &new()).await.unwrap().is_none());
    }
    assert!(catalog.delete(&stranger, &study_target(1), &new()).await.unwrap().is_none());
    let done = catalog.delete(&scope(), &study_target(1), &new()).await.unwrap().unwrap();
    assert!(catalog.deletion(&stranger, done.id).await.unwrap().is_none());
    assert!(catalog.deleted_instances(&stranger, done.id).await.unwrap().is_empty());
    assert!(catalog.deletions(&stranger, 10).await.unwrap().is_empty());
    catalog.forget_deleted(&stranger, done.id, None).await.unwrap();
    assert_eq!(catalog.deleted_instances(&scope(), done.id).await.unwrap().len(), 1);
    assert_eq!(number(catalog, "SELECT COUNT(*) FROM deletions").await, 1, "no empty audit rows");
}

async fn deleting_while_recording_leaves_true_counters(catalog: &Catalog) {
    let recording: Vec<_> = (0..4u32)
        .map(|task| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for number in 0..40 {
                    let new = instance(1 + number % 2, 1 + task, number);
                    catalog.record(&scope(), new).await.unwrap();
                }
            })
        })
        .collect();
    let deleting: Vec<_> = (0..2u32)
        .map(|task| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for round in 0..15 {
                    let target = match round % 3 {
                        0 => study_target(1 + task),
                        1 => Target { instance: None, ..target(&instance(1, 1 + task, 0)) },
                        _ => target(&instance(1 + task, 1, round)),
                    };
                    catalog.delete(&scope(), &target, &new()).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
            })
        })
        .collect();
    for task in recording.into_iter().chain(deleting) {
        task.await.unwrap();
    }
    let left = consistent(catalog).await;
    let deleted = "SELECT CAST(COALESCE(SUM(instances), 0) AS BIGINT) FROM deletions";
    assert_eq!(
        left + number(catalog, deleted).await,
        160,
        "nothing is lost, nothing counted twice"
    );
}
