//! Instances that come as metadata and bulk values (PS3.18 section 10.5.1.4): the parts are spooled,
//! then each data set is written with its values copied in between and goes through the same ingest
//! as any other.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use qianli_archive::{Format, Held, IngestError, SpoolWriter};
use qianli_model::dataset::Limits;
use qianli_model::write::{self, Bulk, Part, Piece, Strictness};
use qianli_model::{Refusal, TransferSyntax};
use serde_json::{Map, Value};

use super::fill;
use super::media::{self, Media};
use super::metadata::Language;
use super::pixels::{self, Pixels};
use crate::WebState;

/// Most bytes of metadata in one request.
const MAX_METADATA: u64 = 256 << 20;

/// What a part of the body is for, as its headers say.
pub(super) enum Purpose {
    /// Data sets without their bulk values.
    Metadata(Language),
    /// A bulk value.
    Bulk {
        /// Its name: what BulkDataURI says.
        location: String,
        media: Media,
        syntax: Option<String>,
    },
}

/// The parts of a request on their way in.
pub(super) struct Gathering {
    metadata: SpoolWriter,
    documents: Vec<(Language, Range<u64>)>,
    values: SpoolWriter,
    parts: Vec<BulkPart>,
    refused: Vec<RefusedPart>,
}

/// A bulk part that is not taken: what it belongs to cannot be written.
struct RefusedPart {
    location: String,
    refusal: Refusal,
    /// Some data set wanted it.
    used: AtomicBool,
}

/// A bulk part in the spool of all.
pub(super) struct BulkPart {
    pub(super) media: Media,
    pub(super) syntax: Option<String>,
    pub(super) range: Range<u64>,
    location: String,
    /// Some data set holds it.
    used: AtomicBool,
}

impl Gathering {
    pub(super) fn new(state: &WebState) -> Self {
        let spool = || state.archive().spool();
        let (metadata, values) = (spool(), spool());
        let (documents, parts, refused) = (Vec::new(), Vec::new(), Vec::new());
        Self { metadata, documents, values, parts, refused }
    }

    /// Remembers why a part is not taken, for the instance that names it.
    pub(super) fn refuse(&mut self, location: String, refusal: Refusal) {
        self.refused.push(RefusedPart { location, refusal, used: AtomicBool::new(false) });
    }

    /// Starts a part.
    pub(super) fn begin(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Metadata(language) => {
                let start = self.metadata.length();
                self.documents.push((language, start..start));
            }
            Purpose::Bulk { location, media, syntax } => {
                let start = self.values.length();
                let (range, used) = (start..start, AtomicBool::new(false));
                self.parts.push(BulkPart { media, syntax, range, location, used });
            }
        }
    }

    /// Adds to the metadata part that was begun last.
    pub(super) async fn metadata(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        self.metadata.write(chunk).await?;
        let end = self.metadata.length();
        if end > MAX_METADATA {
            let reason = format!("the metadata is longer than {MAX_METADATA} bytes");
            return Err(Refusal::OutOfResources(reason));
        }
        if let Some((_, range)) = self.documents.last_mut() {
            range.end = end;
        }
        Ok(())
    }

    /// Adds to the bulk part that was begun last.
    pub(super) async fn value(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        self.values.write(chunk).await?;
        if let Some(part) = self.parts.last_mut() {
            part.range.end = self.values.length();
        }
        Ok(())
    }

    /// Ends the gathering.
    pub(super) async fn finish(self) -> Result<Gathered, Refusal> {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, part) in self.parts.iter().enumerate() {
            places.entry(part.location.clone()).or_default().push(index);
        }
        Ok(Gathered {
            metadata: self.metadata.keep().await?,
            documents: self.documents,
            values: self.values.keep().await?,
            parts: self.parts,
            refused: self.refused,
            places,
        })
    }
}

/// The parts of a request, all here.
pub(super) struct Gathered {
    pub(super) metadata: Held,
    pub(super) documents: Vec<(Language, Range<u64>)>,
    pub(super) values: Held,
    pub(super) parts: Vec<BulkPart>,
    refused: Vec<RefusedPart>,
    places: HashMap<String, Vec<usize>>,
}

/// An instance, written.
pub(super) struct Composed {
    pub(super) spool: SpoolWriter,
    pub(super) format: Format,
    /// How many attributes were left out because their values could not be written.
    pub(super) discarded: usize,
}

impl BulkPart {
    fn hold(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

impl Gathered {
    /// How many bulk values no data set named: they are kept nowhere.
    pub(super) fn left_over(&self) -> usize {
        self.parts.iter().filter(|part| !part.used.load(Ordering::Relaxed)).count()
    }

    /// Why parts were not taken that no data set named either.
    pub(super) fn refused(&self) -> impl Iterator<Item = Refusal> {
        let unused = |part: &&RefusedPart| !part.used.load(Ordering::Relaxed);
        self.refused.iter().filter(unused).map(|part| part.refusal.clone())
    }

    /// Refuses a data set that names a part which was not taken.
    fn check_taken(&self, json: &Map<String, Value>) -> Result<(), Refusal> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        bulk_uris(json, &mut named);
        let mut wanted = self.refused.iter().filter(|part| named.contains(&part.location.as_str()));
        let Some(first) = wanted.next() else { return Ok(()) };
        for part in wanted.chain([first]) {
            part.used.store(true, Ordering::Relaxed);
        }
        Err(first.refusal.clone())
    }

    /// Writes one data set with its values.
    pub(super) async fn compose(
        &self,
        state: &WebState,
        mut json: Map<String, Value>,
    ) -> Result<Composed, IngestError> {
        let result = self.compose_named(state, &mut json).await;
        // After what could be filled in was.
        result.map_err(|refusal| IngestError {
            refusal,
            sop_class: fill::text(&json, "00080016"),
            sop_instance: fill::text(&json, "00080018"),
            study: fill::text(&json, "0020000D"),
        })
    }

    async fn compose_named(
        &self,
        state: &WebState,
        json: &mut Map<String, Value>,
    ) -> Result<Composed, Refusal> {
        self.check_taken(json)?;
        let pixel_uri = fill::bulk_uri(json, "7FE00010");
        let pixels = match pixel_uri.as_ref().and_then(|uri| self.places.get(uri)) {
            Some(indices) => {
                indices.iter().filter_map(|index| self.parts.get(*index)).for_each(BulkPart::hold);
                Some(pixels::gather(state, self, indices).await?)
            }
            None => None,
        };
        if let Some(pixels) = &pixels {
            fill::pixels(json, pixels)?;
        }
        if let Some(uri) = fill::bulk_uri(json, "00420011")
            && let Some(part) =
                self.places.get(&uri).and_then(|found| self.parts.get(*found.first()?))
            && let Media::Document(mime, class) = part.media
        {
            fill::document(json, mime, class, part.range.end - part.range.start);
            let start = part.range.start..part.range.end.min(part.range.start + media::START);
            let start = self.values.read(start).await?;
            if !media::is_document(mime, &start) {
                let message = format!("the part that is sent as {mime} is something else");
                return Err(Refusal::DoesNotMatchSopClass(message));
            }
        }
        fill::equipment(json);
        let named = |key: &str, name: &'static str| {
            fill::text(json, key).ok_or(Refusal::MissingAttribute(name))
        };
        let sop_class = named("00080016", "SOPClassUID")?;
        let sop_instance = named("00080018", "SOPInstanceUID")?;
        let transfer_syntax =
            pixels.as_ref().map_or(TransferSyntax::EXPLICIT_LITTLE, |pixels| pixels.syntax);

        let find = |uri: &str| {
            if let Some(pixels) = pixels.as_ref().filter(|_| pixel_uri.as_deref() == Some(uri)) {
                return Some(pixels.bulk.clone());
            }
            let name = *self.places.get(uri)?.first()?;
            let part = self.parts.get(name)?;
            part.hold();
            Some(Bulk::Plain(Part { name, length: part.range.end - part.range.start }))
        };
        let written = write::write(json, &find, &Limits::default(), Strictness::Lenient)
            .map_err(|error| Refusal::CannotUnderstand(error.to_string()))?;
        for discarded in &written.discarded {
            tracing::debug!(attribute = discarded.message, "left out of an instance sent by STOW");
        }
        let mut spool = state.archive().spool();
        for piece in written.pieces {
            match piece {
                Piece::Bytes(bytes) => spool.write(bytes.into()).await?,
                Piece::Part(part) => self.copy(part, pixels.as_ref(), &mut spool).await?,
            }
        }
        let format = Format::DataSet { transfer_syntax, sop_class, sop_instance };
        Ok(Composed { spool, format, discarded: written.discarded.len() })
    }

    /// Copies a bulk value. Names beyond the parts are what the pixels were made into.
    async fn copy(
        &self,
        part: Part,
        pixels: Option<&Pixels>,
        into: &mut SpoolWriter,
    ) -> Result<(), Refusal> {
        if let Some(sent) = self.parts.get(part.name) {
            return self.values.copy(sent.range.clone(), into).await;
        }
        let made = pixels.and_then(|pixels| pixels.made.get(part.name - self.parts.len()));
        match made {
            Some((held, range)) => held.copy(range.clone(), into).await,
            None => Err(Refusal::StorageFailed),
        }
    }
}

/// Every BulkDataURI of a data set, those inside sequences too.
fn bulk_uris<'j>(json: &'j Map<String, Value>, found: &mut Vec<&'j str>) {
    let mut open = vec![json];
    while let Some(data_set) = open.pop() {
        for element in data_set.values() {
            found.extend(element.get("BulkDataURI").and_then(Value::as_str));
            let items = element.get("Value").and_then(Value::as_array);
            open.extend(items.into_iter().flatten().filter_map(Value::as_object));
        }
    }
}
