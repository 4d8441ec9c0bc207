//! The query parameters of rendered resources (PS3.18 section 8.3.5), and the language of texts.

use qianli_imaging::{Profile, Region, RenderOptions, Viewport, VoiFunction, Window, WindowChoice};

use crate::dicomweb::params;
use crate::error::HttpError;

/// Largest viewport (pixels a side).
pub(in crate::dicomweb::wado) const MAX_SIDE: u32 = 16_384;

/// The parameters; each means one thing.
const NAMES: &[&str] = &["viewport", "window", "quality", "iccprofile", "annotation"];

/// Parses the query parameters. What they mean is checked; what fits an image is its own affair.
///
/// `annotation` is refused: a name burned into an image must be right in every script, and one that
/// cannot be drawn must not be left out silently. Parameters of others have no effect.
pub(super) fn parse(query: &str) -> Result<RenderOptions, HttpError> {
    let mut options = RenderOptions::default();
    params::once(query, NAMES)?;
    for (name, value) in params::pairs(query) {
        match name.to_ascii_lowercase().as_str() {
            "quality" => {
                let quality = value.parse().ok().filter(|q| (1..=100).contains(q));
                options.quality = quality.ok_or_else(|| {
                    HttpError::bad_request("quality is a whole number from 1 to 100")
                })?;
            }
            "viewport" => options.viewport = Some(viewport(&value)?),
            "window" => options.window = Some(window(&value)?),
            "iccprofile" => options.profile = profile(&value)?,
            "annotation" => annotation(&value)?,
            _ => {}
        }
    }
    Ok(options)
}

/// `vw,vh[,sx,sy,sw,sh]` (PS3.18 section 8.3.5.1.3): the size of the picture in whole pixels, and the
/// part of the image, of which each number may be a fraction or left empty. Negative `sw` exchanges
/// left and right, negative `sh` top and bottom.
fn viewport(text: &str) -> Result<Viewport, HttpError> {
    let malformed = || {
        HttpError::bad_request(format!(
            "viewport is width,height[,x,y,columns,rows]: width and height whole numbers from 1 to \
             {MAX_SIDE}, the others numbers inside the image, or empty"
        ))
    };
    let pieces: Vec<&str> = text.split(',').map(str::trim).collect();
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    let optional = |index: usize| match pieces.get(index) {
        None | Some(&"") => Ok(None),
        Some(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(malformed()),
        },
    };
    let (Some(width), Some(height)) =
        (pieces.first().and_then(|text| side(text)), pieces.get(1).and_then(|text| side(text)))
    else {
        return Err(malformed());
    };
    if pieces.len() > 6 {
        return Err(malformed());
    }
    let (x, y) = (optional(2)?.unwrap_or(0.0), optional(3)?.unwrap_or(0.0));
    let (columns, rows) = (optional(4)?, optional(5)?);
    if x < 0.0 || y < 0.0 || columns == Some(0.0) || rows == Some(0.0) {
        return Err(malformed());
    }
    let region = Region { x, y, width: columns.map(f64::abs), height: rows.map(f64::abs) };
    let whole = Region { x: 0.0, y: 0.0, width: None, height: None };
    Ok(Viewport {
        region: (region != whole).then_some(region),
        mirror: columns.is_some_and(|columns| columns < 0.0),
        flip: rows.is_some_and(|rows| rows < 0.0),
        enlarge: true,
        ..Viewport::within(width, height)
    })
}

/// `center,width[,function]`, or, beyond the standard, one word: the explanation or number of a
/// window of the image.
fn window(text: &str) -> Result<WindowChoice, HttpError> {
    let malformed = || {
        HttpError::bad_request(
            "window is center,width,function with a width of 1 or more and linear, linear-exact or \
             sigmoid; or the name or number of a window of the image",
        )
    };
    let pieces: Vec<&str> = text.split(',').map(str::trim).collect();
    let (center, width, function) = match pieces.as_slice() {
        [name] if !name.is_empty() => return Ok(WindowChoice::Named((*name).to_owned())),
        [center, width] => (center, width, "linear"),
        [center, width, function] => (center, width, *function),
        _ => return Err(malformed()),
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    let center = number(center).ok_or_else(malformed)?;
    let width = number(width).filter(|w| *w > 0.0).ok_or_else(malformed)?;
    let function = match function.to_ascii_lowercase().as_str() {
        "linear" => VoiFunction::Linear,
        "linear-exact" | "linear_exact" => VoiFunction::LinearExact,
        "sigmoid" => VoiFunction::Sigmoid,
        _ => return Err(malformed()),
    };
    Ok(WindowChoice::Given(Window { center, width, function }))
}

fn profile(text: &str) -> Result<Profile, HttpError> {
    match text.to_ascii_lowercase().as_str() {
        "no" => Ok(Profile::None),
        "yes" => Ok(Profile::Own),
        "srgb" => Ok(Profile::Srgb),
        _ => Err(HttpError::bad_request("iccprofile is no, yes or srgb here")),
    }
}

fn annotation(text: &str) -> Result<(), HttpError> {
    let known = |word: &str| matches!(word.trim(), "patient" | "technique");
    if text.split(',').all(known) {
        return Err(HttpError::bad_request(
            "annotations are not burned into images here; leave the parameter out",
        ));
    }
    Err(HttpError::bad_request("annotation is patient and technique, separated by a comma"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_checked() {
        let options = parse("viewport=200,100&quality=50&window=-600,1500,LINEAR_EXACT")
            .expect("legal options");
        let viewport = Viewport { enlarge: true, ..Viewport::within(200, 100) };
        assert_eq!(options.viewport, Some(viewport));
        assert_eq!(options.quality, 50);
        let function = VoiFunction::LinearExact;
        let window = Window { center: -600.0, width: 1500.0, function };
        assert_eq!(options.window, Some(WindowChoice::Given(window)));
        for query in [
            "quality=0",
            "quality=high",
            "viewport=1",
            "viewport=0,5",
            "viewport=99999,1",
            "viewport=1.5,2.5",
            "viewport=8,8&viewport=9,9",
            "window=1,2&window=3,4",
            "window=1,2,",
            "quality=50&Quality=60",
            "quality=50.5",
            "viewport=NaN,1",
            "viewport=1,1,-1,0",
            "viewport=1,1,0,0,0,5",
            "viewport=1,1,a",
            "viewport=1,1,0,0,1,1,1",
            "window=",
            "window=1,0,linear",
            "window=a,b,linear",
            "window=1,2,magic",
            "window=1,2,linear,4",
            "iccprofile=adobergb",
            "annotation=patient",
            "annotation=all",
        ] {
            let error = parse(query).expect_err(query);
            assert_eq!(error.status(), 400, "{query}");
        }
    }

    #[test]
    fn regions_default_to_the_rest_of_the_image_and_signs_turn_it() {
        let viewport = |query: &str| parse(query).expect(query).viewport.expect(query);
        let cut = viewport("viewport=64,64,10,20");
        let rest = Region { x: 10.0, y: 20.0, width: None, height: None };
        assert_eq!((cut.region, cut.mirror, cut.flip), (Some(rest), false, false));
        let turned = viewport("viewport=64,64,,,-30,-40.5");
        let part = Region { x: 0.0, y: 0.0, width: Some(30.0), height: Some(40.5) };
        assert_eq!((turned.region, turned.mirror, turned.flip), (Some(part), true, true));
    }

    #[test]
    fn windows_may_be_named_and_profiles_chosen() {
        let options = parse("window=BONE&iccprofile=yes").expect("legal options");
        assert_eq!(options.window, Some(WindowChoice::Named("BONE".into())));
        assert_eq!(options.profile, Profile::Own);
        assert_eq!(parse("iccprofile=no").expect("legal").profile, Profile::None);
        assert_eq!(parse("iccprofile=sRGB").expect("legal").profile, Profile::Srgb);
    }
}
