//! Task tokens, and the callbacks that use them.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::clock::{MINUTE, Ms};
use crate::machine::Failure;
use crate::rekognition::Outcome;
use crate::wire::{Answer, Call};
use crate::world::{Cloud, World};

/// Step Functions takes no more as a payload.
pub(super) const MAX_PAYLOAD_BYTES: usize = 262_144;

/// On a fair day an execution is resumed by its job's own completion, long before a missed heartbeat.
const PROMPT: Ms = 5 * MINUTE;

/// Tokens that were given out.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    given: usize,
    open: BTreeMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    execution: usize,
    answer: oneshot::Sender<Result<Value, Failure>>,
}

/// A token, open until this is dropped.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) name: String,
    cloud: Cloud,
}

impl Token {
    /// A new token, and where its callback arrives.
    pub(super) fn open(cloud: &Cloud, execution: usize) -> (Self, oneshot::Receiver<Result<Value, Failure>>) {
        let (answer, callback) = oneshot::channel();
        let mut world = cloud.lock();
        world.tasks.given += 1;
        let name = format!("token-{}-of-{}", world.tasks.given, world.executions[execution].name);
        world.tasks.open.insert(name.clone(), Open { execution, answer });
        (Self { name, cloud: cloud.clone() }, callback)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.cloud.lock().tasks.open.remove(&self.name);
    }
}

impl World {
    /// Whether a task still waits for this token.
    pub(super) fn is_open(&self, token: &str) -> bool {
        self.tasks.open.contains_key(token)
    }

    /// Answers a callback.
    pub(super) fn states_answers(&mut self, call: &Call) -> Answer {
        let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let token = request["taskToken"].as_str().unwrap_or_default();
        let Some(open) = self.tasks.open.remove(token) else {
            if !token.starts_with("token-") {
                self.wrong(format!("{call} with a token that nobody gave out: {token:?}"));
                return Answer::json_error("InvalidToken", "");
            }
            self.meet("callback too late");
            let error = if self.quirks.closed_tasks_do_not_exist { "TaskDoesNotExist" } else { "TaskTimedOut" };
            return Answer::json_error(error, "the task has ended");
        };
        let answer = match call.operation.as_str() {
            "SendTaskSuccess" => {
                let output = request["output"].as_str().unwrap_or_default();
                if output.len() > MAX_PAYLOAD_BYTES {
                    self.wrong(format!("{call} with an output of {} bytes", output.len()));
                }
                let output = serde_json::from_str(output).unwrap_or_default();
                self.check_success(open.execution, &output);
                Ok(output)
            }
            "SendTaskFailure" => {
                let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
                Err(Failure { error: text("error"), cause: text("cause") })
            }
            _ => {
                self.wrong(format!("{call} is not known to the simulated Step Functions"));
                return Answer::json_error("UnknownOperationException", "");
            }
        };
        open.answer.send(answer).ok();
        Answer::json(&serde_json::json!({}))
    }

    /// Only the truth is told: the job has succeeded, and it is one for the video of the execution.
    fn check_success(&mut self, execution: usize, output: &Value) {
        let now = self.now();
        let job = output["job_id"].as_str().and_then(|id| self.rekognition.jobs.get(id));
        let wanted = self.executions[execution].video().map(|video| video.key);
        let wrong = match job {
            None => "is no job's".to_owned(),
            Some(job) if job.runs(now) => "is of a job that still runs".to_owned(),
            Some(job) if matches!(job.outcome, Outcome::Fails(_)) => "is of a job that failed".to_owned(),
            Some(job) if job.idempotency_key != output["idempotency_key"] => "has another job's tag".to_owned(),
            Some(job) if Some(&job.key) != wanted.as_ref() => format!("is of {}", job.key),
            // Who came after the end may have to wait for a turn in the queue.
            Some(job) if self.fair && (self.executions[execution].entered..now).contains(&(job.ends + PROMPT)) => {
                "comes long after its job's end, and nothing had gone wrong".to_owned()
            }
            Some(_) => return,
        };
        self.wrong(format!("{} was told a success that {wrong}", self.executions[execution].name));
    }
}
