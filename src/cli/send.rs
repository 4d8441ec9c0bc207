//! `qianli send`: files to a DIMSE peer by C-STORE, each in its own transfer syntax.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use qianli_archive::zip::looks_like_dicom;
use qianli_dimse::{ProposedContext, StatusClass};
use qianli_model::dataset::{Limits, ReaderSource, Source};
use qianli_model::{InstanceHeader, SopClassUid, SopInstanceUid, TransferSyntax, file_meta};
use tokio::io::AsyncSeekExt;

use super::peer::{Peer, connect};
use super::say::say;
use crate::config::Config;
use crate::import::MEDIA_DIRECTORY;
use crate::tls::client::ClientTls;

/// Most presentation contexts of one association (PS3.8 9.3.2.2: odd numbers up to 255).
const MAX_CONTEXTS: usize = 128;

/// Arguments of `qianli send`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// TITLE@host:port
    peer: Peer,
    /// Files and folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    tls: ClientTls,
}

/// A file that can be sent.
struct Instance {
    path: PathBuf,
    data_set_offset: u64,
    sop_class: SopClassUid,
    sop_instance: SopInstanceUid,
    syntax: TransferSyntax,
}

/// Sends; exit code 1 when something was not stored.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let paths = arguments.paths.clone();
    let (instances, skipped, mut failures) =
        tokio::task::spawn_blocking(move || collect(&paths)).await??;
    let bar = super::import::bar();
    bar.set_length(instances.len() as u64);
    let mut sent = 0_u64;
    for group in associations(instances) {
        sent += send_group(&config, &arguments, group, &bar, &mut failures).await?;
    }
    bar.finish_and_clear();
    say!("sent      {sent:>8}");
    say!("not DICOM {skipped:>8}");
    say!("failed    {:>8}", failures.len());
    for failure in &failures {
        say!("  {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Finds what can be sent; counts what is not DICOM, and names what is but cannot be read.
fn collect(paths: &[PathBuf]) -> anyhow::Result<(Vec<Instance>, u64, Vec<String>)> {
    let mut found = Vec::new();
    let mut skipped = 0;
    let mut unreadable = Vec::new();
    for path in paths {
        std::fs::metadata(path).with_context(|| format!("send {}", path.display()))?;
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry.context("walk the folders")?;
            if !entry.file_type().is_file() {
                continue;
            }
            match read(entry.path()) {
                Ok(Some(instance)) => found.push(instance),
                Ok(None) => skipped += 1,
                Err(error) => unreadable.push(format!("{}: {error:#}", entry.path().display())),
            }
        }
    }
    Ok((found, skipped, unreadable))
}

/// Reads what a file is; `None` when it is no DICOM instance.
fn read(path: &Path) -> anyhow::Result<Option<Instance>> {
    let mut start = Vec::with_capacity(132);
    File::open(path)?.take(132).read_to_end(&mut start)?;
    if !looks_like_dicom(&start) {
        return Ok(None);
    }
    let mut source = ReaderSource::new(File::open(path)?)?;
    let meta = file_meta::read(&mut source)?;
    if meta.media_storage_sop_class.as_deref() == Some(MEDIA_DIRECTORY) {
        return Ok(None);
    }
    let Some(syntax) = meta.transfer_syntax else {
        bail!("unknown transfer syntax {}", meta.transfer_syntax_uid);
    };
    let mut source = ReaderSource::new(File::open(path)?)?;
    source.skip(meta.data_set_offset)?;
    let header = InstanceHeader::read(&mut source, syntax, &Limits::default())?;
    Ok(Some(Instance {
        path: path.to_path_buf(),
        data_set_offset: meta.data_set_offset,
        sop_class: header.sop_class_uid,
        sop_instance: header.sop_instance_uid,
        syntax,
    }))
}

/// Splits instances so that one association never needs more contexts than there are numbers.
fn associations(
    instances: Vec<Instance>,
) -> Vec<BTreeMap<(SopClassUid, &'static str), Vec<Instance>>> {
    let mut groups: Vec<BTreeMap<(SopClassUid, &'static str), Vec<Instance>>> =
        vec![BTreeMap::new()];
    for instance in instances {
        let key = (instance.sop_class.clone(), instance.syntax.uid());
        let fits = |group: &BTreeMap<_, _>| group.contains_key(&key) || group.len() < MAX_CONTEXTS;
        let index = groups.iter().position(fits).unwrap_or_else(|| {
            groups.push(BTreeMap::new());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(index) {
            group.entry(key).or_default().push(instance);
        }
    }
    groups
}

async fn send_group(
    config: &Config,
    arguments: &Arguments,
    group: BTreeMap<(SopClassUid, &'static str), Vec<Instance>>,
    bar: &ProgressBar,
    failures: &mut Vec<String>,
) -> anyhow::Result<u64> {
    let contexts: Vec<ProposedContext> = group
        .values()
        .filter_map(|instances| instances.first())
        .map(|first| ProposedContext::new(first.sop_class.to_string(), [first.syntax]))
        .collect();
    if contexts.is_empty() {
        return Ok(0);
    }
    let mut association = connect(config, &arguments.peer, &arguments.tls, &contexts).await?;
    let mut sent = 0;
    for instance in group.into_values().flatten() {
        bar.inc(1);
        let name = instance.path.display().to_string();
        let accepted = association.context(instance.sop_class.as_str(), instance.syntax);
        let Some(context) = accepted.map(|accepted| accepted.id) else {
            failures.push(format!(
                "{name}: the peer does not take {} in {}",
                instance.sop_class,
                instance.syntax.name()
            ));
            continue;
        };
        let mut file = tokio::fs::File::open(&instance.path).await?;
        file.seek(std::io::SeekFrom::Start(instance.data_set_offset)).await?;
        let response = association
            .store(context, &instance.sop_class, &instance.sop_instance, None, file)
            .await
            .with_context(|| format!("send {name}"))?;
        match response.status.class() {
            StatusClass::Success | StatusClass::Warning => sent += 1,
            _ => failures.push(format!(
                "{name}: {}{}",
                response.status,
                response.comment.map(|comment| format!(" ({comment})")).unwrap_or_default()
            )),
        }
    }
    association.release().await.context("release the association")?;
    Ok(sent)
}
