//! Why a request about a workitem is refused, and what each wire says about it (PS3.4 tables
//! CC.1.1-2 and CC.2.1-2 to CC.2.5-4, PS3.18 section 11).

use super::State;

/// The request that is answered; the same refusal has another HTTP status in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// PS3.18 section 11.4.
    Create,
    /// PS3.18 section 11.5.
    Retrieve,
    /// PS3.18 section 11.6.
    Update,
    /// PS3.18 section 11.7.
    ChangeState,
    /// PS3.18 section 11.8.
    RequestCancel,
    /// PS3.18 sections 11.10 to 11.12.
    Subscribe,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A workitem of that UID is or was here.
    #[error("a workitem with this UID exists already")]
    Duplicate,
    /// A required attribute is not there.
    #[error("{0} is required")]
    Missing(String),
    /// A required attribute is there without a value.
    #[error("{0} must have a value")]
    Empty(String),
    /// An attribute that this request may not set.
    #[error("{0} cannot be set by this request")]
    NotAllowed(String),
    /// A value that the attribute cannot have.
    #[error("the value of {0} is not one that it can have")]
    Invalid(String),
    /// The new workitem is not SCHEDULED.
    #[error("a new workitem must be SCHEDULED")]
    NotScheduled,
    /// It is in a final state.
    #[error("the workitem is {} and can no longer be changed", .0.as_str())]
    Final(State),
    /// The request needs the Transaction UID and has none.
    #[error("the Transaction UID is missing")]
    TransactionMissing,
    /// The Transaction UID is not the one that locked the workitem.
    #[error("the Transaction UID is not the one that the workitem was claimed with")]
    TransactionWrong,
    /// Somebody has claimed it.
    #[error("the workitem is IN PROGRESS already")]
    AlreadyInProgress,
    /// SCHEDULED is where workitems begin; nothing leads back.
    #[error("the state can be changed to IN PROGRESS, COMPLETED or CANCELED only")]
    NotAState,
    /// What a final state asks for is not there yet.
    #[error("the workitem cannot be COMPLETED before {0} is there")]
    Unfinished(String),
    /// No such workitem.
    #[error("there is no such workitem")]
    Absent,
    /// It was here; its time is over.
    #[error("the workitem was removed some time after it had been finished")]
    Removed,
    /// Nobody has claimed it.
    #[error("the workitem is SCHEDULED; it must be claimed first")]
    NotInProgress,
    /// Too late to be canceled.
    #[error("the workitem is COMPLETED already")]
    AlreadyCompleted,
    /// It stands for a task whose rules do not let the caller do this.
    #[error("the reading task does not allow this to whoever asks")]
    NotYours,
}

/// Texts that PS3.18 section 11 prescribes for the Warning header of a refusal.
const MISSING: &str = "The Transaction UID is missing.";
const INCORRECT: &str = "The Transaction UID is incorrect.";
const INCONSISTENT: &str =
    "The submitted request is inconsistent with the state of the UPS Instance.";
const INCONSISTENT_UPDATE: &str =
    "The submitted request is inconsistent with the current state of the Workitem.";
const UNCLAIMED: &str = "The target URI did not reference a claimed Workitem.";

impl Refusal {
    /// DIMSE status (PS3.7 annex C, PS3.4 annex CC).
    pub fn code(&self) -> u16 {
        match self {
            Self::Invalid(_) | Self::NotAllowed(_) => 0x0106,
            Self::NotYours => 0x0124,
            Self::Duplicate => 0x0111,
            Self::Missing(_) => 0x0120,
            Self::Empty(_) => 0x0121,
            Self::Final(_) => 0xC300,
            Self::TransactionMissing | Self::TransactionWrong => 0xC301,
            Self::AlreadyInProgress => 0xC302,
            Self::NotAState => 0xC303,
            Self::Unfinished(_) => 0xC304,
            Self::Absent | Self::Removed => 0xC307,
            Self::NotScheduled => 0xC309,
            Self::NotInProgress => 0xC310,
            Self::AlreadyCompleted => 0xC311,
        }
    }

    /// HTTP status (PS3.18 tables 11.4.3-1 to 11.12.3-1).
    pub fn http(&self, transaction: Transaction) -> u16 {
        match self {
            Self::Invalid(_)
            | Self::NotAllowed(_)
            | Self::Missing(_)
            | Self::Empty(_)
            | Self::NotAState
            | Self::NotScheduled
            | Self::TransactionMissing
            | Self::TransactionWrong => 400,
            // 11.6.2 asks for 400 by name; 11.7.3.1 lists the same under both.
            Self::Final(_) if transaction == Transaction::Update => 400,
            Self::NotYours => 403,
            Self::Absent => 404,
            Self::Removed => 410,
            Self::Duplicate
            | Self::Final(_)
            | Self::AlreadyInProgress
            | Self::Unfinished(_)
            | Self::NotInProgress
            | Self::AlreadyCompleted => 409,
        }
    }

    /// The text for the Warning header, where the section of the transaction prescribes one.
    pub fn warning(&self, transaction: Transaction) -> Option<&'static str> {
        match transaction {
            Transaction::Update => match self {
                Self::NotInProgress => Some(UNCLAIMED),
                Self::Final(_) | Self::TransactionMissing | Self::TransactionWrong => {
                    Some(INCONSISTENT_UPDATE)
                }
                _ => None,
            },
            Transaction::ChangeState | Transaction::RequestCancel => match self {
                Self::TransactionMissing => Some(MISSING),
                Self::TransactionWrong => Some(INCORRECT),
                Self::Absent | Self::Removed | Self::Invalid(_) | Self::NotYours => None,
                _ => Some(INCONSISTENT),
            },
            Transaction::Create | Transaction::Retrieve | Transaction::Subscribe => None,
        }
    }
}
