//! The `facereel` command.

use std::{fmt::Display, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use facereel::{
    backfill::{Backfill, BackfillError},
    deployed::{self, Stop, Target},
    replay::Replay,
    run::{Run, RunError},
    status::Status,
    terminal::Terminal,
};
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
    Replay(OnAws<Replay>),
    Backfill(OnAws<Backfill>),
    Status(OnAws<Status>),
}

/// A command on a deployed stack.
#[derive(Args)]
struct OnAws<T: Args> {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    command: T,
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
            eprintln!("error: the asynchronous runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        let progress = Terminal::new();
        match command {
            Command::Run(run) => stoppable(&progress, run.run(&progress), |_| 0, RunError::exit_status).await,
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
            Command::Replay(OnAws { target, command }) => {
                let work = async {
                    let deployed = target.connect().await?;
                    command.run(&deployed, &progress, async |question: &str| progress.ask(question).await, stop()).await
                };
                let report = match work.await {
                    Ok(report) => report,
                    Err(error) => return failed(&progress, &error),
                };
                let status = if report.interrupted { INTERRUPTED } else { u8::from(!report.all_well()) };
                told(&progress, &report, status)
            }
        }
    });
    // An analysis that has been cancelled may still be on its way out: nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(status)
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
            eprintln!("stopped");
            128 + signal
        }
    }
}

fn told(progress: &Terminal, report: &impl Display, status: ExitStatus) -> ExitStatus {
    progress.done();
    println!("{report}");
    status
}

fn failed(progress: &Terminal, error: &impl Display) -> ExitStatus {
    progress.abandon();
    eprintln!("error: {error}");
    1
}

/// Lets a command end what it has begun.
fn stop() -> Stop {
    deployed::stop_at(async {
        stop_signal().await;
        eprintln!("stopping");
    })
}

/// Waits for Ctrl-C or the request to end, and returns the signal's number.
async fn stop_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process, and the engine with it.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}
