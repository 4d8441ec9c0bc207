//! Modality worklist (PS3.4 annex K): C-FIND over the scheduled steps of the catalog.

use qianli_catalog::AuditEntry;
use qianli_catalog::orders::StepSearch;
use qianli_dimse::Status;
use qianli_dimse::exchange::{Exchange, OperationRequest, Reply};
use qianli_dimse::message::Operation;
use qianli_model::audit::{Action, Outcome};
use qianli_model::identifier::{Identifier, has_value, items, read, text, texts, write};
use qianli_model::order::{StepState, answer_to, worklist_item};
use qianli_model::tag::{self, Tag, tag};
use qianli_model::{Scope, TransferSyntax};
use serde_json::{Map, Value, json};

use super::NodeServices;
use crate::app::now_ms;

/// SOP class of the modality worklist.
pub(crate) const WORKLIST: &str = "1.2.840.10008.5.1.4.31";

/// Steps that are asked of the catalog at a time.
const PAGE: u32 = 200;

/// Most steps of one answer. A worklist is what a modality can do in a while.
const MOST: u32 = 10_000;

/// Most values of one key: a list of stations is a department's.
const MOST_VALUES: usize = 64;

const STATION: Tag = tag(0x0040, 0x0001);
const SCHEDULED: Tag = tag(0x0040, 0x0100);
const STATUS: Tag = tag(0x0040, 0x0020);

impl NodeServices {
    /// Answers a C-FIND of the worklist.
    pub(super) async fn worklist(
        &self,
        scope: &Scope,
        request: OperationRequest,
        exchange: &mut Exchange,
    ) {
        let reply = self.worklist_matches(scope, &request, exchange).await;
        exchange.reply(reply).await;
    }

    async fn worklist_matches(
        &self,
        scope: &Scope,
        request: &OperationRequest,
        exchange: &mut Exchange,
    ) -> Reply {
        if !matches!(request.operation, Operation::Find { .. }) {
            return Reply::new(Status::UNRECOGNISED_OPERATION);
        }
        let syntax = request.context.transfer_syntax;
        let data = request.data.as_deref().unwrap_or_default();
        let Ok(asked) = read(data, syntax) else {
            return Reply::with_comment(Status::CANNOT_UNDERSTAND, "the identifier is unreadable");
        };
        let mut search = match search(&asked.attributes) {
            Ok(search) => search,
            Err(wrong) => return wrong.reply(),
        };
        let catalog = self.archive.catalog();
        let calling = request.association.calling.as_str();
        if let Err(error) = catalog.note_worklist_station(scope, calling, now_ms()).await {
            tracing::warn!(%error, calling, "it is not noted who takes worklists");
        }
        let mut sent = 0_u32;
        loop {
            let found = match catalog.find_steps(scope, &search).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(%error, calling, "a worklist cannot be read");
                    return Reply::with_comment(Status::OUT_OF_RESOURCES, "try again later");
                }
            };
            let is_last = found.len() < PAGE as usize;
            // Patients are named from here on: what leaves no trace is not given out.
            if !self.note_worklist(scope, &asked, found.len()).await {
                return Reply::with_comment(Status::OUT_OF_RESOURCES, "try again later");
            }
            for step in found {
                if exchange.is_cancelled() {
                    return Reply::new(Status::CANCEL);
                }
                if let Some(mut known) = worklist_item(&step.row.order, step.step) {
                    for_whoever_asks(&mut known, calling);
                    let matched = Reply::matched(answer(&asked, &known, syntax));
                    // A key with a binary value is not even there in the answer (PS3.4 table K.4-1).
                    let status = match asked.is_partial {
                        true => Status::PENDING_WITH_WARNING,
                        false => matched.status,
                    };
                    exchange.reply(Reply { status, ..matched }).await;
                    sent = sent.saturating_add(1);
                }
            }
            if is_last {
                return Reply::success();
            }
            if sent >= MOST {
                let comment = "more than 10000 steps match; ask for less";
                return Reply::with_comment(Status::OUT_OF_RESOURCES, comment);
            }
            search.offset = search.offset.saturating_add(PAGE);
        }
    }

    /// Notes that orders were read, by which attributes, never by which values.
    async fn note_worklist(&self, scope: &Scope, asked: &Identifier, found: usize) -> bool {
        let by: Vec<&String> = asked.attributes.keys().take(32).collect();
        let entry = AuditEntry::new(scope, Action::ReadOrder, Outcome::Success, now_ms())
            .with(&json!({"what": "worklist", "by": by, "steps": found}));
        match self.archive.catalog().note_audit(entry).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a worklist is not in the audit trail");
                false
            }
        }
    }
}

fn answer(asked: &Identifier, known: &Map<String, Value>, syntax: TransferSyntax) -> Vec<u8> {
    write(&answer_to(&asked.attributes, known), syntax, &asked.charset)
}

/// A step without a station is offered to the one that asks: the attribute must have a value (PS3.4 table K.6-1).
fn for_whoever_asks(known: &mut Map<String, Value>, calling: &str) {
    let steps = known.get_mut(&SCHEDULED.to_string()).and_then(|one| one.get_mut("Value"));
    for step in steps.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(step) = step.as_object_mut()
            && !has_value(step, STATION)
        {
            step.insert(STATION.to_string(), json!({"vr": "AE", "Value": [calling]}));
        }
    }
}

/// Why an identifier cannot be searched for.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// A date or time is none.
    Moment(Tag),
    /// More values than anybody asks for.
    Values(Tag),
}

impl Wrong {
    fn reply(self) -> Reply {
        let (status, comment, tag) = match self {
            Self::Moment(tag) => {
                let comment = "a date or time of the identifier is none".to_owned();
                (Status::DATA_SET_MISMATCH, comment, tag)
            }
            Self::Values(tag) => {
                let comment = format!("a key has more than {MOST_VALUES} values");
                (Status::CANNOT_UNDERSTAND, comment, tag)
            }
        };
        Reply { offending: vec![tag], ..Reply::with_comment(status, comment) }
    }
}

/// What an identifier asks for. Keys that are no part of it do not narrow the answer.
fn search(asked: &Map<String, Value>) -> Result<StepSearch, Wrong> {
    let none = Map::new();
    let steps = items(asked, SCHEDULED);
    let step: &Map<String, Value> = steps.first().copied().unwrap_or(&none);
    if texts(step, STATUS).len() > MOST_VALUES {
        return Err(Wrong::Values(STATUS));
    }
    let states: Vec<StepState> =
        texts(step, STATUS).iter().filter_map(|word| StepState::parse(word)).collect();
    // What is finished is on no worklist, unless somebody asks for it.
    let usual = [StepState::Scheduled, StepState::Arrived, StepState::Ready, StepState::Started];
    let value = |set: &Map<String, Value>, tag| universal(text(set, tag));
    let values = |set: &Map<String, Value>, tag| -> Result<Vec<String>, Wrong> {
        let found = texts(set, tag);
        if found.len() > MOST_VALUES {
            return Err(Wrong::Values(tag));
        }
        let found: Vec<String> = found.into_iter().map(universal).collect();
        Ok(if found.iter().any(String::is_empty) { Vec::new() } else { found })
    };
    let days = |set: &Map<String, Value>, tag| range(&value(set, tag), 8).ok_or(Wrong::Moment(tag));
    let start_time = tag(0x0040, 0x0003);
    let times =
        range(&value(step, start_time).replace(':', ""), 2).ok_or(Wrong::Moment(start_time))?;
    Ok(StepSearch {
        station_ae: values(step, STATION)?,
        unassigned: true,
        station_name: value(step, tag(0x0040, 0x0010)),
        modality: values(step, tag::MODALITY)?,
        days: days(step, tag(0x0040, 0x0002))?,
        times,
        performer: value(step, tag(0x0040, 0x0006)),
        step_id: value(step, tag(0x0040, 0x0009)),
        states: if states.is_empty() { usual.to_vec() } else { states },
        patient_name: value(asked, tag::PATIENT_NAME),
        sounds: false,
        patient_id: value(asked, tag::PATIENT_ID),
        issuer: value(asked, tag::ISSUER_OF_PATIENT_ID),
        birth_dates: days(asked, tag::PATIENT_BIRTH_DATE)?,
        sex: value(asked, tag::PATIENT_SEX),
        accession: value(asked, tag::ACCESSION_NUMBER),
        procedure_id: value(asked, tag(0x0040, 0x1001)),
        study_uids: values(asked, tag::STUDY_INSTANCE_UID)?,
        order: 0,
        limit: PAGE,
        offset: 0,
    })
}

/// A value of stars alone matches everything, like no value.
fn universal(text: String) -> String {
    if text.chars().all(|c| c == '*') { String::new() } else { text }
}

/// Both ends of a range, the same for a single value, empty for open ones. `None` when an end is
/// shorter than `least` digits or holds anything else.
fn range(text: &str, least: usize) -> Option<(String, String)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let fine = |end: &str| {
        end.is_empty()
            || (end.len() >= least && end.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    (fine(from) && fine(to)).then(|| (from.to_owned(), to.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_two_ends() {
        let pair = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        assert_eq!(range("20261123", 8), pair("20261123", "20261123"));
        assert_eq!(range("20261123-", 8), pair("20261123", ""));
        assert_eq!(range("-20261123", 8), pair("", "20261123"));
        assert_eq!(range("0930-1000.5", 2), pair("0930", "1000.5"));
        assert_eq!(range("", 8), pair("", ""));
        assert_eq!(range("today", 8), None);
        assert_eq!(range("2026", 8), None);
    }

    #[test]
    fn identifiers_become_searches() {
        let asked = json!({
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "ZHANG*"}]},
            "00100020": {"vr": "LO", "Value": ["*"]},
            "00400100": {"vr": "SQ", "Value": [{
                "00400001": {"vr": "AE", "Value": ["CT1", "CT2"]},
                "00400002": {"vr": "DA", "Value": ["20261123-20261124"]},
                "00080060": {"vr": "CS"},
            }]},
        });
        let found = search(asked.as_object().unwrap()).unwrap();
        assert_eq!(found.station_ae, ["CT1", "CT2"]);
        assert_eq!(found.days, ("20261123".to_owned(), "20261124".to_owned()));
        assert_eq!((found.patient_name.as_str(), found.patient_id.as_str()), ("ZHANG*", ""));
        assert!(found.modality.is_empty() && !found.states.contains(&StepState::Completed));
        let wrong = json!({"00100030": {"vr": "DA", "Value": ["soon"]}});
        assert_eq!(search(wrong.as_object().unwrap()), Err(Wrong::Moment(tag::PATIENT_BIRTH_DATE)));
        let many: Vec<String> = (0..=MOST_VALUES).map(|n| n.to_string()).collect();
        let wrong = json!({"0020000D": {"vr": "UI", "Value": many}});
        let refused = search(wrong.as_object().unwrap());
        assert_eq!(refused, Err(Wrong::Values(tag::STUDY_INSTANCE_UID)));
    }
}
