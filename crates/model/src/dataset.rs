//! One iterative scanner for data sets in every transfer syntax (PS3.5 section 7 and annex A).
//!
//! No recursion, every length checked against what remains, nothing allocated before a limit. What
//! the elements mean is not decided here: [`crate::json`] consumes the events.

use std::io;
use std::sync::Arc;

use crate::charset::Knowledge;
use crate::peer::Coercions;

mod inflate;
mod rewrite;
mod scanner;
mod source;
pub mod vr;
mod write;

pub use inflate::InflateSource;
pub use rewrite::{Change, Changes, PixelPlan, RewriteError, Rewriter, Step};
pub use scanner::{Element, Event, Scanner};
pub use source::{ReaderSource, SliceSource, SourceReader};

/// Bytes to scan: a slice, a file, or an inflating reader.
pub trait Source {
    /// Fills `buffer` or fails with `UnexpectedEof`.
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()>;
    /// Moves on by `count` bytes, or fails with `UnexpectedEof` when fewer remain.
    fn skip(&mut self, count: u64) -> io::Result<()>;
    /// Offset of the next byte, from the first byte of this source.
    fn position(&self) -> u64;
    /// How many bytes remain, or `None` when it cannot be known yet (inflating); a source that
    /// answers `None` has at least 16 bytes left.
    fn remaining(&self) -> Option<u64>;
}

impl<S: Source + ?Sized> Source for &mut S {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact(buffer)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        (**self).skip(count)
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn remaining(&self) -> Option<u64> {
        (**self).remaining()
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact(buffer)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        (**self).skip(count)
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn remaining(&self) -> Option<u64> {
        (**self).remaining()
    }
}

/// What a scan may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Deepest nesting of sequences. Each level costs three levels of JSON, and JSON readers stop
    /// at 128 by default; real objects nest less than 20 deep.
    pub max_depth: usize,
    /// Most data elements, nested ones included.
    pub max_elements: usize,
    /// Most bytes of DICOM JSON for one instance.
    pub max_json: usize,
    /// Most fragments of encapsulated pixel data.
    pub max_fragments: usize,
    /// Most bytes that a deflated data set may inflate to.
    pub max_inflated: u64,
    /// What the operator knows of the sender's text (GBK without a label, or with a wrong one, is
    /// common).
    pub text: Knowledge,
    /// What the register of peers knows of the sender beside that.
    pub known: Option<Arc<Coercions>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_depth: 40,
            max_elements: 2_000_000,
            max_json: 64 << 20,
            // The largest whole-slide images have some hundred thousand tiles.
            max_fragments: 1_000_000,
            max_inflated: 8 << 30,
            text: Knowledge::default(),
            known: None,
        }
    }
}

/// Why a data set cannot be walked to its end.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    /// The bytes end inside an element, or a length exceeds what remains.
    #[error("the data set is truncated at byte {at}: {what}")]
    Truncated {
        /// Offset of the element.
        at: u64,
        /// What was being read, without its value.
        what: String,
    },
    /// A structure that no encoding allows.
    #[error("the data set is malformed at byte {at}: {what}")]
    Malformed {
        /// Offset of the element.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// One of [`Limits`] was exceeded.
    #[error("the data set exceeds a limit at byte {at}: {what}")]
    Limit {
        /// Offset of the element.
        at: u64,
        /// Which limit.
        what: String,
    },
    /// The source failed.
    #[error("reading the data set failed")]
    Io(#[from] io::Error),
}
