//! The audit trail as other systems read it: lines of JSON, and DICOM audit messages.

pub mod message;
pub mod ship;
pub mod syslog;

use std::time::{Duration, UNIX_EPOCH};

use qianli_catalog::AuditRow;
use serde_json::Value;

/// A row as one JSON object, with its time as people read it.
pub fn json(row: &AuditRow) -> Value {
    let mut json = row.to_json();
    json["time"] = time(row.entry.at_ms).into();
    json
}

/// The details as they were meant; as text where they are not JSON, which only happens when somebody
/// altered them.
pub fn details(row: &AuditRow) -> Value {
    serde_json::from_str(&row.entry.details)
        .unwrap_or_else(|_| Value::String(row.entry.details.clone()))
}

/// A time as RFC 3339 writes it, in UTC.
pub fn time(at_ms: i64) -> String {
    /// 9999-12-31T23:59:59Z: later years have more digits than the format.
    const LAST_MS: u64 = 253_402_300_799_000;
    let at = Duration::from_millis(u64::try_from(at_ms).unwrap_or_default().min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + at).to_string()
}
