//! The attributes that pixels need, read from an instance's DICOM JSON object (PS3.18 annex F).
//!
//! Only the few attributes named here are kept; everything else is skipped while parsing, so that
//! large enhanced multi-frame headers cost one pass and little memory.

use std::borrow::Cow;
use std::fmt;

use qianli_model::header::BASE_URL_MARK;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{ImagingError, MAX_FRAME_BYTES, malformed, unsupported};

/// Attributes as they stand in the JSON object, not yet judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DataSet {
    #[serde(rename = "00280002")]
    samples_per_pixel: Element,
    #[serde(rename = "00280004")]
    photometric_interpretation: Element,
    #[serde(rename = "00280006")]
    planar_configuration: Element,
    #[serde(rename = "00280010")]
    rows: Element,
    #[serde(rename = "00280011")]
    columns: Element,
    #[serde(rename = "00280100")]
    bits_allocated: Element,
    #[serde(rename = "00280101")]
    bits_stored: Element,
    #[serde(rename = "00280102")]
    high_bit: Element,
    #[serde(rename = "00280103")]
    pixel_representation: Element,
    /// Pixel Padding Value.
    #[serde(rename = "00280120")]
    pub padding: Element,
    /// Pixel Padding Range Limit.
    #[serde(rename = "00280121")]
    pub padding_limit: Element,
    #[serde(rename = "00281050")]
    window_center: Element,
    #[serde(rename = "00281051")]
    window_width: Element,
    #[serde(rename = "00281056")]
    voi_function: Element,
    #[serde(rename = "00281052")]
    rescale_intercept: Element,
    #[serde(rename = "00281053")]
    rescale_slope: Element,
    /// Modality LUT Sequence.
    #[serde(rename = "00283000")]
    pub modality_luts: Sequence<LutItem>,
    /// VOI LUT Sequence.
    #[serde(rename = "00283010")]
    pub voi_luts: Sequence<LutItem>,
    /// Red, Green and Blue Palette Color Lookup Table Descriptor.
    #[serde(rename = "00281101")]
    pub red_descriptor: Element,
    #[serde(rename = "00281102")]
    pub green_descriptor: Element,
    #[serde(rename = "00281103")]
    pub blue_descriptor: Element,
    /// Red, Green and Blue Palette Color Lookup Table Data.
    #[serde(rename = "00281201")]
    pub red_data: Element,
    #[serde(rename = "00281202")]
    pub green_data: Element,
    #[serde(rename = "00281203")]
    pub blue_data: Element,
    /// Shared Functional Groups Sequence.
    #[serde(rename = "52009229")]
    pub shared_groups: Sequence<FunctionalGroups>,
    /// Per-Frame Functional Groups Sequence.
    #[serde(rename = "52009230")]
    pub per_frame_groups: Sequence<FunctionalGroups>,
    #[serde(rename = "7FE00008")]
    float_pixels: Option<Element>,
    #[serde(rename = "7FE00009")]
    double_pixels: Option<Element>,
    #[serde(rename = "7FE00010")]
    pixel_data: Element,
}

/// One item of a modality or VOI LUT sequence.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LutItem {
    /// LUT Descriptor.
    #[serde(rename = "00283002")]
    pub descriptor: Element,
    /// LUT Data.
    #[serde(rename = "00283006")]
    pub data: Element,
}

/// The functional groups of a frame that matter for rendering (PS3.3 section C.7.6.16).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionalGroups {
    /// Frame VOI LUT Sequence.
    #[serde(rename = "00289132")]
    voi: Sequence<FrameVoi>,
    /// Pixel Value Transformation Sequence.
    #[serde(rename = "00289145")]
    transformation: Sequence<PixelValueTransformation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FrameVoi {
    #[serde(rename = "00281050")]
    window_center: Element,
    #[serde(rename = "00281051")]
    window_width: Element,
    #[serde(rename = "00281056")]
    voi_function: Element,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PixelValueTransformation {
    #[serde(rename = "00281052")]
    rescale_intercept: Element,
    #[serde(rename = "00281053")]
    rescale_slope: Element,
}

/// A data element's value in whichever form the JSON model gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Element {
    vr: String,
    #[serde(rename = "Value")]
    values: Values,
    #[serde(rename = "InlineBinary")]
    inline: Option<String>,
    #[serde(rename = "BulkDataURI")]
    bulk: Option<IgnoredAny>,
}

/// A sequence element's items.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Sequence<T> {
    #[serde(rename = "Value")]
    items: Vec<Option<T>>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> Sequence<T> {
    /// Item by position from 0; `None` when it is missing or empty.
    pub fn item(&self, index: usize) -> Option<&T> {
        self.items.get(index)?.as_ref()
    }
}

impl Element {
    /// First value as a number; numbers written as text (DS, IS) count.
    pub fn number(&self) -> Option<f64> {
        self.numbers().next()
    }

    /// Every value that is a number.
    pub fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.0.iter().filter_map(|value| match value {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Scalar::Other => None,
        })
    }

    /// First value as text without padding, or the empty text.
    pub fn text(&self) -> &str {
        match self.values.0.first() {
            Some(Scalar::Text(text)) => text.trim(),
            _ => "",
        }
    }

    /// Base64 text of an inline value.
    pub fn inline(&self) -> Option<&str> {
        self.inline.as_deref()
    }

    /// Whether the value has to be fetched elsewhere.
    pub fn is_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// First value as a whole number from 0 to 65,535.
    fn short(&self) -> Option<u16> {
        let number = self.number()?;
        (number.fract() == 0.0 && (0.0..=65535.0).contains(&number)).then_some(number as u16)
    }
}

#[derive(Debug, Default)]
struct Values(Vec<Scalar>);

#[derive(Debug)]
enum Scalar {
    Number(f64),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Accepts anything, so that one odd value elsewhere does not hide an image.
struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the DICOM JSON model")
    }
    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

impl DataSet {
    /// Parses a DICOM JSON object in which the mark of the base URL may occur.
    pub fn parse(json: &[u8]) -> Result<Self, ImagingError> {
        let text = if json.contains(&BASE_URL_MARK) {
            Cow::Owned(json.iter().copied().filter(|byte| *byte != BASE_URL_MARK).collect())
        } else {
            Cow::Borrowed(json)
        };
        // The parser's own message could quote a value of the data set, so it is dropped.
        serde_json::from_slice(&text)
            .map_err(|_| ImagingError::Malformed("the attributes are not DICOM JSON".into()))
    }

    /// Window Center, Window Width and VOI LUT Function of a frame counted from 1: its own
    /// functional group, the shared one, or the top of the data set, in this order. Of several
    /// windows the first.
    pub fn window(&self, frame_number: u32) -> Option<(f64, f64, &str)> {
        let frame = self.groups(frame_number).find_map(|groups| {
            let voi = groups.voi.item(0)?;
            let (center, width) = (voi.window_center.number()?, voi.window_width.number()?);
            Some((center, width, voi.voi_function.text()))
        });
        frame.or_else(|| {
            let (center, width) = (self.window_center.number()?, self.window_width.number()?);
            Some((center, width, self.voi_function.text()))
        })
    }

    /// Rescale Slope and Intercept of a frame counted from 1, in the order of
    /// [`window`](Self::window).
    pub fn rescale(&self, frame_number: u32) -> Option<(f64, f64)> {
        let frame = self.groups(frame_number).find_map(|groups| {
            let item = groups.transformation.item(0)?;
            Some((item.rescale_slope.number()?, item.rescale_intercept.number()?))
        });
        frame.or_else(|| {
            let (slope, intercept) = (self.rescale_slope.number(), self.rescale_intercept.number());
            if slope.is_none() && intercept.is_none() {
                return None;
            }
            Some((slope.unwrap_or(1.0), intercept.unwrap_or(0.0)))
        })
    }

    fn groups(&self, frame_number: u32) -> impl Iterator<Item = &FunctionalGroups> {
        let index = frame_number.checked_sub(1).map(|index| index as usize);
        let own = index.and_then(|index| self.per_frame_groups.item(index));
        own.into_iter().chain(self.shared_groups.item(0))
    }
}

/// Photometric Interpretation (PS3.3 section C.7.6.3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
}

impl Photometric {
    /// The defined term.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monochrome1 => "MONOCHROME1",
            Self::Monochrome2 => "MONOCHROME2",
            Self::Palette => "PALETTE COLOR",
            Self::Rgb => "RGB",
            Self::YbrFull => "YBR_FULL",
            Self::YbrFull422 => "YBR_FULL_422",
        }
    }

    fn parse(text: &str, samples: usize) -> Result<Self, ImagingError> {
        let all = [
            Self::Monochrome1,
            Self::Monochrome2,
            Self::Palette,
            Self::Rgb,
            Self::YbrFull,
            Self::YbrFull422,
        ];
        let found = match all.into_iter().find(|term| term.as_str() == text) {
            Some(term) => term,
            // A missing term has only one sensible reading per number of samples.
            None if text.is_empty() && samples == 1 => Self::Monochrome2,
            None if text.is_empty() && samples == 3 => Self::Rgb,
            None => {
                return unsupported("the photometric interpretation");
            }
        };
        let needed = if found.is_colour() { 3 } else { 1 };
        if samples != needed {
            return malformed("samples per pixel contradict the photometric interpretation");
        }
        Ok(found)
    }

    fn is_colour(self) -> bool {
        matches!(self, Self::Rgb | Self::YbrFull | Self::YbrFull422)
    }
}

/// How samples are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SampleKind {
    /// Whole numbers of Bits Allocated bits.
    Integer,
    /// IEEE 754 single precision, from Float Pixel Data.
    Float,
    /// IEEE 754 double precision, from Double Float Pixel Data.
    Double,
}

/// The image pixel description, checked: every product of its numbers fits in memory limits.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub rows: usize,
    pub columns: usize,
    pub samples: usize,
    pub photometric: Photometric,
    /// 1, 8, 16, 32 or 64.
    pub bits_allocated: usize,
    /// 1 to `bits_allocated`.
    pub bits_stored: usize,
    /// Bits to the right of the stored ones.
    pub shift: usize,
    pub signed: bool,
    /// One plane per sample instead of one triple per pixel.
    pub planar: bool,
    pub kind: SampleKind,
    /// Pixel data was written as 16-bit words (OW): matters for 8-bit big endian.
    pub words: bool,
}

impl Image {
    /// Checks the image pixel description of a data set.
    pub fn read(data_set: &DataSet) -> Result<Self, ImagingError> {
        let (Some(rows), Some(columns)) = (data_set.rows.short(), data_set.columns.short()) else {
            return malformed("rows or columns are missing");
        };
        if rows == 0 || columns == 0 {
            return malformed("rows or columns are zero");
        }
        let samples = usize::from(data_set.samples_per_pixel.short().unwrap_or(1));
        let photometric = Photometric::parse(data_set.photometric_interpretation.text(), samples)?;
        let kind = match (&data_set.float_pixels, &data_set.double_pixels) {
            (Some(_), _) => SampleKind::Float,
            (None, Some(_)) => SampleKind::Double,
            (None, None) => SampleKind::Integer,
        };
        let bits_allocated = match kind {
            SampleKind::Integer => usize::from(data_set.bits_allocated.short().unwrap_or(0)),
            SampleKind::Float => 32,
            SampleKind::Double => 64,
        };
        let known = match kind {
            SampleKind::Integer => {
                matches!(bits_allocated, 8 | 16 | 32) || (bits_allocated == 1 && samples == 1)
            }
            SampleKind::Float | SampleKind::Double => samples == 1,
        };
        if !known {
            return unsupported(format!("{bits_allocated} bits allocated"));
        }
        let bits_stored = data_set.bits_stored.short().map_or(bits_allocated, usize::from);
        let bits_stored =
            if (1..=bits_allocated).contains(&bits_stored) { bits_stored } else { bits_allocated };
        let shift = data_set
            .high_bit
            .short()
            .map(usize::from)
            .filter(|high_bit| *high_bit < bits_allocated)
            .and_then(|high_bit| (high_bit + 1).checked_sub(bits_stored))
            .unwrap_or(0);
        let image = Self {
            rows: usize::from(rows),
            columns: usize::from(columns),
            samples,
            photometric,
            bits_allocated,
            bits_stored,
            shift,
            signed: data_set.pixel_representation.short() == Some(1),
            planar: samples > 1 && data_set.planar_configuration.short() == Some(1),
            kind,
            words: data_set.pixel_data.vr == "OW",
        };
        if image.decoded_bytes() > MAX_FRAME_BYTES {
            return Err(ImagingError::TooLarge);
        }
        Ok(image)
    }

    /// Pixels per frame. Cannot overflow: two 16-bit factors.
    pub fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Bytes per sample; 1 for bit-packed samples.
    pub fn sample_bytes(&self) -> usize {
        self.bits_allocated.div_ceil(8)
    }

    /// Bytes of a decoded frame without chroma subsampling.
    pub fn decoded_bytes(&self) -> usize {
        let bits = self.pixels() * self.samples * self.bits_allocated;
        bits.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::json;

    #[test]
    fn numbers_may_be_text_and_the_mark_may_occur() {
        let text = b"{\"00281050\":{\"vr\":\"DS\",\"Value\":[\"40 \",\"300\"]},\
            \"00281051\":{\"vr\":\"DS\",\"Value\":[400]},\
            \"00091001\":{\"vr\":\"OB\",\"BulkDataURI\":\"\x01/bulkdata/00091001\"}}";
        let data_set = DataSet::parse(text).unwrap();
        assert_eq!(data_set.window(1), Some((40.0, 400.0, "")));
    }

    #[test]
    fn odd_values_do_not_stop_the_parser() {
        let text = br#"{"00281050":{"vr":"DS","Value":[null,{"a":[1]},true,[2],"x",7]}}"#;
        assert_eq!(DataSet::parse(text).unwrap().window_center.number(), Some(7.0));
        assert!(DataSet::parse(b"[1]").is_err());
        assert!(DataSet::parse(b"").is_err());
    }

    #[test]
    fn impossible_descriptions_are_refused_before_allocation() {
        let check =
            |description: &str| Image::read(&DataSet::parse(json(description).as_bytes()).unwrap());
        let huge = check("rows=65535 columns=65535 bits=32");
        assert_eq!(huge.unwrap_err(), ImagingError::TooLarge);
        for bad in ["rows=0", "bits=12", "samples=3", "bits=1 samples=3 photometric=RGB"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let odd = check("bits=16 stored=20 high=40").unwrap();
        assert_eq!((odd.bits_stored, odd.shift), (16, 0));
        let shifted = check("bits=16 stored=12 high=15").unwrap();
        assert_eq!((shifted.bits_stored, shifted.shift), (12, 4));
    }
}
