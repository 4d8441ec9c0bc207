//! Association negotiation (PS3.8 section 7.1, PS3.7 annex D.3) as a pure function over values.
//!
//! What a peer asks for, what we answer, why we refuse. No sockets, no clocks, no global state.

mod extended;
mod identity;

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserVariableItem,
};
use qianli_model::file_meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use qianli_model::incident::{Cause, Incident, printable};
use qianli_model::peer::{Admission, Certificate};
use qianli_model::{AeTitle, TransferSyntax};

pub use self::extended::{CommonExtended, Extended};
use self::extended::{ITEM_COMMON, ITEM_IDENTITY_ANSWER, ITEM_WINDOW, OUR_WINDOW, window};
pub use self::identity::{Behind, IdentityKind, Rights, Standing, UserIdentity};
use crate::pdu::associate::Reject;
use crate::pdu::{Abort, ProtocolError};
use crate::services::Service;

/// The only application context of DICOM (PS3.7 A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// The Verification SOP class (PS3.4 annex A).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// What we assume of a peer that does not say how much it can take.
pub(crate) const UNSTATED_MAX_PDU: u32 = 16_384;

/// Smallest limit we work with; a peer that takes less cannot mean it.
pub(crate) const SMALLEST_MAX_PDU: u32 = 128;

/// Who we are, for the other end's log (PS3.7 D.3.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    /// Implementation Class UID.
    pub class_uid: String,
    /// Implementation Version Name, 1 to 16 characters.
    pub version_name: String,
}

impl Default for Implementation {
    /// This product, as in the file meta information it writes.
    fn default() -> Self {
        Self {
            class_uid: IMPLEMENTATION_CLASS_UID.to_owned(),
            version_name: IMPLEMENTATION_VERSION_NAME.to_owned(),
        }
    }
}

/// What a peer asks for in its A-ASSOCIATE-RQ.
#[derive(Debug, Clone)]
pub struct AssociationRequest {
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Its TLS certificate, where it had to show one.
    pub certificate: Option<Certificate>,
    /// Whom it wants to talk to.
    pub called: AeTitle,
    /// Who it says it is.
    pub calling: AeTitle,
    /// Proposed presentation contexts, in its order.
    pub contexts: Vec<PresentationContextProposed>,
    /// The longest P-DATA-TF it takes; `None` for no limit.
    pub max_pdu: Option<u32>,
    /// Implementation Class UID.
    pub implementation_class_uid: Option<String>,
    /// Implementation Version Name.
    pub implementation_version: Option<String>,
    /// SOP classes for which it proposes roles.
    pub roles: Vec<(String, RequestorRoles)>,
    /// The user identity that it shows.
    pub identity: Option<UserIdentity>,
    /// SOP classes with the application information that it proposes for them.
    pub extended: Vec<(String, Vec<u8>)>,
    /// What it says of SOP classes that we may not know.
    pub common: Vec<CommonExtended>,
    /// Operations that it would invoke and perform at one time; 0 for any number.
    pub window: Option<(u16, u16)>,
}

/// Who is at the other end of an accepted association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationInfo {
    /// Number of the association in this process, for the log.
    pub id: u64,
    /// When it was asked for.
    pub began: Instant,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Its TLS certificate, where it had to show one.
    pub certificate: Option<Certificate>,
    /// Its AE title.
    pub calling: AeTitle,
    /// The AE title it called.
    pub called: AeTitle,
    /// Implementation Class UID.
    pub implementation_class_uid: Option<String>,
    /// Implementation Version Name.
    pub implementation_version: Option<String>,
    /// What was decided about it when it began.
    pub admission: Admission,
    /// Who is behind it, where it showed a user identity that was accepted.
    pub behind: Option<Behind>,
}

impl AssociationInfo {
    /// An incident of this peer.
    pub fn incident(&self, cause: Cause) -> Incident {
        let certificate = self.certificate.as_ref().map(|one| one.sha256.clone());
        Incident {
            calling: self.calling.to_string(),
            called: self.called.to_string(),
            certificate: certificate.unwrap_or_default(),
            class_uid: self.implementation_class_uid.clone().unwrap_or_default(),
            version: self.implementation_version.clone().unwrap_or_default(),
            ..Incident::new(cause, self.peer.ip())
        }
    }
}

/// What an A-ASSOCIATE-RQ says of its sender, before anything of it was checked.
pub(crate) fn words(pdu: &AssociationRQ, peer: SocketAddr, cause: Cause) -> Incident {
    let mut incident = Incident::new(cause, peer.ip());
    incident.calling = printable(&pdu.calling_ae_title);
    incident.called = printable(&pdu.called_ae_title);
    for item in &pdu.user_variables {
        match item {
            UserVariableItem::ImplementationClassUID(uid) => incident.class_uid = printable(uid),
            UserVariableItem::ImplementationVersionName(name) => incident.version = printable(name),
            _ => {}
        }
    }
    incident
}

/// A presentation context that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedContext {
    /// Its abstract syntax.
    pub abstract_syntax: String,
    /// The transfer syntaxes that were proposed.
    pub transfer_syntaxes: Vec<String>,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for RefusedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", quote(&self.abstract_syntax), self.cause)
    }
}

/// A presentation context both ends agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedContext {
    /// Presentation context ID, odd.
    pub id: u8,
    /// Abstract syntax, as a rule a SOP class.
    pub abstract_syntax: String,
    /// How data sets are encoded.
    pub transfer_syntax: TransferSyntax,
    /// Whether the requestor is SCP by role selection (PS3.7 D.3.3.4): it takes objects on it, as whoever asks for
    /// a C-GET proposes, or reports storage commitment.
    pub requestor_is_scp: bool,
    /// What both ends agreed on beyond the baseline of the SOP class.
    pub extended: Extended,
}

/// Why an association is refused (PS3.8 table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionReason {
    /// The called AE title is not ours.
    CalledAeTitleNotRecognised,
    /// The calling AE title is not registered.
    CallingAeTitleNotRecognised,
    /// Another application context than DICOM's.
    ApplicationContextNotSupported,
    /// The peer does not speak version 1.
    ProtocolVersionNotSupported,
    /// Too many associations; the peer may try again.
    LocalLimitExceeded,
    /// The node is overloaded; the peer may try again.
    TemporaryCongestion,
    /// Permanent, without a reason that the standard lists.
    NoReasonGiven,
}

/// A refusal of an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What the peer is told.
    pub reason: RejectionReason,
    /// What is remembered, for whoever looks why the device does not get in.
    pub cause: Cause,
    /// What our log says: why, and what to do about it. The peer never sees it.
    pub detail: String,
}

impl Rejection {
    /// A refusal with an explanation for the log.
    pub fn new(reason: RejectionReason, detail: impl Into<String>) -> Self {
        let cause = match reason {
            RejectionReason::CalledAeTitleNotRecognised => Cause::CalledTitle,
            RejectionReason::CallingAeTitleNotRecognised => Cause::Unknown,
            RejectionReason::ApplicationContextNotSupported => Cause::ApplicationContext,
            RejectionReason::ProtocolVersionNotSupported => Cause::ProtocolVersion,
            RejectionReason::LocalLimitExceeded => Cause::TooManyAssociations,
            RejectionReason::TemporaryCongestion => Cause::Busy,
            RejectionReason::NoReasonGiven => Cause::Refused,
        };
        Self { reason, cause, detail: detail.into() }
    }

    /// The same with a cause that says more than the reason.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// Result, source and reason as they travel.
    pub const fn codes(&self) -> Reject {
        let (result, source, reason) = match self.reason {
            RejectionReason::NoReasonGiven => (1, 1, 1),
            RejectionReason::ApplicationContextNotSupported => (1, 1, 2),
            RejectionReason::CallingAeTitleNotRecognised => (1, 1, 3),
            RejectionReason::CalledAeTitleNotRecognised => (1, 1, 7),
            RejectionReason::ProtocolVersionNotSupported => (1, 2, 2),
            RejectionReason::TemporaryCongestion => (2, 3, 1),
            RejectionReason::LocalLimitExceeded => (2, 3, 2),
        };
        Reject { result, source, reason }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.codes().words(), self.detail)
    }
}

/// Why a request gets no A-ASSOCIATE-AC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Answer with an A-ASSOCIATE-RJ.
    Reject(Rejection),
    /// Answer with an A-ABORT (PS3.8 table 9-10, AA-1).
    Abort(ProtocolError),
}

impl AssociationRequest {
    /// Reads what a peer asks for, and refuses what no policy could accept.
    pub fn from_pdu(pdu: AssociationRQ, peer: SocketAddr) -> Result<Self, Refused> {
        let reject = |reason, detail: String| Refused::Reject(Rejection::new(reason, detail));
        let bad_title = |reason, detail: String| {
            Refused::Reject(Rejection::new(reason, detail).because(Cause::InvalidTitle))
        };
        // PS3.8 table 9-11: only bit 0 is tested.
        if pdu.protocol_version & 1 == 0 {
            return Err(reject(
                RejectionReason::ProtocolVersionNotSupported,
                format!("the peer offers protocol version bits {:04X}H", pdu.protocol_version),
            ));
        }
        let application_context = trim(&pdu.application_context_name);
        if application_context != APPLICATION_CONTEXT {
            return Err(reject(
                RejectionReason::ApplicationContextNotSupported,
                format!("the peer asks for {}, which is not DICOM", quote(application_context)),
            ));
        }
        let called = AeTitle::parse(&pdu.called_ae_title).map_err(|error| {
            bad_title(
                RejectionReason::CalledAeTitleNotRecognised,
                format!("the called AE title is invalid ({error}); correct it at the sender"),
            )
        })?;
        let calling = AeTitle::parse(&pdu.calling_ae_title).map_err(|error| {
            bad_title(
                RejectionReason::CallingAeTitleNotRecognised,
                format!("the calling AE title is invalid ({error}); correct it at the sender"),
            )
        })?;
        let mut seen = [false; 256];
        for context in &pdu.presentation_contexts {
            // PS3.8 table 9-13: odd, and unique since an answer could not be told apart.
            // A byte indexes all of 256 places.
            let again = std::mem::replace(&mut seen[usize::from(context.id)], true);
            if again || context.id % 2 == 0 {
                return Err(Refused::Abort(ProtocolError::new(
                    Abort::BY_USER,
                    format!("presentation context ID {} is even or repeated", context.id),
                )));
            }
        }
        let mut request = Self {
            peer,
            certificate: None,
            called,
            calling,
            contexts: pdu.presentation_contexts,
            max_pdu: Some(UNSTATED_MAX_PDU),
            implementation_class_uid: None,
            implementation_version: None,
            roles: Vec::new(),
            identity: None,
            extended: Vec::new(),
            common: Vec::new(),
            window: None,
        };
        request.take_user_information(pdu.user_variables);
        if request.max_pdu.is_some_and(|limit| limit < SMALLEST_MAX_PDU) {
            let detail = format!("the peer takes PDUs of at most {:?} bytes", request.max_pdu);
            let rejection = Rejection::new(RejectionReason::NoReasonGiven, detail);
            return Err(Refused::Reject(rejection.because(Cause::SmallPdu)));
        }
        Ok(request)
    }

    /// Keeps what we use. What cannot be read is as if it were not there: it only asks for more than
    /// the defaults.
    fn take_user_information(&mut self, items: Vec<UserVariableItem>) {
        for item in items {
            match item {
                UserVariableItem::MaxLength(0) => self.max_pdu = None,
                UserVariableItem::MaxLength(limit) => self.max_pdu = Some(limit),
                UserVariableItem::ImplementationClassUID(uid) => {
                    self.implementation_class_uid = Some(printable(&uid));
                }
                UserVariableItem::ImplementationVersionName(name) => {
                    self.implementation_version = Some(printable(&name));
                }
                UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) => {
                    self.roles.push((trim(&uid).to_owned(), roles));
                }
                UserVariableItem::UserIdentityItem(identity) => {
                    self.identity = UserIdentity::of(&identity);
                }
                UserVariableItem::SopClassExtendedNegotiationSubItem(uid, information) => {
                    self.extended.push((trim(&uid).to_owned(), information));
                }
                UserVariableItem::Unknown(ITEM_WINDOW, content) => {
                    self.window = window(&content);
                }
                UserVariableItem::Unknown(ITEM_COMMON, content) => {
                    self.common.extend(CommonExtended::read(&content));
                }
                UserVariableItem::Unknown(..) => {}
            }
        }
    }

    /// An incident of this peer.
    pub fn incident(&self, cause: Cause) -> Incident {
        let certificate = self.certificate.as_ref().map(|one| one.sha256.clone());
        Incident {
            calling: self.calling.to_string(),
            called: self.called.to_string(),
            certificate: certificate.unwrap_or_default(),
            class_uid: self.implementation_class_uid.clone().unwrap_or_default(),
            version: self.implementation_version.clone().unwrap_or_default(),
            ..Incident::new(cause, self.peer.ip())
        }
    }

    /// Who the peer is, once it is accepted under this number.
    pub fn info(&self, id: u64, admission: Admission) -> AssociationInfo {
        AssociationInfo {
            id,
            began: Instant::now(),
            peer: self.peer,
            certificate: self.certificate.clone(),
            calling: self.calling.clone(),
            called: self.called.clone(),
            implementation_class_uid: self.implementation_class_uid.clone(),
            implementation_version: self.implementation_version.clone(),
            admission,
            behind: None,
        }
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone)]
pub struct Agreement {
    /// Contexts that may be used.
    pub contexts: Vec<AcceptedContext>,
    /// Contexts that were refused.
    pub refused: Vec<RefusedContext>,
    /// The longest P-DATA-TF we may send.
    pub send_limit: u32,
    /// The answer.
    pub answer: AssociationAC,
}

/// Answers a request: takes every context whose abstract syntax is that of a service, with the first
/// proposed transfer syntax that we know. The proposer's order stands: it knows what its images are.
/// Where it wants to be sent objects, it does not: there the first is taken that any image can be
/// sent in, which no compressed one is.
pub fn negotiate(
    request: &AssociationRequest,
    service: impl Fn(&str) -> Option<Service>,
    our_max_pdu: u32,
    implementation: &Implementation,
) -> Agreement {
    let mut contexts = Vec::new();
    let mut refused = Vec::new();
    let mut results = Vec::new();
    for proposed in &request.contexts {
        let abstract_syntax = trim(&proposed.abstract_syntax);
        let offered = service(abstract_syntax);
        // Whoever reports what it keeps calls as the SCP of storage commitment (PS3.4 J.3.3).
        let requestor_is_scp = matches!(offered, Some(Service::Storage | Service::Commitment))
            && request.roles.iter().any(|(uid, roles)| uid == abstract_syntax && roles.scp);
        let mut syntaxes =
            proposed.transfer_syntaxes.iter().filter_map(|uid| TransferSyntax::from_uid(uid));
        let known = match offered {
            _ if requestor_is_scp => syntaxes.min_by_key(|syntax| !takes_any_image(*syntax)),
            Some(Service::Verification | Service::Storage) | None => syntaxes.next(),
            // What these answer is written in either of the two that everybody knows.
            Some(_) => syntaxes.find(|syntax| takes_any_image(*syntax)),
        };
        let (reason, transfer_syntax) = match known {
            _ if offered.is_none() => {
                (PresentationContextResultReason::AbstractSyntaxNotSupported, None)
            }
            None => (PresentationContextResultReason::TransferSyntaxesNotSupported, None),
            Some(syntax) => (PresentationContextResultReason::Acceptance, Some(syntax)),
        };
        match transfer_syntax {
            Some(transfer_syntax) => contexts.push(AcceptedContext {
                id: proposed.id,
                abstract_syntax: abstract_syntax.to_owned(),
                transfer_syntax,
                requestor_is_scp,
                extended: Extended::default(),
            }),
            None => refused.push(RefusedContext {
                abstract_syntax: abstract_syntax.to_owned(),
                transfer_syntaxes: proposed.transfer_syntaxes.clone(),
                cause: match reason {
                    PresentationContextResultReason::TransferSyntaxesNotSupported => {
                        Cause::TransferSyntax
                    }
                    _ => Cause::AbstractSyntax,
                },
            }),
        }
        // PS3.8 table 9-18: present, though not significant, in a refused context.
        let syntax = transfer_syntax.unwrap_or(TransferSyntax::IMPLICIT_LITTLE);
        results.push(PresentationContextResult {
            id: proposed.id,
            reason,
            transfer_syntax: syntax.uid().to_owned(),
        });
    }
    let mut user_variables = vec![
        UserVariableItem::MaxLength(our_max_pdu),
        UserVariableItem::ImplementationClassUID(implementation.class_uid.clone()),
    ];
    if request.window.is_some() {
        user_variables.push(UserVariableItem::Unknown(ITEM_WINDOW, OUR_WINDOW.to_vec()));
    }
    for (uid, roles) in &request.roles {
        // PS3.7 D.3.3.4: the requestor may be SCU of what we accept, and SCP of what we can send.
        let mut of_class = contexts.iter().filter(|context| context.abstract_syntax == *uid);
        if let Some(context) = of_class.next() {
            user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(
                uid.clone(),
                RequestorRoles { scu: roles.scu, scp: context.requestor_is_scp },
            ));
        }
    }
    user_variables
        .push(UserVariableItem::ImplementationVersionName(implementation.version_name.clone()));
    for (uid, proposed) in &request.extended {
        let mut of_class = contexts.iter_mut().filter(|context| context.abstract_syntax == *uid);
        let Some(first) = of_class.next() else { continue };
        let agreed = service(uid).and_then(|service| Extended::agree(service, proposed));
        let Some((agreed, answer)) = agreed else { continue };
        first.extended = agreed;
        of_class.for_each(|context| context.extended = agreed);
        user_variables
            .push(UserVariableItem::SopClassExtendedNegotiationSubItem(uid.clone(), answer));
    }
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling.to_string(),
        called_ae_title: request.called.to_string(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables,
    };
    Agreement { contexts, refused, send_limit: send_limit(request.max_pdu, our_max_pdu), answer }
}

impl Agreement {
    /// Tells the peer that its user identity was accepted (PS3.7 table D.3-15). Names, passcodes and
    /// JSON Web Tokens are answered without content.
    pub fn confirm_identity(&mut self) {
        let answer = UserVariableItem::Unknown(ITEM_IDENTITY_ANSWER, vec![0, 0]);
        self.answer.user_variables.push(answer);
    }
}

/// Whether every image has a place in the syntax, uncompressed. Big endian is retired.
fn takes_any_image(syntax: TransferSyntax) -> bool {
    syntax == TransferSyntax::IMPLICIT_LITTLE || syntax == TransferSyntax::EXPLICIT_LITTLE
}

/// The longest P-DATA-TF we send: never more than the peer takes, and without a limit of its own
/// no more than we would take ourselves.
pub(crate) fn send_limit(peer: Option<u32>, ours: u32) -> u32 {
    let ours = if ours == 0 { 1 << 20 } else { ours };
    peer.map_or(ours, |peer| peer.min(1 << 20))
}

/// Makes a peer's text fit for a log line: escaped, and no longer than a UID.
fn quote(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

/// Removes the padding of UIDs and names.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(['\0', ' '])
}

#[cfg(test)]
mod tests;
