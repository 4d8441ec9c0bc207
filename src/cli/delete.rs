//! `qianli delete` and `qianli restore`: what an operator takes out, and back in.

use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::HumanBytes;
use qianli_catalog::types::{Deletion, Target};
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid};

use super::admin::exists;
use super::say::say;
use crate::app::App;
use crate::config::Config;

/// Deletions that are listed.
const LISTED: u32 = 50;

/// Arguments of `qianli delete`.
#[derive(clap::Args)]
pub(super) struct DeleteArguments {
    /// Study Instance UID.
    #[arg(value_name = "STUDY")]
    study: String,
    /// Only this series of it.
    #[arg(long, value_name = "UID")]
    series: Option<String>,
    /// Only this instance of the series.
    #[arg(long, value_name = "UID", requires = "series")]
    instance: Option<String>,
    /// Do it; without this, only say what would go.
    #[arg(long)]
    yes: bool,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

/// Arguments of `qianli restore`.
#[derive(clap::Args)]
pub(super) struct RestoreArguments {
    /// Number of the deletion.
    #[arg(value_name = "NUMBER")]
    deletion: Option<i64>,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

/// Deletes, or says what would go. Exit code 1 when it is not here.
pub(super) async fn delete(config: Config, arguments: DeleteArguments) -> anyhow::Result<ExitCode> {
    let target = Target {
        study: StudyUid::parse(&arguments.study).context("the study")?,
        series: arguments
            .series
            .as_deref()
            .map(SeriesUid::parse)
            .transpose()
            .context("--series")?,
        instance: arguments
            .instance
            .as_deref()
            .map(SopInstanceUid::parse)
            .transpose()
            .context("--instance")?,
    };
    let app = open(config).await?;
    let scope = app.scope_of(&arguments.tenant).await?;
    let done = if arguments.yes {
        let deletion = app.archive.delete(&scope, &target, "command line", "").await?;
        if let Some(deletion) = &deletion {
            print(deletion);
            let of = match arguments.tenant.as_str() {
                "default" => String::new(),
                name => format!(" --tenant {name}"),
            };
            say!("`qianli restore {}{of}` undoes it", deletion.id);
        }
        deletion.is_some()
    } else {
        let found = app.archive.locate(&scope, &target).await?;
        let bytes: u64 = found.iter().map(|location| location.blob_size).sum();
        say!("{} instances, {}; add --yes to delete them", found.len(), HumanBytes(bytes));
        !found.is_empty()
    };
    app.archive.catalog().close().await;
    if !done {
        say!("nothing here has these UIDs");
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Undoes a deletion, or lists the latest.
pub(super) async fn restore(
    config: Config,
    arguments: RestoreArguments,
) -> anyhow::Result<ExitCode> {
    let app = open(config).await?;
    let scope = app.scope_of(&arguments.tenant).await?;
    match arguments.deletion {
        Some(id) => {
            let restored = app.archive.restore(&scope, id).await;
            let restored = restored.with_context(|| format!("undo deletion {id}"))?;
            say!("restored  {:>8}", restored.restored);
            if restored.replaced > 0 {
                say!("replaced  {:>8}  arrived anew since and are left", restored.replaced);
            }
        }
        None => {
            let deletions = app.archive.deletions(&scope, LISTED).await?;
            deletions.iter().for_each(print);
            if deletions.is_empty() {
                say!("nothing was deleted that could be restored");
            }
        }
    }
    app.archive.catalog().close().await;
    Ok(ExitCode::SUCCESS)
}

async fn open(config: Config) -> anyhow::Result<App> {
    if !exists(&config) {
        bail!("there is no archive in {}; give --data or --database", config.data.display());
    }
    App::open(config).await
}

fn print(deletion: &Deletion) {
    let Deletion { id, study, series, instance, instances, bytes, .. } = deletion;
    let uid = [instance, series, study].into_iter().find(|uid| !uid.is_empty());
    say!(
        "{id:>6}  {:<9}  {instances:>8} instances  {:>10}  {}  by {}",
        deletion.state.as_str(),
        HumanBytes(bytes.unsigned_abs()).to_string(),
        uid.map_or("", |uid| uid.as_str()),
        deletion.by
    );
}
