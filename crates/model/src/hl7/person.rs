//! PID, MRG, PV1, AL1 and OBX: the patient. Names go into the component groups of DICOM by the name
//! representation code of HL7 (table 0465).

use super::Fault;
use super::fields::{Parsed, Segment};
use crate::order::OrderPatient;

/// Text for people at most as long as DICOM takes, without what would end a value early.
pub(super) fn short(text: &str) -> String {
    let clean = |c: char| if c == '\\' || c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(clean).take(64).collect();
    text.trim().to_owned()
}

/// The patient of a message.
pub(super) fn patient(message: &Parsed<'_>) -> Result<OrderPatient, Fault> {
    let Some(pid) = message.first("PID") else {
        return Err(Fault::error(100, "PID", "is missing: there is no patient"));
    };
    let (id, issuer) = identifier(&pid, 3);
    if id.is_empty() {
        return Err(Fault::error(101, "PID-3", "is missing: the patient has no ID"));
    }
    let mut patient = OrderPatient {
        id,
        issuer,
        name: names(&pid, 5),
        birth_date: pid.text(7, 1).chars().take(8).collect(),
        sex: match pid.text(8, 1).as_str() {
            "M" => "M".into(),
            "F" => "F".into(),
            "O" | "A" => "O".into(),
            _ => String::new(),
        },
        ..OrderPatient::default()
    };
    if !patient.birth_date.is_empty() && !crate::order::is_date(&patient.birth_date) {
        return Err(Fault::error(102, "PID-7", "is no date"));
    }
    if let Some(visit) = message.first("PV1") {
        let place: Vec<String> =
            (1..=3).map(|part| visit.text(3, part)).filter(|text| !text.is_empty()).collect();
        patient.location = short(&place.join(" "));
        patient.admission = short(&visit.text(19, 1));
        if (1..=visit.repetitions(15)).any(|one| visit.part(15, one, 1, 1) == "B6") {
            patient.pregnancy = "3".into();
        }
    }
    let said = |segment: &Segment<'_, '_>, field| {
        let text = segment.text(field, 2);
        if text.is_empty() { segment.text(field, 1) } else { text }
    };
    let allergies: Vec<String> = message
        .segments()
        .filter(|segment| segment.name() == "AL1")
        .map(|segment| said(&segment, 3))
        .filter(|text| !text.is_empty())
        .collect();
    patient.allergies = short(&allergies.join("; "));
    for observed in message.segments().filter(|segment| segment.name() == "OBX") {
        let what = said(&observed, 3).to_lowercase();
        let number: Option<f64> = observed.text(5, 1).parse().ok();
        let Some(number) = number.filter(|number| number.is_finite() && *number > 0.0) else {
            continue;
        };
        let unit = observed.text(6, 1).to_lowercase();
        let written = |number: f64| {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match (what.as_str(), unit.as_str()) {
            ("body weight", "g") => patient.weight = written(number / 1000.0),
            ("body weight", _) => patient.weight = written(number),
            ("body height", "cm") => patient.size = written(number / 100.0),
            ("body height", _) => patient.size = written(number),
            _ => {}
        }
    }
    Ok(patient)
}

/// The patient whose ID was merged away.
pub(super) fn merged(message: &Parsed<'_>) -> Result<OrderPatient, Fault> {
    let Some(mrg) = message.first("MRG") else {
        return Err(Fault::error(100, "MRG", "is missing: nothing is merged"));
    };
    let (id, issuer) = identifier(&mrg, 1);
    if id.is_empty() {
        return Err(Fault::error(101, "MRG-1", "is missing: nothing is merged"));
    }
    Ok(OrderPatient { id, issuer, ..OrderPatient::default() })
}

/// ID and issuer of a list of identifiers: the medical record number where one is marked, else the
/// first.
fn identifier(segment: &Segment<'_, '_>, field: usize) -> (String, String) {
    let repetitions = segment.repetitions(field);
    let is_record = |one: &usize| ["MR", "PI"].contains(&&*segment.part(field, *one, 5, 1));
    let one = (1..=repetitions).find(is_record).unwrap_or(1);
    (segment.part(field, one, 1, 1), short(&segment.part(field, one, 4, 1)))
}

/// A person name of type XPN, with its groups.
fn names(segment: &Segment<'_, '_>, field: usize) -> String {
    let mut groups = [String::new(), String::new(), String::new()];
    for one in 1..=segment.repetitions(field) {
        let at = |part| segment.part(field, one, part, 1);
        let name = components([at(1), at(2), at(3), at(5), at(4)]);
        let is_kana = |c: char| matches!(c, '\u{3040}'..='\u{30FF}' | '\u{FF66}'..='\u{FF9F}');
        let place = match at(8).as_str() {
            "A" => 0,
            "I" => 1,
            "P" => 2,
            // Without a code: kana go third and what is not ASCII second, behind a first name.
            _ if groups.first().is_some_and(String::is_empty) => 0,
            _ if name.chars().all(|c| is_kana(c) || c == '^') => 2,
            _ if !name.is_ascii() => 1,
            _ => continue,
        };
        if let Some(group) = groups.get_mut(place)
            && group.is_empty()
        {
            *group = name;
        }
    }
    groups.join("=").trim_end_matches('=').to_owned()
}

/// A person of type XCN: ID, family, given, middle, suffix, prefix.
pub(super) fn provider(segment: &Segment<'_, '_>, field: usize) -> String {
    let at = |part| segment.text(field, part);
    components([at(2), at(3), at(4), at(6), at(5)])
}

/// A person of type NDL: a CNN in the first component.
pub(super) fn staff(segment: &Segment<'_, '_>, field: usize) -> String {
    let at = |part| segment.part(field, 1, 1, part);
    components([at(2), at(3), at(4), at(6), at(5)])
}

/// Family, given, middle, prefix and suffix as DICOM joins them.
fn components(parts: [String; 5]) -> String {
    let clean = |text: String| short(&text).replace(['^', '='], " ");
    let name = parts.map(clean).join("^");
    let name = name.trim_end_matches('^');
    name.chars().take(64).collect()
}
