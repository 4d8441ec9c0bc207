//! User identity negotiation (PS3.7 D.3.3.7): what a peer shows, and what came of it. Whether it is
//! right, the binary finds out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use dicom_ul::pdu::UserIdentityType;
use qianli_model::Permissions;
use qianli_model::grant::Viewer;
use qianli_model::scope::Principal;

/// What kind of identity it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// A name that nothing proves.
    Username,
    /// A name and a passcode.
    Password,
    /// A Kerberos service ticket.
    Kerberos,
    /// A SAML assertion.
    Saml,
    /// A JSON Web Token.
    Jwt,
}

/// Who a peer says is behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct UserIdentity {
    /// Of what kind.
    pub kind: IdentityKind,
    /// Whether it wants to be told that it was accepted.
    pub wants_answer: bool,
    /// The name, ticket, assertion or token.
    pub primary: Vec<u8>,
    /// The passcode.
    pub secondary: Vec<u8>,
}

impl fmt::Debug for UserIdentity {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserIdentity").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl UserIdentity {
    pub(crate) fn of(item: &dicom_ul::pdu::UserIdentity) -> Option<Self> {
        let kind = match item.identity_type() {
            UserIdentityType::Username => IdentityKind::Username,
            UserIdentityType::UsernamePassword => IdentityKind::Password,
            UserIdentityType::KerberosServiceTicket => IdentityKind::Kerberos,
            UserIdentityType::SamlAssertion => IdentityKind::Saml,
            UserIdentityType::Jwt => IdentityKind::Jwt,
            _ => return None,
        };
        Some(Self {
            kind,
            wants_answer: item.positive_response_requested(),
            primary: item.primary_field(),
            secondary: item.secondary_field(),
        })
    }
}

/// What whoever is behind an association may do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// What is permitted in the tenant of the association.
    pub permissions: Permissions,
    /// For whom grants of that tenant are looked up, where they come from another one.
    pub viewer: Option<Viewer>,
}

/// Who is behind an association. Accounts and tokens end while associations go on, so it is asked before
/// each operation.
#[async_trait]
pub trait Standing: fmt::Debug + Send + Sync {
    /// The person or program.
    fn principal(&self) -> &Principal;

    /// What it may do now; `None` when it would be turned away.
    async fn now(&self) -> Option<Rights>;
}

/// A shared [`Standing`].
#[derive(Debug, Clone)]
pub struct Behind(pub Arc<dyn Standing>);

impl PartialEq for Behind {
    /// The same one, not just one that says the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Behind {}
