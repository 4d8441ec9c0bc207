//! Which pixels are blacked out before an object leaves, and which objects do not leave: burned-in
//! names cannot be seen in a header, so that what is likely to have them needs a rule.

use serde::Deserialize;

use super::identity::Subject;

/// Most rectangles of a rule.
const MOST_RECTANGLES: usize = 64;

/// A part of every frame, in pixels from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "[u32; 4]")]
pub struct Rectangle {
    /// Of the left edge.
    pub x: u32,
    /// Of the upper edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl From<[u32; 4]> for Rectangle {
    fn from([x, y, width, height]: [u32; 4]) -> Self {
        Self { x, y, width, height }
    }
}

/// Objects of a kind, and what of their frames is blacked out. What is not given matches anything;
/// texts match regardless of case, and with a `*` at their end whatever begins with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskRule {
    /// Modality.
    pub modality: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Manufacturer's Model Name.
    pub model: Option<String>,
    /// Rows.
    pub rows: Option<u32>,
    /// Columns.
    pub columns: Option<u32>,
    /// `[x, y, width, height]` each; none says that such objects have nothing burned in.
    pub rectangles: Vec<Rectangle>,
}

/// Rules in the order in which they are tried; the first that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskRules {
    rule: Vec<MaskRule>,
}

/// A rule that cannot be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It would match everything.
    #[error("rule {0} matches every object; give at least one of modality, manufacturer and model")]
    MatchesAll(usize),
    /// Too many rectangles, or one without an area.
    #[error("rule {0} has an empty rectangle or more than 64")]
    Rectangles(usize),
}

/// What becomes of an object's pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// They stay.
    Pass,
    /// These parts of every frame are blacked out.
    Mask(Vec<Rectangle>),
    /// The object does not leave, for this reason; whoever exports may say otherwise.
    Doubtful(&'static str),
    /// The object does not leave, for this reason.
    Refuse(&'static str),
}

impl MaskRules {
    /// Checks every rule.
    ///
    /// # Errors
    ///
    /// See [`MaskError`]; rules are counted from 1.
    pub fn check(&self) -> Result<(), MaskError> {
        for (index, rule) in self.rule.iter().enumerate() {
            let number = index + 1;
            if [&rule.modality, &rule.manufacturer, &rule.model].iter().all(|text| text.is_none()) {
                return Err(MaskError::MatchesAll(number));
            }
            let empty = rule.rectangles.iter().any(|r| r.width == 0 || r.height == 0);
            if empty || rule.rectangles.len() > MOST_RECTANGLES {
                return Err(MaskError::Rectangles(number));
            }
        }
        Ok(())
    }

    /// What becomes of an object's pixels.
    pub fn decide(&self, subject: &Subject) -> Decision {
        if subject.document {
            return Decision::Refuse("it is an encapsulated document, which cannot be cleaned");
        }
        if !subject.pixels {
            return Decision::Pass;
        }
        if subject.overlay_in_pixels {
            return Decision::Doubtful("it has an overlay inside of its pixel data");
        }
        if let Some(rule) = self.rule.iter().find(|rule| rule.matches(subject)) {
            return match rule.rectangles.as_slice() {
                [] => Decision::Pass,
                rectangles => Decision::Mask(rectangles.to_vec()),
            };
        }
        match subject.burned_in.trim().to_ascii_uppercase().as_str() {
            "NO" => Decision::Pass,
            "YES" => Decision::Doubtful("it has burned-in annotations and no mask rule"),
            _ if is_likely_annotated(subject) => {
                Decision::Doubtful("it may have burned-in annotations and has no mask rule")
            }
            _ => Decision::Pass,
        }
    }
}

impl MaskRule {
    fn matches(&self, subject: &Subject) -> bool {
        let text = |wanted: &Option<String>, have: &str| {
            let Some(wanted) = wanted else { return true };
            let (wanted, have) = (wanted.trim().to_lowercase(), have.trim().to_lowercase());
            match wanted.strip_suffix('*') {
                Some(start) => have.starts_with(start),
                None => have == wanted,
            }
        };
        text(&self.modality, &subject.modality)
            && text(&self.manufacturer, &subject.manufacturer)
            && text(&self.model, &subject.model)
            && self.rows.is_none_or(|rows| rows == subject.rows)
            && self.columns.is_none_or(|columns| columns == subject.columns)
    }
}

/// Ultrasound, secondary captures, and screens that were saved.
fn is_likely_annotated(subject: &Subject) -> bool {
    let class = subject.sop_class.as_str();
    // Secondary Capture and its multi-frame forms; Ultrasound, retired ones too.
    let by_class = ["1.7", "1.3", "1.6"].iter().any(|of| {
        let root = class.strip_prefix("1.2.840.10008.5.1.4.1.").and_then(|c| c.strip_prefix(of));
        root.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let by_modality = matches!(subject.modality.as_str(), "US" | "SC" | "IVUS");
    let image_type = subject.image_type.to_ascii_uppercase();
    let by_type = image_type.contains("SECONDARY")
        && ["CAPTURE", "SCREEN", "SAVE", "REPORT", "PHOTO"].iter().any(|w| image_type.contains(w));
    by_class || by_modality || by_type
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(modality: &str, class: &str, burned_in: &str) -> Subject {
        Subject {
            modality: modality.into(),
            sop_class: format!("1.2.840.10008.5.1.4.1.1.{class}"),
            burned_in: burned_in.into(),
            manufacturer: "GE Healthcare".into(),
            rows: 480,
            columns: 640,
            pixels: true,
            ..Subject::default()
        }
    }

    #[test]
    fn doubtful_kinds_need_a_rule() {
        let none = MaskRules::default();
        let passes = |subject: &Subject| none.decide(subject) == Decision::Pass;
        assert!(passes(&subject("CT", "2", "")));
        assert!(passes(&subject("MG", "1.2", "")), "class 1.1.1.2 is no secondary capture");
        assert!(passes(&subject("US", "6.1", "NO")));
        assert!(!passes(&subject("CT", "2", "YES")));
        for (modality, class) in [("US", "6.1"), ("US", "3.1"), ("OT", "7"), ("CT", "7.2")] {
            assert!(matches!(none.decide(&subject(modality, class, "")), Decision::Doubtful(_)));
        }
        let screen = Subject {
            image_type: "DERIVED\\SECONDARY\\SCREEN SAVE".into(),
            ..subject("XA", "12.1", "")
        };
        assert!(!passes(&screen));
        let document = Subject { document: true, ..Subject::default() };
        assert!(matches!(none.decide(&document), Decision::Refuse(_)));
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rectangle = Rectangle { x: 0, y: 0, width: 640, height: 40 };
        let rule = |modality: &str, manufacturer: &str, rows, rectangles| MaskRule {
            modality: Some(modality.into()),
            manufacturer: Some(manufacturer.into()),
            rows,
            rectangles,
            ..MaskRule::default()
        };
        let rules = MaskRules {
            rule: vec![
                rule("US", "ge*", Some(1080), Vec::new()),
                rule("us", "GE*", None, vec![rectangle]),
                rule("OT", "ge healthcare", None, Vec::new()),
            ],
        };
        assert_eq!(rules.check(), Ok(()));
        assert_eq!(rules.decide(&subject("US", "6.1", "YES")), Decision::Mask(vec![rectangle]));
        assert_eq!(rules.decide(&subject("OT", "7", "")), Decision::Pass);
        let all = MaskRules { rule: vec![MaskRule::default()] };
        assert_eq!(all.check(), Err(MaskError::MatchesAll(1)));
        let empty = MaskRules { rule: vec![rule("US", "x", None, vec![[1, 1, 0, 5].into()])] };
        assert_eq!(empty.check(), Err(MaskError::Rectangles(1)));
    }
}
