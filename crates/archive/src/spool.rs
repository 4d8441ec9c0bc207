//! Holds an arriving object with bounded memory: small ones in memory, the rest in a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use qianli_model::Refusal;
use qianli_model::dataset::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{ArchiveConfig, ArchiveError};

/// Unit of the memory budget.
const PERMIT: u64 = 64 << 10;

/// Chunks shorter than this are gathered, so that a sender of tiny fragments cannot make the list
/// of chunks larger than the object.
const SHORT_CHUNK: usize = 8 << 10;

/// Bytes gathered before a file is written to. They count towards no budget, since an upload in a
/// file must move on whatever the others do; so they are few: hundreds of uploads come at once.
const FILE_STEP: usize = 64 << 10;

/// Makes spools; owns their common memory budget and folder.
pub(crate) struct Spooler {
    folder: PathBuf,
    in_memory: u64,
    max_object: u64,
    budget: Arc<Semaphore>,
}

impl Spooler {
    /// Creates the spool folder. Its files have no names, so that a crash leaves nothing behind and
    /// several processes may share the folder.
    pub(crate) fn new(config: &ArchiveConfig) -> Result<Self, ArchiveError> {
        let folder = config.spool_dir.clone();
        let fail = |cause| ArchiveError::Spool { path: folder.display().to_string(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fail)?;
        let permits = usize::try_from(config.spool_memory_budget / PERMIT).unwrap_or(usize::MAX);
        Ok(Self {
            folder: config.spool_dir.clone(),
            in_memory: config.spool_in_memory,
            max_object: config.max_object,
            budget: Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS))),
        })
    }

    /// Starts a spool. Dropping it at any moment frees its memory and its file.
    pub(crate) fn start(&self) -> SpoolWriter {
        SpoolWriter {
            folder: self.folder.clone(),
            in_memory: self.in_memory,
            max_object: self.max_object,
            budget: Arc::clone(&self.budget),
            permits: Vec::new(),
            reserved: 0,
            length: 0,
            chunks: Vec::new(),
            tail: BytesMut::new(),
            held: 0,
            file: None,
        }
    }
}

/// Takes the bytes of one arriving object.
pub struct SpoolWriter {
    folder: PathBuf,
    in_memory: u64,
    max_object: u64,
    budget: Arc<Semaphore>,
    permits: Vec<OwnedSemaphorePermit>,
    reserved: u64,
    length: u64,
    chunks: Vec<Bytes>,
    tail: BytesMut,
    /// Bytes in `chunks` and `tail`.
    held: u64,
    file: Option<File>,
}

impl SpoolWriter {
    /// Appends a chunk. Once an object is larger than what may stay in memory, it waits for the
    /// disk, which slows the sender down.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooLarge`] when the object is, [`Refusal::OutOfResources`] when the spool folder is
    /// full.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        let added = chunk.len() as u64;
        self.length = self.length.saturating_add(added);
        if self.length > self.max_object {
            return Err(Refusal::TooLarge(self.max_object));
        }
        self.hold(chunk);
        let stays = self.file.is_none() && self.length <= self.in_memory && self.reserve();
        if stays || (self.file.is_some() && self.held < FILE_STEP as u64) {
            return Ok(());
        }
        self.flush().await
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn hold(&mut self, chunk: Bytes) {
        self.held += chunk.len() as u64;
        if chunk.len() < SHORT_CHUNK {
            self.tail.extend_from_slice(&chunk);
            if self.tail.len() < FILE_STEP {
                return;
            }
            self.chunks.push(self.tail.split().freeze());
        } else {
            if !self.tail.is_empty() {
                self.chunks.push(self.tail.split().freeze());
            }
            self.chunks.push(chunk);
        }
    }

    /// Takes budget for what is held; false when the budget is used up.
    fn reserve(&mut self) -> bool {
        while self.reserved < self.held {
            match Arc::clone(&self.budget).try_acquire_owned() {
                Ok(permit) => self.permits.push(permit),
                Err(_) => return false,
            }
            self.reserved += PERMIT;
        }
        true
    }

    /// Moves what is held into the file.
    async fn flush(&mut self) -> Result<(), Refusal> {
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        let chunks = std::mem::take(&mut self.chunks);
        self.held = 0;
        self.reserved = 0;
        self.permits.clear();
        let file = self.file.take();
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let mut file = match file {
                Some(file) => file,
                None => tempfile::tempfile_in(folder)?,
            };
            for chunk in &chunks {
                file.write_all(chunk)?;
            }
            Ok(file)
        })
        .await;
        match written {
            Ok(Ok(file)) => {
                self.file = Some(file);
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the spool folder cannot be written");
                Err(Refusal::OutOfResources("the spool folder cannot be written".into()))
            }
            Err(_) => Err(Refusal::StorageFailed),
        }
    }

    /// Ends writing.
    pub(crate) async fn finish(mut self) -> Result<Spooled, Refusal> {
        if self.file.is_some() && self.held > 0 {
            self.flush().await?;
        }
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        let content = match self.file.take() {
            Some(file) => Content::File(file),
            None => Content::Memory(std::mem::take(&mut self.chunks)),
        };
        Ok(Spooled { content, length: self.length, _permits: std::mem::take(&mut self.permits) })
    }
}

/// Where a finished spool's bytes are.
pub(crate) enum Content {
    Memory(Vec<Bytes>),
    File(File),
}

/// A complete object, not yet durable.
pub(crate) struct Spooled {
    pub(crate) content: Content,
    pub(crate) length: u64,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Spooled {
    /// Whether reading it may block on a disk.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.content, Content::File(_))
    }

    /// A reader from the first byte.
    pub(crate) fn reader(&self) -> io::Result<SpoolReader<'_>> {
        Ok(match &self.content {
            Content::Memory(chunks) => SpoolReader::Memory(ChunkSource::new(chunks)),
            Content::File(file) => SpoolReader::File(reopen(file, 0)?),
        })
    }

    /// The bytes from `offset` on, as chunks without copying; `None` for a file.
    pub(crate) fn chunks_from(&self, offset: u64) -> Option<Vec<Bytes>> {
        let Content::Memory(chunks) = &self.content else { return None };
        let mut skip = offset;
        let mut rest = Vec::with_capacity(chunks.len() + 1);
        for chunk in chunks {
            let length = chunk.len() as u64;
            if skip >= length {
                skip -= length;
            } else {
                rest.push(chunk.slice(skip as usize..));
                skip = 0;
            }
        }
        Some(rest)
    }
}

/// A handle on a spool file, positioned at `offset`. All handles share one position, so only the
/// newest may be used.
pub(crate) fn reopen(file: &File, offset: u64) -> io::Result<File> {
    let mut handle = file.try_clone()?;
    handle.seek(SeekFrom::Start(offset))?;
    Ok(handle)
}

/// Reads a finished spool.
pub(crate) enum SpoolReader<'a> {
    Memory(ChunkSource<'a>),
    File(File),
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(source) => source.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

/// A scanner's source over a list of chunks.
pub(crate) struct ChunkSource<'a> {
    chunks: &'a [Bytes],
    /// Index of the current chunk.
    index: usize,
    /// Offset in the current chunk.
    offset: usize,
    position: u64,
    remaining: u64,
}

impl<'a> ChunkSource<'a> {
    fn new(chunks: &'a [Bytes]) -> Self {
        let remaining = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, index: 0, offset: 0, position: 0, remaining }
    }

    /// The unread rest of the current chunk.
    fn current(&self) -> &'a [u8] {
        self.chunks.get(self.index).and_then(|chunk| chunk.get(self.offset..)).unwrap_or(&[])
    }

    fn advance(&mut self, count: usize) {
        self.offset += count;
        self.position += count as u64;
        self.remaining -= count as u64;
        while self.chunks.get(self.index).is_some_and(|chunk| self.offset >= chunk.len()) {
            self.offset = 0;
            self.index += 1;
        }
    }
}

impl Read for ChunkSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current().is_empty() {
            self.advance(0);
        }
        let current = self.current();
        let count = current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&current[..count]);
        self.advance(count);
        Ok(count)
    }
}

impl Source for ChunkSource<'_> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if (buffer.len() as u64) > self.remaining {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Read::read_exact(self, buffer)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        if count > self.remaining {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut left = count;
        while left > 0 {
            let here = (self.current().len() as u64).min(left);
            self.advance(here as usize);
            left -= here;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.remaining)
    }
}
