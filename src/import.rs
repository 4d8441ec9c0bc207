//! Brings files into the archive: folders, zip archives and media with a DICOMDIR. Used by
//! `qianli import` and by the demonstration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use qianli_archive::zip::{self, ZipEntry, ZipFiles, ZipLimits};
use qianli_archive::{Archive, Format, IngestError, Stored};
use qianli_catalog::types::Recorded;
use qianli_model::{Provenance, Route, Scope};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Longest list of refused files that is kept for the summary; all are counted.
const LISTED_REFUSALS: usize = 50;

/// What became of the files.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// New instances.
    pub stored: u64,
    /// Instances that were here with the same content.
    pub already_here: u64,
    /// Instances that were here with other content; the new one answers now.
    pub superseded: u64,
    /// Files that are not DICOM instances: texts, viewers, DICOMDIR.
    pub not_dicom: u64,
    /// Refused or unreadable files, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The first refused files, with reasons.
    pub refused_files: Vec<(String, String)>,
    /// Bytes of the files that are safe now.
    pub bytes: u64,
}

impl Summary {
    /// Files that a person must look at.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    fn refuse(&mut self, name: String, reason: String) {
        *self.refused.entry(reason.clone()).or_default() += 1;
        if self.refused_files.len() < LISTED_REFUSALS {
            self.refused_files.push((name, reason));
        }
    }
}

/// One thing to look at.
enum Candidate {
    File(PathBuf),
    /// An entry of a zip archive, by index. The directory of the archive is read once and shared.
    ZipEntry(Box<ZipFiles<At>>, usize, String),
}

impl Candidate {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::ZipEntry(_, _, name) => name.clone(),
        }
    }
}

enum Outcome {
    Kept(Box<Stored>),
    NotDicom,
    Refused(String),
}

/// Imports everything under `paths`, `parallel` files at a time. Running it again is harmless.
///
/// # Errors
///
/// A path that does not exist. Trouble with single files is counted, not returned.
pub async fn import(
    archive: &Archive,
    scope: &Scope,
    paths: &[PathBuf],
    parallel: usize,
    progress: &ProgressBar,
) -> anyhow::Result<Summary> {
    for path in paths {
        std::fs::metadata(path).with_context(|| format!("import {}", path.display()))?;
    }
    let (sender, mut found) = mpsc::channel::<Result<Candidate, (String, String)>>(256);
    let (paths, bar) = (paths.to_vec(), progress.clone());
    let walker = tokio::task::spawn_blocking(move || {
        for path in &paths {
            walk(path, &sender, &bar);
        }
    });
    let mut summary = Summary::default();
    let mut running: JoinSet<(String, Outcome)> = JoinSet::new();
    loop {
        let more = tokio::select! {
            candidate = found.recv(), if running.len() < parallel => match candidate {
                Some(Ok(candidate)) => {
                    let (archive, scope) = (archive.clone(), scope.clone());
                    running.spawn(async move {
                        let name = candidate.name();
                        let outcome = import_one(&archive, &scope, candidate).await;
                        (name, outcome)
                    });
                    true
                }
                Some(Err((name, reason))) => {
                    summary.refuse(name, reason);
                    true
                }
                None => false,
            },
            Some(done) = running.join_next() => {
                count(&mut summary, done, progress);
                true
            }
        };
        if !more {
            break;
        }
    }
    while let Some(done) = running.join_next().await {
        count(&mut summary, done, progress);
    }
    walker.await.context("walk the folders")?;
    Ok(summary)
}

fn count(
    summary: &mut Summary,
    done: Result<(String, Outcome), tokio::task::JoinError>,
    progress: &ProgressBar,
) {
    progress.inc(1);
    let (name, outcome) = match done {
        Ok(done) => done,
        Err(error) => {
            summary.refuse("a file".into(), format!("reading it failed: {error}"));
            return;
        }
    };
    match outcome {
        Outcome::Kept(stored) => {
            summary.bytes += stored.size;
            match stored.outcome {
                Recorded::Stored { .. } => summary.stored += 1,
                Recorded::Superseded { .. } => summary.superseded += 1,
                Recorded::AlreadyHere | Recorded::RefusedDuplicate => summary.already_here += 1,
            }
        }
        Outcome::NotDicom => summary.not_dicom += 1,
        Outcome::Refused(reason) => summary.refuse(name, reason),
    }
}

/// Finds files and zip entries; does not follow links, so that a loop cannot trap it.
fn walk(
    path: &Path,
    sender: &mpsc::Sender<Result<Candidate, (String, String)>>,
    progress: &ProgressBar,
) {
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let found = match entry {
            Ok(entry) if entry.file_type().is_dir() => continue,
            Ok(entry) if !entry.file_type().is_file() => continue,
            Ok(entry) => entry.into_path(),
            Err(error) => {
                let name = error.path().unwrap_or(path).display().to_string();
                if sender.blocking_send(Err((name, "the folder cannot be read".into()))).is_err() {
                    return;
                }
                continue;
            }
        };
        let candidates = match zip_entries(&found) {
            Some(Ok(entries)) => entries,
            Some(Err(reason)) => {
                progress.inc_length(1);
                progress.inc(1);
                if sender.blocking_send(Err((found.display().to_string(), reason))).is_err() {
                    return;
                }
                continue;
            }
            None => vec![Candidate::File(found)],
        };
        progress.inc_length(candidates.len() as u64);
        for candidate in candidates {
            if sender.blocking_send(Ok(candidate)).is_err() {
                return;
            }
        }
    }
}

/// Lists the files of a zip archive; `None` when the file is not one.
fn zip_entries(path: &Path) -> Option<Result<Vec<Candidate>, String>> {
    let mut file = File::open(path).ok()?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    if magic != *b"PK\x03\x04" {
        return None;
    }
    let length = file.metadata().ok()?.len();
    let opened =
        ZipFiles::open(At { file: Arc::new(file), offset: 0 }, ZipLimits::for_length(length));
    let listed = opened.and_then(|mut files| Ok((files.entries()?, files)));
    let candidates = |(entries, files): (Vec<ZipEntry>, ZipFiles<At>)| {
        let entry = |ZipEntry { index, name }| {
            let name = format!("{}!{name}", path.display());
            Candidate::ZipEntry(Box::new(files.clone()), index, name)
        };
        entries.into_iter().map(entry).collect()
    };
    Some(listed.map(candidates))
}

/// Reads a file from a position of its own, so that many entries can be read at once.
#[derive(Clone)]
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Seek for At {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.offset = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

async fn import_one(archive: &Archive, scope: &Scope, candidate: Candidate) -> Outcome {
    let mut spool = archive.spool();
    let read = match candidate {
        Candidate::File(path) => zip::spool_file(path, &mut spool).await,
        Candidate::ZipEntry(files, index, _) => files.unpack(index, &mut spool).await,
    };
    match read {
        Ok(true) => {}
        Ok(false) => return Outcome::NotDicom,
        Err(refusal) => return Outcome::Refused(refusal.to_string()),
    }
    let from = Provenance::new(Route::Import, "");
    match archive.ingest(scope, from, spool, Format::Part10).await {
        Ok(stored) => Outcome::Kept(Box::new(stored)),
        Err(IngestError { sop_class: Some(class), .. }) if class == MEDIA_DIRECTORY => {
            Outcome::NotDicom
        }
        Err(error) => Outcome::Refused(error.refusal.to_string()),
    }
}

/// Media Storage Directory Storage: the SOP class of a DICOMDIR (PS3.3 F.1).
pub(crate) const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";
