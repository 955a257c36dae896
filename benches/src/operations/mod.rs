//! The commands for an operator on 10,000 failed executions and a million videos: calls, time and memory.
//!
//! The real commands and the AWS SDK run on models of the services, in virtual time, with AWS's own rate quotas. Each command is
//! measured in its own process, whose peak memory includes the model.

mod account;
mod archive;
mod commands;
mod executions;
mod quotas;
mod wire;

use std::process::Command;

use clap::{Args, ValueEnum as _};

pub use commands::{Measured, Operation};

use self::{archive::Videos, executions::Failures, quotas::Regions};
use crate::{BenchError, table::Table};

/// The sizes of the account.
#[derive(Debug, Clone, Copy, Args)]
pub struct Size {
    /// The number of executions that failed in the last 24 hours. Half of them were replaced already.
    #[arg(long, default_value_t = Self::default().executions)]
    executions: u64,
    /// The number of executions that failed before.
    #[arg(long, default_value_t = Self::default().old)]
    old: u64,
    /// The number of videos in the bucket. One of 100 has no result.
    #[arg(long, default_value_t = Self::default().objects)]
    objects: u64,
    /// The number of pages of faces of each result.
    #[arg(long, default_value_t = Self::default().pages)]
    pages: u64,
    /// The number of objects with tracks of each result.
    #[arg(long, default_value_t = Self::default().tracks)]
    tracks: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { executions: 10_000, old: 100_000, objects: 1_000_000, pages: 1, tracks: 0 }
    }
}

impl Size {
    fn failures(self) -> Failures {
        Failures { recent: self.executions, old: self.old }
    }

    fn videos(self) -> Videos {
        Videos { count: self.objects, pages: self.pages, tracks: self.tracks }
    }

    fn arguments(self) -> [String; 5] {
        let Self { executions, old, objects, pages, tracks } = self;
        [("executions", executions), ("old", old), ("objects", objects), ("pages", pages), ("tracks", tracks)]
            .map(|(name, value)| format!("--{name}={value}"))
    }
}

/// Measures each command in its own process, and prints the two tables.
pub fn measure(size: Size) -> Result<(), BenchError> {
    let columns = ["ListExecutions", "DescribeExecution", "GetExecutionHistory", "RedriveExecution", "StartExecution"];
    let more = ["other calls", "throttled", "s", "s, 3 Regions", "memory, MB"];
    let mut table = Table::new(&[&["command"][..], &columns, &more].concat());
    for operation in Operation::value_variants().iter().filter(|operation| operation.is_about_executions()) {
        let other = in_own_process(*operation, Regions::Other, size)?;
        let large = in_own_process(*operation, Regions::Large, size)?;
        for (other, large) in other.iter().zip(&large) {
            table.row(&[cells(other, &columns), vec![large.seconds(), other.megabytes()]].concat());
        }
    }
    println!("{table}");
    let columns = ["ListObjectVersions", "ListObjectsV2", "GetObject", "PutObject"];
    let more = ["other calls", "throttled", "s", "memory, MB"];
    let mut table = Table::new(&[&["command"][..], &columns, &more].concat());
    for operation in Operation::value_variants().iter().filter(|operation| operation.is_about_objects()) {
        let size = Size { executions: 0, old: 0, ..size };
        for measured in in_own_process(*operation, Regions::Other, size)? {
            table.row(&[cells(&measured, &columns), vec![measured.megabytes()]].concat());
        }
    }
    println!("{table}");
    Ok(())
}

/// Measures `facereel view` on a bucket with 10,000 results, each of this number of pages and of objects with tracks, in its own
/// process: first the list and its first 20 rows, then all rows.
pub fn measure_catalogue(pages: u64, tracks: u64) -> Result<Vec<Measured>, BenchError> {
    // One of a hundred videos has no result.
    let size = Size { executions: 0, old: 0, objects: 10_101, pages, tracks };
    in_own_process(Operation::Catalogue, Regions::Other, size)
}

/// The cells of a row: the command, its calls of these operations, all others, the throttled ones, and the seconds.
fn cells(measured: &Measured, operations: &[&str]) -> Vec<String> {
    let calls = |name: &str| measured.calls.get(name).copied().unwrap_or_default();
    let all: u64 = measured.calls.values().sum();
    let counted: Vec<_> = operations.iter().map(|name| calls(name)).collect();
    let other = all - counted.iter().sum::<u64>();
    let numbers = counted.into_iter().chain([other, measured.throttled]).map(|calls| calls.to_string());
    [measured.command.clone()].into_iter().chain(numbers).chain([measured.seconds()]).collect()
}

fn in_own_process(operation: Operation, regions: Regions, size: Size) -> Result<Vec<Measured>, BenchError> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("operation").arg(operation.to_possible_value().expect("no value is skipped").get_name());
    child.args(size.arguments());
    if regions == Regions::Large {
        child.arg("--large");
    }
    let output = child.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(BenchError::Command(format!("{child:?}")));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Failed(error.to_string()))
}

/// Measures one command in this process, and prints the figures as JSON.
pub fn measure_here(operation: Operation, large: bool, size: Size) -> Result<(), BenchError> {
    let regions = if large { Regions::Large } else { Regions::Other };
    // A thread without a runtime: that of the process has a clock that cannot be paused.
    let measured = std::thread::spawn(move || commands::measure(operation, regions, size.failures(), size.videos()));
    let measured = measured.join().map_err(|_| BenchError::Failed("the measurement panicked".to_owned()))??;
    println!("{}", serde_json::to_string(&measured).map_err(|error| BenchError::Failed(error.to_string()))?);
    Ok(())
}
