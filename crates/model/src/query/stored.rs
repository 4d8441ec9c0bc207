//! Matching on stored DICOM JSON, for attributes that the catalog has no column for, and the keys
//! that an index of such attributes keeps.

use super::path::{PathCondition, Step};
use super::{Kind, Path, Rule, time_key};
use crate::json::cursor::{Cursor, Malformed, creator_of, vr_of};
use crate::name::{fold_text, group_key};
use crate::sounds;
use crate::tag::Tag;

/// Most keys that one attribute of one object gives to an index.
const MAX_KEYS: usize = 64;

/// One value of an attribute.
enum Leaf<'v> {
    /// Text.
    Text(&'v str),
    /// A number as it is written.
    Number(&'v str),
    /// A person name: its component groups.
    Name([String; 3]),
    /// An item or binary value: there, but not to be compared.
    Opaque,
}

impl<'v> Leaf<'v> {
    fn of(text: &'v str, is_number: bool) -> Self {
        if is_number { Self::Number(text) } else { Self::Text(text) }
    }
}

/// Whether a data set as a DICOM JSON object fulfils every condition. Text that is no DICOM JSON
/// fulfils none.
pub fn matches(json: &[u8], conditions: &[PathCondition], fuzzy: bool) -> bool {
    conditions.iter().all(|condition| {
        let kind = condition.path.kind().unwrap_or(Kind::Text);
        let mut has_value = false;
        let mut hit = false;
        let visited = visit(&mut Cursor::new(json), condition.path.steps(), &mut |leaf| {
            has_value = true;
            hit = hit || is_hit(kind, &leaf, &condition.rule, fuzzy);
        });
        visited.is_ok() && if condition.rule == Rule::Empty { !has_value } else { hit }
    })
}

/// The keys of an attribute's values in a data set, folded as [`matches()`] folds them; one per
/// component group of a name. Bounded in number.
pub fn keys(json: &[u8], path: &Path) -> Vec<String> {
    let Some(kind) = path.kind() else { return Vec::new() };
    let mut keys: Vec<String> = Vec::new();
    // What was found before the text broke off is of no use to anyone.
    let visited = visit(&mut Cursor::new(json), path.steps(), &mut |leaf| {
        let found = match leaf {
            Leaf::Text(text) => vec![key(kind, text)],
            Leaf::Number(text) if kind == Kind::Text => {
                vec![key(kind, text), key(Kind::Decimal, text)]
            }
            Leaf::Number(text) => vec![key(kind, text)],
            Leaf::Name(groups) => groups.to_vec(),
            Leaf::Opaque => Vec::new(),
        };
        for key in found {
            if keys.len() < MAX_KEYS && !key.is_empty() && !keys.contains(&key) {
                keys.push(key);
            }
        }
    });
    if visited.is_err() { Vec::new() } else { keys }
}

/// The first name that a data set has in an attribute, groups joined by `=`; empty when it has none.
pub fn person_name(json: &[u8], tag: Tag) -> String {
    let mut name = String::new();
    let steps = [Step { tag, creator: None }];
    let mut cursor = Cursor::new(json);
    let _ = walk(&mut cursor, &steps, &mut |cursor| {
        let _ = names(cursor.clone(), &mut |groups| {
            if name.is_empty() {
                name = groups.join("=");
            }
        });
        cursor.skip()
    });
    name.truncate(name.trim_end_matches('=').len());
    name
}

/// The form in which values of a kind are compared.
pub fn key(kind: Kind, text: &str) -> String {
    let text = text.trim();
    match kind {
        Kind::Text => fold_text(text),
        Kind::PersonName => group_key(text),
        Kind::Date | Kind::Uid => text.to_owned(),
        Kind::Time => time_key(text).unwrap_or_else(|| text.to_owned()),
        Kind::Number | Kind::Decimal => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => number.to_string(),
            _ => fold_text(text),
        },
        // The zone is not compared: few objects state it.
        Kind::DateTime => match text.rfind(['+', '-']) {
            Some(at) if at >= 4 => text.get(..at).unwrap_or_default().to_owned(),
            _ => text.to_owned(),
        },
    }
}

fn is_hit(kind: Kind, leaf: &Leaf<'_>, rule: &Rule, fuzzy: bool) -> bool {
    match (rule, leaf) {
        (Rule::Empty, _) | (_, Leaf::Opaque) => false,
        (Rule::AnyOf(values), Leaf::Name(groups)) => {
            values.iter().any(|value| is_name(groups, value, fuzzy))
        }
        (Rule::Range(..), Leaf::Name(_)) => false,
        // Private numbers: the dictionary does not know of them, their VR does.
        (Rule::AnyOf(values), Leaf::Number(text)) if kind == Kind::Text => {
            let number = key(Kind::Decimal, text);
            values.iter().any(|value| key(Kind::Decimal, value) == number)
                || is_hit(kind, &Leaf::Text(text), rule, fuzzy)
        }
        (Rule::AnyOf(values), Leaf::Text(text) | Leaf::Number(text)) => {
            let text = key(kind, text);
            values.iter().any(|value| match kind {
                Kind::Text | Kind::PersonName => is_like(&key(kind, value), &text),
                Kind::DateTime => text.starts_with(&key(kind, value)),
                _ => key(kind, value) == text,
            })
        }
        (Rule::Range(from, to), Leaf::Text(text) | Leaf::Number(text)) => {
            let text = key(kind, text);
            let after = |from: &String| text >= *from;
            // What begins with the upper bound is still inside it.
            let before = |to: &String| text <= *to || text.starts_with(to.as_str());
            let (from, to) = (from.as_ref(), to.as_ref());
            if let (Kind::Time, Some(from), Some(to)) = (kind, from, to)
                && from > to
            {
                return after(from) || before(to);
            }
            !text.is_empty() && from.is_none_or(after) && to.is_none_or(before)
        }
    }
}

fn is_name(groups: &[String; 3], value: &str, fuzzy: bool) -> bool {
    if value.contains('=') {
        let mut asked =
            value.split('=').zip(groups).filter(|(asked, _)| !asked.is_empty()).peekable();
        return asked.peek().is_some()
            && asked.all(|(asked, group)| is_like(&group_key(asked), group));
    }
    let asked = group_key(value);
    groups.iter().any(|group| !group.is_empty() && is_like(&asked, group))
        || (fuzzy && sounds::meets(&sounds::stored(&groups.join("=")), &sounds::asked(value)))
}

/// Wildcard matching (PS3.4 C.2.2.2.4): `*` is any text, `?` one character.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands and how much text it took so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Calls `found` for every value at a path.
fn visit(
    cursor: &mut Cursor<'_>,
    steps: &[Step],
    found: &mut dyn FnMut(Leaf<'_>),
) -> Result<(), Malformed> {
    walk(cursor, steps, &mut |cursor| values(cursor, found))
}

/// Calls `reach` at the object of every attribute at a path; it must read or skip it.
fn walk<'j>(
    cursor: &mut Cursor<'j>,
    steps: &[Step],
    reach: &mut dyn FnMut(&mut Cursor<'j>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let Some((step, inner)) = steps.split_first() else { return cursor.skip() };
    let wanted = match &step.creator {
        Some(creator) => blocks(cursor.clone(), step.tag, creator)?,
        None => vec![step.tag],
    };
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        let name = cursor.name()?;
        if !Tag::from_hex(&name).is_some_and(|tag| wanted.contains(&tag)) {
            cursor.skip()?;
        } else if inner.is_empty() {
            reach(cursor)?;
        } else {
            let mut members = cursor.enter(b'{', b'}')?;
            while members {
                if cursor.name()? == "Value" {
                    let mut items = cursor.enter(b'[', b']')?;
                    while items {
                        match cursor.peek() {
                            Some(b'{') => walk(cursor, inner, reach)?,
                            _ => cursor.skip()?,
                        }
                        items = cursor.more(b']')?;
                    }
                } else {
                    cursor.skip()?;
                }
                members = cursor.more(b'}')?;
            }
        }
        more = cursor.more(b'}')?;
    }
    Ok(())
}

/// The tags that an element of a private creator has in the data set that comes next: one for every
/// block that the creator reserves in it.
fn blocks(mut cursor: Cursor<'_>, element: Tag, creator: &str) -> Result<Vec<Tag>, Malformed> {
    let mut found = Vec::new();
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        let name = cursor.name()?;
        if let Some(tag) = Tag::from_hex(&name)
            && tag.group == element.group
            && (0x10..=0xFF).contains(&tag.element)
            && creator_of(cursor.clone())?.is_some_and(|name| name == creator)
        {
            found.push(crate::tag::tag(tag.group, tag.element << 8 | element.element & 0xFF));
        }
        cursor.skip()?;
        more = cursor.more(b'}')?;
    }
    Ok(found)
}

/// Calls `found` for every value of the attribute whose object comes next.
fn values(cursor: &mut Cursor<'_>, found: &mut dyn FnMut(Leaf<'_>)) -> Result<(), Malformed> {
    let vr = vr_of(cursor.clone())?;
    if vr == "PN" {
        names(cursor.clone(), &mut |groups| {
            found(Leaf::Name(groups.map(|group| group_key(&group))));
        })?;
        return cursor.skip();
    }
    let is_number = is_number(&vr);
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        match &*cursor.name()? {
            "Value" => {
                let mut another = cursor.enter(b'[', b']')?;
                while another {
                    match cursor.peek() {
                        Some(b'"') => {
                            let text = cursor.string()?;
                            if !text.is_empty() {
                                found(Leaf::of(&text, is_number));
                            }
                        }
                        Some(b'{' | b'[') => {
                            cursor.skip()?;
                            found(Leaf::Opaque);
                        }
                        _ => match cursor.word()? {
                            "null" => {}
                            word => found(Leaf::of(word, is_number)),
                        },
                    }
                    another = cursor.more(b']')?;
                }
            }
            "InlineBinary" if vr == "UN" => match printable(&cursor.string()?) {
                Some(text) => text
                    .split('\\')
                    .filter(|value| !value.trim().is_empty())
                    .for_each(|value| found(Leaf::Text(value))),
                None => found(Leaf::Opaque),
            },
            "InlineBinary" | "BulkDataURI" => {
                cursor.skip()?;
                found(Leaf::Opaque);
            }
            _ => cursor.skip()?,
        }
        more = cursor.more(b'}')?;
    }
    Ok(())
}

/// Whether values of a VR are numbers.
fn is_number(vr: &str) -> bool {
    matches!(vr, "DS" | "IS" | "FD" | "FL" | "SL" | "SS" | "SV" | "UL" | "US" | "UV")
}

/// A value of unknown VR as text, without padding, where it is nothing but text: private attributes
/// of Implicit VR objects are of VR UN, and most of them hold text.
fn printable(base64: &str) -> Option<String> {
    let bytes = crate::write::value::base64(base64)?;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_end_matches([' ', '\0']);
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

/// Calls `found` with the component groups of every name of the attribute whose object comes next.
fn names(mut cursor: Cursor<'_>, found: &mut dyn FnMut([String; 3])) -> Result<(), Malformed> {
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        if cursor.name()? != "Value" {
            cursor.skip()?;
            more = cursor.more(b'}')?;
            continue;
        }
        let mut another = cursor.enter(b'[', b']')?;
        while another {
            let mut groups: [String; 3] = Default::default();
            if cursor.peek() == Some(b'{') {
                let mut member = cursor.enter(b'{', b'}')?;
                while member {
                    let place = match &*cursor.name()? {
                        "Alphabetic" => 0,
                        "Ideographic" => 1,
                        _ => 2,
                    };
                    let text = cursor.string()?.into_owned();
                    if let Some(group) = groups.get_mut(place) {
                        *group = text;
                    }
                    member = cursor.more(b'}')?;
                }
            } else {
                cursor.skip()?;
            }
            if groups.iter().any(|group| !group.is_empty()) {
                found(groups);
            }
            another = cursor.more(b']')?;
        }
        more = cursor.more(b'}')?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parse_path_rule;

    const DATA_SET: &str = r#"{
        "00080022":{"vr":"DA","Value":["20240102"]},
        "0008002A":{"vr":"DT","Value":["20240102101530.5+0800"]},
        "00080032":{"vr":"TM","Value":["2330"]},
        "00080070":{"vr":"LO","Value":["Éclair 100%_\\A"]},
        "00090010":{"vr":"LO","Value":["OTHER"]},
        "00090011":{"vr":"LO","Value":["ACME"]},
        "00091002":{"vr":"SH","Value":["wrong"]},
        "00091102":{"vr":"SH","Value":["Right"]},
        "00091103":{"vr":"DS","Value":[1.50,7]},
        "00091104":{"vr":"UN","InlineBinary":"TGVmdFxCb3RoIA=="},
        "00091105":{"vr":"UN","InlineBinary":"AAEC"},
        "00091106":{"vr":"IS","Value":["012"]},
        "00180050":{"vr":"DS","Value":[1.50]},
        "00189073":{"vr":"FD","Value":[2.0]},
        "00281050":{"vr":"DS","Value":[40,-600]},
        "0040A123":{"vr":"PN","Value":[{"Alphabetic":"Wang^XiaoDong","Ideographic":"王^小东"}]},
        "0040A370":{"vr":"SQ","Value":[{},{"00080050":{"vr":"SH","Value":["A-77"]}}]},
        "0040A730":{"Value":[{"0040A730":{"Value":[{"0040A160":{"vr":"UT","Value":["deep"]}}],"vr":"SQ"}}],"vr":"SQ"},
        "00204000":{"vr":"LT"},
        "00282000":{"vr":"OB","InlineBinary":"AAEC"}}"#;

    #[track_caller]
    fn check(path: &str, value: &str, expected: bool) {
        let path = Path::parse(path).unwrap();
        let rule = parse_path_rule(&path, value).unwrap().unwrap();
        let condition = PathCondition { path, rule };
        let shown = format!("{condition:?}");
        assert_eq!(matches(DATA_SET.as_bytes(), &[condition], false), expected, "{shown}");
    }

    #[test]
    fn every_kind_of_value_is_matched() {
        for (path, value, expected) in [
            ("Manufacturer", "éclair*", true),
            ("Manufacturer", "*100%_*", true),
            ("Manufacturer", "éclair", false),
            ("Manufacturer", "*100?_?A", true),
            ("AcquisitionDate", "20240101-20240131", true),
            ("AcquisitionDate", "-20240101", false),
            ("AcquisitionTime", "2300-0100", true),
            ("AcquisitionTime", "10", false),
            ("AcquisitionTime", "23", true),
            ("AcquisitionDateTime", "20240102", true),
            ("AcquisitionDateTime", "20240102101530.5+0100", true),
            ("AcquisitionDateTime", "202401021016-", false),
            ("AcquisitionDateTime", "20240101-20240102", true),
            ("SliceThickness", "1.5", true),
            ("SliceThickness", "1.50", true),
            ("SliceThickness", "15", false),
            ("AcquisitionDuration", "2", true),
            ("WindowCenter", "-600", true),
            ("VerifyingObserverName", "x", false),
            ("0040A370.00080050", "A-77", true),
            ("ReferencedRequestSequence.AccessionNumber", "a-7?", true),
            ("0040A730.0040A730.0040A160", "deep", true),
            ("0040A730.0040A160", "deep", false),
            ("PersonName", "王小东", true),
            ("PersonName", "wang^x*", true),
            ("PersonName", "Wang*=王*", true),
            ("PersonName", "Wang*=张*", false),
            ("00091002", "wrong", true),
            ("00091102", "RIGHT", true),
            ("00091103", "1.5", true),
            ("00091103", "1.500", true),
            ("00091103", "1.5*", true),
            ("00091103", "8\\07", true),
            ("00091103", "15", false),
            ("00091106", "12", true),
            ("00091104", "left", true),
            ("00091104", "both", true),
            ("00091104", "b*", true),
            ("00091104", "left both", false),
            ("00091104", "\"\"", false),
            ("00091105", "?*", false),
            ("00091105", "\"\"", false),
            ("ImageComments", "\"\"", true),
            ("ICCProfile.00080050", "\"\"", true),
            ("Manufacturer", "\"\"", false),
            ("PatientComments", "\"\"", true),
        ] {
            if Path::parse(path).is_some() {
                check(path, value, expected);
            }
        }
    }

    #[test]
    fn private_creators_find_their_block() {
        let rule = Rule::AnyOf(vec!["right".into()]);
        for (creator, expected) in [("ACME", true), ("OTHER", false), ("NOBODY", false)] {
            let path = Path::parse("00091002").unwrap().with_creator(9, 0x10, creator);
            let condition = PathCondition { path, rule: rule.clone() };
            assert_eq!(matches(DATA_SET.as_bytes(), &[condition], false), expected, "{creator}");
        }
    }

    #[test]
    fn keys_are_what_matching_compares() {
        let keys = |path: &str| keys(DATA_SET.as_bytes(), &Path::parse(path).unwrap());
        assert_eq!(keys("WindowCenter"), ["40", "-600"]);
        assert_eq!(keys("SliceThickness"), ["1.5"]);
        assert_eq!(keys("00091103"), ["1.50", "1.5", "7"]);
        assert_eq!(keys("00091104"), ["left", "both"]);
        assert_eq!(keys("PersonName"), ["wang xiaodong", "王小东"]);
        assert_eq!(keys("0040A370.00080050"), ["a-77"]);
        assert_eq!(keys("AcquisitionTime"), ["233000.000000"]);
        assert!(keys("ImageComments").is_empty());
        assert!(super::keys(b"{\"broken", &Path::parse("Rows").unwrap()).is_empty());
    }

    #[test]
    fn names_are_read_whole() {
        let name = person_name(DATA_SET.as_bytes(), crate::tag::tag(0x0040, 0xA123));
        assert_eq!(name, "Wang^XiaoDong=王^小东");
        assert_eq!(person_name(b"{}", crate::tag::PATIENT_NAME), "");
    }

    #[test]
    fn fuzzy_names_match_by_sound() {
        let path = Path::parse("PersonName").unwrap();
        let condition = |value: &str| PathCondition {
            path: path.clone(),
            rule: Rule::AnyOf(vec![value.into()]),
        };
        let found = |value, fuzzy| matches(DATA_SET.as_bytes(), &[condition(value)], fuzzy);
        assert!(found("wxd", true) && !found("wxd", false));
        assert!(!found("lisi", true));
    }
}
