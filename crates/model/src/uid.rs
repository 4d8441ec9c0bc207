//! Unique identifiers (PS3.5 section 9), one type per meaning.
//!
//! A value of these types is safe as a path segment, a blob key and a log field: only digits and
//! dots, no empty component, bounded length. What real equipment gets wrong (leading zeros, more
//! than 64 characters) is accepted, since refusing it would lose images.

use std::fmt;
use std::str::FromStr;

/// Longest UID we keep. PS3.5 allows 64; a few vendors exceed it.
pub const MAX_UID_LENGTH: usize = 128;

/// Why a text is not a UID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// No characters are left after trimming padding.
    #[error("the UID is empty")]
    Empty,
    /// Longer than [`MAX_UID_LENGTH`].
    #[error("the UID has {0} characters; at most {MAX_UID_LENGTH} are accepted")]
    TooLong(usize),
    /// A character that is neither a digit nor a dot, or an empty component.
    #[error("the UID is not made of digits separated by single dots")]
    Malformed,
}

/// Trims the padding that PS3.5 section 9.1 asks for (NUL) and the padding that equipment writes
/// (space), then checks the remaining characters.
fn check(text: &str) -> Result<&str, UidError> {
    let uid = text.trim_matches(['\0', ' ']);
    if uid.is_empty() {
        return Err(UidError::Empty);
    }
    if uid.len() > MAX_UID_LENGTH {
        return Err(UidError::TooLong(uid.len()));
    }
    let well_formed =
        uid.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if well_formed { Ok(uid) } else { Err(UidError::Malformed) }
}

macro_rules! uid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a UID, trimming NUL and space padding.
            pub fn parse(text: &str) -> Result<Self, UidError> {
                check(text).map(|uid| Self(uid.into()))
            }

            /// The UID without padding.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = UidError;
            fn from_str(text: &str) -> Result<Self, UidError> {
                Self::parse(text)
            }
        }
    };
}

uid_type! {
    /// Study Instance UID (0020,000D).
    StudyUid
}
uid_type! {
    /// Series Instance UID (0020,000E).
    SeriesUid
}
uid_type! {
    /// SOP Instance UID (0008,0018).
    SopInstanceUid
}
uid_type! {
    /// SOP Class UID (0008,0016).
    SopClassUid
}
uid_type! {
    /// Transaction UID (0008,1195): the lock of a workitem that was claimed.
    TransactionUid
}

impl SopClassUid {
    /// Returns the standard's name of the class, or `None` for private and unknown ones.
    pub fn name(&self) -> Option<&'static str> {
        use dicom_core::dictionary::UidDictionary;
        dicom_dictionary_std::StandardSopClassDictionary
            .by_uid(self.as_str())
            .map(|entry| entry.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_trimmed_and_quirks_are_kept() {
        for text in ["1.2.3\0", "1.2.3 ", " 1.2.3"] {
            assert_eq!(StudyUid::parse(text).map(|u| u.to_string()), Ok("1.2.3".into()));
        }
        assert!(StudyUid::parse("999.999.01.23").is_ok(), "leading zeros occur in the field");
        assert!(StudyUid::parse("1.".repeat(40).trim_end_matches('.')).is_ok());
    }

    #[test]
    fn what_could_leave_a_folder_is_refused() {
        for text in ["", "\0", "1..2", ".1", "1.", "1.2.abc", "../../etc", "1/2", "1.2\n3"] {
            assert!(StudyUid::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(StudyUid::parse(&"1".repeat(129)), Err(UidError::TooLong(129)));
    }
}
