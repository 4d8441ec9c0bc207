//! `qianli peer add` and `qianli peer change`.

use std::str::FromStr;

use anyhow::bail;
use qianli_catalog::Catalog;
use qianli_catalog::peers::{NewPeer, PeerAdded, PeerChange, PeerChanged, PeerRow};
use qianli_model::destination::Destination;
use qianli_model::incident::Tongue;
use qianli_model::peer::{CertificateRule, Network, PeerRule, TitlePattern};
use qianli_model::{AeTitle, Permissions, Scope};

use super::reading::ReadAs;
use super::way::{Way, address};
use crate::app::now_ms;
use crate::cli::people::{permissions, plain, tenant};
use crate::cli::say::say;

/// What a new row may where nothing is said.
const USUAL: &str = "store";

/// Said after whatever changes the register.
const SOON: &str = "a running server knows it within five seconds";

/// What a peer may do, in the help of both commands.
const MAY: &str = "What it may do, separated by commas: store (send images, ask for storage \
    commitment), read (query and retrieve), worklist (ask for the modality worklist, report procedure \
    steps). Other permissions mean nothing to a DICOM peer";

/// Something, or the word any for whatever comes.
#[derive(Debug, Clone)]
struct Any<T>(Option<T>);

impl<T: FromStr> FromStr for Any<T>
where
    T::Err: ToString,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self(None)),
            text => {
                text.parse().map(|one| Self(Some(one))).map_err(|error: T::Err| error.to_string())
            }
        }
    }
}

/// Arguments of `qianli peer add`.
#[derive(clap::Args)]
pub(in crate::cli) struct AddArguments {
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
    #[arg(long, value_name = "PERMISSION", value_parser = permissions, help = format!("{MAY} [default: {USUAL}]"))]
    may: Option<Permissions>,
    #[command(flatten)]
    reading: ReadAs,
    /// What people call it.
    #[arg(long, default_value = "")]
    label: String,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

/// Arguments of `qianli peer change`.
#[derive(clap::Args)]
pub(in crate::cli) struct ChangeArguments {
    /// Number of the row, or an AE title that one row or destination has.
    #[arg(value_name = "NUMBER|TITLE")]
    row: String,
    /// Where the destination of this title is reached now, host:port.
    #[arg(value_parser = address, value_name = "HOST:PORT")]
    address: Option<String>,
    #[command(flatten)]
    way: Way,
    /// Call the destination without TLS.
    #[arg(long, conflicts_with_all = ["tls", "tls_name", "tls_ca"])]
    no_tls: bool,
    #[arg(long, value_name = "PERMISSION", value_parser = permissions, help = MAY)]
    may: Option<Permissions>,
    /// Only when it calls this AE title; any: whatever no other tenant has.
    #[arg(long, value_name = "TITLE|any")]
    called: Option<Any<AeTitle>>,
    /// Only from this address or network; any: from anywhere.
    #[arg(long, value_name = "NETWORK|any")]
    from: Option<Any<Network>>,
    /// Only with this certificate, by SHA-256 or subject; any: with any or none.
    #[arg(long, value_name = "SHA256|SUBJECT|any")]
    certificate: Option<String>,
    #[command(flatten)]
    reading: ReadAs,
    /// What people call it.
    #[arg(long)]
    label: Option<String>,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
}

fn pattern(text: &str) -> Result<TitlePattern, String> {
    TitlePattern::parse(text)
        .ok_or_else(|| format!("{text:?} is no AE title of 1 to 16 characters, and no pattern"))
}

fn certificate(text: &str) -> Result<CertificateRule, String> {
    CertificateRule::parse(text)
        .ok_or_else(|| format!("{text:?} is neither a SHA-256 nor the subject of a certificate"))
}

/// The end of a command for this tenant.
fn option_of(tenant: &str) -> String {
    match tenant {
        "default" => String::new(),
        name => format!(" --tenant {name}"),
    }
}

/// Says what is perhaps not meant.
async fn warn(catalog: &Catalog, rule: &PeerRule) -> anyhow::Result<()> {
    let register = catalog.peer_register(0).await?.unwrap_or_default();
    for concern in register.concerns(rule) {
        eprintln!("warning: row {}: {}", rule.id, concern.words(Tongue::English));
    }
    Ok(())
}

async fn row(catalog: &Catalog, scope: &Scope, id: i64) -> anyhow::Result<Option<PeerRule>> {
    let rows = catalog.peers(scope).await?;
    Ok(rows.into_iter().map(|row| row.rule).find(|rule| rule.id == id))
}

/// Registers a peer and prints the number of its row.
pub(super) async fn add(catalog: &Catalog, arguments: AddArguments) -> anyhow::Result<()> {
    let AddArguments { calling, address, way, called, mut from, .. } = arguments;
    let AddArguments { certificate, may, reading, label, tenant: of, .. } = arguments;
    plain("the label", &label)?;
    let scope = Scope::local(tenant(catalog, &of).await?.id);
    let option = option_of(&of);
    let destination = match address {
        None if way.is_said() => {
            bail!("say where {calling} is reached (HOST:PORT) to say how it is called")
        }
        None => None,
        Some(address) => {
            if !calling.is_exact() {
                bail!("{calling} is a pattern: what is at an address has one AE title");
            }
            let title = AeTitle::parse(calling.as_str())?;
            let mut destination = Destination::new(title.clone(), address);
            way.apply(&mut destination)?;
            let there = catalog.destination(&scope, &title).await?;
            if let Some(there) = there.filter(|there| *there != destination) {
                bail!(
                    "{title} is a destination already, at {}; `qianli peer change {title} {}{option}` \
                     moves it, with the options that are to change",
                    there.address,
                    destination.address
                );
            }
            // A name may mean another address tomorrow.
            from = from.or_else(|| destination.host().parse().ok());
            Some(destination)
        }
    };
    let permissions = match may {
        Some(may) => may,
        None => permissions(USUAL).map_err(anyhow::Error::msg)?,
    };
    let asked = called.clone();
    let at_ms = now_ms();
    let coercions = reading.apply(None)?;
    let new = NewPeer {
        label,
        calling,
        called,
        network: from,
        certificate,
        permissions,
        coercions,
        at_ms,
    };
    match catalog.add_peer(&scope, &new).await? {
        PeerAdded::Made(number) => {
            say!("{number}");
            eprintln!("row {number} may {}; {SOON}", permissions.names());
            if let Some(rule) = row(catalog, &scope, number).await? {
                warn(catalog, &rule).await?;
            }
        }
        PeerAdded::Taken(number) => {
            let rule = row(catalog, &scope, number).await?;
            let may_now = rule.map(|rule| rule.permissions.names()).unwrap_or_default();
            let same = may.is_none_or(|may| may.names() == may_now);
            let instead =
                format!("`qianli peer change {number} --may {}{option}`", permissions.names());
            if destination.is_none() || !same {
                bail!(
                    "row {number} is for these peers already, and lets them {may_now}; {instead} \
                     changes that; nothing was changed"
                );
            }
            eprintln!("row {number} is for this peer already, and lets it {may_now}");
        }
        PeerAdded::NotYourTitle => {
            let title = asked.map(|title| title.to_string()).unwrap_or_default();
            bail!(
                "tenant {of:?} does not have the AE title {title}; `qianli tenant ae {of} {title}` \
                 gives it"
            );
        }
    }
    if let Some(destination) = destination {
        catalog.put_destination(&scope, &destination, at_ms).await?;
        let Destination { title, address, .. } = &destination;
        eprintln!("{title} at {address} is a destination; `qianli peer echo {title}` tries it");
    }
    Ok(())
}

/// Which row a name means: a number, or the title of exactly one.
fn which(rows: &[PeerRow], name: &str) -> anyhow::Result<Option<PeerRule>> {
    let by_number = name.parse::<i64>().ok();
    let numbered = rows.iter().find(|row| Some(row.rule.id) == by_number);
    if let Some(row) = numbered {
        return Ok(Some(row.rule.clone()));
    }
    let titled: Vec<&PeerRow> =
        rows.iter().filter(|row| row.rule.calling.as_str() == name.trim()).collect();
    match titled.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.rule.clone())),
        several => {
            let numbers: Vec<String> = several.iter().map(|row| row.rule.id.to_string()).collect();
            bail!("several rows are for {name}: {}; name one by its number", numbers.join(", "))
        }
    }
}

/// Changes a row, a destination, or both.
pub(super) async fn change(catalog: &Catalog, arguments: ChangeArguments) -> anyhow::Result<()> {
    let ChangeArguments { row: name, address, way, no_tls, may, called, from, .. } = arguments;
    let ChangeArguments { certificate: shown, reading, label, tenant: of, .. } = arguments;
    let scope = Scope::local(tenant(catalog, &of).await?.id);
    if let Some(label) = &label {
        plain("the label", label)?;
    }
    let rule = which(&catalog.peers(&scope).await?, &name)?;
    let change = PeerChange {
        label,
        called: called.map(|Any(title)| title),
        network: from.map(|Any(network)| network),
        certificate: match shown.as_deref() {
            None => None,
            Some("any") => Some(None),
            Some(text) => Some(Some(certificate(text).map_err(anyhow::Error::msg)?)),
        },
        permissions: may,
        disabled: None,
        coercions: match reading.is_said() {
            true => Some(reading.apply(rule.as_ref().map(|rule| rule.coercions.clone()))?),
            false => None,
        },
    };
    let of_row = change != PeerChange::default();
    let of_destination = address.is_some() || way.is_said() || no_tls;
    if !of_row && !of_destination {
        bail!("say what is to change; `qianli peer change --help` lists it");
    }
    if of_row {
        let Some(rule) = &rule else {
            bail!("tenant {of:?} has no row {name}; `qianli peer list` names those it has");
        };
        change_row(catalog, &scope, rule.id, &change, &of).await?;
    }
    if of_destination {
        let titled = rule.map(|rule| rule.calling.to_string()).unwrap_or(name);
        let title = AeTitle::parse(&titled)?;
        let Some(before) = catalog.destination(&scope, &title).await? else {
            bail!(
                "tenant {of:?} has no destination {title}; `qianli peer add {title} HOST:PORT{}` \
                 makes one",
                option_of(&of)
            );
        };
        let mut to = before.clone();
        to.address = address.unwrap_or(to.address);
        to.tls = to.tls.filter(|_| !no_tls);
        way.apply(&mut to)?;
        catalog.put_destination(&scope, &to, now_ms()).await?;
        eprintln!(
            "{title} at {} ({}); `qianli peer echo {title}` tries it",
            to.address,
            super::way::shown(&to)
        );
        let old: Option<Network> = before.host().parse().ok();
        if to.host() != before.host() {
            for row in catalog.peers(&scope).await? {
                let rule = row.rule;
                if rule.calling.matches(&title) && old.is_some() && rule.network == old {
                    eprintln!(
                        "row {} still expects its calls from {}; `qianli peer change {} --from {}{}` \
                         changes that",
                        rule.id,
                        before.host(),
                        rule.id,
                        to.host(),
                        option_of(&of)
                    );
                }
            }
        }
    }
    Ok(())
}

async fn change_row(
    catalog: &Catalog,
    scope: &Scope,
    id: i64,
    change: &PeerChange,
    of: &str,
) -> anyhow::Result<()> {
    match catalog.change_peer(scope, id, change, now_ms()).await? {
        PeerChanged::Now(rule) => {
            eprintln!("row {id} ({}) may {}; {SOON}", rule.calling, rule.permissions.names());
            warn(catalog, &rule).await
        }
        PeerChanged::Missing => bail!("tenant {of:?} has no row {id} any more"),
        PeerChanged::Taken(other) => bail!("row {other} is for the same peers already"),
        PeerChanged::NotYourTitle => bail!(
            "tenant {of:?} does not have that AE title; `qianli tenant ae {of} TITLE` gives it"
        ),
    }
}
