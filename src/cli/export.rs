//! `qianli export`: studies out of the archive, as they are stored or without the patients'
//! identities.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::HumanBytes;
use qianli_archive::Pseudonymous;
use qianli_model::deidentify::{MaskRules, Options, PatientTable, Project};
use qianli_model::query::{
    Indexed, Level, Path as AttributePath, PathCondition, parse_path_rule, parse_rule,
};
use qianli_model::{Query, StudyUid};

use super::admin::exists;
use super::import::bar;
use super::say::say;
use crate::app::App;
use crate::config::Config;
use crate::export::{Destination, Export, Summary, export};

/// Bytes of a key that is made.
const KEY_LENGTH: usize = 32;

/// Longest file of a key, of rules or of pseudonyms (bytes).
const LONGEST_FILE: u64 = 16 << 20;

/// Says with which project and options a folder was filled.
const NOTE: &str = "deidentified.txt";

/// Arguments of `qianli export`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["study", "patient", "query", "all"])))]
#[command(group(clap::ArgGroup::new("where").required(true).args(["folder", "zip"])))]
pub(super) struct Arguments {
    /// The folder to fill: patient/study/series/instance.dcm.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A zip file to make instead.
    #[arg(long, value_name = "FILE")]
    zip: Option<PathBuf>,
    /// A study, by its Study Instance UID; may be given several times.
    #[arg(long, value_name = "UID")]
    study: Vec<String>,
    /// All studies of a patient, by Patient ID; may be given several times.
    #[arg(long, value_name = "ID")]
    patient: Vec<String>,
    /// Studies that match as in QIDO-RS: 'StudyDate=20260101-&ModalitiesInStudy=CT'.
    #[arg(long, value_name = "QIDO")]
    query: Option<String>,
    /// Every study.
    #[arg(long, conflicts_with_all = ["study", "patient", "query"])]
    all: bool,
    /// Remove identities (PS3.15 annex E), with the pseudonyms of this project (A-Z, 0-9, - and _).
    #[arg(long, value_name = "PROJECT", requires = "project_key")]
    deidentify: Option<String>,
    /// The project's secret; made when the file is not there. Keep it: who has it can find out
    /// whose pseudonym it is, and without it later exports get other pseudonyms.
    #[arg(long, value_name = "FILE", requires = "deidentify")]
    project_key: Option<PathBuf>,
    /// What stays beside the basic profile, with commas: modified-dates or full-dates,
    /// patient-characteristics, device, institution, uids, safe-private, descriptors,
    /// structured-content, graphics.
    #[arg(long, value_name = "OPTIONS", default_value = "", requires = "deidentify")]
    options: String,
    /// Rules for pixels to black out (TOML): [[rule]] with modality, manufacturer, model, rows,
    /// columns, and rectangles = [[x, y, width, height]].
    #[arg(long, value_name = "FILE", requires = "deidentify")]
    masks: Option<PathBuf>,
    /// Pseudonyms of your own: a line of Patient ID, tab, pseudonym for each patient.
    #[arg(long, value_name = "FILE", requires = "deidentify")]
    patients: Option<PathBuf>,
    /// Also export what may have names burned into its pixels and has no rule.
    #[arg(long, requires = "deidentify")]
    include_burned_in: bool,
    /// Objects at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

/// Exports. Exit code 1 when nothing was found or an object could not be written, 2 for arguments
/// that cannot be meant.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let prepared = prepare(&arguments);
    let (what, destination) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("qianli: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    if !exists(&config) {
        bail!("there is no archive in {}; give --data or --database", config.data.display());
    }
    let app = App::open(config).await?;
    let scope = app.scope_of(&arguments.tenant).await?;
    let progress = bar();
    let done = export(&app.archive, &scope, &what, &destination, &progress).await;
    progress.finish_and_clear();
    app.archive.catalog().close().await;
    let summary = done?;
    print(&summary);
    if summary.studies == 0 {
        say!("no study matches");
    }
    let clean = summary.failed_total() == 0 && summary.studies > 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads everything that the arguments name; nothing is opened or made but the key.
fn prepare(arguments: &Arguments) -> anyhow::Result<(Export, Destination)> {
    let queries = queries(arguments)?;
    let destination = match (&arguments.folder, &arguments.zip) {
        (Some(folder), None) => Destination::Folder(folder.clone()),
        (None, Some(zip)) => Destination::Zip(zip.clone()),
        _ => bail!("give a folder or --zip"),
    };
    let mut pseudonymous = None;
    if let (Some(name), Some(key)) = (&arguments.deidentify, &arguments.project_key) {
        let options: Options = arguments.options.parse().context("--options")?;
        // Checked before a key is made for it.
        Project::new(name, &[0; KEY_LENGTH]).context("--deidentify")?;
        let rules = arguments.masks.as_deref().map(masks).transpose()?;
        let patients = arguments.patients.as_deref().map(patients).transpose()?;
        let secret = secret(key)?;
        let mut project = Project::new(name, &secret).context("--project-key")?;
        if let Some(patients) = patients {
            project = project.with_patients(patients).context("--patients")?;
        }
        let mut how = Pseudonymous::new(Arc::new(project), options);
        if let Some(rules) = rules {
            how = how.masked_by(rules);
        }
        if arguments.include_burned_in {
            how = how.with_doubtful();
        }
        if let Destination::Folder(folder) = &destination {
            note(folder, &how, &options)?;
        }
        pseudonymous = Some(how);
    }
    let parallel = usize::from(arguments.parallel);
    Ok((Export { queries, pseudonymous, parallel }, destination))
}

fn queries(arguments: &Arguments) -> anyhow::Result<Vec<Query>> {
    let everything = || Query::all(Level::Study, 0);
    let mut queries = Vec::new();
    for study in &arguments.study {
        let uid = StudyUid::parse(study).context("--study")?;
        queries.push(everything().equals(Indexed::StudyInstanceUid, uid.as_str()));
    }
    for patient in &arguments.patient {
        queries.push(everything().equals(Indexed::PatientId, patient.as_str()));
    }
    if let Some(text) = &arguments.query {
        let mut query = everything();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                bail!("--query: {pair:?} is no ATTRIBUTE=VALUE");
            };
            condition(&mut query, name, value).with_context(|| format!("--query: {name}"))?;
        }
        queries.push(query);
    }
    if arguments.all {
        queries.push(everything());
    }
    Ok(queries)
}

fn condition(query: &mut Query, name: &str, value: &str) -> anyhow::Result<()> {
    let Some(path) = AttributePath::parse(name) else { bail!("there is no such attribute") };
    if let Some(attribute) = Indexed::from_tag(path.outermost()).filter(|_| path.steps().len() == 1)
    {
        if attribute.level() != Level::Study {
            bail!("it is no attribute of studies");
        }
        if let Some(rule) = parse_rule(attribute, value)? {
            *query = query.clone().with(attribute, rule);
        }
        return Ok(());
    }
    if let Some(rule) = parse_path_rule(&path, value)? {
        query.paths.push(PathCondition { path, rule });
    }
    Ok(())
}

/// The project's secret, made if the file is not there.
fn secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    match fs::File::open(path) {
        Ok(file) => {
            let mut secret = Vec::new();
            let limited = file.take(LONGEST_FILE).read_to_end(&mut secret);
            limited.with_context(|| format!("read {}", path.display()))?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut random = [0; KEY_LENGTH];
            let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
            source.read_exact(&mut random).context("read /dev/urandom")?;
            let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = format!("{text}\n");
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut file = file.with_context(|| format!("make {}", path.display()))?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .context("write the key")?;
            eprintln!("made a new key in {}; keep it safe and secret", path.display());
            Ok(text.into_bytes())
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
    let limited = file.take(LONGEST_FILE).read_to_string(&mut text);
    limited.with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}

fn masks(path: &Path) -> anyhow::Result<MaskRules> {
    let context = || format!("the mask rules in {}", path.display());
    let rules: MaskRules = toml::from_str(&read(path)?).with_context(context)?;
    rules.check().with_context(context)?;
    Ok(rules)
}

fn patients(path: &Path) -> anyhow::Result<PatientTable> {
    let mut table = PatientTable::new();
    for (index, line) in read(path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((id, pseudonym)) = line.split_once('\t') else {
            bail!("line {} of {} has no tab", index + 1, path.display());
        };
        table.insert(id.trim().to_owned(), pseudonym.trim().to_owned());
    }
    Ok(table)
}

/// Keeps a folder to one project and one set of options: files of an earlier run are not looked into.
fn note(folder: &Path, how: &Pseudonymous, options: &Options) -> anyhow::Result<()> {
    let project = &how.how().project;
    // A UID's pseudonym tells keys apart and gives nothing away.
    let text = format!(
        "De-identified by qianli export\nproject {}\nkey {}\noptions {options}\n",
        project.name(),
        project.uid("1.2.3")
    );
    let path = folder.join(NOTE);
    match fs::read_to_string(&path) {
        Ok(there) if there == text => Ok(()),
        Ok(_) => bail!(
            "{} was filled with another project, key or options; choose another folder",
            folder.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)
                .with_context(|| format!("make the folder {}", folder.display()))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn print(summary: &Summary) {
    let left_out: u64 = summary.left_out.values().sum();
    say!("studies       {:>8}", summary.studies);
    say!("written       {:>8}", summary.written);
    say!("already there {:>8}", summary.already_there);
    say!("left out      {:>8}", left_out);
    say!("failed        {:>8}", summary.failed_total());
    say!("bytes         {:>8}", HumanBytes(summary.bytes).to_string());
    for (reason, count) in &summary.left_out {
        say!("  {count} x left out: {reason}");
    }
    for (reason, count) in &summary.failed {
        say!("  {count} x failed: {reason}");
    }
    for (instance, reason) in &summary.failed_objects {
        say!("  {instance}: {reason}");
    }
}
