//! Sources over bytes in memory and over files. Inflating is in `inflate.rs`.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::Source;

/// Bytes in memory.
#[derive(Debug)]
pub struct SliceSource<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> SliceSource<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.position.checked_add(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        let taken = self.bytes.get(self.position..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.position = end;
        Ok(taken)
    }
}

impl Source for SliceSource<'_> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(self.take(buffer.len())?);
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let count = usize::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.take(count).map(drop)
    }

    fn position(&self) -> u64 {
        self.position as u64
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.bytes.len().saturating_sub(self.position) as u64)
    }
}

/// Bytes of a seekable reader, such as a file, from where it stood when it was wrapped to its end.
/// Buffered; a long skip is a seek and reads nothing.
#[derive(Debug)]
pub struct ReaderSource<R> {
    reader: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> ReaderSource<R> {
    /// Measures how much remains after the reader's position and starts there; positions count
    /// from there as well.
    ///
    /// # Errors
    ///
    /// When the reader cannot seek.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let start = reader.stream_position()?;
        let end = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(start))?;
        let length = end.saturating_sub(start);
        Ok(Self { reader: BufReader::with_capacity(16 << 10, reader), position: 0, length })
    }

    fn check(&self, count: u64) -> io::Result<()> {
        if count > self.length.saturating_sub(self.position) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<R: Read + Seek> Source for ReaderSource<R> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let count = buffer.len() as u64;
        self.check(count)?;
        self.reader.read_exact(buffer)?;
        self.position += count;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.check(count)?;
        let offset = i64::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.reader.seek_relative(offset)?;
        self.position += count;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.length.saturating_sub(self.position))
    }
}

/// Makes a reader of a source, for the decompressor.
pub struct SourceReader<S: Source>(S);

impl<S: Source> SourceReader<S> {
    /// Reads from where `source` stands.
    pub fn new(source: S) -> Self {
        Self(source)
    }
}

impl<S: Source> Read for SourceReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An unknown remainder means at least 16 bytes (see `Source::remaining`).
        let remaining = self.0.remaining().unwrap_or(16);
        let count = usize::try_from(remaining).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..count) else { return Ok(0) };
        self.0.read_exact(part)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn check_source(mut source: impl Source) {
        let mut two = [0; 2];
        source.read_exact(&mut two).unwrap();
        assert_eq!((two, source.position(), source.remaining()), ([1, 2], 2, Some(4)));
        source.skip(2).unwrap();
        assert_eq!(source.skip(3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        source.read_exact(&mut two).unwrap();
        assert_eq!((two, source.position(), source.remaining()), ([5, 6], 6, Some(0)));
        let end = source.read_exact(&mut two).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(source.skip(u64::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn memory_and_files_behave_alike() {
        check_source(SliceSource::new(&[1, 2, 3, 4, 5, 6]));
        check_source(ReaderSource::new(Cursor::new([1, 2, 3, 4, 5, 6])).unwrap());
        let mut inner = Cursor::new([9, 9, 1, 2, 3, 4, 5, 6]);
        inner.set_position(2);
        check_source(ReaderSource::new(inner).unwrap());
    }
}
