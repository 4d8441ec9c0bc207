//! Packets (ISO/IEC 15444-1 annex B.9 and B.10): what a decoder must know of each code block, and
//! the blocks.

use super::block::Block;

/// The code blocks of a subband, row by row.
pub(super) struct BandBlocks {
    pub across: usize,
    pub blocks: Vec<Block>,
    /// Mb: bit planes that a coefficient can have (equation E-2).
    pub planes: u32,
}

/// Writes the packet of a resolution: one layer, one precinct.
pub(super) fn write(bands: &[BandBlocks], out: &mut Vec<u8>) {
    let mut header = HeaderBits::default();
    header.put(1, 1);
    for band in bands.iter().filter(|band| !band.blocks.is_empty()) {
        let included = |block: &Block| u32::from(block.passes == 0);
        let mut inclusion = TagTree::new(band.across, band.blocks.iter().map(included));
        let empty = |block: &Block| band.planes - block.planes;
        let mut empty_planes = TagTree::new(band.across, band.blocks.iter().map(empty));
        for (index, block) in band.blocks.iter().enumerate() {
            inclusion.write(&mut header, index, 1);
            if block.passes == 0 {
                continue;
            }
            empty_planes.write(&mut header, index, u32::MAX);
            put_passes(&mut header, block.passes);
            // Lblock starts at 3 and grows until the length fits (B.10.7).
            let length = block.data.len() as u32;
            let bits = u32::BITS - length.leading_zeros();
            let extra = block.passes.ilog2();
            let growth = bits.saturating_sub(3 + extra);
            (0..growth).for_each(|_| header.put(1, 1));
            header.put(0, 1);
            header.put(length, 3 + growth + extra);
        }
    }
    out.extend(header.finish());
    for block in bands.iter().flat_map(|band| &band.blocks) {
        out.extend(&block.data);
    }
}

/// Table B.4.
fn put_passes(header: &mut HeaderBits, passes: u32) {
    match passes {
        0 | 1 => header.put(0, 1),
        2 => header.put(0b10, 2),
        3..=5 => header.put(0b1100 | (passes - 3), 4),
        6..=36 => header.put(0b1111 << 5 | (passes - 6), 9),
        _ => header.put(0b1_1111_1111 << 7 | (passes - 37), 16),
    }
}

/// Bits of a packet header: behind 0xFF a byte carries seven (B.10.1).
#[derive(Default)]
struct HeaderBits {
    out: Vec<u8>,
    buffer: u64,
    count: u32,
}

impl HeaderBits {
    fn width(&self) -> u32 {
        if self.out.last() == Some(&0xFF) { 7 } else { 8 }
    }

    fn put(&mut self, value: u32, count: u32) {
        self.buffer = self.buffer << count | u64::from(value);
        self.count += count;
        while let Some(rest) = self.count.checked_sub(self.width()) {
            let mask = (1u64 << self.width()) - 1;
            self.out.push((self.buffer >> rest & mask) as u8);
            self.count = rest;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let width = self.width();
        if self.count > 0 || width == 7 {
            self.put(0, width - self.count);
        }
        self.out
    }
}

/// A tag tree (B.10.2): each node above the leaves holds the least of up to four.
struct TagTree {
    levels: Vec<Level>,
}

struct Level {
    across: usize,
    /// Value, what the reader knows it to be at least, and whether it is known.
    nodes: Vec<(u32, u32, bool)>,
}

impl TagTree {
    fn new(across: usize, leaves: impl Iterator<Item = u32>) -> Self {
        let nodes: Vec<_> = leaves.map(|value| (value, 0, false)).collect();
        let mut levels = vec![Level { across, nodes }];
        while let Some(below) = levels.last().filter(|level| level.nodes.len() > 1) {
            let across = below.across.div_ceil(2);
            let down = (below.nodes.len() / below.across).div_ceil(2);
            let mut nodes = vec![(u32::MAX, 0, false); across * down];
            for (index, (value, ..)) in below.nodes.iter().enumerate() {
                let (x, y) = (index % below.across, index / below.across);
                let node = &mut nodes[y / 2 * across + x / 2];
                node.0 = node.0.min(*value);
            }
            levels.push(Level { across, nodes });
        }
        Self { levels }
    }

    /// Tells whether a leaf is below `threshold`, and if so its value.
    fn write(&mut self, header: &mut HeaderBits, leaf: usize, threshold: u32) {
        let across = self.levels.first().map_or(1, |level| level.across);
        let (x, y) = (leaf % across, leaf / across);
        let mut least = 0;
        for (depth, level) in self.levels.iter_mut().enumerate().rev() {
            let index = (y >> depth) * level.across + (x >> depth);
            let (value, known_least, known) = &mut level.nodes[index];
            *known_least = least.max(*known_least);
            while !*known && *known_least < threshold {
                if *known_least >= *value {
                    header.put(1, 1);
                    *known = true;
                } else {
                    header.put(0, 1);
                    *known_least += 1;
                }
            }
            least = *known_least;
        }
    }
}
