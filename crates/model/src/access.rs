//! Roles and what they permit (DESIGN section 8). Pure tables: who has a role is in the catalog, and
//! which request needs which permission stands beside the request's route.

use std::fmt;

/// Something that a caller may be allowed to do inside a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Search for studies and read their headers, pixels and objects.
    Read,
    /// Let other tenants, persons and holders of links see studies.
    Share,
    /// Store instances.
    Store,
    /// Delete and restore studies, series and instances.
    Delete,
    /// Settle what arrived in disagreement, such as two patients in one study.
    Settle,
    /// See and change workitems; as a DICOM peer, ask for the modality worklist and report procedure
    /// steps.
    Worklist,
    /// Enter, change and cancel orders, and settle which study belongs to which.
    Order,
    /// Claim reading tasks and finish them.
    Interpret,
    /// Hand out reading tasks, make them urgent or cancel them, and keep the rules that make them.
    Dispatch,
    /// Read who did what.
    Audit,
    /// Manage the accounts, tokens and settings of the tenant.
    Administer,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Share,
        Self::Store,
        Self::Delete,
        Self::Settle,
        Self::Worklist,
        Self::Order,
        Self::Interpret,
        Self::Dispatch,
        Self::Audit,
        Self::Administer,
    ];

    /// Its name on command lines, in databases and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Share => "share",
            Self::Store => "store",
            Self::Delete => "delete",
            Self::Settle => "settle",
            Self::Worklist => "worklist",
            Self::Order => "order",
            Self::Interpret => "interpret",
            Self::Dispatch => "dispatch",
            Self::Audit => "audit",
            Self::Administer => "administer",
        }
    }

    /// The permission of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// Nothing is allowed.
    pub const NONE: Self = Self(0);

    /// Everything inside the tenant.
    pub const ALL: Self = {
        let mut bits = 0;
        let mut index = 0;
        while index < Permission::ALL.len() {
            bits |= Permission::ALL[index].bit();
            index += 1;
        }
        Self(bits)
    };

    /// Those of a list.
    pub fn of(list: &[Permission]) -> Self {
        Self(list.iter().fold(0, |bits, permission| bits | permission.bit()))
    }

    /// Whether one of them is `permission`.
    pub fn allow(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Those of both sets together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that both sets have.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is allowed.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.allow(*permission))
    }

    /// Their names, separated by commas, as [`Self::parse`] reads them.
    pub fn names(self) -> String {
        self.iter().map(Permission::name).collect::<Vec<_>>().join(",")
    }

    /// Reads [`Self::names`]. `None` when one of the names is unknown.
    pub fn parse(names: &str) -> Option<Self> {
        names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .try_fold(Self::NONE, |set, name| Some(set.and(Self::of(&[Permission::parse(name)?]))))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{}]", self.names())
    }
}

/// What a person is to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Manages accounts, tokens and settings, and may do everything else.
    Administrator,
    /// Reads studies and reports on them.
    Reader,
    /// Refers patients and reads their studies.
    Physician,
    /// Brings studies in and corrects what arrived wrong.
    Technician,
    /// Hands out reading tasks.
    Dispatcher,
    /// Reads who did what, and no images.
    Auditor,
    /// An imaging device or its gateway: stores, and sees nothing.
    Modality,
    /// Sees what was shared with the person, and nothing else of the tenant.
    Patient,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Administrator,
        Self::Reader,
        Self::Physician,
        Self::Technician,
        Self::Dispatcher,
        Self::Auditor,
        Self::Modality,
        Self::Patient,
    ];

    /// Its name on command lines, in databases and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Reader => "reader",
            Self::Physician => "physician",
            Self::Technician => "technician",
            Self::Dispatcher => "dispatcher",
            Self::Auditor => "auditor",
            Self::Modality => "modality",
            Self::Patient => "patient",
        }
    }

    /// The role of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What it permits.
    pub fn permissions(self) -> Permissions {
        use Permission::{
            Audit, Delete, Dispatch, Interpret, Order, Read, Settle, Share, Store, Worklist,
        };
        match self {
            Self::Administrator => Permissions::ALL,
            Self::Reader => Permissions::of(&[Read, Worklist, Interpret]),
            Self::Physician => Permissions::of(&[Read, Share]),
            Self::Technician => {
                Permissions::of(&[Read, Share, Store, Delete, Settle, Worklist, Order])
            }
            Self::Dispatcher => Permissions::of(&[Read, Share, Worklist, Order, Dispatch]),
            Self::Auditor => Permissions::of(&[Audit]),
            Self::Modality => Permissions::of(&[Store]),
            // What is shared with somebody needs no permission in the tenant.
            Self::Patient => Permissions::NONE,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_are_unique() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.name()), Some(permission));
        }
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
            assert_eq!(Permissions::parse(&role.permissions().names()), Some(role.permissions()));
        }
        assert_eq!(Permissions::parse(""), Some(Permissions::NONE));
        assert_eq!(Permissions::parse("read, fly"), None);
    }

    #[test]
    fn who_sees_no_images_and_who_changes_nothing() {
        for role in [Role::Auditor, Role::Modality, Role::Patient] {
            assert!(!role.permissions().allow(Permission::Read), "{role}");
        }
        for role in [Role::Reader, Role::Physician, Role::Dispatcher, Role::Auditor] {
            for change in [Permission::Store, Permission::Delete, Permission::Administer] {
                assert!(!role.permissions().allow(change), "{role} {change}");
            }
        }
        let administers = |role: &Role| role.permissions().allow(Permission::Administer);
        assert_eq!(Role::ALL.into_iter().filter(administers).count(), 1);
    }

    #[test]
    fn sets_join_and_meet() {
        let (reader, modality) = (Role::Reader.permissions(), Role::Modality.permissions());
        assert!(reader.within(modality).is_none());
        assert_eq!(reader.and(modality).within(modality), modality);
        assert!(Permission::ALL.into_iter().all(|one| Permissions::ALL.allow(one)));
    }
}
