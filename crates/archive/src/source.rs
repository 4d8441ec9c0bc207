//! A stored object as a source for the scanner: read in windows, so that what is skipped is never
//! fetched.

use std::io;

use bytes::{Buf, Bytes};
use qianli_model::dataset::Source;
use tokio::runtime::Handle;

use crate::blobs::Blobs;

/// The first window, which holds most headers (bytes).
const FIRST: u64 = 64 << 10;

/// The largest window (bytes).
const LARGEST: u64 = 1 << 20;

/// Bytes of a blob from `start` to its end. Waits for the store: for blocking threads only.
pub(crate) struct BlobSource {
    blobs: Blobs,
    key: String,
    runtime: Handle,
    start: u64,
    length: u64,
    position: u64,
    /// What was fetched from `position` on.
    window: Bytes,
    next_window: u64,
}

impl BlobSource {
    /// A source over `start..end` of a blob; must be made on the runtime that serves its store.
    pub(crate) fn new(blobs: Blobs, key: String, start: u64, end: u64) -> Self {
        Self {
            blobs,
            key,
            runtime: Handle::current(),
            start,
            length: end.saturating_sub(start),
            position: 0,
            window: Bytes::new(),
            next_window: FIRST,
        }
    }

    fn check(&self, count: u64) -> io::Result<()> {
        if count > self.length.saturating_sub(self.position) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn fetch(&mut self) -> io::Result<()> {
        let from = self.start.saturating_add(self.position);
        let count = self.next_window.min(self.length.saturating_sub(self.position));
        self.next_window = self.next_window.saturating_mul(2).min(LARGEST);
        let range = from..from.saturating_add(count);
        let fetched = self.runtime.block_on(self.blobs.ranges(&self.key, vec![range]));
        let mut fetched = fetched.map_err(io::Error::other)?.into_iter();
        self.window = fetched.next().unwrap_or_default();
        Ok(())
    }
}

impl Source for BlobSource {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.check(buffer.len() as u64)?;
        let mut rest = buffer;
        while !rest.is_empty() {
            if self.window.is_empty() {
                self.fetch()?;
            }
            let count = rest.len().min(self.window.len());
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (now, later) = rest.split_at_mut(count);
            self.window.copy_to_slice(now);
            self.position += count as u64;
            rest = later;
        }
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.check(count)?;
        match usize::try_from(count) {
            Ok(within) if within <= self.window.len() => self.window.advance(within),
            _ => self.window = Bytes::new(),
        }
        self.position += count;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.length.saturating_sub(self.position))
    }
}
