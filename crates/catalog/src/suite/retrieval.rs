//! What retrieval reads.

use qianli_model::frames::{ByteRange, FrameTable};
use qianli_model::{SeriesUid, StudyUid};

use super::fixture::{execute, instance, other_content, scope, study_target, target};
use crate::{Catalog, CatalogError, Target};

super::on_both!(
    locations_come_in_reading_order,
    metadata_comes_back_whole,
    details_hold_frames_and_bulk,
    neighbours_are_the_details_around_an_instance,
    what_is_not_here_is_empty,
    blobs_of_older_contents_are_referenced,
    a_damaged_row_is_an_error,
);

async fn locations_come_in_reading_order(catalog: &Catalog) {
    for (series, sop, series_number, instance_number) in [
        (3, 1, None, Some(1)),
        (2, 1, Some(10), Some(2)),
        (2, 2, Some(10), Some(10)),
        (2, 3, Some(10), None),
        (2, 4, Some(10), Some(1)),
        (1, 1, Some(9), Some(7)),
        (1, 2, Some(9), Some(7)),
    ] {
        let mut new = instance(1, series, sop);
        new.header.series.number = series_number;
        new.header.instance.number = instance_number;
        catalog.record(&scope(), new).await.unwrap();
    }
    let located = catalog.locate(&scope(), &study_target(1)).await.unwrap();
    let uids: Vec<&str> = located.iter().map(|place| place.instance.as_str()).collect();
    let expected =
        ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.2.4", "1.2.1.2.1", "1.2.1.2.2", "1.2.1.2.3", "1.2.1.3.1"];
    assert_eq!(uids, expected);
    let metadata = catalog.metadata(&scope(), &study_target(1)).await.unwrap();
    let uids: Vec<&str> = metadata.iter().map(|item| item.instance.as_str()).collect();
    assert_eq!(uids, expected);
    let series = Target { series: Some(SeriesUid::parse("1.2.1.1").unwrap()), ..study_target(1) };
    assert_eq!(catalog.locate(&scope(), &series).await.unwrap().len(), 2);
    let first = instance(1, 1, 1);
    let located = catalog.locate(&scope(), &target(&first)).await.unwrap();
    assert_eq!(located.len(), 1);
    let place = &located[0];
    assert_eq!(place.blob_key, first.blob_key);
    assert_eq!(place.content_hash, first.content_hash);
    assert_eq!((place.blob_size, place.data_set_offset), (1000, 330));
    assert_eq!(place.transfer_syntax, first.header.transfer_syntax);
    assert_eq!(place.sop_class, first.header.sop_class_uid.as_str());
}

async fn metadata_comes_back_whole(catalog: &Catalog) {
    let mut new = instance(1, 1, 1);
    // Large enough for a blocking thread, with the mark of the base URL and text of all planes.
    new.header.json =
        format!("{{\"x\":\"\u{1}/bulkdata/7FE00010 王 𠀀 {}\"}}", "y".repeat(600_000)).into_bytes();
    catalog.record(&scope(), new.clone()).await.unwrap();
    let metadata = catalog.metadata(&scope(), &target(&new)).await.unwrap();
    assert_eq!(metadata.len(), 1);
    assert_eq!(metadata[0].json, new.header.json);
    assert_eq!(metadata[0].content_hash, new.content_hash);
    assert_eq!(metadata[0].series, new.header.series_uid);
}

async fn details_hold_frames_and_bulk(catalog: &Catalog) {
    let mut new = instance(1, 1, 1);
    let fragment = |offset| vec![ByteRange { offset, length: 100 }];
    new.header.frames =
        FrameTable::Encapsulated { frames: (0..5000).map(|n| fragment(n * 108)).collect() };
    catalog.record(&scope(), new.clone()).await.unwrap();
    let header = &new.header;
    let detail = catalog
        .detail(&scope(), &header.study_uid, &header.series_uid, &header.sop_instance_uid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(detail.frames, header.frames);
    assert_eq!(detail.bulk, header.bulk);
    assert_eq!(detail.json, header.json);
    assert_eq!(detail.location.instance, header.sop_instance_uid);
}

async fn neighbours_are_the_details_around_an_instance(catalog: &Catalog) {
    let other = super::fixture::other_tenant(catalog).await;
    for n in 1..=9 {
        let mut new = instance(1, 1, n);
        // The eighth is far away, the ninth has no number.
        new.header.instance.number = [Some(i64::from(n)), Some(5000), None][n.max(7) as usize - 7];
        if n == 3 {
            new.header.json = format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)).into_bytes();
        }
        catalog.record(&scope(), new.clone()).await.unwrap();
        if n == 4 {
            catalog.record(&scope(), other_content(new, "b")).await.unwrap();
        }
    }
    catalog.record(&scope(), instance(1, 2, 1)).await.unwrap();
    let asked = instance(1, 1, 2).header;
    let (study, series) = (&asked.study_uid, &asked.series_uid);
    let around =
        catalog.neighbours(&scope(), study, series, &asked.sop_instance_uid).await.unwrap();
    let mut uids: Vec<&str> = around.iter().map(|d| d.location.instance.as_str()).collect();
    uids.sort_unstable();
    let expected = [1, 2, 4, 5, 6, 7].map(|n| format!("1.2.1.1.{n}"));
    assert_eq!(uids, expected);
    for detail in around {
        let alone = catalog.detail(&scope(), study, series, &detail.location.instance).await;
        assert_eq!(alone.unwrap(), Some(detail));
    }
    let theirs = catalog.neighbours(&other, study, series, &asked.sop_instance_uid).await;
    assert_eq!(theirs.unwrap(), []);
    let unnumbered = instance(1, 1, 9).header.sop_instance_uid;
    let around = catalog.neighbours(&scope(), study, series, &unnumbered).await.unwrap();
    assert_eq!(around.len(), 8, "all but the long one");
}

async fn what_is_not_here_is_empty(catalog: &Catalog) {
    let new = instance(1, 1, 1);
    catalog.record(&scope(), new.clone()).await.unwrap();
    let mut elsewhere = target(&new);
    elsewhere.study = StudyUid::parse("1.2.9").unwrap();
    assert_eq!(catalog.locate(&scope(), &elsewhere).await.unwrap(), []);
    assert_eq!(catalog.metadata(&scope(), &elsewhere).await.unwrap(), []);
    let header = &new.header;
    let wrong = SeriesUid::parse("1.2.1.9").unwrap();
    let detail =
        catalog.detail(&scope(), &header.study_uid, &wrong, &header.sop_instance_uid).await;
    assert_eq!(detail.unwrap(), None);
    let known = catalog.known(&scope(), &header.study_uid, &wrong, &header.sop_instance_uid).await;
    assert_eq!(known.unwrap(), None);
}

async fn blobs_of_older_contents_are_referenced(catalog: &Catalog) {
    let first = instance(1, 1, 1);
    let second = other_content(first.clone(), "b");
    let other = super::fixture::other_tenant(catalog).await;
    let theirs = instance(7, 1, 1);
    catalog.record(&scope(), first.clone()).await.unwrap();
    catalog.record(&scope(), second.clone()).await.unwrap();
    catalog.record(&other, theirs.clone()).await.unwrap();
    let mut keys: Vec<String> = (0..2500).map(|n| format!("1/orphan/{n}.dcm")).collect();
    let here = [first.blob_key, second.blob_key, theirs.blob_key];
    keys.extend(here.clone());
    let found = catalog.referenced_blobs(&keys).await.unwrap();
    assert_eq!(found, here.into_iter().collect());
    assert!(catalog.referenced_blobs(&[]).await.unwrap().is_empty());
}

async fn a_damaged_row_is_an_error(catalog: &Catalog) {
    let new = instance(1, 1, 1);
    catalog.record(&scope(), new.clone()).await.unwrap();
    let damage = match catalog.kind() {
        "postgres" => "UPDATE instances SET header = '\\x00'",
        _ => "UPDATE instances SET header = x'00'",
    };
    execute(catalog, damage).await;
    let error = catalog.metadata(&scope(), &target(&new)).await.unwrap_err();
    assert!(matches!(error, CatalogError::Corrupt(_)), "{error}");
    assert_eq!(catalog.locate(&scope(), &target(&new)).await.unwrap().len(), 1);
}
