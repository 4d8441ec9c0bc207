//! Typed DIMSE messages (PS3.7 section 9.3): what may come in, what goes out.
//!
//! Requests are parsed once, here; past this module nobody looks into a command set.

use qianli_model::AeTitle;

use crate::command::element::{
    AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, COMMAND_FIELD, DATA_SET_TYPE, ERROR_COMMENT,
    MESSAGE_ID, MESSAGE_ID_RESPONDED_TO, MOVE_ORIGINATOR_AE, MOVE_ORIGINATOR_MESSAGE_ID,
    REQUESTED_SOP_CLASS_UID, STATUS,
};
use crate::command::{CommandError, CommandSet, CommandWriter};
use crate::services::{MoveOriginator, StoreOutcome};
use crate::status::Status;

pub mod outgoing;

/// Values of Command Field (0000,0100), PS3.7 table E.1-1.
pub mod field {
    /// C-STORE-RQ.
    pub const C_STORE_RQ: u16 = 0x0001;
    /// C-STORE-RSP.
    pub const C_STORE_RSP: u16 = 0x8001;
    /// C-FIND-RQ.
    pub const C_FIND_RQ: u16 = 0x0020;
    /// C-FIND-RSP.
    pub const C_FIND_RSP: u16 = 0x8020;
    /// C-ECHO-RQ.
    pub const C_ECHO_RQ: u16 = 0x0030;
    /// C-ECHO-RSP.
    pub const C_ECHO_RSP: u16 = 0x8030;
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
    /// C-CANCEL-RQ; the message ID is that of the request to be cancelled. Never answered.
    Cancel,
    /// Any other request, by its command field.
    Other(u16),
}

impl Request {
    /// Reads a request. An error leaves no way to answer: the association is to be aborted.
    pub fn parse(set: &CommandSet) -> Result<Self, CommandError> {
        let command = set.u16(COMMAND_FIELD).ok_or(CommandError::Missing("Command Field"))?;
        let data_set_type =
            set.u16(DATA_SET_TYPE).ok_or(CommandError::Missing("Command Data Set Type"))?;
        let (operation, id_element) = match command {
            field::C_ECHO_RQ => (Operation::Echo, MESSAGE_ID),
            field::C_STORE_RQ => {
                let originator = set.text(MOVE_ORIGINATOR_AE).and_then(|t| AeTitle::parse(t).ok());
                let move_originator = originator.map(|ae_title| MoveOriginator {
                    ae_title,
                    message_id: set.u16(MOVE_ORIGINATOR_MESSAGE_ID),
                });
                (Operation::Store { move_originator }, MESSAGE_ID)
            }
            // PS3.7 table 9.3-5: a cancel carries only the ID it responds to.
            field::C_CANCEL_RQ => (Operation::Cancel, MESSAGE_ID_RESPONDED_TO),
            response if response & field::RESPONSE != 0 => {
                return Err(CommandError::Missing("request: it is a response nobody waits for"));
            }
            other => (Operation::Other(other), MESSAGE_ID),
        };
        let owned = |element| set.text(element).map(str::to_owned);
        Ok(Self {
            message_id: set.u16(id_element).ok_or(CommandError::Missing("Message ID"))?,
            has_data_set: data_set_type != NO_DATA_SET,
            sop_class: owned(AFFECTED_SOP_CLASS_UID).or_else(|| owned(REQUESTED_SOP_CLASS_UID)),
            sop_instance: owned(AFFECTED_SOP_INSTANCE_UID),
            operation,
        })
    }

    /// The command set of the response, which never carries a data set here.
    pub fn response(&self, outcome: &StoreOutcome) -> Vec<u8> {
        let command = match self.operation {
            Operation::Echo => field::C_ECHO_RSP,
            Operation::Store { .. } => field::C_STORE_RSP,
            Operation::Cancel => field::C_CANCEL_RQ | field::RESPONSE,
            Operation::Other(command) => command | field::RESPONSE,
        };
        let comment =
            outcome.comment.as_deref().map(error_comment).filter(|c| !c.trim().is_empty());
        CommandWriter::new()
            .uid(AFFECTED_SOP_CLASS_UID, self.sop_class.as_deref())
            .u16(COMMAND_FIELD, command)
            .u16(MESSAGE_ID_RESPONDED_TO, self.message_id)
            .u16(DATA_SET_TYPE, NO_DATA_SET)
            .u16(STATUS, outcome.status.code())
            .text(ERROR_COMMENT, comment.as_deref())
            .uid(AFFECTED_SOP_INSTANCE_UID, self.sop_instance.as_deref())
            .finish()
    }
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
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use qianli_model::{SopClassUid, SopInstanceUid};

    use super::outgoing::{Priority, echo_request, store_request};
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
        assert_eq!(request.operation, Operation::Other(0x0110));
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
