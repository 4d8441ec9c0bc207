//! What the header keeps of a data set beside its JSON: the fields that the catalog indexes, the
//! JSON of each level, and what describes the pixels.

use crate::frames::FrameTable;
use crate::frames::locate::Pixels;
use crate::header::{
    BulkValue, InstanceFields, InstanceHeader, PatientFields, SeriesFields, StudyFields, Warning,
};
use crate::query::Level;
use crate::refusal::Refusal;
use crate::syntax::TransferSyntax;
use crate::tag::{self, Tag};
use crate::uid::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid, UidError};

use super::value::{trim, trim_end};

/// SOP class of a DICOMDIR, which is an index of a medium and no instance (PS3.10 section 8.6).
const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// Series attributes: PS3.3 C.7.3.1 General Series, C.7.5.1 General Equipment, C.8.6.1 SC
/// Equipment, C.7.1.4 and C.7.3.2 Clinical Trial. Sorted.
static SERIES: &[u32] = &[
    0x0008_0021,
    0x0008_0031,
    0x0008_0060,
    0x0008_0064,
    0x0008_0068,
    0x0008_0070,
    0x0008_0080,
    0x0008_0081,
    0x0008_0082,
    0x0008_1010,
    0x0008_103E,
    0x0008_103F,
    0x0008_1040,
    0x0008_1041,
    0x0008_1050,
    0x0008_1052,
    0x0008_1070,
    0x0008_1072,
    0x0008_1090,
    0x0008_1111,
    0x0008_1250,
    0x0012_0060,
    0x0012_0071,
    0x0012_0072,
    0x0018_0015,
    0x0018_1000,
    0x0018_1002,
    0x0018_1008,
    0x0018_100A,
    0x0018_1016,
    0x0018_1018,
    0x0018_1019,
    0x0018_1020,
    0x0018_1030,
    0x0018_1050,
    0x0018_1200,
    0x0018_1201,
    0x0018_5100,
    0x0020_000E,
    0x0020_0011,
    0x0020_0052,
    0x0020_0060,
    0x0020_1040,
    0x0028_0108,
    0x0028_0109,
    0x0040_0244,
    0x0040_0245,
    0x0040_0250,
    0x0040_0251,
    0x0040_0253,
    0x0040_0254,
    0x0040_0255,
    0x0040_0260,
    0x0040_0275,
    0x0040_0280,
];

/// Study attributes beside all of group 0010: PS3.3 C.7.2.1 General Study, C.7.2.2 Patient Study,
/// C.7.1.3 and C.7.2.3 Clinical Trial. Sorted.
static STUDY: &[u32] = &[
    0x0008_0020,
    0x0008_0030,
    0x0008_0050,
    0x0008_0051,
    0x0008_0090,
    0x0008_0096,
    0x0008_009C,
    0x0008_009D,
    0x0008_0201,
    0x0008_1030,
    0x0008_1032,
    0x0008_1048,
    0x0008_1049,
    0x0008_1060,
    0x0008_1062,
    0x0008_1080,
    0x0008_1084,
    0x0008_1110,
    0x0008_1120,
    0x0012_0010,
    0x0012_0020,
    0x0012_0021,
    0x0012_0030,
    0x0012_0031,
    0x0012_0040,
    0x0012_0042,
    0x0012_0050,
    0x0012_0051,
    0x0012_0062,
    0x0012_0063,
    0x0012_0064,
    0x0020_000D,
    0x0020_0010,
    0x0032_1032,
    0x0032_1033,
    0x0032_1034,
    0x0032_1060,
    0x0032_1064,
    0x0038_0010,
    0x0038_0014,
    0x0038_0060,
    0x0038_0062,
    0x0038_0064,
    0x0040_1012,
];

/// Instance attributes that a client sorts by or shows in a list. Sorted.
static INSTANCE: &[u32] = &[
    0x0008_0008,
    0x0008_0012,
    0x0008_0013,
    0x0008_0016,
    0x0008_0018,
    0x0008_0022,
    0x0008_0023,
    0x0008_002A,
    0x0008_0032,
    0x0008_0033,
    0x0020_0012,
    0x0020_0013,
    0x0020_0020,
    0x0028_0002,
    0x0028_0004,
    0x0028_0008,
    0x0028_0010,
    0x0028_0011,
    0x0028_0100,
    0x0028_0101,
    0x0028_0102,
    0x0028_0103,
    0x0040_A032,
    0x0040_A043,
    0x0040_A491,
    0x0040_A493,
    0x0042_0010,
    0x0070_0080,
    0x0070_0081,
    0x0070_0082,
    0x0070_0083,
    0x0070_0084,
];

/// The level whose fragment keeps an attribute; `None` when only the whole header does.
pub(crate) fn level_of(tag: Tag) -> Option<Level> {
    if tag.group == 0x0010 {
        return Some(Level::Study);
    }
    let key = u32::from(tag.group) << 16 | u32::from(tag.element);
    if SERIES.binary_search(&key).is_ok() {
        Some(Level::Series)
    } else if STUDY.binary_search(&key).is_ok() {
        Some(Level::Study)
    } else if INSTANCE.binary_search(&key).is_ok() {
        Some(Level::Instance)
    } else {
        None
    }
}

/// Gathers top-level attributes.
#[derive(Debug, Default)]
pub(super) struct Capture {
    sop_class: String,
    sop_instance: String,
    study_uid: String,
    series_uid: String,
    pub(super) patient: PatientFields,
    study: StudyFields,
    series: SeriesFields,
    instance: InstanceFields,
    study_json: String,
    series_json: String,
    instance_json: String,
    pub(super) pixels: Pixels,
    pub(super) is_directory: bool,
}

impl Capture {
    /// Takes the decoded text of a top-level element.
    pub(super) fn text(&mut self, tag: Tag, text: &str) {
        let plain = || trim(text).replace('\0', "");
        match tag {
            tag::SOP_CLASS_UID => self.sop_class = plain(),
            tag::SOP_INSTANCE_UID => self.sop_instance = plain(),
            tag::STUDY_INSTANCE_UID => self.study_uid = plain(),
            tag::SERIES_INSTANCE_UID => self.series_uid = plain(),
            tag::PATIENT_ID => self.patient.id = plain(),
            tag::ISSUER_OF_PATIENT_ID => self.patient.issuer = plain(),
            tag::PATIENT_NAME => self.patient.name = person_name(text),
            tag::PATIENT_BIRTH_DATE => self.patient.birth_date = date(text),
            tag::PATIENT_SEX => self.patient.sex = plain(),
            tag::STUDY_DATE => self.study.date = date(text),
            tag::STUDY_TIME => self.study.time = time(text),
            tag::ACCESSION_NUMBER => self.study.accession_number = plain(),
            tag::STUDY_ID => self.study.id = plain(),
            tag::STUDY_DESCRIPTION => self.study.description = plain(),
            tag::REFERRING_PHYSICIAN_NAME => self.study.referring_physician = person_name(text),
            tag::MODALITY => self.series.modality = plain(),
            tag::SERIES_NUMBER => self.series.number = whole_number(text),
            tag::SERIES_DESCRIPTION => self.series.description = plain(),
            tag::BODY_PART_EXAMINED => self.series.body_part = plain(),
            tag::STATION_NAME => self.series.station_name = plain(),
            tag::INSTITUTION_NAME => self.series.institution = plain(),
            tag::SERIES_DATE => self.series.date = date(text),
            tag::SERIES_TIME => self.series.time = time(text),
            tag::PERFORMED_PROCEDURE_STEP_START_DATE => self.series.pps_start_date = date(text),
            tag::PERFORMED_PROCEDURE_STEP_START_TIME => self.series.pps_start_time = time(text),
            tag::INSTANCE_NUMBER => self.instance.number = whole_number(text),
            tag::NUMBER_OF_FRAMES => {
                self.instance.frames = whole_number(text);
                self.pixels.frames = self.instance.frames;
            }
            tag::PHOTOMETRIC_INTERPRETATION => self.pixels.photometric = plain(),
            _ => {}
        }
    }

    /// Takes the first number of a top-level element of a binary VR.
    pub(super) fn number(&mut self, tag: Tag, number: u16) {
        match tag {
            tag::ROWS => {
                self.instance.rows = Some(number);
                self.pixels.rows = number;
            }
            tag::COLUMNS => {
                self.instance.columns = Some(number);
                self.pixels.columns = number;
            }
            tag::SAMPLES_PER_PIXEL => self.pixels.samples = number,
            tag::BITS_ALLOCATED => self.pixels.bits_allocated = number,
            _ => {}
        }
    }

    /// Takes the JSON member (`"GGGGEEEE":{…}`) of a top-level element without bulk values.
    pub(super) fn member(&mut self, tag: Tag, member: &[u8]) {
        let Some(level) = level_of(tag) else { return };
        // The writer only writes UTF-8.
        let Ok(member) = std::str::from_utf8(member) else { return };
        let object = match level {
            Level::Study => &mut self.study_json,
            Level::Series => &mut self.series_json,
            Level::Instance => &mut self.instance_json,
        };
        object.push(if object.is_empty() { '{' } else { ',' });
        object.push_str(member);
    }

    /// Checks what must be there, and makes the header.
    pub(super) fn finish(
        self,
        json: Vec<u8>,
        bulk: Vec<BulkValue>,
        warnings: Vec<Warning>,
        frames: FrameTable,
        transfer_syntax: TransferSyntax,
    ) -> Result<InstanceHeader, Refusal> {
        if self.sop_class == MEDIA_STORAGE_DIRECTORY
            || (self.is_directory && self.sop_instance.is_empty())
        {
            let reason = "it is a DICOMDIR, the index of a medium, not an instance";
            return Err(Refusal::CannotUnderstand(reason.to_owned()));
        }
        Ok(InstanceHeader {
            sop_class_uid: uid("SOPClassUID", &self.sop_class, SopClassUid::parse)?,
            sop_instance_uid: uid("SOPInstanceUID", &self.sop_instance, SopInstanceUid::parse)?,
            study_uid: uid("StudyInstanceUID", &self.study_uid, StudyUid::parse)?,
            series_uid: uid("SeriesInstanceUID", &self.series_uid, SeriesUid::parse)?,
            transfer_syntax,
            patient: self.patient,
            study: self.study,
            series: self.series,
            instance: self.instance,
            json,
            study_json: close(self.study_json),
            series_json: close(self.series_json),
            instance_json: close(self.instance_json),
            bulk,
            frames,
            warnings,
        })
    }
}

fn uid<T>(
    attribute: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, UidError>,
) -> Result<T, Refusal> {
    parse(text).map_err(|error| match error {
        UidError::Empty => Refusal::MissingAttribute(attribute),
        other => Refusal::InvalidAttribute { attribute, reason: other.to_string() },
    })
}

fn close(mut object: String) -> String {
    if object.is_empty() {
        object.push('{');
    }
    object.push('}');
    object
}

/// Component groups without padding; empty groups at the end are left out.
fn person_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (index, group) in trim(text).split('=').enumerate() {
        if index > 0 {
            name.push('=');
        }
        name.extend(trim(group).chars().filter(|&c| c != '\0'));
    }
    name.truncate(name.trim_end_matches('=').len());
    name
}

/// `YYYYMMDD`; the form with dots of ACR-NEMA becomes the same. Otherwise as sent.
fn date(text: &str) -> String {
    let text = trim(text);
    if let [_, _, _, _, b'.', _, _, b'.', _, _] = text.as_bytes() {
        let digits = text.replace('.', "");
        if digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()) {
            return digits;
        }
    }
    text.replace('\0', "")
}

/// `HHMMSS[.F]`; colons of ACR-NEMA are left out. Otherwise as sent.
fn time(text: &str) -> String {
    let text = trim_end(text).trim_start();
    let legal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
    if legal { text.replace(':', "") } else { text.replace('\0', "") }
}

fn whole_number(text: &str) -> Option<i64> {
    let first = trim(text.split('\\').next().unwrap_or(text));
    first.parse().ok().or_else(|| {
        // DS where IS belongs: "3.0" is three.
        let number: f64 = first.parse().ok()?;
        (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_disjoint() {
        for table in [STUDY, SERIES, INSTANCE] {
            assert!(table.is_sorted_by(|a, b| a < b));
        }
        assert!(STUDY.iter().all(|key| !SERIES.contains(key) && !INSTANCE.contains(key)));
        assert!(SERIES.iter().all(|key| !INSTANCE.contains(key)));
    }

    #[test]
    fn dates_times_numbers_and_names_are_normalised() {
        assert_eq!(date("1997.04.24"), "19970424");
        assert_eq!(date("19970424 "), "19970424");
        assert_eq!(date("yesterday"), "yesterday");
        assert_eq!(time("10:36:02.5"), "103602.5");
        assert_eq!(time("103602 "), "103602");
        assert_eq!(whole_number(" 12 "), Some(12));
        assert_eq!(whole_number("+3\\4"), Some(3));
        assert_eq!(whole_number("3.0"), Some(3));
        assert_eq!(whole_number("3.5"), None);
        assert_eq!(whole_number("many"), None);
        assert_eq!(person_name("Wang^XiaoDong = 王^小東 = "), "Wang^XiaoDong=王^小東");
        assert_eq!(person_name("=王^小東"), "=王^小東");
        assert_eq!(person_name("A\0B"), "AB");
    }
}
