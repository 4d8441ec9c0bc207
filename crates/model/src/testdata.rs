//! Builds data sets byte by byte for tests, in each of the three encodings.

use crate::dataset::vr;
use crate::syntax::Encoding;

/// Undefined length (PS3.5 section 7.5).
pub(crate) const UNDEFINED: u32 = u32::MAX;

/// A data set under construction.
pub(crate) struct Builder {
    pub(crate) bytes: Vec<u8>,
    encoding: Encoding,
}

impl Builder {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { bytes: Vec::new(), encoding }
    }

    pub(crate) fn explicit() -> Self {
        Self::new(Encoding::ExplicitLittle)
    }

    pub(crate) fn implicit() -> Self {
        Self::new(Encoding::ImplicitLittle)
    }

    /// The attributes without which an instance is refused.
    pub(crate) fn instance(encoding: Encoding) -> Self {
        Self::new(encoding)
            .text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.7\0")
            .text(0x0008_0018, "UI", "1.2.3.4\0")
            .text(0x0020_000D, "UI", "1.2\0")
            .text(0x0020_000E, "UI", "1.2.3\0")
    }

    fn big(&self) -> bool {
        self.encoding == Encoding::ExplicitBig
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend(if self.big() { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend(if self.big() { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn tag(&mut self, tag: u32) {
        self.u16((tag >> 16) as u16);
        self.u16((tag & 0xFFFF) as u16);
    }

    /// An element header with any length, right or wrong.
    pub(crate) fn header(mut self, tag: u32, letters: &str, length: u32) -> Self {
        self.tag(tag);
        if self.encoding == Encoding::ImplicitLittle {
            self.u32(length);
            return self;
        }
        self.bytes.extend(letters.as_bytes());
        let known = vr::from_letters(letters.as_bytes().try_into().unwrap());
        if known.is_none_or(vr::has_long_length) {
            self.u16(0);
            self.u32(length);
        } else {
            self.u16(length as u16);
        }
        self
    }

    /// An element; `value` is in the byte order of the data set already.
    pub(crate) fn element(self, tag: u32, letters: &str, value: &[u8]) -> Self {
        self.header(tag, letters, value.len() as u32).raw(value)
    }

    pub(crate) fn text(self, tag: u32, letters: &str, value: &str) -> Self {
        self.element(tag, letters, value.as_bytes())
    }

    pub(crate) fn us(self, tag: u32, value: u16) -> Self {
        let bytes = if self.big() { value.to_be_bytes() } else { value.to_le_bytes() };
        self.element(tag, "US", &bytes)
    }

    /// Rows, columns, samples and bits of an image.
    pub(crate) fn image(self, rows: u16, columns: u16, samples: u16, bits: u16) -> Self {
        self.us(0x0028_0002, samples)
            .us(0x0028_0010, rows)
            .us(0x0028_0011, columns)
            .us(0x0028_0100, bits)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// A sequence of items, each with the bytes of its data set.
    pub(crate) fn sequence(mut self, tag: u32, items: &[Vec<u8>], defined: bool) -> Self {
        let mut content = Self::new(self.encoding);
        for item in items {
            content = content.item(item, defined);
        }
        let length = if defined { content.bytes.len() as u32 } else { UNDEFINED };
        self = self.header(tag, "SQ", length).raw(&content.bytes);
        if defined { self } else { self.delimiter(0xFFFE_E0DD) }
    }

    /// An item of a sequence, or a fragment.
    pub(crate) fn item(mut self, content: &[u8], defined: bool) -> Self {
        self.tag(0xFFFE_E000);
        self.u32(if defined { content.len() as u32 } else { UNDEFINED });
        self = self.raw(content);
        if defined { self } else { self.delimiter(0xFFFE_E00D) }
    }

    pub(crate) fn delimiter(mut self, tag: u32) -> Self {
        self.tag(tag);
        self.u32(0);
        self
    }

    /// Encapsulated pixel data: the offset table, then fragments.
    pub(crate) fn fragments(self, table: &[u32], fragments: &[&[u8]]) -> Self {
        let table: Vec<u8> = table.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let mut built = self.header(0x7FE0_0010, "OB", UNDEFINED).item(&table, true);
        for fragment in fragments {
            built = built.item(fragment, true);
        }
        built.delimiter(0xFFFE_E0DD)
    }
}
