//! Edits the elements of one data set as they pass by: decides, and makes the new values.

use std::sync::Arc;

use super::Deidentification;
use super::dates::earlier;
use super::identity::{Identity, undeclared};
use super::rules::{self, Action, Items};
use crate::charset::{Charset, Knowledge, TextKind};
use crate::dataset::vr::VR;
use crate::dataset::{Change, Changes, Element};
use crate::tag::{self, Tag};

/// Texts longer than this are not searched and therefore not kept (bytes).
const LONGEST_TEXT: u64 = 4 << 20;

/// The dummy of free text: short enough for every VR.
const DUMMY: &str = "ANONYMIZED";

/// What becomes of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is copied.
    Copy,
    /// It is left out.
    Remove,
    /// It gets this value.
    Set(Vec<u8>),
    /// The editor must see its value: see [`Editor::value`].
    Read,
}

/// What becomes of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceFate {
    /// It stays; its items are edited.
    Keep,
    /// It is left out.
    Remove,
    /// It gets these items.
    Set(Vec<Changes>),
}

/// The data set or item at hand.
struct Level {
    charset: Charset,
    /// Private blocks whose creator is a known one: group, block, creator.
    creators: Vec<(u16, u16, String)>,
    /// Free text without a rule of its own gets dummies.
    structured: bool,
}

/// Edits one data set.
pub struct Editor {
    how: Deidentification,
    identity: Arc<Identity>,
    text: Knowledge,
    days: i64,
    levels: Vec<Level>,
    /// Of every open sequence, whether its items are [`Items::Structured`].
    sequences: Vec<bool>,
}

impl Editor {
    pub(super) fn new(how: Deidentification, identity: Arc<Identity>, text: Knowledge) -> Self {
        let days = how.project.days(&identity);
        let charset = Charset::undeclared(text);
        let level = Level { charset, creators: Vec::new(), structured: false };
        Self { how, identity, text, days, levels: vec![level], sequences: Vec::new() }
    }

    /// Decides about an element, or about encapsulated pixel data.
    pub fn element(&mut self, element: &Element) -> Fate {
        let Element { tag, vr, length, .. } = *element;
        if tag == tag::SPECIFIC_CHARACTER_SET {
            return Fate::Read;
        }
        if tag.is_private() {
            return self.private(tag);
        }
        match self.action(tag, vr) {
            Action::Remove => Fate::Remove,
            Action::Empty => Fate::Set(Vec::new()),
            Action::Keep if !is_searched(vr) => Fate::Copy,
            Action::Keep if length > LONGEST_TEXT => Fate::Set(DUMMY.into()),
            // What is that long holds no value that a pseudonym could follow from.
            Action::Dummy | Action::Uid | Action::Shift if length > LONGEST_TEXT => Fate::Remove,
            Action::Keep | Action::Dummy | Action::Uid | Action::Shift => Fate::Read,
        }
    }

    /// Makes the value of an element for which [`Fate::Read`] was said.
    pub fn value(&mut self, element: &Element, value: &[u8]) -> Fate {
        let Element { tag, vr, .. } = *element;
        if tag == tag::SPECIFIC_CHARACTER_SET {
            let charset = Charset::parse(value, self.text);
            if let Some(level) = self.levels.last_mut() {
                level.charset = charset;
            }
            return Fate::Copy;
        }
        if tag.is_private() {
            return self.creator(tag, value);
        }
        let action = self.action(tag, vr);
        if action == Action::Keep {
            return self.searched(vr, value);
        }
        let kind = if vr == VR::PN { TextKind::PersonName } else { TextKind::Text };
        let decoded = self.levels.last().map(|level| level.charset.decode(value, kind).0);
        let decoded = decoded.unwrap_or_default();
        match self.replaced(tag, vr, action, decoded.trim_matches([' ', '\0'])) {
            Some(text) => Fate::Set(text.into_bytes()),
            None if vr_is_numeric(vr) => Fate::Set(vec![0; value.len()]),
            None => Fate::Remove,
        }
    }

    /// Decides about a sequence; if it stays, its items and its end must be told.
    pub fn sequence(&mut self, tag: Tag) -> SequenceFate {
        if tag.is_private() {
            return SequenceFate::Remove;
        }
        let items = rules::sequence(tag, &self.how.options);
        let inherited = self.levels.last().is_some_and(|level| level.structured);
        let clean = self.how.options.clean_structured_content;
        match items {
            Items::Remove => return SequenceFate::Remove,
            Items::Empty => return SequenceFate::Set(Vec::new()),
            Items::Code => return SequenceFate::Set(vec![meaningless_code()]),
            Items::Keep => self.sequences.push(inherited),
            Items::Structured => self.sequences.push(!clean),
        }
        SequenceFate::Keep
    }

    /// A sequence begins that stays whatever its rule is.
    pub fn sequence_within(&mut self) {
        self.sequences.push(false);
    }

    /// An item of a sequence that stays begins.
    pub fn item_start(&mut self) {
        let charset = self.levels.last().map(|level| level.charset.clone());
        let structured = self.sequences.last().copied().unwrap_or(false);
        let charset = charset.unwrap_or_else(undeclared);
        self.levels.push(Level { charset, creators: Vec::new(), structured });
    }

    /// It ends.
    pub fn item_end(&mut self) {
        // The outermost data set stays.
        if self.levels.len() > 1 {
            self.levels.pop();
        }
    }

    /// A sequence that stays ends.
    pub fn sequence_end(&mut self) {
        self.sequences.pop();
    }

    pub(super) fn action(&self, tag: Tag, vr: VR) -> Action {
        let action = rules::element(tag, vr, &self.how.options);
        let structured = self.levels.last().is_some_and(|level| level.structured);
        let free = is_searched(vr) && !rules::is_code(tag);
        if action == Action::Keep && structured && free { Action::Dummy } else { action }
    }

    /// The new value of a text or of a date; `None` when its kind has none.
    pub(super) fn replaced(&self, tag: Tag, vr: VR, action: Action, text: &str) -> Option<String> {
        let each = |change: &dyn Fn(&str) -> String| {
            Some(text.split('\\').map(change).collect::<Vec<_>>().join("\\"))
        };
        if text.is_empty() {
            // What had no value needs none.
            return if vr_is_numeric(vr) { None } else { Some(String::new()) };
        }
        let project = &self.how.project;
        match (action, vr) {
            (Action::Uid, _) | (Action::Dummy, VR::UI) => each(&|uid| project.uid(uid)),
            (Action::Shift, _) => {
                each(&|date| earlier(date, self.days).unwrap_or_else(|| dummy_date(vr).to_owned()))
            }
            (Action::Dummy, VR::PN) if tag == tag::PATIENT_NAME => {
                Some(project.patient_id(&self.identity))
            }
            (Action::Dummy, VR::PN) => each(&|name| project.person(name)),
            (Action::Dummy, _) if tag == tag::PATIENT_ID => {
                Some(project.patient_id(&self.identity))
            }
            (Action::Dummy, VR::DA | VR::DT | VR::TM) => each(&|_| dummy_date(vr).to_owned()),
            (Action::Dummy, VR::SH | VR::LO | VR::UC) if is_identifier(tag) => {
                each(&|id| project.code("id", id))
            }
            (Action::Dummy, VR::AS) => Some("000Y".to_owned()),
            (Action::Dummy, VR::DS | VR::IS) => Some("0".to_owned()),
            (Action::Dummy, VR::UR) => Some("urn:anonymized".to_owned()),
            (Action::Dummy, _) if vr_is_text(vr) => Some(DUMMY.to_owned()),
            _ => None,
        }
    }

    /// A text that stays, without identifiers.
    fn searched(&self, vr: VR, value: &[u8]) -> Fate {
        let kind = if vr == VR::PN { TextKind::PersonName } else { TextKind::Text };
        let Some(level) = self.levels.last() else { return Fate::Remove };
        let (text, _) = level.charset.decode(value, kind);
        match self.cleaned(&text) {
            None => Fate::Copy,
            // Back into its character set only where that is certain.
            Some(cleaned) if text.is_ascii() && cleaned.is_ascii() => {
                Fate::Set(cleaned.trim_end_matches([' ', '\0']).as_bytes().to_vec())
            }
            Some(_) => Fate::Set(DUMMY.into()),
        }
    }

    /// See [`Identity::cleaned`].
    pub(super) fn cleaned(&self, text: &str) -> Option<String> {
        self.identity.cleaned(text)
    }

    fn private(&mut self, tag: Tag) -> Fate {
        if !self.how.options.safe_private {
            return Fate::Remove;
        }
        if (0x0010..=0x00FF).contains(&tag.element) {
            return Fate::Read;
        }
        let block = tag.element >> 8;
        let creators = self.levels.last().map(|level| level.creators.as_slice());
        let known = creators.unwrap_or_default().iter().any(|(group, of, creator)| {
            *group == tag.group && *of == block && rules::is_safe_private(creator, tag)
        });
        if known { Fate::Copy } else { Fate::Remove }
    }

    /// The creator of a private block stays if something of it may stay.
    fn creator(&mut self, tag: Tag, value: &[u8]) -> Fate {
        let creator = String::from_utf8_lossy(value);
        let creator = creator.trim_matches([' ', '\0']);
        if !rules::is_safe_creator(creator, tag.group) {
            return Fate::Remove;
        }
        if let Some(level) = self.levels.last_mut() {
            level.creators.push((tag.group, tag.element, creator.to_owned()));
        }
        Fate::Copy
    }
}

/// Attributes whose dummies tell things apart that were apart.
fn is_identifier(tag: Tag) -> bool {
    matches!(
        tag,
        tag::ACCESSION_NUMBER
            | tag::STUDY_ID
            | Tag { group: 0x0018, element: 0x1000 | 0x700A | 0x9367 | 0x9371 }
            | Tag { group: 0x0012, element: 0x0040 | 0x0042 }
            | Tag { group: 0x0040, element: 0x0512 | 0x0551 }
    )
}

fn dummy_date(vr: VR) -> &'static str {
    match vr {
        VR::TM => "000000",
        VR::DT => "19000101000000",
        _ => "19000101",
    }
}

fn meaningless_code() -> Changes {
    Changes::from([
        (tag::tag(0x0008, 0x0100), Change::text(VR::SH, DUMMY)),
        (tag::tag(0x0008, 0x0102), Change::text(VR::SH, "99QIANLI")),
        (tag::tag(0x0008, 0x0104), Change::text(VR::LO, "Anonymized")),
    ])
}

/// Text that people write.
fn is_searched(vr: VR) -> bool {
    matches!(vr, VR::AE | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT)
}

fn vr_is_text(vr: VR) -> bool {
    is_searched(vr) || vr == VR::CS
}

fn vr_is_numeric(vr: VR) -> bool {
    !vr_is_text(vr)
        && !matches!(vr, VR::UI | VR::DA | VR::DT | VR::TM | VR::AS | VR::DS | VR::IS | VR::UN)
}
