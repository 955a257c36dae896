//! Every Task ends by itself, and one that waits for a callback notices a callback that was lost.

use serde_json::Value;

use super::{Lint, array, expressions};

pub(super) fn check(lint: &mut Lint<'_>, path: &str, task: &Value) {
    if task["TimeoutSeconds"].is_null() {
        lint.find(path, "a Task without `TimeoutSeconds` can hang for a year");
    }
    if array(&task["Retry"]).is_empty() {
        lint.find(path, "a Task without `Retry` fails on the first hiccup of a service");
    }
    let (heartbeat, timeout) = (task["HeartbeatSeconds"].as_f64(), task["TimeoutSeconds"].as_f64());
    if let (Some(heartbeat), Some(timeout)) = (heartbeat, timeout)
        && heartbeat >= timeout
    {
        lint.find(path, format!("`HeartbeatSeconds` {heartbeat} must be below `TimeoutSeconds` {timeout}"));
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

/// Whether the Task ends only when somebody sends its token back.
pub(super) fn waits_for_token(task: &Value) -> bool {
    task["Resource"].as_str().is_some_and(|resource| resource.ends_with(".waitForTaskToken"))
}
