//! What STYLE says and a machine can check: headers of modules, arrows between crates, sizes of
//! files, settings that are documented, files that the documents name.

use crate::support::clients::source;
use crate::support::sample::files;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines after which a file holds a second topic.
const MOST_LINES: usize = 600;

/// Which crates of ours a crate may name.
const ARROWS: [(&str, &[&str]); 6] = [
    ("model", &[]),
    ("dimse", &["model"]),
    ("imaging", &["model"]),
    ("catalog", &["model"]),
    ("archive", &["model", "catalog", "imaging"]),
    ("web", &["model", "catalog", "imaging", "archive"]),
];

/// Dependencies that only one crate may name.
const OWNED: [(&str, &str); 3] =
    [("sqlx", "catalog"), ("object_store", "archive"), ("axum", "web")];

fn rust_files() -> Vec<PathBuf> {
    ["src", "crates", "tests"]
        .iter()
        .flat_map(|folder| files(&source(folder)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path).display().to_string()
}

#[track_caller]
fn expect_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_owns() {
    let wrong: Vec<_> = rust_files()
        .iter()
        .filter(|path| {
            let text = read(path);
            let first = text.lines().next().unwrap_or_default();
            !(first.starts_with("//! ") && first.len() > 12)
        })
        .map(|path| format!("{}: does not open with //! and a sentence", shown(path)))
        .collect();
    expect_none(&wrong);
}

#[test]
fn files_are_not_too_long() {
    let wrong: Vec<_> = rust_files()
        .iter()
        .filter_map(|path| {
            let text = read(path);
            let generated = text.lines().next().is_some_and(|line| line.contains("enerated"));
            let lines = text.lines().count();
            (lines > MOST_LINES && !generated).then(|| format!("{}: {lines} lines", shown(path)))
        })
        .collect();
    expect_none(&wrong);
}

#[test]
fn crates_import_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for (name, allowed) in ARROWS {
        let folder = source("crates").join(name);
        let manifest: toml::Table =
            toml::from_str(&read(&folder.join("Cargo.toml"))).expect("a manifest");
        // Dev-dependencies too: a test that needs another crate belongs where that crate is known.
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            for dependency in table.into_iter().flat_map(toml::Table::keys) {
                if let Some(ours) = dependency.strip_prefix("qianli-")
                    && !allowed.contains(&ours)
                {
                    wrong.push(format!("{name} may not depend on {ours}"));
                }
                for (owned, owner) in OWNED {
                    if dependency == owned && name != owner {
                        wrong.push(format!("only {owner} names {owned}, not {name}"));
                    }
                }
            }
        }
    }
    let root: toml::Table = toml::from_str(&read(&source("Cargo.toml"))).expect("a manifest");
    let dependencies = root["dependencies"].as_table().expect("dependencies");
    for (owned, owner) in OWNED {
        if dependencies.contains_key(owned) {
            wrong.push(format!("only {owner} names {owned}, not the binary"));
        }
    }
    expect_none(&wrong);
}

/// Every key of the settings is explained in `qianli.toml`, and `qianli.toml` has no other.
#[test]
fn settings_are_documented() {
    let annotated = read(&source("qianli.toml"));
    // Tables come last; what stands in them is checked where they are read.
    let (keys_alone, tables) = annotated.split_once("# [[").expect("tables at the end");
    let tables = format!("[[{tables}");
    let tables = tables.lines().filter_map(|line| {
        let name = line.trim_start_matches(['#', ' ']).strip_prefix("[[")?.strip_suffix("]]")?;
        (!name.contains('.')).then(|| name.to_owned())
    });
    let documented: Vec<_> = keys_alone
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches(['#', ':', ' ']);
            let (key, _) = line.split_once(" = ")?;
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            (!key.is_empty() && key.chars().all(legal)).then(|| key.to_owned())
        })
        .chain(tables)
        .collect();
    let config = read(&source("src/config.rs"));
    let settings = config
        .split_once("pub struct Settings {")
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .expect("the struct Settings")
        .0;
    let keys: Vec<_> = settings
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(key, _)| key.to_owned())
        .collect();
    assert!(keys.len() > 10, "the struct Settings was not understood");
    assert!(keys.len() < 64, "{} keys: prefer a good default to a key", keys.len());
    let missing = keys.iter().filter(|key| !documented.contains(key));
    let mut wrong: Vec<_> =
        missing.map(|key| format!("qianli.toml does not explain {key}")).collect();
    let unknown = documented.iter().filter(|key| !keys.contains(key));
    wrong.extend(unknown.map(|key| format!("qianli.toml explains {key}, which does not exist")));
    expect_none(&wrong);
}

/// Paths in code spans of the architecture document exist.
#[test]
fn the_architecture_names_files_that_exist() {
    let text = read(&source("docs/ARCHITECTURE.md"));
    let roots = ["src/", "crates/", "tests/", "migrations/", "docs/", "bench/", "sample-dicom/"];
    let mut named = 0;
    let mut wrong = Vec::new();
    for span in text.split('`').skip(1).step_by(2) {
        let path = span.split(['#', ':']).next().unwrap_or(span);
        let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c));
        if plain && roots.iter().any(|root| path.starts_with(root)) {
            named += 1;
            if !source(path).exists() {
                wrong.push(format!("docs/ARCHITECTURE.md names {path}, which does not exist"));
            }
        }
    }
    assert!(named > 10, "the document names only {named} files");
    expect_none(&wrong);
}

/// Tests and settings in code spans of the security document exist.
#[test]
fn the_security_document_names_tests_that_exist() {
    let sources: String = rust_files().iter().map(|path| read(path)).collect();
    let config = read(&source("src/config.rs"));
    let text = read(&source("docs/SECURITY.md"));
    let mut named = 0;
    let mut wrong = Vec::new();
    for span in text.split('`').skip(1).step_by(2) {
        let plain = span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        // Names of three words and more: shorter ones may be commands or crates.
        if !plain || span.matches('_').count() < 2 {
            continue;
        }
        named += 1;
        // Tests of both setups are named in a list (`on_both_setups!`).
        let known = [format!("fn {span}("), format!("    {span} = ")]
            .iter()
            .any(|text| sources.contains(text))
            || config.contains(&format!("pub {span}:"));
        if !known {
            wrong.push(format!("docs/SECURITY.md names {span}, which does not exist"));
        }
    }
    assert!(named > 15, "the document names only {named} tests");
    expect_none(&wrong);
}
