//! What we propose, and what is left of it after the answer.

use std::collections::HashSet;
use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResultReason,
    RequestorRoles, UserIdentity, UserIdentityType, UserVariableItem,
};
pub use qianli_model::destination::Identity;
use qianli_model::{AeTitle, TransferSyntax};
use tracing::debug;

use super::ScuError;
use crate::association::{
    APPLICATION_CONTEXT, AcceptedContext, Extended, Implementation, SMALLEST_MAX_PDU,
    UNSTATED_MAX_PDU, VERIFICATION, trim,
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
    /// Who we say that we are beyond our AE title (PS3.7 section D.3.3.7).
    pub identity: Option<Identity>,
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
            identity: None,
        }
    }
}

fn identity_item(identity: &Identity) -> UserVariableItem {
    let bytes = |text: &String| text.clone().into_bytes();
    let (kind, primary, secondary) = match identity {
        Identity::Username(name) => (UserIdentityType::Username, bytes(name), Vec::new()),
        Identity::Password(name, passcode) => {
            (UserIdentityType::UsernamePassword, bytes(name), bytes(passcode))
        }
        Identity::Jwt(token) => (UserIdentityType::Jwt, bytes(token), Vec::new()),
    };
    // An answer would prove nothing: the peer says no by refusing the association.
    UserVariableItem::UserIdentityItem(UserIdentity::new(false, kind, primary, secondary))
}

/// A presentation context to propose.
#[derive(Debug, Clone)]
pub struct ProposedContext {
    /// Abstract syntax, as a rule a SOP class.
    pub abstract_syntax: String,
    /// Transfer syntaxes in order of preference.
    pub transfer_syntaxes: Vec<TransferSyntax>,
    /// What we want to be.
    pub role: Role,
    /// Service-class-application-information of SOP Class Extended Negotiation (PS3.7 section
    /// D.3.3.5), such as relational queries (PS3.4 section C.5.1.1).
    pub extended: Option<Vec<u8>>,
}

/// Which role a requestor plays for an abstract syntax (PS3.7 section D.3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// SCU only, as without role selection.
    #[default]
    Invoker,
    /// SCP only: the peer sends us such objects.
    Performer,
    /// Either.
    Both,
}

impl ProposedContext {
    /// A context in which we are SCU.
    pub fn new(
        abstract_syntax: impl Into<String>,
        transfer_syntaxes: impl Into<Vec<TransferSyntax>>,
    ) -> Self {
        Self {
            abstract_syntax: abstract_syntax.into(),
            transfer_syntaxes: transfer_syntaxes.into(),
            role: Role::Invoker,
            extended: None,
        }
    }

    /// Verification, in the default transfer syntax.
    pub fn verification() -> Self {
        Self::new(VERIFICATION, [TransferSyntax::IMPLICIT_LITTLE])
    }

    /// The same in another role.
    #[must_use]
    pub fn as_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same with extended negotiation.
    #[must_use]
    pub fn with_extended(self, information: impl Into<Vec<u8>>) -> Self {
        Self { extended: Some(information.into()), ..self }
    }
}

/// Roles and extended negotiation as items, once for each abstract syntax.
fn negotiations(contexts: &[ProposedContext]) -> Vec<UserVariableItem> {
    let mut items = Vec::new();
    let mut done = HashSet::new();
    for context in contexts {
        if !done.insert(context.abstract_syntax.as_str()) {
            continue;
        }
        let uid = context.abstract_syntax.clone();
        let roles = match context.role {
            Role::Invoker => None,
            Role::Performer => Some(RequestorRoles { scu: false, scp: true }),
            Role::Both => Some(RequestorRoles { scu: true, scp: true }),
        };
        if let Some(roles) = roles {
            items.push(UserVariableItem::ScuScpRoleSelectionSubItem(uid.clone(), roles));
        }
        if let Some(information) = &context.extended {
            let information = information.clone();
            items.push(UserVariableItem::SopClassExtendedNegotiationSubItem(uid, information));
        }
    }
    items
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
    let mut user_variables = vec![
        UserVariableItem::MaxLength(config.max_pdu),
        UserVariableItem::ImplementationClassUID(config.implementation.class_uid.clone()),
        UserVariableItem::ImplementationVersionName(config.implementation.version_name.clone()),
    ];
    user_variables.extend(negotiations(contexts));
    user_variables.extend(config.identity.as_ref().map(identity_item));
    Ok(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: config.calling.to_string(),
        called_ae_title: config.called.to_string(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts,
        user_variables,
    })
}

/// What the peer answered beside the contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Abstract syntaxes of which the peer may be SCU.
    pub(super) peer_is_scu: Vec<String>,
    /// Answers to extended negotiations.
    pub(super) extended: Vec<(String, Vec<u8>)>,
}

pub(super) fn settled(accept: &AssociationAC) -> Settled {
    let mut settled = Settled::default();
    for item in &accept.user_variables {
        match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) if roles.scp => {
                settled.peer_is_scu.push(trim(uid).to_owned());
            }
            UserVariableItem::SopClassExtendedNegotiationSubItem(uid, answer) => {
                settled.extended.push((trim(uid).to_owned(), answer.clone()));
            }
            _ => {}
        }
    }
    settled
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
                requestor_is_scp: false,
                extended: Extended::default(),
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
