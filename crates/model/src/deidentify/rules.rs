//! What becomes of an attribute: table E.1-1 with the options, and our rules where it is silent.

use super::table::{self, Code};
use super::{Dates, Options};
use crate::dataset::vr::{self, VR};
use crate::tag::{self, Tag};

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It is left out.
    Remove,
    /// It stays, with no value or no items.
    Empty,
    /// It gets a dummy value; of a sequence, see [`sequence`].
    Dummy,
    /// It gets another UID.
    Uid,
    /// Dates are moved; times stay.
    Shift,
    /// It stays; texts are searched for identifiers all the same.
    Keep,
}

/// What becomes of a sequence, of which the items that stay are edited like data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// Left out.
    Remove,
    /// No items.
    Empty,
    /// One item with a code that means nothing.
    Code,
    /// They stay.
    Keep,
    /// They stay, and texts in them that have no rule get dummies (reports).
    Structured,
}

const CONTENT_SEQUENCE: Tag = tag::tag(0x0040, 0xA730);

/// Attributes that name classes and syntaxes, private ones too, and never instances.
const CLASSES: &[Tag] = &[
    tag::SOP_CLASS_UID,
    tag::SOP_CLASSES_IN_STUDY,
    tag::AVAILABLE_TRANSFER_SYNTAX_UID,
    tag::tag(0x0008, 0x001A), // Related General SOP Class UID
    tag::tag(0x0008, 0x001B), // Original Specialized SOP Class UID
    tag::tag(0x0008, 0x010C), // Coding Scheme UID
    tag::tag(0x0008, 0x0117), // Context UID
    tag::tag(0x0008, 0x0118), // Mapping Resource UID
    tag::tag(0x0008, 0x1150), // Referenced SOP Class UID
    tag::tag(0x0008, 0x115A), // SOP Classes Supported
    tag::tag(0x0400, 0x0010), // MAC Calculation Transfer Syntax UID
];

/// Attributes that the table removes and that presentation states must have (PS3.3 section C.11.10);
/// their dummies tell nobody anything.
const REQUIRED: &[Tag] = &[
    tag::tag(0x0070, 0x0082), // Presentation Creation Date
    tag::tag(0x0070, 0x0083), // Presentation Creation Time
];

/// The rule for an attribute that is no sequence and not private; `vr` as it is encoded.
pub(super) fn element(tag: Tag, vr: VR, options: &Options) -> Action {
    if let Some(action) = group(tag, options) {
        return action;
    }
    let Some(row) = table::find(tag) else { return unlisted(tag, vr, options) };
    if let Some(action) = by_option(row.options, vr, options) {
        return action;
    }
    match row.code {
        Code::Remove if REQUIRED.contains(&tag) => Action::Dummy,
        Code::Remove => Action::Remove,
        Code::Uid => Action::Uid,
        // The receiver may need a value where X/Z/D leaves it open: what is valid for type 1 is
        // valid for types 2 and 3 as well.
        Code::Dummy | Code::RemoveOrDummy | Code::EmptyOrDummy | Code::RemoveOrEmptyOrDummy => {
            Action::Dummy
        }
        Code::Empty | Code::RemoveOrEmpty | Code::RemoveOrEmptyOrUids => match tag {
            // Zero-length is allowed, and so is a dummy (table E.1-1a); these keep things together.
            tag::ACCESSION_NUMBER | tag::STUDY_ID => Action::Dummy,
            tag::PATIENT_NAME => Action::Dummy,
            _ => Action::Empty,
        },
    }
}

/// The rule for a sequence that is not private.
pub(super) fn sequence(tag: Tag, options: &Options) -> Items {
    match group(tag, options) {
        Some(Action::Remove) => return Items::Remove,
        Some(_) => return Items::Keep,
        None => {}
    }
    let Some(row) = table::find(tag) else {
        return if tag.keyword().is_some() { Items::Keep } else { Items::Remove };
    };
    match by_option(row.options, VR::SQ, options) {
        Some(Action::Remove) => return Items::Remove,
        Some(_) => return Items::Keep,
        None => {}
    }
    match (row.code, tag) {
        (_, CONTENT_SEQUENCE) => Items::Structured,
        // Referenced Performed Procedure Step, Verifying Observer, Flow Identifier: their items hold
        // nothing that has no rule of its own.
        (_, Tag { group: 0x0008, element: 0x1111 })
        | (_, Tag { group: 0x0040, element: 0xA073 })
        | (_, Tag { group: 0x0034, element: 0x0001 })
        | (Code::RemoveOrEmptyOrUids, _) => Items::Keep,
        // Institution Code, Person Identification Code.
        (_, Tag { group: 0x0008, element: 0x0082 })
        | (_, Tag { group: 0x0040, element: 0x1101 }) => Items::Code,
        // Referenced Study is of type 3 in every composite object, and then not without items.
        (_, Tag { group: 0x0008, element: 0x1110 }) => Items::Remove,
        (Code::Empty | Code::RemoveOrEmpty, _) => Items::Empty,
        _ => Items::Remove,
    }
}

/// Whether a text attribute is part of a code (PS3.3 section 8.8): vocabulary, not free text.
pub(super) fn is_code(tag: Tag) -> bool {
    tag.group == 0x0008 && matches!(tag.element, 0x0100..=0x0124)
}

/// Groups that go or stay as a whole.
fn group(tag: Tag, options: &Options) -> Option<Action> {
    match tag.group {
        // Overlays and curves: without their data the rest of the group would be invalid.
        0x5000..=0x50FF | 0x6000..=0x60FF if options.clean_graphics => Some(Action::Keep),
        0x5000..=0x50FF | 0x6000..=0x60FF => Some(Action::Remove),
        // Command, file and directory elements have no place in a data set.
        0x0000..=0x0007 => Some(Action::Remove),
        _ => None,
    }
}

/// What the options make of an attribute with these letters.
fn by_option(letters: &str, vr: VR, options: &Options) -> Option<Action> {
    let temporal = letters.contains('T');
    let on = [
        ('U', options.uids),
        ('V', options.device),
        ('v', options.device),
        ('I', options.institution),
        ('P', options.patient_characteristics),
        ('p', options.patient_characteristics),
        ('d', options.clean_descriptors),
        ('s', options.clean_structured_content),
        ('g', options.clean_graphics),
    ];
    let kept = on.iter().any(|(letter, on)| *on && letters.contains(*letter));
    match options.dates {
        // The date of a device is kept as one if the device is; dates are decided by their option.
        Dates::Keep if temporal => return Some(Action::Keep),
        Dates::Shift if temporal => return Some(shift(vr)),
        Dates::Remove if temporal => return None,
        _ => {}
    }
    kept.then_some(Action::Keep)
}

fn shift(vr: VR) -> Action {
    match vr {
        VR::DA | VR::DT => Action::Shift,
        VR::TM | VR::SQ => Action::Keep,
        // Zones, timestamps in bytes and ages cannot be moved by days.
        VR::SH => Action::Keep,
        VR::OB => Action::Dummy,
        _ => Action::Remove,
    }
}

/// Attributes that the table does not list stay, unless their kind is one that identifies.
fn unlisted(tag: Tag, vr: VR, options: &Options) -> Action {
    if tag.keyword().is_none() {
        return Action::Remove;
    }
    // Text where the standard has numbers or bytes, or the other way round, is not what it says.
    let known = vr::lookup(tag, false);
    if is_text(known) != is_text(vr) && known != VR::UN {
        return Action::Remove;
    }
    match vr {
        VR::UI if CLASSES.contains(&tag) => Action::Keep,
        VR::UI if options.uids => Action::Keep,
        VR::UI => Action::Uid,
        VR::PN => Action::Dummy,
        VR::DA | VR::DT | VR::TM => match options.dates {
            Dates::Remove => Action::Dummy,
            Dates::Shift => shift(vr),
            Dates::Keep => Action::Keep,
        },
        VR::UN => Action::Remove,
        _ => Action::Keep,
    }
}

fn is_text(vr: VR) -> bool {
    vr::word_size(vr) == 1 && !matches!(vr, VR::OB | VR::UN | VR::SQ)
}

/// Private attributes that are known to be safe: PS3.15 table E.3.10-1, those that hold a number or a
/// code. Creator, group, and the last two digits of the element.
const SAFE_PRIVATE: &[(&str, u16, &[u8])] = &[
    ("Philips PET Private Group", 0x7053, &[0x00, 0x09]),
    ("ELSCINT1", 0x00E1, &[0x21]),
    ("ELSCINT1", 0x01E1, &[0x26, 0x50]),
    ("ELSCINT1", 0x01F1, &[0x01, 0x07, 0x26, 0x27]),
    ("GEMS_ACQU_01", 0x0019, &[0x23, 0x24, 0x27]),
    ("GEMS_HELIOS_01", 0x0045, &[0x01, 0x02]),
    ("GEMS_PARM_01", 0x0043, &[0x27, 0x39, 0x6F]),
    ("GEMS_SERS_01", 0x0025, &[0x07]),
    ("GEIIS PACS", 0x0903, &[0x10, 0x11, 0x12]),
    ("Philips Imaging DD 001", 0x2001, &[0x03, 0x04]),
    ("SIEMENS MR HEADER", 0x0019, &[0x0C, 0x0D, 0x0E, 0x27]),
];

/// Whether some attribute of this creator in this group is known to be safe.
pub(super) fn is_safe_creator(creator: &str, group: u16) -> bool {
    SAFE_PRIVATE.iter().any(|(name, of, _)| *name == creator && *of == group)
}

/// Whether a private attribute is known to be safe.
pub(super) fn is_safe_private(creator: &str, tag: Tag) -> bool {
    let [_, last] = tag.element.to_be_bytes();
    SAFE_PRIVATE
        .iter()
        .any(|(name, of, safe)| *name == creator && *of == tag.group && safe.contains(&last))
}
