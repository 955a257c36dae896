//! Rules about timeouts: every Task has one, and a Task that waits for a callback has a heartbeat for a lost callback.

use jsonata_core::evaluator::{Context, Evaluator};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::{Value, json};

use super::{Lint, array, expressions};

/// The retry counts for which the expression of a heartbeat is evaluated: none, a few, and more than any Task has.
const ATTEMPTS: [u64; 4] = [0, 1, 5, 10_000];

pub(super) fn check(lint: &mut Lint<'_>, path: &str, task: &Value) {
    if task["TimeoutSeconds"].is_null() {
        lint.find(path, "a Task without `TimeoutSeconds` can hang for a year");
    }
    if array(&task["Retry"]).is_empty() {
        lint.find(path, "a Task without `Retry` fails on the first temporary error of a service");
    }
    if let Some(problem) = ATTEMPTS.into_iter().find_map(|retries| heartbeat_problem(task, retries)) {
        lint.find(path, problem);
    }
    if waits_for_token(task) {
        if task["HeartbeatSeconds"].is_null() {
            lint.find(
                path,
                "a Task that waits for a token needs `HeartbeatSeconds`, or it does not notice a lost callback",
            );
        }
        if !expressions::mention_task_token(&task["Arguments"]) {
            lint.find(path, "a Task that waits for a token must pass $states.context.Task.Token in `Arguments`");
        }
    }
}

fn heartbeat_problem(task: &Value, retries: u64) -> Option<String> {
    match (heartbeat(task, retries), task["TimeoutSeconds"].as_u64()) {
        (Ok(Some(heartbeat)), Some(timeout)) if heartbeat >= timeout => {
            Some(format!("`HeartbeatSeconds` {heartbeat} must be below `TimeoutSeconds` {timeout}"))
        }
        (Err(reason), _) => Some(format!("`HeartbeatSeconds` after {retries} retries: {reason}")),
        _ => None,
    }
}

/// The heartbeat in seconds of a Task after this number of retries; it is a number, or an expression of the retries.
fn heartbeat(task: &Value, retries: u64) -> Result<Option<u64>, String> {
    let heartbeat = match &task["HeartbeatSeconds"] {
        Value::Null => return Ok(None),
        Value::String(text) => {
            let source = expressions::expression(text).ok_or("is a text, and not an expression")?;
            let parsed = parser::parse(source).map_err(|error| error.to_string())?;
            let mut context = Context::new();
            context.bind("states".to_owned(), json!({ "context": { "State": { "RetryCount": retries } } }).into());
            let value = Evaluator::with_context(context).evaluate(&parsed, &JValue::Undefined);
            serde_json::to_value(value.map_err(|error| error.message().to_owned())?)
                .map_err(|error| error.to_string())?
        }
        number => number.clone(),
    };
    match heartbeat.as_u64() {
        Some(seconds) if seconds > 0 => Ok(Some(seconds)),
        _ => Err(format!("{heartbeat} is not a whole number of seconds")),
    }
}

/// Whether the Task ends only when its token is sent back.
pub(super) fn waits_for_token(task: &Value) -> bool {
    task["Resource"].as_str().is_some_and(|resource| resource.ends_with(".waitForTaskToken"))
}
