//! The acknowledgement: MSH, MSA and, for what was not taken, ERR (HL7 v2.5 section 2.15).

use super::{Envelope, Fault};

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It is done (AA), with a remark or an empty text.
    Accepted(&'a str),
    /// It is not taken (AE or AR).
    Refused(&'a Fault),
}

/// Writes an acknowledgement. `now` is the time as HL7 writes it, `control_id` our own number.
pub fn acknowledge(
    to: Option<&Envelope>,
    answer: &Answer<'_>,
    now: &str,
    control_id: &str,
) -> Vec<u8> {
    let nobody = Envelope::default();
    let to = to.unwrap_or(&nobody);
    let (code, text) = match answer {
        Answer::Accepted(remark) => ("AA", (*remark).to_owned()),
        Answer::Refused(fault) if fault.rejected => ("AR", fault.to_string()),
        Answer::Refused(fault) => ("AE", fault.to_string()),
    };
    let field = |text: &str| escape(text);
    let trigger = field(to.trigger());
    let kind = match (to.version.as_str(), trigger.is_empty()) {
        (_, true) => "ACK".to_owned(),
        (version, false) if version < "2.3.1" => format!("ACK^{trigger}"),
        (_, false) => format!("ACK^{trigger}^ACK"),
    };
    let version = if to.version.is_empty() { "2.5" } else { &to.version };
    let processing = if to.processing.is_empty() { "P" } else { &to.processing };
    let mut message = format!(
        "MSH|^~\\&|{}|{}|{}|{}|{now}||{kind}|{}|{}|{}||||||UNICODE UTF-8\rMSA|{code}|{}|{}\r",
        field(&to.receiving_application),
        field(&to.receiving_facility),
        field(&to.sending_application),
        field(&to.sending_facility),
        field(control_id),
        field(processing),
        field(version),
        field(&to.control_id),
        field(&text),
    );
    if let Answer::Refused(fault) = answer {
        let (segment, number) = fault.place.split_once('-').unwrap_or((&fault.place, ""));
        let place = match (segment, number) {
            ("", _) => String::new(),
            (segment, "") => format!("{segment}^1"),
            (segment, number) => format!("{segment}^1^{number}"),
        };
        let (table, reason) = (meaning(fault.number), field(&fault.reason));
        message.push_str(&match version < "2.5" {
            true => format!("ERR|{place}^{}&{table}&HL70357\r", fault.number),
            false => {
                format!("ERR||{place}|{}^{table}^HL70357|E||||{reason}\r", fault.number)
            }
        });
    }
    message.into_bytes()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => escaped.push_str("\\F\\"),
            '^' => escaped.push_str("\\S\\"),
            '&' => escaped.push_str("\\T\\"),
            '~' => escaped.push_str("\\R\\"),
            '\\' => escaped.push_str("\\E\\"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// HL7 table 0357.
fn meaning(number: u16) -> &'static str {
    match number {
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        204 => "Unknown key identifier",
        205 => "Duplicate key identifier",
        206 => "Application record locked",
        _ => "Application internal error",
    }
}
