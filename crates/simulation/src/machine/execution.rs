//! An execution: its status, and where it is.

use std::fmt;

use serde_json::{Map, Value};

use crate::clock::Ms;
use crate::identity::{self, Location};
use crate::world::World;

/// The quota of Step Functions for the events of a history
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
pub(super) const MAX_EVENTS: u64 = 25_000;

/// What is between the name of an execution and the number of its replacement, as `facereel replay` names it.
pub(crate) const REPLAY: &str = "-replay-";

/// Why a state or an execution failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) cause: String,
}

impl Failure {
    pub(crate) fn new(error: &str, cause: String) -> Self {
        Self { error: error.to_owned(), cause }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.cause)
    }
}

/// The status of an execution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Status {
    Running,
    Succeeded(Value),
    Failed(Failure),
    TimedOut,
    Aborted,
    /// It has failed, and the operator has started a new execution instead.
    Replaced,
}

/// One execution.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) name: String,
    pub(crate) input: Value,
    pub(crate) started: Ms,
    /// When it was started or last redriven.
    pub(crate) entered: Ms,
    pub(crate) ended: Ms,
    pub(crate) status: Status,
    pub(crate) redrives: u64,
    /// How often it was repaired after the faults had ended, or the execution that it replaces.
    pub(crate) repairs: u32,
    /// The operator leaves it failed.
    pub(crate) given_up: bool,
    /// When somebody asked for the analysis: the time of the event or of the start, and those of the redrives.
    pub(crate) requested: Vec<Ms>,
    /// When it ran: one pair for its start and for each redrive.
    pub(crate) runs: Vec<(Ms, Ms)>,
    /// When the operator redrove or replaced it.
    pub(crate) repaired: Vec<Ms>,
    pub(crate) events: u64,
    /// The size of its largest payload, in bytes.
    pub(crate) payload: usize,
    /// The state that it is in or has failed in: a redrive enters this state again.
    pub(super) position: Option<Position>,
}

/// A state that was entered, with everything that is needed to enter it again.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) state: String,
    pub(super) input: Value,
    pub(super) variables: Map<String, Value>,
    /// The outputs of the iterations of a Map that have succeeded, by index.
    pub(super) done: Vec<Option<Value>>,
}

impl Execution {
    pub(crate) fn new(name: String, input: Value, now: Ms) -> Self {
        Self {
            name,
            input,
            started: now,
            entered: now,
            ended: 0,
            status: Status::Running,
            redrives: 0,
            repairs: 0,
            given_up: false,
            requested: vec![now],
            runs: Vec::new(),
            repaired: Vec::new(),
            events: 0,
            payload: 0,
            position: None,
        }
    }

    /// The name of the state that it is in or has failed in; empty before it runs.
    pub(crate) fn state(&self) -> &str {
        self.position.as_ref().map_or("", |position| &position.state)
    }

    /// The name of the execution that this one replaces, directly or through others; its name if it replaces none.
    pub(crate) fn original(&self) -> &str {
        self.name.split_once(REPLAY).map_or(&self.name, |(original, _)| original)
    }

    /// The location of the video that its input names; `None` if the input is invalid.
    pub(crate) fn video(&self) -> Option<Location> {
        identity::location(&self.input)
    }

    pub(super) fn arn(&self) -> String {
        format!("arn:aws:states:us-east-1:123456789012:execution:analyze-video:{}", self.name)
    }
}

impl World {
    /// Ends an execution.
    pub(crate) fn end(&mut self, index: usize, status: &Status) {
        let now = self.now();
        let execution = &mut self.executions[index];
        execution.ended = now;
        execution.runs.push((execution.entered, now));
        execution.events += 1;
        let (name, state) = (execution.name.clone(), execution.state().to_owned());
        execution.status = status.clone();
        if *status == Status::TimedOut {
            self.add_violation(format!("{name} waited forever in {state}: it has timed out"));
        }
        if let Status::Failed(failure) = status
            && failure.error == "JobFailed"
        {
            self.check_failure(index, &failure.cause);
        }
        self.log(|| match status {
            Status::Succeeded(output) => format!("{name} SUCCEEDED: {output}"),
            Status::Failed(failure) => format!("{name} FAILED in {state}: {failure}"),
            other => format!("{name} {other:?} in {state}"),
        });
    }
}
