//! N-ACTION, N-EVENT-REPORT, N-CREATE, N-SET, N-GET and N-DELETE as invoker, and the event reports
//! that a peer sends on our association.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::answer::{Answered, Asked, EventReport, Incoming, Reply};
use super::{Association, ScuError, wrong_response};
use crate::message::field;
use crate::message::outgoing::{
    Normalised, event_report_response, normalised_request, store_response,
};
use crate::pdu::{Abort, ProtocolError};
use crate::status::Status;

/// Event reports that wait to be asked for; a peer that sends more is not taken seriously.
const REPORTS: usize = 64;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Association<S> {
    /// Invokes a normalised operation on an accepted context (PS3.7 section 10.1) and waits for its
    /// answer. `data` is encoded in the context's transfer syntax.
    ///
    /// The SOP class is the context's unless `sop_class` names another, as a meta SOP class needs.
    pub async fn invoke(
        &mut self,
        context: u8,
        operation: &Normalised,
        sop_class: Option<&str>,
        sop_instance: Option<&str>,
        data: Option<&[u8]>,
    ) -> Result<Reply, ScuError> {
        let own = self.class_of(context)?;
        let class = sop_class.unwrap_or(&own);
        let message_id = self.begin()?;
        let command =
            normalised_request(message_id, operation, class, sop_instance, data.is_some());
        let result = async {
            self.send_message(context, &command, data).await?;
            let expected = operation.command() | field::RESPONSE;
            let answered = self.response(context, message_id, expected).await?;
            let data = match answered.has_data_set {
                true => Some(self.data_set(context).await?),
                false => None,
            };
            Ok(Reply { answer: answered.answer, sop_instance: answered.sop_instance, data })
        };
        let result = result.await;
        self.end(result).await
    }

    /// Waits for an N-EVENT-REPORT of the peer, as it comes after an N-ACTION for storage commitment
    /// (PS3.4 section J.3.3), and acknowledges it.
    pub async fn event_report(&mut self) -> Result<EventReport, ScuError> {
        if let Some(report) = self.reports.pop_front() {
            return Ok(report);
        }
        self.begin()?;
        let result = async {
            loop {
                let (context, incoming) = self.incoming().await?;
                match incoming {
                    Incoming::Request(asked) => self.notice(context, asked).await?,
                    Incoming::Response(answered) => {
                        return Err(wrong_response(&answered, field::N_EVENT_REPORT_RQ, 0));
                    }
                }
                if let Some(report) = self.reports.pop_front() {
                    return Ok(report);
                }
            }
        };
        let result = result.await;
        self.end(result).await
    }

    /// As [`Self::event_report`], but waits for the first byte of one no longer than `patience`: then it is `None`,
    /// and the association goes on.
    pub async fn event_report_within(
        &mut self,
        patience: Duration,
    ) -> Result<Option<EventReport>, ScuError> {
        if self.reports.is_empty() {
            self.begin()?;
            let waited = timeout(patience, self.connection.readable()).await;
            let result = waited.map_or(Ok(false), |came| Ok(came.map(|()| true)?));
            if !self.end(result).await? {
                return Ok(None);
            }
        }
        self.event_report().await.map(Some)
    }

    /// Takes a request that comes while we wait for something else: an event report is acknowledged
    /// and kept, anything else is answered with a refusal.
    pub(super) async fn notice(&mut self, context: u8, asked: Asked) -> Result<(), ScuError> {
        let (class, instance) = (asked.sop_class.as_deref(), asked.sop_instance.as_deref());
        let data = match asked.has_data_set {
            true => Some(self.data_set(context).await?),
            false => None,
        };
        match asked.command {
            field::N_EVENT_REPORT_RQ if self.reports.len() < REPORTS => {
                let response = event_report_response(
                    asked.message_id,
                    class,
                    instance,
                    asked.event_type,
                    Status::SUCCESS,
                );
                self.send_command(context, &response).await?;
                self.reports.push_back(EventReport {
                    sop_class: asked.sop_class,
                    sop_instance: asked.sop_instance,
                    event_type: asked.event_type,
                    context,
                    data,
                });
                Ok(())
            }
            field::C_STORE_RQ => {
                let status = Status::UNRECOGNISED_OPERATION;
                let response = store_response(asked.message_id, class, instance, status);
                self.send_command(context, &response).await
            }
            other => {
                let message = format!("a request ({other:04X}H) where an answer was expected");
                Err(ProtocolError::new(Abort::BY_USER, message).into())
            }
        }
    }

    /// A response belongs on the context of its request.
    pub(super) fn expect_response(
        &self,
        answered: &Answered,
        context: u8,
        expected: u8,
    ) -> Result<(), ScuError> {
        if context == expected {
            return Ok(());
        }
        let message = format!(
            "the answer {:04X}H came on context {context}, the request went out on {expected}",
            answered.command
        );
        Err(ProtocolError::new(Abort::UNEXPECTED_PARAMETER, message).into())
    }
}
