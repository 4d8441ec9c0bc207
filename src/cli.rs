//! The command line: arguments, and one file per command.

mod admin;
mod audit;
mod commit;
mod concern;
mod conformance;
mod delete;
mod doctor_ae;
mod export;
mod find;
mod import;
mod peer;
mod peers;
mod people;
mod rebuild;
mod retrieve;
mod route;
mod say;
mod send;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{FromArgMatches, Parser, Subcommand};

use crate::config::{Config, LogFormat, Settings, unknown_variables};

/// Medical imaging server: DIMSE in, DICOMweb out, object storage underneath.
#[derive(Parser)]
#[command(name = "qianli", version, max_term_width = 100, args_override_self = true)]
struct Arguments {
    /// Settings file; without it, ./qianli.toml is read if present.
    #[arg(long, env = "QIANLI_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node: DIMSE listener, DICOMweb, pages.
    Serve,
    /// Bring files in: folders, zip archives, media with a DICOMDIR. Running it again is harmless.
    Import(import::Arguments),
    /// Take studies out into a folder or a zip file, also without the patients' identities. Running
    /// it again finishes what was broken off.
    Export(export::Arguments),
    /// Send files to a DIMSE peer (C-STORE).
    Send(send::Arguments),
    /// Ask a DIMSE peer whether it is there (C-ECHO).
    Echo(peer::EchoArguments),
    /// Query a DIMSE peer (C-FIND).
    Find(find::Arguments),
    /// Tell a DIMSE peer to send objects to another (C-MOVE).
    Move(retrieve::MoveArguments),
    /// Fetch objects from a DIMSE peer into a folder (C-GET).
    Get(retrieve::GetArguments),
    /// Ask a DIMSE peer whether it has objects for good (storage commitment).
    Commit(commit::Arguments),
    /// Bring the index to this version's schema, which `serve` does by itself, and to other
    /// indexed_attributes, which only this does.
    Migrate,
    /// Check database, store, ports, disk and clock, and say what to do; `ae NAME` tells of a DICOM peer.
    Doctor(admin::DoctorArguments),
    /// Delete a study, a series or an instance; `restore` undoes it within the grace period.
    Delete(delete::DeleteArguments),
    /// Undo a deletion by its number; without one, list the latest deletions.
    Restore(delete::RestoreArguments),
    /// Make accounts, set roles and passwords.
    #[command(subcommand)]
    User(people::UserCommand),
    /// Make and list tenants: hospitals and reading centres that share this archive.
    #[command(subcommand)]
    Tenant(people::TenantCommand),
    /// Make, list and revoke API tokens for programs.
    #[command(subcommand)]
    Token(people::TokenCommand),
    /// Register DICOM peers, and see who was refused.
    #[command(subcommand)]
    Peer(peers::PeerCommand),
    /// Send studies on: rules, DICOMweb destinations, and what became of each study.
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Print the tables of the conformance statement (docs/CONFORMANCE.md).
    Conformance(conformance::Arguments),
    /// Prove, show or export the audit trail.
    Audit(audit::Arguments),
    /// Remove objects that no row points at, left by a crash.
    Sweep(admin::SweepArguments),
    /// Make the rows of objects that have none, after the index was lost. Objects stay in place.
    Rebuild(rebuild::Arguments),
}

/// Runs the program and returns its exit code: 0 done, 1 failed, 2 wrong usage.
pub fn run() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let config = match settings(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("qianli: {error:#}");
            return ExitCode::from(2);
        }
    };
    let quiet = !matches!(arguments.command, Command::Serve);
    if !quiet {
        crate::allocator::fix_thresholds();
    }
    if let Err(error) = start_logging(&config, quiet) {
        eprintln!("qianli: {error:#}");
        return ExitCode::from(2);
    }
    warn_of_unknown_variables();
    // One crypto provider for every client; without it the first TLS connection would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was already installed");
    }
    // Threads that read and render are kept through the pauses of a person who reads images: the
    // first image after one should not wait for new threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(60))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("qianli: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::run(config).await,
            Command::Import(arguments) => import::run(config, arguments).await,
            Command::Export(arguments) => export::run(config, arguments).await,
            Command::Send(arguments) => send::run(config, arguments).await,
            Command::Echo(arguments) => peer::echo(config, arguments).await,
            Command::Find(arguments) => find::run(config, arguments).await,
            Command::Move(arguments) => retrieve::move_to(config, arguments).await,
            Command::Get(arguments) => retrieve::get(config, arguments).await,
            Command::Commit(arguments) => commit::run(config, arguments).await,
            Command::Migrate => admin::migrate(config).await,
            Command::Doctor(arguments) => admin::doctor(config, arguments).await,
            Command::Delete(arguments) => delete::delete(config, arguments).await,
            Command::Restore(arguments) => delete::restore(config, arguments).await,
            Command::User(command) => people::user(config, command).await,
            Command::Tenant(command) => people::tenants(config, command).await,
            Command::Token(command) => people::token(config, command).await,
            Command::Peer(command) => peers::run(config, command).await,
            Command::Route(command) => route::run(config, command).await,
            Command::Conformance(arguments) => conformance::run(&arguments),
            Command::Audit(arguments) => audit::run(config, arguments).await,
            Command::Sweep(arguments) => admin::sweep(config, arguments).await,
            Command::Rebuild(arguments) => rebuild::run(config, arguments).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("qianli: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; every command takes the settings that concern it.
fn parse() -> Result<Arguments, clap::Error> {
    let mut command = concern::command::<Arguments>();
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    concern::check(&mut command, &matches)?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Says which variables of the environment were meant as settings and are none.
fn warn_of_unknown_variables() {
    let names: Vec<String> =
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    for text in unknown_variables(&concern::variables(), names.iter().map(String::as_str)) {
        tracing::warn!("{text}");
    }
}

fn settings(arguments: &Arguments) -> anyhow::Result<Config> {
    let file = match &arguments.config {
        Some(path) => Settings::from_file(path)?,
        None if Path::new("qianli.toml").is_file() => {
            Settings::from_file(Path::new("qianli.toml"))?
        }
        None => Settings::default(),
    };
    arguments.settings.clone().decide(file)
}

/// Logs go to standard error; standard output is for what a command answers.
fn start_logging(config: &Config, quiet: bool) -> anyhow::Result<()> {
    let wanted = if quiet && config.log == "info" { "warn" } else { &config.log };
    let filter = tracing_subscriber::EnvFilter::try_new(wanted)
        .with_context(|| format!("the log filter {wanted:?}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(say::LogOutput::default);
    match config.log_format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
