//! What comes back: responses, and the requests that a peer may send in between.

use bytes::Bytes;

use crate::command::element::{
    AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, COMMAND_FIELD, DATA_SET_TYPE, ERROR_COMMENT,
    EVENT_TYPE, MESSAGE_ID, MESSAGE_ID_RESPONDED_TO, STATUS, SUB_OPERATIONS,
};
use crate::command::{CommandError, CommandSet};
pub use crate::message::SubOperations;
use crate::message::{NO_DATA_SET, field};
use crate::status::Status;

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status (0000,0900).
    pub status: Status,
    /// Error Comment (0000,0902).
    pub comment: Option<String>,
}

/// The answer to a normalised operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status and comment.
    pub answer: Answer,
    /// Affected SOP Instance UID (0000,1000): with N-CREATE the one that the peer made.
    pub sop_instance: Option<String>,
    /// The data set that came along, encoded in the context's transfer syntax.
    pub data: Option<Bytes>,
}

/// An N-EVENT-REPORT that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReport {
    /// Affected SOP Class UID.
    pub sop_class: Option<String>,
    /// Affected SOP Instance UID.
    pub sop_instance: Option<String>,
    /// Event Type ID (0000,1002).
    pub event_type: Option<u16>,
    /// The context that it came on.
    pub context: u8,
    /// Its data set, encoded in the context's transfer syntax.
    pub data: Option<Bytes>,
}

/// A command set that came in.
pub(super) enum Incoming {
    Response(Answered),
    Request(Asked),
}

/// A response.
pub(super) struct Answered {
    pub command: u16,
    pub message_id: u16,
    pub answer: Answer,
    pub sop_instance: Option<String>,
    pub counts: SubOperations,
    pub has_data_set: bool,
}

/// A request.
pub(super) struct Asked {
    pub command: u16,
    pub message_id: u16,
    pub sop_class: Option<String>,
    pub sop_instance: Option<String>,
    pub event_type: Option<u16>,
    pub has_data_set: bool,
}

impl Incoming {
    pub(super) fn read(set: &CommandSet) -> Result<Self, CommandError> {
        let need = |element, name| set.u16(element).ok_or(CommandError::Missing(name));
        let owned = |element| set.text(element).map(str::to_owned);
        let command = need(COMMAND_FIELD, "Command Field")?;
        let has_data_set = need(DATA_SET_TYPE, "Command Data Set Type")? != NO_DATA_SET;
        let sop_instance = owned(AFFECTED_SOP_INSTANCE_UID);
        if command & field::RESPONSE == 0 {
            return Ok(Self::Request(Asked {
                command,
                message_id: need(MESSAGE_ID, "Message ID")?,
                sop_class: owned(AFFECTED_SOP_CLASS_UID),
                sop_instance,
                event_type: set.u16(EVENT_TYPE),
                has_data_set,
            }));
        }
        let [remaining, completed, failed, warning] = SUB_OPERATIONS.map(|one| set.u16(one));
        Ok(Self::Response(Answered {
            command,
            message_id: need(MESSAGE_ID_RESPONDED_TO, "Message ID Being Responded To")?,
            answer: Answer {
                status: Status::new(need(STATUS, "Status")?),
                comment: owned(ERROR_COMMENT),
            },
            sop_instance,
            counts: SubOperations {
                remaining,
                completed: completed.unwrap_or_default(),
                failed: failed.unwrap_or_default(),
                warning: warning.unwrap_or_default(),
            },
            has_data_set,
        }))
    }
}
