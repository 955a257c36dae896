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
use crate::{
    BenchError, json_of,
    report::Report,
    samples::Samples,
    table::{Name, Table},
};

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

/// The number of rounds.
const ROUNDS: usize = 3;

/// Measures each command in its own process, and adds the two tables.
pub fn measure(size: Size, report: &mut Report) -> Result<(), BenchError> {
    let columns = ["ListExecutions", "DescribeExecution", "GetExecutionHistory", "RedriveExecution", "StartExecution"];
    let more = ["other calls", "throttled", "s", "s, 3 Regions", "memory, MB"];
    let mut table = Table::new(Name::Executions, &[&["command"][..], &columns, &more].concat());
    for operation in Operation::value_variants().iter().filter(|operation| operation.is_about_executions()) {
        let other = in_each_round(*operation, Regions::Other, size)?;
        let large = in_each_round(*operation, Regions::Large, size)?;
        for (other, large) in other.iter().zip(&large) {
            table.row(&[other.cells(&columns), vec![large.seconds(), other.megabytes()]].concat());
        }
    }
    report.add(table);
    let columns = ["ListObjectVersions", "ListObjectsV2", "GetObject", "PutObject"];
    let more = ["other calls", "throttled", "s", "memory, MB"];
    let mut table = Table::new(Name::Videos, &[&["command"][..], &columns, &more].concat());
    for operation in Operation::value_variants().iter().filter(|operation| operation.is_about_objects()) {
        let size = Size { executions: 0, old: 0, ..size };
        for command in in_each_round(*operation, Regions::Other, size)? {
            table.row(&[command.cells(&columns), vec![command.megabytes()]].concat());
        }
    }
    report.add(table);
    Ok(())
}

/// Measures `facereel view` on a bucket with 10,000 results, each of this number of pages and of objects with tracks, in its own
/// process: first the list and its first 20 rows, then all rows.
pub fn measure_catalogue(pages: u64, tracks: u64) -> Result<Vec<Rounds>, BenchError> {
    // One of a hundred videos has no result.
    let size = Size { executions: 0, old: 0, objects: 10_101, pages, tracks };
    in_each_round(Operation::Catalogue, Regions::Other, size)
}

/// A command, measured in each round.
pub struct Rounds(Vec<Measured>);

impl Rounds {
    /// The command, for the table.
    pub fn command(&self) -> String {
        self.0[0].command.clone()
    }

    /// The virtual time in whole seconds.
    pub fn seconds(&self) -> String {
        self.show(|measured| measured.seconds)
    }

    /// The peak memory in MB.
    pub fn megabytes(&self) -> String {
        self.show(|measured| measured.megabytes)
    }

    /// The calls of each of these operations, and all others.
    pub fn calls(&self, operations: &[&str]) -> Vec<String> {
        let calls = |measured: &Measured, name: &str| measured.calls.get(name).copied().unwrap_or_default();
        let counted = operations.iter().map(|name| self.count(|measured| calls(measured, name)));
        let others = self.count(|measured| {
            measured.calls.values().sum::<u64>() - operations.iter().map(|name| calls(measured, name)).sum::<u64>()
        });
        counted.chain([others]).collect()
    }

    /// The cells of a row: the command, its calls, the throttled ones, and the seconds.
    fn cells(&self, operations: &[&str]) -> Vec<String> {
        let throttled = self.count(|measured| measured.throttled);
        [vec![self.command()], self.calls(operations), vec![throttled, self.seconds()]].concat()
    }

    #[expect(clippy::cast_precision_loss, reason = "a million calls")]
    fn count(&self, count: impl Fn(&Measured) -> u64) -> String {
        self.show(|measured| count(measured) as f64)
    }

    fn show(&self, figure: impl Fn(&Measured) -> f64) -> String {
        self.0.iter().map(figure).collect::<Samples>().show(0)
    }
}

/// The figures of each command in an operation.
fn in_each_round(operation: Operation, regions: Regions, size: Size) -> Result<Vec<Rounds>, BenchError> {
    let mut commands: Vec<Rounds> = Vec::new();
    for _ in 0..ROUNDS {
        let measured = in_own_process(operation, regions, size)?;
        commands.resize_with(measured.len(), || Rounds(Vec::new()));
        commands.iter_mut().zip(measured).for_each(|(command, measured)| command.0.push(measured));
    }
    Ok(commands)
}

fn in_own_process(operation: Operation, regions: Regions, size: Size) -> Result<Vec<Measured>, BenchError> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("operation").arg(operation.to_possible_value().expect("no value is skipped").get_name());
    child.args(size.arguments());
    if regions == Regions::Large {
        child.arg("--large");
    }
    json_of(&mut child)
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
