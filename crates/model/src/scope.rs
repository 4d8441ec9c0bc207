//! Who asks, for which tenant, and what they may do. Every catalog and archive call takes a
//! [`Scope`]; there is no function that forgets it (DESIGN section 3, invariant 7).

use std::sync::Arc;

/// A tenant's key in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub i64);

impl TenantId {
    /// The tenant that every installation has; migrations create it.
    pub const DEFAULT: Self = Self(1);
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A DICOM peer, by its calling AE title.
    Peer(String),
    /// A caller of the HTTP interfaces before accounts exist; loopback only.
    Local,
    /// The node itself, with the reason that an audit row will carry.
    System(&'static str),
}

impl Principal {
    /// The kind, as the audit trail keeps it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Local => "local",
            Self::System(_) => "system",
        }
    }

    /// The name within the kind, as the audit trail keeps it; empty where there is none.
    pub fn name(&self) -> &str {
        match self {
            Self::Peer(title) => title,
            Self::Local => "",
            Self::System(reason) => reason,
        }
    }
}

/// Tenant, principal and permissions of one call, and from where it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    tenant: TenantId,
    principal: Principal,
    peer: Option<Arc<str>>,
}

impl Scope {
    /// Acts for `principal` inside `tenant`.
    pub fn new(tenant: TenantId, principal: Principal) -> Self {
        Self { tenant, principal, peer: None }
    }

    /// Background work of the node inside one tenant.
    pub fn system(tenant: TenantId, reason: &'static str) -> Self {
        Self::new(tenant, Principal::System(reason))
    }

    /// The same, calling from this network address, which audit rows carry.
    #[must_use]
    pub fn at(mut self, peer: &str) -> Self {
        self.peer = (!peer.is_empty()).then(|| peer.into());
        self
    }

    /// Network address of the caller; empty when it is on this machine's command line, or unknown.
    pub fn peer(&self) -> &str {
        self.peer.as_deref().unwrap_or_default()
    }

    /// The tenant whose rows may be touched.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Who acts.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}
