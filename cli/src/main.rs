//! The `facereel` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use facereel::{run::Run, terminal::Terminal};
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
}

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        let progress = Terminal::new();
        // Whichever ends first drops the other, and with it every process that was started.
        tokio::select! {
            result = run.run(&progress) => match result {
                Ok(report) => {
                    println!("{report}");
                    0
                }
                Err(error) => {
                    progress.abandon();
                    eprintln!("error: {error}");
                    error.exit_status()
                }
            },
            signal = stop() => {
                progress.abandon();
                eprintln!("stopped");
                128 + signal
            }
        }
    });
    // An analysis that has been cancelled may still be on its way out: nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// Waits for Ctrl-C or the request to end, and returns the signal's number.
async fn stop() -> u8 {
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
