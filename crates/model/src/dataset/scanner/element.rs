//! Data element headers: VR and length in each encoding, and what to do where they lie.

use super::{Element, Event, Kind, Level, OPEN, Scanner, UNDEFINED};
use super::{limit, malformed, overrun, read_length, read_tag, truncated};
use crate::dataset::vr::{self, VR};
use crate::dataset::{DataSetError, Source};
use crate::syntax::Encoding;
use crate::tag::{self, Tag};

impl<S: Source> Scanner<S> {
    pub(super) fn element(
        &mut self,
        level: &mut Level,
        at: u64,
        tag: Tag,
        bytes: [u8; 8],
    ) -> Result<Event, DataSetError> {
        let [_, _, _, _, v0, v1, l0, l1] = bytes;
        self.elements_left = self
            .elements_left
            .checked_sub(1)
            .ok_or_else(|| limit(at, "the number of data elements"))?;
        if level.fresh {
            self.settle_encoding(level, at, bytes)?;
        }
        let big_endian = level.encoding == Encoding::ExplicitBig;
        let mut encoding = level.encoding;
        let long = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let (vr, length) = if encoding == Encoding::ImplicitLittle {
            (vr::lookup(tag, self.signed), long([v0, v1, l0, l1]))
        } else {
            let short = if big_endian {
                u16::from_be_bytes([l0, l1])
            } else {
                u16::from_le_bytes([l0, l1])
            };
            match vr::from_letters([v0, v1]) {
                Some(vr) if !vr::has_long_length(vr) => (vr, u32::from(short)),
                Some(vr) => (vr, long(self.four(at)?)),
                // PS3.5 section 6.2.2 gives VRs of the future the long form, whose reserved bytes
                // are zero; older writers put "??" or spaces before a short length.
                None if v0.is_ascii_uppercase() && v1.is_ascii_uppercase() && short == 0 => {
                    (VR::UN, long(self.four(at)?))
                }
                None if v0.is_ascii_graphic() || v0 == b' ' => (VR::UN, u32::from(short)),
                // A single element in implicit VR inside explicit ones: some private writers.
                None => {
                    let length = long([v0, v1, l0, l1]);
                    let fits =
                        u64::from(length) <= level.bound.saturating_sub(at).saturating_sub(8);
                    if big_endian || !fits {
                        return Err(malformed(at, "an element without a value representation"));
                    }
                    encoding = Encoding::ImplicitLittle;
                    (vr::lookup(tag, self.signed), length)
                }
            }
        };
        let offset = self.position();
        let mut element = Element { tag, vr, offset, length: u64::from(length), big_endian };
        if length == UNDEFINED {
            element.length = 0;
            return self.undefined(*level, encoding, at, element);
        }
        if element.length > level.bound.saturating_sub(offset) {
            return Err(overrun(*level, at, &format!("the value of {tag}")));
        }
        if vr == VR::UN && encoding != Encoding::ImplicitLittle {
            self.resolve_unknown(&mut element, &mut encoding)?;
        } else if vr == VR::SQ
            && encoding == Encoding::ImplicitLittle
            && !self.is_item_ahead(&element)?
        {
            // The dictionary says SQ, an older edition of it said something else.
            element.vr = if length == 0 { VR::SQ } else { VR::UN };
        }
        if element.vr == VR::SQ {
            return self.start(Kind::Sequence, *level, offset + element.length, encoding, element);
        }
        self.pending = element.length;
        Ok(Event::Element(element))
    }

    fn four(&mut self, at: u64) -> Result<[u8; 4], DataSetError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes).map_err(|error| truncated(error, at, "an element header"))?;
        Ok(bytes)
    }

    /// The first element of a data set shows whether it is encoded as it should be. Items of
    /// private sequences sometimes are not, and can be walked nevertheless; for a whole data set
    /// that would mean that every later reader misreads it.
    fn settle_encoding(
        &mut self,
        level: &mut Level,
        at: u64,
        bytes: [u8; 8],
    ) -> Result<(), DataSetError> {
        let [_, _, _, _, v0, v1, l0, l1] = bytes;
        let letters = vr::from_letters([v0, v1]).is_some();
        let fits = |length: u32| {
            length == UNDEFINED
                || u64::from(length) <= level.bound.saturating_sub(at).saturating_sub(8)
        };
        let implicit_fits = fits(u32::from_le_bytes([v0, v1, l0, l1]));
        let other = match level.encoding {
            Encoding::ImplicitLittle if letters && !implicit_fits => Encoding::ExplicitLittle,
            Encoding::ExplicitLittle if !letters && !v0.is_ascii_uppercase() && implicit_fits => {
                Encoding::ImplicitLittle
            }
            same => same,
        };
        if other != level.encoding && level.kind == Kind::Root {
            let what = match other {
                Encoding::ImplicitLittle => "the data set is in implicit VR, not explicit",
                _ => "the data set is in explicit VR, not implicit",
            };
            return Err(malformed(at, what));
        }
        level.encoding = other;
        level.fresh = false;
        if let Some(top) = self.levels.last_mut() {
            *top = *level;
        }
        Ok(())
    }

    /// UN for an attribute of the standard: the sender did not know it, we do. The value of a UN
    /// element is in implicit VR little endian (PS3.5 section 6.2.2).
    fn resolve_unknown(
        &mut self,
        element: &mut Element,
        encoding: &mut Encoding,
    ) -> Result<(), DataSetError> {
        let known = vr::lookup(element.tag, self.signed);
        // Walked as a sequence only if an item is really there; otherwise it stays opaque.
        if known == VR::SQ && !self.is_item_ahead(element)? {
            return Ok(());
        }
        element.vr = known;
        element.big_endian = false;
        *encoding = Encoding::ImplicitLittle;
        Ok(())
    }

    /// Whether the value begins with the header of an item that fits into it. Reads ahead.
    fn is_item_ahead(&mut self, element: &Element) -> Result<bool, DataSetError> {
        let Some(room) = element.length.checked_sub(8) else { return Ok(false) };
        let bytes = self.header(element.offset, "a sequence")?;
        self.ahead = Some(bytes);
        let length = read_length(bytes, Encoding::ImplicitLittle);
        let fits = length == UNDEFINED || u64::from(length) <= room;
        Ok(fits && read_tag(bytes, Encoding::ImplicitLittle) == tag::ITEM)
    }

    /// An undefined length: a sequence, or encapsulated pixel data.
    fn undefined(
        &mut self,
        level: Level,
        encoding: Encoding,
        at: u64,
        mut element: Element,
    ) -> Result<Event, DataSetError> {
        let pixels = matches!(element.vr, VR::OB | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV)
            || element.tag == tag::PIXEL_DATA;
        match element.vr {
            _ if pixels => self.start(Kind::Fragments, level, OPEN, encoding, element),
            VR::SQ => self.start(Kind::Sequence, level, OPEN, encoding, element),
            // PS3.5 section 6.2.2 note 7 (CP-246): items in implicit VR little endian, whatever
            // the data set's own encoding.
            VR::UN => {
                element.vr = VR::SQ;
                self.start(Kind::Sequence, level, OPEN, Encoding::ImplicitLittle, element)
            }
            _ => Err(malformed(at, "an undefined length where none is allowed")),
        }
    }

    fn start(
        &mut self,
        kind: Kind,
        level: Level,
        end: u64,
        encoding: Encoding,
        element: Element,
    ) -> Result<Event, DataSetError> {
        let bound = level.bound.min(end);
        self.levels.push(Level { kind, end, bound, encoding, fresh: true });
        if kind == Kind::Fragments {
            return Ok(Event::FragmentsStart(element));
        }
        self.depth += 1;
        if self.depth > self.max_depth {
            return Err(limit(element.offset, "the depth of nested sequences"));
        }
        Ok(Event::SequenceStart(element))
    }
}
