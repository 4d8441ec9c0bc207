//! Why a call to another node did not succeed.

use std::time::Duration;

use crate::connection::Lost;
use crate::pdu::associate::Reject;
use crate::pdu::{Abort, ProtocolError};

/// Why a call did not succeed. A response with a failure status is not an error: it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum ScuError {
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The peer rejected the association.
    #[error(
        "the peer refused the association ({}): {}",
        if .0.is_transient() { "for now" } else { "permanently" },
        .0.words()
    )]
    Refused(Reject),
    /// The peer accepted none of the proposed presentation contexts.
    #[error("the peer accepted none of the proposed presentation contexts")]
    NoContextAccepted,
    /// The context for this operation was not accepted.
    #[error("the peer did not accept a presentation context for {0}")]
    ContextNotAccepted(String),
    /// More than 128 contexts, which the IDs cannot number.
    #[error("{0} presentation contexts were asked for; an association holds 128")]
    TooManyContexts(usize),
    /// The peer aborted.
    #[error("the association was aborted {0} at the other end")]
    Aborted(Abort),
    /// The peer asked for release in the middle of an operation.
    #[error("the peer released the association before it answered")]
    Released,
    /// Nothing moved for too long.
    #[error("the peer did nothing for {0:?}")]
    Timeout(Duration),
    /// The peer closed the connection without a word.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection failed: {0}")]
    Io(#[source] std::io::Error),
    /// The peer sent what is not DICOM, or not an answer to what was asked.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[source] ProtocolError),
    /// The data set to be sent could not be read.
    #[error("cannot read the data set to be sent: {0}")]
    Source(#[source] std::io::Error),
    /// An earlier operation failed; the association cannot be used any more.
    #[error("the association is over since an earlier operation failed")]
    Over,
}

impl From<Lost> for ScuError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Closed => Self::Closed,
            Lost::Timeout(time) => Self::Timeout(time),
            Lost::Io(error) => Self::Io(error),
            Lost::Protocol(error) => Self::Protocol(error),
        }
    }
}

impl From<ProtocolError> for ScuError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}
