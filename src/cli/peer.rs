//! Addressing DIMSE peers from the command line, and `qianli echo`.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, bail};
use qianli_dimse::{Association, Implementation, ProposedContext, ScuConfig, StatusClass};
use qianli_model::{AeTitle, file_meta};

use super::say::say;
use crate::config::Config;

/// A peer as people write it: `TITLE@host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its AE title.
    pub(super) title: AeTitle,
    /// Its host and port.
    pub(super) address: String,
}

impl FromStr for Peer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a peer; write TITLE@host:port, e.g. PACS@10.0.0.5:104");
        let (title, address) = text.split_once('@').ok_or_else(wrong)?;
        let title = AeTitle::parse(title).map_err(|error| error.to_string())?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self { title, address: address.to_owned() })
    }
}

/// Arguments of `qianli echo`.
#[derive(clap::Args)]
pub(super) struct EchoArguments {
    /// TITLE@host:port
    peer: Peer,
}

/// Opens an association with a peer under our own AE title.
pub(super) async fn connect(
    config: &Config,
    peer: &Peer,
    contexts: &[ProposedContext],
) -> anyhow::Result<Association> {
    let settings = ScuConfig {
        max_pdu: config.max_pdu,
        ..ScuConfig::new(config.aet.clone(), peer.title.clone(), implementation())
    };
    Association::connect(&peer.address, &settings, contexts)
        .await
        .with_context(|| format!("call {}@{}", peer.title, peer.address))
}

/// How we introduce ourselves to peers.
pub(super) fn implementation() -> Implementation {
    Implementation {
        class_uid: file_meta::IMPLEMENTATION_CLASS_UID.into(),
        version_name: file_meta::IMPLEMENTATION_VERSION_NAME.into(),
    }
}

/// Sends a C-ECHO.
pub(super) async fn echo(config: Config, arguments: EchoArguments) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let contexts = [ProposedContext::verification()];
    let mut association = connect(&config, &arguments.peer, &contexts).await?;
    let answer = association.echo().await.context("C-ECHO")?;
    association.release().await.context("release the association")?;
    if answer.status.class() != StatusClass::Success {
        bail!("{} answers with {}", arguments.peer.title, answer.status);
    }
    say!("{} answers ({} ms)", arguments.peer.title, started.elapsed().as_millis());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_parsed() {
        let peer: Peer = "PACS@10.0.0.5:104".parse().unwrap();
        assert_eq!((peer.title.as_str(), peer.address.as_str()), ("PACS", "10.0.0.5:104"));
        assert!("PACS@[::1]:104".parse::<Peer>().is_ok());
        for wrong in [
            "PACS",
            "PACS@host",
            "PACS@:104",
            "@host:104",
            "PACS@host:port",
            "TOOLONGTITLE12345@h:1",
        ] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
