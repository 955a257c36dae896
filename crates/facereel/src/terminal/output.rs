//! Output that does not panic if the output is closed or its disk is full.

use std::{
    fmt::Display,
    io::{self, Write as _, stderr, stdout},
};

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

/// Writes a line to standard error. An error is ignored, because there is no other place to report it.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
