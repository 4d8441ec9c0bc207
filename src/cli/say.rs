//! Words to standard output and standard error that nobody may be there to read: a terminal that
//! was closed or a full disk must not stop a node.

use std::io::{self, Write};

/// Prints a line to standard output, whether or not somebody takes it.
macro_rules! say {
    () => { $crate::cli::say::line("") };
    ($($text:tt)*) => { $crate::cli::say::line(&format!($($text)*)) };
}
pub(super) use say;

/// See [`say`].
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    // There is nobody left to tell of a failure.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Standard error for the log: what cannot be written is dropped.
#[derive(Debug, Default)]
pub(super) struct LogOutput;

impl Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
