//! The blob store: a local directory, or an object store of a cloud. Immutable objects, unique keys.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    WriteMultipart,
};

use crate::ArchiveError;
use crate::local::{self, LocalDir};
use crate::retrieve::ByteStream;

/// Bytes per part of a multipart upload and per step of a streamed file.
const STEP: usize = 8 << 20;

/// Bytes per read when a local object is streamed.
const LOCAL_READ: u64 = 512 << 10;

/// Parts of one multipart upload that may be under way at once.
const PARTS_AT_ONCE: usize = 2;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsConfig {
    /// `file:///path`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix` or
    /// `memory:` (tests). Credentials and endpoints come from the provider's usual environment
    /// variables (`AWS_…`, `AZURE_…`, `GOOGLE_…`).
    pub url: String,
}

/// Why an object could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The URL of the store cannot be used.
    #[error("cannot use the store {url}: {reason}")]
    Config {
        /// The URL, which holds no secret.
        url: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The directory, disk or service has no room.
    #[error("the store is full")]
    Full,
    /// The object is not there.
    #[error("no object under this key")]
    NotFound,
    /// The object ends before what its row says of it.
    #[error("the object is shorter than its row says")]
    Short,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl BlobError {
    /// For an object that a row names: that it is not there, or not all of it, is no failure of the
    /// store and does not pass.
    pub(crate) fn of_object(self, key: &str) -> ArchiveError {
        match self {
            Self::NotFound => ArchiveError::Lost(format!("{key} is not in the store")),
            Self::Short => ArchiveError::Lost(format!("{key} is shorter than its row says")),
            other => other.into(),
        }
    }
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{NotFound, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Self::Full,
            NotFound => Self::NotFound,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Failed(other.to_string()),
        }
    }
}

#[derive(Clone)]
enum Backend {
    Local(Arc<LocalDir>),
    Remote(Arc<dyn ObjectStore>),
}

/// An object found by [`Blobs::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Milliseconds since 1970.
    pub(crate) modified_ms: i64,
}

/// The blob store. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    backend: Backend,
    prefix: String,
    url: String,
}

impl Blobs {
    /// Opens the store; creates a local directory, checks nothing remote (see [`Blobs::check`]).
    ///
    /// # Errors
    ///
    /// The URL is unknown or incomplete, or the directory cannot be made.
    pub fn open(config: &BlobsConfig) -> Result<Self, BlobError> {
        let url = config.url.clone();
        let wrong = |reason: String| BlobError::Config { url: url.clone(), reason };
        let (scheme, rest) = Self::check_url(&url)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/').to_owned();
        let client = client_options();
        let backend = match scheme {
            "file" => {
                let directory = LocalDir::open(&PathBuf::from(rest))
                    .map_err(|error| wrong(format!("{error}; the directory must be writable")))?;
                let (backend, url) = (Backend::Local(Arc::new(directory)), url.clone());
                return Ok(Self { backend, prefix: String::new(), url });
            }
            "memory" => Backend::Remote(Arc::new(object_store::memory::InMemory::new())),
            "s3" => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(client)
                    .with_retry(retry());
                if std::env::var_os("AWS_REGION").is_none()
                    && std::env::var_os("AWS_DEFAULT_REGION").is_none()
                {
                    builder = builder.with_region("us-east-1");
                }
                Backend::Remote(Arc::new(builder.build().map_err(|e| wrong(e.to_string()))?))
            }
            "az" | "azure" => Backend::Remote(Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket)
                    .with_client_options(client)
                    .with_retry(retry())
                    .build()
                    .map_err(|e| wrong(e.to_string()))?,
            )),
            "gs" | "gcs" => Backend::Remote(Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(client)
                    .with_retry(retry())
                    .build()
                    .map_err(|e| wrong(e.to_string()))?,
            )),
            other => return Err(wrong(format!("unknown scheme {other}; use file, s3, az or gs"))),
        };
        Ok(Self { backend, prefix, url })
    }

    /// Scheme and rest of a store's URL, when it can name a place.
    ///
    /// # Errors
    ///
    /// The scheme is unknown, or the URL names no absolute folder or no bucket.
    pub fn check_url(url: &str) -> Result<(&str, &str), BlobError> {
        let wrong =
            |reason: &str| BlobError::Config { url: url.to_owned(), reason: reason.to_owned() };
        let (scheme, rest) =
            url.split_once("://").or_else(|| url.split_once(':')).ok_or_else(|| {
                wrong("it needs a scheme, such as file:///var/lib/qianli/objects or s3://bucket")
            })?;
        let bucket = rest.split('/').next().unwrap_or_default();
        match scheme {
            "file" if !rest.starts_with('/') => Err(wrong(
                "it names no absolute folder; write file:/// and the path, such as \
                 file:///var/lib/qianli/objects",
            )),
            "s3" | "az" | "azure" | "gs" | "gcs" if bucket.trim().is_empty() => {
                Err(wrong("it names no bucket or container; write one, such as s3://bucket/prefix"))
            }
            "file" | "memory" | "s3" | "az" | "azure" | "gs" | "gcs" => Ok((scheme, rest)),
            other => Err(wrong(&format!("unknown scheme {other}; use file, s3, az or gs"))),
        }
    }

    /// The URL, for people; it holds no secret.
    pub fn describe(&self) -> &str {
        &self.url
    }

    /// The directory of a local store.
    pub fn local_root(&self) -> Option<&std::path::Path> {
        match &self.backend {
            Backend::Local(directory) => Some(directory.root()),
            Backend::Remote(_) => None,
        }
    }

    fn remote_path(&self, key: &str) -> Path {
        if self.prefix.is_empty() {
            Path::from(key)
        } else {
            Path::from(format!("{}/{key}", self.prefix))
        }
    }

    /// Proves that the store takes writes (local) or answers us (remote).
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn check(&self) -> Result<(), BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let directory = Arc::clone(directory);
                blocking(move || Ok(directory.probe()?)).await
            }
            Backend::Remote(store) => {
                let first = store.list(Some(&self.remote_path("0-probe"))).next().await;
                first.transpose().map(drop).map_err(BlobError::from)
            }
        }
    }

    /// Whether no object was ever stored here.
    ///
    /// # Errors
    ///
    /// What the store said.
    pub async fn is_empty(&self) -> Result<bool, BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let directory = Arc::clone(directory);
                blocking(move || Ok(directory.is_empty()?)).await
            }
            Backend::Remote(store) => {
                let root = (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()));
                let first = store.list(root.as_ref()).next().await;
                Ok(first.transpose()?.is_none())
            }
        }
    }

    /// Writes an object from memory; durable when it returns.
    pub(crate) async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let (directory, key) = (Arc::clone(directory), key.to_owned());
                blocking(move || Ok(directory.put(&key, &parts)?)).await
            }
            Backend::Remote(store) => {
                let payload = PutPayload::from_iter(parts);
                store.put(&self.remote_path(key), payload).await?;
                Ok(())
            }
        }
    }

    /// Writes an object from `head` and the rest of a file; durable when it returns. Remote stores
    /// get it in parts, never as a whole in memory.
    pub(crate) async fn put_file(
        &self,
        key: &str,
        head: Bytes,
        mut body: File,
    ) -> Result<(), BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let (directory, key) = (Arc::clone(directory), key.to_owned());
                blocking(move || Ok(directory.put_file(&key, &head, &mut body)?)).await
            }
            Backend::Remote(store) => {
                let upload = store.put_multipart(&self.remote_path(key)).await?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, STEP);
                upload.put(head);
                loop {
                    upload.wait_for_capacity(PARTS_AT_ONCE).await?;
                    let (returned, step) = blocking(move || {
                        let mut step = Vec::with_capacity(STEP);
                        (&mut body).take(STEP as u64).read_to_end(&mut step)?;
                        Ok((body, step))
                    })
                    .await?;
                    body = returned;
                    if step.is_empty() {
                        break;
                    }
                    upload.put(step.into());
                }
                upload.finish().await?;
                Ok(())
            }
        }
    }

    /// Reads ranges, in order. Remote stores may fetch neighbours in one request.
    pub(crate) async fn ranges(
        &self,
        key: &str,
        ranges: Vec<Range<u64>>,
    ) -> Result<Vec<Bytes>, BlobError> {
        match &self.backend {
            Backend::Local(directory) => blocking(local_ranges(directory, key, ranges)).await,
            Backend::Remote(store) => Ok(store.get_ranges(&self.remote_path(key), &ranges).await?),
        }
    }

    /// How ranges are read, in order, by a thread that may block; `None` for remote stores.
    pub(crate) fn local_ranges(
        &self,
        key: &str,
        ranges: Vec<Range<u64>>,
    ) -> Option<impl FnOnce() -> Result<Vec<Bytes>, BlobError> + use<>> {
        match &self.backend {
            Backend::Local(directory) => Some(local_ranges(directory, key, ranges)),
            Backend::Remote(_) => None,
        }
    }

    /// Streams a range of an object in bounded steps.
    pub(crate) async fn stream(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<ByteStream, BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let (directory, key) = (Arc::clone(directory), key.to_owned());
                let length = range.end.saturating_sub(range.start);
                let start = range.start;
                // The first step is read with the open: most objects need no second.
                let (file, first) = blocking(move || {
                    let (mut file, size) = directory.open_at(&key, start)?;
                    if start.checked_add(length).is_none_or(|end| end > size) {
                        return Err(BlobError::Short);
                    }
                    let first = local::read_exactly(&mut file, length.min(LOCAL_READ))?;
                    Ok((file, first))
                })
                .await?;
                let left = length - first.len() as u64;
                let rest = stream::try_unfold((file, left), |(mut file, left)| async move {
                    if left == 0 {
                        return Ok(None);
                    }
                    let (file, step) = blocking(move || {
                        let step = local::read_exactly(&mut file, left.min(LOCAL_READ))?;
                        Ok((file, step))
                    })
                    .await?;
                    let left = left - step.len() as u64;
                    Ok(Some((step, (file, left))))
                });
                Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
            }
            Backend::Remote(store) => {
                let options =
                    GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
                let found = store.get_opts(&self.remote_path(key), options).await?;
                Ok(found.into_stream().map_err(|error| BlobError::from(error).into()).boxed())
            }
        }
    }

    /// Bytes of an object, or `None` when it is not there.
    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        let size = match &self.backend {
            Backend::Local(directory) => {
                let (directory, key) = (Arc::clone(directory), key.to_owned());
                blocking(move || Ok(directory.size(&key)?)).await
            }
            Backend::Remote(store) => {
                let head = store.head(&self.remote_path(key)).await;
                head.map(|meta| meta.size).map_err(BlobError::from)
            }
        };
        match size {
            Ok(size) => Ok(Some(size)),
            Err(BlobError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Removes an object; one that is not there counts as removed.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match &self.backend {
            Backend::Local(directory) => {
                let (directory, key) = (Arc::clone(directory), key.to_owned());
                blocking(move || Ok(directory.delete(&key)?)).await
            }
            Backend::Remote(store) => match store.delete(&self.remote_path(key)).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
                Err(other) => Err(other.into()),
            },
        }
    }

    /// Lists every object, in no particular order.
    pub(crate) fn list(&self) -> BoxStream<'static, Result<Listed, BlobError>> {
        let (store, root): (Arc<dyn ObjectStore>, Option<Path>) = match &self.backend {
            Backend::Local(directory) => {
                match object_store::local::LocalFileSystem::new_with_prefix(directory.root()) {
                    Ok(store) => (Arc::new(store), None),
                    Err(error) => return stream::once(async { Err(error.into()) }).boxed(),
                }
            }
            Backend::Remote(store) => {
                let root = (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()));
                (Arc::clone(store), root)
            }
        };
        let strip =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        store
            .list(root.as_ref())
            .map_ok(move |meta| Listed {
                key: meta.location.as_ref().strip_prefix(&strip).unwrap_or_default().to_owned(),
                size: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            })
            .map_err(BlobError::from)
            .boxed()
    }
}

/// A request whose answer does not come or stops for this long has failed.
const STALLED: Duration = Duration::from_secs(40);

/// After this long no request is tried again.
const RETRY_FOR: Duration = Duration::from_secs(20);

/// Large objects and slow readers outlast the default of 30 s for a whole request.
fn client_options() -> ClientOptions {
    let allow_http =
        std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true" || value == "1");
    ClientOptions::new()
        .with_timeout(Duration::from_secs(3600))
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(STALLED)
        .with_allow_http(allow_http)
}

/// A sender waits for the outcome, and many give up after a minute.
fn retry() -> RetryConfig {
    RetryConfig { retry_timeout: RETRY_FOR, ..RetryConfig::default() }
}

/// Runs file work off the async threads.
fn local_ranges(
    directory: &Arc<LocalDir>,
    key: &str,
    ranges: Vec<Range<u64>>,
) -> impl FnOnce() -> Result<Vec<Bytes>, BlobError> + use<> {
    let (directory, key) = (Arc::clone(directory), key.to_owned());
    move || Ok(directory.ranges(&key, &ranges)?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BlobError::Failed(format!("the file task stopped: {error}"))),
    }
}
