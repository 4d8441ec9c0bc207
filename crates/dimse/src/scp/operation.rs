//! What happens inside an established association (PS3.8 Sta6): one request after the other.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use metrics::counter;
use qianli_model::incident::{Cause, Incident};
use qianli_model::{SopClassUid, SopInstanceUid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::perform::Invocations;
use super::session::End;
use crate::association::{AcceptedContext, AssociationInfo};
use crate::command::COMMAND_LIMIT;
use crate::connection::Connection;
use crate::message::{Operation, Request};
use crate::pdu::{self, Abort, Fragment, Frame, PduType, ProtocolError};
use crate::services::{MoveOriginator, ObjectSink, Services, StoreOutcome, StoreRequest};
use crate::status::Status;

/// What an association brought, for the log.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// C-STOREs answered with success or warning.
    pub stored: u64,
    /// The others.
    pub failed: u64,
    /// Data set bytes received in both.
    pub bytes: u64,
}

/// An established association.
pub(super) struct Session<'a, S> {
    pub connection: Connection<S>,
    pub services: &'a dyn Services,
    pub info: Arc<AssociationInfo>,
    pub contexts: Arc<[AcceptedContext]>,
    pub send_limit: u32,
    /// A request that was read before the one before it was done with.
    pub next: Option<(AcceptedContext, Request)>,
    pub invocations: Invocations,
    pub counts: Counts,
    pub shutdown: &'a CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    /// Works off requests until the association ends, and says how.
    pub async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.operation().await {
                return end;
            }
        }
    }

    /// Waits for one request and works it off.
    async fn operation(&mut self) -> Result<(), End> {
        let ControlFlow::Continue((context, request)) = self.next_request().await? else {
            return Ok(());
        };
        match &request.operation {
            Operation::Store { move_originator } => {
                self.store(&context, &request, move_originator.clone()).await
            }
            Operation::Echo => {
                self.drain(&context, &request).await?;
                self.answer(&context, &request, &StoreOutcome::success()).await
            }
            _ => self.perform(context, request).await,
        }
    }

    /// Collects the fragments of a command set.
    pub(super) async fn read_command(&mut self, first: Fragment) -> Result<Bytes, End> {
        let context = first.context;
        let mut piece = first;
        let mut command = BytesMut::new();
        loop {
            if !piece.command || piece.context != context {
                return Err(violation("a data set fragment where a command set was expected"));
            }
            if command.len() + piece.data.len() > COMMAND_LIMIT {
                return Err(violation(format!("a command set of more than {COMMAND_LIMIT} bytes")));
            }
            command.extend_from_slice(&piece.data);
            if piece.last {
                return Ok(command.freeze());
            }
            piece = fragment(self.connection.next_frame().await?)?;
        }
    }

    /// The next piece of the data set that belongs to the request under way.
    pub(super) async fn next_data(&mut self, context: &AcceptedContext) -> Result<Fragment, End> {
        let piece = fragment(self.connection.next_frame().await?)?;
        if piece.command || piece.context != context.id {
            return Err(violation(
                "a new message before the data set of the last one was complete",
            ));
        }
        Ok(piece)
    }

    pub(super) async fn drain(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
    ) -> Result<(), End> {
        if request.has_data_set {
            while !self.next_data(context).await?.last {}
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        outcome: &StoreOutcome,
    ) -> Result<(), End> {
        let mut out = Vec::with_capacity(512);
        let command = request.response(outcome);
        pdu::encode_message(&mut out, context.id, true, &command, self.send_limit);
        Ok(self.connection.send(&out).await?)
    }

    /// C-STORE (PS3.7 section 9.1.1). Leaving early drops the sink, which cleans up.
    async fn store(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        move_originator: Option<MoveOriginator>,
    ) -> Result<(), End> {
        let mut sink: Result<Box<dyn ObjectSink>, StoreOutcome> =
            match self.store_request(context, request, move_originator) {
                Ok(store) => self.services.begin_store(&store).await,
                Err(outcome) => Err(outcome),
            };
        let mut bytes = 0;
        let mut more = request.has_data_set;
        while more {
            let piece = self.next_data(context).await?;
            more = !piece.last;
            bytes += piece.data.len() as u64;
            if let Ok(open) = &mut sink
                && !piece.data.is_empty()
                && let Err(outcome) = open.write(piece.data).await
            {
                // The rest is drained: PS3.7 knows no answer in the middle of a data set.
                sink = Err(outcome);
            }
        }
        let outcome = match sink {
            Ok(sink) => sink.finish().await,
            // Only a sink that finished may acknowledge: whatever else says so would lose an image.
            Err(outcome) if outcome.status.is_done() => {
                error!("a sink gave up with {}; answered as a failure", outcome.status);
                StoreOutcome::new(Status::PROCESSING_FAILURE)
            }
            Err(outcome) => outcome,
        };
        self.record(request, &outcome, bytes);
        self.answer(context, request, &outcome).await
    }

    /// Checks the command against the context (PS3.7 section 9.1.1.1, annex C).
    fn store_request(
        &self,
        context: &AcceptedContext,
        request: &Request,
        move_originator: Option<MoveOriginator>,
    ) -> Result<StoreRequest, StoreOutcome> {
        let refuse = |status, comment: &str| Err(StoreOutcome::with_comment(status, comment));
        if !request.has_data_set {
            return refuse(Status::MISTYPED_ARGUMENT, "C-STORE without a data set");
        }
        let Some(class) = request.sop_class.as_deref() else {
            return refuse(Status::MISTYPED_ARGUMENT, "Affected SOP Class UID is missing");
        };
        if class != context.abstract_syntax {
            return refuse(
                Status::SOP_CLASS_NOT_SUPPORTED,
                "SOP class is not that of the presentation context",
            );
        }
        let Ok(sop_class_uid) = SopClassUid::parse(class) else {
            return refuse(Status::SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not a UID");
        };
        let Some(instance) = request.sop_instance.as_deref() else {
            return refuse(Status::MISTYPED_ARGUMENT, "Affected SOP Instance UID is missing");
        };
        let Ok(sop_instance_uid) = SopInstanceUid::parse(instance) else {
            return refuse(Status::INVALID_SOP_INSTANCE, "Affected SOP Instance UID is not a UID");
        };
        Ok(StoreRequest {
            association: Arc::clone(&self.info),
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax: context.transfer_syntax,
            move_originator,
        })
    }

    /// Remembers a request that failed, for whoever looks why.
    pub(super) fn note_failure(&self, request: &Request, status: Status, comment: Option<&str>) {
        // What is not a UID could be anything, a name even.
        let class = request.sop_class.as_deref().and_then(|uid| SopClassUid::parse(uid).ok());
        let class = class.as_ref().map_or("", SopClassUid::as_str);
        let subject = format!("{} {class}", request.operation.name());
        let incident = self.info.incident(Cause::of_status(status.code())).about(&subject);
        let incident = incident.saying(comment.unwrap_or_default());
        let incident = Incident { status: status.code(), ..incident };
        self.services.note(Some(self.info.admission.home()), incident);
    }

    fn record(&mut self, request: &Request, outcome: &StoreOutcome, bytes: u64) {
        let class = outcome.status.class().as_str();
        counter!("qianli_dimse_stores_total", "status" => class).increment(1);
        counter!("qianli_dimse_store_bytes_total").increment(bytes);
        self.counts.bytes += bytes;
        // What is not a UID could be anything, a name even, and stays out of the log.
        let sop_class = request.sop_class.as_deref().and_then(|uid| SopClassUid::parse(uid).ok());
        let sop_class = sop_class.as_ref().map(SopClassUid::as_str);
        let sop_instance =
            request.sop_instance.as_deref().and_then(|uid| SopInstanceUid::parse(uid).ok());
        let sop_instance = sop_instance.as_ref().map(SopInstanceUid::as_str);
        if outcome.status.is_done() {
            self.counts.stored += 1;
            debug!(sop_class, sop_instance, bytes, status = %outcome.status, "stored");
        } else {
            self.counts.failed += 1;
            warn!(
                sop_class,
                sop_instance,
                bytes,
                "did not store an instance from {} ({}): {} {}",
                self.info.calling,
                self.info.peer,
                outcome.status,
                outcome.comment.as_deref().unwrap_or_default(),
            );
            self.note_failure(request, outcome.status, outcome.comment.as_deref());
        }
    }
}

/// What a control PDU means in Sta6.
pub(super) fn fragment(frame: Frame) -> Result<Fragment, End> {
    match frame {
        Frame::Fragment(fragment) => Ok(fragment),
        Frame::Control(PduType::ReleaseRq, _) => Err(End::Released),
        Frame::Control(PduType::Abort, bytes) => Err(End::AbortedByPeer(Abort::decode(&bytes))),
        Frame::Control(kind, _) => {
            Err(ProtocolError::new(Abort::UNEXPECTED_PDU, format!("{kind} inside an association"))
                .into())
        }
    }
}

pub(super) fn violation(message: impl Into<String>) -> End {
    ProtocolError::new(Abort::INVALID_PARAMETER, message).into()
}
