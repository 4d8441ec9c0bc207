//! Workitems of the Unified Procedure Step service (PS3.4 annex CC, PS3.18 section 11) as values:
//! the data set, the states and who may change them, the rules for attributes, the event reports
//! that a change causes, and the reading of searches.
//!
//! Pure: whoever keeps workitems reads one, asks a function of [`change`] what becomes of it, and
//! writes the answer down. Subscriptions and delivery are not known here.

pub mod change;
mod data;
mod event;
pub mod instant;
mod refusal;
pub mod rules;
pub mod search;

pub use change::{Change, Held, Note};
pub use data::{Content, DataError, DataSet, Element};
pub use event::{Event, EventKind, report};
pub use refusal::{Refusal, Transaction};

/// SOP Class of every workitem that is kept (UPS Push, PS3.4 table CC.3.1-1).
pub const SOP_CLASS: &str = "1.2.840.10008.5.1.4.34.6.1";

/// SOP Class that event reports name (UPS Event).
pub const EVENT_SOP_CLASS: &str = "1.2.840.10008.5.1.4.34.6.4";

/// The well-known UID that stands for the whole worklist in a subscription (PS3.4 CC.2.3).
pub const WORKLIST: &str = "1.2.840.10008.5.1.4.34.5";

/// The well-known UID that stands for a filtered part of the worklist in a subscription.
pub const FILTERED_WORKLIST: &str = "1.2.840.10008.5.1.4.34.5.1";

/// Procedure Step State (0074,1000), PS3.4 table CC.1.1-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for a performer.
    Scheduled,
    /// A performer has claimed it and holds its lock.
    InProgress,
    /// Final: done.
    Completed,
    /// Final: will not be done.
    Canceled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::InProgress, Self::Completed, Self::Canceled];

    /// The word of the standard.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads the word of the standard. `CANCELLED`, which PS3.18 section 11.7.1.4 prints, is taken
    /// as well.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\0']);
        if text == "CANCELLED" {
            return Some(Self::Canceled);
        }
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}
