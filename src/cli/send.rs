//! `qianli send`: files to a DIMSE peer by C-STORE, each in its own transfer syntax, over several
//! associations at a time. With a journal, what was acknowledged is not sent again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::StreamExt;
use qianli_archive::zip::looks_like_dicom;
use qianli_model::dataset::{Limits, ReaderSource, Source as _};
use qianli_model::{InstanceHeader, TransferSyntax, file_meta};
use tokio::io::AsyncSeekExt;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::peer::Callee;
use super::say::say;
use crate::config::Config;
use crate::import::MEDIA_DIRECTORY;
use crate::outbound::{Body, Fate, Item, OpenError, Outbound, Patience, Sending, Source};

/// Bytes that are read of a file at once.
const READ: usize = 512 << 10;

/// Failures that are named; all are counted.
const LISTED: usize = 1000;

/// Arguments of `qianli send`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    callee: Callee,
    /// Files and folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Associations at a time; more than the peer takes are not insisted on.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=32))]
    associations: Option<u32>,
    /// How often a peer that does not answer, or has no room, is tried before it is given up.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
    /// File that remembers what was acknowledged: with the same file again, only the rest is sent.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// A file that can be sent.
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    data_set_offset: u64,
    pub(super) item: Item,
}

/// What was found under paths.
#[derive(Default)]
pub(super) struct FoundFiles {
    pub(super) files: Vec<FoundFile>,
    pub(super) not_dicom: u64,
    /// DICOM, but unreadable: each with what is wrong.
    pub(super) unreadable: Vec<String>,
}

/// Files as they lie.
struct Files {
    files: Vec<(PathBuf, u64)>,
    items: Vec<Item>,
}

#[async_trait]
impl Source for Files {
    fn items(&self) -> &[Item] {
        &self.items
    }

    /// Files go as they are: whoever wants them in another transfer syntax imports them.
    fn can_send(&self, from: TransferSyntax, to: TransferSyntax) -> bool {
        from == to
    }

    async fn open(&self, at: usize, _syntax: TransferSyntax) -> Result<Body, OpenError> {
        let (Some((path, offset)), Some(item)) = (self.files.get(at), self.items.get(at)) else {
            return Err(OpenError::Unreadable("it is not in the list".into()));
        };
        let unreadable = |error: std::io::Error| OpenError::Unreadable(error.to_string());
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        file.seek(std::io::SeekFrom::Start(*offset)).await.map_err(unreadable)?;
        let content = ReaderStream::with_capacity(file, READ).boxed();
        Ok(Body { content, sop_instance: item.sop_instance.clone() })
    }
}

/// Sends; exit code 1 when something was not stored.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let reached = arguments.callee.reach(&config).await?;
    let paths = arguments.paths.clone();
    let FoundFiles { files, not_dicom, unreadable: mut failures } =
        tokio::task::spawn_blocking(move || collect(&paths)).await??;
    let journal = arguments.journal.as_deref().map(Journal::open).transpose()?;
    let all = files.len();
    let known = |file: &FoundFile| {
        let uid = file.item.sop_instance.as_str();
        journal.as_ref().is_some_and(|journal| journal.known.contains(uid))
    };
    let files: Vec<FoundFile> = files.into_iter().filter(|file| !known(file)).collect();
    let before = all - files.len();
    let names: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let bar = super::import::bar();
    bar.set_length(files.len() as u64);

    let mut to = reached.to.clone();
    if let Some(associations) = arguments.associations {
        // Whoever sits here knows the peer better than the default for unregistered ones.
        to.associations = associations;
    }
    let mut sending = Sending::new(to, "send");
    sending.patience =
        Patience { objects: arguments.tries, calls: arguments.tries, ..Patience::default() };
    let (fates, mut told) = mpsc::unbounded_channel();
    sending.fates = Some(fates);
    let (places, items) =
        files.into_iter().map(|file| ((file.path, file.data_set_offset), file.item)).unzip();
    let source = Arc::new(Files { files: places, items });
    let outbound = Outbound::new(reached.caller.clone());
    let listening = {
        let (source, bar) = (Arc::clone(&source), bar.clone());
        tokio::spawn(async move {
            let mut journal = journal;
            while let Some((at, fate)) = told.recv().await {
                bar.inc(1);
                let item = source.items.get(at).filter(|_| fate.is_there());
                if let (Some(journal), Some(item)) = (&mut journal, item) {
                    journal.add(item.sop_instance.as_str())?;
                }
            }
            anyhow::Ok(())
        })
    };
    let delivered = outbound.deliver(source, sending).await;
    outbound.close().await;
    listening.await??;
    bar.finish_and_clear();

    let mut sent = 0_u64;
    for (one, path) in delivered.iter().zip(&names) {
        match &one.fate {
            Fate::Sent | Fate::Warned(..) => sent += 1,
            Fate::Failed(failure) => {
                failures.push(format!("{}: {}", path.display(), failure.words));
            }
            Fate::Cancelled => failures.push(format!("{}: not sent", path.display())),
        }
    }
    say!("sent      {sent:>8}");
    if before > 0 {
        say!("before    {before:>8}");
    }
    say!("not DICOM {not_dicom:>8}");
    say!("failed    {:>8}", failures.len());
    for failure in failures.iter().take(LISTED) {
        say!("  {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was acknowledged, one SOP Instance UID a line.
struct Journal {
    file: File,
    known: HashSet<String>,
}

impl Journal {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let open = OpenOptions::new().create(true).read(true).append(true).open(path);
        let mut file = open.with_context(|| format!("open the journal {shown}"))?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("read the journal {shown}"))?;
        // The last line of a run that was killed may be half a UID.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").with_context(|| format!("write the journal {shown}"))?;
        }
        Ok(Self { file, known: whole.lines().map(str::to_owned).collect() })
    }

    fn add(&mut self, uid: &str) -> anyhow::Result<()> {
        self.file.write_all(format!("{uid}\n").as_bytes()).context("write the journal")
    }
}

/// Finds what can be sent.
pub(super) fn collect(paths: &[PathBuf]) -> anyhow::Result<FoundFiles> {
    let mut found = FoundFiles::default();
    for path in paths {
        std::fs::metadata(path).with_context(|| format!("send {}", path.display()))?;
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry.context("walk the folders")?;
            if !entry.file_type().is_file() {
                continue;
            }
            match read(entry.path()) {
                Ok(Some(file)) => found.files.push(file),
                Ok(None) => found.not_dicom += 1,
                Err(error) => {
                    found.unreadable.push(format!("{}: {error:#}", entry.path().display()));
                }
            }
        }
    }
    Ok(found)
}

/// Reads what a file is; `None` when it is no DICOM instance.
fn read(path: &Path) -> anyhow::Result<Option<FoundFile>> {
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
    Ok(Some(FoundFile {
        path: path.to_path_buf(),
        data_set_offset: meta.data_set_offset,
        item: Item {
            sop_class: header.sop_class_uid,
            sop_instance: header.sop_instance_uid,
            syntax,
        },
    }))
}
