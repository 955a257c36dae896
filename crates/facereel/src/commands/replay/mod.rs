//! `facereel replay`: failed executions are redriven or replaced by new ones, and none is replayed twice.

mod candidates;
mod decision;
mod lineage;
mod report;

use std::{
    collections::{BTreeSet, HashSet},
    pin::pin,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;

pub use candidates::{Candidate, CandidateState, Failure, Failures, time_ago};
pub use decision::{Decision, ExecutionInfo, FailedStep, Strategy};
pub use lineage::Lineage;
pub(crate) use report::NEEDS_DECRYPT;
pub use report::{ReplayDocument, ReplayOutcome, ReplayReport, ReplayRow};

use crate::commands::{
    batch::until_stopped,
    consent::{BilledAnalysis, Consent},
};
use crate::deployed::{CONCURRENT_CALLS, Deployed, Error, Video};
use crate::terminal::{Choice, Stop, text::parse_duration};
use local_stack::Progress;

/// The first pause between two requests for the status of replayed executions.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The longest pause, with which the requests use little of the quota of `DescribeExecution`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Replay failed executions: redrive them where that works, and start new ones where it does not.
#[derive(Debug, Clone, clap::Args)]
pub struct Replay {
    /// Replay executions that failed in this time, such as 90m, 24h or 7days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration, conflicts_with = "execution")]
    since: Duration,
    /// Replay only the executions with these ARNs, regardless of when they failed.
    #[arg(long, value_name = "ARN", num_args = 1..)]
    execution: Vec<String>,
    /// Replay only executions that failed with this error. For executions that timed out or were stopped, the
    /// name is `TIMED_OUT` or `ABORTED`.
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// Replay at most COUNT executions, oldest failure first.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Wait until the replayed executions have ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Replay {
    /// What may be done and billed.
    #[must_use]
    pub fn consent(&self) -> Consent {
        self.consent
    }

    /// Replays the selected executions and reports the outcome for each. `ask` is called before anything is billed. When
    /// `stop` resolves, replays in progress are completed and reported; another run replays the others.
    ///
    /// # Errors
    /// [`Error`], if the executions cannot be inspected; then nothing was replayed. The failed replay of a single execution
    /// is in the report.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Choice,
        stop: Stop,
    ) -> Result<ReplayReport, Error> {
        let mut report = ReplayReport::new(&deployed.state_machine, self.consent.dry_run);
        let plan = async {
            let mut planned = self.find(deployed, progress, &mut report).await?;
            let billed = planned.iter_mut().filter_map(|planned| planned.billed.as_mut());
            self.consent.read_lengths(deployed, progress, billed).await;
            let billed: Vec<_> = planned.iter().filter_map(|planned| planned.billed.as_ref()).collect();
            let free = planned.iter().filter(|planned| planned.is_free()).count();
            let choice = self.consent.choose("Replay", &billed, free, ask).await;
            Ok::<_, Error>((planned, choice))
        };
        let planned = tokio::select! {
            planned = plan => Some(planned?),
            () = stop.clone() => None,
        };
        let Some((planned, choice)) = planned else {
            report.interrupted = true;
            return Ok(report);
        };
        let mut due = Vec::new();
        for planned in planned {
            match self.outcome_without_replay(&planned, choice) {
                Some(outcome) => report.push(&planned, outcome),
                None => due.push(planned),
            }
        }
        if !due.is_empty() {
            replay_all(deployed, due, progress, &stop, &mut report).await;
            if self.wait && !report.interrupted {
                wait(deployed, progress, &stop, &mut report).await;
            }
        }
        Ok(report)
    }

    /// The executions that the options select, with what is billed. The numbers of those that were replayed before are added
    /// to the report.
    async fn find(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        report: &mut ReplayReport,
    ) -> Result<Vec<Planned>, Error> {
        progress.step("Looking for failed executions");
        let candidates = if self.execution.is_empty() {
            let running = deployed.running_executions().await?;
            let failures = Failures::find(deployed, time_ago(self.since), &running).await?;
            if self.error.is_none() {
                report.replayed_before = failures.replayed_running + failures.replayed_succeeded;
            }
            self.read(deployed, progress, failures.open).await?
        } else {
            self.named(deployed).await?
        };
        Ok(candidates.into_iter().map(Planned::of).collect())
    }

    /// Reads the executions of the listing, the oldest failure first, until as many are found as are to be replayed.
    async fn read(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        mut failures: Vec<Failure>,
    ) -> Result<Vec<Candidate>, Error> {
        let wanted = self.error.as_deref();
        if let Some(wanted @ ("TIMED_OUT" | "ABORTED")) = wanted {
            failures.retain(|failure| failure.status.as_str() == wanted);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let total = failures.len().min(if wanted.is_some() { usize::MAX } else { limit });
        if total > 0 {
            progress.step("Reading the failed executions");
        }
        let now = SystemTime::now();
        let reads = stream::iter(failures).map(|failure| async move { Candidate::read(deployed, &failure, now).await });
        let mut reads = pin!(reads.buffered(CONCURRENT_CALLS));
        let (mut candidates, mut read, mut failed) = (Vec::new(), 0_usize, 0);
        while failed < limit
            && let Some(candidate) = reads.try_next().await?
        {
            read += 1;
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            progress.ratio(read as f32 / total.max(read) as f32);
            if self.selects(&candidate) {
                failed += usize::from(matches!(candidate.state, CandidateState::Failed { .. }));
                candidates.push(candidate);
            }
        }
        Ok(candidates)
    }

    /// The executions that `--execution` names.
    async fn named(&self, deployed: &Deployed) -> Result<Vec<Candidate>, Error> {
        let now = SystemTime::now();
        let mut candidates: Vec<_> = stream::iter(&self.execution)
            .map(|arn| async move { Candidate::latest_of(deployed, arn, now).await })
            .buffered(CONCURRENT_CALLS)
            .try_collect()
            .await?;
        let mut seen = BTreeSet::new();
        candidates.retain(|candidate| self.selects(candidate) && seen.insert(candidate.arn.clone()));
        candidates.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(candidates)
    }

    /// Whether `--error` selects the execution. One that was replayed before has no error.
    fn selects(&self, candidate: &Candidate) -> bool {
        match (&candidate.state, &self.error) {
            (_, None) => true,
            (CandidateState::Failed { error, .. }, Some(wanted)) => error == wanted,
            (CandidateState::Running | CandidateState::Succeeded, Some(_)) => false,
        }
    }

    /// The outcome of an execution that is not to be replayed. `None` for one that is.
    fn outcome_without_replay(&self, planned: &Planned, choice: Choice) -> Option<ReplayOutcome> {
        match &planned.candidate.state {
            CandidateState::Running => Some(ReplayOutcome::Runs),
            CandidateState::Succeeded => Some(ReplayOutcome::WasReplayed),
            CandidateState::Failed { .. } => match choice {
                Choice::None => Some(ReplayOutcome::Declined),
                Choice::Free if planned.billed.is_some() => Some(ReplayOutcome::LeftOut),
                Choice::NotAsked if planned.billed.is_some() => Some(ReplayOutcome::NotAgreed),
                _ => self.consent.dry_run.then_some(ReplayOutcome::WouldBeReplayed),
            },
        }
    }
}

/// An execution that is selected, with what its replay would be billed.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    candidate: Candidate,
    billed: Option<BilledAnalysis>,
}

impl Planned {
    fn of(candidate: Candidate) -> Self {
        let billed = match &candidate.state {
            CandidateState::Failed { decision: Decision { billed: Some(why), .. }, .. } => {
                let video = candidate.video();
                let subject = video.as_ref().map_or_else(|| candidate.name.clone(), Video::short);
                Some(BilledAnalysis { video, subject, why, length: None })
            }
            _ => None,
        };
        Self { candidate, billed }
    }

    /// Whether it is to be replayed and that is not billed.
    fn is_free(&self) -> bool {
        self.billed.is_none() && matches!(self.candidate.state, CandidateState::Failed { .. })
    }
}

/// Replays every execution, several concurrently, until `stop` resolves.
async fn replay_all(
    deployed: &Deployed,
    due: Vec<Planned>,
    progress: &dyn Progress,
    stop: &Stop,
    report: &mut ReplayReport,
) {
    progress.step("Replaying");
    let work = async |planned: &Planned| replay(deployed, &planned.candidate).await;
    let left = until_stopped(due, progress, stop, work, |planned, outcome| report.push(planned, outcome)).await;
    report.interrupted = !left.is_empty();
    for planned in left {
        report.push(&planned, ReplayOutcome::NotTried);
    }
}

/// Replays one execution. If another user has replayed it since it was inspected, the call fails: Step Functions does not
/// redrive a running execution, and does not start two executions with one name.
async fn replay(deployed: &Deployed, candidate: &Candidate) -> ReplayOutcome {
    let CandidateState::Failed { decision, .. } = &candidate.state else { return ReplayOutcome::Runs };
    match decision.strategy {
        Strategy::Redrive => match deployed.sfn.redrive_execution().execution_arn(&candidate.arn).send().await {
            Ok(_) => ReplayOutcome::Redriven { arn: candidate.arn.clone() },
            Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_not_redrivable()) => {
                let other = replayed_meanwhile(deployed, &candidate.arn).await;
                other.unwrap_or_else(|| ReplayOutcome::failed(&Error::aws("states:RedriveExecution")(error)))
            }
            Err(error) => ReplayOutcome::failed(&Error::aws("states:RedriveExecution")(error)),
        },
        Strategy::NewExecution => {
            let Some(input) = &candidate.input else { return ReplayOutcome::NoInput };
            let name = candidate.lineage.replacement(candidate.position + 1);
            let started = deployed
                .sfn
                .start_execution()
                .state_machine_arn(deployed.state_machine.to_string())
                .name(name)
                .input(input)
                .send()
                .await;
            match started {
                Ok(started) => ReplayOutcome::Started { arn: started.execution_arn },
                Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_already_exists()) => {
                    ReplayOutcome::WasReplayed
                }
                Err(error) => ReplayOutcome::failed(&Error::aws("states:StartExecution")(error)),
            }
        }
    }
}

/// The outcome for an execution that cannot be redriven because another run has done it. `None`, if it is still a failure.
async fn replayed_meanwhile(deployed: &Deployed, arn: &str) -> Option<ReplayOutcome> {
    match deployed.describe_execution(arn).await.ok()??.status {
        ExecutionStatus::Running => Some(ReplayOutcome::Runs),
        ExecutionStatus::Succeeded => Some(ReplayOutcome::WasReplayed),
        _ => None,
    }
}

/// Waits until all replayed executions have ended, or `stop` resolves.
async fn wait(deployed: &Deployed, progress: &dyn Progress, stop: &Stop, report: &mut ReplayReport) {
    progress.step("Waiting for the executions");
    let total = report.replayed().count();
    let mut pause = FIRST_POLL_INTERVAL;
    loop {
        let running: Vec<_> =
            report.replayed().filter(|(_, row)| row.ended.is_none()).map(|(arn, _)| arn.to_owned()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        progress.ratio((total - running.len()) as f32 / total as f32);
        if running.is_empty() {
            return;
        }
        let requests = ended_or_unlisted(deployed, running);
        let seen = tokio::select! {
            seen = requests => seen,
            () = stop.clone() => Vec::new(),
        };
        for execution in seen {
            if execution.status != ExecutionStatus::Running {
                report.record_end(&execution);
            }
        }
        if report.replayed().all(|(_, row)| row.ended.is_some()) {
            continue;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(MAX_POLL_INTERVAL),
            () = stop.clone() => {
                report.interrupted = true;
                return;
            }
        }
    }
}

/// Describes those of the executions that may have ended. A failed request is repeated in the next round.
async fn ended_or_unlisted(deployed: &Deployed, arns: Vec<String>) -> Vec<DescribeExecutionOutput> {
    let mut running = HashSet::new();
    // One call lists a thousand running executions.
    if arns.len() > CONCURRENT_CALLS {
        let listed = deployed.running_executions().await.unwrap_or_default();
        running.extend(listed.into_iter().map(|execution| execution.execution_arn));
    }
    stream::iter(arns.into_iter().filter(|arn| !running.contains(arn)))
        .map(|arn| async move { deployed.describe_execution(&arn).await.ok().flatten() })
        .buffer_unordered(CONCURRENT_CALLS)
        .filter_map(async |execution| execution)
        .collect()
        .await
}
