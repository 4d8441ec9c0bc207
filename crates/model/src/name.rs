//! Person names (PS3.5 section 6.2.1): component groups, and the folded forms that search uses.
//!
//! The same folding is applied to what is stored and to what is asked for, so that both sides meet
//! whatever keyboard, case or accent they came from. Wildcards (`*`, `?`) survive it. Pinyin and
//! phonetic matching are not done here.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// The component groups of a name, padding trimmed; empty where absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups<'a> {
    /// First group, usually in Latin letters.
    pub alphabetic: &'a str,
    /// Second group, the name as its bearer writes it in ideographs or hangul.
    pub ideographic: &'a str,
    /// Third group, for example kana.
    pub phonetic: &'a str,
}

/// Splits a name at `=`.
pub fn groups(name: &str) -> Groups<'_> {
    let mut parts = name.splitn(3, '=').map(str::trim);
    let mut next = || parts.next().unwrap_or_default();
    Groups { alphabetic: next(), ideographic: next(), phonetic: next() }
}

/// Folds a person name for search.
///
/// In order: compatibility decomposition (full width becomes half width, half-width kana becomes
/// full width, ligatures fall apart); accents and other marks above, below or through a letter are
/// dropped, as are Hebrew and Arabic points, but not the voicing marks of kana or the vowel signs
/// of Thai and Indic scripts, which make another name; lower case, and letters that Unicode does
/// not decompose become their base (`ø` `o`, `ł` `l`, `đ` `d`, `ß` `ss`, `æ` `ae`, `œ` `oe`);
/// canonical composition (so that hangul and kana are whole again). Within each group, runs of
/// `^` and white space become one space, none at the ends. Groups stay joined by `=`; empty groups
/// at the end are left out.
pub fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for (index, group) in name.split('=').enumerate() {
        if index > 0 {
            folded.push('=');
        }
        fold_group(group, &mut folded);
    }
    folded.truncate(folded.trim_end_matches('=').len());
    folded
}

fn fold_group(group: &str, folded: &mut String) {
    if group.is_ascii() {
        push_words(group.chars().map(|c| c.to_ascii_lowercase()), folded);
        return;
    }
    let letters = group
        .nfkd()
        .filter(|&c| !is_accent(c))
        .flat_map(char::to_lowercase)
        .flat_map(|c| base(c).chars().chain(base(c).is_empty().then_some(c)));
    push_words(letters.nfc(), folded);
}

/// Writes letters with one space between words.
fn push_words(letters: impl Iterator<Item = char>, folded: &mut String) {
    let start = folded.len();
    let mut gap = false;
    for letter in letters {
        if letter == '^' || letter.is_whitespace() || letter.is_control() {
            gap = true;
            continue;
        }
        if gap && folded.len() > start {
            folded.push(' ');
        }
        gap = false;
        folded.push(letter);
    }
}

/// Canonical combining classes: 1 overlays, 10 to 36 Hebrew, Arabic and Syriac points, from 200
/// marks attached to, above and below letters. 7 to 9 (nukta, kana voicing, virama) and 84 to 132
/// (vowel signs and tones of South and South-East Asia) stay.
fn is_accent(c: char) -> bool {
    matches!(canonical_combining_class(c), 1 | 10..=36 | 200..)
}

/// The base of a lower case letter that has no decomposition, or nothing.
fn base(c: char) -> &'static str {
    match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ı' => "i",
        'ς' => "σ",
        _ => "",
    }
}

/// Key of one component group, or of a pattern for one. Components are joined by one space, so that
/// `Wang^XiaoDong`, `Wang XiaoDong` and `WANG, XIAODONG` are one name; beside a character of a
/// script that writes no spaces they are joined by nothing, so that `王^小东` is found as `王小东`.
pub fn group_key(group: &str) -> String {
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
    key
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

/// Folds ordinary text (descriptions, identifiers, station names) for search: compatibility
/// composition, lower case, spaces at the ends trimmed. Accents and inner spaces are kept.
pub fn fold_text(text: &str) -> String {
    let text = text.trim();
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(fold(name), expected);
        assert_eq!(fold(&fold(name)), expected, "folding twice changes nothing");
    }

    #[test]
    fn case_accents_width_and_separators_fold() {
        check("MÜLLER^Jörg^^Dr.", "muller jorg dr.");
        check("  Ångström ^ Søren", "angstrom soren");
        check("Groß^Łukasz", "gross lukasz");
        check("Ｗａｎｇ^Ｘｉａｏ", "wang xiao");
        check("Đặng^Thị", "dang thi");
        check("ΓΙΑΝΝΗΣ", "γιαννησ");
        check("İsmail", "ismail");
        check("^^", "");
    }

    #[test]
    fn scripts_whose_marks_matter_keep_them() {
        check("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ タロウ");
        check("ヤマダ", "ヤマダ");
        check("홍^길동", "홍 길동");
        check("王^小東", "王 小東");
        check("สมชาย", "สมชาย");
        check("מֹשֶׁה", "משה");
    }

    #[test]
    fn groups_stay_apart() {
        check("Wang^XiaoDong=王^小東=", "wang xiaodong=王 小東");
        check("=王^小東", "=王 小東");
        let name = groups("Yamada^Tarou = 山田^太郎=やまだ^たろう");
        assert_eq!(name.alphabetic, "Yamada^Tarou");
        assert_eq!(name.ideographic, "山田^太郎");
        assert_eq!(name.phonetic, "やまだ^たろう");
        assert_eq!(groups(""), Groups::default());
    }

    #[test]
    fn match_values_fold_like_stored_ones() {
        check("*Müller*^J?rg", "*muller* j?rg");
        assert_eq!(fold_text(" Thorax Ａ.Ｐ. É* "), "thorax a.p. é*");
        assert_eq!(fold_text("CT_1"), "ct_1");
    }
}
