//! `qianli move` and `qianli get`: objects from a DIMSE peer to another, or into a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use indicatif::ProgressBar;
use qianli_dimse::scu::{Arriving, Priority, Receiver, RetrieveStep, Retrieved, Role};
use qianli_dimse::{ObjectSink, ProposedContext, Status, StatusClass, StoreOutcome};
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{AeTitle, Tag, TransferSyntax, file_meta, json, tag};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::find::{QUERY_RETRIEVE_LEVEL, encode};
use super::peer::Callee;
use super::say::say;
use crate::config::Config;
use crate::services::words;

/// SOP classes of C-MOVE and C-GET, patient root and study root (PS3.4 sections C.6.1.3, C.6.2.3).
pub(super) const MOVE: [&str; 2] = ["1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"];
pub(super) const GET: [&str; 2] = ["1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"];

/// A peer that collects objects from a slow archive says nothing for so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Storage classes that are proposed for a C-GET unless others are named: what hospitals have. An
/// association has room for 127 beside the query.
const STORAGE: &[&str] = &[
    "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "2.1", "2.2", "3.1", "4", "4.1",
    "4.2", "4.3", "4.4", "6.1", "6.2", "7", "7.1", "7.2", "7.3", "7.4", "9.1.1", "9.1.2", "9.1.3",
    "9.2.1", "9.3.1", "9.4.1", "9.4.2", "9.5.1", "9.6.1", "9.7.1", "11.1", "11.2", "11.3", "11.4",
    "11.5", "11.6", "11.7", "11.8", "12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2",
    "13.1.3", "13.1.4", "13.1.5", "14.1", "14.2", "20", "30", "66", "66.1", "66.2", "66.3", "66.4",
    "66.5", "66.6", "67", "68.1", "68.2", "77.1.1", "77.1.1.1", "77.1.2", "77.1.2.1", "77.1.3",
    "77.1.4", "77.1.4.1", "77.1.5.1", "77.1.5.2", "77.1.5.3", "77.1.5.4", "77.1.6", "78.1", "78.2",
    "78.3", "78.4", "78.5", "78.6", "78.7", "78.8", "79.1", "80.1", "81.1", "88.11", "88.22",
    "88.33", "88.34", "88.35", "88.40", "88.50", "88.59", "88.65", "88.67", "88.68", "88.69",
    "88.70", "88.71", "90.1", "104.1", "104.2", "104.3", "128", "128.1", "130", "131", "481.1",
    "481.2", "481.3", "481.4", "481.5", "481.6", "481.7", "481.8", "481.9",
];

/// What is wanted.
#[derive(clap::Args)]
struct Wanted {
    /// All studies of this patient.
    #[arg(long, value_name = "ID", conflicts_with_all = ["study", "series", "instance"])]
    patient: Option<String>,
    /// Study Instance UID; several separated by commas.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    study: Vec<String>,
    /// Series Instance UID, with its one study.
    #[arg(long, value_name = "UID", value_delimiter = ',', requires = "study")]
    series: Vec<String>,
    /// SOP Instance UID, with its one study and series.
    #[arg(long, value_name = "UID", value_delimiter = ',', requires = "series")]
    instance: Vec<String>,
}

/// Arguments of `qianli move`.
#[derive(clap::Args)]
pub(super) struct MoveArguments {
    #[command(flatten)]
    callee: Callee,
    /// AE title to which the peer is to send; the peer has to know it.
    #[arg(long, value_name = "TITLE")]
    to: AeTitle,
    #[command(flatten)]
    wanted: Wanted,
}

/// Arguments of `qianli get`.
#[derive(clap::Args)]
pub(super) struct GetArguments {
    #[command(flatten)]
    callee: Callee,
    /// Folder for the files, which are named by their SOP Instance UIDs.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// Storage SOP classes that are taken, in place of the usual ones; each then in every transfer
    /// syntax, so that nothing has to be decoded.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    classes: Vec<String>,
}

impl Wanted {
    /// The identifier in Implicit VR Little Endian, and whether it is for the patient root.
    fn identifier(&self) -> anyhow::Result<(Vec<u8>, bool)> {
        let level = match self {
            Self { patient: Some(_), .. } => "PATIENT",
            Self { instance, .. } if !instance.is_empty() => "IMAGE",
            Self { series, .. } if !series.is_empty() => "SERIES",
            Self { study, .. } if !study.is_empty() => "STUDY",
            _ => bail!("say what is wanted: --patient, or --study, --series and --instance"),
        };
        let mut elements: BTreeMap<Tag, String> = BTreeMap::new();
        elements.insert(QUERY_RETRIEVE_LEVEL, level.to_owned());
        let lists = [
            (tag::STUDY_INSTANCE_UID, &self.study),
            (tag::SERIES_INSTANCE_UID, &self.series),
            (tag::SOP_INSTANCE_UID, &self.instance),
        ];
        for (tag, uids) in lists {
            if !uids.is_empty() {
                elements.insert(tag, uids.join("\\"));
            }
        }
        if let Some(patient) = &self.patient {
            elements.insert(tag::SPECIFIC_CHARACTER_SET, "ISO_IR 192".into());
            elements.insert(tag::PATIENT_ID, patient.clone());
        }
        Ok((encode(elements)?, self.patient.is_some()))
    }
}

/// Tells a peer to send; exit code 1 when not everything arrived. Ctrl-C cancels.
pub(super) async fn move_to(config: Config, arguments: MoveArguments) -> anyhow::Result<ExitCode> {
    let (identifier, of_patient) = arguments.wanted.identifier()?;
    let class = MOVE[usize::from(!of_patient)];
    let syntax = TransferSyntax::IMPLICIT_LITTLE;
    let reached = arguments.callee.reach(&config).await?;
    let contexts = [ProposedContext::new(class, [syntax])];
    let mut association = reached.connect_patiently(&contexts, Some(PATIENCE)).await?;
    let Some(context) = association.context(class, syntax).map(|accepted| accepted.id) else {
        return Err(reached.lacks(class));
    };
    let bar = super::import::bar();
    let mut moving =
        association.move_to(context, &identifier, &arguments.to, Priority::Medium).await?;
    let mut interrupted = false;
    let done = loop {
        let step = tokio::select! {
            step = moving.next() => step.context("C-MOVE")?,
            _ = tokio::signal::ctrl_c(), if !interrupted => {
                interrupted = true;
                moving.cancel().await.context("cancel")?;
                continue;
            }
        };
        match step {
            RetrieveStep::Pending(counts) => {
                let over = [counts.completed, counts.failed, counts.warning];
                let over: u64 = over.into_iter().map(u64::from).sum();
                bar.set_length(over + u64::from(counts.remaining.unwrap_or_default()));
                bar.set_position(over);
            }
            RetrieveStep::Received(..) => {}
            RetrieveStep::Done(done) => break done,
        }
    };
    bar.finish_and_clear();
    association.release().await.context("release the association")?;
    summary(&done, syntax)
}

/// Says how it ended. The exit code is 1 unless everything arrived.
fn summary(done: &Retrieved, syntax: TransferSyntax) -> anyhow::Result<ExitCode> {
    say!("arrived   {:>8}", u32::from(done.counts.completed) + u32::from(done.counts.warning));
    say!("failed    {:>8}", done.counts.failed);
    if let Some(identifier) = &done.identifier {
        let mut source = SliceSource::new(identifier);
        let document = json::document(&mut source, syntax, &Limits::default())
            .context("read the list of what failed")?;
        let object: serde_json::Value = serde_json::from_slice(&document.json)?;
        let failed = object.pointer("/00080058/Value").and_then(serde_json::Value::as_array);
        for uid in failed.into_iter().flatten().filter_map(serde_json::Value::as_str) {
            say!("  {uid}");
        }
    }
    let answer = &done.answer;
    if answer.status.class() == StatusClass::Success {
        return Ok(ExitCode::SUCCESS);
    }
    let said = answer.comment.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
    eprintln!("the peer ended it with {}{said}", words(answer.status));
    Ok(ExitCode::FAILURE)
}

/// Fetches; exit code 1 when not everything arrived. Ctrl-C cancels.
pub(super) async fn get(config: Config, arguments: GetArguments) -> anyhow::Result<ExitCode> {
    let (identifier, of_patient) = arguments.wanted.identifier()?;
    let class = GET[usize::from(!of_patient)];
    let syntax = TransferSyntax::IMPLICIT_LITTLE;
    let into = arguments.into.clone();
    tokio::fs::create_dir_all(&into).await.with_context(|| format!("make {}", into.display()))?;
    let mut contexts = vec![ProposedContext::new(class, [syntax])];
    contexts.extend(storage(&arguments.classes)?);
    let reached = arguments.callee.reach(&config).await?;
    let mut association = reached.connect_patiently(&contexts, Some(PATIENCE)).await?;
    let Some(context) = association.context(class, syntax).map(|accepted| accepted.id) else {
        return Err(reached.lacks(class));
    };
    let bar = super::import::bar();
    let mut folder = Folder { into, bar: bar.clone(), calling: reached.to.title.to_string() };
    let mut getting = association.get(context, &identifier, Priority::Medium).await?;
    let mut interrupted = CtrlC::default();
    let mut received = 0_u64;
    let mut refused = 0_u64;
    let done = loop {
        // An object under way is finished before the peer is told to stop: a step is never dropped.
        if interrupted.is_new() {
            getting.cancel().await.context("cancel")?;
        }
        match getting.next_into(&mut folder).await.context("C-GET")? {
            RetrieveStep::Pending(counts) => {
                let over = [counts.completed, counts.failed, counts.warning];
                let over: u64 = over.into_iter().map(u64::from).sum();
                bar.set_length(over + u64::from(counts.remaining.unwrap_or_default()));
            }
            RetrieveStep::Received(_, status) => {
                received += u64::from(status.is_done());
                refused += u64::from(!status.is_done());
                bar.set_position(received + refused);
            }
            RetrieveStep::Done(done) => break done,
        }
    };
    bar.finish_and_clear();
    association.release().await.context("release the association")?;
    say!("written   {received:>8}");
    if refused > 0 {
        say!("refused   {refused:>8}");
    }
    summary(&done, syntax)
}

/// Whether somebody pressed Ctrl-C, asked between two steps.
#[derive(Default)]
struct CtrlC(Option<tokio::task::JoinHandle<()>>, bool);

impl CtrlC {
    fn is_new(&mut self) -> bool {
        let waiting = self.0.get_or_insert_with(|| {
            tokio::spawn(async {
                // Without a handler the signal ends the process, which is as well.
                let _ = tokio::signal::ctrl_c().await;
            })
        });
        let is_new = waiting.is_finished() && !self.1;
        self.1 |= is_new;
        is_new
    }
}

/// Contexts in which the peer sends objects to us.
fn storage(classes: &[String]) -> anyhow::Result<Vec<ProposedContext>> {
    let native = [TransferSyntax::EXPLICIT_LITTLE, TransferSyntax::IMPLICIT_LITTLE];
    if classes.is_empty() {
        let root = "1.2.840.10008.5.1.4.1.1";
        let all = STORAGE.iter().map(|end| ProposedContext::new(format!("{root}.{end}"), native));
        return Ok(all.map(|context| context.as_role(Role::Performer)).collect());
    }
    let mut contexts = Vec::new();
    for class in classes {
        // One context for each, so that the peer need not choose.
        for syntax in TransferSyntax::all() {
            let context = ProposedContext::new(class.clone(), [syntax]);
            contexts.push(context.as_role(Role::Performer));
        }
    }
    if contexts.len() > 127 {
        bail!(
            "an association has no room for so many classes; name at most {}",
            127 * classes.len() / contexts.len()
        );
    }
    Ok(contexts)
}

/// Writes what arrives into a folder.
struct Folder {
    into: PathBuf,
    bar: ProgressBar,
    calling: String,
}

/// A file that is being written beside its final name.
struct Partial {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    whole: bool,
}

fn refused(error: &std::io::Error) -> StoreOutcome {
    StoreOutcome::with_comment(Status::OUT_OF_RESOURCES, error.kind().to_string())
}

#[async_trait]
impl Receiver for Folder {
    async fn begin(&mut self, object: &Arriving) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        let Arriving { sop_class, sop_instance, transfer_syntax } = object;
        let path = self.into.join(format!("{sop_instance}.dcm"));
        let partial = path.with_extension("dcm.part");
        let failed = |error: std::io::Error| {
            self.bar.println(format!("{}: {error}", partial.display()));
            refused(&error)
        };
        let mut file = File::create(&partial).await.map_err(failed)?;
        let (class, instance) = (sop_class.as_str(), sop_instance.as_str());
        let head = file_meta::write(class, instance, *transfer_syntax, Some(&self.calling));
        file.write_all(&head).await.map_err(failed)?;
        Ok(Box::new(Partial { file, partial: partial.clone(), path, whole: false }))
    }
}

#[async_trait]
impl ObjectSink for Partial {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.file.write_all(&chunk).await.map_err(|error| refused(&error))
    }

    async fn finish(mut self: Box<Self>) -> StoreOutcome {
        match self.close().await {
            Ok(()) => StoreOutcome::success(),
            Err(error) => refused(&error),
        }
    }
}

impl Partial {
    async fn close(&mut self) -> std::io::Result<()> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        let (from, to): (&Path, &Path) = (&self.partial, &self.path);
        tokio::fs::rename(from, to).await?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.whole {
            // What is incomplete must not stay; that it cannot be removed changes nothing.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_classes_fit_an_association_once_each() {
        let contexts = storage(&[]).unwrap();
        assert!(contexts.len() <= 127, "{}", contexts.len());
        let mut classes: Vec<_> = contexts.iter().map(|one| one.abstract_syntax.clone()).collect();
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), contexts.len());
    }

    #[test]
    fn the_level_follows_from_the_keys() {
        let list = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>();
        let check = |wanted: Wanted, level: &str, of_patient: bool| {
            let (bytes, patient) = wanted.identifier().unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(text.contains(level) && patient == of_patient, "{text}");
        };
        let wanted = |patient: Option<&str>, study: &[&str], series: &[&str], instance: &[&str]| {
            let (study, series, instance) = (list(study), list(series), list(instance));
            Wanted { patient: patient.map(str::to_owned), study, series, instance }
        };
        check(wanted(Some("ID"), &[], &[], &[]), "PATIENT", true);
        check(wanted(None, &["1.2", "1.3"], &[], &[]), "STUDY", false);
        check(wanted(None, &["1.2"], &["1.2.1"], &[]), "SERIES", false);
        check(wanted(None, &["1.2"], &["1.2.1"], &["1.2.1.1"]), "IMAGE", false);
        assert!(wanted(None, &[], &[], &[]).identifier().is_err());
    }
}
