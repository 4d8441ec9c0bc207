//! Folded forms of what is matched: the same function makes the stored key and the key of a match
//! value, so that both sides of a comparison agree. The folding itself is in `qianli_model::name`.

use qianli_model::name::{fold, fold_text};

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

/// Key of one component group, or of a pattern for one. Components are joined by one space, so that
/// `Wang^XiaoDong`, `Wang XiaoDong` and `WANG, XIAODONG` are one name; beside a character of a
/// script that writes no spaces they are joined by nothing, so that `王^小东` is found as `王小东`.
pub(crate) fn group_key(group: &str) -> String {
    if group.is_empty() {
        return String::new();
    }
    let folded = fold(group);
    let mut key = String::with_capacity(folded.len());
    let mut gap = false;
    for c in folded.chars() {
        if c == '^' || c == ',' || c == '=' || c.is_whitespace() {
            gap = true;
            continue;
        }
        if gap && !key.is_empty() && !writes_no_spaces(c) {
            let after_letter = key.chars().next_back().is_some_and(|last| !writes_no_spaces(last));
            if after_letter {
                key.push(' ');
            }
        }
        gap = false;
        key.push(c);
    }
    bounded(&key)
}

/// Han, kana and Hangul (also as the jamo that compatibility decomposition leaves).
fn writes_no_spaces(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11FF}'
        | '\u{2E80}'..='\u{2FDF}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30FF}'
        | '\u{3130}'..='\u{318F}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// Key of a time: `HHMMSS.FFFFFF`, missing parts as zeros, colons of the old form removed. What is
/// not a time stays as sent, so that it can be seen.
pub(crate) fn time_key(time: &str) -> String {
    let digits: String = time.trim().chars().filter(|c| *c != ':').collect();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let numeric = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !numeric || !matches!(whole.len(), 2 | 4 | 6) || fraction.len() > 6 {
        return bounded(time);
    }
    format!("{whole:0<6}.{fraction:0<6}")
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
