//! Application Entity titles (PS3.5 table 6.2-1, VR AE).

use std::fmt;
use std::str::FromStr;

/// An AE title: 1 to 16 printable ASCII characters, no backslash, spaces at the ends trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(Box<str>);

/// The text is empty, too long, or holds a character that VR AE forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an AE title is 1 to 16 printable ASCII characters without a backslash")]
pub struct AeTitleError;

impl AeTitle {
    /// Parses a title; leading and trailing spaces are not significant.
    pub fn parse(text: &str) -> Result<Self, AeTitleError> {
        let title = text.trim_matches([' ', '\0']);
        let legal = |b: u8| (0x20..0x7f).contains(&b) && b != b'\\';
        if title.is_empty() || title.len() > 16 || !title.bytes().all(legal) {
            return Err(AeTitleError);
        }
        Ok(Self(title.into()))
    }

    /// The title without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;
    fn from_str(text: &str) -> Result<Self, AeTitleError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_trimmed_and_checked() {
        assert_eq!(AeTitle::parse(" CT 1 ").map(|t| t.to_string()), Ok("CT 1".into()));
        for bad in ["", "    ", "SEVENTEEN-LETTERS", "A\\B", "A\nB", "名"] {
            assert_eq!(AeTitle::parse(bad), Err(AeTitleError), "{bad:?}");
        }
    }
}
