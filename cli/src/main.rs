//! The `facereel` command.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use facereel::{run::Run, terminal::Terminal, view::View};
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
        match command {
            Command::Run(run) => run_and_view(&run).await,
            Command::View(view) => look(&view).await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "facereel", &mut std::io::stdout());
                0
            }
        }
    });
    // An analysis that has been cancelled may still be on its way out: nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(status)
}

async fn run_and_view(run: &Run) -> u8 {
    let progress = Terminal::new();
    // Whichever ends first drops the other, and with it every process that was started.
    let report = tokio::select! {
        result = run.run(&progress) => result,
        signal = stop() => {
            progress.abandon();
            eprintln!("stopped");
            return 128 + signal;
        }
    };
    match report {
        Ok(report) => {
            println!("{report}");
            match run.view(&report) {
                Some(view) => look(&view).await,
                None => 0,
            }
        }
        Err(error) => {
            progress.abandon();
            eprintln!("error: {error}");
            error.exit_status()
        }
    }
}

/// Shows results until the person has seen enough.
async fn look(view: &View) -> u8 {
    tokio::select! {
        result = view.run() => match result {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("error: {error}");
                1
            }
        },
        _ = stop() => 0,
    }
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
