//! Reads JSON text from front to back without building a tree.

use std::borrow::Cow;

/// What is wrong with JSON text, and near which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

/// A position in JSON text.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn error(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    /// The next byte that is no white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes a byte that must come.
    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// After a value in an object or array: true when another one follows, false at its end.
    pub(crate) fn more(&mut self, end: u8) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.error("a comma or an end is missing")),
        }
    }

    /// Enters an object or array: false when it is empty, and then it is left again.
    pub(crate) fn enter(&mut self, begin: u8, end: u8) -> Result<bool, Malformed> {
        self.expect(begin, if begin == b'{' { "an object" } else { "an array" })?;
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// A member's name and its colon.
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let name = self.string()?;
        self.expect(b':', "a colon")?;
        Ok(name)
    }

    /// A string, its escapes resolved.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let inner = self.quoted()?;
        let text = std::str::from_utf8(inner).map_err(|_| self.error("text that is not UTF-8"))?;
        if !text.contains('\\') {
            return Ok(Cow::Borrowed(text));
        }
        self.unescape(text).map(Cow::Owned)
    }

    /// The bytes between the quotes of a string.
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        self.expect(b'"', "a string")?;
        let begin = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.error("a string without end")),
            }
        }
        let inner = self.text.get(begin..self.at).unwrap_or_default();
        self.at += 1;
        Ok(inner)
    }

    fn unescape(&self, text: &str) -> Result<String, Malformed> {
        let wrong = || self.error("an unknown escape");
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            let (before, after) = rest.split_at(at);
            out.push_str(before);
            let mut letters = after.chars().skip(1);
            let (plain, length) = match letters.next().ok_or_else(wrong)? {
                'n' => ('\n', 2),
                'r' => ('\r', 2),
                't' => ('\t', 2),
                'b' => ('\u{8}', 2),
                'f' => ('\u{C}', 2),
                'u' => escaped_unit(after).ok_or_else(wrong)?,
                plain @ ('"' | '\\' | '/') => (plain, 2),
                _ => return Err(wrong()),
            };
            out.push(plain);
            rest = after.get(length..).ok_or_else(wrong)?;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// A number, `true`, `false` or `null`, as it is written.
    pub(crate) fn word(&mut self) -> Result<&'a str, Malformed> {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
        let length = rest.iter().take_while(is_part).count();
        let word = rest.get(..length).and_then(|word| std::str::from_utf8(word).ok());
        self.at += length;
        word.filter(|word| !word.is_empty()).ok_or_else(|| self.error("a value"))
    }

    /// Passes over a value of any kind. Iterative, so that depth costs nothing.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.quoted()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {
                    self.word()?;
                }
                None => return Err(self.error("a value without end")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The character of `\uXXXX`, or of two of them that are a surrogate pair, and their length.
fn escaped_unit(text: &str) -> Option<(char, usize)> {
    let unit = |from: usize| {
        let digits = text.get(from..from + 4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(2)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((c, 6));
    }
    let second = text.get(6..8).filter(|escape| *escape == "\\u").and_then(|_| unit(8));
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    // Half a pair is no character.
    Some(pair.map_or(('\u{FFFD}', 6), |c| (c, 12)))
}

/// The `vr` of the attribute object that comes next, wherever in it it stands.
pub(crate) fn vr_of(mut cursor: Cursor<'_>) -> Result<String, Malformed> {
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        if cursor.name()? == "vr" {
            return cursor.string().map(|vr| vr.into_owned());
        }
        cursor.skip()?;
        more = cursor.more(b'}')?;
    }
    Ok(String::new())
}

/// The one text value of the attribute object that comes next; `None` when it has another form.
pub(crate) fn creator_of(mut cursor: Cursor<'_>) -> Result<Option<String>, Malformed> {
    let mut more = cursor.enter(b'{', b'}')?;
    while more {
        if cursor.name()? == "Value" {
            let single = cursor.enter(b'[', b']')? && cursor.peek() == Some(b'"');
            let text = if single { Some(cursor.string()?) } else { None };
            let text = text.filter(|text| !text.trim().is_empty());
            return Ok(text.map(|text| text.trim().to_owned()));
        }
        cursor.skip()?;
        more = cursor.more(b'}')?;
    }
    Ok(None)
}
