//! Deletion with its objects: undone, or carried through.

use super::*;
use crate::{Purged, RestoreError};

const LATER: i64 = 4_102_444_800_000; // 2100

fn study() -> Target {
    Target { series: None, ..series() }
}

async fn frames(archive: &Archive, uid: &str) -> Option<Vec<Bytes>> {
    let (study, of) = ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap());
    let detail = archive.detail(&scope(), &study, &of, &uid.parse().unwrap()).await.unwrap()?;
    Some(archive.frames(&scope(), &detail, &[1], &Inflating::default()).await.unwrap())
}

#[tokio::test]
async fn a_deletion_can_be_undone_with_its_older_contents() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    for (uid, fill) in [("1.5", 1), ("1.5", 2), ("1.6", 9)] {
        store(&archive, as_data_set(uid), &image(uid, 1, fill), 64).await.unwrap();
    }
    assert!(frames(&archive, "1.5").await.is_some(), "remembered, so that a cache could be stale");
    let deletion = archive.delete(&scope(), &study(), "test", "").await.unwrap().unwrap();
    assert_eq!((deletion.instances, deletion.contents), (2, 3));
    assert!(frames(&archive, "1.5").await.is_none());
    assert!(archive.delete(&scope(), &study(), "test", "").await.unwrap().is_none());
    let swept = archive.sweep(LATER, Duration::ZERO, SweepMode::Force).await.unwrap();
    assert_eq!((swept.seen, swept.orphans), (3, 0), "the sweep spares what can be restored");
    let early = archive.purge(&scope(), deletion.id, deletion.at_ms).await.unwrap();
    assert_eq!(early, Purged::NotBefore(deletion.purge_at_ms));

    let restored = archive.restore(&scope(), deletion.id).await.unwrap();
    assert_eq!((restored.restored, restored.replaced), (3, 0));
    assert_eq!(frames(&archive, "1.5").await, Some(vec![vec![2; 16].into()]), "the newer answers");
    assert_eq!(frames(&archive, "1.6").await, Some(vec![vec![9; 16].into()]));
    let (study, of, instance) =
        ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap(), "1.5".parse().unwrap());
    let catalog = archive.catalog();
    let versions = catalog.instance_versions(&scope(), &study, &of, &instance).await.unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(archive.purge(&scope(), deletion.id, LATER).await.unwrap(), Purged::Done(0));
    assert_eq!(files(&folder.path().join("objects")).len(), 3, "restored objects stay");
    assert!(matches!(archive.restore(&scope(), deletion.id).await, Err(RestoreError::TooLate(_))));
    assert!(matches!(archive.restore(&scope(), 999).await, Err(RestoreError::Unknown)));
}

#[tokio::test]
async fn objects_go_after_the_grace_period_and_not_what_came_since() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    store(&archive, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    let deletion = archive.delete(&scope(), &study(), "test", "").await.unwrap().unwrap();
    let again = store(&archive, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    assert_eq!(again.outcome, Recorded::Stored { patient_conflict: false });
    assert_eq!(
        files(&folder.path().join("objects")).len(),
        3,
        "both, and the word of the deletion"
    );
    assert_eq!(archive.purge(&scope(), deletion.id, LATER).await.unwrap(), Purged::Done(1));
    assert_eq!(archive.purge(&scope(), deletion.id, LATER).await.unwrap(), Purged::Done(0));
    assert_eq!(files(&folder.path().join("objects")).len(), 1);
    assert_eq!(frames(&archive, "1.5").await, Some(vec![vec![1; 16].into()]));
    let error = archive.restore(&scope(), deletion.id).await.unwrap_err();
    assert_eq!(error.to_string(), "the deletion is purged");
}

#[tokio::test]
async fn restoring_does_not_displace_what_came_since() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    for uid in ["1.5", "1.6"] {
        store(&archive, as_data_set(uid), &image(uid, 1, 1), 64).await.unwrap();
    }
    let deletion = archive.delete(&scope(), &study(), "test", "").await.unwrap().unwrap();
    store(&archive, as_data_set("1.5"), &image("1.5", 1, 7), 64).await.unwrap();
    let restored = archive.restore(&scope(), deletion.id).await.unwrap();
    assert_eq!((restored.restored, restored.replaced), (1, 1));
    assert_eq!(frames(&archive, "1.5").await, Some(vec![vec![7; 16].into()]));
    assert!(frames(&archive, "1.6").await.is_some());
    assert_eq!(archive.purge(&scope(), deletion.id, LATER).await.unwrap(), Purged::Done(1));
    assert_eq!(files(&folder.path().join("objects")).len(), 2);
}

/// Who lost the index gets every study back but those that were deleted.
#[tokio::test]
async fn what_was_deleted_stays_so_when_the_index_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let before = archive(folder.path(), |_| {}).await;
    for uid in ["1.5", "1.6", "1.7"] {
        store(&before, as_data_set(uid), &image(uid, 1, 1), 64).await.unwrap();
    }
    let one = |uid: &str| Target { instance: Some(uid.parse().unwrap()), ..series() };
    let gone = before.delete(&scope(), &one("1.5"), "test", "").await.unwrap().unwrap();
    let undone = before.delete(&scope(), &one("1.6"), "test", "").await.unwrap().unwrap();
    before.restore(&scope(), undone.id).await.unwrap();

    let after = archive_on(folder.path(), "new.db", |_| {}).await;
    let rebuilt = after.rebuild(&scope(), false, |_, _| {}).await.unwrap();
    assert_eq!((rebuilt.recorded, rebuilt.deleted), (2, 1));
    assert!(frames(&after, "1.5").await.is_none(), "deleted");
    assert!(frames(&after, "1.6").await.is_some() && frames(&after, "1.7").await.is_some());
    let other = archive_on(folder.path(), "other.db", |_| {}).await;
    let with = other.rebuild(&scope(), true, |_, _| {}).await.unwrap();
    assert_eq!((with.recorded, with.deleted), (3, 0));

    assert_eq!(before.purge(&scope(), gone.id, LATER).await.unwrap(), Purged::Done(1));
    assert_eq!(files(&folder.path().join("objects")).len(), 2, "nothing is left of the deletion");
}
