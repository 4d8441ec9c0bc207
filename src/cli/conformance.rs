//! `qianli conformance`: the tables of the conformance statement, printed from what the code runs on,
//! and put into the document between their marks.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::HumanBytes;
use qianli_archive::SopClassPolicy;
use qianli_dimse::association::{Implementation, VERIFICATION};
use qianli_dimse::status::Status;
use qianli_model::charset::{Charset, DEFINED_TERMS, Knowledge};
use qianli_model::dataset::Limits;
use qianli_model::query::{INDEXED, Kind, Level};
use qianli_model::{Refusal, Tag, TransferSyntax};
use qianli_web::facts;

use crate::config::{Config, Settings};

/// Arguments of `qianli conformance`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Puts the tables into this document, between the marks that name them, instead of printing.
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
}

/// Prints every table, or renews those of a document.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let tables = tables()?;
    match &arguments.update {
        None => {
            for (name, table) in &tables {
                println!("{}\n{table}{}\n", opening(name), closing(name));
            }
        }
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            let renewed = renew(text, &tables)?;
            std::fs::write(path, renewed).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn opening(name: &str) -> String {
    format!("<!-- table: {name} -->")
}

fn closing(name: &str) -> String {
    format!("<!-- end of table: {name} -->")
}

fn renew(mut text: String, tables: &[(&str, String)]) -> anyhow::Result<String> {
    for (name, table) in tables {
        let (open, close) = (opening(name), closing(name));
        let Some((before, rest)) = text.split_once(&open) else {
            bail!("the document has no mark {open}");
        };
        let Some((_, after)) = rest.split_once(&close) else {
            bail!("the document has no mark {close}");
        };
        text = format!("{before}{open}\n{table}{close}{after}");
    }
    Ok(text)
}

/// Every table by its name, each ending in a line end.
fn tables() -> anyhow::Result<Vec<(&'static str, String)>> {
    let config = Settings::default().decide(Settings::default()).context("the default settings")?;
    Ok(vec![
        ("implementation", implementation()),
        ("transfer-syntaxes", transfer_syntaxes()),
        ("dimse-services", dimse_services()),
        ("statuses", statuses()),
        ("dicomweb-resources", resources()),
        ("search-keys", search_keys()),
        ("search-answers", search_answers()),
        ("character-sets", character_sets()),
        ("limits", limits(&config)),
    ])
}

/// Rows as a Markdown table.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn yes(what: bool) -> String {
    if what { "yes" } else { "–" }.to_owned()
}

fn implementation() -> String {
    let Implementation { class_uid, version_name } = Implementation::default();
    table(
        &["", ""],
        [
            vec!["Implementation Class UID".into(), class_uid],
            vec!["Implementation Version Name".into(), version_name],
        ],
    )
}

fn transfer_syntaxes() -> String {
    let rows = TransferSyntax::all().map(|syntax| {
        vec![
            format!("{} ({})", syntax.name(), syntax.uid()),
            yes(true),
            yes(qianli_imaging::can_decode(syntax)),
            yes(qianli_imaging::can_encode(syntax)),
            yes(syntax.is_lossy()),
        ]
    });
    table(&["transfer syntax", "received, kept and sent", "decoded", "encoded", "lossy"], rows)
}

/// The services that peers ask for, by an abstract syntax of each.
const SERVICES: &[(&str, &str)] = &[
    ("Verification (PS3.4 annex A)", VERIFICATION),
    ("Storage (annex B): e.g. CT Image Storage", "1.2.840.10008.5.1.4.1.1.2"),
    ("Storage: a private SOP class", "1.2.826.0.1.3680043.10.1459.1"),
    ("Query/Retrieve (annex C): Patient Root FIND", "1.2.840.10008.5.1.4.1.2.1.1"),
    ("Query/Retrieve: Patient Root MOVE", "1.2.840.10008.5.1.4.1.2.1.2"),
    ("Query/Retrieve: Patient Root GET", "1.2.840.10008.5.1.4.1.2.1.3"),
    ("Query/Retrieve: Study Root FIND", "1.2.840.10008.5.1.4.1.2.2.1"),
    ("Query/Retrieve: Study Root MOVE", "1.2.840.10008.5.1.4.1.2.2.2"),
    ("Query/Retrieve: Study Root GET", "1.2.840.10008.5.1.4.1.2.2.3"),
    ("Storage Commitment Push Model (annex J)", "1.2.840.10008.1.20.1"),
    ("Modality Worklist (annex K) FIND", "1.2.840.10008.5.1.4.31"),
    ("Modality Performed Procedure Step (annex F)", "1.2.840.10008.3.1.2.3.3"),
];

/// Abstract syntaxes for which our commands are users (`echo`, `send`, `find`, `move`, `get`,
/// `commit`).
fn as_user(uid: &str) -> bool {
    let find = [super::find::PATIENT_ROOT_FIND, super::find::STUDY_ROOT_FIND];
    let retrieve = [super::retrieve::MOVE, super::retrieve::GET].concat();
    uid == VERIFICATION
        || uid == crate::commitment::COMMITMENT
        || SopClassPolicy::All.accepts(uid)
        || find.contains(&uid)
        || retrieve.contains(&uid)
}

fn dimse_services() -> String {
    let rows = SERVICES.iter().map(|(name, uid)| {
        let accepted = crate::services::service(uid, SopClassPolicy::All.accepts(uid)).is_some();
        vec![format!("{name} ({uid})"), yes(accepted), yes(as_user(uid))]
    });
    table(&["service", "SCP", "SCU"], rows)
}

fn statuses() -> String {
    let success = vec![
        "0000".to_owned(),
        Status::SUCCESS.meaning().to_owned(),
        "object, name and rows are on disk".to_owned(),
        "–".to_owned(),
    ];
    let refusals = Refusal::each().into_iter().map(|refusal| {
        let code = refusal.code();
        let meaning = Status::new(code).meaning().to_owned();
        let again = if refusal.is_transient() { "later" } else { "no" };
        vec![format!("{code:04X}"), meaning, refusal.to_string(), again.to_owned()]
    });
    let rows = std::iter::once(success).chain(refusals);
    table(&["code", "the standard's name", "comment", "try again"], rows)
}

fn resources() -> String {
    let list = |items: &[&str]| match items {
        [] => "–".to_owned(),
        items => items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", "),
    };
    let rows = facts::resources().into_iter().map(|one| {
        let section = if one.section.is_empty() { "ours" } else { one.section };
        vec![
            one.group.to_owned(),
            format!("{} `{}`", one.verb, one.path),
            section.to_owned(),
            list(one.query),
            list(one.takes),
            list(one.gives),
        ]
    });
    table(
        &["service", "resource", "PS3.18", "parameters", "takes", "gives, the default first"],
        rows,
    )
}

fn named(tag: Tag) -> String {
    let keyword = tag.keyword().unwrap_or_default();
    let digits = tag.to_string();
    let (group, element) = digits.split_at(4);
    format!("{keyword} ({group},{element})")
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Study => "study",
        Level::Series => "series",
        Level::Instance => "instance",
    }
}

fn search_keys() -> String {
    let rows = INDEXED.iter().map(|(_, tag, level, kind)| {
        let matching = match kind {
            Kind::Text => "single value, list, wildcard; without regard to case",
            Kind::PersonName => "single value, list, wildcard; any component group, folded",
            Kind::Date | Kind::Time | Kind::DateTime => "single value, list, range",
            Kind::Uid => "UID, list of UIDs",
            Kind::Number | Kind::Decimal => "single value, list",
        };
        vec![named(*tag), level_name(*level).to_owned(), matching.to_owned()]
    });
    table(&["attribute", "level", "matching"], rows)
}

fn search_answers() -> String {
    let list = |tags: Vec<Tag>| tags.into_iter().map(named).collect::<Vec<_>>().join(", ");
    let rows = [Level::Study, Level::Series, Level::Instance].map(|level| {
        let (always, present) = facts::returned(level);
        vec![level_name(level).to_owned(), list(always), list(present)]
    });
    table(&["level", "always", "where there is a value"], rows)
}

fn character_sets() -> String {
    let rows = DEFINED_TERMS.iter().map(|(term, what)| {
        let known = Charset::parse(term.as_bytes(), Knowledge::default()).is_known();
        vec![(*term).to_owned(), (*what).to_owned(), yes(known)]
    });
    table(&["defined term", "character set", "decoded"], rows)
}

fn limits(config: &Config) -> String {
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    let size = |bytes: u64| HumanBytes(bytes).to_string();
    let scan = Limits::default();
    let mut rows = vec![
        ("largest object (`max_object`)", size(config.max_object)),
        ("depth of sequences", scan.max_depth.to_string()),
        ("data elements of an object, nested ones included", scan.max_elements.to_string()),
        ("fragments of pixel data", scan.max_fragments.to_string()),
        ("what a deflated data set may inflate to", size(scan.max_inflated)),
        ("DICOM JSON of one object", size(scan.max_json as u64)),
        ("one decoded frame", size(qianli_imaging::MAX_FRAME_BYTES as u64)),
        ("frames being converted, together (`pixel_memory`)", size(config.pixel_memory)),
        ("associations at once (`max_associations`)", config.max_associations.to_string()),
        (
            "associations at once from one address beyond loopback \
             (`max_associations_per_address`); more are rejected, 2-3-2",
            config.max_associations_per_address.remote.to_string(),
        ),
        (
            "HTTP connections at once from one address beyond loopback \
             (`max_connections_per_address`); more are 429",
            config.max_connections_per_address.remote.to_string(),
        ),
        ("longest P-DATA-TF PDU taken (`max_pdu`)", size(u64::from(config.max_pdu))),
        ("time to ask for an association (`artim_timeout`)", seconds(config.artim_timeout)),
        ("silence on an association (`idle_timeout`)", seconds(config.idle_timeout)),
    ];
    rows.extend(facts::limits());
    let rows = rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]);
    table(&["limit", "value; settings by their default"], rows)
}
