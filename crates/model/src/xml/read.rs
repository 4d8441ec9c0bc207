//! XML to DICOM JSON.

use std::collections::BTreeMap;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::XmlError;
use super::write::{COMPONENTS, GROUPS, is_creator};
use crate::dataset::Limits;
use crate::dataset::vr::{self, VR};
use crate::json::number::{write_decimal, write_integer};
use crate::json::text::write_string;
use crate::tag::{Tag, tag};

pub(super) fn document(xml: &[u8], limits: &Limits) -> Result<Vec<u8>, XmlError> {
    if xml.len() > limits.max_json {
        return Err(XmlError::Limit("the document is too long"));
    }
    let mut parser = Parser {
        reader: Reader::from_reader(xml),
        limits,
        elements_left: limits.max_elements,
        bytes_left: limits.max_json,
    };
    let config = parser.reader.config_mut();
    config.expand_empty_elements = true;
    config.check_comments = true;
    let root = loop {
        match parser.next()? {
            Event::Start(start) => break start,
            Event::Eof => return Err(parser.error("no element")),
            event => parser.nothing(&event)?,
        }
    };
    if root.local_name().as_ref() != b"NativeDicomModel" {
        return Err(parser.error("another element than NativeDicomModel"));
    }
    let mut json = Vec::new();
    parser.data_set(0)?.write(&mut json);
    loop {
        match parser.next()? {
            Event::Eof => return Ok(json),
            event => parser.nothing(&event)?,
        }
    }
}

struct Parser<'x> {
    reader: Reader<&'x [u8]>,
    limits: &'x Limits,
    elements_left: usize,
    bytes_left: usize,
}

/// The attributes of a data set as the JSON text of their objects.
#[derive(Default)]
struct Attributes(BTreeMap<Tag, Vec<u8>>);

/// What an attribute element holds.
#[derive(Default)]
struct Content {
    /// JSON text by number.
    values: BTreeMap<u32, Vec<u8>>,
    inline: Option<String>,
    bulk: Option<String>,
}

impl<'x> Parser<'x> {
    fn error(&self, what: &'static str) -> XmlError {
        XmlError::Xml { at: self.reader.buffer_position(), what }
    }

    fn next(&mut self) -> Result<Event<'x>, XmlError> {
        let event = self.reader.read_event();
        event.map_err(|_| XmlError::Xml {
            at: self.reader.error_position(),
            what: "it is not well formed",
        })
    }

    /// What may stand between elements: white space, comments, the declaration.
    fn nothing(&self, event: &Event<'_>) -> Result<(), XmlError> {
        match event {
            Event::Comment(_) | Event::PI(_) => Ok(()),
            Event::Decl(declaration) => match declaration.encoding() {
                Some(Ok(name)) if !name.eq_ignore_ascii_case(b"utf-8") => {
                    Err(self.error("an encoding other than UTF-8"))
                }
                Some(Err(_)) => Err(self.error("a malformed declaration")),
                _ => Ok(()),
            },
            Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(()),
            // Entities could be defined there, and expand without bound.
            Event::DocType(_) => Err(self.error("a document type, which is refused")),
            Event::Start(_) => Err(self.error("an element that has no place here")),
            Event::Eof => Err(self.error("the end comes too early")),
            _ => Err(self.error("text between elements")),
        }
    }

    /// Attributes up to the end of the element that holds them.
    fn data_set(&mut self, depth: usize) -> Result<Attributes, XmlError> {
        if depth > self.limits.max_depth {
            return Err(XmlError::Limit("sequences nest too deep"));
        }
        let mut attributes = Attributes::default();
        loop {
            match self.next()? {
                Event::Start(start) if start.local_name().as_ref() == b"DicomAttribute" => {
                    self.attribute(&start, depth, &mut attributes)?;
                }
                Event::End(_) => return Ok(attributes),
                event => self.nothing(&event)?,
            }
        }
    }

    fn attribute(
        &mut self,
        start: &BytesStart<'_>,
        depth: usize,
        attributes: &mut Attributes,
    ) -> Result<(), XmlError> {
        self.elements_left =
            self.elements_left.checked_sub(1).ok_or(XmlError::Limit("too many attributes"))?;
        let tag = match (self.named(start, b"tag")?, self.named(start, b"keyword")?) {
            (Some(tag), _) => Tag::from_hex(tag.trim()),
            (None, Some(keyword)) => Tag::from_keyword_or_hex(&keyword),
            (None, None) => None,
        };
        let tag = tag.ok_or_else(|| self.error("an attribute without a tag"))?;
        let creator = self.named(start, b"privateCreator")?;
        let tag = match creator.map(|creator| creator.trim().to_owned()) {
            Some(creator) if tag.is_private() && !creator.is_empty() => attributes
                .place(tag, &creator)
                .ok_or_else(|| self.error("no private block is left"))?,
            _ => tag,
        };
        let vr = match self.named(start, b"vr")? {
            Some(letters) => <[u8; 2]>::try_from(letters.trim().as_bytes())
                .ok()
                .and_then(vr::from_letters)
                .ok_or_else(|| self.error("an unknown VR"))?,
            None => vr::lookup(tag, false),
        };
        let content = self.content(vr, depth)?;
        let object = self.object(vr, content)?;
        if tag.is_group_length() {
            return Ok(());
        }
        match attributes.0.insert(tag, object) {
            None => Ok(()),
            Some(_) => Err(self.error("the same attribute twice")),
        }
    }

    /// An XML attribute of an element.
    fn named(&self, start: &BytesStart<'_>, name: &[u8]) -> Result<Option<String>, XmlError> {
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| self.error("a malformed attribute"))?;
            if attribute.key.as_ref() == name {
                let value = attribute
                    .normalized_value(XmlVersion::default())
                    .map_err(|_| self.error("a malformed attribute"))?;
                return Ok(Some(value.into_owned()));
            }
        }
        Ok(None)
    }

    fn content(&mut self, vr: VR, depth: usize) -> Result<Content, XmlError> {
        let mut content = Content::default();
        loop {
            let start = match self.next()? {
                Event::Start(start) => start,
                Event::End(_) => return Ok(content),
                event => {
                    self.nothing(&event)?;
                    continue;
                }
            };
            let json = match (start.local_name().as_ref(), vr) {
                (b"Item", VR::SQ) => {
                    let mut json = Vec::new();
                    self.data_set(depth + 1)?.write(&mut json);
                    json
                }
                (b"PersonName", VR::PN) => self.person_name()?,
                (b"Value", VR::SQ | VR::PN) => {
                    return Err(self.error("a Value in a sequence or person name"));
                }
                (b"Value", _) => {
                    let text = self.text()?;
                    value(vr, &text)
                }
                (b"InlineBinary", _) => {
                    content.inline = Some(self.base64()?);
                    continue;
                }
                (b"BulkData", _) => {
                    content.bulk = Some(self.reference(&start)?);
                    self.end()?;
                    continue;
                }
                _ => return Err(self.error("an element that has no place in an attribute")),
            };
            let next = content.values.last_key_value().map_or(1, |(last, _)| last + 1);
            let number = match self.named(&start, b"number")? {
                Some(number) => number.trim().parse().ok().filter(|number| *number > 0),
                None => Some(next),
            };
            let number: u32 = number.ok_or_else(|| self.error("a malformed number of a value"))?;
            // Numbers that are left out are empty values.
            let gap = usize::try_from(number.saturating_sub(next)).unwrap_or(usize::MAX);
            self.charge(gap.saturating_mul(5).saturating_add(json.len() + 1))?;
            if content.values.insert(number, json).is_some() {
                return Err(self.error("the same number twice"));
            }
        }
    }

    /// Counts bytes of the answer before they are made.
    fn charge(&mut self, bytes: usize) -> Result<(), XmlError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(XmlError::Limit("the data set is too long"))?;
        Ok(())
    }

    fn reference(&self, start: &BytesStart<'_>) -> Result<String, XmlError> {
        match (self.named(start, b"uri")?, self.named(start, b"uuid")?) {
            (Some(uri), _) => Ok(uri),
            (None, Some(uuid)) => Ok(format!("urn:uuid:{uuid}")),
            (None, None) => Err(self.error("bulk data without uri or uuid")),
        }
    }

    /// The end of an element that is empty.
    fn end(&mut self) -> Result<(), XmlError> {
        loop {
            match self.next()? {
                Event::End(_) => return Ok(()),
                event => self.nothing(&event)?,
            }
        }
    }

    fn person_name(&mut self) -> Result<Vec<u8>, XmlError> {
        let mut groups: [Option<String>; 3] = Default::default();
        loop {
            match self.next()? {
                Event::Start(start) => {
                    let name = start.local_name();
                    let place = GROUPS.iter().position(|group| group.as_bytes() == name.as_ref());
                    let group = place.and_then(|place| groups.get_mut(place));
                    let Some(group) = group else {
                        return Err(self.error("an unknown group of a person name"));
                    };
                    *group = Some(self.components()?);
                }
                Event::End(_) => break,
                event => self.nothing(&event)?,
            }
        }
        let mut json = vec![b'{'];
        for (name, group) in GROUPS.into_iter().zip(groups) {
            let Some(group) = group.filter(|group| !group.is_empty()) else { continue };
            if json.len() > 1 {
                json.push(b',');
            }
            write_string(&mut json, name);
            json.push(b':');
            write_string(&mut json, &group);
        }
        json.push(b'}');
        Ok(if json == b"{}" { b"null".to_vec() } else { json })
    }

    /// The components of a group joined by carets, as far as they are written.
    fn components(&mut self) -> Result<String, XmlError> {
        let mut components: [Option<String>; 5] = Default::default();
        loop {
            match self.next()? {
                Event::Start(start) => {
                    let name = start.local_name();
                    let place = COMPONENTS.iter().position(|one| one.as_bytes() == name.as_ref());
                    let component = place.and_then(|place| components.get_mut(place));
                    let Some(component) = component else {
                        return Err(self.error("an unknown component of a person name"));
                    };
                    *component = Some(self.text()?);
                }
                Event::End(_) => break,
                event => self.nothing(&event)?,
            }
        }
        let count = components.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let texts: Vec<String> =
            components.into_iter().take(count).map(Option::unwrap_or_default).collect();
        Ok(texts.join("^"))
    }

    /// Text up to the end of its element.
    fn text(&mut self) -> Result<String, XmlError> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Event::Text(part) => {
                    let part = part.xml10_content();
                    text.push_str(&part.map_err(|_| self.error("text that is not UTF-8"))?);
                }
                Event::CData(part) => {
                    let part = part.xml10_content();
                    text.push_str(&part.map_err(|_| self.error("text that is not UTF-8"))?);
                }
                Event::GeneralRef(reference) => {
                    let c = match reference.resolve_char_ref() {
                        Ok(Some(c)) => Some(c),
                        Ok(None) => match &*reference {
                            b"lt" => Some('<'),
                            b"gt" => Some('>'),
                            b"amp" => Some('&'),
                            b"apos" => Some('\''),
                            b"quot" => Some('"'),
                            _ => None,
                        },
                        Err(_) => None,
                    };
                    text.push(c.ok_or_else(|| self.error("a reference to an unknown entity"))?);
                }
                Event::End(_) => return Ok(text),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => return Err(self.error("the end comes too early")),
                _ => return Err(self.error("an element inside a value")),
            }
        }
    }

    fn base64(&mut self) -> Result<String, XmlError> {
        let mut text = self.text()?;
        text.retain(|c| !c.is_ascii_whitespace());
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        if text.bytes().all(legal) && text.len().is_multiple_of(4) {
            Ok(text)
        } else {
            Err(self.error("binary data that is not base64"))
        }
    }

    fn object(&mut self, vr: VR, content: Content) -> Result<Vec<u8>, XmlError> {
        let forms = [!content.values.is_empty(), content.inline.is_some(), content.bulk.is_some()];
        if forms.iter().filter(|form| **form).count() > 1 {
            return Err(self.error("an attribute with several kinds of value"));
        }
        let mut json = format!("{{\"vr\":\"{}\"", vr.to_string()).into_bytes();
        for (name, text) in [("InlineBinary", &content.inline), ("BulkDataURI", &content.bulk)] {
            if let Some(text) = text {
                json.extend_from_slice(format!(",\"{name}\":").as_bytes());
                write_string(&mut json, text);
            }
        }
        let empty = content.values.len() == 1
            && content.values.get(&1).is_some_and(|value| value == b"null");
        if !content.values.is_empty() && !empty {
            json.extend_from_slice(b",\"Value\":[");
            let mut next = 1;
            for (number, value) in &content.values {
                while next < *number {
                    json.extend_from_slice(b"null,");
                    next += 1;
                }
                json.extend_from_slice(value);
                json.push(b',');
                next = number.saturating_add(1);
            }
            json.pop();
            json.push(b']');
        }
        json.push(b'}');
        Ok(json)
    }
}

/// One value as JSON.
fn value(vr: VR, text: &str) -> Vec<u8> {
    let mut json = Vec::new();
    let trimmed = text.trim();
    let written = match vr {
        _ if text.is_empty() => {
            json.extend_from_slice(b"null");
            true
        }
        VR::IS | VR::DS | VR::FL | VR::FD => write_decimal(&mut json, trimmed),
        VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV => match trimmed.parse::<i128>() {
            Ok(number) => {
                write_integer(&mut json, number);
                true
            }
            Err(_) => false,
        },
        _ => false,
    };
    if !written {
        write_string(&mut json, text);
    }
    json
}

impl Attributes {
    fn write(&self, json: &mut Vec<u8>) {
        json.push(b'{');
        for (index, (tag, object)) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(format!("\"{tag}\":").as_bytes());
            json.extend_from_slice(object);
        }
        json.push(b'}');
    }

    /// Gives a private element a block of its creator: the one that it names itself (some write
    /// whole tags), the one that the creator has already, or the first free one.
    fn place(&mut self, wanted: Tag, creator: &str) -> Option<Tag> {
        let mut object = b"{\"vr\":\"LO\",\"Value\":[".to_vec();
        write_string(&mut object, creator);
        object.extend_from_slice(b"]}");
        let element = wanted.element & 0xFF;
        let own = wanted.element >> 8;
        let mut free = None;
        for block in 0x10..=0xFF {
            let reserves = tag(wanted.group, block);
            debug_assert!(is_creator(reserves), "blocks are reserved by creators");
            match self.0.get(&reserves) {
                // Some makers reserve several blocks and use the same elements in each.
                Some(there) if *there == object && (own == 0 || own == block) => {
                    let placed = tag(wanted.group, block << 8 | element);
                    if !self.0.contains_key(&placed) {
                        return Some(placed);
                    }
                }
                Some(_) => {}
                None if own == block => free = Some(block),
                None => free = free.or((own == 0).then_some(block)),
            }
        }
        let block = free?;
        self.0.insert(tag(wanted.group, block), object);
        Some(tag(wanted.group, block << 8 | element))
    }
}
