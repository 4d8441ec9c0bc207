//! From a stored frame to a picture: the order of the image rendering pipelines of PS3.4 annex N.

use std::borrow::Cow;

use qianli_model::TransferSyntax;
use qianli_model::syntax::Encoding;

use crate::attributes::{DataSet, Image, Photometric};
use crate::element::BulkValues;
use crate::encode::{self, Picture};
use crate::gray::{self, Transformation};
use crate::{ImagingError, colour, decode, guarded, icc, scale};

/// What a picture is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `image/jpeg`, the default of PS3.18 section 8.7.4.
    Jpeg,
    /// `image/png`.
    Png,
}

/// How a window maps values to brightness (VOI LUT Function, PS3.3 section C.11.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VoiFunction {
    /// `LINEAR`: the classic with its half-value offsets.
    #[default]
    Linear,
    /// `LINEAR_EXACT`.
    LinearExact,
    /// `SIGMOID`.
    Sigmoid,
}

impl VoiFunction {
    /// Reads the defined term; LINEAR where there is none or an unknown one.
    pub(crate) fn parse(term: &str) -> Self {
        match term {
            "SIGMOID" => Self::Sigmoid,
            "LINEAR_EXACT" => Self::LinearExact,
            _ => Self::Linear,
        }
    }
}

/// A window in the units of the modality transformation (for CT: Hounsfield units).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Window Center (0028,1050).
    pub center: f64,
    /// Window Width (0028,1051).
    pub width: f64,
    /// VOI LUT Function (0028,1056).
    pub function: VoiFunction,
}

/// Which window a caller wants in place of the first one of the data set.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowChoice {
    /// This one.
    Given(Window),
    /// One of the data set's: its explanation (0028,1055) or (0028,3003), without regard to case,
    /// or its number from 1, VOI LUTs counted after windows.
    Named(String),
}

/// A part of the source image, in its pixels, from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// First column, from 0.
    pub x: f64,
    /// First row, from 0.
    pub y: f64,
    /// Columns; as far as the right edge when `None`.
    pub width: Option<f64>,
    /// Rows; as far as the lower edge when `None`.
    pub height: Option<f64>,
}

/// Where a picture has to fit in (PS3.18 section 8.3.5.1.3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Viewport {
    /// Greatest width in pixels.
    pub width: u32,
    /// Greatest height in pixels.
    pub height: u32,
    /// The part of the image that is shown; all of it when `None`.
    pub region: Option<Region>,
    /// Exchange left and right.
    pub mirror: bool,
    /// Exchange top and bottom.
    pub flip: bool,
    /// Also scale up to fit.
    pub enlarge: bool,
}

impl Viewport {
    /// A viewport into which the whole image is scaled down, never up.
    pub fn within(width: u32, height: u32) -> Self {
        Self { width, height, region: None, mirror: false, flip: false, enlarge: false }
    }
}

/// Whether a picture carries an ICC profile (PS3.18 section 8.3.5.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// None.
    #[default]
    None,
    /// The profile of the data set, or else that of the standard colour space, sRGB.
    Own,
    /// sRGB. Images whose data set has another profile are refused, since their colours would have
    /// to be converted.
    Srgb,
}

/// What the caller of [`Rendering::render`] wants.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Encoding of the picture.
    pub format: Format,
    /// JPEG quality, 1 to 100; other values are clamped. PNG ignores it.
    pub quality: u8,
    /// Where the picture has to fit in. Without one it has the size of the image, with square
    /// pixels.
    pub viewport: Option<Viewport>,
    /// Window to use in place of the first one in the data set. Colour images ignore it.
    pub window: Option<WindowChoice>,
    /// ICC profile of the picture.
    pub profile: Profile,
}

impl Default for RenderOptions {
    fn default() -> Self {
        let (format, quality) = (Format::Jpeg, 90);
        Self { format, quality, viewport: None, window: None, profile: Profile::None }
    }
}

/// An encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// An instance that frames are rendered of: its attributes, parsed once.
#[derive(Debug)]
pub struct Rendering {
    data_set: DataSet,
    image: Image,
    syntax: TransferSyntax,
    bulk: BulkValues,
}

impl Rendering {
    /// Reads the attributes. `json` is the instance's DICOM JSON object; the mark
    /// [`BASE_URL_MARK`](qianli_model::header::BASE_URL_MARK) may occur in it. `syntax` is the
    /// transfer syntax in which frames and bulk values are stored.
    ///
    /// # Errors
    ///
    /// [`ImagingError::Malformed`] and [`ImagingError::Unsupported`] for image descriptions that
    /// make no sense or are not known here, [`ImagingError::TooLarge`].
    pub fn read(json: &[u8], syntax: TransferSyntax) -> Result<Self, ImagingError> {
        guarded(|| {
            let data_set = DataSet::parse(json)?;
            let image = Image::read(&data_set)?;
            let big_endian = syntax.encoding() == Encoding::ExplicitBig;
            let bulk = BulkValues::new(big_endian);
            Ok(Self { data_set, image, syntax, bulk })
        })
    }

    /// Paths of the bulk values (palettes, lookup tables, overlays, profiles) that rendering needs
    /// and that are not in the metadata, e.g. `00281201`.
    pub fn wanted(&self) -> Vec<String> {
        self.data_set.bulk_paths().into_iter().map(str::to_owned).collect()
    }

    /// Hands in a bulk value that was [`wanted`](Self::wanted), as it is stored. What is not handed
    /// in costs an overlay or a contrast; without its palette an image is refused.
    pub fn supply(&mut self, path: &str, value: Vec<u8>) {
        self.bulk.insert(path, value);
    }

    /// About how much memory rendering a frame takes beside the stored frame (bytes).
    pub fn memory(&self, options: &RenderOptions) -> u64 {
        let Self { image, syntax, .. } = self;
        let (columns, rows) = (image.columns as u64, image.rows as u64);
        let decoded = image.decoded_bytes() as u64;
        // Native little-endian pixels are read where they are.
        let in_place = !syntax.is_encapsulated()
            && syntax.encoding() != Encoding::ExplicitBig
            && image.bits_allocated != 1;
        let samples = columns * rows * image.samples as u64;
        let codec = if in_place { 0 } else { decoded + samples * crate::working_bytes(*syntax) };
        let gray = matches!(image.photometric, Photometric::Monochrome1 | Photometric::Monochrome2);
        let picture = columns * rows * if gray { 1 } else { 3 };
        let ordered = if image.planar { picture } else { 0 };
        // Scaling holds floating point numbers of four channels, row by row of the result, after
        // blocks were averaged.
        let aspect = self.data_set.pixel_aspect(1).clamp(1e-3, 1e3);
        let placed = match &options.viewport {
            Some(viewport) => {
                let width = columns.min(u64::from(viewport.width.min(16_384)) * 4);
                let cut = if viewport.region.is_some() { picture } else { 0 };
                (16 * u64::from(viewport.height.min(16_384)) * width).min(1 << 30) + cut
            }
            None if (aspect - 1.0).abs() > 0.01 => {
                let stretched = aspect.max(1.0 / aspect) * (columns * rows) as f64;
                stretched.min(1e12) as u64 * 16
            }
            None => picture / 2,
        };
        [codec, picture, ordered, placed].into_iter().fold(0, u64::saturating_add)
    }

    /// How long each frame of a cine is shown (ms), where the data set says so.
    pub fn frame_time(&self) -> Option<f64> {
        self.data_set.frame_time()
    }

    /// Renders one frame to a picture that a browser shows (PS3.18 section 8.7.4).
    ///
    /// `frame` is one frame as stored, `bit_offset` the bits to skip in its first byte (bit-packed
    /// frames only). `number` counts from 1 and selects functional groups and overlays.
    ///
    /// Grayscale goes through the modality transformation and the chosen window. Without any window
    /// or VOI LUT, unsigned images of up to 8 bits are shown as they are, and the values of others
    /// are stretched from least to greatest, padding left out. Overlays are drawn in white.
    ///
    /// # Errors
    ///
    /// [`ImagingError::Unsupported`] for codecs that are not known, [`ImagingError::Malformed`] when
    /// bytes and attributes disagree, [`ImagingError::Request`] for options that do not fit this
    /// image, [`ImagingError::TooLarge`].
    pub fn render(
        &self,
        frame: &[u8],
        bit_offset: u8,
        number: u32,
        options: &RenderOptions,
    ) -> Result<Rendered, ImagingError> {
        guarded(|| {
            let picture = self.picture(frame, bit_offset, number, options)?;
            let profile = self.profile(options.profile, picture.channels)?;
            encode::encode(&picture, options.format, options.quality, profile.as_deref())
        })
    }

    /// The picture of a frame before it is encoded.
    pub(crate) fn picture(
        &self,
        frame: &[u8],
        bit_offset: u8,
        number: u32,
        options: &RenderOptions,
    ) -> Result<Picture, ImagingError> {
        let Self { data_set, image, bulk, .. } = self;
        let decoded = decode::decode(image, self.syntax, frame, bit_offset)?;
        let mut picture = match decoded.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => {
                let choice = options.window.as_ref();
                let voi = Transformation::read(data_set, image, number, choice, bulk)?;
                gray::render(image, &decoded.pixels, &voi)?
            }
            other => colour::render(data_set, image, other, &decoded.pixels, bulk)?,
        };
        data_set.overlays.draw(&mut picture, image, &decoded.pixels, number, bulk);
        drop(decoded);
        scale::place(picture, data_set.pixel_aspect(number), options.viewport.as_ref())
    }

    fn profile(
        &self,
        wanted: Profile,
        channels: usize,
    ) -> Result<Option<Cow<'_, [u8]>>, ImagingError> {
        let own = self.data_set.icc_profile.bytes(&self.bulk);
        // A grayscale picture with a profile of colours is no legal file.
        let own = own.filter(|own| channels == 3 && !own.is_empty());
        let standard = || Cow::Owned(if channels == 3 { icc::srgb() } else { icc::gray() });
        match (wanted, own) {
            (Profile::None, _) => Ok(None),
            (Profile::Own, Some(own)) => Ok(Some(own)),
            (Profile::Own | Profile::Srgb, None) => Ok(Some(standard())),
            (Profile::Srgb, Some(_)) => Err(ImagingError::Request(
                "this image has a colour profile of its own, to be had with iccprofile=yes; its \
                 colours are not converted here"
                    .into(),
            )),
        }
    }
}
