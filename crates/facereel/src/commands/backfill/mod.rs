//! `facereel backfill`: the analysis of videos that were in the bucket before the deployment, or that were missed.
//!
//! The command decides which videos are due, because it must report their price before anything is billed. It writes their
//! list to S3. The state machine `backfill` processes the list in the background, for days if necessary.

mod listing;
mod report;

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

pub(crate) use listing::has_result;
pub use listing::{ListedVideo, Obstacle};
pub use report::{BackfillDocument, BackfillOutcome, BackfillReport};

use crate::deployed::{Deployed, Error, S3Uri};
use crate::terminal::Answer;
use local_stack::Progress;
use report::Findings;

/// The number of concurrent executions: the default quota of 20 jobs, and some more whose pages are being fetched, so that
/// all job slots are used.
const CONCURRENT_EXECUTIONS: u16 = 25;

/// Analyse the videos of a bucket that have no complete result yet.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel backfill s3://company-videos --dry-run             how many videos, minutes and USD
  facereel backfill s3://company-videos/interviews/ --limit 100
  facereel backfill s3://company-videos --yes --json          for a script")]
pub struct Backfill {
    /// The videos, as `s3://BUCKET` or `s3://BUCKET/PREFIX`. The stack has permission to read only its own upload bucket.
    source: S3Uri,
    /// Show the number of videos, their minutes and the estimated price, and start nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before analyses that are billed.
    #[arg(long)]
    yes: bool,
    /// The number of videos that are analysed concurrently: best a little above the account's quota of concurrent
    /// Rekognition jobs.
    #[arg(long, value_name = "COUNT", default_value_t = CONCURRENT_EXECUTIONS, value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,
    /// Analyse at most COUNT videos.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Why no backfill was started.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Another backfill runs. Only one is allowed at a time, so that the quota of jobs is not exceeded.
    #[error("a backfill is already running; wait for its end or stop it, and run again: {url}")]
    Runs {
        /// The URL of its execution in the console.
        url: String,
    },
    /// The stack was deployed by a version without the state machine `backfill`.
    #[error("there is no state machine {0}; create it with `terraform apply`")]
    NotDeployed(String),
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(#[from] Error),
}

impl Backfill {
    /// Finds the due videos and starts their analysis. `ask` is called before anything is billed.
    ///
    /// # Errors
    /// [`BackfillError`]; then nothing was started.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
    ) -> Result<BackfillReport, BackfillError> {
        progress.step("Looking for videos without a result");
        refuse_second_backfill(deployed).await?;
        let results_bucket = deployed.results_bucket().await?;
        let listed = listing::videos(deployed, &self.source).await?;
        let videos = listed.len();
        let mut due = listing::without_result(deployed, &self.source, &results_bucket, listed).await?;
        let complete = videos - due.len();
        let mut left_out = BTreeMap::new();
        due.retain(|video| {
            if let Some(obstacle) = video.obstacle {
                *left_out.entry(obstacle).or_default() += 1;
            }
            video.obstacle.is_none()
        });
        let suitable = due.len();
        let names = listing::running(deployed).await?;
        due.retain(|video| !names.contains(&video.name(&self.source.bucket)));
        let running = suitable - due.len();
        due.truncate(self.limit.unwrap_or(usize::MAX));
        if !due.is_empty() {
            progress.step("Reading the length of the videos");
            let total = due.len();
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            let done = |count| progress.ratio(count as f32 / total as f32);
            due = listing::with_durations(deployed, &self.source.bucket, due, done).await;
        }
        let mut report = BackfillReport {
            source: self.source.clone(),
            videos,
            complete,
            running,
            left_out,
            due,
            outcome: BackfillOutcome::WouldStart,
            state_machine: deployed.state_machine.clone(),
        };
        report.outcome = self.start(deployed, &results_bucket, &report, progress, ask).await?;
        Ok(report)
    }

    async fn start(
        &self,
        deployed: &Deployed,
        results_bucket: &str,
        report: &BackfillReport,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
    ) -> Result<BackfillOutcome, BackfillError> {
        if report.due.is_empty() {
            return Ok(BackfillOutcome::NothingDue);
        }
        if self.dry_run {
            return Ok(BackfillOutcome::WouldStart);
        }
        if !self.yes {
            match ask(&format!("{}\nAnalyse them?", Findings(report))).await {
                Answer::Yes => {}
                answer => return Ok(BackfillOutcome::NotBilled { asked: answer == Answer::No }),
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
        Ok(BackfillOutcome::Started { arn: started.map_err(Error::aws("states:StartExecution"))?.execution_arn })
    }
}

/// Seconds since 1970, which make the names of a backfill unique.
fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns an error if a backfill runs.
async fn refuse_second_backfill(deployed: &Deployed) -> Result<(), BackfillError> {
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
