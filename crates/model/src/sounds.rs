//! Names by their sound and by other spellings: what `fuzzymatching` compares (PS3.18 section
//! 8.3.4.2, PS3.4 C.2.2.2.1 note).
//!
//! A stored name becomes a set of search words once, when it is recorded; a match value becomes a
//! list of words each of which must be met by one of several search words. What is fuzzy is only how
//! the words are made, so an ordinary index of words answers.
//!
//! A search word is its kind's letter and what it is about: `l` a word in letters, `m` its double
//! metaphone, `p` Han or Hangul romanised, `h` Han (simplified) or Hangul itself, `k` hiragana, `r`
//! romaji, `x` a word in letters of a name that is written in letters only. What is not ASCII is
//! written as code points, so that every database splits and orders the words alike.

mod syllables;

use std::collections::BTreeSet;

use rphonetic::DoubleMetaphone;
use unicode_normalization::UnicodeNormalization;
use wana_kana::{ConvertJapanese, IsJapaneseStr};

use crate::name::fold;
use syllables::{readings, simplified};

/// Most words of a name that count.
const MAX_WORDS: usize = 6;

/// Most characters of a name in Han or Hangul that count.
const MAX_CHARACTERS: usize = 8;

/// Longest word that counts (characters).
const MAX_LETTERS: usize = 32;

/// Words that are tried in one: people write `XiaoDong`, `Xiao Dong` and `zhangxiaodong`.
const MAX_JOINED: usize = 4;

/// One way to meet a word of a match value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// The search word, ASCII letters and digits.
    pub text: String,
    /// Search words that begin with it meet it too.
    pub prefix: bool,
}

/// A piece of a name in one script.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Letters(String),
    Syllables(Vec<char>),
    Kana(String),
}

/// The search words of a name with all its component groups: sorted, joined by spaces. Empty for an
/// empty name.
pub fn stored(name: &str) -> String {
    let mut words = Words::default();
    let groups: Vec<Vec<Run>> = name.split('=').take(3).map(|group| runs(&fold(group))).collect();
    let all = || groups.iter().flatten();
    let only_letters = all().all(|run| matches!(run, Run::Letters(_)));
    for group in &groups {
        let letters: Vec<&str> = group
            .iter()
            .filter_map(|run| match run {
                Run::Letters(word) => Some(word.as_str()),
                _ => None,
            })
            .take(MAX_WORDS)
            .collect();
        words.letters(&letters, only_letters);
        let syllables: Vec<char> = group
            .iter()
            .flat_map(|run| match run {
                Run::Syllables(characters) => characters.as_slice(),
                _ => &[],
            })
            .take(MAX_CHARACTERS)
            .copied()
            .collect();
        words.syllables(&syllables);
        let kana: Vec<&str> = group
            .iter()
            .filter_map(|run| match run {
                Run::Kana(word) => Some(word.as_str()),
                _ => None,
            })
            .take(MAX_WORDS)
            .collect();
        for joined in adjacent(&kana) {
            words.add('r', &plain_romaji(&joined.to_romaji()));
            words.add('k', &joined);
        }
    }
    words.0.into_iter().collect::<Vec<_>>().join(" ")
}

/// What a match value asks for: every entry must be met by one of its tokens. Empty when the value
/// holds no word. A word that ends in a wildcard is met by what begins with it; other wildcards
/// part words.
pub fn asked(value: &str) -> Vec<Vec<Token>> {
    let mut asked = Vec::new();
    let folded = fold(value).replace(['=', ','], " ");
    let mut rest = folded.as_str();
    while !rest.is_empty() && asked.len() < MAX_WORDS {
        let end = rest.find([' ', '*', '?']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let prefix = after.starts_with(['*', '?']);
        let runs = runs(word);
        for (index, run) in runs.iter().enumerate() {
            let tokens = alternatives(run, prefix && index + 1 == runs.len());
            if !tokens.is_empty() {
                asked.push(tokens);
            }
        }
        rest = after.trim_start_matches([' ', '*', '?']);
    }
    asked
}

/// Whether the search words of a name meet everything that is asked. Nothing asked is not met.
pub fn meets(stored: &str, asked: &[Vec<Token>]) -> bool {
    let is_met = |token: &Token| {
        stored.split(' ').any(|word| {
            word == token.text || (token.prefix && word.starts_with(token.text.as_str()))
        })
    };
    !asked.is_empty() && asked.iter().all(|tokens| tokens.iter().any(is_met))
}

fn alternatives(run: &Run, prefix: bool) -> Vec<Token> {
    let mut words = Words::default();
    let mut exact = Words::default();
    match run {
        Run::Letters(word) => {
            words.add('l', word);
            words.add('p', word);
            words.add('r', &plain_romaji(word));
            exact.metaphones(word);
        }
        Run::Syllables(characters) => {
            let text: String = characters.iter().copied().map(simplified).collect();
            words.add('h', &text);
            let spelled: String =
                characters.iter().filter_map(|c| readings(*c).into_iter().next()).collect();
            words.add('x', &spelled);
        }
        Run::Kana(word) => {
            words.add('k', word);
            words.add('r', &plain_romaji(&word.to_romaji()));
        }
    }
    let tokens = words.0.into_iter().map(|text| Token { text, prefix });
    // Of half a word the sound is not known yet.
    let sounds = exact.0.into_iter().filter(|_| !prefix);
    tokens.chain(sounds.map(|text| Token { text, prefix: false })).collect()
}

/// Search words as they are gathered.
#[derive(Default)]
struct Words(BTreeSet<String>);

impl Words {
    fn add(&mut self, kind: char, text: &str) {
        if text.is_empty() || text.chars().count() > MAX_LETTERS {
            return;
        }
        let mut word = String::with_capacity(text.len() + 1);
        word.push(kind);
        for c in text.chars() {
            if c.is_ascii_alphanumeric() {
                word.push(c);
            } else {
                word.push_str(&format!("{:05x}", u32::from(c)));
            }
        }
        self.0.insert(word);
    }

    fn metaphones(&mut self, word: &str) {
        // The crate slices by bytes: letters of ASCII only.
        if word.len() < 2
            || word.len() > MAX_LETTERS
            || !word.bytes().all(|b| b.is_ascii_lowercase())
        {
            return;
        }
        let codes = DoubleMetaphone::default().double_metaphone(word);
        for code in [codes.primary(), codes.alternate()] {
            self.add('m', &code.to_ascii_lowercase());
        }
    }

    fn letters(&mut self, words: &[&str], only_letters: bool) {
        for word in words {
            self.metaphones(word);
        }
        for joined in adjacent(words) {
            self.add('l', &joined);
            if only_letters {
                self.add('x', &joined);
            }
            if joined.to_hiragana().as_str().is_hiragana() {
                self.add('r', &plain_romaji(&joined));
            }
        }
        // Given name first, in one word.
        if let [family, given] = words {
            self.add('l', &format!("{given}{family}"));
        }
    }

    /// Every run of adjacent characters, as it is and as it is read: `小东`, `xiaodong`, `xd`.
    fn syllables(&mut self, characters: &[char]) {
        let read: Vec<Vec<String>> = characters.iter().map(|c| readings(*c)).collect();
        for from in 0..characters.len() {
            let mut text = String::new();
            let mut initials = String::new();
            let mut spelled: Vec<String> = vec![String::new()];
            for to in from..characters.len() {
                let (Some(c), Some(read)) = (characters.get(to), read.get(to)) else { break };
                text.push(simplified(*c));
                self.add('h', &text);
                for reading in read {
                    self.add('p', reading);
                }
                // A family name may be read in its own way; of the rest the first reading counts.
                let count = if to == 0 { read.len() } else { 1 };
                spelled = spelled
                    .iter()
                    .flat_map(|before| {
                        read.iter().take(count).map(move |reading| format!("{before}{reading}"))
                    })
                    .collect();
                for spelled in &spelled {
                    self.add('p', spelled);
                }
                initials.extend(read.first().and_then(|reading| reading.chars().next()));
                if initials.len() > 1 {
                    self.add('p', &initials);
                }
            }
        }
        // As foreigners hear it: family name and given name.
        if let Some((family, given)) = read.split_first() {
            for reading in family {
                self.metaphones(reading);
            }
            let given: String = given.iter().filter_map(|read| read.first()).cloned().collect();
            self.metaphones(&given);
        }
    }
}

/// Every word, and words that stand beside each other as one.
fn adjacent(words: &[&str]) -> impl Iterator<Item = String> {
    (0..words.len()).flat_map(move |from| {
        (from + 1..=words.len().min(from + MAX_JOINED))
            .filter_map(move |to| Some(words.get(from..to)?.concat()))
    })
}

/// Parts folded text into runs of one script; punctuation parts them only where it stands between
/// words, so that `o'neil` is one.
fn runs(folded: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for word in
        folded.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '/' | '*' | '?'))
    {
        let mut fresh = true;
        for c in word.nfc() {
            let is_syllable = is_han(c) || matches!(c, '\u{AC00}'..='\u{D7A3}');
            // Katakana to hiragana, but for the mark of a long vowel.
            let kana = match c {
                '\u{30A1}'..='\u{30F6}' => char::from_u32(u32::from(c) - 0x60),
                '\u{3041}'..='\u{3096}' | 'ー' => Some(c),
                _ => None,
            };
            match (runs.last_mut().filter(|_| !fresh), kana) {
                (Some(Run::Kana(text)), Some(kana)) => text.push(kana),
                (_, Some(kana)) => runs.push(Run::Kana(kana.into())),
                (Some(Run::Syllables(text)), None) if is_syllable => text.push(c),
                (_, None) if is_syllable => runs.push(Run::Syllables(vec![c])),
                (Some(Run::Letters(text)), None) if c.is_alphanumeric() => text.push(c),
                (_, None) if c.is_alphanumeric() => runs.push(Run::Letters(c.into())),
                _ => continue,
            }
            fresh = false;
        }
    }
    runs
}

fn is_han(c: char) -> bool {
    matches!(c,
        '\u{3005}' | '\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Romaji without what its systems disagree about: long vowels and the Kunrei spellings.
fn plain_romaji(text: &str) -> String {
    let mut plain = text.to_lowercase();
    for (from, to) in [
        ("sya", "sha"),
        ("syu", "shu"),
        ("syo", "sho"),
        ("tya", "cha"),
        ("tyu", "chu"),
        ("tyo", "cho"),
        ("zya", "ja"),
        ("zyu", "ju"),
        ("zyo", "jo"),
        ("si", "shi"),
        ("ti", "chi"),
        ("tsu", "tu"),
        ("tu", "tsu"),
        ("hu", "fu"),
        ("zi", "ji"),
        ("mb", "nb"),
        ("mp", "np"),
        ("oh", "o"),
        ("ou", "o"),
        ("oo", "o"),
        ("uu", "u"),
        ("ー", ""),
        ("-", ""),
        ("'", ""),
    ] {
        if plain.contains(from) {
            plain = plain.replace(from, to);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expected: bool) {
        let (stored, asked) = (stored(name), asked(value));
        assert_eq!(meets(&stored, &asked), expected, "{value}: {asked:?} in {stored}");
    }

    #[test]
    fn chinese_names_by_their_pinyin() {
        for name in ["张^小东", "張^小東", "=张^小东", "Zhang^XiaoDong=张^小东"] {
            for value in [
                "zhang xiaodong",
                "Zhang^XiaoDong",
                "xiaodong zhang",
                "zhangxiaodong",
                "ZHANG XIAO DONG",
                "zhang",
                "xiaodong",
                "zxd",
                "xd",
                "zhangx*",
                "*zhangxiao*",
                "张小东",
                "張小東",
                "小东",
                "小*",
            ] {
                check(name, value, true);
            }
            for value in ["lisi", "zxdd", "zhang lin", "张晓东", "王小东", "*", "", "?"] {
                check(name, value, false);
            }
        }
        // Another reading of a family name; ü as it is typed.
        check("曾^国藩", "zeng guofan", true);
        check("曾^国藩", "ceng guofan", true);
        for value in ["lv", "lü", "lu", "lyu bu", "lvbu"] {
            check("吕^布", value, true);
        }
        check("欧阳^修", "ouyang xiu", true);
        // Written in letters only, asked for in characters.
        check("Zhang^XiaoDong", "张小东", true);
        check("Zhang^XiaoDong=张^晓冬", "张小东", false);
    }

    #[test]
    fn latin_names_by_their_sound() {
        for (name, value) in [
            ("Smith^John", "smyth jon"),
            ("Schmidt^Johann", "Schmitt"),
            ("Müller^Jürgen", "muller"),
            ("O'Neil^Ann", "oneil"),
            ("O'Neil^Ann", "O'Neill"),
            ("Catherine", "kathryn"),
            ("McDonald^Ronald", "macdonald"),
            ("van der Berg^Jan", "vanderberg"),
        ] {
            check(name, value, true);
        }
        check("Smith^John", "jones", false);
        check("Smith^John", "smith mary", false);
        check("", "smith", false);
        assert_eq!(stored(""), "");
    }

    #[test]
    fn japanese_names_in_any_kana_and_romaji() {
        for name in ["Yamada^Tarou=山田^太郎=やまだ^たろう", "==ヤマダ^タロウ", "ﾔﾏﾀﾞ^ﾀﾛｳ"]
        {
            for value in ["やまだ", "ヤマダ タロウ", "ﾔﾏﾀﾞ", "yamada taro", "Yamada^Tarou", "yama*"]
            {
                check(name, value, true);
            }
            check(name, "suzuki", false);
        }
        check("Satou^Shin", "サトウ", true);
        check("=澤田^", "沢田", true);
    }

    #[test]
    fn korean_names_as_they_are_romanised() {
        for value in ["kim heejung", "gim hui jung", "김희중", "kim", "김*", "희중"] {
            check("김^희중", value, true);
        }
        check("박^지성", "park jisung", true);
        check("이^순신", "lee", true);
        check("박^지성", "kim", false);
    }

    #[test]
    fn search_words_are_bounded_and_plain() {
        let long = "王".repeat(200) + "^" + &"x".repeat(300) + &" ab".repeat(100);
        let words = stored(&long);
        assert!(words.split(' ').count() < 300, "{}", words.split(' ').count());
        for name in [long.as_str(), "สมชาย^ใจดี", "Иванов^Иван", "\u{0}\u{1F600}\u{20000}^\"':&|!*"]
        {
            let words = stored(name);
            assert!(words.bytes().all(|b| b == b' ' || b.is_ascii_alphanumeric()), "{words}");
            let asked = asked(name);
            assert!(asked.len() <= 2 * MAX_WORDS + 1);
        }
        check("Иванов^Иван", "иванов", true);
        check("สมชาย^ใจดี", "สมชาย", true);
    }
}
