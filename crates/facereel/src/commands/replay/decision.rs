//! Decides how an execution is replayed, and whether that is billed as a new analysis.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionRedriveStatus};
use lambdas::errors;
use schemars::JsonSchema;
use serde::Serialize;

/// For 7 days, Rekognition keeps the results of a job, and returns the same job for a repeated Start
/// (<https://docs.aws.amazon.com/rekognition/latest/dg/video.html>).
const JOB_RETENTION: Duration = Duration::from_hours(7 * 24);

/// Page tokens are valid for 24 hours
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>). One of them is reserved for
/// the redrive itself.
const TOKEN_VALIDITY: Duration = Duration::from_hours(23);

/// [`ExecutionInfo::error`] of a failed execution without an error. Every failure of the state machine has an error, so the
/// credentials do not allow its decryption.
const UNREADABLE: &str = "FAILED";

/// How an execution is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// `RedriveExecution`: the execution continues at the state that failed.
    Redrive,
    /// A new execution with the same input. For 7 days it uses the job that was already billed.
    NewExecution,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redrive => "redrive",
            Self::NewExecution => "new execution",
        })
    }
}

/// How to replay a failed execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The strategy.
    pub strategy: Strategy,
    /// Why Rekognition would bill a new analysis. `None`, if it would not.
    pub billed: Option<&'static str>,
}

/// The step at which an execution failed, as far as it is relevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedStep {
    /// The inspection of the video, the start of the job, or the wait for it.
    Detection,
    /// The listing or fetching of pages.
    Pages {
        /// When the page tokens that the step uses were read.
        listed: SystemTime,
    },
    /// The summary, after all pages were fetched.
    Summary,
}

/// The facts from `DescribeExecution` on which the decision depends.
#[derive(Debug, Clone)]
pub struct ExecutionInfo {
    /// The name of the error, or the status of an execution that ended without an error.
    pub error: String,
    /// Whether Step Functions can redrive it.
    pub redrivable: bool,
    /// When it started.
    pub started: SystemTime,
}

impl ExecutionInfo {
    /// The facts of this execution.
    #[must_use]
    pub fn of(execution: &DescribeExecutionOutput) -> Self {
        Self {
            error: execution.error.clone().unwrap_or_else(|| execution.status.as_str().to_owned()),
            redrivable: execution.redrive_status == Some(ExecutionRedriveStatus::Redrivable),
            started: execution.start_date.try_into().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// Whether [`decide`](Self::decide) needs the step. It does not for an execution that started recently, because its job
    /// and page tokens are still valid.
    #[must_use]
    pub fn needs_step(&self, now: SystemTime) -> bool {
        self.redrivable && !self.is_not_cured_by_redrive() && age(self.started, now) >= TOKEN_VALIDITY
    }

    /// Decides how to replay the execution. `step` may be `None` if [`needs_step`](Self::needs_step) is false.
    #[must_use]
    pub fn decide(&self, step: Option<FailedStep>, now: SystemTime) -> Decision {
        let job_is_old = age(self.started, now) >= JOB_RETENTION;
        let tokens_are_old = match step {
            Some(FailedStep::Pages { listed }) => age(listed, now) >= TOKEN_VALIDITY,
            _ => false,
        };
        let reads_an_old_job = job_is_old && matches!(step, Some(FailedStep::Pages { .. }));
        let strategy = if !self.redrivable || self.is_not_cured_by_redrive() || tokens_are_old || reads_an_old_job {
            Strategy::NewExecution
        } else {
            Strategy::Redrive
        };
        let billed = match errors::facts(&self.error) {
            Some(facts) if facts.replay.billed() => Some(facts.cause),
            None if self.error == UNREADABLE => Some("its error cannot be read, and may be one that starts a new job"),
            // The remaining steps do not call Rekognition.
            _ if strategy == Strategy::Redrive && step == Some(FailedStep::Summary) => None,
            _ if job_is_old => Some("older than 7 days, so Rekognition no longer has the job"),
            _ => None,
        };
        Decision { strategy, billed }
    }

    fn is_not_cured_by_redrive(&self) -> bool {
        errors::facts(&self.error).is_some_and(|facts| !facts.replay.cured_by_redrive())
    }
}

fn age(of: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn decided(error: &str, hours_ago: u32, step: Option<FailedStep>) -> (Strategy, bool) {
        let now = SystemTime::now();
        let info = ExecutionInfo { error: error.to_owned(), redrivable: true, started: now - hours_ago * HOUR };
        assert!(step.is_some() || !info.needs_step(now), "{error} after {hours_ago} h: the step is needed");
        let Decision { strategy, billed } = info.decide(step, now);
        (strategy, billed.is_some())
    }

    fn pages(listed_hours_ago: u32) -> FailedStep {
        FailedStep::Pages { listed: SystemTime::now() - listed_hours_ago * HOUR }
    }

    #[test]
    fn a_recent_failure_is_redriven_without_a_bill() {
        for error in ["AccessDenied", "Throttled", "States.Timeout", "ABORTED", "VideoNotFound", "InvalidInput"] {
            assert_eq!(decided(error, 1, None), (Strategy::Redrive, false), "{error}");
        }
    }

    #[test]
    fn an_error_that_a_redrive_does_not_cure_gets_a_new_execution() {
        for error in ["PageTokenExpired", "PageMissing", "PageUnreadable", "JobNotSucceeded"] {
            assert_eq!(decided(error, 1, None), (Strategy::NewExecution, false), "{error}");
        }
    }

    #[test]
    fn an_execution_with_expired_page_tokens_is_not_redriven() {
        assert_eq!(decided("AccessDenied", 30, Some(pages(22))), (Strategy::Redrive, false));
        assert_eq!(decided("AccessDenied", 30, Some(pages(24))), (Strategy::NewExecution, false));
        assert_eq!(decided("AccessDenied", 30, Some(FailedStep::Detection)), (Strategy::Redrive, false));
        assert_eq!(decided("AccessDenied", 30, Some(FailedStep::Summary)), (Strategy::Redrive, false));
    }

    #[test]
    fn a_job_older_than_a_week_is_billed_again() {
        let week = 7 * 24;
        assert_eq!(decided("AccessDenied", week - 1, Some(FailedStep::Detection)), (Strategy::Redrive, false));
        assert_eq!(decided("AccessDenied", week, Some(FailedStep::Detection)), (Strategy::Redrive, true));
        assert_eq!(decided("AccessDenied", week, Some(pages(1))), (Strategy::NewExecution, true));
        assert_eq!(decided("PageTokenExpired", week, None), (Strategy::NewExecution, true));
        // All its pages are in S3.
        assert_eq!(decided("AccessDenied", week, Some(FailedStep::Summary)), (Strategy::Redrive, false));
    }

    #[test]
    fn a_failed_or_deleted_job_is_billed_again() {
        assert_eq!(decided("JobFailed", 1, None), (Strategy::Redrive, true));
        assert_eq!(decided("JobGone", 1, None), (Strategy::NewExecution, true));
    }

    #[test]
    fn an_error_that_cannot_be_read_may_be_billed() {
        assert_eq!(decided("FAILED", 1, None), (Strategy::Redrive, true));
    }

    #[test]
    fn an_execution_that_cannot_be_redriven_gets_a_new_execution() {
        let now = SystemTime::now();
        let info = ExecutionInfo { error: "AccessDenied".to_owned(), redrivable: false, started: now - 30 * HOUR };
        assert!(!info.needs_step(now));
        assert_eq!(info.decide(None, now), Decision { strategy: Strategy::NewExecution, billed: None });
    }
}
