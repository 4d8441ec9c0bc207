//! What an order must hold, and how long its values may be (PS3.5 table 6.2-1).

use super::{Code, MAX_STEPS, Order, PRIORITIES};
use crate::uid::StudyUid;

/// Most characters of what people write at length.
const LONG: usize = 1024;

/// What is wrong with an order, without the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct OrderError {
    /// Which value, as JSON names it: `patient.id`, `steps[0].modality`.
    pub field: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl OrderError {
    pub(super) fn new(field: impl Into<String>, reason: &'static str) -> Self {
        Self { field: field.into(), reason }
    }
}

fn long(field: &str, text: &str, most: usize) -> Result<(), OrderError> {
    if text.len() > most && text.chars().count() > most {
        return Err(OrderError::new(field, "is too long"));
    }
    // Text of several lines is for people; everything else would end a value of DICOM early.
    if text.chars().any(|c| c == '\\' || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))) {
        return Err(OrderError::new(field, "has a backslash or a control character"));
    }
    Ok(())
}

fn short(field: &str, text: &str, most: usize) -> Result<(), OrderError> {
    long(field, text, most)?;
    if text.chars().any(char::is_control) {
        return Err(OrderError::new(field, "has a control character"));
    }
    Ok(())
}

fn needed(field: &str, text: &str) -> Result<(), OrderError> {
    match text.trim().is_empty() {
        true => Err(OrderError::new(field, "is missing")),
        false => Ok(()),
    }
}

/// A person name: up to three component groups of 64 characters.
fn name(field: &str, text: &str) -> Result<(), OrderError> {
    short(field, text, 3 * 64 + 2)?;
    if text.split('=').count() > 3 || text.split('=').any(|group| group.chars().count() > 64) {
        return Err(OrderError::new(field, "has more than three groups of 64 characters"));
    }
    Ok(())
}

fn code(field: &str, code: &Code) -> Result<(), OrderError> {
    short(&format!("{field}.value"), &code.value, 16)?;
    short(&format!("{field}.scheme"), &code.scheme, 16)?;
    short(&format!("{field}.meaning"), &code.meaning, 64)
}

/// Whether a text is a date of the calendar, `YYYYMMDD`.
pub(crate) fn is_date(text: &str) -> bool {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = |range: std::ops::Range<usize>| {
        text.get(range).and_then(|part| part.parse::<u32>().ok()).unwrap_or_default()
    };
    let (year, month, day) = (part(0..4), part(4..6), part(6..8));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    digits && (1..=days).contains(&day)
}

/// Whether a text is a time of day, `HH`, `HHMM`, `HHMMSS` or with a fraction.
pub(crate) fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let numbers = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let below = |range: std::ops::Range<usize>, most: u32| {
        whole.get(range).is_none_or(|part| part.parse::<u32>().is_ok_and(|number| number < most))
    };
    matches!(whole.len(), 2 | 4 | 6)
        && numbers(whole)
        && numbers(fraction)
        && fraction.len() <= 6
        && (whole.len() == 6 || !text.contains('.'))
        && below(0..2, 24)
        && below(2..4, 60)
        && below(4..6, 61)
}

impl Order {
    /// Checks that it can be shown to modalities.
    ///
    /// # Errors
    ///
    /// The first value that is missing, too long, or not what its attribute can hold.
    pub fn check(&self) -> Result<(), OrderError> {
        let patient = &self.patient;
        needed("patient.id", &patient.id)?;
        needed("patient.name", patient.name.trim_matches(['^', '=', ' ']))?;
        short("patient.id", &patient.id, 64)?;
        short("patient.issuer", &patient.issuer, 64)?;
        name("patient.name", &patient.name)?;
        if !patient.birth_date.is_empty() && !is_date(&patient.birth_date) {
            return Err(OrderError::new("patient.birth_date", "is no date (YYYYMMDD)"));
        }
        if !["", "M", "F", "O"].contains(&patient.sex.as_str()) {
            return Err(OrderError::new("patient.sex", "is none of M, F and O"));
        }
        for (field, text) in [("patient.weight", &patient.weight), ("patient.size", &patient.size)]
        {
            let digits = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            let is_number = text.len() <= 16 && text.parse::<f64>().is_ok();
            if !text.is_empty() && (!is_number || !text.bytes().all(digits)) {
                return Err(OrderError::new(field, "is no number"));
            }
        }
        if !["", "1", "2", "3", "4"].contains(&patient.pregnancy.as_str()) {
            return Err(OrderError::new("patient.pregnancy", "is none of 1, 2, 3 and 4"));
        }
        for (field, text) in [
            ("patient.alerts", &patient.alerts),
            ("patient.allergies", &patient.allergies),
            ("patient.state", &patient.state),
            ("patient.needs", &patient.needs),
            ("patient.location", &patient.location),
            ("patient.admission", &patient.admission),
            ("service", &self.service),
            ("procedure.description", &self.procedure.description),
            ("procedure.reason", &self.procedure.reason),
            ("procedure.transport", &self.procedure.transport),
            ("placer", &self.placer),
            ("filler", &self.filler),
        ] {
            short(field, text, 64)?;
        }
        long("procedure.comments", &self.procedure.comments, LONG)?;
        short("accession", &self.accession, 16)?;
        name("referring", &self.referring)?;
        name("requesting", &self.requesting)?;
        short("procedure.id", &self.procedure.id, 16)?;
        code("procedure.code", &self.procedure.code)?;
        if !self.procedure.study_uid.is_empty() && !is_uid(&self.procedure.study_uid) {
            return Err(OrderError::new("procedure.study_uid", "is no UID"));
        }
        let priority = self.procedure.priority.as_str();
        if !priority.is_empty() && !PRIORITIES.contains(&priority) {
            let reason = "is none of STAT, HIGH, ROUTINE, MEDIUM and LOW";
            return Err(OrderError::new("procedure.priority", reason));
        }
        self.check_steps()
    }

    fn check_steps(&self) -> Result<(), OrderError> {
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            return Err(OrderError::new("steps", "must be from 1 to 32"));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let at = |field: &str| format!("steps[{index}].{field}");
            needed(&at("modality"), &step.modality)?;
            let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            if step.modality.len() > 16 || !step.modality.bytes().all(letters) {
                return Err(OrderError::new(at("modality"), "is no modality, such as CT"));
            }
            let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if step.station_ae.len() > 16 || !step.station_ae.bytes().all(printable) {
                return Err(OrderError::new(at("station_ae"), "is no AE title"));
            }
            short(&at("station_ae"), &step.station_ae, 16)?;
            short(&at("id"), &step.id, 16)?;
            short(&at("station_name"), &step.station_name, 16)?;
            short(&at("location"), &step.location, 16)?;
            needed(&at("start_date"), &step.start_date)?;
            if !is_date(&step.start_date) {
                return Err(OrderError::new(at("start_date"), "is no date (YYYYMMDD)"));
            }
            if !step.start_time.is_empty() && !is_time(&step.start_time) {
                return Err(OrderError::new(at("start_time"), "is no time (HHMMSS)"));
            }
            name(&at("performer"), &step.performer)?;
            short(&at("description"), &step.description, 64)?;
            short(&at("medication"), &step.medication, 64)?;
            short(&at("contrast"), &step.contrast, 64)?;
            if step.protocol.len() > 16 {
                return Err(OrderError::new(at("protocol"), "has more than 16 codes"));
            }
            for one in &step.protocol {
                code(&at("protocol"), one)?;
            }
            let same = |other: &&super::Step| !step.id.is_empty() && other.id == step.id;
            if self.steps.iter().filter(same).count() > 1 {
                return Err(OrderError::new(at("id"), "stands twice"));
            }
        }
        Ok(())
    }
}

fn is_uid(text: &str) -> bool {
    text.len() <= 64 && StudyUid::parse(text).is_ok_and(|uid| uid.as_str() == text)
}
