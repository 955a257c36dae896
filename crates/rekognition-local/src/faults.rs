//! Faults that a test can inject, to check how a caller handles them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{ApiError, ErrorKind};
use crate::clock::Clock;
use crate::jobs::Jobs;
use crate::lock;

/// A fault. As the JSON body of `POST /_faults`: `{"fault": "busy", "call": "start", "error": "throttling", "times": 2}`.
///
/// Faults of calls and jobs are queued, and each applies to the next call or new job that it matches; of several of the same kind,
/// the one that was injected first applies first. A Start call that finds the job of its token does not create a new job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The next `times` calls that would start a job are refused with `LimitExceededException`, as if the quota were used up.
    LimitExceeded {
        /// How many calls.
        times: u32,
    },
    /// The next `times` calls of one kind are refused with a temporary error.
    Busy {
        /// Which calls.
        call: Call,
        /// The error.
        error: Refusal,
        /// How many calls.
        times: u32,
    },
    /// The next `times` calls of one kind take this much longer.
    Slow {
        /// Which calls.
        call: Call,
        /// The delay in milliseconds.
        millis: u64,
        /// How many calls.
        times: u32,
    },
    /// The next job ends FAILED, without an analysis.
    JobFails {
        /// The job's `StatusMessage`.
        message: String,
    },
    /// The next job ends FAILED, without an analysis, and its completion message says ERROR.
    JobErrors {
        /// The job's `StatusMessage`.
        message: String,
    },
    /// The next job ends, and its message is published, before its Start call returns.
    MessageEarly,
    /// The next job's message is published this long after its end.
    MessageLate {
        /// The delay in milliseconds of the server's clock.
        millis: u64,
    },
    /// The next job's message is published twice.
    MessageTwice,
    /// The next job's message is never published.
    MessageNever,
    /// Immediately: a job is deleted as after its 7 days, though its idempotency token still names it.
    ForgetJob {
        /// The job whose results are deleted.
        job_id: String,
    },
    /// Immediately: every page token that was returned so far has expired.
    ExpirePageTokens,
    /// Immediately: the server's clock advances, which ages everything that has a lifetime.
    TimePasses {
        /// The time in milliseconds.
        millis: u64,
    },
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `StartFaceDetection`
    Start,
    /// `GetFaceDetection`
    Get,
}

/// A temporary error: the caller should retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// `ThrottlingException`
    Throttling,
    /// `ProvisionedThroughputExceededException`
    ProvisionedThroughputExceeded,
    /// `InternalServerError`
    InternalServer,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Throttling => Self::new(ErrorKind::Throttling, "Rate exceeded"),
            Refusal::ProvisionedThroughputExceeded => {
                Self::new(ErrorKind::ProvisionedThroughputExceeded, "Provisioned rate exceeded")
            }
            Refusal::InternalServer => Self::new(ErrorKind::InternalServer, "Internal server error"),
        }
    }
}

/// The faults of one job, decided when it starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The job fails with this message, without an analysis.
    pub failure: Option<String>,
    /// The status in the completion message of the failure is ERROR.
    pub says_error: bool,
    pub delivery: Delivery,
}

/// How a job's completion message is published.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    #[default]
    Once,
    Early,
    Late(Duration),
    Twice,
    Never,
}

/// The faults to inject into one server.
pub struct Faults {
    queue: Mutex<VecDeque<Fault>>,
    jobs: Arc<Mutex<Jobs>>,
    clock: Clock,
}

impl Faults {
    pub(crate) fn new(jobs: Arc<Mutex<Jobs>>, clock: Clock) -> Self {
        Self { queue: Mutex::default(), jobs, clock }
    }

    /// Injects a fault. Those that take effect immediately have done so when this returns; the others are queued.
    pub fn inject(&self, fault: Fault) {
        match fault {
            Fault::ForgetJob { job_id } => lock(&self.jobs).forget(&job_id),
            Fault::ExpirePageTokens => lock(&self.jobs).expire_page_tokens(),
            Fault::TimePasses { millis } => self.clock.advance(Duration::from_millis(millis)),
            queued => lock(&self.queue).push_back(queued),
        }
    }

    /// The error with which the next call of this kind is refused, if it is.
    pub(crate) fn refusal(&self, of: Call) -> Option<Refusal> {
        take(&mut lock(&self.queue), |fault| match fault {
            Fault::Busy { call, error, times } if *call == of => Some((*error, count_down(times))),
            _ => None,
        })
    }

    /// The delay of the next call of this kind, if it has one.
    pub(crate) fn delay(&self, of: Call) -> Option<Duration> {
        take(&mut lock(&self.queue), |fault| match fault {
            Fault::Slow { call, millis, times } if *call == of => {
                Some((Duration::from_millis(*millis), count_down(times)))
            }
            _ => None,
        })
    }

    /// Whether the next new job is refused as if the quota were used up.
    pub(crate) fn quota_used_up(&self) -> bool {
        let used_up = take(&mut lock(&self.queue), |fault| match fault {
            Fault::LimitExceeded { times } => Some(((), count_down(times))),
            _ => None,
        });
        used_up.is_some()
    }

    /// The plan for the next new job.
    pub(crate) fn plan(&self) -> Plan {
        let mut queue = lock(&self.queue);
        let failure = take(&mut queue, |fault| match fault {
            Fault::JobFails { message } => Some(((message.clone(), false), Spent::Yes)),
            Fault::JobErrors { message } => Some(((message.clone(), true), Spent::Yes)),
            _ => None,
        });
        let delivery = take(&mut queue, |fault| match fault {
            Fault::MessageEarly => Some((Delivery::Early, Spent::Yes)),
            Fault::MessageLate { millis } => Some((Delivery::Late(Duration::from_millis(*millis)), Spent::Yes)),
            Fault::MessageTwice => Some((Delivery::Twice, Spent::Yes)),
            Fault::MessageNever => Some((Delivery::Never, Spent::Yes)),
            _ => None,
        });
        let (failure, says_error) = failure.unzip();
        Plan { failure, says_error: says_error.unwrap_or(false), delivery: delivery.unwrap_or_default() }
    }
}

/// Whether a fault has been used.
#[derive(PartialEq)]
enum Spent {
    Yes,
    No,
}

fn count_down(times: &mut u32) -> Spent {
    *times = times.saturating_sub(1);
    if *times == 0 { Spent::Yes } else { Spent::No }
}

/// Uses the first fault that matches, and removes it if it has been used.
fn take<T>(queue: &mut VecDeque<Fault>, mut fits: impl FnMut(&mut Fault) -> Option<(T, Spent)>) -> Option<T> {
    let (at, (effect, spent)) = queue.iter_mut().enumerate().find_map(|(at, fault)| Some((at, fits(fault)?)))?;
    if spent == Spent::Yes {
        queue.remove(at);
    }
    Some(effect)
}
