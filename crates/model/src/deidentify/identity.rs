//! What identifies the patient of one data set: read before it is rewritten, since a description
//! stands in front of the name that it may repeat.

use super::{Dates, Options};
use crate::charset::{Charset, Knowledge, TextKind};
use crate::dataset::vr::VR;
use crate::dataset::{DataSetError, Event, Limits, Scanner, Source};
use crate::syntax::Encoding;
use crate::tag::{self, Tag};

/// Longer values hold no identifier (bytes).
const LONGEST: u64 = 4096;

/// Identifiers that are kept of one data set; a report names few people.
const MOST_WORDS: usize = 512;

const OTHER_PATIENT_IDS: Tag = tag::tag(0x0010, 0x1000);
const BURNED_IN_ANNOTATION: Tag = tag::tag(0x0028, 0x0301);
const MODEL_NAME: Tag = tag::tag(0x0008, 0x1090);

/// Attributes, beside those of VR PN, whose values are looked for in texts that stay.
const IDENTIFIERS: &[Tag] = &[
    tag::ACCESSION_NUMBER,
    tag::STUDY_ID,
    tag::PATIENT_ID,
    OTHER_PATIENT_IDS,
    tag::tag(0x0010, 0x1040), // Patient's Address
    tag::tag(0x0010, 0x1090), // Medical Record Locator
    tag::tag(0x0010, 0x2154), // Patient's Telephone Numbers
    tag::tag(0x0038, 0x0010), // Admission ID
    tag::tag(0x0038, 0x0060), // Service Episode ID
    tag::tag(0x0040, 0x2016), // Placer Order Number
    tag::tag(0x0040, 0x2017), // Filler Order Number
    tag::tag(0x0040, 0x1001), // Requested Procedure ID
    tag::tag(0x0040, 0x0009), // Scheduled Procedure Step ID
    tag::tag(0x0040, 0x0253), // Performed Procedure Step ID
    tag::tag(0x0012, 0x0040), // Clinical Trial Subject ID
];

/// The same, unless the institution or the device is to stay.
const PLACES: &[Tag] = &[
    tag::INSTITUTION_NAME,
    tag::tag(0x0008, 0x0081), // Institution Address
    tag::tag(0x0008, 0x1040), // Institutional Department Name
];
const DEVICES: &[Tag] = &[
    tag::STATION_NAME,
    tag::tag(0x0018, 0x1000), // Device Serial Number
];

/// What kind of object it is, as far as masks and documents depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// SOP Class UID.
    pub sop_class: String,
    /// Modality.
    pub modality: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Manufacturer's Model Name.
    pub model: String,
    /// Rows, 0 if unknown.
    pub rows: u32,
    /// Columns, 0 if unknown.
    pub columns: u32,
    /// Image Type, with backslashes.
    pub image_type: String,
    /// Burned In Annotation, empty if it is not said.
    pub burned_in: String,
    /// It holds an encapsulated document.
    pub document: bool,
    /// It holds pixel data.
    pub pixels: bool,
    /// Its pixel data is in fragments, as compressed pixel data is.
    pub fragments: bool,
    /// An overlay lies in unused bits of the pixel data (retired).
    pub overlay_in_pixels: bool,
}

/// Identifiers of one data set, and what kind of object it is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    patient_id: String,
    issuer: String,
    patient_name: String,
    birth_date: String,
    study: String,
    named: bool,
    /// In lower case.
    words: Vec<String>,
    subject: Subject,
}

impl Identity {
    /// Reads a data set up to its pixels. `source` gives it in `encoding`, inflated.
    ///
    /// # Errors
    ///
    /// As scanning it.
    pub fn read(
        source: impl Source,
        encoding: Encoding,
        limits: &Limits,
        options: &Options,
    ) -> Result<Self, DataSetError> {
        let mut scanner = Scanner::new(source, encoding, limits);
        let mut identity = Self::default();
        let mut charsets = vec![Charset::undeclared(limits.text)];
        let mut depth = 0_usize;
        let mut value = Vec::new();
        loop {
            match scanner.next()? {
                Event::End => break,
                Event::SequenceStart(_) => depth += 1,
                Event::SequenceEnd => depth = depth.saturating_sub(1),
                Event::ItemStart => {
                    if let Some(last) = charsets.last().cloned() {
                        charsets.push(last);
                    }
                }
                Event::ItemEnd => {
                    charsets.pop();
                }
                Event::FragmentsStart(element) if depth == 0 => {
                    identity.subject.pixels |= element.tag == tag::PIXEL_DATA;
                    identity.subject.fragments = true;
                    break;
                }
                Event::Element(element) => {
                    if depth == 0 && element.tag.group == 0x7FE0 {
                        identity.subject.pixels = true;
                        break;
                    }
                    let wanted = depth == 0 || identity.is_wanted(element.tag, element.vr, options);
                    if !wanted || element.length > LONGEST || !is_small(element.vr) {
                        identity.subject.document |= element.tag == tag::ENCAPSULATED_DOCUMENT;
                        continue;
                    }
                    scanner.value(&mut value)?;
                    if element.tag == tag::SPECIFIC_CHARACTER_SET {
                        if let Some(last) = charsets.last_mut() {
                            *last = Charset::parse(&value, limits.text);
                        }
                        continue;
                    }
                    if matches!(element.vr, VR::US | VR::SS) {
                        let number = match value.split_first_chunk::<2>() {
                            Some((two, _)) if element.big_endian => u16::from_be_bytes(*two),
                            Some((two, _)) => u16::from_le_bytes(*two),
                            None => 0,
                        };
                        identity.note_number(element.tag, u32::from(number));
                        continue;
                    }
                    let kind = match element.vr {
                        VR::PN => TextKind::PersonName,
                        _ => TextKind::Text,
                    };
                    let decoded = charsets.last().map(|charset| charset.decode(&value, kind).0);
                    let text = decoded.unwrap_or_default();
                    identity.note(element.tag, element.vr, &text, depth == 0, options);
                }
                _ => {}
            }
        }
        Ok(identity)
    }

    fn is_wanted(&self, tag: Tag, vr: VR, options: &Options) -> bool {
        matches!(vr, VR::PN | VR::DA | VR::DT)
            || tag == tag::SPECIFIC_CHARACTER_SET
            || is_identifier(tag, options)
    }

    /// Takes in that the outermost data set has an attribute.
    pub(super) fn note_presence(&mut self, tag: Tag) {
        self.subject.document |= tag == tag::ENCAPSULATED_DOCUMENT;
        self.subject.pixels |= tag == tag::PIXEL_DATA;
    }

    /// Takes in a number of the outermost data set.
    pub(super) fn note_number(&mut self, tag: Tag, number: u32) {
        match tag {
            tag::ROWS => self.subject.rows = number,
            tag::COLUMNS => self.subject.columns = number,
            // Overlay Bit Position.
            Tag { group: 0x6000..=0x60FF, element: 0x0102 } => {
                self.subject.overlay_in_pixels |= number > 0;
            }
            _ => {}
        }
    }

    /// Takes in the text of an element.
    pub(super) fn note(
        &mut self,
        tag: Tag,
        vr: VR,
        text: &str,
        outermost: bool,
        options: &Options,
    ) {
        let text = text.trim_matches([' ', '\0']);
        if outermost {
            let subject = &mut self.subject;
            let field = match tag {
                tag::PATIENT_ID => &mut self.patient_id,
                tag::ISSUER_OF_PATIENT_ID => &mut self.issuer,
                tag::PATIENT_NAME => &mut self.patient_name,
                tag::PATIENT_BIRTH_DATE => &mut self.birth_date,
                tag::STUDY_INSTANCE_UID => &mut self.study,
                tag::SOP_CLASS_UID => &mut subject.sop_class,
                tag::MODALITY => &mut subject.modality,
                tag::MANUFACTURER => &mut subject.manufacturer,
                MODEL_NAME => &mut subject.model,
                tag::IMAGE_TYPE => &mut subject.image_type,
                BURNED_IN_ANNOTATION => &mut subject.burned_in,
                _ => &mut String::new(),
            };
            *field = text.to_owned();
            self.named |= matches!(tag, tag::PATIENT_ID | tag::PATIENT_NAME);
        }
        match vr {
            VR::PN => text.split(['\\', '=', '^', ' ', ',']).for_each(|part| self.word(part, 3)),
            VR::DA | VR::DT if options.dates != Dates::Keep => {
                for date in text.split('\\') {
                    let plain = date.replacen('.', "", 2);
                    self.word(plain.get(..8).unwrap_or_default(), 8);
                }
            }
            _ if is_identifier(tag, options) => {
                text.split('\\').for_each(|id| self.word(id, 4));
            }
            _ => {}
        }
    }

    fn word(&mut self, text: &str, shortest: usize) {
        let text = text.trim().to_lowercase();
        // Two Chinese characters are a name; two letters are none.
        let long_enough = text.chars().count() >= if text.is_ascii() { shortest } else { 2 };
        if long_enough && self.words.len() < MOST_WORDS && !self.words.contains(&text) {
            self.words.push(text);
        }
    }

    /// Patient ID as it was, without padding.
    pub(super) fn patient_id(&self) -> &str {
        &self.patient_id
    }

    /// What one patient's objects have in common: ID and issuer; without an ID the name and the
    /// birth date; without these the study.
    pub(super) fn patient_key(&self) -> String {
        let name = self.patient_name.to_lowercase();
        match (self.patient_id.is_empty(), self.patient_name.is_empty()) {
            (false, _) => format!("id\0{}\0{}", self.patient_id, self.issuer),
            (true, false) => format!("name\0{name}\0{}", self.birth_date),
            (true, true) => format!("study\0{}", self.study),
        }
    }

    /// Whether the object names a patient at all; palettes and the like do not.
    pub fn names_patient(&self) -> bool {
        self.named
    }

    /// What kind of object it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The text without what identifies, or `None` when there is nothing in it. Longer identifiers
    /// are found inside of words too, short ones only as words.
    pub fn cleaned(&self, text: &str) -> Option<String> {
        let mut cleaned: Option<String> = None;
        for word in &self.words {
            let from = cleaned.as_deref().unwrap_or(text);
            if let Some(better) = without(from, word) {
                cleaned = Some(better);
            }
        }
        cleaned
    }
}

fn is_identifier(tag: Tag, options: &Options) -> bool {
    IDENTIFIERS.contains(&tag)
        || (!options.institution && PLACES.contains(&tag))
        || (!options.device && DEVICES.contains(&tag))
}

/// Texts and the numbers that are looked at.
fn is_small(vr: VR) -> bool {
    !matches!(
        vr,
        VR::OB | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV | VR::UN | VR::SQ | VR::FL | VR::FD
    )
}

/// Removes every occurrence of `word`, which is in lower case.
fn without(text: &str, word: &str) -> Option<String> {
    let whole = word.is_ascii() && word.len() < 5;
    let folded: Vec<(usize, char)> = text
        .char_indices()
        .flat_map(|(at, letter)| letter.to_lowercase().map(move |lower| (at, lower)))
        .collect();
    let wanted: Vec<char> = word.chars().collect();
    let edge = |index: Option<&(usize, char)>| index.is_none_or(|(_, c)| !c.is_alphanumeric());
    let mut out = String::new();
    let (mut kept_to, mut index) = (0, 0);
    while let Some(rest) = folded.get(index..).filter(|rest| rest.len() >= wanted.len()) {
        let hit = rest.iter().zip(&wanted).all(|((_, have), want)| have == want);
        let before = index.checked_sub(1).and_then(|before| folded.get(before));
        let after = rest.get(wanted.len());
        if !hit || (whole && !(edge(before) && edge(after))) {
            index += 1;
            continue;
        }
        let from = rest.first().map_or(text.len(), |(at, _)| *at);
        out.push_str(text.get(kept_to..from).unwrap_or_default());
        out.push_str("***");
        kept_to = after.map_or(text.len(), |(at, _)| *at);
        index += wanted.len();
    }
    if kept_to == 0 {
        return None;
    }
    out.push_str(text.get(kept_to..).unwrap_or_default());
    Some(out)
}

/// What [`Identity::read`] assumes of text nobody labelled, for callers without limits at hand.
pub(super) fn undeclared() -> Charset {
    Charset::undeclared(Knowledge::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(words: &[&str]) -> Identity {
        Identity { words: words.iter().map(|w| (*w).to_owned()).collect(), ..Identity::default() }
    }

    #[test]
    fn identifiers_are_removed_from_texts() {
        let identity = identity(&["wang", "müller", "20040119", "王小东", "anna"]);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(identity.cleaned(text).as_deref(), expected, "{text}");
        };
        check("CT of WANG, chest", Some("CT of ***, chest"));
        check("Wangensteen tube", None);
        check("MÜLLERS Knie", Some("***S Knie"));
        check("seen 20040119103000", Some("seen ***103000"));
        check("患者王小东胸片", Some("患者***胸片"));
        check("Anna-Anna", Some("***-***"));
        check("Savannah", None);
        check("", None);
    }
}
