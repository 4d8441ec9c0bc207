//! Which attributes a workitem has and who may set them when: PS3.4 table CC.2.5-3 as a table.

use dicom_core::VR;

use super::data::{DataSet, name_of, tags};
use super::{Refusal, State, instant};
use crate::tag::{self, Tag, tag};

/// What the table says about an attribute in a request that creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Type 1: there, with a value.
    Value,
    /// Type 2: there; where a client leaves it out, it is added without a value.
    Present,
    /// Type 2 for the client, type 1 for us: an empty one gets a value of ours.
    Filled,
    /// Empty or absent; what is added later has its own requests.
    Nothing,
    /// Type 3.
    Free,
    /// Not allowed; set here.
    Ours,
}

/// What the table says about an attribute in a request that updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// If it is there, it has a value.
    Value,
    /// Anything.
    Free,
    /// Not allowed.
    Never,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The attribute.
    pub tag: Tag,
    /// Its value representation.
    pub vr: VR,
    /// N-CREATE.
    pub create: Create,
    /// N-SET.
    pub update: Update,
}

const fn rule(group: u16, element: u16, vr: VR, create: Create, update: Update) -> Rule {
    Rule { tag: tag(group, element), vr, create, update }
}

/// Attributes on the top level of a workitem that the table names, in its order. Every one of them
/// is returned by a search (its Return Key Type is 1, 1C or 2). What is not here is type 3.
pub static RULES: &[Rule] = &[
    // SOP Common.
    rule(0x0008, 0x0016, VR::UI, Create::Ours, Update::Never),
    rule(0x0008, 0x0018, VR::UI, Create::Ours, Update::Never),
    rule(0x0008, 0x1195, VR::UI, Create::Nothing, Update::Never),
    // Unified Procedure Step Scheduled Procedure Information.
    rule(0x0074, 0x1200, VR::CS, Create::Value, Update::Value),
    rule(0x0040, 0x4010, VR::DT, Create::Ours, Update::Never),
    rule(0x0074, 0x1204, VR::LO, Create::Value, Update::Value),
    rule(0x0074, 0x1202, VR::LO, Create::Filled, Update::Value),
    rule(0x0074, 0x1210, VR::SQ, Create::Present, Update::Free),
    rule(0x0040, 0x4025, VR::SQ, Create::Present, Update::Free),
    rule(0x0040, 0x4026, VR::SQ, Create::Present, Update::Free),
    rule(0x0040, 0x4027, VR::SQ, Create::Present, Update::Free),
    rule(0x0040, 0x4034, VR::SQ, Create::Free, Update::Free),
    rule(0x0040, 0x4005, VR::DT, Create::Value, Update::Value),
    rule(0x0040, 0x4011, VR::DT, Create::Free, Update::Value),
    rule(0x0040, 0x4018, VR::SQ, Create::Present, Update::Free),
    rule(0x0040, 0x0400, VR::LT, Create::Present, Update::Free),
    rule(0x0040, 0x4041, VR::CS, Create::Value, Update::Value),
    rule(0x0040, 0x4021, VR::SQ, Create::Present, Update::Free),
    rule(0x0020, 0x000D, VR::UI, Create::Free, Update::Free),
    // Unified Procedure Step Relationship.
    rule(0x0010, 0x0010, VR::PN, Create::Present, Update::Never),
    rule(0x0010, 0x0020, VR::LO, Create::Present, Update::Never),
    rule(0x0010, 0x0021, VR::LO, Create::Free, Update::Never),
    rule(0x0010, 0x0024, VR::SQ, Create::Free, Update::Never),
    // Type 2 in the table; there it says nothing when it is empty, so it is not added.
    rule(0x0010, 0x1002, VR::SQ, Create::Free, Update::Never),
    rule(0x0010, 0x0030, VR::DA, Create::Present, Update::Never),
    rule(0x0010, 0x0040, VR::CS, Create::Present, Update::Never),
    rule(0x0038, 0x0010, VR::LO, Create::Present, Update::Never),
    rule(0x0038, 0x0014, VR::SQ, Create::Present, Update::Never),
    rule(0x0008, 0x1080, VR::LO, Create::Present, Update::Never),
    rule(0x0008, 0x1084, VR::SQ, Create::Present, Update::Never),
    rule(0x0040, 0xA370, VR::SQ, Create::Present, Update::Never),
    rule(0x0074, 0x1224, VR::SQ, Create::Free, Update::Never),
    // Unified Procedure Step Progress Information.
    rule(0x0074, 0x1000, VR::CS, Create::Value, Update::Never),
    rule(0x0074, 0x1002, VR::SQ, Create::Nothing, Update::Free),
    // Unified Procedure Step Performed Procedure Information.
    rule(0x0074, 0x1216, VR::SQ, Create::Nothing, Update::Free),
];

/// What Worklist Label becomes where a client leaves it empty.
pub const DEFAULT_WORKLIST: &str = "default";

/// Sequences of codes; each item needs a code, and a meaning to show.
const CODES: &[Tag] =
    &[tag(0x0040, 0x4018), tag(0x0040, 0x4025), tag(0x0040, 0x4026), tag(0x0040, 0x4027)];

/// The line of an attribute.
pub fn of(attribute: Tag) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.tag == attribute)
}

/// Checks and completes the data set of a new workitem. Returns whether something was added that
/// the client would have had to send.
pub(super) fn complete(data: &mut DataSet) -> Result<bool, Refusal> {
    let mut modified = false;
    for rule in RULES {
        let name = || name_of(rule.tag);
        match rule.create {
            Create::Value if !data.contains(rule.tag) => return Err(Refusal::Missing(name())),
            Create::Value if !data.has_value(rule.tag) => return Err(Refusal::Empty(name())),
            Create::Nothing if data.has_value(rule.tag) => {
                return Err(Refusal::NotAllowed(name()));
            }
            Create::Present | Create::Nothing if !data.contains(rule.tag) => {
                // The three of type 2 that must be empty say nothing when they are left out.
                modified |= rule.create == Create::Present;
                data.set_empty(rule.tag, rule.vr);
            }
            Create::Filled if !data.has_value(rule.tag) => {
                data.set_text(rule.tag, rule.vr, DEFAULT_WORKLIST);
                modified = true;
            }
            _ => {}
        }
    }
    data.remove(tags::TRANSACTION_UID);
    if State::parse(data.text(tags::STATE)) != Some(State::Scheduled) {
        return Err(Refusal::NotScheduled);
    }
    check_values(data)?;
    Ok(modified)
}

/// Checks what an update brings.
pub(super) fn check_update(changes: &DataSet) -> Result<(), Refusal> {
    for (attribute, element) in changes.iter() {
        let Some(rule) = of(attribute) else { continue };
        match rule.update {
            Update::Never => return Err(Refusal::NotAllowed(name_of(attribute))),
            Update::Value if element.is_empty() => {
                return Err(Refusal::Empty(name_of(attribute)));
            }
            _ => {}
        }
    }
    check_values(changes)
}

/// Values that the server itself relies on.
fn check_values(data: &DataSet) -> Result<(), Refusal> {
    let one_of = |attribute: Tag, legal: &[&str]| match data.text(attribute) {
        "" if !data.has_value(attribute) => Ok(()),
        text if legal.contains(&text) => Ok(()),
        _ => Err(Refusal::Invalid(name_of(attribute))),
    };
    one_of(tags::PRIORITY, &["HIGH", "MEDIUM", "LOW"])?;
    one_of(tags::READINESS, &["INCOMPLETE", "UNAVAILABLE", "READY"])?;
    let zone = data.text(tag::TIMEZONE_OFFSET_FROM_UTC);
    if data.has_value(tags::START) && instant::bounds(data.text(tags::START), zone).is_none() {
        return Err(Refusal::Invalid(name_of(tags::START)));
    }
    let expected = [VR::SQ, VR::CS, VR::DT, VR::LO, VR::UI, VR::PN];
    for rule in RULES.iter().filter(|rule| expected.contains(&rule.vr)) {
        // A sequence that came as text, or text that came as a sequence, would be read as absent.
        if let Some(element) = data.get(rule.tag)
            && (element.vr == VR::SQ) != (rule.vr == VR::SQ)
        {
            return Err(Refusal::Invalid(name_of(rule.tag)));
        }
    }
    for sequence in CODES {
        for item in data.items(*sequence) {
            let codes = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE];
            if !codes.iter().any(|code| item.has_value(*code)) {
                let path = format!("{}.CodeValue", name_of(*sequence));
                return Err(Refusal::Missing(path));
            }
            if !item.has_value(tags::CODE_MEANING) {
                let path = format!("{}.CodeMeaning", name_of(*sequence));
                return Err(Refusal::Missing(path));
            }
        }
    }
    Ok(())
}

/// What COMPLETED asks for (codes R and P of the table's column Final State).
pub(super) fn check_completed(data: &DataSet) -> Result<(), Refusal> {
    let unfinished = |path: String| Err(Refusal::Unfinished(path));
    let needed = [
        tags::PRIORITY,
        tags::MODIFIED,
        tags::LABEL,
        tags::WORKLIST_LABEL,
        tags::START,
        tags::READINESS,
        tags::PERFORMED,
    ];
    for attribute in needed {
        if !data.has_value(attribute) {
            return unfinished(name_of(attribute));
        }
    }
    for item in data.items(tags::PERFORMED) {
        let needed = [
            tags::PERFORMED_STATION_NAME,
            tags::PERFORMED_START,
            tags::PERFORMED_WORKITEM,
            tags::PERFORMED_END,
        ];
        for attribute in needed {
            if !item.has_value(attribute) {
                return unfinished(format!("{}.{}", name_of(tags::PERFORMED), name_of(attribute)));
            }
        }
        // Type 2: work without output says so by an empty sequence.
        if !item.contains(tags::OUTPUT) {
            return unfinished(format!("{}.{}", name_of(tags::PERFORMED), name_of(tags::OUTPUT)));
        }
    }
    Ok(())
}
