//! Measures the functions and the commands on this machine, and writes the tables of `BENCHMARKS.md`.
//!
//! Wall-clock times are of interleaved rounds and can only be compared with each other. Processor times and memory are
//! also valid on a busy machine.

mod blur;
mod catalogue;
mod cold;
mod document;
mod function;
mod operations;
mod packages;
mod page;
mod pagination;
mod python;
mod report;
mod run;
mod samples;
mod services;
mod simulation;
mod size;
mod startup;
mod table;
mod tracks;

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use clap::{Parser, Subcommand};

use serde::de::DeserializeOwned;

use crate::{
    document::Document,
    operations::{Operation, Size},
    packages::Packages,
    python::Python,
    report::Report,
};

/// The default number of rounds of start-ups.
const ROUNDS: usize = 51;

/// The default number of rounds of first invocations.
const COLD_ROUNDS: usize = 11;

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
    #[error(
        "the work tree has changes, so that its commit is not what would be measured; commit or remove them first:\n{0}"
    )]
    Changed(String),
    #[error("another commit was checked out during the measurement, so BENCHMARKS.md is not written; run it again")]
    Moved,
    #[error("only a release build measures everything: run `cargo run --release --bin bench -- all`")]
    NotRelease,
    #[error("this program is older than the code of the work tree and was built now; run it again")]
    Outdated,
    #[error("BENCHMARKS.md has no line `{0}` with an end; add it where the table belongs")]
    Marker(String),
}

/// Compares the functions with a hello-world function and the obvious Python Lambda. Linux only.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    #[command(flatten)]
    One(Bench),
    /// Measure all of the above, and write the tables of BENCHMARKS.md.
    All,
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
    /// Measure how many tracks of known faces are right, and their cost for the largest result.
    Tracks,
    /// Measure the time for all pages of a result when each call of Rekognition takes 300 ms, in real time.
    Pagination {
        /// The numbers of pages, separated by commas. 1000 pages take 7 minutes.
        #[arg(long, value_delimiter = ',', default_values_t = pagination::LENGTHS)]
        pages: Vec<u32>,
    },
    /// Measure the time and the calls of the workflow, in virtual time.
    Simulation,
    /// Measure `facereel run`, compared with the length of the video and with ffmpeg and onnxruntime.
    Run,
    /// Measure `facereel blur`, compared with the length of the video, and which faces remain.
    Blur,
    /// Measure status, replay and backfill on many executions and videos, in virtual time.
    Operations {
        #[command(flatten)]
        size: Size,
    },
    /// Measure the catalogue of `facereel view` with 10,000 results.
    Catalogue,
}

impl Bench {
    /// Those of `bench all`: the name, and the minutes that it takes on two cores.
    fn all() -> [(&'static str, u64, Self); 11] {
        [
            ("startup", 1, Self::Startup { rounds: ROUNDS }),
            ("cold", 4, Self::Cold { rounds: COLD_ROUNDS, compare: None }),
            ("size", 0, Self::Size),
            ("page", 3, Self::Page),
            ("tracks", 2, Self::Tracks),
            ("run", 5, Self::Run),
            ("simulation", 3, Self::Simulation),
            ("operations", 1, Self::Operations { size: Size::default() }),
            ("catalogue", 1, Self::Catalogue),
            ("pagination", 3, Self::Pagination { pages: pagination::SHORT.into() }),
            ("blur", 7, Self::Blur),
        ]
    }

    async fn measure(self, root: &Path, report: &mut Report) -> Result<(), BenchError> {
        let packages = || Packages::build(root);
        let python = || Python::install(root);
        match self {
            Self::Startup { rounds } => startup::measure(rounds, &packages()?, &python()?, report).await,
            Self::Cold { rounds, compare } => {
                let packages = Packages::functions(root)?;
                cold::measure(rounds, root, &packages, compare.as_deref(), &python()?, report).await
            }
            Self::Size => size::measure(&packages()?, report),
            Self::Page => page::measure(&packages()?, &python()?, report).await,
            Self::Tracks => tracks::measure(&packages()?, report),
            Self::Pagination { pages } => pagination::measure(&pages, &python()?, report).await,
            Self::Simulation => simulation::measure(report).await,
            Self::Run => run::measure(root, tests::workflow::model().await, &python()?, report),
            Self::Blur => blur::measure(root, &python()?, report).await,
            Self::Operations { size } => operations::measure(size, report),
            Self::Catalogue => catalogue::measure(root, report),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().task, &root()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(task: Task, root: &Path) -> Result<(), BenchError> {
    match task {
        Task::One(bench) => bench.measure(root, &mut Report::default()).await,
        Task::All => all(root).await,
        Task::CatalogueOf { dir } => catalogue::measure_here(&dir).await,
        Task::Operation { operation, large, size } => operations::measure_here(operation, large, size),
    }
}

/// Measures everything, and then writes the tables.
async fn all(root: &Path) -> Result<(), BenchError> {
    let document = Document::of_a_clean_tree(root)?;
    build(root).await?;
    let (mut report, began) = (Report::default(), Instant::now());
    let mut left = VecDeque::from(Bench::all());
    while let Some((name, minutes, bench)) = left.pop_front() {
        let names: Vec<_> = left.iter().map(|(name, ..)| *name).collect();
        let more: u64 = left.iter().map(|(_, minutes, _)| minutes).sum();
        eprintln!(
            "After {} min: {name}, about {minutes} min. Then: {}, about {more} min.",
            began.elapsed().as_secs() / 60,
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        );
        bench.measure(root, &mut report).await?;
    }
    document.write(&report)?;
    eprintln!("BENCHMARKS.md is written, after {} min.", began.elapsed().as_secs() / 60);
    Ok(())
}

/// Builds, installs and makes everything that is measured or needed, so that no build runs beside a measurement.
async fn build(root: &Path) -> Result<(), BenchError> {
    if cfg!(debug_assertions) {
        return Err(BenchError::NotRelease);
    }
    run_to_end(Command::new(cargo()).current_dir(root).args(["build", "--release", "--locked"]))?;
    // Cargo replaces the file of this program, if it builds it.
    if !std::env::current_exe()?.is_file() {
        return Err(BenchError::Outdated);
    }
    Packages::build(root)?;
    let python = Python::install(root)?;
    for clip in run::CLIPS {
        run::clip(root, &python, clip)?;
    }
    tests::workflow::model().await;
    Ok(())
}

/// The cargo that runs this program, or that on the PATH.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command to its end; its output goes to the terminal.
fn run_to_end(command: &mut Command) -> Result<(), BenchError> {
    if command.status()?.success() { Ok(()) } else { Err(BenchError::Command(format!("{command:?}"))) }
}

/// Runs a command to its end, and parses the JSON that it prints.
fn json_of<T: DeserializeOwned>(command: &mut Command) -> Result<T, BenchError> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(BenchError::Command(format!("{command:?}")));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Failed(error.to_string()))
}
