//! Opening an association with a destination, over TLS where it wants that.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use qianli_dimse::secure::Stream;
use qianli_dimse::{
    Association, Implementation, ProposedContext, ScuConfig, ScuError, StatusClass,
};
use qianli_model::destination::{Destination, Trouble};
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
    /// What it is for people.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Tls(_) => Trouble::Tls,
            Self::Scu(error) => trouble(error),
        }
    }

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

fn trouble(error: &ScuError) -> Trouble {
    match error {
        ScuError::Connect(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Trouble::NothingListens,
            // What the resolver says has neither a number nor a kind of its own.
            _ if error.raw_os_error().is_none() => Trouble::UnknownHost,
            _ => Trouble::NoAnswer,
        },
        // PS3.8 table 9-21.
        ScuError::Refused(reject) => match (reject.source, reject.reason) {
            (1, 3) => Trouble::CallingTitle,
            (1, 7) => Trouble::CalledTitle,
            (3, _) => Trouble::Busy,
            _ if reject.is_transient() => Trouble::Busy,
            _ => Trouble::Rejected,
        },
        ScuError::NoContextAccepted | ScuError::ContextNotAccepted(_) => Trouble::Service,
        ScuError::Timeout(_) => Trouble::NoAnswer,
        _ => Trouble::BrokeOff,
    }
}

/// Sends a C-ECHO and gives the time that it took, or the trouble with what is known of it.
pub async fn echo(
    caller: &Caller,
    to: &Destination,
    settings: &ScuConfig,
) -> Result<Duration, (Trouble, String)> {
    let started = Instant::now();
    let known = |error: CallError| (error.trouble(), error.to_string());
    let contexts = [ProposedContext::verification()];
    let mut association = caller.call_as(to, settings, &contexts).await.map_err(known)?;
    let answer = association.echo().await.map_err(|error| known(error.into()))?;
    let took = started.elapsed();
    if answer.status.class() != StatusClass::Success {
        return Err((Trouble::Failure, format!("the answer is {}", answer.status)));
    }
    // It answered; how the association ends changes nothing.
    if let Err(error) = association.release().await {
        tracing::debug!(%error, to = %to.title, "an association was not released");
    }
    Ok(took)
}

/// How long somebody before a page waits for each step of a C-ECHO.
const A_MOMENT: Duration = Duration::from_secs(5);

/// Sends C-ECHOs for the pages.
pub(crate) fn asking(config: &Config) -> qianli_web::Echo {
    let caller = Caller::of(config);
    qianli_web::Echo::new(move |to| {
        let caller = caller.clone();
        async move {
            let mut settings = caller.settings(&to);
            settings.connect_timeout = settings.connect_timeout.min(A_MOMENT);
            settings.response_timeout = settings.response_timeout.min(A_MOMENT);
            echo(&caller, &to, &settings).await
        }
    })
}

/// How we introduce ourselves to peers.
pub fn implementation() -> Implementation {
    Implementation {
        class_uid: file_meta::IMPLEMENTATION_CLASS_UID.into(),
        version_name: file_meta::IMPLEMENTATION_VERSION_NAME.into(),
    }
}
