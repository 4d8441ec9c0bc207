//! Reads `multipart/related` bodies (RFC 2387, RFC 2046 section 5.1) as they arrive.
//!
//! Holds one received chunk and at most one delimiter's worth of bytes, whatever the size of the
//! parts; part bytes are handed on without copying.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use memchr::memmem;

/// Most bytes of headers in one part.
const MAX_PART_HEADERS: usize = 16 * 1024;

/// RFC 2046 section 5.1.1.
const MAX_BOUNDARY: usize = 70;

/// Why a multipart body cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MultipartError {
    /// The boundary parameter is empty, too long, or holds a line break.
    #[error("the boundary parameter is not usable")]
    Boundary,
    /// The body ends before the closing delimiter.
    #[error("the multipart body ends before its closing boundary")]
    Truncated,
    /// The part's headers do not end within the limit.
    #[error("a part's headers are longer than {MAX_PART_HEADERS} bytes")]
    Headers,
    /// The body could not be received.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl MultipartError {
    /// The bytes are to blame, not the connection or a limit.
    pub(crate) fn is_malformed(&self) -> bool {
        !matches!(self, Self::Body(_))
    }
}

/// Why a body stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than are taken in one request.
    #[error("the body is larger than what is taken in one request")]
    TooLarge,
    /// The connection failed or the client went away.
    #[error("the body could not be received")]
    Lost,
}

/// Headers of one part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartHeaders {
    /// Value of Content-Type, when present.
    pub(crate) content_type: Option<String>,
    /// Value of Content-Location, when present.
    pub(crate) content_location: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the preamble or in a part's content.
    Content,
    /// Past the closing delimiter.
    Ended,
}

/// A multipart body being read.
pub(crate) struct MultipartReader<S> {
    body: S,
    body_ended: bool,
    /// Received and not handed out.
    buffer: Bytes,
    /// CRLF, two hyphens, boundary.
    delimiter: Vec<u8>,
    state: State,
    /// The delimiter was just passed: what follows decides between part and end.
    at_delimiter: bool,
}

impl<S> MultipartReader<S>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    /// Starts reading `body`.
    pub(crate) fn new(body: S, boundary: &str) -> Result<Self, MultipartError> {
        let usable = !boundary.is_empty()
            && boundary.len() <= MAX_BOUNDARY
            && boundary.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !usable {
            return Err(MultipartError::Boundary);
        }
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The CRLF of the first delimiter is optional; supplying it makes the preamble, which may
        // be empty, like any other part's content.
        let buffer = Bytes::from_static(b"\r\n");
        let state = State::Content;
        Ok(Self { body, body_ended: false, buffer, delimiter, state, at_delimiter: false })
    }

    /// Moves to the next part, skipping what is left of the current one. `None` after the last.
    pub(crate) async fn next_part(&mut self) -> Result<Option<PartHeaders>, MultipartError> {
        while self.state == State::Content && !self.at_delimiter {
            self.chunk().await?;
        }
        if self.state == State::Ended {
            return Ok(None);
        }
        self.at_delimiter = false;
        self.read_headers().await.map(Some)
    }

    /// Next bytes of the current part; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if self.at_delimiter || self.state == State::Ended {
            return Ok(None);
        }
        loop {
            match memmem::find(&self.buffer, &self.delimiter) {
                Some(0) => {
                    if self.pass_delimiter().await? {
                        return Ok(None);
                    }
                    // The boundary was only the beginning of a longer word in the content.
                    return Ok(Some(self.buffer.split_to(self.delimiter.len())));
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at))),
                None => {}
            }
            let safe = self.buffer.len() - self.possible_delimiter_start();
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe)));
            }
            if !self.receive().await? {
                return Err(MultipartError::Truncated);
            }
        }
    }

    /// The buffer starts with the delimiter: consumes it with the rest of its line and tells true,
    /// or leaves everything and tells false when it is no delimiter after all.
    async fn pass_delimiter(&mut self) -> Result<bool, MultipartError> {
        let after = self.delimiter.len();
        loop {
            let rest = self.buffer.get(after..).unwrap_or_default();
            if rest.starts_with(b"--") {
                self.buffer.clear();
                self.state = State::Ended;
                return Ok(true);
            }
            // Transport padding (RFC 2046) may stand between boundary and line end.
            let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let tail = rest.get(padding..).unwrap_or_default();
            if tail.starts_with(b"\r\n") {
                // The CRLF stays: headers are read up to an empty line, and there may be none.
                self.buffer.advance(after + padding);
                self.at_delimiter = true;
                return Ok(true);
            }
            let undecided =
                (tail.is_empty() || tail == b"\r" || rest == b"-") && padding <= MAX_PART_HEADERS;
            if !undecided {
                return Ok(false);
            }
            if !self.receive().await? {
                return Err(MultipartError::Truncated);
            }
        }
    }

    /// The buffer starts with the CRLF of the delimiter line.
    async fn read_headers(&mut self) -> Result<PartHeaders, MultipartError> {
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                if end > MAX_PART_HEADERS {
                    return Err(MultipartError::Headers);
                }
                let headers = parse_headers(self.buffer.get(..end).unwrap_or_default());
                // The second CRLF stays in front of the content, so that an empty part, whose
                // content is the delimiter at once, is found; it is dropped below.
                self.buffer.advance(end + 2);
                self.skip_blank_line().await?;
                return Ok(headers);
            }
            if self.buffer.len() > MAX_PART_HEADERS {
                return Err(MultipartError::Headers);
            }
            if !self.receive().await? {
                return Err(MultipartError::Truncated);
            }
        }
    }

    /// Drops the CRLF that ends the headers, unless it belongs to the delimiter of an empty part.
    async fn skip_blank_line(&mut self) -> Result<(), MultipartError> {
        while self.buffer.len() < self.delimiter.len() && !self.body_ended {
            if !self.receive().await? {
                break;
            }
        }
        if !self.buffer.starts_with(&self.delimiter) {
            self.buffer.advance(self.buffer.len().min(2));
        }
        Ok(())
    }

    /// Length of the longest end of the buffer that could be the start of a delimiter.
    fn possible_delimiter_start(&self) -> usize {
        let longest = self.delimiter.len().saturating_sub(1).min(self.buffer.len());
        let tail = self.buffer.get(self.buffer.len() - longest..).unwrap_or_default();
        // Only the last CR can begin it: the delimiter holds no other.
        match memchr::memrchr(b'\r', tail) {
            Some(at) => {
                let candidate = tail.get(at..).unwrap_or_default();
                if self.delimiter.starts_with(candidate) { candidate.len() } else { 0 }
            }
            None => 0,
        }
    }

    /// Appends one received chunk to the buffer; false when the body has ended.
    async fn receive(&mut self) -> Result<bool, MultipartError> {
        loop {
            if self.body_ended {
                return Ok(false);
            }
            match self.body.next().await {
                None => self.body_ended = true,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) if self.buffer.is_empty() => {
                    self.buffer = chunk;
                    return Ok(true);
                }
                Some(Ok(chunk)) => {
                    // Rare: only when a chunk ends inside what may be a delimiter or a header.
                    let mut joined = BytesMut::with_capacity(self.buffer.len() + chunk.len());
                    joined.extend_from_slice(&self.buffer);
                    joined.extend_from_slice(&chunk);
                    self.buffer = joined.freeze();
                    return Ok(true);
                }
            }
        }
    }
}

fn parse_headers(lines: &[u8]) -> PartHeaders {
    let text = String::from_utf8_lossy(lines);
    let value = |wanted: &str| {
        text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    PartHeaders { content_type: value("content-type"), content_location: value("content-location") }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    type Parts = Vec<(Option<String>, Vec<u8>)>;

    async fn read(body: &[u8], chunk: usize) -> Result<Parts, MultipartError> {
        let chunks: Vec<_> = body.chunks(chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let mut reader = MultipartReader::new(stream::iter(chunks), "XX")?;
        let mut parts = Parts::new();
        while let Some(headers) = reader.next_part().await? {
            let mut content = Vec::new();
            while let Some(bytes) = reader.chunk().await? {
                assert!(!bytes.is_empty());
                content.extend_from_slice(&bytes);
            }
            parts.push((headers.content_type, content));
        }
        Ok(parts)
    }

    /// Cuts the body into chunks of every size, so that each delimiter is split at each byte.
    async fn check(body: &[u8], expected: &[(Option<&str>, &[u8])]) {
        for chunk in 1..=body.len() {
            let parts = read(body, chunk).await.expect("a readable body");
            let parts: Vec<_> = parts.iter().map(|(t, c)| (t.as_deref(), c.as_slice())).collect();
            assert_eq!(parts, expected, "chunks of {chunk}");
        }
    }

    #[tokio::test]
    async fn parts_of_any_cut() {
        check(
            b"--XX\r\nContent-Type: application/dicom\r\n\r\none\r\n--XX\r\ncontent-type:a/b\r\n\
              X: y\r\n\r\ntwo\r\n--XX--\r\n",
            &[(Some("application/dicom"), b"one"), (Some("a/b"), b"two")],
        )
        .await;
    }

    #[tokio::test]
    async fn preamble_epilogue_padding_and_empty_parts() {
        check(
            b"ignored --XX\r\nme\r\n--XX \t\r\n\r\n\r\n--XX\r\nA: b\r\n\r\n--XX\r\n\r\nz\r\n--XX--end",
            &[(None, b""), (None, b""), (None, b"z")],
        )
        .await;
        check(b"\r\n--XX\r\n\r\nz\r\n--XX--", &[(None, b"z")]).await;
        check(b"--XX--", &[]).await;
    }

    #[tokio::test]
    async fn what_only_looks_like_a_delimiter_is_content() {
        check(
            b"--XX\r\n\r\n\r\r\n-\r\n--X\r\n--XXL\r\n--XX-\r\n\r\n--XX--",
            &[(None, b"\r\r\n-\r\n--X\r\n--XXL\r\n--XX-\r\n")],
        )
        .await;
    }

    #[tokio::test]
    async fn bodies_that_end_early_are_errors() {
        for body in
            ["", "--XX", "--XX\r\nA: b", "--XX\r\n\r\nabc", "--XX\r\n\r\nabc\r\n--X", "nothing"]
        {
            for chunk in [1, 3, 100] {
                let result = read(body.as_bytes(), chunk).await;
                assert!(matches!(result, Err(MultipartError::Truncated)), "{body:?}");
            }
        }
        let endless = [b"--XX\r\n".as_slice(), &[b'a'; 20_000]].concat();
        assert!(matches!(read(&endless, 512).await, Err(MultipartError::Headers)));
    }

    #[test]
    fn boundaries_are_checked() {
        for boundary in ["", "a\r\nb", &"x".repeat(71)] {
            let body = stream::empty::<Result<Bytes, BodyError>>();
            assert!(MultipartReader::new(body, boundary).is_err(), "{boundary:?}");
        }
    }
}
