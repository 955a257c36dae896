//! The end of a command: its report or error, and the exit status of the process.

use std::fmt::Display;

use serde_json::Value;

use super::{
    output::{note, print, print_error},
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

    /// The report as a JSON document, for `--json`. Its schema is in `docs/schema`.
    fn json(&self) -> Value;
}

/// The exit status of work that the user can stop.
pub(crate) fn status_of(interrupted: bool, all_well: bool) -> ExitStatus {
    match (interrupted, all_well) {
        (true, _) => INTERRUPTED,
        (false, true) => SUCCESS,
        (false, false) => FAILURE,
    }
}

/// The format of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Format {
    /// Write the report as a JSON document, whose schema is in docs/schema. Errors stay text, on standard error.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Format {
    fn text(self, report: &impl Report) -> String {
        if self.json { format!("{:#}\n", report.json()) } else { format!("{report}\n") }
    }
}

/// Runs a command that a signal ends immediately.
pub async fn interruptible<R: Report, E: Display>(
    terminal: &Terminal,
    format: Format,
    command: impl Future<Output = Result<R, E>>,
    error_status: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    // The branch that ends first drops the other one, and with the command every process that it has started.
    tokio::select! {
        result = command => finish(terminal, format, result, error_status),
        signal = stop_signal() => {
            terminal.abandon();
            note("stopped");
            128 + signal
        }
    }
}

/// Runs a command that has no report and that a signal ends immediately.
pub async fn interruptible_without_report<E: Display>(
    terminal: &Terminal,
    command: impl Future<Output = Result<(), E>>,
    error_status: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    tokio::select! {
        result = command => match result {
            Ok(()) => {
                terminal.done();
                SUCCESS
            }
            Err(error) => {
                terminal.abandon();
                print_error(&error);
                error_status(&error)
            }
        },
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
    format: Format,
    result: Result<R, E>,
    error_status: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    match result {
        Ok(report) => {
            terminal.done();
            finish_with_text(&format.text(&report), report.exit_status())
        }
        Err(error) => {
            terminal.abandon();
            print_error(&error);
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
            print_error(format_args!("cannot write to standard output: {error}"));
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
                print_error(error);
                FAILURE
            }
        },
        _ = stop_signal() => SUCCESS,
    }
}
