//! WADO-URI (PS3.18 section 9): one object by its UIDs in a query string.
//!
//! Only a translation: every answer is made by the resource of WADO-RS that means the same, so that
//! the two never differ.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qianli_catalog::types::{Detail, Target};
use qianli_model::uid::UidError;
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid, Tag, tag};

use super::rendered::MAX_SIDE;
use super::{objects, rendered};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::dicomweb::accept::{Accept, Offer};
use crate::dicomweb::path::{At, InstanceAt};
use crate::dicomweb::{json, params};
use crate::error::HttpError;

/// Parameters that are read, for the description of the service.
pub(crate) const PARAMETERS: &[&str] = &[
    "requestType",
    "studyUID",
    "seriesUID",
    "objectUID",
    "contentType",
    "charset",
    "transferSyntax",
    "frameNumber",
    "rows",
    "columns",
    "region",
    "windowCenter",
    "windowWidth",
    "imageQuality",
    "annotation",
];

/// Those without which there is nothing to answer (PS3.18 section 9.4.1.1).
pub(crate) const REQUIRED: &[&str] = &["requestType", "studyUID", "seriesUID", "objectUID"];

const DICOM: &str = "application/dicom";

/// `GET /wado?requestType=WADO&…`.
pub(crate) async fn retrieve(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let wanted = Wanted::parse(query.as_deref().unwrap_or_default())?;
    let detail = super::detail(&state, &caller, &wanted.at).await?;
    let answered = answer(state, caller, base, headers, &wanted, &detail).await;
    answered.map_err(|error| in_our_words(&error).unwrap_or(error))
}

async fn answer(
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    wanted: &Wanted,
    detail: &Detail,
) -> Result<Response, HttpError> {
    let at = &wanted.at;
    let (route, accept) = wanted.choose(detail, &Accept::of(&headers, None))?;
    let accept = format!("accept={}", utf8_percent_encode(&accept, NON_ALPHANUMERIC));
    match route {
        Answer::Object => {
            let target = Target {
                study: at.study.clone(),
                series: Some(at.series.clone()),
                instance: Some(at.instance.clone()),
            };
            let query = RawQuery(Some(accept));
            objects::retrieve(State(state), caller, base, At(target), headers, query).await
        }
        Answer::Picture => {
            let query = RawQuery(Some(format!("{accept}{}", wanted.rendering(detail)?)));
            // Without a number the instance decides: its frames as an animation, or one of them.
            let Some(number) = wanted.frame else {
                return rendered::instance(State(state), caller, base, at.clone(), headers, query)
                    .await;
            };
            let at = InstanceAt { rest: number.to_string(), ..at.clone() };
            rendered::frames(State(state), caller, base, at, headers, query).await
        }
        Answer::Document => {
            let query = RawQuery(Some(accept));
            rendered::instance(State(state), caller, base, at.clone(), headers, query).await
        }
    }
}

/// What can be had, as this service names it: contentType and transferSyntax instead of media types
/// with parameters, and nothing in parts. `None` for other errors.
fn in_our_words(error: &HttpError) -> Option<HttpError> {
    let list = error.message().strip_prefix("available here: ")?;
    let (list, syntaxes) = list.split_once(", each with transfer-syntax=").unwrap_or((list, ""));
    let elsewhere = |media: &str| media.starts_with("multipart/") || media == "application/zip";
    let named: Vec<String> = list
        .split(", ")
        .filter(|one| !elsewhere(one))
        .map(|one| format!("contentType={one}"))
        .collect();
    let named = named.join(", ");
    let message = match (named.is_empty(), syntaxes.is_empty()) {
        (true, _) => "nothing of this can be had as one body".to_owned(),
        (false, true) => format!("available here: {named}"),
        (false, false) => format!("available here: {named} with transferSyntax={syntaxes}"),
    };
    Some(HttpError::new(error.status(), message))
}

/// Which resource answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Object,
    Picture,
    Document,
}

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    at: InstanceAt,
    /// Media types in the client's order; none when it leaves the choice to us.
    types: Vec<String>,
    transfer_syntax: Option<String>,
    frame: Option<u32>,
    rows: Option<u32>,
    columns: Option<u32>,
    region: Option<[f64; 4]>,
    window: Option<(f64, f64)>,
    quality: Option<u32>,
    annotation: Option<String>,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, HttpError> {
        params::once(query, PARAMETERS)?;
        let get = |name: &str| params::first(query, name).filter(|value| !value.trim().is_empty());
        if get("requestType").as_deref() != Some("WADO") {
            return Err(HttpError::bad_request("requestType must be WADO"));
        }
        let required = |name: &'static str| {
            get(name).ok_or_else(|| HttpError::bad_request(format!("{name} is missing")))
        };
        let bad_uid = |name: &'static str| {
            move |error: UidError| HttpError::bad_request(format!("{name}: {error}"))
        };
        let at = InstanceAt {
            study: StudyUid::parse(&required("studyUID")?).map_err(bad_uid("studyUID"))?,
            series: SeriesUid::parse(&required("seriesUID")?).map_err(bad_uid("seriesUID"))?,
            instance: SopInstanceUid::parse(&required("objectUID")?)
                .map_err(bad_uid("objectUID"))?,
            rest: String::new(),
        };
        if get("anonymize").is_some() {
            // PS3.18 section 9.4.2.2: a server that cannot must not answer as if it had.
            return Err(HttpError::bad_request("objects are not anonymised here"));
        }
        if get("presentationUID").is_some() {
            let message = "presentation states are not applied here; leave presentationUID out";
            return Err(HttpError::bad_request(message));
        }
        let whole = |name: &'static str| {
            let number = |text: String| text.trim().parse::<u32>().ok().filter(|n| *n > 0);
            get(name)
                .map(|text| {
                    number(text)
                        .ok_or_else(|| HttpError::bad_request(format!("{name} is a number from 1")))
                })
                .transpose()
        };
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        let window = match (get("windowCenter"), get("windowWidth")) {
            (None, None) => None,
            (Some(center), Some(width)) => match (number(&center), number(&width)) {
                (Some(center), Some(width)) if width > 0.0 => Some((center, width)),
                _ => {
                    let message = "windowCenter is a number, windowWidth one greater than 0";
                    return Err(HttpError::bad_request(message));
                }
            },
            _ => {
                let message = "windowCenter and windowWidth belong together";
                return Err(HttpError::bad_request(message));
            }
        };
        let region = get("region")
            .map(|text| {
                let numbers: Vec<f64> = text.split(',').filter_map(number).collect();
                match numbers.as_slice() {
                    &[left, top, right, bottom]
                        if (0.0..=1.0).contains(&left)
                            && (0.0..=1.0).contains(&top)
                            && left < right
                            && top < bottom
                            && right <= 1.0
                            && bottom <= 1.0 =>
                    {
                        Ok([left, top, right, bottom])
                    }
                    _ => Err(HttpError::bad_request(
                        "region is left,top,right,bottom, each from 0.0 to 1.0",
                    )),
                }
            })
            .transpose()?;
        let side = |name: &'static str| match whole(name)? {
            Some(side) if side > MAX_SIDE => {
                Err(HttpError::bad_request(format!("{name} is a number from 1 to {MAX_SIDE}")))
            }
            side => Ok(side),
        };
        let quality = whole("imageQuality")?;
        if quality.is_some_and(|quality| quality > 100) {
            return Err(HttpError::bad_request("imageQuality is a number from 1 to 100"));
        }
        let types = get("contentType").unwrap_or_default();
        let types = types
            .split(',')
            .map(|one| one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .filter(|one| !one.is_empty())
            .collect();
        Ok(Self {
            at,
            types,
            transfer_syntax: get("transferSyntax"),
            frame: whole("frameNumber")?,
            rows: side("rows")?,
            columns: side("columns")?,
            region,
            window,
            quality,
            annotation: get("annotation"),
        })
    }

    /// Which resource answers, and what it is told to accept.
    fn choose(&self, detail: &Detail, taken: &Accept) -> Result<(Answer, String), HttpError> {
        let object = || {
            let syntax = self.transfer_syntax.as_ref();
            let syntax = syntax.map(|uid| format!("; transfer-syntax={uid}")).unwrap_or_default();
            (Answer::Object, format!("{DICOM}{syntax}"))
        };
        if self.types.is_empty() {
            return Ok(match self.unnamed(detail, taken)? {
                (Answer::Object, _) => object(),
                (answer, media) => (answer, media.to_owned()),
            });
        }
        for media in &self.types {
            let family = media.split('/').next().unwrap_or_default();
            match (media.as_str(), family) {
                (DICOM, _) => return Ok(object()),
                (_, "image") => {
                    let images: Vec<&str> = self
                        .types
                        .iter()
                        .map(String::as_str)
                        .filter(|media| media.starts_with("image/"))
                        .collect();
                    return Ok((Answer::Picture, images.join(", ")));
                }
                ("application/pdf", _) | (_, "text" | "video") => {
                    return Ok((Answer::Document, media.clone()));
                }
                _ => {}
            }
        }
        Err(HttpError::not_acceptable(
            "contentType is application/dicom here; for images also image/jpeg, image/png or image/gif; \
             for documents what they are or text/html",
        ))
    }

    /// What answers a request without contentType: of what the instance can be, that which the Accept
    /// header likes best (PS3.18 section 9.4.2.2), ours where it says nothing.
    fn unnamed(
        &self,
        detail: &Detail,
        taken: &Accept,
    ) -> Result<(Answer, &'static str), HttpError> {
        let mut possible = vec![self.default(detail)];
        let pictures = ["image/jpeg", "image/png"].map(|media| (Answer::Picture, media));
        let is_film = rendered::video(detail.location.transfer_syntax.uid());
        match (is_film, detail.frames.count()) {
            (Some(media), _) => possible.push((Answer::Document, media)),
            (None, 0) => {}
            (None, 1) => possible.extend(pictures),
            (None, _) => {
                possible.extend(pictures);
                possible.push((Answer::Picture, "image/gif"));
            }
        }
        possible.push((Answer::Object, DICOM));
        let offers: Vec<Offer<'_>> =
            possible.iter().map(|(_, media)| Offer::plain(media)).collect();
        let chosen = taken.choose(&offers).and_then(|index| possible.get(index));
        chosen.copied().ok_or_else(|| {
            let mut names: Vec<&str> = possible.iter().map(|(_, media)| *media).collect();
            names.dedup();
            HttpError::not_acceptable(format!("available here: {}", names.join(", ")))
        })
    }

    /// The type that answers when none is asked for (PS3.18 section 9.4.2.2, table 8.7.4-1): a
    /// picture of a single frame, a page of a report, else the object.
    fn default(&self, detail: &Detail) -> (Answer, &'static str) {
        const STRUCTURED_REPORTS: &str = "1.2.840.10008.5.1.4.1.1.88.";
        const PDF: &str = "1.2.840.10008.5.1.4.1.1.104.1";
        let class = detail.location.sop_class.as_str();
        match detail.frames.count() {
            // One stream, however many frames it shows.
            _ if rendered::video(detail.location.transfer_syntax.uid()).is_some() => {
                (Answer::Object, DICOM)
            }
            1 => (Answer::Picture, "image/jpeg"),
            _ if self.frame.is_some() => (Answer::Picture, "image/jpeg"),
            0 if class == PDF => (Answer::Document, "application/pdf"),
            0 if class.starts_with(STRUCTURED_REPORTS) => (Answer::Document, "text/html"),
            _ => (Answer::Object, DICOM),
        }
    }

    /// The parameters of a picture, as rendered resources have them.
    fn rendering(&self, detail: &Detail) -> Result<String, HttpError> {
        let mut query = String::new();
        if let Some((center, width)) = self.window {
            query.push_str(&format!("&window={center},{width},linear"));
        }
        if let Some(quality) = &self.quality {
            query.push_str(&format!("&quality={quality}"));
        }
        if let Some(annotation) = &self.annotation {
            let annotation = utf8_percent_encode(annotation, NON_ALPHANUMERIC);
            query.push_str(&format!("&annotation={annotation}"));
        }
        if self.rows.is_none() && self.columns.is_none() && self.region.is_none() {
            return Ok(query);
        }
        let sides = number(detail, tag::COLUMNS).zip(number(detail, tag::ROWS));
        let Some((width, height)) = sides else {
            return Err(HttpError::not_acceptable("this instance does not say how large it is"));
        };
        let [left, top, right, bottom] = self.region.unwrap_or([0.0, 0.0, 1.0, 1.0]);
        let (x, y) = ((left * width).floor(), (top * height).floor());
        let (w, h) = (((right - left) * width).ceil(), ((bottom - top) * height).ceil());
        // One side alone leaves the other to the image (PS3.18 section 9.4.2.2.2).
        let (columns, rows) = match (self.columns, self.rows) {
            (Some(columns), Some(rows)) => (f64::from(columns), f64::from(rows)),
            (Some(columns), None) => (f64::from(columns), f64::from(columns) * h / w),
            (None, Some(rows)) => (f64::from(rows) * w / h, f64::from(rows)),
            (None, None) => (w, h),
        };
        // The side that follows from the other may not be too long either.
        let longest = f64::from(MAX_SIDE);
        let (columns, rows) = (columns.ceil().clamp(1.0, longest), rows.ceil().clamp(1.0, longest));
        query.push_str(&format!("&viewport={columns},{rows}"));
        if self.region.is_some() {
            query.push_str(&format!(",{x},{y},{w},{h}"));
        }
        Ok(query)
    }
}

/// First value of an attribute of the header, if it is a number.
fn number(detail: &Detail, wanted: Tag) -> Option<f64> {
    let json = String::from_utf8_lossy(&detail.json);
    let members = json::members(&json);
    let (_, value) = members.iter().find(|(tag, _)| *tag == wanted)?;
    let digits: String =
        value.split('[').nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|number| *number > 0.0)
}
