//! What a data set must say once its pixels are encoded anew.

use qianli_catalog::types::{Detail, Location};
use qianli_imaging::{LossyMethod, Transcoded};
use qianli_model::dataset::vr::VR;
use qianli_model::dataset::{Change, Changes};
use qianli_model::{Tag, TransferSyntax, tag};

use crate::description::Description;

const ICON_IMAGE_SEQUENCE: Tag = tag::tag(0x0088, 0x0200);
const LOSSY_IMAGE_COMPRESSION: Tag = tag::tag(0x0028, 0x2110);
const LOSSY_RATIO: Tag = tag::tag(0x0028, 0x2112);
const LOSSY_METHOD: Tag = tag::tag(0x0028, 0x2114);
const DERIVATION_DESCRIPTION: Tag = tag::tag(0x0008, 0x2111);
const SOURCE_IMAGES: Tag = tag::tag(0x0008, 0x2112);
const DERIVATION_CODES: Tag = tag::tag(0x0008, 0x9215);
const REFERENCED_SOP_CLASS: Tag = tag::tag(0x0008, 0x1150);
const REFERENCED_SOP_INSTANCE: Tag = tag::tag(0x0008, 0x1155);
const PURPOSE_OF_REFERENCE: Tag = tag::tag(0x0040, 0xA170);
const CODE_VALUE: Tag = tag::tag(0x0008, 0x0100);
const CODING_SCHEME: Tag = tag::tag(0x0008, 0x0102);
const CODE_MEANING: Tag = tag::tag(0x0008, 0x0104);

/// Most characters of Derivation Description (VR ST, PS3.5 section 6.2).
const MOST_DESCRIPTION: usize = 1024;

/// What the data set must say of its new pixels, in the syntax `to`.
pub(super) fn describe(
    detail: &Detail,
    description: &Description,
    first: &Transcoded,
    to: TransferSyntax,
) -> Changes {
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
        let before = always_lossy || stored.is_lossy() || was_lossy(description);
        describe_source(&mut changes, &detail.location, before);
        describe_derivation(&mut changes, description, first, to);
    }
    changes
}

fn was_lossy(description: &Description) -> bool {
    description.texts(LOSSY_IMAGE_COMPRESSION).iter().any(|value| value == "01")
}

/// PS3.3 section C.12.4.1.2: of which instance this is a copy, in front of what that one was made of;
/// each item stands for a step.
fn describe_source(changes: &mut Changes, source: &Location, lossy: bool) {
    // PS3.16 CID 7202.
    let purpose = match lossy {
        false => code("121320", "Uncompressed predecessor"),
        true => code("121330", "Lossy compressed predecessor"),
    };
    let item = Changes::from([
        (REFERENCED_SOP_CLASS, Change::text(VR::UI, &source.sop_class)),
        (REFERENCED_SOP_INSTANCE, Change::text(VR::UI, source.instance.as_str())),
        (PURPOSE_OF_REFERENCE, Change::AddItem(purpose)),
    ]);
    changes.insert(SOURCE_IMAGES, Change::AddItem(item));
}

/// PS3.3 section C.12.4.1.1: how this was made, in words and as a code of PS3.16 CID 7203.
fn describe_derivation(
    changes: &mut Changes,
    description: &Description,
    first: &Transcoded,
    to: TransferSyntax,
) {
    changes.insert(DERIVATION_CODES, Change::AddItem(code("113040", "Lossy Compression")));
    let ratio = first.native_bytes as f64 / (first.bytes.len().max(1) as f64);
    let mut words = format!("Lossy compression, {}, ratio {ratio:.2}", to.name());
    let before = description.texts(DERIVATION_DESCRIPTION).join(" ");
    if !before.trim().is_empty() {
        words = format!("{}; {words}", before.trim());
    }
    // What was said before in another script stays as it is: it is written in the character set of
    // the data set.
    if words.is_ascii() && words.len() <= MOST_DESCRIPTION {
        changes.insert(DERIVATION_DESCRIPTION, Change::text(VR::ST, &words));
    }
}

/// A code of DICOM's own scheme (PS3.16 annex D).
fn code(value: &str, meaning: &str) -> Changes {
    Changes::from([
        (CODE_VALUE, Change::text(VR::SH, value)),
        (CODING_SCHEME, Change::text(VR::SH, "DCM")),
        (CODE_MEANING, Change::text(VR::LO, meaning)),
    ])
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
            Change::AddItem(_) | Change::Items(_) | Change::Remove => None,
        }
    }

    fn item(changes: &Changes, tag: Tag) -> &Changes {
        match changes.get(&tag) {
            Some(Change::AddItem(item)) => item,
            other => panic!("no item of {tag}: {other:?}"),
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
        let changes = describe(&detail(RLE, 1), &before, &first, syntax(J2K));
        for (tag, expected) in [
            (tag::IMAGE_TYPE, "DERIVED\\PRIMARY\\AXIAL"),
            (LOSSY_IMAGE_COMPRESSION, "01"),
            (LOSSY_RATIO, "2.5\\10.00"),
            (LOSSY_METHOD, "ISO_10918_1\\ISO_15444_1"),
        ] {
            assert_eq!(text(&changes, tag).as_deref(), Some(expected), "{tag}");
        }
        let without = describe(&detail(RLE, 1), &Description::default(), &first, syntax(J2K));
        assert_eq!(text(&without, tag::IMAGE_TYPE).as_deref(), Some("DERIVED\\PRIMARY"));
        assert_eq!(text(&without, LOSSY_RATIO).as_deref(), Some("10.00"));
    }

    #[test]
    fn a_lossy_copy_names_its_source_and_how_it_was_made() {
        let first = transcoded(Some(LossyMethod::Iso15444));
        for (stored, words, purpose) in [
            (RLE, r#"{}"#, "121320"),
            (RLE, r#"{"00282110":{"vr":"CS","Value":["01"]}}"#, "121330"),
            (BASELINE, r#"{}"#, "121330"),
        ] {
            let before = Description::read(words.as_bytes());
            let changes = describe(&detail(stored, 1), &before, &first, syntax(J2K));
            let source = item(&changes, SOURCE_IMAGES);
            assert_eq!(text(source, REFERENCED_SOP_INSTANCE).as_deref(), Some("1.2.3.4"));
            assert!(text(source, REFERENCED_SOP_CLASS).is_some());
            let code = item(source, PURPOSE_OF_REFERENCE);
            assert_eq!(text(code, CODE_VALUE).as_deref(), Some(purpose), "{stored} {words}");
            let code = text(item(&changes, DERIVATION_CODES), CODE_VALUE);
            assert_eq!(code.as_deref(), Some("113040"));
        }
        let told = |words: &str| {
            let before = format!(r#"{{"00082111":{{"vr":"ST","Value":["{words}"]}}}}"#);
            let before = Description::read(before.as_bytes());
            text(&describe(&detail(RLE, 1), &before, &first, syntax(J2K)), DERIVATION_DESCRIPTION)
        };
        let words = told("MPR").expect("a description");
        assert!(words.starts_with("MPR; Lossy") && words.ends_with("ratio 10.00"), "{words}");
        assert_eq!(told("重建"), None, "left as it is");
        assert_eq!(told(&"x".repeat(1000)), None);
    }

    #[test]
    fn a_lossless_copy_says_no_more_than_it_must() {
        let icon = Description::read(
            br#"{"00280008":{"vr":"IS","Value":[3]},"00880200":{"vr":"SQ","Value":[{}]}}"#,
        );
        let changes = describe(&detail(RLE, 2), &icon, &transcoded(None), syntax(J2K));
        assert_eq!(text(&changes, tag::NUMBER_OF_FRAMES).as_deref(), Some("2"), "what is there");
        assert_eq!(changes.get(&ICON_IMAGE_SEQUENCE), Some(&Change::Remove));
        assert_eq!(changes.get(&tag::PLANAR_CONFIGURATION), Some(&Change::Remove));
        assert_eq!(changes.get(&tag::EXTENDED_OFFSET_TABLE), Some(&Change::Remove));
        assert_eq!((changes.get(&LOSSY_RATIO), changes.get(&tag::IMAGE_TYPE)), (None, None));
        assert_eq!(changes.get(&LOSSY_IMAGE_COMPRESSION), None);
        // What was lossy when it came stays marked, or is marked now.
        let nothing = Description::default();
        let stored = describe(&detail(BASELINE, 1), &nothing, &transcoded(None), syntax(RLE));
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
