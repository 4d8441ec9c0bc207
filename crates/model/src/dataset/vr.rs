//! Value representations (PS3.5 table 6.2-1): how they are encoded, and which one an attribute has
//! when the data set does not say (implicit VR).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

pub use dicom_core::VR;

use crate::tag::{self, Tag};

/// Reads the two letters of an explicit VR.
pub fn from_letters(letters: [u8; 2]) -> Option<VR> {
    Some(match &letters {
        b"AE" => VR::AE,
        b"AS" => VR::AS,
        b"AT" => VR::AT,
        b"CS" => VR::CS,
        b"DA" => VR::DA,
        b"DS" => VR::DS,
        b"DT" => VR::DT,
        b"FL" => VR::FL,
        b"FD" => VR::FD,
        b"IS" => VR::IS,
        b"LO" => VR::LO,
        b"LT" => VR::LT,
        b"OB" => VR::OB,
        b"OD" => VR::OD,
        b"OF" => VR::OF,
        b"OL" => VR::OL,
        b"OV" => VR::OV,
        b"OW" => VR::OW,
        b"PN" => VR::PN,
        b"SH" => VR::SH,
        b"SL" => VR::SL,
        b"SQ" => VR::SQ,
        b"SS" => VR::SS,
        b"ST" => VR::ST,
        b"SV" => VR::SV,
        b"TM" => VR::TM,
        b"UC" => VR::UC,
        b"UI" => VR::UI,
        b"UL" => VR::UL,
        b"UN" => VR::UN,
        b"UR" => VR::UR,
        b"US" => VR::US,
        b"UT" => VR::UT,
        b"UV" => VR::UV,
        _ => return None,
    })
}

/// Whether the explicit encoding has two reserved bytes and a 32-bit length (PS3.5 table 7.1-1).
pub fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

/// Size of one number or word of the VR in bytes, 1 for text and bytes. Big endian values are
/// swapped in these units.
pub fn word_size(vr: VR) -> usize {
    match vr {
        VR::AT | VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Looks an attribute up in the standard dictionary. Private attributes and unknown ones are UN,
/// private creators LO, group lengths UL (PS3.5 sections 7.2, 7.8 and annex A.1).
///
/// `signed` is what (0028,0103) Pixel Representation says; it decides between US and SS.
pub fn lookup(tag: Tag, signed: bool) -> VR {
    if tag.is_group_length() {
        return VR::UL;
    }
    if tag.is_private() {
        return if (0x0010..=0x00FF).contains(&tag.element) { VR::LO } else { VR::UN };
    }
    if tag == tag::PIXEL_DATA {
        return VR::OW;
    }
    let found = StandardDataDictionary.by_tag(dicom_core::Tag(tag.group, tag.element));
    match found.map(|entry| entry.vr()) {
        Some(VirtualVr::Exact(vr)) => vr,
        Some(VirtualVr::Xs) => {
            if signed {
                VR::SS
            } else {
                VR::US
            }
        }
        Some(VirtualVr::Ox | VirtualVr::Px | VirtualVr::Lt) => VR::OW,
        _ => VR::UN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::tag;

    #[test]
    fn the_dictionary_fills_in_what_implicit_vr_omits() {
        assert_eq!(lookup(tag::PATIENT_NAME, false), VR::PN);
        assert_eq!(lookup(tag(0x0008, 0x0000), false), VR::UL);
        assert_eq!(lookup(tag(0x0009, 0x0010), false), VR::LO);
        assert_eq!(lookup(tag(0x0009, 0x1010), false), VR::UN);
        assert_eq!(lookup(tag(0x0028, 0x0106), false), VR::US);
        assert_eq!(lookup(tag(0x0028, 0x0106), true), VR::SS);
        assert_eq!(lookup(tag(0x0028, 0x3006), false), VR::OW);
        assert_eq!(lookup(tag(0x6002, 0x3000), false), VR::OW);
        assert_eq!(lookup(tag::PIXEL_DATA, false), VR::OW);
        assert_eq!(lookup(tag(0x0008, 0x7777), false), VR::UN);
    }

    #[test]
    fn every_vr_of_the_standard_is_read_from_its_letters() {
        for letters in
            "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM \
                        UC UI UL UN UR US UT UV"
                .split(' ')
        {
            let bytes = [letters.as_bytes()[0], letters.as_bytes()[1]];
            assert_eq!(from_letters(bytes).map(VR::to_string), Some(letters));
        }
        assert_eq!(from_letters(*b"ZZ"), None);
    }
}
