//! User identity negotiation (PS3.7 D.3.3.7): what a peer shows, and what came of it. Whether it is
//! right, the binary finds out.

use std::fmt;

use dicom_ul::pdu::UserIdentityType;
use qianli_model::peer::Admission;
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

/// What came of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// What the association may do now.
    pub admission: Admission,
    /// Whom it was found to be; `None` when the identity was not looked at.
    pub principal: Option<Principal>,
}
