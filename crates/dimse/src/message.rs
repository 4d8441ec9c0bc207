//! Typed DIMSE messages (PS3.7 section 9.3): what may come in, what goes out.
//!
//! Requests are parsed once, here; past this module nobody looks into a command set.

use qianli_model::{AeTitle, Tag};

use crate::command::element::{
    ACTION_TYPE, AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, ATTRIBUTE_LIST, COMMAND_FIELD,
    COMPLETED, DATA_SET_TYPE, ERROR_COMMENT, ERROR_ID, EVENT_TYPE, FAILED, MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO, MOVE_DESTINATION, MOVE_ORIGINATOR_AE, MOVE_ORIGINATOR_MESSAGE_ID,
    OFFENDING_ELEMENT, PRIORITY, REMAINING, REQUESTED_SOP_CLASS_UID, REQUESTED_SOP_INSTANCE_UID,
    STATUS, WARNING,
};
use crate::command::{CommandError, CommandSet, CommandWriter};
use crate::services::{MoveOriginator, Reply, StoreOutcome};
use crate::status::Status;

pub mod outgoing;

/// Values of Command Field (0000,0100), PS3.7 table E.1-1.
pub mod field {
    /// C-STORE-RQ.
    pub const C_STORE_RQ: u16 = 0x0001;
    /// C-STORE-RSP.
    pub const C_STORE_RSP: u16 = 0x8001;
    /// C-GET-RQ.
    pub const C_GET_RQ: u16 = 0x0010;
    /// C-GET-RSP.
    pub const C_GET_RSP: u16 = 0x8010;
    /// C-FIND-RQ.
    pub const C_FIND_RQ: u16 = 0x0020;
    /// C-FIND-RSP.
    pub const C_FIND_RSP: u16 = 0x8020;
    /// C-MOVE-RQ.
    pub const C_MOVE_RQ: u16 = 0x0021;
    /// C-MOVE-RSP.
    pub const C_MOVE_RSP: u16 = 0x8021;
    /// C-ECHO-RQ.
    pub const C_ECHO_RQ: u16 = 0x0030;
    /// C-ECHO-RSP.
    pub const C_ECHO_RSP: u16 = 0x8030;
    /// N-EVENT-REPORT-RQ.
    pub const N_EVENT_REPORT_RQ: u16 = 0x0100;
    /// N-EVENT-REPORT-RSP.
    pub const N_EVENT_REPORT_RSP: u16 = 0x8100;
    /// N-GET-RQ.
    pub const N_GET_RQ: u16 = 0x0110;
    /// N-SET-RQ.
    pub const N_SET_RQ: u16 = 0x0120;
    /// N-ACTION-RQ.
    pub const N_ACTION_RQ: u16 = 0x0130;
    /// N-CREATE-RQ.
    pub const N_CREATE_RQ: u16 = 0x0140;
    /// N-DELETE-RQ.
    pub const N_DELETE_RQ: u16 = 0x0150;
    /// C-CANCEL-RQ.
    pub const C_CANCEL_RQ: u16 = 0x0FFF;
    /// Set in every response.
    pub const RESPONSE: u16 = 0x8000;
}

/// Command Data Set Type (0000,0800): no data set follows.
pub const NO_DATA_SET: u16 = 0x0101;
/// Command Data Set Type (0000,0800): one follows. Any value but 0101H says so.
pub const DATA_SET_FOLLOWS: u16 = 0x0001;

/// Longest Error Comment (VR LO).
const COMMENT_LENGTH: usize = 64;

/// A request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Message ID (0000,0110).
    pub message_id: u16,
    /// Whether a data set follows.
    pub has_data_set: bool,
    /// Affected or Requested SOP Class UID, echoed in the response.
    pub sop_class: Option<String>,
    /// Affected SOP Instance UID, echoed in the response.
    pub sop_instance: Option<String>,
    /// What is asked for.
    pub operation: Operation,
}

/// How urgent a request is (PS3.7 section 9.1.2.1.4). It is a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// 0002H.
    Low,
    /// 0000H, and whatever else was sent.
    #[default]
    Medium,
    /// 0001H.
    High,
}

impl Priority {
    fn from_code(code: Option<u16>) -> Self {
        match code {
            Some(1) => Self::High,
            Some(2) => Self::Low,
            _ => Self::Medium,
        }
    }

    /// The value of Priority (0000,0700).
    pub const fn code(self) -> u16 {
        match self {
            Self::Medium => 0,
            Self::High => 1,
            Self::Low => 2,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// C-ECHO-RQ.
    Echo,
    /// C-STORE-RQ.
    Store {
        /// Set in the sub-operations of a C-MOVE.
        move_originator: Option<MoveOriginator>,
    },
    /// C-FIND-RQ.
    Find {
        /// Priority (0000,0700).
        priority: Priority,
    },
    /// C-GET-RQ.
    Get {
        /// Priority (0000,0700).
        priority: Priority,
    },
    /// C-MOVE-RQ.
    Move {
        /// Priority (0000,0700).
        priority: Priority,
        /// Move Destination (0000,0600); `None` when it is absent or no AE title.
        destination: Option<AeTitle>,
    },
    /// C-CANCEL-RQ; the message ID is that of the request to be cancelled. Never answered.
    Cancel,
    /// N-EVENT-REPORT-RQ.
    EventReport {
        /// Event Type ID (0000,1002); 0, which no service uses, when it is absent.
        event_type: u16,
    },
    /// N-GET-RQ.
    GetAttributes {
        /// Attribute Identifier List (0000,1005); empty for all.
        attributes: Vec<Tag>,
    },
    /// N-SET-RQ.
    Set,
    /// N-ACTION-RQ.
    Action {
        /// Action Type ID (0000,1008); 0, which no service uses, when it is absent.
        action_type: u16,
    },
    /// N-CREATE-RQ.
    Create,
    /// N-DELETE-RQ.
    Delete,
    /// Any other request, by its command field.
    Other(u16),
}

impl Operation {
    fn parse(command: u16, set: &CommandSet) -> Result<Self, CommandError> {
        let priority = Priority::from_code(set.u16(PRIORITY));
        Ok(match command {
            field::C_ECHO_RQ => Self::Echo,
            field::C_STORE_RQ => {
                let originator = set.text(MOVE_ORIGINATOR_AE).and_then(|t| AeTitle::parse(t).ok());
                Self::Store {
                    move_originator: originator.map(|ae_title| MoveOriginator {
                        ae_title,
                        message_id: set.u16(MOVE_ORIGINATOR_MESSAGE_ID),
                    }),
                }
            }
            field::C_FIND_RQ => Self::Find { priority },
            field::C_GET_RQ => Self::Get { priority },
            field::C_MOVE_RQ => {
                let destination = set.text(MOVE_DESTINATION);
                Self::Move {
                    priority,
                    destination: destination.and_then(|t| AeTitle::parse(t).ok()),
                }
            }
            field::C_CANCEL_RQ => Self::Cancel,
            field::N_EVENT_REPORT_RQ => {
                Self::EventReport { event_type: set.u16(EVENT_TYPE).unwrap_or(0) }
            }
            field::N_GET_RQ => Self::GetAttributes { attributes: set.tags(ATTRIBUTE_LIST) },
            field::N_SET_RQ => Self::Set,
            field::N_ACTION_RQ => Self::Action { action_type: set.u16(ACTION_TYPE).unwrap_or(0) },
            field::N_CREATE_RQ => Self::Create,
            field::N_DELETE_RQ => Self::Delete,
            response if response & field::RESPONSE != 0 => {
                return Err(CommandError::Missing("request: it is a response nobody waits for"));
            }
            other => Self::Other(other),
        })
    }

    /// Command Field (0000,0100) of the request.
    pub const fn field(&self) -> u16 {
        match self {
            Self::Echo => field::C_ECHO_RQ,
            Self::Store { .. } => field::C_STORE_RQ,
            Self::Find { .. } => field::C_FIND_RQ,
            Self::Get { .. } => field::C_GET_RQ,
            Self::Move { .. } => field::C_MOVE_RQ,
            Self::Cancel => field::C_CANCEL_RQ,
            Self::EventReport { .. } => field::N_EVENT_REPORT_RQ,
            Self::GetAttributes { .. } => field::N_GET_RQ,
            Self::Set => field::N_SET_RQ,
            Self::Action { .. } => field::N_ACTION_RQ,
            Self::Create => field::N_CREATE_RQ,
            Self::Delete => field::N_DELETE_RQ,
            Self::Other(command) => *command,
        }
    }

    /// What the standard calls it, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Echo => "C-ECHO",
            Self::Store { .. } => "C-STORE",
            Self::Find { .. } => "C-FIND",
            Self::Get { .. } => "C-GET",
            Self::Move { .. } => "C-MOVE",
            Self::Cancel => "C-CANCEL",
            Self::EventReport { .. } => "N-EVENT-REPORT",
            Self::GetAttributes { .. } => "N-GET",
            Self::Set => "N-SET",
            Self::Action { .. } => "N-ACTION",
            Self::Create => "N-CREATE",
            Self::Delete => "N-DELETE",
            Self::Other(_) => "an unknown operation",
        }
    }
}

impl Request {
    /// Reads a request. An error leaves no way to answer: the association is to be aborted.
    pub fn parse(set: &CommandSet) -> Result<Self, CommandError> {
        let command = set.u16(COMMAND_FIELD).ok_or(CommandError::Missing("Command Field"))?;
        let data_set_type =
            set.u16(DATA_SET_TYPE).ok_or(CommandError::Missing("Command Data Set Type"))?;
        let operation = Operation::parse(command, set)?;
        let id_element = match operation {
            // PS3.7 table 9.3-5: a cancel carries only the ID it responds to.
            Operation::Cancel => MESSAGE_ID_RESPONDED_TO,
            _ => MESSAGE_ID,
        };
        let owned = |element| set.text(element).map(str::to_owned);
        Ok(Self {
            message_id: set.u16(id_element).ok_or(CommandError::Missing("Message ID"))?,
            has_data_set: data_set_type != NO_DATA_SET,
            sop_class: owned(AFFECTED_SOP_CLASS_UID).or_else(|| owned(REQUESTED_SOP_CLASS_UID)),
            sop_instance: owned(AFFECTED_SOP_INSTANCE_UID)
                .or_else(|| owned(REQUESTED_SOP_INSTANCE_UID)),
            operation,
        })
    }

    /// The command set of a response without a data set.
    pub fn response(&self, outcome: &StoreOutcome) -> Vec<u8> {
        self.reply(&Reply::from(outcome.clone()))
    }

    /// The command set of a response. A data set of the reply has to follow it.
    pub fn reply(&self, reply: &Reply) -> Vec<u8> {
        let comment = reply.comment.as_deref().map(error_comment).filter(|c| !c.trim().is_empty());
        let data_set = if reply.data.is_some() { DATA_SET_FOLLOWS } else { NO_DATA_SET };
        let instance = reply.sop_instance.as_deref().or(self.sop_instance.as_deref());
        let (event, action) = match self.operation {
            Operation::EventReport { event_type } => (Some(event_type), None),
            Operation::Action { action_type } => (None, Some(action_type)),
            _ => (None, None),
        };
        let counts = reply.counts;
        CommandWriter::new()
            .uid(AFFECTED_SOP_CLASS_UID, self.sop_class.as_deref())
            .u16(COMMAND_FIELD, self.operation.field() | field::RESPONSE)
            .u16(MESSAGE_ID_RESPONDED_TO, self.message_id)
            .u16(DATA_SET_TYPE, data_set)
            .u16(STATUS, reply.status.code())
            .tags(OFFENDING_ELEMENT, &reply.offending)
            .text(ERROR_COMMENT, comment.as_deref())
            .u16_if(ERROR_ID, reply.error_id)
            .uid(AFFECTED_SOP_INSTANCE_UID, instance)
            .u16_if(EVENT_TYPE, event)
            .u16_if(ACTION_TYPE, action)
            .u16_if(REMAINING, counts.and_then(|counts| counts.remaining))
            .u16_if(COMPLETED, counts.map(|counts| counts.completed))
            .u16_if(FAILED, counts.map(|counts| counts.failed))
            .u16_if(WARNING, counts.map(|counts| counts.warning))
            .finish()
    }
}

/// How far the sub-operations of a C-GET or C-MOVE are (PS3.7 section 9.1.3.1). Counts that do not
/// fit are at their largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubOperations {
    /// Not done yet; only in pending and cancelled responses.
    pub remaining: Option<u16>,
    /// Done.
    pub completed: u16,
    /// Not done, and not going to be.
    pub failed: u16,
    /// Done with a warning.
    pub warning: u16,
}

/// Makes a text fit VR LO in the default repertoire: printable ASCII, no backslash, 64 characters.
fn error_comment(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() && c != '\\' { c } else { ' ' };
    text.trim().chars().map(printable).take(COMMENT_LENGTH).collect()
}

/// A response as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Command Field (0000,0100).
    pub command: u16,
    /// Message ID Being Responded To (0000,0120).
    pub message_id: u16,
    /// Status (0000,0900).
    pub status: Status,
    /// Error Comment (0000,0902).
    pub comment: Option<String>,
    /// Whether a data set follows.
    pub has_data_set: bool,
    /// Affected SOP Instance UID, such as the one that an N-CREATE was given.
    pub sop_instance: Option<String>,
    /// Sub-operations, where the response counts any.
    pub counts: Option<SubOperations>,
}

impl Response {
    /// Reads a response.
    pub fn parse(set: &CommandSet) -> Result<Self, CommandError> {
        let need = |element, name| set.u16(element).ok_or(CommandError::Missing(name));
        Ok(Self {
            command: need(COMMAND_FIELD, "Command Field")?,
            message_id: need(MESSAGE_ID_RESPONDED_TO, "Message ID Being Responded To")?,
            status: Status::new(need(STATUS, "Status")?),
            comment: set.text(ERROR_COMMENT).map(str::to_owned),
            has_data_set: need(DATA_SET_TYPE, "Command Data Set Type")? != NO_DATA_SET,
            sop_instance: set.text(AFFECTED_SOP_INSTANCE_UID).map(str::to_owned),
            counts: set.u16(COMPLETED).or(set.u16(REMAINING)).map(|_| SubOperations {
                remaining: set.u16(REMAINING),
                completed: set.u16(COMPLETED).unwrap_or_default(),
                failed: set.u16(FAILED).unwrap_or_default(),
                warning: set.u16(WARNING).unwrap_or_default(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use qianli_model::{SopClassUid, SopInstanceUid};

    use super::outgoing::{echo_request, store_request};
    use super::*;
    use crate::testdata;

    fn request(bytes: &'static [u8]) -> Result<Request, CommandError> {
        Request::parse(&CommandSet::parse(Bytes::from_static(bytes))?)
    }

    #[test]
    fn a_recorded_store_request_is_read_and_written_byte_for_byte() {
        let store = request(testdata::C_STORE_RQ).unwrap();
        let originator =
            MoveOriginator { ae_title: AeTitle::parse("MOVER").unwrap(), message_id: Some(9) };
        assert_eq!(store.message_id, 7);
        assert!(store.has_data_set);
        assert_eq!(store.sop_class.as_deref(), Some("1.2.840.10008.5.1.4.1.1.2"));
        assert_eq!(store.sop_instance.as_deref(), Some("1.2.3.4"));
        assert_eq!(store.operation, Operation::Store { move_originator: Some(originator.clone()) });
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let instance = SopInstanceUid::parse("1.2.3.4").unwrap();
        assert_eq!(
            store_request(7, &class, &instance, Priority::Medium, Some(&originator)),
            testdata::C_STORE_RQ
        );
    }

    #[test]
    fn responses_are_written_byte_for_byte_and_read_back() {
        let store = request(testdata::C_STORE_RQ).unwrap();
        let outcome = StoreOutcome::with_comment(Status::OUT_OF_RESOURCES, "disk full");
        let bytes = store.response(&outcome);
        assert_eq!(bytes, testdata::C_STORE_RSP);
        let read = Response::parse(&CommandSet::parse(bytes.into()).unwrap()).unwrap();
        assert_eq!(
            read,
            Response {
                command: field::C_STORE_RSP,
                message_id: 7,
                status: Status::OUT_OF_RESOURCES,
                comment: Some("disk full".into()),
                has_data_set: false,
                sop_instance: Some("1.2.3.4".into()),
                counts: None,
            }
        );
        let echo = request(testdata::C_ECHO_RQ).unwrap();
        assert_eq!(echo_request(1), testdata::C_ECHO_RQ);
        assert_eq!(echo.response(&StoreOutcome::success()), testdata::C_ECHO_RSP);
    }

    #[test]
    fn other_operations_can_still_be_answered() {
        // N-GET-RQ, command field 0110H, with Requested SOP Class UID 1.2.
        let bytes = CommandWriter::new()
            .uid(REQUESTED_SOP_CLASS_UID, Some("1.2"))
            .u16(COMMAND_FIELD, 0x0110)
            .u16(MESSAGE_ID, 3)
            .u16(DATA_SET_TYPE, NO_DATA_SET)
            .finish();
        let request = Request::parse(&CommandSet::parse(bytes.into()).unwrap()).unwrap();
        assert_eq!(request.operation, Operation::GetAttributes { attributes: Vec::new() });
        let answer = request.response(&StoreOutcome::new(Status::UNRECOGNISED_OPERATION));
        let response = Response::parse(&CommandSet::parse(answer.into()).unwrap()).unwrap();
        assert_eq!((response.command, response.message_id), (0x8110, 3));
        assert_eq!(response.status, Status::UNRECOGNISED_OPERATION);
    }

    #[test]
    fn what_cannot_be_answered_is_an_error() {
        for (bytes, missing) in [
            (CommandWriter::new().finish(), "Command Field"),
            (CommandWriter::new().u16(COMMAND_FIELD, 1).finish(), "Command Data Set Type"),
            (
                CommandWriter::new().u16(COMMAND_FIELD, 1).u16(DATA_SET_TYPE, 1).finish(),
                "Message ID",
            ),
        ] {
            let set = CommandSet::parse(bytes.into()).unwrap();
            assert_eq!(Request::parse(&set), Err(CommandError::Missing(missing)));
        }
        let response = CommandSet::parse(Bytes::from_static(testdata::C_ECHO_RSP)).unwrap();
        assert!(Request::parse(&response).is_err(), "a response is not a request");
    }

    #[test]
    fn comments_fit_their_element() {
        assert_eq!(error_comment(" a\\b\nc "), "a b c");
        assert_eq!(error_comment(&"x".repeat(100)).len(), 64);
        assert_eq!(error_comment("磁盘已满"), "    ");
    }
}
