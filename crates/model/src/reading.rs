//! Reading tasks: a study that somebody is to read, in which state it is and who may change it, the rules that make
//! tasks of studies, and their face as workitems (`docs/decisions/0023-reading.md`).
//!
//! Pure: the catalog reads a task, asks [`change()`] what becomes of it, and writes the answer down.

use crate::routing::{Facts, Which};
use crate::scope::TenantId;
use crate::{Permission, Scope};

mod change;
pub mod face;

pub use change::change;

/// Longest text that people give a task or a rule (characters).
pub const LONGEST: usize = 256;

/// Makes an enum whose variants are stored as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored and shown to programs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// From the stored word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// How urgent a task is, the most urgent first.
    Priority {
        /// At once: somebody's life or brain waits.
        Stat => "stat",
        /// Today, before others.
        High => "high",
        /// As usual.
        Medium => "medium",
        /// When there is time.
        Low => "low",
    }
}

impl Priority {
    /// Place in the order of urgency; 0 is the most urgent.
    pub fn rank(self) -> i64 {
        match self {
            Self::Stat => 0,
            Self::High => 1,
            Self::Medium => 2,
            Self::Low => 3,
        }
    }

    /// From its place.
    pub fn of_rank(rank: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.rank() == rank)
    }

    /// Minutes after which a task is due when nobody said otherwise.
    pub fn minutes(self) -> i64 {
        match self {
            Self::Stat => 30,
            Self::High => 4 * 60,
            Self::Medium => 24 * 60,
            Self::Low => 72 * 60,
        }
    }

    /// What an order asks for: Requested Procedure Priority (0040,1003) and words of HL7. `None` when it says nothing.
    pub fn of_order(text: &str) -> Option<Self> {
        match text.trim().to_ascii_uppercase().as_str() {
            "STAT" | "S" => Some(Self::Stat),
            "HIGH" | "A" | "ASAP" => Some(Self::High),
            "MEDIUM" | "ROUTINE" | "R" => Some(Self::Medium),
            "LOW" => Some(Self::Low),
            _ => None,
        }
    }

    /// Scheduled Procedure Step Priority (0074,1200), which knows three.
    pub fn of_step(self) -> &'static str {
        match self {
            Self::Stat | Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

words! {
    /// How far a task is.
    State {
        /// Nobody reads it yet.
        Open => "open",
        /// Somebody reads it.
        Claimed => "claimed",
        /// It was read.
        Done => "done",
        /// It will not be read.
        Cancelled => "cancelled",
    }
}

impl State {
    /// Whether nothing is left to do.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

words! {
    /// Whether a reading was found to differ from what is true, by a second reader or later.
    Discrepancy {
        /// Nobody said so.
        None => "none",
        /// It changes nothing for the patient.
        Minor => "minor",
        /// It matters for the patient.
        Major => "major",
    }
}

/// Who reads a task: the key of the account, 0 for a program, and the name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reader {
    /// Key of the person; 0 for programs and where there are no accounts.
    pub id: i64,
    /// Login, or the name of the program.
    pub name: String,
}

impl Reader {
    /// Whoever acts in a scope.
    pub fn of(scope: &Scope) -> Self {
        let id = match scope.principal() {
            crate::scope::Principal::Person(id, _) => *id,
            _ => 0,
        };
        let name = match scope.principal().name() {
            "" => scope.principal().kind(),
            name => name,
        };
        Self { id, name: name.to_owned() }
    }
}

/// What of a task a change looks at and makes new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// How far it is.
    pub state: State,
    /// How urgent.
    pub priority: Priority,
    /// When it is to be done (ms since 1970).
    pub due_ms: i64,
    /// When it was made, or the study was complete (ms since 1970).
    pub begun_ms: i64,
    /// Who reads it, or read it.
    pub reader: Option<Reader>,
    /// What was found of the reading.
    pub discrepancy: Discrepancy,
    /// Images that came after the study was complete and that nobody has looked at.
    pub late: i64,
    /// Who read first, where this is a second reading.
    pub first_reader: Option<Reader>,
    /// Whether it is a second reading.
    pub is_second: bool,
    /// Whoever reads is not whose study it is.
    pub is_foreign: bool,
    /// A person changed its clock or priority: rules leave it alone.
    pub touched: bool,
}

/// Who asks for a change, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub reader: Reader,
    /// May claim and finish.
    pub interprets: bool,
    /// May hand out, escalate and cancel.
    pub dispatches: bool,
    /// Acts for the hospital whose study it is, which handed the reading out.
    pub is_owner_only: bool,
}

impl Actor {
    /// Whoever acts in a scope, on a task of a tenant.
    pub fn of(scope: &Scope, tenant: TenantId) -> Self {
        Self {
            reader: Reader::of(scope),
            interprets: scope.allows(Permission::Interpret),
            dispatches: scope.allows(Permission::Dispatch),
            is_owner_only: scope.tenant() != tenant,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// I read it.
    Claim,
    /// I do not read it after all.
    Release,
    /// This reader reads it.
    Assign(Reader),
    /// It is as urgent as this; with minutes from now until it is due, or what is usual.
    Prioritise(Priority, Option<i64>),
    /// Another reader is to read it too.
    Second,
    /// What was found of the reading, and why.
    Discrepancy(Discrepancy),
    /// It will not be read.
    Cancel,
    /// It is to be read after all, or again.
    Reopen,
    /// It was read.
    Finish,
    /// The late images were looked at.
    SeeLate,
}

impl Ask {
    /// The word for what was done, in the history and in requests.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Release => "release",
            Self::Assign(_) => "assign",
            Self::Prioritise(..) => "prioritise",
            Self::Second => "second",
            Self::Discrepancy(_) => "discrepancy",
            Self::Cancel => "cancel",
            Self::Reopen => "reopen",
            Self::Finish => "finish",
            Self::SeeLate => "see-late",
        }
    }
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else reads it: their name.
    Taken(String),
    /// The caller may not do this.
    NotAllowed,
    /// The task is in a state in which this means nothing.
    WrongState(State),
    /// Whoever read first cannot be the second reader.
    SameReader,
    /// There is a second reading already, or it is one.
    SecondAsked,
    /// Nobody of that name reads for the tenant.
    NoSuchReader,
    /// No late images came.
    NothingLate,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken(name) => write!(f, "{name} reads it already"),
            Self::NotAllowed => f.write_str("this is not yours to do"),
            Self::WrongState(state) => write!(f, "the task is {}", state.as_str()),
            Self::SameReader => f.write_str("whoever read first cannot be the second reader"),
            Self::SecondAsked => f.write_str("a second reading was asked for already"),
            Self::NoSuchReader => f.write_str("nobody of that name reads for this tenant"),
            Self::NothingLate => f.write_str("no late images wait to be seen"),
        }
    }
}

/// A rule that makes tasks of studies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Key of its row.
    pub id: i64,
    /// What people call it.
    pub label: String,
    /// Which studies: those with a series that fits. Words are folded.
    pub which: Which,
    /// Only where the order asks for this.
    pub asked: Option<Priority>,
    /// Who reads: the same tenant, or another, which then gets a grant of the study.
    pub to: TenantId,
    /// What kind of reader, in words of the tenant's own; may be empty.
    pub subspecialty: String,
    /// How urgent. What the order asks for counts where it is more urgent.
    pub priority: Priority,
    /// Minutes from when the study is complete until the task is due.
    pub due_minutes: i64,
    /// Earlier studies that whoever reads elsewhere may see.
    pub priors: crate::grant::Priors,
    /// Days for which whoever reads elsewhere sees the study; 0 for no end.
    pub days: i64,
    /// It makes nothing.
    pub disabled: bool,
}

impl Rule {
    /// How much it asks for: of several rules that mean a study, the one that asks for most decides.
    fn conditions(&self) -> usize {
        let words = self.which.words().into_iter().filter(|word| !word.is_empty()).count();
        words + usize::from(self.which.source.is_some()) + usize::from(self.asked.is_some())
    }

    fn means(&self, series: &[Facts], asked: Option<Priority>) -> bool {
        !self.disabled
            && (self.asked.is_none() || self.asked == asked)
            && series.iter().any(|facts| self.which.takes(facts))
    }

    /// How urgent a task is that it makes.
    pub fn priority_for(&self, asked: Option<Priority>) -> Priority {
        asked.map_or(self.priority, |asked| asked.min(self.priority))
    }

    /// Minutes until that task is due: not later than what its priority allows when the order made it more urgent.
    pub fn minutes_for(&self, asked: Option<Priority>) -> i64 {
        match self.priority_for(asked) {
            same if same == self.priority => self.due_minutes,
            raised => self.due_minutes.min(raised.minutes()),
        }
    }
}

/// The rule that decides about a study with these series: the one with the most conditions, of those the oldest.
pub fn choose<'r>(
    rules: &'r [Rule],
    series: &[Facts],
    asked: Option<Priority>,
) -> Option<&'r Rule> {
    rules
        .iter()
        .filter(|rule| rule.means(series, asked))
        .max_by_key(|rule| (rule.conditions(), std::cmp::Reverse(rule.id)))
}

#[cfg(test)]
mod tests;
