//! `qianli import`: files into the archive, with a progress bar and a summary.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::say::say;
use crate::app::App;
use crate::config::Config;
use crate::import::{Summary, import};

/// Arguments of `qianli import`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files, folders, zip archives.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Files at a time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

/// Imports; exit code 1 when a file was refused.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let app = App::open(config).await?;
    let scope = app.scope_of(&arguments.tenant).await?;
    let progress = bar();
    let parallel = usize::from(arguments.parallel);
    let summary = import(&app.archive, &scope, &arguments.paths, parallel, &progress).await?;
    progress.finish_and_clear();
    say!("into {} and {}", app.config.database_for_people(), app.config.store);
    print(&summary);
    app.archive.catalog().close().await;
    let clean = summary.refused_total() == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The progress bar of commands that work through files; silent where there is no terminal.
pub(super) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files  {per_sec}  {eta} left");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(summary: &Summary) {
    say!("stored        {:>8}", summary.stored);
    say!("already here  {:>8}", summary.already_here);
    if summary.superseded > 0 {
        say!(
            "superseded    {:>8}  other content under a known UID; the new one answers",
            summary.superseded
        );
    }
    say!("not DICOM     {:>8}", summary.not_dicom);
    say!("refused       {:>8}", summary.refused_total());
    say!("bytes         {:>8}", HumanBytes(summary.bytes).to_string());
    for (reason, count) in &summary.refused {
        say!("  {count} x {reason}");
    }
    for (name, reason) in &summary.refused_files {
        say!("  {name}: {reason}");
    }
}
