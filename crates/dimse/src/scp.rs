//! The acceptor: listens, limits, serves each association in its own task, drains on shutdown.
//!
//! An association's life is in `session`, its requests in `operation`; what is done with an instance is the
//! business of [`Services`].

mod limits;
mod operation;
mod perform;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qianli_model::incident::{Cause, Incident};
use qianli_model::{AeTitle, PerAddress};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::association::Implementation;
pub use crate::connection::READ_BUFFER;
use crate::secure::{Handshake, Secured, Stream};
use crate::services::Services;
use limits::Limits;
use session::Caller;

/// How the acceptor behaves.
#[derive(Debug, Clone)]
pub struct ScpConfig {
    /// Our AE title. When set, an association that calls another is rejected before
    /// [`Services::admit`] is asked; when `None`, that decision is left to it.
    pub ae_title: Option<AeTitle>,
    /// Who we are, for the other end's log.
    pub implementation: Implementation,
    /// Associations at one time; one more is rejected as transient, local limit exceeded.
    pub max_associations: usize,
    /// Associations at one time from one calling address; one more is rejected likewise.
    pub max_associations_per_address: PerAddress,
    /// The longest P-DATA-TF we announce, in bytes; 0 for no limit.
    pub max_pdu: u32,
    /// How long a peer may take to ask for an association, and to close after its end (PS3.8
    /// section 9.1.5).
    pub artim_timeout: Duration,
    /// How long an association may pass without a byte of progress.
    pub idle_timeout: Duration,
    /// How long operations under way may take to finish on shutdown.
    pub drain_timeout: Duration,
}

impl ScpConfig {
    /// The defaults: 256 associations, 64 per address (loopback without limit), PDUs of 128 KiB, ARTIM 30 s, idle 2 min,
    /// drain 30 s, any called AE title.
    pub fn new(implementation: Implementation) -> Self {
        Self {
            ae_title: None,
            implementation,
            max_associations: 256,
            max_associations_per_address: PerAddress { remote: 64, loopback: usize::MAX },
            max_pdu: 131_072,
            artim_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// The acceptor of a node.
pub struct Scp {
    listener: TcpListener,
    secure: Option<(TcpListener, Arc<dyn Handshake>)>,
    node: Arc<Node>,
}

/// What every association needs.
struct Node {
    config: ScpConfig,
    services: Arc<dyn Services>,
    limits: Arc<Limits>,
}

/// Pause after a failed accept, which as a rule means that the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

impl Scp {
    /// An acceptor over a bound listener.
    pub fn new(listener: TcpListener, config: ScpConfig, services: Arc<dyn Services>) -> Self {
        let limits = Limits::new(config.max_associations, config.max_associations_per_address);
        let node = Arc::new(Node { config, services, limits: Arc::new(limits) });
        Self { listener, secure: None, node }
    }

    /// Also serves a second listener, whose connections begin with a handshake (PS3.15 B.12). All
    /// limits hold for both together.
    pub fn also_secure(mut self, listener: TcpListener, handshake: Arc<dyn Handshake>) -> Self {
        self.secure = Some((listener, handshake));
        self
    }

    /// Serves until `shutdown` is cancelled, then drains: no new connections; associations between
    /// two operations are aborted, the others after their operation; what is left after the drain
    /// timeout is cut, and its sinks are dropped.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, secure, node } = self;
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => report_panic(ended),
                (accepted, handshake) = accept(&listener, secure.as_ref()) => match accepted {
                    Ok((stream, peer)) => {
                        start(&mut tasks, &node, stream, peer, handshake, &shutdown);
                    }
                    Err(error) => {
                        error!(%error, "cannot accept DICOM connections; if this repeats, raise the \
                            limit of open files");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop((listener, secure));
        if !tasks.is_empty() {
            info!(
                connections = tasks.len(),
                associations = node.limits.active(),
                "draining DICOM connections"
            );
        }
        let drained = tokio::time::timeout(node.config.drain_timeout, async {
            while let Some(ended) = tasks.join_next().await {
                report_panic(ended);
            }
        });
        if drained.await.is_err() {
            warn!(
                connections = tasks.len(),
                "cutting DICOM connections that did not finish within the drain timeout; their \
                 senders got no acknowledgement and will send again"
            );
            tasks.shutdown().await;
        }
    }
}

/// The next connection of either listener, and the handshake that it begins with.
async fn accept(
    plain: &TcpListener,
    secure: Option<&(TcpListener, Arc<dyn Handshake>)>,
) -> (io::Result<(TcpStream, SocketAddr)>, Option<Arc<dyn Handshake>>) {
    let Some((listener, handshake)) = secure else { return (plain.accept().await, None) };
    tokio::select! {
        accepted = plain.accept() => (accepted, None),
        accepted = listener.accept() => (accepted, Some(Arc::clone(handshake))),
    }
}

fn start(
    tasks: &mut JoinSet<()>,
    node: &Arc<Node>,
    stream: TcpStream,
    peer: SocketAddr,
    handshake: Option<Arc<dyn Handshake>>,
    shutdown: &CancellationToken,
) {
    let pending = match node.limits.connect(peer.ip()) {
        Ok(pending) => pending,
        Err(first) => {
            if first {
                warn!(
                    %peer,
                    "closed a DICOM connection at once, and will close more: too many connections \
                     from this address have not asked for an association yet"
                );
                node.services.note(None, Incident::new(Cause::TooManyConnections, peer.ip()));
            }
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let node = Arc::clone(node);
    let shutdown = shutdown.clone();
    let id = session::next_id();
    let span = info_span!("association", id, %peer);
    tasks.spawn(
        async move {
            let Some(handshake) = handshake else {
                let caller = Caller { peer, certificate: None };
                return session::serve(&node, stream, caller, id, pending, shutdown).await;
            };
            let Some((stream, caller)) = secured(&node, stream, peer, &*handshake, &shutdown).await
            else {
                return;
            };
            session::serve(&node, stream, caller, id, pending, shutdown).await;
        }
        .instrument(span),
    );
}

/// Does the handshake, which is over when the time for an association request is.
async fn secured(
    node: &Node,
    stream: TcpStream,
    peer: SocketAddr,
    handshake: &dyn Handshake,
    shutdown: &CancellationToken,
) -> Option<(Box<dyn Stream>, Caller)> {
    let artim = node.config.artim_timeout;
    let done = tokio::select! {
        () = shutdown.cancelled() => return None,
        done = tokio::time::timeout(artim, handshake.shake(stream)) => done,
    };
    match done {
        Ok(Ok(Secured { stream, certificate })) => Some((stream, Caller { peer, certificate })),
        Ok(Err(error)) => {
            session::count_association("handshake_failed");
            node.services.note(None, Incident::new(Cause::Handshake, peer.ip()).saying(&error));
            warn!(%peer, error, "a DICOM peer could not be talked to over TLS");
            None
        }
        Err(_) => {
            session::count_association("no_request");
            let waited = format!("no TLS handshake within {artim:?}");
            node.services.note(None, Incident::new(Cause::NoRequest, peer.ip()).saying(&waited));
            warn!(%peer, "closed a connection: no TLS handshake within {artim:?}");
            None
        }
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a task that served a DICOM association panicked; the association is lost");
    }
}

#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;
