//! Table E.1-1 of PS3.15 as data, read once from `table.txt`.

use std::sync::LazyLock;

use crate::tag::Tag;

/// The action codes of PS3.15 table E.1-1a, for the Basic Profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// X: remove.
    Remove,
    /// Z: zero length, or a dummy.
    Empty,
    /// D: a dummy of non-zero length.
    Dummy,
    /// U: another UID, the same for the same one.
    Uid,
    /// X/Z.
    RemoveOrEmpty,
    /// X/D.
    RemoveOrDummy,
    /// Z/D.
    EmptyOrDummy,
    /// X/Z/D.
    RemoveOrEmptyOrDummy,
    /// X/Z/U*: the sequence stays, with other UIDs.
    RemoveOrEmptyOrUids,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) tag: Tag,
    pub(super) code: Code,
    /// Letters of the options; see the head of `table.txt`.
    pub(super) options: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people and for the test of the table"))]
    pub(super) keyword: &'static str,
}

static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| include_str!("table.txt").lines().filter_map(row).collect());

fn row(line: &'static str) -> Option<Row> {
    let mut words = line.split(' ');
    let tag = Tag::from_hex(words.next()?)?;
    let code = match words.next()? {
        "X" => Code::Remove,
        "Z" => Code::Empty,
        "D" => Code::Dummy,
        "U" => Code::Uid,
        "X/Z" => Code::RemoveOrEmpty,
        "X/D" => Code::RemoveOrDummy,
        "Z/D" => Code::EmptyOrDummy,
        "X/Z/D" => Code::RemoveOrEmptyOrDummy,
        "X/Z/U*" => Code::RemoveOrEmptyOrUids,
        _ => return None,
    };
    Some(Row { tag, code, options: words.next()?, keyword: words.next()? })
}

/// The row of an attribute, if the table has one.
pub(super) fn find(tag: Tag) -> Option<&'static Row> {
    let at = ROWS.binary_search_by_key(&tag, |row| row.tag).ok()?;
    ROWS.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_in_order_and_under_its_right_name() {
        let lines = include_str!("table.txt").lines().filter(|line| !line.starts_with('#'));
        assert_eq!(ROWS.len(), lines.count());
        assert_eq!(ROWS.len(), 652);
        assert!(ROWS.is_sorted_by(|a, b| a.tag < b.tag), "sorted, and every tag once");
        for row in ROWS.iter() {
            let options = row.options.bytes();
            assert!(options.clone().all(|b| b"-UVvIPpTdsg".contains(&b)), "{}", row.tag);
            // The dictionary is a second source: a slip of a digit would give another name.
            if let Some(keyword) = row.tag.keyword() {
                assert_eq!(keyword, row.keyword, "{}", row.tag);
            }
        }
    }
}
