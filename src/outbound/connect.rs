//! Opening an association with a destination, over TLS where it wants that.

use qianli_dimse::secure::Stream;
use qianli_dimse::{Association, Implementation, ProposedContext, ScuConfig, ScuError};
use qianli_model::destination::Destination;
use qianli_model::{AeTitle, file_meta};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::tls::TlsFiles;
use crate::tls::client::ClientTls;

/// An association with a destination.
pub type Open = Association<Box<dyn Stream>>;

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Our AE title.
    pub aet: AeTitle,
    /// The longest P-DATA-TF that we announce, in bytes.
    pub max_pdu: u32,
    /// Our certificate, for peers that ask for one.
    pub own: Option<TlsFiles>,
    /// How TLS is spoken, where a command line says it; else as the destination says.
    pub tls: Option<ClientTls>,
}

/// Why there is no association.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection or the negotiation failed.
    #[error(transparent)]
    Scu(#[from] ScuError),
    /// TLS failed: a certificate, a file, a handshake.
    #[error("{0}")]
    Tls(String),
}

impl CallError {
    /// Whether calling again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Scu(ScuError::Refused(reject)) => reject.is_transient(),
            Self::Scu(ScuError::NoContextAccepted | ScuError::TooManyContexts(_)) => false,
            Self::Scu(_) => true,
            // A certificate that expired does not get better within a minute.
            Self::Tls(_) => false,
        }
    }
}

impl Caller {
    /// This node, as its settings say.
    pub fn of(config: &Config) -> Self {
        Self {
            aet: config.aet.clone(),
            max_pdu: config.max_pdu,
            own: config.dimse_tls_files.clone(),
            tls: None,
        }
    }

    /// How a destination is called by default.
    pub fn settings(&self, to: &Destination) -> ScuConfig {
        ScuConfig {
            max_pdu: self.max_pdu,
            identity: to.identity.clone(),
            ..ScuConfig::new(self.aet.clone(), to.title.clone(), implementation())
        }
    }

    /// Calls a destination with these contexts.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call(
        &self,
        to: &Destination,
        contexts: &[ProposedContext],
    ) -> Result<Open, CallError> {
        self.call_as(to, &self.settings(to), contexts).await
    }

    /// Calls a destination with settings of the caller's own.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call_as(
        &self,
        to: &Destination,
        settings: &ScuConfig,
        contexts: &[ProposedContext],
    ) -> Result<Open, CallError> {
        let tls = self.tls.clone().unwrap_or_else(|| ClientTls::of(to));
        let open = async {
            let stream = TcpStream::connect(&to.address).await.map_err(ScuError::Connect)?;
            stream.set_nodelay(true).map_err(ScuError::Connect)?;
            let address = stream.peer_addr().map_err(ScuError::Connect)?;
            let stream: Box<dyn Stream> = match tls.is_wanted() {
                true => {
                    let named = to.tls.as_ref().map(|tls| tls.server_name.as_str());
                    let name = named.filter(|name| !name.is_empty()).unwrap_or(to.host());
                    let wrapped = tls.wrap(stream, address, name, self.own.as_ref()).await;
                    Box::new(wrapped.map_err(|error| CallError::Tls(format!("{error:#}")))?)
                }
                false => Box::new(stream),
            };
            Ok(Association::negotiate(stream, address, settings, contexts).await?)
        };
        let patience = settings.connect_timeout;
        timeout(patience, open).await.unwrap_or(Err(ScuError::Timeout(patience).into()))
    }
}

/// How we introduce ourselves to peers.
pub fn implementation() -> Implementation {
    Implementation {
        class_uid: file_meta::IMPLEMENTATION_CLASS_UID.into(),
        version_name: file_meta::IMPLEMENTATION_VERSION_NAME.into(),
    }
}
