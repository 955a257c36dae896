//! Errors of `facereel run`, with what to do about them.

use std::{fmt, path::PathBuf};

use lambdas::errors;
use local_stack::{Error, Execution};
use serde_json::Value;

/// Why a run has not produced results.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The video or the output directory is not suitable.
    #[error("{0}")]
    Usage(String),
    /// The execution failed.
    #[error("{0}")]
    Failed(Box<ExecutionFailure>),
    /// The execution has not ended, and made no progress for too long.
    #[error(
        "the execution has made no progress for {seconds} s, so the command does not wait any longer; see the emulator's log {}. Please report this",
        log.display()
    )]
    Stalled {
        /// How long the execution has made no progress, in seconds.
        seconds: u64,
        /// The path of the emulator's log.
        log: PathBuf,
    },
    /// The workflow could not run on this machine.
    #[error(transparent)]
    Local(#[from] Error),
    /// The results could not be written to their directory.
    #[error(
        "cannot write the results to {}: {reason}; they are kept in {}; move them to another directory",
        dir.display(), kept_in.display()
    )]
    Kept {
        /// The directory for the results.
        dir: PathBuf,
        /// The reason.
        reason: String,
        /// The directory that contains them.
        kept_in: PathBuf,
    },
}

impl RunError {
    /// The exit status of the command: 2 for an error in the command line, else 1.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// The failure of an execution.
#[derive(Debug)]
pub struct ExecutionFailure {
    /// The name of the error.
    error: String,
    /// Its cause.
    cause: String,
    /// The file with the history of the execution.
    history: PathBuf,
}

impl ExecutionFailure {
    pub(super) fn of(execution: &Execution, history: PathBuf) -> Self {
        let error = execution.error.clone().unwrap_or_else(|| execution.status.as_str().to_owned());
        let cause = execution.cause.clone().unwrap_or_default();
        // The cause is JSON if the error is one of a Lambda function.
        let message = serde_json::from_str::<Value>(&cause)
            .ok()
            .and_then(|cause| cause.get("errorMessage")?.as_str().map(str::to_owned));
        Self { error, cause: message.unwrap_or(cause), history }
    }
}

impl fmt::Display for ExecutionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the execution failed: {}", self.error)?;
        if !self.cause.is_empty() {
            writeln!(f, "  cause    {}", self.cause)?;
        }
        if let Some(remedy) = remedy(&self.error) {
            writeln!(f, "  remedy   {remedy}")?;
        }
        write!(f, "  history  {}", self.history.display())
    }
}

/// The remedy for an error of the workflow.
fn remedy(error: &str) -> Option<&'static str> {
    // A local execution cannot be replayed.
    errors::facts(error).map(|facts| facts.remedy).filter(|remedy| !remedy.contains("replay"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::types::ExecutionStatus;

    use super::*;

    fn failed(error: &str, cause: &str) -> ExecutionFailure {
        let execution = Execution {
            arn: String::new(),
            status: ExecutionStatus::Failed,
            input: Value::Null,
            output: None,
            error: Some(error.to_owned()),
            cause: Some(cause.to_owned()),
        };
        ExecutionFailure::of(&execution, "out.failed/history.json".into())
    }

    #[test]
    fn a_failure_shows_its_name_its_cause_and_the_remedy() {
        let text = failed("VideoEmpty", "the object has no bytes").to_string();
        for part in ["VideoEmpty", "the object has no bytes", "upload it again", "out.failed/history.json"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn a_failed_job_shows_its_cause_and_a_remedy_only_for_the_file() {
        let text = failed("JobFailed", "the disk is full (face detection job 0123)").to_string();
        assert!(text.contains("cause    the disk is full (face"), "{text}");
        assert!(text.contains("if the reason is the file") && text.contains("else try again"), "{text}");
    }

    #[test]
    fn an_error_without_a_remedy_shows_its_name_and_cause() {
        let text =
            failed("Runtime.ExitError", r#"{"errorType":"Runtime.ExitError","errorMessage":"it exited"}"#).to_string();
        assert!(text.contains("Runtime.ExitError") && text.contains("it exited"), "{text}");
        assert!(!text.contains("errorMessage"), "{text}");
    }
}
