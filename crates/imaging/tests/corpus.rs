//! Decodes and renders the first frame of every file of the corpus that `QIANLI_CORPUS` names and
//! compares the colours with those that its manifest records from other decoders.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;

use qianli_imaging::{
    Format, ImagingError, RenderOptions, Rendered, Rendering, Viewport, can_decode, decode,
};
use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{InstanceHeader, TransferSyntax, file_meta};
use sha2::{Digest, Sha256};

/// Files whose first frame we know we treat differently, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("fo-dicom/GH195.dcm", "claims RGB over a YCbCr stream, which the reference left unconverted"),
    (
        "pydicom/SC_rgb_small_odd_big_endian.dcm",
        "the last sample lies behind the frame, in the second half of a swapped word",
    ),
];

struct FirstFrame {
    header: InstanceHeader,
    bytes: Vec<u8>,
    /// Path and value of each bulk value that is short enough to be a table.
    bulk: Vec<(String, Vec<u8>)>,
}

fn first_frame(file: &[u8]) -> Option<FirstFrame> {
    let meta = file_meta::from_bytes(file).ok()?;
    let syntax = meta.transfer_syntax?;
    let data_set = file.get(meta.data_set_offset as usize..)?;
    let header =
        InstanceHeader::read(&mut SliceSource::new(data_set), syntax, &Limits::default()).ok()?;
    let mut inflated = Vec::new();
    let data_set = if syntax.is_deflated() {
        flate2::read::DeflateDecoder::new(data_set).read_to_end(&mut inflated).ok()?;
        &inflated
    } else {
        data_set
    };
    let mut bytes = Vec::new();
    for range in header.frames.frame(1)? {
        let start = range.offset as usize;
        bytes.extend(data_set.get(start..start + range.length as usize)?);
    }
    let tables = header.bulk.iter().filter(|value| value.range.length < 1 << 20);
    let bulk = tables
        .filter_map(|value| {
            let start = value.range.offset as usize;
            let value_bytes = data_set.get(start..start + value.range.length as usize)?;
            Some((value.path.clone(), value_bytes.to_vec()))
        })
        .collect();
    Some(FirstFrame { header, bytes, bulk })
}

/// Renders as a server does: with the bulk values that rendering asks for.
fn render(frame: &FirstFrame, options: &RenderOptions) -> Result<Rendered, ImagingError> {
    let mut rendering = Rendering::read(&frame.header.json, frame.header.transfer_syntax)?;
    for path in rendering.wanted() {
        if let Some((_, value)) = frame.bulk.iter().find(|(known, _)| *known == path) {
            rendering.supply(&path, value.clone());
        }
    }
    rendering.render(&frame.bytes, 0, 1, options)
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[test]
fn first_frames_are_rendered_in_the_colours_of_other_decoders() {
    let Some(corpus) = std::env::var_os("QIANLI_CORPUS").map(PathBuf::from) else {
        println!("skipped: QIANLI_CORPUS is not set");
        return;
    };
    let manifest = std::fs::read_to_string(corpus.join("manifest.tsv")).unwrap();
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let column = |name: &str| names.iter().position(|other| *other == name).unwrap();
    let (file, hash, rgb_hash) = (column("file"), column("px_sha256"), column("px_rgb_sha256"));

    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for row in lines {
        let bytes = std::fs::read(corpus.join(row[file])).unwrap();
        let Some(frame) = first_frame(&bytes) else { continue };
        let FirstFrame { header, bytes, .. } = &frame;
        let syntax: TransferSyntax = header.transfer_syntax;
        let decoded = decode(&header.json, syntax, bytes, 0);
        let viewport = Some(Viewport::within(128, 128));
        let rendered = render(&frame, &RenderOptions { viewport, ..RenderOptions::default() });
        if !can_decode(syntax) {
            assert!(matches!(decoded, Err(ImagingError::Unsupported(_))), "{}", row[file]);
            continue;
        }
        if row[hash].is_empty() || DIFFERENT.iter().any(|(name, _)| *name == row[file]) {
            continue;
        }
        match decoded {
            Err(error) => problems.push(format!("{}: {error}", row[file])),
            // Whether they are right is for the tests inside the crate, which know every sample.
            Ok(_) => *compared.entry(syntax.name()).or_default() += 1,
        }
        match rendered {
            Err(error) => problems.push(format!("{}: rendering: {error}", row[file])),
            Ok(picture) => {
                assert!(picture.width.max(picture.height) <= 128, "{}", row[file]);
                assert_eq!(picture.bytes.get(..2), Some(&[0xFF, 0xD8][..]), "{}", row[file]);
            }
        }
        if !row[rgb_hash].is_empty() && !syntax.is_lossy() {
            let png = RenderOptions { format: Format::Png, ..RenderOptions::default() };
            let picture = render(&frame, &png).unwrap();
            let rgb = image::load_from_memory(&picture.bytes).unwrap().into_rgb8().into_raw();
            *compared.entry("colours").or_default() += 1;
            if hex(&rgb) != row[rgb_hash] {
                problems.push(format!("{}: other colours", row[file]));
            }
        }
    }
    println!("compared: {compared:#?}");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(compared.len() >= 6, "too little of the corpus was compared");
}
