//! The archive whole: a real SQLite catalog, a real directory, data sets built byte by byte.

mod data_sets;
mod deleting;
mod walls;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_catalog::types::{DuplicatePolicy, Recorded, Target};
use qianli_catalog::{Catalog, CatalogConfig};
use qianli_model::{Provenance, Refusal, Route, Scope, TenantId, TransferSyntax};

use crate::{
    Archive, ArchiveConfig, Blobs, BlobsConfig, Format, Inflating, IngestError, Stored, SweepMode,
};

const SC: &str = "1.2.840.10008.5.1.4.1.1.7";

fn scope() -> Scope {
    Scope::local(TenantId::DEFAULT)
}

#[tokio::test]
async fn whoever_scrolls_finds_the_rest_of_the_series_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    let uids: Vec<String> = (1..=12).map(|n| format!("1.5.{n}")).collect();
    for uid in &uids {
        store(&archive, as_data_set(uid), &image(uid, 1, 1), 64).await.unwrap();
    }
    let (study, series) = ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap());
    for (asked, uid) in uids.iter().take(3).enumerate() {
        assert_eq!(archive.remembered(), asked, "a single image asks for no other");
        let detail = archive.detail(&scope(), &study, &series, &uid.parse().unwrap()).await;
        assert!(detail.unwrap().is_some());
    }
    let all = async {
        while archive.remembered() < uids.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("all are remembered");
    let detail = archive.detail(&scope(), &study, &series, &"1.5.9".parse().unwrap()).await;
    let detail = detail.unwrap().expect("it is there");
    assert_eq!(detail.location.instance.as_str(), "1.5.9");
}

async fn archive(folder: &Path, change: impl FnOnce(&mut ArchiveConfig)) -> Archive {
    archive_on(folder, "index.db", change).await
}

async fn archive_on(
    folder: &Path,
    index: &str,
    change: impl FnOnce(&mut ArchiveConfig),
) -> Archive {
    let url = format!("sqlite:{}", folder.join(index).display());
    let catalog = Catalog::connect(CatalogConfig::new(url)).await.unwrap();
    catalog.migrate().await.unwrap();
    let store = format!("file://{}", folder.join("objects").display());
    let blobs = Blobs::open(&BlobsConfig { url: store }).unwrap();
    let mut config = ArchiveConfig::new(folder.join("spool"));
    change(&mut config);
    Archive::new(catalog, blobs, config).unwrap()
}

fn element(out: &mut Vec<u8>, group: u16, element: u16, vr: &[u8; 2], value: &[u8]) {
    out.extend(group.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(vr);
    let padded = value.len() + value.len() % 2;
    if matches!(vr, b"OB" | b"OW") {
        out.extend([0, 0]);
        out.extend((padded as u32).to_le_bytes());
    } else {
        out.extend((padded as u16).to_le_bytes());
    }
    out.extend(value);
    if value.len() % 2 == 1 {
        out.push(if vr == b"UI" { 0 } else { b' ' });
    }
}

/// An 8-bit image of `frames` frames of 4 x 4; every pixel of frame n is `fill + n`.
fn image(instance: &str, frames: u8, fill: u8) -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, 0x0008, 0x0016, b"UI", SC.as_bytes());
    element(&mut out, 0x0008, 0x0018, b"UI", instance.as_bytes());
    element(&mut out, 0x0010, 0x0020, b"LO", b"P1");
    element(&mut out, 0x0020, 0x000D, b"UI", b"1.2.3");
    element(&mut out, 0x0020, 0x000E, b"UI", b"1.2.3.4");
    element(&mut out, 0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0004, b"CS", b"MONOCHROME2");
    element(&mut out, 0x0028, 0x0008, b"IS", frames.to_string().as_bytes());
    element(&mut out, 0x0028, 0x0010, b"US", &4_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0011, b"US", &4_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0100, b"US", &8_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0101, b"US", &8_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0102, b"US", &7_u16.to_le_bytes());
    element(&mut out, 0x0028, 0x0103, b"US", &0_u16.to_le_bytes());
    let pixels: Vec<u8> = (0..frames).flat_map(|frame| [fill + frame; 16]).collect();
    element(&mut out, 0x7FE0, 0x0010, b"OB", &pixels);
    out
}

fn as_data_set(instance: &str) -> Format {
    Format::DataSet {
        transfer_syntax: TransferSyntax::EXPLICIT_LITTLE,
        sop_class: SC.into(),
        sop_instance: instance.into(),
    }
}

async fn store(
    archive: &Archive,
    format: Format,
    bytes: &[u8],
    step: usize,
) -> Result<Stored, IngestError> {
    let mut spool = archive.spool();
    for chunk in bytes.chunks(step) {
        spool.write(Bytes::copy_from_slice(chunk)).await?;
    }
    archive.ingest(&scope(), Provenance::new(Route::Dimse, "test"), spool, format).await
}

fn series() -> Target {
    Target {
        study: "1.2.3".parse().unwrap(),
        series: Some("1.2.3.4".parse().unwrap()),
        instance: None,
    }
}

async fn whole(archive: &Archive, index: usize) -> Vec<u8> {
    let locations = archive.locate(&scope(), &series()).await.unwrap();
    let stream = archive.open(&scope(), &locations[index]).await.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    chunks.concat()
}

/// Files under a folder, in any depth.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[tokio::test]
async fn the_data_set_comes_back_byte_for_byte_whatever_the_chunks() {
    for (step, in_memory) in [(1, 1 << 20), (7, 1 << 20), (100_000, 1 << 20), (50, 100)] {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(folder.path(), |config| config.spool_in_memory = in_memory).await;
        let data_set = image("1.5", 3, 10);
        let stored = store(&archive, as_data_set("1.5"), &data_set, step).await.unwrap();
        assert_eq!(stored.outcome, Recorded::Stored { patient_conflict: false });
        let object = whole(&archive, 0).await;
        assert_eq!(object.get(128..132), Some(b"DICM".as_slice()));
        assert!(object.ends_with(&data_set), "step {step}, in memory {in_memory}");
        let location = &archive.locate(&scope(), &series()).await.unwrap()[0];
        assert_eq!(object.len() as u64, location.blob_size);
        assert_eq!(object.len() - data_set.len(), location.data_set_offset as usize);
        // The same instance as a file, with another preamble, is the same content.
        let mut file = object.clone();
        file[..4].copy_from_slice(b"II*\0");
        let again = store(&archive, Format::Part10, &file, 1000).await.unwrap();
        assert_eq!(again.outcome, Recorded::AlreadyHere);
        assert_eq!(files(&folder.path().join("objects")).len(), 1);
    }
}

#[tokio::test]
async fn a_frame_is_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    store(&archive, as_data_set("1.5"), &image("1.5", 5, 20), 64).await.unwrap();
    let (study, of, instance) =
        ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap(), "1.5".parse().unwrap());
    let detail = archive.detail(&scope(), &study, &of, &instance).await.unwrap().unwrap();
    let frames =
        archive.frames(&scope(), &detail, &[1, 5, 2], &Inflating::default()).await.unwrap();
    assert_eq!(frames, [vec![20; 16], vec![24; 16], vec![21; 16]]);
    assert!(archive.frames(&scope(), &detail, &[6], &Inflating::default()).await.is_err());
    assert!(archive.frames(&scope(), &detail, &[0], &Inflating::default()).await.is_err());
}

#[tokio::test]
async fn other_content_supersedes_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keep = archive(folder.path(), |_| {}).await;
    let (study, of, instance) =
        ("1.2.3".parse().unwrap(), "1.2.3.4".parse().unwrap(), "1.5".parse().unwrap());
    store(&keep, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    // Asked for before, so that a cache could be stale afterwards.
    keep.detail(&scope(), &study, &of, &instance).await.unwrap();
    let second = store(&keep, as_data_set("1.5"), &image("1.5", 1, 2), 64).await.unwrap();
    assert_eq!(second.outcome, Recorded::Superseded { patient_conflict: false });
    let detail = keep.detail(&scope(), &study, &of, &instance).await.unwrap().unwrap();
    assert_eq!(
        keep.frames(&scope(), &detail, &[1], &Inflating::default()).await.unwrap(),
        [vec![2; 16]]
    );
    assert_eq!(keep.locate(&scope(), &series()).await.unwrap().len(), 1);
    let versions = keep.catalog().instance_versions(&scope(), &study, &of, &instance).await;
    assert_eq!(versions.unwrap().len(), 2, "the older stays retrievable by an operator");

    let folder = tempfile::tempdir().unwrap();
    let refuse = archive(folder.path(), |config| config.duplicates = DuplicatePolicy::Refuse).await;
    store(&refuse, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    let second = store(&refuse, as_data_set("1.5"), &image("1.5", 1, 2), 64).await.unwrap_err();
    assert_eq!(second.refusal, Refusal::DuplicateWithOtherContent);
    let same = store(&refuse, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    assert_eq!(same.outcome, Recorded::AlreadyHere);
}

#[tokio::test]
async fn the_same_instance_from_many_senders_at_once_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    let data_set = image("1.5", 2, 1);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (archive, data_set) = (archive.clone(), data_set.clone());
            tokio::spawn(async move { store(&archive, as_data_set("1.5"), &data_set, 64).await })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap().unwrap().outcome {
            Recorded::Stored { .. } => stored += 1,
            outcome => assert_eq!(outcome, Recorded::AlreadyHere),
        }
    }
    assert_eq!(stored, 1);
    assert_eq!(files(&folder.path().join("objects")).len(), 1, "needless copies are removed");
    assert_eq!(archive.totals(&scope()).await.unwrap().instances, 1);
}

#[tokio::test]
async fn refusals_name_their_cause_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |config| {
        config.max_object = 4000;
        config.spool_in_memory = 500;
    })
    .await;
    let good = image("1.5", 1, 1);
    let other_uid = store(&archive, as_data_set("1.6"), &good, 64).await.unwrap_err();
    assert!(matches!(other_uid.refusal, Refusal::DoesNotMatchSopClass(_)), "{other_uid}");
    assert_eq!(other_uid.sop_instance.as_deref(), Some("1.5"));
    let cut = store(&archive, as_data_set("1.5"), &good[..good.len() - 3], 64).await.unwrap_err();
    assert!(matches!(cut.refusal, Refusal::CannotUnderstand(_)), "{cut}");
    assert_eq!(cut.sop_instance.as_deref(), Some("1.5"), "the sender must know which one");
    let junk = store(&archive, Format::Part10, b"<html>no</html>", 64).await.unwrap_err();
    assert_eq!(junk.refusal.code(), 0xC000);
    let large = image("1.5", 255, 0);
    let large = store(&archive, as_data_set("1.5"), &large, 64).await.unwrap_err();
    assert_eq!(large.refusal.code(), 0xC001);
    assert!(!large.refusal.is_transient(), "sending it again does not help");
    let directory = {
        let mut out = Vec::new();
        element(&mut out, 0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.31");
        out.extend(&good[good.len().min(34)..]);
        out
    };
    assert!(store(&archive, as_data_set("1.5"), &directory, 64).await.is_err());
    assert_eq!(archive.totals(&scope()).await.unwrap().instances, 0);
    assert!(files(&folder.path().join("objects")).is_empty());
    assert!(files(&folder.path().join("spool")).is_empty());
}

#[tokio::test]
async fn the_sweep_removes_orphans_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    store(&archive, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    store(&archive, as_data_set("1.5"), &image("1.5", 1, 2), 64).await.unwrap();
    let orphan = folder.path().join("objects/1/1.2.3/1.2.3.4/1.9.0000.0000.dcm");
    std::fs::write(&orphan, b"partly written").unwrap();
    let later = 4_102_444_800_000; // 2100
    let hour = Duration::from_secs(3600);
    let young = archive.sweep(0, hour, SweepMode::Remove).await.unwrap();
    assert_eq!((young.seen, young.young, young.orphans), (3, 3, 0));
    let asked = archive.sweep(later, hour, SweepMode::Look).await.unwrap();
    assert_eq!((asked.orphans, asked.removed), (1, false));
    assert!(orphan.exists());
    let swept = archive.sweep(later, hour, SweepMode::Remove).await.unwrap();
    assert_eq!((swept.orphans, swept.orphan_bytes), (1, 14));
    assert!(!orphan.exists());
    assert_eq!(files(&folder.path().join("objects")).len(), 2, "both contents stay");
}

#[tokio::test]
async fn the_sweep_does_not_believe_an_empty_index() {
    let folder = tempfile::tempdir().unwrap();
    let full = archive(folder.path(), |_| {}).await;
    store(&full, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    full.catalog().close().await;
    std::fs::remove_file(folder.path().join("index.db")).unwrap();
    let emptied = archive(folder.path(), |_| {}).await;
    let later = 4_102_444_800_000; // 2100
    let swept = emptied.sweep(later, Duration::ZERO, SweepMode::Remove).await.unwrap();
    assert_eq!((swept.orphans, swept.doubtful, swept.removed), (1, true, false));
    assert_eq!(files(&folder.path().join("objects")).len(), 1, "nothing is removed");
    let swept = emptied.sweep(later, Duration::ZERO, SweepMode::Force).await.unwrap();
    assert!(swept.removed);
}
