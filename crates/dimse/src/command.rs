//! Command sets (PS3.7 section 6.3 and annex E): group 0000 in Implicit VR Little Endian.
//!
//! Reading keeps slices of the received bytes; every length is checked against what remains. What
//! the elements mean is [`crate::message`]'s business.

use bytes::{Buf, BufMut, Bytes};
use qianli_model::Tag;

/// Longest command set we read. Real ones have about 200 bytes.
pub const COMMAND_LIMIT: usize = 64 * 1024;

/// Elements of group 0000 that we use (PS3.7 table E.1-1).
pub mod element {
    /// Command Group Length, UL.
    pub const GROUP_LENGTH: u16 = 0x0000;
    /// Affected SOP Class UID, UI.
    pub const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
    /// Requested SOP Class UID, UI.
    pub const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
    /// Command Field, US.
    pub const COMMAND_FIELD: u16 = 0x0100;
    /// Message ID, US.
    pub const MESSAGE_ID: u16 = 0x0110;
    /// Message ID Being Responded To, US.
    pub const MESSAGE_ID_RESPONDED_TO: u16 = 0x0120;
    /// Move Destination, AE.
    pub const MOVE_DESTINATION: u16 = 0x0600;
    /// Priority, US.
    pub const PRIORITY: u16 = 0x0700;
    /// Command Data Set Type, US.
    pub const DATA_SET_TYPE: u16 = 0x0800;
    /// Status, US.
    pub const STATUS: u16 = 0x0900;
    /// Offending Element, AT.
    pub const OFFENDING_ELEMENT: u16 = 0x0901;
    /// Error Comment, LO.
    pub const ERROR_COMMENT: u16 = 0x0902;
    /// Error ID, US.
    pub const ERROR_ID: u16 = 0x0903;
    /// Affected SOP Instance UID, UI.
    pub const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    /// Requested SOP Instance UID, UI.
    pub const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
    /// Event Type ID, US.
    pub const EVENT_TYPE: u16 = 0x1002;
    /// Attribute Identifier List, AT.
    pub const ATTRIBUTE_LIST: u16 = 0x1005;
    /// Action Type ID, US.
    pub const ACTION_TYPE: u16 = 0x1008;
    /// Number of Remaining Sub-operations, US.
    pub const REMAINING: u16 = 0x1020;
    /// Number of Completed Sub-operations, US.
    pub const COMPLETED: u16 = 0x1021;
    /// Number of Failed Sub-operations, US.
    pub const FAILED: u16 = 0x1022;
    /// Number of Warning Sub-operations, US.
    pub const WARNING: u16 = 0x1023;
    /// The four numbers of sub-operations, in this order.
    pub const SUB_OPERATIONS: [u16; 4] = [REMAINING, COMPLETED, FAILED, WARNING];
    /// Move Originator Application Entity Title, AE.
    pub const MOVE_ORIGINATOR_AE: u16 = 0x1030;
    /// Move Originator Message ID, US.
    pub const MOVE_ORIGINATOR_MESSAGE_ID: u16 = 0x1031;
}

/// Why bytes are not a command set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An element ends after the command set does.
    #[error("the command set is cut short")]
    CutShort,
    /// An element outside group 0000, or an encoding that is not Implicit VR Little Endian.
    #[error("the command set holds an element of group {0:04X}")]
    WrongGroup(u16),
    /// An element without which the command cannot be answered.
    #[error("the command set has no {0}")]
    Missing(&'static str),
}

/// A command set as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSet {
    elements: Vec<(u16, Bytes)>,
}

impl CommandSet {
    /// Cuts a complete command set into elements.
    pub fn parse(mut bytes: Bytes) -> Result<Self, CommandError> {
        let mut elements = Vec::with_capacity(12);
        while bytes.has_remaining() {
            if bytes.remaining() < 8 {
                return Err(CommandError::CutShort);
            }
            let (group, element) = (bytes.get_u16_le(), bytes.get_u16_le());
            let length = bytes.get_u32_le() as usize;
            if group != 0 {
                return Err(CommandError::WrongGroup(group));
            }
            if length > bytes.remaining() {
                return Err(CommandError::CutShort);
            }
            elements.push((element, bytes.split_to(length)));
        }
        Ok(Self { elements })
    }

    fn value(&self, element: u16) -> Option<&Bytes> {
        self.elements.iter().find(|(this, _)| *this == element).map(|(_, value)| value)
    }

    /// An unsigned 16-bit value; `None` when absent or not two bytes long.
    pub fn u16(&self, element: u16) -> Option<u16> {
        let bytes: [u8; 2] = self.value(element)?.as_ref().try_into().ok()?;
        Some(u16::from_le_bytes(bytes))
    }

    /// The tags of an AT value; empty when absent.
    pub fn tags(&self, element: u16) -> Vec<Tag> {
        let value = self.value(element).map(Bytes::as_ref).unwrap_or_default();
        let half = |bytes: &[u8]| bytes.try_into().map_or(0, u16::from_le_bytes);
        let tag = |bytes: &[u8]| {
            let (group, element) = bytes.split_at(2);
            Tag { group: half(group), element: half(element) }
        };
        value.chunks_exact(4).map(tag).collect()
    }

    /// A text value without padding; `None` when absent, empty or not UTF-8.
    pub fn text(&self, element: u16) -> Option<&str> {
        let text = std::str::from_utf8(self.value(element)?).ok()?.trim_matches(['\0', ' ']);
        (!text.is_empty()).then_some(text)
    }
}

/// Builds a command set, element by element in ascending order.
#[derive(Debug)]
pub struct CommandWriter {
    bytes: Vec<u8>,
}

impl CommandWriter {
    /// Starts a command set; the group length is filled in by [`CommandWriter::finish`].
    pub fn new() -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(256) };
        writer.header(element::GROUP_LENGTH, 4);
        writer.bytes.put_u32_le(0);
        writer
    }

    fn header(&mut self, element: u16, length: usize) {
        self.bytes.put_u16_le(0);
        self.bytes.put_u16_le(element);
        self.bytes.put_u32_le(u32::try_from(length).unwrap_or(0));
    }

    /// Adds an unsigned 16-bit value.
    #[must_use]
    pub fn u16(mut self, element: u16, value: u16) -> Self {
        self.header(element, 2);
        self.bytes.put_u16_le(value);
        self
    }

    /// Adds an unsigned 16-bit value, if there is one.
    #[must_use]
    pub fn u16_if(self, element: u16, value: Option<u16>) -> Self {
        match value {
            Some(value) => self.u16(element, value),
            None => self,
        }
    }

    /// Adds the tags of an AT value; none are left out.
    #[must_use]
    pub fn tags(mut self, element: u16, tags: &[Tag]) -> Self {
        if !tags.is_empty() {
            self.header(element, tags.len().saturating_mul(4));
            for tag in tags {
                self.bytes.put_u16_le(tag.group);
                self.bytes.put_u16_le(tag.element);
            }
        }
        self
    }

    /// Adds a UID, padded with NUL (PS3.5 section 9.1). An absent one is left out.
    #[must_use]
    pub fn uid(self, element: u16, value: Option<&str>) -> Self {
        self.padded(element, value, 0)
    }

    /// Adds a text of the default repertoire, padded with a space. An absent one is left out.
    #[must_use]
    pub fn text(self, element: u16, value: Option<&str>) -> Self {
        self.padded(element, value, b' ')
    }

    fn padded(mut self, element: u16, value: Option<&str>, padding: u8) -> Self {
        let Some(value) = value else { return self };
        let padded = value.len() + value.len() % 2;
        self.header(element, padded);
        self.bytes.extend_from_slice(value.as_bytes());
        if padded > value.len() {
            self.bytes.push(padding);
        }
        self
    }

    /// Fills in the group length and returns the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len().saturating_sub(12)).unwrap_or(0);
        if let Some(field) = self.bytes.get_mut(8..12) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        self.bytes
    }
}

impl Default for CommandWriter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_set() {
        for length in 0..testdata::C_STORE_RQ.len() {
            let bytes = Bytes::copy_from_slice(&testdata::C_STORE_RQ[..length]);
            if let Ok(set) = CommandSet::parse(bytes) {
                let whole = CommandSet::parse(Bytes::from_static(testdata::C_STORE_RQ)).unwrap();
                assert!(set.elements.len() < whole.elements.len());
            }
        }
    }

    #[test]
    fn other_groups_and_encodings_are_refused() {
        // (0008,0018), implicit.
        let other = Bytes::from_static(&[8, 0, 0x18, 0, 0, 0, 0, 0]);
        assert_eq!(CommandSet::parse(other), Err(CommandError::WrongGroup(8)));
        // (0000,0100) US 2 bytes, explicit: the VR reads as a huge length.
        let explicit = Bytes::from_static(&[0, 0, 0, 1, b'U', b'S', 2, 0, 0x30, 0]);
        assert_eq!(CommandSet::parse(explicit), Err(CommandError::CutShort));
    }

    #[test]
    fn values_of_the_wrong_size_do_not_exist() {
        let set = CommandSet::parse(Bytes::from_static(&[0, 0, 0, 1, 1, 0, 0, 0, 0x30])).unwrap();
        assert_eq!(set.u16(element::COMMAND_FIELD), None);
        assert_eq!(set.text(element::ERROR_COMMENT), None);
    }
}
