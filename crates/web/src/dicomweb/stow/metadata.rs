//! Metadata parts: DICOM JSON and Native DICOM Model documents, one data set at a time.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::rc::Rc;

use qianli_archive::Held;
use qianli_model::dataset::Limits;
use qianli_model::xml;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// Most bytes of metadata of one instance: as a tree of values it takes several times as many.
const MAX_INSTANCE: u64 = 16 << 20;

/// How a metadata part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Json,
    Xml,
}

impl Language {
    /// Reads a media type.
    pub(super) fn of(essence: &str) -> Option<Self> {
        match essence {
            "application/dicom+json" | "application/json" => Some(Self::Json),
            "application/dicom+xml" => Some(Self::Xml),
            _ => None,
        }
    }
}

/// A data set as DICOM JSON, or why there is none.
pub(super) type Object = Result<Map<String, Value>, String>;

/// Reads the data sets of a part, on a blocking thread and no faster than they are taken.
pub(super) fn objects(
    held: &Held,
    range: Range<u64>,
    language: Language,
) -> mpsc::Receiver<Object> {
    let (sender, receiver) = mpsc::channel(1);
    let mut reader = held.reader();
    tokio::task::spawn_blocking(move || {
        let length = range.end.saturating_sub(range.start);
        let read = reader.seek(SeekFrom::Start(range.start)).map_err(|_| UNREADABLE.to_owned());
        let read = read.and_then(|_| match language {
            Language::Json => json(reader.take(length), &sender),
            Language::Xml => document(reader.take(length), length, &sender),
        });
        if let Err(message) = read {
            // The receiver may be gone; then nobody wants the message.
            let _ = sender.blocking_send(Err(message));
        }
    });
    receiver
}

const UNREADABLE: &str = "the metadata cannot be read back";

fn document(
    mut reader: impl Read,
    length: u64,
    sender: &mpsc::Sender<Object>,
) -> Result<(), String> {
    if length > MAX_INSTANCE {
        return Err(format!("the metadata of an instance is longer than {MAX_INSTANCE} bytes"));
    }
    let mut text = Vec::new();
    reader.read_to_end(&mut text).map_err(|_| UNREADABLE.to_owned())?;
    let json = xml::to_json(&text, &Limits::default());
    let json = json.map_err(|error| format!("the XML metadata cannot be read: {error}"))?;
    let object = serde_json::from_slice(&json).map_err(|_| "the XML metadata is no data set");
    let _ = sender.blocking_send(Ok(object?));
    Ok(())
}

fn json(reader: impl Read, sender: &mpsc::Sender<Object>) -> Result<(), String> {
    let left = Rc::new(Cell::new(MAX_INSTANCE));
    let reader = BufReader::new(Bounded { reader, left: Rc::clone(&left) });
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let read = deserializer.deserialize_any(Objects { sender, left }).and_then(|()| {
        // What follows the array must be nothing.
        deserializer.end()
    });
    // The error names line and column, and quotes at most a character.
    read.map_err(|error| match error.classify() {
        serde_json::error::Category::Io => {
            format!("the metadata of an instance is longer than {MAX_INSTANCE} bytes")
        }
        _ => format!(
            "the JSON metadata cannot be read at line {}, column {}",
            error.line(),
            error.column()
        ),
    })
}

/// Ends a reader that gives more than may be read for one instance.
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or(io::ErrorKind::FileTooLarge)?);
        Ok(count)
    }
}

/// Sends the objects of an array, or one object alone.
struct Objects<'a> {
    sender: &'a mpsc::Sender<Object>,
    left: Rc<Cell<u64>>,
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of DICOM JSON objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(object) = array.next_element::<Map<String, Value>>()? {
            self.left.set(MAX_INSTANCE);
            if self.sender.blocking_send(Ok(object)).is_err() {
                // Nobody takes more: the rest is read over.
                while array.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    self.left.set(MAX_INSTANCE);
                }
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = object.next_entry::<String, Value>()? {
            map.insert(key, value);
        }
        let _ = self.sender.blocking_send(Ok(map));
        Ok(())
    }
}
