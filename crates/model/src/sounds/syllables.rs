//! Characters that are syllables: how Han and Hangul are read, and which variants of Han are one.

use std::collections::HashMap;
use std::sync::LazyLock;

use hanconv::RawDictionary;
use pinyin::ToPinyinMulti;

/// Most readings of one character that count.
const MAX_READINGS: usize = 4;

/// Traditional and Japanese forms to the simplified one.
static SIMPLIFIED: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    let single = |text: &str| {
        let mut characters = text.chars();
        characters.next().filter(|_| characters.next().is_none())
    };
    let pairs = |dictionary: RawDictionary| {
        dictionary.iter().filter_map(move |(from, to)| Some((single(from)?, single(to)?)))
    };
    let mut table: HashMap<char, char> = pairs(RawDictionary::TSCharacters).collect();
    for (traditional, japanese) in pairs(RawDictionary::JPVariants) {
        let simple = table.get(&traditional).copied().unwrap_or(traditional);
        if japanese != simple {
            table.entry(japanese).or_insert(simple);
        }
    }
    table
});

/// The simplified form of a Han character; any other character as it is.
pub(super) fn simplified(c: char) -> char {
    SIMPLIFIED.get(&c).copied().unwrap_or(c)
}

/// How a Han or Hangul character is read, in letters, the most common reading first. Never empty for
/// Hangul; empty for Han that has no reading.
pub(super) fn readings(c: char) -> Vec<String> {
    if matches!(c, '\u{AC00}'..='\u{D7A3}') {
        return hangul(c);
    }
    let Some(read) = c.to_pinyin_multi() else { return Vec::new() };
    let mut readings: Vec<String> = Vec::new();
    for reading in read.into_iter().map(|reading| reading.plain()) {
        // Keyboards and passports have no ü.
        let spellings: &[&str] = if reading.contains('ü') { &["v", "u", "yu"] } else { &["u"] };
        for spelling in spellings {
            let reading = reading.replace('ü', spelling);
            if readings.len() < MAX_READINGS && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    }
    readings
}

/// Family names that their bearers spell otherwise than the rules do.
const FAMILY_NAMES: &[(char, &[&str])] = &[
    ('강', &["kang"]),
    ('고', &["ko", "koh"]),
    ('구', &["koo", "ku"]),
    ('권', &["kwon"]),
    ('김', &["kim"]),
    ('노', &["roh", "noh"]),
    ('문', &["moon"]),
    ('박', &["park", "pak"]),
    ('배', &["bae", "pae"]),
    ('백', &["paik", "back"]),
    ('서', &["suh"]),
    ('손', &["sohn"]),
    ('신', &["shin"]),
    ('심', &["shim"]),
    ('안', &["ahn"]),
    ('오', &["oh"]),
    ('우', &["woo"]),
    ('유', &["yoo", "ryu"]),
    ('윤', &["yoon"]),
    ('이', &["lee", "yi", "rhee"]),
    ('임', &["lim", "rim"]),
    ('장', &["chang"]),
    ('전', &["jun", "chun"]),
    ('정', &["jung", "chung"]),
    ('조', &["cho"]),
    ('주', &["joo"]),
    ('최', &["choi"]),
    ('허', &["hur", "huh"]),
    ('황', &["whang"]),
];

const INITIALS: [&str; 19] = [
    "g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p",
    "h",
];
const VOWELS: [&str; 21] = [
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we",
    "wi", "yu", "eu", "ui", "i",
];
const FINALS: [&str; 28] = [
    "", "k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l", "l", "p", "l", "m", "p", "p",
    "t", "t", "ng", "t", "t", "k", "t", "p", "t",
];

/// Revised Romanisation of one syllable, then the spellings of a family name.
fn hangul(c: char) -> Vec<String> {
    let index = (u32::from(c).saturating_sub(0xAC00)) as usize;
    let part = |table: &[&'static str], at: usize| table.get(at).copied().unwrap_or_default();
    let romanised =
        [part(&INITIALS, index / 588), part(&VOWELS, index % 588 / 28), part(&FINALS, index % 28)]
            .concat();
    let spellings = FAMILY_NAMES.iter().find(|(name, _)| *name == c).map_or(&[][..], |row| row.1);
    std::iter::once(romanised).chain(spellings.iter().map(|text| (*text).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_become_one() {
        for (variants, simple) in [("張张", '张'), ("東东", '东'), ("澤沢", '泽'), ("王", '王')]
        {
            for c in variants.chars() {
                assert_eq!(simplified(c), simple, "{c}");
            }
        }
    }

    #[test]
    fn readings_in_letters() {
        assert_eq!(readings('东'), ["dong"]);
        assert!(readings('曾').contains(&"zeng".to_owned()));
        assert_eq!(readings('吕'), ["lv", "lu", "lyu"]);
        assert_eq!(readings('한'), ["han"]);
        assert_eq!(readings('김'), ["gim", "kim"]);
        assert!(readings('a').is_empty());
    }
}
