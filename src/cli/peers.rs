//! `qianli peer`: the register of DICOM peers, as the operator of the server sees it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use qianli_catalog::peers::{IncidentsOf, NewPeer, PeerAdded};
use qianli_model::destination::{
    Destination, DestinationTls, Identity, MOST_ASSOCIATIONS, is_address,
};
use qianli_model::peer::{CertificateRule, Network, TitlePattern};
use qianli_model::{AeTitle, Permissions, Scope, TransferSyntax};

use super::peer::EchoArguments;
use super::people::{open, permissions, plain, tenant};
use super::say::say;
use crate::app::now_ms;
use crate::config::{Config, Size};

/// Refused peers that are listed.
const LISTED: u32 = 50;

/// Arguments of `qianli peer`.
#[derive(Subcommand)]
pub(super) enum PeerCommand {
    /// Register a peer, or peers by a pattern, and print the number of the row. With host:port it is
    /// a destination too: objects can be sent, moved and routed to it.
    Add {
        /// Its AE title; in a calling title * and ? stand for other characters.
        #[arg(value_parser = pattern, value_name = "NAME")]
        calling: TitlePattern,
        /// Where it is reached, host:port. From an address, it may call us from there alone.
        #[arg(value_parser = address, value_name = "HOST:PORT")]
        address: Option<String>,
        #[command(flatten)]
        way: Way,
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

/// Variables of the environment with the secrets of a user identity: a command line can be read by
/// others on the machine.
pub(super) const PASSCODE: &str = "QIANLI_PEER_PASSCODE";
pub(super) const TOKEN: &str = "QIANLI_PEER_TOKEN";

/// How a destination is called.
#[derive(clap::Args)]
pub(super) struct Way {
    /// Call it over TLS.
    #[arg(long, requires = "address")]
    tls: bool,
    /// The name in its certificate, when it is not the host.
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// File with the authorities of its certificate, PEM; else those that this machine trusts.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Transfer syntaxes that it is to get, by UID, the best first; else as stored where it can.
    #[arg(long, value_name = "UID,...", value_delimiter = ',', value_parser = syntax, requires = "address")]
    syntaxes: Vec<TransferSyntax>,
    /// Send it nothing in other transfer syntaxes than those.
    #[arg(long, requires = "syntaxes")]
    only: bool,
    /// Associations that may be open to it at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ASSOCIATIONS)))]
    associations: u32,
    /// At most so many bytes per second, such as 2MB; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = bytes)]
    bandwidth: u64,
    /// Show it this user name, with the passcode of the variable QIANLI_PEER_PASSCODE if there is
    /// one. In place of both, the variable QIANLI_PEER_TOKEN may hold a JSON Web Token.
    #[arg(long, value_name = "NAME", requires = "address")]
    user: Option<String>,
}

impl Way {
    fn destination(self, title: AeTitle, address: String) -> anyhow::Result<Destination> {
        let authorities = match self.tls_ca {
            Some(path) => path.canonicalize().context("the file of --tls-ca")?,
            None => PathBuf::new(),
        };
        let secret = |name| std::env::var(name).ok().filter(|secret| !secret.is_empty());
        let identity = match (self.user, secret(PASSCODE), secret(TOKEN)) {
            (Some(user), Some(passcode), _) => Some(Identity::Password(user, passcode)),
            (Some(user), None, _) => Some(Identity::Username(user)),
            (None, _, token) => token.map(Identity::Jwt),
        };
        Ok(Destination {
            tls: self.tls.then(|| DestinationTls {
                server_name: self.tls_name.unwrap_or_default(),
                authorities: authorities.to_string_lossy().into_owned(),
            }),
            syntaxes: self.syntaxes,
            only_these: self.only,
            associations: self.associations,
            bandwidth: self.bandwidth,
            identity,
            ..Destination::new(title, address)
        })
    }
}

fn address(text: &str) -> Result<String, String> {
    match is_address(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no host:port, such as 10.0.0.5:104")),
    }
}

fn syntax(text: &str) -> Result<TransferSyntax, String> {
    TransferSyntax::from_uid(text)
        .ok_or_else(|| format!("{text:?} is the UID of no transfer syntax that we know"))
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<Size>().map(|size| size.0)
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
    let command = match command {
        PeerCommand::Echo(arguments) => return super::peer::echo(config, arguments).await,
        other => other,
    };
    let catalog = open(config).await?;
    match command {
        PeerCommand::Echo(_) => {}
        PeerCommand::Add {
            calling,
            address,
            way,
            called,
            mut from,
            certificate,
            may,
            label,
            tenant: of,
        } => {
            plain("the label", &label)?;
            let destination = match address {
                Some(address) => {
                    let title = AeTitle::parse(calling.as_str())?;
                    if !calling.is_exact() {
                        bail!("{calling} is a pattern: what is at an address has one AE title");
                    }
                    let destination = way.destination(title, address)?;
                    // A name may mean another address tomorrow.
                    from = from.or_else(|| destination.host().parse().ok());
                    Some(destination)
                }
                None => None,
            };
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
                PeerAdded::Taken if destination.is_some() => {}
                PeerAdded::Taken => bail!("tenant {of:?} has a row for these peers already"),
                PeerAdded::NotYourTitle => {
                    let title = asked.map(|title| title.to_string()).unwrap_or_default();
                    bail!(
                        "tenant {of:?} does not have the AE title {title}; `qianli tenant ae {of} \
                         {title}` gives it"
                    );
                }
            }
            if let Some(destination) = destination {
                let is_new = catalog.put_destination(&scope, &destination, now_ms()).await?;
                let Destination { title, address, .. } = &destination;
                let did = if is_new { "is now a destination" } else { "was changed" };
                eprintln!("{title} at {address} {did}; `qianli peer echo {title}` tries it");
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
            for row in catalog.destinations(&scope).await? {
                let to = row.destination;
                let syntaxes: Vec<&str> = to.syntaxes.iter().map(|one| one.uid()).collect();
                let mut notes = vec![format!("{} associations", to.associations)];
                notes.extend((to.bandwidth > 0).then(|| format!("{} bytes/s", to.bandwidth)));
                notes.extend(to.tls.map(|_| "TLS".to_owned()));
                notes.extend((!syntaxes.is_empty()).then(|| {
                    format!("{}{}", if to.only_these { "only " } else { "" }, syntaxes.join(","))
                }));
                notes.extend(to.identity.map(|one| format!("user identity ({})", one.kind())));
                say!("    -> {:<16} at {:<24} {}", to.title, to.address, notes.join(", "));
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
