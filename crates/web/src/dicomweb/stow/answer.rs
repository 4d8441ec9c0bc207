//! The answer to a store (PS3.18 section 10.5.3): status and the response module of annex I.

use axum::http::StatusCode;
use axum::response::Response;
use qianli_archive::IngestError;
use qianli_catalog::types::Recorded;
use qianli_model::tag::{Tag, tag};
use qianli_model::{StudyUid, tag as tags, xml};

use super::{Kept, Outcome};
use crate::caller::BaseUrl;
use crate::dicomweb::json::DataSet;
use crate::dicomweb::respond;
use crate::error::HttpError;

/// Referenced SOP Class UID.
const REFERENCED_SOP_CLASS: Tag = tag(0x0008, 0x1150);
/// Referenced SOP Instance UID.
const REFERENCED_SOP_INSTANCE: Tag = tag(0x0008, 0x1155);
/// Warning Reason.
const WARNING_REASON: Tag = tag(0x0008, 0x1196);
/// Failure Reason.
const FAILURE_REASON: Tag = tag(0x0008, 0x1197);
/// Failed SOP Sequence.
const FAILED_SOPS: Tag = tag(0x0008, 0x1198);
/// Referenced SOP Sequence.
const REFERENCED_SOPS: Tag = tag(0x0008, 0x1199);
/// Other Failures Sequence: parts that cannot be named by SOP class and instance.
const OTHER_FAILURES: Tag = tag(0x0008, 0x119A);

/// Error Comment. The response module has no attribute for words; other servers say them in this one.
const ERROR_COMMENT: Tag = tag(0x0000, 0x0902);

/// Most characters of it (VR LO, PS3.5 section 6.2).
const MOST_COMMENT: usize = 64;

/// "Data Set does not match SOP Class" (PS3.18 table I.2-2): stored although something is odd.
const STORED_WITH_ODDITIES: i64 = 0xB007;

/// "Elements Discarded" (PS3.18 table I.2-2).
const ELEMENTS_DISCARDED: i64 = 0xB006;

/// The other media type of the model.
pub(super) const DICOM_XML: &str = "application/dicom+xml";

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// DICOM JSON, under this media type.
    Json(&'static str),
    /// The Native DICOM Model.
    Xml,
}

impl Answer {
    /// Its media type.
    pub(super) fn media(self) -> &'static str {
        match self {
            Self::Json(media) => media,
            Self::Xml => DICOM_XML,
        }
    }
}

/// Refused instances of one request that get a line of the log each; the rest are only counted, so
/// that a request cannot write more log than it is worth.
const LOGGED: usize = 10;

/// What became of the instances of one request.
pub(super) struct Report {
    stored: Vec<Kept>,
    failed: Vec<IngestError>,
}

impl Report {
    /// Sorts the outcomes and logs the failures, which nobody else does.
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        let mut report = Self { stored: Vec::new(), failed: Vec::new() };
        for outcome in outcomes {
            match outcome {
                Ok(kept) => report.stored.push(kept),
                Err(error) => {
                    if report.failed.len() < LOGGED {
                        tracing::warn!(
                            code = format_args!("{:04X}", error.refusal.code()),
                            reason = %error.refusal,
                            sop_instance = error.sop_instance.as_deref().unwrap_or_default(),
                            "an instance sent by STOW was refused"
                        );
                    }
                    report.failed.push(error);
                }
            }
        }
        let (stored, refused) = (report.stored.len(), report.failed.len());
        if refused > LOGGED {
            tracing::warn!(stored, refused, "more instances of one STOW request were refused");
        }
        report
    }

    /// PS3.18 table 10.5.3-1; 503 when trying again can help with all that failed.
    fn status(&self) -> StatusCode {
        let odd = self.stored.iter().any(|kept| warning(kept).is_some());
        match (self.stored.is_empty(), self.failed.is_empty()) {
            (false, true) if !odd => StatusCode::OK,
            (false, _) => StatusCode::ACCEPTED,
            (true, _) if self.failed.iter().all(|f| f.refusal.is_transient()) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (true, _) => StatusCode::CONFLICT,
        }
    }

    /// The whole answer.
    pub(super) fn answer(
        &self,
        base: &BaseUrl,
        study: Option<&StudyUid>,
        form: Answer,
    ) -> Result<Response, HttpError> {
        let json = self.data_set(base, study).to_json();
        let body = match form {
            Answer::Json(_) => json.into_bytes(),
            Answer::Xml => {
                let mut document = Vec::new();
                xml::from_json(json.as_bytes(), base.as_str(), &mut document)
                    .map_err(HttpError::internal)?;
                document
            }
        };
        let mut response = respond::outcome(form.media(), body.into());
        *response.status_mut() = self.status();
        let superseded = self
            .stored
            .iter()
            .filter(|kept| matches!(kept.stored.outcome, Recorded::Superseded { .. }))
            .count();
        if superseded > 0 {
            let text = format!(
                "{superseded} instances replaced other content under the same SOP Instance UID; \
                 the older content is kept"
            );
            respond::warn(response.headers_mut(), &text);
        }
        let mut reasons: Vec<String> = Vec::new();
        for IngestError { refusal, .. } in &self.failed {
            let reason = format!("{:04X}: {refusal}", refusal.code());
            if !reasons.contains(&reason) && reasons.len() < LOGGED {
                reasons.push(reason);
            }
        }
        respond::warn_all(response.headers_mut(), &reasons);
        Ok(response)
    }

    fn data_set(&self, base: &BaseUrl, study: Option<&StudyUid>) -> DataSet<'static> {
        let mut answer = DataSet::default();
        let first = self.stored.first().map(|kept| &kept.stored.study);
        let common = first.filter(|uid| self.stored.iter().all(|kept| kept.stored.study == **uid));
        if let Some(study) = study.or(common) {
            answer.set_text(tags::RETRIEVE_URL, "UR", [base.study(study).as_str()]);
        }
        if !self.stored.is_empty() {
            let items: Vec<_> = self.stored.iter().map(|kept| referenced(base, kept)).collect();
            answer.set_items(REFERENCED_SOPS, &items);
        }
        let (named, other): (Vec<_>, Vec<_>) =
            self.failed.iter().partition(|f| f.sop_class.is_some() && f.sop_instance.is_some());
        for (sequence, failures) in [(FAILED_SOPS, named), (OTHER_FAILURES, other)] {
            if !failures.is_empty() {
                let items: Vec<_> = failures.into_iter().map(failed).collect();
                answer.set_items(sequence, &items);
            }
        }
        answer
    }
}

/// What the sender should know of a stored instance: it displaced another content, met another
/// patient under its Study UID, is malformed in part, or lost an attribute.
fn warning(kept: &Kept) -> Option<i64> {
    let displaced_or_conflicting = match kept.stored.outcome {
        Recorded::Superseded { .. } => true,
        Recorded::Stored { patient_conflict } => patient_conflict,
        Recorded::AlreadyHere | Recorded::RefusedDuplicate => false,
    };
    if displaced_or_conflicting || !kept.stored.warnings.is_empty() {
        return Some(STORED_WITH_ODDITIES);
    }
    (kept.discarded > 0).then_some(ELEMENTS_DISCARDED)
}

fn referenced(base: &BaseUrl, kept: &Kept) -> DataSet<'static> {
    let stored = &kept.stored;
    let mut item = DataSet::default();
    item.set_text(REFERENCED_SOP_CLASS, "UI", [stored.sop_class.as_str()]);
    item.set_text(REFERENCED_SOP_INSTANCE, "UI", [stored.instance.as_str()]);
    let url = base.instance(&stored.study, &stored.series, &stored.instance);
    item.set_text(tags::RETRIEVE_URL, "UR", [url.as_str()]);
    if let Some(reason) = warning(kept) {
        item.set_number(WARNING_REASON, "US", reason);
    }
    item
}

fn failed(error: &IngestError) -> DataSet<'static> {
    let mut item = DataSet::default();
    let uids =
        [(REFERENCED_SOP_CLASS, &error.sop_class), (REFERENCED_SOP_INSTANCE, &error.sop_instance)];
    for (tag, uid) in uids {
        if let Some(uid) = uid {
            item.set_text(tag, "UI", [uid.as_str()]);
        }
    }
    item.set_number(FAILURE_REASON, "US", i64::from(error.refusal.code()));
    let comment: String = error.refusal.to_string().chars().take(MOST_COMMENT).collect();
    item.set_text(ERROR_COMMENT, "LO", [comment.trim_end().replace('\\', "/").as_str()]);
    item
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use qianli_archive::Stored;
    use qianli_model::header::Warning;
    use qianli_model::{Refusal, SeriesUid, SopClassUid, SopInstanceUid};
    use serde_json::{Value, json};

    use super::*;

    fn stored(study: &str, outcome: Recorded, warnings: usize) -> Outcome {
        let warning = Warning { tag: None, message: "odd".into() };
        let stored = Stored {
            study: StudyUid::parse(study).expect("a UID"),
            series: SeriesUid::parse("1.3").expect("a UID"),
            sop_class: SopClassUid::parse("1.5").expect("a UID"),
            instance: SopInstanceUid::parse("1.4").expect("a UID"),
            outcome,
            warnings: vec![warning; warnings],
            size: 1,
        };
        Ok(Kept { stored, discarded: 0 })
    }

    fn refused(refusal: Refusal, known: bool) -> Outcome {
        let uid = |text: &str| known.then(|| text.to_owned());
        Err(IngestError { refusal, sop_class: uid("1.5"), sop_instance: uid("1.6"), study: None })
    }

    /// Counts events.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn many_refusals_are_few_lines_of_the_log() {
        for (refusals, expected) in [(3, 3), (LOGGED, LOGGED), (5_000, LOGGED + 1)] {
            let outcomes = (0..refusals).map(|_| refused(Refusal::StorageFailed, false)).collect();
            let lines = Lines::default();
            let report = tracing::subscriber::with_default(lines.clone(), || Report::new(outcomes));
            assert_eq!(report.failed.len(), refusals);
            assert_eq!(lines.0.load(Ordering::Relaxed), expected);
        }
    }

    fn answer(outcomes: Vec<Outcome>) -> (u16, Value) {
        let report = Report::new(outcomes);
        let body = report.data_set(&BaseUrl::for_tests("http://h"), None).to_json();
        (report.status().as_u16(), serde_json::from_str(&body).expect("JSON"))
    }

    const NEW: Recorded = Recorded::Stored { patient_conflict: false };

    #[test]
    fn all_stored_is_200_without_a_failed_sequence() {
        let (status, body) =
            answer(vec![stored("1.2", NEW, 0), stored("1.2", Recorded::AlreadyHere, 0)]);
        assert_eq!(status, 200);
        assert!(body.get("00081198").is_none());
        assert_eq!(body["00081190"]["Value"][0], "http://h/dicom-web/studies/1.2");
        let item = &body["00081199"]["Value"][0];
        assert_eq!(item["00081150"]["Value"][0], "1.5");
        assert_eq!(item["00081155"]["Value"][0], "1.4");
        assert!(item.get("00081196").is_none());
        let (_, two_studies) = answer(vec![stored("1.2", NEW, 0), stored("1.9", NEW, 0)]);
        assert!(two_studies.get("00081190").is_none());
    }

    #[test]
    fn warnings_and_mixed_outcomes_are_202() {
        for outcome in [
            stored("1.2", NEW, 1),
            stored("1.2", Recorded::Stored { patient_conflict: true }, 0),
            stored("1.2", Recorded::Superseded { patient_conflict: false }, 0),
        ] {
            let (status, body) = answer(vec![outcome]);
            assert_eq!(status, 202);
            assert_eq!(body["00081199"]["Value"][0]["00081196"]["Value"][0], 0xB007);
        }
        let failure = refused(Refusal::MissingAttribute("StudyInstanceUID"), true);
        let (status, body) = answer(vec![stored("1.2", NEW, 0), failure]);
        assert_eq!(status, 202);
        let item = &body["00081198"]["Value"][0];
        assert_eq!(item["00081155"]["Value"][0], "1.6");
        assert_eq!(item["00081197"], json!({"vr": "US", "Value": [0xA900]}));
        assert_eq!(item["00000902"]["Value"][0], "StudyInstanceUID is missing");
    }

    #[test]
    fn none_stored_is_409_or_503() {
        let unreadable = refused(Refusal::CannotUnderstand("truncated".into()), false);
        let (status, body) = answer(vec![unreadable]);
        assert_eq!(status, 409);
        assert!(body.get("00081198").is_none());
        assert_eq!(body["0008119A"]["Value"][0]["00081197"]["Value"][0], 0xC000);
        assert_eq!(answer(vec![refused(Refusal::StorageFailed, true)]).0, 503);
    }
}
