//! The acceptor: listens, limits, serves each association in its own task, drains on shutdown.
//!
//! An association's life is in `session`, its requests in `operation`; what is done with an instance is the
//! business of [`Services`].

mod limits;
mod operation;
mod session;

use std::sync::Arc;
use std::time::Duration;

use qianli_model::{AeTitle, PerAddress};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::association::Implementation;
pub use crate::connection::READ_BUFFER;
use crate::services::Services;
use limits::Limits;

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
        Self { listener, node: Arc::new(Node { config, services, limits: Arc::new(limits) }) }
    }

    /// Serves until `shutdown` is cancelled, then drains: no new connections; associations between
    /// two operations are aborted, the others after their operation; what is left after the drain
    /// timeout is cut, and its sinks are dropped.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, node } = self;
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => report_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => start(&mut tasks, &node, stream, peer, &shutdown),
                    Err(error) => {
                        error!(%error, "cannot accept DICOM connections; if this repeats, raise the \
                            limit of open files");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
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

fn start(
    tasks: &mut JoinSet<()>,
    node: &Arc<Node>,
    stream: TcpStream,
    peer: std::net::SocketAddr,
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
        async move { session::serve(&node, stream, peer, id, pending, shutdown).await }
            .instrument(span),
    );
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a task that served a DICOM association panicked; the association is lost");
    }
}

#[cfg(test)]
mod tests;
