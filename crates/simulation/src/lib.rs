//! The whole workflow in virtual time: the real state machine and the real functions on simulated services.
//!
//! A [`Story`] says what is uploaded, what goes wrong and when; its seed rolls every delay. [`run`] plays it to the end
//! (days pass in milliseconds) and [`Run::violations`] names whatever must never happen and did. Equal stories run
//! equally, so a seed is a whole bug report: [`Run::told`] is its story, a line an event.
//!
//! What is real: `statemachine/analyze-video.asl.json`, the functions of `lambdas`, the AWS SDK with its retries. What
//! is simulated: time (tokio's paused clock), S3, Rekognition, SNS, Lambda and Step Functions, behind the SDK's HTTP
//! layer. Where AWS's behaviour is not documented, the story chooses ([`Quirks`]).

mod backoff;
mod batch;
mod check;
mod clock;
mod content;
mod lambda;
mod machine;
mod operator;
mod rekognition;
mod s3;
mod sns;
mod story;
mod tasks;
mod weather;
mod wire;
mod world;

use std::collections::BTreeMap;

pub use batch::{Batch, Limits};
pub use clock::{DAY, HOUR, MINUTE, Ms, SECOND};
pub use content::{Content, Kind};
pub use story::{Quirks, Sabotage, Story, Upload, Versioning};
pub use weather::{Outage, Service, Weather};

/// The state machine's definition.
const DEFINITION: &str = include_str!("../../../statemachine/analyze-video.asl.json");

/// How a story went.
#[derive(Debug)]
pub struct Run {
    /// What must never happen and did; empty when all is well.
    pub violations: Vec<String>,
    /// The story, a line an event; empty unless [`Story::logged`].
    pub told: String,
    /// Equal for equal runs.
    pub hash: String,
    /// How often what was met: faults, errors by state, redrives.
    pub met: BTreeMap<String, u64>,
    /// From the first upload to the last execution's end.
    pub makespan: Ms,
    /// The jobs, in the order in which they were started.
    pub jobs: Vec<PaidJob>,
    /// The longest history of an execution, in events.
    pub most_events: u64,
    /// The largest payload of an execution, in bytes.
    pub largest_payload: usize,
    /// How each execution ended.
    pub ends: Vec<End>,
    /// Dead callbacks that are left to the bucket's lifecycle rule.
    pub left_to_expire: usize,
}

/// A job that Rekognition has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidJob {
    /// The video's key.
    pub key: String,
    /// Our name of the job.
    pub idempotency_key: String,
    /// When it was started.
    pub started: Ms,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub execution: String,
    /// The error's name; empty when it succeeded.
    pub error: String,
    /// The error's cause.
    pub cause: String,
}

/// Plays a story to its end.
#[must_use]
pub fn run(story: &Story) -> Run {
    // The SDK rolls its own jitter with the thread's generator.
    fastrand::seed(story.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing from the system");
    tokio::task::LocalSet::new().block_on(&runtime, operator::play(story))
}
