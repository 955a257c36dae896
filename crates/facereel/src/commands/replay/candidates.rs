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
use crate::deployed::{CONCURRENT_CALLS, Deployed, Error};

/// The statuses of a failed execution.
const FAILED: [ExecutionStatus; 3] = [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Aborted];

/// The executions to inspect.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The executions that failed since this time.
    Since(SystemTime),
    /// The executions with these ARNs.
    Executions(Vec<String>),
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
    /// Its state.
    pub state: CandidateState,
    /// When it ended; when it started, if it still runs.
    pub at: SystemTime,
}

/// The state of the latest execution of a lineage.
#[derive(Debug, Clone)]
pub enum CandidateState {
    /// It failed and was not replayed.
    Failed {
        /// The name of the error, or the status of an execution that ended without an error.
        error: String,
        /// Its input. `None`, if the credentials do not allow its decryption.
        input: Option<String>,
        /// How to replay it.
        decision: Decision,
    },
    /// It was replayed and still runs.
    Running,
    /// It was replayed and has succeeded.
    Succeeded,
}

/// Finds the candidates among the selected executions, and decides how to replay each. The oldest failure is first.
///
/// # Errors
/// [`Error`]. Nothing is changed.
pub async fn find_candidates(deployed: &Deployed, selection: &Selection) -> Result<Vec<Candidate>, Error> {
    let now = SystemTime::now();
    let mut candidates: Vec<Candidate> = stream::iter(latest_of_each_lineage(deployed, selection).await?)
        .map(|((lineage, position), arn)| async move { inspect(deployed, lineage, position, arn, now).await })
        .buffer_unordered(CONCURRENT_CALLS)
        .try_collect()
        .await?;
    candidates.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
    Ok(candidates)
}

/// The latest selected execution of each lineage, with its position.
async fn latest_of_each_lineage(
    deployed: &Deployed,
    selection: &Selection,
) -> Result<impl Iterator<Item = ((Lineage, u32), String)> + use<>, Error> {
    let mut latest: BTreeMap<Lineage, (u32, String)> = BTreeMap::new();
    let mut add = |name: &str, arn: String| {
        let (lineage, position) = Lineage::of(name);
        let known = latest.entry(lineage).or_insert_with(|| (position, arn.clone()));
        if position > known.0 {
            *known = (position, arn);
        }
    };
    match selection {
        Selection::Executions(arns) => {
            for arn in arns {
                let state_machine = &deployed.state_machine;
                let name = state_machine.execution_name(arn).ok_or_else(|| Error::NotOfThisStateMachine {
                    arn: arn.clone(),
                    state_machine: state_machine.to_string(),
                })?;
                add(name, arn.clone());
            }
        }
        Selection::Since(since) => {
            for status in FAILED {
                // The listing is ordered by start time, so a recently ended execution can be anywhere in it.
                let visit = |execution: ExecutionListItem| {
                    let ended = execution.stop_date.unwrap_or(execution.start_date);
                    if SystemTime::try_from(ended).is_ok_and(|ended| ended >= *since) {
                        add(&execution.name, execution.execution_arn);
                    }
                };
                deployed.each_execution(status, visit).await?;
            }
        }
    }
    Ok(latest.into_iter().map(|(lineage, (position, arn))| ((lineage, position), arn)))
}

/// Follows the lineage to its latest execution, and decides how to replay that one.
async fn inspect(
    deployed: &Deployed,
    lineage: Lineage,
    mut position: u32,
    arn: String,
    now: SystemTime,
) -> Result<Candidate, Error> {
    let mut execution = describe(deployed, &arn).await?.ok_or(Error::NoExecution(arn))?;
    while let Some(next) =
        describe(deployed, &deployed.state_machine.execution(&lineage.replacement(position + 1))).await?
    {
        (execution, position) = (next, position + 1);
    }
    let at = execution.stop_date.unwrap_or(execution.start_date).try_into().unwrap_or(SystemTime::UNIX_EPOCH);
    let state = match execution.status {
        ExecutionStatus::Succeeded => CandidateState::Succeeded,
        ref status if FAILED.contains(status) => {
            let info = ExecutionInfo::of(&execution);
            let step =
                if info.needs_step(now) { Some(failed_step(deployed, &execution.execution_arn).await?) } else { None };
            CandidateState::Failed { decision: info.decide(step, now), error: info.error, input: execution.input }
        }
        _ => CandidateState::Running,
    };
    let name = execution.name.unwrap_or_default();
    Ok(Candidate { arn: execution.execution_arn, name, lineage, position, state, at })
}

/// The current state of an execution. `None`, if it does not exist.
pub(super) async fn describe(deployed: &Deployed, arn: &str) -> Result<Option<DescribeExecutionOutput>, Error> {
    match deployed.sfn.describe_execution().execution_arn(arn).send().await {
        Ok(execution) => Ok(Some(execution)),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => Ok(None),
        Err(error) => Err(Error::aws("states:DescribeExecution")(error)),
    }
}

/// Reads the history backwards, to find at which step the execution failed and when its last pages were listed.
async fn failed_step(deployed: &Deployed, arn: &str) -> Result<FailedStep, Error> {
    let mut events = deployed
        .sfn
        .get_execution_history()
        .execution_arn(arn)
        .reverse_order(true)
        .include_execution_data(false)
        .max_results(1000)
        .into_paginator()
        .items()
        .send();
    let mut in_pages = false;
    while let Some(event) = events.try_next().await.map_err(Error::aws("states:GetExecutionHistory"))? {
        let entered = event.state_entered_event_details().map(|details| details.name());
        match entered {
            Some("Summarize") if !in_pages => return Ok(FailedStep::Summary),
            Some("ListPages" | "FetchPages" | "FetchPage") => in_pages = true,
            // No pages were listed.
            Some("StartDetection") if in_pages => break,
            Some("StartDetection" | "InspectVideo") => return Ok(FailedStep::Detection),
            _ if listed_pages(&event) => {
                return Ok(FailedStep::Pages { listed: event.timestamp.try_into().ok() });
            }
            _ => {}
        }
    }
    Ok(if in_pages { FailedStep::Pages { listed: None } } else { FailedStep::Detection })
}

fn listed_pages(event: &HistoryEvent) -> bool {
    event.r#type == HistoryEventType::TaskStateExited
        && event.state_exited_event_details().is_some_and(|details| details.name() == "ListPages")
}

/// The time `duration` before now.
#[must_use]
pub fn time_ago(duration: Duration) -> SystemTime {
    SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH)
}
