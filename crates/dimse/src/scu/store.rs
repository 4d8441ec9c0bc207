//! C-STORE as SCU: cuts a data set into P-DATA and waits for the answer.

use qianli_model::{SopClassUid, SopInstanceUid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{Answer, Association, ScuError};
use crate::message::field;
use crate::message::outgoing::store_request;
use crate::pdu::{fragment_room, p_data_header};
use crate::services::MoveOriginator;

/// Bytes in front of a fragment.
const HEADER: usize = 12;

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

    /// Sends a data set. One byte more than a PDU holds is read ahead, since the last fragment has
    /// to say that it is the last and must not be empty.
    async fn send_data_set(
        &mut self,
        context: u8,
        mut data: impl AsyncRead + Unpin + Send,
    ) -> Result<(), ScuError> {
        let room = fragment_room(self.send_limit);
        // Header, a full fragment, and the first byte of the next.
        let mut pdu = vec![0; HEADER + room + 1];
        let mut filled = 0;
        loop {
            let (_, body) = pdu.split_at_mut(HEADER);
            while let Some(rest @ [_, ..]) = body.get_mut(filled..) {
                match data.read(rest).await.map_err(ScuError::Source)? {
                    0 => break,
                    read => filled += read,
                }
            }
            let last = filled <= room;
            let length = filled.min(room);
            let (header, body) = pdu.split_at_mut(HEADER);
            header.copy_from_slice(&p_data_header(context, false, last, length));
            let ahead = body.get(length).copied();
            self.send(pdu.get(..HEADER + length).unwrap_or_default()).await?;
            if last {
                return Ok(());
            }
            if let (Some(first), Some(ahead)) = (pdu.get_mut(HEADER), ahead) {
                *first = ahead;
            }
            filled = 1;
        }
    }
}
