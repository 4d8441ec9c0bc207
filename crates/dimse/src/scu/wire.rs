//! Message parts of the requestor: whole ones out, command sets and data sets in.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, Answered, Incoming};
use super::{Association, LINGER, Phase, ScuError, wrong_response};
use crate::command::{COMMAND_LIMIT, CommandSet};
use crate::connection::Lost;
use crate::pdu::{self, Abort, Fragment, Frame, PduType, ProtocolError};

/// Longest data set that is read into memory: that of a response or an event report. A storage
/// commitment of 100,000 instances has about 12 MB.
const DATA_SET_LIMIT: usize = 16 << 20;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Writes whole PDUs. While that is under way our side is inside a PDU.
    pub(super) async fn send(&mut self, pdus: &[u8]) -> Result<(), ScuError> {
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

    pub(super) async fn send_command(
        &mut self,
        context: u8,
        command: &[u8],
    ) -> Result<(), ScuError> {
        self.send_message(context, command, None).await
    }

    /// Sends a command set, and a data set that is in memory.
    pub(super) async fn send_message(
        &mut self,
        context: u8,
        command: &[u8],
        data: Option<&[u8]>,
    ) -> Result<(), ScuError> {
        let mut out = Vec::with_capacity(data.map_or(0, <[u8]>::len).saturating_add(512));
        pdu::encode_message(&mut out, context, true, command, self.send_limit);
        if let Some(data) = data {
            pdu::encode_message(&mut out, context, false, data, self.send_limit);
        }
        self.send(&out).await
    }

    /// Waits for a response that carries no data set.
    pub(super) async fn answer(
        &mut self,
        context: u8,
        message_id: u16,
        command: u16,
    ) -> Result<Answer, ScuError> {
        let answered = self.response(context, message_id, command).await?;
        if answered.has_data_set {
            self.data_set(context).await?;
        }
        Ok(answered.answer)
    }

    /// Waits for a response to `message_id`; its data set, if it has one, is still to be read.
    pub(super) async fn response(
        &mut self,
        context: u8,
        message_id: u16,
        command: u16,
    ) -> Result<Answered, ScuError> {
        loop {
            let (came_on, incoming) = self.incoming().await?;
            let answered = match incoming {
                Incoming::Response(answered) => answered,
                Incoming::Request(asked) => {
                    self.notice(came_on, asked).await?;
                    continue;
                }
            };
            self.expect_response(&answered, came_on, context)?;
            if answered.command != command || answered.message_id != message_id {
                return Err(wrong_response(&answered, command, message_id));
            }
            return Ok(answered);
        }
    }

    /// Waits for a command set on any context.
    pub(super) async fn incoming(&mut self) -> Result<(u8, Incoming), ScuError> {
        let first = self.next_fragment().await?;
        let context = first.context;
        let set = self.collect(first, true, COMMAND_LIMIT).await?;
        let incoming = CommandSet::parse(set)
            .and_then(|set| Incoming::read(&set))
            .map_err(|error| ProtocolError::new(Abort::BY_USER, error.to_string()))?;
        Ok((context, incoming))
    }

    /// Reads a whole data set of bounded size.
    pub(super) async fn data_set(&mut self, context: u8) -> Result<Bytes, ScuError> {
        let first = self.next_fragment().await?;
        if first.context != context {
            let message = "a fragment of another message than the one under way";
            return Err(ProtocolError::new(Abort::UNEXPECTED_PARAMETER, message).into());
        }
        self.collect(first, false, DATA_SET_LIMIT).await
    }

    /// Collects a command set or a data set of at most `limit` bytes.
    async fn collect(
        &mut self,
        first: Fragment,
        command: bool,
        limit: usize,
    ) -> Result<Bytes, ScuError> {
        let context = first.context;
        let mut piece = first;
        let mut part = BytesMut::new();
        loop {
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
            piece = self.next_fragment().await?;
        }
    }

    pub(super) async fn next_fragment(&mut self) -> Result<Fragment, ScuError> {
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
