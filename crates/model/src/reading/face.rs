//! The face of a task as a workitem (PS3.4 annex CC): its attributes, and what a change of the task asks of it.
//!
//! A claimed workitem cannot be given back (PS3.4 table CC.1.1-2): a task that is open again gets a new workitem,
//! which names the one that it replaces.

use dicom_core::VR;

use super::{Held, Priority, State};
use crate::tag::{Tag, tag};
use crate::uid::{SopInstanceUid, TransactionUid};
use crate::workitem::{self, Change, DataSet, Refusal, change, instant};

const STATE: Tag = tag(0x0074, 0x1000);
const PRIORITY: Tag = tag(0x0074, 0x1200);
const WORKLIST_LABEL: Tag = tag(0x0074, 0x1202);
const LABEL: Tag = tag(0x0074, 0x1204);
const PERFORMED: Tag = tag(0x0074, 0x1216);
const REPLACED: Tag = tag(0x0074, 0x1224);
const START: Tag = tag(0x0040, 0x4005);
const EXPECTED: Tag = tag(0x0040, 0x4011);
const WORK: Tag = tag(0x0040, 0x4018);
const PERFORMERS: Tag = tag(0x0040, 0x4034);
const PERFORMER: Tag = tag(0x0040, 0x4037);
const READINESS: Tag = tag(0x0040, 0x4041);
const STUDY: Tag = tag(0x0020, 0x000D);

/// Attributes of the patient that are taken over from the study.
const PATIENT: [Tag; 5] = [
    tag(0x0010, 0x0010),
    tag(0x0010, 0x0020),
    tag(0x0010, 0x0021),
    tag(0x0010, 0x0030),
    tag(0x0010, 0x0040),
];

/// What of a task its workitem shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Study Instance UID.
    pub study: &'a str,
    /// DICOM JSON of the study: patient, date, description.
    pub study_json: &'a str,
    /// Modalities of the study.
    pub modalities: &'a str,
    /// What kind of reader.
    pub subspecialty: &'a str,
    /// The study is complete.
    pub is_complete: bool,
    /// When the task was made (ms since 1970).
    pub made_ms: i64,
}

/// A new workitem for a task, as a client would send it.
pub fn new_item(shown: &Shown<'_>, task: &Held, replaces: Option<&str>) -> DataSet {
    let mut data = DataSet::default();
    let study = DataSet::parse(shown.study_json.as_bytes()).unwrap_or_default();
    for attribute in PATIENT {
        if let Some(element) = study.get(attribute) {
            data.set(attribute, element.clone());
        }
    }
    data.set_text(STATE, VR::CS, "SCHEDULED");
    let label = match (task.is_second, shown.modalities) {
        (false, "") => "Read a study".to_owned(),
        (true, "") => "Second reading of a study".to_owned(),
        (false, modalities) => format!("Read {modalities}"),
        (true, modalities) => format!("Second reading of {modalities}"),
    };
    data.set_text(LABEL, VR::LO, &label.chars().take(64).collect::<String>());
    let list = if shown.subspecialty.is_empty() { "reading" } else { shown.subspecialty };
    data.set_text(WORKLIST_LABEL, VR::LO, list);
    data.set_text(START, VR::DT, &instant::date_time(shown.made_ms));
    data.set_text(STUDY, VR::UI, shown.study);
    data.set_items(WORK, vec![code("110005", "DCM", "Interpretation")]);
    for (attribute, element) in clock(task, shown.is_complete).iter() {
        data.set(attribute, element.clone());
    }
    if let Some(uid) = replaces {
        let mut item = DataSet::default();
        item.set_text(tag(0x0008, 0x1150), VR::UI, workitem::SOP_CLASS);
        item.set_text(tag(0x0008, 0x1155), VR::UI, uid);
        data.set_items(REPLACED, vec![item]);
    }
    data
}

/// What of a workitem follows a task without its state changing.
fn clock(task: &Held, is_complete: bool) -> DataSet {
    let mut data = DataSet::default();
    data.set_text(PRIORITY, VR::CS, task.priority.of_step());
    data.set_text(EXPECTED, VR::DT, &instant::date_time(task.due_ms));
    data.set_text(READINESS, VR::CS, if is_complete { "READY" } else { "INCOMPLETE" });
    match &task.reader {
        Some(reader) => {
            let mut item = DataSet::default();
            item.set_text(PERFORMER, VR::PN, &reader.name);
            data.set_items(PERFORMERS, vec![item]);
        }
        None => data.set_items(PERFORMERS, Vec::new()),
    }
    data
}

fn code(value: &str, scheme: &str, meaning: &str) -> DataSet {
    let mut item = DataSet::default();
    item.set_text(tag(0x0008, 0x0100), VR::SH, value);
    item.set_text(tag(0x0008, 0x0102), VR::SH, scheme);
    item.set_text(tag(0x0008, 0x0104), VR::LO, meaning);
    item
}

/// What a change of a task asks of its workitem.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// What becomes of the present one; `None` when it stays as it is.
    pub change: Option<Change>,
    /// Whether the task needs a new one.
    pub anew: bool,
}

/// What becomes of a workitem when its task has changed. `lock` claims it.
///
/// # Errors
///
/// The workitem does not allow it; then somebody changed it past the task.
pub fn follow(
    item: &workitem::Held,
    shown: &Shown<'_>,
    task: &Held,
    lock: &TransactionUid,
    now_ms: i64,
) -> Result<Followed, Refusal> {
    use workitem::State as Step;
    let wanted = match task.state {
        State::Open => Step::Scheduled,
        State::Claimed => Step::InProgress,
        State::Done => Step::Completed,
        State::Cancelled => Step::Canceled,
    };
    let mut so_far = Change { held: None, events: Vec::new(), note: None };
    let mut anew = false;
    if item.state == wanted && wanted.is_final() {
        return Ok(Followed { change: None, anew });
    }
    if item.state.is_final() || (item.state == Step::InProgress && wanted == Step::Scheduled) {
        anew = true;
    }
    if item.state.is_final() {
        return Ok(Followed { change: None, anew });
    }
    let mut held = item.clone();
    let mut take = |held: &mut workitem::Held, next: Change| {
        if let Some(after) = next.held {
            *held = after.clone();
            so_far.held = Some(after);
        }
        so_far.events.extend(next.events);
    };
    if held.state == Step::Scheduled && matches!(wanted, Step::InProgress | Step::Completed) {
        let next = change::change_state(&held, Some(Step::InProgress), Some(lock), now_ms)?;
        take(&mut held, next);
    }
    if anew || wanted == Step::Canceled {
        let next = match held.state {
            Step::Scheduled => change::request_cancel(&held, &DataSet::default(), None, now_ms)?,
            _ => {
                let lock = held.transaction.clone();
                change::change_state(&held, Some(Step::Canceled), lock.as_ref(), now_ms)?
            }
        };
        take(&mut held, next);
    } else {
        let mut news = clock(task, shown.is_complete);
        if wanted == Step::Completed {
            news.set_items(PERFORMED, vec![performed(task, now_ms)]);
        }
        let fresh: Vec<Tag> = news
            .iter()
            .filter(|(attribute, element)| held.data.get(*attribute) != Some(*element))
            .map(|(attribute, _)| attribute)
            .collect();
        if !fresh.is_empty() {
            let lock = held.transaction.clone();
            let news = news.only(|attribute| fresh.contains(&attribute));
            let next = change::update(&held, lock.as_ref(), news, now_ms)?;
            take(&mut held, next);
        }
        if wanted == Step::Completed {
            let lock = held.transaction.clone();
            let next = change::change_state(&held, Some(Step::Completed), lock.as_ref(), now_ms)?;
            take(&mut held, next);
        }
    }
    let changed = so_far.held.is_some() || !so_far.events.is_empty();
    Ok(Followed { change: changed.then_some(so_far), anew })
}

/// What COMPLETED asks for: where, what, from when to when. The report is what comes out; it names the study itself.
fn performed(task: &Held, now_ms: i64) -> DataSet {
    let mut item = DataSet::default();
    item.set_items(tag(0x0040, 0x4028), vec![code("READING", "99QIANLI", "Reading worklist")]);
    item.set_text(tag(0x0040, 0x4050), VR::DT, &instant::date_time(task.begun_ms));
    item.set_text(tag(0x0040, 0x4051), VR::DT, &instant::date_time(now_ms));
    item.set_items(tag(0x0040, 0x4019), vec![code("110005", "DCM", "Interpretation")]);
    item.set_empty(tag(0x0040, 0x4033), VR::SQ);
    item
}

/// What a workitem says that a worker changed past the pages: state, and priority where it was lowered or raised.
pub fn heard(item: &workitem::Held, before: Priority) -> (State, Priority) {
    let state = match item.state {
        workitem::State::Scheduled => State::Open,
        workitem::State::InProgress => State::Claimed,
        workitem::State::Completed => State::Done,
        workitem::State::Canceled => State::Cancelled,
    };
    let priority = match item.data.text(PRIORITY) {
        word if word == before.of_step() => before,
        "HIGH" => Priority::High,
        "MEDIUM" => Priority::Medium,
        "LOW" => Priority::Low,
        _ => before,
    };
    (state, priority)
}

/// A UID of a random number (PS3.5 annex B.2).
pub fn uid(random: u128) -> String {
    format!("2.25.{random}")
}

/// The UID of a workitem of a random number. `None` never happens: digits and a dot are a UID.
pub fn item_uid(random: u128) -> Option<SopInstanceUid> {
    SopInstanceUid::parse(&uid(random)).ok()
}
