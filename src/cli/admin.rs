//! `qianli migrate`, `qianli doctor`, `qianli sweep`: what an operator needs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use indicatif::HumanBytes;
use qianli_archive::{Blobs, BlobsConfig, SweepMode};
use qianli_model::workitem::instant::date_time;
use qianli_model::{Scope, TenantId};
use tokio::net::TcpListener;

use super::say::say;
use crate::app::{App, names, now_ms, open_catalog};
use crate::config::{Config, Span};

/// Studies with a patient conflict that `doctor` names.
const SHOWN_CONFLICTS: u32 = 10;

/// Arguments of `qianli sweep`.
#[derive(clap::Args)]
pub(super) struct SweepArguments {
    /// Remove what is found; without it, only say.
    #[arg(long)]
    remove: bool,
    /// Remove it even when so much has no row that the index is rather lost or the wrong one.
    #[arg(long, requires = "remove")]
    force: bool,
    /// Leave objects alone that are younger than this: they may be on their way in.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    grace: Span,
    /// No node is running on this archive, so that nothing is on its way in: allows a short grace.
    #[arg(long)]
    offline: bool,
}

/// Shortest grace beside a running node: an object's row may follow this much later.
const SHORTEST_GRACE: Duration = Duration::from_secs(3600);

/// Arguments of `qianli doctor`.
#[derive(clap::Args)]
pub(super) struct DoctorArguments {
    /// Look for the object of every row, not only of the newest.
    #[arg(long)]
    objects: bool,
    #[command(subcommand)]
    subject: Option<DoctorSubject>,
}

/// What `qianli doctor` looks at instead of the node.
#[derive(clap::Subcommand)]
enum DoctorSubject {
    /// Why a DICOM peer is refused or loses images: what it did lately, and what to do.
    Ae(super::doctor_ae::AeArguments),
}

/// Refused HL7 messages that `doctor` names of each tenant.
const REFUSED_HL7: u32 = 5;

/// Rows whose objects `doctor` looks for when it is not told to look for all.
pub(super) const NEWEST: u64 = 200;

/// Brings the index to this version's schema, and to the attributes of this configuration.
pub(super) async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&config.data)?;
    let catalog = open_catalog(&config).await?;
    let applied = catalog.migrate().await?;
    say!("{}: {applied} migration(s) applied", config.database_for_people());
    if let Some(before) = catalog.other_attributes().await? {
        catalog.prepare_search().await?;
        crate::jobs::ask_for_backfill(&catalog).await?;
        say!(
            "indexed_attributes: [{}] instead of [{}]; `serve` fills in what is stored",
            names(&config.indexed_attributes),
            names(&before)
        );
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Removes (or lists) orphans. Exit code 1 when it refused to remove.
pub(super) async fn sweep(config: Config, arguments: SweepArguments) -> anyhow::Result<ExitCode> {
    if !exists(&config) {
        bail!("there is no archive in {}; give --data or --database", config.data.display());
    }
    if arguments.remove && !arguments.offline && arguments.grace.0 < SHORTEST_GRACE {
        bail!(
            "a grace below an hour would remove objects that are on their way in; stop every node \
             of this archive and add --offline, or give --grace 1h or more"
        );
    }
    let app = App::open(config).await?;
    let mode = match (arguments.remove, arguments.force) {
        (false, _) => SweepMode::Look,
        (true, false) => SweepMode::Remove,
        (true, true) => SweepMode::Force,
    };
    let swept = app.archive.sweep(now_ms(), arguments.grace.0, mode).await?;
    app.archive.catalog().close().await;
    say!("objects  {:>8}", swept.seen);
    say!("young    {:>8}  left alone", swept.young);
    let refused = swept.doubtful && mode == SweepMode::Remove;
    let what = match mode {
        SweepMode::Look => "would be removed; add --remove",
        _ if refused => "NOT removed",
        _ => "removed",
    };
    say!("orphans  {:>8}  {}, {what}", swept.orphans, HumanBytes(swept.orphan_bytes));
    if swept.doubtful {
        say!(
            "So many objects without a row are not what a crash leaves: the index was lost, or it \
             belongs to another store. `qianli rebuild` makes lost rows again. --remove --force removes the objects for good."
        );
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether the index is there already, so that looking does not make one.
pub(super) fn exists(config: &Config) -> bool {
    match config.database.strip_prefix("sqlite:") {
        Some(path) => std::path::Path::new(path.strip_prefix("//").unwrap_or(path)).is_file(),
        None => true,
    }
}

/// Checks everything a node stands on. Exit code 1 when something is wrong.
pub(super) async fn doctor(config: Config, arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    if let Some(DoctorSubject::Ae(arguments)) = arguments.subject {
        return super::doctor_ae::run(config, arguments).await;
    }
    let mut report = Report::default();
    check_database(&config, &mut report).await;
    check_store(&config, &mut report).await;
    check_objects(&config, (!arguments.objects).then_some(NEWEST), &mut report).await;
    check_ports(&config, &mut report).await;
    check_certificates(&config, &mut report);
    check_spool(&config, &mut report);
    check_clock(&mut report);
    match &config.viewer {
        Some(folder) => report.good("viewer", format!("{}", folder.display())),
        None => report.hint("viewer", "none; run `make viewer` and give --viewer ./viewer".into()),
    }
    Ok(if report.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Report {
    bad: u32,
}

impl Report {
    fn good(&mut self, what: &str, text: String) {
        say!("ok    {what:<9} {text}");
    }

    fn hint(&mut self, what: &str, text: String) {
        say!("note  {what:<9} {text}");
    }

    fn bad(&mut self, what: &str, text: String) {
        self.bad += 1;
        say!("BAD   {what:<9} {text}");
    }
}

/// Whether what the index promises is in the store.
async fn check_objects(config: &Config, most: Option<u64>, report: &mut Report) {
    // Database and store have been reported already.
    if !exists(config) {
        return;
    }
    let Ok(app) = App::open(config.clone()).await else { return };
    match app.archive.check_objects(most).await {
        Ok(checked) if checked.lost == 0 => report.good(
            "objects",
            match most {
                Some(_) => {
                    format!("the newest {} are in the store; --objects asks for all", checked.rows)
                }
                None => format!("all {} are in the store", checked.rows),
            },
        ),
        Ok(checked) => {
            report.bad(
                "objects",
                format!(
                    "{} of {} are not in {} or have another length: is it the right store? Sending \
                     them again heals them",
                    checked.lost, checked.rows, config.store
                ),
            );
            for lost in checked.listed {
                say!(
                    "      study {} instance {} object {}",
                    lost.study,
                    lost.instance,
                    lost.blob_key
                );
            }
        }
        Err(error) => report.bad("objects", error.to_string()),
    }
    check_hl7(&app, report).await;
    app.archive.catalog().close().await;
}

/// HL7 messages that were refused lately, with their reasons and nothing of what they said.
async fn check_hl7(app: &App, report: &mut Report) {
    let catalog = app.archive.catalog();
    let Ok(tenants) = catalog.tenants().await else { return };
    for tenant in tenants {
        let scope = Scope::local(tenant.id);
        let Ok(refused) = catalog.hl7_refusals(&scope, REFUSED_HL7).await else { return };
        if refused.is_empty() {
            continue;
        }
        report.hint("hl7", format!("refused lately, of {}:", tenant.name));
        for one in refused {
            let at = date_time(one.at_ms);
            let place = if one.place.is_empty() { "" } else { " " };
            say!(
                "      {} {} from {} ({}) control ID {}: {} {}{place}{}",
                at.get(..14).unwrap_or_default(),
                one.kind,
                one.sender,
                one.address,
                one.control_id,
                one.code,
                one.place,
                one.reason
            );
        }
    }
}

async fn check_database(config: &Config, report: &mut Report) {
    if !exists(config) {
        let place = config.database_for_people();
        return report.hint("database", format!("{place}: nothing here yet; `serve` makes it"));
    }
    let place = config.database_for_people();
    let catalog = match open_catalog(config).await {
        Ok(catalog) => catalog,
        Err(error) => return report.bad("database", format!("{error:#}")),
    };
    match catalog.ping().await {
        Ok(()) => report.good("database", format!("{place} answers")),
        Err(error) => report.bad("database", format!("{place}: {error}")),
    }
    if let Ok(Some(theirs)) = catalog.other_attributes().await {
        report.bad(
            "search",
            format!(
                "indexed_attributes is [{}] here, but the archive indexes [{}]; `serve` needs the \
                 same, `qianli migrate` changes the archive to what is here",
                names(&config.indexed_attributes),
                names(&theirs)
            ),
        );
    }
    // A database of an older release has no such table; `serve` brings it up to date.
    let waiting = catalog.backfills().await.unwrap_or_default();
    for row in waiting.iter().filter(|row| !row.done) {
        let (name, position) = (&row.name, row.position);
        let percent = catalog.backfill_percent(row).await.unwrap_or_default();
        let lacking = match name.as_str() {
            "names" => "older studies are not found by the sound of a name yet",
            _ => "searches for it compare rows until then",
        };
        report.hint(
            "search",
            format!(
                "{name}: back-fill is at row {position} ({percent} %), `serve` goes on; {lacking}"
            ),
        );
    }
    let scope = Scope::system(TenantId::DEFAULT, "doctor");
    // An index of an older release has no such list yet; that is no finding.
    let conflicts = catalog.patient_conflicts(&scope, SHOWN_CONFLICTS).await.unwrap_or_default();
    if !conflicts.is_empty() {
        let studies: Vec<&str> = conflicts.iter().map(|one| one.study.as_str()).collect();
        report.hint(
            "patients",
            format!(
                "studies with images of more than one patient; look at /dicom-web/conflicts: {}",
                studies.join(", ")
            ),
        );
    }
    catalog.close().await;
}

async fn check_store(config: &Config, report: &mut Report) {
    let local = config.store.strip_prefix("file://").map(std::path::Path::new);
    if let Some(folder) = local.filter(|folder| !folder.is_dir()) {
        return report.hint("store", format!("{}: nothing here yet", folder.display()));
    }
    let blobs = match Blobs::open(&BlobsConfig { url: config.store.clone() }) {
        Ok(blobs) => blobs,
        Err(error) => return report.bad("store", error.to_string()),
    };
    let advice = match blobs.local_root() {
        Some(_) => "check the folder's owner and the disk",
        None => "check the endpoint and the credentials in the environment",
    };
    match tokio::time::timeout(Duration::from_secs(20), blobs.check()).await {
        Ok(Ok(())) => report.good("store", format!("{} answers", blobs.describe())),
        Ok(Err(error)) => report.bad("store", format!("{}: {error}; {advice}", blobs.describe())),
        Err(_) => report.bad("store", format!("{}: no answer in 20 s; {advice}", blobs.describe())),
    }
    if matches!(blobs.is_empty().await, Ok(false)) && index_is_empty(config).await {
        report.bad(
            "index",
            "it is empty but the store is not: the index was lost or is the wrong one; put the \
             right one back before anything else"
                .into(),
        );
    }
    if let Some(root) = blobs.local_root() {
        check_disk(root, report).await;
    }
}

async fn index_is_empty(config: &Config) -> bool {
    if !exists(config) {
        return true;
    }
    let Ok(catalog) = open_catalog(config).await else { return false };
    let scope = Scope::system(TenantId::DEFAULT, "doctor");
    let totals = catalog.totals(&scope).await;
    catalog.close().await;
    totals.is_ok_and(|totals| totals.instances == 0)
}

/// Free room, by `df`: the standard library cannot tell.
async fn check_disk(root: &std::path::Path, report: &mut Report) {
    let output = tokio::process::Command::new("df").arg("-Pk").arg(root).output().await;
    let free = output.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()
    });
    match free.map(|kib| kib << 10) {
        Some(free) if free < 10 << 30 => {
            report.bad("disk", format!("{} free; make room or move the store", HumanBytes(free)));
        }
        Some(free) => report.good("disk", format!("{} free", HumanBytes(free))),
        None => report.hint("disk", "`df` does not answer; look at the free room yourself".into()),
    }
}

async fn check_ports(config: &Config, report: &mut Report) {
    let secure = config.dimse_tls.map(|address| ("dimse-tls", address));
    let listeners = [("http", config.http), ("dimse", config.dimse)];
    for (name, address) in listeners.into_iter().chain(secure) {
        match TcpListener::bind(address).await {
            Ok(_) => report.good(name, format!("{address} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                report.hint(
                    name,
                    format!("{address} is in use: by a running node, or choose another"),
                );
            }
            Err(error) => report.bad(name, format!("{address}: {error}")),
        }
    }
}

fn check_certificates(config: &Config, report: &mut Report) {
    let dimse = config.dimse_tls_files.as_ref().filter(|_| config.dimse_tls.is_some());
    for (name, files) in [("tls", config.tls.as_ref()), ("dimse tls", dimse)] {
        let Some(files) = files else { continue };
        match crate::tls::inspect(files) {
            Ok(facts) => {
                let text = format!("{} holds until {}", facts.subject, facts.until());
                match facts.trouble(crate::tls::SOON) {
                    None => report.good(name, text),
                    Some(trouble) if trouble.is_serious() => {
                        report.bad(name, format!("{text}: it {trouble}; renew it"));
                    }
                    Some(trouble) => report.hint(name, format!("{text}: it {trouble}; renew it")),
                }
            }
            Err(error) => report.bad(name, format!("{error:#}")),
        }
    }
}

fn check_spool(config: &Config, report: &mut Report) {
    let path = &config.spool;
    if !path.is_dir() {
        return report.hint("spool", format!("{}: nothing here yet", path.display()));
    }
    let probe = path.join(".probe");
    // As large as an image: a full disk takes empty files.
    let written = std::fs::write(&probe, vec![0; 1 << 20]);
    let _ = std::fs::remove_file(probe);
    match written {
        Ok(()) => report.good("spool", format!("{} takes writes", path.display())),
        Err(error) => {
            report.bad("spool", format!("{}: {error}; choose another --spool", path.display()));
        }
    }
}

fn check_clock(report: &mut Report) {
    // 2024-01-01: a clock before this was never set; object stores refuse requests from it.
    match now_ms() {
        now if now < 1_704_067_200_000 => {
            report.bad("clock", "it is not set; start time synchronisation".into())
        }
        _ => report.good("clock", "set".into()),
    }
}
