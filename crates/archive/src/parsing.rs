//! How many large headers are read at once. What a header takes cannot be told from the size of its
//! object, so each is first read within limits that nearly all keep to; the others are read again when
//! there is room for what they may take.

use std::sync::Arc;

use qianli_model::dataset::Limits;
use qianli_model::{FrameTable, InstanceHeader, Refusal};
use tokio::sync::Semaphore;

use crate::Memory;

/// Memory for headers that are not small, all together (MiB).
const BUDGET: u32 = 256;

/// How large a header is taken to be while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderSize {
    /// Nearly every one. None waits.
    Small,
    /// Of many frames or long sequences.
    Medium,
    /// Whatever the configured limits allow: one at a time.
    Large,
}

impl HeaderSize {
    /// From small to large.
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The configured limits, narrowed to this size.
    pub(crate) fn limits(self, configured: &Limits) -> Limits {
        let (json, elements, fragments) = match self {
            Self::Small => (256 << 10, 20_000, 4_000),
            Self::Medium => (4 << 20, 200_000, 200_000),
            Self::Large => return configured.clone(),
        };
        Limits {
            max_json: configured.max_json.min(json),
            max_elements: configured.max_elements.min(elements),
            max_fragments: configured.max_fragments.min(fragments),
            ..configured.clone()
        }
    }

    /// About what reading one may take (MiB): the JSON text while it grows, the value and its text,
    /// the fragments and the frames made of them.
    fn cost(self) -> u32 {
        match self {
            Self::Small => 0,
            Self::Medium => 32,
            Self::Large => BUDGET,
        }
    }
}

/// The room for headers that are being read or on their way into the catalog.
#[derive(Debug)]
pub(crate) struct Parsing(Arc<Semaphore>);

impl Parsing {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET as usize)))
    }

    /// Waits for room, in the order of arrival; small headers need none.
    pub(crate) async fn reserve(&self, size: HeaderSize) -> Result<Option<Memory>, Refusal> {
        if size.cost() == 0 {
            return Ok(None);
        }
        let permit = Arc::clone(&self.0).acquire_many_owned(size.cost()).await;
        permit.map(|permit| Some(Memory::of(permit))).map_err(|_| Refusal::StorageFailed)
    }
}

/// About what a header takes until it is recorded (bytes): as it is, packed, and as a row.
pub(crate) fn weight(header: &InstanceHeader) -> u64 {
    let ranges = match &header.frames {
        FrameTable::Encapsulated { frames } => {
            frames.len() * 24 + frames.iter().map(Vec::len).sum::<usize>() * 16
        }
        _ => 0,
    };
    let texts = header.json.capacity()
        + header.study_json.len()
        + header.series_json.len()
        + header.instance_json.len();
    ((texts + header.bulk.len() * 128 + ranges) * 3) as u64
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn small_headers_wait_for_nobody() {
        let parsing = Parsing::new();
        let large = parsing.reserve(HeaderSize::Large).await.ok().flatten();
        assert!(large.is_some());
        assert!(parsing.reserve(HeaderSize::Small).await.is_ok_and(|memory| memory.is_none()));
        let mut medium = Box::pin(parsing.reserve(HeaderSize::Medium));
        let mut context = Context::from_waker(Waker::noop());
        assert!(medium.as_mut().poll(&mut context).is_pending());
        drop(large);
        assert!(medium.await.is_ok_and(|memory| memory.is_some()));
    }
}
