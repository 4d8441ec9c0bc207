//! Rows of the audit trail as audit messages of PS3.15 section A.5: XML by the schema of A.5.1, with the
//! event identifiers of CID 400 and the roles of A.5.2.

use std::fmt::Write;

use qianli_catalog::AuditRow;
use qianli_model::audit::{Action, Outcome};
use serde_json::Value;

use super::{details, time};

/// A code of the DICOM Controlled Terminology (PS3.16 annex D) and its meaning.
type Code = (&'static str, &'static str);

const SOURCE: Code = ("110153", "Source Role ID");
const DESTINATION: Code = ("110152", "Destination Role ID");
const APPLICATION: Code = ("110150", "Application");

/// What an action is in the terms of the standard.
struct Event {
    id: Code,
    /// C, R, U, D or E.
    action: char,
    kind: Option<Code>,
}

const fn event(id: Code, action: char) -> Event {
    Event { id, action, kind: None }
}

const fn event_of(id: Code, action: char, kind: Code) -> Event {
    Event { id, action, kind: Some(kind) }
}

const ACTIVITY: Code = ("110100", "Application Activity");
const LOG_USED: Code = ("110101", "Audit Log Used");
const ACCESSED: Code = ("110103", "DICOM Instances Accessed");
const TRANSFERRED: Code = ("110104", "DICOM Instances Transferred");
const DELETED: Code = ("110105", "DICOM Study Deleted");
const EXPORT: Code = ("110106", "Export");
const IMPORT: Code = ("110107", "Import");
const PROCEDURE: Code = ("110111", "Procedure Record");
const QUERY: Code = ("110112", "Query");
const ALERT: Code = ("110113", "Security Alert");
const AUTHENTICATION: Code = ("110114", "User Authentication");

fn event_for(row: &AuditRow) -> Event {
    let entry = &row.entry;
    let Some(action) = Action::parse(&entry.action) else {
        // A word of a later release.
        return event(ACTIVITY, 'E');
    };
    match action {
        Action::Store => match details(row)["route"].as_str() {
            Some("import" | "rebuild") => event(IMPORT, 'C'),
            _ => event(TRANSFERRED, 'C'),
        },
        Action::Delete | Action::Purge if entry.series.is_empty() => event(DELETED, 'D'),
        Action::Delete | Action::Purge => event(ACCESSED, 'D'),
        Action::Restore => event(ACCESSED, 'C'),
        Action::SettleConflict => event(ACCESSED, 'U'),
        Action::Search => event(QUERY, 'E'),
        Action::ReadMetadata | Action::ReadPixels | Action::ReadPage => event(ACCESSED, 'R'),
        Action::ReadObjects => event(TRANSFERRED, 'R'),
        Action::Export => event(EXPORT, 'R'),
        Action::CreateWorkitem => event(PROCEDURE, 'C'),
        Action::ChangeWorkitem
        | Action::ChangeOrder
        | Action::ChangeReading
        | Action::Subscribe => event(PROCEDURE, 'U'),
        Action::ReadWorkitem | Action::ReadOrder | Action::ReadReading => event(PROCEDURE, 'R'),
        Action::Login | Action::LoginFailed => event_of(AUTHENTICATION, 'E', ("110122", "Login")),
        Action::Logout => event_of(AUTHENTICATION, 'E', ("110123", "Logout")),
        Action::AccessDenied => event_of(ALERT, 'E', ("110132", "Use of Restricted Function")),
        Action::ChangeUser | Action::ChangeToken => {
            event_of(ALERT, 'E', ("110137", "User Security Attributes Changed"))
        }
        Action::ChangeRole => event_of(ALERT, 'E', ("110136", "Security Roles Changed")),
        Action::ChangeTenant | Action::ChangePeer | Action::ChangeRoute => {
            event_of(ALERT, 'E', ("110129", "Security Configuration"))
        }
        Action::ChangeGrant | Action::ChangeLink => {
            event_of(ALERT, 'E', ("110135", "Object Security Attributes Changed"))
        }
        Action::BreakGlass => event_of(ALERT, 'E', ("110127", "Emergency Override Started")),
        Action::ReadAudit => event(LOG_USED, 'R'),
        Action::Start => event_of(ACTIVITY, 'E', ("110120", "Application Start")),
        Action::Stop => event_of(ACTIVITY, 'E', ("110121", "Application Stop")),
    }
}

/// EventOutcomeIndicator: 0 success, 4 minor and 8 serious failure.
fn outcome(row: &AuditRow) -> u8 {
    match Outcome::parse(&row.entry.outcome) {
        Some(Outcome::Success) => 0,
        Some(Outcome::NotFound) => 4,
        Some(Outcome::Refused | Outcome::Failed) | None => 8,
    }
}

/// Whether what the row tells of went well.
pub fn is_success(row: &AuditRow) -> bool {
    outcome(row) == 0
}

/// The message, as one line without an XML declaration. `source` names this archive.
pub fn message(row: &AuditRow, source: &str) -> String {
    let entry = &row.entry;
    let event = event_for(row);
    let mut xml = String::with_capacity(1200);
    let _ = write!(
        xml,
        r#"<AuditMessage><EventIdentification EventActionCode="{}" EventDateTime="{}" EventOutcomeIndicator="{}">"#,
        event.action,
        time(entry.at_ms),
        outcome(row)
    );
    coded(&mut xml, "EventID", event.id);
    if let Some(kind) = event.kind {
        coded(&mut xml, "EventTypeCode", kind);
    }
    let _ = write!(
        xml,
        "<EventOutcomeDescription>{}: {}</EventOutcomeDescription></EventIdentification>",
        escaped(&entry.action),
        escaped(&entry.outcome)
    );
    participants(&mut xml, row, source, event.action == 'R');
    let _ = write!(
        xml,
        r#"<AuditSourceIdentification AuditEnterpriseSiteID="{}" AuditSourceID="{}"><AuditSourceTypeCode csd-code="4" codeSystemName="DCM" originalText="Application Server Process or Thread"/></AuditSourceIdentification>"#,
        entry.tenant,
        escaped(source)
    );
    objects(&mut xml, row);
    xml.push_str("</AuditMessage>");
    xml
}

/// Who asked, and the archive, with their roles: what is read flows to who asked.
fn participants(xml: &mut String, row: &AuditRow, source: &str, flows_out: bool) {
    let entry = &row.entry;
    let who = if entry.principal.is_empty() { &entry.principal_kind } else { &entry.principal };
    let (theirs, ours) = match (entry.principal_kind.as_str(), flows_out) {
        ("system", _) => (APPLICATION, APPLICATION),
        (_, true) => (DESTINATION, SOURCE),
        (_, false) => (SOURCE, DESTINATION),
    };
    let _ = write!(
        xml,
        r#"<ActiveParticipant UserID="{}" AlternativeUserID="{}" UserIsRequestor="true""#,
        escaped(who),
        escaped(&entry.principal_kind)
    );
    if !entry.peer.is_empty() {
        // 2: an IP address.
        let _ = write!(
            xml,
            r#" NetworkAccessPointID="{}" NetworkAccessPointTypeCode="2""#,
            escaped(&entry.peer)
        );
    }
    xml.push('>');
    coded(xml, "RoleIDCode", theirs);
    let _ = write!(
        xml,
        r#"</ActiveParticipant><ActiveParticipant UserID="{}" UserIsRequestor="false">"#,
        escaped(source)
    );
    coded(xml, "RoleIDCode", ours);
    xml.push_str("</ActiveParticipant>");
}

/// The study, with what is known of its instances; what was searched by; a workitem.
fn objects(xml: &mut String, row: &AuditRow) {
    let entry = &row.entry;
    let details = details(row);
    if entry.action == Action::Search.as_str() {
        let asked = details.get("by").map(Value::to_string).unwrap_or_default();
        open_object(xml, "search", ("search", "99QIANLI", "Search"));
        let _ = write!(xml, "<ParticipantObjectQuery>{}</ParticipantObjectQuery>", base64(&asked));
        close_object(xml, row);
    }
    let uid = match (entry.study.as_str(), entry.instance.as_str()) {
        ("", "") => return,
        // Workitems belong to no study.
        ("", workitem) => {
            open_object(xml, workitem, ("workitem", "99QIANLI", "Workitem UID"));
            name(xml, workitem);
            return close_object(xml, row);
        }
        (study, _) => study,
    };
    open_object(xml, uid, ("110180", "DCM", "Study Instance UID"));
    name(xml, uid);
    detail(xml, "series", &entry.series);
    close_object_with(xml, row, &details);
}

/// Opens an object of a kind: code, coding scheme and meaning. The standard has codes for few kinds.
fn open_object(xml: &mut String, id: &str, (code, scheme, meaning): (&str, &str, &str)) {
    // 2: a system object, 3: a report, which is what the standard calls a study here.
    let _ = write!(
        xml,
        r#"<ParticipantObjectIdentification ParticipantObjectID="{}" ParticipantObjectTypeCode="2" ParticipantObjectTypeCodeRole="3"><ParticipantObjectIDTypeCode csd-code="{code}" codeSystemName="{scheme}" originalText="{meaning}"/>"#,
        escaped(id)
    );
}

fn name(xml: &mut String, text: &str) {
    let _ = write!(xml, "<ParticipantObjectName>{}</ParticipantObjectName>", escaped(text));
}

fn detail(xml: &mut String, kind: &str, value: &str) {
    if !value.is_empty() {
        let _ = write!(
            xml,
            r#"<ParticipantObjectDetail type="{}" value="{}"/>"#,
            escaped(kind),
            base64(value)
        );
    }
}

fn close_object(xml: &mut String, row: &AuditRow) {
    detail(xml, "requests", &row.entry.requests.to_string());
    xml.push_str("</ParticipantObjectIdentification>");
}

fn close_object_with(xml: &mut String, row: &AuditRow, details: &Value) {
    let entry = &row.entry;
    detail(xml, "requests", &entry.requests.to_string());
    detail(xml, "details", &entry.details);
    let instance = match entry.instance.as_str() {
        "" => String::new(),
        uid => format!(r#"<Instance UID="{}"/>"#, escaped(uid)),
    };
    let classes = details.get("sop_classes").and_then(Value::as_object);
    let counted: Vec<(String, i64)> = match classes {
        Some(classes) => classes
            .iter()
            .map(|(class, count)| (class.clone(), count.as_i64().unwrap_or_default()))
            .collect(),
        None if entry.instances > 0 => vec![(String::new(), entry.instances)],
        None => Vec::new(),
    };
    if !counted.is_empty() {
        xml.push_str("<ParticipantObjectDescription>");
        for (class, count) in counted {
            let class = match class.as_str() {
                "" => String::new(),
                uid => format!(r#" UID="{}""#, escaped(uid)),
            };
            let _ = write!(
                xml,
                r#"<SOPClass{class} NumberOfInstances="{count}">{instance}</SOPClass>"#
            );
        }
        xml.push_str("</ParticipantObjectDescription>");
    }
    xml.push_str("</ParticipantObjectIdentification>");
}

fn coded(xml: &mut String, element: &str, (code, meaning): Code) {
    let _ = write!(
        xml,
        r#"<{element} csd-code="{code}" codeSystemName="DCM" originalText="{meaning}"/>"#
    );
}

/// A text for content and attributes; characters that XML cannot hold become U+FFFD.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// Base64 (RFC 4648 section 4), which the schema asks for in details and queries.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(place).copied().unwrap_or_default());
        }
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use qianli_catalog::AuditEntry;
    use qianli_model::scope::Principal;
    use qianli_model::{Permissions, Scope, TenantId};

    use super::*;

    fn row(action: Action, outcome: Outcome) -> AuditRow {
        let principal = Principal::Peer("CT<1>&\"'\u{1}\n".into());
        let scope = Scope::new(TenantId::DEFAULT, principal, Permissions::NONE).at("192.0.2.7");
        let entry = AuditEntry::new(&scope, action, outcome, 1_709_624_400_123);
        let entry = AuditEntry { study: "1.2.3".into(), instances: 5, ..entry };
        AuditRow { chain: 9, number: 1, entry, previous_hash: "0".into(), hash: "1".into() }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let check = |text: &str, expected: &str| assert_eq!(base64(text), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
        check("\u{ff}?>", "w78/Pg==");
    }

    #[test]
    fn a_store_is_instances_transferred_by_its_sender() {
        let mut row = row(Action::Store, Outcome::Success);
        row.entry.details = r#"{"route":"dimse","sop_classes":{"1.2.840.1":5}}"#.into();
        let xml = message(&row, "QIANLI");
        for part in [
            r#"EventActionCode="C" EventDateTime="2024-03-05T07:40:00.123Z" EventOutcomeIndicator="0""#,
            r#"<EventID csd-code="110104""#,
            r#"UserID="CT&lt;1&gt;&amp;&quot;'"#,
            r#"NetworkAccessPointID="192.0.2.7" NetworkAccessPointTypeCode="2""#,
            r#"ParticipantObjectID="1.2.3""#,
            r#"<SOPClass UID="1.2.840.1" NumberOfInstances="5">"#,
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
        assert!(!xml.contains('\n') && !xml.contains('\u{1}'), "{xml}");
    }

    #[test]
    fn every_action_has_its_event() {
        let check = |action, outcome, id: &str, indicator: &str| {
            let xml = message(&row(action, outcome), "QIANLI");
            let id = format!(r#"<EventID csd-code="{id}""#);
            let indicator = format!(r#"EventOutcomeIndicator="{indicator}""#);
            assert!(xml.contains(&id) && xml.contains(&indicator), "{xml}");
        };
        check(Action::Search, Outcome::Success, "110112", "0");
        check(Action::ReadPixels, Outcome::NotFound, "110103", "4");
        check(Action::ReadObjects, Outcome::Success, "110104", "0");
        check(Action::Delete, Outcome::Refused, "110105", "8");
        check(Action::LoginFailed, Outcome::Refused, "110114", "8");
        check(Action::AccessDenied, Outcome::Refused, "110113", "8");
        check(Action::ReadAudit, Outcome::Success, "110101", "0");
        check(Action::Start, Outcome::Success, "110100", "0");
        for action in Action::ALL {
            let xml = message(&row(*action, Outcome::Failed), "QIANLI");
            assert!(xml.contains(r#"csd-code="1101"#) && xml.contains("</AuditMessage>"), "{xml}");
        }
    }
}
