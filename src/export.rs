//! Takes objects out of the archive into a folder or a zip file, as they are stored or without the
//! patients' identities. Used by `qianli export`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use indicatif::ProgressBar;
use qianli_archive::{Archive, ByteStream, Deidentified, Pseudonymous};
use qianli_catalog::AuditEntry;
use qianli_catalog::types::{Location, StudyRow, Target};
use qianli_model::audit::{Action, Outcome};
use qianli_model::{Query, Scope, StudyUid};
use tokio::task::JoinSet;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::app::now_ms;

/// Studies that are asked for at once.
const PAGE: u32 = 500;

/// Objects that are named in the summary; all are counted.
const LISTED: usize = 50;

/// The folder's name of patients without an ID.
const NO_PATIENT: &str = "unknown";

/// Longest folder name made of a Patient ID, in characters.
const LONGEST_FOLDER: usize = 64;

/// What became of the objects.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Studies that were looked at.
    pub studies: u64,
    /// Objects written now.
    pub written: u64,
    /// Objects that were there from an earlier run.
    pub already_there: u64,
    /// Objects that stay by a rule, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// Objects that should have been written and were not, by reason.
    pub failed: BTreeMap<String, u64>,
    /// The first of these, by their UIDs in the archive.
    pub failed_objects: Vec<(String, String)>,
    /// Bytes written now.
    pub bytes: u64,
}

impl Summary {
    /// Objects that should have been written and were not.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    fn count(&mut self, location: &Location, outcome: anyhow::Result<Fate>) {
        match outcome {
            Ok(Fate::Written(bytes)) => {
                self.written += 1;
                self.bytes += bytes;
            }
            Ok(Fate::AlreadyThere) => self.already_there += 1,
            Ok(Fate::LeftOut(reason)) => {
                *self.left_out.entry(reason.to_owned()).or_default() += 1;
            }
            Err(error) => {
                let reason = format!("{error:#}");
                *self.failed.entry(reason.clone()).or_default() += 1;
                if self.failed_objects.len() < LISTED {
                    self.failed_objects.push((location.instance.to_string(), reason));
                }
            }
        }
    }
}

/// Where objects go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Into `patient/study/series/instance.dcm` below a folder.
    Folder(PathBuf),
    /// Into the same paths inside of a new zip file.
    Zip(PathBuf),
}

/// What is exported and how.
#[derive(Debug, Clone)]
pub struct Export {
    /// Which studies, in any number of queries of the study level; limit and offset are ours.
    pub queries: Vec<Query>,
    /// Whether and how identities are removed.
    pub pseudonymous: Option<Pseudonymous>,
    /// Objects at a time.
    pub parallel: usize,
}

enum Fate {
    Written(u64),
    AlreadyThere,
    LeftOut(&'static str),
}

/// An object that is ready to be written.
struct Ready {
    path: String,
    content: ByteStream,
    /// Its length, where it is known before.
    length: Option<u64>,
}

/// Exports. What is there already is never written over, so that a run that was broken off is
/// finished by another.
///
/// # Errors
///
/// The catalog failed, or the destination cannot be made. Trouble with single objects is counted.
pub async fn export(
    archive: &Archive,
    scope: &Scope,
    export: &Export,
    destination: &Destination,
    progress: &ProgressBar,
) -> anyhow::Result<Summary> {
    let studies = studies(archive, scope, &export.queries).await?;
    let total: u64 = studies.values().map(|row| row.instance_count.unsigned_abs()).sum();
    progress.set_length(total);
    let mut summary = Summary { studies: studies.len() as u64, ..Summary::default() };
    match destination {
        Destination::Folder(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make the folder {}", folder.display()))?;
            let folder: Arc<Path> = folder.as_path().into();
            let mut running = JoinSet::new();
            for (uid, row) in &studies {
                for location in locate(archive, scope, uid, export).await? {
                    while running.len() >= export.parallel.max(1) {
                        finish(&mut running, &mut summary, progress).await;
                    }
                    let (archive, scope) = (archive.clone(), scope.clone());
                    let (folder, export) = (Arc::clone(&folder), export.clone());
                    let patient = patient_folder(row);
                    running.spawn(async move {
                        let opened = open(&archive, &scope, &export, &location, &patient).await;
                        let outcome = match opened {
                            Ok(Ok(ready)) => to_file(&folder, ready).await,
                            Ok(Err(reason)) => Ok(Fate::LeftOut(reason)),
                            Err(error) => Err(error),
                        };
                        (location, outcome)
                    });
                }
            }
            while !running.is_empty() {
                finish(&mut running, &mut summary, progress).await;
            }
        }
        Destination::Zip(file) => {
            let mut zip = Zip::create(file)?;
            for (uid, row) in &studies {
                for location in locate(archive, scope, uid, export).await? {
                    let patient = patient_folder(row);
                    let outcome = match open(archive, scope, export, &location, &patient).await {
                        Ok(Ok(ready)) => Ok(Fate::Written(zip.add(ready).await?)),
                        Ok(Err(reason)) => Ok(Fate::LeftOut(reason)),
                        Err(error) => Err(error),
                    };
                    summary.count(&location, outcome);
                    progress.inc(1);
                }
            }
            zip.finish().await?;
        }
    }
    Ok(summary)
}

async fn finish(
    running: &mut JoinSet<(Location, anyhow::Result<Fate>)>,
    summary: &mut Summary,
    progress: &ProgressBar,
) {
    match running.join_next().await {
        Some(Ok((location, outcome))) => {
            summary.count(&location, outcome);
            progress.inc(1);
        }
        Some(Err(_)) => *summary.failed.entry("it failed unexpectedly".into()).or_default() += 1,
        None => {}
    }
}

/// Every study that some query finds, once.
async fn studies(
    archive: &Archive,
    scope: &Scope,
    queries: &[Query],
) -> anyhow::Result<BTreeMap<String, StudyRow>> {
    let mut studies = BTreeMap::new();
    for query in queries {
        let mut query = Query { limit: PAGE, ..query.clone() };
        loop {
            let found = archive.find(scope, &query).await.context("search for studies")?;
            let last = found.len() < PAGE as usize;
            studies.extend(found.into_iter().map(|row| (row.study.uid.clone(), row.study)));
            if last {
                break;
            }
            query.offset = query.offset.saturating_add(PAGE);
        }
    }
    Ok(studies)
}

/// Where a study's objects lie. That they leave is in the audit trail before the first of them does.
async fn locate(
    archive: &Archive,
    scope: &Scope,
    uid: &str,
    export: &Export,
) -> anyhow::Result<Vec<Location>> {
    let study = StudyUid::parse(uid).context("a study's UID")?;
    let target = Target { study, series: None, instance: None };
    let found = archive.locate(scope, &target).await.context("locate a study's instances")?;
    let project = export.pseudonymous.as_ref().map(|how| how.how().project.name());
    let mut entry = AuditEntry::new(scope, Action::Export, Outcome::Success, now_ms())
        .about(&target)
        .with(&serde_json::json!({ "deidentified": project }));
    entry.instances = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let written = archive.catalog().write_audit(vec![entry]).await;
    written.context("write the audit trail")?;
    Ok(found)
}

/// Opens an object, or says why it stays.
async fn open(
    archive: &Archive,
    scope: &Scope,
    export: &Export,
    location: &Location,
    patient: &str,
) -> anyhow::Result<Result<Ready, &'static str>> {
    let Some(pseudonymous) = &export.pseudonymous else {
        let Location { study, series, instance, .. } = location;
        let content = archive.open(scope, location).await?;
        let path = format!("{patient}/{study}/{series}/{instance}.dcm");
        return Ok(Ok(Ready { path, content, length: Some(location.blob_size) }));
    };
    match archive.open_deidentified(scope, location, pseudonymous).await? {
        Deidentified::LeftOut(reason) => Ok(Err(reason)),
        Deidentified::Object(outgoing) => {
            let patient = folder_name(outgoing.patient.as_deref().unwrap_or_default());
            let (study, series, instance) = (outgoing.study, outgoing.series, outgoing.instance);
            let path = format!("{patient}/{study}/{series}/{instance}.dcm");
            Ok(Ok(Ready { path, content: outgoing.content, length: None }))
        }
    }
}

/// Writes beside the final name first, so that a file under its final name is complete.
async fn to_file(folder: &Path, mut ready: Ready) -> anyhow::Result<Fate> {
    let path = folder.join(&ready.path);
    if let Ok(there) = tokio::fs::symlink_metadata(&path).await {
        if ready.length.is_some_and(|length| length != there.len()) {
            bail!("another file of this name is there");
        }
        return Ok(Fate::AlreadyThere);
    }
    let parent = path.parent().unwrap_or(folder);
    tokio::fs::create_dir_all(parent).await.context("make a folder")?;
    let partial = path.with_extension("dcm.part");
    let mut file = tokio::fs::File::create(&partial).await.context("create a file")?;
    let written = copy(&mut ready.content, &mut file).await;
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            drop(file);
            // What remains is written over by the next run.
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(error);
        }
    };
    file.sync_data().await.context("write a file")?;
    drop(file);
    // A link fails where a name is taken, a rename does not.
    match tokio::fs::hard_link(&partial, &path).await {
        Ok(()) => tokio::fs::remove_file(&partial).await.context("tidy up a file")?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("another file of this name is there");
        }
        Err(_) => tokio::fs::rename(&partial, &path).await.context("rename a file")?,
    }
    Ok(Fate::Written(written))
}

async fn copy(content: &mut ByteStream, file: &mut tokio::fs::File) -> anyhow::Result<u64> {
    use tokio::io::AsyncWriteExt;
    let mut written = 0;
    while let Some(step) = content.next().await {
        let step: Bytes = step?;
        file.write_all(&step).await.context("write a file")?;
        written += step.len() as u64;
    }
    file.flush().await.context("write a file")?;
    Ok(written)
}

/// A zip file that is being written, under a name of its own until it is whole.
struct Zip {
    writer: Option<ZipWriter<File>>,
    partial: PathBuf,
    path: PathBuf,
}

impl Zip {
    fn create(path: &Path) -> anyhow::Result<Self> {
        if path.symlink_metadata().is_ok() {
            bail!("{} is there already; nothing is written over", path.display());
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial);
        let file = file.with_context(|| format!("create {}", partial.display()))?;
        let path = path.to_owned();
        Ok(Self { writer: Some(ZipWriter::new(file)), partial, path })
    }

    /// Trouble here ends the export: half an entry would stay in the file.
    async fn add(&mut self, mut ready: Ready) -> anyhow::Result<u64> {
        let path = ready.path;
        self.with(move |zip| {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .compression_level(Some(1))
                .large_file(true);
            zip.start_file(path, options).map_err(io::Error::other)
        })
        .await?;
        let mut written = 0;
        while let Some(step) = ready.content.next().await {
            let step = step?;
            written += step.len() as u64;
            self.with(move |zip| zip.write_all(&step)).await?;
        }
        Ok(written)
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        let Some(writer) = self.writer.take() else { bail!("the zip file was lost") };
        let done = tokio::task::spawn_blocking(move || {
            writer.finish().map_err(io::Error::other)?.sync_all()
        });
        done.await.context("write the zip file")?.context("write the zip file")?;
        match std::fs::hard_link(&self.partial, &self.path) {
            Ok(()) => std::fs::remove_file(&self.partial).context("tidy up the zip file"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{} appeared meanwhile; nothing is written over", self.path.display())
            }
            Err(_) => std::fs::rename(&self.partial, &self.path).context("rename the zip file"),
        }
    }

    /// Compressing is work for a blocking thread.
    async fn with<F>(&mut self, work: F) -> anyhow::Result<()>
    where
        F: FnOnce(&mut ZipWriter<File>) -> io::Result<()> + Send + 'static,
    {
        let Some(mut writer) = self.writer.take() else { bail!("the zip file was lost") };
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut writer);
            (writer, result)
        });
        let (writer, result) = done.await.context("write the zip file")?;
        self.writer = Some(writer);
        result.context("write the zip file")
    }
}

/// The folder of a study's patient.
fn patient_folder(study: &StudyRow) -> String {
    let json: serde_json::Value = serde_json::from_str(&study.json).unwrap_or_default();
    folder_name(json["00100020"]["Value"][0].as_str().unwrap_or_default())
}

/// A Patient ID as the name of a folder: nothing that leads elsewhere or that a file system minds.
/// Two patients may share a folder; their studies do not.
fn folder_name(id: &str) -> String {
    let fit = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = id.trim().chars().take(LONGEST_FOLDER).map(fit).collect();
    let name = name.trim_matches('.');
    if name.is_empty() { NO_PATIENT.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_below_the_destination() {
        for (id, expected) in [
            ("PID 12/3", "PID_12_3"),
            ("..", NO_PATIENT),
            ("../../etc", "_.._etc"),
            ("", NO_PATIENT),
            (" 患者1 ", "患者1"),
            ("a\0b", "a_b"),
        ] {
            assert_eq!(folder_name(id), expected, "{id}");
        }
    }
}
