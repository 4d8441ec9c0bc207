//! What we propose, and what is left of it after the answer.

use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResultReason,
    UserVariableItem,
};
use qianli_model::{AeTitle, TransferSyntax};
use tracing::debug;

use super::ScuError;
use crate::association::{
    APPLICATION_CONTEXT, AcceptedContext, Implementation, SMALLEST_MAX_PDU, UNSTATED_MAX_PDU,
    VERIFICATION, trim,
};

/// How we call.
#[derive(Debug, Clone)]
pub struct ScuConfig {
    /// Our AE title.
    pub calling: AeTitle,
    /// The AE title of the node that is called.
    pub called: AeTitle,
    /// Who we are, for the other end's log.
    pub implementation: Implementation,
    /// The longest P-DATA-TF we announce, in bytes; 0 for no limit.
    pub max_pdu: u32,
    /// How long connecting and negotiating may take together.
    pub connect_timeout: Duration,
    /// How long an association may pass without a byte of progress, waits for responses included.
    pub response_timeout: Duration,
}

impl ScuConfig {
    /// The defaults: PDUs of 128 KiB, 10 s to connect, 60 s for a response.
    pub fn new(calling: AeTitle, called: AeTitle, implementation: Implementation) -> Self {
        Self {
            calling,
            called,
            implementation,
            max_pdu: 131_072,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
        }
    }
}

/// A presentation context to propose.
#[derive(Debug, Clone)]
pub struct ProposedContext {
    /// Abstract syntax, as a rule a SOP class.
    pub abstract_syntax: String,
    /// Transfer syntaxes in order of preference.
    pub transfer_syntaxes: Vec<TransferSyntax>,
}

impl ProposedContext {
    /// Verification, in the default transfer syntax.
    pub fn verification() -> Self {
        Self {
            abstract_syntax: VERIFICATION.to_owned(),
            transfer_syntaxes: vec![TransferSyntax::IMPLICIT_LITTLE],
        }
    }
}

/// The A-ASSOCIATE-RQ for these contexts.
pub(super) fn request(
    config: &ScuConfig,
    contexts: &[ProposedContext],
) -> Result<AssociationRQ, ScuError> {
    // IDs are the odd numbers from 1 to 255 (PS3.8 table 9-13).
    if contexts.len() > 128 {
        return Err(ScuError::TooManyContexts(contexts.len()));
    }
    let presentation_contexts = (1..=255)
        .step_by(2)
        .zip(contexts)
        .map(|(id, context)| PresentationContextProposed {
            id,
            abstract_syntax: context.abstract_syntax.clone(),
            transfer_syntaxes: context
                .transfer_syntaxes
                .iter()
                .map(|syntax| syntax.uid().to_owned())
                .collect(),
        })
        .collect();
    Ok(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: config.calling.to_string(),
        called_ae_title: config.called.to_string(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts,
        user_variables: vec![
            UserVariableItem::MaxLength(config.max_pdu),
            UserVariableItem::ImplementationClassUID(config.implementation.class_uid.clone()),
            UserVariableItem::ImplementationVersionName(config.implementation.version_name.clone()),
        ],
    })
}

/// Keeps what was proposed and accepted in a syntax that was proposed with it.
pub(super) fn accepted_contexts(
    proposed: &[ProposedContext],
    accept: AssociationAC,
) -> Vec<AcceptedContext> {
    let mut accepted = Vec::new();
    for result in accept.presentation_contexts {
        if result.reason != PresentationContextResultReason::Acceptance || result.id % 2 == 0 {
            continue;
        }
        let Some(context) = proposed.get(usize::from(result.id / 2)) else { continue };
        let syntax = TransferSyntax::from_uid(&result.transfer_syntax);
        match syntax.filter(|syntax| context.transfer_syntaxes.contains(syntax)) {
            Some(transfer_syntax) => accepted.push(AcceptedContext {
                id: result.id,
                abstract_syntax: context.abstract_syntax.clone(),
                transfer_syntax,
            }),
            None => debug!(
                "ignored an accepted context for {} in {}, which was not proposed",
                context.abstract_syntax,
                trim(&result.transfer_syntax)
            ),
        }
    }
    accepted
}

/// The longest P-DATA-TF the peer takes; `None` for no limit.
pub(super) fn peer_limit(accept: &AssociationAC) -> Option<u32> {
    let stated = accept.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(limit) => Some(*limit),
        _ => None,
    });
    match stated {
        Some(0) => None,
        Some(limit) => Some(limit.max(SMALLEST_MAX_PDU)),
        None => Some(UNSTATED_MAX_PDU),
    }
}
