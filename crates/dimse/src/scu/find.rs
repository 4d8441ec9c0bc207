//! C-FIND as SCU: sends an identifier, yields matches one at a time.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Association, ScuError};
use crate::message::field;
use crate::message::outgoing::{cancel_request, find_request};
use crate::pdu;
use crate::status::StatusClass;

/// Longest identifier we read in a response.
pub(super) const IDENTIFIER_LIMIT: usize = 1 << 20;

/// A C-FIND under way. Dropping it before it is done leaves the association unusable: abort it.
pub struct Find<'a, S> {
    association: &'a mut Association<S>,
    context: u8,
    message_id: u16,
    done: bool,
}

/// What a C-FIND yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindStep {
    /// A match: its identifier, encoded in the context's transfer syntax.
    Match(Bytes),
    /// No more matches: success, cancelled or failure.
    Done(Answer),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Starts a C-FIND on an accepted context (PS3.7 section 9.1.2). `identifier` is a data set
    /// encoded in the context's transfer syntax.
    pub async fn find(&mut self, context: u8, identifier: &[u8]) -> Result<Find<'_, S>, ScuError> {
        let Some(accepted) = self.contexts.iter().find(|accepted| accepted.id == context) else {
            return Err(ScuError::ContextNotAccepted(format!("presentation context {context}")));
        };
        let sop_class = accepted.abstract_syntax.clone();
        let message_id = self.begin()?;
        let mut out = Vec::with_capacity(identifier.len() + 512);
        let command = find_request(message_id, &sop_class);
        pdu::encode_message(&mut out, context, true, &command, self.send_limit);
        pdu::encode_message(&mut out, context, false, identifier, self.send_limit);
        if let Err(error) = self.send(&out).await {
            return self.end(Err(error)).await;
        }
        Ok(Find { association: self, context, message_id, done: false })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Find<'_, S> {
    /// The next match, or the end. After the end every call is an error.
    pub async fn next(&mut self) -> Result<FindStep, ScuError> {
        if self.done {
            return Err(ScuError::Over);
        }
        let association = &mut *self.association;
        let (response, identifier) =
            match association.response(self.context, self.message_id, field::C_FIND_RSP).await {
                Ok(response) => response,
                Err(error) => {
                    self.done = true;
                    return association.end(Err(error)).await;
                }
            };
        if response.status.class() == StatusClass::Pending {
            return Ok(FindStep::Match(identifier.unwrap_or_default()));
        }
        self.done = true;
        let answer = Answer { status: response.status, comment: response.comment };
        association.end(Ok(FindStep::Done(answer))).await
    }

    /// Asks the peer to stop (PS3.7 section 9.3.2.3). Matches may still come; go on until the end.
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
