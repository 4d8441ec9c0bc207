//! Who asks, for which tenant, and what they may do. Every catalog and archive call takes a
//! [`Scope`]; there is no function that forgets it (DESIGN section 3, invariant 7).

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

/// Tenant, principal and permissions of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    tenant: TenantId,
    principal: Principal,
}

impl Scope {
    /// Acts for `principal` inside `tenant`.
    pub fn new(tenant: TenantId, principal: Principal) -> Self {
        Self { tenant, principal }
    }

    /// Background work of the node inside one tenant.
    pub fn system(tenant: TenantId, reason: &'static str) -> Self {
        Self::new(tenant, Principal::System(reason))
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
