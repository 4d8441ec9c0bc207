//! Writes data elements in little endian (PS3.5 section 7.1 and annex A), deflated when asked.
//!
//! Knows headers, delimiters and padding; what is written in which order is decided in `rewrite.rs`.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::vr::{self, VR};
use crate::syntax::TransferSyntax;
use crate::tag::{self, Tag};

/// The length that stands for "until the delimiter".
pub(crate) const UNDEFINED: u32 = u32::MAX;

/// How much room is made for deflated bytes at a time.
const ROOM: usize = 32 << 10;

/// Bytes of a data set on their way out.
pub(crate) struct Output {
    implicit: bool,
    deflate: Option<Compress>,
    written: Vec<u8>,
}

impl Output {
    /// An empty data set in a little-endian syntax.
    pub(crate) fn new(syntax: TransferSyntax) -> Self {
        let deflate = syntax.is_deflated().then(|| Compress::new(Compression::default(), false));
        let implicit = syntax == TransferSyntax::IMPLICIT_LITTLE;
        Self { implicit, deflate, written: Vec::new() }
    }

    /// Bytes that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.written.len()
    }

    /// Writes the header of an element; a value too long for its VR becomes UN (PS3.5 section
    /// 6.2.2).
    pub(crate) fn header(&mut self, tag: Tag, vr: VR, length: u32) {
        self.tag(tag);
        if self.implicit {
            self.written.extend_from_slice(&length.to_le_bytes());
            return;
        }
        match u16::try_from(length) {
            Ok(short) if !vr::has_long_length(vr) => {
                self.written.extend_from_slice(vr.to_string().as_bytes());
                self.written.extend_from_slice(&short.to_le_bytes());
            }
            _ => {
                let vr = if vr::has_long_length(vr) { vr } else { VR::UN };
                self.written.extend_from_slice(vr.to_string().as_bytes());
                self.written.extend_from_slice(&[0, 0]);
                self.written.extend_from_slice(&length.to_le_bytes());
            }
        }
    }

    /// Writes a whole element, padded to an even length.
    pub(crate) fn element(&mut self, tag: Tag, vr: VR, value: &[u8]) {
        let length = value.len().next_multiple_of(2);
        // Whoever holds a value in memory has met a limit far below 4 GiB.
        self.header(tag, vr, u32::try_from(length).unwrap_or(UNDEFINED - 1));
        self.bytes(value);
        if length > value.len() {
            self.pad(vr);
        }
    }

    /// Writes the byte that makes a value of this VR even (PS3.5 section 6.2).
    pub(crate) fn pad(&mut self, vr: VR) {
        let text = matches!(
            vr,
            VR::AE
                | VR::AS
                | VR::CS
                | VR::DA
                | VR::DS
                | VR::DT
                | VR::IS
                | VR::LO
                | VR::LT
                | VR::PN
                | VR::SH
                | VR::ST
                | VR::TM
                | VR::UC
                | VR::UR
                | VR::UT
        );
        self.written.push(if text { b' ' } else { 0 });
    }

    /// Starts an item or a fragment.
    pub(crate) fn item(&mut self, length: u32) {
        self.tag(tag::ITEM);
        self.written.extend_from_slice(&length.to_le_bytes());
    }

    /// Writes a delimiter.
    pub(crate) fn delimiter(&mut self, tag: Tag) {
        self.tag(tag);
        self.written.extend_from_slice(&[0; 4]);
    }

    /// Writes bytes of a value.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    /// Moves what was written to `out`, through the deflater if there is one. `last` ends the
    /// stream, padded to an even length (PS3.5 section A.5).
    pub(crate) fn take(&mut self, out: &mut Vec<u8>, last: bool) {
        let Some(deflate) = &mut self.deflate else {
            if out.is_empty() {
                std::mem::swap(out, &mut self.written);
            } else {
                out.append(&mut self.written);
            }
            return;
        };
        let flush = if last { FlushCompress::Finish } else { FlushCompress::None };
        let mut rest = self.written.as_slice();
        loop {
            out.reserve(ROOM);
            let before = deflate.total_in();
            let status = deflate.compress_vec(rest, out, flush);
            let used = usize::try_from(deflate.total_in() - before).unwrap_or(0);
            rest = rest.get(used..).unwrap_or(&[]);
            // Compressing fails only for a deflater that was used after its end.
            let ended = !matches!(status, Ok(Status::Ok | Status::BufError));
            if ended || (rest.is_empty() && !last) {
                break;
            }
        }
        self.written.clear();
        if last && deflate.total_out() % 2 == 1 {
            out.push(0);
        }
    }

    fn tag(&mut self, tag: Tag) {
        self.written.extend_from_slice(&tag.group.to_le_bytes());
        self.written.extend_from_slice(&tag.element.to_le_bytes());
    }
}
