//! DIMSE status codes (PS3.7 annex C, PS3.4 table B.2-1) and what they mean in words.

use std::fmt;

/// A value of Status (0000,0900).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

/// The classes of PS3.7 C.1 to C.5: what the invoker should conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// Done.
    Success,
    /// Done, with something worth knowing.
    Warning,
    /// Not done.
    Failure,
    /// Stopped because the invoker asked.
    Cancel,
    /// More responses follow.
    Pending,
}

impl Status {
    /// PS3.7 C.1.1.
    pub const SUCCESS: Self = Self(0x0000);
    /// PS3.7 C.5.17: something inside failed; the same request may succeed later.
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// PS3.7 C.5.10: the SOP Instance UID breaks the rules of UID construction.
    pub const INVALID_SOP_INSTANCE: Self = Self(0x0117);
    /// PS3.7 C.5.6: the SOP class is not the negotiated one.
    pub const SOP_CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// PS3.7 C.5.22.
    pub const NOT_AUTHORISED: Self = Self(0x0124);
    /// PS3.7 C.5.8.
    pub const UNRECOGNISED_OPERATION: Self = Self(0x0211);
    /// PS3.7 C.5.15: a parameter of the command is absent or not what was agreed.
    pub const MISTYPED_ARGUMENT: Self = Self(0x0212);
    /// PS3.7 C.5.21.
    pub const RESOURCE_LIMITATION: Self = Self(0x0213);
    /// PS3.4 table B.2-1, A7xx.
    pub const OUT_OF_RESOURCES: Self = Self(0xA700);
    /// PS3.4 table B.2-1, A9xx.
    pub const DATA_SET_MISMATCH: Self = Self(0xA900);
    /// PS3.4 table B.2-1, Cxxx.
    pub const CANNOT_UNDERSTAND: Self = Self(0xC000);
    /// PS3.7 C.3.1.
    pub const CANCEL: Self = Self(0xFE00);
    /// PS3.7 C.2.1: a match follows.
    pub const PENDING: Self = Self(0xFF00);
    /// PS3.4 table C.4-1: a match follows, some optional keys were not supported.
    pub const PENDING_WITH_WARNING: Self = Self(0xFF01);

    /// A status by its number.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number that travels.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// What the invoker should conclude.
    pub const fn class(self) -> StatusClass {
        match self.0 {
            0x0000 => StatusClass::Success,
            0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => StatusClass::Warning,
            0xFE00 => StatusClass::Cancel,
            0xFF00 | 0xFF01 => StatusClass::Pending,
            _ => StatusClass::Failure,
        }
    }

    /// Whether the operation was done (success or warning).
    pub const fn is_done(self) -> bool {
        matches!(self.class(), StatusClass::Success | StatusClass::Warning)
    }

    /// What the standard calls the code in a C-STORE, C-FIND or C-ECHO response.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0x0000 => "success",
            0x0110 => "processing failure",
            0x0111 => "duplicate SOP instance",
            0x0112 => "no such SOP instance",
            0x0117 => "invalid SOP instance",
            0x0118 => "no such SOP class",
            0x0122 => "SOP class not supported",
            0x0124 => "not authorised",
            0x0210 => "duplicate invocation",
            0x0211 => "unrecognised operation",
            0x0212 => "mistyped argument",
            0x0213 => "resource limitation",
            0xA700..=0xA7FF => "out of resources",
            0xA801 => "move destination unknown",
            0xA900..=0xA9FF => "data set does not match SOP class",
            0xB000 => "coercion of data elements",
            0xB006 => "elements discarded",
            0xB007 => "data set does not match SOP class (stored)",
            0xC000..=0xCFFF => "cannot understand or unable to process",
            0xFE00 => "cancelled",
            0xFF00 | 0xFF01 => "pending",
            _ => match self.class() {
                StatusClass::Warning => "warning",
                _ => "failure",
            },
        }
    }
}

impl From<u16> for Status {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}H ({})", self.0, self.meaning())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:#06x})", self.0)
    }
}

impl StatusClass {
    /// The word used as a metrics label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Cancel => "cancel",
            Self::Pending => "pending",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_annex_c() {
        let cases = [
            (0x0000, StatusClass::Success),
            (0x0107, StatusClass::Warning),
            (0xB007, StatusClass::Warning),
            (0x0122, StatusClass::Failure),
            (0xA700, StatusClass::Failure),
            (0xC123, StatusClass::Failure),
            (0xFE00, StatusClass::Cancel),
            (0xFF00, StatusClass::Pending),
            (0xFF01, StatusClass::Pending),
        ];
        for (code, class) in cases {
            assert_eq!(Status::new(code).class(), class, "{code:04X}");
        }
        assert_eq!(Status::OUT_OF_RESOURCES.to_string(), "A700H (out of resources)");
    }
}
