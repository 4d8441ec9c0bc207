//! A-ASSOCIATE-RQ, -AC and -RJ: the codec of `dicom-ul` behind a lenient front.
//!
//! The codec refuses two things that occur in the field and that PS3.8 wants tolerated: items of
//! unknown type, and rejected presentation contexts without a transfer syntax. `tidy` takes them
//! out first. No decisions here; those are in [`crate::association`].

use bytes::Bytes;
use dicom_ul::pdu::{AssociationAC, AssociationRQ, Pdu, read_pdu, write_pdu};

use super::{Abort, CONTROL_PDU_LIMIT, PDU_HEADER, ProtocolError};

/// Protocol version, reserved, two AE titles, reserved (PS3.8 tables 9-11 and 9-17).
const FIXED_FIELDS: usize = 68;

const ITEM_APPLICATION_CONTEXT: u8 = 0x10;
const ITEM_CONTEXT_PROPOSED: u8 = 0x20;
const ITEM_CONTEXT_RESULT: u8 = 0x21;
const ITEM_TRANSFER_SYNTAX: u8 = 0x40;
const ITEM_USER_INFORMATION: u8 = 0x50;

/// Stands in for the insignificant transfer syntax of a rejected context.
const INSIGNIFICANT: &[u8] = b"1.2.840.10008.1.2";

/// Reads a whole A-ASSOCIATE-RQ.
pub fn read_request(pdu: &[u8]) -> Result<AssociationRQ, ProtocolError> {
    match read(pdu)? {
        Pdu::AssociationRQ(request) => Ok(request),
        _ => Err(malformed("not an A-ASSOCIATE-RQ")),
    }
}

/// Reads a whole A-ASSOCIATE-AC.
pub fn read_accept(pdu: &[u8]) -> Result<AssociationAC, ProtocolError> {
    match read(pdu)? {
        Pdu::AssociationAC(accept) => Ok(accept),
        _ => Err(malformed("not an A-ASSOCIATE-AC")),
    }
}

/// Writes an A-ASSOCIATE-RQ or -AC. An error means a value that the field cannot hold, such as an
/// AE title of more than 16 characters.
pub fn write(pdu: impl Into<Pdu>) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &pdu.into())
        .map_err(|error| ProtocolError::new(Abort::UNSPECIFIED, error.to_string()))?;
    Ok(bytes)
}

/// Result, source and reason of an A-ASSOCIATE-RJ, as they travel (PS3.8 table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// 1 permanent, 2 transient.
    pub result: u8,
    /// 1 service-user, 2 provider (ACSE), 3 provider (presentation).
    pub source: u8,
    /// Depends on the source.
    pub reason: u8,
}

impl Reject {
    /// The ten bytes of the PDU.
    pub const fn encode(self) -> [u8; 10] {
        [0x03, 0, 0, 0, 0, 4, 0, self.result, self.source, self.reason]
    }

    /// Reads a whole PDU. Unknown codes are kept: a rejection is a rejection.
    pub fn decode(pdu: &[u8]) -> Self {
        let at = |index: usize| pdu.get(index).copied().unwrap_or_default();
        Self { result: at(7), source: at(8), reason: at(9) }
    }

    /// Whether the same request may be accepted later.
    pub const fn is_transient(self) -> bool {
        self.result == 2
    }

    /// The words of PS3.8 table 9-21.
    pub const fn words(self) -> &'static str {
        match (self.source, self.reason) {
            (1, 1) => "no reason given",
            (1, 2) => "application context name not supported",
            (1, 3) => "calling AE title not recognised",
            (1, 7) => "called AE title not recognised",
            (2, 1) => "no reason given by the network layer",
            (2, 2) => "protocol version not supported",
            (3, 1) => "temporary congestion",
            (3, 2) => "local limit exceeded",
            _ => "for a reason that the standard does not list",
        }
    }
}

fn malformed(what: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::new(
        Abort::INVALID_PARAMETER,
        format!("the association PDU cannot be read: {what}"),
    )
}

fn read(pdu: &[u8]) -> Result<Pdu, ProtocolError> {
    let tidied = tidy(pdu).ok_or_else(|| malformed("an item is cut short"))?;
    match read_pdu(Bytes::from(tidied), CONTROL_PDU_LIMIT, false) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) => Err(malformed("it is cut short")),
        Err(error) => Err(malformed(error)),
    }
}

/// Copies a PDU without items of unknown type, which "shall be ignored" (PS3.8 9.3.1), and with a
/// transfer syntax in every context result. `None` when the items do not fit the PDU.
fn tidy(pdu: &[u8]) -> Option<Vec<u8>> {
    let mut items = pdu.get(PDU_HEADER + FIXED_FIELDS..)?;
    let mut out = pdu.get(..PDU_HEADER + FIXED_FIELDS)?.to_vec();
    while !items.is_empty() {
        let (kind, content, rest) = split_item(items)?;
        match kind {
            ITEM_APPLICATION_CONTEXT | ITEM_CONTEXT_PROPOSED | ITEM_USER_INFORMATION => {
                push_item(&mut out, kind, content)?;
            }
            ITEM_CONTEXT_RESULT => push_item(&mut out, kind, &tidy_result(content)?)?,
            _ => {}
        }
        items = rest;
    }
    let length = u32::try_from(out.len() - PDU_HEADER).ok()?;
    out.get_mut(2..PDU_HEADER)?.copy_from_slice(&length.to_be_bytes());
    Some(out)
}

/// Leaves an acceptance alone; replaces what a rejection carries, since it is not significant
/// (PS3.8 table 9-18), and folds unlisted result codes into "no reason".
fn tidy_result(content: &[u8]) -> Option<Vec<u8>> {
    let (&[id, reserved, result, _], _) = content.split_first_chunk::<4>()?;
    if result == 0 {
        return Some(content.to_vec());
    }
    let mut out = vec![id, reserved, if result > 4 { 2 } else { result }, 0];
    push_item(&mut out, ITEM_TRANSFER_SYNTAX, INSIGNIFICANT)?;
    Some(out)
}

fn split_item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, _, l0, l1], rest) = bytes.split_first_chunk::<4>()?;
    let (content, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
    Some((kind, content, rest))
}

fn push_item(out: &mut Vec<u8>, kind: u8, content: &[u8]) -> Option<()> {
    let [l0, l1] = u16::try_from(content.len()).ok()?.to_be_bytes();
    out.extend_from_slice(&[kind, 0, l0, l1]);
    out.extend_from_slice(content);
    Some(())
}

#[cfg(test)]
mod tests {
    use dicom_ul::pdu::PresentationContextResultReason as Reason;

    use super::*;
    use crate::testdata;

    #[test]
    fn items_of_unknown_type_are_skipped() {
        let mut pdu = testdata::ASSOCIATE_RQ.to_vec();
        pdu.extend_from_slice(&[0x99, 0, 0, 2, 0xAA, 0xBB]);
        let length = u32::try_from(pdu.len() - 6).unwrap();
        pdu[2..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(read_request(&pdu), read_request(testdata::ASSOCIATE_RQ));
        assert!(read_request(&pdu).is_ok());
    }

    #[test]
    fn rejected_contexts_need_no_transfer_syntax() {
        let accept = read_accept(testdata::ASSOCIATE_AC_BARE_REJECTION).unwrap();
        let results: Vec<_> =
            accept.presentation_contexts.iter().map(|c| (c.id, c.reason.clone())).collect();
        assert_eq!(
            results,
            [
                (1, Reason::Acceptance),
                (3, Reason::AbstractSyntaxNotSupported),
                (5, Reason::NoReason)
            ]
        );
    }

    #[test]
    fn every_truncation_is_an_error_and_not_a_panic() {
        for length in 0..testdata::ASSOCIATE_RQ.len() {
            let mut pdu = testdata::ASSOCIATE_RQ[..length].to_vec();
            if let Some(field) = pdu.get_mut(2..6) {
                let body = u32::try_from(length - 6).unwrap();
                field.copy_from_slice(&body.to_be_bytes());
            }
            // Cuts between items give a shorter, legal PDU; the rest must be refused.
            let cut_between_items = [99, 149].contains(&length);
            if !cut_between_items {
                assert!(read_request(&pdu).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn damaged_pdus_are_read_or_refused_but_never_panic() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut request = testdata::ASSOCIATE_RQ_THREE.to_vec();
            let mut accept = testdata::ASSOCIATE_AC.to_vec();
            for _ in 0..=random(3) {
                let at = PDU_HEADER + random(request.len() - PDU_HEADER);
                request[at] = random(256) as u8;
                let at = PDU_HEADER + random(accept.len() - PDU_HEADER);
                accept[at] = random(256) as u8;
            }
            read += usize::from(read_request(&request).is_ok());
            read += usize::from(read_accept(&accept).is_ok());
        }
        assert!(
            (1..40_000).contains(&read),
            "{read} were read: the damage is not what it should be"
        );
    }
}
