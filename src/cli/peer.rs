//! Addressing DIMSE peers from the command line, and `qianli echo`.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{anyhow, bail};
use qianli_dimse::{ProposedContext, ScuError};
use qianli_model::destination::{Destination, Trouble, is_address};
use qianli_model::incident::{Tongue, named};
use qianli_model::{AeTitle, Scope};

use super::people::{open, tenant};
use super::say::say;
use crate::config::Config;
use crate::outbound::{self, CallError, Caller, Open};
use crate::tls::client::ClientTls;

/// A peer as people write it: `TITLE@host:port`, or the title of a registered destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its AE title.
    pub(super) title: AeTitle,
    /// Its host and port; `None` for a registered one.
    pub(super) address: Option<String>,
}

impl FromStr for Peer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (title, address) = match text.split_once('@') {
            Some((title, address)) => (title, Some(address)),
            None => (text, None),
        };
        if address.is_some_and(|address| !is_address(address)) || title.is_empty() {
            return Err(format!(
                "{text:?} is not a peer; write TITLE@host:port, e.g. PACS@10.0.0.5:104, or the title \
                 of one that `qianli peer list` names"
            ));
        }
        let title = AeTitle::parse(title).map_err(|error| error.to_string())?;
        Ok(Self { title, address: address.map(str::to_owned) })
    }
}

/// Who is called, and how.
#[derive(clap::Args)]
pub(super) struct Callee {
    /// TITLE@host:port, or the title of a peer that was registered with its address.
    pub(super) peer: Peer,
    /// The tenant that registered it.
    #[arg(long, default_value = "default")]
    tenant: String,
    #[command(flatten)]
    tls: ClientTls,
}

/// A peer that was found, and who calls it.
pub(super) struct Reached {
    pub(super) to: Destination,
    pub(super) caller: Caller,
}

impl Callee {
    /// Where the peer is.
    pub(super) async fn reach(&self, config: &Config) -> anyhow::Result<Reached> {
        let mut caller = Caller::of(config);
        if self.tls.is_wanted() {
            caller.tls = Some(self.tls.clone());
        }
        let title = &self.peer.title;
        let to = match &self.peer.address {
            Some(address) => Destination::new(title.clone(), address.clone()),
            None => {
                let catalog = open(config.clone()).await?;
                let scope = Scope::local(tenant(&catalog, &self.tenant).await?.id);
                let found = catalog.destination(&scope, title).await?;
                catalog.close().await;
                let Some(found) = found else {
                    bail!(
                        "no peer {title} is registered with an address; write {title}@HOST:PORT, or \
                         register it with `qianli peer add {title} HOST:PORT`"
                    );
                };
                found
            }
        };
        Ok(Reached { to, caller })
    }
}

impl Reached {
    /// Opens an association under our own AE title, over TLS where that is wanted.
    pub(super) async fn connect(&self, contexts: &[ProposedContext]) -> anyhow::Result<Open> {
        self.connect_patiently(contexts, None).await
    }

    /// The same, waiting longer for answers.
    pub(super) async fn connect_patiently(
        &self,
        contexts: &[ProposedContext],
        patience: Option<Duration>,
    ) -> anyhow::Result<Open> {
        let mut settings = self.caller.settings(&self.to);
        settings.response_timeout = patience.unwrap_or(settings.response_timeout);
        let called = self.caller.call_as(&self.to, &settings, contexts).await;
        called.map_err(|error| {
            if let (CallError::Scu(ScuError::NoContextAccepted), [first, ..]) = (&error, contexts) {
                return self.lacks(&first.abstract_syntax);
            }
            let advice = error.trouble().advice(Tongue::English);
            let Destination { title, address, .. } = &self.to;
            anyhow!("call {title}@{address}: {error}. {advice}")
        })
    }

    /// The peer does not take a presentation context for this abstract syntax.
    pub(super) fn lacks(&self, abstract_syntax: &str) -> anyhow::Error {
        let Destination { title, address, .. } = &self.to;
        anyhow!(
            "{title}@{address} refuses {}: {}. {}",
            named(abstract_syntax),
            Trouble::Service.what(Tongue::English),
            Trouble::Service.advice(Tongue::English),
        )
    }

    /// Sends a C-ECHO and says how long the answer took.
    pub(super) async fn echo(&self) -> anyhow::Result<()> {
        let settings = self.caller.settings(&self.to);
        let Destination { title, address, .. } = &self.to;
        match outbound::echo(&self.caller, &self.to, &settings).await {
            Ok(took) => say!("{title} answers ({} ms)", took.as_millis()),
            Err((trouble, words)) => bail!(
                "{title}@{address}: {}: {words}. {}",
                trouble.what(Tongue::English),
                trouble.advice(Tongue::English)
            ),
        }
        Ok(())
    }
}

/// Arguments of `qianli echo`.
#[derive(clap::Args)]
pub(super) struct EchoArguments {
    #[command(flatten)]
    callee: Callee,
}

/// Sends a C-ECHO.
pub(super) async fn echo(config: Config, arguments: EchoArguments) -> anyhow::Result<ExitCode> {
    arguments.callee.reach(&config).await?.echo().await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_parsed() {
        let peer: Peer = "PACS@10.0.0.5:104".parse().unwrap();
        assert_eq!(peer.title.as_str(), "PACS");
        assert_eq!(peer.address.as_deref(), Some("10.0.0.5:104"));
        assert!("PACS@[::1]:104".parse::<Peer>().is_ok());
        assert_eq!("PACS".parse::<Peer>().unwrap().address, None);
        for wrong in
            ["PACS@host", "PACS@:104", "@host:104", "PACS@host:port", "TOOLONGTITLE12345@h:1", ""]
        {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
