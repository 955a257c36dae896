//! The `facereel` command.

// They panic when the output is closed or its disk is full: `terminal` has what does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::{fmt::Display, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use facereel::commands::backfill::{Backfill, BackfillError};
use facereel::commands::dead_letters;
use facereel::commands::replay::Replay;
use facereel::commands::run::{Run, RunError};
use facereel::commands::status::Status;
use facereel::commands::view::View;
use facereel::deployed::{self, Stop, Target};
use facereel::terminal::{Terminal, note, print};
use tokio::signal::unix::{SignalKind, signal};

/// Faces in every video that lands in an S3 bucket.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Run),
    Replay(ReplayAny),
    /// Analyses the videos of a bucket that have no complete result yet.
    Backfill(OnAws<Backfill>),
    /// Says what runs, what waits for a job slot, what failed, and what could not be delivered.
    Status(OnAws<Status>),
    View(View),
    /// Writes a completion script for your shell to standard output.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const COMPLETIONS: &str = "\
Examples:
  facereel completions bash > ~/.local/share/bash-completion/completions/facereel
  facereel completions zsh  > ~/.zfunc/_facereel       with `fpath+=~/.zfunc` in ~/.zshrc before compinit
  facereel completions fish > ~/.config/fish/completions/facereel.fish";

/// A command on a deployed stack.
#[derive(Args)]
struct OnAws<T: Args> {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    command: T,
}

/// Replays failed executions: redrives them where that works, and starts them anew where it does not.
#[derive(Args)]
struct ReplayAny {
    #[command(flatten)]
    executions: OnAws<Replay>,
    /// Instead of executions: what could not be delivered, events of uploads and completions of jobs, is put back
    /// through its own path, and removed only when that worked.
    #[arg(long, conflicts_with = "Replay")]
    dead_letters: bool,
}

/// A process's exit status.
type ExitStatus = u8;

/// As shells count it: 128 and the signal's number, that of Ctrl-C here.
const INTERRUPTED: ExitStatus = 130;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("error: the asynchronous runtime did not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        let progress = Terminal::new();
        match command {
            Command::Run(run) => run_and_view(&progress, &run).await,
            Command::View(view) => look(&view).await,
            Command::Completions { shell } => {
                // It panics when it cannot write, and memory takes all of it.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "facereel", &mut script);
                printed(&String::from_utf8_lossy(&script), 0)
            }
            Command::Status(OnAws { target, command }) => {
                let work = async { command.run(&target.connect().await?, &progress).await };
                stoppable(&progress, work, |_| 0, |_: &deployed::Error| 1).await
            }
            Command::Backfill(OnAws { target, command }) => {
                let work = async {
                    let deployed = target.connect().await?;
                    let ask = async |question: &str| progress.ask(question).await;
                    command.run(&deployed, &progress, ask).await
                };
                stoppable(&progress, work, |report| u8::from(!report.all_well()), |_: &BackfillError| 1).await
            }
            Command::Replay(ReplayAny { executions: OnAws { target, command }, dead_letters }) => {
                let stop = stop();
                let deployed = match target.connect().await {
                    Ok(deployed) => deployed,
                    Err(error) => return failed(&progress, &error),
                };
                if dead_letters {
                    let report = dead_letters::replay(&deployed, &progress, &stop).await;
                    let status = |report: &dead_letters::Report| (report.interrupted, report.all_well());
                    return ended(&progress, report, status);
                }
                let ask = async |question: &str| progress.ask(question).await;
                let report = command.run(&deployed, &progress, ask, stop).await;
                ended(&progress, report, |report| (report.interrupted, report.all_well()))
            }
        }
    });
    // An analysis that has been cancelled may still be on its way out: nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// Runs the workflow and, if asked to, shows what it has found.
async fn run_and_view(progress: &Terminal, run: &Run) -> ExitStatus {
    let mut view = None;
    let work = async {
        let report = run.run(progress).await?;
        view = run.view(&report);
        Ok(report)
    };
    let status = stoppable(progress, work, |_| 0, RunError::exit_status).await;
    match view {
        Some(view) => look(&view).await,
        None => status,
    }
}

/// Shows results until the person has seen enough.
async fn look(view: &View) -> ExitStatus {
    tokio::select! {
        result = view.run() => match result {
            Ok(()) => 0,
            Err(error) => {
                note(format_args!("error: {error}"));
                1
            }
        },
        _ = stop_signal() => 0,
    }
}

/// Runs a command that Ctrl-C ends at once.
async fn stoppable<R: Display, E: Display>(
    progress: &Terminal,
    work: impl Future<Output = Result<R, E>>,
    of_report: impl FnOnce(&R) -> ExitStatus,
    of_error: impl FnOnce(&E) -> ExitStatus,
) -> ExitStatus {
    // Whichever ends first drops the other, and with it every process that was started.
    tokio::select! {
        result = work => match result {
            Ok(report) => told(progress, &report, of_report(&report)),
            Err(error) => {
                failed(progress, &error);
                of_error(&error)
            }
        },
        signal = stop_signal() => {
            progress.abandon();
            note("stopped");
            128 + signal
        }
    }
}

/// Tells how a command ended that stops by itself when it is asked to; `how` is whether it was, and whether all went well.
fn ended<R: Display>(
    progress: &Terminal,
    report: Result<R, deployed::Error>,
    how: impl FnOnce(&R) -> (bool, bool),
) -> ExitStatus {
    match report {
        Ok(report) => {
            let status = match how(&report) {
                (true, _) => INTERRUPTED,
                (false, all_well) => u8::from(!all_well),
            };
            told(progress, &report, status)
        }
        Err(error) => failed(progress, &error),
    }
}

fn told(progress: &Terminal, report: &impl Display, status: ExitStatus) -> ExitStatus {
    progress.done();
    printed(&format!("{report}\n"), status)
}

/// Writes to standard output and returns `status`, or 1 if that fails.
fn printed(text: &str, status: ExitStatus) -> ExitStatus {
    match print(text) {
        Ok(()) => status,
        Err(error) => {
            note(format_args!("error: cannot write to standard output: {error}"));
            1
        }
    }
}

fn failed(progress: &Terminal, error: &impl Display) -> ExitStatus {
    progress.abandon();
    note(format_args!("error: {error}"));
    1
}

/// Lets a command end what it has begun.
fn stop() -> Stop {
    deployed::stop_at(async {
        stop_signal().await;
        note("stopping; once more to stop at once");
        tokio::spawn(async {
            stop_signal().await;
            std::process::exit(INTERRUPTED.into());
        });
    })
}

/// Waits for Ctrl-C or the request to end, and returns the signal's number.
async fn stop_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process, and the emulator with it.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_its_own_description() {
        let command = Cli::command();
        let mut seen = std::collections::BTreeMap::new();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty(), "{name} has no description");
            if let Some(other) = seen.insert(about.clone(), name) {
                panic!("{name} and {other} have the same description: {about}");
            }
        }
        assert!(seen.len() >= 6, "{seen:?}");
    }
}
