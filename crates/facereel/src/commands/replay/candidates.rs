//! Finds the executions to replay: the failed executions that were not replayed yet.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{
    operation::describe_execution::DescribeExecutionOutput,
    types::{ExecutionListItem, ExecutionStatus, HistoryEvent, HistoryEventType},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    decision::{Decision, ExecutionInfo, FailedStep},
    lineage::Lineage,
};
use crate::deployed::{CONCURRENT_CALLS, Deployed, Error, FAILED, Listing, Video, system_time};

/// How long before its last end an execution can have started. Its timeout is 7 days and is counted again after a redrive, and
/// an execution can be redriven for 14 days after its end
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html>): 7 + 14 + 7 days with one redrive.
const LONGEST: Duration = Duration::from_hours((7 + 14 + 7) * 24);

/// A failed execution in the listing.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// How it ended: `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: ExecutionStatus,
    /// When it ended.
    pub ended: SystemTime,
    /// The executions that it replaces, and its own replacements.
    pub lineage: Lineage,
    /// Its position in the lineage, 0 for the original execution.
    pub position: u32,
}

impl Failure {
    fn of(execution: ExecutionListItem) -> Self {
        let (lineage, position) = Lineage::of(&execution.name);
        let ended = system_time(execution.stop_date.unwrap_or(execution.start_date));
        let ExecutionListItem { name, execution_arn: arn, status, .. } = execution;
        Self { name, arn, status, ended, lineage, position }
    }
}

/// The failed executions of a time.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    /// Those that were not replayed, the oldest first. Of each lineage it is the latest one.
    pub open: Vec<Failure>,
    /// The number of those whose replacement runs.
    pub replayed_running: usize,
    /// The number of those whose replacement has succeeded.
    pub replayed_succeeded: usize,
}

impl Failures {
    /// Finds the executions that failed since this time, from listings alone. `running` are all running executions.
    ///
    /// A listing may be some seconds old. An execution that was replayed meanwhile is then among the open ones; its second
    /// replay is refused, because its replacement has the same name and a running execution cannot be redriven.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(deployed: &Deployed, since: SystemTime, running: &[ExecutionListItem]) -> Result<Self, Error> {
        let earliest_start = since.checked_sub(LONGEST).unwrap_or(SystemTime::UNIX_EPOCH);
        let listings = FAILED.map(|status| ended_since(Listing::since(deployed, status, earliest_start), since));
        let [failed, timed_out, aborted] = listings;
        let (failed, timed_out, aborted) = tokio::try_join!(failed, timed_out, aborted)?;
        let mut open: BTreeMap<Lineage, Failure> = BTreeMap::new();
        for failure in failed.into_iter().chain(timed_out).chain(aborted) {
            let known = open.get(&failure.lineage);
            if known.is_none_or(|known| known.position < failure.position) {
                open.insert(failure.lineage.clone(), failure);
            }
        }
        let all = open.len();
        remove_replaced(&mut open, running);
        let replayed_running = all - open.len();
        remove_succeeded(deployed, &mut open).await?;
        let replayed_succeeded = all - replayed_running - open.len();
        let mut open: Vec<_> = open.into_values().collect();
        open.sort_by(|one, other| (one.ended, &one.name).cmp(&(other.ended, &other.name)));
        Ok(Self { open, replayed_running, replayed_succeeded })
    }
}

/// The failures of a listing that ended since a time. Only these are kept: the listing has many more.
async fn ended_since(mut listing: Listing<'_>, since: SystemTime) -> Result<Vec<Failure>, Error> {
    let mut failures = Vec::new();
    while let Some(page) = listing.next().await? {
        failures.extend(page.into_iter().map(Failure::of).filter(|failure| failure.ended >= since));
    }
    Ok(failures)
}

/// Removes the failures whose replacement is among these executions.
fn remove_replaced(open: &mut BTreeMap<Lineage, Failure>, executions: &[ExecutionListItem]) {
    for execution in executions {
        let (lineage, position) = Lineage::of(&execution.name);
        if open.get(&lineage).is_some_and(|failure| failure.position < position) {
            open.remove(&lineage);
        }
    }
}

/// Removes the failures whose replacement has succeeded.
///
/// A replacement starts after the failure, so only executions that started since the oldest failure are listed. Where that
/// takes more calls than there are failures, each failure's next replacement is looked up instead: the number of calls is at
/// most twice the smaller of both.
async fn remove_succeeded(deployed: &Deployed, open: &mut BTreeMap<Lineage, Failure>) -> Result<(), Error> {
    let Some(oldest) = open.values().map(|failure| failure.ended).min() else { return Ok(()) };
    let mut succeeded = Listing::since(deployed, ExecutionStatus::Succeeded, oldest);
    let mut calls = 0;
    while calls < open.len() {
        let Some(page) = succeeded.next().await? else { return Ok(()) };
        calls += 1;
        remove_replaced(open, &page);
    }
    let next =
        open.values().map(|failure| (failure.lineage.clone(), failure.lineage.replacement(failure.position + 1)));
    let replaced: Vec<_> = stream::iter(next.collect::<Vec<_>>())
        .map(|(lineage, name)| async move {
            let replacement = deployed.describe_execution(&deployed.state_machine.execution(&name)).await?;
            Ok::<_, Error>(replacement.is_some().then_some(lineage))
        })
        .buffer_unordered(CONCURRENT_CALLS)
        .try_collect()
        .await?;
    for lineage in replaced.into_iter().flatten() {
        open.remove(&lineage);
    }
    Ok(())
}

/// A failed execution, or its latest replacement.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The executions that it replaces, and its own replacements.
    pub lineage: Lineage,
    /// Its position in the lineage, 0 for the original execution.
    pub position: u32,
    /// Its input. `None`, if the credentials do not allow its decryption.
    pub input: Option<String>,
    /// Its state.
    pub state: CandidateState,
}

/// The state of the latest execution of a lineage.
#[derive(Debug, Clone)]
pub enum CandidateState {
    /// It failed and was not replayed.
    Failed {
        /// The name of the error, or the status of an execution that ended without an error.
        error: String,
        /// How to replay it.
        decision: Decision,
    },
    /// It was replayed and still runs.
    Running,
    /// It was replayed and has succeeded.
    Succeeded,
}

impl Candidate {
    /// The video of the execution. `None`, if the input cannot be read or names none.
    #[must_use]
    pub fn video(&self) -> Option<Video> {
        Video::of_input(self.input.as_deref()?)
    }

    /// Reads the state of a failed execution of the listing, which may have been redriven since, and decides how to replay it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(deployed: &Deployed, failure: &Failure, now: SystemTime) -> Result<Self, Error> {
        let execution = deployed.describe_execution(&failure.arn).await?;
        let execution = execution.ok_or_else(|| Error::NoExecution(failure.arn.clone()))?;
        decided(deployed, failure.lineage.clone(), failure.position, execution, now).await
    }

    /// Follows the lineage of the execution with this ARN to its latest execution, and decides how to replay that one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn latest_of(deployed: &Deployed, arn: &str, now: SystemTime) -> Result<Self, Error> {
        let state_machine = &deployed.state_machine;
        let name = state_machine.execution_name(arn).ok_or_else(|| Error::NotOfThisStateMachine {
            arn: arn.to_owned(),
            state_machine: state_machine.to_string(),
        })?;
        let (lineage, mut position) = Lineage::of(name);
        let execution = deployed.describe_execution(arn).await?;
        let mut execution = execution.ok_or_else(|| Error::NoExecution(arn.to_owned()))?;
        while let Some(next) =
            deployed.describe_execution(&state_machine.execution(&lineage.replacement(position + 1))).await?
        {
            (execution, position) = (next, position + 1);
        }
        decided(deployed, lineage, position, execution, now).await
    }
}

/// Decides how to replay an execution, if it has failed.
async fn decided(
    deployed: &Deployed,
    lineage: Lineage,
    position: u32,
    execution: DescribeExecutionOutput,
    now: SystemTime,
) -> Result<Candidate, Error> {
    let state = match execution.status {
        ExecutionStatus::Succeeded => CandidateState::Succeeded,
        ref status if FAILED.contains(status) => {
            let info = ExecutionInfo::of(&execution);
            let step = if info.needs_step(now) { failed_step(deployed, &execution.execution_arn).await? } else { None };
            CandidateState::Failed { decision: info.decide(step, now), error: info.error }
        }
        _ => CandidateState::Running,
    };
    let DescribeExecutionOutput { name, execution_arn: arn, input, .. } = execution;
    Ok(Candidate { arn, name: name.unwrap_or_default(), lineage, position, input, state })
}

/// Reads the history backwards, to find at which step the execution failed and when its page tokens were read. `None`, if
/// the credentials do not allow the decryption of the history.
async fn failed_step(deployed: &Deployed, arn: &str) -> Result<Option<FailedStep>, Error> {
    let mut events = deployed.history_backwards(arn).into_paginator().items().send();
    let mut in_pages = false;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => match Error::aws("states:GetExecutionHistory")(error) {
                Error::Denied { action: Error::DECRYPT, .. } => return Ok(None),
                error => return Err(error),
            },
        };
        let entered = event.state_entered_event_details().map(|details| details.name());
        match entered {
            Some("Summarize") if !in_pages => return Ok(Some(FailedStep::Summary)),
            // The tokens of a window were listed before the window was entered.
            Some("ReadPages") => in_pages = true,
            Some("StartDetection" | "InspectVideo") => return Ok(Some(FailedStep::Detection)),
            _ if in_pages && listed_pages(&event) => {
                return Ok(Some(FailedStep::Pages { listed: system_time(event.timestamp) }));
            }
            _ => {}
        }
    }
    Ok(Some(FailedStep::Detection))
}

/// Whether the event is the exit from a state whose output contains page tokens.
fn listed_pages(event: &HistoryEvent) -> bool {
    event.r#type == HistoryEventType::TaskStateExited
        && event
            .state_exited_event_details()
            .is_some_and(|details| matches!(details.name(), "ListPages" | "StartDetection"))
}

/// The time `duration` before now.
#[must_use]
pub fn time_ago(duration: Duration) -> SystemTime {
    SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH)
}
