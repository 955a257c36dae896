//! Every Task ends by itself, and one that waits for a callback notices a callback that was lost.

use jsonata_core::evaluator::{Context, Evaluator};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::{Value, json};

use super::{Lint, array, expressions};

/// Retries after which an expression is evaluated: none, a few, and more than any Task makes.
const ATTEMPTS: [u64; 4] = [0, 1, 5, 10_000];

pub(super) fn check(lint: &mut Lint<'_>, path: &str, task: &Value) {
    if task["TimeoutSeconds"].is_null() {
        lint.find(path, "a Task without `TimeoutSeconds` can hang for a year");
    }
    if array(&task["Retry"]).is_empty() {
        lint.find(path, "a Task without `Retry` fails on the first hiccup of a service");
    }
    if let Some(problem) = ATTEMPTS.into_iter().find_map(|retries| heartbeat_problem(task, retries)) {
        lint.find(path, problem);
    }
    if waits_for_token(task) {
        if task["HeartbeatSeconds"].is_null() {
            lint.find(
                path,
                "a Task that waits for a token needs `HeartbeatSeconds`, or it never notices a lost callback",
            );
        }
        if !expressions::mention_task_token(&task["Arguments"]) {
            lint.find(path, "a Task that waits for a token must hand out $states.context.Task.Token in `Arguments`");
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

/// The heartbeat of a Task that has been retried this often: a number, or an expression of the retries.
fn heartbeat(task: &Value, retries: u64) -> Result<Option<u64>, String> {
    let heartbeat = match &task["HeartbeatSeconds"] {
        Value::Null => return Ok(None),
        Value::String(text) => {
            let source = expressions::expression(text).ok_or("is text, and no expression")?;
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
        _ => Err(format!("{heartbeat} is no whole number of seconds")),
    }
}

/// Whether the Task ends only when somebody sends its token back.
pub(super) fn waits_for_token(task: &Value) -> bool {
    task["Resource"].as_str().is_some_and(|resource| resource.ends_with(".waitForTaskToken"))
}
