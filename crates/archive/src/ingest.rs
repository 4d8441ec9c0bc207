//! The one way in: spool, header, admit, blob, record, acknowledge (DESIGN section 4).

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use qianli_catalog::Copied;
use qianli_catalog::types::{NewInstance, Recorded};
use qianli_model::charset::{Knowledge, TextEncoding};
use qianli_model::dataset::{DataSetError, Limits, ReaderSource, Source};
use qianli_model::file_meta::{self, FileMeta};
use qianli_model::header::{HeaderError, Warning};
use qianli_model::peer::Coercions;
use qianli_model::{
    InstanceHeader, Provenance, Refusal, Route, Scope, SeriesUid, SopClassUid, SopInstanceUid,
    StudyUid, TransferSyntax,
};

use crate::admit::admit;
use crate::error::IngestError;
use crate::key::blob_key;
use crate::parsing::{self, HeaderSize, Parsing};
use crate::spool::{Content, SpoolReader, SpoolWriter, Spooled, reopen};
use crate::{Archive, ArchiveConfig, BlobError, Memory, Sender, in_time};

/// What the spooled bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A DICOM file (PS3.10), with whatever preamble and file meta information it has.
    Part10,
    /// A bare data set, as C-STORE carries it.
    DataSet {
        /// How it is encoded.
        transfer_syntax: TransferSyntax,
        /// Affected SOP Class UID of the request.
        sop_class: String,
        /// Affected SOP Instance UID of the request.
        sop_instance: String,
    },
}

/// An instance that is safe: durable blob, committed rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its study.
    pub study: StudyUid,
    /// Its series.
    pub series: SeriesUid,
    /// Its SOP class.
    pub sop_class: SopClassUid,
    /// Its SOP Instance UID.
    pub instance: SopInstanceUid,
    /// Whether it is new.
    pub outcome: Recorded,
    /// Oddities found while reading it.
    pub warnings: Vec<Warning>,
    /// Bytes received.
    pub size: u64,
}

/// What was learnt from a spooled object.
pub(crate) struct Parsed {
    pub(crate) header: InstanceHeader,
    /// Offset of the data set in the spooled bytes.
    pub(crate) data_set_offset: u64,
    pub(crate) content_hash: String,
    /// Source AE title of the file meta information, when it had one.
    source_ae: Option<String>,
    /// What is set aside for a header that is larger than most.
    pub(crate) memory: Option<Memory>,
}

impl Archive {
    /// Starts to take an object in. Dropping the writer undoes everything.
    pub fn spool(&self) -> SpoolWriter {
        self.0.spool.start()
    }

    /// Keeps an instance. When this returns `Ok`, a crash of every process or the loss of power
    /// cannot lose it, and queries find it.
    ///
    /// # Errors
    ///
    /// The refusal that the sender gets, with the UIDs as far as they were learnt. Nothing of the
    /// object stays, or it stays as an orphan blob that the sweep removes.
    pub async fn ingest(
        &self,
        scope: &Scope,
        from: Provenance,
        spool: SpoolWriter,
        format: Format,
    ) -> Result<Stored, IngestError> {
        self.ingest_into(scope, from, spool, format, None).await
    }

    /// Keeps an instance like [`Self::ingest`], but only when it belongs to `study`, if one is
    /// given: STOW-RS can name the study in its URL (PS3.18 section 10.5.1).
    ///
    /// # Errors
    ///
    /// As [`Self::ingest`].
    pub async fn ingest_into(
        &self,
        scope: &Scope,
        from: Provenance,
        spool: SpoolWriter,
        format: Format,
        study: Option<&StudyUid>,
    ) -> Result<Stored, IngestError> {
        let started = Instant::now();
        let route = from.route.as_str();
        let result = self.ingest_spooled(scope, from, spool, &format, study).await;
        let result = result.map_err(|error| with_promised_uids(error, &format));
        let outcome = match &result {
            Ok(stored) => match stored.outcome {
                Recorded::Stored { .. } => "stored",
                Recorded::Superseded { .. } => "superseded",
                Recorded::AlreadyHere | Recorded::RefusedDuplicate => "already_here",
            },
            Err(_) => "refused",
        };
        metrics::counter!("qianli_ingest_total", "route" => route, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("qianli_ingest_seconds", "route" => route).record(started.elapsed());
        result
    }

    async fn ingest_spooled(
        &self,
        scope: &Scope,
        from: Provenance,
        spool: SpoolWriter,
        format: &Format,
        expected_study: Option<&StudyUid>,
    ) -> Result<Stored, IngestError> {
        let config = &self.0.config;
        let spooled = spool.finish().await?;
        let reading = Reading::of(config, &from);
        let (spooled, parsed) = parse(&self.0.parsing, spooled, format, reading).await?;
        let size = spooled.length;
        // Held until the header is in the catalog.
        let Parsed { header, data_set_offset, content_hash, source_ae, memory: _memory } = parsed;
        let (study, series) = (&header.study_uid.clone(), &header.series_uid.clone());
        let (class, instance) = (&header.sop_class_uid.clone(), &header.sop_instance_uid.clone());
        let warnings = header.warnings.clone();
        let known_uids = |refusal: Refusal| IngestError {
            refusal,
            sop_class: Some(class.to_string()),
            sop_instance: Some(instance.to_string()),
            study: Some(study.to_string()),
        };
        let stored = |outcome| Stored {
            study: study.clone(),
            series: series.clone(),
            sop_class: class.clone(),
            instance: instance.clone(),
            outcome,
            warnings: warnings.clone(),
            size,
        };

        admit(config.sop_classes, format, &header).map_err(known_uids)?;
        if expected_study.is_some_and(|expected| expected != study) {
            return Err(known_uids(Refusal::DoesNotMatchSopClass(
                "its Study Instance UID differs from the request's".into(),
            )));
        }

        let resent = (scope.tenant(), series.clone());
        if self.0.resent.get(&resent).is_some() {
            match in_time(self.0.catalog.known(scope, study, series, instance)).await {
                Ok(Some(row)) if row.content_hash == content_hash => {
                    match self.is_whole(&row).await {
                        Ok(true) => return Ok(stored(Recorded::AlreadyHere)),
                        // What is written now takes its place below.
                        Ok(false) => {}
                        Err(error) => {
                            tracing::error!(%error, "the blob store could not be asked");
                            return Err(known_uids(Refusal::StorageFailed));
                        }
                    }
                }
                Ok(_) => drop(self.0.resent.remove(&resent)),
                Err(error) => {
                    tracing::error!(%error, "the catalog could not be asked for a known instance");
                    return Err(known_uids(Refusal::StorageFailed));
                }
            }
        }

        let source_ae = from.calling_ae.as_deref().or(source_ae.as_deref());
        // Beside the bytes of the data set, so that the index can be made again of the object alone.
        let coerced = from.coercions.as_ref().map(|known| known.to_text()).unwrap_or_default();
        let meta = Bytes::from(file_meta::write_with(
            class.as_str(),
            instance.as_str(),
            header.transfer_syntax,
            source_ae,
            &coerced,
        ));
        let meta_length = meta.len() as u64;
        let key = blob_key(scope, &header, &content_hash);
        // Nobody should wait for the blob of a large object.
        let announced = (!spooled.is_file()).then(|| self.0.catalog.announce());
        self.put(&key, meta, &spooled, data_set_offset).await.map_err(|error| {
            tracing::error!(%error, sop_instance = %instance, "the blob store did not take an object");
            known_uids(match error {
                BlobError::Full => Refusal::OutOfResources("the blob store is full".into()),
                _ => Refusal::StorageFailed,
            })
        })?;

        let copy = Copied {
            blob_key: key.clone(),
            blob_size: meta_length + size - data_set_offset,
            data_set_offset: meta_length,
        };
        let new = NewInstance {
            header,
            blob_key: key.clone(),
            content_hash: content_hash.clone(),
            blob_size: copy.blob_size,
            data_set_offset: copy.data_set_offset,
            provenance: from,
            received_ms: now_ms(),
            policy: config.duplicates,
        };
        drop(spooled);
        // After a failed record the blob stays: the commit may have happened without our hearing of
        // it. If it did not, the sweep finds the orphan.
        let recorded = self.0.catalog.record_announced(scope, new, announced).await;
        let outcome = recorded.map_err(|error| {
            tracing::error!(%error, sop_instance = %instance, "the catalog did not record an instance");
            known_uids(Refusal::StorageFailed)
        })?;
        match outcome {
            Recorded::Stored { .. } => {}
            Recorded::Superseded { .. } => self.0.details.forget(scope, study, series, instance),
            // It was here, or another sender was faster: our copy has no row. Whoever sends one
            // instance again sends the whole series again; the next ones are asked for first.
            Recorded::AlreadyHere | Recorded::RefusedDuplicate => {
                self.0.resent.insert(resent, ());
                let uids = (study, series, instance);
                if outcome == Recorded::AlreadyHere
                    && self.heal(scope, uids, &content_hash, &copy).await.map_err(|error| {
                        tracing::error!(%error, "it is not sure that a known instance is here");
                        known_uids(Refusal::StorageFailed)
                    })?
                {
                    return Ok(stored(outcome));
                }
                if let Err(error) = self.0.blobs.delete(&key).await {
                    tracing::warn!(%error, key, "a needless copy stays until the next sweep");
                }
            }
        }
        if outcome == Recorded::RefusedDuplicate {
            return Err(known_uids(Refusal::DuplicateWithOtherContent));
        }
        Ok(stored(outcome))
    }

    async fn put(
        &self,
        key: &str,
        meta: Bytes,
        spooled: &Spooled,
        data_set_offset: u64,
    ) -> Result<(), BlobError> {
        if let Content::File(file) = &spooled.content {
            let body = reopen(file, data_set_offset)?;
            return self.0.blobs.put_file(key, meta, body).await;
        }
        let mut parts = spooled.chunks_from(data_set_offset).unwrap_or_default();
        parts.insert(0, meta);
        self.0.blobs.put(key, parts).await
    }
}

/// Fills in what the request named when the data set could not be read that far.
fn with_promised_uids(mut error: IngestError, format: &Format) -> IngestError {
    if let Format::DataSet { sop_class, sop_instance, .. } = format {
        error.sop_class.get_or_insert_with(|| sop_class.clone());
        error.sop_instance.get_or_insert_with(|| sop_instance.clone());
    }
    error
}

/// How an object of one sender is read.
#[derive(Clone)]
pub(crate) struct Reading {
    limits: Limits,
    mislabelled: Vec<(Sender, TextEncoding)>,
    calling_ae: Option<String>,
    peer: String,
    coercions: Option<Arc<Coercions>>,
    /// What our own file meta information says of coercions counts: the object comes from our store.
    is_ours: bool,
}

impl Reading {
    pub(crate) fn of(config: &ArchiveConfig, from: &Provenance) -> Self {
        Self {
            limits: config.limits.clone(),
            mislabelled: config.mislabelled.clone(),
            calling_ae: from.calling_ae.clone(),
            peer: from.peer.clone(),
            coercions: from.coercions.clone(),
            is_ours: from.route == Route::Rebuild,
        }
    }

    /// The limits, with what is known of the sender's text. `source_ae` is what a file says of its
    /// origin; a caller's own title counts before it.
    fn limits(&self, meta: Option<&FileMeta>) -> Limits {
        let source_ae = meta.and_then(|meta| meta.source_ae.as_deref());
        let ae = self.calling_ae.as_deref().or(source_ae);
        let known = match meta {
            Some(meta) if self.is_ours => kept(meta).map(Arc::new),
            _ => self.coercions.clone(),
        };
        let rule = self.mislabelled.iter().find(|(sender, _)| sender.is(ae, &self.peer));
        // What the register says of a peer goes before the settings.
        let (undeclared, instead) =
            known.as_ref().map_or((None, None), |one| (one.charset, one.charset_instead));
        let text = Knowledge {
            undeclared,
            mislabelled: instead.or(rule.map(|&(_, encoding)| encoding)),
            ..self.limits.text
        };
        Limits { text, known, ..self.limits.clone() }
    }
}

/// How an object of our store was read when it came.
fn kept(meta: &FileMeta) -> Option<Coercions> {
    let ours = meta.private_creator.as_deref() == Some(file_meta::IMPLEMENTATION_CLASS_UID);
    let text = meta.private.as_deref().filter(|_| ours)?;
    let read = Coercions::from_text(text);
    if read.is_none() {
        tracing::warn!("an object says in a way that is not known here how it is to be read");
    }
    read
}

/// Reads header and hash, on a blocking thread where it may take long. Most headers are small; one
/// that turns out not to be is read again, more slowly in a crowd, see [`Parsing`].
pub(crate) async fn parse(
    parsing: &Parsing,
    mut spooled: Spooled,
    format: &Format,
    reading: Reading,
) -> Result<(Spooled, Parsed), IngestError> {
    let deflated =
        matches!(format, Format::DataSet { transfer_syntax, .. } if transfer_syntax.is_deflated());
    let in_place = !spooled.is_file() && !deflated && *format != Format::Part10;
    for size in HeaderSize::ALL {
        let mut memory = parsing.reserve(size).await?;
        let limits = size.limits(&reading.limits);
        let reading = Reading { limits, ..reading.clone() };
        let read = if in_place && size == HeaderSize::Small {
            read(&spooled, format, &reading)
        } else {
            let format = format.clone();
            let task = tokio::task::spawn_blocking(move || {
                let read = read(&spooled, &format, &reading);
                (spooled, read)
            });
            let lost = "reading the data set failed in an unexpected way";
            let done = task.await.map_err(|_| Refusal::CannotUnderstand(lost.into()))?;
            spooled = done.0;
            done.1
        };
        match read {
            Ok(mut parsed) => {
                if let Some(memory) = &mut memory {
                    memory.shrink(parsing::weight(&parsed.header));
                }
                parsed.memory = memory;
                return Ok((spooled, parsed));
            }
            Err(unread) if unread.is_limit && size != HeaderSize::Large => {}
            Err(unread) => return Err(unread.error),
        }
    }
    Err(Refusal::CannotUnderstand("the header is too large".into()).into())
}

/// Why a header could not be read.
struct Unread {
    error: IngestError,
    /// One of [`Limits`] was exceeded.
    is_limit: bool,
}

impl From<IngestError> for Unread {
    fn from(error: IngestError) -> Self {
        Self { error, is_limit: false }
    }
}

fn read(spooled: &Spooled, format: &Format, reading: &Reading) -> Result<Parsed, Unread> {
    let (syntax, data_set_offset, meta) = match format {
        Format::DataSet { transfer_syntax, .. } => (*transfer_syntax, 0, None),
        Format::Part10 => {
            let meta = read_meta(spooled)?;
            let syntax = meta.transfer_syntax.ok_or_else(|| {
                Refusal::TransferSyntaxNotSupported(meta.transfer_syntax_uid.clone())
            });
            (syntax.map_err(|refusal| meta_uids(refusal, &meta))?, meta.data_set_offset, Some(meta))
        }
    };
    let limits = reading.limits(meta.as_ref());
    let header = read_header(spooled, data_set_offset, syntax, &limits).map_err(|error| {
        let is_limit = matches!(error, HeaderError::DataSet(DataSetError::Limit { .. }));
        let refusal = match error {
            HeaderError::Refused(refusal) => refusal,
            HeaderError::DataSet(error) => Refusal::CannotUnderstand(error.to_string()),
        };
        let error = match &meta {
            Some(meta) => meta_uids(refusal, meta),
            None => refusal.into(),
        };
        Unread { error, is_limit }
    })?;
    let content_hash = hash(spooled, data_set_offset, syntax).map_err(spool_failed)?;
    let source_ae = meta.and_then(|meta| meta.source_ae);
    Ok(Parsed { header, data_set_offset, content_hash, source_ae, memory: None })
}

/// A refusal with the UIDs that the file meta information claims.
fn meta_uids(refusal: Refusal, meta: &FileMeta) -> IngestError {
    IngestError {
        refusal,
        sop_class: meta.media_storage_sop_class.clone(),
        sop_instance: meta.media_storage_sop_instance.clone(),
        study: None,
    }
}

fn read_meta(spooled: &Spooled) -> Result<FileMeta, IngestError> {
    let read = match spooled.reader().map_err(spool_failed)? {
        SpoolReader::Memory(mut source) => file_meta::read(&mut source),
        SpoolReader::File(file) => {
            let mut source = ReaderSource::new(file).map_err(spool_failed)?;
            file_meta::read(&mut source)
        }
    };
    read.map_err(|error| Refusal::CannotUnderstand(error.to_string()).into())
}

fn read_header(
    spooled: &Spooled,
    offset: u64,
    syntax: TransferSyntax,
    limits: &Limits,
) -> Result<InstanceHeader, HeaderError> {
    let fail = |error: io::Error| {
        tracing::error!(%error, "a spooled object could not be read back");
        Refusal::StorageFailed
    };
    match spooled.reader().map_err(fail)? {
        SpoolReader::Memory(mut source) => {
            source.skip(offset).map_err(fail)?;
            InstanceHeader::read(&mut source, syntax, limits)
        }
        SpoolReader::File(file) => {
            let mut source = ReaderSource::new(file).map_err(fail)?;
            source.skip(offset).map_err(fail)?;
            InstanceHeader::read(&mut source, syntax, limits)
        }
    }
}

/// BLAKE3 over the transfer syntax and the data set, so that the same instance by another route
/// (with other file meta information) is the same content.
fn hash(spooled: &Spooled, offset: u64, syntax: TransferSyntax) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(syntax.uid().as_bytes()).update(&[0]);
    match spooled.chunks_from(offset) {
        Some(chunks) => chunks.iter().for_each(|chunk| {
            hasher.update(chunk);
        }),
        None => {
            let mut reader = spooled.reader()?;
            io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    count => hasher.update(buffer.get(..count).unwrap_or(&[])),
                };
            }
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn spool_failed(error: io::Error) -> IngestError {
    tracing::error!(%error, "a spooled object could not be read back");
    Refusal::StorageFailed.into()
}

/// Milliseconds since 1970-01-01T00:00Z.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
