//! What stands in a list for an object that has no picture: a sheet with its modality on it.

use crate::encode::{self, Picture};
use crate::{ImagingError, RenderOptions, Rendered};

/// Width and height of a letter in cells, without the gap behind it.
const LETTER: (usize, usize) = (5, 7);

/// Longest label.
const LONGEST: usize = 6;

const PAPER: [u8; 3] = [38, 44, 54];
const EDGE: [u8; 3] = [92, 104, 122];
const LINE: [u8; 3] = [70, 80, 96];
const TEXT: [u8; 3] = [214, 222, 232];

/// Draws a square sheet with up to six letters and digits on it; other characters are left out.
/// Of `options` it takes format, quality and viewport.
///
/// # Errors
///
/// The picture cannot be encoded.
pub fn placeholder(label: &str, options: &RenderOptions) -> Result<Rendered, ImagingError> {
    let side = options.viewport.map_or(256, |viewport| viewport.width.min(viewport.height));
    let side = side.clamp(16, 1024) as usize;
    let mut sheet = Picture { width: side, height: side, channels: 3, samples: Vec::new() };
    sheet.samples = PAPER.repeat(side * side);
    let (left, right, top, bottom) = (side / 5, side - side / 5, side / 8, side - side / 8);
    let thick = (side / 64).max(1);
    frame(&mut sheet, (left, top), (right, bottom), thick);
    let step = (bottom - top) / 9;
    for line in (1..9).filter(|line| !(4..=6).contains(line)) {
        let y = top + line * step;
        fill(&mut sheet, (left + step, y), (right - step, y + thick), LINE);
    }
    let letters: Vec<[u8; 7]> = label
        .chars()
        .filter_map(|letter| glyph(letter.to_ascii_uppercase()))
        .take(LONGEST)
        .collect();
    write(&mut sheet, &letters);
    encode::encode(&sheet, options.format, options.quality, None)
}

fn frame(sheet: &mut Picture, from: (usize, usize), to: (usize, usize), thick: usize) {
    fill(sheet, from, to, EDGE);
    let inner = ((from.0 + thick, from.1 + thick), (to.0 - thick, to.1 - thick));
    fill(sheet, inner.0, inner.1, PAPER);
}

/// Writes letters in the middle, as large as fits.
fn write(sheet: &mut Picture, letters: &[[u8; 7]]) {
    if letters.is_empty() {
        return;
    }
    let cells = letters.len() * (LETTER.0 + 1) - 1;
    let cell = (sheet.width * 4 / 5 / cells).min(sheet.height / 4 / LETTER.1).max(1);
    let left = sheet.width.saturating_sub(cells * cell) / 2;
    let top = sheet.height.saturating_sub(LETTER.1 * cell) / 2;
    // A label wider than the sheet of paper needs a ground of its own.
    let margin = cell;
    fill(
        sheet,
        (left.saturating_sub(margin), top.saturating_sub(margin)),
        (left + cells * cell + margin, top + LETTER.1 * cell + margin),
        PAPER,
    );
    for (index, rows) in letters.iter().enumerate() {
        for (row, bits) in rows.iter().enumerate() {
            for column in (0..LETTER.0).filter(|column| bits >> (4 - column) & 1 == 1) {
                let x = left + (index * (LETTER.0 + 1) + column) * cell;
                let y = top + row * cell;
                fill(sheet, (x, y), (x + cell, y + cell), TEXT);
            }
        }
    }
}

/// Fills the rectangle from a corner up to, not including, another; outside there is nothing.
fn fill(sheet: &mut Picture, from: (usize, usize), to: (usize, usize), colour: [u8; 3]) {
    let row = sheet.width * 3;
    let (start, end) = (from.0.min(sheet.width) * 3, to.0.min(sheet.width) * 3);
    for line in sheet.samples.chunks_exact_mut(row).take(to.1).skip(from.1) {
        if let Some(cells) = line.get_mut(start..end) {
            cells.as_chunks_mut::<3>().0.fill(colour);
        }
    }
}

/// Rows of a letter or digit, the leftmost of five cells in bit 4.
fn glyph(letter: char) -> Option<[u8; 7]> {
    Some(match letter {
        'A' => [0x0E, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11],
        'B' => [0x1E, 0x11, 0x11, 0x1E, 0x11, 0x11, 0x1E],
        'C' => [0x0E, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0E],
        'D' => [0x1E, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1E],
        'E' => [0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x1F],
        'F' => [0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x10],
        'G' => [0x0E, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0E],
        'H' => [0x11, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11],
        'I' => [0x0E, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0E],
        'J' => [0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0C],
        'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1F],
        'M' => [0x11, 0x1B, 0x15, 0x15, 0x11, 0x11, 0x11],
        'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        'O' => [0x0E, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0E],
        'P' => [0x1E, 0x11, 0x11, 0x1E, 0x10, 0x10, 0x10],
        'Q' => [0x0E, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0D],
        'R' => [0x1E, 0x11, 0x11, 0x1E, 0x14, 0x12, 0x11],
        'S' => [0x0F, 0x10, 0x10, 0x0E, 0x01, 0x01, 0x1E],
        'T' => [0x1F, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0E],
        'V' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x0A, 0x04],
        'W' => [0x11, 0x11, 0x11, 0x15, 0x15, 0x1B, 0x11],
        'X' => [0x11, 0x11, 0x0A, 0x04, 0x0A, 0x11, 0x11],
        'Y' => [0x11, 0x11, 0x0A, 0x04, 0x04, 0x04, 0x04],
        'Z' => [0x1F, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1F],
        '0' => [0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E],
        '1' => [0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E],
        '2' => [0x0E, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1F],
        '3' => [0x1E, 0x01, 0x01, 0x0E, 0x01, 0x01, 0x1E],
        '4' => [0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02],
        '5' => [0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E],
        '6' => [0x0E, 0x10, 0x10, 0x1E, 0x11, 0x11, 0x0E],
        '7' => [0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        '8' => [0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E],
        '9' => [0x0E, 0x11, 0x11, 0x0F, 0x01, 0x01, 0x0E],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Viewport};

    fn png(label: &str, side: u32) -> Vec<u8> {
        let viewport = Some(Viewport::within(side, side));
        let options = RenderOptions { format: Format::Png, viewport, ..RenderOptions::default() };
        let sheet = placeholder(label, &options).unwrap();
        assert_eq!((sheet.width, sheet.height), (side, side));
        sheet.bytes
    }

    #[test]
    fn labels_can_be_told_apart_at_every_size() {
        for side in [16, 64, 256] {
            assert_ne!(png("SR", side), png("PR", side));
            assert_ne!(png("SR", side), png("", side));
        }
        assert_eq!(png("sr", 128), png("S-R", 128));
        assert_eq!(png("RTSTRUCTURE", 128), png("RTSTRU", 128));
    }
}
