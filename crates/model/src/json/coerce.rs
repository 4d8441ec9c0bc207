//! What the register of peers knows of a data set, while its JSON is written: an issuer of the patient ID
//! that it lacks, and private elements that are left out.

use std::collections::HashSet;

use crate::peer::{Coercions, Creator};
use crate::tag::{self, Tag};

/// Element numbers by which private creators reserve blocks (PS3.5 section 7.8.1).
const CREATORS: std::ops::RangeInclusive<u16> = 0x0010..=0x00FF;

/// The private blocks of one data set or item, as far as they matter.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Group and block.
    left_out: HashSet<(u16, u16)>,
    reserved: HashSet<(u16, u16)>,
}

/// Whether an element says whose block of private elements is.
pub(super) fn is_creator(tag: Tag) -> bool {
    tag.is_private() && CREATORS.contains(&tag.element)
}

impl Blocks {
    /// Notes a creator by the bytes of its name.
    pub(super) fn reserve(&mut self, known: &Coercions, tag: Tag, value: &[u8]) {
        let name = String::from_utf8_lossy(value);
        let name = name.trim_matches(['\0', ' ']);
        if name.is_empty() {
            return;
        }
        let block = (tag.group, tag.element);
        self.reserved.insert(block);
        let meant = |one: &Creator| matches!(one, Creator::Named(wanted) if wanted == name);
        if known.without.iter().any(meant) {
            self.left_out.insert(block);
        }
    }

    /// Whether a private element, or a creator that was noted, is left out.
    pub(super) fn leave_out(&self, known: &Coercions, tag: Tag) -> bool {
        if known.without.is_empty() || !tag.is_private() {
            return false;
        }
        let block = match is_creator(tag) {
            true => (tag.group, tag.element),
            false => (tag.group, tag.element >> 8),
        };
        let legal = CREATORS.contains(&block.1) && !matches!(tag.group, 0x0001..=0x0007 | 0xFFFF);
        let nobodys = !legal || !self.reserved.contains(&block);
        known.without.iter().any(|one| match one {
            Creator::All => true,
            Creator::Nobody => nobodys,
            Creator::Named(_) => self.left_out.contains(&block),
        })
    }
}

/// Where the issuer of the patient ID has to be written.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    /// It was there, or has been written.
    pub(super) done: bool,
    /// Where the JSON text of the first member behind its place begins.
    pub(super) place: Option<usize>,
}

impl Issuer {
    /// Notes where a member of the root begins.
    pub(super) fn passes(&mut self, tag: Tag, at: usize) {
        if self.place.is_none() && tag > tag::ISSUER_OF_PATIENT_ID {
            self.place = Some(at);
        }
        self.done |= tag == tag::ISSUER_OF_PATIENT_ID;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::dataset::{Limits, SliceSource};
    use crate::header::InstanceHeader;
    use crate::peer::Coercions;
    use crate::syntax::TransferSyntax;
    use crate::testdata::Builder;

    fn read(built: Builder, known: &str) -> (InstanceHeader, Value) {
        let known = Coercions::from_text(known).unwrap();
        let text = crate::charset::Knowledge {
            undeclared: known.charset,
            mislabelled: known.charset_instead,
            ..crate::charset::Knowledge::default()
        };
        let limits = Limits { text, known: Some(Arc::new(known)), ..Limits::default() };
        let mut source = SliceSource::new(&built.bytes);
        let header =
            InstanceHeader::read(&mut source, TransferSyntax::EXPLICIT_LITTLE, &limits).unwrap();
        let text = String::from_utf8(header.json.clone()).unwrap().replace('\u{1}', "BASE");
        (header, serde_json::from_str(&text).unwrap())
    }

    fn start() -> Builder {
        Builder::explicit().text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2").text(
            0x0008_0018,
            "UI",
            "1.2.3",
        )
    }

    fn end(built: Builder) -> Builder {
        built.text(0x0020_000D, "UI", "1.2").text(0x0020_000E, "UI", "1.2.1")
    }

    const ISSUER: &str = r#"{"issuer":"County"}"#;

    #[test]
    fn an_issuer_is_written_where_there_is_none() {
        let known = json!({"vr": "LO", "Value": ["County"]});
        let check = |built: Builder, expected: &str| {
            let (header, json) = read(built, ISSUER);
            assert_eq!(header.patient.issuer, expected);
            let study: Value = serde_json::from_str(&header.study_json).unwrap();
            assert_eq!(json["00100021"], study["00100021"]);
            let keys: Vec<_> =
                header.json.windows(9).filter(|part| part == b"\"00100021").collect();
            assert_eq!(keys.len(), usize::from(!json["00100021"].is_null()));
            json["00100021"].clone()
        };
        let id = || start().text(0x0010_0020, "LO", "7");
        assert_eq!(check(end(id()), "County"), known);
        let (header, _) = read(end(id()), ISSUER);
        let at = |tag: &[u8]| header.json.windows(8).position(|part| part == tag).unwrap();
        assert!(at(b"00100020") < at(b"00100021") && at(b"00100021") < at(b"0020000D"), "in order");
        assert_eq!(check(end(id().text(0x0010_0021, "LO", "")), "County"), known);
        assert_eq!(check(end(id().text(0x0010_0021, "LO", "  ")), "County"), known);
        let theirs = json!({"vr": "LO", "Value": ["Own"]});
        assert_eq!(check(end(id().text(0x0010_0021, "LO", "Own")), "Own"), theirs);
        // Nobody issued what is not there.
        assert_eq!(check(end(start()), ""), Value::Null);
        assert_eq!(check(end(start().text(0x0010_0020, "LO", "")), ""), Value::Null);
        // Out of order, the one that is there counts all the same.
        let late = end(id()).text(0x0010_0021, "LO", "Own");
        assert_eq!(check(late, "Own"), theirs);
        let (header, _) = read(end(id()), "");
        assert_eq!(header.patient.issuer, "");
    }

    #[test]
    fn an_issuer_goes_behind_everything_where_nothing_follows() {
        let built = Builder::explicit()
            .text(0x0020_000D, "UI", "1.2")
            .text(0x0020_000E, "UI", "1.2.1")
            .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2")
            .text(0x0008_0018, "UI", "1.2.3")
            .text(0x0010_0020, "LO", "7");
        let (header, json) = read(built, ISSUER);
        assert_eq!(
            (header.patient.issuer.as_str(), json.as_object().unwrap().len()),
            ("County", 6)
        );
        let built = start()
            .text(0x0010_0020, "LO", "7")
            .text(0x0020_000D, "UI", "1.2")
            .text(0x0020_000E, "UI", "1.2.1")
            .text(0x0021_1001, "LO", "gone");
        let (_, json) = read(built, r#"{"issuer":"County","without":["*"]}"#);
        assert_eq!(json["00100021"]["Value"][0], "County");
    }

    #[test]
    fn private_elements_are_left_out() {
        let built = || {
            let item = Builder::explicit().text(0x0011_0010, "LO", "ACME 1.0 ").text(
                0x0011_1001,
                "LO",
                "nested",
            );
            let kept = start()
                .text(0x0009_1001, "LO", "nobody's")
                .text(0x0010_0020, "LO", "7")
                .text(0x0011_0010, "LO", "ACME 1.0")
                .text(0x0011_0011, "LO", "OTHER")
                .text(0x0011_1001, "LO", "ours")
                .element(0x0011_1002, "OB", &[7; 5000])
                .text(0x0011_1101, "LO", "kept")
                .sequence(0x0011_1003, std::slice::from_ref(&item.bytes), true);
            let built = kept.text(0x0020_000D, "UI", "1.2").text(0x0020_000E, "UI", "1.2.1");
            built.sequence(0x0040_0275, &[item.bytes], true)
        };
        let check = |known: &str, gone: &[&str]| {
            let (header, json) = read(built(), known);
            let all = ["00091001", "00110010", "00110011", "00111001", "00111002", "00111101"];
            for tag in all.into_iter().chain(["00111003"]) {
                assert_eq!(json.get(tag).is_none(), gone.contains(&tag), "{known}: {tag}: {json}");
            }
            let item = &json["00400275"]["Value"][0];
            assert_eq!(item.get("00111001").is_none(), gone.contains(&"00111001"), "{known}");
            assert_eq!(header.bulk.is_empty(), gone.contains(&"00111002"), "{known}");
            assert_eq!((&json["0020000E"]["vr"], header.patient.id.as_str()), (&"UI".into(), "7"));
        };
        let acme = ["00110010", "00111001", "00111002", "00111003"];
        check("", &[]);
        check(r#"{"without":["-"]}"#, &["00091001"]);
        check(r#"{"without":["ACME 1.0"]}"#, &acme);
        check(r#"{"without":["*"]}"#, &[&acme[..], &["00091001", "00110011", "00111101"]].concat());
    }

    #[test]
    fn text_is_read_as_the_register_says() {
        let name = |built: Builder, known: &str| {
            read(end(built.element(0x0010_0010, "PN", b"\xCD\xF5^\xD0\xA1 ")), known).0.patient.name
        };
        let stated = |term: &str| {
            Builder::explicit()
                .text(0x0008_0005, "CS", term)
                .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2")
                .text(0x0008_0018, "UI", "1.2.3")
        };
        let gb = r#"{"charset":"gb18030"}"#;
        assert_eq!(name(start(), gb), "王^小");
        assert_eq!(name(stated(""), gb), "王^小");
        assert_ne!(name(stated("ISO_IR 100"), gb), "王^小", "what is stated counts");
        assert_eq!(name(stated("ISO_IR 100"), r#"{"charset_instead":"gbk"}"#), "王^小");
        assert_eq!(name(start(), r#"{"charset":"euc-kr","charset_instead":"gbk"}"#), "珙^鬼");
    }
}
