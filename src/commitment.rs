//! What is asked and answered when we are the SCU of storage commitment, push model (PS3.4 annex J): the data set of
//! an N-ACTION, and what a report says.

use qianli_model::dataset::{Limits, SliceSource};
use qianli_model::{TransferSyntax, json};
use serde::{Deserialize, Deserializer};

/// Storage Commitment Push Model SOP Class (PS3.4 section J.3.5).
pub(crate) const COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// Its one SOP instance.
pub(crate) const WELL_KNOWN: &str = "1.2.840.10008.1.20.1.1";

/// Longest list as JSON (bytes): that of 50,000 objects has about nine million.
const LONGEST_JSON: usize = 16 << 20;

/// A Transaction UID that nobody can guess (PS3.5 annex B.2).
pub(crate) fn new_transaction() -> String {
    format!("2.25.{}", uuid::Uuid::new_v4().as_u128())
}

/// The data set of the N-ACTION about SOP classes and instances, in Implicit VR Little Endian (PS3.4 table J.3-1).
pub(crate) fn request<'a>(
    transaction: &str,
    instances: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let mut items = Vec::new();
    for (class, instance) in instances {
        let mut item = Vec::new();
        uid(&mut item, 0x1150, class);
        uid(&mut item, 0x1155, instance);
        items.extend([0xFE, 0xFF, 0x00, 0xE0]);
        items.extend(length(&item));
        items.extend(item);
    }
    let mut data = Vec::with_capacity(items.len() + 100);
    uid(&mut data, 0x1195, transaction);
    data.extend([0x08, 0x00, 0x99, 0x11]);
    data.extend(length(&items));
    data.extend(items);
    data
}

/// An element of group 0008 with a UID.
fn uid(out: &mut Vec<u8>, element: u16, value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(0);
    }
    out.extend([0x08, 0x00]);
    out.extend(element.to_le_bytes());
    out.extend(length(&value));
    out.extend(value);
}

fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// What a report says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Transaction UID; empty when it names none.
    pub(crate) transaction: String,
    /// SOP Instance UIDs that are kept.
    pub(crate) committed: Vec<String>,
    /// Those that are not, with Failure Reason (0008,1197).
    pub(crate) failed: Vec<(String, Option<u64>)>,
}

/// What requests and reports hold, as far as it is looked at: they are long lists, of which a tree of values would take
/// a hundred times their bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Lists {
    /// Transaction UID.
    #[serde(rename = "00081195", deserialize_with = "first")]
    pub(crate) transaction: Option<String>,
    /// Referenced SOP Sequence.
    #[serde(rename = "00081199")]
    referenced: Sequence,
    /// Failed SOP Sequence.
    #[serde(rename = "00081198")]
    failed: Sequence,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sequence {
    #[serde(rename = "Value")]
    items: Vec<Reference>,
}

/// An item of either sequence.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reference {
    /// Referenced SOP Class UID.
    #[serde(rename = "00081150", deserialize_with = "first")]
    pub(crate) class: Option<String>,
    /// Referenced SOP Instance UID.
    #[serde(rename = "00081155", deserialize_with = "first")]
    pub(crate) instance: Option<String>,
    /// Failure Reason.
    #[serde(rename = "00081197", deserialize_with = "first")]
    reason: Option<u64>,
}

/// The first value of an attribute.
fn first<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    struct Element<T> {
        #[serde(rename = "Value", default = "Vec::new")]
        values: Vec<Option<T>>,
    }
    Ok(Element::<T>::deserialize(from)?.values.into_iter().next().flatten())
}

impl Lists {
    /// Reads a data set.
    pub(crate) fn read(data: &[u8], syntax: TransferSyntax) -> anyhow::Result<Self> {
        let limits = Limits { max_depth: 4, max_json: LONGEST_JSON, ..Limits::default() };
        let document = json::document(&mut SliceSource::new(data), syntax, &limits)?;
        Ok(serde_json::from_slice(&document.json)?)
    }

    /// What a request asks about.
    pub(crate) fn into_referenced(self) -> Vec<Reference> {
        self.referenced.items
    }
}

impl Outcome {
    /// Reads the data set of a report.
    pub(crate) fn read(data: &[u8], syntax: TransferSyntax) -> anyhow::Result<Self> {
        let Lists { transaction, referenced, failed } = Lists::read(data, syntax)?;
        let committed = referenced.items.into_iter().filter_map(|item| item.instance).collect();
        let lost = |item: Reference| Some((item.instance?, item.reason));
        let failed = failed.items.into_iter().filter_map(lost).collect();
        Ok(Self { transaction: transaction.unwrap_or_default(), committed, failed })
    }
}

/// A Failure Reason in words (PS3.3 section C.14.1.1).
pub(crate) fn reason_words(reason: Option<u64>) -> &'static str {
    match reason {
        Some(0x0110) => "processing failure",
        Some(0x0112) => "it is not there",
        Some(0x0119) => "it is of another class",
        Some(0x0122) => "its class is not supported",
        Some(0x0131) => "the transaction is a duplicate",
        Some(0x0213) => "out of resources",
        _ => "no reason that the standard lists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_every_object_and_reports_are_read() {
        let class = "1.2.840.10008.5.1.4.1.1.2";
        let data = request("2.25.1", [(class, "1.2.1"), (class, "1.2.22")]);
        let read = Outcome::read(&data, TransferSyntax::IMPLICIT_LITTLE).unwrap();
        // A report that everything is there looks as the request does (PS3.4 table J.3-2).
        let committed = vec!["1.2.1".to_owned(), "1.2.22".to_owned()];
        let transaction = "2.25.1".to_owned();
        assert_eq!(read, Outcome { transaction, committed, failed: Vec::new() });
        assert!(Outcome::read(b"no data set", TransferSyntax::IMPLICIT_LITTLE).is_err());
        assert!(new_transaction().len() <= 64);
    }
}
