//! The attributes that pixels need, read from an instance's DICOM JSON object (PS3.18 annex F).
//!
//! Only the few attributes named here are kept; everything else is skipped while parsing, so that
//! large enhanced multi-frame headers cost one pass and little memory.

use std::borrow::Cow;

use qianli_model::header::BASE_URL_MARK;
use serde::Deserialize;

use crate::element::{Element, Sequence};
use crate::overlay::Overlays;
use crate::{ImagingError, MAX_FRAME_BYTES, VoiFunction, Window, malformed, unsupported};

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
    #[serde(rename = "00281055")]
    window_explanation: Element,
    #[serde(rename = "00281056")]
    voi_function: Element,
    /// VOI LUT Sequence.
    #[serde(rename = "00283010")]
    voi_luts: Sequence<LutItem>,
    #[serde(rename = "00281052")]
    rescale_intercept: Element,
    #[serde(rename = "00281053")]
    rescale_slope: Element,
    /// Modality LUT Sequence.
    #[serde(rename = "00283000")]
    pub modality_luts: Sequence<LutItem>,
    /// Presentation LUT Shape.
    #[serde(rename = "20500020")]
    presentation_shape: Element,
    /// Segmentation Type.
    #[serde(rename = "00620001")]
    segmentation_type: Element,
    /// Maximum Fractional Value of a segmentation.
    #[serde(rename = "0062000E")]
    maximum_fraction: Element,
    /// Frame Time (ms), Recommended Display Frame Rate and Cine Rate (1/s).
    #[serde(rename = "00181063")]
    frame_time: Element,
    #[serde(rename = "00082144")]
    display_rate: Element,
    #[serde(rename = "00180040")]
    cine_rate: Element,
    #[serde(rename = "00280030")]
    pixel_spacing: Element,
    #[serde(rename = "00181164")]
    imager_pixel_spacing: Element,
    #[serde(rename = "00280034")]
    pixel_aspect_ratio: Element,
    /// ICC Profile.
    #[serde(rename = "00282000")]
    pub icc_profile: Element,
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
    /// Segmented Red, Green and Blue Palette Color Lookup Table Data.
    #[serde(rename = "00281221")]
    pub red_segments: Element,
    #[serde(rename = "00281222")]
    pub green_segments: Element,
    #[serde(rename = "00281223")]
    pub blue_segments: Element,
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
    /// Overlay planes, read in a pass of their own when there are any.
    #[serde(skip)]
    pub overlays: Overlays,
}

/// A window and its explanation.
pub(crate) type NamedWindow<'a> = (Window, &'a str);

/// One item of a modality or VOI LUT sequence.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LutItem {
    /// LUT Descriptor.
    #[serde(rename = "00283002")]
    pub descriptor: Element,
    /// LUT Explanation.
    #[serde(rename = "00283003")]
    pub explanation: Element,
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
    /// Pixel Measures Sequence.
    #[serde(rename = "00289110")]
    measures: Sequence<PixelMeasures>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PixelMeasures {
    #[serde(rename = "00280030")]
    pixel_spacing: Element,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FrameVoi {
    #[serde(rename = "00281050")]
    window_center: Element,
    #[serde(rename = "00281051")]
    window_width: Element,
    #[serde(rename = "00281055")]
    window_explanation: Element,
    #[serde(rename = "00281056")]
    voi_function: Element,
    #[serde(rename = "00283010")]
    voi_luts: Sequence<LutItem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PixelValueTransformation {
    #[serde(rename = "00281052")]
    rescale_intercept: Element,
    #[serde(rename = "00281053")]
    rescale_slope: Element,
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
        let refused = |_| ImagingError::Malformed("the attributes are not DICOM JSON".into());
        let mut data_set: Self = serde_json::from_slice(&text).map_err(refused)?;
        data_set.overlays = Overlays::parse(&text).map_err(refused)?;
        Ok(data_set)
    }

    /// Every window of a frame counted from 1: those of its own functional group, the shared one, or
    /// the top of the data set, the first of these that has any.
    pub fn windows(&self, frame_number: u32) -> Vec<NamedWindow<'_>> {
        let of_groups = self.groups(frame_number).filter_map(|groups| groups.voi.item(0));
        let of_groups = of_groups.map(|voi| {
            let FrameVoi { window_center, window_width, window_explanation, voi_function, .. } =
                voi;
            (window_center, window_width, window_explanation, voi_function)
        });
        let of_image =
            (&self.window_center, &self.window_width, &self.window_explanation, &self.voi_function);
        of_groups
            .chain([of_image])
            .map(|(centers, widths, names, function)| {
                let function = VoiFunction::parse(function.text());
                let names = names.texts().chain(std::iter::repeat(""));
                centers
                    .numbers()
                    .zip(widths.numbers())
                    .zip(names)
                    .map(|((center, width), name)| (Window { center, width, function }, name))
                    .collect::<Vec<_>>()
            })
            .find(|windows| !windows.is_empty())
            .unwrap_or_default()
    }

    /// The VOI LUTs of a frame, in the order of [`windows`](Self::windows).
    pub fn voi_luts(&self, frame_number: u32) -> &Sequence<LutItem> {
        let of_groups = self.groups(frame_number).filter_map(|groups| groups.voi.item(0));
        of_groups
            .map(|voi| &voi.voi_luts)
            .find(|luts| luts.item(0).is_some())
            .unwrap_or(&self.voi_luts)
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

    /// Whether small values are to be white (PS3.3 sections C.7.6.3.1.2 and C.11.6).
    pub fn is_inverse(&self, photometric: Photometric) -> bool {
        photometric == Photometric::Monochrome1 || self.presentation_shape.text() == "INVERSE"
    }

    /// Greatest value of a fractional segmentation (PS3.3 section C.8.20.2).
    pub fn maximum_fraction(&self) -> Option<f64> {
        self.maximum_fraction.number().filter(|greatest| *greatest > 0.0)
    }

    /// Whether pixels are numbers of segments (PS3.3 section C.8.20.2).
    pub fn is_labelmap(&self) -> bool {
        self.segmentation_type.text() == "LABELMAP"
    }

    /// Height of a pixel of a frame counted from 1, in widths. 1 where nothing sensible says else.
    pub fn pixel_aspect(&self, frame_number: u32) -> f64 {
        let own = self.groups(frame_number).filter_map(|groups| groups.measures.item(0));
        let spacings = own.map(|measures| &measures.pixel_spacing).chain([
            &self.pixel_spacing,
            &self.imager_pixel_spacing,
            &self.pixel_aspect_ratio,
        ]);
        for element in spacings {
            let mut numbers = element.numbers();
            if let (Some(down), Some(across)) = (numbers.next(), numbers.next())
                && down > 0.0
                && across > 0.0
            {
                let aspect = down / across;
                // Beyond this it is a mistake (a slice thickness, a swapped unit).
                return if (0.1..=10.0).contains(&aspect) { aspect } else { 1.0 };
            }
        }
        1.0
    }

    /// How long a frame of a cine is shown (ms), where something sensible says so.
    pub fn frame_time(&self) -> Option<f64> {
        let rates = [&self.display_rate, &self.cine_rate];
        let of_rate = rates.into_iter().filter_map(|rate| rate.number()).map(|rate| 1000.0 / rate);
        self.frame_time.number().into_iter().chain(of_rate).find(|ms| (1.0..=60_000.0).contains(ms))
    }

    /// Every value that rendering may need and that has to be fetched.
    pub fn bulk_paths(&self) -> Vec<&str> {
        let mut elements = vec![
            &self.red_data,
            &self.green_data,
            &self.blue_data,
            &self.red_segments,
            &self.green_segments,
            &self.blue_segments,
            &self.icc_profile,
        ];
        elements.extend(self.modality_luts.items().map(|item| &item.data));
        elements.extend(self.voi_luts.items().map(|item| &item.data));
        elements.extend(self.overlays.data());
        elements.into_iter().filter_map(Element::bulk_path).collect()
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
    /// Studio range, chrominances shared by two pixels; retired, of native pixels.
    YbrPartial422,
    /// What JPEG 2000 does to colours inside its stream: pixels come out of it as RGB.
    YbrIct,
    YbrRct,
    /// What MPEG streams hold; never decoded here.
    YbrPartial420,
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
            Self::YbrPartial422 => "YBR_PARTIAL_422",
            Self::YbrIct => "YBR_ICT",
            Self::YbrRct => "YBR_RCT",
            Self::YbrPartial420 => "YBR_PARTIAL_420",
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
            Self::YbrPartial422,
            Self::YbrIct,
            Self::YbrRct,
            Self::YbrPartial420,
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
        !matches!(self, Self::Monochrome1 | Self::Monochrome2 | Self::Palette)
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
            words: data_set.pixel_data.vr() == "OW",
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
        let window = Window { center: 40.0, width: 400.0, function: VoiFunction::Linear };
        assert_eq!(data_set.windows(1), [(window, "")]);
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
