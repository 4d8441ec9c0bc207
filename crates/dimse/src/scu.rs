//! The requestor: calls another node to verify, store and query.
//!
//! One operation at a time, as negotiated by default (PS3.7 D.3.3.3). After any error the
//! association is over: it is aborted where the stream still allows it, and every further call says
//! so. Which objects are sent where is not decided here.

mod error;
mod find;
mod propose;
mod store;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use qianli_model::TransferSyntax;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;
use tracing::debug;

use crate::association::{AcceptedContext, VERIFICATION, send_limit};
use crate::command::{COMMAND_LIMIT, CommandSet};
use crate::connection::{Connection, Lost};
use crate::message::outgoing::echo_request;
use crate::message::{Response, field};
use crate::pdu::associate::{self, Reject};
use crate::pdu::{self, Abort, Fragment, Frame, PduType, ProtocolError};
use crate::status::Status;

pub use error::ScuError;
pub use find::{Find, FindStep};
pub use propose::{ProposedContext, ScuConfig};
use propose::{accepted_contexts, peer_limit, request};

/// How long we wait for the peer to close after an abort.
const LINGER: Duration = Duration::from_secs(1);

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status (0000,0900).
    pub status: Status,
    /// Error Comment (0000,0902).
    pub comment: Option<String>,
}

/// An association we asked for.
pub struct Association<S = TcpStream> {
    connection: Connection<S>,
    contexts: Vec<AcceptedContext>,
    send_limit: u32,
    next_message_id: u16,
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
        let contexts = accepted_contexts(contexts, accept);
        debug!(%peer, called = %config.called, contexts = contexts.len(), "association accepted");
        let association = Self {
            connection,
            contexts,
            send_limit: send_limit(peer_limit, config.max_pdu),
            next_message_id: 1,
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

    /// Writes whole PDUs. While that is under way our side is inside a PDU.
    async fn send(&mut self, pdus: &[u8]) -> Result<(), ScuError> {
        self.phase = Phase::Over;
        match self.connection.send(pdus).await {
            Ok(()) => {
                self.phase = Phase::Busy;
                Ok(())
            }
            Err(Lost::Closed | Lost::Io(_)) => Err(self.why_closed().await),
            Err(lost) => Err(lost.into()),
        }
    }

    /// After a failed write: the peer may have said why before it closed.
    async fn why_closed(&mut self) -> ScuError {
        self.connection.set_idle(LINGER);
        match self.connection.next_frame().await {
            Ok(Frame::Control(PduType::Abort, bytes)) => ScuError::Aborted(Abort::decode(&bytes)),
            _ => ScuError::Closed,
        }
    }

    async fn send_command(&mut self, context: u8, command: &[u8]) -> Result<(), ScuError> {
        let mut out = Vec::with_capacity(512);
        pdu::encode_message(&mut out, context, true, command, self.send_limit);
        self.send(&out).await
    }

    /// Waits for a response that carries no data set.
    async fn answer(
        &mut self,
        context: u8,
        message_id: u16,
        command: u16,
    ) -> Result<Answer, ScuError> {
        let (response, _) = self.response(context, message_id, command).await?;
        Ok(Answer { status: response.status, comment: response.comment })
    }

    /// Waits for a response to `message_id`, with its data set if it has one.
    async fn response(
        &mut self,
        context: u8,
        message_id: u16,
        command: u16,
    ) -> Result<(Response, Option<Bytes>), ScuError> {
        let set = self.message_part(context, true, COMMAND_LIMIT).await?;
        let invalid = |message: String| ProtocolError::new(Abort::BY_USER, message);
        let response = CommandSet::parse(set)
            .and_then(|set| Response::parse(&set))
            .map_err(|error| invalid(error.to_string()))?;
        if response.command != command || response.message_id != message_id {
            return Err(invalid(format!(
                "the answer is {:04X}H to message {}, expected {command:04X}H to {message_id}",
                response.command, response.message_id
            ))
            .into());
        }
        let data = match response.has_data_set {
            true => Some(self.message_part(context, false, find::IDENTIFIER_LIMIT).await?),
            false => None,
        };
        Ok((response, data))
    }

    /// Collects a command set or a data set of at most `limit` bytes.
    async fn message_part(
        &mut self,
        context: u8,
        command: bool,
        limit: usize,
    ) -> Result<Bytes, ScuError> {
        let mut part = BytesMut::new();
        loop {
            let piece = self.next_fragment().await?;
            if piece.context != context || piece.command != command {
                let message = "a fragment of another message than the one under way";
                return Err(ProtocolError::new(Abort::UNEXPECTED_PARAMETER, message).into());
            }
            if part.len() + piece.data.len() > limit {
                let message = format!("a message part of more than {limit} bytes");
                return Err(ProtocolError::new(Abort::INVALID_PARAMETER, message).into());
            }
            if part.is_empty() && piece.last {
                return Ok(piece.data);
            }
            part.extend_from_slice(&piece.data);
            if piece.last {
                return Ok(part.freeze());
            }
        }
    }

    async fn next_fragment(&mut self) -> Result<Fragment, ScuError> {
        match self.connection.next_frame().await? {
            Frame::Fragment(fragment) => Ok(fragment),
            Frame::Control(PduType::Abort, bytes) => Err(ScuError::Aborted(Abort::decode(&bytes))),
            Frame::Control(PduType::ReleaseRq, _) => {
                // Polite to the last: the peer is owed its answer.
                self.connection.send(&pdu::RELEASE_RP).await?;
                Err(ScuError::Released)
            }
            Frame::Control(kind, _) => Err(ProtocolError::new(
                Abort::UNEXPECTED_PDU,
                format!("{kind} inside an association"),
            )
            .into()),
        }
    }
}

#[cfg(test)]
mod tests;
