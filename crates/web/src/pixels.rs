//! The bounded pool on which pixels are decoded and rendered, and the thumbnails it remembers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use qianli_archive::{Busy, ConvertError, Memory, Workers};
use qianli_imaging::{ImagingError, MAX_FRAME_BYTES};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::HttpError;

/// How long a request waits for its turn before the server says that it is busy.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Bytes of thumbnails that are remembered.
const THUMBNAIL_BYTES: u64 = 32 << 20;

/// Bytes of thumbnails that answered a request lately.
const RECENT_BYTES: u64 = 8 << 20;

/// How long an answer stands without asking whether its study has changed: as long as what the
/// archive remembers of an instance.
const FRESH: Duration = Duration::from_secs(5);

/// Why there are no pixels.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PixelError {
    /// The frame cannot be decoded or rendered.
    #[error("{0}")]
    Imaging(#[from] ImagingError),
    /// Too many others wait.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// PS3.18 section 8.7.2 has 406 for what cannot be given in any form the client takes; a frame
/// that nobody can decode here is such a case. 413 is for what is too large, however often it is
/// asked for; 503, with the time to try again, for what others are before.
impl From<PixelError> for HttpError {
    fn from(error: PixelError) -> Self {
        match error {
            PixelError::Imaging(ImagingError::Request(message)) => Self::bad_request(message),
            PixelError::Imaging(ImagingError::TooLarge) => Self::too_large(format!(
                "decoded, this image takes more than {MAX_FRAME_BYTES} bytes, which is the limit here; \
                 it can be retrieved as it is stored (transfer-syntax=*)"
            )),
            PixelError::Imaging(cause) => {
                Self::not_acceptable(format!("this image cannot be converted here: {cause}"))
            }
            PixelError::Busy(Busy::Others) => Self::unavailable(error.to_string()),
            PixelError::Busy(Busy::TooLarge { .. }) => Self::too_large(format!(
                "{error} (pixel_memory, which the operator can raise). The image can be retrieved as \
                 it is stored (transfer-syntax=*)"
            )),
        }
    }
}

impl From<ConvertError> for HttpError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Archive(error) => error.into(),
            ConvertError::Imaging(cause) => PixelError::Imaging(cause).into(),
            ConvertError::Busy(busy) => PixelError::Busy(busy).into(),
        }
    }
}

/// A picture that was made before.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: &'static str,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Picture> for ByBytes {
    fn weight(&self, key: &String, picture: &Picture) -> u64 {
        (key.len() + picture.bytes.len() + 64) as u64
    }
}

impl Weighter<String, (Instant, String, Picture)> for ByBytes {
    fn weight(&self, key: &String, (_, tag, picture): &(Instant, String, Picture)) -> u64 {
        (key.len() + tag.len() + picture.bytes.len() + 96) as u64
    }
}

/// Runs `imaging` on the pool that all faces of the node share.
pub(crate) struct Pixels {
    workers: Workers,
    thumbnails: Cache<String, Picture, ByBytes>,
    recent: Cache<String, (Instant, String, Picture), ByBytes>,
}

impl Pixels {
    pub(crate) fn new(workers: Workers) -> Self {
        Self {
            workers,
            thumbnails: Cache::with_weighter(4096, THUMBNAIL_BYTES, ByBytes),
            recent: Cache::with_weighter(1024, RECENT_BYTES, ByBytes),
        }
    }

    /// Runs CPU-bound work off the async threads.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, ImagingError> + Send + 'static,
    {
        self.run_within(0, work).await
    }

    /// Runs work that takes about so many bytes of memory.
    pub(crate) async fn run_within<T, F>(&self, bytes: u64, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, ImagingError> + Send + 'static,
    {
        Ok(self.workers.run(WAIT, bytes, work).await??)
    }

    /// Runs work for which memory was set aside.
    pub(crate) async fn run_with<T, F>(&self, memory: &Memory, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, ImagingError> + Send + 'static,
    {
        Ok(self.workers.run_with(WAIT, memory, work).await??)
    }

    /// Sets memory aside for work that is to come, before anything is read for it.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Memory, PixelError> {
        Ok(self.workers.reserve(WAIT, bytes).await?)
    }

    /// A thumbnail that was made before. Keys start with a content hash, so none is ever stale.
    pub(crate) fn remembered(&self, key: &str) -> Option<Picture> {
        self.thumbnails.get(key)
    }

    /// The thumbnail that answered the same request a moment ago, and its entity tag.
    pub(crate) fn recent(&self, key: &str) -> Option<(String, Picture)> {
        let (at, tag, picture) = self.recent.get(key)?;
        (at.elapsed() < FRESH).then_some((tag, picture))
    }

    /// Remembers what answered a request.
    pub(crate) fn remember_recent(&self, key: String, tag: String, picture: Picture) {
        self.recent.insert(key, (Instant::now(), tag, picture));
    }

    /// Remembers a thumbnail.
    pub(crate) fn remember(&self, key: String, picture: Picture) {
        self.thumbnails.insert(key, picture);
    }
}
