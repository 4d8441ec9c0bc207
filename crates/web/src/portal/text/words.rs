//! Words for roles, permissions and weak passwords.

use qianli_model::{Permission, Role};

use super::Texts;
use crate::access::secret::WeakPassword;

impl Texts {
    /// A role, as people call it.
    pub(in crate::portal) fn role(&self, role: Role) -> &'static str {
        match role {
            Role::Administrator => self.role_administrator,
            Role::Reader => self.role_reader,
            Role::Physician => self.role_physician,
            Role::Technician => self.role_technician,
            Role::Dispatcher => self.role_dispatcher,
            Role::Auditor => self.role_auditor,
            Role::Modality => self.role_modality,
            Role::Patient => self.role_patient,
        }
    }

    /// What is wrong with a password.
    pub(in crate::portal) fn weak(&self, weak: WeakPassword) -> &'static str {
        match weak {
            WeakPassword::Short => self.password_short,
            WeakPassword::Long => self.password_long,
            WeakPassword::Guessable => self.password_guessable,
            WeakPassword::Common => self.password_common,
        }
    }

    /// A permission, as people call it.
    pub(in crate::portal) fn permission(&self, permission: Permission) -> &'static str {
        match permission {
            Permission::Read => self.may_read,
            Permission::Share => self.may_share,
            Permission::Store => self.may_store,
            Permission::Delete => self.may_delete,
            Permission::Settle => self.may_settle,
            Permission::Worklist => self.may_worklist,
            Permission::Order => self.may_order,
            Permission::Interpret => self.may_interpret,
            Permission::Dispatch => self.may_dispatch,
            Permission::Audit => self.may_audit,
            Permission::Administer => self.may_administer,
        }
    }
}
