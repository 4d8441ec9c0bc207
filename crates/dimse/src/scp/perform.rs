//! Requests that take more than one message: runs a handler, sends what it wants sent, and reads the
//! socket all the while.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::operation::{Session, fragment, violation};
use super::session::End;
use crate::association::AcceptedContext;
use crate::command::CommandSet;
use crate::connection::Lost;
use crate::exchange::{
    Exchange, Invocation, InvocationAnswer, InvocationError, Invoked, OperationRequest, Reply, Step,
};
use crate::message::outgoing::{Normalised, normalised_request, store_request};
use crate::message::{Operation, Priority, Request, Response, field};
use crate::pdu::{Abort, Fragment, Fragments, Frame, ProtocolError, encode_message};
use crate::services::Service;
use crate::status::{Status, StatusClass};

/// Replies are gathered up to this before they are sent (bytes).
const GATHERED: usize = 64 * 1024;

/// The data set of a request may be this long without asking the budget (bytes).
const SMALL: usize = 64 * 1024;

/// What longer data sets of requests take together, in pieces of [`SMALL`]: what they are read into is
/// many times as large. Beyond it a request is refused; nobody waits, since those who hold a part of it
/// could wait for each other.
static BUDGET: Semaphore = Semaphore::const_new(16 * 1024 * 1024 / SMALL);

/// Event reports that a peer may leave unanswered before we stop expecting their answers.
const UNANSWERED: usize = 16;

/// What an association does between two requests and beside them.
#[derive(Default)]
pub(super) struct Invocations {
    last_id: u16,
    /// Invocations whose answer is not waited for any more.
    abandoned: Vec<u16>,
}

impl Invocations {
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn abandon(&mut self, id: u16) {
        if self.abandoned.len() == UNANSWERED {
            self.abandoned.remove(0);
        }
        self.abandoned.push(id);
    }

    /// Whether a response is one that nobody waits for any more.
    pub fn take_abandoned(&mut self, id: u16) -> bool {
        let before = self.abandoned.len();
        self.abandoned.retain(|other| *other != id);
        self.abandoned.len() < before
    }
}

/// What a peer may send while its request is worked off.
enum Interjection {
    /// Cancels the request.
    Cancel,
    /// Another request, of which the data set was not read yet.
    Request(AcceptedContext, Request),
    /// The answer to an operation that we invoked.
    Response(Response),
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    /// Works off a request other than C-ECHO and C-STORE.
    pub(super) async fn perform(
        &mut self,
        context: AcceptedContext,
        request: Request,
    ) -> Result<(), End> {
        let service = self.services.service(&context.abstract_syntax);
        let Some(service) = service.filter(|service| service.offers(&request.operation)) else {
            warn!(
                "{} asked for {} on a presentation context of {}, which is not offered",
                self.info.calling,
                request.operation.name(),
                context.abstract_syntax
            );
            self.drain(&context, &request).await?;
            let reply = Reply::new(Status::UNRECOGNISED_OPERATION);
            return self.send_reply(&context, &request, &reply).await;
        };
        let (data, _held) = match self.read_data(&context, &request, service.data_limit()).await? {
            Ok(read) => read,
            Err(reply) => return self.send_reply(&context, &request, &reply).await,
        };
        if let Some(reply) = refused(&context, &request) {
            return self.send_reply(&context, &request, &reply).await;
        }
        let cancelled = CancellationToken::new();
        let (mut exchange, steps) = Exchange::new(cancelled.clone());
        let operation = OperationRequest {
            association: Arc::clone(&self.info),
            context: context.clone(),
            contexts: Arc::clone(&self.contexts),
            service,
            message_id: request.message_id,
            operation: request.operation.clone(),
            sop_class: request.sop_class.clone(),
            sop_instance: request.sop_instance.clone(),
            data,
        };
        let work = self.services.perform(operation, &mut exchange);
        self.attend(&context, &request, &cancelled, work, steps).await
    }

    /// Runs a handler to its end, or to the next request after it has answered.
    async fn attend(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        cancelled: &CancellationToken,
        mut work: Work<'_>,
        mut steps: mpsc::Receiver<Step>,
    ) -> Result<(), End> {
        enum Next {
            Frame(Result<Frame, Lost>),
            Step(Step),
            Done,
        }
        let mut done = false;
        let mut answered = false;
        let mut held = None;
        loop {
            let next = match (held.take(), done) {
                (Some(step), _) => Next::Step(step),
                (None, true) => steps.try_recv().map_or(Next::Done, Next::Step),
                (None, false) => tokio::select! {
                    biased;
                    frame = self.connection.next_frame() => Next::Frame(frame),
                    Some(step) = steps.recv() => Next::Step(step),
                    () = &mut work => { done = true; continue }
                },
            };
            match next {
                // Whoever waits for us is silent: that is no reason to end an association.
                Next::Frame(Err(Lost::Timeout(_))) => {}
                Next::Frame(frame) => match self.interjection(fragment(frame?)?).await? {
                    Some(Interjection::Cancel) => cancelled.cancel(),
                    Some(Interjection::Request(context, next)) if answered => {
                        self.next = Some((context, next));
                        return Ok(());
                    }
                    Some(_) => return Err(second_message()),
                    None => {}
                },
                Next::Step(Step::Reply(reply)) => {
                    let last;
                    (last, held) = self.send_replies(context, request, reply, &mut steps).await?;
                    answered |= last;
                }
                Next::Step(Step::Invoke(invocation, waiting)) => {
                    let answer = {
                        let invoke = self.invoke(invocation, cancelled, answered);
                        let mut invoke = pin!(invoke);
                        loop {
                            // The handler goes on meanwhile: it fetches what comes after this.
                            tokio::select! {
                                answer = &mut invoke => break answer?,
                                () = &mut work, if !done => done = true,
                            }
                        }
                    };
                    // A handler that does not wait any more has no use for it.
                    let _ = waiting.send(answer);
                    if self.next.is_some() {
                        return Ok(());
                    }
                }
                Next::Done if answered => return Ok(()),
                Next::Done => {
                    tracing::error!("{} was not answered by its handler", request.operation.name());
                    let reply = Reply::new(Status::PROCESSING_FAILURE);
                    return self.send_reply(context, request, &reply).await;
                }
            }
        }
    }

    /// Sends a reply and those that wait behind it. Says whether one was final, and gives back what it
    /// took of the others.
    async fn send_replies(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        first: Reply,
        steps: &mut mpsc::Receiver<Step>,
    ) -> Result<(bool, Option<Step>), End> {
        let mut out = Vec::with_capacity(1024);
        let mut reply = first;
        let (last, held) = loop {
            let last = reply.status.class() != StatusClass::Pending;
            if last {
                self.note_reply(request, &reply);
            }
            self.encode_reply(&mut out, context, request, &reply);
            if last || out.len() >= GATHERED {
                break (last, None);
            }
            match steps.try_recv() {
                Ok(Step::Reply(next)) => reply = next,
                // What follows must not overtake it.
                Ok(invoke) => break (false, Some(invoke)),
                Err(_) => break (false, None),
            }
        };
        self.connection.send(&out).await?;
        Ok((last, held))
    }

    pub(super) async fn send_reply(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        reply: &Reply,
    ) -> Result<(), End> {
        self.note_reply(request, reply);
        let mut out = Vec::with_capacity(512);
        self.encode_reply(&mut out, context, request, reply);
        Ok(self.connection.send(&out).await?)
    }

    fn encode_reply(
        &self,
        out: &mut Vec<u8>,
        context: &AcceptedContext,
        request: &Request,
        reply: &Reply,
    ) {
        encode_message(out, context.id, true, &request.reply(reply), self.send_limit);
        if let Some(data) = &reply.data {
            encode_message(out, context.id, false, data, self.send_limit);
        }
    }

    fn note_reply(&self, request: &Request, reply: &Reply) {
        let (name, status) = (request.operation.name(), reply.status);
        let class = status.class().as_str();
        metrics::counter!("qianli_dimse_operations_total", "operation" => name, "status" => class)
            .increment(1);
        let comment = reply.comment.as_deref().unwrap_or_default();
        let who = &self.info.calling;
        match status.class() {
            StatusClass::Failure => {
                warn!("answered {name} of {who} ({}) with {status} {comment}", self.info.peer);
                self.note_failure(request, status, reply.comment.as_deref());
            }
            _ => debug!("answered {name} of {who} with {status} {comment}"),
        }
    }

    /// Reads the data set of a request, with its part of the budget, or says why it is not kept.
    async fn read_data(
        &mut self,
        context: &AcceptedContext,
        request: &Request,
        limit: usize,
    ) -> Result<Result<(Option<Bytes>, Vec<SemaphorePermit<'static>>), Reply>, End> {
        let mut held = Vec::new();
        if !request.has_data_set {
            return Ok(Ok((None, held)));
        }
        let mut data = BytesMut::new();
        let mut refused = None;
        loop {
            let piece = self.next_data(context).await?;
            let length = data.len().saturating_add(piece.data.len());
            if refused.is_none() && length > limit {
                refused = Some(format!("the data set has more than {limit} bytes"));
            }
            while refused.is_none() && length > held.len().saturating_add(1).saturating_mul(SMALL) {
                match BUDGET.try_acquire() {
                    Ok(permit) => held.push(permit),
                    Err(_) => refused = Some("too many long requests at a time".to_owned()),
                }
            }
            match refused {
                // What was read goes at once, the rest is drained.
                Some(_) => (data, held) = (BytesMut::new(), Vec::new()),
                None => data.extend_from_slice(&piece.data),
            }
            if piece.last {
                break;
            }
        }
        Ok(match refused {
            Some(comment) => Err(Reply::with_comment(Status::RESOURCE_LIMITATION, comment)),
            None => Ok((Some(data.freeze()), held)),
        })
    }

    /// What a message means that begins while a request is worked off; `None` when it is an answer
    /// that nobody waits for any more.
    async fn interjection(&mut self, first: Fragment) -> Result<Option<Interjection>, End> {
        let context = self.accepted(first.context)?;
        let command = self.read_command(first).await?;
        let broken = |error: crate::command::CommandError| {
            ProtocolError::new(Abort::BY_USER, error.to_string())
        };
        let set = CommandSet::parse(command).map_err(broken)?;
        if set.u16(crate::command::element::COMMAND_FIELD).unwrap_or(0) & field::RESPONSE != 0 {
            let response = Response::parse(&set).map_err(broken)?;
            if response.has_data_set {
                while !self.next_data(&context).await?.last {}
            }
            if self.invocations.take_abandoned(response.message_id) {
                return Ok(None);
            }
            return Ok(Some(Interjection::Response(response)));
        }
        let request = Request::parse(&set).map_err(broken)?;
        Ok(Some(match request.operation {
            Operation::Cancel => {
                self.drain(&context, &request).await?;
                Interjection::Cancel
            }
            _ => Interjection::Request(context, request),
        }))
    }

    /// Invokes an operation on the peer. `answered` lets it go on to another request instead.
    async fn invoke(
        &mut self,
        invocation: Invocation,
        cancelled: &CancellationToken,
        answered: bool,
    ) -> Result<Result<InvocationAnswer, InvocationError>, End> {
        let Invocation { context, command, mut data } = invocation;
        if self.accepted(context).is_err() {
            return Ok(Err(InvocationError::NoContext));
        }
        let id = self.invocations.next_id();
        let (bytes, expected) = match &command {
            Invoked::Store { sop_class, sop_instance, move_originator } => {
                let origin = move_originator.as_ref();
                let bytes = store_request(id, sop_class, sop_instance, Priority::Medium, origin);
                (bytes, field::C_STORE_RSP)
            }
            Invoked::EventReport { sop_class, sop_instance, event_type } => {
                let report = Normalised::EventReport(*event_type);
                let instance = Some(sop_instance.as_str());
                let bytes = normalised_request(id, &report, sop_class.as_str(), instance, true);
                (bytes, field::N_EVENT_REPORT_RSP)
            }
        };
        let mut out = Vec::with_capacity(512);
        encode_message(&mut out, context, true, &bytes, self.send_limit);
        let mut fragments = Fragments::after(out, context, self.send_limit);
        while let Some(piece) = data.next().await {
            let piece = piece.map_err(|error| {
                // The peer has half of it, which cannot be taken back.
                ProtocolError::new(Abort::BY_USER, format!("an object could not be read: {error}"))
            })?;
            fragments.push(&piece);
            if let Some(ready) = fragments.ready() {
                self.connection.send(ready).await?;
                fragments.sent();
            }
        }
        self.connection.send(&fragments.finish()).await?;
        loop {
            let first = fragment(self.connection.next_frame().await?)?;
            match self.interjection(first).await? {
                Some(Interjection::Response(response))
                    if (response.command, response.message_id) == (expected, id) =>
                {
                    let Response { status, comment, .. } = response;
                    return Ok(Ok(InvocationAnswer { status, comment }));
                }
                Some(Interjection::Cancel) => cancelled.cancel(),
                Some(Interjection::Request(context, request)) if answered => {
                    self.invocations.abandon(id);
                    self.next = Some((context, request));
                    return Ok(Err(InvocationError::Superseded));
                }
                Some(_) => return Err(second_message()),
                None => {}
            }
        }
    }

    /// The accepted context of this ID.
    pub(super) fn accepted(&self, id: u8) -> Result<AcceptedContext, End> {
        let context = self.contexts.iter().find(|context| context.id == id);
        context.cloned().ok_or_else(|| {
            violation(format!("a message on presentation context {id}, which was not accepted"))
        })
    }

    /// The context of the next request, and the request: one that was already read, or what is read
    /// now. `None` when it was an answer that nobody waits for any more.
    pub(super) async fn next_request(
        &mut self,
    ) -> Result<ControlFlow<(), (AcceptedContext, Request)>, End> {
        if let Some(next) = self.next.take() {
            return Ok(ControlFlow::Continue(next));
        }
        let first = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            frame = self.connection.next_frame() => fragment(frame?)?,
        };
        match self.interjection(first).await? {
            Some(Interjection::Request(context, request)) => {
                Ok(ControlFlow::Continue((context, request)))
            }
            // There is no operation left to cancel: it was answered before this was read.
            Some(Interjection::Cancel) | None => Ok(ControlFlow::Break(())),
            Some(Interjection::Response(response)) => {
                let id = response.message_id;
                let message = format!("a response to message {id}, which was not sent");
                Err(ProtocolError::new(Abort::BY_USER, message).into())
            }
        }
    }
}

/// What is wrong with the command, whatever the service (PS3.7 annex C).
fn refused(context: &AcceptedContext, request: &Request) -> Option<Reply> {
    let class = request.sop_class.as_deref();
    let of_context = class == Some(context.abstract_syntax.as_str());
    match request.operation {
        // Another SOP class than the context's is the rule for the services that have one context for
        // several classes (PS3.4 section J.2.2, F.6).
        Operation::Find { .. } | Operation::Get { .. } | Operation::Move { .. } if !of_context => {
            let comment = "SOP class is not that of the presentation context";
            Some(Reply::with_comment(Status::SOP_CLASS_NOT_SUPPORTED, comment))
        }
        _ if class.is_none() => {
            Some(Reply::with_comment(Status::MISTYPED_ARGUMENT, "SOP Class UID is missing"))
        }
        _ => None,
    }
}

fn second_message() -> End {
    ProtocolError::new(
        Abort::BY_USER,
        "a message before the one under way was done with; asynchronous operations were not agreed",
    )
    .into()
}

impl Service {
    /// Longest data set of a request (bytes). Identifiers are short; a list of instances to be
    /// committed is not.
    const fn data_limit(self) -> usize {
        match self {
            Self::Commitment | Self::PerformedStep => 4 << 20,
            _ => 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests;
