//! Wildcard matching (PS3.4 C.2.2.2.4): `*` is any text, `?` one character.

/// Sorts after every character that a value can begin with.
pub(crate) const AFTER_ALL: char = '\u{10FFFF}';

/// A folded match value, by what it takes to match it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Matches every value, even an empty one.
    Anything,
    /// No wildcard.
    Exact(String),
    /// Text and one `*` at the end: a range of an ordered index.
    Prefix(String),
    /// Anything else.
    Like {
        /// Pattern for LIKE with a backslash as the escape character.
        like: String,
        /// The longest text without wildcards: what a trigram index can find.
        literal: String,
    },
}

impl Pattern {
    pub(crate) fn parse(folded: &str) -> Self {
        if !folded.is_empty() && folded.chars().all(|c| c == '*') {
            return Self::Anything;
        }
        if !folded.contains(['*', '?']) {
            return Self::Exact(folded.to_owned());
        }
        let stem = folded.trim_end_matches('*');
        if stem.len() < folded.len() && !stem.contains(['*', '?']) {
            return Self::Prefix(stem.to_owned());
        }
        let literal = folded
            .split(['*', '?'])
            .max_by_key(|part| part.chars().count())
            .unwrap_or_default()
            .to_owned();
        Self::Like { like: like(folded), literal }
    }

    /// Text that occurs anywhere.
    pub(crate) fn containing(folded: &str) -> Self {
        Self::Like { like: format!("%{}%", escape(folded)), literal: folded.to_owned() }
    }
}

fn like(folded: &str) -> String {
    let mut like = String::with_capacity(folded.len() + 8);
    for c in folded.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            _ => like.push(c),
        }
    }
    like
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_like(text: &str, like: &str, literal: &str) {
        let expected = Pattern::Like { like: like.into(), literal: literal.into() };
        assert_eq!(Pattern::parse(text), expected);
    }

    #[test]
    fn patterns_are_recognised() {
        assert_eq!(Pattern::parse("*"), Pattern::Anything);
        assert_eq!(Pattern::parse("***"), Pattern::Anything);
        assert_eq!(Pattern::parse(""), Pattern::Exact("".into()));
        assert_eq!(Pattern::parse("100%_\\"), Pattern::Exact("100%_\\".into()));
        assert_eq!(Pattern::parse("王*"), Pattern::Prefix("王".into()));
        assert_eq!(Pattern::parse("50%**"), Pattern::Prefix("50%".into()));
        check_like("*小*", "%小%", "小");
        check_like("ab?c*", "ab_c%", "ab");
        check_like("*a*chest", "%a%chest", "chest");
        check_like("*50%_\\*", "%50\\%\\_\\\\%", "50%_\\");
        check_like("?", "_", "");
        assert_eq!(
            Pattern::containing("a_b"),
            Pattern::Like { like: "%a\\_b%".into(), literal: "a_b".into() }
        );
    }
}
