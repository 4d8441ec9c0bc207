//! User identities of associations (PS3.7 D.3.3.7): whether what a peer shows is right, and what it may do
//! then. The accounts are those of the pages.

use qianli_dimse::association::{
    AssociationRequest, Identified, IdentityKind, Rejection, RejectionReason, UserIdentity,
};
use qianli_model::incident::Cause;
use qianli_model::peer::Admission;
use qianli_web::WebState;
use qianli_web::access::proof::{Shown, Unproven, prove};

use crate::config::DimseIdentity;

/// Finds out who is behind an association that shows an identity, and what it may do.
///
/// # Errors
///
/// The association is rejected.
pub(crate) async fn identify(
    people: &WebState,
    wanted: DimseIdentity,
    request: &AssociationRequest,
    identity: &UserIdentity,
    admission: Admission,
) -> Result<Identified, Rejection> {
    let nobody = Identified { admission, principal: None };
    if wanted == DimseIdentity::Ignore {
        return Ok(nobody);
    }
    let calling = &request.calling;
    let refuse = |why: &str| {
        let line = format!("the user identity that {calling} shows is refused: {why}");
        Rejection::new(RejectionReason::NoReasonGiven, line).because(Cause::Identity)
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8"));
    let shown = match identity.kind {
        // A name proves nothing: it gives nothing, and takes nothing away.
        IdentityKind::Username => return Ok(nobody),
        IdentityKind::Password => {
            Shown::Password(text(&identity.primary)?, text(&identity.secondary)?)
        }
        IdentityKind::Jwt => Shown::Token(text(&identity.primary)?),
        IdentityKind::Kerberos => return Err(refuse("Kerberos is not offered")),
        IdentityKind::Saml => return Err(refuse("SAML is not offered")),
    };
    match prove(people, admission.tenant, shown, &request.peer.ip().to_canonical().to_string())
        .await
    {
        Ok(None) => Ok(nobody),
        Ok(Some(proven)) => Ok(Identified {
            admission: Admission { permissions: proven.permissions, ..admission },
            principal: Some(proven.principal),
        }),
        Err(Unproven::Wrong(why)) => Err(refuse(why)),
        Err(Unproven::Unavailable(why)) => {
            let line = format!("the user identity that {calling} shows cannot be checked: {why}");
            Err(Rejection::new(RejectionReason::TemporaryCongestion, line))
        }
    }
}
