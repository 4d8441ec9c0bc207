//! Finds the frames of pixel data: by arithmetic, by an offset table that proves right, or by what
//! the fragments themselves show.

use super::{ByteRange, FrameTable};
use crate::syntax::TransferSyntax;
use crate::tag::{self, Tag};

/// What describes the pixels, as far as it was there.
#[derive(Debug, Default)]
pub(crate) struct Pixels {
    /// (0028,0010).
    pub(crate) rows: u16,
    /// (0028,0011).
    pub(crate) columns: u16,
    /// (0028,0002); 0 where absent.
    pub(crate) samples: u16,
    /// (0028,0100); 0 where absent.
    pub(crate) bits_allocated: u16,
    /// (0028,0008) as claimed.
    pub(crate) frames: Option<i64>,
    /// (0028,0004).
    pub(crate) photometric: String,
}

impl Pixels {
    /// Frames as claimed; a missing or impossible claim is one frame.
    fn claimed(&self) -> u64 {
        self.frames.and_then(|frames| u64::try_from(frames).ok()).filter(|&n| n > 0).unwrap_or(1)
    }
}

/// A fragment of encapsulated pixel data, the offset table not counted.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    /// Offset of its item header.
    pub(crate) at: u64,
    /// Its value.
    pub(crate) range: ByteRange,
    /// Whether its first bytes are those of a codestream.
    pub(crate) starts_codestream: bool,
}

/// Offset tables as they came.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    basic: Vec<u64>,
    extended: Option<Vec<u64>>,
    extended_lengths: bool,
}

impl Tables {
    /// Takes the value of the first fragment (PS3.5 annex A.4): 32-bit offsets.
    pub(crate) fn set_basic(&mut self, value: &[u8]) {
        let (offsets, _) = value.as_chunks::<4>();
        self.basic = offsets.iter().map(|&bytes| u64::from(u32::from_le_bytes(bytes))).collect();
    }

    /// Takes the value of (7FE0,0001) or (7FE0,0002): 64-bit offsets and lengths. The lengths are
    /// not needed: the fragments have their own.
    pub(crate) fn set_extended(&mut self, tag: Tag, value: &[u8], big_endian: bool) {
        if tag == tag::EXTENDED_OFFSET_TABLE_LENGTHS {
            self.extended_lengths = true;
            return;
        }
        let number = if big_endian { u64::from_be_bytes } else { u64::from_le_bytes };
        let (offsets, _) = value.as_chunks::<8>();
        self.extended = Some(offsets.iter().map(|&bytes| number(bytes)).collect());
    }

    /// Whether the value of this attribute was taken.
    pub(crate) fn holds(&self, tag: Tag) -> bool {
        match tag {
            tag::EXTENDED_OFFSET_TABLE => self.extended.is_some(),
            tag::EXTENDED_OFFSET_TABLE_LENGTHS => self.extended_lengths,
            _ => false,
        }
    }
}

/// The frames, and what was odd about them.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) table: FrameTable,
    pub(crate) oddity: Option<&'static str>,
}

impl Located {
    fn plain(table: FrameTable) -> Self {
        Self { table, oddity: None }
    }

    fn odd(table: FrameTable, oddity: &'static str) -> Self {
        Self { table, oddity: Some(oddity) }
    }
}

/// Frames of pixel data with a defined length.
pub(crate) fn native(
    pixels: &Pixels,
    tag: Tag,
    range: ByteRange,
    syntax: TransferSyntax,
) -> Located {
    if syntax.is_encapsulated() && tag == tag::PIXEL_DATA && range.length > 0 {
        let table = FrameTable::Encapsulated { frames: vec![vec![range]] };
        return Located::odd(table, "the pixel data is not encapsulated, as its syntax asks for");
    }
    let bits_allocated = match (pixels.bits_allocated, tag) {
        (0, tag::FLOAT_PIXEL_DATA) => 32,
        (0, tag::DOUBLE_FLOAT_PIXEL_DATA) => 64,
        (bits, _) => bits,
    };
    let claimed = pixels.claimed();
    let bits = range.length.saturating_mul(8);
    let area = u64::from(pixels.rows) * u64::from(pixels.columns);
    // Less than 2^32 * 2^16 * 2^16.
    let per_sample = u128::from(area) * u128::from(bits_allocated);
    let full = per_sample * u128::from(pixels.samples.max(1));
    // PS3.3 C.7.6.3.1.2: two samples per pixel on average. Writers that do not subsample but say
    // so exist; their size gives them away.
    let subsampled = matches!(pixels.photometric.as_str(), "YBR_FULL_422" | "YBR_PARTIAL_422")
        && pixels.samples == 3
        && u128::from(bits) < full * u128::from(claimed);
    let quartered = pixels.photometric == "YBR_PARTIAL_420" && pixels.samples == 3;
    let per_frame = match () {
        () if subsampled => per_sample * 2,
        () if quartered => per_sample * 3 / 2,
        () => full,
    };
    let Some(bits_per_frame) = u64::try_from(per_frame).ok().filter(|&bits| bits > 0) else {
        return Located::odd(FrameTable::None, "the size of a frame is not described");
    };
    let whole = bits / bits_per_frame;
    let count = u32::try_from(whole.min(claimed)).unwrap_or(u32::MAX);
    let table = FrameTable::Native { offset: range.offset, bits_per_frame, count };
    if whole < claimed {
        return Located::odd(table, "the pixel data is shorter than its description");
    }
    Located::plain(table)
}

/// Whether bytes are the beginning of a codestream: JPEG and JPEG-LS (SOI), JPEG 2000 and HTJ2K
/// (SOC and SIZ, or the JP2 signature box), JPEG XL (bare or in its box).
pub(crate) fn starts_codestream(bytes: &[u8]) -> bool {
    const STARTS: [&[u8]; 5] = [
        &[0xFF, 0xD8],
        &[0xFF, 0x4F, 0xFF, 0x51],
        &[0xFF, 0x0A],
        b"\0\0\0\x0CjP  ",
        b"\0\0\0\x0CJXL ",
    ];
    STARTS.iter().any(|start| bytes.starts_with(start))
}

/// Frames of encapsulated pixel data (PS3.5 annex A.4).
pub(crate) fn encapsulated(
    pixels: &Pixels,
    fragments: &[Fragment],
    tables: &Tables,
    syntax: TransferSyntax,
) -> Located {
    // Empty fragments at the end carry nothing; some writers leave one.
    let used = fragments.iter().rposition(|f| f.range.length > 0).map_or(0, |last| last + 1);
    let fragments = fragments.get(..used).unwrap_or(fragments);
    if fragments.is_empty() {
        let table = FrameTable::Encapsulated { frames: Vec::new() };
        return Located::odd(table, "the pixel data has no fragments");
    }
    if is_video(syntax) {
        return Located::plain(group(fragments, &[0]));
    }
    let claimed = pixels.claimed();
    let count = fragments.len() as u64;
    let mut oddity = None;
    if let Some(extended) = &tables.extended {
        match starts_from_offsets(fragments, extended) {
            Some(starts) if starts.len() as u64 == claimed => {
                return Located::plain(group(fragments, &starts));
            }
            _ => oddity = Some("the extended offset table is wrong"),
        }
    }
    let basic = starts_from_offsets(fragments, &tables.basic);
    match &basic {
        Some(starts) if starts.len() as u64 == claimed => {
            return Located { table: group(fragments, starts), oddity };
        }
        None if !tables.basic.is_empty() => oddity = Some("the basic offset table is wrong"),
        _ => {}
    }
    // PS3.5 annex G.1: with RLE a frame is always one fragment.
    let is_rle = syntax.uid() == "1.2.840.10008.1.2.5";
    if claimed == 1 && !is_rle {
        return Located { table: group(fragments, &[0]), oddity };
    }
    if count == claimed {
        return Located { table: each(fragments), oddity };
    }
    if is_rle || count < claimed {
        return Located::odd(
            each(fragments),
            "the number of fragments is not the number of frames",
        );
    }
    let starts: Vec<usize> = fragments
        .iter()
        .enumerate()
        .filter_map(|(index, fragment)| fragment.starts_codestream.then_some(index))
        .collect();
    if starts.first() == Some(&0) && starts.len() as u64 == claimed {
        return Located { table: group(fragments, &starts), oddity };
    }
    // Nothing agrees with the claim: rather too many frames than a wrong picture.
    let table = match basic {
        Some(starts) => group(fragments, &starts),
        None if starts.first() == Some(&0) => group(fragments, &starts),
        None => each(fragments),
    };
    Located::odd(table, "the frames of the pixel data cannot be told apart with certainty")
}

/// The syntaxes whose one codestream holds all frames (PS3.5 section 8.2.5 and following).
fn is_video(syntax: TransferSyntax) -> bool {
    let Some(number) = syntax.uid().strip_prefix("1.2.840.10008.1.2.4.") else { return false };
    let first = number.split('.').next().unwrap_or(number);
    matches!(first, "100" | "101" | "102" | "103" | "104" | "105" | "106" | "107" | "108")
}

/// Turns the offsets of a table into indices of fragments, if the table is right: it starts at
/// the first fragment, rises, and every entry is the offset of an item header.
fn starts_from_offsets(fragments: &[Fragment], offsets: &[u64]) -> Option<Vec<usize>> {
    let base = fragments.first()?.at;
    if offsets.first() != Some(&0) || offsets.len() > fragments.len() {
        return None;
    }
    let mut starts = Vec::with_capacity(offsets.len());
    let mut index = 0;
    for &offset in offsets {
        let at = base.checked_add(offset)?;
        let rest = fragments.get(index..)?;
        index += rest.iter().position(|fragment| fragment.at == at)?;
        starts.push(index);
        index += 1;
    }
    Some(starts)
}

fn group(fragments: &[Fragment], starts: &[usize]) -> FrameTable {
    let ends = starts.iter().skip(1).copied().chain([fragments.len()]);
    let frames = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            fragments.get(start..end).unwrap_or(&[]).iter().map(|f| f.range).collect()
        })
        .collect();
    FrameTable::Encapsulated { frames }
}

fn each(fragments: &[Fragment]) -> FrameTable {
    let frames = fragments.iter().map(|fragment| vec![fragment.range]).collect();
    FrameTable::Encapsulated { frames }
}

#[cfg(test)]
mod tests;
