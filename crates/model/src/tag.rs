//! Data element tags and the few that the code names.

use std::fmt;

/// A data element tag (PS3.5 section 7.1). Ordered as in a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Group number.
    pub group: u16,
    /// Element number.
    pub element: u16,
}

/// Shorthand for a tag literal.
pub const fn tag(group: u16, element: u16) -> Tag {
    Tag { group, element }
}

impl Tag {
    /// Whether the group is odd, hence private (PS3.5 section 7.8).
    pub fn is_private(self) -> bool {
        self.group & 1 == 1
    }

    /// Whether this is a group length element (gggg,0000).
    pub fn is_group_length(self) -> bool {
        self.element == 0
    }

    /// Parses eight hexadecimal digits, as DICOM JSON and DICOMweb write tags.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(text, 16).ok()?;
        Some(tag((number >> 16) as u16, (number & 0xFFFF) as u16))
    }

    /// Finds a standard attribute by keyword, or a tag by its eight digits.
    pub fn from_keyword_or_hex(text: &str) -> Option<Self> {
        use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
        if let Some(tag) = Self::from_hex(text) {
            return Some(tag);
        }
        let found = dicom_dictionary_std::StandardDataDictionary.by_name(text)?.tag();
        Some(tag(found.group(), found.element()))
    }

    /// Returns the standard's keyword, or `None` for private and unknown tags.
    pub fn keyword(self) -> Option<&'static str> {
        use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
        dicom_dictionary_std::StandardDataDictionary
            .by_tag(dicom_core::Tag(self.group, self.element))
            .map(|entry| entry.alias())
    }
}

/// Writes `GGGGEEEE`, upper case, as DICOM JSON does (PS3.18 F.2.2).
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}{:04X}", self.group, self.element)
    }
}

macro_rules! tags {
    ($($name:ident = ($g:literal, $e:literal);)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`, PS3.6.")]
            pub const $name: Tag = tag($g, $e);
        )*
    };
}

tags! {
    SPECIFIC_CHARACTER_SET = (0x0008, 0x0005);
    IMAGE_TYPE = (0x0008, 0x0008);
    SOP_CLASS_UID = (0x0008, 0x0016);
    SOP_INSTANCE_UID = (0x0008, 0x0018);
    STUDY_DATE = (0x0008, 0x0020);
    SERIES_DATE = (0x0008, 0x0021);
    STUDY_TIME = (0x0008, 0x0030);
    SERIES_TIME = (0x0008, 0x0031);
    ACCESSION_NUMBER = (0x0008, 0x0050);
    INSTANCE_AVAILABILITY = (0x0008, 0x0056);
    MODALITY = (0x0008, 0x0060);
    MODALITIES_IN_STUDY = (0x0008, 0x0061);
    SOP_CLASSES_IN_STUDY = (0x0008, 0x0062);
    MANUFACTURER = (0x0008, 0x0070);
    INSTITUTION_NAME = (0x0008, 0x0080);
    REFERRING_PHYSICIAN_NAME = (0x0008, 0x0090);
    TIMEZONE_OFFSET_FROM_UTC = (0x0008, 0x0201);
    STATION_NAME = (0x0008, 0x1010);
    STUDY_DESCRIPTION = (0x0008, 0x1030);
    SERIES_DESCRIPTION = (0x0008, 0x103E);
    RETRIEVE_URL = (0x0008, 0x1190);
    PATIENT_NAME = (0x0010, 0x0010);
    PATIENT_ID = (0x0010, 0x0020);
    ISSUER_OF_PATIENT_ID = (0x0010, 0x0021);
    PATIENT_BIRTH_DATE = (0x0010, 0x0030);
    PATIENT_SEX = (0x0010, 0x0040);
    BODY_PART_EXAMINED = (0x0018, 0x0015);
    STUDY_INSTANCE_UID = (0x0020, 0x000D);
    SERIES_INSTANCE_UID = (0x0020, 0x000E);
    STUDY_ID = (0x0020, 0x0010);
    SERIES_NUMBER = (0x0020, 0x0011);
    INSTANCE_NUMBER = (0x0020, 0x0013);
    NUMBER_OF_STUDY_RELATED_SERIES = (0x0020, 0x1206);
    NUMBER_OF_STUDY_RELATED_INSTANCES = (0x0020, 0x1208);
    NUMBER_OF_SERIES_RELATED_INSTANCES = (0x0020, 0x1209);
    SAMPLES_PER_PIXEL = (0x0028, 0x0002);
    PHOTOMETRIC_INTERPRETATION = (0x0028, 0x0004);
    PLANAR_CONFIGURATION = (0x0028, 0x0006);
    NUMBER_OF_FRAMES = (0x0028, 0x0008);
    ROWS = (0x0028, 0x0010);
    COLUMNS = (0x0028, 0x0011);
    BITS_ALLOCATED = (0x0028, 0x0100);
    BITS_STORED = (0x0028, 0x0101);
    HIGH_BIT = (0x0028, 0x0102);
    PIXEL_REPRESENTATION = (0x0028, 0x0103);
    WINDOW_CENTER = (0x0028, 0x1050);
    WINDOW_WIDTH = (0x0028, 0x1051);
    RESCALE_INTERCEPT = (0x0028, 0x1052);
    RESCALE_SLOPE = (0x0028, 0x1053);
    REQUEST_ATTRIBUTES_SEQUENCE = (0x0040, 0x0275);
    PERFORMED_PROCEDURE_STEP_START_DATE = (0x0040, 0x0244);
    PERFORMED_PROCEDURE_STEP_START_TIME = (0x0040, 0x0245);
    AVAILABLE_TRANSFER_SYNTAX_UID = (0x0008, 0x3002);
    ENCAPSULATED_DOCUMENT = (0x0042, 0x0011);
    EXTENDED_OFFSET_TABLE = (0x7FE0, 0x0001);
    EXTENDED_OFFSET_TABLE_LENGTHS = (0x7FE0, 0x0002);
    FLOAT_PIXEL_DATA = (0x7FE0, 0x0008);
    DOUBLE_FLOAT_PIXEL_DATA = (0x7FE0, 0x0009);
    PIXEL_DATA = (0x7FE0, 0x0010);
    ITEM = (0xFFFE, 0xE000);
    ITEM_DELIMITATION = (0xFFFE, 0xE00D);
    SEQUENCE_DELIMITATION = (0xFFFE, 0xE0DD);
}
