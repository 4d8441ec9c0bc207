//! What a node does for DIMSE peers: the seam between this crate and the binary.
//!
//! Nothing here is implemented in this crate; [`crate::scp`] calls it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use qianli_model::incident::Incident;
use qianli_model::peer::Admission;
use qianli_model::{AeTitle, Refusal, SopClassUid, SopInstanceUid, TenantId, TransferSyntax};

use crate::association::{AssociationInfo, AssociationRequest, Behind, Rejection, UserIdentity};
pub use crate::exchange::Reply;
use crate::exchange::{Exchange, OperationRequest};
use crate::message::Operation;
use crate::status::Status;

/// What the node does for DIMSE peers. Implemented by the binary over the archive.
#[async_trait]
pub trait Services: Send + Sync + 'static {
    /// Decides about an association before it is accepted: called and calling AE title, address.
    /// An error becomes an A-ASSOCIATE-RJ with that reason. Called between two reads of a socket: it
    /// must not wait for anything.
    fn admit(&self, request: &AssociationRequest) -> Result<Admission, Rejection>;

    /// Finds out whether a user identity is right, and who is behind it then; asked after
    /// [`Self::admit`], of peers that show one. `None` when it was not looked at. It may wait: others are
    /// not kept from anything.
    async fn identify(
        &self,
        request: &AssociationRequest,
        identity: &UserIdentity,
        admission: Admission,
    ) -> Result<Option<Behind>, Rejection> {
        let _ = (request, identity, admission);
        Ok(None)
    }

    /// The service that a presentation context with this abstract syntax is for; `None` refuses the
    /// context.
    fn service(&self, abstract_syntax: &str) -> Option<Service>;

    /// Takes note of what went wrong with a peer, or that one was admitted. `tenant` is the one of its
    /// association, once there is one. Called on the way of requests: it must not wait for anything.
    fn note(&self, tenant: Option<TenantId>, incident: Incident) {
        let _ = (tenant, incident);
    }

    /// Opens a sink for one C-STORE. On an error the data set is drained and the outcome answered,
    /// which has to be a failure: only [`ObjectSink::finish`] acknowledges.
    async fn begin_store(
        &self,
        request: &StoreRequest,
    ) -> Result<Box<dyn ObjectSink>, StoreOutcome>;

    /// Works off any other request: answers it over `exchange`, and ends. Dropped where it stands when
    /// the association ends before. A handler that ends without a final response has failed.
    async fn perform(&self, request: OperationRequest, exchange: &mut Exchange);
}

/// What this node can do for a peer: the services whose requests the acceptor works off. Whoever adds
/// one has to say what it needs of a peer, see `Services` of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// C-ECHO (PS3.4 annex A).
    Verification,
    /// C-STORE (PS3.4 annex B).
    Storage,
    /// C-FIND of the query/retrieve models (PS3.4 annex C).
    Query,
    /// C-GET of the query/retrieve models (PS3.4 annex C).
    Get,
    /// C-MOVE of the query/retrieve models (PS3.4 annex C).
    Move,
    /// Storage commitment, push model (PS3.4 annex J).
    Commitment,
    /// C-FIND of the modality worklist (PS3.4 annex K).
    Worklist,
    /// Modality performed procedure step (PS3.4 annex F).
    PerformedStep,
}

impl Service {
    /// Every service that the node offers.
    pub const ALL: [Self; 8] = [
        Self::Verification,
        Self::Storage,
        Self::Query,
        Self::Get,
        Self::Move,
        Self::Commitment,
        Self::Worklist,
        Self::PerformedStep,
    ];

    /// Whether an operation belongs to the service.
    pub const fn offers(self, operation: &Operation) -> bool {
        match self {
            Self::Verification => matches!(operation, Operation::Echo),
            Self::Storage => matches!(operation, Operation::Store { .. }),
            Self::Query | Self::Worklist => matches!(operation, Operation::Find { .. }),
            Self::Get => matches!(operation, Operation::Get { .. }),
            Self::Move => matches!(operation, Operation::Move { .. }),
            Self::Commitment => {
                matches!(operation, Operation::Action { .. } | Operation::EventReport { .. })
            }
            Self::PerformedStep => matches!(
                operation,
                Operation::Create | Operation::Set | Operation::GetAttributes { .. }
            ),
        }
    }
}

/// Takes the data set of one C-STORE.
///
/// A sink that is dropped without [`ObjectSink::finish`] belongs to an association that died: it
/// must clean up after itself.
#[async_trait]
pub trait ObjectSink: Send {
    /// Takes the next bytes of the data set, as they were sent: no file meta information, the
    /// encoding is the request's transfer syntax. A chunk is a slice of the receive buffer (at most
    /// [`crate::scp::READ_BUFFER`] bytes), handed over without a copy; keeping it keeps that buffer.
    /// After an error the sink is dropped, the rest drained, and that failure answered.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome>;

    /// Called after the last byte. When it says success, the object is durable.
    async fn finish(self: Box<Self>) -> StoreOutcome;
}

/// One C-STORE request, checked against the negotiated presentation context.
#[derive(Debug, Clone)]
pub struct StoreRequest {
    /// Who sends, and over which association.
    pub association: Arc<AssociationInfo>,
    /// Affected SOP Class UID (0000,0002); equals the context's abstract syntax.
    pub sop_class_uid: SopClassUid,
    /// Affected SOP Instance UID (0000,1000).
    pub sop_instance_uid: SopInstanceUid,
    /// How the data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// Set when the sender works off somebody's C-MOVE.
    pub move_originator: Option<MoveOriginator>,
}

/// Who asked for the C-MOVE that led to a C-STORE (PS3.7 9.1.1.1.6, 9.1.1.1.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveOriginator {
    /// Move Originator Application Entity Title (0000,1030).
    pub ae_title: AeTitle,
    /// Move Originator Message ID (0000,1031).
    pub message_id: Option<u16>,
}

/// How a C-STORE is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOutcome {
    /// Status (0000,0900).
    pub status: Status,
    /// Error Comment (0000,0902): at most 64 characters travel; never patient data.
    pub comment: Option<String>,
}

impl StoreOutcome {
    /// Stored.
    pub const fn success() -> Self {
        Self { status: Status::SUCCESS, comment: None }
    }

    /// A status without a comment.
    pub const fn new(status: Status) -> Self {
        Self { status, comment: None }
    }

    /// A status with an Error Comment for the people at the other end.
    pub fn with_comment(status: Status, comment: impl Into<String>) -> Self {
        Self { status, comment: Some(comment.into()) }
    }
}

impl From<Refusal> for StoreOutcome {
    fn from(refusal: Refusal) -> Self {
        Self::with_comment(Status::new(refusal.code()), refusal.to_string())
    }
}
