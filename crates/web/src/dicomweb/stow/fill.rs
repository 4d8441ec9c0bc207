//! What metadata may leave out because the bulk part says it (PS3.18 section 10.5.2): the Image Pixel
//! Description Macro, what a document is, and the SOP class. What the metadata does say must agree;
//! nothing is changed in silence.

use qianli_model::{Refusal, TransferSyntax};
use serde_json::{Map, Value, json};

use super::media::Picture;
use super::pixels::Pixels;

const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const MULTIFRAME_BIT: &str = "1.2.840.10008.5.1.4.1.1.7.1";
const MULTIFRAME_BYTE: &str = "1.2.840.10008.5.1.4.1.1.7.2";
const MULTIFRAME_WORD: &str = "1.2.840.10008.5.1.4.1.1.7.3";
const MULTIFRAME_COLOUR: &str = "1.2.840.10008.5.1.4.1.1.7.4";
const VIDEO_PHOTOGRAPHIC: &str = "1.2.840.10008.5.1.4.1.1.77.1.4.1";
const PDF: &str = "1.2.840.10008.5.1.4.1.1.104.1";
const CDA: &str = "1.2.840.10008.5.1.4.1.1.104.2";
const STL: &str = "1.2.840.10008.5.1.4.1.1.104.3";
const OBJ: &str = "1.2.840.10008.5.1.4.1.1.104.4";
const MTL: &str = "1.2.840.10008.5.1.4.1.1.104.5";

/// First value of an attribute, as text without padding; `None` when it is absent or empty.
pub(super) fn text(json: &Map<String, Value>, tag: &str) -> Option<String> {
    let value = json.get(tag)?.get("Value")?.get(0)?.as_str()?;
    let value = value.trim_matches(['\0', ' ']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// The URI behind which an attribute's value lies.
pub(super) fn bulk_uri(json: &Map<String, Value>, tag: &str) -> Option<String> {
    Some(json.get(tag)?.get("BulkDataURI")?.as_str()?.to_owned())
}

/// First value of an attribute as a number, from a number or a decimal string.
fn number(json: &Map<String, Value>, tag: &str) -> Option<i64> {
    let value = json.get(tag)?.get("Value")?.get(0)?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Sets an attribute unless it has a value.
fn fill(json: &mut Map<String, Value>, tag: &str, vr: &str, value: impl Into<Value>) {
    let empty = json.get(tag).is_none_or(|attribute| {
        !["Value", "InlineBinary", "BulkDataURI"].iter().any(|key| attribute.get(key).is_some())
    });
    if empty {
        json.insert(tag.to_owned(), json!({"vr": vr, "Value": [value.into()]}));
    }
}

/// Sets a number, or fails where the metadata has another.
fn agree(
    json: &mut Map<String, Value>,
    tag: &str,
    vr: &str,
    name: &'static str,
    value: i64,
) -> Result<(), Refusal> {
    match number(json, tag) {
        Some(said) if said != value => Err(Refusal::InvalidAttribute {
            attribute: name,
            reason: "it is not what the image itself says".into(),
        }),
        _ => {
            fill(json, tag, vr, value);
            Ok(())
        }
    }
}

/// Fills in what the pixels say.
pub(super) fn pixels(json: &mut Map<String, Value>, pixels: &Pixels) -> Result<(), Refusal> {
    if let Some(picture) = &pixels.picture {
        describe(json, picture)?;
        let syntax = TransferSyntax::from_uid(picture.syntax);
        if syntax.is_some_and(TransferSyntax::is_lossy) {
            lossy(json, picture, pixels);
        }
    } else if pixels.syntax.is_encapsulated() {
        // Nothing could show the image without these.
        for (tag, name) in [("00280010", "Rows"), ("00280011", "Columns")] {
            number(json, tag).ok_or(Refusal::MissingAttribute(name))?;
        }
    }
    let frames = pixels.frames.unwrap_or(1);
    if pixels.frames.is_some() && (frames > 1 || number(json, "00280008").is_some()) {
        let frames = i64::try_from(frames).unwrap_or(i64::MAX);
        agree(json, "00280008", "IS", "NumberOfFrames", frames)?;
    }
    let bits = number(json, "00280100");
    let class = match (pixels.film, frames, number(json, "00280002")) {
        (true, ..) => VIDEO_PHOTOGRAPHIC,
        (false, 1, _) => SECONDARY_CAPTURE,
        (false, _, Some(3)) => MULTIFRAME_COLOUR,
        _ if bits == Some(16) => MULTIFRAME_WORD,
        _ => MULTIFRAME_BYTE,
    };
    if text(json, "00080016").is_none() {
        fill(json, "00080016", "UI", class);
    }
    Ok(())
}

fn describe(json: &mut Map<String, Value>, picture: &Picture) -> Result<(), Refusal> {
    let allocated = if picture.bits > 8 { 16 } else { 8 };
    let (samples, bits) = (i64::from(picture.samples), i64::from(picture.bits));
    agree(json, "00280002", "US", "SamplesPerPixel", samples)?;
    agree(json, "00280010", "US", "Rows", picture.rows.into())?;
    agree(json, "00280011", "US", "Columns", picture.columns.into())?;
    agree(json, "00280100", "US", "BitsAllocated", allocated)?;
    fill(json, "00280004", "CS", picture.photometric);
    if samples > 1 {
        fill(json, "00280006", "US", 0);
    }
    fill(json, "00280101", "US", bits);
    fill(json, "00280102", "US", bits - 1);
    agree(json, "00280103", "US", "PixelRepresentation", picture.signed.into())
}

/// Lossy Image Compression and how (PS3.3 section C.7.6.1.1.5).
fn lossy(json: &mut Map<String, Value>, picture: &Picture, pixels: &Pixels) {
    let method = match picture.syntax {
        "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" => "ISO_10918_1",
        "1.2.840.10008.1.2.4.81" => "ISO_14495_1",
        "1.2.840.10008.1.2.4.91" => "ISO_15444_1",
        _ => "ISO_15444_15",
    };
    let bytes = u64::from(picture.rows)
        * u64::from(picture.columns)
        * u64::from(picture.samples)
        * if picture.bits > 8 { 2 } else { 1 };
    let bytes = bytes.saturating_mul(pixels.frames.unwrap_or(1) as u64);
    let ratio = (bytes as f64 / pixels.length.max(1) as f64 * 100.0).round() / 100.0;
    fill(json, "00282110", "CS", "01");
    fill(json, "00282112", "DS", ratio);
    fill(json, "00282114", "CS", method);
}

/// Fills in what an encapsulated document is (PS3.3 section C.24.2).
pub(super) fn document(json: &mut Map<String, Value>, mime: &str, class: &str, length: u64) {
    if text(json, "00080016").is_none() {
        fill(json, "00080016", "UI", class);
    }
    fill(json, "00420012", "LO", mime);
    fill(json, "00420015", "UL", length);
}

/// Fills in Modality (type 1, PS3.3 section C.7.3.1) where the SOP class, whether sent or found out,
/// tells it, and of secondary captures Conversion Type (section C.8.6.1): workstation.
pub(super) fn equipment(json: &mut Map<String, Value>) {
    let class = text(json, "00080016").unwrap_or_default();
    let (modality, converted) = match class.as_str() {
        SECONDARY_CAPTURE | MULTIFRAME_BIT | MULTIFRAME_BYTE | MULTIFRAME_WORD
        | MULTIFRAME_COLOUR => ("OT", true),
        VIDEO_PHOTOGRAPHIC => ("XC", false),
        PDF | CDA => ("DOC", false),
        STL | OBJ | MTL => ("M3D", false),
        _ => return,
    };
    let mut set = |tag: &str, value: &str| {
        if text(json, tag).is_none() {
            json.insert(tag.to_owned(), json!({"vr": "CS", "Value": [value]}));
        }
    };
    set("00080060", modality);
    if converted {
        set("00080064", "WSD");
    }
}
