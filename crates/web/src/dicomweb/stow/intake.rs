//! The instances of one request on their way into the archive.
//!
//! Parts are read one after another straight into the archive's spool; parts that are complete are
//! ingested while the next ones arrive, a few at a time, so that they can share a commit.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use qianli_archive::zip::{ZipFiles, ZipLimits};
use qianli_archive::{Format, SpoolWriter};
use qianli_model::{Provenance, Refusal, Route, StudyUid};
use tokio::task::JoinSet;

use super::composite::{Gathering, Purpose};
use super::media::Media;
use super::metadata::{self, Language};
use super::{DICOM, Kept, Outcome};
use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::accept::ContentType;
use crate::dicomweb::multipart::{BodyError, MultipartError, MultipartReader, PartHeaders};
use crate::error::HttpError;

/// Complete parts of one request that are ingested at once.
const INGESTS_AT_ONCE: usize = 4;

/// Most parts of one request. Even an empty part costs an outcome that is kept until the answer, so
/// their number is bounded apart from the bytes of the body.
pub(crate) const MAX_PARTS: usize = 20_000;

/// A client that sends nothing for this long is gone.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// The instances of one request on their way into the archive.
pub(super) struct Intake {
    state: WebState,
    caller: Caller,
    study: Option<StudyUid>,
    running: JoinSet<(usize, Outcome)>,
    /// By position of the part; `None` while it is being ingested.
    outcomes: Vec<Option<Outcome>>,
    /// Some part was larger than what is taken.
    pub(super) oversize: bool,
    /// The body holds more instances than are taken; those after were not read.
    pub(super) too_many: bool,
    /// Files of a zip archive that are not DICOM.
    pub(super) not_dicom: usize,
    /// Parts that were begun.
    parts: usize,
    /// Metadata and bulk values.
    gathering: Option<Gathering>,
}

/// A part being written to the spool.
struct Part {
    spool: SpoolWriter,
    length: u64,
    refused: Option<Refusal>,
}

impl Intake {
    pub(super) fn new(state: WebState, caller: Caller, study: Option<StudyUid>) -> Self {
        let (running, outcomes) = (JoinSet::new(), Vec::new());
        Self {
            state,
            caller,
            study,
            running,
            outcomes,
            oversize: false,
            too_many: false,
            not_dicom: 0,
            parts: 0,
            gathering: None,
        }
    }

    pub(super) async fn single(
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

    pub(super) async fn multipart(
        &mut self,
        body: impl Stream<Item = Result<Bytes, BodyError>> + Unpin,
        boundary: &str,
    ) -> Result<(), HttpError> {
        let mut reader = MultipartReader::new(body, boundary)?;
        loop {
            match self.next_part(&mut reader).await {
                Ok(true) => {}
                Ok(false) => return self.compose().await,
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
        self.parts += 1;
        if self.parts > MAX_PARTS {
            self.too_many = true;
            return Ok(false);
        }
        match self.purpose(&headers) {
            Ok(None) => self.instance(reader).await?,
            Ok(Some(purpose)) => self.gather(purpose, reader).await?,
            Err(refusal) => {
                // The instance that names it is what fails, and only that.
                match (&mut self.gathering, headers.content_location) {
                    (Some(gathering), Some(location)) => gathering.refuse(location, refusal),
                    _ => self.outcomes.push(Some(Err(refusal.into()))),
                }
                while in_time(reader.chunk()).await??.is_some() {}
            }
        }
        Ok(true)
    }

    /// What a part is for; `None` for a DICOM file.
    fn purpose(&self, headers: &PartHeaders) -> Result<Option<Purpose>, Refusal> {
        let Some(text) = &headers.content_type else { return Ok(None) };
        let content_type = ContentType::parse(text);
        let essence = content_type.as_ref().map_or("", |content| content.essence.as_str());
        // A transfer-syntax parameter is legal here; the file meta information decides.
        if essence == DICOM {
            return Ok(None);
        }
        if let Some(language) = Language::of(essence) {
            return Ok(Some(Purpose::Metadata(language)));
        }
        if self.gathering.is_none() {
            return Err(Refusal::CannotUnderstand("the part is not application/dicom".into()));
        }
        let media = Media::of(essence).ok_or_else(|| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/+-._".contains(&b);
            let shown = essence.len() <= 64 && essence.bytes().all(plain);
            let shown = if shown { essence } else { "this media type" };
            Refusal::CannotUnderstand(format!("{shown} is not taken as a bulk value"))
        })?;
        let location = headers.content_location.clone().ok_or_else(|| {
            Refusal::CannotUnderstand("the bulk value has no Content-Location".into())
        })?;
        let syntax = content_type.as_ref().and_then(|content| content.parameter("transfer-syntax"));
        Ok(Some(Purpose::Bulk { location, media, syntax: syntax.map(str::to_owned) }))
    }

    /// Takes in a DICOM file.
    async fn instance<S>(&mut self, reader: &mut MultipartReader<S>) -> Result<(), PartError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        let mut part = self.begin();
        while let Some(chunk) = in_time(reader.chunk()).await?? {
            self.write(&mut part, chunk).await;
        }
        self.end(part).await;
        Ok(())
    }

    /// Keeps metadata or a bulk value until all parts are here.
    async fn gather<S>(
        &mut self,
        purpose: Purpose,
        reader: &mut MultipartReader<S>,
    ) -> Result<(), PartError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        let is_metadata = matches!(purpose, Purpose::Metadata(_));
        let state = &self.state;
        let gathering = self.gathering.get_or_insert_with(|| Gathering::new(state));
        gathering.begin(purpose);
        while let Some(chunk) = in_time(reader.chunk()).await?? {
            if is_metadata {
                gathering.metadata(chunk).await?;
            } else {
                gathering.value(chunk).await?;
            }
        }
        Ok(())
    }

    /// Writes the instances whose metadata and bulk values were gathered.
    async fn compose(&mut self) -> Result<(), HttpError> {
        let Some(gathering) = self.gathering.take() else { return Ok(()) };
        let gathered = gathering.finish().await.map_err(PartError::from)?;
        for (language, range) in &gathered.documents {
            let mut objects = metadata::objects(&gathered.metadata, range.clone(), *language);
            while let Some(object) = objects.recv().await {
                if self.outcomes.len() >= MAX_PARTS {
                    self.too_many = true;
                    return Ok(());
                }
                match object {
                    Ok(json) => match gathered.compose(&self.state, json).await {
                        Ok(made) => self.ingest(made.spool, made.format, made.discarded).await,
                        Err(error) => self.outcomes.push(Some(Err(error))),
                    },
                    Err(message) if self.outcomes.is_empty() => {
                        return Err(HttpError::bad_request(message));
                    }
                    Err(message) => {
                        let refusal = Refusal::CannotUnderstand(message);
                        self.outcomes.push(Some(Err(refusal.into())));
                    }
                }
            }
        }
        for refusal in gathered.refused() {
            self.outcomes.push(Some(Err(refusal.into())));
        }
        for _ in 0..gathered.left_over() {
            let reason = "no BulkDataURI of the metadata names this bulk value";
            self.outcomes.push(Some(Err(Refusal::CannotUnderstand(reason.into()).into())));
        }
        Ok(())
    }

    /// Takes a zip archive in: first to the spool, since its directory is at its end.
    pub(super) async fn zip(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, BodyError>> + Unpin,
    ) -> Result<(), HttpError> {
        let mut spool = self.state.archive().spool();
        while let Some(chunk) = in_time(body.next()).await? {
            spool.write(chunk?).await.map_err(PartError::from)?;
        }
        let held = spool.keep().await.map_err(PartError::from)?;
        let opened = tokio::task::spawn_blocking(move || {
            let limits =
                ZipLimits { max_entries: MAX_PARTS, ..ZipLimits::for_length(held.length()) };
            let mut files = ZipFiles::open(held.reader(), limits)?;
            let entries = files.entries()?;
            Ok::<_, String>((files, entries))
        });
        let opened = opened.await.map_err(HttpError::internal)?;
        let (files, entries) = opened.map_err(HttpError::bad_request)?;
        for entry in entries {
            let mut spool = self.state.archive().spool();
            match files.unpack(entry.index, &mut spool).await {
                Ok(true) => self.ingest(spool, Format::Part10, 0).await,
                Ok(false) => self.not_dicom += 1,
                Err(refusal) => self.outcomes.push(Some(Err(refusal.into()))),
            }
        }
        Ok(())
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
            part.refused = Some(Refusal::TooLarge(max_part));
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
        self.ingest(part.spool, Format::Part10, 0).await;
    }

    /// Starts an ingest, when fewer than [`INGESTS_AT_ONCE`] are running.
    async fn ingest(&mut self, spool: SpoolWriter, format: Format, discarded: usize) {
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
            let stored = archive.ingest_into(&scope, from, spool, format, study.as_ref()).await;
            (index, stored.map(|stored| Kept { stored, discarded }))
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

    pub(super) async fn finish(mut self) -> Vec<Outcome> {
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
    #[error(transparent)]
    Refused(#[from] Refusal),
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
            PartError::Refused(Refusal::OutOfResources(reason)) => Self::too_large(reason),
            PartError::Refused(refused @ Refusal::TooLarge(_)) => {
                Self::too_large(refused.to_string())
            }
            PartError::Refused(error) => Self::unavailable(error.to_string()),
        }
    }
}
