//! What a data set must say once its pixels are encoded anew.

use qianli_catalog::types::Detail;
use qianli_imaging::{LossyMethod, Transcoded};
use qianli_model::dataset::vr::VR;
use qianli_model::dataset::{Change, Changes};
use qianli_model::{Tag, TransferSyntax, tag};

use crate::description::Description;

const ICON_IMAGE_SEQUENCE: Tag = tag::tag(0x0088, 0x0200);
const LOSSY_IMAGE_COMPRESSION: Tag = tag::tag(0x0028, 0x2110);
const LOSSY_RATIO: Tag = tag::tag(0x0028, 0x2112);
const LOSSY_METHOD: Tag = tag::tag(0x0028, 0x2114);

/// What the data set must say of its new pixels.
pub(super) fn describe(detail: &Detail, description: &Description, first: &Transcoded) -> Changes {
    let mut changes = Changes::new();
    changes.insert(tag::PHOTOMETRIC_INTERPRETATION, Change::text(VR::CS, first.photometric));
    let planar = match first.planar_configuration {
        Some(planar) => Change::Set(VR::US, planar.to_le_bytes().to_vec()),
        None => Change::Remove,
    };
    changes.insert(tag::PLANAR_CONFIGURATION, planar);
    let count = detail.frames.count();
    let claimed = description.number(tag::NUMBER_OF_FRAMES).unwrap_or(1);
    if claimed != u64::from(count) {
        changes.insert(tag::NUMBER_OF_FRAMES, Change::text(VR::IS, &count.to_string()));
    }
    for table in [tag::EXTENDED_OFFSET_TABLE, tag::EXTENDED_OFFSET_TABLE_LENGTHS] {
        changes.insert(table, Change::Remove);
    }
    let stored = detail.location.transfer_syntax;
    if stored.is_encapsulated() && description.has(ICON_IMAGE_SEQUENCE) {
        // Its pixels are compressed as the image's are; it may be left out (PS3.3 table C.7-12).
        changes.insert(ICON_IMAGE_SEQUENCE, Change::Remove);
    }
    let always_lossy = matches!(stored.uid(), "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51");
    if always_lossy && description.texts(LOSSY_IMAGE_COMPRESSION).is_empty() {
        changes.insert(LOSSY_IMAGE_COMPRESSION, Change::text(VR::CS, "01"));
    }
    if let Some(method) = first.lossy {
        describe_loss(&mut changes, description, first, method);
    }
    changes
}

/// PS3.3 section C.7.6.1.1.5: a lossy image says that it is one, how much was lost and how, after
/// what was lost before; and it is derived.
fn describe_loss(
    changes: &mut Changes,
    description: &Description,
    first: &Transcoded,
    method: LossyMethod,
) {
    let append = |tag, value: String| {
        let mut values = description.texts(tag);
        values.retain(|value| !value.is_empty());
        values.push(value);
        values.join("\\")
    };
    let ratio = first.native_bytes as f64 / (first.bytes.len().max(1) as f64);
    let ratios = append(LOSSY_RATIO, format!("{ratio:.2}"));
    let methods = append(LOSSY_METHOD, method.as_str().to_owned());
    let mut image_type = description.texts(tag::IMAGE_TYPE);
    match image_type.first_mut() {
        Some(first) => *first = "DERIVED".to_owned(),
        None => image_type.extend(["DERIVED".to_owned(), "PRIMARY".to_owned()]),
    }
    changes.insert(tag::IMAGE_TYPE, Change::text(VR::CS, &image_type.join("\\")));
    changes.insert(LOSSY_IMAGE_COMPRESSION, Change::text(VR::CS, "01"));
    changes.insert(LOSSY_RATIO, Change::text(VR::DS, &ratios));
    changes.insert(LOSSY_METHOD, Change::text(VR::CS, &methods));
}

/// The SOP Instance UID of a lossy copy: a UUID made from what it is a copy of (PS3.5 annex B.2),
/// so that asking twice gives one instance and not two.
pub(super) fn derived_uid(detail: &Detail, to: TransferSyntax) -> String {
    let name = format!("{} {to}", detail.location.content_hash);
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(hash.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    let mut number = u128::from_be_bytes(bytes);
    // Version 8 and the variant of RFC 9562.
    number = (number & !(0xF << 76)) | (0x8 << 76);
    number = (number & !(0x3 << 62)) | (0x2 << 62);
    format!("2.25.{number}")
}

#[cfg(test)]
mod tests {
    use qianli_catalog::types::Location;
    use qianli_model::frames::ByteRange;
    use qianli_model::{FrameTable, SeriesUid, SopInstanceUid, StudyUid};

    use super::*;

    const RLE: &str = "1.2.840.10008.1.2.5";
    const BASELINE: &str = "1.2.840.10008.1.2.4.50";
    const J2K: &str = "1.2.840.10008.1.2.4.91";

    fn syntax(uid: &str) -> TransferSyntax {
        TransferSyntax::from_uid(uid).expect("a syntax of the table")
    }

    fn detail(stored: &str, frames: usize) -> Detail {
        let location = Location {
            study: StudyUid::parse("1.2").expect("a UID"),
            series: SeriesUid::parse("1.2.3").expect("a UID"),
            instance: SopInstanceUid::parse("1.2.3.4").expect("a UID"),
            sop_class: "1.2.840.10008.5.1.4.1.1.7".into(),
            transfer_syntax: syntax(stored),
            blob_key: "key".into(),
            content_hash: "hash".into(),
            blob_size: 1000,
            data_set_offset: 300,
        };
        let frame = vec![ByteRange { offset: 8, length: 8 }];
        let frames = FrameTable::Encapsulated { frames: vec![frame; frames] };
        Detail { location, frames, bulk: Vec::new(), json: Vec::new() }
    }

    fn transcoded(lossy: Option<LossyMethod>) -> Transcoded {
        Transcoded {
            bytes: vec![0; 100],
            photometric: "MONOCHROME2",
            planar_configuration: None,
            lossy,
            native_bytes: 1000,
        }
    }

    fn text(changes: &Changes, tag: Tag) -> Option<String> {
        match changes.get(&tag)? {
            Change::Set(_, value) => Some(String::from_utf8_lossy(value).into_owned()),
            Change::Remove => None,
        }
    }

    #[test]
    fn a_lossy_copy_says_what_was_lost_after_what_was_lost_before() {
        let before = Description::read(
            br#"{"00080008":{"vr":"CS","Value":["ORIGINAL","PRIMARY","AXIAL"]},
                "00282112":{"vr":"DS","Value":[2.5]},
                "00282114":{"vr":"CS","Value":["ISO_10918_1"]}}"#,
        );
        let first = transcoded(Some(LossyMethod::Iso15444));
        let changes = describe(&detail(RLE, 1), &before, &first);
        for (tag, expected) in [
            (tag::IMAGE_TYPE, "DERIVED\\PRIMARY\\AXIAL"),
            (LOSSY_IMAGE_COMPRESSION, "01"),
            (LOSSY_RATIO, "2.5\\10.00"),
            (LOSSY_METHOD, "ISO_10918_1\\ISO_15444_1"),
        ] {
            assert_eq!(text(&changes, tag).as_deref(), Some(expected), "{tag}");
        }
        let without = describe(&detail(RLE, 1), &Description::default(), &first);
        assert_eq!(text(&without, tag::IMAGE_TYPE).as_deref(), Some("DERIVED\\PRIMARY"));
        assert_eq!(text(&without, LOSSY_RATIO).as_deref(), Some("10.00"));
    }

    #[test]
    fn a_lossless_copy_says_no_more_than_it_must() {
        let icon = Description::read(
            br#"{"00280008":{"vr":"IS","Value":[3]},"00880200":{"vr":"SQ","Value":[{}]}}"#,
        );
        let changes = describe(&detail(RLE, 2), &icon, &transcoded(None));
        assert_eq!(text(&changes, tag::NUMBER_OF_FRAMES).as_deref(), Some("2"), "what is there");
        assert_eq!(changes.get(&ICON_IMAGE_SEQUENCE), Some(&Change::Remove));
        assert_eq!(changes.get(&tag::PLANAR_CONFIGURATION), Some(&Change::Remove));
        assert_eq!(changes.get(&tag::EXTENDED_OFFSET_TABLE), Some(&Change::Remove));
        assert_eq!((changes.get(&LOSSY_RATIO), changes.get(&tag::IMAGE_TYPE)), (None, None));
        assert_eq!(changes.get(&LOSSY_IMAGE_COMPRESSION), None);
        // What was lossy when it came stays marked, or is marked now.
        let stored = describe(&detail(BASELINE, 1), &Description::default(), &transcoded(None));
        assert_eq!(text(&stored, LOSSY_IMAGE_COMPRESSION).as_deref(), Some("01"));
        assert!(!stored.contains_key(&tag::NUMBER_OF_FRAMES));
    }

    #[test]
    fn a_derived_instance_has_one_name() {
        let uid = derived_uid(&detail(RLE, 1), syntax(J2K));
        assert_eq!(uid, derived_uid(&detail(RLE, 1), syntax(J2K)));
        assert_ne!(uid, derived_uid(&detail(RLE, 1), syntax(BASELINE)));
        assert!(uid.starts_with("2.25.") && uid.len() <= 64, "{uid}");
        assert!(SopInstanceUid::parse(&uid).is_ok());
    }
}
