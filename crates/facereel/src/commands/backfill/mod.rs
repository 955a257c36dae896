//! `facereel backfill`: the videos that were there before, or that were missed, are analysed as well.
//!
//! The command decides which videos are due, since it must say what they cost before anything is paid; it leaves their
//! list in S3, and the state machine `backfill` works it off, for days if need be.

mod duration;
mod listing;

use std::{fmt, str::FromStr};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

pub use listing::Found;
pub(crate) use listing::has_result;

use crate::deployed::{Deployed, Error, StateMachineArn};
use crate::terminal::Answer;
use crate::text::counted;
use local_stack::Progress;

/// USD for a minute of stored video, for face detection, in us-east-1 and most Regions
/// (<https://aws.amazon.com/rekognition/pricing/>).
const USD_PER_MINUTE: f64 = 0.10;

/// Executions at once: the default quota of 20 jobs, and some whose pages are fetched meanwhile, so that no slot idles.
const AT_ONCE: u16 = 25;

/// Analyses the videos of a bucket that have no complete result yet.
#[derive(Debug, Clone, clap::Args)]
pub struct Backfill {
    /// Where the videos lie, as `s3://BUCKET` or `s3://BUCKET/PREFIX`. The stack may read its own upload bucket only.
    source: Source,
    /// Says how many videos, how many minutes and about which price, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask before the analyses are billed.
    #[arg(long)]
    yes: bool,
    /// How many videos are under way at once; a little above the account's quota of concurrent Rekognition jobs.
    #[arg(long, value_name = "COUNT", default_value_t = AT_ONCE, value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,
    /// At most so many videos.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// A bucket, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    bucket: String,
    prefix: String,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("s3://").ok_or("it must begin with s3://")?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err("it names no bucket: s3://BUCKET/PREFIX".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// Why no backfill was started.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// One at a time, so that together they keep to the quota.
    #[error("a backfill runs already; wait for it, or stop it, then run again: {url}")]
    Runs {
        /// It in the console.
        url: String,
    },
    /// The stack was deployed before there was a backfill.
    #[error("there is no state machine {0}; `terraform apply` brings it")]
    NotDeployed(String),
    /// Between here and AWS.
    #[error(transparent)]
    Aws(#[from] Error),
}

/// What was found, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Where the videos lie.
    pub source: Source,
    /// How many there are.
    pub videos: usize,
    /// How many have a complete result.
    pub complete: usize,
    /// How many are under way, from an earlier backfill.
    pub running: usize,
    /// Those that are due.
    pub due: Vec<Found>,
    /// What was done about them.
    pub outcome: Outcome,
    state_machine: StateMachineArn,
}

/// What was done about the videos that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is none.
    NothingDue,
    /// A dry run.
    WouldStart,
    /// Nobody agreed to the price.
    NotBilled {
        /// Whether somebody was asked.
        asked: bool,
    },
    /// They are being analysed.
    Started {
        /// The execution of `backfill`.
        arn: String,
    },
}

impl Backfill {
    /// Finds the videos that are due and starts their analysis. `ask` is asked before anything is billed.
    ///
    /// # Errors
    /// [`BackfillError`]; nothing was started then.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
    ) -> Result<Report, BackfillError> {
        progress.step("Looking for videos without a result");
        nothing_runs(deployed).await?;
        let results_bucket = deployed.results_bucket().await?;
        let found = listing::videos(deployed, &self.source).await?;
        let videos = found.len();
        let mut due = listing::without_result(deployed, &self.source, &results_bucket, found).await?;
        let complete = videos - due.len();
        let names = listing::running(deployed).await?;
        due.retain(|video| !names.contains(&video.name(&self.source.bucket)));
        let running = videos - complete - due.len();
        due.truncate(self.limit.unwrap_or(usize::MAX));
        if !due.is_empty() {
            progress.step("Reading how long they are");
            let total = due.len();
            #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
            let done = |count| progress.ratio(count as f32 / total as f32);
            due = listing::with_durations(deployed, &self.source.bucket, due, done).await;
        }
        let mut report = Report {
            source: self.source.clone(),
            videos,
            complete,
            running,
            due,
            outcome: Outcome::WouldStart,
            state_machine: deployed.state_machine.clone(),
        };
        report.outcome = self.start(deployed, &results_bucket, &report, progress, ask).await?;
        Ok(report)
    }

    async fn start(
        &self,
        deployed: &Deployed,
        results_bucket: &str,
        report: &Report,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
    ) -> Result<Outcome, BackfillError> {
        if report.due.is_empty() {
            return Ok(Outcome::NothingDue);
        }
        if self.dry_run {
            return Ok(Outcome::WouldStart);
        }
        if !self.yes {
            match ask(&format!("{}\nAnalyse them?", Findings(report))).await {
                Answer::Yes => {}
                answer => return Ok(Outcome::NotBilled { asked: answer == Answer::No }),
            }
        }
        progress.step("Starting");
        let id = seconds_since_1970();
        let list = format!("backfill/{id}/videos.json");
        let videos: Vec<Value> = report
            .due
            .iter()
            .map(|video| {
                let bucket = &self.source.bucket;
                json!({ "bucket": bucket, "key": video.key, "name": format!("{}-{id}", video.name(bucket)) })
            })
            .collect();
        let body = ByteStream::from(Value::from(videos).to_string().into_bytes());
        let put =
            deployed.s3.put_object().bucket(results_bucket).key(&list).content_type("application/json").body(body);
        put.send().await.map_err(Error::aws("s3:PutObject"))?;
        let started = deployed
            .sfn
            .start_execution()
            .state_machine_arn(deployed.state_machine.state_machine("backfill"))
            .name(format!("backfill-{id}"))
            .input(json!({ "videos": list, "at_once": self.at_once }).to_string())
            .send()
            .await;
        Ok(Outcome::Started { arn: started.map_err(Error::aws("states:StartExecution"))?.execution_arn })
    }
}

/// Seconds since 1970: a backfill's own part of its names.
fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Refuses a second backfill beside one that runs.
async fn nothing_runs(deployed: &Deployed) -> Result<(), BackfillError> {
    let arn = deployed.state_machine.state_machine("backfill");
    let running =
        deployed.sfn.list_executions().state_machine_arn(&arn).status_filter(ExecutionStatus::Running).send().await;
    match running {
        Ok(running) => match running.executions.first() {
            Some(one) => Err(BackfillError::Runs { url: deployed.state_machine.execution_url(&one.execution_arn) }),
            None => Ok(()),
        },
        Err(error) if error.as_service_error().is_some_and(|error| error.is_state_machine_does_not_exist()) => {
            Err(BackfillError::NotDeployed(arn))
        }
        Err(error) => Err(Error::aws("states:ListExecutions")(error).into()),
    }
}

/// What the videos that are due come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Bytes together.
    pub bytes: u64,
    /// Minutes of those whose length is known.
    pub minutes: f64,
    /// Videos whose length is not known.
    pub unknown: usize,
    /// USD; those of unknown length count as many minutes for their bytes as the others. `None`: no length is known.
    pub usd: Option<f64>,
}

impl Report {
    /// What the videos that are due come to.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn estimate(&self) -> Estimate {
        let bytes = self.due.iter().map(|video| video.bytes).sum();
        let known: Vec<_> = self.due.iter().filter_map(|video| Some((video.bytes, video.duration?))).collect();
        // The sum of no floats is -0.0.
        let minutes = known.iter().map(|(_, duration)| duration.as_secs_f64() / 60.0).fold(0.0, |sum, one| sum + one);
        let known_bytes: u64 = known.iter().map(|(bytes, _)| bytes).sum();
        let usd = (known_bytes > 0).then(|| minutes * USD_PER_MINUTE * (bytes as f64 / known_bytes as f64));
        Estimate { bytes, minutes, unknown: self.due.len() - known.len(), usd }
    }

    /// Whether the videos that are due are being analysed, or were only to be counted.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !matches!(self.outcome, Outcome::NotBilled { .. })
    }
}

/// What was found, in lines.
struct Findings<'a>(&'a Report);

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { source, videos, complete, running, due, .. } = self.0;
        write!(f, "{source}: {}, {complete} with a complete result", counted(*videos, "video"))?;
        if *running > 0 {
            write!(f, ", {running} under way")?;
        }
        if due.is_empty() {
            return Ok(());
        }
        let Estimate { bytes, minutes, unknown, usd } = self.0.estimate();
        let bytes = indicatif::DecimalBytes(bytes);
        write!(f, "\nDue       {}, {bytes}, ", counted(due.len(), "video"))?;
        match unknown {
            0 => write!(f, "{minutes:.1} minutes")?,
            _ if unknown == due.len() => write!(f, "length unknown")?,
            _ => write!(f, "{minutes:.1} minutes and {} of unknown length", counted(unknown, "video"))?,
        }
        match usd {
            Some(usd) => {
                write!(f, "\nEstimate  about USD {usd:.2}, at {USD_PER_MINUTE:.2} a minute; prices differ by Region")
            }
            None => {
                write!(f, "\nEstimate  none without a length; Rekognition takes about USD {USD_PER_MINUTE:.2} a minute")
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Findings(self))?;
        match &self.outcome {
            Outcome::NothingDue => f.write_str("Nothing to do."),
            Outcome::WouldStart => f.write_str("Dry run: nothing was started."),
            Outcome::NotBilled { asked: true } => f.write_str("Nothing was started."),
            Outcome::NotBilled { asked: false } => {
                f.write_str("Nothing was started: it would be billed. --yes agrees to that.")
            }
            Outcome::Started { arn } => write!(
                f,
                "Started. It goes on by itself; what fails is for `facereel replay`, what is missed for another backfill.\n{}",
                self.state_machine.execution_url(arn)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(due: Vec<Found>) -> Report {
        Report {
            source: "s3://uploads/in/".parse().unwrap(),
            videos: 10,
            complete: 10 - due.len(),
            running: 0,
            due,
            outcome: Outcome::WouldStart,
            state_machine: "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video".parse().unwrap(),
        }
    }

    fn video(bytes: u64, minutes: Option<u64>) -> Found {
        let duration = minutes.map(Duration::from_mins);
        Found { key: "k.mp4".into(), etag: "e".into(), bytes, duration }
    }

    #[test]
    fn the_estimate_takes_unknown_lengths_for_like_the_known_ones() {
        let estimate = report(vec![video(1000, Some(10)), video(3000, Some(20)), video(4000, None)]).estimate();
        assert_eq!((estimate.bytes, estimate.unknown), (8000, 1));
        assert!((estimate.minutes - 30.0).abs() < 1e-9);
        assert!((estimate.usd.unwrap() - 6.0).abs() < 1e-9, "{estimate:?}");
        assert_eq!(report(vec![video(4000, None)]).estimate().usd, None);
    }

    #[test]
    fn the_report_says_videos_bytes_minutes_and_price() {
        let text = report(vec![video(1_500_000_000, Some(90))]).to_string();
        for part in
            ["10 videos, 9 with a complete result", "Due       1 video, 1.50 GB, 90.0 minutes\n", "USD 9.00", "Dry run"]
        {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn the_report_has_right_plurals_and_no_negative_zero() {
        let unknown = report(vec![video(4000, None)]);
        assert!(unknown.estimate().minutes.is_sign_positive(), "{:?}", unknown.estimate());
        let text = unknown.to_string();
        assert!(text.contains("Due       1 video, 4.00 kB, length unknown\n"), "{text}");
        let text = report(vec![video(4000, None), video(4000, Some(1))]).to_string();
        assert!(text.contains("Due       2 videos, 8.00 kB, 1.0 minutes and 1 video of unknown length\n"), "{text}");
        let text = Report { videos: 1, complete: 1, ..report(Vec::new()) }.to_string();
        assert!(text.starts_with("s3://uploads/in/: 1 video, 1 with"), "{text}");
    }

    #[test]
    fn a_source_is_a_bucket_and_a_raw_prefix() {
        let source = |text: &str| text.parse::<Source>().map(|source| (source.bucket, source.prefix));
        assert_eq!(source("s3://uploads"), Ok(("uploads".into(), String::new())));
        assert_eq!(source("s3://uploads/a b+c%2F/"), Ok(("uploads".into(), "a b+c%2F/".into())));
        assert!(source("uploads/in").unwrap_err().contains("s3://"));
        assert!(source("s3:///in").unwrap_err().contains("no bucket"));
    }
}
