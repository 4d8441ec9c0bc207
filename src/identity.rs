//! User identities of associations (PS3.7 D.3.3.7): whether what a peer shows is right, and what it may do
//! then. The accounts are those of the pages.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use qianli_dimse::association::{
    AssociationRequest, Behind, IdentityKind, Rejection, RejectionReason, Rights, Standing,
    UserIdentity,
};
use qianli_model::incident::Cause;
use qianli_model::peer::Admission;
use qianli_model::scope::Principal;
use qianli_web::WebState;
use qianli_web::access::proof::{self, Place, Proof, Shown, Unproven, prove, prove_again};
use tokio::sync::Mutex;

use crate::config::DimseIdentity;

/// How long what the accounts said counts, as for requests over HTTP.
const FRESH: Duration = Duration::from_secs(5);

/// How long it counts while the accounts cannot be asked.
const WITHOUT_ACCOUNTS: Duration = Duration::from_secs(15 * 60);

/// Finds out who is behind an association that shows an identity; `None` when nobody looks at it.
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
) -> Result<Option<Behind>, Rejection> {
    if wanted == DimseIdentity::Ignore {
        return Ok(None);
    }
    let calling = &request.calling;
    let refuse = |why: &str| {
        let line = format!("the user identity that {calling} shows is refused: {why}");
        Rejection::new(RejectionReason::NoReasonGiven, line).because(Cause::Identity)
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8"));
    let shown = match identity.kind {
        // A name proves nothing: it gives nothing, and takes nothing away.
        IdentityKind::Username => return Ok(None),
        IdentityKind::Password => {
            Shown::Password(text(&identity.primary)?, text(&identity.secondary)?)
        }
        IdentityKind::Jwt => Shown::Token(text(&identity.primary)?),
        IdentityKind::Kerberos => return Err(refuse("Kerberos is not offered")),
        IdentityKind::Saml => return Err(refuse("SAML is not offered")),
    };
    let place = Place { tenant: admission.tenant, home: admission.through };
    match prove(people, place, shown, &request.peer.ip().to_canonical().to_string()).await {
        Ok(None) => Ok(None),
        Ok(Some(proven)) => {
            let last = Last { at: Instant::now(), rights: Some(rights(proven.standing)) };
            Ok(Some(Behind(Arc::new(Proved {
                people: people.clone(),
                place,
                principal: proven.principal,
                proof: proven.proof,
                last: Mutex::new(last),
            }))))
        }
        Err(Unproven::Wrong(why)) => Err(refuse(why)),
        Err(Unproven::Unavailable(why)) => {
            let line = format!("the user identity that {calling} shows cannot be checked: {why}");
            Err(Rejection::new(RejectionReason::TemporaryCongestion, line))
        }
    }
}

fn rights(standing: proof::Standing) -> Rights {
    Rights { permissions: standing.permissions, viewer: standing.viewer }
}

/// Somebody whose identity was right when the association began.
struct Proved {
    people: WebState,
    place: Place,
    principal: Principal,
    proof: Proof,
    last: Mutex<Last>,
}

/// What the accounts last said.
#[derive(Clone, Copy)]
struct Last {
    at: Instant,
    rights: Option<Rights>,
}

impl fmt::Debug for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proved").field("principal", &self.principal).finish_non_exhaustive()
    }
}

#[async_trait]
impl Standing for Proved {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    async fn now(&self) -> Option<Rights> {
        let mut last = self.last.lock().await;
        if last.at.elapsed() < FRESH {
            return last.rights;
        }
        match prove_again(&self.people, self.place, &self.proof).await {
            Ok(standing) => *last = Last { at: Instant::now(), rights: Some(rights(standing)) },
            Err(Unproven::Wrong(why)) => {
                tracing::info!(
                    who = self.principal.name(),
                    "an association is good for nothing any more: {why}"
                );
                *last = Last { at: Instant::now(), rights: None };
            }
            // A database that is away for a moment keeps no images from coming in.
            Err(Unproven::Unavailable(why)) => {
                tracing::warn!(%why, "the account behind an association cannot be asked again");
                if last.at.elapsed() > WITHOUT_ACCOUNTS {
                    return None;
                }
            }
        }
        last.rights
    }
}
