//! Bytes that arrived complete and wait to be used: bulk values of a store, or a zip archive.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use qianli_model::Refusal;

use crate::spool::{Content, SpoolWriter, Spooled};

/// Bytes copied at once.
const STEP: u64 = 1 << 20;

/// What a [`SpoolWriter`] took in, in memory or in a nameless file. Cheap to clone; the last clone
/// that goes frees it.
#[derive(Clone)]
pub struct Held(Arc<Spooled>);

impl SpoolWriter {
    /// Ends writing and keeps the bytes.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfResources`] when the spool folder is full.
    pub async fn keep(self) -> Result<Held, Refusal> {
        Ok(Held(Arc::new(self.finish().await?)))
    }
}

impl Held {
    /// How many bytes.
    pub fn length(&self) -> u64 {
        self.0.length
    }

    /// A reader from the first byte, with a position of its own. It may block on a disk.
    pub fn reader(&self) -> HeldReader {
        HeldReader { held: Arc::clone(&self.0), offset: 0 }
    }

    /// The bytes of a range, as far as they are there.
    ///
    /// # Errors
    ///
    /// [`Refusal::StorageFailed`] when the spool cannot be read back.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        let end = range.end.min(self.length());
        let start = range.start.min(end);
        let length = usize::try_from(end - start).map_err(|_| Refusal::StorageFailed)?;
        let mut reader = HeldReader { held: Arc::clone(&self.0), offset: start };
        let mut work = move || -> io::Result<Bytes> {
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes)?;
            Ok(bytes.into())
        };
        let read = if self.0.is_file() {
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|_| Err(io::Error::other("lost")))
        } else {
            work()
        };
        read.map_err(|error| {
            tracing::error!(%error, "a spool could not be read back");
            Refusal::StorageFailed
        })
    }

    /// Copies a range into a spool, step by step.
    ///
    /// # Errors
    ///
    /// As [`SpoolWriter::write`].
    pub async fn copy(&self, range: Range<u64>, into: &mut SpoolWriter) -> Result<(), Refusal> {
        let end = range.end.min(self.length());
        let mut at = range.start;
        while at < end {
            let step = self.read(at..end.min(at.saturating_add(STEP))).await?;
            if step.is_empty() {
                break;
            }
            at = at.saturating_add(step.len() as u64);
            into.write(step).await?;
        }
        Ok(())
    }
}

/// Reads held bytes; clones read on their own.
#[derive(Clone)]
pub struct HeldReader {
    held: Arc<Spooled>,
    offset: u64,
}

impl Read for HeldReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.held.content {
            Content::File(file) => file.read_at(buffer, self.offset)?,
            Content::Memory(chunks) => {
                let mut skip = self.offset;
                let mut count = 0;
                for chunk in chunks {
                    let length = chunk.len() as u64;
                    if skip >= length {
                        skip -= length;
                        continue;
                    }
                    // Less than the chunk's length, which is in memory.
                    let rest = chunk.get(skip as usize..).unwrap_or_default();
                    count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    break;
                }
                count
            }
        };
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for HeldReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.held.length.checked_add_signed(by),
        };
        self.offset = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}
