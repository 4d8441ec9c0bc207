//! The pass over a data set: writes JSON, notes bulk values, captures header fields.

use std::collections::HashSet;

use super::capture::Capture;
use super::coerce::{Blocks, Issuer, is_creator};
use super::value::{self, Form};
use crate::charset::{Certainty, Charset, TextKind};
use crate::dataset::vr::{self, VR};
use crate::dataset::{DataSetError, Element, Event, Limits, Scanner, Source};
use crate::frames::locate::{self, Fragment, Tables};
use crate::frames::{ByteRange, FrameTable};
use crate::header::{BASE_URL_MARK, BULK_THRESHOLD, BulkValue, Warning};
use crate::syntax::TransferSyntax;
use crate::tag::{self, Tag};

/// Data Set Trailing Padding (PS3.10 section 7.2).
const TRAILING_PADDING: Tag = tag::tag(0xFFFC, 0xFFFC);
/// More oddities than this are not listed.
const MAX_WARNINGS: usize = 32;

/// Oddities, each told once.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    pub(super) list: Vec<Warning>,
}

impl Warnings {
    fn add(&mut self, tag: Option<Tag>, message: &str) {
        let known = self.list.iter().any(|warning| warning.message == message);
        if !known && self.list.len() < MAX_WARNINGS {
            self.list.push(Warning { tag, message: message.to_owned() });
        }
    }
}

/// An open data set: the root or an item.
#[derive(Debug)]
struct Set {
    charset: Charset,
    /// Tags so far, in order of appearance.
    seen: Vec<Tag>,
    highest: Option<Tag>,
    /// The same tags, once they turn out not to be in order.
    index: Option<HashSet<Tag>>,
    blocks: Blocks,
}

/// An open sequence; the set above it on the stack is its current item.
#[derive(Debug)]
struct Sequence {
    tag: Tag,
    items: u32,
    /// Where the JSON text and the root's member began.
    start: usize,
    bulk_before: usize,
    /// The second of its tag: its JSON is taken back.
    repeated: bool,
}

/// Encapsulated pixel data being read.
#[derive(Debug)]
struct Encapsulated {
    element: Element,
    first: u64,
    count: u64,
    start: usize,
    repeated: bool,
}

/// Where the pixel data of the root data set is.
#[derive(Debug, Default)]
enum PixelData {
    #[default]
    None,
    Native {
        tag: Tag,
        range: ByteRange,
    },
    Fragments,
}

pub(super) struct Walk<'l> {
    limits: &'l Limits,
    pub(super) json: Vec<u8>,
    pub(super) bulk: Vec<BulkValue>,
    pub(super) warnings: Warnings,
    pub(super) capture: Capture,
    /// Specific Character Set of the root, as it was declared.
    pub(super) declared: Option<String>,
    sets: Vec<Set>,
    sequences: Vec<Sequence>,
    encapsulated: Option<Encapsulated>,
    pixel_data: PixelData,
    fragments: Vec<Fragment>,
    tables: Tables,
    value: Vec<u8>,
    issuer: Issuer,
}

impl<'l> Walk<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            json: Vec::with_capacity(8 << 10),
            bulk: Vec::new(),
            warnings: Warnings::default(),
            capture: Capture::default(),
            declared: None,
            sets: Vec::new(),
            sequences: Vec::new(),
            encapsulated: None,
            pixel_data: PixelData::None,
            fragments: Vec::new(),
            tables: Tables::default(),
            value: Vec::with_capacity(1 << 10),
            issuer: Issuer::default(),
        }
    }

    pub(super) fn run<S: Source>(&mut self, scanner: &mut Scanner<S>) -> Result<(), DataSetError> {
        self.open_set(Charset::undeclared(self.limits.text));
        loop {
            match scanner.next()? {
                Event::Element(element) => self.element(scanner, element)?,
                Event::SequenceStart(element) => self.start_sequence(element),
                Event::ItemStart => self.start_item(),
                Event::ItemEnd => {
                    self.json.push(b'}');
                    self.sets.pop();
                }
                Event::SequenceEnd => self.end_sequence(),
                Event::FragmentsStart(element) => self.start_fragments(element),
                Event::Fragment { at, offset, length } => {
                    self.fragment(scanner, at, ByteRange { offset, length })?;
                }
                Event::FragmentsEnd { at, delimited } => self.end_fragments(at, delimited),
                Event::End => break,
            }
            if self.json.len() > self.limits.max_json {
                return Err(self.too_long(scanner.position()));
            }
        }
        self.write_issuer();
        self.json.push(b'}');
        self.sets.pop();
        for oddity in scanner.oddities() {
            self.warnings.add(None, oddity);
        }
        Ok(())
    }

    /// Locates the frames, once the data set has been walked.
    pub(super) fn frame_table(&mut self, syntax: TransferSyntax) -> FrameTable {
        let located = match &self.pixel_data {
            PixelData::None => return FrameTable::None,
            PixelData::Native { tag, range } => {
                locate::native(&self.capture.pixels, *tag, *range, syntax)
            }
            PixelData::Fragments => {
                locate::encapsulated(&self.capture.pixels, &self.fragments, &self.tables, syntax)
            }
        };
        if let Some(oddity) = located.oddity {
            self.warnings.add(Some(tag::PIXEL_DATA), oddity);
        }
        located.table
    }

    fn too_long(&self, at: u64) -> DataSetError {
        DataSetError::Limit { at, what: "the size of the header".to_owned() }
    }

    fn in_root(&self) -> bool {
        self.sequences.is_empty()
    }

    fn open_set(&mut self, charset: Charset) {
        self.json.push(b'{');
        let blocks = Blocks::default();
        self.sets.push(Set { charset, seen: Vec::new(), highest: None, index: None, blocks });
    }

    /// Notes a tag of the current data set; false if it was there before.
    fn admit(&mut self, tag: Tag) -> bool {
        let Some(set) = self.sets.last_mut() else { return false };
        if set.highest.is_none_or(|highest| tag > highest) {
            set.highest = Some(tag);
        } else {
            let index = set.index.get_or_insert_with(|| set.seen.iter().copied().collect());
            if index.contains(&tag) {
                self.warnings.add(Some(tag), "an element occurs twice; the first one counts");
                return false;
            }
            self.warnings.add(Some(tag), "the elements are not in ascending order");
        }
        set.seen.push(tag);
        if let Some(index) = &mut set.index {
            index.insert(tag);
        }
        true
    }

    /// Writes `"GGGGEEEE":{"vr":"XX"`, after a comma if it is not the first; returns where the
    /// member starts.
    fn open_member(&mut self, tag: Tag, vr: VR) -> usize {
        if self.json.last() != Some(&b'{') {
            self.json.push(b',');
        }
        let start = self.json.len();
        if self.sets.len() == 1 {
            self.issuer.passes(tag, start);
        }
        self.json.push(b'"');
        for byte in tag.group.to_be_bytes().into_iter().chain(tag.element.to_be_bytes()) {
            super::text::push_hex(&mut self.json, byte);
        }
        self.json.extend_from_slice(b"\":{\"vr\":\"");
        self.json.extend_from_slice(vr.to_string().as_bytes());
        self.json.push(b'"');
        start
    }

    fn element<S: Source>(
        &mut self,
        scanner: &mut Scanner<S>,
        element: Element,
    ) -> Result<(), DataSetError> {
        let Element { tag, vr, offset, length, .. } = element;
        if tag.is_group_length() || tag == TRAILING_PADDING || !self.admit(tag) {
            return Ok(());
        }
        let root = self.in_root();
        self.capture.is_directory |= root && tag.group == 0x0004;
        let pixels = root
            && matches!(
                tag,
                tag::PIXEL_DATA | tag::FLOAT_PIXEL_DATA | tag::DOUBLE_FLOAT_PIXEL_DATA
            );
        let before = self.json.len();
        let start = self.open_member(tag, vr);
        let bulk_before = self.bulk.len();
        let range = ByteRange { offset, length };
        if pixels {
            self.pixel_data = PixelData::Native { tag, range };
        }
        if root && matches!(tag, tag::EXTENDED_OFFSET_TABLE | tag::EXTENDED_OFFSET_TABLE_LENGTHS) {
            self.extended_table(scanner, element)?;
        }
        let is_text = value::form(vr) == Form::Text;
        // What is retrieved on its own has a range of its own, however short it is.
        let apart = pixels || (root && tag == tag::ENCAPSULATED_DOCUMENT);
        if length == 0 {
            // Attributes without a value have neither Value nor InlineBinary (PS3.18 F.2.5).
            if root && tag == tag::ISSUER_OF_PATIENT_ID {
                self.issuer_value("");
            }
        } else if apart || (!is_text && length > BULK_THRESHOLD) {
            self.write_bulk(tag, vr, range);
        } else {
            if length > self.limits.max_json as u64 {
                return Err(self.too_long(offset));
            }
            // The offset tables were read already.
            if !self.tables.holds(tag) || !root {
                scanner.value(&mut self.value)?;
            }
            self.inline(scanner, element, root);
            if is_creator(tag) {
                self.reserve(tag);
            }
        }
        self.json.push(b'}');
        if self.leaves_out(tag) {
            self.json.truncate(before);
            self.bulk.truncate(bulk_before);
            return Ok(());
        }
        if root && self.bulk.len() == bulk_before {
            self.capture.member(tag, self.json.get(start..).unwrap_or(&[]));
        }
        Ok(())
    }

    /// Writes the value in `self.value` and keeps what the header wants of it.
    fn inline<S: Source>(&mut self, scanner: &mut Scanner<S>, element: Element, root: bool) {
        let Element { tag, vr, big_endian, .. } = element;
        if big_endian {
            swap_words(&mut self.value, vr::word_size(vr));
        }
        match value::form(vr) {
            Form::Bytes => value::write_bytes(&mut self.json, &self.value),
            Form::Numbers => {
                if !value::write_numbers(&mut self.json, vr, &self.value) {
                    self.warnings.add(Some(tag), "a binary value has an impossible length");
                }
                if root
                    && matches!(vr, VR::US | VR::SS)
                    && let Some((first, _)) = self.value.split_first_chunk::<2>()
                {
                    let number = u16::from_le_bytes(*first);
                    self.capture.number(tag, number);
                    if tag == tag::PIXEL_REPRESENTATION {
                        scanner.set_signed(number == 1);
                    }
                }
            }
            Form::Text if tag == tag::SPECIFIC_CHARACTER_SET => self.declare_charset(),
            Form::Text => self.text(tag, vr, root),
        }
    }

    fn text(&mut self, tag: Tag, vr: VR, root: bool) {
        let Some(set) = self.sets.last() else { return };
        let kind = if vr == VR::PN { TextKind::PersonName } else { TextKind::Text };
        let (text, certainty) = set.charset.decode(&self.value, kind);
        match certainty {
            Certainty::Exact => {}
            Certainty::Guessed => {
                self.warnings.add(Some(tag), "text beyond ASCII without a known character set");
            }
            Certainty::Replaced => {
                self.warnings.add(Some(tag), "text does not fit its declared character set");
            }
        }
        if root && tag == tag::ISSUER_OF_PATIENT_ID {
            let text = text.into_owned();
            return self.issuer_value(&text);
        }
        if !value::write_text(&mut self.json, vr, &text) {
            self.warnings.add(Some(tag), "a decimal string is not a number");
        }
        if root {
            self.capture.text(tag, &text);
        }
    }

    /// PS3.18 section F.2: DICOM JSON is UTF-8, and says so where the data set said something.
    fn declare_charset(&mut self) {
        let is_root = self.sets.len() == 1;
        let Some(set) = self.sets.last_mut() else { return };
        if is_root {
            self.declared = Some(String::from_utf8_lossy(&self.value).into_owned());
        }
        let blank = self.value.iter().all(|&b| matches!(b, b' ' | 0));
        if blank {
            return;
        }
        set.charset = Charset::parse(&self.value, self.limits.text);
        if !set.charset.is_known() {
            let tag = Some(tag::SPECIFIC_CHARACTER_SET);
            self.warnings.add(tag, "the specific character set is unknown");
        }
        self.json.extend_from_slice(b",\"Value\":[\"ISO_IR 192\"]");
    }

    fn extended_table<S: Source>(
        &mut self,
        scanner: &mut Scanner<S>,
        element: Element,
    ) -> Result<(), DataSetError> {
        if element.length > (self.limits.max_fragments as u64).saturating_mul(8) {
            let what = "the size of the extended offset table".to_owned();
            return Err(DataSetError::Limit { at: element.offset, what });
        }
        scanner.value(&mut self.value)?;
        self.tables.set_extended(element.tag, &self.value, element.big_endian);
        Ok(())
    }

    fn start_sequence(&mut self, element: Element) {
        let repeated = !self.admit(element.tag) || self.leaves_out(element.tag);
        let before = self.json.len();
        let member = self.open_member(element.tag, VR::SQ);
        let start = if repeated { before } else { member };
        self.sequences.push(Sequence {
            tag: element.tag,
            items: 0,
            start,
            bulk_before: self.bulk.len(),
            repeated,
        });
        let root = self.sequences.len() == 1;
        self.capture.is_directory |= root && element.tag.group == 0x0004;
    }

    fn start_item(&mut self) {
        let Some(sequence) = self.sequences.last_mut() else { return };
        sequence.items += 1;
        let opening: &[u8] = if sequence.items == 1 { b",\"Value\":[" } else { b"," };
        self.json.extend_from_slice(opening);
        // A character set holds for the item that declares it and what is nested in it.
        let Some(parent) = self.sets.last() else { return };
        self.open_set(parent.charset.clone());
    }

    fn end_sequence(&mut self) {
        let Some(sequence) = self.sequences.pop() else { return };
        if sequence.repeated {
            self.json.truncate(sequence.start);
            self.bulk.truncate(sequence.bulk_before);
            return;
        }
        self.json.extend_from_slice(if sequence.items > 0 { b"]}" } else { b"}" });
        if self.in_root() && self.bulk.len() == sequence.bulk_before {
            let member = self.json.get(sequence.start..).unwrap_or(&[]);
            self.capture.member(sequence.tag, member);
        }
    }

    fn start_fragments(&mut self, element: Element) {
        let repeated = !self.admit(element.tag) || self.leaves_out(element.tag);
        let vr = if element.vr == VR::UN { VR::OB } else { element.vr };
        let start = self.json.len();
        if !repeated {
            self.open_member(element.tag, vr);
        }
        let element = Element { vr, ..element };
        self.encapsulated =
            Some(Encapsulated { element, first: element.offset, count: 0, start, repeated });
        if self.is_frame_source() {
            self.pixel_data = PixelData::Fragments;
        }
    }

    /// Whether the fragments being read are the pixel data of the instance itself.
    fn is_frame_source(&self) -> bool {
        self.in_root()
            && self
                .encapsulated
                .as_ref()
                .is_some_and(|open| open.element.tag == tag::PIXEL_DATA && !open.repeated)
    }

    fn fragment<S: Source>(
        &mut self,
        scanner: &mut Scanner<S>,
        at: u64,
        range: ByteRange,
    ) -> Result<(), DataSetError> {
        let frame_source = self.is_frame_source();
        let Some(open) = &mut self.encapsulated else { return Ok(()) };
        open.count += 1;
        if !frame_source {
            return Ok(());
        }
        if open.count == 1 {
            if range.length > (self.limits.max_fragments as u64).saturating_mul(4) {
                let what = "the size of the basic offset table".to_owned();
                return Err(DataSetError::Limit { at, what });
            }
            scanner.value(&mut self.value)?;
            self.tables.set_basic(&self.value);
            return Ok(());
        }
        let mut head = [0; 12];
        let length = scanner.value_start(&mut head)?;
        let starts_codestream = locate::starts_codestream(head.get(..length).unwrap_or(&[]));
        self.fragments.push(Fragment { at, range, starts_codestream });
        Ok(())
    }

    fn end_fragments(&mut self, at: u64, delimited: bool) {
        let Some(open) = self.encapsulated.take() else { return };
        let tag = open.element.tag;
        if !delimited {
            self.warnings.add(Some(tag), "the sequence delimiter of the pixel data is missing");
        }
        if open.repeated {
            self.json.truncate(open.start);
            return;
        }
        let length = at.saturating_sub(open.first);
        if length > 0 {
            self.write_bulk(tag, open.element.vr, ByteRange { offset: open.first, length });
        }
        self.json.push(b'}');
    }

    /// Notes whose block of private elements is, by the value that was just read.
    fn reserve(&mut self, tag: Tag) {
        if let (Some(known), Some(set)) = (&self.limits.known, self.sets.last_mut()) {
            set.blocks.reserve(known, tag, &self.value);
        }
    }

    /// Whether the register says that an element is left out.
    fn leaves_out(&self, tag: Tag) -> bool {
        let known = self.limits.known.as_ref().zip(self.sets.last());
        known.is_some_and(|(known, set)| set.blocks.leave_out(known, tag))
    }

    /// The issuer that the register knows, where there is a patient ID.
    fn known_issuer(&self) -> Option<&'l str> {
        let issuer = self.limits.known.as_ref().map_or("", |known| known.issuer.as_str());
        (!issuer.is_empty() && !self.capture.patient.id.is_empty()).then_some(issuer)
    }

    /// Writes the value of Issuer of Patient ID: the one that is there, else the one that is known.
    fn issuer_value(&mut self, text: &str) {
        let blank = value::trim(text).is_empty();
        let text = self.known_issuer().filter(|_| blank).unwrap_or(text);
        value::write_text(&mut self.json, VR::LO, text);
        self.capture.text(tag::ISSUER_OF_PATIENT_ID, text);
    }

    /// Writes Issuer of Patient ID into the root, at its place, where it is not there and is known.
    fn write_issuer(&mut self) {
        let Some(issuer) = self.known_issuer().filter(|_| !self.issuer.done) else { return };
        let end = self.json.len();
        let start = self.open_member(tag::ISSUER_OF_PATIENT_ID, VR::LO);
        value::write_text(&mut self.json, VR::LO, issuer);
        self.json.push(b'}');
        self.capture.text(tag::ISSUER_OF_PATIENT_ID, issuer);
        let mut member = self.json.split_off(start);
        self.capture.member(tag::ISSUER_OF_PATIENT_ID, &member);
        match self.issuer.place.filter(|place| *place < end) {
            Some(place) => {
                // Without the comma that was written for the end.
                self.json.truncate(end);
                member.push(b',');
                self.json.splice(place..place, member);
            }
            None => self.json.append(&mut member),
        }
    }

    /// Writes the BulkDataURI and notes where the value lies.
    fn write_bulk(&mut self, tag: Tag, vr: VR, range: ByteRange) {
        let mut path = String::new();
        for sequence in &self.sequences {
            path.push_str(&format!("{}/{}/", sequence.tag, sequence.items.saturating_sub(1)));
        }
        path.push_str(&tag.to_string());
        self.json.extend_from_slice(b",\"BulkDataURI\":\"");
        self.json.push(BASE_URL_MARK);
        self.json.extend_from_slice(b"/bulkdata/");
        self.json.extend_from_slice(path.as_bytes());
        self.json.push(b'"');
        self.bulk.push(BulkValue { path, vr: vr.to_string().to_owned(), range });
    }
}

/// Turns big endian words into little endian ones; an incomplete last word is left as it is.
fn swap_words(bytes: &mut [u8], size: usize) {
    if size > 1 {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}
