//! Which way an execution is replayed, and whether that costs a new analysis.

use std::time::{Duration, SystemTime};

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionRedriveStatus};

/// Rekognition keeps a job's results, and takes a repeated Start for the same job, for 7 days
/// (<https://docs.aws.amazon.com/rekognition/latest/dg/video.html>).
const JOB_LIVES: Duration = Duration::from_hours(7 * 24);

/// Page tokens live 24 hours
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>); an hour of them is left
/// for the redrive itself.
const TOKENS_SERVE: Duration = Duration::from_hours(23);

/// These fail again where they are re-entered: page tokens, the job or pages are gone.
const NOT_CURED_BY_REDRIVE: [&str; 5] =
    ["JobGone", "JobNotSucceeded", "PageMissing", "PageTokenExpired", "PageUnreadable"];

/// How an execution is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `RedriveExecution`: it goes on where it failed.
    Redrive,
    /// A new execution with the same input; for 7 days it finds the job again that was paid for.
    Start,
}

/// What is to be done about an execution that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How.
    pub way: Way,
    /// Why Rekognition would bill a new analysis, if it would.
    pub billed: Option<&'static str>,
}

/// Where an execution failed, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The job was started or waited for.
    Detection,
    /// Pages were listed or fetched, the last ones that were listed at this time.
    Pages {
        /// `None`: the very first listing failed.
        listed: Option<SystemTime>,
    },
    /// Everything was fetched.
    Summary,
}

/// What decides, out of `DescribeExecution`.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The error's name, or the status of an execution that ended without one.
    pub error: String,
    /// Whether AWS would redrive it.
    pub redrivable: bool,
    /// When it began.
    pub started: SystemTime,
}

impl Facts {
    /// Those of a described execution.
    #[must_use]
    pub fn of(execution: &DescribeExecutionOutput) -> Self {
        Self {
            error: execution.error.clone().unwrap_or_else(|| execution.status.as_str().to_owned()),
            redrivable: execution.redrive_status == Some(ExecutionRedriveStatus::Redrivable),
            started: execution.start_date.try_into().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// Whether [`decide`](Self::decide) must know the step: all that an execution has is alive when it began lately.
    #[must_use]
    pub fn needs_step(&self, now: SystemTime) -> bool {
        self.redrivable && !self.is_not_cured_by_redrive() && age(self.started, now) >= TOKENS_SERVE
    }

    /// Decides; `step` is `None` where [`needs_step`](Self::needs_step) says that it does not matter.
    #[must_use]
    pub fn decide(&self, step: Option<Step>, now: SystemTime) -> Decision {
        let job_is_old = age(self.started, now) >= JOB_LIVES;
        let tokens_are_old = match step {
            Some(Step::Pages { listed: Some(listed) }) => age(listed, now) >= TOKENS_SERVE,
            _ => false,
        };
        let reads_an_old_job = job_is_old && matches!(step, Some(Step::Pages { .. }));
        let way = if !self.redrivable || self.is_not_cured_by_redrive() || tokens_are_old || reads_an_old_job {
            Way::Start
        } else {
            Way::Redrive
        };
        let billed = match self.error.as_str() {
            "JobFailed" => Some("Rekognition ended the job as failed: a replay starts a new one"),
            "JobGone" => Some("Rekognition has forgotten the job"),
            // Nothing more is asked of Rekognition.
            _ if way == Way::Redrive && step == Some(Step::Summary) => None,
            _ if job_is_old => Some("older than 7 days: Rekognition has forgotten the job"),
            _ => None,
        };
        Decision { way, billed }
    }

    fn is_not_cured_by_redrive(&self) -> bool {
        NOT_CURED_BY_REDRIVE.contains(&self.error.as_str())
    }
}

fn age(of: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn decided(error: &str, hours_ago: u32, step: Option<Step>) -> (Way, bool) {
        let now = SystemTime::now();
        let facts = Facts { error: error.to_owned(), redrivable: true, started: now - hours_ago * HOUR };
        assert!(step.is_some() || !facts.needs_step(now), "{error} after {hours_ago} h: the step matters");
        let Decision { way, billed } = facts.decide(step, now);
        (way, billed.is_some())
    }

    fn pages(listed_hours_ago: u32) -> Step {
        Step::Pages { listed: Some(SystemTime::now() - listed_hours_ago * HOUR) }
    }

    #[test]
    fn what_failed_lately_is_redriven_for_nothing() {
        for error in ["AccessDenied", "Throttled", "States.Timeout", "ABORTED", "VideoNotFound", "InvalidInput"] {
            assert_eq!(decided(error, 1, None), (Way::Redrive, false), "{error}");
        }
    }

    #[test]
    fn what_a_redrive_would_not_cure_begins_anew() {
        for error in ["PageTokenExpired", "PageMissing", "PageUnreadable", "JobNotSucceeded"] {
            assert_eq!(decided(error, 1, None), (Way::Start, false), "{error}");
        }
    }

    #[test]
    fn page_tokens_serve_for_a_day() {
        assert_eq!(decided("AccessDenied", 30, Some(pages(22))), (Way::Redrive, false));
        assert_eq!(decided("AccessDenied", 30, Some(pages(24))), (Way::Start, false));
        assert_eq!(decided("AccessDenied", 30, Some(Step::Pages { listed: None })), (Way::Redrive, false));
        assert_eq!(decided("AccessDenied", 30, Some(Step::Detection)), (Way::Redrive, false));
        assert_eq!(decided("AccessDenied", 30, Some(Step::Summary)), (Way::Redrive, false));
    }

    #[test]
    fn a_job_lives_for_a_week() {
        let week = 7 * 24;
        assert_eq!(decided("AccessDenied", week - 1, Some(Step::Detection)), (Way::Redrive, false));
        assert_eq!(decided("AccessDenied", week, Some(Step::Detection)), (Way::Redrive, true));
        assert_eq!(decided("AccessDenied", week, Some(pages(1))), (Way::Start, true));
        assert_eq!(decided("PageTokenExpired", week, None), (Way::Start, true));
        // All its pages are in S3.
        assert_eq!(decided("AccessDenied", week, Some(Step::Summary)), (Way::Redrive, false));
    }

    #[test]
    fn a_job_that_failed_or_is_forgotten_costs_a_new_one() {
        assert_eq!(decided("JobFailed", 1, None), (Way::Redrive, true));
        assert_eq!(decided("JobGone", 1, None), (Way::Start, true));
    }

    #[test]
    fn what_aws_does_not_redrive_begins_anew() {
        let now = SystemTime::now();
        let facts = Facts { error: "AccessDenied".to_owned(), redrivable: false, started: now - 30 * HOUR };
        assert!(!facts.needs_step(now));
        assert_eq!(facts.decide(None, now), Decision { way: Way::Start, billed: None });
    }
}
