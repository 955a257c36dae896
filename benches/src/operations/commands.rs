//! The commands, as they are measured.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex},
};

use clap::{Args, Parser, ValueEnum};
use facereel::commands::{
    backfill::{Backfill, BackfillOutcome},
    replay::{Replay, ReplayOutcome, ReplayReport},
    status::Status,
    view::Catalogue,
};
use facereel::deployed::{self, Deployed, Target};
use facereel::stored::{Location, LocationReader};
use facereel::terminal::{Answer, Stop, stop_at};
use local_stack::{Progress, Silent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    account::{Account, Calls, RESULTS, STATE_MACHINE, SharedAccount, UPLOADS},
    archive::{PREFIX, Videos},
    executions::Failures,
    quotas::Regions,
    wire::sdk_config,
};
use crate::{BenchError, function::peak_mb_of};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// One call: the time and the memory that every command needs.
    Nothing,
    /// `facereel status`.
    Status,
    /// `facereel replay --dry-run`.
    ReplayDryRun,
    /// `facereel replay`.
    Replay,
    /// `facereel replay`, stopped when half of the executions are replayed, and run again.
    ReplayTwice,
    /// `facereel backfill --dry-run`.
    BackfillDryRun,
    /// `facereel backfill --yes`.
    Backfill,
    /// `facereel view s3://BUCKET`: the catalogue. `bench catalogue` measures it.
    Catalogue,
}

impl Operation {
    /// Whether it depends on the number of executions.
    pub fn is_about_executions(self) -> bool {
        !matches!(self, Self::BackfillDryRun | Self::Backfill | Self::Catalogue)
    }

    /// Whether it depends on the number of videos.
    pub fn is_about_objects(self) -> bool {
        matches!(self, Self::Nothing | Self::BackfillDryRun | Self::Backfill)
    }
}

/// The figures of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The command, for the table.
    pub command: String,
    /// The calls that were answered.
    pub calls: Calls,
    /// The calls that were throttled.
    pub throttled: u64,
    /// The virtual time.
    pub seconds: f64,
    /// The peak memory of the process so far, in MB of 10^6 bytes.
    pub megabytes: f64,
}

/// Parses the options of a command.
#[derive(Parser)]
struct CommandLine<T: Args> {
    #[command(flatten)]
    command: T,
}

/// A command with these options.
fn command<T: Args>(options: &[&str]) -> T {
    let line = [&["facereel"], options].concat();
    CommandLine::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).command
}

/// Runs an operation in virtual time, and returns the figures of each command in it.
///
/// # Errors
/// [`BenchError::Failed`], if a command fails or does not do what it should.
pub fn measure(
    operation: Operation,
    regions: Regions,
    failures: Failures,
    videos: Videos,
) -> Result<Vec<Measured>, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let has_videos = operation.is_about_objects() || operation == Operation::Catalogue;
        let videos = if has_videos { videos } else { Videos { count: 0, ..videos } };
        let failures = if operation.is_about_executions() { failures } else { Failures { recent: 0, old: 0 } };
        let account = Arc::new(Mutex::new(Account::new(regions, failures, videos)));
        Operator::new(account, failures.recent, &Silent).run(operation).await
    })
}

/// The person who runs the commands.
struct Operator<'a> {
    account: SharedAccount,
    deployed: Deployed,
    progress: &'a dyn Progress,
    /// The number of executions that are not replayed yet.
    left: u64,
}

impl<'a> Operator<'a> {
    fn new(account: SharedAccount, failures: u64, progress: &'a dyn Progress) -> Self {
        let deployed = Deployed::new(&sdk_config(Arc::clone(&account)), STATE_MACHINE.parse().expect("an ARN"));
        Self { account, deployed, progress, left: failures - failures.div_ceil(2) }
    }

    async fn run(&self, operation: Operation) -> Result<Vec<Measured>, BenchError> {
        let never = || stop_at(pending());
        Ok(match operation {
            Operation::Nothing => vec![self.measure("one call", self.one_call()).await?],
            Operation::Status => vec![self.measure("status", self.status()).await?],
            Operation::ReplayDryRun => {
                let replay = self.replay(&["--dry-run"], never(), self.left, ReplayOutcome::WouldBeReplayed);
                vec![self.measure("replay --dry-run", replay).await?]
            }
            Operation::Replay => vec![self.measure("replay", self.replay_all(never(), self.left)).await?],
            Operation::ReplayTwice => {
                let half = self.left / 2;
                let first =
                    self.measure("replay, stopped at half", self.replay_all(self.stop_after(half), half)).await?;
                let replayed = *self.account.lock().expect("no panic").replayed.borrow();
                let again = self.replay_all(never(), self.left - replayed);
                vec![first, self.measure("replay, again", again).await?]
            }
            Operation::BackfillDryRun => {
                vec![self.measure("backfill --dry-run", self.backfill(&["--dry-run"])).await?]
            }
            Operation::Backfill => vec![self.measure("backfill", self.backfill(&["--yes"])).await?],
            Operation::Catalogue => {
                let results = self.results();
                let catalogue = OnceCell::new();
                let list = async {
                    let listed = self.catalogue(results).await?;
                    listed.facts(0..20).await;
                    catalogue.set(listed).map_err(|_| "listed twice".to_owned())
                };
                let first = self.measure("list and first 20 rows", list).await?;
                let all = async {
                    let catalogue = catalogue.get().ok_or("not listed")?;
                    let mut shown = 0;
                    for from in (0..results).step_by(100) {
                        let facts = catalogue.facts(from..from + 100).await;
                        shown += facts.values().filter(|facts| facts["duration_ms"] == 600_000).count();
                    }
                    expect(shown as u64, results as u64, "shown")
                };
                vec![first, self.measure("all rows, to sort by faces", all).await?]
            }
        })
    }

    /// Measures a command.
    async fn measure(
        &self,
        name: &str,
        command: impl Future<Output = Result<(), String>>,
    ) -> Result<Measured, BenchError> {
        let began = Instant::now();
        command.await.map_err(|error| BenchError::Failed(format!("{name}: {error}")))?;
        let mut account = self.account.lock().expect("no panic");
        Ok(Measured {
            command: name.to_owned(),
            calls: std::mem::take(&mut account.calls),
            throttled: std::mem::take(&mut account.throttled),
            seconds: began.elapsed().as_secs_f64(),
            megabytes: peak_mb_of("self")?,
        })
    }

    /// The number of results in the bucket.
    fn results(&self) -> usize {
        self.account.lock().expect("no panic").archive.complete()
    }

    async fn catalogue(&self, results: usize) -> Result<Catalogue, String> {
        let aws = sdk_config(Arc::clone(&self.account));
        let root = Location::S3 { bucket: RESULTS.to_owned(), key: String::new(), version_id: None };
        let target: Target = command(&["--state-machine", STATE_MACHINE]);
        let reader = LocationReader::new(&deployed::Account::default(), Some(&aws));
        let catalogue = Catalogue::list(reader, root, &target, Some(&aws), self.progress).await;
        let catalogue = catalogue.map_err(|error| error.to_string())?;
        let document = catalogue.document().map_err(|error| error.to_string())?;
        let document: Value = serde_json::from_slice(&document).map_err(|error| error.to_string())?;
        expect(document["rows"].as_array().map_or(0, Vec::len) as u64, results as u64, "listed")?;
        Ok(catalogue)
    }

    async fn one_call(&self) -> Result<(), String> {
        self.deployed.results_bucket().await.map(drop).map_err(|error| error.to_string())
    }

    async fn status(&self) -> Result<(), String> {
        let status: Status = command(&[]);
        let overview = status.run(&self.deployed, self.progress).await.map_err(|error| error.to_string())?;
        expect(overview.failed as u64, self.left, "failed")
    }

    async fn replay_all(&self, stop: Stop, least: u64) -> Result<(), String> {
        let report = self.replay_report(&["--yes"], stop).await?;
        let replayed = report.replayed().count() as u64;
        if replayed >= least { Ok(()) } else { Err(format!("{replayed} of {least} replayed\n{report}")) }
    }

    async fn replay(&self, options: &[&str], stop: Stop, rows: u64, outcome: ReplayOutcome) -> Result<(), String> {
        let report = self.replay_report(options, stop).await?;
        expect(report.rows.iter().filter(|row| row.outcome == outcome).count() as u64, rows, "to be replayed")
    }

    async fn replay_report(&self, options: &[&str], stop: Stop) -> Result<ReplayReport, String> {
        let replay: Replay = command(options);
        let ask = async |question: &str| panic!("nothing is billed, but the command asks: {question}");
        replay.run(&self.deployed, self.progress, ask, stop).await.map_err(|error| error.to_string())
    }

    /// Resolves when this many executions are replayed.
    fn stop_after(&self, count: u64) -> Stop {
        let mut replayed = self.account.lock().expect("no panic").replayed.subscribe();
        stop_at(async move {
            let _ = replayed.wait_for(|replayed| *replayed >= count).await;
        })
    }

    async fn backfill(&self, options: &[&str]) -> Result<(), String> {
        let source = format!("s3://{UPLOADS}/{PREFIX}");
        let backfill: Backfill = command(&[&[source.as_str()], options].concat());
        let ask = async |_: &str| Answer::NotAsked;
        let never = stop_at(pending());
        let report =
            backfill.run(&self.deployed, self.progress, ask, never).await.map_err(|error| error.to_string())?;
        let account = self.account.lock().expect("no panic");
        let is_started = matches!(report.outcome, BackfillOutcome::Started { .. });
        expect(u64::from(is_started), u64::from(account.archive.written > 0), "started")?;
        expect(report.due.len() as u64, account.archive.due(), "due")?;
        expect(report.estimate().unknown as u64, 0, "of unknown length")
    }
}

fn expect(found: u64, expected: u64, what: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} executions or videos are {what}, and not {expected}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(operation: Operation, failures: Failures, videos: Videos) -> Calls {
        let mut measured = measure(operation, Regions::Other, failures, videos).unwrap();
        measured.pop().unwrap().calls
    }

    const NO_FAILURES: Failures = Failures { recent: 0, old: 0 };
    const NO_VIDEOS: Videos = Videos { count: 0, pages: 1, tracks: 0 };

    #[test]
    fn a_backfill_reads_only_the_videos_that_are_due() {
        let calls = calls(Operation::Backfill, NO_FAILURES, Videos { count: 5_000, pages: 1, tracks: 0 });
        // Two reads for the length of each of the 50 due videos, and none of the 4,950 manifests.
        assert_eq!(calls["GetObject"], 100);
        assert_eq!(calls["ListObjectVersions"], 5);
        // Each thousand videos have four thousand objects of results.
        assert!(calls["ListObjectsV2"] <= 5 * 5, "{calls:?}");
        assert_eq!((calls["PutObject"], calls["StartExecution"]), (1, 1));
    }

    #[test]
    fn the_catalogue_needs_one_listing_and_a_read_for_each_row() {
        let videos = Videos { count: 1_010, pages: 300, tracks: 1 };
        let measured = measure(Operation::Catalogue, Regions::Other, NO_FAILURES, videos).unwrap();
        // A thousand results of five entries each, however many pages they have.
        assert_eq!((measured[0].calls["ListObjectsV2"], measured[0].calls["GetObject"]), (5, 20));
        assert_eq!((measured[1].calls.get("ListObjectsV2"), measured[1].calls["GetObject"]), (None, 980));
    }

    /// Remembers what was shown.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Progress for Recorder {
        fn step(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }

        fn detail(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }

        fn ratio(&self, done: f32) {
            self.0.lock().unwrap().push(format!("{done:.2}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backfill_shows_what_it_has_counted_and_how_far_it_is() {
        let (progress, videos) = (Recorder::default(), Videos { count: 2_000, pages: 1, tracks: 0 });
        let account = Arc::new(Mutex::new(Account::new(Regions::Other, NO_FAILURES, videos)));
        Operator::new(account, 0, &progress).backfill(&["--dry-run"]).await.unwrap();
        let shown = progress.0.into_inner().unwrap();
        assert_eq!(
            shown[..4],
            [
                "Looking for videos without a result",
                "1000 videos, 990 with a complete result",
                "2000 videos, 1980 with a complete result",
                "Reading the length of the videos"
            ]
        );
        assert_eq!((shown.len(), shown[4].as_str(), shown[23].as_str()), (24, "0.05", "1.00"));
    }

    #[test]
    fn throttled_calls_are_repeated_until_every_failure_is_replayed() {
        let failures = Failures { recent: 800, old: 0 };
        let measured = measure(Operation::Replay, Regions::Other, failures, NO_VIDEOS).unwrap().remove(0);
        assert!(measured.throttled > 0, "{measured:?}");
        assert_eq!(measured.calls["RedriveExecution"] + measured.calls["StartExecution"], 400);
    }

    #[test]
    fn the_pages_of_a_result_are_not_listed() {
        let calls = calls(Operation::BackfillDryRun, NO_FAILURES, Videos { count: 40, pages: 2_500, tracks: 0 });
        // A call ends among the pages of a result, and the next call begins behind them.
        assert!(calls["ListObjectsV2"] <= 40 + 1, "{calls:?}");
    }

    #[test]
    fn every_failure_is_replayed_once_in_spite_of_an_interruption() {
        let failures = Failures { recent: 200, old: 300 };
        let measured = measure(Operation::ReplayTwice, Regions::Large, failures, NO_VIDEOS).unwrap();
        let replayed = |measured: &Measured| {
            let calls = |name: &str| measured.calls.get(name).copied().unwrap_or_default();
            calls("RedriveExecution") + calls("StartExecution")
        };
        assert_eq!(measured.iter().map(replayed).sum::<u64>(), 100);
        assert!((50..100).contains(&replayed(&measured[0])), "{measured:?}");
    }

    #[test]
    fn old_failures_cost_only_the_listing_of_four_weeks() {
        for operation in [Operation::Status, Operation::ReplayDryRun] {
            let with_old = |old| calls(operation, Failures { recent: 40, old }, NO_VIDEOS);
            let (none, many) = (with_old(0), with_old(20_000));
            assert_eq!(none["DescribeExecution"], many["DescribeExecution"]);
            // A fifth of them are listed, a thousand with each call, and one page more.
            assert!(many["ListExecutions"] <= none["ListExecutions"] + 5, "{none:?} {many:?}");
        }
    }

    #[test]
    fn status_and_a_dry_run_change_nothing() {
        for operation in [Operation::Status, Operation::ReplayDryRun] {
            let calls = calls(operation, Failures { recent: 40, old: 60 }, NO_VIDEOS);
            assert!(!calls.contains_key("RedriveExecution") && !calls.contains_key("StartExecution"), "{calls:?}");
        }
    }
}
