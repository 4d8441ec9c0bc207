//! DICOM JSON to XML, in one pass.

use super::{NAMESPACE, XmlError, is_mark};
use crate::dataset::Limits;
use crate::json::cursor::{Cursor, creator_of, vr_of};
use crate::tag::{Tag, tag};

/// Elements of the components of a person name, in their order (PS3.19 A.1.6).
pub(super) const COMPONENTS: [&str; 5] =
    ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"];

/// Elements of the component groups of a person name, which are also its members in JSON.
pub(super) const GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];

pub(super) fn document(json: &[u8], base_url: &str, out: &mut Vec<u8>) -> Result<(), XmlError> {
    let mut writer = Writer { out, base_url, depth_left: Limits::default().max_depth };
    let mut cursor = Cursor::new(json);
    writer.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xmlns=\"");
    writer.raw(NAMESPACE);
    writer.raw("\" xml:space=\"preserve\">");
    writer.data_set(&mut cursor)?;
    writer.raw("</NativeDicomModel>\n");
    match cursor.peek() {
        None => Ok(()),
        Some(_) => Err(cursor.error("more text after the object").into()),
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    base_url: &'o str,
    /// Levels of sequences that may still be entered.
    depth_left: usize,
}

/// The private creators of one data set, by group and block.
type Creators = Vec<(u16, u8, String)>;

impl Writer<'_> {
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn data_set(&mut self, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        let mut creators = Creators::new();
        if !cursor.enter(b'{', b'}')? {
            return Ok(());
        }
        loop {
            let name = cursor.name()?;
            let tag = Tag::from_hex(&name).ok_or_else(|| cursor.error("a name that is no tag"))?;
            let creator = if is_creator(tag) { creator_of(cursor.clone())? } else { None };
            match creator {
                // The model names the creator at each of its elements instead.
                Some(creator) => {
                    creators.push((tag.group, (tag.element & 0xFF) as u8, creator));
                    cursor.skip()?;
                }
                None if tag.is_group_length() => cursor.skip()?,
                None => self.attribute(tag, &creators, cursor)?,
            }
            if !cursor.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn attribute(
        &mut self,
        tag: Tag,
        creators: &Creators,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), XmlError> {
        let vr = vr_of(cursor.clone())?;
        let block = (tag.element >> 8) as u8;
        let creator = creators
            .iter()
            .find(|(group, of, _)| tag.is_private() && (*group, *of) == (tag.group, block))
            .map(|(_, _, creator)| creator.as_str());
        let shown = match creator {
            Some(_) => self::tag(tag.group, tag.element & 0xFF),
            None => tag,
        };
        self.raw(&format!("<DicomAttribute tag=\"{shown}\""));
        if !vr.is_empty() {
            self.text_in_attribute(" vr=\"", &vr);
        }
        if let Some(keyword) = tag.keyword().filter(|_| !tag.is_private()) {
            self.raw(&format!(" keyword=\"{keyword}\""));
        }
        if let Some(creator) = creator {
            self.text_in_attribute(" privateCreator=\"", creator);
        }
        let before = self.out.len();
        self.raw(">");
        let begin = self.out.len();
        self.content(&vr, cursor)?;
        if self.out.len() == begin {
            self.out.truncate(before);
            self.raw("/>");
        } else {
            self.raw("</DicomAttribute>");
        }
        Ok(())
    }

    fn text_in_attribute(&mut self, begin: &str, text: &str) {
        self.raw(begin);
        self.escaped(text, true);
        self.raw("\"");
    }

    /// The members of an attribute's object.
    fn content(&mut self, vr: &str, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        if !cursor.enter(b'{', b'}')? {
            return Ok(());
        }
        loop {
            match &*cursor.name()? {
                "Value" => self.values(vr, cursor)?,
                "InlineBinary" => {
                    let text = cursor.string()?;
                    self.element("InlineBinary", &text);
                }
                "BulkDataURI" => {
                    let uri = cursor.string()?;
                    self.text_in_attribute("<BulkData uri=\"", &uri);
                    self.raw("/>");
                }
                _ => cursor.skip()?,
            }
            if !cursor.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn values(&mut self, vr: &str, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        if !cursor.enter(b'[', b']')? {
            return Ok(());
        }
        let mut number = 1_u32;
        loop {
            match vr {
                "SQ" => self.item(number, cursor)?,
                "PN" => self.person_name(number, cursor)?,
                _ => self.value(number, cursor)?,
            }
            number = number.saturating_add(1);
            if !cursor.more(b']')? {
                return Ok(());
            }
        }
    }

    /// Begins an element with its number. An empty one keeps the place of a value that is not there.
    fn numbered(&mut self, name: &str, number: u32) {
        self.raw(&format!("<{name} number=\"{number}\">"));
    }

    fn value(&mut self, number: u32, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        self.numbered("Value", number);
        if cursor.peek() == Some(b'"') {
            let text = cursor.string()?;
            self.escaped(&text, false);
        } else {
            let word = cursor.word()?;
            if word != "null" {
                self.raw(word);
            }
        }
        self.raw("</Value>");
        Ok(())
    }

    fn item(&mut self, number: u32, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        self.numbered("Item", number);
        if cursor.peek() == Some(b'{') {
            let left = self.depth_left;
            self.depth_left =
                left.checked_sub(1).ok_or(XmlError::Limit("sequences nest too deep"))?;
            self.data_set(cursor)?;
            self.depth_left = left;
        } else if cursor.word()? != "null" {
            return Err(cursor.error("an item that is no object").into());
        }
        self.raw("</Item>");
        Ok(())
    }

    fn person_name(&mut self, number: u32, cursor: &mut Cursor<'_>) -> Result<(), XmlError> {
        self.numbered("PersonName", number);
        match cursor.peek() {
            Some(b'{') => {
                let mut more = cursor.enter(b'{', b'}')?;
                while more {
                    let group = cursor.name()?;
                    let text = cursor.string()?;
                    if GROUPS.contains(&&*group) && !text.is_empty() {
                        self.group(&group, &text);
                    }
                    more = cursor.more(b'}')?;
                }
            }
            // Some write names as plain text.
            Some(b'"') => {
                let text = cursor.string()?;
                for (group, text) in GROUPS.into_iter().zip(text.splitn(3, '=')) {
                    if !text.is_empty() {
                        self.group(group, text);
                    }
                }
            }
            _ if cursor.word()? == "null" => {}
            _ => return Err(cursor.error("a person name").into()),
        }
        self.raw("</PersonName>");
        Ok(())
    }

    /// Every component that is written has an element, so that the text comes back as it was.
    fn group(&mut self, group: &str, text: &str) {
        self.raw(&format!("<{group}>"));
        for (name, component) in COMPONENTS.into_iter().zip(text.splitn(COMPONENTS.len(), '^')) {
            self.element(name, component);
        }
        self.raw(&format!("</{group}>"));
    }

    fn element(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            self.raw(&format!("<{name}/>"));
            return;
        }
        self.raw(&format!("<{name}>"));
        self.escaped(text, false);
        self.raw(&format!("</{name}>"));
    }

    fn escaped(&mut self, text: &str, in_attribute: bool) {
        let mut start = 0;
        for (at, c) in text.char_indices() {
            let instead = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' if in_attribute => "&quot;",
                '\n' if in_attribute => "&#xA;",
                '\t' if in_attribute => "&#x9;",
                '\n' | '\t' => continue,
                // Readers turn a plain one into a line feed.
                '\r' => "&#xD;",
                c if u8::try_from(c).is_ok_and(is_mark) && in_attribute => self.base_url,
                // XML 1.0 section 2.2: no way to write these.
                '\0'..' ' | '\u{FFFE}' | '\u{FFFF}' => "\u{FFFD}",
                _ => continue,
            };
            self.out.extend_from_slice(text.get(start..at).unwrap_or_default().as_bytes());
            self.out.extend_from_slice(instead.as_bytes());
            start = at + c.len_utf8();
        }
        self.out.extend_from_slice(text.get(start..).unwrap_or_default().as_bytes());
    }
}

/// (gggg,0010) to (gggg,00FF) of a private group (PS3.5 section 7.8.1).
pub(super) fn is_creator(tag: Tag) -> bool {
    tag.is_private() && (0x10..=0xFF).contains(&tag.element)
}
