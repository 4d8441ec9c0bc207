//! Frames that take the place of the stored ones, transcoded one after another.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use qianli_imaging::ImagingError;
use qianli_model::dataset::vr::VR;
use qianli_model::{TransferSyntax, tag};

use super::deidentify::Mask;
use crate::frames::{ConvertError, FrameReader, MadeFrame};

/// Frames that are read and transcoded ahead of the receiver.
const AHEAD: usize = 2;

/// Frames that are to be put into the place of the stored ones.
pub(super) struct Pixels {
    pub(super) frames: BoxStream<'static, Result<MadeFrame, ConvertError>>,
    pub(super) vr: VR,
    /// Bytes of all frames together and their padding, for native pixel data.
    pub(super) length: u32,
    pub(super) padded: bool,
    pub(super) packed: Option<Packed>,
}

impl Pixels {
    pub(super) fn new(
        reader: FrameReader,
        mut first: MadeFrame,
        to: TransferSyntax,
        mask: Option<Arc<Mask>>,
    ) -> Result<Self, ConvertError> {
        if let Some(mask) = &mask {
            mask.apply(&mut first.frame)?;
        }
        let count = reader.detail().frames.count();
        let bits = reader.description().frame_bits();
        let bits_allocated = reader.description().number(tag::BITS_ALLOCATED).unwrap_or(8);
        let size = first.frame.bytes.len();
        let packed = (bits_allocated == 1 && !bits.is_multiple_of(8) && count > 1)
            .then(|| Packed::new(bits));
        let total = match &packed {
            Some(_) => bits.saturating_mul(u64::from(count)).div_ceil(8),
            None => (size as u64).saturating_mul(u64::from(count)),
        };
        let native = !to.is_encapsulated();
        // The length of a native value has 32 bits, and all ones stand for "undefined".
        let length = match u32::try_from(total.next_multiple_of(2)) {
            Ok(length) if length < u32::MAX - 1 => length,
            _ if native => return Err(ImagingError::TooLarge.into()),
            _ => 0,
        };
        let padded = native && !total.is_multiple_of(2);
        let ahead = reader.ahead(AHEAD);
        let rest = stream::iter(2..=count)
            .map(move |number| {
                let (reader, mask) = (reader.clone(), mask.clone());
                async move {
                    let mut made = reader.transcoded(number, to, true).await?;
                    if let Some(mask) = mask {
                        mask.apply(&mut made.frame)?;
                    }
                    if native && made.frame.bytes.len() != size {
                        let what = "frames of different sizes";
                        return Err(ImagingError::Malformed(what.into()).into());
                    }
                    Ok(made)
                }
            })
            .buffered(ahead);
        let frames = stream::iter([Ok(first)]).chain(rest).boxed();
        let vr = if bits_allocated > 8 { VR::OW } else { VR::OB };
        Ok(Self { frames, vr, length, packed: packed.filter(|_| native), padded })
    }
}

/// Joins bit-packed frames, which come with each frame on a byte of its own and go into one value
/// without gaps (PS3.5 section 8.1.1).
pub(super) struct Packed {
    bits: u64,
    held: u8,
    /// Bits in `held`, 0 to 7.
    count: u32,
}

impl Packed {
    fn new(bits: u64) -> Self {
        Self { bits, held: 0, count: 0 }
    }

    pub(super) fn add(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() + 1);
        let mut left = self.bits;
        for byte in frame {
            let valid = left.min(8) as u32;
            left -= u64::from(valid);
            let kept = u16::from(*byte) & ((1u16 << valid) - 1);
            let joined = u16::from(self.held) | (kept << self.count);
            self.count += valid;
            let [low, high] = joined.to_le_bytes();
            if self.count >= 8 {
                out.push(low);
                self.held = high;
                self.count -= 8;
            } else {
                self.held = low;
            }
        }
        out
    }

    pub(super) fn finish(self) -> Vec<u8> {
        if self.count > 0 { vec![self.held] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_frames_are_joined_without_gaps() {
        let mut packed = Packed::new(3);
        let mut joined = Vec::new();
        for frame in [[0b1111_1101], [0b0000_0011], [0b0000_0110]] {
            joined.extend(packed.add(&frame));
        }
        joined.extend(packed.finish());
        assert_eq!(joined, [0b1001_1101, 0b0000_0001]);
        let mut whole = Packed::new(12);
        let mut joined = whole.add(&[0xAB, 0xFC]);
        joined.extend(whole.add(&[0xDE, 0x0F]));
        assert_eq!((joined, whole.finish()), (vec![0xAB, 0xEC, 0xFD], Vec::new()));
    }
}
