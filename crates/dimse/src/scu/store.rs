//! C-STORE as SCU: cuts a data set into P-DATA and waits for the answer.

use qianli_model::{SopClassUid, SopInstanceUid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{Answer, Association, ScuError};
use crate::message::{field, outgoing::store_request};
use crate::pdu::Fragments;
use crate::services::MoveOriginator;

/// What is read of a source at once (bytes).
const READ_AT_ONCE: usize = 64 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Sends one instance on an accepted context and waits for the answer (PS3.7 section 9.1.1).
    ///
    /// `data` is the data set without preamble and file meta information, encoded in the context's
    /// transfer syntax; it is read as fast as the peer takes it. `move_originator` is set when this
    /// is a sub-operation of a C-MOVE.
    pub async fn store(
        &mut self,
        context: u8,
        sop_class: &SopClassUid,
        sop_instance: &SopInstanceUid,
        move_originator: Option<&MoveOriginator>,
        data: impl AsyncRead + Unpin + Send,
    ) -> Result<Answer, ScuError> {
        if !self.contexts.iter().any(|accepted| accepted.id == context) {
            return Err(ScuError::ContextNotAccepted(sop_class.to_string()));
        }
        let message_id = self.begin()?;
        let command =
            store_request(message_id, sop_class, sop_instance, self.priority, move_originator);
        let result = async {
            self.send_command(context, &command).await?;
            self.send_data_set(context, data).await?;
            self.answer(context, message_id, field::C_STORE_RSP).await
        };
        let result = result.await;
        self.end(result).await
    }

    async fn send_data_set(
        &mut self,
        context: u8,
        mut data: impl AsyncRead + Unpin + Send,
    ) -> Result<(), ScuError> {
        let mut fragments = Fragments::new(context, self.send_limit);
        let mut buffer = vec![0; READ_AT_ONCE];
        loop {
            let read = data.read(&mut buffer).await.map_err(ScuError::Source)?;
            if read == 0 {
                return self.send(&fragments.finish()).await;
            }
            fragments.push(buffer.get(..read).unwrap_or_default());
            if let Some(ready) = fragments.ready() {
                self.send(ready).await?;
                fragments.sent();
            }
        }
    }
}
