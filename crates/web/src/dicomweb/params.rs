//! Query strings as pairs of decoded text, and what is wrong with some of them.

use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::respond;
use crate::error::HttpError;

/// Decodes a query string into names and values, in order.
///
/// A plus sign is a space, as HTML forms and most client libraries write it; a literal plus comes
/// as `%2B`. Bytes that are not UTF-8 become U+FFFD; [`check`] has turned them away before.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Value of the first parameter of that name, compared without regard to case.
pub(crate) fn first(query: &str, name: &str) -> Option<String> {
    pairs(query).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Values of every parameter of that name, joined by commas: for what is a list anyway.
pub(crate) fn joined(query: &str, name: &str) -> Option<String> {
    let of_name = |(key, value): (String, String)| key.eq_ignore_ascii_case(name).then_some(value);
    let values: Vec<String> = pairs(query).filter_map(of_name).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Refuses a query string that gives one of the parameters of `names` twice: whichever of the two
/// were taken, the client might mean the other.
pub(crate) fn once(query: &str, names: &[&'static str]) -> Result<(), HttpError> {
    for name in names {
        if pairs(query).filter(|(key, _)| key.eq_ignore_ascii_case(name)).nth(1).is_some() {
            return Err(HttpError::bad_request(format!("{name} is given more than once")));
        }
    }
    Ok(())
}

/// Turns requests away whose query string is not UTF-8 or asks for a character set that answers
/// never have (PS3.18 section 8.3.3.2).
///
/// # Errors
///
/// 400.
pub(crate) fn check(uri: &Uri) -> Result<(), HttpError> {
    uri.query().map_or(Ok(()), check_query)
}

/// Whether the header Accept-Charset, which is about what a client would like best, leaves out UTF-8.
/// It is answered in UTF-8 all the same, and with a warning.
pub(crate) fn wants_other_charset(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ACCEPT_CHARSET) {
        return false;
    }
    let charsets = headers.get_all(header::ACCEPT_CHARSET).iter();
    let charsets: Vec<&str> = charsets.filter_map(|value| value.to_str().ok()).collect();
    !charsets.is_empty() && !names_utf8(&charsets.join(","))
}

/// Says that the answer is in UTF-8 although something else was preferred.
pub(crate) fn warn_of_charset(response: &mut Response) {
    let text = "text is sent in UTF-8, which the Accept-Charset header does not name";
    respond::warn(response.headers_mut(), text);
}

fn check_query(query: &str) -> Result<(), HttpError> {
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(HttpError::bad_request(
            "the query string is not UTF-8: encode names and values as UTF-8, then by percent signs",
        ));
    }
    match joined(query, "charset") {
        Some(charsets) if !charsets.trim().is_empty() && !names_utf8(&charsets) => {
            Err(HttpError::bad_request(
                "text is sent in UTF-8 here: say charset=utf-8, or leave the parameter out",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a list of character sets, each with an optional weight, has UTF-8 in it.
fn names_utf8(list: &str) -> bool {
    list.split(',').any(|one| {
        let mut pieces = one.split(';');
        let name = pieces.next().unwrap_or_default().trim().trim_matches('"').to_ascii_lowercase();
        let weight = |piece: &str| piece.trim().strip_prefix("q=")?.trim().parse::<f32>().ok();
        let refused = pieces.filter_map(weight).any(|weight| weight <= 0.0);
        let known = matches!(
            name.as_str(),
            "utf-8" | "utf8" | "us-ascii" | "iso_ir 192" | "iso_ir_192" | "iso_ir 6" | "*"
        );
        known && !refused
    })
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let decoded: Vec<_> =
            pairs("PatientName=%E7%8E%8B%5E*&&StudyDescription=a+b%2B&fuzzymatching").collect();
        let expected =
            [("PatientName", "王^*"), ("StudyDescription", "a b+"), ("fuzzymatching", "")];
        assert_eq!(decoded.len(), expected.len());
        for ((name, value), (n, v)) in decoded.iter().zip(expected) {
            assert_eq!((name.as_str(), value.as_str()), (n, v));
        }
        assert_eq!(first("a=1&ACCEPT=x%2Fy", "accept").as_deref(), Some("x/y"));
        assert_eq!(first("a=1", "accept"), None);
        assert_eq!(joined("accept=a/b&x=1&Accept=c/d", "accept").as_deref(), Some("a/b,c/d"));
        assert_eq!(joined("x=1", "accept"), None);
    }

    #[test]
    fn what_is_given_twice_is_named() {
        let error = once("limit=1&offset=2&Limit=3", &["offset", "limit"]).expect_err("twice");
        assert!(error.status() == 400 && error.message().contains("limit"), "{}", error.message());
        assert!(once("limit=1&offset=2&window=3&window=4", &["offset", "limit"]).is_ok());
    }

    #[test]
    fn queries_are_utf8_and_ask_for_it() {
        for (query, legal) in [
            ("", true),
            ("PatientName=%E7%8E%8B", true),
            ("PatientName=%CD%F5", false),
            ("%FF=1", false),
            ("charset=utf-8", true),
            ("charset=UTF-8,iso-8859-1;q=0.5", true),
            ("charset=%22ISO_IR%20192%22", true),
            ("charset=", true),
            ("charset=iso-8859-1", false),
            ("charset=utf-8;q=0,gbk", false),
            ("charset=nonsense", false),
        ] {
            let status = check_query(query).err().map(|error| error.status().as_u16());
            assert_eq!(status, (!legal).then_some(400), "{query}");
        }
    }
}
