//! What one tenant lets others see of its studies (DESIGN section 8): the words of grants and share
//! links. Which studies a grant reaches is the catalog's to find out, each time it is asked.

use crate::scope::TenantId;

/// What a grant is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One study, by its Study Instance UID.
    Study(String),
    /// Every study of one patient, those to come too.
    Patient {
        /// Patient ID (0010,0020); never empty.
        id: String,
        /// Issuer of Patient ID (0010,0021); may be empty.
        issuer: String,
    },
    /// Every study with a series that a rule describes.
    Rule(Rule),
}

impl Subject {
    /// What kind it is; stable, for rows and documents.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Study(_) => "study",
            Self::Patient { .. } => "patient",
            Self::Rule(_) => "rule",
        }
    }
}

/// Which studies a rule selects. An empty field asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Modality (0008,0060) of one of its series.
    pub modality: String,
    /// Body Part Examined (0018,0015) of the same series.
    pub body_part: String,
    /// Priority of an order that the study belongs to: one of [`crate::order::PRIORITIES`].
    pub priority: String,
    /// Studies that arrived before this moment are left out (ms since 1970); 0 for none.
    pub since_ms: i64,
}

/// Which earlier studies of the patient follow a study that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priors {
    /// None.
    #[default]
    None,
    /// Those with a series of the same modality or body part.
    Related,
    /// All of them.
    All,
}

impl Priors {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::None, Self::Related, Self::All];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Related => "related",
            Self::All => "all",
        }
    }

    /// From the stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// For whom something of a tenant is looked up that is not theirs: grants name one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Viewer {
    /// The tenant in which the caller works.
    pub tenant: Option<TenantId>,
    /// Key of the person who calls.
    pub person: Option<i64>,
    /// Key of the share link that the caller holds.
    pub link: Option<i64>,
    /// Whether one of the grants is by rule, so that rules have to be held against studies.
    pub by_rule: bool,
    /// Only what may be taken away as files counts, not what may just be looked at.
    pub to_download: bool,
    /// Key of the project under whose pseudonyms studies are asked for; 0 for studies as they are.
    pub project: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for priors in Priors::ALL {
            assert_eq!(Priors::parse(priors.as_str()), Some(priors));
        }
        assert_eq!(Priors::parse("some"), None);
    }
}
