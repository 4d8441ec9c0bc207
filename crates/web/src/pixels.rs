//! The bounded pool on which pixels are decoded and rendered, and the thumbnails it remembers.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use qianli_imaging::ImagingError;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::error::HttpError;

/// How long a request waits for its turn before the server says that it is busy.
const WAIT: Duration = Duration::from_secs(20);

/// Bytes of thumbnails that are remembered.
const THUMBNAIL_BYTES: u64 = 32 << 20;

/// Why there are no pixels.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PixelError {
    /// The frame cannot be decoded or rendered.
    #[error("{0}")]
    Imaging(#[from] ImagingError),
    /// Too many others wait.
    #[error("the server is busy with other images; try again")]
    Busy,
    /// The task was lost.
    #[error("the image task was lost")]
    Lost,
}

/// PS3.18 section 8.7.2 has 406 for what cannot be given in any form the client takes; a frame
/// that nobody can decode here is such a case.
impl From<PixelError> for HttpError {
    fn from(error: PixelError) -> Self {
        match error {
            PixelError::Imaging(ImagingError::Request(message)) => Self::bad_request(message),
            PixelError::Imaging(cause) => {
                Self::not_acceptable(format!("this image cannot be converted here: {cause}"))
            }
            PixelError::Busy => Self::unavailable(error.to_string()),
            PixelError::Lost => Self::internal(error),
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

/// Runs `imaging`, one piece of work per core at a time.
pub(crate) struct Pixels {
    turns: Arc<Semaphore>,
    thumbnails: Cache<String, Picture, ByBytes>,
}

impl Pixels {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            thumbnails: Cache::with_weighter(4096, THUMBNAIL_BYTES, ByBytes),
        }
    }

    /// Runs CPU-bound work off the async threads.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, ImagingError> + Send + 'static,
    {
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(PixelError::Busy) };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        Ok(done.await.map_err(|_| PixelError::Lost)??)
    }

    /// A thumbnail that was made before. Keys start with a content hash, so none is ever stale.
    pub(crate) fn remembered(&self, key: &str) -> Option<Picture> {
        self.thumbnails.get(key)
    }

    /// Remembers a thumbnail.
    pub(crate) fn remember(&self, key: String, picture: Picture) {
        self.thumbnails.insert(key, picture);
    }
}
