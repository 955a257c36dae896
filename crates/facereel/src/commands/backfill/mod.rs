//! `facereel backfill`: the analysis of videos that were in the bucket before the deployment, or that were missed.
//!
//! The command decides which videos are due, because it must report their price before anything is billed. It writes their
//! list to S3. The state machine `backfill` processes the list in the background, for days if necessary.

mod listing;
mod report;
mod results;
mod survey;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sfn::types::ExecutionStatus;
use lambdas::layout;
use serde::{Serialize, Serializer as _};
use serde_json::json;

pub use listing::{ListedVideo, Obstacle};
pub use report::{BackfillDocument, BackfillOutcome, BackfillReport};
pub(crate) use results::has_result;

use crate::deployed::{Deployed, Error, S3Uri};
use crate::terminal::{
    Answer, Stop,
    exit::{ExitStatus, FAILURE, INTERRUPTED},
};
use local_stack::Progress;
use report::Findings;
use survey::{Found, Survey};

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
    /// The user has stopped the command.
    #[error("stopped; nothing was started")]
    Stopped,
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(#[from] Error),
}

impl BackfillError {
    /// The exit status of the command.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if matches!(self, Self::Stopped) { INTERRUPTED } else { FAILURE }
    }
}

impl Backfill {
    /// Finds the due videos and starts their analysis. `ask` is called before anything is billed. When `stop` resolves before the
    /// start, nothing is started and nothing is stored; a start in progress is completed and reported.
    ///
    /// # Errors
    /// [`BackfillError`]; then nothing was started.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
        stop: Stop,
    ) -> Result<BackfillReport, BackfillError> {
        let (mut report, results_bucket) = tokio::select! {
            found = self.find(deployed, progress) => found?,
            () = stop.clone() => return Err(BackfillError::Stopped),
        };
        report.outcome = if report.due.is_empty() {
            BackfillOutcome::NothingDue
        } else if self.dry_run {
            BackfillOutcome::WouldStart
        } else {
            let answer = tokio::select! {
                answer = self.consent(&report, ask) => answer,
                () = stop => return Err(BackfillError::Stopped),
            };
            match answer {
                Answer::Yes => self.start(deployed, &results_bucket, &report, progress).await?,
                answer => BackfillOutcome::NotBilled { asked: answer == Answer::No },
            }
        };
        Ok(report)
    }

    /// Finds the due videos and reads their length. Returns the report, before anything is done about them, and the results
    /// bucket.
    async fn find(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
    ) -> Result<(BackfillReport, String), BackfillError> {
        progress.step("Looking for videos without a result");
        refuse_second_backfill(deployed).await?;
        let config = deployed.start_detection().await?;
        // Read before the results: an execution that ends meanwhile is running or has a result, and so is not due.
        let running = listing::running(deployed).await?;
        let survey = Survey { deployed, source: &self.source, config: &config, running: &running };
        let Found { videos, complete, running, left_out, mut due } =
            survey.run(self.limit.unwrap_or(usize::MAX), progress).await?;
        if !due.is_empty() {
            progress.step("Reading the length of the videos");
            let total = due.len();
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            let done = |count| progress.ratio(count as f32 / total as f32);
            due = listing::with_durations(deployed, &self.source.bucket, due, done).await;
        }
        let (source, state_machine) = (self.source.clone(), deployed.state_machine.clone());
        let outcome = BackfillOutcome::WouldStart;
        let report = BackfillReport { source, videos, complete, running, left_out, due, outcome, state_machine };
        Ok((report, config.results_bucket))
    }

    /// Asks whether the analyses may be billed.
    async fn consent(&self, report: &BackfillReport, ask: impl AsyncFnOnce(&str) -> Answer) -> Answer {
        if self.yes { Answer::Yes } else { ask(&format!("{}\nAnalyse them?", Findings(report))).await }
    }

    /// Stores the list of the due videos and starts the state machine that processes it.
    async fn start(
        &self,
        deployed: &Deployed,
        results_bucket: &str,
        report: &BackfillReport,
        progress: &dyn Progress,
    ) -> Result<BackfillOutcome, BackfillError> {
        progress.step("Starting");
        let id = seconds_since_1970();
        let list = format!("{}{id}/videos.json", layout::BACKFILL);
        let body = ByteStream::from(listed(&report.due, &self.source.bucket, id));
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

/// An item of the list that the state machine `backfill` reads.
#[derive(Debug, Serialize)]
struct Item<'a> {
    bucket: &'a str,
    key: &'a str,
    /// The name of the execution.
    name: String,
}

/// The list of videos for the state machine `backfill`: a JSON array.
///
/// Step Functions reads items of up to 256 KiB from a file of up to 10 GB
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>), and one `PutObject` writes up to 5 GB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>). A million videos are about 150 MB.
fn listed(videos: &[ListedVideo], bucket: &str, id: u64) -> Vec<u8> {
    let mut list = Vec::new();
    let items = videos.iter().map(|video| {
        let name = format!("{}-{id}", video.name(bucket));
        Item { bucket, key: &video.key, name }
    });
    serde_json::Serializer::new(&mut list).collect_seq(items).expect("strings are written to memory");
    list
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
