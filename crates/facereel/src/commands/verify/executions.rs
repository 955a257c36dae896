//! The executions of the run: found by the key of their video, waited for, and read.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{
    operation::describe_execution::DescribeExecutionOutput, primitives::DateTime, types::ExecutionStatus,
};
use serde_json::Value;
use tokio::time::sleep;

use super::checks::NotPassed;
use crate::deployed::{Deployed, Error};

/// The time between two requests for the state of an execution.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How much the clock of this machine may differ from that of AWS. `SigV4` allows five minutes
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>).
pub(super) const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// An execution in the state of the last request.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub arn: String,
    pub name: String,
    pub status: ExecutionStatus,
    pub input: Value,
    pub output: Value,
    pub error: Option<String>,
    pub cause: Option<String>,
    pub redrives: i32,
}

impl From<DescribeExecutionOutput> for Observed {
    fn from(described: DescribeExecutionOutput) -> Self {
        let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self {
            name: described.name.unwrap_or_default(),
            arn: described.execution_arn,
            status: described.status,
            input: json(described.input),
            output: json(described.output),
            error: described.error,
            cause: described.cause,
            redrives: described.redrive_count.unwrap_or_default(),
        }
    }
}

impl Observed {
    /// The key of its video, from the event or from a manual input.
    pub(super) fn key(&self) -> Option<&str> {
        self.input.pointer("/detail/object/key").or_else(|| self.input.get("key")).and_then(Value::as_str)
    }

    /// The error and its cause, or the status, in one line.
    pub(super) fn ending(&self) -> String {
        match (&self.error, &self.cause) {
            (Some(error), Some(cause)) => format!("{error}: {cause}"),
            (Some(error), None) => error.clone(),
            _ => self.status.as_str().to_owned(),
        }
    }

    /// The member of its output with this name.
    pub(super) fn output_text(&self, member: &str) -> Result<&str, NotPassed> {
        self.output[member].as_str().ok_or_else(|| NotPassed::Failed(format!("its output has no {member}")))
    }
}

pub(super) async fn describe(deployed: &Deployed, arn: &str) -> Result<Observed, Error> {
    let described = deployed.sfn.describe_execution().execution_arn(arn).send().await;
    described.map(Observed::from).map_err(Error::aws("states:DescribeExecution"))
}

/// Waits for the end of an execution. The caller limits the wait.
pub(super) async fn end_of(deployed: &Deployed, arn: &str) -> Result<Observed, Error> {
    end_after(deployed, arn, 0).await
}

/// Waits for the end of an execution after this number of redrives.
///
/// `DescribeExecution` is eventually consistent
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html>): it may not know an execution
/// that has just been started, and may report a redriven execution as failed at first.
async fn end_after(deployed: &Deployed, arn: &str, redrives: i32) -> Result<Observed, Error> {
    loop {
        let described = deployed.sfn.describe_execution().execution_arn(arn).send().await;
        match described {
            Ok(described) => {
                let execution = Observed::from(described);
                if execution.status != ExecutionStatus::Running && execution.redrives >= redrives {
                    return Ok(execution);
                }
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => {}
            Err(error) => return Err(Error::aws("states:DescribeExecution")(error)),
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits for an execution to succeed. Another end is an error of the check.
pub(super) async fn success_of(deployed: &Deployed, arn: &str) -> Result<Observed, NotPassed> {
    succeeded(end_of(deployed, arn).await?)
}

/// Waits for an execution that was redriven once to succeed.
pub(super) async fn success_of_redriven(deployed: &Deployed, arn: &str) -> Result<Observed, NotPassed> {
    succeeded(end_after(deployed, arn, 1).await?)
}

fn succeeded(ended: Observed) -> Result<Observed, NotPassed> {
    match ended.status {
        ExecutionStatus::Succeeded => Ok(ended),
        _ => Err(NotPassed::Failed(ended.ending())),
    }
}

/// Starts an execution and returns its ARN.
pub(super) async fn start(deployed: &Deployed, name: &str, input: &Value) -> Result<String, Error> {
    let start = deployed.sfn.start_execution().state_machine_arn(deployed.state_machine.to_string());
    let started = start.name(name).input(input.to_string()).send().await;
    Ok(started.map_err(Error::aws("states:StartExecution"))?.execution_arn)
}

/// Looks for the executions of videos that were uploaded since `since`.
#[derive(Debug)]
pub(super) struct Search {
    since: SystemTime,
    /// Executions of other videos, which are not described again.
    others: BTreeSet<String>,
}

impl Search {
    pub(super) fn since(since: SystemTime) -> Self {
        Self { since: since - CLOCK_SKEW, others: BTreeSet::new() }
    }

    /// The execution that the event of the upload to `key` has started, if there is one already.
    ///
    /// Running executions are listed by their start or redrive, others by their end, the latest first
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>). So the listing ends at a page
    /// whose last execution has no recent time.
    pub(super) async fn started_by_upload(
        &mut self,
        deployed: &Deployed,
        key: &str,
    ) -> Result<Option<Observed>, Error> {
        let list = deployed.sfn.list_executions().state_machine_arn(deployed.state_machine.to_string());
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.try_next().await.map_err(Error::aws("states:ListExecutions"))? {
            let is_recent = |time: DateTime| SystemTime::try_from(time).is_ok_and(|time| time >= self.since);
            let more = page.executions.last().is_some_and(|last| {
                [Some(last.start_date), last.stop_date, last.redrive_date].into_iter().flatten().any(is_recent)
            });
            let started = page.executions.into_iter().filter(|one| is_recent(one.start_date));
            let started: Vec<_> = started.map(|one| one.execution_arn).collect();
            for arn in started.into_iter().filter(|arn| !self.others.contains(arn)).collect::<Vec<_>>() {
                let described = deployed.sfn.describe_execution().execution_arn(&arn).send().await;
                let execution = match described {
                    Ok(described) => Observed::from(described),
                    // It was started a moment ago.
                    Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => {
                        continue;
                    }
                    Err(error) => return Err(Error::aws("states:DescribeExecution")(error)),
                };
                if execution.key() == Some(key) && execution.input.get("detail").is_some() {
                    return Ok(Some(execution));
                }
                self.others.insert(arn);
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }

    /// Waits for the execution that the event of the upload to `key` starts. The caller limits the wait.
    pub(super) async fn wait_for_start(&mut self, deployed: &Deployed, key: &str) -> Result<Observed, Error> {
        loop {
            if let Some(execution) = self.started_by_upload(deployed, key).await? {
                return Ok(execution);
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The task tokens in the histories of executions.
#[derive(Debug, Default)]
pub(super) struct TaskTokens {
    /// The tokens.
    pub tokens: BTreeSet<String>,
    /// Whether the histories contain the parameters of tasks. Those of AWS do, but not those of every emulator.
    pub parameters: bool,
}

impl TaskTokens {
    /// Adds the tokens in the history of an execution.
    ///
    /// The state `StartDetection` passes its token to the function, so the history contains it in the parameters of the task
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_TaskScheduledEventDetails.html>).
    pub(super) async fn add(&mut self, deployed: &Deployed, arn: &str) -> Result<(), Error> {
        let mut events = deployed.sfn.get_execution_history().execution_arn(arn).into_paginator().items().send();
        while let Some(event) = events.try_next().await.map_err(Error::aws("states:GetExecutionHistory"))? {
            let Some(scheduled) = event.task_scheduled_event_details else { continue };
            let Ok(parameters) = serde_json::from_str::<Value>(&scheduled.parameters) else { continue };
            self.parameters = true;
            let token = parameters.pointer("/Payload/task_token").and_then(Value::as_str);
            self.tokens.extend(token.map(str::to_owned));
        }
        Ok(())
    }
}
