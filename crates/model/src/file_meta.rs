//! File Meta Information (PS3.10 section 7.1): read leniently, written strictly.
//!
//! Reading works on the first bytes of a file only and says where the data set begins; it does not
//! look into the data set, except to find out its encoding when nothing declares it.

use std::io;

use crate::dataset::Source;
use crate::syntax::TransferSyntax;

mod sniff;
mod write;

pub use write::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, write, write_with};

/// Length of the preamble (PS3.10 section 7.1).
const PREAMBLE: usize = 128;
const MAGIC: &[u8] = b"DICM";
/// File meta information longer than this is not believed.
const MAX_HEAD: usize = 1 << 20;

/// What the beginning of a file says about the data set that follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileMeta {
    /// The transfer syntax of the data set: as declared, or recognised from its first elements
    /// when nothing is declared. `None` when a syntax is declared that we do not know.
    pub transfer_syntax: Option<TransferSyntax>,
    /// (0002,0010) as declared; empty when it was recognised instead.
    pub transfer_syntax_uid: String,
    /// (0002,0002), if there.
    pub media_storage_sop_class: Option<String>,
    /// (0002,0003), if there.
    pub media_storage_sop_instance: Option<String>,
    /// (0002,0012), if there.
    pub implementation_class: Option<String>,
    /// (0002,0013), if there.
    pub implementation_version: Option<String>,
    /// (0002,0016), if there.
    pub source_ae: Option<String>,
    /// (0002,0100) Private Information Creator UID, if there.
    pub private_creator: Option<String>,
    /// (0002,0102) Private Information, if there: text only when its creator writes text.
    pub private: Option<String>,
    /// Offset of the data set's first byte from where reading began.
    pub data_set_offset: u64,
}

/// Why a file is not one that we can take a data set from.
#[derive(Debug, thiserror::Error)]
pub enum FileMetaError {
    /// The bytes are something else.
    #[error("not a DICOM file: it looks like {looks_like}")]
    NotDicom {
        /// What they look like, in English.
        looks_like: &'static str,
    },
    /// The file ends inside the file meta information.
    #[error("the file meta information is truncated")]
    Truncated,
    /// The source failed.
    #[error("reading the file meta information failed")]
    Io(#[from] io::Error),
}

/// Reads the file meta information, with or without preamble, with or without a right group
/// length, or none at all.
///
/// Reads ahead: afterwards the source stands somewhere behind the file meta information. Open the
/// file again at [`FileMeta::data_set_offset`] to read the data set.
///
/// # Errors
///
/// [`FileMetaError::NotDicom`] says what the bytes look like instead.
pub fn read(source: &mut dyn Source) -> Result<FileMeta, FileMetaError> {
    let mut head = Vec::new();
    let mut wanted = 4096;
    loop {
        let complete = read_more(source, &mut head, wanted)? || wanted >= MAX_HEAD;
        match parse(&head, complete)? {
            Some(meta) => return Ok(meta),
            None => wanted *= 4,
        }
    }
}

/// Reads the file meta information at the beginning of `bytes`, which may go on with the data set.
///
/// # Errors
///
/// As [`read`].
pub fn from_bytes(bytes: &[u8]) -> Result<FileMeta, FileMetaError> {
    parse(bytes, true)?.ok_or(FileMetaError::Truncated)
}

/// Extends `head` to `wanted` bytes; true if the source ended first.
fn read_more(source: &mut dyn Source, head: &mut Vec<u8>, wanted: usize) -> io::Result<bool> {
    while head.len() < wanted {
        // An unknown remainder means at least 16 bytes (see `Source::remaining`).
        let remaining = usize::try_from(source.remaining().unwrap_or(16)).unwrap_or(usize::MAX);
        let step = remaining.min(wanted - head.len());
        if step == 0 {
            return Ok(true);
        }
        let start = head.len();
        head.resize(start + step, 0);
        source.read_exact(head.get_mut(start..).unwrap_or(&mut []))?;
    }
    Ok(source.remaining() == Some(0))
}

/// `None` means that more bytes are needed; never when `complete`.
fn parse(head: &[u8], complete: bool) -> Result<Option<FileMeta>, FileMetaError> {
    let after_magic = PREAMBLE + MAGIC.len();
    if head.get(PREAMBLE..after_magic) == Some(MAGIC) {
        return walk(head, after_magic, complete);
    }
    // Preamble and magic cut off, or only the preamble: seen from tools that strip them.
    if head.starts_with(MAGIC) {
        return walk(head, MAGIC.len(), complete);
    }
    if head.starts_with(&[0x02, 0x00, 0x00, 0x00]) && has_letters(head.get(4..6)) {
        return walk(head, 0, complete);
    }
    let Some(syntax) = sniff::syntax(head) else {
        if !complete {
            return Ok(None);
        }
        return Err(FileMetaError::NotDicom { looks_like: sniff::looks_like(head) });
    };
    Ok(Some(FileMeta { transfer_syntax: Some(syntax), ..FileMeta::default() }))
}

/// Walks elements while they are of group 0002. The group length is not looked at: it is often
/// wrong or absent, and the tags say the same.
fn walk(head: &[u8], start: usize, complete: bool) -> Result<Option<FileMeta>, FileMetaError> {
    let mut meta = FileMeta::default();
    let mut at = start;
    while let Some(element) = head.get(at..).and_then(Element::read) {
        let value_at = at.saturating_add(element.header);
        let end = value_at.saturating_add(element.length);
        let Some(value) = head.get(value_at..end) else {
            return if complete { Err(FileMetaError::Truncated) } else { Ok(None) };
        };
        meta.set(element.element, value);
        at = end;
    }
    // The first element of another group, or what follows it, decides below.
    if head.len().saturating_sub(at) < 1024 && !complete {
        return Ok(None);
    }
    meta.data_set_offset = at as u64;
    if meta.transfer_syntax_uid.is_empty() {
        let rest = head.get(at..).unwrap_or(&[]);
        // An empty data set has no encoding; any will do to find it empty.
        let found = sniff::syntax(rest);
        meta.transfer_syntax = found.or(Some(TransferSyntax::EXPLICIT_LITTLE));
    } else {
        meta.transfer_syntax = TransferSyntax::from_uid(&meta.transfer_syntax_uid);
    }
    Ok(Some(meta))
}

impl FileMeta {
    fn set(&mut self, element: u16, value: &[u8]) {
        let text = || {
            let text = String::from_utf8_lossy(value);
            text.trim_matches(['\0', ' ']).to_owned()
        };
        let filled = || Some(text()).filter(|text| !text.is_empty());
        match element {
            0x0002 => self.media_storage_sop_class = filled(),
            0x0003 => self.media_storage_sop_instance = filled(),
            0x0010 => self.transfer_syntax_uid = text(),
            0x0012 => self.implementation_class = filled(),
            0x0013 => self.implementation_version = filled(),
            0x0016 => self.source_ae = filled(),
            0x0100 => self.private_creator = filled(),
            0x0102 => self.private = filled(),
            _ => {}
        }
    }
}

/// An element of group 0002: its element number, and the lengths of its header and its value.
struct Element {
    element: u16,
    header: usize,
    length: usize,
}

impl Element {
    /// `None` if the bytes do not begin with an element of group 0002.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[g0, g1, e0, e1, v0, v1, l0, l1], rest) = bytes.split_first_chunk::<8>()?;
        if [g0, g1] != [0x02, 0x00] {
            return None;
        }
        let element = u16::from_le_bytes([e0, e1]);
        if !has_letters(Some(&[v0, v1])) {
            // PS3.10 asks for explicit VR; a few writers use implicit.
            let length = u32::from_le_bytes([v0, v1, l0, l1]) as usize;
            return Some(Self { element, header: 8, length });
        }
        let long = matches!(&[v0, v1], b"OB" | b"OW" | b"SQ" | b"UN" | b"UT" | b"UC" | b"UR");
        if !long {
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            return Some(Self { element, header: 8, length });
        }
        let (&length, _) = rest.split_first_chunk::<4>()?;
        Some(Self { element, header: 12, length: u32::from_le_bytes(length) as usize })
    }
}

fn has_letters(vr: Option<&[u8]>) -> bool {
    vr.is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests;
