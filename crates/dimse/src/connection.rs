//! One byte stream with a peer: reads frames, writes PDUs, gives up when nothing moves.
//!
//! Shared by the acceptor and the requestor. Knows timeouts and buffers, not messages.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::pdu::{Abort, Deframer, Frame, ProtocolError};

/// How much is read at once while a data set arrives; the largest slice handed to a sink.
pub const READ_BUFFER: usize = 256 * 1024;

/// How much is read at once otherwise, and what an idle association holds.
const IDLE_BUFFER: usize = 8 * 1024;

/// After this much silence between two messages the large buffer is given back.
const SHRINK_AFTER: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// An abort is a courtesy: a peer that does not read gets no more time than this.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing moved for the idle time.
    #[error("nothing arrived or left for {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer sent bytes that are not DICOM.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

pub(crate) struct Connection<S> {
    stream: S,
    buffer: BytesMut,
    deframer: Deframer,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Wraps a stream to a peer that was or will be told `max_pdu`. `idle` bounds the time without
    /// a single byte of progress, in either direction.
    pub fn new(stream: S, max_pdu: u32, idle: Duration) -> Self {
        Self { stream, buffer: BytesMut::new(), deframer: Deframer::new(max_pdu), idle }
    }

    /// Changes the bound on silence.
    pub fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// Reads the next frame. Dropping the future loses nothing.
    pub async fn next_frame(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.deframer.next(&mut self.buffer)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Waits for bytes of the peer, unless some are here. Dropping the future loses nothing.
    pub async fn readable(&mut self) -> Result<(), Lost> {
        match self.buffer.is_empty() {
            true => self.fill().await,
            false => Ok(()),
        }
    }

    async fn fill(&mut self) -> Result<(), Lost> {
        let mut patience = self.idle;
        let between_messages = self.buffer.is_empty() && self.deframer.at_boundary();
        if between_messages && self.buffer.capacity() > IDLE_BUFFER && patience > SHRINK_AFTER {
            self.make_room();
            if let Ok(read) = timeout(SHRINK_AFTER, self.stream.read_buf(&mut self.buffer)).await {
                return arrived(read);
            }
            self.buffer = BytesMut::new();
            patience -= SHRINK_AFTER;
        }
        self.make_room();
        match timeout(patience, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => arrived(read),
            Err(_) => Err(Lost::Timeout(self.idle)),
        }
    }

    /// Makes sure that the next read is worth its system call. What was handed to a sink and is
    /// still kept there is left alone; then this allocates a fresh buffer, else it reuses the old.
    fn make_room(&mut self) {
        let wanted = if self.deframer.inside_p_data() { READ_BUFFER } else { IDLE_BUFFER };
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < wanted / 4 {
            // Asking for exactly the old capacity lets an unshared buffer be reused in place.
            let additional = wanted.saturating_sub(self.buffer.len()).max(IDLE_BUFFER);
            self.buffer.reserve(additional);
        }
    }

    /// Writes everything, as long as the peer keeps reading. After an error the stream may stand
    /// inside a PDU: nothing may be written to it any more.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Lost> {
        while !bytes.is_empty() {
            let written = timeout(self.idle, self.stream.write(bytes))
                .await
                .map_err(|_| Lost::Timeout(self.idle))??;
            if written == 0 {
                return Err(Lost::Closed);
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        timeout(self.idle, self.stream.flush()).await.map_err(|_| Lost::Timeout(self.idle))??;
        Ok(())
    }

    /// Sends an A-ABORT if the peer still reads. Only between two PDUs.
    pub async fn send_abort(&mut self, abort: Abort) {
        self.idle = self.idle.min(ABORT_PATIENCE);
        // The association is over either way; whether the peer hears of it changes nothing here.
        let _ = self.send(&abort.encode()).await;
    }

    /// Waits for the peer to close, which PS3.8 wants it to do first (state 13), but no longer than
    /// `artim`. Closing at once with unread bytes would reset the connection and could destroy the
    /// last PDU on its way.
    pub async fn await_close(mut self, artim: Duration) {
        let deadline = Instant::now() + artim;
        let mut discard = BytesMut::with_capacity(IDLE_BUFFER);
        while let Ok(Ok(1..)) = timeout_at(deadline, self.stream.read_buf(&mut discard)).await {
            discard.clear();
        }
    }

    /// Closes the sending side and forgets the rest.
    pub async fn close(mut self) {
        // A peer that is gone cannot be told; nothing is left to do about it.
        let _ = timeout(ABORT_PATIENCE, self.stream.shutdown()).await;
    }
}

fn arrived(read: io::Result<usize>) -> Result<(), Lost> {
    match read {
        Ok(0) => Err(Lost::Closed),
        Ok(_) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Err(Lost::Closed)
        }
        Err(error) => Err(Lost::Io(error)),
    }
}
