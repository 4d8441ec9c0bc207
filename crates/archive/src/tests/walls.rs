//! The wall behind the catalog's: rows that name another tenant's object.

use qianli_catalog::types::{NewInstance, Target};
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{InstanceHeader, Provenance, Route, Scope, TenantId};

use super::{archive, as_data_set, image, scope, store};
use crate::{ArchiveError, DuplicatePolicy};

/// As after a mistake in a statement, or somebody's hand in the database.
#[tokio::test]
async fn a_row_that_names_another_tenants_object_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    let bytes = image("1.5.1", 1, 1);
    store(&archive, as_data_set("1.5.1"), &bytes, 64).await.unwrap();
    let target = Target { study: "1.2.3".parse().unwrap(), series: None, instance: None };
    let theirs = archive.locate(&scope(), &target).await.unwrap().remove(0);

    let (other, now) = (Scope::local(TenantId(2)), 1000);
    assert!(archive.catalog().restore_tenant(TenantId(2), now).await.unwrap());
    let syntax = theirs.transfer_syntax;
    let mut source = SliceSource::new(&bytes);
    let header = InstanceHeader::read(&mut source, syntax, &Limits::default()).unwrap();
    let forged = NewInstance {
        header,
        blob_key: theirs.blob_key.clone(),
        content_hash: theirs.content_hash.clone(),
        blob_size: theirs.blob_size,
        data_set_offset: theirs.data_set_offset,
        provenance: Provenance::new(Route::Dimse, "test"),
        received_ms: now,
        policy: DuplicatePolicy::KeepBoth,
    };
    archive.catalog().record(&other, forged).await.unwrap();
    let located = archive.locate(&other, &target).await;
    assert!(matches!(located, Err(ArchiveError::Damaged(_))), "{located:?}");
    let (study, series) = ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap());
    let instance = "1.5.1".parse().unwrap();
    for _ in 0..2 {
        let detail = archive.detail(&other, &study, &series, &instance).await;
        assert!(detail.is_err(), "remembered or not");
    }
    // Deleting the row leaves the other's object alone, at the end of the grace period too.
    let gone = archive.delete(&other, &target, "test", "").await.unwrap().expect("a deletion");
    let purged = archive.purge(&other, gone.id, i64::MAX).await;
    assert!(matches!(purged, Err(ArchiveError::Damaged(_))), "{purged:?}");
    assert!(archive.detail(&scope(), &study, &series, &instance).await.unwrap().is_some());
    assert!(archive.blobs().size(&theirs.blob_key).await.unwrap().is_some());
}
