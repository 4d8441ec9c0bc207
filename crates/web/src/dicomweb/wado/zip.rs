//! Objects as one zip archive (PS3.18 section 8.7.3.3, DICOM Supplement 211), written while it is
//! sent: memory depends neither on the objects nor on how many there are, the directory excepted.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_archive::{
    ArchiveError, ConvertError, Deidentified, Opened, Outgoing, Pseudonymous, Workers,
};
use qianli_catalog::types::Location;
use qianli_model::{Scope, SeriesUid, StudyUid, TransferSyntax};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::objects::{Objects, attachment};
use crate::WebState;
use crate::dicomweb::respond::{self, Content};

/// Pixels that shrink at all shrink with the least effort.
const FAST: i64 = 1;

/// The media type.
pub(super) const MEDIA: &str = "application/zip";

/// Answers with an archive of objects.
pub(super) fn answer(
    objects: Objects,
    study: &StudyUid,
    (location, first): (Location, Opened),
    rest: Vec<(Location, TransferSyntax)>,
) -> Response {
    let mut names = Names::new(study);
    let first = Entry { name: names.next(&location), location, what: What::Opened(first) };
    let mut entries = vec![first];
    for (location, to) in rest {
        let name = names.next(&location);
        entries.push(Entry { name, location, what: What::ToOpen(to) });
    }
    let workers = objects.state.archive().workers().clone();
    sent(Opener::AsAsked(objects), workers, entries, study.as_str())
}

/// Answers with an archive of objects without the patient's identity, under the pseudonyms of a
/// project. Those that may show a name are left out.
pub(crate) fn pseudonymous(
    state: &WebState,
    caller: Scope,
    how: Pseudonymous,
    locations: Vec<Location>,
    study: &str,
) -> Response {
    let mut names = Names { study: study.to_owned(), ..Names::default() };
    let entries = locations.into_iter().map(|location| Entry {
        name: names.next(&location),
        what: What::ToOpen(location.transfer_syntax),
        location,
    });
    let entries = entries.collect();
    let workers = state.archive().workers().clone();
    sent(Opener::Pseudonymous(state.clone(), Box::new((caller, how))), workers, entries, study)
}

fn sent(objects: Opener, workers: Workers, entries: Vec<Entry>, study: &str) -> Response {
    let state = Writing {
        objects,
        archive: Some(Archive::new()),
        workers,
        entries: entries.into_iter(),
        content: None,
        ended: false,
    };
    let content = stream::try_unfold(state, |mut state| async move {
        let step = state.step().await?;
        Ok(step.map(|step| (step, state)))
    });
    let mut response = respond::streamed(MEDIA, content.boxed(), None);
    attachment(response.headers_mut(), &format!("{study}.zip"));
    response
}

/// Names of entries: digits and dots only, short, and in the order in which readers show them.
#[derive(Default)]
struct Names {
    study: String,
    series: Option<SeriesUid>,
    series_count: usize,
    instance_count: usize,
}

impl Names {
    fn new(study: &StudyUid) -> Self {
        Self { study: study.to_string(), ..Self::default() }
    }

    /// Objects come series by series, so counting is enough.
    fn next(&mut self, location: &Location) -> String {
        if self.series.as_ref() != Some(&location.series) {
            self.series = Some(location.series.clone());
            self.series_count += 1;
            self.instance_count = 0;
        }
        self.instance_count += 1;
        let Self { study, series_count, instance_count, .. } = self;
        format!("{study}/{series_count:03}/{instance_count:05}.dcm")
    }
}

struct Entry {
    name: String,
    location: Location,
    what: What,
}

enum What {
    Opened(Opened),
    ToOpen(TransferSyntax),
}

/// How objects are opened.
enum Opener {
    AsAsked(Objects),
    Pseudonymous(WebState, Box<(Scope, Pseudonymous)>),
}

impl Opener {
    /// `None` for an object that stays.
    async fn open(
        &self,
        location: &Location,
        to: TransferSyntax,
    ) -> Result<Option<Opened>, ArchiveError> {
        match self {
            Self::AsAsked(objects) => objects.open_later(location, to).await.map(Some),
            Self::Pseudonymous(state, by) => {
                let (scope, how) = by.as_ref();
                let opened = state.archive().open_deidentified(scope, location, how).await;
                match opened {
                    Ok(Deidentified::LeftOut(_)) => Ok(None),
                    Ok(Deidentified::Object(Outgoing { content, syntax, .. })) => {
                        Ok(Some(Opened { content, length: None, syntax }))
                    }
                    Err(ConvertError::Archive(error)) => Err(error),
                    Err(other) => Err(ArchiveError::Damaged(other.to_string())),
                }
            }
        }
    }
}

/// The archive on its way.
struct Writing {
    objects: Opener,
    archive: Option<Archive>,
    workers: Workers,
    entries: std::vec::IntoIter<Entry>,
    /// What is left of the entry at hand.
    content: Option<Content>,
    ended: bool,
}

impl Writing {
    /// The next bytes, or `None` after the last.
    async fn step(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        while !self.ended {
            let out = match self.next_content().await? {
                Some(bytes) => self.with_archive(move |archive| archive.write(&bytes)).await?,
                None => match self.entries.next() {
                    Some(entry) => self.start(entry).await?,
                    None => {
                        self.ended = true;
                        self.with_archive(Archive::finish).await?
                    }
                },
            };
            // The compressor keeps small things back.
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }

    async fn next_content(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        let Some(content) = &mut self.content else { return Ok(None) };
        let next = content.next().await.transpose()?;
        if next.is_none() {
            self.content = None;
        }
        Ok(next)
    }

    async fn start(&mut self, entry: Entry) -> Result<Vec<u8>, ArchiveError> {
        let Entry { name, location, what } = entry;
        let opened = match what {
            What::Opened(opened) => opened,
            What::ToOpen(to) => match self.objects.open(&location, to).await? {
                Some(opened) => opened,
                None => return Ok(Vec::new()),
            },
        };
        // Without knowing better: what is written may exceed 4 GiB.
        let large = opened.length.is_none_or(|length| length >= u64::from(u32::MAX));
        self.content = Some(opened.content);
        self.with_archive(move |archive| archive.start(&name, large)).await
    }

    /// Lends the archive to a blocking thread, since compressing is work.
    async fn with_archive<F>(&mut self, work: F) -> Result<Vec<u8>, ArchiveError>
    where
        F: FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
    {
        let failed = |cause: &dyn std::fmt::Display| {
            ArchiveError::Damaged(format!("the zip archive cannot be written: {cause}"))
        };
        let Some(mut archive) = self.archive.take() else { return Err(failed(&"it was lost")) };
        let done = self.workers.step(move || {
            let result = work(&mut archive);
            let out = archive.take();
            (archive, result, out)
        });
        let (archive, result, out) = done.await.map_err(|error| failed(&error))?;
        self.archive = Some(archive);
        result.map_err(|error| failed(&error))?;
        Ok(out)
    }
}

/// A zip archive and what was written of it.
struct Archive {
    writer: Option<ZipWriter<StreamWriter<Written>>>,
    written: Written,
}

/// Bytes that the archive's writer puts down and the answer picks up.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Archive {
    fn new() -> Self {
        let written = Written::default();
        Self { writer: Some(ZipWriter::new_stream(written.clone())), written }
    }

    /// Starts an entry. Its sizes follow it, so it must be "deflated" even where nothing is
    /// compressed: many readers cannot find the end of a stored entry.
    fn start(&mut self, name: &str, large: bool) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(FAST))
            .large_file(large);
        self.writer()?.start_file(name, options).map_err(io::Error::other)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer()?.write_all(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.writer.take() {
            Some(writer) => writer.finish().map(drop).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn take(&self) -> Vec<u8> {
        mem::take(&mut *self.written.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn writer(&mut self) -> io::Result<&mut ZipWriter<StreamWriter<Written>>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the archive is finished"))
    }
}
