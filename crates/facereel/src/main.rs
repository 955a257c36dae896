//! The `facereel` command.

// These macros panic if the output is closed or its disk is full; `terminal` has functions that do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use facereel::commands::{
    backfill::{Backfill, BackfillError},
    blur::{Blur, BlurError},
    completions::Completions,
    dead_letters,
    export::{Export, ExportError},
    logs::{Logs, LogsError},
    man::Man,
    replay::Replay,
    run::{Run, RunError},
    status::Status,
    up::Up,
    upload::{Phase, Upload, UploadError},
    verify::{Verify, VerifyError},
    view::View,
};
use facereel::deployed::{Error, Target};
use facereel::terminal::{
    Terminal, Verbosity,
    exit::{
        ExitStatus, FAILURE, Format, SUCCESS, finish, finish_with_text, interruptible, interruptible_without_report,
        until_stopped,
    },
    note, print_error, set_verbosity, stop_on_signal,
};

/// Finds the faces in every video that is uploaded to an S3 bucket.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Write no progress and no notes, only the report and errors.
    #[arg(short, long, global = true, help_heading = "Output")]
    quiet: bool,
    /// Write every call to AWS to standard error, with its status and its time.
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Output")]
    verbose: bool,
}

impl Cli {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Find the faces in one video with the whole workflow on this machine, without an AWS account or Docker.
    Run(WithFormat<Run>),
    Up(Up),
    /// Upload videos to the stack's upload bucket. An interrupted upload continues where it was stopped.
    Upload(OnAws<Upload>),
    Replay(ReplayCommand),
    /// Analyse the videos of a bucket that have no complete result yet.
    Backfill(OnAws<Backfill>),
    /// Show which executions run, wait for a job slot or failed, and how many events are undelivered.
    Status(OnAws<Status>),
    /// Show what the functions have logged about one video.
    Logs(OnAws<Logs>),
    /// Check that a deployed stack works, with a video whose faces are known, for about two cents.
    Verify(OnAws<Verify>),
    View(View),
    Export(Export),
    /// Hide every face of a video. The sound, the subtitles and the metadata are kept.
    Blur(WithFormat<Blur>),
    Completions(Completions),
    Man(Man),
}

/// A command for a stack on AWS.
#[derive(Args)]
struct OnAws<T: Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    format: Format,
    #[command(flatten, next_help_heading = "AWS")]
    target: Target,
}

/// A command with a report.
#[derive(Args)]
struct WithFormat<T: Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    format: Format,
}

/// Replay failed executions: redrive them where that works, and start new ones where it does not.
#[derive(Args)]
#[command(after_help = "\
Examples:
  facereel replay --dry-run                    what failed in the last 24 hours, what would be done, and its price
  facereel replay                              asks before anything is billed
  facereel replay --free --wait                only what is free
  facereel replay --since '7 days' --error AccessDenied --limit 100
  facereel replay --execution arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:NAME
  facereel replay --dead-letters               undelivered uploads and completions")]
struct ReplayCommand {
    #[command(flatten)]
    replay: OnAws<Replay>,
    /// Replay undelivered events instead of executions: the events of uploads and the completions of jobs in the
    /// dead-letter queues are delivered again, and each is removed from its queue only after that has worked.
    #[arg(long, conflicts_with_all = ["since", "execution", "error", "limit", "wait"])]
    dead_letters: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    set_verbosity(cli.verbosity());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(format_args!("the asynchronous runtime did not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(cli.command.run(&Terminal::new()));
    // A cancelled analysis may still be ending on its thread; the process does not wait for it.
    runtime.shutdown_background();
    ExitCode::from(status)
}

impl Command {
    async fn run(self, terminal: &Terminal) -> ExitStatus {
        match self {
            Self::Run(WithFormat { format, command }) => run_and_view(&command, format, terminal).await,
            Self::Up(up) => until_stopped(up.run(terminal)).await,
            Self::Upload(upload) => upload_and_view(upload, terminal).await,
            Self::Replay(replay) => replay.run(terminal).await,
            Self::Backfill(OnAws { target, format, command }) => {
                let ask = async |question: &str| terminal.ask(question).await;
                let stop = stop_on_signal();
                let backfill = async { command.run(&target.connect().await?, terminal, ask, stop).await };
                finish(terminal, format, backfill.await, BackfillError::exit_status)
            }
            Self::Status(OnAws { target, format, command }) => {
                let status = async { command.run(&target.connect().await?, terminal).await };
                interruptible(terminal, format, status, |_: &Error| FAILURE).await
            }
            Self::Logs(OnAws { target, command, .. }) if command.follows() => {
                until_stopped(async { command.run_and_follow(&target.connect().await?).await }).await
            }
            Self::Logs(OnAws { target, format, command }) => {
                let logs = async { command.run(&target.connect().await?, terminal).await };
                interruptible(terminal, format, logs, |_: &LogsError| FAILURE).await
            }
            Self::Verify(OnAws { target, format, command }) => {
                // The first signal ends the checks, and everything that they have made is removed.
                let stop = stop_on_signal();
                let ask = async |question: &str| terminal.ask(question).await;
                let verify = async { command.run(&target.connect().await?, terminal, ask, stop).await };
                finish(terminal, format, verify.await, |_: &VerifyError| FAILURE)
            }
            Self::Blur(WithFormat { format, command }) => {
                interruptible(terminal, format, command.run(terminal), BlurError::exit_status).await
            }
            Self::View(view) => until_stopped(view.run()).await,
            Self::Export(export) => {
                interruptible_without_report(terminal, export.run(None, terminal), ExportError::exit_status).await
            }
            Self::Completions(completions) => finish_with_text(&completions.script(Cli::command()), SUCCESS),
            Self::Man(man) => match man.write(Cli::command()) {
                Ok(()) => SUCCESS,
                Err(error) => {
                    print_error(error);
                    FAILURE
                }
            },
        }
    }
}

impl ReplayCommand {
    /// Replays until the first signal, and reports what was replayed.
    async fn run(self, terminal: &Terminal) -> ExitStatus {
        let Self { replay: OnAws { target, format, command }, dead_letters } = self;
        let stop = stop_on_signal();
        let ask = async |question: &str| terminal.choose(question).await;
        if dead_letters {
            let consent = command.consent();
            let replay = async { dead_letters::replay(&target.connect().await?, terminal, consent, ask, &stop).await };
            return finish(terminal, format, replay.await, |_: &Error| FAILURE);
        }
        let replay = async { command.run(&target.connect().await?, terminal, ask, stop).await };
        finish(terminal, format, replay.await, |_: &Error| FAILURE)
    }
}

/// Runs the workflow and, with `--open`, shows the results.
async fn run_and_view(run: &Run, format: Format, terminal: &Terminal) -> ExitStatus {
    let mut view = None;
    let work = async {
        let report = run.run(terminal).await?;
        view = run.view(&report);
        Ok(report)
    };
    let status = interruptible(terminal, format, work, RunError::exit_status).await;
    match view {
        Some(view) => until_stopped(view.run()).await,
        None => status,
    }
}

/// Uploads videos and, with `--open`, shows the result. If a signal ends it, a note says what continues without it.
async fn upload_and_view(upload: OnAws<Upload>, terminal: &Terminal) -> ExitStatus {
    let OnAws { target, format, command } = upload;
    let (mut view, phase) = (None, Phase::default());
    let work = async {
        let deployed = target.connect().await?;
        let report = command.run(&deployed, terminal, &phase).await?;
        view = command.view(&report, target.account(&deployed));
        Ok(report)
    };
    let status = interruptible(terminal, format, work, UploadError::exit_status).await;
    if let Some(hint) = phase.hint().filter(|_| status > 128) {
        note(hint);
    }
    match view {
        Some(view) => until_stopped(view.run()).await,
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
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

    #[test]
    fn every_help_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  facereel "), "{}: {help}", command.get_name());
        }
    }
}
