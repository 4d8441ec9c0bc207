//! The requests that go out, as the bytes of their command sets.

use qianli_model::{AeTitle, SopClassUid, SopInstanceUid, Tag};

use super::{DATA_SET_FOLLOWS, NO_DATA_SET, Priority, field};
use crate::command::CommandWriter;
use crate::command::element::{
    ACTION_TYPE, AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, ATTRIBUTE_LIST, COMMAND_FIELD,
    DATA_SET_TYPE, EVENT_TYPE, MESSAGE_ID, MESSAGE_ID_RESPONDED_TO, MOVE_DESTINATION,
    MOVE_ORIGINATOR_AE, MOVE_ORIGINATOR_MESSAGE_ID, PRIORITY, REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID, STATUS,
};
use crate::services::MoveOriginator;
use crate::status::Status;

/// A normalised operation (PS3.7 section 10.1) with what its command set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalised {
    /// N-EVENT-REPORT with its Event Type ID.
    EventReport(u16),
    /// N-GET of these attributes; of all when empty.
    Get(Vec<Tag>),
    /// N-SET.
    Set,
    /// N-ACTION with its Action Type ID.
    Action(u16),
    /// N-CREATE.
    Create,
    /// N-DELETE.
    Delete,
}

impl Normalised {
    /// The command field of the request.
    pub const fn command(&self) -> u16 {
        match self {
            Self::EventReport(_) => field::N_EVENT_REPORT_RQ,
            Self::Get(_) => field::N_GET_RQ,
            Self::Set => field::N_SET_RQ,
            Self::Action(_) => field::N_ACTION_RQ,
            Self::Create => field::N_CREATE_RQ,
            Self::Delete => field::N_DELETE_RQ,
        }
    }
}

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
    priority: Priority,
    move_originator: Option<&MoveOriginator>,
) -> Vec<u8> {
    let writer = CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(sop_class.as_str()))
        .u16(COMMAND_FIELD, field::C_STORE_RQ)
        .u16(MESSAGE_ID, message_id)
        .u16(PRIORITY, priority.code())
        .u16(DATA_SET_TYPE, DATA_SET_FOLLOWS)
        .uid(AFFECTED_SOP_INSTANCE_UID, Some(sop_instance.as_str()))
        .text(MOVE_ORIGINATOR_AE, move_originator.map(|origin| origin.ae_title.as_str()));
    match move_originator.and_then(|origin| origin.message_id) {
        Some(id) => writer.u16(MOVE_ORIGINATOR_MESSAGE_ID, id).finish(),
        None => writer.finish(),
    }
}

/// C-STORE-RSP (PS3.7 table 9.3-2), to a peer that performs a C-GET.
pub(crate) fn store_response(
    message_id: u16,
    sop_class: Option<&str>,
    sop_instance: Option<&str>,
    status: Status,
) -> Vec<u8> {
    CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, sop_class)
        .u16(COMMAND_FIELD, field::C_STORE_RQ | field::RESPONSE)
        .u16(MESSAGE_ID_RESPONDED_TO, message_id)
        .u16(DATA_SET_TYPE, NO_DATA_SET)
        .u16(STATUS, status.code())
        .uid(AFFECTED_SOP_INSTANCE_UID, sop_instance)
        .finish()
}

/// N-EVENT-REPORT-RSP (PS3.7 table 10.3-2) without a reply.
pub(crate) fn event_report_response(
    message_id: u16,
    sop_class: Option<&str>,
    sop_instance: Option<&str>,
    event_type: Option<u16>,
    status: Status,
) -> Vec<u8> {
    let writer = CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, sop_class)
        .u16(COMMAND_FIELD, field::N_EVENT_REPORT_RQ | field::RESPONSE)
        .u16(MESSAGE_ID_RESPONDED_TO, message_id)
        .u16(DATA_SET_TYPE, NO_DATA_SET)
        .u16(STATUS, status.code())
        .uid(AFFECTED_SOP_INSTANCE_UID, sop_instance);
    match event_type {
        Some(event_type) => writer.u16(EVENT_TYPE, event_type).finish(),
        None => writer.finish(),
    }
}

/// C-FIND-RQ (PS3.7 table 9.3-3).
pub fn find_request(message_id: u16, sop_class: &str) -> Vec<u8> {
    with_identifier(message_id, sop_class, field::C_FIND_RQ, Priority::Medium).finish()
}

/// C-GET-RQ (PS3.7 table 9.3-6).
pub fn get_request(message_id: u16, sop_class: &str, priority: Priority) -> Vec<u8> {
    with_identifier(message_id, sop_class, field::C_GET_RQ, priority).finish()
}

/// C-MOVE-RQ (PS3.7 table 9.3-9). The destination stands before the priority: elements ascend.
pub fn move_request(
    message_id: u16,
    sop_class: &str,
    destination: &AeTitle,
    priority: Priority,
) -> Vec<u8> {
    CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(sop_class))
        .u16(COMMAND_FIELD, field::C_MOVE_RQ)
        .u16(MESSAGE_ID, message_id)
        .text(MOVE_DESTINATION, Some(destination.as_str()))
        .u16(PRIORITY, priority.code())
        .u16(DATA_SET_TYPE, DATA_SET_FOLLOWS)
        .finish()
}

fn with_identifier(
    message_id: u16,
    sop_class: &str,
    command: u16,
    priority: Priority,
) -> CommandWriter {
    CommandWriter::new()
        .uid(AFFECTED_SOP_CLASS_UID, Some(sop_class))
        .u16(COMMAND_FIELD, command)
        .u16(MESSAGE_ID, message_id)
        .u16(PRIORITY, priority.code())
        .u16(DATA_SET_TYPE, DATA_SET_FOLLOWS)
}

/// A request of a normalised operation (PS3.7 section 10.3). N-EVENT-REPORT and N-CREATE name what is
/// affected, the others what is requested.
pub fn normalised_request(
    message_id: u16,
    operation: &Normalised,
    sop_class: &str,
    sop_instance: Option<&str>,
    has_data_set: bool,
) -> Vec<u8> {
    let affected = matches!(operation, Normalised::EventReport(_) | Normalised::Create);
    let class = if affected { AFFECTED_SOP_CLASS_UID } else { REQUESTED_SOP_CLASS_UID };
    let data_set = if has_data_set { DATA_SET_FOLLOWS } else { NO_DATA_SET };
    let writer = CommandWriter::new()
        .uid(class, Some(sop_class))
        .u16(COMMAND_FIELD, operation.command())
        .u16(MESSAGE_ID, message_id)
        .u16(DATA_SET_TYPE, data_set);
    let writer = match affected {
        true => writer.uid(AFFECTED_SOP_INSTANCE_UID, sop_instance),
        false => writer.uid(REQUESTED_SOP_INSTANCE_UID, sop_instance),
    };
    match operation {
        Normalised::EventReport(kind) => writer.u16(EVENT_TYPE, *kind),
        Normalised::Action(kind) => writer.u16(ACTION_TYPE, *kind),
        Normalised::Get(tags) if !tags.is_empty() => writer.tags(ATTRIBUTE_LIST, tags),
        Normalised::Get(_) | Normalised::Set | Normalised::Create | Normalised::Delete => writer,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandSet;

    /// Elements in ascending order, a right group length, and these values.
    fn check(bytes: Vec<u8>, command: u16, numbers: &[(u16, u16)], texts: &[(u16, &str)]) {
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 12);
        let (mut at, mut last) = (12, 0);
        while at < bytes.len() {
            let element = u16::from_le_bytes(bytes[at + 2..at + 4].try_into().unwrap());
            assert!(element > last, "{element:04X} after {last:04X}");
            last = element;
            let value = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            assert_eq!(value % 2, 0);
            at += 8 + value;
        }
        let set = CommandSet::parse(bytes.into()).unwrap();
        assert_eq!(set.u16(COMMAND_FIELD), Some(command));
        for (element, value) in numbers {
            assert_eq!(set.u16(*element), Some(*value), "{element:04X}");
        }
        for (element, value) in texts {
            assert_eq!(set.text(*element), Some(*value), "{element:04X}");
        }
    }

    #[test]
    fn retrievals_name_destination_and_priority() {
        let to = AeTitle::parse("WORKSTATION").unwrap();
        let bytes = move_request(9, "1.2.3", &to, Priority::High);
        let texts = [(AFFECTED_SOP_CLASS_UID, "1.2.3"), (0x0600, "WORKSTATION")];
        check(bytes, 0x0021, &[(MESSAGE_ID, 9), (PRIORITY, 1)], &texts);
        check(get_request(3, "1.2", Priority::Low), 0x0010, &[(PRIORITY, 2)], &[]);
        for priority in [Priority::Low, Priority::Medium, Priority::High] {
            assert_eq!(Priority::from_code(Some(priority.code())), priority);
        }
    }

    #[test]
    fn normalised_requests_name_what_is_affected_or_requested() {
        let (class, instance) = ("1.2.840.10008.1.20.1", Some("1.2.840.10008.1.20.1.1"));
        let make =
            |operation: Normalised, data| normalised_request(5, &operation, class, instance, data);
        let requested = [(0x0003, class), (0x1001, instance.unwrap())];
        let affected = [(0x0002, class), (0x1000, instance.unwrap())];
        check(make(Normalised::Action(1), true), 0x0130, &[(0x1008, 1), (0x0800, 1)], &requested);
        check(make(Normalised::EventReport(2), true), 0x0100, &[(0x1002, 2)], &affected);
        check(make(Normalised::Create, true), 0x0140, &[], &affected);
        check(make(Normalised::Set, true), 0x0120, &[], &requested);
        check(make(Normalised::Delete, false), 0x0150, &[(0x0800, 0x0101)], &requested);
        let get = make(Normalised::Get(vec![Tag { group: 0x0010, element: 0x0020 }]), false);
        assert!(get.ends_with(&[0x05, 0x10, 4, 0, 0, 0, 0x10, 0, 0x20, 0]), "{get:02x?}");
    }
}
