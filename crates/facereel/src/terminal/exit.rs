//! The end of a command: its report or error, and the exit status of the process.

use std::fmt::Display;

use super::{
    output::{note, print},
    progress::Terminal,
    stop::stop_signal,
};

pub use super::stop::INTERRUPTED;

/// The exit status of a process.
pub type ExitStatus = u8;

/// The command has done what it was asked to do.
pub const SUCCESS: ExitStatus = 0;

/// The command failed, or a part of its work did.
pub const FAILURE: ExitStatus = 1;

/// The report of a command, which is written to standard output.
pub trait Report: Display {
    /// The exit status of the command with this report.
    fn exit_status(&self) -> ExitStatus {
        SUCCESS
    }
}

/// Runs a command that a signal ends immediately.
pub async fn interruptible<R: Report, E: Display>(
    terminal: &Terminal,
    command: impl Future<Output = Result<R, E>>,
    error_status: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    // The branch that ends first drops the other one, and with the command every process that it has started.
    tokio::select! {
        result = command => finish(terminal, result, error_status),
        signal = stop_signal() => {
            terminal.abandon();
            note("stopped");
            128 + signal
        }
    }
}

/// Writes the report of a command to standard output, or its error to standard error.
pub fn finish<R: Report, E: Display>(
    terminal: &Terminal,
    result: Result<R, E>,
    error_status: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    match result {
        Ok(report) => {
            terminal.done();
            finish_with_text(&format!("{report}\n"), report.exit_status())
        }
        Err(error) => {
            terminal.abandon();
            note(format_args!("error: {error}"));
            error_status(&error)
        }
    }
}

/// Writes `text` to standard output. Returns `status`, or [`FAILURE`] if the text cannot be written.
#[must_use]
pub fn finish_with_text(text: &str, status: ExitStatus) -> ExitStatus {
    match print(text) {
        Ok(()) => status,
        Err(error) => {
            note(format_args!("error: cannot write to standard output: {error}"));
            FAILURE
        }
    }
}

/// Runs a command that has no report and that a signal ends with success.
pub async fn until_stopped<E: Display>(command: impl Future<Output = Result<(), E>>) -> ExitStatus {
    tokio::select! {
        result = command => match result {
            Ok(()) => SUCCESS,
            Err(error) => {
                note(format_args!("error: {error}"));
                FAILURE
            }
        },
        _ = stop_signal() => SUCCESS,
    }
}
