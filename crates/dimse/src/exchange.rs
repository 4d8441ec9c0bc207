//! Operations that take more than one message: what a handler gets, and what it may send meanwhile.
//!
//! A handler is a future in the task of its association. It talks through an [`Exchange`]; the
//! association reads its socket all the while, so that a C-CANCEL or the end of the association is
//! noticed. When the association ends, the future is dropped where it stands.

use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use qianli_model::{SopClassUid, SopInstanceUid, Tag};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::association::{AcceptedContext, AssociationInfo};
use crate::message::{Operation, SubOperations};
use crate::services::{MoveOriginator, Service, StoreOutcome};
use crate::status::{Status, StatusClass};

/// Replies that may wait for the socket; a handler that is faster waits.
const WAITING: usize = 64;

/// A data set on its way out, in pieces of any size, encoded as its presentation context wants it.
pub type DataSet = BoxStream<'static, io::Result<Bytes>>;

/// A request other than C-ECHO and C-STORE, with its data set.
#[derive(Debug, Clone)]
pub struct OperationRequest {
    /// Who asks, and over which association.
    pub association: Arc<AssociationInfo>,
    /// The context that the request came on.
    pub context: AcceptedContext,
    /// Every context of the association; the sub-operations of a C-GET use others than its own.
    pub contexts: Arc<[AcceptedContext]>,
    /// What the context is for. The operation is one of that service.
    pub service: Service,
    /// Message ID (0000,0110).
    pub message_id: u16,
    /// What is asked for.
    pub operation: Operation,
    /// Affected or Requested SOP Class UID (0000,0002), (0000,0003).
    pub sop_class: Option<String>,
    /// Affected or Requested SOP Instance UID (0000,1000), (0000,1001).
    pub sop_instance: Option<String>,
    /// The data set, encoded in the context's transfer syntax; `None` when there is none.
    pub data: Option<Bytes>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status (0000,0900). One of the class Pending lets more follow, any other ends the operation.
    pub status: Status,
    /// Error Comment (0000,0902): at most 64 characters travel; never patient data.
    pub comment: Option<String>,
    /// Sub-operations of a C-GET or C-MOVE.
    pub counts: Option<SubOperations>,
    /// Offending Element (0000,0901).
    pub offending: Vec<Tag>,
    /// Error ID (0000,0903).
    pub error_id: Option<u16>,
    /// Affected SOP Instance UID, where it is not that of the request.
    pub sop_instance: Option<String>,
    /// The data set, encoded in the context's transfer syntax.
    pub data: Option<Bytes>,
}

impl Reply {
    /// A status and nothing else.
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            comment: None,
            counts: None,
            offending: Vec::new(),
            error_id: None,
            sop_instance: None,
            data: None,
        }
    }

    /// Success.
    pub const fn success() -> Self {
        Self::new(Status::SUCCESS)
    }

    /// A match of a C-FIND.
    pub fn matched(identifier: impl Into<Bytes>) -> Self {
        Self { data: Some(identifier.into()), ..Self::new(Status::PENDING) }
    }

    /// A status with an Error Comment for the people at the other end.
    pub fn with_comment(status: Status, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..Self::new(status) }
    }

    /// The same with counts.
    #[must_use]
    pub fn counting(self, counts: SubOperations) -> Self {
        Self { counts: Some(counts), ..self }
    }

    fn is_final(&self) -> bool {
        self.status.class() != StatusClass::Pending
    }
}

impl From<StoreOutcome> for Reply {
    fn from(outcome: StoreOutcome) -> Self {
        Self { comment: outcome.comment, ..Self::new(outcome.status) }
    }
}

/// An operation that we invoke on the peer, over the association that it opened.
pub struct Invocation {
    /// ID of an accepted context.
    pub context: u8,
    /// What is asked of the peer.
    pub command: Invoked,
    /// The data set that goes with it, encoded as the context wants it. When it breaks off, so does the
    /// association: PS3.7 knows no way to take half a data set back.
    pub data: DataSet,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context, command, data: _ } = self;
        f.debug_struct("Invocation").field("context", context).field("command", command).finish()
    }
}

/// The command of an [`Invocation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invoked {
    /// C-STORE, as a sub-operation of a C-GET (PS3.4 section C.4.3).
    Store {
        /// Affected SOP Class UID.
        sop_class: SopClassUid,
        /// Affected SOP Instance UID.
        sop_instance: SopInstanceUid,
        /// Set when it is a sub-operation of somebody's C-MOVE.
        move_originator: Option<MoveOriginator>,
    },
    /// N-EVENT-REPORT (PS3.7 section 10.1.1).
    EventReport {
        /// Affected SOP Class UID.
        sop_class: SopClassUid,
        /// Affected SOP Instance UID.
        sop_instance: SopInstanceUid,
        /// Event Type ID (0000,1002).
        event_type: u16,
    },
}

/// How the peer answered an [`Invocation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationAnswer {
    /// Status (0000,0900).
    pub status: Status,
    /// Error Comment (0000,0902).
    pub comment: Option<String>,
}

/// Why there is no answer to an [`Invocation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// There is no accepted context of that ID.
    #[error("the presentation context was not accepted")]
    NoContext,
    /// The peer asked for something else instead of answering, and gets that.
    #[error("the peer went on to another request")]
    Superseded,
}

/// What a handler sends while it works.
pub struct Exchange {
    steps: mpsc::Sender<Step>,
    cancelled: CancellationToken,
    answered: bool,
}

/// What a handler wants sent.
pub(crate) enum Step {
    Reply(Reply),
    Invoke(Invocation, oneshot::Sender<Result<InvocationAnswer, InvocationError>>),
}

impl Exchange {
    pub(crate) fn new(cancelled: CancellationToken) -> (Self, mpsc::Receiver<Step>) {
        let (steps, receiver) = mpsc::channel(WAITING);
        (Self { steps, cancelled, answered: false }, receiver)
    }

    /// Sends a response. Waits when the peer takes them slowly. After one that is final, nothing more
    /// is sent for this request.
    pub async fn reply(&mut self, reply: Reply) {
        if self.answered {
            tracing::error!("a second final response was not sent: {}", reply.status);
            return;
        }
        self.answered = reply.is_final();
        self.step(Step::Reply(reply)).await;
    }

    /// Whether a final response was given.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the peer cancelled the request (PS3.7 section 9.3.2.3): the handler ends soon, with
    /// [`Status::CANCEL`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// What becomes cancelled when the peer cancels the request.
    pub fn cancellation(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Invokes an operation on the peer and waits for its answer. After the final response this may be
    /// cut off at any time by a new request of the peer: the handler is dropped then.
    ///
    /// # Errors
    ///
    /// See [`InvocationError`].
    pub async fn invoke(
        &mut self,
        invocation: Invocation,
    ) -> Result<InvocationAnswer, InvocationError> {
        let (answer, answered) = oneshot::channel();
        self.step(Step::Invoke(invocation, answer)).await;
        match answered.await {
            Ok(answer) => answer,
            Err(_) => pending().await,
        }
    }

    /// When nobody takes the step, the association has ended, and this future is about to be dropped.
    async fn step(&self, step: Step) {
        if self.steps.send(step).await.is_err() {
            pending::<()>().await;
        }
    }
}
