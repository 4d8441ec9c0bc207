//! C-FIND as SCU: sends an identifier, yields matches one at a time.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Association, ScuError};
use crate::message::field;
use crate::message::outgoing::{cancel_request, find_request};
use crate::status::StatusClass;

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
        let sop_class = self.class_of(context)?;
        let message_id = self.begin()?;
        let command = find_request(message_id, &sop_class);
        if let Err(error) = self.send_message(context, &command, Some(identifier)).await {
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
        let (context, message_id) = (self.context, self.message_id);
        let result = async {
            let response = association.response(context, message_id, field::C_FIND_RSP).await?;
            let identifier = match response.has_data_set {
                true => association.data_set(context).await?,
                false => Bytes::new(),
            };
            Ok(match response.answer.status.class() {
                StatusClass::Pending => FindStep::Match(identifier),
                _ => FindStep::Done(response.answer),
            })
        };
        match result.await {
            Ok(found @ FindStep::Match(_)) => Ok(found),
            other => {
                self.done = true;
                association.end(other).await
            }
        }
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
