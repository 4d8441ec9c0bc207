//! `qianli peer`: the register of DICOM peers, as the operator of the server sees it.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use qianli_catalog::peers::{IncidentsOf, NewPeer, PeerAdded};
use qianli_model::incident::named;
use qianli_model::peer::{CertificateRule, Network, TitlePattern};
use qianli_model::{AeTitle, Permissions, Scope};

use super::people::{open, permissions, plain, tenant};
use super::say::say;
use crate::app::now_ms;
use crate::config::Config;

/// Refused peers that are listed.
const LISTED: u32 = 50;

/// Arguments of `qianli peer`.
#[derive(Subcommand)]
pub(super) enum PeerCommand {
    /// Register a peer, or peers by a pattern, and print the number of the row.
    Add {
        /// Its calling AE title; * and ? stand for other characters.
        #[arg(value_parser = pattern)]
        calling: TitlePattern,
        /// Only when it calls this AE title, which must be one of the tenant's. Without, any that
        /// no other tenant has.
        #[arg(long, value_name = "TITLE")]
        called: Option<AeTitle>,
        /// Only from this address or network, such as 10.1.2.3 or 10.1.0.0/16.
        #[arg(long, value_name = "NETWORK")]
        from: Option<Network>,
        /// Only with this certificate: its SHA-256 or its subject. Needs dimse_tls_client_ca.
        #[arg(long, value_name = "SHA256|SUBJECT", value_parser = certificate)]
        certificate: Option<CertificateRule>,
        /// What it may do, separated by commas: store, read.
        #[arg(long, value_name = "PERMISSION", default_value = "store", value_parser = permissions)]
        may: Permissions,
        /// What people call it.
        #[arg(long, default_value = "")]
        label: String,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List the register of a tenant.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// List who was refused lately, and what: `qianli doctor ae NAME` says what to do.
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
    /// Remove a row.
    Remove {
        /// Number of the row.
        number: i64,
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

fn pattern(text: &str) -> Result<TitlePattern, String> {
    TitlePattern::parse(text)
        .ok_or_else(|| format!("{text:?} is no AE title of 1 to 16 characters, and no pattern"))
}

fn certificate(text: &str) -> Result<CertificateRule, String> {
    CertificateRule::parse(text)
        .ok_or_else(|| format!("{text:?} is neither a SHA-256 nor the subject of a certificate"))
}

/// Runs `qianli peer`.
pub(super) async fn run(config: Config, command: PeerCommand) -> anyhow::Result<ExitCode> {
    let catalog = open(config).await?;
    match command {
        PeerCommand::Add { calling, called, from, certificate, may, label, tenant: of } => {
            plain("the label", &label)?;
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            let asked = called.clone();
            if called.is_none() && calling.as_str() == TitlePattern::ANY && of != "default" {
                eprintln!(
                    "warning: this row takes the images of every device that no other row names and \
                     that calls the server's own AE title; --called TITLE would take only those meant \
                     for tenant {of:?}"
                );
            }
            let new = NewPeer {
                label,
                calling,
                called,
                network: from,
                certificate,
                permissions: may,
                at_ms: now_ms(),
            };
            match catalog.add_peer(&scope, &new).await? {
                PeerAdded::Made(number) => say!("{number}"),
                PeerAdded::Taken => bail!("tenant {of:?} has a row for these peers already"),
                PeerAdded::NotYourTitle => {
                    let title = asked.map(|title| title.to_string()).unwrap_or_default();
                    bail!(
                        "tenant {of:?} does not have the AE title {title}; `qianli tenant ae {of} \
                         {title}` gives it"
                    );
                }
            }
        }
        PeerCommand::List { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            for peer in catalog.peers(&scope).await? {
                let rule = peer.rule;
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
            }
        }
        PeerCommand::Refused { tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            for one in catalog.incidents(&scope, IncidentsOf::Everybody, LISTED).await? {
                let peer = one.incident;
                say!(
                    "{:>6} times  {:<16} to {:<16} from {:<18} {}{}{}",
                    one.times,
                    peer.calling,
                    peer.called,
                    peer.address,
                    peer.cause,
                    if peer.subject.is_empty() { "" } else { ": " },
                    named(&peer.subject),
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
        PeerCommand::Remove { number, tenant: of } => {
            let scope = Scope::local(tenant(&catalog, &of).await?.id);
            found(catalog.remove_peer(&scope, number).await?, number, &of)?;
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
