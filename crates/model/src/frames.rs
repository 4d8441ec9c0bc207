//! Where each frame of an instance lies inside its stored object.
//!
//! Built once at ingest, kept in the catalog, used by every frame read: a frame is one (or, for a
//! fragmented frame, a few adjacent) byte ranges, whatever the size of the object.

use serde::{Deserialize, Serialize};

pub(crate) mod locate;

/// A byte range. Offsets count from the first byte of the *data set* (after the file meta
/// information), as encoded on the wire; for the deflated syntaxes, of the inflated data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Locates every frame of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameTable {
    /// The instance has no pixel data.
    None,
    /// Native pixel data: frames of equal size, one after another. Bit-packed frames
    /// (BitsAllocated 1) are counted in bits, since they need not start on a byte.
    Native {
        /// First byte of the pixel data value.
        offset: u64,
        /// Bits per frame: rows x columns x samples x bits allocated (less for YBR_FULL_422).
        bits_per_frame: u64,
        /// Frames that are really there (NumberOfFrames, or fewer if the value is short).
        count: u32,
    },
    /// Encapsulated pixel data (PS3.5 annex A.4): per frame, its fragments in order, each the
    /// fragment's value without its item header.
    Encapsulated {
        /// Frames, each a non-empty list of fragments.
        frames: Vec<Vec<ByteRange>>,
    },
}

impl FrameTable {
    /// Number of frames that can be retrieved.
    pub fn count(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Native { count, .. } => *count,
            Self::Encapsulated { frames } => frames.len() as u32,
        }
    }

    /// Byte ranges of a frame, 1-based as in DICOMweb; `None` beyond the last. For bit-packed
    /// frames the range covers every byte the frame touches.
    pub fn frame(&self, number: u32) -> Option<Vec<ByteRange>> {
        let index = number.checked_sub(1)?;
        match self {
            Self::None => None,
            Self::Native { offset, bits_per_frame, count } => {
                if index >= *count {
                    return None;
                }
                let first_bit = u64::from(index).checked_mul(*bits_per_frame)?;
                let end_bit = first_bit.checked_add(*bits_per_frame)?;
                let first = first_bit / 8;
                let end = end_bit.div_ceil(8);
                Some(vec![ByteRange { offset: offset.checked_add(first)?, length: end - first }])
            }
            Self::Encapsulated { frames } => frames.get(index as usize).cloned(),
        }
    }

    /// Bits to skip in the first byte of a frame's range; other than 0 only for bit-packed frames.
    pub fn bit_offset(&self, number: u32) -> u8 {
        match (self, number.checked_sub(1)) {
            (Self::Native { bits_per_frame, .. }, Some(index)) => {
                (u64::from(index).wrapping_mul(*bits_per_frame) % 8) as u8
            }
            _ => 0,
        }
    }
}
