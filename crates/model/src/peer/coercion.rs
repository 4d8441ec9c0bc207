//! What is known of a peer's objects that they do not say themselves, or say wrongly. It changes how they
//! are read, never what is stored.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::charset::TextEncoding;

/// Longest issuer and longest private creator (characters; PS3.5 table 6.2-1, LO).
const LONGEST: usize = 64;

/// Most private creators of one row.
const MOST: usize = 16;

/// How the objects of a peer are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coercions {
    /// What text beyond ASCII is in objects that state no character set. Text that does not fit is
    /// guessed as ever.
    pub charset: Option<TextEncoding>,
    /// What text beyond ASCII really is where a single-byte or unknown character set is stated, or none
    /// and [`Self::charset`] says nothing. Text that does not fit is read as stated.
    pub charset_instead: Option<TextEncoding>,
    /// Issuer of Patient ID (0010,0021) of objects that have a patient ID and no issuer; empty for none.
    pub issuer: String,
    /// Private elements that are left out of the metadata and of the index.
    pub without: Vec<Creator>,
}

/// Whose private elements are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creator {
    /// Everybody's.
    All,
    /// Nobody's: elements of odd groups for which no creator reserved a block (PS3.5 section 7.8.1).
    Nobody,
    /// Those of this private creator.
    Named(String),
}

impl Creator {
    /// Reads `*`, `-` or the name of a creator.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "*" => Some(Self::All),
            "-" => Some(Self::Nobody),
            name => is_text(name).then(|| Self::Named(name.to_owned())),
        }
    }

    /// As [`Self::parse`] reads it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Nobody => "-",
            Self::Named(name) => name,
        }
    }
}

/// Something short and printable, without what separates values and names.
fn is_text(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= LONGEST
        && !text.chars().any(|c| c.is_control() || matches!(c, '\\' | ','))
}

impl Coercions {
    /// Whether objects are read as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the issuer; empty for none. False when it can be none.
    #[must_use]
    pub fn set_issuer(&mut self, text: &str) -> bool {
        let text = text.trim();
        let legal = text.is_empty() || is_text(text);
        if legal {
            self.issuer = text.to_owned();
        }
        legal
    }

    /// Sets the creators whose elements are left out, by their names. False when one is none.
    #[must_use]
    pub fn set_without<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let parsed: Option<Vec<Creator>> = names.into_iter().map(Creator::parse).collect();
        match parsed.filter(|list| list.len() <= MOST) {
            Some(list) => self.without = list,
            None => return false,
        }
        true
    }

    /// As programs read it, and as it is kept: what is not there is not known.
    pub fn to_json(&self) -> Value {
        let Self { charset, charset_instead, issuer, without } = self;
        let mut object = Map::new();
        if let Some(encoding) = charset {
            object.insert("charset".into(), json!(encoding.name()));
        }
        if let Some(encoding) = charset_instead {
            object.insert("charset_instead".into(), json!(encoding.name()));
        }
        if !issuer.is_empty() {
            object.insert("issuer".into(), json!(issuer));
        }
        if !without.is_empty() {
            let names = without.iter().map(Creator::as_str);
            object.insert("without".into(), names.collect());
        }
        Value::Object(object)
    }

    /// Reads [`Self::to_json`]; `null` is none. `None` for anything else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = match value {
            Value::Null => return Some(Self::default()),
            value => value.as_object()?,
        };
        let mut read = Self::default();
        for (name, value) in object {
            match name.as_str() {
                _ if value.is_null() => {}
                "charset" => read.charset = Some(value.as_str()?.parse().ok()?),
                "charset_instead" => read.charset_instead = Some(value.as_str()?.parse().ok()?),
                "issuer" => read.set_issuer(value.as_str()?).then_some(())?,
                "without" => {
                    let names: Option<Vec<&str>> =
                        value.as_array()?.iter().map(Value::as_str).collect();
                    read.set_without(names?).then_some(())?;
                }
                _ => return None,
            }
        }
        Some(read)
    }

    /// The text that the catalog and stored objects hold; empty for none.
    pub fn to_text(&self) -> String {
        if self.is_none() { String::new() } else { self.to_json().to_string() }
    }

    /// Reads [`Self::to_text`].
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::default()),
            text => Self::from_json(&serde_json::from_str(text).ok()?),
        }
    }
}

impl fmt::Display for Coercions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { charset, charset_instead, issuer, without } = self;
        let mut parts = Vec::new();
        parts.extend(charset.map(|one| format!("text without a character set is {}", one.name())));
        parts.extend(charset_instead.map(|one| format!("mislabelled text is {}", one.name())));
        if !issuer.is_empty() {
            parts.push(format!("patient IDs without an issuer are of {issuer}"));
        }
        if !without.is_empty() {
            let names: Vec<&str> = without.iter().map(Creator::as_str).collect();
            parts.push(format!("without private elements of {}", names.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let mut full = Coercions {
            charset: Some("gb18030".parse().unwrap()),
            charset_instead: Some("euc-kr".parse().unwrap()),
            ..Coercions::default()
        };
        assert!(full.set_issuer(" 县医院 ") && full.set_without(["GEMS_IDEN_01", "-", "*"]));
        assert_eq!(full.issuer, "县医院");
        assert_eq!(Coercions::from_text(&full.to_text()), Some(full.clone()));
        assert_eq!(Coercions::default().to_text(), "");
        assert_eq!(Coercions::from_text(""), Some(Coercions::default()));
        assert_eq!(Coercions::from_json(&Value::Null), Some(Coercions::default()));
        for words in ["gb18030", "euc-kr", "县医院", "GEMS_IDEN_01"] {
            assert!(full.to_string().contains(words), "{full}");
        }
    }

    #[test]
    fn what_can_be_none_is_refused() {
        for wrong in [
            r#"{"charset": "utf-16"}"#,
            r#"{"charset": 1}"#,
            r#"{"issuer": "A\\B"}"#,
            r#"{"without": "*"}"#,
            r#"{"without": [""]}"#,
            r#"{"colour": "red"}"#,
            "[]",
            "x",
        ] {
            assert_eq!(Coercions::from_text(wrong), None, "{wrong}");
        }
        let mut one = Coercions::default();
        assert!(!one.set_issuer(&"x".repeat(65)));
        assert!(!one.set_without(std::iter::repeat_n("A", 17)));
        assert!(one.is_none());
    }
}
