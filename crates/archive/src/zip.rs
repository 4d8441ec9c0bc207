//! Files inside zip archives, for import and for upload: one reader, with limits against archives
//! that are small and unpack to nothing but size.

use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use qianli_model::Refusal;
use tokio::sync::mpsc;

use crate::SpoolWriter;

/// Bytes handed to the spool at once.
const STEP: usize = 1 << 20;

/// What a zip archive may cost.
#[derive(Debug, Clone, Copy)]
pub struct ZipLimits {
    /// Most files.
    pub max_entries: usize,
    /// Most bytes that all files together may unpack to. An archive of zeros unpacks to a thousand
    /// times its size; one whose entries overlap to more.
    pub max_unpacked: u64,
}

impl ZipLimits {
    /// The limits for an archive of `length` bytes: images shrink to a tenth, masks to a hundredth.
    pub fn for_length(length: u64) -> Self {
        Self { max_entries: 1_000_000, max_unpacked: length.saturating_mul(200).max(1 << 30) }
    }
}

/// A zip archive whose directory was read. Cheap to clone; clones share the directory and the
/// limits.
#[derive(Clone)]
pub struct ZipFiles<R> {
    archive: zip::ZipArchive<R>,
    left: Arc<AtomicU64>,
}

/// A file inside a zip archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipEntry {
    /// Which one.
    pub index: usize,
    /// Its name as the archive has it. Only to be shown: nothing is ever written under it.
    pub name: String,
}

impl<R: Read + Seek + Clone + Send + 'static> ZipFiles<R> {
    /// Reads the directory of an archive. Blocks.
    ///
    /// # Errors
    ///
    /// In words for a person: it is no zip archive, or one beyond the limits.
    pub fn open(reader: R, limits: ZipLimits) -> Result<Self, String> {
        let archive = zip::ZipArchive::new(reader)
            .map_err(|error| format!("the zip archive cannot be read: {error}"))?;
        if archive.len() > limits.max_entries {
            return Err(format!("the zip archive holds more than {} files", limits.max_entries));
        }
        Ok(Self { archive, left: Arc::new(AtomicU64::new(limits.max_unpacked)) })
    }

    /// Its files, in any depth of folders. Blocks.
    ///
    /// # Errors
    ///
    /// An entry cannot be read.
    pub fn entries(&mut self) -> Result<Vec<ZipEntry>, String> {
        let mut entries = Vec::new();
        for index in 0..self.archive.len() {
            match self.archive.by_index_raw(index) {
                Ok(entry) if entry.is_file() => {
                    let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
                    entries.push(ZipEntry { index, name });
                }
                Ok(_) => {}
                Err(error) => return Err(format!("entry {index} of the zip archive: {error}")),
            }
        }
        Ok(entries)
    }

    /// Unpacks a file into a spool; false when it does not look like DICOM, which is seen from its
    /// first bytes.
    ///
    /// # Errors
    ///
    /// It cannot be unpacked, or the archive unpacks to more than is taken.
    pub async fn unpack(&self, index: usize, spool: &mut SpoolWriter) -> Result<bool, Refusal> {
        let mut archive = self.archive.clone();
        let left = Arc::clone(&self.left);
        let open = move |sender: &mpsc::Sender<io::Result<Bytes>>| {
            let entry = archive.by_index(index).map_err(io::Error::other)?;
            pump(Metered { reader: entry, left }, sender)
        };
        spool_dicom(open, spool).await
    }
}

/// Reads a file into a spool; false when it does not look like DICOM, which is seen from its first
/// bytes.
///
/// # Errors
///
/// It cannot be read, or the spool does not take it.
pub async fn spool_file(
    path: std::path::PathBuf,
    spool: &mut SpoolWriter,
) -> Result<bool, Refusal> {
    spool_dicom(move |sender| pump(std::fs::File::open(path)?, sender), spool).await
}

/// Runs `read` on a blocking thread and writes what it sends.
async fn spool_dicom(
    read: impl FnOnce(&mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> + Send + 'static,
    spool: &mut SpoolWriter,
) -> Result<bool, Refusal> {
    let unreadable =
        |error: &io::Error| Refusal::CannotUnderstand(format!("the file cannot be read: {error}"));
    let (sender, mut steps) = mpsc::channel::<io::Result<Bytes>>(2);
    let reader = tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&sender) {
            // The receiver may be gone; then nobody wants the error.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let mut first = true;
    while let Some(step) = steps.recv().await {
        let step = step.map_err(|error| unreadable(&error))?;
        if first && !looks_like_dicom(&step) {
            return Ok(false);
        }
        first = false;
        spool.write(step).await?;
    }
    reader.await.map_err(|_| unreadable(&io::Error::other("it failed in an unexpected way")))?;
    Ok(!first)
}

fn pump(mut reader: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    loop {
        let mut step = Vec::new();
        (&mut reader).take(STEP as u64).read_to_end(&mut step)?;
        if step.is_empty() || sender.blocking_send(Ok(step.into())).is_err() {
            return Ok(());
        }
    }
}

/// Stops when the archive has unpacked to more than it may.
struct Metered<R> {
    reader: R,
    left: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(count as u64)
        });
        match taken {
            Ok(_) => Ok(count),
            Err(_) => Err(io::Error::other("the zip archive unpacks to far more than it holds")),
        }
    }
}

/// Whether a file's first bytes may be DICOM: the `DICM` prefix, or a data set without a preamble
/// that starts in group 0002 or 0008. Everything else on a patient's disc is passed over in silence.
pub fn looks_like_dicom(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
        || matches!(start.get(..2), Some([0x02 | 0x08, 0x00] | [0x00, 0x08]))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::spool::Spooler;
    use crate::{ArchiveConfig, Held};

    fn packed(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.add_directory("folder", zip::write::SimpleFileOptions::default()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn dicom(length: usize) -> Vec<u8> {
        let mut file = vec![0; length];
        file[128..132].copy_from_slice(b"DICM");
        file
    }

    async fn held(spooler: &Spooler, bytes: Vec<u8>) -> Held {
        let mut spool = spooler.start();
        for chunk in bytes.chunks(1000) {
            spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        spool.keep().await.unwrap()
    }

    #[tokio::test]
    async fn files_come_out_and_bombs_do_not_go_off() {
        let folder = tempfile::tempdir().unwrap();
        for in_memory in [1 << 20, 0] {
            let config = ArchiveConfig {
                spool_in_memory: in_memory,
                ..ArchiveConfig::new(folder.path().to_owned())
            };
            let spooler = Spooler::new(&config).unwrap();
            let files = [
                ("a/b/c.dcm", dicom(500)),
                ("text", b"no".to_vec()),
                ("d", dicom(3_000_000)),
                ("e", dicom(400)),
            ];
            let archive = held(&spooler, packed(&files)).await;
            let limits = ZipLimits { max_entries: 10, max_unpacked: 1_000_000 };
            let mut zip = ZipFiles::open(archive.reader(), limits).unwrap();
            let names: Vec<_> = zip.entries().unwrap().into_iter().map(|e| e.name).collect();
            assert_eq!(names, ["a/b/c.dcm", "text", "d", "e"]);
            let mut spool = spooler.start();
            assert_eq!(zip.unpack(0, &mut spool).await, Ok(true));
            assert_eq!(spool.length(), 500);
            assert_eq!(zip.unpack(1, &mut spooler.start()).await, Ok(false));
            let bomb = zip.unpack(2, &mut spooler.start()).await.unwrap_err();
            assert!(bomb.to_string().contains("unpacks to far more"), "{bomb}");
            let few = ZipLimits { max_entries: 3, ..limits };
            assert!(ZipFiles::open(archive.reader(), few).is_err());
        }
        assert!(ZipFiles::open(Cursor::new(Vec::new()), ZipLimits::for_length(0)).is_err());
    }
}
