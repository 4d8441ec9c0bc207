//! Where objects come from that are sent: the archive, or files of the command line.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use qianli_archive::{Archive, ArchiveError, ConvertError, can_convert};
use qianli_catalog::types::{Location, Target};
use qianli_model::{Scope, SopClassUid, SopInstanceUid, TransferSyntax};

use super::rate::Rate;

/// Bytes that are read of an object while the one before it is still being sent.
const AHEAD: usize = 1 << 20;

/// Bytes that are sent at once under a limit on bytes per second.
const STEP: usize = 32 << 10;

/// An object that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its class.
    pub sop_class: SopClassUid,
    /// Which one.
    pub sop_instance: SopInstanceUid,
    /// How it is encoded where it lies.
    pub syntax: TransferSyntax,
}

/// Bytes of a data set.
pub type Content = BoxStream<'static, std::io::Result<Bytes>>;

/// The data set of an object, without file meta information.
pub struct Body {
    /// Its bytes.
    pub content: Content,
    /// Which instance it is then.
    pub sop_instance: SopInstanceUid,
}

/// Why an object cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be had in this transfer syntax; in another it may.
    #[error("{0}")]
    Unsuitable(String),
    /// It cannot be read now.
    #[error("{0}")]
    Unreadable(String),
}

/// Objects that can be opened one at a time, by their place in a list.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The list.
    fn items(&self) -> &[Item];

    /// Whether an object in one transfer syntax can be sent in another.
    fn can_send(&self, from: TransferSyntax, to: TransferSyntax) -> bool;

    /// Opens an object in a transfer syntax.
    async fn open(&self, at: usize, syntax: TransferSyntax) -> Result<Body, OpenError>;
}

/// Objects of the archive.
pub(crate) struct Stored {
    archive: Archive,
    scope: Scope,
    locations: Vec<Location>,
    items: Vec<Item>,
}

impl Stored {
    /// Objects that were located for a scope.
    pub(crate) fn new(archive: Archive, scope: Scope, locations: Vec<Location>) -> Self {
        let mut known = Vec::with_capacity(locations.len());
        let mut items = Vec::with_capacity(locations.len());
        for location in locations {
            // What is no UID was never accepted as one.
            let Ok(sop_class) = SopClassUid::parse(&location.sop_class) else { continue };
            items.push(Item {
                sop_class,
                sop_instance: location.instance.clone(),
                syntax: location.transfer_syntax,
            });
            known.push(location);
        }
        Self { archive, scope, locations: known, items }
    }
}

#[async_trait]
impl Source for Stored {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn can_send(&self, from: TransferSyntax, to: TransferSyntax) -> bool {
        can_convert(from, to)
    }

    async fn open(&self, at: usize, syntax: TransferSyntax) -> Result<Body, OpenError> {
        let Some(location) = self.locations.get(at) else {
            return Err(OpenError::Unreadable("it is not in the list".into()));
        };
        // What is read through a grant is asked for each time: a grant may end on the way.
        if self.scope.viewer().is_some() {
            let target = Target {
                study: location.study.clone(),
                series: Some(location.series.clone()),
                instance: Some(location.instance.clone()),
            };
            match self.archive.locate(&self.scope, &target).await {
                Ok(found) if found.is_empty() => {
                    return Err(OpenError::Unreadable("it is shared no longer".into()));
                }
                Ok(_) => {}
                Err(error) => return Err(OpenError::Unreadable(error.to_string())),
            }
        }
        match self.archive.open_data_set(&self.scope, location, syntax).await {
            Ok(opened) => Ok(Body {
                content: opened.content.map(|chunk| chunk.map_err(std::io::Error::other)).boxed(),
                sop_instance: opened.instance,
            }),
            Err(ConvertError::Imaging(error)) => Err(OpenError::Unsuitable(error.to_string())),
            Err(ConvertError::Archive(error @ ArchiveError::Forbidden(_))) => {
                Err(OpenError::Unsuitable(error.to_string()))
            }
            Err(error) => Err(OpenError::Unreadable(error.to_string())),
        }
    }
}

/// An object of which the start has been read.
pub(crate) struct Ready {
    pub(crate) content: Content,
    pub(crate) sop_instance: SopInstanceUid,
}

/// Opens an object and reads some of it, while another is being sent.
pub(crate) async fn prepare(
    source: Arc<dyn Source>,
    at: usize,
    syntax: TransferSyntax,
) -> Result<Ready, OpenError> {
    let Body { mut content, sop_instance } = source.open(at, syntax).await?;
    let mut start = Vec::new();
    let mut bytes = 0;
    while bytes < AHEAD {
        match content.next().await {
            Some(Ok(chunk)) => {
                bytes += chunk.len();
                start.push(Ok(chunk));
            }
            Some(Err(error)) => return Err(OpenError::Unreadable(error.to_string())),
            None => break,
        }
    }
    Ok(Ready { content: stream::iter(start).chain(content).boxed(), sop_instance })
}

/// The same bytes, no faster than a limit allows.
pub(super) fn limited(content: Content, line: &Arc<super::pool::Line>) -> Content {
    if !line.rate.is_limited() {
        return content;
    }
    let line = Arc::clone(line);
    let pieces = content.flat_map(|chunk| match chunk {
        Ok(chunk) => stream::iter(pieces(chunk)).left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    let paced = pieces.then(move |piece| {
        let line = Arc::clone(&line);
        async move {
            if let Ok(piece) = &piece {
                let rate: &Rate = &line.rate;
                rate.take(piece.len()).await;
            }
            piece
        }
    });
    paced.boxed()
}

fn pieces(mut chunk: Bytes) -> Vec<std::io::Result<Bytes>> {
    let mut pieces = Vec::with_capacity(chunk.len().div_ceil(STEP));
    while !chunk.is_empty() {
        pieces.push(Ok(chunk.split_to(chunk.len().min(STEP))));
    }
    pieces
}
