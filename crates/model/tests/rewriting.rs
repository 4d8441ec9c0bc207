//! Rewrites every file of the corpus that `QIANLI_CORPUS` names and compares what its header says
//! before and after; skipped with a message where the corpus is not at hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use qianli_model::dataset::{
    Changes, InflateSource, Limits, PixelPlan, Rewriter, SliceSource, Source, Step,
};
use qianli_model::{InstanceHeader, TransferSyntax, file_meta};
use serde_json::Value;

/// Files whose headers differ for a reason, and the reason.
const DIFFERENT: &[(&str, &str)] =
    &[("fo-dicom/GH1376.dcm", "declared as native, but its pixels are encapsulated")];

fn rewrite(
    data_set: &[u8],
    from: TransferSyntax,
    to: TransferSyntax,
    limits: &Limits,
) -> Result<Vec<u8>, String> {
    let mut source: Box<dyn Source> = Box::new(SliceSource::new(data_set));
    if from.is_deflated() {
        source = Box::new(InflateSource::over(source, limits.max_inflated));
    }
    let changes = Changes::new();
    let mut rewriter = Rewriter::new(source, from.encoding(), to, PixelPlan::Copy, changes, limits);
    let mut all = Vec::new();
    loop {
        let mut out = Vec::new();
        let step = rewriter.step(&mut out).map_err(|error| error.to_string())?;
        assert!(out.len() < 1 << 20, "a step of {} bytes", out.len());
        all.append(&mut out);
        if step == Step::End {
            return Ok(all);
        }
    }
}

fn header(data_set: &[u8], syntax: TransferSyntax, limits: &Limits) -> Option<InstanceHeader> {
    InstanceHeader::read(&mut SliceSource::new(data_set), syntax, limits).ok()
}

fn json(header: &InstanceHeader) -> Value {
    let text: Vec<u8> = header.json.iter().copied().filter(|byte| *byte != 1).collect();
    serde_json::from_slice(&text).unwrap()
}

/// Where two JSON values differ first, without quoting them.
fn difference(left: &Value, right: &Value, path: &str) -> Option<String> {
    if left == right {
        return None;
    }
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys());
            keys.map(|key| {
                let (l, r) = (left.get(key), right.get(key));
                match (l, r) {
                    (Some(l), Some(r)) => difference(l, r, &format!("{path}/{key}")),
                    _ => Some(format!("{path}/{key} is on one side only")),
                }
            })
            .find_map(|found| found)
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(index, (l, r))| difference(l, r, &format!("{path}/{index}"))),
        // Padding to an even length.
        (Value::String(left), Value::String(right)) if path.ends_with("InlineBinary") => {
            let bare = |text: &str| text.trim_end_matches(['=', 'A']).len();
            let start = bare(left).min(bare(right)).saturating_sub(2);
            (left.get(..start) != right.get(..start)).then(|| format!("{path} differs"))
        }
        // Encapsulated pixel data is OB whatever it was called (PS3.5 section A.4).
        _ if path == "/7FE00010/vr" && *right == "OB" => None,
        _ => Some(format!("{path} differs")),
    }
}

#[test]
fn a_rewritten_header_says_the_same() {
    let Some(folder) = std::env::var_os("QIANLI_CORPUS").map(PathBuf::from) else {
        println!("skipped: QIANLI_CORPUS is not set");
        return;
    };
    let limits = Limits::default();
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let files = manifest.lines().skip(1).filter_map(|line| line.split('\t').next());
    let (mut problems, mut count) = (Vec::new(), 0);
    for file in files {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let Ok(meta) = file_meta::from_bytes(&bytes) else { continue };
        let Some(from) = meta.transfer_syntax else { continue };
        let data_set = &bytes[meta.data_set_offset as usize..];
        let Some(before) = header(data_set, from, &limits) else { continue };
        let native = TransferSyntax::EXPLICIT_LITTLE;
        let targets = if from.is_encapsulated() {
            vec![from]
        } else {
            vec![native, TransferSyntax::IMPLICIT_LITTLE]
        };
        for to in targets {
            let rewritten = match rewrite(data_set, from, to, &limits) {
                Ok(rewritten) => rewritten,
                Err(error) => {
                    problems.push(format!("{file} as {to}: {error}"));
                    continue;
                }
            };
            let Some(after) = header(&rewritten, to, &limits) else {
                problems.push(format!("{file} as {to}: unreadable"));
                continue;
            };
            count += 1;
            if before.frames.count() != after.frames.count() {
                problems.push(format!("{file} as {to}: other frames"));
            }
            // Implicit VR cannot say the representation of private and unknown elements.
            if to != TransferSyntax::IMPLICIT_LITTLE
                && let Some(what) = difference(&json(&before), &json(&after), "")
            {
                problems.push(format!("{file} as {to}: {what}"));
            }
            let again = rewrite(&rewritten, to, to, &limits);
            if again.as_ref() != Ok(&rewritten) {
                problems.push(format!("{file} as {to}: rewriting it again changes it"));
            }
        }
    }
    println!("{count} data sets rewritten");
    problems.retain(|problem| !DIFFERENT.iter().any(|(file, _)| problem.starts_with(file)));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
