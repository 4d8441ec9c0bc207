//! `qianli route`: rules by which studies are sent on, and deliveries, as the operator of the server sees them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use qianli_catalog::Catalog;
use qianli_catalog::routing::{DeliveriesOf, NewRule, WebAuth};
use qianli_model::peer::TitlePattern;
use qianli_model::routing::{Goal, When, Which, Window, is_name, is_safe_url};
use qianli_model::{Scope, StudyUid};

use super::people::{open, plain, tenant};
use super::say::say;
use crate::app::now_ms;
use crate::config::Config;

/// Deliveries that are listed.
const LISTED: u32 = 100;

/// Longest secret that is read (bytes).
const LONGEST_SECRET: u64 = 16 << 10;

/// Arguments of `qianli route`.
#[derive(Subcommand)]
pub(super) enum RouteCommand {
    /// Add a rule, and print its number. What is not named is any.
    Add {
        /// Where to: dicom:TITLE (a peer whose address is registered) or web:NAME (`route web add`).
        #[arg(long)]
        to: Goal,
        /// The calling AE title that brought the objects; * and ? stand for other characters.
        #[arg(long, value_name = "TITLE", value_parser = pattern)]
        from: Option<TitlePattern>,
        /// Modality; in this and the next, * and ? stand for other characters.
        #[arg(long, default_value = "")]
        modality: String,
        /// Body Part Examined.
        #[arg(long, default_value = "")]
        body_part: String,
        /// Station Name.
        #[arg(long, default_value = "")]
        station: String,
        /// Study Description or Series Description.
        #[arg(long, default_value = "")]
        description: String,
        /// Only at this time of the day, such as 22:00-06:00+08:00; without a distance it is UTC.
        #[arg(long)]
        window: Option<Window>,
        /// As objects come, not when the study is complete.
        #[arg(long)]
        at_once: bool,
        /// Ask the destination, a DICOM peer, whether it keeps what it took (storage commitment), and wait for it.
        #[arg(long)]
        commit: bool,
        /// What people call it.
        #[arg(long, default_value = "")]
        label: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List the rules of a tenant.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Remove a rule.
    Remove {
        /// Number of the rule.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Switch a rule off.
    Disable {
        /// Number of the rule.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Switch a rule on again.
    Enable {
        /// Number of the rule.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Say where a study that is here would go, and how many of its objects. Nothing is sent.
    Test {
        /// Its Study Instance UID.
        study: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List what is on its way, what arrived and what failed, the latest first.
    Deliveries {
        /// Only of this study.
        #[arg(long, default_value = "")]
        study: String,
        /// Only waiting, sending, committing, committed, delivered or failed.
        #[arg(long, default_value = "")]
        state: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Send a delivery once more: what has not arrived or was refused.
    Replay {
        /// Number of the delivery.
        number: i64,
        /// Also what the destination took.
        #[arg(long)]
        all: bool,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// DICOMweb services that rules send to.
    #[command(subcommand)]
    Web(WebCommand),
}

/// Arguments of `qianli route web`.
#[derive(Subcommand)]
pub(super) enum WebCommand {
    /// Add a DICOMweb service, or change the one of that name.
    Add {
        /// By which rules name it.
        name: String,
        /// Its address, to which /studies is added: https, or http on this machine.
        url: String,
        /// File with a bearer token for it; - for standard input.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["login", "password_file"])]
        token_file: Option<PathBuf>,
        /// Login for it.
        #[arg(long, requires = "password_file")]
        login: Option<String>,
        /// File with the password of the login; - for standard input.
        #[arg(long, value_name = "FILE", requires = "login")]
        password_file: Option<PathBuf>,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List them, without their secrets.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Remove one that no rule needs.
    Remove {
        /// Its name.
        name: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

fn pattern(text: &str) -> Result<TitlePattern, String> {
    TitlePattern::parse(text)
        .ok_or_else(|| format!("{text:?} is no AE title of 1 to 16 characters, and no pattern"))
}

/// Runs `qianli route`.
pub(super) async fn run(config: Config, command: RouteCommand) -> anyhow::Result<ExitCode> {
    let catalog = open(config).await?;
    let scope = async |of: &str| anyhow::Ok(Scope::local(tenant(&catalog, of).await?.id));
    match command {
        RouteCommand::Add {
            to,
            from,
            modality,
            body_part,
            station,
            description,
            window,
            at_once,
            commit,
            label,
            tenant: of,
        } => {
            plain("the label", &label)?;
            if commit && matches!(to, Goal::Web(_)) {
                bail!("DICOMweb has no storage commitment; --commit is for dicom:TITLE");
            }
            let scope = scope(&of).await?;
            let which = Which { source: from, modality, body_part, station, description };
            if !which.is_legal() {
                bail!("a pattern is too long or holds control characters");
            }
            let when = if at_once { When::AtOnce } else { When::Settled };
            let new = NewRule { label, which, to, window, when, commits: commit, at_ms: now_ms() };
            match catalog.add_route_rule(&scope, &new).await? {
                Some(number) => say!("{number}"),
                None => bail!(
                    "tenant {of:?} has no destination {}; `qianli peer add NAME HOST:PORT` and `qianli \
                     route web add` make them",
                    new.to
                ),
            }
        }
        RouteCommand::List { tenant: of } => list(&catalog, &scope(&of).await?).await?,
        RouteCommand::Remove { number, tenant: of } => {
            found(catalog.remove_route_rule(&scope(&of).await?, number).await?, number, &of)?;
        }
        RouteCommand::Disable { number, tenant: of } => {
            let done = catalog.set_route_rule_disabled(&scope(&of).await?, number, true).await?;
            found(done, number, &of)?;
        }
        RouteCommand::Enable { number, tenant: of } => {
            let done = catalog.set_route_rule_disabled(&scope(&of).await?, number, false).await?;
            found(done, number, &of)?;
        }
        RouteCommand::Test { study, tenant: of } => {
            let study = StudyUid::parse(&study).context("the Study Instance UID")?;
            let routes = catalog.routes_of(&scope(&of).await?, study.as_str(), true).await?;
            if routes.is_empty() {
                say!("no rule sends anything of this study, or it is not here");
            }
            for (to, objects) in routes {
                say!("{objects:>6} objects to {to}");
            }
        }
        RouteCommand::Deliveries { study, state, tenant: of } => {
            let scope = scope(&of).await?;
            for one in catalog.deliveries(&scope, &DeliveriesOf { study, state }, LISTED).await? {
                say!(
                    "{:>6} {:<10} {:<22} {:<64} {:>6} taken {:>6} kept {:>4} refused {:>3} tries{}{}",
                    one.id,
                    one.state,
                    one.to.to_string(),
                    one.study,
                    one.sent,
                    one.committed,
                    one.refused,
                    one.attempts,
                    if one.words.is_empty() { "" } else { "  " },
                    one.words,
                );
            }
        }
        RouteCommand::Replay { number, all, tenant: of } => {
            if !catalog.replay_delivery(&scope(&of).await?, number, all, now_ms()).await? {
                bail!(
                    "tenant {of:?} has no delivery {number}; `qianli route deliveries` lists them"
                );
            }
        }
        RouteCommand::Web(command) => web(&catalog, command).await?,
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(catalog: &Catalog, scope: &Scope) -> anyhow::Result<()> {
    for row in catalog.route_rules(scope).await? {
        let rule = row.rule;
        let mut which: Vec<String> = Vec::new();
        if let Some(source) = &rule.which.source {
            which.push(format!("from {source}"));
        }
        let names = ["modality", "body part", "station", "description"];
        for (name, word) in names.into_iter().zip(rule.which.words()) {
            if !word.is_empty() {
                which.push(format!("{name} {word}"));
            }
        }
        let window = rule.window.map(|window| format!(" {window}")).unwrap_or_default();
        let commits = if rule.commits { " commit" } else { "" };
        say!(
            "{:>6} {:<3} {:<22} {:<8}{window}{commits} {}  {}",
            rule.id,
            if rule.disabled { "off" } else { "on" },
            rule.to.to_string(),
            rule.when.as_str(),
            if which.is_empty() { "everything".into() } else { which.join(", ") },
            rule.label,
        );
    }
    Ok(())
}

async fn web(catalog: &Catalog, command: WebCommand) -> anyhow::Result<()> {
    match command {
        WebCommand::Add { name, url, token_file, login, password_file, tenant: of } => {
            let scope = Scope::local(tenant(catalog, &of).await?.id);
            if !is_name(&name) {
                bail!("a name is 1 to 32 letters, digits, - and _");
            }
            if !is_safe_url(&url) {
                bail!("{url:?} is not an https address, nor http on this machine");
            }
            let auth = match (token_file, login, password_file) {
                (Some(file), ..) => WebAuth::Bearer(secret(&file)?),
                (None, Some(login), Some(file)) => WebAuth::Basic(login, secret(&file)?),
                _ => WebAuth::Nothing,
            };
            // Who may do this may reach those networks anyhow.
            catalog.set_web_goal(&scope, &name, &url, &auth, true).await?;
        }
        WebCommand::List { tenant: of } => {
            let scope = Scope::local(tenant(catalog, &of).await?.id);
            for one in catalog.web_goals(&scope).await? {
                let trust = if one.trusted { "" } else { " (public addresses only)" };
                say!("{:<32} {} {} {}{trust}", one.name, one.url, one.auth, one.login);
            }
        }
        WebCommand::Remove { name, tenant: of } => {
            let scope = Scope::local(tenant(catalog, &of).await?.id);
            if !catalog.remove_web_goal(&scope, &name).await? {
                bail!("tenant {of:?} has no DICOMweb destination {name:?}, or a rule needs it");
            }
        }
    }
    Ok(())
}

/// The first line of a file: never an argument, which other users of the machine could read.
fn secret(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(LONGEST_SECRET).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text)),
    };
    read.with_context(|| format!("read the secret in {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || !line.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        bail!("{} holds no secret of printable ASCII characters", file.display());
    }
    Ok(line.to_owned())
}

fn found(found: bool, number: i64, tenant: &str) -> anyhow::Result<()> {
    if !found {
        bail!("tenant {tenant:?} has no rule {number}; `qianli route list` names those it has");
    }
    Ok(())
}
