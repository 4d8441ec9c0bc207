//! De-identification of data sets (PS3.15 annex E): the Basic Application Level Confidentiality
//! Profile, its options, and pseudonyms that stay the same within a project.
//!
//! What becomes of an attribute follows from `table.txt`, which is table E.1-1; where the table is
//! silent, from the rules in `rules.rs`. Pixels are not looked at here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod dates;
mod edit;
mod identity;
mod json;
mod masks;
mod project;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use edit::{Editor, Fate, SequenceFate};
pub use identity::{Identity, Subject};
pub use masks::{Decision, MaskError, MaskRule, MaskRules, Rectangle};
pub use project::{Project, ProjectError};

use crate::dataset::vr::VR;
use crate::dataset::{Change, Changes};
use crate::tag::{self, Tag};

/// Patient Identity Removed.
const PATIENT_IDENTITY_REMOVED: Tag = tag::tag(0x0012, 0x0062);
/// De-identification Method.
const METHOD: Tag = tag::tag(0x0012, 0x0063);
/// De-identification Method Code Sequence.
const METHOD_CODES: Tag = tag::tag(0x0012, 0x0064);
/// Burned In Annotation.
const BURNED_IN_ANNOTATION: Tag = tag::tag(0x0028, 0x0301);
/// Longitudinal Temporal Information Modified.
const LONGITUDINAL: Tag = tag::tag(0x0028, 0x0303);

/// What becomes of dates and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dates {
    /// They are removed, emptied or replaced by a dummy.
    #[default]
    Remove,
    /// They are moved into the past by as many days as the project's key gives the patient; times of
    /// day stay.
    Shift,
    /// They stay.
    Keep,
}

/// The options of PS3.15 section E.3 that soften the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Retain Longitudinal Temporal Information, with full or modified dates.
    pub dates: Dates,
    /// Retain Patient Characteristics: age, sex, size, weight and the like.
    pub patient_characteristics: bool,
    /// Retain Device Identity.
    pub device: bool,
    /// Retain Institution Identity.
    pub institution: bool,
    /// Retain UIDs.
    pub uids: bool,
    /// Retain Safe Private.
    pub safe_private: bool,
    /// Clean Descriptors: descriptions stay, without what identifies the patient in other attributes.
    pub clean_descriptors: bool,
    /// Clean Structured Content: texts of reports stay, cleaned in the same way.
    pub clean_structured_content: bool,
    /// Clean Graphics: overlays, curves and graphic annotations stay; their texts are cleaned.
    pub clean_graphics: bool,
}

/// A text that names no option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no option of the profile; there are full-dates, modified-dates, \
     patient-characteristics, device, institution, uids, safe-private, descriptors, \
     structured-content and graphics"
)]
pub struct OptionError(String);

impl FromStr for Options {
    type Err = OptionError;

    /// Reads names that commas separate; none is the plain profile.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "full-dates" => options.dates = Dates::Keep,
                "modified-dates" => options.dates = Dates::Shift,
                "patient-characteristics" => options.patient_characteristics = true,
                "device" => options.device = true,
                "institution" => options.institution = true,
                "uids" => options.uids = true,
                "safe-private" => options.safe_private = true,
                "descriptors" => options.clean_descriptors = true,
                "structured-content" => options.clean_structured_content = true,
                "graphics" => options.clean_graphics = true,
                other => return Err(OptionError(other.to_owned())),
            }
        }
        Ok(options)
    }
}

/// The names that [`Options::from_str`] reads, of the plain profile none.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.dates == Dates::Keep, "full-dates"),
            (self.dates == Dates::Shift, "modified-dates"),
            (self.patient_characteristics, "patient-characteristics"),
            (self.device, "device"),
            (self.institution, "institution"),
            (self.uids, "uids"),
            (self.safe_private, "safe-private"),
            (self.clean_descriptors, "descriptors"),
            (self.clean_structured_content, "structured-content"),
            (self.clean_graphics, "graphics"),
        ];
        let set: Vec<_> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        f.write_str(&set.join(","))
    }
}

impl Options {
    /// The codes of PS3.16 CID 7050 that describe what was done, with their meanings.
    fn codes(&self, masked: bool) -> Vec<(&'static str, &'static str)> {
        let mut codes = vec![("113100", "Basic Application Confidentiality Profile")];
        let options = [
            (masked, "113101", "Clean Pixel Data Option"),
            (self.clean_graphics, "113103", "Clean Graphics Option"),
            (self.clean_structured_content, "113104", "Clean Structured Content Option"),
            (self.clean_descriptors, "113105", "Clean Descriptors Option"),
            (
                self.dates == Dates::Keep,
                "113106",
                "Retain Longitudinal Temporal Information Full Dates Option",
            ),
            (
                self.dates == Dates::Shift,
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            ),
            (self.patient_characteristics, "113108", "Retain Patient Characteristics Option"),
            (self.device, "113109", "Retain Device Identity Option"),
            (self.uids, "113110", "Retain UIDs Option"),
            (self.safe_private, "113111", "Retain Safe Private Option"),
            (self.institution, "113112", "Retain Institution Identity Option"),
        ];
        codes.extend(
            options.iter().filter(|(on, ..)| *on).map(|(_, code, meaning)| (*code, *meaning)),
        );
        codes
    }

    /// What a data set says of its own de-identification (PS3.15 section E.1.1, PS3.3 sections
    /// C.7.1.1 and C.7.6.1). `masked` when pixels were blacked out.
    pub fn statement(&self, masked: bool) -> Changes {
        let code = |(value, meaning): &(&str, &str)| {
            Changes::from([
                (tag::tag(0x0008, 0x0100), Change::text(VR::SH, value)),
                (tag::tag(0x0008, 0x0102), Change::text(VR::SH, "DCM")),
                (tag::tag(0x0008, 0x0104), Change::text(VR::LO, meaning)),
            ])
        };
        let codes = self.codes(masked).iter().map(code).collect();
        let longitudinal = match self.dates {
            Dates::Remove => "REMOVED",
            Dates::Shift => "MODIFIED",
            Dates::Keep => "UNMODIFIED",
        };
        let mut changes = Changes::from([
            (PATIENT_IDENTITY_REMOVED, Change::text(VR::CS, "YES")),
            (METHOD, Change::text(VR::LO, "Qianli, PS3.15 annex E basic profile")),
            (METHOD_CODES, Change::Items(codes)),
            (LONGITUDINAL, Change::text(VR::CS, longitudinal)),
        ]);
        if masked {
            changes.insert(BURNED_IN_ANNOTATION, Change::text(VR::CS, "NO"));
        }
        changes
    }
}

/// De-identifies objects of one project, whatever carries them.
#[derive(Debug, Clone)]
pub struct Deidentification {
    /// Whose pseudonyms are used.
    pub project: Arc<Project>,
    /// The options.
    pub options: Options,
}

impl Deidentification {
    /// The editor for one data set, whose identity was read before.
    pub fn editor(&self, identity: Arc<Identity>, text: crate::charset::Knowledge) -> Editor {
        Editor::new(self.clone(), identity, text)
    }

    /// The changes of the outermost data set that an [`Editor`] does not make: pseudonyms of the
    /// patient where a patient was named, and the statement of what was done.
    pub fn changes(&self, identity: &Identity, masked: bool) -> Changes {
        let mut changes = self.options.statement(masked);
        if identity.names_patient() {
            let id = self.project.patient_id(identity);
            changes.insert(tag::PATIENT_NAME, Change::text(VR::PN, &id));
            changes.insert(tag::PATIENT_ID, Change::text(VR::LO, &id));
        }
        changes
    }

    /// The pseudonym of a UID, or the UID itself where UIDs are retained.
    pub fn uid(&self, uid: &str) -> String {
        if self.options.uids { uid.to_owned() } else { self.project.uid(uid) }
    }
}

/// Original patient identifiers and the pseudonyms that somebody chose for them.
pub type PatientTable = BTreeMap<String, String>;
