//! `qianli rebuild`: makes the rows of objects that have none, after the index was lost.

use std::process::ExitCode;

use super::import::bar;
use super::say::say;
use crate::app::App;
use crate::config::Config;

/// Arguments of `qianli rebuild`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Bring back what was deleted too, as far as its objects are still there.
    #[arg(long)]
    deleted: bool,
}

/// Rebuilds; exit code 1 when an object could not be read.
pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let app = App::open(config).await?;
    let bar = bar();
    let rebuilt = app
        .archive
        .rebuild(&app.scope(), arguments.deleted, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })
        .await?;
    bar.finish_and_clear();
    say!("into {} from {}", app.config.database_for_people(), app.config.store);
    say!("objects       {:>8}", rebuilt.seen);
    say!("had a row     {:>8}", rebuilt.known);
    say!("have one now  {:>8}", rebuilt.recorded);
    if rebuilt.copies > 0 {
        say!(
            "copies        {:>8}  of content that another object holds; `sweep` finds them",
            rebuilt.copies
        );
    }
    if rebuilt.deleted > 0 {
        say!(
            "deleted       {:>8}  left so: --deleted brings them back, `sweep` removes their objects",
            rebuilt.deleted
        );
    }
    for tenant in &rebuilt.tenants {
        say!("tenant        {:>8}  had no row any more; it is called restored-{0} now", tenant.0);
    }
    say!("damaged       {:>8}", rebuilt.damaged_count);
    for (key, reason) in &rebuilt.damaged {
        say!("  {key}: {reason}");
    }
    app.archive.catalog().close().await;
    Ok(if rebuilt.damaged_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
