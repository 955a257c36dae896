//! The executions of the state machine: start, wait, read their state and history.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_sfn::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::AfterDeserializationInterceptorContextRef},
    error::BoxError,
    operation::describe_execution::DescribeExecutionOutput,
    types::ExecutionStatus,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::Error;

/// The time between two requests for the status of an execution that runs.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// One execution, in the state of the last request.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// `Running`, `Succeeded`, `Failed`, `TimedOut` or `Aborted`.
    pub status: ExecutionStatus,
    /// Its input: the `EventBridge` event, or the input of a manual start.
    pub input: Value,
    /// Its output, once it has succeeded.
    pub output: Option<Value>,
    /// The name of the error, once it has failed.
    pub error: Option<String>,
    /// The cause of the error, once it has failed.
    pub cause: Option<String>,
}

impl Execution {
    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.status, ExecutionStatus::Running)
    }

    /// Whether it ended with the status `SUCCEEDED`.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        matches!(self.status, ExecutionStatus::Succeeded)
    }

    /// The key of the object whose upload started it, or that the input of a manual start names.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        let by_event = self.input.pointer("/detail/object/key");
        by_event.or_else(|| self.input.get("key")).and_then(Value::as_str)
    }
}

impl From<DescribeExecutionOutput> for Execution {
    fn from(described: DescribeExecutionOutput) -> Self {
        let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            arn: described.execution_arn,
            status: described.status,
            input: described.input.map_or(Value::Null, json),
            output: described.output.map(json),
            error: described.error,
            cause: described.cause,
        }
    }
}

/// The executions of one state machine.
#[derive(Debug, Clone)]
pub struct Executions {
    sfn: Client,
    state_machine_arn: String,
}

impl Executions {
    /// The executions of the state machine at `state_machine_arn`.
    #[must_use]
    pub fn of(aws: &SdkConfig, state_machine_arn: impl Into<String>) -> Self {
        Self { sfn: Client::new(aws), state_machine_arn: state_machine_arn.into() }
    }

    /// Starts an execution manually and returns its ARN.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn start(&self, input: &Value) -> Result<String, Error> {
        let started = self
            .sfn
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .input(input.to_string())
            .send()
            .await
            .map_err(Error::aws("states:StartExecution"))?;
        Ok(started.execution_arn)
    }

    /// All executions for the object with this key, whether started by an event or manually.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn about(&self, key: &str) -> Result<Vec<Execution>, Error> {
        let mut pages =
            self.sfn.list_executions().state_machine_arn(&self.state_machine_arn).into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(execution) = pages.try_next().await.map_err(Error::aws("states:ListExecutions"))? {
            let execution = self.describe(&execution.execution_arn).await?;
            if execution.key() == Some(key) {
                found.push(execution);
            }
        }
        Ok(found)
    }

    /// The ARNs of the executions that are not in `known`, the oldest first. The cost does not grow with the number of known ones.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn started_since(&self, known: &HashSet<String>) -> Result<Vec<String>, Error> {
        // The latest start comes first. Executions that start at the same time may be listed in any order, so a known one is
        // not the end yet.
        const KNOWN_IN_SEQUENCE: usize = 100;
        let listing = self.sfn.list_executions().state_machine_arn(&self.state_machine_arn).max_results(200);
        let mut executions = listing.into_paginator().items().send();
        let (mut started, mut in_sequence) = (Vec::new(), 0);
        while let Some(execution) = executions.try_next().await.map_err(Error::aws("states:ListExecutions"))? {
            if known.contains(&execution.execution_arn) {
                in_sequence += 1;
                if in_sequence == KNOWN_IN_SEQUENCE {
                    break;
                }
            } else {
                in_sequence = 0;
                started.push(execution.execution_arn);
            }
        }
        started.reverse();
        Ok(started)
    }

    /// The current state of an execution.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn describe(&self, arn: &str) -> Result<Execution, Error> {
        let described = self.sfn.describe_execution().execution_arn(arn).send().await;
        described.map(Execution::from).map_err(Error::aws("states:DescribeExecution"))
    }

    /// Waits until the execution has ended, with any status. The wait has no limit: use
    /// [`timeout`](tokio::time::timeout) where one is needed.
    ///
    /// # Errors
    /// [`Error::Aws`]. The failure of the execution is not an error here.
    pub async fn wait(&self, arn: &str) -> Result<Execution, Error> {
        loop {
            let execution = self.describe(arn).await?;
            if !execution.is_running() {
                return Ok(execution);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Every event of the execution so far, oldest first, with the fields of the service's own response, as `aws
    /// stepfunctions get-execution-history` prints them.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn history(&self, arn: &str) -> Result<Vec<Value>, Error> {
        let mut events = Vec::new();
        let mut next_token = None;
        loop {
            // The SDK's types cannot be written as JSON, so the body of the response is kept.
            let body = RawBody::default();
            let page = self
                .sfn
                .get_execution_history()
                .execution_arn(arn)
                .set_next_token(next_token)
                .customize()
                .interceptor(body.clone())
                .send()
                .await
                .map_err(Error::aws("states:GetExecutionHistory"))?;
            events.extend(body.events());
            next_token = page.next_token;
            if next_token.is_none() {
                return Ok(events);
            }
        }
    }
}

/// Keeps the body of one response.
#[derive(Debug, Clone, Default)]
struct RawBody(Arc<Mutex<Vec<u8>>>);

impl RawBody {
    fn events(&self) -> Vec<Value> {
        let Ok(body) = self.0.lock() else { return Vec::new() };
        let mut response: Value = serde_json::from_slice(&body).unwrap_or_default();
        match response.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => events,
            _ => Vec::new(),
        }
    }
}

impl Intercept for RawBody {
    fn name(&self) -> &'static str {
        "RawBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(bytes), Ok(mut body)) = (context.response().body().bytes(), self.0.lock()) {
            *body = bytes.to_vec();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn started_with(input: Value) -> Execution {
        let status = ExecutionStatus::Running;
        Execution { arn: String::new(), status, input, output: None, error: None, cause: None }
    }

    #[test]
    fn the_key_of_an_execution_is_the_raw_key_of_its_event_or_of_its_input() {
        let by_event = started_with(json!({ "detail": { "object": { "key": "a+b %2F.mp4" } } }));
        assert_eq!(by_event.key(), Some("a+b %2F.mp4"));
        assert_eq!(started_with(json!({ "bucket": "b", "key": "c.mp4" })).key(), Some("c.mp4"));
        assert_eq!(started_with(Value::Null).key(), None);
    }
}
