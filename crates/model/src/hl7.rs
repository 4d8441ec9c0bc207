//! HL7 v2 as far as orders need it: framing (MLLP), character sets, what a message asks, and the
//! acknowledgement. Pure: sockets and rows are elsewhere.
//!
//! The structure of a message is read by a crate; here stands what its fields mean for a modality
//! worklist (IHE RAD TF-2, sections 4.1 to 4.4 and appendix B).

mod acknowledge;
mod fields;
mod frame;
mod groups;
mod person;
mod text;

use crate::charset::TextEncoding;
use crate::order::Command;

pub use acknowledge::{Answer, acknowledge};
pub use frame::{Frame, Frames, enclose};

/// Longest message (bytes).
pub const MAX_MESSAGE: usize = 1 << 20;

/// Most delimiters of a message: what is parsed takes many times its bytes.
const MAX_PARTS: usize = 50_000;

/// Longest part of a header that is looked at when a message cannot be read (bytes).
const LONGEST_HEADER: usize = 1024;

/// Most orders of a message.
const MAX_ORDERS: usize = 100;

/// Who sends what to whom: the header of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// MSH-3, its first component.
    pub sending_application: String,
    /// MSH-4.
    pub sending_facility: String,
    /// MSH-5.
    pub receiving_application: String,
    /// MSH-6.
    pub receiving_facility: String,
    /// MSH-9: message code and trigger event, such as `ORM^O01`.
    pub kind: String,
    /// MSH-10.
    pub control_id: String,
    /// MSH-11.
    pub processing: String,
    /// MSH-12.
    pub version: String,
}

impl Envelope {
    /// Sending application and facility in one text.
    pub fn sender(&self) -> String {
        format!("{}|{}", self.sending_application, self.sending_facility)
    }

    /// Message code: `ORM` of `ORM^O01`.
    fn code(&self) -> &str {
        self.kind.split('^').next().unwrap_or_default()
    }

    /// Trigger event: `O01` of `ORM^O01`.
    fn trigger(&self) -> &str {
        self.kind.split('^').nth(1).unwrap_or_default()
    }
}

/// Why a message is not taken: a row of HL7 table 0357, and where. Holds no values of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if .place.is_empty() { String::new() } else { format!("{} ", .place) })]
pub struct Fault {
    /// Whether the message can never be taken (AR); else its content is at fault (AE).
    pub rejected: bool,
    /// Number of HL7 table 0357.
    pub number: u16,
    /// Segment and field, such as `OBR-4`; empty for the whole message.
    pub place: String,
    /// What is wrong, in words.
    pub reason: String,
}

impl Fault {
    /// The message cannot be taken at all.
    pub fn reject(number: u16, place: &str, reason: &str) -> Self {
        Self { rejected: true, number, place: place.into(), reason: reason.into() }
    }

    /// Something in the message is wrong.
    pub fn error(number: u16, place: &str, reason: &str) -> Self {
        Self { rejected: false, number, place: place.into(), reason: reason.into() }
    }
}

/// A message that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its header.
    pub envelope: Envelope,
    /// What it asks.
    pub commands: Vec<Command>,
    /// What of it is not done here, in words for the acknowledgement; empty when there is nothing.
    pub remark: &'static str,
}

/// Said of a merge.
const ONLY_ORDERS: &str =
    "open orders were moved to the patient that stays; stored images were not";

/// Reads a message. Text without a character set in MSH-18 that is not UTF-8 is read as
/// `unlabelled`.
///
/// # Errors
///
/// The fault, and the header as far as it could be read.
pub fn read(
    bytes: &[u8],
    unlabelled: TextEncoding,
) -> Result<Message, Box<(Option<Envelope>, Fault)>> {
    let text = text::decode(bytes, unlabelled).map_err(|fault| Box::new((glean(bytes), fault)))?;
    let header = || glean(text.as_bytes());
    let delimiters = text.bytes().filter(|byte| b"|^~&\r\n".contains(byte)).count();
    if delimiters > MAX_PARTS {
        let fault = Fault::reject(207, "", "the message has too many parts");
        return Err(Box::new((header(), fault)));
    }
    let message = fields::Parsed::read(&text).map_err(|fault| Box::new((header(), fault)))?;
    let envelope = message.envelope();
    let understood = commands(&message, &envelope);
    match understood {
        Ok(commands) => {
            let remark = if envelope.trigger() == "A40" { ONLY_ORDERS } else { "" };
            Ok(Message { envelope, commands, remark })
        }
        Err(fault) => Err(Box::new((Some(envelope), fault))),
    }
}

/// The header of a message that cannot be read, as far as its first segment shows it: whoever sent it wants to know
/// which message it was. Only what is ASCII, since the character set may be what is wrong.
fn glean(bytes: &[u8]) -> Option<Envelope> {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = line.get(..line.len().min(LONGEST_HEADER))?;
    let (separator, component) = (*line.get(3)?, *line.get(4)?);
    if !line.starts_with(b"MSH") || !separator.is_ascii_punctuation() || !line.is_ascii() {
        return None;
    }
    let fields: Vec<&[u8]> = line.split(|byte| *byte == separator).collect();
    // MSH-1 is the separator itself, so that a field stands one place before its number.
    let part = |number: usize, at: usize| -> String {
        let field = fields.get(number.saturating_sub(1)).copied().unwrap_or_default();
        let part = field.split(|byte| *byte == component).nth(at).unwrap_or_default();
        let plain = part.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ');
        plain.map(|byte| char::from(*byte)).collect()
    };
    let kind = match part(9, 1) {
        trigger if trigger.is_empty() => part(9, 0),
        trigger => format!("{}^{trigger}", part(9, 0)),
    };
    Some(Envelope {
        sending_application: part(3, 0),
        sending_facility: part(4, 0),
        receiving_application: part(5, 0),
        receiving_facility: part(6, 0),
        kind,
        control_id: part(10, 0),
        processing: part(11, 0),
        version: part(12, 0),
    })
}

fn commands(message: &fields::Parsed<'_>, envelope: &Envelope) -> Result<Vec<Command>, Fault> {
    if envelope.control_id.is_empty() {
        return Err(Fault::reject(101, "MSH-10", "is missing: the message cannot be answered"));
    }
    match (envelope.code(), envelope.trigger()) {
        ("ORM", "" | "O01") | ("OMI", "O23") | ("OMG", "O19") => groups::orders(message),
        ("ADT", "A01" | "A04" | "A05" | "A08" | "A31") => {
            let patient = person::patient(message)?;
            Ok(vec![Command::Patient(Box::new(patient))])
        }
        ("ADT", "A40") => {
            let stays = person::patient(message)?;
            let gone = person::merged(message)?;
            Ok(vec![Command::Merge(Box::new(gone), Box::new(stays))])
        }
        ("ADT", _) => {
            let taken = "is not taken here; A01, A04, A05, A08, A31 and A40 are";
            Err(Fault::reject(201, "MSH-9", taken))
        }
        _ => {
            let taken = "is not taken here; ORM^O01, OMI^O23, OMG^O19 and ADT are";
            Err(Fault::reject(200, "MSH-9", taken))
        }
    }
}

#[cfg(test)]
mod tests;
