//! Measures the functions, and the commands for an operator, on this machine and prints the tables of `BENCHMARKS.md`.
//!
//! Wall-clock times are medians of interleaved rounds and can only be compared with each other. Processor times and memory are
//! also valid on a busy machine.

mod blur;
mod catalogue;
mod cold;
mod function;
mod operations;
mod packages;
mod page;
mod pagination;
mod python;
mod run;
mod services;
mod size;
mod startup;
mod table;
mod tracks;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

use crate::{
    operations::{Operation, Size},
    packages::Packages,
    python::Python,
};

/// The default number of rounds of start-ups.
const ROUNDS: usize = 51;

/// The default number of rounds of first invocations.
const COLD_ROUNDS: usize = 21;

/// Why the figures could not be measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0} is not built: run `cargo build --release` first")]
    NotBuilt(PathBuf),
    #[error("{0} is not a package of a function: {1}; delete it, so that it is built again")]
    Package(PathBuf, zip::result::ZipError),
    #[error("{0} does not contain the start and the end of StartDetection")]
    History(PathBuf),
    #[error("the function {0} ended before it asked for an event; run it manually to see why")]
    Ended(&'static str),
    #[error("an invocation failed: {0}")]
    Failed(String),
    #[error("/proc/<pid>/{0} does not have the format of Linux")]
    Unreadable(&'static str),
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the TLS server could not be configured: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no control group for processor time could be made, which needs root and the controller `cpu`: {0}")]
    NoControlGroup(io::Error),
    #[error("`{0}` failed; its output is above")]
    Command(String),
}

/// Compares the functions with a hello-world function and the obvious Python Lambda. Linux only.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Measure the time from a function's spawn to its first call of the Runtime API.
    Startup {
        /// The number of rounds, each of all functions in turn.
        #[arg(long, default_value_t = ROUNDS)]
        rounds: usize,
    },
    /// Measure the first invocation of each function, from its start to its result, with TLS.
    Cold {
        /// The number of rounds, each of all functions in turn.
        #[arg(long, default_value_t = COLD_ROUNDS)]
        rounds: usize,
        /// A directory with the packages of another build, which is measured in the same rounds.
        #[arg(long, value_name = "DIR")]
        compare: Option<PathBuf>,
    },
    /// Show the sizes of the deployment packages.
    Size,
    /// Measure processor time and memory for pages of 1000 faces.
    Page,
    /// Measure the time and the memory for the tracks of the largest result.
    Tracks,
    /// Measure the time for all pages of a result when each call of Rekognition takes 300 ms.
    Pagination,
    /// Measure `facereel run`, compared with the length of the video.
    Run,
    /// Measure `facereel blur`, compared with the length of the video.
    Blur,
    /// Measure status, replay and backfill on many executions and videos, in virtual time.
    Operations {
        #[command(flatten)]
        size: Size,
    },
    /// Measure the catalogue of `facereel view` with 10,000 results.
    Catalogue,
    /// Measure the catalogue of a directory in this process.
    #[command(hide = true)]
    CatalogueOf { dir: PathBuf },
    /// Measure one of the operations in this process.
    #[command(hide = true)]
    Operation {
        operation: Operation,
        /// With the quotas of the three large Regions.
        #[arg(long)]
        large: bool,
        #[command(flatten)]
        size: Size,
    },
    /// Run all of the above.
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
        Bench::Cold { rounds, compare } => {
            cold::measure(rounds, &root, &packages()?, compare.as_deref(), &python()?).await
        }
        Bench::Size => size::measure(&packages()?),
        Bench::Page => page::measure(&packages()?, &python()?).await,
        Bench::Tracks => tracks::measure(),
        Bench::Pagination => pagination::measure(&root, &python()?).await,
        Bench::Run => run::measure(&root, &python()?),
        Bench::Blur => blur::measure(&root, &python()?),
        Bench::Operations { size } => operations::measure(size),
        Bench::Catalogue => catalogue::measure(&root),
        Bench::CatalogueOf { dir } => catalogue::measure_here(&dir).await,
        Bench::Operation { operation, large, size } => operations::measure_here(operation, large, size),
        Bench::All => {
            let (packages, python) = (packages()?, python()?);
            startup::measure(ROUNDS, &packages, &python).await?;
            cold::measure(COLD_ROUNDS, &root, &packages, None, &python).await?;
            size::measure(&packages)?;
            page::measure(&packages, &python).await?;
            tracks::measure()?;
            pagination::measure(&root, &python).await?;
            run::measure(&root, &python)?;
            blur::measure(&root, &python)?;
            operations::measure(Size::default())?;
            catalogue::measure(&root)
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command to its end; its output goes to the terminal.
fn run_to_end(command: &mut Command) -> Result<(), BenchError> {
    if command.status()?.success() { Ok(()) } else { Err(BenchError::Command(format!("{command:?}"))) }
}
