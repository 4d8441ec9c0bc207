//! The packed form of what is stored beside a row: four bytes of length (little endian), then one
//! zstd frame. Contexts are kept per thread: making one costs more than a header.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::CatalogError;

/// Headers are small and alike; a higher level costs more time than it saves space.
const LEVEL: i32 = 1;

/// Largest packed value, before compression.
const MAX_LENGTH: usize = 1 << 30;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs bytes.
pub(crate) fn pack(bytes: &[u8]) -> Result<Vec<u8>, CatalogError> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length as usize <= MAX_LENGTH)
        .ok_or(CatalogError::TooLarge("the header"))?;
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(LEVEL).map_err(|_| TOO_LARGE)?),
        };
        let frame = compressor.compress(bytes).map_err(|_| TOO_LARGE)?;
        let mut packed = Vec::with_capacity(frame.len() + 4);
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&frame);
        Ok(packed)
    })
}

/// The compressor fails only when memory is short.
const TOO_LARGE: CatalogError = CatalogError::TooLarge("the header");

/// How long packed bytes say that they are, unpacked; [`unpack`] gives no more than that.
pub(crate) fn unpacked_length(packed: &[u8]) -> Option<usize> {
    packed.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize)
}

/// Unpacks bytes.
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, CatalogError> {
    const DAMAGED: CatalogError = CatalogError::Corrupt("a packed header");
    let (length, frame) = packed.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_LENGTH {
        return Err(DAMAGED);
    }
    let bytes = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|_| DAMAGED)?),
        };
        decompressor.decompress(frame, length).map_err(|_| DAMAGED)
    })?;
    if bytes.len() == length { Ok(bytes) } else { Err(DAMAGED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for text in [Vec::new(), b"{}".to_vec(), vec![7; 1_000_000]] {
            let packed = pack(&text).unwrap();
            assert_eq!(unpack(&packed).unwrap(), text);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let mut packed = pack(b"some header").unwrap();
        assert!(unpack(&packed[..3]).is_err());
        assert!(unpack(&packed[..8]).is_err());
        packed[0] = 200;
        assert!(unpack(&packed).is_err());
        packed[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack(&packed).is_err());
    }
}
