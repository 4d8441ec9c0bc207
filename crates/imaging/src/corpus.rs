//! Tests over the corpus of real and synthetic files that `QIANLI_CORPUS` names: frame 1 of every
//! file whose pixels its manifest knows. Without the variable they say so and stop; with
//! `QIANLI_REQUIRE_ALL=1` that is a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::header::{BASE_URL_MARK, InstanceHeader};
use qianli_model::{TransferSyntax, file_meta};
use sha2::{Digest, Sha256};

use crate::attributes::{DataSet, Image};
use crate::{Decoded, ImagingError, bits, native};

/// One row of the manifest.
struct Row {
    file: String,
    syntax: String,
    lossy: bool,
    /// SHA-256 of frame 1 as pydicom's `pixel_array` holds it, little endian.
    hash: String,
    mean: f64,
    least: i64,
    greatest: i64,
}

/// A stored frame 1.
struct Stored {
    json: Vec<u8>,
    syntax: TransferSyntax,
    frame: Vec<u8>,
    image: Image,
}

fn corpus() -> Option<(PathBuf, Vec<Row>)> {
    let Ok(folder) = std::env::var("QIANLI_CORPUS") else {
        let required = std::env::var("QIANLI_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "QIANLI_CORPUS is not set, and QIANLI_REQUIRE_ALL=1");
        println!("skipped: QIANLI_CORPUS is not set");
        return None;
    };
    let folder = PathBuf::from(folder);
    let text = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |name: &str| {
            let at = names.iter().position(|n| *n == name).unwrap();
            cells.get(at).copied().unwrap_or_default().to_owned()
        };
        Row {
            file: cell("file"),
            syntax: cell("transfer_syntax_uid"),
            lossy: cell("lossy") == "1",
            hash: cell("px_sha256"),
            mean: cell("px_mean").parse().unwrap_or(0.0),
            least: cell("px_min").parse().unwrap_or(0),
            greatest: cell("px_max").parse().unwrap_or(0),
        }
    });
    let rows = rows.filter(|row| !row.hash.is_empty()).collect();
    Some((folder, rows))
}

/// Finds frame 1 as the archive does: by the frame table of the header.
fn stored(folder: &Path, row: &Row) -> Result<Stored, String> {
    let bytes = std::fs::read(folder.join(&row.file)).map_err(|e| e.to_string())?;
    let meta = file_meta::from_bytes(&bytes).map_err(|e| e.to_string())?;
    // A few files are bare data sets, of which only the manifest knows the transfer syntax.
    let named = match meta.transfer_syntax_uid.is_empty() {
        true => TransferSyntax::from_uid(&row.syntax),
        false => meta.transfer_syntax,
    };
    let syntax = named.ok_or("no known transfer syntax")?;
    let mut data_set = bytes[meta.data_set_offset as usize..].to_vec();
    let header = loop {
        let error = match InstanceHeader::read(
            &mut SliceSource::new(&data_set),
            syntax,
            &Limits::default(),
        ) {
            Ok(header) => break header,
            Err(error) => error.to_string(),
        };
        // The archive keeps no instance without UIDs; its pixels are worth a test all the same.
        let element = match error.strip_suffix(" is missing") {
            Some("SOPClassUID") => [8, 0x16],
            Some("SOPInstanceUID") => [8, 0x18],
            Some("StudyInstanceUID") => [0x20, 0x0D],
            Some("SeriesInstanceUID") => [0x20, 0x0E],
            _ => return Err(error),
        };
        let [group, number] = element;
        let explicit = [group, 0, number, 0, b'U', b'I', 4, 0, b'1', b'.', b'2', 0];
        data_set.splice(..0, explicit);
    };
    if syntax.is_deflated() {
        let mut inflated = Vec::new();
        let mut inflater = flate2::read::DeflateDecoder::new(&data_set[..]);
        std::io::Read::read_to_end(&mut inflater, &mut inflated).map_err(|e| e.to_string())?;
        data_set = inflated;
    }
    let parsed = DataSet::parse(&header.json).map_err(|e| e.to_string())?;
    let image = Image::read(&parsed).map_err(|e| e.to_string())?;
    let mut frame = Vec::new();
    for range in header.frames.frame(1).ok_or("no frame")? {
        let start = range.offset as usize;
        frame.extend(data_set.get(start..start + range.length as usize).ok_or("no such bytes")?);
        // As DICOMweb does: the last 8-bit sample of an odd number of them in big-endian words.
        if !syntax.is_encapsulated() && image.words && frame.len() % 2 == 1 {
            frame.extend(data_set.get(start + range.length as usize));
        }
    }
    Ok(Stored { json: header.json, syntax, frame, image })
}

/// Brings a frame to the shape of pydicom's `pixel_array`: a byte per packed bit, colours pixel by
/// pixel and with their own chrominances.
fn pixel_array(image: &Image, decoded: Decoded) -> Vec<u8> {
    let Decoded { pixels, photometric } = decoded;
    if image.bits_allocated == 1 {
        return bits::unpack(&pixels, image.pixels());
    }
    if photometric == "YBR_FULL_422" {
        return native::upsample(image, &pixels).unwrap();
    }
    if !image.planar {
        return pixels;
    }
    let width = image.sample_bytes();
    let plane = image.pixels() * width;
    let sample = |pixel: usize, sample: usize| &pixels[sample * plane + pixel * width..][..width];
    (0..image.pixels())
        .flat_map(|p| (0..image.samples).flat_map(move |s| sample(p, s)))
        .copied()
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Samples of `pixel_array` bytes.
fn values(image: &Image, pixels: &[u8]) -> Vec<i64> {
    let width = if image.bits_allocated == 1 { 1 } else { image.sample_bytes() };
    let value = |sample: &[u8]| match (width, image.signed) {
        (1, false) => i64::from(sample[0]),
        (1, true) => i64::from(sample[0] as i8),
        (2, false) => i64::from(u16::from_le_bytes([sample[0], sample[1]])),
        (2, true) => i64::from(i16::from_le_bytes([sample[0], sample[1]])),
        _ => i64::from(u32::from_le_bytes([sample[0], sample[1], sample[2], sample[3]])),
    };
    pixels.chunks_exact(width).map(value).collect()
}

/// What is known of files that are not simply exact.
#[derive(PartialEq)]
enum Exception {
    /// The archive does not keep such an instance, so nobody can ask for its pixels.
    NotKept,
    /// The manifest has the bits beyond Bits Stored cut off; we keep the data set's bytes.
    Masked,
    /// The manifest has other colours than the data set names; ours have this mean.
    Mean(f64),
}

/// Every file of the manifest whose frame 1 does not have exactly its hash, besides streams of lossy
/// syntaxes.
const EXCEPTIONS: &[(&str, Exception, &str)] = &[
    ("synthetic/huge_length.dcm", Exception::NotKept, "pixel data ends behind the file"),
    ("synthetic/uid_path_traversal.dcm", Exception::NotKept, "a UID that is none"),
    ("synthetic/ts_mismatch_impl_claims_expl.dcm", Exception::NotKept, "not its transfer syntax"),
    ("dcm4che/ovly_p01.dcm", Exception::Masked, "an overlay in the high bits"),
    ("pydicom-data/mlut_18.dcm", Exception::Masked, "signs that are extended in some samples only"),
    ("fo-dicom/GH195.dcm", Exception::Mean(163.86), "YCbCr by its JFIF header, RGB by its label"),
];

/// Lossy decoders round in their own ways. Bounds of what we allow between ours and that of the
/// manifest (libjpeg, OpenJPEG): of the mean of all samples, and of least and greatest. JPEG of 8 bits
/// is exact; sample by sample the greatest difference seen otherwise is 1, of 12-bit JPEG 2.
const MEAN_BOUND: f64 = 0.05;
const EXTREME_BOUND: u64 = 2;

/// Cuts off the bits beyond Bits Stored; extends signs into them.
fn mask(image: &Image, pixels: &mut [u8]) {
    let shift = 16 - image.bits_stored;
    for word in pixels.as_chunks_mut::<2>().0 {
        let high = u16::from_le_bytes(*word) << shift;
        let value = if image.signed { (high as i16 >> shift) as u16 } else { high >> shift };
        *word = value.to_le_bytes();
    }
}

fn compare(folder: &Path, row: &Row) -> Result<&'static str, String> {
    let exception = EXCEPTIONS.iter().find(|(file, ..)| *file == row.file).map(|(_, e, _)| e);
    let stored = match (stored(folder, row), exception) {
        (Err(_), Some(Exception::NotKept)) => return Ok("not kept"),
        (Ok(_), Some(Exception::NotKept)) => return Err("is kept".into()),
        (stored, _) => stored?,
    };
    let decoded = crate::decode_described(&stored.json, stored.syntax, &stored.frame, 0);
    let decoded = decoded.map_err(|error| error.to_string())?;
    let mut pixels = pixel_array(&stored.image, decoded);
    if hex(&pixels) == row.hash {
        return if exception.is_none() { Ok("exact") } else { Err("no exception any more".into()) };
    }
    let seen = values(&stored.image, &pixels);
    let mean = seen.iter().map(|value| *value as f64).sum::<f64>() / seen.len() as f64;
    match exception {
        Some(Exception::Masked) => {
            mask(&stored.image, &mut pixels);
            if hex(&pixels) == row.hash { Ok("masked") } else { Err("differs masked".into()) }
        }
        Some(Exception::Mean(expected)) if (mean - expected).abs() < MEAN_BOUND => {
            Ok("other colours")
        }
        None if row.lossy
            && (mean - row.mean).abs() <= MEAN_BOUND
            && seen.iter().min().is_some_and(|v| v.abs_diff(row.least) <= EXTREME_BOUND)
            && seen.iter().max().is_some_and(|v| v.abs_diff(row.greatest) <= EXTREME_BOUND) =>
        {
            Ok("within the bounds of lossy decoders")
        }
        _ => Err(format!("differs: mean {mean:.3}, should be {:.3}", row.mean)),
    }
}

/// 12-bit JPEG whose pixels the manifest does not know, and their mean, least and greatest as DCMTK
/// decodes them.
const BY_DCMTK: [(&str, f64, i64, i64); 6] = [
    ("dtf/MG1_JPLY", 1610.893, 0, 4095),
    ("dtf/MR3_JPLY", 329.441, 0, 1478),
    ("dtf/RG3_JPLY", 333.288, 0, 1022),
    ("dtf/SC1_JPLY", 604.374, 0, 3644),
    ("dtf/XA1_JPLY", 107.843, 0, 556),
    (
        "cornerstone/CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm",
        1548.257,
        497,
        2708,
    ),
];

#[test]
fn what_only_dcmtk_decodes_is_decoded_alike() {
    let Some((folder, _)) = corpus() else { return };
    for (file, mean, least, greatest) in BY_DCMTK {
        let (file, syntax, hash) = (file.to_owned(), String::new(), String::new());
        let row = Row { file, syntax, lossy: true, hash, mean, least, greatest };
        compare(&folder, &row).unwrap_or_else(|why| panic!("{}: {why}", row.file));
    }
}

#[test]
fn frame_one_of_every_file_has_the_pixels_of_the_manifest() {
    let Some((folder, rows)) = corpus() else { return };
    let mut counts = BTreeMap::new();
    let mut failures = Vec::new();
    for row in &rows {
        match compare(&folder, row) {
            Ok(verdict) => *counts.entry(verdict).or_insert(0) += 1,
            Err(why) => failures.push(format!("{} ({}): {why}", row.file, row.syntax)),
        }
    }
    println!("{} files: {counts:?}", rows.len());
    for (file, _, reason) in EXCEPTIONS {
        println!("exception: {file}: {reason}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Replaces what transcoding changes in a data set.
fn relabelled(json: &[u8], photometric: &str, planar: Option<u16>) -> Vec<u8> {
    let clean: Vec<u8> = json.iter().copied().filter(|byte| *byte != BASE_URL_MARK).collect();
    let mut object: serde_json::Value = serde_json::from_slice(&clean).unwrap();
    object["00280004"] = serde_json::json!({"vr": "CS", "Value": [photometric]});
    if let Some(planar) = planar {
        object["00280006"] = serde_json::json!({"vr": "US", "Value": [planar]});
    }
    serde_json::to_vec(&object).unwrap()
}

#[test]
fn every_lossless_transcoding_returns_the_same_pixels() {
    let Some((folder, rows)) = corpus() else { return };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for row in &rows {
        let Ok(stored) = stored(&folder, row) else { continue };
        let decode = |json: &[u8], syntax, frame: &[u8]| {
            let image = Image::read(&DataSet::parse(json)?)?;
            Ok::<_, ImagingError>(pixel_array(
                &image,
                crate::decode_described(json, syntax, frame, 0)?,
            ))
        };
        let Ok(mut before) = decode(&stored.json, stored.syntax, &stored.frame) else { continue };
        // Codecs extend signs, which senders do not always; both are the same pixels.
        let extends = stored.image.signed
            && EXCEPTIONS
                .iter()
                .any(|(file, what, _)| *file == row.file && *what == Exception::Masked);
        if extends {
            mask(&stored.image, &mut before);
        }
        let targets = TransferSyntax::all().filter(|to| !to.is_lossy() && crate::can_encode(*to));
        // These give the same frames as explicit VR little endian and .70.
        const SAME: [&str; 4] = [
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1.98",
            "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.4.57",
        ];
        let targets = targets.filter(|to| !SAME.contains(&to.uid()));
        for to in targets.filter(|to| *to != stored.syntax) {
            let done = crate::transcode(&stored.json, stored.syntax, to, &stored.frame, 0);
            let done = match done {
                Ok(done) => done,
                Err(ImagingError::Unsupported(why)) => {
                    *counts.entry(format!("{to}: not supported: {why}")).or_insert(0) += 1;
                    continue;
                }
                Err(other) => {
                    failures.push(format!("{} to {to}: {other}", row.file));
                    continue;
                }
            };
            let json = relabelled(&stored.json, done.photometric, done.planar_configuration);
            let mut after = decode(&json, to, &done.bytes);
            if let Ok(after) = &mut after
                && extends
            {
                mask(&stored.image, after);
            }
            match after {
                Ok(after) if after == before => *counts.entry(to.to_string()).or_insert(0) += 1,
                Ok(_) => failures.push(format!("{} to {to}: other pixels", row.file)),
                Err(error) => failures.push(format!("{} to {to}: back: {error}", row.file)),
            }
        }
    }
    counts.iter().for_each(|(what, count)| println!("{count} {what}"));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
