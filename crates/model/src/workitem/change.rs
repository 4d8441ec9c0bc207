//! What becomes of a workitem: creating, updating, changing its state, asking to cancel it. The
//! state machine of PS3.4 table CC.1.1-2.

use dicom_core::VR;

use super::data::{DataSet, tags};
use super::event::{Event, between, cancel_requested, state_report};
use super::{Refusal, SOP_CLASS, State, instant, rules};
use crate::tag;
use crate::uid::{SopInstanceUid, TransactionUid};

/// A workitem as it is kept. The Transaction UID is its lock and never part of the data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its attributes; Procedure Step State among them.
    pub data: DataSet,
    /// Its state.
    pub state: State,
    /// Set by the claim, kept afterwards.
    pub transaction: Option<TransactionUid>,
}

/// Success, and what to say beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Attributes were added or changed on the way in (B300).
    Modified,
    /// It was CANCELED already (B304).
    AlreadyCanceled,
    /// It was COMPLETED already (B306).
    AlreadyCompleted,
}

impl Note {
    /// The text that PS3.18 section 11 prescribes for the Warning header.
    pub fn warning(self, creating: bool) -> &'static str {
        match self {
            Self::Modified if creating => "The Workitem was created with modifications.",
            Self::Modified => "The Workitem was updated with modifications.",
            Self::AlreadyCanceled => "The UPS is already in the requested state of CANCELED.",
            Self::AlreadyCompleted => "The UPS is already in the requested state of COMPLETED.",
        }
    }
}

/// What a request makes of a workitem.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The workitem afterwards, or `None` when it stays as it is.
    pub held: Option<Held>,
    /// What its subscribers are to be told.
    pub events: Vec<Event>,
    /// What the client is to be told.
    pub note: Option<Note>,
}

impl Change {
    fn nothing(note: Option<Note>) -> Self {
        Self { held: None, events: Vec::new(), note }
    }

    fn to(before: &DataSet, held: Held) -> Self {
        let events = between(Some(before), &held.data);
        Self { held: Some(held), events, note: None }
    }
}

/// Makes a workitem of what a client sent (N-CREATE, PS3.4 CC.2.5). `now_ms` counts from 1970.
///
/// # Errors
///
/// The attribute that is missing or wrong.
pub fn create(
    mut data: DataSet,
    uid: &SopInstanceUid,
    now_ms: i64,
) -> Result<(Held, Change), Refusal> {
    let class = data.text(tag::SOP_CLASS_UID);
    if !class.is_empty() && class != SOP_CLASS {
        return Err(Refusal::Invalid("SOPClassUID".into()));
    }
    let modified = rules::complete(&mut data)?;
    data.set_text(tag::SOP_CLASS_UID, VR::UI, SOP_CLASS);
    data.set_text(tag::SOP_INSTANCE_UID, VR::UI, uid.as_str());
    stamp(&mut data, now_ms);
    let events = between(None, &data);
    let held = Held { data, state: State::Scheduled, transaction: None };
    let note = modified.then_some(Note::Modified);
    Ok((held.clone(), Change { held: Some(held), events, note }))
}

/// Changes attributes (N-SET, PS3.4 CC.2.6). An attribute that is there replaces the one before.
///
/// # Errors
///
/// The lock is held by somebody else, the time for changes is over, or an attribute may not be set.
pub fn update(
    held: &Held,
    transaction: Option<&TransactionUid>,
    mut changes: DataSet,
    now_ms: i64,
) -> Result<Change, Refusal> {
    match held.state {
        State::Completed | State::Canceled => return Err(Refusal::Final(held.state)),
        State::Scheduled if transaction.is_some() => return Err(Refusal::NotInProgress),
        State::Scheduled => {}
        State::InProgress => unlock(held, transaction)?,
    }
    changes.remove(tags::TRANSACTION_UID);
    // The UIDs of the workitem itself say nothing new; anything else is refused below.
    for (attribute, own) in [
        (tag::SOP_CLASS_UID, SOP_CLASS),
        (tag::SOP_INSTANCE_UID, held.data.text(tag::SOP_INSTANCE_UID)),
    ] {
        if changes.text(attribute) == own {
            changes.remove(attribute);
        }
    }
    rules::check_update(&changes)?;
    let mut data = held.data.clone();
    for (attribute, element) in changes.iter() {
        data.set(attribute, element.clone());
    }
    if data == held.data {
        return Ok(Change::nothing(None));
    }
    stamp(&mut data, now_ms);
    Ok(Change::to(&held.data, Held { data, ..held.clone() }))
}

/// Claims, completes or cancels (N-ACTION type 1, PS3.4 CC.2.1). `wanted` is `None` when the request
/// names no state.
///
/// # Errors
///
/// What table CC.1.1-2 answers.
pub fn change_state(
    held: &Held,
    wanted: Option<State>,
    transaction: Option<&TransactionUid>,
    now_ms: i64,
) -> Result<Change, Refusal> {
    let wanted = match wanted {
        None | Some(State::Scheduled) => return Err(Refusal::NotAState),
        Some(wanted) => wanted,
    };
    let Some(transaction) = transaction else { return Err(Refusal::TransactionMissing) };
    if wanted == State::InProgress {
        return match held.state {
            State::Scheduled => Ok(moved(held, State::InProgress, Some(transaction), now_ms)),
            // Whoever claims brings a lock of their own, so it is not compared.
            State::InProgress => Err(Refusal::AlreadyInProgress),
            State::Completed | State::Canceled => Err(Refusal::Final(held.state)),
        };
    }
    if held.state == State::Scheduled {
        return Err(Refusal::NotInProgress);
    }
    if held.transaction.is_some() || held.state == State::InProgress {
        unlock(held, Some(transaction))?;
    }
    match (held.state, wanted) {
        (State::Completed, State::Completed) => Ok(Change::nothing(Some(Note::AlreadyCompleted))),
        (State::Canceled, State::Canceled) => Ok(Change::nothing(Some(Note::AlreadyCanceled))),
        (State::Completed | State::Canceled, _) => Err(Refusal::Final(held.state)),
        (_, State::Completed) => {
            rules::check_completed(&held.data)?;
            Ok(moved(held, State::Completed, None, now_ms))
        }
        _ => Ok(moved(held, State::Canceled, None, now_ms)),
    }
}

/// Asks to cancel without holding the lock (N-ACTION type 2, PS3.4 CC.2.2). A workitem that nobody
/// has claimed is canceled here; the performer of another one is told, if they listen.
///
/// # Errors
///
/// It is COMPLETED.
pub fn request_cancel(
    held: &Held,
    request: &DataSet,
    requester: Option<&str>,
    now_ms: i64,
) -> Result<Change, Refusal> {
    match held.state {
        State::Completed => Err(Refusal::AlreadyCompleted),
        State::Canceled => Ok(Change::nothing(Some(Note::AlreadyCanceled))),
        State::InProgress => {
            let events = vec![cancel_requested(request, requester)];
            Ok(Change { held: None, events, note: None })
        }
        State::Scheduled => {
            // CC.2.2.3: through IN PROGRESS, with a report of each step.
            let claimed = moved(held, State::InProgress, None, now_ms);
            let mut between = claimed.held.unwrap_or_else(|| held.clone());
            let mut progress = first_item(&between.data);
            for attribute in [tags::CANCEL_REASON, tags::DISCONTINUATION] {
                if let Some(element) = request.get(attribute).filter(|e| !e.is_empty()) {
                    progress.set(attribute, element.clone());
                }
            }
            let contact = request.only(|a| a == tags::CONTACT_URI || a == tags::CONTACT_NAME);
            if !contact.is_empty() {
                progress.set_items(tags::COMMUNICATIONS, vec![contact]);
            }
            if !progress.is_empty() {
                between.data.set_items(tags::PROGRESS, vec![progress]);
            }
            let canceled = moved(&between, State::Canceled, None, now_ms);
            let mut events = claimed.events;
            events.extend(canceled.held.as_ref().map(|held| state_report(&held.data)));
            Ok(Change { held: canceled.held, events, note: None })
        }
    }
}

fn unlock(held: &Held, transaction: Option<&TransactionUid>) -> Result<(), Refusal> {
    match transaction {
        None => Err(Refusal::TransactionMissing),
        Some(_) if held.transaction.as_ref() != transaction => Err(Refusal::TransactionWrong),
        Some(_) => Ok(()),
    }
}

/// The workitem in another state, its final state's attributes completed.
fn moved(held: &Held, state: State, lock: Option<&TransactionUid>, now_ms: i64) -> Change {
    let mut data = held.data.clone();
    data.set_text(tags::STATE, VR::CS, state.as_str());
    stamp(&mut data, now_ms);
    if state == State::Canceled {
        // Codes X of table CC.2.5-3: what the performer did not say is said here (CC.2.1.3).
        let mut progress = first_item(&data);
        if !progress.has_value(tags::CANCELED_AT) {
            progress.set_text(tags::CANCELED_AT, VR::DT, &instant::date_time(now_ms));
        }
        if !progress.has_value(tags::DISCONTINUATION) {
            let mut code = DataSet::default();
            code.set_text(tags::CODE_VALUE, VR::SH, "110513");
            code.set_text(tags::CODING_SCHEME, VR::SH, "DCM");
            code.set_text(tags::CODE_MEANING, VR::LO, "Discontinued for unspecified reason");
            progress.set_items(tags::DISCONTINUATION, vec![code]);
        }
        let mut items = data.items(tags::PROGRESS).to_vec();
        match items.first_mut() {
            Some(first) => *first = progress,
            None => items.push(progress),
        }
        data.set_items(tags::PROGRESS, items);
    }
    let transaction = lock.or(held.transaction.as_ref()).cloned();
    let events = vec![state_report(&data)];
    Change { held: Some(Held { data, state, transaction }), events, note: None }
}

fn first_item(data: &DataSet) -> DataSet {
    data.items(tags::PROGRESS).first().cloned().unwrap_or_default()
}

/// Scheduled Procedure Step Modification DateTime is ours to set.
fn stamp(data: &mut DataSet, now_ms: i64) {
    data.set_text(tags::MODIFIED, VR::DT, &instant::date_time(now_ms));
}

#[cfg(test)]
mod tests;
