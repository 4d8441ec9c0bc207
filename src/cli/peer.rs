//! Addressing DIMSE peers from the command line, and `qianli echo`.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, bail};
use qianli_dimse::secure::Stream;
use qianli_dimse::{
    Association, Implementation, ProposedContext, ScuConfig, ScuError, StatusClass,
};
use qianli_model::{AeTitle, file_meta};
use tokio::net::TcpStream;

use super::say::say;
use crate::config::Config;
use crate::tls::client::ClientTls;

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
    #[command(flatten)]
    tls: ClientTls,
}

/// Opens an association with a peer under our own AE title, over TLS where that is wanted.
pub(super) async fn connect(
    config: &Config,
    peer: &Peer,
    tls: &ClientTls,
    contexts: &[ProposedContext],
) -> anyhow::Result<Association<Box<dyn Stream>>> {
    let settings = ScuConfig {
        max_pdu: config.max_pdu,
        ..ScuConfig::new(config.aet.clone(), peer.title.clone(), implementation())
    };
    let open = async {
        let stream = TcpStream::connect(&peer.address).await.map_err(ScuError::Connect)?;
        stream.set_nodelay(true).map_err(ScuError::Connect)?;
        let address = stream.peer_addr().map_err(ScuError::Connect)?;
        let stream: Box<dyn Stream> = match tls.is_wanted() {
            true => {
                let host = peer.address.rsplit_once(':').map_or("", |(host, _)| host);
                let own = config.dimse_tls_files.as_ref();
                Box::new(tls.wrap(stream, address, host, own).await?)
            }
            false => Box::new(stream),
        };
        let association = Association::negotiate(stream, address, &settings, contexts).await?;
        anyhow::Ok(association)
    };
    let opened = tokio::time::timeout(settings.connect_timeout, open).await;
    opened
        .unwrap_or_else(|_| Err(ScuError::Timeout(settings.connect_timeout).into()))
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
    let mut association = connect(&config, &arguments.peer, &arguments.tls, &contexts).await?;
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
