//! Protocol data units of the upper layer (PS3.8 section 9.3).
//!
//! [`Deframer`] cuts a byte stream into control PDUs and fragments of P-DATA without copying;
//! [`associate`] reads and writes the two large control PDUs. The rest are a few fixed bytes and
//! are written here. No I/O.

pub mod associate;
mod deframe;
mod fragments;

use std::fmt;

pub use deframe::{Deframer, Fragment, Frame};
pub(crate) use fragments::Fragments;

/// Longest control PDU we read. An A-ASSOCIATE-RQ with 128 presentation contexts of ten transfer
/// syntaxes each has about 40 KiB.
pub const CONTROL_PDU_LIMIT: u32 = 1 << 20;

/// What a P-DATA-TF PDU may exceed our announced maximum by: some senders count the limit for the
/// fragment and not for the PDU, and nothing is gained by losing their images.
pub const P_DATA_TOLERANCE: u32 = 1024;

/// Length of the header of every PDU: type, reserved, length.
pub const PDU_HEADER: usize = 6;

/// Length of the header of a presentation data value: length, context, message control header.
pub const PDV_HEADER: usize = 6;

/// PDU types (PS3.8 9.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PduType {
    /// A-ASSOCIATE-RQ.
    AssociateRq,
    /// A-ASSOCIATE-AC.
    AssociateAc,
    /// A-ASSOCIATE-RJ.
    AssociateRj,
    /// P-DATA-TF.
    PData,
    /// A-RELEASE-RQ.
    ReleaseRq,
    /// A-RELEASE-RP.
    ReleaseRp,
    /// A-ABORT.
    Abort,
}

impl PduType {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::AssociateRq,
            0x02 => Self::AssociateAc,
            0x03 => Self::AssociateRj,
            0x04 => Self::PData,
            0x05 => Self::ReleaseRq,
            0x06 => Self::ReleaseRp,
            0x07 => Self::Abort,
            _ => return None,
        })
    }
}

impl fmt::Display for PduType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AssociateRq => "A-ASSOCIATE-RQ",
            Self::AssociateAc => "A-ASSOCIATE-AC",
            Self::AssociateRj => "A-ASSOCIATE-RJ",
            Self::PData => "P-DATA-TF",
            Self::ReleaseRq => "A-RELEASE-RQ",
            Self::ReleaseRp => "A-RELEASE-RP",
            Self::Abort => "A-ABORT",
        })
    }
}

/// A-RELEASE-RQ (PS3.8 table 9-24).
pub const RELEASE_RQ: [u8; 10] = [0x05, 0, 0, 0, 0, 4, 0, 0, 0, 0];

/// A-RELEASE-RP (PS3.8 table 9-25).
pub const RELEASE_RP: [u8; 10] = [0x06, 0, 0, 0, 0, 4, 0, 0, 0, 0];

/// Source and reason of an A-ABORT, as they travel (PS3.8 table 9-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// 0 service-user, 2 service-provider.
    pub source: u8,
    /// Significant with source 2 only.
    pub reason: u8,
}

impl Abort {
    /// The application gives up, or a PDU came before the association was there (AA-1).
    pub const BY_USER: Self = Self { source: 0, reason: 0 };
    /// Reason not specified.
    pub const UNSPECIFIED: Self = Self { source: 2, reason: 0 };
    /// A PDU type that PS3.8 does not know.
    pub const UNRECOGNISED_PDU: Self = Self { source: 2, reason: 1 };
    /// A PDU that is not allowed in this state.
    pub const UNEXPECTED_PDU: Self = Self { source: 2, reason: 2 };
    /// A parameter that is not allowed in this state.
    pub const UNEXPECTED_PARAMETER: Self = Self { source: 2, reason: 5 };
    /// A length or an identifier that cannot be.
    pub const INVALID_PARAMETER: Self = Self { source: 2, reason: 6 };

    /// The ten bytes of the PDU.
    pub const fn encode(self) -> [u8; 10] {
        [0x07, 0, 0, 0, 0, 4, 0, 0, self.source, self.reason]
    }

    /// Reads a whole PDU. Unknown codes are kept: an abort is an abort.
    pub fn decode(pdu: &[u8]) -> Self {
        let at = |index: usize| pdu.get(index).copied().unwrap_or_default();
        Self { source: at(8), reason: at(9) }
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, self.reason) {
            (0, _) => f.write_str("by the application"),
            (2, 0) => f.write_str("by the network layer, reason not specified"),
            (2, 1) => f.write_str("by the network layer, unrecognised PDU"),
            (2, 2) => f.write_str("by the network layer, unexpected PDU"),
            (2, 4) => f.write_str("by the network layer, unrecognised PDU parameter"),
            (2, 5) => f.write_str("by the network layer, unexpected PDU parameter"),
            (2, 6) => f.write_str("by the network layer, invalid PDU parameter value"),
            (source, reason) => write!(f, "source {source}, reason {reason}"),
        }
    }
}

/// Why bytes are not acceptable, and how to abort over it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProtocolError {
    /// What goes into the A-ABORT.
    pub abort: Abort,
    /// What was wrong, for the log.
    pub message: String,
}

impl ProtocolError {
    /// An error with its abort.
    pub fn new(abort: Abort, message: impl Into<String>) -> Self {
        Self { abort, message: message.into() }
    }
}

/// Appends one message part (a command set, or a small data set) as P-DATA-TF PDUs of at most
/// `max_pdu` bytes, one presentation data value each (PS3.8 9.3.5 and annex E).
pub fn encode_message(out: &mut Vec<u8>, context: u8, command: bool, part: &[u8], max_pdu: u32) {
    let room = fragment_room(max_pdu);
    let mut rest = part;
    loop {
        let (fragment, after) = rest.split_at(rest.len().min(room));
        out.extend_from_slice(&p_data_header(context, command, after.is_empty(), fragment.len()));
        out.extend_from_slice(fragment);
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

/// How many bytes of a message fit into one P-DATA-TF of `max_pdu` bytes.
pub fn fragment_room(max_pdu: u32) -> usize {
    usize::try_from(max_pdu).unwrap_or(usize::MAX).saturating_sub(PDV_HEADER).max(1)
}

/// The twelve bytes in front of a fragment: PDU header, PDV header.
pub fn p_data_header(context: u8, command: bool, last: bool, length: usize) -> [u8; 12] {
    let length = u32::try_from(length).unwrap_or(u32::MAX - 6).min(u32::MAX - 6);
    let [p0, p1, p2, p3] = (length + 6).to_be_bytes();
    let [v0, v1, v2, v3] = (length + 2).to_be_bytes();
    let control = u8::from(command) | (u8::from(last) << 1);
    [0x04, 0, p0, p1, p2, p3, v0, v1, v2, v3, context, control]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_parts_are_cut_at_the_peers_limit() {
        let mut out = Vec::new();
        encode_message(&mut out, 3, true, b"abcde", 6 + 3);
        assert_eq!(
            out,
            [
                &[0x04, 0, 0, 0, 0, 9, 0, 0, 0, 5, 3, 0x01][..],
                b"abc",
                &[0x04, 0, 0, 0, 0, 8, 0, 0, 0, 4, 3, 0x03],
                b"de",
            ]
            .concat()
        );
    }

    #[test]
    fn aborts_survive_the_wire() {
        for abort in [Abort::BY_USER, Abort::UNEXPECTED_PDU, Abort { source: 9, reason: 77 }] {
            assert_eq!(Abort::decode(&abort.encode()), abort);
        }
    }
}
