//! `facereel replay`: failed executions are redriven or replaced by new ones, and none is replayed twice.

mod candidates;
mod decision;
mod lineage;
mod report;

use std::time::Duration;

use aws_sdk_sfn::types::ExecutionStatus;
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

pub use candidates::{Candidate, CandidateState, Selection, find_candidates, time_ago};
pub use decision::{Decision, ExecutionInfo, FailedStep, Strategy};
pub use lineage::Lineage;
pub use report::{ReplayOutcome, ReplayReport, ReplayRow};

use crate::deployed::{CONCURRENT_CALLS, Deployed, Error};
use crate::terminal::{
    Answer, Stop,
    text::{counted, parse_duration},
};
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
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until the replayed executions have ended.
    #[arg(long)]
    wait: bool,
    /// Do not ask before analyses that are billed.
    #[arg(long)]
    yes: bool,
}

impl Replay {
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
        ask: impl AsyncFnOnce(&str) -> Answer,
        stop: Stop,
    ) -> Result<ReplayReport, Error> {
        progress.step("Looking for failed executions");
        let selection = if self.execution.is_empty() {
            Selection::Since(time_ago(self.since))
        } else {
            Selection::Executions(self.execution.clone())
        };
        let candidates = tokio::select! {
            candidates = find_candidates(deployed, &selection) => candidates?,
            () = stop.clone() => return Ok(ReplayReport::stopped(&deployed.state_machine)),
        };
        let chosen = self.choose(candidates);
        let consent = tokio::select! {
            consent = self.consent(&chosen, ask) => consent,
            () = stop.clone() => return Ok(ReplayReport::stopped(&deployed.state_machine)),
        };

        let mut report = ReplayReport::new(&deployed.state_machine, self.dry_run);
        let mut due = Vec::new();
        for candidate in chosen {
            match &candidate.state {
                CandidateState::Running => report.push(ReplayRow::of(&candidate, ReplayOutcome::Runs)),
                CandidateState::Succeeded => report.push(ReplayRow::of(&candidate, ReplayOutcome::WasReplayed)),
                CandidateState::Failed { decision, .. } if decision.billed.is_some() && consent != Answer::Yes => {
                    report.push(ReplayRow::of(&candidate, ReplayOutcome::NotBilled { asked: consent == Answer::No }));
                }
                CandidateState::Failed { .. } if self.dry_run => {
                    report.push(ReplayRow::of(&candidate, ReplayOutcome::WouldBeReplayed));
                }
                CandidateState::Failed { .. } => due.push(candidate),
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

    /// The candidates that the options select.
    fn choose(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        candidates.retain(|candidate| match (&candidate.state, &self.error) {
            (CandidateState::Failed { error, .. }, wanted) if wanted.as_ref().is_none_or(|wanted| wanted == error) => {
                let within_limit = left > 0;
                left = left.saturating_sub(1);
                within_limit
            }
            (CandidateState::Running | CandidateState::Succeeded, None) => true,
            _ => false,
        });
        candidates
    }

    /// Asks whether new analyses may be billed, if any are necessary.
    async fn consent(&self, chosen: &[Candidate], ask: impl AsyncFnOnce(&str) -> Answer) -> Answer {
        let billed: Vec<_> = chosen
            .iter()
            .filter_map(|candidate| match &candidate.state {
                CandidateState::Failed { decision: Decision { billed: Some(why), .. }, .. } => {
                    Some(format!("  {} ({why})", candidate.name))
                }
                _ => None,
            })
            .collect();
        if billed.is_empty() || self.yes || self.dry_run {
            return Answer::Yes;
        }
        let them = if billed.len() == 1 { "it" } else { "them" };
        ask(&format!(
            "{} would start a new analysis, which Rekognition bills:\n{}\nReplay {them} as well?",
            counted(billed.len(), "execution"),
            billed.join("\n")
        ))
        .await
    }
}

/// Replays every candidate, several concurrently, until `stop` resolves.
async fn replay_all(
    deployed: &Deployed,
    due: Vec<Candidate>,
    progress: &dyn Progress,
    stop: &Stop,
    report: &mut ReplayReport,
) {
    progress.step("Replaying");
    let total = due.len();
    let mut done = 0;
    let mut waiting = due.into_iter();
    let mut replayed = stream::iter(waiting.by_ref())
        .take_until(stop.clone())
        .map(|candidate| async move {
            let outcome = replay(deployed, &candidate).await;
            ReplayRow::of(&candidate, outcome)
        })
        .buffer_unordered(CONCURRENT_CALLS);
    while let Some(row) = replayed.next().await {
        report.push(row);
        done += 1;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        progress.ratio(done as f32 / total as f32);
    }
    drop(replayed);
    let left: Vec<_> = waiting.collect();
    report.interrupted = !left.is_empty();
    for candidate in left {
        report.push(ReplayRow::of(&candidate, ReplayOutcome::NotTried));
    }
}

/// Replays one execution. If another user has replayed it since it was inspected, the call fails: Step Functions does not
/// redrive a running execution, and does not start two executions with one name.
async fn replay(deployed: &Deployed, candidate: &Candidate) -> ReplayOutcome {
    let CandidateState::Failed { decision, input, .. } = &candidate.state else { return ReplayOutcome::Runs };
    match decision.strategy {
        Strategy::Redrive => match deployed.sfn.redrive_execution().execution_arn(&candidate.arn).send().await {
            Ok(_) => ReplayOutcome::Redriven { arn: candidate.arn.clone() },
            Err(error) => {
                let runs = error.as_service_error().is_some_and(|error| error.is_execution_not_redrivable())
                    && is_running(deployed, &candidate.arn).await;
                if runs {
                    ReplayOutcome::Runs
                } else {
                    ReplayOutcome::failed(&Error::aws("states:RedriveExecution")(error))
                }
            }
        },
        Strategy::NewExecution => {
            let Some(input) = input else { return ReplayOutcome::NoInput };
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

async fn is_running(deployed: &Deployed, arn: &str) -> bool {
    let execution = candidates::describe(deployed, arn).await;
    execution.is_ok_and(|execution| execution.is_some_and(|execution| execution.status == ExecutionStatus::Running))
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
        let requests = stream::iter(running)
            .map(|arn| async move { (candidates::describe(deployed, &arn).await, arn) })
            .buffer_unordered(CONCURRENT_CALLS)
            .collect::<Vec<_>>();
        let seen = tokio::select! {
            seen = requests => seen,
            () = stop.clone() => Vec::new(),
        };
        for (execution, arn) in seen {
            // A failed request is repeated in the next round.
            if let Ok(Some(execution)) = execution
                && execution.status != ExecutionStatus::Running
            {
                report.record_end(&arn, &execution);
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
