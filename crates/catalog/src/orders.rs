//! Orders, what modalities performed of them, which study belongs to which, and what a person has to
//! look at. What a command makes of an order is decided in [`qianli_model::order`]; here it is made
//! to last, with its audit row, in one transaction per message.

mod compile;
mod decide;
mod hl7;
mod matching;
mod performed;
mod read;
mod retain;
mod write;

use qianli_model::order::{MismatchKind, Order, OrderRefusal, Seen, StepState};

pub use decide::{Decision, DecisionRefusal};
pub use hl7::{Hl7Refusal, MessageId};
pub use matching::Matched;
pub use performed::{NewPerformed, Performed, PerformedState};

/// Kind of the job that looks for images of an order that was performed.
pub const IMAGES_JOB: &str = "order.images";

/// Kind of the job that looks for studies that were here before their order.
pub const MATCH_JOB: &str = "order.match";

/// An order as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Key in the catalog.
    pub id: i64,
    /// What was ordered.
    pub order: Order,
    /// Who brought it: `hl7`, `rest` or `page`.
    pub origin: String,
    /// Name of whoever that was.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
    /// When it was last changed (ms since 1970).
    pub updated_ms: i64,
}

/// An order, and which of its steps was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundStep {
    /// The order.
    pub row: OrderRow,
    /// Position of the step in it.
    pub step: usize,
    /// Studies that belong to the order.
    pub studies: Vec<String>,
}

/// What scheduled steps are searched for. Empty values match everything; texts may hold the
/// wildcards `*` and `?`; of lists one value must match. Ranges hold both ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepSearch {
    /// Scheduled Station AE Title.
    pub station_ae: Vec<String>,
    /// Whether steps for which no station is named are any station's of their modality.
    pub unassigned: bool,
    /// Scheduled Station Name.
    pub station_name: String,
    /// Modality.
    pub modality: Vec<String>,
    /// First and last day, `YYYYMMDD`.
    pub days: (String, String),
    /// Earliest and latest time; with both days given they bound one span of time.
    pub times: (String, String),
    /// Name of the performing physician.
    pub performer: String,
    /// Scheduled Procedure Step ID.
    pub step_id: String,
    /// States; none for all.
    pub states: Vec<StepState>,
    /// Patient's name.
    pub patient_name: String,
    /// Whether names that sound like it match too.
    pub sounds: bool,
    /// Patient ID.
    pub patient_id: String,
    /// Issuer of Patient ID.
    pub issuer: String,
    /// Birth dates, first and last.
    pub birth_dates: (String, String),
    /// Sex.
    pub sex: String,
    /// Accession Number.
    pub accession: String,
    /// Requested Procedure ID.
    pub procedure_id: String,
    /// Study Instance UIDs.
    pub study_uids: Vec<String>,
    /// Key of one order; 0 for any.
    pub order: i64,
    /// Most rows.
    pub limit: u32,
    /// Rows that are passed over.
    pub offset: u32,
}

/// What a batch of commands did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is done; keys of the orders that it touched.
    Done(Vec<i64>),
    /// The same message was taken before; nothing was done.
    Before,
    /// Position of the command that cannot be done, and why; nothing was done.
    Refused(usize, OrderRefusal),
}

/// Something that a person has to look at, or has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Key in the catalog.
    pub id: i64,
    /// What is the matter.
    pub kind: MismatchKind,
    /// The study; empty where there is none.
    pub study_uid: String,
    /// What the study says, as far as it is here.
    pub seen: Option<Seen>,
    /// The order that is meant, where there is one.
    pub order: Option<OrderRow>,
    /// `open`, `accepted`, `assigned` or `dismissed`.
    pub state: String,
    /// When it was noticed (ms since 1970).
    pub created_ms: i64,
    /// When somebody decided (ms since 1970); 0 for not yet.
    pub settled_ms: i64,
    /// Who.
    pub settled_by: String,
}
