//! The words of the audit trail: what can be done and how it ended. Rows, chains and their proof are
//! the catalog's; how they look to other systems is the binary's.

/// Makes an enum whose variants are stored as words, and the list of all of them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// From the stored word; `None` for one that this release does not know.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// What was done, or tried.
    Action {
        /// Instances were recorded.
        Store => "store",
        /// A study, a series or an instance was deleted.
        Delete => "delete",
        /// A deletion was undone.
        Restore => "restore",
        /// The objects of a deletion were removed for good.
        Purge => "purge",
        /// A person said that a study with images of several patients is as it should be.
        SettleConflict => "settle conflict",
        /// Somebody searched: answers name patients.
        Search => "search",
        /// Headers were read.
        ReadMetadata => "read metadata",
        /// Frames, bulk values or pictures were read.
        ReadPixels => "read pixels",
        /// Whole objects were read.
        ReadObjects => "read objects",
        /// A page about a study was read.
        ReadPage => "read page",
        /// Objects were written to somewhere outside, by an operator or to a peer.
        Export => "export",
        /// A workitem was made.
        CreateWorkitem => "create workitem",
        /// A workitem was changed: claimed, updated, completed or canceled.
        ChangeWorkitem => "change workitem",
        /// A workitem was read.
        ReadWorkitem => "read workitem",
        /// Orders were entered, changed, cancelled, performed or matched to studies.
        ChangeOrder => "change order",
        /// Orders were read: a list, or the modality worklist.
        ReadOrder => "read order",
        /// A reading task or a rule that makes them was made or changed.
        ChangeReading => "change reading",
        /// Reading tasks were read: a list, or one.
        ReadReading => "read reading",
        /// A subscription to workitems was made, changed or ended.
        Subscribe => "subscribe",
        /// Somebody logged in.
        Login => "login",
        /// Somebody could not log in.
        LoginFailed => "login failed",
        /// Somebody logged out, or a session was ended.
        Logout => "logout",
        /// Something was refused for lack of a permission.
        AccessDenied => "access denied",
        /// An account was made, changed or removed.
        ChangeUser => "change user",
        /// Roles were given or taken.
        ChangeRole => "change role",
        /// An API token was made or revoked.
        ChangeToken => "change token",
        /// A tenant was made or changed.
        ChangeTenant => "change tenant",
        /// A DICOM peer was registered, changed or removed.
        ChangePeer => "change peer",
        /// A routing rule or destination was made, changed or removed, or a delivery sent again.
        ChangeRoute => "change route",
        /// A grant was made, changed or revoked.
        ChangeGrant => "change grant",
        /// A link to a study was made or revoked.
        ChangeLink => "change link",
        /// Somebody broke the glass: looked at what is not theirs in an emergency.
        BreakGlass => "break glass",
        /// The audit trail itself was read or exported.
        ReadAudit => "read audit",
        /// A node started.
        Start => "start",
        /// A node stopped.
        Stop => "stop",
    }
}

words! {
    /// How it ended.
    Outcome {
        /// It was done.
        Success => "success",
        /// There was nothing of the kind, or nothing that the caller may see.
        NotFound => "not found",
        /// It was refused: a permission, a rule, or a request that makes no sense.
        Refused => "refused",
        /// The server failed.
        Failed => "failed",
    }
}

impl Outcome {
    /// What an HTTP status says about the request.
    pub fn of_status(status: u16) -> Self {
        match status {
            404 | 410 => Self::NotFound,
            400..=499 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_come_back() {
        let mut seen = std::collections::BTreeSet::new();
        for action in Action::ALL {
            assert!(seen.insert(action.as_str()), "{action:?} shares its word");
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(*outcome));
        }
        assert_eq!(Action::parse("Store"), None);
    }

    #[test]
    fn statuses_become_outcomes() {
        let check = |status, expected| assert_eq!(Outcome::of_status(status), expected, "{status}");
        check(200, Outcome::Success);
        check(206, Outcome::Success);
        check(304, Outcome::Success);
        check(404, Outcome::NotFound);
        check(410, Outcome::NotFound);
        check(403, Outcome::Refused);
        check(503, Outcome::Failed);
    }
}
