//! Event reports (PS3.4 table CC.2.4-1, PS3.18 sections 8.10.5 and 11.13).

use dicom_core::VR;
use serde_json::{Value, json};

use super::EVENT_SOP_CLASS;
use super::data::{DataSet, tags};

/// Event Type ID (0000,1002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The state, or whether the input is ready, changed.
    StateReport,
    /// Somebody asks the performer to stop.
    CancelRequested,
    /// The performer got on.
    ProgressReport,
    /// The server comes or goes.
    ScpStatusChange,
    /// Somebody, or some station, is to do it.
    Assigned,
}

impl EventKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::StateReport,
        Self::CancelRequested,
        Self::ProgressReport,
        Self::ScpStatusChange,
        Self::Assigned,
    ];

    /// The number of the standard.
    pub fn number(self) -> i64 {
        match self {
            Self::StateReport => 1,
            Self::CancelRequested => 2,
            Self::ProgressReport => 3,
            Self::ScpStatusChange => 4,
            Self::Assigned => 5,
        }
    }

    /// The kind of a number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// What happened to a workitem.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Which report it is.
    pub kind: EventKind,
    /// The attributes that the table lists for it.
    pub attributes: DataSet,
}

/// The reports that a change of a workitem causes; `before` is `None` for a new one.
pub(super) fn between(before: Option<&DataSet>, after: &DataSet) -> Vec<Event> {
    let changed =
        |attribute| before.map(|before| before.get(attribute)) != Some(after.get(attribute));
    let mut events = Vec::new();
    if changed(tags::STATE) || changed(tags::READINESS) {
        events.push(state_report(after));
    }
    if before.is_some() && changed(tags::PROGRESS) {
        let attributes = after.only(|attribute| attribute == tags::PROGRESS);
        events.push(Event { kind: EventKind::ProgressReport, attributes });
    }
    // Emptied is a change as well: whoever was assigned learns that they no longer are.
    let assigned =
        |attribute| changed(attribute) && (before.is_some() || after.has_value(attribute));
    if assigned(tags::STATION_NAME) || assigned(tags::HUMAN_PERFORMERS) {
        events.push(assignment(after));
    }
    events
}

/// The state as it is: the report of every change of it, and the first report of a subscription.
pub fn state_report(data: &DataSet) -> Event {
    let mut attributes =
        data.only(|attribute| attribute == tags::STATE || attribute == tags::READINESS);
    if let Some(progress) = data.items(tags::PROGRESS).first() {
        for attribute in [tags::CANCEL_REASON, tags::DISCONTINUATION] {
            if let Some(element) = progress.get(attribute).filter(|element| !element.is_empty()) {
                attributes.set(attribute, element.clone());
            }
        }
    }
    Event { kind: EventKind::StateReport, attributes }
}

fn assignment(data: &DataSet) -> Event {
    let mut attributes = data.only(|attribute| attribute == tags::STATION_NAME);
    if let Some(performer) = data.items(tags::HUMAN_PERFORMERS).first() {
        for attribute in [tags::HUMAN_PERFORMER_CODE, tags::HUMAN_PERFORMER_ORGANIZATION] {
            if let Some(element) = performer.get(attribute) {
                attributes.set(attribute, element.clone());
            }
        }
    }
    Event { kind: EventKind::Assigned, attributes }
}

/// A request to cancel, for those who listen: the performer hopefully among them.
pub(super) fn cancel_requested(request: &DataSet, requester: Option<&str>) -> Event {
    let passed =
        [tags::CANCEL_REASON, tags::DISCONTINUATION, tags::CONTACT_URI, tags::CONTACT_NAME];
    let mut attributes = request.only(|attribute| passed.contains(&attribute));
    if let Some(requester) = requester {
        attributes.set_text(tags::REQUESTING_AE, VR::AE, requester);
    }
    Event { kind: EventKind::CancelRequested, attributes }
}

/// A whole report as it is sent: DICOM JSON with the command elements of PS3.18 section 11.13.
/// `attributes` is the JSON object of [`Event::attributes`] as it was kept.
pub fn report(workitem: &str, kind: i64, attributes: &str, message: u16) -> String {
    let mut report = json!({
        "00000002": { "vr": "UI", "Value": [EVENT_SOP_CLASS] },
        "00000110": { "vr": "US", "Value": [message] },
        "00001000": { "vr": "UI", "Value": [workitem] },
        "00001002": { "vr": "US", "Value": [kind] },
    });
    if let (Some(report), Ok(Value::Object(attributes))) =
        (report.as_object_mut(), serde_json::from_str(attributes))
    {
        report.extend(attributes);
    }
    report.to_string()
}
