//! How a destination is called, as the command line says it.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use qianli_model::TransferSyntax;
use qianli_model::destination::{Destination, Identity, MOST_ASSOCIATIONS, is_address};

use crate::config::Size;

/// Variables of the environment with the secrets of a user identity: a command line can be read by
/// others on the machine.
pub(in crate::cli) const PASSCODE: &str = "QIANLI_PEER_PASSCODE";
pub(in crate::cli) const TOKEN: &str = "QIANLI_PEER_TOKEN";

/// Transfer syntaxes, the best first; none for as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Syntaxes(Vec<TransferSyntax>);

impl FromStr for Syntaxes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |uid: &str| {
            TransferSyntax::from_uid(uid)
                .ok_or_else(|| format!("{uid:?} is the UID of no transfer syntax that we know"))
        };
        match text {
            "any" => Ok(Self(Vec::new())),
            list => list.split(',').map(one).collect::<Result<_, _>>().map(Self),
        }
    }
}

/// How a destination is called.
#[derive(clap::Args)]
pub(super) struct Way {
    /// Call it over TLS.
    #[arg(long)]
    tls: bool,
    /// The name in its certificate, when it is not the host.
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// File with the authorities of its certificate, PEM; else those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Transfer syntaxes that it is to get, by UID, the best first; any: as stored where it can.
    #[arg(long, value_name = "UID,...|any")]
    syntaxes: Option<Syntaxes>,
    /// Send it nothing in other transfer syntaxes than those.
    #[arg(long)]
    only: bool,
    /// Associations that may be open to it at a time; 2 where nothing is said.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ASSOCIATIONS)))]
    associations: Option<u32>,
    /// At most so many bytes per second, such as 2MB; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    bandwidth: Option<u64>,
    /// Show it this user name, with the passcode of the variable QIANLI_PEER_PASSCODE if there is
    /// one; an empty name for none. In place of both, the variable QIANLI_PEER_TOKEN may hold a JSON
    /// Web Token.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl Way {
    /// Whether anything of it was said.
    pub(super) fn is_said(&self) -> bool {
        let Self { tls, tls_name, tls_ca, syntaxes, only, associations, bandwidth, user } = self;
        *tls || tls_name.is_some()
            || tls_ca.is_some()
            || syntaxes.is_some()
            || *only
            || associations.is_some()
            || bandwidth.is_some()
            || user.is_some()
    }

    /// Writes what was said into a destination.
    pub(super) fn apply(self, to: &mut Destination) -> anyhow::Result<()> {
        if self.tls {
            to.tls.get_or_insert_default();
        }
        if self.tls_name.is_some() || self.tls_ca.is_some() {
            let Some(tls) = &mut to.tls else {
                bail!("--tls-name and --tls-ca need --tls");
            };
            if let Some(path) = self.tls_ca {
                let path = path.canonicalize().context("the file of --tls-ca")?;
                tls.authorities = path.to_string_lossy().into_owned();
            }
            if let Some(name) = self.tls_name {
                tls.server_name = name;
            }
        }
        if let Some(Syntaxes(syntaxes)) = self.syntaxes {
            to.syntaxes = syntaxes;
            to.only_these = false;
        }
        if self.only && to.syntaxes.is_empty() {
            bail!("--only needs --syntaxes");
        }
        to.only_these |= self.only;
        to.associations = self.associations.unwrap_or(to.associations);
        to.bandwidth = self.bandwidth.unwrap_or(to.bandwidth);
        let secret = |name| std::env::var(name).ok().filter(|secret| !secret.is_empty());
        match (self.user, secret(PASSCODE), secret(TOKEN)) {
            (Some(user), ..) if user.is_empty() => to.identity = None,
            (Some(user), Some(passcode), _) => {
                to.identity = Some(Identity::Password(user, passcode));
            }
            (Some(user), None, _) => to.identity = Some(Identity::Username(user)),
            (None, _, Some(token)) => to.identity = Some(Identity::Jwt(token)),
            (None, _, None) => {}
        }
        Ok(())
    }
}

/// A destination in a line: how it is called beyond its address.
pub(super) fn shown(to: &Destination) -> String {
    let syntaxes: Vec<&str> = to.syntaxes.iter().map(|one| one.uid()).collect();
    let mut notes = vec![format!("{} associations", to.associations)];
    notes.extend((to.bandwidth > 0).then(|| format!("{} bytes/s", to.bandwidth)));
    notes.extend(to.tls.as_ref().map(|_| "TLS".to_owned()));
    notes
        .extend((!syntaxes.is_empty()).then(|| {
            format!("{}{}", if to.only_these { "only " } else { "" }, syntaxes.join(","))
        }));
    notes.extend(to.identity.as_ref().map(|one| format!("user identity ({})", one.kind())));
    notes.join(", ")
}

/// Reads host:port.
pub(super) fn address(text: &str) -> Result<String, String> {
    match is_address(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no host:port, such as 10.0.0.5:104")),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<Size>().map(|size| size.0)
}
