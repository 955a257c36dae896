//! Rules about Retry and Catch: intervals are bounded and jittered, and every error name is one that is reported.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Lint, array, fields};

/// The errors that Step Functions, Glue, Lambda, its sandbox and its runtimes report.
const SERVICE_ERRORS: &[&str] = &[
    "Glue.AlreadyExistsException",
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.CodeArtifactUserPendingException",
    "Lambda.EC2ThrottledException",
    "Lambda.ENILimitReachedException",
    "Lambda.InvalidParameterValueException",
    "Lambda.KMSAccessDeniedException",
    "Lambda.RequestTooLargeException",
    "Lambda.ResourceConflictException",
    "Lambda.ResourceNotFoundException",
    "Lambda.ResourceNotReadyException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.SnapStartException",
    "Lambda.SnapStartTimeoutException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Runtime.InvalidEntrypoint",
    "Runtime.OutOfMemory",
    "Runtime.Unknown",
    "Sandbox.Timedout",
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
    "StepFunctions.AWSStepFunctionsException",
    "StepFunctions.ExecutionAlreadyExistsException",
    "StepFunctions.ExecutionLimitExceededException",
    "StepFunctions.SdkClientException",
    "StepFunctions.StateMachineDoesNotExistException",
];

/// Terminal errors: Retry and Catch do not apply to them.
const TERMINAL: &[&str] = &["States.DataLimitExceeded", "States.Runtime"];

pub(super) fn check(lint: &mut Lint<'_>, path: &str, state: &Value) {
    let retriers = array(&state["Retry"]);
    let mut earlier = BTreeSet::new();
    for (index, retrier) in retriers.iter().enumerate() {
        let path = format!("{path}.Retry[{index}]");
        fields::known(lint, &path, retrier, fields::RETRIER);
        names(lint, &path, retrier, index + 1 == retriers.len());
        backoff(lint, &path, retrier);
        missed_heartbeat(lint, &path, retrier);
        for name in array(&retrier["ErrorEquals"]).iter().filter_map(Value::as_str) {
            if !earlier.insert(name) {
                lint.find(&path, format!("`{name}` has no effect here: an earlier retrier matches it"));
            }
        }
    }
    let catchers = array(&state["Catch"]);
    for (index, catcher) in catchers.iter().enumerate() {
        let path = format!("{path}.Catch[{index}]");
        fields::known(lint, &path, catcher, fields::CATCHER);
        names(lint, &path, catcher, index + 1 == catchers.len());
    }
}

fn names(lint: &mut Lint<'_>, path: &str, rule: &Value, last: bool) {
    let names: Vec<_> = array(&rule["ErrorEquals"]).iter().map(|name| name.as_str().unwrap_or_default()).collect();
    if names.is_empty() {
        lint.find(path, "`ErrorEquals` must name at least one error");
    }
    if names.contains(&"States.ALL") && !(last && names.len() == 1) {
        lint.find(path, "`States.ALL` must be the only name, in the last rule");
    }
    for name in names {
        if TERMINAL.contains(&name) {
            lint.find(path, format!("`{name}` ends the execution: no rule applies to it"));
        } else if !SERVICE_ERRORS.contains(&name) && !lint.deployment.known_errors.contains(&name) {
            lint.find(path, format!("nothing reports an error named `{name}`"));
        }
    }
}

/// Step Functions reports a missed heartbeat as `States.HeartbeatTimeout` or as `States.Timeout`
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>). A retrier that names only the
/// first leaves the second to another retrier, with other attempts, or to none.
fn missed_heartbeat(lint: &mut Lint<'_>, path: &str, retrier: &Value) {
    let names = |name: &str| array(&retrier["ErrorEquals"]).iter().any(|named| named == name);
    if names("States.HeartbeatTimeout") && !names("States.Timeout") {
        lint.find(path, "a missed heartbeat is reported as `States.Timeout` as well: name it here");
    }
}

/// A growing interval needs a maximum. It also needs jitter, or executions that failed at the same time retry at the same time.
fn backoff(lint: &mut Lint<'_>, path: &str, retrier: &Value) {
    // The default of ASL.
    let rate = retrier["BackoffRate"].as_f64().unwrap_or(2.0);
    if rate < 1.0 {
        lint.find(path, format!("`BackoffRate` {rate} must be at least 1"));
    }
    if rate <= 1.0 || retrier["MaxAttempts"] == 0 {
        return;
    }
    if retrier["MaxDelaySeconds"].is_null() {
        lint.find(path, format!("the interval grows by {rate} without a maximum: set `MaxDelaySeconds`"));
    }
    if retrier["JitterStrategy"] != "FULL" {
        lint.find(
            path,
            "executions that failed at the same time are retried at the same time: set `JitterStrategy` to FULL",
        );
    }
}
