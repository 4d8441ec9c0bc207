//! Content negotiation: the Accept header and the `accept` query parameter with DICOM's own media
//! type parameters (PS3.18 section 8.7, RFC 7231 section 5.3).
//!
//! Decides among offers; it does not know what an endpoint can produce.

use std::cmp::Reverse;

use axum::http::{HeaderMap, header};

/// One media range of an Accept header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    /// Lower case, without parameters, e.g. `multipart/related`.
    essence: String,
    /// Lower-case name and unquoted value, in order, `q` left out.
    parameters: Vec<(String, String)>,
    /// Quality in thousandths; 0 means "not this".
    quality: u16,
}

/// What a client takes. An absent or unreadable header takes everything (GOTCHA: never 406 then).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept(Vec<Range>);

/// A representation that an endpoint can produce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Wrapped in `multipart/related`, or alone as the whole body.
    pub multipart: bool,
    /// Media type of the part or body, lower case.
    pub media: &'a str,
    /// Transfer syntax of the part or body, where that means something.
    pub syntax: Option<&'a str>,
    /// Whether a client that names this media type but no transfer syntax may get this offer.
    pub default_syntax: bool,
    /// Whether it is what is stored: of what a client likes equally, this costs least and loses
    /// nothing.
    pub stored: bool,
}

impl<'a> Offer<'a> {
    /// A body without transfer syntax, e.g. JSON.
    pub fn plain(media: &'a str) -> Self {
        Self { multipart: false, media, syntax: None, default_syntax: true, stored: false }
    }
}

impl Accept {
    /// Reads what the client takes: the `accept` query parameter wins over the header
    /// (PS3.18 section 8.3.3.1), since browsers cannot set headers on images. Several parameters are
    /// one list, as several headers are.
    pub fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        if let Some(text) = query.and_then(|q| super::params::joined(q, "accept")) {
            return Self::parse(&with_plus(&text));
        }
        let lines: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        Self::parse(&lines.join(","))
    }

    /// Parses a comma-separated list of media ranges. What cannot be read is skipped.
    pub fn parse(text: &str) -> Self {
        let mut ranges: Vec<Range> =
            split_outside_quotes(text, ',').into_iter().filter_map(parse_range).collect();
        if ranges.is_empty() {
            ranges.push(Range { essence: "*/*".into(), parameters: Vec::new(), quality: 1000 });
        }
        Self(ranges)
    }

    /// Index of the offer to produce, or `None` for 406. The highest quality wins, then what is
    /// named before what a `*/*` lets in, then what is stored, then the client's order, then ours.
    pub fn choose(&self, offers: &[Offer<'_>]) -> Option<usize> {
        let rank = |offer: &Offer<'_>| {
            let (position, range) = self.most_specific(offer)?;
            let named = range.essence != "*/*";
            let key = (range.quality, named, named && offer.stored, Reverse(position));
            (range.quality > 0).then_some(key)
        };
        let ranked = offers.iter().enumerate().filter_map(|(index, offer)| {
            let rank = rank(offer)?;
            Some((index, rank))
        });
        ranked.max_by_key(|(index, rank)| (*rank, Reverse(*index))).map(|(index, _)| index)
    }

    /// Whether the client says that it does not take the offer (`q=0`), rather than not naming it.
    pub fn refuses(&self, offer: &Offer<'_>) -> bool {
        self.most_specific(offer).is_some_and(|(_, range)| range.quality == 0)
    }

    fn most_specific(&self, offer: &Offer<'_>) -> Option<(usize, &Range)> {
        let mut found: Option<(u8, usize, &Range)> = None;
        for (position, range) in self.0.iter().enumerate() {
            let Some(specificity) = range.matches(offer) else { continue };
            let better = match found {
                None => true,
                // Of equally specific ranges the one with the higher quality speaks.
                Some((other, _, earlier)) => {
                    specificity > other || (specificity == other && range.quality > earlier.quality)
                }
            };
            if better {
                found = Some((specificity, position, range));
            }
        }
        found.map(|(_, position, range)| (position, range))
    }
}

impl Range {
    /// How specifically the range names the offer, or `None` when it does not.
    fn matches(&self, offer: &Offer<'_>) -> Option<u8> {
        if self.essence == "*/*" {
            return offer.default_syntax.then_some(0);
        }
        if self.essence == "multipart/*" {
            return (offer.multipart && offer.default_syntax).then_some(1);
        }
        if self.essence == "multipart/related" {
            if !offer.multipart {
                return None;
            }
            // Parameters may stand in any order and number; OHIF repeats transfer-syntax.
            let wanted = self.values("type").next().unwrap_or("*/*").to_ascii_lowercase();
            let media = media_matches(&wanted, offer.media)?;
            return Some(2 + media + self.syntax_matches(offer)?);
        }
        if offer.multipart {
            return None;
        }
        Some(media_matches(&self.essence, offer.media)? + self.syntax_matches(offer)?)
    }

    fn syntax_matches(&self, offer: &Offer<'_>) -> Option<u8> {
        let Some(syntax) = offer.syntax else { return Some(0) };
        let mut named = false;
        let mut any = false;
        for wanted in self.values("transfer-syntax") {
            if wanted == syntax {
                return Some(2);
            }
            named = true;
            any |= wanted == "*";
        }
        match (named, any) {
            (_, true) => Some(1),
            (false, false) if offer.default_syntax => Some(0),
            _ => None,
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A `Content-Type` header: essence in lower case, and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// e.g. `multipart/related`.
    pub essence: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    /// Parses a header value; `None` when it is no media type.
    pub fn parse(text: &str) -> Option<Self> {
        let range = parse_range(text)?;
        Some(Self { essence: range.essence, parameters: range.parameters })
    }

    /// Value of a parameter, unquoted.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A media type has no space inside: in a query string one is the plus sign of `dicom+json`, written
/// as it is.
fn with_plus(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_inside = |at: usize| {
        let neighbours =
            at.checked_sub(1).and_then(|before| bytes.get(before)).zip(bytes.get(at + 1));
        neighbours.is_some_and(|(a, b)| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
    };
    let plus = |(at, c): (usize, char)| if c == ' ' && is_inside(at) { '+' } else { c };
    text.char_indices().map(plus).collect()
}

/// 0 for `*/*`, 1 for `image/*`, 2 for the very type.
fn media_matches(wanted: &str, media: &str) -> Option<u8> {
    if wanted == "*/*" {
        return Some(0);
    }
    if wanted == media {
        return Some(2);
    }
    let family = wanted.strip_suffix("/*").or_else(|| wanted.strip_suffix('/'))?;
    media.split('/').next().is_some_and(|f| f == family).then_some(1)
}

fn parse_range(text: &str) -> Option<Range> {
    let mut pieces = split_outside_quotes(text, ';').into_iter();
    let mut essence = pieces.next()?.trim().to_ascii_lowercase();
    if essence == "*" {
        // Java's HttpURLConnection writes a lone star.
        essence = "*/*".into();
    }
    if !essence.contains('/') {
        return None;
    }
    let mut quality = 1000;
    let mut parameters = Vec::new();
    for piece in pieces {
        let Some((name, value)) = piece.split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        let value = unquote(value.trim());
        if name == "q" {
            quality = parse_quality(&value);
        } else {
            parameters.push((name, value));
        }
    }
    Some(Range { essence, parameters, quality })
}

/// Thousandths; nonsense counts as 1, so that a broken client is served rather than refused.
fn parse_quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u16,
        _ => 1000,
    }
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    value
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(|character| {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        } else {
            return character == separator && !quoted;
        }
        false
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &str = "1.2.840.10008.1.2.4.50";
    const EXPLICIT: &str = "1.2.840.10008.1.2.1";

    /// What a stored JPEG frame can become, in the order that frames.rs offers it.
    fn offers() -> Vec<Offer<'static>> {
        let offer = |multipart, media, syntax, default_syntax| Offer {
            multipart,
            media,
            syntax: Some(syntax),
            default_syntax,
            stored: syntax == JPEG,
        };
        vec![
            offer(true, "image/jpeg", JPEG, true),
            offer(true, "application/octet-stream", JPEG, false),
            offer(true, "application/octet-stream", EXPLICIT, true),
            offer(false, "image/jpeg", JPEG, true),
        ]
    }

    fn check(accept: &str, expected: Option<usize>) {
        assert_eq!(Accept::parse(accept).choose(&offers()), expected, "{accept:?}");
    }

    #[test]
    fn no_preference_gets_the_first_offer() {
        for accept in ["", "*/*", "*", "garbage", ", ,", "multipart/*", "multipart/related"] {
            check(accept, Some(0));
        }
        check("multipart/related; type=\"*/*\"", Some(0));
    }

    #[test]
    fn any_syntax_quoted_unquoted_and_repeated() {
        for accept in [
            r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#,
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            r#"multipart/related; type="application/octet-stream"; transfer-syntax="*""#,
            "Multipart/Related;TYPE=application/octet-stream;transfer-syntax=*;transfer-syntax=*",
        ] {
            check(accept, Some(1));
        }
    }

    #[test]
    fn a_named_syntax_is_the_only_one_taken() {
        check(
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            Some(2),
        );
        check("multipart/related; type=application/octet-stream", Some(2));
        check(
            "multipart/related; type=\"image/jls\"; transfer-syntax=1.2.840.10008.1.2.4.80",
            None,
        );
        check("multipart/related; type=\"image/*\"; transfer-syntax=*", Some(0));
        check("image/jpeg", Some(3));
        check("text/html", None);
    }

    #[test]
    fn quality_outranks_order_and_zero_excludes() {
        check("image/jpeg;q=0.5, multipart/related;type=application/octet-stream;q=0.9", Some(2));
        check("*/*, image/jpeg;q=0, multipart/related; type=\"image/jpeg\";q=0", Some(2));
        check("text/html, */*;q=0.1", Some(0));
        check("*/*;q=0", None);
        let json = Offer::plain("application/dicom+json");
        assert!(Accept::parse("application/dicom+json;q=0, */*").refuses(&json));
        assert!(!Accept::parse("application/dicom+xml").refuses(&json));
        check("*/*;q=nonsense", Some(0));
    }

    #[test]
    fn of_what_is_liked_equally_the_stored_one_goes_out() {
        let octets = "multipart/related; type=application/octet-stream; transfer-syntax=";
        let jpeg = "multipart/related; type=image/jpeg";
        check(&format!("{octets}{EXPLICIT}, {jpeg}"), Some(0));
        check(&format!("{octets}{EXPLICIT}, {jpeg};q=0.9"), Some(2));
        check(&format!("{octets}{EXPLICIT}, */*"), Some(2));
        check(&format!("*/*, {octets}{EXPLICIT}"), Some(2));
        check(&format!("{octets}{EXPLICIT};q=0.5, {octets}{JPEG};q=0.5"), Some(1));
    }

    #[test]
    fn metadata_asked_beside_multipart_is_json() {
        let json = [Offer::plain("application/dicom+json"), Offer::plain("application/json")];
        for (accept, expected) in [
            (
                "application/dicom+json, multipart/related; type=application/octet-stream; \
                 transfer-syntax=*; transfer-syntax=*",
                Some(0),
            ),
            ("application/json", Some(1)),
            ("application/json, application/dicom+json", Some(1)),
            ("application/*", Some(0)),
            ("application/dicom+xml", None),
        ] {
            assert_eq!(Accept::parse(accept).choose(&json), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_query_parameter_wins() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "multipart/related".parse().expect("a header value"));
        let accept = Accept::of(&headers, Some("viewport=1,1&accept=image%2Fjpeg"));
        assert_eq!(accept.choose(&offers()), Some(3));
        let json = [Offer::plain("application/dicom+json")];
        for query in [
            "accept=application/dicom+json",
            "accept=application/dicom%2Bjson",
            "accept=text/html,+application/dicom+json;+q=0.5",
        ] {
            assert_eq!(Accept::of(&headers, Some(query)).choose(&json), Some(0), "{query}");
        }
    }

    #[test]
    fn content_types_with_and_without_quotes() {
        for text in [
            r#"multipart/related; type="application/dicom"; boundary="a;b""#,
            "Multipart/related;boundary=\"a;b\";type=application/dicom",
        ] {
            let parsed = ContentType::parse(text).expect("a media type");
            assert_eq!(parsed.essence, "multipart/related");
            assert_eq!(parsed.parameter("type"), Some("application/dicom"));
            assert_eq!(parsed.parameter("boundary"), Some("a;b"));
        }
        assert_eq!(ContentType::parse("nonsense"), None);
    }
}
