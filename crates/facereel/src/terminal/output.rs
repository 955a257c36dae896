//! Output that does not panic if the output is closed or its disk is full.

use std::{
    fmt::Display,
    io::{self, Write as _, stderr, stdout},
    sync::atomic::{AtomicU8, Ordering},
};

/// How much the command writes to standard error. One setting for the process, because the calls to AWS are written too.
static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

/// How much a command writes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Progress and notes as well.
    Normal,
    /// Every call to AWS as well.
    Verbose,
}

/// Sets how much the command writes to standard error.
pub fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Whether the command writes what is written from this verbosity on.
pub(crate) fn writes(verbosity: Verbosity) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= verbosity as u8
}

/// Writes to standard output. A closed pipe is not an error, because its reader, such as `head`, needs no more output.
///
/// # Errors
/// Any other error of the operating system, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes an error to standard error. If that fails, there is no other place to report it.
pub fn print_error(line: impl Display) {
    let _ = writeln!(stderr(), "error: {line}");
}

/// Writes a line to standard error, unless the command is quiet.
pub fn note(line: impl Display) {
    if writes(Verbosity::Normal) {
        let _ = writeln!(stderr(), "{line}");
    }
}

/// Writes a line to standard error, if the command is verbose.
pub fn detail(line: impl FnOnce() -> String) {
    if writes(Verbosity::Verbose) {
        let _ = writeln!(stderr(), "{}", line());
    }
}
