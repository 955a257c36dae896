//! Task tokens, and the calls that use them (`SendTaskSuccess`, `SendTaskFailure`, `SendTaskHeartbeat`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::clock::{MINUTE, Ms};
use crate::machine::Failure;
use crate::rekognition::JobOutcome;
use crate::wire::{Answer, Call};
use crate::world::{Cloud, World};

/// The quota of Step Functions for a payload
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
pub(super) const MAX_PAYLOAD_BYTES: usize = 262_144;

/// The limits of `SendTaskFailure`
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>).
const MAX_ERROR_CHARS: usize = 256;
const MAX_CAUSE_CHARS: usize = 32_768;

/// Without faults, the completion message of the job resumes an execution: long before a heartbeat is missed.
const MAX_RESUME_DELAY: Ms = 5 * MINUTE;

/// The task tokens.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    issued: usize,
    open: BTreeMap<String, OpenTask>,
}

/// A task that waits for a callback.
#[derive(Debug)]
struct OpenTask {
    execution: usize,
    answer: oneshot::Sender<Result<Value, Failure>>,
    heartbeat: Arc<Notify>,
}

/// A task token; its task is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) name: String,
    /// Notified by each heartbeat.
    pub(super) heartbeat: Arc<Notify>,
    cloud: Cloud,
}

impl Token {
    /// Issues a token; the receiver gets the callback.
    pub(super) fn open(cloud: &Cloud, execution: usize) -> (Self, oneshot::Receiver<Result<Value, Failure>>) {
        let (answer, callback) = oneshot::channel();
        let mut world = cloud.lock();
        world.tasks.issued += 1;
        let name = format!("token-{}-of-{}", world.tasks.issued, world.executions[execution].name);
        let heartbeat = Arc::new(Notify::new());
        world.tasks.open.insert(name.clone(), OpenTask { execution, answer, heartbeat: Arc::clone(&heartbeat) });
        (Self { name, heartbeat, cloud: cloud.clone() }, callback)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.cloud.lock().tasks.open.remove(&self.name);
    }
}

impl Tasks {
    /// Whether a task of an execution waits for a callback.
    pub(super) fn has_open(&self, execution: usize) -> bool {
        self.open.values().any(|open| open.execution == execution)
    }
}

impl World {
    /// Whether a task still waits for a callback with this token.
    pub(super) fn is_open(&self, token: &str) -> bool {
        self.tasks.open.contains_key(token)
    }

    /// Answers a call of Step Functions.
    pub(super) fn states_answers(&mut self, call: &Call) -> Answer {
        let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let token = request["taskToken"].as_str().unwrap_or_default();
        if let Some(denied) = &self.denied_key
            && (denied.from..denied.until).contains(&self.now())
            && token.ends_with(&format!("-of-{}", denied.execution))
        {
            self.last_disturbance = self.now();
            self.fault("KMS key denied");
            return Answer::json_error("KmsAccessDeniedException", "the key of the state machine is not accessible");
        }
        if call.operation == "SendTaskHeartbeat"
            && let Some(open) = self.tasks.open.get(token)
        {
            open.heartbeat.notify_one();
            return Answer::json(&serde_json::json!({}));
        }
        let Some(open) = self.tasks.open.remove(token) else {
            if !token.starts_with("token-") {
                self.add_violation(format!("{call} with a token that was never issued: {token:?}"));
                return Answer::json_error("InvalidToken", "");
            }
            let what = match call.operation.as_str() {
                "SendTaskHeartbeat" => "heartbeat of a closed task",
                _ => "callback too late",
            };
            self.cover(what);
            let error = if self.unspecified.closed_task_does_not_exist { "TaskDoesNotExist" } else { "TaskTimedOut" };
            return Answer::json_error(error, "the task has ended");
        };
        let answer = match call.operation.as_str() {
            "SendTaskSuccess" => {
                let output = request["output"].as_str().unwrap_or_default();
                if output.len() > MAX_PAYLOAD_BYTES {
                    self.add_violation(format!("{call} with an output of {} bytes", output.len()));
                }
                let output = serde_json::from_str(output).unwrap_or_default();
                self.check_success(open.execution, &output);
                Ok(output)
            }
            "SendTaskFailure" => {
                let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
                let (error, cause) = (text("error").chars().count(), text("cause").chars().count());
                if error > MAX_ERROR_CHARS || cause > MAX_CAUSE_CHARS {
                    self.add_violation(format!("{call} with an error of {error} and a cause of {cause} characters"));
                }
                Err(Failure { error: text("error"), cause: text("cause") })
            }
            _ => {
                self.add_violation(format!("{call} is not simulated"));
                return Answer::json_error("UnknownOperationException", "");
            }
        };
        open.answer.send(answer).ok();
        Answer::json(&serde_json::json!({}))
    }

    /// A success must be true: the job has succeeded, and it is a job for the video of the execution.
    fn check_success(&mut self, execution: usize, output: &Value) {
        let now = self.now();
        let answered = &output["job"];
        let job = answered["job_id"].as_str().and_then(|id| self.rekognition.jobs.get(id));
        let wanted = self.executions[execution].video().map(|video| video.key);
        let problem = match job {
            None => "names an unknown job".to_owned(),
            Some(job) if job.runs(now) => "names a job that still runs".to_owned(),
            Some(job) if matches!(job.outcome, JobOutcome::Fails(_)) => "names a job that failed".to_owned(),
            Some(job) if job.idempotency_key != answered["idempotency_key"] => {
                "has the idempotency key of another job".to_owned()
            }
            Some(job) if Some(&job.key) != wanted.as_ref() => format!("names a job for {}", job.key),
            // An execution that was started after the job's end may have to wait in the queue.
            Some(job)
                if self.fault_free
                    && (self.executions[execution].entered..now).contains(&(job.ends + MAX_RESUME_DELAY)) =>
            {
                "comes long after the end of its job, without a fault".to_owned()
            }
            Some(_) => return,
        };
        self.add_violation(format!("{} received a success that {problem}", self.executions[execution].name));
    }
}
