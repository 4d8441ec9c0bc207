//! The deflated transfer syntaxes (PS3.5 annex A.5): a raw deflate stream, inflated while scanning.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use super::Source;
use super::source::SourceReader;

/// How much compressed input is read, and inflated output kept, at a time.
const CHUNK: usize = 32 << 10;

/// Inflates while it is read; at most a fixed number of bytes come out.
///
/// PS3.5 asks for a raw stream; streams in a zlib wrapper occur and are accepted. What follows the
/// end of the stream (PS3.5 asks for a pad byte after an odd length) is ignored.
pub struct InflateSource<R> {
    input: R,
    compressed: Vec<u8>,
    consumed: usize,
    inflater: Decompress,
    inflated: Vec<u8>,
    taken: usize,
    position: u64,
    produced: u64,
    max_inflated: u64,
    ended: bool,
    /// A failure met while reading ahead; told when the bytes before it are used up.
    failure: Option<io::Error>,
}

impl<S: Source> InflateSource<SourceReader<S>> {
    /// Inflates everything that remains in `source`.
    pub fn over(source: S, max_inflated: u64) -> Self {
        Self::new(SourceReader::new(source), max_inflated)
    }
}

impl<R: Read> InflateSource<R> {
    /// Inflates `input`; producing more than `max_inflated` bytes is an error.
    pub fn new(input: R, max_inflated: u64) -> Self {
        let mut source = Self {
            input,
            compressed: Vec::new(),
            consumed: 0,
            inflater: Decompress::new(false),
            inflated: Vec::new(),
            taken: 0,
            position: 0,
            produced: 0,
            max_inflated,
            ended: false,
            failure: None,
        };
        source.start();
        source
    }

    fn start(&mut self) {
        if let Err(error) = self.read_input() {
            self.fail(error);
            return;
        }
        // RFC 1950: method 8 in the low nibble, and the two bytes are a multiple of 31. A raw
        // stream cannot pass for it: its first byte would start a stored block, whose second
        // byte is part of a length that zlib's check does not fit for DICOM group 0008.
        let zlib = match self.compressed.as_slice() {
            [first, second, ..] => {
                first & 0x0F == 8
                    && first >> 4 <= 7
                    && u16::from_be_bytes([*first, *second]) % 31 == 0
            }
            _ => false,
        };
        self.inflater = Decompress::new(zlib);
        self.top_up(16);
    }

    fn fail(&mut self, error: io::Error) {
        self.ended = true;
        self.failure = Some(error);
    }

    fn read_input(&mut self) -> io::Result<usize> {
        self.compressed.resize(CHUNK, 0);
        self.consumed = 0;
        let mut filled = 0;
        while let Some(part) = self.compressed.get_mut(filled..).filter(|part| !part.is_empty()) {
            let count = self.input.read(part)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        self.compressed.truncate(filled);
        Ok(filled)
    }

    fn available(&self) -> usize {
        self.inflated.len().saturating_sub(self.taken)
    }

    /// Inflates until `count` bytes are waiting or the stream has ended.
    fn top_up(&mut self, count: usize) {
        if self.available() < count && self.taken > 0 {
            self.inflated.drain(..self.taken);
            self.taken = 0;
        }
        while !self.ended && self.available() < count {
            if let Err(error) = self.inflate_some() {
                self.fail(error);
            }
        }
    }

    fn inflate_some(&mut self) -> io::Result<()> {
        let mut input_ended = false;
        if self.consumed >= self.compressed.len() {
            input_ended = self.read_input()? == 0;
        }
        self.inflated.reserve(CHUNK);
        let (before_in, before_out) = (self.inflater.total_in(), self.inflater.total_out());
        let input = self.compressed.get(self.consumed..).unwrap_or(&[]);
        let status = self
            .inflater
            .decompress_vec(input, &mut self.inflated, FlushDecompress::None)
            .map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "the deflate stream is corrupt")
            })?;
        let used = self.inflater.total_in() - before_in;
        let gained = self.inflater.total_out() - before_out;
        self.consumed += used as usize;
        self.produced += gained;
        if self.produced > self.max_inflated {
            let message = "the deflated data set inflates to more than the limit";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, message));
        }
        match status {
            Status::StreamEnd => self.ended = true,
            // Some writers omit the final block: what was inflated so far is all there is.
            Status::Ok | Status::BufError if input_ended && gained == 0 => self.ended = true,
            Status::Ok | Status::BufError => {}
        }
        Ok(())
    }

    fn shortage(&mut self) -> io::Error {
        self.failure.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl<R: Read> Source for InflateSource<R> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut rest = buffer;
        while !rest.is_empty() {
            self.top_up(1);
            let waiting = self.inflated.get(self.taken..).unwrap_or(&[]);
            let count = waiting.len().min(rest.len());
            if count == 0 {
                return Err(self.shortage());
            }
            let (now, later) = rest.split_at_mut(count);
            if let Some(part) = waiting.get(..count) {
                now.copy_from_slice(part);
            }
            self.taken += count;
            self.position += count as u64;
            rest = later;
        }
        self.top_up(16);
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut rest = count;
        while rest > 0 {
            self.top_up(1);
            let step = usize::try_from(rest).unwrap_or(usize::MAX).min(self.available());
            if step == 0 {
                return Err(self.shortage());
            }
            self.taken += step;
            self.position += step as u64;
            rest -= step as u64;
        }
        self.top_up(16);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn remaining(&self) -> Option<u64> {
        (self.ended && self.failure.is_none()).then(|| self.available() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use std::io::Write;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn check_round_trip(compressed: &[u8], plain: &[u8]) {
        let mut source = InflateSource::new(compressed, 1 << 20);
        let mut first = vec![0; 40_000];
        source.read_exact(&mut first).unwrap();
        source.skip(10_000).unwrap();
        assert_eq!(source.position(), 50_000);
        let mut rest = vec![0; plain.len() - 50_000];
        source.read_exact(&mut rest).unwrap();
        assert_eq!((first.as_slice(), rest.as_slice()), (&plain[..40_000], &plain[50_000..]));
        assert_eq!(source.remaining(), Some(0));
        assert_eq!(source.skip(1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn raw_and_wrapped_streams_with_padding() {
        let plain: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut raw = deflate(&plain);
        check_round_trip(&raw, &plain);
        raw.push(0);
        check_round_trip(&raw, &plain);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain).unwrap();
        check_round_trip(&encoder.finish().unwrap(), &plain);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflate(&vec![0; 10 << 20]);
        let mut source = InflateSource::new(bomb.as_slice(), 1 << 20);
        assert_eq!(source.remaining(), None);
        assert_eq!(source.skip(9 << 20).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn corrupt_streams_fail() {
        let mut source = InflateSource::new([0xFF_u8; 64].as_slice(), 1 << 20);
        assert!(source.read_exact(&mut [0; 8]).is_err());
    }
}
