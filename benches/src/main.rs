//! Measures the functions on this machine and prints the tables of `BENCHMARKS.md`.
//!
//! Wall-clock times are medians of interleaved rounds and mean something only beside each other; processor times and
//! memory stand also on a busy machine.

mod function;
mod page;
mod pagination;
mod services;
mod size;
mod startup;
mod table;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0} is not built: run `cargo build --release` first")]
    NotBuilt(PathBuf),
    #[error("{0} is not there: run `scripts/build-lambdas x86_64` (or arm64) first, it takes minutes")]
    NoZips(PathBuf),
    #[error("the function {0} ended before it asked for an event; run it by hand to see why")]
    Ended(&'static str),
    #[error("an invocation failed: {0}")]
    Failed(String),
    #[error("/proc/<pid>/{0} is not as Linux writes it")]
    Unreadable(&'static str),
    #[error("`{0}` failed; its own words stand above")]
    Command(String),
}

/// Measures the functions beside a hello-world function and the obvious Python Lambda. Linux only.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From a function's spawn to its first call of the Runtime API.
    Startup {
        /// Rounds of all of them in turn.
        #[arg(long, default_value_t = 21)]
        rounds: usize,
    },
    /// The deployment packages' sizes.
    Size,
    /// Processor time and memory for pages of 1000 faces.
    Page,
    /// How long all pages take when Rekognition needs 300 ms for each.
    Pagination,
    /// All of the above.
    All,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().bench).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(bench: Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Startup { rounds } => startup::measure(rounds, &peer()?).await,
        Bench::Size => size::measure(&root()),
        Bench::Page => page::measure(&peer()?).await,
        Bench::Pagination => pagination::measure(&root(), &peer()?).await,
        Bench::All => {
            let peer = peer()?;
            startup::measure(21, &peer).await?;
            size::measure(&root())?;
            page::measure(&peer).await?;
            pagination::measure(&root(), &peer).await
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Python Lambda with its pinned packages in a virtual environment below `target/`, made at the first run.
fn peer() -> Result<function::Program, BenchError> {
    let venv = root().join("target/bench/venv");
    let installed = venv.join("installed");
    if !installed.is_file() {
        run_to_end(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/requirements.txt");
        run_to_end(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(requirements))?;
        std::fs::write(&installed, "")?;
    }
    Ok(function::Program::python(&venv))
}

/// Runs a command whose output is for whoever watches.
fn run_to_end(command: &mut Command) -> Result<(), BenchError> {
    if command.status()?.success() { Ok(()) } else { Err(BenchError::Command(format!("{command:?}"))) }
}
