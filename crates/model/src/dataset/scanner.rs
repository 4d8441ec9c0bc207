//! The walk over data elements, sequences, items and fragments, as a flat stream of events.
//!
//! Tolerates what equipment really writes as long as the stream stays unambiguous; what it cannot
//! walk to its end is an error, never a guess.

use std::io;

use super::vr::VR;
use super::{DataSetError, Limits, Source};
use crate::syntax::Encoding;
use crate::tag::{self, Tag};

mod element;

const UNDEFINED: u32 = 0xFFFF_FFFF;
/// No defined end.
const OPEN: u64 = u64::MAX;
/// Values of unknown total are read in steps of this size, so that a lying length allocates little.
const STEP: usize = 64 << 10;

/// A data element whose value has not been read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Its tag.
    pub tag: Tag,
    /// Its VR: as encoded, or from the dictionary (implicit VR, and UN for a standard attribute).
    pub vr: VR,
    /// Offset of the value's first byte from the first byte of the data set.
    pub offset: u64,
    /// Length of the value in bytes; 0 for an undefined length.
    pub length: u64,
    /// Whether the words of the value are big endian.
    pub big_endian: bool,
}

/// What comes next in a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A data element; its value is skipped unless [`Scanner::value`] is called before the next
    /// event.
    Element(Element),
    /// A sequence begins; items follow.
    SequenceStart(Element),
    /// The innermost sequence ends.
    SequenceEnd,
    /// An item begins; its elements follow.
    ItemStart,
    /// The innermost item ends.
    ItemEnd,
    /// Encapsulated pixel data begins; fragments follow, the first of which is the basic offset
    /// table.
    FragmentsStart(Element),
    /// A fragment; its value can be read like an element's.
    Fragment {
        /// Offset of its item header.
        at: u64,
        /// Offset of its value.
        offset: u64,
        /// Length of its value in bytes.
        length: u64,
    },
    /// The encapsulated pixel data ends.
    FragmentsEnd {
        /// Offset of the sequence delimiter, or of the end of the data set if it is missing.
        at: u64,
        /// Whether the delimiter was there.
        delimited: bool,
    },
    /// The data set ends.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Sequence,
    Item,
    Fragments,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    kind: Kind,
    /// Where it ends, or `OPEN`.
    end: u64,
    /// Where the innermost enclosing thing of known length ends, itself included.
    bound: u64,
    encoding: Encoding,
    /// No element was read in this data set yet.
    fresh: bool,
}

/// Walks one data set. See [`Event`].
pub struct Scanner<S: Source> {
    source: S,
    origin: u64,
    levels: Vec<Level>,
    depth: usize,
    max_depth: usize,
    elements_left: usize,
    fragments_left: usize,
    /// Bytes of the current value that were not consumed.
    pending: u64,
    /// Eight bytes read ahead.
    ahead: Option<[u8; 8]>,
    /// What (0028,0103) said, for implicit VR.
    signed: bool,
    oddities: Vec<&'static str>,
}

impl<S: Source> Scanner<S> {
    /// Starts at the source's position, which becomes offset 0.
    pub fn new(source: S, encoding: Encoding, limits: &Limits) -> Self {
        let origin = source.position();
        let bound = source.remaining().unwrap_or(OPEN);
        let root = Level { kind: Kind::Root, end: bound, bound, encoding, fresh: true };
        Self {
            source,
            origin,
            levels: vec![root],
            depth: 0,
            max_depth: limits.max_depth,
            elements_left: limits.max_elements,
            fragments_left: limits.max_fragments,
            pending: 0,
            ahead: None,
            signed: false,
            oddities: Vec::new(),
        }
    }

    /// Says what (0028,0103) Pixel Representation means for the attributes that follow.
    pub fn set_signed(&mut self, signed: bool) {
        self.signed = signed;
    }

    /// What was wrong and could be tolerated, each once.
    pub fn oddities(&self) -> &[&'static str] {
        &self.oddities
    }

    fn tolerate(&mut self, oddity: &'static str) {
        if !self.oddities.contains(&oddity) {
            self.oddities.push(oddity);
        }
    }

    /// Offset of the next byte from the first byte of the data set.
    pub fn position(&self) -> u64 {
        let ahead = if self.ahead.is_some() { 8 } else { 0 };
        self.source.position().saturating_sub(self.origin).saturating_sub(ahead)
    }

    /// Moves to the next event, skipping what remains of the current value.
    ///
    /// # Errors
    ///
    /// See [`DataSetError`]; after an error the scanner is of no further use.
    #[expect(clippy::should_implement_trait, reason = "fallible and without an Option")]
    pub fn next(&mut self) -> Result<Event, DataSetError> {
        self.skip_value()?;
        let Some(&level) = self.levels.last() else { return Ok(Event::End) };
        match level.kind {
            Kind::Root | Kind::Item => self.next_in_data_set(level),
            Kind::Sequence => self.next_in_sequence(level),
            Kind::Fragments => self.next_in_fragments(level),
        }
    }

    /// Reads the value of the current element or fragment into `buffer`, replacing its content.
    ///
    /// # Errors
    ///
    /// [`DataSetError::Truncated`] when the bytes end before the value does.
    pub fn value(&mut self, buffer: &mut Vec<u8>) -> Result<(), DataSetError> {
        buffer.clear();
        let at = self.position();
        while self.pending > 0 {
            // The end of an inflating source becomes known on the way.
            let left = self.left();
            if left.is_some_and(|left| left < self.pending) {
                return Err(truncated_at(at, "a value"));
            }
            let rest = usize::try_from(self.pending).unwrap_or(usize::MAX);
            let step = if left.is_some() { rest } else { rest.min(STEP) };
            let start = buffer.len();
            buffer.resize(start.saturating_add(step), 0);
            let Some(part) = buffer.get_mut(start..) else { break };
            self.fill(part).map_err(|error| truncated(error, at, "a value"))?;
            self.pending = self.pending.saturating_sub(step as u64);
        }
        Ok(())
    }

    /// Reads at most `buffer.len()` bytes of the value; returns how many were there.
    pub fn value_start(&mut self, buffer: &mut [u8]) -> Result<usize, DataSetError> {
        let at = self.position();
        let count = usize::try_from(self.pending).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(part) = buffer.get_mut(..count) {
            self.fill(part).map_err(|error| truncated(error, at, "a value"))?;
            self.pending = self.pending.saturating_sub(count as u64);
        }
        Ok(count)
    }

    fn skip_value(&mut self) -> Result<(), DataSetError> {
        if self.pending == 0 {
            return Ok(());
        }
        let at = self.position();
        let mut count = std::mem::take(&mut self.pending);
        if let Some(ahead) = self.ahead.take() {
            if count < 8 {
                return Err(malformed(at, "a value is shorter than what was read of it"));
            }
            let _ = ahead;
            count -= 8;
        }
        self.source.skip(count).map_err(|error| truncated(error, at, "a value"))
    }

    /// Fills from the bytes read ahead, then from the source.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(ahead) = self.ahead.take() else { return self.source.read_exact(buffer) };
        // Bytes are read ahead only of values of at least eight bytes, and taken in one go.
        let Some((first, rest)) = buffer.split_at_mut_checked(8) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        first.copy_from_slice(&ahead);
        self.source.read_exact(rest)
    }

    fn header(&mut self, at: u64, what: &str) -> Result<[u8; 8], DataSetError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes).map_err(|error| truncated(error, at, what))?;
        Ok(bytes)
    }

    fn next_in_data_set(&mut self, mut level: Level) -> Result<Event, DataSetError> {
        loop {
            let at = self.position();
            if level.kind == Kind::Item && at == level.end {
                self.levels.pop();
                return Ok(Event::ItemEnd);
            }
            if level.kind == Kind::Root
                && let Some(left) = self.left().filter(|&left| left < 8)
            {
                return self.end(at, left);
            }
            if level.bound.saturating_sub(at) < 8 {
                return Err(overrun(level, at, "an element header"));
            }
            let bytes = self.header(at, "an element header")?;
            if level.kind == Kind::Root && bytes == [0; 8] {
                self.only_zeros_left(at)?;
                return Ok(Event::End);
            }
            let tag = read_tag(bytes, level.encoding);
            if tag.group != 0xFFFE {
                return self.element(&mut level, at, tag, bytes);
            }
            match tag {
                tag::ITEM_DELIMITATION if level.kind == Kind::Item && level.end == OPEN => {
                    self.levels.pop();
                    return Ok(Event::ItemEnd);
                }
                // Stray delimiters after things of defined length occur; empty, they do no harm.
                tag::ITEM_DELIMITATION | tag::SEQUENCE_DELIMITATION
                    if level.end != OPEN && bytes.ends_with(&[0; 4]) =>
                {
                    self.tolerate("a delimiter where an element belongs");
                }
                // An item that lost the header of its sequence: whose it is, nobody knows.
                tag::ITEM if level.kind == Kind::Root => {
                    let length = u64::from(read_length(bytes, level.encoding));
                    if length > level.bound.saturating_sub(at).saturating_sub(8) {
                        return Err(malformed(at, "an item outside of a sequence"));
                    }
                    self.tolerate("an item outside of a sequence was skipped");
                    self.pending = length;
                    self.skip_value()?;
                }
                _ => return Err(malformed(at, "an item or delimiter where an element belongs")),
            }
        }
    }

    /// How many bytes remain, if that is known.
    fn left(&self) -> Option<u64> {
        let ahead = if self.ahead.is_some() { 8 } else { 0 };
        self.source.remaining().map(|left| left.saturating_add(ahead))
    }

    /// The data set ends with fewer bytes than an element header has.
    fn end(&mut self, at: u64, left: u64) -> Result<Event, DataSetError> {
        let mut rest = [0; 8];
        if let Some(part) = rest.get_mut(..left as usize) {
            self.fill(part).map_err(|error| truncated(error, at, "the end"))?;
        }
        if rest != [0; 8] {
            return Err(truncated_at(at, "an element header"));
        }
        if left > 0 {
            self.tolerate("zero bytes follow the data set");
        }
        Ok(Event::End)
    }

    fn only_zeros_left(&mut self, at: u64) -> Result<(), DataSetError> {
        let mut chunk = [0; 4096];
        self.tolerate("zero bytes follow the data set");
        loop {
            let left = self.left().unwrap_or(16).min(chunk.len() as u64) as usize;
            let Some(part) = chunk.get_mut(..left).filter(|part| !part.is_empty()) else {
                return Ok(());
            };
            self.fill(part).map_err(|error| truncated(error, at, "trailing bytes"))?;
            if part.iter().any(|&byte| byte != 0) {
                return Err(malformed(at, "zero bytes where an element belongs"));
            }
        }
    }

    fn next_in_sequence(&mut self, level: Level) -> Result<Event, DataSetError> {
        loop {
            let at = self.position();
            if at == level.end {
                return Ok(self.end_sequence());
            }
            if level.bound.saturating_sub(at) < 8 {
                return Err(overrun(level, at, "an item header"));
            }
            let bytes = self.header(at, "an item header")?;
            let length = read_length(bytes, level.encoding);
            match read_tag(bytes, level.encoding) {
                tag::ITEM => return self.start_item(level, at, length),
                tag::SEQUENCE_DELIMITATION if level.end == OPEN => return Ok(self.end_sequence()),
                // Stray ones, see above.
                tag::SEQUENCE_DELIMITATION | tag::ITEM_DELIMITATION if length == 0 => {}
                _ => return Err(malformed(at, "something else where an item belongs")),
            }
        }
    }

    fn end_sequence(&mut self) -> Event {
        self.levels.pop();
        self.depth = self.depth.saturating_sub(1);
        Event::SequenceEnd
    }

    fn start_item(&mut self, level: Level, at: u64, length: u32) -> Result<Event, DataSetError> {
        let start = self.position();
        self.elements_left = self
            .elements_left
            .checked_sub(1)
            .ok_or_else(|| limit(at, "the number of data elements"))?;
        let mut end = OPEN;
        if length != UNDEFINED {
            end = start + u64::from(length);
            if end > level.bound {
                return Err(overrun(level, at, "an item"));
            }
        }
        let bound = level.bound.min(end);
        self.levels.push(Level {
            kind: Kind::Item,
            end,
            bound,
            encoding: level.encoding,
            fresh: true,
        });
        Ok(Event::ItemStart)
    }

    fn next_in_fragments(&mut self, level: Level) -> Result<Event, DataSetError> {
        let at = self.position();
        // Some writers forget the delimiter at the very end.
        if let Some(left) = self.left().filter(|&left| left < 8) {
            self.end(at, left)?;
            self.levels.pop();
            return Ok(Event::FragmentsEnd { at, delimited: false });
        }
        if level.bound.saturating_sub(at) < 8 {
            return Err(overrun(level, at, "a fragment header"));
        }
        let bytes = self.header(at, "a fragment header")?;
        let length = read_length(bytes, level.encoding);
        match read_tag(bytes, level.encoding) {
            tag::ITEM if length != UNDEFINED => {
                let offset = self.position();
                self.fragments_left = self
                    .fragments_left
                    .checked_sub(1)
                    .ok_or_else(|| limit(at, "the number of fragments"))?;
                if u64::from(length) > level.bound.saturating_sub(offset) {
                    return Err(overrun(level, at, "a fragment"));
                }
                self.pending = u64::from(length);
                Ok(Event::Fragment { at, offset, length: u64::from(length) })
            }
            tag::SEQUENCE_DELIMITATION => {
                self.levels.pop();
                Ok(Event::FragmentsEnd { at, delimited: true })
            }
            _ => Err(malformed(at, "something else where a fragment belongs")),
        }
    }
}

fn read_tag(bytes: [u8; 8], encoding: Encoding) -> Tag {
    let [g0, g1, e0, e1, ..] = bytes;
    if encoding == Encoding::ExplicitBig {
        tag::tag(u16::from_be_bytes([g0, g1]), u16::from_be_bytes([e0, e1]))
    } else {
        tag::tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]))
    }
}

fn read_length(bytes: [u8; 8], encoding: Encoding) -> u32 {
    let [.., l0, l1, l2, l3] = bytes;
    if encoding == Encoding::ExplicitBig {
        u32::from_be_bytes([l0, l1, l2, l3])
    } else {
        u32::from_le_bytes([l0, l1, l2, l3])
    }
}

/// Something is longer than what encloses it: the end of the bytes, or a sequence or an item.
fn overrun(level: Level, at: u64, what: &str) -> DataSetError {
    match level.kind {
        Kind::Root => truncated_at(at, what),
        _ if level.end == OPEN => truncated_at(at, what),
        _ => malformed(at, &format!("{what} reaches beyond the item or sequence that holds it")),
    }
}

fn truncated(error: io::Error, at: u64, what: &str) -> DataSetError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated_at(at, what),
        io::ErrorKind::QuotaExceeded => limit(at, "the inflated size"),
        io::ErrorKind::InvalidData => malformed(at, "the deflate stream is corrupt"),
        _ => DataSetError::Io(error),
    }
}

fn truncated_at(at: u64, what: &str) -> DataSetError {
    DataSetError::Truncated { at, what: what.to_owned() }
}

fn malformed(at: u64, what: &str) -> DataSetError {
    DataSetError::Malformed { at, what: what.to_owned() }
}

fn limit(at: u64, what: &str) -> DataSetError {
    DataSetError::Limit { at, what: what.to_owned() }
}

#[cfg(test)]
mod tests;
