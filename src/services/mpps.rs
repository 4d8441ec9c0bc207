//! Modality performed procedure step (PS3.4 annex F): N-CREATE and N-SET by the modality, N-GET by
//! whoever may ask.

use qianli_catalog::CatalogError;
use qianli_catalog::orders::{NewPerformed, Performed, PerformedState};
use qianli_dimse::Status;
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_model::identifier::{has_value, items, read, text, write};
use qianli_model::order::{OrderKey, answer_to};
use qianli_model::tag::{self, Tag, tag};
use qianli_model::{Scope, SopInstanceUid};
use serde_json::{Map, Value, json};

use super::NodeServices;
use crate::app::now_ms;

/// SOP class of performed steps.
pub(crate) const PERFORMED_STEP: &str = "1.2.840.10008.3.1.2.3.3";

/// SOP class by which they are retrieved.
pub(crate) const PERFORMED_STEP_RETRIEVE: &str = "1.2.840.10008.3.1.2.3.4";

/// Longest performed step (bytes of JSON).
const MAX_STEP: usize = 8 << 20;

// PS3.7 annex C.
const ATTRIBUTE_LIST_ERROR: Status = Status::new(0x0107);
const INVALID_ATTRIBUTE_VALUE: Status = Status::new(0x0106);
const DUPLICATE_SOP_INSTANCE: Status = Status::new(0x0111);
const NO_SUCH_SOP_INSTANCE: Status = Status::new(0x0112);
const NOT_AUTHORISED: Status = Status::new(0x0124);
const MISSING_ATTRIBUTE: Status = Status::new(0x0120);
const MISSING_ATTRIBUTE_VALUE: Status = Status::new(0x0121);

/// "Performed Procedure Step Object may no longer be updated" (PS3.4 table F.7.2-2).
const NO_LONGER_UPDATED: u16 = 0xA506;

const STATUS: Tag = tag(0x0040, 0x0252);
const SCHEDULED_ATTRIBUTES: Tag = tag(0x0040, 0x0270);
const PERFORMED_SERIES: Tag = tag(0x0040, 0x0340);
const END_DATE: Tag = tag(0x0040, 0x0250);
const END_TIME: Tag = tag(0x0040, 0x0251);

/// Type 1 at creation (PS3.4 table F.7.2-1).
const NEEDED: [Tag; 7] = [
    tag::MODALITY,
    tag(0x0040, 0x0241),
    tag::PERFORMED_PROCEDURE_STEP_START_DATE,
    tag::PERFORMED_PROCEDURE_STEP_START_TIME,
    STATUS,
    tag(0x0040, 0x0253),
    SCHEDULED_ATTRIBUTES,
];

/// What is said at creation and cannot be changed (PS3.4 table F.7.2-1).
const FIXED: [Tag; 12] = [
    tag::MODALITY,
    tag::PATIENT_NAME,
    tag::PATIENT_ID,
    tag::PATIENT_BIRTH_DATE,
    tag::PATIENT_SEX,
    tag::STUDY_ID,
    tag(0x0040, 0x0241),
    tag(0x0040, 0x0242),
    tag::PERFORMED_PROCEDURE_STEP_START_DATE,
    tag::PERFORMED_PROCEDURE_STEP_START_TIME,
    tag(0x0040, 0x0253),
    SCHEDULED_ATTRIBUTES,
];

impl NodeServices {
    /// Answers a request about performed steps.
    pub(super) async fn performed_step(
        &self,
        scope: &Scope,
        request: OperationRequest,
        exchange: &mut Exchange,
    ) {
        let retrieves = request.context.abstract_syntax == PERFORMED_STEP_RETRIEVE;
        let reply = match (&request.operation, retrieves) {
            (Operation::Create, false) => self.create_step(scope, &request).await,
            (Operation::Set, false) => self.set_step(scope, &request).await,
            (Operation::GetAttributes { attributes }, true) => {
                self.get_step(scope, &request, attributes).await
            }
            _ => Ok(Reply::new(Status::UNRECOGNISED_OPERATION)),
        };
        exchange.reply(reply.unwrap_or_else(|refused| refused)).await;
    }

    async fn create_step(&self, scope: &Scope, request: &OperationRequest) -> Result<Reply, Reply> {
        let step = attributes(request)?;
        needed(&step, &NEEDED)?;
        if text(&step, STATUS) != PerformedState::InProgress.as_str() {
            return Err(offending(INVALID_ATTRIBUTE_VALUE, STATUS));
        }
        let scheduled = items(&step, SCHEDULED_ATTRIBUTES);
        if scheduled.iter().any(|item| !has_value(item, tag::STUDY_INSTANCE_UID)) {
            return Err(offending(MISSING_ATTRIBUTE_VALUE, tag::STUDY_INSTANCE_UID));
        }
        let given = request.sop_instance.clone().unwrap_or_default();
        let uid = match given.is_empty() {
            true => format!("2.25.{}", uuid::Uuid::new_v4().as_u128()),
            false => SopInstanceUid::parse(&given)
                .map_err(|_| Reply::new(Status::INVALID_SOP_INSTANCE))?
                .to_string(),
        };
        let key = |item: &&Map<String, Value>| {
            let key = OrderKey {
                study_uid: text(item, tag::STUDY_INSTANCE_UID),
                accession: text(item, tag::ACCESSION_NUMBER),
                procedure: text(item, tag(0x0040, 0x1001)),
                placer: text(item, tag(0x0040, 0x2016)),
                filler: text(item, tag(0x0040, 0x2017)),
            };
            (key, text(item, tag(0x0040, 0x0009)))
        };
        let new = NewPerformed {
            sop_uid: uid.clone(),
            scheduled: scheduled.iter().map(key).collect(),
            study_uid: scheduled
                .first()
                .map(|item| text(item, tag::STUDY_INSTANCE_UID))
                .unwrap_or_default(),
            calling: request.association.calling.to_string(),
            state: PerformedState::InProgress,
            series: series(&step),
            json: bounded(&step)?,
        };
        let created = self.archive.catalog().create_performed(scope, &new, now_ms()).await;
        match created.map_err(failed)? {
            true => {
                let sop_instance = given.is_empty().then_some(uid);
                Ok(Reply { sop_instance, ..Reply::success() })
            }
            false => Err(Reply::new(DUPLICATE_SOP_INSTANCE)),
        }
    }

    async fn set_step(&self, scope: &Scope, request: &OperationRequest) -> Result<Reply, Reply> {
        let changes = attributes(request)?;
        let known = self.known_step(scope, request).await?;
        // What one modality performs, no other ends.
        if known.calling != request.association.calling.as_str() {
            let comment = "the performed step is of another AE title";
            return Err(Reply::with_comment(NOT_AUTHORISED, comment));
        }
        if known.state != PerformedState::InProgress {
            return Err(no_longer());
        }
        let state = match changes.contains_key(&STATUS.to_string()) {
            false => PerformedState::InProgress,
            true => PerformedState::parse(&text(&changes, STATUS))
                .ok_or_else(|| offending(INVALID_ATTRIBUTE_VALUE, STATUS))?,
        };
        let mut step = parsed(&known)?;
        let mut ignored = Vec::new();
        for (name, element) in changes {
            match FIXED.iter().find(|fixed| fixed.to_string() == name) {
                Some(fixed) => ignored.push(*fixed),
                None => {
                    step.insert(name, element);
                }
            }
        }
        if state != PerformedState::InProgress {
            needed(&step, &[END_DATE, END_TIME])?;
        }
        let json = bounded(&step)?;
        let change = (state, json.as_str(), &series(&step)[..]);
        let catalog = self.archive.catalog();
        if !catalog.change_performed(scope, &known, change, now_ms()).await.map_err(failed)? {
            return Err(no_longer());
        }
        if ignored.is_empty() {
            return Ok(Reply::success());
        }
        Ok(Reply { offending: ignored, ..Reply::new(ATTRIBUTE_LIST_ERROR) })
    }

    async fn get_step(
        &self,
        scope: &Scope,
        request: &OperationRequest,
        wanted: &[Tag],
    ) -> Result<Reply, Reply> {
        let step = parsed(&self.known_step(scope, request).await?)?;
        let asked: Map<String, Value> =
            wanted.iter().map(|tag| (tag.to_string(), json!({"vr": "LO"}))).collect();
        let answer = if asked.is_empty() { step } else { answer_to(&asked, &step) };
        let data = write(&answer, request.context.transfer_syntax, "");
        Ok(Reply { data: Some(data.into()), ..Reply::success() })
    }

    async fn known_step(
        &self,
        scope: &Scope,
        request: &OperationRequest,
    ) -> Result<Performed, Reply> {
        let uid = request.sop_instance.as_deref().unwrap_or_default();
        let found = self.archive.catalog().performed(scope, uid).await.map_err(failed)?;
        found.ok_or_else(|| Reply::new(NO_SUCH_SOP_INSTANCE))
    }
}

fn attributes(request: &OperationRequest) -> Result<Map<String, Value>, Reply> {
    let data = request.data.as_deref().unwrap_or_default();
    let found = read(data, request.context.transfer_syntax);
    let unreadable =
        |_| Reply::with_comment(Status::PROCESSING_FAILURE, "the data set is unreadable");
    Ok(found.map_err(unreadable)?.attributes)
}

fn parsed(known: &Performed) -> Result<Map<String, Value>, Reply> {
    serde_json::from_str(&known.json).map_err(|_| {
        tracing::error!(performed = known.id, "a performed step of the index is damaged");
        Reply::new(Status::PROCESSING_FAILURE)
    })
}

fn needed(step: &Map<String, Value>, tags: &[Tag]) -> Result<(), Reply> {
    for wanted in tags {
        if !step.contains_key(&wanted.to_string()) {
            return Err(offending(MISSING_ATTRIBUTE, *wanted));
        }
        if !has_value(step, *wanted) {
            return Err(offending(MISSING_ATTRIBUTE_VALUE, *wanted));
        }
    }
    Ok(())
}

fn series(step: &Map<String, Value>) -> Vec<String> {
    let found = items(step, PERFORMED_SERIES);
    let uids = found.into_iter().map(|item| text(item, tag::SERIES_INSTANCE_UID));
    uids.filter(|uid| !uid.is_empty()).take(1000).collect()
}

fn bounded(step: &Map<String, Value>) -> Result<String, Reply> {
    let json = serde_json::to_string(step).unwrap_or_default();
    match json.len() > MAX_STEP {
        true => Err(Reply::new(Status::RESOURCE_LIMITATION)),
        false => Ok(json),
    }
}

fn offending(status: Status, tag: Tag) -> Reply {
    Reply { offending: vec![tag], ..Reply::new(status) }
}

fn no_longer() -> Reply {
    let comment = "the performed procedure step may no longer be updated";
    let reply = Reply::with_comment(Status::PROCESSING_FAILURE, comment);
    Reply { error_id: Some(NO_LONGER_UPDATED), ..reply }
}

fn failed(error: CatalogError) -> Reply {
    tracing::error!(%error, "a performed step cannot be kept");
    Reply::with_comment(Status::PROCESSING_FAILURE, "try again later")
}
