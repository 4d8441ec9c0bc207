//! Fields of a parsed message as plain text: escapes undone (HL7 v2.5 section 2.7), `""` as nothing.

use hl7_parser::Message;
use hl7_parser::message::{Segment as RawSegment, Separators};

use super::{Envelope, Fault};

/// A message whose structure was read.
pub(super) struct Parsed<'a>(Message<'a>);

/// One segment of it.
#[derive(Clone, Copy)]
pub(super) struct Segment<'m, 'a> {
    raw: &'m RawSegment<'a>,
    separators: &'m Separators,
}

impl<'a> Parsed<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Fault> {
        let marks = text.get(3..8).unwrap_or_default();
        let mut seen: Vec<u8> = marks.bytes().filter(u8::is_ascii_punctuation).collect();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() != 5 {
            let wrong = "are not a separator and four encoding characters, such as |^~\\&";
            return Err(Fault::reject(102, "MSH-2", wrong));
        }
        let text = text.trim_end_matches(['\r', '\n', ' ']);
        let message = Message::parse_with_lenient_newlines(text, true)
            .map_err(|_| Fault::reject(100, "", "the segments cannot be read"))?;
        // The parser ends at the first segment that it does not understand, and says nothing.
        if message.raw_value().len() != text.len() {
            let at = message.segments.len().saturating_add(1);
            let reason = format!("segment {at} of the message is none");
            return Err(Fault::reject(100, "", &reason));
        }
        Ok(Self(message))
    }

    pub(super) fn envelope(&self) -> Envelope {
        let Some(msh) = self.first("MSH") else { return Envelope::default() };
        let first = |field| msh.text(field, 1);
        let kind = match msh.text(9, 2) {
            trigger if trigger.is_empty() => first(9),
            trigger => format!("{}^{trigger}", first(9)),
        };
        Envelope {
            sending_application: first(3),
            sending_facility: first(4),
            receiving_application: first(5),
            receiving_facility: first(6),
            kind,
            control_id: first(10),
            processing: first(11),
            version: first(12),
        }
    }

    /// All segments, in order.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_, 'a>> {
        self.0.segments.iter().map(|raw| Segment { raw, separators: &self.0.separators })
    }

    /// The first segment of a name.
    pub(super) fn first(&self, name: &str) -> Option<Segment<'_, 'a>> {
        self.segments().find(|segment| segment.name() == name)
    }
}

impl<'m, 'a> Segment<'m, 'a> {
    pub(super) fn name(&self) -> &'a str {
        self.raw.name
    }

    /// A component of a field, both counted from 1, of its first repetition. Subcomponents beyond the
    /// first are left out.
    pub(super) fn text(&self, field: usize, component: usize) -> String {
        self.part(field, 1, component, 1)
    }

    /// A subcomponent of a component of a repetition, all counted from 1.
    pub(super) fn part(
        &self,
        field: usize,
        repetition: usize,
        component: usize,
        subcomponent: usize,
    ) -> String {
        let nth = |number: usize| number.saturating_sub(1);
        self.raw
            .fields
            .get(nth(field))
            .and_then(|field| field.repeats.get(nth(repetition)))
            .and_then(|repeat| repeat.components.get(nth(component)))
            .and_then(|component| component.subcomponents.get(nth(subcomponent)))
            .map(|part| plain(part.raw_value(), self.separators))
            .unwrap_or_default()
    }

    /// How often a field is repeated.
    pub(super) fn repetitions(&self, field: usize) -> usize {
        self.raw.fields.get(field.saturating_sub(1)).map_or(0, |field| field.repeats.len())
    }
}

/// Undoes escapes. Highlighting and what only printers understand is left out.
fn plain(raw: &str, separators: &Separators) -> String {
    let raw = raw.trim();
    if raw == "\"\"" {
        return String::new();
    }
    if !raw.contains(separators.escape) {
        return raw.to_owned();
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, behind)) = rest.split_once(separators.escape) {
        text.push_str(before);
        let Some((escape, after)) = behind.split_once(separators.escape) else {
            // An escape character that begins nothing is itself.
            text.push(separators.escape);
            rest = behind;
            break;
        };
        rest = after;
        match escape {
            "F" => text.push(separators.field),
            "S" => text.push(separators.component),
            "T" => text.push(separators.subcomponent),
            "R" => text.push(separators.repetition),
            "E" => text.push(separators.escape),
            ".br" | ".BR" => text.push('\n'),
            _ => {
                if let Some(digits) = escape.strip_prefix('X') {
                    text.push_str(&hex(digits));
                }
            }
        }
    }
    text.push_str(rest);
    text.trim().to_owned()
}

/// Characters by their bytes in hexadecimal: ASCII alone, since nothing says what else they would be.
fn hex(digits: &str) -> String {
    let bytes = digits.as_bytes().chunks(2).filter_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.filter(u8::is_ascii).map(char::from).collect()
}
