//! Measures the functions on this machine and prints the tables of `BENCHMARKS.md`.
//!
//! Wall-clock times are medians of interleaved rounds and mean something only beside each other; processor times and
//! memory stand also on a busy machine.

mod function;
mod packages;
mod page;
mod pagination;
mod python;
mod run;
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

use crate::{packages::Packages, python::Python};

/// Rounds of a start-up, unless told otherwise.
const ROUNDS: usize = 51;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0} is not built: run `cargo build --release` first")]
    NotBuilt(PathBuf),
    #[error("{0} is no package of a function: {1}; remove it, so that it is built again")]
    Package(PathBuf, zip::result::ZipError),
    #[error("{0} does not tell when the detection began and ended")]
    History(PathBuf),
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
        #[arg(long, default_value_t = ROUNDS)]
        rounds: usize,
    },
    /// The deployment packages' sizes.
    Size,
    /// Processor time and memory for pages of 1000 faces.
    Page,
    /// How long all pages take when Rekognition needs 300 ms for each.
    Pagination,
    /// How much faster than the video plays `facereel run` is.
    Run,
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
    let root = root();
    let packages = || Packages::build(&root);
    let python = || Python::install(&root);
    match bench {
        Bench::Startup { rounds } => startup::measure(rounds, &packages()?, &python()?).await,
        Bench::Size => size::measure(&packages()?),
        Bench::Page => page::measure(&packages()?, &python()?).await,
        Bench::Pagination => pagination::measure(&root, &python()?).await,
        Bench::Run => run::measure(&root, &python()?),
        Bench::All => {
            let (packages, python) = (packages()?, python()?);
            startup::measure(ROUNDS, &packages, &python).await?;
            size::measure(&packages)?;
            page::measure(&packages, &python).await?;
            pagination::measure(&root, &python).await?;
            run::measure(&root, &python)
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command whose output is for whoever watches.
fn run_to_end(command: &mut Command) -> Result<(), BenchError> {
    if command.status()?.success() { Ok(()) } else { Err(BenchError::Command(format!("{command:?}"))) }
}
