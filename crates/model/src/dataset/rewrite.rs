//! Rewrites a data set from any encoding to a little-endian one, in bounded memory (PS3.5 annex A).
//!
//! Works in steps that a caller takes when it has room for their output, so that a slow receiver
//! holds no thread. Named elements are replaced or removed on the way, and an [`Editor`] may change any
//! other, in items too. Where pixel data is to be replaced, the rewriter stops in its place and the
//! caller writes it, frame by frame; what pixels are is not known here.

use std::collections::BTreeMap;

use super::vr::VR;
use super::write::{Output, UNDEFINED};
use super::{DataSetError, Element, Event, Limits, Scanner, Source};
use crate::deidentify::{Editor, Fate, SequenceFate};
use crate::syntax::{Encoding, TransferSyntax};
use crate::tag::{self, Tag};

/// A step ends when about this many bytes are written.
const STEP: usize = 256 << 10;

/// Longer values are copied in pieces of this size, a multiple of every word size.
const PIECE: usize = 64 << 10;

/// What becomes of an element of the outermost data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets this value, in little endian, whether it was there or not.
    Set(VR, Vec<u8>),
    /// It is a sequence that gets one more item, in front of those that it has.
    AddItem(Changes),
    /// It is a sequence of these items, whatever it was.
    Items(Vec<Changes>),
    /// It is left out.
    Remove,
}

impl Change {
    /// A text value; padding is added when it is written.
    pub fn text(vr: VR, value: &str) -> Self {
        Self::Set(vr, value.as_bytes().to_vec())
    }
}

/// What becomes of named elements of the outermost data set.
pub type Changes = BTreeMap<Tag, Change>;

/// What becomes of the pixel data of the outermost data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelPlan {
    /// It is copied; big endian words are swapped.
    Copy,
    /// The caller writes it when [`Step::Pixels`] says so.
    Replace,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to be written.
    More,
    /// Here stands the pixel data that the caller writes.
    Pixels,
    /// The data set is written.
    End,
}

/// Why a data set cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It cannot be walked to its end.
    #[error(transparent)]
    DataSet(#[from] DataSetError),
    /// Encapsulated pixels where the new syntax has no place for them (PS3.5 section A.4).
    #[error("{0} holds compressed pixels inside of a sequence")]
    Encapsulated(Tag),
}

/// A value that is being copied.
struct Copying {
    vr: VR,
    /// Words of this size are swapped; 1 leaves them.
    word: usize,
    left: u64,
    odd: bool,
}

/// Rewrites one data set.
pub struct Rewriter<S: Source> {
    scanner: Scanner<S>,
    output: Output,
    target: TransferSyntax,
    pixels: PixelPlan,
    changes: Changes,
    editor: Option<Box<Editor>>,
    /// Changes of tags below this one are written.
    changed_to: Tag,
    /// Sequences that are open.
    depth: usize,
    /// Of these, how many belong to one that is left out.
    skipped: usize,
    /// The fragments at hand are those of replaced pixel data.
    replaced: bool,
    copying: Option<Copying>,
    /// Bytes per sample, for pixel data in big endian.
    sample: usize,
    buffer: Vec<u8>,
}

impl<S: Source> Rewriter<S> {
    /// Starts at the first byte of a data set. `source` gives it in `encoding`, inflated.
    ///
    /// `target` is a syntax of little endian; where it is deflated, all output is.
    pub fn new(
        source: S,
        encoding: Encoding,
        target: TransferSyntax,
        pixels: PixelPlan,
        changes: Changes,
        limits: &Limits,
    ) -> Self {
        Self {
            scanner: Scanner::new(source, encoding, limits),
            output: Output::new(target),
            target,
            pixels,
            changes,
            editor: None,
            changed_to: tag::tag(0, 0),
            depth: 0,
            skipped: 0,
            replaced: false,
            copying: None,
            sample: 2,
            buffer: Vec::new(),
        }
    }

    /// Lets an editor decide about every element for which there is no change.
    #[must_use]
    pub fn edited_by(mut self, editor: Editor) -> Self {
        self.editor = Some(Box::new(editor));
        self
    }

    /// Writes on, appending to `out` somewhat more than 256 KiB at most (before deflating).
    ///
    /// # Errors
    ///
    /// See [`RewriteError`]; afterwards the rewriter is of no further use.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, RewriteError> {
        let step = loop {
            if self.output.waiting() >= STEP {
                break Step::More;
            }
            if self.copying.is_some() {
                self.copy_piece()?;
                continue;
            }
            let event = self.scanner.next()?;
            if event == Event::End {
                self.write_changes_below(None);
                break Step::End;
            }
            if self.event(event)? {
                break Step::Pixels;
            }
        };
        self.output.take(out, step == Step::End);
        Ok(step)
    }

    /// Begins native pixel data of `length` bytes in place of [`Step::Pixels`]; exactly as many
    /// must follow through [`write`](Self::write), padding included.
    pub fn native_pixels(&mut self, vr: VR, length: u32, out: &mut Vec<u8>) {
        self.output.header(tag::PIXEL_DATA, vr, length);
        self.output.take(out, false);
    }

    /// Writes bytes of native pixel data.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.output.bytes(bytes);
        self.output.take(out, false);
    }

    /// Begins encapsulated pixel data with an empty basic offset table (PS3.5 section A.4).
    pub fn encapsulated_pixels(&mut self, out: &mut Vec<u8>) {
        self.output.header(tag::PIXEL_DATA, VR::OB, UNDEFINED);
        self.output.item(0);
        self.output.take(out, false);
    }

    /// Writes one fragment, padded to an even length.
    pub fn fragment(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = bytes.len().next_multiple_of(2);
        // An encoded frame is bounded by what a frame may decode to.
        self.output.item(u32::try_from(length).unwrap_or(UNDEFINED - 1));
        self.output.bytes(bytes);
        if length > bytes.len() {
            self.output.bytes(&[0]);
        }
        self.output.take(out, false);
    }

    /// Ends encapsulated pixel data.
    pub fn end_pixels(&mut self, out: &mut Vec<u8>) {
        self.output.delimiter(tag::SEQUENCE_DELIMITATION);
        self.output.take(out, false);
    }

    /// Writes what an event means; true where the caller's pixel data belongs.
    fn event(&mut self, event: Event) -> Result<bool, RewriteError> {
        match event {
            Event::Element(element) if self.skipped == 0 => return self.element(element),
            Event::FragmentsStart(element) if self.skipped == 0 => return self.fragments(element),
            Event::SequenceStart(element) => self.start_sequence(element),
            Event::SequenceEnd => {
                self.depth = self.depth.saturating_sub(1);
                if self.skipped > 0 {
                    self.skipped -= 1;
                } else {
                    if let Some(editor) = &mut self.editor {
                        editor.sequence_end();
                    }
                    self.output.delimiter(tag::SEQUENCE_DELIMITATION);
                }
            }
            // Only of encapsulated pixel data: inside of skipped things nothing is written.
            _ if self.skipped > 0 => {}
            Event::ItemStart => {
                if let Some(editor) = &mut self.editor {
                    editor.item_start();
                }
                self.output.item(UNDEFINED);
            }
            Event::ItemEnd => {
                if let Some(editor) = &mut self.editor {
                    editor.item_end();
                }
                self.output.delimiter(tag::ITEM_DELIMITATION);
            }
            Event::Fragment { length, .. } if !self.replaced => {
                // Fragments have 32-bit lengths.
                let even = u32::try_from(length.next_multiple_of(2)).unwrap_or(UNDEFINED - 1);
                self.output.item(even);
                self.copying = Some(Copying { vr: VR::OB, word: 1, left: length, odd: false });
            }
            Event::FragmentsEnd { .. } if self.replaced => self.replaced = false,
            Event::FragmentsEnd { .. } => self.output.delimiter(tag::SEQUENCE_DELIMITATION),
            _ => {}
        }
        Ok(false)
    }

    fn element(&mut self, element: Element) -> Result<bool, RewriteError> {
        let Element { tag, vr, length, big_endian, .. } = element;
        // Their values would be wrong afterwards; PS3.5 section 7.2 has retired them.
        if tag.is_group_length() || !self.admit(tag) {
            return Ok(false);
        }
        let root = self.depth == 0;
        if root && tag == tag::PIXEL_DATA && self.pixels == PixelPlan::Replace {
            return Ok(true);
        }
        if self.edit(&element)? {
            return Ok(false);
        }
        let word = match vr {
            _ if !big_endian => 1,
            // Samples of more than 16 bits are swapped as a whole by everything that writes them.
            VR::OW if tag == tag::PIXEL_DATA => self.sample,
            vr => super::vr::word_size(vr),
        };
        let even = u32::try_from(length.next_multiple_of(2)).unwrap_or(UNDEFINED - 1);
        self.output.header(tag, vr, even);
        self.copying = Some(Copying { vr, word, left: length, odd: false });
        if root
            && matches!(tag, tag::PIXEL_REPRESENTATION | tag::BITS_ALLOCATED)
            && matches!(vr, VR::US | VR::SS)
        {
            self.copy_piece()?;
            self.learn(tag);
        }
        Ok(false)
    }

    /// Lets the editor decide; true when the element is dealt with.
    fn edit(&mut self, element: &Element) -> Result<bool, RewriteError> {
        let Some(editor) = &mut self.editor else { return Ok(false) };
        let mut fate = editor.element(element);
        let mut value = Vec::new();
        if fate == Fate::Read {
            self.scanner.value(&mut value)?;
            fate = match editor.value(element, &value) {
                Fate::Copy | Fate::Read => Fate::Set(value),
                other => other,
            };
        }
        match fate {
            Fate::Set(value) => self.output.element(element.tag, element.vr, &value),
            Fate::Copy | Fate::Read => return Ok(false),
            Fate::Remove => {}
        }
        Ok(true)
    }

    /// Keeps what later elements depend on, from the value that was copied last.
    fn learn(&mut self, tag: Tag) {
        let Some((first, _)) = self.buffer.split_first_chunk::<2>() else { return };
        let number = u16::from_le_bytes(*first);
        match tag {
            tag::PIXEL_REPRESENTATION => self.scanner.set_signed(number == 1),
            _ => self.sample = usize::from(number / 8).clamp(2, 8),
        }
    }

    fn start_sequence(&mut self, element: Element) {
        self.depth += 1;
        if self.skipped > 0 {
            self.skipped += 1;
            return;
        }
        let outermost = self.depth == 1;
        if outermost && matches!(self.changes.get(&element.tag), Some(Change::AddItem(_))) {
            self.write_changes_below(Some(element.tag));
            self.output.header(element.tag, VR::SQ, UNDEFINED);
            if let Some(Change::AddItem(item)) = self.changes.get(&element.tag) {
                write_item(&mut self.output, item);
            }
            self.changed_to = after(element.tag);
            if let Some(editor) = &mut self.editor {
                editor.sequence_within();
            }
            return;
        }
        if outermost && !self.admit_outermost(element.tag) {
            self.skipped = 1;
            return;
        }
        match self.editor.as_mut().map(|editor| editor.sequence(element.tag)) {
            None | Some(SequenceFate::Keep) => {
                self.output.header(element.tag, VR::SQ, UNDEFINED);
            }
            Some(SequenceFate::Remove) => self.skipped = 1,
            Some(SequenceFate::Set(items)) => {
                write_sequence(&mut self.output, element.tag, &items);
                self.skipped = 1;
            }
        }
    }

    fn fragments(&mut self, element: Element) -> Result<bool, RewriteError> {
        if !self.admit(element.tag) {
            self.replaced = true;
            return Ok(false);
        }
        if self.depth == 0 && element.tag == tag::PIXEL_DATA && self.pixels == PixelPlan::Replace {
            self.replaced = true;
            return Ok(true);
        }
        let fate = self.editor.as_mut().map(|editor| editor.element(&element));
        // Compressed pixels in a sequence of a native data set have no place in any syntax.
        let misplaced = self.depth > 0 && !self.target.is_encapsulated();
        if fate.is_some_and(|fate| misplaced || fate != Fate::Copy) {
            self.replaced = true;
            return Ok(false);
        }
        if !self.target.is_encapsulated() {
            return Err(RewriteError::Encapsulated(element.tag));
        }
        self.output.header(element.tag, VR::OB, UNDEFINED);
        Ok(false)
    }

    /// Whether an element is to be copied. At the outermost level, changes of lower tags are
    /// written first.
    fn admit(&mut self, tag: Tag) -> bool {
        self.depth > 0 || self.admit_outermost(tag)
    }

    fn admit_outermost(&mut self, tag: Tag) -> bool {
        if !self.changes.contains_key(&tag) {
            self.write_changes_below(Some(tag));
            return true;
        }
        self.write_changes_below(Some(after(tag)));
        false
    }

    fn write_changes_below(&mut self, limit: Option<Tag>) {
        let from = self.changed_to;
        if limit.is_some_and(|limit| limit <= from) {
            return;
        }
        for (tag, change) in self.changes.range(from..) {
            if limit.is_some_and(|limit| *tag >= limit) {
                break;
            }
            write_change(&mut self.output, *tag, change);
        }
        self.changed_to = limit.unwrap_or(tag::tag(u16::MAX, u16::MAX));
    }

    /// Copies the next piece of a value.
    fn copy_piece(&mut self) -> Result<(), RewriteError> {
        let Some(mut copying) = self.copying.take() else { return Ok(()) };
        let count = usize::try_from(copying.left).unwrap_or(usize::MAX).min(PIECE);
        self.buffer.resize(count, 0);
        let read = self.scanner.value_start(&mut self.buffer)?;
        self.buffer.truncate(read);
        if copying.word > 1 {
            self.buffer.chunks_exact_mut(copying.word).for_each(<[u8]>::reverse);
        }
        self.output.bytes(&self.buffer);
        copying.left = copying.left.saturating_sub(read as u64);
        copying.odd ^= read % 2 == 1;
        if copying.left > 0 && read > 0 {
            self.copying = Some(copying);
        } else if copying.odd {
            self.output.pad(copying.vr);
        }
        Ok(())
    }
}

/// The next tag.
fn after(tag: Tag) -> Tag {
    tag::tag(tag.group, tag.element.saturating_add(1))
}

/// Writes what was not there before.
fn write_change(output: &mut Output, tag: Tag, change: &Change) {
    match change {
        Change::Set(vr, value) => output.element(tag, *vr, value),
        Change::AddItem(item) => {
            output.header(tag, VR::SQ, UNDEFINED);
            write_item(output, item);
            output.delimiter(tag::SEQUENCE_DELIMITATION);
        }
        Change::Items(items) => write_sequence(output, tag, items),
        Change::Remove => {}
    }
}

fn write_sequence(output: &mut Output, tag: Tag, items: &[Changes]) {
    output.header(tag, VR::SQ, UNDEFINED);
    for item in items {
        write_item(output, item);
    }
    output.delimiter(tag::SEQUENCE_DELIMITATION);
}

fn write_item(output: &mut Output, item: &Changes) {
    output.item(UNDEFINED);
    for (tag, change) in item {
        write_change(output, *tag, change);
    }
    output.delimiter(tag::ITEM_DELIMITATION);
}

#[cfg(test)]
mod tests;
