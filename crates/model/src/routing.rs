//! Routing: which objects go on to which destination, and when. A pure decision over rules that somebody
//! else keeps (`docs/decisions/0021-routing.md`).
//!
//! Words are compared folded, as the catalog folds what it searches: without case and width.

use std::fmt;
use std::str::FromStr;

use crate::AeTitle;
use crate::peer::TitlePattern;

mod window;

pub use window::Window;

/// Longest pattern of a word (characters).
pub const LONGEST: usize = 64;

/// Longest name of a DICOMweb destination (characters).
const LONGEST_NAME: usize = 32;

/// Where objects go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Goal {
    /// A DICOM peer whose address is registered, by its AE title.
    Peer(AeTitle),
    /// A DICOMweb service, by the name under which it is registered.
    Web(String),
}

impl Goal {
    /// The word for the kind: `dicom` or `web`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "dicom",
            Self::Web(_) => "web",
        }
    }

    /// AE title or name.
    pub fn name(&self) -> &str {
        match self {
            Self::Peer(title) => title.as_str(),
            Self::Web(name) => name,
        }
    }

    /// From kind and name. `None` when there is no such kind, or the name is none.
    pub fn of(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "dicom" => AeTitle::parse(name).ok().map(Self::Peer),
            "web" => is_name(name).then(|| Self::Web(name.to_owned())),
            _ => None,
        }
    }
}

/// Whether a text can be the name of a DICOMweb destination: letters, digits, `-` and `_`.
pub fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(legal)
}

/// Whether what is sent there is safe from others on the way: https, or http on this machine.
pub fn is_safe_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#'));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    // Credentials in an address would be shown with it.
    if !plain || host.is_empty() || authority.contains('@') {
        return false;
    }
    let here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    scheme == "https" || (scheme == "http" && here)
}

/// As people write it: `dicom:TITLE` or `web:NAME`.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(kind, name)| Self::of(kind, name))
            .ok_or_else(|| format!("{text:?} is no destination: write dicom:TITLE or web:NAME"))
    }
}

/// When objects go on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// When no more of the study came for a while.
    #[default]
    Settled,
    /// As they come.
    AtOnce,
}

impl When {
    /// The word that is stored: `settled` or `at once`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::AtOnce => "at once",
        }
    }

    /// From the stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Settled, Self::AtOnce].into_iter().find(|one| one.as_str() == word)
    }
}

/// Which objects a rule means. What is empty means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Which {
    /// The calling AE title that brought them; objects that came without one are not meant then.
    pub source: Option<TitlePattern>,
    /// Modality, with `*` and `?`.
    pub modality: String,
    /// Body Part Examined, with `*` and `?`.
    pub body_part: String,
    /// Station Name, with `*` and `?`.
    pub station: String,
    /// Study Description or Series Description, with `*` and `?`.
    pub description: String,
}

impl Which {
    /// The patterns of words.
    pub fn words(&self) -> [&str; 4] {
        [&self.modality, &self.body_part, &self.station, &self.description]
    }

    /// Whether every pattern can be one: not too long, nothing but text.
    pub fn is_legal(&self) -> bool {
        let legal =
            |word: &str| word.chars().count() <= LONGEST && !word.chars().any(char::is_control);
        self.words().into_iter().all(legal)
    }

    /// Whether an object is meant.
    pub fn takes(&self, facts: &Facts) -> bool {
        let source = match &self.source {
            None => true,
            Some(pattern) => facts.source.as_ref().is_some_and(|title| pattern.matches(title)),
        };
        let fits = |pattern: &str, word: &str| pattern.is_empty() || glob(pattern, word);
        source
            && fits(&self.modality, &facts.modality)
            && fits(&self.body_part, &facts.body_part)
            && fits(&self.station, &facts.station)
            && (fits(&self.description, &facts.study_description)
                || fits(&self.description, &facts.series_description))
    }
}

/// What a rule looks at of an object; words are folded as [`Which`]'s are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The calling AE title that brought it.
    pub source: Option<AeTitle>,
    /// Modality of its series.
    pub modality: String,
    /// Body Part Examined of its series.
    pub body_part: String,
    /// Station Name of its series.
    pub station: String,
    /// Study Description.
    pub study_description: String,
    /// Series Description.
    pub series_description: String,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Key of its row.
    pub id: i64,
    /// What people call it.
    pub label: String,
    /// Which objects.
    pub which: Which,
    /// Where to.
    pub to: Goal,
    /// At which time of the day; `None` for any.
    pub window: Option<Window>,
    /// As they come, or when the study is complete.
    pub when: When,
    /// The destination has to say that it keeps what it took (storage commitment, PS3.4 annex J).
    pub commits: bool,
    /// It sends nothing for now.
    pub disabled: bool,
}

/// What rules say about an object and one destination, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No rule sends it there.
    No,
    /// It goes now.
    Now,
    /// It goes when a window opens (ms since 1970).
    Later(i64),
    /// It goes when the study is complete.
    WhenSettled,
}

/// What `rules` say about an object for `goal`. What a destination brought never goes back to it.
pub fn decide(rules: &[Rule], goal: &Goal, facts: &Facts, settled: bool, now_ms: i64) -> Verdict {
    if matches!(goal, Goal::Peer(title) if facts.source.as_ref() == Some(title)) {
        return Verdict::No;
    }
    let mut verdict = Verdict::No;
    for rule in rules.iter().filter(|rule| !rule.disabled && rule.to == *goal) {
        if !rule.which.takes(facts) {
            continue;
        }
        let one = match rule.window.map_or(now_ms, |window| window.opens(now_ms)) {
            _ if !settled && rule.when == When::Settled => Verdict::WhenSettled,
            opens if opens <= now_ms => return Verdict::Now,
            opens => Verdict::Later(opens),
        };
        verdict = match (verdict, one) {
            (Verdict::Later(a), Verdict::Later(b)) => Verdict::Later(a.min(b)),
            (Verdict::Later(a), _) => Verdict::Later(a),
            (_, one) => one,
        };
    }
    verdict
}

/// Whether some rule that sends an object to `goal` wants to be told that it is kept there.
pub fn wants_commitment(rules: &[Rule], goal: &Goal, facts: &Facts) -> bool {
    let wants = |rule: &Rule| rule.commits && !rule.disabled && rule.to == *goal;
    rules.iter().any(|rule| wants(rule) && rule.which.takes(facts))
}

/// Matches `*` (any characters) and `?` (any one). Linear in both but for the last `*`, so that no
/// pattern takes long.
fn glob(pattern: &str, word: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let word: Vec<char> = word.chars().collect();
    let (mut p, mut w, mut retry) = (0, 0, None);
    while let Some(&c) = word.get(w) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, w));
                p += 1;
            }
            Some(&one) if one == '?' || one == c => {
                p += 1;
                w += 1;
            }
            _ => match retry {
                // The last `*` takes one more.
                Some((star, at)) => {
                    retry = Some((star, at + 1));
                    p = star + 1;
                    w = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            source: AeTitle::parse("CT1").ok(),
            modality: "ct".into(),
            body_part: "chest".into(),
            station: "ct-room-2".into(),
            study_description: "thorax nativ".into(),
            series_description: "lung 1.0".into(),
        }
    }

    fn rule(which: Which) -> Rule {
        Rule {
            id: 1,
            label: String::new(),
            which,
            to: "dicom:PACS".parse().unwrap(),
            window: None,
            when: When::Settled,
            commits: false,
            disabled: false,
        }
    }

    fn verdict(rule: &Rule, settled: bool, now_ms: i64) -> Verdict {
        decide(std::slice::from_ref(rule), &rule.to, &facts(), settled, now_ms)
    }

    #[test]
    fn every_condition_must_fit_and_empty_ones_do() {
        let check = |which: Which, expected| {
            assert!(which.is_legal());
            assert_eq!(which.takes(&facts()), expected, "{which:?}");
        };
        let word = |text: &str| text.to_owned();
        check(Which::default(), true);
        check(Which { modality: word("ct"), ..Which::default() }, true);
        check(Which { modality: word("mr"), ..Which::default() }, false);
        check(Which { modality: word("?t"), body_part: word("ch*"), ..Which::default() }, true);
        check(Which { modality: word("?t"), body_part: word("he*"), ..Which::default() }, false);
        check(Which { station: word("*room*"), ..Which::default() }, true);
        check(Which { description: word("thorax*"), ..Which::default() }, true);
        check(Which { description: word("lung*"), ..Which::default() }, true);
        check(Which { description: word("abdomen"), ..Which::default() }, false);
        let source = |text: &str| Which { source: TitlePattern::parse(text), ..Which::default() };
        check(source("CT*"), true);
        check(source("ct*"), false);
        let unknown = Facts { source: None, ..facts() };
        assert!(!source("*").takes(&unknown), "it came without a title");
    }

    #[test]
    fn settled_rules_wait_and_others_do_not() {
        let mut one = rule(Which::default());
        assert_eq!(verdict(&one, false, 0), Verdict::WhenSettled);
        assert_eq!(verdict(&one, true, 0), Verdict::Now);
        one.when = When::AtOnce;
        assert_eq!(verdict(&one, false, 0), Verdict::Now);
        one.disabled = true;
        assert_eq!(verdict(&one, true, 0), Verdict::No);
    }

    #[test]
    fn commitment_is_wanted_by_any_rule_that_sends_the_object() {
        let plain = rule(Which::default());
        let asks =
            Rule { commits: true, ..rule(Which { modality: "ct".into(), ..Which::default() }) };
        let wants = |rules: &[Rule], facts: &Facts| wants_commitment(rules, &plain.to, facts);
        assert!(!wants(std::slice::from_ref(&plain), &facts()));
        let both = [plain.clone(), asks.clone()];
        assert!(wants(&both, &facts()));
        assert!(!wants(&both, &Facts { modality: "mr".into(), ..facts() }));
        assert!(!wants(&[Rule { disabled: true, ..asks }], &facts()));
    }

    #[test]
    fn windows_hold_back_and_the_first_to_open_counts() {
        let night = Rule { window: "22:00-06:00".parse().ok(), ..rule(Which::default()) };
        let noon = Rule { window: "12:00-13:00".parse().ok(), ..rule(Which::default()) };
        let both = [night.clone(), noon];
        let hour = 3_600_000;
        let at = |hours| decide(&both, &night.to, &facts(), true, hours * hour);
        assert_eq!(at(23), Verdict::Now);
        assert_eq!(at(5), Verdict::Now);
        assert_eq!(at(8), Verdict::Later(12 * hour));
        assert_eq!(at(14), Verdict::Later(22 * hour));
    }

    #[test]
    fn nothing_goes_back_to_where_it_came_from() {
        let all = rule(Which::default());
        let returned = Facts { source: AeTitle::parse("PACS").ok(), ..facts() };
        let verdict = decide(std::slice::from_ref(&all), &all.to, &returned, true, 0);
        assert_eq!(verdict, Verdict::No);
        let elsewhere: Goal = "web:PACS".parse().unwrap();
        let other = Rule { to: elsewhere.clone(), ..all };
        assert_eq!(decide(&[other], &elsewhere, &returned, true, 0), Verdict::Now);
    }

    #[test]
    fn destinations_are_written_and_read() {
        for text in ["dicom:PACS 1", "web:cloud-2"] {
            let goal: Goal = text.parse().unwrap();
            assert_eq!(goal.to_string(), text);
            assert_eq!(Goal::of(goal.kind(), goal.name()), Some(goal));
        }
        for wrong in ["PACS", "dicom:", "web:", "web:a b", "ftp:x", "dicom:TOOLONGTITLE12345"] {
            assert!(wrong.parse::<Goal>().is_err(), "{wrong}");
        }
        assert!(!Which { modality: "a\nb".into(), ..Which::default() }.is_legal());
        assert!(!Which { station: "x".repeat(65), ..Which::default() }.is_legal());
    }

    #[test]
    fn addresses_are_safe_or_refused() {
        for good in [
            "https://pacs.example/dicom-web",
            "https://10.0.0.5:8443",
            "http://127.0.0.1:8080/dicom-web",
            "http://[::1]:8080/x",
            "http://localhost/x",
        ] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in [
            "http://pacs.example/dicom-web",
            "http://127.0.0.1.example/",
            "https://user:secret@host/",
            "http://localhost@host/",
            "https://host/?a=b",
            "https:///x",
            "ftp://localhost/",
            "host",
        ] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }

    #[test]
    fn patterns_are_matched_and_none_takes_long() {
        let check =
            |pattern, word, expected| assert_eq!(glob(pattern, word), expected, "{pattern}");
        check("*", "", true);
        check("?", "", false);
        check("a*c", "abbbc", true);
        check("a*c", "abbbd", false);
        check("*b*b", "abab", true);
        check("胸*", "胸部", true);
        let (long, word) = ("*a".repeat(32), "b".repeat(10_000));
        assert!(!glob(&long, &word));
    }
}
