//! The whole workflow in virtual time: the real state machine and the real functions on simulated services.
//!
//! A [`Scenario`] defines the uploads, the faults and their times; its seed determines every delay. [`run`] executes it
//! to the end (days pass in milliseconds), and [`Run::violations`] lists the rules that were broken. Equal scenarios
//! have equal runs, so a seed is a complete bug report: [`Run::trace`] has one line for each event.
//!
//! Real: `statemachine/analyze-video.asl.json`, the functions of `lambdas`, and the AWS SDK with its retries.
//! Simulated: time (tokio's paused clock), S3, Rekognition, SNS, Lambda and Step Functions, behind the SDK's HTTP
//! layer. Where AWS does not document its behaviour, the scenario chooses one ([`UnspecifiedBehaviour`]).

mod batch;
mod check;
mod clock;
mod content;
mod driver;
mod faults;
mod identity;
mod lambda;
mod machine;
mod monitor;
mod operator;
mod rekognition;
mod s3;
mod scenario;
mod schedule;
mod slots;
mod sns;
mod tasks;
mod wire;
mod world;

use std::collections::BTreeMap;

pub use batch::{Batch, Limits};
pub use clock::{DAY, HOUR, MINUTE, Ms, SECOND};
pub use content::{Content, Kind};
pub use faults::{FaultRates, Outage, Service};
pub use scenario::{
    Backfill, DeniedKey, InjectedBug, OtherWorkload, Scenario, SecondStack, UnspecifiedBehaviour, Upload, Versioning,
};

/// The definition of the state machine that analyses a video.
const DEFINITION: &str = include_str!("../../../statemachine/analyze-video.asl.json");

/// The definition of the state machine that starts an execution for each video of a list.
const BACKFILL: &str = include_str!("../../../statemachine/backfill.asl.json");

/// What happened in a run of a scenario.
#[derive(Debug)]
pub struct Run {
    /// The rules that were broken, with the details; empty if none was.
    pub violations: Vec<String>,
    /// One line for each event; empty unless [`Scenario::traced`].
    pub trace: String,
    /// SHA-256 over the trace in hexadecimal: equal for equal runs.
    pub hash: String,
    /// How often each fault, each error of a state, each redrive and other notable events occurred.
    pub coverage: BTreeMap<String, u64>,
    /// The number of state transitions, including retries: Step Functions bills each.
    pub transitions: u64,
    /// The number of calls of each operation of AWS, and of invocations of each function. S3 and Lambda bill each.
    pub calls: BTreeMap<String, u64>,
    /// From the beginning to the first end of the last execution, before the operator redrives it.
    pub makespan: Ms,
    /// The jobs, in the order in which they were started.
    pub jobs: Vec<PaidJob>,
    /// The number of events in the longest history of an execution.
    pub most_events: u64,
    /// The size of the largest payload of an execution, in bytes.
    pub largest_payload: usize,
    /// How each execution ended, in the order in which they were started.
    pub executions: Vec<ExecutionEnd>,
    /// The number of callbacks of closed tasks that only the bucket's lifecycle rule removes.
    pub left_to_expire: usize,
}

/// A job that Rekognition has started, and is paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidJob {
    /// The video's key.
    pub key: String,
    /// The `ClientRequestToken` and `JobTag` of the job.
    pub idempotency_key: String,
    /// When it was started.
    pub started: Ms,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionEnd {
    /// The name of the execution.
    pub execution: String,
    /// The error's name, or the status if the execution was aborted, has timed out or was replaced; empty if it
    /// succeeded.
    pub error: String,
    /// The error's cause; empty if there is none.
    pub cause: String,
    /// When it ended last.
    pub ended: Ms,
}

/// Runs a scenario to its end. Panics if the definition uses a field, a type of state or a resource that is not
/// simulated.
#[must_use]
pub fn run(scenario: &Scenario) -> Run {
    // The SDK takes its jitter from the thread's random number generator.
    fastrand::seed(scenario.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing from the system");
    tokio::task::LocalSet::new().block_on(&runtime, driver::run(scenario))
}
