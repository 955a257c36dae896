//! Why an execution failed, and what to do.

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use lambdas::errors;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The maximum number of characters of a cause.
const MAX_CAUSE: usize = 300;

/// Why an execution failed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailureReason {
    /// The name of the error, or the status of an execution that ended without an error: `TIMED_OUT` or `ABORTED`.
    pub error: String,
    /// What this error means. null, if it is not an error of facereel.
    pub meaning: Option<String>,
    /// The cause of this execution's failure, in one line. null, if there is none or it cannot be read.
    pub cause: Option<String>,
    /// What to do. null, if it is not an error of facereel.
    pub remedy: Option<String>,
}

impl FailureReason {
    /// The reason of a failed execution.
    #[must_use]
    pub fn of(execution: &DescribeExecutionOutput) -> Self {
        let error = execution.error.clone().unwrap_or_else(|| execution.status.as_str().to_owned());
        let facts = errors::facts(&error);
        Self {
            meaning: facts.map(|facts| facts.cause.to_owned()),
            cause: execution.cause.as_deref().map(one_line).filter(|cause| !cause.is_empty()),
            remedy: facts.map(|facts| facts.remedy.to_owned()),
            error,
        }
    }
}

/// A cause as one line of text. It is JSON if the error is one of a Lambda function.
fn one_line(cause: &str) -> String {
    let of_lambda = serde_json::from_str::<Value>(cause).ok();
    let message = of_lambda.as_ref().and_then(|cause| cause.get("errorMessage")?.as_str()).unwrap_or(cause);
    let printable = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = printable.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CAUSE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::{primitives::DateTime, types::ExecutionStatus};

    use super::*;

    fn reason(error: Option<&str>, cause: &str) -> FailureReason {
        let execution = DescribeExecutionOutput::builder()
            .execution_arn("arn")
            .state_machine_arn("arn")
            .start_date(DateTime::from_secs(0))
            .status(ExecutionStatus::Aborted)
            .set_error(error.map(str::to_owned))
            .cause(cause);
        FailureReason::of(&execution.build().unwrap())
    }

    #[test]
    fn a_reason_has_the_meaning_the_cause_and_the_remedy() {
        let reason = reason(Some("VideoEmpty"), "s3://uploads/a.mp4 is empty;\n upload it again");
        assert_eq!(reason.meaning.as_deref(), Some("the object has 0 bytes"));
        assert_eq!(reason.cause.as_deref(), Some("s3://uploads/a.mp4 is empty; upload it again"));
        assert_eq!(reason.remedy.as_deref(), Some("upload it again"));
    }

    #[test]
    fn the_cause_of_an_error_of_lambda_is_its_message() {
        let reason =
            reason(Some("Runtime.ExitError"), r#"{"errorType":"Runtime.ExitError","errorMessage":"it exited"}"#);
        assert_eq!((reason.cause.as_deref(), reason.remedy), (Some("it exited"), None));
    }

    #[test]
    fn an_execution_without_an_error_has_the_name_of_its_status() {
        let reason = reason(None, "");
        assert_eq!((reason.error.as_str(), reason.cause), ("ABORTED", None));
        assert_eq!(reason.remedy.as_deref(), Some("replay"));
    }

    #[test]
    fn a_cause_is_one_line_without_control_characters() {
        let cause = reason(None, &format!("a\u{1b}[2J b {}", "é".repeat(400))).cause.unwrap();
        assert!(cause.starts_with("a [2J b é") && cause.ends_with('…') && cause.chars().count() == 301, "{cause}");
    }
}
