//! `facereel replay`: failed executions go on, or begin anew, each the right way and none twice.

mod decision;
mod lineage;
mod plan;
mod report;

use std::time::Duration;

use aws_sdk_sfn::types::ExecutionStatus;
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

pub use decision::{Decision, Facts, Step, Way};
pub use lineage::Lineage;
pub use plan::{Case, Selection, State, ago, plan};
pub use report::{Outcome, Report, Row};

use crate::deployed::{self, CALLS_AT_ONCE, Deployed, Error, Stop};
use crate::terminal::Answer;
use crate::text::counted;
use local_stack::Progress;

/// Between two looks at executions that were replayed: soon at first, and at last so seldom that the quota of
/// `DescribeExecution` is left to others.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Replays failed executions: redrives them where that works, and starts them anew where it does not.
#[derive(Debug, Clone, clap::Args)]
pub struct Replay {
    /// What failed in this time, such as 90m, 24h or 7days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = deployed::duration, conflicts_with = "execution")]
    since: Duration,
    /// These executions only, by their ARNs, whenever they failed.
    #[arg(long, value_name = "ARN", num_args = 1..)]
    execution: Vec<String>,
    /// Executions that failed with this error only; those that timed out or were stopped have no other
    /// name than `TIMED_OUT` and `ABORTED`.
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// At most so many, oldest failure first.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Waits until they have ended.
    #[arg(long)]
    wait: bool,
    /// Does not ask before new analyses are billed.
    #[arg(long)]
    yes: bool,
}

impl Replay {
    /// Replays, and reports about every execution that was looked at. `ask` is asked before anything is billed; when
    /// `stop` resolves, what was begun is ended and reported, and running again does the rest.
    ///
    /// # Errors
    /// [`Error`], before anything was replayed. What happens to a single execution after that is in the report.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
        stop: Stop,
    ) -> Result<Report, Error> {
        progress.step("Looking for failed executions");
        let selection = if self.execution.is_empty() {
            Selection::Since(ago(self.since))
        } else {
            Selection::Executions(self.execution.clone())
        };
        let cases = tokio::select! {
            cases = plan(deployed, &selection) => cases?,
            () = stop.clone() => return Ok(Report::stopped(&deployed.state_machine)),
        };
        let work = self.choose(cases);
        let consent = tokio::select! {
            consent = self.consent(&work, ask) => consent,
            () = stop.clone() => return Ok(Report::stopped(&deployed.state_machine)),
        };

        let mut report = Report::new(&deployed.state_machine, self.dry_run);
        let mut due = Vec::new();
        for case in work {
            match &case.state {
                State::Running => report.push(Row::of(&case, Outcome::Runs)),
                State::Succeeded => report.push(Row::of(&case, Outcome::WasReplayed)),
                State::Failed { decision, .. } if decision.billed.is_some() && consent != Answer::Yes => {
                    report.push(Row::of(&case, Outcome::NotBilled { asked: consent == Answer::No }));
                }
                State::Failed { .. } if self.dry_run => report.push(Row::of(&case, Outcome::WouldBeReplayed)),
                State::Failed { .. } => due.push(case),
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

    /// Those that are asked for.
    fn choose(&self, mut cases: Vec<Case>) -> Vec<Case> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        cases.retain(|case| match (&case.state, &self.error) {
            (State::Failed { error, .. }, wanted) if wanted.as_ref().is_none_or(|wanted| wanted == error) => {
                let chosen = left > 0;
                left = left.saturating_sub(1);
                chosen
            }
            (State::Running | State::Succeeded, None) => true,
            _ => false,
        });
        cases
    }

    /// Asks whether new analyses may be billed, if there are any.
    async fn consent(&self, work: &[Case], ask: impl AsyncFnOnce(&str) -> Answer) -> Answer {
        let billed: Vec<_> = work
            .iter()
            .filter_map(|case| match &case.state {
                State::Failed { decision: Decision { billed: Some(why), .. }, .. } => {
                    Some(format!("  {} ({why})", case.name))
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

/// Replays every case, several at once, until `stop`.
async fn replay_all(deployed: &Deployed, due: Vec<Case>, progress: &dyn Progress, stop: &Stop, report: &mut Report) {
    progress.step("Replaying");
    let total = due.len();
    let mut done = 0;
    let mut waiting = due.into_iter();
    let mut replayed = stream::iter(waiting.by_ref())
        .take_until(stop.clone())
        .map(|case| async move {
            let outcome = replay(deployed, &case).await;
            Row::of(&case, outcome)
        })
        .buffer_unordered(CALLS_AT_ONCE);
    while let Some(row) = replayed.next().await {
        report.push(row);
        done += 1;
        #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
        progress.ratio(done as f32 / total as f32);
    }
    drop(replayed);
    let left: Vec<_> = waiting.collect();
    report.interrupted = !left.is_empty();
    for case in left {
        report.push(Row::of(&case, Outcome::NotTried));
    }
}

/// Replays one execution. Whatever has happened to it since it was looked at is told by Step Functions itself: it
/// neither redrives what runs nor starts a name twice.
async fn replay(deployed: &Deployed, case: &Case) -> Outcome {
    let State::Failed { decision, input, .. } = &case.state else { return Outcome::Runs };
    match decision.way {
        Way::Redrive => match deployed.sfn.redrive_execution().execution_arn(&case.arn).send().await {
            Ok(_) => Outcome::Redriven { arn: case.arn.clone() },
            Err(error) => {
                let runs = error.as_service_error().is_some_and(|error| error.is_execution_not_redrivable())
                    && is_running(deployed, &case.arn).await;
                if runs { Outcome::Runs } else { Outcome::failed(&Error::aws("states:RedriveExecution")(error)) }
            }
        },
        Way::Start => {
            let Some(input) = input else { return Outcome::NoInput };
            let name = case.lineage.replacement(case.place + 1);
            let started = deployed
                .sfn
                .start_execution()
                .state_machine_arn(deployed.state_machine.to_string())
                .name(name)
                .input(input)
                .send()
                .await;
            match started {
                Ok(started) => Outcome::Started { arn: started.execution_arn },
                Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_already_exists()) => {
                    Outcome::WasReplayed
                }
                Err(error) => Outcome::failed(&Error::aws("states:StartExecution")(error)),
            }
        }
    }
}

async fn is_running(deployed: &Deployed, arn: &str) -> bool {
    let execution = plan::describe(deployed, arn).await;
    execution.is_ok_and(|execution| execution.is_some_and(|execution| execution.status == ExecutionStatus::Running))
}

/// Waits until everything that was replayed has ended, or until `stop`.
async fn wait(deployed: &Deployed, progress: &dyn Progress, stop: &Stop, report: &mut Report) {
    progress.step("Waiting for the executions");
    let total = report.replayed().count();
    let mut pause = LOOK_FIRST;
    loop {
        let running: Vec<_> =
            report.replayed().filter(|(_, row)| row.ended.is_none()).map(|(arn, _)| arn.to_owned()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
        progress.ratio((total - running.len()) as f32 / total as f32);
        if running.is_empty() {
            return;
        }
        let look = stream::iter(running)
            .map(|arn| async move { (plan::describe(deployed, &arn).await, arn) })
            .buffer_unordered(CALLS_AT_ONCE)
            .collect::<Vec<_>>();
        let seen = tokio::select! {
            seen = look => seen,
            () = stop.clone() => Vec::new(),
        };
        for (execution, arn) in seen {
            // A look that failed is taken again.
            if let Ok(Some(execution)) = execution
                && execution.status != ExecutionStatus::Running
            {
                report.has_ended(&arn, &execution);
            }
        }
        if report.replayed().all(|(_, row)| row.ended.is_some()) {
            continue;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LOOK_EVERY),
            () = stop.clone() => {
                report.interrupted = true;
                return;
            }
        }
    }
}
