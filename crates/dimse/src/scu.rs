//! The requestor: calls another node to verify, store, query, retrieve and command.
//!
//! One operation at a time, as negotiated by default (PS3.7 D.3.3.3). After any error the
//! association is over: it is aborted where the stream still allows it, and every further call says
//! so. Which objects are sent where is not decided here.

mod answer;
mod error;
mod find;
mod normalised;
mod propose;
mod retrieve;
mod store;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use qianli_model::TransferSyntax;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;
use tracing::debug;

use crate::association::{AcceptedContext, VERIFICATION, send_limit};
use crate::connection::{Connection, Lost};
use crate::message::field;
use crate::message::outgoing::echo_request;
use crate::pdu::associate::{self, Reject};
use crate::pdu::{self, Abort, Frame, PduType, ProtocolError};

pub use crate::message::Priority;
pub use crate::message::outgoing::Normalised;
use answer::Answered;
pub use answer::{Answer, EventReport, Reply, SubOperations};
pub use error::ScuError;
pub use find::{Find, FindStep};
pub use propose::{Identity, ProposedContext, Role, ScuConfig};
use propose::{Settled, accepted_contexts, peer_limit, request, settled};
pub use retrieve::{Arriving, Receiver, Retrieval, RetrieveStep, Retrieved};

/// How long we wait for the peer to close after an abort.
const LINGER: Duration = Duration::from_secs(1);

/// An association we asked for.
pub struct Association<S = TcpStream> {
    connection: Connection<S>,
    contexts: Vec<AcceptedContext>,
    send_limit: u32,
    next_message_id: u16,
    priority: Priority,
    settled: Settled,
    reports: VecDeque<EventReport>,
    phase: Phase,
}

/// Where the streams stand, so that a failed or abandoned operation is never followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two operations.
    Ready,
    /// An operation is under way, and our side stands between two PDUs: an abort can be sent.
    Busy,
    /// Our side may stand inside a PDU, or the peer is gone: only closing is left.
    Over,
}

impl Association<TcpStream> {
    /// Connects to `address` and negotiates. Succeeds when at least one context is accepted.
    pub async fn connect(
        address: impl ToSocketAddrs,
        config: &ScuConfig,
        contexts: &[ProposedContext],
    ) -> Result<Self, ScuError> {
        timeout(config.connect_timeout, async {
            let stream = TcpStream::connect(address).await.map_err(ScuError::Connect)?;
            stream.set_nodelay(true).map_err(ScuError::Connect)?;
            let peer = stream.peer_addr().map_err(ScuError::Connect)?;
            Self::negotiate(stream, peer, config, contexts).await
        })
        .await
        .map_err(|_| ScuError::Timeout(config.connect_timeout))?
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Negotiates over a stream that is already connected, such as one inside TLS.
    pub async fn negotiate(
        stream: S,
        peer: SocketAddr,
        config: &ScuConfig,
        contexts: &[ProposedContext],
    ) -> Result<Self, ScuError> {
        let mut connection = Connection::new(stream, config.max_pdu, config.response_timeout);
        connection.send(&associate::write(request(config, contexts)?)?).await?;
        let accept = match connection.next_frame().await {
            Ok(Frame::Control(PduType::AssociateAc, bytes)) => associate::read_accept(&bytes),
            Ok(Frame::Control(PduType::AssociateRj, bytes)) => {
                connection.close().await;
                return Err(ScuError::Refused(Reject::decode(&bytes)));
            }
            Ok(Frame::Control(PduType::Abort, bytes)) => {
                return Err(ScuError::Aborted(Abort::decode(&bytes)));
            }
            Ok(_) => Err(ProtocolError::new(
                Abort::UNEXPECTED_PDU,
                "neither accepted nor rejected the association",
            )),
            Err(Lost::Protocol(error)) => Err(error),
            Err(lost) => return Err(lost.into()),
        };
        let accept = match accept {
            Ok(accept) => accept,
            Err(error) => {
                // AA-8.
                connection.send_abort(error.abort).await;
                connection.await_close(LINGER).await;
                return Err(error.into());
            }
        };
        let peer_limit = peer_limit(&accept);
        let settled = settled(&accept);
        let contexts = accepted_contexts(contexts, accept);
        debug!(%peer, called = %config.called, contexts = contexts.len(), "association accepted");
        let association = Self {
            connection,
            contexts,
            send_limit: send_limit(peer_limit, config.max_pdu),
            next_message_id: 1,
            priority: Priority::default(),
            settled,
            reports: VecDeque::new(),
            phase: Phase::Ready,
        };
        if association.contexts.is_empty() {
            association.release().await?;
            return Err(ScuError::NoContextAccepted);
        }
        Ok(association)
    }

    /// The contexts the peer accepted.
    pub fn contexts(&self) -> &[AcceptedContext] {
        &self.contexts
    }

    /// Whether the peer may act as SCU of an abstract syntax, that is, send us such objects in the
    /// course of a C-GET (PS3.7 section D.3.3.4). Without an answer to our proposal it may not.
    pub fn may_send(&self, abstract_syntax: &str) -> bool {
        self.settled.peer_is_scu.iter().any(|uid| uid == abstract_syntax)
    }

    /// What the peer answered to our extended negotiation of a SOP class (PS3.7 section D.3.3.5).
    pub fn extended(&self, sop_class: &str) -> Option<&[u8]> {
        let mut answers = self.settled.extended.iter();
        answers.find(|(uid, _)| uid == sop_class).map(|(_, answer)| answer.as_slice())
    }

    /// The priority of the C-STOREs to come (PS3.7 section 9.1.1.1.4).
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// Whether another operation may be started.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// The accepted context for an abstract syntax in a transfer syntax.
    pub fn context(
        &self,
        abstract_syntax: &str,
        transfer_syntax: TransferSyntax,
    ) -> Option<&AcceptedContext> {
        self.contexts.iter().find(|context| {
            context.abstract_syntax == abstract_syntax && context.transfer_syntax == transfer_syntax
        })
    }

    /// C-ECHO (PS3.7 section 9.1.5).
    pub async fn echo(&mut self) -> Result<Answer, ScuError> {
        let context = self.context_for(VERIFICATION)?;
        let message_id = self.begin()?;
        let result = async {
            self.send_command(context, &echo_request(message_id)).await?;
            self.answer(context, message_id, field::C_ECHO_RSP).await
        };
        let result = result.await;
        self.end(result).await
    }

    /// Releases the association and closes the connection (PS3.8 section 7.2).
    pub async fn release(mut self) -> Result<(), ScuError> {
        if self.phase != Phase::Ready {
            self.abort().await;
            return Err(ScuError::Over);
        }
        self.connection.send(&pdu::RELEASE_RQ).await?;
        loop {
            match self.connection.next_frame().await? {
                Frame::Control(PduType::ReleaseRp, _) => break,
                // AR-8, AR-9: both asked at the same time; we answer and keep waiting.
                Frame::Control(PduType::ReleaseRq, _) => {
                    self.connection.send(&pdu::RELEASE_RP).await?;
                }
                Frame::Control(PduType::Abort, bytes) => {
                    return Err(ScuError::Aborted(Abort::decode(&bytes)));
                }
                // AR-6: data may still arrive until the peer agrees; nobody waits for it.
                Frame::Fragment(_) => {}
                Frame::Control(kind, _) => {
                    let message = format!("{kind} while the association is being released");
                    let error = ProtocolError::new(Abort::UNEXPECTED_PDU, message);
                    self.connection.send_abort(error.abort).await;
                    return Err(error.into());
                }
            }
        }
        self.connection.close().await;
        Ok(())
    }

    /// Aborts the association and closes the connection.
    pub async fn abort(mut self) {
        if self.phase != Phase::Over {
            self.connection.send_abort(Abort::BY_USER).await;
        }
        self.connection.close().await;
    }

    /// The ID of an accepted context for an abstract syntax.
    fn context_for(&self, abstract_syntax: &str) -> Result<u8, ScuError> {
        self.contexts
            .iter()
            .find(|context| context.abstract_syntax == abstract_syntax)
            .map(|context| context.id)
            .ok_or_else(|| ScuError::ContextNotAccepted(abstract_syntax.to_owned()))
    }

    /// The abstract syntax of an accepted context.
    fn class_of(&self, context: u8) -> Result<String, ScuError> {
        let accepted = self.contexts.iter().find(|accepted| accepted.id == context);
        accepted
            .map(|accepted| accepted.abstract_syntax.clone())
            .ok_or_else(|| ScuError::ContextNotAccepted(format!("presentation context {context}")))
    }

    /// Starts an operation. If the caller gives up half way, the next call finds out.
    fn begin(&mut self) -> Result<u16, ScuError> {
        if self.phase != Phase::Ready {
            return Err(ScuError::Over);
        }
        self.phase = Phase::Busy;
        let message_id = self.next_message_id;
        self.next_message_id = message_id.checked_add(1).unwrap_or(1);
        Ok(message_id)
    }

    /// Ends an operation: an error ends the association too, with an abort where that is possible.
    async fn end<T>(&mut self, result: Result<T, ScuError>) -> Result<T, ScuError> {
        match &result {
            Ok(_) => self.phase = Phase::Ready,
            Err(error) => {
                let abort = match error {
                    ScuError::Protocol(error) => error.abort,
                    _ => Abort::BY_USER,
                };
                let peer_is_there = !matches!(
                    error,
                    ScuError::Aborted(_) | ScuError::Closed | ScuError::Io(_) | ScuError::Released
                );
                if self.phase == Phase::Busy && peer_is_there {
                    self.connection.send_abort(abort).await;
                }
                self.phase = Phase::Over;
            }
        }
        result
    }
}

/// An answer to something else than what was asked.
fn wrong_response(answered: &Answered, command: u16, message_id: u16) -> ScuError {
    let message = format!(
        "the answer is {:04X}H to message {}, expected {command:04X}H to {message_id}",
        answered.command, answered.message_id
    );
    ProtocolError::new(Abort::BY_USER, message).into()
}

#[cfg(test)]
mod retrieve_tests;
#[cfg(test)]
mod tests;
