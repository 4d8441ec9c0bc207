//! `qianli peer`: the register of DICOM peers, as the operator of the server sees it.

mod edit;
mod reading;
mod way;

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use qianli_catalog::peers::IncidentsOf;
use qianli_model::incident::Tongue;
use qianli_model::{AeTitle, Scope};

use self::edit::{AddArguments, ChangeArguments};
pub(super) use self::way::{PASSCODE, TOKEN};
use super::peer::EchoArguments;
use super::people::{open, tenant};
use super::say::say;
use crate::config::Config;

/// Refused peers that are listed.
const LISTED: u32 = 50;

/// Arguments of `qianli peer`.
#[derive(Subcommand)]
pub(super) enum PeerCommand {
    /// Register a peer, or peers by a pattern, and print the number of the row. With host:port it is
    /// a destination too: objects can be sent, moved and routed to it.
    Add(AddArguments),
    /// Change a row: what it may do, from where, its label; or where and how a destination is reached.
    /// What is not said stays as it is.
    Change(ChangeArguments),
    /// List the register of a tenant.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List who was refused lately; `qianli doctor ae NAME` tells all of a peer, and what to do.
    Refused {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Switch a row off: whom it means is refused.
    Disable {
        /// Number of the row.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Switch a row on again.
    Enable {
        /// Number of the row.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Remove a row by its number, or a destination with the rows of its title by the name.
    Remove {
        /// Number of the row, or the AE title of a destination.
        row: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Ask a registered peer whether it is there (C-ECHO).
    Echo(EchoArguments),
}

/// Runs `qianli peer`.
pub(super) async fn run(config: Config, command: PeerCommand) -> anyhow::Result<ExitCode> {
    let command = match command {
        PeerCommand::Echo(arguments) => return super::peer::echo(config, arguments).await,
        other => other,
    };
    let catalog = open(config).await?;
    match command {
        PeerCommand::Echo(_) => {}
        PeerCommand::Add(arguments) => edit::add(&catalog, arguments).await?,
        PeerCommand::Change(arguments) => edit::change(&catalog, arguments).await?,
        PeerCommand::List { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let register = catalog.peer_register(0).await?.unwrap_or_default();
            for peer in catalog.peers(&scope).await? {
                let rule = peer.rule;
                let concerns = register.concerns(&rule);
                let any = |text: Option<String>| text.unwrap_or_else(|| "any".into());
                say!(
                    "{:>6} {:<3} {:<16} to {:<16} from {:<18} {:<12} {}{}",
                    rule.id,
                    if rule.disabled { "off" } else { "on" },
                    rule.calling.as_str(),
                    any(rule.called.map(|title| title.to_string())),
                    any(rule.network.map(|network| network.to_string())),
                    rule.permissions.names(),
                    rule.label,
                    rule.certificate
                        .map(|one| format!("  certificate {}", one.as_str()))
                        .unwrap_or_default(),
                );
                if !rule.coercions.is_none() {
                    say!("       {}", rule.coercions);
                }
                for concern in concerns {
                    say!("       {}", concern.words(Tongue::English));
                }
            }
            for row in catalog.destinations(&scope).await? {
                let to = row.destination;
                say!("    -> {:<16} at {:<24} {}", to.title, to.address, way::shown(&to));
            }
        }
        PeerCommand::Refused { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            for one in catalog.incidents(&scope, IncidentsOf::Refused, LISTED).await? {
                let peer = one.incident;
                say!(
                    "{:>6} times  {:<16} to {:<16} from {:<18} {}",
                    one.times,
                    peer.calling,
                    peer.called,
                    peer.address,
                    peer.cause,
                );
            }
        }
        PeerCommand::Disable { number, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            found(catalog.set_peer_disabled(&scope, number, true).await?, number, &of)?;
        }
        PeerCommand::Enable { number, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            found(catalog.set_peer_disabled(&scope, number, false).await?, number, &of)?;
        }
        PeerCommand::Remove { row, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let rows = catalog.peers(&scope).await?;
            let of_title = |title: &AeTitle| {
                let exact = rows.iter().filter(|row| row.rule.calling.is_exact());
                exact.filter(|row| row.rule.calling.matches(title)).map(|row| row.rule.id).collect()
            };
            let is_number = row.parse().ok().filter(|id| rows.iter().any(|row| row.rule.id == *id));
            let title = AeTitle::parse(&row);
            let numbers: Vec<i64> = match (is_number, &title) {
                (Some(number), _) => vec![number],
                (None, Ok(title)) => of_title(title),
                (None, Err(_)) => Vec::new(),
            };
            let mut removed = false;
            if let (None, Ok(title)) = (is_number, &title) {
                removed = catalog.remove_destination(&scope, title).await?;
            }
            for number in numbers {
                removed |= catalog.remove_peer(&scope, number).await?;
            }
            if !removed {
                bail!("tenant {of:?} has no peer {row}; `qianli peer list` names those it has");
            }
        }
    }
    catalog.close().await;
    Ok(ExitCode::SUCCESS)
}

fn found(found: bool, number: i64, tenant: &str) -> anyhow::Result<()> {
    if !found {
        bail!("tenant {tenant:?} has no peer {number}; `qianli peer list` names those it has");
    }
    Ok(())
}
