//! Objects without the patient's identity, as they are sent (PS3.15 annex E).
//!
//! The rules are in `qianli_model::deidentify`; here they meet stored objects: the header is read
//! once for what identifies, then the data set is rewritten in steps while it is sent. Pixels pass as
//! they are stored unless parts of them are blacked out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use qianli_catalog::types::{Location, Metadata, Target};
use qianli_imaging::{ImagingError, Transcoded};
use qianli_model::dataset::{PixelPlan, Rewriter};
use qianli_model::deidentify::{
    Decision, Deidentification, Identity, MaskRules, Options, Project, Rectangle,
};
use qianli_model::syntax::Encoding;
use qianli_model::{Scope, SeriesUid, SopInstanceUid, TransferSyntax, file_meta, tag};

use super::describe::describe;
use super::pixels::Pixels;
use super::{Conversion, Phase, RewriteError, failed, source};
use crate::description::Description;
use crate::frames::{ConvertError, FrameReader};
use crate::retrieve::ByteStream;
use crate::{Archive, ArchiveError};

/// Why an object whose pixels lie elsewhere stays: the reference would lead to the original.
const ELSEWHERE: &str = "its pixel data lies outside of it";

/// Why an object stays that no syntax has a place for.
const MISENCODED: &str = "its pixel data is compressed, against its transfer syntax";

/// Why an object stays for which there is a mask.
const NOT_MASKED: &str = "its pixels cannot be decoded to be blacked out";

/// How objects leave without the patient's identity.
#[derive(Debug, Clone)]
pub struct Pseudonymous {
    how: Deidentification,
    masks: Arc<MaskRules>,
    include_doubtful: bool,
}

impl Pseudonymous {
    /// With the pseudonyms of a project, and the options of the profile.
    pub fn new(project: Arc<Project>, options: Options) -> Self {
        let how = Deidentification { project, options };
        Self { how, masks: Arc::default(), include_doubtful: false }
    }

    /// Blacks out what these rules say.
    #[must_use]
    pub fn masked_by(mut self, masks: MaskRules) -> Self {
        self.masks = Arc::new(masks);
        self
    }

    /// Lets objects out that may have names burned into their pixels.
    #[must_use]
    pub fn with_doubtful(mut self) -> Self {
        self.include_doubtful = true;
        self
    }

    /// The rules for headers, and the pseudonyms.
    pub fn how(&self) -> &Deidentification {
        &self.how
    }

    /// What is blacked out, or why the object does not leave.
    fn decide(&self, decision: Decision) -> Result<Vec<Rectangle>, &'static str> {
        match decision {
            Decision::Pass => Ok(Vec::new()),
            Decision::Mask(rectangles) => Ok(rectangles),
            Decision::Doubtful(_) if self.include_doubtful => Ok(Vec::new()),
            Decision::Doubtful(reason) | Decision::Refuse(reason) => Err(reason),
        }
    }
}

/// An object that was asked for without the patient's identity.
pub enum Deidentified {
    /// It leaves.
    Object(Outgoing),
    /// It does not, for this reason, which names nobody.
    LeftOut(&'static str),
}

/// An object on its way out, under its pseudonyms.
pub struct Outgoing {
    /// File meta information and data set. Nothing is read before it is polled.
    pub content: ByteStream,
    /// Its transfer syntax: the stored one, but of big endian little endian, and explicit VR little
    /// endian where pixels are blacked out.
    pub syntax: TransferSyntax,
    /// The patient's pseudonym; `None` of objects that name no patient.
    pub patient: Option<String>,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// SOP Instance UID.
    pub instance: String,
}

impl Archive {
    /// Streams an object as a Part 10 file without the patient's identity, or says why it stays.
    ///
    /// # Errors
    ///
    /// See [`ConvertError`]. The stream itself may fail later.
    pub async fn open_deidentified(
        &self,
        scope: &Scope,
        location: &Location,
        pseudonymous: &Pseudonymous,
    ) -> Result<Deidentified, ConvertError> {
        let stored = location.transfer_syntax;
        if stored.name().starts_with("JPIP") {
            return Ok(Deidentified::LeftOut(ELSEWHERE));
        }
        let limits = self.0.config.limits.clone();
        let how = &pseudonymous.how;
        let header = source(self, location, &limits).await?;
        let (options, bounds) = (how.options, limits.clone());
        let read = move || Identity::read(header, stored.encoding(), &bounds, &options);
        let identity = self.workers().step(read).await?;
        let key = &location.blob_key;
        let identity = identity.map_err(|error| failed(RewriteError::DataSet(error), key))?;
        let rectangles = match pseudonymous.decide(pseudonymous.masks.decide(identity.subject())) {
            Ok(rectangles) => rectangles,
            Err(reason) => return Ok(Deidentified::LeftOut(reason)),
        };
        if identity.subject().fragments && !stored.is_encapsulated() {
            return Ok(Deidentified::LeftOut(MISENCODED));
        }
        let masked = !rectangles.is_empty();
        let mut to = stored;
        if masked || stored.encoding() == Encoding::ExplicitBig {
            to = TransferSyntax::EXPLICIT_LITTLE;
        }
        let mut changes = how.changes(&identity, masked);
        let mut pixels = None;
        if masked {
            let detail = self.detail_of(scope, location).await?;
            let reader = FrameReader::new(self, scope, Arc::clone(&detail));
            let mask = Arc::new(Mask::new(rectangles, reader.description()));
            let first = match reader.transcoded(1, to, false).await {
                Ok(first) => first,
                Err(ConvertError::Imaging(_)) => return Ok(Deidentified::LeftOut(NOT_MASKED)),
                Err(error) => return Err(error),
            };
            let said = describe(&detail, reader.description(), &first.frame, to);
            for (tag, change) in said {
                changes.entry(tag).or_insert(change);
            }
            match Pixels::new(reader, first, to, Some(mask)) {
                Ok(made) => pixels = Some(made),
                Err(ConvertError::Imaging(_)) => return Ok(Deidentified::LeftOut(NOT_MASKED)),
                Err(error) => return Err(error),
            }
        }
        let identity = Arc::new(identity);
        let instance = how.uid(location.instance.as_str());
        let plan = if masked { PixelPlan::Replace } else { PixelPlan::Copy };
        let body = source(self, location, &limits).await?;
        let editor = how.editor(Arc::clone(&identity), limits.text);
        let rewriter = Rewriter::new(body, stored.encoding(), to, plan, changes, &limits);
        let head = file_meta::write(&location.sop_class, &instance, to, None);
        let conversion = Conversion {
            archive: self.clone(),
            key: location.blob_key.clone(),
            to,
            rewriter: Some(Box::new(rewriter.edited_by(editor))),
            ready: VecDeque::from([Bytes::from(head)]),
            pixels,
            phase: Phase::DataSet,
        };
        Ok(Deidentified::Object(Outgoing {
            content: conversion.stream(),
            syntax: to,
            patient: identity.names_patient().then(|| how.project.patient_id(&identity)),
            study: how.uid(location.study.as_str()),
            series: how.uid(location.series.as_str()),
            instance,
        }))
    }

    /// The DICOM JSON of every instance of a target that may leave, without the patient's identity
    /// and under pseudonyms, in the order of [`Archive::locate`].
    ///
    /// # Errors
    ///
    /// The catalog failed, or a stored header is damaged.
    pub async fn deidentified_metadata(
        &self,
        scope: &Scope,
        target: &Target,
        pseudonymous: &Pseudonymous,
    ) -> Result<Vec<Metadata>, ArchiveError> {
        let mut leaving = Vec::new();
        let damaged = |what: String| ArchiveError::Damaged(what);
        for found in self.metadata(scope, target).await? {
            let edited = pseudonymous.how.json(&found.json);
            let (json, subject) = edited.map_err(|_| damaged("a header is no JSON".into()))?;
            if pseudonymous.decide(pseudonymous.masks.decide(&subject)).is_err() {
                continue;
            }
            let series = SeriesUid::parse(&pseudonymous.how.uid(found.series.as_str()));
            let instance = SopInstanceUid::parse(&pseudonymous.how.uid(found.instance.as_str()));
            leaving.push(Metadata {
                series: series.map_err(|error| damaged(error.to_string()))?,
                instance: instance.map_err(|error| damaged(error.to_string()))?,
                content_hash: found.content_hash,
                json,
            });
        }
        Ok(leaving)
    }
}

/// Parts of frames that become black, and how frames lie in memory.
#[derive(Debug)]
pub(super) struct Mask {
    rectangles: Vec<Rectangle>,
    rows: usize,
    columns: usize,
    samples: usize,
    /// Bytes of a sample; 0 when samples are no whole bytes.
    bytes: usize,
    /// The greatest value of a sample that is not signed.
    greatest: u64,
    signed: bool,
    bits_stored: u32,
}

impl Mask {
    fn new(rectangles: Vec<Rectangle>, description: &Description) -> Self {
        let number = |tag| description.number(tag).unwrap_or(0);
        let small = |tag| usize::try_from(number(tag)).unwrap_or(0);
        let allocated = small(tag::BITS_ALLOCATED);
        let bits = u32::try_from(number(tag::BITS_STORED)).unwrap_or(0).clamp(1, 63);
        Self {
            rectangles,
            rows: small(tag::ROWS),
            columns: small(tag::COLUMNS),
            samples: small(tag::SAMPLES_PER_PIXEL).max(1),
            bytes: if allocated.is_multiple_of(8) { allocated / 8 } else { 0 },
            greatest: (1 << bits) - 1,
            signed: number(tag::PIXEL_REPRESENTATION) == 1,
            bits_stored: bits,
        }
    }

    /// Blacks out a frame of native little-endian samples.
    ///
    /// # Errors
    ///
    /// It is not what the description says, or in a form that is not known here.
    pub(super) fn apply(&self, frame: &mut Transcoded) -> Result<(), ImagingError> {
        let plane = self.rows.saturating_mul(self.columns).saturating_mul(self.bytes);
        let unknown = || ImagingError::Unsupported("blacking out such pixels".into());
        if plane == 0 || frame.bytes.len() != plane.saturating_mul(self.samples) {
            return Err(unknown());
        }
        let planar = frame.planar_configuration == Some(1);
        for sample in 0..self.samples {
            let black = self.black(frame.photometric, sample).ok_or_else(unknown)?;
            let black = black.to_le_bytes();
            let value = black.get(..self.bytes).ok_or_else(unknown)?;
            // From the start of one pixel's sample to that of the next.
            let (step, start) = match planar {
                true => (self.bytes, plane * sample),
                false => (self.bytes * self.samples, self.bytes * sample),
            };
            for rectangle in &self.rectangles {
                let (columns, rows) = self.within(rectangle);
                for row in rows {
                    for column in columns.clone() {
                        let at = start + (row * self.columns + column) * step;
                        if let Some(place) = frame.bytes.get_mut(at..at + self.bytes) {
                            place.copy_from_slice(value);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The part of a rectangle that lies inside of the frame.
    fn within(&self, rectangle: &Rectangle) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let range = |from: u32, length: u32, limit: usize| {
            let from = (from as usize).min(limit);
            from..from.saturating_add(length as usize).min(limit)
        };
        (
            range(rectangle.x, rectangle.width, self.columns),
            range(rectangle.y, rectangle.height, self.rows),
        )
    }

    /// The sample value that is shown black.
    fn black(&self, photometric: &str, sample: usize) -> Option<u64> {
        let lowest = if self.signed { 1 << (self.bits_stored - 1) } else { 0 };
        match photometric {
            // Signed values have their sign in the highest stored bit and every one above it.
            "MONOCHROME2" if self.signed => Some(u64::MAX - (lowest - 1)),
            "MONOCHROME1" if self.signed => Some(lowest - 1),
            "MONOCHROME2" | "RGB" | "PALETTE COLOR" => Some(0),
            "MONOCHROME1" => Some(self.greatest),
            // Chrominances are zero in the middle.
            "YBR_FULL" if sample > 0 => Some((self.greatest >> 1) + 1),
            "YBR_FULL" => Some(0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(samples: usize, bytes: usize, signed: bool) -> Mask {
        let bits_stored = 8 * bytes as u32;
        Mask {
            // The second reaches beyond the frame.
            rectangles: vec![[1, 0, 2, 1].into(), [3, 2, 9, 9].into()],
            rows: 3,
            columns: 4,
            samples,
            bytes,
            greatest: (1 << bits_stored) - 1,
            signed,
            bits_stored,
        }
    }

    fn frame(bytes: Vec<u8>, photometric: &'static str, planar: Option<u16>) -> Transcoded {
        let native_bytes = bytes.len();
        Transcoded { bytes, photometric, planar_configuration: planar, lossy: None, native_bytes }
    }

    #[test]
    fn rectangles_become_black_and_nothing_else_changes() {
        let mut gray = frame(vec![9; 12], "MONOCHROME2", None);
        mask(1, 1, false).apply(&mut gray).expect("masked");
        assert_eq!(gray.bytes, [9, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
        let mut inverse = frame(vec![9; 24], "MONOCHROME1", None);
        mask(1, 2, false).apply(&mut inverse).expect("masked");
        assert_eq!(inverse.bytes.get(..8), Some(&[9, 9, 255, 255, 255, 255, 9, 9][..]));
        let mut signed = frame(vec![9; 24], "MONOCHROME2", None);
        mask(1, 2, true).apply(&mut signed).expect("masked");
        assert_eq!(signed.bytes.get(..6), Some(&[9, 9, 0, 128, 0, 128][..]), "the least value");
        let mut planes = frame(vec![9; 36], "YBR_FULL", Some(1));
        mask(3, 1, false).apply(&mut planes).expect("masked");
        assert_eq!(planes.bytes.get(..4), Some(&[9, 0, 0, 9][..]));
        assert_eq!(planes.bytes.get(12..16), Some(&[9, 128, 128, 9][..]));
        let mut pixels = frame(vec![9; 36], "RGB", Some(0));
        mask(3, 1, false).apply(&mut pixels).expect("masked");
        assert_eq!(pixels.bytes.get(..9), Some(&[9, 9, 9, 0, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn what_is_not_understood_is_not_let_out() {
        let mut short = frame(vec![9; 11], "MONOCHROME2", None);
        assert!(mask(1, 1, false).apply(&mut short).is_err());
        let mut other = frame(vec![9; 36], "YBR_FULL_422", Some(0));
        assert!(mask(3, 1, false).apply(&mut other).is_err());
        let mut bits = frame(vec![9; 2], "MONOCHROME2", None);
        assert!(mask(1, 0, false).apply(&mut bits).is_err());
    }
}
