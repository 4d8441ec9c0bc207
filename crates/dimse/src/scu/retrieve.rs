//! C-MOVE and C-GET as SCU: how far the peer is, and with C-GET the objects themselves, which come
//! on the same association and go on to a sink as they arrive.

use async_trait::async_trait;
use bytes::Bytes;
use qianli_model::{AeTitle, SopClassUid, SopInstanceUid, TransferSyntax};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, Asked, Incoming, SubOperations};
use super::{Association, ScuError};
use crate::message::outgoing::{cancel_request, get_request, move_request, store_response};
use crate::message::{Priority, field};
use crate::pdu::{Abort, ProtocolError};
use crate::services::{ObjectSink, StoreOutcome};
use crate::status::{Status, StatusClass};

/// A C-MOVE or C-GET under way. Dropping it before it is done leaves the association unusable: abort
/// it.
pub struct Retrieval<'a, S> {
    association: &'a mut Association<S>,
    context: u8,
    message_id: u16,
    /// Command field of the responses.
    command: u16,
    done: bool,
}

/// What a C-MOVE or C-GET yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetrieveStep {
    /// The peer says how far it is.
    Pending(SubOperations),
    /// C-GET: an object came, and this is what became of it.
    Received(SopInstanceUid, Status),
    /// The end.
    Done(Retrieved),
}

/// How a C-MOVE or C-GET ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrieved {
    /// Status and comment.
    pub answer: Answer,
    /// The last counts.
    pub counts: SubOperations,
    /// The data set of the answer, with Failed SOP Instance UID List (0008,0058) where something
    /// failed; encoded in the context's transfer syntax.
    pub identifier: Option<Bytes>,
}

/// An object that a peer sends in the course of a C-GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// Its class.
    pub sop_class: SopClassUid,
    /// Which one.
    pub sop_instance: SopInstanceUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntax,
}

/// Takes the objects of a C-GET.
#[async_trait]
pub trait Receiver: Send {
    /// Opens a sink for one object. On an error the object is drained and refused with that.
    async fn begin(&mut self, object: &Arriving) -> Result<Box<dyn ObjectSink>, StoreOutcome>;
}

/// Refuses everything: a C-MOVE brings nothing on its own association.
struct Nobody;

#[async_trait]
impl Receiver for Nobody {
    async fn begin(&mut self, _: &Arriving) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        Err(StoreOutcome::new(Status::UNRECOGNISED_OPERATION))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Asks the peer to send objects to `destination`, which it has to know (PS3.7 section 9.1.4).
    /// `identifier` is encoded in the context's transfer syntax.
    pub async fn move_to(
        &mut self,
        context: u8,
        identifier: &[u8],
        destination: &AeTitle,
        priority: Priority,
    ) -> Result<Retrieval<'_, S>, ScuError> {
        let class = self.class_of(context)?;
        let message_id = self.begin()?;
        let command = move_request(message_id, &class, destination, priority);
        self.retrieve(context, message_id, field::C_MOVE_RQ, &command, identifier).await
    }

    /// Asks the peer for objects on this association (PS3.7 section 9.1.3). Their storage classes
    /// must have been proposed with [`super::Role::Performer`] or [`super::Role::Both`].
    pub async fn get(
        &mut self,
        context: u8,
        identifier: &[u8],
        priority: Priority,
    ) -> Result<Retrieval<'_, S>, ScuError> {
        let class = self.class_of(context)?;
        let message_id = self.begin()?;
        let command = get_request(message_id, &class, priority);
        self.retrieve(context, message_id, field::C_GET_RQ, &command, identifier).await
    }

    async fn retrieve(
        &mut self,
        context: u8,
        message_id: u16,
        request: u16,
        command: &[u8],
        identifier: &[u8],
    ) -> Result<Retrieval<'_, S>, ScuError> {
        if let Err(error) = self.send_message(context, command, Some(identifier)).await {
            return self.end(Err(error)).await;
        }
        let command = request | field::RESPONSE;
        Ok(Retrieval { association: self, context, message_id, command, done: false })
    }

    /// Takes one C-STORE of the peer and answers it.
    async fn receive(
        &mut self,
        context: u8,
        asked: Asked,
        receiver: &mut dyn Receiver,
    ) -> Result<Option<(SopInstanceUid, Status)>, ScuError> {
        let object = self.arriving(context, &asked);
        let mut sink = match &object {
            Ok(object) => receiver.begin(object).await,
            Err(status) => Err(StoreOutcome::new(*status)),
        };
        let mut more = asked.has_data_set;
        while more {
            let piece = self.next_fragment().await?;
            if piece.command || piece.context != context {
                let message = "a new message before the data set of the last one was complete";
                return Err(ProtocolError::new(Abort::UNEXPECTED_PARAMETER, message).into());
            }
            more = !piece.last;
            if let Ok(open) = &mut sink
                && !piece.data.is_empty()
                && let Err(outcome) = open.write(piece.data).await
            {
                sink = Err(outcome);
            }
        }
        let status = match sink {
            Ok(sink) => sink.finish().await.status,
            // Only a sink that finished may acknowledge.
            Err(outcome) if outcome.status.is_done() => Status::PROCESSING_FAILURE,
            Err(outcome) => outcome.status,
        };
        let (class, instance) = (asked.sop_class.as_deref(), asked.sop_instance.as_deref());
        let response = store_response(asked.message_id, class, instance, status);
        self.send_command(context, &response).await?;
        Ok(object.ok().map(|object| (object.sop_instance, status)))
    }

    fn arriving(&self, context: u8, asked: &Asked) -> Result<Arriving, Status> {
        let accepted = self.contexts.iter().find(|accepted| accepted.id == context);
        let accepted = accepted.ok_or(Status::SOP_CLASS_NOT_SUPPORTED)?;
        let class = asked.sop_class.as_deref().ok_or(Status::MISTYPED_ARGUMENT)?;
        if class != accepted.abstract_syntax {
            return Err(Status::SOP_CLASS_NOT_SUPPORTED);
        }
        if !asked.has_data_set {
            return Err(Status::MISTYPED_ARGUMENT);
        }
        let instance = asked.sop_instance.as_deref().ok_or(Status::MISTYPED_ARGUMENT)?;
        Ok(Arriving {
            sop_class: SopClassUid::parse(class).map_err(|_| Status::SOP_CLASS_NOT_SUPPORTED)?,
            sop_instance: SopInstanceUid::parse(instance)
                .map_err(|_| Status::INVALID_SOP_INSTANCE)?,
            transfer_syntax: accepted.transfer_syntax,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Retrieval<'_, S> {
    /// The next step of a C-MOVE. After the end every call is an error.
    pub async fn next(&mut self) -> Result<RetrieveStep, ScuError> {
        self.next_into(&mut Nobody).await
    }

    /// The next step of a C-GET, whose objects go to `receiver`.
    pub async fn next_into(
        &mut self,
        receiver: &mut dyn Receiver,
    ) -> Result<RetrieveStep, ScuError> {
        if self.done {
            return Err(ScuError::Over);
        }
        let result = self.step(receiver).await;
        match result {
            Ok(step @ RetrieveStep::Done(_)) => {
                self.done = true;
                self.association.end(Ok(step)).await
            }
            Ok(step) => Ok(step),
            Err(error) => {
                self.done = true;
                self.association.end(Err(error)).await
            }
        }
    }

    async fn step(&mut self, receiver: &mut dyn Receiver) -> Result<RetrieveStep, ScuError> {
        loop {
            let (context, incoming) = self.association.incoming().await?;
            let answered = match incoming {
                Incoming::Request(asked) if asked.command == field::C_STORE_RQ => {
                    match self.association.receive(context, asked, receiver).await? {
                        Some((instance, status)) => {
                            return Ok(RetrieveStep::Received(instance, status));
                        }
                        None => continue,
                    }
                }
                Incoming::Request(asked) => {
                    self.association.notice(context, asked).await?;
                    continue;
                }
                Incoming::Response(answered) => answered,
            };
            self.association.expect_response(&answered, context, self.context)?;
            if answered.command != self.command || answered.message_id != self.message_id {
                return Err(super::wrong_response(&answered, self.command, self.message_id));
            }
            let identifier = match answered.has_data_set {
                true => Some(self.association.data_set(self.context).await?),
                false => None,
            };
            if answered.answer.status.class() == StatusClass::Pending {
                return Ok(RetrieveStep::Pending(answered.counts));
            }
            let (answer, counts) = (answered.answer, answered.counts);
            return Ok(RetrieveStep::Done(Retrieved { answer, counts, identifier }));
        }
    }

    /// Asks the peer to stop (PS3.7 section 9.3.2.3). Go on until the end.
    pub async fn cancel(&mut self) -> Result<(), ScuError> {
        if self.done {
            return Ok(());
        }
        let command = cancel_request(self.message_id);
        if let Err(error) = self.association.send_command(self.context, &command).await {
            self.done = true;
            return self.association.end(Err(error)).await;
        }
        Ok(())
    }
}
