//! The requests that go out, as the bytes of their command sets.

use qianli_model::{SopClassUid, SopInstanceUid};

use super::{DATA_SET_FOLLOWS, NO_DATA_SET, field};
use crate::command::CommandWriter;
use crate::command::element::{
    AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, COMMAND_FIELD, DATA_SET_TYPE, MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO, MOVE_ORIGINATOR_AE, MOVE_ORIGINATOR_MESSAGE_ID, PRIORITY,
};
use crate::services::MoveOriginator;

/// Priority (0000,0700): medium.
const PRIORITY_MEDIUM: u16 = 0x0000;

/// C-ECHO-RQ (PS3.7 table 9.3-12).
pub fn echo_request(message_id: u16) -> Vec<u8> {
    CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(crate::association::VERIFICATION))
        .u16(COMMAND_FIELD, field::C_ECHO_RQ)
        .u16(MESSAGE_ID, message_id)
        .u16(DATA_SET_TYPE, NO_DATA_SET)
        .finish()
}

/// C-STORE-RQ (PS3.7 table 9.3-1).
pub fn store_request(
    message_id: u16,
    sop_class: &SopClassUid,
    sop_instance: &SopInstanceUid,
    move_originator: Option<&MoveOriginator>,
) -> Vec<u8> {
    let writer = CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(sop_class.as_str()))
        .u16(COMMAND_FIELD, field::C_STORE_RQ)
        .u16(MESSAGE_ID, message_id)
        .u16(PRIORITY, PRIORITY_MEDIUM)
        .u16(DATA_SET_TYPE, DATA_SET_FOLLOWS)
        .uid(AFFECTED_SOP_INSTANCE_UID, Some(sop_instance.as_str()))
        .text(MOVE_ORIGINATOR_AE, move_originator.map(|origin| origin.ae_title.as_str()));
    match move_originator.and_then(|origin| origin.message_id) {
        Some(id) => writer.u16(MOVE_ORIGINATOR_MESSAGE_ID, id).finish(),
        None => writer.finish(),
    }
}

/// C-FIND-RQ (PS3.7 table 9.3-3).
pub fn find_request(message_id: u16, sop_class: &str) -> Vec<u8> {
    CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(sop_class))
        .u16(COMMAND_FIELD, field::C_FIND_RQ)
        .u16(MESSAGE_ID, message_id)
        .u16(PRIORITY, PRIORITY_MEDIUM)
        .u16(DATA_SET_TYPE, DATA_SET_FOLLOWS)
        .finish()
}

/// C-CANCEL-RQ (PS3.7 table 9.3-5).
pub fn cancel_request(message_id: u16) -> Vec<u8> {
    CommandWriter::new()
        .u16(COMMAND_FIELD, field::C_CANCEL_RQ)
        .u16(MESSAGE_ID_RESPONDED_TO, message_id)
        .u16(DATA_SET_TYPE, NO_DATA_SET)
        .finish()
}
