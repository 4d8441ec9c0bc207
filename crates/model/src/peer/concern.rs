//! What an administrator should know of a row of the register, although it is legal.

use super::{PeerRule, Register};
use crate::Permission;
use crate::incident::Tongue;

/// Something about a row that is perhaps not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// It names a called AE title of another tenant, and is not for a device that reads there what was
    /// granted: it never counts.
    OthersTitle,
    /// It takes every device that no other row names, from anywhere and without a certificate.
    Strangers,
}

impl Concern {
    /// The word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OthersTitle => "title of another tenant",
            Self::Strangers => "draws strangers",
        }
    }

    /// What it means and what mends it.
    pub const fn words(self, tongue: Tongue) -> &'static str {
        match (self, tongue) {
            (Self::OthersTitle, Tongue::English) => {
                "This row never counts: the AE title that it wants to be called belongs to another \
                 hospital. Name a title of your own, or none; a single device that may read can read there \
                 what was granted."
            }
            (Self::OthersTitle, Tongue::Chinese) => {
                "该登记不会生效：被呼叫的 AE 名称属于其他机构。请改为本机构的名称，或留空；若是单台设备且有读取权限，可读取该机构授权的内容。"
            }
            (Self::Strangers, Tongue::English) => {
                "This row draws strangers: every device that no other row names may do what it says, \
                 from anywhere. Give it an address, a network or a certificate."
            }
            (Self::Strangers, Tongue::Chinese) => {
                "该登记对陌生设备开放：任何未单独登记的设备都可从任意地址使用。请补充地址、网段或证书。"
            }
        }
    }
}

impl Register {
    /// What is to be said of a row.
    pub fn concerns(&self, rule: &PeerRule) -> Vec<Concern> {
        let owner = rule.called.as_ref().and_then(|title| self.owner(title));
        let foreign = owner.is_some_and(|owner| owner != rule.tenant);
        let reads = rule.calling.is_exact() && rule.permissions.allow(Permission::Read);
        let others = foreign && !reads;
        let anybody = rule.calling.literal() == 0
            && rule.calling.as_str().contains('*')
            && rule.network.is_none()
            && rule.certificate.is_none()
            && !rule.permissions.is_none();
        [(others, Concern::OthersTitle), (anybody && !foreign, Concern::Strangers)]
            .into_iter()
            .filter_map(|(is, concern)| is.then_some(concern))
            .collect()
    }
}
