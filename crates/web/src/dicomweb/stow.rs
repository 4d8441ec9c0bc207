//! STOW-RS (PS3.18 section 10.5): instances coming in over HTTP.
//!
//! Parts are read one after another straight into the archive's spool; parts that are complete are
//! ingested while the next ones arrive, a few at a time, so that they can share a commit.

mod answer;

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use qianli_archive::{Format, IngestError, SpoolWriter, Stored};
use qianli_model::{Provenance, Refusal, Route, StudyUid};
use tokio::task::JoinSet;

use self::answer::Report;
use super::accept::{Accept, ContentType, Offer};
use super::multipart::{BodyError, MultipartError, MultipartReader};
use super::path::At;
use super::respond;
use super::routes::{self, route};
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;

const DICOM: &str = "application/dicom";

/// Complete parts of one request that are ingested at once.
const INGESTS_AT_ONCE: usize = 4;

/// Most parts of one request. Even an empty part costs an outcome that is kept until the answer, so
/// their number is bounded apart from the bytes of the body.
pub(crate) const MAX_PARTS: usize = 20_000;

/// A client that sends nothing for this long is gone.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// Bodies that are taken.
const TAKES: &[&str] = &["multipart/related; type=\"application/dicom\"", DICOM];

/// Routes of the store.
pub(crate) const ROUTES: &[routes::Route] = &[
    route!(Post "/studies" => store, "10.5",
        ["Store instances", "存储实例"], takes TAKES, gives &[respond::DICOM_JSON]),
    route!(Post "/studies/{study}" => store_into, "10.5",
        ["Store instances of one study", "存储某检查的实例"],
        takes TAKES, gives &[respond::DICOM_JSON]),
];

/// What became of one part.
pub(super) type Outcome = Result<Stored, IngestError>;

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
    let media = answer_type(&Accept::of(&headers, query.as_deref()))?;
    check_encoding(&headers)?;
    let kind = BodyKind::of(&headers)?;
    let max_body = state.config().max_body;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_body) {
        return Err(BodyError::TooLarge.into());
    }

    let mut intake = Intake::new(state, caller, study.clone());
    let body = limited(body.into_data_stream(), max_body);
    match kind {
        BodyKind::Single => intake.single(body).await?,
        BodyKind::Multipart { boundary } => intake.multipart(body, &boundary).await?,
    }
    let max_part = intake.state.config().max_part_size;
    let (only_oversize, too_many) = (intake.oversize, intake.too_many);
    let outcomes = intake.finish().await;
    if outcomes.is_empty() {
        return Err(HttpError::bad_request("the body holds no part"));
    }
    if only_oversize && outcomes.iter().all(Result::is_err) {
        let message = format!("an instance is larger than {max_part} bytes, the limit here");
        return Err(HttpError::too_large(message));
    }
    let report = Report::new(outcomes);
    if too_many {
        let message = format!(
            "a request may hold {MAX_PARTS} parts; the first {MAX_PARTS} were taken as they came, \
             nothing after them was read: send again in several requests"
        );
        return Err(HttpError::too_large(message));
    }
    Ok(report.answer(&base, study.as_ref(), media))
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

/// The answer is JSON; only a client that expressly takes none is turned away. Others that ask for
/// XML get JSON rather than no word about what was stored.
fn answer_type(accept: &Accept) -> Result<&'static str, HttpError> {
    match respond::json_type(accept) {
        Ok(media) => Ok(media),
        Err(error) if accept.refuses(&Offer::plain(respond::DICOM_JSON)) => Err(error),
        Err(_) => Ok(respond::DICOM_JSON),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum BodyKind {
    Single,
    Multipart { boundary: String },
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> Result<Self, HttpError> {
        let unsupported = || {
            HttpError::unsupported_media_type(
                "taken here: multipart/related; type=\"application/dicom\", application/dicom",
            )
        };
        let text = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(unsupported)?;
        let content_type = ContentType::parse(text).ok_or_else(unsupported)?;
        match content_type.essence.as_str() {
            DICOM => Ok(Self::Single),
            "multipart/related" => {
                // Some clients leave the type out; the parts say it again.
                let of_dicom =
                    content_type.parameter("type").is_none_or(|t| t.eq_ignore_ascii_case(DICOM));
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

/// The instances of one request on their way into the archive.
struct Intake {
    state: WebState,
    caller: Caller,
    study: Option<StudyUid>,
    running: JoinSet<(usize, Outcome)>,
    /// By position of the part; `None` while it is being ingested.
    outcomes: Vec<Option<Outcome>>,
    /// Some part was larger than what is taken.
    oversize: bool,
    /// The body holds more parts than are taken; those after were not read.
    too_many: bool,
}

/// A part being written to the spool.
struct Part {
    spool: SpoolWriter,
    length: u64,
    refused: Option<Refusal>,
}

impl Intake {
    fn new(state: WebState, caller: Caller, study: Option<StudyUid>) -> Self {
        let (running, outcomes) = (JoinSet::new(), Vec::new());
        Self { state, caller, study, running, outcomes, oversize: false, too_many: false }
    }

    async fn single(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, BodyError>> + Unpin,
    ) -> Result<(), HttpError> {
        let mut part = self.begin();
        while let Some(chunk) = in_time(body.next()).await? {
            self.write(&mut part, chunk?).await;
        }
        if part.length == 0 {
            return Err(HttpError::bad_request("the body is empty"));
        }
        self.end(part).await;
        Ok(())
    }

    async fn multipart(
        &mut self,
        body: impl Stream<Item = Result<Bytes, BodyError>> + Unpin,
        boundary: &str,
    ) -> Result<(), HttpError> {
        let mut reader = MultipartReader::new(body, boundary)?;
        loop {
            match self.next_part(&mut reader).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // What was complete before the body broke off is stored; the client gets to know.
                Err(PartError::Multipart(error))
                    if error.is_malformed() && !self.outcomes.is_empty() =>
                {
                    let refusal = Refusal::CannotUnderstand(error.to_string());
                    self.outcomes.push(Some(Err(refusal.into())));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes one part in; false after the last.
    async fn next_part<S>(&mut self, reader: &mut MultipartReader<S>) -> Result<bool, PartError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        let Some(headers) = in_time(reader.next_part()).await?? else { return Ok(false) };
        if self.outcomes.len() >= MAX_PARTS {
            self.too_many = true;
            return Ok(false);
        }
        let mut part = self.begin();
        // A transfer-syntax parameter is legal here; the file meta information decides.
        let content_type = headers.content_type.as_deref().map(ContentType::parse);
        if let Some(content_type) = content_type
            && content_type.is_none_or(|t| t.essence != DICOM)
        {
            let refusal = Refusal::CannotUnderstand("the part is not application/dicom".into());
            part.refused = Some(refusal);
        }
        while let Some(chunk) = in_time(reader.chunk()).await?? {
            self.write(&mut part, chunk).await;
        }
        self.end(part).await;
        Ok(true)
    }

    fn begin(&self) -> Part {
        Part { spool: self.state.archive().spool(), length: 0, refused: None }
    }

    /// Writes a chunk, or drops it when the part is refused already: the next part still counts.
    async fn write(&mut self, part: &mut Part, chunk: Bytes) {
        part.length = part.length.saturating_add(chunk.len() as u64);
        if part.refused.is_some() {
            return;
        }
        let max_part = self.state.config().max_part_size;
        if part.length > max_part {
            self.oversize = true;
            let reason = format!("the instance is larger than {max_part} bytes, the limit here");
            part.refused = Some(Refusal::OutOfResources(reason));
            part.spool = self.state.archive().spool();
            return;
        }
        if let Err(refusal) = part.spool.write(chunk).await {
            part.refused = Some(refusal);
            part.spool = self.state.archive().spool();
        }
    }

    async fn end(&mut self, part: Part) {
        if let Some(refusal) = part.refused {
            self.outcomes.push(Some(Err(refusal.into())));
            return;
        }
        while self.running.len() >= INGESTS_AT_ONCE {
            self.collect().await;
        }
        let index = self.outcomes.len();
        self.outcomes.push(None);
        let archive = self.state.archive().clone();
        let scope = self.caller.scope.clone();
        let from = Provenance::new(Route::Stow, self.caller.peer.clone());
        let study = self.study.clone();
        self.running.spawn(async move {
            let expected = study.as_ref();
            let spool = part.spool;
            (index, archive.ingest_into(&scope, from, spool, Format::Part10, expected).await)
        });
    }

    /// Waits for one ingest; false when none is running.
    async fn collect(&mut self) -> bool {
        match self.running.join_next().await {
            None => false,
            Some(Ok((index, outcome))) => {
                if let Some(slot) = self.outcomes.get_mut(index) {
                    *slot = Some(outcome);
                }
                true
            }
            Some(Err(cause)) => {
                tracing::error!(%cause, "an ingest task was lost");
                true
            }
        }
    }

    async fn finish(mut self) -> Vec<Outcome> {
        while self.collect().await {}
        let lost = || Err(Refusal::StorageFailed.into());
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
    }
}

#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error(transparent)]
    Multipart(#[from] MultipartError),
    #[error("no bytes arrived for {} seconds", STALL.as_secs())]
    Stalled(#[from] Stalled),
}

#[derive(Debug, thiserror::Error)]
#[error("the client stopped sending")]
struct Stalled;

async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, Stalled> {
    tokio::time::timeout(STALL, step).await.map_err(|_| Stalled)
}

impl From<Stalled> for HttpError {
    fn from(error: Stalled) -> Self {
        Self::new(axum::http::StatusCode::REQUEST_TIMEOUT, error.to_string())
    }
}

impl From<BodyError> for HttpError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(error.to_string()),
            BodyError::Lost => Self::bad_request(error.to_string()),
        }
    }
}

impl From<MultipartError> for HttpError {
    fn from(error: MultipartError) -> Self {
        match error {
            MultipartError::Body(error) => error.into(),
            error => Self::bad_request(error.to_string()),
        }
    }
}

impl From<PartError> for HttpError {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Multipart(error) => error.into(),
            PartError::Stalled(error) => error.into(),
        }
    }
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
            ("multipart/related; type=application/dicom+json; boundary=ab", Err(415)),
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
        let check = |accept: &str| answer_type(&Accept::parse(accept)).ok();
        assert_eq!(check(""), Some("application/dicom+json"));
        assert_eq!(check("application/json"), Some("application/json"));
        assert_eq!(check("application/dicom+xml"), Some("application/dicom+json"));
        assert_eq!(check("*/*;q=0"), None);
    }
}
