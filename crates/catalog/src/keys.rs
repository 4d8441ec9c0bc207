//! Folded forms of what is matched: the same function makes the stored key and the key of a match
//! value, so that both sides of a comparison agree. The folding itself is in `qianli_model::name`.

use qianli_model::name::{self, fold_text};
use qianli_model::query::time_key as whole_time;

/// Longest key kept, in characters. PS3.5 allows 64 for most values; longer ones are equipment
/// errors, and index rows have a size limit.
const MAX_KEY: usize = 256;

/// Removes what Postgres cannot keep in text (NUL) and cuts at [`MAX_KEY`] characters.
pub(crate) fn bounded(text: &str) -> String {
    let text = text.trim();
    if text.len() <= MAX_KEY && !text.contains('\0') {
        return text.to_owned();
    }
    text.chars().filter(|c| *c != '\0').take(MAX_KEY).collect()
}

/// Key of a text that is matched without regard to case.
pub(crate) fn text_key(text: &str) -> String {
    if text.is_empty() { String::new() } else { bounded(&fold_text(text)) }
}

/// Keys of the alphabetic, ideographic and phonetic component groups of a person name.
pub(crate) fn name_keys(name: &str) -> [String; 3] {
    let mut groups = name.splitn(3, '=').map(group_key);
    std::array::from_fn(|_| groups.next().unwrap_or_default())
}

/// Key of one component group, or of a pattern for one; see [`qianli_model::name::group_key`].
pub(crate) fn group_key(group: &str) -> String {
    bounded(&name::group_key(group))
}

/// Key of a time: `HHMMSS.FFFFFF`, missing parts as zeros, colons of the old form removed. What is
/// not a time stays as sent, so that it can be seen.
pub(crate) fn time_key(time: &str) -> String {
    whole_time(time).unwrap_or_else(|| bounded(time))
}

/// A stable 64-bit digest (FNV-1a) of a blob key: a small index entry instead of the long key.
pub(crate) fn digest(key: &str) -> i64 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_joined_so_that_people_find_them() {
        for (name, key) in [
            ("Wang^XiaoDong", "wang xiaodong"),
            ("WANG, XiaoDong", "wang xiaodong"),
            ("Doe^John^^Dr.^", "doe john dr."),
            ("王^小东", "王小东"),
            ("王 小东", "王小东"),
            ("やまだ^たろう", "やまだたろう"),
            ("Wang^小东", "wang小东"),
            ("王^*", "王*"),
            ("wang^xiao*", "wang xiao*"),
            ("", ""),
        ] {
            assert_eq!(group_key(name), group_key(key), "{name}");
            assert_eq!(group_key(name).matches(' ').count(), key.matches(' ').count(), "{name}");
        }
        assert_eq!(name_keys("Yamada^Tarou=山田^太郎")[2], "");
    }

    #[test]
    fn times_compare_as_text() {
        for (time, key) in [
            ("10", "100000.000000"),
            ("1030", "103000.000000"),
            ("103015.5", "103015.500000"),
            ("10:30:15", "103015.000000"),
            ("noon", "noon"),
            ("", ""),
        ] {
            assert_eq!(time_key(time), key);
        }
    }

    #[test]
    fn oversized_and_nul_text_is_bounded() {
        assert_eq!(bounded(&"x".repeat(5000)).len(), MAX_KEY);
        assert_eq!(bounded("a\0b"), "ab");
    }
}
