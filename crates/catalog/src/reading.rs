//! Reading tasks: who reads which study, since when and until when (`docs/decisions/0023-reading.md`).
//!
//! The row of a task is the truth; the workitem that stands for it is written in the same transaction, and so are the
//! history of the task, which is the feed of the live worklist, and the audit rows. What a request makes of a task is
//! decided in [`qianli_model::reading`].

mod change;
mod face;
mod make;
mod read;
mod rows;
mod rules;
mod steps;
mod views;

use qianli_model::TenantId;
use qianli_model::grant::Priors;
use qianli_model::reading::{Held, Priority, Refusal, Rule, State};
use qianli_model::routing::Which;

use crate::access::Tenant;

pub(crate) use face::heard;
pub use make::{Followed, Request};
pub use views::View;

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Key.
    pub id: i64,
    /// Who reads.
    pub tenant: TenantId,
    /// Whose study it is.
    pub owner: TenantId,
    /// Study Instance UID.
    pub study: String,
    /// The first reading, where this is the second; 0 for none.
    pub parent: i64,
    /// The rule that made it; 0 for a person.
    pub rule: i64,
    /// What lets another tenant see the study; 0 for none.
    pub grant: i64,
    /// How far it is, how urgent, who reads.
    pub held: Held,
    /// What kind of reader it asks for.
    pub subspecialty: String,
    /// What whoever asked for it wants to know.
    pub question: String,
    /// Who made it: a rule's name or a person's.
    pub made_by: String,
    /// When (ms since 1970).
    pub made_ms: i64,
    /// When the study was complete (ms since 1970); 0 while it arrives.
    pub complete_ms: i64,
    /// When somebody began to read (ms since 1970); 0 for not yet.
    pub claimed_ms: i64,
    /// When it was done or cancelled (ms since 1970); 0 for not yet.
    pub final_ms: i64,
    /// When it last changed (ms since 1970).
    pub updated_ms: i64,
    /// Instances of the study when it was complete.
    pub instances: i64,
    /// Late instances that were looked at.
    pub late_seen: i64,
    /// UID of its present workitem.
    pub workitem: String,
    /// Grows with every change.
    pub revision: i64,
}

/// A task with what a list shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The task.
    pub task: Task,
    /// Whose study it is.
    pub owner: Tenant,
    /// Who reads.
    pub reads: Tenant,
    /// The study; `None` when it was deleted, or is no longer shared with whoever asks.
    pub study: Option<ListedStudy>,
    /// Key and state of the second reading, where one was asked for.
    pub second: Option<(i64, State)>,
}

/// What a list shows of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedStudy {
    /// DICOM JSON of patient and study.
    pub json: String,
    /// Modalities, sorted.
    pub modalities: Vec<String>,
    /// Body parts, folded and sorted.
    pub body_parts: Vec<String>,
    /// Series.
    pub series: i64,
    /// Instances.
    pub instances: i64,
}

/// Which tasks are listed. What is empty asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// In one of these states; none for those that are not final.
    pub states: Vec<State>,
    /// As urgent as this.
    pub priority: Option<Priority>,
    /// With a series of this modality.
    pub modality: String,
    /// Studies of the tenant of this name.
    pub hospital: String,
    /// Of this subspecialty.
    pub subspecialty: String,
    /// Read by this reader.
    pub reader: String,
    /// Overdue, or due before this moment (ms since 1970).
    pub due_before_ms: Option<i64>,
    /// Of this study.
    pub study: String,
    /// What this tenant handed out to others, not what it reads.
    pub given: bool,
    /// Most rows; 0 for the usual 200.
    pub limit: u32,
    /// Rows that are passed over.
    pub offset: u32,
}

/// How many tasks there are of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nobody reads them.
    pub open: i64,
    /// Somebody reads them.
    pub claimed: i64,
    /// Of both, those whose time is over.
    pub overdue: i64,
    /// Of both, the most urgent.
    pub stat: i64,
}

/// How much a reader has to do and has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Login, or name of a program.
    pub reader: String,
    /// Tasks that they read now.
    pub claimed: i64,
    /// Of those, the ones whose time is over.
    pub overdue: i64,
    /// Done in the last 24 hours.
    pub done: i64,
}

/// What was done with a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Position in the feed.
    pub sequence: i64,
    /// The task.
    pub task: i64,
    /// What: `make`, `complete`, `late`, or the word of an [`Ask`](qianli_model::reading::Ask).
    pub did: String,
    /// Kind of who did it.
    pub by_kind: String,
    /// Who.
    pub by: String,
    /// To what: a reader, a priority, a number.
    pub detail: String,
    /// In their words.
    pub note: String,
    /// When (ms since 1970).
    pub at_ms: i64,
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is done, or was already.
    Done(Box<Task>),
    /// It is not, for this reason.
    Refused(Refusal),
    /// There is no such task, as far as whoever asks may know.
    Absent,
}

/// What a new rule is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// What people call it.
    pub label: String,
    /// Which studies; words as people write them.
    pub which: Which,
    /// Only where the order asks for this.
    pub asked: Option<Priority>,
    /// Who reads.
    pub to: TenantId,
    /// What kind of reader.
    pub subspecialty: String,
    /// How urgent.
    pub priority: Priority,
    /// Minutes until it is due.
    pub due_minutes: i64,
    /// Earlier studies that a reader elsewhere may see.
    pub priors: Priors,
    /// Days for which a reader elsewhere sees the study; 0 for no end.
    pub days: i64,
    /// Now (ms since 1970).
    pub at_ms: i64,
}

/// A rule as its tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// What it says.
    pub rule: Rule,
    /// Who reads, in words.
    pub to: Tenant,
    /// Name of whoever made it.
    pub created_by: String,
    /// When (ms since 1970).
    pub created_ms: i64,
}
