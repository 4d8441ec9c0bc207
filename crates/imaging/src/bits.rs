//! Samples of one bit (PS3.5 section 8.1.1 and annex D): eight pixels to a byte, the first in the
//! least significant bit.

/// Moves a bit-packed frame that starts inside a byte so that it starts on one, and clears the bits
/// behind its end. `None` when `packed` holds fewer than `offset + count` bits.
pub(crate) fn align(packed: &[u8], offset: u8, count: usize) -> Option<Vec<u8>> {
    let offset = usize::from(offset % 8);
    let needed = count.checked_add(offset)?.div_ceil(8);
    let source = packed.get(..needed)?;
    let mut out: Vec<u8> = if offset == 0 {
        source.to_vec()
    } else {
        let following = source.iter().skip(1).chain(std::iter::once(&0));
        source
            .iter()
            .zip(following)
            .map(|(low, high)| (low >> offset) | (high << (8 - offset)))
            .collect()
    };
    out.truncate(count.div_ceil(8));
    if let (Some(last), rest @ 1..) = (out.last_mut(), count % 8) {
        *last &= (1 << rest) - 1;
    }
    Some(out)
}

/// Widens `count` packed bits to one byte each, 0 or 1.
pub(crate) fn unpack(packed: &[u8], count: usize) -> Vec<u8> {
    packed.iter().flat_map(|byte| (0..8).map(move |bit| (byte >> bit) & 1)).take(count).collect()
}

/// Packs samples eight to a byte; the bits behind the last are zero.
pub(crate) fn pack(samples: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut out = vec![0; samples.len().div_ceil(8)];
    for (index, sample) in samples.enumerate() {
        if let Some(byte) = out.get_mut(index / 8) {
            *byte |= u8::from(sample) << (index % 8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_start_inside_a_byte_are_moved() {
        // Bits in order of pixels: 1 1 0 | 1 0 1 1 0 0 1 0 1 | 1 1 1 1.
        let packed = [0b0110_1011, 0b1111_1010];
        let frame = align(&packed, 3, 9).unwrap();
        assert_eq!(unpack(&frame, 9), [1, 0, 1, 1, 0, 0, 1, 0, 1]);
        assert_eq!(frame[1], 1, "bits of the next frame are cleared");
        assert_eq!(pack(unpack(&frame, 9).into_iter().map(|bit| bit != 0)), frame);
        assert_eq!(align(&packed, 3, 14), None);
        assert_eq!(align(&packed, 0, 16).unwrap(), packed);
    }
}
