//! `qianli audit`: proves, shows and exports the audit trail.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use qianli_catalog::{
    AuditEntry, AuditFilter, AuditOrder, AuditRow, Catalog, ChainReport, Exported,
};
use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, TenantId};
use serde_json::json;

use super::admin::exists;
use super::say::say;
use crate::app::{now_ms, open_catalog};
use crate::audit::{json as json_of, message, time};
use crate::config::Config;

/// Rows read at a time.
const PAGE: u32 = 1000;

/// Largest file of exported hashes that is read (bytes).
const LARGEST_EXPORT: u64 = 4 << 30;

/// Arguments of `qianli audit`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Compute every hash again. Exit code 1 when something was altered or removed, with the place.
    Verify(VerifyArguments),
    /// Show who did or saw what, the latest first.
    List(ListArguments),
    /// Write the trail out, the earliest first, with its hashes.
    Export(ExportArguments),
}

/// Arguments of `qianli audit verify`.
#[derive(clap::Args)]
struct VerifyArguments {
    /// Compare with what left the system earlier too: the output of `audit verify` or `audit export`,
    /// or a log of the syslog server.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// One JSON object per chain.
    #[arg(long)]
    json: bool,
}

/// Which rows.
#[derive(clap::Args)]
struct Wanted {
    /// From this time on: 2026-11-01T08:00:00Z, 2026-11-01, or so long ago: 24h, 30d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// Who did it: AE title or account.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Study Instance UID.
    #[arg(long, value_name = "UID")]
    study: Option<String>,
    /// Patient ID; finds studies that are here now.
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// What was done, such as "store" or "read pixels".
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Option<Action>,
    /// How it ended: success, "not found", refused or failed.
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<Outcome>,
}

/// Arguments of `qianli audit list`.
#[derive(clap::Args)]
struct ListArguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Rows at most.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// One JSON object per row.
    #[arg(long)]
    json: bool,
}

/// Arguments of `qianli audit export`.
#[derive(clap::Args)]
struct ExportArguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Audit messages of DICOM PS3.15 (XML), or one JSON object per row.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// File to write; without it, standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Json,
    Dicom,
}

/// Runs one of the commands.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    if !exists(&config) {
        bail!("there is no archive in {}; give --data or --database", config.data.display());
    }
    let catalog = open_catalog(&config).await?;
    catalog.migrate().await.context("bring the index to this version's schema")?;
    let done = match arguments.command {
        Command::Verify(arguments) => verify(&catalog, &arguments).await,
        Command::List(arguments) => list(&catalog, arguments).await,
        Command::Export(arguments) => export(&catalog, &config, arguments).await,
    };
    catalog.close().await;
    done
}

async fn verify(catalog: &Catalog, arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let exported = match &arguments.against {
        Some(path) => read_exported(path)?,
        None => Exported::new(),
    };
    let reports = catalog.verify_audit(&exported).await?;
    let (mut rows, mut wrong) = (0, 0);
    for report in &reports {
        rows += report.rows;
        wrong += u32::from(report.fault.is_some());
        match arguments.json {
            true => say!("{}", report_json(report)),
            false => print(report),
        }
    }
    if !arguments.json {
        let compared = exported.len();
        match wrong {
            0 => say!("{rows} rows, each as it was written; {compared} compared with an export"),
            _ => say!("{wrong} chain(s) were tampered with or damaged"),
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report_json(report: &ChainReport) -> serde_json::Value {
    let head = report.head.as_ref();
    json!({
        "chain": report.chain,
        "number": head.map(|(number, _)| number),
        "hash": head.map(|(_, hash)| hash),
        "rows": report.rows,
        "bad_row": report.fault.as_ref().map(qianli_catalog::Fault::number),
        "fault": report.fault.as_ref().map(ToString::to_string),
    })
}

/// A line that `--against` understands, unless the chain was never used.
fn print(report: &ChainReport) {
    match (&report.fault, &report.head) {
        (Some(fault), _) => say!("chain {}: BAD: {fault}", report.chain),
        (None, Some((0, _)) | None) => {}
        (None, Some((number, hash))) => {
            say!("chain {} number {number} hash {hash} ok", report.chain);
        }
    }
}

async fn list(catalog: &Catalog, arguments: ListArguments) -> anyhow::Result<ExitCode> {
    let mut left = arguments.limit;
    let mut filter = arguments.wanted.filter(AuditOrder::NewestFirst);
    note(catalog, "list").await?;
    let tenants = catalog.tenants().await?.into_iter().map(|one| (one.id.0, one.name)).collect();
    while left > 0 {
        let page = catalog.audit_of_all(&filter, left.min(PAGE)).await?;
        let Some(last) = page.last() else { break };
        filter.after = Some((last.entry.at_ms, last.chain, last.number));
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        for row in &page {
            match arguments.json {
                true => say!("{}", json_of(row)),
                false => say!("{}", line(row, &tenants)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &AuditRow, tenants: &HashMap<i64, String>) -> String {
    let tenant = match tenants.get(&row.entry.tenant) {
        Some(name) => name.clone(),
        None => format!("tenant {}", row.entry.tenant),
    };
    let details = match row.entry.details.as_str() {
        "{}" => String::new(),
        details => format!("  {details}"),
    };
    let entry = &row.entry;
    let who = [&entry.principal_kind, &entry.principal, &entry.peer];
    let who: Vec<&str> =
        who.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let what = [&entry.instance, &entry.series, &entry.study];
    let what = what.into_iter().find(|uid| !uid.is_empty()).map_or("-", |uid| uid.as_str());
    let action = match entry.outcome.as_str() {
        "success" => entry.action.clone(),
        outcome => format!("{} ({outcome})", entry.action),
    };
    format!(
        "{}  {tenant:<12}  {action:<26}  {:<32}  {what}  {} instances, {} requests{details}",
        time(entry.at_ms),
        who.join(" "),
        entry.instances,
        entry.requests
    )
}

async fn export(
    catalog: &Catalog,
    config: &Config,
    arguments: ExportArguments,
) -> anyhow::Result<ExitCode> {
    let mut filter = arguments.wanted.filter(AuditOrder::OldestFirst);
    // What is written while this runs, this very export first of all, is for the next one.
    filter.until_ms = Some(filter.until_ms.unwrap_or(i64::MAX).min(now_ms()));
    note(catalog, "export").await?;
    let mut out: Box<dyn Write + Send> = match &arguments.output {
        Some(path) => Box::new(BufWriter::new(create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let source = config.aet.to_string();
    if matches!(arguments.format, Format::Dicom) {
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AuditMessages>")?;
    }
    let mut rows = 0_u64;
    loop {
        let page = catalog.audit_of_all(&filter, PAGE).await?;
        let Some(last) = page.last() else { break };
        filter.after = Some((last.entry.at_ms, last.chain, last.number));
        for row in &page {
            rows += 1;
            match arguments.format {
                Format::Json => writeln!(out, "{}", json_of(row))?,
                // The comment is what `audit verify --against` compares.
                Format::Dicom => writeln!(
                    out,
                    "<!-- chain={} number={} hash={} -->{}",
                    row.chain,
                    row.number,
                    row.hash,
                    message::message(row, &source)
                )?,
            }
        }
    }
    if matches!(arguments.format, Format::Dicom) {
        writeln!(out, "</AuditMessages>")?;
    }
    out.flush().context("write the export")?;
    if let Some(path) = &arguments.output {
        say!("{rows} rows written to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates the file for its owner alone: it says who looked at which study.
fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).with_context(|| format!("write {}", path.display()))
}

/// Reading the trail leaves a row too.
async fn note(catalog: &Catalog, how: &str) -> anyhow::Result<()> {
    let scope = Scope::local(TenantId::DEFAULT);
    let entry = AuditEntry::new(&scope, Action::ReadAudit, Outcome::Success, now_ms());
    let entry = entry.with(&json!({ "command": how }));
    catalog.write_audit(vec![entry]).await.context("note that the audit trail is read")
}

impl Wanted {
    fn filter(self, order: AuditOrder) -> AuditFilter {
        AuditFilter {
            since_ms: self.since,
            until_ms: self.until,
            principal: self.principal,
            who: None,
            study: self.study,
            patient_id: self.patient,
            action: self.action,
            outcome: self.outcome,
            order,
            after: None,
        }
    }
}

fn action(word: &str) -> Result<Action, String> {
    let words = || Action::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
    Action::parse(word).ok_or_else(|| format!("it can be {}", words()))
}

fn outcome(word: &str) -> Result<Outcome, String> {
    let words = || Outcome::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
    Outcome::parse(word).ok_or_else(|| format!("it can be {}", words()))
}

/// A time, or how long ago it was, as ms since 1970.
fn moment(text: &str) -> Result<i64, String> {
    let ms = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let day = || humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z"));
    if let Ok(at) = humantime::parse_rfc3339_weak(text).or_else(|_| day()) {
        return Ok(ms(at));
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "write 2026-11-01T08:00:00Z, 2026-11-01, or how long ago: 24h".to_owned())?;
    Ok(SystemTime::now().checked_sub(ago).map_or(0, ms))
}

/// The hashes of a file, whichever of our outputs it is.
fn read_exported(path: &Path) -> anyhow::Result<Exported> {
    use std::io::BufRead;
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("open {shown}"))?;
    if file.metadata()?.len() > LARGEST_EXPORT {
        bail!("{shown} is too large; split it and compare one part after the other");
    }
    let mut exported = Exported::new();
    let mut line = Vec::new();
    let mut reader = std::io::BufReader::new(file);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).with_context(|| format!("read {shown}"))? == 0 {
            break;
        }
        if let Some((place, hash)) = exported_row(&String::from_utf8_lossy(&line)) {
            exported.insert(place, hash);
        }
    }
    if exported.is_empty() {
        bail!("{shown} holds no hashes of an audit trail");
    }
    Ok(exported)
}

/// Chain, number and hash of a line: `chain 9 number 12 hash …`, `"chain":9,…` or `chain="9" …`.
fn exported_row(line: &str) -> Option<((i64, i64), String)> {
    let chain = field(line, "chain")?.parse().ok()?;
    let number: i64 = field(line, "number")?.parse().ok()?;
    let hash = field(line, "hash")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hash && number > 0).then(|| ((chain, number), hash.to_owned()))
}

/// The word behind a name that stands alone.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in line.match_indices(name) {
        let (before, rest) = (&line[..at], &line[at + name.len()..]);
        if before.ends_with(is_word) || rest.starts_with(is_word) {
            continue;
        }
        let value = rest.trim_start_matches(['"', '\'', ':', '=', ' ']);
        let end = value.find(|c| !is_word(c)).unwrap_or(value.len());
        if end > 0 {
            return value.get(..end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_in_every_output() {
        let hash = "0123456789abcdef".repeat(4);
        let place = Some(((9, 12), hash.clone()));
        for line in [
            format!("chain 9 number 12 hash {hash} ok"),
            format!("{{\"chain\":9,\"number\":12,\"previous_hash\":\"ff\",\"hash\":\"{hash}\"}}"),
            format!("<85>1 t h q 1 X [audit@32473 chain=\"9\" number=\"12\" hash=\"{hash}\"] <A/>"),
            format!("<!-- chain=9 number=12 hash={hash} --><AuditMessage/>"),
        ] {
            assert_eq!(exported_row(&line), place, "{line}");
        }
        for line in ["", "chain 9 number 12", "chain 9 number 0 hash x", "blockchain 1"] {
            assert_eq!(exported_row(line), None, "{line}");
        }
    }

    #[test]
    fn times_are_moments_or_ages() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1000));
        let hour = now_ms() - moment("1h").unwrap();
        assert!((3_600_000..3_660_000).contains(&hour), "{hour}");
        assert!(moment("yesterday").is_err());
    }
}
