//! Who asks, for which tenant, and what they may do. Every catalog and archive call takes a
//! [`Scope`]; there is no function that forgets it (DESIGN section 3, invariant 7).

use std::sync::Arc;

use crate::access::{Permission, Permissions};
use crate::grant::Viewer;

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
    /// A person with an account: its key in the catalog, and the login name.
    Person(i64, String),
    /// A program with an API token: its key in the catalog, and the name that it was given.
    Token(i64, String),
    /// Whoever holds a share link: its key in the catalog, and the words that it was given.
    Link(i64, String),
    /// A program with a token of an identity provider: its name there.
    Machine(String),
    /// Whoever sits at this machine: a command of an operator, or, without logins, any caller of
    /// the loopback addresses.
    Local,
    /// The node itself, with the reason that an audit row will carry.
    System(&'static str),
}

impl Principal {
    /// What kind of actor it is; stable, for rows and documents.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Person(..) => "person",
            Self::Token(..) => "token",
            Self::Link(..) => "link",
            Self::Machine(_) => "machine",
            Self::Local => "local",
            Self::System(_) => "system",
        }
    }

    /// Its name among its kind; empty where there is only one.
    pub fn name(&self) -> &str {
        match self {
            Self::Peer(name)
            | Self::Person(_, name)
            | Self::Token(_, name)
            | Self::Link(_, name)
            | Self::Machine(name) => name,
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
    permissions: Permissions,
    peer: Option<Arc<str>>,
    viewer: Option<Viewer>,
}

impl Scope {
    /// Acts for `principal` inside `tenant`, with no more than `permissions`.
    pub fn new(tenant: TenantId, principal: Principal, permissions: Permissions) -> Self {
        Self { tenant, principal, permissions, peer: None, viewer: None }
    }

    /// An operator of this machine inside one tenant.
    pub fn local(tenant: TenantId) -> Self {
        Self::new(tenant, Principal::Local, Permissions::ALL)
    }

    /// Background work of the node inside one tenant.
    pub fn system(tenant: TenantId, reason: &'static str) -> Self {
        Self::new(tenant, Principal::System(reason), Permissions::ALL)
    }

    /// The same, seeing only what the tenant lets this viewer see, and changing nothing.
    #[must_use]
    pub fn through(mut self, viewer: Viewer) -> Self {
        self.permissions = self.permissions.within(Permissions::of(&[Permission::Read]));
        self.viewer = Some(viewer);
        self
    }

    /// The same, seeing only what may be taken away as files. The tenant's own may take everything.
    #[must_use]
    pub fn to_download(mut self) -> Self {
        self.viewer = self.viewer.map(|viewer| Viewer { to_download: true, ..viewer });
        self
    }

    /// The same, seeing only what was shared under the pseudonyms of a project, by its key. For code
    /// that gives nothing out but what was de-identified; the tenant's own see everything.
    #[must_use]
    pub fn under_pseudonyms(mut self, project: i64) -> Self {
        self.viewer = self.viewer.map(|viewer| Viewer { project, ..viewer });
        self
    }

    /// For whom grants are looked up; `None` for a scope that sees the whole tenant.
    pub fn viewer(&self) -> Option<&Viewer> {
        self.viewer.as_ref()
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

    /// What may be done.
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// Whether one thing may be done.
    pub fn allows(&self, permission: Permission) -> bool {
        self.permissions.allow(permission)
    }
}
