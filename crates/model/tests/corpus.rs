//! Reads every file of the corpus that `QIANLI_CORPUS` names and compares with its manifest, which
//! other software wrote; skipped with a message where the corpus is not at hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use qianli_model::dataset::{Limits, ReaderSource, SliceSource, Source};
use qianli_model::{FrameTable, InstanceHeader, Tag, file_meta, xml};
use serde_json::Value;

/// Where the manifest is not to be compared with, and why.
const EXEMPT: &[(&str, &str)] = &[
    (
        "fo-dicom/GH179B.dcm",
        "one element header overwrites another; no reading of it reaches the end, DCMTK gives up too",
    ),
    (
        "synthetic/no_sequence_delimiter.dcm",
        "listed as without UIDs because its author's tool failed",
    ),
];

/// Frames that the manifest counts otherwise, and why.
const FRAMES: &[(&str, u32, &str)] = &[
    ("raccoon/images-1009.dcm", 0, "a third of a frame is there"),
    ("raccoon/images-1010.dcm", 0, "a third of a frame is there"),
    ("raccoon/images-1011.dcm", 0, "a third of a frame is there"),
    ("raccoon/images-1012.dcm", 0, "a third of a frame is there"),
    ("raccoon/images-1013.dcm", 0, "a third of a frame is there"),
    ("synthetic/dims_bomb.dcm", 0, "64 bytes of gigabytes are there"),
    ("synthetic/frames_bomb.dcm", 1, "one frame is there"),
    ("synthetic/frames_fewer_than_claimed.dcm", 3, "three fragments are there"),
    ("synthetic/video_mpeg4_hp41.dcm", 1, "a video is one codestream"),
];

struct Row {
    file: String,
    columns: HashMap<String, String>,
}

impl Row {
    fn get(&self, column: &str) -> &str {
        self.columns.get(column).map_or("", String::as_str)
    }
}

fn corpus() -> Option<(PathBuf, Vec<Row>)> {
    let Some(folder) = std::env::var_os("QIANLI_CORPUS").map(PathBuf::from) else {
        println!("skipped: QIANLI_CORPUS is not set");
        return None;
    };
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let mut lines = manifest.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let rows = lines.map(|line| {
        let columns: HashMap<String, String> =
            names.iter().map(|n| n.to_string()).zip(line.split('\t').map(str::to_owned)).collect();
        Row { file: columns["file"].clone(), columns }
    });
    let rows = rows.collect();
    Some((folder, rows))
}

fn read_source(
    mut source: impl Source,
    meta: &file_meta::FileMeta,
) -> Result<InstanceHeader, String> {
    let syntax = meta.transfer_syntax.ok_or("unknown transfer syntax")?;
    source.skip(meta.data_set_offset).map_err(|error| error.to_string())?;
    InstanceHeader::read(&mut source, syntax, &Limits::default()).map_err(|error| error.to_string())
}

fn read(bytes: &[u8]) -> Result<InstanceHeader, String> {
    let meta = file_meta::from_bytes(bytes).map_err(|error| error.to_string())?;
    read_source(SliceSource::new(bytes), &meta)
}

fn read_file(path: &Path) -> Result<InstanceHeader, String> {
    let open = || ReaderSource::new(std::fs::File::open(path).unwrap()).unwrap();
    let meta = file_meta::read(&mut open()).map_err(|error| error.to_string())?;
    read_source(open(), &meta)
}

/// What the manifest and the header disagree about.
fn compare(row: &Row, header: &InstanceHeader, data_set_length: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let mut equal = |what: &str, found: &str, expected: &str| {
        if found != expected {
            problems.push(format!("{}: {what} {found:?}, expected {expected:?}", row.file));
        }
    };
    // Stray NULs are left out, and empty groups at the end.
    let name = row.get("patient_name_utf8").replace('\0', "");
    equal("name", &header.patient.name, name.trim_end_matches('='));
    equal("patient", &header.patient.id, row.get("patient_id").trim());
    equal("study", header.study_uid.as_str(), row.get("study_uid"));
    equal("series", header.series_uid.as_str(), row.get("series_uid"));
    equal("instance", header.sop_instance_uid.as_str(), row.get("sop_uid"));
    equal("class", header.sop_class_uid.as_str(), row.get("sop_class_uid"));
    equal("modality", &header.series.modality, row.get("modality"));
    let number = |n: Option<u16>| n.map(|n| n.to_string()).unwrap_or_default();
    equal("rows", &number(header.instance.rows), row.get("rows"));
    equal("columns", &number(header.instance.columns), row.get("cols"));
    let json: String = String::from_utf8(header.json.clone()).unwrap().replace('\u{1}', "");
    for text in [&json, &header.study_json, &header.series_json, &header.instance_json] {
        let parsed = serde_json::from_str::<Value>(text).map_err(|e| e.to_string());
        equal("JSON", parsed.err().as_deref().unwrap_or("valid"), "valid");
    }
    let has_pixels = header.bulk.iter().any(|bulk| bulk.path == "7FE00010");
    let exception = FRAMES.iter().find(|(file, ..)| *file == row.file);
    let expected = match exception {
        Some((_, count, _)) => *count,
        None if !has_pixels && header.frames == FrameTable::None => 0,
        None => row.get("frames").parse().unwrap_or(1),
    };
    equal("frames", &header.frames.count().to_string(), &expected.to_string());
    if !header.transfer_syntax.is_deflated() {
        for frame in 1..=header.frames.count().min(1000) {
            for range in header.frames.frame(frame).unwrap_or_default() {
                let inside = range.offset + range.length <= data_set_length && range.length > 0;
                equal("frame inside", if inside { "yes" } else { "no" }, "yes");
            }
        }
    }
    problems
}

#[test]
fn every_file_is_read_as_the_manifest_says() {
    let Some((folder, rows)) = corpus() else { return };
    let mut problems = Vec::new();
    let mut read_count = 0;
    for row in &rows {
        let path = folder.join(&row.file);
        let bytes = std::fs::read(&path).unwrap();
        let from_memory = read(&bytes);
        if read_file(&path) != from_memory {
            problems.push(format!("{}: differs when read from a file", row.file));
        }
        let good = matches!(row.get("validity"), "valid" | "quirk");
        let exempt = EXEMPT.iter().any(|(file, _)| *file == row.file);
        match from_memory {
            Ok(_) if !good || exempt => {}
            Ok(header) => {
                read_count += 1;
                problems.extend(compare(row, &header, bytes.len() as u64));
            }
            Err(error) if good && !exempt => problems.push(format!("{}: {error}", row.file)),
            Err(error) => assert!(!error.is_empty()),
        }
    }
    println!("{read_count} files compared");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_is_no_instance_is_refused_with_a_reason() {
    let Some((folder, _)) = corpus() else { return };
    for (file, reason) in [
        ("synthetic/empty.dcm", "an empty file"),
        ("synthetic/junk.html", "an HTML or XML document"),
        ("synthetic/junk.png", "a PNG image"),
        ("synthetic/junk.zip", "a ZIP archive"),
        ("dcm4che/DICOMDIR", "DICOMDIR"),
        ("pydicom/DICOMDIR-bigEnd", "DICOMDIR"),
        ("pydicom/DICOMDIR-implicit", "DICOMDIR"),
        ("synthetic/missing_SOPClassUID.dcm", "SOPClassUID is missing"),
        ("synthetic/missing_StudyInstanceUID.dcm", "StudyInstanceUID is missing"),
        ("synthetic/uid_path_traversal.dcm", "SOPInstanceUID is not acceptable"),
        ("synthetic/trunc_after_meta.dcm", "SOPClassUID is missing"),
        ("synthetic/trunc_in_header.dcm", "truncated"),
        ("synthetic/trunc_in_pixels.dcm", "truncated"),
        ("synthetic/huge_length.dcm", "truncated"),
        ("synthetic/nested_5000_bomb.dcm", "depth"),
        ("synthetic/ts_mismatch_impl_claims_expl.dcm", "implicit VR"),
    ] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let error = read(&bytes).expect_err(file);
        assert!(error.contains(reason), "{file}: {error}");
    }
}

#[test]
fn damaged_copies_end_in_an_answer() {
    let Some((folder, rows)) = corpus() else { return };
    let small = rows
        .iter()
        .filter(|row| row.get("size").parse::<usize>().is_ok_and(|size| (1..6000).contains(&size)));
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for row in small {
        let bytes = std::fs::read(folder.join(&row.file)).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            let _ = read(&bytes[..length]);
        }
        for _ in 0..40 {
            let mut damaged = bytes.clone();
            // xorshift64: fixed seed, so that a failure can be repeated.
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % damaged.len();
                damaged[at] = (random >> 32) as u8;
            }
            let _ = read(&damaged);
        }
    }
}

/// What the Native DICOM Model keeps of a data set: no private blocks, no control characters.
fn without_blocks(data_set: &Value) -> Value {
    let Value::Object(attributes) = data_set else { return data_set.clone() };
    let is_private = |tag: &str| Tag::from_hex(tag).is_some_and(Tag::is_private);
    let creator = |tag: &str| {
        let object = attributes.get(tag).filter(|_| is_private(tag))?;
        object["Value"][0]
            .as_str()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
    };
    let mut kept = BTreeMap::new();
    for (tag, object) in attributes {
        let is_creator = &tag[4..6] == "00" && &tag[6..] >= "10";
        let key = match creator(&format!("{}00{}", &tag[..4], &tag[4..6])) {
            _ if is_creator && creator(tag).is_some() => continue,
            Some(creator) => format!("{} {} {creator}", &tag[..4], &tag[6..]),
            None => tag.clone(),
        };
        let mut object = object.clone();
        for value in object.get_mut("Value").and_then(Value::as_array_mut).into_iter().flatten() {
            *value = match &*value {
                Value::Object(_) if object_is_sequence(value) => without_blocks(value),
                Value::String(text) => replaced(text).into(),
                Value::Object(groups) => groups
                    .iter()
                    .map(|(name, text)| (name.clone(), replaced(text.as_str().unwrap()).into()))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                other => other.clone(),
            };
        }
        kept.entry(key).or_insert_with(Vec::new).push(object);
    }
    let kept: serde_json::Map<_, _> =
        kept.into_iter().map(|(key, objects)| (key, Value::Array(objects))).collect();
    kept.into()
}

fn object_is_sequence(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.values().all(Value::is_object))
}

fn replaced(text: &str) -> String {
    let forbidden = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r');
    text.replace(|c: char| forbidden(c) || matches!(c, '\u{FFFE}' | '\u{FFFF}'), "\u{FFFD}")
}

/// Every header goes through the Native DICOM Model and comes back.
#[test]
fn every_header_survives_xml() {
    let Some((folder, rows)) = corpus() else { return };
    let mut problems = Vec::new();
    let mut count = 0;
    for row in &rows {
        let Ok(header) = read_file(&folder.join(&row.file)) else { continue };
        let json = String::from_utf8(header.json).unwrap().replace('\u{1}', "http://h");
        let mut text = Vec::new();
        let outcome = xml::from_json(json.as_bytes(), "", &mut text)
            .and_then(|()| xml::to_json(&text, &Limits::default()));
        match outcome {
            Ok(back) => {
                let [before, after] = [json.as_bytes(), &back]
                    .map(|text| without_blocks(&serde_json::from_slice::<Value>(text).unwrap()));
                if before != after {
                    problems.push(format!("{}: differs\n{before}\n{after}", row.file));
                }
            }
            Err(error) => problems.push(format!("{}: {error}", row.file)),
        }
        count += 1;
    }
    println!("{count} headers");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
