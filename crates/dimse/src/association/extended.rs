//! What both ends agree on beyond a SOP class as such: extended negotiation (PS3.7 D.3.3.5, PS3.4
//! B.3.1 and C.5), common extended negotiation (PS3.7 D.3.3.6), and the window of asynchronous
//! operations (PS3.7 D.3.3.3). The items of PS3.7 that the codec leaves alone are read here.

use crate::services::Service;

/// Asynchronous Operations Window sub-item.
pub(crate) const ITEM_WINDOW: u8 = 0x53;
/// SOP Class Common Extended Negotiation sub-item.
pub(crate) const ITEM_COMMON: u8 = 0x57;
/// User Identity sub-item of an A-ASSOCIATE-AC.
pub(crate) const ITEM_IDENTITY_ANSWER: u8 = 0x59;

/// We work off one operation after the other, in both directions.
pub(crate) const OUR_WINDOW: [u8; 4] = [0, 1, 0, 1];

/// What a storage SCP says of itself (PS3.4 table B.3-3): level 2, since every attribute is kept;
/// signatures level 3, since every bit is; and nothing is coerced.
const OUR_STORAGE: [u8; 6] = [2, 0, 3, 0, 0, 0];

/// What both ends agreed on for a presentation context beyond its baseline. All false without
/// extended negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extended {
    /// Queries and retrievals may name attributes of any level without the unique keys above.
    pub relational: bool,
    /// Date and time ranges are one range (PS3.4 C.2.2.2.5).
    pub datetime: bool,
    /// Person names are matched by sound and in any order, as `fuzzymatching` of QIDO-RS.
    pub fuzzy: bool,
}

impl Extended {
    /// What we agree to of what was proposed for a SOP class of this service, and the bytes of the
    /// answer. `None` when nothing is answered: that is the baseline.
    pub(crate) fn agree(service: Service, proposed: &[u8]) -> Option<(Self, Vec<u8>)> {
        let asked = |at: usize| proposed.get(at).is_some_and(|byte| *byte == 1);
        let (agreed, ours): (Self, &[bool]) = match service {
            Service::Query => {
                let agreed = Self { relational: asked(0), datetime: asked(1), fuzzy: asked(2) };
                // Timezone adjustment and conversion of enhanced images are not offered.
                (agreed, &[agreed.relational, agreed.datetime, agreed.fuzzy, false, false])
            }
            Service::Get | Service::Move => {
                let agreed = Self { relational: asked(0), ..Self::default() };
                (agreed, &[agreed.relational, false])
            }
            Service::Storage => return Some((Self::default(), OUR_STORAGE.to_vec())),
            _ => return None,
        };
        let answer = ours.iter().take(proposed.len()).map(|yes| u8::from(*yes)).collect();
        Some((agreed, answer))
    }
}

/// What a peer says of a SOP class that others may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonExtended {
    /// The SOP class.
    pub sop_class: String,
    /// Its service class, such as [`CommonExtended::STORAGE`].
    pub service_class: String,
    /// SOP classes that are as it, but more general.
    pub related: Vec<String>,
}

impl CommonExtended {
    /// The storage service class (PS3.4 annex B).
    pub const STORAGE: &str = "1.2.840.10008.4.2";

    /// Reads the content of a sub-item. `None` for one that is cut short.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let (sop_class, rest) = text(content)?;
        let (service_class, rest) = text(rest)?;
        // Older peers end here.
        let (list, _) = if rest.is_empty() { (rest, rest) } else { counted(rest)? };
        let mut related = Vec::new();
        let mut list = list;
        while !list.is_empty() {
            let (one, rest) = text(list)?;
            related.push(one);
            list = rest;
        }
        Some(Self { sop_class, service_class, related })
    }
}

/// Operations that a peer would invoke and perform at one time; 0 for any number.
pub(crate) fn window(content: &[u8]) -> Option<(u16, u16)> {
    let (&[a, b, c, d], _) = content.split_first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// The bytes behind a length of two bytes, and what follows them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[a, b], rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes([a, b]).into())
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (text, rest) = counted(bytes)?;
    Some((super::printable(&String::from_utf8_lossy(text)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_supported_is_answered_for_what_was_asked() {
        let all = Extended { relational: true, datetime: true, fuzzy: true };
        let check = |service, proposed: &[u8], agreed, answer: &[u8]| {
            let expected = Some((agreed, answer.to_vec()));
            assert_eq!(Extended::agree(service, proposed), expected, "{service:?} {proposed:?}");
        };
        check(Service::Query, &[1, 1, 1, 1, 1], all, &[1, 1, 1, 0, 0]);
        check(Service::Query, &[1], Extended { relational: true, ..Extended::default() }, &[1]);
        check(
            Service::Query,
            &[0, 0, 1],
            Extended { fuzzy: true, ..Extended::default() },
            &[0, 0, 1],
        );
        check(Service::Query, &[], Extended::default(), &[]);
        check(
            Service::Move,
            &[1, 1],
            Extended { relational: true, ..Extended::default() },
            &[1, 0],
        );
        check(Service::Storage, &[2, 0, 0, 0, 0, 0], Extended::default(), &OUR_STORAGE);
        assert_eq!(Extended::agree(Service::Verification, &[1]), None);
    }

    #[test]
    fn common_extended_negotiation_is_read_and_never_trusted() {
        let mut item = vec![0, 5];
        item.extend(b"1.2.3");
        item.extend([0, 17]);
        item.extend(b"1.2.840.10008.4.2");
        item.extend([0, 7, 0, 5]);
        item.extend(b"1.2.4");
        let read = CommonExtended::read(&item).expect("an item");
        assert_eq!(
            (read.sop_class.as_str(), read.related.as_slice()),
            ("1.2.3", &["1.2.4".into()][..])
        );
        assert_eq!(read.service_class, CommonExtended::STORAGE);
        for length in (0..item.len()).filter(|length| *length != 26) {
            assert_eq!(CommonExtended::read(&item[..length]), None, "{length}");
        }
        assert_eq!(window(&[0, 8, 0, 1]), Some((8, 1)));
        assert_eq!(window(&[0, 8, 0]), None);
    }
}
