//! What is to be replayed: the failed executions that nobody has replayed yet.

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
    decision::{Decision, Facts, Step},
    lineage::Lineage,
};
use crate::deployed::{CALLS_AT_ONCE, Deployed, Error};

/// How an execution can have failed.
const FAILED: [ExecutionStatus; 3] = [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Aborted];

/// Which executions are looked at.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those that failed after this moment.
    Since(SystemTime),
    /// These, by their ARNs.
    Executions(Vec<String>),
}

/// A failed execution, or the last one of those that replaced it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Whom it replaces, and who replaces it.
    pub lineage: Lineage,
    /// Its place in the lineage.
    pub place: u32,
    /// How it stands.
    pub state: State,
    /// When it ended; when it began, while it runs.
    pub at: SystemTime,
}

/// How the last execution of a lineage stands.
#[derive(Debug, Clone)]
pub enum State {
    /// It failed, and nobody has replayed it.
    Failed {
        /// The error's name, or the status of an execution that ended without one.
        error: String,
        /// What it was started with; absent where the credentials may not decrypt it.
        input: Option<String>,
        /// What is to be done.
        decision: Decision,
    },
    /// It has been replayed, and runs.
    Running,
    /// It has been replayed, and has succeeded.
    Succeeded,
}

/// Looks at every execution that failed and finds out what is to be done about it, oldest failure first.
///
/// # Errors
/// [`Error`]; nothing has been changed then.
pub async fn plan(deployed: &Deployed, selection: &Selection) -> Result<Vec<Case>, Error> {
    let now = SystemTime::now();
    let mut cases: Vec<Case> = stream::iter(latest(deployed, selection).await?)
        .map(|((lineage, place), arn)| async move { case(deployed, lineage, place, arn, now).await })
        .buffer_unordered(CALLS_AT_ONCE)
        .try_collect()
        .await?;
    cases.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
    Ok(cases)
}

/// The latest execution of each lineage among those that are selected.
async fn latest(
    deployed: &Deployed,
    selection: &Selection,
) -> Result<impl Iterator<Item = ((Lineage, u32), String)> + use<>, Error> {
    let mut latest: BTreeMap<Lineage, (u32, String)> = BTreeMap::new();
    let mut note = |name: &str, arn: String| {
        let (lineage, place) = Lineage::of(name);
        let known = latest.entry(lineage).or_insert_with(|| (place, arn.clone()));
        if place > known.0 {
            *known = (place, arn);
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
                note(name, arn.clone());
            }
        }
        Selection::Since(since) => {
            for status in FAILED {
                // The listing is ordered by the start, so that what ended lately may stand anywhere in it.
                let look = |execution: ExecutionListItem| {
                    let ended = execution.stop_date.unwrap_or(execution.start_date);
                    if SystemTime::try_from(ended).is_ok_and(|ended| ended >= *since) {
                        note(&execution.name, execution.execution_arn);
                    }
                };
                deployed.each_execution(status, look).await?;
            }
        }
    }
    Ok(latest.into_iter().map(|(lineage, (place, arn))| ((lineage, place), arn)))
}

/// Follows the lineage to its last execution and decides about that one.
async fn case(
    deployed: &Deployed,
    lineage: Lineage,
    mut place: u32,
    arn: String,
    now: SystemTime,
) -> Result<Case, Error> {
    let mut execution = describe(deployed, &arn).await?.ok_or(Error::NoExecution(arn))?;
    while let Some(next) =
        describe(deployed, &deployed.state_machine.execution(&lineage.replacement(place + 1))).await?
    {
        (execution, place) = (next, place + 1);
    }
    let at = execution.stop_date.unwrap_or(execution.start_date).try_into().unwrap_or(SystemTime::UNIX_EPOCH);
    let state = match execution.status {
        ExecutionStatus::Succeeded => State::Succeeded,
        ref status if FAILED.contains(status) => {
            let facts = Facts::of(&execution);
            let step =
                if facts.needs_step(now) { Some(failed_step(deployed, &execution.execution_arn).await?) } else { None };
            State::Failed { decision: facts.decide(step, now), error: facts.error, input: execution.input }
        }
        _ => State::Running,
    };
    let name = execution.name.unwrap_or_default();
    Ok(Case { arn: execution.execution_arn, name, lineage, place, state, at })
}

/// The execution as it is now; `None` where there is none of this name.
pub(super) async fn describe(deployed: &Deployed, arn: &str) -> Result<Option<DescribeExecutionOutput>, Error> {
    match deployed.sfn.describe_execution().execution_arn(arn).send().await {
        Ok(execution) => Ok(Some(execution)),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => Ok(None),
        Err(error) => Err(Error::aws("states:DescribeExecution")(error)),
    }
}

/// Reads the history from its end: where the execution failed, and when its last pages were listed.
async fn failed_step(deployed: &Deployed, arn: &str) -> Result<Step, Error> {
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
            Some("Summarize") if !in_pages => return Ok(Step::Summary),
            Some("ListPages" | "FetchPages" | "FetchPage") => in_pages = true,
            // Pages were never listed.
            Some("StartDetection") if in_pages => break,
            Some("StartDetection") => return Ok(Step::Detection),
            _ if listed_pages(&event) => {
                return Ok(Step::Pages { listed: event.timestamp.try_into().ok() });
            }
            _ => {}
        }
    }
    Ok(if in_pages { Step::Pages { listed: None } } else { Step::Detection })
}

fn listed_pages(event: &HistoryEvent) -> bool {
    event.r#type == HistoryEventType::TaskStateExited
        && event.state_exited_event_details().is_some_and(|details| details.name() == "ListPages")
}

/// The moment so long ago.
#[must_use]
pub fn ago(duration: Duration) -> SystemTime {
    SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH)
}
