//! STOW-RS (PS3.18 section 10.5): instances coming in over HTTP, as DICOM files, as metadata with
//! bulk values, or in a zip archive.

mod answer;
mod composite;
mod fill;
mod intake;
mod media;
mod metadata;
mod pixels;

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use qianli_archive::{IngestError, Stored};
use qianli_model::StudyUid;

use self::answer::{Answer, Report};
use self::intake::Intake;
pub(crate) use self::intake::{MAX_PARTS, STALL};
use super::accept::{Accept, ContentType, Offer};
use super::multipart::BodyError;
use super::path::At;
use super::respond;
use super::routes::{self, route};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::origin;

const DICOM: &str = "application/dicom";

const ZIP: &str = "application/zip";

/// Types of the parts of a multipart body, in its `type` parameter.
const TYPES: &[&str] = &[DICOM, respond::DICOM_JSON, "application/json", answer::DICOM_XML];

/// Bodies that are taken.
const TAKES: &[&str] = &[
    "multipart/related; type=\"application/dicom\"",
    "multipart/related; type=\"application/dicom+json\"",
    "multipart/related; type=\"application/dicom+xml\"",
    DICOM,
    ZIP,
];

/// Forms of the answer.
const GIVES: &[&str] = &[respond::DICOM_JSON, "application/json", answer::DICOM_XML];

/// Statuses of an answer that says what became of each instance (PS3.18 table 10.5.3-1).
const ANSWERS: &[u16] = &[200, 202, 409, 503];

/// Routes of the store.
pub(crate) const ROUTES: &[routes::Route] = &[
    route!(Post "/studies" => store, Store, "10.5",
        ["Store instances", "存储实例"], takes TAKES, gives GIVES, answers ANSWERS),
    route!(Post "/studies/{study}" => store_into, Store, "10.5",
        ["Store instances of one study", "存储某检查的实例"],
        takes TAKES, gives GIVES, answers ANSWERS),
];

/// How much is read of a body that is not taken (bytes), and for how long.
const READ_ON: (usize, Duration) = (4 << 20, Duration::from_secs(2));

/// What became of one instance.
type Outcome = Result<Kept, IngestError>;

/// An instance that is safe.
#[derive(Debug)]
struct Kept {
    stored: Stored,
    /// Attributes of its metadata that could not be kept.
    discarded: usize,
}

/// `POST /studies`.
pub(crate) async fn store(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, HttpError> {
    receive(state, caller, base, None, headers, query, body).await
}

/// `POST /studies/{study}`.
pub(crate) async fn store_into(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    At(target): At,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, HttpError> {
    receive(state, caller, base, Some(target.study), headers, query, body).await
}

async fn receive(
    state: WebState,
    caller: Caller,
    base: BaseUrl,
    study: Option<StudyUid>,
    headers: HeaderMap,
    query: Option<String>,
    body: Body,
) -> Result<Response, HttpError> {
    let fits = || {
        origin::check(&headers, None, state.config())?;
        let media = answer_type(&Accept::of(&headers, query.as_deref()))?;
        check_encoding(&headers)?;
        Ok::<_, HttpError>((media, BodyKind::of(&headers)?))
    };
    let (media, kind) = match fits() {
        Ok(fit) => fit,
        Err(error) => {
            read_on(body).await;
            return Err(error);
        }
    };
    let max_body = state.config().max_body;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_body) {
        return Err(BodyError::TooLarge.into());
    }

    let max_part = state.config().max_part_size;
    let mut intake = Intake::new(state, caller, study.clone());
    let body = limited(body.into_data_stream(), max_body);
    match kind {
        BodyKind::Single => intake.single(body).await?,
        BodyKind::Multipart { boundary } => intake.multipart(body, &boundary).await?,
        BodyKind::Zip => intake.zip(body).await?,
    }
    let (only_oversize, too_many) = (intake.oversize, intake.too_many);
    let not_dicom = intake.not_dicom;
    let outcomes = intake.finish().await;
    if outcomes.is_empty() && not_dicom > 0 {
        let message = format!("none of the {not_dicom} files in the zip archive is DICOM");
        return Err(HttpError::bad_request(message));
    }
    if outcomes.is_empty() {
        return Err(HttpError::bad_request("the body holds no part"));
    }
    if only_oversize && outcomes.iter().all(Result::is_err) {
        let refusal = qianli_model::Refusal::TooLarge(max_part);
        return Err(HttpError::too_large(format!("an instance is {refusal}")));
    }
    let report = Report::new(outcomes);
    if too_many {
        let message = format!(
            "a request may hold {MAX_PARTS} parts; the first {MAX_PARTS} were taken as they came, \
             nothing after them was read: send again in several requests"
        );
        return Err(HttpError::too_large(message));
    }
    let mut response = report.answer(&base, study.as_ref(), media)?;
    if not_dicom > 0 {
        let text = format!("{not_dicom} files of the zip archive are not DICOM");
        respond::warn(response.headers_mut(), &text);
    }
    Ok(response)
}

/// Reads on for a client that is refused while it sends: it would lose the answer with the connection.
/// Whoever sends much more does lose it.
async fn read_on(body: Body) {
    let mut left = READ_ON.0;
    let mut data = body.into_data_stream();
    let reading = async {
        while let Some(Ok(chunk)) = data.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(READ_ON.1, reading).await;
}

/// Turns encoded bodies away: taken as they are they would be unreadable instances.
fn check_encoding(headers: &HeaderMap) -> Result<(), HttpError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let encoding = value.to_str().unwrap_or_default().trim();
        if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
            continue;
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_., ".contains(&b);
        let shown = encoding.len() <= 64 && encoding.bytes().all(plain);
        let shown = if shown { encoding } else { "this" };
        let message = format!("Content-Encoding {shown} is not taken here: send the body as it is");
        return Err(HttpError::unsupported_media_type(message));
    }
    Ok(())
}

/// The form of the answer: JSON unless the client prefers XML. A client that names neither gets JSON
/// rather than no word about what was stored; only one that expressly takes none is turned away.
fn answer_type(accept: &Accept) -> Result<Answer, HttpError> {
    let forms = [Answer::Json(respond::DICOM_JSON), Answer::Json("application/json"), Answer::Xml];
    let offers = forms.map(|form| Offer::plain(form.media()));
    match accept.choose(&offers).and_then(|index| forms.get(index)) {
        Some(form) => Ok(*form),
        None if accept.refuses(&Offer::plain(respond::DICOM_JSON)) => {
            Err(HttpError::not_acceptable(format!("available here: {}", GIVES.join(", "))))
        }
        None => Ok(Answer::Json(respond::DICOM_JSON)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum BodyKind {
    Single,
    Zip,
    Multipart { boundary: String },
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> Result<Self, HttpError> {
        let unsupported =
            || HttpError::unsupported_media_type(format!("taken here: {}", TAKES.join(", ")));
        if headers.get_all(header::CONTENT_TYPE).iter().nth(1).is_some() {
            return Err(HttpError::bad_request("Content-Type is given more than once"));
        }
        let text = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(unsupported)?;
        let content_type = ContentType::parse(text).ok_or_else(unsupported)?;
        match content_type.essence.as_str() {
            DICOM => Ok(Self::Single),
            ZIP => Ok(Self::Zip),
            "multipart/related" => {
                // Some clients leave the type out; the parts say it again.
                let of_dicom = content_type
                    .parameter("type")
                    .is_none_or(|t| TYPES.iter().any(|known| t.eq_ignore_ascii_case(known)));
                if !of_dicom {
                    return Err(unsupported());
                }
                let boundary = content_type.parameter("boundary").ok_or_else(|| {
                    HttpError::bad_request("the Content-Type has no boundary parameter")
                })?;
                Ok(Self::Multipart { boundary: boundary.to_owned() })
            }
            _ => Err(unsupported()),
        }
    }
}

/// Ends a body that grows beyond what is taken in one request.
fn limited(
    body: BodyDataStream,
    limit: u64,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Unpin + Send {
    let mut received = 0u64;
    body.map(move |chunk| {
        let chunk = chunk.map_err(|_| BodyError::Lost)?;
        received = received.saturating_add(chunk.len() as u64);
        if received > limit { Err(BodyError::TooLarge) } else { Ok(chunk) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(content_type: &str) -> Result<BodyKind, u16> {
        let mut headers = HeaderMap::new();
        respond::set(&mut headers, header::CONTENT_TYPE, content_type);
        BodyKind::of(&headers).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn bodies_of_dicom_are_taken() {
        let multipart = |boundary: &str| Ok(BodyKind::Multipart { boundary: boundary.into() });
        for (content_type, expected) in [
            ("application/dicom", Ok(BodyKind::Single)),
            ("multipart/related; type=\"application/dicom\"; boundary=\"a b\"", multipart("a b")),
            ("multipart/related; type=application/dicom; boundary=ab", multipart("ab")),
            ("multipart/related; boundary=ab", multipart("ab")),
            ("multipart/related; type=application/dicom", Err(400)),
            ("multipart/related; type=\"application/dicom+json\"; boundary=ab", multipart("ab")),
            ("multipart/related; type=application/dicom+xml; boundary=ab", multipart("ab")),
            ("application/zip", Ok(BodyKind::Zip)),
            ("multipart/related; type=image/jpeg; boundary=ab", Err(415)),
            ("multipart/form-data; boundary=ab", Err(415)),
            ("text/plain", Err(415)),
            ("", Err(415)),
        ] {
            assert_eq!(kind(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn encoded_bodies_are_turned_away_by_name() {
        let check = |encoding: &str| {
            let mut headers = HeaderMap::new();
            respond::set(&mut headers, header::CONTENT_ENCODING, encoding);
            check_encoding(&headers).map_err(|e| (e.status().as_u16(), e.message().to_owned()))
        };
        assert_eq!(check("identity"), Ok(()));
        let (status, message) = check("gzip").expect_err("an encoding");
        assert_eq!(status, 415);
        assert!(message.contains("gzip"), "{message}");
        let (status, message) = check("<b>").expect_err("an encoding");
        assert!(status == 415 && !message.contains("<b>"), "{message}");
    }

    #[test]
    fn answers_are_json_unless_expressly_refused() {
        let check = |accept: &str| answer_type(&Accept::parse(accept)).ok().map(Answer::media);
        assert_eq!(check(""), Some("application/dicom+json"));
        assert_eq!(check("application/json"), Some("application/json"));
        assert_eq!(check("application/dicom+xml"), Some("application/dicom+xml"));
        assert_eq!(check("text/html"), Some("application/dicom+json"));
        assert_eq!(check("*/*;q=0"), None);
    }
}
