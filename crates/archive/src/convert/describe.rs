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
