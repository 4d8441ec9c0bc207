//! Attributes by name, inside sequences too (PS3.18 section 8.3.4.1): `0040A370.00080050`,
//! `RequestAttributesSequence.ScheduledProcedureStepID`, private ones by their digits.

use std::fmt;

use super::{Kind, Level};
use crate::dataset::vr::{self, VR};
use crate::json::level_of;
use crate::tag::Tag;

/// Deepest nesting that a path may name.
const MAX_STEPS: usize = 8;

/// One attribute of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Its tag. With a creator the block in it says nothing.
    pub tag: Tag,
    /// Private creator whose block is meant, wherever a data set put it (PS3.5 section 7.8.1).
    pub creator: Option<String>,
}

/// An attribute of a data set or of items inside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

impl Path {
    /// Parses keywords or eight digits joined by dots; also `0018,1030` and `(0018,1030)`. `None`
    /// when a name is unknown or an attribute on the way is no sequence.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        for name in text.split('.') {
            if steps.len() == MAX_STEPS {
                return None;
            }
            let name = name.trim().trim_start_matches('(').trim_end_matches(')');
            let name = match name.split_once(',') {
                Some((group, element)) if group.len() == 4 => format!("{group}{element}"),
                _ => name.to_owned(),
            };
            steps.push(Step { tag: Tag::from_keyword_or_hex(&name)?, creator: None });
        }
        let (_, outer) = steps.split_last()?;
        let is_sequence = |step: &Step| matches!(vr::lookup(step.tag, false), VR::SQ | VR::UN);
        outer.iter().all(is_sequence).then_some(Self(steps))
    }

    /// The attribute of the data set that the path leads through.
    pub fn outermost(&self) -> Tag {
        self.0.first().map_or(crate::tag::tag(0, 0), |step| step.tag)
    }

    /// Its attributes from the outside in; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Says which private creator is meant by attributes of a block of the outermost data set.
    pub fn with_creator(mut self, group: u16, block: u8, creator: &str) -> Self {
        if let Some(step) = self.0.first_mut()
            && step.tag.group == group
            && step.tag.element >> 8 == u16::from(block)
        {
            step.creator = Some(creator.to_owned());
        }
        self
    }

    /// The level whose rows keep the attribute.
    pub fn level(&self) -> Level {
        level_of(self.outermost()).unwrap_or(Level::Instance)
    }

    /// What its values are, or `None` for sequences and binary values, which cannot be matched.
    pub fn kind(&self) -> Option<Kind> {
        let last = self.0.last()?;
        Some(match vr::lookup(last.tag, false) {
            VR::PN => Kind::PersonName,
            VR::DA => Kind::Date,
            VR::TM => Kind::Time,
            VR::DT => Kind::DateTime,
            VR::UI => Kind::Uid,
            VR::IS | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV => Kind::Number,
            VR::DS | VR::FD | VR::FL => Kind::Decimal,
            VR::SQ | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW => return None,
            // Among them private attributes, of which the dictionary knows nothing.
            _ => Kind::Text,
        })
    }

    /// Keyword of the last attribute, where it has one.
    pub fn keyword(&self) -> Option<&'static str> {
        self.0.last()?.tag.keyword()
    }
}

/// Writes the digits of every attribute, joined by dots.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{}", step.tag)?;
        }
        Ok(())
    }
}

/// An attribute that has no column of its own, and its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCondition {
    /// What is matched.
    pub path: Path,
    /// How.
    pub rule: super::Rule,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_form() {
        for (text, expected, level) in [
            ("StationName", "00081010", Level::Series),
            ("00081010", "00081010", Level::Series),
            ("0018,1030", "00181030", Level::Series),
            ("(0018,1030)", "00181030", Level::Series),
            ("00091002", "00091002", Level::Instance),
            ("0040A370.00080050", "0040A370.00080050", Level::Instance),
            (
                "RequestAttributesSequence.ScheduledProcedureStepID",
                "00400275.00400009",
                Level::Series,
            ),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!((path.to_string().as_str(), path.level()), (expected, level), "{text}");
        }
        for text in ["", ".", "Nonsense", "PatientID.PatientName", "00400275.", "0040A370.x"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
        assert_eq!(Path::parse(&["0040A730"; 9].join(".")), None);
    }

    #[test]
    fn kinds_follow_the_dictionary() {
        let kind = |text| Path::parse(text).unwrap().kind();
        assert_eq!(kind("AcquisitionDateTime"), Some(Kind::DateTime));
        assert_eq!(kind("SliceThickness"), Some(Kind::Decimal));
        assert_eq!(kind("Rows"), Some(Kind::Number));
        assert_eq!(kind("00091002"), Some(Kind::Text));
        assert_eq!(kind("PixelData"), None);
        assert_eq!(kind("RequestAttributesSequence"), None);
    }
}
