//! One association, from the first byte to the close: PS3.8 table 9-10 for an acceptor.
//!
//! Sta2 is [`serve`] before the answer, Sta6 is [`Session::run`], Sta13 is the wait for the peer to
//! close, in which everything is ignored. Straight code that cites the actions of the table.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::counter;
use qianli_model::incident::{Cause, Incident};
use qianli_model::peer::{Admission, Certificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Node;
use super::limits::{Active, Full, Pending};
use super::operation::{Counts, Session};
use super::perform::Invocations;
use crate::association::{
    AcceptedContext, Agreement, AssociationInfo, AssociationRequest, Behind, Refused, Rejection,
    RejectionReason, negotiate, words,
};
use crate::connection::{Connection, Lost};
use crate::pdu::{self, Abort, Frame, PduType, ProtocolError, associate};

/// On shutdown nobody waits for peers to close.
const SHUTDOWN_LINGER: Duration = Duration::from_millis(500);

/// A log line names no more refused presentation contexts than this.
const LOGGED_REFUSALS: usize = 8;

/// Numbers the connections of this process.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// How an association ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer asked for release.
    Released,
    /// The peer sent an A-ABORT.
    AbortedByPeer(Abort),
    /// We have no choice but to abort.
    Lost(Lost),
    /// The node shuts down.
    Shutdown,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Lost(Lost::Protocol(error))
    }
}

impl End {
    /// The label of `qianli_dimse_associations_total`.
    fn result(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::AbortedByPeer(_) => "aborted_by_peer",
            Self::Lost(Lost::Closed | Lost::Io(_)) => "connection_lost",
            Self::Lost(Lost::Timeout(_)) => "idle_timeout",
            Self::Lost(Lost::Protocol(_)) => "protocol_error",
            Self::Shutdown => "shutdown",
        }
    }
}

pub(super) fn count_association(result: &'static str) {
    counter!("qianli_dimse_associations_total", "result" => result).increment(1);
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// Its certificate, where it had to show one.
    pub(super) certificate: Option<Certificate>,
}

/// Serves one connection until it is closed.
pub(super) async fn serve<S>(
    node: &Node,
    stream: S,
    caller: Caller,
    id: u64,
    pending: Pending,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let artim = node.config.artim_timeout;
    let peer = caller.peer;
    // Until there is an association ARTIM alone counts.
    let mut connection = Connection::new(stream, node.config.max_pdu, artim.saturating_mul(2));
    // The whole request has to be there before ARTIM expires (Sta2), not just a byte of it.
    let request = tokio::select! {
        () = shutdown.cancelled() => return,
        request = tokio::time::timeout(artim, read_request(&mut connection, peer)) => request,
    };
    let request = match request {
        Ok(ControlFlow::Continue(request)) => request,
        Ok(ControlFlow::Break(None)) => return count_association("no_request"),
        Ok(ControlFlow::Break(Some((refused, incident)))) => {
            node.services.note(None, incident);
            return refuse(connection, pending, peer, refused, artim).await;
        }
        Err(_) => {
            // AA-2.
            warn!(
                "closed the connection from {peer}: it asked for no association within {artim:?}; \
                 is it a DICOM sender?"
            );
            let waited = format!("nothing, or no whole request, within {artim:?}");
            node.services.note(None, Incident::new(Cause::NoRequest, peer.ip()).saying(&waited));
            return count_association("no_request");
        }
    };
    let request = AssociationRequest { certificate: caller.certificate, ..request };
    let admission = match admit(node, &request) {
        Ok(admission) => admission,
        Err(rejection) => {
            let incident = request.incident(rejection.cause).saying(&rejection.detail);
            node.services.note(None, incident);
            return refuse(connection, pending, peer, Refused::Reject(rejection), artim).await;
        }
    };
    let behind = match identify(node, &request, admission).await {
        Ok(behind) => behind,
        Err(rejection) => {
            let incident = request.incident(rejection.cause).saying(&rejection.detail);
            node.services.note(Some(admission.home()), incident);
            return refuse(connection, pending, peer, Refused::Reject(rejection), artim).await;
        }
    };
    let active = match pending.activate() {
        Ok(active) => active,
        Err(Full { pending, rejection, first }) => {
            if first {
                warn!("rejected an association from {peer}, and will reject more: {rejection}");
            }
            let incident = request.incident(rejection.cause).saying(&rejection.detail);
            node.services.note(Some(admission.home()), incident);
            return reject(connection, pending, &rejection, artim).await;
        }
    };
    let info = Arc::new(AssociationInfo { behind, ..request.info(id, admission) });
    accepted(node, connection, request, info, active, shutdown).await;
}

/// Reads the A-ASSOCIATE-RQ (Sta2). Breaks with what to answer and to remember, or with nothing.
async fn read_request<S>(
    connection: &mut Connection<S>,
    peer: SocketAddr,
) -> ControlFlow<Option<(Refused, Incident)>, AssociationRequest>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let unexpected = |message: String| {
        // AA-1 wants the service-user as the source of every abort in this state.
        let incident = Incident::new(Cause::MalformedRequest, peer.ip()).saying(&message);
        let refused = Refused::Abort(ProtocolError::new(Abort::BY_USER, message));
        ControlFlow::Break(Some((refused, incident)))
    };
    match connection.next_frame().await {
        Ok(Frame::Control(PduType::AssociateRq, bytes)) => match associate::read_request(&bytes) {
            Ok(pdu) => {
                let incident = words(&pdu, peer, Cause::MalformedRequest);
                match AssociationRequest::from_pdu(pdu, peer) {
                    Ok(request) => ControlFlow::Continue(request),
                    Err(refused) => {
                        let incident = match &refused {
                            Refused::Abort(error) => incident.saying(&error.message),
                            Refused::Reject(rejection) => {
                                let incident = incident.saying(&rejection.detail);
                                Incident { cause: rejection.cause, ..incident }
                            }
                        };
                        ControlFlow::Break(Some((refused, incident)))
                    }
                }
            }
            Err(error) => unexpected(error.message),
        },
        // AA-2: nothing to answer.
        Ok(Frame::Control(PduType::Abort, _)) => ControlFlow::Break(None),
        Ok(Frame::Control(kind, _)) => unexpected(format!("{kind} before an association")),
        Ok(Frame::Fragment(_)) => unexpected("P-DATA-TF before an association".to_owned()),
        Err(Lost::Protocol(error)) => unexpected(error.message),
        Err(lost) => {
            // Load balancers look whether the port is open; that is not worth a line at info.
            debug!(%peer, "no association was asked for: {lost}");
            ControlFlow::Break(None)
        }
    }
}

/// Asks who is behind a peer that shows a user identity. The others wait for nothing.
async fn identify(
    node: &Node,
    request: &AssociationRequest,
    admission: Admission,
) -> Result<Option<Behind>, Rejection> {
    let Some(identity) = &request.identity else {
        return Ok(None);
    };
    let asked = node.services.identify(request, identity, admission);
    let limit = node.config.artim_timeout;
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(Rejection::new(
            RejectionReason::TemporaryCongestion,
            format!("the user identity could not be checked within {limit:?}"),
        ))
    })
}

/// Asks the configuration and the node.
fn admit(node: &Node, request: &AssociationRequest) -> Result<Admission, Rejection> {
    match &node.config.ae_title {
        Some(ours) if *ours != request.called => Err(Rejection::new(
            RejectionReason::CalledAeTitleNotRecognised,
            format!(
                "{} called {}, but this node is {ours}; correct the AE title at the sender",
                request.calling, request.called
            ),
        )),
        _ => node.services.admit(request),
    }
}

/// Answers with an A-ASSOCIATE-RJ (AE-6) or an A-ABORT (AA-1) and waits for the peer to close.
async fn refuse<S>(
    mut connection: Connection<S>,
    pending: Pending,
    peer: SocketAddr,
    refused: Refused,
    artim: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match refused {
        Refused::Reject(rejection) => {
            warn!("rejected an association from {peer}: {rejection}");
            return reject(connection, pending, &rejection, artim).await;
        }
        Refused::Abort(error) => {
            count_association("protocol_error");
            warn!("aborted the connection from {peer}: {error}");
            connection.send_abort(error.abort).await;
        }
    }
    connection.await_close(artim).await;
    drop(pending);
}

/// Answers with an A-ASSOCIATE-RJ (AE-6) and waits for the peer to close.
async fn reject<S>(
    mut connection: Connection<S>,
    pending: Pending,
    rejection: &Rejection,
    artim: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    count_association("rejected");
    if connection.send(&rejection.codes().encode()).await.is_ok() {
        connection.await_close(artim).await;
    }
    drop(pending);
}

/// Answers with an A-ASSOCIATE-AC (AE-7), serves, and ends the association.
async fn accepted<S>(
    node: &Node,
    mut connection: Connection<S>,
    request: AssociationRequest,
    info: Arc<AssociationInfo>,
    active: Active,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = &node.config;
    let mut agreement = negotiate(
        &request,
        |uid| node.services.service(uid),
        config.max_pdu,
        &config.implementation,
    );
    let wants_answer = request.identity.as_ref().is_some_and(|identity| identity.wants_answer);
    if wants_answer && info.behind.is_some() {
        agreement.confirm_identity();
    }
    log_accepted(&info, &agreement);
    note_accepted(node, &info, &agreement);
    connection.set_idle(config.idle_timeout);
    let started = Instant::now();
    let mut session = Session {
        connection,
        services: node.services.as_ref(),
        info: Arc::clone(&info),
        contexts: agreement.contexts.into(),
        next: None,
        invocations: Invocations::default(),
        send_limit: agreement.send_limit,
        counts: Counts::default(),
        shutdown: &shutdown,
    };
    let end = match associate::write(agreement.answer) {
        Ok(answer) => match session.connection.send(&answer).await {
            Ok(()) => session.run().await,
            Err(lost) => lost.into(),
        },
        Err(error) => error.into(),
    };
    count_association(end.result());
    log_end(&info, &end, &session.counts, started.elapsed());
    note_end(node, &info, &end);
    let mut connection = session.connection;
    match end {
        // AR-4, once the service user has nothing more to say: ours never has.
        End::Released => {
            if connection.send(&pdu::RELEASE_RP).await.is_err() {
                return;
            }
        }
        // AA-3, AA-4: the connection is closed or to be closed now.
        End::AbortedByPeer(_) | End::Lost(Lost::Closed | Lost::Io(_)) => return,
        // AA-8.
        End::Lost(Lost::Protocol(error)) => connection.send_abort(error.abort).await,
        End::Lost(Lost::Timeout(_)) | End::Shutdown => {
            connection.send_abort(Abort::UNSPECIFIED).await;
        }
    }
    // The place is free from here on, or a sender that reconnects at once would be turned away.
    let Some(_lingering) = active.linger() else { return };
    let linger = if shutdown.is_cancelled() { SHUTDOWN_LINGER } else { config.artim_timeout };
    connection.await_close(linger).await;
}

/// Remembers that a peer was admitted, by what, with which contexts, and which it did not get.
fn note_accepted(node: &Node, info: &AssociationInfo, agreement: &Agreement) {
    let tenant = Some(info.admission.home());
    let rule = match info.admission.rule {
        Some(rule) => format!("row {rule} of the register"),
        None => "unknown_peers and calling_aets".to_owned(),
    };
    let rule = match info.behind.as_ref().map(|behind| behind.0.principal()) {
        Some(who) => format!("{rule}, as {} {}", who.kind(), who.name()),
        None => rule,
    };
    let pair =
        |one: &AcceptedContext| format!("{}={}", one.abstract_syntax, one.transfer_syntax.uid());
    let accepted: Vec<String> = agreement.contexts.iter().map(pair).collect();
    let admitted = info.incident(Cause::Admitted).saying(&rule);
    node.services.note(tenant, admitted.proposing(accepted.iter().map(String::as_str)));
    for one in &agreement.refused {
        let proposed = one.transfer_syntaxes.iter().map(String::as_str);
        let incident = info.incident(one.cause).about(&one.abstract_syntax).proposing(proposed);
        node.services.note(tenant, incident);
    }
}

/// Remembers an association that did not end as it should.
fn note_end(node: &Node, info: &AssociationInfo, end: &End) {
    let (cause, words) = match end {
        End::Released | End::Shutdown => return,
        End::AbortedByPeer(abort) => (Cause::AbortedByPeer, abort.to_string()),
        End::Lost(Lost::Closed) => (Cause::ConnectionLost, String::new()),
        End::Lost(Lost::Io(error)) => (Cause::ConnectionLost, error.to_string()),
        End::Lost(Lost::Timeout(idle)) => (Cause::IdleTimeout, format!("nothing for {idle:?}")),
        End::Lost(Lost::Protocol(error)) => (Cause::ProtocolError, error.message.clone()),
    };
    node.services.note(Some(info.admission.home()), info.incident(cause).saying(&words));
}

fn log_accepted(info: &AssociationInfo, agreement: &Agreement) {
    info!(
        calling = %info.calling,
        called = %info.called,
        contexts = agreement.contexts.len(),
        certificate = info.certificate.as_ref().map_or("", |shown| shown.subject.as_str()),
        tenant = info.admission.tenant.0,
        user = info.behind.as_ref().map_or("", |behind| behind.0.principal().name()),
        implementation = info.implementation_version.as_deref().unwrap_or_default(),
        "accepted an association from {} ({}) to {}",
        info.calling, info.peer, info.called,
    );
    if !agreement.refused.is_empty() {
        warn!(
            calling = %info.calling,
            "{} ({}) proposed {} presentation contexts that are not supported here, so such objects \
             will not be sent: {}{}",
            info.calling,
            info.peer,
            agreement.refused.len(),
            agreement
                .refused
                .iter()
                .take(LOGGED_REFUSALS)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            if agreement.refused.len() > LOGGED_REFUSALS { ", …" } else { "" },
        );
    }
}

fn log_end(info: &AssociationInfo, end: &End, counts: &Counts, took: Duration) {
    let Counts { stored, failed, bytes } = *counts;
    let duration_ms = took.as_millis() as u64;
    macro_rules! log {
        ($level:ident, $why:expr) => {
            $level!(
                calling = %info.calling, called = %info.called,
                stored, failed, bytes, duration_ms,
                "association from {} ({}) {}: {stored} stored, {failed} not stored",
                info.calling, info.peer, $why,
            )
        };
    }
    match end {
        End::Released => log!(info, "was released"),
        End::Shutdown => log!(info, "was aborted because this node shuts down"),
        End::AbortedByPeer(abort) => log!(warn, format!("was aborted {abort} at the other end")),
        End::Lost(Lost::Closed) => {
            log!(warn, "ended without a release: the peer closed the connection")
        }
        End::Lost(Lost::Timeout(idle)) => {
            log!(warn, format!("was aborted: nothing arrived for {idle:?}"))
        }
        End::Lost(Lost::Io(error)) => log!(warn, format!("broke: {error}")),
        End::Lost(Lost::Protocol(error)) => {
            log!(warn, format!("was aborted: the peer broke the protocol: {error}"))
        }
    }
}
