//! Orders: what was asked for a patient and when it is to be done, as the modality worklist shows it
//! (PS3.4 annex K). One order is one requested procedure with its scheduled procedure steps.
//!
//! Pure values: what is written where is the catalog's, who says so (HL7, a program, a person, a
//! modality) is its caller's. Nothing here prints a value of a patient into an error.

mod change;
mod check;
mod item;
mod mismatch;

use serde::{Deserialize, Serialize};

pub(crate) use check::is_date;

pub use change::{Command, OrderKey, OrderRefusal, apply};
pub use check::OrderError;
pub use item::{answer_to, worklist_item};
pub use mismatch::{Difference, MismatchKind, Seen, differences};

/// How urgent a requested procedure is: the defined terms of (0040,1003), most urgent first.
pub const PRIORITIES: [&str; 5] = ["STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW"];

/// Most scheduled steps of one order.
pub const MAX_STEPS: usize = 32;

/// The state of a scheduled procedure step, (0040,0020).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum StepState {
    /// It is planned.
    #[default]
    Scheduled,
    /// The patient is here.
    Arrived,
    /// Everything is prepared.
    Ready,
    /// A modality has begun.
    Started,
    /// The patient has left.
    Departed,
    /// It was done.
    Completed,
    /// It was cancelled, or given up.
    Discontinued,
}

impl StepState {
    /// Every state, in the order in which they usually follow.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Arrived,
        Self::Ready,
        Self::Started,
        Self::Departed,
        Self::Completed,
        Self::Discontinued,
    ];

    /// The word of the standard.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Arrived => "ARRIVED",
            Self::Ready => "READY",
            Self::Started => "STARTED",
            Self::Departed => "DEPARTED",
            Self::Completed => "COMPLETED",
            Self::Discontinued => "DISCONTINUED",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word.trim())
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Discontinued)
    }

    /// Whether a modality has begun with it.
    pub fn has_begun(self) -> bool {
        matches!(self, Self::Started | Self::Departed | Self::Completed)
    }

    /// Whether a person or an order system may set `next`. Before the start everything may be
    /// corrected; what has begun only goes on; what is final stays.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Completed | Self::Discontinued => next == self,
            Self::Started | Self::Departed => {
                !matches!(next, Self::Scheduled | Self::Arrived | Self::Ready)
            }
            Self::Scheduled | Self::Arrived | Self::Ready => true,
        }
    }
}

/// A coded concept (PS3.3 table 8.8-1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Code {
    /// (0008,0100).
    pub value: String,
    /// (0008,0102).
    pub scheme: String,
    /// (0008,0104).
    pub meaning: String,
}

impl Code {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// The patient of an order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderPatient {
    /// Patient ID.
    pub id: String,
    /// Issuer of Patient ID.
    pub issuer: String,
    /// Name with its component groups, as DICOM writes it.
    pub name: String,
    /// `YYYYMMDD`, or empty.
    pub birth_date: String,
    /// `M`, `F`, `O`, or empty.
    pub sex: String,
    /// Kilograms, or empty.
    pub weight: String,
    /// Metres, or empty.
    pub size: String,
    /// Medical alerts.
    pub alerts: String,
    /// Allergies.
    pub allergies: String,
    /// What has to be known of the patient's state.
    pub state: String,
    /// Special needs.
    pub needs: String,
    /// Pregnancy status, (0010,21C0): 1 not, 2 possibly, 3 definitely, 4 unknown; or empty.
    pub pregnancy: String,
    /// Where the patient is now.
    pub location: String,
    /// Admission ID.
    pub admission: String,
}

/// What was requested.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Procedure {
    /// Requested Procedure ID.
    pub id: String,
    /// What it is called.
    pub description: String,
    /// Its code.
    pub code: Code,
    /// Study Instance UID that its images shall have.
    pub study_uid: String,
    /// `STAT`, `HIGH`, `ROUTINE`, `MEDIUM`, `LOW`, or empty.
    pub priority: String,
    /// Why it was requested.
    pub reason: String,
    /// Comments.
    pub comments: String,
    /// How the patient gets there.
    pub transport: String,
}

/// One scheduled procedure step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Scheduled Procedure Step ID.
    pub id: String,
    /// Modality.
    pub modality: String,
    /// Scheduled Station AE Title.
    pub station_ae: String,
    /// Scheduled Station Name.
    pub station_name: String,
    /// Scheduled Procedure Step Location.
    pub location: String,
    /// `YYYYMMDD`.
    pub start_date: String,
    /// `HHMMSS`, or shorter.
    pub start_time: String,
    /// Scheduled Performing Physician's Name.
    pub performer: String,
    /// What is to be done.
    pub description: String,
    /// Scheduled protocol codes.
    pub protocol: Vec<Code>,
    /// Medication before.
    pub medication: String,
    /// Contrast agent.
    pub contrast: String,
    /// How far it is.
    pub status: StepState,
}

/// One requested procedure and when it is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// For whom.
    pub patient: OrderPatient,
    /// Accession Number.
    pub accession: String,
    /// Placer order number of the imaging service request.
    pub placer: String,
    /// Filler order number of the imaging service request.
    pub filler: String,
    /// Referring Physician's Name.
    pub referring: String,
    /// Requesting Physician.
    pub requesting: String,
    /// Requesting Service.
    pub service: String,
    /// What is requested.
    pub procedure: Procedure,
    /// When and where it is to be done.
    pub steps: Vec<Step>,
}

impl Order {
    /// How far the whole order is: the state of its steps when they agree; else completed when all
    /// are final, started when one has begun, else the least advanced.
    pub fn state(&self) -> StepState {
        let states = || self.steps.iter().map(|step| step.status);
        if states().all(StepState::is_final) {
            let done = states().any(|state| state == StepState::Completed);
            return if done { StepState::Completed } else { StepState::Discontinued };
        }
        if states().any(StepState::has_begun) {
            return StepState::Started;
        }
        states().filter(|state| !state.is_final()).min().unwrap_or_default()
    }

    /// Fills in what an order needs and its sender left out: the Study Instance UID, from a random
    /// number under 2.25 (PS3.5 annex B.2), the Requested Procedure ID, and IDs of the steps.
    pub fn complete(&mut self, random: u128) {
        let short = format!("{:010X}", random & 0xFF_FFFF_FFFF);
        if self.procedure.study_uid.is_empty() {
            self.procedure.study_uid = format!("2.25.{random}");
        }
        if self.procedure.id.is_empty() {
            self.procedure.id = match self.accession.is_empty() {
                true => format!("RP{short}"),
                false => self.accession.clone(),
            };
        }
        for (index, step) in self.steps.iter_mut().enumerate() {
            if step.id.is_empty() {
                step.id = format!("S{short}-{}", index.saturating_add(1));
            }
        }
    }
}

#[cfg(test)]
mod tests;
