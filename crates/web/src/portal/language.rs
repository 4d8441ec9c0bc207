//! Which language a visitor reads: `?lang=`, then the cookie, then Accept-Language.

use axum::http::{HeaderMap, header};

use super::text::{CHINESE, ENGLISH, Texts};
use crate::dicomweb::params;

/// Name of the cookie and of the query parameter.
pub(super) const NAME: &str = "lang";

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Chinese,
}

impl Language {
    /// Both, in the order of the switch.
    pub const ALL: [Self; 2] = [Self::Chinese, Self::English];

    /// Chooses from a request.
    pub fn choose(query: &str, headers: &HeaderMap) -> Self {
        asked(query).or_else(|| remembered(headers)).unwrap_or_else(|| preferred(headers))
    }

    /// BCP 47 tag, for the page and for the query parameter.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// Its own name, short.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "EN",
            Self::Chinese => "中文",
        }
    }

    /// Its words.
    pub fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }

    fn parse(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// The language that the query names; choosing it is remembered.
pub(super) fn asked(query: &str) -> Option<Language> {
    params::first(query, NAME).and_then(|tag| Language::parse(&tag))
}

fn remembered(headers: &HeaderMap) -> Option<Language> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .and_then(|(_, tag)| Language::parse(tag))
}

/// The known language of the greatest weight (RFC 9110 section 12.5.4); English without one.
fn preferred(headers: &HeaderMap) -> Language {
    let text = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let mut best: Option<(f32, Language)> = None;
    for range in text.unwrap_or_default().split(',') {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if let Some(language) = Language::parse(tag)
            && best.is_none_or(|(other, _)| weight > other)
        {
            best = Some((weight, language));
        }
    }
    best.map_or(Language::English, |(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, cookie: &str, accept: &str, expected: Language) {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        let chosen = Language::choose(query, &headers);
        assert_eq!(chosen, expected, "{query:?} {cookie:?} {accept:?}");
    }

    #[test]
    fn the_query_wins_over_the_cookie_and_the_cookie_over_the_browser() {
        check("lang=zh-CN", "lang=en", "en", Language::Chinese);
        check("page=2", "a=b; lang=zh-CN", "en", Language::Chinese);
        check("lang=xx", "lang=yy", "zh-TW,zh;q=0.9,en;q=0.8", Language::Chinese);
    }

    #[test]
    fn weights_decide_and_english_is_the_last_resort() {
        check("", "", "en;q=0.5, zh-Hans;q=0.7", Language::Chinese);
        check("", "", "fr, de;q=0.9", Language::English);
        check("", "", "zh;q=junk, en;q=0.1", Language::English);
        check("", "", "", Language::English);
    }
}
