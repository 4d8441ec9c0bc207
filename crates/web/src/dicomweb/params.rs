//! Query strings as pairs of decoded text.

use percent_encoding::percent_decode_str;

/// Decodes a query string into names and values, in order.
///
/// A plus sign is a space, as HTML forms and most client libraries write it; a literal plus comes
/// as `%2B`. Bytes that are not UTF-8 become U+FFFD and simply match nothing.
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
    }
}
